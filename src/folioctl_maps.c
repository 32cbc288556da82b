/* SPDX-License-Identifier: MIT */
/* folioctl maps, pages, pin, unpin: what is mapped, and what is in memory. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "folioctl.h"
#include "fs.h"

/* ---- maps ---- */

/* Words of a row; the path, the last, may have blanks in it. */
#define COLUMNS_MAX 32

static size_t split(char *line, char *words[COLUMNS_MAX], size_t max)
{
	size_t nr = 0;

	line += strspn(line, " ");
	while (*line && nr < max) {
		words[nr++] = line;
		if (nr == max)
			break;
		line += strcspn(line, " ");
		if (*line)
			*line++ = '\0';
		line += strspn(line, " ");
	}
	return nr;
}

static bool is_number(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s);
}

/* Words of the table are escaped already: only '"' and '\\' matter. */
static void add_member(struct strbuf *sb, const char *sep, const char *name,
		       const char *word)
{
	strbuf_printf(sb, "%s\"%s\": ", sep, name);
	if (strcmp(word, "-") == 0) {
		strbuf_addstr(sb, "null");
	} else if (is_number(word) && strcmp(name, "offset") != 0 &&
		   strcmp(name, "comm") != 0) {
		strbuf_addstr(sb, word);
	} else {
		strbuf_addch(sb, '"');
		strbuf_add_json(sb, word);
		strbuf_addch(sb, '"');
	}
}

/* A table with a line of heads as an array of objects. */
static void table_to_json(char *text, struct strbuf *sb)
{
	char *heads[COLUMNS_MAX], *words[COLUMNS_MAX];
	char *line = strsep(&text, "\n");
	size_t nr = split(line, heads, COLUMNS_MAX);
	const char *sep = "\n\t";

	strbuf_addch(sb, '[');
	while ((line = strsep(&text, "\n")) != NULL) {
		size_t n = split(line, words, nr);

		if (!n)
			continue;
		strbuf_printf(sb, "%s{", sep);
		for (size_t i = 0; i < n; i++)
			add_member(sb, i ? ", " : "", heads[i], words[i]);
		strbuf_addch(sb, '}');
		sep = ",\n\t";
	}
	strbuf_addstr(sb, sep[0] == ',' ? "\n]\n" : "]\n");
}

static int print_maps(const char *mount, bool json)
{
	struct strbuf text = STRBUF_INIT, sb = STRBUF_INIT;
	int dirfd = mount_open(mount);
	int err;

	if (dirfd < 0)
		return EXIT_ERROR;
	err = mount_read(dirfd, "maps", &text);
	(void)close(dirfd);
	if (err) {
		strbuf_release(&text);
		return complain("%s: maps: %s", mount, strerror(-err));
	}
	if (!json)
		return print_out(&text);
	table_to_json(text.buf, &sb);
	strbuf_release(&text);
	return print_out(&sb);
}

static int run_maps(const struct command *cmd, int argc, char **argv)
{
	bool json;
	int status = EXIT_OK;

	if (command_options(cmd, argc, argv, &json, &status) == COMMAND_DONE)
		return status;
	if (optind != argc - 1)
		return complain_usage(cmd, "a mountpoint is wanted");
	return print_maps(argv[optind], json);
}

const struct command command_maps = {
	.name = "maps",
	.args = "[--json] MOUNT",
	.summary = "which processes map which files",
	.options = "  --json  an array of objects\n",
	.run = run_maps,
};

/* ---- pages ---- */

/* The control files of the mount that the file @path of @dev lies on: those of
 * the uppermost folder above it on the same device. Return: a descriptor, or
 * -1, told. */
static int open_mount_of(const char *path, dev_t dev)
{
	char *name = realpath(path, NULL);
	char *slash;
	int fd;

	if (!name) {
		(void)complain("%s: %s", path, strerror(errno));
		return -1;
	}
	while ((slash = strrchr(name, '/')) != NULL && slash > name) {
		struct stat st;

		*slash = '\0';
		if (stat(name, &st) < 0 || st.st_dev != dev) {
			*slash = '/';
			break;
		}
	}
	fd = mount_open(name);
	free(name);
	return fd;
}

#define ROW 64

/* So many pages to a row, with the number of its first; each row's runs as
 * they are. */
static void draw(const char *map, size_t len, struct strbuf *sb)
{
	if (len && map[len - 1] == '\n')
		len--;
	for (size_t at = 0; at < len; at += ROW) {
		strbuf_printf(sb, "%10zu  ", at);
		strbuf_add(sb, map + at, min(len - at, (size_t)ROW));
		strbuf_addch(sb, '\n');
	}
}

static void count_letters(const char *map, size_t len, u64 count[256])
{
	for (size_t i = 0; i < len; i++)
		count[(unsigned char)map[i]]++;
}

static const struct {
	const char letters[3]; /* inactive and active */
	const char *name;
} states[] = {
	{".", "absent"}, {"cC", "clean"},     {"dD", "dirty"},
	{"sS", "saved"}, {"wW", "writeback"}, {"z", "swapped"},
};

static u64 count_of(const u64 count[256], size_t state)
{
	u64 nr = 0;

	for (const char *s = states[state].letters; *s; s++)
		nr += count[(unsigned char)*s];
	return nr;
}

static void add_sums(const u64 count[256], bool json, struct strbuf *sb)
{
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		if (json)
			strbuf_printf(sb, ", \"%s\": %llu", states[i].name,
				      (unsigned long long)count_of(count, i));
		else
			strbuf_printf(sb, "%s%s %llu", i ? ", " : "",
				      states[i].name,
				      (unsigned long long)count_of(count, i));
	}
}

static int show_pages(const char *path, const struct strbuf *map, bool json)
{
	struct strbuf sb = STRBUF_INIT;
	u64 count[256] = {0};

	count_letters(map->buf, map->len, count);
	if (json) {
		strbuf_addstr(&sb, "{");
		json_add_string(&sb, "path", path);
		add_sums(count, true, &sb);
		strbuf_addstr(&sb, ", \"pages\": \"");
		strbuf_add(&sb, map->buf, map->len - 1);
		strbuf_addstr(&sb, "\"}\n");
	} else {
		draw(map->buf, map->len, &sb);
		add_sums(count, false, &sb);
		strbuf_addch(&sb, '\n');
	}
	return print_out(&sb);
}

static int print_pages(const char *path, bool json)
{
	struct strbuf map = STRBUF_INIT;
	char name[64];
	struct stat st;
	int dirfd, err;

	if (stat(path, &st) < 0)
		return complain("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain("%s: not a regular file", path);
	dirfd = open_mount_of(path, st.st_dev);
	if (dirfd < 0)
		return EXIT_ERROR;
	(void)snprintf(name, sizeof(name), "inode/%llu/pages",
		       (unsigned long long)st.st_ino);
	err = mount_read(dirfd, name, &map);
	(void)close(dirfd);
	if (err || !map.len) {
		strbuf_release(&map);
		return complain("%s: %s", path, strerror(err ? -err : EIO));
	}
	err = show_pages(path, &map, json);
	strbuf_release(&map);
	return err;
}

static int run_pages(const struct command *cmd, int argc, char **argv)
{
	bool json;
	int status = EXIT_OK;

	if (command_options(cmd, argc, argv, &json, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a file is wanted");
	for (int i = optind; i < argc; i++)
		status = max(status, print_pages(argv[i], json));
	return status;
}

const struct command command_pages = {
	.name = "pages",
	.args = "[--json] FILE...",
	.summary = "draw which pages of files are in memory",
	.options = "  --json  an object for each file\n",
	.run = run_pages,
};

/* ---- pin, unpin ---- */

static int pin_files(const struct command *cmd, int argc, char **argv,
		     const char *value)
{
	int status = EXIT_OK;

	if (command_options(cmd, argc, argv, NULL, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a file is wanted");
	for (int i = optind; i < argc; i++) {
		if (setxattr(argv[i], FS_XATTR_PIN, value, 1, 0) < 0)
			status = complain("%s: %s", argv[i], strerror(errno));
	}
	return status;
}

static int run_pin(const struct command *cmd, int argc, char **argv)
{
	return pin_files(cmd, argc, argv, "1");
}

static int run_unpin(const struct command *cmd, int argc, char **argv)
{
	return pin_files(cmd, argc, argv, "0");
}

const struct command command_pin = {
	.name = "pin",
	.args = "FILE...",
	.summary = "keep pages of files in memory",
	.run = run_pin,
};

const struct command command_unpin = {
	.name = "unpin",
	.args = "FILE...",
	.summary = "let pages of files be evicted again",
	.run = run_unpin,
};

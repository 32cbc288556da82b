/* SPDX-License-Identifier: MIT */
/* folioctl sync, compact, drop, set: what is steered through MOUNT/.foliofs/vm.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "folioctl.h"

/* ---- sync ---- */

/*
 * On a mount made with the option ro the kernel does not let control files be
 * written to, and there is nothing to commit. But a mount may also have become
 * read-only while there was.
 */
static bool nothing_to_sync(int dirfd)
{
	static const char *const figures[] = {"nr_ops_pending",
					      "nr_uncommitted"};
	struct strbuf sb = STRBUF_INIT;
	struct statvfs st;
	bool nothing;

	nothing = fstatvfs(dirfd, &st) == 0 && st.f_flag & ST_RDONLY &&
		  mount_read(dirfd, "vmstat", &sb) == 0;
	for (size_t i = 0; nothing && i < ARRAY_SIZE(figures); i++) {
		const char *value = line_value(sb.buf, figures[i]);

		nothing = value && strtoull(value, NULL, 10) == 0;
	}
	strbuf_release(&sb);
	return nothing;
}

/*
 * First what the kernel holds of mapped pages: syncfs(2) makes it hand them
 * over, though the request itself never reaches a FUSE daemon.
 */
static int sync_mount(const char *mount)
{
	int dirfd = mount_open(mount);
	int err;

	if (dirfd < 0)
		return EXIT_ERROR;
	err = syncfs(dirfd) < 0 ? -errno : 0;
	if (!err)
		err = mount_write(dirfd, "vm/sync", "1\n");
	if (err == -EROFS && nothing_to_sync(dirfd))
		err = 0;
	(void)close(dirfd);
	if (err)
		return complain("%s: sync: %s", mount, strerror(-err));
	return EXIT_OK;
}

static int run_sync(const struct command *cmd, int argc, char **argv)
{
	int status = EXIT_OK;

	if (command_options(cmd, argc, argv, NULL, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a mountpoint is wanted");
	for (int i = optind; i < argc; i++)
		status = max(status, sync_mount(argv[i]));
	return status;
}

const struct command command_sync = {
	.name = "sync",
	.args = "MOUNT...",
	.summary = "commit everything, and wait for it",
	.run = run_sync,
};

/* ---- compact ---- */

static int compact_mount(const char *mount)
{
	int dirfd = mount_open(mount);
	int err;

	if (dirfd < 0)
		return EXIT_ERROR;
	err = mount_write(dirfd, "vm/compact", "1\n");
	(void)close(dirfd);
	if (err)
		return complain("%s: compact: %s", mount, strerror(-err));
	return EXIT_OK;
}

static int run_compact(const struct command *cmd, int argc, char **argv)
{
	int status = EXIT_OK;

	if (command_option(cmd, argc, argv, ":h", NULL, &status) ==
	    COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a mountpoint is wanted");
	for (int i = optind; i < argc; i++)
		status = max(status, compact_mount(argv[i]));
	return status;
}

const struct command command_compact = {
	.name = "compact",
	.args = "MOUNT...",
	.summary = "give the volume's free space back to the disk",
	.run = run_compact,
};

/* ---- drop ---- */

/*
 * The kernel has a copy of its own of what was read; it gives up a file's when
 * asked. Not for anything but files: opening a FIFO would wait.
 */
static void drop_kernel_pages(const char *path, const struct stat *st)
{
	int fd;

	if (!S_ISREG(st->st_mode))
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(fd);
}

static int drop_file(int dirfd, const char *mount, const char *path)
{
	struct stat folder;
	struct stat st;
	char file[64];
	int err;

	if (fstat(dirfd, &folder) < 0 || stat(path, &st) < 0)
		return complain("%s: %s", path, strerror(errno));
	if (st.st_dev != folder.st_dev)
		return complain("%s: not in %s", path, mount);

	drop_kernel_pages(path, &st);
	(void)snprintf(file, sizeof(file), "inode/%llu/drop_caches",
		       (unsigned long long)st.st_ino);
	err = mount_write(dirfd, file, "1\n");
	if (err && err != -ENOENT) /* nothing of it is in memory */
		return complain("%s: %s", path, strerror(-err));
	return EXIT_OK;
}

static int drop_all(int dirfd, const char *mount)
{
	int err = mount_write(dirfd, "vm/drop_caches", "1\n");

	if (err)
		return complain("%s: %s", mount, strerror(-err));
	return EXIT_OK;
}

static int run_drop(const struct command *cmd, int argc, char **argv)
{
	int status = EXIT_OK;
	int dirfd;

	if (command_options(cmd, argc, argv, NULL, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a mountpoint is wanted");
	dirfd = mount_open(argv[optind]);
	if (dirfd < 0)
		return EXIT_ERROR;
	if (optind + 1 == argc)
		status = drop_all(dirfd, argv[optind]);
	for (int i = optind + 1; i < argc; i++)
		status = max(status, drop_file(dirfd, argv[optind], argv[i]));
	(void)close(dirfd);
	return status;
}

const struct command command_drop = {
	.name = "drop",
	.args = "MOUNT [FILE...]",
	.summary = "drop clean pages, of all files or of some",
	.run = run_drop,
};

/* ---- set ---- */

/* Names stay below vm/. */
static bool is_knob_name(const char *name, size_t len)
{
	return len > 0 && len < 64 && name[0] != '.' &&
	       memchr(name, '/', len) == NULL;
}

static int set_knob(int dirfd, const struct command *cmd, const char *word)
{
	const char *value = strchr(word, '=');
	char file[80];
	char text[80];
	int err;

	if (!value || !is_knob_name(word, (size_t)(value - word)))
		return complain_usage(cmd, "%s: KNOB=VALUE is wanted", word);
	(void)snprintf(file, sizeof(file), "vm/%.*s", (int)(value - word),
		       word);
	if (snprintf(text, sizeof(text), "%s\n", value + 1) >=
	    (int)sizeof(text))
		return complain("%s: not a value for it", word);

	err = mount_write(dirfd, file, text);
	if (err == -ENOENT)
		return complain("%s: no such knob", word);
	if (err == -EINVAL)
		return complain("%s: not a value for it, or out of its range",
				word);
	if (err)
		return complain("%s: %s", word, strerror(-err));
	return EXIT_OK;
}

/* Triggers are no knobs: they have no value. */
static int is_knob(const struct dirent *d)
{
	return d->d_name[0] != '.' && strcmp(d->d_name, "sync") != 0 &&
	       strcmp(d->d_name, "compact") != 0 &&
	       strcmp(d->d_name, "scrub") != 0 &&
	       strcmp(d->d_name, "drop_caches") != 0;
}

static int add_knob(int dirfd, const char *name, bool json, bool first,
		    struct strbuf *sb)
{
	struct strbuf value = STRBUF_INIT;
	struct strbuf file = STRBUF_INIT;
	int err;

	strbuf_printf(&file, "vm/%s", name);
	err = file.failed ? -ENOMEM : mount_read(dirfd, file.buf, &value);
	if (!err) {
		value.buf[strcspn(value.buf, "\n")] = '\0';
		if (!json)
			strbuf_printf(sb, "%s=%s\n", name, value.buf);
		else
			strbuf_printf(
				sb, "%s\"%s\": %s", first ? "{" : ", ", name,
				strcmp(value.buf, "max") == 0 ? "null"
							      : value.buf);
	}
	strbuf_release(&file);
	strbuf_release(&value);
	return err;
}

static int list_knobs(int dirfd, const char *mount, bool json)
{
	struct strbuf sb = STRBUF_INIT;
	struct dirent **names;
	int err = 0;
	int n;

	n = scandirat(dirfd, "vm", &names, is_knob, alphasort);
	if (n < 0)
		return complain("%s: %s", mount, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (!err)
			err = add_knob(dirfd, names[i]->d_name, json, i == 0,
				       &sb);
		free(names[i]);
	}
	free(names);
	if (err) {
		strbuf_release(&sb);
		return complain("%s: %s", mount, strerror(-err));
	}
	if (json)
		strbuf_addstr(&sb, n ? "}\n" : "{}\n");
	return print_out(&sb);
}

static int run_set(const struct command *cmd, int argc, char **argv)
{
	bool json;
	int status = EXIT_OK;
	int dirfd;

	if (command_options(cmd, argc, argv, &json, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd, "a mountpoint is wanted");
	dirfd = mount_open(argv[optind]);
	if (dirfd < 0)
		return EXIT_ERROR;
	for (int i = optind + 1; i < argc && status == EXIT_OK; i++)
		status = set_knob(dirfd, cmd, argv[i]);
	if (optind + 1 == argc || (json && status == EXIT_OK))
		status = list_knobs(dirfd, argv[optind], json);
	(void)close(dirfd);
	return status;
}

const struct command command_set = {
	.name = "set",
	.args = "[--json] MOUNT [KNOB=VALUE...]",
	.summary = "change knobs of a mount, or list them",
	.options = "  --json  list all as JSON\n",
	.run = run_set,
};

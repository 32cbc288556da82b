/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "strbuf.h"

/* The fields of one line that somebody asks for; see proc(5). */
struct mount_row {
	struct mount_dev dev;
	char *mountpoint;
	char *type;
	unsigned long flags;
};

/* How options are shown. */
static const struct {
	const char *name;
	unsigned long flag;
} flag_names[] = {
	{"ro", MS_RDONLY},	   {"nosuid", MS_NOSUID},
	{"nodev", MS_NODEV},	   {"noexec", MS_NOEXEC},
	{"sync", MS_SYNCHRONOUS},  {"dirsync", MS_DIRSYNC},
	{"noatime", MS_NOATIME},   {"nodiratime", MS_NODIRATIME},
	{"relatime", MS_RELATIME}, {"lazytime", MS_LAZYTIME},
};

static unsigned long parse_flags(char *list)
{
	unsigned long flags = 0;
	char *save = NULL;
	char *word;

	for (word = strtok_r(list, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
			if (!strcmp(word, flag_names[i].name))
				flags |= flag_names[i].flag;
		}
	}
	return flags;
}

/* 36 35 98:0 /root /mnt rw,noatime shared:1 ... - ext3 /dev/root rw */
static bool parse_row(char *line, struct mount_row *ret)
{
	char *save = NULL;
	char *word = strtok_r(line, " \n", &save);

	for (int nr = 1; word && strcmp(word, "-") != 0; nr++) {
		if (nr == 3 && sscanf(word, "%u:%u", &ret->dev.major,
				      &ret->dev.minor) != 2)
			return false;
		if (nr == 5)
			ret->mountpoint = word;
		if (nr == 6)
			ret->flags = parse_flags(word);
		word = strtok_r(NULL, " \n", &save);
	}
	if (!word || !ret->mountpoint)
		return false;

	ret->type = strtok_r(NULL, " \n", &save);
	if (!ret->type)
		return false;
	path_unescape(ret->mountpoint);

	/* behind the source: what holds for all mounts of the filesystem */
	if (strtok_r(NULL, " \n", &save)) {
		word = strtok_r(NULL, " \n", &save);
		ret->flags |= word ? parse_flags(word) : 0;
	}
	return true;
}

typedef void (*mount_row_fn)(const struct mount_row *row, void *arg);

static int for_each_row(const char *file, mount_row_fn fn, void *arg)
{
	FILE *in = fopen(file, "re");
	char *line = NULL;
	size_t size = 0;
	int err;

	if (!in)
		return -errno;

	while (getline(&line, &size, in) >= 0) {
		struct mount_row row = {.mountpoint = NULL};

		if (parse_row(line, &row))
			fn(&row, arg);
	}
	err = ferror(in) ? -EIO : 0;

	free(line);
	(void)fclose(in);
	return err;
}

struct dev_query {
	const char *mountpoint;
	struct mount_dev dev;
	unsigned long flags;
	bool found;
	bool ours;
};

static void match_mountpoint(const struct mount_row *row, void *arg)
{
	struct dev_query *query = arg;

	if (!strcmp(row->mountpoint, query->mountpoint)) {
		query->dev = row->dev;
		query->flags = row->flags;
		query->found = true;
		query->ours = !strcmp(row->type, "fuse.foliofs");
	}
}

/* Return: 0, -ENOENT: nothing is mounted there, or for_each_row()'s. */
static int find_mount(const char *file, const char *mountpoint,
		      struct dev_query *ret)
{
	int err;

	*ret = (struct dev_query){.mountpoint = mountpoint};
	err = for_each_row(file, match_mountpoint, ret);
	return err || ret->found ? err : -ENOENT;
}

int mountinfo_dev(const char *file, const char *mountpoint,
		  struct mount_dev *ret_dev)
{
	struct dev_query query;
	int err = find_mount(file, mountpoint, &query);

	if (!err)
		*ret_dev = query.dev;
	return err;
}

int mountinfo_flags(const char *file, const char *mountpoint,
		    unsigned long *ret_flags)
{
	struct dev_query query;
	int err = find_mount(file, mountpoint, &query);

	if (!err)
		*ret_flags = query.flags;
	return err;
}

int mountinfo_is_ours(const char *file, const char *mountpoint)
{
	struct dev_query query;
	int err = find_mount(file, mountpoint, &query);

	if (err)
		return err;
	return query.ours ? 0 : -EINVAL;
}

static int write_number(const char *path, u64 value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;

	if (dprintf(fd, "%" PRIu64 "\n", value) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

int bdi_tune(const char *dir, const struct mount_dev *dev, u64 read_ahead_kb,
	     u64 max_bytes)
{
	char path[256];
	int err, err2;

	(void)snprintf(path, sizeof(path), "%s/%u:%u/read_ahead_kb", dir,
		       dev->major, dev->minor);
	err = write_number(path, read_ahead_kb);
	(void)snprintf(path, sizeof(path), "%s/%u:%u/max_bytes", dir,
		       dev->major, dev->minor);
	err2 = write_number(path, max_bytes);

	return err ? err : err2;
}

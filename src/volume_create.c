/* SPDX-License-Identifier: MIT */
/* A new volume: its files, and in which order they get there. */
#include "config.h"

#include "volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "volume_int.h"

/* Block 0 of data. */
struct data_header {
	char magic[16];
	u8 uuid[16];
	u8 rest[PAGE_SIZE - 32];
};

static const char data_magic[16] = "foliofs data 01";

/* ---- block 0 ---- */

int volume_write_header(struct bdev *data, const u8 uuid[16])
{
	struct data_header *h;
	void *page;
	int err;

	h = aligned_alloc(PAGE_SIZE, sizeof(*h));
	if (!h)
		return -ENOMEM;
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, data_magic, sizeof(h->magic));
	memcpy(h->uuid, uuid, sizeof(h->uuid));
	page = h;
	err = data->ops->write(data, 0, 1, &page);
	if (!err)
		err = data->ops->flush(data);
	free(h);
	return err;
}

int volume_read_header(struct bdev *data, u8 uuid[16])
{
	struct data_header *h = aligned_alloc(PAGE_SIZE, sizeof(*h));
	void *page = h;
	int err;

	if (!h)
		return -ENOMEM;
	err = data->ops->read(data, 0, 1, &page);
	if (!err && memcmp(h->magic, data_magic, sizeof(h->magic)) != 0)
		err = -EUCLEAN;
	if (!err)
		memcpy(uuid, h->uuid, sizeof(h->uuid));
	free(h);
	return err;
}

/* ---- files and folders ---- */

static int create_data(int dirfd, const struct volume_options *opt,
		       const u8 uuid[16])
{
	struct bdev *data;
	int err;

	err = bdev_file_open(dirfd, "data", O_RDWR | O_CREAT | O_EXCL, &data);
	if (err)
		return err;
	if (opt->wrap) {
		struct bdev *lower = data;

		err = opt->wrap(opt->wrap_arg, lower, &data);
		if (err) {
			lower->ops->close(lower);
			return err;
		}
	}
	err = volume_write_header(data, uuid);
	data->ops->close(data);
	return err;
}

/* For the lock, and for meta.db so that it is the owner's alone: SQLite gives
 * its WAL the mode of the database. */
static int create_empty(int dirfd, const char *name)
{
	int fd = openat(dirfd, name,
			O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			0600);

	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

int volume_sync_folders(int dirfd)
{
	int parent;
	int err = 0;

	if (fsync(dirfd) < 0)
		return -errno;
	parent = openat(dirfd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -errno;
	if (fsync(parent) < 0)
		err = -errno;
	(void)close(parent);
	return err;
}

/* A random one, version 4. */
static int new_uuid(u8 uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

static int create_files(const char *path, int dirfd,
			const struct volume_options *opt)
{
	struct meta_super super = {
		.version = META_VERSION,
		.block_size = PAGE_SIZE,
		.nr_blocks = opt->size / PAGE_SIZE,
		.next_ino = META_ROOT_INO + 1,
		.created_ns = real_ns(),
	};
	int err = new_uuid(super.uuid);

	if (!err)
		err = create_empty(dirfd, "lock");
	if (!err)
		err = create_data(dirfd, opt, super.uuid);
	if (!err)
		err = create_empty(dirfd, "meta.db");
	if (!err)
		err = volume_sync_folders(dirfd);
	if (!err)
		err = meta_create(path, &super);
	if (!err)
		err = volume_sync_folders(dirfd);
	return err;
}

static void remove_files(int dirfd)
{
	static const char *const names[] = {
		"meta.db",     "meta.db-journal",
		"meta.db-wal", "meta.db-shm",
		"data",	       "lock",
		"freemap",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlinkat(dirfd, names[i], 0);
}

int volume_check_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int err = 0;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	while (!err && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0 &&
		    strcmp(d->d_name, "lost+found") != 0)
			err = -ENOTEMPTY;
	}
	(void)closedir(dir);
	return err;
}

static const char *not_empty(int dirfd)
{
	return faccessat(dirfd, "meta.db", F_OK, 0) == 0
		       ? "it is a volume already"
		       : "the folder is not empty";
}

static int create_in(const char *path, int dirfd,
		     const struct volume_options *opt, char *err, size_t errlen)
{
	int code = volume_check_host(dirfd, opt, err, errlen);

	if (code)
		return code;
	code = volume_check_empty(dirfd);
	if (code)
		return complain(err, errlen, code, "%s",
				code == -ENOTEMPTY ? not_empty(dirfd)
						   : strerror(-code));
	code = create_files(path, dirfd, opt);
	if (code) {
		remove_files(dirfd);
		return complain(err, errlen, code, "creating it: %s",
				strerror(-code));
	}
	return 0;
}

int volume_create(const char *path, const struct volume_options *opt, char *err,
		  size_t errlen)
{
	bool made = false;
	int dirfd;
	int code;

	(void)complain(err, errlen, 0, "%s", "");
	if (opt->size && opt->size / PAGE_SIZE < VOLUME_MIN_BLOCKS)
		return complain(err, errlen, -EINVAL,
				"a volume has at least %zuK",
				VOLUME_MIN_BLOCKS * PAGE_SIZE / 1024);
	if (opt->size / PAGE_SIZE > BLOCKS_MAX)
		return complain(err, errlen, -EINVAL, "it is too large");
	if (mkdir(path, 0700) == 0)
		made = true;
	else if (errno != EEXIST)
		return complain(err, errlen, -errno, "%s", strerror(errno));

	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		code = complain(err, errlen, -errno, "%s", strerror(errno));
	} else {
		code = create_in(path, dirfd, opt, err, errlen);
		(void)close(dirfd);
	}
	if (code && made)
		(void)rmdir(path);
	return code;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "swap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <unistd.h>

#include "clock.h"
#include "sum.h"
#include "volume_int.h"

static const char swap_magic[16] = "foliofs swap 01";

/* After a write has failed nothing is written for so long. */
#define REST_NS NSEC_PER_SEC
/* Entries for slots are numbered by 32 bits. */
#define MAX_BLOCKS ((u64)1 << 32)

struct swap_file {
	/* constant */
	char *path;
	int fd; /* has the lock */
	struct volume *volume;
	struct bdev *dev;
	struct blocks *blocks;
	void (*log)(void *arg, int level, const char *line);
	void *log_arg;

	/* atomic */
	u64 rest_until_ns; /* 0: the last write went well */
	struct swap_file_stat stat;
};

#define count(s, name, nr) \
	((void)__atomic_add_fetch(&(s)->stat.name, (nr), __ATOMIC_RELAXED))

/* ---- whether it may be ours ---- */

static int check_kind(int fd, char *err, size_t errlen)
{
	const char *network = volume_network_fs(fd);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain(err, errlen, -EINVAL,
				"it is not a regular file");
	if (st.st_uid != geteuid())
		return complain(err, errlen, -EPERM,
				"it belongs to another user");
	if (network)
		return complain(err, errlen, -EOPNOTSUPP,
				"it is on a network filesystem (%s)", network);
	return 0;
}

/* Empty, or with our first block; what is behind that means nothing. */
static int check_header(int fd, bool *ret_empty, char *err, size_t errlen)
{
	char magic[sizeof(swap_magic)];
	ssize_t len = pread(fd, magic, sizeof(magic), 0);

	if (len < 0)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	*ret_empty = len == 0;
	if (len && (len < (ssize_t)sizeof(magic) ||
		    memcmp(magic, swap_magic, sizeof(magic)) != 0))
		return complain(err, errlen, -EEXIST,
				"it has other content, and is no swap file of "
				"foliofs");
	return 0;
}

static int write_header(int fd)
{
	char *page = calloc(1, PAGE_SIZE);
	ssize_t len;
	int err = 0;

	if (!page)
		return -ENOMEM;
	memcpy(page, swap_magic, sizeof(swap_magic));
	len = pwrite(fd, page, PAGE_SIZE, 0);
	if (len != PAGE_SIZE)
		err = len < 0 ? -errno : -ENOSPC;
	/* or a power cut would leave a file that we take for another's */
	if (!err && fdatasync(fd) < 0)
		err = -errno;
	if (err)
		(void)!ftruncate(fd, 0);
	free(page);
	return err;
}

/* The lock comes first: what another daemon has there is not to be touched. */
static int make_ours(int fd, char *err, size_t errlen)
{
	bool empty;
	int code;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return complain(err, errlen, -errno, "%s",
				errno == EWOULDBLOCK ? "it is in use"
						     : strerror(errno));
	code = check_header(fd, &empty, err, errlen);
	if (code)
		return code;
	/* what is spilled there is what files have in them */
	if (fchmod(fd, 0600) < 0)
		code = -errno;
	if (!code)
		code = empty			      ? write_header(fd)
		       : ftruncate(fd, PAGE_SIZE) < 0 ? -errno
						      : 0;
	if (code)
		(void)complain(err, errlen, code, "%s", strerror(-code));
	return code;
}

/* ---- opening and closing ---- */

static u64 max_blocks(int fd)
{
	struct statvfs st;
	u64 nr = MAX_BLOCKS;

	if (fstatvfs(fd, &st) == 0)
		nr = (u64)st.f_blocks * (st.f_frsize / 512) / (PAGE_SIZE / 512);
	return min(max(nr, SWAP_FILE_MIN_BYTES / PAGE_SIZE), MAX_BLOCKS);
}

static int open_device(struct swap_file *s, const struct swap_file_options *opt)
{
	int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = bdev_file_use(fd, &s->dev);
	if (err) {
		(void)close(fd);
		return err;
	}
	return opt->wrap ? opt->wrap(opt->wrap_arg, s->dev, &s->dev) : 0;
}

/* Nothing is made on a network filesystem, which may be a mount of ours. */
static int make(const char *path)
{
	char *copy = strdup(path);
	int dirfd =
		copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
		     : -1;
	int fd = -1;

	if (dirfd < 0)
		fd = copy ? -errno : -ENOMEM;
	else if (volume_network_fs(dirfd))
		fd = -EOPNOTSUPP;
	else
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1)
		fd = -errno;
	if (dirfd >= 0)
		(void)close(dirfd);
	free(copy);
	return fd;
}

/* Return: a descriptor or -errno. */
static int open_or_make(const char *path)
{
	/* not to wait for a FIFO's reader */
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	return errno == ENOENT ? make(path) : -errno;
}

static const char *why_not(int err)
{
	switch (err) {
	case -EISDIR:
		return "it is a folder";
	case -EOPNOTSUPP:
		return "it is on a network filesystem, or one of FUSE";
	default:
		return strerror(-err);
	}
}

static int open_all(struct swap_file *s, const struct swap_file_options *opt,
		    char *err, size_t errlen)
{
	int code;

	s->fd = open_or_make(s->path);
	if (s->fd < 0)
		return complain(err, errlen, s->fd, "%s", why_not(s->fd));
	code = check_kind(s->fd, err, errlen);
	if (!code)
		code = make_ours(s->fd, err, errlen);
	if (code)
		return code;
	code = open_device(s, opt);
	if (!code)
		code = blocks_new(max_blocks(s->fd), NULL, NULL, &s->blocks);
	if (code)
		return complain(err, errlen, code, "%s", strerror(-code));
	if (volume_host_is_memory(s->fd))
		(void)complain(err, errlen, 0,
			       "it is kept in memory, which is what spilling "
			       "is to save");
	return 0;
}

int swap_file_open(const char *path, const struct swap_file_options *opt,
		   struct swap_file **ret, char *err, size_t errlen)
{
	struct swap_file *s;
	int code;

	(void)complain(err, errlen, 0, "%s", "");
	if (opt->size < SWAP_FILE_MIN_BYTES)
		return complain(err, errlen, -EINVAL,
				"a swap_size of at least %lluK is wanted",
				(unsigned long long)SWAP_FILE_MIN_BYTES / 1024);
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->volume = opt->volume;
	s->log = opt->log;
	s->log_arg = opt->log_arg;
	s->path = strdup(path);
	code = s->path ? open_all(s, opt, err, errlen) : -ENOMEM;
	if (code) {
		swap_file_close(s);
		return code;
	}
	*ret = s;
	return 0;
}

void swap_file_close(struct swap_file *s)
{
	if (!s)
		return;
	if (s->blocks)
		(void)!ftruncate(s->fd, PAGE_SIZE);
	blocks_free_all(s->blocks);
	if (s->dev)
		s->dev->ops->close(s->dev);
	if (s->fd >= 0)
		(void)close(s->fd);
	free(s->path);
	free(s);
}

const char *swap_file_path(const struct swap_file *s)
{
	return s->path;
}

/* ---- slots ---- */

static bool is_ours(slot_t slot)
{
	return (slot & SLOT_FOREIGN) != 0;
}

static bool is_resting(struct swap_file *s)
{
	u64 until = __atomic_load_n(&s->rest_until_ns, __ATOMIC_RELAXED);

	return until && mono_ns() < until;
}

static int file_alloc(void *arg, u32 want, bool commit, slot_t *ret_start,
		      u32 *ret_nr)
{
	struct swap_file *s = arg;
	u64 start;
	int err;

	if (commit)
		return volume_swap_ops.alloc(s->volume, want, true, ret_start,
					     ret_nr);
	if (is_resting(s))
		return -ENOSPC;
	err = blocks_alloc(s->blocks, want, &start, ret_nr);
	if (!err)
		*ret_start = start | SLOT_FOREIGN;
	return err;
}

/* Said when it begins. */
static void note_write(struct swap_file *s, int err)
{
	u64 until = err ? mono_ns() + REST_NS : 0;
	char line[512];

	if (!err && !__atomic_load_n(&s->rest_until_ns, __ATOMIC_RELAXED))
		return;
	until = __atomic_exchange_n(&s->rest_until_ns, until, __ATOMIC_RELAXED);
	if (!err)
		return;
	count(s, swap_file_write_errors, 1);
	if (until || !s->log)
		return;
	(void)snprintf(line, sizeof(line),
		       "swap file %s: writing: %s; it is taken for full",
		       s->path, strerror(-err));
	s->log(s->log_arg, LOG_WARNING, line);
}

static int file_write(void *arg, slot_t start, u32 nr, void *const *pages,
		      u64 *ret_sums, u64 *ret_epoch)
{
	struct swap_file *s = arg;
	int err;

	if (!is_ours(start))
		return volume_swap_ops.write(s->volume, start, nr, pages,
					     ret_sums, ret_epoch);
	err = s->dev->ops->write(s->dev, start & ~SLOT_FOREIGN, nr, pages);
	note_write(s, err);
	if (err)
		return err;
	count(s, swap_file_write_blocks, nr);
	for (u32 i = 0; i < nr; i++)
		ret_sums[i] = page_sum(pages[i]);
	*ret_epoch = 0;
	return 0;
}

/* A bad block among several is found one by one. */
static void read_blocks(struct swap_file *s, u64 block, u32 nr,
			void *const *pages, int *errs)
{
	int err = s->dev->ops->read(s->dev, block, nr, pages);

	count(s, swap_file_read_blocks, nr);
	for (u32 i = 0; i < nr; i++) {
		if (err && nr > 1)
			read_blocks(s, block + i, 1, pages + i, errs + i);
		else
			errs[i] = err;
	}
}

static int file_read(void *arg, slot_t start, u32 nr, void *const *pages,
		     const u64 *sums, int *errs)
{
	struct swap_file *s = arg;

	if (!is_ours(start))
		return volume_swap_ops.read(s->volume, start, nr, pages, sums,
					    errs);
	read_blocks(s, start & ~SLOT_FOREIGN, nr, pages, errs);
	for (u32 i = 0; i < nr; i++) {
		if (!errs[i] && page_sum(pages[i]) != sums[i])
			errs[i] = -EIO;
		if (errs[i])
			count(s, swap_file_read_errors, 1);
	}
	return 0;
}

static void file_free(void *arg, slot_t start, u32 nr)
{
	struct swap_file *s = arg;

	if (is_ours(start))
		blocks_free(s->blocks, start & ~SLOT_FOREIGN, nr);
	else
		volume_swap_ops.free(s->volume, start, nr);
}

const struct swap_operations swap_file_ops = {
	.alloc = file_alloc,
	.write = file_write,
	.read = file_read,
	.free = file_free,
};

/* ---- giving back ---- */

/* How many blocks are given back at once: others find them used meanwhile. */
#define COMPACT_BLOCKS 8192

/* Not the last block: behind it others write, and a discard that reached the
 * end would cut off what they did. */
int swap_file_compact_some(struct swap_file *s, u64 *from)
{
	u64 size, start;
	u32 nr;
	int err = s->dev->ops->size(s->dev, &size);

	if (err)
		return err;
	if (!size || !blocks_take_free(s->blocks, *from, size - 1,
				       COMPACT_BLOCKS, &start, &nr)) {
		blocks_pull_in(s->blocks);
		return 0;
	}
	err = s->dev->ops->discard(s->dev, start, nr);
	blocks_free(s->blocks, start, nr);
	if (err)
		return err;
	count(s, swap_file_discarded_blocks, nr);
	*from = start + nr;
	return 1;
}

/* ---- looking ---- */

/* What it has of the host, and what the host has besides. */
static u64 room_bytes(const struct swap_file *s)
{
	struct statvfs vfs;
	struct stat st;
	u64 room = 0;

	if (fstat(s->fd, &st) == 0)
		room = (u64)st.st_blocks * 512;
	if (fstatvfs(s->fd, &vfs) == 0)
		room += (u64)vfs.f_bavail * vfs.f_frsize;
	return room > PAGE_SIZE ? room - PAGE_SIZE : 0;
}

void swap_file_stat(struct swap_file *s, u64 bound, struct swap_file_stat *ret)
{
	struct blocks_stat st;

	*ret = (struct swap_file_stat){0};
	if (!s)
		return;
#define X(name, ...) \
	ret->name = __atomic_load_n(&s->stat.name, __ATOMIC_RELAXED);
	SWAP_FILE_COUNTERS(X)
#undef X
	blocks_stat(s->blocks, &st);
	ret->swap_file_used_bytes = (st.used - 1) * PAGE_SIZE;
	ret->swap_file_bytes =
		max(min(bound, room_bytes(s)), ret->swap_file_used_bytes);
}

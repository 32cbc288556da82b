/* SPDX-License-Identifier: MIT */
/*
 * A local file as block device. O_DIRECT where the host allows it, so that no
 * third copy of the data sits in the host's page cache; else buffered, and
 * the copies are dropped after reads and flushes, and now and then in between:
 * a swap file is never flushed.
 */
#include "config.h"

#include "bdev.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* iovecs of one system call; adjacent pages share one. */
#define MAX_IOV 256
/* Without O_DIRECT: after so many bytes that were written. */
#define DROP_BYTES (8u << 20)

struct bdev_file {
	struct bdev bdev;
	int fd;

	/* atomic */
	bool direct;   /* goes off when the host refuses */
	u64 undropped; /* bytes written since the copies were dropped */
	bool no_dsync; /* the host has no durable writes */
};

static struct bdev_file *file_of(struct bdev *b)
{
	return container_of(b, struct bdev_file, bdev);
}

static bool is_direct(const struct bdev_file *f)
{
	return __atomic_load_n(&f->direct, __ATOMIC_RELAXED);
}

/* The host is to have no pages that nobody has asked for. */
static void no_readahead(int fd)
{
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

/* What is not on the disk yet stays, and begins to go there. */
static void drop_copies(struct bdev_file *f)
{
	__atomic_store_n(&f->undropped, 0, __ATOMIC_RELAXED);
	(void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Describe bytes [done, nr * PAGE_SIZE) of pages[]. Return: iovecs used. */
static int fill_iov(struct iovec *iov, void *const *pages, u32 nr, size_t done)
{
	size_t off = done % PAGE_SIZE;
	int n = 0;

	for (u32 i = (u32)(done / PAGE_SIZE); i < nr; i++) {
		char *p = (char *)pages[i] + off;
		size_t len = PAGE_SIZE - off;

		off = 0;
		if (n && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == p)
			iov[n - 1].iov_len += len;
		else if (n < MAX_IOV)
			iov[n++] = (struct iovec){p, len};
		else
			break;
	}
	return n;
}

/*
 * Some hosts take O_DIRECT at open and refuse the transfer, or want another
 * alignment than ours: go on without.
 */
static int stop_direct(struct bdev_file *f)
{
	int flags = fcntl(f->fd, F_GETFL);

	if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return -errno;
	no_readahead(f->fd);
	__atomic_store_n(&f->direct, false, __ATOMIC_RELAXED);
	return 0;
}

enum how {
	READ,
	WRITE,
	WRITE_SYNC, /* durable on return */
};

/* One system call. Return: bytes, or -errno; -EAGAIN: try again. */
static ssize_t transfer(struct bdev_file *f, enum how how, u64 pos,
			const struct iovec *iov, int n)
{
	bool direct = is_direct(f);
	ssize_t len;
	int err;

	if (how == READ)
		len = preadv(f->fd, iov, n, (off_t)pos);
	else if (how == WRITE)
		len = pwritev(f->fd, iov, n, (off_t)pos);
	else
		len = pwritev2(f->fd, iov, n, (off_t)pos, RWF_DSYNC);
	if (len >= 0)
		return len;
	err = -errno;
	if (err == -EINTR)
		return -EAGAIN;
	if (err == -EINVAL && direct)
		return stop_direct(f) ? err : -EAGAIN;
	/* Disks have many words for it: ENODATA is a bad sector. */
	if (how == READ)
		return err == -ENOMEM ? err : -EIO;
	/* A full host is what the user calls a full volume. */
	return err == -EDQUOT || err == -EFBIG ? -ENOSPC : err;
}

static void zero_rest(void *const *pages, u32 nr, size_t done)
{
	for (u32 i = (u32)(done / PAGE_SIZE); i < nr; i++) {
		size_t off = done % PAGE_SIZE;

		memset((char *)pages[i] + off, 0, PAGE_SIZE - off);
		done += PAGE_SIZE - off;
	}
}

static int file_read(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev_file *f = file_of(b);
	size_t total = (size_t)nr * PAGE_SIZE;
	size_t done = 0;

	while (done < total) {
		struct iovec iov[MAX_IOV];
		int n = fill_iov(iov, pages, nr, done);
		ssize_t len =
			transfer(f, READ, block * PAGE_SIZE + done, iov, n);

		if (len == -EAGAIN)
			continue;
		if (len < 0)
			return (int)len;
		if (len == 0)
			break;
		done += (size_t)len;
	}
	zero_rest(pages, nr, done);
	if (!is_direct(f))
		(void)posix_fadvise(f->fd, (off_t)(block * PAGE_SIZE),
				    (off_t)total, POSIX_FADV_DONTNEED);
	return 0;
}

static int write_all(struct bdev_file *f, enum how how, u64 block, u32 nr,
		     void *const *pages)
{
	size_t total = (size_t)nr * PAGE_SIZE;
	size_t done = 0;

	while (done < total) {
		struct iovec iov[MAX_IOV];
		int n = fill_iov(iov, pages, nr, done);
		ssize_t len =
			transfer(f, how, block * PAGE_SIZE + done, iov, n);

		if (len == -EAGAIN)
			continue;
		if (len <= 0)
			return len ? (int)len : -EIO;
		done += (size_t)len;
	}
	if (!is_direct(f) && __atomic_add_fetch(&f->undropped, total,
						__ATOMIC_RELAXED) >= DROP_BYTES)
		drop_copies(f);
	return 0;
}

static int file_write(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	return write_all(file_of(b), WRITE, block, nr, pages);
}

static int file_flush(struct bdev *b)
{
	struct bdev_file *f = file_of(b);

	if (fdatasync(f->fd) < 0)
		return errno == EDQUOT ? -ENOSPC : -errno;
	if (!is_direct(f))
		drop_copies(f);
	return 0;
}

/* Old kernels and sandboxes know no RWF_DSYNC. */
static bool lacks_dsync(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS;
}

static int file_write_sync(struct bdev *b, u64 block, u32 nr,
			   void *const *pages)
{
	struct bdev_file *f = file_of(b);
	int err = -EOPNOTSUPP;

	if (!__atomic_load_n(&f->no_dsync, __ATOMIC_RELAXED))
		err = write_all(f, WRITE_SYNC, block, nr, pages);
	if (lacks_dsync(err)) {
		__atomic_store_n(&f->no_dsync, true, __ATOMIC_RELAXED);
		err = write_all(f, WRITE, block, nr, pages);
		return err ? err : file_flush(b);
	}
	if (!err && !is_direct(f))
		(void)posix_fadvise(f->fd, (off_t)(block * PAGE_SIZE),
				    (off_t)nr * PAGE_SIZE, POSIX_FADV_DONTNEED);
	return err;
}

static int file_size(struct bdev *b, u64 *ret_blocks)
{
	struct stat st;

	if (fstat(file_of(b)->fd, &st) < 0)
		return -errno;
	*ret_blocks = (u64)st.st_size / PAGE_SIZE;
	return 0;
}

static int file_discard(struct bdev *b, u64 block, u64 nr)
{
	struct bdev_file *f = file_of(b);
	u64 size;
	int err = file_size(b, &size);

	if (err)
		return err;
	if (block + nr >= size)
		return ftruncate(f->fd, (off_t)(block * PAGE_SIZE)) < 0 ? -errno
									: 0;
	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(block * PAGE_SIZE), (off_t)(nr * PAGE_SIZE)) < 0)
		return -errno;
	return 0;
}

/* The host counts what it needs itself to find the blocks as well. */
static int file_held(struct bdev *b, u64 *ret_blocks)
{
	struct stat st;

	if (fstat(file_of(b)->fd, &st) < 0)
		return -errno;
	*ret_blocks = min((u64)st.st_blocks / (PAGE_SIZE / 512),
			  (u64)st.st_size / PAGE_SIZE);
	return 0;
}

static int file_grow(struct bdev *b, u64 blocks)
{
	struct bdev_file *f = file_of(b);
	u64 old;
	int err = file_size(b, &old);

	if (err)
		return err;
	if (blocks <= old)
		return 0;
	do {
		err = fallocate(f->fd, 0, (off_t)(old * PAGE_SIZE),
				(off_t)((blocks - old) * PAGE_SIZE)) < 0
			      ? -errno
			      : 0;
	} while (err == -EINTR);
	if (err == -EOPNOTSUPP)
		err = ftruncate(f->fd, (off_t)(blocks * PAGE_SIZE)) < 0 ? -errno
									: 0;
	return err == -EDQUOT || err == -EFBIG ? -ENOSPC : err;
}

static void file_close(struct bdev *b)
{
	struct bdev_file *f = file_of(b);

	(void)close(f->fd);
	free(f);
}

static const struct bdev_operations file_operations = {
	.name = "file",
	.read = file_read,
	.write = file_write,
	.write_sync = file_write_sync,
	.flush = file_flush,
	.discard = file_discard,
	.size = file_size,
	.held = file_held,
	.grow = file_grow,
	.close = file_close,
};

int bdev_file_use(int fd, struct bdev **ret_bdev)
{
	struct bdev_file *f = calloc(1, sizeof(*f));
	int flags = fcntl(fd, F_GETFL);

	if (!f)
		return -ENOMEM;
	f->bdev.ops = &file_operations;
	f->fd = fd;
	f->direct = flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
	if (!f->direct)
		no_readahead(fd);
	*ret_bdev = &f->bdev;
	return 0;
}

int bdev_file_open(int dirfd, const char *name, int flags,
		   struct bdev **ret_bdev)
{
	struct bdev_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->bdev.ops = &file_operations;
	flags |= O_CLOEXEC | O_NOFOLLOW;

	f->direct = true;
	f->fd = openat(dirfd, name, flags | O_DIRECT, 0600);
	if (f->fd < 0 && errno == EINVAL) {
		f->direct = false;
		/* O_EXCL: some hosts make the file before they refuse. */
		f->fd = openat(dirfd, name, flags & ~O_EXCL, 0600);
	}
	if (f->fd < 0) {
		err = -errno;
		free(f);
		return err;
	}
	if (!f->direct)
		no_readahead(f->fd);
	*ret_bdev = &f->bdev;
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* Block devices: src/bdev.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bdev.h"
#include "test.h"
#include "tmpdir.h"

#define NR 600

static u8 *mem;	  /* 2 * NR pages */
static u8 *model; /* what the device should hold: NR pages */
static struct bdev *dev;

static void setup(void)
{
	tmpdir_make();
	mem = aligned_alloc(PAGE_SIZE, 2 * NR * PAGE_SIZE);
	model = calloc(NR, PAGE_SIZE);
	ck_assert_int_eq(bdev_file_open(AT_FDCWD, tmpdir_path("data"),
					O_RDWR | O_CREAT | O_EXCL, &dev),
			 0);
}

static void teardown(void)
{
	dev->ops->close(dev);
	free(mem);
	free(model);
	tmpdir_remove();
}

/* Pages of memory: one behind the other, in reverse, or every second. */
static void lay_out(struct rng *rng, void **pages, u32 nr)
{
	u64 how = rng_below(rng, 3);

	for (u32 i = 0; i < nr; i++) {
		u32 at = how == 0 ? i : how == 1 ? nr - 1 - i : 2 * i;

		pages[i] = mem + at * PAGE_SIZE;
	}
}

static void random_step(struct rng *rng)
{
	void *pages[NR];
	u32 nr = (u32)rng_range(rng, 1, NR);
	u64 block = rng_below(rng, NR - nr + 1);

	lay_out(rng, pages, nr);
	if (rng_one_in(rng, 2)) {
		for (u32 i = 0; i < nr; i++) {
			memset(pages[i], (int)rng_below(rng, 256), PAGE_SIZE);
			memcpy(model + (block + i) * PAGE_SIZE, pages[i],
			       PAGE_SIZE);
		}
		ck_assert_int_eq(dev->ops->write(dev, block, nr, pages), 0);
		return;
	}
	for (u32 i = 0; i < nr; i++)
		memset(pages[i], 0xee, PAGE_SIZE);
	ck_assert_int_eq(dev->ops->read(dev, block, nr, pages), 0);
	for (u32 i = 0; i < nr; i++)
		ck_assert(memcmp(pages[i], model + (block + i) * PAGE_SIZE,
				 PAGE_SIZE) == 0);
}

START_TEST(what_was_written_is_read_however_memory_lies)
{
	struct rng rng;

	rng_init(&rng, 1);
	for (u64 i = 0; i < test_rounds(200); i++) {
		random_step(&rng);
		if (rng_one_in(&rng, 20))
			ck_assert_int_eq(dev->ops->flush(dev), 0);
	}
}
END_TEST

START_TEST(behind_the_end_there_are_zeros)
{
	void *pages[4];
	static const u8 zeros[PAGE_SIZE];

	for (int i = 0; i < 4; i++)
		pages[i] = mem + (size_t)i * PAGE_SIZE;
	memset(mem, 7, 4 * PAGE_SIZE);
	ck_assert_int_eq(dev->ops->write(dev, 0, 2, pages), 0);
	/* and the rest of a block that was cut in the middle */
	ck_assert_int_eq(truncate(tmpdir_path("data"), PAGE_SIZE + 512), 0);
	ck_assert_int_eq(dev->ops->read(dev, 0, 4, pages), 0);
	ck_assert_int_eq(mem[PAGE_SIZE + 511], 7);
	ck_assert(memcmp(mem + PAGE_SIZE + 512, zeros, PAGE_SIZE - 512) == 0);
	ck_assert(memcmp(pages[2], zeros, PAGE_SIZE) == 0);
	ck_assert(memcmp(pages[3], zeros, PAGE_SIZE) == 0);
}
END_TEST

START_TEST(growing_allocates_and_discarding_gives_back)
{
	struct stat st;
	u64 size;

	ck_assert_int_eq(dev->ops->grow(dev, 1000), 0);
	ck_assert_int_eq(dev->ops->grow(dev, 10), 0);
	ck_assert_int_eq(dev->ops->size(dev, &size), 0);
	ck_assert_uint_eq(size, 1000);
	ck_assert_int_eq(dev->ops->discard(dev, 100, 200), 0);
	ck_assert_int_eq(dev->ops->size(dev, &size), 0);
	ck_assert_uint_eq(size, 1000);
	ck_assert_int_eq(dev->ops->discard(dev, 500, 500), 0);
	ck_assert_int_eq(dev->ops->size(dev, &size), 0);
	ck_assert_uint_eq(size, 500);
	ck_assert_int_eq(stat(tmpdir_path("data"), &st), 0);
	ck_assert_int_eq(st.st_size, 500 * (off_t)PAGE_SIZE);
	ck_assert_int_le(st.st_blocks * 512, 300 * (off_t)PAGE_SIZE);
}
END_TEST

START_TEST(opening_answers_what_the_host_says)
{
	struct bdev *b = NULL;

	ck_assert_int_eq(
		bdev_file_open(AT_FDCWD, tmpdir_path("none"), O_RDWR, &b),
		-ENOENT);
	ck_assert_int_eq(bdev_file_open(AT_FDCWD, tmpdir_path("data"),
					O_RDWR | O_CREAT | O_EXCL, &b),
			 -EEXIST);
	ck_assert_int_eq(symlink("data", tmpdir_path("link")), 0);
	ck_assert_int_eq(
		bdev_file_open(AT_FDCWD, tmpdir_path("link"), O_RDWR, &b),
		-ELOOP);
	ck_assert_ptr_null(b);
}
END_TEST

START_TEST(a_host_error_is_told)
{
	struct bdev *b;
	void *page = mem;

	ck_assert_int_eq(
		bdev_file_open(AT_FDCWD, tmpdir_path("data"), O_RDONLY, &b), 0);
	ck_assert_int_eq(b->ops->write(b, 0, 1, &page), -EBADF);
	ck_assert_int_lt(b->ops->grow(b, 10), 0);
	b->ops->close(b);

	/* whatever it was: a reader must not take it for anything else */
	ck_assert_int_eq(
		bdev_file_open(AT_FDCWD, tmpdir_path("data"), O_WRONLY, &b), 0);
	ck_assert_int_eq(b->ops->read(b, 0, 1, &page), -EIO);
	b->ops->close(b);
}
END_TEST

START_TEST(a_full_host_is_enospc)
{
	struct bdev *b;
	void *page = mem;

	/* takes no O_DIRECT write of any alignment, and is always full */
	ck_assert_int_eq(bdev_file_open(AT_FDCWD, "/dev/full", O_RDWR, &b), 0);
	ck_assert_int_eq(b->ops->write(b, 0, 1, &page), -ENOSPC);
	b->ops->close(b);
}
END_TEST

START_TEST(the_fault_device_fails_the_nth_call_of_a_kind)
{
	struct bdev *f;
	void *pages[2] = {mem, mem + PAGE_SIZE};
	u64 size;

	ck_assert_int_eq(bdev_fault_wrap(dev, &f), 0);
	dev = f;
	memset(mem, 1, 2 * PAGE_SIZE);
	bdev_fault_arm(f, BDEV_FAULT_WRITE | BDEV_FAULT_FLUSH, 2, -EIO, false);
	ck_assert_int_eq(f->ops->write(f, 0, 2, pages), 0);
	ck_assert_int_eq(f->ops->read(f, 0, 2, pages), 0);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_uint_eq(bdev_fault_calls(f), 3);

	/* a failing write may have happened by half */
	bdev_fault_arm(f, BDEV_FAULT_WRITE, 1, -ENOSPC, true);
	memset(mem, 2, 2 * PAGE_SIZE);
	ck_assert_int_eq(f->ops->write(f, 0, 2, pages), -ENOSPC);
	ck_assert_int_eq(f->ops->write(f, 1, 1, pages), -ENOSPC);
	bdev_fault_arm(f, BDEV_FAULT_READ, 2, -EIO, false);
	ck_assert_int_eq(f->ops->read(f, 0, 2, pages), 0);
	ck_assert_int_eq(mem[0], 2);
	ck_assert_int_eq(mem[PAGE_SIZE], 1);
	ck_assert_int_eq(f->ops->read(f, 0, 2, pages), -EIO);

	bdev_fault_arm(f, BDEV_FAULT_GROW, 1, -ENOSPC, false);
	ck_assert_int_eq(f->ops->grow(f, 50), -ENOSPC);
	ck_assert_int_eq(f->ops->grow(f, 50), 0);
	ck_assert_int_eq(f->ops->size(f, &size), 0);
	ck_assert_uint_eq(size, 50);
}
END_TEST

/* ---- what the host keeps ---- */

enum refusal {
	REFUSES_NOTHING,
	REFUSES_OPEN,	  /* as some hosts do: EINVAL */
	REFUSES_TRANSFER, /* others, or where 4096 bytes are no sector */
};

static enum refusal refusal;

int __real_openat(int dirfd, const char *name, int flags, ...);
int __wrap_openat(int dirfd, const char *name, int flags, ...);
ssize_t __real_preadv(int fd, const struct iovec *iov, int n, off_t pos);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t pos);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t pos);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t pos);
ssize_t __real_pwritev2(int fd, const struct iovec *iov, int n, off_t pos,
			int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int n, off_t pos,
			int flags);

int __wrap_openat(int dirfd, const char *name, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (refusal == REFUSES_OPEN && flags & O_DIRECT) {
		errno = EINVAL;
		return -1;
	}
	return __real_openat(dirfd, name, flags, mode);
}

static bool refuses_transfer(int fd)
{
	if (refusal != REFUSES_TRANSFER || !(fcntl(fd, F_GETFL) & O_DIRECT))
		return false;
	errno = EINVAL;
	return true;
}

ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t pos)
{
	return refuses_transfer(fd) ? -1 : __real_preadv(fd, iov, n, pos);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t pos)
{
	return refuses_transfer(fd) ? -1 : __real_pwritev(fd, iov, n, pos);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int n, off_t pos,
			int flags)
{
	return refuses_transfer(fd) ? -1
				    : __real_pwritev2(fd, iov, n, pos, flags);
}

/* The descriptor of the file, as /proc shows it. */
static int fd_of(const char *path)
{
	char want[1200], link[64], is[1200];
	int found = -1;

	ck_assert_ptr_nonnull(realpath(path, want));
	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, is, sizeof(is) - 1);
		if (n > 0 && (size_t)n == strlen(want) &&
		    !memcmp(is, want, (size_t)n))
			found = fd;
	}
	ck_assert_int_ge(found, 0);
	return found;
}

static bool is_direct(const char *path)
{
	char name[64];
	unsigned flags = 0;
	char line[128];
	FILE *f;

	(void)snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd_of(path));
	f = fopen(name, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		(void)sscanf(line, "flags: %o", &flags);
	(void)fclose(f);
	return flags & O_DIRECT;
}

/* Pages of the file that the host has in its page cache. */
static u32 resident(const char *path)
{
	static u8 in_core[65536];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	size_t nr;
	void *map;
	u32 n = 0;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	nr = (size_t)st.st_size / PAGE_SIZE;
	ck_assert_uint_le(nr, sizeof(in_core));
	map = mmap(NULL, nr * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mincore(map, nr * PAGE_SIZE, in_core), 0);
	for (size_t i = 0; i < nr; i++)
		n += in_core[i] & 1;
	(void)munmap(map, nr * PAGE_SIZE);
	(void)close(fd);
	return n;
}

/* On a host in memory what is there is resident, and that is all there is. */
static bool host_drops(void)
{
	static const char probe[PAGE_SIZE];
	int fd = open(tmpdir_path("probe"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, probe, PAGE_SIZE), PAGE_SIZE);
	ck_assert_int_eq(fsync(fd), 0);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(fd);
	return !resident(tmpdir_path("probe"));
}

static void write_all(struct bdev *b, u32 nr)
{
	void *pages[NR];

	for (u32 i = 0; i < NR; i++)
		pages[i] = mem + i * PAGE_SIZE;
	for (u32 at = 0; at < nr; at += NR)
		ck_assert_int_eq(
			(at / NR % 2 ? b->ops->write_sync : b->ops->write)(
				b, at, min(nr - at, (u32)NR), pages),
			0);
}

START_TEST(the_host_keeps_no_copy_of_the_data)
{
	const char *name = tmpdir_path("other");
	void *pages[NR];
	bool direct;
	struct bdev *b;

	for (u32 i = 0; i < NR; i++)
		pages[i] = mem + i * PAGE_SIZE;
	refusal = (enum refusal)_i;
	ck_assert_int_eq(
		bdev_file_open(AT_FDCWD, name, O_RDWR | O_CREAT | O_EXCL, &b),
		0);
	/* does this one know O_DIRECT at all? */
	direct = is_direct(name);
	if (refusal == REFUSES_OPEN)
		ck_assert(!direct);
	memset(mem, 'x', 2 * NR * PAGE_SIZE);
	write_all(b, 2 * NR);
	ck_assert_int_eq(b->ops->flush(b), 0);
	ck_assert_int_eq(is_direct(name), refusal ? false : direct);
	if (!host_drops())
		goto out;
	ck_assert_uint_eq(resident(name), 0);

	/* here and there, and one behind the other */
	for (u32 at = 0; at < 2 * NR; at += 97) {
		memset(mem, 0, PAGE_SIZE);
		ck_assert_int_eq(b->ops->read(b, at, 1, pages), 0);
		ck_assert_int_eq(*(u8 *)pages[0], 'x');
		ck_assert_uint_eq(resident(name), 0);
	}
	for (u32 at = 0; at < 2 * NR; at += 8) {
		ck_assert_int_eq(b->ops->read(b, at, 8, pages), 0);
		ck_assert_uint_eq(resident(name), 0);
	}
out:
	b->ops->close(b);
	refusal = REFUSES_NOTHING;
}
END_TEST

/* A swap file is never flushed: what has come to the disk meanwhile goes. */
START_TEST(nor_of_what_is_not_flushed)
{
	const char *name = tmpdir_path("other");
	struct bdev *b;
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	refusal = REFUSES_TRANSFER;
	ck_assert_int_eq(bdev_file_use(dup(fd), &b), 0);
	write_all(b, 8192);
	ck_assert_int_eq(fsync(fd), 0);
	write_all(b, 2400);
	if (host_drops())
		ck_assert_uint_le(resident(name), 2400);
	b->ops->close(b);
	(void)close(fd);
	refusal = REFUSES_NOTHING;
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("bdev", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_was_written_is_read_however_memory_lies);
	tcase_add_test(tc, behind_the_end_there_are_zeros);
	tcase_add_test(tc, growing_allocates_and_discarding_gives_back);
	tcase_add_test(tc, opening_answers_what_the_host_says);
	tcase_add_test(tc, a_host_error_is_told);
	tcase_add_test(tc, a_full_host_is_enospc);
	tcase_add_test(tc, the_fault_device_fails_the_nth_call_of_a_kind);
	tcase_add_loop_test(tc, the_host_keeps_no_copy_of_the_data,
			    REFUSES_NOTHING, REFUSES_TRANSFER + 1);
	tcase_add_test(tc, nor_of_what_is_not_flushed);
	return s;
}

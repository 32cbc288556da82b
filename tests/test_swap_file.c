/* SPDX-License-Identifier: MIT */
/*
 * A swap file: whose it may be, what a filesystem makes of it, and what happens
 * when it fails: each read and write once, and for ever.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs_util.h"
#include "swap_file.h"
#include "tmpdir.h"

#define ROOT FS_ROOT_INO
#define NR_PAGES 768u
#define LEN ((size_t)NR_PAGES * PAGE_SIZE)

static struct test_fs t;
static u8 *buf, *want;

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
	t.cache_size = 1u << 20;
	t.swap = "swap";
	buf = malloc(LEN);
	want = malloc(LEN);
	ck_assert(buf && want);
}

static void teardown(void)
{
	free(buf);
	free(want);
	tmpdir_remove();
}

/* ---- whose it may be ---- */

static int try_open(const char *name, u64 size, struct swap_file **ret,
		    char err[128])
{
	struct swap_file_options opt = {.size = size};

	return swap_file_open(tmpdir_path(name), &opt, ret, err, 128);
}

static void expect_refused(const char *name, u64 size, int code,
			   const char *why)
{
	struct swap_file *s = NULL;
	char err[128];

	ck_assert_int_eq(try_open(name, size, &s, err), code);
	ck_assert_ptr_null(s);
	ck_assert_ptr_nonnull(strstr(err, why));
	ck_assert_ptr_null(strchr(err, '\n'));
}

static void put_file(const char *name, const void *data, size_t len,
		     mode_t mode)
{
	int fd = open(tmpdir_path(name), O_RDWR | O_CREAT | O_TRUNC, mode);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	(void)close(fd);
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(tmpdir_path(name), &st), 0);
	return st;
}

START_TEST(a_file_is_made_for_its_owner_alone_and_emptied_when_closed)
{
	struct swap_file *s;
	char err[128];

	ck_assert_int_eq(try_open("swap", UINT64_MAX, &s, err), 0);
	ck_assert_str_eq(err, "");
	ck_assert_str_eq(swap_file_path(s), tmpdir_path("swap"));
	ck_assert_uint_eq(stat_of("swap").st_mode, S_IFREG | 0600);
	swap_file_close(s);
	ck_assert_int_eq(stat_of("swap").st_size, PAGE_SIZE);
}
END_TEST

START_TEST(a_file_in_memory_is_noted)
{
	struct swap_file_options opt = {.size = UINT64_MAX};
	struct swap_file *s;
	char err[128], path[64];

	if (access("/dev/shm", W_OK) != 0)
		return;
	(void)snprintf(path, sizeof(path), "/dev/shm/foliofs-test-%d",
		       (int)getpid());
	ck_assert_int_eq(swap_file_open(path, &opt, &s, err, sizeof(err)), 0);
	ck_assert_msg(strstr(err, "memory"), "%s", err);
	swap_file_close(s);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(what_a_killed_daemon_left_is_thrown_away)
{
	struct swap_file *s;
	char err[128];

	memset(buf, 0xee, LEN);
	(void)snprintf((char *)buf, LEN, "foliofs swap 01");
	put_file("swap", buf, LEN, 0644);
	ck_assert_int_eq(try_open("swap", UINT64_MAX, &s, err), 0);
	ck_assert_int_eq(stat_of("swap").st_size, PAGE_SIZE);
	ck_assert_uint_eq(stat_of("swap").st_mode, S_IFREG | 0600);
	swap_file_close(s);
}
END_TEST

START_TEST(a_file_in_use_is_refused_and_not_touched)
{
	struct swap_file *s;
	char err[128];

	ck_assert_int_eq(try_open("swap", UINT64_MAX, &s, err), 0);
	ck_assert_int_eq(truncate(tmpdir_path("swap"), 5 * PAGE_SIZE), 0);
	expect_refused("swap", UINT64_MAX, -EWOULDBLOCK, "in use");
	ck_assert_int_eq(stat_of("swap").st_size, 5 * PAGE_SIZE);
	swap_file_close(s);
	ck_assert_int_eq(try_open("swap", UINT64_MAX, &s, err), 0);
	swap_file_close(s);
}
END_TEST

START_TEST(what_is_not_ours_is_refused_and_not_touched)
{
	struct swap_file *s;
	char err[128];

	put_file("text", "some text of mine\n", 18, 0640);
	expect_refused("text", UINT64_MAX, -EEXIST, "other content");
	ck_assert_int_eq(stat_of("text").st_size, 18);
	ck_assert_uint_eq(stat_of("text").st_mode, S_IFREG | 0640);
	/* shorter than our mark, and of zeros as a disk image may begin */
	put_file("short", "x", 1, 0600);
	expect_refused("short", UINT64_MAX, -EEXIST, "other content");
	memset(buf, 0, LEN);
	put_file("image", buf, LEN, 0600);
	expect_refused("image", UINT64_MAX, -EEXIST, "other content");

	ck_assert_int_eq(mkdir(tmpdir_path("folder"), 0700), 0);
	expect_refused("folder", UINT64_MAX, -EISDIR, "folder");
	ck_assert_int_eq(mkfifo(tmpdir_path("fifo"), 0600), 0);
	expect_refused("fifo", UINT64_MAX, -EINVAL, "regular file");
	expect_refused("none/swap", UINT64_MAX, -ENOENT, "No such file");

	expect_refused("small", SWAP_FILE_MIN_BYTES - 1, -EINVAL, "1024K");
	ck_assert_int_ne(access(tmpdir_path("small"), F_OK), 0);
	ck_assert_int_eq(try_open("small", SWAP_FILE_MIN_BYTES, &s, err), 0);
	swap_file_close(s);
}
END_TEST

/* ---- what a filesystem makes of it ---- */

static struct swap_file_stat swap_stat(void)
{
	struct swap_file_stat st;

	swap_file_stat(fs_swap_file(t.fs), UINT64_MAX, &st);
	return st;
}

static u64 data_written(void)
{
	return fs_volume(t.fs)->count.data_write_blocks;
}

/* The FUSE layer asks again after a commit, which is not told of here. */
static void write_version(u64 fh, u64 version)
{
	test_pattern(buf, LEN, 0, version);
	for (size_t done = 0; done < LEN;) {
		ssize_t n = test_try_write(&t, fh, done, buf + done,
					   min(LEN - done, (size_t)128 << 10));

		ck_assert_msg(n > 0, "write: %s", strerror((int)-n));
		done += (size_t)n;
	}
}

static bool has_version(u64 fh, u64 version)
{
	test_pattern(want, LEN, 0, version);
	for (size_t done = 0; done < LEN;) {
		ssize_t n = test_read(&t, fh, done, buf + done,
				      min(LEN - done, (size_t)1 << 20));

		ck_assert_msg(n > 0, "read: %s", strerror((int)-n));
		done += (size_t)n;
	}
	return !memcmp(buf, want, LEN);
}

static u64 open_new(u64 version)
{
	u64 fh;

	test_fs_open(&t);
	(void)test_create(&t, ROOT, "f", &fh);
	write_version(fh, version);
	return fh;
}

static void expect_after_reopen(u64 version)
{
	u64 fh;

	test_fs_reopen(&t);
	fh = test_open(&t, test_lookup(&t, ROOT, "f"));
	ck_assert(has_version(fh, version));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}

START_TEST(pages_are_spilled_to_it_and_copied_by_the_commit)
{
	u64 fh = open_new(1), used = swap_stat().swap_file_used_bytes;
	u64 before = data_written();

	ck_assert_uint_gt(used, LEN / 2);
	ck_assert_uint_ge(swap_stat().swap_file_bytes, used);
	ck_assert_uint_gt(swap_stat().swap_file_write_blocks, 0);
	/* nothing was written to the volume for want of memory */
	ck_assert_uint_lt(before, 8);
	ck_assert(has_version(fh, 1));
	ck_assert_uint_gt(swap_stat().swap_file_read_blocks, 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(swap_stat().swap_file_used_bytes, 0);
	ck_assert_uint_ge(data_written() - before, NR_PAGES);
	ck_assert_uint_le(data_written() - before, NR_PAGES + 16);
	ck_assert(has_version(fh, 1));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_after_reopen(1);
	ck_assert_int_eq(stat_of("swap").st_size, PAGE_SIZE);
}
END_TEST

START_TEST(a_volume_that_is_used_without_it_later_has_everything)
{
	u64 fh = open_new(1);

	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	ck_assert_int_eq(unlink(tmpdir_path("swap")), 0);
	t.swap = NULL;
	test_fs_open(&t);
	expect_after_reopen(1);
}
END_TEST

static int compact(void)
{
	u64 from = 0;
	int more;

	do
		more = fs_compact_swap_some(t.fs, &from);
	while (more > 0);
	return more;
}

/* What the host has given the file, in pages; it counts some of its own. */
static u64 held(void)
{
	return (u64)stat_of("swap").st_blocks / (PAGE_SIZE / 512);
}

static u64 used_pages(void)
{
	return swap_stat().swap_file_used_bytes / PAGE_SIZE;
}

START_TEST(free_slots_are_given_back_and_those_in_use_stay)
{
	u64 fh = open_new(1), before = held(), used;
	u64 ino, other;

	ck_assert_int_eq(compact(), 0);
	ck_assert_uint_le(swap_stat().swap_file_discarded_blocks, 1);
	ck_assert(has_version(fh, 1));

	/* of another file some slots stay, behind those that become free; as it
	 * is atomic, no commit for want of memory takes it along */
	ino = test_create(&t, ROOT, "other", &other);
	ck_assert_int_eq(fs_setxattr(t.fs, ino, FS_XATTR_ATOMIC, "1", 1, 0), 0);
	write_version(other, 2);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_gt(used_pages(), 0);
	ck_assert_uint_ge(before, NR_PAGES / 2);
	ck_assert_uint_gt(held(), before);

	bdev_fault_arm(t.swap_fault, BDEV_FAULT_DISCARD, 1, -EOPNOTSUPP, false);
	ck_assert_int_eq(compact(), -EOPNOTSUPP);
	ck_assert_uint_gt(held(), before);
	bdev_fault_arm(t.swap_fault, 0, 0, 0, false);
	/* reclaim may be at work in the background */
	do {
		used = used_pages();
		ck_assert_int_eq(compact(), 0);
	} while (used_pages() != used);
	ck_assert_uint_gt(used, 0);
	ck_assert_uint_gt(swap_stat().swap_file_discarded_blocks, 0);
	ck_assert_uint_le(held(), used + 16);
	ck_assert(has_version(other, 2));

	write_version(fh, 3);
	ck_assert(has_version(other, 2));
	ck_assert(has_version(fh, 3));
	ck_assert_int_eq(test_fsync(&t, other), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(compact(), 0);
	ck_assert_uint_le(held(), 16);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_after_reopen(3);
}
END_TEST

START_TEST(without_a_swap_file_there_is_nothing_to_give_back)
{
	u64 from = 0;

	t.swap = NULL;
	test_fs_open(&t);
	ck_assert_int_eq(fs_compact_swap_some(t.fs, &from), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

/* ---- when it fails ---- */

START_TEST(a_file_that_cannot_be_written_is_a_full_one)
{
	u64 fh;

	test_fs_open(&t);
	(void)test_create(&t, ROOT, "f", &fh);
	bdev_fault_arm(t.swap_fault, BDEV_FAULT_WRITE, 1, _i ? -EIO : -ENOSPC,
		       true);
	write_version(fh, 1);
	ck_assert_uint_gt(swap_stat().swap_file_write_errors, 0);
	ck_assert_uint_eq(swap_stat().swap_file_used_bytes, 0);
	ck_assert(has_version(fh, 1));
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	bdev_fault_arm(t.swap_fault, 0, 0, 0, false);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_after_reopen(1);
}
END_TEST

START_TEST(what_it_damages_is_an_error_of_those_pages_until_written_again)
{
	u64 fh = open_new(1), other;
	u8 zeros[PAGE_SIZE] = {0};
	u64 nr_bad = 0;
	u8 byte;
	int fd;

	(void)test_create(&t, ROOT, "other", &other);
	test_write(&t, other, 0, "mine", 4);
	/* somewhere in the middle of what is in use */
	fd = open(tmpdir_path("swap"), O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, zeros, PAGE_SIZE, 100 * PAGE_SIZE),
			 (ssize_t)PAGE_SIZE);
	(void)close(fd);

	test_pattern(want, LEN, 0, 1);
	for (u64 pos = 0; pos < LEN; pos += PAGE_SIZE) {
		ssize_t n = test_read(&t, fh, pos, &byte, 1);

		ck_assert(n == -EIO || (n == 1 && byte == want[pos]));
		nr_bad += n < 0;
	}
	ck_assert_uint_eq(nr_bad, 1);
	ck_assert_uint_gt(swap_stat().swap_file_read_errors, 0);

	/* the file is not torn, and nobody else is held back */
	ck_assert_int_eq(test_fsync(&t, fh), -EIO);
	ck_assert_int_eq(test_fsync(&t, other), 0);
	write_version(fh, 2);
	/* one that began before it was all written may fail yet */
	(void)test_fsync(&t, fh);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	expect_after_reopen(2);
}
END_TEST

/* Return: whether the failure came. */
static bool fail_once(unsigned mask, u64 nth)
{
	u64 fh = open_new(1);
	bool came;
	int err;

	ck_assert_int_eq(test_fsync(&t, fh), 0);
	bdev_fault_arm(t.swap_fault, mask, nth, -EIO, false);
	write_version(fh, 2);
	err = test_fsync(&t, fh);
	came = bdev_fault_calls(t.swap_fault) >= nth;
	bdev_fault_arm(t.swap_fault, 0, 0, 0, false);
	/* a read that failed once is tried again by the next commit */
	ck_assert(!err || came);
	(void)test_fsync(&t, fh);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert(has_version(fh, 2));
	fs_check(t.fs);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_after_reopen(2);
	tmpdir_remove();
	tmpdir_make();
	return came;
}

START_TEST(each_access_may_fail_once_and_nothing_is_lost)
{
	static const unsigned masks[] = {BDEV_FAULT_READ, BDEV_FAULT_WRITE};
	u64 nth = 1;

	while (fail_once(masks[_i], nth))
		nth += 1 + nth / 4;
	ck_assert_uint_gt(nth, 2);
}
END_TEST

START_TEST(a_failure_of_the_volume_meanwhile_is_made_good)
{
	u64 fh = open_new(1);

	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE | BDEV_FAULT_FLUSH,
		       1 + (u64)_i, -EIO, false);
	(void)test_fsync(&t, fh);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	(void)fs_flush(t.fs, fh);
	ck_assert(has_version(fh, 1));
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(swap_stat().swap_file_used_bytes, 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_after_reopen(1);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("swap file", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(
		tc, a_file_is_made_for_its_owner_alone_and_emptied_when_closed);
	tcase_add_test(tc, a_file_in_memory_is_noted);
	tcase_add_test(tc, what_a_killed_daemon_left_is_thrown_away);
	tcase_add_test(tc, a_file_in_use_is_refused_and_not_touched);
	tcase_add_test(tc, what_is_not_ours_is_refused_and_not_touched);
	tcase_add_test(tc, pages_are_spilled_to_it_and_copied_by_the_commit);
	tcase_add_test(tc, free_slots_are_given_back_and_those_in_use_stay);
	tcase_add_test(tc, without_a_swap_file_there_is_nothing_to_give_back);
	tcase_add_test(tc,
		       a_volume_that_is_used_without_it_later_has_everything);
	tcase_add_loop_test(tc, a_file_that_cannot_be_written_is_a_full_one, 0,
			    2);
	tcase_add_test(
		tc,
		what_it_damages_is_an_error_of_those_pages_until_written_again);
	tcase_add_loop_test(tc, each_access_may_fail_once_and_nothing_is_lost,
			    0, 2);
	tcase_add_loop_test(tc, a_failure_of_the_volume_meanwhile_is_made_good,
			    0, 4);
	return s;
}

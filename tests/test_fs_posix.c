/* SPDX-License-Identifier: MIT */
/* What POSIX and ext4 users expect, one by one; and what a crash leaves. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_util.h"
#include "tmpdir.h"

#define ROOT FS_ROOT_INO

static struct test_fs t;

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
}

static void setup_open(void)
{
	setup();
	test_fs_open(&t);
}

static void teardown(void)
{
	if (t.fs)
		ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

/* Run @fn in a child that ends without closing anything, then open. */
static void crash_after(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		test_fs_open(&t);
		fn();
		_exit(42);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	test_fs_check_volume();
	test_fs_open(&t);
}

static int setattr(u64 ino, unsigned set, const struct stat *attr)
{
	struct stat st;

	return fs_setattr(t.fs, ino, 0, attr, set, &st);
}

static void chmod_to(u64 ino, u32 mode)
{
	struct stat attr = {.st_mode = mode};

	ck_assert_int_eq(setattr(ino, FS_SET_MODE, &attr), 0);
}

static u32 mode_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return st.st_mode & 07777;
}

static u64 nlink_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return st.st_nlink;
}

static bool there(u64 dir, const char *name)
{
	struct stat st;
	int err = fs_lookup(t.fs, dir, name, &st);

	ck_assert(!err || err == -ENOENT);
	if (!err)
		fs_forget(t.fs, st.st_ino, 1);
	return !err;
}

/* ---- attributes ---- */

START_TEST(folders_count_their_subfolders_as_links)
{
	u64 d = test_mkdir(&t, ROOT, "d"), e;

	ck_assert_uint_eq(nlink_of(d), 2);
	e = test_mkdir(&t, d, "e");
	(void)test_create(&t, d, "file", NULL);
	ck_assert_uint_eq(nlink_of(d), 3);
	ck_assert_int_eq(fs_rmdir(t.fs, d, "e"), 0);
	ck_assert_uint_eq(nlink_of(d), 2);
	(void)e;
}
END_TEST

static u32 mode_after_write(u64 ino, u64 fh, u32 mode, unsigned flags)
{
	u64 pause;
	bool retry;

	chmod_to(ino, mode);
	ck_assert_int_eq(
		fs_write(t.fs, fh, 0, "hello", 5, flags, &pause, &retry), 5);
	return mode_of(ino);
}

static u32 mode_after_open(u64 ino, int flags)
{
	u64 fh;

	chmod_to(ino, 06755);
	ck_assert_int_eq(
		fs_openf(t.fs, ino, O_WRONLY | O_TRUNC | flags, 1, &fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	return mode_of(ino);
}

START_TEST(set_id_bits_go_with_a_change_by_who_may_not_keep_them)
{
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);
	struct stat attr = {.st_size = 3, .st_uid = 5, .st_gid = 6};

	ck_assert_uint_eq(mode_after_write(ino, fh, 06755, 0), 06755);
	ck_assert_uint_eq(mode_after_write(ino, fh, 06755, FS_KILL_SUIDGID),
			  0755);
	/* without group execute it means mandatory locking, and stays */
	ck_assert_uint_eq(mode_after_write(ino, fh, 02644, FS_KILL_SUIDGID),
			  02644);

	chmod_to(ino, 06755);
	ck_assert_int_eq(setattr(ino, FS_SET_SIZE, &attr), 0);
	ck_assert_uint_eq(mode_of(ino), 06755);
	ck_assert_int_eq(setattr(ino, FS_SET_SIZE | FS_SET_KILL_SUID, &attr),
			 0);
	ck_assert_uint_eq(mode_of(ino), 0755);
	ck_assert_uint_eq(mode_after_open(ino, 0), 06755);
	ck_assert_uint_eq(mode_after_open(ino, FS_KILL_SUIDGID), 0755);

	chmod_to(ino, 06755);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 9), 0);
	ck_assert_uint_eq(mode_of(ino), 06755);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, FS_KILL_SUIDGID, 0, 10), 0);
	ck_assert_uint_eq(mode_of(ino), 0755);

	/* a new owner: root's change too */
	chmod_to(ino, 06755);
	ck_assert_int_eq(setattr(ino, FS_SET_UID | FS_SET_GID, &attr), 0);
	ck_assert_uint_eq(mode_of(ino), 0755);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static bool has_capability(u64 ino)
{
	ssize_t n = fs_getxattr(t.fs, ino, "security.capability", NULL, 0);

	ck_assert(n == 3 || n == -ENODATA);
	return n == 3;
}

static void write_with(u64 fh, unsigned flags)
{
	u64 pause;
	bool retry;

	ck_assert_int_eq(
		fs_write(t.fs, fh, 0, "hello", 5, flags, &pause, &retry), 5);
}

START_TEST(capabilities_go_with_content_that_the_kernel_has_not_looked_at)
{
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);

	for (int i = 0; i < 3; i++) {
		write_with(fh, FS_KILL_CAPABILITY);
		ck_assert_int_eq(fs_setxattr(t.fs, ino, "security.capability",
					     "cap", 3, 0),
				 0);
		if (i == 2) {
			ck_assert_int_eq(fs_release(t.fs, fh), 0);
			test_fs_reopen(&t);
			fh = test_open(&t, ino);
		}
		write_with(fh, 0);
		ck_assert(has_capability(ino));
		write_with(fh, FS_KILL_CAPABILITY);
		ck_assert(!has_capability(ino));
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert(!has_capability(ino));
}
END_TEST

START_TEST(a_new_owner_takes_set_id_bits_from_all_but_folders)
{
	struct stat attr = {.st_uid = 5}, st;
	u64 d = test_mkdir(&t, ROOT, "d");

	ck_assert_int_eq(
		fs_mknod(t.fs, ROOT, "p", S_IFIFO | 06755, 0, &test_cred, &st),
		0);
	ck_assert_int_eq(setattr(st.st_ino, FS_SET_UID, &attr), 0);
	ck_assert_uint_eq(mode_of(st.st_ino), 0755);
	fs_forget(t.fs, st.st_ino, 1);
	chmod_to(d, 06755);
	ck_assert_int_eq(setattr(d, FS_SET_UID, &attr), 0);
	ck_assert_uint_eq(mode_of(d), 06755);
}
END_TEST

START_TEST(the_group_is_inherited_from_a_set_gid_folder)
{
	u64 d = test_mkdir(&t, ROOT, "d"), e;
	struct stat attr = {.st_gid = 77, .st_mode = 02755}, st;

	ck_assert_int_eq(setattr(d, FS_SET_GID, &attr), 0);
	ck_assert_int_eq(setattr(d, FS_SET_MODE, &attr), 0);
	e = test_mkdir(&t, d, "e");
	test_stat(&t, e, &st);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 02755);
	test_stat(&t, test_create(&t, e, "f", NULL), &st);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0644);
}
END_TEST

START_TEST(times_before_1970_and_nanoseconds_survive_a_remount)
{
	struct stat attr = {.st_mtim = {-5, 123456789}, .st_atim = {1, 7}}, st;
	u64 ino = test_create(&t, ROOT, "f", NULL);

	ck_assert_int_eq(setattr(ino, FS_SET_MTIME | FS_SET_ATIME, &attr), 0);
	test_fs_reopen(&t);
	test_stat(&t, ino, &st);
	ck_assert_int_eq(st.st_mtim.tv_sec, -5);
	ck_assert_int_eq(st.st_mtim.tv_nsec, 123456789);
	ck_assert_int_eq(st.st_atim.tv_sec, 1);
	ck_assert_int_eq(st.st_atim.tv_nsec, 7);
}
END_TEST

static s64 blocks_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return st.st_blocks / 8;
}

START_TEST(blocks_are_true_before_and_after_a_commit)
{
	static u8 page[PAGE_SIZE] = {1};
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);

	ck_assert_int_eq(blocks_of(ino), 0);
	for (u64 i = 0; i < 10; i++)
		test_write(&t, fh, i * 2 * PAGE_SIZE, page, PAGE_SIZE);
	ck_assert_int_eq(blocks_of(ino), 10);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(blocks_of(ino), 10);

	/* over committed pages, into a hole, and at the end */
	test_write(&t, fh, 0, page, PAGE_SIZE);
	ck_assert_int_eq(blocks_of(ino), 10);
	test_write(&t, fh, PAGE_SIZE, page, PAGE_SIZE);
	ck_assert_int_eq(blocks_of(ino), 11);
	test_write(&t, fh, 30 * PAGE_SIZE, page, PAGE_SIZE);
	ck_assert_int_eq(blocks_of(ino), 12);
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			     4 * PAGE_SIZE),
		0);
	ck_assert_int_eq(blocks_of(ino), 9);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(blocks_of(ino), 9);

	/* one that is there already is not counted twice */
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, 0, 30 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	ck_assert_int_eq(blocks_of(ino), 12);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(blocks_of(ino), 12);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(blocks_of(ino), 12);
}
END_TEST

/* One change within 40 pages of the file, mostly of several pages. */
static void change_somewhere(struct rng *rng, u64 ino, u64 fh)
{
	static u8 buf[4 * PAGE_SIZE] = {1};
	const struct stat size = {.st_size = (off_t)rng_below(rng, 40) *
					     (off_t)PAGE_SIZE};
	u64 pos = rng_below(rng, 40) * PAGE_SIZE;
	u64 len = (1 + rng_below(rng, 4)) * PAGE_SIZE;

	switch (rng_below(rng, 8)) {
	case 0:
		ck_assert_int_eq(setattr(ino, FS_SET_SIZE, &size), 0);
		break;
	case 1:
		ck_assert_int_eq(
			fs_fallocate(t.fs, fh,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     pos, len),
			0);
		break;
	case 2:
		ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, pos, len), 0);
		break;
	default:
		test_write(&t, fh, pos, buf, len);
	}
}

START_TEST(blocks_kept_by_difference_are_those_that_are_counted)
{
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 20; round++) {
		u64 fh = 0, ino = round ? test_lookup(&t, ROOT, "f")
					: test_create(&t, ROOT, "f", &fh);
		s64 blocks = 0;

		if (round)
			fh = test_open(&t, ino);
		for (int commit = 0; commit < 4; commit++) {
			for (u64 n = 1 + rng_below(&rng, 8); n; n--)
				change_somewhere(&rng, ino, fh);
			ck_assert_int_eq(fs_sync_wait(t.fs), 0);
			blocks = blocks_of(ino);
		}
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		test_fs_reopen(&t);
		ck_assert_int_eq(blocks_of(ino), blocks);
	}
}
END_TEST

#define AT(pgoff) ((s64)(pgoff) << PAGE_SHIFT)

static void expect_seek(u64 fh, s64 pos, s64 data, s64 hole)
{
	ck_assert_int_eq(fs_lseek(t.fs, fh, (u64)pos, SEEK_DATA), data);
	ck_assert_int_eq(fs_lseek(t.fs, fh, (u64)pos, SEEK_HOLE), hole);
}

static void give_to_kernel(u64 fh, u64 pgoff, u64 nr)
{
	fs_note_filled(t.fs, fh, pgoff * PAGE_SIZE, nr * PAGE_SIZE);
}

static int set_size(u64 ino, u64 fh, s64 size)
{
	struct stat st = {.st_size = size}, after;

	return fs_setattr(t.fs, ino, fh, &st, FS_SET_SIZE, &after);
}

/* A file that the kernel knows: data in page 7 and a hole on either side. */
static u64 make_sparse(u64 *ret_fh)
{
	u64 ino = test_create(&t, ROOT, "f", ret_fh);
	struct stat st;

	test_write(&t, *ret_fh, AT(7), "data", 4);
	ck_assert_int_eq(set_size(ino, *ret_fh, AT(20)), 0);
	ck_assert_int_eq(fs_lookup(t.fs, ROOT, "f", &st), 0);
	return ino;
}

/* The kernel has pages of it, and somebody may store to them: these are data,
 * until the last who could have done so has closed it. */
START_TEST(holes_that_may_have_been_stored_to_are_data)
{
	u64 fh, ino = make_sparse(&fh);
	u64 reader;

	expect_seek(fh, 0, AT(7), 0);
	give_to_kernel(fh, 2, 2);
	give_to_kernel(fh, 8, 1);
	give_to_kernel(fh, 18, 4);
	expect_seek(fh, 0, AT(2), 0);
	expect_seek(fh, AT(2) + 5, AT(2) + 5, AT(4));
	expect_seek(fh, AT(4), AT(7), AT(4));
	expect_seek(fh, AT(6), AT(7), AT(6));
	expect_seek(fh, AT(7), AT(7), AT(9));
	expect_seek(fh, AT(9), AT(18), AT(9));
	expect_seek(fh, AT(19), AT(19), AT(20));
	expect_seek(fh, AT(20), -ENXIO, -ENXIO);

	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY, 1, &reader), 0);
	expect_seek(reader, AT(2), AT(2), AT(4));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	expect_seek(reader, AT(2), AT(7), AT(2));
	/* given out while nobody writes: who does later can store to it */
	give_to_kernel(reader, 15, 1);
	expect_seek(reader, AT(8), -ENXIO, AT(8));
	ck_assert_int_eq(fs_release(t.fs, reader), 0);

	/* they are in the kernel as long as it knows the file */
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), 0);
	expect_seek(fh, AT(2), AT(2), AT(4));
	expect_seek(fh, AT(10), AT(15), AT(10));
	fs_forget(t.fs, ino, 1);
	expect_seek(fh, 0, AT(7), 0);
	expect_seek(fh, AT(8), -ENXIO, AT(8));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(what_the_kernel_drops_is_a_hole_again)
{
	u64 fh, ino = make_sparse(&fh);
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	give_to_kernel(fh, 0, 20);
	expect_seek(fh, 0, 0, AT(20));

	/* of pages 3 and 12 the kernel keeps what is not punched */
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, punch, (u64)AT(3) + 1, (u64)AT(9)), 0);
	expect_seek(fh, 0, 0, AT(4));
	expect_seek(fh, AT(4), AT(12), AT(4));
	ck_assert_int_eq(fs_fallocate(t.fs, fh, FALLOC_FL_ZERO_RANGE,
				      (u64)AT(14), PAGE_SIZE),
			 0);
	expect_seek(fh, AT(12), AT(12), AT(14));
	expect_seek(fh, AT(14), AT(15), AT(14));

	ck_assert_int_eq(set_size(ino, fh, AT(16) + 1), 0);
	ck_assert_int_eq(set_size(ino, fh, AT(20)), 0);
	expect_seek(fh, AT(15), AT(15), AT(17));
	expect_seek(fh, AT(17), -ENXIO, AT(17));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);

	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR | O_TRUNC, 1, &fh), 0);
	ck_assert_int_eq(set_size(ino, fh, AT(20)), 0);
	expect_seek(fh, 0, -ENXIO, 0);
	fs_forget(t.fs, ino, 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* What was data when the kernel got it, and is a hole now, it keeps when it is
 * told of an error. */
START_TEST(what_a_failed_change_left_to_the_kernel_may_be_data)
{
	const int zero = FALLOC_FL_ZERO_RANGE;
	u64 fh, ino = make_sparse(&fh);

	ck_assert_int_eq(fs_fallocate(t.fs, fh, zero, 0, 64 << 20), -ENOSPC);
	expect_seek(fh, 0, 0, AT(20));
	fs_forget(t.fs, ino, 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Many are kept coarsely, never too few; so are those of an inode that leaves
 * memory, and those that there is no memory to note. */
START_TEST(of_very_many_pages_more_are_data_but_none_is_forgotten)
{
	enum { NR = 3000 };
	u64 fh, ino = make_sparse(&fh);
	struct cache_gauges before, after;
	s64 pos = 0, nr = 0;
	struct rng rng;

	ck_assert_int_eq(set_size(ino, fh, AT(4 * NR)), 0);
	cache_gauges(fs_cache(t.fs), &before);
	rng_init(&rng, 1);
	for (u64 i = 0; i < NR; i++)
		give_to_kernel(fh, 4 * rng_below(&rng, NR / 2) + 1, 1);
	for (u64 i = 0; i < NR / 2; i++) {
		give_to_kernel(fh, 4 * i + 1, 1);
		expect(fs_lseek(t.fs, fh, (u64)AT(4 * i + 1), SEEK_DATA) ==
		       AT(4 * i + 1));
	}
	for (u64 i = 0; i < NR / 2; i++)
		expect(fs_lseek(t.fs, fh, (u64)AT(4 * i + 1), SEEK_DATA) ==
		       AT(4 * i + 1));
	/* where the kernel has nothing is nothing */
	while ((pos = fs_lseek(t.fs, fh, (u64)pos, SEEK_DATA)) >= 0) {
		pos = fs_lseek(t.fs, fh, (u64)pos, SEEK_HOLE);
		ck_assert_int_gt(pos, 0);
		ck_assert_int_le(pos, AT(2 * NR));
		nr++;
	}
	ck_assert_int_eq(pos, -ENXIO);
	ck_assert_int_gt(nr, 16);
	ck_assert_int_le(nr, 256);
	cache_gauges(fs_cache(t.fs), &after);
	ck_assert_uint_gt(after.metadata_bytes, before.metadata_bytes);
	ck_assert_uint_le(after.metadata_bytes,
			  before.metadata_bytes + 256 * RANGE_NODE_BYTES);

	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_drop(t.fs, 0), 0);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), 0);
	expect_seek(fh, 0, 0, AT(4 * NR));
	fs_forget(t.fs, ino, 1);
	expect_seek(fh, 0, AT(7), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(what_is_noted_of_all_files_is_a_small_part_of_the_budget)
{
	enum { FILES = 100, NR = 256 };
	struct cache_gauges before, after;
	u64 ino[FILES], fh[FILES];
	char name[16];

	for (int f = 0; f < FILES; f++) {
		(void)snprintf(name, sizeof(name), "f%d", f);
		ino[f] = test_create(&t, ROOT, name, &fh[f]);
		ck_assert_int_eq(set_size(ino[f], fh[f], AT(2 * NR)), 0);
	}
	cache_gauges(fs_cache(t.fs), &before);
	for (int f = 0; f < FILES; f++) {
		for (u64 i = 0; i < NR; i++)
			give_to_kernel(fh[f], 2 * i, 1);
	}
	cache_gauges(fs_cache(t.fs), &after);
	ck_assert_uint_le(after.metadata_bytes - before.metadata_bytes,
			  t.cache_size / 64 +
				  (256 + 8 * FILES) * RANGE_NODE_BYTES);
	for (int f = 0; f < FILES; f++) {
		for (u64 i = 0; i < NR; i++)
			expect(fs_lseek(t.fs, fh[f], (u64)AT(2 * i),
					SEEK_DATA) == AT(2 * i));
		ck_assert_int_eq(fs_release(t.fs, fh[f]), 0);
	}
}
END_TEST

START_TEST(without_memory_to_note_it_any_page_may_be_the_kernels)
{
	u64 fh, ino = make_sparse(&fh);

	test_fail_malloc(1);
	give_to_kernel(fh, 12, 1);
	ck_assert(test_malloc_failed());
	expect_seek(fh, 0, 0, AT(20));
	fs_forget(t.fs, ino, 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(fallocate_makes_space_that_reads_as_zeros)
{
	u8 buf[PAGE_SIZE], zeros[PAGE_SIZE] = {0};
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);
	struct stat st;

	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
	test_stat(&t, ino, &st);
	ck_assert_int_eq(st.st_size, 0);
	ck_assert_int_eq(st.st_blocks, 2048);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 1 << 20), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	test_stat(&t, ino, &st);
	ck_assert_int_eq(st.st_size, 1 << 20);
	ck_assert_int_eq(st.st_blocks, 2048);
	ck_assert_int_eq(fs_lseek(t.fs, fh, 0, SEEK_DATA), -ENXIO);
	ck_assert_int_eq(test_read(&t, fh, 5 * PAGE_SIZE, buf, PAGE_SIZE),
			 PAGE_SIZE);
	ck_assert(!memcmp(buf, zeros, PAGE_SIZE));
	test_write(&t, fh, 7 * PAGE_SIZE, "data", 4);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(blocks_of(ino), 256);
	ck_assert_int_eq(fs_lseek(t.fs, fh, 0, SEEK_DATA), 7 * PAGE_SIZE);
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE_SIZE),
		-EOPNOTSUPP);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- names ---- */

/* The last page of the largest has a byte less than a page. */
START_TEST(a_file_may_be_as_large_as_an_offset)
{
	static const u64 sizes[] = {(u64)INT64_MAX, (u64)INT64_MAX - 1,
				    (u64)INT64_MAX - PAGE_SIZE,
				    (u64)INT64_MAX - PAGE_SIZE + 1};
	struct stat attr = {0}, st;
	u64 fh, ino, size = sizes[_i];
	char byte;

	ino = test_create(&t, FS_ROOT_INO, "f", &fh);
	attr.st_size = (off_t)size;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, fh, &attr, FS_SET_SIZE, &st), 0);
		test_write(&t, fh, size - 1, "x", 1);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     size - 2 * PAGE_SIZE, PAGE_SIZE),
		0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	test_stat(&t, ino, &st);
	ck_assert_int_eq(st.st_size, (off_t)size);
	fh = test_open(&t, ino);
	ck_assert_int_eq(test_read(&t, fh, size - 1, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(fs_lseek(t.fs, fh, 0, SEEK_DATA),
			 (off_t)((size - 1) & ~(u64)(PAGE_SIZE - 1)));
	attr.st_size = 5;
	ck_assert_int_eq(fs_setattr(t.fs, ino, fh, &attr, FS_SET_SIZE, &st), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

START_TEST(the_name_of_the_control_files_is_refused)
{
	struct stat st;
	u64 d = test_mkdir(&t, ROOT, "d");

	ck_assert_int_eq(
		fs_mkdir(t.fs, ROOT, ".foliofs", 0755, &test_cred, &st),
		-EBUSY);
	ck_assert_int_eq(
		fs_rename(t.fs, ROOT, "d", ROOT, ".foliofs", 0, &test_cred),
		-EBUSY);
	/* elsewhere it is a name like any other */
	(void)test_mkdir(&t, d, ".foliofs");
}
END_TEST

static int set_flags(u64 ino, u32 flags)
{
	const struct fs_cred root = {0};

	return fs_set_flags(t.fs, ino, flags, &root);
}

/* Each of the changes that only a free file allows. */
static void check_fixed(u64 dir, u64 ino, const char *name)
{
	struct stat attr = {.st_mode = 0600}, st;
	u64 fh;

	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), -EPERM);
	ck_assert_int_eq(
		fs_openf(t.fs, ino, O_RDWR | O_APPEND | O_TRUNC, 1, &fh),
		-EPERM);
	for (unsigned set = FS_SET_MODE; set <= FS_SET_MTIME; set <<= 1)
		ck_assert_int_eq(setattr(ino, set, &attr), -EPERM);
	ck_assert_int_eq(setattr(ino, FS_SET_MODE | FS_SET_CTIME, &attr),
			 -EPERM);
	ck_assert_int_eq(fs_setxattr(t.fs, ino, "user.x", "y", 1, 0), -EPERM);
	ck_assert_int_eq(fs_removexattr(t.fs, ino, "user.x"), -EPERM);
	ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "another", &st), -EPERM);
	ck_assert_int_eq(fs_unlink(t.fs, dir, name), -EPERM);
	ck_assert_int_eq(
		fs_rename(t.fs, dir, name, ROOT, "other", 0, &test_cred),
		-EPERM);
	(void)test_create(&t, ROOT, "over", NULL);
	ck_assert_int_eq(
		fs_rename(t.fs, ROOT, "over", dir, name, 0, &test_cred),
		-EPERM);
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "over", dir, name,
				   RENAME_EXCHANGE, &test_cred),
			 -EPERM);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "over"), 0);
}

START_TEST(an_immutable_file_stays_as_it_is)
{
	u64 fh, ino = test_create(&t, ROOT, "f", &fh), pause;
	struct stat attr = {0};
	bool retry;

	ck_assert_int_eq(set_flags(ino, FS_IMMUTABLE_FL), 0);
	test_fs_reopen(&t);
	check_fixed(ROOT, ino, "f");
	ck_assert_int_eq(setattr(ino, FS_SET_ATIME | FS_SET_ATIME_NOW, &attr),
			 -EPERM);

	/* those who had it open before, too */
	ck_assert_int_eq(set_flags(ino, 0), 0);
	fh = test_open(&t, ino);
	ck_assert_int_eq(set_flags(ino, FS_IMMUTABLE_FL), 0);
	ck_assert_int_eq(fs_write(t.fs, fh, 0, "x", 1, 0, &pause, &retry),
			 -EPERM);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, FALLOC_FL_KEEP_SIZE, 0, 1),
			 -EPERM);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(set_flags(ino, 0), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "f"), 0);
}
END_TEST

/* In writeback mode the kernel keeps times, and brings them when it likes; a
 * program that sets an mtime looks alike but for the handle. */
START_TEST(times_that_the_kernel_kept_pass_where_a_program_may_not_set_them)
{
	const unsigned pair = FS_SET_MTIME | FS_SET_CTIME;
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);
	struct stat attr, st;

	ck_assert_int_eq(set_flags(ino, FS_IMMUTABLE_FL), 0);
	test_stat(&t, ino, &attr);
	attr.st_ctim.tv_sec += 100;
	ck_assert_int_eq(setattr(ino, pair, &attr), 0);
	attr.st_mtim.tv_sec += 100;
	ck_assert_int_eq(setattr(ino, pair, &attr), -EPERM);
	ck_assert_int_eq(fs_setattr(t.fs, ino, fh, &attr, pair, &st), 0);
	ck_assert_int_eq(st.st_mtim.tv_sec, attr.st_mtim.tv_sec);
	ck_assert_int_eq(st.st_ctim.tv_sec, attr.st_ctim.tv_sec);
	ck_assert_int_eq(set_flags(ino, 0), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(the_names_of_trusted_attributes_are_listed_for_root_alone)
{
	static const char all[] = "user.a\0trusted.b\0security.c";
	static const char some[] = "user.a\0security.c";
	u64 ino = test_create(&t, ROOT, "f", NULL);
	char list[64];

	ck_assert_int_eq(fs_setxattr(t.fs, ino, "user.a", "1", 1, 0), 0);
	ck_assert_int_eq(fs_setxattr(t.fs, ino, "trusted.b", "2", 1, 0), 0);
	ck_assert_int_eq(fs_setxattr(t.fs, ino, "security.c", "3", 1, 0), 0);
	for (int committed = 0; committed < 2; committed++) {
		ck_assert_int_eq(
			fs_listxattr(t.fs, ino, true, list, sizeof(list)),
			sizeof(all));
		ck_assert_int_eq(
			fs_listxattr(t.fs, ino, false, list, sizeof(list)),
			sizeof(some));
		ck_assert_ptr_null(memmem(list, sizeof(some), "trusted", 7));
		ck_assert_int_eq(fs_listxattr(t.fs, ino, false, NULL, 0),
				 sizeof(some));
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
}
END_TEST

START_TEST(an_append_only_file_only_grows)
{
	u64 ino = test_create(&t, ROOT, "f", NULL), fh, pause;
	struct stat attr = {0};
	bool retry;

	ck_assert_int_eq(set_flags(ino, FS_APPEND_FL), 0);
	check_fixed(ROOT, ino, "f");
	ck_assert_int_eq(setattr(ino, FS_SET_ATIME | FS_SET_ATIME_NOW, &attr),
			 0);

	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR | O_APPEND, 1, &fh), 0);
	test_write(&t, fh, 0, "hello", 5);
	test_write(&t, fh, 5, "world", 5);
	ck_assert_int_eq(fs_write(t.fs, fh, 9, "x", 1, 0, &pause, &retry),
			 -EPERM);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, FALLOC_FL_KEEP_SIZE, 10, 9), 0);
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1),
		-EPERM);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(folders_can_be_immutable_and_append_only)
{
	u64 d = test_mkdir(&t, ROOT, "d"), fh;
	struct stat st;

	(void)test_create(&t, d, "f", NULL);
	ck_assert_int_eq(set_flags(d, FS_APPEND_FL), 0);
	(void)test_create(&t, d, "g", NULL);
	ck_assert_int_eq(fs_unlink(t.fs, d, "f"), -EPERM);
	ck_assert_int_eq(fs_rename(t.fs, d, "f", ROOT, "f", 0, &test_cred),
			 -EPERM);
	ck_assert_int_eq(set_flags(d, FS_IMMUTABLE_FL), 0);
	ck_assert_int_eq(fs_unlink(t.fs, d, "f"), -EPERM);
	ck_assert_int_eq(fs_mkdir(t.fs, d, "h", 0755, &test_cred, &st), -EPERM);
	ck_assert_int_eq(fs_mkdir(t.fs, d, "g", 0755, &test_cred, &st),
			 -EEXIST);
	ck_assert_int_eq(
		fs_tmpfile(t.fs, d, 0600, O_RDWR, &test_cred, 1, &st, &fh),
		-EPERM);
	(void)test_create(&t, ROOT, "e", NULL);
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "e", d, "e", 0, &test_cred),
			 -EPERM);
	ck_assert_int_eq(set_flags(d, 0), 0);
	ck_assert_int_eq(fs_unlink(t.fs, d, "f"), 0);
}
END_TEST

START_TEST(flags_are_set_by_those_who_may)
{
	const struct fs_cred other = {.uid = 77};
	u64 d = test_mkdir(&t, ROOT, "d");
	u64 ino = test_create(&t, d, "f", NULL);
	struct stat st;
	u32 flags;

	ck_assert_int_eq(fs_set_flags(t.fs, ino, FS_NODUMP_FL, &test_cred), 0);
	ck_assert_int_eq(fs_set_flags(t.fs, ino, 0, &other), -EPERM);
	ck_assert_int_eq(fs_set_flags(t.fs, ino, FS_APPEND_FL, &test_cred),
			 -EPERM);
	ck_assert_int_eq(set_flags(ino, FS_SYNC_FL), -EOPNOTSUPP);
	ck_assert_int_eq(fs_get_flags(t.fs, ino, &flags), 0);
	ck_assert_uint_eq(flags, FS_NODUMP_FL);

	ck_assert_int_eq(fs_symlink(t.fs, d, "l", "f", &test_cred, &st), 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(set_flags(st.st_ino, FS_NODUMP_FL), -EOPNOTSUPP);

	/* nodump is inherited, the others are not */
	ck_assert_int_eq(set_flags(d, FS_NODUMP_FL | FS_APPEND_FL), 0);
	ino = test_create(&t, d, "g", NULL);
	ck_assert_int_eq(fs_get_flags(t.fs, ino, &flags), 0);
	ck_assert_uint_eq(flags, FS_NODUMP_FL);
	ck_assert_int_eq(set_flags(d, 0), 0);
}
END_TEST

START_TEST(dots_are_looked_up_for_file_handles)
{
	u64 d = test_mkdir(&t, ROOT, "d"), f = test_create(&t, d, "f", NULL);
	struct stat st;

	ck_assert_uint_eq(test_lookup(&t, f, "."), f);
	ck_assert_uint_eq(test_lookup(&t, d, "."), d);
	ck_assert_uint_eq(test_lookup(&t, d, ".."), ROOT);
	ck_assert_uint_eq(test_lookup(&t, ROOT, ".."), ROOT);
	/* after a remount the parent is known from the rows */
	test_fs_reopen(&t);
	ck_assert_uint_eq(test_lookup(&t, f, "."), f);
	ck_assert_uint_eq(test_lookup(&t, d, ".."), ROOT);
	ck_assert(!there(999, "."));
	ck_assert_int_eq(fs_unlink(t.fs, d, "f"), 0);
	ck_assert_int_ne(fs_lookup(t.fs, f, ".", &st), 0);
}
END_TEST

START_TEST(births_are_remembered)
{
	u64 f = test_create(&t, ROOT, "f", NULL);
	struct timespec made, later;
	struct stat st;

	test_stat(&t, f, &st);
	ck_assert_int_eq(fs_btime(t.fs, f, &made), 0);
	ck_assert_int_eq(made.tv_sec, st.st_mtim.tv_sec);
	ck_assert_int_eq(made.tv_nsec, st.st_mtim.tv_nsec);
	chmod_to(f, 0600);
	test_fs_reopen(&t);
	ck_assert_int_eq(fs_btime(t.fs, f, &later), 0);
	ck_assert_int_eq(memcmp(&made, &later, sizeof(made)), 0);
	ck_assert_int_eq(fs_btime(t.fs, 999, &later), -ENOENT);
}
END_TEST

START_TEST(names_may_be_255_bytes_and_no_more)
{
	char name[FS_NAME_MAX + 2];
	struct stat st;

	memset(name, 'n', sizeof(name));
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(fs_lookup(t.fs, ROOT, name, &st), -ENAMETOOLONG);
	ck_assert_int_eq(fs_mkdir(t.fs, ROOT, name, 0755, &test_cred, &st),
			 -ENAMETOOLONG);
	name[FS_NAME_MAX] = '\0';
	(void)test_mkdir(&t, ROOT, name);
	test_fs_reopen(&t);
	ck_assert(there(ROOT, name));
}
END_TEST

static int link_nr(u64 ino, u64 dir, unsigned nr)
{
	char name[32];
	struct stat st;
	int err;

	(void)snprintf(name, sizeof(name), "name%u", nr);
	/* as the FUSE layer does it: wait for a commit when much is pending */
	while (err = fs_link(t.fs, ino, dir, name, &st), err == -ERESTART)
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	if (!err)
		fs_forget(t.fs, ino, 1);
	return err;
}

START_TEST(a_file_has_so_many_names_and_no_more)
{
	u64 d = test_mkdir(&t, ROOT, "d"), f = test_create(&t, ROOT, "f", NULL);

	for (unsigned i = 1; i < FS_LINK_MAX; i++)
		ck_assert_int_eq(link_nr(f, d, i), 0);
	ck_assert_uint_eq(nlink_of(f), FS_LINK_MAX);
	ck_assert_int_eq(link_nr(f, d, FS_LINK_MAX), -EMLINK);
	test_fs_reopen(&t);
	ck_assert_uint_eq(nlink_of(f), FS_LINK_MAX);
	ck_assert_int_eq(link_nr(f, d, FS_LINK_MAX), -EMLINK);
	ck_assert_int_eq(fs_unlink(t.fs, d, "name5"), 0);
	ck_assert_int_eq(link_nr(f, d, FS_LINK_MAX), 0);
}
END_TEST

START_TEST(an_unlinked_file_stays_until_closed_and_forgotten)
{
	struct stat st;
	u64 fh, ino;
	char c;

	ck_assert_int_eq(fs_create(t.fs, ROOT, "f", 0644, O_RDWR, &test_cred, 1,
				   &st, &fh),
			 0);
	ino = st.st_ino;
	test_write(&t, fh, 0, "x", 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "f"), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(test_read(&t, fh, 0, &c, 1), 1);
	ck_assert_uint_eq(nlink_of(ino), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_uint_eq(nlink_of(ino), 0);
	fs_forget(t.fs, ino, 1);
	ck_assert_int_lt(fs_getattr(t.fs, ino, &st), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_getattr(t.fs, ino, &st), -ENOENT);
}
END_TEST

START_TEST(what_is_made_and_removed_between_commits_costs_no_row)
{
	struct fs_stat before, after;
	char name[32];

	(void)test_mkdir(&t, ROOT, "d");
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	fs_stat(t.fs, &before);
	for (int i = 0; i < 100; i++) {
		u64 fh;

		(void)snprintf(name, sizeof(name), "f%d", i);
		(void)test_create(&t, ROOT, name, &fh);
		test_write(&t, fh, 0, "x", 1);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		ck_assert_int_eq(fs_unlink(t.fs, ROOT, name), 0);
	}
	fs_stat(t.fs, &after);
	/* the root's times, in one record */
	ck_assert_uint_eq(after.nr_ops_pending, 1);
	ck_assert_uint_eq(before.nr_ops_pending, 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
}
END_TEST

/* ---- readdir ---- */

struct walk {
	u64 off, nr, limit;
	char last[FS_NAME_MAX + 1];
};

static bool walk_fill(void *arg, const char *name, const struct stat *st,
		      u64 next_off)
{
	struct walk *w = arg;

	(void)st;
	if (!w->limit)
		return false;
	w->limit--;
	w->nr++;
	w->off = next_off;
	(void)snprintf(w->last, sizeof(w->last), "%s", name);
	return true;
}

START_TEST(renaming_what_is_read_comes_to_an_end)
{
	struct walk w = {0};
	u64 fh, steps = 0, before;
	char name[300];

	for (int i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		(void)test_create(&t, ROOT, name, NULL);
	}
	ck_assert_int_eq(fs_opendir(t.fs, ROOT, 0, &fh), 0);
	do {
		before = w.off;
		w.limit = 1;
		ck_assert_int_eq(
			fs_readdir(t.fs, fh, w.off, false, walk_fill, &w), 0);
		if (w.off != before && w.last[0] != '.') {
			(void)snprintf(name, sizeof(name), "%s.x", w.last);
			ck_assert_int_eq(fs_rename(t.fs, ROOT, w.last, ROOT,
						   name, 0, &test_cred),
					 0);
		}
		if (steps % 50 == 25)
			fs_want_commit(t.fs);
		ck_assert_uint_lt(++steps, 1000);
	} while (w.off != before);
	ck_assert_uint_eq(w.nr, 202);
	ck_assert_int_eq(fs_releasedir(t.fs, fh), 0);
}
END_TEST

/* Each of many files is seen once, however the commits fall. */
START_TEST(a_large_folder_is_read_whole_while_it_is_committed)
{
	struct walk w = {0};
	u64 fh, before;
	char name[32];

	for (int i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "file%d", i);
		(void)test_create(&t, ROOT, name, NULL);
		if (i == 1000)
			ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
	for (int i = 0; i < 3000; i += 3) {
		(void)snprintf(name, sizeof(name), "file%d", i);
		ck_assert_int_eq(fs_unlink(t.fs, ROOT, name), 0);
	}
	ck_assert_int_eq(fs_opendir(t.fs, ROOT, 0, &fh), 0);
	do {
		before = w.off;
		w.limit = 37;
		if (w.nr == 37 * 10)
			fs_want_commit(t.fs);
		ck_assert_int_eq(
			fs_readdir(t.fs, fh, w.off, false, walk_fill, &w), 0);
	} while (w.off != before);
	ck_assert_uint_eq(w.nr, 2002);
	ck_assert_int_eq(fs_releasedir(t.fs, fh), 0);
}
END_TEST

static bool count_entry(void *arg, const char *name, const struct stat *st,
			u64 next_off)
{
	(void)name, (void)st, (void)next_off;
	++*(u64 *)arg;
	return true;
}

START_TEST(behind_any_offset_a_folder_comes_to_an_end)
{
	static const u64 offsets[] = {
		1000,		(u64)INT64_MAX,	    (u64)INT64_MAX + 1,
		1ull << 63 | 3, 0xffffffff00000000, UINT64_MAX};
	char name[16];
	u64 fh, nr;

	for (int i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		(void)test_mkdir(&t, FS_ROOT_INO, name);
		if (i == 100)
			ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		ck_assert_int_eq(fs_opendir(t.fs, FS_ROOT_INO, 0, &fh), 0);
		nr = 0;
		ck_assert_int_eq(fs_readdir(t.fs, fh, offsets[i], false,
					    count_entry, &nr),
				 0);
		ck_assert_uint_eq(nr, 0);
		ck_assert_int_eq(
			fs_readdir(t.fs, fh, 0, false, count_entry, &nr), 0);
		ck_assert_uint_eq(nr, 202);
		ck_assert_int_eq(fs_releasedir(t.fs, fh), 0);
	}
}
END_TEST

START_TEST(the_kernel_caches_a_folder_through_one_handle_at_a_time)
{
	u64 first, second, other, file, dir = test_mkdir(&t, ROOT, "dir");

	(void)test_create(&t, dir, "file", &file);
	ck_assert_int_eq(fs_opendir(t.fs, dir, 0, &first), 0);
	ck_assert_int_eq(fs_opendir(t.fs, dir, 0, &second), 0);
	ck_assert_int_eq(fs_opendir(t.fs, ROOT, 0, &other), 0);
	ck_assert(fs_takes_listing(t.fs, first));
	ck_assert(!fs_takes_listing(t.fs, second));
	ck_assert(fs_takes_listing(t.fs, other));
	ck_assert(!fs_takes_listing(t.fs, file));
	ck_assert(!fs_takes_listing(t.fs, 999));

	ck_assert_int_eq(fs_releasedir(t.fs, second), 0);
	ck_assert_int_eq(fs_opendir(t.fs, dir, 0, &second), 0);
	ck_assert(!fs_takes_listing(t.fs, second));
	ck_assert_int_eq(fs_releasedir(t.fs, first), 0);
	ck_assert(fs_takes_listing(t.fs, second));
	ck_assert_int_eq(fs_releasedir(t.fs, second), 0);
	ck_assert_int_eq(fs_releasedir(t.fs, other), 0);
	ck_assert_int_eq(fs_release(t.fs, file), 0);
}
END_TEST

/* ---- what a crash leaves ---- */

static u64 make_file(const char *name, const char *text)
{
	u64 fh, ino = test_create(&t, ROOT, name, &fh);

	test_write(&t, fh, 0, text, strlen(text));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	return ino;
}

static void check_file(const char *name, const char *text)
{
	u64 fh = test_open(&t, test_lookup(&t, ROOT, name));
	char buf[64] = "";

	ck_assert_int_eq(test_read(&t, fh, 0, buf, sizeof(buf) - 1),
			 (ssize_t)strlen(text));
	ck_assert_str_eq(buf, text);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

static void fsync_file(const char *name)
{
	u64 fh = test_open(&t, test_lookup(&t, ROOT, name));

	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

static void write_then_utimes_then_fsync_another(void)
{
	struct stat attr = {.st_mtim = {1000, 0}};
	u64 ino = make_file("a", "old"), fh;

	ck_assert_int_eq(setattr(ino, FS_SET_MTIME, &attr), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	fh = test_open(&t, ino);
	test_write(&t, fh, 0, "new content", 11);
	attr.st_mtim.tv_sec = 2000;
	attr.st_mode = 0600;
	ck_assert_int_eq(setattr(ino, FS_SET_MTIME | FS_SET_MODE, &attr), 0);
	(void)make_file("b", "b");
	fsync_file("b");
}

START_TEST(a_new_mtime_is_not_committed_before_the_content)
{
	struct stat st;

	crash_after(write_then_utimes_then_fsync_another);
	check_file("a", "old");
	check_file("b", "b");
	test_stat(&t, test_lookup(&t, ROOT, "a"), &st);
	ck_assert_int_eq(st.st_mtim.tv_sec, 1000);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}
END_TEST

static void utimes_after_write_then_sync(void)
{
	struct stat attr = {.st_mtim = {2000, 5}};
	u64 ino = make_file("a", "content");

	ck_assert_int_eq(setattr(ino, FS_SET_MTIME, &attr), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
}

START_TEST(a_new_mtime_is_committed_with_the_content)
{
	struct stat st;

	crash_after(utimes_after_write_then_sync);
	check_file("a", "content");
	test_stat(&t, test_lookup(&t, ROOT, "a"), &st);
	ck_assert_int_eq(st.st_mtim.tv_sec, 2000);
	ck_assert_int_eq(st.st_mtim.tv_nsec, 5);
}
END_TEST

static void replace_by_rename_then_fsync_another(void)
{
	(void)make_file("a", "old");
	(void)make_file("x", "left");
	(void)make_file("y", "right");
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	(void)make_file("tmp", "new content");
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "tmp", ROOT, "a", 0, &test_cred),
			 0);
	(void)make_file("z", "z");
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "x"), 0);
	(void)make_file("x", "left, new");
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "x", ROOT, "y", RENAME_EXCHANGE,
				   &test_cred),
			 0);
	fsync_file("z");
}

START_TEST(a_name_replaced_by_rename_has_the_content_with_it)
{
	crash_after(replace_by_rename_then_fsync_another);
	check_file("a", "new content");
	check_file("x", "right");
	check_file("y", "left, new");
	ck_assert(!there(ROOT, "tmp"));
}
END_TEST

/* More than fits into rows, so that the device must be written. */
#define BIG_LEN (20 * PAGE_SIZE)

static void a_commit_fails_between_rename_and_fsync(void)
{
	static u8 buf[BIG_LEN];
	u64 fh, other;

	(void)make_file("a", "old");
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	(void)test_create(&t, ROOT, "tmp", &fh);
	test_pattern(buf, BIG_LEN, 0, 1);
	test_write(&t, fh, 0, buf, BIG_LEN);
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "tmp", ROOT, "a", 0, &test_cred),
			 0);
	(void)test_create(&t, ROOT, "other", &other);
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
	ck_assert_int_lt(test_fsync(&t, other), 0);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	ck_assert_int_eq(test_fsync(&t, other), 0);
}

START_TEST(a_name_held_back_by_a_failed_commit_comes_with_its_content)
{
	static u8 buf[BIG_LEN], want[BIG_LEN];
	u64 fh;

	crash_after(a_commit_fails_between_rename_and_fsync);
	ck_assert(there(ROOT, "other") && !there(ROOT, "tmp"));
	fh = test_open(&t, test_lookup(&t, ROOT, "a"));
	test_pattern(want, BIG_LEN, 0, 1);
	ck_assert_int_eq(test_read(&t, fh, 0, buf, BIG_LEN), BIG_LEN);
	ck_assert(!memcmp(buf, want, BIG_LEN));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static void link_a_tmpfile_then_fsync_another(void)
{
	struct stat st;
	u64 fh;

	ck_assert_int_eq(
		fs_tmpfile(t.fs, ROOT, 0600, O_RDWR, &test_cred, 1, &st, &fh),
		0);
	test_write(&t, fh, 0, "tmpfile", 7);
	ck_assert_int_eq(fs_setxattr(t.fs, st.st_ino, "user.x", "y", 1, 0), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_link(t.fs, st.st_ino, ROOT, "linked", &st), 0);
	(void)make_file("b", "b");
	fsync_file("b");
}

START_TEST(a_linked_tmpfile_has_its_content_and_attributes_with_it)
{
	char value[8];

	crash_after(link_a_tmpfile_then_fsync_another);
	check_file("linked", "tmpfile");
	ck_assert_int_eq(fs_getxattr(t.fs, test_lookup(&t, ROOT, "linked"),
				     "user.x", value, sizeof(value)),
			 1);
}
END_TEST

static void leave_orphans(void)
{
	struct stat st;
	u64 fh;

	ck_assert_int_eq(
		fs_tmpfile(t.fs, ROOT, 0600, O_RDWR, &test_cred, 1, &st, &fh),
		0);
	test_write(&t, fh, 0, "tmpfile", 7);
	(void)test_create(&t, ROOT, "gone", &fh);
	test_write(&t, fh, 0, "open", 4);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "gone"), 0);
	test_write(&t, fh, 0, "more", 4);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
}

START_TEST(orphans_are_gone_after_a_crash)
{
	struct statvfs st;

	crash_after(leave_orphans);
	ck_assert(!there(ROOT, "gone"));
	ck_assert_int_eq(fs_statfs(t.fs, &st), 0);
	/* the root alone */
	ck_assert_uint_eq(st.f_files - st.f_ffree, 1);
}
END_TEST

static void fsync_in_new_folders(void)
{
	u64 d = test_mkdir(&t, test_mkdir(&t, ROOT, "d"), "e"), fh;

	(void)test_create(&t, d, "f", &fh);
	test_write(&t, fh, 0, "deep", 4);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
}

START_TEST(fsync_makes_the_way_to_the_file_durable)
{
	u64 d;

	crash_after(fsync_in_new_folders);
	d = test_lookup(&t, test_lookup(&t, ROOT, "d"), "e");
	ck_assert(there(d, "f"));
}
END_TEST

/* ---- committing ---- */

START_TEST(fsync_of_what_is_clean_commits_nothing)
{
	struct fs_stat before, after;
	u64 fh, other;

	(void)test_create(&t, ROOT, "f", &fh);
	test_write(&t, fh, 0, "x", 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	(void)test_create(&t, ROOT, "other", &other);
	test_write(&t, other, 0, "x", 1);
	fs_stat(t.fs, &before);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	fs_stat(t.fs, &after);
	ck_assert_uint_eq(after.commits, before.commits);
	ck_assert_int_eq(test_fsync(&t, other), 0);
	fs_stat(t.fs, &after);
	ck_assert_uint_eq(after.commits, before.commits + 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
}
END_TEST

START_TEST(a_small_fsync_writes_no_data_block)
{
	struct volume *v;
	u64 fh, flushes;

	(void)test_create(&t, ROOT, "f", &fh);
	test_write(&t, fh, 0, "x", 1);
	v = fs_volume(t.fs);
	flushes = v->count.data_flushes;
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(v->count.data_flushes, flushes);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* A file that is overwritten here and there, with a change of its mode each
 * time, does not end up in the database. */
START_TEST(inline_pages_are_moved_out_when_they_are_many)
{
	static u8 page[PAGE_SIZE];
	struct stat attr = {.st_mode = 0600};
	struct fs_stat st;
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);

	for (u64 i = 0; i < 400; i++) {
		test_pattern(page, PAGE_SIZE, i * PAGE_SIZE, 1);
		test_write(&t, fh, i * PAGE_SIZE, page, PAGE_SIZE);
		attr.st_mode = 0600 + (i & 1);
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr), 0);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	fs_stat(t.fs, &st);
	ck_assert_uint_gt(st.inline_moved, 200);
	for (int round = 0; round < 2; round++) {
		for (u64 i = 0; i < 400; i++) {
			u8 want[PAGE_SIZE];

			test_pattern(want, PAGE_SIZE, i * PAGE_SIZE, 1);
			ck_assert_int_eq(test_read(&t, fh, i * PAGE_SIZE, page,
						   PAGE_SIZE),
					 PAGE_SIZE);
			ck_assert(!memcmp(page, want, PAGE_SIZE));
		}
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		test_fs_reopen(&t);
		fh = test_open(&t, ino);
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- names that are gone ---- */

START_TEST(only_o_tmpfile_gets_a_name_after_it_had_none)
{
	struct stat st;
	u64 fh, ino;

	for (int committed = 0; committed < 2; committed++) {
		ino = test_create(&t, ROOT, "f", &fh);
		if (committed)
			ck_assert_int_eq(fs_sync_wait(t.fs), 0);
		ck_assert_int_eq(fs_unlink(t.fs, ROOT, "f"), 0);
		ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "back", &st),
				 -ENOENT);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
	ck_assert_int_eq(
		fs_tmpfile(t.fs, ROOT, 0644, O_RDWR, &test_cred, 1, &st, &fh),
		0);
	ino = st.st_ino;
	ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "first", &st), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "first"), 0);
	ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "second", &st), -ENOENT);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(what_is_open_for_writing_is_not_taken_and_the_other_way)
{
	struct fs_cred cred = {0};
	struct stat st;
	u64 ino, fh, reader;

	/* made, but not open yet: its creator may be about to */
	ck_assert_int_eq(
		fs_mknod(t.fs, ROOT, "new", S_IFREG | 0644, 0, &cred, &st), 0);
	ino = st.st_ino;
	ck_assert_int_eq(fs_take_begin(t.fs, ino), -EBUSY);

	ck_assert_int_eq(fs_openf(t.fs, ino, O_WRONLY, 1, &fh), 0);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY, 1, &reader), 0);
	ck_assert_int_eq(fs_take_begin(t.fs, ino), -EBUSY);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);

	ck_assert_int_eq(fs_take_begin(t.fs, ino), 0);
	ck_assert_int_eq(fs_take_begin(t.fs, ino), 0);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), -EAGAIN);
	fs_take_end(t.fs, ino);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), -EAGAIN);
	ck_assert_int_eq(fs_release(t.fs, reader), 0);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY, 1, &reader), 0);
	fs_take_end(t.fs, ino);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR, 1, &fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, reader), 0);

	ck_assert_int_eq(fs_take_begin(t.fs, ROOT), -EISDIR);
	ck_assert_int_eq(fs_take_begin(t.fs, 999999), -ENOENT);
	fs_forget(t.fs, ino, 1);
}
END_TEST

START_TEST(a_pin_ends_with_the_mount)
{
	char value[8];
	u64 fh, ino = test_create(&t, ROOT, "f", &fh);
	struct cache_gauges g;

	test_write(&t, fh, 0, "content", 7);
	ck_assert_int_eq(fs_setxattr(t.fs, ino, FS_XATTR_PIN, "1", 1, 0), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_drop(t.fs, 0), 0);
	cache_gauges(fs_cache(t.fs), &g);
	ck_assert_uint_eq(g.nr_unevictable, 1);
	test_fs_reopen(&t);
	ck_assert_int_eq(
		fs_getxattr(t.fs, ino, FS_XATTR_PIN, value, sizeof(value)), 1);
	ck_assert_int_eq(value[0], '0');
}
END_TEST

START_TEST(a_path_is_of_a_name_that_is_there)
{
	char path[64];
	struct stat st;
	u64 ino = test_create(&t, ROOT, "a", NULL);

	ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "b", &st), 0);
	ck_assert_int_eq(fs_link(t.fs, ino, ROOT, "c", &st), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "a"), 0);
	ck_assert_int_eq(fs_path(t.fs, ino, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/b");
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "b", ROOT, "d", 0, &test_cred),
			 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "d"), 0);
	(void)test_create(&t, ROOT, "b", NULL);
	ck_assert_int_eq(fs_path(t.fs, ino, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/c");
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "c"), 0);
	ck_assert_int_eq(fs_path(t.fs, ino, path, sizeof(path)), -ENOENT);
	fs_forget(t.fs, ino, 2);
}
END_TEST

/* ---- a volume that is full ---- */

static void setup_small(void)
{
	setup();
	t.volume_size = 16u << 20;
	test_fs_open(&t);
}

static u64 fill_up(u64 fh)
{
	static u8 buf[64 << 10];
	u64 pos = 0;
	ssize_t n;

	for (;;) {
		test_pattern(buf, sizeof(buf), pos, 1);
		n = test_try_write(&t, fh, pos, buf, sizeof(buf));
		if (n <= 0)
			break;
		pos += (u64)n;
	}
	ck_assert_int_eq(n, -ENOSPC);
	return pos;
}

START_TEST(a_full_volume_keeps_what_it_has_and_works_on_after_removals)
{
	static u8 buf[64 << 10], want[64 << 10];
	u64 fh, ino, len, again;

	ino = test_create(&t, ROOT, "big", &fh);
	len = fill_up(fh);
	ck_assert_uint_gt(len, 12u << 20);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	(void)test_mkdir(&t, ROOT, "names still go");
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	for (u64 pos = 0; pos < len; pos += sizeof(buf)) {
		size_t n = min(sizeof(buf), (size_t)(len - pos));

		test_pattern(want, n, pos, 1);
		ck_assert_int_eq(test_read(&t, fh, pos, buf, n), (ssize_t)n);
		ck_assert(!memcmp(buf, want, n));
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "big"), 0);

	(void)test_create(&t, ROOT, "again", &fh);
	again = fill_up(fh);
	ck_assert_uint_ge(again + (1u << 20), len);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Down to the last block. */
static u64 fill_whole(u64 fh)
{
	static const u8 page[PAGE_SIZE] = {1};
	u64 pos = fill_up(fh);
	ssize_t n;

	while (n = test_try_write(&t, fh, pos, page, PAGE_SIZE), n > 0)
		pos += (u64)n;
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	return pos;
}

/* The page that is cut is written anew, to a block that is not there for others
 * to take. */
START_TEST(a_file_on_a_full_volume_is_cut_within_a_page)
{
	struct stat attr = {0};
	u64 fh, ino, len;
	u8 last[200];

	ino = test_create(&t, ROOT, "big", &fh);
	len = fill_whole(fh);
	attr.st_size = (off_t)len - 100;
	ck_assert_int_eq(setattr(ino, FS_SET_SIZE, &attr), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	attr.st_size = (off_t)len;
	ck_assert_int_eq(setattr(ino, FS_SET_SIZE, &attr), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	memset(last, 1, sizeof(last));
	ck_assert_int_eq(test_read(&t, fh, len - 200, last, 200), 200);
	for (int i = 100; i < 200; i++)
		ck_assert_uint_eq(last[i], 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Small commits are kept in rows, which the volume's size does not bound. */
START_TEST(a_full_volume_is_full_for_small_commits_too)
{
	static u8 buf[4 * PAGE_SIZE];
	u64 fh, pos;
	ssize_t n = 0;

	(void)test_create(&t, ROOT, "big", &fh);
	for (pos = 0; pos < 2 * t.volume_size; pos += (u64)n) {
		test_pattern(buf, sizeof(buf), pos, 1);
		n = test_try_write(&t, fh, pos, buf, sizeof(buf));
		if (n <= 0)
			break;
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_uint_lt(pos, t.volume_size);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(fallocate_of_more_than_there_is_fails_and_takes_nothing)
{
	struct statvfs before, after;
	u64 fh;

	(void)test_create(&t, ROOT, "f", &fh);
	ck_assert_int_eq(fs_statfs(t.fs, &before), 0);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 64u << 20), -ENOSPC);
	ck_assert_int_eq(fs_statfs(t.fs, &after), 0);
	ck_assert_uint_eq(before.f_bfree, after.f_bfree);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 8u << 20), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_statfs(t.fs, &after), 0);
	ck_assert_uint_le(after.f_bfree, before.f_bfree - 2048);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, SFun fixture)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, fixture, teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}

Suite *test_suite(void)
{
	Suite *s = suite_create("fs posix");
	TCase *tc = add_case(s, "open", setup_open);

	tcase_add_test(tc, folders_count_their_subfolders_as_links);
	tcase_add_test(tc,
		       set_id_bits_go_with_a_change_by_who_may_not_keep_them);
	tcase_add_test(
		tc,
		capabilities_go_with_content_that_the_kernel_has_not_looked_at);
	tcase_add_test(tc, a_new_owner_takes_set_id_bits_from_all_but_folders);
	tcase_add_test(tc, the_group_is_inherited_from_a_set_gid_folder);
	tcase_add_test(tc, times_before_1970_and_nanoseconds_survive_a_remount);
	tcase_add_test(tc, blocks_are_true_before_and_after_a_commit);
	tcase_add_test(tc,
		       blocks_kept_by_difference_are_those_that_are_counted);
	tcase_add_test(tc, holes_that_may_have_been_stored_to_are_data);
	tcase_add_test(tc, what_the_kernel_drops_is_a_hole_again);
	tcase_add_test(tc,
		       of_very_many_pages_more_are_data_but_none_is_forgotten);
	tcase_add_test(
		tc, what_is_noted_of_all_files_is_a_small_part_of_the_budget);
	tcase_add_test(tc,
		       without_memory_to_note_it_any_page_may_be_the_kernels);
	tcase_add_test(tc, fallocate_makes_space_that_reads_as_zeros);
	tcase_add_loop_test(tc, a_file_may_be_as_large_as_an_offset, 0, 4);
	tcase_add_test(tc, the_name_of_the_control_files_is_refused);
	tcase_add_test(tc, an_immutable_file_stays_as_it_is);
	tcase_add_test(
		tc,
		times_that_the_kernel_kept_pass_where_a_program_may_not_set_them);
	tcase_add_test(
		tc, the_names_of_trusted_attributes_are_listed_for_root_alone);
	tcase_add_test(tc, an_append_only_file_only_grows);
	tcase_add_test(tc, folders_can_be_immutable_and_append_only);
	tcase_add_test(tc, flags_are_set_by_those_who_may);
	tcase_add_test(tc, dots_are_looked_up_for_file_handles);
	tcase_add_test(tc, births_are_remembered);
	tcase_add_test(tc, names_may_be_255_bytes_and_no_more);
	tcase_add_test(tc, a_file_has_so_many_names_and_no_more);
	tcase_add_test(tc, an_unlinked_file_stays_until_closed_and_forgotten);
	tcase_add_test(tc,
		       what_is_made_and_removed_between_commits_costs_no_row);
	tcase_add_test(tc, renaming_what_is_read_comes_to_an_end);
	tcase_add_test(tc, a_large_folder_is_read_whole_while_it_is_committed);
	tcase_add_test(tc, behind_any_offset_a_folder_comes_to_an_end);
	tcase_add_test(tc,
		       the_kernel_caches_a_folder_through_one_handle_at_a_time);
	tcase_add_test(tc, fsync_of_what_is_clean_commits_nothing);
	tcase_add_test(tc, a_small_fsync_writes_no_data_block);
	tcase_add_test(tc, only_o_tmpfile_gets_a_name_after_it_had_none);
	tcase_add_test(tc,
		       what_is_open_for_writing_is_not_taken_and_the_other_way);
	tcase_add_test(tc, a_pin_ends_with_the_mount);
	tcase_add_test(tc, a_path_is_of_a_name_that_is_there);
	tcase_add_test(tc, inline_pages_are_moved_out_when_they_are_many);

	tc = add_case(s, "crash", setup);
	tcase_add_test(tc, a_new_mtime_is_not_committed_before_the_content);
	tcase_add_test(tc, a_new_mtime_is_committed_with_the_content);
	tcase_add_test(tc, a_name_replaced_by_rename_has_the_content_with_it);
	tcase_add_test(
		tc, a_name_held_back_by_a_failed_commit_comes_with_its_content);
	tcase_add_test(tc,
		       a_linked_tmpfile_has_its_content_and_attributes_with_it);
	tcase_add_test(tc, orphans_are_gone_after_a_crash);
	tcase_add_test(tc, fsync_makes_the_way_to_the_file_durable);

	tc = add_case(s, "full", setup_small);
	tcase_add_test(
		tc,
		a_full_volume_keeps_what_it_has_and_works_on_after_removals);
	tcase_add_test(tc, a_full_volume_is_full_for_small_commits_too);
	tcase_add_test(tc,
		       fallocate_of_more_than_there_is_fails_and_takes_nothing);
	tcase_add_test(tc, a_file_on_a_full_volume_is_cut_within_a_page);
	tcase_add_test(tc, what_a_failed_change_left_to_the_kernel_may_be_data);
	return s;
}

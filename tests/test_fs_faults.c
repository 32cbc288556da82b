/* SPDX-License-Identifier: MIT */
/*
 * The nth operation on the database, the data file or the heap fails, for n =
 * 1, 2, 3 ... until a round goes through: nothing acknowledged is lost, nothing
 * half is seen, and what failed says so.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_util.h"
#include "tmpdir.h"
#include "vfs.h"

#define ROOT FS_ROOT_INO
#define LEN (40 * PAGE_SIZE)

static struct test_fs t;
static u8 buf[LEN], want[LEN];

/* ---- the database ---- */

static struct {
	u64 nth;  /* of those counted below; 0: none fails */
	u64 seen; /* atomic: the committer counts */
	int code;
	bool writes, syncs;
} hook;

static int fail_nth(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (!(ev->op == VFS_WRITE && hook.writes) &&
	    !(ev->op == VFS_SYNC && hook.syncs))
		return SQLITE_OK;
	if (__atomic_add_fetch(&hook.seen, 1, __ATOMIC_SEQ_CST) !=
	    __atomic_load_n(&hook.nth, __ATOMIC_SEQ_CST))
		return SQLITE_OK;
	return hook.code;
}

static void arm(u64 nth)
{
	__atomic_store_n(&hook.seen, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&hook.nth, nth, __ATOMIC_SEQ_CST);
}

static bool fired(void)
{
	return hook.seen >= hook.nth;
}

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
	memset(&hook, 0, sizeof(hook));
	vfs_set_hook(fail_nth, NULL);
}

static void teardown(void)
{
	vfs_set_hook(NULL, NULL);
	tmpdir_remove();
}

static void write_version(u64 fh, u64 version)
{
	test_pattern(buf, LEN, 0, version);
	test_write(&t, fh, 0, buf, LEN);
}

static bool has_version(u64 fh, u64 version)
{
	test_pattern(want, LEN, 0, version);
	ck_assert_int_eq(test_read(&t, fh, 0, buf, LEN), LEN);
	return !memcmp(buf, want, LEN);
}

/* A volume with a file "f" of version 1, committed. */
static u64 prepare(void)
{
	u64 fh, ino;

	arm(0);
	test_fs_open(&t);
	ino = test_create(&t, ROOT, "f", &fh);
	write_version(fh, 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	return ino;
}

static bool there(const char *name)
{
	struct stat st;
	int err = fs_lookup(t.fs, ROOT, name, &st);

	ck_assert(!err || err == -ENOENT);
	if (!err)
		fs_forget(t.fs, st.st_ino, 1);
	return !err;
}

/* Either all of the commit is there, or nothing. */
static void check_after(u64 ino, bool acked)
{
	u64 fh = test_open(&t, ino);
	bool new_content = has_version(fh, 2);

	if (!new_content)
		ck_assert(has_version(fh, 1));
	ck_assert_int_eq(new_content, there("g"));
	ck_assert_int_eq(new_content, !there("h"));
	if (acked)
		ck_assert(new_content);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

/* Return: whether the failure came. */
static bool fail_a_commit(u64 nth, bool final)
{
	u64 ino = prepare(), fh;
	struct stat st;
	int err;

	(void)test_create(&t, ROOT, "h", NULL);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	fh = test_open(&t, ino);
	write_version(fh, 2);
	(void)test_create(&t, ROOT, "g", NULL);
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "h"), 0);
	arm(nth);
	err = test_fsync(&t, fh);
	ck_assert_int_eq(err != 0, fired());
	arm(0);
	if (err && final) {
		ck_assert_int_eq(
			fs_mkdir(t.fs, ROOT, "d", 0755, &test_cred, &st),
			-EROFS);
		ck_assert_int_ne(test_fsync(&t, fh), 0);
		/* what is in memory is still to be read */
		ck_assert(has_version(fh, 2));
	} else if (err) {
		ck_assert_int_eq(test_fsync(&t, fh), 0);
		ck_assert(has_version(fh, 2));
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t) != 0, err && final);
	test_fs_check_volume();
	test_fs_open(&t);
	check_after(ino, !err || !final);
	ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
	tmpdir_make();
	return err;
}

START_TEST(a_database_that_cannot_be_written_or_synced_is_never_trusted_again)
{
	u64 nth = 1;

	hook.writes = hook.syncs = true;
	hook.code = SQLITE_IOERR_WRITE;
	while (fail_a_commit(nth, true))
		nth++;
	ck_assert_uint_ge(nth, 3); /* the gathered write, the sync */
}
END_TEST

START_TEST(a_host_that_is_full_for_the_database_is_no_end)
{
	u64 nth = 1;

	hook.writes = true;
	hook.code = SQLITE_FULL;
	while (fail_a_commit(nth, false))
		nth++;
	ck_assert_uint_ge(nth, 2);
}
END_TEST

/* ---- the data file ---- */

static bool fail_the_device(u64 nth, unsigned mask)
{
	u64 ino = prepare(), fh, fresh;
	int err;

	fh = test_open(&t, ino);
	write_version(fh, 2);
	(void)test_create(&t, ROOT, "tmp", &fresh);
	write_version(fresh, 3);
	/* a commit point: "r" appears with its content or not at all */
	(void)test_create(&t, ROOT, "r", NULL);
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "tmp", ROOT, "r", 0, &test_cred),
			 0);
	bdev_fault_arm(t.fault, mask, nth, -EIO, false);
	err = fs_sync_wait(t.fs);
	nth = bdev_fault_calls(t.fault) >= nth;
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	if (err) {
		/* told once to each who has it open, and the data stays */
		(void)fs_flush(t.fs, fh);
		(void)fs_flush(t.fs, fresh);
		ck_assert(has_version(fh, 2));
		ck_assert(has_version(fresh, 3));
	}
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fresh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	ck_assert(has_version(fh, 2));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	fh = test_open(&t, test_lookup(&t, ROOT, "r"));
	ck_assert(has_version(fh, 3));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
	tmpdir_make();
	return nth;
}

START_TEST(failed_writes_and_flushes_of_data_are_made_good_by_the_next_commit)
{
	static const unsigned masks[] = {BDEV_FAULT_WRITE, BDEV_FAULT_FLUSH,
					 BDEV_FAULT_WRITE | BDEV_FAULT_FLUSH};
	u64 nth = 1;

	while (fail_the_device(nth, masks[_i]))
		nth++;
	ck_assert_uint_gt(nth, 1);
}
END_TEST

static u8 page_at(u64 fh, u64 pos)
{
	u8 c = 0;

	(void)test_read(&t, fh, pos, &c, 1);
	return c;
}

START_TEST(each_who_has_the_file_open_is_told_once_of_a_failed_commit)
{
	u64 ino = prepare(), a = test_open(&t, ino), b = test_open(&t, ino);

	write_version(a, 2);
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
	ck_assert_int_eq(test_fsync(&t, a), -EIO);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	ck_assert_int_eq(test_fsync(&t, b), -EIO);
	ck_assert_int_eq(test_fsync(&t, b), 0);
	ck_assert_int_eq(test_fsync(&t, a), 0);
	(void)page_at(a, 0);
	ck_assert_int_eq(fs_release(t.fs, a), 0);
	ck_assert_int_eq(fs_release(t.fs, b), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
}
END_TEST

START_TEST(a_renamed_file_that_cannot_be_written_holds_its_name_back)
{
	u64 ino = prepare(), fresh, other;

	(void)ino;
	(void)test_create(&t, ROOT, "tmp", &fresh);
	write_version(fresh, 3);
	ck_assert_int_eq(fs_rename(t.fs, ROOT, "tmp", ROOT, "f", 0, &test_cred),
			 0);
	(void)test_create(&t, ROOT, "other", &other);
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
	/* another file's fsync would commit the name: it fails with it */
	ck_assert_int_lt(test_fsync(&t, other), 0);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	ck_assert_int_eq(fs_release(t.fs, fresh), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
}
END_TEST

/* ---- memory ---- */

/* One of each change, on names of their own. Return: 0 when all went through,
 * or the first error. */
static int change_everything(u64 ino)
{
	struct stat st, attr = {.st_mode = 0600};
	u64 fh = 0;
	int err;

	err = fs_mkdir(t.fs, ROOT, "m1", 0755, &test_cred, &st);
	if (!err)
		err = fs_symlink(t.fs, ROOT, "m2", "target", &test_cred, &st);
	if (!err)
		err = fs_create(t.fs, ROOT, "m3", 0644, O_RDWR, &test_cred, 1,
				&st, &fh);
	if (!err)
		err = fs_release(t.fs, fh);
	if (!err)
		err = fs_link(t.fs, ino, ROOT, "m4", &st);
	if (!err)
		err = fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &st);
	if (!err)
		err = fs_setxattr(t.fs, ino, "user.m", "v", 1, 0);
	if (!err)
		err = fs_rename(t.fs, ROOT, "m3", ROOT, "m4", 0, &test_cred);
	if (!err)
		err = fs_rmdir(t.fs, ROOT, "m1");
	if (!err)
		err = fs_unlink(t.fs, ROOT, "m2");
	if (!err)
		err = fs_unlink(t.fs, ROOT, "m4");
	return err;
}

static void remove_leftovers(void)
{
	(void)fs_rmdir(t.fs, ROOT, "m1");
	(void)fs_unlink(t.fs, ROOT, "m2");
	(void)fs_unlink(t.fs, ROOT, "m3");
	(void)fs_unlink(t.fs, ROOT, "m4");
}

START_TEST(without_memory_a_change_fails_whole)
{
	u64 ino = prepare();
	bool failed;
	u64 nth = 1;

	do {
		int err;

		test_fail_malloc(nth++);
		err = change_everything(ino);
		failed = test_malloc_failed();
		expect(!err || err == -ENOMEM);
		fs_check(t.fs);
		remove_leftovers();
		fs_check(t.fs);
		if (nth % 8 == 0)
			expect(fs_sync_wait(t.fs) == 0);
	} while (failed);
	expect(nth > 20);
	test_fs_reopen(&t);
	expect(!there("m1") && !there("m2") && !there("m3") && !there("m4"));
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

static int cut(u64 ino, off_t size)
{
	struct stat attr = {.st_size = size}, st;

	return fs_setattr(t.fs, ino, 0, &attr, FS_SET_SIZE, &st);
}

/* Memory for a cut counts as room, which a commit gives back. */
START_TEST(a_cut_that_lacks_room_is_tried_again_after_a_commit)
{
	u64 ino = prepare(), fh, nth = 1;
	unsigned nr_again = 0;
	bool failed;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.impatient = true;
	test_fs_open(&t);
	fh = test_open(&t, ino);
	do {
		int err;

		write_version(fh, nth);
		test_fail_malloc(nth++);
		err = cut(ino, 100);
		failed = test_malloc_failed();
		expect(!err || err == -ERESTART || err == -ENOMEM);
		nr_again += err == -ERESTART;
		if (err) {
			expect(test_commit(&t) == 0);
			expect(cut(ino, 100) == 0);
		}
		fs_check(t.fs);
	} while (failed);
	expect(nr_again);
	expect(fs_release(t.fs, fh) == 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

START_TEST(without_memory_a_commit_fails_whole)
{
	u64 ino = prepare(), fh = test_open(&t, ino);
	bool failed;
	u64 nth = 1;

	do {
		int err;

		write_version(fh, nth);
		expect(change_everything(ino) == 0);
		test_fail_malloc(nth++);
		err = fs_sync_wait(t.fs);
		failed = test_malloc_failed();
		(void)err;
		(void)fs_flush(t.fs, fh);
		fs_check(t.fs);
		expect(fs_sync_wait(t.fs) == 0);
	} while (failed && nth < 400);
	expect(has_version(fh, nth - 1));
	expect(fs_release(t.fs, fh) == 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fs faults");
	TCase *tc = tcase_create("faults");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(
		tc,
		a_database_that_cannot_be_written_or_synced_is_never_trusted_again);
	tcase_add_test(tc, a_host_that_is_full_for_the_database_is_no_end);
	tcase_add_loop_test(
		tc,
		failed_writes_and_flushes_of_data_are_made_good_by_the_next_commit,
		0, 3);
	tcase_add_test(
		tc, each_who_has_the_file_open_is_told_once_of_a_failed_commit);
	tcase_add_test(
		tc, a_renamed_file_that_cannot_be_written_holds_its_name_back);
	tcase_add_test(tc, without_memory_a_change_fails_whole);
	tcase_add_test(tc, a_cut_that_lacks_room_is_tried_again_after_a_commit);
	tcase_add_test(tc, without_memory_a_commit_fails_whole);
	suite_add_tcase(s, tc);
	return s;
}

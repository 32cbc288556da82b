/* SPDX-License-Identifier: MIT */
/*
 * Atomic files: what stands on the volume, asked past the cache, changes where
 * somebody says so and nowhere else.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs_internal.h"
#include "fs_util.h"
#include "tmpdir.h"
#include "wal_gate.h"

#define PAGES 24 /* more than are ever kept inline */
#define LEN (PAGES * PAGE_SIZE - 1000)
#define MOST ((size_t)4 * PAGES * PAGE_SIZE)

static struct test_fs t;

static void make_fs(void)
{
	tmpdir_make();
	test_fs_init(&t);
}

static void drop_fs(void)
{
	if (t.fs)
		ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
}

struct content {
	size_t len;
	u8 *bytes;
};

static void content_done(struct content *c)
{
	free(c->bytes);
}

/* What the volume has. */
static struct content committed(u64 ino)
{
	struct volume *v = fs_volume(t.fs);
	struct content c = {.bytes = aligned_alloc(PAGE_SIZE, MOST)};
	struct meta_reader *r;
	struct inode_row row;

	ck_assert_int_eq(meta_reader_get(v->meta, &r), 0);
	ck_assert_int_eq(meta_inode_get(r, ino, &row), 0);
	meta_reader_put(r);
	c.len = row.size;
	ck_assert_uint_le(c.len, MOST);
	for (u64 i = 0; i < bytes_to_pages(c.len); i++) {
		void *page = c.bytes + i * PAGE_SIZE;
		int err;

		ck_assert_int_eq(volume_read_pages(v, ino, i, 1, &page, &err),
				 0);
		ck_assert_int_eq(err, 0);
	}
	return c;
}

/* What programs see. */
static struct content current(u64 fh, u64 ino)
{
	struct content c = {.bytes = malloc(MOST)};
	struct stat st;

	test_stat(&t, ino, &st);
	c.len = (size_t)st.st_size;
	ck_assert_int_eq(test_read(&t, fh, 0, c.bytes, MOST), (ssize_t)c.len);
	return c;
}

static bool same(const struct content *a, const struct content *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* The volume has @before still. */
static void is_held(u64 ino, const struct content *before)
{
	struct content c = committed(ino);

	ck_assert(same(&c, before));
	content_done(&c);
}

/* The volume has what programs see. */
static void is_committed(u64 fh, u64 ino)
{
	struct content a = committed(ino), b = current(fh, ino);

	ck_assert(same(&a, &b));
	content_done(&a);
	content_done(&b);
}

static void write_version(u64 fh, u64 version)
{
	static u8 buf[LEN];

	test_pattern(buf, LEN, 0, version);
	test_write(&t, fh, 0, buf, LEN);
}

static int set_atomic(u64 ino, const char *value)
{
	return fs_setxattr(t.fs, ino, FS_XATTR_ATOMIC, value, strlen(value), 0);
}

static char get_atomic(u64 ino)
{
	char value[4] = "";

	ck_assert_int_eq(
		fs_getxattr(t.fs, ino, FS_XATTR_ATOMIC, value, sizeof(value)),
		1);
	return value[0];
}

/* An atomic file of one committed version, open. */
static u64 make_atomic(const char *name, u64 *ret_fh)
{
	u64 ino = test_create(&t, FS_ROOT_INO, name, ret_fh);

	ck_assert_int_eq(set_atomic(ino, "1"), 0);
	write_version(*ret_fh, 1);
	ck_assert_int_eq(test_fsync(&t, *ret_fh), 0);
	return ino;
}

/* ---- what does not commit it ---- */

START_TEST(only_those_who_ask_for_an_atomic_file_commit_it)
{
	struct content before;
	u64 fh, other, ino, periodic;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	periodic = test_create(&t, FS_ROOT_INO, "other", &other);
	before = committed(ino);
	write_version(fh, 2);
	write_version(other, 2);

	ck_assert_int_eq(test_fsyncdir(&t, FS_ROOT_INO), 0);
	is_held(ino, &before);
	ck_assert_int_eq(test_fsync(&t, other), 0);
	is_held(ino, &before);
	write_version(other, 3);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	is_committed(other, periodic);

	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	write_version(fh, 3);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	is_committed(fh, ino);

	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
}
END_TEST

/* The ways to change a file. */
static void do_overwrite(u64 fh, u64 ino)
{
	(void)ino;
	test_write(&t, fh, PAGE_SIZE + 100, "changed", 7);
}

static void do_append(u64 fh, u64 ino)
{
	(void)ino;
	test_write(&t, fh, LEN, "appended", 8);
}

static void do_extend(u64 fh, u64 ino)
{
	(void)ino;
	test_write(&t, fh, 2 * LEN, "far", 3);
}

static void set_size(u64 ino, u64 size)
{
	struct stat st = {.st_size = (off_t)size}, out;

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &st, FS_SET_SIZE, &out), 0);
}

static void do_cut(u64 fh, u64 ino)
{
	(void)fh;
	set_size(ino, 5 * PAGE_SIZE + 17);
}

static void do_grow(u64 fh, u64 ino)
{
	(void)fh;
	set_size(ino, 3 * LEN);
}

static void do_cut_and_grow(u64 fh, u64 ino)
{
	(void)fh;
	set_size(ino, 100);
	set_size(ino, LEN);
}

static void do_empty(u64 fh, u64 ino)
{
	u64 again;

	(void)fh;
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDWR | O_TRUNC, 1, &again), 0);
	ck_assert_int_eq(fs_release(t.fs, again), 0);
}

static void fallocate_it(u64 fh, int mode, u64 pos, u64 len)
{
	ck_assert_int_eq(fs_fallocate(t.fs, fh, mode, pos, len), 0);
}

static void do_punch(u64 fh, u64 ino)
{
	(void)ino;
	fallocate_it(fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000,
		     7 * PAGE_SIZE);
}

static void do_zero(u64 fh, u64 ino)
{
	(void)ino;
	fallocate_it(fh, FALLOC_FL_ZERO_RANGE, 1000, 7 * PAGE_SIZE);
}

static void do_allocate(u64 fh, u64 ino)
{
	(void)ino;
	fallocate_it(fh, 0, LEN, 3 * PAGE_SIZE);
}

static void do_late_write(u64 fh, u64 ino)
{
	static u8 page[PAGE_SIZE];
	bool retry;
	u64 pause;

	(void)ino;
	memset(page, 0x5a, sizeof(page));
	ck_assert_int_eq(fs_write(t.fs, fh, 3 * PAGE_SIZE, page, PAGE_SIZE,
				  CACHE_WRITE_WRITEPAGE, &pause, &retry),
			 (int)PAGE_SIZE);
}

static void do_copy(u64 fh, u64 ino)
{
	u64 from;

	(void)ino;
	(void)test_create(&t, FS_ROOT_INO, "from", &from);
	write_version(from, 9);
	ck_assert_int_eq(fs_copy_file_range(t.fs, from, 0, fh, PAGE_SIZE,
					    2 * PAGE_SIZE, 0),
			 (int)(2 * PAGE_SIZE));
	ck_assert_int_eq(fs_release(t.fs, from), 0);
	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "from"), 0);
}

static void do_append_by_flag(u64 fh, u64 ino)
{
	u64 again;

	(void)fh;
	ck_assert_int_eq(fs_openf(t.fs, ino, O_WRONLY | O_APPEND, 1, &again),
			 0);
	test_write(&t, again, 0, "at the end", 10);
	ck_assert_int_eq(fs_release(t.fs, again), 0);
}

static void do_reserve(u64 fh, u64 ino)
{
	(void)ino;
	fallocate_it(fh, FALLOC_FL_KEEP_SIZE, 2 * LEN, 3 * PAGE_SIZE);
}

static void do_copy_within(u64 fh, u64 ino)
{
	(void)ino;
	ck_assert_int_eq(
		fs_copy_file_range(t.fs, fh, 0, fh, LEN, 2 * PAGE_SIZE, 0),
		(int)(2 * PAGE_SIZE));
}

static void (*const changes[])(u64 fh, u64 ino) = {
	do_overwrite,	do_append,     do_extend,	  do_cut,
	do_grow,	do_empty,      do_punch,	  do_zero,
	do_allocate,	do_late_write, do_copy,		  do_cut_and_grow,
	do_copy_within, do_reserve,    do_append_by_flag,
};

START_TEST(every_change_waits_for_a_sync_and_comes_whole)
{
	struct content before;
	u64 fh, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	before = committed(ino);
	changes[_i](fh, ino);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	do_overwrite(fh, ino);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

START_TEST(every_change_is_kept_and_whole_when_its_commit_fails)
{
	struct content before;
	u64 fh, ino;

	wal_gate_set();
	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	before = committed(ino);
	changes[_i](fh, ino);
	do_overwrite(fh, ino);
	wal_gate_fail(SQLITE_FULL);
	ck_assert_int_eq(test_fsync(&t, fh), -ENOSPC);
	is_held(ino, &before);
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(test_fs_close(&t), 0);
	wal_gate_remove();
}
END_TEST

START_TEST(every_change_of_a_periodic_file_goes_with_the_next_commit)
{
	u64 fh, ino;

	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	write_version(fh, 1);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(fh, ino);
	changes[_i](fh, ino);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

START_TEST(every_change_goes_with_the_files_it_is_committed_with)
{
	struct content before[2];
	u64 fh[2], ino[2];

	test_fs_open(&t);
	for (int i = 0; i < 2; i++) {
		ino[i] = make_atomic(i ? "b" : "a", &fh[i]);
		before[i] = committed(ino[i]);
	}
	changes[_i](fh[0], ino[0]);
	write_version(fh[1], 2);
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), -EIO);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	for (int i = 0; i < 2; i++)
		is_held(ino[i], &before[i]);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0);
	for (int i = 0; i < 2; i++) {
		is_committed(fh[i], ino[i]);
		content_done(&before[i]);
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
	}
	test_fs_reopen(&t);
}
END_TEST

/* ---- names and attributes go without it ---- */

static void chmod_it(u64 ino)
{
	struct stat st = {.st_mode = 0600}, out;

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &st, FS_SET_MODE, &out), 0);
}

START_TEST(names_and_attributes_are_committed_without_the_content)
{
	struct content before;
	struct meta_reader *r;
	struct inode_row row;
	struct dentry_row name;
	struct stat st;
	u64 fh, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	before = committed(ino);
	do_cut(fh, ino);
	chmod_it(ino);
	ck_assert_int_eq(fs_link(t.fs, ino, FS_ROOT_INO, "second", &st), 0);
	fs_forget(t.fs, ino, 1);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "file", FS_ROOT_INO,
				   "renamed", 0, &test_cred),
			 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(meta_reader_get(fs_volume(t.fs)->meta, &r), 0);
	ck_assert_int_eq(meta_inode_get(r, ino, &row), 0);
	ck_assert_uint_eq(row.mode, S_IFREG | 0600);
	ck_assert_uint_eq(row.nlink, 2);
	ck_assert_int_eq(meta_dentry_get(r, FS_ROOT_INO, "renamed", 7, &name),
			 0);
	meta_reader_put(r);

	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "second"), 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(a_removed_atomic_file_leaves_nothing)
{
	u64 fh, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	do_extend(fh, ino);
	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "file"), 0);
	ck_assert_int_eq(test_commit(&t), 0);
	do_overwrite(fh, ino);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

/* ---- commit points ---- */

START_TEST(a_file_that_takes_anothers_name_brings_its_content)
{
	u64 fh, ino;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ino = make_atomic("new", &fh);
	write_version(fh, 2);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(files_that_are_exchanged_bring_their_content)
{
	u64 fh[2], ino[2];

	test_fs_open(&t);
	ino[0] = make_atomic("a", &fh[0]);
	ino[1] = make_atomic("b", &fh[1]);
	write_version(fh[0], 2);
	write_version(fh[1], 3);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "a", FS_ROOT_INO, "b",
				   RENAME_EXCHANGE, &test_cred),
			 0);
	ck_assert_int_eq(test_commit(&t), 0);
	for (int i = 0; i < 2; i++) {
		is_committed(fh[i], ino[i]);
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
	}
}
END_TEST

START_TEST(a_nameless_file_brings_its_content_with_its_first_name)
{
	struct stat st;
	u64 fh;

	t.atomic = true;
	test_fs_open(&t);
	ck_assert_int_eq(fs_tmpfile(t.fs, FS_ROOT_INO, 0600, O_RDWR, &test_cred,
				    1, &st, &fh),
			 0);
	write_version(fh, 1);
	ck_assert_int_eq(fs_link(t.fs, st.st_ino, FS_ROOT_INO, "name", &st), 0);
	fs_forget(t.fs, st.st_ino, 2);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(fh, st.st_ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* What comes after a commit point does not go with it, once it is settled. */
START_TEST(nothing_that_comes_later_goes_with_a_name)
{
	struct content before;
	u64 fh, ino;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ino = make_atomic("new", &fh);
	ck_assert_int_eq(test_settle(&t), 1);
	write_version(fh, 2);
	ck_assert_int_eq(test_settle(&t), 1);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	ck_assert_int_eq(test_settle(&t), 0);
	is_committed(fh, ino);
	before = committed(ino);
	write_version(fh, 3);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	/* another name alone is no commit point */
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "old", FS_ROOT_INO, "new",
				   0, &test_cred),
			 0);
	ck_assert_int_eq(test_settle(&t), 1);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static void answered(struct fs_done *done, int err)
{
	(void)done;
	ck_assert_int_eq(err, 0);
}

static void failed(struct fs_done *done, int err)
{
	(void)done;
	ck_assert_int_eq(err, -ENOSPC);
}

/* Nor where what the name waits for is on its way already, be it that somebody
 * else writes before the answer. */
START_TEST(nothing_that_comes_later_goes_with_a_name_during_a_commit)
{
	struct fs_done synced = {answered};
	struct content before;
	u64 fh, ino;

	wal_gate_set();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ino = make_atomic("new", &fh);
	write_version(fh, 2);
	before = current(fh, ino);
	wal_gate_shut();
	fs_fsync(t.fs, fh, false, &synced);
	wal_gate_wait();
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	ck_assert(__atomic_load_n(&t.fs->ops.points, __ATOMIC_RELAXED));
	write_version(fh, 3);
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	t.fs = NULL;
	wal_gate_remove();
}
END_TEST

/* What was there when it got the name, and is later than what is on its way,
 * goes with the next. */
START_TEST(what_comes_before_a_name_goes_with_it_during_a_commit)
{
	struct fs_done synced = {answered};
	u64 fh, ino;

	wal_gate_set();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ino = make_atomic("new", &fh);
	write_version(fh, 2);
	wal_gate_shut();
	fs_fsync(t.fs, fh, false, &synced);
	wal_gate_wait();
	write_version(fh, 3);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(test_fsyncdir(&t, FS_ROOT_INO), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	t.fs = NULL;
	wal_gate_remove();
}
END_TEST

/* But with the name if that fails. */
START_TEST(a_name_waits_for_content_whose_commit_fails)
{
	struct fs_done synced = {failed};
	u64 fh, ino;

	wal_gate_set();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ino = make_atomic("new", &fh);
	write_version(fh, 2);
	wal_gate_shut();
	fs_fsync(t.fs, fh, false, &synced);
	wal_gate_wait();
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	wal_gate_open(SQLITE_FULL);
	ck_assert_int_eq(test_settle(&t), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	t.fs = NULL;
	wal_gate_remove();
}
END_TEST

/* ---- several together ---- */

START_TEST(several_files_are_committed_in_one_transaction)
{
	u64 fh[3], ino[3];
	struct content before;
	struct fs_stat a, b;

	test_fs_open(&t);
	for (int i = 0; i < 3; i++) {
		ino[i] = make_atomic(i == 0 ? "a" : i == 1 ? "b" : "c", &fh[i]);
		write_version(fh[i], 2);
	}
	before = committed(ino[2]);
	fs_stat(t.fs, &a);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0);
	fs_stat(t.fs, &b);
	ck_assert_uint_eq(b.commits, a.commits + 1);
	is_committed(fh[0], ino[0]);
	is_committed(fh[1], ino[1]);
	is_held(ino[2], &before);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0); /* nothing to do */
	fs_stat(t.fs, &a);
	ck_assert_uint_eq(b.commits, a.commits);
	content_done(&before);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
}
END_TEST

START_TEST(if_one_of_several_cannot_be_written_none_is_committed)
{
	struct content before[3];
	u64 fh[3], ino[3];

	test_fs_open(&t);
	for (int i = 0; i < 3; i++) {
		ino[i] = make_atomic(i == 0 ? "a" : i == 1 ? "b" : "c", &fh[i]);
		before[i] = committed(ino[i]);
	}
	write_version(fh[0], 2);	  /* needs blocks */
	test_write(&t, fh[1], 0, "x", 1); /* goes inline */
	test_write(&t, fh[2], 0, "y", 1);
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), -EIO);
	is_held(ino[0], &before[0]);
	is_held(ino[1], &before[1]);
	ck_assert_int_eq(test_fsync(&t, fh[2]), 0); /* is none of theirs */
	is_committed(fh[2], ino[2]);
	bdev_fault_arm(t.fault, 0, 0, 0, false);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0);
	is_committed(fh[0], ino[0]);
	is_committed(fh[1], ino[1]);
	for (int i = 0; i < 3; i++) {
		content_done(&before[i]);
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
	}
}
END_TEST

static void rename_a(u64 ino)
{
	(void)ino;
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "a", FS_ROOT_INO, "z", 0,
				   &test_cred),
			 0);
}

static void link_a(u64 ino)
{
	struct stat st;

	ck_assert_int_eq(fs_link(t.fs, ino, FS_ROOT_INO, "z", &st), 0);
	fs_forget(t.fs, ino, 1);
}

static void unlink_a(u64 ino)
{
	(void)ino;
	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "a"), 0);
}

static void (*const name_changes[])(u64 ino) = {rename_a, link_a, unlink_a};

START_TEST(a_file_of_several_may_get_or_lose_a_name_meanwhile)
{
	bool gone = name_changes[_i] == unlink_a;
	u64 fh[2], ino[2];

	test_fs_open(&t);
	for (int i = 0; i < 2; i++) {
		ino[i] = make_atomic(i ? "b" : "a", &fh[i]);
		write_version(fh[i], 2);
	}
	name_changes[_i](ino[0]);
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0);
	is_committed(fh[1], ino[1]);
	if (!gone) {
		is_committed(fh[0], ino[0]);
		ck_assert_uint_eq(test_lookup(&t, FS_ROOT_INO, "z"), ino[0]);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(fs_getattr(t.fs, ino[0], &(struct stat){0}),
			 gone ? -ENOENT : 0);
}
END_TEST

START_TEST(what_is_no_list_of_files_is_not_committed)
{
	static u64 many[600];
	u64 fh, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	write_version(fh, 2);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = ino;
	ck_assert_int_eq(test_commit_files(&t, many, 0), -EINVAL);
	ck_assert_int_eq(test_commit_files(&t, many, 512), -EINVAL);
	many[1] = 12345678;
	ck_assert_int_eq(test_commit_files(&t, many, 2), -ENOENT);
	many[1] = FS_ROOT_INO;
	ck_assert_int_eq(test_commit_files(&t, many, 2), -EINVAL);
	many[1] = ino;
	ck_assert_int_eq(test_commit_files(&t, many, 511), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- who holds it ---- */

START_TEST(the_last_close_lets_an_atomic_file_go)
{
	struct content before;
	u64 fh, second, reader, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	before = committed(ino);
	second = test_open(&t, ino);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY, 1, &reader), 0);
	write_version(fh, 2);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_uint_eq(t.fs->ops.timer_ns, 0); /* nothing for the timer */
	ck_assert_uint_ne(t.fs->ops.oldest_ns, 0);

	ck_assert_int_eq(fs_release(t.fs, second), 0);
	ck_assert_uint_ne(t.fs->ops.timer_ns, 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(reader, ino);
	ck_assert_uint_eq(t.fs->ops.oldest_ns, 0);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, reader), 0);
}
END_TEST

START_TEST(the_timer_commits_an_atomic_file_that_was_closed)
{
	struct content before, now;
	bool done;
	u64 fh, ino;

	t.commit_secs = 1;
	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	before = committed(ino);
	write_version(fh, 2);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	do {
		now = committed(ino);
		done = !same(&before, &now);
		content_done(&now);
	} while (!done);
	content_done(&before);
}
END_TEST

START_TEST(a_file_that_is_atomic_no_more_is_committed_unasked)
{
	u64 fh, ino;

	test_fs_open(&t);
	ino = make_atomic("file", &fh);
	write_version(fh, 2);
	ck_assert_int_eq(test_commit(&t), 0);
	ck_assert_int_eq(set_atomic(ino, "0"), 0);
	ck_assert_uint_ne(t.fs->ops.timer_ns, 0);
	ck_assert_int_eq(test_commit(&t), 0);
	is_committed(fh, ino);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(closing_the_filesystem_commits_atomic_files_in_use)
{
	u8 got[LEN], want[LEN];
	u64 fh;

	test_fs_open(&t);
	(void)make_atomic("file", &fh);
	write_version(fh, 2);
	test_fs_reopen(&t);
	fh = test_open(&t, test_lookup(&t, FS_ROOT_INO, "file"));
	test_pattern(want, LEN, 0, 2);
	ck_assert_int_eq(test_read(&t, fh, 0, got, LEN), LEN);
	ck_assert(!memcmp(got, want, LEN));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- the attribute ---- */

START_TEST(what_is_made_in_an_atomic_folder_is_atomic)
{
	struct stat st;
	u64 dir, sub, file, fh;

	test_fs_open(&t);
	dir = test_mkdir(&t, FS_ROOT_INO, "dir");
	ck_assert_int_eq(get_atomic(dir), '0');
	ck_assert_int_eq(set_atomic(dir, "1"), 0);
	sub = test_mkdir(&t, dir, "sub");
	file = test_create(&t, sub, "file", NULL);
	ck_assert_int_eq(get_atomic(sub), '1');
	ck_assert_int_eq(get_atomic(file), '1');
	ck_assert_int_eq(
		fs_tmpfile(t.fs, sub, 0600, O_RDWR, &test_cred, 1, &st, &fh),
		0);
	ck_assert_int_eq(get_atomic(st.st_ino), '1');
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(
		get_atomic(test_create(&t, FS_ROOT_INO, "plain", NULL)), '0');

	test_fs_reopen(&t);
	ck_assert_int_eq(get_atomic(dir), '1');
	ck_assert_int_eq(get_atomic(file), '1');
	ck_assert_int_eq(fs_removexattr(t.fs, file, FS_XATTR_ATOMIC), 0);
	ck_assert_int_eq(get_atomic(file), '0');
	test_fs_reopen(&t);
	ck_assert_int_eq(get_atomic(file), '0');
}
END_TEST

START_TEST(the_attribute_takes_1_and_0_of_files_and_folders_alone)
{
	static const char *const bad[] = {"", "2", "01", "1\n", "yes"};
	struct stat st;
	char list[64];
	u64 ino;

	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(set_atomic(ino, bad[i]), -EINVAL);
	ck_assert_int_eq(
		fs_setxattr(t.fs, ino, FS_XATTR_ATOMIC, "1", 1, XATTR_CREATE),
		-EEXIST);
	ck_assert_int_eq(
		fs_setxattr(t.fs, ino, FS_XATTR_ATOMIC, "1", 1, XATTR_REPLACE),
		0);
	ck_assert_int_eq(get_atomic(ino), '1');
	ck_assert_int_eq(fs_getxattr(t.fs, ino, FS_XATTR_ATOMIC, NULL, 0), 1);
	ck_assert_int_eq(fs_listxattr(t.fs, ino, true, list, sizeof(list)), 0);

	ck_assert_int_eq(fs_mknod(t.fs, FS_ROOT_INO, "fifo", S_IFIFO | 0600, 0,
				  &test_cred, &st),
			 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(set_atomic(st.st_ino, "1"), -EOPNOTSUPP);
	ck_assert_int_eq(fs_getxattr(t.fs, st.st_ino, FS_XATTR_ATOMIC, list, 4),
			 -ENODATA);
}
END_TEST

START_TEST(with_the_mount_option_every_file_is_atomic)
{
	struct content before;
	u64 fh, ino;

	t.atomic = true;
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(get_atomic(ino), '1');
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	before = committed(ino);
	write_version(fh, 1);
	ck_assert_int_eq(test_commit(&t), 0);
	is_held(ino, &before);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_committed(fh, ino);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);

	t.atomic = false; /* the option is of the mount, not of the file */
	test_fs_reopen(&t);
	ck_assert_int_eq(get_atomic(ino), '0');
}
END_TEST

/* ---- when there is no room ---- */

/* Write pages of a file until that fails. Return: how many went. */
static u64 fill_up(u64 fh, u64 version, u64 max)
{
	u8 page[PAGE_SIZE];
	u64 i;

	for (i = 0; i < max; i++) {
		bool retry;
		u64 pause;
		ssize_t n;

		test_pattern(page, PAGE_SIZE, i * PAGE_SIZE, version);
		n = fs_write(t.fs, fh, i * PAGE_SIZE, page, PAGE_SIZE, 0,
			     &pause, &retry);
		if (n == -ENOSPC && retry) {
			ck_assert_int_eq(test_commit(&t), 0);
			n = fs_write(t.fs, fh, i * PAGE_SIZE, page, PAGE_SIZE,
				     0, &pause, &retry);
		}
		if (n == -ENOSPC)
			break;
		expect(n == (ssize_t)PAGE_SIZE);
	}
	return i;
}

static void has_pages(u64 fh, u64 version, u64 first, u64 nr)
{
	u8 got[PAGE_SIZE], want[PAGE_SIZE];

	for (u64 i = first; i < nr; i++) {
		test_pattern(want, PAGE_SIZE, i * PAGE_SIZE, version);
		expect(test_read(&t, fh, i * PAGE_SIZE, got, PAGE_SIZE) ==
		       (ssize_t)PAGE_SIZE);
		expect(!memcmp(got, want, PAGE_SIZE));
	}
}

/* Both versions need a place until the second is committed. */
static void overwrite_till_full(u64 pages)
{
	struct content before;
	u64 fh, ino, first, nr;

	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(set_atomic(ino, "1"), 0);
	first = fill_up(fh, 1, 12); /* what is_held() can compare */
	ck_assert_uint_eq(first, 12);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	before = committed(ino);

	nr = fill_up(fh, 2, pages);
	ck_assert_uint_lt(nr, pages);
	is_held(ino, &before);
	has_pages(fh, 2, 0, nr);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	has_pages(fh, 2, 0, nr);
	first = fill_up(fh, 3, nr);
	ck_assert_uint_gt(first, 0);
	content_done(&before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	has_pages(fh, 3, 0, first);
	has_pages(fh, 2, first, nr);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

START_TEST(who_writes_to_an_atomic_file_is_told_when_the_volume_is_full)
{
	t.volume_size = 8u << 20;
	overwrite_till_full(8192);
}
END_TEST

START_TEST(who_writes_to_an_atomic_file_is_told_when_memory_is_full)
{
	/* most of the cache is bookkeeping of what lies in slots */
	t.cache_size = CACHE_MIN_PAGES * PAGE_SIZE;
	overwrite_till_full(1u << 20);
}
END_TEST

START_TEST(who_writes_to_an_atomic_file_is_told_when_swap_is_full)
{
	u64 fh, nr;

	t.atomic = true;
	t.cache_size = 1u << 20;
	test_fs_open(&t);
	ck_assert_int_eq(
		cache_set_knob(fs_cache(t.fs), KNOB_swap_size, 1u << 20), 0);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	nr = fill_up(fh, 1, 65536);
	ck_assert_uint_lt(nr, 65536);
	has_pages(fh, 1, 0, nr);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_ge(fill_up(fh, 2, 1), 1);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs atomic", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, make_fs, drop_fs);
	tcase_add_test(tc, only_those_who_ask_for_an_atomic_file_commit_it);
	tcase_add_loop_test(tc, every_change_waits_for_a_sync_and_comes_whole,
			    0, (int)ARRAY_SIZE(changes));
	tcase_add_loop_test(
		tc, every_change_is_kept_and_whole_when_its_commit_fails, 0,
		(int)ARRAY_SIZE(changes));
	tcase_add_loop_test(
		tc, every_change_of_a_periodic_file_goes_with_the_next_commit,
		0, (int)ARRAY_SIZE(changes));
	tcase_add_loop_test(
		tc, every_change_goes_with_the_files_it_is_committed_with, 0,
		(int)ARRAY_SIZE(changes));
	tcase_add_loop_test(tc,
			    a_file_of_several_may_get_or_lose_a_name_meanwhile,
			    0, (int)ARRAY_SIZE(name_changes));
	tcase_add_test(tc,
		       names_and_attributes_are_committed_without_the_content);
	tcase_add_test(tc, a_removed_atomic_file_leaves_nothing);
	tcase_add_test(tc, a_file_that_takes_anothers_name_brings_its_content);
	tcase_add_test(tc, files_that_are_exchanged_bring_their_content);
	tcase_add_test(tc,
		       a_nameless_file_brings_its_content_with_its_first_name);
	tcase_add_test(tc, nothing_that_comes_later_goes_with_a_name);
	tcase_add_test(
		tc, nothing_that_comes_later_goes_with_a_name_during_a_commit);
	tcase_add_test(tc,
		       what_comes_before_a_name_goes_with_it_during_a_commit);
	tcase_add_test(tc, a_name_waits_for_content_whose_commit_fails);
	tcase_add_test(tc, several_files_are_committed_in_one_transaction);
	tcase_add_test(tc,
		       if_one_of_several_cannot_be_written_none_is_committed);
	tcase_add_test(tc, what_is_no_list_of_files_is_not_committed);
	tcase_add_test(tc, the_last_close_lets_an_atomic_file_go);
	tcase_add_test(tc, the_timer_commits_an_atomic_file_that_was_closed);
	tcase_add_test(tc, a_file_that_is_atomic_no_more_is_committed_unasked);
	tcase_add_test(tc, closing_the_filesystem_commits_atomic_files_in_use);
	tcase_add_test(tc, what_is_made_in_an_atomic_folder_is_atomic);
	tcase_add_test(tc,
		       the_attribute_takes_1_and_0_of_files_and_folders_alone);
	tcase_add_test(tc, with_the_mount_option_every_file_is_atomic);
	tcase_add_test(
		tc,
		who_writes_to_an_atomic_file_is_told_when_the_volume_is_full);
	tcase_add_test(
		tc, who_writes_to_an_atomic_file_is_told_when_memory_is_full);
	tcase_add_test(tc,
		       who_writes_to_an_atomic_file_is_told_when_swap_is_full);
	return s;
}

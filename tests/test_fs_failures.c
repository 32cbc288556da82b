/* SPDX-License-Identifier: MIT */
/*
 * What the filesystem says and does when a commit cannot take everything, and
 * when calls come together that must not get into each other's way.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_internal.h"
#include "fs_util.h"
#include "tmpdir.h"
#include "vfs.h"
#include "wal_gate.h"

#define PAGES 16 /* more than are ever kept inline */

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

static void write_pages(u64 fh, u64 version)
{
	char buf[PAGES * PAGE_SIZE];

	test_pattern(buf, sizeof(buf), 0, version);
	test_write(&t, fh, 0, buf, sizeof(buf));
}

static void fail_writes(void)
{
	bdev_fault_arm(t.fault, BDEV_FAULT_WRITE, 1, -EIO, true);
}

static void fail_nothing(void)
{
	bdev_fault_arm(t.fault, 0, 0, 0, false);
}

struct answer {
	struct fs_done done;
	bool given;
};

static void answered(struct fs_done *done, int err)
{
	(void)err;
	__atomic_store_n(&container_of(done, struct answer, done)->given, true,
			 __ATOMIC_RELEASE);
}

/* ---- files that a commit has to leave out ---- */

START_TEST(sync_tells_of_a_file_that_was_left_out)
{
	u64 fh;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	fail_writes();
	ck_assert_int_eq(fs_sync_wait(t.fs), -EIO);
	fail_nothing();
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(closing_tells_of_a_file_that_was_left_out)
{
	u64 fh;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	fail_writes();
	ck_assert_int_eq(test_fs_close(&t), -EIO);
	test_fs_check_volume();
}
END_TEST

struct flusher {
	pthread_t thread;
	u64 fh;
	bool stop;
};

static void *flush_on(void *arg)
{
	struct flusher *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		(void)fs_flush(t.fs, f->fh);
	return NULL;
}

/* close() of a duplicate takes the error of the open file; fsync() must not
 * say that all is well for that. */
START_TEST(fsync_fails_even_if_the_error_was_told_to_another)
{
	struct flusher f = {0};

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &f.fh);
	ck_assert_int_eq(pthread_create(&f.thread, NULL, flush_on, &f), 0);
	for (u64 i = 0; i < 50; i++) {
		write_pages(f.fh, i);
		fail_writes();
		ck_assert_int_eq(test_fsync(&t, f.fh), -EIO);
		fail_nothing();
	}
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	ck_assert_int_eq(pthread_join(f.thread, NULL), 0);
	(void)fs_flush(t.fs, f.fh);
	ck_assert_int_eq(test_fsync(&t, f.fh), 0);
	ck_assert_int_eq(fs_release(t.fs, f.fh), 0);
}
END_TEST

/* What comes of a late write that could not be stored: nobody knows what
 * @pgoff of the file is to be. */
static void lose_page(u64 ino, u64 pgoff)
{
	struct inode *inode = NULL;
	struct address_space *as;

	ck_assert_int_eq(inode_get_ino(t.fs, ino, &inode), 0);
	as = &inode->mapping;
	mutex_lock(&as->tree_lock);
	ck_assert_int_eq(range_set_add(&as->lost, pgoff, pgoff), 0);
	mutex_unlock(&as->tree_lock);
	inode_put(inode);
}

START_TEST(a_lost_page_fails_its_file_alone_until_it_is_written_again)
{
	char in[8];
	u64 bad, other, fh, fh2;

	test_fs_open(&t);
	bad = test_create(&t, FS_ROOT_INO, "bad", &fh);
	other = test_create(&t, FS_ROOT_INO, "other", &fh2);
	write_pages(fh, 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	for (u64 i = 2; i < 5; i++) {
		write_pages(fh, i);
		lose_page(bad, 3);
		test_write(&t, fh2, 0, "content", 7);
		ck_assert_int_eq(test_fsync(&t, fh), -EIO);
		ck_assert_int_eq(test_fsync(&t, fh), -EIO);
		ck_assert_int_eq(test_fsync(&t, fh2), 0);
		ck_assert_int_eq(fs_sync_wait(t.fs), -EIO);
		if (i == 3)
			ck_assert_int_eq(
				fs_setattr(t.fs, bad, fh,
					   &(struct stat){.st_size = PAGE_SIZE},
					   FS_SET_SIZE, &(struct stat){0}),
				0);
		else
			write_pages(fh, i);
		(void)fs_flush(t.fs, fh);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh2), 0);
	test_fs_reopen(&t);
	fh2 = test_open(&t, other);
	ck_assert_int_eq(test_read(&t, fh2, 0, in, 8), 7);
	ck_assert_int_eq(fs_release(t.fs, fh2), 0);
}
END_TEST

/* The three ways in which content gets a name. */
static void give_the_name(int way, u64 bad)
{
	struct stat st;

	if (way == 0)
		ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "bad",
					   FS_ROOT_INO, "name", 0, &test_cred),
				 0);
	else if (way == 1)
		ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "bad",
					   FS_ROOT_INO, "name", RENAME_EXCHANGE,
					   &test_cred),
				 0);
	else
		ck_assert_int_eq(fs_link(t.fs, bad, FS_ROOT_INO, "linked", &st),
				 0);
}

static u64 make_bad(int way, u64 *ret_fh)
{
	struct stat st;

	if (way < 2)
		return test_create(&t, FS_ROOT_INO, "bad", ret_fh);
	ck_assert_int_eq(fs_tmpfile(t.fs, FS_ROOT_INO, 0644, O_RDWR, &test_cred,
				    1, &st, ret_fh),
			 0);
	return st.st_ino;
}

static void work_beside_a_bad_file(int way, bool mend)
{
	u64 bad, fh, fresh, other, both[2];

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "name", &fh);
	test_write(&t, fh, 0, "old", 3);
	(void)test_create(&t, FS_ROOT_INO, "other", &other);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);

	bad = make_bad(way, &fh);
	write_pages(fh, 1);
	lose_page(bad, 0);
	give_the_name(way, bad);
	/* its row waits with the names, and its content with that */
	both[0] = test_create(&t, FS_ROOT_INO, "fresh", &fresh);
	test_write(&t, fresh, 0, "content", 7);
	for (int i = 0; i < 4; i++) {
		test_write(&t, other, 0, "content", 7);
		ck_assert_int_eq(test_fsync(&t, other), 0);
		ck_assert_int_eq(test_fsync(&t, fresh), -EIO);
		ck_assert_int_eq(test_fsyncdir(&t, FS_ROOT_INO), -EIO);
		ck_assert_int_eq(fs_sync_wait(t.fs), -EIO);
		fs_check(t.fs);
	}
	/* and with both what is to be committed together with it */
	both[1] = test_lookup(&t, FS_ROOT_INO, "other");
	test_write(&t, other, 0, "changed", 7);
	ck_assert_int_eq(test_commit_files(&t, both, 2), -EIO);
	fs_check(t.fs);
	if (mend) {
		write_pages(fh, 1);
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
}

static void expect_content(const char *name, const void *want, ssize_t len)
{
	char in[PAGE_SIZE];
	u64 fh = test_open(&t, test_lookup(&t, FS_ROOT_INO, name));

	ck_assert_int_ge(test_read(&t, fh, 0, in, sizeof(in)), len);
	ck_assert_int_eq(memcmp(in, want, (size_t)len), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

/* Names wait for it however often a commit is tried; content of others does
 * not. Then the daemon is killed, at once or after the file was mended. */
START_TEST(a_name_is_never_committed_without_what_it_was_given_to)
{
	static const char *const names[] = {"name", "name", "linked"};
	int way = _i % 3, status = 0;
	bool mend = _i >= 3;
	char pattern[PAGE_SIZE];
	struct stat st;
	pid_t pid = fork();

	if (!pid) {
		work_beside_a_bad_file(way, mend);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	test_fs_check_volume();
	test_fs_open(&t);
	test_pattern(pattern, sizeof(pattern), 0, 1);
	expect_content("other", mend ? "changed" : "content", 7);
	if (mend)
		expect_content(names[way], pattern, sizeof(pattern));
	if (mend)
		expect_content("fresh", "content", 7);
	else
		ck_assert_int_eq(fs_lookup(t.fs, FS_ROOT_INO, "fresh", &st),
				 -ENOENT);
	if (!mend || way == 2)
		expect_content("name", "old", 3);
	else if (way == 1)
		expect_content("bad", "old", 3);
}
END_TEST

/* What waited is older than the content that did not. */
START_TEST(a_record_that_waited_does_not_set_back_the_times_of_content)
{
	struct stat attr = {.st_mode = 0600, .st_mtim.tv_sec = 1000}, a, b;
	u64 bad, fh, other, ino;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "name", NULL);
	ino = test_create(&t, FS_ROOT_INO, "other", &other);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	bad = make_bad(0, &fh);
	write_pages(fh, 1);
	lose_page(bad, 0);
	give_the_name(0, bad);

	ck_assert_int_eq(
		fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE | FS_SET_MTIME, &a),
		0);
	test_write(&t, other, 0, "content", 7);
	ck_assert_int_eq(fs_sync_wait(t.fs), -EIO);
	if (_i) {
		attr.st_mtim.tv_sec = 2000;
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, 0, &attr, FS_SET_MTIME, &a), 0);
	}
	write_pages(fh, 1);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	test_stat(&t, ino, &a);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	test_fs_reopen(&t);
	test_stat(&t, ino, &b);
	ck_assert_int_eq(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
	ck_assert_int_eq(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	ck_assert_int_eq(a.st_ctim.tv_sec, b.st_ctim.tv_sec);
	ck_assert_int_eq(a.st_ctim.tv_nsec, b.st_ctim.tv_nsec);
	ck_assert_uint_eq(b.st_mode, S_IFREG | 0600);
}
END_TEST

/* ---- commits that fail ---- */

static bool host_full;

static int full_wal(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (ev->op == VFS_WRITE && ev->wal &&
	    __atomic_load_n(&host_full, __ATOMIC_RELAXED))
		return SQLITE_FULL;
	return SQLITE_OK;
}

START_TEST(the_timer_tries_names_again_after_a_commit_that_failed)
{
	struct fs_stat st;

	vfs_set_hook(full_wal, NULL);
	test_fs_open(&t);
	(void)test_mkdir(&t, FS_ROOT_INO, "folder");
	host_full = true;
	ck_assert_int_eq(fs_sync_wait(t.fs), -ENOSPC);
	host_full = false;
	/* pending changes have an age, which the timer goes by */
	fs_check(t.fs);
	fs_set_commit_secs(t.fs, 1);
	do {
		fs_stat(t.fs, &st);
	} while (!st.commits);
	ck_assert_uint_eq(st.nr_ops_pending, 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

/* A commit that failed for another reason is no excuse to let the new name go
 * without its content at the next. */
START_TEST(a_replaced_name_waits_for_its_content_after_any_failure)
{
	struct fs_stat before, after;
	u64 fh;

	vfs_set_hook(full_wal, NULL);
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	(void)test_create(&t, FS_ROOT_INO, "new", &fh);
	write_pages(fh, 1);
	host_full = true;
	ck_assert_int_eq(fs_sync_wait(t.fs), -ENOSPC);
	host_full = false;

	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	/* what was written went to slots already, so it is written anew */
	write_pages(fh, 2);
	fs_stat(t.fs, &before);
	fail_writes();
	ck_assert_int_eq(fs_sync_wait(t.fs), -EIO);
	fs_stat(t.fs, &after);
	ck_assert_uint_eq(after.commits, before.commits);
	fail_nothing();
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

START_TEST(a_size_alone_is_tried_again_after_a_commit_that_failed)
{
	struct stat attr = {.st_size = 5 * PAGE_SIZE};
	u64 ino, fh;

	vfs_set_hook(full_wal, NULL);
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	test_write(&t, fh, 0, "content", 7);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_setattr(t.fs, ino, fh, &attr, FS_SET_SIZE, &attr),
			 0);
	host_full = true;
	ck_assert_int_eq(fs_sync_wait(t.fs), -ENOSPC);
	host_full = false;
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	test_stat(&t, ino, &attr);
	ck_assert_int_eq(attr.st_size, 5 * PAGE_SIZE);
	ck_assert_int_eq(test_fs_close(&t), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

/* Their attributes are not committed while a name waits for its content. */
START_TEST(files_committed_together_hear_of_names_that_wait)
{
	struct stat attr = {.st_mode = 0600};
	u64 ino[2], one, fh;

	test_fs_open(&t);
	ino[0] = test_create(&t, FS_ROOT_INO, "one", &one);
	ino[1] = test_create(&t, FS_ROOT_INO, "two", NULL);
	(void)test_create(&t, FS_ROOT_INO, "new", &fh);
	(void)test_create(&t, FS_ROOT_INO, "old", NULL);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	write_pages(fh, 1);
	ck_assert_int_eq(fs_rename(t.fs, FS_ROOT_INO, "new", FS_ROOT_INO, "old",
				   0, &test_cred),
			 0);
	ck_assert_int_eq(fs_setattr(t.fs, ino[0], 0, &attr, FS_SET_MODE, &attr),
			 0);
	fail_writes();
	ck_assert_int_eq(test_commit_files(&t, ino, 2), -EIO);
	fail_nothing();
	ck_assert_int_eq(test_commit_files(&t, ino, 2), 0);
	(void)fs_flush(t.fs, fh);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, one), 0);
	test_fs_reopen(&t);
	test_stat(&t, ino[0], &attr);
	ck_assert_uint_eq(attr.st_mode, S_IFREG | 0600);
}
END_TEST

START_TEST(a_flush_that_failed_is_forgotten_when_nothing_is_in_doubt)
{
	struct volume *v;
	u64 fh;

	test_fs_open(&t);
	v = fs_volume(t.fs);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	bdev_fault_arm(t.fault, BDEV_FAULT_FLUSH, 1, -EIO, true);
	ck_assert_int_eq(test_fsync(&t, fh), -EIO);
	ck_assert_uint_gt(v->lost_upto, 0);
	fail_nothing();
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(v->lost_upto, 0);
	write_pages(fh, 2);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

static int fail_wal_sync(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (ev->op == VFS_SYNC && ev->wal &&
	    __atomic_load_n(&host_full, __ATOMIC_RELAXED))
		return SQLITE_IOERR_FSYNC;
	return SQLITE_OK;
}

static struct extent_row extent_of(u64 ino)
{
	struct extent_row row;
	struct meta_reader *r;

	ck_assert_int_eq(meta_reader_get(fs_volume(t.fs)->meta, &r), 0);
	ck_assert_int_eq(meta_extent_get(r, ino, 0, &row, NULL), 0);
	meta_reader_put(r);
	return row;
}

/* Nobody knows which of the two commits the disk has: neither's blocks may be
 * written to. */
START_TEST(after_a_failed_sync_no_block_that_was_freed_is_given_out)
{
	struct extent_row old, new;
	u64 fh, ino, start;
	u32 nr;

	t.volume_size = 4u << 20;
	vfs_set_hook(fail_wal_sync, NULL);
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	old = extent_of(ino);
	write_pages(fh, 2);
	host_full = true;
	ck_assert_int_eq(test_fsync(&t, fh), -EIO);
	host_full = false;
	ck_assert_int_ne(test_fsync(&t, fh), 0);
	new = extent_of(ino);
	ck_assert_uint_ne(old.block, new.block);

	while (!volume_swap_ops.alloc(fs_volume(t.fs), 64, true, &start, &nr)) {
		ck_assert(start + nr <= old.block ||
			  old.block + old.npages <= start);
		ck_assert(start + nr <= new.block ||
			  new.block + new.npages <= start);
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_ne(test_fs_close(&t), 0);
	vfs_set_hook(NULL, NULL);
	test_fs_check_volume();
}
END_TEST

/* What stands there is committed still, whatever is committed next. */
START_TEST(a_commit_that_failed_frees_nothing)
{
	struct extent_row old;
	u64 fh, other, ino, start;
	u32 nr;

	t.volume_size = 4u << 20;
	vfs_set_hook(full_wal, NULL);
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	(void)test_create(&t, FS_ROOT_INO, "other", &other);
	write_pages(fh, 1);
	write_pages(other, 1);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	old = extent_of(ino);
	write_pages(fh, 2);
	host_full = true;
	ck_assert_int_eq(test_fsync(&t, fh), -ENOSPC);
	host_full = false;
	write_pages(other, 2);
	ck_assert_int_eq(test_fsync(&t, other), 0);
	ck_assert_uint_eq(extent_of(ino).block, old.block);

	while (!volume_swap_ops.alloc(fs_volume(t.fs), 64, true, &start, &nr))
		ck_assert(start + nr <= old.block ||
			  old.block + old.npages <= start);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

static u64 blocks_used(void)
{
	struct blocks_stat st;

	blocks_stat(fs_volume(t.fs)->blocks, &st);
	return st.used;
}

/* If the COMMIT is on the disk all the same, rows have the slots, though what
 * stands there is older than what the cache has. */
START_TEST(slots_that_may_be_committed_are_not_given_out)
{
	struct answer a = {.done.fn = answered};
	u64 fh, used;

	wal_gate_set();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	wal_gate_shut();
	fs_fsync(t.fs, fh, false, &a.done);
	wal_gate_wait();
	write_pages(fh, 2);
	used = blocks_used();
	ck_assert_uint_ge(used, PAGES);
	wal_gate_fail(SQLITE_IOERR_WRITE);
	while (!__atomic_load_n(&a.given, __ATOMIC_ACQUIRE))
		(void)sched_yield();
	wal_gate_open(SQLITE_OK);
	ck_assert_uint_ge(blocks_used(), used);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_ne(test_fs_close(&t), 0);
	wal_gate_remove();
}
END_TEST

/* ---- sync ---- */

START_TEST(sync_writes_large_files_before_it_stops_writers)
{
	struct cache_counters count;
	u64 fh;

	t.cache_size = 64u << 20; /* the flusher has nothing to do */
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	for (u64 i = 0; i < 32; i++) {
		char buf[PAGES * PAGE_SIZE];

		test_pattern(buf, sizeof(buf), i * sizeof(buf), 1);
		test_write(&t, fh, i * sizeof(buf), buf, sizeof(buf));
	}
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	cache_counters(fs_cache(t.fs), &count);
	ck_assert_uint_eq(count.commit_pages, 32 * PAGES);
	ck_assert_uint_eq(count.commit_written, 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(targets_of_symlinks_count_as_bookkeeping)
{
	struct cache_gauges before, after;
	char target[FS_SYMLINK_MAX + 1];
	struct stat st;
	char name[16];

	test_fs_open(&t);
	memset(target, 'x', FS_SYMLINK_MAX);
	target[FS_SYMLINK_MAX] = '\0';
	cache_gauges(fs_cache(t.fs), &before);
	for (int i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "link%d", i);
		ck_assert_int_eq(fs_symlink(t.fs, FS_ROOT_INO, name, target,
					    &test_cred, &st),
				 0);
		fs_forget(t.fs, st.st_ino, 1);
	}
	cache_gauges(fs_cache(t.fs), &after);
	ck_assert_uint_ge(after.metadata_bytes,
			  before.metadata_bytes + 50 * sizeof(target));
}
END_TEST

/* ---- space ---- */

/* Two thirds of the volume are written, and fallocate() asks for the same. */
START_TEST(fallocate_of_what_is_written_needs_no_space)
{
	static char buf[4u << 20];
	char in[PAGE_SIZE];
	u64 fh;

	t.volume_size = 6u << 20;
	t.cache_size = 16u << 20;
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	test_pattern(buf, sizeof(buf), 0, 1);
	test_write(&t, fh, 0, buf, sizeof(buf));
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, sizeof(buf)), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, 0, 100, sizeof(buf) + (1u << 20)), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(test_read(&t, fh, 0, in, PAGE_SIZE), PAGE_SIZE);
	ck_assert_int_eq(memcmp(in, buf, PAGE_SIZE), 0);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 64u << 20), -ENOSPC);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
}
END_TEST

static u64 reserved_blocks(void)
{
	struct blocks_stat st;

	blocks_stat(fs_volume(t.fs)->blocks, &st);
	return st.reserved;
}

static u64 blocks_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return (u64)st.st_blocks / 8;
}

/* Late writes may dig into the reservation: what is written comes first. */
START_TEST(what_fallocate_cannot_get_any_more_fails_no_other_file)
{
	static char buf[1 << 20], in[1 << 20];
	u64 fh, late, asked, ino, pos = 0;
	bool retry;
	u64 pause;

	t.volume_size = 6u << 20;
	t.cache_size = 16u << 20;
	wal_gate_set();
	test_fs_open(&t);
	asked = test_create(&t, FS_ROOT_INO, "asked", &fh);
	ino = test_create(&t, FS_ROOT_INO, "late", &late);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	wal_gate_shut();
	(void)test_mkdir(&t, FS_ROOT_INO, "held");
	fs_want_commit(t.fs);
	wal_gate_wait();
	test_pattern(buf, sizeof(buf), 0, 1);
	test_write(&t, fh, 0, buf, PAGE_SIZE);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 5u << 20), 0);
	ck_assert_int_eq(fs_setattr(t.fs, ino, late,
				    &(struct stat){.st_size = 3u << 20},
				    FS_SET_SIZE, &(struct stat){0}),
			 0);
	for (; pos < sizeof(buf) * 3; pos += sizeof(buf))
		ck_assert_int_eq(fs_write(t.fs, late, pos, buf, sizeof(buf),
					  CACHE_WRITE_WRITEPAGE, &pause,
					  &retry),
				 sizeof(buf));
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(test_fsync(&t, late), 0);
	ck_assert_int_eq(test_fsync(&t, fh), -ENOSPC);
	ck_assert_int_eq(fs_sync_wait(t.fs), -ENOSPC);

	/* it gets the rest when there is room */
	ck_assert_int_eq(fs_release(t.fs, late), 0);
	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "late"), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), -ENOSPC);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_uint_eq(reserved_blocks(), 0);
	ck_assert_uint_eq(blocks_of(asked), 5u << 20 >> PAGE_SHIFT);
	ck_assert_int_eq(test_read(&t, fh, 0, in, PAGE_SIZE), PAGE_SIZE);
	ck_assert_int_eq(memcmp(in, buf, PAGE_SIZE), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert_uint_eq(blocks_of(asked), 5u << 20 >> PAGE_SHIFT);
	ck_assert_int_eq(fs_getattr(t.fs, ino, &(struct stat){0}), -ENOENT);
	ck_assert_int_eq(test_fs_close(&t), 0);
	wal_gate_remove();
}
END_TEST

/* In writeback mode the kernel has taken the bytes long ago. */
START_TEST(late_writes_without_any_room_are_told_at_fsync_and_at_close)
{
	static char buf[1 << 16];
	u64 fh, other, ino;

	t.writeback = true;
	t.volume_size = 2u << 20;
	t.cache_size = 1u << 20;
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	other = test_open(&t, ino);
	for (u64 pos = 0; pos < 4u << 20; pos += sizeof(buf))
		(void)fs_write_ino(t.fs, ino, pos, buf, sizeof(buf),
				   CACHE_WRITE_WRITEPAGE);
	ck_assert_int_lt(test_fsync(&t, fh), 0);
	ck_assert_int_lt(test_fsync(&t, fh), 0);
	ck_assert_int_lt(fs_flush(t.fs, other), 0);
	ck_assert_int_eq(fs_flush(t.fs, other), 0);

	/* what was lost is no part of the file any more */
	ck_assert_int_eq(fs_setattr(t.fs, ino, fh, &(struct stat){0},
				    FS_SET_SIZE, &(struct stat){0}),
			 0);
	/* a commit that was under way may have met it, and is told of once */
	(void)fs_sync_wait(t.fs);
	(void)fs_flush(t.fs, fh);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	test_fs_reopen(&t);
	ck_assert_uint_eq(reserved_blocks(), 0);
}
END_TEST

/* Its content belongs to no commit, so it needs no rows. */
START_TEST(an_orphan_is_never_committed)
{
	u64 fh, ino, nr;

	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	nr = extent_of(ino).block;
	ck_assert_int_eq(fs_unlink(t.fs, FS_ROOT_INO, "file"), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	write_pages(fh, 2);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_uint_eq(extent_of(ino).block, nr);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert_int_eq(fs_getattr(t.fs, ino, &(struct stat){0}), -ENOENT);
}
END_TEST

/* A commit in flight is to make unwritten extents of what is cut off. */
START_TEST(what_is_truncated_meanwhile_is_not_asked_for_any_more)
{
	static const int codes[] = {SQLITE_OK, SQLITE_FULL};
	u64 fh, ino;

	wal_gate_set();
	test_fs_open(&t);
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		char name[8] = {(char)('a' + i)};

		ino = test_create(&t, FS_ROOT_INO, name, &fh);
		ck_assert_int_eq(fs_fallocate(t.fs, fh, 0, 0, 1u << 20), 0);
		ck_assert_uint_eq(reserved_blocks(), 256);
		wal_gate_shut();
		fs_want_commit(t.fs);
		wal_gate_wait();
		ck_assert_int_eq(fs_setattr(t.fs, ino, fh,
					    &(struct stat){.st_size = 8192},
					    FS_SET_SIZE, &(struct stat){0}),
				 0);
		ck_assert_uint_eq(reserved_blocks(), 2);
		wal_gate_open(codes[i]);
		(void)fs_sync_wait(t.fs);
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
		ck_assert_uint_eq(reserved_blocks(), 0);
		ck_assert_uint_eq(blocks_of(ino), 2);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	wal_gate_remove();
}
END_TEST

START_TEST(ranges_that_wait_for_their_blocks_are_charged_and_bounded)
{
	struct cache_gauges before, during, after;
	u64 fh, ino, nr = 0;
	int err;

	t.cache_size = 64u << 20;
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	cache_gauges(fs_cache(t.fs), &before);
	do
		err = fs_fallocate(t.fs, fh, FALLOC_FL_KEEP_SIZE,
				   nr++ * 2 * PAGE_SIZE, 1);
	while (!err);
	ck_assert_int_eq(err, -ENOSPC);
	nr--;
	cache_gauges(fs_cache(t.fs), &during);
	ck_assert_uint_ge(during.metadata_bytes,
			  before.metadata_bytes + nr * RANGE_NODE_BYTES);
	ck_assert_uint_eq(blocks_of(ino), nr);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	cache_gauges(fs_cache(t.fs), &after);
	ck_assert_uint_lt(after.metadata_bytes, during.metadata_bytes);
	ck_assert_int_eq(fs_fallocate(t.fs, fh, FALLOC_FL_KEEP_SIZE,
				      nr * 2 * PAGE_SIZE, 1),
			 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- ends ---- */

START_TEST(closing_answers_an_fsync_that_is_under_way)
{
	struct answer a = {.done.fn = answered};
	u64 fh;

	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "file", &fh);
	write_pages(fh, 1);
	fs_fsync(t.fs, fh, false, &a.done);
	ck_assert_int_eq(test_fs_close(&t), 0);
	ck_assert(__atomic_load_n(&a.given, __ATOMIC_ACQUIRE));
	test_fs_check_volume();
}
END_TEST

START_TEST(a_cache_that_is_too_small_is_refused)
{
	struct volume_options vo = {.create = true};
	struct fs_options fo = {.cache_size = PAGE_SIZE, .patient = true};
	struct volume *v;
	struct fs *fs;
	char err[256];

	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &vo, &v, err, sizeof(err)), 0);
	ck_assert_int_eq(fs_open(v, &fo, &fs), -EINVAL);
}
END_TEST

/* ---- together ---- */

#define WRITERS 4
#define LATE_PAGES 64

static u64 late_ino;
static pthread_barrier_t late_start;

/* Every WRITERS-th page, each behind the end when it comes. */
static void *write_late(void *arg)
{
	char page[PAGE_SIZE];

	for (u64 i = (u64)(uintptr_t)arg; i < LATE_PAGES; i += WRITERS) {
		test_pattern(page, PAGE_SIZE, i * PAGE_SIZE, 1);
		(void)pthread_barrier_wait(&late_start);
		if (fs_write_ino(t.fs, late_ino, i * PAGE_SIZE, page, PAGE_SIZE,
				 CACHE_WRITE_WRITEPAGE) != PAGE_SIZE)
			abort();
	}
	return NULL;
}

static void check_late(u64 fh)
{
	static char buf[LATE_PAGES * PAGE_SIZE], want[LATE_PAGES * PAGE_SIZE];

	test_pattern(want, sizeof(want), 0, 1);
	ck_assert_int_eq(test_read(&t, fh, 0, buf, sizeof(buf)), sizeof(buf));
	ck_assert_int_eq(memcmp(buf, want, sizeof(buf)), 0);
}

/* In writeback mode the kernel writes pages behind our end, several at once
 * and in its own order. */
START_TEST(late_writes_that_extend_a_file_do_not_cut_each_other_off)
{
	pthread_t writers[WRITERS];
	u64 fh;

	t.writeback = true;
	test_fs_open(&t);
	late_ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(pthread_barrier_init(&late_start, NULL, WRITERS), 0);
	for (u64 round = 0; round < test_rounds(100); round++) {
		struct stat st = {0};

		ck_assert_int_eq(
			fs_setattr(t.fs, late_ino, 0, &st, FS_SET_SIZE, &st),
			0);
		for (uintptr_t i = 0; i < WRITERS; i++)
			ck_assert_int_eq(pthread_create(&writers[i], NULL,
							write_late, (void *)i),
					 0);
		for (int i = 0; i < WRITERS; i++)
			ck_assert_int_eq(pthread_join(writers[i], NULL), 0);
		check_late(fh);
	}
	ck_assert_int_eq(pthread_barrier_destroy(&late_start), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static u64 folder_a, folder_b;

static void *exchange_folders(void *arg)
{
	(void)arg;
	for (u64 i = 0; i < test_rounds(20000); i++)
		(void)fs_rename(t.fs, FS_ROOT_INO, "a", FS_ROOT_INO, "b",
				i & 1 ? RENAME_EXCHANGE : 0, &test_cred);
	return NULL;
}

static void *move_between(void *arg)
{
	(void)arg;
	for (u64 i = 0; i < test_rounds(20000); i++) {
		(void)fs_rename(t.fs, folder_a, "x", folder_b, "x", 0,
				&test_cred);
		(void)fs_rename(t.fs, folder_b, "x", folder_a, "x", 0,
				&test_cred);
	}
	return NULL;
}

/* Renames of the folders themselves, and of what is in them. */
START_TEST(renames_in_all_directions_do_not_wait_for_each_other_for_ever)
{
	pthread_t one, two;

	test_fs_open(&t);
	folder_a = test_mkdir(&t, FS_ROOT_INO, "a");
	folder_b = test_mkdir(&t, FS_ROOT_INO, "b");
	(void)test_create(&t, folder_a, "x", NULL);
	(void)test_create(&t, folder_a, "stays", NULL);
	(void)test_create(&t, folder_b, "stays", NULL);
	ck_assert_int_eq(pthread_create(&one, NULL, exchange_folders, NULL), 0);
	ck_assert_int_eq(pthread_create(&two, NULL, move_between, NULL), 0);
	ck_assert_int_eq(pthread_join(one, NULL), 0);
	ck_assert_int_eq(pthread_join(two, NULL), 0);
	test_fs_reopen(&t);
	(void)test_lookup(&t, folder_a, "x");
}
END_TEST

/* ---- large attributes ---- */

static int set_large(u64 ino, unsigned nr)
{
	static char value[FS_XATTR_MAX];
	char name[32];

	(void)snprintf(name, sizeof(name), "user.%u", nr);
	return fs_setxattr(t.fs, ino, name, value, sizeof(value), 0);
}

#define LARGE_MAX 256 /* of them are 16 MiB, four times the cache */

/* The disk is slow: who sets them is asked to wait before they take more
 * memory than there is. */
START_TEST(attributes_wait_for_a_commit_before_they_fill_the_memory)
{
	unsigned nr = 0;
	u64 ino;
	int err;

	t.impatient = true;
	wal_gate_set();
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", NULL);
	wal_gate_shut();
	while (err = set_large(ino, nr), !err && nr < LARGE_MAX)
		nr++;
	ck_assert_int_eq(err, -ERESTART);
	ck_assert_uint_ge(nr, 8);
	/* what makes room is let through */
	ck_assert_int_eq(fs_removexattr(t.fs, ino, "user.0"), 0);
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_int_eq(set_large(ino, nr), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	wal_gate_remove();
}
END_TEST

/* Those of a file without a name are in no commit. */
START_TEST(a_nameless_file_has_so_many_large_attributes_and_no_more)
{
	unsigned nr = 0;
	struct stat st;
	u64 fh, other;
	int err;

	test_fs_open(&t);
	other = test_create(&t, FS_ROOT_INO, "other", NULL);
	ck_assert_int_eq(fs_tmpfile(t.fs, FS_ROOT_INO, 0600, O_RDWR, &test_cred,
				    1, &st, &fh),
			 0);
	while (err = set_large(st.st_ino, nr), !err && nr < LARGE_MAX)
		nr++;
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_ge(nr, 8);
	/* others are none the worse for it, nor is the file once it has one */
	ck_assert_int_eq(set_large(other, 0), 0);
	ck_assert_int_eq(fs_link(t.fs, st.st_ino, FS_ROOT_INO, "name", &st), 0);
	ck_assert_int_eq(set_large(st.st_ino, nr), 0);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	fs_forget(t.fs, st.st_ino, 2);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);

	/* what one had that is gone does not count */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(fs_tmpfile(t.fs, FS_ROOT_INO, 0600, O_RDWR,
					    &test_cred, 1, &st, &fh),
				 0);
		for (unsigned n = 0; n < nr; n++)
			ck_assert_int_eq(set_large(st.st_ino, n), 0);
		ck_assert_int_eq(set_large(st.st_ino, nr), -ENOSPC);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		fs_forget(t.fs, st.st_ino, 1);
	}
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
}
END_TEST

/* ---- damage ---- */

static u64 block_of(u64 ino, u64 pgoff)
{
	u8 buf[PAGE_SIZE];
	void *page = buf;
	struct meta_page map;
	struct meta_reader *r;

	ck_assert_int_eq(meta_reader_get(fs_volume(t.fs)->meta, &r), 0);
	ck_assert_int_eq(meta_extent_map(r, ino, pgoff, 1, &map, &page), 0);
	meta_reader_put(r);
	ck_assert_int_eq(map.kind, META_PAGE_BLOCK);
	return map.block;
}

START_TEST(what_cannot_be_read_is_named_in_the_log)
{
	u8 buf[6 * PAGE_SIZE];
	char want[128];
	u64 fh, ino, dir;

	test_fs_open(&t);
	dir = test_mkdir(&t, FS_ROOT_INO, "dir");
	ino = test_create(&t, dir, "two\nlines", &fh);
	test_pattern(buf, sizeof(buf), 0, 1);
	test_write(&t, fh, 0, buf, sizeof(buf));
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	test_fs_spoil_block(block_of(ino, 2));
	test_fs_spoil_block(block_of(ino, 3));
	(void)cache_drop(fs_cache(t.fs), NULL);

	(void)test_said("");
	ck_assert_int_eq(test_read(&t, fh, 2 * PAGE_SIZE, buf, 4 * PAGE_SIZE),
			 -EIO);
	(void)snprintf(want, sizeof(want),
		       "inode %llu (/dir/two\\012lines), pages 2-3 are bad\n",
		       (unsigned long long)ino);
	ck_assert(test_said(want));
	ck_assert_int_eq(test_read(&t, fh, PAGE_SIZE, buf, PAGE_SIZE),
			 PAGE_SIZE);

	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

static void put_name(u64 parent, const char *name, u64 ino)
{
	static u64 id = 1000;
	struct dentry_row row = {.id = id++, .ino = ino, .type = S_IFDIR};
	struct volume_options opt = {0};
	struct volume *v;
	char err[256];

	row.len = (u16)strlen(name);
	(void)strcpy(row.name, name);
	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &opt, &v, err, sizeof(err)), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(
		ino ? meta_dentry_put(v->meta, parent, &row)
		    : meta_dentry_delete(v->meta, parent, name, row.len),
		0);
	ck_assert_int_eq(meta_commit(v->meta, 100, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
}

/* Each of these would lock it twice. */
START_TEST(a_folder_that_is_in_itself_is_an_error)
{
	struct stat st;
	u64 dir;

	test_fs_open(&t);
	dir = test_mkdir(&t, FS_ROOT_INO, "dir");
	(void)test_mkdir(&t, dir, "sub");
	ck_assert_int_eq(test_fs_close(&t), 0);
	put_name(dir, "self", dir);

	test_fs_open(&t);
	ck_assert_int_eq(fs_lookup(t.fs, dir, "self", &st), -EIO);
	ck_assert_int_eq(fs_rmdir(t.fs, dir, "self"), -EIO);
	ck_assert_int_eq(fs_rename(t.fs, dir, "self", FS_ROOT_INO, "moved", 0,
				   &test_cred),
			 -EIO);
	ck_assert_int_eq(
		fs_rename(t.fs, dir, "self", dir, "other", 0, &test_cred),
		-EIO);
	ck_assert_int_eq(
		fs_rename(t.fs, dir, "sub", dir, "self", 0, &test_cred), -EIO);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

/* Up from each of them is the other, and never the root. */
START_TEST(folders_that_are_in_each_other_and_the_root_in_one_are_errors)
{
	struct stat st;
	u64 a, b, other;

	test_fs_open(&t);
	a = test_mkdir(&t, FS_ROOT_INO, "a");
	b = test_mkdir(&t, a, "b");
	other = test_mkdir(&t, FS_ROOT_INO, "other");
	(void)test_mkdir(&t, other, "moves");
	ck_assert_int_eq(test_fs_close(&t), 0);
	/* instead of its name in the root */
	put_name(FS_ROOT_INO, "a", 0);
	put_name(b, "up", a);
	put_name(other, "root", FS_ROOT_INO);

	test_fs_open(&t);
	ck_assert_int_eq(
		fs_rename(t.fs, other, "moves", b, "moved", 0, &test_cred),
		-EIO);
	/* and nobody is kept waiting by that */
	ck_assert_int_eq(fs_rename(t.fs, other, "moves", FS_ROOT_INO, "moved",
				   0, &test_cred),
			 0);
	ck_assert_int_eq(fs_lookup(t.fs, other, "root", &st), -EIO);
	ck_assert_int_eq(fs_rmdir(t.fs, other, "root"), -EIO);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

/* SQLite's caches alone would be too much for a cache this small; a commit does
 * not leave it at that. */
START_TEST(sqlite_does_with_less_when_there_is_too_much_bookkeeping)
{
	struct volume *v;
	u64 fh, ino;
	char name[32];

	t.cache_size = 2u << 20;
	test_fs_open(&t);
	v = fs_volume(t.fs);
	for (int i = 0; i < 4000; i++) {
		(void)snprintf(name, sizeof(name), "a rather long name %d", i);
		ino = test_create(&t, FS_ROOT_INO, name, &fh);
		(void)ino;
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	while (cache_metadata_over(fs_cache(t.fs)))
		(void)usleep(1000);
	ck_assert_uint_lt(meta_memory(v->meta), t.cache_size / 4);
	test_fs_reopen(&t);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs failures", &tc);

	tcase_add_checked_fixture(tc, make_fs, drop_fs);
	tcase_set_timeout(tc, 15);
	tcase_add_test(tc, sync_tells_of_a_file_that_was_left_out);
	tcase_add_test(tc, closing_tells_of_a_file_that_was_left_out);
	tcase_add_test(tc, fsync_fails_even_if_the_error_was_told_to_another);
	tcase_add_test(
		tc, a_lost_page_fails_its_file_alone_until_it_is_written_again);
	tcase_add_loop_test(
		tc, a_name_is_never_committed_without_what_it_was_given_to, 0,
		6);
	tcase_add_loop_test(
		tc, a_record_that_waited_does_not_set_back_the_times_of_content,
		0, 2);
	tcase_add_test(tc,
		       the_timer_tries_names_again_after_a_commit_that_failed);
	tcase_add_test(tc,
		       a_replaced_name_waits_for_its_content_after_any_failure);
	tcase_add_test(tc,
		       a_size_alone_is_tried_again_after_a_commit_that_failed);
	tcase_add_test(tc, files_committed_together_hear_of_names_that_wait);
	tcase_add_test(
		tc, a_flush_that_failed_is_forgotten_when_nothing_is_in_doubt);
	tcase_add_test(
		tc, after_a_failed_sync_no_block_that_was_freed_is_given_out);
	tcase_add_test(tc, a_commit_that_failed_frees_nothing);
	tcase_add_test(tc, slots_that_may_be_committed_are_not_given_out);
	tcase_add_test(
		tc,
		late_writes_without_any_room_are_told_at_fsync_and_at_close);
	tcase_add_test(tc, an_orphan_is_never_committed);
	tcase_add_test(tc, sync_writes_large_files_before_it_stops_writers);
	tcase_add_test(tc, targets_of_symlinks_count_as_bookkeeping);
	tcase_add_test(tc, fallocate_of_what_is_written_needs_no_space);
	tcase_add_test(tc,
		       what_fallocate_cannot_get_any_more_fails_no_other_file);
	tcase_add_test(tc,
		       what_is_truncated_meanwhile_is_not_asked_for_any_more);
	tcase_add_test(
		tc, ranges_that_wait_for_their_blocks_are_charged_and_bounded);
	tcase_add_test(tc, closing_answers_an_fsync_that_is_under_way);
	tcase_add_test(tc, a_cache_that_is_too_small_is_refused);
	tcase_add_test(
		tc, late_writes_that_extend_a_file_do_not_cut_each_other_off);
	tcase_add_test(
		tc, attributes_wait_for_a_commit_before_they_fill_the_memory);
	tcase_add_test(
		tc, a_nameless_file_has_so_many_large_attributes_and_no_more);
	tcase_add_test(
		tc,
		renames_in_all_directions_do_not_wait_for_each_other_for_ever);
	tcase_add_test(tc, what_cannot_be_read_is_named_in_the_log);
	tcase_add_test(tc, a_folder_that_is_in_itself_is_an_error);
	tcase_add_test(
		tc,
		folders_that_are_in_each_other_and_the_root_in_one_are_errors);
	tcase_add_test(
		tc, sqlite_does_with_less_when_there_is_too_much_bookkeeping);
	return s;
}

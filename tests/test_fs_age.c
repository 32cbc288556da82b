/* SPDX-License-Identifier: MIT */
/*
 * What is told of commits: how old the oldest change is that is not committed,
 * when the last commit was, what it cost, and how long everybody was stopped.
 * Each is compared with what was seen from here.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#include "fs_internal.h"
#include "fs_util.h"
#include "tmpdir.h"
#include "wal_gate.h"

static struct test_fs t;
static u64 ino, fh;

static u64 now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static u64 now_ms(void)
{
	return now_ns() / NSEC_PER_MSEC;
}

/* Time is what is measured here, so some has to pass. */
static void pass_ms(u64 ms)
{
	u64 until = now_ms() + ms + 1;

	while (now_ms() < until)
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static struct fs_stat told(void)
{
	struct fs_stat st;

	fs_stat(t.fs, &st);
	return st;
}

static u64 file_age(u64 nr)
{
	struct fs_file_info info;

	ck_assert_int_eq(fs_file_info(t.fs, nr, &info), 0);
	return info.st.oldest_uncommitted_ms;
}

static void write_page(u64 handle, u64 pgoff)
{
	u8 page[PAGE_SIZE];

	test_pattern(page, PAGE_SIZE, pgoff, 1);
	test_write(&t, handle, pgoff * PAGE_SIZE, page, PAGE_SIZE);
}

/* Written no earlier than @since: then this is the most that it can be. */
static void is_age(u64 age, u64 least, u64 since)
{
	ck_assert_uint_ge(age, least);
	ck_assert_uint_le(age, now_ms() - since + 1);
}

START_TEST(the_age_is_that_of_the_oldest_change_until_it_is_committed)
{
	u64 since = now_ms();

	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
	ck_assert_uint_eq(file_age(ino), 0);
	write_page(fh, 0);
	pass_ms(5);
	is_age(told().oldest_uncommitted_ms, 5, since);
	is_age(file_age(ino), 5, since);
	write_page(fh, 0);
	write_page(fh, 1);
	pass_ms(5);
	is_age(told().oldest_uncommitted_ms, 10, since);
	is_age(file_age(ino), 10, since);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
	ck_assert_uint_eq(file_age(ino), 0);
}
END_TEST

START_TEST(a_name_that_is_not_committed_has_an_age_too)
{
	u64 since = now_ms();

	(void)test_create(&t, FS_ROOT_INO, "other", NULL);
	pass_ms(5);
	is_age(told().oldest_uncommitted_ms, 5, since);
	ck_assert_int_eq(test_commit(&t), 0);
	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
}
END_TEST

START_TEST(what_a_commit_leaves_keeps_its_age)
{
	u64 fh2, ino2 = test_create(&t, FS_ROOT_INO, "atomic", &fh2);
	u64 since;

	ck_assert_int_eq(fs_setxattr(t.fs, ino2, FS_XATTR_ATOMIC, "1", 1, 0),
			 0);
	ck_assert_int_eq(test_fsync(&t, fh2), 0);
	since = now_ms();
	write_page(fh2, 0);
	pass_ms(5);
	write_page(fh, 0);
	ck_assert_int_eq(test_commit(&t), 0);
	ck_assert_uint_eq(file_age(ino), 0);
	is_age(file_age(ino2), 5, since);
	is_age(told().oldest_uncommitted_ms, 5, since);
	ck_assert_int_eq(test_fsync(&t, fh2), 0);
	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
	ck_assert_int_eq(fs_release(t.fs, fh2), 0);
}
END_TEST

/* ---- a commit that takes its time ---- */

static void *fsync_it(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)test_fsync(&t, fh);
}

/* Begin an fsync, and wait until its commit is at the WAL. */
static pthread_t begin_fsync(void)
{
	pthread_t thread;

	wal_gate_shut();
	ck_assert_int_eq(pthread_create(&thread, NULL, fsync_it, NULL), 0);
	wal_gate_wait();
	return thread;
}

static int end_fsync(pthread_t thread, int code)
{
	void *ret;

	wal_gate_open(code);
	ck_assert_int_eq(pthread_join(thread, &ret), 0);
	return (int)(intptr_t)ret;
}

START_TEST(what_is_being_committed_is_not_committed_yet)
{
	u64 since = now_ms(), commits = told().commits;
	pthread_t thread;

	write_page(fh, 0);
	pass_ms(5);
	thread = begin_fsync();
	is_age(told().oldest_uncommitted_ms, 5, since);
	is_age(file_age(ino), 5, since);
	pass_ms(5);
	is_age(told().oldest_uncommitted_ms, 10, since);
	ck_assert_uint_eq(told().commits, commits);
	ck_assert_int_eq(end_fsync(thread, SQLITE_OK), 0);
	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
	ck_assert_uint_eq(told().commits, commits + 1);
}
END_TEST

START_TEST(a_commit_that_fails_makes_nothing_younger)
{
	u64 since = now_ms();
	pthread_t thread;

	write_page(fh, 0);
	pass_ms(5);
	thread = begin_fsync();
	ck_assert_int_eq(end_fsync(thread, SQLITE_FULL), -ENOSPC);
	is_age(told().oldest_uncommitted_ms, 5, since);
	is_age(file_age(ino), 5, since);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(told().oldest_uncommitted_ms, 0);
}
END_TEST

START_TEST(the_time_of_a_commit_is_all_that_it_took)
{
	u64 total = told().commit_ms, begin;
	struct fs_stat st;
	pthread_t thread;

	write_page(fh, 0);
	begin = now_ms();
	thread = begin_fsync();
	pass_ms(20);
	ck_assert_int_eq(end_fsync(thread, SQLITE_OK), 0);
	st = told();
	is_age(st.commit_last_ms, 20, begin);
	/* rounded down, both and their sum */
	ck_assert_uint_ge(st.commit_ms, total + st.commit_last_ms);
	ck_assert_uint_le(st.commit_ms, total + st.commit_last_ms + 1);
}
END_TEST

/* Each of the commits is told rounded down, but they are not added so. */
START_TEST(parts_of_a_millisecond_add_up)
{
	u64 total = told().commit_ms, rounded = 0;

	for (u64 i = 0; i < 40; i++) {
		u64 until = now_ns() + 300000;
		struct stat attr = {.st_mode = 0600 + (i & 1)};
		pthread_t thread;

		/* with the mode it is a transaction, which can be held up */
		write_page(fh, 0);
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr), 0);
		thread = begin_fsync();
		while (now_ns() < until)
			;
		ck_assert_int_eq(end_fsync(thread, SQLITE_OK), 0);
		rounded += told().commit_last_ms;
	}
	ck_assert_uint_gt(told().commit_ms, total + rounded);
}
END_TEST

START_TEST(the_last_commit_is_as_long_ago_as_it_is)
{
	u64 since, number = told().commit_no;

	write_page(fh, 0);
	since = now_ms();
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	pass_ms(7);
	is_age(told().commit_last_age_ms, 7, since);
	ck_assert_uint_eq(told().commit_no, number + 1);
	/* there is nothing to be committed */
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_age(told().commit_last_age_ms, 7, since);
	ck_assert_uint_eq(told().commit_no, number + 1);
}
END_TEST

/* ---- what it cost ---- */

static u64 written(void)
{
	struct volume *v = fs_volume(t.fs);

	return __atomic_load_n(&v->count.data_write_blocks, __ATOMIC_RELAXED) *
		       PAGE_SIZE +
	       meta_bytes_written(v->meta);
}

START_TEST(pages_and_bytes_of_a_commit_are_those_that_were_written)
{
	static const u64 sizes[] = {1, 2, 100, 500};
	u64 pages = sizes[_i], before;
	struct fs_stat st;

	for (u64 i = 0; i < pages; i++)
		write_page(fh, i);
	before = written();
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	st = told();
	ck_assert_uint_eq(st.commit_last_pages, pages);
	ck_assert_uint_eq(st.commit_last_bytes, written() - before);
	ck_assert_uint_ge(st.commit_last_bytes, pages * PAGE_SIZE);
}
END_TEST

/* ---- the stop ---- */

/* An fsync meets an operation that has begun, as anybody's may have, and that
 * goes on for 10 ms once others have to wait for it. */
static __no_tsa void fsync_beside_an_operation(void)
{
	pthread_t thread;

	down_read(&t.fs->stop);
	ck_assert_int_eq(pthread_create(&thread, NULL, fsync_it, NULL), 0);
	while (down_read_trylock(&t.fs->stop)) {
		up_read(&t.fs->stop);
		pass_ms(1);
	}
	pass_ms(10);
	up_read(&t.fs->stop);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(the_longest_stop_is_that_of_those_who_had_to_wait)
{
	u64 begin, longest;

	write_page(fh, 0);
	begin = now_ms();
	fsync_beside_an_operation();
	longest = told().stop_max_us;
	is_age(longest / 1000, 10, begin);

	write_page(fh, 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_ge(told().stop_max_us, longest);
}
END_TEST

static void setup(void)
{
	tmpdir_make();
	wal_gate_set();
	test_fs_init(&t);
	t.cache_size = 64u << 20;
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	wal_gate_remove();
	test_fs_check_volume();
	tmpdir_remove();
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs age", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(
		tc, the_age_is_that_of_the_oldest_change_until_it_is_committed);
	tcase_add_test(tc, a_name_that_is_not_committed_has_an_age_too);
	tcase_add_test(tc, what_a_commit_leaves_keeps_its_age);
	tcase_add_test(tc, what_is_being_committed_is_not_committed_yet);
	tcase_add_test(tc, a_commit_that_fails_makes_nothing_younger);
	tcase_add_test(tc, the_time_of_a_commit_is_all_that_it_took);
	tcase_add_test(tc, parts_of_a_millisecond_add_up);
	tcase_add_test(tc, the_last_commit_is_as_long_ago_as_it_is);
	tcase_add_loop_test(
		tc, pages_and_bytes_of_a_commit_are_those_that_were_written, 0,
		4);
	tcase_add_test(tc, the_longest_stop_is_that_of_those_who_had_to_wait);
	return s;
}

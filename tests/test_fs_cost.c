/* SPDX-License-Identifier: MIT */
/*
 * What a commit costs follows what is dirty, and not how large files are:
 * bytes written, SQL statements stepped and what SQLite's machine does for
 * them are counted, so that no clock is needed.
 */
#include "config.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "fs_util.h"
#include "tmpdir.h"

#define HUGE ((u64)10 << 30)
#define SMALL ((u64)1 << 20)
#define PIECES 512 /* pages that the huge file has, far from each other */

static struct test_fs t;

/* ---- SQLite, counted ---- */

static u64 nr_steps, nr_instructions;

int __real_sqlite3_step(sqlite3_stmt *stmt);
int __wrap_sqlite3_step(sqlite3_stmt *stmt);

int __wrap_sqlite3_step(sqlite3_stmt *stmt)
{
	int rc;

	(void)sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
	rc = __real_sqlite3_step(stmt);
	(void)__atomic_add_fetch(&nr_steps, 1, __ATOMIC_RELAXED);
	(void)__atomic_add_fetch(
		&nr_instructions,
		(u64)sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0),
		__ATOMIC_RELAXED);
	return rc;
}

/* ---- costs ---- */

struct cost {
	u64 bytes, pages, steps, instructions;
};

static struct cost cost_of_fsync(u64 fh)
{
	struct fs_stat st;
	struct cost c;

	nr_steps = nr_instructions = 0;
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	fs_stat(t.fs, &st);
	c = (struct cost){st.commit_last_bytes, st.commit_last_pages, nr_steps,
			  nr_instructions};
	(void)printf(
		"# %llu pages: %llu bytes, %llu steps, %llu instructions\n",
		(unsigned long long)c.pages, (unsigned long long)c.bytes,
		(unsigned long long)c.steps,
		(unsigned long long)c.instructions);
	return c;
}

static void write_page(u64 fh, u64 pos, u64 version)
{
	u8 page[PAGE_SIZE];

	test_pattern(page, PAGE_SIZE, pos, version);
	test_write(&t, fh, pos, page, PAGE_SIZE);
}

/* A file of @size with @pieces pages spread over it, committed. */
static u64 make_file(const char *name, u64 size, u64 pieces)
{
	struct stat attr = {.st_size = (off_t)size}, st;
	u64 fh, ino = test_create(&t, FS_ROOT_INO, name, &fh);

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_SIZE, &st), 0);
	for (u64 i = 0; i < pieces; i++)
		write_page(fh, i * (size / pieces), 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	return fh;
}

static void is_no_dearer(const struct cost *a, const struct cost *b)
{
	ck_assert_uint_le(a->pages, b->pages);
	ck_assert_uint_le(a->bytes, b->bytes);
	ck_assert_uint_le(a->steps, b->steps);
	ck_assert_uint_le(a->instructions, b->instructions);
}

/* One page of each, over and over: a page that was there, and in a hole. */
static void compare(u64 small_pos, u64 huge_pos)
{
	u64 small = make_file("small", SMALL, SMALL / PAGE_SIZE);
	u64 huge = make_file("huge", HUGE, PIECES);

	for (u64 version = 2; version < 6; version++) {
		struct cost a, b;

		write_page(small, small_pos, version);
		a = cost_of_fsync(small);
		ck_assert_uint_eq(a.pages, 1);
		ck_assert_uint_gt(a.bytes, 0);
		ck_assert_uint_gt(a.steps, 0);
		write_page(huge, huge_pos, version);
		b = cost_of_fsync(huge);
		is_no_dearer(&b, &a);
	}
	ck_assert_int_eq(fs_release(t.fs, small), 0);
	ck_assert_int_eq(fs_release(t.fs, huge), 0);
}

START_TEST(a_page_of_a_huge_file_costs_no_more_than_one_of_a_small_file)
{
	compare(40 * PAGE_SIZE, 100 * (HUGE / PIECES));
}
END_TEST

START_TEST(nor_does_a_page_in_a_hole_of_it)
{
	compare(40 * PAGE_SIZE, 100 * (HUGE / PIECES) + 64 * PAGE_SIZE);
}
END_TEST

/* What was dirty long ago costs nothing either. */
START_TEST(pages_that_were_committed_cost_nothing_again)
{
	struct cost first, second;
	u64 fh;

	fh = make_file("huge", HUGE, PIECES);
	for (u64 i = 0; i < PIECES; i++)
		write_page(fh, i * (HUGE / PIECES), 2);
	first = cost_of_fsync(fh);
	ck_assert_uint_eq(first.pages, PIECES);
	write_page(fh, 0, 3);
	second = cost_of_fsync(fh);
	ck_assert_uint_eq(second.pages, 1);
	ck_assert_uint_lt(second.bytes * 20, first.bytes);
	ck_assert_uint_lt(second.steps * 20, first.steps);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static void make_fs(void)
{
	tmpdir_make();
	test_fs_init(&t);
	t.cache_size = 16u << 20;
	test_fs_open(&t);
}

static void drop_fs(void)
{
	ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs cost", &tc);

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, make_fs, drop_fs);
	tcase_add_test(
		tc,
		a_page_of_a_huge_file_costs_no_more_than_one_of_a_small_file);
	tcase_add_test(tc, nor_does_a_page_in_a_hole_of_it);
	tcase_add_test(tc, pages_that_were_committed_cost_nothing_again);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * What a commit costs follows what is dirty, and not how large files are, and
 * what a name costs not how many others its folder has:
 * bytes written, SQL statements stepped and what SQLite's machine does for
 * them are counted, so that no clock is needed.
 */
#include "config.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_util.h"
#include "tmpdir.h"
#include "units.h"

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

/* A commit with a record of an attribute is a transaction, and takes over what
 * the redo log has. */
static struct cost cost_of_transaction(const char *name, u64 fh, u64 version)
{
	struct stat attr = {.st_mode = 0600 + (version & 1)};
	u64 ino = test_lookup(&t, FS_ROOT_INO, name);

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr),
			 0);
	return cost_of_fsync(fh);
}

/* One page of each, over and over: a page that was there, and in a hole; in the
 * redo log first, and then in rows. */
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
		write_page(huge, huge_pos, version);
		b = cost_of_fsync(huge);
		is_no_dearer(&b, &a);

		a = cost_of_transaction("small", small, version);
		write_page(huge, huge_pos, version);
		(void)cost_of_fsync(huge);
		b = cost_of_transaction("huge", huge, version);
		ck_assert_uint_gt(a.steps, 0);
		/* a look more on either side of a hole */
		a.steps += 4;
		a.instructions += a.instructions / 2;
		a.bytes += (size_t)2 * PAGE_SIZE;
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
	/* the redo log is made by the first that could be in it */
	write_page(fh, 0, 3);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	write_page(fh, 0, 3);
	second = cost_of_fsync(fh);
	ck_assert_uint_eq(second.pages, 1);
	/* Of the first the flusher may have written any part before. */
	ck_assert_uint_lt(second.bytes * 20, (u64)PIECES * PAGE_SIZE);
	ck_assert_uint_lt(second.steps * 20, first.steps);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- large folders ---- */

/* What one call on a name costs, and the commit of what it changed. */
static struct cost cost_since(struct cost *from)
{
	struct cost c = {0};

	c.steps = nr_steps - from->steps;
	c.instructions = nr_instructions - from->instructions;
	*from = (struct cost){.steps = nr_steps,
			      .instructions = nr_instructions};
	return c;
}

static void entry_name(char *buf, u64 nr)
{
	(void)snprintf(buf, 32, "entry %07llu", (unsigned long long)nr);
}

static u64 make_folder(const char *name, u64 nr)
{
	u64 dir = test_mkdir(&t, FS_ROOT_INO, name);
	char entry[32];
	struct stat st;

	for (u64 i = 0; i < nr; i++) {
		entry_name(entry, i);
		ck_assert_int_eq(fs_mknod(t.fs, dir, entry, S_IFREG | 0644, 0,
					  &test_cred, &st),
				 0);
		fs_forget(t.fs, st.st_ino, 1);
	}
	return dir;
}

static bool take_some(void *arg, const char *name, const struct stat *st,
		      u64 next_off)
{
	u64 *left = arg;

	(void)name, (void)st, (void)next_off;
	return (*left)-- > 0;
}

/* Some entries from the middle on, as seekdir(3) and readdir(3) ask. */
static void list_some(u64 dir)
{
	u64 fh, left = 10;

	ck_assert_int_eq(fs_opendir(t.fs, dir, 0, &fh), 0);
	ck_assert_int_eq(fs_readdir(t.fs, fh, 500, false, take_some, &left), 0);
	ck_assert_int_eq(fs_releasedir(t.fs, fh), 0);
}

static void must_sync(void)
{
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
}

enum { LOOKUP, MISS, CREATE, RENAME, UNLINK, LIST, PATH, NR_CALLS };

/* Each call in a folder of @nr entries, none of which is in memory. */
static void costs_of_names(u64 dir, u64 nr, struct cost *ret)
{
	struct cost from;
	char path[64], middle[32];
	struct stat st;

	entry_name(middle, nr / 2);
	test_fs_reopen(&t);
	/* the folder's own row, and what is compiled once */
	(void)test_lookup(&t, dir, "entry 0000001");
	ck_assert_int_eq(fs_lookup(t.fs, dir, "none", &st), -ENOENT);
	list_some(dir);
	must_sync();
	(void)cost_since(&from);

	(void)test_lookup(&t, dir, middle);
	ret[LOOKUP] = cost_since(&from);
	ck_assert_int_eq(fs_lookup(t.fs, dir, "no such entry", &st), -ENOENT);
	ret[MISS] = cost_since(&from);
	(void)test_create(&t, dir, "new", NULL);
	must_sync();
	ret[CREATE] = cost_since(&from);
	ck_assert_int_eq(
		fs_rename(t.fs, dir, "new", dir, "newer", 0, &test_cred), 0);
	must_sync();
	ret[RENAME] = cost_since(&from);
	ck_assert_int_eq(
		fs_path(t.fs, test_lookup(&t, dir, middle), path, sizeof(path)),
		0);
	ret[PATH] = cost_since(&from);
	ck_assert_int_eq(fs_unlink(t.fs, dir, middle), 0);
	must_sync();
	ret[UNLINK] = cost_since(&from);
	list_some(dir);
	ret[LIST] = cost_since(&from);
}

/* FOLIO_ENTRIES: how many the large one is to have. */
static u64 nr_entries(void)
{
	const char *text = getenv("FOLIO_ENTRIES");
	u64 nr = 0;

	if (!text || parse_u64(text, &nr))
		nr = 100000;
	return max(nr, (u64)2000);
}

START_TEST(names_of_a_large_folder_cost_no_more_than_those_of_a_small_one)
{
	static const char *const calls[NR_CALLS] = {
		"look-up", "miss", "create", "rename", "unlink", "list", "path",
	};
	struct cost small[NR_CALLS], large[NR_CALLS];
	u64 nr = nr_entries();
	u64 few = make_folder("few", 1000), many = make_folder("many", nr);

	must_sync();
	costs_of_names(few, 1000, small);
	costs_of_names(many, nr, large);
	for (int i = 0; i < NR_CALLS; i++) {
		(void)printf("# %s: %llu steps, %llu instructions of 1000, "
			     "%llu and %llu of %llu entries\n",
			     calls[i], (unsigned long long)small[i].steps,
			     (unsigned long long)small[i].instructions,
			     (unsigned long long)large[i].steps,
			     (unsigned long long)large[i].instructions,
			     (unsigned long long)nr);
		ck_assert_uint_gt(small[i].instructions, 0);
		ck_assert_uint_le(large[i].steps, small[i].steps);
		ck_assert_uint_le(large[i].instructions, small[i].instructions);
	}
}
END_TEST

/* ---- for who counts the processor's instructions from outside ---- */

/*
 * FOLIO_COST=small:N or huge:N (tests/commit_cost.sh): both files are made, and
 * then N commits of a page of that one. What that costs is the difference to a
 * run with fewer.
 */
START_TEST(commits_of_a_page_of_one_of_two_files)
{
	const char *text = getenv("FOLIO_COST");
	u64 small = make_file("small", SMALL, SMALL / PAGE_SIZE);
	u64 huge = make_file("huge", HUGE, PIECES);
	bool is_huge = strncmp(text, "huge:", 5) == 0;
	u64 nr;

	ck_assert_int_eq(parse_u64(strchr(text, ':') + 1, &nr), 0);
	for (u64 i = 0; i < nr; i++) {
		if (is_huge)
			write_page(huge, 100 * (HUGE / PIECES), i + 2);
		else
			write_page(small, 40 * PAGE_SIZE, i + 2);
		ck_assert_int_eq(test_fsync(&t, is_huge ? huge : small), 0);
	}
	ck_assert_int_eq(fs_release(t.fs, small), 0);
	ck_assert_int_eq(fs_release(t.fs, huge), 0);
}
END_TEST

static void make_fs(void)
{
	tmpdir_make();
	test_fs_init(&t);
	/* what a test writes is less than what would be written out before
	 * somebody asks for it */
	t.cache_size = 64u << 20;
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

	tcase_set_timeout(tc, 60 + (double)nr_entries() / 2000);
	tcase_add_checked_fixture(tc, make_fs, drop_fs);
	if (getenv("FOLIO_COST")) {
		tcase_add_test(tc, commits_of_a_page_of_one_of_two_files);
		return s;
	}
	tcase_add_test(
		tc,
		a_page_of_a_huge_file_costs_no_more_than_one_of_a_small_file);
	tcase_add_test(tc, nor_does_a_page_in_a_hole_of_it);
	tcase_add_test(tc, pages_that_were_committed_cost_nothing_again);
	tcase_add_test(
		tc,
		names_of_a_large_folder_cost_no_more_than_those_of_a_small_one);
	return s;
}

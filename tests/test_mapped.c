/* SPDX-License-Identifier: MIT */
/*
 * Through which open file a mapping came, where several are open: what the
 * tracker sees is made up, the files and their handles are real.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs_util.h"
#include "mapped.h"
#include "tmpdir.h"

#define SELF 1000
#define PARENT 900
#define GRANDPARENT 800
#define STRANGER 2000

#define RW_SHARED (PROC_MAP_READ | PROC_MAP_WRITE | PROC_MAP_SHARED)
#define R_SHARED (PROC_MAP_READ | PROC_MAP_SHARED)
#define RW_PRIVATE (PROC_MAP_READ | PROC_MAP_WRITE)

#define ADDR ((u64)0x700000000000)

static struct test_fs t;
static u64 ino;

/* What SELF maps now, and at the look before. */
static struct proc_map maps[8], old[8];
static size_t nr, nr_old;

static void setup(void)
{
	u64 fh;

	tmpdir_make();
	test_fs_init(&t);
	test_fs_open(&t);
	ino = test_create(&t, FS_ROOT_INO, "a", &fh);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
}

static u64 opened(u64 which, int flags, pid_t pid)
{
	u64 fh;

	ck_assert_int_eq(fs_openf(t.fs, which, flags, pid, &fh), 0);
	return fh;
}

/* Pages [@page, @page + @n) of @which are mapped where they belong. */
static void map(u64 which, u64 page, u64 n, u32 flags)
{
	maps[nr++] = (struct proc_map){
		.start = ADDR + (page << PAGE_SHIFT),
		.end = ADDR + ((page + n) << PAGE_SHIFT),
		.pos = page << PAGE_SHIFT,
		.ino = which,
		.flags = flags,
	};
}

/* The tracker looks, and then the next mappings are to come. */
static void look(void)
{
	struct proc proc = {.pid = SELF, .start_time = 1, .comm = "program"};
	const struct tracker_look what = {
		.proc = &proc,
		.maps = maps,
		.nr = nr,
		.old = old,
		.nr_old = nr_old,
		.ancestors = {PARENT, GRANDPARENT},
	};

	ck_assert_int_eq(mapped_ops.update(t.fs, &what), 0);
	memcpy(old, maps, sizeof(old));
	nr_old = nr;
	nr = 0;
}

/* The handle of the mapping with @page; 0: not known. */
static u64 came_through(u64 page)
{
	struct vma_info *info;
	size_t n;
	u64 fh = UINT64_MAX;

	ck_assert_int_eq(fs_mappings(t.fs, ino, &info, &n), 0);
	for (size_t i = 0; i < n; i++) {
		u64 pages = (info[i].end - info[i].start) >> PAGE_SHIFT;

		if (page >= info[i].pgoff && page < info[i].pgoff + pages)
			fh = info[i].file_known ? info[i].file_id : 0;
	}
	free(info);
	ck_assert_msg(fh != UINT64_MAX, "page %llu is not mapped",
		      (unsigned long long)page);
	return fh;
}

START_TEST(the_only_opener_it_is_whoever_that_was)
{
	u64 fh = opened(ino, O_RDWR, STRANGER);

	map(ino, 0, 4, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), fh);
}
END_TEST

START_TEST(of_several_it_is_the_nearest_in_the_family_opened_last)
{
	u64 last;

	(void)opened(ino, O_RDWR, STRANGER);
	(void)opened(ino, O_RDWR, STRANGER);
	map(ino, 0, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), 0);

	last = opened(ino, O_RDWR, GRANDPARENT);
	map(ino, 1, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(1), last);

	(void)opened(ino, O_RDWR, PARENT);
	last = opened(ino, O_RDWR, PARENT);
	(void)opened(ino, O_RDWR, GRANDPARENT);
	map(ino, 2, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(2), last);

	(void)opened(ino, O_RDWR, SELF);
	last = opened(ino, O_RDWR, SELF);
	(void)opened(ino, O_RDWR, PARENT);
	map(ino, 3, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(3), last);
}
END_TEST

START_TEST(none_that_could_not_have_been_mapped_so)
{
	u64 other = test_create(&t, FS_ROOT_INO, "b", &(u64){0});
	u64 rdwr = opened(ino, O_RDWR, GRANDPARENT);
	u64 rdonly = opened(ino, O_RDONLY, PARENT);

	(void)opened(ino, O_WRONLY, SELF);
	(void)opened(other, O_RDWR, SELF);
	map(ino, 0, 1, RW_SHARED);
	map(ino, 2, 1, R_SHARED);
	map(ino, 4, 1, RW_PRIVATE);
	look();
	ck_assert_uint_eq(came_through(0), rdwr);
	ck_assert_uint_eq(came_through(2), rdonly);
	ck_assert_uint_eq(came_through(4), rdonly);
}
END_TEST

START_TEST(later_openers_take_nothing_over)
{
	u64 first = opened(ino, O_RDWR, SELF);

	map(ino, 0, 9, RW_SHARED);
	look();
	(void)opened(ino, O_RDWR, SELF);
	map(ino, 0, 9, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), first);

	/* mprotect() in the middle, which makes three of it */
	map(ino, 0, 3, RW_SHARED);
	map(ino, 3, 3, R_SHARED);
	map(ino, 6, 3, RW_SHARED);
	look();
	for (u64 page = 0; page < 9; page += 3)
		ck_assert_uint_eq(came_through(page), first);

	/* the first is unmapped, and the rest one again */
	map(ino, 3, 6, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(3), first);
}
END_TEST

START_TEST(what_moved_came_through_what_it_came_through)
{
	u64 first = opened(ino, O_RDWR, SELF);

	map(ino, 0, 2, RW_SHARED);
	look();
	(void)opened(ino, O_RDWR, SELF);
	map(ino, 0, 2, RW_SHARED);
	maps[0].start += (u64)1 << 30;
	maps[0].end += (u64)1 << 30;
	look();
	ck_assert_uint_eq(came_through(0), first);
}
END_TEST

START_TEST(who_was_not_known_is_found_when_it_can_be)
{
	u64 first = opened(ino, O_RDWR, STRANGER);
	u64 second = opened(ino, O_RDWR, STRANGER);

	map(ino, 0, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), 0);
	ck_assert_int_eq(fs_release(t.fs, second), 0);
	map(ino, 0, 1, RW_SHARED);
	map(ino, 5, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), first);
	ck_assert_uint_eq(came_through(5), first);
}
END_TEST

START_TEST(a_thread_that_opened_it_stands_for_its_process)
{
	u64 fh = opened(ino, O_RDWR, SELF + 7);

	(void)opened(ino, O_RDWR, PARENT);
	mapped_ops.opened(t.fs, ino, fh, SELF + 7, SELF);
	/* of a handle whose number is another's by now nothing is said */
	mapped_ops.opened(t.fs, ino + 1, fh, SELF, STRANGER);
	mapped_ops.opened(t.fs, ino, fh, SELF + 7, STRANGER);
	map(ino, 0, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), fh);
}
END_TEST

/* Those that came through it were gone before: what is there now is new. */
START_TEST(what_came_through_a_released_file_came_through_another)
{
	u64 first = opened(ino, O_RDWR, SELF);
	u64 second;

	map(ino, 0, 1, RW_SHARED);
	look();
	second = opened(ino, O_RDWR, SELF);
	map(ino, 0, 1, RW_SHARED);
	map(ino, 2, 1, RW_SHARED);
	look();
	ck_assert_int_eq(fs_release(t.fs, first), 0);
	ck_assert_uint_eq(came_through(0), 0);
	ck_assert_uint_eq(came_through(2), second);
	map(ino, 0, 1, RW_SHARED);
	map(ino, 2, 1, RW_SHARED);
	look();
	ck_assert_uint_eq(came_through(0), second);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("mapped", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_only_opener_it_is_whoever_that_was);
	tcase_add_test(tc,
		       of_several_it_is_the_nearest_in_the_family_opened_last);
	tcase_add_test(tc, none_that_could_not_have_been_mapped_so);
	tcase_add_test(tc, later_openers_take_nothing_over);
	tcase_add_test(tc, what_moved_came_through_what_it_came_through);
	tcase_add_test(tc, who_was_not_known_is_found_when_it_can_be);
	tcase_add_test(tc, a_thread_that_opened_it_stands_for_its_process);
	tcase_add_test(tc,
		       what_came_through_a_released_file_came_through_another);
	return suite;
}

/* SPDX-License-Identifier: MIT */
/*
 * Slots in an area of their own, as with a swap file: a commit copies what they
 * have, each page keeps its promise of space until then, and an area that
 * fails is a full one, but for pages that it alone had.
 */
#include "config.h"

#include <stdlib.h>

#include "internal.h"
#include "memback.h"
#include "test.h"

#define FILE_PAGES 512
#define AREA_BLOCKS 400

static struct memback mb;
static struct memfile mf, other;

static void setup_blocks(u32 blocks, u32 area)
{
	mem_init(&mb, 64, 64, blocks);
	mem_swap_area(&mb, area);
	memfile_init(&mf, &mb, 7, FILE_PAGES);
	memfile_init(&other, &mb, 8, FILE_PAGES);
}

static void setup(void)
{
	setup_blocks(4096, AREA_BLOCKS);
}

static void teardown(void)
{
	mem_fail(&mb, 0, 0, 0, false);
	mem_check(&mb);
	memfile_done(&mf);
	memfile_done(&other);
	mem_done(&mb);
}

/* ---- helpers: a page is filled with one number ---- */

static ssize_t try_write(struct memfile *f, u64 pgoff, u8 c, unsigned flags)
{
	u8 buf[PAGE_SIZE];

	memset(buf, c, sizeof(buf));
	return cache_write(&f->f, pgoff << PAGE_SHIFT, buf, PAGE_SIZE, flags,
			   NULL, NULL);
}

static void write_pages_of(struct memfile *f, u64 first, u64 nr, u8 c)
{
	for (u64 i = first; i < first + nr; i++)
		ck_assert_int_eq(try_write(f, i, c, 0), PAGE_SIZE);
}

static void expect_page(const u8 *buf, u8 c)
{
	u8 want[PAGE_SIZE];

	memset(want, c, sizeof(want));
	ck_assert_mem_eq(buf, want, sizeof(want));
}

static void expect_read(struct memfile *f, u64 first, u64 nr, u8 c)
{
	u8 buf[PAGE_SIZE];

	for (u64 i = first; i < first + nr; i++) {
		ck_assert_int_eq(
			cache_read_copy(&f->f, i << PAGE_SHIFT, buf, PAGE_SIZE),
			PAGE_SIZE);
		expect_page(buf, c);
	}
}

static void expect_committed(struct memfile *f, u64 first, u64 nr, u8 c)
{
	u8 buf[PAGE_SIZE];

	for (u64 i = first; i < first + nr; i++) {
		memfile_get(f, i, buf);
		expect_page(buf, c);
	}
}

static int commit_both(int err)
{
	struct memfile *files[] = {&mf, &other};

	return mem_commit(&mb, files, 2, 0, err);
}

static struct cache_counters counters(void)
{
	struct cache_counters k;

	cache_counters(mb.cache, &k);
	return k;
}

static u64 nr_swapped(void)
{
	struct cache_gauges g;

	cache_gauges(mb.cache, &g);
	return g.nr_swapped;
}

static u64 area_used(void)
{
	return mb.nr_area - 1 - mb.nr_area_free;
}

/* Let one slot of the area, of a page without a frame, have other bytes.
 * Return: that page. */
static u64 damage_swapped(struct memfile *f)
{
	for (u64 i = 0; i < FILE_PAGES; i++) {
		u64 entry = page_tree_get(&f->as.tree, i);

		if (entry_kind(entry) == ENTRY_SWAP) {
			u64 slot = u48_get(
				&swp_entry(mb.cache, entry_value(entry))->slot);

			mb.area[slot & ~SLOT_FOREIGN].data[100] ^= 1;
			return i;
		}
	}
	ck_abort_msg("nothing is swapped out");
}

/* ---- what a commit does ---- */

START_TEST(a_commit_copies_what_the_area_has_and_empties_it)
{
	u64 in_area;

	write_pages_of(&mf, 0, 300, 1);
	in_area = area_used();
	ck_assert_uint_gt(in_area, 200);
	ck_assert_uint_eq(mb.nr_free, mb.nr_blocks - 1);
	ck_assert_int_eq(commit_both(0), 0);
	ck_assert_uint_eq(area_used(), 0);
	ck_assert_uint_eq(counters().commit_copied, in_area);
	/* the others were DIRTY, and went where they belong at once */
	ck_assert_uint_eq(counters().commit_written, 300);
	expect_committed(&mf, 0, 300, 1);
	expect_read(&mf, 0, 300, 1);
}
END_TEST

START_TEST(what_is_in_a_frame_is_not_read_from_the_area)
{
	u64 swapped;

	write_pages_of(&mf, 0, 300, 1);
	expect_read(&mf, 0, 20, 1);
	swapped = nr_swapped();
	ck_assert_uint_gt(area_used(), swapped);
	mb.pages[MEM_READ] = 0;
	mb.calls[MEM_READ] = 0;
	ck_assert_int_eq(commit_both(0), 0);
	ck_assert_uint_eq(mb.pages[MEM_READ], swapped);
	/* and what is, in long runs */
	ck_assert_uint_lt(mb.calls[MEM_READ], swapped / 2);
}
END_TEST

START_TEST(extents_are_long_though_slots_are_scattered)
{
	u64 breaks = 0;

	for (u64 i = 0; i < 300; i++)
		ck_assert_int_eq(try_write(&mf, i * 7 % 300, 1, 0), PAGE_SIZE);
	ck_assert_int_eq(commit_both(0), 0);
	for (u64 i = 1; i < 300; i++)
		breaks += mf.map[i] != mf.map[i - 1] + 1;
	/* one for each piece, and for each time that frames interrupt */
	ck_assert_uint_lt(breaks, 300 - 200);
}
END_TEST

START_TEST(a_page_written_behind_the_cut_is_committed_as_it_was)
{
	write_pages_of(&mf, 0, 200, 1);
	mem_commit_begin(&mb);
	mem_commit_add(&mb, &mf);
	mem_commit_cut_end(&mb);
	/* SWAPPED, SAVED and DIRTY ones */
	write_pages_of(&mf, 0, 20, 2);
	write_pages_of(&mf, 190, 10, 2);
	ck_assert_int_eq(mem_commit_writeout(&mb, 0), 0);
	write_pages_of(&mf, 20, 10, 2);
	mem_commit_transact(&mb, 0);
	mem_commit_end(&mb, 0);
	expect_committed(&mf, 0, 200, 1);
	expect_read(&mf, 0, 30, 2);
	expect_read(&mf, 30, 160, 1);
	expect_read(&mf, 190, 10, 2);
}
END_TEST

START_TEST(what_a_failed_commit_has_copied_is_not_copied_again)
{
	u64 copied;

	write_pages_of(&mf, 0, 200, 1);
	ck_assert_int_eq(commit_both(-EIO), 0);
	mem_check(&mb);
	copied = counters().commit_copied;
	ck_assert_uint_eq(area_used(), 0);
	expect_read(&mf, 0, 10, 1);
	ck_assert_int_eq(commit_both(0), 0);
	ck_assert_uint_eq(counters().commit_copied, copied);
	expect_committed(&mf, 0, 200, 1);
}
END_TEST

START_TEST(copying_goes_by_pieces_whatever_the_runs_are)
{
	mb.max_run = 3;
	write_pages_of(&mf, 0, 200, 1);
	mb.max_run = 5;
	ck_assert_int_eq(commit_both(0), 0);
	expect_committed(&mf, 0, 200, 1);
}
END_TEST

/* ---- space ---- */

START_TEST(a_page_in_the_area_keeps_its_promise_of_space)
{
	teardown();
	setup_blocks(150, AREA_BLOCKS);
	write_pages_of(&mf, 0, 150, 1);
	ck_assert_uint_gt(area_used(), 0);
	/* the area has room, the volume has not */
	ck_assert_int_eq(try_write(&mf, 150, 1, 0), -ENOSPC);
	ck_assert_int_eq(commit_both(0), 0);
	expect_committed(&mf, 0, 150, 1);
	ck_assert_uint_eq(mb.nr_reserved, 0);
}
END_TEST

START_TEST(dropping_pages_gives_their_promises_back)
{
	write_pages_of(&mf, 0, 300, 1);
	ck_assert_uint_eq(mb.nr_reserved, 300);
	ck_assert_int_eq(cache_truncate(&mf.as, 100 * PAGE_SIZE, NULL), 0);
	mem_check(&mb);
	ck_assert_uint_eq(mb.nr_reserved, 100);
	ck_assert_int_eq(cache_punch(&mf.as, 0, 50 * PAGE_SIZE, NULL), 0);
	ck_assert_uint_eq(mb.nr_reserved, 50);
	write_pages_of(&mf, 50, 50, 2);
	ck_assert_uint_eq(mb.nr_reserved, 50);
}
END_TEST

START_TEST(a_late_write_goes_to_the_volume_when_area_and_frames_are_full)
{
	teardown();
	setup_blocks(4096, 40);
	address_space_pin(&mf.as, true);
	for (u64 i = 0; i < FILE_PAGES && try_write(&mf, i, 1, 0) > 0; i++)
		;
	ck_assert_uint_eq(area_used(), 40);
	ck_assert_int_eq(cache_truncate(&other.as, PAGE_SIZE, NULL), 0);
	ck_assert_int_eq(try_write(&other, 0, 2, 0), -ENOSPC);
	ck_assert_int_eq(try_write(&other, 0, 2, CACHE_WRITE_WRITEPAGE),
			 PAGE_SIZE);
	expect_read(&other, 0, 1, 2);
	ck_assert_int_eq(commit_both(0), 0);
	expect_committed(&other, 0, 1, 2);
	address_space_pin(&mf.as, false);
}
END_TEST

/* ---- failures ---- */

START_TEST(an_unreadable_slot_is_an_error_of_its_page_alone)
{
	u8 buf[PAGE_SIZE];
	u64 bad;

	write_pages_of(&mf, 0, 200, 1);
	write_pages_of(&other, 0, 50, 3);
	bad = damage_swapped(&mf);
	ck_assert_int_eq(
		cache_read_copy(&mf.f, bad << PAGE_SHIFT, buf, PAGE_SIZE),
		-EIO);
	ck_assert_int_eq(mf.bad_err, -EIO);
	ck_assert_uint_eq(mf.bad_pgoff, bad);
	ck_assert_uint_eq(mf.bad_nr, 1);
	mf.bad_err = 0;
	for (u64 i = 0; i < 200; i++)
		if (i != bad)
			expect_read(&mf, i, 1, 1);
	ck_assert_uint_gt(counters().read_errors, 0);

	/* nor does the commit tear the file, or hold others back */
	ck_assert_int_eq(commit_both(0), -EIO);
	ck_assert_int_eq(mf.bad_err, -EIO);
	ck_assert_uint_eq(mf.bad_pgoff, bad);
	ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&other.f), 0);
	ck_assert_uint_eq(mf.size, 0);
	expect_committed(&other, 0, 50, 3);
	mem_check(&mb);

	write_pages_of(&mf, bad, 1, 1);
	ck_assert_int_eq(commit_both(0), 0);
	expect_committed(&mf, 0, 200, 1);
}
END_TEST

START_TEST(an_area_that_cannot_be_written_is_a_full_one)
{
	ssize_t ret = PAGE_SIZE;
	u64 nr = 0;

	mem_fail(&mb, 1u << MEM_WRITE, 1, -EIO, true);
	while (ret == PAGE_SIZE && nr < FILE_PAGES)
		ret = try_write(&mf, nr++, 1, 0);
	ck_assert_int_eq(ret, -ENOSPC);
	ck_assert_uint_gt(mb.wanted[COMMIT_SWAP_FULL], 0);
	ck_assert_uint_gt(counters().write_errors, 0);
	ck_assert_uint_eq(area_used(), 0);
	ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), 0);

	/* which a commit makes room in */
	mem_fail(&mb, 0, 0, 0, false);
	ck_assert_int_eq(commit_both(0), 0);
	expect_committed(&mf, 0, nr - 1, 1);
	ck_assert_int_eq(try_write(&mf, nr - 1, 1, 0), PAGE_SIZE);
}
END_TEST

START_TEST(a_slot_that_a_flush_may_have_lost_is_moved_as_ever)
{
	u64 epoch;

	write_pages_of(&mf, 0, 200, 1);
	mem_commit_begin(&mb);
	mem_commit_add(&mb, &mf);
	mem_commit_cut_end(&mb);
	ck_assert_int_eq(mem_commit_writeout(&mb, 0), 0);
	epoch = mb.epoch++;
	ck_assert_uint_eq(commit_max_epoch(mb.commit), epoch);
	mb.pages[MEM_WRITE] = 0;
	ck_assert_int_eq(commit_reslot(mb.commit, epoch - 1, epoch), 0);
	ck_assert_uint_eq(mb.pages[MEM_WRITE], 200);
	ck_assert_uint_eq(commit_max_epoch(mb.commit), epoch + 1);
	mem_commit_transact(&mb, 0);
	mem_commit_end(&mb, 0);
	expect_committed(&mf, 0, 200, 1);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("foreign_slots", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_commit_copies_what_the_area_has_and_empties_it);
	tcase_add_test(tc, what_is_in_a_frame_is_not_read_from_the_area);
	tcase_add_test(tc, extents_are_long_though_slots_are_scattered);
	tcase_add_test(tc,
		       a_page_written_behind_the_cut_is_committed_as_it_was);
	tcase_add_test(tc, what_a_failed_commit_has_copied_is_not_copied_again);
	tcase_add_test(tc, copying_goes_by_pieces_whatever_the_runs_are);
	tcase_add_test(tc, a_page_in_the_area_keeps_its_promise_of_space);
	tcase_add_test(tc, dropping_pages_gives_their_promises_back);
	tcase_add_test(
		tc,
		a_late_write_goes_to_the_volume_when_area_and_frames_are_full);
	tcase_add_test(tc, an_unreadable_slot_is_an_error_of_its_page_alone);
	tcase_add_test(tc, an_area_that_cannot_be_written_is_a_full_one);
	tcase_add_test(tc, a_slot_that_a_flush_may_have_lost_is_moved_as_ever);
	return s;
}

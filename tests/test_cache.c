/* SPDX-License-Identifier: MIT */
/*
 * The page cache, one promise a test: progress without frames, failures of
 * each call, interleavings with a cut, counters that say what was done.
 */
#include "config.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"
#include "memback.h"
#include "test.h"

#define FILE_PAGES 512

static struct memback mb;
static struct memfile mf;
static u8 page_buf[PAGE_SIZE];
static u32 area; /* blocks of a swap area, 0: slots are the volume's */

static void setup_pages(u64 pages, u64 max_pages, u32 blocks)
{
	mem_init(&mb, pages, max_pages, blocks);
	if (area)
		mem_swap_area(&mb, area);
	memfile_init(&mf, &mb, 7, FILE_PAGES);
}

static void setup(void)
{
	setup_pages(64, 4096, 4096);
}

static void setup_tight(void)
{
	setup_pages(64, 64, 4096);
}

static void setup_large(void)
{
	setup_pages(2048, 4096, 4096);
}

static void teardown(void)
{
	mem_fail(&mb, 0, 0, 0, false);
	mem_check(&mb);
	memfile_done(&mf);
	mem_done(&mb);
}

/* ---- helpers: a page is filled with one number ---- */

static void fill(u8 *buf, u8 c)
{
	memset(buf, c, PAGE_SIZE);
}

static bool is_filled(const u8 *buf, u8 c)
{
	for (size_t i = 0; i < PAGE_SIZE; i++)
		if (buf[i] != c)
			return false;
	return true;
}

static ssize_t try_write(u64 pgoff, u8 c, unsigned flags)
{
	u8 buf[PAGE_SIZE];

	fill(buf, c);
	return cache_write(&mf.f, pgoff << PAGE_SHIFT, buf, PAGE_SIZE, flags,
			   NULL, NULL);
}

static void write_page(u64 pgoff, u8 c)
{
	ck_assert_int_eq(try_write(pgoff, c, 0), PAGE_SIZE);
}

static void write_all(u64 nr, u8 c)
{
	for (u64 i = 0; i < nr; i++)
		write_page(i, c);
}

static u8 read_page(u64 pgoff)
{
	ck_assert_int_eq(cache_read_copy(&mf.f, pgoff << PAGE_SHIFT, page_buf,
					 PAGE_SIZE),
			 PAGE_SIZE);
	ck_assert(is_filled(page_buf, page_buf[0]));
	return page_buf[0];
}

static u8 committed_page(u64 pgoff)
{
	memfile_get(&mf, pgoff, page_buf);
	ck_assert(is_filled(page_buf, page_buf[0]));
	return page_buf[0];
}

static struct cache_counters counters(void)
{
	struct cache_counters k;

	cache_counters(mb.cache, &k);
	return k;
}

static struct cache_gauges gauges(void)
{
	struct cache_gauges g;

	cache_gauges(mb.cache, &g);
	return g;
}

static int commit_all(u32 inline_pages, int err)
{
	struct memfile *files[] = {&mf};

	return mem_commit(&mb, files, 1, inline_pages, err);
}

static void cut(void)
{
	mem_commit_begin(&mb);
	mem_commit_add(&mb, &mf);
	mem_commit_cut_end(&mb);
}

static void finish(u32 inline_pages, int err)
{
	ck_assert_int_eq(mem_commit_writeout(&mb, inline_pages), 0);
	mem_commit_transact(&mb, err);
	mem_commit_end(&mb, err);
}

static char state_of(u64 pgoff)
{
	char c;

	address_space_map(&mf.as, pgoff, 1, &c);
	return c;
}

static void wait_true(bool (*cond)(void))
{
	while (!cond())
		(void)sched_yield();
}

/* ---- without frames ---- */

/* Pin every frame there is by reads that are not done. */
static u32 pin_all(struct cache_read *rds, u32 max)
{
	u32 nr = 0;

	while (frames_free(mb.cache) && nr < max) {
		rds[nr].bounce = aligned_alloc(PAGE_SIZE, CACHE_READ_MAX_PAGES *
								  PAGE_SIZE);
		ck_assert_ptr_nonnull(rds[nr].bounce);
		ck_assert_int_gt(cache_read(&mf.f, (u64)nr * 8 << PAGE_SHIFT,
					    8 << PAGE_SHIFT, &rds[nr]),
				 0);
		nr++;
	}
	return nr;
}

static void unpin_all(struct cache_read *rds, u32 nr)
{
	for (u32 i = 0; i < nr; i++) {
		cache_read_done(mb.cache, &rds[i]);
		free(rds[i].bounce);
	}
}

START_TEST(reads_and_writes_go_on_when_every_frame_is_pinned)
{
	struct cache_read *rds = calloc(64, sizeof(*rds));
	u32 nr;

	ck_assert_ptr_nonnull(rds);
	/* All committed, so that reads bring in CLEAN pages. */
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	nr = pin_all(rds, 64);
	ck_assert_uint_eq(frames_free(mb.cache), 0);

	ck_assert_uint_eq(read_page(300), 1);
	ck_assert_uint_gt(counters().bounce_read, 0);
	write_page(300, 2);
	ck_assert_uint_eq(counters().direct_slot_write, 1);
	ck_assert_int_eq(state_of(300), 'z');
	ck_assert_uint_eq(read_page(300), 2);

	/* Part of a page: the rest is read past the cache. */
	ck_assert_int_eq(cache_write(&mf.f, (301 << PAGE_SHIFT) + 10, "xyz", 3,
				     0, NULL, NULL),
			 3);
	ck_assert_int_eq(
		cache_read_copy(&mf.f, 301 << PAGE_SHIFT, page_buf, PAGE_SIZE),
		PAGE_SIZE);
	ck_assert(!memcmp(page_buf + 9, "\1xyz\1", 5));

	/* A pinned page itself is written where it is. */
	write_page(0, 3);
	ck_assert_uint_eq(read_page(0), 3);
	/* The edge of a truncate too. */
	ck_assert_int_eq(cache_truncate(&mf.as, (400 << PAGE_SHIFT) + 1, NULL),
			 0);
	mem_check(&mb);

	unpin_all(rds, nr);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(300), 2);
	ck_assert_uint_eq(committed_page(0), 3);
	ck_assert_uint_eq(mf.size, (400 << PAGE_SHIFT) + 1);
	free(rds);
}
END_TEST

START_TEST(a_frozen_page_is_overwritten_without_a_frame)
{
	struct cache_read *rds = calloc(64, sizeof(*rds));
	u32 nr;

	ck_assert_ptr_nonnull(rds);
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	write_page(500, 2);
	nr = pin_all(rds, 64);
	cut();
	write_page(500, 3);
	ck_assert_uint_gt(counters().direct_slot_write, 0);
	ck_assert_uint_eq(read_page(500), 3);
	finish(0, 0);
	ck_assert_uint_eq(committed_page(500), 2);
	unpin_all(rds, nr);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(500), 3);
	free(rds);
}
END_TEST

/* ---- interleavings with a cut ---- */

START_TEST(a_page_written_after_the_cut_is_not_in_the_commit)
{
	/* As dirty, saved, swapped: pages 0, 1, 2. */
	write_page(1, 1);
	write_page(2, 1);
	ck_assert_int_ge(commit_prewrite(mb.cache, &mf.as), 2);
	write_page(0, 1);
	cut();
	for (u64 i = 0; i < 3; i++)
		write_page(i, 2);
	mem_check(&mb);
	ck_assert_uint_eq(counters().cow_frozen, 1);
	finish(0, 0);
	for (u64 i = 0; i < 3; i++) {
		ck_assert_uint_eq(committed_page(i), 1);
		ck_assert_uint_eq(read_page(i), 2);
	}
	ck_assert_int_eq(commit_all(0, 0), 0);
	for (u64 i = 0; i < 3; i++)
		ck_assert_uint_eq(committed_page(i), 2);
}
END_TEST

START_TEST(a_failed_commit_leaves_everything_uncommitted)
{
	int err;

	write_page(0, 1);
	write_page(1, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	write_page(0, 2);
	ck_assert_int_eq(cache_punch(&mf.as, PAGE_SIZE, PAGE_SIZE, NULL), 0);
	ck_assert_int_eq(cache_truncate(&mf.as, 3 * PAGE_SIZE, NULL), 0);
	cut();
	write_page(2, 3);
	finish(4, -EIO);
	ck_assert_uint_eq(committed_page(0), 1);
	ck_assert_uint_eq(mf.size, 2 * PAGE_SIZE);
	ck_assert(address_space_dirty(&mf.as));
	err = file_check_and_advance_wb_err(&mf.f);
	ck_assert_int_eq(err, -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), 0);

	(void)cache_drop(mb.cache, NULL);
	ck_assert_uint_eq(read_page(0), 2);
	ck_assert_uint_eq(read_page(1), 0);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(0), 2);
	ck_assert_uint_eq(committed_page(1), 0);
	ck_assert_uint_eq(committed_page(2), 3);
	ck_assert(!address_space_dirty(&mf.as));
}
END_TEST

START_TEST(frozen_pages_that_are_truncated_are_still_committed)
{
	write_all(6, 1);
	ck_assert_int_ge(commit_prewrite(mb.cache, &mf.as), 6);
	write_all(3, 2);
	cut();
	ck_assert_int_eq(cache_truncate(&mf.as, 0, NULL), 0);
	ck_assert_int_eq(cache_truncate(&mf.as, 6 * PAGE_SIZE, NULL), 0);
	mem_check(&mb);
	finish(0, 0);
	for (u64 i = 0; i < 6; i++) {
		ck_assert_uint_eq(committed_page(i), i < 3 ? 2 : 1);
		ck_assert_uint_eq(read_page(i), 0);
	}
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(0), 0);
}
END_TEST

/* A page that was punched before the cut and written again is in frozen_holes
 * while it is committed; evicted afterwards it must not read as zeros. */
START_TEST(a_page_written_over_a_hole_survives_commit_and_eviction)
{
	write_page(0, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_int_eq(cache_punch(&mf.as, 0, PAGE_SIZE, NULL), 0);
	write_page(0, 2);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(cache_drop(mb.cache, NULL), 1);
	ck_assert_uint_eq(read_page(0), 2);
}
END_TEST

static void *truncate_main(void *arg)
{
	verify(cache_truncate(&mf.as, 0, NULL) == 0);
	return NULL;
}

static bool is_empty(void)
{
	return i_size_read(&mf.as) == 0;
}

/* The cut comes when the file is empty but a page of it cannot be dropped yet,
 * since somebody has it locked. */
START_TEST(a_cut_amidst_a_truncate_commits_none_of_the_dead_pages)
{
	pthread_t t;
	struct page *p;

	write_all(8, 1);
	p = find_lock_page(&mf.as, 3);
	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(pthread_create(&t, NULL, truncate_main, NULL), 0);
	wait_true(is_empty);
	cut();
	unlock_page(p, mb.cache);
	put_page(mb.cache, p);
	finish(_i ? 16 : 0, 0);
	(void)pthread_join(t, NULL);
	ck_assert_uint_eq(mf.size, 0);
	for (u64 i = 0; i < 8; i++)
		ck_assert_uint_eq(mf.map[i], 0);
	ck_assert_uint_eq(gauges().nr_slots, 0);
}
END_TEST

static void *write_main(void *arg)
{
	write_page(0, 2);
	return NULL;
}

static bool is_locked(void)
{
	bool locked = false;
	u64 entry;

	mutex_lock(&mf.as.tree_lock);
	entry = page_tree_get(&mf.as.tree, 0);
	if (entry_kind(entry) == ENTRY_PAGE)
		locked = page_test(frame_page(mb.cache, entry_value(entry)),
				   PG_LOCKED);
	mutex_unlock(&mf.as.tree_lock);
	return locked;
}

/* The writer has its page and waits for the stop, and then the cut freezes it.
 */
START_TEST(a_cut_between_preparing_and_writing_gets_the_old_page)
{
	pthread_t t;

	write_page(0, 1);
	mem_commit_begin(&mb);
	ck_assert_int_eq(pthread_create(&t, NULL, write_main, NULL), 0);
	wait_true(is_locked);
	mem_commit_add(&mb, &mf);
	mem_commit_cut_end(&mb);
	(void)pthread_join(t, NULL);
	ck_assert_uint_eq(counters().cow_frozen, 1);
	finish(_i ? 16 : 0, 0);
	ck_assert_uint_eq(committed_page(0), 1);
	ck_assert_uint_eq(read_page(0), 2);
}
END_TEST

static void *truncate_to_50_main(void *arg)
{
	ck_assert_int_eq(cache_truncate(&mf.as, 50, NULL), 0);
	return NULL;
}

static void *read_at_100_main(void *arg)
{
	*(ssize_t *)arg = cache_read_copy(&mf.f, 100, page_buf, 100);
	return NULL;
}

/* The reader has seen the old size, and waits for its page while the file is
 * cut before where it reads, within the page. */
START_TEST(a_read_behind_a_cut_within_its_page_is_empty)
{
	ssize_t got = -1;
	struct page *p;
	pthread_t reader, cutter;
	bool zero;
	u32 frame;

	ck_assert_int_eq(cache_truncate(&mf.as, 200, NULL), 0);
	ck_assert_uint_eq(frames_get(mb.cache, 1, &frame), 1);
	p = page_init_locked(mb.cache, frame, 0);
	ck_assert_int_eq(page_install_missing(&mf.as, p, &zero), 0);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_at_100_main, &got),
			 0);
	while (!page_test(p, PG_WAITERS))
		(void)sched_yield();
	page_uninstall(&mf.as, p);
	ck_assert_int_eq(
		pthread_create(&cutter, NULL, truncate_to_50_main, NULL), 0);
	(void)pthread_join(cutter, NULL);
	page_discard(mb.cache, p);
	(void)pthread_join(reader, NULL);
	ck_assert_int_eq(got, 0);
}
END_TEST

START_TEST(inline_pages_written_again_are_committed_as_they_were)
{
	write_page(0, 1);
	write_page(5, 1);
	cut();
	ck_assert_int_eq(mem_commit_writeout(&mb, 2), 0);
	write_page(0, 2);
	ck_assert_int_eq(cache_truncate(&mf.as, PAGE_SIZE, NULL), 0);
	mem_check(&mb);
	mem_commit_transact(&mb, 0);
	mem_commit_end(&mb, 0);
	ck_assert_uint_eq(counters().commit_inline, 2);
	ck_assert_uint_eq(counters().commit_written, 0);
	ck_assert_uint_eq(committed_page(0), 1);
	ck_assert_uint_eq(committed_page(5), 1);
	ck_assert_uint_eq(read_page(0), 2);
	ck_assert_uint_eq(gauges().nr_uncommitted, 1);
}
END_TEST

static bool second_is_held, second_is_let_go; /* atomic */

static void *hold_second_main(void *arg)
{
	struct page *p = find_lock_page(&mf.as, 1);

	verify(p);
	__atomic_store_n(&second_is_held, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&second_is_let_go, __ATOMIC_ACQUIRE))
		(void)sched_yield();
	unlock_page(p, mb.cache);
	put_page(mb.cache, p);
	return NULL;
}

static bool is_held(void)
{
	return __atomic_load_n(&second_is_held, __ATOMIC_ACQUIRE);
}

static void *writeout_main(void *arg)
{
	verify(mem_commit_writeout(&mb, 16) == 0);
	return NULL;
}

static void *punch_second_main(void *arg)
{
	verify(cache_punch(&mf.as, PAGE_SIZE, PAGE_SIZE, NULL) == 0);
	return NULL;
}

static bool first_is_inline(void)
{
	struct page *p = find_lock_page(&mf.as, 0);
	bool is = page_test(p, PG_INLINE);

	unlock_page(p, mb.cache);
	put_page(mb.cache, p);
	return is;
}

/* Of two pages that are to be kept inline the first is, and is written to; and
 * then the second is punched, or kept first. Return: was it punched? */
static bool punch_amidst_inline(void)
{
	pthread_t holder, committer, puncher;
	struct commit_stat st;

	write_page(0, 1);
	write_page(1, 1);
	cut();
	second_is_held = second_is_let_go = false;
	ck_assert_int_eq(pthread_create(&holder, NULL, hold_second_main, NULL),
			 0);
	wait_true(is_held);
	ck_assert_int_eq(pthread_create(&committer, NULL, writeout_main, NULL),
			 0);
	wait_true(first_is_inline);
	write_page(0, 2);
	ck_assert_int_eq(
		pthread_create(&puncher, NULL, punch_second_main, NULL), 0);
	__atomic_store_n(&second_is_let_go, true, __ATOMIC_RELEASE);
	(void)pthread_join(holder, NULL);
	(void)pthread_join(puncher, NULL);
	(void)pthread_join(committer, NULL);
	commit_stat(mb.commit, &st);
	mem_check(&mb);
	mem_commit_transact(&mb, 0);
	mem_commit_end(&mb, 0);
	return !st.inline_pages;
}

START_TEST(pages_kept_inline_in_vain_are_committed_as_they_were)
{
	u64 nr_vain = 0;

	for (u64 i = 0; i < test_rounds(50) || (!nr_vain && i < 5000); i++) {
		nr_vain += punch_amidst_inline();
		for (u64 k = 0; k < 2; k++)
			ck_assert_uint_eq(committed_page(k), 1);
		ck_assert_uint_eq(read_page(0), 2);
		ck_assert_uint_eq(read_page(1), 0);
		ck_assert_int_eq(commit_all(0, 0), 0);
	}
	ck_assert_uint_ne(nr_vain, 0);
}
END_TEST

START_TEST(slots_of_a_failed_flush_are_moved_before_any_commit_has_them)
{
	u64 good = mb.flushed_epoch;
	u64 slots;

	write_all(4, 1);
	ck_assert_int_ge(commit_prewrite(mb.cache, &mf.as), 4);
	cut();
	write_page(9, 1); /* not in this commit, but in a doubtful slot */
	ck_assert_int_ge(commit_prewrite(mb.cache, &mf.as), 1);
	ck_assert_int_eq(mem_commit_writeout(&mb, 0), 0);
	ck_assert_uint_eq(commit_max_epoch(mb.commit), mb.epoch);
	for (u32 b = 1; b < mb.nr_blocks; b++)
		if (mb.blocks[b].use == BLOCK_SLOT)
			mb.blocks[b].epoch = UINT64_MAX; /* may not be used */
	slots = gauges().nr_slots;
	mb.epoch++;
	ck_assert_int_eq(commit_reslot(mb.commit, good, mb.epoch - 1), 0);
	ck_assert_uint_eq(gauges().nr_slots, slots);
	mem_commit_transact(&mb, 0);
	mem_commit_end(&mb, 0);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(3), 1);
	ck_assert_uint_eq(committed_page(9), 1);
}
END_TEST

/* ---- space ---- */

START_TEST(a_full_volume_takes_what_needs_no_more_space)
{
	mem_fail(&mb, 0, 0, 0, false);
	write_page(0, 1);
	mem_fail(&mb, 1u << MEM_RESERVE, 1, 0, true);
	ck_assert_int_eq(try_write(1, 1, 0), -ENOSPC);
	ck_assert_uint_gt(mb.wanted[COMMIT_SPACE], 0);
	write_page(0, 2);
	/* Late writes use the reserve. */
	mem_fail(&mb, 0, 0, 0, false);
	ck_assert_int_eq(cache_truncate(&mf.as, 8 * PAGE_SIZE, NULL), 0);
	mem_fail(&mb, 1u << MEM_RESERVE, 1, 0, true);
	ck_assert_int_eq(try_write(5, 3, CACHE_WRITE_WRITEPAGE), PAGE_SIZE);
	ck_assert_int_eq(cache_truncate(&mf.as, 5 * PAGE_SIZE + 7, NULL), 0);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(0), 2);
	ck_assert_uint_eq(mf.size, 5 * PAGE_SIZE + 7);
}
END_TEST

START_TEST(a_late_write_that_is_lost_fails_commits_until_written_again)
{
	struct cache_read *rds = calloc(64, sizeof(*rds));
	u32 nr;

	ck_assert_ptr_nonnull(rds);
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	nr = pin_all(rds, 64);
	mem_fail(&mb, 1u << MEM_ALLOC, 1, 0, true);
	ck_assert_int_eq(try_write(500, 2, CACHE_WRITE_WRITEPAGE), -ENOSPC);
	mem_fail(&mb, 0, 0, 0, false);
	unpin_all(rds, nr);

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(commit_all(0, 0), -EIO);
		ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), -EIO);
	}
	if (_i)
		write_page(500, 2);
	else
		ck_assert_int_eq(cache_truncate(&mf.as, 500 * PAGE_SIZE, NULL),
				 0);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), 0);
	free(rds);
}
END_TEST

START_TEST(swap_size_bounds_the_slots_and_asks_for_a_commit)
{
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_swap_size, 100 * PAGE_SIZE), 0);
	for (u64 i = 0; i < FILE_PAGES && try_write(i, 1, 0) > 0; i++)
		;
	ck_assert_uint_eq(gauges().nr_slots, 100);
	ck_assert_uint_gt(mb.wanted[COMMIT_SWAP_FULL], 0);
	/* The pages in frames are more than it leaves: a commit has them. */
	ck_assert_uint_gt(gauges().nr_dirty, 0);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(gauges().nr_slots, 0);
	ck_assert_uint_eq(gauges().nr_uncommitted, 0);
	ck_assert_uint_eq(read_page(10), 1);
}
END_TEST

/* Reclaim looks at everything once; who comes then is refused sooner. */
START_TEST(reclaim_that_finds_nothing_does_not_look_at_everything_again)
{
	struct cache_counters before, after;
	u64 nr = 0;

	teardown();
	setup_pages(400, 400, 4096);
	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_swap_size, 0), 0);
	while (nr < FILE_PAGES && try_write(nr, 1, 0) > 0)
		nr++;
	ck_assert_uint_gt(nr, 360);
	ck_assert_uint_lt(nr, FILE_PAGES);
	(void)try_write(nr, 1, 0);
	before = counters();
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(try_write(nr, 1, 0), -ENOSPC);
	after = counters();
	ck_assert_uint_gt(after.allocstall, before.allocstall);
	ck_assert_uint_le(after.pgscan_direct - before.pgscan_direct,
			  (after.allocstall - before.allocstall) * 320);

	/* and comes to what can be freed all the same */
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_int_eq(try_write(nr, 1, 0), PAGE_SIZE);
}
END_TEST

START_TEST(a_commit_works_without_any_swap_and_detaches_pages_too)
{
	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_swap_size, 0), 0);
	for (u64 i = 0; i < 20; i++)
		write_page(i, 1);
	cut();
	write_page(3, 2);
	finish(0, 0);
	for (u64 i = 0; i < 20; i++)
		ck_assert_uint_eq(committed_page(i), 1);
	ck_assert_uint_eq(read_page(3), 2);
	write_page(4, 2);
	ck_assert_int_eq(commit_prewrite(mb.cache, &mf.as), 2);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(4), 2);
}
END_TEST

START_TEST(a_commit_that_finds_no_space_says_so)
{
	write_page(0, 1);
	mem_fail(&mb, 1u << MEM_ALLOC, 1, 0, true);
	ck_assert_int_eq(commit_all(0, 0), -ENOSPC);
	ck_assert_int_eq(file_check_and_advance_wb_err(&mf.f), -ENOSPC);
	mem_fail(&mb, 0, 0, 0, false);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(committed_page(0), 1);
}
END_TEST

/* ---- every call fails once ---- */

/* Returns 0 when nothing failed. Whatever does, what was there before is
 * still there, and the operation done again succeeds. */
static int change_scenario(void)
{
	int err = 0;

	(void)cache_drop(mb.cache, NULL);
	for (u64 i = 0; i < 150 && !err; i += 30)
		err = (int)min(cache_read_copy(&mf.f, i << PAGE_SHIFT, page_buf,
					       PAGE_SIZE),
			       0);
	for (u64 i = 0; i < 150 && !err; i++)
		err = (int)min(try_write(i, 2, 0), 0);
	if (!err)
		err = (int)min(cache_read_copy(&mf.f, 0, page_buf, PAGE_SIZE),
			       0);
	if (!err)
		err = cache_punch(&mf.as, 10, 3 * PAGE_SIZE, NULL);
	if (!err)
		err = cache_truncate(&mf.as, 140 * PAGE_SIZE + 5, NULL);
	return err;
}

static int scenario(void)
{
	int err = change_scenario();

	return err ? err : commit_all(0, 0);
}

static void check_scenario(void)
{
	for (u64 i = 4; i < 140; i++) {
		ck_assert_uint_eq(read_page(i), 2);
		ck_assert_uint_eq(committed_page(i), 2);
	}
	ck_assert_uint_eq(mf.size, 140 * PAGE_SIZE + 5);
}

/* All of it is committed, or what was there before. */
static void check_failed_scenario(int err)
{
	if (!err) {
		check_scenario();
		return;
	}
	for (u64 i = 0; i < 150; i++)
		ck_assert_uint_eq(committed_page(i), 1);
	ck_assert_uint_eq(mf.size, 150 * PAGE_SIZE);
}

static void fail_each(u32 mask)
{
	u64 n = 0;
	u64 failed;
	int err;

	do {
		setup();
		write_all(150, 1);
		ck_assert_int_eq(commit_all(0, 0), 0);
		mem_fail(&mb, mask, ++n, -EIO, false);
		err = scenario();
		failed = mb.nr_failed;
		mem_fail(&mb, 0, 0, 0, false);
		mem_check(&mb);
		check_failed_scenario(err);
		ck_assert_int_eq(scenario(), 0);
		check_scenario();
		teardown();
	} while (failed);
	ck_assert_uint_gt(n, 1);
}

START_TEST(any_failing_call_loses_nothing)
{
	fail_each(1u << _i);
}
END_TEST

START_TEST(any_failing_call_loses_nothing_with_a_swap_area)
{
	area = 1000;
	fail_each(1u << _i);
	area = 0;
}
END_TEST

static void fill_blocks(struct memblock *blocks, u32 nr)
{
	for (u32 b = 1; b < nr; b++) {
		blocks[b].data = calloc(1, PAGE_SIZE);
		ck_assert_ptr_nonnull(blocks[b].data);
	}
}

/* The stand-in for the volume is not to be what fails. */
static void setup_blocks(void)
{
	setup();
	fill_blocks(mb.blocks, mb.nr_blocks);
	fill_blocks(mb.area, mb.nr_area);
	write_all(150, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
}

/* Whether one failed. */
static bool end_malloc_scenario(void)
{
	bool failed = test_malloc_failed();

	mem_check(&mb);
	ck_assert(committed_page(100) == 1 || committed_page(100) == 2);
	return failed;
}

START_TEST(a_change_that_finds_no_memory_loses_nothing)
{
	bool failed;
	u64 n = 0;

	do {
		setup_blocks();
		/* No node of the tree is left over from before. */
		ck_assert_int_eq(cache_truncate(&mf.as, 0, NULL), 0);
		write_page(0, 1);
		test_fail_malloc(++n);
		(void)change_scenario();
		failed = end_malloc_scenario();
		ck_assert_int_eq(scenario(), 0);
		check_scenario();
		teardown();
	} while (failed);
	ck_assert_uint_gt(n, 5);
}
END_TEST

START_TEST(a_commit_that_finds_no_memory_loses_nothing)
{
	bool failed;
	u64 n = 0;
	int err;

	do {
		setup_blocks();
		ck_assert_int_eq(cache_truncate(&mf.as, 20 << PAGE_SHIFT, NULL),
				 0);
		for (u64 i = 0; i < 10; i++)
			write_page(i, 2);
		cut();
		for (u64 i = 0; i < 5; i++)
			write_page(i, 3);
		test_fail_malloc(++n);
		err = mem_commit_writeout(&mb, _i ? 16 : 0);
		failed = test_malloc_failed();
		ck_assert_int_eq(err, 0);
		mem_commit_transact(&mb, 0);
		mem_commit_end(&mb, 0);
		mem_check(&mb);
		for (u64 i = 0; i < 10; i++)
			ck_assert_uint_eq(read_page(i), i < 5 ? 3 : 2);
		ck_assert_int_eq(commit_all(0, 0), 0);
		ck_assert_uint_eq(committed_page(4), 3);
		ck_assert_uint_eq(committed_page(9), 2);
		teardown();
	} while (failed);
	ck_assert_uint_gt(n, 1);
}
END_TEST

/* The tree can get no place for the page. */
START_TEST(a_read_that_finds_no_memory_goes_past_the_cache)
{
	struct cache_read rd = {0};

	setup();
	ck_assert_int_eq(cache_truncate(&mf.as, 100 << PAGE_SHIFT, NULL), 0);
	rd.bounce = aligned_alloc(PAGE_SIZE, CACHE_READ_MAX_PAGES * PAGE_SIZE);
	ck_assert_ptr_nonnull(rd.bounce);
	test_fail_malloc_from(1);
	for (u64 i = 0; i < 100; i++) {
		ssize_t n = cache_read(&mf.f, i << PAGE_SHIFT, PAGE_SIZE, &rd);

		expect(n == PAGE_SIZE && is_filled(rd.iov[0].iov_base, 0));
		cache_read_done(mb.cache, &rd);
	}
	ck_assert(test_malloc_failed());
	free(rd.bounce);
	teardown();
}
END_TEST

/* The buffer by which it copies goes down to a page; of entries for the copies
 * there may be none. */
START_TEST(copying_a_swap_area_without_memory_loses_nothing)
{
	bool failed;
	u64 n = 0;
	int err;

	area = 300;
	do {
		setup_blocks();
		write_all(150, 2);
		cut();
		test_fail_malloc(++n);
		err = mem_commit_writeout(&mb, 0);
		failed = test_malloc_failed();
		ck_assert_int_eq(err, 0);
		mem_commit_transact(&mb, 0);
		mem_commit_end(&mb, 0);
		mem_check(&mb);
		ck_assert_int_eq(commit_all(0, 0), 0);
		for (u64 i = 0; i < 150; i++)
			ck_assert_uint_eq(committed_page(i), 2);
		teardown();
	} while (failed);
	ck_assert_uint_gt(n, 1);
	area = 0;
}
END_TEST

/* ---- data and holes ---- */

static void expect_area(u64 pgoff, u64 data, u64 hole)
{
	s64 pos = (s64)(pgoff << PAGE_SHIFT);

	ck_assert_int_eq(cache_seek(&mf.as, (u64)pos, SEEK_DATA),
			 (s64)(data << PAGE_SHIFT));
	ck_assert_int_eq(cache_seek(&mf.as, (u64)pos, SEEK_HOLE),
			 (s64)(hole << PAGE_SHIFT));
}

START_TEST(holes_are_found_behind_any_number_of_dirty_pages)
{
	ck_assert_int_eq(cache_truncate(&mf.as, 500 << PAGE_SHIFT, NULL), 0);
	for (u64 i = 10; i < 300; i++)
		if (i != 73 && i != 137 && i != 200)
			write_page(i, 1);
	expect_area(0, 10, 0);
	expect_area(10, 10, 73);
	expect_area(73, 74, 73);
	expect_area(74, 74, 137);
	expect_area(138, 138, 200);
	expect_area(201, 201, 300);
	ck_assert_int_eq(cache_seek(&mf.as, 300 << PAGE_SHIFT, SEEK_DATA),
			 -ENXIO);
	/* The same, half of it committed. */
	ck_assert_int_eq(commit_all(0, 0), 0);
	for (u64 i = 10; i < 300; i += 2)
		if (i != 200)
			write_page(i, 2);
	expect_area(10, 10, 73);
	expect_area(74, 74, 137);
	expect_area(201, 201, 300);
}
END_TEST

/* The user was told of these pages, since the last time that we looked. */
static void expect_told(u64 pgoff, u64 nr, int err)
{
	ck_assert_int_eq(mf.bad_err, err);
	ck_assert_uint_eq(mf.bad_pgoff, pgoff);
	ck_assert_uint_eq(mf.bad_nr, nr);
	mf.bad_err = 0;
}

START_TEST(neighbours_that_cannot_be_read_are_told_of_at_once)
{
	u8 buf[8 * PAGE_SIZE];

	write_all(8, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	for (int i = 3; i < 6; i++)
		mb.blocks[mf.map[i]].data[0] ^= 1;
	ck_assert_int_eq(cache_read_copy(&mf.f, 0, buf, sizeof(buf)),
			 3 * PAGE_SIZE);
	expect_told(3, 3, -EIO);
	ck_assert_uint_ge(counters().read_errors, 3);

	/* all of a read that the volume does not answer */
	mem_fail(&mb, 1u << MEM_READ_PAGES, 1, -ENOMEM, false);
	ck_assert_int_eq(
		cache_read_copy(&mf.f, 4 * PAGE_SIZE, page_buf, PAGE_SIZE),
		-ENOMEM);
	ck_assert_int_eq(mf.bad_err, -ENOMEM);
	mem_fail(&mb, 1u << MEM_READ_PAGES, 1, -ENODATA, false);
	ck_assert_int_eq(
		cache_read_copy(&mf.f, 4 * PAGE_SIZE, page_buf, PAGE_SIZE),
		-ENODATA);
	ck_assert(mf.bad_pgoff <= 4 && 4 < mf.bad_pgoff + mf.bad_nr);
}
END_TEST

START_TEST(an_unreadable_page_is_an_error_and_not_zeros)
{
	write_all(4, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	mb.blocks[mf.map[2]].data[0] ^= 1;
	ck_assert_int_eq(
		cache_read_copy(&mf.f, 2 * PAGE_SIZE, page_buf, PAGE_SIZE),
		-EIO);
	expect_told(2, 1, -EIO);
	ck_assert_int_eq(
		cache_write(&mf.f, 2 * PAGE_SIZE + 1, "x", 1, 0, NULL, NULL),
		-EIO);
	expect_told(2, 1, -EIO);
	ck_assert_uint_ge(counters().read_errors, 2);
	/* Its neighbours are fine, and it can be replaced. */
	ck_assert_uint_eq(read_page(1), 1);
	ck_assert_uint_eq(read_page(3), 1);
	write_page(2, 2);
	ck_assert_uint_eq(read_page(2), 2);
}
END_TEST

/* ---- bounds and knobs ---- */

static void check_bound(void)
{
	struct cache_gauges g = gauges();
	u64 resident = mb.cache->frames.nr_used + mb.cache->frames.nr_hot;

	ck_assert_uint_le(resident, g.nr_frames);
	ck_assert_uint_le(resident * PAGE_SIZE + g.page_table_bytes +
				  g.metadata_bytes,
			  cache_get_knob(mb.cache, KNOB_cache_size));
}

START_TEST(lowering_cache_size_gives_frames_back_and_raising_takes_more)
{
	write_all(FILE_PAGES, 1);
	ck_assert_uint_ge(gauges().nr_dirty, FILE_PAGES);
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_cache_size, 128 * PAGE_SIZE), 0);
	check_bound();
	mem_check(&mb);
	for (u64 i = 0; i < FILE_PAGES; i++)
		ck_assert_uint_eq(read_page(i), 1);
	frames_trim(mb.cache);
	check_bound();
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_cache_size, 2048 * PAGE_SIZE), 0);
	for (u64 i = 0; i < FILE_PAGES; i++)
		ck_assert_uint_eq(read_page(i), 1);
	ck_assert_uint_eq(gauges().nr_swapped, 0);
	check_bound();
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_cache_size, 63 * PAGE_SIZE),
		-EINVAL);
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_cache_size, 4097 * PAGE_SIZE),
		-EINVAL);
	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_swappiness, 201),
			 -EINVAL);
}
END_TEST

START_TEST(charged_bookkeeping_takes_frames_and_asks_for_a_commit)
{
	u64 before = gauges().nr_frames;

	cache_charge(mb.cache, 100 * PAGE_SIZE);
	ck_assert_uint_le(gauges().nr_frames, before - 90);
	ck_assert(!cache_metadata_over(mb.cache));
	cache_charge(mb.cache, 500 * PAGE_SIZE);
	ck_assert(cache_metadata_over(mb.cache));
	ck_assert_uint_gt(mb.wanted[COMMIT_METADATA], 0);
	cache_charge(mb.cache, -600 * (s64)PAGE_SIZE);
	ck_assert_uint_eq(gauges().nr_frames, before);
}
END_TEST

/* Each page has nodes of the tree to itself, and so has what is left of it. */
START_TEST(random_reads_of_a_sparse_file_hold_no_writer_back)
{
	u64 rnd = 1;

	ck_assert_int_eq(cache_truncate(&mf.as, 1ull << 50, NULL), 0);
	mf.f.ra_mode = 1;
	for (u32 i = 0; i < 20000; i++) {
		rnd = rnd * 6364136223846793005u + 1442695040888963407u;
		ck_assert_uint_eq(read_page(rnd >> (64 - 38)), 0);
		ck_assert(!cache_metadata_over(mb.cache));
	}
	ck_assert_uint_eq(mb.wanted[COMMIT_METADATA], 0);
	check_bound();
	/* There is room for pages, too. */
	ck_assert_uint_gt(gauges().nr_file_pages, 1000);
}
END_TEST

static bool is_within_budget(void)
{
	return atomic_read(&mb.cache->frames.nr_used) +
		       atomic_read(&mb.cache->frames.nr_hot) <=
	       frames_limit(mb.cache);
}

/* Frames nobody uses have their memory still: it goes when bookkeeping needs
 * it, and pages after it, without anybody asking for a frame. */
START_TEST(bookkeeping_that_grows_gets_the_memory_of_frames)
{
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(cache_drop(mb.cache, NULL), FILE_PAGES);
	for (u64 i = 0; i < 100; i++)
		(void)read_page(i);
	ck_assert_int_eq(cache_start(mb.cache), 0);
	cache_charge(mb.cache, 1700 * PAGE_SIZE);
	wait_true(is_within_budget);
	ck_assert_uint_ge(gauges().nr_file_pages, 100);
	cache_charge(mb.cache, 340 * PAGE_SIZE);
	wait_true(is_within_budget);
	cache_stop(mb.cache);
	ck_assert_uint_le(gauges().nr_file_pages, 16);
	cache_charge(mb.cache, -2040 * (s64)PAGE_SIZE);
}
END_TEST

/* While frames are being punched they are on no list. */
static void (*in_fallocate)(void);
int __wrap_fallocate(int fd, int mode, off_t pos, off_t len);
int __real_fallocate(int fd, int mode, off_t pos, off_t len);
int __wrap_fallocate(int fd, int mode, off_t pos, off_t len)
{
	void (*fn)(void) = in_fallocate;

	in_fallocate = NULL;
	if (fn)
		fn();
	return __real_fallocate(fd, mode, pos, len);
}

static u32 taken[64];
static u32 nr_taken;

static void grow_and_take_all(void)
{
	cache_charge(mb.cache, -40 * (s64)PAGE_SIZE);
	nr_taken = frames_take(mb.cache, ARRAY_SIZE(taken), taken);
}

START_TEST(a_budget_that_grows_while_frames_are_trimmed_has_no_others)
{
	u32 all = frames_take(mb.cache, ARRAY_SIZE(taken), taken);

	ck_assert_uint_eq(all, frames_limit(mb.cache));
	frames_give(mb.cache, taken, all);
	cache_charge(mb.cache, 40 * PAGE_SIZE);
	in_fallocate = grow_and_take_all;
	frames_trim(mb.cache);
	ck_assert_ptr_null(in_fallocate);
	ck_assert_uint_gt(nr_taken, 0);
	for (u32 i = 0; i < nr_taken; i++)
		ck_assert_uint_le(taken[i], mb.cache->frames.max);
	frames_give(mb.cache, taken, nr_taken);
	frames_check(mb.cache);
}
END_TEST

/* ---- counters ---- */

START_TEST(counters_say_what_was_done)
{
	struct cache_counters k;

	write_all(100, 1);
	write_page(0, 2); /* dirty already */
	k = counters();
	ck_assert_uint_eq(k.nr_dirtied, 100);
	ck_assert_uint_eq(k.nr_written, 0);
	ck_assert_uint_eq(gauges().nr_dirty, 100);

	ck_assert_int_eq(commit_prewrite(mb.cache, &mf.as), 100);
	k = counters();
	ck_assert_uint_eq(k.nr_written, 100);
	ck_assert_uint_eq(k.pgpgout, 100);
	ck_assert_uint_eq(mb.pages[MEM_WRITE], 100);
	ck_assert_uint_eq(gauges().nr_saved, 100);
	ck_assert_uint_eq(gauges().nr_slots, 100);
	ck_assert_uint_eq(mb.nr_reserved, 0);

	/* What is saved is not written again. */
	ck_assert_int_eq(commit_all(0, 0), 0);
	k = counters();
	ck_assert_uint_eq(k.pgpgout, 100);
	ck_assert_uint_eq(k.commit_pages, 100);
	ck_assert_uint_eq(k.commit_written, 0);
	ck_assert_uint_eq(gauges().nr_file_pages, 100);
	ck_assert_uint_eq(gauges().nr_uncommitted, 0);

	ck_assert_uint_eq(cache_drop(mb.cache, &mf.as), 100);
	ck_assert_uint_eq(counters().drop_pagecache, 100);
	ck_assert_uint_eq(gauges().nr_shadow, 100);
	mf.f.ra_mode = 1;
	for (u64 i = 0; i < 100; i++)
		ck_assert_uint_eq(read_page(i), i ? 1 : 2);
	for (u64 i = 0; i < 100; i++)
		(void)read_page(i);
	k = counters();
	ck_assert_uint_eq(k.pgpgin, 100);
	ck_assert_uint_eq(k.cache_miss, 100);
	ck_assert_uint_eq(k.cache_hit, 100);
	ck_assert_uint_eq(k.workingset_refault_file, 100);
	ck_assert_uint_eq(k.pgalloc - k.pgfree, 100);
}
END_TEST

START_TEST(swapping_out_and_in_is_counted)
{
	struct cache_counters k;

	write_all(200, 1);
	k = counters();
	/* Each page is written once; what has no frame is swapped. */
	ck_assert_uint_eq(k.pgpgout, gauges().nr_slots);
	ck_assert_uint_eq(k.pswpout, gauges().nr_swapped);
	ck_assert_uint_eq(gauges().nr_swapped + gauges().nr_anon_pages, 200);
	for (u64 i = 0; i < 200; i++)
		ck_assert_uint_eq(read_page(i), 1);
	k = counters();
	ck_assert_uint_eq(k.pswpin, mb.pages[MEM_READ]);
	ck_assert_uint_ge(k.pswpin, 200 - gauges().nr_frames);
	ck_assert_uint_eq(k.pgpgin, 0);

	/* Committing swapped pages writes none of them again. */
	ck_assert_int_eq(commit_prewrite(mb.cache, &mf.as),
			 (long)(200 - mb.pages[MEM_WRITE]));
	ck_assert_int_eq(commit_all(0, 0), 0);
	ck_assert_uint_eq(mb.pages[MEM_WRITE], 200);
}
END_TEST

START_TEST(sequential_reads_are_read_ahead_and_random_ones_are_not)
{
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	for (u64 i = 0; i < 256; i++)
		(void)read_page(i);
	ck_assert_uint_lt(mb.calls[MEM_READ_PAGES], 24);
	ck_assert_uint_ge(counters().readahead_hit, 200);

	(void)cache_drop(mb.cache, NULL);
	mb.pages[MEM_READ_PAGES] = 0;
	for (u64 i = 500; i > 300; i -= 10)
		(void)read_page(i);
	ck_assert_uint_eq(mb.pages[MEM_READ_PAGES], 20);
}
END_TEST

START_TEST(the_next_window_is_read_by_threads_and_forgotten_when_dropped)
{
	u64 misses;

	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	ck_assert_int_eq(cache_start(mb.cache), 0);
	/* Four pages by the reader himself; at the second of them it is time
	 * for sixteen from there on. */
	(void)read_page(0);
	(void)read_page(1);
	misses = counters().cache_miss;
	while (counters().readahead_pages < 17)
		(void)sched_yield();
	ck_assert_uint_eq(counters().pgpgin, 18);
	for (u64 i = 2; i < 18; i++)
		ck_assert_uint_eq(read_page(i), 1);
	ck_assert_uint_eq(counters().cache_miss, misses);

	/* By now more is on its way: dropping waits for it. */
	(void)cache_drop(mb.cache, &mf.as);
	ck_assert_uint_eq(gauges().nr_file_pages, 0);
	for (u64 i = 0; i < FILE_PAGES; i++)
		ck_assert_uint_eq(read_page(i), 1);
	cache_stop(mb.cache);
}
END_TEST

START_TEST(a_page_that_comes_back_soon_is_activated)
{
	write_all(FILE_PAGES, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	(void)cache_drop(mb.cache, NULL);
	mf.f.ra_mode = 1;
	/* Used twice: these become active when the rest streams by. */
	for (u64 n = 0; n < 3; n++)
		for (u64 i = 0; i < 20; i++)
			(void)read_page(i);
	for (u64 i = 100; i < 400; i++)
		(void)read_page(i);
	ck_assert_uint_ge(counters().pgactivate, 20);
	for (u64 i = 0; i < 20; i++)
		ck_assert_int_eq(state_of(i), 'C');
	/* And what was evicted a moment ago is active when it returns. */
	for (u64 i = 370; i > 340; i--)
		if (state_of(i) == '.')
			(void)read_page(i);
	ck_assert_uint_gt(counters().workingset_activate_file, 0);
}
END_TEST

START_TEST(pinned_files_keep_their_pages)
{
	write_all(20, 1);
	ck_assert_int_eq(commit_all(0, 0), 0);
	address_space_pin(&mf.as, true);
	ck_assert_uint_eq(gauges().nr_unevictable, 20);
	ck_assert_uint_eq(cache_drop(mb.cache, NULL), 0);
	address_space_pin(&mf.as, false);
	ck_assert_uint_eq(gauges().nr_unevictable, 0);
	ck_assert_uint_eq(cache_drop(mb.cache, NULL), 20);
}
END_TEST

/* ---- writeback ---- */

START_TEST(the_flusher_writes_above_the_background_threshold_and_what_is_old)
{
	u64 background = 2048 / 100 * 10;

	write_all(FILE_PAGES, 1);
	ck_assert_int_gt(cache_flush_step(mb.cache), 0);
	ck_assert_uint_le(gauges().nr_dirty, background + 16);
	write_all(20, 2);
	ck_assert_int_eq(cache_flush_step(mb.cache), 0);
	mb.now += 31 * NSEC_PER_SEC;
	ck_assert_int_gt(cache_flush_step(mb.cache), 0);
	ck_assert_uint_eq(gauges().nr_dirty, 0);
	ck_assert_uint_eq(counters().nr_flusher_written, counters().nr_written);
}
END_TEST

START_TEST(what_the_flusher_could_not_write_is_not_counted)
{
	write_all(FILE_PAGES, 1);
	mem_fail(&mb, 1u << MEM_WRITE, 1, -EIO, true);
	ck_assert_int_eq(cache_flush_step(mb.cache), -EIO);
	ck_assert_uint_eq(counters().nr_flusher_written, 0);
	ck_assert_uint_eq(counters().nr_written, 0);
	ck_assert_uint_eq(gauges().nr_dirty, FILE_PAGES);
	mem_fail(&mb, 0, 0, 0, false);
	ck_assert_int_gt(cache_flush_step(mb.cache), 0);
	ck_assert_uint_eq(counters().nr_flusher_written, counters().nr_written);
}
END_TEST

START_TEST(writers_are_told_to_pause_in_proportion)
{
	u64 last = 0;

	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_dirty_bytes, 400 * PAGE_SIZE), 0);
	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_dirty_background_bytes,
					100 * PAGE_SIZE),
			 0);
	write_all(250, 1);
	ck_assert_uint_eq(cache_balance_dirty(&mf.as, 1), 0);
	ck_assert_uint_eq(counters().throttled, 0);
	for (u64 i = 260; i < 400; i += 10) {
		u64 pause;

		for (u64 k = 0; k < 10; k++)
			write_page(i - 10 + k, 1);
		pause = cache_balance_dirty(&mf.as, 256);
		ck_assert_uint_ge(pause, last);
		ck_assert_uint_le(pause, 200 * NSEC_PER_MSEC);
		last = pause;
	}
	write_all(400, 1);
	ck_assert_uint_eq(cache_balance_dirty(&mf.as, 1), 200 * NSEC_PER_MSEC);
	ck_assert_uint_gt(counters().throttled, 0);
	ck_assert_uint_gt(counters().throttled_ms, 0);
}
END_TEST

/* ---- errors of files ---- */

START_TEST(an_error_is_told_once_to_every_open_file)
{
	struct file a, b, late;

	file_init(&a, &mf.as);
	file_init(&b, &mf.as);
	mapping_set_error(&mf.as, -EIO);
	file_init(&late, &mf.as); /* nobody has seen it yet */
	ck_assert_int_eq(file_check_and_advance_wb_err(&a), -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&a), 0);
	ck_assert_int_eq(file_check_and_advance_wb_err(&b), -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&late), -EIO);
	file_init(&late, &mf.as);
	ck_assert_int_eq(file_check_and_advance_wb_err(&late), 0);
	mapping_set_error(&mf.as, -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&a), -EIO);
	ck_assert_int_eq(file_check_and_advance_wb_err(&late), -EIO);
}
END_TEST

static void add_small(Suite *s)
{
	TCase *tc = tcase_create("64 pages");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, reads_and_writes_go_on_when_every_frame_is_pinned);
	tcase_add_test(tc, a_frozen_page_is_overwritten_without_a_frame);
	tcase_add_loop_test(
		tc, a_late_write_that_is_lost_fails_commits_until_written_again,
		0, 2);
	tcase_add_test(tc, swap_size_bounds_the_slots_and_asks_for_a_commit);
	tcase_add_test(
		tc,
		reclaim_that_finds_nothing_does_not_look_at_everything_again);
	tcase_add_test(tc,
		       a_commit_works_without_any_swap_and_detaches_pages_too);
	tcase_add_test(tc, a_commit_that_finds_no_space_says_so);
	tcase_add_test(tc, swapping_out_and_in_is_counted);
	tcase_add_test(tc, a_page_that_comes_back_soon_is_activated);
	suite_add_tcase(s, tc);
}

static void add_tight(Suite *s)
{
	TCase *tc = tcase_create("no more than 64 pages");

	tcase_add_checked_fixture(tc, setup_tight, teardown);
	tcase_add_test(
		tc, a_budget_that_grows_while_frames_are_trimmed_has_no_others);
	suite_add_tcase(s, tc);
}

static void add_large(Suite *s)
{
	TCase *tc = tcase_create("2048 pages");

	tcase_add_checked_fixture(tc, setup_large, teardown);
	tcase_add_test(tc, a_page_written_after_the_cut_is_not_in_the_commit);
	tcase_add_test(tc, a_failed_commit_leaves_everything_uncommitted);
	tcase_add_test(tc, frozen_pages_that_are_truncated_are_still_committed);
	tcase_add_test(tc,
		       a_page_written_over_a_hole_survives_commit_and_eviction);
	tcase_add_loop_test(
		tc, a_cut_amidst_a_truncate_commits_none_of_the_dead_pages, 0,
		2);
	tcase_add_loop_test(
		tc, a_cut_between_preparing_and_writing_gets_the_old_page, 0,
		2);
	tcase_add_test(tc,
		       inline_pages_written_again_are_committed_as_they_were);
	tcase_add_test(tc,
		       pages_kept_inline_in_vain_are_committed_as_they_were);
	tcase_add_test(
		tc,
		slots_of_a_failed_flush_are_moved_before_any_commit_has_them);
	tcase_add_test(tc, a_full_volume_takes_what_needs_no_more_space);
	tcase_add_test(tc, an_unreadable_page_is_an_error_and_not_zeros);
	tcase_add_test(tc, neighbours_that_cannot_be_read_are_told_of_at_once);
	tcase_add_test(
		tc,
		lowering_cache_size_gives_frames_back_and_raising_takes_more);
	tcase_add_test(tc,
		       charged_bookkeeping_takes_frames_and_asks_for_a_commit);
	tcase_add_test(tc, counters_say_what_was_done);
	tcase_add_test(tc,
		       sequential_reads_are_read_ahead_and_random_ones_are_not);
	tcase_add_test(
		tc,
		the_next_window_is_read_by_threads_and_forgotten_when_dropped);
	tcase_add_test(tc, pinned_files_keep_their_pages);
	tcase_add_test(
		tc,
		the_flusher_writes_above_the_background_threshold_and_what_is_old);
	tcase_add_test(tc, what_the_flusher_could_not_write_is_not_counted);
	tcase_add_test(tc, writers_are_told_to_pause_in_proportion);
	tcase_add_test(tc, an_error_is_told_once_to_every_open_file);
	tcase_add_test(tc, random_reads_of_a_sparse_file_hold_no_writer_back);
	tcase_add_test(tc, bookkeeping_that_grows_gets_the_memory_of_frames);
	tcase_add_test(tc, holes_are_found_behind_any_number_of_dirty_pages);
	tcase_add_test(tc, a_read_behind_a_cut_within_its_page_is_empty);
	suite_add_tcase(s, tc);
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("cache", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, any_failing_call_loses_nothing, 0, MEM_NR_OPS);
	tcase_add_test(tc, a_read_that_finds_no_memory_goes_past_the_cache);
	tcase_add_test(tc, a_change_that_finds_no_memory_loses_nothing);
	tcase_add_loop_test(tc, a_commit_that_finds_no_memory_loses_nothing, 0,
			    2);
	tcase_add_loop_test(tc, any_failing_call_loses_nothing_with_a_swap_area,
			    0, MEM_NR_OPS);
	tcase_add_test(tc, copying_a_swap_area_without_memory_loses_nothing);
	add_small(s);
	add_tight(s);
	add_large(s);
	return s;
}

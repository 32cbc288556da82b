/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copies.h"
#include "test.h"

static struct copies copies;
static struct copies_batch batch;
static struct rng rng;

static void setup(void)
{
	copies_init(&copies);
	rng_init(&rng, 1);
}

static void teardown(void)
{
	copies_check(&copies);
	copies_done(&copies);
	ck_assert_uint_eq(copies.nr_pages, 0);
	ck_assert_uint_eq(copies.nr_chunks, 0);
}

static void add(u64 ino, u64 pgoff, u64 nr, u32 tid)
{
	expect(copies_add(&copies, ino, pgoff, nr, tid) == 0);
	copies_check(&copies);
}

START_TEST(a_page_handed_out_twice_counts_once)
{
	add(1, 10, 5, 0);
	add(1, 12, 5, 0);
	ck_assert_uint_eq(copies.nr_pages, 7);
	add(2, 12, 5, 0);
	ck_assert_uint_eq(copies.nr_pages, 12);
}
END_TEST

START_TEST(a_range_over_several_chunks_is_noted_in_each)
{
	add(1, COPIES_CHUNK - 1, 2 + 2 * (u64)COPIES_CHUNK, 0);
	ck_assert_uint_eq(copies.nr_chunks, 4);
	ck_assert_uint_eq(copies.nr_pages, 2 + 2 * COPIES_CHUNK);
}
END_TEST

START_TEST(the_least_recently_handed_out_go_first_with_others_of_the_file)
{
	add(1, 0, 1, 0);
	add(2, 0, 1, 0);
	add(1, 5 * COPIES_CHUNK, 1, 0);
	add(1, 3 * COPIES_CHUNK, 1, 0);
	add(1, 0, 1, 0); /* used again: the youngest now */

	ck_assert(copies_take(&copies, 0, 1, &batch));
	ck_assert_uint_eq(batch.ino, 2);
	ck_assert_uint_eq(batch.nr_chunks, 1);
	ck_assert(copies_take(&copies, 0, 2, &batch));
	ck_assert_uint_eq(batch.ino, 1);
	ck_assert_uint_eq(batch.nr_pages, 2);
	ck_assert_uint_eq(batch.nr_chunks, 2);
	ck_assert_uint_eq(batch.chunks[0].pgoff, 3 * COPIES_CHUNK);
	ck_assert_uint_eq(batch.chunks[1].pgoff, 5 * COPIES_CHUNK);
	ck_assert(copies_take(&copies, 0, UINT64_MAX, &batch));
	ck_assert_uint_eq(batch.chunks[0].pgoff, 0);
	ck_assert(!copies_take(&copies, 0, 1, &batch));
}
END_TEST

START_TEST(one_file_can_be_taken_alone)
{
	add(1, 0, 1, 0);
	add(2, 0, 3, 0);
	ck_assert(!copies_take(&copies, 3, 100, &batch));
	ck_assert(copies_take(&copies, 2, 100, &batch));
	ck_assert_uint_eq(batch.nr_pages, 3);
	ck_assert_uint_eq(copies.nr_pages, 1);
}
END_TEST

START_TEST(a_batch_knows_the_last_threads_of_each_chunk_once)
{
	for (u32 tid = 1; tid <= COPIES_TIDS + 2; tid++)
		add(1, 0, 1, tid);
	add(1, COPIES_CHUNK, 1, COPIES_TIDS + 2);
	add(1, COPIES_CHUNK, 1, 0);
	ck_assert(copies_take(&copies, 0, 100, &batch));
	ck_assert_uint_eq(batch.nr_tids, COPIES_TIDS);
	for (u32 i = 0; i < batch.nr_tids; i++)
		ck_assert_uint_gt(batch.tids[i], 2);
}
END_TEST

/* Which pages stayed is not known, so that those handed out are others. */
START_TEST(what_stayed_is_counted_until_it_is_taken_again)
{
	ck_assert_int_eq(copies_add_left(&copies, 1, 300, 7), 0);
	copies_check(&copies);
	ck_assert_uint_eq(copies.nr_pages, 7);
	add(1, 256, 3, 0);
	ck_assert_uint_eq(copies.nr_pages, 10);
	add(1, 256, COPIES_CHUNK, 0);
	ck_assert_uint_eq(copies.nr_pages, COPIES_CHUNK);
	ck_assert(copies_take(&copies, 0, 1, &batch));
	ck_assert_uint_eq(batch.nr_pages, COPIES_CHUNK);
	ck_assert_uint_eq(copies.nr_pages, 0);
}
END_TEST

START_TEST(what_stayed_is_not_fresh_until_it_is_handed_out_again)
{
	add(1, 0, 5, 0);
	add(1, 3, 4, 0);
	ck_assert_uint_eq(copies.nr_fresh, 7);
	ck_assert(copies_take(&copies, 0, 1, &batch));
	ck_assert_uint_eq(batch.nr_fresh, 7);
	ck_assert_uint_eq(copies.nr_fresh, 0);

	ck_assert_int_eq(copies_add_left(&copies, 1, 0, 7), 0);
	copies_check(&copies);
	ck_assert_uint_eq(copies.nr_fresh, 0);
	add(1, 0, 2, 0);
	ck_assert_uint_eq(copies.nr_fresh, 2);
}
END_TEST

START_TEST(a_chunk_that_is_waited_for_goes_last)
{
	add(1, 0, 1, 0);
	add(2, 0, 1, 0);
	copies_touch(&copies, 1, COPIES_CHUNK - 1);
	copies_touch(&copies, 1, COPIES_CHUNK); /* is not there */
	copies_check(&copies);
	ck_assert(copies_take(&copies, 0, 1, &batch));
	ck_assert_uint_eq(batch.ino, 2);
	ck_assert(copies_take(&copies, 0, 1, &batch));
	ck_assert_uint_eq(batch.ino, 1);
}
END_TEST

START_TEST(a_batch_is_bounded)
{
	for (u64 i = 0; i < 2 * COPIES_BATCH_CHUNKS + 3; i++)
		ck_assert_int_eq(
			copies_add(&copies, 1, i * COPIES_CHUNK, 1, (u32)i + 1),
			0);
	ck_assert(copies_take(&copies, 0, UINT64_MAX, &batch));
	ck_assert_uint_eq(batch.nr_chunks, COPIES_BATCH_CHUNKS);
	ck_assert_uint_eq(batch.nr_tids, COPIES_BATCH_TIDS);
	for (u32 i = 1; i < batch.nr_chunks; i++)
		ck_assert_uint_lt(batch.chunks[i - 1].pgoff,
				  batch.chunks[i].pgoff);
	ck_assert_uint_eq(copies.nr_chunks, COPIES_BATCH_CHUNKS + 3);
}
END_TEST

/* Against a flag for every page. */
#define FILES 3
#define PAGES (8 * COPIES_CHUNK)

static bool model[FILES][PAGES];

static u64 model_pages(void)
{
	u64 nr = 0;

	for (u64 f = 0; f < FILES; f++) {
		for (u64 i = 0; i < PAGES; i++)
			nr += model[f][i];
	}
	return nr;
}

static void random_add(void)
{
	u64 f = rng_below(&rng, FILES);
	u64 first = rng_below(&rng, PAGES);
	u64 nr = rng_range(&rng, 1, min((u64)400, PAGES - first));

	add(f + 1, first, nr, (u32)rng_below(&rng, 9));
	memset(&model[f][first], true, nr);
}

static void random_take(void)
{
	if (!copies_take(&copies, rng_below(&rng, FILES + 1),
			 rng_below(&rng, 600), &batch))
		return;
	for (u32 i = 0; i < batch.nr_chunks; i++)
		memset(&model[batch.ino - 1][batch.chunks[i].pgoff], false,
		       COPIES_CHUNK);
}

START_TEST(random_notes_agree_with_a_flag_for_every_page)
{
	memset(model, 0, sizeof(model));
	for (u64 i = test_rounds(3000); i; i--) {
		if (!rng_one_in(&rng, 3))
			random_add();
		else
			random_take();
		copies_check(&copies);
		expect_eq(copies.nr_pages, model_pages());
	}
}
END_TEST

START_TEST(without_memory_nothing_is_half_noted)
{
	for (u64 nth = 1; nth < 4; nth++) {
		int err;

		test_fail_malloc(nth);
		err = copies_add(&copies, nth, 0, 3 * COPIES_CHUNK, 1);
		ck_assert(test_malloc_failed());
		ck_assert_int_eq(err, -ENOMEM);
		copies_check(&copies);
	}
	ck_assert_uint_eq(copies.nr_chunks, 0 + 1 + 2);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("copies", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_page_handed_out_twice_counts_once);
	tcase_add_test(tc, a_range_over_several_chunks_is_noted_in_each);
	tcase_add_test(
		tc,
		the_least_recently_handed_out_go_first_with_others_of_the_file);
	tcase_add_test(tc, one_file_can_be_taken_alone);
	tcase_add_test(tc, a_batch_knows_the_last_threads_of_each_chunk_once);
	tcase_add_test(tc, what_stayed_is_counted_until_it_is_taken_again);
	tcase_add_test(tc,
		       what_stayed_is_not_fresh_until_it_is_handed_out_again);
	tcase_add_test(tc, a_chunk_that_is_waited_for_goes_last);
	tcase_add_test(tc, a_batch_is_bounded);
	tcase_add_test(tc, random_notes_agree_with_a_flag_for_every_page);
	tcase_add_test(tc, without_memory_nothing_is_half_noted);
	return suite;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "range_set.h"
#include "test.h"

/* The model: a byte for each index of a small world. */
#define WORLD 256

struct model {
	bool in[WORLD];
};

/* The range of @m that holds @at or comes behind it. */
static bool model_next(const struct model *m, u64 at, u64 *ret_start,
		       u64 *ret_last)
{
	u64 start = at;
	u64 last;

	while (start < WORLD && !m->in[start])
		start++;
	if (start == WORLD)
		return false;
	last = start;
	while (start > 0 && m->in[start - 1])
		start--;
	while (last + 1 < WORLD && m->in[last + 1])
		last++;
	*ret_start = start;
	*ret_last = last;
	return true;
}

static void check_model(const struct range_set *set, const struct model *m)
{
	u64 last = 0, want_last = 0, nr = 0;

	range_set_check(set);
	for (u64 at = 0; at < WORLD; at++) {
		nr += m->in[at];
		want_last = m->in[at] ? at : want_last;
	}
	expect_eq(set->nr_pages, nr);
	expect_eq(range_set_last(set, &last), nr > 0);
	expect_eq(last, want_last);
	for (u64 at = 0; at < WORLD; at++) {
		u64 want[2] = {};
		u64 got[2] = {};

		expect_eq(range_set_next(set, at, &got[0], &got[1]),
			  model_next(m, at, &want[0], &want[1]));
		expect_eq(got[0], want[0]);
		expect_eq(got[1], want[1]);
		expect_eq(range_set_find(set, at, &got[0], NULL), m->in[at]);
	}
}

static void model_fill(struct model *m, u64 start, u64 last, bool in)
{
	for (u64 at = start; at <= last; at++)
		m->in[at] = in;
}

/* Add or remove a random range, at first without memory for it. */
static void step_random(struct range_set *set, struct model *m, struct rng *rng)
{
	u64 start = rng_below(rng, WORLD);
	u64 last = min(start + rng_below(rng, 20), (u64)WORLD - 1);
	bool add = rng_one_in(rng, 2);
	bool failed;
	int err;

	test_fail_malloc(1);
	err = add ? range_set_add(set, start, last)
		  : range_set_remove(set, start, last);
	failed = test_malloc_failed();
	ck_assert_int_eq(err, failed ? -ENOMEM : 0);
	if (err) {
		check_model(set, m);
		err = add ? range_set_add(set, start, last)
			  : range_set_remove(set, start, last);
		ck_assert_int_eq(err, 0);
	}
	model_fill(m, start, last, add);
	check_model(set, m);
}

START_TEST(a_random_set_is_as_the_model)
{
	struct range_set set = {};
	struct model m = {};
	struct rng rng;

	rng_init(&rng, 1);
	for (u64 step = test_rounds(3000); step > 0; step--)
		step_random(&set, &m, &rng);
	range_set_clear(&set);
	ck_assert(range_set_empty(&set));
	range_set_check(&set);
}
END_TEST

START_TEST(merging_two_sets_is_their_union_and_needs_no_memory)
{
	static const struct model nothing;
	struct rng rng;

	rng_init(&rng, 2);
	for (u64 round = test_rounds(100); round > 0; round--) {
		struct range_set set[2] = {};
		struct model m[2] = {};
		bool failed;

		for (u64 i = rng_below(&rng, 60); i > 0; i--)
			step_random(&set[i % 2], &m[i % 2], &rng);
		for (u64 at = 0; at < WORLD; at++)
			m[1].in[at] |= m[0].in[at];
		test_fail_malloc(1);
		range_set_merge(&set[0], &set[1]);
		failed = test_malloc_failed();
		ck_assert(!failed);
		check_model(&set[1], &m[1]);
		check_model(&set[0], &nothing);
		range_set_clear(&set[1]);
	}
}
END_TEST

START_TEST(a_coarser_set_has_all_that_it_had_and_few_ranges)
{
	struct rng rng;

	rng_init(&rng, 3);
	for (u64 round = test_rounds(200); round > 0; round--) {
		u64 most = 1 + rng_below(&rng, 12), pages;
		struct range_set set = {}, before = {};
		struct model m = {};
		bool failed;

		for (u64 i = rng_below(&rng, 80); i > 0; i--)
			step_random(&set, &m, &rng);
		before = set;
		pages = set.nr_pages;
		test_fail_malloc(1);
		range_set_coarsen(&set, most);
		failed = test_malloc_failed();
		ck_assert(!failed);
		range_set_check(&set);
		ck_assert_uint_eq(set.nr, min(before.nr, most));
		ck_assert(set.nr < before.nr ? set.nr_pages > pages
					     : set.nr_pages == pages);
		for (u64 at = 0; at < WORLD; at++) {
			if (m.in[at])
				expect(range_set_find(&set, at, NULL, NULL));
		}
		range_set_clear(&set);
	}
}
END_TEST

START_TEST(short_gaps_are_filled_before_long_ones)
{
	struct range_set set = {};
	u64 last;

	for (u64 i = 0; i < 10; i++)
		ck_assert_int_eq(range_set_add(&set, 100 * i, 100 * i), 0);
	for (u64 i = 0; i < 10; i++)
		ck_assert_int_eq(range_set_add(&set, 500 + 2 * i, 500 + 2 * i),
				 0);
	ck_assert_uint_eq(set.nr, 19);
	range_set_coarsen(&set, 10);
	ck_assert_uint_eq(set.nr, 10);
	ck_assert(range_set_find(&set, 500, NULL, &last));
	ck_assert_uint_eq(last, 518);
	ck_assert_uint_eq(set.nr_pages, 9 + 19);

	ck_assert_int_eq(range_set_add(&set, UINT64_MAX, UINT64_MAX), 0);
	range_set_coarsen(&set, 1);
	ck_assert_uint_eq(set.nr, 1);
	range_set_check(&set);
	range_set_coarsen(&set, 1);
	range_set_clear(&set);
	range_set_coarsen(&set, 1);
	ck_assert(range_set_empty(&set));
}
END_TEST

START_TEST(ranges_that_touch_become_one)
{
	struct range_set set = {};
	u64 start;
	u64 last;

	ck_assert_int_eq(range_set_add(&set, 10, 19), 0);
	ck_assert_int_eq(range_set_add(&set, 30, 39), 0);
	ck_assert_int_eq(range_set_add(&set, 20, 29), 0);
	ck_assert_uint_eq(set.nr, 1);
	ck_assert(range_set_find(&set, 25, &start, &last));
	ck_assert_uint_eq(start, 10);
	ck_assert_uint_eq(last, 39);
	range_set_clear(&set);
}
END_TEST

START_TEST(the_ends_of_the_index_space_are_ends)
{
	struct range_set set = {};

	ck_assert_int_eq(range_set_add(&set, 5, UINT64_MAX), 0);
	ck_assert_int_eq(range_set_add(&set, 0, 0), 0);
	range_set_check(&set);
	ck_assert_uint_eq(set.nr, 2);
	ck_assert_int_eq(range_set_add(&set, 7, UINT64_MAX), 0);
	ck_assert_int_eq(range_set_remove(&set, 100, UINT64_MAX), 0);
	ck_assert(range_set_find(&set, 99, NULL, NULL));
	ck_assert(!range_set_next(&set, 100, NULL, NULL));
	ck_assert_int_eq(range_set_remove(&set, 0, UINT64_MAX), 0);
	ck_assert(range_set_empty(&set));
	range_set_check(&set);
}
END_TEST

START_TEST(moving_a_set_takes_all_of_it)
{
	struct range_set from = {};
	struct range_set into = {};

	for (u64 i = 0; i < 100; i++)
		ck_assert_int_eq(range_set_add(&from, 3 * i, 3 * i + 1), 0);
	range_set_move(&from, &into);
	range_set_check(&from);
	range_set_check(&into);
	ck_assert(range_set_empty(&from));
	ck_assert_uint_eq(into.nr, 100);
	range_set_clear(&into);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("range_set", &tc);

	tcase_add_test(tc, a_random_set_is_as_the_model);
	tcase_add_test(tc, merging_two_sets_is_their_union_and_needs_no_memory);
	tcase_add_test(tc, a_coarser_set_has_all_that_it_had_and_few_ranges);
	tcase_add_test(tc, short_gaps_are_filled_before_long_ones);
	tcase_add_test(tc, ranges_that_touch_become_one);
	tcase_add_test(tc, the_ends_of_the_index_space_are_ends);
	tcase_add_test(tc, moving_a_set_takes_all_of_it);
	return suite;
}

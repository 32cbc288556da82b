/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "interval_tree.h"
#include "test.h"

#define MAX_ITEMS 400

struct item {
	struct interval_node node;
	bool linked;
	u64 found; /* the number of the last query that found it */
};

static struct item items[MAX_ITEMS];
static u64 query;

static bool overlaps(const struct interval_node *i, u64 start, u64 last)
{
	return i->start <= last && i->last >= start;
}

/* A query finds each interval that overlaps, once, ascending, and no other. */
static void check_query(const struct interval_root *root, u32 nr, u64 start,
			u64 last)
{
	struct interval_node *i;
	u64 prev = 0;

	query++;
	interval_tree_for_each (i, root, start, last) {
		struct item *item = container_of(i, struct item, node);

		expect(item->linked);
		expect(item->found != query);
		expect(i->start >= prev);
		prev = i->start;
		item->found = query;
	}
	for (u32 k = 0; k < nr; k++) {
		bool should = items[k].linked &&
			      overlaps(&items[k].node, start, last);

		expect_eq(items[k].found == query, should);
	}
}

/* With intervals of length up to @length in a world of @size. */
static void step_random(struct interval_root *root, struct rng *rng, u32 nr,
			u64 size, u64 length)
{
	struct item *item = &items[rng_below(rng, nr)];

	if (item->linked) {
		interval_tree_erase(root, &item->node);
	} else {
		item->node.start = rng_below(rng, size);
		item->node.last = item->node.start + rng_below(rng, length);
		interval_tree_insert(root, &item->node);
	}
	item->linked = !item->linked;
}

static void run_random(u64 stream, u32 nr, u64 size, u64 length)
{
	struct interval_root root = INTERVAL_ROOT;
	struct rng rng;

	rng_init(&rng, stream);
	for (u64 step = test_rounds(4000); step > 0; step--) {
		u64 start = rng_below(&rng, size);

		step_random(&root, &rng, nr, size, length);
		interval_tree_check(&root);
		check_query(&root, nr, start, start);
		check_query(&root, nr, start, start + rng_below(&rng, size));
		check_query(&root, nr, start, start + rng_below(&rng, length));
	}
	check_query(&root, nr, 0, UINT64_MAX);
	for (u32 i = 0; i < nr; i++)
		items[i].linked = false;
}

START_TEST(a_random_tree_of_few_intervals_is_as_the_model)
{
	run_random(1, 8, 10, 5);
}
END_TEST

START_TEST(a_random_tree_of_short_intervals_is_as_the_model)
{
	run_random(2, MAX_ITEMS, 10000, 100);
}
END_TEST

START_TEST(a_random_tree_of_long_intervals_is_as_the_model)
{
	run_random(3, MAX_ITEMS, 1000, 1000);
}
END_TEST

START_TEST(an_empty_tree_answers_nothing)
{
	struct interval_root root = INTERVAL_ROOT;

	interval_tree_check(&root);
	ck_assert_ptr_null(interval_tree_iter_first(&root, 0, UINT64_MAX));
}
END_TEST

START_TEST(both_ends_belong_to_an_interval)
{
	struct interval_root root = INTERVAL_ROOT;
	struct interval_node i = {.start = 10, .last = 20};

	interval_tree_insert(&root, &i);
	ck_assert_ptr_null(interval_tree_iter_first(&root, 0, 9));
	ck_assert_ptr_eq(interval_tree_iter_first(&root, 0, 10), &i);
	ck_assert_ptr_eq(interval_tree_iter_first(&root, 20, 30), &i);
	ck_assert_ptr_null(interval_tree_iter_first(&root, 21, UINT64_MAX));
	ck_assert_ptr_null(interval_tree_iter_next(&i, 0, UINT64_MAX));
	interval_tree_erase(&root, &i);
	ck_assert_ptr_null(interval_tree_iter_first(&root, 0, UINT64_MAX));
}
END_TEST

/* A query looks at few nodes of many: those it does not visit may be wrong. */
START_TEST(a_query_leaves_out_what_ends_before_it)
{
	struct interval_root root = INTERVAL_ROOT;
	struct interval_node *found;

	for (u32 i = 0; i < MAX_ITEMS; i++) {
		items[i].node.start = i;
		items[i].node.last = i;
		interval_tree_insert(&root, &items[i].node);
	}
	for (u32 i = 0; i < MAX_ITEMS / 4; i++)
		items[i].node.last = UINT64_MAX;
	found = interval_tree_iter_first(&root, MAX_ITEMS - 1, UINT64_MAX);
	ck_assert_ptr_eq(found, &items[MAX_ITEMS - 1].node);
}
END_TEST

static void check_stale(void *arg)
{
	struct interval_root root = INTERVAL_ROOT;
	struct interval_node a = {.start = 1, .last = 2};
	struct interval_node b = {.start = 3, .last = 4};

	interval_tree_insert(&root, &a);
	interval_tree_insert(&root, &b);
	b.last = 5;
	interval_tree_check(&root);
}

START_TEST(the_checker_finds_what_is_wrong)
{
	test_aborts(check_stale, NULL, "does not hold: to_interval(rb)->subt");
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("interval_tree", &tc);

	tcase_add_test(tc, an_empty_tree_answers_nothing);
	tcase_add_test(tc, both_ends_belong_to_an_interval);
	tcase_add_test(tc, a_random_tree_of_few_intervals_is_as_the_model);
	tcase_add_test(tc, a_random_tree_of_short_intervals_is_as_the_model);
	tcase_add_test(tc, a_random_tree_of_long_intervals_is_as_the_model);
	tcase_add_test(tc, a_query_leaves_out_what_ends_before_it);
	tcase_add_test(tc, the_checker_finds_what_is_wrong);
	return suite;
}

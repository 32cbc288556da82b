/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "page_tree.h"
#include "test.h"

/* ---- the model: an unordered array ---- */

#define MAX_MODEL 1024

struct model_entry {
	u64 index;
	u64 entry;
	u32 tags;
};

struct model {
	struct model_entry e[MAX_MODEL];
	u32 nr;
};

static struct model_entry *model_find(struct model *m, u64 index)
{
	for (u32 i = 0; i < m->nr; i++)
		if (m->e[i].index == index)
			return &m->e[i];
	return NULL;
}

/* The first at or behind @index that has @tag (PT_NR_TAGS: any). */
static struct model_entry *model_next(struct model *m, u64 index, unsigned tag)
{
	struct model_entry *found = NULL;

	for (u32 i = 0; i < m->nr; i++) {
		struct model_entry *e = &m->e[i];

		if (e->index < index || (found && e->index > found->index))
			continue;
		if (tag == PT_NR_TAGS || (e->tags >> tag & 1))
			found = e;
	}
	return found;
}

static u64 model_next_gap(struct model *m, u64 first, u64 last)
{
	while (first <= last && model_find(m, first))
		first++;
	return first;
}

static bool model_last(struct model *m, u64 *ret_index)
{
	*ret_index = 0;
	for (u32 i = 0; i < m->nr; i++)
		*ret_index = max(*ret_index, m->e[i].index);
	return m->nr > 0;
}

/* ---- comparing ---- */

static void check_entry(const struct page_tree *tree, struct model *m,
			u64 index)
{
	struct model_entry *e = model_find(m, index);

	expect_eq(page_tree_get(tree, index), e ? e->entry : 0);
	for (unsigned tag = 0; tag < PT_NR_TAGS; tag++)
		expect_eq(page_tree_tag_get(tree, index, tag),
			  e && (e->tags >> tag & 1));
}

static void check_gang(const struct page_tree *tree, struct model *m, u64 first,
		       u64 last, u32 max, unsigned tag)
{
	u64 index[MAX_MODEL];
	u64 entry[MAX_MODEL];
	struct model_entry *e;
	u32 nr;
	u32 i;

	if (tag == PT_NR_TAGS)
		nr = page_tree_gang(tree, first, last, index, entry, max);
	else
		nr = page_tree_gang_tag(tree, first, last, tag, index, entry,
					max);
	expect(nr <= max);
	for (i = 0; i < nr; i++) {
		e = model_next(m, first, tag);
		expect(e);
		expect_eq(index[i], e->index);
		expect_eq(entry[i], e->entry);
		expect(index[i] <= last);
		first = index[i] + 1;
	}
	e = model_next(m, first, tag);
	expect(nr == max || !e || e->index > last);
}

static void check_whole(const struct page_tree *tree, struct model *m)
{
	u64 want;
	u64 got;

	page_tree_check(tree);
	expect_eq(page_tree_empty(tree), m->nr == 0);
	expect_eq(page_tree_last(tree, &got), model_last(m, &want));
	if (m->nr > 0)
		expect_eq(got, want);
	for (unsigned tag = 0; tag < PT_NR_TAGS; tag++)
		expect_eq(page_tree_tagged(tree, tag),
			  model_next(m, 0, tag) != NULL);
	for (unsigned tag = 0; tag <= PT_NR_TAGS; tag++)
		check_gang(tree, m, 0, PGOFF_MAX, MAX_MODEL, tag);
}

/* ---- random operations ---- */

/* Indices cluster where nodes and levels begin and end. */
static u64 random_index(struct rng *rng, unsigned spread)
{
	u64 index = (u64)1 << rng_below(rng, spread);

	if (rng_one_in(rng, 3))
		index *= rng_below(rng, 64);
	if (rng_one_in(rng, 2))
		index += rng_below(rng, 70);
	else
		index -= min(index, rng_below(rng, 70));
	if (rng_one_in(rng, 100))
		index = PGOFF_MAX - rng_below(rng, 3);
	return min(index, PGOFF_MAX);
}

static void step_insert(struct page_tree *tree, struct model *m, u64 index,
			u64 entry)
{
	struct model_entry *e = model_find(m, index);

	if (e) {
		expect(page_tree_insert(tree, index, entry) == -EEXIST);
		expect_eq(page_tree_replace(tree, index, entry), e->entry);
		e->entry = entry;
		return;
	}
	expect_eq(page_tree_insert(tree, index, entry), 0);
	m->e[m->nr++] = (struct model_entry){index, entry, 0};
}

static void step_erase(struct page_tree *tree, struct model *m, u64 index)
{
	struct model_entry *e = model_find(m, index);

	expect_eq(page_tree_erase(tree, index), e ? e->entry : 0);
	if (e)
		*e = m->e[--m->nr];
}

/* Masks of tags to set and to clear, disjoint, each perhaps empty. */
static void step_tag(struct page_tree *tree, struct model *m, u64 index,
		     u32 set, u32 clear)
{
	struct model_entry *e = model_find(m, index);

	if (!e)
		return;
	page_tree_retag(tree, index, set, clear);
	e->tags = (e->tags | set) & ~clear;
}

static void check_random_range(const struct page_tree *tree, struct model *m,
			       struct rng *rng, unsigned spread)
{
	u64 first = random_index(rng, spread);
	u64 last = random_index(rng, spread);

	if (rng_one_in(rng, 4))
		last = min(first + rng_below(rng, 200), PGOFF_MAX);
	check_gang(tree, m, first, last, (u32)rng_below(rng, 100),
		   (unsigned)rng_below(rng, PT_NR_TAGS + 1));
	if (first <= last)
		expect_eq(page_tree_next_gap(tree, first, last),
			  model_next_gap(m, first, last));
}

/* An index that is used, mostly, so that tags and removals find something. */
static u64 pick_index(struct model *m, struct rng *rng, unsigned spread)
{
	if (m->nr > 0 && !rng_one_in(rng, 4))
		return m->e[rng_below(rng, m->nr)].index;
	return random_index(rng, spread);
}

static void step_random_tags(struct page_tree *tree, struct model *m,
			     struct rng *rng, u64 index)
{
	u32 set = (u32)rng_below(rng, 1u << PT_NR_TAGS);
	u32 clear = (u32)rng_below(rng, 1u << PT_NR_TAGS);

	step_tag(tree, m, index, set & ~clear, clear & ~set);
}

static void step_random(struct page_tree *tree, struct model *m,
			struct rng *rng, unsigned spread, u32 max)
{
	u64 what = rng_below(rng, 10);
	u64 index = what < 4 ? random_index(rng, spread)
			     : pick_index(m, rng, spread);

	if (what < 4 && m->nr < max)
		step_insert(tree, m, index, rng_next(rng) | 1);
	else if (what < 7)
		step_erase(tree, m, index);
	else
		step_random_tags(tree, m, rng, index);
	check_entry(tree, m, index);
}

static void run_random(u64 stream, unsigned spread, u32 max, u64 steps)
{
	static struct model m;
	struct page_tree tree;
	struct rng rng;

	rng_init(&rng, stream);
	page_tree_init(&tree);
	m.nr = 0;
	for (u64 step = test_rounds(steps); step > 0; step--) {
		step_random(&tree, &m, &rng, spread, max);
		check_whole(&tree, &m);
		check_random_range(&tree, &m, &rng, spread);
	}
	while (m.nr > 0) {
		step_erase(&tree, &m, m.e[rng_below(&rng, m.nr)].index);
		check_whole(&tree, &m);
	}
	ck_assert_uint_eq(tree.nr_nodes, 0);
}

START_TEST(a_random_dense_tree_is_as_the_model)
{
	run_random(1, 3, 200, 3000);
	run_random(2, 8, 400, 1000);
}
END_TEST

START_TEST(a_random_sparse_tree_is_as_the_model)
{
	run_random(3, 51, 12, 3000);
	run_random(4, 51, 100, 500);
}
END_TEST

START_TEST(gangs_of_a_full_file_are_as_the_model)
{
	static struct model m;
	struct page_tree tree;
	struct rng rng;

	rng_init(&rng, 6);
	page_tree_init(&tree);
	m.nr = 0;
	for (u64 index = 0; index < 400; index++) {
		step_insert(&tree, &m, index, rng_next(&rng) | 1);
		step_tag(&tree, &m, index, 1u << PT_DIRTY, 0);
	}
	for (u64 step = test_rounds(1000); step > 0; step--) {
		u64 first = rng_below(&rng, 400);

		check_gang(&tree, &m, first, first + rng_below(&rng, 300),
			   (u32)rng_below(&rng, 300),
			   rng_one_in(&rng, 2) ? PT_DIRTY : PT_NR_TAGS);
	}
	page_tree_destroy(&tree, NULL, NULL);
}
END_TEST

/* ---- single facts ---- */

START_TEST(an_entry_at_index_0_alone_takes_no_node)
{
	struct page_tree tree;
	u64 index = 1;
	u64 entry;

	page_tree_init(&tree);
	ck_assert_int_eq(page_tree_insert(&tree, 0, 7), 0);
	page_tree_tag_set(&tree, 0, PT_DIRTY);
	page_tree_check(&tree);
	ck_assert_uint_eq(tree.nr_nodes, 0);
	ck_assert_uint_eq(page_tree_get(&tree, 1), 0);
	ck_assert_uint_eq(page_tree_gang(&tree, 0, 5, &index, &entry, 2), 1);
	ck_assert_uint_eq(index, 0);
	ck_assert_uint_eq(entry, 7);
	ck_assert_uint_eq(page_tree_gang(&tree, 1, 5, &index, &entry, 2), 0);
	ck_assert_uint_eq(
		page_tree_gang_tag(&tree, 0, 5, PT_DIRTY, &index, &entry, 2),
		1);
	ck_assert_uint_eq(
		page_tree_gang_tag(&tree, 0, 5, PT_TOWRITE, &index, &entry, 2),
		0);
	ck_assert_uint_eq(page_tree_next_gap(&tree, 0, 5), 1);
	ck_assert_uint_eq(page_tree_next_gap(&tree, 0, 0), 1);
	ck_assert_uint_eq(page_tree_next_gap(&tree, 3, 5), 3);

	ck_assert_int_eq(page_tree_insert(&tree, 1, 8), 0);
	page_tree_check(&tree);
	ck_assert_uint_eq(tree.nr_nodes, 1);
	ck_assert(page_tree_tag_get(&tree, 0, PT_DIRTY));
	ck_assert(!page_tree_tag_get(&tree, 1, PT_DIRTY));

	ck_assert_uint_eq(page_tree_erase(&tree, 1), 8);
	page_tree_check(&tree);
	ck_assert_uint_eq(tree.nr_nodes, 0);
	ck_assert_uint_eq(page_tree_get(&tree, 0), 7);
	ck_assert(page_tree_tag_get(&tree, 0, PT_DIRTY));
	ck_assert_uint_eq(page_tree_erase(&tree, 0), 7);
	ck_assert(!page_tree_tagged(&tree, PT_DIRTY));
}
END_TEST

START_TEST(the_height_follows_the_last_index)
{
	struct page_tree tree;

	page_tree_init(&tree);
	ck_assert_int_eq(page_tree_insert(&tree, 0, 1), 0);
	for (u32 height = 1; height < 9; height++) {
		u64 last = ((u64)1 << (6 * height)) - 1;

		ck_assert_int_eq(page_tree_insert(&tree, last, 2), 0);
		page_tree_check(&tree);
		ck_assert_uint_eq(tree.height, height);
		ck_assert_int_eq(page_tree_insert(&tree, last + 1, 3), 0);
		page_tree_check(&tree);
		ck_assert_uint_eq(tree.height, height + 1);
		ck_assert_uint_eq(page_tree_erase(&tree, last + 1), 3);
		ck_assert_uint_eq(page_tree_erase(&tree, last), 2);
		page_tree_check(&tree);
		ck_assert_uint_eq(tree.height, 0);
	}
	page_tree_destroy(&tree, NULL, NULL);
}
END_TEST

START_TEST(the_greatest_index_can_be_used)
{
	u64 index[2];
	u64 entry[2];
	struct page_tree tree;

	page_tree_init(&tree);
	ck_assert_int_eq(page_tree_insert(&tree, PGOFF_MAX, UINT64_MAX), 0);
	page_tree_tag_set(&tree, PGOFF_MAX, PT_WRITEBACK);
	page_tree_check(&tree);
	ck_assert_uint_eq(page_tree_gang_tag(&tree, 0, PGOFF_MAX, PT_WRITEBACK,
					     index, entry, 2),
			  1);
	ck_assert_uint_eq(index[0], PGOFF_MAX);
	ck_assert_uint_eq(entry[0], UINT64_MAX);
	ck_assert_uint_eq(page_tree_next_gap(&tree, PGOFF_MAX, PGOFF_MAX),
			  PGOFF_MAX + 1);
	page_tree_destroy(&tree, NULL, NULL);
}
END_TEST

struct visits {
	u64 nr;
	u64 next_index;
};

static void visit(void *arg, u64 index, u64 entry)
{
	struct visits *v = arg;

	ck_assert_uint_ge(index, v->next_index);
	ck_assert_uint_eq(entry, index + 1);
	v->next_index = index + 1;
	v->nr++;
}

START_TEST(destroying_visits_every_entry_ascending)
{
	struct page_tree tree;

	page_tree_init(&tree);
	for (u64 nr = 0; nr < 300; nr++) {
		struct visits v = {};

		for (u64 i = 0; i < nr; i++) {
			u64 index = i * i * i;

			ck_assert_int_eq(
				page_tree_insert(&tree, index, index + 1), 0);
		}
		page_tree_destroy(&tree, visit, &v);
		ck_assert_uint_eq(v.nr, nr);
		ck_assert(page_tree_empty(&tree));
		ck_assert_uint_eq(tree.nr_nodes, 0);
	}
}
END_TEST

START_TEST(an_insertion_that_finds_no_memory_changes_nothing)
{
	static struct model m;
	struct page_tree tree;
	struct rng rng;

	rng_init(&rng, 5);
	page_tree_init(&tree);
	m.nr = 0;
	for (u64 step = test_rounds(500); step > 0; step--) {
		u64 index = random_index(&rng, 51);
		u64 nr_nodes = tree.nr_nodes;
		u64 nth = 0;
		bool failed;
		int err;

		if (model_find(&m, index))
			continue;
		do {
			test_fail_malloc(++nth);
			err = page_tree_insert(&tree, index, step);
			failed = test_malloc_failed();
			ck_assert_int_eq(failed, err != 0);
			if (err) {
				ck_assert_int_eq(err, -ENOMEM);
				ck_assert_uint_eq(tree.nr_nodes, nr_nodes);
				check_whole(&tree, &m);
			}
		} while (err);
		ck_assert_uint_eq(nth, tree.nr_nodes - nr_nodes + 1);
		m.e[m.nr++] = (struct model_entry){index, step, 0};
		step_random_tags(&tree, &m, &rng, index);
		check_whole(&tree, &m);
		if (m.nr > 20)
			step_erase(&tree, &m, m.e[rng_below(&rng, 20)].index);
	}
	page_tree_destroy(&tree, NULL, NULL);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("page_tree", &tc);

	tcase_add_test(tc, a_random_dense_tree_is_as_the_model);
	tcase_add_test(tc, a_random_sparse_tree_is_as_the_model);
	tcase_add_test(tc, gangs_of_a_full_file_are_as_the_model);
	tcase_add_test(tc, an_entry_at_index_0_alone_takes_no_node);
	tcase_add_test(tc, the_height_follows_the_last_index);
	tcase_add_test(tc, the_greatest_index_can_be_used);
	tcase_add_test(tc, destroying_visits_every_entry_ascending);
	tcase_add_test(tc, an_insertion_that_finds_no_memory_changes_nothing);
	return suite;
}

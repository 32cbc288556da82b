/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <string.h>

#include "list.h"
#include "test.h"

#define NR_ITEMS 40
#define NR_LISTS 3

struct item {
	struct list_head node;
	u32 id;
};

/* The model: each list is an array of items. */
struct model {
	struct item *at[NR_ITEMS];
	u32 nr;
};

struct world {
	struct item items[NR_ITEMS];
	struct list_head lists[NR_LISTS];
	struct model models[NR_LISTS];
};

static void model_insert(struct model *m, u32 at, struct item *item)
{
	memmove(&m->at[at + 1], &m->at[at], (m->nr - at) * sizeof(m->at[0]));
	m->at[at] = item;
	m->nr++;
}

/* Take @item out of the list it is in. Return: whether it was in one. */
static bool model_remove(struct world *w, struct item *item)
{
	for (u32 l = 0; l < NR_LISTS; l++) {
		struct model *m = &w->models[l];

		for (u32 i = 0; i < m->nr; i++) {
			if (m->at[i] != item)
				continue;
			m->nr--;
			memmove(&m->at[i], &m->at[i + 1],
				(m->nr - i) * sizeof(m->at[0]));
			return true;
		}
	}
	return false;
}

static void check_list(const struct list_head *head, const struct model *m)
{
	struct list_head *pos;
	struct item *item;
	u32 i = 0;

	expect_eq(list_check(head), m->nr);
	expect_eq(list_empty(head), m->nr == 0);
	list_for_each_entry (item, head, node) {
		expect(i < m->nr);
		expect(item == m->at[i++]);
	}
	expect_eq(i, m->nr);
	list_for_each (pos, head)
		i--;
	expect_eq(i, 0);
	if (m->nr == 0)
		return;
	expect(list_first_entry(head, struct item, node) == m->at[0]);
	expect(list_last_entry(head, struct item, node) == m->at[m->nr - 1]);
}

static void step_item(struct world *w, struct rng *rng)
{
	struct item *item = &w->items[rng_below(rng, NR_ITEMS)];
	u32 l = (u32)rng_below(rng, NR_LISTS);
	bool was_in = model_remove(w, item);

	expect_eq(list_empty(&item->node), !was_in);
	if (was_in && rng_one_in(rng, 3)) {
		list_del(&item->node);
		expect(list_empty(&item->node));
	} else if (was_in) {
		list_move_tail(&item->node, &w->lists[l]);
		model_insert(&w->models[l], w->models[l].nr, item);
	} else if (rng_one_in(rng, 2)) {
		list_add(&item->node, &w->lists[l]);
		model_insert(&w->models[l], 0, item);
	} else {
		list_add_tail(&item->node, &w->lists[l]);
		model_insert(&w->models[l], w->models[l].nr, item);
	}
}

static void step_splice(struct world *w, struct rng *rng)
{
	u32 from = (u32)rng_below(rng, NR_LISTS);
	u32 to = (from + 1) % NR_LISTS;
	struct model *m = &w->models[from];

	list_splice_tail(&w->lists[from], &w->lists[to]);
	for (u32 i = 0; i < m->nr; i++)
		model_insert(&w->models[to], w->models[to].nr, m->at[i]);
	m->nr = 0;
}

START_TEST(random_lists_are_as_the_model)
{
	static struct world w;
	struct rng rng;

	rng_init(&rng, 1);
	for (u32 i = 0; i < NR_ITEMS; i++)
		list_init(&w.items[i].node);
	for (u32 l = 0; l < NR_LISTS; l++)
		list_init(&w.lists[l]);
	for (u64 step = test_rounds(20000); step > 0; step--) {
		if (rng_one_in(&rng, 20))
			step_splice(&w, &rng);
		else
			step_item(&w, &rng);
		for (u32 l = 0; l < NR_LISTS; l++)
			check_list(&w.lists[l], &w.models[l]);
	}
}
END_TEST

START_TEST(a_safe_walk_may_unlink_what_it_stands_on)
{
	struct list_head head = LIST_HEAD_INIT(head);
	struct item items[10];
	struct item *item;
	struct item *tmp;
	u32 next = 1;

	for (u32 i = 0; i < ARRAY_SIZE(items); i++) {
		items[i].id = i;
		list_add_tail(&items[i].node, &head);
	}
	list_for_each_entry_safe (item, tmp, &head, node)
		if (item->id % 2 == 0)
			list_del(&item->node);
	list_for_each_entry (item, &head, node) {
		ck_assert_uint_eq(item->id, next);
		next += 2;
	}
	ck_assert_uint_eq(list_check(&head), 5);
}
END_TEST

static void check_broken(void *arg)
{
	struct list_head head = LIST_HEAD_INIT(head);
	struct list_head a;
	struct list_head b;

	list_add(&a, &head);
	list_add(&b, &head);
	a.prev = &head;
	(void)list_check(&head);
}

START_TEST(the_checker_finds_a_broken_link)
{
	test_aborts(check_broken, NULL, "does not hold: node->next->prev");
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("list", &tc);

	tcase_add_test(tc, random_lists_are_as_the_model);
	tcase_add_test(tc, a_safe_walk_may_unlink_what_it_stands_on);
	tcase_add_test(tc, the_checker_finds_a_broken_link);
	return suite;
}

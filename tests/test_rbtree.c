/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "rbtree.h"
#include "test.h"

#define MAX_ITEMS 512

/* Augmented with the size and the greatest weight of the subtree. */
struct item {
	struct rb_node rb;
	u64 key;
	u64 weight;
	u64 nr_below;
	u64 max_weight;
	bool linked;
};

static struct item *to_item(const struct rb_node *rb)
{
	return rb_entry(rb, struct item, rb);
}

static bool by_key(const struct rb_node *a, const struct rb_node *b)
{
	return to_item(a)->key < to_item(b)->key;
}

static void add_subtree(struct item *item, const struct rb_node *below)
{
	if (!below)
		return;
	item->nr_below += to_item(below)->nr_below;
	item->max_weight = max(item->max_weight, to_item(below)->max_weight);
}

static void update(struct rb_node *rb)
{
	struct item *item = to_item(rb);

	item->nr_below = 1;
	item->max_weight = item->weight;
	add_subtree(item, rb->left);
	add_subtree(item, rb->right);
}

static void insert(struct rb_root *root, struct item *item, rb_update_fn fn)
{
	struct rb_node **link = &root->node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = item->key < to_item(parent)->key ? &parent->left
							: &parent->right;
	}
	rb_insert(root, &item->rb, parent, link, fn);
	item->linked = true;
}

static void erase(struct rb_root *root, struct item *item, rb_update_fn fn)
{
	rb_erase(root, &item->rb, fn);
	item->linked = false;
}

/* What every node keeps of its subtree is what its subtree is. */
static u64 check_augmented(const struct rb_node *rb, u64 *ret_weight)
{
	u64 weight = 0;
	u64 nr = 1;

	if (!rb)
		return 0;
	*ret_weight = max(*ret_weight, to_item(rb)->weight);
	weight = to_item(rb)->weight;
	nr += check_augmented(rb->left, &weight);
	nr += check_augmented(rb->right, &weight);
	expect_eq(to_item(rb)->nr_below, nr);
	expect_eq(to_item(rb)->max_weight, weight);
	*ret_weight = max(*ret_weight, weight);
	return nr;
}

static int compare_keys(const void *a, const void *b)
{
	u64 x = *(const u64 *)a;
	u64 y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Forwards and backwards the tree is the sorted array of what is linked. */
static void check_model(const struct rb_root *root, const struct item *items,
			u32 nr_items)
{
	struct rb_node *rb;
	u64 keys[MAX_ITEMS];
	u32 nr = 0;
	u32 i = 0;

	for (u32 k = 0; k < nr_items; k++)
		if (items[k].linked)
			keys[nr++] = items[k].key;
	qsort(keys, nr, sizeof(keys[0]), compare_keys);

	rb_for_each (rb, root) {
		expect(i < nr);
		expect_eq(to_item(rb)->key, keys[i++]);
	}
	expect_eq(i, nr);
	for (rb = rb_last(root); rb; rb = rb_prev(rb))
		expect_eq(to_item(rb)->key, keys[--i]);
	expect_eq(i, 0);
}

static void check_all(const struct rb_root *root, const struct item *items,
		      u32 nr_items, rb_update_fn fn)
{
	u64 weight = 0;

	rb_check(root, by_key);
	check_model(root, items, nr_items);
	if (fn)
		(void)check_augmented(root->node, &weight);
}

/* Insert and erase at random, with @nr_items and keys that collide. */
static void run_random(u64 stream, u32 nr_items, u64 nr_keys, rb_update_fn fn)
{
	static struct item items[MAX_ITEMS];
	struct rb_root root = RB_ROOT;
	struct rng rng;

	rng_init(&rng, stream);
	for (u64 step = test_rounds(4000); step > 0; step--) {
		struct item *item = &items[rng_below(&rng, nr_items)];

		if (item->linked) {
			erase(&root, item, fn);
		} else {
			item->key = rng_below(&rng, nr_keys);
			item->weight = rng_next(&rng);
			insert(&root, item, fn);
		}
		check_all(&root, items, nr_items, fn);
	}
	for (u32 i = 0; i < nr_items; i++)
		items[i].linked = false;
}

START_TEST(an_empty_tree_has_no_first_and_no_last)
{
	struct rb_root root = RB_ROOT;

	rb_check(&root, by_key);
	ck_assert_ptr_null(rb_first(&root));
	ck_assert_ptr_null(rb_last(&root));
}
END_TEST

START_TEST(a_random_tree_keeps_its_invariants)
{
	run_random(1, 8, 4, NULL);
	run_random(2, 100, 1u << 30, NULL);
}
END_TEST

START_TEST(a_random_augmented_tree_keeps_its_sums)
{
	run_random(3, 8, 8, update);
	run_random(4, 300, 200, update);
}
END_TEST

/* Each order of insertion with each order of removal, up to 5 nodes: every
 * case of both fix-ups, in both mirrors. */
static void permute(u32 *order, u32 nr, u32 from, void (*fn)(const u32 *, u32))
{
	if (from == nr) {
		fn(order, nr);
		return;
	}
	for (u32 i = from; i < nr; i++) {
		u32 tmp = order[from];

		order[from] = order[i];
		order[i] = tmp;
		permute(order, nr, from + 1, fn);
		order[i] = order[from];
		order[from] = tmp;
	}
}

static struct item few[8];
static const u32 *insert_order;

static void erase_in_order(const u32 *order, u32 nr)
{
	struct rb_root root = RB_ROOT;

	for (u32 i = 0; i < nr; i++) {
		few[i].key = i;
		few[i].weight = (i * 5) % 7;
	}
	for (u32 i = 0; i < nr; i++) {
		insert(&root, &few[insert_order[i]], update);
		rb_check(&root, by_key);
	}
	for (u32 i = 0; i < nr; i++) {
		erase(&root, &few[order[i]], update);
		check_all(&root, few, nr, update);
	}
}

static void insert_in_order(const u32 *order, u32 nr)
{
	u32 erase_order[8] = {};

	for (u32 i = 0; i < nr; i++)
		erase_order[i] = i;
	insert_order = order;
	permute(erase_order, nr, 0, erase_in_order);
}

START_TEST(every_order_of_inserting_and_erasing_five_nodes_is_right)
{
	u32 order[5] = {0, 1, 2, 3, 4};

	for (u32 nr = 1; nr <= ARRAY_SIZE(order); nr++)
		permute(order, nr, 0, insert_in_order);
}
END_TEST

START_TEST(ascending_and_descending_insertion_stays_balanced)
{
	static struct item items[MAX_ITEMS];
	struct rb_root root = RB_ROOT;

	for (u32 i = 0; i < MAX_ITEMS; i++) {
		items[i].key = i % 2 ? i : MAX_ITEMS * 2 - i;
		insert(&root, &items[i], update);
		rb_check(&root, by_key);
	}
	for (u32 i = 0; i < MAX_ITEMS; i++) {
		erase(&root, to_item(rb_first(&root)), update);
		rb_check(&root, by_key);
	}
	ck_assert_ptr_null(root.node);
}
END_TEST

static void check_two_reds(void *arg)
{
	struct rb_node c = {};
	struct rb_node b = {};
	struct rb_node a = {};
	struct rb_root root = {&a};

	a.parent_color = 1;
	a.left = &b;
	b.parent_color = (uintptr_t)&a;
	b.left = &c;
	c.parent_color = (uintptr_t)&b;
	rb_check(&root, NULL);
}

static void check_order(void *arg)
{
	struct item b = {.key = 2};
	struct item a = {.key = 1};
	struct rb_root root = {&a.rb};

	a.rb.parent_color = 1;
	a.rb.left = &b.rb;
	b.rb.parent_color = (uintptr_t)&a.rb;
	rb_check(&root, by_key);
}

START_TEST(the_checker_finds_what_is_wrong)
{
	test_aborts(check_two_reds, NULL, "does not hold: !is_red(node)");
	test_aborts(check_order, NULL, "does not hold: !prev || !less");
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("rbtree", &tc);

	tcase_add_test(tc, an_empty_tree_has_no_first_and_no_last);
	tcase_add_test(tc, a_random_tree_keeps_its_invariants);
	tcase_add_test(tc, a_random_augmented_tree_keeps_its_sums);
	tcase_add_test(
		tc, every_order_of_inserting_and_erasing_five_nodes_is_right);
	tcase_add_test(tc, ascending_and_descending_insertion_stays_balanced);
	tcase_add_test(tc, the_checker_finds_what_is_wrong);
	return suite;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "interval_tree.h"

static struct interval_node *to_interval(const struct rb_node *rb)
{
	return rb ? rb_entry(rb, struct interval_node, rb) : NULL;
}

/* Whether anything at or below @rb ends at or behind @start. */
static bool reaches(const struct rb_node *rb, u64 start)
{
	return rb && to_interval(rb)->subtree_last >= start;
}

static u64 last_of_subtree(const struct rb_node *rb)
{
	const struct interval_node *node =
		rb_entry(rb, struct interval_node, rb);
	u64 last = node->last;

	if (rb->left)
		last = max(last, to_interval(rb->left)->subtree_last);
	if (rb->right)
		last = max(last, to_interval(rb->right)->subtree_last);
	return last;
}

static void update(struct rb_node *rb)
{
	rb_entry(rb, struct interval_node, rb)->subtree_last =
		last_of_subtree(rb);
}

void interval_tree_insert(struct interval_root *root,
			  struct interval_node *node)
{
	struct rb_node **link = &root->tree.node;
	struct rb_node *parent = NULL;

	assert(node->start <= node->last);
	while (*link) {
		parent = *link;
		link = node->start < to_interval(parent)->start
			       ? &parent->left
			       : &parent->right;
	}
	rb_insert(&root->tree, &node->rb, parent, link, update);
}

void interval_tree_erase(struct interval_root *root, struct interval_node *node)
{
	rb_erase(&root->tree, &node->rb, update);
}

/*
 * The first in the subtree of @rb that overlaps [start, last].
 *
 * If something on the left reaches to @start, the answer is there or nowhere:
 * that interval either overlaps, or starts behind @last, and so does then
 * everything to its right.
 */
static struct interval_node *first_below(const struct rb_node *rb, u64 start,
					 u64 last)
{
	while (rb) {
		struct interval_node *node = to_interval(rb);

		if (reaches(rb->left, start)) {
			rb = rb->left;
			continue;
		}
		if (node->start > last)
			break;
		if (node->last >= start)
			return node;
		rb = reaches(rb->right, start) ? rb->right : NULL;
	}
	return NULL;
}

struct interval_node *interval_tree_iter_first(const struct interval_root *root,
					       u64 start, u64 last)
{
	return first_below(root->tree.node, start, last);
}

struct interval_node *interval_tree_iter_next(const struct interval_node *node,
					      u64 start, u64 last)
{
	const struct rb_node *rb = &node->rb;

	for (;;) {
		const struct rb_node *from;

		if (reaches(rb->right, start))
			return first_below(rb->right, start, last);

		do {
			from = rb;
			rb = rb_parent(rb);
			if (!rb)
				return NULL;
		} while (from == rb->right);

		node = to_interval(rb);
		if (node->start > last)
			return NULL;
		if (node->last >= start)
			return to_interval(rb);
	}
}

static bool by_start(const struct rb_node *a, const struct rb_node *b)
{
	return to_interval(a)->start < to_interval(b)->start;
}

void interval_tree_check(const struct interval_root *root)
{
	struct rb_node *rb;

	rb_check(&root->tree, by_start);
	rb_for_each (rb, &root->tree) {
		verify(to_interval(rb)->start <= to_interval(rb)->last);
		verify(to_interval(rb)->subtree_last == last_of_subtree(rb));
	}
}

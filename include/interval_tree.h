/* SPDX-License-Identifier: MIT */
/*
 * Intrusive interval tree: which of these [start, last] overlap that one?
 *
 * A red-black tree by start, each node of which also knows the greatest last
 * of its subtree, so that a query leaves out subtrees that end before it.
 * Source: Cormen, Leiserson, Rivest, Stein, "Introduction to Algorithms",
 * section 14.3. Intervals may overlap, and be equal.
 *
 *	struct interval_node *i;
 *
 *	interval_tree_for_each (i, &root, start, last)
 *		use(i);
 *
 * finds k intervals in O(log n + k log n) at worst, O(log n + k) when they
 * stand together, ascending by start. The caller sets start and last before
 * inserting and changes neither while the node is in the tree. No locks.
 */
#ifndef FOLIO_INTERVAL_TREE_H
#define FOLIO_INTERVAL_TREE_H

#include "base.h"
#include "rbtree.h"

struct interval_node {
	struct rb_node rb;
	u64 start;
	u64 last;	  /* inclusive */
	u64 subtree_last; /* the tree's own */
};

struct interval_root {
	struct rb_root tree;
};

#define INTERVAL_ROOT          \
	(struct interval_root) \
	{                      \
		RB_ROOT        \
	}

void interval_tree_insert(struct interval_root *root,
			  struct interval_node *node);
void interval_tree_erase(struct interval_root *root,
			 struct interval_node *node);

/* The first interval that overlaps [start, last], or NULL. */
struct interval_node *interval_tree_iter_first(const struct interval_root *root,
					       u64 start, u64 last);

/* The next one behind @node that does. */
struct interval_node *interval_tree_iter_next(const struct interval_node *node,
					      u64 start, u64 last);

#define interval_tree_for_each(pos, root, start, last)               \
	for (pos = interval_tree_iter_first(root, start, last); pos; \
	     pos = interval_tree_iter_next(pos, start, last))

/* Abort unless order, colours and what nodes know of subtrees hold. O(n). */
void interval_tree_check(const struct interval_root *root);

#endif

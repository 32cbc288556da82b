/* SPDX-License-Identifier: MIT */
/*
 * Intrusive red-black tree, with hooks for augmented trees.
 *
 * Nodes are embedded; the caller descends and compares, then links the new
 * node where it belongs and lets the tree rebalance. No locks.
 */
#ifndef FOLIO_RBTREE_H
#define FOLIO_RBTREE_H

#include "base.h"

struct rb_node {
	uintptr_t parent_color; /* parent pointer, bit 0: black */
	struct rb_node *left;
	struct rb_node *right;
};

struct rb_root {
	struct rb_node *node;
};

#define RB_ROOT          \
	(struct rb_root) \
	{                \
		NULL     \
	}
#define rb_entry(ptr, type, member) container_of(ptr, type, member)

static inline struct rb_node *rb_parent(const struct rb_node *node)
{
	return (struct rb_node *)(node->parent_color & ~(uintptr_t)1);
}

/*
 * Augmentation: @update recomputes what a node keeps about its subtree from the
 * node and its children; called bottom-up wherever a subtree changed. It must
 * depend only on which nodes are in the subtree, not on how they hang. NULL
 * for plain trees.
 */
typedef void (*rb_update_fn)(struct rb_node *node);

/* Hang @node, red, at *@link below @parent, then rebalance. */
void rb_insert(struct rb_root *root, struct rb_node *node,
	       struct rb_node *parent, struct rb_node **link,
	       rb_update_fn update);
void rb_erase(struct rb_root *root, struct rb_node *node, rb_update_fn update);

struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_prev(const struct rb_node *node);

/* Abort unless colours, black heights, parents and order hold. @less may be
 * NULL. For tests and debug builds. */
void rb_check(const struct rb_root *root,
	      bool (*less)(const struct rb_node *, const struct rb_node *));

#define rb_for_each(pos, root) \
	for (pos = rb_first(root); pos; pos = rb_next(pos))

#endif

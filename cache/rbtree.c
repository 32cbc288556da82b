/* SPDX-License-Identifier: MIT */
/*
 * Red-black trees after Cormen, Leiserson, Rivest, Stein, "Introduction to
 * Algorithms", chapter 13, with NULL for the black leaves. The two mirrored
 * halves of each case are one, by naming children with a side.
 */
#include "config.h"

#include "rbtree.h"

enum {
	RED = 0,
	BLACK = 1,
};

enum side {
	LEFT,
	RIGHT,
};

static enum side other(enum side side)
{
	return side == LEFT ? RIGHT : LEFT;
}

static void set_parent(struct rb_node *node, struct rb_node *parent)
{
	node->parent_color = (uintptr_t)parent | (node->parent_color & BLACK);
}

static bool is_red(const struct rb_node *node)
{
	return node && !(node->parent_color & BLACK);
}

static void set_red(struct rb_node *node)
{
	node->parent_color &= ~(uintptr_t)BLACK;
}

static void set_black(struct rb_node *node)
{
	node->parent_color |= BLACK;
}

static struct rb_node **child_link(struct rb_node *node, enum side side)
{
	return side == LEFT ? &node->left : &node->right;
}

static struct rb_node *child(const struct rb_node *node, enum side side)
{
	return side == LEFT ? node->left : node->right;
}

static enum side side_of(const struct rb_node *node,
			 const struct rb_node *parent)
{
	return parent->left == node ? LEFT : RIGHT;
}

/* The pointer that points at @node: a parent's or the root's. */
static struct rb_node **link_to(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *parent = rb_parent(node);

	return parent ? child_link(parent, side_of(node, parent)) : &root->node;
}

static void update_up(struct rb_node *node, rb_update_fn update)
{
	if (!update)
		return;
	for (; node; node = rb_parent(node))
		update(node);
}

/* Turn @node down to @side; its other child comes up to its place. */
static void rotate(struct rb_root *root, struct rb_node *node, enum side side,
		   rb_update_fn update)
{
	struct rb_node *up = child(node, other(side));
	struct rb_node *inner = child(up, side);

	*link_to(root, node) = up;
	set_parent(up, rb_parent(node));
	*child_link(up, side) = node;
	set_parent(node, up);
	*child_link(node, other(side)) = inner;
	if (inner)
		set_parent(inner, node);

	if (update) {
		update(node);
		update(up);
	}
}

/* @node is red, and perhaps its parent, which is the only fault. */
static void insert_fixup(struct rb_root *root, struct rb_node *node,
			 rb_update_fn update)
{
	struct rb_node *parent;

	while ((parent = rb_parent(node)) && is_red(parent)) {
		struct rb_node *grand = rb_parent(parent);
		enum side side = side_of(parent, grand);
		struct rb_node *uncle = child(grand, other(side));

		if (is_red(uncle)) {
			set_black(parent);
			set_black(uncle);
			set_red(grand);
			node = grand;
			continue;
		}
		if (node == child(parent, other(side))) {
			rotate(root, parent, side, update);
			parent = node;
		}
		set_black(parent);
		set_red(grand);
		rotate(root, grand, other(side), update);
		break;
	}
	set_black(root->node);
}

void rb_insert(struct rb_root *root, struct rb_node *node,
	       struct rb_node *parent, struct rb_node **link,
	       rb_update_fn update)
{
	node->parent_color = (uintptr_t)parent | RED;
	node->left = NULL;
	node->right = NULL;
	*link = node;

	update_up(node, update);
	insert_fixup(root, node, update);
}

/* Paths through @node, a child of @parent and perhaps NULL, lack one black. */
static void erase_fixup(struct rb_root *root, struct rb_node *node,
			struct rb_node *parent, rb_update_fn update)
{
	while (parent && !is_red(node)) {
		enum side side = side_of(node, parent);
		struct rb_node *sibling = child(parent, other(side));

		/* Its side has a black more than this one: it is no leaf. */
		if (!(sibling->parent_color & BLACK)) {
			set_black(sibling);
			set_red(parent);
			rotate(root, parent, side, update);
			sibling = child(parent, other(side));
		}
		if (!is_red(sibling->left) && !is_red(sibling->right)) {
			set_red(sibling);
			node = parent;
			parent = rb_parent(node);
			continue;
		}
		/* The red one goes outside; all three are coloured below. */
		if (!is_red(child(sibling, other(side)))) {
			rotate(root, sibling, other(side), update);
			sibling = child(parent, other(side));
		}
		if (is_red(parent))
			set_red(sibling);
		else
			set_black(sibling);
		set_black(parent);
		set_black(child(sibling, other(side)));
		rotate(root, parent, side, update);
		return;
	}
	if (node)
		set_black(node);
}

/*
 * Let @node, which has two children, change places with its successor @succ,
 * colours included, so that it has at most a right child. As it is about to
 * go, that child is not told.
 */
static void swap_with_successor(struct rb_root *root, struct rb_node *node,
				struct rb_node *succ)
{
	struct rb_node was = *succ;
	struct rb_node *succ_parent = rb_parent(succ);

	*link_to(root, node) = succ;
	*succ = *node;
	set_parent(succ->left, succ);
	if (succ_parent == node) {
		succ->right = node;
		node->parent_color = was.parent_color;
		set_parent(node, succ);
	} else {
		set_parent(succ->right, succ);
		succ_parent->left = node;
		node->parent_color = was.parent_color;
	}
	node->left = NULL;
	node->right = was.right;
}

static struct rb_node *leftmost(struct rb_node *node)
{
	while (node && node->left)
		node = node->left;
	return node;
}

static struct rb_node *rightmost(struct rb_node *node)
{
	while (node && node->right)
		node = node->right;
	return node;
}

void rb_erase(struct rb_root *root, struct rb_node *node, rb_update_fn update)
{
	struct rb_node *only;
	struct rb_node *parent;

	if (node->left && node->right)
		swap_with_successor(root, node, leftmost(node->right));

	only = node->left ? node->left : node->right;
	parent = rb_parent(node);
	*link_to(root, node) = only;
	if (only)
		set_parent(only, parent);

	update_up(parent, update);
	if (!is_red(node))
		erase_fixup(root, only, parent, update);
}

struct rb_node *rb_first(const struct rb_root *root)
{
	return leftmost(root->node);
}

struct rb_node *rb_last(const struct rb_root *root)
{
	return rightmost(root->node);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	struct rb_node *parent;

	if (node->right)
		return leftmost(node->right);
	while ((parent = rb_parent(node)) && node == parent->right)
		node = parent;
	return parent;
}

struct rb_node *rb_prev(const struct rb_node *node)
{
	struct rb_node *parent;

	if (node->left)
		return rightmost(node->left);
	while ((parent = rb_parent(node)) && node == parent->left)
		node = parent;
	return parent;
}

/* Return: the black nodes on every path down from @node. */
static unsigned check_subtree(const struct rb_node *node,
			      const struct rb_node *parent)
{
	unsigned left;
	unsigned right;

	if (!node)
		return 0;

	verify(rb_parent(node) == parent);
	verify(!is_red(node) || !is_red(parent));
	left = check_subtree(node->left, node);
	right = check_subtree(node->right, node);
	verify(left == right);
	return left + !is_red(node);
}

void rb_check(const struct rb_root *root,
	      bool (*less)(const struct rb_node *, const struct rb_node *))
{
	struct rb_node *prev = NULL;
	struct rb_node *node;

	verify(!is_red(root->node));
	(void)check_subtree(root->node, NULL);
	if (!less)
		return;
	rb_for_each (node, root) {
		verify(!prev || !less(node, prev));
		prev = node;
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * Levels are counted from the leaves: a node of level 0 holds entries, one of
 * level n covers 64^(n+1) indices. A tree of height h has its root at level
 * h - 1.
 *
 * `present` says which slots are used, though the slots say it too: it makes
 * the next entry, the next gap and the last entry one instruction each instead
 * of a scan of eight cache lines, and has the same form as the tags, so that
 * one walk serves both.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "page_tree.h"

#define SLOT_BITS 6
#define NR_SLOTS (1u << SLOT_BITS)
#define MAX_HEIGHT 9 /* 54 bits; PGOFF_MAX has 51 */

/* The row of bits that a walk follows: a tag, or what is present. */
#define PRESENT PT_NR_TAGS
#define NR_ROWS (PT_NR_TAGS + 1)
#define ALL_TAGS ((1u << PT_NR_TAGS) - 1)

struct page_tree_node {
	u64 bits[NR_ROWS];
	union {
		u64 entry[NR_SLOTS];
		struct page_tree_node *child[NR_SLOTS];
	};
};

static_assert(sizeof(struct page_tree_node) + 2 * sizeof(size_t) ==
		      PAGE_TREE_NODE_BYTES,
	      "PAGE_TREE_NODE_BYTES is what malloc takes for a node");
static_assert(PGOFF_MAX >> (SLOT_BITS * MAX_HEIGHT) == 0,
	      "MAX_HEIGHT suffices for PGOFF_MAX");

/* The nodes from the root to a leaf, by level. */
struct path {
	struct page_tree_node *node[MAX_HEIGHT];
};

static unsigned slot_of(u64 index, u32 level)
{
	return (index >> (level * SLOT_BITS)) & (NR_SLOTS - 1);
}

static u64 bit(unsigned slot)
{
	return (u64)1 << slot;
}

/* Whether a tree of @height has room for @index. */
static bool covers(u32 height, u64 index)
{
	return index >> (height * SLOT_BITS) == 0;
}

static u32 height_for(u64 index)
{
	u32 height = 0;

	while (!covers(height, index))
		height++;
	return height;
}

/* The leaf of @index, or NULL. Context: height > 0. */
static struct page_tree_node *find_leaf(const struct page_tree *tree, u64 index)
{
	struct page_tree_node *node = tree->root.node;
	u32 shift = tree->height * SLOT_BITS;

	if (index >> shift)
		return NULL;
	while (node && (shift -= SLOT_BITS))
		node = node->child[(index >> shift) & (NR_SLOTS - 1)];
	return node;
}

/* The nodes down to the leaf of @index, which exists. */
static void find_path(const struct page_tree *tree, u64 index,
		      struct path *path)
{
	struct page_tree_node *node = tree->root.node;

	for (u32 level = tree->height; level-- > 0;) {
		path->node[level] = node;
		node = node->child[slot_of(index, level)];
	}
}

u64 page_tree_get(const struct page_tree *tree, u64 index)
{
	struct page_tree_node *leaf;

	if (tree->height == 0)
		return index == 0 ? tree->root.entry : 0;

	leaf = find_leaf(tree, index);
	return leaf ? leaf->entry[slot_of(index, 0)] : 0;
}

/* ---- tags of nodes ---- */

/*
 * The first entry of the leaf of @index has got the tag, or the last has lost
 * it: tell those above, as far as that changes them. The leaf itself is dealt
 * with first and on the spot, since 63 times of 64 it is all there is to do.
 */
static void set_tag_up(struct page_tree *tree, u64 index, unsigned tag)
{
	struct path path;

	find_path(tree, index, &path);
	for (u32 level = 1; level < tree->height; level++) {
		u64 *bits = &path.node[level]->bits[tag];
		u64 before = *bits;

		*bits |= bit(slot_of(index, level));
		if (before)
			break;
	}
}

static void clear_tag_up(struct page_tree *tree, u64 index, unsigned tag)
{
	struct path path;

	find_path(tree, index, &path);
	for (u32 level = 1; level < tree->height; level++) {
		u64 *bits = &path.node[level]->bits[tag];

		*bits &= ~bit(slot_of(index, level));
		if (*bits)
			break;
	}
}

/* @tags is a mask. */
static void set_tags(struct page_tree *tree, struct page_tree_node *leaf,
		     u64 index, u32 tags)
{
	for (; tags; tags &= tags - 1) {
		unsigned tag = (unsigned)__builtin_ctz(tags);
		u64 before = leaf->bits[tag];

		leaf->bits[tag] |= bit(slot_of(index, 0));
		if (!before)
			set_tag_up(tree, index, tag);
	}
}

static void clear_tags(struct page_tree *tree, struct page_tree_node *leaf,
		       u64 index, u32 tags)
{
	for (; tags; tags &= tags - 1) {
		unsigned tag = (unsigned)__builtin_ctz(tags);
		u64 before = leaf->bits[tag];

		leaf->bits[tag] &= ~bit(slot_of(index, 0));
		if (before && !leaf->bits[tag])
			clear_tag_up(tree, index, tag);
	}
}

/* ---- growing and shrinking ---- */

static struct page_tree_node *new_node(struct page_tree *tree)
{
	struct page_tree_node *node = calloc(1, sizeof(*node));

	if (node)
		tree->nr_nodes++;
	return node;
}

static void free_node(struct page_tree *tree, struct page_tree_node *node)
{
	free(node);
	tree->nr_nodes--;
}

/* Put a node on top. Context: the tree is not empty. */
static int grow(struct page_tree *tree)
{
	struct page_tree_node *top = new_node(tree);

	if (!top)
		return -ENOMEM;

	top->bits[PRESENT] = bit(0);
	if (tree->height == 0) {
		top->entry[0] = tree->root.entry;
		for (unsigned tag = 0; tag < PT_NR_TAGS; tag++)
			top->bits[tag] = tree->tags >> tag & 1;
		tree->tags = 0;
	} else {
		top->child[0] = tree->root.node;
		for (unsigned tag = 0; tag < PT_NR_TAGS; tag++)
			top->bits[tag] = tree->root.node->bits[tag] != 0;
	}
	tree->root.node = top;
	tree->height++;
	return 0;
}

/* Take nodes off the top as long as they hold only slot 0. */
static void shrink(struct page_tree *tree)
{
	while (tree->height > 0 && tree->root.node->bits[PRESENT] == bit(0)) {
		struct page_tree_node *top = tree->root.node;

		if (--tree->height > 0) {
			tree->root.node = top->child[0];
		} else {
			tree->root.entry = top->entry[0];
			for (unsigned tag = 0; tag < PT_NR_TAGS; tag++)
				tree->tags |= (u32)(top->bits[tag] & 1) << tag;
		}
		free_node(tree, top);
	}
}

/* Unlink and free the nodes of @path, from @level up, that hold nothing. */
static void prune(struct page_tree *tree, const struct path *path, u64 index,
		  u32 level)
{
	for (; level < tree->height; level++) {
		struct page_tree_node *node = path->node[level];

		if (node->bits[PRESENT])
			break;
		free_node(tree, node);
		if (level + 1 == tree->height) {
			page_tree_init(tree);
			return;
		}
		node = path->node[level + 1];
		node->child[slot_of(index, level + 1)] = NULL;
		node->bits[PRESENT] &= ~bit(slot_of(index, level + 1));
	}
	shrink(tree);
}

/* Make the nodes for @index. Return: its leaf, or NULL with nothing changed. */
static struct page_tree_node *make_leaf(struct page_tree *tree, u64 index)
{
	struct path path;
	u32 level;

	if (page_tree_empty(tree)) {
		tree->root.node = new_node(tree);
		if (!tree->root.node)
			return NULL;
		tree->height = height_for(index);
	}
	while (!covers(tree->height, index))
		if (grow(tree) < 0)
			goto out_shrink;

	level = tree->height - 1;
	path.node[level] = tree->root.node;
	for (; level > 0; level--) {
		struct page_tree_node *parent = path.node[level];
		unsigned slot = slot_of(index, level);

		if (!parent->child[slot]) {
			parent->child[slot] = new_node(tree);
			if (!parent->child[slot])
				goto out_prune;
			parent->bits[PRESENT] |= bit(slot);
		}
		path.node[level - 1] = parent->child[slot];
	}
	return path.node[0];

out_prune:
	prune(tree, &path, index, level);
	return NULL;
out_shrink:
	shrink(tree);
	return NULL;
}

int page_tree_insert(struct page_tree *tree, u64 index, u64 entry)
{
	struct page_tree_node *leaf;
	unsigned slot = slot_of(index, 0);

	assert(entry != 0 && index <= PGOFF_MAX);
	if (index == 0 && page_tree_empty(tree)) {
		tree->root.entry = entry;
		return 0;
	}
	if (tree->height == 0 && index == 0)
		return -EEXIST;

	leaf = tree->height ? find_leaf(tree, index) : NULL;
	if (!leaf) {
		leaf = make_leaf(tree, index);
		if (!leaf)
			return -ENOMEM;
	}
	if (leaf->entry[slot])
		return -EEXIST;

	leaf->entry[slot] = entry;
	leaf->bits[PRESENT] |= bit(slot);
	return 0;
}

u64 page_tree_replace(struct page_tree *tree, u64 index, u64 entry)
{
	struct page_tree_node *leaf;
	u64 *slot = &tree->root.entry;
	u64 old;

	assert(entry != 0);
	if (tree->height == 0) {
		verify(index == 0);
	} else {
		leaf = find_leaf(tree, index);
		verify(leaf != NULL);
		slot = &leaf->entry[slot_of(index, 0)];
	}
	old = *slot;
	verify(old != 0);
	*slot = entry;
	return old;
}

u64 page_tree_erase(struct page_tree *tree, u64 index)
{
	unsigned slot = slot_of(index, 0);
	struct page_tree_node *leaf;
	struct path path;
	u64 old;

	if (tree->height == 0) {
		old = page_tree_get(tree, index);
		if (old)
			page_tree_init(tree);
		return old;
	}
	leaf = find_leaf(tree, index);
	if (!leaf || !leaf->entry[slot])
		return 0;

	clear_tags(tree, leaf, index, ALL_TAGS);
	old = leaf->entry[slot];
	leaf->entry[slot] = 0;
	leaf->bits[PRESENT] &= ~bit(slot);
	/* Empty, or perhaps the top with slot 0 alone. */
	if (leaf->bits[PRESENT] <= bit(0)) {
		find_path(tree, index, &path);
		prune(tree, &path, index, 0);
	}
	return old;
}

/* ---- tags of entries ---- */

void page_tree_retag(struct page_tree *tree, u64 index, u32 set, u32 clear)
{
	struct page_tree_node *leaf;

	verify(covers(tree->height, index));
	if (tree->height == 0) {
		verify(tree->root.entry);
		tree->tags = (tree->tags | set) & ~clear;
		return;
	}
	leaf = find_leaf(tree, index);
	verify(leaf && leaf->entry[slot_of(index, 0)]);
	set_tags(tree, leaf, index, set);
	clear_tags(tree, leaf, index, clear);
}

bool page_tree_tag_get(const struct page_tree *tree, u64 index,
		       enum page_tag tag)
{
	struct page_tree_node *leaf;

	if (tree->height == 0)
		return index == 0 && (tree->tags >> tag & 1);

	leaf = find_leaf(tree, index);
	return leaf && (leaf->bits[tag] & bit(slot_of(index, 0)));
}

bool page_tree_tagged(const struct page_tree *tree, enum page_tag tag)
{
	if (tree->height == 0)
		return tree->tags >> tag & 1;
	return tree->root.node->bits[tag] != 0;
}

/* ---- walking ---- */

/*
 * Find the first index at or behind *@index with a bit in @row; set *@index.
 * Return: its leaf, or NULL. Context: height > 0.
 */
static struct page_tree_node *next_leaf(const struct page_tree *tree,
					u64 *index, unsigned row)
{
	u32 level = tree->height - 1;
	struct path path;
	u64 from = ~(u64)0 << slot_of(*index, level);

	path.node[level] = tree->root.node;
	for (;;) {
		struct page_tree_node *node = path.node[level];
		unsigned shift = level * SLOT_BITS;
		u64 found = node->bits[row] & from;
		unsigned slot;

		if (!found) {
			/* Go up, to behind the slot that we came down by. */
			if (++level == tree->height)
				return NULL;
			from = ~(u64)1 << slot_of(*index, level);
			continue;
		}
		slot = (unsigned)__builtin_ctzll(found);
		if (slot != slot_of(*index, level))
			*index = (((*index >> shift) & ~(u64)(NR_SLOTS - 1)) |
				  slot)
				 << shift;
		if (level == 0)
			return node;
		path.node[--level] = node->child[slot];
		from = ~(u64)0 << slot_of(*index, level);
	}
}

/* The entry of a tree without nodes. */
static u32 gang_direct(const struct page_tree *tree, u64 first, unsigned row,
		       u64 *ret_index, u64 *ret_entry)
{
	if (first > 0 || tree->root.entry == 0)
		return 0;
	if (row != PRESENT && !(tree->tags >> row & 1))
		return 0;
	if (ret_index)
		*ret_index = 0;
	*ret_entry = tree->root.entry;
	return 1;
}

/* All of a leaf, as in the midst of a file that is read or written through. */
static void copy_leaf(const struct page_tree_node *leaf, u64 base,
		      u64 *ret_index, u64 *ret_entry)
{
	memcpy(ret_entry, leaf->entry, sizeof(leaf->entry));
	if (!ret_index)
		return;
	for (unsigned slot = 0; slot < NR_SLOTS; slot++)
		ret_index[slot] = base + slot;
}

/*
 * Copy out entries of @leaf, which begins at index @base: those with bits in
 * @found. Return: how many, at most @max.
 */
static u32 copy_entries(const struct page_tree_node *leaf, u64 base, u64 found,
			u64 *ret_index, u64 *ret_entry, u32 max)
{
	u32 nr = 0;

	if (found == ~(u64)0 && max >= NR_SLOTS) {
		copy_leaf(leaf, base, ret_index, ret_entry);
		return NR_SLOTS;
	}
	for (; found && nr < max; found &= found - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(found);

		if (ret_index)
			ret_index[nr] = base + slot;
		ret_entry[nr++] = leaf->entry[slot];
	}
	return nr;
}

/* The leaf with the first bit of @row at or behind *@index; set *@index. */
static struct page_tree_node *leaf_from(const struct page_tree *tree,
					u64 *index, unsigned row)
{
	struct page_tree_node *leaf = find_leaf(tree, *index);

	if (leaf && leaf->bits[row] >> slot_of(*index, 0))
		return leaf;
	if (!covers(tree->height, *index))
		return NULL;
	return next_leaf(tree, index, row);
}

static u32 gang(const struct page_tree *tree, u64 first, u64 last, unsigned row,
		u64 *ret_index, u64 *ret_entry, u32 max)
{
	u64 index = first;
	u32 nr = 0;

	if (max == 0 || first > last)
		return 0;
	if (tree->height == 0)
		return gang_direct(tree, first, row, ret_index, ret_entry);

	while (nr < max && index <= last) {
		struct page_tree_node *leaf = leaf_from(tree, &index, row);
		u64 base = index & ~(u64)(NR_SLOTS - 1);
		u64 found;

		if (!leaf || index > last)
			break;
		found = leaf->bits[row] & (~(u64)0 << slot_of(index, 0));
		if (last - base < NR_SLOTS - 1)
			found &= ~(~(u64)1 << (last - base));
		nr += copy_entries(leaf, base, found,
				   ret_index ? &ret_index[nr] : NULL,
				   &ret_entry[nr], max - nr);
		index = base + NR_SLOTS;
	}
	return nr;
}

u32 page_tree_gang(const struct page_tree *tree, u64 first, u64 last,
		   u64 *ret_index, u64 *ret_entry, u32 max)
{
	return gang(tree, first, last, PRESENT, ret_index, ret_entry, max);
}

u32 page_tree_gang_tag(const struct page_tree *tree, u64 first, u64 last,
		       enum page_tag tag, u64 *ret_index, u64 *ret_entry,
		       u32 max)
{
	return gang(tree, first, last, tag, ret_index, ret_entry, max);
}

u64 page_tree_next_gap(const struct page_tree *tree, u64 first, u64 last)
{
	u64 index = first;

	assert(first <= last);
	if (tree->height == 0)
		return first == 0 && tree->root.entry ? 1 : first;
	while (index <= last) {
		struct page_tree_node *leaf = find_leaf(tree, index);
		u64 free;

		if (!leaf)
			return index;
		free = ~leaf->bits[PRESENT] & (~(u64)0 << slot_of(index, 0));
		index &= ~(u64)(NR_SLOTS - 1);
		if (free) {
			index += (unsigned)__builtin_ctzll(free);
			break;
		}
		index += NR_SLOTS;
	}
	return min(index, last + 1);
}

bool page_tree_last(const struct page_tree *tree, u64 *ret_index)
{
	const struct page_tree_node *node = tree->root.node;
	u64 index = 0;

	if (page_tree_empty(tree))
		return false;
	for (u32 level = tree->height; level-- > 0;) {
		unsigned slot =
			63 - (unsigned)__builtin_clzll(node->bits[PRESENT]);

		index = index << SLOT_BITS | slot;
		if (level > 0)
			node = node->child[slot];
	}
	*ret_index = index;
	return true;
}

/* ---- whole trees ---- */

typedef void (*entry_fn)(void *arg, u64 index, u64 entry);

static void destroy_node(struct page_tree *tree, struct page_tree_node *node,
			 u32 level, u64 base, entry_fn fn, void *arg)
{
	for (u64 left = node->bits[PRESENT]; left; left &= left - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(left);
		u64 index = base + ((u64)slot << (level * SLOT_BITS));

		if (level > 0)
			destroy_node(tree, node->child[slot], level - 1, index,
				     fn, arg);
		else if (fn)
			fn(arg, index, node->entry[slot]);
	}
	free_node(tree, node);
}

void page_tree_destroy(struct page_tree *tree,
		       void (*fn)(void *arg, u64 index, u64 entry), void *arg)
{
	if (tree->height > 0)
		destroy_node(tree, tree->root.node, tree->height - 1, 0, fn,
			     arg);
	else if (tree->root.entry && fn)
		fn(arg, 0, tree->root.entry);
	page_tree_init(tree);
}

/* Return: the nodes of the subtree. */
static u64 check_node(const struct page_tree_node *node, u32 level)
{
	u64 nr = 1;

	verify(node->bits[PRESENT] != 0);
	for (unsigned slot = 0; slot < NR_SLOTS; slot++) {
		bool present = node->bits[PRESENT] & bit(slot);

		verify(present == (node->entry[slot] != 0));
		for (unsigned tag = 0; tag < PT_NR_TAGS; tag++) {
			bool tagged = node->bits[tag] & bit(slot);

			verify(!tagged || present);
			if (present && level > 0)
				verify(tagged ==
				       (node->child[slot]->bits[tag] != 0));
		}
		if (present && level > 0)
			nr += check_node(node->child[slot], level - 1);
	}
	return nr;
}

void page_tree_check(const struct page_tree *tree)
{
	if (tree->height == 0) {
		verify(tree->nr_nodes == 0);
		verify((tree->tags & ~ALL_TAGS) == 0);
		verify(tree->tags == 0 || tree->root.entry != 0);
		return;
	}
	verify(tree->height <= MAX_HEIGHT);
	verify(tree->tags == 0);
	verify(tree->root.node->bits[PRESENT] != bit(0));
	verify(check_node(tree->root.node, tree->height - 1) == tree->nr_nodes);
}

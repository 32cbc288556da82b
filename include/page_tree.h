/* SPDX-License-Identifier: MIT */
/*
 * Page tree: page index -> entry, of one address_space.
 *
 * A radix tree of nodes with 64 slots. Entries are 64 bits which the tree does
 * not interpret; 0 is no entry. Each entry can carry tags; a node knows for
 * each tag which of its slots have it, or have a descendant with it, so that
 * looking for tagged pages costs what there is to find.
 *
 * The tree is as high as its last index needs and no higher; a lone entry at
 * index 0 needs no node at all, as most small files are one page.
 *
 * A tree of zeros is empty. No locks: address_space.tree_lock guards it.
 * Indices go to PGOFF_MAX. Asking and changing take one step a level: 1 to 256
 * KiB of file, 2 to 16 MiB, 3 to 1 GiB, 4 to 64 GiB.
 */
#ifndef FOLIO_PAGE_TREE_H
#define FOLIO_PAGE_TREE_H

#include "base.h"

enum page_tag {
	PT_DIRTY,     /* uncommitted, and only in a frame */
	PT_WRITEBACK, /* being written to a slot */
	PT_TOWRITE,   /* uncommitted at all */
	PT_NR_TAGS,
};

struct page_tree_node;

struct page_tree {
	union {
		struct page_tree_node *node; /* height > 0 */
		u64 entry;		     /* height 0: that of index 0 */
	} root;
	u32 height; /* levels of nodes */
	u32 tags;   /* height 0: tags of the entry, a bit each */
	u64 nr_nodes;
};

/* What a node takes, with malloc's header, for accounting. */
#define PAGE_TREE_NODE_BYTES 560

static inline void page_tree_init(struct page_tree *tree)
{
	*tree = (struct page_tree){};
}

static inline bool page_tree_empty(const struct page_tree *tree)
{
	return tree->height == 0 && tree->root.entry == 0;
}

/* The entry at @index, or 0. */
u64 page_tree_get(const struct page_tree *tree, u64 index);

/* Put @entry, without tags, at @index, which is empty.
 * Return: 0; -EEXIST or -ENOMEM with nothing changed. */
int page_tree_insert(struct page_tree *tree, u64 index, u64 entry) __must_check;

/* Put another entry at @index, which is not empty; the tags stay. Allocates
 * nothing. Return: the old entry. */
u64 page_tree_replace(struct page_tree *tree, u64 index, u64 entry);

/* Empty @index, its tags with it. Return: the entry that was there, or 0. */
u64 page_tree_erase(struct page_tree *tree, u64 index);

/* Set and clear tags, each mask a bit (1 << tag) for each, in one walk.
 * Context: @index is not empty. */
void page_tree_retag(struct page_tree *tree, u64 index, u32 set, u32 clear);

static inline void page_tree_tag_set(struct page_tree *tree, u64 index,
				     enum page_tag tag)
{
	page_tree_retag(tree, index, 1u << tag, 0);
}

static inline void page_tree_tag_clear(struct page_tree *tree, u64 index,
				       enum page_tag tag)
{
	page_tree_retag(tree, index, 0, 1u << tag);
}

/* False where there is no entry. */
bool page_tree_tag_get(const struct page_tree *tree, u64 index,
		       enum page_tag tag);

/* Whether any entry has @tag. O(1). */
bool page_tree_tagged(const struct page_tree *tree, enum page_tag tag);

/*
 * The first @max entries in [first, last], ascending. ret_index may be NULL.
 * Return: how many; fewer than @max when there are no more.
 */
u32 page_tree_gang(const struct page_tree *tree, u64 first, u64 last,
		   u64 *ret_index, u64 *ret_entry, u32 max);

/* The same of those with @tag. */
u32 page_tree_gang_tag(const struct page_tree *tree, u64 first, u64 last,
		       enum page_tag tag, u64 *ret_index, u64 *ret_entry,
		       u32 max);

/* The first empty index in [first, last], which is not empty; or last + 1. */
u64 page_tree_next_gap(const struct page_tree *tree, u64 first, u64 last);

/* The last index that is not empty. Return: false when the tree is empty. */
bool page_tree_last(const struct page_tree *tree, u64 *ret_index);

/* Empty the tree, calling @fn (may be NULL) for each entry, ascending. @fn
 * does not touch the tree. */
void page_tree_destroy(struct page_tree *tree,
		       void (*fn)(void *arg, u64 index, u64 entry), void *arg);

/* Abort unless every invariant of the structure holds. O(n). */
void page_tree_check(const struct page_tree *tree);

#endif

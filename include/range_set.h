/* SPDX-License-Identifier: MIT */
/*
 * A set of page indices, kept as disjoint ranges [start, last] that do not
 * touch: neighbours are merged. A red-black tree by start, one allocated node a
 * range.
 *
 * An address_space keeps in such sets what of its committed content is dead
 * (truncated or punched, and so reads as zeros).
 *
 * A set of zeros is empty. No locks: the owner guards it. Look-ups, and
 * changes besides the ranges they swallow, take O(log n).
 */
#ifndef FOLIO_RANGE_SET_H
#define FOLIO_RANGE_SET_H

#include "base.h"
#include "rbtree.h"

struct range_set {
	struct rb_root ranges; /* of struct range_node, by start */
	u64 nr;		       /* ranges, each RANGE_NODE_BYTES */
	u64 nr_pages;	       /* in all of them */
};

#define RANGE_NODE_BYTES 48 /* with malloc's header, for accounting */

static inline void range_set_init(struct range_set *set)
{
	*set = (struct range_set){.ranges = RB_ROOT};
}

static inline bool range_set_empty(const struct range_set *set)
{
	return set->nr == 0;
}

/* Add all of [start, last]. Return: 0, or -ENOMEM with nothing changed (only
 * when it touches no range of the set). */
int range_set_add(struct range_set *set, u64 start, u64 last) __must_check;

/* Take all of [start, last] out. Return: 0, or -ENOMEM with nothing changed
 * (only when it lies inside one range, so that this is split). */
int range_set_remove(struct range_set *set, u64 start, u64 last) __must_check;

/* The range that holds @pgoff. Either output may be NULL. */
bool range_set_find(const struct range_set *set, u64 pgoff, u64 *ret_start,
		    u64 *ret_last);

/* The range that holds @pgoff, or else the first behind it. */
bool range_set_next(const struct range_set *set, u64 pgoff, u64 *ret_start,
		    u64 *ret_last);

/* The last page of the last range. Return: false when the set is empty. */
bool range_set_last(const struct range_set *set, u64 *ret_last);

/* Move everything of @from to @into, which is empty. O(1), cannot fail. */
void range_set_move(struct range_set *from, struct range_set *into);

/* Add everything of @from to @into; @from is empty afterwards. Uses the nodes
 * of @from, and so cannot fail. */
void range_set_merge(struct range_set *from, struct range_set *into);

/*
 * Make it at most @nr ranges, at least one, by filling gaps between them: the
 * short ones first, those at the front first of about the same length (each
 * pass fills gaps up to twice as long as the pass before). Needs no memory.
 */
void range_set_coarsen(struct range_set *set, u64 nr);

void range_set_clear(struct range_set *set);

/* Abort unless the ranges are ordered, apart and counted. O(n). */
void range_set_check(const struct range_set *set);

#endif

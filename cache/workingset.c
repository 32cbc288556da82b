/* SPDX-License-Identifier: MIT */
/*
 * Working set: does a page that comes back belong on the active list at once?
 *
 * Between an inactive list that must be long enough to see a page's second use
 * and an active list that should hold all that is used often, no fixed split
 * is right. So what is evicted leaves a note of when, and the next fill can
 * tell how much longer the list would have had to be.
 *
 * Time is counted in pages that went by: nonresident_age rises by one when a
 * page is evicted or activated, both of which let every page on the inactive
 * list sink by one place. A page that is evicted at age E and asked for again
 * at age R would have been found if the inactive list had had R - E more
 * places: this is the refault distance. Those places could only come from the
 * other lists. So if
 *
 *	R - E <= pages on the active list (and on those of the other kind)
 *
 * then the page is used more often than some active page may be: it is
 * activated, and competes with those. If they are used more often still they
 * stay and it sinks again; if they are not, they make room. If the distance is
 * larger, no split of the frames could have kept the page.
 *
 * The note of a CLEAN page is a shadow entry in the tree; that of a SAVED one
 * stands in its swap entry. Both are 31 bits of age, shifted so that one bit is
 * free: set, the page was active when it was evicted. The age is cut off: a
 * page that comes back 2^31 evictions later may be taken for a recent one.
 *
 * Source: Linux mm/workingset.c (5.9 and later) has the idea and more.
 */
#include "config.h"

#include "internal.h"

#define SHADOW_ACTIVE 1u

/* Shadow entries for each frame, before the useless ones are looked for. */
#define SHADOW_FACTOR 2
#define SHRINK_GANG 64
/* Of the budget, before what shadow entries take is asked for. */
#define TREES_SHARE 8
/* Of the frames: as many new ones are worth a walk over all trees. */
#define WALK_SHARE 16

static u32 age_now(const struct cache *c)
{
	return (u32)atomic_read(&c->nonresident_age) << 1;
}

u32 workingset_eviction(struct cache *c, bool anon, bool active)
{
	u32 age = (u32)atomic_add(&c->nonresident_age, 1) << 1;

	return age | (active ? SHADOW_ACTIVE : 0);
}

static u32 refault_distance(const struct cache *c, u32 shadow)
{
	return (age_now(c) - (shadow & ~SHADOW_ACTIVE)) >> 1;
}

static u64 workingset_size(const struct cache *c, bool anon)
{
	u64 size = lru_nr(c, LRU_ACTIVE_FILE) + lru_nr(c, LRU_ACTIVE_ANON);

	return size + (anon ? lru_nr(c, LRU_INACTIVE_FILE)
			    : lru_nr(c, LRU_INACTIVE_ANON));
}

bool workingset_recent(const struct cache *c, u32 shadow)
{
	return refault_distance(c, shadow) <= workingset_size(c, false);
}

void workingset_refault(struct cache *c, struct page *p, u32 shadow)
{
	bool anon = page_is_anon(p);

	if (anon)
		count_inc(c, workingset_refault_anon);
	else
		count_inc(c, workingset_refault_file);
	if (refault_distance(c, shadow) > workingset_size(c, anon))
		return;

	page_set(p, PG_ACTIVE);
	(void)atomic_add(&c->nonresident_age, 1);
	if (anon)
		count_inc(c, workingset_activate_anon);
	else
		count_inc(c, workingset_activate_file);
}

/*
 * ---- the bound on shadow entries ----
 *
 * A distance of more than all frames can never lead to an activation. Since
 * each eviction adds one to the age, there are no more entries of a smaller
 * distance than frames; the others are erased when they have become as many.
 *
 * They cost little where pages stand side by side, 9 bytes each. Where they do
 * not, as after random reads of a sparse file, each has nodes of its own, and
 * together they would take more than the pages. So when trees and swap entries
 * have an eighth of the budget all shadow entries go.
 */

/* Context: tree_lock. */
static void erase_shadows(struct address_space *as, const u64 *index,
			  const u64 *entry, u32 nr, u32 limit)
{
	u64 nodes = as->tree.nr_nodes;

	for (u32 i = 0; i < nr; i++) {
		u32 shadow = entry_value(entry[i]);

		if (entry_kind(entry[i]) != ENTRY_SHADOW ||
		    (shadow && refault_distance(as->cache, shadow) < limit))
			continue;
		(void)page_tree_erase(&as->tree, index[i]);
		account_shadow(as, -1);
	}
	count_add(as->cache, workingset_nodereclaim, nodes - as->tree.nr_nodes);
	account_trees(as);
}

/*
 * invalidate_lock by trylock: a write without frames holds it exclusive and
 * relies on the entries that it has seen (write.c).
 */
static void shrink_file(struct address_space *as, u32 limit)
{
	u64 index[SHRINK_GANG];
	u64 entry[SHRINK_GANG];
	u64 next = 0;
	bool more;
	u32 nr;

	if (!down_read_trylock(&as->invalidate_lock))
		return;
	do {
		mutex_lock(&as->tree_lock);
		nr = page_tree_gang(&as->tree, next, PGOFF_MAX, index, entry,
				    SHRINK_GANG);
		erase_shadows(as, index, entry, nr, limit);
		more = nr == SHRINK_GANG && as->nr_shadow > 0;
		mutex_unlock(&as->tree_lock);
		if (nr)
			next = index[nr - 1] + 1;
	} while (more);
	up_read(&as->invalidate_lock);
}

/* The distance from which on shadow entries are to go, UINT32_MAX: none. */
static u32 useless_distance(const struct cache *c)
{
	u64 nr = atomic_read(&c->nr_shadow);
	u64 size = atomic_read(&c->knobs[KNOB_cache_size]);
	u32 limit = frames_limit(c);

	if (atomic_read(&c->page_table_bytes) > size / TREES_SHARE &&
	    nr > limit / WALK_SHARE)
		return 0;
	return nr > (u64)SHADOW_FACTOR * limit ? limit : UINT32_MAX;
}

void workingset_shrink(struct cache *c)
{
	u32 limit = useless_distance(c);
	struct address_space *as = NULL;

	if (limit == UINT32_MAX)
		return;
	while ((as = next_file(c, as)))
		shrink_file(as, limit);
}

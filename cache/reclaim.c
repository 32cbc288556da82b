/* SPDX-License-Identifier: MIT */
/*
 * Reclaim: where frames come from when none is free.
 *
 * Pages at the cold end of the inactive lists are evicted: CLEAN ones leave a
 * shadow entry, SAVED ones their swap entry, DIRTY ones are first written out
 * in a batch, which may have pages of many files and is one sequential write.
 *
 * The background thread (kswapd) works between two watermarks. When it falls
 * behind, who needs a frame reclaims directly. Both only try page locks, and
 * wait for the device alone (internal.h says why that is free of deadlock). If
 * nothing can be evicted, because all is pinned, locked or has no slot to go
 * to, there is no frame; the caller has a way without.
 *
 * Eviction against look-ups: who looks a page up takes its reference under
 * tree_lock. Eviction holds tree_lock from seeing that nobody but the tree and
 * itself has one until the page has left the tree.
 *
 * Eviction against writers: a writer has the page locked.
 *
 * What processes do with mapped pages is not seen here; rmap.c says what is
 * made of what is known.
 */
#include "config.h"

#include "internal.h"

#define SCAN_BATCH 32u
#define SWAP_BATCH 64u
#define FUTILE_SCAN 256u

static u32 low_watermark(u32 limit)
{
	return limit / 64;
}

static u32 high_watermark(u32 limit)
{
	return limit / 32;
}

/* ---- eviction ---- */

/* Context: both locks. */
static void evict_locked(struct address_space *as, struct page *p)
{
	struct cache *c = as->cache;
	bool anon = page_is_anon(p);
	u32 shadow = workingset_eviction(c, anon, page_test(p, PG_ACTIVE));
	u32 swp = p->swp;

	if (!anon) {
		page_remove(as, p, entry_make(ENTRY_SHADOW, shadow), false);
		account_shadow(as, 1);
		return;
	}
	swp_entry(c, swp)->shadow = shadow;
	p->swp = 0; /* the tree has it now */
	page_remove(as, p, entry_make(ENTRY_SWAP, swp), false);
	account_swapped(as, 1);
	count_inc(c, pswpout);
}

bool evict_page(struct cache *c, struct page *p)
{
	struct address_space *as = p->mapping;
	bool ok;

	if (!as || p->state == PAGE_DIRTY || page_unevictable(p))
		return false;
	assert(page_test(p, PG_UPTODATE));

	mutex_lock(&as->tree_lock);
	ok = __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 2;
	if (ok)
		evict_locked(as, p);
	mutex_unlock(&as->tree_lock);
	return ok;
}

static u32 evict_batch(struct wb_batch *b)
{
	u32 freed = 0;

	if (!b->nr)
		return 0;
	(void)batch_write(b);
	for (u32 i = 0; i < b->nr; i++)
		freed += evict_page(b->cache, b->pages[i]);
	batch_release(b);
	return freed;
}

/* Context: page locked. Return: whether it is in the batch now. */
static bool try_locked(struct wb_batch *b, struct page *p, u32 *freed)
{
	struct cache *c = b->cache;

	if (!p->mapping)
		return false;
	if (page_unevictable(p)) {
		lru_place(c, &p, 1);
		return false;
	}
	if (rmap_spare(p))
		return false;
	if (p->state == PAGE_DIRTY)
		return __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 2 &&
		       batch_add(b, p);

	*freed += evict_page(c, p);
	return false;
}

/* Evict, or add to the batch; lets go of the page otherwise. */
static u32 try_page(struct wb_batch *b, struct page *p)
{
	struct cache *c = b->cache;
	u32 freed = 0;
	bool locked = trylock_page(p);

	if (locked && try_locked(b, p, &freed))
		return 0;
	if (!freed)
		count_inc(c, pgrotated);
	if (locked)
		unlock_page(p, c);
	put_page(c, p);
	return freed;
}

/* Batches make reclaim cheap; in a small cache they would be half of it. */
static u32 scan_batch(const struct cache *c, bool anon)
{
	u32 batch = max(frames_limit(c) / 16, 4u);

	return min(batch, anon ? SWAP_BATCH : SCAN_BATCH);
}

static u32 shrink_inactive(struct cache *c, bool anon, u32 max,
			   u32 *ret_scanned)
{
	enum lru_list list = anon ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
	struct page *pages[SWAP_BATCH];
	struct wb_batch b = {.cache = c};
	u32 freed = 0;
	u32 nr;

	nr = lru_scan(c, list, min(max, scan_batch(c, anon)), pages,
		      ret_scanned);
	for (u32 i = 0; i < nr; i++)
		freed += try_page(&b, pages[i]);
	return freed + evict_batch(&b);
}

/* ---- balance of the two kinds ---- */

/*
 * Which kind to look at next. swappiness is what a swap-out costs against
 * reading a page again: at 100 both kinds are looked at in proportion to their
 * number, at 0 anon-like pages only when nothing else is left, at 200 these
 * first.
 */
static bool choose_anon(struct cache *c, u32 round)
{
	u64 swappiness = atomic_read(&c->knobs[KNOB_swappiness]);
	u64 anon = lru_nr(c, LRU_INACTIVE_ANON) + lru_nr(c, LRU_ACTIVE_ANON);
	u64 file = lru_nr(c, LRU_INACTIVE_FILE) + lru_nr(c, LRU_ACTIVE_FILE);
	u64 a = anon * swappiness;
	u64 f = file * (200 - swappiness);

	if (!a || !f)
		return f == 0 && anon > 0;
	/* Spread a : f over the rounds, file first. */
	return (round + 1) * a / (a + f) != round * a / (a + f);
}

static void refill_inactive(struct cache *c, bool anon)
{
	enum lru_list active = anon ? LRU_ACTIVE_ANON : LRU_ACTIVE_FILE;

	if (lru_inactive_is_low(c, anon))
		(void)lru_shrink_active(c, active, SCAN_BATCH);
}

static u64 lru_total(const struct cache *c)
{
	u64 nr = 0;

	for (u32 list = LRU_NONE + 1; list < LRU_UNEVICTABLE; list++)
		nr += lru_nr(c, (enum lru_list)list);
	return nr;
}

/*
 * How many pages to look at: all, twice. When that freed nothing, as when all
 * are uncommitted and swap is full, each allocation would do it anew: until
 * something is freed the next ones look at a part, and go on where the last
 * left off, since what was looked at is at the other end of its list now.
 */
static u64 scan_limit(struct cache *c)
{
	u64 all = 2 * lru_total(c) + 2 * SCAN_BATCH;

	return atomic_read(&c->reclaim_futile) ? min(all, FUTILE_SCAN) : all;
}

/* Look at pages until @want are freed or the limit is reached. */
static u32 shrink(struct cache *c, u32 want, u64 *ret_scanned)
{
	u64 max = scan_limit(c);
	u64 looked = 0;
	u32 freed = 0;

	for (u32 round = 0; freed < want && looked < max; round++) {
		bool anon = choose_anon(c, round);
		u32 scanned;

		/* The other kind's turn when this one has nothing to give. */
		if (looked > max / 2)
			anon = round & 1;
		refill_inactive(c, anon);
		freed += shrink_inactive(c, anon, want - freed + SCAN_BATCH,
					 &scanned);
		*ret_scanned += scanned;
		looked += max(scanned, 1u);
	}
	atomic_set(&c->reclaim_futile, !freed);
	workingset_shrink(c);
	return freed;
}

static u32 reclaim_direct(struct cache *c, u32 want)
{
	u64 scanned = 0;
	u32 freed = shrink(c, want, &scanned);

	frames_trim(c);
	count_inc(c, allocstall);
	count_add(c, pgscan_direct, scanned);
	count_add(c, pgsteal_direct, freed);
	return freed;
}

void kswapd_wake(struct cache *c)
{
	if (frames_free(c) < low_watermark(frames_limit(c)) ||
	    frames_surplus(c))
		worker_wake(&c->kswapd);
}

u32 frames_get(struct cache *c, u32 want, u32 *ret_frames)
{
	u32 nr = frames_take(c, want, ret_frames);

	kswapd_wake(c);
	while (nr < want && reclaim_direct(c, want - nr))
		nr += frames_take(c, want - nr, ret_frames + nr);
	return nr;
}

/* ---- in the background ---- */

/* How many to free: up to the high watermark, or down to a budget that has
 * become smaller. */
static u32 reclaim_goal(const struct cache *c)
{
	u32 limit = frames_limit(c);
	u32 used = atomic_read(&c->frames.nr_used);
	u32 most = limit - high_watermark(limit);

	return used > most ? used - most : 0;
}

long cache_reclaim_step(struct cache *c)
{
	u32 goal = reclaim_goal(c);
	u64 scanned = 0;
	u32 freed = 0;

	if (goal)
		freed = shrink(c, goal, &scanned);
	count_add(c, pgscan_kswapd, scanned);
	count_add(c, pgsteal_kswapd, freed);
	frames_trim(c);
	return freed;
}

void kswapd_work(struct cache *c)
{
	while (cache_reclaim_step(c) > 0)
		;
}

void reclaim_to_limit(struct cache *c)
{
	u32 limit = frames_limit(c);
	u32 used = atomic_read(&c->frames.nr_used);

	while (used > limit && reclaim_direct(c, used - limit))
		used = atomic_read(&c->frames.nr_used);
	frames_trim(c);
}

/* ---- on request ---- */

static u32 drop_gang(struct address_space *as, u64 *next, u64 *dropped)
{
	struct cache *c = as->cache;
	u64 index[SCAN_BATCH];
	u64 entry[SCAN_BATCH];
	struct page *pages[SCAN_BATCH];
	u32 nr_pages = 0;
	u32 nr;

	mutex_lock(&as->tree_lock);
	nr = page_tree_gang(&as->tree, *next, PGOFF_MAX, index, entry,
			    SCAN_BATCH);
	for (u32 i = 0; i < nr; i++) {
		if (entry_kind(entry[i]) != ENTRY_PAGE)
			continue;
		pages[nr_pages] = frame_page(c, entry_value(entry[i]));
		get_page(pages[nr_pages++]);
	}
	mutex_unlock(&as->tree_lock);

	for (u32 i = 0; i < nr_pages; i++) {
		if (trylock_page(pages[i])) {
			if (pages[i]->state == PAGE_CLEAN)
				*dropped += evict_page(c, pages[i]);
			unlock_page(pages[i], c);
		}
		put_page(c, pages[i]);
	}
	if (nr)
		*next = index[nr - 1] + 1;
	return nr;
}

static u64 drop_file(struct address_space *as)
{
	u64 dropped = 0;
	u64 next = 0;

	while (drop_gang(as, &next, &dropped) == SCAN_BATCH)
		;
	return dropped;
}

u64 cache_drop(struct cache *c, struct address_space *as)
{
	u64 dropped = 0;

	/* Or it would bring them back. */
	readahead_cancel(c, as);
	if (as)
		dropped = drop_file(as);
	else
		while ((as = next_file(c, as)))
			dropped += drop_file(as);
	count_add(c, drop_pagecache, dropped);
	return dropped;
}

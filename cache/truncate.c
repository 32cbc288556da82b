/* SPDX-License-Identifier: MIT */
/*
 * Truncating and punching.
 *
 * Both make a range of pages dead and zero the parts of pages at its edges. As
 * with a write, all that can sleep or fail comes first; in the stop the size is
 * set, the range noted in as->holes and the edges marked. A file may have
 * millions of pages in the range, so these are dropped after the stop:
 * invalidate_lock, held exclusive, keeps everybody from making new ones there.
 *
 * So a cut can come when the range is dead but some of its pages are not yet
 * dropped. These are not part of the commit, though their epoch says so: while
 * pages are being dropped as->dead_first and dead_last say which, the cut takes
 * a copy, and the commit passes over them. Was the cut before the stop instead,
 * the commit wants what is dropped, and gets it (page_detach(), swp_forget()).
 * Which of both it is can be told by the epoch that the file had in the stop.
 *
 * Mappings of what a truncation cuts off are counted and reported: a touch of
 * them is SIGBUS from then on. The kernel has unmapped the pages by itself.
 *
 * Readers who look while pages are dropped see the old content or zeros, as
 * befits a read during a truncate. Readers that fill wait for invalidate_lock.
 */
#include "config.h"

#include <unistd.h>

#include "internal.h"

#define DROP_GANG 32

/* ---- dropping ---- */

/* Context: tree_lock. Return: false: the page is locked by somebody else. */
static bool drop_entry(struct address_space *as, u64 index, u64 entry,
		       bool dead)
{
	struct cache *c = as->cache;
	struct page *p = frame_page(c, entry_value(entry));

	switch (entry_kind(entry)) {
	case ENTRY_PAGE:
		if (!trylock_page(p))
			return false;
		get_page(p);
		page_remove(as, p, ENTRY_NONE, dead);
		unlock_page(p, c);
		put_page(c, p);
		return true;
	case ENTRY_SWAP:
		swp_forget(as, entry_value(entry), dead);
		account_swapped(as, -1);
		break;
	default:
		account_shadow(as, -1);
	}
	(void)page_tree_erase(&as->tree, index);
	return true;
}

/* Drop what is left in [first, last]; @epoch as the file had it in the stop.
 * Return: 0: nothing is left. */
static u32 drop_some(struct address_space *as, u64 first, u64 last, u32 epoch)
{
	struct cache *c = as->cache;
	struct page *busy = NULL;
	u64 index[DROP_GANG];
	u64 entry[DROP_GANG];
	bool dead;
	u32 nr;

	mutex_lock(&as->tree_lock);
	dead = as->epoch != epoch;
	nr = page_tree_gang(&as->tree, first, last, index, entry, DROP_GANG);
	for (u32 i = 0; i < nr; i++) {
		if (drop_entry(as, index[i], entry[i], dead))
			continue;
		busy = frame_page(c, entry_value(entry[i]));
		get_page(busy);
		break;
	}
	account_trees(as);
	mutex_unlock(&as->tree_lock);

	if (busy) {
		lock_page(busy, c);
		unlock_page(busy, c);
		put_page(c, busy);
	}
	return nr;
}

static void drop_range(struct address_space *as, u64 first, u64 last, u32 epoch)
{
	while (drop_some(as, first, last, epoch))
		;
	mutex_lock(&as->tree_lock);
	as->dead_first = 1;
	as->dead_last = 0;
	mutex_unlock(&as->tree_lock);
}

void drop_all(struct address_space *as)
{
	assert(!as->frozen);
	drop_range(as, 0, PGOFF_MAX, as->epoch);
}

/* ---- making a range dead ---- */

struct hole {
	struct address_space *as;
	enum change why;
	u64 pos, len;	 /* what content_changed() is told */
	u64 first, last; /* pages that go; none when first > last */
	u64 size;	 /* new size, UINT64_MAX: as it is */
	void *arg;
	u32 epoch;
	u32 nr_edges;
	struct piece edges[2];
};

/* Return: 1 if the page may have other bytes than zeros, 0 if not, -errno. */
static int has_content(struct address_space *as, u64 pgoff)
{
	enum extent_kind kind;
	u64 entry, end;
	bool zero;
	int err;

	mutex_lock(&as->tree_lock);
	entry = page_tree_get(&as->tree, pgoff);
	zero = in_hole(as, pgoff);
	mutex_unlock(&as->tree_lock);

	if (entry_kind(entry) == ENTRY_PAGE || entry_kind(entry) == ENTRY_SWAP)
		return 1;
	if (zero || pgoff >= bytes_to_pages(i_size_read(as)))
		return 0;
	err = as->ops->next_extent(as, pgoff, &kind, &end);
	return err ? err : kind == EXTENT_DATA;
}

/* [pos, pos + len), within one page, is to be zeroed. It needs no reservation:
 * truncating must work on a full volume, and gives back more than it takes. */
static int add_edge(struct hole *h, u64 pos, u64 len)
{
	int ret = has_content(h->as, pos >> PAGE_SHIFT);
	struct piece *pc = &h->edges[h->nr_edges];

	if (ret <= 0)
		return ret;
	piece_init(pc, h->as, pos, NULL, (size_t)len);
	pc->may_slots = true;
	if (!h->as->ops->reserve(h->as, 1))
		pc->reserved = 1;
	h->nr_edges++;
	return piece_prepare(pc);
}

static bool edges_ready(const struct hole *h)
{
	for (u32 i = 0; i < h->nr_edges; i++)
		if (!piece_ready(&h->edges[i]))
			return false;
	return true;
}

static int edges_thaw(struct hole *h)
{
	int err = 0;

	for (u32 i = 0; !err && i < h->nr_edges; i++)
		err = piece_thaw(&h->edges[i]);
	return err;
}

/* In the stop, under tree_lock. Return: 0, 1: a cut came in between, -ENOMEM
 * with nothing changed. */
static int mark_hole(struct hole *h)
{
	struct address_space *as = h->as;

	if (!edges_ready(h))
		return 1;
	if (h->first <= h->last && range_set_add(&as->holes, h->first, h->last))
		return -ENOMEM;

	for (u32 i = 0; i < h->nr_edges; i++)
		piece_mark(&h->edges[i]);
	if (h->first <= h->last) {
		as->dead_first = h->first;
		as->dead_last = h->last;
		(void)!range_set_remove(&as->lost, h->first, h->last);
		if (h->first == 0 && h->last == PGOFF_MAX)
			as->all_lost = false;
	}
	if (h->size != UINT64_MAX) {
		as->size_changed |= h->size != as->i_size;
		__atomic_store_n(&as->i_size, h->size, __ATOMIC_RELEASE);
	}
	h->epoch = as->epoch;
	note_change(as);
	account_trees(as);
	return 0;
}

static int apply_hole(struct hole *h)
{
	struct address_space *as = h->as;
	struct rwsem *stop = as->cache->cfg.stop;
	int ret;

	down_read(stop);
	mutex_lock(&as->tree_lock);
	ret = mark_hole(h);
	mutex_unlock(&as->tree_lock);
	if (!ret) {
		for (u32 i = 0; i < h->nr_edges; i++)
			piece_copy(&h->edges[i]);
		as->ops->content_changed(as, h->why, h->pos, h->len, h->arg);
	}
	up_read(stop);
	return ret;
}

static int make_hole(struct hole *h)
{
	int ret = apply_hole(h);

	while (ret == 1) {
		ret = edges_thaw(h);
		if (!ret)
			ret = apply_hole(h);
	}
	return ret;
}

static void finish_hole(struct hole *h, int err)
{
	for (u32 i = 0; i < h->nr_edges; i++)
		piece_finish(&h->edges[i]);
	if (!err && h->first <= h->last)
		drop_range(h->as, h->first, h->last, h->epoch);
}

/* ---- truncate ---- */

static int prepare_truncate(struct hole *h, u64 size)
{
	u64 old = i_size_read(h->as);
	u64 in_page = size & (PAGE_SIZE - 1);

	h->why = CHANGE_TRUNCATE;
	h->pos = min(size, old);
	h->len = max(size, old) - h->pos;
	h->size = size;
	h->first = bytes_to_pages(size);
	h->last = PGOFF_MAX;
	if (size >= old) {
		/* What lies behind the end is zeros already. */
		h->first = 1;
		h->last = 0;
	} else if (in_page) {
		return add_edge(h, size, PAGE_SIZE - in_page);
	}
	return 0;
}

/* @nr_pages: before. */
static void report_cut(const struct hole *h, u64 nr_pages)
{
	struct address_space *as = h->as;
	u64 nr;

	if (h->first >= nr_pages)
		return;
	nr = rmap_count(as, h->first, nr_pages - 1);
	if (!nr)
		return;
	(void)atomic_add(&as->nr_cut_vmas, nr);
	count_add(as->cache, truncate_cut_vmas, nr);
	if (as->ops->mappings_cut)
		as->ops->mappings_cut(as, h->first, nr_pages - 1, nr, h->arg);
}

static int truncate_locked(struct address_space *as, u64 size, void *arg)
{
	struct hole h = {.as = as, .arg = arg};
	u64 nr_pages = bytes_to_pages(i_size_read(as));
	int err = prepare_truncate(&h, size);

	if (!err)
		err = make_hole(&h);
	finish_hole(&h, err);
	if (!err && h.first <= h.last)
		report_cut(&h, nr_pages);
	return err == -ENOMEM ? -ENOSPC : err;
}

int cache_truncate(struct address_space *as, u64 size, void *arg)
{
	int err;

	if (size > (u64)INT64_MAX)
		return -EFBIG;
	down_write(&as->invalidate_lock);
	err = truncate_locked(as, size, arg);
	up_write(&as->invalidate_lock);
	return err;
}

/* ---- punch ---- */

static int prepare_punch(struct hole *h, u64 pos, u64 len)
{
	u64 size = i_size_read(h->as);
	u64 end = pos + len;
	u64 page_end = (pos | (PAGE_SIZE - 1)) + 1;
	int err = 0;

	h->why = CHANGE_PUNCH;
	h->pos = pos;
	h->len = len;
	h->size = UINT64_MAX;
	/* The rest of the last page is zeros in any case. */
	if (end >= size)
		end = bytes_to_pages(end) << PAGE_SHIFT;
	h->first = bytes_to_pages(pos);
	h->last = (end >> PAGE_SHIFT) - 1;
	if (end >> PAGE_SHIFT <= h->first) {
		h->first = 1;
		h->last = 0;
	}
	if (pos & (PAGE_SIZE - 1))
		err = add_edge(h, pos, min(end, page_end) - pos);
	if (!err && (end & (PAGE_SIZE - 1)) &&
	    (end > page_end || !(pos & (PAGE_SIZE - 1))))
		err = add_edge(h, max(pos, end & PAGE_MASK),
			       end - max(pos, end & PAGE_MASK));
	return err;
}

static int punch_locked(struct address_space *as, u64 pos, u64 len, void *arg)
{
	struct hole h = {.as = as, .arg = arg};
	int err = prepare_punch(&h, pos, len);

	if (!err)
		err = make_hole(&h);
	finish_hole(&h, err);
	return err == -ENOMEM ? -ENOSPC : err;
}

int cache_punch(struct address_space *as, u64 pos, u64 len, void *arg)
{
	int err;

	if (pos > (u64)INT64_MAX)
		return -EFBIG;
	len = min(len, (u64)INT64_MAX - pos);
	if (!len)
		return 0;
	down_write(&as->invalidate_lock);
	err = punch_locked(as, pos, len, arg);
	up_write(&as->invalidate_lock);
	return err;
}

/* ---- seek ---- */

struct area {
	bool data;
	u64 end; /* first page behind it */
};

#define SEEK_GANG 64

/* Uncommitted page or dead range at @pgoff: known without the volume.
 * *ret_end: up to where the volume is to be asked. */
static bool known_area(struct address_space *as, u64 pgoff, struct area *a)
{
	u64 index[SEEK_GANG], entry[SEEK_GANG];
	u64 start, last;
	u64 limit = PGOFF_MAX + 1;
	const struct range_set *sets[] = {&as->holes, &as->frozen_holes};
	u32 nr = page_tree_gang_tag(&as->tree, pgoff, PGOFF_MAX, PT_TOWRITE,
				    index, entry, SEEK_GANG);
	u32 run = 0;

	while (run < nr && index[run] == pgoff + run)
		run++;
	if (run) {
		*a = (struct area){true, pgoff + run};
		return true;
	}
	if (nr)
		limit = index[0];
	a->end = limit;
	for (u32 i = 0; i < ARRAY_SIZE(sets); i++) {
		if (!range_set_next(sets[i], pgoff, &start, &last))
			continue;
		if (start <= pgoff) {
			*a = (struct area){false, min(limit, last + 1)};
			return true;
		}
		a->end = min(a->end, start);
	}
	return false;
}

/*
 * What is at @pgoff. The tree is looked at first and the extents then: what a
 * commit takes from the one to the other meanwhile is seen in either.
 */
static int find_area(struct address_space *as, u64 pgoff, struct area *a)
{
	enum extent_kind kind;
	bool known;
	u64 end;
	int err;

	mutex_lock(&as->tree_lock);
	known = known_area(as, pgoff, a);
	mutex_unlock(&as->tree_lock);
	if (known)
		return 0;
	err = as->ops->next_extent(as, pgoff, &kind, &end);
	if (err)
		return err;
	a->data = kind == EXTENT_DATA;
	a->end = min(a->end, end);
	return 0;
}

static s64 seek_locked(struct address_space *as, u64 pos, int whence)
{
	u64 size = i_size_read(as);
	struct area a;
	int err;

	while (pos < size) {
		err = find_area(as, pos >> PAGE_SHIFT, &a);
		if (err)
			return err;
		if (a.data == (whence == SEEK_DATA))
			return (s64)pos;
		pos = a.end << PAGE_SHIFT;
	}
	return whence == SEEK_HOLE ? (s64)size : -ENXIO;
}

s64 cache_seek(struct address_space *as, u64 pos, int whence)
{
	s64 ret;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (pos >= i_size_read(as))
		return -ENXIO;
	down_read(&as->invalidate_lock);
	ret = seek_locked(as, pos, whence);
	up_read(&as->invalidate_lock);
	return ret;
}

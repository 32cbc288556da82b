/* SPDX-License-Identifier: MIT */
/*
 * LRU lists: active and inactive, for anon-like pages (uncommitted; eviction
 * costs a swap-out) and file-like ones (committed; eviction is free), and one
 * of pages that may not be evicted.
 *
 * A page enters at the head of an inactive list. Uses only set bits: the first
 * PG_REFERENCED, another one PG_HOT, so that a hit takes no lock. Reclaim looks
 * at the tail of an inactive list: a hot page is moved to the active list, any
 * other may go. What was used once, as by a program that reads through a large
 * file, goes before what was used twice. Active pages come back to the inactive
 * list from the tail, when that list has become short; one that was used since
 * it was last looked at is spared once.
 *
 * Pages are not taken off their list to be looked at, but moved to its other
 * end: so nobody has to put them back, and who scans at the same time sees
 * other pages. A page is on a list only while a tree has it: page_remove()
 * takes it off under the page lock, under which it is put on.
 */
#include "config.h"

#include "internal.h"

static const char *const lru_name = "lru";

void lru_init(struct cache *c)
{
	mutex_init(&c->lru.lock, LOCK_LRU, lru_name);
}

void lru_done(struct cache *c)
{
	mutex_done(&c->lru.lock);
}

u64 lru_nr(const struct cache *c, enum lru_list list)
{
	return atomic_read(&c->lru.lists[list].nr);
}

static void list_unlink(struct cache *c, struct page *p)
{
	struct lru_head *h = &c->lru.lists[p->lru];

	if (p->prev)
		frame_page(c, p->prev)->next = p->next;
	else
		h->first = p->next;
	if (p->next)
		frame_page(c, p->next)->prev = p->prev;
	else
		h->last = p->prev;
	atomic_set(&h->nr, h->nr - 1);
	__atomic_store_n(&p->lru, (u8)LRU_NONE, __ATOMIC_RELAXED);
}

static void list_link(struct cache *c, struct page *p, enum lru_list list)
{
	struct lru_head *h = &c->lru.lists[list];
	u32 frame = page_frame(c, p);

	p->prev = 0;
	p->next = h->first;
	if (h->first)
		frame_page(c, h->first)->prev = frame;
	else
		h->last = frame;
	h->first = frame;
	atomic_set(&h->nr, h->nr + 1);
	__atomic_store_n(&p->lru, (u8)list, __ATOMIC_RELAXED);
}

static enum lru_list list_of(const struct page *p)
{
	bool active = page_test(p, PG_ACTIVE);

	if (page_unevictable(p))
		return LRU_UNEVICTABLE;
	if (page_is_anon(p))
		return active ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON;
	return active ? LRU_ACTIVE_FILE : LRU_INACTIVE_FILE;
}

static bool needs_move(const struct page *p)
{
	return __atomic_load_n(&p->lru, __ATOMIC_RELAXED) != list_of(p);
}

static void place_one(struct cache *c, struct page *p)
{
	enum lru_list list = list_of(p);

	if (p->lru == list)
		return;
	if (p->lru != LRU_NONE)
		list_unlink(c, p);
	list_link(c, p, list);
}

void lru_place(struct cache *c, struct page *const *pages, u32 nr)
{
	u32 i = 0;

	/* Most are where they belong: reclaim moves a page only between lists
	 * of its kind, and sets PG_ACTIVE as it does. */
	while (i < nr && !needs_move(pages[i]))
		i++;
	if (i == nr)
		return;

	mutex_lock(&c->lru.lock);
	for (; i < nr; i++)
		place_one(c, pages[i]);
	mutex_unlock(&c->lru.lock);
}

void lru_del(struct cache *c, struct page *p)
{
	mutex_lock(&c->lru.lock);
	if (p->lru != LRU_NONE)
		list_unlink(c, p);
	mutex_unlock(&c->lru.lock);
}

void mark_page_accessed(struct page *p)
{
	u16 flags = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);

	if (!(flags & PG_REFERENCED))
		page_set(p, PG_REFERENCED);
	else if (!(flags & PG_HOT))
		page_set(p, PG_HOT);
}

/* ---- scanning ---- */

static void rotate(struct cache *c, struct page *p)
{
	enum lru_list list = p->lru;

	list_unlink(c, p);
	list_link(c, p, list);
}

static void move_to(struct cache *c, struct page *p, enum lru_list list,
		    bool active)
{
	if (active)
		page_set(p, PG_ACTIVE);
	else
		(void)page_test_clear(p, PG_ACTIVE);
	(void)page_test_clear(p, PG_SPARED);
	list_unlink(c, p);
	list_link(c, p, list);
}

static bool activate_if_hot(struct cache *c, struct page *p)
{
	if (!page_test_clear(p, PG_HOT))
		return false;

	(void)page_test_clear(p, PG_REFERENCED);
	move_to(c, p, (enum lru_list)(p->lru + 1), true);
	(void)atomic_add(&c->nonresident_age, 1);
	count_inc(c, pgactivate);
	return true;
}

u32 lru_scan(struct cache *c, enum lru_list list, u32 max,
	     struct page **ret_pages, u32 *ret_scanned)
{
	u32 scanned = 0;
	u32 nr = 0;

	mutex_lock(&c->lru.lock);
	while (scanned < max && c->lru.lists[list].last) {
		struct page *p = frame_page(c, c->lru.lists[list].last);

		scanned++;
		if (activate_if_hot(c, p))
			continue;
		rotate(c, p);
		if (get_page_unless_zero(p))
			ret_pages[nr++] = p;
	}
	mutex_unlock(&c->lru.lock);
	*ret_scanned = scanned;
	return nr;
}

u32 lru_shrink_active(struct cache *c, enum lru_list active, u32 max)
{
	u32 moved = 0;

	mutex_lock(&c->lru.lock);
	for (u32 i = 0; i < max && c->lru.lists[active].last; i++) {
		struct page *p = frame_page(c, c->lru.lists[active].last);

		if (page_test_clear(p, PG_HOT | PG_REFERENCED)) {
			rotate(c, p);
			count_inc(c, pgrotated);
			continue;
		}
		move_to(c, p, (enum lru_list)(active - 1), false);
		moved++;
	}
	mutex_unlock(&c->lru.lock);
	count_add(c, pgdeactivate, moved);
	return moved;
}

/*
 * How long the inactive list should be: long enough to see a second use, short
 * enough to leave room to what is known to be used. Source: Linux
 * inactive_is_low(): active may be sqrt(10 * GiB of both) times as long.
 */
static u64 isqrt(u64 n)
{
	u64 r = 0;

	while ((r + 1) * (r + 1) <= n)
		r++;
	return r;
}

bool lru_inactive_is_low(struct cache *c, bool anon)
{
	enum lru_list base = anon ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
	u64 inactive = lru_nr(c, base);
	u64 active = lru_nr(c, (enum lru_list)(base + 1));
	u64 gib = (inactive + active) >> (30 - PAGE_SHIFT);
	u64 ratio = gib ? isqrt(10 * gib) : 1;

	return inactive * ratio < active;
}

static void check_list(struct cache *c, enum lru_list list)
{
	const struct lru_head *h = &c->lru.lists[list];
	u32 prev = 0;
	u64 nr = 0;

	for (u32 f = h->first; f; f = frame_page(c, f)->next) {
		const struct page *p = frame_page(c, f);

		verify(p->lru == list);
		verify(p->prev == prev);
		verify(p->refs > 0);
		prev = f;
		nr++;
	}
	verify(h->last == prev);
	verify(h->nr == nr);
}

void lru_check(struct cache *c)
{
	mutex_lock(&c->lru.lock);
	for (u32 list = LRU_NONE + 1; list < NR_LRU_LISTS; list++)
		check_list(c, (enum lru_list)list);
	mutex_unlock(&c->lru.lock);
}

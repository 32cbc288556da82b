/* SPDX-License-Identifier: MIT */
/*
 * Pages: their lock, references and states, and how they hang in a tree.
 *
 * A page changes its state, and goes into or out of a tree, under its page
 * lock and its file's tree_lock, both; so either is enough to look. While
 * page.mapping is set under the page lock the address_space exists:
 * address_space_done() has to lock each page to take it out.
 *
 *	from	to	by
 *	ABSENT	CLEAN	page_install(), to be filled
 *	ABSENT	SAVED	page_install(): swap-in
 *	ABSENT	DIRTY	page_install(): the copy of a frozen page
 *	CLEAN	DIRTY	piece_mark()
 *	SAVED	DIRTY	piece_mark(); the swap entry is freed or detached
 *	DIRTY	SAVED	batch_write()
 *	SAVED	CLEAN	commit_end()
 *	DIRTY	CLEAN	commit_end(): was committed inline
 *	any	ABSENT	page_remove(): evicted, truncated, replaced by a copy
 *	SAVED	ABSENT	page_uninstall(): swap-in failed
 *
 * What holds in each state is page_check().
 */
#include "config.h"

#include "internal.h"

/* ---- lock and references ---- */

static struct page_waitq *page_waitq(struct page *p, struct cache *c)
{
	return &c->waitqs[page_frame(c, p) % NR_PAGE_WAITQS];
}

bool trylock_page(struct page *p)
{
	u16 old = __atomic_fetch_or(&p->flags, PG_LOCKED, __ATOMIC_ACQ_REL);

	if (old & PG_LOCKED)
		return false;
	lock_rank_tried(LOCK_PAGE, "page");
	return true;
}

/*
 * Who sleeps has set PG_WAITERS while PG_LOCKED was set, holding the queue's
 * lock until it sleeps. So unlock_page() sees the flag, and by taking that
 * lock comes only after the sleeper has gone to sleep.
 */
static void lock_page_slow(struct page *p, struct cache *c)
{
	const u16 want = PG_LOCKED | PG_WAITERS;
	struct page_waitq *q = page_waitq(p, c);

	mutex_lock(&q->lock);
	while (__atomic_fetch_or(&p->flags, want, __ATOMIC_ACQ_REL) & PG_LOCKED)
		waitq_wait(&q->wq, &q->lock);
	mutex_unlock(&q->lock);
}

void lock_page(struct page *p, struct cache *c)
{
	u16 old;

	lock_rank_acquired(LOCK_PAGE, "page", true);
	old = __atomic_fetch_or(&p->flags, PG_LOCKED, __ATOMIC_ACQ_REL);
	if (unlikely(old & PG_LOCKED))
		lock_page_slow(p, c);
}

void unlock_page(struct page *p, struct cache *c)
{
	u16 old = __atomic_fetch_and(&p->flags, (u16) ~(PG_LOCKED | PG_WAITERS),
				     __ATOMIC_ACQ_REL);
	struct page_waitq *q;

	assert(old & PG_LOCKED);
	lock_rank_released(LOCK_PAGE, "page");
	if (likely(!(old & PG_WAITERS)))
		return;

	/* The page may be gone by now; its frame's queue is not. */
	q = page_waitq(p, c);
	mutex_lock(&q->lock);
	waitq_wake_all(&q->wq);
	mutex_unlock(&q->lock);
}

bool get_page_unless_zero(struct page *p)
{
	u32 refs = __atomic_load_n(&p->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&p->refs, &refs, refs + 1, true,
						__ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

void put_page(struct cache *c, struct page *p)
{
	u32 refs = __atomic_fetch_sub(&p->refs, 1, __ATOMIC_ACQ_REL);
	u32 frame;

	assert(refs > 0);
	if (refs > 1)
		return;

	assert(!p->mapping && p->lru == LRU_NONE);
	frame = page_frame(c, p);
	frames_give(c, &frame, 1);
}

struct page *page_init_locked(struct cache *c, u32 frame, u64 index)
{
	struct page *p = frame_page(c, frame);

	assert(p->refs == 0 && !p->mapping);
	p->index = index;
	p->epoch = 0;
	p->swp = 0;
	p->state = PAGE_ABSENT;
	__atomic_store_n(&p->flags, PG_LOCKED, __ATOMIC_RELAXED);
	__atomic_store_n(&p->refs, 1, __ATOMIC_RELEASE);
	lock_rank_tried(LOCK_PAGE, "page");
	return p;
}

/* ---- states ---- */

static __attribute__((unused)) bool transition_ok(enum page_state from,
						  enum page_state to)
{
	static const u8 ok[PAGE_SAVED + 1] = {
		[PAGE_ABSENT] =
			1 << PAGE_CLEAN | 1 << PAGE_DIRTY | 1 << PAGE_SAVED,
		[PAGE_CLEAN] = 1 << PAGE_ABSENT | 1 << PAGE_DIRTY,
		[PAGE_DIRTY] =
			1 << PAGE_ABSENT | 1 << PAGE_SAVED | 1 << PAGE_CLEAN,
		[PAGE_SAVED] =
			1 << PAGE_ABSENT | 1 << PAGE_DIRTY | 1 << PAGE_CLEAN,
	};

	return ok[from] & 1 << to;
}

static void account_state(struct address_space *as, enum page_state state,
			  s64 nr)
{
	/* only we write, with the tree's lock; others look without it */
	atomic_set(&as->nr_state[state], as->nr_state[state] + (u64)nr);
	(void)atomic_add(&as->cache->nr_state[state], nr);
}

void account_swapped(struct address_space *as, s64 nr)
{
	account_state(as, PAGE_SWAPPED, nr);
}

void account_shadow(struct address_space *as, s64 nr)
{
	as->nr_shadow += (u64)nr;
	(void)atomic_add(&as->cache->nr_shadow, nr);
}

void account_trees(struct address_space *as)
{
	struct cache *c = as->cache;
	u64 nodes = as->tree.nr_nodes;
	u64 bytes = nodes * PAGE_TREE_NODE_BYTES +
		    (as->holes.nr + as->frozen_holes.nr + as->lost.nr) *
			    RANGE_NODE_BYTES;

	if (bytes == as->charged_bytes)
		return;
	(void)atomic_add(&c->nr_tree_nodes, nodes - as->charged_nodes);
	(void)atomic_add(&c->page_table_bytes, bytes - as->charged_bytes);
	if (bytes > as->charged_bytes)
		note_bookkeeping(c);
	as->charged_nodes = nodes;
	as->charged_bytes = bytes;
}

/* The tags of the tree that say the state of a page. */
static u32 tags_of(enum page_state state)
{
	switch (state) {
	case PAGE_DIRTY:
		return 1u << PT_DIRTY | 1u << PT_TOWRITE;
	case PAGE_SAVED:
		return 1u << PT_TOWRITE;
	default:
		return 0;
	}
}

void page_set_state(struct page *p, enum page_state to)
{
	struct address_space *as = p->mapping;
	enum page_state from = p->state;

	assert(transition_ok(from, to));
	if (from != PAGE_ABSENT)
		account_state(as, from, -1);
	p->state = (u8)to;
	if (to == PAGE_ABSENT)
		return;

	account_state(as, to, 1);
	if (tags_of(from) != tags_of(to))
		page_tree_retag(&as->tree, p->index, tags_of(to),
				tags_of(from) & ~tags_of(to));
	if (to == PAGE_DIRTY && as->nr_state[PAGE_DIRTY] == 1)
		file_set_dirty(as);
}

void page_unreserve(struct address_space *as, struct page *p)
{
	if (page_test_clear(p, PG_RESERVED))
		as->ops->unreserve(as, 1);
}

int page_install(struct address_space *as, struct page *p, u64 old,
		 enum page_state state)
{
	u64 entry = page_entry(as->cache, p);

	if (old == ENTRY_NONE) {
		int err = page_tree_insert(&as->tree, p->index, entry);

		if (err)
			return err;
		account_trees(as);
	} else {
		(void)page_tree_replace(&as->tree, p->index, entry);
		if (entry_kind(old) == ENTRY_SHADOW)
			account_shadow(as, -1);
		else if (entry_kind(old) == ENTRY_SWAP)
			account_swapped(as, -1);
	}
	get_page(p);
	p->mapping = as;
	page_set_state(p, state);
	rmap_page_install(p);
	return 0;
}

/* What the page kept besides its frame goes where it belongs. */
static void release_content(struct address_space *as, struct page *p, bool dead)
{
	if (p->state == PAGE_SAVED && p->swp) {
		swp_forget(as, p->swp, dead);
		p->swp = 0;
	} else if (p->state == PAGE_DIRTY) {
		if (!dead && is_frozen(as, p->epoch))
			page_detach(as, p);
		else if (!page_test(p, PG_INLINE))
			page_unreserve(as, p);
	}
}

void page_remove(struct address_space *as, struct page *p, u64 entry, bool dead)
{
	assert(p->mapping == as && page_test(p, PG_LOCKED));
	assert(!page_test(p, PG_WRITEBACK));

	/* First: a chain of detached pages goes through the same links. */
	lru_del(as->cache, p);
	rmap_page_remove(p);
	release_content(as, p, dead);
	if (entry == ENTRY_NONE) {
		(void)page_tree_erase(&as->tree, p->index);
		account_trees(as);
	} else {
		(void)page_tree_replace(&as->tree, p->index, entry);
	}
	page_set_state(p, PAGE_ABSENT);
	p->mapping = NULL;
	put_page(as->cache, p);
}

bool in_hole(const struct address_space *as, u64 pgoff)
{
	return range_set_find(&as->holes, pgoff, NULL, NULL) ||
	       range_set_find(&as->frozen_holes, pgoff, NULL, NULL);
}

struct page *find_lock_page(struct address_space *as, u64 index)
{
	struct cache *c = as->cache;

	for (;;) {
		struct page *p;
		u64 entry;

		mutex_lock(&as->tree_lock);
		entry = page_tree_get(&as->tree, index);
		if (entry_kind(entry) != ENTRY_PAGE) {
			mutex_unlock(&as->tree_lock);
			return NULL;
		}
		p = frame_page(c, entry_value(entry));
		get_page(p);
		mutex_unlock(&as->tree_lock);

		lock_page(p, c);
		if (p->mapping == as && p->index == index)
			return p;
		unlock_page(p, c);
		put_page(c, p);
	}
}

/* ---- checking ---- */

void page_check(const struct page *p)
{
	struct address_space *as = p->mapping;
	const struct page_tree *tree = &as->tree;

	verify(p->refs >= 1);
	verify(p->state == PAGE_CLEAN || p->state == PAGE_DIRTY ||
	       p->state == PAGE_SAVED);
	verify(page_tree_get(tree, p->index) == page_entry(as->cache, p));
	verify(page_tree_tag_get(tree, p->index, PT_DIRTY) ==
	       (p->state == PAGE_DIRTY));
	verify(page_tree_tag_get(tree, p->index, PT_TOWRITE) ==
	       page_is_anon(p));
	verify(page_tree_tag_get(tree, p->index, PT_WRITEBACK) ==
	       page_test(p, PG_WRITEBACK));
	verify(page_test(p, PG_UPTODATE) || page_test(p, PG_LOCKED));
	verify((p->swp != 0) == (p->state == PAGE_SAVED));
	rmap_page_check(p);
	if (page_test(p, PG_RESERVED))
		verify(p->state == PAGE_DIRTY);
	if (page_test(p, PG_INLINE))
		verify(page_is_frozen(p));
	if (page_test(p, PG_WRITEBACK))
		verify(page_test(p, PG_LOCKED) && p->state == PAGE_DIRTY);
	if (p->state == PAGE_SAVED) {
		const struct swap_entry *e = swp_entry(as->cache, p->swp);

		verify(u48_get(&e->slot) && e->pgoff == p->index);
		verify(e->epoch == p->epoch);
		verify(!(e->flags & (SWP_DETACHED | SWP_DEAD)));
	}
}

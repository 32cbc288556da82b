/* SPDX-License-Identifier: MIT */
/*
 * Swap: slots, the entries that stand for them, and batches of pages that are
 * written out.
 *
 * Entries are numbered from 1 and never move: segment k of the table holds
 * 64 << k of them. A free entry is on a chain; when the last one is freed, as
 * after a commit of everything, the table is given back.
 *
 * A slot may be read by somebody who has no page to lock (read_uncached()). He
 * pins the entry meanwhile, and who frees it leaves that to him.
 *
 * A slot takes the place of the block that was reserved for its page when it
 * was written to. A foreign one takes none, so its entry holds the reservation
 * until a commit has moved the content to a block (SWP_RESERVED).
 */
#include "config.h"

#include "internal.h"

/* ---- the table ---- */

static void charge_entries(struct cache *c, s64 nr)
{
	(void)atomic_add(&c->page_table_bytes,
			 nr * (s64)sizeof(struct swap_entry));
	if (nr > 0)
		note_bookkeeping(c);
}

void swap_init(struct cache *c)
{
	mutex_init(&c->swap.lock, LOCK_SLOTS, "swap entries");
	c->swap.high = 1;
	c->swap.suspect_lo = UINT64_MAX;
}

static void free_segments(struct swap *s)
{
	for (u32 k = 0; k < SWAP_SEGMENTS; k++) {
		free(s->segments[k]);
		s->segments[k] = NULL;
	}
}

void swap_done(struct cache *c)
{
	assert(c->swap.nr == 0);
	free_segments(&c->swap);
	mutex_done(&c->swap.lock);
}

static bool segment_ready(struct swap *s, u32 swp)
{
	u32 k = 31 - (u32)__builtin_clz(swp + (1u << SWAP_SEGMENT_SHIFT)) -
		SWAP_SEGMENT_SHIFT;

	if (k >= SWAP_SEGMENTS)
		return false;
	if (!s->segments[k])
		s->segments[k] = calloc((size_t)1 << (k + SWAP_SEGMENT_SHIFT),
					sizeof(struct swap_entry));
	return s->segments[k] != NULL;
}

/* Context: locked. Return: 0: out of memory. */
static u32 alloc_entry(struct cache *c)
{
	struct swap *s = &c->swap;
	u32 swp = s->free;

	if (swp) {
		s->free = swp_entry(c, swp)->next;
	} else {
		if (!segment_ready(s, s->high))
			return 0;
		swp = s->high++;
		charge_entries(c, 1);
	}
	s->nr++;
	*swp_entry(c, swp) = (struct swap_entry){};
	return swp;
}

static void free_entry(struct cache *c, u32 swp)
{
	struct swap *s = &c->swap;

	u48_set(&swp_entry(c, swp)->slot, 0);
	swp_entry(c, swp)->next = s->free;
	s->free = swp;
	if (--s->nr > 0 || s->high <= (1u << SWAP_SEGMENT_SHIFT))
		return;

	charge_entries(c, -(s64)(s->high - 1));
	s->high = 1;
	s->free = 0;
	/* no slot is left that a flush may have lost */
	s->suspect_lo = UINT64_MAX;
	s->suspect_hi = 0;
	free_segments(s);
}

static u32 alloc_entries(struct cache *c, u32 want, u32 *ret_swps)
{
	u32 nr = 0;

	mutex_lock(&c->swap.lock);
	while (nr < want) {
		ret_swps[nr] = alloc_entry(c);
		if (!ret_swps[nr])
			break;
		nr++;
	}
	mutex_unlock(&c->swap.lock);
	return nr;
}

static void free_entries(struct cache *c, const u32 *swps, u32 nr)
{
	mutex_lock(&c->swap.lock);
	for (u32 i = 0; i < nr; i++)
		free_entry(c, swps[i]);
	mutex_unlock(&c->swap.lock);
}

/* ---- slots ---- */

static void slots_uncharge(struct cache *c, u32 nr)
{
	(void)atomic_add(&c->swap.nr_slots, -(s64)nr);
}

static void slots_free(struct cache *c, slot_t start, u32 nr)
{
	c->cfg.swap_ops->free(c->cfg.swap_arg, start, nr);
	slots_uncharge(c, nr);
}

/* Up to @want of what @bound slots in all leave. */
static u32 slots_charge(struct cache *c, u32 want, u64 bound)
{
	u64 before = atomic_add(&c->swap.nr_slots, want) - want;
	u64 left = before < bound ? bound - before : 0;

	if (left >= want)
		return want;
	slots_uncharge(c, want - (u32)left);
	return (u32)left;
}

static int slots_full(struct cache *c)
{
	c->cfg.want_commit(c->cfg.want_commit_arg, COMMIT_SWAP_FULL);
	return -ENOSPC;
}

static u64 slots_bound(const struct cache *c, bool commit)
{
	return commit ? UINT64_MAX
		      : atomic_read(&c->knobs[KNOB_swap_size]) >> PAGE_SHIFT;
}

static int slots_alloc(struct cache *c, u32 want, bool commit,
		       slot_t *ret_start, u32 *ret_nr)
{
	u32 charged = slots_charge(c, want, slots_bound(c, commit));
	int err;

	if (!charged)
		return slots_full(c);
	err = c->cfg.swap_ops->alloc(c->cfg.swap_arg, charged, commit,
				     ret_start, ret_nr);
	if (err) {
		slots_uncharge(c, charged);
		return err == -ENOSPC ? slots_full(c) : err;
	}
	assert(*ret_nr >= 1 && *ret_nr <= charged);
	assert(!commit || !(*ret_start & SLOT_FOREIGN));
	if (*ret_nr < charged)
		slots_uncharge(c, charged - *ret_nr);
	return 0;
}

/* Write to the run and fill the entries in. */
static int write_run(struct cache *c, slot_t start, void *const *pages, u32 nr,
		     const u32 *swps)
{
	u64 sums[PIECE_PAGES];
	u64 epoch = 0;
	int err = c->cfg.swap_ops->write(c->cfg.swap_arg, start, nr, pages,
					 sums, &epoch);

	if (err) {
		count_add(c, write_errors, nr);
		return start & SLOT_FOREIGN ? slots_full(c) : err;
	}
	for (u32 i = 0; i < nr; i++) {
		struct swap_entry *e = swp_entry(c, swps[i]);

		u48_set(&e->slot, start + i);
		e->sum = sums[i];
		u48_set(&e->flush_epoch, epoch);
	}
	count_add(c, pgpgout, nr);
	return 0;
}

long swap_write(struct cache *c, void *const *pages, u32 nr, bool commit,
		u32 *ret_swps)
{
	u32 got = alloc_entries(c, min(nr, (u32)PIECE_PAGES), ret_swps);
	slot_t start;
	u32 run;
	int err;

	if (!got)
		return -ENOMEM;
	err = slots_alloc(c, got, commit, &start, &run);
	if (err)
		goto out_entries;
	free_entries(c, ret_swps + run, got - run);
	got = run;
	err = write_run(c, start, pages, run, ret_swps);
	if (err)
		goto out_slots;
	return run;

out_slots:
	slots_free(c, start, run);
out_entries:
	free_entries(c, ret_swps, got);
	return err;
}

static void release(struct cache *c, u32 swp, bool adopted)
{
	struct swap_entry *e = swp_entry(c, swp);

	if (adopted)
		slots_uncharge(c, 1);
	else
		slots_free(c, u48_get(&e->slot), 1);
	free_entries(c, &swp, 1);
}

void swp_free(struct address_space *as, u32 swp)
{
	struct swap_entry *e = swp_entry(as->cache, swp);

	if (e->flags & SWP_RESERVED)
		as->ops->unreserve(as, 1);
	e->flags &= (u16)~SWP_RESERVED;
	if (e->pins)
		e->flags |= SWP_DEAD;
	else
		release(as->cache, swp, false);
}

void swp_free_adopted(struct address_space *as, u32 swp)
{
	struct swap_entry *e = swp_entry(as->cache, swp);

	assert(!swp_foreign(e) && !(e->flags & SWP_RESERVED));
	if (e->pins)
		e->flags |= SWP_DEAD | SWP_ADOPTED;
	else
		release(as->cache, swp, true);
}

void swp_unpin(struct cache *c, u32 swp)
{
	struct swap_entry *e = swp_entry(c, swp);

	assert(e->pins > 0);
	if (--e->pins == 0 && (e->flags & SWP_DEAD))
		release(c, swp, e->flags & SWP_ADOPTED);
}

/* ---- batches ---- */

/* WRITEBACK begins or ends. Context: tree_lock and page lock. */
static void set_writeback(struct page *p, bool on)
{
	struct address_space *as = p->mapping;

	if (on) {
		page_set(p, PG_WRITEBACK);
		page_tree_tag_set(&as->tree, p->index, PT_WRITEBACK);
	} else {
		(void)page_test_clear(p, PG_WRITEBACK);
		page_tree_tag_clear(&as->tree, p->index, PT_WRITEBACK);
	}
	as->nr_writeback += on ? 1 : (u64)-1;
	(void)atomic_add(&as->cache->nr_writeback, on ? 1 : -1);
}

bool batch_add(struct wb_batch *b, struct page *p)
{
	struct address_space *as = p->mapping;

	assert(b->nr < PIECE_PAGES);
	if (!as || p->state != PAGE_DIRTY || page_test(p, PG_INLINE))
		return false;

	mutex_lock(&as->tree_lock);
	set_writeback(p, true);
	mutex_unlock(&as->tree_lock);
	b->pages[b->nr++] = p;
	return true;
}

static int compare_pages(const void *a, const void *b)
{
	const struct page *p = *(struct page *const *)a;
	const struct page *q = *(struct page *const *)b;

	if (p->mapping != q->mapping) {
		if (p->mapping->ino != q->mapping->ino)
			return p->mapping->ino < q->mapping->ino ? -1 : 1;
		return p->mapping < q->mapping ? -1 : 1;
	}
	return p->index < q->index ? -1 : p->index > q->index;
}

/* It stands in @swp now: the slot has what the reservation promised, or the
 * entry holds that instead. */
static void page_saved(struct address_space *as, struct page *p, u32 swp)
{
	struct swap_entry *e = swp_entry(as->cache, swp);

	e->pgoff = p->index;
	e->epoch = p->epoch;
	p->swp = swp;
	if (!swp_foreign(e))
		page_unreserve(as, p);
	else if (page_test_clear(p, PG_RESERVED))
		e->flags |= SWP_RESERVED;
	page_set_state(p, PAGE_SAVED);
}

/* Pages [i, i + nr) are written (@swps) or could not be (NULL). */
static void end_writeback(struct wb_batch *b, u32 i, u32 nr, const u32 *swps)
{
	for (u32 end = i + nr; i < end;) {
		struct address_space *as = b->pages[i]->mapping;

		mutex_lock(&as->tree_lock);
		for (; i < end && b->pages[i]->mapping == as; i++) {
			set_writeback(b->pages[i], false);
			if (swps)
				page_saved(as, b->pages[i], *swps++);
		}
		mutex_unlock(&as->tree_lock);
	}
}

static long batch_write_run(struct wb_batch *b, u32 first)
{
	u32 nr = b->nr - first;
	void *data[PIECE_PAGES];
	u32 swps[PIECE_PAGES];
	long done;

	for (u32 i = 0; i < nr; i++)
		data[i] = page_data(b->cache, b->pages[first + i]);
	done = swap_write(b->cache, data, nr, b->commit, swps);
	if (done > 0)
		end_writeback(b, first, (u32)done, swps);
	return done;
}

long batch_write(struct wb_batch *b)
{
	u32 done = 0;
	long err = 0;

	qsort(b->pages, b->nr, sizeof(*b->pages), compare_pages);
	while (done < b->nr) {
		long nr = batch_write_run(b, done);

		if (nr < 0) {
			err = nr;
			break;
		}
		done += (u32)nr;
	}
	end_writeback(b, done, b->nr - done, NULL);
	b->written += done;
	count_add(b->cache, nr_written, done);
	return done ? (long)done : err;
}

void batch_release(struct wb_batch *b)
{
	for (u32 i = 0; i < b->nr; i++) {
		unlock_page(b->pages[i], b->cache);
		put_page(b->cache, b->pages[i]);
	}
	b->nr = 0;
}

void swap_check(struct cache *c)
{
	struct swap *s = &c->swap;
	u32 nr = 0;

	mutex_lock(&s->lock);
	for (u32 swp = s->free; swp; swp = swp_entry(c, swp)->next) {
		verify(swp < s->high);
		nr++;
	}
	verify(nr + s->nr == s->high - 1);
	verify(atomic_read(&s->nr_slots) == s->nr);
	mutex_unlock(&s->lock);
}

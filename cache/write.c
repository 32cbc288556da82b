/* SPDX-License-Identifier: MIT */
/*
 * Writing.
 *
 * A cut must have all of a piece or none, and may not wait for a device. So
 * everything that can sleep or fail comes first: frames are found, locked and
 * filled where they are only partly overwritten. Then, with the stop held
 * shared, the pages are marked DIRTY, the bytes copied, the size set and the
 * user told; nothing of that sleeps or fails.
 *
 * A write and a commit in flight
 * ------------------------------
 *
 * What the cut has frozen must stay as it was until the commit has it. A frozen
 * DIRTY page is therefore copied to a new frame which takes its place in the
 * tree; the old frame goes to the commit. The copy is DIRTY itself, of the
 * current epoch: should the write then fail, or the commit, the file still has
 * its content. Of a SAVED or SWAPPED page the commit has the slot: in the
 * moment in which the page becomes DIRTY its swap entry is left to the commit
 * (swp_forget()) instead of being freed. It must be that moment: a write that
 * gives up before has not taken the content away.
 *
 * A cut can come between prepare and the stop, and freeze the pages. So that is
 * looked at in the stop again (piece_ready()); if it happened, the stop is
 * left, the pages are copied, and we try again. Only one cut can come at a time
 * and each needs a commit to end first.
 *
 * Without frames
 * --------------
 *
 * When there is no frame the piece goes straight to new slots, in small batches
 * through one buffer of the cache, and in the stop the tree gets the swap
 * entries. invalidate_lock is then held exclusive: without frames there are no
 * page locks that would keep two writers of one page apart. Nothing else
 * inserts or removes entries of the file meanwhile, but eviction and
 * commit_end(), which replace them. The buffer's lock has the rank of a page:
 * its holder waits for the device only.
 */
#include "config.h"

#include "internal.h"

void piece_init(struct piece *pc, struct address_space *as, u64 pos,
		const void *data, size_t len)
{
	pc->as = as;
	pc->pos = pos;
	pc->len = len;
	pc->data = data;
	pc->first = pos >> PAGE_SHIFT;
	pc->nr = (u32)(((pos + len - 1) >> PAGE_SHIFT) - pc->first + 1);
	pc->nr_ready = 0;
	pc->reserved = 0;
	pc->strict = false;
	pc->late = false;
	pc->may_slots = false;
	pc->slots = false;
	pc->nr_spare = 0;
	pc->nr_swps = 0;
	assert(pc->nr <= PIECE_PAGES);
}

/* ---- geometry ---- */

struct span {
	u64 start;     /* of the page */
	u32 from, to;  /* bytes of it that are written */
	size_t offset; /* of these in data */
};

static struct span page_span(const struct piece *pc, u32 i)
{
	struct span s = {.start = (pc->first + i) << PAGE_SHIFT};
	u64 from = max(pc->pos, s.start);
	u64 to = min(pc->pos + pc->len, s.start + PAGE_SIZE);

	s.from = (u32)(from - s.start);
	s.to = (u32)(to - s.start);
	s.offset = (size_t)(from - pc->pos);
	return s;
}

static bool is_whole(const struct span *s)
{
	return s->from == 0 && s->to == PAGE_SIZE;
}

/* Some byte before the end of the file stays as it is. The size can only grow
 * meanwhile, over bytes that read as zeros. */
static bool keeps_bytes(const struct piece *pc, const struct span *s)
{
	u64 size = i_size_read(pc->as);

	if (s->from > 0 && s->start < size)
		return true;
	return s->to < PAGE_SIZE && s->start + s->to < size;
}

static void copy_span(const struct piece *pc, const struct span *s, u8 *page)
{
	const u8 *src = pc->data ? pc->data + s->offset : NULL;

	copy_content(page + s->from, src, s->to - s->from);
}

/* ---- preparing in frames ---- */

static void take_reservation(struct piece *pc, struct page *p)
{
	if (!pc->reserved || page_test(p, PG_RESERVED))
		return;
	pc->reserved--;
	page_set(p, PG_RESERVED);
}

static u32 count_missing(struct piece *pc)
{
	struct address_space *as = pc->as;
	u64 last = pc->first + pc->nr - 1;
	u64 entry[PIECE_PAGES];
	u32 missing = pc->nr;
	u32 nr;

	mutex_lock(&as->tree_lock);
	nr = page_tree_gang(&as->tree, pc->first, last, NULL, entry, pc->nr);
	mutex_unlock(&as->tree_lock);
	for (u32 i = 0; i < nr; i++)
		missing -= entry_kind(entry[i]) == ENTRY_PAGE;
	return missing;
}

/* Return: a frame, 0: none to be had. */
static u32 take_spare(struct piece *pc)
{
	u32 frame = 0;

	if (pc->nr_spare)
		return pc->spare[--pc->nr_spare];
	(void)frames_get(pc->as->cache, 1, &frame);
	return frame;
}

/* Return: 0 with *ret_page NULL: somebody else has put one there. */
static int new_page(struct piece *pc, u32 i, struct page **ret_page)
{
	struct address_space *as = pc->as;
	struct cache *c = as->cache;
	struct span s = page_span(pc, i);
	u32 frame = take_spare(pc);
	struct page *p;
	bool zero;
	int err;

	*ret_page = NULL;
	if (!frame)
		return -ENOMEM;
	p = page_init_locked(c, frame, pc->first + i);
	err = page_install_missing(as, p, &zero);
	if (err)
		goto out_discard;
	if (!is_whole(&s))
		err = fill_page(as, p, zero || !keeps_bytes(pc, &s));
	if (err)
		goto out_uninstall;
	*ret_page = p;
	return 0;

out_uninstall:
	page_uninstall(as, p);
out_discard:
	page_discard(c, p);
	return err == -EEXIST ? 0 : err;
}

static int prepare_page(struct piece *pc, u32 i)
{
	struct page *p = find_lock_page(pc->as, pc->first + i);
	int err;

	while (!p) {
		err = new_page(pc, i, &p);
		if (err)
			return err;
		if (!p)
			p = find_lock_page(pc->as, pc->first + i);
	}
	pc->pages[pc->nr_ready++] = p;
	return 0;
}

/* Put a copy of page @i in its place; the commit gets the page itself. */
static int thaw_page(struct piece *pc, u32 i)
{
	struct address_space *as = pc->as;
	struct cache *c = as->cache;
	struct page *old = pc->pages[i];
	struct page *p;
	u32 frame;
	int err;

	if (pc->strict)
		return -ENOSPC;
	frame = take_spare(pc);
	if (!frame)
		return -ENOMEM;
	p = page_init_locked(c, frame, old->index);
	copy_content(page_data(c, p), page_data(c, old), PAGE_SIZE);
	page_set(p, PG_UPTODATE);

	mutex_lock(&as->tree_lock);
	if (!page_is_frozen(old)) {
		/* The commit has ended. */
		mutex_unlock(&as->tree_lock);
		page_discard(c, p);
		return 0;
	}
	p->epoch = as->epoch;
	take_reservation(pc, p);
	err = page_install(as, p, page_entry(c, old), PAGE_DIRTY);
	assert(!err); /* nothing is allocated for it */
	page_remove(as, old, page_entry(c, p), false);
	mutex_unlock(&as->tree_lock);

	lru_place(c, &p, 1);
	pc->pages[i] = p;
	page_discard(c, old);
	count_inc(c, cow_frozen);
	return err;
}

/* The first page from @i on that is frozen, or nr. Context: tree_lock. */
static u32 next_frozen(const struct piece *pc, u32 i)
{
	if (!pc->as->frozen)
		return pc->nr;
	while (i < pc->nr && !page_is_frozen(pc->pages[i]))
		i++;
	return i;
}

static int thaw_pages(struct piece *pc)
{
	struct address_space *as = pc->as;
	int err = 0;

	for (u32 i = 0; !err; i++) {
		mutex_lock(&as->tree_lock);
		i = next_frozen(pc, i);
		mutex_unlock(&as->tree_lock);
		if (i == pc->nr)
			break;
		err = thaw_page(pc, i);
	}
	return err;
}

static int prepare_frames(struct piece *pc)
{
	u32 missing = count_missing(pc);
	int err;

	if (missing)
		pc->nr_spare = frames_get(pc->as->cache, missing, pc->spare);
	if (pc->nr_spare < missing)
		return -ENOMEM;
	for (u32 i = 0; i < pc->nr; i++) {
		err = prepare_page(pc, i);
		if (err)
			return err;
	}
	return thaw_pages(pc);
}

/* ---- preparing without frames ---- */

static int build_page(struct piece *pc, u32 i, u8 *buf)
{
	struct span s = page_span(pc, i);
	enum page_source from;
	int err = 0;

	if (keeps_bytes(pc, &s))
		err = read_uncached(pc->as, pc->first + i, buf, &from);
	else if (!is_whole(&s))
		memset(buf, 0, PAGE_SIZE);
	if (!err)
		copy_span(pc, &s, buf);
	return err;
}

/* Swap may be full, or bounded. A late write then takes what a commit may, as
 * the volume has a block for it. */
static long write_to_slots(struct piece *pc, void *const *data, u32 nr,
			   u32 *ret_swps)
{
	struct cache *c = pc->as->cache;
	long ret = swap_write(c, data, nr, false, ret_swps);

	if (ret == -ENOSPC && pc->late)
		ret = swap_write(c, data, nr, true, ret_swps);
	return ret;
}

static int write_bounced(struct piece *pc, u32 nr)
{
	struct cache *c = pc->as->cache;
	void *data[BOUNCE_PAGES];
	u32 done = 0;

	for (u32 i = 0; i < nr; i++) {
		int err;

		data[i] = c->bounce + ((size_t)i << PAGE_SHIFT);
		err = build_page(pc, pc->nr_swps + i, data[i]);
		if (err)
			return err;
	}
	while (done < nr) {
		long ret = write_to_slots(pc, data + done, nr - done,
					  pc->swps + pc->nr_swps);

		if (ret < 0)
			return (int)ret;
		done += (u32)ret;
		pc->nr_swps += (u32)ret;
	}
	return 0;
}

static int write_contents(struct piece *pc)
{
	struct cache *c = pc->as->cache;
	int err = 0;

	mutex_lock_nested(&c->bounce_lock);
	while (!err && pc->nr_swps < pc->nr)
		err = write_bounced(pc,
				    min(pc->nr - pc->nr_swps, BOUNCE_PAGES));
	mutex_unlock(&c->bounce_lock);
	/* No memory for swap entries is no space, as to who writes. */
	return err == -ENOMEM ? -ENOSPC : err;
}

/* Lock the page at @i, if any; else see to it that the tree has an entry that
 * can be replaced. */
static int prepare_entry(struct piece *pc, u32 i)
{
	struct address_space *as = pc->as;
	int err = 0;

	pc->pages[i] = find_lock_page(as, pc->first + i);
	pc->nr_ready++;
	if (pc->pages[i])
		return 0;

	mutex_lock(&as->tree_lock);
	if (!page_tree_get(&as->tree, pc->first + i)) {
		err = page_tree_insert(&as->tree, pc->first + i,
				       entry_make(ENTRY_SHADOW, 0));
		if (!err)
			account_shadow(as, 1);
		account_trees(as);
	}
	mutex_unlock(&as->tree_lock);
	return err ? -ENOSPC : 0;
}

static int prepare_slots(struct piece *pc)
{
	int err;

	if (pc->strict)
		return -ENOSPC;
	pc->slots = true;
	err = write_contents(pc);
	for (u32 i = 0; !err && i < pc->nr; i++)
		err = prepare_entry(pc, i);
	return err;
}

/* ---- the steps ---- */

/* Give up what was prepared; pages without content leave the tree. */
static void unprepare(struct piece *pc)
{
	struct cache *c = pc->as->cache;
	struct page *stay[PIECE_PAGES];
	u32 nr = 0;

	for (u32 i = 0; i < pc->nr_ready; i++) {
		struct page *p = pc->pages[i];

		if (!p || !p->mapping)
			continue;
		if (page_test(p, PG_UPTODATE))
			stay[nr++] = p;
		else
			page_uninstall(pc->as, p);
	}
	lru_place(c, stay, nr);
	for (u32 i = 0; i < pc->nr_ready; i++) {
		if (!pc->pages[i])
			continue;
		unlock_page(pc->pages[i], c);
		put_page(c, pc->pages[i]);
	}
	pc->nr_ready = 0;
	if (pc->nr_spare)
		frames_give(c, pc->spare, pc->nr_spare);
	pc->nr_spare = 0;
	for (u32 i = 0; i < pc->nr_swps; i++)
		swp_free(pc->as, pc->swps[i]);
	pc->nr_swps = 0;
}

int piece_prepare(struct piece *pc)
{
	int err = prepare_frames(pc);

	if (err == -ENOMEM && pc->may_slots) {
		unprepare(pc);
		err = prepare_slots(pc);
	}
	return err;
}

static bool is_reserved(const struct piece *pc)
{
	for (u32 i = 0; i < pc->nr; i++)
		if (!page_test(pc->pages[i], PG_RESERVED))
			return false;
	return true;
}

bool piece_ready(const struct piece *pc)
{
	return pc->slots || next_frozen(pc, 0) == pc->nr;
}

int piece_thaw(struct piece *pc)
{
	int err;

	/* What was reserved for a page may have gone to the commit with it. */
	while (!pc->strict && pc->reserved < pc->nr &&
	       !pc->as->ops->reserve(pc->as, 1))
		pc->reserved++;
	err = thaw_pages(pc);
	if (err == -ENOMEM && pc->may_slots) {
		unprepare(pc);
		err = prepare_slots(pc);
	}
	return err;
}

static void mark_page(struct piece *pc, struct page *p)
{
	struct address_space *as = pc->as;

	if (p->state == PAGE_SAVED) {
		swp_forget(as, p->swp, false);
		p->swp = 0;
	}
	if (p->state != PAGE_DIRTY) {
		page_set_state(p, PAGE_DIRTY);
		count_inc(as->cache, nr_dirtied);
	}
	p->epoch = as->epoch;
	take_reservation(pc, p);
}

/* The entry at @i becomes that of the slot. */
static void mark_slot(struct piece *pc, u32 i)
{
	struct address_space *as = pc->as;
	u64 index = pc->first + i;
	u64 entry = entry_make(ENTRY_SWAP, pc->swps[i]);
	u64 old = page_tree_get(&as->tree, index);
	struct swap_entry *e = swp_entry(as->cache, pc->swps[i]);

	e->pgoff = index;
	e->epoch = as->epoch;
	if (swp_foreign(e) && pc->reserved) {
		e->flags |= SWP_RESERVED;
		pc->reserved--;
	}
	if (entry_kind(old) == ENTRY_PAGE) {
		page_remove(as, pc->pages[i], entry, false);
	} else {
		(void)page_tree_replace(&as->tree, index, entry);
		if (entry_kind(old) == ENTRY_SWAP) {
			swp_forget(as, entry_value(old), false);
			account_swapped(as, -1);
		} else {
			account_shadow(as, -1);
		}
	}
	account_swapped(as, 1);
	page_tree_retag(&as->tree, index, 1u << PT_TOWRITE, 1u << PT_DIRTY);
}

void piece_mark(struct piece *pc)
{
	if (pc->slots) {
		for (u32 i = 0; i < pc->nr; i++)
			mark_slot(pc, i);
		pc->nr_swps = 0; /* the tree has them */
		count_add(pc->as->cache, direct_slot_write, pc->nr);
		return;
	}
	for (u32 i = 0; i < pc->nr; i++)
		mark_page(pc, pc->pages[i]);
}

void piece_copy(struct piece *pc)
{
	struct cache *c = pc->as->cache;

	if (pc->slots)
		return;
	for (u32 i = 0; i < pc->nr; i++) {
		struct span s = page_span(pc, i);
		struct page *p = pc->pages[i];

		copy_span(pc, &s, page_data(c, p));
		page_set(p, PG_UPTODATE);
		/* Writing a page bit by bit is using it once. */
		if (s.from == 0)
			mark_page_accessed(p);
	}
}

void piece_finish(struct piece *pc)
{
	unprepare(pc);
	if (pc->reserved)
		pc->as->ops->unreserve(pc->as, pc->reserved);
	pc->reserved = 0;
}

/* ---- cache_write() ---- */

struct writer {
	struct address_space *as;
	u64 pos;
	const u8 *buf;
	size_t len;
	unsigned flags;
	void *arg;
};

void note_change(struct address_space *as)
{
	if (!as->dirtied_when)
		as->dirtied_when = cache_now(as->cache);
}

/* Late writes that could not be stored, and now are. A failure leaves a page
 * noted as lost that is not, which errs on the safe side. */
static void forget_lost(struct piece *pc)
{
	struct address_space *as = pc->as;
	u64 end = pc->pos + pc->len;
	u64 first = (pc->pos + PAGE_SIZE - 1) >> PAGE_SHIFT;
	u64 last;

	if (range_set_empty(&as->lost))
		return;
	last = end >= i_size_read(as) ? bytes_to_pages(end) : end >> PAGE_SHIFT;
	if (last > first)
		(void)!range_set_remove(&as->lost, first, last - 1);
	account_trees(as);
}

static void grow_size(struct address_space *as, u64 end)
{
	if (end <= i_size_read(as))
		return;
	mutex_lock(&as->tree_lock);
	if (end > i_size_read(as)) {
		__atomic_store_n(&as->i_size, end, __ATOMIC_RELEASE);
		as->size_changed = true;
	}
	mutex_unlock(&as->tree_lock);
}

/* In the stop, under tree_lock. Return: 0: done but for the bytes; 1: a cut
 * came in between; -EAGAIN: the end moved; -ENOSPC. */
static int mark_write(struct piece *pc, const struct writer *w)
{
	struct address_space *as = pc->as;

	if ((w->flags & CACHE_WRITE_APPEND) && i_size_read(as) != pc->pos)
		return -EAGAIN;
	if (!piece_ready(pc))
		return 1;
	if (pc->strict && !is_reserved(pc))
		return -ENOSPC;
	piece_mark(pc);
	note_change(as);
	forget_lost(pc);
	return 0;
}

static int apply_write(struct piece *pc, const struct writer *w)
{
	struct address_space *as = pc->as;
	struct rwsem *stop = as->cache->cfg.stop;
	enum change why = w->flags & CACHE_WRITE_WRITEPAGE ? CHANGE_WRITEPAGE
							   : CHANGE_WRITE;
	int ret;

	down_read(stop);
	mutex_lock(&as->tree_lock);
	ret = mark_write(pc, w);
	mutex_unlock(&as->tree_lock);
	if (!ret) {
		piece_copy(pc);
		grow_size(as, pc->pos + pc->len);
		as->ops->content_changed(as, why, pc->pos, pc->len, w->arg);
	}
	up_read(stop);
	return ret;
}

static int write_prepared(struct piece *pc, const struct writer *w)
{
	int ret = piece_prepare(pc);

	while (!ret) {
		ret = apply_write(pc, w);
		if (ret != 1)
			return ret;
		ret = piece_thaw(pc);
	}
	return ret;
}

/* Largest piece: a quarter of the frames, so that small caches work too. */
static size_t piece_bytes(struct cache *c, u64 pos, size_t len)
{
	u32 pages = min(max(frames_limit(c) / 4, 1u), (u32)PIECE_PAGES);
	size_t max = ((size_t)pages << PAGE_SHIFT) - (pos & (PAGE_SIZE - 1));

	return min(len, max);
}

/* Return: false: there is no space, and a smaller piece may do. */
static bool reserve_piece(struct piece *pc, unsigned flags)
{
	struct address_space *as = pc->as;
	struct cache *c = as->cache;

	if (!as->ops->reserve(as, pc->nr)) {
		pc->reserved = pc->nr;
		return true;
	}
	c->cfg.want_commit(c->cfg.want_commit_arg, COMMIT_SPACE);
	pc->strict = !(flags & CACHE_WRITE_WRITEPAGE);
	return !pc->strict || pc->nr == 1;
}

/* Pieces that fail for want of space are tried page by page, since some may
 * be DIRTY already. Context: invalidate_lock. */
static void make_piece(struct piece *pc, const struct writer *w, size_t len)
{
	size_t rest = PAGE_SIZE - (w->pos & (PAGE_SIZE - 1));

	len = piece_bytes(w->as->cache, w->pos, len);
	piece_init(pc, w->as, w->pos, w->buf, len);
	if (reserve_piece(pc, w->flags))
		return;
	piece_init(pc, w->as, w->pos, w->buf, min(len, rest));
	(void)reserve_piece(pc, w->flags);
}

static void note_lost(struct address_space *as, u64 pos, size_t len)
{
	u64 first = pos >> PAGE_SHIFT;
	u64 last = (pos + len - 1) >> PAGE_SHIFT;

	mutex_lock(&as->tree_lock);
	/* Rather too much than nothing: the whole file. */
	if (range_set_add(&as->lost, first, last))
		as->all_lost = true;
	account_trees(as);
	mutex_unlock(&as->tree_lock);
}

/* Return: how many bytes of a late write lie before the end of the file. */
static size_t clip_to_size(const struct address_space *as, u64 pos, size_t len)
{
	u64 size = i_size_read(as);

	return pos < size ? (size_t)min((u64)len, size - pos) : 0;
}

/* Context: invalidate_lock, @exclusive or not. Return: bytes, or -errno;
 * -ENOMEM: again, exclusive. */
static ssize_t write_locked(struct writer *w, bool exclusive)
{
	struct address_space *as = w->as;
	size_t len = w->len;
	struct piece pc;
	int err;

	if (w->flags & CACHE_WRITE_APPEND)
		w->pos = i_size_read(as);
	if ((w->flags & CACHE_WRITE_WRITEPAGE) &&
	    !(w->flags & CACHE_WRITE_EXTEND))
		len = clip_to_size(as, w->pos, len);
	if (!len)
		return (ssize_t)w->len; /* it was truncated away */
	if (w->pos + w->len > (u64)INT64_MAX)
		return -EFBIG;
	make_piece(&pc, w, len);
	pc.may_slots = exclusive;
	pc.late = (w->flags & CACHE_WRITE_WRITEPAGE) != 0;
	err = write_prepared(&pc, w);
	piece_finish(&pc);
	if (!err)
		return (ssize_t)pc.len;
	/* All of what is left: nobody will offer it again. */
	if ((w->flags & CACHE_WRITE_WRITEPAGE) &&
	    (exclusive || (err != -ENOMEM && err != -EAGAIN)))
		note_lost(as, pc.pos, len);
	return err;
}

static ssize_t write_piece(struct writer *w)
{
	struct address_space *as = w->as;
	ssize_t ret;

	do {
		down_read(&as->invalidate_lock);
		ret = write_locked(w, false);
		up_read(&as->invalidate_lock);
	} while (ret == -EAGAIN);
	if (ret != -ENOMEM)
		return ret;

	down_write(&as->invalidate_lock);
	ret = write_locked(w, true);
	up_write(&as->invalidate_lock);
	return ret == -ENOMEM ? -ENOSPC : ret;
}

ssize_t cache_write(struct file *f, u64 pos, const void *buf, size_t len,
		    unsigned flags, void *arg, u64 *ret_pos)
{
	struct writer w = {f->mapping, pos, buf, len, flags, arg};
	ssize_t ret = 0;
	size_t done = 0;

	if (!(flags & CACHE_WRITE_APPEND) &&
	    (pos > (u64)INT64_MAX || len > (u64)INT64_MAX - pos))
		return -EFBIG;
	while (w.len) {
		ret = write_piece(&w);
		if (ret < 0)
			break;
		if (!done && ret_pos)
			*ret_pos = w.pos;
		done += (size_t)ret;
		w.pos += (u64)ret;
		w.buf += ret;
		w.len -= (size_t)ret;
	}
	if (ret < 0)
		return done ? (ssize_t)done : ret;
	return (ssize_t)len;
}

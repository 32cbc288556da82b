/* SPDX-License-Identifier: MIT */
/*
 * Reading: look-up, fill, and reads past the cache.
 *
 * A page that is found with its content is pinned by a reference and sent as
 * it is, without its lock. One that is missing is put into the tree locked and
 * without content; who finds it so waits for its lock and looks again. It is
 * filled from its slot, with zeros (behind the end, or where committed content
 * is dead), or by ops->read_pages().
 *
 * A fill and a commit
 * -------------------
 *
 * read_pages() looks at extents, and a COMMIT may change them at any moment.
 * Can a page be filled with what the volume had before, and stay in the cache
 * as CLEAN afterwards? Page p is filled from the volume only if, at a moment t
 * under tree_lock, p had no page and no swap entry, and was in neither holes
 * nor frozen_holes. At t the locked page goes into the tree. A transaction
 * changes p only if at its cut p was uncommitted or in holes.
 *
 * (a) The cut was before t. If p was uncommitted then, it had an entry, and at
 *     t has none: it was truncated or punched since, then p is in holes at t,
 *     a contradiction; or commit_end() dropped the entry or made it CLEAN and
 *     evictable: after the COMMIT, which read_pages() then sees. If p was in
 *     holes at the cut it is in frozen_holes until commit_end() empties them:
 *     a contradiction, or after the COMMIT again. If the commit failed, its
 *     entries stay and frozen_holes go back to holes.
 * (b) The cut comes after t. To be part of it p must be written or punched
 *     after t and before the cut. A writer waits for p's lock, which the fill
 *     has until read_pages() returned; a punch waits for invalidate_lock, which
 *     the fill holds shared.
 *
 * So the COMMIT either comes before the look at the extents or does not touch
 * p. The block itself is not reused while it is read; that is the user's part.
 *
 * A read past the cache (read_uncached()) leaves no page behind, so (b) does
 * not matter to it: it returns what p was at some moment of the read.
 */
#include "config.h"

#include "internal.h"

struct fill {
	struct address_space *as;
	u32 nr;
	bool zero[PIECE_PAGES];
	bool slot[PIECE_PAGES]; /* it is, or was, in a slot */
	int errs[PIECE_PAGES];
	struct page *pages[PIECE_PAGES];
};

/* ---- one run of a fill: pages [i, i + nr) ---- */

static bool is_behind_eof(const struct address_space *as, u64 pgoff)
{
	return pgoff >= bytes_to_pages(i_size_read(as));
}

static u32 volume_run(const struct fill *f, u32 i)
{
	u32 nr = 1;

	while (i + nr < f->nr && !f->zero[i + nr] &&
	       f->pages[i + nr]->state == PAGE_CLEAN)
		nr++;
	return nr;
}

static slot_t slot_of(const struct fill *f, u32 i)
{
	const struct page *p = f->pages[i];

	return p->state == PAGE_SAVED
		       ? u48_get(&swp_entry(f->as->cache, p->swp)->slot)
		       : 0;
}

static u32 slot_run(const struct fill *f, u32 i)
{
	u32 nr = 1;

	while (i + nr < f->nr && slot_of(f, i + nr) == slot_of(f, i) + nr)
		nr++;
	return nr;
}

static int read_volume(struct fill *f, u32 i, u32 nr, void *const *data)
{
	struct address_space *as = f->as;

	count_add(as->cache, pgpgin, nr);
	return as->ops->read_pages(as, f->pages[i]->index, nr, data,
				   &f->errs[i]);
}

/* The page locks keep the slots ours: nobody else frees them. */
static int read_slots(struct fill *f, u32 i, u32 nr, void *const *data)
{
	struct cache *c = f->as->cache;
	u64 sums[PIECE_PAGES];

	for (u32 k = 0; k < nr; k++)
		sums[k] = swp_entry(c, f->pages[i + k]->swp)->sum;
	count_add(c, pswpin, nr);
	return c->cfg.swap_ops->read(c->cfg.swap_arg, slot_of(f, i), nr, data,
				     sums, &f->errs[i]);
}

/* Return: pages done. */
static u32 fill_run(struct fill *f, u32 i)
{
	struct cache *c = f->as->cache;
	bool saved = f->pages[i]->state == PAGE_SAVED;
	u32 nr = saved ? slot_run(f, i) : volume_run(f, i);
	void *data[PIECE_PAGES];
	int err;

	for (u32 k = 0; k < nr; k++)
		data[k] = page_data(c, f->pages[i + k]);
	err = saved ? read_slots(f, i, nr, data) : read_volume(f, i, nr, data);
	for (u32 k = 0; err && k < nr; k++)
		f->errs[i + k] = err;
	return nr;
}

void pages_read_failed(struct address_space *as, u64 pgoff, u32 nr, int err)
{
	count_add(as->cache, read_errors, nr);
	if (as->ops->read_failed)
		as->ops->read_failed(as, pgoff, nr, err);
}

/* Once for neighbours. */
static void fill_tell(const struct fill *f)
{
	for (u32 i = 0, n; i < f->nr; i += n) {
		u64 pgoff = f->pages[i]->index;

		n = 1;
		while (i + n < f->nr && f->errs[i + n] == f->errs[i] &&
		       f->pages[i + n]->index == pgoff + n)
			n++;
		if (f->errs[i])
			pages_read_failed(f->as, pgoff, n, f->errs[i]);
	}
}

static void fill_read(struct fill *f)
{
	struct cache *c = f->as->cache;

	memset(f->errs, 0, f->nr * sizeof(*f->errs));
	for (u32 i = 0; i < f->nr;) {
		if (f->zero[i]) {
			copy_content(page_data(c, f->pages[i]), NULL,
				     PAGE_SIZE);
			i++;
		} else {
			i += fill_run(f, i);
		}
	}
	fill_tell(f);
}

int fill_page(struct address_space *as, struct page *p, bool zero)
{
	struct fill f;

	f.as = as;
	f.nr = 1;
	f.zero[0] = zero;
	f.pages[0] = p;
	fill_read(&f);
	if (!f.errs[0])
		page_set(p, PG_UPTODATE);
	return f.errs[0];
}

/* ---- pages for what is missing ---- */

void page_uninstall(struct address_space *as, struct page *p)
{
	mutex_lock(&as->tree_lock);
	if (p->state == PAGE_SAVED) {
		u64 entry = entry_make(ENTRY_SWAP, p->swp);

		p->swp = 0; /* the tree has it again */
		page_remove(as, p, entry, false);
		account_swapped(as, 1);
	} else {
		page_remove(as, p, ENTRY_NONE, false);
	}
	mutex_unlock(&as->tree_lock);
}

/* Context: tree_lock. Return: 0, -EEXIST (a page is there), -ENOMEM. */
static int install_missing(struct address_space *as, struct page *p,
			   bool *ret_zero)
{
	u64 old = page_tree_get(&as->tree, p->index);
	enum page_state state = PAGE_CLEAN;
	u32 shadow = 0;
	int err;

	if (entry_kind(old) == ENTRY_PAGE)
		return -EEXIST;
	if (entry_kind(old) == ENTRY_SWAP) {
		const struct swap_entry *e =
			swp_entry(as->cache, entry_value(old));

		p->swp = entry_value(old);
		p->epoch = e->epoch;
		shadow = e->shadow;
		state = PAGE_SAVED;
	} else if (entry_kind(old) == ENTRY_SHADOW) {
		shadow = entry_value(old);
	}
	err = page_install(as, p, old, state);
	if (err)
		return err;
	if (shadow)
		workingset_refault(as->cache, p, shadow);
	*ret_zero = state == PAGE_CLEAN &&
		    (is_behind_eof(as, p->index) || in_hole(as, p->index));
	return 0;
}

int page_install_missing(struct address_space *as, struct page *p,
			 bool *ret_zero)
{
	int err;

	mutex_lock(&as->tree_lock);
	err = install_missing(as, p, ret_zero);
	mutex_unlock(&as->tree_lock);
	return err;
}

/* Let go of a page that no tree has. */
void page_discard(struct cache *c, struct page *p)
{
	unlock_page(p, c);
	put_page(c, p);
}

/* Install pages from @first on until one is there or frames run out.
 * Return: 0, -EEXIST, -ENOMEM: why it stopped. */
static int fill_install(struct fill *f, u64 first, const u32 *frames, u32 nr)
{
	struct address_space *as = f->as;
	struct cache *c = as->cache;
	struct page *p = NULL;
	int err = 0;

	f->nr = 0;
	mutex_lock(&as->tree_lock);
	while (f->nr < nr) {
		p = page_init_locked(c, frames[f->nr], first + f->nr);
		err = install_missing(as, p, &f->zero[f->nr]);
		if (err)
			break;
		f->slot[f->nr] = p->state == PAGE_SAVED;
		f->pages[f->nr++] = p;
	}
	mutex_unlock(&as->tree_lock);

	if (!err)
		return 0;
	page_discard(c, p);
	frames_give(c, frames + f->nr + 1, nr - f->nr - 1);
	return err;
}

/* Pages with content go to the LRU, the others leave. References stay. */
static void fill_finish(struct fill *f, u16 flags)
{
	struct cache *c = f->as->cache;
	struct page *good[PIECE_PAGES];
	u32 nr_good = 0;

	for (u32 i = 0; i < f->nr; i++) {
		if (f->errs[i]) {
			page_uninstall(f->as, f->pages[i]);
			continue;
		}
		page_set(f->pages[i], PG_UPTODATE | flags);
		good[nr_good++] = f->pages[i];
	}
	lru_place(c, good, nr_good);
	for (u32 i = 0; i < f->nr; i++)
		unlock_page(f->pages[i], c);
}

/*
 * Bring up to @nr pages in from @first on, which is missing; stops at one that
 * is not. The caller gets a reference to each. Context: invalidate_lock.
 * Return: 0, -ENOMEM without a frame or a place in the tree. f->nr may be 0:
 * somebody was faster.
 */
static int fill_pages(struct fill *f, u64 first, u32 nr, u16 flags)
{
	struct cache *c = f->as->cache;
	u32 frames[PIECE_PAGES];
	u32 got;
	int err;

	f->nr = 0;
	got = frames_get(c, min(nr, (u32)PIECE_PAGES), frames);
	if (!got)
		return -ENOMEM;
	err = fill_install(f, first, frames, got);
	if (err == -ENOMEM && !f->nr)
		return err;
	fill_read(f);
	fill_finish(f, flags);
	return 0;
}

static void fill_put(struct fill *f, u32 from)
{
	for (u32 i = from; i < f->nr; i++)
		put_page(f->as->cache, f->pages[i]);
}

/* Length of the run of missing pages at *@first, which moves over pages that
 * are there. */
static u32 missing_run(struct address_space *as, u64 *first, u64 last)
{
	u64 index[64];
	u64 entry[64];
	u64 end;
	u32 nr, i;

	mutex_lock(&as->tree_lock);
	nr = page_tree_gang(&as->tree, *first, last, index, entry, 64);
	mutex_unlock(&as->tree_lock);

	for (i = 0;
	     i < nr && index[i] == *first && entry_kind(entry[i]) == ENTRY_PAGE;
	     i++)
		(*first)++;
	for (; i < nr && entry_kind(entry[i]) != ENTRY_PAGE; i++)
		;
	if (i < nr)
		end = index[i];
	else
		end = nr == 64 ? index[nr - 1] + 1 : last + 1;
	return end > *first ? (u32)min(end - *first, (u64)PIECE_PAGES) : 0;
}

long fill_range(struct address_space *as, u64 first, u64 last, u16 flags)
{
	struct fill f = {.as = as};
	long done = 0;

	while (first <= last) {
		u32 nr = missing_run(as, &first, last);

		if (!nr)
			continue;
		if (fill_pages(&f, first, nr, flags))
			return done;
		if (f.nr && f.errs[0])
			done = done ? done : f.errs[0];
		fill_put(&f, 0);
		if (done < 0)
			return done;
		done += f.nr;
		first += max(f.nr, 1u);
	}
	return done;
}

/* ---- reading past the cache ---- */

static int read_pinned_slot(struct address_space *as, u64 entry, void *buf)
	__releases(as->tree_lock)
{
	struct cache *c = as->cache;
	u32 swp = entry_value(entry);
	struct swap_entry *e = swp_entry(c, swp);
	slot_t slot = u48_get(&e->slot);
	u64 sum = e->sum;
	bool same;
	int perr = 0;
	int err;

	e->pins++;
	mutex_unlock(&as->tree_lock);

	count_inc(c, pswpin);
	err = c->cfg.swap_ops->read(c->cfg.swap_arg, slot, 1, &buf, &sum,
				    &perr);
	mutex_lock(&as->tree_lock);
	same = !(e->flags & SWP_DEAD);
	swp_unpin(c, swp);
	mutex_unlock(&as->tree_lock);

	if (!err)
		err = perr;
	/* A slot that a commit adopted meanwhile may have been freed by the
	 * next one: what was read says nothing about the file. */
	return err && !same ? -EAGAIN : err;
}

static int read_page_content(struct address_space *as, u64 entry, void *buf)
	__releases(as->tree_lock)
{
	struct cache *c = as->cache;
	struct page *p = frame_page(c, entry_value(entry));

	get_page(p);
	mutex_unlock(&as->tree_lock);
	if (page_test(p, PG_UPTODATE)) {
		copy_content(buf, page_data(c, p), PAGE_SIZE);
		put_page(c, p);
		return 0;
	}
	lock_page(p, c);
	unlock_page(p, c);
	put_page(c, p);
	return -EAGAIN;
}

/* Releases tree_lock. Return: -EAGAIN: look again. */
static int read_entry(struct address_space *as, u64 pgoff, void *buf,
		      enum page_source *ret_from) __releases(as->tree_lock)
{
	u64 entry = page_tree_get(&as->tree, pgoff);
	bool zero;
	int perr = 0;
	int err;

	*ret_from = FROM_MEMORY;
	if (entry_kind(entry) == ENTRY_PAGE)
		return read_page_content(as, entry, buf);
	if (entry_kind(entry) == ENTRY_SWAP) {
		*ret_from = FROM_SLOT;
		return read_pinned_slot(as, entry, buf);
	}

	zero = is_behind_eof(as, pgoff) || in_hole(as, pgoff);
	mutex_unlock(&as->tree_lock);
	if (zero) {
		memset(buf, 0, PAGE_SIZE);
		return 0;
	}
	*ret_from = FROM_VOLUME;
	count_inc(as->cache, pgpgin);
	err = as->ops->read_pages(as, pgoff, 1, &buf, &perr);
	return err ? err : perr;
}

int read_uncached(struct address_space *as, u64 pgoff, void *buf,
		  enum page_source *ret_from)
{
	int err;

	do {
		mutex_lock(&as->tree_lock);
		err = read_entry(as, pgoff, buf, ret_from);
	} while (err == -EAGAIN);
	if (err)
		pages_read_failed(as, pgoff, 1, err);
	return err;
}

/* ---- cache_read() ---- */

struct reader {
	struct file *f;
	struct address_space *as;
	struct cache_read *rd;
	u64 pos;
	u64 end;
	u64 first;    /* page of pos */
	u32 nr;	      /* pages in all */
	u32 done;     /* pages added */
	u32 max_pins; /* of frames; the rest goes through the bounce buffer */
};

static void add_iov(struct reader *r, u8 *page)
{
	struct cache_read *rd = r->rd;
	u64 start = (r->first + r->done) << PAGE_SHIFT;
	u64 from = max(r->pos, start);
	u64 to = min(r->end, start + PAGE_SIZE);
	struct iovec *last = rd->nr_iov ? &rd->iov[rd->nr_iov - 1] : NULL;
	u8 *base = page + (from - start);

	r->done++;
	if (last && (u8 *)last->iov_base + last->iov_len == base) {
		last->iov_len += to - from;
		return;
	}
	rd->iov[rd->nr_iov++] = (struct iovec){base, to - from};
}

/* Takes over a reference. */
static void add_page(struct reader *r, struct page *p)
{
	struct cache *c = r->as->cache;

	/* Reading a page bit by bit is using it once. */
	if (p->index != atomic_read(&r->f->ra_prev))
		mark_page_accessed(p);
	r->rd->frames[r->rd->nr_frames++] = page_frame(c, p);
	add_iov(r, page_data(c, p));
}

static void add_hit(struct reader *r, struct page *p)
{
	if (unlikely(page_test_clear(p, PG_READAHEAD)))
		count_inc(r->as->cache, readahead_hit);
	add_page(r, p);
}

#define HIT_GANG 32

/* The file ends before: no errno, for read_pages() may answer any. */
#define READ_CUT (-4096)

/* Add the pages that are here, up to the first that is not.
 * Return: how many. */
static u32 read_hits(struct reader *r)
{
	struct address_space *as = r->as;
	struct cache *c = as->cache;
	u64 next = r->first + r->done;
	u32 max = min(r->nr - r->done, (u32)HIT_GANG);
	u64 index[HIT_GANG];
	u64 entry[HIT_GANG];
	struct page *pages[HIT_GANG];
	u32 found;
	u32 nr = 0;

	max = min(max, r->max_pins - r->rd->nr_frames);
	mutex_lock(&as->tree_lock);
	found = page_tree_gang(&as->tree, next, next + max - 1, index, entry,
			       max);
	while (nr < found && index[nr] == next + nr &&
	       entry_kind(entry[nr]) == ENTRY_PAGE) {
		pages[nr] = frame_page(c, entry_value(entry[nr]));
		if (!page_test(pages[nr], PG_UPTODATE))
			break;
		get_page(pages[nr++]);
	}
	mutex_unlock(&as->tree_lock);

	for (u32 i = 0; i < nr; i++)
		add_hit(r, pages[i]);
	count_add(c, cache_hit, nr);
	return nr;
}

static void note_source(struct read_fault *fault, enum page_source from)
{
	fault->nr_volume += from == FROM_VOLUME;
	fault->nr_slot += from == FROM_SLOT;
}

/* No frame for the next page: through the caller's buffer.
 * Return: pages, or -errno. Context: invalidate_lock. */
static int read_bounce(struct reader *r)
{
	u8 *buf = (u8 *)r->rd->bounce + ((size_t)r->done << PAGE_SHIFT);
	enum page_source from;
	int err = read_uncached(r->as, r->first + r->done, buf, &from);

	if (err)
		return err;
	note_source(&r->rd->fault, from);
	count_inc(r->as->cache, bounce_read);
	add_iov(r, buf);
	return 1;
}

static enum page_source source_of(const struct fill *f, u32 i)
{
	if (f->zero[i])
		return FROM_MEMORY;
	return f->slot[i] ? FROM_SLOT : FROM_VOLUME;
}

/* Hand what was filled to the reader. Return: pages, or -errno. */
static int take_filled(struct reader *r, struct fill *f)
{
	struct cache *c = r->as->cache;
	u32 want = min(r->nr - r->done, r->max_pins - r->rd->nr_frames);
	u32 nr = min(f->nr, want);
	u32 i;

	for (i = 0; i < nr && !f->errs[i]; i++) {
		add_page(r, f->pages[i]);
		note_source(&r->rd->fault, source_of(f, i));
	}
	fill_put(f, i);
	if (i < nr && !i)
		return f->errs[0];
	count_add(c, cache_miss, i);
	return (int)i;
}

/* Pages of a fill that go beyond what was asked for. */
static void mark_readahead(struct reader *r, struct fill *f)
{
	struct cache *c = r->as->cache;
	u32 want = min(r->nr - r->done, r->max_pins - r->rd->nr_frames);

	for (u32 i = want; i < f->nr; i++) {
		if (f->errs[i])
			continue;
		page_set(f->pages[i], PG_READAHEAD);
		count_inc(c, readahead_pages);
	}
}

static u32 fill_size(struct reader *r, u64 next)
{
	u64 pages = bytes_to_pages(i_size_read(r->as));
	u32 window = readahead_window(r->f, next, r->nr - r->done);

	return (u32)min((u64)window, pages - next);
}

/* Context: invalidate_lock shared. Return: pages, 0: look again, -errno. */
static int read_missing(struct reader *r)
{
	struct fill f = {.as = r->as};
	u64 next = r->first + r->done;
	u64 first = next;
	u64 size = i_size_read(r->as);
	u32 nr;

	/* Truncated meanwhile, maybe within the first page. */
	if (max(r->pos, next << PAGE_SHIFT) >= size)
		return READ_CUT;
	r->end = min(r->end, size);
	if (r->rd->nr_frames == r->max_pins)
		return read_bounce(r);

	nr = missing_run(r->as, &first, next + fill_size(r, next) - 1);
	if (first != next || !nr)
		return 0;
	if (fill_pages(&f, next, nr, 0) == -ENOMEM)
		return read_bounce(r);
	mark_readahead(r, &f);
	return take_filled(r, &f);
}

/* Wait for a page that somebody else fills. Return: false: there is none. */
static bool wait_filled(struct reader *r)
{
	struct address_space *as = r->as;
	struct cache *c = as->cache;
	struct page *p;
	u64 entry;

	mutex_lock(&as->tree_lock);
	entry = page_tree_get(&as->tree, r->first + r->done);
	if (entry_kind(entry) != ENTRY_PAGE ||
	    r->rd->nr_frames == r->max_pins) {
		mutex_unlock(&as->tree_lock);
		return false;
	}
	p = frame_page(c, entry_value(entry));
	get_page(p);
	mutex_unlock(&as->tree_lock);

	if (!page_test(p, PG_UPTODATE)) {
		lock_page(p, c);
		unlock_page(p, c);
	}
	put_page(c, p);
	return true;
}

static int read_miss(struct reader *r)
{
	int ret;

	if (wait_filled(r))
		return 0;
	down_read(&r->as->invalidate_lock);
	ret = read_missing(r);
	up_read(&r->as->invalidate_lock);
	return ret;
}

static ssize_t read_result(struct reader *r, int err)
{
	ssize_t len = 0;

	for (u32 i = 0; i < r->rd->nr_iov; i++)
		len += (ssize_t)r->rd->iov[i].iov_len;
	if (len > 0) {
		readahead_done(r->f, r->first, r->done);
		r->rd->fault.pgoff = r->first;
		r->rd->fault.nr = r->done;
		return len;
	}
	return err == READ_CUT ? 0 : err;
}

ssize_t cache_read(struct file *f, u64 pos, size_t len, struct cache_read *rd)
{
	struct address_space *as = f->mapping;
	u64 size = i_size_read(as);
	struct reader r = {.f = f, .as = as, .rd = rd, .pos = pos};
	int ret = 0;

	rd->nr_iov = 0;
	rd->nr_frames = 0;
	rd->fault = (struct read_fault){};
	if (pos >= size || !len)
		return 0;

	len = min(len, (size_t)PIECE_PAGES << PAGE_SHIFT);
	r.end = min(pos + len, size);
	r.first = pos >> PAGE_SHIFT;
	r.nr = (u32)(((r.end - 1) >> PAGE_SHIFT) - r.first + 1);
	r.max_pins = min(max(frames_limit(as->cache) / 4, 8u),
			 (u32)CACHE_READ_MAX_PAGES);
	readahead_begin(f, r.first, r.nr);
	while (r.done < r.nr && (r.first + r.done) << PAGE_SHIFT < r.end) {
		if (rd->nr_frames < r.max_pins && read_hits(&r))
			continue;
		ret = read_miss(&r);
		if (ret < 0)
			break;
	}
	return read_result(&r, ret);
}

void cache_read_done(struct cache *c, struct cache_read *rd)
{
	for (u32 i = 0; i < rd->nr_frames; i++)
		put_page(c, frame_page(c, rd->frames[i]));
	rd->nr_frames = 0;
	rd->nr_iov = 0;
}

/* ---- reading by copying, and ahead ---- */

#define COPY_PAGES 16

/* One piece of cache_read_copy(). */
static ssize_t read_copy_piece(struct file *f, u64 pos, u8 *buf, size_t len,
			       struct cache_read *rd)
{
	ssize_t ret = cache_read(f, pos, len, rd);

	for (u32 i = 0; i < rd->nr_iov; i++) {
		copy_content(buf, rd->iov[i].iov_base, rd->iov[i].iov_len);
		buf += rd->iov[i].iov_len;
	}
	cache_read_done(f->mapping->cache, rd);
	return ret;
}

ssize_t cache_read_copy(struct file *f, u64 pos, void *buf, size_t len)
{
	const size_t piece = (size_t)COPY_PAGES << PAGE_SHIFT;
	struct cache_read rd;
	size_t done = 0;
	ssize_t ret = 0;

	rd.bounce = aligned_alloc(PAGE_SIZE, piece + PAGE_SIZE);
	if (!rd.bounce)
		return -ENOMEM;
	while (done < len) {
		ret = read_copy_piece(f, pos + done, (u8 *)buf + done,
				      min(len - done, piece), &rd);
		if (ret <= 0)
			break;
		done += (size_t)ret;
	}
	free(rd.bounce);
	return done ? (ssize_t)done : ret;
}

int cache_prefetch(struct file *f, u64 pos, u64 len)
{
	struct address_space *as = f->mapping;
	u64 size = i_size_read(as);
	long ret = 0;

	if (pos >= size || !len)
		return 0;
	len = min(len, size - pos);
	down_read(&as->invalidate_lock);
	ret = fill_range(as, pos >> PAGE_SHIFT, (pos + len - 1) >> PAGE_SHIFT,
			 PG_READAHEAD);
	up_read(&as->invalidate_lock);
	if (ret > 0)
		count_add(as->cache, readahead_pages, ret);
	return ret < 0 ? (int)ret : 0;
}

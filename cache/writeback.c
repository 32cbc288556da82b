/* SPDX-License-Identifier: MIT */
/*
 * Writeback: DIRTY pages to slots, so that few pages exist only in memory and
 * a commit has little left to write.
 *
 * The flusher writes while there are more DIRTY pages than the background
 * threshold, and those of files that have had some for longer than
 * dirty_expire. Files take turns.
 *
 * Throttling. A writer may dirty pages no faster than they are written out, or
 * the threshold is met at full speed and everybody stops. Up to halfway between
 * the two thresholds nobody waits. From there on the writers' rate is that of
 * the device, as measured, times a factor that is 1 at the setpoint (the middle
 * between there and the limit), falls with the cube of the distance from it to
 * 0 at the limit, and rises the same way below: steep at the ends, where it
 * matters, and flat in the middle, so that pauses are steady. A pause is the
 * pages just dirtied over that rate, at most 200 ms.
 * Source: Linux mm/page-writeback.c, pos_ratio_polynom().
 */
#include "config.h"

#include "internal.h"

#define GANG 32
#define FLUSH_TURN 1024u
#define MAX_PAUSE_NS (200 * NSEC_PER_MSEC)
#define RATIO_SHIFT 10
#define INITIAL_BANDWIDTH (100u << (20 - PAGE_SHIFT)) /* 100 MiB/s */

/* ---- thresholds ---- */

static u64 threshold(const struct cache *c, enum cache_knob knob, u32 percent)
{
	u64 bytes = atomic_read(&c->knobs[knob]);
	u64 size = atomic_read(&c->knobs[KNOB_cache_size]);

	if (!bytes)
		bytes = size / 100 * percent;
	return bytes >> PAGE_SHIFT;
}

u64 dirty_limit_pages(const struct cache *c)
{
	return threshold(c, KNOB_dirty_bytes, 20);
}

u64 dirty_background_pages(const struct cache *c)
{
	u64 background = threshold(c, KNOB_dirty_background_bytes, 10);

	/* As Linux: a background threshold that is no lower makes no sense. */
	return min(background, dirty_limit_pages(c) / 2);
}

/* ---- writing pages of a file ---- */

long batch_flush(struct wb_batch *b)
{
	long ret = b->nr ? batch_write(b) : 0;

	batch_release(b);
	return ret;
}

static bool is_wanted(const struct address_space *as, const struct page *p,
		      bool frozen)
{
	const struct commit_file *cf = &as->commit;

	if (!frozen)
		return true;
	return page_is_frozen(p) &&
	       (p->index < cf->dead_first || p->index > cf->dead_last);
}

/* References to the next DIRTY pages. */
static u32 find_dirty(struct address_space *as, u64 *cursor, bool frozen,
		      struct page **ret_pages, u32 max)
{
	u64 index[GANG];
	u64 entry[GANG];
	u32 wanted = 0;
	u32 nr;

	mutex_lock(&as->tree_lock);
	do {
		nr = page_tree_gang_tag(&as->tree, *cursor, PGOFF_MAX, PT_DIRTY,
					index, entry, max);
		for (u32 i = 0; i < nr; i++) {
			struct page *p =
				frame_page(as->cache, entry_value(entry[i]));

			if (!is_wanted(as, p, frozen))
				continue;
			get_page(p);
			ret_pages[wanted++] = p;
		}
		if (nr)
			*cursor = index[nr - 1] + 1;
	} while (nr == max && !wanted);
	mutex_unlock(&as->tree_lock);
	return wanted;
}

void flush_noting(struct wb_batch *b, long *ret_err)
{
	long ret = batch_flush(b);

	if (ret < 0 && !*ret_err)
		*ret_err = ret;
}

/* Takes over a reference. Return: whether it is in the batch. */
static bool add_dirty(struct wb_batch *b, struct page *p, bool wait,
		      long *ret_err)
{
	struct cache *c = b->cache;
	bool locked = trylock_page(p);

	if (!locked && wait) {
		/* Who has it may wait for a page that we have. */
		flush_noting(b, ret_err);
		lock_page(p, c);
		locked = true;
	}
	if (locked && batch_add(b, p)) {
		if (b->nr == PIECE_PAGES)
			flush_noting(b, ret_err);
		return true;
	}
	if (locked)
		unlock_page(p, c);
	put_page(c, p);
	return false;
}

u64 write_pages(struct wb_batch *b, struct address_space *as, u64 *cursor,
		u64 max, bool wait, bool frozen, long *ret_err)
{
	struct page *pages[GANG];
	u64 added = 0;
	u32 nr;

	while (added < max) {
		nr = find_dirty(as, cursor, frozen, pages, GANG);
		if (!nr)
			break;
		for (u32 i = 0; i < nr; i++)
			added += add_dirty(b, pages[i], wait, ret_err);
	}
	return added;
}

/* ---- which file ---- */

void file_set_dirty(struct address_space *as)
{
	struct cache *c = as->cache;

	as->written_when = cache_now(c);
	mutex_lock(&c->list_lock);
	if (list_empty(&as->dirty_node))
		list_add_tail(&as->dirty_node, &c->dirty_files);
	mutex_unlock(&c->list_lock);
}

/* The file whose turn it is, with a reference. */
static struct address_space *next_dirty_file(struct cache *c)
{
	struct address_space *as = NULL;

	mutex_lock(&c->list_lock);
	if (!list_empty(&c->dirty_files)) {
		as = list_first_entry(&c->dirty_files, struct address_space,
				      dirty_node);
		as->users++;
		list_move_tail(&as->dirty_node, &c->dirty_files);
	}
	mutex_unlock(&c->list_lock);
	return as;
}

static u32 nr_dirty_files(struct cache *c)
{
	struct list_head *pos;
	u32 nr = 0;

	mutex_lock(&c->list_lock);
	list_for_each (pos, &c->dirty_files)
		nr++;
	mutex_unlock(&c->list_lock);
	return nr;
}

static bool is_expired(struct address_space *as)
{
	struct cache *c = as->cache;
	u64 expire = atomic_read(&c->knobs[KNOB_dirty_expire_centisecs]) *
		     (NSEC_PER_SEC / 100);
	u64 when;

	mutex_lock(&as->tree_lock);
	when = as->written_when;
	mutex_unlock(&as->tree_lock);
	return cache_now(c) >= when + expire;
}

/* A pass over the file is done: what is DIRTY now is younger than its begin.
 * Nothing DIRTY: off the list, which file_set_dirty() puts it on again. */
static void pass_done(struct address_space *as, u64 begun)
{
	struct cache *c = as->cache;

	mutex_lock(&as->tree_lock);
	as->written_when = begun;
	mutex_lock(&c->list_lock);
	if (!as->nr_state[PAGE_DIRTY] && !list_empty(&as->dirty_node))
		list_del(&as->dirty_node);
	mutex_unlock(&c->list_lock);
	mutex_unlock(&as->tree_lock);
}

/* ---- the flusher ---- */

static u64 nr_dirty(const struct cache *c)
{
	return atomic_read(&c->nr_state[PAGE_DIRTY]);
}

/* Pages a second, as an average that forgets half in some rounds. */
static void measure_bandwidth(struct cache *c, u64 pages, u64 ns)
{
	u64 old = atomic_read(&c->write_bandwidth);
	u64 now;

	if (pages < GANG || !ns)
		return;
	now = pages * NSEC_PER_SEC / ns;
	atomic_set(&c->write_bandwidth, max((old * 7 + now) / 8, 1u));
}

/* Write up to a turn of pages of one file. */
static u64 flush_file(struct address_space *as, bool all, long *ret_err)
{
	struct cache *c = as->cache;
	struct wb_batch b = {.cache = c};
	u64 begun = cache_now(c);
	u64 max = all ? UINT64_MAX : FLUSH_TURN;
	u64 cursor = 0;
	u64 nr = write_pages(&b, as, &cursor, max, false, false, ret_err);

	flush_noting(&b, ret_err);
	if (nr < max && !*ret_err)
		pass_done(as, begun);
	measure_bandwidth(c, b.written, cache_now(c) - begun);
	count_add(c, nr_flusher_written, b.written);
	return b.written;
}

/* One turn for each file. */
static u64 flush_round(struct cache *c, long *ret_err)
{
	u64 done = 0;

	for (u32 n = nr_dirty_files(c); n && !*ret_err; n--) {
		struct address_space *as = next_dirty_file(c);
		bool expired;

		if (!as)
			break;
		expired = is_expired(as);
		if (expired || nr_dirty(c) > dirty_background_pages(c))
			done += flush_file(as, expired, ret_err);
		file_put(as);
	}
	return done;
}

long cache_flush_step(struct cache *c)
{
	u64 done = 0;
	long err = 0;
	u64 nr;

	do {
		nr = flush_round(c, &err);
		done += nr;
	} while (nr && !err && nr_dirty(c) > dirty_background_pages(c));
	return done ? (long)done : err;
}

void flusher_work(struct cache *c)
{
	(void)cache_flush_step(c);
}

/* ---- throttling ---- */

/* (1 << RATIO_SHIFT) at the setpoint, 0 at the limit. */
static u64 position_ratio(u64 dirty, u64 free, u64 limit)
{
	s64 setpoint = (s64)((free + limit) / 2);
	s64 span = max((s64)limit - setpoint, 1);
	s64 x = (setpoint - (s64)dirty) * (1 << RATIO_SHIFT) / span;
	s64 cube;

	x = max(min(x, (s64)1 << RATIO_SHIFT), -((s64)1 << RATIO_SHIFT));
	cube = x * x * x / (1 << 2 * RATIO_SHIFT);
	return (u64)(cube + (1 << RATIO_SHIFT));
}

static u64 pause_for(const struct cache *c, u64 dirty, u64 free, u64 limit,
		     u32 nr)
{
	u64 bandwidth = atomic_read(&c->write_bandwidth);
	u64 rate;

	if (dirty >= limit)
		return MAX_PAUSE_NS;
	if (!bandwidth)
		bandwidth = INITIAL_BANDWIDTH;
	rate = bandwidth * position_ratio(dirty, free, limit) >> RATIO_SHIFT;
	if (!rate)
		return MAX_PAUSE_NS;
	return min(nr * NSEC_PER_SEC / rate, MAX_PAUSE_NS);
}

u64 cache_balance_dirty(struct address_space *as, u32 nr)
{
	struct cache *c = as->cache;
	u64 background = dirty_background_pages(c);
	u64 limit = dirty_limit_pages(c);
	u64 free = (background + limit) / 2;
	u64 dirty = nr_dirty(c);
	u64 pause;

	if (dirty > background)
		worker_wake(&c->flusher);
	if (dirty <= free)
		return 0;
	pause = pause_for(c, dirty, free, limit, nr);
	if (pause) {
		count_inc(c, throttled);
		count_add(c, throttled_ms, pause / NSEC_PER_MSEC);
	}
	return pause;
}

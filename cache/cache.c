/* SPDX-License-Identifier: MIT */
/*
 * The cache as a whole: making and freeing one, its threads, knobs and
 * counters, and the list of its files.
 */
#include "config.h"

#include <time.h>

#include "internal.h"

#define FLUSHER_PERIOD_NS NSEC_PER_SEC

static u64 monotonic_ns(void *arg)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* ---- threads ---- */

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	mutex_lock(&w->lock);
	while (!w->stop) {
		if (!w->woken && w->period_ns)
			(void)waitq_wait_until(&w->wq, &w->lock,
					       monotonic_ns(NULL) +
						       w->period_ns);
		else if (!w->woken)
			waitq_wait(&w->wq, &w->lock);
		w->woken = false;
		if (w->stop)
			break;
		mutex_unlock(&w->lock);
		w->fn(w->cache);
		mutex_lock(&w->lock);
	}
	mutex_unlock(&w->lock);
	return NULL;
}

void worker_init(struct worker *w, struct cache *c, void (*fn)(struct cache *),
		 u64 period_ns)
{
	w->cache = c;
	w->fn = fn;
	w->period_ns = period_ns;
	mutex_init(&w->lock, LOCK_LEAF, "worker");
	waitq_init(&w->wq);
}

void worker_done(struct worker *w)
{
	assert(!w->running);
	waitq_done(&w->wq);
	mutex_done(&w->lock);
}

bool worker_running(const struct worker *w)
{
	return __atomic_load_n(&w->running, __ATOMIC_ACQUIRE);
}

int worker_start(struct worker *w)
{
	int err;

	w->stop = false;
	err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err)
		return -err;
	__atomic_store_n(&w->running, true, __ATOMIC_RELEASE);
	return 0;
}

void worker_wake(struct worker *w)
{
	if (!worker_running(w))
		return;
	mutex_lock(&w->lock);
	w->woken = true;
	waitq_wake_one(&w->wq);
	mutex_unlock(&w->lock);
}

void worker_stop(struct worker *w)
{
	if (!worker_running(w))
		return;
	mutex_lock(&w->lock);
	w->stop = true;
	waitq_wake_one(&w->wq);
	mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	__atomic_store_n(&w->running, false, __ATOMIC_RELEASE);
}

int cache_start(struct cache *c)
{
	int err = worker_start(&c->kswapd);

	if (err)
		return err;
	err = worker_start(&c->flusher);
	if (!err)
		err = readahead_start(c);
	if (err)
		cache_stop(c);
	return err;
}

void cache_stop(struct cache *c)
{
	readahead_stop(c);
	worker_stop(&c->flusher);
	worker_stop(&c->kswapd);
}

/* ---- making and freeing ---- */

static const u64 knob_defaults[KNOB_NR] = {
#define X(name, unit, def, lo, hi) [KNOB_##name] = (def),
	CACHE_KNOBS(X)
#undef X
};

static void init_locks(struct cache *c)
{
	mutex_init(&c->bounce_lock, LOCK_PAGE, "bounce");
	mutex_init(&c->list_lock, LOCK_LRU, "files");
	waitq_init(&c->list_wq);
	for (u32 i = 0; i < NR_PAGE_WAITQS; i++) {
		mutex_init(&c->waitqs[i].lock, LOCK_LEAF, "page wait queue");
		waitq_init(&c->waitqs[i].wq);
	}
}

static void done_locks(struct cache *c)
{
	mutex_done(&c->bounce_lock);
	mutex_done(&c->list_lock);
	waitq_done(&c->list_wq);
	for (u32 i = 0; i < NR_PAGE_WAITQS; i++) {
		mutex_done(&c->waitqs[i].lock);
		waitq_done(&c->waitqs[i].wq);
	}
}

static void init_parts(struct cache *c)
{
	init_locks(c);
	list_init(&c->files);
	list_init(&c->dirty_files);
	lru_init(c);
	swap_init(c);
	readahead_init(c);
	mm_table_init(&c->mms);
	worker_init(&c->kswapd, c, kswapd_work, 0);
	worker_init(&c->flusher, c, flusher_work, FLUSHER_PERIOD_NS);
}

static bool config_ok(const struct cache_config *cfg)
{
	return cfg->size >= CACHE_MIN_PAGES * PAGE_SIZE &&
	       cfg->max_size >= cfg->size && cfg->swap_ops && cfg->stop &&
	       cfg->want_commit;
}

int cache_new(const struct cache_config *cfg, struct cache **ret_cache)
{
	struct cache *c;
	int err;

	if (!config_ok(cfg))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->cfg = *cfg;
	if (!c->cfg.now)
		c->cfg.now = monotonic_ns;
	memcpy(c->knobs, knob_defaults, sizeof(c->knobs));
	c->knobs[KNOB_cache_size] = cfg->size;

	c->bounce = aligned_alloc(PAGE_SIZE, BOUNCE_PAGES * PAGE_SIZE);
	err = c->bounce ? frames_init(c) : -ENOMEM;
	if (err) {
		free(c->bounce);
		free(c);
		return err;
	}
	init_parts(c);
	*ret_cache = c;
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	cache_stop(c);
	assert(list_empty(&c->files));
	assert(c->frames.nr_used == 0);
	worker_done(&c->kswapd);
	worker_done(&c->flusher);
	readahead_free(c);
	mm_table_done(c);
	swap_done(c);
	lru_done(c);
	done_locks(c);
	frames_done(c);
	free(c->bounce);
	free(c);
}

/* ---- bookkeeping of the user ---- */

/* What an uncommitted page can take by itself in trees and swap entries. */
#define UNCOMMITTED_BYTES \
	(sizeof(struct swap_entry) + 3ull * PAGE_TREE_NODE_BYTES)

static u64 nr_uncommitted(const struct cache *c)
{
	return atomic_read(&c->nr_state[PAGE_DIRTY]) +
	       atomic_read(&c->nr_state[PAGE_SAVED]) +
	       atomic_read(&c->nr_state[PAGE_SWAPPED]) +
	       atomic_read(&c->nr_detached);
}

/* Of the trees only what a commit can set free: the nodes of committed pages
 * are reclaim's business, mappings are bounded by themselves, and both no
 * reason to hold writers back. */
bool cache_metadata_would_be_over(const struct cache *c, s64 more)
{
	u64 trees =
		atomic_read(&c->page_table_bytes) - atomic_read(&c->mms.bytes);
	u64 bytes = atomic_read(&c->metadata_bytes) + (u64)more +
		    min(trees, nr_uncommitted(c) * UNCOMMITTED_BYTES);

	return bytes > atomic_read(&c->knobs[KNOB_cache_size]) / 4;
}

bool cache_metadata_over(const struct cache *c)
{
	return cache_metadata_would_be_over(c, 0);
}

void note_bookkeeping(struct cache *c)
{
	if (cache_metadata_over(c))
		c->cfg.want_commit(c->cfg.want_commit_arg, COMMIT_METADATA);
}

void cache_charge(struct cache *c, s64 bytes)
{
	(void)atomic_add(&c->metadata_bytes, bytes);
	if (bytes > 0) {
		note_bookkeeping(c);
		kswapd_wake(c); /* it leaves less for frames */
	}
}

void cache_set_copies(struct cache *c, u64 bytes)
{
	atomic_set(&c->copies_bytes, bytes);
	kswapd_wake(c);
}

/* ---- knobs ---- */

static const struct {
	const char *name;
	u64 lo, hi;
} knob_info[KNOB_NR] = {
#define X(name, unit, def, lo, hi) [KNOB_##name] = {#name, (lo), (hi)},
	CACHE_KNOBS(X)
#undef X
};

int cache_set_knob(struct cache *c, enum cache_knob knob, u64 value)
{
	if (value < knob_info[knob].lo || value > knob_info[knob].hi)
		return -EINVAL;
	if (knob == KNOB_cache_size && value > c->cfg.max_size)
		return -EINVAL;

	atomic_set(&c->knobs[knob], value);
	if (knob == KNOB_cache_size) {
		rmap_limit_mlocked(c);
		reclaim_to_limit(c);
	}
	return 0;
}

u64 cache_get_knob(const struct cache *c, enum cache_knob knob)
{
	return atomic_read(&c->knobs[knob]);
}

int cache_find_knob(const char *name)
{
	for (int knob = 0; knob < KNOB_NR; knob++)
		if (!strcmp(knob_info[knob].name, name))
			return knob;
	return -ENOENT;
}

const char *cache_knob_name(enum cache_knob knob)
{
	return knob_info[knob].name;
}

/* ---- counters and gauges ---- */

void cache_counters(const struct cache *c, struct cache_counters *ret)
{
#define X(name, ...) ret->name = atomic_read(&c->count.name);
	CACHE_COUNTERS(X)
#undef X
}

static u64 header_bytes(u64 nr_frames)
{
	return nr_frames * sizeof(struct page);
}

void cache_gauges(const struct cache *c, struct cache_gauges *ret)
{
	const u64 *nr = c->nr_state;
	u64 detached = atomic_read(&c->nr_detached);

	ret->nr_frames = frames_limit(c);
	ret->nr_free_pages = frames_free(c);
	ret->nr_file_pages = atomic_read(&nr[PAGE_CLEAN]);
	ret->nr_dirty = atomic_read(&nr[PAGE_DIRTY]);
	ret->nr_saved = atomic_read(&nr[PAGE_SAVED]);
	ret->nr_swapped = atomic_read(&nr[PAGE_SWAPPED]);
	ret->nr_anon_pages = ret->nr_dirty + ret->nr_saved;
	ret->nr_uncommitted = ret->nr_anon_pages + ret->nr_swapped + detached;
	ret->nr_active_anon = lru_nr(c, LRU_ACTIVE_ANON);
	ret->nr_inactive_anon = lru_nr(c, LRU_INACTIVE_ANON);
	ret->nr_active_file = lru_nr(c, LRU_ACTIVE_FILE);
	ret->nr_inactive_file = lru_nr(c, LRU_INACTIVE_FILE);
	ret->nr_unevictable = lru_nr(c, LRU_UNEVICTABLE);
	ret->nr_writeback = atomic_read(&c->nr_writeback);
	ret->nr_slots = atomic_read(&c->swap.nr_slots);
	ret->nr_shadow = atomic_read(&c->nr_shadow);
	ret->nr_tree_nodes = atomic_read(&c->nr_tree_nodes);
	ret->page_table_bytes = atomic_read(&c->page_table_bytes) +
				header_bytes(ret->nr_frames);
	ret->metadata_bytes = atomic_read(&c->metadata_bytes);
	ret->nr_address_spaces = atomic_read(&c->nr_files);
	ret->nr_mapped = atomic_read(&c->nr_mapped);
	ret->nr_mlock = atomic_read(&c->nr_mlocked);
	ret->nr_mms = atomic_read(&c->mms.nr_mms);
	ret->nr_vmas = atomic_read(&c->mms.nr_vmas);
}

/* ---- files ---- */

void address_space_init(struct address_space *as, struct cache *c,
			const struct address_space_operations *ops, u64 ino,
			u64 size)
{
	*as = (struct address_space){
		.cache = c,
		.ops = ops,
		.ino = ino,
		.i_size = size,
		.dead_first = 1,
	};
	rwsem_init(&as->invalidate_lock, LOCK_INVALIDATE, "invalidate");
	mutex_init(&as->tree_lock, LOCK_TREE, "page tree");
	list_init(&as->dirty_node);

	mutex_lock(&c->list_lock);
	list_add_tail(&as->node, &c->files);
	atomic_set(&c->nr_files, c->nr_files + 1);
	mutex_unlock(&c->list_lock);
}

/* Nobody finds it any more; who has found it lets go soon: he waits for the
 * device at most. */
static void unlist_file(struct address_space *as)
{
	struct cache *c = as->cache;

	mutex_lock(&c->list_lock);
	while (as->users)
		waitq_wait(&c->list_wq, &c->list_lock);
	list_del(&as->node);
	list_del(&as->dirty_node);
	atomic_set(&c->nr_files, c->nr_files - 1);
	mutex_unlock(&c->list_lock);
}

void address_space_done(struct address_space *as)
{
	readahead_cancel(as->cache, as);
	mm_forget_mapping(as);
	drop_all(as);
	unlist_file(as);
	range_set_clear(&as->holes);
	range_set_clear(&as->lost);
	assert(range_set_empty(&as->frozen_holes));
	account_trees(as);
	mutex_done(&as->tree_lock);
	rwsem_done(&as->invalidate_lock);
}

bool address_space_dirty(struct address_space *as)
{
	bool dirty;

	mutex_lock(&as->tree_lock);
	dirty = as->nr_state[PAGE_DIRTY] || as->nr_state[PAGE_SAVED] ||
		as->nr_state[PAGE_SWAPPED] || as->size_changed || as->frozen ||
		!range_set_empty(&as->holes) || !range_set_empty(&as->lost) ||
		as->all_lost;
	mutex_unlock(&as->tree_lock);
	return dirty;
}

void file_get(struct address_space *as)
{
	struct cache *c = as->cache;

	mutex_lock(&c->list_lock);
	as->users++;
	mutex_unlock(&c->list_lock);
}

static void put_locked(struct address_space *as)
{
	if (--as->users == 0)
		waitq_wake_all(&as->cache->list_wq);
}

void file_put(struct address_space *as)
{
	struct cache *c = as->cache;

	mutex_lock(&c->list_lock);
	put_locked(as);
	mutex_unlock(&c->list_lock);
}

struct address_space *next_file(struct cache *c, struct address_space *as)
{
	struct list_head *node;
	struct address_space *next = NULL;

	mutex_lock(&c->list_lock);
	node = as ? as->node.next : c->files.next;
	if (node != &c->files) {
		next = list_entry(node, struct address_space, node);
		next->users++;
	}
	if (as)
		put_locked(as);
	mutex_unlock(&c->list_lock);
	return next;
}

/* ---- pinning ---- */

#define PIN_GANG 32

/* Put the pages of a gang on the list where they belong now. */
static u32 place_gang(struct address_space *as, u64 *next)
{
	struct cache *c = as->cache;
	u64 index[PIN_GANG];
	u64 entry[PIN_GANG];
	u32 nr;

	mutex_lock(&as->tree_lock);
	nr = page_tree_gang(&as->tree, *next, PGOFF_MAX, index, entry,
			    PIN_GANG);
	mutex_unlock(&as->tree_lock);
	for (u32 i = 0; i < nr; i++) {
		struct page *p = find_lock_page(as, index[i]);

		*next = index[i] + 1;
		if (!p)
			continue;
		lru_place(c, &p, 1);
		unlock_page(p, c);
		put_page(c, p);
	}
	return nr;
}

void address_space_pin(struct address_space *as, bool pin)
{
	u64 next = 0;

	(void)atomic_add(&as->pinned, pin ? 1 : -1);
	while (place_gang(as, &next) == PIN_GANG)
		;
}

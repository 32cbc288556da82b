/* SPDX-License-Identifier: MIT */
/*
 * Committing: what a cut has frozen is given slots, listed, and becomes the
 * committed content when the user's transaction is durable.
 *
 * The cut (commit_add()) raises as->epoch. Uncommitted content of an older
 * epoch is frozen from then on; what is written later has the new one. Nothing
 * is visited: whether a page is frozen can be told from its epoch whenever
 * somebody looks (is_frozen()).
 *
 * Who wants to change frozen content leaves it to the commit first:
 *
 *	DIRTY page	page_detach(): the frame goes to cf->detached_frames
 *	SAVED, SWAPPED	swp_forget(): the swap entry goes to
 *			cf->detached_swps, or is on the commit's list already
 *			and is only marked SWP_DETACHED
 *	inline page	the commit has a reference; nothing to do
 *
 * commit_writeout() then sees to it that each frozen content has a swap entry
 * on cf->swps (SWP_COLLECTED), sorted by page, in this order:
 *
 * 1. The frozen DIRTY pages are written out: afterwards there are none in the
 *    tree (each was SAVED, or detached by a writer), and no new ones can come.
 * 2. The tree is walked and the entries of SAVED and SWAPPED pages are put on
 *    the list. Behind the walk all are COLLECTED; before it some may be
 *    detached meanwhile.
 * 3. So detached frames, written out in turn, and detached entries are complete
 *    only now, and are merged in.
 * 4. What stands in foreign slots, or in slots that a failed flush may have
 *    lost, is moved to others, piece by piece (commit_move_slots()).
 *
 * A file of few pages, all DIRTY, is kept for inline instead: the pages stay
 * where they are (PG_INLINE: not written out, so not evicted).
 *
 * commit_end() looks whether the tree still refers to an entry, and not what
 * state pages are in: SAVED becomes CLEAN, SWAPPED ABSENT, and of all others
 * only the entry goes, since the slot is part of an extent now in any case. The
 * next commit has the newer content. If the commit failed, what the tree refers
 * to stays uncommitted, and what was detached is freed: newer content, or a
 * hole, stands for it.
 *
 * frozen_holes are emptied before any page becomes CLEAN: a CLEAN page can be
 * evicted, and a read of it must then ask the volume and not take the hole for
 * what is there.
 *
 * Waiting: the committer waits for page locks, with none held. Nobody who holds
 * a page lock waits for the committer.
 */
#include "config.h"

#include "commit_int.h"

/* ---- what writers and truncation leave to it ---- */

void swp_forget(struct address_space *as, u32 swp, bool dead)
{
	struct swap_entry *e = swp_entry(as->cache, swp);

	if (dead || !is_frozen(as, e->epoch)) {
		assert(!(e->flags & SWP_COLLECTED));
		swp_free(as, swp);
		return;
	}
	e->flags |= SWP_DETACHED;
	account_detached(as->cache, 1);
	if (e->flags & SWP_COLLECTED)
		return;
	e->next = as->frozen->detached_swps;
	as->frozen->detached_swps = swp;
}

void page_detach(struct address_space *as, struct page *p)
{
	account_detached(as->cache, 1);
	if (page_test(p, PG_INLINE))
		return;
	get_page(p);
	p->next = as->frozen->detached_frames;
	as->frozen->detached_frames = page_frame(as->cache, p);
}

/* ---- begin, and the cut ---- */

struct commit *commit_new(struct cache *cache)
{
	struct commit *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!c->page) {
		free(c);
		return NULL;
	}
	c->cache = cache;
	list_init(&c->files);
	return c;
}

void commit_free(struct commit *c)
{
	if (!c)
		return;
	assert(list_empty(&c->files));
	free(c->inlines);
	free(c->page);
	free(c->piece);
	free(c);
}

long commit_prewrite(struct cache *cache, struct address_space *as)
{
	struct wb_batch b = {.cache = cache, .commit = true};
	u64 cursor = 0;
	long err = 0;
	u64 nr = write_pages(&b, as, &cursor, UINT64_MAX, false, false, &err);
	long ret = batch_flush(&b);

	if (!err && ret < 0)
		err = ret;
	return err ? err : (long)nr;
}

static u64 nr_uncommitted(const struct address_space *as)
{
	return as->nr_state[PAGE_DIRTY] + as->nr_state[PAGE_SAVED] +
	       as->nr_state[PAGE_SWAPPED];
}

static void freeze(struct commit *c, struct address_space *as)
{
	struct commit_file *cf = &as->commit;

	*cf = (struct commit_file){
		.commit = c,
		.size = i_size_read(as),
		.nr_frozen = nr_uncommitted(as),
		.dirtied_when = as->dirtied_when,
		.dead_first = as->dead_first,
		.dead_last = as->dead_last,
		.size_changed = as->size_changed,
		.err = as->all_lost || !range_set_empty(&as->lost) ? -EIO : 0,
	};
	assert(range_set_empty(&as->frozen_holes));
	range_set_move(&as->holes, &as->frozen_holes);
	as->size_changed = false;
	as->dirtied_when = 0;
	as->epoch++;
	as->frozen = cf;
	list_add_tail(&cf->node, &c->files);
	c->stat.files++;
	c->stat.pages += cf->nr_frozen;
	c->stat.holed += !range_set_empty(&as->frozen_holes);
}

void commit_add(struct commit *c, struct address_space *as)
{
	mutex_lock(&as->tree_lock);
	if (!as->frozen)
		freeze(c, as);
	assert(as->frozen->commit == c);
	mutex_unlock(&as->tree_lock);
}

/* ---- the list of swap entries ---- */

static void collect(struct commit *c, struct commit_file *cf, u32 swp)
{
	struct swap_entry *e = swp_entry(c->cache, swp);

	assert(!(e->flags & SWP_COLLECTED));
	e->flags |= SWP_COLLECTED;
	e->next = 0;
	if (cf->swps_last)
		swp_entry(c->cache, cf->swps_last)->next = swp;
	else
		cf->swps = swp;
	cf->swps_last = swp;
}

/* The swap entry of what is frozen at a tree entry, 0: nothing is.
 * *ret_left: a DIRTY page is, which could not be written. */
static u32 frozen_swp(struct address_space *as, u64 entry, bool *ret_left)
{
	struct page *p = frame_page(as->cache, entry_value(entry));

	if (!is_frozen(as, entry_epoch(as->cache, entry)))
		return 0;
	if (entry_kind(entry) == ENTRY_SWAP)
		return entry_value(entry);
	if (p->state == PAGE_DIRTY)
		*ret_left = true;
	return p->state == PAGE_SAVED ? p->swp : 0;
}

static u32 collect_gang(struct commit *c, struct commit_file *cf, u64 *next,
			bool *ret_left)
{
	struct address_space *as = cf_mapping(cf);
	u64 index[GANG];
	u64 entry[GANG];
	u32 nr;

	mutex_lock(&as->tree_lock);
	nr = page_tree_gang_tag(&as->tree, *next, PGOFF_MAX, PT_TOWRITE, index,
				entry, GANG);
	for (u32 i = 0; i < nr; i++) {
		u32 swp = is_dead(cf, index[i])
				  ? 0
				  : frozen_swp(as, entry[i], ret_left);

		if (swp)
			collect(c, cf, swp);
		*next = index[i] + 1;
	}
	mutex_unlock(&as->tree_lock);
	return nr;
}

/* Return: false: pages are left that could not be written. */
static bool collect_tree(struct commit *c, struct commit_file *cf)
{
	u64 next = 0;
	bool left = false;

	while (collect_gang(c, cf, &next, &left) == GANG)
		;
	return !left;
}

/* ---- what was detached ---- */

/* Take up to @max detached frames off. */
static u32 take_frames(struct commit *c, struct commit_file *cf,
		       struct page **ret_pages, u32 max)
{
	struct address_space *as = cf_mapping(cf);
	u32 nr = 0;

	mutex_lock(&as->tree_lock);
	while (nr < max && cf->detached_frames) {
		struct page *p = frame_page(c->cache, cf->detached_frames);

		cf->detached_frames = p->next;
		ret_pages[nr++] = p;
	}
	mutex_unlock(&as->tree_lock);
	return nr;
}

static void return_frames(struct commit *c, struct commit_file *cf,
			  struct page *const *pages, u32 nr)
{
	struct address_space *as = cf_mapping(cf);

	mutex_lock(&as->tree_lock);
	for (u32 i = 0; i < nr; i++) {
		pages[i]->next = cf->detached_frames;
		cf->detached_frames = page_frame(c->cache, pages[i]);
	}
	mutex_unlock(&as->tree_lock);
}

/* The content of a detached frame stands in a slot now. */
static void frame_saved(struct commit *c, struct commit_file *cf,
			struct page *p, u32 swp)
{
	struct address_space *as = cf_mapping(cf);
	struct swap_entry *e = swp_entry(c->cache, swp);

	e->pgoff = p->index;
	e->epoch = p->epoch;
	e->flags = SWP_DETACHED;
	mutex_lock(&as->tree_lock);
	page_unreserve(as, p);
	e->next = cf->detached_swps;
	cf->detached_swps = swp;
	mutex_unlock(&as->tree_lock);
	put_page(c->cache, p);
}

static long save_some_frames(struct commit *c, struct commit_file *cf)
{
	struct page *pages[PIECE_PAGES];
	void *data[PIECE_PAGES];
	u32 swps[PIECE_PAGES];
	u32 nr = take_frames(c, cf, pages, PIECE_PAGES);
	long ret = 0;

	for (u32 i = 0; i < nr; i++)
		data[i] = page_data(c->cache, pages[i]);
	if (nr)
		ret = swap_write(c->cache, data, nr, true, swps);
	for (long i = 0; i < ret; i++)
		frame_saved(c, cf, pages[i], swps[i]);
	return_frames(c, cf, pages + max(ret, 0l), nr - (u32)max(ret, 0l));
	if (ret > 0) {
		c->stat.written += (u64)ret;
		count_add(c->cache, nr_written, ret);
	}
	return ret;
}

static int save_frames(struct commit *c, struct commit_file *cf)
{
	long ret;

	do {
		ret = save_some_frames(c, cf);
	} while (ret > 0);
	return (int)ret;
}

/* Merge two lists that are sorted by page. */
static u32 merge(struct cache *c, u32 a, u32 b)
{
	u32 head = 0;
	u32 *link = &head;

	while (a && b) {
		u32 *first = swp_entry(c, a)->pgoff < swp_entry(c, b)->pgoff
				     ? &a
				     : &b;

		*link = *first;
		link = &swp_entry(c, *first)->next;
		*first = *link;
	}
	*link = a ? a : b;
	return head;
}

/* Merge sort, bottom up: list k of @sorted has 2^k entries. */
static u32 sort_swps(struct cache *c, u32 swps)
{
	u32 sorted[32] = {0};
	u32 list, k;

	while (swps) {
		list = swps;
		swps = swp_entry(c, list)->next;
		swp_entry(c, list)->next = 0;
		for (k = 0; k < 31 && sorted[k]; k++) {
			list = merge(c, sorted[k], list);
			sorted[k] = 0;
		}
		sorted[k] = merge(c, sorted[k], list);
	}
	for (k = 0, list = 0; k < 32; k++)
		list = merge(c, sorted[k], list);
	return list;
}

static void merge_detached(struct commit *c, struct commit_file *cf)
{
	struct address_space *as = cf_mapping(cf);

	mutex_lock(&as->tree_lock);
	for (u32 s = cf->detached_swps; s; s = swp_entry(c->cache, s)->next)
		swp_entry(c->cache, s)->flags |= SWP_COLLECTED;
	cf->swps = merge(c->cache, cf->swps,
			 sort_swps(c->cache, cf->detached_swps));
	cf->detached_swps = 0;
	mutex_unlock(&as->tree_lock);
}

/* ---- flushes that failed ---- */

static void note_max_epoch(struct commit *c)
{
	struct commit_file *cf;

	c->max_epoch = 0;
	list_for_each_entry (cf, &c->files, node)
		for (u32 s = cf->swps; s; s = swp_entry(c->cache, s)->next)
			c->max_epoch = max(
				c->max_epoch,
				u48_get(&swp_entry(c->cache, s)->flush_epoch));
}

u64 commit_max_epoch(const struct commit *c)
{
	return c->max_epoch;
}

/*
 * What no commit has now but stands in a slot of those epochs is as much in
 * doubt: the range is kept, and the commit that comes to it moves it first.
 */
int commit_reslot(struct commit *c, u64 after, u64 upto)
{
	struct swap *s = &c->cache->swap;
	struct commit_file *cf;

	s->suspect_lo = min(s->suspect_lo, after + 1);
	s->suspect_hi = max(s->suspect_hi, upto);
	list_for_each_entry (cf, &c->files, node)
		if (!cf->err)
			cf->err = commit_move_slots(c, cf);
	note_max_epoch(c);
	return 0;
}

/* ---- write-out ---- */

/* It needs slots. */
static bool is_spilled(const struct commit_file *cf)
{
	return !cf->err && cf->nr_frozen && !cf->nr_inline;
}

/* Before any page is locked for a batch: it waits for page locks. */
static void choose_inline(struct commit *c, u32 inline_pages)
{
	struct commit_file *cf;

	list_for_each_entry (cf, &c->files, node)
		if (is_spilled(cf))
			(void)commit_try_inline(c, cf, inline_pages);
}

/* Return: the first error; whom it concerns is found by collect_tree(). */
static int write_files(struct commit *c)
{
	struct wb_batch b = {.cache = c->cache, .commit = true};
	struct commit_file *cf;
	long err = 0;

	list_for_each_entry (cf, &c->files, node) {
		u64 cursor = 0;

		if (is_spilled(cf))
			(void)write_pages(&b, cf_mapping(cf), &cursor,
					  UINT64_MAX, true, true, &err);
	}
	flush_noting(&b, &err);
	c->stat.written += b.written;
	return (int)err;
}

static int collect_file(struct commit *c, struct commit_file *cf, int write_err)
{
	int err;

	if (!collect_tree(c, cf))
		return write_err ? write_err : -EIO;
	err = save_frames(c, cf);
	if (err)
		return err;
	merge_detached(c, cf);
	return commit_move_slots(c, cf);
}

int commit_writeout(struct commit *c, u32 inline_pages)
{
	struct commit_file *cf;
	int err;

	choose_inline(c, inline_pages);
	err = write_files(c);
	list_for_each_entry (cf, &c->files, node)
		if (is_spilled(cf))
			cf->err = collect_file(c, cf, err);
	note_max_epoch(c);
	return 0;
}

int commit_file_error(struct address_space *as)
{
	return as->frozen ? as->frozen->err : 0;
}

void commit_leave_out(struct address_space *as, int err)
{
	if (as->frozen && !as->frozen->err)
		as->frozen->err = err;
}

void commit_stat(const struct commit *c, struct commit_stat *ret)
{
	*ret = c->stat;
}

/* ---- the runs ---- */

static struct commit_file *next_in_commit(struct commit *c)
{
	struct list_head *node = c->file ? c->file->node.next : c->files.next;

	for (; node != &c->files; node = node->next) {
		struct commit_file *cf =
			list_entry(node, struct commit_file, node);

		if (!cf->err)
			return cf;
	}
	return NULL;
}

static bool begin_file(struct commit *c, struct commit_run *run)
{
	struct commit_file *cf = next_in_commit(c);

	if (!cf)
		return false;
	c->file = cf;
	c->phase = PHASE_PUNCH;
	c->punched = 0;
	c->swp = cf->swps;
	c->next_inline = 0;
	run->kind = COMMIT_FILE;
	run->as = cf_mapping(cf);
	run->size = cf->size;
	return true;
}

static bool next_punch(struct commit *c, struct commit_run *run)
{
	struct address_space *as = cf_mapping(c->file);
	u64 start, last;
	bool found;

	mutex_lock(&as->tree_lock);
	found = range_set_next(&as->frozen_holes, c->punched, &start, &last);
	mutex_unlock(&as->tree_lock);
	if (!found)
		return false;
	run->kind = COMMIT_PUNCH;
	run->pgoff = start;
	run->nr = last - start + 1;
	c->punched = last + 1;
	return true;
}

static bool next_slots(struct commit *c, struct commit_run *run)
{
	const struct swap_entry *e;

	if (!c->swp)
		return false;
	e = swp_entry(c->cache, c->swp);
	run->kind = COMMIT_SLOTS;
	run->pgoff = e->pgoff;
	run->slot = u48_get(&e->slot);
	run->sums = c->sums;
	for (run->nr = 0; run->nr < PIECE_PAGES && c->swp; run->nr++) {
		e = swp_entry(c->cache, c->swp);
		if (e->pgoff != run->pgoff + run->nr ||
		    u48_get(&e->slot) != run->slot + run->nr)
			break;
		c->sums[run->nr] = e->sum;
		c->swp = e->next;
	}
	return true;
}

static bool next_inline(struct commit *c, struct commit_run *run)
{
	struct page *p;

	if (c->next_inline == c->file->nr_inline)
		return false;
	p = frame_page(c->cache,
		       c->inlines[c->file->first_inline + c->next_inline++]);
	run->kind = COMMIT_INLINE;
	run->pgoff = p->index;
	run->nr = 1;
	run->data = page_data(c->cache, p);
	return true;
}

int commit_next(struct commit *c, struct commit_run *ret_run)
{
	*ret_run = (struct commit_run){};
	if (c->phase == PHASE_FILE)
		return begin_file(c, ret_run);

	ret_run->as = cf_mapping(c->file);
	if (c->phase == PHASE_PUNCH && next_punch(c, ret_run))
		return 1;
	c->phase = PHASE_PAGES;
	if (next_slots(c, ret_run) || next_inline(c, ret_run))
		return 1;
	c->phase = PHASE_FILE;
	ret_run->kind = COMMIT_FILE_END;
	return 1;
}

void commit_rewind(struct commit *c)
{
	c->file = NULL;
	c->phase = PHASE_FILE;
}

/* ---- the end: committed ---- */

/* The entry stands in the tree: the volume has the page now. */
static void adopt_swapped(struct address_space *as, u64 index, u32 swp)
{
	u32 shadow = swp_entry(as->cache, swp)->shadow;

	(void)page_tree_replace(&as->tree, index,
				entry_make(ENTRY_SHADOW, shadow));
	page_tree_tag_clear(&as->tree, index, PT_TOWRITE);
	account_swapped(as, -1);
	account_shadow(as, 1);
	swp_free_adopted(as, swp);
}

static void adopt_saved(struct address_space *as, struct page *p, u32 swp)
{
	p->swp = 0;
	page_set_state(p, PAGE_CLEAN);
	swp_free_adopted(as, swp);
}

/* What becomes of one entry. *ret_page: the page that is CLEAN now, locked and
 * referenced. Context: tree_lock. Return: a page that must be waited for. */
static struct page *adopt_one(struct address_space *as, u32 swp,
			      struct page **ret_page)
{
	struct cache *c = as->cache;
	struct swap_entry *e = swp_entry(c, swp);
	struct page *p;
	u64 entry;

	if (e->flags & SWP_DETACHED) {
		account_detached(c, -1);
		swp_free_adopted(as, swp);
		return NULL;
	}
	entry = page_tree_get(&as->tree, e->pgoff);
	if (entry_kind(entry) == ENTRY_SWAP) {
		assert(entry_value(entry) == swp);
		adopt_swapped(as, e->pgoff, swp);
		return NULL;
	}
	p = frame_page(c, entry_value(entry));
	assert(entry_kind(entry) == ENTRY_PAGE && p->swp == swp);
	get_page(p);
	if (!trylock_page(p))
		return p;
	adopt_saved(as, p, swp);
	*ret_page = p;
	return NULL;
}

/* Some of the list. Return: false: it is empty. */
static bool adopt_gang(struct commit *c, struct commit_file *cf)
{
	struct address_space *as = cf_mapping(cf);
	struct page *pages[GANG];
	struct page *busy = NULL;
	u32 nr = 0;

	mutex_lock(&as->tree_lock);
	for (u32 i = 0; i < GANG && cf->swps && !busy; i++) {
		u32 next = swp_entry(c->cache, cf->swps)->next;
		struct page *p = NULL;

		busy = adopt_one(as, cf->swps, &p);
		if (p)
			pages[nr++] = p;
		if (!busy)
			cf->swps = next;
	}
	mutex_unlock(&as->tree_lock);

	lru_place(c->cache, pages, nr);
	for (u32 i = 0; i < nr; i++)
		page_discard(c->cache, pages[i]);
	if (busy) {
		lock_page(busy, c->cache);
		page_discard(c->cache, busy);
	}
	return cf->swps != 0;
}

static u64 count_swps(const struct commit *c, const struct commit_file *cf)
{
	u64 nr = 0;

	for (u32 s = cf->swps; s; s = swp_entry(c->cache, s)->next)
		nr++;
	return nr;
}

static void adopt_file(struct commit *c, struct commit_file *cf)
{
	struct address_space *as = cf_mapping(cf);

	count_add(c->cache, commit_pages, count_swps(c, cf) + cf->nr_inline);
	mutex_lock(&as->tree_lock);
	range_set_clear(&as->frozen_holes);
	account_trees(as);
	mutex_unlock(&as->tree_lock);

	while (adopt_gang(c, cf))
		;
	commit_end_inlines(c, cf, true);
	mutex_lock(&as->tree_lock);
	assert(!cf->detached_frames && !cf->detached_swps);
	as->frozen = NULL;
	mutex_unlock(&as->tree_lock);
}

/* ---- the end: failed ---- */

/* Entries of a list stay with what refers to them, or are freed. At most
 * @max; those that are not COLLECTED any more may be left to the commit again
 * (swp_forget()), so the list is looked at anew each time. */
static void release_swps(struct commit *c, struct commit_file *cf, u32 *swps,
			 u32 max)
{
	for (; *swps && max; max--) {
		u32 swp = *swps;
		struct swap_entry *e = swp_entry(c->cache, swp);

		*swps = e->next;
		e->flags &= (u16)~SWP_COLLECTED;
		e->next = 0;
		if (e->flags & SWP_DETACHED) {
			account_detached(c->cache, -1);
			swp_free(cf_mapping(cf), swp);
		}
	}
}

static void release_frames(struct commit *c, struct commit_file *cf, u32 max)
{
	struct address_space *as = cf_mapping(cf);

	for (; cf->detached_frames && max; max--) {
		struct page *p = frame_page(c->cache, cf->detached_frames);

		cf->detached_frames = p->next;
		account_detached(c->cache, -1);
		page_unreserve(as, p);
		put_page(c->cache, p);
	}
}

/* Some of what the commit has. Context: tree_lock. Return: false: nothing is
 * left. */
static bool release_gang(struct commit *c, struct commit_file *cf)
{
	release_swps(c, cf, &cf->swps, GANG);
	release_swps(c, cf, &cf->detached_swps, GANG);
	release_frames(c, cf, GANG);
	return cf->swps || cf->detached_swps || cf->detached_frames;
}

static void restore_changes(struct address_space *as, struct commit_file *cf)
{
	range_set_merge(&as->frozen_holes, &as->holes);
	account_trees(as);
	as->size_changed |= cf->size_changed;
	if (!as->dirtied_when ||
	    (cf->dirtied_when && cf->dirtied_when < as->dirtied_when))
		as->dirtied_when = cf->dirtied_when;
}

static void abort_file(struct commit *c, struct commit_file *cf, int err)
{
	struct address_space *as = cf_mapping(cf);

	commit_end_inlines(c, cf, false);
	mutex_lock(&as->tree_lock);
	while (release_gang(c, cf)) {
		/* Others may have a turn. */
		mutex_unlock(&as->tree_lock);
		mutex_lock(&as->tree_lock);
	}
	restore_changes(as, cf);
	as->frozen = NULL;
	mutex_unlock(&as->tree_lock);
	mapping_set_error(as, err);
}

void commit_end(struct commit *c, int err)
{
	if (!err)
		count_add(c->cache, commit_written, c->stat.written);
	while (!list_empty(&c->files)) {
		struct commit_file *cf =
			list_first_entry(&c->files, struct commit_file, node);

		list_del(&cf->node);
		if (err || cf->err)
			abort_file(c, cf, err ? err : cf->err);
		else
			adopt_file(c, cf);
	}
	c->nr_inlines = 0;
}

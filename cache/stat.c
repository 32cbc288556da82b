/* SPDX-License-Identifier: MIT */
/*
 * Looking at a file's pages, and checking that everything is as it should be.
 */
#include "config.h"

#include "internal.h"

#define GANG 64

/* ---- looking ---- */

/* How many of a gang of entries would be activated if they came back. */
static u64 recent_among(struct cache *c, const u64 *entry, u32 nr)
{
	u64 recent = 0;

	for (u32 i = 0; i < nr; i++) {
		u32 v = entry_value(entry[i]);

		if (entry_kind(entry[i]) == ENTRY_SHADOW)
			recent += v && workingset_recent(c, v);
		else if (entry_kind(entry[i]) == ENTRY_SWAP)
			recent += workingset_recent(c, swp_entry(c, v)->shadow);
	}
	return recent;
}

/* A file may have millions of entries: writers have their turn in between. */
static u64 count_recent(struct address_space *as)
{
	u64 index[GANG];
	u64 entry[GANG];
	u64 recent = 0;
	u64 next = 0;
	u32 nr;

	do {
		nr = 0;
		mutex_lock(&as->tree_lock);
		if (as->nr_shadow || as->nr_state[PAGE_SWAPPED])
			nr = page_tree_gang(&as->tree, next, PGOFF_MAX, index,
					    entry, GANG);
		recent += recent_among(as->cache, entry, nr);
		mutex_unlock(&as->tree_lock);
		if (nr)
			next = index[nr - 1] + 1;
	} while (nr == GANG);
	return recent;
}

static u64 oldest_change(const struct address_space *as)
{
	u64 when = as->dirtied_when;

	if (as->frozen && as->frozen->dirtied_when)
		when = as->frozen->dirtied_when;
	return when;
}

void address_space_stat(struct address_space *as,
			struct address_space_stat *ret)
{
	const u64 *nr = as->nr_state;
	u64 recent = count_recent(as);
	u64 when;

	mutex_lock(&as->tree_lock);
	when = oldest_change(as);
	*ret = (struct address_space_stat){
		.size = i_size_read(as),
		.nr_cache = nr[PAGE_CLEAN] + nr[PAGE_DIRTY] + nr[PAGE_SAVED],
		.nr_dirty = nr[PAGE_DIRTY],
		.nr_writeback = as->nr_writeback,
		.nr_evicted = as->nr_shadow + nr[PAGE_SWAPPED],
		.nr_recently_evicted = recent,
		.nr_saved = nr[PAGE_SAVED],
		.nr_swapped = nr[PAGE_SWAPPED],
		.nr_uncommitted =
			nr[PAGE_DIRTY] + nr[PAGE_SAVED] + nr[PAGE_SWAPPED],
		.minflt = atomic_read(&as->minflt),
		.majflt = atomic_read(&as->majflt),
		.nr_mapped = atomic_read(&as->nr_mapped),
		.nr_vmas = atomic_read(&as->nr_vmas),
		.nr_fills = atomic_read(&as->nr_fills),
		.nr_cut_vmas = atomic_read(&as->nr_cut_vmas),
	};
	mutex_unlock(&as->tree_lock);
	if (when)
		ret->oldest_uncommitted_ms =
			(cache_now(as->cache) - when) / NSEC_PER_MSEC;
}

static char page_letter(const struct page *p)
{
	u8 list = __atomic_load_n(&p->lru, __ATOMIC_RELAXED);
	bool active = list == LRU_ACTIVE_ANON || list == LRU_ACTIVE_FILE;

	if (page_test(p, PG_WRITEBACK))
		return active ? 'W' : 'w';
	switch (p->state) {
	case PAGE_CLEAN:
		return active ? 'C' : 'c';
	case PAGE_DIRTY:
		return active ? 'D' : 'd';
	default:
		return active ? 'S' : 's';
	}
}

void address_space_map(struct address_space *as, u64 pgoff, u64 nr, char *ret)
{
	struct cache *c = as->cache;
	u64 index[GANG];
	u64 entry[GANG];
	u64 next = pgoff;
	u32 got;

	memset(ret, '.', nr);
	while (next < pgoff + nr) {
		mutex_lock(&as->tree_lock);
		got = page_tree_gang(&as->tree, next, pgoff + nr - 1, index,
				     entry, GANG);
		for (u32 i = 0; i < got; i++) {
			char *letter = &ret[index[i] - pgoff];

			if (entry_kind(entry[i]) == ENTRY_PAGE)
				*letter = page_letter(
					frame_page(c, entry_value(entry[i])));
			else if (entry_kind(entry[i]) == ENTRY_SWAP)
				*letter = 'z';
		}
		mutex_unlock(&as->tree_lock);
		if (got < GANG)
			break;
		next = index[got - 1] + 1;
	}
}

/* A run and where it may go on. */
struct resident {
	u64 first, last;
	bool any, ended;
};

static void resident_add(struct resident *r, u64 index, u64 entry)
{
	bool page = entry_kind(entry) == ENTRY_PAGE;

	if (r->ended || (!r->any && !page))
		return;
	if (r->any && (!page || index != r->last + 1)) {
		r->ended = true;
		return;
	}
	if (!r->any)
		r->first = index;
	r->any = true;
	r->last = index;
}

bool address_space_resident(struct address_space *as, u64 pgoff, u64 last,
			    u64 *ret_first, u64 *ret_last)
{
	struct resident r = {.any = false};
	u64 index[GANG];
	u64 entry[GANG];
	u64 next = pgoff;
	u32 nr;

	do {
		mutex_lock(&as->tree_lock);
		nr = page_tree_gang(&as->tree, next, last, index, entry, GANG);
		mutex_unlock(&as->tree_lock);
		for (u32 i = 0; i < nr; i++)
			resident_add(&r, index[i], entry[i]);
		if (nr)
			next = index[nr - 1] + 1;
	} while (nr == GANG && next <= last && !r.ended);
	if (!r.any)
		return false;
	*ret_first = r.first;
	*ret_last = r.last;
	return true;
}

/* One past the last of a gang that is no shadow entry, or 0. */
static u64 last_among(const u64 *index, const u64 *entry, u32 nr)
{
	while (nr-- > 0) {
		if (entry_kind(entry[nr]) != ENTRY_SHADOW)
			return index[nr] + 1;
	}
	return 0;
}

/* The last page may be followed by any number of shadow entries. */
u64 address_space_last(struct address_space *as)
{
	u64 index[GANG];
	u64 entry[GANG];
	u64 last = 0;
	u64 next = 0;
	u32 nr;

	do {
		nr = 0;
		mutex_lock(&as->tree_lock);
		if (as->nr_shadow)
			nr = page_tree_gang(&as->tree, next, PGOFF_MAX, index,
					    entry, GANG);
		else if (page_tree_last(&as->tree, &last))
			last++;
		mutex_unlock(&as->tree_lock);
		last = max(last, last_among(index, entry, nr));
		if (nr)
			next = index[nr - 1] + 1;
	} while (nr == GANG);
	return last;
}

bool address_space_any(const struct address_space *as)
{
	u64 nr = 0;

	for (u32 state = 0; state < NR_PAGE_STATES; state++)
		nr += state == PAGE_ABSENT ? 0
					   : atomic_read(&as->nr_state[state]);
	return nr > 0;
}

u64 address_space_nr_dirty(const struct address_space *as)
{
	return atomic_read(&as->nr_state[PAGE_DIRTY]);
}

u64 address_space_nr_only_dirty(struct address_space *as)
{
	u64 nr;

	mutex_lock(&as->tree_lock);
	nr = as->nr_state[PAGE_DIRTY];
	if (as->nr_state[PAGE_SAVED] || as->nr_state[PAGE_SWAPPED] ||
	    as->frozen || !range_set_empty(&as->holes))
		nr = UINT64_MAX;
	mutex_unlock(&as->tree_lock);
	return nr;
}

/* ---- checking ---- */

struct tally {
	u64 nr_state[NR_PAGE_STATES];
	u64 nr_shadow, nr_writeback;
	u64 nr_mapped, nr_mlocked;
};

static void check_entry(const struct address_space *as, u64 index, u64 entry,
			struct tally *t)
{
	const struct page_tree *tree = &as->tree;
	const struct swap_entry *e;
	const struct page *p;

	switch (entry_kind(entry)) {
	case ENTRY_PAGE:
		p = frame_page(as->cache, entry_value(entry));
		verify(p->mapping == as && p->index == index);
		page_check(p);
		t->nr_state[p->state]++;
		t->nr_writeback += page_test(p, PG_WRITEBACK);
		t->nr_mapped += page_test(p, PG_MAPPED);
		t->nr_mlocked += page_test(p, PG_MLOCKED);
		verify(page_unevictable(p) == (p->lru == LRU_UNEVICTABLE));
		break;
	case ENTRY_SWAP:
		e = swp_entry(as->cache, entry_value(entry));
		verify(u48_get(&e->slot) && e->pgoff == index);
		verify(!(e->flags & (SWP_DETACHED | SWP_DEAD)));
		verify(!(e->flags & SWP_RESERVED) || swp_foreign(e));
		verify(page_tree_tag_get(tree, index, PT_TOWRITE));
		verify(!page_tree_tag_get(tree, index, PT_DIRTY));
		t->nr_state[PAGE_SWAPPED]++;
		break;
	case ENTRY_SHADOW:
		verify(!page_tree_tag_get(tree, index, PT_TOWRITE));
		verify(!page_tree_tag_get(tree, index, PT_DIRTY));
		t->nr_shadow++;
		break;
	default:
		verify(!"an entry of no kind");
	}
}

static void tally_file(const struct address_space *as, struct tally *t)
{
	u64 index[GANG];
	u64 entry[GANG];
	u64 next = 0;
	u32 nr;

	do {
		nr = page_tree_gang(&as->tree, next, PGOFF_MAX, index, entry,
				    GANG);
		for (u32 i = 0; i < nr; i++) {
			check_entry(as, index[i], entry[i], t);
			next = index[i] + 1;
		}
	} while (nr == GANG);
}

/* The lists of a commit: sorted, each entry with the flags that say so. */
static void check_commit(const struct address_space *as)
{
	const struct commit_file *cf = as->frozen;
	const struct cache *c = as->cache;
	u64 next = 0;

	if (!cf) {
		verify(range_set_empty(&as->frozen_holes));
		return;
	}
	verify(cf == &as->commit);
	for (u32 s = cf->swps; s; s = swp_entry(c, s)->next) {
		const struct swap_entry *e = swp_entry(c, s);

		verify(u48_get(&e->slot) && e->flags & SWP_COLLECTED);
		verify(e->epoch != as->epoch);
		verify(e->pgoff >= next);
		next = e->pgoff + 1;
	}
	for (u32 s = cf->detached_swps; s; s = swp_entry(c, s)->next)
		verify((swp_entry(c, s)->flags & ~SWP_RESERVED) ==
		       SWP_DETACHED);
	for (u32 f = cf->detached_frames; f; f = frame_page(c, f)->next)
		verify(!frame_page(c, f)->mapping && frame_page(c, f)->refs);
}

static void check_file(struct address_space *as, struct tally *sum)
{
	struct tally t = {};

	mutex_lock(&as->tree_lock);
	page_tree_check(&as->tree);
	range_set_check(&as->holes);
	range_set_check(&as->frozen_holes);
	range_set_check(&as->lost);
	tally_file(as, &t);
	for (u32 s = PAGE_CLEAN; s < NR_PAGE_STATES; s++)
		verify(t.nr_state[s] == as->nr_state[s]);
	verify(t.nr_shadow == as->nr_shadow);
	verify(t.nr_writeback == as->nr_writeback);
	verify(t.nr_mapped == as->nr_mapped);
	verify(as->charged_nodes == as->tree.nr_nodes);
	check_commit(as);
	sum->nr_mapped += t.nr_mapped;
	sum->nr_mlocked += t.nr_mlocked;
	mutex_unlock(&as->tree_lock);
}

void address_space_check(struct address_space *as)
{
	struct tally sum = {};

	check_file(as, &sum);
}

static void add_tally(const struct address_space *as, struct tally *sum)
{
	for (u32 s = 0; s < NR_PAGE_STATES; s++)
		sum->nr_state[s] += as->nr_state[s];
	sum->nr_shadow += as->nr_shadow;
	sum->nr_writeback += as->nr_writeback;
}

void cache_check(struct cache *c)
{
	struct address_space *as = NULL;
	struct tally sum = {};
	u64 pages, on_lists = 0;

	while ((as = next_file(c, as))) {
		check_file(as, &sum);
		add_tally(as, &sum);
	}
	for (u32 s = PAGE_CLEAN; s < NR_PAGE_STATES; s++)
		verify(sum.nr_state[s] == c->nr_state[s]);
	verify(sum.nr_shadow == c->nr_shadow);
	verify(sum.nr_writeback == c->nr_writeback);
	verify(sum.nr_mapped == c->nr_mapped);
	verify(sum.nr_mlocked == c->nr_mlocked);

	pages = sum.nr_state[PAGE_CLEAN] + sum.nr_state[PAGE_DIRTY] +
		sum.nr_state[PAGE_SAVED];
	verify(pages <= c->frames.nr_used);
	for (u32 list = LRU_NONE + 1; list < NR_LRU_LISTS; list++)
		on_lists += lru_nr(c, (enum lru_list)list);
	verify(on_lists == pages);
	lru_check(c);
	mm_check(c);
	frames_check(c);
	swap_check(c);
}

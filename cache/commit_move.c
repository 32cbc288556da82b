/* SPDX-License-Identifier: MIT */
/* Moving slots: those whose flush failed, and foreign ones. */
#include "config.h"

#include "commit_int.h"

static bool is_suspect(const struct cache *c, const struct swap_entry *e)
{
	return u48_get(&e->flush_epoch) >= c->swap.suspect_lo &&
	       u48_get(&e->flush_epoch) <= c->swap.suspect_hi;
}

static bool must_move(const struct cache *c, const struct swap_entry *e)
{
	return swp_foreign(e) || is_suspect(c, e);
}

/* The page that has the content of @swp, locked, or NULL. */
static struct page *lock_page_of(struct address_space *as, u32 swp)
{
	struct cache *c = as->cache;
	struct page *p = find_lock_page(as, swp_entry(c, swp)->pgoff);

	if (p && p->swp != swp) {
		page_discard(c, p);
		p = NULL;
	}
	return p;
}

/* Put @new in the place of @old, whatever refers to that; @p: the page that
 * does. Return: false: a page was made of it meanwhile. */
static bool replace_swp(struct address_space *as, struct page *p, u32 old,
			u32 new)
{
	struct cache *c = as->cache;
	struct swap_entry *e = swp_entry(c, old);
	struct swap_entry *n = swp_entry(c, new);
	u64 entry;

	n->pgoff = e->pgoff;
	n->epoch = e->epoch;
	n->shadow = e->shadow;
	n->next = e->next;
	n->flags = e->flags & (u16)~SWP_RESERVED;
	if (p) {
		p->swp = new;
	} else if (!(e->flags & SWP_DETACHED)) {
		entry = page_tree_get(&as->tree, e->pgoff);
		if (entry_kind(entry) != ENTRY_SWAP)
			return false;
		assert(entry_value(entry) == old);
		(void)page_tree_replace(&as->tree, e->pgoff,
					entry_make(ENTRY_SWAP, new));
	}
	swp_free(as, old);
	return true;
}

/* The same for the entry that *@link is on the commit's list. */
static void replace_listed(struct address_space *as, u32 *link, u32 new)
{
	bool done;

	do {
		struct page *p = lock_page_of(as, *link);

		mutex_lock(&as->tree_lock);
		done = replace_swp(as, p, *link, new);
		mutex_unlock(&as->tree_lock);
		if (p)
			page_discard(as->cache, p);
	} while (!done);
	*link = new;
}

/* Neighbours on the list that are moved together. */
struct move {
	struct address_space *as;
	u32 nr;
	u32 swps[PIECE_PAGES];
	void *data[PIECE_PAGES];
};

/* Where to put what is moved: a piece of it, or one page if memory is short.
 * Return: pages. */
static u32 move_buffer(struct commit *c, void **ret_data)
{
	u8 *buf = c->page;
	u32 nr = 1;

	if (!c->piece)
		c->piece = aligned_alloc(PAGE_SIZE, PIECE_PAGES * PAGE_SIZE);
	if (c->piece) {
		buf = c->piece;
		nr = PIECE_PAGES;
	}
	for (u32 i = 0; i < nr; i++)
		ret_data[i] = buf + (size_t)i * PAGE_SIZE;
	return nr;
}

static void gather_moves(struct commit *c, u32 swp, struct move *m)
{
	u32 max = move_buffer(c, m->data);

	for (m->nr = 0; swp && m->nr < max;
	     swp = swp_entry(c->cache, swp)->next) {
		if (!must_move(c->cache, swp_entry(c->cache, swp)))
			break;
		m->swps[m->nr++] = swp;
	}
}

/* What is in a frame need not be read. Nobody changes it there: a writer would
 * detach the entry first. */
static bool copy_from_frame(struct move *m, u32 i)
{
	struct page *p = lock_page_of(m->as, m->swps[i]);

	if (!p)
		return false;
	memcpy(m->data[i], page_data(m->as->cache, p), PAGE_SIZE);
	page_discard(m->as->cache, p);
	return true;
}

static int read_slots(struct move *m, u32 first, u32 nr)
{
	struct cache *c = m->as->cache;
	u64 sums[PIECE_PAGES];
	int errs[PIECE_PAGES] = {0};
	int ret = 0;
	int err;

	for (u32 i = 0; i < nr; i++)
		sums[i] = swp_entry(c, m->swps[first + i])->sum;
	err = c->cfg.swap_ops->read(
		c->cfg.swap_arg, u48_get(&swp_entry(c, m->swps[first])->slot),
		nr, m->data + first, sums, errs);
	for (u32 i = 0; i < nr; i++) {
		int page_err = err ? err : errs[i];

		if (!page_err)
			continue;
		pages_read_failed(m->as,
				  swp_entry(c, m->swps[first + i])->pgoff, 1,
				  page_err);
		ret = ret ? ret : page_err;
	}
	return ret;
}

static int load_moves(struct move *m)
{
	struct cache *c = m->as->cache;
	u32 first = 0, nr = 0;
	int err = 0;

	for (u32 i = 0; i < m->nr && !err; i++) {
		slot_t slot = u48_get(&swp_entry(c, m->swps[i])->slot);
		bool framed = copy_from_frame(m, i);
		bool joined =
			nr && !framed &&
			slot == u48_get(&swp_entry(c, m->swps[first])->slot) +
					nr;

		if (nr && !joined) {
			err = read_slots(m, first, nr);
			nr = 0;
		}
		if (!framed && !nr)
			first = i;
		nr += !framed;
	}
	return nr && !err ? read_slots(m, first, nr) : err;
}

/* Return: how many were moved, or -errno. */
static long move_some(struct commit *c, struct commit_file *cf, u32 **link)
{
	struct move m = {.as = cf_mapping(cf)};
	u32 new[PIECE_PAGES];
	u32 foreign = 0;
	long ret;

	gather_moves(c, **link, &m);
	ret = load_moves(&m);
	if (!ret)
		ret = swap_write(c->cache, m.data, m.nr, true, new);
	for (long i = 0; i < ret; i++) {
		foreign += swp_foreign(swp_entry(c->cache, **link));
		replace_listed(m.as, *link, new[i]);
		*link = &swp_entry(c->cache, **link)->next;
	}
	c->stat.written += foreign;
	count_add(c->cache, commit_copied, foreign);
	return ret;
}

int commit_move_slots(struct commit *c, struct commit_file *cf)
{
	u32 *link = &cf->swps;
	long ret = 0;

	while (*link && ret >= 0) {
		if (must_move(c->cache, swp_entry(c->cache, *link)))
			ret = move_some(c, cf, &link);
		else
			link = &swp_entry(c->cache, *link)->next;
	}
	return ret < 0 ? (int)ret : 0;
}

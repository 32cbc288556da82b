/* SPDX-License-Identifier: MIT */
/* Commits of so few pages that they stay where they are. */
#include "config.h"

#include "commit_int.h"

static bool reserve_inlines(struct commit *c, u32 nr)
{
	u32 max = max(c->max_inlines * 2, c->nr_inlines + nr);
	u32 *inlines;

	if (c->nr_inlines + nr <= c->max_inlines)
		return true;
	inlines = realloc(c->inlines, max * sizeof(*inlines));
	if (!inlines)
		return false;
	c->inlines = inlines;
	c->max_inlines = max;
	return true;
}

/* The frozen pages, if they are all DIRTY and at most GANG.
 * Return: how many, 0: not to be kept inline. */
static u32 find_inlines(struct commit_file *cf, u64 *ret_index, u32 max)
{
	struct address_space *as = cf_mapping(cf);
	u64 index[GANG];
	u64 entry[GANG];
	u64 next = 0;
	u32 found = 0;
	u32 nr;

	mutex_lock(&as->tree_lock);
	if (cf->detached_frames || cf->detached_swps)
		goto out_no;
	do {
		nr = page_tree_gang_tag(&as->tree, next, PGOFF_MAX, PT_TOWRITE,
					index, entry, GANG);
		for (u32 i = 0; i < nr; i++) {
			struct page *p =
				frame_page(as->cache, entry_value(entry[i]));

			next = index[i] + 1;
			if (is_dead(cf, index[i]) ||
			    !is_frozen(as, entry_epoch(as->cache, entry[i])))
				continue;
			if (entry_kind(entry[i]) != ENTRY_PAGE ||
			    p->state != PAGE_DIRTY || found == max)
				goto out_no;
			ret_index[found++] = index[i];
		}
	} while (nr == GANG);
	mutex_unlock(&as->tree_lock);
	return found;

out_no:
	mutex_unlock(&as->tree_lock);
	return 0;
}

/* The page of @index stays where it is; its reference is the commit's then. */
static bool keep_inline(struct commit *c, struct commit_file *cf, u64 index)
{
	struct address_space *as = cf_mapping(cf);
	struct page *p = find_lock_page(as, index);
	bool ok;

	if (!p)
		return false;
	mutex_lock(&as->tree_lock);
	ok = page_is_frozen(p);
	if (ok)
		page_set(p, PG_INLINE);
	mutex_unlock(&as->tree_lock);
	unlock_page(p, c->cache);
	if (!ok) {
		put_page(c->cache, p);
		return false;
	}
	c->inlines[c->nr_inlines++] = page_frame(c->cache, p);
	cf->nr_inline++;
	return true;
}

/* It is to have a slot after all. If a writer has put a copy in its place
 * meanwhile, then as any page that was detached. */
static void undo_inline(struct commit *c, struct commit_file *cf)
{
	struct address_space *as = cf_mapping(cf);
	u32 frame = c->inlines[--c->nr_inlines];
	struct page *p = frame_page(c->cache, frame);
	bool detached;

	cf->nr_inline--;
	mutex_lock(&as->tree_lock);
	(void)page_test_clear(p, PG_INLINE);
	detached = !p->mapping;
	if (detached) {
		p->next = cf->detached_frames;
		cf->detached_frames = frame;
	}
	mutex_unlock(&as->tree_lock);
	if (!detached)
		put_page(c->cache, p);
}

bool commit_try_inline(struct commit *c, struct commit_file *cf, u32 max)
{
	u64 index[GANG];
	u32 nr;

	max = min(max, (u32)GANG);
	if (cf->nr_frozen > max)
		return false;
	nr = find_inlines(cf, index, max);
	if (!nr || !reserve_inlines(c, nr))
		return false;

	cf->first_inline = c->nr_inlines;
	for (u32 i = 0; i < nr; i++)
		if (!keep_inline(c, cf, index[i]))
			goto out_undo;
	c->stat.inline_pages += nr;
	return true;

out_undo:
	while (cf->nr_inline)
		undo_inline(c, cf);
	return false;
}

/* The commit lets go of an inline page; @committed: it is CLEAN then. */
static void end_inline(struct commit *c, struct address_space *as,
		       struct page *p, bool committed)
{
	bool there;

	lock_page(p, c->cache);
	mutex_lock(&as->tree_lock);
	(void)page_test_clear(p, PG_INLINE);
	there = p->mapping != NULL;
	if (!there)
		account_detached(c->cache, -1);
	if (!there || committed)
		page_unreserve(as, p);
	if (there && committed)
		page_set_state(p, PAGE_CLEAN);
	mutex_unlock(&as->tree_lock);
	if (there)
		lru_place(c->cache, &p, 1);
	unlock_page(p, c->cache);
	put_page(c->cache, p);
}

void commit_end_inlines(struct commit *c, struct commit_file *cf,
			bool committed)
{
	for (u32 i = 0; i < cf->nr_inline; i++) {
		u32 frame = c->inlines[cf->first_inline + i];

		end_inline(c, cf_mapping(cf), frame_page(c->cache, frame),
			   committed);
	}
	if (committed) {
		count_add(c->cache, pgpgout, cf->nr_inline);
		count_add(c->cache, commit_inline, cf->nr_inline);
	}
	cf->nr_inline = 0;
}

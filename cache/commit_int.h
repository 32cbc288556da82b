/* SPDX-License-Identifier: MIT */
/*
 * Private to cache/commit*.c: what a commit has in hand. How it works is told
 * in commit.c.
 */
#ifndef FOLIO_COMMIT_INT_H
#define FOLIO_COMMIT_INT_H

#include "internal.h"

/* Pages at a time, with the tree locked. */
#define GANG 32

enum phase {
	PHASE_FILE,
	PHASE_PUNCH,
	PHASE_PAGES,
	PHASE_END,
};

struct commit {
	struct cache *cache;
	struct list_head files; /* commit_file.node */
	struct commit_stat stat;
	u64 max_epoch;
	/* to move slots by */
	u8 *page;
	u8 *piece; /* PIECE_PAGES, or NULL */

	u32 *inlines; /* frames, by file */
	u32 nr_inlines, max_inlines;

	/* commit_next() */
	struct commit_file *file;
	enum phase phase;
	u64 punched; /* next page to look for holes at */
	u32 swp, next_inline;
	u64 sums[PIECE_PAGES];
};

static inline struct address_space *cf_mapping(struct commit_file *cf)
{
	return container_of(cf, struct address_space, commit);
}

static inline void account_detached(struct cache *c, s64 nr)
{
	(void)atomic_add(&c->nr_detached, nr);
}

static inline bool is_dead(const struct commit_file *cf, u64 index)
{
	return index >= cf->dead_first && index <= cf->dead_last;
}

static inline u32 entry_epoch(const struct cache *c, u64 entry)
{
	if (entry_kind(entry) == ENTRY_PAGE)
		return frame_page(c, entry_value(entry))->epoch;
	return swp_entry(c, entry_value(entry))->epoch;
}

/* ---- commit_inline.c ---- */

/* Keep the frozen pages of a file in their frames, if they are at most @max and
 * all DIRTY. Return: are they? */
bool commit_try_inline(struct commit *c, struct commit_file *cf, u32 max);
/* They are committed, or not. */
void commit_end_inlines(struct commit *c, struct commit_file *cf,
			bool committed);

/* ---- commit_move.c ---- */

/* Give what stands in foreign slots, or in slots that a failed flush may have
 * lost, others. Return: 0 or -errno. */
int commit_move_slots(struct commit *c, struct commit_file *cf);

#endif

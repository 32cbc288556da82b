/* SPDX-License-Identifier: MIT */
/*
 * The block allocator: which blocks of `data` are free, in memory only.
 *
 * A block is used when a committed extent refers to it, or when it was
 * allocated as a slot. The map is rebuilt from the extents at mount, so a crash
 * leaks nothing. Only this module frees blocks. Block 0 is never free.
 *
 * A block freed by a commit must not be written again before that commit is
 * durable (a power cut would bring back the extent that refers to it) and
 * before every read that may have looked the extent up has ended:
 * blocks_free_deferred() parks it, blocks_release() lets it go.
 *
 * Somebody who copies a committed state holds: from then on blocks that commits
 * free are not used again, but withheld, as the copy may yet read them. Writers
 * come first: when nothing else is free any more, all holds are lost and what
 * was withheld is free.
 *
 * Memory: bitmaps of 32768 blocks each, only for groups that are partly used,
 * and for those of which blocks are withheld; charged through the callback.
 * Locks: LOCK_BLOCKS inside, nothing sleeps.
 */
#ifndef FOLIO_BLOCKS_H
#define FOLIO_BLOCKS_H

#include "base.h"

struct blocks;

/* 256 TiB. Each 32768 take 24 bytes here, used or not: a damaged volume that
 * speaks of more is not to take all memory. */
#define BLOCKS_MAX ((u64)1 << 36)

/* @nr: blocks there may be in all (the volume's bound). @charge may be NULL.
 * Return: 0, -EINVAL, -EFBIG (more than BLOCKS_MAX), -ENOMEM. */
int blocks_new(u64 nr, void (*charge)(void *arg, s64 bytes), void *arg,
	       struct blocks **ret_blocks);
void blocks_free_all(struct blocks *b);

/* At mount: [start, start+nr) belongs to an extent. Return: -EUCLEAN when a
 * block of it is used already or out of bounds (shared extents: @shared). */
int blocks_mark_used(struct blocks *b, u64 start, u64 nr, bool shared);

/*
 * Find up to @want contiguous free blocks, next-fit from the last allocation:
 * the longest run within a bounded search, so that files stay in long runs.
 * Does not look at reservations: who allocates holds one or is a late write,
 * which may dig into the reserve. Return: 0, -ENOSPC, -ENOMEM.
 */
int blocks_alloc(struct blocks *b, u32 want, u64 *ret_start, u32 *ret_nr);

/* Free at once: slots that no commit ever referred to. */
void blocks_free(struct blocks *b, u64 start, u64 nr);

/* Freed by commit @seq; blocks_release(seq) frees all up to it, once each
 * read that began before has ended. Return: 0; -ENOMEM or -EUCLEAN (they are
 * out of bounds or not in use): nothing is parked, the blocks stay as they are
 * until the next mount, which is safe and looks at the extents. */
int blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr);
void blocks_release(struct blocks *b, u64 seq);
/* The commit failed and is rolled back: its deferred frees are void. */
void blocks_cancel_deferred(struct blocks *b, u64 seq);

/*
 * Withhold what is freed from now on; it counts as used. Holds may overlap.
 * Return: a number for the other two.
 */
u64 blocks_hold(struct blocks *b);
void blocks_unhold(struct blocks *b, u64 hold);
/* Return: false when the hold was lost. */
bool blocks_holds(struct blocks *b, u64 hold);
/* There is no room left, here or on the host: lose all holds. Return: did that
 * free anything? */
bool blocks_lose_holds(struct blocks *b);

/* Reservations: promises of space for DIRTY pages. Fails with -ENOSPC when
 * free - reserved - kept-for-metadata (1%) < nr. */
int blocks_reserve(struct blocks *b, u64 nr);
void blocks_unreserve(struct blocks *b, u64 nr);

/* Reading extents: an epoch as in SRCU. Bracket look-up and device read. */
u32 blocks_read_enter(struct blocks *b);
void blocks_read_leave(struct blocks *b, u32 token);

struct blocks_stat {
	u64 total, used, reserved, deferred, kept;
	u64 missing;	/* of the total: see blocks_set_missing() */
	u64 spread;	/* allocation stays below it while there is room */
	u64 withheld;	/* of the used: free but for holds */
	u64 holds;	/* there are now */
	u64 holds_lost; /* since the mount */
};
void blocks_stat(struct blocks *b, struct blocks_stat *ret);
/* One past the last used block. Looks at the free groups behind it: not for
 * each commit. */
u64 blocks_end(struct blocks *b);

/* Raise or lower the bound. Return: 0 or -ENOSPC (used blocks behind it). */
int blocks_resize(struct blocks *b, u64 nr);

/*
 * The host has no room for @nr of the free blocks: they count neither as free
 * nor among the total, and are not promised to anybody.
 */
void blocks_set_missing(struct blocks *b, u64 nr);

/*
 * Take a run of free blocks within [from, end) out of the allocator, at most
 * @max of them and never so many that reservations could come to want; give it
 * back with blocks_free(). For who has the host forget what they hold.
 * Return: is there one?
 */
bool blocks_take_free(struct blocks *b, u64 from, u64 end, u32 max,
		      u64 *ret_start, u32 *ret_nr);
/* Let allocation begin anew at the front, and spread from the last used block
 * on. */
void blocks_pull_in(struct blocks *b);

/* The first used run at or behind @from, but for block 0. Return: is there
 * one? Runs of one loop are those of the map if nothing changes meanwhile. */
bool blocks_next_used(struct blocks *b, u64 from, u64 *ret_start, u64 *ret_nr);

/* Is a block used that nobody will free before the next mount, or may that be?
 */
bool blocks_leaked(struct blocks *b);

/* Every invariant; debug builds and tests. */
void blocks_check(struct blocks *b);

#endif

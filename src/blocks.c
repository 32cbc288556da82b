/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lock.h"

#define GROUP_SHIFT 15
#define GROUP_BLOCKS (1u << GROUP_SHIFT)
#define GROUP_WORDS (GROUP_BLOCKS / 64)
#define GROUP_BYTES (GROUP_BLOCKS / 8)

/* How many partly used groups one allocation looks through. */
#define SEARCH_GROUPS 8

/* How far allocation spreads at a time, in blocks: 64 MiB, then twice what
 * there is, at most 1 GiB. */
#define SPREAD_MIN 16384u
#define SPREAD_MAX 262144u

/*
 * @map has a bit for each block, set when it is used; bits behind the bound
 * (in the last group) are set too. NULL when the group is all free (nr_free is
 * what it can hold) or all used (nr_free is 0).
 *
 * @withheld has a bit for each block that is used for holds alone; NULL when
 * there is none.
 */
struct group {
	u64 *map;
	u64 *withheld;
	u32 nr_free;
};

/* A run freed by commit @seq. */
struct parked {
	u64 seq;
	u64 start;
	u64 nr;
};

/*
 * Parked runs stand in one array, oldest commit first, and move through it by
 * moving boundaries, so that letting go needs no memory:
 *
 *   [0, nr_waiting)           released; readers of before are being waited for
 *   [nr_waiting, nr_released) released; waits for the next grace period
 *   [nr_released, nr_parked)  the commit is not durable
 *
 * Readers count themselves in readers[idx]. A grace period begins by flipping
 * idx and ends when the other count is zero. Entering and flipping are under
 * the same lock, so one flip is enough: who counts in the other half began
 * before the flip, and who comes later looks extents up after the COMMIT.
 */
struct blocks {
	/* constant */
	void (*charge)(void *arg, s64 bytes);
	void *charge_arg;

	/* under lock */
	struct mutex lock;
	struct group *groups;
	u64 max_groups; /* what the array has room for */
	u64 nr;
	u64 nr_free;
	u64 nr_reserved;
	u64 nr_deferred;
	u64 nr_withheld;
	u64 nr_holds;
	u64 nr_holds_lost;
	u64 hold_era;	/* holds of earlier ones are lost */
	u64 nr_missing; /* free here, but the host has no room for them */
	bool leaked;	/* a block stays used for want of memory */
	u64 cursor;	/* where the last allocation ended */
	u64 spread;	/* allocation stays below it while there is room */
	s64 charged;	/* bytes of memory told to the callback */
	s64 uncharged;	/* and those to be told when the lock is dropped */

	struct parked *parked;
	size_t nr_waiting;
	size_t nr_released;
	size_t nr_parked;
	size_t max_parked;
	u32 readers[2];
	u32 idx;
};

static void blocks_unlock(struct blocks *b) __releases(b->lock)
{
	s64 bytes = b->uncharged;

	b->charged += bytes;
	b->uncharged = 0;
	mutex_unlock(&b->lock);
	if (bytes && b->charge)
		b->charge(b->charge_arg, bytes);
}

static u64 nr_groups(u64 nr)
{
	return (nr + GROUP_BLOCKS - 1) >> GROUP_SHIFT;
}

/* Blocks that group @g can hold. */
static u32 group_size(const struct blocks *b, u64 g)
{
	return (u32)min((u64)GROUP_BLOCKS, b->nr - (g << GROUP_SHIFT));
}

/* ---- bits ---- */

/* The first bit of [pos, end) that is @set, or @end. */
static u32 bit_find(const u64 *map, u32 pos, u32 end, bool set)
{
	while (pos < end) {
		u64 word = set ? map[pos / 64] : ~map[pos / 64];

		word &= ~(u64)0 << (pos % 64);
		if (word) {
			pos = (pos & ~63u) + (u32)__builtin_ctzll(word);
			return min(pos, end);
		}
		pos = (pos & ~63u) + 64;
	}
	return end;
}

static void bit_fill(u64 *map, u32 pos, u32 nr, bool set)
{
	u32 end = pos + nr;

	while (pos < end) {
		u32 len = min(64 - pos % 64, end - pos);
		u64 mask = (~(u64)0 >> (64 - len)) << (pos % 64);

		if (set)
			map[pos / 64] |= mask;
		else
			map[pos / 64] &= ~mask;
		pos += len;
	}
}

/* ---- groups ---- */

static int group_map(struct blocks *b, u64 g)
{
	struct group *grp = &b->groups[g];
	u32 size = group_size(b, g);

	if (grp->map)
		return 0;

	grp->map = malloc(GROUP_BYTES);
	if (!grp->map)
		return -ENOMEM;
	memset(grp->map, grp->nr_free ? 0 : 0xff, GROUP_BYTES);
	bit_fill(grp->map, size, GROUP_BLOCKS - size, true);
	b->uncharged += GROUP_BYTES;
	return 0;
}

static void group_unmap(struct blocks *b, u64 g)
{
	struct group *grp = &b->groups[g];

	if (!grp->map)
		return;
	free(grp->map);
	grp->map = NULL;
	b->uncharged -= GROUP_BYTES;
}

static bool group_all(const struct blocks *b, u64 g, u32 bit, u32 nr, bool used)
{
	const struct group *grp = &b->groups[g];

	if (!grp->map)
		return used == (grp->nr_free == 0);
	return bit_find(grp->map, bit, bit + nr, !used) == bit + nr;
}

/* Make @nr blocks of a group, all free so far, used or the other way round. */
static int group_set(struct blocks *b, u64 g, u32 bit, u32 nr, bool used)
{
	struct group *grp = &b->groups[g];
	u32 size = group_size(b, g);
	int err;

	assert(group_all(b, g, bit, nr, !used));

	if (nr < size) {
		err = group_map(b, g);
		if (err)
			return err;
		bit_fill(grp->map, bit, nr, used);
	}
	if (used) {
		grp->nr_free -= nr;
		b->nr_free -= nr;
	} else {
		grp->nr_free += nr;
		b->nr_free += nr;
	}
	if (grp->nr_free == 0 || grp->nr_free == size)
		group_unmap(b, g);
	return 0;
}

/* The part of [start, start + nr) that lies in the group of @start. */
static u32 group_part(u64 start, u64 nr)
{
	return (u32)min(nr, GROUP_BLOCKS - (start & (GROUP_BLOCKS - 1)));
}

/*
 * Free a run. Without memory for a bitmap the blocks of that group stay used
 * until the next mount, which is safe.
 */
static void free_run(struct blocks *b, u64 start, u64 nr)
{
	assert(start && start + nr <= b->nr);

	while (nr) {
		u32 part = group_part(start, nr);
		u32 bit = (u32)(start & (GROUP_BLOCKS - 1));

		if (group_set(b, start >> GROUP_SHIFT, bit, part, false))
			b->leaked = true;
		start += part;
		nr -= part;
	}
}

/* ---- holds ---- */

/* Free what is withheld of a group. */
static void let_go_group(struct blocks *b, u64 g)
{
	u64 *map = b->groups[g].withheld;
	u32 bit = 0;

	while ((bit = bit_find(map, bit, GROUP_BLOCKS, true)) < GROUP_BLOCKS) {
		u32 end = bit_find(map, bit, GROUP_BLOCKS, false);

		free_run(b, (g << GROUP_SHIFT) + bit, end - bit);
		b->nr_withheld -= end - bit;
		bit = end;
	}
	free(map);
	b->groups[g].withheld = NULL;
	b->uncharged -= GROUP_BYTES;
}

static void let_go(struct blocks *b)
{
	for (u64 g = 0; b->nr_withheld && g < nr_groups(b->nr); g++) {
		if (b->groups[g].withheld)
			let_go_group(b, g);
	}
	assert(!b->nr_withheld);
}

static bool lose_holds(struct blocks *b)
{
	u64 nr_free = b->nr_free;

	if (!b->nr_holds)
		return false;
	b->nr_holds_lost += b->nr_holds;
	b->nr_holds = 0;
	b->hold_era++;
	let_go(b);
	return b->nr_free > nr_free;
}

static int withhold_part(struct blocks *b, u64 start, u32 nr)
{
	struct group *grp = &b->groups[start >> GROUP_SHIFT];

	if (!grp->withheld) {
		grp->withheld = calloc(1, GROUP_BYTES);
		if (!grp->withheld)
			return -ENOMEM;
		b->uncharged += GROUP_BYTES;
	}
	bit_fill(grp->withheld, (u32)(start & (GROUP_BLOCKS - 1)), nr, true);
	b->nr_withheld += nr;
	return 0;
}

/* A run that nobody needs but for who holds. */
static void withhold_or_free(struct blocks *b, u64 start, u64 nr)
{
	while (nr && b->nr_holds) {
		u32 part = group_part(start, nr);

		if (withhold_part(b, start, part)) {
			(void)lose_holds(b);
			break;
		}
		start += part;
		nr -= part;
	}
	if (nr)
		free_run(b, start, nr);
}

u64 blocks_hold(struct blocks *b)
{
	u64 era;

	mutex_lock(&b->lock);
	b->nr_holds++;
	era = b->hold_era;
	mutex_unlock(&b->lock);
	return era;
}

void blocks_unhold(struct blocks *b, u64 hold)
{
	mutex_lock(&b->lock);
	if (hold == b->hold_era) {
		assert(b->nr_holds);
		if (--b->nr_holds == 0)
			let_go(b);
	}
	blocks_unlock(b);
}

bool blocks_holds(struct blocks *b, u64 hold)
{
	bool holds;

	mutex_lock(&b->lock);
	holds = hold == b->hold_era;
	mutex_unlock(&b->lock);
	return holds;
}

bool blocks_lose_holds(struct blocks *b)
{
	bool freed;

	mutex_lock(&b->lock);
	freed = lose_holds(b);
	blocks_unlock(b);
	return freed;
}

/* ---- creation and mount ---- */

static int alloc_groups(struct blocks *b, u64 nr)
{
	u64 groups = nr_groups(nr);
	struct group *grp = calloc(groups, sizeof(*grp));

	if (!grp)
		return -ENOMEM;
	b->groups = grp;
	b->max_groups = groups;
	b->nr = nr;
	b->nr_free = nr;
	b->uncharged += (s64)(sizeof(*b) + groups * sizeof(*grp));
	for (u64 g = 0; g < groups; g++)
		grp[g].nr_free = group_size(b, g);
	return group_set(b, 0, 0, 1, true);
}

int blocks_new(u64 nr, void (*charge)(void *arg, s64 bytes), void *arg,
	       struct blocks **ret_blocks)
{
	struct blocks *b;
	int err;

	if (nr < 2)
		return -EINVAL;
	if (nr > BLOCKS_MAX)
		return -EFBIG;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	mutex_init(&b->lock, LOCK_BLOCKS, "blocks");
	b->charge = charge;
	b->charge_arg = arg;
	b->cursor = 1;
	b->spread = 1;

	mutex_lock(&b->lock);
	err = alloc_groups(b, nr);
	blocks_unlock(b);
	if (err) {
		blocks_free_all(b);
		return err;
	}
	*ret_blocks = b;
	return 0;
}

void blocks_free_all(struct blocks *b)
{
	if (!b)
		return;
	for (u64 g = 0; b->groups && g < nr_groups(b->nr); g++) {
		free(b->groups[g].map);
		free(b->groups[g].withheld);
	}
	free(b->groups);
	free(b->parked);
	if (b->charge)
		b->charge(b->charge_arg, -b->charged);
	mutex_done(&b->lock);
	free(b);
}

/* Mark what is still free of a part of a group. */
static int mark_shared(struct blocks *b, u64 g, u32 bit, u32 nr)
{
	u32 end = bit + nr;
	int err = group_map(b, g);

	while (!err && b->groups[g].map) {
		u32 stop;

		bit = bit_find(b->groups[g].map, bit, end, false);
		if (bit == end)
			return 0;
		stop = bit_find(b->groups[g].map, bit, end, true);
		err = group_set(b, g, bit, stop - bit, true);
		bit = stop;
	}
	return err;
}

static int mark_part(struct blocks *b, u64 start, u32 nr, bool shared)
{
	u64 g = start >> GROUP_SHIFT;
	u32 bit = (u32)(start & (GROUP_BLOCKS - 1));

	if (group_all(b, g, bit, nr, false))
		return group_set(b, g, bit, nr, true);
	if (!shared)
		return -EUCLEAN;
	if (b->groups[g].nr_free == 0)
		return 0;
	return mark_shared(b, g, bit, nr);
}

int blocks_mark_used(struct blocks *b, u64 start, u64 nr, bool shared)
{
	int err = 0;

	mutex_lock(&b->lock);
	if (!start || start >= b->nr || nr > b->nr - start)
		err = -EUCLEAN;
	else
		b->spread = max(b->spread, start + nr);
	while (!err && nr) {
		u32 part = group_part(start, nr);

		err = mark_part(b, start, part, shared);
		start += part;
		nr -= part;
	}
	blocks_unlock(b);
	return err;
}

/* ---- allocation ---- */

struct run {
	u64 start;
	u32 nr;
};

/* Keep in @best the longest run within [lo, hi) of one group; done when one of
 * @want was found. */
static bool search_group(const struct blocks *b, u64 g, u64 lo, u64 hi,
			 u32 want, struct run *best)
{
	const struct group *grp = &b->groups[g];
	u64 base = g << GROUP_SHIFT;
	u32 bit = (u32)(max(lo, base) - base);
	u32 end = (u32)(min(hi, base + group_size(b, g)) - base);

	while (bit < end) {
		u32 stop = end;

		if (grp->map) {
			bit = bit_find(grp->map, bit, end, false);
			stop = bit_find(grp->map, bit, end, true);
		}
		if (stop - bit > best->nr) {
			best->start = base + bit;
			best->nr = min(stop - bit, want);
		}
		if (best->nr == want)
			return true;
		bit = stop;
	}
	return false;
}

/* Search [lo, hi), no more than *budget partly used groups once something was
 * found. */
static bool search(const struct blocks *b, u64 lo, u64 hi, u32 want,
		   u32 *budget, struct run *best)
{
	for (u64 g = lo >> GROUP_SHIFT; g << GROUP_SHIFT < hi; g++) {
		if (!b->groups[g].nr_free)
			continue;
		if (search_group(b, g, lo, hi, want, best))
			return true;
		if (*budget)
			(*budget)--;
		if (!*budget && best->nr)
			return true;
	}
	return false;
}

/*
 * Allocation goes round below `spread`, so that a volume with little in it
 * stays a small file; it spreads when less than an eighth of that is free.
 */
static void widen(struct blocks *b, u32 want)
{
	u64 used = b->nr - b->nr_free;

	if (b->spread < b->nr && used + want + b->spread / 8 > b->spread) {
		u64 step =
			min(max(b->spread, (u64)SPREAD_MIN), (u64)SPREAD_MAX);

		b->spread = min(b->spread + step, b->nr);
	}
}

static int alloc_run(struct blocks *b, u32 want, struct run *ret)
{
	struct run best = {0, 0};
	u32 budget = SEARCH_GROUPS;

	if (!b->nr_free && !lose_holds(b))
		return -ENOSPC;
	widen(b, want);
	if (b->cursor >= b->spread)
		b->cursor = 1;
	if (!search(b, b->cursor, b->spread, want, &budget, &best))
		(void)search(b, 1, b->cursor, want, &budget, &best);
	if (!best.nr)
		return -ENOSPC;
	*ret = best;
	return group_set(b, best.start >> GROUP_SHIFT,
			 (u32)(best.start & (GROUP_BLOCKS - 1)), best.nr, true);
}

int blocks_alloc(struct blocks *b, u32 want, u64 *ret_start, u32 *ret_nr)
{
	struct run run;
	int err;

	assert(want);

	mutex_lock(&b->lock);
	err = alloc_run(b, want, &run);
	if (!err)
		b->cursor = run.start + run.nr;
	blocks_unlock(b);
	if (err)
		return err;
	*ret_start = run.start;
	*ret_nr = run.nr;
	return 0;
}

void blocks_free(struct blocks *b, u64 start, u64 nr)
{
	mutex_lock(&b->lock);
	free_run(b, start, nr);
	blocks_unlock(b);
}

/* ---- blocks freed by commits ---- */

static int grow_parked(struct blocks *b)
{
	size_t max_parked = max(b->max_parked * 2, (size_t)64);
	struct parked *p;

	p = realloc(b->parked, max_parked * sizeof(*p));
	if (!p)
		return -ENOMEM;
	b->uncharged += (s64)((max_parked - b->max_parked) * sizeof(*p));
	b->parked = p;
	b->max_parked = max_parked;
	return 0;
}

/* Whether a commit may free it: all of it is there, used and not withheld. It
 * is not so where extents of a damaged volume say nonsense, as the map may have
 * been loaded and not made from them. */
static bool may_be_freed(const struct blocks *b, u64 start, u64 nr)
{
	if (!start || start >= b->nr || nr > b->nr - start)
		return false;
	while (nr) {
		u64 g = start >> GROUP_SHIFT;
		u32 bit = (u32)(start & (GROUP_BLOCKS - 1));
		u32 part = group_part(start, nr);
		const u64 *withheld = b->groups[g].withheld;

		if (!group_all(b, g, bit, part, true))
			return false;
		if (withheld &&
		    bit_find(withheld, bit, bit + part, true) < bit + part)
			return false;
		start += part;
		nr -= part;
	}
	return true;
}

/* Make the run the rest of the one that was parked last. */
static bool park_joined(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	struct parked *last;

	if (b->nr_parked == b->nr_released)
		return false;
	last = &b->parked[b->nr_parked - 1];
	if (last->seq != seq || last->start + last->nr != start)
		return false;
	last->nr += nr;
	return true;
}

static int park(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	int err;

	if (park_joined(b, seq, start, nr))
		return 0;
	if (b->nr_parked == b->max_parked) {
		err = grow_parked(b);
		if (err)
			return err;
	}
	b->parked[b->nr_parked++] = (struct parked){seq, start, nr};
	return 0;
}

int blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	int err;

	mutex_lock(&b->lock);
	assert(b->nr_parked == b->nr_released ||
	       b->parked[b->nr_parked - 1].seq <= seq);
	err = may_be_freed(b, start, nr) ? park(b, seq, start, nr) : -EUCLEAN;
	if (!err)
		b->nr_deferred += nr;
	else
		b->leaked = true;
	blocks_unlock(b);
	return err;
}

static void drop_parked_memory(struct blocks *b)
{
	free(b->parked);
	b->parked = NULL;
	b->uncharged -= (s64)(b->max_parked * sizeof(*b->parked));
	b->max_parked = 0;
}

/* The readers of before are gone: their runs are free. */
static void end_grace(struct blocks *b)
{
	size_t nr = b->nr_waiting;

	for (size_t i = 0; i < nr; i++) {
		const struct parked *p = &b->parked[i];

		b->nr_deferred -= p->nr;
		/* two extents of a damaged volume may have had it */
		if (may_be_freed(b, p->start, p->nr))
			withhold_or_free(b, p->start, p->nr);
		else
			b->leaked = true;
	}
	memmove(b->parked, b->parked + nr,
		(b->nr_parked - nr) * sizeof(*b->parked));
	b->nr_parked -= nr;
	b->nr_released -= nr;
	b->nr_waiting = 0;
	if (!b->nr_parked)
		drop_parked_memory(b);
}

/* Begin grace periods, and end those that nobody has to be waited for. */
static void run_grace(struct blocks *b)
{
	for (;;) {
		if (!b->nr_waiting) {
			if (!b->nr_released)
				return;
			b->nr_waiting = b->nr_released;
			b->idx ^= 1;
		}
		if (b->readers[b->idx ^ 1])
			return;
		end_grace(b);
	}
}

void blocks_release(struct blocks *b, u64 seq)
{
	mutex_lock(&b->lock);
	while (b->nr_released < b->nr_parked &&
	       b->parked[b->nr_released].seq <= seq)
		b->nr_released++;
	run_grace(b);
	blocks_unlock(b);
}

void blocks_cancel_deferred(struct blocks *b, u64 seq)
{
	mutex_lock(&b->lock);
	while (b->nr_parked > b->nr_released &&
	       b->parked[b->nr_parked - 1].seq == seq)
		b->nr_deferred -= b->parked[--b->nr_parked].nr;
	if (!b->nr_parked)
		drop_parked_memory(b);
	blocks_unlock(b);
}

u32 blocks_read_enter(struct blocks *b)
{
	u32 token;

	mutex_lock(&b->lock);
	token = b->idx;
	b->readers[token]++;
	mutex_unlock(&b->lock);
	return token;
}

void blocks_read_leave(struct blocks *b, u32 token)
{
	mutex_lock(&b->lock);
	assert(token < 2 && b->readers[token]);
	b->readers[token]--;
	run_grace(b);
	blocks_unlock(b);
}

/* ---- space ---- */

/* What only metadata, unlink and late writes may use. */
static u64 nr_kept(const struct blocks *b)
{
	return b->nr / 100;
}

/* What of the free blocks is not for reservations to come. */
static u64 nr_held(const struct blocks *b)
{
	return b->nr_missing + b->nr_reserved + nr_kept(b);
}

static bool has_room(const struct blocks *b, u64 nr)
{
	return b->nr_free >= nr && b->nr_free - nr >= nr_held(b);
}

int blocks_reserve(struct blocks *b, u64 nr)
{
	int err = -ENOSPC;

	mutex_lock(&b->lock);
	if (has_room(b, nr) || (lose_holds(b) && has_room(b, nr))) {
		b->nr_reserved += nr;
		err = 0;
	}
	blocks_unlock(b);
	return err;
}

void blocks_unreserve(struct blocks *b, u64 nr)
{
	mutex_lock(&b->lock);
	assert(b->nr_reserved >= nr);
	b->nr_reserved -= nr;
	mutex_unlock(&b->lock);
}

void blocks_set_missing(struct blocks *b, u64 nr)
{
	mutex_lock(&b->lock);
	b->nr_missing = nr;
	mutex_unlock(&b->lock);
}

/* One past the last used block of a group, counted in the group; 0: none. */
static u32 group_end(const struct blocks *b, u64 g)
{
	const u64 *map = b->groups[g].map;
	u32 size = group_size(b, g);

	if (!map)
		return b->groups[g].nr_free ? 0 : size;
	for (u32 i = (size - 1) / 64 + 1; i-- > 0;) {
		u64 word = map[i];

		if (i == size / 64)
			word &= ~(~(u64)0 << (size % 64));
		if (word)
			return i * 64 + 64 - (u32)__builtin_clzll(word);
	}
	return 0;
}

static u64 last_used(const struct blocks *b)
{
	for (u64 g = nr_groups(b->nr); g-- > 0;) {
		u32 end = group_end(b, g);

		if (end)
			return (g << GROUP_SHIFT) + end;
	}
	return 0;
}

u64 blocks_end(struct blocks *b)
{
	u64 end;

	mutex_lock(&b->lock);
	end = last_used(b);
	mutex_unlock(&b->lock);
	return end;
}

void blocks_stat(struct blocks *b, struct blocks_stat *ret)
{
	mutex_lock(&b->lock);
	ret->total = b->nr;
	ret->used = b->nr - b->nr_free;
	ret->reserved = b->nr_reserved;
	ret->deferred = b->nr_deferred;
	ret->kept = nr_kept(b);
	ret->missing = b->nr_missing;
	ret->spread = b->spread;
	ret->withheld = b->nr_withheld;
	ret->holds = b->nr_holds;
	ret->holds_lost = b->nr_holds_lost;
	mutex_unlock(&b->lock);
}

/*
 * The last group changes its size: a bitmap's bits behind the bound are set. A
 * group that is all used has no bitmap, and needs one now; an all free one
 * stays so.
 */
static int resize_last(struct blocks *b, u64 nr)
{
	u64 g = nr_groups(min(nr, b->nr)) - 1;
	struct group *grp = &b->groups[g];
	u32 old = group_size(b, g);
	u32 size = (u32)min((u64)GROUP_BLOCKS, nr - (g << GROUP_SHIFT));
	int err;

	if (old == size)
		return 0;
	if (!grp->nr_free) {
		err = group_map(b, g);
		if (err)
			return err;
	}
	if (grp->map && size > old)
		bit_fill(grp->map, old, size - old, false);
	else if (grp->map)
		bit_fill(grp->map, size, old - size, true);
	grp->nr_free = grp->nr_free + size - old;
	if (grp->nr_free == size || !grp->nr_free)
		group_unmap(b, g);
	return 0;
}

static int grow_groups(struct blocks *b, u64 groups)
{
	struct group *grp;

	if (groups <= b->max_groups)
		return 0;
	grp = realloc(b->groups, groups * sizeof(*grp));
	if (!grp)
		return -ENOMEM;
	memset(grp + b->max_groups, 0, (groups - b->max_groups) * sizeof(*grp));
	b->uncharged += (s64)((groups - b->max_groups) * sizeof(*grp));
	b->groups = grp;
	b->max_groups = groups;
	return 0;
}

static int resize(struct blocks *b, u64 nr)
{
	u64 old = nr_groups(b->nr);
	u64 groups = nr_groups(nr);
	int err;

	if (nr < last_used(b))
		return -ENOSPC;
	err = grow_groups(b, groups);
	if (err)
		return err;
	err = resize_last(b, nr);
	if (err)
		return err;
	for (u64 g = groups; g < old; g++)
		assert(!b->groups[g].map);
	b->nr_free = b->nr_free + nr - b->nr;
	b->nr = nr;
	for (u64 g = old; g < groups; g++)
		b->groups[g].nr_free = group_size(b, g);
	b->spread = min(b->spread, nr);
	return 0;
}

int blocks_resize(struct blocks *b, u64 nr)
{
	int err;

	mutex_lock(&b->lock);
	err = nr > BLOCKS_MAX ? -EFBIG : 0;
	if (!err && nr != b->nr)
		err = resize(b, nr);
	blocks_unlock(b);
	return err;
}

/* ---- walking ---- */

/* The first block of [from, nr) that is @used or not, or nr. */
static u64 find_block(const struct blocks *b, u64 from, bool used)
{
	for (u64 at = from; at < b->nr;) {
		u64 g = at >> GROUP_SHIFT, base = g << GROUP_SHIFT;
		const struct group *grp = &b->groups[g];
		u32 size = group_size(b, g);
		u32 bit = (u32)(at - base);

		if (grp->map)
			bit = bit_find(grp->map, bit, size, used);
		else if (used != (grp->nr_free == 0))
			bit = size;
		if (bit < size)
			return base + bit;
		at = base + size;
	}
	return b->nr;
}

bool blocks_next_used(struct blocks *b, u64 from, u64 *ret_start, u64 *ret_nr)
{
	u64 start, end;

	mutex_lock(&b->lock);
	start = find_block(b, max(from, (u64)1), true);
	end = find_block(b, start, false);
	mutex_unlock(&b->lock);
	if (start == end)
		return false;
	*ret_start = start;
	*ret_nr = end - start;
	return true;
}

bool blocks_take_free(struct blocks *b, u64 from, u64 end, u32 max,
		      u64 *ret_start, u32 *ret_nr)
{
	u64 start, room, nr = 0;

	mutex_lock(&b->lock);
	end = min(end, b->nr);
	start = find_block(b, from, false);
	/* half of it, for who reserves meanwhile */
	room = b->nr_free - min(b->nr_free, nr_held(b));
	room /= 2;
	if (start < end) {
		nr = min(find_block(b, start, true), end) - start;
		nr = min(min(nr, room), (u64)min(max, group_part(start, max)));
	}
	if (nr && group_set(b, start >> GROUP_SHIFT,
			    (u32)(start & (GROUP_BLOCKS - 1)), (u32)nr, true))
		nr = 0;
	blocks_unlock(b);
	if (!nr)
		return false;
	*ret_start = start;
	*ret_nr = (u32)nr;
	return true;
}

void blocks_pull_in(struct blocks *b)
{
	mutex_lock(&b->lock);
	b->spread = max(last_used(b), (u64)1);
	b->cursor = 1;
	mutex_unlock(&b->lock);
}

bool blocks_leaked(struct blocks *b)
{
	bool leaked;

	mutex_lock(&b->lock);
	leaked = b->leaked || b->nr_deferred || b->nr_withheld;
	mutex_unlock(&b->lock);
	return leaked;
}

/* ---- checking ---- */

static void check_group(const struct blocks *b, u64 g)
{
	const struct group *grp = &b->groups[g];
	u32 size = group_size(b, g);
	u32 nr_free = 0;

	if (!grp->map) {
		verify(grp->nr_free == 0 || grp->nr_free == size);
		return;
	}
	for (u32 i = 0; i < GROUP_WORDS; i++)
		nr_free += (u32)__builtin_popcountll(~grp->map[i]);
	verify(bit_find(grp->map, size, GROUP_BLOCKS, false) == GROUP_BLOCKS);
	verify(nr_free == grp->nr_free);
	verify(nr_free && nr_free < size);
}

static u32 check_withheld(const struct blocks *b, u64 g)
{
	const struct group *grp = &b->groups[g];
	u32 nr = 0;

	for (u32 i = 0; grp->withheld && i < GROUP_WORDS; i++) {
		verify(!grp->map || !(grp->withheld[i] & ~grp->map[i]));
		nr += (u32)__builtin_popcountll(grp->withheld[i]);
	}
	verify(nr <= group_size(b, g) - grp->nr_free);
	return nr;
}

static void check_parked(const struct blocks *b)
{
	u64 nr_deferred = 0;

	verify(b->nr_waiting <= b->nr_released);
	verify(b->nr_released <= b->nr_parked);
	verify(b->nr_parked <= b->max_parked);
	verify(!b->nr_waiting || b->readers[b->idx ^ 1]);
	verify(b->nr_waiting || !b->nr_released);
	for (size_t i = 0; i < b->nr_parked; i++) {
		const struct parked *p = &b->parked[i];

		verify(p->start && p->nr && p->start + p->nr <= b->nr);
		verify(!i || p[-1].seq <= p->seq);
		nr_deferred += p->nr;
	}
	verify(nr_deferred == b->nr_deferred);
}

void blocks_check(struct blocks *b)
{
	u64 nr_free = 0, nr_withheld = 0;

	mutex_lock(&b->lock);
	for (u64 g = 0; g < nr_groups(b->nr); g++) {
		check_group(b, g);
		nr_withheld += check_withheld(b, g);
		nr_free += b->groups[g].nr_free;
	}
	verify(nr_free == b->nr_free);
	verify(nr_withheld == b->nr_withheld);
	verify(b->nr_holds || !b->nr_withheld);
	verify(group_all(b, 0, 0, 1, true));
	verify(b->spread <= b->nr && last_used(b) <= b->spread);
	verify(b->nr_deferred <= b->nr - b->nr_free);
	check_parked(b);
	mutex_unlock(&b->lock);
}

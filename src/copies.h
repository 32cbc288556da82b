/* SPDX-License-Identifier: MIT */
/*
 * Which pages the kernel has copies of: noted when they are handed to it, in
 * chunks of COPIES_CHUNK pages, least recently handed out first.
 *
 * What the kernel drops by itself it does not tell, so this is an upper bound;
 * pages that could not be taken back are noted again by their number alone, and
 * so may count twice when they are handed out once more.
 *
 * Fresh are those that were handed out since they were last asked for: of these
 * it is worth waiting until they are taken back, of what stayed it is not.
 *
 * Threads: none of its own, and no lock: the caller has one.
 */
#ifndef FOLIO_COPIES_H
#define FOLIO_COPIES_H

#include "base.h"
#include "list.h"
#include "rbtree.h"

#define COPIES_CHUNK 256u

/* Threads whose faults are remembered with a chunk. */
#define COPIES_TIDS 4

struct copies {
	struct rb_root chunks; /* by inode and index */
	struct list_head lru;  /* least recently handed out first */
	u64 nr_pages;	       /* that the kernel may have, at most */
	u64 nr_fresh;	       /* of them, handed out and not asked for since */
	u64 nr_chunks;
};

void copies_init(struct copies *c);
void copies_done(struct copies *c);

/*
 * Pages [@pgoff, @pgoff + @nr) of @ino go to the kernel, for the thread @tid
 * (0: not known). Noting them twice counts once.
 * Return: 0 or -ENOMEM: not all are noted.
 */
int copies_add(struct copies *c, u64 ino, u64 pgoff, u64 nr, u32 tid);

/* @nr pages within the chunk of @pgoff stayed, whichever they are.
 * Return: 0 or -ENOMEM. */
int copies_add_left(struct copies *c, u64 ino, u64 pgoff, u32 nr);

/* Who is to get page @pgoff of @ino waits: its chunk goes last, as the kernel
 * keeps that page locked meanwhile. */
void copies_touch(struct copies *c, u64 ino, u64 pgoff);

#define COPIES_BATCH_CHUNKS 512
#define COPIES_BATCH_TIDS 32

struct copies_run {
	u64 pgoff; /* the first page of a chunk */
	u32 nr;	   /* pages of it */
};

/* Chunks of one file, ascending. */
struct copies_batch {
	u64 ino;
	u64 nr_pages;
	u64 nr_fresh;
	struct copies_run chunks[COPIES_BATCH_CHUNKS];
	u32 nr_chunks;
	u32 tids[COPIES_BATCH_TIDS];
	u32 nr_tids;
};

/*
 * Take out the least recently used chunk, of @ino or of any file when that is
 * 0, and further ones of the same file in
 * that order, until there are @want pages or COPIES_LOOK chunks were looked at.
 * Return: false when there are none.
 */
#define COPIES_LOOK 4096
bool copies_take(struct copies *c, u64 ino, u64 want, struct copies_batch *ret);

/* Chunks of @ino, of every file when it is 0. O(chunks). */
u64 copies_count(const struct copies *c, u64 ino);

/* Forget all chunks of @ino, of every file when it is 0. O(chunks). */
void copies_forget(struct copies *c, u64 ino);

/* Abort unless order, counts and bits agree. */
void copies_check(const struct copies *c);

#endif

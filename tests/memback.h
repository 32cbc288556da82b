/* SPDX-License-Identifier: MIT */
/*
 * A volume in memory, for tests of the page cache: blocks, which are free,
 * slots or parts of committed files; sums; reservations; a committer that can
 * be stopped between its steps; faults; and a clock that the test sets.
 */
#ifndef FOLIO_MEMBACK_H
#define FOLIO_MEMBACK_H

#include "base.h"
#include "cache.h"
#include "lock.h"

enum block_use {
	BLOCK_FREE,
	BLOCK_SLOT,
	BLOCK_COMMITTED,
};

struct memblock {
	enum block_use use;
	u64 epoch; /* flush epoch of the last write */
	u8 *data;
};

enum mem_op {
	MEM_READ_PAGES,
	MEM_RESERVE,
	MEM_ALLOC,
	MEM_WRITE,
	MEM_READ,
	MEM_NR_OPS,
};

struct memfile {
	struct address_space as;
	struct file f;
	struct memback *mb;
	u64 size;     /* committed */
	u64 nr_pages; /* of map */
	u32 *map;     /* page -> block, 0: hole */
	u64 *sums;
	u64 nr_changed; /* content_changed() calls */
	/* of the last read_failed() call */
	u64 bad_pgoff, bad_nr;
	int bad_err;
};

/* One change of a transaction. */
struct memrun {
	struct commit_run run;
	u64 sums[256];
	u8 page[4096];
	struct memrun *next;
};

struct memback {
	struct mutex lock; /* leaf */
	struct rwsem stop;
	struct cache *cache;
	struct memblock *blocks;
	u32 nr_blocks;
	u32 hand;    /* next-fit */
	u32 max_run; /* of an allocation, 0: none */
	u64 nr_free, nr_reserved;
	/* where slots that are not for a commit come from, if there is any */
	struct memblock *area;
	u32 nr_area; /* 0: none */
	u64 nr_area_free;
	u64 epoch, flushed_epoch;
	u64 now;
	u64 wanted[3]; /* want_commit() calls by reason */
	u64 calls[MEM_NR_OPS];
	u64 pages[MEM_NR_OPS];

	/* fail call number @fail_at of those in @fail_mask, counted from 1 */
	u32 fail_mask;
	u64 fail_at, fail_seen;
	int fail_err;
	bool fail_forever; /* and all that follow */
	u64 nr_failed;

	/* the commit in flight */
	struct commit *commit;
	struct memrun *runs;
	struct memrun **last_run;
};

/* @pages: budget of the cache; @blocks: of the volume. */
void mem_init(struct memback *mb, u64 pages, u64 max_pages, u32 blocks);
void mem_done(struct memback *mb);
/* Slots are foreign from now on: @blocks of an area of their own. */
void mem_swap_area(struct memback *mb, u32 blocks);

void memfile_init(struct memfile *mf, struct memback *mb, u64 ino,
		  u64 max_pages);
void memfile_done(struct memfile *mf);
/* Make committed content without the cache. Context: before memfile_open(). */
void memfile_put(struct memfile *mf, u64 pgoff, const void *page);
/* The committed content of [pgoff, +1), zeros in holes and behind the end. */
void memfile_get(struct memfile *mf, u64 pgoff, void *page);

/* The steps of a commit. */
void mem_commit_begin(struct memback *mb);
void mem_commit_add(struct memback *mb, struct memfile *mf);
void mem_commit_cut_end(struct memback *mb);
int mem_commit_writeout(struct memback *mb, u32 inline_pages);
/* Collect the runs, and with @err 0 apply them: the COMMIT. */
void mem_commit_transact(struct memback *mb, int err);
void mem_commit_end(struct memback *mb, int err);
/* All of it, of @nr files. Return: the first commit_file_error(). */
int mem_commit(struct memback *mb, struct memfile *const *files, u32 nr,
	       u32 inline_pages, int err);

/* Fail call @n of the operations in @mask with @err. 0: none. */
void mem_fail(struct memback *mb, u32 mask, u64 n, int err, bool forever);
#define MEM_ALL ((1u << MEM_NR_OPS) - 1)

/* Blocks and reservations are what the cache says they are; and cache_check().
 */
void mem_check(struct memback *mb);

#endif

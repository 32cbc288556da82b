/* SPDX-License-Identifier: MIT */
/*
 * libfoliocache: a page cache in the manner of Linux's mm, as a library.
 *
 * A cache has a budget of bytes. Its pages are numbered frames of one arena;
 * a file's pages hang in the page tree of its address_space. Committed pages
 * come from the user through address_space_operations.read_pages; changed
 * ones ("uncommitted") are kept until a commit has taken them over, and go to
 * slots through swap_operations when frames run short. The cache knows
 * nothing of inodes, names, SQL or FUSE.
 *
 *             fill                   write
 *  ABSENT ----------> CLEAN --------------> DIRTY <-----------+
 *    ^  ^               | ^                   | write out     | write
 *    |  +---- evict ----+ | commit            v to a slot     |
 *    |  (shadow entry)    +--------------- SAVED -------------+
 *    |                                      |  ^
 *    | commit (no frame)             evict  v  | swap in
 *    +----------------------------------- SWAPPED
 *
 * also ABSENT or SWAPPED -> DIRTY (whole page overwritten: nothing is read),
 * ABSENT -> SWAPPED (no frame to be had: written straight to a slot), DIRTY ->
 * CLEAN (committed inline), anything -> ABSENT (truncated, punched).
 *
 * Calling sequence:
 *	cache_new(), cache_start(); for each file address_space_init(), for each
 *	open file_init(); cache_read() / cache_write() / cache_truncate() ...;
 *	a committer thread: commit_new(), then with the stop held exclusive
 *	commit_add() for each file, then without it commit_writeout(),
 *	commit_next() until 0, commit_end(), commit_free();
 *	file_done(), address_space_done(), cache_stop(), cache_free().
 *
 * Threads: everything may be called from any thread unless it says otherwise.
 * Locks: include/lock.h. Callers hold at most locks of a rank before
 * LOCK_INVALIDATE. Errors: 0 or -errno. Units: pos and len are bytes, pgoff
 * and nr pages, times CLOCK_MONOTONIC nanoseconds of the injected clock.
 */
#ifndef FOLIO_CACHE_H
#define FOLIO_CACHE_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base.h"
#include "interval_tree.h"
#include "list.h"
#include "lock.h"
#include "page_tree.h"
#include "range_set.h"

struct address_space;
struct cache;
struct commit;
struct commit_file;

/*
 * A slot: a block of the swap area, counted in pages. 0 is never a slot. As a
 * rule it is a free block of where committed content stands, so a commit
 * adopts it. One with SLOT_FOREIGN is elsewhere: a commit copies what it has,
 * and the page keeps its reservation until then.
 */
typedef u64 slot_t;
#define SLOT_FOREIGN ((slot_t)1 << 47)

/* ---- what the cache asks of its user ---- */

/* Why content changed; see content_changed(). */
enum change {
	CHANGE_WRITE,
	CHANGE_WRITEPAGE, /* a mapped store that the kernel hands over late */
	CHANGE_TRUNCATE,
	CHANGE_PUNCH,
};

enum extent_kind {
	EXTENT_HOLE,
	EXTENT_UNWRITTEN,
	EXTENT_DATA,
};

struct address_space_operations {
	/*
	 * Read the committed pages [pgoff, pgoff + nr) into pages[]; what no
	 * extent covers is filled with zeros, what lies behind the committed
	 * end of file as well.
	 * Context: may sleep; only LOCK_INVALIDATE (shared) and pages held.
	 * Return: 0 with errs[i] 0 or -errno for each page (-EIO: checksum),
	 * or -errno when nothing was read.
	 */
	int (*read_pages)(struct address_space *as, u64 pgoff, u32 nr,
			  void *const *pages, int *errs);

	/*
	 * Pages [pgoff, pgoff + nr) could not be read, from the volume or from
	 * a slot; whoever asked for one of them gets @err (readahead asks for
	 * nobody). May be NULL. Context: as read_pages().
	 */
	void (*read_failed)(struct address_space *as, u64 pgoff, u32 nr,
			    int err);

	/*
	 * The committed extent at @pgoff: its kind and first page behind it
	 * (PGOFF_MAX + 1 when it goes on for ever). For SEEK_DATA and stat.
	 * Context: may sleep.
	 */
	int (*next_extent)(struct address_space *as, u64 pgoff,
			   enum extent_kind *ret_kind, u64 *ret_end);

	/*
	 * Reserve space for @nr more DIRTY pages. Context: never sleeps.
	 * Return: 0 or -ENOSPC.
	 */
	int (*reserve)(struct address_space *as, u32 nr);
	void (*unreserve)(struct address_space *as, u32 nr);

	/*
	 * Content of [pos, pos + len) or the size changed: set mtime and
	 * ctime, drop set-id bits, note that the inode is to be committed.
	 * Context: LOCK_STOP held shared; does not sleep, O(1). @arg is what
	 * the caller of cache_write() etc. passed.
	 */
	void (*content_changed)(struct address_space *as, enum change why,
				u64 pos, u64 len, void *arg);

	/*
	 * cache_truncate() cut @nr_vmas mappings that are known (mm.h): each
	 * maps pages of [first, last], which lie behind the end now; a touch of
	 * them is SIGBUS. May be NULL. @arg is what its caller passed.
	 * Context: only LOCK_INVALIDATE (exclusive) held.
	 */
	void (*mappings_cut)(struct address_space *as, u64 first, u64 last,
			     u64 nr_vmas, void *arg);
};

struct swap_operations {
	/*
	 * Find a run of free slots, as long as can be had up to @want. For a
	 * @commit they are to be adopted, so none is SLOT_FOREIGN.
	 * Context: may take LOCK_BLOCKS, does not sleep.
	 * Return: 0 or -ENOSPC.
	 */
	int (*alloc)(void *arg, u32 want, bool commit, slot_t *ret_start,
		     u32 *ret_nr);

	/*
	 * Write @nr pages to the run at @start. ret_sums[] are opaque to the
	 * cache: handed back to read() and, in commit_run, to the committer.
	 * *ret_epoch is the flush epoch the write fell into, 0 for foreign
	 * slots, which nobody flushes. That these cannot be written is taken
	 * for swap being full.
	 * Context: may sleep for the device.
	 */
	int (*write)(void *arg, slot_t start, u32 nr, void *const *pages,
		     u64 *ret_sums, u64 *ret_epoch);

	/* Read and verify; errors as read_pages(). */
	int (*read)(void *arg, slot_t start, u32 nr, void *const *pages,
		    const u64 *sums, int *errs);
	void (*free)(void *arg, slot_t start, u32 nr);
};

/* Why the cache asks for a commit. */
enum commit_reason {
	COMMIT_METADATA, /* bookkeeping passed a quarter of the budget */
	COMMIT_SWAP_FULL,
	COMMIT_SPACE, /* reservations failed; a commit frees blocks */
};

struct cache_config {
	u64 size;     /* budget, bytes; see cache_set_knob() */
	u64 max_size; /* up to where the budget may be raised later */
	const struct swap_operations *swap_ops;
	void *swap_arg;
	u64 (*now)(void *arg); /* NULL: CLOCK_MONOTONIC */
	void *now_arg;
	struct rwsem *stop; /* the volume stop; rank LOCK_STOP */
	/* Ask for a commit soon. Never waits, may be called under any lock. */
	void (*want_commit)(void *arg, enum commit_reason why);
	void *want_commit_arg;
};

/* ---- the cache ---- */

/*
 * Make a cache. @cfg is copied. The arena is reserved for max_size and
 * populated as it is used.
 * Return: 0, -ENOMEM, -EINVAL (fewer than CACHE_MIN_PAGES pages).
 */
#define CACHE_MIN_PAGES 64
int cache_new(const struct cache_config *cfg, struct cache **ret_cache);

/* Context: no address_space is left. NULL is fine. */
void cache_free(struct cache *cache);

/* Start reclaim and flusher threads; without them allocations reclaim
 * directly and cache_flush_step() flushes, which is how tests run. */
int cache_start(struct cache *cache);
void cache_stop(struct cache *cache);

/* One round of the flusher / of background reclaim, by the caller.
 * Return: pages written out / freed, or -errno. */
long cache_flush_step(struct cache *cache);
long cache_reclaim_step(struct cache *cache);

/* Charge bookkeeping of the user (inodes, names, operation list, SQLite) to
 * the budget; @bytes may be negative. Never fails, never sleeps.
 * Context: no LOCK_LEAF held, since it may wake a thread. */
void cache_charge(struct cache *cache, s64 bytes);

/* So many bytes of pages that we have, or had, are somewhere else too (in the
 * kernel): up to half of the budget, frames make room for them.
 * Context: as cache_charge(). */
void cache_set_copies(struct cache *cache, u64 bytes);

/* Charged bookkeeping has passed a quarter of the budget: stop new work. */
bool cache_metadata_over(const struct cache *cache);
/* Would it, with so many bytes more, or less? */
bool cache_metadata_would_be_over(const struct cache *cache, s64 more);

/* Is the file range kept in memory at all? Evict CLEAN pages of @as, or of all
 * files when NULL. Return: pages dropped. */
u64 cache_drop(struct cache *cache, struct address_space *as);

/* ---- knobs: name, unit, default, minimum, maximum; 0 default: computed.
 * One list makes the struct, the parsers, vm/ and the manual's test. ---- */
#define CACHE_KNOBS(X)                                                    \
	X(cache_size, "bytes", 0, CACHE_MIN_PAGES *PAGE_SIZE, UINT64_MAX) \
	X(dirty_background_bytes, "bytes", 0, 0, UINT64_MAX)              \
	X(dirty_bytes, "bytes", 0, 0, UINT64_MAX)                         \
	X(dirty_expire_centisecs, "1/100 s", 3000, 0, 8640000)            \
	X(swappiness, "0-200", 60, 0, 200)                                \
	X(readahead_kb, "KiB", 2048, 0, 65536)                            \
	X(swap_size, "bytes", UINT64_MAX, 0, UINT64_MAX)

enum cache_knob {
#define X(name, ...) KNOB_##name,
	CACHE_KNOBS(X)
#undef X
		KNOB_NR,
};

/* Thresholds of 0 are computed: background 10%, dirty 20% of the budget.
 * swap_size bounds what reclaim and the flusher write out; a commit takes the
 * slots that it needs until it ends, and so does a late write of the kernel
 * that would be lost otherwise.
 * Lowering cache_size gives frames back before it returns or, where pages are
 * pinned, as soon as they are let go. Return: 0, -EINVAL, -ENOMEM. */
int cache_set_knob(struct cache *cache, enum cache_knob knob, u64 value);
u64 cache_get_knob(const struct cache *cache, enum cache_knob knob);
/* The knob of that name, or -ENOENT. */
int cache_find_knob(const char *name);
const char *cache_knob_name(enum cache_knob knob);

/* ---- counters: monotonic, per cache. Linux's names where they exist.
 * X(name, help): the help is what control files and manuals say. ---- */
#define CACHE_COUNTERS(X)                                                    \
	X(pgfault, "page faults that reached us, minor and major")           \
	X(pgmajfault, "faults for which a page came from volume or slot")    \
	X(pgmajfault_swap, "major faults for which a page came from a slot") \
	X(pgfill, "reads by which the kernel fills its cache otherwise")     \
	X(pgmajfill, "fills for which a page came from volume or slot")      \
	X(pgpgin, "pages read from the volume")                              \
	X(pgpgout, "pages written to slots or inline")                       \
	X(pswpin, "pages read back from slots")                              \
	X(pswpout, "saved pages whose frame was evicted")                    \
	X(pgalloc, "frames taken")                                           \
	X(pgfree, "frames given back")                                       \
	X(pgactivate, "pages moved to an active list")                       \
	X(pgdeactivate, "pages moved to an inactive list")                   \
	X(pgscan_kswapd, "pages looked at by background reclaim")            \
	X(pgscan_direct, "pages looked at by direct reclaim")                \
	X(pgsteal_kswapd, "pages evicted by background reclaim")             \
	X(pgsteal_direct, "pages evicted by direct reclaim")                 \
	X(pgrotated, "pages given a second chance")                          \
	X(rmap_referenced,                                                   \
	  "pages that reclaim spared for a mapping faulted lately")          \
	X(truncate_cut_vmas, "mappings cut by truncations")                  \
	X(mm_overflow, "scans refused for want of room for mappings")        \
	X(workingset_refault_anon,                                           \
	  "uncommitted pages that came back after eviction")                 \
	X(workingset_refault_file,                                           \
	  "committed pages that came back after eviction")                   \
	X(workingset_activate_anon,                                          \
	  "refaulted uncommitted pages that became active at once")          \
	X(workingset_activate_file,                                          \
	  "refaulted committed pages that became active at once")            \
	X(workingset_nodereclaim,                                            \
	  "tree nodes of shadow entries that were freed")                    \
	X(allocstall, "direct reclaims")                                     \
	X(drop_pagecache, "pages dropped on request")                        \
	X(cache_hit, "pages of reads found in a frame")                      \
	X(cache_miss, "pages of reads not found in a frame, read into one")  \
	X(readahead_pages, "pages read ahead")                               \
	X(readahead_hit, "pages read ahead that were then used")             \
	X(bounce_read, "pages read past the cache for want of a frame")      \
	X(direct_slot_write,                                                 \
	  "pages written straight to a slot for want of a frame")            \
	X(cow_frozen, "pages copied because a commit held them")             \
	X(nr_dirtied, "pages made dirty")                                    \
	X(nr_written, "dirty pages written out")                             \
	X(nr_flusher_written, "dirty pages written out by the flusher")      \
	X(throttled, "writes that were told to pause")                       \
	X(throttled_ms, "pauses given to writers, ms")                       \
	X(commit_pages, "uncommitted pages taken over by commits")           \
	X(commit_written, "pages that commits had to write themselves")      \
	X(commit_copied, "pages that commits copied from a swap file")       \
	X(commit_inline, "pages committed from their frames, without slots") \
	X(read_errors, "pages that could not be read")                       \
	X(write_errors, "pages that could not be written")

struct cache_counters {
#define X(name, ...) u64 name;
	CACHE_COUNTERS(X)
#undef X
};

/* ---- gauges: pages unless the name says otherwise ---- */
#define CACHE_GAUGES(X)                                                   \
	X(nr_frames, "frames the budget allows beside bookkeeping")       \
	X(nr_free_pages, "frames to be had without reclaim")              \
	X(nr_file_pages, "committed pages in frames (clean)")             \
	X(nr_anon_pages, "uncommitted pages in frames (dirty and saved)") \
	X(nr_active_anon, "uncommitted pages on the active list")         \
	X(nr_inactive_anon, "uncommitted pages on the inactive list")     \
	X(nr_active_file, "committed pages on the active list")           \
	X(nr_inactive_file, "committed pages on the inactive list")       \
	X(nr_unevictable, "pages that may not be evicted")                \
	X(nr_dirty, "pages that exist only in a frame")                   \
	X(nr_saved, "uncommitted pages in a frame and in a slot")         \
	X(nr_swapped, "uncommitted pages in a slot only")                 \
	X(nr_writeback, "pages being written to slots")                   \
	X(nr_uncommitted, "pages that no commit has taken over yet")      \
	X(nr_slots, "slots in use")                                       \
	X(nr_shadow, "shadow entries of evicted pages")                   \
	X(nr_tree_nodes, "nodes of page trees")                           \
	X(page_table_bytes,                                               \
	  "page trees, swap entries and frame headers, bytes")            \
	X(metadata_bytes, "inodes, names, operations and SQLite, bytes")  \
	X(nr_address_spaces, "files the cache knows")                     \
	X(nr_mapped, "pages in frames that some process maps")            \
	X(nr_mlock, "pages kept because a process has locked them")       \
	X(nr_mms, "processes known to map files")                         \
	X(nr_vmas, "mappings known of all processes")

struct cache_gauges {
#define X(name, ...) u64 name;
	CACHE_GAUGES(X)
#undef X
};

/* A snapshot; answers even when the cache is busy. */
void cache_counters(const struct cache *cache, struct cache_counters *ret);
void cache_gauges(const struct cache *cache, struct cache_gauges *ret);

/* ---- address spaces and open files ---- */

/*
 * What the commit in flight has of a file; cache/commit.c. Part of the
 * address_space, so that the cut allocates nothing and cannot fail.
 */
struct commit_file {
	/* set by the cut */
	struct list_head node; /* files of the commit */
	struct commit *commit;
	u64 size;
	u64 nr_frozen;		   /* uncommitted pages */
	u64 dirtied_when;	   /* the oldest of them */
	u64 dead_first, dead_last; /* being truncated: not part of it */
	bool size_changed;
	/* under tree_lock: what writers and truncation have left to it */
	u32 detached_frames, detached_swps;
	/* the committer's */
	u32 swps, swps_last; /* sorted by page */
	u32 first_inline, nr_inline;
	int err; /* the file is left out */
};

struct address_space {
	/* constant */
	struct cache *cache;
	const struct address_space_operations *ops;
	u64 ino; /* sorts swap-out batches, names the file in snapshots */

	/* truncate, punch: exclusive; fill, write: shared */
	struct rwsem invalidate_lock;

	/* under tree_lock */
	struct mutex tree_lock;
	struct page_tree tree;
	struct range_set holes;	       /* committed content that is dead */
	struct range_set frozen_holes; /* of the commit in flight */
	struct range_set lost; /* late writes that could be stored nowhere */
	bool all_lost;	       /* or not even noted there */
	struct commit_file *frozen; /* &commit while a commit is in flight */
	struct commit_file commit;
	u32 epoch;	 /* cuts so far; stamps pages */
	u64 nr_state[5]; /* pages by enum page_state */
	u64 nr_writeback, nr_shadow;
	u64 charged_nodes, charged_bytes;
	u64 dirtied_when; /* oldest change since the last cut, 0: none */
	u64 written_when; /* since then a page may be DIRTY */
	u64 dead_first, dead_last; /* being dropped; empty: first > last */
	bool size_changed;	   /* since the last cut */

	/* under tree_lock and LOCK_MM to change, either to look; mm.h */
	struct interval_root i_mmap; /* struct vma.rmap, by page */

	/* atomic */
	u64 i_size;
	u32 wb_err;	    /* errseq: error of the last failed commits */
	u32 pinned;	    /* openers of .pin: pages go unevictable */
	u32 nr_vmas;	    /* in i_mmap */
	u32 nr_locked_vmas; /* of them with VM_LOCKED */
	u32 nr_hinted_vmas; /* with VM_RAND_READ or VM_SEQ_READ */
	u64 minflt, majflt; /* mm_account_fault() */
	u64 nr_fills;	    /* mm_account_fill() */
	u64 nr_cut_vmas;    /* mappings that truncations have cut */
	u64 nr_mapped;	    /* pages in frames that some vma maps */

	/* under the lock of the cache's readahead */
	u32 nr_readahead; /* reads ahead that are under way */

	/* under the cache's list lock */
	struct list_head node;	     /* all address spaces */
	struct list_head dirty_node; /* those with DIRTY pages */
	u32 users;		     /* threads of the cache that look at it */
};

/* State of one open file: embed it in the user's handle. */
struct file {
	struct address_space *mapping;
	u64 id; /* the user's own number of it, for snapshots */
	/* readahead, as struct file_ra_state; atomic, races are harmless */
	u64 ra_start;	 /* pgoff of the current window */
	u32 ra_size;	 /* pages of the window */
	u32 ra_async;	 /* start the next when this many are left */
	u64 ra_prev;	 /* last page read */
	u32 wb_err_seen; /* errseq cursor */
	u32 ra_mode;	 /* 0 normal, 1 random (none), 2 sequential (double) */

	/* under LOCK_MM */
	struct list_head vmas; /* mappings that came through it; mm.h */
	/* atomic */
	u32 nr_vmas;
	u64 minflt, majflt; /* of those mappings */
};

void address_space_init(struct address_space *as, struct cache *cache,
			const struct address_space_operations *ops, u64 ino,
			u64 size);

/* Forget all pages, uncommitted ones too (slots are freed). Context: nobody
 * uses it any more, no commit has it. */
void address_space_done(struct address_space *as);

/* Something is uncommitted: pages, holes or size. */
bool address_space_dirty(struct address_space *as);

static inline u64 i_size_read(const struct address_space *as)
{
	return __atomic_load_n(&as->i_size, __ATOMIC_ACQUIRE);
}

void file_init(struct file *f, struct address_space *as);
void file_done(struct file *f);

/* The error since this open file was last told, once; 0: none.
 * Source: Linux lib/errseq.c, file_check_and_advance_wb_err(). */
int file_check_and_advance_wb_err(struct file *f);

/* Set the error of an address_space; seen once by every open file. */
void mapping_set_error(struct address_space *as, int err);

/* ---- reading ---- */

#define CACHE_READ_MAX_PAGES 257

/* Where the pages of an answer came from: what mm_account_fault() has to know.
 * Pages of zeros that no extent was asked for came from nowhere. */
struct read_fault {
	u64 pgoff; /* first page */
	u32 nr;
	u32 nr_volume; /* of these had to come from the volume */
	u32 nr_slot;   /* or from slots */
};

/*
 * A read's answer: pieces that lie in frames (pinned until cache_read_done())
 * or in the caller's bounce buffer, to be sent as they are.
 */
struct cache_read {
	void *bounce; /* in: PAGE_SIZE-aligned, CACHE_READ_MAX_PAGES pages */
	struct iovec iov[CACHE_READ_MAX_PAGES];
	u32 nr_iov;
	u32 frames[CACHE_READ_MAX_PAGES]; /* pinned */
	u32 nr_frames;
	struct read_fault fault;
};

/*
 * Read up to @len bytes (at most 1 MiB) at @pos; stops at i_size.
 * Context: may sleep for the device and for pages of this file being filled.
 * Return: bytes described by rd->iov, 0 at or behind the end; -EIO when the
 * first page cannot be read (a later bad page shortens the read).
 */
ssize_t cache_read(struct file *f, u64 pos, size_t len, struct cache_read *rd);
void cache_read_done(struct cache *cache, struct cache_read *rd);

/* Read into memory by copying; for control, tests and copy_file_range. */
ssize_t cache_read_copy(struct file *f, u64 pos, void *buf, size_t len);

/* Start bringing [pos, pos+len) in; returns when it is read. */
int cache_prefetch(struct file *f, u64 pos, u64 len);

/* ---- changing ---- */

enum {
	CACHE_WRITE_WRITEPAGE = 1, /* late kernel write: clipped to i_size,
				      never refused while there is any space */
	CACHE_WRITE_APPEND = 2,	   /* at i_size, whatever @pos says */
	CACHE_WRITE_EXTEND = 4,	   /* with WRITEPAGE: not clipped, the kernel
				      owns the size */
};

/*
 * Write @len bytes at @pos. All pages of a piece (at most 256) become dirty in
 * one hold of the stop, so a cut has all of a piece or none.
 * @arg goes to content_changed().
 * Context: may sleep for the device. *ret_pos (may be NULL): where it went.
 * Return: bytes written (short when space runs out amidst), or -ENOSPC, -EIO
 * (a page to be completed cannot be read), -EFBIG.
 */
ssize_t cache_write(struct file *f, u64 pos, const void *buf, size_t len,
		    unsigned flags, void *arg, u64 *ret_pos);

/* How long the writer of @nr pages should pause, 0..200 ms in ns; the caller
 * delays its answer. Source: Linux balance_dirty_pages(). */
u64 cache_balance_dirty(struct address_space *as, u32 nr);

/* Set the size; cut pages are dropped, the tail of the last one zeroed.
 * Return: 0, -EFBIG, -ENOSPC or -EIO (the last page cannot be rewritten). */
int cache_truncate(struct address_space *as, u64 size, void *arg);

/* Make [pos, pos+len) read as zeros; the size stays. */
int cache_punch(struct address_space *as, u64 pos, u64 len, void *arg);

/* The next data or hole at or behind @pos (SEEK_DATA / SEEK_HOLE), merged from
 * uncommitted pages, holes and committed extents. Return: or -ENXIO. */
s64 cache_seek(struct address_space *as, u64 pos, int whence);

/* ---- looking ---- */

struct address_space_stat {
	u64 size, nr_cache, nr_dirty, nr_writeback, nr_evicted,
		nr_recently_evicted, nr_saved, nr_swapped, nr_uncommitted,
		minflt, majflt;
	u64 nr_mapped, nr_vmas, nr_fills, nr_cut_vmas;
	u64 oldest_uncommitted_ms; /* age; 0: nothing */
};
void address_space_stat(struct address_space *as,
			struct address_space_stat *ret);

/* One character a page, as DESIGN's inode/INO/pages: . c C d D s S w W z.
 * Writes @nr characters, no terminator. */
void address_space_map(struct address_space *as, u64 pgoff, u64 nr, char *ret);

/* The first run of pages in frames within [pgoff, last]. Return: whether there
 * is one. */
bool address_space_resident(struct address_space *as, u64 pgoff, u64 last,
			    u64 *ret_first, u64 *ret_last);

/* Pages that only frames have, at a glance. */
u64 address_space_nr_dirty(const struct address_space *as);
/* The same, if nothing else is uncommitted: no page in a slot, no hole, and no
 * commit has it. UINT64_MAX: there is. */
u64 address_space_nr_only_dirty(struct address_space *as);

/* Has it a page, in memory or in swap? O(1). */
bool address_space_any(const struct address_space *as);

/* One past the last page index with an entry (page or swap), 0: none. Looks at
 * all shadow entries; others change the file meanwhile. */
u64 address_space_last(struct address_space *as);

/* Keep all pages of @as in memory (count), or let go again. */
void address_space_pin(struct address_space *as, bool pin);

/* ---- committing: by one thread, the committer ---- */

struct commit *commit_new(struct cache *cache);
void commit_free(struct commit *c);

/*
 * Before the cut: write DIRTY pages of @as out to slots while writers go on.
 * Return: pages written or -errno (not final: commit_writeout() tries again).
 */
long commit_prewrite(struct cache *cache, struct address_space *as);

/*
 * In the cut: freeze @as (uncommitted pages, holes, size) as it is.
 * Context: stop held exclusive. O(1): no I/O, no page is visited, nothing is
 * allocated, and so it cannot fail. Adding one twice is fine.
 */
void commit_add(struct commit *c, struct address_space *as);

/*
 * After the stop: give every frozen page a slot, or keep it for inline when
 * its file has at most @inline_pages frozen pages in all, all of them in
 * frames and DIRTY. Pages written to meanwhile are copied.
 * A file that fails is left out of the commit (commit_next() skips it), its
 * error set for every open file; the rest goes on.
 * Return: 0, or -errno when nothing can be committed.
 */
int commit_writeout(struct commit *c, u32 inline_pages);

/* The flush epoch of the youngest slot write among the frozen pages. */
u64 commit_max_epoch(const struct commit *c);

/* Data flushes failed: read, verify and write again elsewhere all slots of
 * epochs (@after, @upto], which may be lost; those written later are not.
 * Return: 0 or -errno. */
int commit_reslot(struct commit *c, u64 after, u64 upto);

enum commit_run_kind {
	COMMIT_FILE,   /* a file begins: size */
	COMMIT_PUNCH,  /* [pgoff, pgoff + nr) has no committed content */
	COMMIT_SLOTS,  /* pages [pgoff, pgoff + nr) are slots [slot, ...) */
	COMMIT_INLINE, /* page pgoff is data[0..len) */
	COMMIT_FILE_END,
};

struct commit_run {
	enum commit_run_kind kind;
	struct address_space *as;
	u64 pgoff;
	u64 nr; /* at most 256 for COMMIT_SLOTS; may be huge for PUNCH */
	slot_t slot;
	const u64 *sums;  /* nr of them, valid until the next call */
	const void *data; /* COMMIT_INLINE: one page, zeros behind EOF; it
			     stays as it is until commit_end() */
	u64 size;	  /* COMMIT_FILE: i_size at the cut */
};

/* The next run: per file FILE, PUNCHes, SLOTS and INLINEs by ascending pgoff,
 * FILE_END. Return: 1, 0 at the end, -errno. */
int commit_next(struct commit *c, struct commit_run *ret_run);
/* The next run is the first again. */
void commit_rewind(struct commit *c);

/*
 * The transaction is durable (@err 0): slots now belong to extents, pages
 * become CLEAN where they were not written again. Or it failed: everything is
 * uncommitted as before, @err is set for every open file of the files in it.
 */
void commit_end(struct commit *c, int err);

/* After commit_writeout(): 0, or why @as is left out of the commit in flight.
 */
int commit_file_error(struct address_space *as);
/* The commit in flight, if it has the file at all, is to do without it, as if
 * it could not be written: @err. Context: the committer, before commit_next().
 */
void commit_leave_out(struct address_space *as, int err);

/* Pages frozen, written by this commit, inline. */
struct commit_stat {
	u64 files, pages, written, inline_pages;
	u64 holed; /* files of which something was cut off or punched */
};
void commit_stat(const struct commit *c, struct commit_stat *ret);

/* ---- checking: for tests and debug builds ---- */

/* Abort unless every invariant holds, of one file and of the whole cache.
 * Context: no call on the cache is under way. O(pages). */
void address_space_check(struct address_space *as);
void cache_check(struct cache *cache);

#endif

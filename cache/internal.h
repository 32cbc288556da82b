/* SPDX-License-Identifier: MIT */
/*
 * What the files of cache/ share: frames and their headers, tree entries, swap
 * entries, LRU lists, and the struct cache that holds them.
 *
 * Who may wait for whom
 * ---------------------
 *
 * Locks are taken in the order of include/lock.h; those of the cache are
 *
 *   invalidate_lock    truncate, punch, a write without frames: exclusive;
 *                      a fill, a write: shared
 *   mm update_lock     a scan of a process: holds nothing else when it begins
 *     page lock        of one file, by ascending index
 *       stop           shared: the moment in which content changes
 *         mm lock      who maps what
 *           tree_lock  where pages and mappings hang, and the pages' states
 *             lru lock, list lock (never both)
 *               slots, frames, wait queues: leaves
 *
 * 1. Under the stop, or any lock after it, nobody waits for a device, for a
 *    page, for a frame or for the committer: those locks are held for
 *    microseconds and can be left out of what follows.
 * 2. Who holds a page lock waits for the device, or for a page of the same
 *    file with a higher index. A batch that is written out has pages of several
 *    files; all but the first were locked by trylock, and while it is held
 *    only the device is waited for.
 * 3. Who allocates a frame may have to reclaim one. Reclaim only tries page
 *    locks, and waits for nothing but the device. When it finds nothing the
 *    allocation fails: a read goes through the caller's bounce buffer, a write
 *    straight to slots. So no request waits for another one's frames.
 * 4. Who holds invalidate_lock waits for what 2 and 3 name. Nobody takes two.
 * 5. The committer holds at most one page lock while it waits for another,
 *    none as a rule. Nobody waits for it: a page it has frozen is copied or
 *    detached by who writes to it.
 * 6. A readahead thread does what 2, 3 and 4 name, but only tries
 *    invalidate_lock, and holds nothing between two jobs. Jobs that have not
 *    begun are waited for by nobody: dropping and closing take them out of the
 *    queue, and wait for those that have.
 *
 * 7. Who tells of mappings (mm_update(), mm_exit()) holds update_lock while he
 *    waits for page locks, one at a time, so for what 2 names. Only his like
 *    take update_lock. The mm lock is held for as long as memory is read and
 *    written, as the locks of 1 are, but for a whole scan at worst; who reads,
 *    writes, fills, reclaims or truncates never takes it: what hangs in an
 *    i_mmap can be looked at under tree_lock.
 *
 * So every chain of waits goes up the indices of one file and ends at a device.
 */
#ifndef FOLIO_CACHE_INTERNAL_H
#define FOLIO_CACHE_INTERNAL_H

#include <errno.h>
#include <string.h>

#include "base.h"
#include "cache.h"
#include "lock.h"
#include "mm.h"

/* ---- pages ---- */

/* A piece of a read or a write: one FUSE request. */
#define PIECE_PAGES 256
/* Pages of a write without frames that go to slots at a time. */
#define BOUNCE_PAGES 16u

enum page_state {
	PAGE_ABSENT, /* a frame that no tree has */
	PAGE_CLEAN,
	PAGE_DIRTY,
	PAGE_SAVED,
	PAGE_SWAPPED, /* no frame: only counted */
	NR_PAGE_STATES,
};

/* Bits of page.flags, changed atomically. */
enum page_flag {
	PG_LOCKED = 1 << 0,
	PG_WAITERS = 1 << 1,	/* somebody sleeps for PG_LOCKED */
	PG_UPTODATE = 1 << 2,	/* has its content; else locked by its filler */
	PG_REFERENCED = 1 << 3, /* used once since it was last looked at */
	PG_HOT = 1 << 4,	/* used again: to be activated */
	PG_ACTIVE = 1 << 5,	/* belongs on an active list */
	PG_RESERVED = 1 << 6,	/* DIRTY and holds a reservation */
	PG_WRITEBACK = 1 << 7,	/* being written to a slot; locked */
	PG_INLINE = 1 << 8,	/* frozen in its frame by the commit */
	PG_READAHEAD = 1 << 9,	/* read ahead and not used yet */
	PG_MAPPED = 1 << 10,	/* some vma maps it; tree_lock */
	PG_MLOCKED = 1 << 11,	/* an mlocked one; tree_lock */
	PG_SPARED = 1 << 12,	/* by reclaim, for the sake of a vma */
};

enum lru_list {
	LRU_NONE,
	LRU_INACTIVE_ANON,
	LRU_ACTIVE_ANON,
	LRU_INACTIVE_FILE,
	LRU_ACTIVE_FILE,
	LRU_UNEVICTABLE,
	NR_LRU_LISTS,
};

/*
 * The header of a frame; its number is its place in cache->pages.
 *
 * refs: one of the tree while mapping is set, one of each who uses it. Somebody
 * who has none gets one under tree_lock (from the tree) or under the lru lock
 * (from a list, unless it is 0 already).
 */
struct page {
	/* page lock and tree_lock to change, either to look */
	struct address_space *mapping;
	u64 index; /* stays when a commit has the page detached */

	/* atomic */
	u32 refs;
	u16 flags;

	u8 state; /* enum page_state; as mapping */
	u8 lru;	  /* enum lru_list; lru lock */

	u32 prev, next; /* LRU list (lru lock), or next in a chain */
	u32 epoch;	/* as->epoch when it was dirtied; as mapping */
	u32 swp;	/* SAVED: its swap entry; as mapping */
};

_Static_assert(sizeof(struct page) <= 40, "a page header is 40 bytes");

/* ---- swap entries ---- */

enum swp_flag {
	SWP_COLLECTED = 1 << 0, /* on the sorted list of the commit */
	SWP_DETACHED = 1 << 1,	/* no tree or page refers to it any more */
	SWP_DEAD = 1 << 2,	/* freed by who lets go of the last pin */
	SWP_ADOPTED = 1 << 3,	/* with SWP_DEAD: the slot is not ours now */
	SWP_RESERVED = 1 << 4,	/* foreign, and holds its page's reservation */
};

/* There are as many entries as uncommitted pages: no byte is for nothing. */
typedef u64 u64_packed __attribute__((aligned(4)));

struct u48 {
	u16 part[3];
};

static inline u64 u48_get(const struct u48 *v)
{
	return v->part[0] | (u64)v->part[1] << 16 | (u64)v->part[2] << 32;
}

static inline void u48_set(struct u48 *v, u64 value)
{
	assert(value >> 48 == 0);
	v->part[0] = (u16)value;
	v->part[1] = (u16)(value >> 16);
	v->part[2] = (u16)(value >> 32);
}

/*
 * A page content that stands in a slot and is not committed. Exactly one thing
 * refers to it: a SAVED page, a tree entry (SWAPPED) or, when detached, a
 * commit. tree_lock of its file guards it, but for a COLLECTED one: its slot,
 * sum, flush_epoch, pgoff and next change only by the committer.
 */
struct swap_entry {
	u64_packed sum;
	u64_packed pgoff;
	struct u48 slot, flush_epoch;
	u32 epoch; /* as page.epoch */
	u32 next;
	u32 shadow; /* SWAPPED: when it was evicted; see workingset.c */
	u16 pins;   /* readers of the slot that have no page */
	u16 flags;
};

/* What a SAVED page takes: header, swap entry, its part of the tree. */
_Static_assert(sizeof(struct page) + sizeof(struct swap_entry) +
			       PAGE_TREE_NODE_BYTES / 63 + 1 <=
		       96,
	       "a cached page has at most 96 bytes of bookkeeping");

/* ---- tree entries ---- */

enum entry_kind {
	ENTRY_NONE = 0,
	ENTRY_PAGE = 1,
	ENTRY_SWAP = 2,
	ENTRY_SHADOW = 3,
};

static inline enum entry_kind entry_kind(u64 entry)
{
	return (enum entry_kind)(entry & 3);
}

static inline u64 entry_make(enum entry_kind kind, u64 value)
{
	return value << 2 | kind;
}

static inline u32 entry_value(u64 entry)
{
	return (u32)(entry >> 2);
}

/* ---- the cache ---- */

struct frames {
	struct mutex lock; /* leaf */
	int fd;
	u8 *base;
	u32 max; /* frames 1 .. max exist */
	/* under lock */
	u32 hot;   /* chain of free frames that have memory */
	u32 cold;  /* chain of those whose memory was given back */
	u32 fresh; /* first that was never used */
	u32 nr_hot;
	u32 nr_used; /* not free */
};

struct lru_head {
	u32 first, last; /* most and least recently added */
	u64 nr;
};

struct lru {
	struct mutex lock; /* LOCK_LRU */
	struct lru_head lists[NR_LRU_LISTS];
};

/* Segment k holds 64 << k entries, so that none ever moves. */
#define SWAP_SEGMENT_SHIFT 6
#define SWAP_SEGMENTS 26

struct swap {
	struct mutex lock; /* LOCK_SLOTS */
	struct swap_entry *segments[SWAP_SEGMENTS];
	/* under lock */
	u32 free; /* chain by entry.next */
	u32 high; /* first index never used */
	u32 nr;
	/* atomic */
	u64 nr_slots;
	/* the committer's: epochs whose flush failed, empty when lo > hi */
	u64 suspect_lo, suspect_hi;
};

#define NR_PAGE_WAITQS 64

struct page_waitq {
	struct mutex lock; /* leaf */
	struct waitq wq;
};

/* A thread that works when woken, or every so often. */
struct worker {
	struct cache *cache;
	void (*fn)(struct cache *cache);
	u64 period_ns; /* 0: only when woken */
	pthread_t thread;
	struct mutex lock; /* leaf */
	struct waitq wq;
	bool running, woken, stop;
};

/* Two reads at a time keep the device busy while one is being copied. */
#define READAHEAD_WORKERS 2
#define READAHEAD_QUEUE 32u

struct readahead_job {
	struct address_space *as;
	u64 pgoff;
	u32 nr;
};

/* What is to be read before it is asked for; readahead.c. */
struct readahead {
	struct mutex lock; /* leaf */
	struct waitq idle; /* a job has ended */
	/* under lock */
	struct readahead_job jobs[READAHEAD_QUEUE]; /* first come first */
	u32 nr_jobs;
	u32 nr_running;
	/* constant */
	struct worker workers[READAHEAD_WORKERS];
};

/* Processes and their mappings; vma.c. */
struct mm_table {
	struct mutex update_lock; /* LOCK_MM_UPDATE */
	struct rwsem lock;	  /* LOCK_MM */
	struct rb_root mms;	  /* by pid; under both, either to look */
	/* atomic */
	u64 nr_mms, nr_vmas;
	u64 bytes; /* of page_table_bytes */
};

/* With malloc's header, for accounting. */
#define VMA_BYTES (sizeof(struct vma) + 16)
#define MM_BYTES (sizeof(struct mm) + 16)

struct cache {
	/* constant */
	struct cache_config cfg;
	struct page *pages; /* [frames.max + 1]; 0 is none */
	struct frames frames;
	struct lru lru;
	struct swap swap;
	struct page_waitq waitqs[NR_PAGE_WAITQS];
	struct worker kswapd, flusher;
	struct readahead readahead;
	struct mm_table mms;

	/* for a write without frames: one at a time; see write.c */
	struct mutex bounce_lock; /* LOCK_COMMIT */
	u8 *bounce;

	struct mutex list_lock; /* LOCK_LRU */
	struct waitq list_wq;	/* somebody let go of an address_space */
	/* under list_lock */
	struct list_head files;
	struct list_head dirty_files; /* oldest first */
	u64 nr_files;

	/* atomic */
	u64 knobs[KNOB_NR];
	struct cache_counters count;
	u64 nr_state[NR_PAGE_STATES];
	u64 nr_writeback, nr_shadow, nr_detached, nr_tree_nodes;
	u64 nr_mapped, nr_mlocked;
	u64 page_table_bytes, metadata_bytes;
	u64 copies_bytes;
	u64 nonresident_age;
	u64 write_bandwidth; /* pages a second; writeback.c */
	bool reclaim_futile; /* a look at everything freed nothing */
};

#define count_add(cache, name, n)                                 \
	((void)__atomic_fetch_add(&(cache)->count.name, (u64)(n), \
				  __ATOMIC_RELAXED))
#define count_inc(cache, name) count_add(cache, name, 1)
#define atomic_read(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define atomic_set(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define atomic_add(p, n) \
	__atomic_add_fetch(p, (__typeof__(*(p)))(n), __ATOMIC_RELAXED)

static inline u64 cache_now(const struct cache *c)
{
	return c->cfg.now(c->cfg.now_arg);
}

static inline struct page *frame_page(const struct cache *c, u32 frame)
{
	return &c->pages[frame];
}

static inline u32 page_frame(const struct cache *c, const struct page *p)
{
	return (u32)(p - c->pages);
}

static inline u8 *frame_data(const struct cache *c, u32 frame)
{
	return c->frames.base + ((size_t)frame << PAGE_SHIFT);
}

static inline u8 *page_data(const struct cache *c, const struct page *p)
{
	return frame_data(c, page_frame(c, p));
}

static inline u64 page_entry(const struct cache *c, const struct page *p)
{
	return entry_make(ENTRY_PAGE, page_frame(c, p));
}

static inline bool page_test(const struct page *p, u16 flags)
{
	return (__atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) & flags) != 0;
}

static inline void page_set(struct page *p, u16 flags)
{
	(void)__atomic_fetch_or(&p->flags, flags, __ATOMIC_RELEASE);
}

static inline bool page_test_clear(struct page *p, u16 flags)
{
	return page_test(p, flags) &&
	       (__atomic_fetch_and(&p->flags, (u16)~flags, __ATOMIC_ACQ_REL) &
		flags) != 0;
}

/* ---- frame.c: the arena ---- */

int frames_init(struct cache *c);
void frames_done(struct cache *c);
/* The budget in frames: what bookkeeping leaves of cache_size. */
u32 frames_limit(const struct cache *c);
/* Take up to @want free frames, without reclaim. Return: how many. */
u32 frames_take(struct cache *c, u32 want, u32 *ret_frames);
void frames_give(struct cache *c, const u32 *frames, u32 nr);
/* Frames that could be taken now. */
u32 frames_free(const struct cache *c);
/* Frames that have memory beyond the budget, in use or not. */
u32 frames_surplus(const struct cache *c);
/* Give back the memory of free frames above the budget. */
void frames_trim(struct cache *c);
void frames_check(struct cache *c);

/*
 * Copy file content. Two programs that read and write the same bytes at once
 * get what the hardware makes of it, as with any kernel; the copy says so to
 * ThreadSanitizer. @src NULL: zeros.
 */
void copy_content(void *dst, const void *src, size_t len);

/* ---- page.c: locks, references, states, the tree's entries ---- */

void lock_page(struct page *p, struct cache *c);
bool trylock_page(struct page *p) __must_check;
void unlock_page(struct page *p, struct cache *c);

static inline void get_page(struct page *p)
{
	(void)__atomic_fetch_add(&p->refs, 1, __ATOMIC_ACQ_REL);
}
bool get_page_unless_zero(struct page *p) __must_check;
void put_page(struct cache *c, struct page *p);

/* A frame just taken becomes a page that the caller has locked, with one
 * reference, his. */
struct page *page_init_locked(struct cache *c, u32 frame, u64 index);

/* The transition. Context: tree_lock and page lock; the page is in the tree,
 * or leaves (to PAGE_ABSENT, mapping still set). */
void page_set_state(struct page *p, enum page_state to);

/* Put @p, which has just been initialised, where @old stands (ENTRY_NONE: an
 * insertion), in @state. The tree takes a reference. Return: 0 or -ENOMEM. */
int page_install(struct address_space *as, struct page *p, u64 old,
		 enum page_state state) __must_check;

/* The tree lets go of @p: @entry (ENTRY_NONE: nothing) takes its place. What a
 * commit in flight wants of it is kept for it, unless @dead: the content was
 * truncated before the cut. Context: both locks; the caller has a reference. */
void page_remove(struct address_space *as, struct page *p, u64 entry,
		 bool dead);

/* Give the reservation of a DIRTY page back. Context: tree_lock. */
void page_unreserve(struct address_space *as, struct page *p);

/* Count a change of nr pages in the state SWAPPED, or of shadow entries. */
void account_swapped(struct address_space *as, s64 nr);
void account_shadow(struct address_space *as, s64 nr);
/* Charge what the trees of @as have grown by. Context: tree_lock. */
void account_trees(struct address_space *as);

/* Content of @epoch is part of the commit in flight. Context: tree_lock. */
static inline bool is_frozen(const struct address_space *as, u32 epoch)
{
	return as->frozen && epoch != as->epoch;
}

static inline bool page_is_frozen(const struct page *p)
{
	return p->state == PAGE_DIRTY && is_frozen(p->mapping, p->epoch);
}

static inline bool page_is_anon(const struct page *p)
{
	return p->state != PAGE_CLEAN;
}

/* Committed content at @pgoff is dead. Context: tree_lock. */
bool in_hole(const struct address_space *as, u64 pgoff);

/* An ENTRY_PAGE at @index, locked and with a reference, or NULL. */
struct page *find_lock_page(struct address_space *as, u64 index);

/* Abort unless the facts of its state hold. Context: tree_lock. */
void page_check(const struct page *p);

/* ---- lru.c ---- */

void lru_init(struct cache *c);
void lru_done(struct cache *c);
/* Put pages where their state and flags say; from whatever list they are on.
 * Context: their page locks. */
void lru_place(struct cache *c, struct page *const *pages, u32 nr);
void lru_del(struct cache *c, struct page *p);
/* The page was used. */
void mark_page_accessed(struct page *p);
/* Take references to up to @max pages at the cold end of @list and move them
 * to the other end, so that the next scan sees others. */
u32 lru_scan(struct cache *c, enum lru_list list, u32 max,
	     struct page **ret_pages, u32 *ret_scanned);
/* Move up to @max pages from the cold end of an active list to inactive. */
u32 lru_shrink_active(struct cache *c, enum lru_list active, u32 max);
/* The active list is longer than its size deserves. */
bool lru_inactive_is_low(struct cache *c, bool anon);
u64 lru_nr(const struct cache *c, enum lru_list list);
void lru_check(struct cache *c);

/* Not to be evicted: its file is pinned, or it is mlocked. */
static inline bool page_unevictable(const struct page *p)
{
	return atomic_read(&p->mapping->pinned) || page_test(p, PG_MLOCKED);
}

/* ---- workingset.c ---- */

u32 workingset_eviction(struct cache *c, bool anon, bool active);
/* A page comes back; activates it when it should not have gone. */
void workingset_refault(struct cache *c, struct page *p, u32 shadow);
bool workingset_recent(const struct cache *c, u32 shadow);
/* Drop shadow entries when there are more than they are worth. */
void workingset_shrink(struct cache *c);

/* ---- swap.c ---- */

void swap_init(struct cache *c);
void swap_done(struct cache *c);

static inline struct swap_entry *swp_entry(const struct cache *c, u32 swp)
{
	u32 n = swp + (1u << SWAP_SEGMENT_SHIFT);
	u32 k = 31 - (u32)__builtin_clz(n);

	return &c->swap.segments[k - SWAP_SEGMENT_SHIFT][n - (1u << k)];
}

/*
 * Write up to @nr contents to one run of fresh slots, an entry each with its
 * slot, sum and flush epoch. swap_size bounds the slots unless it is done to
 * @commit: a commit needs a slot for each page, but only until it ends, and
 * their space is reserved. Context: may sleep for the device.
 * Return: how many were written (at least 1), or -errno.
 */
long swap_write(struct cache *c, void *const *pages, u32 nr, bool commit,
		u32 *ret_swps);

/* Does the slot lie where a commit cannot adopt it? */
static inline bool swp_foreign(const struct swap_entry *e)
{
	return (u48_get(&e->slot) & SLOT_FOREIGN) != 0;
}

/* Free the entry and its slot, and give its reservation back; or only the
 * entry when the slot was adopted by an extent. Later, if somebody reads the
 * slot. Context: tree_lock, or nobody else knows the entry. */
void swp_free(struct address_space *as, u32 swp);
void swp_free_adopted(struct address_space *as, u32 swp);
void swp_unpin(struct cache *c, u32 swp);

/* Pages of several files that are written out together: locked, a reference
 * held, DIRTY. */
struct wb_batch {
	struct cache *cache;
	bool commit; /* as swap_write() */
	u64 written; /* so far, in all */
	u32 nr;
	struct page *pages[PIECE_PAGES];
};

/* Add @p (locked, referenced) if it is DIRTY and may be written. */
bool batch_add(struct wb_batch *b, struct page *p) __must_check;
/* Write all out: DIRTY -> SAVED; those that could not be stay DIRTY. Pages
 * stay locked. Return: pages written, or -errno when none was. */
long batch_write(struct wb_batch *b);
/* Unlock and let go. */
void batch_release(struct wb_batch *b);

void swap_check(struct cache *c);

/* ---- reclaim.c ---- */

/* Take frames, reclaiming if need be. Context: no lock after LOCK_PAGE, not
 * the stop. Return: how many, 0: none to be had. */
u32 frames_get(struct cache *c, u32 want, u32 *ret_frames);
/* Evict a page that is not DIRTY. Context: page locked, a reference held.
 * Return: whether it left its tree. */
bool evict_page(struct cache *c, struct page *p);
/* Bring the used frames down to the budget. */
void reclaim_to_limit(struct cache *c);
void kswapd_work(struct cache *c);
/* Let it work if free frames have fallen below the watermark. */
void kswapd_wake(struct cache *c);

/* ---- filemap.c ---- */

/* Where the content of a page was found: here, or it was read. */
enum page_source {
	FROM_MEMORY,
	FROM_VOLUME,
	FROM_SLOT,
};

/*
 * Read the current content of @pgoff to @buf, whatever it is, without making
 * a page of it. Context: invalidate_lock. Return: 0 or -errno.
 */
int read_uncached(struct address_space *as, u64 pgoff, void *buf,
		  enum page_source *ret_from);
/* Count them and tell the user. Context: as read_pages(). */
void pages_read_failed(struct address_space *as, u64 pgoff, u32 nr, int err);
/* Fill @p, locked and not uptodate, from its slot (SAVED), zeros or the
 * volume. Return: 0 or -errno; the page stays as it is then. */
int fill_page(struct address_space *as, struct page *p, bool zero);
/* page_install() of a page as it belongs there: SAVED if there is a swap entry.
 * *ret_zero: its content is zeros. Return: 0, -EEXIST, -ENOMEM. */
int page_install_missing(struct address_space *as, struct page *p,
			 bool *ret_zero);
/* Let go of a page that never came into a tree. */
void page_discard(struct cache *c, struct page *p);
/* Undo page_install() of a page that could not be filled. */
void page_uninstall(struct address_space *as, struct page *p);
/* Bring what is missing of [first, last] in, as far as frames go. Context:
 * invalidate_lock shared. Return: pages brought in, or -errno. */
long fill_range(struct address_space *as, u64 first, u64 last, u16 flags);

/* ---- readahead.c ---- */

/* A read of @nr pages at @pgoff misses: how many to bring in, @nr or more. */
u32 readahead_window(struct file *f, u64 pgoff, u32 nr);
/* A read of @nr pages at @pgoff begins: is it time to start the next window?
 * Context: never waits. */
void readahead_begin(struct file *f, u64 pgoff, u32 nr);
/* A read was served. */
void readahead_done(struct file *f, u64 pgoff, u32 nr);

void readahead_init(struct cache *c);
void readahead_free(struct cache *c);
int readahead_start(struct cache *c);
void readahead_stop(struct cache *c);
/* Forget what is to be read of @as (NULL: of all files) and wait until what is
 * being read has been. */
void readahead_cancel(struct cache *c, struct address_space *as);

/* ---- write.c ---- */

/*
 * A change of up to PIECE_PAGES neighbouring pages: prepare (may sleep, can
 * fail), then in the stop and under tree_lock ask whether it is ready and mark
 * it, then copy (still in the stop), then finish. Context of all:
 * invalidate_lock.
 */
struct piece {
	struct address_space *as;
	u64 pos;
	size_t len;
	const u8 *data; /* NULL: zeros */
	u64 first;	/* page of pos */
	u32 nr;
	u32 nr_ready;	/* of pages[], locked and referenced */
	u32 reserved;	/* reservations not given to a page yet */
	bool strict;	/* no space: only what is DIRTY and reserved already */
	bool late;	/* the kernel will not offer it again */
	bool may_slots; /* invalidate_lock is exclusive: can do without frames
			 */
	bool slots;	/* and does */
	u32 nr_spare;
	u32 nr_swps;
	struct page *pages[PIECE_PAGES]; /* slots: NULL where there is none */
	u32 spare[PIECE_PAGES];		 /* frames */
	u32 swps[PIECE_PAGES];
};

void piece_init(struct piece *pc, struct address_space *as, u64 pos,
		const void *data, size_t len);
/* Return: 0, -ENOMEM (no frames; again with may_slots), -EIO, -ENOSPC. */
int piece_prepare(struct piece *pc);
/* In the stop, under tree_lock: no cut since has frozen any of the pages. */
bool piece_ready(const struct piece *pc);
/* It is not: copy these pages. Return: as piece_prepare(). */
int piece_thaw(struct piece *pc);
/* In the stop, under tree_lock: the pages are DIRTY (or SWAPPED) from now. */
void piece_mark(struct piece *pc);
/* In the stop, without tree_lock: the bytes. */
void piece_copy(struct piece *pc);
/* Let go of everything, done or not. */
void piece_finish(struct piece *pc);

/* Something changed at this moment. Context: tree_lock. */
void note_change(struct address_space *as);

/* ---- writeback.c ---- */

u64 dirty_background_pages(const struct cache *c);
u64 dirty_limit_pages(const struct cache *c);
void flusher_work(struct cache *c);
/* Write the batch out and let go of it. Return: as batch_write(). */
long batch_flush(struct wb_batch *b);
/* The same; *@ret_err is the first error of several. */
void flush_noting(struct wb_batch *b, long *ret_err);
/*
 * Add DIRTY pages of @as to @b, from *@cursor on, at most @max; writes @b out
 * whenever it is full. @wait: for locked pages too (@b is written out before);
 * @frozen: only what the commit in flight has. *cursor is where to go on.
 * Return: pages added; errors of the batches are added up in @ret_err.
 */
u64 write_pages(struct wb_batch *b, struct address_space *as, u64 *cursor,
		u64 max, bool wait, bool frozen, long *ret_err);
/* @as got its first DIRTY page. Context: tree_lock. */
void file_set_dirty(struct address_space *as);

/* ---- commit.c ---- */

/* A tree or a page lets go of @swp. Context: tree_lock. */
void swp_forget(struct address_space *as, u32 swp, bool dead);
/* The same of a frozen DIRTY page; the commit takes a reference. */
void page_detach(struct address_space *as, struct page *p);

/* ---- truncate.c ---- */

/* Drop every entry. Context: nobody else uses @as. */
void drop_all(struct address_space *as);

/* ---- vma.c ---- */

void mm_table_init(struct mm_table *t);
void mm_table_done(struct cache *c);
/* A file is closed: its vmas came through none that is known. */
void mm_forget_file(struct file *f);
/* An address_space goes: so do vmas that were not seen to go before. */
void mm_forget_mapping(struct address_space *as);
/* Context: LOCK_MM, shared. */
void vma_copy_info(const struct vma *v, struct vma_info *ret);

/* ---- rmap.c ---- */

static inline struct vma *rmap_vma(struct interval_node *i)
{
	return container_of(i, struct vma, rmap);
}

/* @p came into its tree, or leaves it. Context: tree_lock. */
void rmap_page_install(struct page *p);
void rmap_page_remove(struct page *p);
/* i_mmap has changed over [first, last]: look at the pages there again.
 * Context: as for lock_page(), of no page. */
void rmap_refresh(struct address_space *as, u64 first, u64 last);
/* The budget is another one: so is how many mlocked pages are kept. Context: as
 * for lock_page(), of no page. */
void rmap_limit_mlocked(struct cache *c);
/* @p is about to be reclaimed: is it to be spared, since somebody works with a
 * mapping of it? Once. Context: page locked. */
bool rmap_spare(struct page *p);
/* VM_RAND_READ and VM_SEQ_READ of whoever maps @pgoff. */
u32 rmap_read_hints(struct address_space *as, u64 pgoff);
/* How many vmas map a page of [first, last]. */
u64 rmap_count(struct address_space *as, u64 first, u64 last);
/* Context: tree_lock. */
void rmap_page_check(const struct page *p);
/* Return: vmas in i_mmap. */
u64 rmap_check(struct address_space *as);

/* ---- cache.c ---- */

/* Keep @as until file_put(). Context: it cannot go away now: LOCK_MM, and a vma
 * of it in the trees. */
void file_get(struct address_space *as);

/* Walk all files: *@as is the one before (NULL: start) and is let go of; a
 * reference to the next is held. NULL at the end. */
struct address_space *next_file(struct cache *c, struct address_space *as);
void file_put(struct address_space *as);
/* Bookkeeping has grown: is it time to ask for a commit? */
void note_bookkeeping(struct cache *c);
void worker_wake(struct worker *w);
void worker_init(struct worker *w, struct cache *c, void (*fn)(struct cache *),
		 u64 period_ns);
int worker_start(struct worker *w);
void worker_stop(struct worker *w);
void worker_done(struct worker *w);
bool worker_running(const struct worker *w);

#endif

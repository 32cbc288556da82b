/* SPDX-License-Identifier: MIT */
/*
 * Ranked locks.
 *
 * Every lock has a rank. A thread takes locks in the order of their ranks; in
 * a debug build taking one out of order aborts at once, with both names,
 * before it can deadlock. Outermost first:
 *
 *   committer's turn                held for a whole commit
 *   rename mutex                    cross-directory renames
 *     inode rwsem                   parents before children, then by number
 *       address_space invalidate    shared: fill, write; exclusive: truncate
 *         address_space commit
 *           mm update               one scan of a process at a time
 *             page                  ascending index within one file
 *               volume stop         exclusive for the cut
 *                 operation list, overlay of names, SQLite read connection
 *                   mm              processes and their mappings
 *                     page tree     and i_mmap
 *                       LRU         and list of files
 *                         slot map, block allocator
 *                           leaf    holds nothing else
 *
 * Who nests them: mm update > page: rmap_refresh(); mm update > mm:
 * mm_update(); mm > page tree: link_rmap(); mm > list of files: file_get().
 *
 * The stop stands below the locks that may be held across I/O, so that who
 * holds it shared can, by its rank, neither wait for a page nor do I/O, and
 * the cut never waits for a device.
 */
#ifndef FOLIO_LOCK_H
#define FOLIO_LOCK_H

#include <pthread.h>
#include <time.h>

#include "base.h"

enum lock_rank {
	LOCK_TURN = 1, /* committer.turn */
	LOCK_RENAME,
	LOCK_INODE,	 /* several at a time: see mutex_lock_nested() */
	LOCK_INVALIDATE, /* address_space.invalidate_lock */
	LOCK_COMMIT,	 /* address_space.commit_lock */
	LOCK_MM_UPDATE,	 /* scans of processes, one at a time */
	LOCK_PAGE,	 /* page lock bits, checked by hand in cache/ */
	LOCK_STOP,
	LOCK_DROP, /* overlay of changes and rows read together */
	LOCK_OPLIST,
	LOCK_NAMES, /* inode table */
	LOCK_CONN,  /* SQLite read connection pool */
	LOCK_MM,    /* processes and their mappings */
	LOCK_TREE,  /* address_space.tree_lock */
	LOCK_LRU,
	LOCK_SLOTS,
	LOCK_BLOCKS,
	LOCK_LEAF,
};

/* clang's -Wthread-safety reads these; other compilers do not. */
#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define __acquires(l) TSA(acquire_capability(l))
#define __acquires_shared(l) TSA(acquire_shared_capability(l))
#define __try_acquires(v, l) TSA(try_acquire_capability(v, l))
#define __try_acquires_shared(v, l) TSA(try_acquire_shared_capability(v, l))
#define __releases(l) TSA(release_capability(l))
#define __releases_shared(l) TSA(release_shared_capability(l))
#define __requires(l) TSA(requires_capability(l))
#define __requires_shared(l) TSA(requires_shared_capability(l))
#define __asserts(l) TSA(assert_capability(l))
#define __guarded_by(l) TSA(guarded_by(l))
#define __no_tsa TSA(no_thread_safety_analysis)

struct TSA(capability("mutex")) mutex {
	pthread_mutex_t lock;
	enum lock_rank rank;
	const char *name;
};

struct TSA(capability("rwsem")) rwsem {
	pthread_rwlock_t lock; /* writers first */
	enum lock_rank rank;
	const char *name;
};

/* A condition variable on CLOCK_MONOTONIC. */
struct waitq {
	pthread_cond_t cond;
};

/* @name is kept, not copied. */
void mutex_init(struct mutex *m, enum lock_rank rank, const char *name);

/* Context: nobody holds it. */
void mutex_done(struct mutex *m);

/* Lock. Context: no lock of this or a later rank is held. */
void mutex_lock(struct mutex *m) __acquires(m);

/* Lock a second one of the same rank; the caller answers for the order. */
void mutex_lock_nested(struct mutex *m) __acquires(m);

/* Try to lock, out of rank if need be (a try cannot deadlock). What is locked
 * so counts as held when something else is waited for. */
bool mutex_trylock(struct mutex *m) __must_check __try_acquires(true, m);
void mutex_unlock(struct mutex *m) __releases(m);

/* In debug builds: abort unless this thread holds @m. */
void mutex_assert_held(const struct mutex *m) __asserts(m);

/*
 * Readers and one writer. A waiting writer goes before readers that come after
 * it, so a thread never takes the same one twice, not even for reading.
 */
void rwsem_init(struct rwsem *s, enum lock_rank rank, const char *name);
void rwsem_done(struct rwsem *s);
void down_read(struct rwsem *s) __acquires_shared(s);
void down_read_nested(struct rwsem *s) __acquires_shared(s);
bool down_read_trylock(struct rwsem *s) __must_check
	__try_acquires_shared(true, s);
void up_read(struct rwsem *s) __releases_shared(s);
void down_write(struct rwsem *s) __acquires(s);
void down_write_nested(struct rwsem *s) __acquires(s);
bool down_write_trylock(struct rwsem *s) __must_check __try_acquires(true, s);
void up_write(struct rwsem *s) __releases(s);

/* In debug builds: abort unless this thread holds @s, for reading or writing
 * as it may be / for writing. */
void rwsem_assert_held(const struct rwsem *s) TSA(assert_shared_capability(s));
void rwsem_assert_held_write(const struct rwsem *s) __asserts(s);

void waitq_init(struct waitq *w);
void waitq_done(struct waitq *w);

/* Wait until woken; wakes may be spurious. Context: @m held, by itself or as
 * the last taken. */
void waitq_wait(struct waitq *w, struct mutex *m) __requires(m);

/* Wait at most until @deadline_ns of CLOCK_MONOTONIC.
 * Return: false when the time is up. */
bool waitq_wait_until(struct waitq *w, struct mutex *m, u64 deadline_ns)
	__requires(m);
void waitq_wake_one(struct waitq *w);
void waitq_wake_all(struct waitq *w);

/*
 * For locks that are bits of something else (the page lock): tell the checker
 * that a lock of @rank is taken, called before waiting for it so that a wrong
 * order aborts and does not hang; or that it was had without waiting; or is
 * released. @nested allows others of the same rank. No-ops unless FOLIO_DEBUG.
 */
void lock_rank_acquired(enum lock_rank rank, const char *name, bool nested);
void lock_rank_tried(enum lock_rank rank, const char *name);
void lock_rank_released(enum lock_rank rank, const char *name);

/* Abort if any lock is held: before replying, sleeping, or doing I/O. No-op
 * unless FOLIO_DEBUG. */
void lock_assert_none(void);

/* Abort if a lock of @rank or a later one is held: before doing what may wait
 * for one. No-op unless FOLIO_DEBUG. */
void lock_assert_before(enum lock_rank rank);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Locks are those of pthreads. In debug builds each thread keeps a list of
 * what it holds, and a blocking acquisition is compared with all of it before
 * it may block: so a wrong order is found the first time the code path runs,
 * and not the first time two threads meet in it.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lock.h"

/*
 * ThreadSanitizer's own detector of deadlocks knows no ranks: where locks of
 * one rank are nested in the order of a tree, which renames turn round, it sees
 * an inversion. Weak, for programs with more to say.
 */
#ifdef __has_feature
#define HAS_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#else
#define HAS_TSAN 0
#endif
#if HAS_TSAN
const char *__tsan_default_options(void);
__attribute__((weak)) const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}
#endif

static __attribute__((noreturn, cold)) void
lock_failed(const char *what, const char *name, int err)
{
	(void)fprintf(stderr, "lock '%s': %s: %s\n", name, what, strerror(err));
	abort();
}

/* For calls that only fail if we misuse them. */
static inline void must(int err, const char *what, const char *name)
{
	if (unlikely(err))
		lock_failed(what, name, err);
}

enum acquire {
	ACQUIRE,
	ACQUIRE_NESTED,
	ACQUIRE_TRY,
};

#ifdef FOLIO_DEBUG

/* One held lock, or several of a rank and name if they are no objects. */
struct held {
	const void *lock; /* NULL: lock_rank_acquired() */
	enum lock_rank rank;
	const char *name;
	bool exclusive;
	u32 count;
};

#define MAX_HELD 64

static __thread struct held held[MAX_HELD];
static __thread u32 nr_held;

static __attribute__((noreturn, cold)) void
order_failed(const char *name, enum lock_rank rank, const struct held *h)
{
	(void)fprintf(stderr,
		      "lock order: '%s' wanted while '%s' is held "
		      "(ranks %d and %d)\n",
		      name, h->name, (int)rank, (int)h->rank);
	abort();
}

/* The held lock that forbids waiting for another, or NULL. */
static const struct held *find_conflict(const void *lock, enum lock_rank rank,
					enum acquire how)
{
	for (u32 i = nr_held; i-- > 0;) {
		const struct held *h = &held[i];

		if (h->rank > rank || (lock && h->lock == lock))
			return h;
		if (h->rank == rank && how != ACQUIRE_NESTED)
			return h;
	}
	return NULL;
}

static void check_order(const void *lock, enum lock_rank rank, const char *name,
			enum acquire how)
{
	const struct held *h = find_conflict(lock, rank, how);

	if (h)
		order_failed(name, rank, h);
}

static void note_acquired(const void *lock, enum lock_rank rank,
			  const char *name, bool exclusive)
{
	struct held *top = nr_held ? &held[nr_held - 1] : NULL;

	if (!lock && top && !top->lock && top->rank == rank &&
	    top->name == name) {
		top->count++;
		return;
	}
	if (nr_held == MAX_HELD)
		lock_failed("too many held by one thread", name, EOVERFLOW);
	held[nr_held++] = (struct held){
		.lock = lock,
		.rank = rank,
		.name = name,
		.exclusive = exclusive,
		.count = 1,
	};
}

static struct held *find_held(const void *lock, enum lock_rank rank,
			      const char *name)
{
	for (u32 i = nr_held; i-- > 0;) {
		struct held *h = &held[i];

		if (h->lock == lock &&
		    (lock || (h->rank == rank && !strcmp(h->name, name))))
			return h;
	}
	return NULL;
}

static void note_released(const void *lock, enum lock_rank rank,
			  const char *name, bool exclusive)
{
	struct held *h = find_held(lock, rank, name);

	if (!h)
		lock_failed("released", name, EPERM);
	if (lock && h->exclusive != exclusive)
		lock_failed("released in another mode", name, EPERM);
	if (--h->count > 0)
		return;

	nr_held--;
	memmove(h, h + 1, (size_t)(&held[nr_held] - h) * sizeof(*h));
}

static void assert_held(const void *lock, enum lock_rank rank, const char *name,
			bool exclusive)
{
	struct held *h = find_held(lock, rank, name);

	if (!h || (exclusive && !h->exclusive))
		lock_failed("asserted to be held", name, EPERM);
}

static void assert_last(const void *lock, const char *name)
{
	if (!nr_held || held[nr_held - 1].lock != lock)
		lock_failed("waited with, not the last taken", name, EPERM);
}

void lock_assert_none(void)
{
	if (nr_held)
		lock_failed("held where none may be", held[nr_held - 1].name,
			    EPERM);
}

void lock_assert_before(enum lock_rank rank)
{
	for (u32 i = 0; i < nr_held; i++)
		if (held[i].rank >= rank)
			lock_failed("held where it may not be", held[i].name,
				    EPERM);
}

#else

static inline void check_order(const void *lock, enum lock_rank rank,
			       const char *name, enum acquire how)
{
}

static inline void note_acquired(const void *lock, enum lock_rank rank,
				 const char *name, bool exclusive)
{
}

static inline void note_released(const void *lock, enum lock_rank rank,
				 const char *name, bool exclusive)
{
}

static inline void assert_held(const void *lock, enum lock_rank rank,
			       const char *name, bool exclusive)
{
}

static inline void assert_last(const void *lock, const char *name)
{
}

void lock_assert_none(void)
{
}

void lock_assert_before(enum lock_rank rank)
{
}

#endif

void lock_rank_acquired(enum lock_rank rank, const char *name, bool nested)
{
	check_order(NULL, rank, name, nested ? ACQUIRE_NESTED : ACQUIRE);
	note_acquired(NULL, rank, name, true);
}

void lock_rank_tried(enum lock_rank rank, const char *name)
{
	note_acquired(NULL, rank, name, true);
}

void lock_rank_released(enum lock_rank rank, const char *name)
{
	note_released(NULL, rank, name, true);
}

/* ---- mutex ---- */

void mutex_init(struct mutex *m, enum lock_rank rank, const char *name)
{
	m->rank = rank;
	m->name = name;
	must(pthread_mutex_init(&m->lock, NULL), "init", name);
}

void mutex_done(struct mutex *m)
{
	must(pthread_mutex_destroy(&m->lock), "destroy", m->name);
}

static void lock_mutex(struct mutex *m, enum acquire how)
{
	check_order(m, m->rank, m->name, how);
	must(pthread_mutex_lock(&m->lock), "lock", m->name);
	note_acquired(m, m->rank, m->name, true);
}

void mutex_lock(struct mutex *m) __no_tsa
{
	lock_mutex(m, ACQUIRE);
}

void mutex_lock_nested(struct mutex *m) __no_tsa
{
	lock_mutex(m, ACQUIRE_NESTED);
}

bool mutex_trylock(struct mutex *m) __no_tsa
{
	int err = pthread_mutex_trylock(&m->lock);

	if (err == EBUSY)
		return false;
	must(err, "trylock", m->name);
	note_acquired(m, m->rank, m->name, true);
	return true;
}

void mutex_unlock(struct mutex *m) __no_tsa
{
	note_released(m, m->rank, m->name, true);
	must(pthread_mutex_unlock(&m->lock), "unlock", m->name);
}

void mutex_assert_held(const struct mutex *m) __no_tsa
{
	assert_held(m, m->rank, m->name, true);
}

/* ---- rwsem ---- */

void rwsem_init(struct rwsem *s, enum lock_rank rank, const char *name)
{
	pthread_rwlockattr_t attr;

	s->rank = rank;
	s->name = name;
	must(pthread_rwlockattr_init(&attr), "init", name);
	must(pthread_rwlockattr_setkind_np(
		     &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP),
	     "init", name);
	must(pthread_rwlock_init(&s->lock, &attr), "init", name);
	(void)pthread_rwlockattr_destroy(&attr);
}

void rwsem_done(struct rwsem *s)
{
	must(pthread_rwlock_destroy(&s->lock), "destroy", s->name);
}

static void lock_read(struct rwsem *s, enum acquire how)
{
	check_order(s, s->rank, s->name, how);
	must(pthread_rwlock_rdlock(&s->lock), "lock for reading", s->name);
	note_acquired(s, s->rank, s->name, false);
}

static void lock_write(struct rwsem *s, enum acquire how)
{
	check_order(s, s->rank, s->name, how);
	must(pthread_rwlock_wrlock(&s->lock), "lock for writing", s->name);
	note_acquired(s, s->rank, s->name, true);
}

void down_read(struct rwsem *s) __no_tsa
{
	lock_read(s, ACQUIRE);
}

void down_read_nested(struct rwsem *s) __no_tsa
{
	lock_read(s, ACQUIRE_NESTED);
}

bool down_read_trylock(struct rwsem *s) __no_tsa
{
	int err = pthread_rwlock_tryrdlock(&s->lock);

	if (err == EBUSY)
		return false;
	must(err, "trylock for reading", s->name);
	note_acquired(s, s->rank, s->name, false);
	return true;
}

void up_read(struct rwsem *s) __no_tsa
{
	note_released(s, s->rank, s->name, false);
	must(pthread_rwlock_unlock(&s->lock), "unlock", s->name);
}

void down_write(struct rwsem *s) __no_tsa
{
	lock_write(s, ACQUIRE);
}

void down_write_nested(struct rwsem *s) __no_tsa
{
	lock_write(s, ACQUIRE_NESTED);
}

bool down_write_trylock(struct rwsem *s) __no_tsa
{
	int err = pthread_rwlock_trywrlock(&s->lock);

	if (err == EBUSY)
		return false;
	must(err, "trylock for writing", s->name);
	note_acquired(s, s->rank, s->name, true);
	return true;
}

void up_write(struct rwsem *s) __no_tsa
{
	note_released(s, s->rank, s->name, true);
	must(pthread_rwlock_unlock(&s->lock), "unlock", s->name);
}

void rwsem_assert_held(const struct rwsem *s) __no_tsa
{
	assert_held(s, s->rank, s->name, false);
}

void rwsem_assert_held_write(const struct rwsem *s) __no_tsa
{
	assert_held(s, s->rank, s->name, true);
}

/* ---- waiting ---- */

void waitq_init(struct waitq *w)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr), "init", "waitq");
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), "init",
	     "waitq");
	must(pthread_cond_init(&w->cond, &attr), "init", "waitq");
	(void)pthread_condattr_destroy(&attr);
}

void waitq_done(struct waitq *w)
{
	must(pthread_cond_destroy(&w->cond), "destroy", "waitq");
}

void waitq_wait(struct waitq *w, struct mutex *m)
{
	assert_last(m, m->name);
	must(pthread_cond_wait(&w->cond, &m->lock), "wait", m->name);
}

bool waitq_wait_until(struct waitq *w, struct mutex *m, u64 deadline_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(deadline_ns % NSEC_PER_SEC),
	};
	int err;

	assert_last(m, m->name);
	err = pthread_cond_timedwait(&w->cond, &m->lock, &ts);
	if (err == ETIMEDOUT)
		return false;
	must(err, "wait", m->name);
	return true;
}

void waitq_wake_one(struct waitq *w)
{
	must(pthread_cond_signal(&w->cond), "wake", "waitq");
}

void waitq_wake_all(struct waitq *w)
{
	must(pthread_cond_broadcast(&w->cond), "wake", "waitq");
}

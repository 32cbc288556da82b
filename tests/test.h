/* SPDX-License-Identifier: MIT */
/*
 * What every check program shares.
 *
 * A program defines test_suite(); main() is in tests/test.c (libtest.a) and
 * runs it, reporting as TAP on stdout. Each test runs in a process of its own
 * (CK_FORK=no to debug). Start no threads before.
 *
 * Randomness comes from one seed, printed as the first line of output; set
 * FOLIO_SEED to repeat a run. Every test starts from it afresh, so a test can
 * be repeated with its case alone (CK_RUN_CASE).
 */
#ifndef FOLIO_TEST_H
#define FOLIO_TEST_H

#include <check.h>

#include "base.h"

/* The tests of this program. */
Suite *test_suite(void);

/* A new suite of one case to which tests are added. */
Suite *test_suite_new(const char *name, TCase **ret_case);

u64 test_seed(void);

/* Steps of a random test: @nr, or @nr times FOLIO_ROUNDS of the environment,
 * for long runs by hand; a quarter with FOLIO_SHORT=1, for sanitizers. */
u64 test_rounds(u64 nr);

/*
 * ck_assert() tells libcheck's parent process each time it passes, 1 us and
 * more. These cost nothing then: for what is compared a million times.
 */
#define expect(cond)                                              \
	do {                                                      \
		if (unlikely(!(cond)))                            \
			ck_abort_msg("does not hold: %s", #cond); \
	} while (0)
#define expect_eq(a, b)                                                       \
	do {                                                                  \
		unsigned long long expect_a_ = (a);                           \
		unsigned long long expect_b_ = (b);                           \
                                                                              \
		if (unlikely(expect_a_ != expect_b_))                         \
			ck_abort_msg("%s is %llu, %s is %llu", #a, expect_a_, \
				     #b, expect_b_);                          \
	} while (0)

/* ---- random numbers: splitmix64. One for each thread ---- */

struct rng {
	u64 state;
};

/* Start a sequence of its own for each @stream. */
static inline void rng_init(struct rng *rng, u64 stream)
{
	rng->state = test_seed() + stream * 0xda942042e4dd58b5u;
}

static inline u64 rng_next(struct rng *rng)
{
	u64 z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* In [0, n). */
static inline u64 rng_below(struct rng *rng, u64 n)
{
	return (u64)(((unsigned __int128)rng_next(rng) * n) >> 64);
}

/* In [first, last]. */
static inline u64 rng_range(struct rng *rng, u64 first, u64 last)
{
	return first + rng_below(rng, last - first + 1);
}

/* True once in @n. */
static inline bool rng_one_in(struct rng *rng, u64 n)
{
	return rng_below(rng, n) == 0;
}

void rng_fill(struct rng *rng, void *buf, size_t len);

/* ---- death ---- */

/*
 * Run @fn in a child: fail unless it is killed by abort() after printing
 * @says on stderr. (A sanitizer's own complaint is not taken for it: that
 * ends with an exit code.)
 */
void test_aborts(void (*fn)(void *arg), void *arg, const char *says);

/* ---- allocations that fail ---- */

/*
 * In programs linked with $(test_failing_malloc): let the @nth malloc, calloc,
 * realloc, posix_memalign, aligned_alloc, strdup or mmap from now (1: the next)
 * fail, once. Counts those of all threads, and those of libcheck:
 * test_malloc_failed() comes before the next ck_assert().
 */
void test_fail_malloc(u64 nth);
/* The same, and all that come after it. */
void test_fail_malloc_from(u64 nth);
/* How many there were since. */
u64 test_malloc_calls(void);

/* Let no allocation fail any more. Return: whether one had. */
bool test_malloc_failed(void);

#endif

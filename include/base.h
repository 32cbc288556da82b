/* SPDX-License-Identifier: MIT */
/*
 * Integer names, page arithmetic and the few macros that every file uses.
 *
 * Units: a page is PAGE_SIZE bytes; `pgoff` counts pages of a file, `pos`
 * bytes; `block` counts PAGE_SIZE blocks of the data file.
 */
#ifndef FOLIO_BASE_H
#define FOLIO_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define PAGE_SHIFT 12
#define PAGE_SIZE ((size_t)1 << PAGE_SHIFT)
#define PAGE_MASK (~((u64)PAGE_SIZE - 1))

/* The last page index of a file of 2^63 - 1 bytes. */
#define PGOFF_MAX ((u64)INT64_MAX >> PAGE_SHIFT)

#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull

#define container_of(ptr, type, member) \
	((type *)((uintptr_t)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The names are made unique so that min() may stand inside min(). */
#define FOLIO_CAT_(a, b) a##b
#define FOLIO_CAT(a, b) FOLIO_CAT_(a, b)
#define min_(a, b, x, y)               \
	({                             \
		__typeof__(a) x = (a); \
		__typeof__(b) y = (b); \
		x < y ? x : y;         \
	})
#define max_(a, b, x, y)               \
	({                             \
		__typeof__(a) x = (a); \
		__typeof__(b) y = (b); \
		x > y ? x : y;         \
	})
#define min(a, b)                                  \
	min_(a, b, FOLIO_CAT(min_a_, __COUNTER__), \
	     FOLIO_CAT(min_b_, __COUNTER__))
#define max(a, b)                                  \
	max_(a, b, FOLIO_CAT(max_a_, __COUNTER__), \
	     FOLIO_CAT(max_b_, __COUNTER__))

#define fallthrough __attribute__((fallthrough))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Built with ThreadSanitizer: gcc's word, then clang's. */
#if defined(__SANITIZE_THREAD__)
#define FOLIO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FOLIO_TSAN 1
#endif
#endif

#define __must_check __attribute__((warn_unused_result))
#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * An assertion that stays in release builds: x_check() functions are made of
 * it, so that a test of a release build checks as much. Aborts, naming what
 * did not hold.
 */
#define verify(cond)            \
	((void)(likely(cond) || \
		(verify_failed(#cond, __FILE__, __LINE__, __func__), 0)))

static inline __attribute__((noreturn, cold)) void
verify_failed(const char *cond, const char *file, int line, const char *func)
{
	(void)fprintf(stderr, "%s:%d: %s: does not hold: %s\n", file, line,
		      func, cond);
	abort();
}

/* Pages that hold @bytes bytes from the start of a page. */
static inline u64 bytes_to_pages(u64 bytes)
{
	return (bytes >> PAGE_SHIFT) + ((bytes & (PAGE_SIZE - 1)) != 0);
}

#endif

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

#define container_of(ptr, type, member)                                        \
	((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define min(a, b)                                                              \
	({                                                                     \
		__typeof__(a) min_a_ = (a);                                    \
		__typeof__(b) min_b_ = (b);                                    \
		min_a_ < min_b_ ? min_a_ : min_b_;                             \
	})
#define max(a, b)                                                              \
	({                                                                     \
		__typeof__(a) max_a_ = (a);                                    \
		__typeof__(b) max_b_ = (b);                                    \
		max_a_ > max_b_ ? max_a_ : max_b_;                             \
	})

#define __must_check __attribute__((warn_unused_result))
#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))

/* Pages that hold @bytes bytes from the start of a page. */
static inline u64 bytes_to_pages(u64 bytes)
{
	return (bytes >> PAGE_SHIFT) + ((bytes & (PAGE_SIZE - 1)) != 0);
}

#endif

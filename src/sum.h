/* SPDX-License-Identifier: MIT */
/*
 * The checksum of a block of data: XXH3-64 of its PAGE_SIZE bytes, never 0, so
 * that 0 can say "no sum".
 */
#ifndef FOLIO_SUM_H
#define FOLIO_SUM_H

#include <xxhash.h>

#include "base.h"

static inline u64 page_sum(const void *page)
{
	u64 sum = XXH3_64bits(page, PAGE_SIZE);

	return sum ? sum : 1;
}

#endif

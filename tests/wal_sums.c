/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "wal_sums.h"

#include <string.h>

#include "vfs.h"

#define HEADER 32
#define FRAME_HEADER 24

/* Source: SQLite's file format, 4.2; of what our machine writes. */
static void sum_words(u32 s[2], const u8 *p, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		u32 w[2];

		memcpy(w, p + i, sizeof(w));
		s[0] += w[0] + s[1];
		s[1] += w[1] + s[0];
	}
}

static void store_sum(u8 *p, const u32 s[2])
{
	for (int i = 0; i < 8; i++)
		p[i] = (u8)(s[i / 4] >> (24 - 8 * (i % 4)));
}

void wal_make_good(u8 *log, size_t len)
{
	u32 s[2] = {0, 0};

	sum_words(s, log, 24);
	store_sum(log + 24, s);
	for (size_t at = HEADER; at + FRAME_HEADER + VFS_PAGE_SIZE <= len;
	     at += FRAME_HEADER + VFS_PAGE_SIZE) {
		sum_words(s, log + at, 8);
		sum_words(s, log + at + FRAME_HEADER, VFS_PAGE_SIZE);
		store_sum(log + at + 16, s);
	}
}

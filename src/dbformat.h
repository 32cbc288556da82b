/* SPDX-License-Identifier: MIT */
/*
 * Pieces of SQLite's file format, for those who look at a database or its WAL
 * without SQLite. Nothing here trusts what it reads.
 *
 * Source: sqlite.org/fileformat2.html.
 */
#ifndef FOLIO_DBFORMAT_H
#define FOLIO_DBFORMAT_H

#include "base.h"

#define WAL_HEADER 32
#define WAL_FRAME_HEADER 24 /* the page follows */
/* The first word of a WAL; the lowest bit: its checksums are of big-endian
 * words. */
#define WAL_MAGIC 0x377f0682u

static inline u32 load_be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static inline u32 load_be32(const u8 *p)
{
	return load_be16(p) << 16 | load_be16(p + 2);
}

static inline u32 load_le32(const u8 *p)
{
	return (u32)p[3] << 24 | (u32)p[2] << 16 | (u32)p[1] << 8 | p[0];
}

/* Bytes of a number of up to nine bytes, 0 when it goes behind @end. */
static inline size_t load_varint(const u8 *p, const u8 *end, u64 *ret)
{
	u64 v = 0;

	for (size_t i = 0; i < 9 && p + i < end; i++) {
		if (i == 8) {
			*ret = v << 8 | p[i];
			return 9;
		}
		v = v << 7 | (p[i] & 0x7f);
		if (!(p[i] & 0x80)) {
			*ret = v;
			return i + 1;
		}
	}
	return 0;
}

/* The running checksum of a WAL (4.2, Checksum Algorithm). */
struct wal_sum {
	u32 s1, s2;
};

/* Go on with @len bytes, a multiple of 8; @big: as the magic says. */
static inline struct wal_sum wal_sum_add(struct wal_sum s, const u8 *p,
					 size_t len, bool big)
{
	for (const u8 *end = p + len; p < end; p += 8) {
		s.s1 += (big ? load_be32(p) : load_le32(p)) + s.s2;
		s.s2 += (big ? load_be32(p + 4) : load_le32(p + 4)) + s.s1;
	}
	return s;
}

/* As it is stored: behind the header's first 24 bytes, and in frames. */
static inline struct wal_sum wal_sum_load(const u8 *p)
{
	return (struct wal_sum){load_be32(p), load_be32(p + 4)};
}

static inline bool wal_sum_is(struct wal_sum a, struct wal_sum b)
{
	return a.s1 == b.s1 && a.s2 == b.s2;
}

#endif

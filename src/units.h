/* SPDX-License-Identifier: MIT */
/*
 * Numbers as people write them: mount options, knobs and folioctl read them
 * through here, so that all take the same.
 */
#ifndef FOLIO_UNITS_H
#define FOLIO_UNITS_H

#include "base.h"

/* Decimal digits and nothing else. Return: 0 or -EINVAL (also too large). */
int parse_u64(const char *s, u64 *ret);

/*
 * A size in bytes: digits, then nothing or one of K M G T (powers of 1024, in
 * either case, "KiB" and "kB"-like tails are refused) or % of @whole, which is
 * physical memory for whoever passes ram_bytes(). "max" is UINT64_MAX.
 * Return: 0, or -EINVAL: nonsense, overflow, % with a @whole of 0.
 */
int parse_size(const char *s, u64 whole, u64 *ret);

/* Physical memory. */
u64 ram_bytes(void);

/* A size for people: "4.0K", "1.2G"; @buf gets at most UNITS_LEN bytes. */
#define UNITS_LEN 16
const char *format_size(u64 bytes, char buf[UNITS_LEN]);

/* A uuid as usual: 8-4-4-4-12 hexadecimal digits in lower case. */
#define UUID_LEN 37
const char *format_uuid(const u8 uuid[16], char buf[UUID_LEN]);

#endif

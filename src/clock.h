/* SPDX-License-Identifier: MIT */
/*
 * Clocks in nanoseconds: what lasts or is due goes by the monotonic one, what
 * is written down by the other.
 */
#ifndef FOLIO_CLOCK_H
#define FOLIO_CLOCK_H

#include <time.h>

#include "base.h"

static inline u64 mono_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* May be negative: before 1970. */
static inline s64 real_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (s64)ts.tv_sec * (s64)NSEC_PER_SEC + ts.tv_nsec;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Reading all committed blocks of a mounted volume again, at a bounded rate, to
 * find those that the disk does not give back as they were written.
 *
 * One thread of our own, that lives as long as a scrub lasts: no request waits
 * for it. It looks one extent up at a time and reads it within
 * blocks_read_enter() and _leave(), so that no block is used anew while it is
 * being read, and others are held back no longer than by any reader. Pages that
 * only the redo log has come first, and again when they have an extent by the
 * time of those. What is committed while it runs may be seen or not.
 *
 * Each bad range is logged and noted, up to SCRUB_BAD_MAX of them; the notes
 * stay until the next scrub.
 *
 * Threads: any. Locks: a leaf inside.
 */
#ifndef FOLIO_SCRUB_H
#define FOLIO_SCRUB_H

#include <pthread.h>

#include "base.h"
#include "lock.h"

struct fs;
struct fs_stat;
struct fs_scrub_bad;

#define SCRUB_BAD_MAX 1024
#define SCRUB_RATE ((u64)64 << 20) /* bytes a second */

struct scrub {
	struct fs *fs; /* constant */

	struct mutex lock;
	/* under lock */
	struct waitq wake;
	pthread_t thread;
	bool started; /* a thread is to be joined */
	bool running, stop;
	bool complete; /* the last one was not stopped, and did not fail */
	u64 rate;
	struct fs_scrub_bad *bad;
	size_t nr_bad;

	/* atomic */
	u64 blocks, errors; /* of all scrubs */
	u64 done, total;    /* blocks of this one, or the last */
};

void scrub_init(struct scrub *s, struct fs *fs);
/* Ends one that is under way. */
void scrub_done(struct scrub *s);
void scrub_stat(struct scrub *s, struct fs_stat *ret);

#endif

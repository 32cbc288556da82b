/* SPDX-License-Identifier: MIT */
/*
 * A filesystem of numbers, for tests of the control files: every figure and
 * every answer is what the test put there. Stands in for fs.c, the cache, the
 * database and the allocator.
 */
#ifndef FOLIO_FAKE_FS_H
#define FOLIO_FAKE_FS_H

#include <pthread.h>

#include "fs.h"
#include "mm.h"
#include "swap_file.h"

#define FAKE_FILES_MAX 600
#define FAKE_VMAS_MAX 32

struct fake_fs {
	struct cache_gauges gauges;
	struct cache_counters count;
	struct fs_stat stat;
	struct volume volume;
	struct meta_super super;
	struct blocks_stat blocks;
	u64 hold_era; /* of the holds that are not lost */
	struct statvfs statvfs;
	u64 db_memory, db_written;
	const char *swap_path; /* NULL: no swap file */
	struct swap_file_stat swap_stat;

	u64 knobs[KNOB_NR];
	u32 commit_secs;
	bool scrubbing;
	u64 scrub_rate;

	struct fs_file_info files[FAKE_FILES_MAX]; /* ascending ino */
	const char *paths[FAKE_FILES_MAX];	   /* NULL: removed */
	size_t nr_files;
	int files_err; /* what fs_files() fails with */

	struct vma_info vmas[FAKE_VMAS_MAX];
	struct mm_info mms[FAKE_VMAS_MAX];
	size_t nr_vmas, nr_mms;
	char resident[128]; /* of every file, a page each: not '.' if it is */

	s64 charged;
	int nr_compacts, nr_swap_compacts, compact_err;
	int nr_syncs, nr_drops, nr_knobs_set;
	u64 dropped_ino;
	int sync_err, drop_err;
	pthread_t knob_thread; /* who set the last knob */
	pthread_mutex_t gate;  /* cache_set_knob() passes through it */
	char log[256];	       /* names of what was done, in order */
};

extern struct fake_fs fake;

/* All zeros, but for knobs (defaults) and a volume at "/vol/work.folio". */
void fake_reset(void);
/* Give every figure a value of its own, from @seed on. */
void fake_fill(u64 seed);
struct fs *fake_fs(void);
void fake_add_file(u64 ino, u64 size, const char *path);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What a filesystem is given to do while things fail: lists of steps, each of
 * which ends with what it changed being durable.
 *
 * A step that answers an error can be done again: calls of it that went through
 * are not made a second time. They work in one world, on the volume "vol" in
 * the tmpdir, whose block device is wrapped by faults_wrap().
 *
 * Threads: one.
 */
#ifndef FOLIO_TESTS_WORKLOAD_H
#define FOLIO_TESTS_WORKLOAD_H

#include "fs.h"
#include "test.h"

#define WORKLOAD_SLOTS 4
#define WORKLOAD_STEPS 12
#define WORKLOAD_VOLUME_SIZE (12u << 20)

struct world {
	struct fs *fs; /* NULL: not mounted */
	u64 fh[WORKLOAD_SLOTS], ino[WORKLOAD_SLOTS];
	u64 from;    /* of compaction */
	bool atomic; /* the mount option */
	/* calls of the step under way: made this time, and gone through */
	unsigned at, done;
};
extern struct world world;

typedef int (*step_fn)(void);

struct workload {
	const char *name;
	step_fn prepare; /* on the new volume, mounted */
	step_fn step[WORKLOAD_STEPS];
	bool mounts;	/* the first step, which mounts it, is part of it */
	bool left_open; /* what was prepared is not unmounted, but killed */
};

enum {
	WORKLOAD_CREATE,
	WORKLOAD_OVERWRITE,
	WORKLOAD_RENAME,
	WORKLOAD_TRUNCATE,
	WORKLOAD_ATTRIBUTES,
	WORKLOAD_SPILL,
	WORKLOAD_FALLOCATE,
	WORKLOAD_UNLINK,
	WORKLOAD_TOGETHER,
	WORKLOAD_MOUNT,
	WORKLOAD_UNMOUNT,
	WORKLOAD_COMPACT,
	WORKLOAD_NR,
};
extern const struct workload workloads[WORKLOAD_NR];

/* Steps and calls that the driver makes too. Return: 0 or -errno. */
int mount_it(void);
int unmount_it(void);
int sync_slot(int slot);
int sync_all(void);
int shut(int slot);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A volume: a folder with meta.db (src/meta.h), data (src/bdev.h) and lock.
 * Opens and creates it, holds the block map, and is the storage end of the
 * page cache: committed pages and slots. Knows no inodes in memory.
 *
 * data: block 0 has a magic and the volume's uuid. Slots are free blocks.
 */
#ifndef FOLIO_VOLUME_H
#define FOLIO_VOLUME_H

#include "base.h"
#include "bdev.h"
#include "blocks.h"
#include "cache.h"
#include "meta.h"

/* Counters of a volume, for control files; pages, blocks or bytes. */
#define VOLUME_COUNTERS(X)                                           \
	X(data_read_blocks, "blocks read from the data file")        \
	X(data_write_blocks, "blocks written to the data file")      \
	X(data_flushes, "flushes of the data file")                  \
	X(data_flush_errors, "flushes of the data file that failed") \
	X(checksum_errors, "blocks whose checksum was wrong")

struct volume_counters {
#define X(name, ...) u64 name;
	VOLUME_COUNTERS(X)
#undef X
};

struct volume {
	/* constant */
	char *path;
	int dirfd;
	int lockfd;
	bool readonly;
	struct meta *meta;
	struct bdev *data;
	struct blocks *blocks;
	u64 mount_epoch;
	/* atomic */
	u64 flush_epoch;      /* writes begun now belong to it */
	u64 flushed_epoch;    /* all of it and before is durable */
	u64 next_ino;
	u64 nr_inodes;
	struct volume_counters count;
};

struct volume_options {
	bool readonly;
	bool create;	/* if the folder is missing or empty */
	u64 size;	/* bytes; for create: bound of data, 0: none */
	bool allow_network; /* network filesystems as host */
	void (*charge)(void *arg, s64 bytes); /* may be NULL */
	void *charge_arg;
	/* tests: wrap the device before anything else uses it */
	int (*wrap)(void *arg, struct bdev *lower, struct bdev **ret);
	void *wrap_arg;
};

/* Create the files of an empty or missing folder; the folder and its parent
 * are synced, super is written last. @err: one line for the user. */
int volume_create(const char *path, const struct volume_options *opt,
		  char *err, size_t errlen);

/*
 * Open and lock. Syncs data, WAL and folder before the first allocation (a
 * killed daemon's last COMMIT may not be durable yet), rebuilds the block map,
 * raises the mount epoch. -EBUSY: @err names the holder (pid and mountpoint).
 */
int volume_open(const char *path, const struct volume_options *opt,
		struct volume **ret_volume, char *err, size_t errlen);

/* What `lock` says about the holder: mountpoint, pid. */
int volume_lock_note(struct volume *v, const char *mountpoint);

/* Everything is committed by now. Keeps going after errors. */
int volume_close(struct volume *v);

/* Committed pages of @ino, verified; see address_space_operations.read_pages.
 * Brackets the look-up and the read in blocks_read_enter/leave. */
int volume_read_pages(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs);
int volume_next_extent(struct volume *v, u64 ino, u64 pgoff,
		       enum extent_kind *ret_kind, u64 *ret_end);

/* Slots in the volume's free space; arg is the volume. */
extern const struct swap_operations volume_swap_ops;

/* Make all data written before the call durable. On failure flushed_epoch
 * stays; see commit_reslot(). */
int volume_flush(struct volume *v);

/* XXH3-64 of one block, never 0. */
u64 volume_sum(const void *page);

/* Verify structure, and with @data every committed block's checksum.
 * @progress may be NULL. Return: faults found, or -errno. */
struct volume_check_options {
	bool data;
	void (*report)(void *arg, const char *line);
	void (*progress)(void *arg, u64 done, u64 total);
	void *arg;
};
long volume_check(const char *path, const struct volume_check_options *opt);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A volume: a folder with meta.db (src/meta.h), data (src/bdev.h) and lock.
 * Opens and creates it, holds the block map, and is the storage end of the
 * page cache: committed pages and slots. Knows no inodes in memory.
 *
 * data: block 0 has a magic and the volume's uuid. Slots are free blocks, and
 * so is the redo log.
 */
#ifndef FOLIO_VOLUME_H
#define FOLIO_VOLUME_H

#include "base.h"
#include "bdev.h"
#include "blocks.h"
#include "cache.h"
#include "lock.h"
#include "meta.h"

/* Counters of a volume, for control files; pages, blocks or bytes. */
#define VOLUME_COUNTERS(X)                                           \
	X(data_read_blocks, "blocks read from the data file")        \
	X(data_write_blocks, "blocks written to the data file")      \
	X(data_flushes, "flushes of the data file")                  \
	X(data_flush_errors, "flushes of the data file that failed") \
	X(data_discarded_blocks,                                     \
	  "blocks of the data file whose room was given back")       \
	X(checksum_errors, "blocks whose checksum was wrong")        \
	X(redo_records, "small commits written to the redo log")     \
	X(redo_pages, "pages of those")                              \
	X(redo_replayed, "of an earlier mount, found in its log")

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
	bool notes_holder; /* the lock is ours, and can be written to */
	bool readonly;
	struct meta *meta;
	struct bdev *data;
	struct blocks *blocks;
	struct redo *redo; /* of who has it mounted: src/volume_redo.h */
	u64 mount_epoch;
	u64 max_blocks;	 /* bound of data, 0: the host's */
	bool map_loaded; /* the block map was, not built from extents */

	u64 spared;   /* the committer's: see volume_spare_host() */
	bool damaged; /* see volume_note_damaged() */

	struct mutex grow_lock; /* LOCK_CONN: held while `data` grows */

	/* atomic */
	u64 data_blocks;   /* size of `data` */
	u64 bound_when_ns; /* when the host was asked for its free space */
	u64 flush_epoch;   /* writes that end now belong to it */
	u64 flushed_epoch; /* all of it and before is durable, but for: */
	u64 lost_after;	   /* epochs (lost_after, lost_upto]: a flush failed */
	u64 lost_upto;	   /* 0: none has */
	u64 next_ino;
	u64 nr_inodes;
	struct volume_counters count;
};

struct volume_options {
	bool readonly;
	bool create; /* first, if the folder is missing or empty */
	u64 size;    /* bytes; for create: bound of data, 0: the host's */
	/* wait so long for a holder whose mount is gone already */
	u32 patience_ms;
	bool allow_network;		      /* network filesystems as host */
	void (*charge)(void *arg, s64 bytes); /* may be NULL */
	void *charge_arg;
	/* tests: wrap the device before anything else uses it */
	int (*wrap)(void *arg, struct bdev *lower, struct bdev **ret);
	void *wrap_arg;
};

/* Create the files of an empty or missing folder; the folder and its parent
 * are synced, super is written last. @err: one line for the user. */
int volume_create(const char *path, const struct volume_options *opt, char *err,
		  size_t errlen);

#define VOLUME_MIN_BLOCKS 256
/* For volume_options.patience_ms: long enough to commit a large cache. */
#define VOLUME_PATIENCE_MS 30000

/*
 * Open and lock. Syncs data, WAL and folder before the first allocation (a
 * killed daemon's last COMMIT may not be durable yet), loads the block map that
 * was saved with this commit or else builds it from the extents,
 * deletes orphans, raises the mount epoch. -EBUSY: @err names the holder (pid
 * and mountpoint). On success @err is empty, or a note for the log (the host is
 * kept in memory; something is wrong that does no harm). Context: after
 * daemonizing; see meta.h about fork.
 */
int volume_open(const char *path, const struct volume_options *opt,
		struct volume **ret_volume, char *err, size_t errlen);

/* What to add to @err, if it may be damage. */
const char *volume_hint(int err);

/* What `lock` says about the holder: mountpoint, pid. */
int volume_lock_note(struct volume *v, const char *mountpoint);

/* Its rows make no sense: closing it makes no transaction, and saves no block
 * map. Context: the committer. */
void volume_note_damaged(struct volume *v);

/* Everything is committed by now. Gives what `data` has behind its last used
 * block back to the host, and saves the block map. Keeps going after errors,
 * returns the first. */
int volume_close(struct volume *v);

/* Committed pages of @ino, verified; see address_space_operations.read_pages.
 * Brackets the look-up and the read in blocks_read_enter/leave. */
int volume_read_pages(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs);
int volume_next_extent(struct volume *v, u64 ino, u64 pgoff,
		       enum extent_kind *ret_kind, u64 *ret_end);

/* Slots in the volume's free space; arg is the volume. */
extern const struct swap_operations volume_swap_ops;

/* blocks_reserve(), after the host was asked for its free space if that was
 * more than a second ago. Never sleeps. */
int volume_reserve(struct volume *v, u64 nr);
/* Ask the host, and set the bound of the block map: for statfs. */
void volume_update_bound(struct volume *v);

/*
 * Give the host back the room of a run of free blocks of `data`, the first at
 * or behind *from, which is moved on; begin with 0. Others work on meanwhile,
 * with all blocks but those. Context: may take long, no locks held.
 * Return: 1, 0: none was left (allocation stays close to the front from now
 * on), -EROFS, -EOPNOTSUPP (the host cannot) and other errors of the host.
 */
int volume_compact_some(struct volume *v, u64 *from);

/*
 * When the host has so little room left that the database may not be able to
 * grow: give it back that of some free blocks. So what is removed from a volume
 * that has filled its host helps before anybody thinks of compaction.
 * Context: the committer, between commits.
 */
void volume_spare_host(struct volume *v);

/*
 * Make all data written before the call durable.
 *
 * A write's epoch is read when it has ended: every flush begun later raises
 * the epoch first, so slots up to flushed_epoch are durable. But a flush that
 * failed may have lost what was written before it, for ever: a later one says
 * nothing about it. Slots of epochs (lost_after, lost_upto] are such. (A write
 * during which a flush fails is done again, so none is missed.) Thus after
 * volume_flush(): while lost_upto is not 0, commit_reslot(c, lost_after,
 * lost_upto) and, if that wrote, flush again.
 *
 * Return: 0 or -errno; flushed_epoch stays then.
 */
int volume_flush(struct volume *v);

/* No slot is left that was written before now: what flushes lost is of no
 * matter any more. Context: the thread that flushes. */
void volume_forget_lost(struct volume *v);

/* XXH3-64 of one block, never 0. */
u64 volume_sum(const void *page);

/* Verify structure, and with @data every committed block's checksum.
 * @progress may be NULL. Return: faults found; or -errno, @err then says why it
 * could not be checked. */
struct volume_check_options {
	bool data;
	bool discard; /* repair: what is lost becomes holes */
	bool preen;   /* repair: only if nothing is lost by it */
	void (*report)(void *arg, const char *line); /* a fault */
	/* Something that is no fault; this and the following may be NULL. */
	void (*note)(void *arg, const char *line);
	void (*progress)(void *arg, u64 done, u64 total);
	void *arg;
};
long volume_check(const char *path, const struct volume_check_options *opt,
		  char *err, size_t errlen);

/*
 * Mend what can be mended. Killed at any moment, it leaves the volume as it was
 * or repaired. What is reported has been mended but for @left faults (all of
 * them when it ends with an error). A meta.db that SQLite cannot read is made
 * anew from what is left of it, and kept as meta.db.damaged.
 */
struct volume_repair_result {
	long faults;
	long left;
};
int volume_repair(const char *path, const struct volume_check_options *opt,
		  struct volume_repair_result *ret, char *err, size_t errlen);

#endif

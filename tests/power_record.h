/* SPDX-License-Identifier: MIT */
/*
 * What a power cut leaves: a recorder of everything that goes to the files of a
 * volume, and the states that a disk can be found in from it.
 *
 *	power_record_begin()	the files as they are, all durable
 *	... the volume is made or opened with power_record_wrap(), worked with,
 *	closed
 *	power_record_end()
 *	power_state() ...	write one state into a folder
 *	power_record_done()
 *
 * The log is one for all files: `data` through a block device that wraps the
 * real one; meta.db, its WAL and its journal through the hook of the VFS shim;
 * the saved block map, and syncs of the folder, through functions that the
 * linker wraps: programs are linked with $(power_ldflags).
 *
 * Up to some point of the log a file is durable as far as its last sync before
 * that point, and where a write that is durable on return has returned. Of what
 * came since, any sectors of 512 bytes may be there or not,
 * and any change of its size: a sector that was written several times has any
 * of the values, which is what "in any order" comes to. That a file came or
 * went is durable with a sync of the folder; SQLite makes one with the first
 * sync of a WAL or journal that it has made. Where a saved block map is found
 * at all, meta.db has the time of change that the map was saved with.
 *
 * Threads: recording from any; the rest from one.
 */
#ifndef FOLIO_POWER_RECORD_H
#define FOLIO_POWER_RECORD_H

#include "base.h"
#include "bdev.h"

struct rng;

enum power_file {
	POWER_DATA,
	POWER_DB,
	POWER_WAL,
	POWER_JOURNAL,
	POWER_MAP,
	POWER_FILES,
};

/* How what was not synced is chosen. */
enum power_choice {
	POWER_NOTHING,
	POWER_EVERYTHING, /* as after a kill */
	POWER_WRITES,	  /* each write or not */
	POWER_SECTORS,	  /* each sector or not */
	POWER_FEW,	  /* one sector in 16 */
	POWER_MOST,	  /* all but one in 16 */
	POWER_BY_FILE,	  /* all, none or sectors, for each file */
	POWER_CHOICES,
};

/* Disks and programs that lie, to show that the checker finds out. */
enum power_lie {
	POWER_HONEST,
	POWER_NO_DATA_FLUSH,   /* flushes of data do nothing */
	POWER_LATE_DATA_FLUSH, /* ... until the WAL was synced next */
	POWER_NO_RANGE_SYNC,   /* what is written durably is not */
	POWER_NO_WAL_SYNC,
	POWER_NO_DB_SYNC,
	POWER_NO_FOLDER_SYNC,
	POWER_NO_MOUNT_SYNC, /* of anything while power_record_mounting() */
};

struct power_log;

/* @volume: its folder; closed. The VFS hook is taken until the end. */
struct power_log *power_record_begin(const char *volume, enum power_lie lie);
/* For volume_options.wrap, with the log as argument. */
int power_record_wrap(void *arg, struct bdev *lower, struct bdev **ret);
/* The device that it wrapped last. */
struct bdev *power_record_device(struct power_log *log);
/* Events so far: a point of the log. */
size_t power_record_now(struct power_log *log);
/* Call @fn before each event, in the thread that makes it. */
void power_record_before(struct power_log *log, void (*fn)(void *arg),
			 void *arg);
void power_record_mounting(struct power_log *log, bool mounting);
/* As if the daemon had been killed at @point: what came behind it is not in
 * the log, and what was not synced by then is not durable for that. */
void power_record_kill(struct power_log *log, size_t point);
void power_record_end(struct power_log *log);
void power_record_done(struct power_log *log);

/*
 * A log that is kept in a file, by a program that records, for another: from
 * the first of these on it is written to @fd, each event before it is done, and
 * kept there alone. The second reads it. An offset in that file, as it was
 * found by somebody who looked at its size, is a point of the log.
 */
void power_record_trace(struct power_log *log, int fd);
struct power_log *power_record_load(const char *path);
size_t power_point_of(const struct power_log *log, u64 offset);

/* The next point from @point on that is just before a sync, or the end: of
 * all points up to there it has the most that may be missing. */
size_t power_next_point(const struct power_log *log, size_t point);

/* Make the files of @volume, which is there, as they may be found when the
 * power goes at @point. */
void power_state(const struct power_log *log, size_t point,
		 enum power_choice choice, struct rng *rng, const char *volume);

const char *power_choice_name(enum power_choice choice);

#endif

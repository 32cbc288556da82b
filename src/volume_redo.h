/* SPDX-License-Identifier: MIT */
/*
 * The redo log of a mounted volume: its place among the blocks, the mount, and
 * the transactions that take it over. What a record is: src/redo.h.
 *
 * There is no log until small commits come, and none after a clean unmount.
 * It is given up where blocks have become scarce.
 *
 *	small commit	volume_redo_append(); if that cannot be, a transaction:
 *
 *	volume_redo_plan()	before meta_begin()
 *	volume_redo_apply()	first thing in it
 *	volume_redo_end()	when its fate is known
 *
 * Threads: the committer, or who mounts and unmounts.
 */
#ifndef FOLIO_VOLUME_REDO_H
#define FOLIO_VOLUME_REDO_H

#include "redo.h"
#include "volume.h"

/* Neighbours in a file that are worth being neighbours in `data`. */
#define REDO_COPY_MIN 8u

/* What a transaction makes of the log. */
struct redo_plan {
	bool apply; /* records are taken over */
	bool renew; /* the row becomes: */
	struct meta_redo row;
	bool fresh; /* ... a run that was allocated for it */
	/* copies of pages that lie scattered in the log */
	struct {
		u64 start;
		u32 nr;
	} copies[REDO_BLOCKS / REDO_COPY_MIN];
	u32 nr_copies;
};

/* Write a record, durable on return. Return: 0, -ENOSPC (there is no room, or
 * no log) or the device's error: what a flush has said of earlier writes is in
 * doubt then, see volume_flush(). */
int volume_redo_append(struct volume *v, const struct redo_record *rec);

/* Are there records that a commit may take over though nothing else is to be
 * committed, or a log that is to go as blocks are @scarce? */
bool volume_redo_is_due(const struct volume *v, bool scarce);

/* @want: a small commit found no room. Allocates and copies; a log that cannot
 * be had, or pages that stay scattered, are no error. */
void volume_redo_plan(struct volume *v, bool want, bool scarce,
		      struct redo_plan *ret);
int volume_redo_apply(struct volume *v, const struct redo_plan *plan,
		      meta_freed_fn freed, redo_moved_fn moved, void *arg);
/* @visible: COMMIT went through. @grown as of redo_applied(). */
void volume_redo_end(struct volume *v, struct redo_plan *plan, bool visible,
		     redo_grown_fn grown, void *arg);

/* ---- mounting ---- */

/* Make v->redo and load what is there, *ret_row. @err: one line. */
int volume_redo_load(struct volume *v, struct meta_redo *ret_row, char *err,
		     size_t errlen);
/* In the first transaction: take the records over, and give up the log. */
int volume_redo_replay(struct volume *v, meta_freed_fn freed, void *arg);
void volume_redo_replayed(struct volume *v);
/* At the end: give up a log without records. Return: 0, also if there is none;
 * -EBUSY: it has records. */
int volume_redo_drop(struct volume *v);

#endif

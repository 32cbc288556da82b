/* SPDX-License-Identifier: MIT */
/*
 * What a power cut leaves of a folder and all below it: as power_record.h, for
 * programs that make, rename and remove files there.
 *
 *	power_tree_begin()	the folder as it is, all durable
 *	... files in it are worked with
 *	power_tree_end()
 *	power_tree_state() ...	make one state, in another folder
 *	power_tree_done()
 *
 * Recorded is what is asked of the C library, by us and by SQLite: it stands in
 * power_tree.c, in front of the library's own, for pwrite(), pwritev(),
 * ftruncate(), fallocate(), fsync() and fdatasync(). A write by other means is
 * not seen, and would be missed in every state. At each of these calls the
 * folders are looked through: a name that came, went, or is another file's
 *since is recorded before the call.
 *
 * Up to some point of the log a file is durable as far as its last sync before
 * that point, and so are the names in a folder. Of what came since, contents
 *are as power_record.h has it; each change of a name may be there or not, so
 *that a renamed file has its old name, its new one, both or none.
 *
 * Threads: recording from any; the rest from one, and one log at a time.
 */
#ifndef FOLIO_POWER_TREE_H
#define FOLIO_POWER_TREE_H

#include "power_record.h"

/* Disks and programs that lie, to show that the checker finds out. */
enum tree_lie {
	TREE_HONEST,
	TREE_NO_DATA_SYNC, /* syncs of a file "data" do nothing */
	TREE_NO_DB_SYNC,   /* ... of "meta.db" */
	TREE_NO_FOLDER_SYNC,
};

struct tree_log;

struct tree_log *power_tree_begin(const char *folder, enum tree_lie lie);
/* Events so far: a point of the log. */
size_t power_tree_now(struct tree_log *log);
void power_tree_end(struct tree_log *log);
/*
 * It has ended; but now, as if whoever worked there had been killed at @point.
 * The folder has what was there then, not all of it durable, and recording goes
 * on.
 */
void power_tree_kill(struct tree_log *log, size_t point);
void power_tree_done(struct tree_log *log);

/* Whether the event at @point is a sync: of all points up to there it has the
 * most that may be missing. */
bool power_tree_syncs(const struct tree_log *log, size_t point);
/* The next such point from @point on, or the end. */
size_t power_tree_next_point(const struct tree_log *log, size_t point);
/* ... of them, that is one of a folder. */
size_t power_tree_next_folder_sync(const struct tree_log *log, size_t point);
/* How many writes, truncations, ... of files, syncs and changes of names. */
struct tree_counts {
	size_t writes, sizes, syncs, folder_syncs, names;
};
struct tree_counts power_tree_counts(const struct tree_log *log);

/* Make @folder, and what is in it, as it may be found when the power goes at
 * @point. What was there is removed. */
void power_tree_state(const struct tree_log *log, size_t point,
		      enum power_choice choice, struct rng *rng,
		      const char *folder);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The log of a volume, meta.db-wal, as whoever wrote it last has left it: is
 * what is missing in it what a power cut may leave out?
 *
 * SQLite takes the first frame whose checksum is wrong for the end of the log.
 * That is right for one that was being written when the power went. If such a
 * frame was durable once, it is damaged, and what SQLite finds is an earlier
 * commit, though later ones were acknowledged.
 *
 * Context of all: the volume's lock is held, or what wal_inspect() finds may be
 * somebody's write under way; and nobody in this process has meta.db open
 * (closing it would drop SQLite's locks).
 */
#ifndef FOLIO_WAL_H
#define FOLIO_WAL_H

#include "base.h"

struct wal_report {
	bool damaged; /* else the rest means nothing */
	bool header;  /* it is its header: no frame is found */
	u64 commit;   /* the last that can still be reached */
	u64 seen;     /* commits up to this one at least were durable */
	u64 keep;     /* bytes of the log that lead to .commit; with 0 meta.db
		       * alone is that state */
};

/* Return: 0, or -errno when it could not be read. */
int wal_inspect(int dirfd, struct wal_report *ret);

/* "meta.db-wal is damaged ...", what was there and what is left of it. */
#define WAL_TEXT_MAX 160
void wal_describe(const struct wal_report *r, char text[WAL_TEXT_MAX]);

/* Where wal_cut() keeps a log as it was. */
#define WAL_ASIDE "meta.db.damaged-log"

/* Leave of a damaged log what leads to @r->commit; durable on return. Killed at
 * any moment, it has been done or not. Nobody has meta.db open. */
int wal_cut(int dirfd, const struct wal_report *r);

#endif

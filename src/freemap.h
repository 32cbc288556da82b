/* SPDX-License-Identifier: MIT */
/*
 * The block map of a volume, saved when it is closed in good order, so that
 * opening it again need not look at every extent.
 *
 * The file `freemap` in the volume's folder: a header with what it belongs to,
 * then the used runs, ascending, all under one checksum. It is of use only
 * with the very commit it was saved under, and is removed once it has been
 * read; a map that is missing, of another commit or damaged in any way is
 * ignored, and built anew. So it is never synced.
 *
 * Errors: 0 or -errno. Threads: one.
 */
#ifndef FOLIO_FREEMAP_H
#define FOLIO_FREEMAP_H

#include "base.h"

struct blocks;

/* What the map belongs to. All of it must be the same. */
struct freemap_key {
	u8 uuid[16];
	u64 commit_no;
	u64 mount_epoch;
	u64 next_ino;
	u64 db_size, db_mtime_ns; /* nobody else has changed the database */
};

/* @data_blocks: size of `data`. Return: -ENOTSUP when @b has blocks that are
 * used by nothing, others when it could not be written: there is none then. */
int freemap_save(int dirfd, const struct freemap_key *key, u64 data_blocks,
		 struct blocks *b);

/*
 * Mark what is used in @b, which is new. @max_blocks: the volume's bound, 0:
 * none; @data_blocks: what there is of `data` now, no less than when it was
 * saved. Return: -ENOENT, -ESTALE (of another commit), -EUCLEAN (damaged),
 * others; @b is of no use then.
 */
int freemap_load(int dirfd, const struct freemap_key *key, u64 data_blocks,
		 u64 max_blocks, struct blocks *b);

void freemap_remove(int dirfd);

#endif

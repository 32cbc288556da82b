/* SPDX-License-Identifier: MIT */
/*
 * One commit: what belongs to it, and its way to the volume. See committer.h
 * for the steps. Who has the committer's turn calls this.
 */
#ifndef FOLIO_TRANSACTION_H
#define FOLIO_TRANSACTION_H

#include "base.h"
#include "cache.h"
#include "committer.h"
#include "list.h"
#include "volume_redo.h"

struct fs;

struct block_run {
	u64 start, nr;
};

struct transaction {
	struct fs *fs;
	u64 epoch; /* of the cut */
	enum commit_scope scope;
	struct commit *commit;
	struct list_head ops;	/* frozen records */
	struct list_head files; /* inodes, with a reference each */
	u64 nr_ops, nr_files;
	u64 last_parent; /* folder of the name replayed last */
	/* blocks taken for unwritten extents, to be freed if it fails */
	struct block_run *taken;
	u32 nr_taken, cap_taken;
	int left_out;  /* why a file is not in it; 0: all are */
	int names_err; /* why the records are not in it; 0: they are */
	bool last_try; /* what is not in it is lost */
	bool visible;  /* COMMIT went through, whatever came behind it */
	bool logged;   /* it is a record of the redo log */
	bool planned;  /* the redo log has a part in it: */
	struct redo_plan redo;
};

/* Return: 0 or -ENOMEM. */
int transaction_init(struct transaction *t, struct fs *fs,
		     enum commit_scope scope);
void transaction_done(struct transaction *t);

/* Write DIRTY pages of big files that the cut will include. */
void transaction_prewrite(struct transaction *t);

/* Freeze. Who waits for a commit then belongs to it, and may widen its scope.
 */
void transaction_cut(struct transaction *t);

/* Though nothing was cut: is the redo log to be taken over, or given up? */
bool transaction_redo_is_due(const struct transaction *t);

/* Write out, replay, COMMIT, sync; or a record of the redo log instead.
 * Return: 0, or -errno: nothing changed. */
int transaction_write(struct transaction *t);

/* Part of that, between BEGIN and COMMIT: what the redo log has, records and
 * content become rows. Return: 0 or -errno, then it is to be rolled back. */
int transaction_replay(struct transaction *t);

/* Bring caches and lists to what became of it. */
void transaction_end(struct transaction *t, int err);

#endif

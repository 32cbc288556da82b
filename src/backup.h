/* SPDX-License-Identifier: MIT */
/*
 * A copy of a volume: of one committed state, that of a power cut at that
 * moment, while others may go on writing.
 *
 * First meta.db is copied, in one read transaction; then each block that it
 * says, at its number, verified by its checksum. A live volume must not use
 * those blocks again meanwhile (blocks_hold()); if it does, as holds may be
 * lost, a checksum says so, and the copy is given up. So what is complete is
 * right, whatever happened.
 *
 *	DEST/lock		taken
 *	DEST/data		blocks
 *	DEST/backup.tmp/	meta.db of the state that is being copied
 *	DEST/meta.db		renamed from there when all else is durable
 *
 * Without DEST/meta.db nothing mounts DEST. A copy that was begun before, or
 * completed, is gone over again: what has the right checksum is not copied. A
 * complete one stays what it was until the rename: blocks that it uses are not
 * overwritten, and blocks whose number is taken so get another. One that was
 * mounted for writing since is no copy any more, and is refused.
 * DEST/backup.tmp is durable before anything else is made: by that, a copy that
 * a power cut has left unfinished is known for one.
 *
 * What is written is read back and verified, past the host's cache where it has
 * O_DIRECT.
 *
 * Threads: one at a time in a process, which has no volume open. Errors: 0 or
 * -errno, and one line for the user.
 */
#ifndef FOLIO_BACKUP_H
#define FOLIO_BACKUP_H

#include "base.h"

struct bdev;

struct backup_options {
	const char *from; /* the folder of the volume */
	const char *to;
	u64 rate;     /* bytes a second that are copied at most, 0: any */
	bool damaged; /* blocks that are bad at @from are to be so at @to */

	/* Does the hold on a volume that is mounted last? NULL: it is not
	 * mounted, and is locked by us. */
	bool (*holds)(void *arg);
	/* A line for each bad range at @from. */
	void (*report)(void *arg, const char *line);
	void (*progress)(void *arg, u64 done, u64 total); /* may be NULL */
	void *arg;

	/* tests: wrap the data file at @to */
	int (*wrap)(void *arg, struct bdev *lower, struct bdev **ret);
};

struct backup_result {
	u64 commit_no; /* of the state */
	/* pages */
	u64 total;
	u64 kept;   /* were there */
	u64 copied; /* moved ones too */
	u64 moved;  /* to another number */
	u64 bad;
};

/*
 * *ret_result is filled on errors too. Return: -EBADMSG: bad blocks, and
 * without opt->damaged the copy is left unfinished; -ESTALE: the hold was lost,
 * so it is unfinished too; -EBUSY, -EEXIST (@to is something else), others.
 */
int volume_backup(const struct backup_options *opt,
		  struct backup_result *ret_result, char *err, size_t errlen);

#endif

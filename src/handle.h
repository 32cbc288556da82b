/* SPDX-License-Identifier: MIT */
/*
 * Open files and folders: fh is a number of this table, 1 and up, the lowest
 * free one; it means the same in a process that has rebuilt the table.
 *
 * handle_get() and handle_put() bracket each use; handle_close() takes the
 * number back and drops the table's reference. Locks: table lock (a leaf).
 */
#ifndef FOLIO_HANDLE_H
#define FOLIO_HANDLE_H

#include <sys/types.h>

#include "base.h"
#include "cache.h"
#include "lock.h"

struct fs;
struct inode;

struct handle {
	/* constant */
	struct inode *inode; /* with a reference */
	int flags;	     /* open(2)'s */
	u64 seq;	     /* larger: opened later */
	struct file file;    /* of a regular file */

	u32 refs; /* under the table's lock */
	/* atomic */
	u64 last_id; /* a folder's entries with larger cookies came after
			rewind */
	pid_t pid;   /* who opened it: a thread, until it is found out of which
			process */
};

struct handle_table {
	struct fs *fs;
	struct mutex lock;
	/* under lock */
	struct handle **slots;
	u64 cap;
	u64 first_free; /* none below it is free */
	u64 nr;
	u64 seq;
};

void handle_table_init(struct handle_table *t, struct fs *fs);
/* Close what is still open. An fsync under way may still use it. */
void handle_close_all(struct handle_table *t);
/* Context: nobody uses a handle any more. */
void handle_table_done(struct handle_table *t);

/* Takes over the caller's reference to @inode on success. */
int handle_open(struct fs *fs, struct inode *inode, int flags, pid_t pid,
		u64 *ret_fh);
/* NULL: no such handle. */
struct handle *handle_get(struct fs *fs, u64 fh);
/* Context: no locks held. */
void handle_put(struct handle *h);
/* Return: 0 or -EBADF. Context: no locks held. */
int handle_close(struct fs *fs, u64 fh);
u64 handle_nr(struct fs *fs);

/*
 * Open files of the inodes inos[0..@nr), which ascend. *ret is to be freed,
 * each of it to be put. Return: 0 or -ENOMEM.
 */
int handle_list(struct fs *fs, const u64 *inos, size_t nr, struct handle ***ret,
		size_t *ret_nr);

#endif

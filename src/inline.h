/* SPDX-License-Identifier: MIT */
/*
 * Pages kept in rows, and their way out.
 *
 * A page in a row costs its bytes twice, in the WAL and in meta.db, but saves
 * the flush of the data file, which is the dearer half of a small fsync. So a
 * commit of few files keeps up to INLINE_PAGES frozen pages of each in rows; a
 * commit of many flushes anyway, and then one flush for all is cheap. Where a
 * file comes to have INLINE_MAX such pages, as a database does whose pages are
 * overwritten here and there, they are moved to blocks after the commit, in
 * one write, one flush and one transaction: meta.db does not become a second
 * data file. Files of a few pages stay in their rows.
 *
 * The size of a volume does not bound rows. So that one that is full takes no
 * more, commits keep nothing in rows where blocks have become scarce.
 *
 * Which pages are inline is remembered at the inode as long as it is in memory,
 * and only as a hint: the rows are asked before anything is moved.
 *
 * Threads: the committer alone, but for the end of an inode.
 */
#ifndef FOLIO_INLINE_H
#define FOLIO_INLINE_H

#include "base.h"

#define INLINE_PAGES 4
#define INLINE_FILES 16
#define INLINE_MAX 128
#define INLINE_SCARCE 16384 /* blocks, or a sixteenth of a small volume */

struct inode;

/* [pgoff, +nr) of @inode goes into rows; to blocks or nowhere. */
void inline_note(struct inode *inode, u64 pgoff);
void inline_forget(struct inode *inode, u64 pgoff, u64 nr);

static inline bool inline_is_much(u64 nr_inline)
{
	return nr_inline >= INLINE_MAX;
}

/* Move them. Context: no transaction. Return: pages moved, or -errno. */
int inline_move_out(struct inode *inode);

#endif

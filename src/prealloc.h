/* SPDX-License-Identifier: MIT */
/*
 * What fallocate() asked for and no commit has made yet.
 *
 * The holes among the pages asked for wait at the inode, with a reservation of
 * as many blocks, until the commit of its content makes unwritten extents of
 * what is still a hole then:
 *
 *	prealloc_add()		fallocate
 *	prealloc_clip()		truncated or punched: also what a commit in
 *				flight was to make
 *	prealloc_cut()		the cut: they belong to the commit
 *	prealloc_next()		the commit makes them, one range after the other
 *	prealloc_committed() or prealloc_restore()
 *
 * Their number is bounded (PREALLOC_RANGES a file), their memory charged to
 * the cache.
 *
 * Locks: inode->lock inside, but for prealloc_cut(), whose caller holds it.
 */
#ifndef FOLIO_PREALLOC_H
#define FOLIO_PREALLOC_H

#include "base.h"

struct inode;

/* What waits at a file at most. Past it fallocate is -ENOSPC, which a commit
 * mends. */
#define PREALLOC_RANGES 65536u

/* What of pages [start, last] has no data is to have blocks.
 * Return: 0, -ENOSPC, -ENOMEM, -EIO. Context: inode->rwsem exclusive. */
int prealloc_add(struct inode *inode, u64 start, u64 last);

/* Pages [start, last] are not wanted any more. Return: 0 or -ENOMEM.
 * Context: inode->rwsem exclusive. */
int prealloc_clip(struct inode *inode, u64 start, u64 last);

/* Context: inode->lock held. */
void prealloc_cut(struct inode *inode);

/* The first range of the commit in flight at or behind @pgoff. */
bool prealloc_next(struct inode *inode, u64 pgoff, u64 *ret_start,
		   u64 *ret_last);

/* The commit has made all before page @done. What is left waits again.
 * Return: is anything left? */
bool prealloc_committed(struct inode *inode, u64 done);
/* It has made nothing. */
void prealloc_restore(struct inode *inode);

/* The inode goes. */
void prealloc_drop(struct inode *inode);

#endif

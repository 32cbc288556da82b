/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <unistd.h>

#include "fs_internal.h"
#include "prealloc.h"

/* ---- counts ---- */

/* What is to be told to others when no lock is held. */
struct excess {
	u64 blocks; /* reserved for nothing */
	s64 bytes;  /* of memory */
};

static u64 nr_ranges(const struct inode *inode)
{
	return inode->prealloc.nr + inode->cut_prealloc.nr;
}

/*
 * Bring count and memory to what the sets hold after a change, for which
 * @reserved blocks were reserved. Context: locked.
 */
static struct excess settle_locked(struct inode *inode, u64 reserved)
{
	u64 nr = inode->prealloc.nr_pages + inode->cut_prealloc.nr_pages;
	u64 bytes = nr_ranges(inode) * RANGE_NODE_BYTES;
	struct excess e = {
		.blocks = inode->nr_prealloc + reserved - nr,
		.bytes = (s64)(bytes - inode->prealloc_bytes),
	};

	inode->nr_prealloc = nr;
	inode->prealloc_bytes = bytes;
	return e;
}

static void settled(struct inode *inode, struct excess e)
{
	if (e.blocks)
		blocks_unreserve(inode->fs->volume->blocks, e.blocks);
	if (e.bytes)
		cache_charge(inode->fs->cache, e.bytes);
}

/* ---- asking and taking back ---- */

/* Where in pages [start, last] there is no data. */
static int find_holes(struct inode *inode, u64 start, u64 last,
		      struct range_set *ret)
{
	struct address_space *as = &inode->mapping;
	u64 end = last + 1;
	int err = 0;

	while (!err && start < end) {
		s64 hole = cache_seek(as, start << PAGE_SHIFT, SEEK_HOLE);
		s64 data =
			hole < 0 ? hole : cache_seek(as, (u64)hole, SEEK_DATA);
		u64 stop = end;

		if ((hole < 0 && hole != -ENXIO) ||
		    (data < 0 && data != -ENXIO))
			return hole < 0 ? (int)hole : (int)data;
		/* nothing is data behind the end of the file */
		if (hole >= 0)
			start = max(start, bytes_to_pages((u64)hole));
		if (data >= 0)
			stop = min(end, (u64)data >> PAGE_SHIFT);
		if (start < stop)
			err = range_set_add(ret, start, stop - 1);
		start = max(start, stop);
	}
	return err;
}

static int add_holes(struct inode *inode, struct range_set *holes)
{
	u64 nr = holes->nr_pages;
	struct excess e;
	int err;

	if (holes->nr > PREALLOC_RANGES)
		return -ENOSPC;
	err = volume_reserve(inode->fs->volume, nr);
	if (err)
		return err;

	mutex_lock(&inode->lock);
	if (nr_ranges(inode) + holes->nr <= PREALLOC_RANGES)
		range_set_merge(holes, &inode->prealloc);
	else
		err = -ENOSPC;
	e = settle_locked(inode, nr);
	mutex_unlock(&inode->lock);
	settled(inode, e);
	return err;
}

int prealloc_add(struct inode *inode, u64 start, u64 last)
{
	struct range_set holes;
	int err;

	range_set_init(&holes);
	err = find_holes(inode, start, last, &holes);
	if (!err)
		err = add_holes(inode, &holes);
	range_set_clear(&holes);
	return err;
}

int prealloc_clip(struct inode *inode, u64 start, u64 last)
{
	struct excess e;
	int err;

	mutex_lock(&inode->lock);
	err = range_set_remove(&inode->prealloc, start, last);
	if (!err)
		err = range_set_remove(&inode->cut_prealloc, start, last);
	e = settle_locked(inode, 0);
	mutex_unlock(&inode->lock);
	settled(inode, e);
	return err;
}

/* ---- the commit's part ---- */

void prealloc_cut(struct inode *inode)
{
	range_set_move(&inode->prealloc, &inode->cut_prealloc);
}

bool prealloc_next(struct inode *inode, u64 pgoff, u64 *ret_start,
		   u64 *ret_last)
{
	bool any;

	mutex_lock(&inode->lock);
	any = range_set_next(&inode->cut_prealloc, pgoff, ret_start, ret_last);
	mutex_unlock(&inode->lock);
	return any;
}

bool prealloc_committed(struct inode *inode, u64 done)
{
	struct excess e;
	bool left;

	mutex_lock(&inode->lock);
	/* from the first page on: no range is split, so no memory needed */
	if (done)
		(void)!range_set_remove(&inode->cut_prealloc, 0, done - 1);
	left = !range_set_empty(&inode->cut_prealloc);
	range_set_merge(&inode->cut_prealloc, &inode->prealloc);
	e = settle_locked(inode, 0);
	mutex_unlock(&inode->lock);
	settled(inode, e);
	return left;
}

void prealloc_restore(struct inode *inode)
{
	(void)prealloc_committed(inode, 0);
}

void prealloc_drop(struct inode *inode)
{
	struct excess e;

	range_set_clear(&inode->prealloc);
	range_set_clear(&inode->cut_prealloc);
	e = settle_locked(inode, 0);
	settled(inode, e);
}

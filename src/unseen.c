/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "unseen.h"

#include "fs_internal.h"

/* The inode has @nr ranges more. */
static void account(struct inode *inode, s64 nr)
{
	struct fs *fs = inode->fs;

	if (!nr)
		return;
	(void)__atomic_fetch_add(&fs->inodes.nr_unseen, (u64)nr,
				 __ATOMIC_RELAXED);
	cache_charge(fs->cache, nr * RANGE_NODE_BYTES);
}

static u64 max_ranges(const struct inode_table *t)
{
	u64 nr = __atomic_load_n(&t->nr_unseen, __ATOMIC_RELAXED);

	return nr < t->max_unseen ? UNSEEN_RANGES : UNSEEN_FEW;
}

void unseen_note(struct inode *inode, u64 pos, u64 len)
{
	u64 most = max_ranges(&inode->fs->inodes);
	u64 before;
	s64 more;
	int err;

	mutex_lock(&inode->lock);
	before = inode->unseen.nr;
	err = range_set_add(&inode->unseen, pos >> PAGE_SHIFT,
			    (pos + len - 1) >> PAGE_SHIFT);
	/* by half, so that the next ones find room */
	if (inode->unseen.nr > most)
		range_set_coarsen(&inode->unseen, most / 2);
	more = (s64)(inode->unseen.nr - before);
	mutex_unlock(&inode->lock);
	account(inode, more);
	if (err)
		unseen_note_all(inode);
}

void unseen_note_all(struct inode *inode)
{
	lookup_note_filled(inode->fs, inode->ino);
}

void unseen_dropped(struct inode *inode, u64 start, u64 last)
{
	u64 before;
	s64 more;

	mutex_lock(&inode->lock);
	before = inode->unseen.nr;
	/* without memory to split a range it stays whole */
	(void)!range_set_remove(&inode->unseen, start, last);
	more = (s64)(inode->unseen.nr - before);
	mutex_unlock(&inode->lock);
	account(inode, more);
}

void unseen_forget(struct inode *inode)
{
	struct range_set set;
	s64 nr;

	range_set_init(&set);
	mutex_lock(&inode->lock);
	range_set_move(&inode->unseen, &set);
	mutex_unlock(&inode->lock);
	nr = (s64)set.nr;
	range_set_clear(&set);
	account(inode, -nr);
}

bool unseen_possible(struct inode *inode)
{
	bool writers;

	mutex_lock(&inode->lock);
	writers = inode->writers != 0;
	mutex_unlock(&inode->lock);
	return writers;
}

bool unseen_next(struct inode *inode, u64 pgoff, u64 *ret_start, u64 *ret_last)
{
	bool any;

	if (lookup_is_filled(inode->fs, inode->ino)) {
		*ret_start = 0;
		*ret_last = PGOFF_MAX;
		return true;
	}
	mutex_lock(&inode->lock);
	any = range_set_next(&inode->unseen, pgoff, ret_start, ret_last);
	mutex_unlock(&inode->lock);
	return any;
}

/* SPDX-License-Identifier: MIT */
/*
 * Access times. The kernel leaves them to us, asks again for them after each
 * read, and serves reads from its own cache without telling.
 *
 * A time is noted at the inode and costs no record: it waits on a list for the
 * next commit, whatever that is for, or for a timer of its own. So reading
 * never makes a commit of each read, and one commit serves many.
 */
#include "config.h"

#include <stdlib.h>

#include "fs_internal.h"

/* relatime: a time that is older than this is renewed in any case. */
#define DAY_NS ((s64)86400 * (s64)NSEC_PER_SEC)

/* How long one may wait for a commit: so long, or a day with lazytime. */
#define ACCESS_WAIT_NS (60 * NSEC_PER_SEC)

static unsigned policy_of(const struct inode *inode)
{
	struct fs *fs = inode->fs;
	unsigned policy = __atomic_load_n(&fs->atime, __ATOMIC_RELAXED);

	if (fs_readonly(fs) || (policy & FS_ATIME_NODIR && inode_is_dir(inode)))
		return FS_ATIME_NONE;
	return policy;
}

/* Context: lock held. */
static bool is_due_locked(const struct inode *inode, unsigned policy, s64 now)
{
	if (policy & FS_ATIME_STRICT)
		return inode->atime != now;
	if (inode->atime <= inode->mtime || inode->atime <= inode->ctime)
		return true;
	/* one in the future stays, as in Linux */
	return inode->atime < now && now - inode->atime >= DAY_NS;
}

void inode_accessed(struct inode *inode)
{
	struct oplist *l = &inode->fs->ops;
	unsigned policy = policy_of(inode);
	s64 now;
	bool due;

	if (policy & FS_ATIME_NONE)
		return;

	now = real_ns();
	mutex_lock(&inode->lock);
	due = is_due_locked(inode, policy, now);
	mutex_unlock(&inode->lock);
	if (!due || !oplist_may_access(l))
		return;

	mutex_lock(&inode->lock);
	if (is_due_locked(inode, policy, now))
		inode->atime = now;
	mutex_unlock(&inode->lock);
	if (oplist_add_accessed(l, inode))
		committer_want(&inode->fs->committer);
}

/* Return: 0, -ENOMEM. */
static int log_accessed(struct inode *inode)
{
	struct ns_change ch;
	int err;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (!err) {
		change_begin(&ch);
		/* it may have lost its name since, and with it the row */
		log_inode(&ch, inode);
		change_end(&ch);
	}
	change_done(&ch);
	return err;
}

void access_log_all(struct fs *fs)
{
	struct inode *inode;
	int err = 0;

	if (fs_readonly(fs))
		return;
	while (!err && (inode = oplist_take_accessed(&fs->ops))) {
		err = log_accessed(inode);
		/* its time is in memory still, and tried with the next read */
		inode_put(inode);
	}
}

void access_forget_all(struct fs *fs)
{
	struct inode *inode;

	while ((inode = oplist_take_accessed(&fs->ops)))
		inode_put(inode);
}

u64 access_due_ns(struct fs *fs)
{
	unsigned policy = __atomic_load_n(&fs->atime, __ATOMIC_RELAXED);
	u64 first;

	mutex_lock(&fs->ops.lock);
	first = fs->ops.accessed_ns;
	mutex_unlock(&fs->ops.lock);
	if (!first)
		return UINT64_MAX;
	return first +
	       (policy & FS_ATIME_LAZY ? (u64)DAY_NS : (u64)ACCESS_WAIT_NS);
}

void fs_set_atime(struct fs *fs, unsigned policy)
{
	__atomic_store_n(&fs->atime, policy, __ATOMIC_RELAXED);
}

/* SPDX-License-Identifier: MIT */
/*
 * Flags of inodes that chattr(1) sets. The kernel does not know them of a FUSE
 * filesystem: that an immutable file stays as it is, and an append-only one
 * only grows, is seen to here, with the errors that other filesystems give.
 */
#include "config.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include "fs_internal.h"

#define FIXED (FS_IMMUTABLE_FL | FS_APPEND_FL)

_Static_assert(FS_FLAGS == (FIXED | FS_NODUMP_FL), "the bits of linux/fs.h");
_Static_assert(!(FS_FLAGS &
		 (INODE_ATOMIC | INODE_RA_RANDOM | INODE_RA_SEQUENTIAL)),
	       "what is ours is no flag of chattr(1)");

static u32 flags_of(struct inode *inode)
{
	u32 flags;

	mutex_lock(&inode->lock);
	flags = inode->flags;
	mutex_unlock(&inode->lock);
	return flags;
}

static int refuse_if(struct inode *inode, u32 flags)
{
	return flags_of(inode) & flags ? -EPERM : 0;
}

/* ---- what may be done ---- */

int inode_may_open(struct inode *inode, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
	u32 fixed = FS_IMMUTABLE_FL;

	if (!(flags & O_APPEND) || flags & O_TRUNC)
		fixed |= FS_APPEND_FL;
	return writes ? refuse_if(inode, fixed) : 0;
}

int inode_may_write(struct inode *inode, u64 pos)
{
	u32 flags = flags_of(inode);

	if (flags & FS_IMMUTABLE_FL)
		return -EPERM;
	if (flags & FS_APPEND_FL && pos < i_size_read(&inode->mapping))
		return -EPERM;
	return 0;
}

int inode_may_fallocate(struct inode *inode, int mode)
{
	u32 fixed = FS_IMMUTABLE_FL;

	if (mode & ~FALLOC_FL_KEEP_SIZE)
		fixed |= FS_APPEND_FL;
	return refuse_if(inode, fixed);
}

/*
 * In writeback mode, where alone a ctime comes along, the kernel brings times
 * that it has kept: through a file that is open for writing or, when only the
 * ctime has changed, with the mtime that is known. Without either it is a
 * program that sets an mtime.
 */
static bool are_kept_times(struct inode *inode, u64 fh, const struct stat *attr,
			   unsigned set)
{
	bool same;

	if (!(set & FS_SET_CTIME) || set & ~(FS_SET_MTIME | FS_SET_CTIME))
		return false;
	mutex_lock(&inode->lock);
	same = timespec_to_ns(&attr->st_mtim) == inode->mtime;
	mutex_unlock(&inode->lock);
	return fh || same;
}

/* Times set to now pass for an append-only file. */
int inode_may_setattr(struct inode *inode, u64 fh, const struct stat *attr,
		      unsigned set)
{
	const unsigned now = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW;
	unsigned times = set & (FS_SET_ATIME | FS_SET_MTIME);

	if (are_kept_times(inode, fh, attr, set))
		return 0;
	if ((times & FS_SET_ATIME && !(set & FS_SET_ATIME_NOW)) ||
	    (times & FS_SET_MTIME && !(set & FS_SET_MTIME_NOW)) ||
	    set & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE))
		return refuse_if(inode, FIXED);
	return set & (now | times) ? refuse_if(inode, FS_IMMUTABLE_FL) : 0;
}

int inode_may_change(struct inode *inode)
{
	return refuse_if(inode, FIXED);
}

int inode_may_add_to(struct inode *dir)
{
	return refuse_if(dir, FS_IMMUTABLE_FL);
}

int inode_may_remove(struct inode *dir, struct inode *inode)
{
	int err = refuse_if(dir, FIXED);

	return err ? err : refuse_if(inode, FIXED);
}

/* ---- looking and setting ---- */

int fs_get_flags(struct fs *fs, u64 ino, u32 *ret_flags)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	*ret_flags = flags_of(inode) & FS_FLAGS;
	inode_put(inode);
	return 0;
}

/* Newer kernels have checked this themselves, by capabilities. */
static int may_set(struct inode *inode, u32 flags, const struct fs_cred *cred)
{
	if (!inode_is_reg(inode) && !inode_is_dir(inode))
		return -EOPNOTSUPP;
	if (!cred->uid)
		return 0;
	if (cred->uid != inode->uid || (inode->flags ^ flags) & FIXED)
		return -EPERM;
	return 0;
}

int inode_set_flags(struct inode *inode, u32 mask, u32 bits)
{
	struct ns_change ch;
	int err;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (!err) {
		change_begin(&ch);
		mutex_lock(&inode->lock);
		inode->flags = (inode->flags & ~mask) | bits;
		mutex_unlock(&inode->lock);
		namei_touch(&ch, inode, 0);
		log_inode(&ch, inode);
		change_end(&ch);
	}
	change_done(&ch);
	return err;
}

int fs_set_flags(struct fs *fs, u64 ino, u32 flags, const struct fs_cred *cred)
{
	struct inode *inode = NULL;
	int err;

	if (flags & ~FS_FLAGS)
		return -EOPNOTSUPP;
	err = fs_may_change(fs, false);
	if (!err)
		err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	down_write(&inode->rwsem);
	err = may_set(inode, flags, cred);
	if (!err)
		err = inode_set_flags(inode, FS_FLAGS, flags);
	up_write(&inode->rwsem);
	inode_put(inode);
	return err;
}

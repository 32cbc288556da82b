/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fs_internal.h"

/* Segments looked at to count the blocks of a sparse file that changed. */
#define BLOCKS_WALK 256

/* ---- st_blocks ----
 *
 * Committed pages are counted by the volume, once after each commit. While
 * there is uncommitted content the sum of both is right unless it replaces
 * committed pages: then, in a file without holes, the size is the answer, and
 * a sparse one is walked, if it has few enough segments.
 */

static s64 committed_blocks(struct inode *inode)
{
	struct meta_reader *r = NULL;
	u64 nr = 0;
	s64 known;
	int err;

	mutex_lock(&inode->lock);
	known = inode->nr_blocks;
	mutex_unlock(&inode->lock);
	if (known >= 0)
		return known;

	err = meta_reader_get(inode->fs->volume->meta, &r);
	if (err)
		return 0;
	err = meta_extent_count(r, inode->ino, &nr);
	meta_reader_put(r);
	if (err)
		return 0;

	mutex_lock(&inode->lock);
	/* a commit that ends in between will ask for another count */
	if (inode->nr_blocks < 0 && !inode->committing)
		inode->nr_blocks = (s64)nr;
	mutex_unlock(&inode->lock);
	return (s64)nr;
}

/* Unwritten pages of [pgoff, end), which the walk over data passes by. */
static u64 unwritten_blocks(struct inode *inode, u64 pgoff, u64 end)
{
	u64 nr = 0;

	for (int i = 0; i < BLOCKS_WALK && pgoff < end; i++) {
		enum extent_kind kind;
		u64 next;

		if (volume_next_extent(inode->fs->volume, inode->ino, pgoff,
				       &kind, &next))
			break;
		next = min(next, end);
		if (kind == EXTENT_UNWRITTEN)
			nr += next - pgoff;
		if (next <= pgoff)
			break;
		pgoff = next;
	}
	return nr;
}

/* Return: false when there are too many segments. */
static bool walk_blocks(struct inode *inode, u64 *ret)
{
	u64 size = i_size_read(&inode->mapping);
	u64 pos = 0, nr = 0;

	for (int i = 0; i < BLOCKS_WALK; i++) {
		s64 data = cache_seek(&inode->mapping, pos, SEEK_DATA);
		s64 hole;

		if (data < 0) {
			nr += unwritten_blocks(inode, bytes_to_pages(pos),
					       PGOFF_MAX + 1);
			*ret = nr;
			return true;
		}
		hole = cache_seek(&inode->mapping, (u64)data, SEEK_HOLE);
		if (hole <= data)
			hole = (s64)size;
		nr += unwritten_blocks(inode, bytes_to_pages(pos),
				       (u64)data >> PAGE_SHIFT);
		nr += bytes_to_pages((u64)hole) - ((u64)data >> PAGE_SHIFT);
		pos = (u64)hole;
	}
	return false;
}

static u64 inode_blocks(struct inode *inode)
{
	struct address_space *as = &inode->mapping;
	struct address_space_stat st;
	u64 prealloc, known, sum, nr;
	bool holes;

	if (!inode_is_reg(inode))
		return 0;

	mutex_lock(&inode->lock);
	prealloc = inode->nr_prealloc;
	mutex_unlock(&inode->lock);
	address_space_stat(as, &st);
	mutex_lock(&as->tree_lock);
	holes = !range_set_empty(&as->holes) ||
		!range_set_empty(&as->frozen_holes);
	mutex_unlock(&as->tree_lock);

	known = (u64)committed_blocks(inode);
	if (!st.nr_uncommitted && !holes)
		return known + prealloc;
	if (!known)
		return st.nr_uncommitted + prealloc;

	sum = known + st.nr_uncommitted;
	if ((holes || sum > bytes_to_pages(st.size)) && walk_blocks(inode, &nr))
		sum = nr;
	return min(sum, bytes_to_pages(st.size)) + prealloc;
}

/* ---- reading ---- */

void inode_stat(struct inode *inode, struct stat *ret)
{
	u64 blocks = inode_blocks(inode);

	memset(ret, 0, sizeof(*ret));
	mutex_lock(&inode->lock);
	ret->st_ino = inode->ino;
	ret->st_mode = inode->mode;
	ret->st_nlink = inode->nlink;
	ret->st_uid = inode->uid;
	ret->st_gid = inode->gid;
	ret->st_rdev = inode->rdev;
	ret->st_blksize = (blksize_t)PAGE_SIZE;
	ret->st_blocks = (blkcnt_t)(blocks * (PAGE_SIZE / 512));
	ret->st_atim = ns_to_timespec(inode->atime);
	ret->st_mtim = ns_to_timespec(inode->mtime);
	ret->st_ctim = ns_to_timespec(inode->ctime);
	mutex_unlock(&inode->lock);

	if (inode_is_reg(inode))
		ret->st_size = (off_t)i_size_read(&inode->mapping);
	else if (S_ISLNK(inode->type))
		ret->st_size = (off_t)inode->csize;
	else if (inode_is_dir(inode))
		ret->st_size = (off_t)PAGE_SIZE;
}

int fs_getattr(struct fs *fs, u64 ino, struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	inode_stat(inode, ret_st);
	inode_put(inode);
	return 0;
}

int fs_generation(struct fs *fs, u64 ino, u64 *ret_generation)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	*ret_generation = inode->generation;
	inode_put(inode);
	return 0;
}

/* ---- changing ---- */

static s64 time_of(unsigned set, unsigned explicit_bit, unsigned now_bit,
		   const struct timespec *ts, s64 now, s64 old)
{
	if (set & now_bit)
		return now;
	return set & explicit_bit ? timespec_to_ns(ts) : old;
}

/* Context: in the stop. */
static void apply(struct ns_change *ch, struct inode *inode,
		  const struct stat *attr, unsigned set)
{
	mutex_lock(&inode->lock);
	if (set & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_SUID))
		inode->mode = mode_without_setid(inode->mode);
	if (set & FS_SET_MODE)
		inode->mode = inode->type | (attr->st_mode & 07777);
	if (set & FS_SET_UID)
		inode->uid = attr->st_uid;
	if (set & FS_SET_GID)
		inode->gid = attr->st_gid;
	inode->atime = time_of(set, FS_SET_ATIME, FS_SET_ATIME_NOW,
			       &attr->st_atim, ch->now, inode->atime);
	inode->mtime = time_of(set, FS_SET_MTIME, FS_SET_MTIME_NOW,
			       &attr->st_mtim, ch->now, inode->mtime);
	inode->ctime =
		set & FS_SET_CTIME ? timespec_to_ns(&attr->st_ctim) : ch->now;
	mutex_unlock(&inode->lock);
	log_inode(ch, inode);
}

/* Context: rwsem held exclusive. */
static int set_attr_locked(struct inode *inode, const struct stat *attr,
			   unsigned set)
{
	struct ns_change ch;
	int err;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (!err) {
		change_begin(&ch);
		apply(&ch, inode, attr, set);
		change_end(&ch);
	}
	change_done(&ch);
	return err;
}

int inode_drop_setid(struct inode *inode)
{
	struct stat none = {0};
	bool any;
	int err = 0;

	down_write(&inode->rwsem);
	mutex_lock(&inode->lock);
	any = inode->mode != mode_without_setid(inode->mode);
	mutex_unlock(&inode->lock);
	if (any)
		err = set_attr_locked(inode, &none, FS_SET_KILL_SUID);
	up_write(&inode->rwsem);

	if (any && !err && inode->fs->attr_changed)
		inode->fs->attr_changed(inode->fs->attr_changed_arg,
					inode->ino);
	return err;
}

void fs_on_attr_change(struct fs *fs, void (*fn)(void *arg, u64 ino), void *arg)
{
	fs->attr_changed_arg = arg;
	fs->attr_changed = fn;
}

/* Context: rwsem held exclusive. */
static int set_size_locked(struct inode *inode, const struct stat *attr)
{
	if (inode_is_dir(inode))
		return -EISDIR;
	if (!inode_is_reg(inode))
		return -EINVAL;
	if (attr->st_size < 0)
		return -EINVAL;
	return inode_truncate(inode, (u64)attr->st_size);
}

static int setattr_locked(struct inode *inode, const struct stat *attr,
			  unsigned set)
{
	int err = 0;

	if (set & FS_SET_SIZE) {
		err = set_size_locked(inode, attr);
		if (inode->mode != mode_without_setid(inode->mode))
			set |= FS_SET_KILL_SUID;
		set &= ~(unsigned)FS_SET_SIZE;
	}
	if (!err && set)
		err = set_attr_locked(inode, attr, set);
	return err;
}

int fs_setattr(struct fs *fs, u64 ino, u64 fh, const struct stat *attr,
	       unsigned set, struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = fs_may_change(fs, false);
	if (!err)
		err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	down_write(&inode->rwsem);
	err = setattr_locked(inode, attr, set);
	up_write(&inode->rwsem);
	if (!err)
		inode_stat(inode, ret_st);
	inode_put(inode);
	return err;
}

/* ---- the filesystem's figures ---- */

int fs_statfs(struct fs *fs, struct statvfs *ret)
{
	struct blocks_stat st;
	u64 taken, nr_inodes;

	blocks_stat(fs->volume->blocks, &st);
	taken = min(st.used + st.reserved + st.deferred, st.total);
	nr_inodes = __atomic_load_n(&fs->volume->nr_inodes, __ATOMIC_RELAXED);

	memset(ret, 0, sizeof(*ret));
	ret->f_bsize = ret->f_frsize = PAGE_SIZE;
	ret->f_blocks = st.total;
	ret->f_bfree = st.total - taken;
	ret->f_bavail = ret->f_bfree > st.kept ? ret->f_bfree - st.kept : 0;
	/* inodes are rows: there are as many as there is room for */
	ret->f_ffree = ret->f_favail = 1u << 30;
	ret->f_files = nr_inodes + ret->f_ffree;
	ret->f_namemax = FS_NAME_MAX;
	return 0;
}

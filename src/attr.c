/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fs_internal.h"
#include "unseen.h"

/* Segments looked at to count the blocks of a sparse file that changed. */
#define BLOCKS_WALK 256
/* Pages behind the committed end that are looked at one by one. */
#define APPENDED_MAX 65536

/* ---- st_blocks ----
 *
 * Committed pages are counted by the volume when an inode of it is first asked
 * for, and by the difference that each commit makes from then on. While
 * there is uncommitted content as well, the sum of both is right for a new
 * file; one without holes needs only what was appended; any other is walked,
 * if it has few enough segments. Past that the answer is an upper bound.
 */

/* What was counted: pages that have extents, and those that the redo log has
 * and that have none yet. */
struct counted {
	s64 rows, logged;
	u32 commits; /* of the inode, before */
};

/* Both as one state of the rows has it. @seq: of redo_begin(). */
static int count_blocks(struct inode *inode, u32 seq, struct counted *ret)
{
	struct volume *v = inode->fs->volume;
	struct meta_reader *r;
	u64 nr = 0;
	int err;

	mutex_lock(&inode->lock);
	ret->rows = inode->nr_blocks;
	ret->commits = inode->content_commits;
	mutex_unlock(&inode->lock);
	ret->logged = 0;
	if (ret->rows >= 0 && !redo_next_page(v->redo, inode->ino, 0, &nr))
		return 0;

	err = meta_reader_get(v->meta, &r);
	if (err)
		return err;
	err = meta_reader_hold(r);
	if (!err && ret->rows < 0) {
		err = meta_extent_count(r, inode->ino, &nr);
		ret->rows = (s64)nr;
	}
	if (!err)
		err = redo_growth(v->redo, r, seq, inode->ino, &ret->logged);
	meta_reader_put(r);
	return err;
}

static s64 committed_blocks(struct inode *inode)
{
	struct redo *redo = inode->fs->volume->redo;
	struct counted c;
	u32 seq;
	int err;

	do {
		seq = redo_begin(redo);
		err = count_blocks(inode, seq, &c);
	} while (redo_retry(redo, seq));
	if (err)
		return 0;

	mutex_lock(&inode->lock);
	/* not a count from before a commit that ended in between */
	if (inode->nr_blocks < 0 && !inode->committing &&
	    !redo_is_applying(redo) && inode->content_commits == c.commits)
		inode->nr_blocks = c.rows;
	mutex_unlock(&inode->lock);
	return c.rows + c.logged;
}

/* How much of [start, end) the set has. */
static u64 overlap(const struct range_set *set, u64 start, u64 end)
{
	u64 pgoff = start, first, last, nr = 0;

	while (pgoff < end && range_set_next(set, pgoff, &first, &last)) {
		first = max(first, start);
		if (first >= end)
			break;
		nr += min(last + 1, end) - first;
		pgoff = last + 1;
	}
	return nr;
}

/* Pages of [start, end) that fallocate() asked for since the last commit. */
static u64 prealloc_blocks(struct inode *inode, u64 start, u64 end)
{
	u64 nr;

	mutex_lock(&inode->lock);
	nr = overlap(&inode->prealloc, start, end) +
	     overlap(&inode->cut_prealloc, start, end);
	mutex_unlock(&inode->lock);
	return nr;
}

/* Blocks of the gap [pgoff, end) between data: unwritten ones. */
static u64 gap_blocks(struct inode *inode, u64 pgoff, u64 end)
{
	u64 nr = prealloc_blocks(inode, pgoff, end);

	for (int i = 0; i < BLOCKS_WALK && pgoff < end; i++) {
		enum extent_kind kind;
		u64 next;

		if (inode->mapping.ops->next_extent(&inode->mapping, pgoff,
						    &kind, &next) ||
		    next <= pgoff)
			break;
		next = min(next, end);
		if (kind == EXTENT_UNWRITTEN)
			nr += next - pgoff -
			      prealloc_blocks(inode, pgoff, next);
		pgoff = next;
	}
	return nr;
}

/* Return: false when there are too many segments. */
static bool walk_blocks(struct inode *inode, u64 *ret)
{
	u64 pos = 0, nr = 0;

	for (int i = 0; i < BLOCKS_WALK; i++) {
		s64 data = cache_seek(&inode->mapping, pos, SEEK_DATA);
		s64 hole = data;

		if (data >= 0)
			hole = cache_seek(&inode->mapping, (u64)data,
					  SEEK_HOLE);
		if (data < 0 || hole <= data) {
			*ret = nr + gap_blocks(inode, bytes_to_pages(pos),
					       PGOFF_MAX + 1);
			return true;
		}
		nr += gap_blocks(inode, bytes_to_pages(pos),
				 (u64)data >> PAGE_SHIFT);
		nr += bytes_to_pages((u64)hole) - ((u64)data >> PAGE_SHIFT);
		pos = (u64)hole;
	}
	return false;
}

static bool has_holes(struct address_space *as)
{
	bool holes;

	mutex_lock(&as->tree_lock);
	holes = !range_set_empty(&as->holes) ||
		!range_set_empty(&as->frozen_holes);
	mutex_unlock(&as->tree_lock);
	return holes;
}

static u64 uncommitted_in(struct address_space *as, u64 pgoff, u64 end)
{
	char map[256];
	u64 nr = 0;

	while (pgoff < end) {
		u64 n = min(end - pgoff, (u64)sizeof(map));

		address_space_map(as, pgoff, n, map);
		for (u64 i = 0; i < n; i++)
			nr += map[i] != '.';
		pgoff += n;
	}
	return nr;
}

/* A file whose committed part has no hole: what was written over it changes
 * nothing, what was appended is counted. Return: false: it is not so. */
static bool count_appended(struct inode *inode, u64 known, u64 pages, u64 *ret)
{
	u64 committed;

	mutex_lock(&inode->lock);
	committed = bytes_to_pages(inode->csize);
	mutex_unlock(&inode->lock);
	if (known != committed || pages < committed ||
	    pages - committed > APPENDED_MAX)
		return false;
	*ret = known + uncommitted_in(&inode->mapping, committed, pages);
	return true;
}

static u64 inode_blocks(struct inode *inode)
{
	struct address_space *as = &inode->mapping;
	struct address_space_stat st;
	u64 prealloc, known, sum, pages, nr;

	if (!inode_is_reg(inode))
		return 0;

	prealloc = prealloc_blocks(inode, 0, PGOFF_MAX + 1);
	address_space_stat(as, &st);
	known = (u64)committed_blocks(inode);
	sum = known + st.nr_uncommitted;
	pages = bytes_to_pages(st.size);

	if (!prealloc && !has_holes(as)) {
		if (!st.nr_uncommitted || !known)
			return sum;
		if (count_appended(inode, known, pages, &nr))
			return nr;
	}
	if (walk_blocks(inode, &nr))
		return nr;
	return min(sum, pages) + prealloc;
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

bool fs_is_written(struct fs *fs, u64 ino)
{
	struct inode *inode = inode_peek(fs, ino);
	bool written;

	if (!inode)
		return false;
	mutex_lock(&inode->lock);
	written = inode->writers || inode->fresh;
	mutex_unlock(&inode->lock);
	inode_put(inode);
	return written;
}

bool fs_take_late(struct fs *fs, u64 ino)
{
	struct inode *inode = inode_peek(fs, ino);
	bool late;

	if (!inode)
		return false;
	mutex_lock(&inode->lock);
	late = inode->late;
	inode->late = false;
	mutex_unlock(&inode->lock);
	inode_put(inode);
	return late;
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

int fs_btime(struct fs *fs, u64 ino, struct timespec *ret_btime)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	*ret_btime = ns_to_timespec(inode->btime);
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
	struct op_xattr *acl = NULL;
	struct ns_change ch;
	int err = 0;

	if (set & FS_SET_MODE && !S_ISLNK(inode->type))
		err = inode_acl_chmod(inode, attr->st_mode, &acl);
	if (err)
		return err;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (!err) {
		change_begin(&ch);
		apply(&ch, inode, attr, set);
		if (acl)
			log_xattr(&ch, inode, acl);
		change_end(&ch);
	} else if (acl) {
		op_free(inode->fs, &acl->op);
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
	bool sized = false;
	int err = 0;

	if (set & FS_SET_SIZE) {
		err = set_size_locked(inode, attr);
		sized = !err;
		set &= ~(unsigned)FS_SET_SIZE;
	}
	if (!err && set)
		err = set_attr_locked(inode, attr, set);
	/* the kernel hears of no truncation and keeps its pages */
	if (err && sized)
		unseen_note_all(inode);
	return err;
}

static bool shrinks(const struct inode *inode, const struct stat *attr,
		    unsigned set)
{
	return set & FS_SET_SIZE && inode_is_reg(inode) &&
	       attr->st_size < (s64)i_size_read(&inode->mapping);
}

static int try_setattr(struct inode *inode, u64 fh, const struct stat *attr,
		       unsigned set)
{
	int err;

	down_write(&inode->rwsem);
	err = inode_may_setattr(inode, fh, attr, set);
	if (!err)
		err = setattr_locked(inode, attr, set);
	up_write(&inode->rwsem);
	return err;
}

int fs_setattr(struct fs *fs, u64 ino, u64 fh, const struct stat *attr,
	       unsigned set, struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;
	err = fs_may_change(fs, shrinks(inode, attr, set));
	if (err) {
		inode_put(inode);
		return err;
	}

	err = try_setattr(inode, fh, attr, set);
	if (err == -ENOSPC) {
		err = fs_lacks_space(fs);
		if (!err)
			err = try_setattr(inode, fh, attr, set);
	}
	if (!err)
		inode_stat(inode, ret_st);
	inode_put(inode);
	return err;
}

/* ---- the filesystem's figures ---- */

int fs_statfs(struct fs *fs, struct statvfs *ret)
{
	struct blocks_stat st;
	u64 total, taken, nr_inodes;

	volume_update_bound(fs->volume);
	blocks_stat(fs->volume->blocks, &st);
	/* parked blocks are among the used ones */
	total = st.total - st.missing;
	taken = min(st.used + st.reserved, total);
	nr_inodes = __atomic_load_n(&fs->volume->nr_inodes, __ATOMIC_RELAXED);

	memset(ret, 0, sizeof(*ret));
	ret->f_bsize = ret->f_frsize = PAGE_SIZE;
	ret->f_blocks = total;
	ret->f_bfree = total - taken;
	ret->f_bavail = ret->f_bfree > st.kept ? ret->f_bfree - st.kept : 0;
	/* inodes are rows: there are as many as there is room for */
	ret->f_ffree = ret->f_favail = 1u << 30;
	ret->f_files = nr_inodes + ret->f_ffree;
	ret->f_namemax = FS_NAME_MAX;
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* Content of files: between the cache, the volume and who reads and writes. */
#include "config.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include "fs_internal.h"
#include "prealloc.h"
#include "unseen.h"

/* copy_file_range: a piece, and all that one call does. */
#define COPY_PIECE ((size_t)256 << 10)
#define COPY_MAX ((size_t)16 << 20)

/* While bookkeeping is over its share a writer is held up by so much. */
#define METADATA_PAUSE_NS (50 * NSEC_PER_MSEC)

static struct inode *inode_of(struct address_space *as)
{
	return container_of(as, struct inode, mapping);
}

/* ---- what the cache asks ---- */

/* Pages behind have no committed content: no need to ask the volume. The cut
 * of a commit raises it before the commit's extents are there. */
static u64 extent_end(struct inode *inode)
{
	u64 end;

	mutex_lock(&inode->lock);
	end = inode->extent_end;
	mutex_unlock(&inode->lock);
	return end;
}

static int file_read_pages(struct address_space *as, u64 pgoff, u32 nr,
			   void *const *pages, int *errs)
{
	struct inode *inode = inode_of(as);

	if (pgoff < extent_end(inode))
		return volume_read_pages(inode->fs->volume, inode->ino, pgoff,
					 nr, pages, errs);

	for (u32 i = 0; i < nr; i++) {
		memset(pages[i], 0, PAGE_SIZE);
		errs[i] = 0;
	}
	return 0;
}

/* Who reads gets an error, and who looks for the reason finds it in the log. */
static void file_read_failed(struct address_space *as, u64 pgoff, u32 nr,
			     int err)
{
	if (err == -EIO)
		fs_log_bad_pages(inode_of(as)->fs, "", as->ino, pgoff, nr);
}

static int file_next_extent(struct address_space *as, u64 pgoff,
			    enum extent_kind *ret_kind, u64 *ret_end)
{
	struct inode *inode = inode_of(as);

	if (pgoff < extent_end(inode))
		return volume_next_extent(inode->fs->volume, inode->ino, pgoff,
					  ret_kind, ret_end);

	*ret_kind = EXTENT_HOLE;
	*ret_end = PGOFF_MAX + 1;
	return 0;
}

static int file_reserve(struct address_space *as, u32 nr)
{
	return volume_reserve(inode_of(as)->fs->volume, nr);
}

static void file_unreserve(struct address_space *as, u32 nr)
{
	blocks_unreserve(inode_of(as)->fs->volume->blocks, nr);
}

/* In writeback mode the kernel owns the times that writing sets, and sends
 * them by SETATTR, before or after the late write. */
static void file_content_changed(struct address_space *as, enum change why,
				 u64 pos, u64 len, void *arg)
{
	struct inode *inode = inode_of(as);
	struct fs *fs = inode->fs;
	bool times = why == CHANGE_TRUNCATE || why == CHANGE_PUNCH ||
		     !fs->opt.writeback;
	bool first;

	(void)pos, (void)len, (void)arg;
	mutex_lock(&inode->lock);
	if (times)
		inode->mtime = inode->ctime = real_ns();
	first = !inode->dirty_epoch;
	if (first)
		inode->dirty_epoch = fs->ops.epoch;
	mutex_unlock(&inode->lock);
	if (first)
		oplist_add_dirty(&fs->ops, inode);
}

/* They learn it by SIGBUS; who looks for the reason finds it here. */
static void file_mappings_cut(struct address_space *as, u64 first, u64 last,
			      u64 nr_vmas, void *arg)
{
	(void)arg;
	fs_log(inode_of(as)->fs, LOG_DEBUG,
	       "inode %llu: %llu mappings lost pages %llu to %llu",
	       (unsigned long long)as->ino, (unsigned long long)nr_vmas,
	       (unsigned long long)first, (unsigned long long)last);
}

const struct address_space_operations file_mapping_ops = {
	.read_pages = file_read_pages,
	.read_failed = file_read_failed,
	.next_extent = file_next_extent,
	.reserve = file_reserve,
	.unreserve = file_unreserve,
	.content_changed = file_content_changed,
	.mappings_cut = file_mappings_cut,
};

/* ---- size ---- */

/* The content is as before, but a commit has something to do. */
static void note_change(struct inode *inode)
{
	struct fs *fs = inode->fs;

	down_read(&fs->stop);
	file_content_changed(&inode->mapping, CHANGE_TRUNCATE, 0, 0, NULL);
	up_read(&fs->stop);
}

int inode_truncate(struct inode *inode, u64 size)
{
	u64 old_size = i_size_read(&inode->mapping);
	u64 end = bytes_to_pages(size);
	int err = 0;

	/* The last page of the largest file has nothing behind it. */
	if (end <= PGOFF_MAX)
		err = prealloc_clip(inode, end, PGOFF_MAX);
	if (!err)
		err = cache_truncate(&inode->mapping, size, NULL);
	if (!err && size == old_size)
		note_change(inode);
	if (!err && size < old_size && end <= PGOFF_MAX)
		unseen_dropped(inode, end, PGOFF_MAX);
	return err;
}

/* ---- opening ---- */

static int open_truncate(struct inode *inode, int flags)
{
	int err;

	err = fs_may_change(inode->fs, true);
	if (err)
		return err;

	down_write(&inode->rwsem);
	err = inode_truncate(inode, 0);
	up_write(&inode->rwsem);
	if (!err && flags & FS_KILL_SUIDGID) {
		err = inode_drop_setid(inode);
		/* the kernel hears of no truncation and keeps its pages */
		if (err)
			unseen_note_all(inode);
	}
	return err;
}

int fs_openf(struct fs *fs, u64 ino, int flags, pid_t pid, u64 *ret_fh)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	struct inode *inode = NULL;
	u64 fh = 0;
	int err;

	if (fs_readonly(fs) && (writes || flags & O_TRUNC))
		return -EROFS;
	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	if (inode_is_dir(inode))
		err = -EISDIR;
	else if (!inode_is_reg(inode))
		err = -ENXIO;
	else
		err = inode_may_open(inode, flags);
	if (!err)
		err = handle_open(fs, inode,
				  flags & ~(O_TRUNC | FS_KILL_SUIDGID), pid,
				  &fh);
	if (err) {
		inode_put(inode);
		return err;
	}

	/* once it is open: an atomic file is not seen empty for that */
	if (flags & O_TRUNC)
		err = open_truncate(inode, flags);
	if (err)
		(void)handle_close(fs, fh);
	else
		*ret_fh = fh;
	return err;
}

int fs_release(struct fs *fs, u64 fh)
{
	return handle_close(fs, fh);
}

/* An open regular file. */
static int get_file(struct fs *fs, u64 fh, struct handle **ret)
{
	struct handle *h = handle_get(fs, fh);

	if (!h)
		return -EBADF;
	if (!inode_is_reg(h->inode)) {
		handle_put(h);
		return -EISDIR;
	}
	*ret = h;
	return 0;
}

/* ---- reading and writing ---- */

ssize_t fs_read(struct fs *fs, u64 fh, u64 pos, size_t len,
		struct cache_read *rd)
{
	struct handle *h = NULL;
	ssize_t n;

	n = get_file(fs, fh, &h);
	if (n)
		return n;

	n = cache_read(&h->file, pos, len, rd);
	if (n >= 0 && !(h->flags & O_NOATIME))
		inode_accessed(h->inode);
	handle_put(h);
	return n;
}

static bool has_setid(struct inode *inode)
{
	bool any;

	mutex_lock(&inode->lock);
	any = inode->mode != mode_without_setid(inode->mode);
	mutex_unlock(&inode->lock);
	return any;
}

/* No commit unasked will make bookkeeping of it any less. */
static bool too_much_held(struct inode *inode)
{
	bool held;

	mutex_lock(&inode->lock);
	held = inode_held_locked(inode) && inode->dirty_epoch;
	mutex_unlock(&inode->lock);
	return held && cache_metadata_over(inode->fs->cache);
}

static ssize_t write_file(struct file *f, u64 pos, const void *buf, size_t len,
			  unsigned flags)
{
	struct inode *inode = inode_of(f->mapping);
	int err = 0;

	if (fs_readonly(inode->fs))
		return -EROFS;
	if (pos > (u64)INT64_MAX || len > (u64)INT64_MAX - pos)
		return -EFBIG;

	/* in writeback mode the kernel extends files by its late writes */
	if (flags & CACHE_WRITE_WRITEPAGE && inode->fs->opt.writeback) {
		flags |= CACHE_WRITE_EXTEND;
		mutex_lock(&inode->lock);
		inode->late = true;
		mutex_unlock(&inode->lock);
	}
	if (!(flags & CACHE_WRITE_WRITEPAGE)) {
		err = inode_may_write(inode, pos);
		if (!err && too_much_held(inode))
			err = -ENOSPC;
	}
	if (err)
		return err;
	if (flags & FS_KILL_SUIDGID && has_setid(inode))
		err = inode_drop_setid(inode);
	if (!err && flags & FS_KILL_CAPABILITY)
		err = inode_drop_capability(inode);
	if (err)
		return err;
	flags &= ~(unsigned)(FS_KILL_SUIDGID | FS_KILL_CAPABILITY);
	return cache_write(f, pos, buf, len, flags, NULL, NULL);
}

ssize_t fs_write(struct fs *fs, u64 fh, u64 pos, const void *buf, size_t len,
		 unsigned flags, u64 *ret_pause_ns, bool *ret_retry)
{
	bool late = flags & CACHE_WRITE_WRITEPAGE;
	u64 ended = committer_ended_nr(&fs->committer);
	struct handle *h = NULL;
	ssize_t n;

	*ret_pause_ns = 0;
	*ret_retry = false;
	n = get_file(fs, fh, &h);
	if (n)
		return n;

	n = write_file(&h->file, pos, buf, len, flags);
	if (n > 0 && !late) {
		*ret_pause_ns = cache_balance_dirty(
			&h->inode->mapping, (u32)bytes_to_pages((u64)n));
		if (cache_metadata_over(fs->cache))
			*ret_pause_ns =
				max(*ret_pause_ns, (u64)METADATA_PAUSE_NS);
	}
	if (n == -ENOSPC && !late)
		*ret_retry = fs_commit_may_free(fs) ||
			     committer_is_busy(&fs->committer, ended);
	handle_put(h);
	return n;
}

ssize_t fs_write_ino(struct fs *fs, u64 ino, u64 pos, const void *buf,
		     size_t len, unsigned flags)
{
	struct inode *inode = NULL;
	struct file f;
	ssize_t n;

	n = inode_get_ino(fs, ino, &inode);
	if (n)
		return n;

	n = -EISDIR;
	if (inode_is_reg(inode)) {
		file_init(&f, &inode->mapping);
		n = write_file(&f, pos, buf, len, flags);
		file_done(&f);
	}
	inode_put(inode);
	return n;
}

int fs_flush(struct fs *fs, u64 fh)
{
	struct handle *h = NULL;
	int err;

	err = get_file(fs, fh, &h);
	if (err)
		return err;

	err = file_check_and_advance_wb_err(&h->file);
	handle_put(h);
	return err;
}

/* ---- fallocate ---- */

/* Whole pages within [pos, pos + len); false: none. */
static bool inner_pages(u64 pos, u64 len, u64 *ret_start, u64 *ret_last)
{
	u64 start = bytes_to_pages(pos);
	u64 end = (pos + len) >> PAGE_SHIFT;

	*ret_start = start;
	*ret_last = end - 1;
	return start < end;
}

static int punch(struct inode *inode, u64 pos, u64 len)
{
	u64 start, last;
	int err = 0;

	if (inner_pages(pos, len, &start, &last))
		err = prealloc_clip(inode, start, last);
	return err ? err : cache_punch(&inode->mapping, pos, len, NULL);
}

/* Context: rwsem held exclusive. */
static int fallocate_locked(struct inode *inode, int mode, u64 pos, u64 len)
{
	u64 end = pos + len;
	int err = 0;

	if (mode & FALLOC_FL_PUNCH_HOLE)
		return punch(inode, pos, len);

	if (mode & FALLOC_FL_ZERO_RANGE)
		err = punch(inode, pos, len);
	if (!err)
		err = prealloc_add(inode, pos >> PAGE_SHIFT,
				   (end - 1) >> PAGE_SHIFT);
	if (err)
		return err;

	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i_size_read(&inode->mapping))
		return cache_truncate(&inode->mapping, end, NULL);
	note_change(inode);
	return 0;
}

static int check_fallocate(int mode, u64 pos, u64 len)
{
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;

	if (kind && kind != FALLOC_FL_PUNCH_HOLE &&
	    kind != FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP;
	if (kind == FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (!len)
		return -EINVAL;
	if (pos > (u64)INT64_MAX || len > (u64)INT64_MAX - pos)
		return -EFBIG;
	return 0;
}

/* The kernel drops its copies of what was punched if all went well, and keeps
 * them, whatever they are, if not. */
static void note_punched(struct inode *inode, int mode, u64 pos, u64 len,
			 int err)
{
	u64 start, last;

	if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return;
	if (err)
		unseen_note(inode, pos, len);
	else if (inner_pages(pos, len, &start, &last))
		unseen_dropped(inode, start, last);
}

int fs_fallocate(struct fs *fs, u64 fh, int mode, u64 pos, u64 len)
{
	bool kill = mode & FS_KILL_SUIDGID;
	struct handle *h = NULL;
	int err;

	mode &= ~FS_KILL_SUIDGID;
	err = check_fallocate(mode, pos, len);
	if (!err)
		err = fs_may_change(fs, mode & FALLOC_FL_PUNCH_HOLE);
	if (!err)
		err = get_file(fs, fh, &h);
	if (err)
		return err;

	down_write(&h->inode->rwsem);
	err = inode_may_fallocate(h->inode, mode);
	if (!err)
		err = fallocate_locked(h->inode, mode, pos, len);
	up_write(&h->inode->rwsem);
	if (!err && kill)
		err = inode_drop_setid(h->inode);
	note_punched(h->inode, mode, pos, len, err);
	handle_put(h);
	return err;
}

/* ---- seeking, copying ---- */

void fs_note_filled(struct fs *fs, u64 fh, u64 pos, u64 len)
{
	struct handle *h = handle_get(fs, fh);

	if (h && inode_is_reg(h->inode))
		unseen_note(h->inode, pos, len);
	handle_put(h);
}

/* Data is what is data to us or may have been stored to. */
static s64 seek_data(struct inode *inode, u64 pos)
{
	s64 data = cache_seek(&inode->mapping, pos, SEEK_DATA);
	u64 size = i_size_read(&inode->mapping);
	u64 start, last;

	if ((data < 0 && data != -ENXIO) || pos >= size ||
	    !unseen_next(inode, pos >> PAGE_SHIFT, &start, &last) ||
	    start >= bytes_to_pages(size))
		return data;
	pos = max(pos, start << PAGE_SHIFT);
	return data < 0 ? (s64)pos : min(data, (s64)pos);
}

/* Past what is data to us, and past what may have been stored to, in turns. */
static s64 seek_hole(struct inode *inode, u64 pos)
{
	s64 hole = cache_seek(&inode->mapping, pos, SEEK_HOLE);
	u64 start, last;

	while (hole >= 0 &&
	       unseen_next(inode, (u64)hole >> PAGE_SHIFT, &start, &last) &&
	       start <= (u64)hole >> PAGE_SHIFT) {
		u64 size = i_size_read(&inode->mapping);
		u64 next = (last + 1) << PAGE_SHIFT;

		if (next >= size)
			return (s64)max(size, pos);
		hole = cache_seek(&inode->mapping, next, SEEK_HOLE);
	}
	return hole;
}

s64 fs_lseek(struct fs *fs, u64 fh, u64 pos, int whence)
{
	struct handle *h = NULL;
	s64 rc;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	rc = get_file(fs, fh, &h);
	if (rc)
		return rc;

	if (!unseen_possible(h->inode))
		rc = cache_seek(&h->inode->mapping, pos, whence);
	else if (whence == SEEK_DATA)
		rc = seek_data(h->inode, pos);
	else
		rc = seek_hole(h->inode, pos);
	handle_put(h);
	return rc;
}

/* One piece through @buf: no page of the source is held while the destination
 * waits for space. Return: bytes, 0 at the end, -errno. */
static ssize_t copy_piece(struct handle *in, u64 pos_in, struct handle *out,
			  u64 pos_out, void *buf, size_t len, unsigned flags)
{
	ssize_t n = cache_read_copy(&in->file, pos_in, buf, len);

	if (n <= 0)
		return n;
	return write_file(&out->file, pos_out, buf, (size_t)n, flags);
}

static ssize_t copy_range(struct handle *in, u64 pos_in, struct handle *out,
			  u64 pos_out, size_t len, unsigned flags)
{
	void *buf = malloc(COPY_PIECE);
	ssize_t n = 0;
	size_t done = 0;

	if (!buf)
		return -ENOMEM;

	while (done < len) {
		n = copy_piece(in, pos_in + done, out, pos_out + done, buf,
			       min(len - done, COPY_PIECE), flags);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(buf);
	return done ? (ssize_t)done : n;
}

ssize_t fs_copy_file_range(struct fs *fs, u64 fh_in, u64 pos_in, u64 fh_out,
			   u64 pos_out, size_t len, unsigned flags)
{
	struct handle *in = NULL, *out = NULL;
	ssize_t n;

	len = min(len, COPY_MAX);
	n = get_file(fs, fh_in, &in);
	if (n)
		return n;
	n = get_file(fs, fh_out, &out);
	if (n) {
		handle_put(in);
		return n;
	}

	if (pos_in > (u64)INT64_MAX - len || pos_out > (u64)INT64_MAX - len)
		n = -EFBIG;
	else if (in->inode == out->inode && pos_in < pos_out + len &&
		 pos_out < pos_in + len)
		n = -EINVAL;
	else
		n = copy_range(in, pos_in, out, pos_out, len, flags);
	if (n >= 0 && !(in->flags & O_NOATIME))
		inode_accessed(in->inode);
	handle_put(out);
	handle_put(in);
	return n;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>

#include "deferred.h"
#include "ops.h"
#include "reply.h"
#include "unmapper.h"

/* How much one request may copy: it occupies its worker. The kernel and then
 * the program ask again for the rest. */
#define COPY_RANGE_MAX ((size_t)16 << 20)

/* ---- opening and closing ---- */

/*
 * What the kernel has cached stays good across opens. FLUSH would only make
 * each close(2) a request: in write-through mode it has nothing to tell, and
 * in writeback mode the kernel sends it all the same, for the errors.
 *
 * In own mode read(2) and write(2) pass the kernel's cache by, and what is
 * mapped stays in it until it is taken back: keep_cache all the same, or each
 * open(2) would drop what others have mapped. Parallel writes: two writers of
 * one file do not wait for each other, unless they make it longer.
 */
static void set_open_flags(const struct session *s, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	fi->noflush = 1;
	if (!s->own)
		return;

	fi->direct_io = 1;
#ifdef HAVE_STRUCT_FUSE_FILE_INFO_PARALLEL_DIRECT_WRITES
	fi->parallel_direct_writes = 1;
#endif
}

/*
 * Who may not keep set-id bits: HANDLE_KILLPRIV_V2 makes the kernel tell, in
 * bits that libfuse does not hand through. It does not for fallocate and
 * copies; root is taken to be who may.
 */
static int open_flags(const struct fuse_file_info *fi)
{
	const struct fuse_open_in *in = session_argument();

	if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
		return fi->flags | FS_KILL_SUIDGID;
	return fi->flags;
}

/* Under direct I/O alone the kernel leaves a file's capabilities to us. */
static unsigned write_flags(const struct session *s)
{
	const struct fuse_write_in *in = session_argument();
	unsigned flags = s->own ? FS_KILL_CAPABILITY : 0;

	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		flags |= FS_KILL_SUIDGID;
	return flags;
}

static unsigned flags_of_user(fuse_req_t req)
{
	return fuse_req_ctx(req)->uid ? FS_KILL_SUIDGID : 0;
}

static void note_open(fuse_req_t req, u64 ino, u64 fh)
{
	tracker_opened(session_of(req)->tracker, fuse_req_ctx(req)->pid, ino,
		       fh);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int err;

	if (control_owns(ino)) {
		control_op_open(req, ino, fi);
		return;
	}

	err = fs_openf(session_of(req)->fs, ino, open_flags(fi),
		       fuse_req_ctx(req)->pid, &fi->fh);
	if (err == -EAGAIN) {
		session_again(AGAIN_SOON);
		reply_none(req);
		return;
	}
	if (err) {
		reply_err(req, err);
		return;
	}
	note_open(req, ino, fi->fh);
	set_open_flags(session_of(req), fi);
	if (session_of(req)->writeback && (fi->flags & O_ACCMODE) != O_RDONLY)
		session_inval_attr(session_of(req), ino);
	reply_open(req, fi);
}

/* Also for O_TMPFILE, whose name says nothing. */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct fs_cred cred = cred_of(req);
	struct stat st;
	pid_t pid = fuse_req_ctx(req)->pid;
	struct fs *fs = session_of(req)->fs;
	bool nameless = session_opcode() == FUSE_TMPFILE;
	int err = name_may_change(parent, nameless ? "" : name);

	if (!err && nameless)
		err = fs_tmpfile(fs, parent, mode, fi->flags, &cred, pid, &st,
				 &fi->fh);
	else if (!err)
		err = fs_create(fs, parent, name, mode, fi->flags, &cred, pid,
				&st, &fi->fh);
	if (err) {
		reply_err(req, err);
		return;
	}
	note_open(req, st.st_ino, fi->fh);
	set_open_flags(session_of(req), fi);
	reply_create(req, &st, fi);
}

/* Only for kernels without FOPEN_NOFLUSH does this matter in write-through
 * mode: ENOSYS tells them never to ask again. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int err = 0;

	if (!s->writeback)
		err = -ENOSYS;
	else if (!control_owns(ino))
		err = fs_flush(s->fs, fi->fh);
	reply_err(req, err);
}

/* RELEASE comes after the last mapping through the open file. */
static int release_file(struct session *s, u64 ino, u64 fh)
{
	bool mapped = fs_is_mapped(s->fs, fh);
	int err = fs_release(s->fs, fh);

	if (mapped)
		tracker_unmapped(s->tracker, ino);
	return err;
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int err = 0;

	if (control_owns(ino))
		control_handle_close(s, fi->fh);
	else
		err = release_file(s, ino, fi->fh);
	reply_err(req, err);
}

/* ---- data ---- */

/*
 * A READ without an owner is the kernel's, for its cache: a fault if the
 * process is known to map what was read, or is found to when the tracker looks.
 */
static void note_kernel_read(fuse_req_t req, u64 ino, u64 fh,
			     const struct read_fault *fault)
{
	struct session *s = session_of(req);
	pid_t tid = fuse_req_ctx(req)->pid;

	if (!s->tracker)
		fs_account_fill(s->fs, fh, fault);
	else if (tid <= 0 ||
		 !fs_account_fault(s->fs, fh, tracker_pid_of(s->tracker, tid),
				   fault))
		tracker_fault(s->tracker, tid, ino, fault);
}

/*
 * In own mode the kernel's copies of pages are bounded, so it may have to wait
 * for more of them; see src/unmapper.h. Not by a read(2), which tells who it
 * is and leaves no copy. What is admitted is noted before the kernel has it, so
 * that no page is ever overlooked.
 */
static bool may_fill(fuse_req_t req, u64 ino, off_t off, size_t size,
		     const struct fuse_file_info *fi)
{
	struct session *s = session_of(req);

	if (!s->own || fi->lock_owner ||
	    unmapper_admit(s->unmapper, ino, (u64)off, size,
			   fuse_req_ctx(req)->pid, session_waited_ns()))
		return true;

	session_again(AGAIN_IF_ROOM);
	reply_none(req);
	return false;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct fs *fs = s->fs;
	struct cache_read rd;
	size_t room;
	ssize_t ret;

	if (control_owns(ino)) {
		control_op_read(req, fi->fh, (u64)off, size);
		return;
	}

	rd.bounce = session_scratch(&room);
	if (off < 0 || room < CACHE_READ_MAX_PAGES * PAGE_SIZE) {
		reply_err(req, -EINVAL);
		return;
	}

	size = min(size, SESSION_MAX_WRITE);
	if (!may_fill(req, ino, off, size, fi))
		return;
	ret = fs_read(fs, fi->fh, (u64)off, size, &rd);
	if (ret < 0) {
		reply_err(req, (int)ret);
		return;
	}
	if (!fi->lock_owner && ret)
		note_kernel_read(req, ino, fi->fh, &rd.fault);
	/* of a short answer it keeps zeros too; in writeback mode it knows its
	 * holes itself */
	if ((!fi->lock_owner || !s->own) && !s->writeback && size)
		fs_note_filled(fs, fi->fh, (u64)off, size);
	reply_read(req, &rd);
	cache_read_done(fs_cache(fs), &rd);
}

/*
 * A mapped store that the kernel brings now, or a gathered write in writeback
 * mode: nobody waits for it who could be slowed or told, so it is neither. The
 * handle is any one that the kernel has of the file, or none by now.
 */
static void write_page(fuse_req_t req, u64 ino, u64 fh, u64 pos,
		       const void *buf, size_t len)
{
	struct fs *fs = session_of(req)->fs;
	u64 pause;
	bool retry;
	ssize_t ret;

	ret = fs_write(fs, fh, pos, buf, len, CACHE_WRITE_WRITEPAGE, &pause,
		       &retry);
	if (ret == -EBADF)
		ret = fs_write_ino(fs, ino, pos, buf, len,
				   CACHE_WRITE_WRITEPAGE);
	if (ret < 0)
		reply_err(req, (int)ret);
	else
		reply_write(req, (size_t)ret);
}

static void write_now(fuse_req_t req, u64 fh, u64 pos, const void *buf,
		      size_t len)
{
	struct late_write late = {.fh = fh,
				  .pos = pos,
				  .buf = buf,
				  .len = len,
				  .flags = write_flags(session_of(req))};
	u64 pause = 0;
	bool retry = false;
	ssize_t ret;

	ret = fs_write(session_of(req)->fs, fh, pos, buf, len, late.flags,
		       &pause, &retry);
	if (ret == -ENOSPC && retry)
		defer_retry(req, &late);
	else if (ret < 0)
		reply_err(req, (int)ret);
	else
		defer_written(req, (size_t)ret, pause);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	      off_t off, struct fuse_file_info *fi)
{
	if (control_owns(ino))
		control_op_write(req, fi->fh, (u64)off, buf, size);
	else if (off < 0)
		reply_err(req, -EINVAL);
	else if (fi->writepage)
		write_page(req, ino, fi->fh, (u64)off, buf, size);
	else
		write_now(req, fi->fh, (u64)off, buf, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	      struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct fs_done *done;

	if (control_owns(ino)) {
		reply_err(req, 0);
		return;
	}

	/* all that was written has come */
	if (s->writeback && fs_take_late(s->fs, ino))
		session_inval_attr(s, ino);
	done = defer_err(req);
	if (done)
		fs_fsync(s->fs, fi->fh, datasync != 0, done);
}

/* ---- space and holes ---- */

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		  off_t len, struct fuse_file_info *fi)
{
	struct late_fallocate what = {
		.fh = fi->fh,
		.mode = mode | (int)flags_of_user(req),
		.pos = (u64)off,
		.len = (u64)len,
	};
	int err;

	if (control_owns(ino))
		err = -EOPNOTSUPP;
	else if (off < 0 || len <= 0)
		err = -EINVAL;
	else
		err = fs_fallocate(session_of(req)->fs, what.fh, what.mode,
				   what.pos, what.len);

	if (err == -ENOSPC)
		defer_fallocate(req, &what);
	else
		reply_err(req, err);
}

/* In writeback mode holes may have pages in the kernel that we know nothing
 * of: ENOSYS makes it take all for data, in every file from then on. */
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	s64 pos;

	if (s->writeback)
		pos = -ENOSYS;
	else if (control_owns(ino))
		pos = -EINVAL;
	else if (off < 0)
		pos = -ENXIO;
	else
		pos = fs_lseek(s->fs, fi->fh, (u64)off, whence);

	if (pos < 0)
		reply_err(req, (int)pos);
	else
		reply_lseek(req, (u64)pos);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			off_t off_out, struct fuse_file_info *fi_out,
			size_t len, int flags)
{
	ssize_t ret;

	if (control_owns(ino_in) || control_owns(ino_out))
		ret = -EOPNOTSUPP;
	else if (off_in < 0 || off_out < 0 || flags)
		ret = -EINVAL;
	else
		ret = fs_copy_file_range(session_of(req)->fs, fi_in->fh,
					 (u64)off_in, fi_out->fh, (u64)off_out,
					 min(len, COPY_RANGE_MAX),
					 flags_of_user(req));

	/* The kernel copies by itself then, by writes: these are tried again
	 * after a commit. */
	if (ret == -ENOSPC)
		ret = -EOPNOTSUPP;
	if (ret < 0)
		reply_err(req, (int)ret);
	else
		reply_write(req, (size_t)ret);
}

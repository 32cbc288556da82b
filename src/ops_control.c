/* SPDX-License-Identifier: MIT */
/*
 * Operations on control files. Their handles are numbers of a list here, since
 * a pointer in a request would be believed: an open control file is looked up,
 * and kept while a request uses it even if another one closes it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "deferred.h"
#include "ops.h"
#include "reply.h"

/* ---- handles ---- */

struct open_control {
	/* under the session's lock */
	struct list_head node;
	unsigned refs; /* the handle, and who uses it */
	bool closed;

	/* constant */
	u64 fh;
	struct control_file *file;
};

static struct open_control *find_locked(struct session *s, u64 fh)
{
	struct open_control *open;

	list_for_each_entry (open, &s->open_controls, node) {
		if (open->fh == fh && !open->closed)
			return open;
	}
	return NULL;
}

static struct open_control *handle_get(struct session *s, u64 fh)
{
	struct open_control *open;

	mutex_lock(&s->lock);
	open = find_locked(s, fh);
	if (open)
		open->refs++;
	mutex_unlock(&s->lock);
	return open;
}

static void handle_put(struct session *s, struct open_control *open)
{
	bool last;

	mutex_lock(&s->lock);
	last = --open->refs == 0;
	if (last)
		list_del(&open->node);
	mutex_unlock(&s->lock);

	if (last) {
		control_release(open->file);
		free(open);
	}
}

static int handle_new(struct session *s, struct control_file *file, u64 *ret_fh)
{
	struct open_control *open = calloc(1, sizeof(*open));

	if (!open)
		return -ENOMEM;

	open->file = file;
	open->refs = 1;
	mutex_lock(&s->lock);
	open->fh = *ret_fh = ++s->next_control_fh;
	list_add(&open->node, &s->open_controls);
	mutex_unlock(&s->lock);
	return 0;
}

void control_handle_close(struct session *s, u64 fh)
{
	struct open_control *open;

	mutex_lock(&s->lock);
	open = find_locked(s, fh);
	if (open)
		open->closed = true;
	mutex_unlock(&s->lock);

	if (open)
		handle_put(s, open);
}

void control_ops_done(struct session *s)
{
	struct open_control *open, *next;

	list_for_each_entry_safe (open, next, &s->open_controls, node)
		handle_put(s, open);
}

/* ---- operations ---- */

void control_op_lookup(fuse_req_t req, u64 parent, const char *name)
{
	struct session *s = session_of(req);
	struct stat st;
	double timeout;
	int err = control_lookup(s->control, parent, name, &st, &timeout);

	if (err)
		reply_err(req, err);
	else
		reply_control_entry(req, &st, timeout);
}

void control_op_getattr(fuse_req_t req, u64 ino)
{
	struct stat st;
	int err = control_getattr(session_of(req)->control, ino, &st);

	if (err)
		reply_err(req, err);
	else if (session_opcode() == WIRE_STATX)
		reply_statx(req, &st, NULL, 0);
	else
		reply_attr(req, &st, 0);
}

/* Cutting to nothing is what `>` does, and means nothing here. */
void control_op_setattr(fuse_req_t req, u64 ino, unsigned set)
{
	const unsigned meant = FS_SET_MODE | FS_SET_UID | FS_SET_GID;

	if ((set & FS_SET_SIZE) && !(set & meant))
		control_op_getattr(req, ino);
	else
		reply_err(req, -EPERM);
}

void control_op_opendir(fuse_req_t req, u64 ino, struct fuse_file_info *fi)
{
	struct stat st;
	int err = control_getattr(session_of(req)->control, ino, &st);

	if (!err && !S_ISDIR(st.st_mode))
		err = -ENOTDIR;
	if (err) {
		reply_err(req, err);
		return;
	}

	/* There is nothing to a handle of a folder here; 0 is none. */
	fi->fh = 0;
	reply_control_open(req, fi);
}

static void open_now(fuse_req_t req, u64 ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct control_file *file;
	int err = control_open(s->control, ino, fi->flags & ~O_TRUNC, &file);

	if (!err) {
		err = handle_new(s, file, &fi->fh);
		if (err)
			control_release(file);
	}
	if (err) {
		reply_err(req, err);
		return;
	}

	fi->direct_io = 1;
	reply_control_open(req, fi);
}

/* What is mapped is what the tracker saw last: let it look now. */
void control_op_open(fuse_req_t req, u64 ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);

	if (s->tracker && control_shows_mappings(ino))
		defer_scan(req, ino, fi, open_now);
	else
		open_now(req, ino, fi);
}

void control_op_read(fuse_req_t req, u64 fh, u64 pos, size_t size)
{
	struct session *s = session_of(req);
	struct open_control *open = handle_get(s, fh);
	size_t room;
	void *buf = session_scratch(&room);
	ssize_t ret = -EBADF;

	if (open) {
		ret = control_read(open->file, pos, buf, min(size, room));
		handle_put(s, open);
	}
	if (ret < 0)
		reply_err(req, (int)ret);
	else
		reply_buf(req, buf, (size_t)ret);
}

void control_op_write(fuse_req_t req, u64 fh, u64 pos, const void *buf,
		      size_t len)
{
	struct session *s = session_of(req);
	struct open_control *open = handle_get(s, fh);
	struct fs_done *done;

	if (!open) {
		reply_err(req, -EBADF);
		return;
	}

	done = defer_count(req, len);
	if (done)
		control_write(open->file, pos, buf, len, done);
	handle_put(s, open);
}

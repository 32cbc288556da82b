/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "deferred.h"
#include "ops.h"
#include "reply.h"

static bool is_control_name(u64 parent, const char *name)
{
	return parent == FS_ROOT_INO && !strcmp(name, CONTROL_NAME);
}

int name_may_change(u64 parent, const char *name)
{
	if (control_owns(parent))
		return -EPERM;
	return is_control_name(parent, name) ? -EBUSY : 0;
}

/* ---- names ---- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = session_of(req)->fs;
	struct stat st;
	int err;

	if (control_owns(parent) || is_control_name(parent, name)) {
		control_op_lookup(req, parent, name);
		return;
	}

	err = fs_lookup(fs, parent, name, &st);
	if (err == -ENOENT)
		reply_no_entry(req);
	else if (err)
		reply_err(req, err);
	else
		reply_entry(req, &st);
}

static void forget(struct fs *fs, u64 ino, u64 nlookup)
{
	if (!control_owns(ino))
		fs_forget(fs, ino, nlookup);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, u64 nlookup)
{
	forget(session_of(req)->fs, ino, nlookup);
	reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets)
{
	struct fs *fs = session_of(req)->fs;

	for (size_t i = 0; i < count; i++)
		forget(fs, forgets[i].ino, forgets[i].nlookup);
	reply_none(req);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[FS_SYMLINK_MAX + 1];
	int err = -EINVAL;

	if (!control_owns(ino))
		err = fs_readlink(session_of(req)->fs, ino, target,
				  sizeof(target));
	if (err)
		reply_err(req, err);
	else
		reply_readlink(req, target);
}

static void reply_made(fuse_req_t req, int err, const struct stat *st)
{
	if (err)
		reply_err(req, err);
	else
		reply_entry(req, st);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev)
{
	struct fs_cred cred = cred_of(req);
	struct stat st;
	int err = name_may_change(parent, name);

	if (!err)
		err = fs_mknod(session_of(req)->fs, parent, name, mode, rdev,
			       &cred, &st);
	reply_made(req, err, &st);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs_cred cred = cred_of(req);
	struct stat st;
	int err = name_may_change(parent, name);

	if (!err)
		err = fs_mkdir(session_of(req)->fs, parent, name, mode, &cred,
			       &st);
	reply_made(req, err, &st);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name)
{
	struct fs_cred cred = cred_of(req);
	struct stat st;
	int err = name_may_change(parent, name);

	if (!err)
		err = fs_symlink(session_of(req)->fs, parent, name, target,
				 &cred, &st);
	reply_made(req, err, &st);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	     const char *newname)
{
	struct stat st;
	int err = name_may_change(newparent, newname);

	if (!err && control_owns(ino))
		err = -EPERM;
	if (!err)
		err = fs_link(session_of(req)->fs, ino, newparent, newname,
			      &st);
	if (err)
		reply_err(req, err);
	else
		defer_settled(req, &st);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = name_may_change(parent, name);

	if (!err)
		err = fs_unlink(session_of(req)->fs, parent, name);
	reply_err(req, err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = name_may_change(parent, name);

	if (!err)
		err = fs_rmdir(session_of(req)->fs, parent, name);
	reply_err(req, err);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct fs_cred cred = cred_of(req);
	int err = name_may_change(parent, name);

	if (!err)
		err = name_may_change(newparent, newname);
	if (!err)
		err = fs_rename(session_of(req)->fs, parent, name, newparent,
				newname, flags, &cred);
	if (err)
		reply_err(req, err);
	else
		defer_settled(req, NULL);
}

/* ---- folders ---- */

/*
 * What is read through a folder opened with cache_readdir the kernel keeps, for
 * all who open it so. Who begins a listing looks whether the folder has changed
 * since; changes and getdents(2) exclude each other, and no name changes but by
 * the kernel's request. So much is sound. But who is in the midst of a listing
 * goes on in that cache without a look (fs/fuse/readdir.c, Linux 6.18):
 *
 * - It may have been begun by another before a change, and be finished by that
 *   one only now: one's own listing, begun after the change, then has what was
 *   removed and lacks what was made.
 * - It may have been made anew by another. If the entry where one had stopped
 *   is gone then, the kernel asks us for the rest, unless the cache ends with a
 *   page: that is taken for the end of the folder, and names that were there
 *   all the time are missing.
 *
 * So of all who have a folder open at one time, one has it open so: nobody else
 * touches the cache meanwhile. The others ask us.
 */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int err;

	if (control_owns(ino)) {
		control_op_opendir(req, ino, fi);
		return;
	}

	err = fs_opendir(session_of(req)->fs, ino, fi->flags, &fi->fh);
	if (err) {
		reply_err(req, err);
		return;
	}
	fi->cache_readdir = fs_takes_listing(session_of(req)->fs, fi->fh);
	fi->keep_cache = 1;
	reply_opendir(req, fi);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int err = 0;

	if (!control_owns(ino))
		err = fs_releasedir(session_of(req)->fs, fi->fh);
	reply_err(req, err);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		 struct fuse_file_info *fi)
{
	struct fs_done *done;

	(void)datasync;
	(void)fi;
	if (control_owns(ino)) {
		reply_err(req, 0);
		return;
	}

	done = defer_err(req);
	if (done)
		fs_fsyncdir(session_of(req)->fs, ino, done);
}

/* An answer to READDIR or READDIRPLUS that is being filled. */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t size;
	size_t used;
	bool plus;
	bool control; /* of a control folder: no look-up references */
};

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Node id 0: the kernel is to take the name alone. */
static size_t add_plus(struct listing *l, size_t left, const char *name,
		       const struct stat *st, u64 next_off)
{
	struct fuse_entry_param e = {
		.ino = l->control || is_dots(name) ? 0 : st->st_ino,
		.attr = *st,
		.attr_timeout = session_attr_timeout(session_of(l->req), st),
		.entry_timeout = SESSION_TIMEOUT,
	};

	return fuse_add_direntry_plus(l->req, l->buf + l->used, left, name, &e,
				      (off_t)next_off);
}

static bool listing_fill(void *arg, const char *name, const struct stat *st,
			 u64 next_off)
{
	struct listing *l = arg;
	size_t left = l->size - l->used;
	size_t need;

	if (l->plus)
		need = add_plus(l, left, name, st, next_off);
	else
		need = fuse_add_direntry(l->req, l->buf + l->used, left, name,
					 st, (off_t)next_off);
	if (need > left)
		return false;

	l->used += need;
	return true;
}

static void list_folder(fuse_req_t req, u64 ino, size_t size, u64 off, u64 fh,
			bool plus)
{
	struct session *s = session_of(req);
	struct listing l = {
		.req = req, .plus = plus, .control = control_owns(ino)};
	int err;

	l.buf = session_scratch(&l.size);
	l.size = min(l.size, size);
	if (l.control)
		err = control_readdir(s->control, ino, off, listing_fill, &l);
	else
		err = fs_readdir(s->fs, fh, off, plus, listing_fill, &l);

	/* An error behind some entries will come again, and first. */
	if (err && !l.used)
		reply_err(req, err);
	else if (plus)
		reply_direntplus(req, l.buf, l.used);
	else
		reply_buf(req, l.buf, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi)
{
	list_folder(req, ino, size, (u64)off, fi->fh, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	list_folder(req, ino, size, (u64)off, fi->fh, true);
}

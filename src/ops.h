/* SPDX-License-Identifier: MIT */
/*
 * The FUSE operations, by what they are about: names and folders in ops_dir.c,
 * open files in ops_file.c, ioctl in ops_ioctl.c, attributes in ops_attr.c,
 * extended ones in ops_xattr.c. Each takes its request apart, calls struct fs
 * or struct control, and answers through src/reply.h or src/deferred.h.
 *
 * Node ids of control files (control_owns()) go to ops_control.c. Nothing is
 * assumed of ids and handles: wrong ones are -EBADF or -ENOENT from below.
 */
#ifndef FOLIO_OPS_H
#define FOLIO_OPS_H

#include "session.h"

extern const struct fuse_lowlevel_ops session_ops;

/* Which features to ask for; src/session.c. */
void session_init_conn(struct session *s, struct fuse_conn_info *conn);

static inline struct fs_cred cred_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_cred){
		.uid = ctx->uid,
		.gid = ctx->gid,
		.umask = session_agreed(session_of(req), FUSE_DONT_MASK)
				 ? ctx->umask
				 : 0,
	};
}

/*
 * May @name in @parent be made, removed or replaced?
 * Return: 0, -EBUSY (CONTROL_NAME in the root) or -EPERM (in control folders).
 */
int name_may_change(u64 parent, const char *name);

/* ---- ops_dir.c ---- */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, u64 nlookup);
void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t newparent, const char *newname, unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	     const char *newname);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		 struct fuse_file_info *fi);

/* ---- ops_file.c ---- */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	      off_t off, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	      struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		  off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			off_t off_out, struct fuse_file_info *fi_out,
			size_t len, int flags);

/* ---- ops_ioctl.c ---- */
void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
	      struct fuse_file_info *fi, unsigned flags, const void *in_buf,
	      size_t in_size, size_t out_size);

/* ---- ops_attr.c ---- */
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- ops_xattr.c ---- */
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		 const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* ---- ops_control.c ---- */
void control_op_lookup(fuse_req_t req, u64 parent, const char *name);
void control_op_getattr(fuse_req_t req, u64 ino);
void control_op_setattr(fuse_req_t req, u64 ino, unsigned set);
void control_op_opendir(fuse_req_t req, u64 ino, struct fuse_file_info *fi);
void control_op_open(fuse_req_t req, u64 ino, struct fuse_file_info *fi);
void control_op_read(fuse_req_t req, u64 fh, u64 pos, size_t size);
void control_op_write(fuse_req_t req, u64 fh, u64 pos, const void *buf,
		      size_t len);

/* The kernel lets go of a handle. */
void control_handle_close(struct session *s, u64 fh);

/* Let go of all that are left: the connection was cut. */
void control_ops_done(struct session *s);

#endif

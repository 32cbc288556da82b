/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>

#include "ops.h"
#include "reply.h"

/* FUSE's bits and those of struct fs are the same numbers. */
_Static_assert((int)FS_SET_MODE == FATTR_MODE, "mode");
_Static_assert((int)FS_SET_UID == FATTR_UID, "uid");
_Static_assert((int)FS_SET_GID == FATTR_GID, "gid");
_Static_assert((int)FS_SET_SIZE == FATTR_SIZE, "size");
_Static_assert((int)FS_SET_ATIME == FATTR_ATIME, "atime");
_Static_assert((int)FS_SET_MTIME == FATTR_MTIME, "mtime");
_Static_assert((int)FS_SET_ATIME_NOW == FATTR_ATIME_NOW, "atime now");
_Static_assert((int)FS_SET_MTIME_NOW == FATTR_MTIME_NOW, "mtime now");
_Static_assert((int)FS_SET_CTIME == FATTR_CTIME, "ctime");
_Static_assert((int)FS_SET_KILL_SUID == FATTR_KILL_SUIDGID, "kill");

#define FS_SET_ALL                                                            \
	(FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE | FS_SET_ATIME | \
	 FS_SET_MTIME | FS_SET_ATIME_NOW | FS_SET_MTIME_NOW | FS_SET_CTIME |  \
	 FS_SET_KILL_SUID)

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct timespec btime;
	struct stat st;
	int err;

	(void)fi;
	if (control_owns(ino)) {
		control_op_getattr(req, ino);
		return;
	}

	err = fs_getattr(session_of(req)->fs, ino, &st);
	if (!err && session_opcode() == WIRE_STATX)
		err = fs_btime(session_of(req)->fs, ino, &btime);
	if (err)
		reply_err(req, err);
	else if (session_opcode() == WIRE_STATX)
		reply_statx(req, &st, &btime,
			    session_attr_timeout(session_of(req), &st));
	else
		reply_attr(req, &st,
			   session_attr_timeout(session_of(req), &st));
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	unsigned set = (unsigned)to_set & FS_SET_ALL;
	struct stat st;
	int err;

	if (control_owns(ino)) {
		control_op_setattr(req, ino, set);
		return;
	}

	err = fs_setattr(session_of(req)->fs, ino, fi ? fi->fh : 0, attr, set,
			 &st);
	if (err)
		reply_err(req, err);
	else
		reply_attr(req, &st,
			   session_attr_timeout(session_of(req), &st));
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int err = fs_statfs(session_of(req)->fs, &st);

	(void)ino;
	if (err)
		reply_err(req, err);
	else
		reply_statfs(req, &st);
}

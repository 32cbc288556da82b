/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "ops.h"
#include "reply.h"

/* ACLs mean something only if the kernel checks permissions by them. */
static int check_name(fuse_req_t req, const char *name)
{
	if (acl_is_name(name) &&
	    !session_agreed(session_of(req), FUSE_POSIX_ACL))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * libfuse 3.13.0 to 3.14.0 take the name to begin eight bytes too far on, as
 * if SETXATTR_EXT had been agreed on: name and value are taken from the
 * request as it came.
 */
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		 const char *value, size_t size, int flags)
{
	const struct fuse_setxattr_in *in = session_argument();
	bool ext = session_agreed(session_of(req), FUSE_SETXATTR_EXT);
	int err = -EPERM;

	name = (const char *)in +
	       (ext ? sizeof(*in) : FUSE_COMPAT_SETXATTR_IN_SIZE);
	value = name + strlen(name) + 1;
	if (ext && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID)
		flags |= FS_XATTR_KILL_SGID;
	if (!control_owns(ino))
		err = check_name(req, name);
	if (!err)
		err = fs_setxattr(session_of(req)->fs, ino, name, value, size,
				  flags);
	reply_err(req, err);
}

/* @ret: bytes in @buf, or needed when the program asked with a size of 0. */
static void reply_value(fuse_req_t req, ssize_t ret, const void *buf,
			size_t size)
{
	if (ret < 0)
		reply_err(req, (int)ret);
	else if (!size)
		reply_xattr_size(req, (size_t)ret);
	else if ((size_t)ret > size)
		reply_err(req, -ERANGE);
	else
		reply_buf(req, buf, (size_t)ret);
}

/* What the cache has of a file. */
static void reply_stat(fuse_req_t req, u64 ino, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	int err;

	err = control_stat_of(session_of(req)->control, ino,
			      fuse_req_ctx(req)->uid, &text, &len);
	if (err == -ENOENT)
		err = -ENODATA;
	reply_value(req, err ? err : (ssize_t)len, text, size);
	free(text);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	size_t room;
	void *buf = session_scratch(&room);
	ssize_t ret = -ENODATA;

	if (!control_owns(ino) && !strcmp(name, FS_XATTR_STAT)) {
		reply_stat(req, ino, size);
		return;
	}
	size = min(size, room);
	if (!control_owns(ino))
		ret = check_name(req, name);
	if (!ret)
		ret = fs_getxattr(session_of(req)->fs, ino, name, buf, size);
	reply_value(req, ret, buf, size);
}

/*
 * Linux shows the names of trusted. to who has CAP_SYS_ADMIN. Of capabilities
 * a request says nothing, and /proc/PID is no place to wait for; root has them
 * but in odd containers, and the values are the kernel's to refuse in any case.
 */
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	bool trusted = !fuse_req_ctx(req)->uid;
	size_t room;
	void *buf = session_scratch(&room);
	ssize_t ret = 0;

	size = min(size, room);
	if (!control_owns(ino))
		ret = fs_listxattr(session_of(req)->fs, ino, trusted, buf,
				   size);
	reply_value(req, ret, buf, size);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	int err = -EPERM;

	if (!control_owns(ino))
		err = check_name(req, name);
	if (!err)
		err = fs_removexattr(session_of(req)->fs, ino, name);
	reply_err(req, err);
}

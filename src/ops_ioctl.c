/* SPDX-License-Identifier: MIT */
/*
 * ioctl(2): the flags of chattr(1), in both of their forms, and the generation
 * of an inode. The kernel takes these numbers and sizes from programs of 32
 * bits as well, and sends them as ours.
 */
#include "config.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "deferred.h"
#include "foliofs.h"
#include "ops.h"
#include "reply.h"

/* Flags and those of struct fsxattr. */
static const struct {
	u32 flag, xflag;
} pairs[] = {
	{FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
	{FS_APPEND_FL, FS_XFLAG_APPEND},
	{FS_NODUMP_FL, FS_XFLAG_NODUMP},
};

static u32 to_xflags(u32 flags)
{
	u32 xflags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		xflags |= flags & pairs[i].flag ? pairs[i].xflag : 0;
	return xflags;
}

/* Return: -EOPNOTSUPP where one has no counterpart. */
static int from_xflags(u32 xflags, u32 *ret_flags)
{
	u32 flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		flags |= xflags & pairs[i].xflag ? pairs[i].flag : 0;
		xflags &= ~pairs[i].xflag;
	}
	*ret_flags = flags;
	return xflags ? -EOPNOTSUPP : 0;
}

/* An answer, or what came with the request. */
struct exchange {
	const void *in;
	size_t in_size;
	char out[sizeof(struct fsxattr)];
	size_t out_size; /* room the program has, then what is used of it */
};

static int answer(struct exchange *x, const void *value, size_t size)
{
	if (x->out_size < size)
		return -EINVAL;
	memcpy(x->out, value, size);
	x->out_size = size;
	return 0;
}

static int take(const struct exchange *x, void *ret, size_t size)
{
	if (x->in_size < size)
		return -EINVAL;
	memcpy(ret, x->in, size);
	return 0;
}

static int get_flags(struct fs *fs, u64 ino, struct exchange *x)
{
	u32 flags = 0;
	int err = fs_get_flags(fs, ino, &flags);

	return err ? err : answer(x, &flags, sizeof(flags));
}

static int get_fsxattr(struct fs *fs, u64 ino, struct exchange *x)
{
	struct fsxattr fa = {0};
	u32 flags = 0;
	int err = fs_get_flags(fs, ino, &flags);

	if (err)
		return err;
	fa.fsx_xflags = to_xflags(flags);
	return answer(x, &fa, sizeof(fa));
}

/* The type of the number says long, but an int is what it takes and gives. */
static int get_version(struct fs *fs, u64 ino, struct exchange *x)
{
	u64 generation = 0;
	u32 version;
	int err = fs_generation(fs, ino, &generation);

	if (err)
		return err;
	version = (u32)generation;
	return answer(x, &version, sizeof(version));
}

static int set_flags(struct fs *fs, u64 ino, const struct fs_cred *cred,
		     struct exchange *x)
{
	u32 flags = 0;
	int err = take(x, &flags, sizeof(flags));

	x->out_size = 0;
	return err ? err : fs_set_flags(fs, ino, flags, cred);
}

static int set_fsxattr(struct fs *fs, u64 ino, const struct fs_cred *cred,
		       struct exchange *x)
{
	struct fsxattr fa = {0};
	u32 flags = 0;
	int err = take(x, &fa, sizeof(fa));

	x->out_size = 0;
	if (!err && (fa.fsx_extsize || fa.fsx_projid || fa.fsx_cowextsize))
		err = -EOPNOTSUPP;
	if (err)
		return err;

	err = from_xflags(fa.fsx_xflags, &flags);
	return err ? err : fs_set_flags(fs, ino, flags, cred);
}

/* Files to be committed together, by a program that has vm/sync open. */
static void commit_files(fuse_req_t req, const void *in, size_t in_size)
{
	const struct foliofs_commit *c = in;
	struct fs_done *done;

	if (in_size < sizeof(*c) || c->flags) {
		reply_err(req, -EINVAL);
		return;
	}
	done = defer_ioctl(req);
	if (done)
		fs_commit_files(session_of(req)->fs, c->ino, c->nr, done);
}

void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
	      struct fuse_file_info *fi, unsigned flags, const void *in_buf,
	      size_t in_size, size_t out_size)
{
	struct exchange x = {
		.in = in_buf, .in_size = in_size, .out_size = out_size};
	struct fs_cred cred = cred_of(req);
	struct fs *fs = session_of(req)->fs;
	int err = -ENOTTY;

	(void)arg, (void)fi, (void)flags;
	if (control_is_sync(ino) && cmd == FOLIOFS_IOC_COMMIT) {
		commit_files(req, in_buf, in_size);
		return;
	}
	if (control_owns(ino))
		; /* none of these */
	else if (cmd == FS_IOC_GETFLAGS)
		err = get_flags(fs, ino, &x);
	else if (cmd == FS_IOC_SETFLAGS)
		err = set_flags(fs, ino, &cred, &x);
	else if (cmd == FS_IOC_FSGETXATTR)
		err = get_fsxattr(fs, ino, &x);
	else if (cmd == FS_IOC_FSSETXATTR)
		err = set_fsxattr(fs, ino, &cred, &x);
	else if (cmd == FS_IOC_GETVERSION)
		err = get_version(fs, ino, &x);

	if (err)
		reply_err(req, err);
	else
		reply_ioctl(req, x.out, x.out_size);
}

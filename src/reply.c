/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "reply.h"

#include <errno.h>

#include "ops.h"

void reply_err(fuse_req_t req, int err)
{
	lock_assert_none();
	if (err == -ERESTART) {
		session_again(AGAIN_AFTER_COMMIT);
		fuse_reply_none(req);
		return;
	}
	(void)fuse_reply_err(req, -err);
}

void reply_none(fuse_req_t req)
{
	fuse_reply_none(req);
}

/* Inode numbers are never used twice, so there are no generations to tell
 * apart. */
static struct fuse_entry_param entry_of(const struct stat *st, double timeout,
					double attr_timeout)
{
	return (struct fuse_entry_param){
		.ino = st->st_ino,
		.attr = *st,
		.attr_timeout = attr_timeout,
		.entry_timeout = timeout,
	};
}

static struct fuse_entry_param own_entry(fuse_req_t req, const struct stat *st)
{
	return entry_of(st, SESSION_TIMEOUT,
			session_attr_timeout(session_of(req), st));
}

void reply_entry(fuse_req_t req, const struct stat *st)
{
	struct fuse_entry_param e = own_entry(req, st);
	struct fs *fs = session_of(req)->fs;

	lock_assert_none();
	if (fuse_reply_entry(req, &e))
		fs_forget(fs, st->st_ino, 1);
}

void reply_no_entry(fuse_req_t req)
{
	struct fuse_entry_param e = {.entry_timeout = SESSION_TIMEOUT};

	lock_assert_none();
	(void)fuse_reply_entry(req, &e);
}

void reply_control_entry(fuse_req_t req, const struct stat *st, double timeout)
{
	struct fuse_entry_param e = entry_of(st, timeout, timeout);

	lock_assert_none();
	(void)fuse_reply_entry(req, &e);
}

void reply_create(fuse_req_t req, const struct stat *st,
		  const struct fuse_file_info *fi)
{
	struct fuse_entry_param e = own_entry(req, st);
	struct fs *fs = session_of(req)->fs;

	lock_assert_none();
	if (fuse_reply_create(req, &e, fi)) {
		(void)fs_release(fs, fi->fh);
		fs_forget(fs, st->st_ino, 1);
	}
}

void reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct fs *fs = session_of(req)->fs;

	lock_assert_none();
	if (fuse_reply_open(req, fi))
		(void)fs_release(fs, fi->fh);
}

void reply_opendir(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct fs *fs = session_of(req)->fs;

	lock_assert_none();
	if (fuse_reply_open(req, fi))
		(void)fs_releasedir(fs, fi->fh);
}

void reply_control_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct session *s = session_of(req);

	lock_assert_none();
	if (fuse_reply_open(req, fi))
		control_handle_close(s, fi->fh);
}

void reply_attr(fuse_req_t req, const struct stat *st, double timeout)
{
	lock_assert_none();
	(void)fuse_reply_attr(req, st, timeout);
}

void reply_statx(fuse_req_t req, const struct stat *st,
		 const struct timespec *btime, double timeout)
{
	struct wire_statx_out out;

	wire_fill_statx(&out, st, btime);
	out.attr_valid = (u64)timeout; /* whole seconds, all of ours */
	reply_buf(req, &out, sizeof(out));
}

void reply_readlink(fuse_req_t req, const char *target)
{
	lock_assert_none();
	(void)fuse_reply_readlink(req, target);
}

void reply_buf(fuse_req_t req, const void *buf, size_t len)
{
	lock_assert_none();
	(void)fuse_reply_buf(req, buf, len);
}

void reply_direntplus(fuse_req_t req, const void *buf, size_t len)
{
	struct fs *fs = session_of(req)->fs;
	const struct fuse_direntplus *entry;
	size_t pos = 0;

	lock_assert_none();
	if (!fuse_reply_buf(req, buf, len))
		return;

	while ((entry = wire_next_direntplus(buf, len, &pos))) {
		if (entry->entry_out.nodeid)
			fs_forget(fs, entry->entry_out.nodeid, 1);
	}
}

void reply_read(fuse_req_t req, const struct cache_read *rd)
{
	lock_assert_none();
	(void)fuse_reply_iov(req, rd->iov, (int)rd->nr_iov);
}

void reply_write(fuse_req_t req, size_t count)
{
	lock_assert_none();
	(void)fuse_reply_write(req, count);
}

void reply_ioctl(fuse_req_t req, const void *buf, size_t len)
{
	lock_assert_none();
	(void)fuse_reply_ioctl(req, 0, buf, len);
}

void reply_xattr_size(fuse_req_t req, size_t size)
{
	lock_assert_none();
	(void)fuse_reply_xattr(req, size);
}

void reply_statfs(fuse_req_t req, const struct statvfs *st)
{
	lock_assert_none();
	(void)fuse_reply_statfs(req, st);
}

void reply_lseek(fuse_req_t req, u64 pos)
{
	lock_assert_none();
	(void)fuse_reply_lseek(req, (off_t)pos);
}

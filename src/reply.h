/* SPDX-License-Identifier: MIT */
/*
 * The only place that answers FUSE requests. Errors are 0 or -errno.
 *
 * An answer can fail to reach the kernel: the program was killed and the
 * request taken back, or the mount is gone. What the answer would have handed
 * over, a look-up reference or a handle, is dropped here then.
 *
 * Context: no lock is held; debug builds abort otherwise.
 */
#ifndef FOLIO_REPLY_H
#define FOLIO_REPLY_H

#include "session.h"

/* -ERESTART (src/fs.h) is no answer: the request will be served again. */
void reply_err(fuse_req_t req, int err);
void reply_none(fuse_req_t req);

/* @st->st_ino, to which the caller has taken a look-up reference. */
void reply_entry(fuse_req_t req, const struct stat *st);

/* There is no such name, and the kernel may remember that. */
void reply_no_entry(fuse_req_t req);

/* One of the control files: no references; @timeout in seconds. */
void reply_control_entry(fuse_req_t req, const struct stat *st, double timeout);

/* The new file and @fi->fh, an open handle of it. */
void reply_create(fuse_req_t req, const struct stat *st,
		  const struct fuse_file_info *fi);

/* @fi->fh: of a file, of a folder, of a control file. */
void reply_open(fuse_req_t req, const struct fuse_file_info *fi);
void reply_opendir(fuse_req_t req, const struct fuse_file_info *fi);
void reply_control_open(fuse_req_t req, const struct fuse_file_info *fi);

void reply_attr(fuse_req_t req, const struct stat *st, double timeout);
/* To FUSE_STATX; @btime may be NULL. */
void reply_statx(fuse_req_t req, const struct stat *st,
		 const struct timespec *btime, double timeout);
void reply_readlink(fuse_req_t req, const char *target);
void reply_buf(fuse_req_t req, const void *buf, size_t len);

/* Entries made with fuse_add_direntry_plus(), each with its reference. */
void reply_direntplus(fuse_req_t req, const void *buf, size_t len);

/* Pinned frames and bounced pages, sent from where they lie. */
void reply_read(fuse_req_t req, const struct cache_read *rd);
void reply_write(fuse_req_t req, size_t count);
/* @len bytes of an answer to ioctl(2), which returns 0. */
void reply_ioctl(fuse_req_t req, const void *buf, size_t len);
void reply_xattr_size(fuse_req_t req, size_t size);
void reply_statfs(fuse_req_t req, const struct statvfs *st);
void reply_lseek(fuse_req_t req, u64 pos);

#endif

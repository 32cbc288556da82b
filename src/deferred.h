/* SPDX-License-Identifier: MIT */
/*
 * Answers that are given later, by another thread, so that no worker waits.
 *
 *	fsync and the like	defer_err()	when the committer is done
 *	a throttled write	defer_written()	when its pause is over
 *	a write without space	defer_retry()	after commits, each with a new
 *try
 *	fallocate without space	defer_fallocate()	after a commit and a
 *second try a change while too many are pending defer_request()
 *the same opening what the unmapper is at; the kernel's own reads while it has
 *	too many pages
 *				defer_request()		some milliseconds later
 *	a control file		defer_count()	when what it began is done
 *	rename, link		defer_settled()	when the file came with its name
 *	one that shows mappings	defer_scan()	when the tracker has looked
 *
 * Each request is answered exactly once, by whoever comes first to the end of
 * one of these ways; there are no two ways for the same request.
 *
 * Interrupts: a paused write answers at once with what it has written. The
 * others finish: they wait for a commit, which takes its time whoever waits,
 * and programs take an fsync or write to a file that says EINTR for a broken
 * disk, as no other filesystem does that to them.
 */
#ifndef FOLIO_DEFERRED_H
#define FOLIO_DEFERRED_H

#include "session.h"

/* A write that is to be tried again. */
struct late_write {
	u64 fh;
	u64 pos;
	const void *buf; /* copied */
	size_t len;
	unsigned flags; /* fs_write()'s */
};

/* The longest pause of a throttled writer. */
#define DEFERRED_PAUSE_MAX_NS (200 * NSEC_PER_MSEC)

/* Data of writes and whole requests held at once for another try. Past it
 * a write is cut to DEFERRED_SHORT: it comes out short, and the rest is the
 * program's to write again. The kernel's own reads are served without delay;
 * other requests get ENOSPC. */
#define DEFERRED_HELD_MAX ((u64)8 << 20)
#define DEFERRED_SHORT ((size_t)64 << 10)

/* Answer with the error that is handed to the struct fs_done.
 * Return: NULL when out of memory; @req has been answered then. */
struct fs_done *defer_err(fuse_req_t req);

/* The same for an ioctl(2) that gives back nothing. */
struct fs_done *defer_ioctl(fuse_req_t req);

/* The same, and @count bytes written where there is no error. */
struct fs_done *defer_count(fuse_req_t req, size_t count);

/*
 * Names were changed by what @req asked for: answer, with @st (unless NULL) as
 * reply_entry() does, now or when their files' content is committed with them;
 * see fs_settle(). The change stands whatever becomes of that commit.
 */
void defer_settled(fuse_req_t req, const struct stat *st);

/* Answer that @count bytes are written when @pause_ns have passed. */
void defer_written(fuse_req_t req, size_t count, u64 pause_ns);

/* Ask for a commit, which may free space, and write again; so often at most, as
 * others may take first what a commit frees. Then answer. */
#define DEFERRED_RETRIES 8
void defer_retry(fuse_req_t req, const struct late_write *write);

/* A reservation that is to be tried again. */
struct late_fallocate {
	u64 fh;
	int mode;
	u64 pos;
	u64 len;
};

/* Ask for a commit, which may free space; reserve once more; answer. */
void defer_fallocate(fuse_req_t req, const struct late_fallocate *what);

/* A request that may be served that often after commits, then it gets ENOSPC;
 * so long after one that failed. */
#define DEFERRED_ROUNDS 3
#define DEFERRED_FAILED_NS NSEC_PER_SEC

/* After that time one is served again that was to be served again soon; twice
 * as long each time it comes to nothing. */
#define DEFERRED_SOON_NS NSEC_PER_MSEC
#define DEFERRED_SOON_MAX_NS (16 * NSEC_PER_MSEC)

/*
 * Keep a copy of a request and serve it from its beginning: AGAIN_AFTER_COMMIT,
 * which is asked for here, or AGAIN_SOON or AGAIN_IF_ROOM.
 * Return: 0; -ENOSPC or -ENOMEM: it is not kept, and not answered.
 */
int defer_request(struct session *s, const void *request, size_t len,
		  enum again when);

/* The longest wait for the tracker, and how many may stand in its list: they do
 * for as long as it is stuck, whenever they were answered. */
#define DEFERRED_SCAN_MAX_NS NSEC_PER_SEC
#define DEFERRED_SCANS 256

/* Let the tracker look at all processes, at most for DEFERRED_SCAN_MAX_NS; then
 * @fn is called, in another thread, to answer. With DEFERRED_SCANS waiting
 * already, the answer is EAGAIN. */
typedef void (*deferred_open_fn)(fuse_req_t req, u64 ino,
				 struct fuse_file_info *fi);
void defer_scan(fuse_req_t req, u64 ino, const struct fuse_file_info *fi,
		deferred_open_fn fn);

/* Wait until every answer has been given. Context: no worker runs. */
void deferred_wait_all(struct session *s);

#endif

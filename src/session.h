/* SPDX-License-Identifier: MIT */
/*
 * The connection to the kernel: workers that take requests from a descriptor,
 * and what they share.
 *
 *	session_new(); session_mount() or session_attach();
 *	session_start();
 *	poll() session_ready_fd(): INIT is answered, the mount can be used
 *	       session_ended_fd(): unmounted, or the other end is gone
 *	session_stop(); session_unmount(); session_free();
 *
 * Who waits for whom. Workers run operations; an operation may wait for the
 * volume's device and for locks, but never for another request, for the kernel
 * or for a commit. Whatever has to wait for those takes a struct deferred
 * (src/deferred.h), and its worker goes on. The kernel sends at most
 * max_background requests of its own (readahead, write-out) and any number of
 * programs' requests, so there are more workers than max_background: reads and
 * write-out that wait for the device leave some for a stat.
 *
 * One worker has one buffer, as has the retrier, for the request and, behind
 *it, for what is read when the cache has no frame to spare: a request that
 *wants an answer of that size is itself short. Pages of it that no request
 *touches cost no memory.
 *
 * All read the one descriptor. No clones of it: those of a killed daemon abort
 * the requests in flight.
 */
#ifndef FOLIO_SESSION_H
#define FOLIO_SESSION_H

#include <pthread.h>

#include "base.h"
#include "control.h"
#include "fs.h"
#include "fuse_api.h"
#include "lock.h"
#include "pacer.h"
#include "tracker.h"
#include "wire.h"

struct unmapper;

#define SESSION_MAX_BACKGROUND 12
#define SESSION_WORKERS 21
#define SESSION_MAX_WRITE ((size_t)1 << 20)

/* Entries, attributes and missing names stay good in the kernel until it hears
 * otherwise: nobody but the kernel changes the volume. Seconds. */
#define SESSION_TIMEOUT 86400.0
/*
 * Not so in writeback mode for st_blocks: what the kernel has written late
 * changes it, and only a close makes the kernel ask again. So while a file is
 * open for writing its attributes are good for this long, and an fsync has the
 * kernel forget them. (No less: to append, each write(2) needs them.)
 */
#define SESSION_TIMEOUT_WRITTEN 1.0

struct worker;

struct session {
	/* constant while workers run */
	struct fs *fs;
	struct control *control;
	struct tracker *tracker; /* NULL: nobody looks for mappings */
	bool writeback;		 /* cache=writeback */
	bool own;		 /* cache=own */
	struct fuse_session *fuse;
	struct pacer *pacer;   /* delayed answers */
	struct pacer *retrier; /* second tries: may wait for the device */
	struct worker *workers;
	char *retry_buf; /* as a worker's, for the retrier */
	unsigned nr_started;
	int ready_fd;
	int ended_fd;

	/* under lock */
	struct mutex lock;
	struct waitq idle; /* nr_deferred became 0 */
	u64 nr_deferred;
	u64 held_bytes; /* of writes and requests to be tried again */
	u32 nr_scans;	/* that the tracker knows of */
	struct list_head open_controls; /* src/ops_control.c */
	u64 next_control_fh;

	/* under park_lock */
	struct mutex park_lock; /* a leaf */
	struct worker *parked;	/* the one parked last first */
	unsigned nr_listening;	/* workers in read(), or on their way there */
	bool ended;		/* no more requests */

	/* atomic */
	u32 nr_idle;	 /* workers that wait for a request, or are parked */
	u64 init_unique; /* of the INIT request in flight */
	u64 init_flags;	 /* what it offers */
	bool broken_seen;
	struct unmapper *unmapper; /* NULL: no copies are noted */
	bool unfit;		   /* the kernel lacks what cache=own needs */
};

struct session_config {
	struct fs *fs;
	struct control *control;
	struct tracker
		*tracker; /* may be NULL; stopped before session_free() */
	bool writeback;
	bool own;
	struct unmapper *unmapper; /* may be NULL */
	bool debug;		   /* libfuse logs every request */
	/* Options for mount(2) and libfuse, "a,b=c"; may be NULL. */
	const char *mount_options;
	const char *fsname;    /* may be NULL */
	u64 (*now)(void *arg); /* for the pacer; NULL: CLOCK_MONOTONIC */
	void *now_arg;
};

/* Return: 0, -ENOMEM, -EINVAL (libfuse refuses an option, and has said so). */
int session_new(const struct session_config *cfg, struct session **ret);

/* Context: stopped, or never started. NULL is fine. */
void session_free(struct session *s);

/* Return: 0 or -EIO: libfuse has said why. */
int session_mount(struct session *s, const char *mountpoint);

/* Serve @fd, whose other end plays the kernel, one request a read. @fd is ours
 * then. */
int session_attach(struct session *s, int fd);

int session_start(struct session *s);

/* Readable once, for ever, after it has happened. */
int session_ready_fd(const struct session *s);
int session_ended_fd(const struct session *s);

/* Is the kernel too old for cache=own? It was refused the mount then.
 * Context: ready or ended. */
bool session_unfit(const struct session *s);

/*
 * Have the kernel drop its pages of [@pos, @pos + @len) of a file, to the end
 * when @len is 0, and its attributes. A page that a read(2) is bringing data
 * into loses them: only for files that nobody has open for writing.
 * Context: no lock held; no worker: waits for fills under way.
 * Return: 0 or -errno; -ENOENT: the kernel does not know the file.
 */
int session_inval(struct session *s, u64 ino, u64 pos, u64 len);

/*
 * Have the kernel drop the attributes of a file, and no pages. Context: no lock
 * held; the file is in use by the request that is being served, and by a
 * program: one that is being evicted would wait for write-out, and this for it.
 */
void session_inval_attr(struct session *s, u64 ino);

/* Wait until no request is being served and none is waiting, at most
 * @timeout_ms: what the kernel has sent already is to be served. */
void session_wait_quiet(struct session *s, u32 timeout_ms);

/* End the workers, and give every delayed answer. Waits for the commits that
 * were asked for. */
void session_stop(struct session *s);

/* Lift the mount if it is still there, lazily if it is busy.
 * Context: stopped. */
void session_unmount(struct session *s);

/* Cut a connection whose mount was lifted lazily: programs that still hold
 * files get errors, and session_unmount() leaves the mountpoint, where
 * something else may be by now, alone. Context: stopped. */
void session_cut(struct session *s);

/* ---- for operations ---- */

static inline struct session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Was @flag (of 64 bits) of INIT agreed on? For those that are agreed on
 * whenever the kernel offers them. */
static inline bool session_agreed(const struct session *s, u64 flag)
{
	return __atomic_load_n(&s->init_flags, __ATOMIC_RELAXED) & flag;
}

/* For how long the kernel may keep @st. */
double session_attr_timeout(const struct session *s, const struct stat *st);

/* The request that this worker is at, as it came but for the opcode that
 * wire_translate() gave it. */
const struct fuse_in_header *session_request(void);

/* The opcode that it came with. */
u32 session_opcode(void);

/* What stands behind its header. */
static inline const void *session_argument(void)
{
	return session_request() + 1;
}

/* Memory behind this worker's request, page-aligned. It is the worker's until
 * the operation returns. */
void *session_scratch(size_t *ret_len);

/* This request is to be served again from its beginning. The caller answers
 * nothing. */
enum again {
	AGAIN_NO,
	AGAIN_AFTER_COMMIT, /* too much is pending */
	AGAIN_SOON,	    /* what hinders it takes moments */
	AGAIN_IF_ROOM,	    /* the same, or at once when it cannot be kept */
};
void session_again(enum again when);

/* For how long this request has been put off, by the pacer's clock: 0 only when
 * it has not been, UINT64_MAX when it cannot be any longer. */
u64 session_waited_ns(void);

/* ---- for src/deferred.c ---- */

/* Serve a request that was kept for @waited_ns, in the retrier's thread.
 * Return: whether it is to be served again. */
enum again session_serve_kept(struct session *s, const void *request,
			      size_t len, u64 waited_ns);

/* Answer a request that is not being served with @err, a -errno. */
void session_refuse(struct session *s, const void *request, int err);

#endif

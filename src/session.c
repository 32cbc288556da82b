/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "deferred.h"
#include "log.h"
#include "ops.h"

/* A page for a short request and its names, then what a read may need. */
#define WORKER_BUF ((1 + (size_t)CACHE_READ_MAX_PAGES) * PAGE_SIZE)

/* Of the workers, and of who serves kept requests. */
#define ALL_BUFS ((SESSION_WORKERS + 1) * WORKER_BUF)

/* Workers that read requests, while others are parked. */
#define LISTENERS 2

#define QUIET_LOOKS 10

_Static_assert(SESSION_MAX_WRITE + PAGE_SIZE <= WORKER_BUF,
	       "a WRITE with its header fits in a worker's buffer");
_Static_assert(SESSION_WORKERS > SESSION_MAX_BACKGROUND + 8,
	       "background requests leave workers for others");

struct worker {
	struct session *session;
	pthread_t thread;
	char *buf;	  /* WORKER_BUF, page-aligned */
	size_t len;	  /* of the request in it */
	u32 opcode;	  /* that it came with */
	enum again again; /* it is to be served again */
	u64 waited_ns;	  /* since it came, if it is kept */

	/* under park_lock */
	struct waitq unparked;
	bool is_parked;
	struct worker *next_parked;
};

static __thread struct worker *this_worker;

const struct fuse_in_header *session_request(void)
{
	return (const void *)this_worker->buf;
}

u32 session_opcode(void)
{
	return this_worker->opcode;
}

void *session_scratch(size_t *ret_len)
{
	struct worker *w = this_worker;
	size_t used = bytes_to_pages(w->len) << PAGE_SHIFT;

	*ret_len = WORKER_BUF - used;
	return w->buf + used;
}

void session_again(enum again when)
{
	assert(this_worker);
	this_worker->again = when;
}

u64 session_waited_ns(void)
{
	return this_worker->waited_ns;
}

/* ---- what INIT settles ---- */

static void want(struct fuse_conn_info *conn, unsigned flags)
{
	conn->want |= flags & conn->capable;
}

static void dont_want(struct fuse_conn_info *conn, unsigned flags)
{
	conn->want &= ~flags;
}

/* Without readahead a fault is a READ of one page: the kernel's copies are
 * those pages alone that a program has touched. */
static void init_own(struct fuse_conn_info *conn)
{
#if HAVE_DECL_FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	want(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
#endif
	conn->max_readahead = 0;
}

/*
 * AUTO_INVAL_DATA would drop a file's pages from the kernel's cache, mapped
 * ones as well, when a GETATTR after a write(2) shows a new mtime. We are the
 * only ones who change files: nothing is ever to be dropped but by our word.
 *
 * No splicing: what is spliced has to be copied from the pipe to a buffer and
 * from there to frames, as often as what is read, with more system calls.
 */
void session_init_conn(struct session *s, struct fuse_conn_info *conn)
{
	dont_want(conn, FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV |
				FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				FUSE_CAP_SPLICE_MOVE);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_READ |
			   FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
			   FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
			   FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_POSIX_ACL |
			   FUSE_CAP_DONT_MASK | FUSE_CAP_IOCTL_DIR);
	if (s->writeback)
		want(conn, FUSE_CAP_WRITEBACK_CACHE);
	if (s->own)
		init_own(conn);

	conn->max_write = min(conn->max_write, (unsigned)SESSION_MAX_WRITE);
	conn->max_background = SESSION_MAX_BACKGROUND;
	conn->time_gran = 1;
}

/*
 * What libfuse 3.14 cannot say, or forgets to, is put into its reply.
 *
 * Without HANDLE_KILLPRIV_V2 the kernel asks for security.capability before
 * each write(2): a second request for every first. With it, struct fs drops
 * set-id bits when content changes; see attr_changed(). Capabilities the kernel
 * removes itself, before the first write to a file that it has not seen yet.
 *
 * SETXATTR_EXT says whether an ACL that is set costs the set-gid bit.
 */
#define AMENDED_FLAGS \
	(FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS | FUSE_SETXATTR_EXT)

static void amend_init_reply(struct session *s, const struct iovec *iov,
			     int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct fuse_init_out *init;

	if (out->unique != __atomic_load_n(&s->init_unique, __ATOMIC_ACQUIRE))
		return;
	if (!out->unique || out->error || count < 2 ||
	    iov[1].iov_len < sizeof(*init))
		return;

	init = iov[1].iov_base;
	init->flags |= (u32)s->init_flags & AMENDED_FLAGS;
	if (s->own) {
		init->flags |= FUSE_INIT_EXT;
		init->flags2 |= WIRE_DIRECT_IO_ALLOW_MMAP >> 32;
	}
}

/*
 * Writers of one file need not wait for each other. Whoever answers that
 * a file is open is at that request: it is the one in its buffer.
 */
static void amend_open_reply(struct session *s, const struct iovec *iov,
			     int count)
{
#ifndef HAVE_STRUCT_FUSE_FILE_INFO_PARALLEL_DIRECT_WRITES
	const struct fuse_out_header *out = iov[0].iov_base;
	const struct fuse_in_header *in;
	u32 *flags;

	if (!s->own || !this_worker || out->error || count != 2)
		return;
	in = session_request();
	if (out->unique != in->unique)
		return;

	flags = wire_open_flags(in->opcode, iov[1].iov_base, iov[1].iov_len);
	if (flags && !control_owns(in->nodeid))
		*flags |= FOPEN_PARALLEL_DIRECT_WRITES;
#else
	(void)s, (void)iov, (void)count;
#endif
}

/*
 * A page that a READ sends may be written to meanwhile, as in any page cache:
 * the program gets some of both. ThreadSanitizer is to overlook that, and only
 * that: the order that the descriptor gives to its two ends it shall see.
 */
#ifdef FOLIO_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#else
#define AnnotateIgnoreReadsBegin(file, line) ((void)0)
#define AnnotateIgnoreReadsEnd(file, line) ((void)0)
#endif

static ssize_t send_iov(int fd, const struct iovec *iov, int count)
{
	ssize_t ret;

	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
	ret = writev(fd, iov, count);
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
	return ret;
}

static ssize_t session_writev(int fd, struct iovec *iov, int count, void *arg)
{
	ssize_t ret;

	amend_init_reply(arg, iov, count);
	amend_open_reply(arg, iov, count);
	ret = send_iov(fd, iov, count);
	/* The mount is gone, or the other end. libfuse would complain of it;
	 * ENOENT, for an interrupted request, it expects. */
	if (ret < 0 && (errno == ENODEV || errno == EPIPE))
		errno = ENOENT;
	return ret;
}

/* libfuse wants to have one; worker_receive() reads. */
static ssize_t session_read(int fd, void *buf, size_t len, void *arg)
{
	(void)arg;
	return read(fd, buf, len);
}

static const struct fuse_custom_io session_io = {
	.writev = session_writev,
	.read = session_read,
};

void session_inval_attr(struct session *s, u64 ino)
{
	lock_assert_none();
	(void)fuse_lowlevel_notify_inval_inode(s->fuse, ino, -1, 0);
}

/*
 * Of a write the kernel believes that it changes size and times; with
 * HANDLE_KILLPRIV_V2 it would go on executing a program with the set-id bits
 * that we have dropped, until SESSION_TIMEOUT.
 */
static void attr_changed(void *arg, u64 ino)
{
	session_inval_attr(arg, ino);
}

double session_attr_timeout(const struct session *s, const struct stat *st)
{
	if (s->writeback && S_ISREG(st->st_mode) &&
	    fs_is_written(s->fs, st->st_ino))
		return SESSION_TIMEOUT_WRITTEN;
	return SESSION_TIMEOUT;
}

int session_inval(struct session *s, u64 ino, u64 pos, u64 len)
{
	lock_assert_none();
	assert(!this_worker);
	return fuse_lowlevel_notify_inval_inode(s->fuse, ino, (off_t)pos,
						(off_t)len);
}

/* ---- workers ---- */

static void notify(int fd)
{
	u64 one = 1;

	(void)!write(fd, &one, sizeof(one));
}

/*
 * The kernel gives requests to those who read in turn: with all workers there
 * each request would wake the one that has slept longest, whose stack and
 * buffer (1 MiB of each large write) are in no processor's cache any more. So
 * LISTENERS of them read and the others are parked; the one parked last is
 * sent to read when nobody does. Measured: 1 MiB writes are 15% faster.
 */
static struct worker *unpark_locked(struct session *s) __requires(s->park_lock)
{
	struct worker *w = s->parked;

	if (!w)
		return NULL;
	s->parked = w->next_parked;
	w->is_parked = false;
	s->nr_listening++; /* for it: nobody else is to be sent */
	return w;
}

static void park_locked(struct session *s, struct worker *w)
	__requires(s->park_lock)
{
	w->is_parked = true;
	w->next_parked = s->parked;
	s->parked = w;
	while (w->is_parked && !s->ended)
		waitq_wait(&w->unparked, &s->park_lock);
}

/* Return: false: there are no more requests. */
static bool begin_listening(struct worker *w)
{
	struct session *s = w->session;
	bool more;

	mutex_lock(&s->park_lock);
	if (!s->ended && s->nr_listening >= LISTENERS)
		park_locked(s, w);
	else
		s->nr_listening++;
	more = !s->ended;
	mutex_unlock(&s->park_lock);
	return more;
}

static void end_listening(struct worker *w)
{
	struct session *s = w->session;
	struct worker *next = NULL;

	mutex_lock(&s->park_lock);
	if (--s->nr_listening == 0)
		next = unpark_locked(s);
	mutex_unlock(&s->park_lock);
	if (next)
		waitq_wake_one(&next->unparked);
}

/* One who ends without having listened counts as listening: no matter now. */
static void end_parking(struct session *s)
{
	mutex_lock(&s->park_lock);
	s->ended = true;
	for (struct worker *w = s->parked; w; w = w->next_parked)
		waitq_wake_all(&w->unparked);
	mutex_unlock(&s->park_lock);
}

/* A worker can be cancelled here and nowhere else. Return: bytes, 0 or -errno
 * at the end. */
static ssize_t read_request(struct worker *w)
{
	int fd = fuse_session_fd(w->session->fuse);
	ssize_t len;
	int old;

	do {
		(void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
		len = read(fd, w->buf, WORKER_BUF);
		(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	} while (len < 0 &&
		 (errno == EINTR || errno == EAGAIN || errno == ENOENT));
	return len < 0 ? -errno : len;
}

/* Return: false when there are no more. */
static bool worker_receive(struct worker *w)
{
	struct session *s = w->session;
	ssize_t len = 0;

	(void)__atomic_add_fetch(&s->nr_idle, 1, __ATOMIC_RELEASE);
	if (begin_listening(w)) {
		len = read_request(w);
		end_listening(w);
	}
	(void)__atomic_sub_fetch(&s->nr_idle, 1, __ATOMIC_ACQUIRE);

	if (len < 0 && len != -ENODEV)
		log_msg(LOG_ERR, "reading requests: %s", strerror((int)-len));
	if (len <= 0)
		return false;

	w->len = (size_t)len;
	return true;
}

void session_refuse(struct session *s, const void *request, int err)
{
	const struct fuse_in_header *in = request;
	struct fuse_out_header out = {
		.len = sizeof(out), .error = err, .unique = in->unique};
	struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	(void)session_writev(fuse_session_fd(s->fuse), &iov, 1, s);
}

/* Said once: whoever sends these may send many. */
static void refuse_broken(struct worker *w)
{
	struct session *s = w->session;
	const struct fuse_in_header *in = session_request();

	if (!__atomic_exchange_n(&s->broken_seen, true, __ATOMIC_RELAXED))
		log_msg(LOG_WARNING, "a broken request of %zu bytes", w->len);
	if (w->len >= sizeof(*in) && wire_wants_reply(in))
		session_refuse(s, in, -EINVAL);
}

/* Return: whether the kernel offers what we cannot do without. If not, INIT is
 * refused, and with it every later request of this mount. */
static bool note_init(struct worker *w, const struct fuse_in_header *in)
{
	struct session *s = w->session;
	bool unfit;

	__atomic_store_n(&s->init_flags, wire_init_flags(w->buf, w->len),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&s->init_unique, in->unique, __ATOMIC_RELEASE);
	unfit = s->own && !session_agreed(s, WIRE_DIRECT_IO_ALLOW_MMAP);
	__atomic_store_n(&s->unfit, unfit, __ATOMIC_RELAXED);
	return !unfit;
}

static void process(struct worker *w, u64 waited_ns)
{
	struct fuse_buf buf = {.mem = w->buf, .size = w->len};
	struct fuse_in_header *in = buf.mem;

	w->again = AGAIN_NO;
	w->waited_ns = waited_ns;
	w->opcode = wire_translate(buf.mem);
	fuse_session_process_buf(w->session->fuse, &buf);
	lock_assert_none();
	/* it may be served again */
	in->opcode = w->opcode;
}

enum again session_serve_kept(struct session *s, const void *request,
			      size_t len, u64 waited_ns)
{
	struct worker w = {.session = s, .buf = s->retry_buf, .len = len};

	assert(!this_worker && len <= WORKER_BUF);
	memcpy(w.buf, request, len);
	this_worker = &w;
	process(&w, waited_ns);
	this_worker = NULL;
	return w.again;
}

static void serve_later(struct worker *w)
{
	int err = defer_request(w->session, w->buf, w->len, w->again);

	if (err && w->again == AGAIN_IF_ROOM)
		process(w, UINT64_MAX);
	else if (err)
		session_refuse(w->session, w->buf, err);
}

static void worker_serve(struct worker *w)
{
	const struct fuse_in_header *in = session_request();
	bool init;

	if (wire_check(w->buf, w->len,
		       session_agreed(w->session, FUSE_SETXATTR_EXT))) {
		refuse_broken(w);
		return;
	}

	init = in->opcode == FUSE_INIT && !w->session->init_unique;
	if (init && !note_init(w, in)) {
		session_refuse(w->session, in, -EPROTONOSUPPORT);
	} else {
		process(w, 0);
		if (w->again)
			serve_later(w);
	}
	if (init)
		notify(w->session->ready_fd);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	int old;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	this_worker = w;
	while (!fuse_session_exited(w->session->fuse) && worker_receive(w))
		worker_serve(w);

	end_parking(w->session);
	notify(w->session->ended_fd);
	return NULL;
}

static int workers_new(struct session *s)
{
	char *bufs = mmap(NULL, ALL_BUFS, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (bufs == MAP_FAILED)
		return -ENOMEM;
	s->workers = calloc(SESSION_WORKERS, sizeof(*s->workers));
	if (!s->workers) {
		(void)munmap(bufs, ALL_BUFS);
		return -ENOMEM;
	}

	for (unsigned i = 0; i < SESSION_WORKERS; i++) {
		s->workers[i].session = s;
		waitq_init(&s->workers[i].unparked);
		s->workers[i].buf = bufs + i * WORKER_BUF;
	}
	s->retry_buf = bufs + SESSION_WORKERS * WORKER_BUF;
	return 0;
}

static void workers_free(struct session *s)
{
	if (!s->workers)
		return;
	for (unsigned i = 0; i < SESSION_WORKERS; i++)
		waitq_done(&s->workers[i].unparked);
	(void)munmap(s->workers[0].buf, ALL_BUFS);
	free(s->workers);
}

static int start_worker(struct worker *w, unsigned nr)
{
	char name[16];
	int err = pthread_create(&w->thread, NULL, worker_main, w);

	if (err)
		return -err;
	(void)snprintf(name, sizeof(name), "worker-%u", nr);
	(void)pthread_setname_np(w->thread, name);
	return 0;
}

int session_start(struct session *s)
{
	int err = pacer_start(s->pacer);

	if (!err)
		err = pacer_start(s->retrier);
	while (!err && s->nr_started < SESSION_WORKERS) {
		err = start_worker(&s->workers[s->nr_started], s->nr_started);
		if (!err)
			s->nr_started++;
	}
	return err;
}

static bool looks_quiet(struct session *s)
{
	struct pollfd pfd = {.fd = fuse_session_fd(s->fuse), .events = POLLIN};

	return __atomic_load_n(&s->nr_idle, __ATOMIC_ACQUIRE) ==
		       s->nr_started &&
	       poll(&pfd, 1, 0) == 0;
}

/*
 * What the kernel queues behind its own limit it sends while a request before
 * it is answered, so when none is served and none is to be read, all are done.
 * A worker that has just read one looks idle for a moment, hence several looks.
 */
void session_wait_quiet(struct session *s, u32 timeout_ms)
{
	const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
	unsigned looks = 0;

	while (timeout_ms-- && looks < QUIET_LOOKS) {
		looks = looks_quiet(s) ? looks + 1 : 0;
		(void)nanosleep(&pause, NULL);
	}
}

void session_stop(struct session *s)
{
	fuse_session_exit(s->fuse);
	end_parking(s);
	for (unsigned i = 0; i < s->nr_started; i++)
		(void)pthread_cancel(s->workers[i].thread);
	for (unsigned i = 0; i < s->nr_started; i++)
		(void)pthread_join(s->workers[i].thread, NULL);
	s->nr_started = 0;

	pacer_stop(s->pacer);
	deferred_wait_all(s);
	pacer_stop(s->retrier);
}

/* ---- making and ending one ---- */

static int add_options(struct fuse_args *args, const struct session_config *cfg)
{
	char *list = NULL;
	int err;

	err = fuse_opt_add_opt(&list, "default_permissions,subtype=foliofs");
	if (!err && cfg->debug)
		err = fuse_opt_add_opt(&list, "debug");
	if (!err && cfg->mount_options && *cfg->mount_options)
		err = fuse_opt_add_opt(&list, cfg->mount_options);
	if (!err && cfg->fsname) {
		char name[4096 + sizeof("fsname=")];

		(void)snprintf(name, sizeof(name), "fsname=%s", cfg->fsname);
		err = fuse_opt_add_opt_escaped(&list, name);
	}

	if (!err)
		err = fuse_opt_add_arg(args, "foliofs");
	if (!err)
		err = fuse_opt_add_arg(args, "-o");
	if (!err)
		err = fuse_opt_add_arg(args, list);
	free(list);
	return err ? -ENOMEM : 0;
}

static int fuse_new(struct session *s, const struct session_config *cfg)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err = add_options(&args, cfg);

	if (!err) {
		s->fuse = fuse_session_new(&args, &session_ops,
					   sizeof(session_ops), s);
		if (!s->fuse)
			err = -EINVAL;
	}
	fuse_opt_free_args(&args);
	return err;
}

static int pacers_new(struct session *s, const struct session_config *cfg)
{
	struct pacer_config pacing = {
		.name = "pacer", .now = cfg->now, .now_arg = cfg->now_arg};
	struct pacer_config retrying = {.name = "retrier"};
	int err = pacer_new(&pacing, &s->pacer);

	return err ? err : pacer_new(&retrying, &s->retrier);
}

int session_new(const struct session_config *cfg, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;

	s->fs = cfg->fs;
	s->control = cfg->control;
	s->tracker = cfg->tracker;
	s->writeback = cfg->writeback;
	s->own = cfg->own;
	s->unmapper = cfg->unmapper;
	mutex_init(&s->lock, LOCK_LEAF, "session");
	mutex_init(&s->park_lock, LOCK_LEAF, "parked workers");
	waitq_init(&s->idle);
	list_init(&s->open_controls);
	s->ready_fd = eventfd(0, EFD_CLOEXEC);
	s->ended_fd = eventfd(0, EFD_CLOEXEC);

	err = s->ready_fd < 0 || s->ended_fd < 0 ? -EMFILE : 0;
	if (!err)
		err = pacers_new(s, cfg);
	if (!err)
		err = workers_new(s);
	if (!err)
		err = fuse_new(s, cfg);
	if (err) {
		session_free(s);
		return err;
	}

	fs_on_attr_change(s->fs, attr_changed, s);
	*ret = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;

	assert(!s->nr_started);
	if (s->fs)
		fs_on_attr_change(s->fs, NULL, NULL);
	control_ops_done(s);
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	workers_free(s);
	pacer_free(s->retrier);
	pacer_free(s->pacer);
	if (s->ready_fd >= 0)
		(void)close(s->ready_fd);
	if (s->ended_fd >= 0)
		(void)close(s->ended_fd);
	waitq_done(&s->idle);
	mutex_done(&s->park_lock);
	mutex_done(&s->lock);
	free(s);
}

int session_attach(struct session *s, int fd)
{
	return fuse_session_custom_io(s->fuse, &session_io, fd);
}

int session_mount(struct session *s, const char *mountpoint)
{
	int err;

	if (fuse_session_mount(s->fuse, mountpoint))
		return -EIO;

	/* Replies are to come through session_writev(). */
	err = session_attach(s, fuse_session_fd(s->fuse));
	if (err)
		fuse_session_unmount(s->fuse);
	return err;
}

void session_unmount(struct session *s)
{
	fuse_session_unmount(s->fuse);
}

/*
 * libfuse takes a descriptor that shows POLLERR for that of a mount that is
 * gone, and touches the mountpoint no more. Ours would not show it as long as
 * programs hold files; a pipe that nobody reads does.
 */
void session_cut(struct session *s)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return;
	(void)close(fds[0]);
	(void)dup3(fds[1], fuse_session_fd(s->fuse), O_CLOEXEC);
	(void)close(fds[1]);
}

bool session_unfit(const struct session *s)
{
	return __atomic_load_n(&s->unfit, __ATOMIC_RELAXED);
}

int session_ready_fd(const struct session *s)
{
	return s->ready_fd;
}

int session_ended_fd(const struct session *s)
{
	return s->ended_fd;
}

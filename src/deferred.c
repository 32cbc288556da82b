/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "deferred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reply.h"

static void deferred_begin(struct session *s)
{
	mutex_lock(&s->lock);
	s->nr_deferred++;
	mutex_unlock(&s->lock);
}

/* The last access to @s on this way: it may be freed afterwards. */
static void deferred_end(struct session *s)
{
	mutex_lock(&s->lock);
	if (--s->nr_deferred == 0)
		waitq_wake_all(&s->idle);
	mutex_unlock(&s->lock);
}

void deferred_wait_all(struct session *s)
{
	mutex_lock(&s->lock);
	while (s->nr_deferred)
		waitq_wait(&s->idle, &s->lock);
	mutex_unlock(&s->lock);
}

/* ---- until something is done ---- */

struct waiting {
	struct fs_done done;
	fuse_req_t req;
	size_t count;
	bool ioctl;
};

static void waiting_done(struct fs_done *done, int err)
{
	struct waiting *w = container_of(done, struct waiting, done);
	struct session *s = session_of(w->req);

	if (!err && w->ioctl)
		reply_ioctl(w->req, NULL, 0);
	else if (err || !w->count)
		reply_err(w->req, err);
	else
		reply_write(w->req, w->count);
	free(w);
	deferred_end(s);
}

static struct fs_done *defer(fuse_req_t req, size_t count, bool ioctl)
{
	struct waiting *w = malloc(sizeof(*w));

	if (!w) {
		reply_err(req, -ENOMEM);
		return NULL;
	}

	w->done.fn = waiting_done;
	w->req = req;
	w->count = count;
	w->ioctl = ioctl;
	deferred_begin(session_of(req));
	return &w->done;
}

struct fs_done *defer_count(fuse_req_t req, size_t count)
{
	return defer(req, count, false);
}

struct fs_done *defer_err(fuse_req_t req)
{
	return defer(req, 0, false);
}

struct fs_done *defer_ioctl(fuse_req_t req)
{
	return defer(req, 0, true);
}

/* ---- until a file came with its name ---- */

struct settling {
	struct fs_done done;
	fuse_req_t req;
	bool entry;
	struct stat st;
};

static void reply_settled(fuse_req_t req, const struct stat *st)
{
	if (st)
		reply_entry(req, st);
	else
		reply_err(req, 0);
}

static void settling_done(struct fs_done *done, int err)
{
	struct settling *w = container_of(done, struct settling, done);
	struct session *s = session_of(w->req);

	(void)err;
	reply_settled(w->req, w->entry ? &w->st : NULL);
	free(w);
	deferred_end(s);
}

void defer_settled(fuse_req_t req, const struct stat *st)
{
	struct session *s = session_of(req);
	struct settling *w = malloc(sizeof(*w));

	if (w) {
		w->done.fn = settling_done;
		w->req = req;
		w->entry = st != NULL;
		if (st)
			w->st = *st;
		deferred_begin(s);
		if (fs_settle(s->fs, &w->done))
			return;
		deferred_end(s);
		free(w);
	}
	reply_settled(req, st);
}

/* ---- a pause ---- */

struct paused {
	struct pacer_item item;
	struct session *session;
	fuse_req_t req;
	size_t count;
};

static void paused_end(struct pacer_item *item)
{
	struct paused *p = container_of(item, struct paused, item);
	struct session *s = p->session;

	/* Waits for paused_interrupted() in another thread; after that there
	 * will be none. */
	fuse_req_interrupt_func(p->req, NULL, NULL);
	reply_write(p->req, p->count);
	free(p);
	deferred_end(s);
}

/*
 * Runs with libfuse's lock of the request held: answering here would free it
 * under the caller. The pacer answers, whether @p is queued yet or not.
 */
static void paused_interrupted(fuse_req_t req, void *arg)
{
	struct paused *p = arg;

	(void)req;
	pacer_hurry(p->session->pacer, &p->item);
}

void defer_written(fuse_req_t req, size_t count, u64 pause_ns)
{
	struct session *s = session_of(req);
	struct paused *p = pause_ns ? malloc(sizeof(*p)) : NULL;

	if (!p) {
		reply_write(req, count);
		return;
	}

	pacer_item_init(&p->item, paused_end);
	p->session = s;
	p->req = req;
	p->count = count;
	deferred_begin(s);
	fuse_req_interrupt_func(req, paused_interrupted, p);
	pacer_add(s->pacer, &p->item,
		  pacer_now(s->pacer) + min(pause_ns, DEFERRED_PAUSE_MAX_NS));
}

/* ---- another try ---- */

struct retry {
	struct fs_done done;
	struct pacer_item item;
	fuse_req_t req;
	u32 tries;
	u64 fh;
	u64 pos;
	size_t len;
	unsigned flags;
	char data[];
};

/* As much of @want as may be held; at least DEFERRED_SHORT of it. */
static size_t hold(struct session *s, size_t want)
{
	size_t len = want;

	mutex_lock(&s->lock);
	if (s->held_bytes + want > DEFERRED_HELD_MAX)
		len = min(want, DEFERRED_SHORT);
	s->held_bytes += len;
	mutex_unlock(&s->lock);
	return len;
}

static void unhold(struct session *s, size_t len)
{
	mutex_lock(&s->lock);
	s->held_bytes -= len;
	mutex_unlock(&s->lock);
}

/* In the retrier's thread: the committer's must not wait for space, which only
 * it can make. */
static void retry_write(struct pacer_item *item)
{
	struct retry *r = container_of(item, struct retry, item);
	struct session *s = session_of(r->req);
	fuse_req_t req = r->req;
	u64 pause = 0;
	bool again;
	ssize_t ret;

	ret = fs_write(s->fs, r->fh, r->pos, r->data, r->len, r->flags, &pause,
		       &again);
	if (ret == -ENOSPC && again && ++r->tries < DEFERRED_RETRIES) {
		fs_commit(s->fs, &r->done);
		return;
	}
	unhold(s, r->len);
	free(r);

	if (ret < 0)
		reply_err(req, (int)ret);
	else
		defer_written(req, (size_t)ret, pause);
	deferred_end(s);
}

/* The commit's own error is not the writer's: the try will tell. */
static void retry_after_commit(struct fs_done *done, int err)
{
	struct retry *r = container_of(done, struct retry, done);
	struct session *s = session_of(r->req);

	(void)err;
	pacer_add(s->retrier, &r->item, 0);
}

void defer_retry(fuse_req_t req, const struct late_write *write)
{
	struct session *s = session_of(req);
	size_t len = hold(s, write->len);
	struct retry *r = malloc(sizeof(*r) + len);

	if (!r) {
		unhold(s, len);
		reply_err(req, -ENOSPC);
		return;
	}

	r->done.fn = retry_after_commit;
	pacer_item_init(&r->item, retry_write);
	r->req = req;
	r->tries = 0;
	r->fh = write->fh;
	r->pos = write->pos;
	r->len = len;
	r->flags = write->flags;
	memcpy(r->data, write->buf, len);
	deferred_begin(s);
	fs_commit(s->fs, &r->done);
}

/* ---- a second try of fallocate ---- */

struct retry_fallocate {
	struct fs_done done;
	struct pacer_item item;
	fuse_req_t req;
	struct late_fallocate what;
};

static void retry_fallocate(struct pacer_item *item)
{
	struct retry_fallocate *r =
		container_of(item, struct retry_fallocate, item);
	struct session *s = session_of(r->req);
	const struct late_fallocate *what = &r->what;
	int err =
		fs_fallocate(s->fs, what->fh, what->mode, what->pos, what->len);

	/* it had its commit, and its request is not here any more */
	reply_err(r->req, err == -ERESTART ? -ENOSPC : err);
	free(r);
	deferred_end(s);
}

static void fallocate_after_commit(struct fs_done *done, int err)
{
	struct retry_fallocate *r =
		container_of(done, struct retry_fallocate, done);
	struct session *s = session_of(r->req);

	(void)err;
	pacer_add(s->retrier, &r->item, 0);
}

void defer_fallocate(fuse_req_t req, const struct late_fallocate *what)
{
	struct session *s = session_of(req);
	struct retry_fallocate *r = malloc(sizeof(*r));

	if (!r) {
		reply_err(req, -ENOSPC);
		return;
	}

	r->done.fn = fallocate_after_commit;
	pacer_item_init(&r->item, retry_fallocate);
	r->req = req;
	r->what = *what;
	deferred_begin(s);
	fs_commit(s->fs, &r->done);
}

/* ---- a whole request again ---- */

struct kept {
	struct fs_done done;
	struct pacer_item item;
	struct session *session;
	size_t len;
	u64 since_ns; /* by the pacer's clock */
	u64 pause_ns;
	int rounds;
	_Alignas(struct fuse_in_header) char request[];
};

static size_t kept_size(size_t len)
{
	return sizeof(struct kept) + len;
}

static void kept_end(struct kept *k)
{
	struct session *s = k->session;

	unhold(s, kept_size(k->len));
	free(k);
	deferred_end(s);
}

static void kept_serve(struct pacer_item *item);

static void kept_soon(struct kept *k)
{
	struct pacer *p = k->session->retrier;

	k->pause_ns = min(max(2 * k->pause_ns, (u64)DEFERRED_SOON_NS),
			  (u64)DEFERRED_SOON_MAX_NS);
	pacer_item_init(&k->item, kept_serve);
	pacer_add(p, &k->item, pacer_now(p) + k->pause_ns);
}

/* In the retrier's thread, as these may wait for the device. */
static void kept_serve(struct pacer_item *item)
{
	struct kept *k = container_of(item, struct kept, item);
	struct session *s = k->session;

	u64 waited = max(pacer_now(s->pacer) - k->since_ns, (u64)1);
	enum again again = session_serve_kept(s, k->request, k->len, waited);

	if (again == AGAIN_NO) {
		kept_end(k);
	} else if (again != AGAIN_AFTER_COMMIT) {
		kept_soon(k);
	} else if (++k->rounds < DEFERRED_ROUNDS) {
		fs_commit(s->fs, &k->done);
	} else {
		session_refuse(s, k->request, -ENOSPC);
		kept_end(k);
	}
}

/* What failed may be what is pending, or the disk for a moment. */
static void kept_after_commit(struct fs_done *done, int err)
{
	struct kept *k = container_of(done, struct kept, done);
	struct pacer *p = k->session->retrier;

	pacer_item_init(&k->item, kept_serve);
	pacer_add(p, &k->item, err ? pacer_now(p) + DEFERRED_FAILED_NS : 0);
}

static bool may_keep(struct session *s, size_t len)
{
	bool may;

	mutex_lock(&s->lock);
	may = s->held_bytes + len <= DEFERRED_HELD_MAX;
	if (may)
		s->held_bytes += len;
	mutex_unlock(&s->lock);
	return may;
}

int defer_request(struct session *s, const void *request, size_t len,
		  enum again when)
{
	size_t size = kept_size(len);
	struct kept *k;

	if (!may_keep(s, size))
		return -ENOSPC;
	k = malloc(size);
	if (!k) {
		unhold(s, size);
		return -ENOMEM;
	}

	*k = (struct kept){.session = s, .len = len};
	k->since_ns = pacer_now(s->pacer);
	k->done.fn = kept_after_commit;
	memcpy(k->request, request, len);
	deferred_begin(s);
	if (when == AGAIN_AFTER_COMMIT)
		fs_commit(s->fs, &k->done);
	else
		kept_soon(k);
	return 0;
}

/* ---- until the tracker has looked ---- */

struct scan {
	struct tracker_wait wait;
	struct pacer_item item;
	struct session *session;
	fuse_req_t req;
	u64 ino;
	struct fuse_file_info fi;
	deferred_open_fn fn;
	u32 refs; /* atomic: the tracker's and the retrier's */
};

/* Return: NULL: there are too many. */
static struct scan *scan_new(struct session *s)
{
	struct scan *scan = NULL;

	mutex_lock(&s->lock);
	if (s->nr_scans < DEFERRED_SCANS)
		scan = malloc(sizeof(*scan));
	s->nr_scans += scan != NULL;
	mutex_unlock(&s->lock);
	return scan;
}

static void scan_put(struct scan *scan)
{
	if (!__atomic_sub_fetch(&scan->refs, 1, __ATOMIC_ACQ_REL))
		free(scan);
}

/* In the retrier's thread: the tracker's own is not to be held up. */
static void scan_end(struct pacer_item *item)
{
	struct scan *scan = container_of(item, struct scan, item);
	struct session *s = scan->session;

	scan->fn(scan->req, scan->ino, &scan->fi);
	scan_put(scan);
	deferred_end(s);
}

/* The session is there still: the tracker is stopped before it is freed. */
static void scan_done(struct tracker_wait *wait)
{
	struct scan *scan = container_of(wait, struct scan, wait);
	struct session *s = scan->session;

	mutex_lock(&s->lock);
	s->nr_scans--;
	mutex_unlock(&s->lock);
	pacer_hurry(s->retrier, &scan->item);
	scan_put(scan);
}

void defer_scan(fuse_req_t req, u64 ino, const struct fuse_file_info *fi,
		deferred_open_fn fn)
{
	struct session *s = session_of(req);
	struct scan *scan = scan_new(s);

	if (!scan) {
		reply_err(req, -EAGAIN);
		return;
	}

	*scan = (struct scan){
		.wait.fn = scan_done,
		.session = s,
		.req = req,
		.ino = ino,
		.fi = *fi,
		.fn = fn,
		.refs = 2,
	};
	pacer_item_init(&scan->item, scan_end);
	deferred_begin(s);
	pacer_add(s->retrier, &scan->item,
		  pacer_now(s->retrier) + DEFERRED_SCAN_MAX_NS);
	tracker_sync(s->tracker, &scan->wait);
}

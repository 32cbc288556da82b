/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "unmapper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "copies.h"
#include "list.h"
#include "lock.h"
#include "unmap_helper.h"

#define HELPER_TIMEOUT_MS 10000

/* One batch: short, so that the helper is soon idle again, that what is taken
 * back by two threads is not one file's alone, and that who waits for room does
 * not wait for the whole of it. */
#define BATCH_PAGES 8192

/* When nothing that was asked for could be had; doubled each time. */
#define BACKOFF_NS (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS (1600 * NSEC_PER_MSEC)

struct backoff {
	u64 pause_ns;
	u64 until_ns;
};

/* After so many new pages the cache is told of its smaller budget. */
#define TELL_PAGES 64

struct taker {
	struct unmapper *u;
	pthread_t thread;
	struct unmap_helper helper;
	u64 batch_nr; /* of the batch that it is at, 0: none; under lock */
	struct copies_batch batch;
	struct unmap_request req;
	struct unmap_answer answer;
};

/* Somebody waits for all copies of a file, or of all files, to be taken. */
struct drop {
	struct list_head node;
	u64 ino;
	bool queued, done, abandoned;
};

struct unmapper {
	/* constant while threads run */
	struct unmapper_config cfg;
	struct taker takers[UNMAPPER_THREADS];
	u32 nr_started, nr_helpers;

	struct mutex lock; /* LOCK_LEAF */
	/* under lock */
	struct waitq wake; /* takers */
	struct waitq done; /* drops */
	struct copies copies;
	struct list_head drops;
	u64 high, low, full; /* pages */
	u64 taking;	     /* pages of the batches that takers are at */
	u64 taking_fresh;    /* ... that were not asked for before */
	u64 batches_begun;
	u64 told; /* pages, of the copies, that the cache was told */
	struct backoff stayed;	  /* of batches of which nothing could be had */
	struct backoff forgetful; /* of taking everything, as some was missed */
	bool taking_back;	  /* from high down to low */
	bool missed;		  /* a copy could not be noted */
	bool started, stopping;

	/* atomic */
	struct unmapper_stat count;
};

#define count(u, what, n) \
	((void)__atomic_add_fetch(&(u)->count.what, (n), __ATOMIC_RELAXED))

/* ---- beginning and end ---- */

static void set_share_locked(struct unmapper *u)
{
	u64 size = cache_get_knob(fs_cache(u->cfg.fs), KNOB_cache_size);

	u->high = UNMAPPER_HIGH(size) >> PAGE_SHIFT;
	u->low = UNMAPPER_LOW(size) >> PAGE_SHIFT;
	u->full = UNMAPPER_FULL(size) >> PAGE_SHIFT;
}

int unmapper_new(const struct unmapper_config *cfg, struct unmapper **ret)
{
	struct unmapper *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;

	u->cfg = *cfg;
	if (!u->cfg.exe)
		u->cfg.exe = "/proc/self/exe";
	mutex_init(&u->lock, LOCK_LEAF, "unmapper");
	waitq_init(&u->wake);
	waitq_init(&u->done);
	copies_init(&u->copies);
	list_init(&u->drops);
	set_share_locked(u);
	*ret = u;
	return 0;
}

void unmapper_free(struct unmapper *u)
{
	if (!u)
		return;

	assert(!u->nr_started && list_empty(&u->drops));
	copies_done(&u->copies);
	waitq_done(&u->done);
	waitq_done(&u->wake);
	mutex_done(&u->lock);
	free(u);
}

/* ---- noting ---- */

static u64 pages_locked(const struct unmapper *u)
{
	return u->copies.nr_pages + u->taking;
}

/* Is there something to take for who has nothing to do? */
static bool over_locked(struct unmapper *u)
{
	if (u->copies.nr_pages > u->high)
		u->taking_back = true;
	else if (u->copies.nr_pages <= u->low)
		u->taking_back = false;
	return u->taking_back || u->missed;
}

static bool is_full_locked(const struct unmapper *u)
{
	return u->started && !u->stopping &&
	       u->copies.nr_fresh + u->taking_fresh > u->full;
}

/* What the kernel has is no longer there for frames. Return: whether to. */
static bool tell_locked(struct unmapper *u, u64 *ret_pages)
{
	u64 nr = pages_locked(u);
	u64 diff = nr > u->told ? nr - u->told : u->told - nr;

	if (diff < TELL_PAGES)
		return false;
	u->told = *ret_pages = nr;
	return true;
}

/* Return: false: there is no room. */
static bool admit_locked(struct unmapper *u, u64 ino, u64 pos, size_t len,
			 pid_t tid, u64 waited_ns)
{
	u64 pgoff = pos >> PAGE_SHIFT;
	bool full = is_full_locked(u);

	if (full) {
		count(u, unmap_waits, waited_ns == 0);
		count(u, unmap_late, waited_ns >= UNMAPPER_WAIT_NS);
	}
	if (full && waited_ns < UNMAPPER_WAIT_NS) {
		copies_touch(&u->copies, ino, pgoff);
		return false;
	}
	if (copies_add(&u->copies, ino, pgoff,
		       bytes_to_pages(pos + len) - pgoff, (u32)tid))
		u->missed = true;
	return true;
}

bool unmapper_admit(struct unmapper *u, u64 ino, u64 pos, size_t len, pid_t tid,
		    u64 waited_ns)
{
	bool admitted, tell, over;
	u64 pages = 0;

	if (!u || !len)
		return true;

	mutex_lock(&u->lock);
	admitted = admit_locked(u, ino, pos, len, tid, waited_ns);
	over = over_locked(u);
	tell = tell_locked(u, &pages);
	mutex_unlock(&u->lock);
	if (over)
		waitq_wake_one(&u->wake);
	if (tell)
		cache_set_copies(fs_cache(u->cfg.fs), pages << PAGE_SHIFT);
	return admitted;
}

static void note_left(struct unmapper *u, u64 ino, u64 pgoff, u32 nr)
{
	if (!nr || !u->cfg.own)
		return;

	mutex_lock(&u->lock);
	if (copies_add_left(&u->copies, ino, pgoff, min(nr, COPIES_CHUNK)))
		u->missed = true;
	mutex_unlock(&u->lock);
}

static void tell(struct unmapper *u)
{
	u64 pages = 0;
	bool any;

	mutex_lock(&u->lock);
	any = tell_locked(u, &pages);
	mutex_unlock(&u->lock);
	if (any)
		cache_set_copies(fs_cache(u->cfg.fs), pages << PAGE_SHIFT);
}

/* ---- taking back ---- */

/* Return: 0; -EBUSY: somebody may write; or why there is nothing to do. */
static int invalidate(struct unmapper *u, const struct unmap_request *req)
{
	int err = fs_take_begin(u->cfg.fs, req->ino);

	if (err)
		return err;

	for (u32 i = 0; i < req->nr_ranges; i++) {
		const struct unmap_range *r = &req->ranges[i];

		(void)u->cfg.inval(u->cfg.arg, req->ino, r->pgoff << PAGE_SHIFT,
				   r->nr << PAGE_SHIFT);
		count(u, unmap_inval, 1);
	}
	fs_take_end(u->cfg.fs, req->ino);
	return 0;
}

static void find_pids(struct unmapper *u, struct unmap_request *req)
{
	const struct unmap_range *end = &req->ranges[req->nr_ranges - 1];
	u64 last = end->nr ? end->pgoff + end->nr - 1 : UINT64_MAX;

	req->nr_pids =
		(u32)fs_mappers(u->cfg.fs, req->ino, req->ranges[0].pgoff, last,
				req->pids, req->nr_pids, UNMAP_MAX_PIDS);
}

/* Where the helper finds it if it may not open it by number. */
static void find_path(struct unmapper *u, struct unmap_request *req)
{
	char path[UNMAP_PATH_MAX];

	*req->path = '\0';
	if (!fs_path(u->cfg.fs, req->ino, path, sizeof(path)))
		(void)snprintf(req->path, sizeof(req->path), "%s",
			       path + (*path == '/'));
}

static void count_answer(struct unmapper *u, const struct unmap_answer *a)
{
	u64 left = 0;

	for (u32 i = 0; i < a->nr_ranges; i++)
		left += a->left[i];
	count(u, unmap_pageout, a->paged_out);
	count(u, unmap_dontneed, a->dropped);
	count(u, unmap_denied, a->nr_denied);
	count(u, unmap_failed, a->err != 0);
	if (a->nr_mappers > 1)
		count(u, unmap_shared, left);
	else
		count(u, unmap_left, left);
}

/* Return: 0, or why nothing was taken back. */
static int ask_helper(struct taker *t)
{
	struct unmapper *u = t->u;
	struct unmap_request *req = &t->req;
	u64 started = t->helper.nr_started;
	int err;

	find_pids(u, req);
	find_path(u, req);
	err = unmap_helper_call(&t->helper, req, &t->answer);
	count(u, unmap_helpers, t->helper.nr_started - started);
	if (err) {
		count(u, unmap_failed, 1);
		return err;
	}
	count_answer(u, &t->answer);
	return t->answer.err;
}

/* Return: 0, and what is left in t->answer; or -errno: nothing was done. */
static int take_back(struct taker *t)
{
	struct unmapper *u = t->u;
	u64 begun = mono_ns();
	int err;

	t->answer = (struct unmap_answer){0};
	err = invalidate(u, &t->req);
	if (err == -EBUSY)
		err = ask_helper(t);
	else
		err = 0; /* or the file is gone, and with it its pages */
	count(u, unmap_us, (mono_ns() - begun) / 1000);
	return err;
}

/* ---- batches of noted copies ---- */

/* One range a chunk, so that what is left is known for each. */
static void fill_request(struct taker *t)
{
	const struct copies_batch *b = &t->batch;

	t->req.ino = b->ino;
	t->req.nr_ranges = b->nr_chunks;
	for (u32 i = 0; i < b->nr_chunks; i++) {
		t->req.ranges[i].pgoff = b->chunks[i].pgoff;
		t->req.ranges[i].nr = COPIES_CHUNK;
	}
	t->req.nr_pids = b->nr_tids;
	memcpy(t->req.pids, b->tids, b->nr_tids * sizeof(*b->tids));
}

_Static_assert(COPIES_BATCH_CHUNKS <= UNMAP_MAX_RANGES &&
		       COPIES_BATCH_TIDS <= UNMAP_MAX_PIDS,
	       "a batch is one request");

/* Return: false: there is nothing to take. */
static bool begin_batch_locked(struct taker *t, u64 ino, u64 want)
{
	struct unmapper *u = t->u;

	if (!copies_take(&u->copies, ino, want, &t->batch))
		return false;
	t->batch_nr = ++u->batches_begun;
	u->taking += t->batch.nr_pages;
	u->taking_fresh += t->batch.nr_fresh;
	return true;
}

static void end_batch(struct taker *t)
{
	struct unmapper *u = t->u;

	mutex_lock(&u->lock);
	t->batch_nr = 0;
	u->taking -= t->batch.nr_pages;
	u->taking_fresh -= t->batch.nr_fresh;
	mutex_unlock(&u->lock);
	waitq_wake_all(&u->done);
	tell(u);
}

/* What could not even be asked for is still there, as far as we know.
 * Return: whether there is less than before. */
static bool take_batch(struct taker *t)
{
	const struct copies_batch *b = &t->batch;
	u64 left = 0;
	int err;

	fill_request(t);
	err = take_back(t);
	for (u32 i = 0; i < b->nr_chunks; i++) {
		u32 nr = err ? b->chunks[i].nr : t->answer.left[i];

		note_left(t->u, b->ino, b->chunks[i].pgoff, nr);
		left += nr;
	}
	end_batch(t);
	return left < b->nr_pages;
}

/* ---- everything of a file, or of all ---- */

static void drop_file(struct taker *t, u64 ino)
{
	t->req.ino = ino;
	t->req.nr_ranges = 1;
	t->req.nr_pids = 0;
	t->req.ranges[0] = (struct unmap_range){0};
	(void)take_back(t);
}

static bool stopping(struct unmapper *u)
{
	bool ret;

	mutex_lock(&u->lock);
	ret = u->stopping;
	mutex_unlock(&u->lock);
	return ret;
}

static void drop_known(struct taker *t)
{
	u64 *list;
	size_t nr;

	if (fs_looked_up(t->u->cfg.fs, &list, &nr))
		return;
	for (size_t i = 0; i < nr && !stopping(t->u); i++)
		drop_file(t, list[i]);
	free(list);
}

/* As many chunks as there were: those that are left come back. */
static void drop_noted(struct taker *t, u64 ino)
{
	struct unmapper *u = t->u;
	bool more = true;
	u64 todo;

	mutex_lock(&u->lock);
	todo = copies_count(&u->copies, ino);
	mutex_unlock(&u->lock);
	while (more && todo) {
		mutex_lock(&u->lock);
		more = !u->stopping && begin_batch_locked(t, ino, UINT64_MAX);
		mutex_unlock(&u->lock);
		if (more) {
			todo -= min(todo, (u64)t->batch.nr_chunks);
			(void)take_batch(t);
		}
	}
}

/* Is somebody still at what was taken up to batch @nr? */
static bool is_taking_locked(const struct unmapper *u, u64 nr)
{
	for (u32 i = 0; i < UNMAPPER_THREADS; i++) {
		if (u->takers[i].batch_nr && u->takers[i].batch_nr <= nr)
			return true;
	}
	return false;
}

/* The others' batches: those end, as nobody waits in the middle of one. */
static void wait_taken(struct unmapper *u)
{
	u64 nr;

	mutex_lock(&u->lock);
	nr = u->batches_begun;
	while (!u->stopping && is_taking_locked(u, nr))
		waitq_wait(&u->done, &u->lock);
	mutex_unlock(&u->lock);
}

static void drop_copies(struct taker *t, u64 ino)
{
	wait_taken(t->u);
	drop_noted(t, ino);
	wait_taken(t->u);
}

static void drop_all(struct taker *t, u64 ino)
{
	if (t->u->cfg.own)
		drop_copies(t, ino);
	else if (ino)
		drop_file(t, ino);
	else
		drop_known(t);
}

/* ---- threads ---- */

enum work {
	WORK_NONE,
	WORK_STOP,
	WORK_DROP,
	WORK_MISSED,
	WORK_BATCH,
};

/* When the next batch may be taken. What was not asked for before is worth a
 * try whatever came of the last one. */
static u64 resume_locked(const struct unmapper *u)
{
	return u->copies.nr_fresh > u->high ? 0 : u->stayed.until_ns;
}

static u64 batch_size_locked(const struct unmapper *u)
{
	u64 most = min(max(u->high / 2, (u64)COPIES_CHUNK), (u64)BATCH_PAGES);

	return min(u->copies.nr_pages - u->low, most);
}

static enum work next_work_locked(struct unmapper *u, struct taker *t,
				  struct drop **ret_drop)
{
	bool over;

	if (u->stopping)
		return WORK_STOP;
	if (!list_empty(&u->drops)) {
		*ret_drop = list_first_entry(&u->drops, struct drop, node);
		list_del(&(*ret_drop)->node);
		(*ret_drop)->queued = false;
		return WORK_DROP;
	}
	over = over_locked(u);
	if (over && u->missed && mono_ns() >= u->forgetful.until_ns) {
		u->missed = false;
		/* one of us, and then take_missed() says when again */
		u->forgetful.until_ns = UINT64_MAX;
		return WORK_MISSED;
	}
	if (over && u->taking_back && mono_ns() >= resume_locked(u) &&
	    begin_batch_locked(t, 0, batch_size_locked(u)))
		return WORK_BATCH;
	return WORK_NONE;
}

/* When what next_work_locked() left undone is to be done. */
static u64 next_time_locked(const struct unmapper *u)
{
	u64 at = UINT64_MAX;

	if (u->taking_back)
		at = resume_locked(u);
	if (u->missed)
		at = min(at, u->forgetful.until_ns);
	return max(at, mono_ns() + NSEC_PER_MSEC);
}

static enum work wait_work(struct taker *t, struct drop **ret_drop)
{
	struct unmapper *u = t->u;
	enum work work;

	mutex_lock(&u->lock);
	while ((work = next_work_locked(u, t, ret_drop)) == WORK_NONE) {
		if (over_locked(u))
			(void)waitq_wait_until(&u->wake, &u->lock,
					       next_time_locked(u));
		else
			waitq_wait(&u->wake, &u->lock);
	}
	mutex_unlock(&u->lock);
	return work;
}

static void finish_drop(struct unmapper *u, struct drop *d)
{
	bool abandoned;

	mutex_lock(&u->lock);
	d->done = true;
	abandoned = d->abandoned;
	mutex_unlock(&u->lock);
	if (abandoned)
		free(d);
	else
		waitq_wake_all(&u->done);
}

static void back_off(struct unmapper *u, struct backoff *b, bool progress)
{
	u64 pause = 0;

	mutex_lock(&u->lock);
	if (!progress)
		pause = min(max(2 * b->pause_ns, (u64)BACKOFF_NS),
			    (u64)BACKOFF_MAX_NS);
	b->pause_ns = pause;
	b->until_ns = pause ? mono_ns() + pause : 0;
	mutex_unlock(&u->lock);
}

/* Files that have been looked up may be many. While there is no memory to note
 * what they have in the kernel, they are all gone through now and then. */
static void take_missed(struct taker *t)
{
	struct unmapper *u = t->u;
	bool again;

	drop_known(t);
	mutex_lock(&u->lock);
	again = u->missed;
	mutex_unlock(&u->lock);
	back_off(u, &u->forgetful, !again);
}

static void *taker_main(void *arg)
{
	struct taker *t = arg;
	struct drop *d = NULL;
	enum work work;

	while ((work = wait_work(t, &d)) != WORK_STOP) {
		if (work == WORK_DROP) {
			drop_all(t, d->ino);
			finish_drop(t->u, d);
		} else if (work == WORK_MISSED) {
			take_missed(t);
		} else {
			back_off(t->u, &t->u->stayed, take_batch(t));
		}
	}
	return NULL;
}

static int start_taker(struct unmapper *u, u32 i)
{
	char name[16];
	int err = pthread_create(&u->takers[i].thread, NULL, taker_main,
				 &u->takers[i]);

	if (err)
		return -err;
	(void)snprintf(name, sizeof(name), "unmapper-%u", i);
	(void)pthread_setname_np(u->takers[i].thread, name);
	u->nr_started++;
	return 0;
}

/* Signals are for the threads that wait for them. */
static int start_takers(struct unmapper *u)
{
	sigset_t all, old;
	int err = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (u32 i = 0; i < UNMAPPER_THREADS && !err; i++)
		err = start_taker(u, i);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

int unmapper_start(struct unmapper *u, const char *mountpoint,
		   const struct mount_dev *dev)
{
	struct unmap_helper_config cfg = {
		.exe = u->cfg.exe,
		.mountpoint = mountpoint,
		.dev = *dev,
		.timeout_ms = HELPER_TIMEOUT_MS,
	};
	int err = 0;

	while (!err && u->nr_helpers < UNMAPPER_THREADS) {
		struct taker *t = &u->takers[u->nr_helpers];

		t->u = u;
		err = unmap_helper_init(&t->helper, &cfg);
		u->nr_helpers += !err;
	}
	if (!err)
		err = start_takers(u);
	if (err) {
		unmapper_stop(u);
		return err;
	}
	mutex_lock(&u->lock);
	u->started = true;
	mutex_unlock(&u->lock);
	waitq_wake_all(&u->wake);
	return 0;
}

void unmapper_stop(struct unmapper *u)
{
	if (!u)
		return;

	mutex_lock(&u->lock);
	u->stopping = true;
	mutex_unlock(&u->lock);
	waitq_wake_all(&u->wake);
	waitq_wake_all(&u->done);
	for (u32 i = 0; i < u->nr_helpers; i++)
		unmap_helper_cancel(&u->takers[i].helper);
	for (u32 i = 0; i < u->nr_started; i++)
		(void)pthread_join(u->takers[i].thread, NULL);
	for (u32 i = 0; i < u->nr_helpers; i++)
		unmap_helper_done(&u->takers[i].helper);
	u->nr_started = u->nr_helpers = 0;
}

/* ---- asking ---- */

void unmapper_kick(struct unmapper *u)
{
	if (!u)
		return;

	mutex_lock(&u->lock);
	set_share_locked(u);
	mutex_unlock(&u->lock);
	waitq_wake_all(&u->wake);
}

/* Return: 0 or -ETIMEDOUT. A taker that is at it frees it then. */
static int wait_drop_locked(struct unmapper *u, struct drop *d, u64 until)
	__requires(u->lock)
{
	while (!d->done && !u->stopping &&
	       waitq_wait_until(&u->done, &u->lock, until))
		;
	if (d->done)
		return 0;

	if (d->queued)
		list_del(&d->node);
	else
		d->abandoned = true;
	return -ETIMEDOUT;
}

int unmapper_drop(struct unmapper *u, u64 ino, u32 timeout_ms)
{
	u64 until = mono_ns() + timeout_ms * NSEC_PER_MSEC;
	struct drop *d;
	bool ours;
	int err;

	if (!u)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;

	d->ino = ino;
	mutex_lock(&u->lock);
	if (u->stopping) {
		err = -ETIMEDOUT;
	} else {
		d->queued = true;
		list_add_tail(&d->node, &u->drops);
		waitq_wake_all(&u->wake);
		err = wait_drop_locked(u, d, until);
	}
	ours = !d->abandoned;
	mutex_unlock(&u->lock);
	if (ours)
		free(d);
	return err;
}

void unmapper_reap(struct unmapper *u)
{
	for (u32 i = 0; u && i < u->nr_helpers; i++)
		unmap_helper_reap(&u->takers[i].helper);
}

void unmapper_stat(struct unmapper *u, struct unmapper_stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!u)
		return;

#define X(name, ...) \
	ret->name = __atomic_load_n(&u->count.name, __ATOMIC_RELAXED);
	UNMAP_COUNTERS(X)
#undef X
	mutex_lock(&u->lock);
	ret->nr_kernel_pages = pages_locked(u);
	mutex_unlock(&u->lock);
}

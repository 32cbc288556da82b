/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "scrub.h"

#include <signal.h>
#include <stdlib.h>
#include <syslog.h>

#include "fs_internal.h"
#include "redo.h"
#include "sum.h"

/* What a scrub has at hand. */
struct pass {
	struct scrub *s;
	u8 *buf; /* META_EXTENT_MAX pages */
	void *pages[META_EXTENT_MAX];
	struct extent_row row;
	u64 ino, pgoff; /* of the extent looked at last */
	u64 begin_ns;
	u64 bytes; /* read since */
};

static void add(u64 *counter, u64 nr)
{
	(void)__atomic_fetch_add(counter, nr, __ATOMIC_RELAXED);
}

static u64 load(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* ---- what is bad ---- */

/* Two ranges that meet are one. Context: lock held. */
static bool joins(const struct scrub *s, u64 ino, u64 pgoff)
{
	const struct fs_scrub_bad *last;

	if (!s->nr_bad)
		return false;
	last = &s->bad[s->nr_bad - 1];
	return last->ino == ino && last->pgoff + last->nr == pgoff;
}

static void note(struct scrub *s, u64 ino, u64 pgoff)
{
	mutex_lock(&s->lock);
	if (joins(s, ino, pgoff))
		s->bad[s->nr_bad - 1].nr++;
	else if (s->bad && s->nr_bad < SCRUB_BAD_MAX)
		s->bad[s->nr_bad++] = (struct fs_scrub_bad){ino, pgoff, 1};
	mutex_unlock(&s->lock);
}

/* ---- reading ---- */

static bool page_is_good(struct pass *p, u32 i, bool single)
{
	struct bdev *data = p->s->fs->volume->data;

	if (single && data->ops->read(data, p->row.block + i, 1, &p->pages[i]))
		return false;
	return page_sum(p->pages[i]) == p->row.sums[i];
}

/* Return: bit by bit in @bad, which pages are. */
static u32 read_extent(struct pass *p, u8 bad[META_EXTENT_MAX])
{
	struct bdev *data = p->s->fs->volume->data;
	u32 nr_bad = 0;
	bool single;

	single = data->ops->read(data, p->row.block, p->row.npages, p->pages);
	for (u32 i = 0; i < p->row.npages; i++) {
		bad[i] = !page_is_good(p, i, single);
		nr_bad += bad[i];
	}
	p->bytes += (u64)p->row.npages * PAGE_SIZE;
	return nr_bad;
}

/* The next extent and what is in it. Return: 1, 0: there is none, -errno. */
static int look(struct pass *p, u8 bad[META_EXTENT_MAX], u32 *ret_bad)
{
	struct volume *v = p->s->fs->volume;
	u32 token = blocks_read_enter(v->blocks);
	struct meta_reader *r;
	int err = meta_reader_get(v->meta, &r);

	*ret_bad = 0;
	if (!err) {
		err = meta_extent_next(r, &p->ino, &p->pgoff, &p->row,
				       p->pages[0]);
		meta_reader_put(r);
		if (err == -EIO || err == -EUCLEAN) {
			/* of the row alone: the walk goes on behind it */
			*ret_bad = p->row.npages = 1;
			p->row.pgoff = p->pgoff;
			p->row.flags = META_EXTENT_INLINE;
			bad[0] = 1;
			err = 1;
		} else if (err > 0 && extent_has_blocks(p->row.flags) &&
			   extent_has_sums(p->row.flags)) {
			*ret_bad = read_extent(p, bad);
		}
	}
	blocks_read_leave(v->blocks, token);
	return err;
}

/* The next page of the redo log. Return: is there one? */
static bool look_in_log(struct pass *p, u8 bad[META_EXTENT_MAX], u32 *ret_bad)
{
	struct volume *v = p->s->fs->volume;
	u32 token = blocks_read_enter(v->blocks);
	struct meta_page page;
	bool any = redo_next(v->redo, &p->ino, &p->pgoff, &page);

	if (any) {
		p->row.pgoff = p->pgoff;
		p->row.npages = 1;
		p->row.block = page.block;
		p->row.flags = 0;
		p->row.sums[0] = page.sum;
		*ret_bad = read_extent(p, bad);
	}
	blocks_read_leave(v->blocks, token);
	return any;
}

static void report(struct pass *p, const u8 bad[META_EXTENT_MAX])
{
	struct scrub *s = p->s;

	for (u32 i = 0, n; i < p->row.npages; i += n) {
		for (n = 0; i + n < p->row.npages && bad[i + n]; n++)
			note(s, p->ino, p->row.pgoff + i + n);
		if (n)
			fs_log_bad_pages(s->fs, "scrub: ", p->ino,
					 p->row.pgoff + i, n);
		else
			n = 1;
	}
}

/* ---- pace ---- */

static bool shall_stop(struct scrub *s)
{
	bool stop;

	mutex_lock(&s->lock);
	stop = s->stop;
	mutex_unlock(&s->lock);
	return stop;
}

/* Wait until what was read since the beginning, or since the rate was last
 * changed, is no more than the rate allows. Return: go on? */
static bool keep_pace(struct pass *p)
{
	struct scrub *s = p->s;
	u64 due;
	bool stop;

	mutex_lock(&s->lock);
	due = p->begin_ns +
	      (u64)((double)p->bytes * (double)NSEC_PER_SEC / (double)s->rate);
	while (!s->stop && mono_ns() < due) {
		if (!waitq_wait_until(&s->wake, &s->lock, due))
			break;
		/* somebody changed the rate: anew */
		p->begin_ns = due = mono_ns();
		p->bytes = 0;
	}
	stop = s->stop;
	mutex_unlock(&s->lock);
	return !stop;
}

/* ---- the thread ---- */

/* What was just looked at. Return: go on? */
static bool account(struct pass *p, const u8 bad[META_EXTENT_MAX], u32 nr_bad)
{
	if (nr_bad) {
		add(&p->s->errors, nr_bad);
		report(p, bad);
	}
	if (extent_has_blocks(p->row.flags) && extent_has_sums(p->row.flags)) {
		add(&p->s->blocks, p->row.npages);
		add(&p->s->done, p->row.npages);
	}
	return keep_pace(p);
}

/* First what no row refers to yet: what a transaction takes over meanwhile is
 * met among the extents. */
static int run(struct pass *p)
{
	u8 bad[META_EXTENT_MAX];
	u32 nr_bad;
	int more;

	for (; look_in_log(p, bad, &nr_bad); p->pgoff++)
		if (!account(p, bad, nr_bad))
			return -EINTR;

	p->ino = p->pgoff = 0;
	while ((more = look(p, bad, &nr_bad)) > 0)
		if (!account(p, bad, nr_bad))
			return -EINTR;
	return more;
}

static void *scrub_main(void *arg)
{
	struct scrub *s = arg;
	struct pass *p = calloc(1, sizeof(*p));
	int err = -ENOMEM;

	if (p)
		p->buf = aligned_alloc(PAGE_SIZE, META_EXTENT_MAX * PAGE_SIZE);
	if (p && p->buf) {
		for (u32 i = 0; i < META_EXTENT_MAX; i++)
			p->pages[i] = p->buf + i * PAGE_SIZE;
		p->s = s;
		p->begin_ns = mono_ns();
		err = run(p);
	}
	if (err && !shall_stop(s))
		fs_log(s->fs, LOG_ERR, "scrub: %s", strerror(-err));
	if (p)
		free(p->buf);
	free(p);
	mutex_lock(&s->lock);
	s->running = false;
	s->complete = !err;
	mutex_unlock(&s->lock);
	return NULL;
}

/* ---- steering ---- */

void scrub_init(struct scrub *s, struct fs *fs)
{
	s->fs = fs;
	s->rate = SCRUB_RATE;
	mutex_init(&s->lock, LOCK_LEAF, "scrub");
	waitq_init(&s->wake);
}

/* Context: nobody starts one meanwhile. */
static void end(struct scrub *s)
{
	bool started;

	mutex_lock(&s->lock);
	s->stop = true;
	started = s->started;
	s->started = false;
	waitq_wake_all(&s->wake);
	mutex_unlock(&s->lock);
	if (started)
		(void)pthread_join(s->thread, NULL);
}

void scrub_done(struct scrub *s)
{
	end(s);
	free(s->bad);
	waitq_done(&s->wake);
	mutex_done(&s->lock);
}

/* Signals are for the threads that wait for them. Context: lock held. */
static int begin(struct scrub *s)
{
	sigset_t all;
	sigset_t old;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&s->thread, NULL, scrub_main, s);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	s->started = s->running = !err;
	return -err;
}

static int start(struct scrub *s)
{
	struct blocks_stat st;
	pthread_t last;
	bool join;
	int err;

	blocks_stat(s->fs->volume->blocks, &st);
	mutex_lock(&s->lock);
	if (s->running) {
		mutex_unlock(&s->lock);
		return -EBUSY;
	}
	last = s->thread;
	join = s->started;
	if (!s->bad)
		s->bad = calloc(SCRUB_BAD_MAX, sizeof(*s->bad));
	s->nr_bad = 0;
	s->stop = s->complete = false;
	__atomic_store_n(&s->done, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&s->total, st.used, __ATOMIC_RELAXED);
	err = begin(s);
	mutex_unlock(&s->lock);
	/* It is not running any more: this does not wait. */
	if (join)
		(void)pthread_join(last, NULL);
	return err;
}

int fs_scrub(struct fs *fs, bool on)
{
	struct scrub *s = &fs->scrub;

	if (on)
		return start(s);
	mutex_lock(&s->lock);
	s->stop = true;
	waitq_wake_all(&s->wake);
	mutex_unlock(&s->lock);
	return 0;
}

void fs_set_scrub_rate(struct fs *fs, u64 bytes)
{
	mutex_lock(&fs->scrub.lock);
	fs->scrub.rate = max(bytes, (u64)PAGE_SIZE);
	waitq_wake_all(&fs->scrub.wake);
	mutex_unlock(&fs->scrub.lock);
}

u64 fs_get_scrub_rate(struct fs *fs)
{
	u64 rate;

	mutex_lock(&fs->scrub.lock);
	rate = fs->scrub.rate;
	mutex_unlock(&fs->scrub.lock);
	return rate;
}

int fs_scrub_bad(struct fs *fs, struct fs_scrub_bad **ret, size_t *ret_nr)
{
	struct scrub *s = &fs->scrub;
	struct fs_scrub_bad *bad = malloc(SCRUB_BAD_MAX * sizeof(*bad));

	if (!bad)
		return -ENOMEM;
	mutex_lock(&s->lock);
	*ret_nr = s->nr_bad;
	if (s->nr_bad)
		memcpy(bad, s->bad, s->nr_bad * sizeof(*bad));
	mutex_unlock(&s->lock);
	*ret = bad;
	return 0;
}

void scrub_stat(struct scrub *s, struct fs_stat *ret)
{
	ret->scrub_blocks = load(&s->blocks);
	ret->scrub_errors = load(&s->errors);
	ret->scrub_done_blocks = load(&s->done);
	ret->scrub_total_blocks = load(&s->total);
	mutex_lock(&s->lock);
	ret->scrub_running = s->running;
	ret->scrub_complete = s->complete;
	mutex_unlock(&s->lock);
}

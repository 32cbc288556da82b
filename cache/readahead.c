/* SPDX-License-Identifier: MIT */
/*
 * Readahead: on demand, per open file, in windows that double.
 *
 * A read that misses and begins where the last one ended, or at the start of
 * the file, is taken for a sequential one, and more than it asks for is brought
 * in: the first window is a small multiple of the read, each next one that
 * begins where the last window ended is twice as long, up to readahead_kb.
 * Everything else brings in what it asks for. The fields of struct file are
 * hints: readers that share it may race, and read a little too much or too
 * little ahead.
 *
 * The next window is started before the reader gets there: as soon as a read
 * reaches what of the current one was not asked for when it was started
 * (ra_async pages, which is all of a window that was itself started so). Then
 * the device reads one window while the one before is being copied. It is read
 * by threads of the cache, in jobs of JOB_PAGES, so that a reader who catches
 * up waits for the first of them only. Reading ahead is a hint there too: when
 * the queue is full, the file being truncated or no thread running, nothing is
 * started, and the read that gets there misses and brings in a window itself.
 * A range that somebody maps and has advised to be read at random gets none,
 * one that is to be read in sequence windows twice as long (mm.h).
 *
 * A job does what a reader does, under the same locks, and nobody waits for
 * one that has not begun; see internal.h.
 *
 * Source: Linux mm/readahead.c, get_init_ra_size(), get_next_ra_size() and
 * page_cache_async_ra().
 */
#include "config.h"

#include "internal.h"

/* 512 KiB: enough for the device to stream. */
#define JOB_PAGES 128u
/* Caches so small that windows are smaller have no frames to spare. */
#define WINDOW_MIN 32

enum ra_mode {
	RA_NORMAL,
	RA_RANDOM,
	RA_SEQUENTIAL,
};

/* What was said of the open file, else of the mappings of @pgoff where they
 * agree. */
static enum ra_mode ra_mode(const struct file *f, u64 pgoff)
{
	u32 mode = atomic_read(&f->ra_mode);

	if (mode != RA_NORMAL)
		return (enum ra_mode)mode;
	switch (rmap_read_hints(f->mapping, pgoff)) {
	case VM_RAND_READ:
		return RA_RANDOM;
	case VM_SEQ_READ:
		return RA_SEQUENTIAL;
	default:
		return RA_NORMAL;
	}
}

static u32 window_max(const struct file *f, enum ra_mode mode)
{
	struct cache *c = f->mapping->cache;
	u64 max =
		atomic_read(&c->knobs[KNOB_readahead_kb]) >> (PAGE_SHIFT - 10);

	if (mode == RA_SEQUENTIAL)
		max *= 2;
	/* A window that takes the frames of what it has just read is none. */
	return (u32)min(max, (u64)frames_limit(c) / 8);
}

static u32 roundup_pow_of_two(u32 n)
{
	return n <= 1 ? 1 : 1u << (32 - (u32)__builtin_clz(n - 1));
}

static u32 first_window(u32 nr, u32 max)
{
	u32 size = roundup_pow_of_two(nr);

	if (size <= max / 32)
		return size * 4;
	if (size <= max / 4)
		return size * 2;
	return max;
}

static u32 next_window(u32 size, u32 max)
{
	return min(size < max / 16 ? size * 4 : size * 2, max);
}

u32 readahead_window(struct file *f, u64 pgoff, u32 nr)
{
	enum ra_mode mode = ra_mode(f, pgoff);
	u32 max = window_max(f, mode);
	u64 start = atomic_read(&f->ra_start);
	u32 size = atomic_read(&f->ra_size);
	u64 prev = atomic_read(&f->ra_prev);
	u32 window;

	if (!max || mode == RA_RANDOM)
		return nr;
	if (pgoff >= start && pgoff < start + size &&
	    atomic_read(&f->ra_async) == size)
		return nr; /* a thread has the rest, or soon will */
	if (size && pgoff == start + size)
		window = next_window(size, max);
	else if (pgoff == 0 || pgoff == prev || pgoff == prev + 1)
		window = first_window(nr, max);
	else
		return nr;

	window = max(window, nr);
	atomic_set(&f->ra_start, pgoff);
	atomic_set(&f->ra_size, window);
	atomic_set(&f->ra_async, window - nr);
	return window;
}

void readahead_done(struct file *f, u64 pgoff, u32 nr)
{
	atomic_set(&f->ra_prev, pgoff + nr - 1);
}

/* ---- in the background ---- */

static void run_job(struct cache *c, const struct readahead_job *job)
{
	struct address_space *as = job->as;
	u64 last = job->pgoff + job->nr - 1;
	u64 pages;
	long nr = 0;

	/* Truncation waits for no more than has begun. */
	if (!down_read_trylock(&as->invalidate_lock))
		return;
	pages = bytes_to_pages(i_size_read(as));
	if (job->pgoff < pages)
		nr = fill_range(as, job->pgoff, min(last, pages - 1),
				PG_READAHEAD);
	up_read(&as->invalidate_lock);
	if (nr > 0)
		count_add(c, readahead_pages, nr);
}

/* Take job @i out of the queue. Context: locked. */
static struct readahead_job take_job(struct readahead *ra, u32 i)
{
	struct readahead_job job = ra->jobs[i];

	ra->nr_jobs--;
	for (; i < ra->nr_jobs; i++)
		ra->jobs[i] = ra->jobs[i + 1];
	return job;
}

static void readahead_work(struct cache *c)
{
	struct readahead *ra = &c->readahead;

	mutex_lock(&ra->lock);
	while (ra->nr_jobs) {
		struct readahead_job job = take_job(ra, 0);

		ra->nr_running++;
		job.as->nr_readahead++;
		mutex_unlock(&ra->lock);

		run_job(c, &job);

		mutex_lock(&ra->lock);
		job.as->nr_readahead--;
		ra->nr_running--;
		waitq_wake_all(&ra->idle);
	}
	mutex_unlock(&ra->lock);
}

void readahead_cancel(struct cache *c, struct address_space *as)
{
	struct readahead *ra = &c->readahead;

	mutex_lock(&ra->lock);
	for (u32 i = 0; i < ra->nr_jobs;) {
		if (!as || ra->jobs[i].as == as)
			(void)take_job(ra, i);
		else
			i++;
	}
	while (as ? as->nr_readahead : ra->nr_running)
		waitq_wait(&ra->idle, &ra->lock);
	mutex_unlock(&ra->lock);
}

/* All of the window or nothing. */
static bool queue_window(struct address_space *as, u64 pgoff, u32 nr)
{
	struct readahead *ra = &as->cache->readahead;
	u32 nr_jobs = (nr + JOB_PAGES - 1) / JOB_PAGES;
	bool room;

	mutex_lock(&ra->lock);
	room = nr_jobs <= READAHEAD_QUEUE - ra->nr_jobs;
	for (u32 i = 0; room && i < nr; i += JOB_PAGES)
		ra->jobs[ra->nr_jobs++] = (struct readahead_job){
			as, pgoff + i, min(nr - i, JOB_PAGES)};
	mutex_unlock(&ra->lock);

	for (u32 i = 0; room && i < min(nr_jobs, (u32)READAHEAD_WORKERS); i++)
		worker_wake(&ra->workers[i]);
	return room;
}

/* One past the last page that is to be on its way when a read up to @end is
 * answered; 0: this is no time to start anything. */
static u64 next_front(struct file *f, u64 pgoff, u64 end)
{
	u64 start = atomic_read(&f->ra_start);
	u32 size = atomic_read(&f->ra_size);
	enum ra_mode mode;
	u32 max;

	if (!size || pgoff < start || pgoff > start + size ||
	    end + atomic_read(&f->ra_async) <= start + size)
		return 0;
	mode = ra_mode(f, pgoff);
	max = window_max(f, mode);
	if (max < WINDOW_MIN || mode == RA_RANDOM)
		return 0;
	return min(end + next_window(size, max),
		   bytes_to_pages(i_size_read(f->mapping)));
}

void readahead_begin(struct file *f, u64 pgoff, u32 nr)
{
	u64 front = next_front(f, pgoff, pgoff + nr);
	u64 start = atomic_read(&f->ra_start) + atomic_read(&f->ra_size);
	u32 window;

	if (front <= start ||
	    !worker_running(&f->mapping->cache->readahead.workers[0]))
		return;
	window = (u32)(front - start);
	if (!queue_window(f->mapping, start, window))
		return;
	atomic_set(&f->ra_start, start);
	atomic_set(&f->ra_size, window);
	atomic_set(&f->ra_async, window);
}

void readahead_init(struct cache *c)
{
	struct readahead *ra = &c->readahead;

	mutex_init(&ra->lock, LOCK_LEAF, "readahead");
	waitq_init(&ra->idle);
	for (u32 i = 0; i < READAHEAD_WORKERS; i++)
		worker_init(&ra->workers[i], c, readahead_work, 0);
}

void readahead_free(struct cache *c)
{
	struct readahead *ra = &c->readahead;

	assert(!ra->nr_jobs && !ra->nr_running);
	for (u32 i = 0; i < READAHEAD_WORKERS; i++)
		worker_done(&ra->workers[i]);
	waitq_done(&ra->idle);
	mutex_done(&ra->lock);
}

int readahead_start(struct cache *c)
{
	int err = 0;

	for (u32 i = 0; !err && i < READAHEAD_WORKERS; i++)
		err = worker_start(&c->readahead.workers[i]);
	return err;
}

void readahead_stop(struct cache *c)
{
	readahead_cancel(c, NULL);
	for (u32 i = 0; i < READAHEAD_WORKERS; i++)
		worker_stop(&c->readahead.workers[i]);
	/* What a reader has queued since. */
	readahead_cancel(c, NULL);
}

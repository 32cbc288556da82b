/* SPDX-License-Identifier: MIT */
/* Events in, threads, who waits. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "tracker_internal.h"

/* How long events are gathered before they are looked at. */
#define GATHER_NS (10 * NSEC_PER_MSEC)

#define TID_KEEP_NS NSEC_PER_SEC

u64 tracker_cost_clock(void)
{
	return mono_ns();
}

static u64 default_now(void *arg)
{
	(void)arg;
	return tracker_cost_clock();
}

u64 tracker_now(struct tracker *t)
{
	return t->cfg.now(t->cfg.now_arg);
}

/* ---- events ---- */

static void wake(struct tracker *t)
{
	u64 one = 1;

	(void)!write(t->wake_fd, &one, sizeof(one));
}

/* The thread is woken by the first event only: it takes those that follow
 * with it. Return: whether it is to be woken. */
static bool queued_locked(struct tracker *t, bool was_empty)
	__requires(&t->lock)
{
	bool do_wake = !t->woken;

	if (was_empty)
		t->first_event_ns = tracker_now(t);
	t->woken = true;
	return do_wake;
}

static bool queue_empty(const struct queue *q)
{
	return !q->nr_events && !q->faults.nr;
}

static void add_event(struct tracker *t, const struct event *event)
{
	struct queue *q = &t->queue;
	bool full, empty, do_wake = false;

	mutex_lock(&t->lock);
	full = q->nr_events == TRACKER_QUEUE || t->stopping;
	empty = queue_empty(q);
	if (!full) {
		q->events[q->nr_events++] = *event;
		do_wake = queued_locked(t, empty);
	}
	mutex_unlock(&t->lock);

	if (full)
		tracker_count(t, tracker_dropped, 1);
	if (do_wake)
		wake(t);
}

void tracker_drop_faults(struct tracker *t, const struct fault_sum *sum)
{
	tracker_count(t, tracker_dropped, fault_sum_reads(sum));
	tracker_count(t, tracker_unknown, fault_sum_reads(sum));
}

static void add_fault(struct tracker *t, const struct fault_entry *fault)
{
	struct queue *q = &t->queue;
	bool full, empty, do_wake = false;

	mutex_lock(&t->lock);
	empty = queue_empty(q);
	full = t->stopping || !fault_set_add(&q->faults, fault);
	if (!full)
		do_wake = queued_locked(t, empty);
	mutex_unlock(&t->lock);

	if (full)
		tracker_drop_faults(t, &fault->sum);
	if (do_wake)
		wake(t);
}

void tracker_opened(struct tracker *t, pid_t tid, u64 ino, u64 fh)
{
	struct event event = {EVENT_OPENED, .tid = tid, .ino = ino, .fh = fh};

	/* 0: of another pid namespace, or the kernel's own */
	if (t && tid > 0)
		add_event(t, &event);
}

void tracker_fault(struct tracker *t, pid_t tid, u64 ino,
		   const struct read_fault *fault)
{
	struct fault_entry entry = {.tid = tid, .ino = ino};

	if (!t || !fault->nr)
		return;
	fault_sum_init(&entry.sum, fault);
	if (tid > 0)
		add_fault(t, &entry);
	else
		tracker_count(t, tracker_unknown, 1);
}

void tracker_unmapped(struct tracker *t, u64 ino)
{
	struct event event = {EVENT_UNMAPPED, .ino = ino};

	if (t)
		add_event(t, &event);
}

/* ---- threads and processes ---- */

static struct tid_entry *tid_slot(struct tracker *t, pid_t tid)
{
	return &t->tids[(u32)tid % TID_CACHE];
}

pid_t tracker_pid_of(struct tracker *t, pid_t tid)
{
	struct tid_entry *entry;
	pid_t pid = tid;

	if (!t)
		return tid;
	mutex_lock(&t->lock);
	entry = tid_slot(t, tid);
	if (entry->tid == tid && tracker_now(t) < entry->until_ns)
		pid = entry->pid;
	mutex_unlock(&t->lock);
	return pid;
}

/* The process of a thread; 0: gone, or not to be seen. One look each second
 * and thread, and one each batch. */
static pid_t find_process(struct tracker *t, pid_t tid)
{
	pid_t pid = 0;
	int err;

	mutex_lock(&t->lock);
	if (tid_slot(t, tid)->tid == tid &&
	    tracker_now(t) < tid_slot(t, tid)->until_ns)
		pid = tid_slot(t, tid)->pid;
	mutex_unlock(&t->lock);
	if (pid)
		return pid;

	err = proc_tgid(&t->procfs, tid, &pid);
	if (err == -EACCES || err == -EPERM)
		tracker_count(t, tracker_unreadable, 1);
	if (err)
		return 0;

	mutex_lock(&t->lock);
	*tid_slot(t, tid) = (struct tid_entry){
		.tid = tid,
		.pid = pid,
		.until_ns = tracker_now(t) + TID_KEEP_NS,
	};
	mutex_unlock(&t->lock);
	return pid;
}

/* ---- the tracker thread ---- */

static void handle_event(struct tracker *t, const struct event *event)
{
	pid_t pid;

	if (event->kind == EVENT_UNMAPPED) {
		tasks_unmapped(t, event->ino);
		return;
	}
	pid = find_process(t, event->tid);
	if (!pid)
		return;
	/* mmap() comes after open(), a fault after mmap() */
	(void)task_event(t, pid, TRACKER_DELAY_NS);
	t->cfg.ops->opened(t->cfg.arg, event->ino, event->fh, event->tid, pid);
}

static void handle_fault(struct tracker *t, const struct fault_entry *fault)
{
	pid_t pid = find_process(t, fault->tid);
	struct task *task = pid ? task_event(t, pid, 0) : NULL;

	if (task)
		task_add_fault(t, task, fault);
	else
		tracker_count(t, tracker_unknown, fault_sum_reads(&fault->sum));
}

/* Take the events out if their time has come: t->batch is empty else.
 * Return: when it comes. */
static u64 take_events(struct tracker *t, bool now)
{
	u64 due = UINT64_MAX;

	t->batch.nr_events = t->batch.faults.nr = 0;
	mutex_lock(&t->lock);
	if (!queue_empty(&t->queue))
		due = t->first_event_ns + GATHER_NS;
	if (!queue_empty(&t->queue) && (now || due <= tracker_now(t))) {
		struct queue queue = t->queue;

		t->queue = t->batch;
		t->batch = queue;
		due = UINT64_MAX;
	}
	/* sleeping till then, it need not be woken for more of them */
	t->woken = !queue_empty(&t->queue);
	mutex_unlock(&t->lock);
	return due;
}

static void handle_batch(struct tracker *t)
{
	for (u32 i = 0; i < t->batch.nr_events; i++)
		handle_event(t, &t->batch.events[i]);
	for (u32 i = 0; i < t->batch.faults.nr; i++)
		handle_fault(t, &t->batch.faults.entries[i]);
}

static bool anyone_waits(struct tracker *t)
{
	bool any;

	mutex_lock(&t->lock);
	any = !list_empty(&t->waits);
	mutex_unlock(&t->lock);
	return any;
}

static struct tracker_wait *take_wait(struct tracker *t,
				      struct list_head *waits)
{
	struct tracker_wait *wait = NULL;

	mutex_lock(&t->lock);
	if (!list_empty(waits)) {
		wait = list_first_entry(waits, struct tracker_wait, node);
		list_del(&wait->node);
	}
	mutex_unlock(&t->lock);
	return wait;
}

/* Those who wait now have what is looked at from now on. */
static void serve_waits(struct tracker *t)
{
	struct tracker_wait *wait;

	mutex_lock(&t->lock);
	list_splice_tail(&t->waits, &t->served);
	mutex_unlock(&t->lock);

	tasks_full_scan(t);
	while ((wait = take_wait(t, &t->served)) != NULL)
		hints_wait(t, wait);
}

static u64 run_tracker(struct tracker *t)
{
	bool hurry = anyone_waits(t);
	u64 due, next;

	tracker_count(t, tracker_wakeups, 1);
	due = take_events(t, hurry);
	handle_batch(t);
	if (hurry)
		serve_waits(t);
	next = tasks_run(t);
	return min(due, next);
}

u64 tracker_run(struct tracker *t)
{
	u64 due = run_tracker(t);

	while (hints_step(t))
		;
	return due;
}

static void handle_ready(struct tracker *t, const struct epoll_event *ready)
{
	u64 count;

	if (ready->data.ptr)
		task_died(t, ready->data.ptr);
	else
		(void)!read(t->wake_fd, &count, sizeof(count));
}

static int timeout_until(struct tracker *t, u64 due)
{
	u64 now = tracker_now(t);

	if (due == UINT64_MAX)
		return -1;
	if (due <= now)
		return 0;
	return (int)min((due - now) / NSEC_PER_MSEC + 1, (u64)60000);
}

static bool is_stopping(struct tracker *t)
{
	bool stopping;

	mutex_lock(&t->lock);
	stopping = t->stopping;
	mutex_unlock(&t->lock);
	return stopping;
}

static void *tracker_main(void *arg)
{
	struct tracker *t = arg;
	u64 due = 0;

	while (!is_stopping(t)) {
		struct epoll_event ready[16];
		int nr = epoll_wait(t->epoll_fd, ready, ARRAY_SIZE(ready),
				    timeout_until(t, due));

		for (int i = 0; i < nr; i++)
			handle_ready(t, &ready[i]);
		due = run_tracker(t);
	}
	return NULL;
}

/* ---- waiting ---- */

void tracker_sync(struct tracker *t, struct tracker_wait *wait)
{
	bool runs;

	list_init(&wait->node);
	mutex_lock(&t->lock);
	runs = t->attached && !t->stopping;
	if (runs)
		list_add_tail(&wait->node, &t->waits);
	mutex_unlock(&t->lock);

	if (runs)
		wake(t);
	else
		wait->fn(wait);
}

/* Whoever still waits at the end has what is known. */
static void release_waits(struct tracker *t)
{
	struct tracker_wait *wait;

	while ((wait = take_wait(t, &t->served)) != NULL ||
	       (wait = take_wait(t, &t->waits)) != NULL)
		wait->fn(wait);
	hints_drop(t);
}

/* ---- beginning and end ---- */

static u32 watch_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 256;
	return (u32)min((u64)limit.rlim_cur / 2, (u64)65536);
}

static int open_wake(struct tracker *t)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->wake_fd < 0 || t->epoll_fd < 0 ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->wake_fd, &event))
		return -errno;
	return 0;
}

int tracker_new(const struct tracker_config *cfg, struct tracker **ret)
{
	struct tracker *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->cfg = *cfg;
	if (!t->cfg.now)
		t->cfg.now = default_now;
	t->max_watched = watch_limit();
	t->wake_fd = t->epoll_fd = -1;
	mutex_init(&t->lock, LOCK_LEAF, "tracker");
	waitq_init(&t->hints_wake);
	list_init(&t->waits);
	list_init(&t->served);
	list_init(&t->hint_jobs);
	for (size_t i = 0; i < TASK_BUCKETS; i++)
		list_init(&t->buckets[i]);

	err = open_wake(t);
	t->queue.events = calloc(TRACKER_QUEUE, sizeof(struct event));
	t->batch.events = calloc(TRACKER_QUEUE, sizeof(struct event));
	if (!err && (!t->queue.events || !t->batch.events))
		err = -ENOMEM;
	if (err) {
		tracker_free(t);
		return err;
	}
	*ret = t;
	return 0;
}

static void queue_done(struct queue *q)
{
	free(q->events);
	fault_set_done(&q->faults);
}

void tracker_free(struct tracker *t)
{
	if (!t || t->abandoned)
		return;
	assert(!t->main.running && !t->hints.running);
	release_waits(t);
	tasks_free(t);
	if (t->attached)
		procfs_done(&t->procfs);
	if (t->wake_fd >= 0)
		(void)close(t->wake_fd);
	if (t->epoll_fd >= 0)
		(void)close(t->epoll_fd);
	queue_done(&t->queue);
	queue_done(&t->batch);
	waitq_done(&t->hints_wake);
	mutex_done(&t->lock);
	free(t);
}

int tracker_attach(struct tracker *t, const char *root,
		   const struct mount_dev *dev, bool parse)
{
	int err = procfs_init(&t->procfs, root, dev, parse);

	if (err)
		return err;
	mutex_lock(&t->lock);
	t->attached = true;
	mutex_unlock(&t->lock);
	__atomic_store_n(&t->stat.tracker_query, t->procfs.query,
			 __ATOMIC_RELAXED);
	return 0;
}

static int start_thread(struct tracker *t, struct tracker_thread *thread,
			void *(*fn)(void *), const char *name)
{
	int err = pthread_create(&thread->thread, NULL, fn, t);

	if (err)
		return -err;
	(void)pthread_setname_np(thread->thread, name);
	thread->running = true;
	return 0;
}

int tracker_start(struct tracker *t)
{
	int err;

	assert(t->attached && !t->main.running);
	err = start_thread(t, &t->main, tracker_main, "tracker");
	if (!err)
		err = start_thread(t, &t->hints, hints_main, "tracker-smaps");
	if (err)
		tracker_stop(t);
	return err;
}

void tracker_go_out(struct tracker_thread *thread)
{
	__atomic_store_n(&thread->presence, OUTSIDE, __ATOMIC_RELEASE);
}

void tracker_come_back(struct tracker_thread *thread)
{
	u32 presence = OUTSIDE;

	if (__atomic_compare_exchange_n(&thread->presence, &presence, PRESENT,
					false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return;
	for (;;)
		(void)pause();
}

static bool abandon(struct tracker_thread *thread)
{
	u32 presence = OUTSIDE;

	return __atomic_compare_exchange_n(&thread->presence, &presence,
					   ABANDONED, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

/* One that is not outside comes to its end by itself. */
static void join_thread(struct tracker *t, struct tracker_thread *thread,
			const struct timespec *until)
{
	if (!thread->running)
		return;
	thread->running = false;
	if (!pthread_timedjoin_np(thread->thread, NULL, until))
		return;
	if (abandon(thread)) {
		(void)pthread_detach(thread->thread);
		t->abandoned = true;
	} else {
		(void)pthread_join(thread->thread, NULL);
	}
}

void tracker_stop(struct tracker *t)
{
	struct timespec until;

	if (!t)
		return;
	mutex_lock(&t->lock);
	t->stopping = true;
	waitq_wake_all(&t->hints_wake);
	mutex_unlock(&t->lock);
	wake(t);

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TRACKER_STOP_MS / 1000;
	join_thread(t, &t->main, &until);
	join_thread(t, &t->hints, &until);
	release_waits(t);
}

void tracker_stat(struct tracker *t, struct tracker_stat *ret)
{
	*ret = (struct tracker_stat){.tracker_scans = 0};
	if (!t)
		return;
#define X(name, ...) \
	ret->name = __atomic_load_n(&t->stat.name, __ATOMIC_RELAXED);
	TRACKER_COUNTERS(X)
	TRACKER_GAUGES(X)
#undef X
}

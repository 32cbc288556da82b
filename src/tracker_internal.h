/* SPDX-License-Identifier: MIT */
/*
 * What the files of the tracker share: src/tracker.c has the queue and the
 * threads, src/tracker_task.c the processes that are looked after,
 * src/tracker_hints.c the thread for smaps.
 */
#ifndef FOLIO_TRACKER_INTERNAL_H
#define FOLIO_TRACKER_INTERNAL_H

#include <pthread.h>

#include "fault_set.h"
#include "list.h"
#include "lock.h"
#include "tracker.h"

/* Events in the queue; they are taken out 100 times a second. */
#define TRACKER_QUEUE 1024

#define TASK_BUCKETS 256
#define TID_CACHE 64

/* Looks that nobody waits for rest this many times as long as they took. */
#define TRACKER_REST 3

/* Processes whose smaps are to be looked at. */
#define HINTS_MAX 1024

enum event_kind {
	EVENT_OPENED,
	EVENT_UNMAPPED,
};

struct event {
	enum event_kind kind;
	pid_t tid;
	u64 ino;
	u64 fh;
};

/* What happened since the queue was emptied. */
struct queue {
	struct event *events; /* TRACKER_QUEUE */
	u32 nr_events;
	struct fault_set faults; /* of threads */
};

/* A process whose smaps somebody wants, or who waits for those before it. */
struct hint_job {
	struct list_head node;
	pid_t pid;
	u64 start_time;
	struct tracker_wait *wait; /* not NULL: call it, look at nothing */
	bool urgent;
};

/* Whose number a thread had lately. */
struct tid_entry {
	pid_t tid, pid;
	u64 until_ns;
};

/* A process that is looked after. All the tracker thread's. */
struct task {
	struct list_head node; /* of its bucket */
	pid_t pid;
	u64 start_time; /* 0: not looked at yet */
	char comm[PROC_COMM_LEN];
	pid_t ancestors[TRACKER_ANCESTORS];
	int pidfd;     /* -1: not watched */
	bool known;    /* it has, or had, mappings: the sink knows of it */
	bool by_event; /* it did something, so look more than once */
	bool tell;     /* the sink, though nothing may be new */

	u64 due_ns;	 /* UINT64_MAX: when something happens */
	u64 step_ns;	 /* from one look to the next */
	u64 earliest_ns; /* no look before */

	struct proc_map *maps;
	size_t nr;
	struct fault_set pending; /* reads that wait for a look */
};

/* Whether a thread may be stuck in /proc. Only there can it be left behind. */
enum presence {
	PRESENT,
	OUTSIDE,
	ABANDONED, /* it must not come back */
};

struct tracker_thread {
	pthread_t thread;
	bool running;
	u32 presence; /* atomic */
};

struct tracker {
	/* constant */
	struct tracker_config cfg;
	struct tracker_thread main, hints;
	bool abandoned; /* a thread still has the memory */
	int epoll_fd, wake_fd;
	u32 max_watched;

	/* constant once attached */
	bool attached;
	struct procfs procfs;

	struct mutex lock; /* LOCK_LEAF */
	/* under lock */
	struct queue queue;
	u64 first_event_ns; /* when the oldest of them came */
	bool woken;
	bool stopping;
	struct list_head waits;	 /* struct tracker_wait, for a full scan */
	struct list_head served; /* those of the one under way */
	struct list_head hint_jobs;
	u32 nr_hint_jobs;
	struct waitq hints_wake;
	struct tid_entry tids[TID_CACHE];

	/* the tracker thread's */
	struct queue batch;
	struct list_head buckets[TASK_BUCKETS];
	u32 nr_watched;
	u64 rest_until_ns;

	/* atomic */
	struct tracker_stat stat;
};

#define tracker_count(t, name, n) \
	((void)__atomic_add_fetch(&(t)->stat.name, (n), __ATOMIC_RELAXED))

u64 tracker_now(struct tracker *t);

/* There is no room for these. */
void tracker_drop_faults(struct tracker *t, const struct fault_sum *sum);

/* Around reading what needs the memory map of a process. */
void tracker_go_out(struct tracker_thread *thread);
void tracker_come_back(struct tracker_thread *thread);

/* CPU-independent clock for costs, also when the clock is injected. */
u64 tracker_cost_clock(void);

/* ---- tracker_task.c: by the tracker thread ---- */

/* @pid did something: look at it, @delay_ns from now or as soon as the rate
 * allows. Return: NULL when out of memory. */
struct task *task_event(struct tracker *t, pid_t pid, u64 delay_ns);
/* Reads that wait for the next look at @task to say whether they were faults.
 */
void task_add_fault(struct tracker *t, struct task *task,
		    const struct fault_entry *fault);
/* Look at those that map @ino. */
void tasks_unmapped(struct tracker *t, u64 ino);
void task_died(struct tracker *t, struct task *task);
/* Look at what is due. Return: when the next is. */
u64 tasks_run(struct tracker *t);
void tasks_full_scan(struct tracker *t);
void tasks_free(struct tracker *t);

/* ---- tracker_hints.c ---- */

void *hints_main(void *arg);
/* Ask for smaps of @task: soon if @urgent, else as the rate allows. */
void hints_want(struct tracker *t, const struct task *task, bool urgent);
/* Call @wait when all that was asked for before is done. */
void hints_wait(struct tracker *t, struct tracker_wait *wait);
/* Do one job without the thread. Return: whether there was one. */
bool hints_step(struct tracker *t);
/* Do none of them, but call who waits. */
void hints_drop(struct tracker *t);

#endif

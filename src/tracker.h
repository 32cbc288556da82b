/* SPDX-License-Identifier: MIT */
/*
 * The tracker: finds out which processes map our files, by looking into /proc.
 *
 *	tracker_new();
 *	tracker_attach();	the device is known: from now on it can look
 *	tracker_start();
 *	tracker_opened() / tracker_fault() / tracker_unmapped()
 *				by request threads
 *	tracker_sync()		look at everything now, then call me
 *	tracker_stop(); tracker_free();
 *
 * No request says that a file is mapped, so the tracker looks: at processes
 * that opened a file, at their children, at whoever reads through the kernel's
 * cache without a mapping that we know, and, for a read of `maps`, at all.
 *
 * When it looks. An event makes its process due TRACKER_DELAY_NS later (mmap()
 * comes after open()), then again after twice that, and so on until
 * TRACKER_LAST_NS: 11 looks in half a minute. A look that finds something new
 * begins the sequence again. Then it is events only: an idle mount costs no
 * CPU, and a program that has long been quiet and maps more of a file that it
 * has open, or forks, is seen when it faults, opens, or at the next
 * tracker_sync(). Deaths are told by pidfds (of as many processes as half our
 * descriptors; of more, looks find out).
 *
 * What it costs: a process is looked at again no earlier than TRACKER_COST
 * times what the last look took (5%, or less, of a CPU), all looks that nobody
 * waits for together at most one part in four of a CPU. smaps, which is dearer,
 * has a thread and a rate of its own, and says the hints of madvise() and
 * mlock() and which private pages are copies.
 *
 * Threads. Only the tracker's own two read /proc/PID, which may wait for a
 * process that waits for us. Others put events into a bounded queue: they take
 * a leaf lock and never wait. What does not fit is dropped and counted; faults
 * are summed up (src/fault_set.h), so that as good as none of them is. Nobody
 * waits for the tracker but with a limit of his own.
 */
#ifndef FOLIO_TRACKER_H
#define FOLIO_TRACKER_H

#include "base.h"
#include "cache.h"
#include "mm.h"
#include "procfs.h"

struct tracker;

#define TRACKER_DELAY_NS (15 * NSEC_PER_MSEC)
#define TRACKER_LAST_NS (15 * NSEC_PER_SEC)
#define TRACKER_COST 20

/* Processes that a process descends from, as far as this, nearest first. */
#define TRACKER_ANCESTORS 8

/* A look at one process. */
struct tracker_look {
	const struct proc *proc;
	const struct proc_map *maps; /* what it maps */
	size_t nr;
	const struct proc_map *old; /* what it did at the last look */
	size_t nr_old;
	pid_t ancestors[TRACKER_ANCESTORS]; /* 0: no more */
};

/* What the tracker does with what it sees; all by its own threads, with no
 * locks held. */
struct tracker_ops {
	/* A process maps exactly this. Return: 0, or -errno: it is told so
	 * again at the next look. */
	int (*update)(void *arg, const struct tracker_look *look);

	/* Hints for some of what a process maps. */
	void (*hints)(void *arg, const struct proc *proc,
		      const struct proc_hint *hints, size_t nr);

	/* A process is gone. */
	void (*exit)(void *arg, pid_t pid, u64 start_time);

	/* The open file @fh of @ino was opened by a thread @tid: of @pid. */
	void (*opened)(void *arg, u64 ino, u64 fh, pid_t tid, pid_t pid);

	/* Count reads of the kernel if @pid maps what was read.
	 * Return: whether it does. */
	bool (*fault)(void *arg, pid_t pid, u64 ino,
		      const struct fault_sum *sum);

	/* Nobody maps it: the kernel filled its cache for something else. */
	void (*fill)(void *arg, u64 ino, const struct fault_sum *sum);

	/* Memory that grows with use, to be charged to the budget. */
	void (*charge)(void *arg, s64 bytes);
};

struct tracker_config {
	const struct tracker_ops *ops;
	void *arg;
	u64 (*now)(void *arg); /* NULL: CLOCK_MONOTONIC */
	void *now_arg;
};

int tracker_new(const struct tracker_config *cfg, struct tracker **ret);

/* Context: stopped, or never started. NULL is fine. Processes that are known
 * are not told to be gone. */
void tracker_free(struct tracker *t);

/* See procfs_init(). Events that came before wait in the queue. */
int tracker_attach(struct tracker *t, const char *root,
		   const struct mount_dev *dev, bool parse);

/* Start the threads. Without them tracker_run() does the work: tests. */
int tracker_start(struct tracker *t);

/*
 * End them; who waits is called. A thread that still waits for some process's
 * memory map after TRACKER_STOP_MS is left behind, and will do nothing any
 * more; tracker_free() then leaves it the memory.
 */
#define TRACKER_STOP_MS 2000
void tracker_stop(struct tracker *t);

/* Do what is due. Return: when there is more to do, UINT64_MAX: never. */
u64 tracker_run(struct tracker *t);

/* ---- events: any thread; t may be NULL ---- */

void tracker_opened(struct tracker *t, pid_t tid, u64 ino, u64 fh);

/* The kernel read what @fault says and @tid is not known to map it. */
void tracker_fault(struct tracker *t, pid_t tid, u64 ino,
		   const struct read_fault *fault);

/* The last mapping through some open file of @ino is gone. */
void tracker_unmapped(struct tracker *t, u64 ino);

/* The process of a thread if that was found out within the last second, so
 * that the number cannot be another's by now; else @tid. */
pid_t tracker_pid_of(struct tracker *t, pid_t tid);

/* ---- waiting ---- */

struct tracker_wait {
	void (*fn)(struct tracker_wait *wait);
	struct list_head node; /* the tracker's */
};

/*
 * Look at all processes, and at smaps of those that map something; then call
 * wait->fn, once, from one of the tracker's threads (before this returns if it
 * does not run). Looks that were begun before this call do not count. There is
 * no limit to how long it takes: who waits brings his own.
 */
void tracker_sync(struct tracker *t, struct tracker_wait *wait);

/* ---- counters: X(name, help) ---- */
#define TRACKER_COUNTERS(X)                                                 \
	X(tracker_wakeups, "times the tracker had something to do")         \
	X(tracker_scans, "looks at what a process maps")                    \
	X(tracker_scan_us, "time that those took, us")                      \
	X(tracker_full_scans, "looks at all processes, for a read of maps") \
	X(tracker_smaps, "looks at hints and private pages")                \
	X(tracker_smaps_us, "time that those took, us")                     \
	X(tracker_unreadable, "looks at processes that may not be read")    \
	X(tracker_unknown,                                                  \
	  "reads of the kernel that may or may not have been faults")       \
	X(tracker_dropped, "events not looked at: too many at once")        \
	X(tracker_failed, "looks of which nothing could be kept")

#define TRACKER_GAUGES(X)                                       \
	X(tracker_processes, "processes that are looked after") \
	X(tracker_query, "1 when the kernel answers PROCMAP_QUERY")

struct tracker_stat {
#define X(name, ...) u64 name;
	TRACKER_COUNTERS(X)
	TRACKER_GAUGES(X)
#undef X
};

/* @t may be NULL: all 0. */
void tracker_stat(struct tracker *t, struct tracker_stat *ret);

#endif

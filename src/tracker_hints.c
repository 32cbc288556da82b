/* SPDX-License-Identifier: MIT */
/*
 * smaps, on a thread of its own: the kernel walks page tables for it, behind
 * the process's mmap lock, so it may take seconds while maps must go on.
 *
 * Jobs are done in order. Between those that nobody waits for the thread rests
 * TRACKER_COST times what the last one took.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "tracker_internal.h"

#define REST_MAX_NS (10 * NSEC_PER_SEC)

static void add_job_locked(struct tracker *t, struct hint_job *job)
	__requires(&t->lock)
{
	list_add_tail(&job->node, &t->hint_jobs);
	t->nr_hint_jobs++;
	waitq_wake_all(&t->hints_wake);
}

static struct hint_job *find_job_locked(struct tracker *t,
					const struct task *task)
	__requires(&t->lock)
{
	struct hint_job *job;

	list_for_each_entry (job, &t->hint_jobs, node) {
		if (!job->wait && job->pid == task->pid &&
		    job->start_time == task->start_time)
			return job;
	}
	return NULL;
}

void hints_want(struct tracker *t, const struct task *task, bool urgent)
{
	struct hint_job *job = calloc(1, sizeof(*job));
	struct hint_job *same;
	bool added = false;

	if (!job) {
		tracker_count(t, tracker_failed, 1);
		return;
	}
	job->pid = task->pid;
	job->start_time = task->start_time;
	job->urgent = urgent;

	mutex_lock(&t->lock);
	same = find_job_locked(t, task);
	if (same) {
		same->urgent |= urgent;
	} else if (t->nr_hint_jobs < HINTS_MAX) {
		add_job_locked(t, job);
		added = true;
	}
	if (urgent)
		waitq_wake_all(&t->hints_wake);
	mutex_unlock(&t->lock);

	if (!added)
		free(job);
	if (!added && !same)
		tracker_count(t, tracker_dropped, 1);
}

void hints_wait(struct tracker *t, struct tracker_wait *wait)
{
	struct hint_job *job = calloc(1, sizeof(*job));

	if (!job) {
		wait->fn(wait);
		return;
	}
	job->wait = wait;
	job->urgent = true;
	mutex_lock(&t->lock);
	add_job_locked(t, job);
	mutex_unlock(&t->lock);
}

/* ---- the work ---- */

static void look_at_smaps(struct tracker *t, const struct hint_job *job)
{
	struct proc_hint *hints = NULL;
	struct proc proc;
	size_t nr = 0;
	int err;

	if (proc_open(&t->procfs, job->pid, &proc))
		return;
	tracker_go_out(&t->hints);
	err = proc.start_time == job->start_time
		      ? proc_hints(&t->procfs, &proc, &hints, &nr)
		      : -ESRCH;
	tracker_come_back(&t->hints);
	if (!err && nr)
		t->cfg.ops->hints(t->cfg.arg, &proc, hints, nr);
	if (err == -EACCES || err == -EPERM)
		tracker_count(t, tracker_unreadable, 1);
	else if (err && err != -ESRCH)
		tracker_count(t, tracker_failed, 1);
	free(hints);
	proc_close(&proc);
}

/* Return: what it took, ns. */
static u64 do_job(struct tracker *t, struct hint_job *job)
{
	u64 start = tracker_cost_clock();
	u64 cost;

	if (job->wait) {
		job->wait->fn(job->wait);
		free(job);
		return 0;
	}
	look_at_smaps(t, job);
	cost = tracker_cost_clock() - start;
	tracker_count(t, tracker_smaps, 1);
	tracker_count(t, tracker_smaps_us, cost / 1000);
	free(job);
	return cost;
}

static struct hint_job *take_job_locked(struct tracker *t) __requires(&t->lock)
{
	struct hint_job *job;

	if (list_empty(&t->hint_jobs))
		return NULL;
	job = list_first_entry(&t->hint_jobs, struct hint_job, node);
	list_del(&job->node);
	t->nr_hint_jobs--;
	return job;
}

bool hints_step(struct tracker *t)
{
	struct hint_job *job;

	mutex_lock(&t->lock);
	job = take_job_locked(t);
	mutex_unlock(&t->lock);
	if (job)
		(void)do_job(t, job);
	return job;
}

void hints_drop(struct tracker *t)
{
	struct hint_job *job;

	do {
		mutex_lock(&t->lock);
		job = take_job_locked(t);
		mutex_unlock(&t->lock);
		if (job && job->wait)
			job->wait->fn(job->wait);
		free(job);
	} while (job);
}

/* Somebody waits for one of the jobs, and so for all before it. */
static bool any_urgent_locked(struct tracker *t) __requires(&t->lock)
{
	struct hint_job *job;

	list_for_each_entry (job, &t->hint_jobs, node) {
		if (job->urgent)
			return true;
	}
	return false;
}

/* The next job when it may be done; NULL: stopping. */
static struct hint_job *next_job(struct tracker *t, u64 rest_until_ns)
{
	struct hint_job *job = NULL;

	mutex_lock(&t->lock);
	while (!t->stopping && !job) {
		if (list_empty(&t->hint_jobs))
			waitq_wait(&t->hints_wake, &t->lock);
		else if (any_urgent_locked(t) ||
			 tracker_cost_clock() >= rest_until_ns)
			job = take_job_locked(t);
		else
			(void)waitq_wait_until(&t->hints_wake, &t->lock,
					       rest_until_ns);
	}
	mutex_unlock(&t->lock);
	return job;
}

void *hints_main(void *arg)
{
	struct tracker *t = arg;
	struct hint_job *job;
	u64 rest_until = 0;

	while ((job = next_job(t, rest_until)) != NULL) {
		u64 cost = do_job(t, job);

		rest_until = tracker_cost_clock() +
			     min(TRACKER_COST * cost, REST_MAX_NS);
	}
	return NULL;
}

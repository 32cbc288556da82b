/* SPDX-License-Identifier: MIT */
/* Processes that are looked after, and looking at them. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracker_internal.h"

/* From this step on, a look asks for smaps though nothing seems changed: what
 * madvise() and mlock() do, maps does not show. */
#define HINTS_STEP_NS NSEC_PER_SEC

static void charge(struct tracker *t, s64 bytes)
{
	if (bytes)
		t->cfg.ops->charge(t->cfg.arg, bytes);
}

/* ---- the table ---- */

#define for_each_task(t, task, next)                                          \
	for (size_t bucket_ = 0; bucket_ < TASK_BUCKETS; bucket_++)           \
		list_for_each_entry_safe (task, next, &(t)->buckets[bucket_], \
					  node)

static struct list_head *bucket_of(struct tracker *t, pid_t pid)
{
	return &t->buckets[(u32)pid % TASK_BUCKETS];
}

static struct task *task_find(struct tracker *t, pid_t pid)
{
	struct task *task;

	list_for_each_entry (task, bucket_of(t, pid), node) {
		if (task->pid == pid)
			return task;
	}
	return NULL;
}

static struct task *task_new(struct tracker *t, pid_t pid)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		tracker_count(t, tracker_failed, 1);
		return NULL;
	}
	task->pid = pid;
	task->pidfd = -1;
	task->due_ns = UINT64_MAX;
	list_add_tail(&task->node, bucket_of(t, pid));
	tracker_count(t, tracker_processes, 1);
	charge(t, sizeof(*task));
	return task;
}

static s64 pending_bytes(const struct task *task)
{
	return (s64)(task->pending.cap * sizeof(*task->pending.entries));
}

static void drop_pending(struct tracker *t, struct task *task)
{
	charge(t, -pending_bytes(task));
	fault_set_done(&task->pending);
}

static void pending_unknown(struct tracker *t, struct task *task)
{
	tracker_count(t, tracker_unknown, fault_set_reads(&task->pending));
	drop_pending(t, task);
}

static void set_maps(struct tracker *t, struct task *task,
		     struct proc_map *maps, size_t nr)
{
	charge(t, ((s64)nr - (s64)task->nr) * (s64)sizeof(*maps));
	free(task->maps);
	task->maps = maps;
	task->nr = nr;
}

/* Closing alone would not do: a process that is being started may have a copy
 * of the descriptor for a moment, and so we would hear of it still. */
static void unwatch(struct tracker *t, struct task *task)
{
	if (task->pidfd < 0)
		return;
	(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, task->pidfd, NULL);
	(void)close(task->pidfd);
	task->pidfd = -1;
	t->nr_watched--;
}

static void task_free(struct tracker *t, struct task *task)
{
	pending_unknown(t, task);
	set_maps(t, task, NULL, 0);
	unwatch(t, task);
	list_del(&task->node);
	free(task);
	tracker_count(t, tracker_processes, (u64)-1);
	charge(t, -(s64)sizeof(*task));
}

void tasks_free(struct tracker *t)
{
	struct task *task, *next;

	for_each_task(t, task, next) task_free(t, task);
}

/* ---- what happens to them ---- */

static void schedule(struct tracker *t, struct task *task, u64 delay_ns)
{
	task->step_ns = TRACKER_DELAY_NS;
	task->due_ns = min(task->due_ns, tracker_now(t) + delay_ns);
}

struct task *task_event(struct tracker *t, pid_t pid, u64 delay_ns)
{
	struct task *task = task_find(t, pid);

	if (!task)
		task = task_new(t, pid);
	if (task) {
		task->by_event = true;
		schedule(t, task, delay_ns);
	}
	return task;
}

void task_add_fault(struct tracker *t, struct task *task,
		    const struct fault_entry *fault)
{
	struct fault_entry entry = {.ino = fault->ino, .sum = fault->sum};
	s64 before = pending_bytes(task);

	if (!fault_set_add(&task->pending, &entry))
		tracker_drop_faults(t, &fault->sum);
	charge(t, pending_bytes(task) - before);
}

static bool task_maps(const struct task *task, u64 ino)
{
	for (size_t i = 0; i < task->nr; i++) {
		if (task->maps[i].ino == ino)
			return true;
	}
	return false;
}

void tasks_unmapped(struct tracker *t, u64 ino)
{
	struct task *task, *next;

	for_each_task(t, task, next)
	{
		if (!task_maps(task, ino))
			continue;
		/* another mapping may be where that one was */
		task->tell = true;
		schedule(t, task, 0);
	}
}

void task_died(struct tracker *t, struct task *task)
{
	if (task->known)
		t->cfg.ops->exit(t->cfg.arg, task->pid, task->start_time);
	task_free(t, task);
}

/* ---- a look ---- */

/* Those above that are not looked after are asked for theirs. */
static void find_ancestors(struct tracker *t, struct task *task, pid_t parent)
{
	for (size_t i = 0; i < TRACKER_ANCESTORS && parent > 1; i++) {
		struct proc proc;

		task->ancestors[i] = parent;
		if (proc_open(&t->procfs, parent, &proc))
			return;
		parent = proc.ppid;
		proc_close(&proc);
	}
}

/*
 * Be told of its death. The pidfd is that of @proc, and not of another with
 * its pid, since it exists still after the pidfd was made.
 */
static void watch(struct tracker *t, struct task *task, const struct proc *proc)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = task};
	int fd;

	if (task->pidfd >= 0 || t->nr_watched >= t->max_watched)
		return;
	fd = (int)syscall(SYS_pidfd_open, task->pid, 0);
	if (fd < 0)
		return;
	if (!proc_exists(proc) ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		(void)close(fd);
		return;
	}
	task->pidfd = fd;
	t->nr_watched++;
}

static bool same_maps(const struct task *task, const struct proc_map *maps,
		      size_t nr)
{
	if (nr != task->nr)
		return false;
	for (size_t i = 0; i < nr; i++) {
		const struct proc_map *a = &task->maps[i], *b = &maps[i];

		if (a->start != b->start || a->end != b->end ||
		    a->pos != b->pos || a->ino != b->ino ||
		    a->flags != b->flags)
			return false;
	}
	return true;
}

static bool is_new(const struct task *task, const struct proc *proc,
		   const struct proc_map *maps, size_t nr)
{
	if (!nr && !task->known)
		return false;
	return !same_maps(task, maps, nr) ||
	       strcmp(proc->comm, task->comm) != 0;
}

/* Takes over @maps. Return: whether something is new. */
static bool task_update(struct tracker *t, struct task *task,
			const struct proc *proc, struct proc_map *maps,
			size_t nr)
{
	struct tracker_look look = {
		.proc = proc,
		.maps = maps,
		.nr = nr,
		.old = task->maps,
		.nr_old = task->nr,
	};
	bool new = is_new(task, proc, maps, nr);

	if (!new && !task->tell) {
		free(maps);
		return false;
	}
	if (!task->known)
		find_ancestors(t, task, proc->ppid);
	memcpy(look.ancestors, task->ancestors, sizeof(look.ancestors));
	if (t->cfg.ops->update(t->cfg.arg, &look)) {
		tracker_count(t, tracker_failed, 1);
		free(maps);
		return true;
	}
	task->known = true;
	task->tell = false;
	memcpy(task->comm, proc->comm, sizeof(task->comm));
	set_maps(t, task, maps, nr);
	return new;
}

static void settle_pending(struct tracker *t, struct task *task)
{
	const struct tracker_ops *ops = t->cfg.ops;

	for (u32 i = 0; i < task->pending.nr; i++) {
		const struct fault_entry *p = &task->pending.entries[i];

		if (!ops->fault(t->cfg.arg, task->pid, p->ino, &p->sum))
			ops->fill(t->cfg.arg, p->ino, &p->sum);
	}
	drop_pending(t, task);
}

/* Its children may have what it has. */
static void look_for_children(struct tracker *t, const struct proc *proc)
{
	pid_t *pids = NULL;
	size_t nr = 0;

	if (proc_children(&t->procfs, proc, &pids, &nr))
		return;
	for (size_t i = 0; i < nr; i++) {
		struct task *child = NULL;

		if (!task_find(t, pids[i]))
			child = task_new(t, pids[i]);
		if (child)
			schedule(t, child, 0);
	}
	free(pids);
}

/* The pid is another process's than it was. */
static void task_begin(struct tracker *t, struct task *task,
		       const struct proc *proc)
{
	if (task->start_time == proc->start_time)
		return;
	if (task->known)
		t->cfg.ops->exit(t->cfg.arg, task->pid, task->start_time);
	set_maps(t, task, NULL, 0);
	unwatch(t, task);
	memset(task->ancestors, 0, sizeof(task->ancestors));
	task->comm[0] = '\0';
	task->known = false;
	task->start_time = proc->start_time;
}

/* Return: 1: something is new, 0, -errno. */
static int look_at_maps(struct tracker *t, struct task *task,
			const struct proc *proc)
{
	struct proc_map *maps = NULL;
	size_t nr = 0;
	bool changed;
	int err;

	task_begin(t, task, proc);
	tracker_go_out(&t->main);
	err = proc_maps(&t->procfs, proc, &maps, &nr);
	tracker_come_back(&t->main);
	if (err)
		return err;
	changed = task_update(t, task, proc, maps, nr);
	settle_pending(t, task);
	if (task->known)
		watch(t, task, proc);
	if (changed || (task->nr && task->step_ns >= HINTS_STEP_NS))
		hints_want(t, task, false);
	return changed;
}

static int look_at_process(struct tracker *t, struct task *task, bool family)
{
	struct proc proc;
	int err = proc_open(&t->procfs, task->pid, &proc);

	if (err)
		return err;
	err = look_at_maps(t, task, &proc);
	if (err >= 0 && family && task->nr)
		look_for_children(t, &proc);
	proc_close(&proc);
	return err;
}

static void count_failure(struct tracker *t, struct task *task, int err)
{
	if (err == -EACCES || err == -EPERM)
		tracker_count(t, tracker_unreadable, 1);
	else
		tracker_count(t, tracker_failed, 1);
	pending_unknown(t, task);
}

/* When to look again. */
static void reschedule(struct tracker *t, struct task *task, bool changed,
		       u64 cost_ns)
{
	u64 now = tracker_now(t);

	if (changed)
		task->step_ns = TRACKER_DELAY_NS;
	else if (task->step_ns <= TRACKER_LAST_NS)
		task->step_ns *= 2;
	task->due_ns = task->step_ns > TRACKER_LAST_NS ? UINT64_MAX
						       : now + task->step_ns;
	task->earliest_ns =
		now + max(TRACKER_COST * cost_ns, (u64)TRACKER_DELAY_NS);
}

/* @task may be gone then. @family: children too. Return: what it took, ns. */
static u64 task_look(struct tracker *t, struct task *task, bool family)
{
	u64 start = tracker_cost_clock();
	int ret = look_at_process(t, task, family);
	u64 cost = tracker_cost_clock() - start;

	tracker_count(t, tracker_scans, 1);
	tracker_count(t, tracker_scan_us, cost / 1000);
	if (ret < 0 && ret != -ESRCH)
		count_failure(t, task, ret);
	reschedule(t, task, ret == 1, cost);
	if (ret == -ESRCH)
		task_died(t, task);
	else if (!task->known &&
		 (!task->by_event || task->due_ns == UINT64_MAX))
		task_free(t, task);
	return cost;
}

/* ---- looking at many ---- */

static u64 look_time(const struct tracker *t, const struct task *task)
{
	if (task->due_ns == UINT64_MAX)
		return UINT64_MAX;
	return max(max(task->due_ns, task->earliest_ns), t->rest_until_ns);
}

u64 tasks_run(struct tracker *t)
{
	u64 now = tracker_now(t);
	u64 next_due = UINT64_MAX;
	struct task *task, *next;
	u64 cost = 0;

	if (!t->attached)
		return UINT64_MAX;
	for_each_task(t, task, next)
	{
		if (look_time(t, task) <= now)
			cost += task_look(t, task, true);
	}
	if (cost)
		t->rest_until_ns = tracker_now(t) + TRACKER_REST * cost;
	for_each_task(t, task, next) next_due =
		min(next_due, look_time(t, task));
	return next_due;
}

static void look_at_unknown(struct tracker *t, pid_t pid)
{
	struct task *task;

	/* ourselves we would only ask whether we touch our own mount */
	if (pid == getpid() || task_find(t, pid))
		return;
	task = task_new(t, pid);
	if (task)
		(void)task_look(t, task, false);
}

void tasks_full_scan(struct tracker *t)
{
	struct task *task, *next;
	pid_t *pids = NULL;
	size_t nr = 0;

	tracker_count(t, tracker_full_scans, 1);
	for_each_task(t, task, next)(void) task_look(t, task, false);
	if (procfs_pids(&t->procfs, &pids, &nr))
		tracker_count(t, tracker_failed, 1);
	for (size_t i = 0; i < nr; i++)
		look_at_unknown(t, pids[i]);
	free(pids);
	for_each_task(t, task, next)
	{
		if (task->nr)
			hints_want(t, task, true);
	}
}

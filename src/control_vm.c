/* SPDX-License-Identifier: MIT */
/*
 * vm/: knobs and triggers. A write is parsed where it arrives, so nonsense is
 * refused at once. What only sets a number is done there too. What may write
 * pages out or walk the whole cache is left to one worker, so that a request
 * thread never waits; who wrote is answered when it is done. One worker keeps
 * such changes in the order in which they were asked for.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"

#define COMMIT_SECS_MAX 86400
#define DROP_COPIES_MS 20000

struct job {
	struct list_head node;
	u32 which;
	u64 value;
	struct fs_done *done;
};

static const struct vm_file {
	const char *name;
	const char *unit;
} vm_files[VM_NR] = {
#define X(name, unit, ...) [KNOB_##name] = {#name, unit},
	CACHE_KNOBS(X)
#undef X
		[VM_COMMIT_SECS] = {"commit_secs", "s"},
	[VM_SCRUB_RATE] = {"scrub_rate", "bytes"},
	[VM_COMPACT] = {"compact", NULL},
	[VM_DROP_CACHES] = {"drop_caches", NULL},
	[VM_SCRUB] = {"scrub", NULL},
	[VM_SYNC] = {"sync", NULL},
};

const char *vm_name(u32 which)
{
	assert(which < VM_NR);
	return vm_files[which].name;
}

bool vm_is_knob(u32 which)
{
	assert(which < VM_NR);
	return vm_files[which].unit != NULL;
}

u64 vm_get(struct control *c, u32 which)
{
	if (which < KNOB_NR)
		return cache_get_knob(fs_cache(c->fs), (enum cache_knob)which);
	if (which == VM_COMMIT_SECS)
		return fs_get_commit_secs(c->fs);
	if (which == VM_SCRUB_RATE)
		return fs_get_scrub_rate(c->fs);
	return 0;
}

void vm_add_value(struct strbuf *sb, u64 value)
{
	if (value == UINT64_MAX)
		strbuf_addstr(sb, "max\n");
	else
		strbuf_printf(sb, "%" PRIu64 "\n", value);
}

/*
 * The kernel's copies of what was dropped, or has no room any more, go as well.
 * When that takes too long it goes on without us: what is asked for here has
 * been done.
 */
static void drop_copies(struct control *c, u64 ino)
{
	(void)unmapper_drop(c->unmapper, ino, DROP_COPIES_MS);
}

static int set_knob(struct control *c, enum cache_knob knob, u64 value)
{
	u64 old = cache_get_knob(fs_cache(c->fs), knob);
	int err = cache_set_knob(fs_cache(c->fs), knob, value);

	if (err || knob != KNOB_cache_size)
		return err;

	unmapper_kick(c->unmapper);
	if (cache_get_knob(fs_cache(c->fs), knob) < old)
		drop_copies(c, 0);
	return 0;
}

static int drop(struct control *c, u64 ino)
{
	/* The kernel's first: what of it was dirty comes to us. */
	drop_copies(c, ino);
	return fs_drop(c->fs, ino);
}

static bool is_stopping(struct control *c)
{
	bool stopping;

	mutex_lock(&c->lock);
	stopping = c->stopping;
	mutex_unlock(&c->lock);
	return stopping;
}

/* It can take long, and unmounting does not wait for all of it. */
static int compact_with(struct control *c,
			int (*some)(struct fs *fs, u64 *from))
{
	u64 from = 0;
	int more;

	do {
		if (is_stopping(c))
			return -EINTR;
		more = some(c->fs, &from);
	} while (more > 0);
	return more;
}

/* They may be on different disks: one that cannot says nothing of the other. */
static int compact(struct control *c)
{
	int err = compact_with(c, fs_compact_some);
	int swap_err = compact_with(c, fs_compact_swap_some);

	return err ? err : swap_err;
}

static int carry_out(struct control *c, u32 which, u64 value)
{
	if (which < KNOB_NR)
		return set_knob(c, (enum cache_knob)which, value);
	if (which == VM_COMMIT_SECS) {
		fs_set_commit_secs(c->fs, (u32)value);
		return 0;
	}
	if (which == VM_SCRUB_RATE) {
		fs_set_scrub_rate(c->fs, value);
		return 0;
	}
	if (which == VM_SCRUB)
		return fs_scrub(c->fs, value != 0);
	if (which == VM_COMPACT)
		return compact(c);
	assert(which == VM_DROP_CACHES);
	return drop(c, value);
}

static bool may_take_long(u32 which)
{
	return which == KNOB_cache_size || which == KNOB_swap_size ||
	       which == VM_COMPACT || which == VM_DROP_CACHES;
}

/* ---- the worker ---- */

/* The next job, or NULL when all is done and we are stopping. */
static struct job *next_job(struct control *c)
{
	struct job *job = NULL;

	mutex_lock(&c->lock);
	while (list_empty(&c->jobs) && !c->stopping)
		waitq_wait(&c->wake, &c->lock);
	if (!list_empty(&c->jobs)) {
		job = container_of(c->jobs.next, struct job, node);
		list_del(&job->node);
	}
	mutex_unlock(&c->lock);
	return job;
}

static void *worker(void *arg)
{
	struct control *c = arg;
	struct job *job;

	while ((job = next_job(c)) != NULL) {
		int err = carry_out(c, job->which, job->value);

		job->done->fn(job->done, err);
		free(job);
	}
	return NULL;
}

/* Signals are for the threads that wait for them. */
int vm_start(struct control *c)
{
	sigset_t all;
	sigset_t old;
	int err;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&c->worker, NULL, worker, c);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	(void)pthread_setname_np(c->worker, "folio-control");
	return 0;
}

void vm_stop(struct control *c)
{
	mutex_lock(&c->lock);
	c->stopping = true;
	mutex_unlock(&c->lock);
	waitq_wake_all(&c->wake);
	(void)pthread_join(c->worker, NULL);
	assert(list_empty(&c->jobs));
}

static void queue(struct control *c, u32 which, u64 value, struct fs_done *done)
{
	struct job *job;

	job = malloc(sizeof(*job));
	if (!job) {
		done->fn(done, -ENOMEM);
		return;
	}
	job->which = which;
	job->value = value;
	job->done = done;

	mutex_lock(&c->lock);
	list_add_tail(&job->node, &c->jobs);
	mutex_unlock(&c->lock);
	waitq_wake_one(&c->wake);
}

/* ---- writing ---- */

/* The only line of @buf, without its newline, as a string. */
static int one_line(const char *buf, size_t len, char *line, size_t size)
{
	if (len && buf[len - 1] == '\n')
		len--;
	if (len >= size || memchr(buf, '\n', len) || memchr(buf, '\0', len))
		return -EINVAL;
	memcpy(line, buf, len);
	line[len] = '\0';
	return 0;
}

static int parse_value(u32 which, const char *line, u64 *ret)
{
	const char *unit = vm_files[which].unit;
	u64 v;
	int err;

	if (!unit) {
		err = parse_u64(line, &v);
		if (!err && v != 1 && (which != VM_SCRUB || v))
			err = -EINVAL;
	} else if (strcmp(unit, "bytes") == 0) {
		err = parse_size(line, ram_bytes(), &v);
		if (!err && which == VM_SCRUB_RATE && v < PAGE_SIZE)
			err = -EINVAL;
	} else {
		err = parse_u64(line, &v);
		if (!err && which == VM_COMMIT_SECS && v > COMMIT_SECS_MAX)
			err = -EINVAL;
	}
	if (err)
		return err;
	*ret = v;
	return 0;
}

static int parse_write(u32 which, const char *buf, size_t len, u64 *ret)
{
	char line[64];
	int err;

	err = one_line(buf, len, line, sizeof(line));
	if (err)
		return err;
	return parse_value(which, line, ret);
}

void vm_write(struct control *c, u32 which, const char *buf, size_t len,
	      struct fs_done *done)
{
	u64 value;
	int err;

	assert(which < VM_NR);
	err = parse_write(which, buf, len, &value);
	if (err)
		done->fn(done, err);
	else if (which == VM_SYNC)
		fs_sync(c->fs, done);
	else if (which == VM_DROP_CACHES)
		queue(c, which, 0, done); /* of all files */
	else if (may_take_long(which))
		queue(c, which, value, done);
	else
		done->fn(done, carry_out(c, which, value));
}

void vm_write_drop(struct control *c, u64 ino, const char *buf, size_t len,
		   struct fs_done *done)
{
	u64 value;
	int err;

	err = parse_write(VM_DROP_CACHES, buf, len, &value);
	if (err)
		done->fn(done, err);
	else
		queue(c, VM_DROP_CACHES, ino, done);
}

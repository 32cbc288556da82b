/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "pacer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "lock.h"

struct pacer {
	/* constant */
	struct pacer_config cfg;
	pthread_t thread;
	bool started;

	/* under lock */
	struct mutex lock;
	struct waitq wake; /* a new first, or stopping */
	struct rb_root queue;
	u64 seq;
	bool stopping;
};

static u64 monotonic_now(void *arg)
{
	(void)arg;
	return mono_ns();
}

int pacer_new(const struct pacer_config *cfg, struct pacer **ret_pacer)
{
	struct pacer *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;

	p->cfg = *cfg;
	if (!p->cfg.now)
		p->cfg.now = monotonic_now;
	mutex_init(&p->lock, LOCK_LEAF, "pacer");
	waitq_init(&p->wake);
	p->queue = RB_ROOT;

	*ret_pacer = p;
	return 0;
}

void pacer_free(struct pacer *p)
{
	if (!p)
		return;

	assert(!p->queue.node);
	waitq_done(&p->wake);
	mutex_done(&p->lock);
	free(p);
}

u64 pacer_now(struct pacer *p)
{
	return p->cfg.now(p->cfg.now_arg);
}

void pacer_item_init(struct pacer_item *item,
		     void (*fn)(struct pacer_item *item))
{
	*item = (struct pacer_item){.fn = fn};
}

static bool item_before(const struct rb_node *a, const struct rb_node *b)
{
	const struct pacer_item *x = rb_entry(a, struct pacer_item, node);
	const struct pacer_item *y = rb_entry(b, struct pacer_item, node);

	if (x->due_ns != y->due_ns)
		return x->due_ns < y->due_ns;
	return x->seq < y->seq;
}

static struct pacer_item *first_locked(struct pacer *p)
{
	struct rb_node *node = rb_first(&p->queue);

	return node ? rb_entry(node, struct pacer_item, node) : NULL;
}

static void enqueue_locked(struct pacer *p, struct pacer_item *item)
	__requires(&p->lock)
{
	struct rb_node **link = &p->queue.node;
	struct rb_node *parent = NULL;

	item->seq = p->seq++;
	item->queued = true;
	while (*link) {
		parent = *link;
		link = item_before(&item->node, parent) ? &parent->left
							: &parent->right;
	}
	rb_insert(&p->queue, &item->node, parent, link, NULL);

	if (first_locked(p) == item)
		waitq_wake_one(&p->wake);
}

static void dequeue_locked(struct pacer *p, struct pacer_item *item)
	__requires(&p->lock)
{
	rb_erase(&p->queue, &item->node, NULL);
	item->queued = false;
}

void pacer_add(struct pacer *p, struct pacer_item *item, u64 due_ns)
{
	bool stopped;

	mutex_lock(&p->lock);
	stopped = p->stopping;
	if (!stopped) {
		item->due_ns = item->hurried ? 0 : due_ns;
		enqueue_locked(p, item);
	}
	mutex_unlock(&p->lock);

	if (stopped)
		item->fn(item);
}

void pacer_hurry(struct pacer *p, struct pacer_item *item)
{
	mutex_lock(&p->lock);
	item->hurried = true;
	if (item->queued) {
		dequeue_locked(p, item);
		item->due_ns = 0;
		enqueue_locked(p, item);
	}
	mutex_unlock(&p->lock);
}

/* Take the first out if it is due. *ret_next: when the first is, otherwise. */
static struct pacer_item *take_due_locked(struct pacer *p, u64 *ret_next)
	__requires(&p->lock)
{
	struct pacer_item *item = first_locked(p);

	if (!item) {
		*ret_next = UINT64_MAX;
		return NULL;
	}
	if (!p->stopping && item->due_ns > pacer_now(p)) {
		*ret_next = item->due_ns;
		return NULL;
	}

	dequeue_locked(p, item);
	return item;
}

static u64 run_due_locked(struct pacer *p) __requires(&p->lock)
{
	struct pacer_item *item;
	u64 next;

	while ((item = take_due_locked(p, &next))) {
		mutex_unlock(&p->lock);
		item->fn(item);
		mutex_lock(&p->lock);
	}
	return next;
}

u64 pacer_run(struct pacer *p)
{
	u64 next;

	mutex_lock(&p->lock);
	next = run_due_locked(p);
	mutex_unlock(&p->lock);
	return next;
}

static void *pacer_main(void *arg)
{
	struct pacer *p = arg;
	u64 next;

	mutex_lock(&p->lock);
	while (next = run_due_locked(p), !p->stopping) {
		if (next == UINT64_MAX || p->cfg.now != monotonic_now)
			waitq_wait(&p->wake, &p->lock);
		else
			(void)waitq_wait_until(&p->wake, &p->lock, next);
	}
	mutex_unlock(&p->lock);
	return NULL;
}

int pacer_start(struct pacer *p)
{
	int err = pthread_create(&p->thread, NULL, pacer_main, p);

	if (err)
		return -err;
	(void)pthread_setname_np(p->thread, p->cfg.name);
	p->started = true;
	return 0;
}

void pacer_stop(struct pacer *p)
{
	mutex_lock(&p->lock);
	p->stopping = true;
	waitq_wake_all(&p->wake);
	mutex_unlock(&p->lock);

	if (p->started)
		(void)pthread_join(p->thread, NULL);
	p->started = false;
	(void)pacer_run(p);
}

void pacer_check(struct pacer *p)
{
	struct rb_node *pos;

	mutex_lock(&p->lock);
	rb_check(&p->queue, item_before);
	rb_for_each (pos, &p->queue) {
		struct pacer_item *item =
			rb_entry(pos, struct pacer_item, node);

		assert(item->queued && item->seq < p->seq);
		(void)item;
	}
	mutex_unlock(&p->lock);
}

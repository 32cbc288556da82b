/* SPDX-License-Identifier: MIT */
/*
 * A thread that runs functions when their time has come, so that no request
 * thread ever sleeps: a throttled writer's data is in frames already, only its
 * answer is given later.
 *
 *	pacer_new(); pacer_start();
 *	pacer_add(p, &reply->item, now + pause);	item->fn runs, once
 *	pacer_stop();					what is left runs now
 *	pacer_free();
 *
 * Items are embedded by the caller, whose fn owns them again when it runs; fn
 * runs without locks, in the pacer's thread (or in the thread that adds, once
 * the pacer has been stopped). Items of the same time run in the order in
 * which they were added. Times: CLOCK_MONOTONIC nanoseconds.
 *
 * Threads: any may add and hurry. Locks: a leaf inside.
 */
#ifndef FOLIO_PACER_H
#define FOLIO_PACER_H

#include "base.h"
#include "rbtree.h"

struct pacer;

struct pacer_item {
	struct rb_node node;
	u64 due_ns;
	u64 seq; /* order among those of the same time */
	void (*fn)(struct pacer_item *item);
	bool queued;
	bool hurried; /* due at once, whenever it is added */
};

struct pacer_config {
	const char *name;      /* of the thread, at most 15 bytes */
	/* NULL: CLOCK_MONOTONIC. Otherwise whoever moves the clock calls
	 * pacer_run(): the thread cannot know how long to sleep. */
	u64 (*now)(void *arg);
	void *now_arg;
};

int pacer_new(const struct pacer_config *cfg, struct pacer **ret_pacer);

/* Context: stopped, or never started and empty. NULL is fine. */
void pacer_free(struct pacer *p);

/* Start the thread. Without it, pacer_run() does its work: tests. */
int pacer_start(struct pacer *p);

/* Run all that is queued, whatever its time, and end the thread. What is added
 * afterwards runs at once. */
void pacer_stop(struct pacer *p);

u64 pacer_now(struct pacer *p);

void pacer_item_init(struct pacer_item *item,
		     void (*fn)(struct pacer_item *item));
void pacer_add(struct pacer *p, struct pacer_item *item, u64 due_ns);

/*
 * Let @item run as soon as it can: now if it is queued, on being added if it
 * is not yet. No effect on one that runs already.
 * Context: the caller knows that @item is not freed meanwhile.
 */
void pacer_hurry(struct pacer *p, struct pacer_item *item);

/* Run what is due. Return: when the next is, UINT64_MAX: none is left. */
u64 pacer_run(struct pacer *p);

/* Order and counts of the queue; tests. */
void pacer_check(struct pacer *p);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A process that does what a test says, a step at a time:
 *
 *	static void work(struct child *c) { ...; child_step(c); ...; }
 *	child_start(&c, work, arg);	returns when work() is at its first step
 *	child_next(&c);			... at the next, or has ended
 *	child_end(&c);
 *
 * A step makes the test wait for the child and the child for the test, so
 * nothing sleeps. What the child asserts fails the test, by its exit status.
 */
#ifndef FOLIO_CHILD_H
#define FOLIO_CHILD_H

#include <sys/types.h>

struct child {
	pid_t pid;
	int to, from; /* pipes, as the test sees them */
	void *arg;
};

void child_start(struct child *c, void (*fn)(struct child *c), void *arg);

/* In the child: let the test look, go on when it says so; or end. */
void child_step(struct child *c);

void child_next(struct child *c);

/* Kill it and take its status. */
void child_end(struct child *c);

/* Let it run to its end by itself. Return: its exit status. */
int child_finish(struct child *c);

#endif

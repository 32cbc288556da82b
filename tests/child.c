/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "child.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void child_start(struct child *c, void (*fn)(struct child *c), void *arg)
{
	int to[2], from[2];

	ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
	(void)signal(SIGPIPE, SIG_IGN);
	c->arg = arg;
	c->pid = fork();
	ck_assert_int_ge(c->pid, 0);
	if (!c->pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(to[1]);
		(void)close(from[0]);
		c->to = from[1];
		c->from = to[0];
		fn(c);
		_exit(0);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	c->to = to[1];
	c->from = from[0];
	(void)!read(c->from, &(char){0}, 1);
}

void child_step(struct child *c)
{
	if (write(c->to, "", 1) != 1 || read(c->from, &(char){0}, 1) != 1)
		_exit(1);
}

void child_next(struct child *c)
{
	ck_assert_int_eq(write(c->to, "", 1), 1);
	/* no byte: it has ended, or become another program */
	(void)!read(c->from, &(char){0}, 1);
}

static int take_status(struct child *c)
{
	int status = -1;

	(void)close(c->to);
	(void)close(c->from);
	ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
	return status;
}

void child_end(struct child *c)
{
	(void)kill(c->pid, SIGKILL);
	(void)take_status(c);
}

int child_finish(struct child *c)
{
	int status;

	(void)!write(c->to, "", 1);
	status = take_status(c);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

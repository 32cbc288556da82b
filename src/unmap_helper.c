/* SPDX-License-Identifier: MIT */
/* The daemon's side; src/unmap_server.c is the process. */
#include "config.h"

#include "unmap_helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int unmap_helper_init(struct unmap_helper *h,
		      const struct unmap_helper_config *cfg)
{
	*h = (struct unmap_helper){.cfg = *cfg, .fd = -1};
	h->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->cancel_fd < 0)
		return -errno;
	mutex_init(&h->lock, LOCK_LEAF, "unmap helper");
	return 0;
}

/* ---- ending ---- */

static bool gone(pid_t pid)
{
	pid_t ret = waitpid(pid, NULL, WNOHANG);

	return ret == pid || (ret < 0 && errno == ECHILD);
}

static u32 reap_stuck_locked(struct unmap_helper *h)
{
	u32 nr = 0;

	for (u32 i = 0; i < UNMAP_MAX_STUCK; i++) {
		if (h->stuck[i] && gone(h->stuck[i]))
			h->stuck[i] = 0;
		nr += h->stuck[i] != 0;
	}
	return nr;
}

static void forget_locked(struct unmap_helper *h)
{
	(void)close(h->fd);
	h->fd = -1;
	h->pid = 0;
}

void unmap_helper_reap(struct unmap_helper *h)
{
	mutex_lock(&h->lock);
	(void)reap_stuck_locked(h);
	/* The socket stays: the thread that calls may be reading from it. */
	if (h->pid > 0 && gone(h->pid))
		h->pid = -1;
	mutex_unlock(&h->lock);
}

/* A place is free: none is started while all are taken. */
static void note_stuck_locked(struct unmap_helper *h, pid_t pid)
{
	for (u32 i = 0; i < UNMAP_MAX_STUCK; i++) {
		if (!h->stuck[i]) {
			h->stuck[i] = pid;
			return;
		}
	}
	assert(false);
}

static void kill_it(struct unmap_helper *h)
{
	mutex_lock(&h->lock);
	if (h->pid > 0) {
		(void)kill(h->pid, SIGKILL);
		if (!gone(h->pid))
			note_stuck_locked(h, h->pid);
	}
	if (h->pid)
		forget_locked(h);
	mutex_unlock(&h->lock);
}

void unmap_helper_cancel(struct unmap_helper *h)
{
	u64 one = 1;

	(void)!write(h->cancel_fd, &one, sizeof(one));
}

void unmap_helper_done(struct unmap_helper *h)
{
	const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
	u32 nr = 1;

	kill_it(h);
	for (u32 ms = 0; nr && ms < h->cfg.timeout_ms; ms++) {
		mutex_lock(&h->lock);
		nr = reap_stuck_locked(h);
		mutex_unlock(&h->lock);
		if (nr)
			(void)nanosleep(&pause, NULL);
	}
	(void)close(h->cancel_fd);
	mutex_done(&h->lock);
}

/* ---- starting ---- */

static int spawn(struct unmap_helper *h, int fd, pid_t *ret_pid)
{
	char major[16], minor[16], mnt[UNMAP_PATH_MAX];
	char name[] = UNMAP_HELPER_NAME;
	char *argv[] = {name, mnt, major, minor, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	(void)snprintf(mnt, sizeof(mnt), "%s", h->cfg.mountpoint);
	(void)snprintf(major, sizeof(major), "%u", h->cfg.dev.major);
	(void)snprintf(minor, sizeof(minor), "%u", h->cfg.dev.minor);
	(void)sigemptyset(&none);
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	err = posix_spawnattr_init(&attr);
	if (err)
		goto out_actions;

	/* The daemon blocks signals and takes them by a descriptor. */
	err = posix_spawnattr_setsigmask(&attr, &none);
	if (!err)
		err = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, fd,
						       STDIN_FILENO);
	if (!err)
		err = posix_spawn(ret_pid, h->cfg.exe, &actions, &attr, argv,
				  environ);
	(void)posix_spawnattr_destroy(&attr);
out_actions:
	(void)posix_spawn_file_actions_destroy(&actions);
	return -err;
}

/* Messages keep their bounds, and a dead peer is an end of file. */
static int start_locked(struct unmap_helper *h)
{
	int fds[2];
	int err;

	if (reap_stuck_locked(h) == UNMAP_MAX_STUCK)
		return -EAGAIN;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;

	err = spawn(h, fds[1], &h->pid);
	(void)close(fds[1]);
	if (err) {
		h->pid = 0;
		(void)close(fds[0]);
		return err;
	}
	h->fd = fds[0];
	h->nr_started++;
	return 0;
}

static int start(struct unmap_helper *h)
{
	int err = 0;

	mutex_lock(&h->lock);
	if (h->pid > 0 && gone(h->pid))
		h->pid = -1;
	if (h->pid < 0)
		forget_locked(h);
	if (!h->pid)
		err = start_locked(h);
	mutex_unlock(&h->lock);
	return err;
}

/* ---- calling ---- */

/* Return: 0 when there is something to read. */
static int wait_answer(struct unmap_helper *h)
{
	struct pollfd fds[] = {
		{.fd = h->fd, .events = POLLIN},
		{.fd = h->cancel_fd, .events = POLLIN},
	};
	int n;

	do
		n = poll(fds, ARRAY_SIZE(fds), (int)h->cfg.timeout_ms);
	while (n < 0 && errno == EINTR);

	if (n == 0)
		return -ETIMEDOUT;
	return fds[1].revents ? -ECANCELED : 0;
}

static int cancelled(struct unmap_helper *h)
{
	struct pollfd pfd = {.fd = h->cancel_fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 1 ? -ECANCELED : 0;
}

static int talk(struct unmap_helper *h, const struct unmap_request *req,
		struct unmap_answer *ret)
{
	ssize_t n = send(h->fd, req, sizeof(*req), MSG_NOSIGNAL);
	int err;

	if (n != sizeof(*req))
		return n < 0 ? -errno : -EPIPE;
	err = wait_answer(h);
	if (err)
		return err;

	n = recv(h->fd, ret, sizeof(*ret), 0);
	return n == sizeof(*ret) && ret->nr_ranges == req->nr_ranges ? 0
								     : -EPIPE;
}

int unmap_helper_call(struct unmap_helper *h, const struct unmap_request *req,
		      struct unmap_answer *ret)
{
	int err = cancelled(h);

	lock_assert_none();
	assert(req->nr_ranges <= UNMAP_MAX_RANGES);
	assert(req->nr_pids <= UNMAP_MAX_PIDS);
	if (!err)
		err = start(h);
	if (err)
		return err;

	err = talk(h, req, ret);
	if (err)
		kill_it(h);
	return err;
}

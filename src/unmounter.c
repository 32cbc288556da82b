/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "unmounter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Everything below runs in a child of a process with threads: only what
 * signal-safety(7) allows.
 */

static bool fusermount(const char *mountpoint, bool lazy)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (lazy)
			(void)execlp("fusermount3", "fusermount3", "-u", "-q",
				     "-z", "--", mountpoint, (char *)NULL);
		else
			(void)execlp("fusermount3", "fusermount3", "-u", "-q",
				     "--", mountpoint, (char *)NULL);
		_exit(EXIT_FAILURE);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* Ordinary users may not unmount; a set-id program does it for them. */
static bool lift(const char *mountpoint, bool lazy)
{
	int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);

	if (umount2(mountpoint, flags) == 0)
		return true;
	return errno == EPERM && fusermount(mountpoint, lazy);
}

static void write_out(const char *mountpoint)
{
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)syncfs(fd);
		(void)close(fd);
	}
}

static void __attribute__((noreturn)) child_main(const char *mountpoint)
{
	sigset_t none;

	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);

	if (lift(mountpoint, false))
		_exit(UNMOUNTER_DONE);
	write_out(mountpoint);
	if (lift(mountpoint, true))
		_exit(UNMOUNTER_LAZILY);
	_exit(UNMOUNTER_FAILED);
}

pid_t unmounter_start(const char *mountpoint)
{
	pid_t pid = fork();

	if (pid == 0)
		child_main(mountpoint);
	return pid < 0 ? -errno : pid;
}

enum unmounter_result unmounter_result(int status)
{
	if (!WIFEXITED(status))
		return UNMOUNTER_FAILED;

	switch (WEXITSTATUS(status)) {
	case UNMOUNTER_DONE:
		return UNMOUNTER_DONE;
	case UNMOUNTER_LAZILY:
		return UNMOUNTER_LAZILY;
	default:
		return UNMOUNTER_FAILED;
	}
}

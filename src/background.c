/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* One byte is good news. At the end of the pipe the child is gone, or going. */
static void __attribute__((noreturn)) wait_for_child(int fd)
{
	ssize_t len;
	char byte;

	do
		len = read(fd, &byte, sizeof(byte));
	while (len < 0 && errno == EINTR);

	_exit(len == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int background_begin(void)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;

	pid = fork();
	if (pid < 0) {
		int err = -errno;

		(void)close(fds[0]);
		(void)close(fds[1]);
		return err;
	}

	if (pid) {
		(void)close(fds[1]);
		wait_for_child(fds[0]);
	}
	(void)close(fds[0]);
	(void)setsid();
	return fds[1];
}

void background_ready(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)!chdir("/");
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			(void)close(null);
	}
	(void)!write(fd, "", 1);
	(void)close(fd);
}

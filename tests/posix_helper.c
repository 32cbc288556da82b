/* SPDX-License-Identifier: MIT */
/*
 * What programs may expect of a filesystem, asked through a mount. Not a test
 * itself: tests/mount_posix.sh runs
 *
 *	posix_helper list		the checks' names
 *	posix_helper NAME MODE		one of them, in the working directory
 *	posix_helper save-handle NAME	a file's handle, to stdout
 *	posix_helper open-handle DIR	the content of a file by its handle,
 *from stdin, on the filesystem of DIR
 *
 * which exits with 0, with 77 where the kernel lacks something, with 78 for a
 * stale handle, or says what was not as it should be. MODE is that of the
 * mount: kernel, writeback, own.
 */
#include "config.h"

#include "posix_check.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *posix_mode;

int make(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	expect(fd >= 0);
	return fd;
}

struct stat stat_of(int fd)
{
	struct stat st;

	expect(!fstat(fd, &st));
	return st;
}

void in_child(void (*fn)(const void *arg), const void *arg)
{
	pid_t pid = fork();
	int status;

	expect(pid >= 0);
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		expect(errno == EINTR);
	expect(WIFEXITED(status) && !WEXITSTATUS(status));
}

void become_nobody(void)
{
	expect(!setresgid(65534, 65534, 65534));
	expect(!setresuid(65534, 65534, 65534));
}

/* Those that are not listed come last. */
static const struct posix_check *const all[] = {
	name_checks, attr_checks, content_checks, process_checks, full_checks};
#define NR_ALL (sizeof(all) / sizeof(*all))

static int list(void)
{
	for (size_t i = 0; i < NR_ALL - 1; i++)
		for (const struct posix_check *c = all[i]; c->name; c++)
			(void)puts(c->name);
	return 0;
}

static int check(const char *name, const char *mode)
{
	posix_mode = mode;
	(void)umask(0);
	for (size_t i = 0; i < NR_ALL; i++) {
		for (const struct posix_check *c = all[i]; c->name; c++) {
			if (strcmp(c->name, name) != 0)
				continue;
			c->fn();
			return 0;
		}
	}
	return 2;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "list"))
		return list();
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "save-handle"))
		return save_handle(argv[2]);
	if (!strcmp(argv[1], "open-handle"))
		return open_handle(argv[2]);
	return check(argv[1], argv[2]);
}

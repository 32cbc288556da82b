/* SPDX-License-Identifier: MIT */
/*
 * Two atomic files that are only ever changed together.
 *
 *	pair_helper write FOLDER SYNC	one generation after the other, each
 *					committed in one transaction through
 *					SYNC (MOUNT/.foliofs/vm/sync); prints
 *					its number when it is
 *	pair_helper check FOLDER	both are of one generation, all of it:
 *					prints that
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "foliofs.h"

#define NR_PAGES 64

static void die(const char *what)
{
	(void)fprintf(stderr, "pair_helper: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_one(const char *folder, int which, int flags)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/pair%d", folder, which);
	fd = open(path, flags, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

/* Each page says its generation, file and number all over. */
static void fill(unsigned page[1024], unsigned generation, int which,
		 unsigned pgoff)
{
	for (int i = 0; i < 1024; i++)
		page[i] = generation * 4099 + (unsigned)which * 64 + pgoff;
}

static void write_one(int fd, int which, unsigned generation)
{
	unsigned page[1024];

	for (unsigned i = 0; i < NR_PAGES; i++) {
		fill(page, generation, which, i);
		if (pwrite(fd, page, sizeof(page), (off_t)(i * sizeof(page))) !=
		    sizeof(page))
			die("write");
	}
}

static void run_write(const char *folder, const char *sync)
{
	struct foliofs_commit commit = {.nr = 2};
	int sync_fd = open(sync, O_WRONLY);
	int fds[2];

	if (sync_fd < 0)
		die(sync);
	for (int i = 0; i < 2; i++) {
		struct stat st;

		fds[i] = open_one(folder, i, O_RDWR | O_CREAT);
		if (fsetxattr(fds[i], "user.foliofs.atomic", "1", 1, 0) < 0 ||
		    fstat(fds[i], &st) < 0)
			die("attribute");
		commit.ino[i] = st.st_ino;
	}
	for (unsigned generation = 1;; generation++) {
		write_one(fds[0], 0, generation);
		write_one(fds[1], 1, generation);
		if (ioctl(sync_fd, FOLIOFS_IOC_COMMIT, &commit) < 0)
			die("commit");
		(void)printf("%u\n", generation);
		(void)fflush(stdout);
	}
}

static void check_one(int fd, int which, unsigned generation)
{
	unsigned page[1024], want[1024];

	for (unsigned i = 0; i < NR_PAGES; i++) {
		fill(want, generation, which, i);
		if (pread(fd, page, sizeof(page), (off_t)(i * sizeof(page))) !=
		    sizeof(page))
			die("read");
		if (memcmp(page, want, sizeof(page)) == 0)
			continue;
		(void)fprintf(stderr,
			      "pair_helper: page %u of file %d is not of "
			      "generation %u\n",
			      i, which, generation);
		exit(2);
	}
}

static void run_check(const char *folder)
{
	int fds[2] = {open_one(folder, 0, O_RDONLY),
		      open_one(folder, 1, O_RDONLY)};
	unsigned first;

	if (pread(fds[0], &first, sizeof(first), 0) != sizeof(first))
		die("read");
	check_one(fds[0], 0, first / 4099);
	check_one(fds[1], 1, first / 4099);
	(void)printf("%u\n", first / 4099);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "write") == 0)
		run_write(argv[2], argv[3]);
	else if (argc == 3 && strcmp(argv[1], "check") == 0)
		run_check(argv[2]);
	else
		return 99;
	return 0;
}

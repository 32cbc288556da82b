/* SPDX-License-Identifier: MIT */
/* folioctl commit: several files, in one transaction. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folioctl.h"
#include "foliofs.h"

struct files {
	int fds[FOLIOFS_COMMIT_MAX];
	dev_t dev; /* of the first */
	struct foliofs_commit commit;
};

static int add_file(struct files *files, const char *path)
{
	struct stat st;
	int fd;

	/* not for anything but files: opening a FIFO would wait */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return complain("%s: %s", path, strerror(errno));
	files->fds[files->commit.nr] = fd;
	files->commit.nr++;
	if (fstat(fd, &st) < 0)
		return complain("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain("%s: not a regular file", path);
	if (files->commit.nr == 1)
		files->dev = st.st_dev;
	if (st.st_dev != files->dev)
		return complain("%s: not in the same mount as the others",
				path);
	files->commit.ino[files->commit.nr - 1] = st.st_ino;
	return EXIT_OK;
}

/* The uppermost folder above @path on its device, in @path. */
static void cut_to_mount(char *path, dev_t dev)
{
	char up[PATH_MAX];
	struct stat st;

	(void)snprintf(up, sizeof(up), "%s", path);
	for (;;) {
		char *slash = strrchr(up, '/');

		if (!slash)
			return;
		slash[slash == up] = '\0';
		if (stat(up, &st) < 0 || st.st_dev != dev)
			return;
		(void)snprintf(path, PATH_MAX, "%s", up);
		if (slash == up)
			return;
	}
}

/* Descriptor of vm/sync of the mount that @file is in, or -1, told. */
static int open_sync(const char *file, dev_t dev)
{
	char path[PATH_MAX];
	int dirfd;
	int fd;

	if (!realpath(file, path)) {
		(void)complain("%s: %s", file, strerror(errno));
		return -1;
	}
	cut_to_mount(path, dev);
	dirfd = mount_open(path);
	if (dirfd < 0)
		return -1;
	fd = openat(dirfd, "vm/sync", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		(void)complain("%s: %s", path, strerror(errno));
	(void)close(dirfd);
	return fd;
}

/* What the kernel holds of a mapped file it hands over when asked to write. */
static int fetch_pages(const struct files *files)
{
	const unsigned how = SYNC_FILE_RANGE_WAIT_BEFORE |
			     SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

	for (u32 i = 0; i < files->commit.nr; i++) {
		if (sync_file_range(files->fds[i], 0, 0, how) < 0)
			return -errno;
	}
	return 0;
}

static int commit(const struct files *files, const char *first)
{
	int fd = open_sync(first, files->dev);
	int err;

	if (fd < 0)
		return EXIT_ERROR;
	err = fetch_pages(files);
	if (!err && ioctl(fd, FOLIOFS_IOC_COMMIT, &files->commit) < 0)
		err = -errno;
	(void)close(fd);
	if (err)
		return complain("commit: %s", strerror(-err));
	return EXIT_OK;
}

static int run_commit(const struct command *cmd, int argc, char **argv)
{
	int status = EXIT_OK;
	struct files *files;
	int first;

	if (command_options(cmd, argc, argv, NULL, &status) == COMMAND_DONE)
		return status;
	first = optind;
	if (first == argc)
		return complain_usage(cmd, "a file is wanted");
	if (argc - first > FOLIOFS_COMMIT_MAX)
		return complain_usage(cmd, "at most %d files",
				      FOLIOFS_COMMIT_MAX);
	files = calloc(1, sizeof(*files));
	if (!files)
		return complain("no memory");

	for (int i = first; i < argc && status == EXIT_OK; i++)
		status = add_file(files, argv[i]);
	if (status == EXIT_OK)
		status = commit(files, argv[first]);
	for (u32 i = 0; i < files->commit.nr; i++)
		(void)close(files->fds[i]);
	free(files);
	return status;
}

const struct command command_commit = {
	.name = "commit",
	.args = "FILE...",
	.summary = "commit files, all or none of them",
	.run = run_commit,
};

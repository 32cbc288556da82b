/* SPDX-License-Identifier: MIT */
/* folioctl: reaching the control files of a mount. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "folioctl.h"

/* A folder of that name could be anybody's: ours has a number no other has. */
static int check_folder(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_ino == CONTROL_INO ? 0 : -ENOENT;
}

static int open_folder(const char *mount)
{
	int fd = -1;
	int mfd;
	int err;

	mfd = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mfd < 0)
		return -errno;
	fd = openat(mfd, CONTROL_NAME,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = fd < 0 ? -errno : check_folder(fd);
	(void)close(mfd);
	if (err && fd >= 0)
		(void)close(fd);
	return err ? err : fd;
}

int mount_open(const char *mount)
{
	int fd = open_folder(mount);

	if (fd >= 0)
		return fd;
	if (fd == -EACCES)
		(void)complain("%s: only the owner of the mount may do this",
			       mount);
	else if (fd == -ENOENT && access(mount, F_OK) == 0)
		(void)complain("%s: no foliofs is mounted here", mount);
	else
		(void)complain("%s: %s", mount, strerror(-fd));
	return -1;
}

static int read_all(int fd, struct strbuf *sb)
{
	for (;;) {
		ssize_t n;

		if (!strbuf_reserve(sb, 65536))
			return -ENOMEM;
		n = read(fd, sb->buf + sb->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		sb->len += (size_t)n;
		sb->buf[sb->len] = '\0';
		if (n == 0)
			return 0;
	}
}

int mount_read(int dirfd, const char *file, struct strbuf *sb)
{
	int fd;
	int err;

	fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = read_all(fd, sb);
	(void)close(fd);
	return err;
}

int mount_write(int dirfd, const char *file, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;
	int err;
	int fd;

	fd = openat(dirfd, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	err = n < 0 ? -errno : (size_t)n < len ? -EIO : 0;
	(void)close(fd);
	return err;
}

const char *line_value(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text && *text) {
		if (strncmp(text, name, len) == 0 && text[len] == ' ')
			return text + len + 1;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return NULL;
}

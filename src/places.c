/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* ---- one by one ---- */

/* The kernel may still show the attributes of a mount whose daemon died, but
 * does not open it. */
static bool is_dead_mount(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOTCONN;
	(void)close(fd);
	return false;
}

static int find_mountpoint(const struct options *opt, struct places *p)
{
	const char *name = opt->mountpoint;
	struct stat st;

	p->mountpoint = realpath(name, NULL);
	if (p->mountpoint && is_dead_mount(p->mountpoint)) {
		log_msg(LOG_ERR,
			"%s: what is mounted there has no daemon any more; "
			"unmount it first",
			name);
		return -EINVAL;
	}
	if (!p->mountpoint || stat(p->mountpoint, &st)) {
		log_msg(LOG_ERR, "%s: %s", name, strerror(errno));
		return -EINVAL;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_msg(LOG_ERR, "%s: not a folder", name);
		return -EINVAL;
	}
	return 0;
}

/* The absolute path of what is to be made in a folder that is there. */
static char *path_to_create(const char *name)
{
	char *copy1 = strdup(name), *copy2 = strdup(name);
	char *parent = copy1 ? realpath(dirname(copy1), NULL) : NULL;
	char *path = NULL;

	if (parent && copy2 &&
	    asprintf(&path, "%s/%s", strcmp(parent, "/") ? parent : "",
		     basename(copy2)) < 0)
		path = NULL;
	free(parent);
	free(copy2);
	free(copy1);
	return path;
}

static int find_volume(const struct options *opt, struct places *p)
{
	const char *name = opt->volume;

	p->volume = realpath(name, NULL);
	if (!p->volume && errno == ENOENT && opt->create)
		p->volume = path_to_create(name);
	if (!p->volume) {
		log_msg(LOG_ERR, "%s: %s%s", name, strerror(errno),
			errno == ENOENT ? " (-o create makes a volume)" : "");
		return -EINVAL;
	}
	return 0;
}

static int find_swap(const struct options *opt, struct places *p)
{
	const char *name = opt->swap;

	/* nothing is spilled that is not written */
	if (!name || opt->ro)
		return 0;
	p->swap = realpath(name, NULL);
	if (!p->swap && errno == ENOENT)
		p->swap = path_to_create(name);
	if (p->swap)
		return 0;
	log_msg(LOG_ERR, "swap=%s: %s", name, strerror(errno));
	return -EINVAL;
}

/* Both are absolute. */
static bool lies_under(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	if (strncmp(path, folder, len) != 0)
		return false;
	return !path[len] || path[len] == '/' || len == 1;
}

/* Under its own mountpoint the volume would be out of SQLite's reach, and a
 * swap file would be out of sight; in the volume's folder it would be in the
 * way. */
static int check_nesting(const struct places *p)
{
	if (lies_under(p->volume, p->mountpoint)) {
		log_msg(LOG_ERR, "%s: the volume lies under the mountpoint %s",
			p->volume, p->mountpoint);
		return -EINVAL;
	}
	if (p->swap && (lies_under(p->swap, p->mountpoint) ||
			lies_under(p->swap, p->volume))) {
		log_msg(LOG_ERR,
			"swap=%s: it lies under the mountpoint or in the "
			"volume",
			p->swap);
		return -EINVAL;
	}
	return 0;
}

/* ---- all of them ---- */

int places_find(const struct options *opt, struct places *p)
{
	int err;

	*p = (struct places){0};
	err = find_mountpoint(opt, p);
	if (!err)
		err = find_volume(opt, p);
	if (!err)
		err = find_swap(opt, p);
	if (!err)
		err = check_nesting(p);
	return err;
}

void places_done(struct places *p)
{
	free(p->volume);
	free(p->mountpoint);
	free(p->swap);
	*p = (struct places){0};
}

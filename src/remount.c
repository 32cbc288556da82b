/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "remount.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "log.h"
#include "mountinfo.h"

static unsigned long wanted_flags(const struct options *opt, unsigned long now)
{
	now &= ~(opt->flags_cleared | MS_RDONLY);
	now |= opt->flags_set;
	return opt->ro ? now | MS_RDONLY : now;
}

static int remount(const struct options *opt, const char *mountpoint)
{
	unsigned long now = 0;
	int err = mountinfo_is_ours(MOUNTINFO_PATH, mountpoint);

	if (err) {
		log_msg(LOG_ERR, "%s: not a mount of foliofs", mountpoint);
		return err;
	}
	err = mountinfo_flags(MOUNTINFO_PATH, mountpoint, &now);
	if (!err && mount(opt->volume, mountpoint, NULL,
			  MS_REMOUNT | wanted_flags(opt, now), NULL))
		err = -errno;
	if (err)
		log_msg(LOG_ERR, "%s: remounting: %s", mountpoint,
			strerror(-err));
	return err;
}

int remount_run(const struct options *opt)
{
	char *path;
	int err;

	log_open("foliofs", opt->debug);
	path = realpath(opt->mountpoint, NULL);
	if (!path) {
		log_msg(LOG_ERR, "%s: %s", opt->mountpoint, strerror(errno));
		return EXIT_FAILURE;
	}
	err = remount(opt, path);
	free(path);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

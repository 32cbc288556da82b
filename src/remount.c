/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "remount.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "log.h"
#include "mountinfo.h"

/* How statvfs(3) shows what mount(2) was told. */
static const struct {
	unsigned long shown, flag;
} flags[] = {
	{ST_RDONLY, MS_RDONLY},
	{ST_NOSUID, MS_NOSUID},
	{ST_NODEV, MS_NODEV},
	{ST_NOEXEC, MS_NOEXEC},
	{ST_SYNCHRONOUS, MS_SYNCHRONOUS},
	{ST_NOATIME, MS_NOATIME},
	{ST_NODIRATIME, MS_NODIRATIME},
	{ST_RELATIME, MS_RELATIME},
};

static int current_flags(const char *mountpoint, unsigned long *ret_flags)
{
	struct statvfs st;
	unsigned long f = 0;

	if (statvfs(mountpoint, &st))
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		f |= st.f_flag & flags[i].shown ? flags[i].flag : 0;
	*ret_flags = f;
	return 0;
}

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
	err = current_flags(mountpoint, &now);
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

/* SPDX-License-Identifier: MIT */
/*
 * Makes foliofs one that writes down, in the file that FOLIO_TRACE names, all
 * that it does to the files of its volume: see power_record_trace(). Linked
 * with src/main.c and -Wl,--wrap=volume_open. What acknowledges something to
 * somebody looks at the size of that file then. FOLIO_LIE=1: the file says that
 * the WAL was never synced.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "power_record.h"
#include "volume.h"

int __real_volume_open(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen);
int __wrap_volume_open(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen);

/* Until the end of the process, which opens one volume. */
static struct power_log *record;

int __wrap_volume_open(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen)
{
	const char *name = getenv("FOLIO_TRACE");
	struct volume_options with = *opt;
	int fd =
		name ? open(name,
			    O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
			    0600)
		     : -1;

	if (fd < 0)
		return -EINVAL;
	record = power_record_begin(
		path, getenv("FOLIO_LIE") ? POWER_NO_WAL_SYNC : POWER_HONEST);
	power_record_trace(record, fd);
	with.wrap = power_record_wrap;
	with.wrap_arg = record;
	return __real_volume_open(path, &with, ret_volume, err, errlen);
}

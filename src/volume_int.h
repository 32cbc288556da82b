/* SPDX-License-Identifier: MIT */
/* Private to src/volume*.c. */
#ifndef FOLIO_VOLUME_INT_H
#define FOLIO_VOLUME_INT_H

#include "meta_int.h"
#include "volume.h"

#define complain meta_complain

/* Lock the volume and open its files, and no more: no block map, nothing is
 * written but, by SQLite, a -shm. */
int volume_open_files(const char *path, const struct volume_options *opt,
		      struct volume **ret_volume, char *err, size_t errlen);

#endif

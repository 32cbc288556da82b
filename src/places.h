/* SPDX-License-Identifier: MIT */
/*
 * Where the daemon works: volume, mountpoint and swap file, as paths that mean
 * the same wherever it changes to, found before anything is touched. What is to
 * be made need not be there yet, but its folder.
 *
 * What is wrong is one line in the log, which is stderr then.
 */
#ifndef FOLIO_PLACES_H
#define FOLIO_PLACES_H

#include "options.h"

/* Absolute, without links. */
struct places {
	char *volume;
	char *mountpoint;
	char *swap; /* NULL: slots are in the volume */
};

/* Return: 0 or -EINVAL. places_done() is due, also after an error. */
int places_find(const struct options *opt, struct places *p);
void places_done(struct places *p);

#endif

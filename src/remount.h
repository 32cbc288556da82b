/* SPDX-License-Identifier: MIT */
/*
 * -o remount: the kernel's own options of a mount that is there, read-only
 * among them, become those that are given; others stay. What is the daemon's,
 * cache_size and the like, is changed through the control files instead:
 * mount(8) repeats all that stands in fstab, so it is not refused.
 */
#ifndef FOLIO_REMOUNT_H
#define FOLIO_REMOUNT_H

#include "options.h"

/* Return: the exit status of the program. */
int remount_run(const struct options *opt);

#endif

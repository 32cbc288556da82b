/* SPDX-License-Identifier: MIT */
/*
 * Mappings, between the tracker, which knows inode numbers and processes, and
 * the cache, which knows address spaces and open files (include/mm.h).
 *
 * Which open file a mapping came through /proc does not tell. Of those of its
 * inode that could have made it (one that may be read, and written to if the
 * mapping is shared and writable) it is taken to be, in this order,
 *
 *	the only one there is: then it is certain, since the kernel releases an
 *	open file after its last mapping;
 *	one that the process opened itself, or the nearest ancestor that
 *	opened one; of several the one opened last.
 *
 * Otherwise (it came over a socket, say) it is not known, until it can be. What
 * was known of a mapping stays, whoever opens the file later: also when it is
 * split, merged, grown or moved.
 */
#ifndef FOLIO_MAPPED_H
#define FOLIO_MAPPED_H

#include "fs.h"
#include "mm.h"
#include "tracker.h"

/* The tracker's sink; its arg is the struct fs. */
extern const struct tracker_ops mapped_ops;

#endif

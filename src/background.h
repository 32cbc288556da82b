/* SPDX-License-Identifier: MIT */
/*
 * Going to the background in such a way that whoever started us learns how it
 * went: the parent stays until the child is ready or has failed.
 */
#ifndef FOLIO_BACKGROUND_H
#define FOLIO_BACKGROUND_H

#include "base.h"

/*
 * Fork. The parent does not return: it exits with 0 when the child says that
 * it is ready, and with 1 when it ends before. The child leads a session of its
 * own; what it has to say until it is ready still goes to stderr.
 * Context: before any thread, and before SQLite is touched.
 * Return: in the child, a descriptor for background_ready(), or -errno.
 */
int background_begin(void);

/* Tell the parent, let go of its folder and of stdin, stdout and stderr. */
void background_ready(int fd);

#endif

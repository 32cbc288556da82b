/* SPDX-License-Identifier: MIT */
/*
 * The life of the daemon: look at what was asked for, go to the background,
 * open the volume, mount, serve, unmount, commit, end.
 *
 * Before the mount stands, every failure is one line on stderr and exit status
 * 1. SIGTERM, SIGINT and SIGHUP unmount; a second one does not wait for
 * programs that still use the mount.
 */
#ifndef FOLIO_DAEMON_H
#define FOLIO_DAEMON_H

#include "options.h"

/* Context: one thread. Return: the exit status. */
int daemon_run(const struct options *opt);

#endif

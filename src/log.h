/* SPDX-License-Identifier: MIT */
/*
 * Where the daemon says what happens: stderr, one line a message, until
 * log_to_syslog(), which a daemon in the background calls when it is mounted.
 * Levels are syslog(3)'s. Threads: any, but for log_open() and log_to_syslog().
 *
 * A warning or an error that was told less than a minute ago is only counted,
 * so that a program that asks for a bad page again and again does not fill the
 * disk; how often that was is added when it is told the next time.
 */
#ifndef FOLIO_LOG_H
#define FOLIO_LOG_H

#include <syslog.h>

#include "base.h"

/* @debug: LOG_DEBUG messages are shown too. */
void log_open(const char *ident, bool debug);
void log_to_syslog(void);

void log_msg(int level, const char *fmt, ...) __printf(2, 3);

/* As struct fs_options.log wants it; @arg is not used. */
void log_line(void *arg, int level, const char *line);

/* What libfuse has to say goes the same way from now on. */
void log_from_libfuse(void);

/*
 * What SQLite has to say of damage and of files that cannot be read or written
 * goes the same way, from log_sqlite_begin() on: before, who opens a database
 * says himself what is wrong with it. The rest of it is LOG_DEBUG.
 * log_from_sqlite(): before SQLite is used at all.
 */
void log_from_sqlite(void);
void log_sqlite_begin(void);

#endif

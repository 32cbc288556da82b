/* SPDX-License-Identifier: MIT */
/*
 * Where the daemon says what happens: stderr, one line a message, until
 * log_to_syslog(), which a daemon in the background calls when it is mounted.
 * Levels are syslog(3)'s. Threads: any, but for log_open(), log_to_syslog(),
 * log_begin() and log_end().
 *
 * So that a program that asks for bad pages without end does not fill the disk,
 * a warning or an error that was written in the last minute is left out, and
 * when it is written again it says how often that was; and all of them together
 * are LOG_A_MINUTE at most, behind which a line says how many were left out.
 *
 * From log_begin() to log_end() a thread writes, so that nobody waits for whom
 * the lines go to: that may be a program which waits for us. What finds no room
 * in its queue is left out and counted.
 */
#ifndef FOLIO_LOG_H
#define FOLIO_LOG_H

#include <syslog.h>

#include "base.h"

#define LOG_A_MINUTE 100

/* @debug: LOG_DEBUG messages are shown too. */
void log_open(const char *ident, bool debug);
void log_to_syslog(void);

/* Context: forks no more. Without memory or a thread lines are written as
 * before. log_end() waits a second or two for the rest to be written. */
void log_begin(void);
void log_end(void);

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

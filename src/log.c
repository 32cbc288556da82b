/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "log.h"

#include <fuse_log.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "clock.h"

#define LOG_LINE_MAX 1024

/* How long a line is not told again, and how many are remembered. */
#define AGAIN_NS (60 * NSEC_PER_SEC)
#define AGAIN_NR 256

static const char *log_ident = "foliofs";
static int log_level_max = LOG_INFO;
static bool log_syslog;
static bool log_sqlite;

/* A line told lately, where its sum says: another one may take its place. */
static struct told {
	u64 sum;
	u64 until; /* mono_ns() */
	u64 nr;	   /* how often it was not told since */
} told[AGAIN_NR];

/* Unranked, for lines are told under locks of all ranks; nothing is taken
 * while it is held. */
static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;

void log_open(const char *ident, bool debug)
{
	log_ident = ident;
	log_level_max = debug ? LOG_DEBUG : LOG_INFO;
}

void log_to_syslog(void)
{
	openlog(log_ident, LOG_PID, LOG_DAEMON);
	log_syslog = true;
}

/* Return: whether to tell it; then *ret_nr is how often it was not told. */
static bool is_due(const char *line, u64 *ret_nr)
{
	u64 sum = XXH3_64bits(line, strlen(line));
	struct told *t = &told[sum % AGAIN_NR];
	u64 now = mono_ns();
	bool due;

	(void)pthread_mutex_lock(&told_lock);
	due = t->sum != sum || now >= t->until;
	*ret_nr = t->sum == sum ? t->nr : 0;
	if (due)
		*t = (struct told){sum, now + AGAIN_NS, 0};
	else
		t->nr++;
	(void)pthread_mutex_unlock(&told_lock);
	return due;
}

void log_line(void *arg, int level, const char *line)
{
	char more[64] = "";
	u64 nr;

	(void)arg;
	if (level > log_level_max)
		return;
	if (level <= LOG_WARNING) {
		if (!is_due(line, &nr))
			return;
		if (nr)
			(void)snprintf(more, sizeof(more),
				       " (and %llu times more before)",
				       (unsigned long long)nr);
	}

	if (log_syslog)
		syslog(level, "%s%s", line, more);
	else
		(void)fprintf(stderr, "%s: %s%s\n", log_ident, line, more);
}

static void __printf(2, 0) log_va(int level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	size_t len;

	(void)vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	while (len && line[len - 1] == '\n')
		line[--len] = '\0';

	log_line(NULL, level, line);
}

void log_msg(int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(level, fmt, ap);
	va_end(ap);
}

/* libfuse's levels have syslog's names and numbers. */
static void __printf(2, 0)
	libfuse_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	log_va((int)level, fmt, ap);
}

void log_from_libfuse(void)
{
	fuse_set_log_func(libfuse_log);
}

static void sqlite_log(void *arg, int code, const char *line)
{
	int level = LOG_DEBUG;

	(void)arg;
	if (!__atomic_load_n(&log_sqlite, __ATOMIC_RELAXED))
		return;
	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_IOERR:
		level = LOG_ERR;
	}
	log_msg(level, "SQLite: %s", line);
}

void log_from_sqlite(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_LOG, sqlite_log, NULL);
}

void log_sqlite_begin(void)
{
	__atomic_store_n(&log_sqlite, true, __ATOMIC_RELAXED);
}

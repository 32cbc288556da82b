/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "log.h"

#include <fuse_log.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_LINE_MAX 1024

static const char *log_ident = "foliofs";
static int log_level_max = LOG_INFO;
static bool log_syslog;

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

void log_line(void *arg, int level, const char *line)
{
	(void)arg;
	if (level > log_level_max)
		return;

	if (log_syslog)
		syslog(level, "%s", line);
	else
		(void)fprintf(stderr, "%s: %s\n", log_ident, line);
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

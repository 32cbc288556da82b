/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "log.h"

#include <fuse_log.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "clock.h"

#define LOG_LINE_MAX 1024

/* How long a line is not told again, and how many are remembered: a line is in
 * the set that its sum says. */
#define AGAIN_NS (60 * NSEC_PER_SEC)
#define SETS 64
#define WAYS 8

/* Lines that wait to be written, and how long the end waits for them. */
#define QUEUE_MAX 256
#define END_WAIT_NS (2 * NSEC_PER_SEC)

static const char *log_ident = "foliofs";
static int log_level_max = LOG_INFO;
static bool log_syslog;
static bool log_sqlite;

/* Unranked, for lines are told under locks of all ranks; nothing is taken
 * while one of the two is held. */
static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- what is left out; under told_lock ---- */

static struct told {
	u64 sum;
	u64 until; /* mono_ns() */
	u64 nr;	   /* how often it was left out since */
} told[SETS][WAYS];

static struct {
	u64 until; /* of this minute */
	u64 nr;	   /* told in it */
	u64 left_out;
} minute;

/* Where @sum is, or else the place of the one that was told first. */
static struct told *find_told(u64 sum)
{
	struct told *set = told[sum % SETS];
	struct told *oldest = &set[0];

	for (u32 i = 0; i < WAYS; i++) {
		if (set[i].sum == sum)
			return &set[i];
		if (set[i].until < oldest->until)
			oldest = &set[i];
	}
	return oldest;
}

/* Return: whether to tell it; then *ret_nr is how often it was left out, and
 * *ret_others how many others were since somebody was told of that. */
static bool is_due(const char *line, bool counts, u64 *ret_nr, u64 *ret_others)
{
	u64 sum = XXH3_64bits(line, strlen(line));
	u64 now = mono_ns();
	struct told *t;
	bool due;

	*ret_nr = *ret_others = 0;
	(void)pthread_mutex_lock(&told_lock);
	t = find_told(sum);
	due = t->sum != sum || now >= t->until;
	if (now >= minute.until) {
		minute.until = now + AGAIN_NS;
		minute.nr = 0;
	}
	if (due && counts && minute.nr >= LOG_A_MINUTE) {
		minute.left_out++;
		due = false;
	} else if (due) {
		*ret_nr = t->sum == sum ? t->nr : 0;
		*t = (struct told){sum, now + AGAIN_NS, 0};
		minute.nr += counts;
		*ret_others = minute.left_out;
		minute.left_out = 0;
	} else {
		t->nr++;
	}
	(void)pthread_mutex_unlock(&told_lock);
	return due;
}

/* ---- writing ---- */

struct queued {
	struct queued *next;
	int level;
	char line[];
};

/* Under queue_lock. */
static struct {
	pthread_cond_t more, empty;
	pthread_t thread;
	bool runs, stop, writing;
	struct queued *first, **last;
	u32 nr;
	u64 left_out;
} queue = {.more = PTHREAD_COND_INITIALIZER};

static void write_line(int level, const char *line)
{
	if (__atomic_load_n(&log_syslog, __ATOMIC_ACQUIRE))
		syslog(level, "%s", line);
	else
		(void)fprintf(stderr, "%s: %s\n", log_ident, line);
}

/* With @tell: that @nr lines are missing here, if any are. */
static void tell_left_out(void (*tell)(int level, const char *line), u64 nr)
{
	char line[64];

	if (!nr)
		return;
	(void)snprintf(line, sizeof(line), "%llu more lines were left out",
		       (unsigned long long)nr);
	tell(LOG_WARNING, line);
}

static void write_queued(void)
{
	struct queued *q = queue.first;
	u64 left_out = queue.left_out;

	queue.first = q->next;
	if (!queue.first)
		queue.last = &queue.first;
	queue.nr--;
	queue.left_out = 0;
	queue.writing = true;
	(void)pthread_mutex_unlock(&queue_lock);
	write_line(q->level, q->line);
	tell_left_out(write_line, left_out);
	free(q);
	(void)pthread_mutex_lock(&queue_lock);
	queue.writing = false;
}

static void *write_all(void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&queue_lock);
	for (;;) {
		while (queue.first)
			write_queued();
		(void)pthread_cond_signal(&queue.empty);
		if (queue.stop)
			break;
		(void)pthread_cond_wait(&queue.more, &queue_lock);
	}
	(void)pthread_mutex_unlock(&queue_lock);
	return NULL;
}

void log_begin(void)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&queue.empty, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_lock(&queue_lock);
	queue.last = &queue.first;
	queue.stop = false;
	queue.runs = !pthread_create(&queue.thread, NULL, write_all, NULL);
	(void)pthread_mutex_unlock(&queue_lock);
}

/* A thread that is still at it ends with the process. */
void log_end(void)
{
	struct timespec until;
	bool ran, done;
	int err = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += END_WAIT_NS / NSEC_PER_SEC;
	(void)pthread_mutex_lock(&queue_lock);
	ran = queue.runs;
	queue.stop = true;
	(void)pthread_cond_signal(&queue.more);
	while (!err && (queue.first || queue.writing))
		err = pthread_cond_timedwait(&queue.empty, &queue_lock, &until);
	done = !queue.first && !queue.writing;
	if (done)
		queue.runs = false;
	(void)pthread_mutex_unlock(&queue_lock);
	if (ran && done)
		(void)pthread_join(queue.thread, NULL);
}

/* Return: false: nobody writes what is queued. */
static bool enqueue(int level, const char *line)
{
	size_t len = strlen(line) + 1;
	struct queued *q;
	bool runs;

	(void)pthread_mutex_lock(&queue_lock);
	runs = queue.runs;
	q = runs && queue.nr < QUEUE_MAX ? malloc(sizeof(*q) + len) : NULL;
	if (q) {
		q->next = NULL;
		q->level = level;
		memcpy(q->line, line, len);
		*queue.last = q;
		queue.last = &q->next;
		queue.nr++;
		(void)pthread_cond_signal(&queue.more);
	} else if (runs) {
		queue.left_out++;
	}
	(void)pthread_mutex_unlock(&queue_lock);
	return runs;
}

static void tell(int level, const char *line)
{
	if (!enqueue(level, line))
		write_line(level, line);
}

/* ---- messages ---- */

void log_open(const char *ident, bool debug)
{
	log_ident = ident;
	log_level_max = debug ? LOG_DEBUG : LOG_INFO;
}

void log_to_syslog(void)
{
	openlog(log_ident, LOG_PID, LOG_DAEMON);
	__atomic_store_n(&log_syslog, true, __ATOMIC_RELEASE);
}

void log_line(void *arg, int level, const char *line)
{
	char more[LOG_LINE_MAX + 64];
	u64 nr, others;

	(void)arg;
	if (level > log_level_max)
		return;
	if (level > LOG_WARNING) {
		tell(level, line);
		return;
	}
	if (!is_due(line, level > LOG_CRIT, &nr, &others))
		return;
	tell_left_out(tell, others);
	if (nr)
		(void)snprintf(more, sizeof(more), "%s (left out %llu times)",
			       line, (unsigned long long)nr);
	tell(level, nr ? more : line);
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

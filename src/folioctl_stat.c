/* SPDX-License-Identifier: MIT */
/*
 * folioctl stat: columns in the manner of vmstat(8), from two readings of
 * MOUNT/.foliofs/vmstat. The first row covers the time since the mount.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "folioctl.h"
#include "units.h"

/* A value now, or how much it grew in a second. */
enum column_kind {
	COLUMN_KB,	/* pages now, as KiB */
	COLUMN_KB_RATE, /* pages a second, as KiB */
	COLUMN_RATE,	/* a second */
};

static const struct column {
	const char *head;
	int width;
	enum column_kind kind;
	const char *figure;
} columns[] = {
	{"free", 9, COLUMN_KB, "nr_free_pages"},
	{"clean", 9, COLUMN_KB, "nr_file_pages"},
	{"dirty", 9, COLUMN_KB, "nr_dirty"},
	{"uncom", 9, COLUMN_KB, "nr_uncommitted"},
	{"swpd", 9, COLUMN_KB, "nr_swapped"},
	{"si", 7, COLUMN_KB_RATE, "pswpin"},
	{"so", 7, COLUMN_KB_RATE, "pswpout"},
	{"bi", 7, COLUMN_KB_RATE, "data_read_blocks"},
	{"bo", 7, COLUMN_KB_RATE, "data_write_blocks"},
	{"hit", 7, COLUMN_RATE, "cache_hit"},
	{"miss", 7, COLUMN_RATE, "cache_miss"},
	{"cm", 5, COLUMN_RATE, "commits"},
	{"thr", 5, COLUMN_RATE, "throttled"},
};

static const char groups[] =
	"--------------------cache (kB)------------------- "
	"---swap kB/s--- ----io kB/s---- ----pages/s---- ----1/s----\n";

struct sample {
	u64 uptime_ms;
	u64 values[ARRAY_SIZE(columns)];
};

static int take_sample(int dirfd, struct sample *ret)
{
	struct strbuf sb = STRBUF_INIT;
	const char *value;
	int err;

	err = mount_read(dirfd, "vmstat", &sb);
	if (err) {
		strbuf_release(&sb);
		return err;
	}
	value = line_value(sb.buf, "uptime_ms");
	ret->uptime_ms = value ? strtoull(value, NULL, 10) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		value = line_value(sb.buf, columns[i].figure);
		ret->values[i] = value ? strtoull(value, NULL, 10) : 0;
	}
	strbuf_release(&sb);
	return 0;
}

static u64 rate(u64 now, u64 before, u64 ms)
{
	u64 grown = now > before ? now - before : 0;

	return ms ? (u64)((double)grown * 1000 / (double)ms + 0.5) : 0;
}

static void print_head(void)
{
	(void)fputs(groups, stdout);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		(void)printf("%*s%s", columns[i].width, columns[i].head,
			     i + 1 < ARRAY_SIZE(columns) ? " " : "\n");
}

static void print_row(const struct sample *now, const struct sample *before)
{
	u64 ms = now->uptime_ms - before->uptime_ms;

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		u64 v = now->values[i];

		if (columns[i].kind != COLUMN_KB)
			v = rate(v, before->values[i], ms);
		if (columns[i].kind != COLUMN_RATE)
			v *= PAGE_SIZE / 1024;
		(void)printf("%*" PRIu64 "%s", columns[i].width, v,
			     i + 1 < ARRAY_SIZE(columns) ? " " : "\n");
	}
}

/* The document in one line: no string of JSON holds a newline. */
static int print_json(int dirfd, bool one_line)
{
	struct strbuf sb = STRBUF_INIT;
	int err;

	err = mount_read(dirfd, "stats.json", &sb);
	if (err) {
		strbuf_release(&sb);
		return err;
	}
	for (size_t i = 0; one_line && i + 1 < sb.len; i++)
		if (sb.buf[i] == '\n' || sb.buf[i] == '\t')
			sb.buf[i] = ' ';
	return print_out(&sb) == EXIT_OK ? 0 : -EPIPE;
}

/* Until @secs after *@next, which moves on: rows do not drift. */
static void wait_for(struct timespec *next, u64 secs)
{
	next->tv_sec += (time_t)secs;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) ==
	       EINTR)
		;
}

struct plan {
	u64 secs;  /* between rows; 0: one row */
	u64 count; /* rows */
	bool json;
};

#define HEAD_EVERY 20

static int print_rows(int dirfd, const struct plan *plan)
{
	struct sample before = {0};
	struct sample now;
	struct timespec next;
	int err = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &next);
	for (u64 n = 0; n < plan->count && !err; n++) {
		if (n)
			wait_for(&next, plan->secs);
		if (plan->json) {
			err = print_json(dirfd, plan->secs != 0);
			continue;
		}
		err = take_sample(dirfd, &now);
		if (err)
			break;
		if (n % HEAD_EVERY == 0 && (n == 0 || isatty(STDOUT_FILENO)))
			print_head();
		print_row(&now, &before);
		before = now;
		if (flush_out() != EXIT_OK)
			return -EPIPE;
	}
	return err;
}

static int parse_plan(const struct command *cmd, int argc, char **argv,
		      struct plan *plan)
{
	if (argc < 1)
		return complain_usage(cmd, "a mountpoint is wanted");
	if (argc > 3)
		return complain_usage(cmd, "too many operands: %s", argv[3]);
	plan->secs = 0;
	plan->count = 1;
	if (argc >= 2) {
		if (parse_u64(argv[1], &plan->secs) < 0 || plan->secs == 0 ||
		    plan->secs > 86400)
			return complain_usage(
				cmd, "%s: not a number of seconds", argv[1]);
		plan->count = UINT64_MAX;
	}
	if (argc == 3 &&
	    (parse_u64(argv[2], &plan->count) < 0 || plan->count == 0))
		return complain_usage(cmd, "%s: not a number of rows", argv[2]);
	return EXIT_OK;
}

static int run_stat(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct plan plan = {0};
	int status;
	int dirfd;
	int err;
	int c;

	while ((c = command_option(cmd, argc, argv, ":h", longs, &status)) !=
	       -1) {
		if (c == COMMAND_DONE)
			return status;
		plan.json = true;
	}
	status = parse_plan(cmd, argc - optind, argv + optind, &plan);
	if (status != EXIT_OK)
		return status;
	dirfd = mount_open(argv[optind]);
	if (dirfd < 0)
		return EXIT_ERROR;
	err = print_rows(dirfd, &plan);
	(void)close(dirfd);
	if (err == -EPIPE)
		return EXIT_ERROR; /* told */
	if (err)
		return complain("%s: %s", argv[optind], strerror(-err));
	return EXIT_OK;
}

const struct command command_stat = {
	.name = "stat",
	.args = "[--json] MOUNT [SECS [COUNT]]",
	.summary = "show the cache at work",
	.options = "  --json  stats.json, with SECS one line each time\n\n"
		   "Without SECS one row, of the time since the mount; with "
		   "SECS a row each so many\nseconds, COUNT rows in all.\n",
	.run = run_stat,
};

/* SPDX-License-Identifier: MIT */
/* folioctl check, and fsck.foliofs. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "folioctl.h"
#include "volume.h"

struct check {
	const char *path;
	bool json;
	bool progress;
	int percent; /* shown last; -1: nothing is on the line */
	long nr;     /* faults reported */
	struct strbuf out;
};

/* ---- progress ---- */

static void show_progress(void *arg, u64 done, u64 total)
{
	struct check *c = arg;
	int percent;

	if (!c->progress || !total)
		return;
	percent = (int)((double)min(done, total) * 100 / (double)total);
	if (percent == c->percent)
		return;
	c->percent = percent;
	(void)fprintf(stderr, "\r%s: %d%%", c->path, percent);
	(void)fflush(stderr);
}

static void clear_progress(struct check *c)
{
	if (c->percent < 0)
		return;
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
	c->percent = -1;
}

/* ---- faults ---- */

static void report(void *arg, const char *line)
{
	struct strbuf escaped = STRBUF_INIT; /* it may hold names of files */
	struct check *c = arg;

	c->nr++;
	strbuf_add_path(&escaped, line);
	if (c->json) {
		strbuf_addstr(&c->out, c->nr == 1 ? "\"" : ", \"");
		strbuf_add_json(&c->out, escaped.buf ? escaped.buf : "");
		strbuf_addch(&c->out, '"');
	} else {
		clear_progress(c);
		(void)printf("%s: %s\n", c->path,
			     escaped.buf ? escaped.buf : "");
	}
	strbuf_release(&escaped);
}

static int print_json(struct check *c, long faults)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addch(&sb, '{');
	json_add_string(&sb, "volume", c->path);
	strbuf_printf(&sb, ", \"faults\": %ld, \"reports\": [%s]}\n", faults,
		      c->out.buf ? c->out.buf : "");
	sb.failed |= c->out.failed;
	strbuf_release(&c->out);
	return print_out(&sb);
}

/* Return: an exit status of folioctl. */
static int check(struct check *c, bool data)
{
	struct volume_check_options opt = {
		.data = data,
		.report = report,
		.progress = show_progress,
		.arg = c,
	};
	char err[512] = "";
	int status;
	long faults;

	c->percent = -1;
	faults = volume_check(c->path, &opt, err, sizeof(err));
	clear_progress(c);
	if (faults < 0) {
		strbuf_release(&c->out);
		return complain("%s: %s", c->path, err);
	}
	if (c->json) {
		status = print_json(c, faults);
	} else {
		if (faults)
			(void)printf("%s: %ld fault%s\n", c->path, faults,
				     faults == 1 ? "" : "s");
		else
			(void)printf("%s: clean\n", c->path);
		status = flush_out();
	}
	return status == EXIT_OK && faults ? EXIT_FAULTS : status;
}

static int run_check(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = {
		{"no-data", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct check c = {.progress = isatty(STDERR_FILENO)};
	bool data = true;
	int status = EXIT_OK;
	int o;

	while ((o = command_option(cmd, argc, argv, ":h", longs, &status)) !=
	       -1) {
		if (o == COMMAND_DONE)
			return status;
		if (o == 'n')
			data = false;
		else
			c.json = true;
	}
	if (optind + 1 != argc)
		return complain_usage(cmd, optind == argc
						   ? "a volume is wanted"
						   : "one volume is wanted");
	c.path = argv[optind];
	return check(&c, data);
}

const struct command command_check = {
	.name = "check",
	.args = "[--no-data] [--json] VOLUME",
	.summary = "verify structure and checksums",
	.options = "  --no-data  structure alone: files are not read\n"
		   "  --json     the result as JSON\n\n"
		   "Exit status: 0 no faults, 4 faults, 1 it could not be "
		   "checked.\n",
	.run = run_check,
};

/* ---- fsck ---- */

/* Source: fsck(8). */
enum fsck_status {
	FSCK_OK = 0,
	FSCK_UNCORRECTED = 4,
	FSCK_OPERATIONAL = 8,
	FSCK_USAGE = 16,
};

static const char fsck_usage[] =
	"usage: fsck.foliofs [-afnpvyV] [-C[FD]] VOLUME\n\n"
	"  -a, -p  at boot: structure alone, unless -f is given\n"
	"  -f      verify every checksum with -a and -p too\n"
	"  -n, -y  accepted: nothing is ever repaired or asked\n"
	"  -C      show progress\n"
	"  -V      the version\n\n"
	"A volume needs no repair after a crash. Exit status as fsck(8): 0, 4 "
	"faults,\n8 could not be checked, 16 wrong usage.\n";

static int fsck_status(int status)
{
	if (status == EXIT_OK)
		return FSCK_OK;
	return status == EXIT_FAULTS ? FSCK_UNCORRECTED : FSCK_OPERATIONAL;
}

struct fsck {
	struct check check;
	bool preen, force;
};

/* Return: whether there is more to do; else *ret_status. */
static bool fsck_option(struct fsck *f, int c, int *ret_status)
{
	switch (c) {
	case 'a':
	case 'p':
		f->preen = true;
		return true;
	case 'f':
		f->force = true;
		return true;
	case 'C':
		f->check.progress = true;
		return true;
	case 'n':
	case 'y':
	case 'v':
	case 'T':
		return true;
	case 'V':
		(void)printf("fsck.foliofs (foliofs) %s\n", PACKAGE_VERSION);
		*ret_status = fsck_status(flush_out());
		return false;
	case 'h':
		(void)fputs(fsck_usage, stdout);
		*ret_status = fsck_status(flush_out());
		return false;
	default:
		(void)fputs(fsck_usage, stderr);
		*ret_status = FSCK_USAGE;
		return false;
	}
}

int fsck_main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct fsck f = {.check.progress = isatty(STDERR_FILENO)};
	int status;
	int c;

	program = "fsck.foliofs";
	opterr = 0;
	while ((c = getopt_long(argc, argv, "afnpvyVTC::h", longs, NULL)) != -1)
		if (!fsck_option(&f, c, &status))
			return status;
	if (optind + 1 != argc) {
		(void)complain("one volume is wanted");
		return FSCK_USAGE;
	}
	f.check.path = argv[optind];
	return fsck_status(check(&f.check, !f.preen || f.force));
}

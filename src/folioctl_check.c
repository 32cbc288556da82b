/* SPDX-License-Identifier: MIT */
/* folioctl check, and fsck.foliofs. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "folioctl.h"
#include "volume.h"

struct check {
	const char *path;
	bool json;
	bool repair, discard, preen;
	struct progress progress;
	struct strbuf out, notes; /* items of JSON lists */
};

struct result {
	long faults;
	long left; /* not mended */
};

/* ---- progress ---- */

static void show_progress(void *arg, u64 done, u64 total)
{
	struct check *c = arg;

	progress_show(&c->progress, c->path, done, total);
}

/* ---- faults ---- */

/* A line for people, or an item of a list. It may hold names of files. */
static void add_line(struct check *c, struct strbuf *list, const char *kind,
		     const char *line)
{
	struct strbuf escaped = STRBUF_INIT;
	const char *text;

	strbuf_add_path(&escaped, line);
	text = escaped.buf ? escaped.buf : "";
	if (c->json) {
		json_add_item(list, text);
	} else {
		progress_clear(&c->progress);
		(void)printf("%s: %s%s\n", c->path, kind, text);
	}
	strbuf_release(&escaped);
}

static void report(void *arg, const char *line)
{
	struct check *c = arg;

	add_line(c, &c->out, "", line);
}

/* What is known already and no fault. */
static void note(void *arg, const char *line)
{
	struct check *c = arg;

	add_line(c, &c->notes, "note: ", line);
}

static int print_json(struct check *c, const struct result *r)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addch(&sb, '{');
	json_add_string(&sb, "volume", c->path);
	strbuf_printf(&sb,
		      ", \"faults\": %ld, \"left\": %ld, \"reports\": "
		      "[%s], \"notes\": [%s]}\n",
		      r->faults, r->left, c->out.buf ? c->out.buf : "",
		      c->notes.buf ? c->notes.buf : "");
	sb.failed |= c->out.failed || c->notes.failed;
	strbuf_release(&c->out);
	strbuf_release(&c->notes);
	return print_out(&sb);
}

static const char *plural(long nr)
{
	return nr == 1 ? "" : "s";
}

static int print_result(const struct check *c, const struct result *r)
{
	if (!r->faults)
		(void)printf("%s: clean\n", c->path);
	else if (r->left == r->faults)
		(void)printf("%s: %ld fault%s\n", c->path, r->faults,
			     plural(r->faults));
	else
		(void)printf("%s: %ld fault%s, %ld left\n", c->path, r->faults,
			     plural(r->faults), r->left);
	return flush_out();
}

/* Return: 0 or -errno. */
static int look(struct check *c, const struct volume_check_options *opt,
		struct result *ret, char *err, size_t errlen)
{
	struct volume_repair_result repaired = {0};
	long nr;

	if (c->repair) {
		nr = volume_repair(c->path, opt, &repaired, err, errlen);
		*ret = (struct result){repaired.faults, repaired.left};
		return (int)nr;
	}
	nr = volume_check(c->path, opt, err, errlen);
	if (nr < 0)
		return (int)nr;
	*ret = (struct result){nr, nr};
	return 0;
}

/* Return: an exit status of folioctl; what was found is in *ret. */
static int check(struct check *c, bool data, struct result *ret)
{
	struct volume_check_options opt = {
		.data = data,
		.discard = c->discard,
		.preen = c->preen,
		.report = report,
		.note = note,
		.progress = show_progress,
		.arg = c,
	};
	char err[512] = "";
	int status;

	*ret = (struct result){0};
	status = look(c, &opt, ret, err, sizeof(err));
	progress_clear(&c->progress);
	if (status < 0) {
		strbuf_release(&c->out);
		strbuf_release(&c->notes);
		(void)flush_out();
		return complain("%s: %s", c->path, err);
	}
	status = c->json ? print_json(c, ret) : print_result(c, ret);
	return status == EXIT_OK && ret->left ? EXIT_FAULTS : status;
}

static int run_check(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = {
		{"no-data", no_argument, NULL, 'n'},
		{"repair", no_argument, NULL, 'r'},
		{"discard", no_argument, NULL, 'd'},
		{"rate", required_argument, NULL, 'R'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct check c = {.path = NULL};
	struct result result;
	const char *rate = NULL;
	bool data = true;
	int status = EXIT_OK;
	int o;

	progress_init(&c.progress);
	while ((o = command_option(cmd, argc, argv, ":h", longs, &status)) !=
	       -1) {
		if (o == COMMAND_DONE)
			return status;
		data &= o != 'n';
		c.repair |= o == 'r';
		c.discard |= o == 'd';
		c.json |= o == 'j';
		rate = o == 'R' ? optarg : rate;
	}
	if (optind + 1 != argc)
		return complain_usage(cmd, optind == argc
						   ? "a volume is wanted"
						   : "one volume is wanted");
	if (c.discard && !c.repair)
		return complain_usage(cmd, "--discard goes with --repair");
	c.path = argv[optind];
	if (!scrub_is_mount(c.path))
		return rate ? complain_usage(cmd, "--rate is for mounts")
			    : check(&c, data, &result);
	if (c.repair || !data)
		return complain_usage(cmd,
				      "%s is mounted: what is live can "
				      "only be verified",
				      c.path);
	return scrub_mount(c.path, rate, c.json);
}

const struct command command_check = {
	.name = "check",
	.args = "[--no-data] [--repair [--discard]] [--rate BYTES] [--json] "
		"VOLUME | MOUNT",
	.summary = "verify structure and checksums, and mend them",
	.options = "  --no-data  structure alone: files are not read\n"
		   "  --repair   mend what can be mended\n"
		   "  --discard  with --repair: content that is lost reads as "
		   "zeros, not as an error\n"
		   "  --rate     of a mount: read so many bytes a second\n"
		   "  --json     the result as JSON\n\n"
		   "Exit status: 0 no faults, or all mended; 4 faults are "
		   "left; 1 it could not\nbe checked.\n",
	.run = run_check,
};

/* ---- fsck ---- */

/* Source: fsck(8). */
enum fsck_status {
	FSCK_OK = 0,
	FSCK_CORRECTED = 1,
	FSCK_UNCORRECTED = 4,
	FSCK_OPERATIONAL = 8,
	FSCK_USAGE = 16,
	FSCK_CANCELED = 32,
};

static const char fsck_usage[] =
	"usage: fsck.foliofs [-afnpryvV] [-C[FD]] VOLUME\n\n"
	"  -a, -p  at boot: structure alone, unless -f is given, and mend what "
	"can be\n          mended without losing anything\n"
	"  -y      mend all that can be mended\n"
	"  -n      mend nothing\n"
	"  -r      ask before mending; so it is without any of these, if there "
	"is a\n          terminal\n"
	"  -f      verify every checksum with -a and -p too\n"
	"  -C      show progress\n"
	"  -V      the version\n\n"
	"A volume needs no repair after a crash. Exit status as fsck(8): 0, 1 "
	"mended,\n4 faults are left, 8 could not be checked, 16 wrong usage, "
	"32 cancelled.\n";

struct fsck {
	struct check check;
	bool preen, force, yes, no, ask;
};

static int fsck_status(int status, const struct result *r)
{
	if (status == EXIT_OK)
		return r->faults ? FSCK_CORRECTED : FSCK_OK;
	return status == EXIT_FAULTS ? FSCK_UNCORRECTED : FSCK_OPERATIONAL;
}

/* Return: whether there is more to do; else *ret_status. */
static bool fsck_option(struct fsck *f, int c, int *ret_status)
{
	static const struct result none;

	switch (c) {
	case 'a':
	case 'p':
		f->preen = true;
		return true;
	case 'f':
		f->force = true;
		return true;
	case 'y':
		f->yes = true;
		return true;
	case 'n':
		f->no = true;
		return true;
	case 'r':
		f->ask = true;
		return true;
	case 'C':
		f->check.progress.wanted = true;
		return true;
	case 'v':
	case 'T':
		return true;
	case 'V':
		(void)printf("fsck.foliofs (foliofs) %s\n", PACKAGE_VERSION);
		*ret_status = fsck_status(flush_out(), &none);
		return false;
	case 'h':
		(void)fputs(fsck_usage, stdout);
		*ret_status = fsck_status(flush_out(), &none);
		return false;
	default:
		(void)fputs(fsck_usage, stderr);
		*ret_status = FSCK_USAGE;
		return false;
	}
}

/* A repair may be killed at any moment. */
static void cancel(int sig)
{
	(void)sig;
	_exit(FSCK_CANCELED);
}

static bool answered_yes(const char *path)
{
	char line[16];

	(void)printf("%s: mend it? [y/N] ", path);
	(void)fflush(stdout);
	return fgets(line, sizeof(line), stdin) &&
	       (*line == 'y' || *line == 'Y');
}

static int run_fsck(struct fsck *f)
{
	bool data = !f->preen || f->force;
	bool ask = !f->no && !f->yes && !f->preen &&
		   (f->ask || (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)));
	struct result r;
	int status;

	f->check.repair = !f->no && (f->yes || f->preen);
	f->check.preen = f->preen && !f->yes;
	status = check(&f->check, data, &r);
	if (ask && status == EXIT_FAULTS && answered_yes(f->check.path)) {
		f->check.repair = true;
		status = check(&f->check, data, &r);
	}
	return fsck_status(status, &r);
}

int fsck_main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct fsck f = {.check.path = NULL};
	int status;
	int c;

	progress_init(&f.check.progress);
	program = "fsck.foliofs";
	opterr = 0;
	while ((c = getopt_long(argc, argv, "afnpryvVTC::h", longs, NULL)) !=
	       -1)
		if (!fsck_option(&f, c, &status))
			return status;
	if (optind + 1 != argc) {
		(void)complain("one volume is wanted");
		return FSCK_USAGE;
	}
	(void)signal(SIGINT, cancel);
	(void)signal(SIGTERM, cancel);
	f.check.path = argv[optind];
	return run_fsck(&f);
}

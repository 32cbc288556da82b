/* SPDX-License-Identifier: MIT */
/* folioctl backup: a consistent copy of a volume, mounted or not. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup.h"
#include "control.h"
#include "folioctl.h"
#include "units.h"

struct run {
	struct backup_options opt;
	const char *source;
	char *path; /* of the volume that is mounted */
	int hold;   /* descriptor of the control file, or -1 */
	bool json, sync;
	struct progress progress;
	struct strbuf reports;
};

/* ---- what is said meanwhile ---- */

static void show_progress(void *arg, u64 done, u64 total)
{
	struct run *r = arg;

	progress_show(&r->progress, r->source, done, total);
}

static void report(void *arg, const char *line)
{
	struct strbuf escaped = STRBUF_INIT; /* it holds names of files */
	struct run *r = arg;

	strbuf_add_path(&escaped, line);
	if (r->json) {
		json_add_item(&r->reports, escaped.buf ? escaped.buf : "");
	} else {
		progress_clear(&r->progress);
		(void)printf("%s\n", escaped.buf ? escaped.buf : "");
	}
	strbuf_release(&escaped);
}

/* ---- the source ---- */

static bool holds(void *arg)
{
	const struct run *r = arg;
	char text[2];

	return pread(r->hold, text, sizeof(text), 0) == 2 && text[0] == '1';
}

/* Where the volume is that is mounted. Return: an exit status. */
static int find_volume(struct run *r, int dirfd)
{
	struct strbuf sb = STRBUF_INIT;
	int err = mount_read(dirfd, "volume", &sb);
	const char *path = err ? NULL : line_value(sb.buf, "path");

	if (path) {
		r->path = strndup(path, strcspn(path, "\n"));
		if (r->path)
			path_unescape(r->path);
	}
	strbuf_release(&sb);
	r->opt.from = r->path;
	return r->path ? EXIT_OK
		       : complain("%s: %s", r->source,
				  strerror(err ? -err : ENOMEM));
}

static int hold_mount(struct run *r, int dirfd)
{
	int err = r->sync ? mount_write(dirfd, "vm/sync", "1") : 0;

	if (err)
		return complain("%s: sync: %s", r->source, strerror(-err));
	r->hold = openat(dirfd, CONTROL_HOLD, O_RDONLY | O_CLOEXEC);
	if (r->hold < 0)
		return complain("%s: " CONTROL_HOLD ": %s", r->source,
				strerror(errno));
	r->opt.holds = holds;
	return find_volume(r, dirfd);
}

/* A folder with a meta.db and no mount is a volume. */
static int open_source(struct run *r)
{
	char db[4096];
	int status;
	int dirfd;

	(void)snprintf(db, sizeof(db), "%s/meta.db", r->source);
	r->opt.from = r->source;
	if (access(db, F_OK) == 0)
		return r->sync ? complain("%s: it is not mounted: there is "
					  "nothing to sync",
					  r->source)
			       : EXIT_OK;
	dirfd = mount_open(r->source);
	if (dirfd < 0)
		return EXIT_ERROR;
	status = hold_mount(r, dirfd);
	(void)close(dirfd);
	return status;
}

/* ---- the result ---- */

static int print_json(struct run *r, const struct backup_result *res,
		      const char *err)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_addch(&sb, '{');
	json_add_string(&sb, "source", r->source);
	strbuf_addstr(&sb, ", ");
	json_add_string(&sb, "backup", r->opt.to);
	strbuf_addstr(&sb, ", ");
	json_add_string(&sb, "error", err);
	strbuf_printf(&sb,
		      ", \"commit_no\": %" PRIu64 ", \"pages\": %" PRIu64
		      ", \"copied\": %" PRIu64 ", \"kept\": %" PRIu64
		      ", \"moved\": %" PRIu64 ", \"bad\": %" PRIu64
		      ", \"reports\": [%s]}\n",
		      res->commit_no, res->total, res->copied, res->kept,
		      res->moved, res->bad,
		      r->reports.buf ? r->reports.buf : "");
	sb.failed |= r->reports.failed;
	return print_out(&sb);
}

static int print_text(const struct run *r, const struct backup_result *res)
{
	char copied[UNITS_LEN], kept[UNITS_LEN];

	(void)printf("%s: commit %" PRIu64 ", %s copied, %s were there\n",
		     r->opt.to, res->commit_no,
		     format_size(res->copied * PAGE_SIZE, copied),
		     format_size(res->kept * PAGE_SIZE, kept));
	if (res->bad)
		(void)printf("%s: %" PRIu64 " bad pages, as in %s\n", r->opt.to,
			     res->bad, r->source);
	return flush_out();
}

static int backup(struct run *r)
{
	struct backup_result res;
	char err[1024] = "";
	int status;
	int code;

	code = volume_backup(&r->opt, &res, err, sizeof(err));
	progress_clear(&r->progress);
	status = r->json ? print_json(r, &res, err)
			 : (*err ? EXIT_OK : print_text(r, &res));
	if (*err)
		status = complain("%s", err);
	return code == -EBADMSG ? EXIT_FAULTS : status;
}

static int take_option(struct run *r, const struct command *cmd, int c)
{
	switch (c) {
	case 'r':
		if (parse_size(optarg, 0, &r->opt.rate) < 0 || !r->opt.rate)
			return complain_usage(cmd, "%s: not a rate", optarg);
		break;
	case 's':
		r->sync = true;
		break;
	case 'd':
		r->opt.damaged = true;
		break;
	default:
		r->json = true;
	}
	return EXIT_OK;
}

static int run_backup(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = {
		{"rate", required_argument, NULL, 'r'},
		{"sync", no_argument, NULL, 's'},
		{"damaged", no_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct run r = {.opt = {.report = report, .progress = show_progress},
			.hold = -1};
	int status = EXIT_OK;
	int c;

	progress_init(&r.progress);
	while ((c = command_option(cmd, argc, argv, ":h", longs, &status)) !=
	       -1) {
		if (c == COMMAND_DONE)
			return status;
		status = take_option(&r, cmd, c);
		if (status != EXIT_OK)
			return status;
	}
	if (optind + 2 != argc)
		return complain_usage(
			cmd, "a mount or volume and a folder are wanted");
	r.source = argv[optind];
	r.opt.to = argv[optind + 1];
	r.opt.arg = &r;

	status = open_source(&r);
	if (status == EXIT_OK)
		status = backup(&r);
	if (r.hold >= 0)
		(void)close(r.hold);
	strbuf_release(&r.reports);
	free(r.path);
	return status;
}

const struct command command_backup = {
	.name = "backup",
	.args = "[--rate N] [--sync] [--damaged] [--json] MOUNT|VOLUME DEST",
	.summary = "copy a volume, also while it is mounted",
	.options =
		"  --rate N   copy no more than N bytes a second\n"
		"  --sync     commit everything first, as folioctl sync\n"
		"  --damaged  finish it though files of the source are bad\n"
		"  --json     the result as JSON\n\n"
		"DEST is a new folder, an unfinished backup or an older one of "
		"the same\nvolume; what it has already is not copied again.\n"
		"Exit status: 0 done, 4 files of the source are bad, 1 it is "
		"not finished.\n",
	.run = run_backup,
};

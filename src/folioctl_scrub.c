/* SPDX-License-Identifier: MIT */
/* folioctl check MOUNT: have the daemon verify its volume while it goes on. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "folioctl.h"

#define POLL_NS (200 * NSEC_PER_MSEC)

struct scrub_watch {
	const char *mount;
	int dirfd;
	struct progress progress;
	u64 errors;    /* before it began, then of this one */
	bool complete; /* it came to its end */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

bool scrub_is_mount(const char *path)
{
	char *name;
	bool is;

	if (asprintf(&name, "%s/.foliofs/vm/scrub", path) < 0)
		return false;
	is = access(name, F_OK) == 0;
	free(name);
	return is;
}

static u64 figure(const struct strbuf *text, const char *name)
{
	const char *value = line_value(text->buf, name);

	return value ? strtoull(value, NULL, 10) : 0;
}

/* One look at the figures. Return: 1: it goes on, 0: it has ended, -errno. */
static int poll_figures(struct scrub_watch *w, u64 *ret_errors)
{
	struct strbuf text = STRBUF_INIT;
	int err = mount_read(w->dirfd, "vmstat", &text);

	if (!err) {
		*ret_errors = figure(&text, "scrub_errors");
		progress_show(&w->progress, w->mount,
			      figure(&text, "scrub_done_blocks"),
			      figure(&text, "scrub_total_blocks"));
		w->complete = figure(&text, "scrub_complete") != 0;
		err = figure(&text, "scrub_running") != 0;
	}
	strbuf_release(&text);
	return err;
}

static int watch(struct scrub_watch *w)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	u64 errors = 0;
	int more;

	while ((more = poll_figures(w, &errors)) > 0 && !interrupted)
		(void)nanosleep(&pause, NULL);
	progress_clear(&w->progress);
	w->errors = errors - w->errors;
	if (more > 0) {
		(void)mount_write(w->dirfd, "vm/scrub", "0\n");
		return -EINTR;
	}
	return more < 0 || w->complete ? more : -ECANCELED;
}

/* A line of the control file. Return: is it a range? */
static bool add_range(struct scrub_watch *w, struct strbuf *out, bool json,
		      bool first, const char *line)
{
	u64 ino, pgoff, nr;
	int path = 0;

	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %n", &ino, &pgoff,
		   &nr, &path) < 3)
		return false;
	if (json) {
		strbuf_printf(out,
			      "%s{\"ino\": %" PRIu64 ", \"pgoff\": %" PRIu64
			      ", \"pages\": %" PRIu64 ", \"path\": \"",
			      first ? "" : ", ", ino, pgoff, nr);
		strbuf_add_json(out, path ? line + path : "");
		strbuf_addstr(out, "\"}");
	} else {
		strbuf_printf(out,
			      "%s: inode %" PRIu64 " (%s), pages %" PRIu64
			      "-%" PRIu64 ": not what was written\n",
			      w->mount, ino, path ? line + path : "", pgoff,
			      pgoff + nr - 1);
	}
	return true;
}

static void add_ranges(struct scrub_watch *w, struct strbuf *out, bool json,
		       char *text)
{
	bool first = true;
	char *save;

	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		first &= !add_range(w, out, json, first, line);
}

static void add_json(struct scrub_watch *w, struct strbuf *out, char *text)
{
	strbuf_addch(out, '{');
	json_add_string(out, "mount", w->mount);
	strbuf_printf(out, ", \"bad_blocks\": %" PRIu64 ", \"ranges\": [",
		      w->errors);
	add_ranges(w, out, true, text);
	strbuf_addstr(out, "]}\n");
}

static int print_bad(struct scrub_watch *w, bool json)
{
	struct strbuf text = STRBUF_INIT;
	struct strbuf out = STRBUF_INIT;
	int err = mount_read(w->dirfd, "scrub", &text);

	if (err) {
		strbuf_release(&text);
		return complain("%s: scrub: %s", w->mount, strerror(-err));
	}
	if (json) {
		add_json(w, &out, text.buf);
	} else {
		add_ranges(w, &out, false, text.buf);
		strbuf_printf(&out, "%s: ", w->mount);
		if (w->errors)
			strbuf_printf(&out, "%" PRIu64 " bad blocks\n",
				      w->errors);
		else
			strbuf_addstr(&out, "clean\n");
	}
	strbuf_release(&text);
	return print_out(&out);
}

static int begin(struct scrub_watch *w, const char *rate)
{
	int err = 0;

	if (rate) {
		err = mount_write(w->dirfd, "vm/scrub_rate", rate);
		if (err)
			return complain("%s: --rate %s: %s", w->mount, rate,
					strerror(-err));
	}
	err = poll_figures(w, &w->errors);
	progress_clear(&w->progress); /* it was an earlier one's */
	if (err >= 0)
		err = mount_write(w->dirfd, "vm/scrub", "1\n");
	if (err == -EBUSY)
		return complain("%s: it is being verified already", w->mount);
	return err < 0 ? complain("%s: scrub: %s", w->mount, strerror(-err))
		       : EXIT_OK;
}

int scrub_mount(const char *mount, const char *rate, bool json)
{
	struct sigaction sa = {.sa_handler = interrupt};
	struct scrub_watch w = {.mount = mount};
	int status;
	int err;

	w.dirfd = mount_open(mount);
	if (w.dirfd < 0)
		return EXIT_ERROR;
	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	progress_init(&w.progress);
	status = begin(&w, rate);
	if (status == EXIT_OK) {
		err = watch(&w);
		if (err == -ECANCELED)
			status = complain("%s: it ended before all was read: "
					  "it was stopped, or the log of the "
					  "daemon says why",
					  mount);
		else
			status = err ? complain("%s: %s", mount, strerror(-err))
				     : print_bad(&w, json);
	}
	(void)close(w.dirfd);
	return status == EXIT_OK && w.errors ? EXIT_FAULTS : status;
}

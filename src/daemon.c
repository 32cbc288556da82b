/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "log.h"
#include "mapped.h"
#include "mountinfo.h"
#include "places.h"
#include "session.h"
#include "swap_file.h"
#include "units.h"
#include "unmounter.h"

/* How long programs that hold a lazily unmounted mount may keep it busy. */
#define QUIET_TIMEOUT_MS 5000

#define READ_AHEAD_KB 1024
#define MAX_KERNEL_DIRTY ((u64)64 << 20)

struct daemon {
	const struct options *opt;
	struct places places;
	int status_fd; /* the waiting parent; -1: in the foreground */
	int signal_fd;
	int mounts_fd; /* tells that mounts have changed; -1: it does not */
	/* until fs_open() has them */
	struct volume *volume;
	struct swap_file *swap;
	struct fs *fs;
	struct tracker *tracker;
	struct control *control;
	struct unmapper *unmapper;
	struct session *session;
	pid_t unmounter; /* 0: none */
	bool lifted;	 /* lazily: off the tree, but the connection stands */
};

static const char *fsname(const struct daemon *d)
{
	return d->opt->fsname ? d->opt->fsname : d->places.volume;
}

/* ---- what must be right before anything is touched ---- */

static int check_device(void)
{
	if (access("/dev/fuse", R_OK | W_OK) == 0)
		return 0;

	log_msg(LOG_ERR, "/dev/fuse: %s", strerror(errno));
	return -EINVAL;
}

static int check_surroundings(struct daemon *d)
{
	int err = places_find(d->opt, &d->places);

	return err ? err : check_device();
}

/* ---- volume and filesystem ---- */

static int open_volume(struct daemon *d)
{
	struct volume_options opt = {
		.readonly = d->opt->ro,
		.create = d->opt->create,
		.size = d->opt->size == OPTION_UNSET ? 0 : d->opt->size,
		.patience_ms = VOLUME_PATIENCE_MS,
	};
	char text[512] = "";
	int err;

	err = volume_open(d->places.volume, &opt, &d->volume, text,
			  sizeof(text));
	if (*text)
		log_msg(err ? LOG_ERR : LOG_WARNING, "%s: %s", d->places.volume,
			text);
	else if (err)
		log_msg(LOG_ERR, "%s: %s", d->places.volume, strerror(-err));
	return err;
}

static int open_swap(struct daemon *d)
{
	struct swap_file_options opt = {
		.volume = d->volume,
		.size = d->opt->swap_size,
		.log = log_line,
	};
	char text[512] = "";
	int err;

	if (!d->places.swap)
		return 0;
	err = swap_file_open(d->places.swap, &opt, &d->swap, text,
			     sizeof(text));
	if (err || *text)
		log_msg(err ? LOG_ERR : LOG_WARNING, "swap=%s: %s",
			d->places.swap, *text ? text : strerror(-err));
	return err;
}

static void set_knob(struct fs_options *fso, enum cache_knob knob, u64 value,
		     u64 multiply, u64 divide)
{
	if (value != OPTION_UNSET)
		fso->knobs[knob] = value * multiply / divide;
}

static void fill_fs_options(const struct options *opt, struct fs_options *fso)
{
	*fso = (struct fs_options){
		.cache_size = opt->cache_size,
		.cache_max = max(opt->cache_size, ram_bytes()),
		.commit_secs = (u32)opt->commit,
		.atomic = opt->atomic,
		.commit_inline = true,
		.writeback = opt->cache == CACHE_MODE_WRITEBACK,
		.readonly = opt->ro,
		.log = log_line,
	};
	for (int i = 0; i < KNOB_NR; i++)
		fso->knobs[i] = UINT64_MAX;

	set_knob(fso, KNOB_swap_size, opt->swap_size, 1, 1);
	set_knob(fso, KNOB_dirty_background_bytes, opt->dirty_background_bytes,
		 1, 1);
	set_knob(fso, KNOB_dirty_bytes, opt->dirty_bytes, 1, 1);
	set_knob(fso, KNOB_dirty_expire_centisecs, opt->dirty_expire, 100, 1);
	set_knob(fso, KNOB_swappiness, opt->swappiness, 1, 1);
	set_knob(fso, KNOB_readahead_kb, opt->readahead, 1, 1024);
}

static int new_tracker(struct daemon *d)
{
	struct tracker_config cfg = {.ops = &mapped_ops, .arg = d->fs};

	return tracker_new(&cfg, &d->tracker);
}

static int open_fs(struct daemon *d)
{
	struct fs_options fso;
	int err;

	fill_fs_options(d->opt, &fso);
	fso.swap = d->swap;
	err = fs_open(d->volume, &fso, &d->fs);
	d->volume = NULL;
	d->swap = NULL;
	if (!err)
		err = new_tracker(d);
	if (!err)
		err = control_new(d->fs, d->tracker, getuid(), getgid(),
				  &d->control);
	if (err)
		log_msg(LOG_ERR, "%s: %s%s", d->places.volume, strerror(-err),
			volume_hint(err));
	return err;
}

/* ---- the mount ---- */

static char *mount_options(const struct options *opt)
{
	char *list = NULL;
	int err = 0;

	if (opt->kernel)
		err = fuse_opt_add_opt(&list, opt->kernel);
	if (!err && opt->ro)
		err = fuse_opt_add_opt(&list, "ro");
	if (!err && opt->allow_other)
		err = fuse_opt_add_opt(&list, "allow_other");
	if (!err && opt->allow_root)
		err = fuse_opt_add_opt(&list, "allow_root");
	if (!err && opt->auto_unmount)
		err = fuse_opt_add_opt(&list, "auto_unmount");
	if (!err && !list)
		list = strdup("");
	if (err) {
		free(list);
		list = NULL;
	}
	return list;
}

static int open_session(struct daemon *d)
{
	char *list = mount_options(d->opt);
	struct session_config cfg = {
		.fs = d->fs,
		.control = d->control,
		.tracker = d->tracker,
		.writeback = d->opt->cache == CACHE_MODE_WRITEBACK,
		.own = d->opt->cache == CACHE_MODE_OWN,
		.unmapper = d->unmapper,
		.debug = d->opt->debug,
		.mount_options = list,
		.fsname = fsname(d),
	};
	int err = list ? session_new(&cfg, &d->session) : -ENOMEM;

	free(list);
	/* Of the others libfuse has spoken. */
	if (err == -ENOMEM || err == -EMFILE)
		log_msg(LOG_ERR, "%s", strerror(-err));
	return err;
}

static int mount_it(struct daemon *d)
{
	int err = session_mount(d->session, d->places.mountpoint);

	if (err)
		return err;

	err = volume_lock_note(fs_volume(d->fs), d->places.mountpoint);
	if (!err)
		err = session_start(d->session);
	if (err)
		log_msg(LOG_ERR, "%s: %s", d->places.mountpoint,
			strerror(-err));
	return err;
}

/* ---- the kernel's copies of pages ---- */

static int inval(void *arg, u64 ino, u64 pos, u64 len)
{
	struct daemon *d = arg;

	return session_inval(d->session, ino, pos, len);
}

static int open_unmapper(struct daemon *d)
{
	struct unmapper_config cfg = {
		.fs = d->fs,
		.own = d->opt->cache == CACHE_MODE_OWN,
		.inval = inval,
		.arg = d,
	};
	int err = unmapper_new(&cfg, &d->unmapper);

	if (err)
		log_msg(LOG_ERR, "%s", strerror(-err));
	else
		control_set_unmapper(d->control, d->unmapper);
	return err;
}

static void start_unmapper(struct daemon *d)
{
	struct mount_dev dev;
	int err = mountinfo_dev(MOUNTINFO_PATH, d->places.mountpoint, &dev);

	if (!err)
		err = unmapper_start(d->unmapper, d->places.mountpoint, &dev);
	if (!err)
		return;

	unmapper_stop(d->unmapper); /* nobody is to wait for it */
	log_msg(LOG_WARNING, "%s: the kernel keeps its copies of pages: %s",
		d->places.mountpoint, strerror(-err));
}

/* As far as we may: an ordinary user may not, and older kernels lack one. */
static void tune_kernel(const struct daemon *d)
{
	bool own = d->opt->cache == CACHE_MODE_OWN;
	struct mount_dev dev;
	int err = mountinfo_dev(MOUNTINFO_PATH, d->places.mountpoint, &dev);

	if (!err)
		err = bdi_tune("/sys/class/bdi", &dev, own ? 0 : READ_AHEAD_KB,
			       min(d->opt->cache_size / 4, MAX_KERNEL_DIRTY));
	if (err)
		log_msg(LOG_DEBUG,
			"readahead and dirty pages of the kernel "
			"stay as they are: %s",
			strerror(-err));
}

/* Without it, nobody knows what is mapped, and all else goes on. */
static void start_tracker(struct daemon *d)
{
	struct mount_dev dev;
	int err = mountinfo_dev(MOUNTINFO_PATH, d->places.mountpoint, &dev);

	if (!err)
		err = tracker_attach(d->tracker, "/proc", &dev,
				     d->opt->parse_maps);
	if (!err)
		err = tracker_start(d->tracker);
	if (err)
		log_msg(LOG_WARNING, "mappings are not tracked: %s",
			strerror(-err));
}

/* ---- access times ---- */

/*
 * What the mount says now, which a remount changes without asking us. The
 * kernel knows of strictatime only by the absence of the others, and is not
 * told of it by libfuse: there the option counts.
 */
static unsigned atime_policy(const struct options *opt, unsigned long shown)
{
	bool strict = opt->flags_set & MS_STRICTATIME || !(shown & MS_RELATIME);
	unsigned policy = strict ? FS_ATIME_STRICT : 0;

	shown |= opt->flags_set & (MS_NODIRATIME | MS_LAZYTIME);
	if (shown & (MS_NOATIME | MS_RDONLY))
		policy |= FS_ATIME_NONE;
	if (shown & MS_NODIRATIME)
		policy |= FS_ATIME_NODIR;
	if (shown & MS_LAZYTIME)
		policy |= FS_ATIME_LAZY;
	return policy;
}

static void look_at_flags(const struct daemon *d)
{
	unsigned long shown = 0;

	/* lifted off the tree it shows none: the last ones stand */
	if (!mountinfo_flags(MOUNTINFO_PATH, d->places.mountpoint, &shown))
		fs_set_atime(d->fs, atime_policy(d->opt, shown));
}

/* Whoever watches the mounts has a descriptor; poll(2) of proc(5). */
static void watch_mounts(struct daemon *d)
{
	d->mounts_fd = open(MOUNTINFO_PATH, O_RDONLY | O_CLOEXEC);
	if (d->mounts_fd < 0)
		log_msg(LOG_DEBUG, "%s: %s", MOUNTINFO_PATH, strerror(errno));
	look_at_flags(d);
}

/* ---- serving ---- */

enum event {
	EVENT_READY,
	EVENT_ENDED,
	EVENT_SIGNAL,
	EVENT_CHILD,
	EVENT_MOUNTS,
};

static enum event read_signal(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info) ||
	    info.ssi_signo != SIGCHLD)
		return EVENT_SIGNAL;
	return EVENT_CHILD;
}

static enum event wait_event(const struct daemon *d, bool want_ready)
{
	struct pollfd fds[] = {
		{.fd = session_ended_fd(d->session), .events = POLLIN},
		{.fd = d->signal_fd, .events = POLLIN},
		{.fd = d->mounts_fd, .events = POLLPRI},
		{.fd = session_ready_fd(d->session), .events = POLLIN},
	};
	nfds_t nr = want_ready ? 4 : 3;

	while (poll(fds, nr, -1) < 0)
		; /* EINTR: signals are blocked, but a debugger may stop us */

	if (want_ready && fds[3].revents)
		return EVENT_READY;
	if (fds[0].revents)
		return EVENT_ENDED;
	if (fds[1].revents)
		return read_signal(d->signal_fd);
	return EVENT_MOUNTS;
}

/* Whoever unmounts at once may have been faster than the worker that answered
 * INIT: a mount that began and ended did begin. */
static bool was_ready(struct daemon *d)
{
	struct pollfd fd = {
		.fd = session_ready_fd(d->session),
		.events = POLLIN,
	};

	session_stop(d->session);
	return poll(&fd, 1, 0) == 1;
}

static int wait_ready(struct daemon *d)
{
	enum event event;

	do
		event = wait_event(d, true);
	while (event == EVENT_CHILD);
	if (session_unfit(d->session)) {
		log_msg(LOG_ERR, "cache=own: the kernel is too old for it, "
				 "Linux 6.6 is the first that can");
		return -EIO;
	}
	if (event == EVENT_READY || (event == EVENT_ENDED && was_ready(d)))
		return 0;

	log_msg(LOG_ERR, "%s: %s", d->places.mountpoint,
		event == EVENT_ENDED ? "unmounted before it was ready"
				     : "interrupted");
	return -EIO;
}

/* Return: whether to go on serving. */
static bool on_signal(struct daemon *d)
{
	if (d->unmounter)
		return false;

	/* Its helpers may have the mount open. */
	unmapper_stop(d->unmapper);
	d->unmounter = unmounter_start(d->places.mountpoint);
	if (d->unmounter > 0)
		return true;

	log_msg(LOG_ERR, "unmounting: %s", strerror(-d->unmounter));
	d->unmounter = 0;
	return false;
}

static bool on_child(struct daemon *d)
{
	int status;

	unmapper_reap(d->unmapper);
	if (!d->unmounter ||
	    waitpid(d->unmounter, &status, WNOHANG) != d->unmounter)
		return true;

	switch (unmounter_result(status)) {
	case UNMOUNTER_DONE:
		return true; /* until the workers see it */
	case UNMOUNTER_LAZILY:
		log_msg(LOG_WARNING, "%s: busy, unmounted all the same",
			d->places.mountpoint);
		d->lifted = true;
		session_wait_quiet(d->session, QUIET_TIMEOUT_MS);
		return false;
	default:
		log_msg(LOG_ERR, "%s: cannot be unmounted",
			d->places.mountpoint);
		return false;
	}
}

static void serve(struct daemon *d)
{
	bool more = true;

	while (more) {
		switch (wait_event(d, false)) {
		case EVENT_SIGNAL:
			more = on_signal(d);
			break;
		case EVENT_CHILD:
			more = on_child(d);
			break;
		case EVENT_MOUNTS:
			look_at_flags(d);
			break;
		default:
			more = false;
		}
	}
}

/* ---- beginning and end ---- */

/* From now on signals come through the descriptor, to the main thread. */
static int take_signals(struct daemon *d)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (d->signal_fd >= 0)
		return 0;

	log_msg(LOG_ERR, "signalfd: %s", strerror(errno));
	return -EMFILE;
}

static int go_to_background(struct daemon *d)
{
	if (d->opt->foreground)
		return 0;

	d->status_fd = background_begin();
	if (d->status_fd >= 0)
		return 0;

	log_msg(LOG_ERR, "fork: %s", strerror(-d->status_fd));
	return d->status_fd;
}

/*
 * What the budget does not count has to stay small: few malloc arenas, and
 * large blocks given back to the system.
 */
static void tune_malloc(void)
{
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

static int begin(struct daemon *d)
{
	int err = check_surroundings(d);

	if (!err)
		err = go_to_background(d);
	if (!err)
		err = take_signals(d);
	if (!err)
		err = open_volume(d);
	if (!err)
		err = open_swap(d);
	if (!err)
		err = open_fs(d);
	if (!err)
		log_sqlite_begin();
	if (!err)
		err = open_unmapper(d);
	if (!err)
		err = open_session(d);
	if (!err)
		err = mount_it(d);
	if (!err)
		err = wait_ready(d);
	return err;
}

static void announce(struct daemon *d)
{
	tune_kernel(d);
	start_tracker(d);
	start_unmapper(d);
	watch_mounts(d);
	if (d->status_fd >= 0) {
		log_to_syslog();
		background_ready(d->status_fd);
	}
	/* Of what is said then, nothing is to be missing. */
	if (!d->opt->debug)
		log_begin();
	log_msg(LOG_INFO, "%s: mounted at %s", d->places.volume,
		d->places.mountpoint);
}

/* Return: the error of the last commit. */
static int end(struct daemon *d)
{
	int err = 0;

	/* first: while requests are served, no process that it looks at waits
	 * for us */
	tracker_stop(d->tracker);
	/* while its threads' requests are still answered */
	unmapper_stop(d->unmapper);
	if (d->session) {
		session_stop(d->session);
		if (d->lifted)
			session_cut(d->session);
		session_unmount(d->session);
		session_free(d->session);
	}
	if (d->control)
		control_free(d->control);
	tracker_free(d->tracker);
	unmapper_free(d->unmapper);
	if (d->fs)
		err = fs_close(d->fs);
	else if (d->volume)
		(void)volume_close(d->volume);
	if (d->signal_fd >= 0)
		(void)close(d->signal_fd);
	if (d->mounts_fd >= 0)
		(void)close(d->mounts_fd);
	if (err)
		log_msg(LOG_ERR,
			"%s: what was not committed before is lost: %s",
			d->places.volume, strerror(-err));
	return err;
}

int daemon_run(const struct options *opt)
{
	struct daemon d = {
		.opt = opt, .status_fd = -1, .signal_fd = -1, .mounts_fd = -1};
	int err, end_err;

	tune_malloc();
	log_open("foliofs", opt->debug);
	log_from_libfuse();
	log_from_sqlite();
	err = begin(&d);
	if (!err) {
		announce(&d);
		serve(&d);
	}

	end_err = end(&d);
	if (!err && !end_err)
		log_msg(LOG_INFO, "%s: unmounted", d.places.volume);
	log_end();
	places_done(&d.places);
	return err || end_err ? EXIT_FAILURE : EXIT_SUCCESS;
}

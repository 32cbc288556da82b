/* SPDX-License-Identifier: MIT */
/*
 * A process that makes the kernel give back its copies of a file's pages, by
 * the kernel's own reclaim: nothing that is pinned, locked or being read into
 * is lost.
 *
 * For each process that it is told of: what that maps of the file, now, is
 * looked up, and process_madvise(MADV_PAGEOUT) takes it out of its page tables.
 * Then the pages are written out and posix_fadvise(DONTNEED) drops them.
 *
 * Why a process: it opens files of the mount, and waits for their write-out. A
 * daemon that did so would wait for itself, and could not be killed meanwhile.
 * It has a descriptor of the mount only while it is at one request, so that
 * umount(8) does not find the mount busy; and it ends when its socket does.
 *
 *	unmap_helper_init(&h, &cfg);
 *	unmap_helper_call(&h, &req, &answer);	starts it when it is needed
 *	unmap_helper_done(&h);
 *
 * A helper that is dead is replaced at the next call; one that does not answer
 * in time is killed and replaced. A killed process stays as long as the kernel
 * waits in it for an answer of ours, so there are at most UNMAP_MAX_STUCK of
 * those; then calls fail until one is gone.
 *
 * Threads: one calls; any may reap and cancel. Errors: 0 or -errno.
 */
#ifndef FOLIO_UNMAP_HELPER_H
#define FOLIO_UNMAP_HELPER_H

#include <sys/types.h>

#include "base.h"
#include "lock.h"
#include "mountinfo.h"

/* argv[0] of the helper: main() runs unmap_helper_main() then. */
#define UNMAP_HELPER_NAME "foliofs-unmap"

#define UNMAP_MAX_RANGES 512
#define UNMAP_MAX_PIDS 64
#define UNMAP_MAX_STUCK 4
#define UNMAP_PATH_MAX 4096

struct unmap_range {
	u64 pgoff, nr; /* nr 0: to the end of the file */
};

struct unmap_request {
	u64 ino;
	u32 nr_ranges;
	u32 nr_pids;
	struct unmap_range ranges[UNMAP_MAX_RANGES]; /* ascending */
	u32 pids[UNMAP_MAX_PIDS];  /* of threads or processes */
	char path[UNMAP_PATH_MAX]; /* below the mountpoint; may be "" */
};

struct unmap_answer {
	int err;	/* 0, or why nothing was dropped: -EACCES ... */
	u32 nr_denied;	/* processes whose mappings we may not touch */
	u32 nr_mappers; /* processes that map some of it */
	u32 nr_ranges;	/* as asked */
	u64 paged_out;	/* pages of mappings that were asked for */
	u64 dropped;	/* pages that the kernel has no more */
	u32 left[UNMAP_MAX_RANGES]; /* ... that it still has, a range */
};

struct unmap_helper_config {
	const char *exe;	/* the program; "/proc/self/exe" */
	const char *mountpoint; /* absolute */
	struct mount_dev dev;	/* what is mounted there */
	u32 timeout_ms;		/* of one call */
};

struct unmap_helper {
	/* constant */
	struct unmap_helper_config cfg;
	int cancel_fd;

	struct mutex lock; /* LOCK_LEAF */
	/* under lock */
	pid_t pid; /* 0: none */
	int fd;
	pid_t stuck[UNMAP_MAX_STUCK]; /* killed, not gone yet; 0: none */
	u64 nr_started;
};

/* What @cfg points to must stay. */
int unmap_helper_init(struct unmap_helper *h,
		      const struct unmap_helper_config *cfg);

/*
 * Context: no lock held; waits for the helper, at most cfg.timeout_ms.
 * Return: 0, -ETIMEDOUT, -ECANCELED, -EPIPE (it died), -EAGAIN (too many are
 * stuck) or why it could not be started.
 */
int unmap_helper_call(struct unmap_helper *h, const struct unmap_request *req,
		      struct unmap_answer *ret);

/* Take the status of those that have ended, so that they leave no zombies.
 * For who hears of SIGCHLD. */
void unmap_helper_reap(struct unmap_helper *h);

/* Let the call under way and all later ones fail with -ECANCELED. */
void unmap_helper_cancel(struct unmap_helper *h);

/* Kill it, and wait for what is dead to be gone, at most cfg.timeout_ms. */
void unmap_helper_done(struct unmap_helper *h);

/* The helper itself; the socket is its standard input. argv[1]: the
 * mountpoint, argv[2], argv[3]: major and minor. Return: exit status. */
int unmap_helper_main(int argc, char **argv);

#endif

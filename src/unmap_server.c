/* SPDX-License-Identifier: MIT */
/* The process of src/unmap_helper.h. One thread; it trusts its socket. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "procfs.h"
#include "unmap_helper.h"

/* Where the headers are older than the kernel. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* As many as process_madvise() takes. */
#define MAX_IOV 1024

struct server {
	struct procfs procfs;
	const char *mountpoint;
	struct unmap_request req;
	struct unmap_answer answer;
	struct iovec iov[MAX_IOV];
};

/* ---- opening ---- */

static bool is_ours(const struct server *s, int fd, u64 ino)
{
	struct stat st;

	return fstat(fd, &st) == 0 && major(st.st_dev) == s->procfs.dev.major &&
	       minor(st.st_dev) == s->procfs.dev.minor &&
	       (!ino || st.st_ino == ino);
}

static int check_ours(const struct server *s, int fd, u64 ino)
{
	if (fd < 0)
		return -errno;
	if (is_ours(s, fd, ino))
		return fd;
	(void)close(fd);
	return -ESTALE;
}

/* FUSE's own form: node id, generation. Needs no name and no look-up, so it
 * finds removed files as well; for root. */
#define FUSE_HANDLE_TYPE 0x81
#define FUSE_HANDLE_WORDS 3

static int open_by_number(const struct server *s)
{
	union {
		struct file_handle fh;
		char room[sizeof(struct file_handle) +
			  FUSE_HANDLE_WORDS * sizeof(u32)];
	} handle;
	u32 words[FUSE_HANDLE_WORDS] = {(u32)(s->req.ino >> 32),
					(u32)s->req.ino, 0};
	int mnt = open(s->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd;

	mnt = check_ours(s, mnt, 0);
	if (mnt < 0)
		return mnt;

	handle.fh.handle_bytes = sizeof(words);
	handle.fh.handle_type = FUSE_HANDLE_TYPE;
	memcpy(handle.fh.f_handle, words, sizeof(words));
	fd = open_by_handle_at(mnt, &handle.fh, O_RDONLY | O_CLOEXEC);
	fd = check_ours(s, fd, s->req.ino);
	(void)close(mnt);
	return fd;
}

/*
 * Programs may rename and link what the path leads through, meanwhile and to
 * have us, who may be root, open something else. So nothing but names of the
 * mount itself is followed, and nothing is opened before it is known that it is
 * the file: opening devices and pipes has effects.
 */
static int find_by_path(const struct server *s)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int mnt = open(s->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	mnt = check_ours(s, mnt, 0);
	if (mnt < 0)
		return mnt;

	fd = (int)syscall(SYS_openat2, mnt, s->req.path, &how, sizeof(how));
	fd = check_ours(s, fd, s->req.ino);
	(void)close(mnt);
	return fd;
}

static int open_by_path(const struct server *s)
{
	int found = find_by_path(s);
	char name[32];
	struct stat st;
	int fd;

	if (found < 0)
		return found;
	if (fstat(found, &st) || !S_ISREG(st.st_mode)) {
		(void)close(found);
		return -ESTALE;
	}

	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", found);
	fd = check_ours(s, open(name, O_RDONLY | O_CLOEXEC), s->req.ino);
	(void)close(found);
	return fd;
}

static int open_file(const struct server *s)
{
	int fd = open_by_number(s);
	int err = fd;

	if (fd >= 0 || !*s->req.path)
		return fd;

	fd = open_by_path(s);
	return fd == -ENOENT ? err : fd;
}

/* ---- mappings ---- */

/* A mapping may be gone by now, and the process be another: paging out what
 * is there then costs somebody a fault, and nothing else. */
static void page_out(struct server *s, int pidfd, size_t nr_iov)
{
	long n = syscall(SYS_process_madvise, pidfd, s->iov, nr_iov,
			 MADV_PAGEOUT, 0);

	if (n > 0)
		s->answer.paged_out += (u64)n / PAGE_SIZE;
	else if (n < 0 && (errno == EPERM || errno == EACCES))
		s->answer.nr_denied++;
}

/* What @map has of @range, as addresses. */
static bool overlap(const struct proc_map *map, const struct unmap_range *range,
		    struct iovec *ret)
{
	u64 first = map->pos >> PAGE_SHIFT;
	u64 end = first + ((map->end - map->start) >> PAGE_SHIFT);
	u64 from = max(first, range->pgoff);
	u64 to = range->nr ? min(end, range->pgoff + range->nr) : end;

	if (from >= to)
		return false;
	*ret = (struct iovec){
		.iov_base = (void *)(uintptr_t)(map->start +
						((from - first) << PAGE_SHIFT)),
		.iov_len = (to - from) << PAGE_SHIFT,
	};
	return true;
}

static void page_out_maps(struct server *s, int pidfd,
			  const struct proc_map *maps, size_t nr)
{
	size_t nr_iov = 0;
	bool any = false;

	for (size_t i = 0; i < nr; i++) {
		for (u32 r = 0; r < s->req.nr_ranges; r++) {
			if (maps[i].ino != s->req.ino ||
			    !overlap(&maps[i], &s->req.ranges[r],
				     &s->iov[nr_iov]))
				continue;
			any = true;
			if (++nr_iov == MAX_IOV) {
				page_out(s, pidfd, nr_iov);
				nr_iov = 0;
			}
		}
	}
	if (nr_iov)
		page_out(s, pidfd, nr_iov);
	s->answer.nr_mappers += any;
}

static void page_out_process(struct server *s, pid_t pid)
{
	struct proc_map *maps = NULL;
	struct proc proc;
	size_t nr = 0;
	int pidfd;
	int err = proc_open(&s->procfs, pid, &proc);

	if (err) {
		s->answer.nr_denied += err == -EACCES;
		return;
	}

	err = proc_maps(&s->procfs, &proc, &maps, &nr);
	s->answer.nr_denied += err == -EACCES || err == -EPERM;
	pidfd = err || !nr ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0) {
		page_out_maps(s, pidfd, maps, nr);
		(void)close(pidfd);
	}
	free(maps);
	proc_close(&proc);
}

/* Threads of one process may all have faulted. */
static void page_out_all(struct server *s)
{
	pid_t done[UNMAP_MAX_PIDS];
	u32 nr = 0;

	for (u32 i = 0; i < s->req.nr_pids; i++) {
		pid_t pid;
		u32 j = 0;

		if (proc_tgid(&s->procfs, (pid_t)s->req.pids[i], &pid))
			continue;
		while (j < nr && done[j] != pid)
			j++;
		if (j < nr)
			continue;
		done[nr++] = pid;
		page_out_process(s, pid);
	}
}

/* ---- the file ---- */

/* Pages that the kernel has; 0 where it cannot say (before Linux 6.5). */
static u64 nr_cached(int fd, const struct unmap_range *range)
{
	struct {
		u64 off, len;
	} where = {range->pgoff << PAGE_SHIFT, range->nr << PAGE_SHIFT};
	struct {
		u64 cache, dirty, writeback, evicted, recently_evicted;
	} stat = {0};

	if (syscall(SYS_cachestat, fd, &where, &stat, 0))
		return 0;
	return stat.cache;
}

static void write_out(const struct server *s, int fd, unsigned flags)
{
	for (u32 i = 0; i < s->req.nr_ranges; i++) {
		const struct unmap_range *r = &s->req.ranges[i];

		(void)sync_file_range(fd, (off_t)(r->pgoff << PAGE_SHIFT),
				      (off_t)(r->nr << PAGE_SHIFT), flags);
	}
}

/* DONTNEED leaves alone what is dirty or being written: that is waited for
 * first, all ranges at once. */
static void drop(struct server *s, int fd)
{
	struct unmap_answer *a = &s->answer;

	write_out(s, fd, SYNC_FILE_RANGE_WRITE);
	write_out(s, fd,
		  SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			  SYNC_FILE_RANGE_WAIT_AFTER);
	for (u32 i = 0; i < s->req.nr_ranges; i++) {
		const struct unmap_range *r = &s->req.ranges[i];
		u64 before = nr_cached(fd, r);
		u64 after;

		(void)posix_fadvise(fd, (off_t)(r->pgoff << PAGE_SHIFT),
				    (off_t)(r->nr << PAGE_SHIFT),
				    POSIX_FADV_DONTNEED);
		after = nr_cached(fd, r);
		a->left[i] = (u32)min(after, (u64)UINT32_MAX);
		a->dropped += before > after ? before - after : 0;
	}
}

static bool any_left(const struct unmap_answer *a)
{
	for (u32 i = 0; i < a->nr_ranges; i++) {
		if (a->left[i])
			return true;
	}
	return false;
}

/*
 * Pages that came a moment ago are in the kernel's batches, one a CPU, where
 * PAGEOUT does not find them; DONTNEED empties those when it fails. What is
 * left after a second pass is in use.
 */
static void serve(struct server *s)
{
	int fd = open_file(s);

	s->answer = (struct unmap_answer){.nr_ranges = s->req.nr_ranges};
	page_out_all(s);
	if (fd < 0) {
		s->answer.err = fd;
		return;
	}

	drop(s, fd);
	if (any_left(&s->answer) && s->answer.nr_mappers == 1) {
		s->answer.nr_mappers = 0;
		page_out_all(s);
		drop(s, fd);
	}
	(void)close(fd);
}

static int parse(const char *text, unsigned *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || *end || end == text || v > UINT32_MAX)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

int unmap_helper_main(int argc, char **argv)
{
	static struct server s;
	struct mount_dev dev;

	if (argc != 4 || parse(argv[2], &dev.major) ||
	    parse(argv[3], &dev.minor))
		return EXIT_FAILURE;

	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	(void)prctl(PR_SET_NAME, UNMAP_HELPER_NAME);
	(void)!chdir("/");
	s.mountpoint = argv[1];
	if (procfs_init(&s.procfs, "/proc", &dev, false))
		return EXIT_FAILURE;

	while (recv(STDIN_FILENO, &s.req, sizeof(s.req), 0) == sizeof(s.req)) {
		serve(&s);
		if (send(STDIN_FILENO, &s.answer, sizeof(s.answer),
			 MSG_NOSIGNAL) != sizeof(s.answer))
			break;
	}
	procfs_done(&s.procfs);
	return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/*
 * What other processes map, from /proc.
 *
 *	procfs_init(&p, "/proc", &dev, false);
 *	proc_open(&p, pid, &proc);	holds /proc/PID, reads its stat
 *	proc_maps(&p, &proc, ...);	its mappings of files on the device
 *	proc_close(&proc);
 *
 * Everything of one process goes through the descriptor of its folder, so that
 * a pid that is given to another meanwhile cannot mix the two: reads then fail
 * with -ESRCH. Two looks are at the same process if pid and start_time agree.
 *
 * /proc/PID/maps gives device and inode exactly. Where the kernel has the
 * ioctl PROCMAP_QUERY (Linux 6.11), it is asked for the mappings of files
 * alone; otherwise the text is parsed. A mapping that changes during the look
 * may be seen as it was or as it is; the answer is always sorted and free of
 * overlaps.
 *
 * The files of a process are read with its memory map locked, and so behind an
 * mmap() or munmap() of its own that waits for us: never call from a thread
 * that serves requests, nor with locks held.
 *
 * Threads: any; struct procfs is constant after procfs_init().
 * Errors: -ESRCH (it is gone), -EACCES (we may not look), -ENOMEM, -EIO ...
 * On an error nothing is returned and nothing is to be freed.
 */
#ifndef FOLIO_PROCFS_H
#define FOLIO_PROCFS_H

#include <sys/types.h>

#include "base.h"
#include "mountinfo.h"

struct procfs {
	int root_fd;
	struct mount_dev dev;
	bool query; /* PROCMAP_QUERY is used */
};

/*
 * @root: "/proc", or a folder of a test that looks like it.
 * @dev: the device whose files are looked for.
 * @parse: do not use PROCMAP_QUERY though the kernel has it.
 * Return: 0 or -errno.
 */
int procfs_init(struct procfs *p, const char *root, const struct mount_dev *dev,
		bool parse);
void procfs_done(struct procfs *p);

/* ---- one process ---- */

#define PROC_COMM_LEN 64 /* a kernel worker's may be longer than 16 */

struct proc {
	int dir_fd;
	pid_t pid;
	pid_t ppid;
	char state; /* as in /proc/PID/stat: R, S, D, Z ... */
	u32 nr_threads;
	u64 start_time;		  /* clock ticks since boot */
	char comm[PROC_COMM_LEN]; /* any bytes */
};

/* @pid may be a thread's: comm and start time are then the thread's. */
int proc_open(const struct procfs *p, pid_t pid, struct proc *ret);
void proc_close(struct proc *proc);

/* It has not been waited for yet: its pid is still its own. */
bool proc_exists(const struct proc *proc);

/* The process that a thread belongs to. */
int proc_tgid(const struct procfs *p, pid_t tid, pid_t *ret_pid);

/* ---- mappings ---- */

enum {
	PROC_MAP_READ = 1 << 0,
	PROC_MAP_WRITE = 1 << 1,
	PROC_MAP_EXEC = 1 << 2,
	PROC_MAP_SHARED = 1 << 3,
};

struct proc_map {
	u64 start, end; /* addresses; whole pages */
	u64 pos;	/* where in the file, bytes */
	u64 ino;
	u32 flags;
};

/* Mappings of files on the device, by address. *ret is to be freed, NULL if
 * there are none: also of a zombie or a kernel thread. */
int proc_maps(const struct procfs *p, const struct proc *proc,
	      struct proc_map **ret, size_t *ret_nr);

enum {
	PROC_HINT_LOCKED = 1 << 0,     /* mlock: lo */
	PROC_HINT_SEQUENTIAL = 1 << 1, /* madvise: sr */
	PROC_HINT_RANDOM = 1 << 2,     /* madvise: rr */
};

/* What only smaps says: it walks page tables, so it costs with the size of
 * what is mapped. */
struct proc_hint {
	struct proc_map map;
	u32 hints;
	u64 nr_resident; /* pages in the process's page tables */
	u64 nr_private;	 /* pages of a private mapping that are its own now */
};

int proc_hints(const struct procfs *p, const struct proc *proc,
	       struct proc_hint **ret, size_t *ret_nr);

/* ---- families ---- */

/* The children of all its threads. Where the kernel does not list them, each
 * process is asked for its parent. */
int proc_children(const struct procfs *p, const struct proc *proc, pid_t **ret,
		  size_t *ret_nr);

/* All processes. */
int procfs_pids(const struct procfs *p, pid_t **ret, size_t *ret_nr);

#endif

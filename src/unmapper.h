/* SPDX-License-Identifier: MIT */
/*
 * Taking back the copies that the kernel keeps of pages: what try_to_unmap() is
 * to Linux.
 *
 *	unmapper_new();
 *	unmapper_admit()	by request threads, for what the kernel reads
 *	unmapper_start();	when it is mounted
 *	unmapper_drop()		vm/drop_caches, a smaller vm/cache_size
 *	unmapper_stop(); unmapper_free();
 *
 * How. A file that nobody has open for writing, and so maps for writing, has
 * its pages invalidated; no program can have the kernel put anything into them
 * meanwhile, since opening it for writing is put off until that is done
 * (fs_take_begin()). Of any other file the helper process (src/unmap_helper.h)
 * asks those who map it to page out, and the kernel to drop what is unmapped.
 * Invalidating there would lose what a read(2) is just putting into a page.
 * Pages that several processes map, that are mlocked, or in use that moment,
 * stay; they are counted, and tried again later.
 *
 * When, in own mode. The kernel may have copies of a quarter of cache_size;
 * past it they are taken back, least recently handed out first, until it is an
 * eighth. Past a half, whoever is to get more of them waits, UNMAPPER_WAIT_NS
 *at most: only while there are so many that were not asked for yet or are just
 * being taken back. For pages that stayed when they were asked for nobody
 *waits, or a large file that is locked in memory would slow every fault for
 *ever. In other modes, when somebody asks.
 *
 * Who waits for whom. The unmapper's threads hold no lock while they are at it,
 * and nobody waits for them but whoever writes to drop_caches or cache_size,
 * with a time limit, in the thread of the control files. An invalidation waits
 * for READs of that file that are under way, and those for the device; the
 * helper waits for WRITEs, which always progress (src/session.h): none of them
 * waits for a program, or for us. A program that opens a file for writing while
 * it is being invalidated is answered a little later; no worker waits for it,
 * and the invalidation does not wait for the program.
 *
 * A fault that is put off occupies no worker either, and holds nothing of ours.
 * In the kernel it has its page locked, and when it is tried for the second
 *time the mmap lock of its process, shared. Another thread may want that lock
 *for itself, for mmap(2), and behind such a one nobody gets it: not the helper,
 *who needs it to read maps and to page out. And an invalidation waits for the
 *page. So the unmapper may wait for a fault that waits for the unmapper. What
 *ends this is the time limit: the fault is then served whatever the kernel has,
 *and it needs nobody for that but the device. (It is rare, and one of two
 *threads: a page that is waited for goes to the end of the order in which they
 *are taken, and the kernel gives the mmap lock up before it reads for the first
 * time.) DONTNEED and PAGEOUT leave a locked page alone. Write-out never waits
 * for a fault: what is read is not dirty.
 *
 * Threads: any. Locks: a leaf inside. Errors: 0 or -errno.
 */
#ifndef FOLIO_UNMAPPER_H
#define FOLIO_UNMAPPER_H

#include <sys/types.h>

#include "base.h"
#include "fs.h"
#include "mountinfo.h"

struct unmapper;

#define UNMAPPER_THREADS 2

/* The kernel's share of cache_size, down to where it is taken back, and from
 * where on the kernel waits for more. */
#define UNMAPPER_HIGH(cache_size) ((cache_size) / 4)
#define UNMAPPER_LOW(cache_size) ((cache_size) / 8)
#define UNMAPPER_FULL(cache_size) ((cache_size) / 2)

/* The longest wait. */
#define UNMAPPER_WAIT_NS (200 * NSEC_PER_MSEC)

struct unmapper_config {
	struct fs *fs;
	bool own; /* copies are noted, and kept under their share */
	/* Invalidate; len 0: to the end. As session_inval(). */
	int (*inval)(void *arg, u64 ino, u64 pos, u64 len);
	void *arg;
	const char *exe; /* of the helper; NULL: this program */
};

int unmapper_new(const struct unmapper_config *cfg, struct unmapper **ret);

/* Context: stopped, or never started. NULL is fine. */
void unmapper_free(struct unmapper *u);

/* @mountpoint is to stay. */
int unmapper_start(struct unmapper *u, const char *mountpoint,
		   const struct mount_dev *dev);

/* End threads and helpers; who waits goes on. Nothing is taken back later.
 * Context: requests are still being served. NULL is fine. */
void unmapper_stop(struct unmapper *u);

/*
 * The kernel wants [@pos, @pos + @len) of @ino, for the thread @tid, and was
 * put off for @waited_ns so far: note that it gets it. Never waits. NULL is
 * fine. Return: false: it has too many already. Nothing was noted; ask again
 * soon.
 */
bool unmapper_admit(struct unmapper *u, u64 ino, u64 pos, size_t len, pid_t tid,
		    u64 waited_ns);

/* Take back all copies of a file, of all when @ino is 0, and wait for it, at
 * most @timeout_ms; also for what is just being taken back, and for the start
 * if that is still to come. NULL is fine. Context: no request thread.
 * Return: 0, -ETIMEDOUT (it goes on), -ENOMEM. */
int unmapper_drop(struct unmapper *u, u64 ino, u32 timeout_ms);

/* cache_size was changed: the share is another. */
void unmapper_kick(struct unmapper *u);

/* A child has ended. NULL is fine. */
void unmapper_reap(struct unmapper *u);

/* X(name, help) */
#define UNMAP_COUNTERS(X)                                                     \
	X(unmap_inval, "times that pages of the kernel were invalidated")     \
	X(unmap_pageout,                                                      \
	  "pages of mappings asked to be paged out, there or not")            \
	X(unmap_dontneed, "pages of the kernel that were dropped after that") \
	X(unmap_shared, "pages that stayed, of files several processes map")  \
	X(unmap_left, "other pages that stayed: locked, or in use")           \
	X(unmap_denied, "programs whose mappings we may not touch")           \
	X(unmap_failed, "times that pages could not be asked for")            \
	X(unmap_waits, "reads of the kernel that waited for that")            \
	X(unmap_late, "... and were served before it was done")               \
	X(unmap_us, "time spent taking pages back, us")                       \
	X(unmap_helpers, "helper processes started")

#define UNMAP_GAUGES(X)                                             \
	X(nr_kernel_pages, "pages of the kernel's copies, at most " \
			   "(cache=own)")

struct unmapper_stat {
#define X(name, ...) u64 name;
	UNMAP_COUNTERS(X)
	UNMAP_GAUGES(X)
#undef X
};

/* NULL is fine: all 0. */
void unmapper_stat(struct unmapper *u, struct unmapper_stat *ret);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The block device under a volume's `data`: a table of operations, so that a
 * local file, a fault injector or a recorder can stand there.
 *
 * Threads: every operation may be called from any thread, no locks held below
 * LOCK_PAGE. Units: blocks of PAGE_SIZE bytes. Errors: 0 or -errno.
 */
#ifndef FOLIO_BDEV_H
#define FOLIO_BDEV_H

#include <sys/uio.h>

#include "base.h"

struct bdev;

struct bdev_operations {
	const char *name;
	/* Read or write @nr whole blocks at @block, each PAGE_SIZE-aligned
	 * memory. All or an error: short transfers are continued inside.
	 * Reading behind the end gives zeros. */
	int (*read)(struct bdev *b, u64 block, u32 nr, void *const *pages);
	int (*write)(struct bdev *b, u64 block, u32 nr, void *const *pages);
	/* Write, and what was written is durable on return: of what was
	 * written otherwise nothing is said. After an error a flush may be
	 * believed as little as after one of flush(). */
	int (*write_sync)(struct bdev *b, u64 block, u32 nr,
			  void *const *pages);
	/* Everything written before the call is durable. */
	int (*flush)(struct bdev *b);
	/* The content of the range is no longer needed: give its room back.
	 * To the end or behind it, the device becomes smaller. */
	int (*discard)(struct bdev *b, u64 block, u64 nr);
	int (*size)(struct bdev *b, u64 *ret_blocks);
	/* How many the host has given room to: fewer where there are holes. */
	int (*held)(struct bdev *b, u64 *ret_blocks);
	/* Make room up to @blocks in all. */
	int (*grow)(struct bdev *b, u64 blocks);
	void (*close)(struct bdev *b);
};

struct bdev {
	const struct bdev_operations *ops;
};

/* Open @name in folder @dirfd; O_DIRECT where the host allows it, else
 * buffered with POSIX_FADV_DONTNEED. @flags: O_RDONLY or O_RDWR, O_CREAT |
 * O_EXCL. */
int bdev_file_open(int dirfd, const char *name, int flags,
		   struct bdev **ret_bdev);

/* The same of an open file: takes it over unless it fails, and switches
 * O_DIRECT on where the host allows it. */
int bdev_file_use(int fd, struct bdev **ret_bdev);

/*
 * A device that fails on request, for tests: the nth call from now on of the
 * kinds in @mask answers @err, once or for ever. Wraps @lower and owns it.
 */
enum {
	BDEV_FAULT_READ = 1,
	BDEV_FAULT_WRITE = 2,
	BDEV_FAULT_FLUSH = 4,
	BDEV_FAULT_GROW = 8,
	BDEV_FAULT_DISCARD = 16,
};
int bdev_fault_wrap(struct bdev *lower, struct bdev **ret_bdev);
void bdev_fault_arm(struct bdev *b, unsigned mask, u64 nth, int err,
		    bool forever);
/* Calls counted since the last arm. */
u64 bdev_fault_calls(const struct bdev *b);
/* Ask @hook before each call, of which kind it is: 0, or what it is to answer.
 * Context: nothing is under way. */
typedef int (*bdev_fault_fn)(void *arg, unsigned kind);
void bdev_fault_set_hook(struct bdev *b, bdev_fault_fn hook, void *arg);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A swap file: `-o swap=FILE`. What the cache spills goes there instead of to
 * the free blocks of the volume, as when a fast disk is to stand before a slow
 * one; a commit copies it to the volume (cache.h, SLOT_FOREIGN).
 *
 * The file's first block says that it is ours; all others are slots. They mean
 * nothing to anybody but the daemon that wrote them: the file is emptied when
 * it is opened and when it is closed, is never flushed, and a power cut or a
 * kill loses nothing that was not lost anyway. It has one user at a time, by a
 * lock of the file itself.
 *
 * A file that cannot be written, or whose host is full, is taken for full: the
 * cache asks for commits, and nothing is written to the file for a second. What
 * cannot be read, or has another checksum than when it was written, is an
 * error of that page.
 *
 * Calling sequence: swap_file_open(); the cache with swap_file_ops and the
 * swap_file as argument; swap_file_close() when the cache is gone. Threads: all
 * but opening and closing from any thread. Units: blocks of PAGE_SIZE.
 */
#ifndef FOLIO_SWAP_FILE_H
#define FOLIO_SWAP_FILE_H

#include "base.h"
#include "bdev.h"
#include "cache.h"

struct swap_file;
struct volume;

/* Smaller than this it is of no use. */
#define SWAP_FILE_MIN_BYTES ((u64)1 << 20)

#define SWAP_FILE_COUNTERS(X)                                            \
	X(swap_file_read_blocks, "blocks read from the swap file")       \
	X(swap_file_write_blocks, "blocks written to the swap file")     \
	X(swap_file_read_errors,                                         \
	  "blocks of the swap file that were unreadable or damaged")     \
	X(swap_file_write_errors, "writes to the swap file that failed") \
	X(swap_file_discarded_blocks,                                    \
	  "blocks of the swap file whose room was given back to the host")

#define SWAP_FILE_GAUGES(X)                                      \
	X(swap_file_bytes, "what the swap file may hold, bytes") \
	X(swap_file_used_bytes, "slots in use in the swap file, bytes")

struct swap_file_stat {
#define X(name, ...) u64 name;
	SWAP_FILE_COUNTERS(X)
	SWAP_FILE_GAUGES(X)
#undef X
};

struct swap_file_options {
	/* commits take their slots from it; outlives the swap file */
	struct volume *volume;
	u64 size; /* bound in bytes; UINT64_MAX: none */
	/* one line for the log, level as syslog(3); may be NULL */
	void (*log)(void *arg, int level, const char *line);
	void *log_arg;
	/* tests: wrap the device before anything is written to it */
	int (*wrap)(void *arg, struct bdev *lower, struct bdev **ret);
	void *wrap_arg;
};

/*
 * Open the file at @path, which is made if there is none (mode 0600), lock and
 * empty it. Return: 0, with @err empty or a note for the log; or -errno with
 * one line for the user in @err: it is no regular file, somebody else's, in
 * use, not empty and not a swap file, on a network filesystem, bounded to less
 * than SWAP_FILE_MIN_BYTES.
 */
int swap_file_open(const char *path, const struct swap_file_options *opt,
		   struct swap_file **ret, char *err, size_t errlen);
/* NULL is fine. Context: no slot is in use. */
void swap_file_close(struct swap_file *s);

/* Slots in the file, for commits in the volume; arg is the swap_file. */
extern const struct swap_operations swap_file_ops;

/*
 * Give the host back the room of a run of free slots, the first at or behind
 * *from, which is moved on; begin with 0. Others work on meanwhile, with all
 * slots but those. Context: may take long, no locks held.
 * Return: 1, 0: none was left, -EOPNOTSUPP and other errors of the host.
 */
int swap_file_compact_some(struct swap_file *s, u64 *from);

const char *swap_file_path(const struct swap_file *s);
/* Zeros for NULL. @bound: the knob swap_size. */
void swap_file_stat(struct swap_file *s, u64 bound, struct swap_file_stat *ret);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The command line of foliofs, and of mount.foliofs, which is the same program
 * under the name that mount(8) looks for.
 *
 *	foliofs [-f] [-d] [-o OPTION[,OPTION...]]... VOLUME MOUNTPOINT
 *	mount.foliofs VOLUME MOUNTPOINT [-fnrsvw] [-o ...] [-t TYPE]
 *
 * Options may stand behind the operands. A comma or backslash inside a value
 * has a backslash before it, as libfuse and fstab have it.
 *
 * One list, FOLIOFS_OPTIONS, makes struct options, the parser, --help and the
 * test that each option is in the manual page. No threads, no files: what the
 * machine is like comes in as an argument.
 */
#ifndef FOLIO_OPTIONS_H
#define FOLIO_OPTIONS_H

#include <stdio.h>

#include "base.h"

enum cache_mode {
	CACHE_MODE_KERNEL,
	CACHE_MODE_WRITEBACK,
	CACHE_MODE_OWN,
};

/* No such option was given: whoever uses the value has its own default. */
#define OPTION_UNSET UINT64_MAX

#define OPTION_SIZE_MOST ((u64)1 << 62)

/* What a value may be, and the C type it is kept in. */
enum option_kind {
	OPTION_FLAG,
	OPTION_SIZE,   /* bytes; K M G T */
	OPTION_MEMORY, /* the same, or a percentage of the machine's memory */
	OPTION_SECONDS,
	OPTION_NUMBER,
	OPTION_MODE, /* kernel, writeback, own */
	OPTION_TEXT,
};
#define OPTION_C_FLAG bool
#define OPTION_C_SIZE u64
#define OPTION_C_MEMORY u64
#define OPTION_C_SECONDS u64
#define OPTION_C_NUMBER u64
#define OPTION_C_MODE enum cache_mode
#define OPTION_C_TEXT char *

/* name, kind, least, most, help. Where a knob of the cache stands behind an
 * option, the limits are the knob's. */
#define FOLIOFS_OPTIONS(X)                                                  \
	X(create, FLAG, 0, 1, "make the volume if there is none")           \
	X(size, SIZE, 1 << 20, OPTION_SIZE_MOST,                            \
	  "with create: how large the volume may become")                   \
	X(cache_size, MEMORY, 256 << 10, OPTION_SIZE_MOST,                  \
	  "memory for the cache (1/8 of the machine's, 64M to 4G)")         \
	X(cache, MODE, 0, 0,                                                \
	  "kernel, writeback or own: whose cache it is (kernel)")           \
	X(commit, SECONDS, 0, 86400,                                        \
	  "longest time between commits, 0: never by itself (5)")           \
	X(atomic, FLAG, 0, 1,                                               \
	  "files change on the volume only when synced or closed")          \
	X(swap, TEXT, 0, 0,                                                 \
	  "file to spill to, rather than to the volume's free space")       \
	X(swap_size, MEMORY, 0, UINT64_MAX,                                 \
	  "bound of what the cache spills (none)")                          \
	X(dirty_background_bytes, MEMORY, 0, OPTION_SIZE_MOST,              \
	  "dirty pages from which they are written out (10% of the cache)") \
	X(dirty_bytes, MEMORY, 0, OPTION_SIZE_MOST,                         \
	  "dirty pages at which writers are slowed (20% of the cache)")     \
	X(dirty_expire, SECONDS, 0, 86400,                                  \
	  "age at which a dirty page is written out (30)")                  \
	X(swappiness, NUMBER, 0, 200,                                       \
	  "readiness to spill changed pages rather than drop others (60)")  \
	X(readahead, SIZE, 0, 64 << 20, "most that is read ahead (2M)")     \
	X(parse_maps, FLAG, 0, 1,                                           \
	  "find mappings by reading /proc/PID/maps, not by PROCMAP_QUERY")  \
	X(ro, FLAG, 0, 1, "read-only")                                      \
	X(allow_other, FLAG, 0, 1, "other users may use the mount")         \
	X(allow_root, FLAG, 0, 1, "root may use the mount")                 \
	X(auto_unmount, FLAG, 0, 1, "unmount if the daemon dies")           \
	X(fsname, TEXT, 0, 0, "name shown as the source of the mount (VOLUME)")

struct options {
#define X(name, kind, ...) OPTION_C_##kind name;
	FOLIOFS_OPTIONS(X)
#undef X
	char *volume;
	char *mountpoint;
	char *kernel; /* options of mount(2) to pass on: "nosuid,nodev" */
	bool foreground;
	bool debug;
	bool help;
	bool version;
	bool fake;    /* mount -f: check the options, do nothing */
	bool remount; /* src/remount.h */
	/* of mount(2), MS_*, for a remount */
	unsigned long flags_set, flags_cleared;
};

/*
 * Parse. @ram: bytes of memory of this machine, for defaults and percentages.
 * Return: 0; -EINVAL with one line in @err; -ENOMEM. In each case
 * options_done() is due. With help or version set nothing else is checked.
 */
int options_parse(struct options *opt, int argc, char *const *argv, u64 ram,
		  char *err, size_t errlen);
void options_done(struct options *opt);

void options_help(FILE *out);

/* The nth mount option's name, NULL behind the last: for tests of manual and
 * help. */
const char *options_name(size_t nth);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What a filesystem does and what its volume may be found with: a small tree
 * that is worked on through fs.h and remembered beside it, and for each commit
 * the text of what it is to leave.
 *
 * A commit takes all names and attributes there are. Of content it takes what
 * was asked for and what a commit point waits for; sync takes all; one that
 * nobody asked for all but atomic files that are open. Content, size and mtime
 * of other files are as their last commit left them: a file that no commit took
 * is empty. So after a power cut the tree is that of the last commit that had
 * ended, or of the one that was under way, and of no other.
 *
 * A commit may have operations go on beside it: an operation that commits says
 * how many of those behind it, and before which of its writes, flushes and
 * syncs it stands meanwhile. It is of what there was before them; only what may
 * wait for it keeps it from standing for long. The last of them may ask for the
 * next commit.
 *
 * Paths are a folder and a name of a few, so that sequences can be listed.
 */
#ifndef FOLIO_POWER_MODEL_H
#define FOLIO_POWER_MODEL_H

#include "fs_util.h"
#include "power_record.h"

enum power_op_kind {
	OP_CREATE,
	OP_MKDIR,
	OP_SYMLINK,
	OP_TMPFILE, /* written to, and linked */
	OP_LINK,    /* to the second path */
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_EXCHANGE,
	OP_TRUNCATE, /* to arg */
	OP_WRITE,    /* arg2 bytes at arg */
	OP_STORE,    /* a mapped store that the kernel brings: page arg */
	OP_FALLOCATE,
	OP_PUNCH,
	OP_ZERO,
	OP_COPY, /* arg2 bytes at arg into the second path's file */
	OP_CHMOD,
	OP_SETXATTR,
	OP_ATOMIC,
	OP_CLOSE,
	OP_COMPACT, /* free blocks go back to the host; commits first */
	OP_SPILL,   /* what is dirty goes to slots */
	/* arg: operations beside it, arg2: before which event it stands */
	OP_FSYNC,
	OP_FDATASYNC,
	OP_TOGETHER, /* both paths' files, in one transaction */
	OP_SYNC,
	OP_COMMIT,  /* unasked */
	OP_REMOUNT, /* slots are in a swap file then, or in the volume again */
	OP_KINDS,
};

enum {
	DIR_ROOT,
	DIR_A,
	DIR_B,
	DIRS,
};
enum {
	NAME_a,
	NAME_b,
	NAME_c,
	NAME_A,
	NAME_B,
	NAMES,
};

struct power_path {
	u8 dir, name;
};

struct power_op {
	enum power_op_kind kind;
	struct power_path path, to;
	u32 arg, arg2;
};

struct power_model;

/*
 * Open the volume at @folder, which power_model_prepare() made or its copy,
 * with the log recording.
 */
struct power_model *power_model_open(const char *folder, struct power_log *log);
/* Make a volume with the tree that all begin with, in the folder "base" of the
 * tmpdir, closed. Return: its path. */
const char *power_model_prepare(void);
/* Do them, but those that the tree has no place for. */
void power_model_do(struct power_model *m, const struct power_op *ops, u32 nr);
/* Close the filesystem, which is a commit of everything. */
void power_model_close(struct power_model *m);
/*
 * It is closed; but now, as if the daemon had been killed at @point of the log
 * instead: power_record_kill(), and the folder has what was there then. Mount
 * it, and go on. Return: NULL, or what is wrong (to be freed).
 */
char *power_model_after_kill(struct power_model *m, size_t point);
void power_model_free(struct power_model *m);

/*
 * The volume at @folder, as a power cut at @point may have left it: check it,
 * open it, compare. Return: NULL, or what is wrong (to be freed).
 */
char *power_model_check(struct power_model *m, const char *folder,
			size_t point);

/* What was seen so far, of all models. */
struct power_counts {
	u64 maps_loaded; /* mounts that had a saved block map */
	u64 pages_moved; /* out of rows */
	u64 stood;	 /* commits that others went on beside */
	u64 hurried;	 /* ... and that did not wait for all of them */
	u64 checkpoints; /* that were asked for */
	u64 records;	 /* of the redo log, written */
	u64 replayed;	 /* ... and found at a mount */
};
extern struct power_counts power_counts;

bool power_op_commits(enum power_op_kind kind);
/* "rename A/a c" */
void power_op_print(const struct power_op *op, char *buf, size_t size);

#endif

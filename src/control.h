/* SPDX-License-Identifier: MIT */
/*
 * The control files under MOUNT/.foliofs: a tree of its own with node ids from
 * 2^63, whose files are snapshots made at open. Knows struct fs, not FUSE:
 * src/ops_*.c hand over every node id for which control_owns() holds.
 *
 *	.foliofs/{meminfo,vmstat,files,swaps,stats.json,metrics}
 *	.foliofs/inode/INO/{stat,pages}
 *	.foliofs/vm/KNOB
 *
 * Threads: any. Nothing here waits for I/O of the cache, but for writes to
 * vm/sync and vm/drop_caches, which answer through struct fs_done.
 */
#ifndef FOLIO_CONTROL_H
#define FOLIO_CONTROL_H

#include "base.h"
#include "fs.h"

#define CONTROL_NAME ".foliofs"
#define CONTROL_INO ((u64)1 << 63) /* the folder itself */

struct control;
struct control_file;

/* @uid, @gid: the owner of the mount, who alone may look. */
int control_new(struct fs *fs, u32 uid, u32 gid, struct control **ret);
void control_free(struct control *c);

static inline bool control_owns(u64 ino)
{
	return ino >= CONTROL_INO;
}

/* @ret_timeout: seconds the kernel may keep the entry (0 below inode/). */
int control_lookup(struct control *c, u64 parent, const char *name,
		   struct stat *ret_st, double *ret_timeout);
int control_getattr(struct control *c, u64 ino, struct stat *ret_st);
int control_readdir(struct control *c, u64 ino, u64 off, fs_fill_fn fill,
		    void *arg);

/* Open: the snapshot is taken here. -EACCES for a write to a read-only one. */
int control_open(struct control *c, u64 ino, int flags,
		 struct control_file **ret);
ssize_t control_read(struct control_file *f, u64 pos, void *buf, size_t len);
/*
 * A knob or a trigger: one line, ended by a newline or the end of the write.
 * done->fn gets 0, -EINVAL (not a number, out of range) or the action's error,
 * maybe before this returns.
 */
void control_write(struct control_file *f, u64 pos, const void *buf, size_t len,
		   struct fs_done *done);
void control_release(struct control_file *f);

/* Text that `foliofs.h`-less users parse; also used by folioctl's tests. */
enum control_text {
	CONTROL_MEMINFO,
	CONTROL_VMSTAT,
	CONTROL_FILES,
	CONTROL_SWAPS,
	CONTROL_JSON,
	CONTROL_METRICS,
};
/* A new string. Return: 0 or -ENOMEM. */
int control_text(struct control *c, enum control_text what, char **ret_text,
		 size_t *ret_len);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The control files under MOUNT/.foliofs: a tree of its own with node ids from
 * 2^63, whose files are snapshots made at open. Knows struct fs, not FUSE:
 * src/ops_*.c hand over every node id for which control_owns() holds, and
 * look-ups of CONTROL_NAME in the root folder.
 *
 *	.foliofs/{meminfo,vmstat,files,maps,processes,swaps,volume,scrub}
 *	.foliofs/{stats.json,metrics,hold}
 *	.foliofs/inode/INO/{stat,pages,maps,rmap,drop_caches}
 *	.foliofs/vm/KNOB
 *
 * Their sizes are 0, as in /proc: open them with direct I/O. Nothing can be
 * made, renamed or removed here, nor attributes set, but for the truncation
 * of `>`, which means nothing: whoever owns the operations answers for that.
 *
 * Threads: any. Nothing here waits for the cache or a device but one thread of
 * our own, which carries out those writes to vm/ that may take long; they are
 * answered through struct fs_done.
 *
 * Every figure comes from the lists of cache.h, fs.h and volume.h: a counter
 * that is added there appears in vmstat, stats.json and metrics.
 */
#ifndef FOLIO_CONTROL_H
#define FOLIO_CONTROL_H

#include "base.h"
#include "fs.h"
#include "unmapper.h"

#define CONTROL_NAME ".foliofs"
#define CONTROL_INO ((u64)1 << 63) /* the folder itself */

struct control;
struct control_file;
struct tracker;

/*
 * @uid, @gid: the owner of the mount, who alone may look.
 * @tracker: whose counters are shown; NULL: there is none.
 * Context: starts a thread, so call it after any fork.
 * Return: 0 or -errno.
 */
int control_new(struct fs *fs, struct tracker *tracker, u32 uid, u32 gid,
		struct control **ret);

/* The copies of pages that the kernel has, for drop_caches and figures. @u may
 * be NULL; it is to stay until control_free(). Context: nothing is queued. */
void control_set_unmapper(struct control *c, struct unmapper *u);

/* Carries out what is queued first. Context: no control_file is open. */
void control_free(struct control *c);

static inline bool control_owns(u64 ino)
{
	return ino >= CONTROL_INO;
}

/* Is it vm/sync, which takes FOLIOFS_IOC_COMMIT? */
bool control_is_sync(u64 ino);

/*
 * @parent: one of ours, or FS_ROOT_INO for CONTROL_NAME.
 * @ret_timeout: seconds the kernel may keep the entry (0 below inode/).
 * Return: 0, -ENOENT, -ENOTDIR.
 */
int control_lookup(struct control *c, u64 parent, const char *name,
		   struct stat *ret_st, double *ret_timeout);

/* Return: 0, or -ENOENT when the inode has left the cache. */
int control_getattr(struct control *c, u64 ino, struct stat *ret_st);

/* Entries behind cookie @off ("." and ".." first), which stays good whatever
 * comes and goes. Return: 0, -ENOTDIR, -ENOMEM. */
int control_readdir(struct control *c, u64 ino, u64 off, fs_fill_fn fill,
		    void *arg);

/*
 * Open: the snapshot is taken here, and charged to the cache's budget.
 * Return: 0, -EACCES (writing to a read-only one, root as well), -EISDIR,
 * -ENOENT, -ENOMEM.
 */
int control_open(struct control *c, u64 ino, int flags,
		 struct control_file **ret);
/* Does the file show what processes map, so that somebody should look at them
 * before it is opened? */
bool control_shows_mappings(u64 ino);
ssize_t control_read(struct control_file *f, u64 pos, void *buf, size_t len);

/*
 * A knob or a trigger: one line, ended by a newline or the end of the write.
 * done->fn gets 0, -EINVAL (not a number, out of range, not at the start),
 * -EBADF or the action's error, maybe before this returns. @f may be released
 * before the answer.
 */
void control_write(struct control_file *f, u64 pos, const void *buf, size_t len,
		   struct fs_done *done);
void control_release(struct control_file *f);

/*
 * While `hold` is open, blocks that commits free are not used again (see
 * blocks_hold()). Reading it says each time whether that still holds: 1 or 0.
 */
#define CONTROL_HOLD "hold"

/* The whole text of a file that stands in the folder itself. */
enum control_text {
	CONTROL_MEMINFO,
	CONTROL_VMSTAT,
	CONTROL_FILES,
	CONTROL_SWAPS,
	CONTROL_VOLUME,
	CONTROL_JSON,
	CONTROL_METRICS,
	CONTROL_MAPS,
	CONTROL_PROCESSES,
	CONTROL_SCRUB,
	CONTROL_TEXT_NR,
};
/* What inode/INO/stat shows, a new string; its path only to who may see the
 * control files. Return: 0, -ENOENT (no regular file), -ENOMEM ... */
int control_stat_of(struct control *c, u64 ino, u32 uid, char **ret_text,
		    size_t *ret_len);

/* A new string. Return: 0 or -ENOMEM. */
int control_text(struct control *c, enum control_text what, char **ret_text,
		 size_t *ret_len);

#endif

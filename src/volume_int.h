/* SPDX-License-Identifier: MIT */
/* Private to src/volume*.c. */
#ifndef FOLIO_VOLUME_INT_H
#define FOLIO_VOLUME_INT_H

#include "meta_int.h"
#include "volume.h"

#define complain meta_complain

static inline void counter_add(u64 *counter, u64 nr)
{
	(void)__atomic_add_fetch(counter, nr, __ATOMIC_RELAXED);
}

static inline u64 load_seq(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline void store_seq(u64 *p, u64 v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

/* Lock the volume and open its files, and no more: no block map, nothing is
 * written but, by SQLite, a -shm. -EUCLEAN: its log is damaged, and what it
 * would be found to be is an earlier state (src/wal.h). */
int volume_open_files(const char *path, const struct volume_options *opt,
		      struct volume **ret_volume, char *err, size_t errlen);

/* The first part of that: its folder and its lock. */
int volume_open_locked(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen);

/* The last part: its files, whatever the log may be. On failure the caller
 * closes what was opened. */
int volume_open_rest(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen);

/* A new meta.db that is to take the place of the damaged one. */
#define VOLUME_REPAIRED "meta.db.repaired"
/* A repair was cut off when its new meta.db was whole: put that into place. */
int volume_finish_repair(struct volume *v, char *err, size_t errlen);

/* Mark in @b, which is new, what the saved block map has, if it is that of
 * the last commit. See freemap_load(). */
int volume_load_freemap(struct volume *v, struct blocks *b);

/* Lock a folder that has no meta.db yet, and open nothing in it. */
int volume_lock_folder(const char *path, struct volume **ret_volume, char *err,
		       size_t errlen);

/* Blocks that can have content: those that the host has given `data`, whose
 * holes are not among them, and what it has free. */
u64 volume_host_bound(const struct volume *v);
/* Let `data` reach as far as @end. */
int volume_ensure_size(struct volume *v, u64 end);
/* What a flush has said since the last good one is in doubt, as after one that
 * failed. */
void volume_note_lost(struct volume *v);

/* Let go of a volume whose meta has been closed; NULL is none. */
void volume_free(struct volume *v);

/* ---- making one ---- */

/* Where a backup keeps its meta.db until it is complete. */
#define VOLUME_BACKUP_TMP "backup.tmp"

/* Block 0 of `data`, durable. */
int volume_write_header(struct bdev *data, const u8 uuid[16]);
/* Return: -EUCLEAN when it is none. */
int volume_read_header(struct bdev *data, u8 uuid[16]);

/* A folder and the one it is in: their names are durable. */
int volume_sync_folders(int dirfd);

/* Nothing in it, but for what mkfs.ext4 puts there: else -ENOTEMPTY. */
int volume_check_empty(int dirfd);

/* The name of the network filesystem that @fd is on, or NULL. */
const char *volume_network_fs(int fd);
/* What @fd is on keeps its files in memory. */
bool volume_host_is_memory(int fd);
/* Locks, syncs and shared maps must be what they are on a local disk: refuse
 * another host, and warn of memory in @err. */
int volume_check_host(int dirfd, const struct volume_options *opt, char *err,
		      size_t errlen);

#endif

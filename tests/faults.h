/* SPDX-License-Identifier: MIT */
/*
 * Faults of every kind that can happen below the filesystem, by number: the nth
 * call of a kind fails, once or from then on.
 *
 *	faults_init()		before anything uses SQLite
 *	volume_options.wrap = faults_wrap
 *	faults_arm() ... faults_disarm()
 *
 * Only programs that are linked with $(test_failing_malloc) have those of
 * memory. Threads: faults hit all; arming and disarming is one's.
 */
#ifndef FOLIO_TESTS_FAULTS_H
#define FOLIO_TESTS_FAULTS_H

#include "bdev.h"
#include "test.h"

/* X(name, source, what, answer): @what is a mask of calls of the source, of
 * BDEV_FAULT_* or 1 << VFS_*; @answer its error. HOST is data file and database
 * at once. With data_flush_lost all that was written since the last flush is
 * gone, and the next flush answers 0. */
#define FAULT_KINDS(X)                                                     \
	X(data_read, DEVICE, BDEV_FAULT_READ, -EIO)                        \
	X(data_write, DEVICE, BDEV_FAULT_WRITE, -EIO)                      \
	X(data_write_full, DEVICE, BDEV_FAULT_WRITE, -ENOSPC)              \
	X(data_flush, DEVICE, BDEV_FAULT_FLUSH, -EIO)                      \
	X(data_flush_full, DEVICE, BDEV_FAULT_FLUSH, -ENOSPC)              \
	X(data_flush_lost, DEVICE, BDEV_FAULT_FLUSH, -EIO)                 \
	X(data_grow, DEVICE, BDEV_FAULT_GROW, -EIO)                        \
	X(data_grow_full, DEVICE, BDEV_FAULT_GROW, -ENOSPC)                \
	X(data_discard, DEVICE, BDEV_FAULT_DISCARD, -EIO)                  \
	X(db_open, DATABASE, 1 << VFS_OPEN, SQLITE_CANTOPEN)               \
	X(db_read, DATABASE, 1 << VFS_READ, SQLITE_IOERR_READ)             \
	X(db_write, DATABASE, 1 << VFS_WRITE, SQLITE_IOERR_WRITE)          \
	X(db_write_full, DATABASE, 1 << VFS_WRITE, SQLITE_FULL)            \
	X(db_sync, DATABASE, 1 << VFS_SYNC, SQLITE_IOERR_FSYNC)            \
	X(db_truncate, DATABASE, 1 << VFS_TRUNCATE, SQLITE_IOERR_TRUNCATE) \
	X(db_delete, DATABASE, 1 << VFS_DELETE, SQLITE_IOERR_DELETE)       \
	X(db_size, DATABASE, 1 << VFS_SIZE, SQLITE_IOERR_FSTAT)            \
	X(db_lock, DATABASE, 1 << VFS_LOCK, SQLITE_IOERR_LOCK)             \
	X(db_shm_map, DATABASE, 1 << VFS_SHM_MAP, SQLITE_IOERR_SHMMAP)     \
	X(host_full, HOST, HOST_WRITES, 0)                                 \
	X(host_dead, HOST, ~0u, 1)                                         \
	X(sqlite_memory, SQLITE_MEMORY, 0, 0)                              \
	X(memory, MEMORY, 0, 0)

enum fault_kind {
#define X(name, ...) FAULT_##name,
	FAULT_KINDS(X)
#undef X
		FAULT_NR,
};

const char *fault_name(enum fault_kind kind);
/* What is said of it: the errno that is its own. */
int fault_errno(enum fault_kind kind);

void faults_init(void);
int faults_wrap(void *arg, struct bdev *lower, struct bdev **ret);

/* @nth 0: none fails, they are counted. */
void faults_arm(enum fault_kind kind, u64 nth, bool forever);
/* Return: whether one failed. */
bool faults_disarm(void);

/* Count all kinds at once, until faults_disarm(). */
void faults_count(void);
u64 faults_counted(enum fault_kind kind);

#endif

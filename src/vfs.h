/* SPDX-License-Identifier: MIT */
/*
 * The SQLite VFS "foliofs": a shim over the platform's own, for meta.db.
 *
 * It keeps a checksum in the last 8 bytes of each page of meta.db, in the form
 * of SQLite's cksumvfs; makes failures of meta.db and its WAL final; gathers
 * the frames of a commit for one write; counts bytes; and lets a test see each
 * operation and fail it.
 *
 * A COMMIT that nobody has synced is synced before the next transaction's
 * frames are written, so that damage can be told from a power cut (src/wal.c).
 *
 * Checksums: written when a page goes to meta.db, which in WAL mode is at a
 * checkpoint; verified when a page is read from there: a mismatch is
 * SQLITE_IOERR_DATA. SQLite is handed zeros in their place, so pages in the
 * WAL carry zeros there, and so do those that a sqlite3(1) without this shim
 * moves from the WAL to meta.db after a crash: a checksum of zero is not
 * verified. (Were the old sum handed on, such a page would look damaged.)
 *
 * Failures: after a failed sync nobody knows what the host has dropped, and a
 * second sync may well answer 0 without it. So the first failed sync, or write
 * for another reason than a full host, closes the door: every later write,
 * sync, truncation and deletion of the WAL fails too. What is in the files
 * then is what the next mount recovers.
 *
 * Threads: any. A struct vfs_db outlives all connections to its file.
 */
#ifndef FOLIO_VFS_H
#define FOLIO_VFS_H

#include <sqlite3.h>

#include "base.h"

#define VFS_NAME "foliofs"

/* Fixed by the format: every page is so large and ends with so many bytes
 * that are not SQLite's. */
#define VFS_PAGE_SIZE 4096
#define VFS_RESERVED 8

struct vfs_db;

/*
 * Say that @path (absolute, canonical) is to be opened with this VFS; others
 * are refused. @frozen: nobody can write to it, not even a -shm beside it.
 */
int vfs_db_new(const char *path, bool frozen, struct vfs_db **ret_db);
void vfs_db_free(struct vfs_db *db);

/* Is it frozen, and what a crash has left in its WAL is to be read? Then the
 * connection, before anything else, is to have locking_mode=EXCLUSIVE: SQLite
 * makes the index of the WAL in its own memory then. */
bool vfs_has_frozen_log(sqlite3 *conn);

/* Sync the WAL of connection @conn; nothing to do when it has none yet.
 * Return: an SQLite code. */
int vfs_sync_wal(sqlite3 *conn);

bool vfs_failed(const struct vfs_db *db);
/* Close that door for another reason. */
void vfs_fail(struct vfs_db *db);
/* Commits that were written to the WAL so far. SQLite may answer an error all
 * the same: a crash would then find what was to be rolled back. */
u64 vfs_commits(const struct vfs_db *db);
/* Bytes written to meta.db and its WAL so far. */
u64 vfs_bytes_written(const struct vfs_db *db);
u64 vfs_checksum_errors(const struct vfs_db *db);

/* ---- for tests and recorders ---- */

enum vfs_op {
	VFS_OPEN,
	VFS_READ,
	VFS_WRITE,
	VFS_SYNC,
	VFS_TRUNCATE,
	VFS_DELETE,
	VFS_SIZE,
	VFS_LOCK, /* of the file, or of the index of its WAL */
	VFS_SHM_MAP,
};

struct vfs_event {
	enum vfs_op op;
	bool wal;     /* else meta.db, */
	bool journal; /* or its journal, while the volume is made */
	const void *buf;
	s64 pos; /* of TRUNCATE: the new size */
	int len;
};

/*
 * Called before each operation. Return: SQLITE_OK to let it happen, or the
 * code that it is to answer instead (a write then happens by half).
 */
typedef int (*vfs_hook_fn)(void *arg, const struct vfs_event *ev);

/* One hook for the process; set while nothing is open. NULL: none. */
void vfs_set_hook(vfs_hook_fn hook, void *arg);

/* The checksum of a page, as it stands in its last 8 bytes. */
void vfs_page_sum(const void *page, u8 ret[VFS_RESERVED]);

#endif

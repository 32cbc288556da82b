/* SPDX-License-Identifier: MIT */
/*
 * meta.db: a copy of one committed state, for backups. Page by page, since
 * that is as fast as the disk; through our VFS at both ends, so that what is
 * damaged is found and the copy has its checksums.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "meta_int.h"

#define COPY_CACHE_KIB 1024

/* Until the end of the transaction the source shows one state; the host would
 * have to keep all that is committed meanwhile in the WAL, so it is short. */
static int begin_state(struct meta *m)
{
	u64 inodes;
	int err = conn_exec(&m->writer, "BEGIN");

	return err ? err : meta_counts(m, &inodes);
}

static int copy_pages(struct meta_conn *from, struct meta_conn *to)
{
	sqlite3_backup *b =
		sqlite3_backup_init(to->db, "main", from->db, "main");
	int rc;

	if (!b)
		return meta_errno(sqlite3_errcode(to->db));
	rc = sqlite3_backup_step(b, -1);
	(void)sqlite3_backup_finish(b);
	return rc == SQLITE_DONE ? 0 : meta_errno(rc);
}

/* Make the file, the owner's alone, or sync it. Nobody has it open. */
static int touch_file(const char *path, int flags)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) < 0 ? -errno : 0;
	(void)close(fd);
	return err;
}

/* No journal: what is half done is of no use, and is synced when it is. */
static int copy_to(struct meta_conn *from, const char *path)
{
	struct meta_conn to;
	struct vfs_db *vfs = NULL;
	int err = touch_file(path, O_CREAT | O_EXCL);

	if (!err)
		err = vfs_db_new(path, false, &vfs);
	if (err)
		return err;
	err = conn_open(&to, path, SQLITE_OPEN_READWRITE, COPY_CACHE_KIB);
	if (!err) {
		err = conn_exec(
			&to,
			"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;");
		if (!err)
			err = copy_pages(from, &to);
		conn_close(&to);
	}
	vfs_db_free(vfs);
	return err ? err : touch_file(path, 0);
}

int meta_copy(const char *from, const char *to, char *err, size_t errlen)
{
	struct meta *m;
	char *path;
	int code = meta_open(from, true, &m, err, errlen);

	if (code)
		return code;
	code = begin_state(m);
	if (code) {
		(void)meta_complain(err, errlen, code, "reading meta.db: %s",
				    strerror(-code));
		goto out_close;
	}
	code = meta_path(to, &path);
	if (!code) {
		code = copy_to(&m->writer, path);
		free(path);
	}
	if (code)
		(void)meta_complain(err, errlen, code, "copying meta.db: %s",
				    strerror(-code));

out_close:
	(void)meta_close(m);
	return code;
}

int meta_note_backup(struct meta *m)
{
	return conn_exec(&m->writer,
			 "BEGIN; DROP TABLE IF EXISTS backup; "
			 "CREATE TABLE backup AS SELECT mount_epoch,commit_no "
			 "FROM super; COMMIT;");
}

bool meta_is_backup(struct meta *m)
{
	static const char sql[] = "SELECT 1 FROM backup,super WHERE "
				  "backup.mount_epoch=super.mount_epoch";
	sqlite3_stmt *s;
	bool is;

	if (sqlite3_prepare_v2(m->writer.db, sql, -1, &s, NULL) != SQLITE_OK)
		return false; /* there is no such table */
	is = stmt_step(s) == 1;
	(void)sqlite3_finalize(s);
	return is;
}

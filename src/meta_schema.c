/* SPDX-License-Identifier: MIT */
/* meta.db: schema, creation, opening, connections. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dbformat.h"
#include "meta_int.h"

/* Read-only compatible features that this version knows. */
#define RO_COMPAT_KNOWN 0ull

/* Page caches: the writer's holds the pages that a commit touches, a reader's
 * the upper levels of the trees. */
#define WRITER_CACHE_KIB 4096
#define READER_CACHE_KIB 512

/*
 * dentry has a rowid that is the readdir cookie: its indexes then are short,
 * and (parent) alone is (parent, id). Measured against PRIMARY KEY (parent,
 * name) WITHOUT ROWID: creates cost the same, look-ups 2 us more, readdir and
 * the largest id much less.
 *
 * An extent row of up to EXTENT_ROW_MAX pages fits into a leaf of the tree
 * without an overflow page; see meta_write.c.
 */
const char meta_schema_sql[] =
	"CREATE TABLE super("
	"id INTEGER PRIMARY KEY CHECK(id=1), uuid BLOB NOT NULL, "
	"version INTEGER NOT NULL, block_size INTEGER NOT NULL, "
	"compat INTEGER NOT NULL, ro_compat INTEGER NOT NULL, "
	"incompat INTEGER NOT NULL, commit_no INTEGER NOT NULL, "
	"mount_epoch INTEGER NOT NULL, nr_blocks INTEGER NOT NULL, "
	"next_ino INTEGER NOT NULL, created INTEGER NOT NULL);"

	"CREATE TABLE inode("
	"ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, "
	"uid INTEGER NOT NULL, gid INTEGER NOT NULL, nlink INTEGER NOT NULL, "
	"size INTEGER NOT NULL, atime INTEGER NOT NULL, "
	"mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, "
	"btime INTEGER NOT NULL, rdev INTEGER NOT NULL, "
	"flags INTEGER NOT NULL, generation INTEGER NOT NULL);"

	"CREATE TABLE dentry("
	"id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, "
	"name BLOB NOT NULL, ino INTEGER NOT NULL, type INTEGER NOT NULL);"
	"CREATE UNIQUE INDEX dentry_name ON dentry(parent,name);"
	"CREATE INDEX dentry_parent ON dentry(parent);"
	"CREATE INDEX dentry_ino ON dentry(ino);"

	"CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB NOT NULL);"
	"CREATE TABLE xattr("
	"ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, "
	"PRIMARY KEY(ino,name)) WITHOUT ROWID;"
	"CREATE TABLE orphan(ino INTEGER PRIMARY KEY);"

	"CREATE TABLE extent("
	"ino INTEGER NOT NULL, pgoff INTEGER NOT NULL, "
	"npages INTEGER NOT NULL, block INTEGER NOT NULL, "
	"flags INTEGER NOT NULL, sum BLOB, data BLOB, "
	"PRIMARY KEY(ino,pgoff)) WITHOUT ROWID;"

	REDO_SCHEMA

	"CREATE VIEW path AS "
	"WITH RECURSIVE tree(ino,type,path) AS ("
	"SELECT 1,16384,'' UNION ALL "
	"SELECT d.ino,d.type,tree.path||'/'||CAST(d.name AS TEXT) "
	"FROM tree JOIN dentry d ON d.parent=tree.ino WHERE tree.type=16384) "
	"SELECT CASE path WHEN '' THEN '/' ELSE path END AS path,"
	"inode.* FROM tree JOIN inode USING(ino);";

int meta_complain(char *err, size_t errlen, int code, const char *fmt, ...)
{
	va_list ap;

	if (errlen) {
		va_start(ap, fmt);
		(void)vsnprintf(err, errlen, fmt, ap);
		va_end(ap);
	}
	return code;
}

int meta_errno(int rc)
{
	if (rc == SQLITE_IOERR_NOMEM)
		return -ENOMEM;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return -EUCLEAN;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_TOOBIG:
		return -E2BIG;
	case SQLITE_INTERRUPT:
		return -EINTR;
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
		return -EINVAL;
	default:
		return -EIO;
	}
}

/* ---- connections ---- */

int conn_exec(struct meta_conn *c, const char *sql)
{
	return meta_errno(sqlite3_exec(c->db, sql, NULL, NULL, NULL));
}

int conn_open(struct meta_conn *c, const char *path, int flags, int cache_kib)
{
	char pragmas[256];
	int rc;
	int err;

	memset(c, 0, sizeof(*c));
	rc = sqlite3_open_v2(
		path, &c->db,
		flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
			SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOFOLLOW,
		VFS_NAME);
	if (rc != SQLITE_OK) {
		conn_close(c);
		return meta_errno(rc);
	}
	(void)sqlite3_busy_timeout(c->db, META_BUSY_MS);
	(void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* We have none: what others put there must not do anything for us. */
	(void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);

	/* No memory maps: a page that is read past the VFS is not verified. */
	(void)snprintf(pragmas, sizeof(pragmas),
		       "PRAGMA cache_size=-%d; PRAGMA mmap_size=0; "
		       "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON; "
		       "PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=0; "
		       "PRAGMA synchronous=NORMAL;",
		       cache_kib);
	err = 0;
	if (vfs_has_frozen_log(c->db))
		err = conn_exec(c, "PRAGMA locking_mode=EXCLUSIVE");
	if (!err)
		err = conn_exec(c, pragmas);
	if (err)
		conn_close(c);
	return err;
}

void conn_close(struct meta_conn *c)
{
	for (int i = 0; i < STMT_NR; i++)
		(void)sqlite3_finalize(c->stmts[i]);
	(void)sqlite3_close(c->db);
	memset(c, 0, sizeof(*c));
}

int conn_stmt(struct meta_conn *c, enum meta_stmt id, sqlite3_stmt **ret_stmt)
{
	static const char *const sql[] = {
#define X(name, text) [STMT_##name] = text,
		META_STMTS(X)
#undef X
	};
	int rc = SQLITE_OK;

	if (!c->stmts[id])
		rc = sqlite3_prepare_v3(c->db, sql[id], -1,
					SQLITE_PREPARE_PERSISTENT,
					&c->stmts[id], NULL);
	*ret_stmt = c->stmts[id];
	return meta_errno(rc);
}

int stmt_step(sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);

	if (rc == SQLITE_ROW)
		return 1;
	return meta_errno(rc);
}

void stmt_end(sqlite3_stmt *s)
{
	(void)sqlite3_reset(s);
	(void)sqlite3_clear_bindings(s);
}

int stmt_run(sqlite3_stmt *s)
{
	int err = stmt_step(s);

	stmt_end(s);
	return err > 0 ? -EUCLEAN : err;
}

/* ---- paths ---- */

/* The canonical path of @name in @folder, as SQLite will name it. */
static int path_of(const char *folder, const char *name, char **ret_path)
{
	char *real = realpath(folder, NULL);
	int n;

	if (!real)
		return -errno;
	n = asprintf(ret_path, "%s/%s", strcmp(real, "/") ? real : "", name);
	free(real);
	return n < 0 ? -ENOMEM : 0;
}

int meta_path(const char *folder, char **ret_path)
{
	return path_of(folder, "meta.db", ret_path);
}

/* ---- super ---- */

int super_load(struct meta_conn *c, struct meta_super *ret)
{
	struct meta_super s;
	sqlite3_stmt *stmt;
	int err = conn_stmt(c, STMT_SUPER_GET, &stmt);

	if (err)
		return err;
	err = stmt_step(stmt);
	if (err <= 0 || sqlite3_column_bytes(stmt, 0) != sizeof(s.uuid)) {
		stmt_end(stmt);
		return err < 0 ? err : err ? -EUCLEAN : -ENODATA;
	}
	memcpy(s.uuid, sqlite3_column_blob(stmt, 0), sizeof(s.uuid));
	s.version = column_u32(stmt, 1);
	s.block_size = column_u32(stmt, 2);
	s.compat = column_u64(stmt, 3);
	s.ro_compat = column_u64(stmt, 4);
	s.incompat = column_u64(stmt, 5);
	s.commit_no = column_u64(stmt, 6);
	s.mount_epoch = column_u64(stmt, 7);
	s.nr_blocks = column_u64(stmt, 8);
	s.next_ino = column_u64(stmt, 9);
	s.created_ns = (s64)column_u64(stmt, 10);
	stmt_end(stmt);
	*ret = s;
	return 0;
}

int super_store(struct meta_conn *c, const struct meta_super *s)
{
	sqlite3_stmt *stmt;
	int err = conn_stmt(c, STMT_SUPER_PUT, &stmt);

	if (err)
		return err;
	bind_blob(stmt, 1, s->uuid, sizeof(s->uuid));
	bind_u64(stmt, 2, s->version);
	bind_u64(stmt, 3, s->block_size);
	bind_u64(stmt, 4, s->compat);
	bind_u64(stmt, 5, s->ro_compat);
	bind_u64(stmt, 6, s->incompat);
	bind_u64(stmt, 7, s->commit_no);
	bind_u64(stmt, 8, s->mount_epoch);
	bind_u64(stmt, 9, s->nr_blocks);
	bind_u64(stmt, 10, s->next_ino);
	bind_u64(stmt, 11, (u64)s->created_ns);
	return stmt_run(stmt);
}

void meta_super(const struct meta *meta, struct meta_super *ret)
{
	/* The lock is no part of what the caller sees as constant. */
	struct meta *m = (struct meta *)(uintptr_t)meta;

	mutex_lock(&m->lock);
	*ret = m->super;
	mutex_unlock(&m->lock);
}

/* ---- creation ---- */

static int put_root(struct meta_conn *c, const struct meta_super *super)
{
	sqlite3_stmt *stmt;
	int err = conn_stmt(c, STMT_INODE_PUT, &stmt);

	if (err)
		return err;
	bind_u64(stmt, 1, META_ROOT_INO);
	bind_u64(stmt, 2, S_IFDIR | 0755);
	bind_u64(stmt, 3, getuid());
	bind_u64(stmt, 4, getgid());
	bind_u64(stmt, 5, 2);
	bind_u64(stmt, 6, 0);
	for (int i = 7; i <= 10; i++)
		bind_u64(stmt, i, (u64)super->created_ns);
	for (int i = 11; i <= 13; i++)
		bind_u64(stmt, i, 0);
	return stmt_run(stmt);
}

/* The schema, and super last, each durable before the next. @super may be NULL:
 * no rows then. */
static int create_in(struct meta_conn *c, const struct meta_super *super)
{
	char ids[128];
	int reserved = VFS_RESERVED;
	int rc;
	int err;

	rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_RESERVE_BYTES,
				  &reserved);
	if (rc != SQLITE_OK)
		return meta_errno(rc);
	(void)snprintf(ids, sizeof(ids),
		       "PRAGMA page_size=%d; PRAGMA synchronous=FULL; "
		       "PRAGMA application_id=%d; PRAGMA user_version=%u;",
		       VFS_PAGE_SIZE, META_APPLICATION_ID,
		       super ? super->version : META_VERSION);
	err = conn_exec(c, ids);
	if (!err)
		err = conn_exec(c, "BEGIN");
	if (!err)
		err = conn_exec(c, meta_schema_sql);
	if (!err && super)
		err = put_root(c, super);
	if (!err)
		err = conn_exec(c, "COMMIT");
	if (!err && super)
		err = super_store(c, super);
	if (!err)
		err = conn_exec(c, "PRAGMA journal_mode=WAL");
	return err;
}

static int create_at(const char *path, const struct meta_super *super)
{
	struct meta_conn conn;
	struct vfs_db *vfs;
	int err = vfs_db_new(path, false, &vfs);

	if (err)
		return err;
	err = conn_open(&conn, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			WRITER_CACHE_KIB);
	if (!err) {
		err = create_in(&conn, super);
		conn_close(&conn);
	}
	if (!err && vfs_failed(vfs))
		err = -EIO;
	vfs_db_free(vfs);
	return err;
}

int meta_create(const char *folder, const struct meta_super *super)
{
	char *path;
	int err = meta_path(folder, &path);

	if (err)
		return err;
	err = create_at(path, super);
	free(path);
	return err;
}

/* ---- opening ---- */

static int check_header(const u8 *h, char *err, size_t errlen)
{
	u32 version = load_be32(h + 60);

	if (memcmp(h, "SQLite format 3", 16) != 0)
		return meta_complain(err, errlen, -EUCLEAN,
				     "meta.db is damaged or not a database");
	if (load_be32(h + 68) != META_APPLICATION_ID)
		return meta_complain(err, errlen, -EUCLEAN,
				     "meta.db is another program's");
	if (version > META_VERSION)
		return meta_complain(err, errlen, -ENOTSUP,
				     "format %u is newer than this program "
				     "knows (%d)",
				     version, META_VERSION);
	if (version < 1 || (h[16] << 8 | h[17]) != VFS_PAGE_SIZE ||
	    h[20] != VFS_RESERVED)
		return meta_complain(err, errlen, -EUCLEAN,
				     "meta.db has a damaged header");
	return 0;
}

/*
 * Look at the file before SQLite does, so that a foreign one is not touched.
 * Closing this descriptor would drop SQLite's locks, were it open in this
 * process: the caller holds the volume's lock, so it is not.
 */
static int check_file(const char *path, char *err, size_t errlen)
{
	struct stat st;
	u8 header[100];
	ssize_t len;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return meta_complain(err, errlen, -errno, "meta.db: %s",
				     strerror(errno));
	len = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)
		      ? 0
		      : pread(fd, header, sizeof(header), 0);
	(void)close(fd);
	if (len < 0)
		return meta_complain(err, errlen, -EIO,
				     "meta.db cannot be read");
	if (len < (ssize_t)sizeof(header) || st.st_size < VFS_PAGE_SIZE)
		return meta_complain(err, errlen, -EUCLEAN,
				     "meta.db is truncated");
	return check_header(header, err, errlen);
}

static int complain_open(int code, char *err, size_t errlen)
{
	switch (code) {
	case -EUCLEAN:
		return meta_complain(err, errlen, code, "meta.db is damaged");
	case -ENODATA:
		return meta_complain(err, errlen, -EUCLEAN,
				     "its creation was not finished");
	case -EBUSY:
		return meta_complain(err, errlen, code,
				     "another program has locked meta.db");
	default:
		return meta_complain(err, errlen, code, "meta.db: %s",
				     strerror(-code));
	}
}

bool meta_super_is_sane(const struct meta_super *s)
{
	return s->version >= 1 && s->version <= META_VERSION &&
	       s->block_size == PAGE_SIZE && s->nr_blocks <= PGOFF_MAX &&
	       s->next_ino > META_ROOT_INO && s->next_ino <= META_ID_GIVEN &&
	       s->commit_no < META_ID_GIVEN && s->mount_epoch < META_ID_GIVEN;
}

static int check_super(const struct meta_super *s, bool readonly, char *err,
		       size_t errlen)
{
	if (s->incompat & ~META_INCOMPAT_KNOWN)
		return meta_complain(err, errlen, -ENOTSUP,
				     "it uses features that this program does "
				     "not know (%#llx)",
				     (unsigned long long)s->incompat);
	if (!readonly && (s->ro_compat & ~RO_COMPAT_KNOWN))
		return meta_complain(err, errlen, -EROFS,
				     "it uses features that this program knows "
				     "only to read (%#llx)",
				     (unsigned long long)s->ro_compat);
	if (!meta_super_is_sane(s))
		return meta_complain(err, errlen, -EUCLEAN,
				     "meta.db has a damaged super");
	return 0;
}

static int note_wal_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
	struct meta *m = arg;

	m->wal_frames = frames;
	return SQLITE_OK;
}

/* The host cannot be written to: then nobody else writes either, and SQLite
 * need not (and cannot) make a -shm. */
static bool host_readonly(const char *path)
{
	return access(path, W_OK) < 0 && errno == EROFS;
}

static int open_writer(struct meta *m, char *err, size_t errlen)
{
	int code;

	code = conn_open(&m->writer, m->path,
			 m->readonly ? SQLITE_OPEN_READONLY
				     : SQLITE_OPEN_READWRITE,
			 WRITER_CACHE_KIB);
	if (code)
		return complain_open(code, err, errlen);
	code = super_load(&m->writer, &m->super);
	if (code)
		return complain_open(code, err, errlen);
	code = check_super(&m->super, m->readonly, err, errlen);
	if (code || m->readonly)
		return code;

	/* WAL mode is kept in the file, unless somebody changed it. */
	code = conn_exec(&m->writer, "PRAGMA journal_mode=WAL; "
				     "PRAGMA journal_size_limit=16777216;");
	/* What a killed daemon has committed may not be durable yet. */
	if (!code)
		code = meta_errno(vfs_sync_wal(m->writer.db));
	if (code)
		return complain_open(code, err, errlen);
	m->synced_no = m->super.commit_no;
	(void)sqlite3_wal_hook(m->writer.db, note_wal_frames, m);
	return 0;
}

static void meta_free(struct meta *m)
{
	conn_close(&m->writer);
	vfs_db_free(m->vfs);
	mutex_done(&m->lock);
	waitq_done(&m->reader_freed);
	free(m->path);
	free(m);
}

int meta_open(const char *folder, bool readonly, struct meta **ret_meta,
	      char *err, size_t errlen)
{
	struct meta *m = calloc(1, sizeof(*m));
	int code;

	if (!m)
		return complain_open(-ENOMEM, err, errlen);
	m->readonly = readonly;
	mutex_init(&m->lock, LOCK_CONN, "meta");
	waitq_init(&m->reader_freed);
	list_init(&m->idle);

	code = meta_path(folder, &m->path);
	if (code) {
		(void)complain_open(code, err, errlen);
		goto out_free;
	}
	code = check_file(m->path, err, errlen);
	if (code)
		goto out_free;
	code = vfs_db_new(m->path, readonly && host_readonly(m->path), &m->vfs);
	if (code) {
		(void)complain_open(code, err, errlen);
		goto out_free;
	}
	code = open_writer(m, err, errlen);
	if (code)
		goto out_free;
	*ret_meta = m;
	return 0;

out_free:
	meta_free(m);
	return code;
}

int meta_close(struct meta *m)
{
	struct meta_reader *r;
	struct meta_reader *tmp;
	int err = 0;

	if (!m)
		return 0;
	list_for_each_entry_safe (r, tmp, &m->idle, node) {
		conn_close(&r->conn);
		free(r);
		m->nr_readers--;
	}
	assert(!m->nr_readers);

	meta_rollback(m);
	if (!m->readonly)
		err = meta_checkpoint(m, true);
	/* Closing the last connection would checkpoint and remove the WAL;
	 * after a failure it is what the next mount recovers from. */
	if (err || m->readonly)
		(void)sqlite3_db_config(m->writer.db,
					SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
					NULL);
	meta_free(m);
	return err;
}

/* ---- repair ---- */

int meta_create_bare(const char *folder, const char *name)
{
	char *path;
	int err = path_of(folder, name, &path);

	if (err)
		return err;
	err = create_at(path, NULL);
	free(path);
	return err;
}

int meta_header_check(const char *folder, char *err, size_t errlen)
{
	char *path;
	int code = meta_path(folder, &path);

	if (code)
		return complain_open(code, err, errlen);
	code = check_file(path, err, errlen);
	free(path);
	return code;
}

static int open_bare(struct meta *m)
{
	int err = conn_open(&m->writer, m->path, SQLITE_OPEN_READWRITE,
			    WRITER_CACHE_KIB);

	if (!err)
		err = conn_exec(&m->writer, "PRAGMA journal_mode=WAL");
	if (!err)
		err = meta_errno(vfs_sync_wal(m->writer.db));
	if (err)
		return err;
	(void)sqlite3_wal_hook(m->writer.db, note_wal_frames, m);
	/* What it says is a matter of the repair. */
	(void)super_load(&m->writer, &m->super);
	return 0;
}

int meta_open_bare(const char *folder, const char *name, struct meta **ret_meta)
{
	struct meta *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	mutex_init(&m->lock, LOCK_CONN, "meta");
	waitq_init(&m->reader_freed);
	list_init(&m->idle);
	err = path_of(folder, name, &m->path);
	if (!err)
		err = vfs_db_new(m->path, false, &m->vfs);
	if (!err)
		err = open_bare(m);
	if (err) {
		meta_free(m);
		return err;
	}
	*ret_meta = m;
	return 0;
}

/* ---- readers ---- */

static int reader_new(struct meta *m, struct meta_reader **ret)
{
	struct meta_reader *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	err = conn_open(&r->conn, m->path,
			m->readonly ? SQLITE_OPEN_READONLY
				    : SQLITE_OPEN_READWRITE,
			READER_CACHE_KIB);
	if (!err)
		err = conn_exec(&r->conn, "PRAGMA query_only=ON");
	if (err) {
		conn_close(&r->conn);
		free(r);
		return err;
	}
	(void)sqlite3_db_config(r->conn.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
				NULL);
	r->meta = m;
	list_init(&r->node);
	*ret = r;
	return 0;
}

/* An idle reader, or none and room for a new one; waits for either. */
static struct meta_reader *take_idle(struct meta *m)
{
	struct meta_reader *r = NULL;

	mutex_lock(&m->lock);
	while (list_empty(&m->idle) && m->nr_readers >= META_READERS)
		waitq_wait(&m->reader_freed, &m->lock);
	if (!list_empty(&m->idle)) {
		r = list_first_entry(&m->idle, struct meta_reader, node);
		list_del(&r->node);
	} else {
		m->nr_readers++;
	}
	mutex_unlock(&m->lock);
	return r;
}

int meta_reader_get(struct meta *m, struct meta_reader **ret)
{
	struct meta_reader *r = take_idle(m);
	int err = r ? 0 : reader_new(m, &r);

	if (err) {
		mutex_lock(&m->lock);
		m->nr_readers--;
		waitq_wake_one(&m->reader_freed);
		mutex_unlock(&m->lock);
		return err;
	}
	*ret = r;
	return 0;
}

static int run_reader(struct meta_reader *r, enum meta_stmt id)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, id, &s);

	return err ? err : stmt_run(s);
}

int meta_reader_hold(struct meta_reader *r)
{
	return run_reader(r, STMT_BEGIN_READ);
}

/* Return: false: it sees an old state still, and must not be used again. */
static bool end_reading(struct meta_reader *r)
{
	if (sqlite3_get_autocommit(r->conn.db))
		return true;
	return run_reader(r, STMT_ROLLBACK) == 0;
}

static void reader_free(struct meta *m, struct meta_reader *r)
{
	conn_close(&r->conn);
	free(r);
	mutex_lock(&m->lock);
	m->nr_readers--;
	waitq_wake_one(&m->reader_freed);
	mutex_unlock(&m->lock);
}

/* The one used last comes first: its page cache is warm. */
void meta_reader_put(struct meta_reader *r)
{
	struct meta *m = r->meta;

	if (!end_reading(r)) {
		reader_free(m, r);
		return;
	}
	mutex_lock(&m->lock);
	list_add(&r->node, &m->idle);
	waitq_wake_one(&m->reader_freed);
	mutex_unlock(&m->lock);
}

/* ---- memory and counters ---- */

/* The idle reader that was used longest ago; @spare: unless it is the last. */
static struct meta_reader *take_coldest(struct meta *m, bool spare)
{
	struct meta_reader *r = NULL;

	mutex_lock(&m->lock);
	if (!list_empty(&m->idle) &&
	    !(spare && m->idle.next->next == &m->idle)) {
		r = list_last_entry(&m->idle, struct meta_reader, node);
		list_del(&r->node);
	}
	mutex_unlock(&m->lock);
	return r;
}

void meta_trim(struct meta *m)
{
	struct meta_reader *r;

	assert(!m->in_txn);
	(void)sqlite3_db_release_memory(m->writer.db);
	while ((r = take_coldest(m, true)))
		reader_free(m, r);
	r = take_coldest(m, false);
	if (r) {
		(void)sqlite3_db_release_memory(r->conn.db);
		meta_reader_put(r);
	}
}

u64 meta_memory(const struct meta *m)
{
	return (u64)sqlite3_memory_used();
}

u64 meta_bytes_written(const struct meta *m)
{
	return vfs_bytes_written(m->vfs);
}

u64 meta_checksum_errors(const struct meta *m)
{
	return vfs_checksum_errors(m->vfs);
}

bool meta_failed(const struct meta *m)
{
	return vfs_failed(m->vfs);
}

/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta_*.c: connections, and every statement there is. A
 * statement is prepared once a connection, when it is first needed.
 */
#ifndef FOLIO_META_INT_H
#define FOLIO_META_INT_H

#include <sqlite3.h>

#include "list.h"
#include "lock.h"
#include "meta.h"
#include "vfs.h"

#define INODE_COLUMNS                                                     \
	"ino,mode,uid,gid,nlink,size,atime,mtime,ctime,btime,rdev,flags," \
	"generation"
#define EXTENT_COLUMNS "pgoff,npages,block,flags,sum,data"

#define META_ID_GIVEN_SQL "1152921504606846976"
_Static_assert(META_ID_GIVEN == 1152921504606846976, "META_ID_GIVEN_SQL");

/* The largest inode number of any row that can have been given out, 0: there is
 * none. */
/* clang-format off */
#define META_MAX_OF(column, table) \
	"SELECT max(" column ") AS a FROM " table \
	" WHERE " column "<" META_ID_GIVEN_SQL
#define META_MAX_INO_SQL                               \
	"coalesce((SELECT max(a) FROM ("               \
	META_MAX_OF("ino", "inode") " UNION ALL "      \
	META_MAX_OF("ino", "dentry") " UNION ALL "     \
	META_MAX_OF("parent", "dentry") " UNION ALL "  \
	META_MAX_OF("ino", "extent") " UNION ALL "     \
	META_MAX_OF("ino", "symlink") " UNION ALL "    \
	META_MAX_OF("ino", "xattr") " UNION ALL "      \
	META_MAX_OF("ino", "orphan") ")),0)"
/* clang-format on */

/* name, SQL. Parameters are numbered: a number used twice is one value. */
#define META_STMTS(X)                                                          \
	X(SUPER_GET, "SELECT uuid,version,block_size,compat,ro_compat,"        \
		     "incompat,commit_no,mount_epoch,nr_blocks,next_ino,"      \
		     "created FROM super")                                     \
	X(SUPER_COMMIT, "UPDATE super SET commit_no=?1,next_ino=?2,"           \
			"mount_epoch=?3")                                      \
	X(SUPER_PUT, "INSERT INTO super VALUES(1,?1,?2,?3,?4,?5,?6,?7,?8,?9,"  \
		     "?10,?11)")                                               \
	X(REDO_TABLE, "SELECT count(*) FROM sqlite_schema "                    \
		      "WHERE type='table' AND name='redo'")                    \
	X(REDO_GET, "SELECT start,nr,salt,seq FROM redo")                      \
	X(REDO_PUT, "INSERT OR REPLACE INTO redo VALUES(1,?1,?2,?3,?4)")       \
	X(REDO_DELETE, "DELETE FROM redo")                                     \
	X(REDO_FLAG, "UPDATE super SET incompat=(incompat&~2)|?1")             \
	X(BEGIN, "BEGIN IMMEDIATE")                                            \
	X(BEGIN_READ, "BEGIN")                                                 \
	X(COMMIT, "COMMIT")                                                    \
	X(ROLLBACK, "ROLLBACK")                                                \
	X(INODE_GET, "SELECT " INODE_COLUMNS " FROM inode WHERE ino=?1")       \
	X(INODE_PUT, "INSERT OR REPLACE INTO inode(" INODE_COLUMNS ") VALUES(" \
		     "?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")            \
	X(INODE_PUT_CONTENT, "UPDATE inode SET size=?2,mtime=?3,ctime=?4 "     \
			     "WHERE ino=?1")                                   \
	X(INODE_PUT_ATTR, "UPDATE inode SET mode=?2,uid=?3,gid=?4,nlink=?5,"   \
			  "atime=?6,btime=?7,rdev=?8,flags=?9,generation=?10 " \
			  "WHERE ino=?1")                                      \
	X(INODE_DELETE, "DELETE FROM inode WHERE ino=?1")                      \
	X(INODE_COUNT, "SELECT count(*) FROM inode")                           \
	X(DENTRY_GET, "SELECT id,ino,type,name FROM dentry "                   \
		      "WHERE parent=?1 AND name=?2")                           \
	X(DENTRY_LIST, "SELECT id,ino,type,name FROM dentry "                  \
		       "WHERE parent=?1 AND id>?2 ORDER BY id LIMIT ?3")       \
	X(DENTRY_ANY, "SELECT 1 FROM dentry WHERE parent=?1 LIMIT 1")          \
	X(DENTRY_OF, "SELECT id,ino,type,name,parent FROM dentry "             \
		     "WHERE ino=?1 ORDER BY id LIMIT 1 OFFSET ?2")             \
	X(DENTRY_MAX, "SELECT coalesce(max(id),0) FROM dentry "                \
		      "WHERE id<" META_ID_GIVEN_SQL)                           \
	X(INO_MAX, "SELECT " META_MAX_INO_SQL)                                 \
	X(DENTRY_PUT, "INSERT OR REPLACE INTO dentry(id,parent,name,ino,type)" \
		      " VALUES(?1,?2,?3,?4,?5)")                               \
	X(DENTRY_DELETE, "DELETE FROM dentry WHERE parent=?1 AND name=?2")     \
	X(SYMLINK_GET, "SELECT target FROM symlink WHERE ino=?1")              \
	X(SYMLINK_PUT, "INSERT OR REPLACE INTO symlink VALUES(?1,?2)")         \
	X(SYMLINK_DELETE, "DELETE FROM symlink WHERE ino=?1")                  \
	X(XATTR_GET, "SELECT value FROM xattr WHERE ino=?1 AND name=?2")       \
	X(XATTR_LIST, "SELECT name FROM xattr WHERE ino=?1 ORDER BY name")     \
	X(XATTR_PUT, "INSERT OR REPLACE INTO xattr VALUES(?1,?2,?3)")          \
	X(XATTR_DELETE, "DELETE FROM xattr WHERE ino=?1 AND name=?2")          \
	X(XATTR_DELETE_ALL, "DELETE FROM xattr WHERE ino=?1")                  \
	X(ORPHAN_NEXT, "SELECT coalesce((SELECT ino FROM orphan o WHERE "      \
		       "ino>?1 AND ino<>1 AND NOT EXISTS(SELECT 1 FROM "       \
		       "dentry d WHERE d.ino=o.ino) AND NOT EXISTS(SELECT 1 "  \
		       "FROM dentry d WHERE d.parent=o.ino) "                  \
		       "ORDER BY ino LIMIT 1),0)")                             \
	X(ORPHAN_ANY, "SELECT coalesce((SELECT ino FROM orphan LIMIT 1),0)")   \
	X(ORPHAN_PUT, "INSERT OR REPLACE INTO orphan VALUES(?1)")              \
	X(ORPHAN_DELETE, "DELETE FROM orphan WHERE ino=?1")                    \
	X(EXTENT_AT, "SELECT " EXTENT_COLUMNS " FROM extent "                  \
		     "WHERE ino=?1 AND pgoff<=?2 ORDER BY pgoff DESC LIMIT 1") \
	X(EXTENT_RANGE, "SELECT " EXTENT_COLUMNS " FROM extent WHERE ino=?1 "  \
			"AND pgoff>=coalesce((SELECT max(pgoff) FROM extent "  \
			"WHERE ino=?1 AND pgoff<=?2),?2) AND pgoff<=?3 "       \
			"ORDER BY pgoff")                                      \
	X(EXTENT_RUNS, "SELECT npages,block,flags FROM extent "                \
		       "WHERE ino=?1 AND pgoff BETWEEN ?2 AND ?3")             \
	X(EXTENT_WALK, "SELECT pgoff,npages,block,flags,NULL,NULL,ino "        \
		       "FROM extent")                                          \
	X(EXTENT_WALK_SUMS, "SELECT pgoff,npages,block,flags,sum,data,ino "    \
			    "FROM extent")                                     \
	X(EXTENT_NEXT, "SELECT pgoff,npages,block,flags,sum,data,ino FROM "    \
		       "extent WHERE (ino,pgoff)>(?1,?2) ORDER BY ino,pgoff "  \
		       "LIMIT 1")                                              \
	X(EXTENT_COUNT, "SELECT coalesce(sum(npages),0) FROM extent "          \
			"WHERE ino=?1 AND flags<>8")                           \
	X(EXTENT_INSERT, "INSERT INTO extent(ino," EXTENT_COLUMNS ") "         \
			 "VALUES(?1,?2,?3,?4,?5,?6,?7)")                       \
	X(EXTENT_RESIZE, "UPDATE extent SET npages=?3,sum=?4 "                 \
			 "WHERE ino=?1 AND pgoff=?2")                          \
	X(EXTENT_DELETE, "DELETE FROM extent "                                 \
			 "WHERE ino=?1 AND pgoff BETWEEN ?2 AND ?3")

enum meta_stmt {
#define X(name, sql) STMT_##name,
	META_STMTS(X)
#undef X
		STMT_NR,
};

/* How long a connection waits for another's lock. */
#define META_BUSY_MS 10000

struct meta_conn {
	sqlite3 *db;
	sqlite3_stmt *stmts[STMT_NR];
};

struct meta_reader {
	struct meta *meta;
	struct meta_conn conn;
	struct list_head node; /* in meta.idle */
};

struct meta {
	/* constant */
	char *path; /* of meta.db */
	bool readonly;
	struct vfs_db *vfs;

	/* the committer's */
	struct meta_conn writer;
	bool in_txn;
	int txn_err;	/* the transaction is spoilt: answer this */
	int wal_frames; /* of the WAL after the last commit */
	int wal_waited; /* when readers were waited for in vain, 0: not so */
	s64 extent_growth;
	u64 synced_no; /* commits up to this one are durable */

	/* under lock */
	struct mutex lock;
	struct waitq reader_freed;
	struct list_head idle;
	u32 nr_readers;
	struct meta_super super;
};

/* One line for the user. Return: @code, so that it can be returned. */
int meta_complain(char *err, size_t errlen, int code, const char *fmt, ...)
	__printf(4, 5);

/* The canonical path of meta.db in @folder, as SQLite will name it. */
int meta_path(const char *folder, char **ret_path);

/* ---- connections ---- */
int conn_open(struct meta_conn *c, const char *path, int flags, int cache_kib);
void conn_close(struct meta_conn *c);
/* Run SQL that is not in the list: pragmas and the schema. */
int conn_exec(struct meta_conn *c, const char *sql);
int conn_stmt(struct meta_conn *c, enum meta_stmt id, sqlite3_stmt **ret_stmt);

/* ---- super ---- */
/* Return: -ENODATA: there is none. */
int super_load(struct meta_conn *c, struct meta_super *ret);
int super_store(struct meta_conn *c, const struct meta_super *s);
/* "foli": what file(1) shows, and what tells our files from others. */
#define META_APPLICATION_ID 0x666f6c69

/* The table of the redo log's row: volumes of before it was thought of have
 * none until they need it. */
#define REDO_SCHEMA                                                    \
	"CREATE TABLE IF NOT EXISTS redo("                             \
	"id INTEGER PRIMARY KEY CHECK(id=1), start INTEGER NOT NULL, " \
	"nr INTEGER NOT NULL, salt INTEGER NOT NULL, seq INTEGER NOT NULL);"

/* What a new database is made with. */
extern const char meta_schema_sql[];

/* ---- for repairs ----
 *
 * Context of all: the volume's lock is held.
 */

/* Make a database without rows. */
int meta_create_bare(const char *folder, const char *name);
/* Open one for writing, whatever its super says. */
int meta_open_bare(const char *folder, const char *name,
		   struct meta **ret_meta);
/* Is what is there a database of ours, and of a version that we know? As
 * meta_open(). */
int meta_header_check(const char *folder, char *err, size_t errlen);
/* Can all pages of an open one be read, do its indexes fit its tables, and has
 * it the tables that it should have? */
bool meta_is_sound(struct meta *m, void (*report)(void *arg, const char *line),
		   void *arg);
/* Fill @m, which is bare and in a transaction, with what can be read of the
 * database at @path (meta_salvage.c). Extents that are missing are to be made
 * good by meta_salvage_fill(). */
struct meta_salvage;
int meta_salvage(struct meta *m, const char *path,
		 void (*note)(void *arg, const char *line), void *arg,
		 struct meta_salvage **ret);
/* Where extents may be missing, holes become lost extents. *ret_pages: of how
 * many pages. Context: inodes and extents have been mended. */
int meta_salvage_fill(struct meta_salvage *sv, u64 *ret_pages);
void meta_salvage_free(struct meta_salvage *sv);

/* ---- names for people ---- */
#define META_PATH_MAX 1100
/* A path of @ino. Return: is there one that fits? */
bool conn_path(struct meta_conn *conn, u64 ino, char *buf, size_t size);
/* "INO (PATH)", or "INO" alone. */
void conn_name_inode(struct meta_conn *conn, u64 ino, char *buf, size_t size);

/* ---- statements ---- */
static inline void bind_u64(sqlite3_stmt *s, int i, u64 v)
{
	(void)sqlite3_bind_int64(s, i, (s64)v);
}

/* The memory stays valid until stmt_end(). */
static inline void bind_blob(sqlite3_stmt *s, int i, const void *p, size_t len)
{
	/* A NULL pointer would be NULL, not an empty blob. */
	(void)sqlite3_bind_blob64(s, i, p ? p : "", len, SQLITE_STATIC);
}

static inline u64 column_u64(sqlite3_stmt *s, int i)
{
	return (u64)sqlite3_column_int64(s, i);
}

static inline u32 column_u32(sqlite3_stmt *s, int i)
{
	return (u32)sqlite3_column_int64(s, i);
}

/* Return: 1 for a row, 0 at the end, -errno. */
int stmt_step(sqlite3_stmt *s);
/* Let go of snapshot, row and bindings. */
void stmt_end(sqlite3_stmt *s);
/* Step a statement that gives no rows, and end it. */
int stmt_run(sqlite3_stmt *s);

/* Fill @ret, of a statement with EXTENT_COLUMNS first; sums[] only if @sums.
 * Return: 0 or -EUCLEAN when the row makes no sense. */
int extent_from_row(sqlite3_stmt *s, bool sums, struct extent_row *ret);
/* The inline page of such a row into a page of memory, verified: -EIO. */
int extent_inline_from_row(sqlite3_stmt *s, const struct extent_row *row,
			   void *page);

#endif

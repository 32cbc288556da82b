/* SPDX-License-Identifier: MIT */
/* meta.db: is it whole, and do its rows fit together? */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "meta_int.h"

/*
 * Each query finds what must not be. Its first column names the thing, the
 * others fill the text. S_IFDIR is 16384, S_IFREG 32768, S_IFLNK 40960 and the
 * mask of types 61440.
 */
static const struct {
	const char *text; /* takes up to three numbers */
	const char *sql;
} rules[] = {
	{"there is no root folder",
	 "SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM inode WHERE ino=1 "
	 "AND mode&61440=16384)"},
	{"super: not exactly one row",
	 "SELECT 1 WHERE (SELECT count(*) FROM super)<>1"},
	{"inode %lld: its number was not given out yet",
	 "SELECT ino FROM inode WHERE ino>=(SELECT next_ino FROM super) "
	 "OR ino<1"},
	{"inode %lld: impossible mode or size",
	 "SELECT ino FROM inode WHERE size<0 OR mode&~65535 OR mode&61440 "
	 "NOT IN (4096,8192,16384,24576,32768,40960,49152)"},
	{"inode %lld: no name and no orphan",
	 "SELECT ino FROM inode WHERE ino<>1 AND NOT EXISTS(SELECT 1 FROM "
	 "dentry d WHERE d.ino=inode.ino) AND NOT EXISTS(SELECT 1 FROM orphan "
	 "o WHERE o.ino=inode.ino)"},
	{"inode %lld: %lld links counted, %lld names",
	 "SELECT ino,nlink,(SELECT count(*) FROM dentry d WHERE "
	 "d.ino=inode.ino) AS n FROM inode WHERE mode&61440<>16384 AND "
	 "nlink<>n"},
	{"folder %lld: %lld links counted, %lld expected",
	 "SELECT ino,nlink,2+(SELECT count(*) FROM dentry d WHERE "
	 "d.parent=inode.ino AND d.type=16384) AS n FROM inode WHERE "
	 "mode&61440=16384 AND nlink<>n AND ino NOT IN orphan"},
	{"folder %lld: has %lld names",
	 "SELECT i.ino,count(*) AS n FROM inode i JOIN dentry d ON d.ino=i.ino "
	 "WHERE i.mode&61440=16384 GROUP BY i.ino HAVING n>1 OR i.ino=1"},
	{"folder %lld: cannot be reached from the root",
	 "WITH RECURSIVE t(ino) AS (SELECT 1 UNION SELECT d.ino FROM t JOIN "
	 "dentry d ON d.parent=t.ino WHERE d.type=16384) SELECT ino FROM inode "
	 "WHERE mode&61440=16384 AND ino NOT IN t AND ino NOT IN orphan"},
	{"name %lld in folder %lld: its inode %lld does not exist",
	 "SELECT id,parent,ino FROM dentry WHERE ino NOT IN (SELECT ino FROM "
	 "inode)"},
	{"name %lld: its folder %lld does not exist or is none",
	 "SELECT id,parent FROM dentry WHERE parent NOT IN (SELECT ino FROM "
	 "inode WHERE mode&61440=16384)"},
	{"name %lld: its type is not that of inode %lld",
	 "SELECT d.id,d.ino FROM dentry d JOIN inode i ON i.ino=d.ino WHERE "
	 "d.type<>i.mode&61440"},
	{"name %lld: not a possible name",
	 "SELECT id FROM dentry WHERE typeof(name)<>'blob' OR length(name) NOT "
	 "BETWEEN 1 AND 255 OR instr(name,x'2f') OR instr(name,x'00') OR name "
	 "IN (x'2e',x'2e2e')"},
	{"orphan %lld: has links or does not exist",
	 "SELECT ino FROM orphan WHERE ino NOT IN (SELECT ino FROM inode WHERE "
	 "nlink=0 OR mode&61440=16384)"},
	{"symlink %lld: is no symbolic link",
	 "SELECT ino FROM symlink WHERE ino NOT IN (SELECT ino FROM inode "
	 "WHERE "
	 "mode&61440=40960)"},
	{"symbolic link %lld: has no target",
	 "SELECT ino FROM inode WHERE mode&61440=40960 AND ino NOT IN (SELECT "
	 "ino FROM symlink)"},
	{"attribute of inode %lld, which does not exist",
	 "SELECT DISTINCT ino FROM xattr WHERE ino NOT IN (SELECT ino FROM "
	 "inode)"},
	{"extent of inode %lld, which does not exist or is no file",
	 "SELECT DISTINCT ino FROM extent WHERE ino NOT IN (SELECT ino FROM "
	 "inode WHERE mode&61440=32768)"},
	{"extent of inode %lld at page %lld: overlaps the one before it",
	 "SELECT ino,pgoff FROM (SELECT ino,pgoff,lag(pgoff+npages) OVER "
	 "(PARTITION BY ino ORDER BY pgoff) AS before FROM extent) WHERE "
	 "pgoff<before"},
	/* the flags of extent: 1 unwritten, 4 inline */
	{"extent of inode %lld at page %lld: makes no sense",
	 "SELECT ino,pgoff FROM extent WHERE pgoff<0 OR npages<1 OR block<0 OR "
	 "flags NOT IN (0,1,4) OR (flags=4)<>(block=0) OR (flags<>1 AND "
	 "npages>256) OR (flags=4 AND (npages<>1 OR data IS NULL)) OR (flags=1 "
	 "AND sum IS NOT NULL) OR (flags<>1 AND coalesce(length(sum),0)<>"
	 "8*npages)"},
};

struct checker {
	void (*report)(void *arg, const char *line);
	void *arg;
	long faults;
};

static void report(struct checker *c, const char *line)
{
	c->faults++;
	c->report(c->arg, line);
}

/* SQLite's own look at its trees. */
static int check_trees(struct meta_conn *conn, struct checker *c)
{
	sqlite3_stmt *s;
	char line[512];
	int rc;
	int err;

	rc = sqlite3_prepare_v2(conn->db, "PRAGMA integrity_check", -1, &s,
				NULL);
	if (rc != SQLITE_OK)
		return meta_errno(rc);
	while ((err = stmt_step(s)) > 0) {
		const char *text = (const char *)sqlite3_column_text(s, 0);

		if (!text || sqlite3_stricmp(text, "ok") == 0)
			continue;
		(void)snprintf(line, sizeof(line), "meta.db: %s", text);
		report(c, line);
	}
	(void)sqlite3_finalize(s);
	return err;
}

static int check_rule(struct meta_conn *conn, size_t rule, struct checker *c)
{
	sqlite3_stmt *s;
	char line[256];
	int rc;
	int err;

	rc = sqlite3_prepare_v2(conn->db, rules[rule].sql, -1, &s, NULL);
	if (rc != SQLITE_OK)
		return meta_errno(rc);
	while ((err = stmt_step(s)) > 0) {
		(void)snprintf(line, sizeof(line), rules[rule].text,
			       (long long)sqlite3_column_int64(s, 0),
			       (long long)sqlite3_column_int64(s, 1),
			       (long long)sqlite3_column_int64(s, 2));
		report(c, line);
	}
	(void)sqlite3_finalize(s);
	return err;
}

/* A page that cannot be read is a fault to report, not a reason to give up. */
static int note_error(struct checker *c, int err, const char *what)
{
	char line[128];

	if (err != -EUCLEAN && err != -EIO)
		return err;
	(void)snprintf(line, sizeof(line), "meta.db: %s", what);
	report(c, line);
	return 0;
}

long meta_check(struct meta *m, void (*fn)(void *arg, const char *line),
		void *arg)
{
	struct checker c = {.report = fn, .arg = arg};
	struct meta_reader *r;
	int err = meta_reader_get(m, &r);

	if (err)
		return err;
	err = note_error(&c, check_trees(&r->conn, &c),
			 "its pages are damaged");
	for (size_t i = 0; !err && i < ARRAY_SIZE(rules); i++)
		err = note_error(&c, check_rule(&r->conn, i, &c),
				 "a damaged page stops the check of its rows");
	meta_reader_put(r);
	return err ? err : c.faults;
}

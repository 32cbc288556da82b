/* SPDX-License-Identifier: MIT */
/* meta.db: is it whole, do its rows fit together, and mending those. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta_int.h"
#include "meta_rules.h"

/* Rounds of a repair: what a rule mends may let another one find more. */
#define MEND_ROUNDS 8
/* Folders that a path may go through. */
#define PATH_DEPTH 256

struct checker {
	struct meta *m;
	struct meta_conn *conn;
	struct meta_mend *mend; /* NULL: only look */
	void (*report)(void *arg, const char *line);
	void *arg;
	long faults;
	bool tangled; /* see meta_check() */
};

static void report(struct checker *c, const char *line)
{
	c->faults++;
	c->report(c->arg, line);
}

/* ---- paths ---- */

/* Put "/name" before @at, which is in @buf. Return: NULL: no room, no name. */
static char *prepend_name(struct meta_conn *conn, u64 *ino, char *buf, char *at)
{
	sqlite3_stmt *s;
	char *ret = NULL;
	size_t len;

	if (conn_stmt(conn, STMT_DENTRY_OF, &s))
		return NULL;
	bind_u64(s, 1, *ino);
	bind_u64(s, 2, 0);
	if (stmt_step(s) > 0) {
		len = (size_t)sqlite3_column_bytes(s, 3);
		if (len && len < (size_t)(at - buf)) {
			ret = at - len - 1;
			*ret = '/';
			memcpy(ret + 1, sqlite3_column_blob(s, 3), len);
			*ino = column_u64(s, 4);
		}
	}
	stmt_end(s);
	return ret;
}

bool conn_path(struct meta_conn *conn, u64 ino, char *buf, size_t size)
{
	char *at = buf + size - 1;

	*at = '\0';
	if (ino == META_ROOT_INO)
		*--at = '/';
	for (int i = 0; ino != META_ROOT_INO && i < PATH_DEPTH; i++) {
		at = prepend_name(conn, &ino, buf, at);
		if (!at)
			return false;
	}
	if (ino != META_ROOT_INO)
		return false;
	memmove(buf, at, strlen(at) + 1);
	return true;
}

void conn_name_inode(struct meta_conn *conn, u64 ino, char *buf, size_t size)
{
	char path[META_PATH_MAX];

	if (conn_path(conn, ino, path, sizeof(path)))
		(void)snprintf(buf, size, "%lld (%s)", (long long)ino, path);
	else
		(void)snprintf(buf, size, "%lld", (long long)ino);
}

/* ---- the schema ---- */

/* An object of the database as a new one has it. The redo log's table came
 * later than the others: older volumes have none. */
static const char has_object[] =
	"SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type=?1 AND name=?2 "
	"AND sql=?3) OR (?2='redo' AND NOT EXISTS(SELECT 1 FROM sqlite_schema "
	"WHERE name=?2))";

/* @fn: told of each table and index of @model that @c has not, or otherwise.
 * (The view is for people, who may have another.) */
static int compare_schema(struct meta_conn *c, sqlite3 *model,
			  void (*fn)(void *arg, const char *name), void *arg)
{
	sqlite3_stmt *want = NULL, *has = NULL;
	int err = meta_errno(sqlite3_prepare_v2(
		model,
		"SELECT type,name,sql FROM sqlite_schema WHERE "
		"type IN ('table','index') AND sql IS NOT NULL",
		-1, &want, NULL));

	if (!err)
		err = meta_errno(
			sqlite3_prepare_v2(c->db, has_object, -1, &has, NULL));
	while (!err && (err = stmt_step(want)) > 0) {
		const char *name = (const char *)sqlite3_column_text(want, 1);

		for (int i = 0; i < 3; i++)
			(void)sqlite3_bind_value(has, i + 1,
						 sqlite3_column_value(want, i));
		err = name ? stmt_step(has) : -ENOMEM;
		if (err > 0 && !column_u64(has, 0))
			fn(arg, name);
		err = min(err, 0);
		stmt_end(has);
	}
	(void)sqlite3_finalize(has);
	(void)sqlite3_finalize(want);
	return err;
}

/*
 * SQLite goes by the words: a letter that is wrong may make a key a plain
 * column, which is NULL in each row that is there, so that no rule says
 * anything about it; and CHECK constraints it reads only when it may write.
 */
static int check_schema(struct meta_conn *c,
			void (*fn)(void *arg, const char *name), void *arg)
{
	sqlite3 *model;
	int err = meta_errno(sqlite3_open_v2(":memory:", &model,
					     SQLITE_OPEN_READWRITE |
						     SQLITE_OPEN_CREATE |
						     SQLITE_OPEN_NOMUTEX,
					     NULL));

	if (!err)
		err = meta_errno(
			sqlite3_exec(model, meta_schema_sql, NULL, NULL, NULL));
	if (!err)
		err = compare_schema(c, model, fn, arg);
	(void)sqlite3_close(model);
	return err;
}

static void report_schema(void *arg, const char *name)
{
	char line[128];

	(void)snprintf(line, sizeof(line),
		       "meta.db: the schema of %s is damaged", name);
	report(arg, line);
}

static void keep_first(void *arg, const char *name)
{
	char *first = arg;

	if (!*first)
		(void)snprintf(first, META_OBJECT_MAX, "%s", name);
}

int meta_check_schema(struct meta *m, char name[META_OBJECT_MAX])
{
	int err;

	name[0] = '\0';
	err = check_schema(&m->writer, keep_first, name);
	if (err)
		name[0] = '\0';
	return !err && *name ? -EUCLEAN : err;
}

/* ---- looking ---- */

/*
 * Is that more than pages which cannot be read, or their children, or indexes
 * that lack a row? Then a page is not as SQLite writes it, though its checksum
 * is right. It may have itself among its children: who reads rows would come to
 * no end.
 */
static bool is_tangle(const char *text)
{
	return !strstr(text, "unable to get the page") &&
	       !strstr(text, "never used") && !strstr(text, "index");
}

/* What SQLite has to say, which may be several lines. */
static void report_tree(struct checker *c, const char *text)
{
	char line[512];

	while (*text) {
		size_t len = strcspn(text, "\n");

		/* *** in database main *** */
		if (len && strncmp(text, "***", 3) != 0) {
			(void)snprintf(line, sizeof(line), "meta.db: %.*s",
				       (int)len, text);
			report(c, line);
			c->tangled |= is_tangle(line);
		}
		text += len + (text[len] == '\n');
	}
}

/* As many lines as SQLite has. */
#define TREE_FAULTS_MAX 100

/* SQLite's own look at its trees, which goes to no page twice. */
static int check_trees(struct checker *c)
{
	sqlite3_stmt *s;
	int rc;
	int err;

	rc = sqlite3_prepare_v2(c->conn->db, "PRAGMA integrity_check", -1, &s,
				NULL);
	if (rc != SQLITE_OK)
		return meta_errno(rc);
	while ((err = stmt_step(s)) > 0) {
		const char *text = (const char *)sqlite3_column_text(s, 0);

		if (text && sqlite3_stricmp(text, "ok") != 0)
			report_tree(c, text);
	}
	c->tangled |= c->faults >= TREE_FAULTS_MAX;
	(void)sqlite3_finalize(s);
	return err;
}

/* The header as the log has it, which is what meta.db's will be: whoever opens
 * the file next looks at that. */
static int check_ids(struct checker *c)
{
	static const char sql[] =
		"SELECT 1 FROM pragma_application_id a,pragma_user_version v "
		"WHERE a.application_id<>?1 OR v.user_version NOT BETWEEN 1 "
		"AND ?2";
	sqlite3_stmt *s;
	int err;
	int rc = sqlite3_prepare_v2(c->conn->db, sql, -1, &s, NULL);

	if (rc != SQLITE_OK)
		return meta_errno(rc);
	bind_u64(s, 1, META_APPLICATION_ID);
	bind_u64(s, 2, META_VERSION);
	err = stmt_step(s);
	if (err > 0)
		report(c, "meta.db: its header is damaged in the log");
	(void)sqlite3_finalize(s);
	return min(err, 0);
}

/* A line for a row that a rule has found. */
static void report_row(struct checker *c, const struct meta_rule *rule,
		       sqlite3_stmt *s)
{
	u64 a = column_u64(s, 0);
	char thing[META_PATH_MAX + 64];
	char text[128];
	char line[META_PATH_MAX + 256];
	int from = rule->subject == SUBJECT_NAME ? 2 : 1;

	(void)snprintf(text, sizeof(text), rule->text,
		       (long long)column_u64(s, from),
		       (long long)column_u64(s, from + 1));
	if (rule->subject == SUBJECT_NONE) {
		report(c, text);
		return;
	}
	conn_name_inode(c->conn,
			rule->subject == SUBJECT_NAME ? column_u64(s, 1) : a,
			thing, sizeof(thing));
	if (rule->subject == SUBJECT_NAME)
		(void)snprintf(line, sizeof(line), "name %lld in folder %s%s",
			       (long long)a, thing, text);
	else
		(void)snprintf(line, sizeof(line), "%s %s%s", rule->what, thing,
			       text);
	report(c, line);
}

static int report_rows(struct checker *c, const struct meta_rule *rule,
		       const char *sql)
{
	sqlite3_stmt *s;
	int err;
	int rc = sqlite3_prepare_v2(c->conn->db, sql, -1, &s, NULL);

	if (rc != SQLITE_OK)
		return meta_errno(rc);
	while ((err = stmt_step(s)) > 0)
		report_row(c, rule, s);
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

/* What SQLite makes of the file, before anybody asks for rows. */
static int check_file(struct checker *c)
{
	int err = note_error(c, check_trees(c), "its pages are damaged");

	if (!err)
		err = note_error(c, check_ids(c), "its header is damaged");
	if (!err)
		err = note_error(c, check_schema(c->conn, report_schema, c),
				 "its schema is damaged");
	return err;
}

long meta_check(struct meta *m, void (*fn)(void *arg, const char *line),
		void *arg, bool *ret_tangled)
{
	struct checker c = {.m = m, .report = fn, .arg = arg};
	struct meta_reader *r;
	int err = meta_reader_get(m, &r);

	if (err)
		return err;
	c.conn = &r->conn;
	err = check_file(&c);
	for (size_t i = 0; !err && !c.tangled && i < meta_nr_rules; i++)
		err = note_error(
			&c, report_rows(&c, &meta_rules[i], meta_rules[i].find),
			"a damaged page stops the check of its rows");
	meta_reader_put(r);
	*ret_tangled = c.tangled;
	return err ? err : c.faults;
}

/* How many columns a query gives, or -errno. */
static int nr_columns(struct meta_conn *conn, const char *sql)
{
	sqlite3_stmt *s;
	int nr;
	int rc = sqlite3_prepare_v2(conn->db, sql, -1, &s, NULL);

	if (rc != SQLITE_OK)
		return meta_errno(rc);
	nr = sqlite3_column_count(s);
	(void)sqlite3_finalize(s);
	return nr;
}

bool meta_is_sound(struct meta *m, void (*fn)(void *arg, const char *line),
		   void *arg)
{
	struct checker c = {.m = m, .report = fn, .arg = arg};
	int err;

	c.conn = &m->writer;
	err = check_file(&c);
	for (size_t i = 0; !err && i < meta_nr_rules; i++) {
		if (nr_columns(c.conn, meta_rules[i].find) >= 0)
			continue;
		report(&c, "meta.db: tables are missing");
		break;
	}
	return !err && !c.faults;
}

/* ---- mending ---- */

/* Run statements whose only parameter, if any, is @arg. */
static int run_all(struct meta_conn *conn, const char *sql, u64 arg)
{
	int err = 0;

	while (!err && sql && *sql) {
		sqlite3_stmt *s = NULL;
		int rc = sqlite3_prepare_v2(conn->db, sql, -1, &s, &sql);

		err = meta_errno(rc);
		if (err || !s)
			break;
		if (sqlite3_bind_parameter_count(s))
			bind_u64(s, 1, arg);
		err = stmt_run(s);
		(void)sqlite3_finalize(s);
	}
	return err;
}

/* A statement that gives one number. Return: 1, 0: no row, -errno. */
static int one_number(struct meta_conn *conn, const char *sql, u64 *ret)
{
	sqlite3_stmt *s;
	int rc = sqlite3_prepare_v2(conn->db, sql, -1, &s, NULL);
	int err;

	if (rc != SQLITE_OK)
		return meta_errno(rc);
	err = stmt_step(s);
	if (err > 0)
		*ret = column_u64(s, 0);
	(void)sqlite3_finalize(s);
	return err;
}

#define LOST_FOUND "x'6c6f73742b666f756e64'" /* lost+found */

/* The folder for what has no name any more; made when it is needed. */
static int lost_found(struct meta_conn *conn, u64 *ret_ino)
{
	static const char find[] =
		"SELECT i.ino FROM dentry d JOIN inode i ON i.ino=d.ino WHERE "
		"d.parent=1 AND d.name=" LOST_FOUND
		" AND i.mode&61440=16384 AND i.ino<>1";
	static const char make[] =
		"UPDATE dentry SET name=name||CAST('.'||id AS BLOB) WHERE "
		"parent=1 AND name=" LOST_FOUND ";"
		"INSERT INTO inode SELECT s.next_ino,16832,r.uid,r.gid,2,0,"
		"r.mtime,r.mtime,r.ctime,r.ctime,0,0,r.generation FROM super "
		"s,inode r WHERE r.ino=1;"
		"INSERT INTO dentry(id,parent,name,ino,type) SELECT "
		"(SELECT coalesce(max(id),0)+1 FROM dentry),1," LOST_FOUND
		",next_ino,16384 FROM super;"
		"UPDATE super SET next_ino=next_ino+1;"
		"UPDATE inode SET nlink=nlink+1 WHERE ino=1";
	int found = one_number(conn, find, ret_ino);
	int err;

	if (found)
		return found < 0 ? found : 0;
	err = run_all(conn, make, 0);
	if (err)
		return err;
	found = one_number(conn, find, ret_ino);
	return found > 0 ? 0 : found ? found : -EUCLEAN;
}

/* Put what a rule finds into temp.bad. Return: 0 or -errno. */
static int gather(struct checker *c, const struct meta_rule *rule, u64 *ret_nr)
{
	static const char *const zeros[] = {"", ",0,0,0", ",0,0", ",0", ""};
	int columns = nr_columns(c->conn, rule->find);
	char *sql;
	int err;

	if (columns < 0)
		return columns;
	if (asprintf(&sql,
		     "DELETE FROM bad; INSERT INTO bad SELECT *%s FROM "
		     "(%s)",
		     zeros[columns], rule->find) < 0)
		return -ENOMEM;
	err = run_all(c->conn, sql, 0);
	free(sql);
	if (!err)
		err = one_number(c->conn, "SELECT count(*) FROM bad", ret_nr);
	return err < 0 ? err : 0;
}

/* Return: 0 or -errno; *ret_nr: how much was found. */
static int mend_rule(struct checker *c, const struct meta_rule *rule,
		     u64 *ret_nr)
{
	u64 ino = 0;
	int err = gather(c, rule, ret_nr);

	if (err || !*ret_nr)
		return err;
	err = report_rows(c, rule, "SELECT * FROM bad");
	if (rule->flags & RULE_LOSES)
		c->mend->losing += (long)*ret_nr;
	if (!err && rule->flags & RULE_LOST_FOUND)
		err = lost_found(c->conn, &ino);
	if (!err)
		err = run_all(c->conn, rule->mend, ino);
	for (u64 left = *ret_nr; !err && rule->flags & RULE_REPEAT && left;) {
		err = gather(c, rule, &left);
		if (!err && left)
			err = run_all(c->conn, rule->mend, ino);
	}
	return err;
}

/* All rules once. Return: how much was found, or -errno. */
static long mend_round(struct checker *c)
{
	long found = 0;

	for (size_t i = 0; i < meta_nr_rules; i++) {
		u64 nr = 0;
		int err = meta_rules[i].mend ? mend_rule(c, &meta_rules[i], &nr)
					     : 0;

		if (err)
			return err;
		found += (long)nr;
	}
	return found;
}

/* The commit is to go on from what super says now. */
static int reload_super(struct meta *m)
{
	struct meta_super super;
	int err = super_load(&m->writer, &super);

	if (err)
		return err;
	mutex_lock(&m->lock);
	m->super = super;
	mutex_unlock(&m->lock);
	return 0;
}

long meta_mend(struct meta *m, struct meta_mend *mend)
{
	struct checker c = {
		.m = m,
		.conn = &m->writer,
		.mend = mend,
		.report = mend->report,
		.arg = mend->arg,
	};
	long found = 1;
	int err;

	assert(m->in_txn);
	err = conn_exec(c.conn, "CREATE TEMP TABLE IF NOT EXISTS bad(a,b,c,d)");
	for (int i = 0; !err && found; i++) {
		found = i < MEND_ROUNDS ? mend_round(&c) : -EUCLEAN;
		err = found < 0 ? (int)found : 0;
	}
	if (!err)
		err = reload_super(m);
	return err ? err : c.faults;
}

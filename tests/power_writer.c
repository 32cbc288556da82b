/* SPDX-License-Identifier: MIT */
/*
 * power_writer run KIND DIR NR		do NR things, each made durable
 * power_writer look KIND DIR LAST	all up to the LASTth is there, and whole
 *
 * KIND is what programs do to have something durable:
 *
 *  rename	a new file, synced, in the place of the old one; the folder
 *  append	a record at the end of a log, fdatasync
 *  wal		a transaction of SQLite, with a write-ahead log that is
 *		checkpointed all the time
 *  delete	... with a rollback journal
 *  truncate	... which is kept, and cut
 *
 * run says on stdout, after each, how large the file is that FOLIO_TRACE names,
 * and which it was: see power_states.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY_MAX 20000

static void die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\n");
	exit(1);
}

static void acknowledge(long n)
{
	struct stat st;

	if (stat(getenv("FOLIO_TRACE"), &st))
		die("FOLIO_TRACE: %s", strerror(errno));
	(void)printf("%lld %ld\n", (long long)st.st_size, n);
	(void)fflush(stdout);
}

static size_t body_len(long n)
{
	return 1 + (size_t)n * 7919 % BODY_MAX;
}

/* What the @n-th has: no two are alike. */
static void body(long n, uint8_t *buf)
{
	uint64_t x = (uint64_t)n * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < body_len(n); i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		buf[i] = (uint8_t)(x >> 56);
	}
}

static bool is_body(long n, const void *got, size_t len)
{
	static uint8_t want[BODY_MAX];

	body(n, want);
	return len == body_len(n) && !memcmp(got, want, len);
}

static void put(int fd, long n)
{
	static uint8_t buf[sizeof(long) + BODY_MAX];
	size_t len = sizeof(n) + body_len(n);

	memcpy(buf, &n, sizeof(n));
	body(n, buf + sizeof(n));
	if (fd < 0 || write(fd, buf, len) != (ssize_t)len)
		die("write: %s", strerror(errno));
}

/* ---- rename ---- */

static void run_rename(long nr)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY);

	for (long n = 1; n <= nr; n++) {
		int fd = open("new", O_WRONLY | O_CREAT | O_TRUNC, 0644);

		put(fd, n);
		if (fsync(fd) || close(fd) || rename("new", "file") ||
		    fsync(dir))
			die("rename: %s", strerror(errno));
		acknowledge(n);
	}
}

static void look_rename(long last)
{
	static uint8_t got[sizeof(long) + BODY_MAX];
	int fd = open("file", O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, got, sizeof(got));
	long n;

	if (len < (ssize_t)sizeof(n))
		die("file: %zd bytes", len);
	memcpy(&n, got, sizeof(n));
	if (n < last || !is_body(n, got + sizeof(n), (size_t)len - sizeof(n)))
		die("file is %ld, of %zd bytes; %ld was synced", n, len, last);
}

/* ---- append ---- */

static void run_append(long nr)
{
	int fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);

	for (long n = 1; n <= nr; n++) {
		put(fd, n);
		if (fdatasync(fd))
			die("fdatasync: %s", strerror(errno));
		acknowledge(n);
	}
}

/* The last record may be there in part. */
static void look_append(long last)
{
	static uint8_t got[BODY_MAX];
	FILE *f = fopen("log", "r");
	long n, next = 1;

	while (f && fread(&n, sizeof(n), 1, f) == 1) {
		size_t len = n == next ? fread(got, 1, body_len(n), f) : 0;

		if (n == next && len < body_len(n))
			break;
		if (n != next || !is_body(n, got, len))
			die("log: record %ld is not what was written", next);
		next++;
	}
	if (next <= last)
		die("log: ends before record %ld; %ld was synced", next, last);
}

/* ---- SQLite ---- */

static void sql(sqlite3 *db, const char *text)
{
	char *err = NULL;

	if (sqlite3_exec(db, text, NULL, NULL, &err) != SQLITE_OK)
		die("%s: %s", text, err);
}

static sqlite3 *open_db(const char *journal_mode)
{
	char text[200];
	sqlite3 *db;

	if (sqlite3_open("db", &db) != SQLITE_OK)
		die("db: %s", sqlite3_errmsg(db));
	(void)snprintf(text, sizeof(text),
		       "PRAGMA journal_mode=%s; PRAGMA synchronous=EXTRA; "
		       "PRAGMA wal_autocheckpoint=20; PRAGMA cache_size=20;",
		       journal_mode);
	sql(db, text);
	return db;
}

static void insert(sqlite3 *db, long n)
{
	static uint8_t buf[BODY_MAX];
	sqlite3_stmt *s;

	body(n, buf);
	if (sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?, ?)", -1, &s, NULL))
		die("prepare: %s", sqlite3_errmsg(db));
	(void)sqlite3_bind_int64(s, 1, n);
	(void)sqlite3_bind_blob(s, 2, buf, (int)body_len(n), SQLITE_STATIC);
	if (sqlite3_step(s) != SQLITE_DONE)
		die("insert: %s", sqlite3_errmsg(db));
	(void)sqlite3_finalize(s);
}

/* A row more, and one less than 40 ago; how many there were, in all. */
static void run_sqlite(const char *journal_mode, long nr)
{
	sqlite3 *db = open_db(journal_mode);
	char text[200];

	sql(db, "CREATE TABLE t(n INTEGER PRIMARY KEY, body BLOB);"
		"CREATE TABLE count(n); INSERT INTO count VALUES(0);");
	for (long n = 1; n <= nr; n++) {
		sql(db, "BEGIN");
		insert(db, n);
		(void)snprintf(text, sizeof(text),
			       "UPDATE count SET n = %ld;"
			       "DELETE FROM t WHERE n = %ld; COMMIT",
			       n, n - 40);
		sql(db, text);
		acknowledge(n);
	}
	(void)sqlite3_close(db);
}

static long long number(sqlite3 *db, const char *text)
{
	long long value = -1;
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, text, -1, &s, NULL) ||
	    sqlite3_step(s) != SQLITE_ROW)
		die("%s: %s", text, sqlite3_errmsg(db));
	value = sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	return value;
}

static void check_integrity(sqlite3 *db)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL) ||
	    sqlite3_step(s) != SQLITE_ROW ||
	    strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
		die("integrity_check: %s", sqlite3_errmsg(db));
	(void)sqlite3_finalize(s);
}

/* @first to @last are there, and no others. */
static void check_rows(sqlite3 *db, long long first, long long last)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, "SELECT n, body FROM t ORDER BY n", -1, &s,
			       NULL))
		die("select: %s", sqlite3_errmsg(db));
	for (; sqlite3_step(s) == SQLITE_ROW; first++) {
		if (sqlite3_column_int64(s, 0) != first ||
		    !is_body((long)first, sqlite3_column_blob(s, 1),
			     (size_t)sqlite3_column_bytes(s, 1)))
			die("row %lld is not what was inserted", first);
	}
	if (first != last + 1)
		die("row %lld is missing", first);
	(void)sqlite3_finalize(s);
}

static void look_sqlite(long last)
{
	sqlite3 *db;
	long long n;

	if (sqlite3_open("db", &db) != SQLITE_OK)
		die("db: %s", sqlite3_errmsg(db));
	check_integrity(db);
	n = number(db, "SELECT n FROM count");
	if (n < last)
		die("transaction %lld is the last, %ld was committed", n, last);
	check_rows(db, n > 40 ? n - 39 : 1, n);
	(void)sqlite3_close(db);
}

/* ---- which ---- */

static void run(const char *kind, long nr)
{
	if (!strcmp(kind, "rename"))
		run_rename(nr);
	else if (!strcmp(kind, "append"))
		run_append(nr);
	else
		run_sqlite(kind, nr);
}

static void look(const char *kind, long last)
{
	if (!strcmp(kind, "rename"))
		look_rename(last);
	else if (!strcmp(kind, "append"))
		look_append(last);
	else
		look_sqlite(last);
}

int main(int argc, char **argv)
{
	if (argc != 5 || chdir(argv[3]))
		die("usage: power_writer run|look KIND DIR NR");
	if (!strcmp(argv[1], "run"))
		run(argv[2], strtol(argv[4], NULL, 10));
	else
		look(argv[2], strtol(argv[4], NULL, 10));
	return 0;
}

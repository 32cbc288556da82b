/* SPDX-License-Identifier: MIT */
/* Putting what src/salvage.h finds in a damaged meta.db into a new one. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta_int.h"
#include "salvage.h"

static const char *const inserts[SALVAGE_NR] = {
	[SALVAGE_SUPER] = "INSERT OR IGNORE INTO super VALUES(?1,?2,?3,?4,?5,"
			  "?6,?7,?8,?9,?10,?11,?12)",
	[SALVAGE_INODE] = "INSERT OR IGNORE INTO inode VALUES(?1,?2,?3,?4,?5,"
			  "?6,?7,?8,?9,?10,?11,?12,?13)",
	[SALVAGE_DENTRY] = "INSERT OR IGNORE INTO dentry VALUES(?1,?2,?3,?4,"
			   "?5)",
	[SALVAGE_SYMLINK] = "INSERT OR IGNORE INTO symlink VALUES(?1,?2)",
	[SALVAGE_XATTR] = "INSERT OR IGNORE INTO xattr VALUES(?1,?2,?3)",
	[SALVAGE_ORPHAN] = "INSERT OR IGNORE INTO orphan VALUES(?1)",
	[SALVAGE_EXTENT] = "INSERT OR IGNORE INTO extent VALUES(?1,?2,?3,?4,"
			   "?5,?6,?7)",
	[SALVAGE_REDO] = "INSERT OR IGNORE INTO redo VALUES(?1,?2,?3,?4,?5)",
	[SALVAGE_DENTRY_NAME] = "INSERT OR IGNORE INTO lost_name VALUES(?3,?1,"
				"?2)",
	[SALVAGE_DENTRY_INO] = "INSERT OR IGNORE INTO lost_ino VALUES(?2,?1)",
};

struct meta_salvage {
	struct meta *m;
	sqlite3_stmt *stmts[SALVAGE_NR];
	struct salvage_gap *gaps; /* of extents */
	size_t nr_gaps, max_gaps;
	bool names_lost;
};

/* ---- rows ---- */

static void bind_value(sqlite3_stmt *s, int i, const struct salvage_value *v)
{
	switch (v->type) {
	case SALVAGE_INTEGER:
		(void)sqlite3_bind_int64(s, i, v->i);
		break;
	case SALVAGE_TEXT:
		(void)sqlite3_bind_text(s, i, (const char *)v->data,
					(int)v->len, SQLITE_STATIC);
		break;
	case SALVAGE_BLOB:
		(void)sqlite3_bind_blob(s, i,
					v->len ? (const void *)v->data : "",
					(int)v->len, SQLITE_STATIC);
		break;
	case SALVAGE_NULL:
	case SALVAGE_REAL:
		(void)sqlite3_bind_null(s, i);
		break;
	}
}

static int add_row(void *arg, const struct salvage_row *row)
{
	struct meta_salvage *sv = arg;
	sqlite3_stmt *s = sv->stmts[row->table];

	/* The indexes are for names that the table has lost. */
	if (row->table >= SALVAGE_DENTRY_NAME && !sv->names_lost)
		return 0;
	for (int i = 0; i < row->nr; i++)
		bind_value(s, i + 1, &row->col[i]);
	return stmt_run(s);
}

static int add_gap(void *arg, const struct salvage_gap *gap)
{
	struct meta_salvage *sv = arg;

	if (gap->table == SALVAGE_DENTRY)
		sv->names_lost = true;
	if (gap->table != SALVAGE_EXTENT)
		return 0;
	if (sv->nr_gaps == sv->max_gaps) {
		size_t max = sv->max_gaps ? sv->max_gaps * 2 : 16;
		struct salvage_gap *gaps =
			realloc(sv->gaps, max * sizeof(*gaps));

		if (!gaps)
			return -ENOMEM;
		sv->gaps = gaps;
		sv->max_gaps = max;
	}
	sv->gaps[sv->nr_gaps++] = *gap;
	return 0;
}

static const struct salvage_ops ops = {.row = add_row, .gap = add_gap};

/* A name whose row is lost stands in two indexes as well: with its folder in
 * one, with its inode in the other. */
static int restore_names(struct meta_salvage *sv)
{
	if (!sv->names_lost)
		return 0;
	return conn_exec(&sv->m->writer,
			 "INSERT OR IGNORE INTO dentry SELECT n.id,n.parent,"
			 "n.name,i.ino,f.mode&61440 FROM lost_name n JOIN "
			 "lost_ino i ON i.id=n.id JOIN inode f ON f.ino=i.ino "
			 "WHERE n.id NOT IN (SELECT id FROM dentry)");
}

/* ---- holes that may be none ---- */

static int fill_file(struct meta *m, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_pages)
{
	u64 start;
	u64 end;
	int err;

	while (!(err = meta_extent_hole(m, ino, pgoff, last, &start, &end))) {
		err = meta_extent_put_lost(m, ino, start, end - start + 1,
					   meta_ignore_freed, NULL);
		if (err)
			return err;
		*ret_pages += end - start + 1;
		pgoff = end + 1;
	}
	return err == -ENOENT ? 0 : err;
}

static int fill_gap(struct meta_salvage *sv, const struct salvage_gap *gap,
		    u64 *ret_pages)
{
	sqlite3_stmt *s;
	int err;
	int rc = sqlite3_prepare_v2(
		sv->m->writer.db,
		"SELECT ino,size FROM inode WHERE ino BETWEEN ?1 AND ?2 AND "
		"mode&61440=32768 AND size>0",
		-1, &s, NULL);

	if (rc != SQLITE_OK)
		return meta_errno(rc);
	bind_u64(s, 1, gap->ino);
	bind_u64(s, 2, gap->last_ino);
	while ((err = stmt_step(s)) > 0) {
		u64 ino = column_u64(s, 0);
		u64 last = (column_u64(s, 1) - 1) / PAGE_SIZE;
		u64 first = ino == gap->ino ? gap->pgoff : 0;

		if (ino == gap->last_ino)
			last = min(last, gap->last_pgoff);
		err = fill_file(sv->m, ino, first, last, ret_pages);
		if (err)
			break;
	}
	(void)sqlite3_finalize(s);
	return err;
}

int meta_salvage_fill(struct meta_salvage *sv, u64 *ret_pages)
{
	int err = 0;

	*ret_pages = 0;
	for (size_t i = 0; !err && i < sv->nr_gaps; i++)
		err = fill_gap(sv, &sv->gaps[i], ret_pages);
	return err;
}

/* ---- all of it ---- */

static int prepare(struct meta_salvage *sv)
{
	int err = conn_exec(&sv->m->writer,
			    "CREATE TEMP TABLE lost_name(id INTEGER PRIMARY "
			    "KEY,parent,name);"
			    "CREATE TEMP TABLE lost_ino(id INTEGER PRIMARY "
			    "KEY,ino)");

	for (int i = 0; !err && i < SALVAGE_NR; i++)
		err = meta_errno(sqlite3_prepare_v2(
			sv->m->writer.db, inserts[i], -1, &sv->stmts[i], NULL));
	return err;
}

static void finish(struct meta_salvage *sv)
{
	for (int i = 0; i < SALVAGE_NR; i++) {
		(void)sqlite3_finalize(sv->stmts[i]);
		sv->stmts[i] = NULL;
	}
}

static void tell(const struct salvage_stat *st,
		 void (*note)(void *arg, const char *line), void *arg)
{
	char line[256];

	(void)snprintf(line, sizeof(line),
		       "meta.db: %llu of %llu pages are damaged, %llu rows "
		       "were read%s",
		       (unsigned long long)st->damaged_pages,
		       (unsigned long long)st->pages,
		       (unsigned long long)st->rows,
		       st->free_known ? ""
				      : "; what hung below them was not, since "
					"the list of free pages is damaged");
	if (note)
		note(arg, line);
}

int meta_salvage(struct meta *m, const char *path,
		 void (*note)(void *arg, const char *line), void *arg,
		 struct meta_salvage **ret)
{
	struct meta_salvage *sv = calloc(1, sizeof(*sv));
	struct salvage_stat st;
	int err;

	if (!sv)
		return -ENOMEM;
	sv->m = m;
	err = prepare(sv);
	if (!err)
		err = salvage(path, &ops, sv, &st);
	if (!err)
		err = restore_names(sv);
	finish(sv);
	if (err) {
		meta_salvage_free(sv);
		return err;
	}
	tell(&st, note, arg);
	*ret = sv;
	return 0;
}

void meta_salvage_free(struct meta_salvage *sv)
{
	if (!sv)
		return;
	finish(sv);
	free(sv->gaps);
	free(sv);
}

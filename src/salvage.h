/* SPDX-License-Identifier: MIT */
/*
 * Reading the rows of a damaged meta.db, page by page and without SQLite.
 *
 * A page counts if its checksum is right, or if it stands in the part of the
 * WAL that SQLite would recover. The trees are walked from their roots. What
 * hangs below a damaged page is found all the same if the list of free pages
 * is whole: then every page that is neither there nor in a tree belongs to one,
 * and its cells tell which. (Else it might be free and its rows long gone.)
 * Where rows may be missing, a gap is told.
 *
 * Source of the formats: sqlite.org/fileformat2.html. Nothing is written, and
 * nothing in the file is trusted: not lengths, nor page numbers, nor order.
 *
 * Context: nobody has the database open, in this process either.
 */
#ifndef FOLIO_SALVAGE_H
#define FOLIO_SALVAGE_H

#include "base.h"

enum salvage_table {
	SALVAGE_SUPER,
	SALVAGE_INODE,
	SALVAGE_DENTRY,
	SALVAGE_SYMLINK,
	SALVAGE_XATTR,
	SALVAGE_ORPHAN,
	SALVAGE_EXTENT,
	SALVAGE_REDO,
	SALVAGE_DENTRY_NAME, /* indexes: rows are parent, name, id */
	SALVAGE_DENTRY_INO,  /* ino, id */
	SALVAGE_NR,
};

#define SALVAGE_COLUMNS 13

struct salvage_value {
	enum {
		SALVAGE_NULL,
		SALVAGE_INTEGER,
		SALVAGE_REAL, /* of no use here */
		SALVAGE_TEXT,
		SALVAGE_BLOB,
	} type;
	s64 i;
	const u8 *data;
	size_t len;
};

struct salvage_row {
	enum salvage_table table;
	int nr; /* columns, in the order of the table; for rowid tables the
		 * first is the rowid */
	struct salvage_value col[SALVAGE_COLUMNS];
};

/* Of extents: rows with keys in [(ino, pgoff), (last_ino, last_pgoff)]. */
struct salvage_gap {
	enum salvage_table table;
	u64 ino, pgoff, last_ino, last_pgoff;
};

struct salvage_ops {
	/* Return: 0, or an error that ends it. */
	int (*row)(void *arg, const struct salvage_row *row);
	int (*gap)(void *arg, const struct salvage_gap *gap);
};

struct salvage_stat {
	u64 pages, damaged_pages, rows, gaps;
	bool free_known; /* what hangs below damaged pages was found */
};

/* @path: of the database; its WAL is beside it. */
int salvage(const char *path, const struct salvage_ops *ops, void *arg,
	    struct salvage_stat *ret);

#endif

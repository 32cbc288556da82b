/* SPDX-License-Identifier: MIT */
/*
 * The check of a volume's extents and blocks, which a repair runs as well.
 * Private to src/volume_*.c.
 *
 * A repair runs it within the transaction of @m's writer. What is found is
 * mended by edits, that are noted while rows are being walked and applied
 * afterwards. Pages whose content is not what was written become lost (reading
 * them is EIO), or holes if that was asked for; never anything else.
 */
#ifndef FOLIO_VOLUME_CHECK_H
#define FOLIO_VOLUME_CHECK_H

#include "range_set.h"
#include "volume_int.h"

enum edit_kind {
	EDIT_LOSE,
	EDIT_HOLE,
	EDIT_INLINE, /* keep the page in the row */
};

struct edit {
	u64 ino, pgoff;
	u64 nr;
	enum edit_kind kind;
	void *page; /* of INLINE */
};

struct data_check {
	struct volume *v;
	const struct volume_check_options *opt;
	struct meta_conn *conn;
	bool mend;

	u8 *buf; /* META_EXTENT_MAX pages */
	void *pages[META_EXTENT_MAX];
	u64 done;
	u64 total; /* blocks to read */

	struct range_set contested; /* blocks that several extents claim */
	struct range_set granted;   /* those that one of them has got */
	u64 bound;		    /* one past the last block there may be */

	struct edit *edits;
	size_t nr_edits, max_edits;

	long faults;
	long losing; /* mended by giving something up */
	long left;   /* not mended */
};

int data_check_init(struct data_check *c, struct volume *v,
		    struct meta_conn *conn,
		    const struct volume_check_options *opt);
void data_check_done(struct data_check *c);

void __printf(2, 3) data_report(struct data_check *c, const char *fmt, ...);

/* "inode 5 (/a), pages 7-9" */
#define RANGE_NAME_MAX (META_PATH_MAX + 128)
const char *data_name_range(struct data_check *c, u64 ino, u64 pgoff, u64 nr,
			    char buf[RANGE_NAME_MAX]);

/* Does page @i of the row have its checksum? It is in pages[0] then. */
bool data_verify(struct data_check *c, const struct extent_row *row, u32 i);

int data_edit(struct data_check *c, enum edit_kind kind, u64 ino, u64 pgoff,
	      u64 nr, void *page);
int data_apply_edits(struct data_check *c);

/* Call @fn for every row that makes sense; @s is at it, and must not move. */
int data_walk(struct data_check *c, bool sums,
	      int (*fn)(struct data_check *c, sqlite3_stmt *s, u64 ino,
			const struct extent_row *row));

/* Which blocks: within bounds, used once. What is in them. */
int data_check_blocks(struct data_check *c);
int data_check_content(struct data_check *c);
/* Is a saved block map that of the extents? data_check_blocks() was done. */
int data_check_freemap(struct data_check *c);

/* Mend extents that overlap in the pages of their file (volume_overlap.c). */
int data_mend_overlaps(struct data_check *c);

#endif

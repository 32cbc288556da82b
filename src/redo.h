/* SPDX-License-Identifier: MIT */
/*
 * The redo log: small commits without SQL.
 *
 * A transaction of SQLite costs its statements, some pages of WAL and a sync.
 * A commit of nothing but a few pages, with sizes and times of their files, is
 * written as one record instead, by one write that is durable when it returns.
 * The next transaction that is made anyway takes over all records (redo_apply):
 * extents are pointed at the blocks of the log that have the pages, so no page
 * is written twice.
 *
 *	data	... | H p p | H p | H p p p | free room of the log | ...
 *		      ^start		     ^pos		    ^start + nr
 *
 * The log is a run of blocks of `data` that no extent refers to. Where it is
 * stands in meta.db (struct meta_redo), with the number of its first record and
 * a salt that no other log has. A record is a header H, one block, and behind
 * it the pages. The header has salt, number, a row for each file and page, the
 * checksums of the pages, and one of itself.
 *
 * A record counts if its checksums are right, its salt is that of the log and
 * its number is the next. So a write that a power cut tore is the end of the
 * log. Each record is durable before the next is begun: one behind a bad one
 * proves damage, which is told and never passed over (redo_load).
 *
 * A transaction that takes the records over puts another row (see
 * volume_redo_plan()) beside what they say, with another salt even where the
 * log goes on behind the old records. Until it is durable the old log stays as
 * it is; from then on no record of it counts. Transactions that have nothing to
 * take over, or that do not (pages moved out of rows), leave the row alone, and
 * the records stand for what comes after.
 *
 * A record also has the number of the last durable transaction: it was written
 * on top of that one's rows. Rows of before, in a copy of the database or where
 * its WAL has lost its end, are not to be mixed with it (-ESTALE). Nor are they
 * all there is when a record of a later log lies behind the last: a log that
 * goes on behind another has, but for once in 65536 times, its salt plus one
 * (redo_next_salt()), so it is known for that.
 *
 * Until they are taken over, memory says where the newest copy of such a page
 * is and how large a file is: whoever reads rows of content asks here too. The
 * order: redo_begin(), read the rows, ask, redo_retry(), as with a seqcount.
 *
 * Locks: LOCK_LEAF inside. redo_load(), redo_append(), redo_apply() and what
 * goes with them: the committer, or who has the volume for itself.
 */
#ifndef FOLIO_REDO_H
#define FOLIO_REDO_H

#include "base.h"
#include "bdev.h"
#include "meta.h"

/* Blocks of a log, and of one that is worth having. */
#define REDO_BLOCKS 256u
#define REDO_BLOCKS_MIN 32u
/* Of one record: its rows fit into a block. */
#define REDO_FILES 16u
#define REDO_PAGES 128u

/* Bits of a salt that count the logs that went on behind one; the others are
 * random. */
#define REDO_GENERATION 0xffffull

/* What a commit has of a file. */
struct redo_file {
	u64 ino;
	u64 size;
	s64 mtime, ctime;
};

struct redo_page {
	u64 ino, pgoff;
	void *data; /* PAGE_SIZE bytes, aligned; they do not change */
};

struct redo_record {
	struct redo_file files[REDO_FILES];
	struct redo_page pages[REDO_PAGES];
	u32 nr_files, nr_pages;
};

struct redo;

/* The salt of the log that goes on behind that of @salt; 0: there have been too
 * many, it is to be of another family. */
u64 redo_next_salt(u64 salt);

/* @data stays the caller's. A new one has no log and knows nothing. */
int redo_new(struct bdev *data, struct redo **ret_redo);
void redo_free(struct redo *r);

/*
 * Use the log that @row tells of, and read the records that are there, of rows
 * up to @commit_no. Return: 0, or, with those before it loaded, *ret_records of
 * them: -EUCLEAN: a record is damaged and there are others behind it, or blocks
 * cannot be read that may have one, or @row is impossible; -ESTALE: one is of
 * later rows; -ENOMEM.
 */
int redo_load(struct redo *r, const struct meta_redo *row, u64 data_blocks,
	      u64 commit_no, u64 *ret_records);

/* What -EUCLEAN or -ESTALE of redo_load() means, in a line for people. */
#define REDO_TEXT_MAX 128
void redo_describe(int err, u64 records, char text[REDO_TEXT_MAX]);

/* ---- committing ---- */

/* Is there room for a record of @nr_pages? */
bool redo_has_room(const struct redo *r, u32 nr_files, u32 nr_pages);

/* Write a record, on top of the rows of @commit_no, which are durable. On
 * return 0 it is durable too, and in force. On an error it may be on the disk
 * or not: the log takes no more, and the transaction that follows puts another
 * in its place. */
int redo_append(struct redo *r, const struct redo_record *rec, u64 commit_no);

/* Records that no transaction has taken over; when the oldest was written, on
 * the monotonic clock, 0: there is none. */
u64 redo_nr_records(const struct redo *r);
u64 redo_first_ns(const struct redo *r);
/* A log in need of another: it has records, or took an error. */
bool redo_is_used(const struct redo *r);

/*
 * Pages that are neighbours in their file, as those of a file that is appended
 * to and synced each time, lie scattered in the log, with headers between. The
 * first run of such pages at or behind (*ino, *pgoff), which are set to it, of
 * @min pages or more. Return: is there one?
 */
bool redo_next_scattered(struct redo *r, u64 *ino, u64 *pgoff, u32 min,
			 u32 *ret_nr);
/* Read such a run, verified: -EIO. */
int redo_read(struct redo *r, u64 ino, u64 pgoff, u32 nr, void *const *pages);
/* There is a durable copy of it at [block, +nr): the transaction is to take
 * that. */
void redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block);

/*
 * Within a transaction, before all else: put what the records say into rows,
 * and hand the blocks of headers and of pages that were written again to
 * @freed. @moved, which may be NULL, is told which pages got an extent.
 */
typedef void (*redo_moved_fn)(void *arg, u64 ino, u64 pgoff, u64 nr);
int redo_apply(struct redo *r, struct meta *m, meta_freed_fn freed,
	       redo_moved_fn moved, void *arg);

/* For who renews the log: where it is, how many of its blocks have records,
 * and how many are left for others, none when it took an error. */
void redo_row(const struct redo *r, struct meta_redo *ret);
u32 redo_used(const struct redo *r);
u32 redo_room(const struct redo *r);

/* For repairs: forget what the log has of files that @known does not know.
 * Return: of how many. */
u32 redo_forget_files(struct redo *r, bool (*known)(void *arg, u64 ino),
		      void *arg);

/* The transaction, with @row in it, is durable: the records are forgotten, and
 * the log is where @row says. @grown, which may be NULL, is told by how many
 * pages each file that is not deleted became more. */
typedef void (*redo_grown_fn)(void *arg, u64 ino, s64 pages);
void redo_applied(struct redo *r, const struct meta_redo *row,
		  redo_grown_fn grown, void *arg);
/* It failed: the records stand, and nothing was moved. */
void redo_not_applied(struct redo *r);
/* From redo_apply() to the end of either: rows may have the records or not, so
 * what is counted now is nothing to remember. */
bool redo_is_applying(const struct redo *r);

/* ---- reading ---- */

/* Has any file records? Then bracket the look-up of rows. */
u32 redo_begin(struct redo *r);
/* The records were taken over meanwhile: rows and answers must be got anew. */
bool redo_retry(struct redo *r, u32 seq);

/* Put the pages of [pgoff, pgoff + nr) that the log has into the map. */
void redo_patch_map(struct redo *r, u64 ino, u64 pgoff, u32 nr,
		    struct meta_page *map);
/* Size and times of an inode. */
void redo_patch_inode(struct redo *r, struct inode_row *row);
/* The first page that the log has, of whichever file, at or behind (*ino,
 * *pgoff), which are set to it. *ret is as of redo_patch_map(). */
bool redo_next(struct redo *r, u64 *ino, u64 *pgoff, struct meta_page *ret);
/* The first page of @ino at or behind @pgoff that the log has. */
bool redo_next_page(struct redo *r, u64 ino, u64 pgoff, u64 *ret_pgoff);

/*
 * How many pages of @ino have no extent but a copy in the log. Asks the rows
 * once for each page. @seq: of redo_begin(), before @reader was used.
 */
int redo_growth(struct redo *r, struct meta_reader *reader, u32 seq, u64 ino,
		s64 *ret_pages);

#endif

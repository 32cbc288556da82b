/* SPDX-License-Identifier: MIT */
/* Verifying a volume that nobody has mounted. */
#include "config.h"

#include "volume_check.h"
#include "wal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redo.h"
#include "sum.h"

/* Blocks are marked in parts that do not cross the groups of the map. */
#define MARK_BLOCKS 32768u

int data_check_init(struct data_check *c, struct volume *v,
		    struct meta_conn *conn,
		    const struct volume_check_options *opt)
{
	memset(c, 0, sizeof(*c));
	c->v = v;
	c->conn = conn;
	c->opt = opt;
	range_set_init(&c->contested);
	range_set_init(&c->granted);
	c->buf = aligned_alloc(PAGE_SIZE, META_EXTENT_MAX * PAGE_SIZE);
	if (!c->buf)
		return -ENOMEM;
	for (u32 i = 0; i < META_EXTENT_MAX; i++)
		c->pages[i] = c->buf + i * PAGE_SIZE;
	return 0;
}

void data_check_done(struct data_check *c)
{
	/* Nothing is added, so it cannot fail. */
	(void)!range_set_remove(&c->contested, 0, UINT64_MAX);
	(void)!range_set_remove(&c->granted, 0, UINT64_MAX);
	for (size_t i = 0; i < c->nr_edits; i++)
		free(c->edits[i].page);
	free(c->edits);
	free(c->buf);
}

void data_report(struct data_check *c, const char *fmt, ...)
{
	char line[RANGE_NAME_MAX + 256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->faults++;
	c->opt->report(c->opt->arg, line);
}

const char *data_name_range(struct data_check *c, u64 ino, u64 pgoff, u64 nr,
			    char buf[RANGE_NAME_MAX])
{
	char thing[META_PATH_MAX + 32];

	conn_name_inode(c->conn, ino, thing, sizeof(thing));
	if (nr == 1)
		(void)snprintf(buf, RANGE_NAME_MAX, "inode %s, page %llu",
			       thing, (unsigned long long)pgoff);
	else
		(void)snprintf(buf, RANGE_NAME_MAX, "inode %s, pages %llu-%llu",
			       thing, (unsigned long long)pgoff,
			       (unsigned long long)(pgoff + nr - 1));
	return buf;
}

/* ---- edits ---- */

int data_edit(struct data_check *c, enum edit_kind kind, u64 ino, u64 pgoff,
	      u64 nr, void *page)
{
	struct edit *e = c->nr_edits ? &c->edits[c->nr_edits - 1] : NULL;

	if (!c->mend)
		return 0;
	if (kind == EDIT_LOSE && c->opt->discard)
		kind = EDIT_HOLE;
	if (e && !page && e->kind == kind && e->ino == ino &&
	    e->pgoff + e->nr == pgoff) {
		e->nr += nr;
		return 0;
	}
	if (c->nr_edits == c->max_edits) {
		size_t max = c->max_edits ? c->max_edits * 2 : 64;

		e = realloc(c->edits, max * sizeof(*e));
		if (!e)
			return -ENOMEM;
		c->edits = e;
		c->max_edits = max;
	}
	c->edits[c->nr_edits] = (struct edit){ino, pgoff, nr, kind, NULL};
	if (page) {
		e = &c->edits[c->nr_edits];
		e->page = malloc(PAGE_SIZE);
		if (!e->page)
			return -ENOMEM;
		memcpy(e->page, page, PAGE_SIZE);
	}
	c->nr_edits++;
	return 0;
}

static int apply(struct meta *m, const struct edit *e)
{
	if (e->kind == EDIT_LOSE)
		return meta_extent_put_lost(m, e->ino, e->pgoff, e->nr,
					    meta_ignore_freed, NULL);
	if (e->kind == EDIT_HOLE)
		return meta_extent_punch(m, e->ino, e->pgoff,
					 e->pgoff + e->nr - 1,
					 meta_ignore_freed, NULL);
	return meta_extent_put_inline(m, e->ino, e->pgoff, e->page, PAGE_SIZE,
				      meta_ignore_freed, NULL);
}

int data_apply_edits(struct data_check *c)
{
	int err = 0;

	for (size_t i = 0; i < c->nr_edits; i++) {
		if (!err)
			err = apply(c->v->meta, &c->edits[i]);
		free(c->edits[i].page);
	}
	c->nr_edits = 0;
	return err;
}

/* ---- walking ---- */

int data_walk(struct data_check *c, bool sums,
	      int (*fn)(struct data_check *c, sqlite3_stmt *s, u64 ino,
			const struct extent_row *row))
{
	struct extent_row *row = malloc(sizeof(*row));
	sqlite3_stmt *s = NULL;
	int err = row ? 0 : -ENOMEM;

	if (!err)
		err = conn_stmt(c->conn,
				sums ? STMT_EXTENT_WALK_SUMS : STMT_EXTENT_WALK,
				&s);
	if (err) {
		free(row);
		return err;
	}
	while ((err = stmt_step(s)) > 0) {
		/* Those that make no sense are told by the rules. */
		if (!extent_from_row(s, sums, row))
			err = fn(c, s, column_u64(s, 6), row);
		else
			err = 0;
		if (err)
			break;
	}
	stmt_end(s);
	free(row);
	return err;
}

/* ---- which blocks: within bounds and used once ---- */

static int find_bound(struct data_check *c, sqlite3_stmt *s, u64 ino,
		      const struct extent_row *row)
{
	u64 end = row->block + row->npages;

	(void)s, (void)ino;
	if (extent_has_blocks(row->flags) && end <= BLOCKS_MAX &&
	    (row->flags & META_EXTENT_UNWRITTEN || end <= c->v->data_blocks))
		c->bound = max(c->bound, end);
	return 0;
}

/* The part of a row behind @end is out of reach. Return: pages before it. */
static int cut_behind(struct data_check *c, u64 ino,
		      const struct extent_row *row, u64 end, const char *what,
		      u32 *ret_within)
{
	u32 within = row->block < end
			     ? (u32)min((u64)row->npages, end - row->block)
			     : 0;
	u32 nr = row->npages - within;
	char name[RANGE_NAME_MAX];

	*ret_within = within;
	if (!nr)
		return 0;
	data_report(c, "%s: blocks %llu-%llu are %s",
		    data_name_range(c, ino, row->pgoff + within, nr, name),
		    (unsigned long long)(row->block + within),
		    (unsigned long long)(row->block + row->npages - 1), what);
	if (row->flags & META_EXTENT_UNWRITTEN)
		return data_edit(c, EDIT_HOLE, ino, row->pgoff + within, nr,
				 NULL);
	c->losing++;
	return data_edit(c, EDIT_LOSE, ino, row->pgoff + within, nr, NULL);
}

/* Within one group of the map, some of [start, +nr) is used already. */
static int mark_around(struct data_check *c, u64 start, u64 nr)
{
	u64 end = start + nr;
	u64 used = 0;
	u64 n = 0;
	int err = 0;

	while (!err && start < end) {
		if (!blocks_next_used(c->v->blocks, start, &used, &n) ||
		    used >= end)
			used = end;
		if (used > start)
			err = blocks_mark_used(c->v->blocks, start,
					       used - start, false);
		n = min(n, end - used);
		if (!err && used < end)
			err = range_set_add(&c->contested, used, used + n - 1);
		start = used + n;
		if (used == end)
			break;
	}
	return err;
}

/* Mark the blocks of a row; what is used already becomes contested. */
static int mark(struct data_check *c, const struct extent_row *row, u64 nr,
		bool *ret_twice)
{
	u64 start = row->block;
	int err = 0;

	*ret_twice = false;
	for (u64 part; !err && nr; start += part, nr -= part) {
		part = min(nr, MARK_BLOCKS - start % MARK_BLOCKS);
		err = blocks_mark_used(c->v->blocks, start, part,
				       row->flags & META_EXTENT_SHARED);
		if (err != -EUCLEAN)
			continue;
		*ret_twice = true;
		err = mark_around(c, start, part);
	}
	return err;
}

static int check_blocks(struct data_check *c, sqlite3_stmt *s, u64 ino,
			const struct extent_row *row)
{
	char name[RANGE_NAME_MAX];
	bool twice;
	u32 within;
	int err;

	(void)s;
	if (!extent_has_blocks(row->flags))
		return 0;
	if (row->flags & META_EXTENT_UNWRITTEN)
		err = cut_behind(c, ino, row, c->bound, "out of bounds",
				 &within);
	else
		err = cut_behind(c, ino, row, c->v->data_blocks,
				 "behind the end of data", &within);
	if (err || !within)
		return err;
	if (!(row->flags & META_EXTENT_UNWRITTEN))
		c->total += within;
	err = mark(c, row, within, &twice);
	if (twice)
		data_report(
			c, "%s: blocks %llu-%llu are used twice",
			data_name_range(c, ino, row->pgoff, row->npages, name),
			(unsigned long long)row->block,
			(unsigned long long)row->block + row->npages - 1);
	return err;
}

bool data_verify(struct data_check *c, const struct extent_row *row, u32 i)
{
	struct bdev *data = c->v->data;

	return row->block + i < c->v->data_blocks &&
	       !data->ops->read(data, row->block + i, 1, c->pages) &&
	       page_sum(c->pages[0]) == row->sums[i];
}

/*
 * One page of a row whose block others claim as well. The checksum decides who
 * owns it: what is there is the content of one of them. If it is what several
 * say, nobody can tell them apart, and as each has a checksum to vouch for it,
 * the others keep a copy in a row. An unwritten page has nothing to keep.
 */
static int settle_page(struct data_check *c, u64 ino,
		       const struct extent_row *row, u32 i)
{
	u64 block = row->block + i;
	u64 pgoff = row->pgoff + i;

	if (row->flags & META_EXTENT_UNWRITTEN)
		return data_edit(c, EDIT_HOLE, ino, pgoff, 1, NULL);
	if (!data_verify(c, row, i)) {
		c->losing++;
		return data_edit(c, EDIT_LOSE, ino, pgoff, 1, NULL);
	}
	if (range_set_find(&c->granted, block, NULL, NULL))
		return data_edit(c, EDIT_INLINE, ino, pgoff, 1, c->pages[0]);
	return range_set_add(&c->granted, block, block);
}

static int settle_row(struct data_check *c, sqlite3_stmt *s, u64 ino,
		      const struct extent_row *row)
{
	u64 end = row->block + row->npages;
	u64 at = row->block;
	u64 start;
	u64 last;
	int err = 0;

	(void)s;
	if (!extent_has_blocks(row->flags))
		return 0;
	while (!err && at < end &&
	       range_set_next(&c->contested, at, &start, &last)) {
		at = max(at, start);
		for (; !err && at < end && at <= last; at++)
			err = settle_page(c, ino, row, (u32)(at - row->block));
	}
	return err;
}

/* The bound that super says does not hold what is there: data proves it. */
static int check_bound(struct data_check *c)
{
	u64 max_blocks = c->v->max_blocks;
	int err;

	if (!max_blocks || c->bound <= max_blocks)
		return 0;
	if (c->v->data_blocks <= max_blocks) {
		c->bound = max_blocks;
		return 0;
	}
	c->bound = min(c->bound, max(c->v->data_blocks, max_blocks));
	data_report(c, "super: a bound of %llu blocks, but %llu are used",
		    (unsigned long long)max_blocks,
		    (unsigned long long)c->bound);
	if (!c->mend)
		return 0;
	err = conn_exec(c->conn, "UPDATE super SET nr_blocks=0");
	if (!err)
		c->v->max_blocks = 0;
	return err;
}

int data_check_blocks(struct data_check *c)
{
	int err;

	c->bound = max(c->v->data_blocks, (u64)2);
	c->total = c->done = 0;
	err = data_walk(c, false, find_bound);
	if (!err)
		err = check_bound(c);
	blocks_free_all(c->v->blocks);
	c->v->blocks = NULL;
	if (!err)
		err = blocks_new(c->bound, NULL, NULL, &c->v->blocks);
	if (!err)
		err = data_walk(c, false, check_blocks);
	if (!err && c->mend && !range_set_empty(&c->contested))
		err = data_walk(c, true, settle_row);
	return err ? err : data_apply_edits(c);
}

/* ---- the redo log ---- */

static int check_redo(struct data_check *c, const struct meta_redo *row)
{
	struct redo *redo = NULL;
	struct meta_super super;
	char text[REDO_TEXT_MAX];
	u64 records = 0;
	int err = redo_new(c->v->data, &redo);

	meta_super(c->v->meta, &super);
	if (!err)
		err = redo_load(redo, row, c->v->data_blocks, super.commit_no,
				&records);
	redo_free(redo);
	if (err == -EUCLEAN || err == -ESTALE) {
		redo_describe(err, records, text);
		data_report(c, "%s", text);
		return 0;
	}
	if (err)
		return err;
	err = blocks_mark_used(c->v->blocks, row->start, row->nr, false);
	if (err == -EUCLEAN)
		data_report(c,
			    "redo log: some of its blocks %llu-%llu are used "
			    "by files or out of bounds",
			    (unsigned long long)row->start,
			    (unsigned long long)(row->start + row->nr - 1));
	return err == -EUCLEAN ? 0 : err;
}

static int data_check_redo(struct data_check *c)
{
	struct meta_super super;
	struct meta_redo row;
	int err = meta_redo_get(c->v->meta, &row);

	if (err)
		return err;
	meta_super(c->v->meta, &super);
	if (row.nr)
		return check_redo(c, &row);
	if (super.incompat & META_INCOMPAT_REDO)
		data_report(c, "redo log: where it is is lost");
	return 0;
}

/* ---- the saved block map ---- */

/* Report what one map has and the other has not. */
static void compare_maps(struct data_check *c, struct blocks *a,
			 struct blocks *b, const char *what)
{
	u64 at = 0;
	u64 start;
	u64 nr;
	u64 other;
	u64 other_nr;

	while (blocks_next_used(a, at, &start, &nr)) {
		at = start + nr;
		if (!blocks_next_used(b, start, &other, &other_nr))
			other = other_nr = 0;
		if (other == start && other_nr >= nr)
			continue;
		data_report(c, "freemap: blocks %llu-%llu %s",
			    (unsigned long long)start,
			    (unsigned long long)at - 1, what);
	}
}

int data_check_freemap(struct data_check *c)
{
	struct blocks *saved;
	int err = blocks_new(c->bound, NULL, NULL, &saved);

	if (err)
		return err;
	if (volume_load_freemap(c->v, saved) == 0) {
		compare_maps(c, saved, c->v->blocks,
			     "are lost: no extent has them");
		compare_maps(c, c->v->blocks, saved, "are free there");
	}
	blocks_free_all(saved);
	return 0;
}

/* ---- what is in them ---- */

/* A run of bad pages of one row. */
struct bad_run {
	u32 first, nr;
	bool unread; /* else its checksums are wrong */
};

static int end_run(struct data_check *c, u64 ino, const struct extent_row *row,
		   struct bad_run *run)
{
	u64 block = row->block + run->first;
	char name[RANGE_NAME_MAX];
	u32 nr = run->nr;
	bool one = nr == 1;

	if (!nr)
		return 0;
	run->nr = 0;
	(void)data_name_range(c, ino, row->pgoff + run->first, nr, name);
	if (row->flags & META_EXTENT_INLINE)
		data_report(c, "%s: has a wrong checksum", name);
	else if (one)
		data_report(c, "%s: block %llu %s", name,
			    (unsigned long long)block,
			    run->unread ? "cannot be read"
					: "has a wrong checksum");
	else
		data_report(c, "%s: blocks %llu-%llu %s", name,
			    (unsigned long long)block,
			    (unsigned long long)block + nr - 1,
			    run->unread ? "cannot be read"
					: "have wrong checksums");
	/* What the device does not give now it may give another time. */
	if (run->unread) {
		c->left++;
		return 0;
	}
	c->losing++;
	return data_edit(c, EDIT_LOSE, ino, row->pgoff + run->first, nr, NULL);
}

static int add_to_run(struct data_check *c, u64 ino,
		      const struct extent_row *row, struct bad_run *run, u32 i,
		      bool unread)
{
	int err = 0;

	if (run->nr && (run->unread != unread || run->first + run->nr != i))
		err = end_run(c, ino, row, run);
	if (!run->nr)
		*run = (struct bad_run){.first = i, .unread = unread};
	run->nr++;
	return err;
}

static int check_written(struct data_check *c, u64 ino,
			 const struct extent_row *row)
{
	struct bdev *data = c->v->data;
	u64 end = min(row->block + row->npages, c->v->data_blocks);
	u32 nr = row->block < end ? (u32)(end - row->block) : 0;
	struct bad_run run = {0};
	bool single;
	int err = 0;

	single = nr && data->ops->read(data, row->block, nr, c->pages);
	for (u32 i = 0; !err && i < nr; i++) {
		bool unread = single && data->ops->read(data, row->block + i, 1,
							&c->pages[i]);

		if (unread || page_sum(c->pages[i]) != row->sums[i])
			err = add_to_run(c, ino, row, &run, i, unread);
	}
	c->done += nr;
	return err ? err : end_run(c, ino, row, &run);
}

static int check_lost(struct data_check *c, u64 ino,
		      const struct extent_row *row)
{
	char name[RANGE_NAME_MAX];
	char line[RANGE_NAME_MAX + 64];

	(void)data_name_range(c, ino, row->pgoff, row->npages, name);
	if (c->mend && c->opt->discard) {
		data_report(c, "%s: lost, and a hole now", name);
		c->losing++;
		return data_edit(c, EDIT_HOLE, ino, row->pgoff, row->npages,
				 NULL);
	}
	(void)snprintf(line, sizeof(line), "%s: lost; reading them is an error",
		       data_name_range(c, ino, row->pgoff, row->npages, name));
	if (c->opt->note)
		c->opt->note(c->opt->arg, line);
	return 0;
}

static int check_content(struct data_check *c, sqlite3_stmt *s, u64 ino,
			 const struct extent_row *row)
{
	struct bad_run run = {.nr = 1};
	int err = 0;

	if (row->flags & META_EXTENT_LOST)
		err = check_lost(c, ino, row);
	else if (row->flags & META_EXTENT_INLINE)
		err = extent_inline_from_row(s, row, c->pages[0])
			      ? end_run(c, ino, row, &run)
			      : 0;
	else if (!(row->flags & META_EXTENT_UNWRITTEN))
		err = check_written(c, ino, row);
	if (c->opt->progress)
		c->opt->progress(c->opt->arg, c->done, c->total);
	return err;
}

int data_check_content(struct data_check *c)
{
	int err = data_walk(c, true, check_content);

	return err ? err : data_apply_edits(c);
}

/* ---- all of it ---- */

static long check_volume(struct volume *v,
			 const struct volume_check_options *opt)
{
	struct meta_reader *r;
	struct data_check c;
	bool tangled;
	long faults;
	int err;

	faults = meta_check(v->meta, opt->report, opt->arg, &tangled);
	if (faults < 0)
		return faults;
	if (tangled) {
		if (opt->note)
			opt->note(opt->arg, "nothing else was checked; a "
					    "repair makes meta.db anew");
		return faults;
	}
	err = meta_reader_get(v->meta, &r);
	if (err)
		return err;
	err = data_check_init(&c, v, &r->conn, opt);
	if (!err)
		err = data_check_blocks(&c);
	if (!err)
		err = data_check_redo(&c);
	if (!err)
		err = data_check_freemap(&c);
	if (!err && opt->data)
		err = data_check_content(&c);
	meta_reader_put(r);
	/* Rows that cannot be read have been reported by meta_check(). */
	if ((err == -EUCLEAN || err == -EIO) && faults > 0)
		err = 0;
	faults += c.faults;
	data_check_done(&c);
	return err ? err : faults;
}

/* Return: whether it is, and with it the state that would be checked. */
static bool report_damaged_log(const struct wal_report *log,
			       const struct volume_check_options *opt)
{
	char text[WAL_TEXT_MAX];

	if (!log->damaged)
		return false;
	wal_describe(log, text);
	opt->report(opt->arg, text);
	if (!opt->note)
		return true;
	(void)snprintf(text, sizeof(text),
		       "nothing else was checked; a repair goes back to "
		       "commit %llu",
		       (unsigned long long)log->commit);
	opt->note(opt->arg, text);
	return true;
}

static long open_and_check(struct volume *v, const struct volume_options *vo,
			   const struct volume_check_options *opt, char *err,
			   size_t errlen)
{
	struct wal_report log;
	long faults;
	int code = volume_finish_repair(v, err, errlen);

	if (code)
		return code;
	code = wal_inspect(v->dirfd, &log);
	if (code)
		return complain(err, errlen, code, "meta.db-wal: %s",
				strerror(-code));
	if (report_damaged_log(&log, opt))
		return 1;
	code = volume_open_rest(v, vo, err, errlen);
	if (code)
		return code;
	faults = check_volume(v, opt);
	if (faults < 0)
		(void)complain(err, errlen, 0, "%s", strerror((int)-faults));
	return faults;
}

long volume_check(const char *path, const struct volume_check_options *opt,
		  char *err, size_t errlen)
{
	struct volume_options open_opt = {.readonly = true,
					  .patience_ms = VOLUME_PATIENCE_MS,
					  .allow_network = true};
	struct volume *v;
	long faults;
	int code;

	code = volume_open_locked(path, &open_opt, &v, err, errlen);
	if (code)
		return code;
	faults = open_and_check(v, &open_opt, opt, err, errlen);
	(void)meta_close(v->meta);
	volume_free(v);
	return faults;
}

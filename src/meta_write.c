/* SPDX-License-Identifier: MIT */
/* meta.db: the committer's transactions. */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "meta_int.h"
#include "sum.h"

/*
 * Pages of one extent row. A row of this many sums still fits into a leaf of
 * the tree (a quarter of a page at most, in a table WITHOUT ROWID); a larger
 * one would have most of its sums in an overflow page of its own. So an
 * overwritten page costs a leaf, and sums take 8.5 bytes a page instead of 18.
 */
#define EXTENT_ROW_MAX 120u

/* Length of the WAL in pages from where it is moved to meta.db between
 * commits, and from where the writer waits for readers to start it anew. */
#define WAL_CHECKPOINT 2048
#define WAL_RESTART 16384
/* The longest wait for them: they may be another process's, which copies. */
#define WAL_RESTART_MS 100

/* ---- transactions ---- */

static int spoil(struct meta *m, int err)
{
	if (err < 0 && !m->txn_err)
		m->txn_err = err;
	return err;
}

/* A statement of the transaction, to be bound and given to txn_run(). */
static int txn_stmt(struct meta *m, enum meta_stmt id, sqlite3_stmt **ret)
{
	assert(m->in_txn);
	if (!m->in_txn)
		return -EINVAL;
	if (m->txn_err)
		return m->txn_err;
	return spoil(m, conn_stmt(&m->writer, id, ret));
}

static int txn_run(struct meta *m, sqlite3_stmt *s)
{
	return spoil(m, stmt_run(s));
}

/* As txn_run(), of a statement that must have changed a row. */
static int txn_update(struct meta *m, sqlite3_stmt *s)
{
	int err = txn_run(m, s);

	if (!err && !sqlite3_changes(m->writer.db))
		err = spoil(m, -ENOENT);
	return err;
}

/* A statement whose only parameter is a number. */
static int txn_run_ino(struct meta *m, enum meta_stmt id, u64 ino)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, id, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	return txn_run(m, s);
}

static int run_plain(struct meta *m, enum meta_stmt id)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&m->writer, id, &s);

	return err ? err : stmt_run(s);
}

/* Roll back what is open, unless an error of SQLite's has done it. */
static int end_txn(struct meta *m)
{
	if (sqlite3_get_autocommit(m->writer.db))
		return 0;
	return run_plain(m, STMT_ROLLBACK);
}

int meta_begin(struct meta *m)
{
	int err;

	assert(!m->in_txn);
	if (m->readonly)
		return -EROFS;
	if (meta_failed(m))
		return -EIO;
	err = end_txn(m);
	if (!err)
		err = run_plain(m, STMT_BEGIN);
	if (err)
		return err;
	m->in_txn = true;
	m->txn_err = 0;
	return 0;
}

void meta_rollback(struct meta *m)
{
	if (!m->in_txn)
		return;
	/* For want of memory it may fail: the next to begin tries again. */
	(void)end_txn(m);
	m->in_txn = false;
	m->txn_err = 0;
}

void meta_set_mount_epoch(struct meta *m, u64 epoch)
{
	mutex_lock(&m->lock);
	m->super.mount_epoch = epoch;
	mutex_unlock(&m->lock);
}

static int commit_super(struct meta *m, const struct meta_super *super)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_SUPER_COMMIT, &s);

	if (err)
		return err;
	bind_u64(s, 1, super->commit_no);
	bind_u64(s, 2, super->next_ino);
	bind_u64(s, 3, super->mount_epoch);
	return txn_update(m, s);
}

int meta_commit(struct meta *m, u64 next_ino, bool sync)
{
	u64 written = vfs_commits(m->vfs);
	struct meta_super super;
	int err;

	assert(m->in_txn);
	meta_super(m, &super);
	super.commit_no++;
	super.next_ino = max(super.next_ino, next_ino);

	err = commit_super(m, &super);
	if (!err)
		err = run_plain(m, STMT_COMMIT);
	if (err && vfs_commits(m->vfs) != written)
		vfs_fail(m->vfs);
	if (err) {
		meta_rollback(m);
		return err;
	}
	m->in_txn = false;

	mutex_lock(&m->lock);
	m->super = super;
	mutex_unlock(&m->lock);
	if (!sync)
		return 0;
	err = meta_errno(vfs_sync_wal(m->writer.db));
	if (!err)
		m->synced_no = super.commit_no;
	return err;
}

u64 meta_synced_no(const struct meta *m)
{
	return m->synced_no;
}

static int redo_flag(struct meta *m, u64 flag)
{
	return txn_run_ino(m, STMT_REDO_FLAG, flag);
}

int meta_redo_put(struct meta *m, const struct meta_redo *row)
{
	sqlite3_stmt *s;
	int err = spoil(m, conn_exec(&m->writer, REDO_SCHEMA));

	if (err)
		return err;
	err = redo_flag(m, row ? META_INCOMPAT_REDO : 0);
	if (err)
		return err;
	err = txn_stmt(m, row ? STMT_REDO_PUT : STMT_REDO_DELETE, &s);
	if (err)
		return err;
	if (row) {
		bind_u64(s, 1, row->start);
		bind_u64(s, 2, row->nr);
		bind_u64(s, 3, row->salt);
		bind_u64(s, 4, row->seq);
	}
	return txn_run(m, s);
}

static int checkpoint(struct meta *m, int mode)
{
	return sqlite3_wal_checkpoint_v2(m->writer.db, "main", mode, NULL,
					 NULL);
}

/* Somebody who reads in the WAL for long is waited for again when it has become
 * longer by as much as is moved at a time. */
static int restart_wal(struct meta *m)
{
	int rc;

	(void)sqlite3_busy_timeout(m->writer.db, WAL_RESTART_MS);
	rc = checkpoint(m, SQLITE_CHECKPOINT_RESTART);
	(void)sqlite3_busy_timeout(m->writer.db, META_BUSY_MS);
	m->wal_waited = (rc & 0xff) == SQLITE_BUSY ? m->wal_frames : 0;
	return rc;
}

static bool is_restart_due(const struct meta *m)
{
	return m->wal_frames >= WAL_RESTART &&
	       (!m->wal_waited || m->wal_frames < m->wal_waited ||
		m->wal_frames - m->wal_waited >= WAL_CHECKPOINT);
}

int meta_checkpoint(struct meta *m, bool force)
{
	int rc;

	assert(!m->in_txn);
	if (m->readonly)
		return 0;
	if (meta_failed(m))
		return -EIO;
	/* one that meta_rollback() could not end would be in the way */
	rc = end_txn(m);
	if (rc)
		return rc;
	if (force)
		rc = checkpoint(m, SQLITE_CHECKPOINT_TRUNCATE);
	else if (is_restart_due(m))
		rc = restart_wal(m);
	else if (m->wal_frames >= WAL_CHECKPOINT)
		rc = checkpoint(m, SQLITE_CHECKPOINT_PASSIVE);
	else
		return 0;

	/* Somebody reads in the WAL for long: later, then. */
	if ((rc & 0xff) == SQLITE_BUSY)
		return 0;
	return rc ? meta_errno(rc) : !force;
}

/* ---- inodes ---- */

int meta_inode_put(struct meta *m, const struct inode_row *row)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_INODE_PUT, &s);

	if (err)
		return err;
	bind_u64(s, 1, row->ino);
	bind_u64(s, 2, row->mode);
	bind_u64(s, 3, row->uid);
	bind_u64(s, 4, row->gid);
	bind_u64(s, 5, row->nlink);
	bind_u64(s, 6, row->size);
	bind_u64(s, 7, (u64)row->atime);
	bind_u64(s, 8, (u64)row->mtime);
	bind_u64(s, 9, (u64)row->ctime);
	bind_u64(s, 10, (u64)row->btime);
	bind_u64(s, 11, row->rdev);
	bind_u64(s, 12, row->flags);
	bind_u64(s, 13, row->generation);
	return txn_run(m, s);
}

int meta_inode_put_content(struct meta *m, u64 ino, u64 size, s64 mtime,
			   s64 ctime)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_INODE_PUT_CONTENT, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, size);
	bind_u64(s, 3, (u64)mtime);
	bind_u64(s, 4, (u64)ctime);
	return txn_update(m, s);
}

int meta_inode_put_attr(struct meta *m, const struct inode_row *row)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_INODE_PUT_ATTR, &s);

	if (err)
		return err;
	bind_u64(s, 1, row->ino);
	bind_u64(s, 2, row->mode);
	bind_u64(s, 3, row->uid);
	bind_u64(s, 4, row->gid);
	bind_u64(s, 5, row->nlink);
	bind_u64(s, 6, (u64)row->atime);
	bind_u64(s, 7, (u64)row->btime);
	bind_u64(s, 8, row->rdev);
	bind_u64(s, 9, row->flags);
	bind_u64(s, 10, row->generation);
	return txn_update(m, s);
}

int meta_ignore_freed(void *arg, u64 block, u64 nr)
{
	(void)arg, (void)block, (void)nr;
	return 0;
}

int meta_inode_delete(struct meta *m, u64 ino, meta_freed_fn freed, void *arg)
{
	static const enum meta_stmt rest[] = {
		STMT_XATTR_DELETE_ALL,
		STMT_SYMLINK_DELETE,
		STMT_ORPHAN_DELETE,
		STMT_INODE_DELETE,
	};
	int err = meta_extent_punch(m, ino, 0, PGOFF_MAX, freed, arg);

	for (size_t i = 0; !err && i < ARRAY_SIZE(rest); i++)
		err = txn_run_ino(m, rest[i], ino);
	return err;
}

/* ---- names, symlinks, xattrs, orphans ---- */

int meta_dentry_put(struct meta *m, u64 parent, const struct dentry_row *row)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_DENTRY_PUT, &s);

	if (err)
		return err;
	bind_u64(s, 1, row->id);
	bind_u64(s, 2, parent);
	bind_blob(s, 3, row->name, row->len);
	bind_u64(s, 4, row->ino);
	bind_u64(s, 5, row->type);
	return txn_run(m, s);
}

int meta_dentry_delete(struct meta *m, u64 parent, const char *name, size_t len)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_DENTRY_DELETE, &s);

	if (err)
		return err;
	bind_u64(s, 1, parent);
	bind_blob(s, 2, name, len);
	return txn_run(m, s);
}

int meta_symlink_put(struct meta *m, u64 ino, const char *target, size_t len)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_SYMLINK_PUT, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_blob(s, 2, target, len);
	return txn_run(m, s);
}

int meta_xattr_put(struct meta *m, u64 ino, const char *name, const void *value,
		   size_t len)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_XATTR_PUT, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_blob(s, 2, name, strlen(name));
	bind_blob(s, 3, value, len);
	return txn_run(m, s);
}

int meta_xattr_delete(struct meta *m, u64 ino, const char *name)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_XATTR_DELETE, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_blob(s, 2, name, strlen(name));
	return txn_run(m, s);
}

int meta_orphan_put(struct meta *m, u64 ino)
{
	return txn_run_ino(m, STMT_ORPHAN_PUT, ino);
}

int meta_orphan_delete(struct meta *m, u64 ino)
{
	return txn_run_ino(m, STMT_ORPHAN_DELETE, ino);
}

/* ---- extents ---- */

static u64 extent_end(const struct extent_row *row)
{
	return row->pgoff + row->npages;
}

/* Whom to tell about freed blocks. */
struct freed {
	meta_freed_fn fn;
	void *arg;
};

static int report_freed(struct meta *m, const struct freed *f, u32 flags,
			u64 block, u64 nr)
{
	if (flags & META_EXTENT_LOST)
		return 0;
	m->extent_growth -= (s64)nr;
	if (flags & META_EXTENT_INLINE)
		return 0;
	return spoil(m, f->fn(f->arg, block, nr));
}

s64 meta_extent_growth(const struct meta *m)
{
	return m->extent_growth;
}

/* The last extent that begins at or before @pgoff. Return: 1, 0, -errno. */
static int extent_at(struct meta *m, u64 ino, u64 pgoff, struct extent_row *ret)
{
	sqlite3_stmt *s;
	int found = txn_stmt(m, STMT_EXTENT_AT, &s);
	int err = 0;

	if (found)
		return found;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	found = stmt_step(s);
	if (found > 0)
		err = extent_from_row(s, true, ret);
	stmt_end(s);
	if (err || found < 0)
		return spoil(m, err ? err : found);
	return found;
}

static void bind_sums(sqlite3_stmt *s, int i, const u64 *sums, u32 nr, u64 *le)
{
	if (!sums)
		return;
	for (u32 n = 0; n < nr; n++)
		le[n] = htole64(sums[n]);
	bind_blob(s, i, le, nr * sizeof(*le));
}

/* Pages [pgoff, pgoff + npages) of @row as a row of their own. */
static int insert_part(struct meta *m, u64 ino, const struct extent_row *row,
		       u64 pgoff, u32 npages)
{
	u64 le[META_EXTENT_MAX];
	u64 skip = pgoff - row->pgoff;
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_EXTENT_INSERT, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	bind_u64(s, 3, npages);
	bind_u64(s, 4, row->block ? row->block + skip : 0);
	bind_u64(s, 5, row->flags);
	if (extent_has_sums(row->flags))
		bind_sums(s, 6, row->sums + skip, npages, le);
	return txn_run(m, s);
}

/* Let @row have its first @npages only, or as many with @row->sums. */
static int resize_row(struct meta *m, u64 ino, const struct extent_row *row,
		      u32 npages)
{
	u64 le[META_EXTENT_MAX];
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_EXTENT_RESIZE, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, row->pgoff);
	bind_u64(s, 3, npages);
	if (extent_has_sums(row->flags))
		bind_sums(s, 4, row->sums, npages, le);
	return txn_run(m, s);
}

static int delete_rows(struct meta *m, u64 ino, u64 pgoff, u64 last)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_EXTENT_DELETE, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	bind_u64(s, 3, last);
	return txn_run(m, s);
}

/* Take [pgoff, last] out of a row that it overlaps. */
static int cut_row(struct meta *m, u64 ino, const struct extent_row *row,
		   u64 pgoff, u64 last, const struct freed *freed)
{
	u64 first = max(pgoff, row->pgoff);
	u64 end = min(last + 1, extent_end(row));
	u32 head = (u32)(first - row->pgoff);
	u32 tail = (u32)(extent_end(row) - end);
	int err;

	err = head ? resize_row(m, ino, row, head)
		   : delete_rows(m, ino, row->pgoff, row->pgoff);
	if (!err && tail)
		err = insert_part(m, ino, row, end, tail);
	if (err)
		return err;
	return report_freed(m, freed, row->flags, row->block + head,
			    end - first);
}

/* Remove the rows that begin in [pgoff, last] and end there too. */
static int remove_rows(struct meta *m, u64 ino, u64 pgoff, u64 last,
		       const struct freed *freed)
{
	sqlite3_stmt *s;
	int err = txn_stmt(m, STMT_EXTENT_RUNS, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	bind_u64(s, 3, last);
	while ((err = spoil(m, stmt_step(s))) > 0) {
		err = report_freed(m, freed, column_u32(s, 2), column_u64(s, 1),
				   column_u64(s, 0));
		if (err)
			break;
	}
	stmt_end(s);
	return err ? err : delete_rows(m, ino, pgoff, last);
}

/*
 * Empty [pgoff, last]: cut the last row that reaches into it, then the first,
 * then drop all between. *prev gets the row before the range, when it was
 * looked at (1), else 0 is returned.
 */
static int punch(struct meta *m, u64 ino, u64 pgoff, u64 last,
		 const struct freed *freed, struct extent_row *prev)
{
	int err = extent_at(m, ino, last, prev);

	if (err <= 0)
		return err;
	if (extent_end(prev) <= pgoff)
		return 1;
	err = cut_row(m, ino, prev, pgoff, last, freed);
	if (err || prev->pgoff <= pgoff)
		return err;

	last = prev->pgoff - 1;
	err = extent_at(m, ino, pgoff, prev);
	if (err > 0)
		err = extent_end(prev) > pgoff
			      ? cut_row(m, ino, prev, pgoff, last, freed)
			      : 0;
	return err ? err : remove_rows(m, ino, pgoff, last, freed);
}

int meta_extent_punch(struct meta *m, u64 ino, u64 pgoff, u64 last,
		      meta_freed_fn fn, void *arg)
{
	struct freed freed = {fn, arg};
	struct extent_row row;
	int err;

	if (pgoff > last)
		return 0;
	err = punch(m, ino, pgoff, min(last, (u64)PGOFF_MAX), &freed, &row);
	return err < 0 ? err : 0;
}

static u32 row_max(u32 flags)
{
	return flags & META_EXTENT_UNWRITTEN ? UINT32_MAX : EXTENT_ROW_MAX;
}

/* Add the beginning of the run to the row before it. Return: pages added. */
static s64 join(struct meta *m, u64 ino, struct extent_row *prev, u64 pgoff,
		u32 nr, u64 block, u32 flags, const u64 *sums)
{
	u32 room = row_max(flags);
	u32 n;
	int err;

	if (prev->flags != flags || extent_end(prev) != pgoff ||
	    prev->block + prev->npages != block || prev->npages >= room)
		return 0;
	n = min(nr, room - prev->npages);
	if (!(flags & META_EXTENT_UNWRITTEN))
		memcpy(prev->sums + prev->npages, sums, n * sizeof(*sums));
	err = resize_row(m, ino, prev, prev->npages + n);
	return err ? err : (s64)n;
}

static int insert_run(struct meta *m, u64 ino, u64 pgoff, u32 nr, u64 block,
		      u32 flags, const u64 *sums)
{
	struct extent_row row = {.flags = flags};
	int err = 0;

	while (nr && !err) {
		row.pgoff = pgoff;
		row.block = block;
		row.npages = min(nr, row_max(flags));
		if (sums)
			memcpy(row.sums, sums, row.npages * sizeof(*sums));
		err = insert_part(m, ino, &row, pgoff, row.npages);
		pgoff += row.npages;
		block += row.npages;
		nr -= row.npages;
		if (sums)
			sums += row.npages;
	}
	return err;
}

int meta_extent_put(struct meta *m, u64 ino, u64 pgoff, u32 nr, u64 block,
		    u32 flags, const u64 *sums, meta_freed_fn fn, void *arg)
{
	struct freed freed = {fn, arg};
	struct extent_row prev;
	s64 joined = 0;
	int have;

	assert(nr && block && !(flags & META_EXTENT_INLINE));
	assert(!sums == !!(flags & META_EXTENT_UNWRITTEN));

	have = punch(m, ino, pgoff, pgoff + nr - 1, &freed, &prev);
	m->extent_growth += nr;
	if (!have && pgoff)
		have = extent_at(m, ino, pgoff - 1, &prev);
	if (have < 0)
		return have;
	if (have)
		joined = join(m, ino, &prev, pgoff, nr, block, flags, sums);
	if (joined < 0)
		return (int)joined;
	return insert_run(m, ino, pgoff + (u64)joined, nr - (u32)joined,
			  block + (u64)joined, flags,
			  sums ? sums + joined : NULL);
}

int meta_extent_hole(struct meta *m, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_start, u64 *ret_last)
{
	struct extent_row row;
	sqlite3_stmt *s;
	int err;

	if (pgoff > last)
		return -ENOENT;
	err = txn_stmt(m, STMT_EXTENT_RANGE, &s);
	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	bind_u64(s, 3, last);

	*ret_last = last;
	while ((err = spoil(m, stmt_step(s))) > 0) {
		err = spoil(m, extent_from_row(s, false, &row));
		if (err)
			break;
		if (row.pgoff > pgoff) {
			*ret_last = row.pgoff - 1;
			break;
		}
		pgoff = max(pgoff, extent_end(&row));
	}
	stmt_end(s);
	*ret_start = pgoff;
	if (!err && pgoff > last)
		err = -ENOENT;
	return err;
}

int meta_extent_put_inline(struct meta *m, u64 ino, u64 pgoff, const void *data,
			   u32 len, meta_freed_fn fn, void *arg)
{
	u8 page[PAGE_SIZE];
	u64 sum;
	sqlite3_stmt *s;
	int err = meta_extent_punch(m, ino, pgoff, pgoff, fn, arg);

	if (err)
		return err;
	err = txn_stmt(m, STMT_EXTENT_INSERT, &s);
	if (err)
		return err;
	len = min(len, (u32)PAGE_SIZE);
	memcpy(page, data, len);
	memset(page + len, 0, PAGE_SIZE - len);
	sum = htole64(page_sum(page));

	bind_u64(s, 1, ino);
	bind_u64(s, 2, pgoff);
	bind_u64(s, 3, 1);
	bind_u64(s, 4, 0);
	bind_u64(s, 5, META_EXTENT_INLINE);
	bind_blob(s, 6, &sum, sizeof(sum));
	bind_blob(s, 7, page, len);
	m->extent_growth++;
	return txn_run(m, s);
}

int meta_extent_put_lost(struct meta *m, u64 ino, u64 pgoff, u64 nr,
			 meta_freed_fn fn, void *arg)
{
	struct extent_row row = {.flags = META_EXTENT_LOST};
	int err = meta_extent_punch(m, ino, pgoff, pgoff + nr - 1, fn, arg);

	for (u64 n; !err && nr; pgoff += n, nr -= n) {
		n = min(nr, (u64)UINT32_MAX);
		row.pgoff = pgoff;
		err = insert_part(m, ino, &row, pgoff, (u32)n);
	}
	return err;
}

/* SPDX-License-Identifier: MIT */
/* meta.db: look-ups. */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <linux/limits.h>
#include <string.h>

#include "meta_int.h"
#include "sum.h"

/*
 * Prepare and step to the first row.
 * Return: 0 with *ret_stmt to be ended, @none when there is no row, -errno.
 */
static int first_row(sqlite3_stmt *s, int none)
{
	int err = stmt_step(s);

	if (err > 0)
		return 0;
	stmt_end(s);
	return err ? err : none;
}

int meta_inode_get(struct meta_reader *r, u64 ino, struct inode_row *ret)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_INODE_GET, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	err = first_row(s, -ENOENT);
	if (err)
		return err;
	ret->ino = column_u64(s, 0);
	ret->mode = column_u32(s, 1);
	ret->uid = column_u32(s, 2);
	ret->gid = column_u32(s, 3);
	ret->nlink = column_u32(s, 4);
	ret->size = column_u64(s, 5);
	ret->atime = (s64)column_u64(s, 6);
	ret->mtime = (s64)column_u64(s, 7);
	ret->ctime = (s64)column_u64(s, 8);
	ret->btime = (s64)column_u64(s, 9);
	ret->rdev = column_u64(s, 10);
	ret->flags = column_u32(s, 11);
	ret->generation = column_u32(s, 12);
	stmt_end(s);
	return 0;
}

/* ---- names ---- */

static bool is_id(u64 id)
{
	return id && id < META_ID_END;
}

static bool is_name(const char *name, size_t len)
{
	if (!len || len > NAME_MAX || memchr(name, '\0', len) ||
	    memchr(name, '/', len))
		return false;
	return name[0] != '.' || (len > 1 && (name[1] != '.' || len > 2));
}

static int dentry_from_row(sqlite3_stmt *s, struct dentry_row *ret)
{
	const char *name = sqlite3_column_blob(s, 3);
	size_t len = (size_t)sqlite3_column_bytes(s, 3);

	ret->id = column_u64(s, 0);
	ret->ino = column_u64(s, 1);
	if (!is_id(ret->id) || !is_id(ret->ino) || !is_name(name, len))
		return -EUCLEAN;
	ret->type = column_u32(s, 2);
	ret->len = (u16)len;
	memcpy(ret->name, name, len);
	ret->name[len] = '\0';
	return 0;
}

int meta_dentry_get(struct meta_reader *r, u64 parent, const char *name,
		    size_t len, struct dentry_row *ret)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_DENTRY_GET, &s);

	if (err)
		return err;
	bind_u64(s, 1, parent);
	bind_blob(s, 2, name, len);
	err = first_row(s, -ENOENT);
	if (err)
		return err;
	err = dentry_from_row(s, ret);
	stmt_end(s);
	return err;
}

int meta_dentry_list(struct meta_reader *r, u64 parent, u64 after,
		     struct dentry_row *ret, u32 max)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_DENTRY_LIST, &s);
	int nr = 0;

	if (err)
		return err;
	bind_u64(s, 1, parent);
	bind_u64(s, 2, after);
	bind_u64(s, 3, max);
	while ((err = stmt_step(s)) > 0) {
		err = dentry_from_row(s, &ret[nr]);
		if (err)
			break;
		nr++;
	}
	stmt_end(s);
	return err ? err : nr;
}

int meta_dentry_any(struct meta_reader *r, u64 parent)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_DENTRY_ANY, &s);

	if (err)
		return err;
	bind_u64(s, 1, parent);
	err = stmt_step(s);
	stmt_end(s);
	return err;
}

int meta_dentry_of(struct meta_reader *r, u64 ino, u32 nth, u64 *ret_parent,
		   struct dentry_row *ret)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_DENTRY_OF, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_u64(s, 2, nth);
	err = first_row(s, -ENOENT);
	if (err)
		return err;
	err = dentry_from_row(s, ret);
	if (!err)
		*ret_parent = column_u64(s, 4);
	stmt_end(s);
	return err;
}

/* ---- symlinks and xattrs ---- */

int meta_symlink_get(struct meta_reader *r, u64 ino, char *buf, size_t len)
{
	sqlite3_stmt *s;
	size_t n;
	int err = conn_stmt(&r->conn, STMT_SYMLINK_GET, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	err = first_row(s, -ENOENT);
	if (err)
		return err;
	n = (size_t)sqlite3_column_bytes(s, 0);
	if (n < len) {
		if (n)
			memcpy(buf, sqlite3_column_blob(s, 0), n);
		buf[n] = '\0';
	} else {
		err = -ERANGE;
	}
	stmt_end(s);
	return err;
}

ssize_t meta_xattr_get(struct meta_reader *r, u64 ino, const char *name,
		       void *buf, size_t len)
{
	sqlite3_stmt *s;
	ssize_t n;
	int err = conn_stmt(&r->conn, STMT_XATTR_GET, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	bind_blob(s, 2, name, strlen(name));
	err = first_row(s, -ENODATA);
	if (err)
		return err;
	n = sqlite3_column_bytes(s, 0);
	if (len && (size_t)n > len)
		n = -ERANGE;
	else if (len && n)
		memcpy(buf, sqlite3_column_blob(s, 0), (size_t)n);
	stmt_end(s);
	return n;
}

static bool is_xattr_name(const void *name, size_t len)
{
	return name && len && len <= XATTR_NAME_MAX && !memchr(name, 0, len);
}

ssize_t meta_xattr_list(struct meta_reader *r, u64 ino, char *buf, size_t len)
{
	sqlite3_stmt *s;
	size_t used = 0;
	int err = conn_stmt(&r->conn, STMT_XATTR_LIST, &s);

	if (err)
		return err;
	bind_u64(s, 1, ino);
	while ((err = stmt_step(s)) > 0) {
		const void *name = sqlite3_column_blob(s, 0);
		size_t n = (size_t)sqlite3_column_bytes(s, 0);

		if (!is_xattr_name(name, n)) {
			err = -EUCLEAN;
			break;
		}
		if (len && used + n + 1 > len) {
			err = -ERANGE;
			break;
		}
		if (len) {
			memcpy(buf + used, name, n);
			buf[used + n] = '\0';
		}
		used += n + 1;
	}
	stmt_end(s);
	return err ? err : (ssize_t)used;
}

/* ---- extents ---- */

static int sums_from_row(sqlite3_stmt *s, struct extent_row *ret)
{
	const u8 *p = sqlite3_column_blob(s, 4);
	size_t len = (size_t)sqlite3_column_bytes(s, 4);

	if (len != ret->npages * sizeof(u64))
		return -EUCLEAN;
	for (u32 i = 0; i < ret->npages; i++) {
		u64 sum;

		memcpy(&sum, p + i * sizeof(sum), sizeof(sum));
		ret->sums[i] = le64toh(sum);
	}
	return 0;
}

int extent_from_row(sqlite3_stmt *s, bool sums, struct extent_row *ret)
{
	u64 pgoff = column_u64(s, 0);
	u64 npages = column_u64(s, 1);
	u64 block = column_u64(s, 2);

	ret->pgoff = pgoff;
	ret->npages = (u32)npages;
	ret->block = block;
	ret->flags = column_u32(s, 3);
	if (!npages || npages > UINT32_MAX || pgoff > PGOFF_MAX ||
	    npages > PGOFF_MAX + 1 - pgoff || block > PGOFF_MAX)
		return -EUCLEAN;
	if (extent_has_blocks(ret->flags) ? !block : block)
		return -EUCLEAN;
	if (ret->flags & META_EXTENT_INLINE && npages != 1)
		return -EUCLEAN;
	if (!extent_has_sums(ret->flags))
		return 0;
	if (npages > META_EXTENT_MAX)
		return -EUCLEAN;
	return sums ? sums_from_row(s, ret) : 0;
}

int extent_inline_from_row(sqlite3_stmt *s, const struct extent_row *row,
			   void *page)
{
	size_t len = (size_t)sqlite3_column_bytes(s, 5);

	if (len > PAGE_SIZE)
		return -EUCLEAN;
	if (len)
		memcpy(page, sqlite3_column_blob(s, 5), len);
	memset((char *)page + len, 0, PAGE_SIZE - len);
	return page_sum(page) == row->sums[0] ? 0 : -EIO;
}

static int extent_range(struct meta_reader *r, u64 ino, u64 pgoff, u64 last,
			sqlite3_stmt **ret_stmt)
{
	int err = conn_stmt(&r->conn, STMT_EXTENT_RANGE, ret_stmt);

	if (err)
		return err;
	bind_u64(*ret_stmt, 1, ino);
	bind_u64(*ret_stmt, 2, pgoff);
	bind_u64(*ret_stmt, 3, last);
	return 0;
}

int meta_extent_get(struct meta_reader *r, u64 ino, u64 pgoff,
		    struct extent_row *ret, void *inline_buf)
{
	sqlite3_stmt *s;
	int err = extent_range(r, ino, pgoff, PGOFF_MAX, &s);

	if (err)
		return err;
	/* The first row may end before @pgoff: then it is the second. */
	do {
		err = first_row(s, -ENOENT);
		if (err)
			return err;
		err = extent_from_row(s, true, ret);
	} while (!err && ret->pgoff + ret->npages <= pgoff);

	if (!err && inline_buf && (ret->flags & META_EXTENT_INLINE))
		err = extent_inline_from_row(s, ret, inline_buf);
	stmt_end(s);
	return err;
}

int meta_extent_next(struct meta_reader *r, u64 *ino, u64 *pgoff,
		     struct extent_row *ret, void *inline_buf)
{
	sqlite3_stmt *s;
	int err = conn_stmt(&r->conn, STMT_EXTENT_NEXT, &s);

	if (err)
		return err;
	bind_u64(s, 1, *ino);
	bind_u64(s, 2, *pgoff);
	err = stmt_step(s);
	if (err <= 0) {
		stmt_end(s);
		return err == -EIO || err == -EUCLEAN ? -ESTALE : err;
	}
	*pgoff = column_u64(s, 0);
	*ino = column_u64(s, 6);
	err = extent_from_row(s, true, ret);
	if (!err && (ret->flags & META_EXTENT_INLINE))
		err = extent_inline_from_row(s, ret, inline_buf);
	stmt_end(s);
	return err ? err : 1;
}

/* The part of an extent that lies in the range being mapped. */
static void map_row(sqlite3_stmt *s, const struct extent_row *row, u64 pgoff,
		    u32 nr, struct meta_page *map, void *const *pages)
{
	u64 first = max(row->pgoff, pgoff);
	u64 end = min(row->pgoff + row->npages, pgoff + nr);

	if (row->flags & META_EXTENT_UNWRITTEN)
		return;
	for (u64 i = first; i < end; i++) {
		struct meta_page *p = &map[i - pgoff];

		if (row->flags & META_EXTENT_LOST) {
			p->kind = META_PAGE_LOST;
			continue;
		}
		if (row->flags & META_EXTENT_INLINE) {
			p->kind = META_PAGE_INLINE;
			p->err = extent_inline_from_row(s, row,
							pages[i - pgoff]);
			continue;
		}
		p->kind = META_PAGE_BLOCK;
		p->block = row->block + (i - row->pgoff);
		p->sum = row->sums[i - row->pgoff];
	}
}

int meta_extent_map(struct meta_reader *r, u64 ino, u64 pgoff, u32 nr,
		    struct meta_page *map, void *const *pages)
{
	sqlite3_stmt *s;
	int err;

	memset(map, 0, nr * sizeof(*map));
	err = extent_range(r, ino, pgoff, pgoff + nr - 1, &s);
	if (err)
		return err;
	while ((err = stmt_step(s)) > 0) {
		struct extent_row row;

		err = extent_from_row(s, true, &row);
		if (err)
			break;
		map_row(s, &row, pgoff, nr, map, pages);
	}
	stmt_end(s);
	return err;
}

/* A statement that gives one number. */
static int get_number(struct meta_conn *c, enum meta_stmt id, u64 arg, u64 *ret)
{
	sqlite3_stmt *s;
	int err = conn_stmt(c, id, &s);

	if (err)
		return err;
	if (sqlite3_bind_parameter_count(s))
		bind_u64(s, 1, arg);
	err = first_row(s, -EUCLEAN);
	if (err)
		return err;
	*ret = column_u64(s, 0);
	stmt_end(s);
	return 0;
}

int meta_redo_get(struct meta *m, struct meta_redo *ret)
{
	sqlite3_stmt *s;
	u64 is_there = 0;
	int err = get_number(&m->writer, STMT_REDO_TABLE, 0, &is_there);

	*ret = (struct meta_redo){.nr = 0};
	if (err || !is_there)
		return err;
	err = conn_stmt(&m->writer, STMT_REDO_GET, &s);
	if (err)
		return err;
	err = stmt_step(s);
	if (err > 0) {
		ret->start = column_u64(s, 0);
		ret->nr = column_u64(s, 1);
		ret->salt = column_u64(s, 2);
		ret->seq = column_u64(s, 3);
		err = 0;
	}
	stmt_end(s);
	return err;
}

int meta_extent_count(struct meta_reader *r, u64 ino, u64 *ret_pages)
{
	return get_number(&r->conn, STMT_EXTENT_COUNT, ino, ret_pages);
}

/* ---- at mount ---- */

static int walk_extents(struct meta_reader *r, bool sums,
			int (*fn)(void *arg, u64 ino,
				  const struct extent_row *),
			void *arg)
{
	struct extent_row row;
	u64 ino = 0, next = 0;
	sqlite3_stmt *s;
	int err = conn_stmt(
		&r->conn, sums ? STMT_EXTENT_WALK_SUMS : STMT_EXTENT_WALK, &s);

	if (err)
		return err;
	while ((err = stmt_step(s)) > 0) {
		err = extent_from_row(s, sums, &row);
		/* a tree that goes round has no end */
		if (!err && (column_u64(s, 6) < ino ||
			     (column_u64(s, 6) == ino && row.pgoff < next)))
			err = -EUCLEAN;
		ino = column_u64(s, 6);
		next = row.pgoff + row.npages;
		if (!err)
			err = fn(arg, ino, &row);
		if (err)
			break;
	}
	stmt_end(s);
	return err;
}

int meta_extent_walk(struct meta *m, bool sums,
		     int (*fn)(void *arg, u64 ino, const struct extent_row *),
		     void *arg)
{
	struct meta_reader *r;
	int err = meta_reader_get(m, &r);

	if (err)
		return err;
	err = walk_extents(r, sums, fn, arg);
	meta_reader_put(r);
	return err;
}

int meta_orphan_walk(struct meta *m, int (*fn)(void *arg, u64 ino), void *arg)
{
	u64 ino = 0;
	int err;

	/* Anew for each, so that @fn may delete it. */
	for (;;) {
		err = get_number(&m->writer, STMT_ORPHAN_NEXT, ino, &ino);
		if (err || !ino)
			return err;
		err = fn(arg, ino);
		if (err)
			return err;
	}
}

int meta_orphan_any(struct meta *m, u64 *ret_ino)
{
	return get_number(&m->writer, STMT_ORPHAN_ANY, 0, ret_ino);
}

int meta_max_dentry_id(struct meta *m, u64 *ret_id)
{
	return get_number(&m->writer, STMT_DENTRY_MAX, 0, ret_id);
}

int meta_max_ino(struct meta *m, u64 *ret_ino)
{
	return get_number(&m->writer, STMT_INO_MAX, 0, ret_ino);
}

int meta_counts(struct meta *m, u64 *ret_inodes)
{
	return get_number(&m->writer, STMT_INODE_COUNT, 0, ret_inodes);
}

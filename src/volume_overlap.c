/* SPDX-License-Identifier: MIT */
/*
 * Extents of one file that claim the same pages.
 *
 * Rows that overlap are taken out together and put back in pieces. Where only
 * one of them has a page, it keeps it. Where several have, their contents
 * decide: those whose checksum is wrong are no claim, and if all others say the
 * same the page has that content. If they differ nobody knows which one is the
 * file's, and the page is lost.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sum.h"
#include "volume_check.h"

/* Rows that overlap, each with one before it: they begin in [first, last]. */
struct cluster {
	u64 ino, first, last;
};

struct piece {
	struct extent_row row;
	u8 *page; /* of an inline row whose checksum is right */
};

struct overlaps {
	struct cluster *v;
	size_t nr, max;
	struct cluster now;
	u64 now_nr, now_end;
};

/* ---- finding ---- */

static int add_cluster(struct overlaps *o)
{
	if (o->now_nr < 2)
		return 0;
	if (o->nr == o->max) {
		size_t max = o->max ? o->max * 2 : 16;
		struct cluster *v = realloc(o->v, max * sizeof(*v));

		if (!v)
			return -ENOMEM;
		o->v = v;
		o->max = max;
	}
	o->v[o->nr++] = o->now;
	return 0;
}

static int find_clusters(struct data_check *c, struct overlaps *o)
{
	struct extent_row *row = malloc(sizeof(*row));
	sqlite3_stmt *s = NULL;
	int err = row ? conn_stmt(c->conn, STMT_EXTENT_WALK, &s) : -ENOMEM;

	if (err) {
		free(row);
		return err;
	}
	while ((err = stmt_step(s)) > 0) {
		u64 ino = column_u64(s, 6);

		err = extent_from_row(s, false, row);
		if (err)
			break;
		if (o->now_nr && o->now.ino == ino && row->pgoff < o->now_end) {
			o->now.last = row->pgoff;
			o->now_nr++;
			o->now_end = max(o->now_end, row->pgoff + row->npages);
			continue;
		}
		err = add_cluster(o);
		if (err)
			break;
		o->now = (struct cluster){ino, row->pgoff, row->pgoff};
		o->now_nr = 1;
		o->now_end = row->pgoff + row->npages;
	}
	stmt_end(s);
	free(row);
	return err ? err : add_cluster(o);
}

/* ---- mending ---- */

static void free_pieces(struct piece *p, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		free(p[i].page);
	free(p);
}

static int load_piece(sqlite3_stmt *s, struct piece *p)
{
	int err = extent_from_row(s, true, &p->row);

	p->page = NULL;
	if (err || !(p->row.flags & META_EXTENT_INLINE))
		return err;
	p->page = malloc(PAGE_SIZE);
	if (!p->page)
		return -ENOMEM;
	if (extent_inline_from_row(s, &p->row, p->page)) {
		free(p->page);
		p->page = NULL;
	}
	return 0;
}

static int load_pieces(struct data_check *c, const struct cluster *cl,
		       struct piece **ret, size_t *ret_nr)
{
	struct piece *v = NULL;
	size_t nr = 0;
	sqlite3_stmt *s;
	int err = conn_stmt(c->conn, STMT_EXTENT_RANGE, &s);

	if (err)
		return err;
	bind_u64(s, 1, cl->ino);
	bind_u64(s, 2, cl->first);
	bind_u64(s, 3, cl->last);
	while ((err = stmt_step(s)) > 0) {
		struct piece *more = realloc(v, (nr + 1) * sizeof(*v));

		err = more ? load_piece(s, &more[nr]) : -ENOMEM;
		v = more ? more : v;
		if (err)
			break;
		nr++;
	}
	stmt_end(s);
	if (err) {
		free_pieces(v, nr);
		return err;
	}
	*ret = v;
	*ret_nr = nr;
	return 0;
}

static bool covers(const struct piece *p, u64 pgoff)
{
	return p->row.pgoff <= pgoff && pgoff < p->row.pgoff + p->row.npages;
}

/* Put [pgoff, +nr) of a piece back. */
static int put_back(struct data_check *c, u64 ino, const struct piece *p,
		    u64 pgoff, u64 nr)
{
	struct meta *m = c->v->meta;
	u64 skip = pgoff - p->row.pgoff;

	if (p->row.flags & META_EXTENT_LOST ||
	    (p->row.flags & META_EXTENT_INLINE && !p->page))
		return meta_extent_put_lost(m, ino, pgoff, nr,
					    meta_ignore_freed, NULL);
	if (p->row.flags & META_EXTENT_INLINE)
		return meta_extent_put_inline(m, ino, pgoff, p->page, PAGE_SIZE,
					      meta_ignore_freed, NULL);
	return meta_extent_put(
		m, ino, pgoff, (u32)nr, p->row.block + skip, p->row.flags,
		p->row.flags & META_EXTENT_UNWRITTEN ? NULL
						     : p->row.sums + skip,
		meta_ignore_freed, NULL);
}

/* The content of a page as a piece has it, into @page. Return: is it known? */
static bool content(struct data_check *c, const struct piece *p, u64 pgoff,
		    u8 *page)
{
	if (p->row.flags & META_EXTENT_LOST)
		return false;
	if (p->row.flags & META_EXTENT_UNWRITTEN) {
		memset(page, 0, PAGE_SIZE);
		return true;
	}
	if (p->row.flags & META_EXTENT_INLINE) {
		if (p->page)
			memcpy(page, p->page, PAGE_SIZE);
		return p->page != NULL;
	}
	if (!data_verify(c, &p->row, (u32)(pgoff - p->row.pgoff)))
		return false;
	memcpy(page, c->pages[0], PAGE_SIZE);
	return true;
}

/* Who of those that have a page keeps it: an index, or -1. */
static int owner(struct data_check *c, const struct piece *p, size_t nr,
		 u64 pgoff)
{
	u8 *first = c->pages[1];
	u8 *other = c->pages[2];
	int found = -1;

	for (size_t i = 0; i < nr; i++) {
		if (!covers(&p[i], pgoff))
			continue;
		if (!content(c, &p[i], pgoff, found < 0 ? first : other))
			continue;
		if (found >= 0 && memcmp(first, other, PAGE_SIZE) != 0)
			return -1;
		if (found < 0)
			found = (int)i;
	}
	return found;
}

/* From @pgoff on the same pieces have all pages: up to where, how many? */
static u64 same_until(const struct piece *p, size_t nr, u64 pgoff,
		      size_t *ret_nr, size_t *ret_first, bool *ret_content)
{
	u64 until = UINT64_MAX;

	*ret_nr = 0;
	*ret_content = false;
	for (size_t i = 0; i < nr; i++) {
		u64 end = p[i].row.pgoff + p[i].row.npages;

		if (p[i].row.pgoff > pgoff)
			until = min(until, p[i].row.pgoff);
		if (!covers(&p[i], pgoff))
			continue;
		until = min(until, end);
		*ret_content |= extent_has_sums(p[i].row.flags) ||
				p[i].row.flags & META_EXTENT_LOST;
		if (!(*ret_nr)++)
			*ret_first = i;
	}
	return until;
}

static int settle(struct data_check *c, u64 ino, const struct piece *p,
		  size_t nr, u64 pgoff, u64 until)
{
	int err = 0;

	for (; !err && pgoff < until; pgoff++) {
		int i = owner(c, p, nr, pgoff);

		if (i >= 0) {
			err = put_back(c, ino, &p[i], pgoff, 1);
			continue;
		}
		c->losing++;
		if (!c->opt->discard)
			err = meta_extent_put_lost(c->v->meta, ino, pgoff, 1,
						   meta_ignore_freed, NULL);
	}
	return err;
}

static int put_pieces(struct data_check *c, u64 ino, const struct piece *p,
		      size_t nr)
{
	u64 pgoff = p[0].row.pgoff;
	int err = 0;

	for (u64 until; !err; pgoff = until) {
		bool has_content;
		size_t first = 0;
		size_t n;

		until = same_until(p, nr, pgoff, &n, &first, &has_content);
		if (until == UINT64_MAX)
			break;
		if (n == 1 || (n && !has_content))
			err = put_back(c, ino, &p[first], pgoff, until - pgoff);
		else if (n)
			err = settle(c, ino, p, nr, pgoff, until);
	}
	return err;
}

static int mend_cluster(struct data_check *c, const struct cluster *cl)
{
	char name[RANGE_NAME_MAX];
	struct piece *p;
	size_t nr;
	int err = load_pieces(c, cl, &p, &nr);
	sqlite3_stmt *s;

	if (err)
		return err;
	data_report(c, "%s: several extents overlap",
		    data_name_range(c, cl->ino, cl->first,
				    cl->last - cl->first + 1, name));
	err = conn_stmt(c->conn, STMT_EXTENT_DELETE, &s);
	if (!err) {
		bind_u64(s, 1, cl->ino);
		bind_u64(s, 2, cl->first);
		bind_u64(s, 3, cl->last);
		err = stmt_run(s);
	}
	if (!err)
		err = put_pieces(c, cl->ino, p, nr);
	free_pieces(p, nr);
	return err;
}

int data_mend_overlaps(struct data_check *c)
{
	struct overlaps o = {0};
	int err = find_clusters(c, &o);

	for (size_t i = 0; !err && i < o.nr; i++)
		err = mend_cluster(c, &o.v[i]);
	free(o.v);
	return err;
}

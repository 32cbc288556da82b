/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbformat.h"
#include "vfs.h"

#define USABLE (VFS_PAGE_SIZE - VFS_RESERVED)
#define DEPTH_MAX 24
/* The longest row there can be: an attribute of 64 KiB. */
#define PAYLOAD_MAX (1u << 20)

enum page_type {
	INDEX_INTERIOR = 2,
	TABLE_INTERIOR = 5,
	INDEX_LEAF = 10,
	TABLE_LEAF = 13,
};

/* Name in the schema, the root that a new database has (0: nobody knows),
 * columns, and whether it is a tree of its keys (WITHOUT ROWID, or an index).
 */
static const struct {
	const char *name;
	u32 root;
	int columns;
	bool keyed;
} tables[SALVAGE_NR] = {
	[SALVAGE_SUPER] = {"super", 2, 12, false},
	[SALVAGE_INODE] = {"inode", 3, 13, false},
	[SALVAGE_DENTRY] = {"dentry", 4, 5, false},
	[SALVAGE_SYMLINK] = {"symlink", 8, 2, false},
	[SALVAGE_XATTR] = {"xattr", 9, 3, true},
	[SALVAGE_ORPHAN] = {"orphan", 10, 1, false},
	[SALVAGE_EXTENT] = {"extent", 11, 7, true},
	/* older volumes have it elsewhere, or have none */
	[SALVAGE_REDO] = {"redo", 0, 5, false},
	[SALVAGE_DENTRY_NAME] = {"dentry_name", 5, 3, true},
	[SALVAGE_DENTRY_INO] = {"dentry_ino", 7, 2, true},
};

struct salvager {
	const struct salvage_ops *ops;
	void *arg;
	struct salvage_stat stat;
	int fd, walfd;
	u32 nr_pages;
	u64 *frame; /* of each page: where its content is in the WAL, or 0 */
	u8 *seen;   /* pages that were met */
	u32 roots[SALVAGE_NR];
	bool damaged[SALVAGE_NR];
	u8 *payload; /* PAYLOAD_MAX */
};

/* The keys of a tree that a page may hold: of extents. */
struct bounds {
	u64 ino, pgoff, last_ino, last_pgoff;
};

static const struct bounds everything = {0, 0, INT64_MAX, PGOFF_MAX};

/* ---- the WAL ---- */

/* Is it a WAL of ours whose header is right? */
static bool wal_begin(const u8 h[WAL_HEADER], struct wal_sum *sum)
{
	if ((load_be32(h) & ~1u) != WAL_MAGIC ||
	    load_be32(h + 8) != VFS_PAGE_SIZE)
		return false;
	*sum = wal_sum_add((struct wal_sum){0, 0}, h, 24, load_be32(h) & 1);
	return wal_sum_is(*sum, wal_sum_load(h + 24));
}

static int grow_pages(struct salvager *s, u32 nr)
{
	u64 *frame;

	if (nr <= s->nr_pages)
		return 0;
	frame = realloc(s->frame, ((size_t)nr + 1) * sizeof(*frame));
	if (!frame)
		return -ENOMEM;
	memset(frame + s->nr_pages + 1, 0,
	       (size_t)(nr - s->nr_pages) * sizeof(*frame));
	s->frame = frame;
	s->nr_pages = nr;
	return 0;
}

/* What a transaction in the WAL has written counts once its commit is seen. */
struct wal_txn {
	u32 *pgno;
	u64 *pos;
	size_t nr, max;
};

static int txn_add(struct wal_txn *t, u32 pgno, u64 pos)
{
	if (t->nr == t->max) {
		size_t max = t->max ? t->max * 2 : 256;
		u32 *pgnos = realloc(t->pgno, max * sizeof(*pgnos));
		u64 *poss;

		if (!pgnos)
			return -ENOMEM;
		t->pgno = pgnos;
		poss = realloc(t->pos, max * sizeof(*poss));
		if (!poss)
			return -ENOMEM;
		t->pos = poss;
		t->max = max;
	}
	t->pgno[t->nr] = pgno;
	t->pos[t->nr++] = pos;
	return 0;
}

static int txn_commit(struct salvager *s, struct wal_txn *t, u32 nr_pages)
{
	int err = grow_pages(s, nr_pages);

	s->nr_pages = min(s->nr_pages, nr_pages);
	for (size_t i = 0; !err && i < t->nr; i++) {
		if (t->pgno[i] && t->pgno[i] <= s->nr_pages)
			s->frame[t->pgno[i]] = t->pos[i];
	}
	t->nr = 0;
	return err;
}

/* Return: 1: a good frame, 0: the end. */
static int wal_frame(struct salvager *s, const u8 h[WAL_HEADER],
		     struct wal_sum *sum, u64 pos, u8 *buf)
{
	if (pread(s->walfd, buf, WAL_FRAME_HEADER + VFS_PAGE_SIZE,
		  (off_t)pos) != WAL_FRAME_HEADER + VFS_PAGE_SIZE)
		return 0;
	if (memcmp(buf + 8, h + 16, 8) != 0)
		return 0;
	*sum = wal_sum_add(*sum, buf, 8, load_be32(h) & 1);
	*sum = wal_sum_add(*sum, buf + WAL_FRAME_HEADER, VFS_PAGE_SIZE,
			   load_be32(h) & 1);
	return wal_sum_is(*sum, wal_sum_load(buf + 16));
}

static int read_wal(struct salvager *s)
{
	u8 buf[WAL_FRAME_HEADER + VFS_PAGE_SIZE];
	u8 h[WAL_HEADER];
	struct wal_txn txn = {0};
	struct wal_sum sum;
	u64 pos = WAL_HEADER;
	int err = 0;

	if (s->walfd < 0 || pread(s->walfd, h, sizeof(h), 0) != sizeof(h) ||
	    !wal_begin(h, &sum))
		return 0;
	for (; !err && wal_frame(s, h, &sum, pos, buf); pos += sizeof(buf)) {
		err = txn_add(&txn, load_be32(buf), pos + WAL_FRAME_HEADER);
		/* A commit frame says how large the database is then; no
		 * more than one page of it was added by each frame. */
		if (!err && load_be32(buf + 4))
			err = txn_commit(
				s, &txn,
				min(load_be32(buf + 4),
				    s->nr_pages + (u32)(pos / 4096) + 1));
	}
	free(txn.pgno);
	free(txn.pos);
	return err;
}

/* ---- pages ---- */

/* Return: is the page there and right? */
static bool read_page(struct salvager *s, u32 pgno, u8 *page)
{
	static const u8 none[VFS_RESERVED];
	u8 sum[VFS_RESERVED];
	u64 wal;

	if (!pgno || pgno > s->nr_pages)
		return false;
	wal = s->frame[pgno];
	if (wal)
		return pread(s->walfd, page, VFS_PAGE_SIZE, (off_t)wal) ==
		       VFS_PAGE_SIZE;
	if (pread(s->fd, page, VFS_PAGE_SIZE,
		  (off_t)(pgno - 1) * VFS_PAGE_SIZE) != VFS_PAGE_SIZE)
		return false;
	if (memcmp(page + USABLE, none, sizeof(none)) == 0)
		return true;
	vfs_page_sum(page, sum);
	return memcmp(page + USABLE, sum, sizeof(sum)) == 0;
}

static bool seen(const struct salvager *s, u32 pgno)
{
	return s->seen[pgno / 8] & (1 << (pgno % 8));
}

/* Return: false: it does not exist, or was met before. */
static bool meet(struct salvager *s, u32 pgno)
{
	if (!pgno || pgno > s->nr_pages || seen(s, pgno))
		return false;
	s->seen[pgno / 8] |= (u8)(1 << (pgno % 8));
	return true;
}

/* ---- records ---- */

static s64 get_integer(const u8 *p, size_t len)
{
	u64 v = len && p[0] & 0x80 ? UINT64_MAX : 0;

	for (size_t i = 0; i < len; i++)
		v = v << 8 | p[i];
	return (s64)v;
}

/* A value of serial type @type. Return: false: behind @end. */
static bool get_value(u64 type, const u8 **p, const u8 *end,
		      struct salvage_value *ret)
{
	static const u8 lens[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
	size_t len;

	*ret = (struct salvage_value){.type = SALVAGE_NULL};
	if (type == 10 || type == 11)
		return false;
	len = type < 10 ? lens[type] : (size_t)((type - 12) / 2);
	if (len > (size_t)(end - *p))
		return false;
	ret->data = *p;
	ret->len = len;
	*p += len;
	if (type >= 12) {
		ret->type = type & 1 ? SALVAGE_TEXT : SALVAGE_BLOB;
	} else if (type == 7) {
		ret->type = SALVAGE_REAL;
	} else if (type) {
		ret->type = SALVAGE_INTEGER;
		ret->i =
			type >= 8 ? (s64)type - 8 : get_integer(ret->data, len);
	}
	return true;
}

/* Return: columns, at most @max; 0: it makes no sense. */
static int get_record(const u8 *p, size_t len, struct salvage_value *col,
		      int max)
{
	const u8 *end = p + len;
	const u8 *types_end;
	u64 header;
	size_t n = load_varint(p, end, &header);
	const u8 *body;
	int nr = 0;

	if (!n || header > len || header < n)
		return 0;
	types_end = body = p + header;
	for (p += n; p < types_end; p += n) {
		u64 type;

		n = load_varint(p, types_end, &type);
		if (!n || nr == max || !get_value(type, &body, end, &col[nr]))
			return 0;
		nr++;
	}
	return nr;
}

/* ---- cells ---- */

struct cell {
	u32 child; /* of interior pages */
	u64 rowid;
	const u8 *payload; /* NULL: it has none */
	size_t len;
	size_t have; /* less than len: the rest is damaged */
};

static size_t local_size(size_t len, bool keyed)
{
	size_t most = keyed ? (USABLE - 12) * 64 / 255 - 23 : USABLE - 35;
	size_t least = (USABLE - 12) * 32 / 255 - 23;
	size_t n = least + (len - least) % (USABLE - 4);

	if (len <= most)
		return len;
	return n <= most ? n : least;
}

/* Follow the pages that a payload goes on in. */
static void read_overflow(struct salvager *s, struct cell *c, u32 pgno)
{
	u8 page[VFS_PAGE_SIZE];

	while (c->have < c->len && meet(s, pgno)) {
		size_t n = min(c->len - c->have, (size_t)USABLE - 4);

		if (!read_page(s, pgno, page)) {
			s->stat.damaged_pages++;
			return;
		}
		memcpy(s->payload + c->have, page + 4, n);
		c->have += n;
		pgno = load_be32(page);
	}
}

static bool get_payload(struct salvager *s, struct cell *c, const u8 *p,
			const u8 *end, u64 len, bool keyed)
{
	size_t local;

	if (len > PAYLOAD_MAX)
		return false;
	local = local_size(len, keyed);
	if (local + (local < len ? 4 : 0) > (size_t)(end - p))
		return false;
	memcpy(s->payload, p, local);
	c->payload = s->payload;
	c->len = len;
	c->have = local;
	if (local < len)
		read_overflow(s, c, load_be32(p + local));
	return true;
}

/* Cell @i of a page. Return: false: it makes no sense. */
static bool get_cell(struct salvager *s, const u8 *page, size_t header,
		     u32 type, u32 i, struct cell *c)
{
	bool interior = type == TABLE_INTERIOR || type == INDEX_INTERIOR;
	const u8 *end = page + USABLE;
	const u8 *slot = page + header + (interior ? 12 : 8) + 2 * (size_t)i;
	const u8 *p;
	u64 len = 0;
	size_t n;

	memset(c, 0, sizeof(*c));
	if (slot + 2 > end || load_be16(slot) >= USABLE)
		return false;
	p = page + load_be16(slot);
	if (interior) {
		if (p + 4 > end)
			return false;
		c->child = load_be32(p);
		p += 4;
	}
	if (type != TABLE_INTERIOR) {
		n = load_varint(p, end, &len);
		if (!n)
			return false;
		p += n;
	}
	if (type == TABLE_INTERIOR || type == TABLE_LEAF) {
		n = load_varint(p, end, &c->rowid);
		if (!n)
			return false;
		p += n;
	}
	return type == TABLE_INTERIOR ||
	       get_payload(s, c, p, end, len, type != TABLE_LEAF);
}

/* ---- rows ---- */

static int add_gap(struct salvager *s, enum salvage_table t,
		   const struct bounds *b)
{
	struct salvage_gap gap = {t, b->ino, b->pgoff, b->last_ino,
				  b->last_pgoff};

	s->stat.gaps++;
	s->damaged[t] = true;
	return s->ops->gap(s->arg, &gap);
}

/* A row of table @t. Of one that goes on in a damaged page the key may be
 * known still. */
static int add_row(struct salvager *s, enum salvage_table t,
		   const struct cell *c, const struct bounds *b,
		   struct salvage_row *row)
{
	struct bounds lost = *b;

	row->table = t;
	row->nr = c->have == c->len ? get_record(c->payload, c->len, row->col,
						 SALVAGE_COLUMNS)
				    : 0;
	if (row->nr != tables[t].columns)
		return add_gap(s, t, &lost);
	if (!tables[t].keyed)
		row->col[0] = (struct salvage_value){.type = SALVAGE_INTEGER,
						     .i = (s64)c->rowid};
	s->stat.rows++;
	return s->ops->row(s->arg, row);
}

/* ---- trees ---- */

static bool is_interior(u32 type)
{
	return type == INDEX_INTERIOR || type == TABLE_INTERIOR;
}

static bool is_type(u32 type, bool keyed)
{
	return keyed ? type == INDEX_LEAF || type == INDEX_INTERIOR
		     : type == TABLE_LEAF || type == TABLE_INTERIOR;
}

/* After a row of extents: what comes next has a greater key. */
static void raise_bounds(const struct salvage_row *row, struct bounds *b)
{
	if (row->table != SALVAGE_EXTENT || row->nr < 2)
		return;
	b->ino = (u64)row->col[0].i;
	b->pgoff = (u64)row->col[1].i;
}

/* The key of an interior page's cell bounds the child before it. */
static struct bounds below(enum salvage_table t, const struct cell *c,
			   const struct bounds *b)
{
	struct salvage_value col[SALVAGE_COLUMNS];
	struct bounds ret = *b;

	if (t != SALVAGE_EXTENT || !c->payload || c->have < c->len ||
	    get_record(c->payload, c->len, col, SALVAGE_COLUMNS) < 2)
		return ret;
	ret.last_ino = (u64)col[0].i;
	ret.last_pgoff = (u64)col[1].i;
	return ret;
}

static int walk(struct salvager *s, enum salvage_table t, u32 pgno, int depth,
		const struct bounds *bounds);

static int walk_cells(struct salvager *s, enum salvage_table t, u8 *page,
		      size_t header, int depth, const struct bounds *bounds)
{
	u32 type = page[header];
	u32 nr = load_be16(page + header + 3);
	struct bounds b = *bounds;
	struct salvage_row row = {.table = t};
	struct bounds child;
	struct cell c;
	int err = 0;

	for (u32 i = 0; !err && i < nr; i++) {
		if (!get_cell(s, page, header, type, i, &c))
			return add_gap(s, t, &b);
		/* The row first: memory for payloads is used again. */
		child = below(t, &c, &b);
		row.nr = 0;
		if (c.payload)
			err = add_row(s, t, &c, &b, &row);
		if (!err && is_interior(type) && depth >= 0)
			err = walk(s, t, c.child, depth + 1, &child);
		raise_bounds(&row, &b);
	}
	if (!err && is_interior(type) && depth >= 0)
		err = walk(s, t, load_be32(page + header + 8), depth + 1, &b);
	return err;
}

static int walk(struct salvager *s, enum salvage_table t, u32 pgno, int depth,
		const struct bounds *bounds)
{
	size_t header = pgno == 1 ? 100 : 0;
	u8 *page;
	int err;

	if (depth > DEPTH_MAX || !meet(s, pgno))
		return add_gap(s, t, bounds);
	page = malloc(VFS_PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	if (!read_page(s, pgno, page)) {
		s->stat.damaged_pages++;
		err = add_gap(s, t, bounds);
	} else if (!is_type(page[header], tables[t].keyed)) {
		err = add_gap(s, t, bounds);
	} else {
		err = walk_cells(s, t, page, header, depth, bounds);
	}
	free(page);
	return err;
}

/* ---- the schema ---- */

/* type, name, tbl_name, rootpage, sql */
static void note_root(struct salvager *s, const struct salvage_value col[5])
{
	if (col[1].type != SALVAGE_TEXT || col[3].type != SALVAGE_INTEGER)
		return;
	for (int t = 0; t < SALVAGE_NR; t++) {
		if (strlen(tables[t].name) == col[1].len &&
		    memcmp(tables[t].name, col[1].data, col[1].len) == 0)
			s->roots[t] = (u32)col[3].i;
	}
}

/* The schema is short; where it is no leaf, or damaged, the roots are taken to
 * be those of a new database. */
static void find_roots(struct salvager *s)
{
	struct salvage_value col[5];
	u8 page[VFS_PAGE_SIZE];
	struct cell c;

	for (int t = 0; t < SALVAGE_NR; t++)
		s->roots[t] = tables[t].root;
	if (!meet(s, 1) || !read_page(s, 1, page) || page[100] != TABLE_LEAF)
		return;
	for (u32 i = 0; i < load_be16(page + 103); i++) {
		if (get_cell(s, page, 100, TABLE_LEAF, i, &c) &&
		    c.have == c.len &&
		    get_record(c.payload, c.len, col, 5) == 5)
			note_root(s, col);
	}
}

/* ---- pages that no tree led to ---- */

/* Meet all free pages. Return: are they all known? */
static bool meet_free(struct salvager *s)
{
	u8 page[VFS_PAGE_SIZE];
	u32 trunk;
	u32 left;

	if (!read_page(s, 1, page))
		return false;
	left = load_be32(page + 36);
	for (trunk = load_be32(page + 32); trunk; trunk = load_be32(page)) {
		u32 nr;

		if (!left-- || !meet(s, trunk) || !read_page(s, trunk, page))
			return false;
		nr = load_be32(page + 4);
		if (nr > USABLE / 4 - 2 || nr > left)
			return false;
		left -= nr;
		for (u32 i = 0; i < nr; i++)
			(void)meet(s, load_be32(page + 8 + 4 * i));
	}
	return left == 0;
}

static bool table_of(const struct salvage_value *col, int nr, bool keyed,
		     enum salvage_table *ret)
{
	for (int t = 0; t < SALVAGE_NR; t++) {
		if (tables[t].columns != nr || tables[t].keyed != keyed ||
		    t == SALVAGE_DENTRY_INO || t == SALVAGE_REDO)
			continue;
		if (t == SALVAGE_XATTR && col[2].type != SALVAGE_BLOB)
			continue;
		if (t == SALVAGE_DENTRY && (col[0].type != SALVAGE_NULL ||
					    col[2].type != SALVAGE_BLOB))
			continue;
		*ret = (enum salvage_table)t;
		return true;
	}
	return false;
}

/* A page of a tree by itself: its cells tell of which. */
static int walk_alone(struct salvager *s, u8 *page)
{
	struct salvage_value col[SALVAGE_COLUMNS];
	enum salvage_table t;
	u32 type = page[0];
	struct cell c;
	int nr;

	if ((type != TABLE_LEAF && type != INDEX_LEAF &&
	     type != INDEX_INTERIOR) ||
	    !get_cell(s, page, 0, type, 0, &c) || c.have < c.len)
		return 0;
	nr = get_record(c.payload, c.len, col, SALVAGE_COLUMNS);
	if (!table_of(col, nr, type != TABLE_LEAF, &t) || !s->damaged[t])
		return 0;
	return walk_cells(s, t, page, 0, -1, &everything);
}

static int walk_unmet(struct salvager *s)
{
	u8 page[VFS_PAGE_SIZE];
	int err = 0;

	for (u32 pgno = 2; !err && pgno <= s->nr_pages; pgno++) {
		if (!meet(s, pgno) || !read_page(s, pgno, page))
			continue;
		err = walk_alone(s, page);
	}
	return err;
}

/* ---- all of it ---- */

static int run(struct salvager *s)
{
	int err = 0;

	find_roots(s);
	for (int t = 0; !err && t < SALVAGE_NR; t++) {
		if (s->roots[t])
			err = walk(s, (enum salvage_table)t, s->roots[t], 0,
				   &everything);
	}
	s->stat.free_known = meet_free(s);
	if (!err && s->stat.free_known)
		err = walk_unmet(s);
	s->stat.pages = s->nr_pages;
	return err;
}

static int start(struct salvager *s, const char *path)
{
	struct stat st;
	char *wal;
	int err;

	s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return -errno;
	if (asprintf(&wal, "%s-wal", path) < 0)
		return -ENOMEM;
	s->walfd = open(wal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	free(wal);

	s->frame = calloc(1, sizeof(*s->frame));
	s->payload = malloc(PAYLOAD_MAX);
	if (!s->frame || !s->payload)
		return -ENOMEM;
	err = grow_pages(s, (u32)min((u64)st.st_size / VFS_PAGE_SIZE,
				     (u64)UINT32_MAX - 1));
	if (!err)
		err = read_wal(s);
	if (err)
		return err;
	s->seen = calloc(1, s->nr_pages / 8 + 1);
	return s->seen ? 0 : -ENOMEM;
}

int salvage(const char *path, const struct salvage_ops *ops, void *arg,
	    struct salvage_stat *ret)
{
	struct salvager s = {.ops = ops, .arg = arg, .fd = -1, .walfd = -1};
	int err = start(&s, path);

	if (!err)
		err = run(&s);
	*ret = s.stat;
	if (s.fd >= 0)
		(void)close(s.fd);
	if (s.walfd >= 0)
		(void)close(s.walfd);
	free(s.frame);
	free(s.seen);
	free(s.payload);
	return err;
}

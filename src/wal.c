/* SPDX-License-Identifier: MIT */
/*
 * What can be concluded from a log with a frame in it that does not verify.
 *
 * A frame has the salts of its log (SQLite chooses new ones whenever it begins
 * to write from the front again) and a sum, which goes on from the sum that
 * stands in the frame before it. So frames behind a broken one can be verified
 * too: what stands in one continues what stands in the other.
 *
 * Four things are made true elsewhere:
 *
 *	a. No frame of a transaction is written before the last one's COMMIT
 *	   has been synced: nearly all are synced by meta_commit() itself; the
 *	   VFS sees to the others (vfs.c, sync_last_commit()).
 *	b. What a killed daemon left is synced before anything is appended to
 *	   it (meta_open()).
 *	c. Frames go to meta.db only when they are synced, and a log is begun
 *	   anew, with a header that is synced before the first frame, only when
 *	   all of it is in meta.db and that is synced: SQLite does so with
 *	   synchronous=NORMAL.
 *	d. Each commit writes its number, to the one row of super: numbers grow
 *	   by one, so each has its frame of that page.
 *
 * So when the power goes, only one transaction is in doubt, the last; of its
 * frames any sectors may be there, and all before them is. Let N be the number
 * of the last commit before the first broken frame, and K the one in meta.db.
 * It is damage, and not a power cut, if
 *
 *	1. a frame verifies behind a commit frame that is the broken one or
 *	   comes after it: by (a) that commit was durable then, all of it;
 *	2. a frame behind the broken one has commit N + 2 or a later one, by
 *	   the same reason;
 *	3. meta.db has a commit behind N: by (c) it was durable in this log. Or
 *	   in a log in which no commit is whole, frames have one that meta.db
 *	   has or had;
 *	4. the header is broken, but frames continue one another. It lies in
 *	   one sector and is synced before they are written;
 *	5. what the last commit frame says of how large meta.db is differs from
 *	   what the first page says, as it is then: SQLite reads by the one and
 *	   writes by the other, and never moves such a log.
 *
 * Are there frames for which this is not true, since they are what is left of
 * another course of events with the same salts: of a transaction that was
 * rolled back, or torn by a power cut, and then partly overwritten? Such a
 * remainder is of one transaction each, that was never durable; its number was
 * given again, so it is N + 1 at most, and no verified frame follows its COMMIT
 * by (a). Were there another, a recovery must have found an earlier end than
 * what was durable, which is damage: it was refused, or wal_cut() has removed
 * what was behind.
 *
 * A commit frame that is broken itself counts for (1) if its header does not
 * cross a sector, for then it is of one time; or if the frame behind it
 * continues the sum that it should have: only the sum in it is damaged then.
 *
 * What is not noticed: damage within the last transaction, of which meta.db has
 * nothing yet. It cannot be told from a power cut, and leaves the commit before
 * it, unless the redo log has records on top of it (src/redo.h). And a log that
 * lost its end, or all of it, while nothing of that was moved to meta.db.
 *
 * Going back to N is sound only when meta.db has nothing that is newer, for
 * what is left of the log is read instead of meta.db's pages. If it has (3),
 * meta.db alone is the better choice, and all of it when it was not damaged
 * while frames were being moved.
 */
#include "config.h"

#include "wal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbformat.h"
#include "vfs.h"

#define LOG "meta.db-wal"
#define FRAME (WAL_FRAME_HEADER + VFS_PAGE_SIZE)
#define SECTOR 512
/* The first page has the header of the file. */
#define HEADER_PGNO 1
/* Where the one row of super is: its table was made first. */
#define SUPER_PGNO 2
#define SUPER_COMMIT_COLUMN 7

struct frame {
	u8 header[WAL_FRAME_HEADER];
	u8 page[VFS_PAGE_SIZE];
};

/* A frame that has been looked at, or the header of the log. */
struct seen {
	struct wal_sum stored;
	struct wal_sum computed; /* from what stands before it */
	bool commit;
	bool verifies;
	bool one_sector; /* its header is within one */
};

/* A commit in front of the first broken frame. */
struct end {
	u64 frames; /* up to it; 0: there is none */
	u64 no;	    /* the last that is known up to there; 0: none is */
	u32 pages;  /* of meta.db, by its frame */
	u32 size;   /* the same by the first page; 0: not known */
};

struct walk {
	int fd;
	u64 nr; /* frames */
	bool big;
	bool header_ok;
	u8 salts[8];
	struct seen last;

	u64 in_db;   /* commit of meta.db; 0: it cannot be read */
	u32 db_size; /* pages, by its header; 0: it cannot be read */

	/* before the first broken frame */
	bool broken;
	struct end good, before; /* the last commit there, and the one before */
	bool has_first;		 /* the first page is among them: */
	u32 size;		 /* as end.size, by the last of these */
	u64 pending;		 /* the number that a later frame has */
	u64 broken_at;		 /* which it is */

	/* behind good */
	bool later;	       /* rule 1 */
	u64 least_no, most_no; /* numbers in frames that verify */
	u64 whole_no;	       /* of them, with their commit frame */
	u64 nr_verified;
};

/* ---- the number in a page of super ---- */

static size_t size_of_type(u64 type)
{
	static const u8 sizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};

	if (type < ARRAY_SIZE(sizes))
		return sizes[type];
	return type > 2 * VFS_PAGE_SIZE ? VFS_PAGE_SIZE
					: (size_t)(type - 12) / 2;
}

static u64 get_int(u64 type, const u8 *p)
{
	u64 v = type == 9;

	for (size_t i = 0; i < size_of_type(type); i++)
		v = v << 8 | p[i];
	return v;
}

/* A record's column that is a number. Return: 0 when it has none there. */
static u64 get_column(const u8 *record, const u8 *end, unsigned column)
{
	u64 header, type = 0;
	size_t n = load_varint(record, end, &header);
	const u8 *p = record + n;
	const u8 *value;

	if (!n || header > (size_t)(end - record))
		return 0;
	value = record + header;
	for (unsigned i = 0;; i++) {
		n = load_varint(p, record + header, &type);
		if (!n || size_of_type(type) > (size_t)(end - value))
			return 0;
		if (i == column)
			break;
		p += n;
		value += size_of_type(type);
	}
	return type <= 9 && type != 7 ? get_int(type, value) : 0;
}

/* Source: SQLite's file format, 1.6, B-tree Pages: a leaf of a table, with one
 * row. Return: the commit's number, 0: it is no such page. */
static u64 super_commit(const u8 *page)
{
	const u8 *end = page + VFS_PAGE_SIZE - VFS_RESERVED;
	const u8 *cell = page + (page[8] << 8 | page[9]);
	u64 len, rowid;
	size_t n;

	if (page[0] != 0x0d || page[3] || page[4] != 1 || cell < page + 10 ||
	    cell >= end)
		return 0;
	n = load_varint(cell, end, &len);
	cell += n;
	if (!n || !(n = load_varint(cell, end, &rowid)) || rowid != 1)
		return 0;
	cell += n;
	if (len > (size_t)(end - cell))
		return 0;
	return get_column(cell, cell + len, SUPER_COMMIT_COLUMN);
}

static int read_at(int fd, void *buf, size_t len, u64 pos)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (u8 *)buf + done, len - done,
				  (off_t)(pos + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* Source: SQLite's file format, 1.3, The Database Header. Return: pages, 0: the
 * header says that it does not know. */
static u32 header_size(const u8 *page)
{
	return memcmp(page + 24, page + 92, 4) == 0 ? load_be32(page + 28) : 0;
}

static bool read_page(int fd, u64 pgno, u8 page[VFS_PAGE_SIZE])
{
	static const u8 none[VFS_RESERVED];
	const u8 *stored = page + VFS_PAGE_SIZE - VFS_RESERVED;
	u8 sum[VFS_RESERVED];

	if (read_at(fd, page, VFS_PAGE_SIZE, (pgno - 1) * VFS_PAGE_SIZE))
		return false;
	vfs_page_sum(page, sum);
	return memcmp(stored, none, sizeof(none)) == 0 ||
	       memcmp(stored, sum, sizeof(sum)) == 0;
}

/* What SQLite would find without the log. If that makes no sense, it will say
 * so itself. */
static void look_at_db(struct walk *w, int dirfd)
{
	u8 page[VFS_PAGE_SIZE];
	int fd = openat(dirfd, "meta.db", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	if (read_page(fd, SUPER_PGNO, page))
		w->in_db = super_commit(page);
	if (read_page(fd, HEADER_PGNO, page))
		w->db_size = header_size(page);
	(void)close(fd);
}

/* ---- frames ---- */

static void look_at_header(struct walk *w, const u8 h[WAL_HEADER])
{
	struct wal_sum sum;

	w->big = load_be32(h) & 1;
	sum = wal_sum_add((struct wal_sum){0, 0}, h, 24, w->big);
	w->last.stored = wal_sum_load(h + 24);
	w->last.computed = w->last.stored;
	w->header_ok = (load_be32(h) & ~1u) == WAL_MAGIC &&
		       load_be32(h + 8) == VFS_PAGE_SIZE &&
		       wal_sum_is(sum, w->last.stored);
	w->last.verifies = w->header_ok;
	memcpy(w->salts, h + 16, sizeof(w->salts));
	if (!w->header_ok)
		w->big = false;
}

static struct wal_sum sum_of(const struct walk *w, struct wal_sum before,
			     const struct frame *f)
{
	before = wal_sum_add(before, f->header, 8, w->big);
	return wal_sum_add(before, f->page, VFS_PAGE_SIZE, w->big);
}

/* Numbers of commits that are not in what SQLite finds. */
static void note_number(struct walk *w, u64 no)
{
	w->least_no = w->least_no ? min(w->least_no, no) : no;
	w->most_no = max(w->most_no, no);
}

/* In front of the first broken one. @pages: not 0 in a commit frame. */
static void note_good(struct walk *w, u64 i, u32 pages, u64 no)
{
	w->pending = no ? no : w->pending;
	if (!pages)
		return;
	w->before = w->good;
	w->good.frames = i + 1;
	w->good.no = w->pending ? w->pending : w->good.no;
	w->good.pages = pages;
	w->good.size = w->has_first ? w->size : w->db_size;
	w->pending = 0;
}

/* Was the commit frame before this one, which verifies, written as one? */
static bool is_sure(const struct seen *last, bool continues_stored)
{
	return last->commit &&
	       (last->verifies || !continues_stored || last->one_sector);
}

static void note_behind(struct walk *w, u64 i, bool continues_stored,
			bool commit, u64 no)
{
	w->nr_verified++;
	if (w->header_ok && i > w->broken_at &&
	    is_sure(&w->last, continues_stored))
		w->later = true;
	if (no)
		note_number(w, no);
	w->pending = no ? no : w->pending;
	if (commit) {
		w->whole_no = max(w->whole_no, w->pending);
		w->pending = 0;
	}
}

/* Does it go on from the frame before, be it that the sum that stands there is
 * what is damaged? */
static bool verifies(const struct walk *w, const struct frame *f,
		     const struct seen *now)
{
	if (!load_be32(f->header))
		return false;
	if (w->header_ok &&
	    memcmp(f->header + 8, w->salts, sizeof(w->salts)) != 0)
		return false;
	if (wal_sum_is(now->computed, now->stored))
		return true;
	return !wal_sum_is(w->last.computed, w->last.stored) &&
	       wal_sum_is(sum_of(w, w->last.computed, f), now->stored);
}

static void look_at_frame(struct walk *w, u64 i, const struct frame *f)
{
	u64 pos = WAL_HEADER + i * FRAME;
	u32 pgno = load_be32(f->header), pages = load_be32(f->header + 4);
	struct seen now = {
		.stored = wal_sum_load(f->header + 16),
		.computed = sum_of(w, w->last.stored, f),
		.commit = pages != 0,
		.one_sector =
			pos / SECTOR == (pos + WAL_FRAME_HEADER - 1) / SECTOR,
	};
	bool continues = wal_sum_is(now.computed, now.stored);
	u64 no = 0;

	now.verifies = verifies(w, f, &now);
	if (now.verifies && pgno == SUPER_PGNO)
		no = super_commit(f->page);
	if (now.verifies && pgno == HEADER_PGNO && !w->broken) {
		w->has_first = true;
		w->size = header_size(f->page);
	}

	if (!w->broken && !now.verifies) {
		w->broken = true;
		w->broken_at = i;
		if (w->pending)
			note_number(w, w->pending);
	}
	if (!w->broken)
		note_good(w, i, pages, no);
	else if (now.verifies)
		note_behind(w, i, continues, now.commit, no);
	w->last = now;
}

static int walk_frames(struct walk *w)
{
	struct frame f;
	int err = 0;

	for (u64 i = 0; !err && i < w->nr; i++) {
		err = read_at(w->fd, &f, sizeof(f), WAL_HEADER + i * FRAME);
		if (!err)
			look_at_frame(w, i, &f);
	}
	if (!w->broken && w->pending)
		note_number(w, w->pending);
	return err;
}

/* Frames that continue one another, below a header that says nothing: by one
 * order of bytes or the other. */
static int walk_headless(struct walk *w)
{
	struct walk other = *w;
	int err;

	w->broken = true;
	err = walk_frames(w);
	if (err || w->nr_verified)
		return err;
	other.broken = true;
	other.big = true;
	err = walk_frames(&other);
	*w = other;
	return err;
}

/* ---- conclusions ---- */

/* Rule 5, of the last commit alone: before the first page is there anew, a log
 * may have commits from when meta.db was larger or smaller than it is now. */
static bool is_wrong_size(const struct end *e)
{
	return e->frames && e->size && e->pages != e->size;
}

static struct wal_report conclude(const struct walk *w)
{
	bool wrong = is_wrong_size(&w->good);
	const struct end *end = wrong ? &w->before : &w->good;
	u64 commit = end->no ? end->no : w->in_db;
	u64 least = w->later && end->no ? end->no + 1 : 0;
	struct wal_report r = {.header = !w->header_ok, .commit = commit};

	if (!w->header_ok) {
		r.damaged = w->nr_verified > 0;
		r.seen = max(w->whole_no, w->in_db);
		r.commit = w->in_db;
		return r;
	}
	r.damaged = wrong || w->later || (commit && w->most_no >= commit + 2) ||
		    w->in_db > commit ||
		    (!end->no && w->least_no && w->least_no <= w->in_db);
	if (w->most_no)
		least = max(least, w->most_no - 1);
	r.seen = max(max(w->whole_no, w->in_db), max(least, w->good.no));
	r.keep = WAL_HEADER + end->frames * FRAME;
	if (!end->frames || w->in_db > commit)
		r.keep = 0;
	r.commit = max(commit, w->in_db);
	return r;
}

static int inspect(struct walk *w, int dirfd, u64 size, struct wal_report *ret)
{
	u8 header[WAL_HEADER];
	int err;

	if (size <= WAL_HEADER)
		return 0;
	err = read_at(w->fd, header, sizeof(header), 0);
	if (err)
		return err;
	w->nr = (size - WAL_HEADER) / FRAME;
	look_at_db(w, dirfd);
	look_at_header(w, header);
	err = w->header_ok ? walk_frames(w) : walk_headless(w);
	if (!err)
		*ret = conclude(w);
	return err;
}

int wal_inspect(int dirfd, struct wal_report *ret)
{
	struct walk w = {
		.fd = openat(dirfd, LOG, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
	struct wal_report r = {.damaged = false};
	struct stat st;
	int err;

	if (w.fd < 0 && errno != ENOENT)
		return -errno;
	if (w.fd >= 0) {
		err = fstat(w.fd, &st) < 0
			      ? -errno
			      : inspect(&w, dirfd, (u64)st.st_size, &r);
		(void)close(w.fd);
		if (err)
			return err;
	}
	*ret = r;
	return 0;
}

void wal_describe(const struct wal_report *r, char text[WAL_TEXT_MAX])
{
	char where[64] = "in its header";

	if (!r->header)
		(void)snprintf(where, sizeof(where), "behind commit %llu",
			       (unsigned long long)r->commit);
	(void)snprintf(text, WAL_TEXT_MAX,
		       LOG " is damaged %s, and commits up to %llu at least "
			   "were in it",
		       where, (unsigned long long)r->seen);
}

/* ---- going back ---- */

static int copy_all(int from, int to, u64 len)
{
	u8 buf[16384];
	int err = 0;

	for (u64 pos = 0; !err && pos < len;) {
		size_t n = (size_t)min(len - pos, (u64)sizeof(buf));

		err = read_at(from, buf, n, pos);
		if (!err && pwrite(to, buf, n, (off_t)pos) != (ssize_t)n)
			err = -EIO;
		pos += n;
	}
	return err;
}

/* It is of use only to who wants to look: without room there is none. */
static void keep_aside(int dirfd, int fd, u64 len)
{
	int to = openat(dirfd, WAL_ASIDE,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
			0600);

	if (to < 0)
		return;
	if (copy_all(fd, to, len))
		(void)unlinkat(dirfd, WAL_ASIDE, 0);
	(void)close(to);
}

int wal_cut(int dirfd, const struct wal_report *r)
{
	int fd = openat(dirfd, LOG, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0)
		keep_aside(dirfd, fd, (u64)st.st_size);
	if (ftruncate(fd, (off_t)r->keep) < 0 || fsync(fd) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

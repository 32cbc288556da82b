/* SPDX-License-Identifier: MIT */
/*
 * Repairing a volume that nobody has mounted.
 *
 * If SQLite can read meta.db, everything is mended in one transaction of it.
 * If not, what can be read is put into a new database, meta.db.new, and mended
 * there; then
 *
 *	meta.db.new is whole and synced
 *	meta.db.new -> meta.db.repaired		from here on it counts
 *	meta.db, meta.db-wal -> meta.db.damaged, meta.db.damaged-wal
 *	meta.db.repaired -> meta.db
 *
 * and whoever opens the volume next goes on where this was cut off: see
 * volume_finish_repair(). So a repair that is killed leaves the volume as it
 * was, or repaired. (A WAL must never stand beside a database that it does not
 * belong to, since SQLite would apply it.) Blocks of `data` are not written
 * to, but for its first, which has nothing that meta.db has not.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "freemap.h"
#include "redo.h"
#include "sum.h"
#include "volume_check.h"
#include "wal.h"

#define NEW "meta.db.new"
#define REPAIRED VOLUME_REPAIRED
#define DAMAGED "meta.db.damaged"

/* Pages that are read to see whether data and meta.db belong together. */
#define PROBE_PAGES 256

struct repair {
	struct volume *v;
	const struct volume_check_options *opt;
	struct data_check data;
	struct meta_salvage *salvage; /* NULL: meta.db is mended in place */
	struct meta_redo log;
	bool log_is_shared;
	long faults;
	long losing;
	char *err;
	size_t errlen;
};

static void __printf(2, 3) report(struct repair *r, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	r->faults++;
	r->opt->report(r->opt->arg, line);
}

/* ---- one database in the place of another ---- */

static bool exists(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int move(int dirfd, const char *from, const char *to)
{
	return renameat(dirfd, from, dirfd, to) < 0 ? -errno : 0;
}

static int set_aside(int dirfd)
{
	int err = 0;

	if (exists(dirfd, "meta.db")) {
		(void)unlinkat(dirfd, DAMAGED "-wal", 0);
		err = move(dirfd, "meta.db", DAMAGED);
	}
	if (!err && exists(dirfd, "meta.db-wal"))
		err = move(dirfd, "meta.db-wal", DAMAGED "-wal");
	(void)unlinkat(dirfd, "meta.db-shm", 0);
	freemap_remove(dirfd);
	return err;
}

int volume_finish_repair(struct volume *v, char *err, size_t errlen)
{
	int code;

	if (!exists(v->dirfd, REPAIRED))
		return 0;
	if (v->readonly)
		return complain(err, errlen, -EUCLEAN,
				"its repair was cut off; folioctl check "
				"--repair goes on with it");
	code = set_aside(v->dirfd);
	if (!code && fsync(v->dirfd) < 0)
		code = -errno;
	if (!code)
		code = move(v->dirfd, REPAIRED, "meta.db");
	if (!code && fsync(v->dirfd) < 0)
		code = -errno;
	return code ? complain(err, errlen, code,
			       "going on with its repair: %s", strerror(-code))
		    : 0;
}

static void remove_new(int dirfd)
{
	(void)unlinkat(dirfd, NEW, 0);
	(void)unlinkat(dirfd, NEW "-wal", 0);
	(void)unlinkat(dirfd, NEW "-shm", 0);
}

/* Nobody else's while it is made, as meta.db is. */
static int make_new(struct volume *v)
{
	int fd;

	remove_new(v->dirfd);
	fd = openat(v->dirfd, NEW,
		    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return meta_create_bare(v->path, NEW);
}

/* It is closed: all of it is in the one file. */
static int sync_new(struct volume *v)
{
	struct stat st;
	int fd;
	int err = 0;

	if (fstatat(v->dirfd, NEW "-wal", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_size)
		return -EIO;
	fd = openat(v->dirfd, NEW, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

static int install_new(struct repair *r)
{
	struct volume *v = r->v;
	int err = sync_new(v);

	(void)unlinkat(v->dirfd, NEW "-wal", 0);
	(void)unlinkat(v->dirfd, NEW "-shm", 0);
	if (!err)
		err = move(v->dirfd, NEW, REPAIRED);
	if (!err && fsync(v->dirfd) < 0)
		err = -errno;
	return err ? err : volume_finish_repair(v, r->err, r->errlen);
}

/* ---- which database ---- */

static void count_report(void *arg, const char *line)
{
	struct repair *r = arg;

	r->faults++;
	r->opt->report(r->opt->arg, line);
}

/* Open meta.db if SQLite can read all of it. */
static int open_sound(struct repair *r)
{
	int err = meta_open_bare(r->v->path, "meta.db", &r->v->meta);

	if (err)
		return err;
	if (meta_is_sound(r->v->meta, count_report, r))
		return 0;
	(void)meta_close(r->v->meta);
	r->v->meta = NULL;
	return -EUCLEAN;
}

static int open_new(struct repair *r)
{
	char *path;
	int err = make_new(r->v);

	if (!err)
		err = meta_open_bare(r->v->path, NEW, &r->v->meta);
	if (!err)
		err = meta_begin(r->v->meta);
	if (err)
		return err;
	if (asprintf(&path, "%s/meta.db", r->v->path) < 0)
		return -ENOMEM;
	err = meta_salvage(r->v->meta, path, r->opt->note, r->opt->arg,
			   &r->salvage);
	free(path);
	return err;
}

/* Is what SQLite said about meta.db a matter of what is in it? */
static bool is_damage(int err)
{
	return err == -EUCLEAN || err == -EIO || err == -EINVAL;
}

/*
 * A damaged log is cut off where it can be read no further, before anybody
 * opens it. What the commits behind that overwrote is lost, as the check of
 * what is there then finds.
 */
static int go_back(struct repair *r)
{
	char text[WAL_TEXT_MAX];
	struct wal_report log;
	int err = wal_inspect(r->v->dirfd, &log);

	if (err || !log.damaged)
		return err;
	wal_describe(&log, text);
	report(r, "%s; %s commit %llu", text,
	       log.seen > log.commit ? "going back to"
				     : "all are in meta.db, at",
	       (unsigned long long)log.commit);
	r->losing++;
	return r->opt->preen ? -EUCLEAN : wal_cut(r->v->dirfd, &log);
}

static int open_meta(struct repair *r)
{
	char why[256] = "";
	int err = meta_header_check(r->v->path, why, sizeof(why));

	if (err && !is_damage(err))
		return complain(r->err, r->errlen, err, "%s", why);
	if (err)
		report(r, "%s", why);
	else
		err = open_sound(r);
	if (!err) {
		err = meta_begin(r->v->meta);
	} else if (is_damage(err)) {
		r->losing++;
		if (!r->faults)
			report(r, "meta.db is damaged");
		err = r->opt->preen ? -EUCLEAN : open_new(r);
	}
	return err ? complain(r->err, r->errlen, err, "meta.db: %s",
			      strerror(-err))
		   : 0;
}

/* ---- super, and the first block of data ---- */

static void mend_super(struct meta_super *s)
{
	s->version = META_VERSION;
	s->block_size = PAGE_SIZE;
	if (s->next_ino <= META_ROOT_INO || s->next_ino > META_ID_GIVEN)
		s->next_ino = META_ROOT_INO + 1;
	if (s->nr_blocks > PGOFF_MAX)
		s->nr_blocks = 0;
	if (s->commit_no >= META_ID_GIVEN)
		s->commit_no = 1;
	if (s->mount_epoch >= META_ID_GIVEN)
		s->mount_epoch = 1;
}

/* Inodes whose rows are lost have numbers too. */
static int raise_next_ino(struct meta_conn *conn)
{
	return conn_exec(
		conn,
		"UPDATE super SET next_ino=max(next_ino,1+" META_MAX_INO_SQL
		")");
}

static int put_super(struct repair *r, struct meta_super *s)
{
	struct meta_conn *conn = &r->v->meta->writer;
	int err;

	r->losing++;
	mend_super(s);
	err = conn_exec(conn, "DELETE FROM super");
	if (!err)
		err = super_store(conn, s);
	return err ? err : raise_next_ino(conn);
}

static int check_super(struct repair *r, const u8 uuid[16], bool uuid_ok,
		       struct meta_super *s)
{
	int err = super_load(&r->v->meta->writer, s);

	if (err == -ENODATA || err == -EUCLEAN) {
		report(r, "super: its row is lost, and with it the bound of "
			  "the volume's size");
		memset(s, 0, sizeof(*s));
		s->mount_epoch = 1;
		if (uuid_ok)
			memcpy(s->uuid, uuid, sizeof(s->uuid));
		else if (getrandom(s->uuid, sizeof(s->uuid), 0) !=
			 sizeof(s->uuid))
			return -EIO;
		return put_super(r, s);
	}
	if (err)
		return err;
	if (s->incompat & ~META_INCOMPAT_KNOWN)
		return complain(r->err, r->errlen, -ENOTSUP,
				"it uses features that this program does not "
				"know (%#llx)",
				(unsigned long long)s->incompat);
	if (meta_super_is_sane(s))
		return 0;
	report(r, "super: impossible values");
	return put_super(r, s);
}

/* Is there a page in data that is what meta.db says? */
struct probe {
	bool found;
	u32 tried;
};

static int probe_row(struct data_check *c, struct probe *p,
		     const struct extent_row *row)
{
	if (!extent_has_sums(row->flags) || !extent_has_blocks(row->flags))
		return 0;
	p->tried++;
	p->found = data_verify(c, row, 0);
	return p->found || p->tried >= PROBE_PAGES ? 1 : 0;
}

static int probe_data(struct data_check *c, struct probe *p)
{
	struct extent_row *row = malloc(sizeof(*row));
	sqlite3_stmt *s = NULL;
	int err = row ? conn_stmt(c->conn, STMT_EXTENT_WALK_SUMS, &s) : -ENOMEM;

	memset(p, 0, sizeof(*p));
	if (err) {
		free(row);
		return err;
	}
	while ((err = stmt_step(s)) > 0) {
		if (!extent_from_row(s, true, row) && probe_row(c, p, row))
			break;
	}
	stmt_end(s);
	free(row);
	return err < 0 ? err : 0;
}

/* The first block of data is not what super says: is the rest? */
static int mend_header(struct repair *r, bool magic_ok,
		       const struct meta_super *s)
{
	struct probe p;
	int err = probe_data(&r->data, &p);

	if (err)
		return err;
	if (!p.found && r->v->data_blocks && (p.tried || magic_ok))
		return complain(r->err, r->errlen, -EUCLEAN,
				magic_ok ? "data and meta.db are of different "
					   "volumes"
					 : "data is damaged or another "
					   "program's: nothing in it is what "
					   "was written");
	report(r, "data: its first block is damaged");
	if (r->opt->preen)
		return 0;
	err = volume_write_header(r->v->data, s->uuid);
	return err ? err
		   : r->v->data->ops->size(r->v->data, &r->v->data_blocks);
}

static int repair_super(struct repair *r)
{
	struct meta_super s;
	u8 uuid[16];
	int err = volume_read_header(r->v->data, uuid);
	bool ok = !err;

	if (err && err != -EUCLEAN)
		return err;
	err = check_super(r, uuid, ok, &s);
	if (err)
		return err;
	r->v->max_blocks = s.nr_blocks;
	return ok && memcmp(uuid, s.uuid, sizeof(uuid)) == 0
		       ? 0
		       : mend_header(r, ok, &s);
}

/* ---- all of it ---- */

static int open_data(struct repair *r)
{
	struct volume *v = r->v;
	int err = bdev_file_open(v->dirfd, "data", O_RDWR, &v->data);

	if (!err)
		err = v->data->ops->size(v->data, &v->data_blocks);
	if (err == -ENOENT)
		return complain(r->err, r->errlen, err,
				"data is missing; an empty file of that name "
				"would say that all content is lost");
	return err ? complain(r->err, r->errlen, err, "data: %s",
			      strerror(-err))
		   : 0;
}

static int mend_rows(struct repair *r)
{
	struct meta_mend mend = {.report = r->opt->report, .arg = r->opt->arg};
	long faults = meta_mend(r->v->meta, &mend);

	if (faults < 0)
		return (int)faults;
	r->faults += faults;
	r->losing += mend.losing;
	return 0;
}

static int fill_gaps(struct repair *r)
{
	u64 pages;
	int err;

	if (!r->salvage)
		return 0;
	err = meta_salvage_fill(r->salvage, &pages);
	if (!err && pages)
		report(r,
		       "meta.db: extents are missing; %llu pages of files may "
		       "have been in them and are lost",
		       (unsigned long long)pages);
	return err;
}

/* ---- the redo log ---- */

static bool has_inode(void *arg, u64 ino)
{
	struct repair *r = arg;
	sqlite3_stmt *s;
	int rc;

	if (conn_stmt(&r->v->meta->writer, STMT_INODE_GET, &s))
		return false;
	bind_u64(s, 1, ino);
	rc = stmt_step(s);
	stmt_end(s);
	if (rc > 0)
		return true;
	report(r, "redo log: it has content of inode %llu, which is not there",
	       (unsigned long long)ino);
	r->losing++;
	return false;
}

static int take_redo_over(struct repair *r, struct redo *redo,
			  const struct meta_redo *row, u64 commit_no)
{
	char text[REDO_TEXT_MAX];
	u64 records = 0;
	int err = redo_load(redo, row, r->v->data_blocks, commit_no, &records);

	if (err && err != -EUCLEAN && err != -ESTALE)
		return err;
	if (err) {
		redo_describe(err, records, text);
		report(r, "%s", text);
		r->losing++;
	}
	(void)redo_forget_files(redo, has_inode, r);
	return redo_apply(redo, r->v->meta, meta_ignore_freed, NULL, NULL);
}

static int find_shared(struct data_check *c, sqlite3_stmt *s, u64 ino,
		       const struct extent_row *row)
{
	struct repair *r = container_of(c, struct repair, data);
	const struct meta_redo *log = &r->log;

	(void)s, (void)ino;
	r->log_is_shared |= extent_has_blocks(row->flags) &&
			    row->block < log->start + log->nr &&
			    log->start < row->block + row->npages;
	return 0;
}

/* Files keep blocks that the log says are its own: what it has is known by
 * checksums, too. */
static int check_shared(struct repair *r)
{
	int err = data_walk(&r->data, false, find_shared);

	if (!err && r->log_is_shared)
		report(r,
		       "redo log: some of its blocks %llu-%llu are used by "
		       "files",
		       (unsigned long long)r->log.start,
		       (unsigned long long)(r->log.start + r->log.nr - 1));
	return err;
}

/* What was committed last becomes rows like any other, so that all that comes
 * after looks at it too. That by itself is no fault. */
static int mend_redo(struct repair *r)
{
	struct redo *redo = NULL;
	struct meta_super super;
	struct meta_redo row;
	int err = meta_redo_get(r->v->meta, &row);

	if (!err)
		err = super_load(&r->v->meta->writer, &super);
	if (err || !(row.nr || super.incompat & META_INCOMPAT_REDO))
		return err;
	if (!row.nr) {
		report(r, "redo log: where it is is lost, and what was "
			  "committed there last");
		r->losing++;
	}
	r->log = row;
	if (row.nr && row.nr <= REDO_BLOCKS && row.start &&
	    row.start <= r->v->data_blocks)
		err = check_shared(r);
	if (!err)
		err = redo_new(r->v->data, &redo);
	if (!err && row.nr)
		err = take_redo_over(r, redo, &row, super.commit_no);
	redo_free(redo);
	return err ? err : meta_redo_put(r->v->meta, NULL);
}

static int mend_all(struct repair *r)
{
	struct data_check *c = &r->data;
	int err = repair_super(r);

	if (!err)
		err = mend_rows(r);
	if (!err)
		err = mend_redo(r);
	if (!err)
		err = data_mend_overlaps(c);
	if (!err)
		err = fill_gaps(r);
	if (!err)
		err = data_check_blocks(c);
	if (!err && !r->salvage)
		err = data_check_freemap(c);
	if (!err && r->opt->data)
		err = data_check_content(c);
	r->faults += c->faults;
	r->losing += c->losing;
	return err;
}

static int commit(struct repair *r)
{
	struct meta *m = r->v->meta;
	int err;

	err = conn_exec(&m->writer,
			"UPDATE super SET incompat=incompat|1 WHERE "
			"EXISTS(SELECT 1 FROM extent WHERE flags=8)");
	if (err)
		return err;
	freemap_remove(r->v->dirfd);
	return meta_commit(m, 0, true);
}

/* Mend it, and keep that if it is to be kept. Return: whether it was. */
static int run(struct repair *r, bool *ret_kept)
{
	int err = go_back(r);

	*ret_kept = false;
	if (err)
		return complain(r->err, r->errlen, err, "meta.db-wal: %s",
				strerror(-err));
	err = open_meta(r);
	if (err)
		return err;
	err = open_data(r);
	if (!err)
		err = data_check_init(&r->data, r->v, &r->v->meta->writer,
				      r->opt);
	if (err)
		return err;
	r->data.mend = true;
	err = mend_all(r);
	if (!err && r->faults && !(r->opt->preen && r->losing)) {
		err = commit(r);
		*ret_kept = !err;
	}
	data_check_done(&r->data);
	return err;
}

static int close_all(struct repair *r, int err, bool kept)
{
	bool new = r->salvage != NULL;
	int close_err;

	meta_salvage_free(r->salvage);
	close_err = meta_close(r->v->meta);
	r->v->meta = NULL;
	err = err ? err : close_err;
	if (new &&kept && !err)
		err = install_new(r);
	if (r->v->dirfd >= 0)
		remove_new(r->v->dirfd);
	volume_free(r->v);
	return err;
}

int volume_repair(const char *path, const struct volume_check_options *opt,
		  struct volume_repair_result *ret, char *err, size_t errlen)
{
	struct volume_options open_opt = {.patience_ms = VOLUME_PATIENCE_MS,
					  .allow_network = true};
	struct repair r = {.opt = opt, .err = err, .errlen = errlen};
	bool kept = false;
	int code;

	code = volume_open_locked(path, &open_opt, &r.v, err, errlen);
	if (code)
		return code;
	code = volume_finish_repair(r.v, err, errlen);
	if (!code)
		code = run(&r, &kept);
	code = close_all(&r, code, !code && kept);
	/* At boot nobody is there to decide what may be given up. */
	if (opt->preen && r.losing && code == -EUCLEAN)
		code = 0;
	if (code && !*err)
		(void)complain(err, errlen, code, "%s", strerror(-code));
	ret->faults = r.faults;
	ret->left = kept ? r.data.left : r.faults;
	return code;
}

/* SPDX-License-Identifier: MIT */
/*
 * Damaged volumes. An input is a list of changes to a small volume that has
 * everything: to pages of meta.db whose checksum is made good again, so that
 * SQLite and we see them; to such pages as they stand; to rows; to the other
 * files. Then it is checked, mounted, read through, written to, committed and
 * checked again. It may be refused, for a reason that is told; what checked
 * clean before must do so at the end.
 *
 * For speed: the files are in memory, their locks are this process's own, and
 * only what differs is put back. Whether a volume was clean is asked when it
 * turns out to matter; it is made once more for that. Much of what chance makes
 * is one volume again and again, as by a value that SQLite does not take: that
 * is used once.
 *
 * With FOLIO_LOUD it tells what is done to rows, and what the log and the check
 * say: for FOLIO_FUZZ_INPUT.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs_util.h"
#include "fuzz.h"
#include "sum.h"
#include "tmpdir.h"
#include "vfs.h"
#include "volume_redo.h"
#include "wal_sums.h"

#define CHANGES_MAX 16
#define VISITS_MAX 200
#define READ_MAX 65536
/* What is freed stays ours, up to so much. */
#define KEEP_BYTES (256 << 20)

enum { META, DATA, FREEMAP, LOCK };
static const char *const names[] = {"meta.db", "data", "freemap", "lock"};

static struct image {
	u8 *bytes;
	size_t len;
	size_t filled; /* with zeros behind it; 0: all of it */
	struct timespec mtime;
	u8 *map;    /* the file, as far as it is that long; may be NULL */
	bool dirty; /* the file may be something else */
} images[ARRAY_SIZE(names)];

/* What a killed daemon leaves. */
static struct image killed_db, killed_log;

/* What one leaves that had a redo log, of those files and of data. */
#define REDO_RECORDS 6
/* Where a header has its sum. Source: src/redo.c. */
#define REDO_SUM_AT 32
static struct image redo_db, redo_log, redo_data;
static struct meta_redo redo_place;

static char volume_path[1100], db_path[1200];
static bool loud;

/* Sums of volumes that have been used, each where its sum says. */
static u64 seen[1u << 20];

/* ---- the volume that all begin with ---- */

static void fill_file(struct test_fs *t, u64 dir, const char *name, u64 pages,
		      u64 step)
{
	u8 page[PAGE_SIZE];
	u64 fh;

	(void)test_create(t, dir, name, &fh);
	for (u64 i = 0; i < pages; i++) {
		test_pattern(page, PAGE_SIZE, i, pages);
		test_write(t, fh, i * step * PAGE_SIZE, page, PAGE_SIZE);
	}
	ck_assert_int_eq(test_fsync(t, fh), 0);
	ck_assert_int_eq(fs_fallocate(t->fs, fh, FALLOC_FL_KEEP_SIZE,
				      pages * step * PAGE_SIZE, 65536),
			 0);
	ck_assert_int_eq(fs_release(t->fs, fh), 0);
}

static void fill_volume(struct test_fs *t)
{
	u64 dir = test_mkdir(t, FS_ROOT_INO, "dir");
	u64 sub = test_mkdir(t, dir, "sub");
	struct stat st;

	fill_file(t, FS_ROOT_INO, "large", 40, 1);
	fill_file(t, dir, "holes", 20, 3);
	fill_file(t, sub, "small", 1, 1);
	ck_assert_int_eq(
		fs_symlink(t->fs, dir, "link", "../large", &test_cred, &st), 0);
	fs_forget(t->fs, st.st_ino, 1);
	ck_assert_int_eq(fs_link(t->fs, test_lookup(t, FS_ROOT_INO, "large"),
				 sub, "again", &st),
			 0);
	fs_forget(t->fs, st.st_ino, 1);
	ck_assert_int_eq(fs_mknod(t->fs, sub, "fifo", S_IFIFO | 0600, 0,
				  &test_cred, &st),
			 0);
	fs_forget(t->fs, st.st_ino, 1);
	ck_assert_int_eq(fs_setxattr(t->fs, dir, "user.one", "value", 5, 0), 0);
}

/* An orphan, as a crash leaves it. */
static void add_orphan(void)
{
	struct volume_options opt = {0};
	struct inode_row row = {.ino = 900, .mode = S_IFREG | 0600};
	char err[256];
	struct volume *v;

	ck_assert_int_eq(volume_open(volume_path, &opt, &v, err, sizeof(err)),
			 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_inode_put(v->meta, &row), 0);
	ck_assert_int_eq(meta_orphan_put(v->meta, 900), 0);
	ck_assert_int_eq(meta_commit(v->meta, 1000, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
}

static void file_path(char path[1200], const char *name)
{
	(void)snprintf(path, 1200, "%s/%s", volume_path, name);
}

static void read_image(struct image *image, const char *name)
{
	char path[1200];
	struct stat st;
	int fd;

	file_path(path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	image->len = (size_t)st.st_size;
	image->mtime = st.st_mtim;
	image->bytes = malloc(max(image->len, (size_t)1));
	ck_assert_ptr_nonnull(image->bytes);
	ck_assert_int_eq(read(fd, image->bytes, image->len), st.st_size);
	(void)close(fd);
}

static void commit_attribute(struct meta *m, u32 i)
{
	static const u8 value[9000];
	char name[16];

	(void)snprintf(name, sizeof(name), "user.%u", i);
	ck_assert_int_eq(meta_begin(m), 0);
	ck_assert_int_eq(
		meta_xattr_put(m, META_ROOT_INO, name, value, 1 + i * 1000), 0);
	ck_assert_int_eq(meta_commit(m, 1000, true), 0);
}

/* Some commits, of one page and of more. */
static void read_killed(void)
{
	struct volume_options opt = {0};
	char err[256];
	struct volume *v;

	ck_assert_int_eq(volume_open(volume_path, &opt, &v, err, sizeof(err)),
			 0);
	for (u32 i = 0; i < 8; i++)
		commit_attribute(v->meta, i);
	read_image(&killed_db, "meta.db");
	read_image(&killed_log, "meta.db-wal");
	ck_assert_int_eq(volume_close(v), 0);
}

static void fsync_page(struct test_fs *t, const char *name, u64 pgoff)
{
	u64 fh = test_open(t, test_lookup(t, FS_ROOT_INO, name));
	u8 page[PAGE_SIZE];

	test_pattern(page, sizeof(page), pgoff, 1000 + pgoff);
	test_write(t, fh, pgoff * PAGE_SIZE, page, sizeof(page));
	ck_assert_int_eq(test_fsync(t, fh), 0);
	ck_assert_int_eq(fs_release(t->fs, fh), 0);
}

/* Zeros behind @least are left out: the file is as long all the same. */
static void cut_zeros(struct image *image, size_t least)
{
	image->filled = image->len;
	while (image->filled > least && !image->bytes[image->filled - 1])
		image->filled--;
}

/* Records over pages that have rows, over others, and behind the end. */
static void read_redo(void)
{
	struct test_fs t;
	struct volume *v;

	test_fs_init(&t);
	t.commit_inline = true;
	test_fs_open(&t);
	v = fs_volume(t.fs);
	for (u64 i = 0; i < 50 && v->count.redo_records < REDO_RECORDS; i++)
		fsync_page(&t, "large", i * 9 % 64);
	ck_assert_uint_eq(v->count.redo_records, REDO_RECORDS);
	redo_row(v->redo, &redo_place);
	read_image(&redo_db, "meta.db");
	read_image(&redo_log, "meta.db-wal");
	read_image(&redo_data, "data");
	cut_zeros(&redo_data, (redo_place.start + redo_place.nr) * PAGE_SIZE);
	ck_assert_int_eq(test_fs_close(&t), 0);
}

/* A file that keeps its place is compared and put back through a map. */
static void map_image(struct image *image, const char *name)
{
	char path[1200];
	int fd;

	file_path(path, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	image->map = mmap(NULL, image->len, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);
	ck_assert(image->map != MAP_FAILED);
	(void)close(fd);
}

/* No locks for other processes, no index of the WAL in a file, no count of all
 * memory and no memory given back at each allocation. */
static void use_fast_sqlite(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
	(void)mallopt(M_MMAP_THRESHOLD, KEEP_BYTES);
	(void)sqlite3_shutdown();
	ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0), SQLITE_OK);
	ck_assert_int_eq(sqlite3_initialize(), SQLITE_OK);
	(void)sqlite3_vfs_register(sqlite3_vfs_find("unix-excl"), 1);
}

/* In memory, where syncs cost nothing, if there is such a place. */
static void begin(void)
{
	struct test_fs t;

	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	loud = getenv("FOLIO_LOUD");
	use_fast_sqlite();
	tmpdir_make();
	(void)snprintf(volume_path, sizeof(volume_path), "%s",
		       tmpdir_path("vol"));
	file_path(db_path, "meta.db");
	test_fs_init(&t);
	/* what it may grow to, it grows to soon; smaller ones have no redo log
	 */
	t.volume_size = 8u << 20;
	test_fs_open(&t);
	fill_volume(&t);
	ck_assert_int_eq(test_fs_close(&t), 0);
	add_orphan();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		read_image(&images[i], names[i]);
	read_killed();
	read_redo();
	map_image(&images[META], names[META]);
	map_image(&images[DATA], names[DATA]);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		images[i].dirty = true;
}

static void end(void)
{
	free(killed_db.bytes);
	free(killed_log.bytes);
	free(redo_db.bytes);
	free(redo_log.bytes);
	free(redo_data.bytes);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (images[i].map)
			(void)munmap(images[i].map, images[i].len);
		free(images[i].bytes);
	}
	tmpdir_remove();
}

static void write_image(const struct image *image, const char *name)
{
	size_t len = image->filled ? image->filled : image->len;
	char path[1200];
	int fd;

	file_path(path, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	expect(fd >= 0);
	expect(write(fd, image->bytes, len) == (ssize_t)len);
	expect(len == image->len || ftruncate(fd, (off_t)image->len) == 0);
	(void)close(fd);
}

static void set_length(const char *path, size_t len)
{
	struct stat st;

	expect(stat(path, &st) == 0);
	if ((size_t)st.st_size != len)
		expect(truncate(path, (off_t)len) == 0);
}

/* The time is part of it: by that the saved block map knows its database. */
static void put_back(const struct image *image, const char *name)
{
	const struct timespec times[2] = {image->mtime, image->mtime};
	char path[1200];

	file_path(path, name);
	set_length(path, image->len);
	for (size_t at = 0; at < image->len; at += PAGE_SIZE) {
		size_t n = min(image->len - at, (size_t)PAGE_SIZE);

		if (memcmp(image->map + at, image->bytes + at, n) != 0)
			memcpy(image->map + at, image->bytes + at, n);
	}
	expect(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void restore(void)
{
	char path[1200];

	file_path(path, "meta.db-wal");
	(void)unlink(path);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct image *image = &images[i];

		if (image->dirty && image->map)
			put_back(image, names[i]);
		else if (image->dirty)
			write_image(image, names[i]);
		image->dirty = i == META;
	}
}

/* ---- changes ---- */

static void change_page(struct fuzz_in *in, bool sum)
{
	int fd = open(db_path, O_RDWR | O_CLOEXEC);
	u64 nr = images[META].len / VFS_PAGE_SIZE;
	off_t pos = (off_t)(fuzz_le(in, 2) % nr * VFS_PAGE_SIZE);
	u64 off = fuzz_le(in, 2) % (VFS_PAGE_SIZE - VFS_RESERVED);
	u8 page[VFS_PAGE_SIZE];

	expect(fd >= 0);
	if (pread(fd, page, sizeof(page), pos) == sizeof(page)) {
		(void)fuzz_bytes(
			in, page + off,
			min((size_t)(VFS_PAGE_SIZE - VFS_RESERVED - off),
			    (size_t)64));
		if (sum)
			vfs_page_sum(page, page + VFS_PAGE_SIZE - VFS_RESERVED);
		expect(pwrite(fd, page, sizeof(page), pos) == sizeof(page));
	}
	(void)close(fd);
}

static void change_other(struct fuzz_in *in)
{
	size_t which = fuzz_u8(in) % ARRAY_SIZE(names);
	u64 pos = fuzz_le(in, 3) % (images[which].len + 8);
	u8 bytes[64];
	size_t n = fuzz_bytes(in, bytes, sizeof(bytes));
	char path[1200];
	int fd;

	images[which].dirty = true;
	file_path(path, names[which]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	expect(fd >= 0);
	if (n)
		(void)!pwrite(fd, bytes, n, (off_t)pos);
	else
		(void)!ftruncate(fd, (off_t)pos);
	(void)close(fd);
}

/* In place of all other changes to the database. */
static void change_log(struct fuzz_in *in)
{
	struct image log = killed_log;
	u8 nr = fuzz_u8(in) % 4 + 1;
	bool sum = fuzz_u8(in) & 1;

	log.bytes = malloc(log.len);
	expect(log.bytes);
	memcpy(log.bytes, killed_log.bytes, log.len);
	while (nr--) {
		u64 pos = fuzz_le(in, 3) % log.len;

		(void)fuzz_bytes(in, log.bytes + pos,
				 min(log.len - (size_t)pos, (size_t)64));
	}
	if (sum)
		wal_make_good(log.bytes, log.len);
	log.len -= fuzz_le(in, 2);
	write_image(&killed_db, "meta.db");
	write_image(&log, "meta.db-wal");
	free(log.bytes);
}

/* A byte or more of the redo log. */
static void change_record(struct fuzz_in *in)
{
	u8 *log = redo_data.bytes + redo_place.start * PAGE_SIZE;
	u8 *block = log + fuzz_u8(in) % redo_place.nr * PAGE_SIZE;
	u64 off = fuzz_le(in, 2) % PAGE_SIZE, sum;
	bool good = fuzz_u8(in) & 1;

	(void)fuzz_bytes(in, block + off,
			 min((size_t)(PAGE_SIZE - off), (size_t)64));
	if (!good)
		return;
	memset(block + REDO_SUM_AT, 0, sizeof(sum));
	sum = page_sum(block);
	memcpy(block + REDO_SUM_AT, &sum, sizeof(sum));
}

/* In place of all other changes to the database and to data. */
static void change_redo(struct fuzz_in *in)
{
	size_t at = redo_place.start * PAGE_SIZE;
	size_t len = redo_place.nr * PAGE_SIZE;
	u8 nr = fuzz_u8(in) % 5;
	u8 *kept = malloc(len);

	expect(kept);
	memcpy(kept, redo_data.bytes + at, len);
	while (nr--)
		change_record(in);
	images[DATA].dirty = true;
	write_image(&redo_db, "meta.db");
	write_image(&redo_log, "meta.db-wal");
	write_image(&redo_data, "data");
	memcpy(redo_data.bytes + at, kept, len);
	free(kept);
}

static const struct table {
	const char *name, *key;
	const char *columns[14];
} tables[] = {
	{"super",
	 "id",
	 {"uuid", "version", "block_size", "compat", "ro_compat", "incompat",
	  "commit_no", "mount_epoch", "nr_blocks", "next_ino", "created"}},
	{"inode",
	 "ino",
	 {"ino", "mode", "uid", "gid", "nlink", "size", "atime", "mtime",
	  "ctime", "btime", "rdev", "flags", "generation"}},
	{"dentry", "id", {"id", "parent", "name", "ino", "type"}},
	{"symlink", "ino", {"ino", "target"}},
	{"xattr", "ino,name", {"ino", "name", "value"}},
	{"orphan", "ino", {"ino"}},
	{"extent",
	 "ino,pgoff",
	 {"ino", "pgoff", "npages", "block", "flags", "sum", "data"}},
};

static void bind_value(struct fuzz_in *in, sqlite3_stmt *s)
{
	u8 bytes[256];
	size_t n;

	switch (fuzz_u8(in) % 8) {
	case 0:
		(void)sqlite3_bind_null(s, 1);
		break;
	case 1:
		n = fuzz_bytes(in, bytes, sizeof(bytes));
		(void)sqlite3_bind_blob(s, 1, bytes, (int)n, SQLITE_TRANSIENT);
		break;
	case 2:
		n = fuzz_bytes(in, bytes, sizeof(bytes));
		(void)sqlite3_bind_text(s, 1, (char *)bytes, (int)n,
					SQLITE_TRANSIENT);
		break;
	case 3:
		(void)sqlite3_bind_double(s, 1, (double)fuzz_number(in) / 3);
		break;
	default:
		(void)sqlite3_bind_int64(s, 1, (s64)fuzz_number(in));
	}
}

static void run_sql(sqlite3 *db, struct fuzz_in *in, const char *sql)
{
	sqlite3_stmt *s;

	/* what SQLite does not take is no damage that can be */
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		return;
	if (sqlite3_bind_parameter_count(s))
		bind_value(in, s);
	if (sqlite3_step(s) == SQLITE_DONE && loud) {
		char *text = sqlite3_expanded_sql(s);

		(void)fprintf(stderr, "SQL: %s\n", text ? text : sql);
		sqlite3_free(text);
	}
	(void)sqlite3_finalize(s);
}

/* A value, a row less, or a row more that differs in a value. */
static void change_row(sqlite3 *db, struct fuzz_in *in)
{
	const struct table *t = &tables[fuzz_u8(in) % ARRAY_SIZE(tables)];
	unsigned row = fuzz_u8(in), how = fuzz_u8(in) % 8, nr = 0;
	char sql[512], where[160];
	const char *column;

	while (nr < ARRAY_SIZE(t->columns) && t->columns[nr])
		nr++;
	column = t->columns[fuzz_u8(in) % nr];
	(void)snprintf(where, sizeof(where),
		       "(%s)=(SELECT %s FROM %s LIMIT 1 OFFSET %u)", t->key,
		       t->key, t->name, row % 16);
	if (how == 0) {
		(void)snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE %s",
			       t->name, where);
	} else if (how == 1) {
		run_sql(db, in, "DROP TABLE IF EXISTS one");
		(void)snprintf(sql, sizeof(sql),
			       "CREATE TEMP TABLE one AS SELECT * FROM %s "
			       "WHERE %s",
			       t->name, where);
		run_sql(db, in, sql);
		(void)snprintf(sql, sizeof(sql), "UPDATE one SET %s=?1",
			       column);
		run_sql(db, in, sql);
		(void)snprintf(sql, sizeof(sql),
			       "INSERT OR REPLACE INTO %s SELECT * FROM one",
			       t->name);
	} else {
		(void)snprintf(sql, sizeof(sql), "UPDATE %s SET %s=?1 WHERE %s",
			       t->name, column, where);
	}
	run_sql(db, in, sql);
}

static void change_rows(struct fuzz_in *in)
{
	u8 nr = fuzz_u8(in) % 4 + 1;
	struct vfs_db *vfs;
	sqlite3 *db;

	expect(vfs_db_new(db_path, false, &vfs) == 0);
	if (sqlite3_open_v2(db_path, &db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    VFS_NAME) == SQLITE_OK) {
		while (nr--)
			change_row(db, in);
	}
	(void)sqlite3_close(db);
	vfs_db_free(vfs);
}

static void apply(struct fuzz_in *in)
{
	for (int i = 0; i < CHANGES_MAX && in->len; i++) {
		u8 what = fuzz_u8(in);

		if (what == 0xff) {
			change_log(in);
			continue;
		}
		if (what == 0xfd) {
			change_redo(in);
			continue;
		}
		switch (what % 8) {
		case 0 ... 2:
			change_page(in, true);
			break;
		case 3:
			change_page(in, false);
			break;
		case 4:
			change_other(in);
			break;
		default:
			change_rows(in);
		}
	}
}

/* ---- using it ---- */

struct visit {
	struct fs *fs;
	u64 dirs[VISITS_MAX];
	u32 nr_dirs, nr;
	u8 buf[READ_MAX];
};

static void read_at(struct visit *v, u64 fh, u64 pos)
{
	struct cache_read rd;

	if (fs_read(v->fs, fh, pos, READ_MAX, &rd) >= 0)
		cache_read_done(fs_cache(v->fs), &rd);
}

static void read_file(struct visit *v, u64 ino, u64 size)
{
	u64 fh;

	if (fs_openf(v->fs, ino, O_RDONLY, 1, &fh))
		return;
	for (u64 pos = 0; pos < min(size, (u64)8 * READ_MAX); pos += READ_MAX)
		read_at(v, fh, pos);
	if (size > PAGE_SIZE)
		read_at(v, fh, size - PAGE_SIZE);
	(void)fs_lseek(v->fs, fh, 0, SEEK_HOLE);
	(void)fs_lseek(v->fs, fh, size / 2, SEEK_DATA);
	(void)fs_release(v->fs, fh);
}

/* Return: to be ended, as the kernel ends what it asked for. */
static bool visit(void *arg, const char *name, const struct stat *st,
		  u64 next_off)
{
	struct visit *v = arg;

	(void)next_off;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	if (++v->nr > VISITS_MAX)
		return false;
	if (S_ISDIR(st->st_mode) && v->nr_dirs < VISITS_MAX)
		v->dirs[v->nr_dirs++] = st->st_ino;
	return true;
}

static void look_at(struct visit *v, u64 dir, const char *name)
{
	char path[4096];
	struct stat st;

	if (fs_lookup(v->fs, dir, name, &st))
		return;
	(void)fs_path(v->fs, st.st_ino, path, sizeof(path));
	(void)fs_listxattr(v->fs, st.st_ino, true, (char *)v->buf, READ_MAX);
	(void)fs_getxattr(v->fs, st.st_ino, "user.one", v->buf, READ_MAX);
	(void)fs_getxattr(v->fs, st.st_ino, "system.posix_acl_access", v->buf,
			  READ_MAX);
	if (S_ISLNK(st.st_mode))
		(void)fs_readlink(v->fs, st.st_ino, (char *)v->buf, READ_MAX);
	if (S_ISREG(st.st_mode))
		read_file(v, st.st_ino, (u64)st.st_size);
	fs_forget(v->fs, st.st_ino, 1);
}

static void change_file(struct visit *v, u64 dir, const char *name)
{
	struct stat st, attr = {.st_size = 3 * PAGE_SIZE + 5};
	u64 fh, pause;
	bool retry;

	if (fs_lookup(v->fs, dir, name, &st))
		return;
	if (S_ISREG(st.st_mode) &&
	    !fs_openf(v->fs, st.st_ino, O_RDWR, 1, &fh)) {
		(void)fs_write(v->fs, fh, 10000, v->buf, 20000, 0, &pause,
			       &retry);
		(void)fs_write(v->fs, fh, (u64)st.st_size, v->buf, 10, 0,
			       &pause, &retry);
		(void)test_fsync(&(struct test_fs){.fs = v->fs}, fh);
		(void)fs_setattr(v->fs, st.st_ino, fh, &attr, FS_SET_SIZE,
				 &attr);
		(void)fs_fallocate(v->fs, fh,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   4096, 8192);
		(void)fs_release(v->fs, fh);
	}
	fs_forget(v->fs, st.st_ino, 1);
}

static void change_dir(struct visit *v, u64 dir)
{
	struct stat st;
	u64 fh;

	if (!fs_create(v->fs, dir, "new", 0644, O_RDWR, &test_cred, 1, &st,
		       &fh)) {
		(void)fs_release(v->fs, fh);
		fs_forget(v->fs, st.st_ino, 1);
	}
	if (!fs_mkdir(v->fs, dir, "newdir", 0755, &test_cred, &st))
		fs_forget(v->fs, st.st_ino, 1);
	(void)fs_setxattr(v->fs, dir, "user.two", "2", 1, 0);
	(void)fs_rename(v->fs, dir, "new", dir, "large", 0, &test_cred);
	(void)fs_rename(v->fs, dir, "sub", FS_ROOT_INO, "moved", 0, &test_cred);
	(void)fs_unlink(v->fs, dir, "link");
	(void)fs_rmdir(v->fs, dir, "newdir");
	(void)fs_unlink(v->fs, dir, "again");
}

static void use_dir(struct visit *v, u64 dir)
{
	static const char *const known[] = {
		"large", "dir",	 "sub",	  "holes", "small",
		"link",	 "fifo", "again", "moved", "none",
	};
	u64 fh;

	if (!fs_opendir(v->fs, dir, 0, &fh)) {
		(void)fs_readdir(v->fs, fh, 0, false, visit, v);
		(void)fs_releasedir(v->fs, fh);
	}
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		look_at(v, dir, known[i]);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		change_file(v, dir, known[i]);
}

static void use_all(struct fs *fs)
{
	struct visit *v = calloc(1, sizeof(*v));

	expect(v);
	v->fs = fs;
	v->dirs[v->nr_dirs++] = FS_ROOT_INO;
	for (u32 i = 0; i < v->nr_dirs && i < 16; i++)
		use_dir(v, v->dirs[i]);
	(void)fs_sync_wait(fs);
	for (u32 i = 0; i < v->nr_dirs && i < 16; i++)
		change_dir(v, v->dirs[i]);
	(void)fs_sync_wait(fs);
	fs_check(fs);
	free(v);
}

static void check_line(void *arg, const char *line)
{
	(void)arg;
	if (loud)
		(void)fprintf(stderr, "check: %s\n", line);
}

/* Return: faults, or -errno. */
static long check(void)
{
	struct volume_check_options opt = {.data = true, .report = check_line};
	char err[512] = "";
	long nr = volume_check(volume_path, &opt, err, sizeof(err));

	ck_assert_msg(nr >= 0 || *err, "check: %ld, and nothing said", nr);
	return nr;
}

static void say(void *arg, int level, const char *line)
{
	(void)arg;
	if (loud)
		(void)fprintf(stderr, "<%d> %s\n", level, line);
}

/* Return: 0; -errno, among them -ENOTSUP and -EROFS for what is of a newer
 * program and no damage. */
static int mount_and_use(void)
{
	struct volume_options vo = {0};
	struct fs_options fo = {.cache_size = 1u << 20,
				.cache_max = 4u << 20,
				.patient = true,
				.commit_inline = true,
				.log = say};
	char err[512] = "";
	struct fs *fs = NULL;
	struct volume *v;
	int rc;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		images[i].dirty = true;
	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	rc = volume_open(volume_path, &vo, &v, err, sizeof(err));
	ck_assert_msg(!rc || *err, "mount: %d, and nothing said", rc);
	if (*err)
		say(NULL, rc ? LOG_ERR : LOG_WARNING, err);
	if (!rc)
		rc = fs_open(v, &fo, &fs);
	if (rc)
		return rc;
	use_all(fs);
	return fs_close(fs);
}

static u64 sum_file(const char *name, u64 sum)
{
	static u8 buf[1u << 20];
	char path[1200];
	ssize_t n;
	int fd;

	file_path(path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return sum + 1;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sum = XXH3_64bits_withSeed(buf, (size_t)n, sum);
	(void)close(fd);
	return sum;
}

/* Of what differs from the volume that all begin with. */
static u64 sum_volume(void)
{
	u64 sum = sum_file("meta.db-wal", 0);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (images[i].dirty)
			sum = sum_file(names[i], sum + i);
	}
	return sum;
}

/* Was that volume used? (If a later one took its place, it is once more.) */
static bool is_seen(u64 sum)
{
	u64 *place = &seen[sum % ARRAY_SIZE(seen)];

	if (*place == sum)
		return true;
	*place = sum;
	return false;
}

static void make_volume(const u8 *data, size_t len)
{
	struct fuzz_in in = {data, len};

	restore();
	apply(&in);
}

static void one(const u8 *data, size_t len)
{
	long before, after;
	int err;

	make_volume(data, len);
	if (is_seen(sum_volume()))
		return;
	err = mount_and_use();
	after = err ? 0 : check();
	if (!err && !after)
		return;
	make_volume(data, len);
	before = check();
	ck_assert_msg(before || !err || err == -ENOTSUP || err == -EROFS,
		      "clean, and using it: %s", strerror(-err));
	ck_assert_msg(before || !after, "clean before, %ld faults now", after);
}

/* ---- seeds ---- */

static size_t seed(u32 n, u8 *buf)
{
	const u32 nr_pages = 24, nr_logs = 32, nr_redos = 24;
	size_t len = 0;

	if (n < nr_pages) { /* a few bytes of each page, sums made good */
		buf[len++] = (u8)(n % 4);
		buf[len++] = (u8)n;
		buf[len++] = 0;
		buf[len++] = n % 2 ? 0 : 0x80;
		buf[len++] = n % 2 ? 0 : 0x0e;
		buf[len++] = 2;
		buf[len++] = (u8)(n * 7);
		buf[len++] = (u8)(n * 13);
		return len;
	}
	n -= nr_pages;
	if (n < ARRAY_SIZE(tables) * 4) { /* a value of each table */
		buf[len++] = 5;
		buf[len++] = (u8)(n % 4);
		for (u32 i = 0; i <= n % 4; i++) {
			buf[len++] = (u8)(n / 4);
			buf[len++] = (u8)(n + i);
			buf[len++] = (u8)(n + 2 * i);
			buf[len++] = (u8)(n * 3 + i);
			buf[len++] = 4;
			buf[len++] = (u8)(128 + n + i);
		}
		return len;
	}
	n -= (u32)ARRAY_SIZE(tables) * 4;
	if (n < nr_logs) { /* a byte of a frame, or of the header */
		u32 pos = n ? 32 + n * 2060 + n : 20;

		buf[len++] = 0xff;
		buf[len++] = 0;
		buf[len++] = (u8)(n % 4 == 3);
		buf[len++] = (u8)pos;
		buf[len++] = (u8)(pos >> 8);
		buf[len++] = (u8)(pos >> 16);
		buf[len++] = 1;
		buf[len++] = (u8)(n * 7 + 1);
		return len;
	}
	n -= nr_logs;
	if (n < nr_redos) { /* a byte of a header or page */
		buf[len++] = 0xfd;
		buf[len++] = 1;
		buf[len++] = (u8)(n / 2);
		buf[len++] = (u8)(n * 8);
		buf[len++] = 0;
		buf[len++] = (u8)(n % 2);
		buf[len++] = 1;
		buf[len++] = (u8)(n * 7 + 1);
		return len;
	}
	n -= nr_redos;
	if (n >= ARRAY_SIZE(names))
		return 0;
	buf[len++] = 4;
	buf[len++] = (u8)n;
	buf[len++] = 16;
	buf[len++] = 0;
	buf[len++] = 0;
	buf[len++] = 3;
	buf[len++] = 1;
	buf[len++] = 2;
	buf[len++] = 3;
	return len;
}

static const char *const known[] = {
	/* a named inode whose row has no links: deleted, and nothing was
	 * provided for that */
	"05f902084a94a55befd774938a020b0c1f058b020c0e20048c",
	/* an attribute whose name is empty */
	"07009e00021ff9",
	/* a folder that is in itself: its lock was wanted twice */
	"fe1180017af31e0277e1",
	/* a letter of the schema: the column of a key was NULL everywhere */
	"01820000fb0268a9",
	/* the header of meta.db in a frame of the log: another program's */
	"ff00fd6153690c0c24048c",
	/* a page of names that is in itself: a rule had rows without end */
	"130102208f0aa4def4618cbacb8293cd4dedbee54b7d4f68d0a40000011d001400880e"
	"028c04",
	/* the root folder marked as deleted: it was, and all below it */
	"0700de00c968050100002c48000140",
	/* inode numbers given out that were in use: a folder in itself */
	"800d800a00030c0c242ea4d910f409e78e19ae77eda0797306108d68deefdbbffd9165"
	"98582fbd04",
	/* a letter of a CHECK in the schema, which a reader does not look at */
	"0500017effff9000b060fb5801867e00010619194b044c",
	/* a commit in the log that says meta.db is larger than it is */
	"ff0001138bea03e45b2b05aa755cda989a12b5d80600014e",
	NULL,
};

const struct fuzz_target fuzz_target = {
	.name = "fuzz_meta",
	.begin = begin,
	.end = end,
	.one = one,
	.seed = seed,
	.known = known,
};

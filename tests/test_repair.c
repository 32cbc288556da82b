/* SPDX-License-Identifier: MIT */
/*
 * A volume that is damaged at random: every page of every file is what was
 * written, or an error; and after a repair the volume is clean.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_util.h"
#include "meta_int.h"
#include "tmpdir.h"
#include "vfs.h"

#define DIRS 8
#define FILES_A_DIR 20
#define NR_FILES (DIRS * FILES_A_DIR)
#define MAX_PAGES 40
#define ROUNDS 16

/* What a file holds: two versions of it, of which the second may be missing. */
struct content {
	char dir[16], name[48];
	u64 size;
	u8 *bytes[2];
};

static struct content files[NR_FILES];

/* The files of the volume as they were: put back before each round. The saved
 * block map goes by the time of the database. */
struct image {
	const char *name;
	u8 *bytes;
	size_t len;
	struct timespec mtime;
	bool there;
};

static struct image images[] = {
	{.name = "meta.db"},
	{.name = "meta.db-wal"},
	{.name = "data"},
	{.name = "freemap"},
};
enum { META, WAL, DATA };

static struct test_fs t;
static char msg[512];

/* ---- the volume ---- */

static const char *in_volume(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "vol/%s", name);
	return tmpdir_path(path);
}

static void slurp(struct image *im)
{
	struct stat st;
	int fd = open(in_volume(im->name), O_RDONLY);

	free(im->bytes);
	*im = (struct image){.name = im->name};
	if (fd < 0)
		return;
	ck_assert_int_eq(fstat(fd, &st), 0);
	im->len = (size_t)st.st_size;
	im->mtime = st.st_mtim;
	im->bytes = malloc(im->len + 1);
	ck_assert_int_eq(read(fd, im->bytes, im->len), (ssize_t)im->len);
	im->there = true;
	(void)close(fd);
}

static void spit(const struct image *im)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	int fd;

	(void)unlink(in_volume(im->name));
	if (!im->there)
		return;
	fd = open(in_volume(im->name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, im->bytes, im->len), (ssize_t)im->len);
	times[1] = im->mtime;
	ck_assert_int_eq(futimens(fd, times), 0);
	(void)close(fd);
}

static void take_image(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		slurp(&images[i]);
}

static void put_image(void)
{
	(void)unlink(in_volume("meta.db-shm"));
	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		spit(&images[i]);
}

static void write_version(struct content *f, u64 ino, int version, bool sync)
{
	u64 fh = test_open(&t, ino);

	f->bytes[version] = malloc(MAX_PAGES * PAGE_SIZE);
	test_pattern(f->bytes[version], f->size, ino << 32, (u64)version + 1);
	/* a hole in the middle of some */
	if (f->size > 8 * PAGE_SIZE && ino % 3 == 0 && !version) {
		memset(f->bytes[0] + 3 * PAGE_SIZE, 0, 2 * PAGE_SIZE);
		test_write(&t, fh, 0, f->bytes[0], 3 * PAGE_SIZE);
		test_write(&t, fh, 5 * PAGE_SIZE, f->bytes[0] + 5 * PAGE_SIZE,
			   f->size - 5 * PAGE_SIZE);
	} else if (f->size) {
		test_write(&t, fh, 0, f->bytes[version], f->size);
	}
	if (sync)
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

static void make_file(struct rng *rng, u64 dir, struct content *f, int i)
{
	u64 ino;

	(void)snprintf(f->name, sizeof(f->name),
		       "file-with-a-name-of-some-length-%d", i);
	f->size = rng_one_in(rng, 8) ? 0 : rng_below(rng, 6 * PAGE_SIZE);
	if (rng_one_in(rng, 10))
		f->size = rng_below(rng, MAX_PAGES * PAGE_SIZE);
	ino = test_create(&t, dir, f->name, NULL);
	write_version(f, ino, 0, false);
	if (rng_one_in(rng, 4))
		ck_assert_int_eq(
			fs_setxattr(t.fs, ino, "user.a", "value", 5, 0), 0);
}

/* Folders, files, a symbolic link and a second name, all committed. */
static void make_volume(void)
{
	struct rng rng;
	struct stat st;
	u64 dir = 0;

	rng_init(&rng, 1);
	tmpdir_make();
	test_fs_init(&t);
	test_fs_open(&t);
	for (int i = 0; i < NR_FILES; i++) {
		struct content *f = &files[i];

		(void)snprintf(f->dir, sizeof(f->dir), "dir%d",
			       i / FILES_A_DIR);
		if (i % FILES_A_DIR == 0)
			dir = test_mkdir(&t, FS_ROOT_INO, f->dir);
		make_file(&rng, dir, f, i);
	}
	ck_assert_int_eq(
		fs_symlink(t.fs, FS_ROOT_INO, "l", "dir1", &test_cred, &st), 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(fs_link(t.fs,
				 test_lookup(&t, dir, files[NR_FILES - 1].name),
				 FS_ROOT_INO, "second", &st),
			 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	take_image();
}

static void free_all(void)
{
	for (int i = 0; i < NR_FILES; i++) {
		free(files[i].bytes[0]);
		free(files[i].bytes[1]);
		memset(&files[i], 0, sizeof(files[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		free(images[i].bytes);
		images[i].bytes = NULL;
	}
	tmpdir_remove();
}

/* ---- reading it ---- */

struct verdict {
	long right, errors, missing; /* pages, pages, files */
};

static bool try_open(void)
{
	struct volume_options vo = {0};
	struct fs_options fo = {.cache_size = 4u << 20,
				.cache_max = 16u << 20,
				.patient = true};
	struct volume *v;

	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	if (volume_open(in_volume("."), &vo, &v, msg, sizeof(msg))) {
		/* one line that says why */
		ck_assert_str_ne(msg, "");
		ck_assert_ptr_null(strchr(msg, '\n'));
		return false;
	}
	return fs_open(v, &fo, &t.fs) == 0;
}

static bool is_zero(const u8 *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

/* Is the page that of the version? Behind the end there are zeros. */
static bool is_version(const struct content *f, int version, u64 pgoff,
		       const u8 *page, size_t len)
{
	u64 pos = pgoff * PAGE_SIZE;
	size_t within = pos < f->size ? min(len, (size_t)(f->size - pos)) : 0;

	return f->bytes[version] &&
	       memcmp(page, f->bytes[version] + pos, within) == 0 &&
	       is_zero(page + within, len - within);
}

static void read_pages(struct content *f, u64 fh, u64 size, struct verdict *v)
{
	bool may_be[2] = {true, true};
	u8 page[PAGE_SIZE];

	for (u64 pgoff = 0; pgoff * PAGE_SIZE < size; pgoff++) {
		ssize_t n =
			test_read(&t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE);

		if (n < 0) {
			ck_assert_int_eq(n, -EIO);
			v->errors++;
			continue;
		}
		v->right++;
		for (int k = 0; k < 2; k++)
			may_be[k] &= is_version(f, k, pgoff, page, (size_t)n);
		ck_assert_msg(may_be[0] || may_be[1],
			      "%s/%s: page %llu has wrong bytes", f->dir,
			      f->name, (unsigned long long)pgoff);
	}
}

static void read_file(struct content *f, struct verdict *v)
{
	struct stat dir;
	struct stat st;
	u64 fh = 0;
	int err = fs_lookup(t.fs, FS_ROOT_INO, f->dir, &dir);

	if (!err) {
		err = fs_lookup(t.fs, dir.st_ino, f->name, &st);
		fs_forget(t.fs, dir.st_ino, 1);
	}
	if (!err) {
		err = fs_openf(t.fs, st.st_ino, O_RDONLY, 1, &fh);
		fs_forget(t.fs, st.st_ino, 1);
	}
	if (err) {
		v->missing++;
		return;
	}
	read_pages(f, fh, (u64)st.st_size, v);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

/* Return: could it be opened? */
static bool read_all(struct verdict *v)
{
	memset(v, 0, sizeof(*v));
	if (!try_open())
		return false;
	for (int i = 0; i < NR_FILES; i++)
		read_file(&files[i], v);
	(void)fs_close(t.fs);
	t.fs = NULL;
	return true;
}

/* ---- damage ---- */

/* One to four places: a bit, a few bytes, a sector, a page. */
static void damage_bytes(struct rng *rng, struct image *im)
{
	u64 nr = rng_range(rng, 1, 4);

	for (u64 i = 0; i < nr && im->len; i++) {
		static const size_t lens[] = {1, 1, 1, 16, 512, 4096};
		size_t len = lens[rng_below(rng, ARRAY_SIZE(lens))];
		size_t at = rng_below(rng, im->len);

		len = min(len, im->len - at);
		switch (rng_below(rng, 3)) {
		case 0:
			im->bytes[at] ^= (u8)(1 << rng_below(rng, 8));
			break;
		case 1:
			rng_fill(rng, im->bytes + at, len);
			break;
		default:
			memset(im->bytes + at, 0, len);
			break;
		}
	}
}

/* Damage one of the files, which is then put in place. */
static void damage_image(struct rng *rng, size_t which)
{
	struct image copy = images[which];

	if (!copy.there || !copy.len)
		return;
	copy.bytes = malloc(copy.len);
	memcpy(copy.bytes, images[which].bytes, copy.len);
	if (rng_one_in(rng, 12))
		copy.len = rng_below(rng, copy.len);
	else
		damage_bytes(rng, &copy);
	spit(&copy);
	free(copy.bytes);
}

static void report(void *arg, const char *line)
{
	FILE *f = arg;

	ck_assert_ptr_null(strchr(line, '\n'));
	(void)fprintf(f, "%s\n", line);
}

/* Repair, which reports to @lines. Return: 0 or -errno. */
static int repair(bool discard, FILE *lines, struct volume_repair_result *ret)
{
	struct volume_check_options opt = {
		.data = true,
		.discard = discard,
		.report = report,
		.arg = lines,
	};

	memset(ret, 0, sizeof(*ret));
	return volume_repair(in_volume("."), &opt, ret, msg, sizeof(msg));
}

static void expect_clean(FILE *lines, const char *said)
{
	struct volume_check_options opt = {
		.data = true, .report = report, .arg = lines};
	long nr = volume_check(in_volume("."), &opt, msg, sizeof(msg));

	(void)fflush(lines);
	ck_assert_msg(nr == 0, "%ld faults after the repair (%s): %s", nr, msg,
		      said);
}

/* ---- tests ---- */

START_TEST(damaged_bytes_are_never_wrong_bytes)
{
	struct rng rng;
	struct verdict v;
	long refused = 0;
	u64 rounds = test_rounds(ROUNDS);

	rng_init(&rng, 2);
	for (u64 i = 0; i < rounds; i++) {
		put_image();
		damage_image(&rng, i % 2 ? META : DATA);
		refused += !read_all(&v);
	}
	ck_assert_msg(refused < (long)rounds, "nothing could be opened");
}
END_TEST

START_TEST(after_damage_to_data_a_repair_leaves_a_clean_volume)
{
	struct rng rng;
	u64 rounds = test_rounds(ROUNDS / 2);

	rng_init(&rng, 3);
	for (u64 i = 0; i < rounds; i++) {
		struct volume_repair_result r;
		struct verdict before;
		struct verdict after;
		char *said = NULL;
		size_t len;
		FILE *lines = open_memstream(&said, &len);
		bool opened;

		put_image();
		damage_image(&rng, DATA);
		opened = read_all(&before);
		ck_assert_msg(repair(false, lines, &r) == 0, "%s", msg);
		ck_assert_int_eq(r.left, 0);
		expect_clean(lines, said);
		ck_assert(read_all(&after));
		ck_assert_int_eq(after.missing, 0);
		/* a page that could be read still can be, and no other */
		if (opened) {
			ck_assert_int_eq(after.right, before.right);
			ck_assert_int_eq(after.errors, before.errors);
		}
		(void)fclose(lines);
		free(said);
	}
}
END_TEST

START_TEST(after_damage_to_the_database_a_repair_leaves_a_clean_volume)
{
	struct rng rng;
	u64 rounds = test_rounds(ROUNDS);
	long right = 0;
	long all = 0;

	rng_init(&rng, 4);
	for (u64 i = 0; i < rounds; i++) {
		struct volume_repair_result r;
		struct verdict v;
		char *said = NULL;
		size_t len;
		FILE *lines = open_memstream(&said, &len);

		put_image();
		damage_image(&rng, META);
		ck_assert_msg(repair(false, lines, &r) == 0, "%s", msg);
		ck_assert_int_eq(r.left, 0);
		expect_clean(lines, said);
		ck_assert(read_all(&v));
		right += v.right;
		all++;
		(void)fclose(lines);
		free(said);
	}
	/* Most of it is there still: a page is a small part of a database. */
	put_image();
	{
		struct verdict whole;

		ck_assert(read_all(&whole));
		ck_assert_int_eq(whole.missing, 0);
		ck_assert_int_eq(whole.errors, 0);
		ck_assert_msg(right * 2 > whole.right * all, "%ld of %ld",
			      right, whole.right * all);
	}
}
END_TEST

static const char *const wrongs[] = {
	"UPDATE inode SET nlink=nlink+1 WHERE ino%7=0",
	"UPDATE super SET next_ino=2,block_size=512",
	"DELETE FROM super",
	"DELETE FROM inode WHERE ino=1",
	"DELETE FROM inode WHERE ino%5=0 AND mode&61440=16384",
	"DELETE FROM dentry WHERE id%9=0",
	"UPDATE dentry SET type=49152 WHERE id%4=0",
	"UPDATE dentry SET ino=999999 WHERE id%11=0",
	"UPDATE dentry SET parent=ino WHERE type=16384",
	"UPDATE extent SET npages=100 WHERE ino%6=0",
	"UPDATE extent SET sum=NULL WHERE ino%6=0",
	"UPDATE extent SET block=5 WHERE ino%8=0 AND flags=0",
	"UPDATE extent SET block=block+1000000 WHERE ino%8=0 AND flags=0",
	"INSERT INTO extent SELECT ino,pgoff+1,npages,block,flags,sum,data "
	"FROM extent WHERE npages>1 AND flags=0 AND ino%3=1",
	"UPDATE extent SET block=(SELECT e.block FROM extent e WHERE "
	"e.ino=extent.ino+1 AND e.flags=0) WHERE flags=0 AND ino%2=0 AND "
	"ino+1 IN (SELECT ino FROM extent WHERE flags=0)",
	"INSERT INTO extent SELECT ino,pgoff+100000,npages,block,flags,sum,"
	"data FROM extent WHERE flags=0 AND ino%4=1",
	"UPDATE inode SET mode=0 WHERE ino%5=0",
	"INSERT INTO orphan SELECT ino FROM inode WHERE ino%3=0",
	"DELETE FROM symlink",
	"DROP TABLE super",
	"DROP TABLE xattr",
	"PRAGMA user_version=0",
};

/* Through our VFS, so that what is written are right pages. */
static void run_sql(const char *sql)
{
	struct meta *m;

	ck_assert_int_eq(meta_open_bare(in_volume("."), "meta.db", &m), 0);
	ck_assert_msg(!conn_exec(&m->writer, sql), "%s: %s", sql,
		      sqlite3_errmsg(m->writer.db));
	ck_assert_int_eq(meta_close(m), 0);
}

static void mend_wrong(const char *sql)
{
	struct volume_repair_result r;
	struct verdict v;
	char *said = NULL;
	size_t len;
	FILE *lines = open_memstream(&said, &len);

	put_image();
	run_sql(sql);
	ck_assert_msg(repair(false, lines, &r) == 0, "%s: %s", sql, msg);
	ck_assert_msg(r.faults > 0, "%s: nothing found", sql);
	ck_assert_int_eq(r.left, 0);
	expect_clean(lines, said);
	ck_assert_msg(read_all(&v), "%s: %s", sql, msg);
	(void)fclose(lines);
	free(said);
}

START_TEST(rows_that_do_not_fit_are_mended)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++)
		mend_wrong(wrongs[i]);
}
END_TEST

/* Words of the schema alone make a column the number of its row. */
static void damage_schema(const char *table)
{
	struct meta *m;
	char sql[256];

	(void)snprintf(sql, sizeof(sql),
		       "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET "
		       "sql=replace(sql,'PRIMARY','PRIxARY') WHERE name='%s'",
		       table);
	ck_assert_int_eq(meta_open_bare(in_volume("."), "meta.db", &m), 0);
	(void)sqlite3_db_config(m->writer.db, SQLITE_DBCONFIG_DEFENSIVE, 0,
				NULL);
	ck_assert_msg(!conn_exec(&m->writer, sql), "%s: %s", sql,
		      sqlite3_errmsg(m->writer.db));
	ck_assert_int_eq(meta_close(m), 0);
}

START_TEST(keys_that_the_schema_does_not_name_any_more_are_found_again)
{
	static const char *const tables[] = {"super", "inode", "dentry",
					     "symlink", "orphan"};
	struct volume_repair_result r;
	struct verdict v;
	char *said = NULL;
	size_t len;
	FILE *lines = open_memstream(&said, &len);

	put_image();
	damage_schema(tables[_i]);
	ck_assert_msg(repair(false, lines, &r) == 0, "%s", msg);
	ck_assert_int_gt(r.faults, 0);
	ck_assert_int_eq(r.left, 0);
	expect_clean(lines, said);
	ck_assert(read_all(&v));
	ck_assert_int_eq(v.missing, 0);
	ck_assert_int_eq(v.errors, 0);
	(void)fclose(lines);
	free(said);
}
END_TEST

static u64 size_of(const char *dir, const char *name)
{
	struct stat st;

	test_stat(&t,
		  test_lookup(&t,
			      dir ? test_lookup(&t, FS_ROOT_INO, dir)
				  : FS_ROOT_INO,
			      name),
		  &st);
	return (u64)st.st_size;
}

/* Of a lost inode's size only what there is of the file speaks. A small commit
 * is kept in rows, the files of a large one are not. */
START_TEST(sizes_of_lost_inodes_are_guessed_from_content)
{
	struct volume_repair_result r;
	int whole = 0;
	u64 fh;

	put_image();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "short", &fh);
	test_write(&t, fh, 0, "some text\n\0", 11);
	test_write(&t, fh, 3 * PAGE_SIZE, "more text\n", 10);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	(void)test_create(&t, FS_ROOT_INO, "far", &fh);
	test_write(&t, fh, 0, "x", 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);

	/* the last page that a number of pages can name */
	run_sql("DELETE FROM inode WHERE mode&61440=32768;"
		"INSERT INTO extent SELECT max(ino),2251799813685247,1,0,8,"
		"NULL,NULL FROM extent");
	ck_assert_msg(repair(false, fopen("/dev/null", "w"), &r) == 0, "%s",
		      msg);
	expect_clean(stderr, "");
	test_fs_open(&t);
	ck_assert_uint_eq(size_of(NULL, "short"), 3 * PAGE_SIZE + 10);
	ck_assert_uint_eq(size_of(NULL, "far"), 9223372036854771712u);
	for (int i = 0; i < NR_FILES; i++) {
		if (!files[i].size) /* nothing was left of it */
			continue;
		ck_assert_uint_eq(size_of(files[i].dir, files[i].name),
				  bytes_to_pages(files[i].size) * PAGE_SIZE);
		whole++;
	}
	ck_assert_int_gt(whole, 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

START_TEST(what_is_clean_is_left_alone)
{
	struct volume_repair_result r;
	struct verdict v;

	put_image();
	ck_assert_msg(repair(false, stderr, &r) == 0, "%s", msg);
	ck_assert_int_eq(r.faults, 0);
	ck_assert(read_all(&v));
	ck_assert_int_eq(v.missing, 0);
	ck_assert_int_eq(v.errors, 0);
	ck_assert_int_ne(access(in_volume("meta.db.damaged"), F_OK), 0);
}
END_TEST

START_TEST(a_truncated_data_file_costs_what_was_behind_its_end)
{
	struct volume_repair_result r;
	struct verdict v;
	struct image copy = images[DATA];
	char *said = NULL;
	size_t len;
	FILE *lines = open_memstream(&said, &len);

	put_image();
	copy.len /= 2;
	spit(&copy);
	ck_assert(!read_all(&v));
	ck_assert_ptr_nonnull(strstr(msg, "truncated"));
	ck_assert_msg(repair(false, lines, &r) == 0, "%s", msg);
	(void)fflush(lines);
	ck_assert_ptr_nonnull(strstr(said, "behind the end of data"));
	ck_assert_ptr_nonnull(strstr(said, "(/dir"));
	expect_clean(lines, said);
	ck_assert(read_all(&v));
	ck_assert_int_eq(v.missing, 0);
	ck_assert_int_gt(v.errors, 0);
	ck_assert_int_gt(v.right, 0);
	(void)fclose(lines);
	free(said);
}
END_TEST

START_TEST(what_is_lost_is_an_error_until_it_is_written_again)
{
	struct volume_repair_result r;
	struct image copy = images[DATA];
	struct content *f = NULL;
	u8 page[PAGE_SIZE];
	u64 dir, ino, fh;

	put_image();
	copy.len = PAGE_SIZE; /* all content is gone */
	spit(&copy);
	ck_assert_msg(repair(false, fopen("/dev/null", "w"), &r) == 0, "%s",
		      msg);
	for (int i = 0; i < NR_FILES; i++) {
		if (files[i].size > 10 * PAGE_SIZE)
			f = &files[i];
	}
	ck_assert_ptr_nonnull(f);
	test_fs_open(&t);
	dir = test_lookup(&t, FS_ROOT_INO, f->dir);
	ino = test_lookup(&t, dir, f->name);
	fh = test_open(&t, ino);
	ck_assert_int_eq(test_read(&t, fh, 6 * PAGE_SIZE, page, 10), -EIO);
	ck_assert_int_eq(fs_lseek(t.fs, fh, 6 * PAGE_SIZE, SEEK_DATA),
			 6 * PAGE_SIZE);
	test_write(&t, fh, 6 * PAGE_SIZE, f->bytes[0] + 6 * PAGE_SIZE,
		   PAGE_SIZE);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	ck_assert_int_eq(test_read(&t, fh, 6 * PAGE_SIZE, page, PAGE_SIZE),
			 PAGE_SIZE);
	ck_assert(memcmp(page, f->bytes[0] + 6 * PAGE_SIZE, PAGE_SIZE) == 0);
	ck_assert_int_eq(test_read(&t, fh, 7 * PAGE_SIZE, page, 10), -EIO);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);

	/* or until the user has no hope for it */
	ck_assert_msg(repair(true, fopen("/dev/null", "w"), &r) == 0, "%s",
		      msg);
	test_fs_open(&t);
	fh = test_open(&t, ino);
	ck_assert_int_eq(test_read(&t, fh, 7 * PAGE_SIZE, page, 10), 10);
	ck_assert(is_zero(page, 10));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

/* As at boot: what costs nothing is mended, else nothing is done. */
static void preen(const char *sql, bool mended)
{
	struct volume_check_options opt = {
		.preen = true, .report = report, .arg = stderr};
	struct volume_repair_result r;

	put_image();
	run_sql(sql);
	ck_assert_msg(
		volume_repair(in_volume("."), &opt, &r, msg, sizeof(msg)) == 0,
		"%s", msg);
	ck_assert_int_gt(r.faults, 0);
	ck_assert_int_eq(r.left, mended ? 0 : r.faults);
	if (mended)
		expect_clean(stderr, "");
	else
		ck_assert_int_gt(
			volume_check(in_volume("."), &opt, msg, sizeof(msg)),
			0);
}

START_TEST(at_boot_only_what_costs_nothing_is_mended)
{
	preen("UPDATE inode SET nlink=9 WHERE ino=7", true);
	preen("UPDATE inode SET mode=0 WHERE ino=7", false);
}
END_TEST

/* ---- while it is mounted ---- */

static u64 scrub_errors(void)
{
	struct fs_stat st;

	do {
		(void)usleep(1000);
		fs_stat(t.fs, &st);
	} while (st.scrub_running);
	return st.scrub_errors;
}

START_TEST(a_scrub_finds_what_has_gone_bad_while_the_volume_is_in_use)
{
	struct fs_scrub_bad *bad;
	struct fs_stat st;
	size_t nr;
	u8 page[PAGE_SIZE] = {1};
	u64 ino, fh;

	put_image();
	test_fs_open(&t);
	ck_assert_int_eq(fs_scrub(t.fs, true), 0);
	ck_assert_uint_eq(scrub_errors(), 0);
	fs_stat(t.fs, &st);
	ck_assert_uint_gt(st.scrub_blocks, 100);
	ck_assert_uint_eq(st.scrub_blocks, st.scrub_done_blocks);

	/* block 1 holds a page of some file */
	test_fs_spoil_block(1);
	fs_set_scrub_rate(t.fs, PAGE_SIZE);
	ck_assert_int_eq(fs_scrub(t.fs, true), 0);
	ck_assert_int_eq(fs_scrub(t.fs, true), -EBUSY);
	ino = test_create(&t, FS_ROOT_INO, "new", &fh);
	(void)ino;
	for (u64 i = 0; i < 50; i++) {
		test_write(&t, fh, i % 7 * PAGE_SIZE, page, PAGE_SIZE);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	fs_set_scrub_rate(t.fs, 1u << 30);
	ck_assert_uint_eq(scrub_errors(), 1);
	ck_assert_int_eq(fs_scrub_bad(t.fs, &bad, &nr), 0);
	ck_assert_uint_eq(nr, 1);
	ck_assert_uint_eq(bad->nr, 1);
	free(bad);

	/* one that is stopped, and one that the end stops */
	fs_set_scrub_rate(t.fs, PAGE_SIZE);
	ck_assert_int_eq(fs_scrub(t.fs, true), 0);
	ck_assert_int_eq(fs_scrub(t.fs, false), 0);
	(void)scrub_errors();
	ck_assert_int_eq(fs_scrub(t.fs, true), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
}
END_TEST

/* In a process of its own: to close the file here would drop SQLite's locks. */
static void spoil_database(void)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		int fd = open(in_volume("meta.db"), O_WRONLY);
		u8 junk[64];

		memset(junk, 0xa5, sizeof(junk));
		for (size_t at = VFS_PAGE_SIZE; at < images[META].len;
		     at += VFS_PAGE_SIZE)
			if (pwrite(fd, junk, sizeof(junk), (off_t)at) < 0)
				_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(damage_that_a_commit_meets_makes_the_volume_read_only)
{
	struct fs_stat st;
	struct stat attr;
	u64 fh;

	put_image();
	test_fs_open(&t);
	(void)test_create(&t, FS_ROOT_INO, "new", &fh);
	test_write(&t, fh, 0, "content", 7);
	spoil_database();
	ck_assert_int_lt(test_fsync(&t, fh), 0);
	fs_stat(t.fs, &st);
	ck_assert_uint_eq(st.readonly, 1);
	ck_assert_int_eq(
		fs_mkdir(t.fs, FS_ROOT_INO, "d", 0755, &test_cred, &attr),
		-EROFS);
	ck_assert_int_lt(test_fsync(&t, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_lt(test_fs_close(&t), 0);
}
END_TEST

START_TEST(a_row_that_cannot_be_is_an_error_for_its_file_alone)
{
	struct stat dir;
	struct stat st;

	put_image();
	/* that of the first file in dir0 */
	run_sql("UPDATE inode SET mode=7 WHERE ino=3");
	ck_assert(try_open());
	ck_assert_int_eq(fs_lookup(t.fs, FS_ROOT_INO, files[0].dir, &dir), 0);
	ck_assert_int_eq(fs_lookup(t.fs, dir.st_ino, files[0].name, &st), -EIO);
	for (int i = 1; i < FILES_A_DIR; i++) {
		struct verdict v = {0};

		read_file(&files[i], &v);
		ck_assert_int_eq(v.errors + v.missing, 0);
	}
	fs_forget(t.fs, dir.st_ino, 1);
	ck_assert_int_eq(fs_close(t.fs), 0);
}
END_TEST

/* ---- a WAL ---- */

/* All files get a second version, and the volume is copied while it is open:
 * the database has the first and the WAL the second. */
static void take_image_with_wal(void)
{
	put_image();
	test_fs_open(&t);
	for (int i = 0; i < NR_FILES; i++) {
		u64 dir = test_lookup(&t, FS_ROOT_INO, files[i].dir);

		write_version(&files[i], test_lookup(&t, dir, files[i].name), 1,
			      false);
	}
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	take_image();
	ck_assert(images[WAL].there && images[WAL].len);
	ck_assert_int_eq(test_fs_close(&t), 0);
}

START_TEST(a_damaged_wal_gives_one_version_or_the_other)
{
	struct rng rng;
	struct verdict v;
	u64 rounds = test_rounds(ROUNDS / 2);

	rng_init(&rng, 5);
	take_image_with_wal();
	put_image();
	ck_assert(read_all(&v));
	ck_assert_int_eq(v.missing + v.errors, 0);
	for (u64 i = 0; i < rounds; i++) {
		put_image();
		damage_image(&rng, WAL);
		(void)read_all(&v);
	}
}
END_TEST

/* ---- a repair that is killed ---- */

static long kill_after;

static int kill_hook(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (ev->op != VFS_READ && kill_after-- == 0)
		_exit(77);
	return SQLITE_OK;
}

/* Return: was it killed? */
static bool repair_killed_after(long nr)
{
	struct volume_repair_result r;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		FILE *none = fopen("/dev/null", "w");

		kill_after = nr;
		vfs_set_hook(kill_hook, NULL);
		_exit(repair(false, none, &r) ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_msg(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77,
		      "%d", WEXITSTATUS(status));
	return WEXITSTATUS(status) == 77;
}

static void try_killed(const char *sql, size_t page)
{
	long at = 0;
	bool killed = true;

	while (killed) {
		struct volume_repair_result r;
		struct verdict v;

		put_image();
		if (sql) {
			run_sql(sql);
		} else {
			struct image copy = images[META];

			copy.bytes = malloc(copy.len);
			memcpy(copy.bytes, images[META].bytes, copy.len);
			copy.bytes[page * VFS_PAGE_SIZE + 100] ^= 1;
			spit(&copy);
			free(copy.bytes);
		}
		killed = repair_killed_after(at);
		ck_assert_msg(repair(false, fopen("/dev/null", "w"), &r) == 0,
			      "killed at %ld: %s", at, msg);
		expect_clean(stderr, "");
		ck_assert(read_all(&v));
		at = at * 2 + 1;
	}
	ck_assert_int_gt(at, 4);
}

START_TEST(a_repair_that_is_killed_can_be_done_again)
{
	try_killed("UPDATE inode SET nlink=7", 0);
	try_killed(NULL, 0);
	try_killed(NULL, 5);
}
END_TEST

START_TEST(a_repair_is_finished_by_whoever_comes_next)
{
	struct volume_repair_result r;
	struct verdict v;
	const char *const stages[] = {"meta.db", "meta.db-wal"};

	/* As it is when the new database is whole, and each step further. */
	for (size_t i = 0; i <= ARRAY_SIZE(stages); i++) {
		struct image whole = {.name = "meta.db"};
		struct volume_check_options opt = {.report = report,
						   .arg = stderr};

		take_image_with_wal();
		put_image();
		ck_assert_msg(repair(false, stderr, &r) == 0, "%s", msg);
		slurp(&whole);
		put_image();
		whole.name = "meta.db.repaired";
		spit(&whole);
		free(whole.bytes);
		for (size_t k = 0; k < i; k++) {
			char to[64];

			(void)snprintf(to, sizeof(to), "meta.db.damaged%s",
				       stages[k] + strlen("meta.db"));
			ck_assert_int_eq(
				rename(in_volume(stages[k]), in_volume(to)), 0);
		}
		ck_assert_int_eq(
			volume_check(in_volume("."), &opt, msg, sizeof(msg)),
			-EUCLEAN);
		ck_assert_ptr_nonnull(strstr(msg, "cut off"));
		ck_assert(read_all(&v));
		ck_assert_int_eq(v.missing + v.errors, 0);
		expect_clean(stderr, "");
		ck_assert_int_eq(access(in_volume("meta.db.damaged"), F_OK), 0);
		for (int f = 0; f < NR_FILES; f++) {
			free(files[f].bytes[1]);
			files[f].bytes[1] = NULL;
		}
	}
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("repair", &tc);

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, make_volume, free_all);
	tcase_add_test(tc, damaged_bytes_are_never_wrong_bytes);
	tcase_add_test(tc, after_damage_to_data_a_repair_leaves_a_clean_volume);
	tcase_add_test(
		tc,
		after_damage_to_the_database_a_repair_leaves_a_clean_volume);
	tcase_add_test(tc, rows_that_do_not_fit_are_mended);
	tcase_add_loop_test(
		tc, keys_that_the_schema_does_not_name_any_more_are_found_again,
		0, 5);
	tcase_add_test(tc, sizes_of_lost_inodes_are_guessed_from_content);
	tcase_add_test(tc, what_is_clean_is_left_alone);
	tcase_add_test(tc, at_boot_only_what_costs_nothing_is_mended);
	tcase_add_test(tc, a_truncated_data_file_costs_what_was_behind_its_end);
	tcase_add_test(tc, what_is_lost_is_an_error_until_it_is_written_again);
	tcase_add_test(
		tc, a_scrub_finds_what_has_gone_bad_while_the_volume_is_in_use);
	tcase_add_test(tc,
		       damage_that_a_commit_meets_makes_the_volume_read_only);
	tcase_add_test(tc, a_row_that_cannot_be_is_an_error_for_its_file_alone);
	tcase_add_test(tc, a_damaged_wal_gives_one_version_or_the_other);
	tcase_add_test(tc, a_repair_that_is_killed_can_be_done_again);
	tcase_add_test(tc, a_repair_is_finished_by_whoever_comes_next);
	return s;
}

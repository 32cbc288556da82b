/* SPDX-License-Identifier: MIT */
/* The redo log: by itself (src/redo.h), and below a filesystem. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup.h"
#include "dbformat.h"
#include "fs_internal.h"
#include "fs_util.h"
#include "meta_int.h"
#include "redo.h"
#include "tmpdir.h"
#include "transaction.h"
#include "volume_check.h"
#include "wal_gate.h"

/* ---- by itself ---- */

#define START 3u
#define SALT 0x1234567890abcdefull
#define BASE 9u /* the commit on whose rows records stand */

static const struct meta_redo log_row = {START, REDO_BLOCKS, SALT, 1};
static struct bdev *dev;
static struct redo *redo;
static u8 *mem; /* REDO_PAGES pages */
static struct redo_record rec;

static void load(int want, u64 want_records)
{
	u64 records = 77, blocks;

	redo_free(redo);
	ck_assert_int_eq(redo_new(dev, &redo), 0);
	ck_assert_int_eq(dev->ops->size(dev, &blocks), 0);
	ck_assert_int_eq(redo_load(redo, &log_row, blocks, BASE, &records),
			 want);
	ck_assert_uint_eq(records, want_records);
}

static void setup_log(void)
{
	struct bdev *lower;

	tmpdir_make();
	mem = aligned_alloc(PAGE_SIZE, REDO_PAGES * PAGE_SIZE);
	ck_assert_int_eq(bdev_file_open(AT_FDCWD, tmpdir_path("data"),
					O_RDWR | O_CREAT | O_EXCL, &lower),
			 0);
	ck_assert_int_eq(bdev_fault_wrap(lower, &dev), 0);
	ck_assert_int_eq(dev->ops->grow(dev, START + REDO_BLOCKS), 0);
	redo = NULL;
	load(0, 0);
}

static void teardown_log(void)
{
	redo_free(redo);
	dev->ops->close(dev);
	free(mem);
	tmpdir_remove();
}

/* A record of file @ino with @nr pages from @pgoff on, their content made of
 * @version. */
static void make(u64 ino, u64 pgoff, u32 nr, u64 version)
{
	memset(&rec, 0, sizeof(rec));
	rec.nr_files = 1;
	rec.files[0] = (struct redo_file){ino, version * 10, (s64)version, -1};
	rec.nr_pages = nr;
	for (u32 i = 0; i < nr; i++) {
		void *page = mem + i * PAGE_SIZE;

		test_pattern(page, PAGE_SIZE, (pgoff + i) * PAGE_SIZE, version);
		rec.pages[i] = (struct redo_page){ino, pgoff + i, page};
	}
}

static void append(u64 ino, u64 pgoff, u32 nr, u64 version)
{
	make(ino, pgoff, nr, version);
	ck_assert(redo_has_room(redo, 1, nr));
	ck_assert_int_eq(redo_append(redo, &rec, BASE), 0);
}

/* The log has the page as of @version; 0: it has not. */
static void has_page(u64 ino, u64 pgoff, u64 version)
{
	u8 want[PAGE_SIZE];
	void *page = mem;
	struct meta_page map = {.kind = META_PAGE_ZERO};
	u64 next = 0;

	redo_patch_map(redo, ino, pgoff, 1, &map);
	ck_assert_int_eq(redo_next_page(redo, ino, pgoff, &next) &&
				 next == pgoff,
			 version != 0);
	if (!version) {
		ck_assert_int_eq(map.kind, META_PAGE_ZERO);
		return;
	}
	ck_assert_int_eq(map.kind, META_PAGE_BLOCK);
	ck_assert_int_eq(dev->ops->read(dev, map.block, 1, &page), 0);
	test_pattern(want, PAGE_SIZE, pgoff * PAGE_SIZE, version);
	ck_assert(!memcmp(page, want, PAGE_SIZE));
}

static void has_file(u64 ino, u64 version)
{
	struct inode_row row = {.ino = ino, .size = 1};

	redo_patch_inode(redo, &row);
	ck_assert_uint_eq(row.size, version ? version * 10 : 1);
	ck_assert_int_eq(row.mtime, (s64)version);
}

START_TEST(what_was_written_last_is_found_and_loaded)
{
	append(5, 10, 3, 1);
	append(6, 0, 0, 2);
	append(5, 11, 1, 3);
	for (int loaded = 0; loaded < 2; loaded++) {
		has_page(5, 9, 0);
		has_page(5, 10, 1);
		has_page(5, 11, 3);
		has_page(5, 12, 1);
		has_page(5, 13, 0);
		has_page(6, 10, 0);
		has_file(5, 3);
		has_file(6, 2);
		has_file(7, 0);
		ck_assert_uint_eq(redo_used(redo), 7);
		load(0, 3);
	}
	append(5, 10, 1, 4);
	load(0, 4);
	has_page(5, 10, 4);
}
END_TEST

START_TEST(a_full_log_takes_no_more)
{
	u32 pos = 0;

	for (u64 v = 1; redo_has_room(redo, 1, 2); v++, pos += 3)
		append(2, v, 2, v);
	ck_assert_uint_eq(redo_room(redo), REDO_BLOCKS - pos);
	ck_assert_uint_lt(redo_room(redo), 3);
	ck_assert(!redo_has_room(redo, REDO_FILES + 1, 0));
	load(0, pos / 3);
}
END_TEST

/* The first read, and that of one block behind it. */
static u64 nr_reads, bad_read;

static int fail_read(void *arg, unsigned kind)
{
	(void)arg;
	if (kind != BDEV_FAULT_READ)
		return 0;
	nr_reads++;
	return nr_reads == 1 || nr_reads == bad_read + 2 ? -EIO : 0;
}

static void scribble(u32 block, u32 at)
{
	void *page = mem;

	ck_assert_int_eq(dev->ops->read(dev, START + block, 1, &page), 0);
	mem[at] ^= 0x10;
	ck_assert_int_eq(dev->ops->write(dev, START + block, 1, &page), 0);
}

/* A write that was torn is the end of the log; one before the last cannot have
 * been. */
START_TEST(a_torn_record_is_the_end_and_one_before_others_is_damage)
{
	append(2, 1, 2, 1);
	append(2, 1, 2, 2);
	append(2, 1, 2, 3);
	scribble(7, 100);
	load(0, 2);
	has_page(2, 1, 2);
	scribble(7, 100);
	scribble(6, 200); /* the last header */
	load(0, 2);
	scribble(6, 200);
	for (u32 block = 0; block < 6; block++) {
		for (u32 at = 0; at < 30 * 8; at += 8) {
			if (block % 3 == 0 && at >= 15 * 8)
				break; /* words of it that say nothing */
			scribble(block, at);
			load(-EUCLEAN, block / 3);
			scribble(block, at);
		}
	}
	load(0, 3);
}
END_TEST

START_TEST(a_row_that_cannot_be_is_damage)
{
	struct meta_redo row = log_row;
	u64 records;

	row.start = 0;
	ck_assert_int_eq(redo_load(redo, &row, 1000, BASE, &records), -EUCLEAN);
	row = log_row;
	row.nr = REDO_BLOCKS + 1;
	ck_assert_int_eq(redo_load(redo, &row, 1000, BASE, &records), -EUCLEAN);
	row = log_row;
	ck_assert_int_eq(
		redo_load(redo, &row, START + REDO_BLOCKS - 1, BASE, &records),
		-EUCLEAN);
	row.start = UINT64_MAX;
	ck_assert_int_eq(redo_load(redo, &row, 1000, BASE, &records), -EUCLEAN);
}
END_TEST

START_TEST(records_of_later_rows_are_not_mixed_with_earlier_ones)
{
	u64 records;

	append(2, 1, 2, 1);
	make(2, 1, 2, 2);
	ck_assert_int_eq(redo_append(redo, &rec, BASE + 1), 0);
	load(-ESTALE, 1);
	has_page(2, 1, 1);
	ck_assert_int_eq(redo_load(redo, &log_row, 1000, BASE + 1, &records),
			 0);
	ck_assert_uint_eq(records, 2);
}
END_TEST

/* What cannot be read may have been a record, unless others before it say that
 * the log ended there. */
START_TEST(unreadable_blocks_are_the_end_or_damage)
{
	append(2, 1, 2, 1);
	append(2, 1, 2, 2);
	for (u64 block = 0; block < 8; block++) {
		/* the run as a whole, then each by itself */
		bad_read = block;
		bdev_fault_set_hook(dev, fail_read, NULL);
		nr_reads = 0;
		load(-EUCLEAN, block < 6 ? block / 3 : 2);
		bdev_fault_set_hook(dev, NULL, NULL);
	}
	load(0, 2);
}
END_TEST

START_TEST(records_of_another_log_do_not_count)
{
	struct meta_redo row = log_row;
	u64 records;

	append(2, 1, 2, 1);
	append(2, 1, 2, 2);
	row.salt++;
	ck_assert_int_eq(redo_load(redo, &row, 1000, BASE, &records), 0);
	ck_assert_uint_eq(records, 0);
}
END_TEST

/* It stands on rows that have this one's records. */
START_TEST(a_log_that_went_on_behind_it_proves_later_rows)
{
	struct meta_redo next;

	append(2, 1, 2, 1);
	append(2, 1, 2, 2);
	redo_row(redo, &next);
	next.start += redo_used(redo);
	next.nr -= redo_used(redo);
	next.salt = redo_next_salt(next.salt);
	next.seq = 1;
	redo_applied(redo, &next, NULL, NULL);
	make(2, 1, 2, 3);
	ck_assert_int_eq(redo_append(redo, &rec, BASE + 1), 0);

	load(-ESTALE, 2);
	has_page(2, 1, 2);
	/* with a gap before it, some of this one's are missing */
	scribble(3, 100);
	load(-EUCLEAN, 1);
	scribble(3, 100);
	scribble(5, 100);
	load(-EUCLEAN, 1);
	scribble(5, 100);
	load(-ESTALE, 2);

	ck_assert_uint_eq(redo_next_salt(0x7ffff), 0);
	ck_assert_uint_eq(redo_next_salt(0x70000), 0x70001);
}
END_TEST

START_TEST(after_an_error_it_takes_no_more)
{
	append(2, 1, 1, 1);
	for (int kind = 0; kind < 2; kind++) {
		load(0, 1);
		bdev_fault_arm(dev, kind ? BDEV_FAULT_FLUSH : BDEV_FAULT_WRITE,
			       1, -EIO, false);
		make(2, 1, 1, 2);
		ck_assert_int_eq(redo_append(redo, &rec, BASE), -EIO);
		ck_assert(!redo_has_room(redo, 0, 0));
		ck_assert_uint_eq(redo_room(redo), 0);
		has_page(2, 1, 1);
		has_file(2, 1);
	}
}
END_TEST

/* ---- below a filesystem ---- */

static struct test_fs t;

static u64 records(void)
{
	return fs_volume(t.fs)->count.redo_records;
}

static void open_fs(void)
{
	tmpdir_make();
	test_fs_init(&t);
	test_fs_open(&t);
}

static void drop_fs(void)
{
	if (t.fs)
		ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

static void put(u64 fh, u64 pgoff, u64 version)
{
	u8 page[PAGE_SIZE];

	test_pattern(page, PAGE_SIZE, pgoff * PAGE_SIZE, version);
	test_write(&t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE);
}

static void is_there(u64 fh, u64 pgoff, u64 version)
{
	u8 page[PAGE_SIZE], want[PAGE_SIZE] = {0};

	if (version)
		test_pattern(want, PAGE_SIZE, pgoff * PAGE_SIZE, version);
	ck_assert_int_eq(test_read(&t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE),
			 PAGE_SIZE);
	ck_assert(!memcmp(page, want, PAGE_SIZE));
}

/* A file of @pages of version 1, and a log that is ready. */
static u64 make_file(const char *name, u64 pages, u64 *ret_ino)
{
	u64 fh;

	*ret_ino = test_create(&t, FS_ROOT_INO, name, &fh);
	for (u64 i = 0; i < pages; i++)
		put(fh, i, 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	/* the first small commit finds no log, and has one made */
	put(fh, 0, 1);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	return fh;
}

static void small_commit(u64 fh, u64 pgoff, u64 version)
{
	u64 before = records();

	put(fh, pgoff, version);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(records(), before + 1);
}

static int run(const char *command)
{
	char line[4096];

	(void)snprintf(line, sizeof(line), "cd '%s' && %s", tmpdir_path("."),
		       command);
	return system(line); /* NOLINT: a test's own folder */
}

/* The volume as if the daemon had been killed now; it is closed. */
static void kill_fs(void)
{
	ck_assert_int_eq(run("rm -rf killed && cp -a vol killed"), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	t.fs = NULL;
	ck_assert_int_eq(
		run("rm -rf vol && mv killed vol && rm -f vol/meta.db-shm"), 0);
}

START_TEST(small_commits_are_there_after_a_kill)
{
	struct stat st;
	u64 ino, fh = make_file("f", 20, &ino);

	for (u64 i = 0; i < 10; i++)
		small_commit(fh, i * 2, 2 + i);
	small_commit(fh, 30, 50); /* behind the end */
	small_commit(fh, 4, 51);  /* again */
	put(fh, 6, 99);		  /* not synced */
	kill_fs();
	test_fs_check_volume();
	test_fs_open(&t);
	ck_assert_uint_eq(fs_volume(t.fs)->count.redo_replayed, 12);
	fh = test_open(&t, ino);
	test_stat(&t, ino, &st);
	ck_assert_int_eq(st.st_size, 31 * PAGE_SIZE);
	ck_assert_int_eq(st.st_blocks, 21 * 8);
	for (u64 i = 0; i < 20; i++)
		is_there(fh, i, i % 2 ? 1 : i == 4 ? 51 : 2 + i / 2);
	is_there(fh, 25, 0);
	is_there(fh, 30, 50);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* While records are in the log alone, everybody who asks for committed content
 * sees them: reads, sizes, holes, blocks. */
START_TEST(what_the_log_has_is_seen_by_all)
{
	struct stat st;
	u64 ino, fh = make_file("f", 4, &ino);

	small_commit(fh, 2, 7);
	small_commit(fh, 9, 8);
	for (int taken_over = 0; taken_over < 2; taken_over++) {
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		(void)fs_drop(t.fs, 0);
		fh = test_open(&t, ino);
		test_stat(&t, ino, &st);
		ck_assert_int_eq(st.st_size, 10 * PAGE_SIZE);
		ck_assert_int_eq(st.st_blocks, 5 * 8);
		is_there(fh, 1, 1);
		is_there(fh, 2, 7);
		is_there(fh, 3, 1);
		is_there(fh, 5, 0);
		is_there(fh, 9, 8);
		ck_assert_int_eq(fs_lseek(t.fs, fh, 4 * PAGE_SIZE, SEEK_DATA),
				 9 * PAGE_SIZE);
		ck_assert_int_eq(fs_lseek(t.fs, fh, 0, SEEK_HOLE),
				 4 * PAGE_SIZE);
		ck_assert_int_eq(redo_nr_records(fs_volume(t.fs)->redo) == 0,
				 taken_over);
		put(fh, 2, 7);
		ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static void scrub(u64 want_errors)
{
	struct fs_stat st;

	ck_assert_int_eq(fs_scrub(t.fs, true), 0);
	do {
		(void)usleep(1000);
		fs_stat(t.fs, &st);
	} while (st.scrub_running);
	ck_assert_uint_eq(st.scrub_errors, want_errors);
}

START_TEST(a_scrub_reads_what_the_log_has)
{
	struct redo *log;
	struct fs_scrub_bad *bad;
	struct meta_page map;
	u64 pgoff = 9, found, ino, fh = make_file("f", 4, &ino);
	size_t nr;

	small_commit(fh, 2, 7);
	small_commit(fh, 9, 8);
	log = fs_volume(t.fs)->redo;
	scrub(0);
	found = ino;
	ck_assert(redo_next(log, &found, &pgoff, &map));
	ck_assert(found == ino && pgoff == 9);
	test_fs_spoil_block(map.block);
	scrub(1);
	ck_assert_int_eq(fs_scrub_bad(t.fs, &bad, &nr), 0);
	ck_assert_uint_eq(nr, 1);
	ck_assert(bad->ino == ino && bad->pgoff == 9 && bad->nr == 1);
	free(bad);
	ck_assert_uint_eq(redo_nr_records(log), 2);

	/* once rows refer to it, it is found there */
	put(fh, 2, 7);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_uint_eq(redo_nr_records(log), 0);
	scrub(2);
	put(fh, 9, 8);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Names and attributes, holes and cuts, and what nobody asked for, are for a
 * transaction; and it takes the records over. */
START_TEST(what_is_not_small_is_a_transaction)
{
	struct stat attr = {.st_mode = 0600, .st_size = 3 * PAGE_SIZE};
	u64 ino, fh = make_file("f", 8, &ino);
	u64 before;

	small_commit(fh, 1, 2);
	before = records();
	put(fh, 2, 3);
	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr),
			 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_uint_eq(redo_nr_records(fs_volume(t.fs)->redo), 0);

	put(fh, 2, 4);
	attr.st_size = 3 * PAGE_SIZE;
	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_SIZE, &attr),
			 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	ck_assert_int_eq(
		fs_fallocate(t.fs, fh, 0, 20 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	put(fh, 2, 5);
	ck_assert_int_eq(test_commit(&t), 0);
	ck_assert_uint_eq(records(), before);
	small_commit(fh, 2, 6);
	is_there(fh, 1, 2);
	is_there(fh, 2, 6);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* The committer's thread makes them, or who asks. */
START_TEST(a_log_goes_on_in_another_place_for_ever)
{
	u64 ino, fh, first;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.commit_inline = _i;
	test_fs_open(&t);
	fh = make_file("f", 40, &ino);
	first = records();

	for (u64 i = 0; i < 2000; i++) {
		put(fh, i * 7 % 40, 2 + i);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	/* one in a hundred finds it full */
	ck_assert_uint_gt(records() - first, 1960);
	ck_assert_uint_lt(records() - first, 2000);
	for (u64 i = 1960; i < 2000; i++)
		is_there(fh, i * 7 % 40, 2 + i);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	for (u64 i = 1960; i < 2000; i++)
		is_there(fh, i * 7 % 40, 2 + i);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

static int answered = 1;

static void answer(struct fs_done *done, int err)
{
	(void)done;
	__atomic_store_n(&answered, err, __ATOMIC_RELEASE);
}

/* Whoever asks for a small commit makes it, and has the answer at once; the
 * thread is for all else. */
START_TEST(who_asks_makes_it_and_need_not_wait)
{
	struct fs_done done = {.fn = answer};
	bool at_once = false;
	u64 before, ino, fh;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.commit_inline = true;
	test_fs_open(&t);
	fh = make_file("f", 8, &ino);
	before = records();
	/* the thread may still be at what it does after a commit */
	for (int i = 0; i < 1000; i++) {
		__atomic_store_n(&answered, 1, __ATOMIC_RELEASE);
		put(fh, 3, 2 + (u64)i);
		fs_fsync(t.fs, fh, false, &done);
		at_once = !__atomic_load_n(&answered, __ATOMIC_ACQUIRE);
		if (at_once)
			break;
		while (__atomic_load_n(&answered, __ATOMIC_ACQUIRE) == 1)
			(void)sched_yield();
	}
	ck_assert(at_once);
	ck_assert_uint_gt(records(), before);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* A file that is appended to and synced each time ends up in long runs. */
START_TEST(what_is_appended_does_not_stay_scattered)
{
	struct count_rows {
		u64 ino, rows;
	} c = {.rows = 0};
	struct extent_row row;
	struct meta_reader *r;
	u64 pgoff = 0, fh = make_file("f", 1, &c.ino);

	for (u64 i = 1; i < 400; i++) {
		put(fh, i, 2);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	for (int reopened = 0; reopened < 2; reopened++) {
		for (u64 i = 1; i < 400; i++)
			is_there(fh, i, 2);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		test_fs_reopen(&t);
		fh = test_open(&t, c.ino);
	}
	ck_assert_int_eq(meta_reader_get(fs_volume(t.fs)->meta, &r), 0);
	for (; !meta_extent_get(r, c.ino, pgoff, &row, NULL); c.rows++)
		pgoff = row.pgoff + row.npages;
	meta_reader_put(r);
	ck_assert_uint_eq(pgoff, 400);
	ck_assert_uint_lt(c.rows, 30);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* The device fails: a transaction does it then, and nobody is told. */
START_TEST(a_log_that_fails_is_replaced)
{
	u64 ino, fh = make_file("f", 8, &ino);
	u64 before;

	for (int kind = 0; kind < 2; kind++) {
		small_commit(fh, 0, 2);
		before = records();
		bdev_fault_arm(t.fault,
			       kind ? BDEV_FAULT_FLUSH : BDEV_FAULT_WRITE, 1,
			       -EIO, false);
		put(fh, 3, 3);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
		ck_assert_uint_eq(records(), before);
		/* what others have written may be what it told of */
		ck_assert_uint_eq(fs_volume(t.fs)->count.data_flush_errors,
				  (u64)kind + 1);
		small_commit(fh, 4, 4);
	}
	is_there(fh, 0, 2);
	is_there(fh, 3, 3);
	is_there(fh, 4, 4);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Where pages that lay scattered in the log were copied to last. */
static u64 copied_to;
static u32 nr_copied;

void __real_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block);
void __wrap_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block);
void __wrap_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block)
{
	copied_to = block;
	nr_copied = nr;
	__real_redo_move(r, ino, pgoff, nr, block);
}

static int change_mode(u64 ino, u64 fh, u32 mode)
{
	struct stat attr = {.st_mode = mode};

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr),
			 0);
	return test_fsync(&t, fh);
}

/* A file of 12 pages each of which is in a record of its own; and a
 * transaction that copies them, whose COMMIT fails with @code. */
static u64 fail_after_copying(int code, int err, u64 *ret_ino)
{
	u64 fh;

	ck_assert_int_eq(test_fs_close(&t), 0);
	wal_gate_set();
	test_fs_open(&t);
	fh = make_file("f", 12, ret_ino);
	for (u64 i = 0; i < 12; i++)
		small_commit(fh, i, 2);
	nr_copied = 0;
	wal_gate_fail(code);
	ck_assert_int_eq(change_mode(*ret_ino, fh, 0600), err);
	wal_gate_open(SQLITE_OK);
	ck_assert_uint_eq(nr_copied, 12);
	return fh;
}

/* The blocks were given back, and may be anybody's: the next makes its own. */
START_TEST(copies_of_a_transaction_that_failed_are_not_used)
{
	u64 ino, fh = fail_after_copying(SQLITE_FULL, -ENOSPC, &ino);

	nr_copied = 0;
	ck_assert_int_eq(change_mode(ino, fh, 0640), 0);
	ck_assert_uint_eq(nr_copied, 12);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	fh = test_open(&t, ino);
	for (u64 i = 0; i < 12; i++)
		is_there(fh, i, 2);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	wal_gate_remove();
}
END_TEST

/* Nobody knows what became of the COMMIT: if it is on the disk, rows say that
 * the file's pages are where they were copied to. */
START_TEST(copies_that_may_be_committed_are_not_given_out)
{
	u64 ino, fh = fail_after_copying(SQLITE_IOERR_WRITE, -EIO, &ino);
	u64 start;
	u32 nr;

	while (!volume_swap_ops.alloc(fs_volume(t.fs), 4096, true, &start, &nr))
		ck_assert(start + nr <= copied_to ||
			  copied_to + nr_copied <= start);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_ne(test_fs_close(&t), 0);
	wal_gate_remove();
}
END_TEST

static bool has_row(void)
{
	struct meta_redo row;
	struct meta *m;
	char err[200];

	ck_assert_int_eq(
		meta_open(tmpdir_path("vol"), true, &m, err, sizeof(err)), 0);
	ck_assert_int_eq(meta_redo_get(m, &row), 0);
	ck_assert_int_eq(!!(m->super.incompat & META_INCOMPAT_REDO),
			 row.nr != 0);
	ck_assert_int_eq(meta_close(m), 0);
	return row.nr != 0;
}

START_TEST(a_clean_end_leaves_no_log)
{
	u64 ino, fh = make_file("f", 8, &ino);

	small_commit(fh, 0, 2);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	ck_assert(!has_row());
	test_fs_open(&t);
	ck_assert(fs_volume(t.fs)->map_loaded);
}
END_TEST

START_TEST(a_small_volume_has_none)
{
	u64 ino, fh;

	ck_assert_int_eq(test_fs_close(&t), 0);
	ck_assert_int_eq(run("rm -rf vol"), 0);
	t.volume_size = (u64)4 << 20;
	test_fs_open(&t);
	fh = make_file("f", 8, &ino);
	for (u64 v = 2; v < 6; v++) {
		put(fh, 1, v);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	ck_assert_uint_eq(records(), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* What is left for it belongs to files when they need it. */
START_TEST(it_is_given_up_when_blocks_are_scarce)
{
	static u8 mib[1 << 20];
	struct meta_redo row;
	u64 ino, big, fh;

	ck_assert_int_eq(test_fs_close(&t), 0);
	ck_assert_int_eq(run("rm -rf vol"), 0);
	t.volume_size = (u64)64 << 20;
	test_fs_open(&t);
	fh = make_file("f", 8, &ino);
	small_commit(fh, 1, 2);
	(void)test_create(&t, FS_ROOT_INO, "big", &big);
	for (u64 pos = 0; pos < (u64)60 << 20; pos += sizeof(mib))
		test_write(&t, big, pos, mib, sizeof(mib));
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	redo_row(fs_volume(t.fs)->redo, &row);
	ck_assert_uint_eq(row.nr, 0);
	put(fh, 2, 3);
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	is_there(fh, 1, 2);
	is_there(fh, 2, 3);
	ck_assert_int_eq(fs_release(t.fs, big), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- moments ---- */

/* What is to be looked at before the real one is called; once. */
static void (*at_commit_end)(void);
static void (*at_patch)(void);
static void (*at_cut)(void);

void __real_commit_end(struct commit *c, int err);
void __wrap_commit_end(struct commit *c, int err);
void __real_redo_patch_map(struct redo *r, u64 ino, u64 pgoff, u32 nr,
			   struct meta_page *map);
void __wrap_redo_patch_map(struct redo *r, u64 ino, u64 pgoff, u32 nr,
			   struct meta_page *map);
void __real_transaction_cut(struct transaction *tr);
void __wrap_transaction_cut(struct transaction *tr);

static void call_once(void (**what)(void))
{
	void (*fn)(void) = __atomic_exchange_n(what, NULL, __ATOMIC_ACQ_REL);

	if (fn)
		fn();
}

void __wrap_commit_end(struct commit *c, int err)
{
	call_once(&at_commit_end);
	__real_commit_end(c, err);
}

void __wrap_redo_patch_map(struct redo *r, u64 ino, u64 pgoff, u32 nr,
			   struct meta_page *map)
{
	call_once(&at_patch);
	__real_redo_patch_map(r, ino, pgoff, nr, map);
}

void __wrap_transaction_cut(struct transaction *tr)
{
	call_once(&at_cut);
	__real_transaction_cut(tr);
}

static u64 looked_ino, looked_fh;
static bool looked_right;

/* Does the volume have page 3 as of @version? */
static bool volume_has(u64 version)
{
	static _Alignas(PAGE_SIZE) u8 page[PAGE_SIZE], want[PAGE_SIZE];
	void *pages = page;
	int errs = 0;

	test_pattern(want, PAGE_SIZE, (u64)3 * PAGE_SIZE, version);
	return !volume_read_pages(fs_volume(t.fs), looked_ino, 3, 1, &pages,
				  &errs) &&
	       !errs && !memcmp(page, want, PAGE_SIZE);
}

static void look_for_third_version(void)
{
	looked_right = volume_has(3);
}

/* Pages become CLEAN in commit_end(), and may be evicted at once: by then the
 * volume must give what was committed, not what the log had of it before. */
START_TEST(a_page_that_becomes_clean_is_in_the_volume)
{
	struct stat attr = {.st_mode = 0600};

	for (int transaction = 0; transaction < 2; transaction++) {
		looked_fh = make_file(transaction ? "g" : "f", 8, &looked_ino);
		small_commit(looked_fh, 3, 2);
		put(looked_fh, 3, 3);
		if (transaction)
			ck_assert_int_eq(fs_setattr(t.fs, looked_ino, 0, &attr,
						    FS_SET_MODE, &attr),
					 0);
		looked_right = false;
		at_commit_end = look_for_third_version;
		ck_assert_int_eq(test_fsync(&t, looked_fh), 0);
		ck_assert(looked_right);
		ck_assert_int_eq(fs_release(t.fs, looked_fh), 0);
	}
}
END_TEST

/* The log is taken over when the rows have been read and not the log yet. */
static void take_over(void)
{
	put(looked_fh, 5, 9);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert_uint_eq(redo_nr_records(fs_volume(t.fs)->redo), 0);
}

START_TEST(who_reads_while_the_log_is_taken_over_reads_again)
{
	looked_fh = make_file("f", 8, &looked_ino);
	small_commit(looked_fh, 3, 2);
	at_patch = take_over;
	ck_assert(volume_has(2));
	ck_assert(!at_patch);
	ck_assert_int_eq(fs_release(t.fs, looked_fh), 0);
}
END_TEST

static void want_all(void)
{
	committer_want(&t.fs->committer);
}

/* Somebody wants all committed when a small commit is about to cut: then it is
 * that commit, and the wish is not lost. */
START_TEST(a_wish_for_more_is_not_lost_to_a_small_commit)
{
	struct cache_gauges g;
	u64 ino, fh, other;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.commit_inline = true;
	test_fs_open(&t);
	other = make_file("g", 8, &ino);
	fh = make_file("f", 8, &ino);
	put(other, 1, 2);
	put(fh, 1, 2);
	at_cut = want_all;
	ck_assert_int_eq(test_fsync(&t, fh), 0);
	cache_gauges(t.fs->cache, &g);
	ck_assert_uint_eq(g.nr_uncommitted, 0);
	ck_assert_int_eq(fs_release(t.fs, other), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* ---- looked at from outside ---- */

static char lines[1000];

static void note_line(void *arg, const char *line)
{
	(void)arg;
	(void)snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines),
		       "%s\n", line);
}

static struct volume_repair_result repair(void)
{
	struct volume_check_options opt = {
		.data = true, .report = note_line, .note = note_line};
	struct volume_repair_result res;
	char err[200];

	lines[0] = '\0';
	ck_assert_int_eq(
		volume_repair(tmpdir_path("vol"), &opt, &res, err, sizeof(err)),
		0);
	return res;
}

/* Through our VFS, so that the pages' checksums are right. */
static void ask(const char *sql)
{
	struct meta *m;

	ck_assert_int_eq(meta_open_bare(tmpdir_path("vol"), "meta.db", &m), 0);
	ck_assert_int_eq(conn_exec(&m->writer, sql), 0);
	ck_assert_int_eq(meta_close(m), 0);
}

static long check(void)
{
	struct volume_check_options opt = {.report = note_line};
	char err[200];

	lines[0] = '\0';
	return volume_check(tmpdir_path("vol"), &opt, err, sizeof(err));
}

/* A volume with a log of three records of one page each, killed. */
static u64 killed_with_three(struct meta_redo *ret_row)
{
	u64 ino, fh = make_file("f", 8, &ino);

	for (u64 v = 2; v < 5; v++)
		small_commit(fh, 1, v);
	redo_row(fs_volume(t.fs)->redo, ret_row);
	kill_fs();
	return ino;
}

static void read_version(u64 ino, u64 version)
{
	u64 fh;

	test_fs_open(&t);
	fh = test_open(&t, ino);
	is_there(fh, 1, version);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}

START_TEST(a_repair_keeps_what_the_log_has)
{
	struct meta_redo row;
	u64 ino = killed_with_three(&row);
	struct volume_repair_result res = repair();

	ck_assert_int_eq(res.faults, 0);
	ck_assert(has_row());
	/* with something else to mend, it becomes rows */
	ask("UPDATE inode SET nlink=7 WHERE mode&61440=32768");
	res = repair();
	ck_assert_msg(res.faults == 1, "%s", lines);
	ck_assert_int_eq(res.left, 0);
	ck_assert(!has_row());
	read_version(ino, 4);
}
END_TEST

START_TEST(a_damaged_log_is_told_and_a_repair_gives_up_the_rest)
{
	struct volume_check_options check = {.report = note_line};
	struct volume_options opt = {.readonly = false};
	struct volume_repair_result res;
	struct meta_redo row;
	struct volume *v;
	char err[200];
	u64 ino = killed_with_three(&row);

	test_fs_spoil_block(row.start + 2);
	for (int ro = 0; ro < 2; ro++) {
		opt.readonly = ro;
		ck_assert_int_eq(volume_open(tmpdir_path("vol"), &opt, &v, err,
					     sizeof(err)),
				 -EUCLEAN);
		ck_assert_msg(strstr(err, "redo log is damaged"), "%s", err);
	}
	lines[0] = '\0';
	ck_assert_int_eq(
		volume_check(tmpdir_path("vol"), &check, err, sizeof(err)), 1);
	ck_assert_msg(strstr(lines, "redo log: damaged behind 1 "), "%s",
		      lines);
	res = repair();
	ck_assert_int_eq(res.faults, 1);
	ck_assert_int_eq(res.left, 0);
	ck_assert_msg(strstr(lines, "redo log: damaged"), "%s", lines);
	read_version(ino, 2);
}
END_TEST

START_TEST(a_log_whose_place_is_lost_is_told)
{
	struct volume_options opt = {.readonly = false};
	struct meta_redo row;
	struct volume *v;
	char err[200];
	u64 ino = killed_with_three(&row);

	ask("DELETE FROM redo");
	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &opt, &v, err, sizeof(err)),
		-EUCLEAN);
	ck_assert_msg(strstr(err, "redo log is lost"), "%s", err);
	ck_assert_int_eq(check(), 1);
	ck_assert_msg(strstr(lines, "where it is is lost"), "%s", lines);
	ck_assert_int_eq(repair().faults, 1);
	read_version(ino, 1);
}
END_TEST

START_TEST(a_log_where_a_file_has_blocks_is_told)
{
	struct volume_repair_result res;
	struct meta_redo row;
	u64 ino = killed_with_three(&row);

	ask("UPDATE redo SET start=1,salt=salt+1");
	ck_assert_int_eq(check(), 1);
	ck_assert_msg(strstr(lines, "redo log: some of its blocks 1-"), "%s",
		      lines);
	res = repair();
	ck_assert_int_eq(res.faults, 1);
	ck_assert_int_eq(res.left, 0);
	ck_assert_msg(strstr(lines, "redo log: some of its blocks 1-"), "%s",
		      lines);
	ck_assert_int_eq(check(), 0);
	ck_assert(!has_row());
	read_version(ino, 1);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_passed_over_by_a_repair)
{
	struct volume_repair_result res;
	struct meta_redo row;
	u64 ino, other, fh, fh2 = make_file("g", 1, &other);

	fh = make_file("f", 8, &ino);
	small_commit(fh, 1, 2);
	small_commit(fh2, 0, 3);
	redo_row(fs_volume(t.fs)->redo, &row);
	kill_fs();
	ask("DELETE FROM inode WHERE ino=(SELECT ino FROM dentry WHERE "
	    "name=x'67')");
	res = repair();
	ck_assert_int_gt(res.faults, 0);
	ck_assert_int_eq(res.left, 0);
	read_version(ino, 2);
}
END_TEST

/* ---- with a damaged WAL ---- */

#define BACK_PAGES 8u
#define BACK_COMMITS 26u
/* Of each page after each commit; the first commits made the file. */
static u64 history[BACK_COMMITS + 1][BACK_PAGES];

/* Small ones, and each fourth a transaction that takes them over. Killed. */
static u64 commit_some_of_both(void)
{
	struct stat attr = {0};
	u64 ino, fh = make_file("f", BACK_PAGES, &ino);

	for (u64 i = 0; i < BACK_PAGES; i++)
		history[0][i] = 1;
	for (u64 n = 1; n <= BACK_COMMITS; n++) {
		u64 pgoff = n * 3 % BACK_PAGES;

		memcpy(history[n], history[n - 1], sizeof(history[n]));
		history[n][pgoff] = n + 1;
		if (n % 4) {
			small_commit(fh, pgoff, n + 1);
			continue;
		}
		put(fh, pgoff, n + 1);
		attr.st_mode = S_IFREG | (mode_t)(0600 + n);
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &attr), 0);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	kill_fs();
	return ino;
}

/* Which of its versions the page is of; 0: it is lost, and says so. */
static u64 version_of(u64 fh, u64 pgoff)
{
	u8 page[PAGE_SIZE], want[PAGE_SIZE];
	ssize_t n = test_read(&t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE);

	if (n == -EIO)
		return 0;
	ck_assert_int_eq(n, PAGE_SIZE);
	for (u64 v = 1; v <= BACK_COMMITS + 1; v++) {
		test_pattern(want, PAGE_SIZE, pgoff * PAGE_SIZE, v);
		if (!memcmp(page, want, PAGE_SIZE))
			return v;
	}
	ck_abort_msg("page %llu is of no version", (unsigned long long)pgoff);
}

/* All pages that are left are of one commit. Return: it, 0 also if there is no
 * file yet; *ret_lost pages are not left. */
static u64 commit_of(u64 ino, u64 *ret_lost)
{
	u64 now[BACK_PAGES], fh, found = UINT64_MAX;
	int err = fs_openf(t.fs, ino, O_RDONLY, 1, &fh);

	*ret_lost = 0;
	if (err == -ENOENT)
		return 0;
	ck_assert_int_eq(err, 0);
	for (u64 i = 0; i < BACK_PAGES; i++) {
		now[i] = version_of(fh, i);
		*ret_lost += !now[i];
	}
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	for (u64 n = 0; n <= BACK_COMMITS; n++) {
		u64 same = 0;

		for (u64 i = 0; i < BACK_PAGES; i++)
			same += !now[i] || now[i] == history[n][i];
		if (same == BACK_PAGES)
			found = n;
	}
	ck_assert_uint_ne(found, UINT64_MAX);
	return found;
}

/* A repair goes back to a transaction before the damage. What the log had then
 * may be there still, or others have its blocks since: records count that were
 * written on those rows, and no others. */
START_TEST(a_repair_that_goes_back_in_the_wal_mixes_no_commits)
{
	const u64 frame = WAL_FRAME_HEADER + VFS_PAGE_SIZE;
	u64 ino = commit_some_of_both(), nr = 0, whole = 0, lost;
	bool found[BACK_COMMITS + 1] = {false};
	struct stat st;

	ck_assert_int_eq(run("rm -rf kept && mv vol kept"), 0);
	ck_assert_int_eq(stat(tmpdir_path("kept/meta.db-wal"), &st), 0);
	for (u64 at = WAL_HEADER + 100; at < (u64)st.st_size; at += frame) {
		struct volume_repair_result res;
		int fd;

		ck_assert_int_eq(run("rm -rf vol && cp -a kept vol"), 0);
		fd = open(tmpdir_path("vol/meta.db-wal"), O_RDWR);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(pwrite(fd, "\252", 1, (off_t)at), 1);
		(void)close(fd);
		res = repair();
		ck_assert_msg(res.faults > 0 && !res.left, "at %llu: %s",
			      (unsigned long long)at, lines);
		test_fs_check_volume();
		test_fs_open(&t);
		found[commit_of(ino, &lost)] = true;
		whole += !lost;
		ck_assert_int_eq(test_fs_close(&t), 0);
		nr++;
	}
	ck_assert_uint_gt(nr, BACK_COMMITS / 4);
	ck_assert_uint_gt(whole, 0);
	nr = 0;
	for (u64 n = 0; n <= BACK_COMMITS; n++)
		nr += found[n];
	ck_assert_uint_gt(nr, 2);
}
END_TEST

/* It is read, though nothing can be written. */
START_TEST(a_mount_to_read_sees_what_the_log_has)
{
	struct volume_options opt = {.readonly = true};
	struct meta_redo row;
	struct volume *v;
	char err[200];
	_Alignas(PAGE_SIZE) u8 page[PAGE_SIZE];
	u8 want[PAGE_SIZE];
	void *pages = page;
	int errs = 0;
	u64 ino = killed_with_three(&row);

	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &opt, &v, err, sizeof(err)), 0);
	ck_assert_int_eq(volume_read_pages(v, ino, 1, 1, &pages, &errs), 0);
	ck_assert_int_eq(errs, 0);
	test_pattern(want, PAGE_SIZE, PAGE_SIZE, 4);
	ck_assert(!memcmp(page, want, PAGE_SIZE));
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert(has_row());
	read_version(ino, 4);
}
END_TEST

START_TEST(a_backup_has_what_the_log_has)
{
	struct backup_options opt = {.report = note_line};
	struct backup_result res;
	struct meta_redo row;
	char err[500], from[1100], to[1100];
	u64 ino = killed_with_three(&row);

	(void)snprintf(from, sizeof(from), "%s", tmpdir_path("vol"));
	(void)snprintf(to, sizeof(to), "%s", tmpdir_path("copy"));
	opt.from = from;
	opt.to = to;
	ck_assert_msg(volume_backup(&opt, &res, err, sizeof(err)) == 0, "%s",
		      err);
	ck_assert_int_eq(run("rm -rf vol && mv copy vol"), 0);
	ck_assert(!has_row());
	test_fs_check_volume();
	read_version(ino, 4);
}
END_TEST

/* While it is made, the mount goes on: a transaction, and a record on top of
 * that, in a log that had none when the rows were copied. */
START_TEST(records_on_top_of_later_rows_are_not_for_copied_ones)
{
	u64 ino, created, fh = make_file("f", 40, &ino), new;
	u64 n = 99, blocks;
	struct meta_super super;
	struct meta_redo row;
	struct redo *r;
	struct meta *m;
	char err[500];

	ck_assert_uint_eq(redo_nr_records(fs_volume(t.fs)->redo), 0);
	ck_assert_int_eq(run("mkdir snap"), 0);
	ck_assert_int_eq(meta_copy(tmpdir_path("vol"), tmpdir_path("snap"), err,
				   sizeof(err)),
			 0);
	new = make_file("g", 1, &created);
	for (u64 i = 0; i < 40; i++)
		put(fh, i, 2);
	ck_assert_int_eq(test_commit(&t), 0);
	small_commit(fh, 5, 3);
	small_commit(new, 0, 3);

	ck_assert_int_eq(
		meta_open(tmpdir_path("snap"), false, &m, err, sizeof(err)), 0);
	ck_assert_int_eq(meta_redo_get(m, &row), 0);
	ck_assert_uint_ne(row.nr, 0);
	meta_super(m, &super);
	ck_assert_int_eq(redo_new(fs_volume(t.fs)->data, &r), 0);
	ck_assert_int_eq(fs_volume(t.fs)->data->ops->size(fs_volume(t.fs)->data,
							  &blocks),
			 0);
	ck_assert_int_eq(redo_load(r, &row, blocks, super.commit_no, &n),
			 -ESTALE);
	ck_assert_uint_eq(n, 0);
	redo_free(r);
	ck_assert_int_eq(meta_close(m), 0);
	ck_assert_int_eq(fs_release(t.fs, new), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

/* Whoever makes the commits, the WAL is moved into the database. */
START_TEST(the_wal_stays_short)
{
	struct stat attr = {.st_size = 0}, st;
	struct fs_stat figures;
	u64 ino, fh;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.commit_inline = true;
	test_fs_open(&t);
	fh = make_file("f", 8, &ino);
	for (u64 i = 0; i < 3000; i++) {
		ck_assert_int_eq(
			fs_setattr(t.fs, ino, 0, &attr, FS_SET_SIZE, &st), 0);
		put(fh, 0, 2 + i);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
	}
	ck_assert_int_eq(stat(tmpdir_path("vol/meta.db-wal"), &st), 0);
	ck_assert_int_lt(st.st_size, 32 << 20);
	fs_stat(t.fs, &figures);
	ck_assert_uint_gt(figures.checkpoints, 1);
	ck_assert_uint_lt(figures.checkpoints, 1000);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("redo log", &tc);

	tcase_add_checked_fixture(tc, setup_log, teardown_log);
	tcase_add_test(tc, what_was_written_last_is_found_and_loaded);
	tcase_add_test(tc, a_full_log_takes_no_more);
	tcase_add_test(
		tc, a_torn_record_is_the_end_and_one_before_others_is_damage);
	tcase_add_test(tc, a_row_that_cannot_be_is_damage);
	tcase_add_test(tc,
		       records_of_later_rows_are_not_mixed_with_earlier_ones);
	tcase_add_test(tc, unreadable_blocks_are_the_end_or_damage);
	tcase_add_test(tc, records_of_another_log_do_not_count);
	tcase_add_test(tc, a_log_that_went_on_behind_it_proves_later_rows);
	tcase_add_test(tc, after_an_error_it_takes_no_more);

	tc = tcase_create("filesystem");
	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_fs, drop_fs);
	tcase_add_test(tc, small_commits_are_there_after_a_kill);
	tcase_add_test(tc, what_the_log_has_is_seen_by_all);
	tcase_add_test(tc, a_scrub_reads_what_the_log_has);
	tcase_add_test(tc, what_is_not_small_is_a_transaction);
	tcase_add_loop_test(tc, a_log_goes_on_in_another_place_for_ever, 0, 2);
	tcase_add_test(tc, who_asks_makes_it_and_need_not_wait);
	tcase_add_test(tc, what_is_appended_does_not_stay_scattered);
	tcase_add_test(tc, a_log_that_fails_is_replaced);
	tcase_add_test(tc, copies_of_a_transaction_that_failed_are_not_used);
	tcase_add_test(tc, copies_that_may_be_committed_are_not_given_out);
	tcase_add_test(tc, a_clean_end_leaves_no_log);
	tcase_add_test(tc, a_small_volume_has_none);
	tcase_add_test(tc, it_is_given_up_when_blocks_are_scarce);
	tcase_add_test(tc, a_repair_keeps_what_the_log_has);
	tcase_add_test(tc,
		       a_damaged_log_is_told_and_a_repair_gives_up_the_rest);
	tcase_add_test(tc, a_log_whose_place_is_lost_is_told);
	tcase_add_test(tc, a_log_where_a_file_has_blocks_is_told);
	tcase_add_test(tc, a_file_that_is_not_there_is_passed_over_by_a_repair);
	tcase_add_test(tc, a_repair_that_goes_back_in_the_wal_mixes_no_commits);
	tcase_add_test(tc, a_mount_to_read_sees_what_the_log_has);
	tcase_add_test(tc, a_backup_has_what_the_log_has);
	tcase_add_test(tc,
		       records_on_top_of_later_rows_are_not_for_copied_ones);
	tcase_add_test(tc, the_wal_stays_short);
	tcase_add_test(tc, a_page_that_becomes_clean_is_in_the_volume);
	tcase_add_test(tc, who_reads_while_the_log_is_taken_over_reads_again);
	tcase_add_test(tc, a_wish_for_more_is_not_lost_to_a_small_commit);
	return s;
}

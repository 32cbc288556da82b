/* SPDX-License-Identifier: MIT */
/*
 * Content of files against arrays of bytes: random writes, truncation, holes,
 * fallocate, copies, with commits, failed commits, drops and remounts between.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_util.h"
#include "tmpdir.h"

#define NR_FILES 3
#define MAX_LEN ((size_t)600 << 10)

struct content {
	u64 ino, fh;
	size_t size;
	u8 bytes[MAX_LEN];
};

static struct test_fs t;
static struct rng rng;
static struct content files[NR_FILES];
static u8 buf[MAX_LEN];
static u64 version;

static struct content *pick(void)
{
	return &files[rng_below(&rng, NR_FILES)];
}

/* Positions are often at pages' edges, lengths often short. */
static size_t pick_pos(void)
{
	size_t pos = rng_below(&rng, MAX_LEN - PAGE_SIZE);

	if (rng_one_in(&rng, 3))
		pos &= (size_t)PAGE_MASK;
	return pos;
}

static size_t pick_len(size_t pos)
{
	size_t max_len = rng_one_in(&rng, 3) ? 300u << 10 : 9000;

	return min(rng_range(&rng, 1, max_len), MAX_LEN - pos);
}

static void do_write(void)
{
	struct content *c = pick();
	size_t pos = pick_pos(), len = pick_len(pos);

	test_pattern(buf, len, pos, ++version);
	test_write(&t, c->fh, pos, buf, len);
	if (pos > c->size)
		memset(c->bytes + c->size, 0, pos - c->size);
	memcpy(c->bytes + pos, buf, len);
	c->size = max(c->size, pos + len);
}

static void do_truncate(void)
{
	struct content *c = pick();
	struct stat attr = {.st_size = (off_t)pick_pos()}, st;
	size_t size = (size_t)attr.st_size;

	expect(fs_setattr(t.fs, c->ino, c->fh, &attr, FS_SET_SIZE, &st) == 0);
	expect_eq((size_t)st.st_size, size);
	if (size > c->size)
		memset(c->bytes + c->size, 0, size - c->size);
	c->size = size;
}

static void zero(struct content *c, size_t pos, size_t len)
{
	if (pos < c->size)
		memset(c->bytes + pos, 0, min(len, c->size - pos));
}

static void do_punch(void)
{
	struct content *c = pick();
	size_t pos = pick_pos(), len = pick_len(pos);

	expect(fs_fallocate(t.fs, c->fh,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos,
			    len) == 0);
	zero(c, pos, len);
}

static void do_fallocate(void)
{
	struct content *c = pick();
	size_t pos = pick_pos(), len = pick_len(pos);
	int mode = 0;

	if (rng_one_in(&rng, 2))
		mode |= FALLOC_FL_KEEP_SIZE;
	if (rng_one_in(&rng, 3))
		mode |= FALLOC_FL_ZERO_RANGE;
	expect(fs_fallocate(t.fs, c->fh, mode, pos, len) == 0);
	if (mode & FALLOC_FL_ZERO_RANGE)
		zero(c, pos, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && pos + len > c->size) {
		memset(c->bytes + c->size, 0, pos + len - c->size);
		c->size = pos + len;
	}
}

static void do_copy(void)
{
	struct content *from = pick(), *to = pick();
	size_t a = pick_pos(), b = pick_pos();
	size_t len = min(pick_len(a), MAX_LEN - b);
	ssize_t n, want = 0;

	if (from == to)
		return;
	if (a < from->size)
		want = (ssize_t)min(len, from->size - a);
	n = fs_copy_file_range(t.fs, from->fh, a, to->fh, b, len, 0);
	expect(n == want);
	if (!n)
		return;
	if (b > to->size)
		memset(to->bytes + to->size, 0, b - to->size);
	memcpy(to->bytes + b, from->bytes + a, (size_t)n);
	to->size = max(to->size, b + (size_t)n);
}

static void compare(struct content *c, size_t pos, size_t len)
{
	ssize_t n = test_read(&t, c->fh, pos, buf, len);
	size_t want = pos < c->size ? min(len, c->size - pos) : 0;

	expect(n == (ssize_t)want);
	expect(!memcmp(buf, c->bytes + pos, want));
}

static void do_read(void)
{
	size_t pos = pick_pos();

	compare(pick(), pos, pick_len(pos));
}

static void compare_all(void)
{
	struct stat st;

	for (int i = 0; i < NR_FILES; i++) {
		test_stat(&t, files[i].ino, &st);
		expect_eq((size_t)st.st_size, files[i].size);
		compare(&files[i], 0, MAX_LEN);
	}
}

/* What SEEK_DATA and SEEK_HOLE call a hole reads as zeros. */
static void do_seek(void)
{
	struct content *c = pick();
	size_t pos = pick_pos();
	s64 data = fs_lseek(t.fs, c->fh, pos, SEEK_DATA);
	s64 hole = fs_lseek(t.fs, c->fh, pos, SEEK_HOLE);

	if (pos >= c->size) {
		expect(data == -ENXIO && hole == -ENXIO);
		return;
	}
	expect(hole >= (s64)pos && hole <= (s64)c->size);
	if (data == -ENXIO)
		data = (s64)c->size;
	expect(data >= (s64)pos && data <= (s64)c->size);
	for (size_t i = pos; i < (size_t)data; i++)
		expect(!c->bytes[i]);
}

static void do_fsync(void)
{
	expect(test_fsync(&t, pick()->fh) == 0);
}

static void do_sync(void)
{
	if (rng_one_in(&rng, 2))
		fs_want_commit(t.fs);
	else
		expect(fs_sync_wait(t.fs) == 0);
}

static void do_drop(void)
{
	expect(fs_drop(t.fs, rng_one_in(&rng, 2) ? 0 : pick()->ino) == 0);
}

static void open_all(void)
{
	char name[2] = "0";

	for (int i = 0; i < NR_FILES; i++) {
		struct stat st;

		name[0] = (char)('0' + i);
		if (fs_lookup(t.fs, FS_ROOT_INO, name, &st)) {
			files[i].ino = test_create(&t, FS_ROOT_INO, name,
						   &files[i].fh);
			continue;
		}
		fs_forget(t.fs, st.st_ino, 1);
		files[i].ino = st.st_ino;
		files[i].fh = test_open(&t, st.st_ino);
	}
}

static void do_remount(void)
{
	if (!rng_one_in(&rng, 6))
		return;
	test_fs_reopen(&t);
	open_all();
	compare_all();
}

/* Removed and made anew, sometimes while it is open. */
static void do_replace(void)
{
	int i = (int)rng_below(&rng, NR_FILES);
	struct content *c = &files[i];
	char name[2] = {(char)('0' + i), 0};
	u64 old = c->fh;

	expect(fs_unlink(t.fs, FS_ROOT_INO, name) == 0);
	compare(c, 0, MAX_LEN);
	c->ino = test_create(&t, FS_ROOT_INO, name, &c->fh);
	c->size = 0;
	expect(fs_release(t.fs, old) == 0);
}

static const struct {
	void (*fn)(void);
	u32 weight;
} ops[] = {
	{do_write, 30}, {do_truncate, 6}, {do_punch, 6},   {do_fallocate, 4},
	{do_copy, 4},	{do_read, 20},	  {do_seek, 6},	   {do_fsync, 6},
	{do_sync, 6},	{do_drop, 3},	  {do_remount, 2}, {do_replace, 2},
};

static void step(void)
{
	u64 total = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	at = rng_below(&rng, total);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (at < ops[i].weight) {
			ops[i].fn();
			break;
		}
		at -= ops[i].weight;
	}
	fs_check(t.fs);
}

static void start(u64 stream, u64 cache_size)
{
	tmpdir_make();
	rng_init(&rng, stream);
	test_fs_init(&t);
	t.commit_inline = true;
	t.cache_size = cache_size;
	test_fs_open(&t);
	open_all();
}

static void finish(void)
{
	compare_all();
	test_fs_reopen(&t);
	open_all();
	compare_all();
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

START_TEST(content_follows_the_model)
{
	start((u64)_i, 8u << 20);
	for (u64 i = 0; i < test_rounds(1200); i++)
		step();
	finish();
}
END_TEST

START_TEST(content_follows_the_model_in_64_pages)
{
	start(100 + (u64)_i, CACHE_MIN_PAGES * PAGE_SIZE);
	for (u64 i = 0; i < test_rounds(1200); i++)
		step();
	finish();
}
END_TEST

START_TEST(content_survives_commits_that_fail)
{
	u64 nr_failed = 0;

	start(200 + (u64)_i, 2u << 20);
	for (u64 i = 0; i < test_rounds(800); i++) {
		if (rng_one_in(&rng, 15)) {
			bool flush = rng_one_in(&rng, 2);

			/* something that needs blocks */
			for (int k = 0; k < 4; k++)
				do_write();
			/* a flush is tried again */
			bdev_fault_arm(t.fault,
				       flush ? BDEV_FAULT_FLUSH
					     : BDEV_FAULT_WRITE,
				       rng_range(&rng, 1, 2), -EIO,
				       flush || rng_one_in(&rng, 2));
			nr_failed += fs_sync_wait(t.fs) != 0;
			bdev_fault_arm(t.fault, 0, 0, 0, false);
			/* told once, then forgotten */
			for (int f = 0; f < NR_FILES; f++)
				(void)fs_flush(t.fs, files[f].fh);
			expect(fs_sync_wait(t.fs) == 0);
		}
		step();
	}
	ck_assert_uint_ne(nr_failed, 0);
	finish();
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs content", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, content_follows_the_model, 0, 2);
	tcase_add_loop_test(tc, content_follows_the_model_in_64_pages, 0, 2);
	tcase_add_loop_test(tc, content_survives_commits_that_fail, 0, 2);
	return s;
}

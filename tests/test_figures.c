/* SPDX-License-Identifier: MIT */
/*
 * The figures of the control files against what was done: a real volume, page
 * cache and filesystem below, no mount above.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "test.h"

static char folder[64];
static struct fs *fs;
static struct control *control;
static struct cache_read *rd;
static u64 cache_size = 16 << 20;

/* Thresholds out of the way: nothing is written but what a test asks for. */
static void open_fs(void)
{
	struct fs_options opt = {
		.cache_size = cache_size,
		.cache_max = 64 << 20,
		.commit_secs = 0,
		.patient = true,
	};
	struct volume_options vopt = {0};
	struct volume *v;
	char err[512];

	for (u32 i = 0; i < KNOB_NR; i++)
		opt.knobs[i] = UINT64_MAX;
	opt.knobs[KNOB_dirty_background_bytes] = 1ull << 40;
	opt.knobs[KNOB_dirty_bytes] = 1ull << 40;
	ck_assert_msg(volume_open(folder, &vopt, &v, err, sizeof(err)) == 0,
		      "%s", err);
	ck_assert_int_eq(fs_open(v, &opt, &fs), 0);
	ck_assert_int_eq(control_new(fs, NULL, 0, 0, &control), 0);
}

static void setup(void)
{
	struct volume_options vopt = {.size = 256 << 20};
	char err[512];

	(void)snprintf(folder, sizeof(folder), "figures-%d.folio",
		       (int)getpid());
	ck_assert_msg(volume_create(folder, &vopt, err, sizeof(err)) == 0, "%s",
		      err);
	rd = calloc(1, sizeof(*rd));
	ck_assert_int_eq(posix_memalign(&rd->bounce, PAGE_SIZE,
					CACHE_READ_MAX_PAGES * PAGE_SIZE),
			 0);
	open_fs();
}

static void remove_file(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)unlink(path);
}

static void teardown(void)
{
	control_free(control);
	ck_assert_int_eq(fs_close(fs), 0);
	free(rd->bounce);
	free(rd);
	remove_file("meta.db");
	remove_file("meta.db-wal");
	remove_file("meta.db-shm");
	remove_file("data");
	remove_file("lock");
	(void)rmdir(folder);
}

/* ---- looking, through the control files alone ---- */

static u64 lookup(u64 parent, const char *name)
{
	double timeout;
	struct stat st;

	ck_assert_msg(control_lookup(control, parent, name, &st, &timeout) == 0,
		      "%s", name);
	return st.st_ino;
}

static struct control_file *open_at(const char *path, int flags)
{
	struct control_file *f;
	char copy[128];
	char *save;
	u64 ino = CONTROL_INO;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name;
	     name = strtok_r(NULL, "/", &save))
		ino = lookup(ino, name);
	ck_assert_int_eq(control_open(control, ino, flags, &f), 0);
	return f;
}

static const char *read_at(const char *path)
{
	static char buf[1 << 20];
	struct control_file *f = open_at(path, O_RDONLY);
	ssize_t n = control_read(f, 0, buf, sizeof(buf) - 1);

	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	control_release(f);
	return buf;
}

/* The number behind @name and @sep at the start of a line of @text. */
static u64 number_in(const char *text, const char *name, const char *sep)
{
	char start[64];
	const char *at;

	(void)snprintf(start, sizeof(start), "%s%s", name, sep);
	for (at = strstr(text, start); at; at = strstr(at + 1, start))
		if (at == text || at[-1] == '\n')
			return strtoull(at + strlen(start), NULL, 10);
	ck_abort_msg("no %s in:\n%s", name, text);
	return 0;
}

static u64 number(const char *path, const char *name, const char *sep)
{
	return number_in(read_at(path), name, sep);
}

static u64 vmstat(const char *name)
{
	return number("vmstat", name, " ");
}

static u64 meminfo(const char *name)
{
	return number("meminfo", name, ":");
}

static u64 of_file(u64 ino, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "inode/%" PRIu64 "/stat", ino);
	return number(path, name, " ");
}

/* ---- doing ---- */

struct answer {
	struct fs_done done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool given;
	int err;
};

static void answered(struct fs_done *done, int err)
{
	struct answer *a = container_of(done, struct answer, done);

	(void)pthread_mutex_lock(&a->lock);
	a->given = true;
	a->err = err;
	(void)pthread_cond_signal(&a->cond);
	(void)pthread_mutex_unlock(&a->lock);
}

static int set(const char *path, const char *value)
{
	struct control_file *f = open_at(path, O_WRONLY);
	struct answer a = {.done.fn = answered};

	(void)pthread_mutex_init(&a.lock, NULL);
	(void)pthread_cond_init(&a.cond, NULL);
	control_write(f, 0, value, strlen(value), &a.done);
	(void)pthread_mutex_lock(&a.lock);
	while (!a.given)
		(void)pthread_cond_wait(&a.cond, &a.lock);
	(void)pthread_mutex_unlock(&a.lock);
	control_release(f);
	return a.err;
}

struct open_file {
	u64 ino;
	u64 fh;
};

static struct open_file create(const char *name)
{
	struct fs_cred cred = {0};
	struct open_file f;
	struct stat st;

	ck_assert_int_eq(fs_create(fs, FS_ROOT_INO, name, S_IFREG | 0644,
				   O_RDWR, &cred, getpid(), &st, &f.fh),
			 0);
	f.ino = st.st_ino;
	return f;
}

static void close_file(struct open_file f)
{
	ck_assert_int_eq(fs_release(fs, f.fh), 0);
	fs_forget(fs, f.ino, 1);
}

static void fill_page(u64 ino, u64 pgoff, u64 *page)
{
	for (size_t i = 0; i < PAGE_SIZE / sizeof(*page); i++)
		page[i] = ino << 48 ^ pgoff << 16 ^ i;
}

static void write_pages(struct open_file f, u64 pgoff, u64 nr)
{
	u64 page[PAGE_SIZE / sizeof(u64)];

	for (u64 i = pgoff; i < pgoff + nr; i++) {
		u64 pause;
		bool retry;

		fill_page(f.ino, i, page);
		ck_assert_int_eq(fs_write(fs, f.fh, i * PAGE_SIZE, page,
					  PAGE_SIZE, 0, &pause, &retry),
				 PAGE_SIZE);
	}
}

/* Read page by page and compare. */
static void read_pages(struct open_file f, u64 pgoff, u64 nr)
{
	u64 want[PAGE_SIZE / sizeof(u64)];

	for (u64 i = pgoff; i < pgoff + nr; i++) {
		fill_page(f.ino, i, want);
		ck_assert_int_eq(
			fs_read(fs, f.fh, i * PAGE_SIZE, PAGE_SIZE, rd),
			PAGE_SIZE);
		ck_assert_uint_eq(rd->nr_iov, 1);
		ck_assert(memcmp(rd->iov[0].iov_base, want, PAGE_SIZE) == 0);
		cache_read_done(fs_cache(fs), rd);
	}
}

/* ---- what always holds ---- */

static struct fs_file_info sum_files(void)
{
	struct fs_file_info sum = {0};
	struct fs_file_info *info;
	size_t nr;

	ck_assert_int_eq(fs_files(fs, &info, &nr), 0);
	for (size_t i = 0; i < nr; i++) {
		sum.opens += info[i].opens;
		sum.st.nr_cache += info[i].st.nr_cache;
		sum.st.nr_dirty += info[i].st.nr_dirty;
		sum.st.nr_saved += info[i].st.nr_saved;
		sum.st.nr_swapped += info[i].st.nr_swapped;
		sum.st.nr_uncommitted += info[i].st.nr_uncommitted;
	}
	free(info);
	return sum;
}

/* Figures of the cache, which stand first in vmstat. */
static char *cache_figures(void)
{
	const char *text = read_at("vmstat");
	const char *end = strstr(text, "\ncommits ");

	ck_assert_ptr_nonnull(end);
	return strndup(text, (size_t)(end - text));
}

static u64 frames_in_use(const char *text)
{
	return number_in(text, "nr_file_pages", " ") +
	       number_in(text, "nr_anon_pages", " ");
}

/* Figures and files of one moment: what goes on behind the back of this test,
 * reclaim, has come to rest, and nothing changed between two looks. Bookkeeping
 * that grew leaves less for frames, which reclaim then gives back. */
static char *one_moment(struct fs_file_info *ret_sum)
{
	char *before = cache_figures();
	char *after;

	for (;;) {
		*ret_sum = sum_files();
		after = cache_figures();
		if (strcmp(before, after) == 0 &&
		    number_in(after, "nr_writeback", " ") == 0 &&
		    frames_in_use(after) <= number_in(after, "nr_frames", " "))
			break;
		free(before);
		before = after;
		(void)sched_yield();
	}
	free(after);
	return before;
}

#define F(name) number_in(text, name, " ")

/* Files, lists and states add up to the same. */
static void check_sums(void)
{
	struct fs_file_info sum;
	char *text = one_moment(&sum);
	u64 cached = frames_in_use(text);

	ck_assert_uint_eq(sum.st.nr_cache, cached);
	ck_assert_uint_eq(F("nr_active_anon") + F("nr_inactive_anon") +
				  F("nr_active_file") + F("nr_inactive_file") +
				  F("nr_unevictable"),
			  cached);
	ck_assert_uint_eq(sum.st.nr_dirty, F("nr_dirty"));
	ck_assert_uint_eq(sum.st.nr_saved, F("nr_saved"));
	ck_assert_uint_eq(sum.st.nr_swapped, F("nr_swapped"));
	ck_assert_uint_eq(sum.st.nr_uncommitted, F("nr_uncommitted"));
	ck_assert_uint_eq(F("nr_dirty") + F("nr_saved"), F("nr_anon_pages"));
	ck_assert_uint_eq(F("nr_saved") + F("nr_swapped"), F("nr_slots"));
	ck_assert_uint_eq(F("pgalloc") - F("pgfree"), cached);
	ck_assert_uint_le(F("nr_free_pages") + cached, F("nr_frames"));
	free(text);
}

/* ---- the tests ---- */

#define NR 100

START_TEST(a_written_page_is_dirty_until_it_is_committed)
{
	struct open_file f = create("a");
	u64 used = number("volume", "used_bytes", " ");
	u64 commits = vmstat("commits");
	char path[64];

	write_pages(f, 0, NR);
	ck_assert_uint_eq(vmstat("nr_dirtied"), NR);
	ck_assert_uint_eq(vmstat("nr_dirty"), NR);
	ck_assert_uint_eq(vmstat("nr_uncommitted"), NR);
	ck_assert_uint_eq(meminfo("Dirty"), NR * 4);
	ck_assert_uint_eq(meminfo("Uncommitted"), NR * 4);
	ck_assert_uint_eq(of_file(f.ino, "size"), NR * PAGE_SIZE);
	ck_assert_uint_eq(of_file(f.ino, "nr_cache"), NR);
	ck_assert_uint_eq(of_file(f.ino, "nr_dirty"), NR);
	ck_assert_uint_eq(of_file(f.ino, "opens"), 1);
	(void)snprintf(path, sizeof(path), "inode/%" PRIu64 "/pages", f.ino);
	ck_assert_uint_eq(strspn(read_at(path), "dD"), NR);
	check_sums();

	write_pages(f, 0, NR); /* again: no more of them */
	ck_assert_uint_eq(vmstat("nr_dirty"), NR);

	ck_assert_int_eq(set("vm/sync", "1"), 0);
	ck_assert_uint_eq(vmstat("nr_dirty"), 0);
	ck_assert_uint_eq(vmstat("nr_uncommitted"), 0);
	ck_assert_uint_eq(vmstat("nr_slots"), 0);
	ck_assert_uint_eq(vmstat("nr_file_pages"), NR);
	ck_assert_uint_eq(vmstat("commits"), commits + 1);
	ck_assert_uint_eq(vmstat("commit_pages"), NR);
	ck_assert_uint_eq(vmstat("commit_last_pages"), NR);
	ck_assert_uint_eq(vmstat("commit_written"), NR);
	ck_assert_uint_eq(vmstat("pgpgout"), NR);
	ck_assert_uint_eq(of_file(f.ino, "age_ms"), 0);
	ck_assert_uint_eq(number("volume", "used_bytes", " "),
			  used + NR * PAGE_SIZE);
	ck_assert_uint_eq(strspn(read_at(path), "cC"), NR);
	check_sums();
	close_file(f);
}
END_TEST

START_TEST(reads_hit_what_is_here_and_miss_what_was_dropped)
{
	struct open_file f = create("a");
	u64 in;

	write_pages(f, 0, NR);
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	read_pages(f, 0, NR);
	ck_assert_uint_eq(vmstat("cache_hit"), NR);
	ck_assert_uint_eq(vmstat("cache_miss"), 0);
	in = vmstat("pgpgin");

	ck_assert_int_eq(set("vm/drop_caches", "1"), 0);
	ck_assert_uint_eq(vmstat("drop_pagecache"), NR);
	ck_assert_uint_eq(vmstat("nr_file_pages"), 0);
	ck_assert_uint_eq(of_file(f.ino, "nr_cache"), 0);
	check_sums();

	read_pages(f, 0, NR);
	ck_assert_uint_eq(vmstat("pgpgin") - in, NR);
	ck_assert_uint_eq(vmstat("data_read_blocks"), NR);
	ck_assert_uint_ge(vmstat("cache_miss"), 1);
	ck_assert_uint_eq(vmstat("cache_hit") + vmstat("cache_miss"), 2 * NR);
	ck_assert_uint_eq(vmstat("nr_file_pages"), NR);
	check_sums();
	close_file(f);
}
END_TEST

START_TEST(dropping_keeps_what_is_not_committed)
{
	struct open_file a = create("a");
	struct open_file b = create("b");
	char path[64];

	write_pages(a, 0, NR);
	write_pages(b, 0, NR);
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	write_pages(a, 0, 10);

	(void)snprintf(path, sizeof(path), "inode/%" PRIu64 "/drop_caches",
		       a.ino);
	ck_assert_int_eq(set(path, "1"), 0);
	ck_assert_uint_eq(of_file(a.ino, "nr_cache"), 10);
	ck_assert_uint_eq(of_file(b.ino, "nr_cache"), NR);
	ck_assert_int_eq(set("vm/drop_caches", "1"), 0);
	ck_assert_uint_eq(of_file(a.ino, "nr_cache"), 10);
	ck_assert_uint_eq(of_file(b.ino, "nr_cache"), 0);
	ck_assert_uint_eq(vmstat("nr_dirty"), 10);
	check_sums();
	close_file(a);
	close_file(b);
}
END_TEST

/* A thousand dirty pages in a cache of a quarter of that. */
START_TEST(what_does_not_fit_is_swapped_out_and_comes_back)
{
	const u64 nr = 1000;
	struct open_file f = create("a");
	u64 written;

	ck_assert_int_eq(set("vm/cache_size", "1M"), 0);
	write_pages(f, 0, nr);
	ck_assert_uint_eq(vmstat("nr_uncommitted"), nr);
	ck_assert_uint_ge(vmstat("nr_swapped"), nr - 256);
	ck_assert_uint_ge(vmstat("pswpout") + vmstat("direct_slot_write"),
			  nr - 256);
	ck_assert_uint_le(of_file(f.ino, "nr_cache"), 256);
	ck_assert_uint_eq(of_file(f.ino, "uncommitted"), nr);
	ck_assert_uint_ge(meminfo("SwapUsed"), (nr - 256) * 4);
	check_sums();

	read_pages(f, 0, nr);
	ck_assert_uint_ge(vmstat("pswpin"), nr - 256);
	ck_assert_uint_eq(vmstat("pgpgin"), 0);
	check_sums();

	written = vmstat("data_write_blocks");
	ck_assert_uint_ge(written, nr - 256);
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	ck_assert_uint_eq(vmstat("commit_pages"), nr);
	ck_assert_uint_eq(vmstat("data_write_blocks"), nr);
	ck_assert_uint_eq(vmstat("nr_slots"), 0);
	ck_assert_uint_eq(vmstat("nr_uncommitted"), 0);
	ck_assert_uint_eq(meminfo("SwapUsed"), 0);
	read_pages(f, 0, nr);
	check_sums();
	close_file(f);
}
END_TEST

START_TEST(the_cache_shrinks_and_grows_as_it_is_told)
{
	struct open_file f = create("a");

	write_pages(f, 0, 2000);
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	ck_assert_uint_eq(vmstat("nr_file_pages"), 2000);
	ck_assert_uint_eq(meminfo("CacheTotal"), 16 << 10);

	ck_assert_int_eq(set("vm/cache_size", "4M"), 0);
	ck_assert_uint_eq(number("vm/cache_size", "", ""), 4 << 20);
	ck_assert_uint_eq(meminfo("CacheTotal"), 4 << 10);
	ck_assert_uint_le(vmstat("nr_file_pages"), 1024);
	check_sums();
	read_pages(f, 0, 2000);
	ck_assert_uint_le(vmstat("nr_file_pages"), 1024);

	ck_assert_int_eq(set("vm/cache_size", "32M"), 0);
	ck_assert_uint_eq(meminfo("CacheTotal"), 32 << 10);
	read_pages(f, 0, 2000);
	ck_assert_uint_eq(vmstat("nr_file_pages"), 2000);
	check_sums();
	ck_assert_int_eq(set("vm/cache_size", "1G"), -EINVAL);
	ck_assert_uint_eq(meminfo("CacheTotal"), 32 << 10);
	close_file(f);
}
END_TEST

START_TEST(a_volume_keeps_its_name_and_counts_what_it_holds)
{
	struct open_file f = create("a");
	u64 inodes = number("volume", "inodes", " ");
	u64 epoch = number("volume", "mount_epoch", " ");
	char uuid[64];

	(void)snprintf(uuid, sizeof(uuid), "%.41s", read_at("volume"));
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	ck_assert_uint_eq(number("volume", "size_bytes", " "), 256 << 20);
	ck_assert_uint_ge(number("volume", "inodes", " "), inodes);
	ck_assert_ptr_nonnull(strstr(read_at("files"), " /a\n"));
	close_file(f);

	control_free(control);
	ck_assert_int_eq(fs_close(fs), 0);
	open_fs();
	ck_assert(strncmp(read_at("volume"), uuid, 41) == 0);
	ck_assert_uint_eq(number("volume", "inodes", " "), 2);
	ck_assert_uint_eq(number("volume", "mount_epoch", " "), epoch + 1);
}
END_TEST

/* Whatever was done, the figures add up. */
START_TEST(figures_add_up_after_anything)
{
	struct open_file f[4];
	struct rng rng;

	rng_init(&rng, 1);
	ck_assert_int_eq(set("vm/cache_size", "1M"), 0);
	for (int i = 0; i < 4; i++) {
		char name[] = {(char)('a' + i), '\0'};

		f[i] = create(name);
		write_pages(f[i], 0, 200);
	}
	for (u64 i = test_rounds(200); i; i--) {
		struct open_file *file = &f[rng_below(&rng, 4)];
		u64 at = rng_below(&rng, 150);
		u64 nr = rng_range(&rng, 1, 50);

		switch (rng_below(&rng, 8)) {
		case 0:
			ck_assert_int_eq(set("vm/sync", "1"), 0);
			break;
		case 1:
			ck_assert_int_eq(set("vm/drop_caches", "1"), 0);
			break;
		case 2:
			ck_assert_int_eq(
				set("vm/cache_size",
				    rng_one_in(&rng, 2) ? "512K" : "2M"),
				0);
			break;
		case 3:
		case 4:
			read_pages(*file, at, nr);
			break;
		default:
			write_pages(*file, at, nr);
		}
	}
	ck_assert_int_eq(set("vm/sync", "1"), 0);
	check_sums();
	ck_assert_uint_eq(vmstat("nr_uncommitted"), 0);
	for (int i = 0; i < 4; i++) {
		read_pages(f[i], 0, 200);
		close_file(f[i]);
	}
	check_sums();
	ck_assert_uint_eq(vmstat("checksum_errors"), 0);
	ck_assert_uint_eq(vmstat("read_errors"), 0);
	ck_assert_uint_eq(vmstat("write_errors"), 0);
	ck_assert_uint_eq(vmstat("commit_errors"), 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("figures", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_written_page_is_dirty_until_it_is_committed);
	tcase_add_test(tc, reads_hit_what_is_here_and_miss_what_was_dropped);
	tcase_add_test(tc, dropping_keeps_what_is_not_committed);
	tcase_add_test(tc, what_does_not_fit_is_swapped_out_and_comes_back);
	tcase_add_test(tc, the_cache_shrinks_and_grows_as_it_is_told);
	tcase_add_test(tc, a_volume_keeps_its_name_and_counts_what_it_holds);
	tcase_add_test(tc, figures_add_up_after_anything);
	return s;
}

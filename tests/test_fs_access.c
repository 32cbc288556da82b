/* SPDX-License-Identifier: MIT */
/* Access times: when they change, and when they are committed. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_util.h"
#include "tmpdir.h"

#define ROOT FS_ROOT_INO
#define MANY 3000

static struct test_fs t;

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
	test_fs_open(&t);
}

static void teardown(void)
{
	if (t.fs)
		ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

static struct timespec atime_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return st.st_atim;
}

static bool same(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Behind ctime, which this makes now, for a relatime that has nothing to do:
 * @later seconds from now. */
static void set_atime(u64 ino, s64 later)
{
	struct stat st, attr = {0};

	(void)clock_gettime(CLOCK_REALTIME, &attr.st_atim);
	attr.st_atim.tv_sec += later;
	attr.st_atim.tv_nsec = 5;
	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_ATIME, &st), 0);
}

/* atime, mtime and ctime of ten days ago, the first later by a second. */
static void make_old(u64 ino)
{
	struct stat st, attr = {0};

	(void)clock_gettime(CLOCK_REALTIME, &attr.st_atim);
	attr.st_atim.tv_sec -= 10 * 86400;
	attr.st_mtim = attr.st_ctim = attr.st_atim;
	attr.st_atim.tv_sec++;
	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr,
				    FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME,
				    &st),
			 0);
}

static void read_some(u64 fh)
{
	char c;

	ck_assert_int_eq(test_read(&t, fh, 0, &c, 1), 1);
}

/* Does reading change it? */
static bool moves(u64 ino, u64 fh)
{
	struct timespec before = atime_of(ino);

	read_some(fh);
	return !same(atime_of(ino), before);
}

static u64 make_file(const char *name, u64 *ret_fh)
{
	u64 ino = test_create(&t, ROOT, name, ret_fh);

	test_write(&t, *ret_fh, 0, "content", 7);
	return ino;
}

static u64 pending(void)
{
	struct fs_stat st;

	fs_stat(t.fs, &st);
	return st.nr_ops_pending;
}

static bool fill_nothing(void *arg, const char *name, const struct stat *st,
			 u64 next_off)
{
	(void)arg, (void)name, (void)st, (void)next_off;
	return true;
}

static void list_folder(u64 ino, int flags)
{
	u64 fh;

	ck_assert_int_eq(fs_opendir(t.fs, ino, flags, &fh), 0);
	ck_assert_int_eq(fs_readdir(t.fs, fh, 0, false, fill_nothing, NULL), 0);
	ck_assert_int_eq(fs_releasedir(t.fs, fh), 0);
}

/* ---- when they change ---- */

START_TEST(the_first_read_after_a_change_moves_it)
{
	u64 fh, ino = make_file("f", &fh);
	struct stat st;

	ck_assert(moves(ino, fh));
	test_stat(&t, ino, &st);
	ck_assert(st.st_atim.tv_sec > st.st_mtim.tv_sec ||
		  (st.st_atim.tv_sec == st.st_mtim.tv_sec &&
		   st.st_atim.tv_nsec >= st.st_mtim.tv_nsec));
	set_atime(ino, 100);
	ck_assert(!moves(ino, fh));
	set_atime(ino, -100);
	ck_assert(moves(ino, fh));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(one_that_is_a_day_old_is_renewed)
{
	u64 fh, ino = make_file("f", &fh);

	make_old(ino);
	ck_assert(moves(ino, fh));
	/* from now on it is later than mtime and ctime, and young */
	ck_assert(!moves(ino, fh));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(noatime_moves_none_and_strictatime_each)
{
	u64 fh, ino = make_file("f", &fh);

	fs_set_atime(t.fs, FS_ATIME_NONE);
	ck_assert(!moves(ino, fh));
	fs_set_atime(t.fs, FS_ATIME_STRICT);
	set_atime(ino, 100);
	ck_assert(moves(ino, fh));
	ck_assert(moves(ino, fh));
	fs_set_atime(t.fs, 0);
	ck_assert(!moves(ino, fh));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(o_noatime_moves_none)
{
	u64 fh, ino = make_file("f", &fh), quiet;

	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY | O_NOATIME, 1, &quiet),
			 0);
	ck_assert(!moves(ino, quiet));
	ck_assert(moves(ino, fh));
	ck_assert_int_eq(fs_release(t.fs, quiet), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

START_TEST(a_source_of_copies_was_read_and_the_copy_was_not)
{
	u64 fh, ino = make_file("f", &fh);
	u64 fh2, ino2 = test_create(&t, ROOT, "g", &fh2);
	struct timespec from = atime_of(ino), to = atime_of(ino2);

	ck_assert_int_eq(fs_copy_file_range(t.fs, fh, 0, fh2, 0, 7, 0), 7);
	ck_assert(!same(atime_of(ino), from));
	ck_assert(same(atime_of(ino2), to));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh2), 0);
}
END_TEST

START_TEST(folders_and_links_have_them_too)
{
	u64 d = test_mkdir(&t, ROOT, "d");
	struct timespec before = atime_of(d);
	char target[8];
	struct stat st;

	fs_set_atime(t.fs, FS_ATIME_NODIR);
	list_folder(d, 0);
	ck_assert(same(atime_of(d), before));
	fs_set_atime(t.fs, 0);
	list_folder(d, O_NOATIME);
	ck_assert(same(atime_of(d), before));
	list_folder(d, 0);
	ck_assert(!same(atime_of(d), before));

	ck_assert_int_eq(fs_symlink(t.fs, ROOT, "l", "to", &test_cred, &st), 0);
	ck_assert_int_eq(fs_readlink(t.fs, st.st_ino, target, sizeof(target)),
			 0);
	ck_assert(!same(atime_of(st.st_ino), st.st_atim));
	fs_forget(t.fs, st.st_ino, 1);
}
END_TEST

/* ---- when they are committed ---- */

START_TEST(reading_makes_no_record_and_sync_commits_it)
{
	u64 fh, ino = make_file("f", &fh);
	struct timespec read_at;

	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert(moves(ino, fh));
	read_at = atime_of(ino);
	ck_assert_uint_eq(pending(), 0);
	fs_check(t.fs);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	test_fs_reopen(&t);
	ck_assert(same(atime_of(ino), read_at));
}
END_TEST

/* Run @fn in a child that ends without closing anything, then open. */
static void crash_after(void (*fn)(void))
{
	pid_t pid;
	int status;

	ck_assert_int_eq(test_fs_close(&t), 0);
	t.fs = NULL;
	pid = fork();
	if (!pid) {
		test_fs_open(&t);
		fn();
		_exit(42);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	test_fs_check_volume();
	test_fs_open(&t);
}

static void read_f_and_sync_g(void)
{
	u64 fh, g;

	(void)make_file("g", &g);
	fh = test_open(&t, test_lookup(&t, ROOT, "f"));
	read_some(fh);
	ck_assert_int_eq(test_fsync(&t, g), 0);
}

START_TEST(it_goes_with_the_next_commit_of_another)
{
	u64 fh, ino = make_file("f", &fh);
	struct timespec before = atime_of(ino);

	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	crash_after(read_f_and_sync_g);
	ck_assert(!same(atime_of(ino), before));
}
END_TEST

START_TEST(what_lost_its_name_is_not_kept_for_it)
{
	u64 fh, ino = make_file("f", &fh);
	struct stat st;

	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	ck_assert(moves(ino, fh));
	ck_assert_int_eq(fs_unlink(t.fs, ROOT, "f"), 0);
	fs_check(t.fs);
	make_old(ino);
	ck_assert(moves(ino, fh));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	/* nobody has it: it is gone, without a commit */
	ck_assert_int_lt(fs_getattr(t.fs, ino, &st), 0);

	ck_assert_int_eq(
		fs_tmpfile(t.fs, ROOT, 0600, O_RDWR, &test_cred, 1, &st, &fh),
		0);
	test_write(&t, fh, 0, "content", 7);
	ck_assert(moves(st.st_ino, fh));
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	fs_forget(t.fs, st.st_ino, 1);
	fs_check(t.fs);
}
END_TEST

START_TEST(the_times_of_many_files_are_bounded_and_true)
{
	static struct timespec seen[MANY];
	static u64 inos[MANY];
	char name[16];
	u64 fh;

	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		inos[i] = make_file(name, &fh);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	for (int i = 0; i < MANY; i++) {
		fh = test_open(&t, inos[i]);
		read_some(fh);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
		/* who reads a lot may be ahead of the committer */
		if (i % 500 == 0)
			ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	}
	fs_check(t.fs);
	for (int i = 0; i < MANY; i++) {
		seen[i] = atime_of(inos[i]);
		ck_assert(seen[i].tv_sec || seen[i].tv_nsec);
	}
	test_fs_reopen(&t);
	for (int i = 0; i < MANY; i++)
		ck_assert(same(atime_of(inos[i]), seen[i]));
}
END_TEST

/* A filesystem of the same volume that may not change it. */
START_TEST(a_read_only_mount_moves_none)
{
	u64 fh, ino = make_file("f", &fh);
	struct fs_options fo = {.cache_size = 4 << 20, .readonly = true};
	struct volume_options vo = {.readonly = true};
	struct volume *v;
	char err[256];

	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	ck_assert_int_eq(test_fs_close(&t), 0);
	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &vo, &v, err, sizeof(err)), 0);
	ck_assert_int_eq(fs_open(v, &fo, &t.fs), 0);
	ck_assert_int_eq(fs_openf(t.fs, ino, O_RDONLY, 1, &fh), 0);
	ck_assert(!moves(ino, fh));
	list_folder(ROOT, 0);
	fs_check(t.fs);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs access", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_first_read_after_a_change_moves_it);
	tcase_add_test(tc, one_that_is_a_day_old_is_renewed);
	tcase_add_test(tc, noatime_moves_none_and_strictatime_each);
	tcase_add_test(tc, o_noatime_moves_none);
	tcase_add_test(tc, a_source_of_copies_was_read_and_the_copy_was_not);
	tcase_add_test(tc, folders_and_links_have_them_too);
	tcase_add_test(tc, reading_makes_no_record_and_sync_commits_it);
	tcase_add_test(tc, it_goes_with_the_next_commit_of_another);
	tcase_add_test(tc, what_lost_its_name_is_not_kept_for_it);
	tcase_add_test(tc, the_times_of_many_files_are_bounded_and_true);
	tcase_add_test(tc, a_read_only_mount_moves_none);
	return s;
}

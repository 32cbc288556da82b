/* SPDX-License-Identifier: MIT */
/* Free space in the middle of the data file is given back to the host. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs_util.h"
#include "tmpdir.h"

#define ROOT FS_ROOT_INO
#define NR_FILES 8
#define FILE_PAGES 512
#define FILE_SIZE ((u64)FILE_PAGES * PAGE_SIZE)
#define NR_WRITERS 2
#define NR_ROUNDS 40

static struct test_fs t;

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
	t.volume_size = 256u << 20;
	test_fs_open(&t);
}

static void setup_unbounded(void)
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

/* Bytes that the host has given the data file. */
static u64 held(void)
{
	struct stat st;

	ck_assert_int_eq(stat(tmpdir_path("vol/data"), &st), 0);
	return (u64)st.st_blocks * 512;
}

static int compact(void)
{
	u64 from = 0;
	int more;

	do
		more = fs_compact_some(t.fs, &from);
	while (more > 0);
	return more;
}

static void write_file(u64 fh, u64 version)
{
	static u8 buf[FILE_SIZE];

	test_pattern(buf, FILE_SIZE, 0, version);
	test_write(&t, fh, 0, buf, FILE_SIZE);
}

/* Context: any thread. */
static bool holds(u64 fh, u64 version)
{
	u8 got[PAGE_SIZE], want[PAGE_SIZE];
	bool same = true;

	for (u64 pos = 0; pos < FILE_SIZE && same; pos += PAGE_SIZE) {
		test_pattern(want, PAGE_SIZE, pos, version);
		same = test_read(&t, fh, pos, got, PAGE_SIZE) ==
			       (ssize_t)PAGE_SIZE &&
		       !memcmp(got, want, PAGE_SIZE);
	}
	return same;
}

static void file_is(u64 fh, u64 version)
{
	ck_assert(holds(fh, version));
}

/* Files one behind the other, each second of which is then removed. */
static void make_gaps(u64 *inos)
{
	char name[16];
	u64 fh;

	for (u64 i = 0; i < NR_FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%d", (int)i);
		inos[i] = test_create(&t, ROOT, name, &fh);
		write_file(fh, i);
		ck_assert_int_eq(test_fsync(&t, fh), 0);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
	for (u64 i = 0; i < NR_FILES; i += 2) {
		(void)snprintf(name, sizeof(name), "f%d", (int)i);
		ck_assert_int_eq(fs_unlink(t.fs, ROOT, name), 0);
	}
}

static void rest_is_whole(const u64 *inos)
{
	for (u64 i = 1; i < NR_FILES; i += 2) {
		u64 fh = test_open(&t, inos[i]);

		file_is(fh, i);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
}

START_TEST(what_is_free_between_files_is_given_back)
{
	const u64 freed = NR_FILES / 2 * FILE_SIZE;
	struct statvfs before, after;
	u64 inos[NR_FILES], was;

	make_gaps(inos);
	ck_assert_int_eq(fs_sync_wait(t.fs), 0);
	was = held();
	ck_assert_int_eq(fs_statfs(t.fs, &before), 0);
	ck_assert_int_eq(compact(), 0);
	ck_assert_uint_le(held() + freed, was);
	ck_assert_uint_ge(fs_volume(t.fs)->count.data_discarded_blocks,
			  freed / PAGE_SIZE);

	ck_assert_int_eq(fs_statfs(t.fs, &after), 0);
	ck_assert_uint_eq(after.f_blocks, before.f_blocks);
	ck_assert_uint_eq(after.f_bfree, before.f_bfree);
	ck_assert_int_eq(fs_drop(t.fs, 0), 0);
	rest_is_whole(inos);
	test_fs_reopen(&t);
	rest_is_whole(inos);
}
END_TEST

START_TEST(what_was_just_removed_is_committed_for_it)
{
	const u64 freed = NR_FILES / 2 * FILE_SIZE;
	u64 inos[NR_FILES], was;

	make_gaps(inos);
	was = held();
	ck_assert_int_eq(compact(), 0);
	ck_assert_uint_le(held() + freed, was);
}
END_TEST

START_TEST(a_hole_can_be_written_again)
{
	u64 inos[NR_FILES], fh[4], was;
	char name[16];

	make_gaps(inos);
	ck_assert_int_eq(compact(), 0);
	was = held();
	for (u64 i = 0; i < ARRAY_SIZE(fh); i++) {
		(void)snprintf(name, sizeof(name), "g%d", (int)i);
		(void)test_create(&t, ROOT, name, &fh[i]);
		write_file(fh[i], 100 + i);
		ck_assert_int_eq(test_fsync(&t, fh[i]), 0);
	}
	/* but for what the host needs to find the blocks by */
	ck_assert_uint_ge(held() + ((u64)64 << 10),
			  was + ARRAY_SIZE(fh) * FILE_SIZE);
	ck_assert_int_eq(fs_drop(t.fs, 0), 0);
	for (u64 i = 0; i < ARRAY_SIZE(fh); i++) {
		file_is(fh[i], 100 + i);
		ck_assert_int_eq(fs_release(t.fs, fh[i]), 0);
	}
	rest_is_whole(inos);
}
END_TEST

/* What others do on the host meanwhile is looked at before and behind. */
static bool host_is_steady(u64 *ret_total)
{
	struct statvfs host, again, st;
	u64 room;

	ck_assert_int_eq(statvfs(tmpdir_path("vol"), &host), 0);
	room = (u64)host.f_bavail * host.f_frsize + held();
	ck_assert_int_eq(fs_statfs(t.fs, &st), 0);
	ck_assert_int_eq(statvfs(tmpdir_path("vol"), &again), 0);
	*ret_total = st.f_blocks * PAGE_SIZE;
	/* the host counts its own blocks to find ours by among ours; some of
	 * its room is the database's */
	return host.f_bavail == again.f_bavail && *ret_total <= room &&
	       *ret_total + ((u64)33 << 20) >= room;
}

START_TEST(holes_are_not_counted_beside_the_free_space_of_the_host)
{
	u64 inos[NR_FILES], total;
	int tries = 10000;

	make_gaps(inos);
	ck_assert_int_eq(compact(), 0);
	while (!host_is_steady(&total))
		ck_assert_int_gt(--tries, 0);
}
END_TEST

START_TEST(a_host_without_holes_says_so)
{
	u64 inos[NR_FILES];

	make_gaps(inos);
	bdev_fault_arm(t.fault, BDEV_FAULT_DISCARD, 1, -EOPNOTSUPP, true);
	ck_assert_int_eq(compact(), -EOPNOTSUPP);
	bdev_fault_arm(t.fault, BDEV_FAULT_DISCARD, 2, -EIO, false);
	ck_assert_int_eq(compact(), -EIO);
	ck_assert_int_eq(compact(), 0);
	rest_is_whole(inos);
}
END_TEST

/* ---- under load ---- */

static bool ended;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static u64 create_one(const char *name)
{
	struct stat st;
	u64 fh;

	must(!fs_create(t.fs, ROOT, name, 0644, O_RDWR, &test_cred, 1, &st,
			&fh));
	fs_forget(t.fs, st.st_ino, 1);
	return fh;
}

/* Files of its own come, are committed, read from the volume, and go. */
static void *writer(void *arg)
{
	u64 id = (u64)(uintptr_t)arg;
	u8 *buf = malloc(FILE_SIZE);
	char name[16];

	must(buf);
	(void)snprintf(name, sizeof(name), "w%d", (int)id);
	for (u64 i = 0; i < NR_ROUNDS; i++) {
		u64 fh = create_one(name), pause;
		bool retry;

		test_pattern(buf, FILE_SIZE, 0, id * 1000 + i);
		must(fs_write(t.fs, fh, 0, buf, FILE_SIZE, 0, &pause, &retry) ==
		     (ssize_t)FILE_SIZE);
		must(!fs_sync_wait(t.fs));
		must(!fs_drop(t.fs, 0));
		must(holds(fh, id * 1000 + i));
		must(!fs_release(t.fs, fh));
		if (i + 1 < NR_ROUNDS)
			must(!fs_unlink(t.fs, ROOT, name));
	}
	free(buf);
	return NULL;
}

static void *compacter(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE))
		must(!compact());
	return NULL;
}

START_TEST(files_come_and_go_meanwhile)
{
	pthread_t threads[NR_WRITERS], other;
	u64 inos[NR_FILES];
	char name[16];

	make_gaps(inos);
	__atomic_store_n(&ended, false, __ATOMIC_RELEASE);
	ck_assert_int_eq(pthread_create(&other, NULL, compacter, NULL), 0);
	for (u64 i = 0; i < NR_WRITERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, writer,
						(void *)(uintptr_t)i),
				 0);
	for (u64 i = 0; i < NR_WRITERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
	ck_assert_int_eq(pthread_join(other, NULL), 0);
	blocks_check(fs_volume(t.fs)->blocks);

	test_fs_reopen(&t);
	rest_is_whole(inos);
	for (u64 i = 0; i < NR_WRITERS; i++) {
		u64 fh;

		(void)snprintf(name, sizeof(name), "w%d", (int)i);
		fh = test_open(&t, test_lookup(&t, ROOT, name));
		file_is(fh, i * 1000 + NR_ROUNDS - 1);
		ck_assert_int_eq(fs_release(t.fs, fh), 0);
	}
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc, *unbounded;
	Suite *s = test_suite_new("fs compact", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, what_is_free_between_files_is_given_back);
	tcase_add_test(tc, what_was_just_removed_is_committed_for_it);
	tcase_add_test(tc, a_hole_can_be_written_again);
	tcase_add_test(tc, a_host_without_holes_says_so);
	tcase_add_test(tc, files_come_and_go_meanwhile);

	unbounded = tcase_create("unbounded");
	tcase_add_checked_fixture(unbounded, setup_unbounded, teardown);
	tcase_set_timeout(unbounded, 120);
	tcase_add_test(unbounded,
		       holes_are_not_counted_beside_the_free_space_of_the_host);
	suite_add_tcase(s, unbounded);
	return s;
}

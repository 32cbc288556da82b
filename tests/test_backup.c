/* SPDX-License-Identifier: MIT */
/*
 * Copies of volumes: src/backup.h. Here the source is at rest; what writers do
 * to it meanwhile is the matter of tests/mount_backup.sh.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup.h"
#include "backup_source.h"
#include "tmpdir.h"
#include "vfs.h"

/* What is to be in the copy. */
static struct source_state copied;

static void setup(void)
{
	tmpdir_make();
	source_make(8u << 20);
}

/* ---- copies ---- */

static char err[512], reports[4096];
static struct backup_result res;
static struct {
	unsigned mask;
	u64 nth;
} fault;

static void add_report(void *arg, const char *line)
{
	size_t used = strlen(reports);

	(void)snprintf(reports + used, sizeof(reports) - used, "%s\n", line);
}

static int wrap(void *arg, struct bdev *lower, struct bdev **ret)
{
	int rc = bdev_fault_wrap(lower, ret);

	if (!rc)
		bdev_fault_arm(*ret, fault.mask, fault.nth, -ENOSPC, false);
	return rc;
}

static int backup_as(struct backup_options opt)
{
	char from[1100], to[1100];

	/* such a path is good for a few calls only */
	(void)snprintf(from, sizeof(from), "%s", tmpdir_path("vol"));
	(void)snprintf(to, sizeof(to), "%s", tmpdir_path("copy"));
	opt.from = from;
	opt.to = to;
	opt.report = add_report;
	reports[0] = '\0';
	return volume_backup(&opt, &res, err, sizeof(err));
}

static int backup(void)
{
	return backup_as((struct backup_options){0});
}

static void must_backup(void)
{
	int rc = backup();

	ck_assert_msg(rc == 0, "%d %s", rc, err);
	ck_assert_str_eq(err, "");
	copied = source.now;
}

static void fault_line(void *arg, const char *line)
{
	(void)fprintf(stderr, "copy: %s\n", line);
}

static void check_copy(void)
{
	struct volume_check_options opt = {.data = true, .report = fault_line};
	char why[512] = "";
	long nr = volume_check(tmpdir_path("copy"), &opt, why, sizeof(why));

	ck_assert_msg(nr == 0, "%ld %s", nr, why);
}

static struct volume *open_copy(void)
{
	struct volume_options opt = {.readonly = true};
	struct volume *v = NULL;
	char why[512] = "";
	int rc = volume_open(tmpdir_path("copy"), &opt, &v, why, sizeof(why));

	ck_assert_msg(rc == 0, "%d %s", rc, why);
	return v;
}

/* Each page is that of the state that was copied. */
static void compare_copy(void)
{
	char path[1100], *wrong;

	(void)snprintf(path, sizeof(path), "%s", tmpdir_path("copy"));
	wrong = source_compare(path, &copied);
	ck_assert_msg(!wrong, "%s", wrong);
	check_copy();
}

static bool copy_is_complete(void)
{
	char path[1100];

	(void)snprintf(path, sizeof(path), "%s/meta.db", tmpdir_path("copy"));
	return access(path, F_OK) == 0;
}

/* It says what it is, and is not mounted. (Before that there is nothing.) */
static void copy_is_refused(void)
{
	struct volume_options opt = {0};
	struct volume *v = NULL;
	char why[512] = "";

	ck_assert(!copy_is_complete());
	if (access(tmpdir_path("copy"), F_OK) < 0)
		return;
	ck_assert_int_lt(
		volume_open(tmpdir_path("copy"), &opt, &v, why, sizeof(why)),
		0);
	ck_assert_msg(strstr(why, "backup that was not finished"), "%s", why);
}

START_TEST(a_copy_has_all_that_the_volume_has_and_checks_clean)
{
	must_backup();
	ck_assert_uint_gt(res.copied, SOURCE_PAGES);
	ck_assert_uint_eq(res.copied + res.kept, res.total);
	ck_assert_uint_eq(res.moved + res.bad, 0);
	compare_copy();
}
END_TEST

START_TEST(what_is_there_already_is_not_copied_again)
{
	must_backup();
	must_backup();
	ck_assert_uint_eq(res.copied, 0);
	ck_assert_uint_eq(res.kept, res.total);
	compare_copy();

	source_change(3);
	must_backup();
	ck_assert_uint_le(res.copied, 3);
	compare_copy();
}
END_TEST

/* Of 2000 blocks, which the source uses again and again. */
START_TEST(a_copy_follows_the_volume_from_state_to_state)
{
	u64 moved = 0;

	/* until a block was moved, too */
	for (u64 i = 0; i < test_rounds(15) || (!moved && i < 500); i++) {
		source_change(rng_range(&source.rng, 1, 60));
		must_backup();
		compare_copy();
		moved += res.moved;
	}
	ck_assert_uint_gt(moved, 0);
}
END_TEST

/* Let the nth operation fail, for each n: the copy is none, or still the older
 * one; and in the end, what had been done is of use. */
static void with_each_failure(unsigned mask, bool older)
{
	u64 n = 0;
	int rc;

	if (older) {
		must_backup();
		source_change(40);
	}
	fault.mask = mask;
	do {
		fault.nth = ++n;
		rc = backup_as((struct backup_options){.wrap = wrap});
		if (!rc)
			break;
		ck_assert_msg(*err, "error %d, and nothing said", rc);
		if (older)
			compare_copy();
		else
			copy_is_refused();
	} while (n < 1000);
	ck_assert_uint_gt(n, 1);
	copied = source.now;
	compare_copy();
}

START_TEST(a_write_that_fails_leaves_the_older_copy_or_none)
{
	with_each_failure(BDEV_FAULT_WRITE, _i);
	/* of each run something had been written */
	ck_assert_uint_gt(res.kept, 0);
}
END_TEST

START_TEST(a_flush_that_fails_leaves_the_older_copy_or_none)
{
	with_each_failure(BDEV_FAULT_FLUSH, _i);
}
END_TEST

static u64 db_nth, db_calls;

static int fail_db(void *arg, const struct vfs_event *ev)
{
	if (ev->op == VFS_OPEN || ev->op == VFS_DELETE)
		return SQLITE_OK;
	if (++db_calls != db_nth)
		return SQLITE_OK;
	return ev->op == VFS_READ ? SQLITE_IOERR_READ : SQLITE_FULL;
}

START_TEST(a_database_that_fails_leaves_the_older_copy_or_none)
{
	bool older = _i;

	if (older) {
		must_backup();
		source_change(40);
	}
	for (db_nth = 1; db_nth < 5000; db_nth += 1 + db_nth / 8) {
		int rc;

		db_calls = 0;
		vfs_set_hook(fail_db, NULL);
		rc = backup();
		vfs_set_hook(NULL, NULL);
		if (db_calls < db_nth) {
			ck_assert_msg(rc == 0, "%d %s", rc, err);
			break;
		}
		if (!rc || copy_is_complete() == !older)
			copied = source.now;
		if (copy_is_complete())
			compare_copy();
		else
			copy_is_refused();
	}
	ck_assert_uint_gt(db_nth, 20);
	copied = source.now;
	compare_copy();
}
END_TEST

/* ---- killed ---- */

static u64 kill_at, writes;

struct killing {
	struct bdev bdev;
	struct bdev *lower;
};

static struct bdev *lower_of(struct bdev *b)
{
	return container_of(b, struct killing, bdev)->lower;
}

static int killing_read(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	return lower_of(b)->ops->read(lower_of(b), block, nr, pages);
}

static int killing_write(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	if (++writes == kill_at)
		_exit(77);
	return lower_of(b)->ops->write(lower_of(b), block, nr, pages);
}

static int killing_flush(struct bdev *b)
{
	return lower_of(b)->ops->flush(lower_of(b));
}

static int killing_size(struct bdev *b, u64 *ret)
{
	return lower_of(b)->ops->size(lower_of(b), ret);
}

static void killing_close(struct bdev *b)
{
	lower_of(b)->ops->close(lower_of(b));
	free(container_of(b, struct killing, bdev));
}

static int wrap_killing(void *arg, struct bdev *lower, struct bdev **ret)
{
	static const struct bdev_operations ops = {
		.name = "killing",
		.read = killing_read,
		.write = killing_write,
		.flush = killing_flush,
		.size = killing_size,
		.close = killing_close,
	};
	struct killing *k = malloc(sizeof(*k));

	if (!k)
		return -ENOMEM;
	*k = (struct killing){.bdev = {&ops}, .lower = lower};
	*ret = &k->bdev;
	return 0;
}

/* Return: the exit status of a copying process. */
static int backup_in_child(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		writes = 0;
		_exit(backup_as((struct backup_options){.wrap = wrap_killing})
			      ? 1
			      : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(a_copy_that_was_killed_goes_on_where_it_was)
{
	int status;
	u64 runs = 0;

	for (kill_at = 4;; runs++) {
		status = backup_in_child();
		if (status != 77)
			break;
		copy_is_refused();
	}
	ck_assert_int_eq(status, 0);
	ck_assert_uint_gt(runs, 3);
	copied = source.now;
	compare_copy();
}
END_TEST

/* ---- bad blocks ---- */

/* Change a byte of a block of the source's first file. */
static void damage_source(u64 pgoff)
{
	struct volume_options opt = {.readonly = true};
	struct extent_row row;
	struct meta_reader *r;
	struct volume *v;
	char path[1100];
	u8 byte;
	int fd;

	ck_assert_int_eq(
		volume_open(tmpdir_path("vol"), &opt, &v, err, sizeof(err)), 0);
	ck_assert_int_eq(meta_reader_get(v->meta, &r), 0);
	ck_assert_int_eq(meta_extent_get(r, source.inos[0], pgoff, &row, NULL),
			 0);
	meta_reader_put(r);
	ck_assert_int_eq(volume_close(v), 0);

	(void)snprintf(path, sizeof(path), "%s/data", tmpdir_path("vol"));
	fd = open(path, O_RDWR);
	row.block += pgoff - row.pgoff;
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(row.block * PAGE_SIZE)),
			 1);
	byte ^= 4;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(row.block * PAGE_SIZE)),
			 1);
	(void)close(fd);
}

START_TEST(a_bad_block_is_named_and_the_copy_not_finished)
{
	char want[128];

	damage_source(7);
	damage_source(8);
	ck_assert_int_eq(backup(), -EBADMSG);
	ck_assert_uint_eq(res.bad, 2);
	ck_assert_msg(strstr(err, "2 bad pages"), "%s", err);
	(void)snprintf(want, sizeof(want),
		       "/file0: inode %llu, pages 7-8: not what was written\n",
		       (unsigned long long)source.inos[0]);
	ck_assert_str_eq(reports, want);
	copy_is_refused();
}
END_TEST

START_TEST(an_older_copy_has_what_went_bad_since)
{
	must_backup();
	damage_source(7);
	must_backup();
	ck_assert_uint_eq(res.copied, 0);
	compare_copy();
}
END_TEST

START_TEST(a_damaged_volume_can_be_copied_and_the_copy_knows)
{
	u8 *mem = aligned_alloc(PAGE_SIZE, 2 * PAGE_SIZE);
	void *pages[2] = {mem, mem + PAGE_SIZE};
	struct volume *v;
	int errs[2];

	damage_source(7);
	ck_assert_int_eq(backup_as((struct backup_options){.damaged = true}),
			 -EBADMSG);
	ck_assert_str_eq(err, "");
	ck_assert_uint_eq(res.bad, 1);
	v = open_copy();
	ck_assert_int_eq(
		volume_read_pages(v, source.inos[0], 7, 2, pages, errs), 0);
	ck_assert_int_eq(errs[0], -EIO);
	ck_assert_int_eq(errs[1], 0);
	ck_assert_int_eq(volume_close(v), 0);
	free(mem);
}
END_TEST

static bool held;

static bool holds(void *arg)
{
	return held;
}

START_TEST(a_bad_block_after_a_lost_hold_is_no_damage)
{
	struct backup_options opt = {.holds = holds};

	damage_source(7);
	held = false;
	ck_assert_int_eq(backup_as(opt), -ESTALE);
	ck_assert_uint_eq(res.bad, 0);
	ck_assert_str_eq(reports, "");
	copy_is_refused();
	held = true;
	ck_assert_int_eq(backup_as(opt), -EBADMSG);
	ck_assert_uint_eq(res.bad, 1);
}
END_TEST

/* ---- what is no place for a copy ---- */

static void is_refused(const char *says)
{
	ck_assert_int_eq(backup(), -EEXIST);
	ck_assert_msg(strstr(err, says), "%s", err);
}

START_TEST(a_folder_with_other_things_is_left_alone)
{
	char path[1100];

	ck_assert_int_eq(mkdir(tmpdir_path("copy"), 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/mine", tmpdir_path("copy"));
	ck_assert_int_eq(mkdir(path, 0700), 0);
	is_refused("not empty");
	ck_assert_int_eq(rmdir(path), 0);
	/* nothing was made there */
	ck_assert_int_eq(rmdir(tmpdir_path("copy")), 0);
}
END_TEST

START_TEST(a_volume_is_not_overwritten)
{
	struct volume_options opt = {0};

	ck_assert_int_eq(
		volume_create(tmpdir_path("copy"), &opt, err, sizeof(err)), 0);
	is_refused("no backup");
}
END_TEST

START_TEST(a_copy_that_was_mounted_for_writing_is_none_any_more)
{
	struct volume_options opt = {0};
	struct volume *v;

	must_backup();
	ck_assert_int_eq(volume_close(open_copy()), 0);
	must_backup();
	ck_assert_int_eq(
		volume_open(tmpdir_path("copy"), &opt, &v, err, sizeof(err)),
		0);
	ck_assert_int_eq(backup(), -EBUSY);
	ck_assert_int_eq(volume_close(v), 0);
	is_refused("mounted for writing");
	compare_copy();
}
END_TEST

START_TEST(a_copy_is_of_one_volume)
{
	struct volume_options opt = {0};

	/* an unfinished one of the first */
	damage_source(7);
	ck_assert_int_eq(backup(), -EBADMSG);
	ck_assert_int_eq(rename(tmpdir_path("vol"), tmpdir_path("first")), 0);
	ck_assert_int_eq(
		volume_create(tmpdir_path("vol"), &opt, err, sizeof(err)), 0);
	is_refused("another volume");

	/* a complete one of the second */
	ck_assert_int_eq(rename(tmpdir_path("copy"), tmpdir_path("other")), 0);
	ck_assert_int_eq(backup(), 0);
	ck_assert_uint_eq(res.total, 0);
	check_copy();
	ck_assert_int_eq(rename(tmpdir_path("vol"), tmpdir_path("second")), 0);
	ck_assert_int_eq(rename(tmpdir_path("first"), tmpdir_path("vol")), 0);
	is_refused("another volume");
	check_copy();
}
END_TEST

START_TEST(a_volume_is_not_copied_to_itself)
{
	struct backup_options opt = {.report = add_report};
	char path[1100];

	(void)snprintf(path, sizeof(path), "%s", tmpdir_path("vol"));
	opt.from = opt.to = path;
	ck_assert_int_eq(volume_backup(&opt, &res, err, sizeof(err)), -EBUSY);
	test_fs_check_volume();
}
END_TEST

START_TEST(no_more_is_copied_in_a_second_than_was_allowed)
{
	struct timespec begin, end;
	double s;

	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	ck_assert_int_eq(backup_as((struct backup_options){.rate = 2u << 20}),
			 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	s = (double)(end.tv_sec - begin.tv_sec) +
	    (double)(end.tv_nsec - begin.tv_nsec) / (double)NSEC_PER_SEC;
	ck_assert_double_ge(s, (double)(res.copied * PAGE_SIZE) / (2 << 20));
	copied = source.now;
	compare_copy();
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("backup", &tc);

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, tmpdir_remove);
	tcase_add_test(tc, a_copy_has_all_that_the_volume_has_and_checks_clean);
	tcase_add_test(tc, what_is_there_already_is_not_copied_again);
	tcase_add_test(tc, a_copy_follows_the_volume_from_state_to_state);
	tcase_add_loop_test(
		tc, a_write_that_fails_leaves_the_older_copy_or_none, 0, 2);
	tcase_add_loop_test(
		tc, a_flush_that_fails_leaves_the_older_copy_or_none, 0, 2);
	tcase_add_loop_test(
		tc, a_database_that_fails_leaves_the_older_copy_or_none, 0, 2);
	tcase_add_test(tc, a_copy_that_was_killed_goes_on_where_it_was);
	tcase_add_test(tc, a_bad_block_is_named_and_the_copy_not_finished);
	tcase_add_test(tc, an_older_copy_has_what_went_bad_since);
	tcase_add_test(tc, a_damaged_volume_can_be_copied_and_the_copy_knows);
	tcase_add_test(tc, a_bad_block_after_a_lost_hold_is_no_damage);
	tcase_add_test(tc, a_folder_with_other_things_is_left_alone);
	tcase_add_test(tc, a_volume_is_not_overwritten);
	tcase_add_test(tc,
		       a_copy_that_was_mounted_for_writing_is_none_any_more);
	tcase_add_test(tc, a_copy_is_of_one_volume);
	tcase_add_test(tc, a_volume_is_not_copied_to_itself);
	tcase_add_test(tc, no_more_is_copied_in_a_second_than_was_allowed);
	return s;
}

/* SPDX-License-Identifier: MIT */
/* The volume: src/volume.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meta_int.h"
#include "test.h"
#include "tmpdir.h"
#include "vfs.h"
#include "volume.h"

#define INO 2
#define DIR 3

static char msg[512];
static u8 *mem; /* 512 pages */
static void *page[512];
static struct bdev *fault; /* of the volume opened last with_fault */

static void setup(void)
{
	tmpdir_make();
	mem = aligned_alloc(PAGE_SIZE, 512 * PAGE_SIZE);
	for (size_t i = 0; i < 512; i++)
		page[i] = mem + i * PAGE_SIZE;
}

static void teardown(void)
{
	free(mem);
	tmpdir_remove();
}

static int wrap_fault(void *arg, struct bdev *lower, struct bdev **ret)
{
	int err = bdev_fault_wrap(lower, &fault);

	if (!err)
		*ret = fault;
	return err;
}

static const struct volume_options with_fault = {.wrap = wrap_fault};
static const struct volume_options plain;
static const struct volume_options creating = {.create = true};

static struct volume *open_volume(const struct volume_options *opt)
{
	struct volume *v = NULL;
	int err = volume_open(tmpdir_path("v"), opt, &v, msg, sizeof(msg));

	ck_assert_msg(err == 0, "open: %d %s", err, msg);
	return v;
}

/* It is told of. */
static struct volume *open_noted(const char *what)
{
	struct volume *v;

	*msg = '\0';
	v = open_volume(&plain);
	ck_assert_msg(strstr(msg, what), "%s", msg);
	return v;
}

static void create(u64 size)
{
	struct volume_options opt = {.size = size};
	int err = volume_create(tmpdir_path("v"), &opt, msg, sizeof(msg));

	ck_assert_msg(err == 0, "create: %d %s", err, msg);
}

static void print_fault(void *arg, const char *line)
{
	char *lines = arg;
	size_t used = strlen(lines);

	(void)snprintf(lines + used, 4096 - used, "%s\n", line);
}

static long check_lines(char lines[4096])
{
	struct volume_check_options opt = {
		.data = true, .report = print_fault, .arg = lines};

	lines[0] = '\0';
	return volume_check(tmpdir_path("v"), &opt, msg, sizeof(msg));
}

static void check_is_well(void)
{
	char lines[4096];
	long nr = check_lines(lines);

	ck_assert_msg(nr == 0 && !*lines, "%ld: %s", nr, lines);
}

/* ---- a committer in small ---- */

static int defer(void *arg, u64 block, u64 nr)
{
	struct volume *v = arg;

	return blocks_free_deferred(v->blocks, v->next_ino, block, nr);
}

static int put_file(struct volume *v, u64 size)
{
	struct inode_row in = {.ino = INO, .mode = S_IFREG | 0600, .nlink = 1};
	struct dentry_row d = {
		.id = 1, .ino = INO, .type = S_IFREG, .len = 1, .name = "f"};
	int err;

	in.size = size;
	err = meta_inode_put(v->meta, &in);
	return err ? err : meta_dentry_put(v->meta, 1, &d);
}

struct slots {
	u64 start[512];
	u32 nr[512];
	u64 sums[512];
	u32 runs;
};

static void free_slots(struct volume *v, const struct slots *s)
{
	for (u32 i = 0; i < s->runs; i++)
		volume_swap_ops.free(v, s->start[i], s->nr[i]);
}

static int write_slots(struct volume *v, u32 nr, struct slots *s)
{
	u32 done = 0;
	u64 epoch;
	int err = 0;

	for (s->runs = 0; !err && done < nr;) {
		err = volume_swap_ops.alloc(v, nr - done, false,
					    &s->start[s->runs],
					    &s->nr[s->runs]);
		if (err)
			break;
		s->runs++;
		err = volume_swap_ops.write(v, s->start[s->runs - 1],
					    s->nr[s->runs - 1], page + done,
					    s->sums + done, &epoch);
		done += s->nr[s->runs - 1];
	}
	if (err)
		free_slots(v, s);
	return err;
}

static int put_slots(struct volume *v, u64 pgoff, const struct slots *s)
{
	u32 done = 0;
	int err = 0;

	for (u32 i = 0; !err && i < s->runs; i++) {
		err = meta_extent_put(v->meta, INO, pgoff + done, s->nr[i],
				      s->start[i], 0, s->sums + done, defer, v);
		done += s->nr[i];
	}
	return err;
}

/*
 * Commit page[0..nr) as pages [pgoff, ...) of the file: slots, flush, extents,
 * COMMIT, release. next_ino doubles as commit number.
 */
static int commit_pages(struct volume *v, u64 pgoff, u32 nr)
{
	struct slots s;
	int err = write_slots(v, nr, &s);

	if (err)
		return err;
	v->next_ino++;
	err = volume_flush(v);
	if (!err)
		err = meta_begin(v->meta);
	if (!err) {
		err = put_file(v, (pgoff + nr) * PAGE_SIZE);
		if (!err)
			err = put_slots(v, pgoff, &s);
		if (!err)
			err = meta_commit(v->meta, v->next_ino, true);
		else
			meta_rollback(v->meta);
	}
	if (!err) {
		blocks_release(v->blocks, v->next_ino);
		return 0;
	}
	blocks_cancel_deferred(v->blocks, v->next_ino);
	/* A failed sync leaves open what the next mount finds. */
	if (!meta_failed(v->meta))
		free_slots(v, &s);
	return err;
}

static void fill(u32 nr, u8 value)
{
	for (u32 i = 0; i < nr; i++)
		memset(page[i], (int)(value + i), PAGE_SIZE);
}

static void expect_pages(struct volume *v, u64 pgoff, u32 nr, u8 value)
{
	int errs[512];

	memset(mem, 0xee, nr * PAGE_SIZE);
	ck_assert_int_eq(volume_read_pages(v, INO, pgoff, nr, page, errs), 0);
	for (u32 i = 0; i < nr; i++) {
		ck_assert_int_eq(errs[i], 0);
		ck_assert_int_eq(*(u8 *)page[i], (u8)(value + i));
		ck_assert_int_eq(((u8 *)page[i])[PAGE_SIZE - 1],
				 (u8)(value + i));
	}
}

/* ---- in which order ---- */

/* What is done to the files: F flushes data, W writes it, S syncs the WAL, w
 * writes it, m writes meta.db, D syncs a folder. */
static char done[64];

static void note_done(char what)
{
	size_t nr = strlen(done);

	if (nr < sizeof(done) - 1)
		done[nr] = what;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	note_done('D');
	return __real_fsync(fd);
}

static int note_device(void *arg, unsigned kind)
{
	if (kind == BDEV_FAULT_FLUSH)
		note_done('F');
	else if (kind == BDEV_FAULT_WRITE)
		note_done('W');
	return 0;
}

static int note_database(void *arg, const struct vfs_event *ev)
{
	if (ev->op == VFS_SYNC && ev->wal)
		note_done('S');
	else if (ev->op == VFS_WRITE)
		note_done(ev->wal ? 'w' : 'm');
	return SQLITE_OK;
}

static int wrap_noting(void *arg, struct bdev *lower, struct bdev **ret)
{
	int err = wrap_fault(arg, lower, ret);

	if (!err)
		bdev_fault_set_hook(*ret, note_device, NULL);
	return err;
}

/* The last COMMIT of a daemon that was killed may be in the host's memory
 * alone. */
START_TEST(a_mount_makes_all_there_is_durable_before_it_writes)
{
	static const struct volume_options noting = {.wrap = wrap_noting};
	struct volume *v;
	int status;
	pid_t pid;

	create(0);
	pid = fork();
	if (!pid) {
		v = open_volume(&plain);
		fill(4, 1);
		_exit(commit_pages(v, 0, 4) ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);

	memset(done, 0, sizeof(done));
	vfs_set_hook(note_database, NULL);
	v = open_volume(&noting);
	for (const char *what = "FSD"; *what; what++) {
		size_t at = strcspn(done, (char[]){*what, '\0'});

		ck_assert_msg(at < strcspn(done, "Wwm"), "%c in %s", *what,
			      done);
	}
	expect_pages(v, 0, 4, 1);
	ck_assert_int_eq(volume_close(v), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

/* ---- creation and opening ---- */

START_TEST(a_new_volume_is_empty_and_well)
{
	struct volume *v;
	struct meta_super super;
	struct stat st;

	create(0);
	ck_assert_str_eq(msg, "");
	check_is_well();
	v = open_volume(&plain);
	meta_super(v->meta, &super);
	ck_assert_uint_eq(super.mount_epoch, 1);
	ck_assert_uint_eq(v->mount_epoch, 1);
	ck_assert_uint_eq(v->nr_inodes, 1);
	ck_assert_uint_eq(v->next_ino, 2);
	ck_assert_int_eq(volume_close(v), 0);
	v = open_volume(&creating);
	ck_assert_uint_eq(v->mount_epoch, 2);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(stat(tmpdir_path("v/meta.db"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	check_is_well();
}
END_TEST

START_TEST(a_folder_with_files_is_not_made_a_volume)
{
	ck_assert_int_eq(mkdir(tmpdir_path("v"), 0700), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("v/x"), 0700), 0);
	ck_assert_int_eq(
		volume_create(tmpdir_path("v"), &plain, msg, sizeof(msg)),
		-ENOTEMPTY);
	ck_assert_str_ne(msg, "");
	ck_assert_int_eq(rmdir(tmpdir_path("v/x")), 0);
	ck_assert_int_eq(rmdir(tmpdir_path("v")), 0);
	ck_assert_int_eq(
		volume_create(tmpdir_path("v/w"), &plain, msg, sizeof(msg)),
		-ENOENT);
}
END_TEST

START_TEST(a_failed_creation_leaves_nothing_behind)
{
	struct volume_options tiny = {.size = 4096};
	struct volume_options huge = {.size = UINT64_MAX};

	ck_assert_int_eq(
		volume_create(tmpdir_path("v"), &tiny, msg, sizeof(msg)),
		-EINVAL);
	ck_assert_int_eq(
		volume_create(tmpdir_path("v"), &huge, msg, sizeof(msg)),
		-EINVAL);
	ck_assert_int_ne(access(tmpdir_path("v"), F_OK), 0);
}
END_TEST

static int fail_nth_write(void *arg, const struct vfs_event *ev)
{
	u64 *left = arg;

	if (ev->op != VFS_WRITE && ev->op != VFS_SYNC)
		return SQLITE_OK;
	return *left && --*left == 0 ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

START_TEST(a_creation_that_fails_anywhere_leaves_nothing_behind)
{
	u64 left;
	u64 nth = 0;

	do {
		int err;

		left = ++nth;
		vfs_set_hook(fail_nth_write, &left);
		err = volume_create(tmpdir_path("v"), &plain, msg, sizeof(msg));
		vfs_set_hook(NULL, NULL);
		if (!left) {
			ck_assert_int_eq(err, -EIO);
			ck_assert_str_ne(msg, "");
			ck_assert_int_ne(access(tmpdir_path("v"), F_OK), 0);
		}
	} while (!left);
	ck_assert_uint_ge(nth, 10);
	check_is_well();
}
END_TEST

static void put_file_text(const char *name, const char *text)
{
	FILE *f = fopen(tmpdir_path(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(a_second_opener_is_told_who_has_it)
{
	static const struct volume_options reading = {.readonly = true};
	struct volume *other = NULL;
	struct volume *v;
	char who[64];

	create(0);
	put_file_text("v/lock", "pid 1\nmountpoint /of/who/was/killed\n");
	v = open_volume(_i ? &reading : &plain);
	(void)snprintf(who, sizeof(who), "process %d", (int)getpid());
	ck_assert_int_eq(
		volume_open(tmpdir_path("v"), &plain, &other, msg, sizeof(msg)),
		-EBUSY);
	ck_assert_msg(strstr(msg, who), "%s", msg);
	ck_assert_int_eq(volume_lock_note(v, "/mnt/a b"), 0);
	ck_assert_int_eq(
		volume_open(tmpdir_path("v"), &plain, &other, msg, sizeof(msg)),
		-EBUSY);
	ck_assert_msg(strstr(msg, who) && strstr(msg, "mounted at /mnt/a b"),
		      "%s", msg);
	/* a refused one harms neither the lock nor SQLite's */
	fill(3, 1);
	if (!_i)
		ck_assert_int_eq(commit_pages(v, 0, 3), 0);
	ck_assert_ptr_null(other);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(volume_close(open_volume(&plain)), 0);
}
END_TEST

static void expect_refusal(int err, const char *says)
{
	struct volume *v = NULL;

	ck_assert_int_eq(
		volume_open(tmpdir_path("v"), &plain, &v, msg, sizeof(msg)),
		err);
	ck_assert_msg(strstr(msg, says) && !strchr(msg, '\n'), "%s", msg);
	ck_assert_ptr_null(v);
}

START_TEST(what_is_no_volume_is_refused_and_not_touched)
{
	expect_refusal(-ENOENT, "No such file");
	put_file_text("v", "file");
	expect_refusal(-ENOTDIR, "Not a directory");
	ck_assert_int_eq(unlink(tmpdir_path("v")), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("v"), 0700), 0);
	expect_refusal(-ENOENT, "not a volume");
	ck_assert_int_eq(rmdir(tmpdir_path("v")), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("v"), 0700), 0);
	put_file_text("v/meta.db", "a text that is no database at all");
	expect_refusal(-EUCLEAN, "meta.db is truncated");
}
END_TEST

START_TEST(a_mismatched_or_damaged_data_file_is_refused)
{
	create(0);
	ck_assert_int_eq(rename(tmpdir_path("v"), tmpdir_path("w")), 0);
	create(0);
	ck_assert_int_eq(rename(tmpdir_path("v/data"), tmpdir_path("kept")), 0);
	expect_refusal(-ENOENT, "data: No such file");
	put_file_text("v/data", "text");
	expect_refusal(-EUCLEAN, "data is damaged");
	ck_assert_int_eq(rename(tmpdir_path("w/data"), tmpdir_path("v/data")),
			 0);
	expect_refusal(-EUCLEAN, "of different volumes");
	ck_assert_int_eq(rename(tmpdir_path("kept"), tmpdir_path("v/data")), 0);
	check_is_well();
}
END_TEST

START_TEST(truncated_data_is_refused)
{
	char lines[4096];
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	fill(20, 1);
	ck_assert_int_eq(commit_pages(v, 0, 20), 0);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(truncate(tmpdir_path("v/data"), 10 * PAGE_SIZE), 0);
	expect_refusal(-EUCLEAN, "data is truncated: 11 blocks");
	ck_assert_int_eq(check_lines(lines), 1);
	ck_assert_msg(strstr(lines, "behind the end of data"), "%s", lines);
}
END_TEST

START_TEST(a_host_in_memory_is_noted)
{
	struct volume *v;
	char path[64];

	if (access("/dev/shm", W_OK) != 0)
		return;
	(void)snprintf(path, sizeof(path), "/dev/shm/foliofs-test-%d",
		       (int)getpid());
	ck_assert_int_eq(volume_open(path, &creating, &v, msg, sizeof(msg)), 0);
	ck_assert_msg(strstr(msg, "memory"), "%s", msg);
	fill(3, 9);
	ck_assert_int_eq(commit_pages(v, 0, 3), 0);
	expect_pages(v, 0, 3, 9);
	ck_assert_int_eq(volume_close(v), 0);
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = {"meta.db", "data", "lock",
						    "freemap"};
		char file[128];

		(void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
		ck_assert_int_eq(unlink(file), 0);
	}
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* ---- pages ---- */

START_TEST(committed_pages_are_read_again_after_a_mount)
{
	struct volume *v;
	enum extent_kind kind;
	u64 end;

	create(0);
	v = open_volume(&plain);
	fill(300, 5);
	ck_assert_int_eq(commit_pages(v, 10, 300), 0);
	expect_pages(v, 10, 300, 5);
	fill(2, 100);
	ck_assert_int_eq(commit_pages(v, 50, 2), 0);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();

	v = open_volume(&plain);
	expect_pages(v, 10, 40, 5);
	expect_pages(v, 50, 2, 100);
	expect_pages(v, 52, 258, 5 + 42);
	ck_assert_int_eq(volume_next_extent(v, INO, 0, &kind, &end), 0);
	ck_assert_int_eq(kind, EXTENT_HOLE);
	ck_assert_uint_eq(end, 10);
	ck_assert_int_eq(volume_next_extent(v, INO, 10, &kind, &end), 0);
	ck_assert_int_eq(kind, EXTENT_DATA);
	ck_assert_int_eq(volume_next_extent(v, INO, 310, &kind, &end), 0);
	ck_assert_int_eq(kind, EXTENT_HOLE);
	ck_assert_uint_eq(end, PGOFF_MAX + 1);
	ck_assert_uint_gt(v->count.data_read_blocks, 0);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(holes_unwritten_and_inline_pages_are_read)
{
	static const u8 zeros[PAGE_SIZE];
	struct volume *v;
	int errs[8];
	enum extent_kind kind;
	u64 end;

	create(0);
	v = open_volume(&plain);
	fill(1, 7);
	ck_assert_int_eq(commit_pages(v, 3, 1), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_extent_put(v->meta, INO, 5, 2, 200,
					 META_EXTENT_UNWRITTEN, NULL, defer, v),
			 0);
	ck_assert_int_eq(
		meta_extent_put_inline(v->meta, INO, 2, "inline", 6, defer, v),
		0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	memset(mem, 0xee, 8 * PAGE_SIZE);
	ck_assert_int_eq(volume_read_pages(v, INO, 0, 8, page, errs), 0);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(errs[i], 0);
		if (i != 2 && i != 3)
			ck_assert(memcmp(page[i], zeros, PAGE_SIZE) == 0);
	}
	ck_assert_str_eq((char *)page[2], "inline");
	ck_assert_int_eq(*(u8 *)page[3], 7);
	ck_assert_int_eq(volume_next_extent(v, INO, 6, &kind, &end), 0);
	ck_assert_int_eq(kind, EXTENT_UNWRITTEN);
	ck_assert_uint_eq(end, 7);
	ck_assert_int_eq(volume_close(v), 0);
	/* its unwritten blocks were not taken from the map */
	ck_assert_int_eq(unlink(tmpdir_path("v/freemap")), 0);
	check_is_well();
}
END_TEST

static void flip_byte(const char *name, off_t at)
{
	int fd = open(tmpdir_path(name), O_RDWR);
	u8 byte;

	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

START_TEST(a_wrong_byte_is_an_error_for_its_page_alone)
{
	struct volume *v;
	char lines[4096];
	int errs[20];

	create(0);
	v = open_volume(&plain);
	fill(20, 1);
	ck_assert_int_eq(commit_pages(v, 0, 20), 0);
	ck_assert_int_eq(volume_close(v), 0);
	/* the first blocks of an empty volume: page i is block i + 1 */
	flip_byte("v/data", 8 * PAGE_SIZE + 1234);
	ck_assert_int_eq(check_lines(lines), 1);
	ck_assert_str_eq(
		lines, "inode 2 (/f), page 7: block 8 has a wrong checksum\n");

	v = open_volume(&plain);
	ck_assert_int_eq(volume_read_pages(v, INO, 0, 20, page, errs), 0);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(errs[i], i == 7 ? -EIO : 0);
		if (i != 7)
			ck_assert_int_eq(*(u8 *)page[i], i + 1);
	}
	ck_assert_uint_eq(v->count.checksum_errors, 1);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(a_bad_sector_is_an_error_for_its_page_alone)
{
	struct volume *v;
	int errs[20];

	create(0);
	v = open_volume(&with_fault);
	fill(20, 1);
	ck_assert_int_eq(commit_pages(v, 0, 20), 0);
	/* the run, and then the fifth block by itself */
	bdev_fault_arm(fault, BDEV_FAULT_READ, 1, -EIO, false);
	ck_assert_int_eq(volume_read_pages(v, INO, 0, 20, page, errs), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(errs[i], 0);
	ck_assert_uint_eq(bdev_fault_calls(fault), 21);
	bdev_fault_arm(fault, BDEV_FAULT_READ, 1, -EIO, true);
	ck_assert_int_eq(volume_read_pages(v, INO, 4, 2, page, errs), 0);
	ck_assert_int_eq(errs[0], -EIO);
	ck_assert_int_eq(errs[1], -EIO);
	ck_assert_uint_eq(v->count.checksum_errors, 0);
	bdev_fault_arm(fault, 0, 0, 0, false);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(slots_keep_what_was_written_to_them)
{
	struct volume *v;
	struct slots s;
	int errs[100];

	create(0);
	v = open_volume(&plain);
	fill(100, 3);
	ck_assert_int_eq(write_slots(v, 100, &s), 0);
	ck_assert_uint_eq(s.runs, 1);
	for (u32 i = 0; i < 100; i++)
		ck_assert_uint_eq(s.sums[i], volume_sum(page[i]));
	memset(mem, 0, 100 * PAGE_SIZE);
	ck_assert_int_eq(
		volume_swap_ops.read(v, s.start[0], 100, page, s.sums, errs),
		0);
	for (u32 i = 0; i < 100; i++) {
		ck_assert_int_eq(errs[i], 0);
		ck_assert_int_eq(*(u8 *)page[i], (u8)(3 + i));
	}
	s.sums[42] ^= 1;
	ck_assert_int_eq(
		volume_swap_ops.read(v, s.start[0], 100, page, s.sums, errs),
		0);
	ck_assert_int_eq(errs[42], -EIO);
	ck_assert_int_eq(errs[43], 0);
	ck_assert_uint_eq(v->count.data_write_blocks, 100);
	free_slots(v, &s);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

/* ---- space ---- */

START_TEST(a_bounded_volume_fills_up_and_works_on)
{
	struct blocks_stat st;
	struct volume *v;
	u64 pgoff = 0;
	int err;

	create(VOLUME_MIN_BLOCKS * PAGE_SIZE);
	v = open_volume(&plain);
	fill(10, 1);
	while ((err = commit_pages(v, pgoff, 10)) == 0)
		pgoff += 10;
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_eq(pgoff, 250);
	ck_assert_int_eq(volume_reserve(v, 4), -ENOSPC);
	for (u64 at = 0; at < pgoff; at += 10)
		expect_pages(v, at, 10, 1);

	/* what is removed can be used again, when that is durable */
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_extent_punch(v->meta, INO, 0, 99, defer, v), 0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	ck_assert_int_eq(blocks_reserve(v->blocks, 100), -ENOSPC);
	blocks_release(v->blocks, v->next_ino);
	ck_assert_int_eq(blocks_reserve(v->blocks, 100), 0);
	blocks_unreserve(v->blocks, 100);
	fill(100, 50);
	ck_assert_int_eq(commit_pages(v, 0, 100), 0);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
	v = open_volume(&plain);
	expect_pages(v, 0, 100, 50);
	blocks_stat(v->blocks, &st);
	ck_assert_uint_eq(st.total, VOLUME_MIN_BLOCKS);
	ck_assert_uint_eq(st.used, 251);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(data_grows_ahead_and_is_trimmed_at_the_end)
{
	struct volume *v;
	struct stat st;

	create(0);
	v = open_volume(&plain);
	fill(10, 1);
	ck_assert_int_eq(commit_pages(v, 0, 10), 0);
	ck_assert_int_eq(stat(tmpdir_path("v/data"), &st), 0);
	ck_assert_int_ge(st.st_size, 64 << 20);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(stat(tmpdir_path("v/data"), &st), 0);
	ck_assert_int_eq(st.st_size, 11 * (off_t)PAGE_SIZE);
	check_is_well();
}
END_TEST

START_TEST(a_host_without_room_to_grow_ahead_gives_what_it_has)
{
	struct volume *v;
	struct slots s;

	create(0);
	v = open_volume(&with_fault);
	fill(10, 1);
	/* refused: the rest of 64 MiB, half, a quarter */
	bdev_fault_arm(fault, BDEV_FAULT_GROW, 1, -ENOSPC, false);
	ck_assert_int_eq(write_slots(v, 10, &s), 0);
	ck_assert_uint_eq(bdev_fault_calls(fault), 2);
	free_slots(v, &s);
	v->data_blocks = 0;
	bdev_fault_arm(fault, BDEV_FAULT_GROW, 1, -ENOSPC, true);
	ck_assert_int_eq(write_slots(v, 10, &s), -ENOSPC);
	ck_assert_uint_ge(bdev_fault_calls(fault), 14);
	bdev_fault_arm(fault, 0, 0, 0, false);
	ck_assert_int_eq(write_slots(v, 10, &s), 0);
	free_slots(v, &s);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(an_unbounded_volume_is_bounded_by_its_host)
{
	struct blocks_stat st;
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	volume_update_bound(v);
	blocks_stat(v->blocks, &st);
	ck_assert_uint_gt(st.total, 256);
	ck_assert_int_eq(volume_reserve(v, st.total), -ENOSPC);
	ck_assert_int_eq(volume_reserve(v, 100), 0);
	blocks_unreserve(v->blocks, 100);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

/* ---- flushes ---- */

static u64 write_epoch(struct volume *v, struct slots *s)
{
	u64 epoch;

	ck_assert_int_eq(
		volume_swap_ops.alloc(v, 1, false, &s->start[0], &s->nr[0]), 0);
	s->runs = 1;
	ck_assert_int_eq(
		volume_swap_ops.write(v, s->start[0], 1, page, s->sums, &epoch),
		0);
	return epoch;
}

START_TEST(flush_epochs_say_what_is_durable_and_what_may_be_lost)
{
	struct slots s[4];
	struct volume *v;
	u64 epoch[4];

	create(0);
	v = open_volume(&with_fault);
	epoch[0] = write_epoch(v, &s[0]);
	ck_assert_uint_gt(epoch[0], v->flushed_epoch);
	ck_assert_int_eq(volume_flush(v), 0);
	ck_assert_uint_le(epoch[0], v->flushed_epoch);
	ck_assert_uint_eq(v->lost_upto, 0);

	epoch[1] = write_epoch(v, &s[1]);
	bdev_fault_arm(fault, BDEV_FAULT_FLUSH, 1, -EIO, false);
	ck_assert_int_eq(volume_flush(v), -EIO);
	ck_assert_uint_lt(v->flushed_epoch, epoch[1]);
	epoch[2] = write_epoch(v, &s[2]);
	ck_assert_int_eq(volume_flush(v), 0);
	ck_assert_uint_le(epoch[2], v->flushed_epoch);
	/* the second is lost, the others are not */
	ck_assert(epoch[0] <= v->lost_after);
	ck_assert(epoch[1] > v->lost_after && epoch[1] <= v->lost_upto);
	ck_assert(epoch[2] > v->lost_upto);

	epoch[3] = write_epoch(v, &s[3]);
	bdev_fault_arm(fault, BDEV_FAULT_FLUSH, 1, -EIO, false);
	ck_assert_int_eq(volume_flush(v), -EIO);
	ck_assert(epoch[1] > v->lost_after && epoch[1] <= v->lost_upto);
	ck_assert(epoch[3] > v->lost_after && epoch[3] <= v->lost_upto);
	ck_assert_uint_eq(v->count.data_flushes, 4);
	ck_assert_uint_eq(v->count.data_flush_errors, 2);
	for (int i = 0; i < 4; i++)
		free_slots(v, &s[i]);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

/* A device on which a flush fails while the first write is under way. */
static struct volume *racing;

static int racing_write(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct volume *v = racing;

	racing = NULL;
	if (v)
		ck_assert_int_eq(volume_flush(v), -EIO);
	return fault->ops->write(fault, block, nr, pages);
}

static int racing_flush(struct bdev *b)
{
	return fault->ops->flush(fault);
}

START_TEST(a_write_during_a_failing_flush_is_done_again)
{
	static const struct bdev_operations ops = {
		.name = "racing", .write = racing_write, .flush = racing_flush};
	struct bdev device = {&ops};
	struct volume *v;
	struct slots s;
	u64 epoch;

	create(0);
	v = open_volume(&with_fault);
	(void)write_epoch(v, &s);
	free_slots(v, &s);
	bdev_fault_arm(fault, BDEV_FAULT_FLUSH | BDEV_FAULT_WRITE, 1, -EIO,
		       false);
	racing = v;
	v->data = &device;
	epoch = write_epoch(v, &s);
	v->data = fault;
	/* the failed flush, the write in which it fell, and that again */
	ck_assert_uint_eq(bdev_fault_calls(fault), 3);
	ck_assert_uint_gt(epoch, v->lost_upto);
	free_slots(v, &s);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

/* ---- the saved block map ---- */

struct map {
	u64 start[256], nr[256];
	u32 runs;
};

static struct map map_of(const struct volume *v)
{
	struct map m = {.runs = 0};
	u64 at = 0;

	while (blocks_next_used(v->blocks, at, &m.start[m.runs],
				&m.nr[m.runs])) {
		at = m.start[m.runs] + m.nr[m.runs];
		m.runs++;
		ck_assert_uint_lt(m.runs, ARRAY_SIZE(m.start));
	}
	return m;
}

/* Blocks here and there, some of which are let go again. */
static void scatter(u64 version)
{
	struct volume *v = open_volume(&plain);

	fill(200, (u8)version);
	ck_assert_int_eq(commit_pages(v, 0, 200), 0);
	for (u64 i = 0; i < 200; i += 7)
		ck_assert_int_eq(commit_pages(v, i, 2), 0);
	ck_assert_int_eq(volume_close(v), 0);
}

static void change_file(const char *name, u64 at, int how)
{
	int fd = open(tmpdir_path(name), O_RDWR);
	u8 byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= (u8)how;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	ck_assert_int_eq(close(fd), 0);
}

static u64 file_size(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(tmpdir_path(name), &st), 0);
	return (u64)st.st_size;
}

static void expect_map(bool loaded, const struct map *want)
{
	struct volume *v = open_volume(&plain);
	struct map got = map_of(v);

	ck_assert_int_eq(v->map_loaded, loaded);
	blocks_check(v->blocks);
	ck_assert_uint_eq(got.runs, want->runs);
	ck_assert(!memcmp(got.start, want->start, got.runs * sizeof(u64)));
	ck_assert(!memcmp(got.nr, want->nr, got.runs * sizeof(u64)));
	ck_assert_int_eq(volume_close(v), 0);
}

START_TEST(a_saved_map_is_the_one_that_would_be_built)
{
	struct volume *v;
	struct map built;

	create(0);
	scatter(1);
	ck_assert_int_eq(unlink(tmpdir_path("v/freemap")), 0);
	v = open_volume(&plain);
	ck_assert(!v->map_loaded);
	built = map_of(v);
	ck_assert_uint_gt(built.runs, 2);
	/* it is of no use to who comes after a crash */
	ck_assert_int_lt(access(tmpdir_path("v/freemap"), F_OK), 0);
	ck_assert_int_eq(volume_close(v), 0);
	expect_map(true, &built);
	expect_map(true, &built);
	check_is_well();
}
END_TEST

START_TEST(a_map_that_is_damaged_anywhere_is_built_anew)
{
	struct map built;
	struct volume *v;
	u64 size;

	create(0);
	scatter(1);
	v = open_volume(&plain);
	built = map_of(v);
	ck_assert_int_eq(volume_close(v), 0);
	size = file_size("v/freemap");
	for (u64 at = 0; at < size; at += 1 + at / 16) {
		change_file("v/freemap", at, 1 << (at % 8));
		expect_map(false, &built);
		ck_assert_uint_eq(file_size("v/freemap"), size);
	}
	for (u64 len = 0; len < size; len += 1 + size / 20) {
		ck_assert_int_eq(truncate(tmpdir_path("v/freemap"), (off_t)len),
				 0);
		expect_map(false, &built);
	}
	ck_assert_int_eq(truncate(tmpdir_path("v/freemap"), (off_t)size + 1),
			 0);
	expect_map(false, &built);
	expect_map(true, &built);
}
END_TEST

START_TEST(a_map_of_another_commit_is_ignored)
{
	struct map built;
	struct volume *v;

	create(0);
	scatter(1);
	ck_assert_int_eq(rename(tmpdir_path("v/freemap"), tmpdir_path("old")),
			 0);
	scatter(2);
	v = open_volume(&plain);
	built = map_of(v);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(rename(tmpdir_path("old"), tmpdir_path("v/freemap")),
			 0);
	expect_map(false, &built);
	check_is_well();
}
END_TEST

/* ---- mounts after accidents ---- */

START_TEST(orphans_are_gone_after_a_mount_and_their_space_is_free)
{
	struct blocks_stat st;
	struct meta_reader *r;
	struct inode_row row;
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	fill(50, 1);
	ck_assert_int_eq(commit_pages(v, 0, 50), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_dentry_delete(v->meta, 1, "f", 1), 0);
	ck_assert_int_eq(meta_reader_get(v->meta, &r), 0);
	ck_assert_int_eq(meta_inode_get(r, INO, &row), 0);
	meta_reader_put(r);
	row.nlink = 0;
	ck_assert_int_eq(meta_inode_put(v->meta, &row), 0);
	ck_assert_int_eq(meta_orphan_put(v->meta, INO), 0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();

	v = open_volume(&plain);
	blocks_stat(v->blocks, &st);
	ck_assert_uint_eq(st.used, 1);
	ck_assert_uint_eq(v->nr_inodes, 1);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
}
END_TEST

/* Damage, which no mount may take for what a crash leaves. */
START_TEST(what_is_in_use_is_kept_if_it_is_marked_as_deleted)
{
	static const u64 inos[] = {1, INO, DIR};
	struct inode_row dir = {.ino = DIR, .mode = S_IFDIR | 0700, .nlink = 2};
	struct dentry_row in_it = {
		.id = 2, .ino = INO, .type = S_IFREG, .len = 1, .name = "g"};
	struct volume *v;
	char lines[4096];

	create(0);
	v = open_volume(&plain);
	fill(50, 1);
	ck_assert_int_eq(commit_pages(v, 0, 50), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_inode_put(v->meta, &dir), 0);
	ck_assert_int_eq(meta_dentry_put(v->meta, DIR, &in_it), 0);
	if (inos[_i] != DIR)
		ck_assert_int_eq(meta_dentry_delete(v->meta, DIR, "g", 1), 0);
	ck_assert_int_eq(meta_orphan_put(v->meta, inos[_i]), 0);
	ck_assert_int_eq(meta_commit(v->meta, DIR + 1, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_gt(check_lines(lines), 0);
	ck_assert_ptr_nonnull(strstr(lines, "orphan"));

	v = open_noted("is marked as deleted");
	ck_assert_uint_eq(v->nr_inodes, 3);
	expect_pages(v, 0, 50, 1);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(a_number_that_is_in_use_is_not_given_out)
{
	static const char *const in_use[] = {
		"UPDATE inode SET ino=70 WHERE ino=2",
		"UPDATE dentry SET ino=70",
		"UPDATE dentry SET parent=70",
		"UPDATE extent SET ino=70",
		"INSERT INTO symlink VALUES(70,x'61')",
		"INSERT INTO xattr VALUES(70,x'61',x'')",
		"INSERT INTO orphan VALUES(70)",
	};
	struct meta_super super;
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	fill(5, 1);
	ck_assert_int_eq(commit_pages(v, 0, 5), 0);
	ck_assert_int_eq(conn_exec(&v->meta->writer, in_use[_i]), 0);
	/* out of bounds: no reason to go there */
	ck_assert_int_eq(conn_exec(&v->meta->writer,
				   "INSERT INTO symlink VALUES(1<<62,x'61')"),
			 0);
	ck_assert_int_eq(volume_close(v), 0);

	v = open_noted("inode 70 is in use");
	ck_assert_uint_eq(v->next_ino, 71);
	meta_super(v->meta, &super);
	ck_assert_uint_eq(super.next_ino, 71);
	ck_assert_int_eq(volume_close(v), 0);
	v = open_volume(&plain);
	ck_assert_str_eq(msg, "");
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(a_super_that_cannot_be_is_refused)
{
	static const char *const supers[] = {
		"UPDATE super SET next_ino=1",
		"UPDATE super SET next_ino=1<<62",
		"UPDATE super SET next_ino=-5",
		"UPDATE super SET commit_no=-1",
		"UPDATE super SET mount_epoch=9223372036854775807",
		"UPDATE super SET nr_blocks=-1",
		"UPDATE super SET block_size=512",
		"UPDATE super SET version=0",
	};
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	ck_assert_int_eq(conn_exec(&v->meta->writer, supers[_i]), 0);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(
		volume_open(tmpdir_path("v"), &plain, &v, msg, sizeof(msg)),
		-EUCLEAN);
	ck_assert_str_eq(msg, "meta.db has a damaged super");
}
END_TEST

static void repair(void)
{
	char lines[4096] = "";
	struct volume_check_options opt = {
		.data = true, .report = print_fault, .arg = lines};
	struct volume_repair_result r;
	int err = volume_repair(tmpdir_path("v"), &opt, &r, msg, sizeof(msg));

	ck_assert_msg(!err && !r.left, "repair: %d %s, %s", err, msg, lines);
}

static const struct {
	const char *sql;
	const char *what; /* "": nothing is said */
	bool mounts;
} schemas[] = {
	{"DROP INDEX dentry_ino", "dentry_ino", false},
	{"DROP TABLE orphan; CREATE TABLE orphan(ino INTEGER)", "orphan",
	 false},
	{"DROP TABLE symlink", "symlink", false},
	{"DROP TABLE redo; CREATE TABLE redo(id INT, start, nr, salt, seq)",
	 "redo", false},
	/* of before there was one */
	{"DROP TABLE redo", "", true},
	/* what people made for themselves */
	{"DROP VIEW path", "", true},
	{"CREATE TABLE notes(text); CREATE INDEX big ON inode(size)", "", true},
	{"CREATE TRIGGER bad BEFORE INSERT ON extent BEGIN DELETE FROM "
	 "dentry; END",
	 "", true},
};

START_TEST(a_schema_that_is_not_ours_is_refused)
{
	char lines[4096], want[128];
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	fill(5, 1);
	ck_assert_int_eq(commit_pages(v, 0, 5), 0);
	ck_assert_int_eq(conn_exec(&v->meta->writer, schemas[_i].sql), 0);
	ck_assert_int_eq(volume_close(v), 0);

	(void)snprintf(want, sizeof(want),
		       "meta.db: the schema of %s is damaged",
		       schemas[_i].what);
	(void)check_lines(lines);
	if (*schemas[_i].what)
		ck_assert_msg(strstr(lines, want), "%s", lines);
	else
		ck_assert_str_eq(lines, "");

	if (!schemas[_i].mounts) {
		ck_assert_int_eq(volume_open(tmpdir_path("v"), &plain, &v, msg,
					     sizeof(msg)),
				 -EUCLEAN);
		ck_assert_str_eq(msg, want);
		repair();
	}
	v = open_volume(&plain);
	fill(5, 2);
	ck_assert_int_eq(commit_pages(v, 0, 5), 0);
	expect_pages(v, 0, 5, 2);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
}
END_TEST

START_TEST(a_killed_daemon_leaves_its_last_commit_and_no_leak)
{
	struct blocks_stat st;
	struct volume *v;
	int status;
	pid_t pid;

	create(0);
	pid = fork();
	if (pid == 0) {
		struct slots s;

		if (volume_open(tmpdir_path("v"), &plain, &v, msg, sizeof(msg)))
			_exit(1);
		fill(60, 1);
		if (commit_pages(v, 0, 60))
			_exit(2);
		fill(30, 100);
		if (commit_pages(v, 10, 30) || write_slots(v, 200, &s))
			_exit(3);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	check_is_well();
	v = open_volume(&plain);
	expect_pages(v, 0, 10, 1);
	expect_pages(v, 10, 30, 100);
	expect_pages(v, 40, 20, 41);
	blocks_stat(v->blocks, &st);
	ck_assert_uint_eq(st.used, 61);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(a_read_only_volume_gives_its_pages_and_keeps_its_epoch)
{
	struct volume_options ro = {.readonly = true};
	struct volume *v;

	create(0);
	v = open_volume(&plain);
	fill(60, 1);
	ck_assert_int_eq(commit_pages(v, 0, 60), 0);
	ck_assert_int_eq(volume_close(v), 0);
	v = open_volume(&ro);
	expect_pages(v, 0, 60, 1);
	ck_assert_uint_eq(v->mount_epoch, 1);
	ck_assert_int_eq(meta_begin(v->meta), -EROFS);
	ck_assert_int_eq(volume_close(v), 0);
	v = open_volume(&plain);
	ck_assert_uint_eq(v->mount_epoch, 2);
	ck_assert_int_eq(volume_close(v), 0);
}
END_TEST

START_TEST(check_says_which_blocks_are_used_twice)
{
	struct volume *v;
	char lines[4096];
	u64 sum;

	create(0);
	v = open_volume(&plain);
	fill(2, 1);
	ck_assert_int_eq(commit_pages(v, 0, 2), 0);
	sum = volume_sum(page[1]);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(
		meta_extent_put(v->meta, INO, 9, 1, 2, 0, &sum, defer, v), 0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	ck_assert_int_eq(check_lines(lines), -EBUSY);
	ck_assert_msg(strstr(msg, "in use by process"), "%s", msg);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(check_lines(lines), 1);
	ck_assert_str_eq(lines,
			 "inode 2 (/f), page 9: blocks 2-2 are used twice\n");
	/* a mount sees it when it has to look at the extents */
	ck_assert_int_eq(unlink(tmpdir_path("v/freemap")), 0);
	expect_refusal(-EUCLEAN, "extents are damaged");
}
END_TEST

START_TEST(check_says_where_the_saved_map_is_not_that_of_the_extents)
{
	struct volume *v;
	char lines[4096];
	u64 start;
	u32 nr;

	create(0);
	v = open_volume(&plain);
	fill(4, 1);
	ck_assert_int_eq(commit_pages(v, 0, 4), 0);
	/* blocks 1 to 4; one of them is given back, and others never are */
	ck_assert_int_eq(volume_swap_ops.alloc(v, 3, false, &start, &nr), 0);
	ck_assert(start == 5 && nr == 3);
	blocks_free(v->blocks, 2, 1);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_eq(check_lines(lines), 2);
	ck_assert_msg(strstr(lines, "freemap: blocks 3-7 are lost") &&
			      strstr(lines, "freemap: blocks 1-4 are free"),
		      "%s", lines);
}
END_TEST

/* Through our VFS, so that what is written are right pages. */
static void run_sql(const char *sql)
{
	struct meta *m;

	ck_assert_int_eq(meta_open_bare(tmpdir_path("v"), "meta.db", &m), 0);
	ck_assert_int_eq(conn_exec(&m->writer, sql), 0);
	ck_assert_int_eq(meta_close(m), 0);
}

START_TEST(check_says_which_page_in_a_row_has_wrong_bytes)
{
	struct volume *v;
	char lines[4096];

	create(0);
	v = open_volume(&plain);
	fill(1, 7);
	ck_assert_int_eq(commit_pages(v, 3, 1), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(
		meta_extent_put_inline(v->meta, INO, 2, "inline", 6, defer, v),
		0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
	run_sql("UPDATE extent SET data=CAST('outline' AS BLOB) WHERE pgoff=2");
	ck_assert_int_eq(check_lines(lines), 1);
	ck_assert_str_eq(lines, "inode 2 (/f), page 2: has a wrong checksum\n");
}
END_TEST

/* Unwritten ones may lie behind the end of data, and so anywhere. */
START_TEST(extents_behind_all_bounds_cost_no_memory_and_free_nothing)
{
	static const u64 huge[] = {BLOCKS_MAX - 1, (u64)1 << 50, PGOFF_MAX};
	struct volume *v;
	char lines[4096];

	create(0);
	v = open_volume(&plain);
	fill(2, 1);
	ck_assert_int_eq(commit_pages(v, 0, 2), 0);
	ck_assert_int_eq(meta_begin(v->meta), 0);
	ck_assert_int_eq(meta_extent_put(v->meta, INO, 9, 2, huge[_i],
					 META_EXTENT_UNWRITTEN, NULL, defer, v),
			 0);
	ck_assert_int_eq(meta_commit(v->meta, 3, true), 0);
	ck_assert_int_eq(volume_close(v), 0);
	ck_assert_int_ge(check_lines(lines), 1);
	ck_assert_msg(strstr(lines, "pages 9-10: ") &&
			      strstr(lines, "out of bounds"),
		      "%s", lines);

	/* the map that was saved knows nothing of it */
	v = open_volume(&plain);
	ck_assert(v->map_loaded);
	expect_pages(v, 0, 2, 1);
	ck_assert_int_eq(blocks_free_deferred(v->blocks, 4, huge[_i], 2),
			 -EUCLEAN);
	ck_assert_int_eq(volume_close(v), 0);
	expect_refusal(-EUCLEAN, "extents are damaged");
}
END_TEST

static void *close_volume(void *arg)
{
	return volume_close(arg) ? arg : NULL;
}

START_TEST(a_holder_whose_mount_is_gone_is_waited_for)
{
	struct volume *v;
	pthread_t thread;
	void *failed;

	create(0);
	v = open_volume(&plain);
	ck_assert_int_eq(volume_lock_note(v, tmpdir_path("gone")), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, close_volume, v), 0);
	check_is_well();
	ck_assert_int_eq(pthread_join(thread, &failed), 0);
	ck_assert_ptr_null(failed);
}
END_TEST

/* ---- every nth call fails ---- */

/*
 * Mount, commit the numbers 1, 2, 3 ... as content of four pages, unmount.
 * Return: the last one that was acknowledged; *ret_err of what failed.
 */
static u32 commit_numbers(const struct volume_options *opt, unsigned kinds,
			  u64 nth, int *ret_err)
{
	struct volume *v = NULL;
	u32 acked = 0;
	int err;

	*ret_err = volume_open(tmpdir_path("v"), opt, &v, msg, sizeof(msg));
	if (*ret_err)
		return 0;
	if (kinds)
		bdev_fault_arm(fault, kinds, nth, -EIO, false);
	for (u32 n = 1; n <= 3; n++) {
		fill(4, (u8)(n * 16));
		err = commit_pages(v, 0, 4);
		if (err)
			*ret_err = err;
		else
			acked = n;
		blocks_check(v->blocks);
	}
	err = volume_close(v);
	if (err)
		*ret_err = err;
	return acked;
}

/* The volume mounts again, is well, holds number @n or, if @more, the next, and
 * has nothing leaked. */
static void expect_number(u32 n, bool more)
{
	struct blocks_stat st;
	struct volume *v;
	int errs[4];
	u8 found;

	check_is_well();
	v = open_volume(&plain);
	ck_assert_int_eq(volume_read_pages(v, INO, 0, 4, page, errs), 0);
	found = *(u8 *)page[0];
	ck_assert(found == n * 16 || (more && found > n * 16));
	if (found)
		expect_pages(v, 0, 4, found);
	blocks_stat(v->blocks, &st);
	ck_assert_uint_eq(st.used, found ? 5 : 1);
	ck_assert_uint_eq(st.deferred, 0);
	ck_assert_int_eq(volume_close(v), 0);
}

static void remake(void)
{
	tmpdir_remove();
	tmpdir_make();
	create(0);
}

START_TEST(every_failed_call_of_the_device_is_told_and_loses_no_commit)
{
	static const unsigned kinds[] = {BDEV_FAULT_WRITE, BDEV_FAULT_FLUSH,
					 BDEV_FAULT_GROW};
	u64 nth = 0;
	int err;

	do {
		u32 acked;

		remake();
		acked = commit_numbers(&with_fault, kinds[_i], ++nth, &err);
		/* not final: what came after the failure was committed */
		if (err)
			ck_assert_int_eq(err, -EIO);
		ck_assert_uint_ge(acked, nth == 3 ? 2 : 3);
		expect_number(acked, false);
	} while (err);
	ck_assert_uint_ge(nth, 2);
}
END_TEST

struct sqlite_fault {
	enum vfs_op op;
	int code;
	u64 nth;
	u64 seen;
};

static int fail_nth(void *arg, const struct vfs_event *ev)
{
	struct sqlite_fault *f = arg;

	if (ev->op != f->op)
		return SQLITE_OK;
	return ++f->seen == f->nth ? f->code : SQLITE_OK;
}

static const struct sqlite_fault sqlite_faults[] = {
	{VFS_WRITE, SQLITE_IOERR_WRITE, 0, 0},
	{VFS_WRITE, SQLITE_FULL, 0, 0},
	{VFS_SYNC, SQLITE_IOERR_FSYNC, 0, 0},
	{VFS_READ, SQLITE_IOERR_READ, 0, 0},
	{VFS_OPEN, SQLITE_CANTOPEN, 0, 0},
};

START_TEST(every_failed_call_of_sqlite_is_told_and_loses_no_commit)
{
	struct sqlite_fault f = sqlite_faults[_i];

	do {
		u32 acked;
		int err;

		remake();
		f.nth++;
		f.seen = 0;
		vfs_set_hook(fail_nth, &f);
		acked = commit_numbers(&plain, 0, 0, &err);
		vfs_set_hook(NULL, NULL);
		if (err)
			ck_assert(err == -EIO || err == -ENOSPC);
		expect_number(acked, err != 0);
	} while (f.seen >= f.nth);
	ck_assert_uint_ge(f.nth, 3);
}
END_TEST

/* ---- against a model, and in threads ---- */

#define FILE_PAGES 400

START_TEST(random_commits_and_mounts_agree_with_a_plain_array)
{
	static u8 model[FILE_PAGES];
	struct volume *v;
	struct rng rng;

	rng_init(&rng, 1);
	create(4096 * PAGE_SIZE);
	v = open_volume(&plain);
	for (u64 i = 0; i < test_rounds(150); i++) {
		u32 nr = (u32)rng_range(&rng, 1, 200);
		u64 at = rng_below(&rng, FILE_PAGES - nr + 1);
		int errs[FILE_PAGES];

		for (u32 n = 0; n < nr; n++) {
			model[at + n] = (u8)rng_range(&rng, 1, 255);
			memset(page[n], model[at + n], PAGE_SIZE);
		}
		ck_assert_int_eq(commit_pages(v, at, nr), 0);
		ck_assert_int_eq(meta_checkpoint(v->meta, false), 0);
		if (rng_one_in(&rng, 30)) {
			ck_assert_int_eq(volume_close(v), 0);
			check_is_well();
			v = open_volume(&plain);
		}
		ck_assert_int_eq(
			volume_read_pages(v, INO, 0, FILE_PAGES, page, errs),
			0);
		for (u32 n = 0; n < FILE_PAGES; n++) {
			ck_assert_int_eq(errs[n], 0);
			ck_assert_int_eq(*(u8 *)page[n], model[n]);
		}
		blocks_check(v->blocks);
	}
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
}
END_TEST

static bool stop;

/* Each commit writes one number to four pages: a read that saw two, or a
 * checksum that is wrong because blocks were reused too early, is a failure. */
static void *read_along(void *arg)
{
	struct volume *v = arg;
	u8 *buf = aligned_alloc(PAGE_SIZE, 4 * PAGE_SIZE);
	void *bad = buf ? NULL : (void *)1;

	while (!bad && !__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		void *pages[4];
		int errs[4];

		for (size_t i = 0; i < 4; i++)
			pages[i] = buf + i * PAGE_SIZE;
		if (volume_read_pages(v, INO, 0, 4, pages, errs))
			bad = (void *)1;
		for (size_t i = 0; i < 4; i++) {
			if (errs[i] || buf[i * PAGE_SIZE] != buf[0])
				bad = (void *)1;
		}
	}
	free(buf);
	return bad;
}

START_TEST(reads_that_race_with_commits_see_whole_ones)
{
	pthread_t threads[4];
	struct volume *v;

	/* so small that freed blocks are used again at once */
	create(VOLUME_MIN_BLOCKS * PAGE_SIZE);
	v = open_volume(&plain);
	memset(mem, 1, 4 * PAGE_SIZE);
	ck_assert_int_eq(commit_pages(v, 0, 4), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, read_along, v), 0);
	for (u64 n = 0; n < test_rounds(300); n++) {
		int err;

		memset(mem, (int)(n % 255 + 1), 4 * PAGE_SIZE);
		/* a reader that does not run keeps all that was freed since */
		do
			err = commit_pages(v, 0, 4);
		while (err == -ENOSPC && !sched_yield());
		ck_assert_int_eq(err, 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++) {
		void *bad;

		(void)pthread_join(threads[i], &bad);
		ck_assert_ptr_null(bad);
	}
	ck_assert_uint_eq(v->count.checksum_errors, 0);
	ck_assert_int_eq(volume_close(v), 0);
	check_is_well();
}
END_TEST

static void add_opening(TCase *tc)
{
	tcase_add_test(tc, a_new_volume_is_empty_and_well);
	tcase_add_test(tc, a_folder_with_files_is_not_made_a_volume);
	tcase_add_test(tc, a_failed_creation_leaves_nothing_behind);
	tcase_add_test(tc,
		       a_creation_that_fails_anywhere_leaves_nothing_behind);
	tcase_add_loop_test(tc, a_second_opener_is_told_who_has_it, 0, 2);
	tcase_add_test(tc, what_is_no_volume_is_refused_and_not_touched);
	tcase_add_test(tc, a_mismatched_or_damaged_data_file_is_refused);
	tcase_add_test(tc, truncated_data_is_refused);
	tcase_add_test(tc, a_host_in_memory_is_noted);
}

static void add_pages(TCase *tc)
{
	tcase_add_test(tc, committed_pages_are_read_again_after_a_mount);
	tcase_add_test(tc, holes_unwritten_and_inline_pages_are_read);
	tcase_add_test(tc, a_wrong_byte_is_an_error_for_its_page_alone);
	tcase_add_test(tc, a_bad_sector_is_an_error_for_its_page_alone);
	tcase_add_test(tc, slots_keep_what_was_written_to_them);
	tcase_add_test(tc, a_bounded_volume_fills_up_and_works_on);
	tcase_add_test(tc, data_grows_ahead_and_is_trimmed_at_the_end);
	tcase_add_test(tc, a_host_without_room_to_grow_ahead_gives_what_it_has);
	tcase_add_test(tc, an_unbounded_volume_is_bounded_by_its_host);
	tcase_add_test(tc,
		       flush_epochs_say_what_is_durable_and_what_may_be_lost);
	tcase_add_test(tc, a_write_during_a_failing_flush_is_done_again);
}

static void add_accidents(TCase *tc)
{
	tcase_add_test(tc, a_saved_map_is_the_one_that_would_be_built);
	tcase_add_test(tc, a_map_that_is_damaged_anywhere_is_built_anew);
	tcase_add_test(tc, a_map_of_another_commit_is_ignored);
	tcase_add_test(tc,
		       orphans_are_gone_after_a_mount_and_their_space_is_free);
	tcase_add_loop_test(
		tc, what_is_in_use_is_kept_if_it_is_marked_as_deleted, 0, 3);
	tcase_add_loop_test(tc, a_number_that_is_in_use_is_not_given_out, 0, 7);
	tcase_add_loop_test(tc, a_super_that_cannot_be_is_refused, 0, 8);
	tcase_add_loop_test(tc, a_schema_that_is_not_ours_is_refused, 0,
			    ARRAY_SIZE(schemas));
	tcase_add_test(tc, a_killed_daemon_leaves_its_last_commit_and_no_leak);
	tcase_add_test(tc,
		       a_read_only_volume_gives_its_pages_and_keeps_its_epoch);
	tcase_add_test(tc, check_says_which_blocks_are_used_twice);
	tcase_add_test(
		tc, check_says_where_the_saved_map_is_not_that_of_the_extents);
	tcase_add_test(tc, check_says_which_page_in_a_row_has_wrong_bytes);
	tcase_add_test(tc, a_mount_makes_all_there_is_durable_before_it_writes);
	tcase_add_loop_test(
		tc, extents_behind_all_bounds_cost_no_memory_and_free_nothing,
		0, 3);
	tcase_add_test(tc, a_holder_whose_mount_is_gone_is_waited_for);
	tcase_add_loop_test(
		tc, every_failed_call_of_the_device_is_told_and_loses_no_commit,
		0, 3);
	tcase_add_loop_test(
		tc, every_failed_call_of_sqlite_is_told_and_loses_no_commit, 0,
		(int)ARRAY_SIZE(sqlite_faults));
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("volume", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	add_opening(tc);
	add_pages(tc);
	add_accidents(tc);
	tcase_add_test(tc, random_commits_and_mounts_agree_with_a_plain_array);
	tcase_add_test(tc, reads_that_race_with_commits_see_whole_ones);
	return s;
}

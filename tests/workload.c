/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "faults.h"
#include "fs_util.h"
#include "tmpdir.h"
#include "workload.h"

#define ROOT FS_ROOT_INO
#define CACHE_SIZE (2u << 20)

/* ---- calls ---- */

struct world world;

/* A call of a step. Those that went through are not made again. */
#define DO(call)                                \
	do {                                    \
		if (world.at++ >= world.done) { \
			int rc_ = (call);       \
                                                \
			if (rc_)                \
				return rc_;     \
			world.done++;           \
		}                               \
	} while (0)

/* Several. */
#define GO(calls)                   \
	do {                        \
		int rc_ = (calls);  \
                                    \
		if (rc_)            \
			return rc_; \
	} while (0)

static void log_line(void *arg, int level, const char *line)
{
	if (getenv("FOLIO_LOUD"))
		(void)fprintf(stderr, "<%d> %s\n", level, line);
}

int mount_it(void)
{
	struct volume_options vo = {.wrap = faults_wrap};
	struct fs_options fo = {
		.cache_size = CACHE_SIZE,
		.cache_max = CACHE_SIZE,
		.patient = true,
		.atomic = world.atomic,
		.atime = FS_ATIME_NONE,
		.log = log_line,
	};
	struct volume *v;
	char why[256];
	int err;

	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	err = volume_open(tmpdir_path("vol"), &vo, &v, why, sizeof(why));
	return err ? err : fs_open(v, &fo, &world.fs);
}

int unmount_it(void)
{
	struct fs *fs = world.fs;

	world.fs = NULL;
	memset(world.fh, 0, sizeof(world.fh));
	return fs_close(fs);
}

static int make(int slot, const char *name)
{
	struct stat st;
	int err = fs_create(world.fs, ROOT, name, 0644, O_RDWR, &test_cred, 1,
			    &st, &world.fh[slot]);

	if (err)
		return err;
	world.ino[slot] = st.st_ino;
	fs_forget(world.fs, st.st_ino, 1);
	return 0;
}

static int make_nameless(int slot)
{
	struct stat st;
	int err = fs_tmpfile(world.fs, ROOT, 0600, O_RDWR, &test_cred, 1, &st,
			     &world.fh[slot]);

	if (err)
		return err;
	world.ino[slot] = st.st_ino;
	fs_forget(world.fs, st.st_ino, 1);
	return 0;
}

static int find(int slot, const char *name)
{
	struct stat st;
	int err = fs_lookup(world.fs, ROOT, name, &st);

	if (err)
		return err;
	world.ino[slot] = st.st_ino;
	fs_forget(world.fs, st.st_ino, 1);
	return 0;
}

static int open_as(int slot, int flags)
{
	return fs_openf(world.fs, world.ino[slot], flags, 1, &world.fh[slot]);
}

int shut(int slot)
{
	u64 fh = world.fh[slot];

	world.fh[slot] = 0;
	return fs_release(world.fs, fh);
}

/* As the FUSE layer does it. */
static ssize_t write_once(u64 fh, u64 pos, const void *buf, size_t len)
{
	bool retry;
	u64 pause;
	ssize_t n = fs_write(world.fs, fh, pos, buf, len, 0, &pause, &retry);
	struct test_fs t = {.fs = world.fs};

	if (n != -ENOSPC || !retry)
		return n;
	(void)test_commit(&t);
	return fs_write(world.fs, fh, pos, buf, len, 0, &pause, &retry);
}

static u8 bytes[256 * PAGE_SIZE], wanted[256 * PAGE_SIZE];

static int put(int slot, u64 pos, size_t len, u64 version)
{
	size_t done = 0;

	expect(len <= sizeof(bytes));
	test_pattern(bytes, len, pos, version);
	while (done < len) {
		ssize_t n = write_once(world.fh[slot], pos + done, bytes + done,
				       len - done);

		if (n <= 0)
			return n ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* Reading says so when it cannot, and else gives the right bytes. */
static int is_version(int slot, u64 pos, size_t len, u64 version)
{
	static struct cache_read rd;
	static void *bounce;
	size_t done = 0;

	if (!bounce)
		bounce = mmap(NULL, CACHE_READ_MAX_PAGES * PAGE_SIZE,
			      PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bounce == MAP_FAILED) {
		bounce = NULL;
		return -ENOMEM;
	}
	test_pattern(wanted, len, pos, version);
	while (done < len) {
		ssize_t n;

		memset(&rd, 0, sizeof(rd));
		rd.bounce = bounce;
		n = fs_read(world.fs, world.fh[slot], pos + done, len - done,
			    &rd);
		if (n <= 0)
			return n ? (int)n : -EIO;
		for (u32 i = 0; i < rd.nr_iov; i++) {
			if (memcmp(rd.iov[i].iov_base, wanted + done,
				   rd.iov[i].iov_len))
				ck_abort_msg("wrong bytes behind %zu", done);
			done += rd.iov[i].iov_len;
		}
		cache_read_done(fs_cache(world.fs), &rd);
	}
	return 0;
}

int sync_slot(int slot)
{
	struct test_fs t = {.fs = world.fs};

	return test_fsync(&t, world.fh[slot]);
}

static int sync_folder(void)
{
	struct test_fs t = {.fs = world.fs};

	return test_fsyncdir(&t, ROOT);
}

int sync_all(void)
{
	return fs_sync_wait(world.fs);
}

static int drop_caches(void)
{
	return fs_drop(world.fs, 0);
}

static int resize(int slot, u64 size)
{
	struct stat st = {.st_size = (off_t)size};

	return fs_setattr(world.fs, world.ino[slot], world.fh[slot], &st,
			  FS_SET_SIZE, &st);
}

static int set_mode(int slot, u32 mode)
{
	struct stat st = {.st_mode = mode};

	return fs_setattr(world.fs, world.ino[slot], 0, &st, FS_SET_MODE, &st);
}

static int set_xattr(int slot, const char *name, size_t len, u64 version)
{
	test_pattern(bytes, len, 0, version);
	return fs_setxattr(world.fs, world.ino[slot], name, bytes, len, 0);
}

/* user::rwx, a user, group::r-x, mask::rwx, other::--- */
static int set_acl(int slot)
{
	static const u8 acl[] = {
		2,  0, 0, 0,			 /* version */
		1,  0, 7, 0, 255, 255, 255, 255, /* */
		2,  0, 6, 0, 5,	  0,   0,   0,	 /* */
		4,  0, 5, 0, 255, 255, 255, 255, /* */
		16, 0, 7, 0, 255, 255, 255, 255, /* */
		32, 0, 0, 0, 255, 255, 255, 255,
	};

	return fs_setxattr(world.fs, world.ino[slot], "system.posix_acl_access",
			   acl, sizeof(acl), 0);
}

static int fill_in(int slot, int mode, u64 pos, u64 len)
{
	return fs_fallocate(world.fs, world.fh[slot], mode, pos, len);
}

static int rename_to(const char *from, const char *to, unsigned flags)
{
	return fs_rename(world.fs, ROOT, from, ROOT, to, flags, &test_cred);
}

static int commit_group(u32 nr)
{
	struct test_fs t = {.fs = world.fs};

	return test_commit_files(&t, world.ino, nr);
}

/* ---- workloads ---- */

#define PAGES(n) ((u64)(n)*PAGE_SIZE)

static int nothing(void)
{
	return 0;
}

static int make_f(void)
{
	DO(make(0, "f"));
	DO(put(0, 0, PAGES(100), 1));
	DO(sync_all());
	return 0;
}

static int create_large(void)
{
	DO(make(0, "a"));
	DO(put(0, 0, PAGES(40), 1));
	DO(sync_slot(0));
	return 0;
}

static int create_small(void)
{
	DO(make(1, "b"));
	DO(put(1, 0, 100, 2));
	DO(sync_slot(1));
	return 0;
}

static int create_others(void)
{
	struct stat st;

	DO(fs_mkdir(world.fs, ROOT, "d", 0755, &test_cred, &st));
	DO(fs_symlink(world.fs, ROOT, "l", "target", &test_cred, &st));
	DO(fs_mknod(world.fs, ROOT, "p", S_IFIFO | 0600, 0, &test_cred, &st));
	DO(fs_link(world.fs, world.ino[0], ROOT, "a2", &st));
	DO(sync_all());
	return 0;
}

static int open_f(void)
{
	DO(find(0, "f"));
	DO(open_as(0, O_RDWR));
	return 0;
}

static int overwrite(void)
{
	GO(open_f());
	DO(is_version(0, 0, PAGES(100), 1));
	DO(put(0, 0, PAGES(30), 2));
	DO(put(0, PAGES(60), PAGES(20), 2));
	DO(sync_slot(0));
	return 0;
}

static int overwrite_parts(void)
{
	DO(drop_caches());
	DO(put(0, PAGES(40) + 100, PAGES(3), 3));
	DO(is_version(0, PAGES(60), PAGES(20), 2));
	DO(sync_slot(0));
	return 0;
}

static int append(void)
{
	DO(put(0, PAGES(100), 10, 4));
	DO(sync_slot(0));
	return 0;
}

static int rename_over(void)
{
	DO(make(1, "new"));
	DO(put(1, 0, PAGES(20), 2));
	DO(rename_to("new", "f", 0));
	DO(sync_folder());
	return 0;
}

static int exchange(void)
{
	DO(make(2, "g"));
	DO(put(2, 0, PAGES(10), 3));
	DO(sync_all());
	return 0;
}

static int exchange_more(void)
{
	DO(put(2, 0, PAGES(2), 4));
	DO(rename_to("f", "g", RENAME_EXCHANGE));
	DO(sync_all());
	return 0;
}

static int link_tmpfile(void)
{
	struct stat st;

	DO(make_nameless(3));
	DO(put(3, 0, PAGES(8), 5));
	DO(fs_link(world.fs, world.ino[3], ROOT, "t", &st));
	DO(sync_all());
	return 0;
}

static int cut(void)
{
	GO(open_f());
	DO(resize(0, PAGES(50) + 7));
	DO(sync_slot(0));
	return 0;
}

static int punch(void)
{
	DO(fill_in(0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGES(10) + 9,
		   PAGES(12)));
	DO(sync_slot(0));
	return 0;
}

static int zero_range(void)
{
	DO(fill_in(0, FALLOC_FL_ZERO_RANGE, PAGES(30), PAGES(4)));
	DO(sync_slot(0));
	return 0;
}

static int cut_and_extend(void)
{
	DO(resize(0, 100));
	DO(resize(0, PAGES(60)));
	DO(put(0, PAGES(55), PAGES(2), 2));
	DO(sync_slot(0));
	return 0;
}

static int attributes(void)
{
	GO(open_f());
	DO(set_xattr(0, "user.small", 10, 1));
	DO(sync_slot(0));
	return 0;
}

static int attributes_large(void)
{
	DO(set_xattr(0, "user.large", 60000, 2));
	DO(sync_slot(0));
	return 0;
}

static int attributes_acl(void)
{
	DO(set_acl(0));
	DO(sync_slot(0));
	return 0;
}

static int attributes_gone(void)
{
	DO(fs_removexattr(world.fs, world.ino[0], "user.small"));
	DO(sync_all());
	return 0;
}

static int attributes_mode(void)
{
	DO(set_mode(0, 0600));
	DO(sync_slot(0));
	return 0;
}

/* More than the cache is. */
static int spill(void)
{
	GO(open_f());
	for (u64 i = 0; i < 4; i++)
		DO(put(0, PAGES(i * 200), PAGES(200), 7));
	DO(is_version(0, 0, PAGES(200), 7));
	DO(put(0, PAGES(20), PAGES(100), 8));
	DO(is_version(0, PAGES(200), PAGES(200), 7));
	DO(sync_slot(0));
	return 0;
}

static int spill_and_cut(void)
{
	for (u64 i = 0; i < 3; i++)
		DO(put(0, PAGES(i * 200), PAGES(200), 9));
	DO(resize(0, PAGES(300)));
	DO(sync_slot(0));
	return 0;
}

static int reserve(void)
{
	GO(open_f());
	DO(fill_in(0, 0, PAGES(90), PAGES(200)));
	DO(sync_slot(0));
	return 0;
}

static int write_reserved(void)
{
	DO(put(0, PAGES(150), PAGES(20), 2));
	DO(sync_slot(0));
	return 0;
}

static int reserve_behind(void)
{
	DO(fill_in(0, FALLOC_FL_KEEP_SIZE, PAGES(400), PAGES(10)));
	DO(sync_slot(0));
	return 0;
}

static int unlink_open(void)
{
	GO(open_f());
	DO(fs_unlink(world.fs, ROOT, "f"));
	DO(sync_folder());
	return 0;
}

static int use_orphan(void)
{
	DO(put(0, PAGES(10), PAGES(40), 2));
	DO(drop_caches());
	DO(is_version(0, PAGES(10), PAGES(40), 2));
	DO(is_version(0, 0, PAGES(10), 1));
	DO(sync_all());
	return 0;
}

static int drop_orphan(void)
{
	DO(shut(0));
	DO(sync_all());
	return 0;
}

static int make_three(void)
{
	DO(make(0, "a"));
	DO(make(1, "b"));
	DO(make(2, "c"));
	for (int i = 0; i < 3; i++)
		DO(put(i, 0, PAGES(20), 1));
	DO(sync_all());
	return 0;
}

static int open_three(void)
{
	DO(find(0, "a"));
	DO(find(1, "b"));
	DO(find(2, "c"));
	for (int i = 0; i < 3; i++)
		DO(open_as(i, O_RDWR));
	return 0;
}

static int commit_three(void)
{
	GO(open_three());
	DO(put(0, 0, PAGES(20), 2));
	DO(put(1, PAGES(5), 10, 2));
	DO(resize(2, PAGES(3)));
	DO(commit_group(3));
	return 0;
}

static int commit_two(void)
{
	DO(put(0, PAGES(1), PAGES(30), 3));
	DO(put(1, PAGES(5), PAGES(9), 3));
	DO(commit_group(2));
	return 0;
}

/* What a killed daemon leaves: a WAL, an orphan. */
static int make_to_kill(void)
{
	GO(make_f());
	DO(make(1, "orphan"));
	DO(put(1, 0, PAGES(30), 3));
	DO(sync_all());
	DO(fs_unlink(world.fs, ROOT, "orphan"));
	DO(sync_all());
	return 0;
}

static int make_more(void)
{
	DO(make(2, "more"));
	DO(shut(2));
	DO(sync_all());
	return 0;
}

static int make_yet_more(void)
{
	DO(make(2, "yet more"));
	DO(sync_all());
	return 0;
}

static int read_f(void)
{
	GO(open_f());
	DO(is_version(0, 0, PAGES(100), 1));
	DO(shut(0));
	return 0;
}

static int write_much(void)
{
	GO(open_f());
	DO(put(0, 0, PAGES(100), 2));
	DO(make(1, "g"));
	DO(put(1, 0, PAGES(5), 2));
	DO(unmount_it());
	return 0;
}

static int make_fragments(void)
{
	char name[16];

	GO(make_f());
	for (int i = 0; i < 16; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		DO(make(1, name));
		DO(put(1, 0, PAGES(30), (u64)i));
		DO(shut(1));
	}
	DO(sync_all());
	return 0;
}

static int remove_fragments(void)
{
	char name[16];

	for (int i = 0; i < 16; i += 2) {
		(void)snprintf(name, sizeof(name), "%d", i);
		DO(fs_unlink(world.fs, ROOT, name));
	}
	DO(sync_all());
	return 0;
}

static int compact(void)
{
	int rc;

	do
		rc = fs_compact_some(world.fs, &world.from);
	while (rc > 0);
	return rc;
}

const struct workload workloads[WORKLOAD_NR] = {
	[WORKLOAD_CREATE] = {"create",
			     nothing,
			     {mount_it, create_large, create_small,
			      create_others, unmount_it}},
	[WORKLOAD_OVERWRITE] = {"overwrite",
				make_f,
				{mount_it, overwrite, overwrite_parts, append,
				 unmount_it}},
	[WORKLOAD_RENAME] = {"rename",
			     make_f,
			     {mount_it, rename_over, exchange, exchange_more,
			      link_tmpfile, unmount_it}},
	[WORKLOAD_TRUNCATE] = {"truncate",
			       make_f,
			       {mount_it, cut, punch, zero_range,
				cut_and_extend, unmount_it}},
	[WORKLOAD_ATTRIBUTES] = {"attributes",
				 make_f,
				 {mount_it, attributes, attributes_large,
				  attributes_acl, attributes_gone,
				  attributes_mode, unmount_it}},
	[WORKLOAD_SPILL] = {"spill",
			    make_f,
			    {mount_it, spill, spill_and_cut, unmount_it}},
	[WORKLOAD_FALLOCATE] = {"fallocate",
				make_f,
				{mount_it, reserve, write_reserved,
				 reserve_behind, unmount_it}},
	[WORKLOAD_UNLINK] = {"unlink",
			     make_f,
			     {mount_it, unlink_open, use_orphan, drop_orphan,
			      unmount_it}},
	[WORKLOAD_TOGETHER] = {"together",
			       make_three,
			       {mount_it, commit_three, commit_two,
				unmount_it}},
	[WORKLOAD_MOUNT] = {"mount",
			    make_to_kill,
			    {mount_it, make_more, read_f, unmount_it, mount_it,
			     make_yet_more},
			    .mounts = true,
			    .left_open = true},
	[WORKLOAD_UNMOUNT] = {"unmount", make_f, {mount_it, write_much}},
	[WORKLOAD_COMPACT] = {"compact",
			      make_fragments,
			      {mount_it, remove_fragments, compact,
			       unmount_it}},
};

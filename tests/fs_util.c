/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_util.h"
#include "swap_file.h"
#include "tmpdir.h"

const struct fs_cred test_cred = {.uid = 1000, .gid = 1000};

void test_fs_init(struct test_fs *t)
{
	*t = (struct test_fs){.cache_size = 4u << 20};
}

/* @arg: where to note the device that wraps. */
static int wrap(void *arg, struct bdev *lower, struct bdev **ret)
{
	struct bdev **fault = arg;
	int err = bdev_fault_wrap(lower, ret);

	if (!err)
		*fault = *ret;
	return err;
}

/* What the log said, as much as finds room. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[16384];

static void keep_line(const char *line)
{
	size_t at;

	(void)pthread_mutex_lock(&said_lock);
	at = strlen(said);
	(void)snprintf(said + at, sizeof(said) - at, "%s\n", line);
	(void)pthread_mutex_unlock(&said_lock);
}

bool test_said(const char *what)
{
	bool has;

	(void)pthread_mutex_lock(&said_lock);
	has = strstr(said, what);
	said[0] = '\0';
	(void)pthread_mutex_unlock(&said_lock);
	return has;
}

static void log_line(void *arg, int level, const char *line)
{
	const struct test_fs *t = arg;

	keep_line(line);
	if (t->loud || getenv("FOLIO_LOUD"))
		(void)fprintf(stderr, "<%d> %s\n", level, line);
}

static struct swap_file *open_swap(struct test_fs *t, struct volume *v)
{
	struct swap_file_options opt = {
		.volume = v,
		.size = UINT64_MAX,
		.log = log_line,
		.log_arg = t,
		.wrap = wrap,
		.wrap_arg = &t->swap_fault,
	};
	struct swap_file *s;
	char err[256];
	int rc = swap_file_open(tmpdir_path(t->swap), &opt, &s, err,
				sizeof(err));

	ck_assert_msg(rc == 0, "swap_file_open: %s (%s)", strerror(-rc), err);
	return s;
}

void test_fs_open(struct test_fs *t)
{
	struct volume_options vo = {
		.create = true,
		.size = t->volume_size,
		.wrap = wrap,
		.wrap_arg = &t->fault,
	};
	struct fs_options fo = {
		.cache_size = t->cache_size,
		.cache_max = t->cache_size * 4,
		.commit_secs = t->commit_secs,
		.writeback = t->writeback,
		.patient = !t->impatient,
		.atomic = t->atomic,
		.commit_inline = t->commit_inline,
		.log = log_line,
		.log_arg = t,
	};
	struct volume *v;
	char err[256];
	int rc;

	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	rc = volume_open(tmpdir_path("vol"), &vo, &v, err, sizeof(err));
	ck_assert_msg(rc == 0, "volume_open: %s (%s)", strerror(-rc), err);
	fo.swap = t->swap ? open_swap(t, v) : NULL;
	rc = fs_open(v, &fo, &t->fs);
	ck_assert_msg(rc == 0, "fs_open: %s", strerror(-rc));
}

int test_fs_close(struct test_fs *t)
{
	int err = fs_close(t->fs);

	t->fs = NULL;
	t->fault = NULL;
	t->swap_fault = NULL;
	return err;
}

static void report(void *arg, const char *line)
{
	(void)arg;
	(void)fprintf(stderr, "check: %s\n", line);
}

void test_fs_check_volume(void)
{
	struct volume_check_options opt = {.data = true, .report = report};
	char err[256] = "";
	long nr = volume_check(tmpdir_path("vol"), &opt, err, sizeof(err));

	ck_assert_msg(nr == 0, "volume_check: %ld %s", nr, err);
}

void test_fs_spoil_block(u64 block)
{
	int fd = open(tmpdir_path("vol/data"), O_RDWR);
	off_t pos = (off_t)(block * PAGE_SIZE + 9);
	u8 byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, pos), 1);
	byte ^= 4;
	ck_assert_int_eq(pwrite(fd, &byte, 1, pos), 1);
	(void)close(fd);
}

void test_fs_reopen(struct test_fs *t)
{
	ck_assert_int_eq(test_fs_close(t), 0);
	test_fs_check_volume();
	test_fs_open(t);
}

/* ---- shorthands ---- */

u64 test_mkdir(struct test_fs *t, u64 parent, const char *name)
{
	struct stat st;
	int err = fs_mkdir(t->fs, parent, name, 0755, &test_cred, &st);

	ck_assert_msg(err == 0, "mkdir %s: %s", name, strerror(-err));
	fs_forget(t->fs, st.st_ino, 1);
	return st.st_ino;
}

u64 test_create(struct test_fs *t, u64 parent, const char *name, u64 *ret_fh)
{
	struct stat st;
	u64 fh;
	int err = fs_create(t->fs, parent, name, 0644, O_RDWR, &test_cred, 1,
			    &st, &fh);

	ck_assert_msg(err == 0, "create %s: %s", name, strerror(-err));
	fs_forget(t->fs, st.st_ino, 1);
	if (ret_fh)
		*ret_fh = fh;
	else
		ck_assert_int_eq(fs_release(t->fs, fh), 0);
	return st.st_ino;
}

u64 test_lookup(struct test_fs *t, u64 parent, const char *name)
{
	struct stat st;
	int err = fs_lookup(t->fs, parent, name, &st);

	ck_assert_msg(err == 0, "lookup %s: %s", name, strerror(-err));
	fs_forget(t->fs, st.st_ino, 1);
	return st.st_ino;
}

u64 test_open(struct test_fs *t, u64 ino)
{
	u64 fh;

	ck_assert_int_eq(fs_openf(t->fs, ino, O_RDWR, 1, &fh), 0);
	return fh;
}

void test_write(struct test_fs *t, u64 fh, u64 pos, const void *buf, size_t len)
{
	bool retry;
	u64 pause;

	while (len) {
		ssize_t n =
			fs_write(t->fs, fh, pos, buf, len, 0, &pause, &retry);

		ck_assert_msg(n > 0, "write: %s", strerror((int)-n));
		buf = (const char *)buf + n;
		pos += (u64)n;
		len -= (size_t)n;
	}
}

ssize_t test_try_write(struct test_fs *t, u64 fh, u64 pos, const void *buf,
		       size_t len)
{
	bool retry;
	u64 pause;
	ssize_t n = fs_write(t->fs, fh, pos, buf, len, 0, &pause, &retry);

	for (int i = 0; i < 8 && n == -ENOSPC && retry; i++) {
		(void)fs_sync_wait(t->fs);
		n = fs_write(t->fs, fh, pos, buf, len, 0, &pause, &retry);
	}
	return n;
}

ssize_t test_read(struct test_fs *t, u64 fh, u64 pos, void *buf, size_t len)
{
	struct cache_read *rd = calloc(1, sizeof(*rd));
	ssize_t n;

	if (!rd || posix_memalign(&rd->bounce, PAGE_SIZE,
				  CACHE_READ_MAX_PAGES * PAGE_SIZE))
		abort();
	n = fs_read(t->fs, fh, pos, len, rd);
	if (n >= 0) {
		char *to = buf;

		for (u32 i = 0; i < rd->nr_iov; i++) {
			memcpy(to, rd->iov[i].iov_base, rd->iov[i].iov_len);
			to += rd->iov[i].iov_len;
		}
		cache_read_done(fs_cache(t->fs), rd);
	}
	free(rd->bounce);
	free(rd);
	return n;
}

void test_stat(struct test_fs *t, u64 ino, struct stat *ret)
{
	ck_assert_int_eq(fs_getattr(t->fs, ino, ret), 0);
}

/* ---- waiting ---- */

struct wait {
	struct fs_done done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool answered;
	int err;
};

static void answered(struct fs_done *done, int err)
{
	struct wait *w = container_of(done, struct wait, done);

	(void)pthread_mutex_lock(&w->lock);
	if (w->answered)
		abort(); /* at most once */
	w->answered = true;
	w->err = err;
	(void)pthread_cond_signal(&w->cond);
	(void)pthread_mutex_unlock(&w->lock);
}

static void wait_init(struct wait *w)
{
	memset(w, 0, sizeof(*w));
	w->done.fn = answered;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->cond, NULL);
}

static int wait_for(struct wait *w)
{
	(void)pthread_mutex_lock(&w->lock);
	while (!w->answered)
		(void)pthread_cond_wait(&w->cond, &w->lock);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_mutex_destroy(&w->lock);
	(void)pthread_cond_destroy(&w->cond);
	return w->err;
}

int test_fsync(struct test_fs *t, u64 fh)
{
	struct wait w;

	wait_init(&w);
	fs_fsync(t->fs, fh, false, &w.done);
	return wait_for(&w);
}

int test_fsyncdir(struct test_fs *t, u64 ino)
{
	struct wait w;

	wait_init(&w);
	fs_fsyncdir(t->fs, ino, &w.done);
	return wait_for(&w);
}

int test_commit_files(struct test_fs *t, const u64 *inos, u32 nr)
{
	struct wait w;

	wait_init(&w);
	fs_commit_files(t->fs, inos, nr, &w.done);
	return wait_for(&w);
}

int test_settle(struct test_fs *t)
{
	struct wait w;

	wait_init(&w);
	return fs_settle(t->fs, &w.done) ? wait_for(&w) : 1;
}

int test_commit(struct test_fs *t)
{
	struct wait w;

	wait_init(&w);
	fs_commit(t->fs, &w.done);
	return wait_for(&w);
}

void test_pattern(void *buf, size_t len, u64 pos, u64 version)
{
	u8 *p = buf;

	for (size_t i = 0; i < len; i++) {
		u64 at = pos + i;
		u64 z = (at >> 3) * 0x9e3779b97f4a7c15ull +
			version * 0xbf58476d1ce4e5b9ull;

		z ^= z >> 29;
		p[i] = (u8)(z >> (8 * (at & 7)));
	}
}

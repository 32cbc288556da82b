/* SPDX-License-Identifier: MIT */
/*
 * Many threads at once: each has files of its own, which it checks, in folders
 * that all share; names that all fight for; renames across folders; commits,
 * drops and a cache whose size changes meanwhile.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_util.h"
#include "tmpdir.h"

#define NR_THREADS 5
#define NR_DIRS 4
#define NR_OWN 4
#define LEN (12 * PAGE_SIZE)

struct own {
	u64 version; /* 0: not there */
	int dir;
};

struct worker {
	pthread_t thread;
	int nr;
	struct rng rng;
	struct own own[NR_OWN];
	u8 buf[LEN], want[LEN];
};

static struct test_fs t;
static u64 dirs[NR_DIRS];
static struct worker workers[NR_THREADS];
static u64 rounds;

/* A worker must not report through libcheck. */
#define must(cond)                                                     \
	do {                                                           \
		if (!(cond)) {                                         \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, \
				      __LINE__, #cond);                \
			abort();                                       \
		}                                                      \
	} while (0)

static void own_name(char *name, size_t size, const struct worker *w, int i)
{
	(void)snprintf(name, size, "own-%d-%d", w->nr, i);
}

static u64 look(u64 dir, const char *name)
{
	struct stat st;

	if (fs_lookup(t.fs, dir, name, &st))
		return 0;
	fs_forget(t.fs, st.st_ino, 1);
	return st.st_ino;
}

static u64 own_open(struct worker *w, int i)
{
	u64 ino, fh;
	char name[32];

	own_name(name, sizeof(name), w, i);
	ino = look(dirs[w->own[i].dir], name);
	must(ino);
	must(fs_openf(t.fs, ino, O_RDWR, 1, &fh) == 0);
	return fh;
}

static u64 tag(const struct worker *w, int i)
{
	return w->own[i].version * 1000 + (u64)w->nr * 10 + (u64)i;
}

static void own_write(struct worker *w, int i)
{
	u64 fh, pause;
	bool retry;
	char name[32];

	own_name(name, sizeof(name), w, i);
	if (!w->own[i].version) {
		struct stat st;

		must(fs_create(t.fs, dirs[w->own[i].dir], name, 0644, O_RDWR,
			       &test_cred, 1, &st, &fh) == 0);
		fs_forget(t.fs, st.st_ino, 1);
	} else {
		fh = own_open(w, i);
	}
	w->own[i].version++;
	test_pattern(w->buf, LEN, 0, tag(w, i));
	must(fs_write(t.fs, fh, 0, w->buf, LEN, 0, &pause, &retry) == LEN);
	if (rng_one_in(&w->rng, 3))
		must(test_fsync(&t, fh) == 0);
	must(fs_release(t.fs, fh) == 0);
}

static void own_check(struct worker *w, int i)
{
	u64 fh;

	if (!w->own[i].version)
		return;
	fh = own_open(w, i);
	test_pattern(w->want, LEN, 0, tag(w, i));
	must(test_read(&t, fh, 0, w->buf, LEN) == LEN);
	must(!memcmp(w->buf, w->want, LEN));
	must(fs_release(t.fs, fh) == 0);
}

static void own_move(struct worker *w, int i)
{
	int to = (int)rng_below(&w->rng, NR_DIRS);
	char name[32];

	if (!w->own[i].version)
		return;
	own_name(name, sizeof(name), w, i);
	must(fs_rename(t.fs, dirs[w->own[i].dir], name, dirs[to], name, 0,
		       &test_cred) == 0);
	w->own[i].dir = to;
}

static void own_remove(struct worker *w, int i)
{
	char name[32];

	if (!w->own[i].version)
		return;
	own_name(name, sizeof(name), w, i);
	must(fs_unlink(t.fs, dirs[w->own[i].dir], name) == 0);
	w->own[i].version = 0;
}

/* ---- what all fight for: any answer that makes sense will do ---- */

static bool sensible(int err)
{
	switch (-err) {
	case 0:
	case ENOENT:
	case EEXIST:
	case ENOTEMPTY:
	case ENOTDIR:
	case EISDIR:
	case EINVAL:
	case ESTALE:
	case ENODATA:
		return true;
	}
	(void)fprintf(stderr, "error %d\n", err);
	return false;
}

static void shared_write(u64 dir, const char *name, struct worker *w)
{
	u64 ino = look(dir, name), fh, pause;
	bool retry;
	ssize_t n;

	if (!ino || fs_openf(t.fs, ino, O_RDWR, 1, &fh))
		return;
	n = fs_write(t.fs, fh, rng_below(&w->rng, LEN), w->buf, 5000, 0, &pause,
		     &retry);
	must(n == 5000);
	if (rng_one_in(&w->rng, 2))
		must(test_fsync(&t, fh) == 0);
	if (rng_one_in(&w->rng, 4))
		must(fs_fallocate(t.fs, fh,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				  LEN) == 0);
	if (rng_one_in(&w->rng, 4))
		must(fs_fallocate(t.fs, fh, 0, 0, LEN) == 0);
	must(fs_release(t.fs, fh) == 0);
}

static void fight(struct worker *w)
{
	static const char *const names[] = {"a", "b", "c"};
	const char *n1 = names[rng_below(&w->rng, 3)];
	const char *n2 = names[rng_below(&w->rng, 3)];
	u64 d1 = dirs[rng_below(&w->rng, NR_DIRS)];
	u64 d2 = dirs[rng_below(&w->rng, NR_DIRS)];
	struct stat st, attr = {.st_mode = 0640, .st_size = 3000};
	u64 ino = look(d1, n1), fh;
	int err = 0;

	switch (rng_below(&w->rng, 11)) {
	case 0:
		err = fs_create(t.fs, d1, n1, 0644, O_RDWR, &test_cred, 1, &st,
				&fh);
		if (!err) {
			fs_forget(t.fs, st.st_ino, 1);
			must(fs_release(t.fs, fh) == 0);
		}
		break;
	case 1:
		err = fs_mkdir(t.fs, d1, n1, 0755, &test_cred, &st);
		if (!err)
			fs_forget(t.fs, st.st_ino, 1);
		break;
	case 2:
		err = fs_unlink(t.fs, d1, n1);
		break;
	case 3:
		err = fs_rmdir(t.fs, d1, n1);
		break;
	case 4:
	case 5:
		err = fs_rename(t.fs, d1, n1, d2, n2,
				rng_one_in(&w->rng, 3) ? RENAME_EXCHANGE : 0,
				&test_cred);
		break;
	case 6:
		shared_write(d1, n1, w);
		break;
	case 7:
		if (ino)
			err = fs_setattr(t.fs, ino, 0, &attr,
					 rng_one_in(&w->rng, 2) ? FS_SET_SIZE
								: FS_SET_MODE,
					 &st);
		break;
	case 8:
		if (ino)
			err = fs_setxattr(t.fs, ino, "user.x", "y", 1, 0);
		break;
	case 9:
		if (ino)
			err = (int)min((ssize_t)0,
				       fs_getxattr(t.fs, ino, "user.x", &st,
						   sizeof(st)));
		break;
	default:
		/* a folder into a folder, and back */
		if (ino)
			err = fs_rename(t.fs, d2, n2, ino, "inner", 0,
					&test_cred);
		if (ino && !err)
			err = fs_rename(t.fs, ino, "inner", d2, n2, 0,
					&test_cred);
	}
	must(sensible(err));
}

static bool count_entry(void *arg, const char *name, const struct stat *st,
			u64 next_off)
{
	u64 *nr = arg;

	(void)next_off;
	if (strcmp(name, ".") && strcmp(name, "..")) {
		must(st->st_mode & S_IFMT);
		fs_forget(t.fs, st->st_ino, 1);
	}
	++*nr;
	return true;
}

static void read_folder(struct worker *w)
{
	u64 fh, nr = 0;

	must(fs_opendir(t.fs, dirs[rng_below(&w->rng, NR_DIRS)], 0, &fh) == 0);
	must(fs_readdir(t.fs, fh, 0, true, count_entry, &nr) == 0);
	must(nr >= 2);
	must(fs_releasedir(t.fs, fh) == 0);
}

static void look_around(struct worker *w)
{
	struct fs_file_info *info;
	struct fs_stat st;
	char path[512];
	size_t nr;

	switch (rng_below(&w->rng, 5)) {
	case 0:
		fs_stat(t.fs, &st);
		break;
	case 1:
		must(fs_files(t.fs, &info, &nr) == 0);
		for (size_t i = 0; i < nr; i++)
			(void)fs_path(t.fs, info[i].ino, path, sizeof(path));
		free(info);
		break;
	case 2:
		must(fs_drop(t.fs, 0) == 0);
		break;
	case 3:
		must(cache_set_knob(fs_cache(t.fs), KNOB_cache_size,
				    rng_range(&w->rng, 1, 4) << 20) == 0);
		break;
	default:
		fs_want_commit(t.fs);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (u64 i = 0; i < rounds; i++) {
		int own = (int)rng_below(&w->rng, NR_OWN);

		switch (rng_below(&w->rng, 12)) {
		case 0 ... 1:
			own_write(w, own);
			break;
		case 2 ... 3:
			own_check(w, own);
			break;
		case 4:
			own_move(w, own);
			break;
		case 5:
			if (rng_one_in(&w->rng, 3))
				own_remove(w, own);
			break;
		case 6:
			read_folder(w);
			break;
		case 7:
			look_around(w);
			break;
		default:
			fight(w);
		}
	}
	return NULL;
}

static void check_all(void)
{
	for (int i = 0; i < NR_THREADS; i++) {
		for (int k = 0; k < NR_OWN; k++)
			own_check(&workers[i], k);
	}
}

START_TEST(threads_do_not_disturb_each_other)
{
	tmpdir_make();
	test_fs_init(&t);
	t.commit_inline = true;
	t.commit_secs = 1;
	test_fs_open(&t);
	rounds = test_rounds(700);
	dirs[0] = FS_ROOT_INO;
	dirs[1] = test_mkdir(&t, FS_ROOT_INO, "d1");
	dirs[2] = test_mkdir(&t, dirs[1], "d2");
	dirs[3] = test_mkdir(&t, dirs[2], "d3");
	for (int i = 0; i < NR_THREADS; i++) {
		struct worker *w = &workers[i];

		w->nr = i;
		rng_init(&w->rng, (u64)(i + 1));
		for (int k = 0; k < NR_OWN; k++)
			w->own[k].dir = k % NR_DIRS;
		ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
	}
	for (int i = 0; i < NR_THREADS; i++)
		ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);

	fs_check(t.fs);
	check_all();
	test_fs_reopen(&t);
	check_all();
	ck_assert_int_eq(test_fs_close(&t), 0);
	tmpdir_remove();
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs threads", &tc);

	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, threads_do_not_disturb_each_other);
	return s;
}

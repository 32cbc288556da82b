/* SPDX-License-Identifier: MIT */
/*
 * A child works and is killed at a random moment; the parent opens the volume
 * and finds it without fault, everything that was acknowledged there, and
 * nothing half. What the child got acknowledged it notes in shared memory.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs_util.h"
#include "tmpdir.h"

#define NR_FILES 4
#define MAX_PAGES 80
#define MAX_LEN (MAX_PAGES * PAGE_SIZE)
#define HEADER 16 /* of a file: version, length */

/* One version of a file is written by one call, so a commit has all of it or
 * nothing. Versions grow; [acked, tried] is what may be found. */
struct note {
	u64 acked[NR_FILES], tried[NR_FILES]; /* written in place */
	u64 swapped_acked[NR_FILES];	      /* replaced by rename */
	u64 swapped_tried[NR_FILES];
	u64 made_acked, made_tried;	  /* files n0, n1 ... made in order */
	u64 removed_acked, removed_tried; /* and removed in order */
	u64 steps;
};

static struct note *note;
/* A smaller cache takes a write in smaller pieces, each of which is whole. */
static size_t max_len;

static void publish(u64 *where, u64 value)
{
	__atomic_store_n(where, value, __ATOMIC_SEQ_CST);
}

static size_t length_of(u64 version, int file)
{
	u64 z = (version + (u64)file * 77) * 0x9e3779b97f4a7c15ull;

	return HEADER + (z >> 20) % (max_len - HEADER);
}

static size_t make_version(u8 *buf, u64 version, int file)
{
	size_t len = length_of(version, file);
	u64 head[2] = {version, len};

	test_pattern(buf, len, 0, version * NR_FILES + (u64)file);
	memcpy(buf, head, HEADER);
	return len;
}

static const char *name_of(const char *kind, u64 nr)
{
	static char names[4][32];
	static int next;
	char *name = names[next++ % 4];

	(void)snprintf(name, sizeof(names[0]), "%s%llu", kind,
		       (unsigned long long)nr);
	return name;
}

/* ---- the child ---- */

struct child {
	struct test_fs t;
	struct rng rng;
	u64 dir;
	u8 buf[MAX_LEN];
};

static void write_in_place(struct child *c, int file)
{
	u64 version = note->tried[file] + 1;
	u64 ino = test_lookup(&c->t, c->dir, name_of("f", (u64)file));
	size_t len = make_version(c->buf, version, file);
	u64 fh = test_open(&c->t, ino);

	/* the file never shrinks: its header says how long a version is */
	publish(&note->tried[file], version);
	test_write(&c->t, fh, 0, c->buf, len);
	if (rng_one_in(&c->rng, 2)) {
		expect(test_fsync(&c->t, fh) == 0);
		publish(&note->acked[file], version);
	}
	expect(fs_release(c->t.fs, fh) == 0);
}

static void write_and_rename(struct child *c, int file)
{
	u64 version = note->swapped_tried[file] + 1;
	size_t len = make_version(c->buf, version, file);
	u64 fh;

	(void)test_create(&c->t, c->dir, "tmp", &fh);
	publish(&note->swapped_tried[file], version);
	test_write(&c->t, fh, 0, c->buf, len);
	expect(fs_release(c->t.fs, fh) == 0);
	expect(fs_rename(c->t.fs, c->dir, "tmp", c->dir,
			 name_of("s", (u64)file), 0, &test_cred) == 0);
	if (rng_one_in(&c->rng, 4)) {
		expect(test_fsyncdir(&c->t, c->dir) == 0);
		publish(&note->swapped_acked[file], version);
	}
}

static void make_one(struct child *c)
{
	u64 fh;

	publish(&note->made_tried, note->made_tried + 1);
	(void)test_create(&c->t, c->dir, name_of("n", note->made_tried - 1),
			  &fh);
	test_write(&c->t, fh, 0, "x", 1);
	if (rng_one_in(&c->rng, 3)) {
		expect(test_fsync(&c->t, fh) == 0);
		publish(&note->made_acked, note->made_tried);
		publish(&note->removed_acked, note->removed_tried);
	}
	expect(fs_release(c->t.fs, fh) == 0);
}

static void remove_one(struct child *c)
{
	if (note->removed_tried + 5 > note->made_tried)
		return;
	publish(&note->removed_tried, note->removed_tried + 1);
	expect(fs_unlink(c->t.fs, c->dir,
			 name_of("n", note->removed_tried - 1)) == 0);
}

static void sync_all(struct child *c)
{
	struct note now = *note;

	expect(fs_sync_wait(c->t.fs) == 0);
	for (int i = 0; i < NR_FILES; i++) {
		publish(&note->acked[i], now.tried[i]);
		publish(&note->swapped_acked[i], now.swapped_tried[i]);
	}
	publish(&note->made_acked, now.made_tried);
	publish(&note->removed_acked, now.removed_tried);
}

static void child_step(struct child *c)
{
	int file = (int)rng_below(&c->rng, NR_FILES);

	switch (rng_below(&c->rng, 10)) {
	case 0 ... 2:
		write_in_place(c, file);
		break;
	case 3 ... 4:
		write_and_rename(c, file);
		break;
	case 5 ... 6:
		make_one(c);
		break;
	case 7:
		remove_one(c);
		break;
	case 8:
		fs_want_commit(c->t.fs);
		break;
	default:
		if (rng_one_in(&c->rng, 4))
			sync_all(c);
	}
	publish(&note->steps, note->steps + 1);
}

static void child_prepare(struct child *c)
{
	u64 fh;

	c->dir = test_mkdir(&c->t, FS_ROOT_INO, "d");
	for (int i = 0; i < NR_FILES; i++) {
		(void)test_create(&c->t, c->dir, name_of("f", (u64)i), &fh);
		test_write(&c->t, fh, 0, c->buf, make_version(c->buf, 0, i));
		expect(fs_release(c->t.fs, fh) == 0);
		(void)test_create(&c->t, c->dir, name_of("s", (u64)i), &fh);
		test_write(&c->t, fh, 0, c->buf, make_version(c->buf, 0, i));
		expect(fs_release(c->t.fs, fh) == 0);
	}
	expect(fs_sync_wait(c->t.fs) == 0);
}

static void child_main(u64 stream, u64 cache_size)
{
	struct child *c = calloc(1, sizeof(*c));

	rng_init(&c->rng, stream);
	test_fs_init(&c->t);
	c->t.commit_inline = true;
	c->t.cache_size = cache_size;
	test_fs_open(&c->t);
	if (!note->steps)
		child_prepare(c);
	else
		c->dir = test_lookup(&c->t, FS_ROOT_INO, "d");
	if (note->steps)
		(void)fs_unlink(c->t.fs, c->dir, "tmp");
	for (;;)
		child_step(c);
}

/* ---- the parent ---- */

/* The version that a file holds, whole. */
static u64 read_version(struct test_fs *t, u64 dir, const char *name, int file,
			bool exact)
{
	static u8 got[MAX_LEN], want[MAX_LEN];
	u64 fh = test_open(t, test_lookup(t, dir, name));
	ssize_t n = test_read(t, fh, 0, got, MAX_LEN);
	u64 version;
	size_t len;

	expect(n >= HEADER);
	memcpy(&version, got, sizeof(version));
	len = make_version(want, version, file);
	expect((size_t)n >= len);
	if (exact)
		expect_eq((size_t)n, len);
	expect(!memcmp(got, want, len));
	expect(fs_release(t->fs, fh) == 0);
	return version;
}

static bool exists(struct test_fs *t, u64 dir, u64 nr)
{
	struct stat st;
	int err = fs_lookup(t->fs, dir, name_of("n", nr), &st);

	expect(!err || err == -ENOENT);
	if (!err)
		fs_forget(t->fs, st.st_ino, 1);
	return !err;
}

/*
 * Made and removed in order, so what is there is one run of numbers. What the
 * next child goes on from is what is there now.
 */
static void verify_made(struct test_fs *t, u64 dir)
{
	u64 first = note->removed_acked, last;

	while (first < note->made_tried && !exists(t, dir, first))
		first++;
	for (last = first; last < note->made_tried && exists(t, dir, last);)
		last++;
	expect(first <= note->removed_tried || first == note->made_tried);
	expect(last >= note->made_acked || first == note->made_tried);
	if (first == note->made_tried)
		expect(note->made_acked <= note->removed_tried);
	for (u64 i = last; i < note->made_tried; i++)
		expect(!exists(t, dir, i));
	for (u64 i = first; i < last; i++)
		expect(fs_unlink(t->fs, dir, name_of("n", i)) == 0);
	note->made_acked = note->removed_acked = 0;
	note->made_tried = note->removed_tried = 0;
}

static void verify_all(struct test_fs *t)
{
	u64 dir = test_lookup(t, FS_ROOT_INO, "d");

	for (int i = 0; i < NR_FILES; i++) {
		u64 v = read_version(t, dir, name_of("f", (u64)i), i, false);

		expect(v >= note->acked[i] && v <= note->tried[i]);
		note->acked[i] = note->tried[i] = v;
		v = read_version(t, dir, name_of("s", (u64)i), i, true);
		expect(v >= note->swapped_acked[i]);
		expect(v <= note->swapped_tried[i]);
		note->swapped_acked[i] = note->swapped_tried[i] = v;
	}
	verify_made(t, dir);
}

/* Kill it when it has done some more steps; how far it is within the next one
 * nobody knows. */
static void kill_after(pid_t pid, u64 steps, long extra_ns)
{
	struct timespec nap = {.tv_nsec = 200000};
	int status;

	while (__atomic_load_n(&note->steps, __ATOMIC_SEQ_CST) < steps &&
	       waitpid(pid, &status, WNOHANG) == 0)
		(void)nanosleep(&nap, NULL);
	nap.tv_nsec = extra_ns;
	(void)nanosleep(&nap, NULL);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		      "the child ended by itself: %x", (unsigned)status);
}

static void run(u64 stream, u64 cache_size, u64 rounds)
{
	bool tiny = cache_size < 1u << 20;

	struct test_fs t;
	struct rng rng;

	max_len = tiny ? 4 * PAGE_SIZE : MAX_LEN;
	tmpdir_make();
	rng_init(&rng, stream);
	note = mmap(NULL, sizeof(*note), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(note != MAP_FAILED);
	test_fs_init(&t);
	for (u64 i = 0; i < rounds; i++) {
		u64 steps = note->steps + rng_range(&rng, 1, 60);
		pid_t pid = fork();

		if (!pid) {
			child_main(stream * 1000 + i, cache_size);
			_exit(1);
		}
		kill_after(pid, steps, (long)rng_below(&rng, 3000000));
		test_fs_check_volume();
		test_fs_open(&t);
		verify_all(&t);
		ck_assert_int_eq(test_fs_close(&t), 0);
	}
	tmpdir_remove();
}

START_TEST(a_killed_daemon_loses_nothing_that_was_acknowledged)
{
	run(1, 4u << 20, test_rounds(12));
}
END_TEST

START_TEST(a_killed_daemon_with_a_tiny_cache_neither)
{
	run(2, CACHE_MIN_PAGES * PAGE_SIZE, test_rounds(8));
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs crash", &tc);

	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, a_killed_daemon_loses_nothing_that_was_acknowledged);
	tcase_add_test(tc, a_killed_daemon_with_a_tiny_cache_neither);
	return s;
}

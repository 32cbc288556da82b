/* SPDX-License-Identifier: MIT */
/*
 * What programs find after a power cut: from the trace of a daemon that
 * recorded (power_daemon.c), states of its volume are made, opened with the
 * volume's code, and their files given to a program that looks at them.
 *
 *	FOLIO_TRACE	the trace
 *	FOLIO_ACKS	lines "SIZE WHAT": when the trace had that size, WHAT
 *was acknowledged; states begin with the first FOLIO_LOOK	a command of the
 *shell, with the folder and the WHAT that was acknowledged last as $1 and $2;
 *it fails when that is not in the folder FOLIO_STATES	how many, FOLIO_SEED
 *which
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_util.h"
#include "power_record.h"
#include "tmpdir.h"

#define ACKS_MAX 4096
#define CACHE_SIZE (16u << 20)

struct ack {
	size_t point;
	char what[80];
};

static struct ack acks[ACKS_MAX];
static size_t nr_acks;
static char volume[1100], copy[1100];

static const char *must_env(const char *name)
{
	const char *value = getenv(name);

	ck_assert_msg(value && *value, "%s is to be set", name);
	return value;
}

static void read_acks(const struct power_log *log)
{
	FILE *f = fopen(must_env("FOLIO_ACKS"), "r");
	unsigned long long size;

	expect(f);
	while (nr_acks < ACKS_MAX &&
	       fscanf(f, "%llu %79s", &size, acks[nr_acks].what) == 2)
		acks[nr_acks++].point = power_point_of(log, size);
	(void)fclose(f);
	ck_assert_uint_ne(nr_acks, 0);
}

static const char *acknowledged(size_t point)
{
	size_t i = nr_acks;

	while (i > 1 && acks[i - 1].point > point)
		i--;
	return acks[i - 1].what;
}

/* ---- out of the volume ---- */

struct names {
	char *name[256];
	int nr;
};

static bool add_name(void *arg, const char *name, const struct stat *st,
		     u64 off)
{
	struct names *n = arg;

	(void)st, (void)off;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	expect(n->nr < (int)ARRAY_SIZE(n->name));
	n->name[n->nr++] = strdup(name);
	return true;
}

static void copy_file(struct test_fs *t, const struct stat *st, const char *to)
{
	static u8 buf[1 << 20];
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		      st->st_mode & 0777);
	u64 fh = 0;

	expect(fd >= 0);
	expect(fs_openf(t->fs, st->st_ino, O_RDONLY, 1, &fh) == 0);
	for (u64 pos = 0; pos < (u64)st->st_size;) {
		ssize_t n = test_read(t, fh, pos, buf, sizeof(buf));

		ck_assert_msg(n > 0, "%s: read: %zd", to, n);
		expect(write(fd, buf, (size_t)n) == n);
		pos += (u64)n;
	}
	expect(fs_release(t->fs, fh) == 0);
	(void)close(fd);
}

static void copy_dir(struct test_fs *t, u64 ino, const char *to)
{
	struct names n = {.nr = 0};
	u64 fh;

	expect(mkdir(to, 0755) == 0);
	expect(fs_opendir(t->fs, ino, 0, &fh) == 0);
	expect(fs_readdir(t->fs, fh, 0, false, add_name, &n) == 0);
	expect(fs_releasedir(t->fs, fh) == 0);
	for (int i = 0; i < n.nr; i++) {
		char below[4096];
		struct stat st;

		(void)snprintf(below, sizeof(below), "%s/%s", to, n.name[i]);
		expect(fs_lookup(t->fs, ino, n.name[i], &st) == 0);
		if (S_ISDIR(st.st_mode))
			copy_dir(t, st.st_ino, below);
		else
			copy_file(t, &st, below);
		fs_forget(t->fs, st.st_ino, 1);
		free(n.name[i]);
	}
}

static void complain(void *arg, const char *line)
{
	(void)arg;
	(void)printf("# check: %s\n", line);
}

static void take_out(void)
{
	struct volume_check_options check = {.data = true, .report = complain};
	struct volume_options vo = {.readonly = false};
	struct fs_options fo = {.cache_size = CACHE_SIZE,
				.cache_max = CACHE_SIZE,
				.patient = 1};
	struct test_fs t = {.fs = NULL};
	struct volume *v;
	char err[256] = "";

	ck_assert_msg(volume_check(volume, &check, err, sizeof(err)) == 0,
		      "the volume is damaged: %s", err);
	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	ck_assert_msg(volume_open(volume, &vo, &v, err, sizeof(err)) == 0,
		      "open: %s", err);
	expect(fs_open(v, &fo, &t.fs) == 0);
	copy_dir(&t, FS_ROOT_INO, copy);
	expect(fs_close(t.fs) == 0);
}

/* ---- looking ---- */

static int run(const char *command, const char *one, const char *two)
{
	int status = -1;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (!pid) {
		(void)execl("/bin/sh", "sh", "-c", command, "sh", one, two,
			    (char *)NULL);
		_exit(127);
	}
	expect(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

static void look_at(const struct power_log *log, size_t point, struct rng *rng)
{
	enum power_choice choice =
		(enum power_choice)rng_below(rng, POWER_CHOICES);
	const char *what = acknowledged(point);

	(void)printf("# cut at %zu with %s, after %s was acknowledged\n", point,
		     power_choice_name(choice), what);
	power_state(log, point, choice, rng, volume);
	take_out();
	ck_assert_msg(run(must_env("FOLIO_LOOK"), copy, what) == 0,
		      "it does not find what was acknowledged");
	expect(run("rm -rf \"$1\"", copy, "") == 0);
}

/* How many there are: where most can be missing, or anywhere. */
START_TEST(programs_find_what_was_acknowledged_to_them)
{
	struct power_log *log = power_record_load(must_env("FOLIO_TRACE"));
	u64 nr = strtoull(must_env("FOLIO_STATES"), NULL, 0);
	size_t end = power_point_of(log, UINT64_MAX);
	struct rng rng;

	rng_init(&rng, 0);
	read_acks(log);
	for (u64 i = 0; i < nr; i++) {
		size_t point = rng_range(&rng, acks[0].point, end);

		if (rng_one_in(&rng, 2))
			point = power_next_point(log, point);
		look_at(log, point, &rng);
	}
	power_record_done(log);
}
END_TEST

static void begin(void)
{
	/* nothing here survives the test, so no disk need be waited for */
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	(void)snprintf(volume, sizeof(volume), "%s", tmpdir_path("volume"));
	(void)snprintf(copy, sizeof(copy), "%s", tmpdir_path("copy"));
	expect(mkdir(volume, 0700) == 0);
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("power_states", &tc);

	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, begin, tmpdir_remove);
	tcase_add_test(tc, programs_find_what_was_acknowledged_to_them);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * Everything that the filesystem asks of what is below it fails once, or from
 * some call on: the device, the database's files, SQLite's memory, ours.
 *
 * A workload is run with the nth call of a kind failing. The step that answers
 * an error then answers one of the fault's, every open file is told at most
 * once, what is in memory agrees with itself; and either
 *
 *	the fault is taken away: the step is done again, from the call that
 *	failed on, and all goes on as if nothing had been; or, if the database
 *	took no more writes, nothing does until the next mount; or
 *	the process ends there and then.
 *
 * Afterwards the volume has no fault and nothing too many in use, and holds
 * what was acknowledged. Sums of pages are compared with those of a run in
 * which nothing failed.
 *
 * Some faults are tried, chosen at random, fewer with FOLIO_SHORT=1;
 * FOLIO_SWEEP=all tries all, FOLIO_SWEEP=KIND:NTH:FLAGS one, as a failure names
 * it. A workload is a case of libcheck's: CK_RUN_CASE=rename runs that alone.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "fs_image.h"
#include "fs_internal.h"
#include "fs_util.h"
#include "tmpdir.h"
#include "workload.h"

#define CASES 120 /* of a workload, when not all are tried */
#define CASES_SHORT 12

/* ---- the volume before ---- */

static struct {
	char *bytes;
	size_t len;
} kept[4];
static const char *const files[] = {"vol/meta.db", "vol/meta.db-wal",
				    "vol/data", "vol/lock"};

static void keep_volume(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd = open(tmpdir_path(files[i]), O_RDONLY | O_CLOEXEC);
		off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

		free(kept[i].bytes);
		kept[i].bytes = NULL;
		kept[i].len = (size_t)len;
		if (fd < 0)
			continue;
		kept[i].bytes = malloc((size_t)len + 1);
		expect(kept[i].bytes);
		expect(pread(fd, kept[i].bytes, (size_t)len, 0) == len);
		(void)close(fd);
	}
}

static void restore_volume(void)
{
	tmpdir_remove();
	tmpdir_make();
	expect(mkdir(tmpdir_path("vol"), 0700) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd;

		if (!kept[i].bytes)
			continue;
		fd = open(tmpdir_path(files[i]), O_WRONLY | O_CREAT | O_CLOEXEC,
			  0600);
		expect(fd >= 0);
		expect(write(fd, kept[i].bytes, kept[i].len) ==
		       (ssize_t)kept[i].len);
		(void)close(fd);
	}
}

static void forget_volume(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		free(kept[i].bytes);
		kept[i].bytes = NULL;
	}
}

/* ---- one case ---- */

struct fault_case {
	enum fault_kind kind;
	u64 nth;
	bool forever, kill, atomic;
};

/* What a run came to; shared with the process that it may be in. */
struct outcome {
	unsigned safe;	  /* this many steps are durable */
	unsigned reached; /* this many were begun */
	bool fired, ended;
};

static const struct workload *load;
static struct fs_image
	image[WORKLOAD_STEPS + 1]; /* before each step, at the end */
static unsigned nr_steps;
static char now[160];

#define must(cond)                                                         \
	do {                                                               \
		if (unlikely(!(cond)))                                     \
			ck_abort_msg("%s: does not hold: %s", now, #cond); \
	} while (0)

static void must_be(const char *what)
{
	if (what)
		ck_abort_msg("%s: %s", now, what);
}

static void must_be_image(const struct fs_image *want)
{
	static struct fs_image found;

	fs_image_take(world.fs, &found);
	must_be(fs_image_differs(&found, want));
	fs_image_done(&found);
}

static int run_step(unsigned i)
{
	int err;

	world.at = 0;
	err = load->step[i]();
	if (!err)
		world.done = 0;
	return err;
}

/* An errno that the fault may come to: its own, or that of a filesystem which
 * is read-only since; for want of memory for it, content finds no space. */
static bool is_clear(const struct fault_case *c, int err)
{
	int own = fault_errno(c->kind);

	if (err == own || err == -EROFS)
		return true;
	return own == -ENOMEM && err == -ENOSPC;
}

/* Pages that only a slot had are gone with it: that is said for ever. */
static bool may_be_lost(const struct fault_case *c, int err)
{
	return c->kind == FAULT_data_flush_lost && err == -EIO;
}

/* Everybody is told at most once. */
static void tell_all(const struct fault_case *c)
{
	for (int i = 0; i < WORKLOAD_SLOTS; i++) {
		int err;

		if (!world.fh[i])
			continue;
		err = sync_slot(i);
		if (err && may_be_lost(c, sync_slot(i)))
			continue;
		must(sync_slot(i) == 0);
	}
}

/* No block is in use that no row refers to. */
static u64 blocks_in_use(void)
{
	struct blocks_stat st;

	blocks_stat(fs_volume(world.fs)->blocks, &st);
	return st.used - st.deferred;
}

static void nothing_is_leaked(void)
{
	u64 used = blocks_in_use();
	bool leaked = blocks_leaked(fs_volume(world.fs)->blocks);
	struct blocks_stat st;

	blocks_stat(fs_volume(world.fs)->blocks, &st);
	must(st.reserved == 0);
	must(unmount_it() == 0);
	test_fs_check_volume();
	(void)unlink(tmpdir_path("vol/freemap"));
	must(mount_it() == 0);
	must(leaked || blocks_in_use() == used);
	must(blocks_in_use() <= used);
}

/* The rest, with no fault in the way. */
static void go_on(const struct fault_case *c, struct outcome *o, unsigned i)
{
	for (; i < nr_steps; i++) {
		int err = run_step(i);

		o->reached = i + 1;
		if (may_be_lost(c, err)) {
			(void)unmount_it();
			return;
		}
		if (err)
			ck_abort_msg("%s: step %u again: %s", now, i,
				     strerror(-err));
		o->safe = o->reached = i + 1;
		if (world.fs)
			must_be_image(&image[i + 1]);
	}
	if (!world.fs)
		must(mount_it() == 0);
	for (int slot = 0; slot < WORKLOAD_SLOTS; slot++)
		if (world.fh[slot])
			must(shut(slot) == 0);
	must(sync_all() == 0);
	must_be_image(&image[nr_steps]);
	nothing_is_leaked();
	must_be_image(&image[nr_steps]);
	must(unmount_it() == 0);
	o->ended = true;
}

/* Step @i has answered @err. */
static void after_error(const struct fault_case *c, struct outcome *o,
			unsigned i, int err)
{
	o->fired = faults_disarm();
	if (!o->fired || !is_clear(c, err))
		ck_abort_msg("%s: step %u, call %u: %s", now, i, world.at,
			     strerror(-err));
	if (!world.fs && load->step[i] != mount_it)
		return; /* closing has failed */
	if (world.fs)
		fs_check(world.fs);
	if (c->kill)
		return;
	if (world.fs && fs_readonly(world.fs)) {
		(void)unmount_it();
		return;
	}
	if (world.fs)
		tell_all(c);
	go_on(c, o, i);
}

static void work(const struct fault_case *c, struct outcome *o)
{
	unsigned i = 0;
	int err = 0;

	memset(&world, 0, sizeof(world));
	world.atomic = c->atomic;
	if (!load->mounts) {
		must(mount_it() == 0);
		i = 1;
		o->safe = o->reached = i;
	}
	faults_arm(c->kind, c->nth, c->forever);
	for (; !err && i < nr_steps; i++) {
		o->reached = i + 1;
		err = run_step(i);
		if (!err)
			o->safe = i + 1;
	}
	if (err) {
		after_error(c, o, i - 1, err);
		return;
	}
	o->fired = faults_disarm();
	if (!c->kill)
		go_on(c, o, nr_steps);
}

static void work_in_child(const struct fault_case *c, struct outcome *o)
{
	pid_t pid = fork();
	int status = 0;

	must(pid >= 0);
	if (!pid) {
		work(c, o);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (status)
		ck_abort_msg("%s: status %#x", now, (unsigned)status);
}

/* What is found by who comes after it ended wherever it did. */
static void look_after(const struct fault_case *c, const struct outcome *o)
{
	static struct fs_image found;

	memset(&world, 0, sizeof(world));
	test_fs_check_volume();
	must(mount_it() == 0);
	fs_image_take(world.fs, &found);
	must_be(fs_image_impossible(&found, &image[o->safe],
				    o->reached - o->safe + 1, c->atomic));
	fs_image_done(&found);
	must(unmount_it() == 0);
	test_fs_check_volume();
}

/* Return: whether the fault came. */
static bool run_case(const struct fault_case *c)
{
	static struct outcome *o;

	if (!o)
		o = mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(o != MAP_FAILED);
	memset(o, 0, sizeof(*o));
	(void)snprintf(now, sizeof(now), "%s, FOLIO_SWEEP=%s:%llu:%s%s%s",
		       load->name, fault_name(c->kind),
		       (unsigned long long)c->nth, c->forever ? "f" : "",
		       c->kill ? "k" : "", c->atomic ? "a" : "");
	if (getenv("FOLIO_LOUD"))
		(void)fprintf(stderr, "%s\n", now);
	restore_volume();
	if (c->kill)
		work_in_child(c, o);
	else
		work(c, o);
	if (!o->ended)
		look_after(c, o);
	return o->fired;
}

/* ---- all cases of a workload ---- */

static void prepare(const struct workload *wl)
{
	struct volume_options vo = {.size = WORKLOAD_VOLUME_SIZE};
	char why[256];

	load = wl;
	memset(&world, 0, sizeof(world));
	expect_eq(volume_create(tmpdir_path("vol"), &vo, why, sizeof(why)), 0);
	expect_eq(mount_it(), 0);
	expect_eq(wl->prepare(), 0);
	if (!wl->left_open)
		expect_eq(unmount_it(), 0);
	keep_volume();
	if (wl->left_open)
		(void)unmount_it();
}

/* Mounted for that, if it is not. */
static void take_image(struct fs_image *ret)
{
	bool mounted = world.fs;

	if (!mounted)
		must(mount_it() == 0);
	fs_image_take(world.fs, ret);
	if (!mounted)
		must(unmount_it() == 0);
}

/* With no fault: what there is after each step, and how many calls. */
static void run_well(u64 nr[FAULT_NR])
{
	(void)snprintf(now, sizeof(now), "%s, nothing failing", load->name);
	restore_volume();
	memset(&world, 0, sizeof(world));
	take_image(&image[0]);
	for (nr_steps = 0; load->step[nr_steps]; nr_steps++) {
		bool counted = nr_steps || load->mounts;

		if (counted)
			faults_count();
		must(run_step(nr_steps) == 0);
		(void)faults_disarm();
		for (int k = 0; counted && k < FAULT_NR; k++)
			nr[k] += faults_counted((enum fault_kind)k);
		take_image(&image[nr_steps + 1]);
	}
	if (world.fs)
		must(unmount_it() == 0);
	for (int k = 0; k < FAULT_NR && getenv("FOLIO_LOUD"); k++)
		(void)fprintf(stderr, "%s: %llu of %s\n", load->name,
			      (unsigned long long)nr[k],
			      fault_name((enum fault_kind)k));
}

static void try_all(const u64 nr[FAULT_NR])
{
	struct fault_case c;

	for (int k = 0; k < FAULT_NR; k++) {
		for (unsigned flags = 0; nr[k] && flags < 8; flags++) {
			c = (struct fault_case){
				.kind = (enum fault_kind)k,
				.forever = flags & 1,
				.kill = flags & 2,
				.atomic = flags & 4,
			};
			do
				c.nth++;
			while (run_case(&c) || c.nth < nr[k]);
		}
	}
}

static void try_some(const u64 nr[FAULT_NR])
{
	u64 cases = getenv("FOLIO_SHORT") ? CASES_SHORT : CASES;
	struct rng rng;

	rng_init(&rng, (u64)(load - workloads));
	for (u64 i = 0; i < test_rounds(cases);) {
		u64 k = rng_below(&rng, FAULT_NR), flags = rng_next(&rng);

		if (!nr[k])
			continue;
		(void)run_case(&(struct fault_case){
			.kind = (enum fault_kind)k,
			.nth = rng_range(&rng, 1, nr[k]),
			.forever = flags & 1,
			.kill = flags & 2,
			.atomic = flags & 4,
		});
		i++;
	}
}

static void try_one(const char *which)
{
	struct fault_case c = {0};
	const char *colon = strchr(which, ':'), *flags;
	char *end;

	expect(colon);
	for (int k = 0; k < FAULT_NR; k++)
		if (!strncmp(which, fault_name((enum fault_kind)k),
			     (size_t)(colon - which)) &&
		    !fault_name((enum fault_kind)k)[colon - which])
			c.kind = (enum fault_kind)k;
	c.nth = strtoull(colon + 1, &end, 10);
	flags = end;
	c.forever = strchr(flags, 'f');
	c.kill = strchr(flags, 'k');
	c.atomic = strchr(flags, 'a');
	(void)run_case(&c);
}

static void sweep(const struct workload *wl)
{
	const char *which = getenv("FOLIO_SWEEP");
	u64 nr[FAULT_NR] = {0};

	prepare(wl);
	run_well(nr);
	if (which && !strcmp(which, "all"))
		try_all(nr);
	else if (which)
		try_one(which);
	else
		try_some(nr);
	for (unsigned i = 0; i <= nr_steps; i++)
		fs_image_done(&image[i]);
	forget_volume();
}

#define SWEEP_TEST(name, i)           \
	START_TEST(name)              \
	{                             \
		sweep(&workloads[i]); \
	}                             \
	END_TEST

SWEEP_TEST(creating_and_writing_withstand_every_fault, WORKLOAD_CREATE)
SWEEP_TEST(overwriting_withstands_every_fault, WORKLOAD_OVERWRITE)
SWEEP_TEST(renaming_over_withstands_every_fault, WORKLOAD_RENAME)
SWEEP_TEST(truncating_and_punching_withstand_every_fault, WORKLOAD_TRUNCATE)
SWEEP_TEST(attributes_withstand_every_fault, WORKLOAD_ATTRIBUTES)
SWEEP_TEST(spilling_to_swap_withstands_every_fault, WORKLOAD_SPILL)
SWEEP_TEST(fallocate_withstands_every_fault, WORKLOAD_FALLOCATE)
SWEEP_TEST(unlinking_what_is_open_withstands_every_fault, WORKLOAD_UNLINK)
SWEEP_TEST(committing_several_files_withstands_every_fault, WORKLOAD_TOGETHER)
SWEEP_TEST(mounting_withstands_every_fault, WORKLOAD_MOUNT)
SWEEP_TEST(unmounting_withstands_every_fault, WORKLOAD_UNMOUNT)
SWEEP_TEST(compacting_withstands_every_fault, WORKLOAD_COMPACT)

/* In memory where that can be: thousands of volumes are made. */
static void setup(void)
{
	faults_init();
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	tmpdir_make();
}

/* A case each, so that one can be run alone: CK_RUN_CASE. */
static void add(Suite *s, int workload, const TTest *test)
{
	TCase *tc = tcase_create(workloads[workload].name);

	tcase_add_checked_fixture(tc, setup, tmpdir_remove);
	tcase_set_timeout(tc, getenv("FOLIO_SWEEP") ? 36000
						    : (double)test_rounds(300));
	tcase_add_test(tc, test);
	suite_add_tcase(s, tc);
}

Suite *test_suite(void)
{
	Suite *s = suite_create("fs sweep");

	add(s, WORKLOAD_CREATE, creating_and_writing_withstand_every_fault);
	add(s, WORKLOAD_OVERWRITE, overwriting_withstands_every_fault);
	add(s, WORKLOAD_RENAME, renaming_over_withstands_every_fault);
	add(s, WORKLOAD_TRUNCATE,
	    truncating_and_punching_withstand_every_fault);
	add(s, WORKLOAD_ATTRIBUTES, attributes_withstand_every_fault);
	add(s, WORKLOAD_SPILL, spilling_to_swap_withstands_every_fault);
	add(s, WORKLOAD_FALLOCATE, fallocate_withstands_every_fault);
	add(s, WORKLOAD_UNLINK, unlinking_what_is_open_withstands_every_fault);
	add(s, WORKLOAD_TOGETHER,
	    committing_several_files_withstands_every_fault);
	add(s, WORKLOAD_MOUNT, mounting_withstands_every_fault);
	add(s, WORKLOAD_UNMOUNT, unmounting_withstands_every_fault);
	add(s, WORKLOAD_COMPACT, compacting_withstands_every_fault);
	return s;
}

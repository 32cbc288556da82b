/* SPDX-License-Identifier: MIT */
/*
 * Power cuts: sequences of operations in the manner of ACE and CrashMonkey, of
 * programs, and random ones; after each, the states that a cut at any moment
 * can leave (power_record.h) against what may be found (power_model.h). Last,
 * disks and filesystems that lie, each of which is to be caught.
 *
 * FOLIO_ROUNDS=n: n times as many sequences of two and three and random ones;
 * FOLIO_STATES=n: n more states of each than one for every sync. FOLIO_SHORT=1,
 * for sanitizers: a quarter of the sequences, and of the syncs of each.
 *
 * Source: Mohan et al., Finding Crash-Consistency Bugs with Bounded Black-Box
 * Crash Testing, OSDI 2018.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocks.h"
#include "inode.h"
#include "power_model.h"
#include "tmpdir.h"

#define OPS_MAX 40

static struct power_log *base;
static char work[1100], cut[1100];
static u64 nr_workloads, nr_states;

/* ---- lies of the filesystem itself ---- */

static bool reuse_at_once, forget_atomic;
static struct power_log *recording;

int __real_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr);
int __wrap_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr);
bool __real_inode_held_locked(const struct inode *inode);
bool __wrap_inode_held_locked(const struct inode *inode);

/* As if whoever writes next were given the blocks before the commit that frees
 * them is durable. */
int __wrap_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	static u8 other[PAGE_SIZE] __attribute__((aligned(4096)));
	void *pages[] = {other};
	struct bdev *dev;

	memset(other, 0xaa, sizeof(other));
	for (u64 i = 0; reuse_at_once && i < nr; i++) {
		dev = power_record_device(recording);
		expect(dev->ops->write(dev, start + i, 1, pages) == 0);
	}
	return __real_blocks_free_deferred(b, seq, start, nr);
}

bool __wrap_inode_held_locked(const struct inode *inode)
{
	return !forget_atomic && __real_inode_held_locked(inode);
}

/* ---- one workload ---- */

struct workload {
	struct power_op ops[OPS_MAX];
	u32 nr;
};

static void add_op(struct workload *w, struct power_op op)
{
	expect(w->nr < OPS_MAX);
	w->ops[w->nr++] = op;
}

static void print_workload(const struct workload *w)
{
	for (u32 i = 0; i < w->nr; i++) {
		char text[100];

		power_op_print(&w->ops[i], text, sizeof(text));
		(void)printf("#   %s\n", text);
	}
}

/* One state. Return: NULL, or what is wrong with it. */
static char *look_at(struct power_model *m, struct power_log *log, size_t point,
		     struct rng *rng)
{
	enum power_choice choice =
		(enum power_choice)rng_below(rng, POWER_CHOICES);
	char *fault;

	nr_states++;
	power_state(log, point, choice, rng, cut);
	fault = power_model_check(m, cut, point);
	if (fault)
		(void)printf("# cut at %zu of %zu with %s\n", point,
			     power_record_now(log), power_choice_name(choice));
	return fault;
}

static bool is_short(void)
{
	const char *s = getenv("FOLIO_SHORT");

	return s && !strcmp(s, "1");
}

static u64 rounds_wanted(u64 nr)
{
	nr = test_rounds(nr);
	return is_short() ? (nr + 3) / 4 : nr;
}

static u32 states_wanted(void)
{
	const char *s = getenv("FOLIO_STATES");

	return s ? (u32)strtoul(s, NULL, 10) : 4;
}

/* The states of one log: at each point where most can be missing, and as many
 * at any as are wanted. */
static char *look_at_all(struct power_model *m, struct power_log *log,
			 struct rng *rng)
{
	size_t end = power_record_now(log);
	char *fault = NULL;

	for (size_t p = 0; !fault && p < end; p++) {
		p = power_next_point(log, p);
		if (is_short() && !rng_one_in(rng, 4))
			continue;
		fault = look_at(m, log, p, rng);
	}
	for (u32 i = 0; !fault && i < states_wanted(); i++)
		fault = look_at(m, log, rng_range(rng, 0, end), rng);
	return fault;
}

static char *run(const struct workload *w, enum power_lie lie, struct rng *rng)
{
	struct power_log *log;
	struct power_model *m;
	char *fault;

	nr_workloads++;
	power_state(base, 0, POWER_EVERYTHING, rng, work);
	recording = log = power_record_begin(work, lie);
	m = power_model_open(work, log);
	for (u32 i = 0; i < w->nr; i++)
		(void)power_model_do(m, &w->ops[i]);
	power_model_close(m);
	power_record_end(log);
	fault = look_at_all(m, log, rng);
	power_model_free(m);
	power_record_done(log);
	return fault;
}

static void must_hold(const struct workload *w, struct rng *rng)
{
	char *fault = run(w, POWER_HONEST, rng);

	if (!fault)
		return;
	print_workload(w);
	ck_abort_msg("after a power cut: %s", fault);
}

/* ---- sequences ---- */

#define P(d, n)                   \
	{                         \
		DIR_##d, NAME_##n \
	}
#define FAR (12u * 4096)

/* Operations on the tree of power_model_prepare(): files a, b and A/a. */
static const struct power_op steps[] = {
	{OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	{OP_CREATE, P(A, b), P(A, b), 0, 0},
	{OP_MKDIR, P(ROOT, c), P(ROOT, c), 0, 0},
	{OP_MKDIR, P(B, A), P(B, A), 0, 0},
	{OP_SYMLINK, P(A, c), P(A, c), 0, 0},
	{OP_TMPFILE, P(ROOT, c), P(ROOT, c), 0, 0},
	{OP_LINK, P(ROOT, a), P(ROOT, c), 0, 0},
	{OP_LINK, P(ROOT, a), P(A, b), 0, 0},
	{OP_LINK, P(A, a), P(B, a), 0, 0},
	{OP_UNLINK, P(ROOT, a), P(ROOT, a), 0, 0},
	{OP_UNLINK, P(A, a), P(A, a), 0, 0},
	{OP_RMDIR, P(ROOT, B), P(ROOT, B), 0, 0},
	{OP_RENAME, P(ROOT, a), P(ROOT, c), 0, 0},
	{OP_RENAME, P(ROOT, a), P(ROOT, b), 0, 0},
	{OP_RENAME, P(ROOT, b), P(A, a), 0, 0},
	{OP_RENAME, P(A, a), P(B, b), 0, 0},
	{OP_RENAME, P(A, a), P(ROOT, a), 0, 0},
	{OP_RENAME, P(ROOT, A), P(ROOT, B), 0, 0},
	{OP_RENAME, P(ROOT, A), P(B, A), 0, 0},
	{OP_EXCHANGE, P(ROOT, a), P(ROOT, b), 0, 0},
	{OP_EXCHANGE, P(ROOT, a), P(A, a), 0, 0},
	{OP_EXCHANGE, P(ROOT, A), P(ROOT, B), 0, 0},
	{OP_TRUNCATE, P(ROOT, a), P(ROOT, a), 0, 0},
	{OP_TRUNCATE, P(ROOT, a), P(ROOT, a), 5001, 0},
	{OP_TRUNCATE, P(ROOT, a), P(ROOT, a), FAR, 0},
	{OP_TRUNCATE, P(ROOT, b), P(ROOT, b), 4096, 0},
	{OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 4096},
	{OP_WRITE, P(ROOT, a), P(ROOT, a), 4000, 9000},
	{OP_WRITE, P(ROOT, a), P(ROOT, a), 6 * 4096, 100},
	{OP_WRITE, P(ROOT, a), P(ROOT, a), FAR, 5000},
	{OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 40 * 4096},
	{OP_WRITE, P(ROOT, b), P(ROOT, b), 100, 4096},
	{OP_WRITE, P(A, a), P(A, a), 0, 24 * 4096},
	{OP_STORE, P(ROOT, a), P(ROOT, a), 2, 0},
	{OP_FALLOCATE, P(ROOT, a), P(ROOT, a), 4096, FAR},
	{OP_PUNCH, P(ROOT, a), P(ROOT, a), 4096, 8192},
	{OP_PUNCH, P(ROOT, a), P(ROOT, a), 100, 300},
	{OP_ZERO, P(ROOT, a), P(ROOT, a), 1000, 9000},
	{OP_COPY, P(ROOT, b), P(ROOT, a), 2048, 5000},
	{OP_COPY, P(ROOT, a), P(A, a), 0, 20000},
	{OP_CHMOD, P(ROOT, a), P(ROOT, a), 0, 0},
	{OP_CHMOD, P(ROOT, A), P(ROOT, A), 0, 0},
	{OP_SETXATTR, P(ROOT, a), P(ROOT, a), 0, 0},
	{OP_ATOMIC, P(ROOT, a), P(ROOT, a), 0, 0},
	{OP_ATOMIC, P(ROOT, A), P(ROOT, A), 0, 0},
	{OP_CLOSE, P(ROOT, a), P(ROOT, a), 0, 0},
};

/* What makes durable; of the paths of the step before where they are its. */
enum persist {
	PERSIST_NOT,
	PERSIST_IT,
	PERSIST_OTHER,
	PERSIST_FOLDER,
	PERSIST_SYNC,
	PERSIST_UNASKED,
	PERSIST_WAYS,
};

static void add_persist(struct workload *w, enum persist how)
{
	const struct power_op *last = &w->ops[w->nr - 1];
	struct power_op op = {.kind = OP_FSYNC, .path = last->path};

	if (how == PERSIST_NOT)
		return;
	if (how == PERSIST_OTHER)
		op.path = last->to;
	else if (how == PERSIST_FOLDER)
		op.path = (struct power_path)P(ROOT, A);
	else if (how == PERSIST_SYNC)
		op.kind = OP_SYNC;
	else if (how == PERSIST_UNASKED)
		op.kind = OP_COMMIT;
	add_op(w, op);
}

static void add_step(struct workload *w, struct rng *rng, enum persist how)
{
	add_op(w, steps[rng_below(rng, ARRAY_SIZE(steps))]);
	add_persist(w, how);
}

static enum persist any_persist(struct rng *rng, enum persist first)
{
	return (enum persist)rng_range(rng, first, PERSIST_WAYS - 1);
}

START_TEST(each_operation_is_whole_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, (u64)_i);
	for (enum persist how = PERSIST_IT; how < PERSIST_WAYS; how++) {
		struct workload w = {.nr = 0};

		add_op(&w, steps[_i]);
		add_persist(&w, how);
		must_hold(&w, &rng);
	}
}
END_TEST

static void run_sequences(u64 stream, u32 length, u64 rounds)
{
	struct rng rng;

	rng_init(&rng, stream);
	for (u64 r = 0; r < rounds_wanted(rounds); r++) {
		struct workload w = {.nr = 0};

		for (u32 i = 1; i < length; i++)
			add_step(&w, &rng, any_persist(&rng, PERSIST_NOT));
		add_step(&w, &rng, any_persist(&rng, PERSIST_IT));
		must_hold(&w, &rng);
	}
}

START_TEST(sequences_of_two_are_whole_after_a_power_cut)
{
	run_sequences(1001, 2, 30);
}
END_TEST

START_TEST(sequences_of_three_are_whole_after_a_power_cut)
{
	run_sequences(1002, 3, 30);
}
END_TEST

/* ---- any operations ---- */

static struct power_path any_path(struct rng *rng)
{
	return (struct power_path){(u8)rng_below(rng, DIRS),
				   (u8)rng_below(rng, NAMES)};
}

static struct power_op any_op(struct rng *rng)
{
	struct power_op op = {
		.kind = (enum power_op_kind)rng_below(rng, OP_KINDS),
		.path = any_path(rng),
		.to = any_path(rng),
		.arg = (u32)rng_below(rng, FAR),
		.arg2 = (u32)rng_range(rng, 1, FAR),
	};

	if (op.kind == OP_STORE)
		op.arg /= 4096;
	if (op.kind == OP_REMOUNT && !rng_one_in(rng, 4))
		op.kind = OP_FSYNC;
	if (rng_one_in(rng, 3))
		op.kind = OP_WRITE;
	return op;
}

static void make_random(struct workload *w, struct rng *rng)
{
	w->nr = 0;
	for (u64 i = rng_range(rng, 10, OPS_MAX); i; i--)
		add_op(w, any_op(rng));
}

START_TEST(random_operations_are_whole_after_a_power_cut)
{
	struct workload w;
	struct rng rng;

	rng_init(&rng, 2000);
	for (u64 r = 0; r < rounds_wanted(20); r++) {
		make_random(&w, &rng);
		must_hold(&w, &rng);
	}
}
END_TEST

/* ---- what programs do ---- */

static const struct workload programs[] = {
	/* an editor: a new file in the old one's place, nothing synced but
	 * the folder */
	{{{OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 40000},
	  {OP_CLOSE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_RENAME, P(ROOT, c), P(ROOT, a), 0, 0},
	  {OP_FSYNC, P(ROOT, A), P(ROOT, A), 0, 0},
	  {OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 300},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_RENAME, P(ROOT, c), P(ROOT, a), 0, 0},
	  {OP_COMMIT, P(ROOT, a), P(ROOT, a), 0, 0}},
	 10},
	/* a log that is appended to */
	{{{OP_WRITE, P(ROOT, b), P(ROOT, b), 5000, 100},
	  {OP_FSYNC, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 5100, 8000},
	  {OP_FSYNC, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 13100, 10},
	  {OP_FSYNC, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_RENAME, P(ROOT, b), P(ROOT, c), 0, 0},
	  {OP_CREATE, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 10},
	  {OP_FSYNC, P(ROOT, b), P(ROOT, b), 0, 0}},
	 10},
	/* a database with a rollback journal */
	{{{OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 8720},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 4096, 4096},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 16384, 4096},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_UNLINK, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_FSYNC, P(ROOT, A), P(ROOT, A), 0, 0}},
	 8},
	/* ... with a log that it restarts */
	{{{OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 32 + 4120},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 4152, 8240},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 12288},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 32 + 4120},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0}},
	 9},
	/* a mapped database, its pages in no order, its head last */
	{{{OP_STORE, P(ROOT, a), P(ROOT, a), 3, 0},
	  {OP_STORE, P(ROOT, a), P(ROOT, a), 5, 0},
	  {OP_STORE, P(ROOT, a), P(ROOT, a), 2, 0},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_STORE, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0}},
	 6},
	/* objects with names of their own, then what refers to them */
	{{{OP_CREATE, P(A, b), P(A, b), 0, 0},
	  {OP_WRITE, P(A, b), P(A, b), 0, 700},
	  {OP_FSYNC, P(A, b), P(A, b), 0, 0},
	  {OP_LINK, P(A, b), P(B, c), 0, 0},
	  {OP_UNLINK, P(A, b), P(A, b), 0, 0},
	  {OP_CREATE, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_WRITE, P(ROOT, c), P(ROOT, c), 0, 41},
	  {OP_FSYNC, P(ROOT, c), P(ROOT, c), 0, 0},
	  {OP_RENAME, P(ROOT, c), P(ROOT, b), 0, 0},
	  {OP_FSYNC, P(ROOT, A), P(ROOT, A), 0, 0}},
	 10},
	/* an atomic file, changed in steps */
	{{{OP_ATOMIC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 30000},
	  {OP_COMMIT, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_TRUNCATE, P(ROOT, a), P(ROOT, a), 9000, 0},
	  {OP_PUNCH, P(ROOT, a), P(ROOT, a), 100, 8000},
	  {OP_FSYNC, P(ROOT, A), P(ROOT, A), 0, 0},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_STORE, P(ROOT, a), P(ROOT, a), 1, 0},
	  {OP_CHMOD, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 100},
	  {OP_FSYNC, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_CLOSE, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_COMMIT, P(ROOT, a), P(ROOT, a), 0, 0}},
	 13},
	/* two atomic files that belong together */
	{{{OP_ATOMIC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_ATOMIC, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 40 * 4096},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 100, 10},
	  {OP_COMMIT, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_TOGETHER, P(ROOT, a), P(ROOT, b), 0, 0},
	  {OP_TRUNCATE, P(ROOT, a), P(ROOT, a), 9000, 0},
	  {OP_STORE, P(ROOT, b), P(ROOT, b), 0, 0},
	  {OP_FSYNC, P(ROOT, A), P(ROOT, A), 0, 0},
	  {OP_TOGETHER, P(ROOT, b), P(ROOT, a), 0, 0}},
	 10},
	/* the same blocks over and over, and new mounts between */
	{{{OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 40 * 4096},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 40 * 4096},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_REMOUNT, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(A, a), P(A, a), 0, 40 * 4096},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 4096, 30 * 4096},
	  {OP_SYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_REMOUNT, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_UNLINK, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 50 * 4096},
	  {OP_SYNC, P(ROOT, a), P(ROOT, a), 0, 0}},
	 12},
};

START_TEST(what_programs_do_is_whole_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, 3000 + (u64)_i);
	for (u64 r = 0; r < test_rounds(1); r++)
		must_hold(&programs[_i], &rng);
}
END_TEST

/* ---- lies ---- */

/* Return: after how many workloads the lie was found out; 0: it was not. */
static u64 find_lie(enum power_lie lie)
{
	struct workload w;
	struct rng rng;

	rng_init(&rng, 4000);
	for (u64 i = 1; i <= 60; i++) {
		char *fault;

		if (i <= ARRAY_SIZE(programs))
			w = programs[ARRAY_SIZE(programs) - i];
		else
			make_random(&w, &rng);
		fault = run(&w, lie, &rng);
		free(fault);
		if (fault)
			return i;
	}
	return 0;
}

START_TEST(a_disk_that_does_not_flush_data_is_found_out)
{
	ck_assert_uint_ne(find_lie(POWER_NO_DATA_FLUSH), 0);
}
END_TEST

START_TEST(metadata_that_is_committed_before_the_data_is_found_out)
{
	ck_assert_uint_ne(find_lie(POWER_LATE_DATA_FLUSH), 0);
}
END_TEST

START_TEST(a_log_that_is_not_synced_is_found_out)
{
	ck_assert_uint_ne(find_lie(POWER_NO_WAL_SYNC), 0);
}
END_TEST

START_TEST(a_database_that_is_not_synced_is_found_out)
{
	ck_assert_uint_ne(find_lie(POWER_NO_DB_SYNC), 0);
}
END_TEST

START_TEST(blocks_that_are_reused_too_early_are_found_out)
{
	reuse_at_once = true;
	ck_assert_uint_ne(find_lie(POWER_HONEST), 0);
	reuse_at_once = false;
}
END_TEST

START_TEST(atomic_files_that_are_committed_unasked_are_found_out)
{
	forget_atomic = true;
	ck_assert_uint_ne(find_lie(POWER_HONEST), 0);
	forget_atomic = false;
}
END_TEST

/* ---- the suite ---- */

static void make_folder(char *path, size_t size, const char *name)
{
	int fd;

	(void)snprintf(path, size, "%s", tmpdir_path(name));
	expect(mkdir(path, 0700) == 0);
	(void)snprintf(path + strlen(path), size - strlen(path), "/lock");
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	expect(fd >= 0);
	(void)close(fd);
	*strrchr(path, '/') = '\0';
}

static void begin(void)
{
	/* nothing here survives the test, so no disk need be waited for */
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	make_folder(work, sizeof(work), "work");
	make_folder(cut, sizeof(cut), "cut");
	base = power_record_begin(power_model_prepare(), POWER_HONEST);
	power_record_end(base);
}

static void end(void)
{
	(void)printf("# %llu workloads, %llu states\n",
		     (unsigned long long)nr_workloads,
		     (unsigned long long)nr_states);
	(void)fflush(stdout);
	power_record_done(base);
	tmpdir_remove();
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("power", &tc);

	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, each_operation_is_whole_after_a_power_cut, 0,
			    (int)ARRAY_SIZE(steps));
	tcase_add_test(tc, sequences_of_two_are_whole_after_a_power_cut);
	tcase_add_test(tc, sequences_of_three_are_whole_after_a_power_cut);
	tcase_add_test(tc, random_operations_are_whole_after_a_power_cut);
	tcase_add_loop_test(tc, what_programs_do_is_whole_after_a_power_cut, 0,
			    (int)ARRAY_SIZE(programs));
	tcase_add_test(tc, a_disk_that_does_not_flush_data_is_found_out);
	tcase_add_test(tc,
		       metadata_that_is_committed_before_the_data_is_found_out);
	tcase_add_test(tc, a_log_that_is_not_synced_is_found_out);
	tcase_add_test(tc, a_database_that_is_not_synced_is_found_out);
	tcase_add_test(tc, blocks_that_are_reused_too_early_are_found_out);
	tcase_add_test(tc,
		       atomic_files_that_are_committed_unasked_are_found_out);
	return s;
}

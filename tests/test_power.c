/* SPDX-License-Identifier: MIT */
/*
 * Power cuts: sequences of operations in the manner of ACE and CrashMonkey, of
 * programs, and random ones, also beside a commit; after each, the states that
 * a cut at any moment can leave (power_record.h) against what may be found
 * (power_model.h). Some of these states are mounted and worked with under a
 * recorder in turn: that is cut while it recovers, or a little later. So are
 * volumes that are being made, and what a killed daemon has left. A recovery is
 * cut, and the recovery from that too. Last, disks and filesystems that lie,
 * each of which is to be caught.
 *
 * FOLIO_ROUNDS=n: n times as many sequences of two and three and random ones;
 * FOLIO_STATES=n: n more states of each than one for every sync.
 * FOLIO_LEVELS=n: recoveries are cut n times in a row, and not twice;
 * FOLIO_EXHAUSTIVE=1: each at every point and in every way, and not at some
 * (CK_RUN_CASE=recovery leaves out the rest).
 * FOLIO_SHORT=1, for sanitizers: a quarter of the sequences, and of the syncs
 * of each.
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
#include "fs_internal.h"
#include "inline.h"
#include "inode.h"
#include "meta.h"
#include "power_model.h"
#include "redo.h"
#include "tmpdir.h"

#define OPS_MAX 120
/* One state in so many is worked with and cut again. */
#define AGAIN 32
#define LEVELS_MAX 8

static struct power_log *base;
static char work[1100], cut[1100], again[1100], made[1100];
static char level[LEVELS_MAX][1100]; /* recoveries that are cut */
static u64 nr_workloads, nr_states, nr_recoveries;

/* ---- lies of the filesystem itself ---- */

static bool reuse_at_once, forget_atomic, forget_points, commit_in_parts;
static struct power_log *recording;

int __real_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr);
int __wrap_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr);
bool __real_inode_held_locked(const struct inode *inode);
bool __wrap_inode_held_locked(const struct inode *inode);
bool __real_namei_commit_point(struct inode *inode);
bool __wrap_namei_commit_point(struct inode *inode);
int __real_meta_extent_put(struct meta *m, u64 ino, u64 pgoff, u32 nr,
			   u64 block, u32 flags, const u64 *sums,
			   meta_freed_fn freed, void *arg);
int __wrap_meta_extent_put(struct meta *m, u64 ino, u64 pgoff, u32 nr,
			   u64 block, u32 flags, const u64 *sums,
			   meta_freed_fn freed, void *arg);

/* As if whoever writes next were given the blocks before the commit that frees
 * them is durable. At a mount (@seq 0) nobody writes before. */
int __wrap_blocks_free_deferred(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	static u8 other[PAGE_SIZE] __attribute__((aligned(4096)));
	void *pages[] = {other};
	struct bdev *dev;

	memset(other, 0xaa, sizeof(other));
	for (u64 i = 0; reuse_at_once && seq && i < nr; i++) {
		dev = power_record_device(recording);
		expect(dev->ops->write(dev, start + i, 1, pages) == 0);
	}
	return __real_blocks_free_deferred(b, seq, start, nr);
}

bool __wrap_inode_held_locked(const struct inode *inode)
{
	return !forget_atomic && __real_inode_held_locked(inode);
}

bool __wrap_namei_commit_point(struct inode *inode)
{
	return !forget_points && __real_namei_commit_point(inode);
}

/* A file's content in several transactions, each durable. */
int __wrap_meta_extent_put(struct meta *m, u64 ino, u64 pgoff, u32 nr,
			   u64 block, u32 flags, const u64 *sums,
			   meta_freed_fn freed, void *arg)
{
	int err = __real_meta_extent_put(m, ino, pgoff, nr, block, flags, sums,
					 freed, arg);
	struct meta_super super;

	if (err || !commit_in_parts)
		return err;
	meta_super(m, &super);
	err = meta_commit(m, super.next_ino, true);
	return err ? err : meta_begin(m);
}

/* ---- what happens ---- */

static u64 nr_copied; /* pages, out of the redo log */

void __real_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block);
void __wrap_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block);

void __wrap_redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block)
{
	nr_copied += nr;
	__real_redo_move(r, ino, pgoff, nr, block);
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

static bool is_short(void)
{
	const char *s = getenv("FOLIO_SHORT");

	return s && !strcmp(s, "1");
}

static u32 states_wanted(void)
{
	const char *s = getenv("FOLIO_STATES");

	return s ? (u32)strtoul(s, NULL, 10) : 4;
}

static void add_random(struct workload *w, u32 nr, struct rng *rng);

/* How often a look at one log has led to another. */
enum depth { FIRST, SECOND };

static char *run_on(const char *folder, const struct workload *w,
		    enum power_lie lie, enum depth depth, struct rng *rng);

/* The state that is in the folder for it comes up again, and is worked with. */
static char *cut_again(struct rng *rng)
{
	struct workload w = {.nr = 0};
	char *fault;

	add_random(&w, (u32)rng_below(rng, 8), rng);
	fault = run_on(again, &w, POWER_HONEST, SECOND, rng);
	if (!fault)
		return NULL;
	print_workload(&w);
	(void)printf("# that was after a first cut:\n");
	return fault;
}

/* One state. Return: NULL, or what is wrong with it. */
static char *look_as(struct power_model *m, struct power_log *log, size_t point,
		     enum power_choice choice, enum depth depth,
		     struct rng *rng)
{
	struct rng same = *rng;
	char *fault;

	nr_states++;
	power_state(log, point, choice, rng, cut);
	fault = power_model_check(m, cut, point);
	if (!fault && depth == FIRST && rng_one_in(rng, AGAIN)) {
		power_state(log, point, choice, &same, again);
		fault = cut_again(rng);
	}
	if (fault)
		(void)printf("# cut at %zu of %zu with %s\n", point,
			     power_record_now(log), power_choice_name(choice));
	return fault;
}

static char *look_at(struct power_model *m, struct power_log *log, size_t point,
		     enum depth depth, struct rng *rng)
{
	enum power_choice choice =
		(enum power_choice)rng_below(rng, POWER_CHOICES);

	return look_as(m, log, point, choice, depth, rng);
}

/* The states of one log: at each point where most can be missing, and as many
 * at any as are wanted. */
static char *look_at_all(struct power_model *m, struct power_log *log,
			 enum depth depth, struct rng *rng)
{
	bool few = is_short() || depth == SECOND;
	size_t end = power_record_now(log);
	char *fault = NULL;

	for (size_t p = 0; !fault && p < end; p++) {
		p = power_next_point(log, p);
		if (few && !rng_one_in(rng, 4))
			continue;
		fault = look_at(m, log, p, depth, rng);
	}
	for (u32 i = 0; !fault && i < states_wanted(); i++)
		fault = look_at(m, log, rng_range(rng, 0, end), depth, rng);
	return fault;
}

static char *run_on(const char *folder, const struct workload *w,
		    enum power_lie lie, enum depth depth, struct rng *rng)
{
	struct power_log *log;
	struct power_model *m;
	char *fault;

	nr_workloads++;
	recording = log = power_record_begin(folder, lie);
	m = power_model_open(folder, log);
	power_model_do(m, w->ops, w->nr);
	power_model_close(m);
	power_record_end(log);
	fault = look_at_all(m, log, depth, rng);
	power_model_free(m);
	power_record_done(log);
	return fault;
}

static char *run(const struct workload *w, enum power_lie lie, struct rng *rng)
{
	power_state(base, 0, POWER_EVERYTHING, rng, work);
	return run_on(work, w, lie, FIRST, rng);
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
	{OP_COMPACT, P(ROOT, a), P(ROOT, a), 0, 0},
};

/* What makes durable; of the paths of the step before where they are its. */
enum persist {
	PERSIST_NOT,
	PERSIST_IT,
	PERSIST_DATA,
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
	if (how == PERSIST_DATA)
		op.kind = OP_FDATASYNC;
	else if (how == PERSIST_OTHER)
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
	for (enum persist how = PERSIST_DATA; how < PERSIST_WAYS; how++) {
		struct workload w = {.nr = 0};

		add_op(&w, steps[_i]);
		add_persist(&w, how - (how == PERSIST_DATA && _i % 2));
		must_hold(&w, &rng);
	}
}
END_TEST

/* ... and beside a commit that has what was there before it, at any point of
 * that. */
START_TEST(each_operation_beside_a_commit_is_in_the_next)
{
	struct rng rng;

	rng_init(&rng, 500 + (u64)_i);
	for (u64 r = 0; r < test_rounds(2); r++) {
		enum persist how = any_persist(&rng, PERSIST_NOT);
		struct workload w = {
			{{OP_WRITE, P(ROOT, a), P(ROOT, a), 5000, 30000},
			 {OP_STORE, P(ROOT, b), P(ROOT, b), 0, 0},
			 {OP_WRITE, P(A, a), P(A, a), 0, 5000},
			 {OP_SYNC, P(ROOT, a), P(ROOT, a), 1, 0}},
			4};

		w.ops[3].arg2 = (u32)rng_range(&rng, 1, 12);
		add_op(&w, steps[_i]);
		add_persist(&w, how);
		if (how != PERSIST_NOT && rng_one_in(&rng, 2))
			w.ops[3].arg++; /* that too is asked for beside it */
		must_hold(&w, &rng);
	}
	ck_assert_uint_ne(power_counts.stood, 0);
}
END_TEST

static void run_sequences(u64 stream, u32 length, u64 rounds)
{
	struct rng rng;

	rng_init(&rng, stream);
	for (u64 r = 0; r < test_rounds(rounds); r++) {
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
	if (power_op_commits(op.kind)) {
		op.arg = (u32)rng_below(rng, 4);
		op.arg2 = (u32)rng_range(rng, 1, 12);
	}
	return op;
}

static void add_random(struct workload *w, u32 nr, struct rng *rng)
{
	while (nr--)
		add_op(w, any_op(rng));
}

static void make_random(struct workload *w, struct rng *rng)
{
	w->nr = 0;
	add_random(w, (u32)rng_range(rng, 10, 40), rng);
}

START_TEST(random_operations_are_whole_after_a_power_cut)
{
	struct workload w;
	struct rng rng;

	rng_init(&rng, 2000);
	for (u64 r = 0; r < test_rounds(20); r++) {
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
	/* much is spilled to a swap file, and some of it written again */
	{{{OP_REMOUNT, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 40 * 4096},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 40 * 4096},
	  {OP_SPILL, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, a), P(ROOT, a), 5000, 9000},
	  {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_SPILL, P(ROOT, a), P(ROOT, a), 0, 0},
	  {OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 4096},
	  {OP_TRUNCATE, P(ROOT, b), P(ROOT, b), 30 * 4096, 0},
	  {OP_SYNC, P(ROOT, a), P(ROOT, a), 0, 0}},
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

/* ---- pages that move out of rows ---- */

/* A file some pages of which are changed here and there, with its mode, so that
 * they go into rows: at last they are too many for those. */
START_TEST(pages_that_move_out_of_rows_are_whole_after_a_power_cut)
{
	struct workload w = {.nr = 0};
	struct rng rng;

	rng_init(&rng, 3500);
	for (u32 i = 0; i < INLINE_MAX / INLINE_PAGES + 2; i++) {
		u32 pos = 4096 * (i * INLINE_PAGES + 8);

		add_op(&w, (struct power_op){OP_WRITE, P(ROOT, a), P(ROOT, a),
					     pos, INLINE_PAGES * 4096});
		add_op(&w, (struct power_op){OP_CHMOD, P(ROOT, a), P(ROOT, a),
					     0600 + (i & 1), 0});
		add_op(&w, (struct power_op){OP_FSYNC, P(ROOT, a), P(ROOT, a),
					     0, 0});
	}
	must_hold(&w, &rng);
	ck_assert_uint_ne(power_counts.pages_moved, 0);
}
END_TEST

/* ---- small commits ---- */

/* Few pages of few files, synced over and over, as databases and logs do it;
 * and what comes in between now and then and takes the redo log over. */
static struct power_op small_step(struct rng *rng)
{
	static const struct power_op between[] = {
		{OP_COMMIT, P(ROOT, a), P(ROOT, a), 0, 0},
		{OP_SYNC, P(ROOT, a), P(ROOT, a), 0, 0},
		{OP_CHMOD, P(ROOT, b), P(ROOT, b), 0640, 0},
		{OP_TRUNCATE, P(ROOT, a), P(ROOT, a), 30000, 0},
		{OP_PUNCH, P(ROOT, b), P(ROOT, b), 4096, 8192},
		{OP_SPILL, P(ROOT, a), P(ROOT, a), 0, 0},
		{OP_ATOMIC, P(A, a), P(A, a), 0, 0},
		{OP_REMOUNT, P(ROOT, a), P(ROOT, a), 0, 0},
		{OP_COMPACT, P(ROOT, a), P(ROOT, a), 0, 0},
	};
	static const struct power_op files[] = {
		{OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 0},
		{OP_WRITE, P(ROOT, b), P(ROOT, b), 0, 0},
		{OP_WRITE, P(A, a), P(A, a), 0, 0},
	};
	struct power_op op = files[rng_below(rng, ARRAY_SIZE(files))];

	if (rng_one_in(rng, 12))
		return between[rng_below(rng, ARRAY_SIZE(between))];
	if (rng_one_in(rng, 2)) {
		op.kind = rng_one_in(rng, 4) ? OP_FSYNC : OP_TOGETHER;
		op.to = files[rng_below(rng, ARRAY_SIZE(files))].path;
		return op;
	}
	op.arg = (u32)rng_below(rng, 12) * 4096 + (u32)rng_below(rng, 2) * 100;
	op.arg2 = (u32)rng_range(rng, 1, 9000);
	return op;
}

START_TEST(small_commits_are_whole_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, 3600);
	power_counts.records = power_counts.replayed = 0;
	for (u64 r = 0; r < test_rounds(8); r++) {
		struct workload w = {.nr = 0};

		while (w.nr < OPS_MAX)
			add_op(&w, small_step(&rng));
		must_hold(&w, &rng);
	}
	ck_assert_uint_ne(power_counts.records, 0);
	ck_assert_uint_ne(power_counts.replayed, 0);
}
END_TEST

/* Pages that come one by one lie scattered in the redo log: a transaction, for
 * a mode, takes it over and copies them to one place, which rows speak of then.
 * The rest of the log is kept, so that nothing else has data flushed. */
START_TEST(copies_out_of_the_redo_log_are_whole_after_a_power_cut)
{
	struct workload w = {.nr = 0};
	struct rng rng;

	rng_init(&rng, 3650);
	nr_copied = 0;
	for (u32 i = 0; i < 36; i++) {
		if (i % 12 == 0)
			add_op(&w, (struct power_op){OP_CHMOD, P(ROOT, b),
						     P(ROOT, b), 0, 0});
		add_op(&w, (struct power_op){OP_WRITE, P(ROOT, b), P(ROOT, b),
					     4096 * i, 4096});
		add_op(&w, (struct power_op){OP_FSYNC, P(ROOT, b), P(ROOT, b),
					     0, 0});
	}
	for (u64 r = 0; r < test_rounds(4); r++)
		must_hold(&w, &rng);
	ck_assert_uint_ne(nr_copied, 0);
}
END_TEST

/* ---- a kill before the cut ---- */

/* The daemon is killed at any moment; its next finds what was written, synced
 * or not, and goes on; and then the power goes. */
static char *kill_and_cut(const struct workload *w, const struct workload *next,
			  enum power_lie lie, struct rng *rng)
{
	struct power_log *log;
	struct power_model *m;
	size_t point;
	char *fault;

	nr_workloads++;
	power_state(base, 0, POWER_EVERYTHING, rng, work);
	recording = log = power_record_begin(work, lie);
	m = power_model_open(work, log);
	power_model_do(m, w->ops, w->nr);
	power_model_close(m);

	point = rng_range(rng, 0, power_record_now(log));
	if (rng_one_in(rng, 2))
		point = power_next_point(log, point);
	power_record_kill(log, point);
	power_state(log, point, POWER_EVERYTHING, rng, work);
	fault = power_model_after_kill(m, point);
	power_model_do(m, next->ops, next->nr);
	power_model_close(m);
	power_record_end(log);
	if (!fault)
		fault = look_at_all(m, log, SECOND, rng);
	if (fault)
		(void)printf("# killed at %zu\n", point);
	power_model_free(m);
	power_record_done(log);
	return fault;
}

START_TEST(what_a_killed_daemon_left_is_whole_after_a_power_cut)
{
	struct workload w, next;
	struct rng rng;

	rng_init(&rng, 3600);
	for (u64 r = 0; r < test_rounds(20); r++) {
		char *fault;

		make_random(&w, &rng);
		make_random(&next, &rng);
		fault = kill_and_cut(&w, &next, POWER_HONEST, &rng);
		if (!fault)
			continue;
		print_workload(&w);
		(void)printf("# after a kill:\n");
		print_workload(&next);
		ck_abort_msg("after a kill and a power cut: %s", fault);
	}
}
END_TEST

/* ---- cuts during recovery ---- */

static u32 levels_wanted(void)
{
	const char *s = getenv("FOLIO_LEVELS");
	u32 nr = s ? (u32)strtoul(s, NULL, 10) : 2;

	return min(max(nr, 1u), (u32)LEVELS_MAX);
}

static bool is_exhaustive(void)
{
	const char *s = getenv("FOLIO_EXHAUSTIVE");

	return s && !strcmp(s, "1");
}

static char *cut_recovery(u32 levels, enum power_lie lie, struct rng *rng);

/* One state; if there are @levels, what recovers from it is cut in turn. */
static char *cut_at(struct power_model *m, struct power_log *log, size_t point,
		    enum power_choice choice, u32 levels, enum power_lie lie,
		    struct rng *rng)
{
	struct rng same = *rng;
	char *fault;

	nr_states++;
	power_state(log, point, choice, rng, cut);
	fault = power_model_check(m, cut, point);
	if (!fault && levels) {
		power_state(log, point, choice, &same, level[levels - 1]);
		fault = cut_recovery(levels, lie, rng);
	}
	if (fault)
		(void)printf("# cut at %zu of %zu with %s\n", point,
			     power_record_now(log), power_choice_name(choice));
	return fault;
}

/* In each way at each point, or now and then; mostly before it is mounted,
 * which is at @mounted. */
static char *cut_all(struct power_model *m, struct power_log *log,
		     size_t mounted, u32 levels, enum power_lie lie,
		     struct rng *rng)
{
	size_t end = power_record_now(log);
	bool all = is_exhaustive();
	u64 nr = all ? (end + 1) * POWER_CHOICES : 4;
	char *fault = NULL;

	for (u64 i = 0; !fault && i < nr; i++) {
		enum power_choice choice = (enum power_choice)(
			all ? i % POWER_CHOICES
			    : rng_below(rng, POWER_CHOICES));
		size_t point = i / POWER_CHOICES;

		if (!all)
			point = rng_range(rng, 0,
					  rng_one_in(rng, 4) ? end : mounted);
		if (!all && rng_one_in(rng, 2))
			point = power_next_point(log, point);
		fault = cut_at(m, log, point, choice, levels, lie, rng);
	}
	return fault;
}

/* What is in the folder for it comes up, and is closed. The disk lies at the
 * last level. */
static char *cut_recovery(u32 levels, enum power_lie lie, struct rng *rng)
{
	const char *folder = level[levels - 1];
	struct power_log *log;
	struct power_model *m;
	size_t mounted;
	char *fault;

	nr_recoveries++;
	recording = log =
		power_record_begin(folder, levels == 1 ? lie : POWER_HONEST);
	m = power_model_open(folder, log);
	mounted = power_record_now(log);
	power_model_close(m);
	power_record_end(log);
	fault = cut_all(m, log, mounted, levels - 1, lie, rng);
	power_model_free(m);
	power_record_done(log);
	return fault;
}

static char *run_and_recover(const struct workload *w, enum power_lie lie,
			     struct rng *rng)
{
	enum power_choice choice =
		(enum power_choice)rng_below(rng, POWER_CHOICES);
	struct power_log *log;
	struct power_model *m;
	size_t point;
	char *fault;

	nr_workloads++;
	power_state(base, 0, POWER_EVERYTHING, rng, work);
	recording = log = power_record_begin(work, POWER_HONEST);
	m = power_model_open(work, log);
	power_model_do(m, w->ops, w->nr);
	power_model_close(m);
	power_record_end(log);
	point = rng_range(rng, 0, power_record_now(log));
	if (rng_one_in(rng, 2))
		point = power_next_point(log, point);
	fault = cut_at(m, log, point, choice, levels_wanted(), lie, rng);
	power_model_free(m);
	power_record_done(log);
	return fault;
}

START_TEST(a_recovery_that_is_cut_again_and_again_is_whole)
{
	u64 rounds = test_rounds(is_exhaustive() ? 1 : 24);
	struct workload w;
	struct rng rng;

	rng_init(&rng, 3650);
	for (u64 r = 0; r < rounds; r++) {
		char *fault;

		make_random(&w, &rng);
		fault = run_and_recover(&w, POWER_HONEST, &rng);
		if (!fault)
			continue;
		print_workload(&w);
		ck_abort_msg("after a cut of its recovery: %s", fault);
	}
}
END_TEST

/* ---- a volume that is being made ---- */

static void no_report(void *arg, const char *line)
{
	(void)arg;
	(void)printf("# check: %s\n", line);
}

/* Return: whether it is a whole one; if it is not, that is said. */
static bool is_volume(const char *folder)
{
	struct volume_check_options check = {.data = true, .report = no_report};
	struct volume_options opt = {.readonly = false};
	char err[256] = "";
	struct volume *v;
	int rc = volume_open(folder, &opt, &v, err, sizeof(err));

	if (rc) {
		expect(*err);
		return false;
	}
	expect(v->nr_inodes == 1);
	expect(volume_close(v) == 0);
	expect(volume_check(folder, &check, err, sizeof(err)) == 0);
	return true;
}

static struct power_log *record_creation(enum power_lie lie)
{
	struct volume_options opt = {.wrap = power_record_wrap};
	struct power_log *log;
	char err[256] = "";

	(void)snprintf(made, sizeof(made), "%s", tmpdir_path("made"));
	expect(mkdir(made, 0700) == 0);
	log = power_record_begin(made, lie);
	opt.wrap_arg = log;
	ck_assert_msg(volume_create(made, &opt, err, sizeof(err)) == 0, "%s",
		      err);
	power_record_end(log);
	return log;
}

static bool is_volume_at(const struct power_log *log, size_t point,
			 enum power_choice choice, struct rng *rng)
{
	nr_states++;
	power_state(log, point, choice, rng, cut);
	return is_volume(cut);
}

START_TEST(a_volume_that_is_being_made_is_none_or_whole)
{
	struct power_log *log = record_creation(POWER_HONEST);
	size_t end = power_record_now(log);
	u64 none = 0, whole = 0;
	struct rng rng;

	rng_init(&rng, 3700);
	ck_assert_uint_gt(end, 20);
	for (u64 r = 0; r < test_rounds(4); r++) {
		for (size_t p = 0; p < end; p++) {
			enum power_choice c = (enum power_choice)rng_below(
				&rng, POWER_CHOICES);
			bool is = is_volume_at(log, p, c, &rng);

			none += !is;
			whole += is;
		}
	}
	ck_assert_uint_ne(none, 0);
	ck_assert_uint_ne(whole, 0);
	for (enum power_choice c = 0; c < POWER_CHOICES; c++)
		ck_assert_msg(is_volume_at(log, end, c, &rng), "%s",
			      power_choice_name(c));
	power_record_done(log);
}
END_TEST

START_TEST(names_that_are_not_synced_when_it_is_made_are_found_out)
{
	struct power_log *log = record_creation(POWER_NO_FOLDER_SYNC);
	struct rng rng;

	rng_init(&rng, 3800);
	ck_assert(
		!is_volume_at(log, power_record_now(log), POWER_NOTHING, &rng));
	power_record_done(log);
}
END_TEST

/* ---- a volume that was closed in good order ---- */

/* Its saved map is never synced: it may be there, or not, or be a piece of
 * one. With it, it is mounted; and nothing is written where something is. */
START_TEST(a_saved_block_map_is_that_of_its_volume_or_none)
{
	struct workload w = {.nr = 0};
	struct power_log *log;
	struct power_model *m;
	struct rng rng;
	char *fault;

	rng_init(&rng, 3900);
	make_random(&w, &rng);
	power_state(base, 0, POWER_EVERYTHING, &rng, work);
	recording = log = power_record_begin(work, POWER_HONEST);
	m = power_model_open(work, log);
	power_model_do(m, w.ops, w.nr);
	power_model_close(m);
	power_record_end(log);
	power_counts.maps_loaded = 0;
	fault = look_as(m, log, power_record_now(log), POWER_EVERYTHING, SECOND,
			&rng);
	ck_assert(fault || power_counts.maps_loaded);
	for (u64 r = 0; !fault && r < test_rounds(48); r++) {
		size_t end = power_record_now(log);

		fault = look_at(m, log, end - rng_below(&rng, 3), FIRST, &rng);
	}
	ck_assert_msg(!fault, "after a clean end: %s", fault);
	power_model_free(m);
	power_record_done(log);
}
END_TEST

/* ---- lies ---- */

/* Return: after how many workloads the lie was found out; 0: it was not. */
static u64 find_lie(enum power_lie lie)
{
	struct workload w;
	struct rng rng;

	rng_init(&rng, 4000);
	for (u64 i = 1; i <= 1000; i++) {
		char *fault;

		/* some of them hardly ever come by chance */
		if (i & 1)
			w = programs[i / 2 % ARRAY_SIZE(programs)];
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

START_TEST(a_redo_log_that_is_not_durable_is_found_out)
{
	ck_assert_uint_ne(find_lie(POWER_NO_RANGE_SYNC), 0);
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

START_TEST(a_new_name_without_its_content_is_found_out)
{
	forget_points = true;
	ck_assert_uint_ne(find_lie(POWER_HONEST), 0);
	forget_points = false;
}
END_TEST

START_TEST(a_commit_in_several_transactions_is_found_out)
{
	commit_in_parts = true;
	ck_assert_uint_ne(find_lie(POWER_HONEST), 0);
	commit_in_parts = false;
}
END_TEST

/* It is only the last of the disks that lies. */
START_TEST(a_database_that_is_not_synced_in_recovery_is_found_out)
{
	char *fault = NULL;
	struct workload w;
	struct rng rng;

	rng_init(&rng, 4050);
	for (u64 i = 0; !fault && i < 300; i++) {
		make_random(&w, &rng);
		fault = run_and_recover(&w, POWER_NO_DB_SYNC, &rng);
	}
	ck_assert_ptr_nonnull(fault);
	free(fault);
}
END_TEST

/* A commit frees blocks and is not synced; they are taken by the next. */
START_TEST(a_mount_that_does_not_sync_what_a_kill_left_is_found_out)
{
	static const struct workload w = {
		{{OP_WRITE, P(ROOT, a), P(ROOT, a), 0, 6 * 4096},
		 {OP_FSYNC, P(ROOT, a), P(ROOT, a), 0, 0}},
		2};
	static const struct workload next = {
		{{OP_WRITE, P(A, a), P(A, a), 0, 24 * 4096},
		 {OP_FSYNC, P(A, a), P(A, a), 0, 0}},
		2};
	char *fault = NULL;
	struct rng rng;

	rng_init(&rng, 4100);
	for (u64 i = 0; !fault && i < 300; i++)
		fault = kill_and_cut(&w, &next, POWER_NO_MOUNT_SYNC, &rng);
	ck_assert_ptr_nonnull(fault);
	free(fault);
}
END_TEST

/* ---- the suite ---- */

static void make_folder(char *path, size_t size, const char *name)
{
	(void)snprintf(path, size, "%s", tmpdir_path(name));
	expect(mkdir(path, 0700) == 0);
}

static void begin(void)
{
	/* nothing here survives the test, so no disk need be waited for */
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	make_folder(work, sizeof(work), "work");
	make_folder(cut, sizeof(cut), "cut");
	make_folder(again, sizeof(again), "again");
	for (u32 i = 0; i < levels_wanted(); i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "level%u", i);
		make_folder(level[i], sizeof(level[i]), name);
	}
	base = power_record_begin(power_model_prepare(), POWER_HONEST);
	power_record_end(base);
}

static void end(void)
{
	(void)printf("# %llu workloads, %llu states, %llu recoveries that were "
		     "cut, %llu commits with others beside them (%llu did not "
		     "wait)\n",
		     (unsigned long long)nr_workloads,
		     (unsigned long long)nr_states,
		     (unsigned long long)nr_recoveries,
		     (unsigned long long)power_counts.stood,
		     (unsigned long long)power_counts.hurried);
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
	tcase_add_loop_test(tc, each_operation_beside_a_commit_is_in_the_next,
			    0, (int)ARRAY_SIZE(steps));
	tcase_add_test(tc, sequences_of_two_are_whole_after_a_power_cut);
	tcase_add_test(tc, sequences_of_three_are_whole_after_a_power_cut);
	tcase_add_test(tc, random_operations_are_whole_after_a_power_cut);
	tcase_add_loop_test(tc, what_programs_do_is_whole_after_a_power_cut, 0,
			    (int)ARRAY_SIZE(programs));
	tcase_add_test(tc,
		       pages_that_move_out_of_rows_are_whole_after_a_power_cut);
	tcase_add_test(tc, small_commits_are_whole_after_a_power_cut);
	tcase_add_test(tc,
		       copies_out_of_the_redo_log_are_whole_after_a_power_cut);
	tcase_add_test(tc,
		       what_a_killed_daemon_left_is_whole_after_a_power_cut);
	tcase_add_test(tc, a_volume_that_is_being_made_is_none_or_whole);
	tcase_add_test(tc, a_saved_block_map_is_that_of_its_volume_or_none);
	tcase_add_test(tc,
		       names_that_are_not_synced_when_it_is_made_are_found_out);
	tcase_add_test(tc, a_disk_that_does_not_flush_data_is_found_out);
	tcase_add_test(tc,
		       metadata_that_is_committed_before_the_data_is_found_out);
	tcase_add_test(tc, a_redo_log_that_is_not_durable_is_found_out);
	tcase_add_test(tc, a_log_that_is_not_synced_is_found_out);
	tcase_add_test(tc, a_database_that_is_not_synced_is_found_out);
	tcase_add_test(tc, blocks_that_are_reused_too_early_are_found_out);
	tcase_add_test(tc,
		       atomic_files_that_are_committed_unasked_are_found_out);
	tcase_add_test(tc, a_new_name_without_its_content_is_found_out);
	tcase_add_test(tc, a_commit_in_several_transactions_is_found_out);
	tcase_add_test(
		tc, a_mount_that_does_not_sync_what_a_kill_left_is_found_out);

	tc = tcase_create("recovery");
	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, is_exhaustive() ? 24 * 3600 : 600);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_recovery_that_is_cut_again_and_again_is_whole);
	tcase_add_test(tc,
		       a_database_that_is_not_synced_in_recovery_is_found_out);
	return s;
}

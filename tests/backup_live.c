/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "backup_live.h"

#include <string.h>
#include <sys/mman.h>

#include "child.h"
#include "fs_internal.h"

#define STATES_MAX 50000u
/* Pages that a commit changes at most. */
#define FEW 3
#define MANY 12

enum command {
	LIVE_COMMIT,
	LIVE_HOLD,
	LIVE_UNHOLD,
	LIVE_HOLDS,
	LIVE_END,
};

/* What the two processes share; one at a time looks at it. */
struct live {
	enum command command;
	bool lie, holds;
	u64 done; /* commands */
	u64 nr;
	struct source_state states[STATES_MAX];
	bool small[STATES_MAX];
	struct live_counts counts;
	/* for source, when it has ended */
	struct rng rng;
	u64 versions;
};

static struct live *live;
static struct child child;

/* ---- in the process that has it mounted ---- */

static struct volume *volume(void)
{
	return fs_volume(source.t.fs);
}

static u64 nr_commits(void)
{
	struct fs_stat st;

	fs_stat(source.t.fs, &st);
	return st.commits;
}

static void note_state(void)
{
	expect(live->nr < STATES_MAX);
	live->small[live->nr] = false;
	live->states[live->nr++] = source.now;
}

/* Of the states since @first only the last one was committed. */
static void keep_last(u64 first, bool small)
{
	if (live->nr == first)
		return;
	live->states[first] = live->states[live->nr - 1];
	live->small[first] = small;
	live->nr = first + 1;
}

static void change_pages(u64 fh, int file, u64 changes, bool write)
{
	while (changes--) {
		source_change_page(fh, file, write);
		note_state();
	}
}

static int any_file(void)
{
	return (int)rng_below(&source.rng, SOURCE_FILES);
}

static void commit_file(u64 changes, bool write)
{
	int file = any_file();
	u64 fh = test_open(&source.t, source.inos[file]);

	change_pages(fh, file, changes, write);
	ck_assert_int_eq(test_fsync(&source.t, fh), 0);
	ck_assert_int_eq(fs_release(source.t.fs, fh), 0);
}

/* Both or none. */
static void commit_two_files(void)
{
	int files[2] = {any_file()};
	u64 inos[2], fhs[2];

	files[1] = (files[0] + 1) % SOURCE_FILES;
	for (int i = 0; i < 2; i++) {
		inos[i] = source.inos[files[i]];
		fhs[i] = test_open(&source.t, inos[i]);
		change_pages(fhs[i], files[i], 1, true);
	}
	ck_assert_int_eq(test_commit_files(&source.t, inos, 2), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(fs_release(source.t.fs, fhs[i]), 0);
}

static void commit(void)
{
	u64 first = live->nr, commits = nr_commits();
	u64 records = volume()->count.redo_records;
	bool small;

	switch (rng_below(&source.rng, 8)) {
	case 0:
		commit_two_files();
		break;
	case 1:
		commit_file(rng_range(&source.rng, 1, MANY), false);
		break;
	default:
		commit_file(rng_range(&source.rng, 1, FEW), true);
	}
	commits = nr_commits() - commits;
	small = volume()->count.redo_records != records;
	if (commits <= 1)
		keep_last(first, small);
	live->counts.commits += commits;
	live->counts.small += small;
}

static bool obey(u64 *hold)
{
	struct blocks *b = volume()->blocks;

	switch (live->command) {
	case LIVE_COMMIT:
		commit();
		return true;
	case LIVE_HOLD:
		*hold = live->lie ? 0 : blocks_hold(b);
		return true;
	case LIVE_UNHOLD:
		if (!live->lie)
			blocks_unhold(b, *hold);
		return true;
	case LIVE_HOLDS:
		live->holds = live->lie || blocks_holds(b, *hold);
		return true;
	case LIVE_END:
		break;
	}
	return false;
}

static void work(struct child *c)
{
	u64 hold = 0;

	source.t.commit_inline = true;
	test_fs_open(&source.t);
	note_state();
	for (;;) {
		live->done++;
		child_step(c);
		if (!obey(&hold))
			break;
	}
	ck_assert_int_eq(test_fs_close(&source.t), 0);
	live->rng = source.rng;
	live->versions = source.versions;
}

/* ---- in the test ---- */

static void command(enum command what)
{
	u64 done = live->done;

	live->command = what;
	child_next(&child);
	ck_assert_msg(live->done == done + 1, "what has it mounted is gone");
}

void live_begin(void)
{
	live = mmap(NULL, sizeof(*live), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert(live != MAP_FAILED);
	child_start(&child, work, NULL);
	ck_assert_uint_eq(live->done, 1);
}

void live_end(void)
{
	live->command = LIVE_END;
	ck_assert_int_eq(child_finish(&child), 0);
	source.now = live->states[live->nr - 1];
	source.rng = live->rng;
	source.versions = live->versions;
	(void)munmap(live, sizeof(*live));
	live = NULL;
}

void live_commit(void)
{
	command(LIVE_COMMIT);
}

void live_hold(bool lie)
{
	live->lie = lie;
	command(LIVE_HOLD);
}

void live_unhold(void)
{
	command(LIVE_UNHOLD);
}

bool live_holds(void)
{
	command(LIVE_HOLDS);
	return live->holds;
}

u64 live_nr(void)
{
	return live->nr;
}

const struct source_state *live_states(void)
{
	return live->states;
}

bool live_was_small(u64 state)
{
	return live->small[state];
}

struct live_counts live_counts(void)
{
	return live->counts;
}

/* SPDX-License-Identifier: MIT */
/*
 * Power cuts during a backup, at its destination: at each moment the states
 * that a cut can leave (power_tree.h) are the older copy whole, the newer one
 * whole, or none that is mounted and says why; and another run makes the newer
 * one of it. So for a first copy, for one that brings an older copy up to date,
 * and for those that go on after a kill or a power cut. When it has said that
 * it is done, it is. The source stays as it is, byte for byte. Last, disks and
 * programs that lie, each of which is to be caught.
 *
 * All of that once more with a source that is mounted (backup_live.h), and
 * makes commits between what the copy reads and writes. The newer state is then
 * one that the source had by a commit since that run began, or the one it began
 * with; never half of two.
 *
 * One state is looked at for each write, truncation, sync and change of a name,
 * and seven for each sync, and one in three is gone on from, or one in six with
 * a source that is mounted. FOLIO_STATES=n: n
 * and 7n, and all are. FOLIO_ROUNDS=n: n times as many copies. FOLIO_SHORT=1,
 * for sanitizers: a quarter of the states.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup.h"
#include "backup_live.h"
#include "backup_source.h"
#include "blocks.h"
#include "power_log.h"
#include "power_tree.h"
#include "redo.h"
#include "tmpdir.h"
#include "vfs.h"

/* So small that block numbers are soon used again. */
#define SOURCE_SIZE ((u64)VOLUME_MIN_BLOCKS * PAGE_SIZE)
/* One that is mounted: so large that it has a redo log; but for what it may
 * use, which is so much that holds mostly last, and so little that what nobody
 * holds is soon used again. */
#define LIVE_SIZE ((u64)8 << 20)
#define LIVE_FILLER ((u64)5500 << 10)
/* One in so many steps of a copy is followed by a commit. */
#define LIVE_EVERY 12
/* How often a copy is begun whose hold was lost. */
#define LIVE_TRIES 10
/* From one state in so many another run goes on; with a mounted source. */
#define GO_ON 3
#define LIVE_GO_ON 6

/* What is recorded is a folder in which the copy is made; states go to
 * another. */
static char from[1100], place[1100], cut[1100], to[1200], cut_to[1200];
static u64 nr_states, nr_older, nr_newer, nr_none, nr_moved;

static bool is_live; /* the source is mounted */
static struct rng live_rng;
/* Copies of states that came with a small commit, and that were not the last
 * any more; holds that were lost. */
static u64 nr_small, nr_passed, nr_lost;

/* ---- lies of the program ---- */

static bool overwrites;	     /* the program that is recorded */
static bool overwrite_older; /* now */

bool __real_blocks_next_used(struct blocks *b, u64 at, u64 *ret_start,
			     u64 *ret_nr);
bool __wrap_blocks_next_used(struct blocks *b, u64 at, u64 *ret_start,
			     u64 *ret_nr);

bool __wrap_blocks_next_used(struct blocks *b, u64 at, u64 *ret_start,
			     u64 *ret_nr)
{
	return !overwrite_older &&
	       __real_blocks_next_used(b, at, ret_start, ret_nr);
}

static bool hides_hold;	 /* the program that is recorded: nothing is held */
static bool hides_small; /* ... small commits are not taken over */
static bool holds_nothing, forgets_redo; /* now */

int __real_redo_apply(struct redo *r, struct meta *m, meta_freed_fn freed,
		      redo_moved_fn moved, void *arg);
int __wrap_redo_apply(struct redo *r, struct meta *m, meta_freed_fn freed,
		      redo_moved_fn moved, void *arg);

int __wrap_redo_apply(struct redo *r, struct meta *m, meta_freed_fn freed,
		      redo_moved_fn moved, void *arg)
{
	return forgets_redo ? 0 : __real_redo_apply(r, m, freed, moved, arg);
}

static void lie_now(bool now)
{
	overwrite_older = now && overwrites;
	holds_nothing = now && hides_hold;
	forgets_redo = now && hides_small;
}

/* ---- the source goes on ---- */

static bool in_copy; /* a copy of a mounted source is being made */

/* Before each call of a device or of SQLite. */
static void step(void)
{
	if (in_copy && rng_one_in(&live_rng, LIVE_EVERY))
		live_commit();
}

static int device_step(void *arg, unsigned kind)
{
	(void)arg, (void)kind;
	step();
	return 0;
}

static int db_step(void *arg, const struct vfs_event *ev)
{
	(void)arg, (void)ev;
	step();
	return SQLITE_OK;
}

static int wrap(void *arg, struct bdev *lower, struct bdev **ret)
{
	int err = bdev_fault_wrap(lower, ret);

	(void)arg;
	if (!err)
		bdev_fault_set_hook(*ret, device_step, NULL);
	return err;
}

int __real_bdev_file_open(int dirfd, const char *name, int flags,
			  struct bdev **ret_bdev);
int __wrap_bdev_file_open(int dirfd, const char *name, int flags,
			  struct bdev **ret_bdev);

/* For the source, which opt.wrap is not for. */
int __wrap_bdev_file_open(int dirfd, const char *name, int flags,
			  struct bdev **ret_bdev)
{
	struct bdev *lower;
	int err = __real_bdev_file_open(dirfd, name, flags, &lower);

	if (!err && in_copy && (flags & O_ACCMODE) == O_RDONLY)
		return wrap(NULL, lower, ret_bdev);
	if (!err)
		*ret_bdev = lower;
	return err;
}

static bool holds(void *arg)
{
	(void)arg;
	return live_holds();
}

/* ---- copies ---- */

static void no_report(void *arg, const char *line)
{
	(void)arg;
	(void)printf("# %s\n", line);
}

static struct backup_result res;

static int backup_unmounted(const char *dest, char *err, size_t errlen)
{
	struct backup_options opt = {
		.from = from, .to = dest, .report = no_report};

	return volume_backup(&opt, &res, err, errlen);
}

/* As folioctl does it; again when the hold was lost. */
static int backup_mounted(const char *dest, char *err, size_t errlen)
{
	struct backup_options opt = {.from = from,
				     .to = dest,
				     .report = no_report,
				     .holds = holds,
				     .wrap = wrap};
	int rc = -ESTALE;

	for (int i = 0; rc == -ESTALE && i < LIVE_TRIES; i++) {
		live_hold(holds_nothing);
		in_copy = true;
		vfs_set_hook(db_step, NULL);
		rc = volume_backup(&opt, &res, err, errlen);
		vfs_set_hook(NULL, NULL);
		in_copy = false;
		live_unhold();
		nr_lost += rc == -ESTALE;
	}
	return rc;
}

/* Which of its states from @first on has it? */
static char *find_state(const char *dest, u64 first, struct source_state *ret)
{
	const struct source_state *states = live_states() + first;
	u64 nr = live_nr() - first, which = 0;
	char *fault = source_find(dest, states, nr, &which);

	if (fault) {
		(void)printf("# none of %llu states\n", (unsigned long long)nr);
		return fault;
	}
	*ret = states[which];
	nr_small += live_was_small(first + which);
	nr_passed += which < nr - 1;
	return NULL;
}

/* Make one; *ret is what it has. Return: NULL, or a fault (to be freed). */
static char *copy(const char *dest, struct source_state *ret)
{
	u64 first = is_live ? live_nr() - 1 : 0;
	char err[512] = "", *fault = NULL;
	int rc = is_live ? backup_mounted(dest, err, sizeof(err))
			 : backup_unmounted(dest, err, sizeof(err));

	if (rc)
		expect(asprintf(&fault, "a copy: %d %s", rc, err) > 0);
	if (rc || is_live)
		return rc ? fault : find_state(dest, first, ret);
	*ret = source.now;
	return NULL;
}

static void must_copy(const char *dest, struct source_state *ret)
{
	char *fault = copy(dest, ret);

	ck_assert_msg(!fault, "%s", fault);
}

static void change_source(u64 changes)
{
	if (!is_live)
		source_change(changes);
	for (u64 i = 0; is_live && i < changes; i += 2)
		live_commit();
}

/* All of the source's files. (An empty WAL is left by those who read.) */
static u64 source_sum(void)
{
	static const char *const names[] = {"data", "meta.db", "meta.db-wal",
					    "freemap"};
	int dirfd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	u64 sum = 0;

	expect(dirfd >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct image im;

		power_image_read(&im, dirfd, names[i]);
		for (u64 k = 0; k < im.filled; k++)
			sum = (sum ^ im.bytes[k]) * 0x100000001b3u;
		sum = sum * 31 + im.len;
		free(im.bytes);
	}
	(void)close(dirfd);
	return sum;
}

/* ---- what may be found ---- */

struct found {
	const struct source_state *newer;
	const struct source_state *older; /* NULL: there was none */
	size_t done; /* from here on the newer one was said to be there */
	/* Up to here the older one, which a killed run has left, may not be
	 * durable yet. What was there before that; NULL: none. */
	size_t sure;
	const struct source_state *before;
};

static bool there(const char *folder, const char *name)
{
	char path[1300];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

/* Return: NULL, or what is wrong with it (to be freed). */
static char *check_volume(void)
{
	struct volume_check_options opt = {.data = true, .report = no_report};
	char why[512] = "", *text = NULL;
	long nr = volume_check(cut_to, &opt, why, sizeof(why));

	if (nr)
		expect(asprintf(&text, "check: %ld %s", nr, why) > 0);
	return text;
}

/* It is not mounted, and says why if anything is there. */
static char *check_none(const struct found *f, size_t point)
{
	struct volume_options opt = {.readonly = false};
	struct volume *v;
	char why[512] = "";

	nr_none++;
	if (point > f->sure ? f->older : f->before)
		return strdup("the older copy is gone");
	if (point >= f->done)
		return strdup("the copy is gone");
	if (volume_open(cut_to, &opt, &v, why, sizeof(why)) == 0) {
		expect(volume_close(v) == 0);
		return strdup("half of a copy was opened");
	}
	if (rmdir(cut_to) < 0 && errno == ENOTEMPTY &&
	    !strstr(why, "a backup that was not finished"))
		return strdup(*why ? why : "nothing was said");
	return NULL;
}

/* The copy is not the newer one; is it an older one that it may be? */
static bool is_older(const struct found *f, size_t point)
{
	const struct source_state *may_be[] = {
		f->older, point <= f->sure ? f->before : NULL};
	bool is = false;

	for (int i = 0; !is && point < f->done && i < 2; i++) {
		char *fault = may_be[i] ? source_compare(cut_to, may_be[i])
					: strdup("");

		is = !fault;
		free(fault);
	}
	nr_older += is;
	return is;
}

static char *check_found(const struct found *f, size_t point)
{
	char *fault;

	if (!there(cut_to, "meta.db"))
		return check_none(f, point);
	fault = source_compare(cut_to, f->newer);
	if (!fault) {
		nr_newer++;
	} else if (is_older(f, point)) {
		free(fault);
		fault = NULL;
	}
	return fault ? fault : check_volume();
}

/* Another run makes the newer one of it, or a newer one still. */
static char *go_on(void)
{
	struct source_state now;
	char *fault = copy(cut_to, &now);

	if (!fault)
		fault = source_compare(cut_to, &now);
	return fault ? fault : check_volume();
}

static char *look_as(const struct tree_log *log, const struct found *f,
		     size_t point, enum power_choice choice, struct rng *rng)
{
	char *fault;

	nr_states++;
	power_tree_state(log, point, choice, rng, cut);
	fault = check_found(f, point);
	if (!fault && (getenv("FOLIO_STATES") ||
		       rng_one_in(rng, is_live ? LIVE_GO_ON : GO_ON)))
		fault = go_on();
	if (fault)
		(void)printf("# cut at %zu of %zu with %s\n", point, f->done,
			     power_choice_name(choice));
	return fault;
}

static u64 states_wanted(void)
{
	const char *s = getenv("FOLIO_STATES");

	return s ? strtoull(s, NULL, 10) : 1;
}

static bool is_short(void)
{
	const char *s = getenv("FOLIO_SHORT");

	return s && !strcmp(s, "1");
}

/* At one point. */
static char *look_at(const struct tree_log *log, const struct found *f,
		     size_t point, struct rng *rng)
{
	bool sync = power_tree_syncs(log, point) || point == f->done;
	u64 nr = states_wanted() * (sync ? POWER_CHOICES : 1);
	char *fault = NULL;

	for (u64 i = 0; !fault && i < nr; i++) {
		enum power_choice choice =
			sync ? (enum power_choice)(i % POWER_CHOICES)
			     : (enum power_choice)rng_below(rng, POWER_CHOICES);

		if (!is_short() || rng_one_in(rng, 4))
			fault = look_as(log, f, point, choice, rng);
	}
	return fault;
}

static char *look_at_all(struct tree_log *log, const struct found *f,
			 struct rng *rng)
{
	char *fault = NULL;

	for (size_t p = 0; !fault && p <= f->done; p++)
		fault = look_at(log, f, p, rng);
	return fault;
}

/* ---- the first copy, and the next ---- */

/* What the test begins with: nothing, or an older copy. */
static void make_place(bool older, struct source_state *ret)
{
	expect(mkdir(place, 0700) == 0);
	if (is_live) {
		live_begin();
		change_source(20);
	}
	if (!older)
		return;
	must_copy(to, ret);
	/* each begins with the first free block */
	for (int i = 0; i < 3; i++)
		change_source(30);
}

static void remove_place(void)
{
	char command[2300];

	if (is_live)
		live_end();
	(void)snprintf(command, sizeof(command), "rm -rf '%s' '%s'", place,
		       cut);
	expect(system(command) == 0);
}

/* Record a copy, and look at its states. */
static char *record(bool older, enum tree_lie lie, struct rng *rng)
{
	struct source_state before, now;
	struct found f = {.newer = &now, .older = older ? &before : NULL};
	struct tree_log *log;
	char *fault;
	u64 sum;

	make_place(older, &before);
	sum = is_live ? 0 : source_sum();
	log = power_tree_begin(place, lie);
	lie_now(true);
	fault = copy(to, &now);
	lie_now(false);
	nr_moved += res.moved;
	f.done = power_tree_now(log);
	power_tree_end(log);
	if (!fault)
		fault = look_at_all(log, &f, rng);
	expect(is_live || source_sum() == sum);
	power_tree_done(log);
	remove_place();
	return fault;
}

static void must_hold(char *fault)
{
	ck_assert_msg(!fault, "after a power cut: %s", fault);
}

START_TEST(a_first_copy_is_none_or_whole_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, 100);
	for (u64 r = 0; r < test_rounds(1); r++)
		must_hold(record(false, TREE_HONEST, &rng));
	ck_assert(is_short() || (nr_none && nr_newer));
}
END_TEST

START_TEST(a_copy_is_the_older_or_the_newer_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, 200);
	/* until a block was moved, too */
	for (u64 r = 0; r < test_rounds(1) || (!nr_moved && r < 50); r++)
		must_hold(record(true, TREE_HONEST, &rng));
	ck_assert(is_short() || (nr_older && nr_newer));
	ck_assert_uint_eq(nr_none, 0);
	ck_assert_uint_ne(nr_moved, 0);
}
END_TEST

/* The recorder sees what it is said to see. */
START_TEST(a_copy_writes_syncs_and_renames)
{
	struct source_state before, now;
	struct tree_counts c;
	struct tree_log *log;

	make_place(true, &before);
	log = power_tree_begin(place, TREE_HONEST);
	must_copy(to, &now);
	power_tree_end(log);
	c = power_tree_counts(log);
	(void)printf(
		"# %zu writes, %zu changes of size, %zu syncs of files and "
		"%zu of folders, %zu changes of names\n",
		c.writes, c.sizes, c.syncs, c.folder_syncs, c.names);
	ck_assert_uint_gt(c.writes, 20);
	ck_assert_uint_ge(c.syncs, 4);
	ck_assert_uint_ge(c.folder_syncs, 2);
	ck_assert_uint_ge(c.names, 5);
	power_tree_done(log);
}
END_TEST

/* The source is in between commits of both kinds when it is copied, and goes on
 * while it is. */
START_TEST(a_mounted_source_goes_on_while_it_is_copied)
{
	struct source_state now;
	struct live_counts c;

	make_place(false, NULL);
	for (int i = 0; i < 50 && !(i > 4 && nr_small && nr_passed); i++) {
		change_source(10);
		must_copy(to, &now);
	}
	c = live_counts();
	(void)printf("# %llu commits, %llu of them small; copies: %llu of a "
		     "small one, %llu not of the last; %llu holds lost\n",
		     (unsigned long long)c.commits, (unsigned long long)c.small,
		     (unsigned long long)nr_small,
		     (unsigned long long)nr_passed,
		     (unsigned long long)nr_lost);
	ck_assert_uint_ne(nr_small, 0);
	ck_assert_uint_ne(nr_passed, 0);
	ck_assert_uint_gt(c.small, 10);
	ck_assert_uint_gt(c.commits, c.small + 10);
	remove_place();
}
END_TEST

/* ---- copies that go on ---- */

/* How far the first run came, and what the second is after. */
enum stop {
	STOP_POWER,
	STOP_KILL,
	STOP_RENAMED, /* killed when that was not durable yet */
	STOPS,
};

/* The states of a run that goes on from where one was stopped. A killed one
 * leaves what is not durable. */
static struct tree_log *stop_at(struct tree_log *log, size_t point,
				enum stop stop, struct rng *rng)
{
	enum power_choice choice =
		(enum power_choice)rng_below(rng, POWER_CHOICES);

	if (stop != STOP_POWER) {
		power_tree_kill(log, point);
		return log;
	}
	power_tree_state(log, point, choice, rng, place);
	power_tree_done(log);
	return power_tree_begin(place, TREE_HONEST);
}

/* It is followed by two syncs of folders, that of the copy and its parent's. */
static size_t rename_point(const struct tree_log *log, size_t end)
{
	size_t p = power_tree_next_folder_sync(log, 0), last = p, before = p;

	for (; p < end; p = power_tree_next_folder_sync(log, p + 1)) {
		before = last;
		last = p;
	}
	return before;
}

static size_t stop_point(struct tree_log *log, enum stop stop, struct rng *rng)
{
	size_t end = power_tree_now(log), p = rng_range(rng, 0, end);

	if (stop == STOP_RENAMED)
		return rename_point(log, end);
	return rng_one_in(rng, 2) ? power_tree_next_point(log, p) : p;
}

static char *stop_and_go_on(bool older, enum stop stop, struct rng *rng)
{
	struct source_state before = {{{0}}}, first, now;
	struct found f = {.newer = &now};
	struct tree_log *log;
	char *fault = NULL;
	size_t point;

	make_place(older, &before);
	log = power_tree_begin(place, TREE_HONEST);
	must_copy(to, &first);
	power_tree_end(log);
	point = stop_point(log, stop, rng);
	if (stop == STOP_RENAMED || rng_one_in(rng, 2))
		change_source(rng_range(rng, 1, 40));

	log = stop_at(log, point, stop, rng);
	if (there(to, "meta.db")) {
		/* which of the two was left by the first? */
		fault = source_compare(to, &first);
		f.older = fault ? &before : &first;
		free(fault);
	}
	must_copy(to, &now);
	f.done = power_tree_now(log);
	power_tree_end(log);
	if (stop != STOP_POWER) {
		f.sure = power_tree_next_folder_sync(log, point);
		f.before = older ? &before : NULL;
	}
	fault = NULL;
	for (size_t p = stop == STOP_POWER ? 0 : point; p <= f.done; p++) {
		fault = power_tree_syncs(log, p) || p == f.done ||
					rng_one_in(rng, 4)
				? look_at(log, &f, p, rng)
				: NULL;
		if (fault)
			break;
	}
	if (fault)
		(void)printf("# stopped at %zu\n", point);
	power_tree_done(log);
	remove_place();
	return fault;
}

START_TEST(a_copy_that_goes_on_is_whole_after_a_power_cut)
{
	struct rng rng;

	rng_init(&rng, 300 + (u64)_i);
	for (u64 r = 0; r < test_rounds(is_live ? 1 : 2); r++)
		must_hold(stop_and_go_on(_i / STOPS, (enum stop)(_i % STOPS),
					 &rng));
}
END_TEST

/* ---- lies ---- */

static void is_found_out(bool older, enum tree_lie lie)
{
	char *fault = NULL;
	struct rng rng;

	rng_init(&rng, 400);
	for (int i = 0; !fault && i < 50; i++)
		fault = record(older, lie, &rng);
	ck_assert_ptr_nonnull(fault);
	(void)printf("# %s\n", fault);
	free(fault);
}

START_TEST(a_rename_before_the_data_is_durable_is_found_out)
{
	is_found_out(_i, TREE_NO_DATA_SYNC);
}
END_TEST

START_TEST(a_rename_before_the_database_is_durable_is_found_out)
{
	is_found_out(_i, TREE_NO_DB_SYNC);
}
END_TEST

START_TEST(names_that_are_not_synced_are_found_out)
{
	is_found_out(_i, TREE_NO_FOLDER_SYNC);
}
END_TEST

START_TEST(an_older_copy_that_is_overwritten_is_found_out)
{
	overwrites = true;
	is_found_out(true, TREE_HONEST);
}
END_TEST

START_TEST(a_hold_that_does_not_hold_is_found_out)
{
	hides_hold = true;
	is_found_out(_i, TREE_HONEST);
}
END_TEST

START_TEST(small_commits_that_are_left_out_are_found_out)
{
	hides_small = true;
	is_found_out(_i, TREE_HONEST);
}
END_TEST

/* ---- the suite ---- */

static void begin_with(u64 source_size)
{
	/* nothing here survives the test, so no disk need be waited for */
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	(void)snprintf(from, sizeof(from), "%s", tmpdir_path("vol"));
	(void)snprintf(place, sizeof(place), "%s", tmpdir_path("place"));
	(void)snprintf(cut, sizeof(cut), "%s", tmpdir_path("cut"));
	(void)snprintf(to, sizeof(to), "%s/copy", place);
	(void)snprintf(cut_to, sizeof(cut_to), "%s/copy", cut);
	source_make(source_size);
}

static void begin(void)
{
	begin_with(SOURCE_SIZE);
}

static void begin_live(void)
{
	begin_with(LIVE_SIZE);
	source_fill(LIVE_FILLER);
	rng_init(&live_rng, 500);
	is_live = true;
}

static void end(void)
{
	(void)printf("# %llu states: %llu the older, %llu the newer, %llu "
		     "none\n",
		     (unsigned long long)nr_states,
		     (unsigned long long)nr_older, (unsigned long long)nr_newer,
		     (unsigned long long)nr_none);
	(void)fflush(stdout);
	tmpdir_remove();
}

static void add_tests(TCase *tc)
{
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, a_copy_writes_syncs_and_renames);
	tcase_add_test(tc, a_first_copy_is_none_or_whole_after_a_power_cut);
	tcase_add_test(tc, a_copy_is_the_older_or_the_newer_after_a_power_cut);
	tcase_add_loop_test(tc, a_copy_that_goes_on_is_whole_after_a_power_cut,
			    0, 2 * STOPS);
	tcase_add_loop_test(
		tc, a_rename_before_the_data_is_durable_is_found_out, 0, 2);
	tcase_add_loop_test(
		tc, a_rename_before_the_database_is_durable_is_found_out, 0, 2);
	tcase_add_loop_test(tc, names_that_are_not_synced_are_found_out, 0, 2);
	tcase_add_test(tc, an_older_copy_that_is_overwritten_is_found_out);
}

Suite *test_suite(void)
{
	TCase *tc, *live;
	Suite *s = test_suite_new("backup power", &tc);

	tcase_add_checked_fixture(tc, begin, end);
	add_tests(tc);

	live = tcase_create("mounted");
	suite_add_tcase(s, live);
	tcase_add_checked_fixture(live, begin_live, end);
	tcase_add_test(live, a_mounted_source_goes_on_while_it_is_copied);
	add_tests(live);
	tcase_add_loop_test(live, a_hold_that_does_not_hold_is_found_out, 0, 2);
	tcase_add_loop_test(live, small_commits_that_are_left_out_are_found_out,
			    0, 2);
	return s;
}

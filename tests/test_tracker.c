/* SPDX-License-Identifier: MIT */
/*
 * The tracker over the real /proc and ordinary files of a folder of ours: what
 * it says to a sink that writes everything down. The clock is the test's, and
 * most tests have no threads: tracker_run() does what is due.
 *
 * Other processes may map files of the same device; the sink overlooks them.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "lock.h"
#include "test.h"
#include "tmpdir.h"
#include "tracker.h"

#define PAGES(n) ((n)*PAGE_SIZE)
#define FILE_PAGES 64

/* ---- a sink ---- */

#define SEEN_MAX 700

/* A process, as the tracker says. */
struct seen {
	pid_t pid;
	u64 start_time;
	char comm[PROC_COMM_LEN];
	pid_t ancestors[TRACKER_ANCESTORS];
	struct proc_map maps[8]; /* the first of them that map our file */
	size_t nr;		 /* all that do */
	u32 hints;
	u64 nr_private;
	u32 nr_updates, nr_hints;
};

static struct {
	struct mutex lock;
	struct waitq changed;
	struct seen seen[SEEN_MAX];
	size_t nr;
	u32 nr_exits, nr_faults, nr_fills, nr_done;
	pid_t opener; /* of the last opened() */
	pid_t opener_tid;
	u64 opened_fh;
	s64 charged;
	int update_err;
} sink;

static u64 file_ino;
static int file_fd;
static struct tracker *tracker;
static u64 clock_ns;

static struct seen *find_locked(pid_t pid)
{
	for (size_t i = 0; i < sink.nr; i++) {
		if (sink.seen[i].pid == pid)
			return &sink.seen[i];
	}
	return NULL;
}

static bool same_map(const struct proc_map *a, const struct proc_map *b)
{
	return a->start == b->start && a->end == b->end && a->pos == b->pos &&
	       a->ino == b->ino && a->flags == b->flags;
}

static size_t count_ours(const struct proc_map *maps, size_t nr,
			 struct proc_map *ret, size_t max)
{
	size_t ours = 0;

	for (size_t i = 0; i < nr; i++) {
		if (maps[i].ino != file_ino)
			continue;
		if (ours < max)
			ret[ours] = maps[i];
		ours++;
	}
	return ours;
}

/* What it says was there before must be what it said then. */
static void check_old(const struct seen *seen, const struct tracker_look *look)
{
	struct proc_map old[8];
	size_t nr = count_ours(look->old, look->nr_old, old, 8);

	expect_eq(nr, seen->nr);
	for (size_t i = 0; i < min(nr, (size_t)8); i++)
		expect(same_map(&old[i], &seen->maps[i]));
}

static int sink_update(void *arg, const struct tracker_look *look)
{
	const struct proc *proc = look->proc;
	struct seen *seen;
	int err;

	mutex_lock(&sink.lock);
	err = sink.update_err;
	seen = find_locked(proc->pid);
	if (!err && !seen && sink.nr < SEEN_MAX &&
	    count_ours(look->maps, look->nr, NULL, 0)) {
		seen = &sink.seen[sink.nr++];
		memset(seen, 0, sizeof(*seen));
		seen->pid = proc->pid;
		seen->start_time = proc->start_time;
	}
	if (!err && seen) {
		expect_eq(seen->start_time, proc->start_time);
		check_old(seen, look);
		memcpy(seen->comm, proc->comm, sizeof(seen->comm));
		memcpy(seen->ancestors, look->ancestors,
		       sizeof(seen->ancestors));
		seen->nr = count_ours(look->maps, look->nr, seen->maps, 8);
		seen->nr_updates++;
	}
	waitq_wake_all(&sink.changed);
	mutex_unlock(&sink.lock);
	return err;
}

static void sink_hints(void *arg, const struct proc *proc,
		       const struct proc_hint *hints, size_t nr)
{
	struct seen *seen;

	mutex_lock(&sink.lock);
	seen = find_locked(proc->pid);
	if (seen) {
		seen->hints = 0;
		seen->nr_private = 0;
		seen->nr_hints++;
	}
	for (size_t i = 0; seen && i < nr; i++) {
		if (hints[i].map.ino == file_ino) {
			seen->hints |= hints[i].hints;
			seen->nr_private += hints[i].nr_private;
		}
	}
	mutex_unlock(&sink.lock);
}

static void sink_exit(void *arg, pid_t pid, u64 start_time)
{
	struct seen *seen;

	mutex_lock(&sink.lock);
	seen = find_locked(pid);
	expect(!seen || seen->start_time == start_time);
	if (seen) {
		*seen = sink.seen[--sink.nr];
		sink.nr_exits++;
	}
	waitq_wake_all(&sink.changed);
	mutex_unlock(&sink.lock);
}

static void sink_opened(void *arg, u64 ino, u64 fh, pid_t tid, pid_t pid)
{
	mutex_lock(&sink.lock);
	sink.opener = pid;
	sink.opener_tid = tid;
	sink.opened_fh = fh;
	mutex_unlock(&sink.lock);
}

static bool sink_fault(void *arg, pid_t pid, u64 ino,
		       const struct fault_sum *sum)
{
	struct seen *seen;
	bool maps = false;

	mutex_lock(&sink.lock);
	seen = find_locked(pid);
	for (size_t i = 0; seen && i < min(seen->nr, (size_t)8); i++) {
		u64 first = seen->maps[i].pos >> PAGE_SHIFT;
		u64 nr =
			(seen->maps[i].end - seen->maps[i].start) >> PAGE_SHIFT;

		maps |= seen->maps[i].ino == ino && sum->first < first + nr &&
			first <= sum->last;
	}
	sink.nr_faults += maps ? (u32)fault_sum_reads(sum) : 0;
	mutex_unlock(&sink.lock);
	return maps;
}

static void sink_fill(void *arg, u64 ino, const struct fault_sum *sum)
{
	mutex_lock(&sink.lock);
	sink.nr_fills += (u32)fault_sum_reads(sum);
	mutex_unlock(&sink.lock);
}

static void sink_charge(void *arg, s64 bytes)
{
	mutex_lock(&sink.lock);
	sink.charged += bytes;
	mutex_unlock(&sink.lock);
}

static const struct tracker_ops sink_ops = {
	.update = sink_update,
	.hints = sink_hints,
	.exit = sink_exit,
	.opened = sink_opened,
	.fault = sink_fault,
	.fill = sink_fill,
	.charge = sink_charge,
};

/* ---- fixtures ---- */

static u64 test_now(void *arg)
{
	return __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);
}

/* A device of which nobody else is likely to map anything. */
static void use_memory(void)
{
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
}

/* This program and its libraries do not lie on the device. */
static bool maps_nothing(void)
{
	struct procfs procfs;
	struct mount_dev dev;
	struct proc_map *maps = NULL;
	struct proc proc;
	struct stat st;
	size_t nr = 1;

	ck_assert_int_eq(fstat(file_fd, &st), 0);
	dev = (struct mount_dev){major(st.st_dev), minor(st.st_dev)};
	ck_assert_int_eq(procfs_init(&procfs, "/proc", &dev, false), 0);
	ck_assert_int_eq(proc_open(&procfs, getpid(), &proc), 0);
	ck_assert_int_eq(proc_maps(&procfs, &proc, &maps, &nr), 0);
	free(maps);
	proc_close(&proc);
	procfs_done(&procfs);
	return !nr;
}

static void begin(bool parse, u64 (*now)(void *arg))
{
	struct tracker_config cfg = {.ops = &sink_ops, .now = now};
	struct mount_dev dev;
	struct stat st;

	memset(&sink, 0, sizeof(sink));
	mutex_init(&sink.lock, LOCK_LEAF, "sink");
	waitq_init(&sink.changed);
	clock_ns = NSEC_PER_SEC;
	use_memory();
	tmpdir_make();
	file_fd = open(tmpdir_path("file"), O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(file_fd, 0);
	ck_assert_int_eq(ftruncate(file_fd, PAGES(FILE_PAGES)), 0);
	ck_assert_int_eq(fstat(file_fd, &st), 0);
	file_ino = st.st_ino;
	dev = (struct mount_dev){major(st.st_dev), minor(st.st_dev)};
	ck_assert_int_eq(tracker_new(&cfg, &tracker), 0);
	ck_assert_int_eq(tracker_attach(tracker, "/proc", &dev, parse), 0);
}

static void setup_query(void)
{
	begin(false, test_now);
}

static void setup_parse(void)
{
	begin(true, test_now);
}

static void setup_threads(void)
{
	begin(false, NULL);
	ck_assert_int_eq(tracker_start(tracker), 0);
}

static void teardown(void)
{
	tracker_stop(tracker);
	tracker_free(tracker);
	ck_assert_int_eq(sink.charged, 0);
	(void)close(file_fd);
	tmpdir_remove();
	waitq_done(&sink.changed);
	mutex_done(&sink.lock);
}

static char *map_file(u64 first, u64 nr, int flags)
{
	char *at = mmap(NULL, PAGES(nr), PROT_READ | PROT_WRITE, flags, file_fd,
			(off_t)PAGES(first));

	expect(at != MAP_FAILED);
	return at;
}

static struct tracker_stat stat_now(void)
{
	struct tracker_stat st;

	tracker_stat(tracker, &st);
	return st;
}

/* Time goes on until there is nothing more to do. */
static void run_to_rest(void)
{
	u64 due;

	while ((due = tracker_run(tracker)) != UINT64_MAX)
		clock_ns = max(clock_ns + 1, due);
}

/* An open of file handle 1 by this process, and time enough to look once. */
static void look(pid_t tid)
{
	u64 scans = stat_now().tracker_scans;

	tracker_opened(tracker, tid, file_ino, 1);
	while (stat_now().tracker_scans == scans)
		clock_ns = max(clock_ns + 1, tracker_run(tracker));
}

static void done(struct tracker_wait *wait)
{
	mutex_lock(&sink.lock);
	sink.nr_done++;
	waitq_wake_all(&sink.changed);
	mutex_unlock(&sink.lock);
}

/* Look at everything. */
static void look_at_all(void)
{
	struct tracker_wait wait = {.fn = done};
	u32 before = sink.nr_done;

	tracker_sync(tracker, &wait);
	(void)tracker_run(tracker);
	ck_assert_uint_eq(sink.nr_done, before + 1);
}

static bool is_known(pid_t pid)
{
	return find_locked(pid);
}

/* All zeros if nothing is. */
static const struct seen *seen_of(pid_t pid)
{
	static const struct seen nobody;
	const struct seen *seen = find_locked(pid);

	return seen ? seen : &nobody;
}

/* What is seen of this process is what it has: one mapping for each map. */
static void sees(size_t nr)
{
	ck_assert_uint_eq(seen_of(getpid())->nr, nr);
}

static void is_at(size_t i, const char *at, u64 first, u64 nr)
{
	const struct proc_map *map = &seen_of(getpid())->maps[i];

	ck_assert_uint_eq(map->start, (uintptr_t)at);
	ck_assert_uint_eq(map->end, (uintptr_t)at + PAGES(nr));
	ck_assert_uint_eq(map->pos, PAGES(first));
}

/* ---- one process ---- */

START_TEST(an_open_makes_the_process_looked_at_until_nothing_is_new)
{
	u64 start = clock_ns;

	ck_assert_uint_eq(tracker_run(tracker), UINT64_MAX);
	ck_assert_uint_eq(stat_now().tracker_scans, 0);

	tracker_opened(tracker, getpid(), file_ino, 7);
	run_to_rest();
	ck_assert_uint_eq(sink.opened_fh, 7);
	ck_assert_int_eq(sink.opener, getpid());
	/* 15 ms, 30 ms ... and it is forgotten: nothing is mapped */
	ck_assert_uint_ge(stat_now().tracker_scans, 10);
	ck_assert_uint_le(stat_now().tracker_scans, 12);
	ck_assert_uint_ge(clock_ns - start, TRACKER_LAST_NS);
	if (maps_nothing())
		ck_assert_uint_eq(stat_now().tracker_processes, 0);
	ck_assert_uint_eq(sink.nr, 0);
}
END_TEST

START_TEST(a_quiet_process_that_maps_something_costs_nothing)
{
	u64 scans;

	(void)map_file(0, 4, MAP_SHARED);
	tracker_opened(tracker, getpid(), file_ino, 1);
	run_to_rest();
	sees(1);
	ck_assert_uint_eq(stat_now().tracker_processes, 1);
	ck_assert_uint_eq(seen_of(getpid())->nr_updates, 1);
	scans = stat_now().tracker_scans;
	clock_ns += 3600 * NSEC_PER_SEC;
	ck_assert_uint_eq(tracker_run(tracker), UINT64_MAX);
	ck_assert_uint_eq(stat_now().tracker_scans, scans);
}
END_TEST

START_TEST(what_changes_is_followed)
{
	char *at = map_file(0, 9, MAP_SHARED);
	char *hole = mmap(NULL, PAGES(64), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *to;

	look(getpid());
	sees(1);
	is_at(0, at, 0, 9);
	ck_assert_int_eq(mprotect(at + PAGES(3), PAGES(3), PROT_READ), 0);
	look(getpid());
	sees(3);
	is_at(1, at + PAGES(3), 3, 3);
	ck_assert_uint_eq(seen_of(getpid())->maps[1].flags,
			  PROC_MAP_READ | PROC_MAP_SHARED);
	ck_assert_int_eq(
		mprotect(at + PAGES(3), PAGES(3), PROT_READ | PROT_WRITE), 0);
	look(getpid());
	sees(1);
	ck_assert_int_eq(munmap(at + PAGES(4), PAGES(1)), 0);
	look(getpid());
	sees(2);
	ck_assert_int_eq(munmap(at + PAGES(5), PAGES(4)), 0);
	to = mremap(at, PAGES(4), PAGES(20), MREMAP_MAYMOVE | MREMAP_FIXED,
		    hole + PAGES(3));
	ck_assert_ptr_eq(to, hole + PAGES(3));
	look(getpid());
	sees(1);
	is_at(0, to, 0, 20);
	ck_assert_int_eq(munmap(to, PAGES(20)), 0);
	look(getpid());
	sees(0);
	ck_assert_uint_eq(sink.nr_exits, 0);
}
END_TEST

START_TEST(a_mapping_outlives_close_and_unlink_and_goes_with_release)
{
	char *at = map_file(0, 9, MAP_SHARED);

	ck_assert_int_eq(close(file_fd), 0);
	ck_assert_int_eq(unlink(tmpdir_path("file")), 0);
	look(getpid());
	sees(1);
	run_to_rest();
	sees(1);
	ck_assert_int_eq(munmap(at, PAGES(9)), 0);
	/* of another file: nobody is looked at */
	tracker_unmapped(tracker, file_ino + 1);
	run_to_rest();
	sees(1);
	tracker_unmapped(tracker, file_ino);
	run_to_rest();
	sees(0);
}
END_TEST

/* There may be a mapping through another open file in its place, which looks
 * the same. */
START_TEST(when_an_open_file_is_released_who_maps_it_is_told_of_again)
{
	(void)map_file(0, 9, MAP_SHARED);
	look(getpid());
	run_to_rest();
	ck_assert_uint_eq(seen_of(getpid())->nr_updates, 1);
	tracker_unmapped(tracker, file_ino);
	run_to_rest();
	ck_assert_uint_eq(seen_of(getpid())->nr_updates, 2);
	sees(1);
}
END_TEST

START_TEST(what_the_sink_could_not_keep_it_is_told_again)
{
	(void)map_file(0, 9, MAP_SHARED);
	sink.update_err = -ENOMEM;
	look(getpid());
	sees(0);
	ck_assert_uint_ge(stat_now().tracker_failed, 1);
	sink.update_err = 0;
	run_to_rest();
	sees(1);
}
END_TEST

static void *open_in_thread(void *arg)
{
	*(pid_t *)arg = gettid();
	look(gettid());
	return NULL;
}

START_TEST(a_thread_stands_for_its_process)
{
	pthread_t thread;
	pid_t tid = 0;

	(void)map_file(0, 1, MAP_SHARED);
	ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, &tid),
			 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	sees(1);
	ck_assert_int_eq(sink.opener, getpid());
	ck_assert_int_eq(sink.opener_tid, tid);
	ck_assert_int_ne(tid, getpid());
	ck_assert_int_eq(tracker_pid_of(tracker, tid), getpid());
	/* after a second the number may be another's */
	clock_ns += NSEC_PER_SEC;
	ck_assert_int_eq(tracker_pid_of(tracker, tid), tid);
}
END_TEST

/* ---- families ---- */

static void map_in_child(struct child *c)
{
	char *at = map_file(2, 3, MAP_SHARED);

	child_step(c);
	expect(munmap(at, PAGES(3)) == 0);
	child_step(c);
}

START_TEST(a_process_that_ends_is_gone)
{
	struct child c;

	child_start(&c, map_in_child, NULL);
	look(c.pid);
	ck_assert_uint_eq(seen_of(c.pid)->nr, 1);
	ck_assert_int_eq(seen_of(c.pid)->ancestors[0], getpid());
	child_next(&c);
	look(c.pid);
	ck_assert_uint_eq(seen_of(c.pid)->nr, 0);
	ck_assert_int_eq(child_finish(&c), 0);
	look_at_all();
	ck_assert(!is_known(c.pid));
	ck_assert_uint_eq(sink.nr_exits, 1);
}
END_TEST

static void fork_twice(struct child *c)
{
	struct child grandchild;

	child_start(&grandchild, map_in_child, NULL);
	*(pid_t *)c->arg = grandchild.pid;
	child_step(c);
	child_end(&grandchild);
	child_step(c);
}

START_TEST(children_have_what_their_parents_have)
{
	pid_t *grandchild = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child c;

	(void)map_file(0, 1, MAP_SHARED);
	child_start(&c, fork_twice, grandchild);
	tracker_opened(tracker, getpid(), file_ino, 1);
	for (int i = 0; i < 20 && sink.nr < 3; i++)
		clock_ns = max(clock_ns + 1, tracker_run(tracker));
	sees(1);
	ck_assert_uint_eq(seen_of(c.pid)->nr, 1);
	ck_assert_uint_eq(seen_of(*grandchild)->nr, 2);
	ck_assert_int_eq(seen_of(*grandchild)->ancestors[0], c.pid);
	ck_assert_int_eq(seen_of(*grandchild)->ancestors[1], getpid());
	child_next(&c);
	look_at_all();
	ck_assert(!is_known(*grandchild));
	child_end(&c);
}
END_TEST

static void become_another(struct child *c)
{
	(void)map_file(0, 3, MAP_SHARED);
	child_step(c);
	(void)fcntl(c->from, F_SETFD, 0);
	(void)dup2(c->from, 0);
	(void)execl("/bin/cat", "cat", NULL);
	_exit(1);
}

START_TEST(a_process_that_executes_has_another_memory_map)
{
	struct seen before;
	struct child c;

	child_start(&c, become_another, NULL);
	look(c.pid);
	before = *seen_of(c.pid);
	ck_assert_uint_eq(before.nr, 1);
	child_next(&c);
	look(c.pid);
	ck_assert_uint_eq(seen_of(c.pid)->nr, 0);
	ck_assert_uint_eq(seen_of(c.pid)->start_time, before.start_time);
	ck_assert_uint_eq(sink.nr_exits, 0);
	child_end(&c);
}
END_TEST

#define MANY_PROCESSES 300

START_TEST(hundreds_of_processes_are_all_seen_and_all_forgotten)
{
	static struct child c[MANY_PROCESSES];

	for (size_t i = 0; i < MANY_PROCESSES; i++)
		child_start(&c[i], map_in_child, NULL);
	look_at_all();
	for (size_t i = 0; i < MANY_PROCESSES; i++)
		expect(seen_of(c[i].pid)->nr == 1);
	for (size_t i = 0; i < MANY_PROCESSES; i++)
		child_end(&c[i]);
	look_at_all();
	ck_assert_uint_eq(sink.nr, 0);
	ck_assert_uint_eq(sink.nr_exits, MANY_PROCESSES);
}
END_TEST

#define MANY_MAPS 20000

START_TEST(twenty_thousand_mappings_of_one_process_are_seen)
{
	char *at = mmap(NULL, PAGES(2 * MANY_MAPS), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct tracker_stat before;

	for (u64 i = 0; i < MANY_MAPS; i++)
		expect(mmap(at + PAGES(2 * i), PAGES(1), PROT_READ,
			    MAP_SHARED | MAP_FIXED, file_fd,
			    (off_t)PAGES(i % FILE_PAGES)) != MAP_FAILED);
	before = stat_now();
	look(getpid());
	sees(MANY_MAPS);
	ck_assert_uint_gt(stat_now().tracker_scan_us, before.tracker_scan_us);
	ck_assert_int_ge(sink.charged,
			 (s64)(MANY_MAPS * sizeof(struct proc_map)));
	(void)printf("# a look at %d mappings: %llu us\n", MANY_MAPS,
		     (unsigned long long)(stat_now().tracker_scan_us -
					  before.tracker_scan_us));
}
END_TEST

/* ---- faults ---- */

static const struct read_fault at_page_2 = {.pgoff = 2, .nr = 1};
static const struct read_fault at_page_40 = {.pgoff = 40, .nr = 1};

START_TEST(a_read_is_a_fault_if_a_look_finds_a_mapping_there)
{
	(void)map_file(0, 4, MAP_SHARED);
	tracker_fault(tracker, getpid(), file_ino, &at_page_2);
	tracker_fault(tracker, getpid(), file_ino, &at_page_40);
	tracker_fault(tracker, getpid(), file_ino + 1, &at_page_2);
	run_to_rest();
	ck_assert_uint_eq(sink.nr_faults, 1);
	ck_assert_uint_eq(sink.nr_fills, 2);
	ck_assert_uint_eq(stat_now().tracker_unknown, 0);
	sees(1);
}
END_TEST

START_TEST(reads_of_who_cannot_be_known_are_counted_as_that)
{
	struct child c;

	tracker_fault(tracker, 0, file_ino, &at_page_2);
	ck_assert_uint_eq(stat_now().tracker_unknown, 1);

	child_start(&c, map_in_child, NULL);
	child_end(&c);
	tracker_fault(tracker, c.pid, file_ino, &at_page_2);
	run_to_rest();
	ck_assert_uint_eq(stat_now().tracker_unknown, 2);
	ck_assert_uint_eq(sink.nr_faults + sink.nr_fills, 0);
}
END_TEST

START_TEST(a_flood_of_faults_before_the_first_look_loses_none)
{
	const u32 nr = 100000;
	struct rng rng;

	rng_init(&rng, 1);
	(void)map_file(0, FILE_PAGES, MAP_SHARED);
	for (u32 i = 0; i < nr; i++) {
		struct read_fault fault = {
			.pgoff = rng_below(&rng, FILE_PAGES),
			.nr = 1,
			.nr_volume = i % 2,
		};

		tracker_fault(tracker, getpid(), file_ino, &fault);
		fault.pgoff = rng_below(&rng, 1000000);
		tracker_fault(tracker, getpid(), file_ino + 1, &fault);
		if (i == nr / 2) /* they wait for the look now */
			(void)tracker_run(tracker);
	}
	run_to_rest();
	ck_assert_uint_eq(sink.nr_faults, nr);
	ck_assert_uint_eq(sink.nr_fills, nr);
	ck_assert_uint_eq(stat_now().tracker_unknown, 0);
	ck_assert_uint_eq(stat_now().tracker_dropped, 0);
}
END_TEST

START_TEST(a_flood_of_events_is_dropped_and_counted_never_waited_for)
{
	const u32 nr = 100000;
	u64 known;

	(void)map_file(0, 4, MAP_SHARED);
	for (u32 i = 0; i < nr; i++) {
		tracker_fault(tracker, getpid(), file_ino + 1 + i, &at_page_2);
		tracker_opened(tracker, getpid(), file_ino, i);
	}
	run_to_rest();
	known = sink.nr_fills;
	ck_assert_uint_ge(known, 100);
	ck_assert_uint_lt(known, nr);
	ck_assert_uint_eq(known + stat_now().tracker_unknown, nr);
	/* opens are dropped as well */
	ck_assert_uint_gt(known + stat_now().tracker_dropped, nr);
	ck_assert_uint_eq(sink.nr_faults, 0);
	sees(1);
}
END_TEST

/* ---- smaps ---- */

/* By syscall(2): sanitizers make mlock() do nothing. */
START_TEST(hints_come_from_smaps)
{
	char *at = map_file(0, 4, MAP_PRIVATE);

	at[0] = 1;
	at[PAGES(2)] = 1;
	look(getpid());
	look_at_all();
	ck_assert_uint_eq(seen_of(getpid())->nr_private, 2);
	ck_assert_uint_eq(seen_of(getpid())->hints, 0);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_RANDOM), 0);
	ck_assert_int_eq(syscall(SYS_mlock, at, PAGES(4)), 0);
	look_at_all();
	ck_assert_uint_eq(seen_of(getpid())->hints,
			  PROC_HINT_RANDOM | PROC_HINT_LOCKED);
	ck_assert_int_eq(syscall(SYS_munlock, at, PAGES(4)), 0);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_SEQUENTIAL), 0);
	look_at_all();
	ck_assert_uint_eq(seen_of(getpid())->hints, PROC_HINT_SEQUENTIAL);
	ck_assert_uint_ge(stat_now().tracker_smaps,
			  seen_of(getpid())->nr_hints);
}
END_TEST

START_TEST(advice_given_later_is_noticed_by_a_later_look)
{
	char *at = map_file(0, 4, MAP_SHARED);

	look(getpid());
	ck_assert_uint_eq(seen_of(getpid())->hints, 0);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_RANDOM), 0);
	run_to_rest();
	ck_assert_uint_eq(seen_of(getpid())->hints, PROC_HINT_RANDOM);
	ck_assert_uint_le(stat_now().tracker_smaps, 10);
}
END_TEST

/* ---- a /proc of our own ---- */

static void put(const char *name, const char *text)
{
	int fd = open(tmpdir_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static void put_process(u64 start_time)
{
	char stat[256];

	(void)snprintf(stat, sizeof(stat),
		       "7 (old) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %llu\n",
		       (unsigned long long)start_time);
	put("7/stat", stat);
}

static void setup_fake(void)
{
	struct tracker_config cfg = {.ops = &sink_ops, .now = test_now};
	struct mount_dev dev = {0, 0x2d};

	memset(&sink, 0, sizeof(sink));
	mutex_init(&sink.lock, LOCK_LEAF, "sink");
	waitq_init(&sink.changed);
	clock_ns = NSEC_PER_SEC;
	file_fd = -1;
	file_ino = 5;
	tmpdir_make();
	ck_assert_int_eq(mkdir(tmpdir_path("7"), 0700), 0);
	put_process(100);
	put("7/status", "Name:\told\nTgid:\t7\n");
	put("7/maps", "1000-3000 rw-s 00001000 00:2d 5 /x\n");
	put("7/smaps", "1000-3000 rw-s 00001000 00:2d 5 /x\nVmFlags: lo\n");
	ck_assert_int_eq(tracker_new(&cfg, &tracker), 0);
	ck_assert_int_eq(tracker_attach(tracker, tmpdir_path(""), &dev, false),
			 0);
	ck_assert_uint_eq(stat_now().tracker_query, 0);
}

START_TEST(another_process_with_the_same_pid_is_another)
{
	look_at_all();
	ck_assert_uint_eq(seen_of(7)->start_time, 100);
	ck_assert_uint_eq(seen_of(7)->nr, 1);
	put_process(200);
	look_at_all();
	ck_assert_uint_eq(seen_of(7)->start_time, 200);
	ck_assert_uint_eq(seen_of(7)->nr, 1);
	ck_assert_uint_eq(sink.nr_exits, 1);
	put("7/maps", "");
	put_process(300);
	look_at_all();
	ck_assert(!is_known(7));
	ck_assert_uint_eq(sink.nr_exits, 2);
	ck_assert_uint_eq(stat_now().tracker_processes, 0);
}
END_TEST

START_TEST(a_process_that_may_not_be_read_is_counted)
{
	look_at_all();
	ck_assert_uint_eq(stat_now().tracker_unreadable, 0);
	ck_assert_int_eq(unlink(tmpdir_path("7/maps")), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("7/maps"), 0700), 0);
	tracker_fault(tracker, 7, 5, &at_page_2);
	(void)tracker_run(tracker);
	clock_ns += NSEC_PER_SEC;
	(void)tracker_run(tracker);
	/* EISDIR stands for EACCES, which root is never told */
	ck_assert_uint_eq(stat_now().tracker_failed, 1);
	ck_assert_uint_eq(stat_now().tracker_unknown, 1);
	/* what was known of it is still known */
	ck_assert_uint_eq(seen_of(7)->nr, 1);
}
END_TEST

START_TEST(other_names_for_a_program_are_news)
{
	look_at_all();
	ck_assert_str_eq(seen_of(7)->comm, "old");
	put("7/stat", "7 (new) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100\n");
	look_at_all();
	ck_assert_str_eq(seen_of(7)->comm, "new");
	ck_assert_uint_eq(sink.nr_exits, 0);
}
END_TEST

/* ---- with threads ---- */

static void wait_done(u32 nr)
{
	mutex_lock(&sink.lock);
	while (sink.nr_done < nr)
		waitq_wait(&sink.changed, &sink.lock);
	mutex_unlock(&sink.lock);
}

START_TEST(deaths_are_told_by_the_kernel)
{
	struct tracker_wait wait = {.fn = done};
	struct child c;

	child_start(&c, map_in_child, NULL);
	tracker_sync(tracker, &wait);
	wait_done(1);
	child_end(&c);
	/* nobody asks for anything any more */
	mutex_lock(&sink.lock);
	while (!sink.nr_exits)
		waitq_wait(&sink.changed, &sink.lock);
	mutex_unlock(&sink.lock);
}
END_TEST

static void hold_descriptors(struct child *c)
{
	child_step(c);
}

/* As a helper has while it is being started. */
/*
 * Is there a while in which it does not wake but for what others do? Processes
 * of this machine that are on the same device come and go: each is a look, or
 * a death.
 */
static bool gets_quiet(void)
{
	const struct timespec a_while = {.tv_nsec = 300 * 1000 * 1000};
	bool quiet = false;

	for (int i = 0; i < 100 && !quiet; i++) {
		struct tracker_stat before = stat_now(), after;

		(void)nanosleep(&a_while, NULL);
		after = stat_now();
		quiet = after.tracker_wakeups - before.tracker_wakeups <=
			2 * (after.tracker_scans - before.tracker_scans);
	}
	return quiet;
}

START_TEST(a_copy_of_our_descriptors_brings_no_death_back)
{
	struct tracker_wait wait[2] = {{.fn = done}, {.fn = done}};
	struct child c, copy;

	child_start(&c, map_in_child, NULL);
	tracker_sync(tracker, &wait[0]);
	wait_done(1);
	child_start(&copy, hold_descriptors, NULL);
	child_end(&c);
	mutex_lock(&sink.lock);
	while (!sink.nr_exits)
		waitq_wait(&sink.changed, &sink.lock);
	mutex_unlock(&sink.lock);

	tracker_sync(tracker, &wait[1]);
	wait_done(2);
	ck_assert_uint_eq(sink.nr_exits, 1);
	/* a death that is told again and again would keep it awake */
	ck_assert(gets_quiet());
	child_end(&copy);
}
END_TEST

START_TEST(many_may_wait_and_all_are_served)
{
	static struct tracker_wait wait[100];

	(void)map_file(0, 1, MAP_SHARED);
	for (size_t i = 0; i < ARRAY_SIZE(wait); i++) {
		wait[i].fn = done;
		tracker_sync(tracker, &wait[i]);
		tracker_opened(tracker, getpid(), file_ino, i);
	}
	wait_done(ARRAY_SIZE(wait));
	/* not one look for each */
	ck_assert_uint_ge(stat_now().tracker_full_scans, 1);
	ck_assert_uint_le(stat_now().tracker_full_scans, ARRAY_SIZE(wait));
}
END_TEST

START_TEST(who_waits_at_the_end_is_let_go)
{
	static struct tracker_wait wait[10];

	for (size_t i = 0; i < ARRAY_SIZE(wait); i++) {
		wait[i].fn = done;
		tracker_sync(tracker, &wait[i]);
	}
	tracker_stop(tracker);
	wait_done(ARRAY_SIZE(wait));
	wait[0].fn = done;
	tracker_sync(tracker, &wait[0]);
	ck_assert_uint_eq(sink.nr_done, ARRAY_SIZE(wait) + 1);
}
END_TEST

/* It may be on its way back to sleep, or some process may map files of the
 * same device, so there are several tries; one that always wakes fails all. */
START_TEST(an_idle_tracker_does_not_wake)
{
	struct tracker_wait wait = {.fn = done};

	tracker_sync(tracker, &wait);
	wait_done(1);
	ck_assert(gets_quiet());
}
END_TEST

/* A process whose memory map is locked: its maps is a pipe nobody writes to. */
START_TEST(a_tracker_that_is_stuck_holds_nobody_up)
{
	struct tracker_config cfg = {.ops = &sink_ops};
	static struct tracker_wait wait = {.fn = done};
	struct mount_dev dev = {0, 0x2d};
	struct tracker *stuck;

	ck_assert_int_eq(mkdir(tmpdir_path("7"), 0700), 0);
	put_process(100);
	ck_assert_int_eq(mkfifo(tmpdir_path("7/maps"), 0600), 0);
	ck_assert_int_eq(tracker_new(&cfg, &stuck), 0);
	ck_assert_int_eq(tracker_attach(stuck, tmpdir_path(""), &dev, false),
			 0);
	ck_assert_int_eq(tracker_start(stuck), 0);
	tracker_sync(stuck, &wait);
	for (u64 i = 0; i < 100000; i++)
		tracker_fault(stuck, 7, 5, &at_page_2);
	tracker_stop(stuck);
	ck_assert_uint_eq(sink.nr_done, 1);
	tracker_free(stuck);
	/* what the thread that is left behind has, it keeps */
	sink.charged = 0;
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(
		tc, an_open_makes_the_process_looked_at_until_nothing_is_new);
	tcase_add_test(tc, a_quiet_process_that_maps_something_costs_nothing);
	tcase_add_test(tc, what_changes_is_followed);
	tcase_add_test(
		tc, a_mapping_outlives_close_and_unlink_and_goes_with_release);
	tcase_add_test(
		tc, when_an_open_file_is_released_who_maps_it_is_told_of_again);
	tcase_add_test(tc, what_the_sink_could_not_keep_it_is_told_again);
	tcase_add_test(tc, a_thread_stands_for_its_process);
	tcase_add_test(tc, a_process_that_ends_is_gone);
	tcase_add_test(tc, children_have_what_their_parents_have);
	tcase_add_test(tc, a_process_that_executes_has_another_memory_map);
	tcase_add_test(tc,
		       hundreds_of_processes_are_all_seen_and_all_forgotten);
	tcase_add_test(tc, twenty_thousand_mappings_of_one_process_are_seen);
	tcase_add_test(tc, a_read_is_a_fault_if_a_look_finds_a_mapping_there);
	tcase_add_test(tc, reads_of_who_cannot_be_known_are_counted_as_that);
	tcase_add_test(tc, a_flood_of_faults_before_the_first_look_loses_none);
	tcase_add_test(
		tc, a_flood_of_events_is_dropped_and_counted_never_waited_for);
	tcase_add_test(tc, hints_come_from_smaps);
	tcase_add_test(tc, advice_given_later_is_noticed_by_a_later_look);
	tcase_set_timeout(tc, 30);
}

Suite *test_suite(void)
{
	TCase *query, *parse, *fake, *threads;
	Suite *s = test_suite_new("tracker", &query);

	tcase_add_checked_fixture(query, setup_query, teardown);
	add_tests(query);

	parse = tcase_create("parsed");
	tcase_add_checked_fixture(parse, setup_parse, teardown);
	add_tests(parse);
	suite_add_tcase(s, parse);

	fake = tcase_create("fake");
	tcase_add_checked_fixture(fake, setup_fake, teardown);
	tcase_add_test(fake, another_process_with_the_same_pid_is_another);
	tcase_add_test(fake, a_process_that_may_not_be_read_is_counted);
	tcase_add_test(fake, other_names_for_a_program_are_news);
	suite_add_tcase(s, fake);

	threads = tcase_create("threads");
	tcase_add_checked_fixture(threads, setup_threads, teardown);
	tcase_set_timeout(threads, 40);
	tcase_add_test(threads, deaths_are_told_by_the_kernel);
	tcase_add_test(threads, a_copy_of_our_descriptors_brings_no_death_back);
	tcase_add_test(threads, many_may_wait_and_all_are_served);
	tcase_add_test(threads, who_waits_at_the_end_is_let_go);
	tcase_add_test(threads, an_idle_tracker_does_not_wake);
	tcase_add_test(threads, a_tracker_that_is_stuck_holds_nobody_up);
	suite_add_tcase(s, threads);
	return s;
}

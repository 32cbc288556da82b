/* SPDX-License-Identifier: MIT */
/* What other processes map: src/procfs.h. Each test of mappings runs twice:
 * by PROCMAP_QUERY, where the kernel has it, and by parsing. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "child.h"
#include "procfs.h"
#include "test.h"
#include "tmpdir.h"

#define PAGES(n) ((n)*PAGE_SIZE)
#define FILE_PAGES 64

static struct procfs procfs;
static int file_fd;
static u64 file_ino;

static struct mount_dev dev_of(const struct stat *st)
{
	return (struct mount_dev){major(st->st_dev), minor(st->st_dev)};
}

static void setup(bool parse)
{
	struct mount_dev dev;
	struct stat st;

	tmpdir_make();
	file_fd = open(tmpdir_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(file_fd, 0);
	ck_assert_int_eq(ftruncate(file_fd, PAGES(FILE_PAGES)), 0);
	ck_assert_int_eq(fstat(file_fd, &st), 0);
	file_ino = st.st_ino;
	dev = dev_of(&st);
	ck_assert_int_eq(procfs_init(&procfs, "/proc", &dev, parse), 0);
}

static void setup_query(void)
{
	setup(false);
}

static void setup_parse(void)
{
	setup(true);
	ck_assert(!procfs.query);
}

static void teardown(void)
{
	procfs_done(&procfs);
	(void)close(file_fd);
	tmpdir_remove();
}

static char *map_file(u64 first, u64 nr, int prot, int flags)
{
	char *at = mmap(NULL, PAGES(nr), prot, flags, file_fd,
			(off_t)PAGES(first));

	ck_assert_ptr_ne(at, MAP_FAILED);
	return at;
}

/* Mappings of @pid that are of our file (the program itself may lie on the
 * same device). Return: how many; of them the first 8. */
static size_t look_at(pid_t pid, struct proc_map ret[8])
{
	struct proc_map *maps = NULL;
	size_t nr = 0, ours = 0;
	struct proc proc;

	ck_assert_int_eq(proc_open(&procfs, pid, &proc), 0);
	ck_assert_int_eq(proc_maps(&procfs, &proc, &maps, &nr), 0);
	proc_close(&proc);
	for (size_t i = 0; i < nr; i++) {
		expect(maps[i].start < maps[i].end);
		expect(!i || maps[i - 1].end <= maps[i].start);
		if (maps[i].ino != file_ino)
			continue;
		if (ours < 8)
			ret[ours] = maps[i];
		ours++;
	}
	free(maps);
	return ours;
}

static size_t look(struct proc_map ret[8])
{
	return look_at(getpid(), ret);
}

static void is_map(const struct proc_map *map, const char *at, u64 first,
		   u64 nr, u32 flags)
{
	ck_assert_uint_eq(map->start, (uintptr_t)at);
	ck_assert_uint_eq(map->end, (uintptr_t)at + PAGES(nr));
	ck_assert_uint_eq(map->pos, PAGES(first));
	ck_assert_uint_eq(map->flags, flags);
}

#define RW (PROT_READ | PROT_WRITE)
#define MAP_RW (PROC_MAP_READ | PROC_MAP_WRITE)

/* ---- mappings ---- */

START_TEST(a_mapping_has_its_place_and_its_rights)
{
	struct proc_map maps[8];
	char *at;

	ck_assert_uint_eq(look(maps), 0);
	at = map_file(3, 5, RW, MAP_SHARED);
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], at, 3, 5, MAP_RW | PROC_MAP_SHARED);
	ck_assert_int_eq(munmap(at, PAGES(5)), 0);

	at = map_file(0, 1, PROT_READ, MAP_PRIVATE);
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], at, 0, 1, PROC_MAP_READ);
	ck_assert_int_eq(munmap(at, PAGES(1)), 0);

	at = map_file(0, 1, PROT_NONE, MAP_PRIVATE);
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], at, 0, 1, 0);
}
END_TEST

START_TEST(a_mapping_that_is_split_is_three_and_merged_one_again)
{
	struct proc_map maps[8];
	char *at = map_file(0, 9, RW, MAP_SHARED);

	ck_assert_int_eq(mprotect(at + PAGES(3), PAGES(3), PROT_READ), 0);
	ck_assert_uint_eq(look(maps), 3);
	is_map(&maps[0], at, 0, 3, MAP_RW | PROC_MAP_SHARED);
	is_map(&maps[1], at + PAGES(3), 3, 3, PROC_MAP_READ | PROC_MAP_SHARED);
	is_map(&maps[2], at + PAGES(6), 6, 3, MAP_RW | PROC_MAP_SHARED);

	ck_assert_int_eq(mprotect(at + PAGES(3), PAGES(3), RW), 0);
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], at, 0, 9, MAP_RW | PROC_MAP_SHARED);

	ck_assert_int_eq(munmap(at + PAGES(4), PAGES(1)), 0);
	ck_assert_uint_eq(look(maps), 2);
	is_map(&maps[0], at, 0, 4, MAP_RW | PROC_MAP_SHARED);
	is_map(&maps[1], at + PAGES(5), 5, 4, MAP_RW | PROC_MAP_SHARED);
}
END_TEST

START_TEST(a_mapping_that_moves_and_grows_is_where_it_is_now)
{
	struct proc_map maps[8];
	char *at = map_file(2, 4, PROT_READ, MAP_SHARED);
	char *hole = mmap(NULL, PAGES(32), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *to;

	ck_assert_ptr_ne(hole, MAP_FAILED);
	to = mremap(at, PAGES(4), PAGES(8), MREMAP_MAYMOVE | MREMAP_FIXED,
		    hole + PAGES(8));
	ck_assert_ptr_eq(to, hole + PAGES(8));
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], to, 2, 8, PROC_MAP_READ | PROC_MAP_SHARED);
}
END_TEST

START_TEST(a_mapping_outlives_close_and_unlink)
{
	struct proc_map maps[8];
	char *at = map_file(0, 2, RW, MAP_SHARED);
	int fd = file_fd;

	ck_assert_int_eq(rename(tmpdir_path("file"), tmpdir_path("a\nb \\ ")),
			 0);
	ck_assert_uint_eq(look(maps), 1);
	ck_assert_int_eq(unlink(tmpdir_path("a\nb \\ ")), 0);
	file_fd = -1;
	ck_assert_int_eq(close(fd), 0);
	ck_assert_uint_eq(look(maps), 1);
	is_map(&maps[0], at, 0, 2, MAP_RW | PROC_MAP_SHARED);
}
END_TEST

#define MANY 20000

START_TEST(twenty_thousand_mappings_are_all_seen_in_order)
{
	struct proc_map maps[8];
	char *at = mmap(NULL, PAGES(2 * MANY), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	for (u64 i = 0; i < MANY; i++)
		expect(mmap(at + PAGES(2 * i), PAGES(1), PROT_READ,
			    MAP_SHARED | MAP_FIXED, file_fd,
			    (off_t)PAGES(i % FILE_PAGES)) != MAP_FAILED);
	ck_assert_uint_eq(look(maps), MANY);
	is_map(&maps[7], at + PAGES(14), 7, 1, PROC_MAP_READ | PROC_MAP_SHARED);
}
END_TEST

/* ---- hints ---- */

static struct proc_hint hint_of(const char *at)
{
	struct proc_hint *hints = NULL, ret = {.nr_private = 0};
	struct proc proc;
	bool found = false;
	size_t nr = 0;

	ck_assert_int_eq(proc_open(&procfs, getpid(), &proc), 0);
	ck_assert_int_eq(proc_hints(&procfs, &proc, &hints, &nr), 0);
	proc_close(&proc);
	for (size_t i = 0; i < nr; i++) {
		if (hints[i].map.start == (uintptr_t)at) {
			ret = hints[i];
			found = true;
		}
	}
	free(hints);
	ck_assert(found);
	return ret;
}

START_TEST(private_pages_count_once_they_are_written_to)
{
	char *at = map_file(0, 8, RW, MAP_PRIVATE);
	struct proc_hint hint;

	ck_assert_int_eq(madvise(at, PAGES(8), MADV_RANDOM), 0);
	ck_assert_uint_eq(hint_of(at).nr_private, 0);
	(void)*(volatile char *)at;
	ck_assert_uint_eq(hint_of(at).nr_private, 0);
	at[0] = 1;
	at[PAGES(5)] = 1;
	hint = hint_of(at);
	ck_assert_uint_eq(hint.nr_private, 2);
	ck_assert_uint_ge(hint.nr_resident, 2);

	/* what is written to a shared one stays the file's */
	at = map_file(0, 8, RW, MAP_SHARED);
	at[0] = 1;
	ck_assert_uint_eq(hint_of(at).nr_private, 0);
}
END_TEST

/* By syscall(2): sanitizers make mlock() do nothing. */
START_TEST(advice_and_locks_are_seen)
{
	char *at = map_file(0, 4, RW, MAP_SHARED);

	ck_assert_uint_eq(hint_of(at).hints, 0);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_RANDOM), 0);
	ck_assert_uint_eq(hint_of(at).hints, PROC_HINT_RANDOM);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_SEQUENTIAL), 0);
	ck_assert_uint_eq(hint_of(at).hints, PROC_HINT_SEQUENTIAL);
	ck_assert_int_eq(madvise(at, PAGES(4), MADV_NORMAL), 0);
	ck_assert_int_eq(syscall(SYS_mlock, at, PAGES(4)), 0);
	ck_assert_uint_eq(hint_of(at).hints, PROC_HINT_LOCKED);
}
END_TEST

/* ---- processes ---- */

static void map_and_wait(struct child *c)
{
	(void)map_file(1, 2, PROT_READ, MAP_SHARED);
	(void)prctl(PR_SET_NAME, "a) S 1 (\n b");
	child_step(c);
}

/* ThreadSanitizer may give a process a thread of its own, at any moment. */
static u32 threads_of(pid_t pid)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	ck_assert_int_eq(stat(path, &st), 0);
	return (u32)st.st_nlink - 2;
}

START_TEST(a_child_is_known_by_name_parent_and_start)
{
	struct proc mine, childs, again;
	struct proc_map maps[8];
	pid_t *kids = NULL;
	size_t nr = 0;
	struct child c;
	u32 threads;

	child_start(&c, map_and_wait, NULL);
	ck_assert_uint_eq(look_at(c.pid, maps), 1);
	ck_assert_int_eq(proc_open(&procfs, getpid(), &mine), 0);
	threads = threads_of(c.pid);
	ck_assert_int_eq(proc_open(&procfs, c.pid, &childs), 0);
	ck_assert_str_eq(childs.comm, "a) S 1 (\n b");
	ck_assert_int_eq(childs.ppid, getpid());
	ck_assert_uint_ge(childs.nr_threads, threads);
	ck_assert_uint_le(childs.nr_threads, threads_of(c.pid));
	ck_assert_uint_ge(childs.start_time, mine.start_time);

	ck_assert_int_eq(proc_children(&procfs, &mine, &kids, &nr), 0);
	ck_assert_uint_eq(nr, 1);
	ck_assert_int_eq(kids[0], c.pid);
	free(kids);
	proc_close(&mine);

	ck_assert_int_eq(child_finish(&c), 0);
	ck_assert_int_eq(proc_open(&procfs, c.pid, &again), -ESRCH);
	/* through the folder of the dead one nobody else is seen */
	ck_assert_int_eq(
		proc_maps(&procfs, &childs, &(struct proc_map *){0}, &nr),
		-ESRCH);
	proc_close(&childs);
}
END_TEST

static void *in_thread(void *arg)
{
	struct child *c = arg;

	child_step(c);
	_exit(0);
}

/* What it has on its stack goes with it. */
static void lose_main_thread(struct child *c)
{
	static struct child kept;
	pthread_t thread;

	kept = *c;
	(void)map_file(1, 2, PROT_READ, MAP_SHARED);
	expect(pthread_create(&thread, NULL, in_thread, &kept) == 0);
	pthread_exit(NULL);
}

START_TEST(a_process_whose_main_thread_has_ended_still_maps)
{
	struct proc_map maps[8];
	struct proc proc;
	struct child c;

	child_start(&c, lose_main_thread, NULL);
	do {
		ck_assert_int_eq(proc_open(&procfs, c.pid, &proc), 0);
		proc_close(&proc);
	} while (proc.state != 'Z');
	ck_assert_uint_eq(look_at(c.pid, maps), 1);
	child_end(&c);
}
END_TEST

static pid_t thread_tid;

static void *note_tid(void *arg)
{
	pid_t pid;

	thread_tid = gettid();
	ck_assert_int_eq(proc_tgid(&procfs, thread_tid, &pid), 0);
	*(pid_t *)arg = pid;
	return NULL;
}

START_TEST(a_thread_leads_to_its_process)
{
	pthread_t thread;
	pid_t pid = 0;

	ck_assert_int_eq(pthread_create(&thread, NULL, note_tid, &pid), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_ne(thread_tid, getpid());
	ck_assert_int_eq(pid, getpid());
	ck_assert_int_eq(proc_tgid(&procfs, 0, &pid), -ESRCH);
	ck_assert_int_eq(proc_tgid(&procfs, -1, &pid), -ESRCH);
}
END_TEST

START_TEST(a_zombie_maps_nothing)
{
	struct proc_map *maps = NULL;
	size_t nr = 1;
	struct proc proc;
	struct child c;
	bool zombie;

	child_start(&c, map_and_wait, NULL);
	child_next(&c);
	do {
		ck_assert_int_eq(proc_open(&procfs, c.pid, &proc), 0);
		/* a sanitizer's thread may end after the first one */
		zombie = proc.state == 'Z' && proc.nr_threads <= 1;
		if (!zombie)
			proc_close(&proc);
	} while (!zombie);
	ck_assert_int_eq(proc_maps(&procfs, &proc, &maps, &nr), 0);
	ck_assert_uint_eq(nr, 0);
	ck_assert_ptr_null(maps);
	proc_close(&proc);
	ck_assert_int_eq(child_finish(&c), 0);
}
END_TEST

static void look_as_nobody(struct child *c)
{
	struct proc_map *maps;
	struct proc proc;
	size_t nr;

	if (setresuid(65534, 65534, 65534))
		_exit(77);
	expect(proc_open(&procfs, getppid(), &proc) == 0);
	expect(proc_maps(&procfs, &proc, &maps, &nr) == -EACCES);
	child_step(c);
}

START_TEST(a_process_that_may_not_be_read_says_so)
{
	struct child c;

	if (geteuid() != 0)
		return;
	child_start(&c, look_as_nobody, NULL);
	ck_assert_int_eq(child_finish(&c), 0);
}
END_TEST

START_TEST(all_processes_are_listed_once)
{
	pid_t *pids = NULL;
	size_t nr = 0, mine = 0;

	ck_assert_int_eq(procfs_pids(&procfs, &pids, &nr), 0);
	for (size_t i = 0; i < nr; i++)
		mine += pids[i] == getpid();
	free(pids);
	ck_assert_uint_eq(mine, 1);
}
END_TEST

/* ---- a /proc of our own ---- */

static void put(const char *name, const char *text, size_t len)
{
	int fd = open(tmpdir_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	(void)close(fd);
}

#define STAT_TAIL " 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0\n"

static void setup_fake(void)
{
	struct mount_dev dev = {0, 0x2d};

	tmpdir_make();
	ck_assert_int_eq(mkdir(tmpdir_path("7"), 0700), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("x7"), 0700), 0);
	put("7/stat", "7 (fake) S 1" STAT_TAIL,
	    strlen("7 (fake) S 1" STAT_TAIL));
	ck_assert_int_eq(procfs_init(&procfs, tmpdir_path(""), &dev, false), 0);
	ck_assert(!procfs.query);
	file_fd = -1;
}

static size_t fake_maps(const char *text, size_t len, struct proc_map **ret)
{
	struct proc proc;
	size_t nr = 0;

	*ret = NULL;
	put("7/maps", text, len);
	ck_assert_int_eq(proc_open(&procfs, 7, &proc), 0);
	ck_assert_uint_eq(proc.start_time, 777);
	ck_assert_int_eq(proc_maps(&procfs, &proc, ret, &nr), 0);
	proc_close(&proc);
	return nr;
}

START_TEST(lines_that_are_no_mappings_are_passed_over)
{
	static const char text[] =
		"\n"
		"nonsense\n"
		"1000-2000\n"
		"1000-2000 r--p\n"
		"1000-2000 r--p 0 00:2d\n"
		"1000-2000 r--q 00000000 00:2d 5 /bad perms\n"
		"2000-1000 r--p 00000000 00:2d 5 /backwards\n"
		"fffffffffffffffff-2000 r--p 00000000 00:2d 5 /overflow\n"
		"1000-2000 r--p 00000000 00:2d 99999999999999999999 /ino\n"
		"1000-2000 r--p 00000000 00:2d 5x /ino\n"
		"1000-2000 r--p 00000000 1ffffffff:2d 5 /dev\n"
		"1000-2000 r--p 00000000 00:2e 5 /other\n"
		"1000-2000 r--p 00003000 00:2d 18446744073709551615 /a\\012"
		"9000-a000 r--p 0 00:2d 5\n"
		"3000-4000 ---s 00000000 00:2d 6 (deleted)\n"
		"4000-5000 rwxs 00000000 00:2d 7";
	struct proc_map *maps;

	ck_assert_uint_eq(fake_maps(text, sizeof(text) - 1, &maps), 3);
	ck_assert_uint_eq(maps[0].ino, UINT64_MAX);
	ck_assert_uint_eq(maps[0].pos, 0x3000);
	ck_assert_uint_eq(maps[1].ino, 6);
	ck_assert_uint_eq(maps[1].flags, PROC_MAP_SHARED);
	ck_assert_uint_eq(maps[2].flags, 15);
	free(maps);
}
END_TEST

START_TEST(of_what_was_seen_twice_the_later_look_counts)
{
	static const char text[] = "1000-2000 r--p 00000000 00:2d 5 /a\n"
				   "2000-3000 r--p 00001000 00:2d 5 /a\n"
				   "1000-9000 r--p 00000000 00:2d 5 /a\n"
				   "8000-a000 r--p 00000000 00:2d 6 /b\n";
	struct proc_map *maps;

	ck_assert_uint_eq(fake_maps(text, sizeof(text) - 1, &maps), 1);
	ck_assert_uint_eq(maps[0].start, 0x8000);
	free(maps);
}
END_TEST

START_TEST(a_line_longer_than_any_buffer_is_one_line)
{
	static const char head[] = "1000-2000 r--p 00000000 00:2d 5 ";
	static const char tail[] = "\n3000-4000 r--p 00000000 00:2d 6\n";
	static char text[200000];

	for (size_t name = 1; name < 100000; name = name * 3 + 1000) {
		struct proc_map *maps;
		size_t len = sizeof(head) - 1;

		memcpy(text, head, len);
		/* what would be a mapping if a line began there */
		for (size_t i = 0; i < name; i++)
			text[len++] = head[i % (sizeof(head) - 1)];
		memcpy(text + len, tail, sizeof(tail) - 1);
		len += sizeof(tail) - 1;
		ck_assert_uint_eq(fake_maps(text, len, &maps), 2);
		ck_assert_uint_eq(maps[1].ino, 6);
		free(maps);
	}
}
END_TEST

START_TEST(random_text_never_makes_a_wrong_mapping)
{
	static const char alphabet[] = "0123456789abcdef-:rwxsp \n/\0";
	static char text[40000];
	struct rng rng;

	rng_init(&rng, 1);
	for (u64 i = 0; i < test_rounds(300); i++) {
		size_t len = rng_below(&rng, sizeof(text));
		struct proc_map *maps;
		size_t nr;

		for (size_t j = 0; j < len; j++)
			text[j] = alphabet[rng_below(&rng, sizeof(alphabet))];
		nr = fake_maps(text, len, &maps);
		for (size_t j = 0; j < nr; j++) {
			expect(maps[j].start < maps[j].end);
			expect(!j || maps[j - 1].end <= maps[j].start);
		}
		free(maps);
	}
}
END_TEST

START_TEST(broken_stat_is_an_error)
{
	static const char *const bad[] = {
		"",
		"7",
		"7 (a",
		("7 a) S 1" STAT_TAIL),
		"7 (a)",
		"7 (a) ",
		"7 (a) S",
		"7 (a) S 1 1 1",
		"7 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 x",
	};
	struct proc proc;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put("7/stat", bad[i], strlen(bad[i]));
		ck_assert_int_eq(proc_open(&procfs, 7, &proc), -EIO);
	}
	ck_assert_int_eq(proc_open(&procfs, 8, &proc), -ESRCH);
}
END_TEST

START_TEST(children_that_no_list_names_are_found_by_their_parent)
{
	struct proc proc;
	pid_t *kids = NULL;
	size_t nr = 0;

	ck_assert_int_eq(mkdir(tmpdir_path("8"), 0700), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("9"), 0700), 0);
	put("8/stat", "8 (kid) S 7" STAT_TAIL, strlen("8 (kid) S 7" STAT_TAIL));
	put("9/stat", "9 (not) S 1" STAT_TAIL, strlen("9 (not) S 1" STAT_TAIL));
	ck_assert_int_eq(proc_open(&procfs, 7, &proc), 0);
	ck_assert_int_eq(proc_children(&procfs, &proc, &kids, &nr), 0);
	ck_assert_uint_eq(nr, 1);
	ck_assert_int_eq(kids[0], 8);
	free(kids);

	ck_assert_int_eq(mkdir(tmpdir_path("7/task"), 0700), 0);
	ck_assert_int_eq(mkdir(tmpdir_path("7/task/7"), 0700), 0);
	put("7/task/7/children", "11 12 99999999999 13", 20);
	ck_assert_int_eq(proc_children(&procfs, &proc, &kids, &nr), 0);
	ck_assert_uint_eq(nr, 3);
	ck_assert_int_eq(kids[2], 13);
	free(kids);
	proc_close(&proc);
}
END_TEST

static void add_mapping_tests(TCase *tc)
{
	tcase_add_test(tc, a_mapping_has_its_place_and_its_rights);
	tcase_add_test(tc,
		       a_mapping_that_is_split_is_three_and_merged_one_again);
	tcase_add_test(tc, a_mapping_that_moves_and_grows_is_where_it_is_now);
	tcase_add_test(tc, a_mapping_outlives_close_and_unlink);
	tcase_add_test(tc, twenty_thousand_mappings_are_all_seen_in_order);
	tcase_add_test(tc, a_child_is_known_by_name_parent_and_start);
	tcase_add_test(tc, a_process_whose_main_thread_has_ended_still_maps);
	tcase_add_test(tc, a_zombie_maps_nothing);
	tcase_add_test(tc, a_process_that_may_not_be_read_says_so);
}

Suite *test_suite(void)
{
	TCase *query, *parse, *fake;
	Suite *s = test_suite_new("procfs", &query);

	tcase_add_checked_fixture(query, setup_query, teardown);
	add_mapping_tests(query);
	tcase_add_test(query, private_pages_count_once_they_are_written_to);
	tcase_add_test(query, advice_and_locks_are_seen);
	tcase_add_test(query, a_thread_leads_to_its_process);
	tcase_add_test(query, all_processes_are_listed_once);

	parse = tcase_create("parsed");
	tcase_add_checked_fixture(parse, setup_parse, teardown);
	add_mapping_tests(parse);
	suite_add_tcase(s, parse);

	fake = tcase_create("fake");
	tcase_add_checked_fixture(fake, setup_fake, teardown);
	tcase_add_test(fake, lines_that_are_no_mappings_are_passed_over);
	tcase_add_test(fake, of_what_was_seen_twice_the_later_look_counts);
	tcase_add_test(fake, a_line_longer_than_any_buffer_is_one_line);
	tcase_add_test(fake, random_text_never_makes_a_wrong_mapping);
	tcase_add_test(fake, broken_stat_is_an_error);
	tcase_add_test(fake,
		       children_that_no_list_names_are_found_by_their_parent);
	suite_add_tcase(s, fake);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * Programs for the tests of cache=own and of taking pages back:
 *
 *	own_helper cached FILE		print how many kB of it the kernel has
 *	own_helper into FILE SOURCE ROUNDS
 *		read(2) SOURCE into a shared mapping of FILE, in random pieces,
 *		and compare each
 *	own_helper stores FILE MIB DISK
 *		store to every page of a mapping in random order, twice, while
 *		a process reads; print how much of FILE the kernel had at most
 *		(kB), the longest time that one page took, and the longest that
 *		writing to and syncing DISK, a file elsewhere, took meanwhile
 *		(ms)
 *	own_helper hold FILE
 *		map FILE, change it, say so, wait for the end of stdin, compare
 *
 * Ends with 0, or says what was wrong and ends with 1. FOLIO_SEED repeats.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

static u64 seed;

static void __attribute__((noreturn)) __printf(1, 2) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, " (seed %" PRIu64 ")\n", seed);
	exit(1);
}

/* splitmix64 */
static u64 random_below(u64 *state, u64 n)
{
	u64 z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % n;
}

static u64 now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / NSEC_PER_MSEC;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	return fd;
}

static u64 file_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		fail("fstat: %s", strerror(errno));
	return (u64)st.st_size;
}

static char *map(int fd, u64 size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return p;
}

static u64 cached_kb(int fd)
{
	u64 range[2] = {0, 0};
	u64 stat[5] = {0};

	if (syscall(SYS_cachestat, fd, range, stat, 0))
		fail("cachestat: %s", strerror(errno));
	return stat[0] * (PAGE_SIZE / 1024);
}

static int cached(char **argv)
{
	int fd = open_file(argv[0], O_RDONLY);

	(void)printf("%" PRIu64 "\n", cached_kb(fd));
	return 0;
}

/* ---- read(2) into a mapping ---- */

#define PIECE_MAX ((u64)300 << 10)

static void read_all(int fd, char *buf, u64 len, u64 pos)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)pos);

		if (n <= 0)
			fail("pread at %" PRIu64 ": %s", pos,
			     n ? strerror(errno) : "end of file");
		buf += n;
		pos += (u64)n;
		len -= (u64)n;
	}
}

/* The model is what has been read so far, kept in memory of our own. */
static int into(char **argv)
{
	int src = open_file(argv[1], O_RDONLY);
	int fd = open_file(argv[0], O_RDWR | O_CREAT | O_TRUNC);
	u64 size = file_size(src), rounds = strtoull(argv[2], NULL, 10);
	char *source = malloc(size), *model = calloc(1, size), *p;
	u64 state = seed;

	if (!source || !model || ftruncate(fd, (off_t)size))
		fail("%s", strerror(errno));
	read_all(src, source, size, 0);
	p = map(fd, size);
	for (u64 i = 0; i < rounds; i++) {
		u64 len = 1 + random_below(&state, min(PIECE_MAX, size));
		u64 from = random_below(&state, size - len + 1);
		u64 to = random_below(&state, size - len + 1);

		read_all(src, p + to, len, from);
		memcpy(model + to, source + from, len);
		if (memcmp(p + to, model + to, len) != 0)
			fail("round %" PRIu64 ": lost in the mapping", i);
	}
	if (memcmp(p, model, size) != 0)
		fail("lost in the mapping");
	read_all(fd, source, size, 0);
	if (memcmp(source, model, size) != 0)
		fail("lost for read(2)");
	free(source);
	free(model);
	return 0;
}

/* ---- stores all over a large file ---- */

#define VALUE(page, round) ((page)*4 + (round))
#define ROUNDS 2

struct shared {
	u64 disk_ms; /* the longest */
	bool stop;
};

/* What a page shows is of this round or the one before. */
static void check_value(u64 page, u64 value, u64 least, u64 most)
{
	if (value == 0 && least == 0)
		return;
	if (value < VALUE(page, least) || value > VALUE(page, most))
		fail("page %" PRIu64 " reads %#" PRIx64, page, value);
}

static void __attribute__((noreturn))
reader(const char *path, u64 pages, const struct shared *sh)
{
	int fd = open_file(path, O_RDONLY);
	u64 state = seed + 1, value, page;

	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
		page = random_below(&state, pages);
		read_all(fd, (char *)&value, sizeof(value), page * PAGE_SIZE);
		check_value(page, value, 0, ROUNDS);
	}
	exit(0);
}

static void __attribute__((noreturn))
disk_user(const char *path, struct shared *sh)
{
	int fd = open_file(path, O_RDWR | O_CREAT);
	const struct timespec pause = {.tv_nsec = 20 * NSEC_PER_MSEC};

	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
		u64 begun = now_ms();

		if (pwrite(fd, &begun, sizeof(begun), 0) != sizeof(begun) ||
		    fdatasync(fd))
			fail("%s: %s", path, strerror(errno));
		__atomic_store_n(&sh->disk_ms,
				 max(sh->disk_ms, now_ms() - begun),
				 __ATOMIC_RELAXED);
		(void)nanosleep(&pause, NULL);
	}
	exit(0);
}

static void shuffle(u32 *order, u64 nr, u64 *state)
{
	for (u64 i = 0; i < nr; i++)
		order[i] = (u32)i;
	for (u64 i = nr - 1; i; i--) {
		u64 j = random_below(state, i + 1);
		u32 tmp = order[i];

		order[i] = order[j];
		order[j] = tmp;
	}
}

/* Return: the longest time that one page took. */
static u64 store_round(char *p, const u32 *order, u64 pages, u64 round, int fd,
		       u64 *most_kb)
{
	u64 longest = 0, last = now_ms();

	for (u64 i = 0; i < pages; i++) {
		u64 *at = (u64 *)(p + (u64)order[i] * PAGE_SIZE), now;

		check_value(order[i], *at, round - 1, round - 1);
		*at = VALUE((u64)order[i], round);
		now = now_ms();
		longest = max(longest, now - last);
		if (i % 256 == 0) {
			*most_kb = max(*most_kb, cached_kb(fd));
			now = now_ms();
		}
		last = now;
	}
	return longest;
}

static void end_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		fail("a child: status %#x", (unsigned)status);
}

static int stores(char **argv)
{
	u64 pages = strtoull(argv[1], NULL, 10) << (20 - PAGE_SHIFT);
	int fd = open_file(argv[0], O_RDWR | O_CREAT | O_TRUNC);
	struct shared *sh = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	u32 *order = malloc(pages * sizeof(*order));
	u64 state = seed, longest = 0, most_kb = 0, value;
	pid_t readers, disk;
	char *p;

	if (sh == MAP_FAILED || !order ||
	    ftruncate(fd, (off_t)(pages * PAGE_SIZE)))
		fail("%s", strerror(errno));
	p = map(fd, pages * PAGE_SIZE);
	readers = fork();
	if (!readers)
		reader(argv[0], pages, sh);
	disk = fork();
	if (!disk)
		disk_user(argv[2], sh);

	for (u64 round = 1; round <= ROUNDS; round++) {
		shuffle(order, pages, &state);
		longest = max(longest, store_round(p, order, pages, round, fd,
						   &most_kb));
	}
	__atomic_store_n(&sh->stop, true, __ATOMIC_RELAXED);
	end_child(readers);
	end_child(disk);
	for (u64 i = 0; i < pages; i++) {
		read_all(fd, (char *)&value, sizeof(value), i * PAGE_SIZE);
		check_value(i, value, ROUNDS, ROUNDS);
	}
	(void)printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", most_kb, longest,
		     sh->disk_ms);
	free(order);
	return 0;
}

/* ---- holding a changed mapping ---- */

#define HOLD_PAGES 512

static int hold(char **argv)
{
	int fd = open_file(argv[0], O_RDWR | O_CREAT | O_TRUNC);
	u64 size = HOLD_PAGES * PAGE_SIZE;
	char byte, *p;

	if (ftruncate(fd, (off_t)size))
		fail("%s", strerror(errno));
	p = map(fd, size);
	for (u64 i = 0; i < size; i++)
		p[i] = (char)(i * 7 / 5);
	(void)puts("ready");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) == 1)
		;
	for (u64 i = 0; i < size; i++) {
		if (p[i] != (char)(i * 7 / 5))
			fail("byte %" PRIu64 " is lost", i);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *text = getenv("FOLIO_SEED");

	seed = text ? strtoull(text, NULL, 10) : (u64)time(NULL);
	if (argc == 3 && !strcmp(argv[1], "cached"))
		return cached(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "into"))
		return into(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "stores"))
		return stores(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(argv + 2);
	fail("usage: see the top of own_helper.c");
}

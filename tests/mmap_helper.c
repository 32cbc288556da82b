/* SPDX-License-Identifier: MIT */
/*
 * What programs do with mapped files, for the mount tests:
 *
 *	mmap_helper WHAT FILE [SEED]
 *
 * Each WHAT makes FILE anew, does its work, compares, and ends with 0, or says
 * what was wrong and ends with 1. But `obey` maps FILE as it is and does what
 * the lines of its input say; see commands[].
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"

#define PAGES(n) ((n)*PAGE_SIZE)

static void __attribute__((noreturn)) __printf(1, 2) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(1);
}

#define CHECK(cond)                                                      \
	do {                                                             \
		if (!(cond))                                             \
			fail("%s:%d: %s: %s", __FILE__, __LINE__, #cond, \
			     strerror(errno));                           \
	} while (0)

/* ---- helpers ---- */

/* A file of @size bytes; byte i is pattern(i). */
static char pattern(u64 pos)
{
	return (char)(pos * 31 + (pos >> 12) + 7);
}

static int make_file(const char *name, size_t size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char *buf = malloc(size + 1);

	CHECK(fd >= 0 && buf);
	for (size_t i = 0; i < size; i++)
		buf[i] = pattern(i);
	CHECK(pwrite(fd, buf, size, 0) == (ssize_t)size);
	free(buf);
	return fd;
}

static char *map(int fd, size_t len, int flags)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static char byte_at(int fd, u64 pos)
{
	char c;

	CHECK(pread(fd, &c, 1, (off_t)pos) == 1);
	return c;
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus, 1);
}

/* Does reading *@at raise SIGBUS? */
static bool raises_bus(const volatile char *at)
{
	struct sigaction act = {.sa_handler = on_bus};
	struct sigaction old;
	volatile bool raised = true;

	CHECK(sigaction(SIGBUS, &act, &old) == 0);
	if (!sigsetjmp(bus, 1)) {
		(void)*at;
		raised = false;
	}
	CHECK(sigaction(SIGBUS, &old, NULL) == 0);
	return raised;
}

/* ---- what can be asked ---- */

static void do_shared(const char *name, u64 seed)
{
	size_t size = PAGES(3) + 1234;
	int fd = make_file(name, size);
	char *at = map(fd, size, MAP_SHARED);

	for (size_t i = 0; i < size; i++)
		CHECK(at[i] == pattern(i));
	for (size_t i = 0; i < size; i += 100)
		at[i] = 'S';
	CHECK(msync(at, size, MS_SYNC) == 0);
	for (size_t i = 0; i < size; i++)
		CHECK(byte_at(fd, i) == (i % 100 ? pattern(i) : 'S'));
	CHECK(munmap(at, size) == 0 && close(fd) == 0);
}

static void do_private(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(2));
	char *at = map(fd, PAGES(2), MAP_PRIVATE);

	at[10] = 'P';
	CHECK(at[10] == 'P' && byte_at(fd, 10) == pattern(10));
	CHECK(pwrite(fd, "W", 1, PAGES(1) + 5) == 1);
	CHECK(at[PAGES(1) + 5] == 'W');
	CHECK(munmap(at, PAGES(2)) == 0);
	CHECK(byte_at(fd, 10) == pattern(10) && close(fd) == 0);
}

static void do_coherent(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(4));
	int other = open(name, O_RDWR | O_CLOEXEC);
	char *at = map(fd, PAGES(4), MAP_SHARED);

	CHECK(other >= 0);
	for (int i = 0; i < 200; i++) {
		u64 pos = (u64)i * 79 % PAGES(4);
		char c = (char)i;

		CHECK(pwrite(other, &c, 1, (off_t)pos) == 1);
		CHECK(at[pos] == c);
		at[pos] = (char)(c + 1);
		CHECK(byte_at(other, pos) == (char)(c + 1));
	}
	CHECK(munmap(at, PAGES(4)) == 0 && close(fd) == 0 && close(other) == 0);
}

/* What is stored into a hole is data at once, though the kernel alone has it;
 * also when it had the page before anybody could store to it. */
static void do_sparse(const char *name, u64 seed)
{
	int fd = make_file(name, 0), reader;
	char *at;

	CHECK(ftruncate(fd, PAGES(9)) == 0 && close(fd) == 0);
	reader = open(name, O_RDONLY | O_CLOEXEC);
	at = mmap(NULL, PAGES(9), PROT_READ, MAP_SHARED, reader, 0);
	CHECK(reader >= 0 && at != MAP_FAILED && at[PAGES(6)] == 0);
	CHECK(munmap(at, PAGES(9)) == 0);

	fd = open(name, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	at = map(fd, PAGES(9), MAP_SHARED);
	at[PAGES(6)] = 'S';
	CHECK((u64)lseek(reader, 0, SEEK_DATA) <= PAGES(6));
	CHECK((u64)lseek(reader, PAGES(6), SEEK_HOLE) > PAGES(6));
	at[PAGES(2)] = 'S';
	CHECK((u64)lseek(reader, 0, SEEK_DATA) <= PAGES(2));
	CHECK(munmap(at, PAGES(9)) == 0 && close(fd) == 0);
	CHECK((u64)lseek(reader, 0, SEEK_DATA) <= PAGES(2));
	CHECK(close(reader) == 0);
}

static void do_grow(const char *name, u64 seed)
{
	int fd = make_file(name, 100);
	char *at = map(fd, PAGES(4), MAP_SHARED);

	CHECK(at[99] == pattern(99) && at[100] == 0);
	CHECK(raises_bus(at + PAGES(1)));
	CHECK(ftruncate(fd, PAGES(3)) == 0);
	CHECK(!raises_bus(at + PAGES(2)) && at[PAGES(2)] == 0);
	CHECK(raises_bus(at + PAGES(3)));
	at[PAGES(2) + 1] = 'G';
	CHECK(pwrite(fd, "x", 1, PAGES(4) - 1) == 1);
	CHECK(at[PAGES(4) - 1] == 'x');
	CHECK(byte_at(fd, PAGES(2) + 1) == 'G');
	CHECK(munmap(at, PAGES(4)) == 0 && close(fd) == 0);
}

static void do_truncate(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(4));
	char *at = map(fd, PAGES(4), MAP_SHARED);

	at[PAGES(3)] = 'T';
	CHECK(ftruncate(fd, PAGES(1) + 10) == 0);
	CHECK(!raises_bus(at + PAGES(1)) && raises_bus(at + PAGES(2)));
	CHECK(at[PAGES(1) + 9] == pattern(PAGES(1) + 9));
	CHECK(at[PAGES(1) + 10] == 0);
	CHECK(ftruncate(fd, PAGES(4)) == 0);
	CHECK(at[PAGES(1) + 11] == 0 && at[PAGES(3)] == 0);
	CHECK(munmap(at, PAGES(4)) == 0 && close(fd) == 0);
}

/* A mapping outlives the descriptor. */
static void do_outlive(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(2));
	char *at = map(fd, PAGES(2), MAP_SHARED);

	CHECK(close(fd) == 0);
	memset(at + PAGES(1), 'O', PAGE_SIZE);
	CHECK(munmap(at, PAGES(2)) == 0);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && byte_at(fd, PAGES(1)) == 'O' &&
	      byte_at(fd, PAGES(2) - 1) == 'O' && byte_at(fd, 3) == pattern(3));
	CHECK(close(fd) == 0);
}

/* ... and the name; a child has it as well. */
static void do_unlink(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(3));
	char *at = map(fd, PAGES(3), MAP_SHARED);
	struct stat st;
	int status;
	pid_t pid;

	CHECK(unlink(name) == 0 && stat(name, &st) < 0 && errno == ENOENT);
	CHECK(close(fd) == 0);
	pid = fork();
	if (pid == 0) {
		at[PAGES(2)] = 'C';
		_exit(at[5] == pattern(5) ? 0 : 1);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(at[PAGES(2)] == 'C');
	CHECK(msync(at, PAGES(3), MS_SYNC) == 0);
	CHECK(munmap(at, PAGES(3)) == 0);
}

/* Written through a mapping and left to whoever unmounts. */
static void do_leave(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(8));
	char *at = map(fd, PAGES(8), MAP_SHARED);

	for (size_t i = 0; i < PAGES(8); i += 64)
		at[i] = 'L';
	CHECK(munmap(at, PAGES(8)) == 0 && close(fd) == 0);
}

static void do_left(const char *name, u64 seed)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	for (size_t i = 0; i < PAGES(8); i++)
		CHECK(byte_at(fd, i) == (i % 64 ? pattern(i) : 'L'));
	CHECK(close(fd) == 0);
}

/* Store, say so on stdout, and keep the mapping until stdin ends. */
static void do_hold(const char *name, u64 seed)
{
	int fd = make_file(name, PAGES(8));
	char *at = map(fd, PAGES(8), MAP_SHARED);
	char c;

	for (size_t i = 0; i < PAGES(8); i += 64)
		at[i] = 'L';
	CHECK(write(STDOUT_FILENO, "held\n", 5) == 5);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

/* ---- random: every way to change a file, against an array ---- */

#define RANDOM_MAX PAGES(40)
#define RANDOM_STEPS 4000

/* ---- one generation, or another ---- */

#define GENERATION_PAGES 6000

static void stamp(u64 *at, size_t page, u64 generation)
{
	at[page * (PAGE_SIZE / sizeof(u64))] = generation;
}

/*
 * Give every page of FILE the generation @seed and sync it; then half of them
 * the next one, handed over to the filesystem and not synced. Say so, and keep
 * the mapping until stdin ends.
 */
static void do_generation(const char *name, u64 seed)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	u64 *at;
	char c;

	CHECK(fd >= 0 && ftruncate(fd, PAGES(GENERATION_PAGES)) == 0);
	at = (u64 *)map(fd, PAGES(GENERATION_PAGES), MAP_SHARED);
	for (size_t i = 0; i < GENERATION_PAGES; i++)
		stamp(at, i * 7919 % GENERATION_PAGES, seed);
	CHECK(msync(at, PAGES(GENERATION_PAGES), MS_SYNC) == 0);

	for (size_t i = 0; i < GENERATION_PAGES; i += 2)
		stamp(at, i * 7919 % GENERATION_PAGES, seed + 1);
	CHECK(sync_file_range(fd, 0, 0,
			      SYNC_FILE_RANGE_WAIT_BEFORE |
				      SYNC_FILE_RANGE_WRITE |
				      SYNC_FILE_RANGE_WAIT_AFTER) == 0);
	CHECK(write(STDOUT_FILENO, "half\n", 5) == 5);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

/* FILE is of the generation @seed, every page of it. */
static void do_is_generation(const char *name, u64 seed)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	u64 found;

	CHECK(fd >= 0);
	for (size_t i = 0; i < GENERATION_PAGES; i++) {
		CHECK(pread(fd, &found, sizeof(found), (off_t)PAGES(i)) ==
		      sizeof(found));
		if (found != seed)
			fail("page %zu is of generation %" PRIu64
			     ", not %" PRIu64,
			     i, found, seed);
	}
	CHECK(close(fd) == 0);
}

struct model {
	u64 rng;
	int fd;
	char *at;	       /* a mapping of RANDOM_MAX bytes */
	size_t size;	       /* of the file */
	char data[RANDOM_MAX]; /* what is in it; zeros behind */
};

static u64 pick(struct model *m, u64 below)
{
	u64 z = m->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % below;
}

static void random_bytes(struct model *m, char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)pick(m, 256);
}

static void step_write(struct model *m)
{
	u64 pos = pick(m, RANDOM_MAX);
	size_t len = 1 + pick(m, min(RANDOM_MAX - pos, PAGES(3)));

	random_bytes(m, m->data + pos, len);
	CHECK(pwrite(m->fd, m->data + pos, len, (off_t)pos) == (ssize_t)len);
	m->size = max(m->size, pos + len);
}

static void step_store(struct model *m)
{
	u64 pos = m->size ? pick(m, m->size) : 0;
	size_t len = min(m->size - pos, 1 + pick(m, PAGES(2)));

	random_bytes(m, m->data + pos, len);
	memcpy(m->at + pos, m->data + pos, len);
}

static void step_truncate(struct model *m)
{
	size_t size = pick(m, RANDOM_MAX + 1);

	CHECK(ftruncate(m->fd, (off_t)size) == 0);
	if (size < m->size)
		memset(m->data + size, 0, m->size - size);
	m->size = size;
}

static void step_sync(struct model *m)
{
	if (pick(m, 2))
		CHECK(fsync(m->fd) == 0);
	else
		CHECK(msync(m->at, RANDOM_MAX, MS_SYNC) == 0 ||
		      errno == ENOMEM);
}

static void step_compare(struct model *m)
{
	static char buf[RANDOM_MAX];
	ssize_t len = pread(m->fd, buf, sizeof(buf), 0);
	u64 pos = m->size ? pick(m, m->size) : 0;

	CHECK(len == (ssize_t)m->size);
	CHECK(memcmp(buf, m->data, m->size) == 0);
	CHECK(memcmp(m->at + pos, m->data + pos, m->size - pos) == 0);
}

static void do_random(const char *name, u64 seed)
{
	static void (*const steps[])(struct model *) = {
		step_write, step_store, step_truncate, step_sync, step_compare};
	static struct model m;

	(void)printf("seed %" PRIu64 "\n", seed);
	m.rng = seed;
	m.fd = make_file(name, 0);
	m.at = map(m.fd, RANDOM_MAX, MAP_SHARED);
	for (int i = 0; i < RANDOM_STEPS; i++)
		steps[pick(&m, ARRAY_SIZE(steps))](&m);
	step_compare(&m);
	CHECK(munmap(m.at, RANDOM_MAX) == 0 && close(m.fd) == 0);
}

/* ---- one step at a time ---- */

struct obeyed {
	int fd; /* -1: closed */
	char *at;
	size_t size;
	pid_t child; /* 0: none */
};

static void read_pages(struct obeyed *o, char *words)
{
	for (char *end; *words; words = end) {
		u64 page = strtoull(words, &end, 10);

		CHECK(end > words && PAGES(page) < o->size);
		(void)*(volatile char *)(o->at + PAGES(page));
	}
}

static void write_pages(struct obeyed *o, char *words)
{
	for (char *end; *words; words = end) {
		u64 page = strtoull(words, &end, 10);

		CHECK(end > words && PAGES(page) < o->size);
		o->at[PAGES(page)]++;
	}
}

/* The kernel's copies go: first from this process, then from its cache. */
static void drop_pages(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(madvise(o->at, o->size, MADV_DONTNEED) == 0);
	CHECK(posix_fadvise(o->fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
}

static void advise_random(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(madvise(o->at, o->size, MADV_RANDOM) == 0);
}

static void lock_pages(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(mlock2(o->at, o->size, MLOCK_ONFAULT) == 0);
}

static void map_private(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(munmap(o->at, o->size) == 0);
	o->at = map(o->fd, o->size, MAP_PRIVATE);
}

static void close_file(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(close(o->fd) == 0);
	o->fd = -1;
}

static void have_child(struct obeyed *o, char *words)
{
	(void)words;
	o->child = fork();
	CHECK(o->child >= 0);
	while (!o->child)
		(void)pause();
}

static void lose_child(struct obeyed *o, char *words)
{
	(void)words;
	CHECK(kill(o->child, SIGKILL) == 0);
	CHECK(waitpid(o->child, NULL, 0) == o->child);
}

static const struct {
	const char *name;
	void (*fn)(struct obeyed *o, char *words);
} commands[] = {
	{"read", read_pages},  {"write", write_pages},
	{"drop", drop_pages},  {"random", advise_random},
	{"lock", lock_pages},  {"private", map_private},
	{"close", close_file}, {"fork", have_child},
	{"lose", lose_child},
};

static void obey(struct obeyed *o, char *line)
{
	char *word;

	line[strcspn(line, "\n")] = '\0';
	word = strsep(&line, " ");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(word, commands[i].name)) {
			commands[i].fn(o, line ? line : word + strlen(word));
			(void)puts("done");
			return;
		}
	}
	fail("%s: unknown", word);
}

static struct obeyed obeyed_open(const char *name)
{
	struct obeyed o = {.fd = open(name, O_RDWR | O_CLOEXEC)};
	struct stat st;

	CHECK(o.fd >= 0 && fstat(o.fd, &st) == 0);
	o.size = (size_t)st.st_size;
	o.at = map(o.fd, o.size, MAP_SHARED);
	return o;
}

static void obey_all(struct obeyed o)
{
	char line[4096];

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)puts("done");
	while (fgets(line, sizeof(line), stdin))
		obey(&o, line);
}

static void do_obey(const char *name, u64 seed)
{
	(void)seed;
	obey_all(obeyed_open(name));
}

/* Each page once, and no two neighbours after each other, before anything. */
static void do_sweep(const char *name, u64 seed)
{
	struct obeyed o = obeyed_open(name);
	size_t nr = o.size / PAGE_SIZE;

	(void)seed;
	CHECK(nr % 7);
	for (size_t i = 0; i < nr; i++)
		(void)*(volatile char *)(o.at + PAGES(7 * i % nr));
	obey_all(o);
}

static const struct {
	const char *what;
	void (*fn)(const char *name, u64 seed);
} table[] = {
	{"shared", do_shared},
	{"private", do_private},
	{"coherent", do_coherent},
	{"sparse", do_sparse},
	{"grow", do_grow},
	{"truncate", do_truncate},
	{"outlive", do_outlive},
	{"unlink", do_unlink},
	{"leave", do_leave},
	{"left", do_left},
	{"hold", do_hold},
	{"random", do_random},
	{"obey", do_obey},
	{"sweep", do_sweep},
	{"generation", do_generation},
	{"is-generation", do_is_generation},
};

int main(int argc, char **argv)
{
	u64 seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

	if (argc < 3)
		fail("usage: mmap_helper WHAT FILE [SEED]");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(argv[1], table[i].what)) {
			table[i].fn(argv[2], seed);
			return 0;
		}
	}
	fail("%s: unknown", argv[1]);
}

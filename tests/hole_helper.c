/* SPDX-License-Identifier: MIT */
/*
 * Holes of a file that is mapped, for the mount tests:
 *
 *	hole_helper FILE SEED
 *
 * makes FILE, 1 GiB and a hole, and does random things to pages in some areas
 * of it, through a shared mapping and otherwise. A page that was stored to and
 * that the filesystem has not been told of must never be a hole to lseek(2) or
 * to cp(1). Where lseek finds holes at all, it also finds those that nobody has
 * touched, and exactly those once nobody can write to the file any more. Ends
 * with 0, or says what was wrong and ends with 1.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

#define FILE_SIZE ((u64)1 << 30)
#define FILE_PAGES (FILE_SIZE >> PAGE_SHIFT)

/* Pages that are touched: they are far apart, and behind the last is nothing */
#define AREAS 4u
#define AREA_PAGES 512u
#define NR_TOUCHED (AREAS * AREA_PAGES)
#define UNTOUCHED (FILE_SIZE / 4 * 3)

/* What the kernel may read ahead around a page, on either side. */
#define AHEAD ((u64)4 << 20)

#define STEPS 500

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond)) {                                             \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, \
				      __LINE__, #cond, strerror(errno));   \
			exit(1);                                           \
		}                                                          \
	} while (0)

struct world {
	const char *name;
	u64 rng;
	int fd;	    /* for writing, -1: not open */
	int reader; /* always open */
	char *at;   /* a shared mapping that may be stored to, of fd */
	bool ahead; /* more than is asked for goes to the kernel */
	bool exact; /* lseek finds holes here */
	u64 *value; /* what page touched(i) begins with, 0: it is a hole */
	u64 next;   /* value */
};

static u64 pick(struct world *w, u64 below)
{
	u64 z = w->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % below;
}

/* Where the @i-th page that may be touched is. */
static u64 touched(u64 i)
{
	return (i / AREA_PAGES * (UNTOUCHED / AREAS)) +
	       ((i % AREA_PAGES) << PAGE_SHIFT);
}

static void open_writer(struct world *w)
{
	w->fd = open(w->name, O_RDWR | O_CLOEXEC);
	CHECK(w->fd >= 0);
	w->at = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd,
		     0);
	CHECK(w->at != MAP_FAILED);
	/* one page at a time, or what is read ahead with it */
	if (w->ahead)
		return;
	CHECK(!madvise(w->at, FILE_SIZE, MADV_RANDOM));
	CHECK(!posix_fadvise(w->fd, 0, 0, POSIX_FADV_RANDOM));
}

static void close_writer(struct world *w)
{
	CHECK(!munmap(w->at, FILE_SIZE) && !close(w->fd));
	w->fd = -1;
}

/* ---- steps ---- */

static void step_store(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	w->value[i] = ++w->next;
	memcpy(w->at + touched(i), &w->value[i], sizeof(u64));
}

static void step_write(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	w->value[i] = ++w->next;
	CHECK(pwrite(w->fd, &w->value[i], sizeof(u64), (off_t)touched(i)) ==
	      sizeof(u64));
}

static void step_peek(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	CHECK(!memcmp(w->at + touched(i), &w->value[i], sizeof(u64)));
}

static void step_read(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);
	u64 value;

	CHECK(pread(w->reader, &value, sizeof(value), (off_t)touched(i)) ==
	      sizeof(value));
	CHECK(value == w->value[i]);
}

static void step_punch(struct world *w)
{
	const int mode =
		pick(w, 3) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	u64 i = pick(w, NR_TOUCHED);
	u64 nr = min(1 + pick(w, 40), AREA_PAGES - i % AREA_PAGES);

	CHECK(!fallocate(w->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)touched(i),
			 (off_t)(nr << PAGE_SHIFT)));
	memset(w->value + i, 0, nr * sizeof(u64));
}

static void step_truncate(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	if (pick(w, 16))
		return;
	CHECK(!ftruncate(w->fd, (off_t)touched(i)));
	CHECK(!ftruncate(w->fd, (off_t)FILE_SIZE));
	memset(w->value + i, 0, (NR_TOUCHED - i) * sizeof(u64));
}

static void step_sync(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	if (pick(w, 2))
		CHECK(!msync(w->at + touched(i), PAGE_SIZE, MS_SYNC));
	else if (!pick(w, 8))
		CHECK(!fsync(w->fd));
}

/* The kernel's copies go, from this process and from its cache. */
static void step_drop(struct world *w)
{
	u64 i = pick(w, NR_TOUCHED);

	if (pick(w, 4))
		return;
	i -= i % AREA_PAGES;
	CHECK(!madvise(w->at + touched(i), AREA_PAGES << PAGE_SHIFT,
		       MADV_DONTNEED));
	CHECK(!posix_fadvise(w->fd, (off_t)touched(i), AREA_PAGES << PAGE_SHIFT,
			     POSIX_FADV_DONTNEED));
}

/* Pages that the kernel gets while nobody can store to them. */
static void step_reopen(struct world *w)
{
	char *at;

	if (pick(w, 3))
		return;
	close_writer(w);
	at = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, w->reader, 0);
	CHECK(at != MAP_FAILED);
	CHECK(w->ahead || !madvise(at, FILE_SIZE, MADV_RANDOM));
	for (int n = 0; n < 8; n++) {
		u64 i = pick(w, NR_TOUCHED);

		CHECK(!memcmp(at + touched(i), &w->value[i], sizeof(u64)));
		step_read(w);
	}
	CHECK(!munmap(at, FILE_SIZE));
	open_writer(w);
}

/* ---- what lseek says ---- */

static void check_page(struct world *w, u64 i)
{
	off_t pos = (off_t)touched(i);

	if (!w->value[i])
		return;
	CHECK(lseek(w->reader, pos, SEEK_DATA) == pos);
	CHECK(lseek(w->reader, pos, SEEK_HOLE) >= pos + (off_t)PAGE_SIZE);
}

static void check_all(struct world *w)
{
	for (u64 i = 0; i < NR_TOUCHED; i++)
		check_page(w, i);
}

/* Bytes of data in all; they lie near what was touched. When the kernel lets go
 * of the last writer between two calls, what was data only because it might
 * have been stored to is a hole at the second, and stays one. */
static u64 data_bytes(struct world *w)
{
	off_t pos = 0, end;
	u64 bytes = 0;

	while ((pos = lseek(w->reader, pos, SEEK_DATA)) >= 0) {
		end = lseek(w->reader, pos, SEEK_HOLE);
		CHECK(end > pos || (end == pos && w->fd < 0 &&
				    lseek(w->reader, pos, SEEK_DATA) != pos));
		bytes += (u64)(end - pos);
		pos = end;
	}
	CHECK(errno == ENXIO);
	return bytes;
}

static void check_untouched(struct world *w)
{
	if (!w->exact)
		return;
	CHECK(data_bytes(w) <=
	      AREAS * ((AREA_PAGES << PAGE_SHIFT) + 2 * AHEAD));
	CHECK(lseek(w->reader, UNTOUCHED, SEEK_DATA) == -1 && errno == ENXIO);
	CHECK(lseek(w->reader, UNTOUCHED, SEEK_HOLE) == UNTOUCHED);
}

/* The kernel lets go of what was closed soon, but later. */
static void check_exact(struct world *w)
{
	time_t until = time(NULL) + 20;
	u64 want = 0;

	for (u64 i = 0; i < NR_TOUCHED; i++)
		want += w->value[i] ? PAGE_SIZE : 0;
	while (w->exact && data_bytes(w) != want && time(NULL) < until)
		(void)usleep(10000);
	check_all(w);
	if (w->exact)
		CHECK(data_bytes(w) == want);
}

/* ---- cp ---- */

static void copy(const char *from, const char *to)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		(void)execlp("cp", "cp", "--sparse=auto", from, to,
			     (char *)NULL);
		_exit(127);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
}

static void check_copy(struct world *w)
{
	char name[4096];
	struct stat st;
	u64 value;
	int fd;

	CHECK(snprintf(name, sizeof(name), "%s.copy", w->name) <
	      (int)sizeof(name));
	copy(w->name, name);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && !fstat(fd, &st) && st.st_size == (off_t)FILE_SIZE);
	for (u64 i = 0; i < NR_TOUCHED; i++) {
		CHECK(pread(fd, &value, sizeof(value), (off_t)touched(i)) ==
		      sizeof(value));
		CHECK(value == w->value[i]);
	}
	CHECK(!close(fd) && !unlink(name));
	if (w->exact)
		CHECK((u64)st.st_blocks * 512 <=
		      AREAS * ((AREA_PAGES << PAGE_SHIFT) + 2 * AHEAD));
}

int main(int argc, char **argv)
{
	static void (*const steps[])(struct world *) = {
		step_store, step_store, step_store,    step_write,
		step_peek,  step_peek,	step_read,     step_punch,
		step_sync,  step_drop,	step_truncate, step_reopen};
	static u64 value[NR_TOUCHED];
	struct world w = {.value = value};

	CHECK(argc == 3);
	w.name = argv[1];
	w.rng = strtoull(argv[2], NULL, 10);
	(void)printf("seed %" PRIu64 "\n", w.rng);
	w.fd = open(w.name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK(w.fd >= 0 && !ftruncate(w.fd, (off_t)FILE_SIZE) && !close(w.fd));
	w.reader = open(w.name, O_RDONLY | O_CLOEXEC);
	CHECK(w.reader >= 0);
	w.ahead = pick(&w, 2);
	CHECK(w.ahead || !posix_fadvise(w.reader, 0, 0, POSIX_FADV_RANDOM));
	w.exact = lseek(w.reader, 0, SEEK_HOLE) == 0;

	open_writer(&w);
	for (int i = 0; i < STEPS; i++) {
		steps[pick(&w, ARRAY_SIZE(steps))](&w);
		for (int n = 0; n < 4; n++)
			check_page(&w, pick(&w, NR_TOUCHED));
		if (i % 100)
			continue;
		check_all(&w);
		check_untouched(&w);
	}
	check_copy(&w);
	close_writer(&w);
	check_exact(&w);
	check_copy(&w);
	CHECK(!close(w.reader));
	return 0;
}

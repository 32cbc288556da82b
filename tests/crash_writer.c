/* SPDX-License-Identifier: MIT */
/*
 * crash_writer run DIR LOG SEED [HOW]...	write until the filesystem is
 * gone crash_writer verify DIR LOG SEED [HOW]...	what was acknowledged is
 * there
 *
 * HOW: `atomic`, all files are; `late`, the kernel hands over writes when it
 * likes (cache=writeback).
 *
 * Five processes write below DIR, and append a line to LOG, which stands on
 * another filesystem, after each fsync or msync that succeeded:
 *
 *  w  files changed by write(2) and truncate(2), in a sequence of operations
 *     that follows from the seed. After a crash each must be as after the
 *     first k operations on it, k at least the number acknowledged: nothing
 *     torn, nothing out of order. One thing is the kernel's: a write that
 *     begins inside a page that it does not hold comes to a FUSE filesystem as
 *     two requests, that page's part and the rest, so the first may be there
 *     without the second.
 *  x  the same with stores through a mapping, punched holes and zeroed ranges
 *     among them, which come to the filesystem in an order of the kernel's own;
 *     as those of w do if they come late. Each byte must be as one of the
 *     operations from the last acknowledged to the next sync left it.
 *  f  the same again with more: copies within the file, allocation, stores by
 *     another process that shares the mapping, reads and read mappings, all of
 *     it out of the kernel's cache, open and mapped anew. What is read must be
 *     what was written so far; else a line B says what is wrong.
 *  m  a file changed through a shared mapping, a generation at a time. Every
 *     page must be of the acknowledged generation or a later one.
 *  n  names: a file is created, renamed, unlinked, each made durable by fsync
 *     of the file or the folder. Each must have come at least that far, and
 *     what has a name must have its whole content.
 *
 * Files that are atomic are as at their last acknowledged sync, or at the one
 * that was under way, and nothing else.
 *
 * verify writes LOG.state: how far each is, where the next run goes on; so
 * there can be any number of rounds on one volume. Exit status 0, 1 if
 * something was lost, 2 if it could not be run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_PLAIN 6  /* w */
#define NR_MIXED 9  /* and x */
#define NR_FILES 12 /* and f */
#define FILE_MAX ((size_t)512 << 10)
#define WRITE_MAX ((size_t)64 << 10)
#define MAP_PAGES 256
#define PAGE 4096
#define NAME_SIZE 10000 /* of the files whose names are tested */
#define AHEAD 100000	/* operations that may be there unacknowledged */

/* How far things are: acknowledged, or found. */
struct state {
	uint64_t file[NR_FILES]; /* operations on w<i>, x<i>, f<i> */
	uint64_t map;		 /* generation of m */
	uint64_t name;		 /* step of the n<i>; see name_step() */
};

static int logfd;
static uint64_t seed;
static bool atomic, late;

static void die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\n");
	exit(2);
}

/* splitmix64: a number that follows from where it is used */
static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x =
		seed + a * 0x9e3779b97f4a7c15ull + b * 0xd1b54a32d192ed03ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void fill(uint8_t *buf, size_t len, uint64_t x)
{
	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		buf[i] = (uint8_t)(x >> 56);
	}
}

/* One line to the log; write(2) to an O_APPEND file does not mix lines. */
static void log_line(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
static void log_line(const char *fmt, ...)
{
	char line[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(logfd, line, (size_t)n) != n)
		die("log: %s", strerror(errno));
}

/* The filesystem is gone, or it failed: the log says which, in its order. */
static void gone(const char *what)
{
	log_line("E %s %d\n", what, errno);
	exit(0);
}

/* ---- w, x and f: changes in a known order */

enum kind {
	KIND_WRITE,
	KIND_TRUNCATE,
	KIND_STORE, /* through the mapping, as far as the file reaches */
	KIND_PUNCH,
	KIND_ZERO,
	/* f only, as the following */
	KIND_ALLOCATE,
	KIND_COPY,	   /* from @from, as far as the file reaches */
	KIND_STORE_SHARED, /* by another process */
	/* these change nothing */
	KIND_READ,
	KIND_READ_MAPPED,
	KIND_FORGET, /* out of the kernel's cache */
	KIND_REOPEN,
};

struct wop {
	enum kind kind;
	size_t pos, len, from;
	uint64_t pattern;
};

struct content {
	size_t size;
	uint8_t *at; /* FILE_MAX bytes and one; zeros from size on */
};

static enum kind wop_kind(unsigned i, uint64_t r)
{
	static const enum kind mixed[] = {KIND_WRITE, KIND_STORE, KIND_STORE,
					  KIND_PUNCH, KIND_ZERO};
	static const enum kind any[] = {
		KIND_WRITE,	  KIND_WRITE,  KIND_WRITE,
		KIND_STORE,	  KIND_STORE,  KIND_STORE_SHARED,
		KIND_PUNCH,	  KIND_ZERO,   KIND_ALLOCATE,
		KIND_COPY,	  KIND_READ,   KIND_READ,
		KIND_READ_MAPPED, KIND_FORGET, KIND_REOPEN,
		KIND_READ_MAPPED};

	if (r % 16 == 0)
		return KIND_TRUNCATE;
	if (i < NR_PLAIN)
		return KIND_WRITE;
	return i < NR_MIXED ? mixed[(r >> 4) % 5] : any[(r >> 4) % 16];
}

/* The @nr-th operation on file @i. */
static struct wop wop(unsigned i, uint64_t nr)
{
	uint64_t r = mix(1 + i, nr);
	struct wop op = {
		.kind = wop_kind(i, r),
		.pos = (r >> 8) % (FILE_MAX - WRITE_MAX),
		.len = 1 + (r >> 32) % WRITE_MAX,
		.from = (r >> 16) % (FILE_MAX - WRITE_MAX),
		.pattern = r,
	};

	if (r % 3 == 0)
		op.pos = op.pos / PAGE * PAGE;
	return op;
}

static bool wop_is_synced(unsigned i, uint64_t nr)
{
	return mix(100 + i, nr) % 4 == 0;
}

/* The sync that comes after @nr operations, or with the last of them. */
static uint64_t next_sync(unsigned i, uint64_t nr)
{
	while (!wop_is_synced(i, nr))
		nr++;
	return nr;
}

static size_t stored_len(const struct wop *op, size_t size)
{
	size_t most = op->pos < size ? size - op->pos : 0;

	return op->len < most ? op->len : most;
}

/* Ranges that overlap are not copied. */
static size_t copied_len(const struct wop *op, size_t size)
{
	size_t most = op->from < size ? size - op->from : 0;

	if (op->from < op->pos + op->len && op->pos < op->from + op->len)
		return 0;
	return op->len < most ? op->len : most;
}

static void wop_model(const struct wop *op, struct content *c)
{
	size_t end = op->pos + op->len;

	switch (op->kind) {
	case KIND_TRUNCATE:
		if (op->pos < c->size)
			memset(c->at + op->pos, 0, c->size - op->pos);
		c->size = op->pos;
		return;
	case KIND_STORE:
	case KIND_STORE_SHARED:
		fill(c->at + op->pos, stored_len(op, c->size), op->pattern);
		return;
	case KIND_PUNCH:
		memset(c->at + op->pos, 0, op->len);
		return;
	case KIND_ZERO:
		memset(c->at + op->pos, 0, op->len);
		break;
	case KIND_WRITE:
		fill(c->at + op->pos, op->len, op->pattern);
		break;
	case KIND_COPY:
		end = op->pos + copied_len(op, c->size);
		if (end == op->pos)
			return;
		memcpy(c->at + op->pos, c->at + op->from, end - op->pos);
		break;
	case KIND_ALLOCATE:
		break;
	default:
		return;
	}
	if (end > c->size)
		c->size = end;
}

static void model_after(unsigned i, uint64_t nr, struct content *c)
{
	c->size = 0;
	c->at = calloc(1, FILE_MAX + 1);
	if (!c->at)
		die("no memory");
	for (uint64_t k = 1; k <= nr; k++) {
		struct wop op = wop(i, k);

		wop_model(&op, c);
	}
}

/* An open file, and what of it is needed to change it. */
struct target {
	int fd;
	size_t size;
	uint8_t *map;
	struct content model; /* f: what it has to have now */
};

static void file_name(unsigned i, char *buf, size_t size)
{
	char kind = i < NR_PLAIN ? 'w' : i < NR_MIXED ? 'x' : 'f';

	(void)snprintf(buf, size, "%c%u", kind, i);
}

static void open_target(unsigned i, struct target *t)
{
	struct stat st;
	char name[16];

	file_name(i, name, sizeof(name));
	t->fd = open(name, O_RDWR | O_CREAT, 0644);
	if (t->fd < 0 || fstat(t->fd, &st))
		gone("open");
	t->size = (size_t)st.st_size;
	t->map = mmap(NULL, FILE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
		      0);
	if (t->map == MAP_FAILED)
		gone("mmap");
}

/* By a process that has the mapping from this one. */
static bool store_shared(struct target *t, const struct wop *op,
			 const uint8_t *buf)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		memcpy(t->map + op->pos, buf, stored_len(op, t->size));
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool copy(struct target *t, const struct wop *op)
{
	off_t in = (off_t)op->from, out = (off_t)op->pos;
	size_t len = copied_len(op, t->size);

	if (!len)
		return true;
	while (len) {
		ssize_t n = copy_file_range(t->fd, &in, t->fd, &out, len, 0);

		if (n <= 0)
			return false;
		len -= (size_t)n;
	}
	if ((size_t)out > t->size)
		t->size = (size_t)out;
	return true;
}

/* What is there now? @got: of the range, as far as the file reaches. */
static void compare(const struct target *t, const struct wop *op,
		    const uint8_t *got, const char *how)
{
	size_t len = stored_len(op, t->model.size);

	for (size_t i = 0; i < len; i++) {
		if (got[i] == t->model.at[op->pos + i])
			continue;
		log_line("B %s: the byte at %zu is %02x and not %02x\n", how,
			 op->pos + i, got[i], t->model.at[op->pos + i]);
		exit(1);
	}
}

static bool read_back(struct target *t, const struct wop *op)
{
	static uint8_t buf[WRITE_MAX];
	ssize_t len = (ssize_t)stored_len(op, t->model.size);

	if (pread(t->fd, buf, op->len, (off_t)op->pos) != len)
		return false;
	compare(t, op, buf, "read");
	return true;
}

/* It is never closed, nor without a mapping, meanwhile: that would commit an
 * atomic one. */
static void reopen(struct target *t, unsigned i)
{
	struct target old = *t;

	open_target(i, t);
	if (t->size != old.size)
		log_line("B it has %zu bytes and not %zu\n", t->size, old.size);
	t->model = old.model;
	(void)munmap(old.map, FILE_MAX);
	(void)close(old.fd);
}

static bool change(unsigned i, struct target *t, const struct wop *op)
{
	static uint8_t buf[WRITE_MAX];
	off_t pos = (off_t)op->pos, len = (off_t)op->len;
	bool done = false;

	fill(buf, op->len, op->pattern);
	switch (op->kind) {
	case KIND_WRITE:
		done = pwrite(t->fd, buf, op->len, pos) == len;
		break;
	case KIND_TRUNCATE:
		done = !ftruncate(t->fd, pos);
		t->size = op->pos;
		return done;
	case KIND_STORE:
		memcpy(t->map + op->pos, buf, stored_len(op, t->size));
		return true;
	case KIND_PUNCH:
		return !fallocate(t->fd,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  pos, len);
	case KIND_ZERO:
		done = !fallocate(t->fd, FALLOC_FL_ZERO_RANGE, pos, len);
		break;
	case KIND_ALLOCATE:
		done = !fallocate(t->fd, 0, pos, len);
		break;
	case KIND_COPY:
		return copy(t, op);
	case KIND_STORE_SHARED:
		return store_shared(t, op, buf);
	case KIND_READ:
		return read_back(t, op);
	case KIND_READ_MAPPED:
		compare(t, op, t->map + op->pos, "mapped");
		return true;
	case KIND_FORGET:
		return !posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	case KIND_REOPEN:
		reopen(t, i);
		return true;
	}
	if (op->pos + op->len > t->size)
		t->size = op->pos + op->len;
	return done;
}

static bool make_durable(const struct target *t, uint64_t nr)
{
	if (nr % 3 == 0)
		return !fsync(t->fd);
	if (nr % 3 == 1 || !t->size)
		return !fdatasync(t->fd);
	return !msync(t->map, t->size, MS_SYNC);
}

static void run_files(struct state *st, unsigned first, unsigned nr_files)
{
	struct target t[NR_FILES];

	for (unsigned i = first; i < first + nr_files; i++) {
		open_target(i, &t[i]);
		if (i >= NR_MIXED)
			model_after(i, st->file[i], &t[i].model);
	}
	for (uint64_t turn = 0;; turn++) {
		unsigned i = first + (unsigned)(mix(50, turn) % nr_files);
		uint64_t nr = ++st->file[i];
		struct wop op = wop(i, nr);

		if (!change(i, &t[i], &op))
			gone("write");
		if (i >= NR_MIXED)
			wop_model(&op, &t[i].model);
		if (!wop_is_synced(i, nr))
			continue;
		if (!make_durable(&t[i], nr))
			gone("fsync");
		log_line("w %u %llu\n", i, (unsigned long long)nr);
	}
}

static void run_plain(struct state *st)
{
	run_files(st, 0, NR_PLAIN);
}

static void run_mixed(struct state *st)
{
	run_files(st, NR_PLAIN, NR_MIXED - NR_PLAIN);
}

static void run_any(struct state *st)
{
	run_files(st, NR_MIXED, NR_FILES - NR_MIXED);
}

/* The part of @op up to the end of the page where it begins; see above. */
static bool wop_first_part(struct wop *op)
{
	size_t part = PAGE - op->pos % PAGE;

	if (op->kind != KIND_WRITE || part == PAGE || part >= op->len)
		return false;
	op->len = part;
	return true;
}

static bool is_same(const struct content *a, const struct content *b)
{
	return a->size == b->size && !memcmp(a->at, b->at, a->size);
}

static bool is_model(const struct wop *op, struct content *want,
		     const struct content *got)
{
	if (op)
		wop_model(op, want);
	return is_same(want, got);
}

/* After any number of operations from @acked on. */
static bool is_in_order(unsigned i, uint64_t acked, struct content *want,
			const struct content *got, uint64_t *ret_nr)
{
	if (is_same(want, got))
		return true;
	for (uint64_t nr = acked; nr < acked + AHEAD; nr++) {
		struct wop op = wop(i, nr + 1), part = op;

		*ret_nr = nr;
		if (wop_first_part(&part) && is_model(&part, want, got))
			return true;
		*ret_nr = nr + 1;
		if (is_model(&op, want, got))
			return true;
	}
	return false;
}

/* At the last sync, or the next. */
static bool is_at_sync(unsigned i, uint64_t acked, struct content *want,
		       const struct content *got, uint64_t *ret_nr)
{
	if (is_same(want, got))
		return true;
	*ret_nr = next_sync(i, acked + 1);
	for (uint64_t nr = acked + 1; nr <= *ret_nr; nr++) {
		struct wop op = wop(i, nr);

		wop_model(&op, want);
	}
	return is_same(want, got);
}

static void note_same(const struct content *want, const struct content *got,
		      bool *good)
{
	for (size_t pos = 0; pos < got->size; pos++)
		good[pos] = good[pos] || want->at[pos] == got->at[pos];
}

/* Each byte as after some of the operations up to the next sync; what is not
 * there yet when the file becomes longer reads as zeros. */
static bool is_a_mixture(unsigned i, uint64_t acked, struct content *want,
			 const struct content *got)
{
	size_t least = want->size, most = want->size, pos = 0;
	bool *good = calloc(FILE_MAX + 1, sizeof(*good));

	if (!good)
		die("no memory");
	note_same(want, got, good);
	for (uint64_t nr = acked + 1; nr <= next_sync(i, acked + 1); nr++) {
		struct wop op = wop(i, nr);

		wop_model(&op, want);
		note_same(want, got, good);
		least = want->size < least ? want->size : least;
		most = want->size > most ? want->size : most;
	}
	while (pos < got->size &&
	       (good[pos] || (pos >= least && !got->at[pos])))
		pos++;
	free(good);
	if (pos == got->size && pos >= least && pos <= most)
		return true;
	printf("the byte at %zu is not what was there (%zu to %zu bytes)\n",
	       pos, least, most);
	return false;
}

static bool read_content(const char *name, struct content *c)
{
	int fd = open(name, O_RDONLY);
	ssize_t n = 0;

	c->size = 0;
	c->at = calloc(1, FILE_MAX + 1);
	if (!c->at || (fd < 0 && errno != ENOENT))
		die("%s: %s", name, strerror(errno));
	if (fd < 0)
		return false;
	n = read(fd, c->at, FILE_MAX + 1);
	if (n < 0)
		die("%s: %s", name, strerror(errno));
	(void)close(fd);
	c->size = (size_t)n;
	return true;
}

/* A mixture is after no number of operations: make it that of @nr. */
static void settle(unsigned i, const char *name, uint64_t nr)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	struct content c;

	model_after(i, nr, &c);
	if (fd < 0 || write(fd, c.at, c.size) != (ssize_t)c.size || fsync(fd) ||
	    close(fd))
		die("%s: %s", name, strerror(errno));
	free(c.at);
}

/* How far file @i is: the number of operations that it is after. */
static bool verify_file(unsigned i, uint64_t acked, uint64_t *ret_nr)
{
	bool mixture = !atomic && (late || i >= NR_PLAIN);
	struct content want, got;
	char name[16];
	bool good, there;

	file_name(i, name, sizeof(name));
	there = read_content(name, &got);
	model_after(i, acked, &want);
	*ret_nr = acked;
	if (!there && acked)
		good = false;
	else if (mixture)
		good = is_a_mixture(i, acked, &want, &got);
	else if (atomic)
		good = is_at_sync(i, acked, &want, &got, ret_nr);
	else
		good = is_in_order(i, acked, &want, &got, ret_nr);
	if (!good)
		printf("%s: %zu bytes are what no %llu or more operations "
		       "leave\n",
		       name, got.size, (unsigned long long)acked);
	else if (mixture)
		settle(i, name, acked);
	free(want.at);
	free(got.at);
	return good;
}

/* ---- m: generations through a mapping */

static void run_map(struct state *st)
{
	int fd = open("m", O_RDWR | O_CREAT, 0644);
	uint64_t *map;

	if (fd < 0 || ftruncate(fd, MAP_PAGES * PAGE))
		gone("open");
	map = mmap(NULL, MAP_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, 0);
	if (map == MAP_FAILED)
		gone("mmap");
	for (;;) {
		uint64_t gen = ++st->map;

		for (size_t i = 0; i < MAP_PAGES * PAGE / sizeof(*map); i++)
			map[i] = gen;
		if (msync(map, MAP_PAGES * PAGE, MS_SYNC))
			gone("msync");
		log_line("m %llu\n", (unsigned long long)gen);
	}
}

static bool verify_map(uint64_t acked, uint64_t *ret_gen)
{
	static uint64_t got[MAP_PAGES * PAGE / sizeof(uint64_t)];
	int fd = open("m", O_RDONLY);
	uint64_t most = acked;
	ssize_t n;

	*ret_gen = acked;
	if (fd < 0 && errno == ENOENT && !acked)
		return true;
	n = fd < 0 ? -1 : read(fd, got, sizeof(got));
	if (n < 0)
		die("m: %s", strerror(errno));
	(void)close(fd);
	if ((acked || (atomic && n)) && n != sizeof(got)) {
		printf("m: has only %zd bytes\n", n);
		return false;
	}
	for (size_t i = 0; i < (size_t)n / sizeof(got[0]); i++) {
		if (got[i] < acked) {
			printf("m: generation %llu at %zu, %llu was synced\n",
			       (unsigned long long)got[i], i * sizeof(got[0]),
			       (unsigned long long)acked);
			return false;
		}
		if (atomic && (got[i] != got[0] || got[i] > acked + 1)) {
			printf("m: generation %llu at %zu, and %llu at its "
			       "beginning\n",
			       (unsigned long long)got[i], i * sizeof(got[0]),
			       (unsigned long long)got[0]);
			return false;
		}
		if (got[i] > most)
			most = got[i];
	}
	*ret_gen = most;
	return true;
}

/* ---- n: names */

/*
 * Each three steps are one file: created with its content and fsynced; renamed
 * and the folder fsynced; unlinked and the folder fsynced (every other one).
 */
static void name_of(uint64_t nr, bool renamed, char *buf, size_t size)
{
	(void)snprintf(buf, size, "n/%s%llu", renamed ? "renamed" : "new",
		       (unsigned long long)nr);
}

static bool name_kept(uint64_t nr)
{
	return nr % 16 == 0;
}

static void create_name(uint64_t nr)
{
	static uint8_t buf[NAME_SIZE];
	char path[64];
	int fd;

	name_of(nr, false, path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		gone("create");
	fill(buf, sizeof(buf), mix(7, nr));
	if (write(fd, buf, sizeof(buf)) != sizeof(buf) || fsync(fd))
		gone("write");
	(void)close(fd);
}

/* Step @step of all: what it does, made durable. Doing it twice is harmless. */
static void name_step(int dir, uint64_t step)
{
	uint64_t nr = step / 3;
	char from[64], to[64];

	name_of(nr, false, from, sizeof(from));
	name_of(nr, true, to, sizeof(to));
	switch (step % 3) {
	case 0:
		create_name(nr);
		return;
	case 1:
		if (rename(from, to) && errno != ENOENT)
			gone("rename");
		break;
	case 2:
		if (!name_kept(nr) && unlink(to) && errno != ENOENT)
			gone("unlink");
		break;
	}
	if (fsync(dir))
		gone("fsyncdir");
}

static void run_names(struct state *st)
{
	int dir;

	if (mkdir("n", 0755) && errno != EEXIST)
		gone("mkdir");
	dir = open("n", O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		gone("opendir");
	for (;; st->name++) {
		name_step(dir, st->name);
		log_line("n %llu\n", (unsigned long long)st->name + 1);
	}
}

/* 1: there and whole, 0: not there, -1: wrong */
static int name_there(uint64_t nr, bool renamed)
{
	static uint8_t got[NAME_SIZE + 1], want[NAME_SIZE];
	char path[64];
	ssize_t n;
	int fd;

	name_of(nr, renamed, path, sizeof(path));
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		die("%s: %s", path, strerror(errno));
	}
	n = read(fd, got, sizeof(got));
	(void)close(fd);
	fill(want, sizeof(want), mix(7, nr));
	if (n == sizeof(want) && !memcmp(got, want, sizeof(want)))
		return 1;
	printf("%s: has a wrong content of %zd bytes\n", path, n);
	return -1;
}

static bool name_lost(uint64_t nr, const char *what)
{
	printf("name %llu: %s\n", (unsigned long long)nr, what);
	return false;
}

/* File @nr, of which @steps of its three steps were acknowledged. */
static bool verify_name(uint64_t nr, unsigned steps)
{
	int fresh = name_there(nr, false);
	int renamed = name_there(nr, true);

	if (fresh < 0 || renamed < 0)
		return false;
	if (fresh && renamed)
		return name_lost(nr, "has both its names");
	if (steps == 1 && !fresh && !renamed)
		return name_lost(nr, "was synced and is not there");
	if (steps >= 2 && fresh)
		return name_lost(nr, "its rename was synced and is undone");
	if (steps == 2 && !renamed && name_kept(nr))
		return name_lost(nr, "its rename was synced and it is gone");
	if (steps == 3 && !renamed && name_kept(nr))
		return name_lost(nr, "was to be kept and is gone");
	if (steps == 3 && renamed && !name_kept(nr))
		return name_lost(nr, "its unlink was synced and is undone");
	return true;
}

/* Of the one in progress, the step that was not acknowledged may be there in
 * part: the file may be empty still. It is written anew by the next run. */
static bool verify_names(uint64_t acked)
{
	bool good = true;

	for (uint64_t nr = 0; nr < acked / 3; nr++)
		good &= verify_name(nr, 3);
	if (acked % 3)
		good &= verify_name(acked / 3, acked % 3);
	return good;
}

/* ---- the log */

static void raise_to(uint64_t *v, uint64_t n)
{
	if (n > *v)
		*v = n;
}

static void read_log(const char *path, struct state *st)
{
	FILE *f = fopen(path, "r");
	unsigned long long a, b;
	char line[128];

	if (!f) {
		if (errno == ENOENT)
			return;
		die("%s: %s", path, strerror(errno));
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "w %llu %llu", &a, &b) == 2 && a < NR_FILES)
			raise_to(&st->file[a], b);
		else if (sscanf(line, "m %llu", &a) == 1)
			raise_to(&st->map, a);
		else if (sscanf(line, "n %llu", &a) == 1)
			raise_to(&st->name, a);
	}
	(void)fclose(f);
}

static void write_state(const char *path, const struct state *st)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die("%s: %s", path, strerror(errno));
	for (unsigned i = 0; i < NR_FILES; i++)
		(void)fprintf(f, "w %u %llu\n", i,
			      (unsigned long long)st->file[i]);
	(void)fprintf(f, "m %llu\nn %llu\n", (unsigned long long)st->map,
		      (unsigned long long)st->name);
	if (fclose(f))
		die("%s: %s", path, strerror(errno));
}

static int run(const char *log, struct state *st)
{
	void (*const writers[])(struct state *) = {
		run_plain, run_mixed, run_any, run_map, run_names,
	};

	logfd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (logfd < 0)
		die("%s: %s", log, strerror(errno));
	for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			writers[i](st);
	}
	/* SIGBUS is how a mapping says that the filesystem is gone. */
	for (;;) {
		int status;

		if (wait(&status) > 0) {
			if (WIFSIGNALED(status))
				log_line("E signal %d\n", WTERMSIG(status));
		} else if (errno != EINTR) {
			return 0;
		}
	}
}

static int verify(struct state *st)
{
	struct state acked = *st;
	bool good = verify_names(st->name);

	good &= verify_map(acked.map, &st->map);
	for (unsigned i = 0; i < NR_FILES; i++)
		good &= verify_file(i, acked.file[i], &st->file[i]);
	return !good;
}

int main(int argc, char **argv)
{
	struct state st = {.map = 0};
	char state_path[4096];
	int ret;

	if (argc < 5)
		die("usage: crash_writer run|verify DIR LOG SEED [atomic] "
		    "[late]");
	for (int i = 5; i < argc; i++) {
		atomic |= !strcmp(argv[i], "atomic");
		late |= !strcmp(argv[i], "late");
	}
	seed = strtoull(argv[4], NULL, 0);
	(void)snprintf(state_path, sizeof(state_path), "%s.state", argv[3]);
	if (chdir(argv[2]))
		die("%s: %s", argv[2], strerror(errno));

	read_log(state_path, &st);
	if (!strcmp(argv[1], "run"))
		return run(argv[3], &st);
	read_log(argv[3], &st);
	ret = verify(&st);
	if (!ret)
		write_state(state_path, &st);
	return ret;
}

/* SPDX-License-Identifier: MIT */
/*
 * fsx_helper FILE STEPS MAXLEN [SEED]
 *
 * Random operations on one file against a byte array as model: read, write,
 * append, read and write through shared mappings, truncate, punch, zero,
 * allocate, copy within the file, look for holes, fsync, msync, reopen. Every
 * read is compared with the model; at the end the whole file is, before and
 * after a reopen, and FILE.model holds what the file must be, for whoever
 * wants to compare it again after a remount.
 *
 * The seed is printed; FOLIO_SEED or the argument repeats a run. Exit status
 * 0, or 1 with the last operations on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NR_LOG 64
#define PAGE ((size_t)4096)

static struct {
	const char *path;
	int fd;
	size_t max;    /* the file never grows past this */
	size_t size;   /* what the file's size must be */
	uint8_t *data; /* what it must contain; zeros behind the size */
	uint8_t *buf;
	uint64_t rng;
	unsigned long step;
	char log[NR_LOG][120]; /* the last operations */
} t;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
	char *line = t.log[t.step % NR_LOG];
	int n = snprintf(line, sizeof(t.log[0]), "%lu: ", t.step);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line + n, sizeof(t.log[0]) - (size_t)n, fmt, ap);
	va_end(ap);
}

static void die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	unsigned long first = t.step >= NR_LOG ? t.step - NR_LOG + 1 : 0;
	va_list ap;

	for (unsigned long i = first; i <= t.step; i++)
		(void)fprintf(stderr, "%s\n", t.log[i % NR_LOG]);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\n");
	exit(1);
}

/* xorshift64* */
static uint64_t rnd(uint64_t below)
{
	t.rng ^= t.rng >> 12;
	t.rng ^= t.rng << 25;
	t.rng ^= t.rng >> 27;
	return below ? t.rng * 2685821657736338717ull % below : 0;
}

/* Sizes of all magnitudes: half of them small, some page-aligned. */
static size_t rnd_len(size_t max)
{
	size_t len = 1 + rnd(rnd(2) ? 3 * PAGE : max / 4);

	if (!rnd(4))
		len = (len + PAGE - 1) / PAGE * PAGE;
	return len > max ? max : len;
}

static size_t rnd_pos(size_t below)
{
	size_t pos = rnd(below);

	return rnd(4) ? pos : pos / PAGE * PAGE;
}

static void fill(uint8_t *buf, size_t len)
{
	uint64_t x = rnd(UINT64_MAX);

	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		buf[i] = (uint8_t)(x >> 56);
	}
}

static void compare(const uint8_t *got, size_t pos, size_t len)
{
	if (!memcmp(got, t.data + pos, len))
		return;
	for (size_t i = 0; i < len; i++)
		if (got[i] != t.data[pos + i])
			die("byte %zu: got %02x, wanted %02x (range %zu+%zu)",
			    pos + i, got[i], t.data[pos + i], pos, len);
}

static void check_size(void)
{
	struct stat st;

	if (fstat(t.fd, &st))
		die("fstat: %s", strerror(errno));
	if ((size_t)st.st_size != t.size)
		die("size: got %zu, wanted %zu", (size_t)st.st_size, t.size);
}

static void set_size(size_t size)
{
	if (size < t.size)
		memset(t.data + size, 0, t.size - size);
	t.size = size;
}

static void do_read(void)
{
	size_t pos = rnd_pos(t.max);
	size_t len = rnd_len(t.max - pos);
	size_t want = pos >= t.size ? 0 : t.size - pos;
	ssize_t n;

	note("read %zu+%zu", pos, len);
	n = pread(t.fd, t.buf, len, (off_t)pos);
	if (n < 0)
		die("pread: %s", strerror(errno));
	if ((size_t)n != (want < len ? want : len))
		die("read %zd bytes, the size is %zu", n, t.size);
	compare(t.buf, pos, (size_t)n);
}

static void do_write(void)
{
	size_t pos = rnd(8) ? rnd_pos(t.max) : t.size;
	size_t len;
	ssize_t n;

	if (pos >= t.max)
		pos = t.max - 1;
	len = rnd_len(t.max - pos);
	note("write %zu+%zu", pos, len);
	fill(t.buf, len);
	n = pwrite(t.fd, t.buf, len, (off_t)pos);
	if (n != (ssize_t)len)
		die("pwrite: %zd: %s", n, strerror(errno));
	memcpy(t.data + pos, t.buf, len);
	if (pos + len > t.size)
		t.size = pos + len;
}

static void do_map(bool store)
{
	size_t pos, len, start, skip;
	uint8_t *p;

	if (!t.size)
		return;
	pos = rnd_pos(t.size);
	len = rnd_len(t.size - pos);
	start = pos / PAGE * PAGE;
	skip = pos - start;
	note("map%s %zu+%zu", store ? "write" : "read", pos, len);

	p = mmap(NULL, skip + len, PROT_READ | (store ? PROT_WRITE : 0),
		 MAP_SHARED, t.fd, (off_t)start);
	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	if (store) {
		fill(t.buf, len);
		memcpy(p + skip, t.buf, len);
		memcpy(t.data + pos, t.buf, len);
		if (!rnd(4) && msync(p, skip + len, MS_SYNC))
			die("msync: %s", strerror(errno));
	} else {
		compare(p + skip, pos, len);
	}
	if (munmap(p, skip + len))
		die("munmap: %s", strerror(errno));
}

static void do_mapread(void)
{
	do_map(false);
}

static void do_mapwrite(void)
{
	do_map(true);
}

static void do_truncate(void)
{
	size_t size = rnd(3) ? rnd_pos(t.max) : rnd_pos(t.size + 1);

	note("truncate %zu -> %zu", t.size, size);
	if (ftruncate(t.fd, (off_t)size))
		die("ftruncate: %s", strerror(errno));
	set_size(size);
}

/* Filesystems may lack a kind of fallocate: then it is no longer tried. */
static bool do_fallocate(int mode, size_t pos, size_t len, bool *missing)
{
	if (*missing)
		return false;
	if (!fallocate(t.fd, mode, (off_t)pos, (off_t)len))
		return true;
	if (errno != EOPNOTSUPP)
		die("fallocate: %s", strerror(errno));
	*missing = true;
	return false;
}

static void zero_model(size_t pos, size_t len)
{
	if (pos < t.size)
		memset(t.data + pos, 0,
		       len < t.size - pos ? len : t.size - pos);
}

static void do_punch(void)
{
	static bool missing;
	size_t pos = rnd_pos(t.max);
	size_t len = rnd_len(t.max - pos);

	note("punch %zu+%zu", pos, len);
	if (do_fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len,
			 &missing))
		zero_model(pos, len);
}

static void do_zero(void)
{
	static bool missing;
	size_t pos = rnd_pos(t.max);
	size_t len = rnd_len(t.max - pos);

	note("zero %zu+%zu", pos, len);
	if (!do_fallocate(FALLOC_FL_ZERO_RANGE, pos, len, &missing))
		return;
	zero_model(pos, len);
	if (pos + len > t.size)
		t.size = pos + len;
}

static void do_allocate(void)
{
	static bool missing;
	size_t pos = rnd_pos(t.max);
	size_t len = rnd_len(t.max - pos);
	bool keep = rnd(2);

	note("allocate %zu+%zu%s", pos, len, keep ? ", keep size" : "");
	if (!do_fallocate(keep ? FALLOC_FL_KEEP_SIZE : 0, pos, len, &missing))
		return;
	if (!keep && pos + len > t.size)
		t.size = pos + len;
}

static void do_copy(void)
{
	size_t from = rnd_pos(t.size + 1);
	size_t to = rnd_pos(t.max);
	size_t len = rnd_len(t.max - (from > to ? from : to));
	off_t in = (off_t)from, out = (off_t)to;
	ssize_t n;

	if (from + len > t.size)
		len = t.size - from;
	/* Overlapping ranges are EINVAL. */
	if (!len || (from < to + len && to < from + len))
		return;
	note("copy %zu -> %zu +%zu", from, to, len);
	n = copy_file_range(t.fd, &in, t.fd, &out, len, 0);
	if (n < 0)
		die("copy_file_range: %s", strerror(errno));
	memcpy(t.data + to, t.data + from, (size_t)n);
	if (n && to + (size_t)n > t.size)
		t.size = to + (size_t)n;
}

/* What SEEK_HOLE and SEEK_DATA call a hole must read as zeros. */
static void do_seek(void)
{
	size_t pos = rnd_pos(t.max), end;
	off_t data;

	note("seek %zu", pos);
	data = lseek(t.fd, (off_t)pos, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		die("SEEK_DATA: %s", strerror(errno));
	if (data >= 0 && (size_t)data >= t.size)
		die("data at %zu, behind the end %zu", (size_t)data, t.size);
	end = data < 0 ? t.size : (size_t)data;
	for (size_t i = pos; i < end; i++)
		if (t.data[i])
			die("SEEK_DATA from %zu skipped data at %zu", pos, i);
}

static void do_fsync(void)
{
	bool data = rnd(2);

	note(data ? "fdatasync" : "fsync");
	if (data ? fdatasync(t.fd) : fsync(t.fd))
		die("fsync: %s", strerror(errno));
}

static void do_reopen(void)
{
	note("reopen");
	if (close(t.fd))
		die("close: %s", strerror(errno));
	t.fd = open(t.path, O_RDWR);
	if (t.fd < 0)
		die("open: %s", strerror(errno));
}

/* Out of the kernel's cache, so that the next read asks the filesystem. */
static void do_forget(void)
{
	note("fadvise");
	if (posix_fadvise(t.fd, 0, 0, POSIX_FADV_DONTNEED))
		die("posix_fadvise failed");
}

static const struct {
	void (*fn)(void);
	unsigned weight;
} ops[] = {
	{do_read, 20},	  {do_write, 20}, {do_mapread, 10}, {do_mapwrite, 15},
	{do_truncate, 6}, {do_punch, 6},  {do_zero, 3},	    {do_allocate, 3},
	{do_copy, 4},	  {do_seek, 3},	  {do_fsync, 3},    {do_reopen, 2},
	{do_forget, 3},
};

static void step(void)
{
	unsigned sum = 0, pick;
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		sum += ops[i].weight;
	pick = (unsigned)rnd(sum);
	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	ops[i].fn();
	check_size();
}

static void check_all(void)
{
	note("whole file");
	for (size_t pos = 0; pos < t.size;) {
		ssize_t n = pread(t.fd, t.buf, t.size - pos, (off_t)pos);

		if (n <= 0)
			die("pread: %zd: %s", n, strerror(errno));
		compare(t.buf, pos, (size_t)n);
		pos += (size_t)n;
	}
	check_size();
}

static void save_model(void)
{
	char path[4096];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s.model", t.path);
	if (getenv("FSX_MODEL"))
		(void)snprintf(path, sizeof(path), "%s", getenv("FSX_MODEL"));
	f = fopen(path, "w");
	if (!f || fwrite(t.data, 1, t.size, f) != t.size || fclose(f))
		die("writing %s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
	const char *seed = argc > 4 ? argv[4] : getenv("FOLIO_SEED");
	unsigned long steps;

	if (argc < 4) {
		(void)fprintf(stderr,
			      "usage: fsx_helper FILE STEPS MAXLEN [SEED]\n");
		return 2;
	}
	t.path = argv[1];
	steps = strtoul(argv[2], NULL, 0);
	t.max = strtoul(argv[3], NULL, 0);
	t.rng = seed ? strtoull(seed, NULL, 0)
		     : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
	if (!t.rng)
		t.rng = 1;
	printf("seed %llu\n", (unsigned long long)t.rng);
	(void)fflush(stdout);

	t.data = calloc(1, t.max);
	t.buf = malloc(t.max);
	t.fd = open(t.path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (!t.data || !t.buf || t.fd < 0)
		die("%s: %s", t.path, strerror(errno));

	for (t.step = 1; t.step <= steps; t.step++)
		step();
	check_all();
	do_reopen();
	check_all();
	save_model();
	return 0;
}

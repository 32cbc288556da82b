/* SPDX-License-Identifier: MIT */
/*
 * bench MEASURE DIR MIB FILES: one measurement in DIR; prints one number, more
 * is better. See tests/bench.sh, which takes them in turns on several
 * filesystems. The measures build on one another, in the order of the table
 * at the end; MIB is the size of the big file, FILES how many small ones.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define KIB4 ((size_t)4096)
#define RESIDENT_MIB 64 /* the file of the random measures */
#define FILES_A_DIR 500

static size_t nr_mib, nr_files;
static uint8_t *buf; /* MIB bytes */

static void die(const char *what)
{
	(void)fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static int open_or_die(const char *name, int flags)
{
	int fd = open(name, flags, 0644);

	if (fd < 0)
		die(name);
	return fd;
}

/* Bytes that no layer can compress or share. */
static void fill(void)
{
	for (size_t i = 0; i < MIB / sizeof(uint64_t); i++)
		((uint64_t *)(void *)buf)[i] = rnd();
}

static void write_mib(int fd, size_t mib)
{
	for (size_t i = 0; i < mib; i++) {
		((uint64_t *)(void *)buf)[i % KIB4] = rnd();
		if (write(fd, buf, MIB) != (ssize_t)MIB)
			die("write");
	}
}

/* ---- the big file */

static double seq_write(void)
{
	int fd = open_or_die("big", O_WRONLY | O_CREAT | O_TRUNC);
	double t = now();

	write_mib(fd, nr_mib);
	if (fsync(fd))
		die("fsync");
	t = now() - t;
	(void)close(fd);
	return (double)nr_mib / t;
}

static double seq_read(void)
{
	int fd = open_or_die("big", O_RDONLY);
	double t = now();

	for (size_t i = 0; i < nr_mib; i++)
		if (read(fd, buf, MIB) != (ssize_t)MIB)
			die("read");
	t = now() - t;
	(void)close(fd);
	return (double)nr_mib / t;
}

/* Read before, without the kernel's copy: what the daemon has of it. */
static double seq_read_warm(void)
{
	int fd = open_or_die("big", O_RDONLY);

	(void)seq_read();
	if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die("posix_fadvise");
	(void)close(fd);
	return seq_read();
}

static double seq_read_hot(void)
{
	(void)seq_read();
	return seq_read();
}

static double remove_big(void)
{
	if (unlink("big"))
		die("unlink");
	return 0;
}

/* ---- many small files */

static void file_name(size_t i, char *name, size_t size)
{
	(void)snprintf(name, size, "d%zu/file%zu", i / FILES_A_DIR, i);
}

static double create(void)
{
	char name[64];
	double t;

	for (size_t i = 0; i * FILES_A_DIR < nr_files; i++) {
		(void)snprintf(name, sizeof(name), "d%zu", i);
		if (mkdir(name, 0755))
			die(name);
	}
	t = now();
	for (size_t i = 0; i < nr_files; i++) {
		int fd;

		file_name(i, name, sizeof(name));
		fd = open_or_die(name, O_WRONLY | O_CREAT | O_EXCL);
		if (write(fd, buf, KIB4) != (ssize_t)KIB4)
			die(name);
		(void)close(fd);
	}
	return (double)nr_files / (now() - t);
}

static double stats(void)
{
	char name[64];
	struct stat st;
	double t = now();

	for (size_t i = 0; i < nr_files; i++) {
		file_name(i, name, sizeof(name));
		if (stat(name, &st) || st.st_size != (off_t)KIB4)
			die(name);
	}
	return (double)nr_files / (now() - t);
}

static double unlinks(void)
{
	char name[64];
	double t = now();

	for (size_t i = 0; i < nr_files; i++) {
		file_name(i, name, sizeof(name));
		if (unlink(name))
			die(name);
	}
	t = now() - t;
	for (size_t i = 0; i * FILES_A_DIR < nr_files; i++) {
		(void)snprintf(name, sizeof(name), "d%zu", i);
		if (rmdir(name))
			die(name);
	}
	return (double)nr_files / t;
}

/* ---- a file that stays resident */

static double prepare(void)
{
	int fd = open_or_die("resident", O_RDWR | O_CREAT | O_TRUNC);

	write_mib(fd, RESIDENT_MIB);
	if (fsync(fd))
		die("fsync");
	(void)close(fd);
	return 0;
}

static off_t random_pos(size_t len)
{
	return (off_t)(rnd() % (RESIDENT_MIB * MIB / len) * len);
}

static double overwrite_fsync(void)
{
	int fd = open_or_die("resident", O_RDWR);
	size_t n = 300;
	double t = now();

	for (size_t i = 0; i < n; i++)
		if (pwrite(fd, buf, KIB4, random_pos(KIB4)) != (ssize_t)KIB4 ||
		    fsync(fd))
			die("overwrite");
	t = now() - t;
	(void)close(fd);
	return (double)n / t;
}

/* Operations a second of @len bytes at random places. */
static double random_io(size_t len, size_t n, bool out)
{
	int fd = open_or_die("resident", O_RDWR);
	double t = now();

	for (size_t i = 0; i < n; i++) {
		off_t pos = random_pos(len);
		ssize_t got = out ? pwrite(fd, buf, len, pos)
				  : pread(fd, buf, len, pos);

		if (got != (ssize_t)len)
			die("random");
	}
	t = now() - t;
	(void)close(fd);
	return (double)n / t;
}

static double read_4k(void)
{
	return random_io(KIB4, 50000, false);
}

static double read_1m(void)
{
	return random_io(MIB, 500, false);
}

static double write_4k(void)
{
	return random_io(KIB4, 20000, true);
}

static double write_1m(void)
{
	return random_io(MIB, 200, true);
}

/* Every page once, in an order of its own, none in the kernel's cache. */
static double read_4k_warm(void)
{
	int fd = open_or_die("resident", O_RDONLY);
	size_t nr = RESIDENT_MIB * MIB / KIB4;
	double t;

	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ||
	    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
		die("posix_fadvise");
	t = now();
	for (size_t i = 0; i < nr; i++)
		if (pread(fd, buf, KIB4, (off_t)(i * 7919 % nr * KIB4)) !=
		    (ssize_t)KIB4)
			die("read");
	t = now() - t;
	(void)close(fd);
	return (double)nr / t;
}

static double remove_resident(void)
{
	if (unlink("resident"))
		die("unlink");
	return 0;
}

static const struct {
	const char *name;
	double (*fn)(void);
} measures[] = {
	{"seq-write-fsync", seq_write},
	{"seq-read-cold", seq_read},
	{"seq-read-warm", seq_read_warm},
	{"seq-read-hot", seq_read_hot},
	{"remove-big", remove_big},
	{"create-4k", create},
	{"stat", stats},
	{"unlink", unlinks},
	{"prepare", prepare},
	{"overwrite-4k-fsync", overwrite_fsync},
	{"read-4k-hot", read_4k},
	{"read-1m-hot", read_1m},
	{"write-4k-hot", write_4k},
	{"write-1m-hot", write_1m},
	{"read-4k-warm", read_4k_warm},
	{"remove-resident", remove_resident},
};

int main(int argc, char **argv)
{
	if (argc != 5) {
		(void)fprintf(stderr, "usage: bench MEASURE DIR MIB FILES\n");
		return 2;
	}
	nr_mib = strtoul(argv[3], NULL, 0);
	nr_files = strtoul(argv[4], NULL, 0);
	if (chdir(argv[2]))
		die(argv[2]);
	if (posix_memalign((void **)&buf, KIB4, MIB))
		die("memory");
	fill();
	for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
		if (strcmp(measures[i].name, argv[1]) != 0)
			continue;
		printf("%.1f\n", measures[i].fn());
		return 0;
	}
	(void)fprintf(stderr, "bench: no measure %s\n", argv[1]);
	return 2;
}

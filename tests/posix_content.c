/* SPDX-License-Identifier: MIT */
/* Checks of what is in files; see posix_check.h. */
#include "config.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_check.h"

/* ---- content ---- */

static void look_for_holes(int fd, off_t most)
{
	expect(lseek(fd, 0, SEEK_HOLE) == PAGE);
	expect(lseek(fd, PAGE, SEEK_DATA) == 1L << 40);
	expect(lseek(fd, 1L << 40, SEEK_HOLE) == (1L << 40) + PAGE);
	expect(lseek(fd, (1L << 40) + PAGE, SEEK_DATA) == (most & -PAGE));
	fails(lseek(fd, most, SEEK_DATA), ENXIO);
	expect(stat_of(fd).st_blocks == 3 * PAGE / 512);
}

static void check_sparse_files(void)
{
	const off_t most = INT64_MAX;
	int fd = make("f");
	char c;

	expect(pwrite(fd, "a", 1, 0) == 1);
	expect(pwrite(fd, "b", 1, 1L << 40) == 1);
	expect(pwrite(fd, "c", 1, most - 1) == 1);
	expect(stat_of(fd).st_size == most);
	/* with cache=writeback the kernel has what we would have to know */
	if (strcmp(posix_mode, "writeback") != 0)
		look_for_holes(fd, most);
	expect(pread(fd, &c, 1, most - 1) == 1 && c == 'c');
	expect(pread(fd, &c, 1, 1L << 50) == 1 && !c);
	/* the kernel has pages now, and this process could store to them */
	expect(lseek(fd, 0, SEEK_HOLE) >= PAGE);
	expect(lseek(fd, PAGE, SEEK_DATA) <= 1L << 40);
	expect(!fsync(fd));
	expect(stat_of(fd).st_blocks == 3 * PAGE / 512);
	expect(!ftruncate(fd, 0) && !stat_of(fd).st_blocks);
}

static long pages_of(int fd)
{
	return (long)stat_of(fd).st_blocks * 512 / PAGE;
}

/* With cache=writeback it is the kernel that has them until a sync. */
static bool knows_at_once(void)
{
	return strcmp(posix_mode, "writeback") != 0;
}

static void check_blocks(void)
{
	static const char buf[2 * PAGE] = {1};
	int fd = make("f"), small = make("small");
	char *map;

	expect(!ftruncate(fd, 256 * PAGE) && pages_of(fd) == 0);
	map = mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(map != MAP_FAILED);
	map[0] = map[16 * PAGE] = 'x';
	expect(!msync(map, 256 * PAGE, MS_SYNC) && pages_of(fd) == 2);
	expect(pwrite(fd, buf, sizeof(buf), 200 * PAGE) == sizeof(buf));
	expect(!knows_at_once() || pages_of(fd) == 4);
	expect(!fsync(fd) && pages_of(fd) == 4);
	expect(pwrite(fd, buf, sizeof(buf), 300 * PAGE) == sizeof(buf));
	expect(!knows_at_once() || pages_of(fd) == 6);
	expect(!fdatasync(fd) && pages_of(fd) == 6);
	expect(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  PAGE));
	expect(pages_of(fd) == 5);
	expect(!munmap(map, 256 * PAGE) && !close(fd));
	fd = open("f", O_RDONLY);
	expect(pages_of(fd) == 5);

	/* it may be kept in the database */
	expect(write(small, "hello", 5) == 5);
	expect(!fsync(small) && pages_of(small) == 1);
}

static void check_fallocate(void)
{
	static char buf[8 * PAGE], got[8 * PAGE];
	int fd = make("f");

	memset(buf, 'x', sizeof(buf));
	expect(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, sizeof(buf)));
	expect(!stat_of(fd).st_size);
	expect(stat_of(fd).st_blocks == (blkcnt_t)sizeof(buf) / 512);
	expect(!posix_fallocate(fd, 0, sizeof(buf)));
	expect(stat_of(fd).st_size == (off_t)sizeof(buf));
	expect(pwrite(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf));

	expect(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  PAGE + 100, 2 * PAGE));
	memset(buf + PAGE + 100, 0, 2 * PAGE);
	expect(!fallocate(fd, FALLOC_FL_ZERO_RANGE, 5 * PAGE + 7, 11));
	memset(buf + 5 * PAGE + 7, 0, 11);
	expect(pread(fd, got, sizeof(got), 0) == (ssize_t)sizeof(got));
	expect(!memcmp(buf, got, sizeof(got)));
	expect(!fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * PAGE, 2 * PAGE));
	expect(stat_of(fd).st_size == 9 * PAGE);
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), EOPNOTSUPP);
	fails(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, PAGE), EOPNOTSUPP);
}

static void check_copies(void)
{
	static char buf[3 * PAGE], got[3 * PAGE];
	int in = make("in"), out = make("out"), pipes[2];
	loff_t from = 100, to = 7;
	off_t pos = 0;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 5 / 3);
	expect(write(in, buf, sizeof(buf)) == (ssize_t)sizeof(buf));
	expect(copy_file_range(in, &from, out, &to, 2 * PAGE, 0) == 2 * PAGE);
	expect(from == 100 + 2 * PAGE && to == 7 + 2 * PAGE);
	expect(pread(out, got, 2 * PAGE, 7) == 2 * PAGE);
	expect(!memcmp(got, buf + 100, 2 * PAGE));

	expect(!ftruncate(out, 0) && !lseek(out, 0, SEEK_SET));
	expect(sendfile(out, in, &pos, sizeof(buf)) == (ssize_t)sizeof(buf));
	expect(pread(out, got, sizeof(got), 0) == (ssize_t)sizeof(got));
	expect(!memcmp(got, buf, sizeof(got)));

	expect(!pipe(pipes));
	from = 50;
	to = 9;
	expect(splice(in, &from, pipes[1], NULL, PAGE, 0) == PAGE);
	expect(splice(pipes[0], NULL, out, &to, PAGE, 0) == PAGE);
	expect(pread(out, got, PAGE, 9) == PAGE);
	expect(!memcmp(got, buf + 50, PAGE));
}

#define NR_WRITERS 4
#define NR_RECORDS 400

static void check_appends(void)
{
	char record[16];
	int counts[NR_WRITERS] = {0};
	int fd = make("f");

	for (int w = 0; w < NR_WRITERS; w++) {
		if (fork())
			continue;
		fd = open("f", O_WRONLY | O_APPEND);
		memset(record, 'A' + w, sizeof(record));
		for (int i = 0; i < NR_RECORDS; i++)
			expect(write(fd, record, sizeof(record)) ==
			       (ssize_t)sizeof(record));
		_exit(0);
	}
	for (int w = 0, status; w < NR_WRITERS; w++)
		expect(wait(&status) > 0 && !status);

	for (int i = 0; i < NR_WRITERS * NR_RECORDS; i++) {
		expect(read(fd, record, sizeof(record)) ==
		       (ssize_t)sizeof(record));
		for (size_t j = 1; j < sizeof(record); j++)
			expect(record[j] == record[0]);
		expect(record[0] >= 'A' && record[0] < 'A' + NR_WRITERS);
		counts[record[0] - 'A']++;
	}
	expect(!read(fd, record, 1));
	for (int w = 0; w < NR_WRITERS; w++)
		expect(counts[w] == NR_RECORDS);
}

static void check_open_flags(void)
{
	static const int flags[] = {O_SYNC, O_DSYNC, O_DIRECT,
				    O_DIRECT | O_SYNC};
	char *buf, *got;
	int fd;

	expect(!posix_memalign((void **)&buf, PAGE, PAGE));
	expect(!posix_memalign((void **)&got, PAGE, PAGE));
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		memset(buf, 'a' + (int)i, PAGE);
		fd = open("f", O_RDWR | O_CREAT | flags[i], 0600);
		expect(fd >= 0 && pwrite(fd, buf, PAGE, PAGE) == PAGE);
		expect(pread(fd, got, PAGE, PAGE) == PAGE);
		expect(!memcmp(buf, got, PAGE) && !close(fd));
		fd = open("f", O_RDONLY);
		expect(pread(fd, got, PAGE, PAGE) == PAGE);
		expect(!memcmp(buf, got, PAGE) && !close(fd));
	}
	free(buf);
	free(got);
}

/* Either at once and right, or not at all. */
static void check_nowait(int fd)
{
	char buf[4] = "";
	struct iovec iov = {buf, 3};
	ssize_t n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);

	if (n < 0)
		expect(errno == EAGAIN || errno == EOPNOTSUPP);
	else
		expect(n == 3 && !strcmp(buf, "abc"));
	n = pwritev2(fd, &iov, 1, 0, RWF_NOWAIT);
	expect(n == 3 || errno == EAGAIN || errno == EOPNOTSUPP);
}

static void check_vectors_with_flags(void)
{
	char a[3] = "abc", b[2] = "de", got[9] = "";
	struct iovec iov[2] = {{a, 3}, {b, 2}}, in = {got, 8};
	int fd = make("f");

	expect(pwritev2(fd, iov, 2, 0, RWF_DSYNC) == 5);
	expect(pwritev2(fd, iov, 2, 0, RWF_APPEND | RWF_SYNC) == 5);
	expect(preadv2(fd, &in, 1, 3, 0) == 7 && !strcmp(got, "deabcde"));
	/* where the file stands, which moves */
	expect(lseek(fd, 1, SEEK_SET) == 1);
	expect(preadv2(fd, &in, 1, -1, 0) == 8 && !strcmp(got, "bcdeabcd"));
	expect(lseek(fd, 0, SEEK_CUR) == 9);
	fails(preadv2(fd, &in, 1, 0, 1 << 30), EOPNOTSUPP);
	check_nowait(fd);
}

/* Has the signal come since this was asked last? It is blocked. */
static bool was_too_large(void)
{
	static const struct timespec none;
	sigset_t set;

	expect(!sigemptyset(&set) && !sigaddset(&set, SIGXFSZ));
	return sigtimedwait(&set, NULL, &none) == SIGXFSZ;
}

static void check_file_size_limit(void)
{
	struct rlimit lim = {.rlim_cur = 10, .rlim_max = 10};
	int fd = make("f");
	sigset_t set;

	expect(!sigemptyset(&set) && !sigaddset(&set, SIGXFSZ));
	expect(!sigprocmask(SIG_BLOCK, &set, NULL));
	expect(!setrlimit(RLIMIT_FSIZE, &lim));
	expect(write(fd, "0123456789abc", 13) == 10 && !was_too_large());
	fails(write(fd, "x", 1), EFBIG);
	expect(was_too_large());
	fails(ftruncate(fd, 11), EFBIG);
	expect(was_too_large());
	fails(fallocate(fd, 0, 0, 11), EFBIG);
	expect(stat_of(fd).st_size == 10);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

static void check_sigbus_past_the_end(void)
{
	int fd = make("f");
	volatile char *map;

	expect(!ftruncate(fd, PAGE));
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(map != MAP_FAILED);
	(void)signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus, 1)) {
		map[PAGE] = 'x';
		expect(!"SIGBUS");
	}
	map[PAGE - 1] = 'y';
	expect(!ftruncate(fd, 0));
	if (!sigsetjmp(bus, 1)) {
		(void)map[0];
		expect(!"SIGBUS");
	}
}

/* ---- io_uring, with nothing but the kernel's header ---- */

struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static bool ring_init(struct ring *r)
{
	const int prot = PROT_READ | PROT_WRITE;

	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return false;
	r->sq = mmap(NULL, r->p.sq_off.array + r->p.sq_entries * 4, prot,
		     MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL,
		     r->p.cq_off.cqes +
			     r->p.cq_entries * sizeof(struct io_uring_cqe),
		     prot, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof(*r->sqes), prot,
		       MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq != MAP_FAILED && r->cq != MAP_FAILED &&
	       (void *)r->sqes != MAP_FAILED;
}

/* One operation, waiting for it. */
static int ring_do(struct ring *r, int opcode, int fd, void *buf, unsigned len,
		   uint64_t pos)
{
	unsigned *tail = (void *)(r->sq + r->p.sq_off.tail);
	unsigned *array = (void *)(r->sq + r->p.sq_off.array);
	unsigned *head = (void *)(r->cq + r->p.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->p.cq_off.cqes);
	unsigned i = *tail & (r->p.sq_entries - 1);
	int res;

	r->sqes[i] = (struct io_uring_sqe){.opcode = (uint8_t)opcode,
					   .fd = fd,
					   .addr = (uintptr_t)buf,
					   .len = len,
					   .off = pos};
	array[i] = i;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	expect(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS,
		       NULL, 0) == 1);
	res = cqes[*head & (r->p.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

static void check_io_uring(void)
{
	static char buf[3 * PAGE], got[3 * PAGE];
	struct ring r;
	int fd;

	if (!ring_init(&r))
		exit(POSIX_SKIP); /* switched off here */
	memset(buf, 'u', sizeof(buf));
	fd = make("f");
	expect(ring_do(&r, IORING_OP_WRITE, fd, buf, sizeof(buf), 5) ==
	       (int)sizeof(buf));
	expect(ring_do(&r, IORING_OP_READ, fd, got, sizeof(got), 5) ==
	       (int)sizeof(got));
	expect(!memcmp(buf, got, sizeof(buf)));
	expect(ring_do(&r, IORING_OP_FSYNC, fd, NULL, 0, 0) == 0);
	/* of this one the length is in the address */
	expect(ring_do(&r, IORING_OP_FALLOCATE, fd, (void *)(8L * PAGE), 0,
		       0) == 0);
	expect(stat_of(fd).st_size == 8 * PAGE);
	expect(ring_do(&r, IORING_OP_READ, fd, got, 10, 9 * PAGE) == 0);
	expect(ring_do(&r, IORING_OP_READ, -1, got, 10, 0) == -EBADF);
}

/* ---- */

#define X(name) {#name, check_##name},

const struct posix_check content_checks[] = {
	/* clang-format off */
	X(sparse_files)
	X(blocks)
	X(fallocate)
	X(copies)
	X(appends)
	X(open_flags)
	X(vectors_with_flags)
	X(file_size_limit)
	X(sigbus_past_the_end)
	X(io_uring)
	/* clang-format on */
	{NULL, NULL},
};

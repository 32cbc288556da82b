/* SPDX-License-Identifier: MIT */
/*
 * Mapped files against a byte array, from several processes at once:
 *
 *	mmap_model DIR SECONDS PROCESSES SEED STRIPE
 *
 * The processes map, unmap, move, protect, advise, sync, load from, store to,
 * read, write, cut and punch a few files in DIR, and compare whatever they see
 * with a copy that they share. Bytes belong to the processes in stripes of
 * STRIPE bytes: an owner changes its own while the others change theirs, often
 * in the same page; what concerns more than one's own stripes is done while
 * nobody else touches that file. Stores are always below the end of file.
 *
 * In the end the copies are left in DIR.model/ for whoever wants to compare
 * once more after a remount.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define PAGE 4096u
#define NR_FILES 3
#define MAX_SIZE (4u << 20)
#define MAX_PAGES (MAX_SIZE / PAGE)
#define NR_MAPS 10
#define MAP_PAGES 300
#define CHUNK 20000 /* bytes looked at or changed at a time */

struct model {
	pthread_rwlock_t lock;
	uint32_t size;
	uint8_t bytes[MAX_SIZE];
};

struct mapping {
	struct model *file; /* NULL: none */
	uint8_t *addr;
	uint32_t pgoff, nr;
	bool writable, shared;
};

static struct {
	struct model files[NR_FILES];
	uint64_t ops;
	bool failed;
} * all;

static struct mapping maps[NR_MAPS];
static const char *dir;
static uint32_t stripe, nr_procs, me;
static uint64_t rnd_state;
static const char *doing;
static sigjmp_buf on_bus;
static volatile sig_atomic_t bus_expected;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % below;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void __attribute__((format(printf, 1, 2), noreturn))
die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "process %u, %s: ", me, doing);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	__atomic_store_n(&all->failed, true, __ATOMIC_RELAXED);
	_exit(1);
}

static void need(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

static void file_name(const struct model *f, const char *suffix, char *ret,
		      size_t len)
{
	(void)snprintf(ret, len, "%s%s/%d", dir, suffix, (int)(f - all->files));
}

static int file_open(const struct model *f, int flags)
{
	char path[4096];
	int fd;

	file_name(f, "", path, sizeof(path));
	fd = open(path, flags | O_CLOEXEC, 0644);
	need(fd >= 0, "open");
	return fd;
}

static struct model *any_file(void)
{
	return &all->files[rnd(NR_FILES)];
}

/* ---- who may change what ---- */

static void lock_shared(struct model *f)
{
	(void)pthread_rwlock_rdlock(&f->lock);
}

static void lock_alone(struct model *f)
{
	(void)pthread_rwlock_wrlock(&f->lock);
}

static void unlock(struct model *f)
{
	(void)pthread_rwlock_unlock(&f->lock);
}

static bool is_mine(uint32_t pos)
{
	return pos / stripe % nr_procs == me;
}

/* The next of my stripes at or behind *@pos, cut to [*pos, end). */
static bool next_mine(uint32_t *pos, uint32_t end, uint32_t *ret_len)
{
	while (*pos < end && !is_mine(*pos))
		*pos = (*pos / stripe + 1) * stripe;
	if (*pos >= end)
		return false;
	*ret_len = min_u32(end - *pos, stripe - *pos % stripe);
	return true;
}

static void compare(const struct model *f, uint32_t pos, const uint8_t *got,
		    uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (got[i] != f->bytes[pos + i])
			die("file %d, byte %u (page %u) of %u: %02x, not %02x",
			    (int)(f - all->files), pos + i, (pos + i) / PAGE,
			    f->size, got[i], f->bytes[pos + i]);
}

static void fill_random(uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rnd(256);
}

/* A range below the end of file, within pages [first, first + nr). */
static bool pick_range(const struct model *f, uint32_t first, uint32_t nr,
		       uint32_t *ret_pos, uint32_t *ret_end)
{
	uint32_t begin = first * PAGE;
	uint32_t end = min_u32(f->size, (first + nr) * PAGE);

	if (begin >= end)
		return false;
	*ret_pos = begin + rnd(end - begin);
	*ret_end = *ret_pos + 1 + rnd(min_u32(end - *ret_pos, CHUNK));
	return true;
}

/* ---- through mappings ---- */

static struct mapping *any_mapping(void)
{
	struct mapping *m = &maps[rnd(NR_MAPS)];

	return m->file ? m : NULL;
}

static uint8_t *mapped_at(const struct mapping *m, uint32_t pos)
{
	return m->addr + (pos - m->pgoff * PAGE);
}

static void op_map(void)
{
	struct mapping *m = &maps[rnd(NR_MAPS)];
	struct model *f = any_file();
	int fd;

	if (m->file)
		return;
	m->pgoff = rnd(MAX_PAGES - 1);
	m->nr = 1 + rnd(min_u32(MAP_PAGES, MAX_PAGES - m->pgoff));
	m->writable = rnd(4);
	m->shared = rnd(8);
	fd = file_open(f, m->writable && m->shared ? O_RDWR : O_RDONLY);
	m->addr = mmap(NULL, (size_t)m->nr * PAGE,
		       PROT_READ | (m->writable ? PROT_WRITE : 0),
		       m->shared ? MAP_SHARED : MAP_PRIVATE, fd,
		       (off_t)m->pgoff * PAGE);
	need(m->addr != MAP_FAILED, "mmap");
	(void)close(fd);
	m->file = f;
}

/* From the middle: the rest is two mappings, if there is room for both. */
static void unmap_middle(struct mapping *m)
{
	uint32_t head = 1 + rnd(m->nr - 2);
	uint32_t cut = 1 + rnd(m->nr - head - 1);
	struct mapping tail = *m;

	need(!munmap(m->addr + (size_t)head * PAGE, (size_t)cut * PAGE),
	     "munmap");
	tail.addr += (size_t)(head + cut) * PAGE;
	tail.pgoff += head + cut;
	tail.nr -= head + cut;
	m->nr = head;
	for (int i = 0; i < NR_MAPS; i++)
		if (!maps[i].file) {
			maps[i] = tail;
			return;
		}
	need(!munmap(tail.addr, (size_t)tail.nr * PAGE), "munmap");
}

static void op_unmap(void)
{
	struct mapping *m = any_mapping();
	uint32_t cut;

	if (!m)
		return;
	if (m->nr > 2 && rnd(2)) {
		unmap_middle(m);
		return;
	}
	cut = rnd(2) ? m->nr : 1 + rnd(m->nr);
	need(!munmap(m->addr, (size_t)cut * PAGE), "munmap");
	m->addr += (size_t)cut * PAGE;
	m->pgoff += cut;
	m->nr -= cut;
	if (!m->nr)
		m->file = NULL;
}

static void op_remap(void)
{
	struct mapping *m = any_mapping();
	uint32_t nr;
	uint8_t *addr;

	if (!m)
		return;
	nr = 1 + rnd(min_u32(MAP_PAGES, MAX_PAGES - m->pgoff));
	addr = mremap(m->addr, (size_t)m->nr * PAGE, (size_t)nr * PAGE,
		      MREMAP_MAYMOVE);
	/* More than one VMA by now, which older kernels do not move. */
	if (addr == MAP_FAILED && errno == EFAULT)
		return;
	need(addr != MAP_FAILED, "mremap");
	m->addr = addr;
	m->nr = nr;
}

static void op_protect(void)
{
	struct mapping *m = any_mapping();

	if (!m || !m->writable)
		return;
	/* In two parts, and back: the kernel splits and merges. */
	need(!mprotect(m->addr, PAGE * (1 + rnd(m->nr)), PROT_READ),
	     "mprotect");
	if (rnd(2))
		need(!mprotect(m->addr, (size_t)m->nr * PAGE, PROT_NONE),
		     "mprotect");
	need(!mprotect(m->addr, (size_t)m->nr * PAGE, PROT_READ | PROT_WRITE),
	     "mprotect");
}

static void op_advise(void)
{
	static const int advice[] = {
		MADV_NORMAL,   MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED,
		MADV_DONTNEED, MADV_COLD,   MADV_PAGEOUT,
	};
	struct mapping *m = any_mapping();
	uint32_t first;

	if (!m)
		return;
	first = rnd(m->nr);
	need(!madvise(m->addr + (size_t)first * PAGE,
		      (size_t)(1 + rnd(m->nr - first)) * PAGE,
		      advice[rnd(sizeof(advice) / sizeof(*advice))]),
	     "madvise");
}

static void op_msync(void)
{
	struct mapping *m = any_mapping();

	if (m)
		need(!msync(m->addr, (size_t)(1 + rnd(m->nr)) * PAGE,
			    rnd(4) ? MS_ASYNC : MS_SYNC),
		     "msync");
}

static void op_store(void)
{
	struct mapping *m = any_mapping();
	uint32_t pos, end, len;

	if (!m || !m->shared || !m->writable)
		return;
	lock_shared(m->file);
	if (pick_range(m->file, m->pgoff, m->nr, &pos, &end))
		for (; next_mine(&pos, end, &len); pos += len) {
			fill_random(m->file->bytes + pos, len);
			memcpy(mapped_at(m, pos), m->file->bytes + pos, len);
		}
	unlock(m->file);
}

static void op_load(void)
{
	struct mapping *m = any_mapping();
	uint32_t pos, end, len;

	if (!m)
		return;
	lock_shared(m->file);
	if (pick_range(m->file, m->pgoff, m->nr, &pos, &end))
		for (; next_mine(&pos, end, &len); pos += len)
			compare(m->file, pos, mapped_at(m, pos), len);
	unlock(m->file);
}

static void op_load_all(void)
{
	struct mapping *m = any_mapping();
	uint32_t pos, end;

	if (!m)
		return;
	lock_alone(m->file);
	if (pick_range(m->file, m->pgoff, m->nr, &pos, &end))
		compare(m->file, pos, mapped_at(m, pos), end - pos);
	unlock(m->file);
}

/* A private page keeps what its process stored; the file does not get it. */
static void op_private(void)
{
	struct model *f = any_file();
	uint8_t want[256], *addr;
	uint32_t page, len;
	int fd = file_open(f, O_RDONLY);

	lock_shared(f);
	if (f->size >= PAGE) {
		page = rnd(f->size / PAGE);
		len = sizeof(want);
		addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
			    (off_t)page * PAGE);
		need(addr != MAP_FAILED, "mmap");
		fill_random(want, len);
		memcpy(addr, want, len);
		if (memcmp(addr, want, len) != 0)
			die("a private page lost what was stored");
		need(!munmap(addr, PAGE), "munmap");
	}
	unlock(f);
	(void)close(fd);
}

static void bus_handler(int sig)
{
	(void)sig;
	if (!bus_expected) {
		static const char msg[] = "SIGBUS below the end of file\n";

		(void)!write(STDERR_FILENO, msg, sizeof(msg) - 1);
		_exit(1);
	}
	siglongjmp(on_bus, 1);
}

/* A page wholly behind the end of file cannot be touched. */
static void op_behind_eof(void)
{
	struct mapping *m = any_mapping();
	uint32_t first;

	if (!m)
		return;
	lock_shared(m->file);
	first = (m->file->size + PAGE - 1) / PAGE;
	if (first < m->pgoff)
		first = m->pgoff;
	if (first < m->pgoff + m->nr) {
		bus_expected = 1;
		if (!sigsetjmp(on_bus, 1)) {
			(void)*(volatile uint8_t *)mapped_at(m, first * PAGE);
			die("page %u behind %u bytes was read", first,
			    m->file->size);
		}
		bus_expected = 0;
	}
	unlock(m->file);
}

/* A child inherits the mappings, sees what all see, and is gone. */
static void op_fork(void)
{
	pid_t pid;
	int status;

	if (rnd(8))
		return;
	pid = fork();
	need(pid >= 0, "fork");
	if (!pid) {
		for (int i = 0; i < 10; i++)
			op_load();
		_exit(0);
	}
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status)
		die("its child failed");
}

/* ---- through descriptors ---- */

static void op_read(void)
{
	struct model *f = any_file();
	uint8_t buf[CHUNK];
	uint32_t pos, end, len;
	int fd = file_open(f, O_RDONLY);

	lock_shared(f);
	if (pick_range(f, 0, MAX_PAGES, &pos, &end))
		for (; next_mine(&pos, end, &len); pos += len) {
			need(pread(fd, buf, len, pos) == (ssize_t)len, "pread");
			compare(f, pos, buf, len);
		}
	unlock(f);
	(void)close(fd);
}

static void op_read_all(void)
{
	struct model *f = any_file();
	uint8_t buf[CHUNK];
	uint32_t pos, end;
	int fd = file_open(f, O_RDONLY);

	lock_alone(f);
	if (pick_range(f, 0, MAX_PAGES, &pos, &end)) {
		need(pread(fd, buf, end - pos, pos) == (ssize_t)(end - pos),
		     "pread");
		compare(f, pos, buf, end - pos);
	}
	unlock(f);
	(void)close(fd);
}

static void op_write(void)
{
	struct model *f = any_file();
	uint32_t pos, end, len;
	int fd = file_open(f, O_RDWR);

	lock_shared(f);
	if (pick_range(f, 0, MAX_PAGES, &pos, &end))
		for (; next_mine(&pos, end, &len); pos += len) {
			fill_random(f->bytes + pos, len);
			need(pwrite(fd, f->bytes + pos, len, pos) ==
				     (ssize_t)len,
			     "pwrite");
		}
	unlock(f);
	(void)close(fd);
}

/* Anywhere, behind the end of file too. */
static void op_write_all(void)
{
	struct model *f = any_file();
	uint32_t pos = rnd(MAX_SIZE);
	uint32_t len = 1 + rnd(min_u32(MAX_SIZE - pos, CHUNK));
	int fd = file_open(f, O_RDWR);

	lock_alone(f);
	fill_random(f->bytes + pos, len);
	need(pwrite(fd, f->bytes + pos, len, pos) == (ssize_t)len, "pwrite");
	if (f->size < pos + len)
		f->size = pos + len;
	unlock(f);
	(void)close(fd);
}

static void op_truncate(void)
{
	struct model *f = any_file();
	uint32_t size =
		rnd(3) ? MAX_SIZE / 2 + rnd(MAX_SIZE / 2) : rnd(MAX_SIZE);
	int fd = file_open(f, O_RDWR);

	lock_alone(f);
	need(!ftruncate(fd, size), "ftruncate");
	if (size < f->size)
		memset(f->bytes + size, 0, f->size - size);
	f->size = size;
	unlock(f);
	(void)close(fd);
}

static void op_punch(void)
{
	struct model *f = any_file();
	uint32_t pos, end;
	int fd = file_open(f, O_RDWR);

	lock_alone(f);
	if (pick_range(f, 0, MAX_PAGES, &pos, &end)) {
		need(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				pos, end - pos),
		     "fallocate");
		memset(f->bytes + pos, 0, end - pos);
	}
	unlock(f);
	(void)close(fd);
}

static void op_sync(void)
{
	struct model *f = any_file();
	int fd = file_open(f, O_RDWR);

	if (rnd(2))
		need(!(rnd(2) ? fsync(fd) : fdatasync(fd)), "fsync");
	else
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(fd);
}

/* ---- all together ---- */

static const struct {
	const char *name;
	void (*fn)(void);
	unsigned weight;
} ops[] = {
	{"map", op_map, 12},
	{"unmap", op_unmap, 5},
	{"mremap", op_remap, 5},
	{"mprotect", op_protect, 3},
	{"madvise", op_advise, 8},
	{"msync", op_msync, 3},
	{"store", op_store, 30},
	{"load", op_load, 20},
	{"load all", op_load_all, 8},
	{"private store", op_private, 3},
	{"behind the end", op_behind_eof, 3},
	{"fork", op_fork, 1},
	{"read", op_read, 10},
	{"read all", op_read_all, 5},
	{"write", op_write, 12},
	{"write all", op_write_all, 5},
	{"truncate", op_truncate, 2},
	{"punch", op_punch, 2},
	{"sync", op_sync, 2},
};
#define NR_OPS (sizeof(ops) / sizeof(*ops))

static void one_op(void)
{
	static unsigned total;
	unsigned pick;

	if (!total)
		for (size_t i = 0; i < NR_OPS; i++)
			total += ops[i].weight;
	pick = rnd(total);
	for (size_t i = 0; i < NR_OPS; i++) {
		if (pick < ops[i].weight) {
			doing = ops[i].name;
			ops[i].fn();
			__atomic_add_fetch(&all->ops, 1, __ATOMIC_RELAXED);
			return;
		}
		pick -= ops[i].weight;
	}
}

static time_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static pid_t process_start(uint32_t nr, uint64_t seed, time_t until)
{
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid)
		return pid;

	me = nr;
	rnd_state = seed * 1000 + nr;
	while (now() < until &&
	       !__atomic_load_n(&all->failed, __ATOMIC_RELAXED))
		one_op();
	_exit(0);
}

/* One that failed may have died with a lock: the others are ended too. */
static bool wait_for(pid_t *pids)
{
	bool good = true;
	int status;

	for (uint32_t left = nr_procs; left; left--) {
		pid_t pid = wait(&status);

		for (uint32_t i = 0; i < nr_procs; i++) {
			if (pids[i] == pid)
				pids[i] = 0;
			else if (status && pids[i])
				(void)kill(pids[i], SIGKILL);
		}
		if (status)
			good = false;
	}
	return good;
}

static void init_all(void)
{
	pthread_rwlockattr_t attr;

	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	(void)pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (int i = 0; i < NR_FILES; i++) {
		(void)pthread_rwlock_init(&all->files[i].lock, &attr);
		(void)close(
			file_open(&all->files[i], O_RDWR | O_CREAT | O_EXCL));
	}
}

/* What is there in the end, and a copy of what should be. */
static void finish(const struct model *f)
{
	static uint8_t buf[MAX_SIZE + 1];
	char path[4096];
	int fd = file_open(f, O_RDONLY);

	need(pread(fd, buf, sizeof(buf), 0) == (ssize_t)f->size, "size");
	compare(f, 0, buf, f->size);
	(void)close(fd);

	file_name(f, ".model", path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	need(fd >= 0 && write(fd, f->bytes, f->size) == (ssize_t)f->size,
	     "the copy");
	(void)close(fd);
}

int main(int argc, char **argv)
{
	struct sigaction bus = {.sa_handler = bus_handler};
	pid_t pids[64] = {0};
	uint64_t seed;
	time_t until;

	if (argc != 6 || strtoul(argv[3], NULL, 0) > 64)
		return 2;
	dir = argv[1];
	until = now() + (time_t)strtoul(argv[2], NULL, 0);
	nr_procs = (uint32_t)strtoul(argv[3], NULL, 0);
	seed = strtoull(argv[4], NULL, 0);
	stripe = (uint32_t)strtoul(argv[5], NULL, 0);
	doing = "beginning";
	init_all();
	(void)sigaction(SIGBUS, &bus, NULL);

	for (uint32_t i = 0; i < nr_procs; i++)
		pids[i] = process_start(i, seed, until);
	if (!wait_for(pids))
		return 1;

	doing = "in the end";
	for (int i = 0; i < NR_FILES; i++)
		finish(&all->files[i]);
	printf("%llu operations\n", (unsigned long long)all->ops);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Folders that are listed while their names change, for the mount tests:
 *
 *	list_helper FOLDER SECONDS
 *
 * Threads create, rename and remove names, others list the folder meanwhile,
 * each time anew, in large pieces or small ones. What was there before a
 * listing began and until it ended is in it, exactly once; what was gone before
 * it began and until it ended is not.
 *
 * The folder has about 128 entries, and each takes 32 bytes in the kernel's
 * cache of it: where that ends with a page, Linux may take its end for that of
 * the folder. Ends with 0, or says what was wrong and ends with 1.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

#define CHANGERS 2
#define LISTERS 4
#define NAMES 12u	 /* each changer's; half of them are there, or so */
#define STILL_NAMES 114u /* never change */
#define NR_NAMES (CHANGERS * NAMES)

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond)) {                                             \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, \
				      __LINE__, #cond, strerror(errno));   \
			exit(1);                                           \
		}                                                          \
	} while (0)

static struct {
	const char *folder;
	int fd;
	time_t until;

	/* Of each name, atomic; one more before and after every change.
	 * 4n: gone, 4n + 2: there, odd: being changed. */
	u64 state[NR_NAMES];
	u64 nr_lists, nr_changes;
} w;

static u64 load(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void step(u64 *p)
{
	(void)__atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
}

static bool is_over(void)
{
	return time(NULL) >= w.until;
}

static void name_of(u64 i, char *buf, size_t size)
{
	CHECK(snprintf(buf, size, "n%llu", (unsigned long long)i) > 0);
}

/* ---- changing ---- */

static void change(u64 i)
{
	char name[32];
	int fd;

	name_of(i, name, sizeof(name));
	step(&w.state[i]);
	if (load(&w.state[i]) % 4 == 1) {
		fd = openat(w.fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
			    0600);
		CHECK(fd >= 0 && !close(fd));
	} else {
		CHECK(!unlinkat(w.fd, name, 0));
	}
	step(&w.state[i]);
}

/* @from is there, @to is not: the other way round. */
static void rename_to(u64 from, u64 to)
{
	char old[32], new[32];

	name_of(from, old, sizeof(old));
	name_of(to, new, sizeof(new));
	step(&w.state[from]);
	step(&w.state[to]);
	CHECK(!renameat(w.fd, old, w.fd, new));
	step(&w.state[from]);
	step(&w.state[to]);
}

/* A change, and then some time in which the folder stays as it is: what is
 * kept of it wrongly is seen only until the next one. */
static void *changer(void *arg)
{
	u64 first = (u64)(uintptr_t)arg * NAMES;
	u64 rng = first + 1;

	while (!is_over()) {
		u64 i, k, lists = load(&w.nr_lists);

		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		i = first + (rng >> 33) % NAMES;
		k = first + (rng >> 40) % NAMES;
		if (load(&w.state[i]) % 4 == 2 && load(&w.state[k]) % 4 == 0)
			rename_to(i, k);
		else
			change(i);
		step(&w.nr_changes);
		while (load(&w.nr_lists) < lists + (rng >> 50) % 12 &&
		       !is_over())
			(void)sched_yield();
	}
	return NULL;
}

/* ---- listing ---- */

struct list {
	u64 before[NR_NAMES];
	u32 seen[NR_NAMES];
	u32 still[STILL_NAMES];
};

static void note(struct list *l, const char *name)
{
	unsigned long long i;
	char end;

	if (sscanf(name, "n%llu%c", &i, &end) == 1 && i < NR_NAMES)
		l->seen[i]++;
	else if (sscanf(name, "s%llu%c", &i, &end) == 1 && i < STILL_NAMES)
		l->still[i]++;
	else
		CHECK(!strcmp(name, ".") || !strcmp(name, ".."));
}

static void check_list(const struct list *l)
{
	for (u64 i = 0; i < NR_NAMES; i++) {
		u64 before = l->before[i];
		u32 want = before % 4 == 2;

		if (before % 2 || load(&w.state[i]) != before ||
		    l->seen[i] == want)
			continue;
		(void)fprintf(stderr, "n%llu is there %u times, not %u\n",
			      (unsigned long long)i, l->seen[i], want);
		exit(1);
	}
	for (u64 i = 0; i < STILL_NAMES; i++)
		CHECK(l->still[i] == 1);
}

struct linux_dirent64 {
	u64 ino, off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static void list(struct list *l, size_t size)
{
	int fd = open(w.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char buf[32768] __attribute__((aligned(8)));
	long n;

	CHECK(fd >= 0);
	while ((n = syscall(SYS_getdents64, fd, buf, size)) > 0) {
		for (long at = 0; at < n;) {
			const struct linux_dirent64 *e =
				(const void *)(buf + at);

			note(l, e->name);
			at += e->reclen;
		}
	}
	CHECK(!n);
	check_list(l);
	CHECK(!close(fd));
}

static void *lister(void *arg)
{
	u64 rng = (u64)(uintptr_t)arg;

	while (!is_over()) {
		struct list l = {0};

		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		for (u64 i = 0; i < NR_NAMES; i++)
			l.before[i] = load(&w.state[i]);
		list(&l, (rng >> 40) % 2 ? 32768 : 128 + (rng >> 44) % 2000);
		step(&w.nr_lists);
	}
	return NULL;
}

/* ---- listing in turns ---- */

static u64 count_some(int fd, size_t size, char *last)
{
	char buf[32768] __attribute__((aligned(8)));
	long n = syscall(SYS_getdents64, fd, buf, size);
	u64 nr = 0;

	CHECK(n >= 0);
	for (long at = 0; at < n; nr++) {
		const struct linux_dirent64 *e = (const void *)(buf + at);

		CHECK(snprintf(last, 32, "%s", e->name) < 32);
		at += e->reclen;
	}
	return nr;
}

/* A listing stops at an entry that goes, and others list the folder. */
static void list_in_turns(u64 nr_entries)
{
	char name[32], last[32];
	u64 seen, nr;
	int fd, other;

	CHECK(!mkdirat(w.fd, "turns", 0700));
	fd = openat(w.fd, "turns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (u64 i = 2; i < nr_entries; i++) {
		CHECK(snprintf(name, sizeof(name), "f%03llu",
			       (unsigned long long)i) > 0);
		CHECK(!mkdirat(fd, name, 0700));
	}
	/* what the kernel may keep is whole */
	CHECK(count_some(fd, 32768, last) == nr_entries);
	CHECK(!count_some(fd, 32768, last) && !lseek(fd, 0, SEEK_SET));
	seen = count_some(fd, 1000, last);
	CHECK(!unlinkat(fd, last, AT_REMOVEDIR));
	other = openat(w.fd, "turns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(other >= 0);
	CHECK(count_some(other, 32768, last) == nr_entries - 1);
	CHECK(!count_some(other, 32768, last) && !close(other));

	while ((nr = count_some(fd, 1000, last)))
		seen += nr;
	CHECK(seen == nr_entries);
	CHECK(!lseek(fd, 0, SEEK_SET));
	while (count_some(fd, 40, last)) {
		if (last[0] == 'f')
			CHECK(!unlinkat(fd, last, AT_REMOVEDIR));
	}
	CHECK(!close(fd) && !unlinkat(w.fd, "turns", AT_REMOVEDIR));
}

int main(int argc, char **argv)
{
	pthread_t threads[CHANGERS + LISTERS];
	char name[32];

	CHECK(argc == 3);
	w.folder = argv[1];
	w.until = time(NULL) + atoi(argv[2]);
	w.fd = open(w.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(w.fd >= 0);
	for (u64 nr = 120; nr < 140; nr++)
		list_in_turns(nr);
	for (u64 i = 0; i < STILL_NAMES; i++) {
		CHECK(snprintf(name, sizeof(name), "s%llu",
			       (unsigned long long)i) > 0);
		CHECK(!mkdirat(w.fd, name, 0700));
	}
	for (u64 i = 0; i < ARRAY_SIZE(threads); i++)
		CHECK(!pthread_create(&threads[i], NULL,
				      i < CHANGERS ? changer : lister,
				      (void *)(uintptr_t)i));
	for (u64 i = 0; i < ARRAY_SIZE(threads); i++)
		CHECK(!pthread_join(threads[i], NULL));
	(void)printf("%llu listings, %llu changes\n",
		     (unsigned long long)w.nr_lists,
		     (unsigned long long)w.nr_changes);
	return 0;
}

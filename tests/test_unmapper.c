/* SPDX-License-Identifier: MIT */
/*
 * When the kernel's copies are taken back, and who waits for that: with files
 * that are but numbers, invalidation that takes as long as the test wants, and
 * a helper that cannot do anything.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "fs.h"
#include "lock.h"
#include "test.h"
#include "unmapper.h"

#define CACHE_SIZE ((u64)4 << 20)
#define FULL (UNMAPPER_FULL(CACHE_SIZE) >> PAGE_SHIFT)
#define KNOWN_FILES 3

static struct unmapper *unmapper;

static struct {
	struct mutex lock;
	struct waitq changed;
	/* under lock */
	bool closed;	     /* invalidations wait */
	unsigned nr_waiting; /* of them */
	unsigned nr_inval;
	unsigned nr_looks; /* at all files that are known */
	bool busy;	   /* everything is open for writing */
	bool miss_more;	   /* a page cannot be noted during each look */
} fake;

static void note(unsigned *count)
{
	mutex_lock(&fake.lock);
	(*count)++;
	mutex_unlock(&fake.lock);
	waitq_wake_all(&fake.changed);
}

static void wait_for(const unsigned *count, unsigned nr)
{
	mutex_lock(&fake.lock);
	while (*count < nr)
		waitq_wait(&fake.changed, &fake.lock);
	mutex_unlock(&fake.lock);
}

static void set(bool *what, bool value)
{
	mutex_lock(&fake.lock);
	*what = value;
	mutex_unlock(&fake.lock);
	waitq_wake_all(&fake.changed);
}

static bool is_set(const bool *what)
{
	bool ret;

	mutex_lock(&fake.lock);
	ret = *what;
	mutex_unlock(&fake.lock);
	return ret;
}

/* ---- what the unmapper asks of others ---- */

struct cache *fs_cache(struct fs *fs)
{
	(void)fs;
	return NULL;
}

u64 cache_get_knob(const struct cache *cache, enum cache_knob knob)
{
	(void)cache;
	ck_assert_int_eq(knob, KNOB_cache_size);
	return CACHE_SIZE;
}

void cache_set_copies(struct cache *cache, u64 bytes)
{
	(void)cache, (void)bytes;
}

int fs_path(struct fs *fs, u64 ino, char *buf, size_t size)
{
	(void)fs, (void)ino, (void)buf, (void)size;
	return -ENOENT;
}

int fs_take_begin(struct fs *fs, u64 ino)
{
	(void)fs, (void)ino;
	return is_set(&fake.busy) ? -EBUSY : 0;
}

void fs_take_end(struct fs *fs, u64 ino)
{
	(void)fs, (void)ino;
}

size_t fs_mappers(struct fs *fs, u64 ino, u64 first, u64 last, u32 *pids,
		  size_t nr, size_t max)
{
	(void)fs, (void)ino, (void)first, (void)last, (void)pids, (void)max;
	return nr;
}

/* A page that nobody can note, as there is no memory. */
static void miss_one(void)
{
	static u64 ino = 1000;

	test_fail_malloc(1);
	(void)unmapper_admit(unmapper, ino++, 0, PAGE_SIZE, 0, 0);
	expect(test_malloc_failed());
}

int fs_looked_up(struct fs *fs, u64 **ret, size_t *ret_nr)
{
	(void)fs;
	if (is_set(&fake.miss_more))
		miss_one();
	*ret = calloc(KNOWN_FILES, sizeof(**ret));
	for (u64 i = 0; i < KNOWN_FILES; i++)
		(*ret)[i] = i + 1;
	*ret_nr = KNOWN_FILES;
	note(&fake.nr_looks);
	return 0;
}

static int inval(void *arg, u64 ino, u64 pos, u64 len)
{
	(void)arg, (void)ino, (void)pos, (void)len;
	note(&fake.nr_waiting);
	mutex_lock(&fake.lock);
	while (fake.closed)
		waitq_wait(&fake.changed, &fake.lock);
	fake.nr_waiting--;
	fake.nr_inval++;
	mutex_unlock(&fake.lock);
	waitq_wake_all(&fake.changed);
	return 0;
}

/* ---- */

static void make(bool own)
{
	const struct unmapper_config cfg = {
		.own = own, .inval = inval, .exe = "/bin/false"};

	mutex_init(&fake.lock, LOCK_LEAF, "fake");
	waitq_init(&fake.changed);
	ck_assert_int_eq(unmapper_new(&cfg, &unmapper), 0);
}

static void start(void)
{
	const struct mount_dev dev = {0, 1};

	ck_assert_int_eq(unmapper_start(unmapper, "/", &dev), 0);
}

static void setup(void)
{
	make(true);
	start();
}

static void setup_kernel(void)
{
	make(false);
}

static void teardown(void)
{
	set(&fake.closed, false);
	unmapper_stop(unmapper);
	unmapper_free(unmapper);
}

static bool admit(u64 page, u64 waited_ns)
{
	return unmapper_admit(unmapper, 7, page << PAGE_SHIFT, PAGE_SIZE, 0,
			      waited_ns);
}

static struct unmapper_stat stat_now(void)
{
	struct unmapper_stat st;

	unmapper_stat(unmapper, &st);
	return st;
}

START_TEST(half_of_the_budget_is_handed_out_before_anybody_waits)
{
	u64 page = 0;

	set(&fake.closed, true);
	while (admit(page, 0))
		page++;
	/* there is room until it is passed */
	ck_assert_uint_eq(page, FULL + 1);
	ck_assert_uint_eq(stat_now().nr_kernel_pages, FULL + 1);
	ck_assert_uint_eq(stat_now().unmap_waits, 1);

	ck_assert(!admit(page, UNMAPPER_WAIT_NS - 1));
	ck_assert_uint_eq(stat_now().unmap_waits, 1);
	ck_assert(admit(page, UNMAPPER_WAIT_NS));
	ck_assert_uint_eq(stat_now().unmap_late, 1);

	set(&fake.closed, false);
	while (!admit(page + 1, 1))
		(void)sched_yield();
	ck_assert_uint_ge(stat_now().unmap_inval, 1);
}
END_TEST

/* The helper dies whenever it is asked: nothing can be taken back. */
START_TEST(for_pages_that_stay_nobody_waits_for_ever)
{
	const u64 pages = 4 * FULL;

	set(&fake.busy, true);
	for (u64 i = 0; i < pages; i++) {
		while (!admit(i, 1))
			(void)sched_yield();
	}
	ck_assert_uint_eq(stat_now().unmap_late, 0);
	ck_assert_uint_ge(stat_now().unmap_failed, 1);
	ck_assert_uint_eq(stat_now().nr_kernel_pages, pages);
}
END_TEST

static void *drop_all(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)unmapper_drop(unmapper, 0, 60000);
}

START_TEST(a_drop_waits_for_what_is_being_taken_already)
{
	u64 page = 0;
	pthread_t thread;
	void *err;

	set(&fake.closed, true);
	while (admit(page, 0))
		page++;
	wait_for(&fake.nr_waiting, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, drop_all, NULL), 0);
	set(&fake.closed, false);
	ck_assert_int_eq(pthread_join(thread, &err), 0);
	ck_assert_ptr_null(err);
	ck_assert_uint_eq(stat_now().nr_kernel_pages, 0);
}
END_TEST

START_TEST(a_drop_waits_for_the_start)
{
	pthread_t thread;
	void *err;

	ck_assert_int_eq(unmapper_drop(unmapper, 0, 0), -ETIMEDOUT);
	ck_assert_int_eq(pthread_create(&thread, NULL, drop_all, NULL), 0);
	start();
	ck_assert_int_eq(pthread_join(thread, &err), 0);
	ck_assert_ptr_null(err);
	ck_assert_uint_eq(fake.nr_inval, KNOWN_FILES);
}
END_TEST

START_TEST(a_drop_waits_for_no_start_that_failed)
{
	unmapper_stop(unmapper);
	ck_assert_int_eq(unmapper_drop(unmapper, 0, UINT32_MAX), -ETIMEDOUT);
}
END_TEST

START_TEST(what_could_not_be_noted_is_looked_for_in_all_files)
{
	miss_one();
	wait_for(&fake.nr_inval, KNOWN_FILES);
	ck_assert_uint_eq(fake.nr_looks, 1);
}
END_TEST

static u64 now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* While memory is short, not all the time. */
START_TEST(looking_in_all_files_again_and_again_has_pauses_that_grow)
{
	u64 begun = now_ns();

	set(&fake.miss_more, true);
	miss_one();
	wait_for(&fake.nr_looks, 4);
	ck_assert_uint_ge(now_ns() - begun, (100 + 200 + 400) * NSEC_PER_MSEC);
	set(&fake.miss_more, false);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc, *kernel = tcase_create("not cache=own");
	Suite *suite = test_suite_new("unmapper", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc,
		       half_of_the_budget_is_handed_out_before_anybody_waits);
	tcase_add_test(tc, for_pages_that_stay_nobody_waits_for_ever);
	tcase_add_test(tc, a_drop_waits_for_what_is_being_taken_already);
	tcase_add_test(tc, what_could_not_be_noted_is_looked_for_in_all_files);
	tcase_add_test(
		tc, looking_in_all_files_again_and_again_has_pauses_that_grow);

	tcase_add_checked_fixture(kernel, setup_kernel, teardown);
	tcase_set_timeout(kernel, 60);
	tcase_add_test(kernel, a_drop_waits_for_the_start);
	tcase_add_test(kernel, a_drop_waits_for_no_start_that_failed);
	suite_add_tcase(suite, kernel);
	return suite;
}

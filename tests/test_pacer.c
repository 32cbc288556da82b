/* SPDX-License-Identifier: MIT */
/* Functions run later: src/pacer.h. */
#include "config.h"

#include <pthread.h>

#include "lock.h"
#include "pacer.h"
#include "test.h"

#define NR_ITEMS 200

struct job {
	struct pacer_item item;
	int runs;
	u64 ran_at;
	u64 order;
};

static u64 clock_ns;
static u64 nr_ran;
static struct pacer *pacer;
static struct job jobs[NR_ITEMS];

static u64 test_now(void *arg)
{
	(void)arg;
	return clock_ns;
}

static void job_run(struct pacer_item *item)
{
	struct job *job = container_of(item, struct job, item);

	lock_assert_none();
	job->runs++;
	job->ran_at = clock_ns;
	job->order = nr_ran++;
}

static void setup(void)
{
	struct pacer_config cfg = {.name = "pacer", .now = test_now};

	clock_ns = 1000;
	nr_ran = 0;
	ck_assert_int_eq(pacer_new(&cfg, &pacer), 0);
	for (int i = 0; i < NR_ITEMS; i++) {
		jobs[i] = (struct job){.runs = 0};
		pacer_item_init(&jobs[i].item, job_run);
	}
}

static void teardown(void)
{
	pacer_stop(pacer);
	pacer_free(pacer);
}

START_TEST(nothing_runs_before_its_time)
{
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	pacer_add(pacer, &jobs[0].item, 2000);
	ck_assert_uint_eq(pacer_run(pacer), 2000);
	clock_ns = 1999;
	ck_assert_uint_eq(pacer_run(pacer), 2000);
	ck_assert_int_eq(jobs[0].runs, 0);
	clock_ns = 2000;
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	ck_assert_int_eq(jobs[0].runs, 1);
	clock_ns = 3000;
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	ck_assert_int_eq(jobs[0].runs, 1);
}
END_TEST

START_TEST(all_run_once_in_the_order_of_their_times)
{
	struct rng rng;
	u64 next;

	rng_init(&rng, 0);
	for (int i = 0; i < NR_ITEMS; i++) {
		pacer_add(pacer, &jobs[i].item, 2000 + rng_below(&rng, 50));
		pacer_check(pacer);
	}
	while ((next = pacer_run(pacer)) != UINT64_MAX) {
		pacer_check(pacer);
		ck_assert_uint_gt(next, clock_ns);
		clock_ns = next;
	}

	for (int i = 0; i < NR_ITEMS; i++) {
		ck_assert_int_eq(jobs[i].runs, 1);
		ck_assert_uint_eq(jobs[i].ran_at, jobs[i].item.due_ns);
		for (int j = 0; j < i; j++) {
			if (jobs[j].item.due_ns <= jobs[i].item.due_ns)
				ck_assert_uint_lt(jobs[j].order, jobs[i].order);
			else
				ck_assert_uint_gt(jobs[j].order, jobs[i].order);
		}
	}
}
END_TEST

START_TEST(what_is_hurried_runs_now)
{
	pacer_add(pacer, &jobs[0].item, 5000);
	pacer_add(pacer, &jobs[1].item, 4000);
	pacer_hurry(pacer, &jobs[0].item);
	pacer_check(pacer);
	ck_assert_uint_eq(pacer_run(pacer), 4000);
	ck_assert_int_eq(jobs[0].runs, 1);
	ck_assert_int_eq(jobs[1].runs, 0);
	clock_ns = 4000;
	(void)pacer_run(pacer);
}
END_TEST

START_TEST(what_is_hurried_before_it_is_added_does_not_wait)
{
	pacer_hurry(pacer, &jobs[0].item);
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	ck_assert_int_eq(jobs[0].runs, 0);
	pacer_add(pacer, &jobs[0].item, 5000);
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	ck_assert_int_eq(jobs[0].runs, 1);
}
END_TEST

START_TEST(stopping_runs_the_rest_and_later_ones_at_once)
{
	pacer_add(pacer, &jobs[0].item, 1000000);
	pacer_add(pacer, &jobs[1].item, 500000);
	pacer_stop(pacer);
	ck_assert_int_eq(jobs[0].runs, 1);
	ck_assert_int_eq(jobs[1].runs, 1);
	ck_assert_uint_lt(jobs[1].order, jobs[0].order);
	pacer_add(pacer, &jobs[2].item, 1000000);
	ck_assert_int_eq(jobs[2].runs, 1);
}
END_TEST

static void job_again(struct pacer_item *item)
{
	struct job *job = container_of(item, struct job, item);

	if (++job->runs < 5)
		pacer_add(pacer, item, clock_ns);
}

START_TEST(a_function_may_add_itself_again)
{
	pacer_item_init(&jobs[0].item, job_again);
	pacer_add(pacer, &jobs[0].item, 1000);
	ck_assert_uint_eq(pacer_run(pacer), UINT64_MAX);
	ck_assert_int_eq(jobs[0].runs, 5);
}
END_TEST

/* ---- with its thread, on the real clock: the main thread waits for all ----
 */

static struct mutex done_lock;
static struct waitq done_wait;
static int nr_done;

static void job_count(struct pacer_item *item)
{
	struct job *job = container_of(item, struct job, item);

	mutex_lock(&done_lock);
	job->runs++;
	nr_done++;
	waitq_wake_all(&done_wait);
	mutex_unlock(&done_lock);
}

static void *add_half(void *arg)
{
	struct pacer *p = arg;

	for (int i = 1; i < NR_ITEMS; i += 2)
		pacer_add(p, &jobs[i].item,
			  pacer_now(p) + (u64)(i % 7) * NSEC_PER_MSEC);
	return NULL;
}

START_TEST(its_thread_runs_everything_that_others_add)
{
	struct pacer_config cfg = {.name = "pacer"};
	struct pacer *p;
	pthread_t thread;

	mutex_init(&done_lock, LOCK_LEAF, "done");
	waitq_init(&done_wait);
	nr_done = 0;
	for (int i = 0; i < NR_ITEMS; i++)
		pacer_item_init(&jobs[i].item, job_count);
	ck_assert_int_eq(pacer_new(&cfg, &p), 0);
	ck_assert_int_eq(pacer_start(p), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, add_half, p), 0);
	/* far away: only hurrying brings these to run */
	for (int i = 0; i < NR_ITEMS; i += 2) {
		pacer_add(p, &jobs[i].item, pacer_now(p) + 3600 * NSEC_PER_SEC);
		pacer_hurry(p, &jobs[i].item);
	}

	mutex_lock(&done_lock);
	while (nr_done < NR_ITEMS)
		waitq_wait(&done_wait, &done_lock);
	mutex_unlock(&done_lock);
	(void)pthread_join(thread, NULL);
	for (int i = 0; i < NR_ITEMS; i++)
		ck_assert_int_eq(jobs[i].runs, 1);

	pacer_stop(p);
	pacer_free(p);
	waitq_done(&done_wait);
	mutex_done(&done_lock);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("pacer", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_runs_before_its_time);
	tcase_add_test(tc, all_run_once_in_the_order_of_their_times);
	tcase_add_test(tc, what_is_hurried_runs_now);
	tcase_add_test(tc, what_is_hurried_before_it_is_added_does_not_wait);
	tcase_add_test(tc, stopping_runs_the_rest_and_later_ones_at_once);
	tcase_add_test(tc, a_function_may_add_itself_again);
	tcase_add_test(tc, its_thread_runs_everything_that_others_add);
	return suite;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <pthread.h>
#include <sched.h>

#include "lock.h"
#include "test.h"

static struct mutex inner;
static struct mutex outer;
static struct mutex second;
static struct rwsem sem;

static void setup(void)
{
	mutex_init(&outer, LOCK_TREE, "the tree");
	mutex_init(&second, LOCK_TREE, "another tree");
	mutex_init(&inner, LOCK_LRU, "the lists");
	rwsem_init(&sem, LOCK_INVALIDATE, "the content");
}

static void teardown(void)
{
	mutex_done(&outer);
	mutex_done(&second);
	mutex_done(&inner);
	rwsem_done(&sem);
}

START_TEST(locks_in_rank_are_taken_and_released_in_any_order)
{
	down_read(&sem);
	mutex_lock(&outer);
	mutex_lock_nested(&second);
	mutex_lock(&inner);
	mutex_assert_held(&outer);
	mutex_assert_held(&inner);
	rwsem_assert_held(&sem);

	mutex_unlock(&outer);
	mutex_unlock(&inner);
	mutex_unlock(&second);
	up_read(&sem);
	lock_assert_none();
}
END_TEST

/* clang follows a try through an if, not through ck_assert(). */
#define must_have(try) \
	if (!(try))    \
	ck_abort_msg("not had: " #try)

START_TEST(a_try_may_be_out_of_rank)
{
	mutex_lock(&inner);
	must_have(mutex_trylock(&outer));
	must_have(down_write_trylock(&sem));
	ck_assert(!down_read_trylock(&sem));
	up_write(&sem);
	must_have(down_read_trylock(&sem));
	ck_assert(!down_write_trylock(&sem));
	up_read(&sem);
	mutex_unlock(&outer);
	mutex_unlock(&inner);
	lock_assert_none();
}
END_TEST

static void *try_it(void *arg)
{
	bool had = mutex_trylock(&inner);

	if (had)
		mutex_unlock(&inner);
	return had ? &inner : NULL;
}

START_TEST(a_try_of_what_another_thread_holds_fails)
{
	pthread_t thread;
	void *had;

	mutex_lock(&inner);
	ck_assert_int_eq(pthread_create(&thread, NULL, try_it, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, &had), 0);
	ck_assert_ptr_null(had);
	mutex_unlock(&inner);
}
END_TEST

#define NR_THREADS 4
#define NR_ADDS 2000

static u64 counter;

static void *add_many(void *arg)
{
	for (u32 i = 0; i < NR_ADDS; i++) {
		if (i % 2) {
			mutex_lock(&outer);
			counter++;
			mutex_unlock(&outer);
		} else {
			down_write(&sem);
			mutex_lock(&outer);
			counter++;
			mutex_unlock(&outer);
			up_write(&sem);
		}
	}
	return NULL;
}

START_TEST(only_one_thread_at_a_time_holds_a_mutex)
{
	pthread_t threads[NR_THREADS];

	for (u32 i = 0; i < NR_THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, add_many, NULL), 0);
	for (u32 i = 0; i < NR_THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(counter, NR_THREADS * NR_ADDS);
}
END_TEST

static void *write_once(void *arg)
{
	down_write(&sem);
	counter++;
	up_write(&sem);
	return NULL;
}

static bool another_may_read(void)
{
	if (!down_read_trylock(&sem))
		return false;
	up_read(&sem);
	return true;
}

/* Were readers preferred, this would try for ever. */
START_TEST(a_waiting_writer_goes_before_new_readers)
{
	pthread_t thread;

	down_read(&sem);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_once, NULL), 0);
	while (another_may_read())
		(void)sched_yield();
	ck_assert_uint_eq(counter, 0);
	up_read(&sem);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(counter, 1);
}
END_TEST

/* ---- waiting ---- */

static struct waitq ball_moved;
static u32 ball;

static void *play(void *arg)
{
	u32 me = *(u32 *)arg;

	mutex_lock(&inner);
	while (ball < 200) {
		if (ball % 2 == me) {
			ball++;
			waitq_wake_one(&ball_moved);
		} else {
			waitq_wait(&ball_moved, &inner);
		}
	}
	mutex_unlock(&inner);
	return NULL;
}

START_TEST(a_waiter_is_woken)
{
	pthread_t threads[2];
	u32 side[2] = {0, 1};

	waitq_init(&ball_moved);
	for (u32 i = 0; i < 2; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, play, &side[i]), 0);
	for (u32 i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_ge(ball, 200);
	waitq_done(&ball_moved);
}
END_TEST

#define NR_WAITERS 4

static u32 nr_waiting;

/* The mutex keeps the wake from coming between the count and the wait. */
static void *wait_for_ball(void *arg)
{
	mutex_lock(&inner);
	nr_waiting++;
	while (ball == 0)
		waitq_wait(&ball_moved, &inner);
	mutex_unlock(&inner);
	return NULL;
}

static u32 count_waiting(void)
{
	u32 nr;

	mutex_lock(&inner);
	nr = nr_waiting;
	mutex_unlock(&inner);
	return nr;
}

START_TEST(one_wake_for_all_wakes_all)
{
	pthread_t threads[NR_WAITERS];

	waitq_init(&ball_moved);
	for (u32 i = 0; i < NR_WAITERS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, wait_for_ball, NULL),
			0);
	while (count_waiting() < NR_WAITERS)
		(void)sched_yield();
	mutex_lock(&inner);
	ball = 1;
	waitq_wake_all(&ball_moved);
	mutex_unlock(&inner);
	for (u32 i = 0; i < NR_WAITERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	waitq_done(&ball_moved);
}
END_TEST

static u64 monotonic_ns(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (u64)now.tv_sec * NSEC_PER_SEC + (u64)now.tv_nsec;
}

START_TEST(a_wait_ends_when_its_monotonic_time_is_up)
{
	u64 deadline = monotonic_ns() + NSEC_PER_MSEC;
	struct waitq w;

	waitq_init(&w);
	mutex_lock(&inner);
	ck_assert(!waitq_wait_until(&w, &inner, 0));
	while (waitq_wait_until(&w, &inner, deadline))
		;
	ck_assert_uint_ge(monotonic_ns(), deadline);
	mutex_assert_held(&inner);
	mutex_unlock(&inner);
	waitq_done(&w);
}
END_TEST

/* ---- death ---- */

#ifdef FOLIO_DEBUG

/* These do what the thread-safety analysis would refuse to compile. */

static __no_tsa void lock_out_of_rank(void *arg)
{
	mutex_lock(&inner);
	mutex_lock(&outer);
}

static __no_tsa void lock_same_rank(void *arg)
{
	mutex_lock(&outer);
	mutex_lock(&second);
}

static __no_tsa void lock_twice(void *arg)
{
	mutex_lock(&outer);
	mutex_lock_nested(&outer);
}

static __no_tsa void read_out_of_rank(void *arg)
{
	mutex_lock(&inner);
	down_read(&sem);
}

static __no_tsa void write_out_of_rank(void *arg)
{
	mutex_lock(&inner);
	down_write(&sem);
}

static __no_tsa void read_twice(void *arg)
{
	down_read(&sem);
	down_read_nested(&sem);
}

static __no_tsa void lock_below_tried(void *arg)
{
	if (mutex_trylock(&inner))
		mutex_lock(&outer);
}

static __no_tsa void lock_above_page(void *arg)
{
	lock_rank_acquired(LOCK_PAGE, "page", false);
	down_read(&sem);
}

static __no_tsa void lock_page_out_of_rank(void *arg)
{
	mutex_lock(&outer);
	lock_rank_acquired(LOCK_PAGE, "page", true);
}

static __no_tsa void lock_nested_below(void *arg)
{
	mutex_lock(&inner);
	mutex_lock_nested(&outer);
}

START_TEST(a_lock_out_of_rank_aborts_and_names_both)
{
	test_aborts(lock_out_of_rank, NULL,
		    "lock order: 'the tree' wanted while "
		    "'the lists' is held");
	test_aborts(lock_same_rank, NULL,
		    "'another tree' wanted while 'the tree'");
	test_aborts(lock_twice, NULL,
		    "'the tree' wanted while "
		    "'the tree'");
	test_aborts(read_out_of_rank, NULL,
		    "'the content' wanted while 'the lists'");
	test_aborts(write_out_of_rank, NULL,
		    "'the content' wanted while 'the lists'");
	test_aborts(read_twice, NULL,
		    "'the content' wanted while 'the content'");
	test_aborts(lock_nested_below, NULL,
		    "'the tree' wanted while 'the lists'");
}
END_TEST

START_TEST(what_was_had_by_a_try_counts_as_held)
{
	test_aborts(lock_below_tried, NULL,
		    "'the tree' wanted while 'the lists'");
}
END_TEST

START_TEST(locks_that_are_bits_are_ranked_too)
{
	for (u32 i = 0; i < 300; i++)
		lock_rank_acquired(LOCK_PAGE, "page", i > 0);
	mutex_lock(&outer);
	lock_rank_tried(LOCK_PAGE, "page");
	for (u32 i = 0; i < 301; i++)
		lock_rank_released(LOCK_PAGE, "page");
	mutex_unlock(&outer);
	lock_assert_none();

	test_aborts(lock_above_page, NULL, "'the content' wanted while 'page'");
	test_aborts(lock_page_out_of_rank, NULL,
		    "'page' wanted while 'the tree'");
}
END_TEST

static __no_tsa void unlock_unheld(void *arg)
{
	mutex_unlock(&outer);
}

static __no_tsa void unlock_in_wrong_mode(void *arg)
{
	down_read(&sem);
	up_write(&sem);
}

static void assert_unheld(void *arg)
{
	mutex_assert_held(&outer);
}

static __no_tsa void assert_write_when_read(void *arg)
{
	down_read(&sem);
	rwsem_assert_held_write(&sem);
}

static void release_unheld_page(void *arg)
{
	lock_rank_released(LOCK_PAGE, "page");
}

START_TEST(releasing_or_asserting_what_is_not_held_aborts)
{
	test_aborts(unlock_unheld, NULL, "lock 'the tree': released");
	test_aborts(unlock_in_wrong_mode, NULL,
		    "lock 'the content': released in another mode");
	test_aborts(assert_unheld, NULL, "lock 'the tree': asserted");
	test_aborts(assert_write_when_read, NULL,
		    "lock 'the content': asserted");
	test_aborts(release_unheld_page, NULL, "lock 'page': released");
}
END_TEST

static __no_tsa void hold_none_but_one(void *arg)
{
	down_read(&sem);
	lock_assert_none();
}

static __no_tsa void hold_before_but_at(void *arg)
{
	mutex_lock(&outer);
	lock_assert_before(LOCK_TREE);
}

static __no_tsa void wait_with_inner_held(void *arg)
{
	struct waitq w;

	waitq_init(&w);
	mutex_lock(&outer);
	mutex_lock(&inner);
	waitq_wait(&w, &outer);
}

static __no_tsa void wait_until_with_inner_held(void *arg)
{
	struct waitq w;

	waitq_init(&w);
	mutex_lock(&outer);
	mutex_lock(&inner);
	(void)waitq_wait_until(&w, &outer, 0);
}

START_TEST(holding_what_may_not_be_held_aborts)
{
	down_read(&sem);
	lock_assert_before(LOCK_TREE);
	up_read(&sem);
	test_aborts(hold_none_but_one, NULL, "lock 'the content': held where");
	test_aborts(hold_before_but_at, NULL, "lock 'the tree': held where");
	test_aborts(wait_with_inner_held, NULL, "lock 'the tree': waited with");
	test_aborts(wait_until_with_inner_held, NULL,
		    "lock 'the tree': waited with");
}
END_TEST

#endif

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("lock", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, locks_in_rank_are_taken_and_released_in_any_order);
	tcase_add_test(tc, a_try_may_be_out_of_rank);
	tcase_add_test(tc, a_try_of_what_another_thread_holds_fails);
	tcase_add_test(tc, only_one_thread_at_a_time_holds_a_mutex);
	tcase_add_test(tc, a_waiting_writer_goes_before_new_readers);
	tcase_add_test(tc, a_waiter_is_woken);
	tcase_add_test(tc, one_wake_for_all_wakes_all);
	tcase_add_test(tc, a_wait_ends_when_its_monotonic_time_is_up);
#ifdef FOLIO_DEBUG
	tcase_add_test(tc, a_lock_out_of_rank_aborts_and_names_both);
	tcase_add_test(tc, what_was_had_by_a_try_counts_as_held);
	tcase_add_test(tc, locks_that_are_bits_are_ranked_too);
	tcase_add_test(tc, releasing_or_asserting_what_is_not_held_aborts);
	tcase_add_test(tc, holding_what_may_not_be_held_aborts);
#endif
	return suite;
}

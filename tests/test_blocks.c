/* SPDX-License-Identifier: MIT */
/* The block allocator: src/blocks.h. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "test.h"

static s64 charged;

static void charge(void *arg, s64 bytes)
{
	(void)__atomic_add_fetch(&charged, bytes, __ATOMIC_RELAXED);
}

static struct blocks *make(u64 nr)
{
	struct blocks *b;

	charged = 0;
	ck_assert_int_eq(blocks_new(nr, charge, NULL, &b), 0);
	return b;
}

static void done(struct blocks *b)
{
	blocks_check(b);
	blocks_free_all(b);
	ck_assert_int_eq(charged, 0);
}

static struct blocks_stat stat_of(struct blocks *b)
{
	struct blocks_stat st;

	blocks_stat(b, &st);
	return st;
}

START_TEST(a_new_map_has_block_zero_used_alone)
{
	struct blocks *b = make(1000);
	struct blocks_stat st = stat_of(b);

	ck_assert_uint_eq(st.total, 1000);
	ck_assert_uint_eq(st.used, 1);
	ck_assert_uint_eq(blocks_end(b), 1);
	ck_assert_uint_eq(st.kept, 10);
	ck_assert_uint_eq(st.reserved, 0);
	ck_assert_uint_eq(st.deferred, 0);
	ck_assert_int_gt(charged, 0);
	done(b);
}
END_TEST

START_TEST(an_empty_volume_gives_runs_as_long_as_asked_for_one_behind_the_other)
{
	struct blocks *b = make(1 << 20);
	u64 next = 1;

	for (int i = 0; i < 100; i++) {
		u64 start;
		u32 nr;

		ck_assert_int_eq(blocks_alloc(b, 256, &start, &nr), 0);
		ck_assert_uint_eq(nr, 256);
		ck_assert_uint_eq(start, next);
		next = start + nr;
	}
	done(b);
}
END_TEST

START_TEST(every_block_is_given_out_once_then_there_is_no_space)
{
	static const u64 sizes[] = {2, 63, 64, 65, 32767, 32768, 32769, 70000};
	u64 size = sizes[_i];
	struct blocks *b = make(size);
	u8 *seen = calloc(size, 1);
	u64 start;
	u32 nr;
	int err;

	while ((err = blocks_alloc(b, 100, &start, &nr)) == 0) {
		ck_assert(nr >= 1 && nr <= 100);
		for (u64 i = start; i < start + nr; i++) {
			ck_assert_uint_lt(i, size);
			ck_assert(!seen[i]);
			seen[i] = 1;
		}
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert(!seen[0]);
	for (u64 i = 1; i < size; i++)
		ck_assert(seen[i]);
	ck_assert_uint_eq(stat_of(b).used, size);
	blocks_check(b);
	blocks_free(b, 1, size - 1);
	ck_assert_uint_eq(stat_of(b).used, 1);
	ck_assert_uint_eq(blocks_end(b), 1);
	free(seen);
	done(b);
}
END_TEST

START_TEST(fragmented_space_gives_the_longest_run_nearby)
{
	struct blocks *b = make(10000);
	u64 start;
	u32 nr;

	ck_assert_int_eq(blocks_mark_used(b, 1, 9999, false), 0);
	for (u64 i = 10; i < 9000; i += 10)
		blocks_free(b, i, 3);
	blocks_free(b, 5005, 5);
	ck_assert_int_eq(blocks_alloc(b, 64, &start, &nr), 0);
	ck_assert_uint_eq(start, 5000 + 5);
	ck_assert_uint_eq(nr, 8);
	blocks_check(b);
	done(b);
}
END_TEST

START_TEST(marking_refuses_what_is_used_or_out_of_bounds)
{
	struct blocks *b = make(100000);

	ck_assert_int_eq(blocks_mark_used(b, 0, 1, false), -EUCLEAN);
	ck_assert_int_eq(blocks_mark_used(b, 100000, 1, false), -EUCLEAN);
	ck_assert_int_eq(blocks_mark_used(b, 99999, 2, false), -EUCLEAN);
	ck_assert_int_eq(blocks_mark_used(b, 5, UINT64_MAX, false), -EUCLEAN);
	ck_assert_int_eq(blocks_mark_used(b, 32000, 2000, false), 0);
	ck_assert_uint_eq(stat_of(b).used, 2001);
	ck_assert_uint_eq(blocks_end(b), 34000);
	ck_assert_int_eq(blocks_mark_used(b, 33999, 1, false), -EUCLEAN);
	ck_assert_uint_eq(stat_of(b).used, 2001);
	/* shared extents may overlap */
	ck_assert_int_eq(blocks_mark_used(b, 31990, 3000, true), 0);
	ck_assert_uint_eq(stat_of(b).used, 3001);
	ck_assert_int_eq(blocks_mark_used(b, 31990, 3000, true), 0);
	ck_assert_uint_eq(stat_of(b).used, 3001);
	done(b);
}
END_TEST

START_TEST(a_small_volume_stays_below_its_spread)
{
	struct blocks *b = make(64 << 20);
	struct rng rng;
	u64 starts[64] = {0};
	u32 nrs[64];

	rng_init(&rng, 1);
	for (int i = 0; i < 100000; i++) {
		u64 at = rng_below(&rng, 64);

		if (starts[at])
			blocks_free(b, starts[at], nrs[at]);
		ck_assert_int_eq(blocks_alloc(b, (u32)rng_range(&rng, 1, 256),
					      &starts[at], &nrs[at]),
				 0);
	}
	/* 64 runs of 256 are 16384 blocks; next-fit through all of the bound
	 * would have come to millions. */
	ck_assert_uint_le(blocks_end(b), 3 * 16384 + 1);
	ck_assert_uint_le(blocks_end(b), stat_of(b).spread);
	done(b);
}
END_TEST

START_TEST(reservations_leave_one_percent)
{
	struct blocks *b = make(1000);
	u64 start;
	u32 nr;

	ck_assert_int_eq(blocks_reserve(b, 989), 0);
	ck_assert_int_eq(blocks_reserve(b, 1), -ENOSPC);
	ck_assert_uint_eq(stat_of(b).reserved, 989);
	blocks_unreserve(b, 89);
	ck_assert_int_eq(blocks_reserve(b, 90), -ENOSPC);
	ck_assert_int_eq(blocks_reserve(b, 89), 0);
	/* A late write takes what it needs, reserved or not ... */
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(blocks_alloc(b, 1, &start, &nr), 0);
	/* ... and nothing more can be promised until it is given back. */
	ck_assert_int_eq(blocks_reserve(b, 0), -ENOSPC);
	blocks_unreserve(b, 989);
	ck_assert_int_eq(blocks_reserve(b, UINT64_MAX), -ENOSPC);
	ck_assert_int_eq(blocks_reserve(b, 489), 0);
	ck_assert_int_eq(blocks_reserve(b, 1), -ENOSPC);
	done(b);
}
END_TEST

/* ---- blocks freed by commits ---- */

static bool can_alloc(struct blocks *b)
{
	u64 start;
	u32 nr;
	int err = blocks_alloc(b, 1, &start, &nr);

	blocks_check(b);
	if (err)
		return false;
	blocks_free(b, start, nr);
	return true;
}

/* A full volume: a block can be had only if one was freed. */
static struct blocks *make_full(void)
{
	struct blocks *b = make(100);

	ck_assert_int_eq(blocks_mark_used(b, 1, 99, false), 0);
	return b;
}

START_TEST(a_deferred_block_comes_free_when_its_commit_is_released)
{
	struct blocks *b = make_full();

	ck_assert_int_eq(blocks_free_deferred(b, 7, 10, 2), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 8, 20, 1), 0);
	ck_assert_uint_eq(stat_of(b).deferred, 3);
	ck_assert(!can_alloc(b));
	blocks_release(b, 6);
	ck_assert(!can_alloc(b));
	blocks_release(b, 7);
	ck_assert(can_alloc(b));
	ck_assert_uint_eq(stat_of(b).deferred, 1);
	ck_assert_uint_eq(stat_of(b).used, 98);
	blocks_release(b, 8);
	ck_assert_uint_eq(stat_of(b).used, 97);
	done(b);
}
END_TEST

/* Extents of a damaged volume name any blocks, and some twice. */
START_TEST(a_commit_frees_only_what_is_in_use_and_that_once)
{
	struct blocks *b = make(100);

	ck_assert_int_eq(blocks_mark_used(b, 10, 2, false), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 7, 0, 1), -EUCLEAN);
	ck_assert_int_eq(blocks_free_deferred(b, 7, 10, 3), -EUCLEAN);
	ck_assert_int_eq(blocks_free_deferred(b, 7, 99, 2), -EUCLEAN);
	ck_assert_int_eq(blocks_free_deferred(b, 7, UINT64_MAX, 2), -EUCLEAN);
	ck_assert_uint_eq(stat_of(b).deferred, 0);
	ck_assert(blocks_leaked(b));

	ck_assert_int_eq(blocks_free_deferred(b, 7, 10, 2), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 7, 10, 2), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 7, 11, 1), 0);
	blocks_release(b, 7);
	ck_assert_uint_eq(stat_of(b).used, 1);
	ck_assert_uint_eq(stat_of(b).deferred, 0);
	done(b);
}
END_TEST

START_TEST(a_cancelled_commit_frees_nothing)
{
	struct blocks *b = make_full();

	ck_assert_int_eq(blocks_free_deferred(b, 7, 10, 2), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 8, 20, 5), 0);
	ck_assert_int_eq(blocks_free_deferred(b, 8, 30, 1), 0);
	blocks_cancel_deferred(b, 8);
	ck_assert_uint_eq(stat_of(b).deferred, 2);
	blocks_release(b, 8);
	ck_assert_uint_eq(stat_of(b).used, 98);
	ck_assert_uint_eq(stat_of(b).deferred, 0);
	done(b);
}
END_TEST

START_TEST(a_released_block_waits_for_readers_of_before_and_for_no_others)
{
	struct blocks *b = make_full();
	u32 before;
	u32 between;
	u32 after;

	before = blocks_read_enter(b);
	ck_assert_int_eq(blocks_free_deferred(b, 1, 10, 1), 0);
	blocks_release(b, 1);
	ck_assert(!can_alloc(b));
	between = blocks_read_enter(b);
	ck_assert_int_eq(blocks_free_deferred(b, 2, 11, 1), 0);
	blocks_release(b, 2);
	ck_assert(!can_alloc(b));
	blocks_read_leave(b, before);
	/* block 10 is free; 11 was released while `between` was reading */
	ck_assert_uint_eq(stat_of(b).used, 99);
	after = blocks_read_enter(b);
	blocks_read_leave(b, between);
	ck_assert_uint_eq(stat_of(b).used, 98);
	blocks_read_leave(b, after);
	ck_assert_uint_eq(stat_of(b).deferred, 0);
	done(b);
}
END_TEST

/* ---- holds ---- */

static void free_by_commit(struct blocks *b, u64 seq, u64 start, u64 nr)
{
	ck_assert_int_eq(blocks_free_deferred(b, seq, start, nr), 0);
	blocks_release(b, seq);
}

START_TEST(what_is_freed_during_a_hold_is_withheld_until_its_end)
{
	struct blocks *b = make(100000);
	u64 first, second;

	ck_assert_int_eq(blocks_mark_used(b, 1, 90000, false), 0);
	first = blocks_hold(b);
	second = blocks_hold(b);
	free_by_commit(b, 1, 32700, 200);
	ck_assert_uint_eq(stat_of(b).withheld, 200);
	ck_assert_uint_eq(stat_of(b).used, 90001);
	ck_assert_uint_eq(stat_of(b).holds, 2);
	ck_assert(blocks_leaked(b));
	blocks_check(b);
	blocks_unhold(b, first);
	ck_assert_uint_eq(stat_of(b).withheld, 200);
	ck_assert(blocks_holds(b, second));
	blocks_unhold(b, second);
	ck_assert_uint_eq(stat_of(b).withheld, 0);
	ck_assert_uint_eq(stat_of(b).used, 89801);
	ck_assert_uint_eq(stat_of(b).holds_lost, 0);
	ck_assert(!blocks_leaked(b));
	done(b);
}
END_TEST

START_TEST(slots_that_no_commit_took_are_free_at_once_whoever_holds)
{
	struct blocks *b = make_full();
	u64 hold = blocks_hold(b);

	blocks_free(b, 10, 2);
	ck_assert_uint_eq(stat_of(b).used, 98);
	blocks_unhold(b, hold);
	done(b);
}
END_TEST

START_TEST(without_room_holds_are_lost_and_allocation_goes_on)
{
	struct blocks *b = make_full();
	u64 hold = blocks_hold(b), later;

	free_by_commit(b, 1, 10, 2);
	ck_assert(can_alloc(b));
	ck_assert(!blocks_holds(b, hold));
	ck_assert_uint_eq(stat_of(b).holds_lost, 1);
	ck_assert_uint_eq(stat_of(b).withheld, 0);

	/* its end is not that of another one */
	later = blocks_hold(b);
	free_by_commit(b, 2, 20, 2);
	blocks_unhold(b, hold);
	ck_assert(blocks_holds(b, later));
	ck_assert_uint_eq(stat_of(b).withheld, 2);
	blocks_unhold(b, later);
	ck_assert_uint_eq(stat_of(b).withheld, 0);
	done(b);
}
END_TEST

START_TEST(a_reservation_that_does_not_fit_takes_what_is_withheld)
{
	struct blocks *b = make_full();
	u64 hold = blocks_hold(b);

	free_by_commit(b, 1, 10, 20);
	ck_assert_int_eq(blocks_reserve(b, 15), 0);
	ck_assert(!blocks_holds(b, hold));
	blocks_unreserve(b, 15);
	blocks_unhold(b, hold);
	done(b);
}
END_TEST

START_TEST(readers_are_waited_for_before_blocks_are_withheld)
{
	struct blocks *b = make_full();
	u64 hold = blocks_hold(b);
	u32 reader = blocks_read_enter(b);

	free_by_commit(b, 1, 10, 1);
	ck_assert(!blocks_lose_holds(b));
	ck_assert(!can_alloc(b));
	blocks_read_leave(b, reader);
	ck_assert(can_alloc(b));
	blocks_unhold(b, hold);
	done(b);
}
END_TEST

START_TEST(without_memory_a_hold_is_lost_and_nothing_else)
{
	struct blocks *b = make_full();
	u64 hold = blocks_hold(b);
	bool failed;

	ck_assert_int_eq(blocks_free_deferred(b, 1, 10, 2), 0);
	test_fail_malloc(1);
	blocks_release(b, 1);
	failed = test_malloc_failed();
	ck_assert(failed);
	ck_assert(!blocks_holds(b, hold));
	blocks_unhold(b, hold);
	done(b);
}
END_TEST

/* ---- against a model ---- */

enum { FREE, USED, DEFERRED, RELEASED };

struct model {
	struct blocks *b;
	struct rng rng;
	u64 size;
	u64 seq; /* of the commit being made */
	u64 now;
	struct {
		u8 state;
		u64 seq;
		u64 when; /* released */
	} block[70000];
	struct {
		bool on;
		u32 token;
		u64 since;
	} reader[8];
	bool held; /* unless it was lost */
	u64 hold;
	u64 held_since;
};

static void model_alloc(struct model *m)
{
	u32 want = (u32)rng_range(&m->rng, 1, 300);
	u64 start;
	u32 nr;
	int err = blocks_alloc(m->b, want, &start, &nr);

	if (err) {
		ck_assert_int_eq(err, -ENOSPC);
		for (u64 i = 1; i < m->size; i++)
			ck_assert_int_ne(m->block[i].state, FREE);
		return;
	}
	ck_assert(nr >= 1 && nr <= want && start && start + nr <= m->size);
	for (u64 i = start; i < start + nr; i++) {
		ck_assert(m->block[i].state == FREE ||
			  m->block[i].state == RELEASED);
		for (int r = 0; m->block[i].state == RELEASED && r < 8; r++)
			ck_assert(!m->reader[r].on ||
				  m->reader[r].since > m->block[i].when);
		if (m->block[i].state == RELEASED && m->held &&
		    blocks_holds(m->b, m->hold))
			expect(m->block[i].when < m->held_since);
		m->block[i].state = USED;
	}
}

/* Free a run of used blocks, at once or with the commit. */
static void model_free(struct model *m)
{
	u64 start = rng_range(&m->rng, 1, m->size - 1);
	u64 want = rng_range(&m->rng, 1, 400);
	bool deferred = rng_one_in(&m->rng, 2);
	u64 nr = 0;

	while (nr < want && start + nr < m->size &&
	       m->block[start + nr].state == USED)
		nr++;
	if (!nr)
		return;
	for (u64 i = start; i < start + nr; i++) {
		m->block[i].state = deferred ? DEFERRED : FREE;
		m->block[i].seq = m->seq;
	}
	if (deferred)
		ck_assert_int_eq(blocks_free_deferred(m->b, m->seq, start, nr),
				 0);
	else
		blocks_free(m->b, start, nr);
}

static void model_commit(struct model *m)
{
	bool cancel = rng_one_in(&m->rng, 4);
	u64 seq = cancel ? m->seq : m->seq - rng_below(&m->rng, 2);

	for (u64 i = 1; i < m->size; i++) {
		if (m->block[i].state != DEFERRED)
			continue;
		if (cancel && m->block[i].seq == seq) {
			m->block[i].state = USED;
		} else if (!cancel && m->block[i].seq <= seq) {
			m->block[i].state = RELEASED;
			m->block[i].when = m->now;
		}
	}
	if (cancel)
		blocks_cancel_deferred(m->b, seq);
	else
		blocks_release(m->b, seq);
	m->seq++;
}

static void model_read(struct model *m)
{
	u64 r = rng_below(&m->rng, 8);

	if (m->reader[r].on) {
		blocks_read_leave(m->b, m->reader[r].token);
	} else {
		m->reader[r].token = blocks_read_enter(m->b);
		m->reader[r].since = m->now;
	}
	m->reader[r].on = !m->reader[r].on;
}

static void model_hold(struct model *m)
{
	if (m->held) {
		blocks_unhold(m->b, m->hold);
	} else {
		m->hold = blocks_hold(m->b);
		m->held_since = m->now;
	}
	m->held = !m->held;
}

static void model_resize(struct model *m)
{
	u64 size = rng_range(&m->rng, 2, ARRAY_SIZE(m->block));
	bool behind = false;
	bool maybe = false;
	int err;

	for (u64 i = size; i < m->size; i++) {
		behind |= m->block[i].state == USED ||
			  m->block[i].state == DEFERRED;
		maybe |= m->block[i].state == RELEASED;
	}
	err = blocks_resize(m->b, size);
	if (err) {
		ck_assert_int_eq(err, -ENOSPC);
		ck_assert(behind || maybe);
		return;
	}
	ck_assert(!behind);
	for (u64 i = m->size; i < size; i++)
		m->block[i].state = FREE;
	for (u64 i = size; i < m->size; i++)
		m->block[i].state = FREE;
	m->size = size;
}

static void model_compare(struct model *m)
{
	struct blocks_stat st = stat_of(m->b);
	u64 used = 1;
	u64 released = 0;
	u64 deferred = 0;

	for (u64 i = 1; i < m->size; i++) {
		used += m->block[i].state == USED;
		deferred += m->block[i].state == DEFERRED;
		released += m->block[i].state == RELEASED;
	}
	ck_assert_uint_eq(st.total, m->size);
	ck_assert_uint_ge(st.used, used + deferred);
	ck_assert_uint_le(st.used, used + deferred + released);
	ck_assert_uint_eq(st.used - st.deferred - st.withheld, used);
	blocks_check(m->b);
}

static void model_step(struct model *m)
{
	m->now++;
	switch (rng_below(&m->rng, 20)) {
	case 0:
		model_commit(m);
		break;
	case 1:
		model_resize(m);
		break;
	case 2:
		model_hold(m);
		break;
	case 3:
		model_read(m);
		break;
	case 4 ... 10:
		model_free(m);
		break;
	default:
		model_alloc(m);
		break;
	}
}

START_TEST(random_operations_agree_with_a_plain_array)
{
	static const u64 sizes[] = {2, 50, 3000, 33000, 66000};
	struct model *m = calloc(1, sizeof(*m));

	rng_init(&m->rng, (u64)_i);
	m->size = sizes[_i];
	m->b = make(m->size);
	m->seq = 1;
	for (u64 i = 0; i < test_rounds(3000); i++) {
		model_step(m);
		if (i % 16 == 0)
			model_compare(m);
		if (i % 500 == 499 && m->size > sizes[_i] &&
		    blocks_resize(m->b, sizes[_i]) == 0)
			m->size = sizes[_i];
	}
	for (int r = 0; r < 8; r++) {
		if (m->reader[r].on)
			blocks_read_leave(m->b, m->reader[r].token);
	}
	done(m->b);
	free(m);
}
END_TEST

/* ---- memory ---- */

START_TEST(without_memory_an_allocation_fails_and_a_free_leaves_blocks_used)
{
	struct blocks *b;
	u64 start;
	u32 nr;

	charged = 0;
	for (u64 nth = 1;; nth++) {
		int err;

		test_fail_malloc(nth);
		err = blocks_new(100000, charge, NULL, &b);
		if (!test_malloc_failed())
			break;
		ck_assert_int_eq(err, -ENOMEM);
		ck_assert_int_eq(charged, 0);
	}
	test_fail_malloc(0);

	ck_assert_int_eq(blocks_mark_used(b, 1, 32767, false), 0);
	test_fail_malloc(1);
	ck_assert_int_eq(blocks_alloc(b, 10, &start, &nr), -ENOMEM);
	ck_assert_uint_eq(stat_of(b).used, 32768);
	test_fail_malloc(1);
	blocks_free(b, 100, 1);
	ck_assert_uint_eq(stat_of(b).used, 32768);
	test_fail_malloc(1);
	ck_assert_int_eq(blocks_free_deferred(b, 1, 100, 1), -ENOMEM);
	ck_assert_uint_eq(stat_of(b).deferred, 0);
	test_fail_malloc(1);
	ck_assert_int_eq(blocks_resize(b, 1 << 20), -ENOMEM);
	ck_assert_uint_eq(stat_of(b).total, 100000);
	test_fail_malloc(0);
	blocks_free(b, 100, 1);
	ck_assert_uint_eq(stat_of(b).used, 32767);
	done(b);
}
END_TEST

START_TEST(what_the_host_lacks_is_not_promised)
{
	struct blocks *b = make(1000); /* 999 free, 10 kept */

	blocks_set_missing(b, 900);
	ck_assert_uint_eq(stat_of(b).missing, 900);
	ck_assert_uint_eq(stat_of(b).total, 1000);
	ck_assert_int_eq(blocks_reserve(b, 90), -ENOSPC);
	ck_assert_int_eq(blocks_reserve(b, 89), 0);
	blocks_unreserve(b, 89);
	blocks_set_missing(b, 2000);
	ck_assert_int_eq(blocks_reserve(b, 1), -ENOSPC);
	blocks_set_missing(b, 0);
	ck_assert_int_eq(blocks_reserve(b, 989), 0);
	blocks_unreserve(b, 989);
	done(b);
}
END_TEST

START_TEST(free_runs_are_taken_and_given_back)
{
	struct blocks *b = make(1000);
	u64 start = 0;
	u32 nr = 0;

	ck_assert_int_eq(blocks_mark_used(b, 5, 10, false), 0);
	ck_assert(blocks_take_free(b, 0, 1000, 100, &start, &nr));
	ck_assert(start == 1 && nr == 4);
	ck_assert(blocks_take_free(b, start + nr, 20, 100, &start, &nr));
	ck_assert(start == 15 && nr == 5);
	ck_assert(!blocks_take_free(b, 20, 20, 100, &start, &nr));
	ck_assert(blocks_take_free(b, 20, 1000, 100, &start, &nr));
	ck_assert(start == 20 && nr == 100);
	ck_assert_uint_eq(stat_of(b).used, 1 + 10 + 4 + 5 + 100);
	blocks_free(b, 20, 100);
	blocks_free(b, 15, 5);
	blocks_free(b, 1, 4);

	/* of what is not promised, half at most */
	ck_assert_int_eq(blocks_reserve(b, 969), 0);
	ck_assert(blocks_take_free(b, 20, 1000, 100, &start, &nr));
	ck_assert_uint_eq(nr, 5);
	ck_assert_int_eq(blocks_reserve(b, 5), 0);
	blocks_free(b, start, nr);
	ck_assert_int_eq(blocks_reserve(b, 5), 0);
	ck_assert(!blocks_take_free(b, 20, 1000, 100, &start, &nr));
	blocks_unreserve(b, 979);

	blocks_pull_in(b);
	ck_assert_uint_eq(stat_of(b).spread, 15);
	done(b);
}
END_TEST

START_TEST(memory_follows_partly_used_groups)
{
	struct blocks *b = make(100 * 32768);
	s64 base = charged;

	ck_assert_int_eq(blocks_mark_used(b, 32768, 98 * 32768, false), 0);
	ck_assert_int_eq(charged, base);
	for (u64 g = 1; g <= 98; g++)
		blocks_free(b, g * 32768 + 77, 1);
	ck_assert_int_eq(charged, base + 98 * 4096);
	for (u64 g = 1; g <= 98; g++) {
		blocks_free(b, g * 32768, 77);
		blocks_free(b, g * 32768 + 78, 32768 - 78);
	}
	ck_assert_int_eq(charged, base);
	done(b);
}
END_TEST

/* ---- threads ---- */

static void *churn(void *arg)
{
	struct blocks *b = arg;
	u64 starts[32] = {0};
	u32 nrs[32];

	for (int i = 0; i < 4000; i++) {
		u32 token = blocks_read_enter(b);
		int at = i % 32;

		if (starts[at])
			blocks_free(b, starts[at], nrs[at]);
		starts[at] = 0;
		(void)blocks_alloc(b, 1 + (u32)i % 64, &starts[at], &nrs[at]);
		blocks_read_leave(b, token);
	}
	for (int at = 0; at < 32; at++) {
		if (starts[at])
			blocks_free(b, starts[at], nrs[at]);
	}
	return NULL;
}

START_TEST(threads_share_a_map)
{
	struct blocks *b = make(50000);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, b),
				 0);
	for (u64 seq = 1; seq < 500; seq++) {
		u64 start;
		u32 nr;

		if (blocks_alloc(b, 16, &start, &nr) == 0)
			(void)blocks_free_deferred(b, seq, start, nr);
		blocks_release(b, seq);
	}
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	ck_assert_uint_eq(stat_of(b).used, 1);
	done(b);
}
END_TEST

#ifdef FOLIO_DEBUG
static void free_twice(void *arg)
{
	struct blocks *b = make(100);

	ck_assert_int_eq(blocks_mark_used(b, 5, 2, false), 0);
	blocks_free(b, 5, 2);
	blocks_free(b, 5, 1);
}

START_TEST(freeing_a_free_block_aborts)
{
	test_aborts(free_twice, NULL, "group_all");
}
END_TEST
#endif

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("blocks", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_new_map_has_block_zero_used_alone);
	tcase_add_test(
		tc,
		an_empty_volume_gives_runs_as_long_as_asked_for_one_behind_the_other);
	tcase_add_loop_test(
		tc, every_block_is_given_out_once_then_there_is_no_space, 0, 8);
	tcase_add_test(tc, fragmented_space_gives_the_longest_run_nearby);
	tcase_add_test(tc, a_commit_frees_only_what_is_in_use_and_that_once);
	tcase_add_test(tc, marking_refuses_what_is_used_or_out_of_bounds);
	tcase_add_test(tc, a_small_volume_stays_below_its_spread);
	tcase_add_test(tc, reservations_leave_one_percent);
	tcase_add_test(tc,
		       a_deferred_block_comes_free_when_its_commit_is_released);
	tcase_add_test(tc, a_cancelled_commit_frees_nothing);
	tcase_add_test(
		tc,
		a_released_block_waits_for_readers_of_before_and_for_no_others);
	tcase_add_test(tc,
		       what_is_freed_during_a_hold_is_withheld_until_its_end);
	tcase_add_test(
		tc, slots_that_no_commit_took_are_free_at_once_whoever_holds);
	tcase_add_test(tc, without_room_holds_are_lost_and_allocation_goes_on);
	tcase_add_test(tc,
		       a_reservation_that_does_not_fit_takes_what_is_withheld);
	tcase_add_test(tc, readers_are_waited_for_before_blocks_are_withheld);
	tcase_add_test(tc, without_memory_a_hold_is_lost_and_nothing_else);
	tcase_add_loop_test(tc, random_operations_agree_with_a_plain_array, 0,
			    5);
	tcase_add_test(
		tc,
		without_memory_an_allocation_fails_and_a_free_leaves_blocks_used);
	tcase_add_test(tc, what_the_host_lacks_is_not_promised);
	tcase_add_test(tc, free_runs_are_taken_and_given_back);
	tcase_add_test(tc, memory_follows_partly_used_groups);
	tcase_add_test(tc, threads_share_a_map);
#ifdef FOLIO_DEBUG
	tcase_add_test(tc, freeing_a_free_block_aborts);
#endif
	return s;
}

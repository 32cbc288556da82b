/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fault_set.h"
#include "test.h"

static struct fault_set set;

static void setup(void)
{
	set = (struct fault_set){.nr = 0};
}

static void teardown(void)
{
	fault_set_done(&set);
}

static bool add(pid_t tid, u64 ino, u64 pgoff, u32 nr, enum fault_kind kind)
{
	struct fault_entry entry = {
		.tid = tid,
		.ino = ino,
		.sum = {.first = pgoff, .last = pgoff + nr - 1},
	};

	entry.sum.nr[kind] = 1;
	return fault_set_add(&set, &entry);
}

/* Entries ascend, and none is of another thread's or file's pages. */
static void check(void)
{
	ck_assert_uint_le(set.nr, set.cap);
	ck_assert_uint_le(set.cap, FAULT_SET_MAX);
	for (u32 i = 0; i < set.nr; i++) {
		const struct fault_entry *e = &set.entries[i];

		ck_assert_uint_le(e->sum.first, e->sum.last);
		ck_assert_uint_gt(fault_sum_reads(&e->sum), 0);
		if (!i)
			continue;
		ck_assert_int_ge(e->tid, e[-1].tid);
		if (e->tid != e[-1].tid)
			continue;
		ck_assert_uint_ge(e->ino, e[-1].ino);
		if (e->ino == e[-1].ino)
			ck_assert_uint_ge(e->sum.first, e[-1].sum.first);
	}
}

START_TEST(each_page_is_told_apart_while_there_is_room)
{
	for (u32 i = 0; i < FAULT_SET_MAX; i++)
		ck_assert(add(1, 2, (i * 7ull) % FAULT_SET_MAX, 1, i % 3));
	check();
	ck_assert_uint_eq(set.nr, FAULT_SET_MAX);
	for (u32 i = 0; i < FAULT_SET_MAX; i++) {
		ck_assert_uint_eq(set.entries[i].sum.first, i);
		ck_assert_uint_eq(set.entries[i].sum.last, i);
	}
	/* the same again needs none */
	for (u32 i = 0; i < FAULT_SET_MAX; i++)
		ck_assert(add(1, 2, i, 1, FAULT_MINOR));
	ck_assert_uint_eq(set.nr, FAULT_SET_MAX);
	ck_assert_uint_eq(fault_set_reads(&set), 2 * FAULT_SET_MAX);
}
END_TEST

#define MODEL_TIDS 3
#define MODEL_INOS 5

START_TEST(without_room_every_read_still_counts_where_it_was)
{
	static u64 want[MODEL_TIDS][MODEL_INOS][NR_FAULT_KINDS];
	u64 got[MODEL_TIDS][MODEL_INOS][NR_FAULT_KINDS] = {0};
	struct rng rng;

	rng_init(&rng, 1);
	for (u32 i = 0; i < 50000; i++) {
		u32 tid = (u32)rng_below(&rng, MODEL_TIDS);
		u32 ino = (u32)rng_below(&rng, MODEL_INOS);
		u32 kind = (u32)rng_below(&rng, NR_FAULT_KINDS);
		u64 pgoff = rng_below(&rng, 1000000);

		ck_assert(add((pid_t)tid, ino, ino * 1000000 + pgoff, 4, kind));
		want[tid][ino][kind]++;
		if (i % 1000 == 0)
			check();
	}
	check();
	for (u32 i = 0; i < set.nr; i++) {
		const struct fault_entry *e = &set.entries[i];

		ck_assert_uint_ge(e->sum.first, e->ino * 1000000);
		ck_assert_uint_lt(e->sum.last, (e->ino + 1) * 1000000 + 4);
		for (u32 kind = 0; kind < NR_FAULT_KINDS; kind++)
			got[e->tid][e->ino][kind] += e->sum.nr[kind];
	}
	ck_assert_mem_eq(got, want, sizeof(got));
}
END_TEST

START_TEST(what_is_near_becomes_one_first)
{
	const u32 run = 600;

	for (u32 i = 0; i < run; i++)
		ck_assert(add(1, 1, i, 1, FAULT_MINOR));
	for (u32 i = run; i < FAULT_SET_MAX; i++)
		ck_assert(add(1, 1, i * 1000, 1, FAULT_MINOR));
	ck_assert(add(1, 2, 0, 1, FAULT_MINOR));
	check();
	/* the run, the others, and the new one */
	ck_assert_uint_eq(set.nr, 1 + (FAULT_SET_MAX - run) + 1);
	ck_assert_uint_eq(set.entries[0].sum.last, run - 1);
	ck_assert_uint_eq(set.entries[0].sum.nr[FAULT_MINOR], run);
}
END_TEST

START_TEST(more_files_than_there_is_room_for_are_refused)
{
	for (u32 i = 0; i < FAULT_SET_MAX; i++)
		ck_assert(add(1, i * 2, i, 1, FAULT_MINOR));
	for (u32 i = 0; i < FAULT_SET_MAX; i++) {
		ck_assert(!add(1, i * 2 + 1, i, 1, FAULT_MINOR));
		ck_assert(add(1, i * 2, 0, 1, FAULT_MINOR));
		ck_assert(add(1, i * 2, i + 5, 1, FAULT_VOLUME));
	}
	check();
	ck_assert_uint_eq(fault_set_reads(&set), 3 * FAULT_SET_MAX);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fault set", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_page_is_told_apart_while_there_is_room);
	tcase_add_test(tc, without_room_every_read_still_counts_where_it_was);
	tcase_add_test(tc, what_is_near_becomes_one_first);
	tcase_add_test(tc, more_files_than_there_is_room_for_are_refused);
	return s;
}

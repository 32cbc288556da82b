/* SPDX-License-Identifier: MIT */
/*
 * Reads by which the kernel fills its cache, in own mode, over a socket pair:
 * who is put off while the unmapper is at work, who is not, and for how long.
 * The pacer's clock stands still unless a test moves it, so nothing here
 * depends on speed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "deferred.h"
#include "fuse_peer.h"
#include "log.h"
#include "scripted_fs.h"
#include "test.h"
#include "unmapper.h"
#include "wire.h"

static struct peer peer;
static struct session_config cfg;
static struct unmapper *unmapper;
static u64 clock_ns;
static u64 fh;

/* ---- an unmapper that gets nowhere until it may ---- */

static struct {
	struct mutex lock;
	struct waitq changed;
	bool closed;
	unsigned nr_waiting;
} gate;

static int gated_inval(void *arg, u64 ino, u64 pos, u64 len)
{
	(void)arg, (void)ino, (void)pos, (void)len;
	mutex_lock(&gate.lock);
	gate.nr_waiting++;
	waitq_wake_all(&gate.changed);
	while (gate.closed)
		waitq_wait(&gate.changed, &gate.lock);
	gate.nr_waiting--;
	mutex_unlock(&gate.lock);
	return 0;
}

static void open_gate(void)
{
	mutex_lock(&gate.lock);
	gate.closed = false;
	mutex_unlock(&gate.lock);
	waitq_wake_all(&gate.changed);
}

/* Until the unmapper is at it. */
static void wait_at_gate(void)
{
	mutex_lock(&gate.lock);
	while (!gate.nr_waiting)
		waitq_wait(&gate.changed, &gate.lock);
	mutex_unlock(&gate.lock);
}

static void make_unmapper(void)
{
	const struct unmapper_config ucfg = {.own = true, .inval = gated_inval};
	const struct mount_dev dev = {0, 1};

	mutex_init(&gate.lock, LOCK_LEAF, "gate");
	waitq_init(&gate.changed);
	gate.closed = true;
	ck_assert_int_eq(unmapper_new(&ucfg, &unmapper), 0);
	ck_assert_int_eq(unmapper_start(unmapper, "/", &dev), 0);
}

static u64 frozen_now(void *arg)
{
	(void)arg;
	return __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);
}

/* A budget of no page at all: the second fill finds one page too many. */
static void setup(void)
{
	struct fuse_open_out out;

	log_open("test", false);
	log_from_libfuse();
	fake_reset();
	fake.to_invalidate = true;
	fake.size = FAKE_SIZE;
	clock_ns = NSEC_PER_SEC;
	make_unmapper();
	cfg = (struct session_config){
		.own = true, .unmapper = unmapper, .now = frozen_now};
	peer_init(&peer, &cfg, 39, PEER_INIT_FLAGS | WIRE_DIRECT_IO_ALLOW_MMAP);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, FAKE_FILE, O_RDONLY, &out), 0);
	fh = out.fh;
}

static void teardown(void)
{
	open_gate();
	unmapper_stop(unmapper);
	peer_close(&peer);
	unmapper_free(unmapper);
}

/* @owner 0: the kernel's own. */
static u64 send_read(u64 page, u64 owner)
{
	struct fuse_read_in in = {
		.fh = fh,
		.offset = page * PAGE_SIZE,
		.size = PAGE_SIZE,
		.lock_owner = owner,
		.read_flags = owner ? FUSE_READ_LOCKOWNER : 0,
	};

	return peer_send(&peer, FUSE_READ, FAKE_FILE, &in, sizeof(in), NULL, 0);
}

static void expect_page(u64 unique)
{
	struct peer_reply *reply = peer_wait(&peer, unique);

	ck_assert_int_eq(reply->error, 0);
	ck_assert_uint_eq(reply->len, PAGE_SIZE);
	free(reply);
}

static struct unmapper_stat stat_now(void)
{
	struct unmapper_stat st;

	unmapper_stat(unmapper, &st);
	return st;
}

/* One page is handed out, and being taken back: there is no room. */
static void fill_up(void)
{
	expect_page(send_read(0, 0));
	wait_at_gate();
}

START_TEST(a_fault_waits_for_room_and_nobody_with_it)
{
	u64 faults[3 * SESSION_WORKERS];

	fill_up();
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		faults[i] = send_read(1 + i % 60, 0);
	expect_page(send_read(1, 77)); /* a read(2) */
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		ck_assert(!peer_answered(&peer, faults[i]));

	open_gate();
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		expect_page(faults[i]);
	ck_assert_uint_eq(stat_now().unmap_late, 0);
	ck_assert_uint_ge(stat_now().unmap_waits, 1);
}
END_TEST

START_TEST(only_what_the_kernel_keeps_is_noted_as_that)
{
	expect_page(send_read(0, 77));
	ck_assert_uint_eq(fake.nr_filled, 0);
	expect_page(send_read(0, 0));
	ck_assert_uint_eq(fake.nr_filled, 1);
}
END_TEST

START_TEST(a_fault_waits_no_longer_than_a_fifth_of_a_second)
{
	u64 fault;

	fill_up();
	fault = send_read(1, 0);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert(!peer_answered(&peer, fault));
	(void)__atomic_add_fetch(&clock_ns, 200 * NSEC_PER_MSEC,
				 __ATOMIC_RELAXED);
	expect_page(fault);
	ck_assert_uint_eq(stat_now().unmap_waits, 1);
	ck_assert_uint_eq(stat_now().unmap_late, 1);
	ck_assert_uint_eq(stat_now().nr_kernel_pages, 2);
}
END_TEST

START_TEST(a_fault_that_cannot_be_kept_is_served_at_once)
{
	static char buf[128 << 10];
	u64 writes[DEFERRED_HELD_MAX / sizeof(buf) + 1];

	fill_up();
	fake.hold_dones = true;
	fake.full = (int)ARRAY_SIZE(writes);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		writes[i] = peer_send_write(&peer, FAKE_FILE, fh, 0, buf,
					    sizeof(buf), 0);
		fake_wait_dones((unsigned)i + 1);
	}
	expect_page(send_read(1, 0));
	fake_complete(0);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		free(peer_wait(&peer, writes[i]));
}
END_TEST

START_TEST(when_the_unmapper_has_ended_nobody_waits)
{
	u64 fault;

	fill_up();
	fault = send_read(1, 0);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert(!peer_answered(&peer, fault));
	open_gate();
	unmapper_stop(unmapper);
	expect_page(fault);
	expect_page(send_read(2, 0));
	expect_page(send_read(3, 0));
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("session, cache=own", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_fault_waits_for_room_and_nobody_with_it);
	tcase_add_test(tc, only_what_the_kernel_keeps_is_noted_as_that);
	tcase_add_test(tc, a_fault_waits_no_longer_than_a_fifth_of_a_second);
	tcase_add_test(tc, a_fault_that_cannot_be_kept_is_served_at_once);
	tcase_add_test(tc, when_the_unmapper_has_ended_nobody_waits);
	return suite;
}

/* SPDX-License-Identifier: MIT */
/*
 * The FUSE side over a socket pair, above a filesystem that does as it is told
 * (tests/scripted_fs.h): what is agreed on in INIT, what each request asks and
 * is answered, what waits and what must not, and what the world can do wrong.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deferred.h"
#include "scripted_fs.h"
#include "acl.h"
#include "foliofs.h"
#include "fuse_peer.h"
#include "log.h"
#include "test.h"
#include "tmpdir.h"
#include "tracker.h"

#define DAY 86400

static struct peer peer;
static struct session_config cfg;
static u64 clock_ns;

static u64 frozen_now(void *arg)
{
	(void)arg;
	return __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);
}

static void move_clock(u64 ns)
{
	(void)__atomic_add_fetch(&clock_ns, ns, __ATOMIC_RELAXED);
	(void)pacer_run(peer.session->pacer);
}

static void setup(void)
{
	log_open("test", false);
	log_from_libfuse();
	fake_reset();
	clock_ns = NSEC_PER_SEC;
	cfg = (struct session_config){.now = frozen_now};
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
}

static void setup_bare(void)
{
	log_open("test", false);
	log_from_libfuse();
	fake_reset();
	cfg = (struct session_config){.writeback = false};
}

static void teardown(void)
{
	peer_close(&peer);
}

/* ---- INIT ---- */

static bool readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

static void wait_readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	ck_assert_int_eq(poll(&pfd, 1, 60000), 1);
}

START_TEST(init_agrees_on_what_the_design_says)
{
	u32 flags = peer.init.flags;

	ck_assert(flags & FUSE_EXPLICIT_INVAL_DATA);
	ck_assert(!(flags & FUSE_AUTO_INVAL_DATA));
	ck_assert(!(flags & FUSE_WRITEBACK_CACHE));
	ck_assert(flags & FUSE_PARALLEL_DIROPS);
	ck_assert(flags & FUSE_DO_READDIRPLUS);
	ck_assert(flags & FUSE_ATOMIC_O_TRUNC);
	ck_assert(flags & FUSE_CACHE_SYMLINKS);
	ck_assert(flags & FUSE_HANDLE_KILLPRIV_V2);
	ck_assert(!(flags & FUSE_HANDLE_KILLPRIV));
	ck_assert(!(flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS)));
	ck_assert(flags & FUSE_POSIX_ACL);
	ck_assert(flags & FUSE_DONT_MASK);
	ck_assert(flags & FUSE_SETXATTR_EXT);
	ck_assert(flags & FUSE_EXPORT_SUPPORT);
	ck_assert_uint_eq(peer.init.max_write, 1 << 20);
	ck_assert_uint_eq(peer.init.max_pages, 256);
	ck_assert_uint_eq(peer.init.max_background, SESSION_MAX_BACKGROUND);
	ck_assert_uint_eq(peer.init.time_gran, 1);
}
END_TEST

START_TEST(writeback_mode_asks_for_the_kernels_cache)
{
	cfg.writeback = true;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
	ck_assert(peer.init.flags & FUSE_WRITEBACK_CACHE);
	ck_assert(!(peer.init.flags & FUSE_AUTO_INVAL_DATA));
	ck_assert(peer.init.flags & FUSE_EXPLICIT_INVAL_DATA);
	peer_close(&peer);
}
END_TEST

#define OWN_INIT_FLAGS (PEER_INIT_FLAGS | WIRE_DIRECT_IO_ALLOW_MMAP)

START_TEST(own_mode_asks_for_mapping_without_readahead)
{
	cfg.own = true;
	peer_init(&peer, &cfg, 39, OWN_INIT_FLAGS);
	ck_assert(peer.init.flags & FUSE_INIT_EXT);
	ck_assert_uint_eq(peer.init.flags2, WIRE_DIRECT_IO_ALLOW_MMAP >> 32);
	ck_assert_uint_eq(peer.init.max_readahead, 0);
	ck_assert(!(peer.init.flags & FUSE_WRITEBACK_CACHE));
	ck_assert(!(peer.init.flags & FUSE_AUTO_INVAL_DATA));
	ck_assert(peer.init.flags & FUSE_EXPLICIT_INVAL_DATA);
	ck_assert(!session_unfit(peer.session));
	peer_close(&peer);
}
END_TEST

START_TEST(other_modes_do_not_ask_for_it)
{
	peer_init(&peer, &cfg, 39, OWN_INIT_FLAGS);
	ck_assert(!(peer.init.flags2 & (WIRE_DIRECT_IO_ALLOW_MMAP >> 32)));
	ck_assert_uint_eq(peer.init.max_readahead, 128 << 10);
	peer_close(&peer);
}
END_TEST

START_TEST(own_mode_refuses_a_kernel_that_cannot_map)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 38, .flags = (u32)PEER_INIT_FLAGS};

	cfg.own = true;
	peer_open(&peer, &cfg);
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &in, sizeof(in), NULL,
				   0, NULL, 0),
			 -EPROTONOSUPPORT);
	wait_readable(session_ready_fd(peer.session));
	ck_assert(session_unfit(peer.session));
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), -EIO);
	peer_close(&peer);
}
END_TEST

START_TEST(own_mode_opens_files_for_direct_io_with_parallel_writes)
{
	struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG};
	u32 want = FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_NOFLUSH |
		   FOPEN_PARALLEL_DIRECT_WRITES;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
	struct fuse_open_out out;

	cfg.own = true;
	peer_init(&peer, &cfg, 39, OWN_INIT_FLAGS);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, FAKE_FILE, O_RDWR, &out), 0);
	ck_assert_uint_eq(out.open_flags, want);
	ck_assert_int_eq(peer_call(&peer, FUSE_CREATE, FS_ROOT_INO, &create,
				   sizeof(create), "new", 4, &made,
				   sizeof(made)),
			 0);
	ck_assert_uint_eq(made.open.open_flags, want);
	/* nothing else is changed by the way */
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, FS_ROOT_INO, 0, &out), 0);
	ck_assert_uint_eq(out.open_flags, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR);
	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, FAKE_CONTROL_FILE,
					O_RDONLY, &out),
			 0);
	ck_assert_uint_eq(out.open_flags, FOPEN_DIRECT_IO);
	peer_close(&peer);
}
END_TEST

START_TEST(nothing_is_agreed_on_that_an_older_kernel_lacks)
{
	cfg.writeback = true;
	peer_init(&peer, &cfg, 27, FUSE_ASYNC_READ);
	ck_assert_uint_eq(peer.init.flags & ~(u32)FUSE_BIG_WRITES,
			  FUSE_ASYNC_READ);
	ck_assert_uint_le(peer.init.max_write, 32 * 4096);
	peer_close(&peer);
}
END_TEST

START_TEST(nothing_is_served_before_init_and_no_second_init)
{
	struct fuse_init_in in = {.major = 7, .minor = 38};

	peer_open(&peer, &cfg);
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), -EIO);
	ck_assert(!readable(session_ready_fd(peer.session)));
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &in, sizeof(in), NULL,
				   0, NULL, 0),
			 0);
	wait_readable(session_ready_fd(peer.session));
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	ck_assert_int_eq(peer_call(&peer, FUSE_INIT, 0, &in, sizeof(in), NULL,
				   0, NULL, 0),
			 -EIO);
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	peer_close(&peer);
}
END_TEST

START_TEST(an_unknown_mount_option_makes_no_session)
{
	struct session *s;

	cfg.mount_options = "nonsense";
	ck_assert_int_eq(session_new(&cfg, &s), -EINVAL);
	cfg.mount_options = "nosuid,allow_other";
	cfg.fsname = "a,b\\c";
	ck_assert_int_eq(session_new(&cfg, &s), 0);
	session_free(s);
}
END_TEST

START_TEST(the_session_ends_when_the_other_end_goes)
{
	ck_assert(!readable(session_ended_fd(peer.session)));
	peer_hang_up(&peer);
	wait_readable(session_ended_fd(peer.session));
}
END_TEST

/* ---- look-ups ---- */

START_TEST(what_is_found_and_what_is_not_stays_good_for_a_day)
{
	struct fuse_entry_out out;

	ck_assert_int_eq(peer_lookup(&peer, FS_ROOT_INO, "file", &out), 0);
	ck_assert_uint_eq(out.nodeid, FAKE_FILE);
	ck_assert_uint_eq(out.attr.ino, FAKE_FILE);
	ck_assert_uint_eq(out.entry_valid, DAY);
	ck_assert_uint_eq(out.attr_valid, DAY);

	ck_assert_int_eq(peer_lookup(&peer, FS_ROOT_INO, "none", &out), 0);
	ck_assert_uint_eq(out.nodeid, 0);
	ck_assert_uint_eq(out.entry_valid, DAY);

	ck_assert_int_eq(peer_lookup(&peer, FS_ROOT_INO, "broken", &out), -EIO);
	ck_assert_int_eq(peer_lookup(&peer, FAKE_FILE, "x", &out), -ENOTDIR);
	ck_assert_uint_eq(fake.lookups, 1);
}
END_TEST

/* What happens without an answer, or after it, is waited for. */
static void wait_count(const u64 *count, u64 nr)
{
	mutex_lock(&fake.lock);
	while (*count != nr)
		waitq_wait(&fake.changed, &fake.lock);
	mutex_unlock(&fake.lock);
}

START_TEST(forgets_give_back_what_lookups_took)
{
	struct fuse_batch_forget_in batch = {.count = 3};
	struct fuse_forget_one ones[3] = {
		{FAKE_FILE, 4}, {FAKE_DIR, 1}, {CONTROL_INO, 9}};
	struct fuse_entry_out out;

	for (int i = 0; i < 7; i++)
		(void)peer_lookup(&peer, FS_ROOT_INO, "file", &out);
	(void)peer_lookup(&peer, FS_ROOT_INO, "dir", &out);
	(void)peer_lookup(&peer, FS_ROOT_INO, CONTROL_NAME, &out);
	ck_assert_uint_eq(fake.lookups, 8);
	peer_forget(&peer, FAKE_FILE, 3);
	peer_forget(&peer, CONTROL_INO, 1);
	(void)peer_send(&peer, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch),
			ones, sizeof(ones));
	wait_count(&fake.lookups, 0);
}
END_TEST

START_TEST(what_an_answer_could_not_hand_over_is_dropped)
{
	struct fuse_open_in open = {.flags = O_RDWR};
	struct fuse_create_in create = {.flags = O_RDWR, .mode = 0644};
	struct fuse_open_out dir;
	struct fuse_read_in read = {.size = 4096};

	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, FS_ROOT_INO, 0, &dir), 0);
	read.fh = dir.fh;
	fake.gated = true;
	(void)peer_send(&peer, FUSE_LOOKUP, 1, NULL, 0, "file", 5);
	(void)peer_send(&peer, FUSE_OPEN, FAKE_FILE, &open, sizeof(open), NULL,
			0);
	(void)peer_send(&peer, FUSE_OPENDIR, 1, &open, sizeof(open), NULL, 0);
	(void)peer_send(&peer, FUSE_CREATE, 1, &create, sizeof(create), "x", 2);
	(void)peer_send(&peer, FUSE_READDIRPLUS, 1, &read, sizeof(read), NULL,
			0);
	fake_wait_gated(5);
	peer_hang_up(&peer);
	fake_open_gate();
	session_stop(peer.session);
	ck_assert_uint_eq(fake.lookups, 0);
	ck_assert_uint_eq(fake.handles, 1); /* the folder */
}
END_TEST

/* ---- open files ---- */

static u64 open_file(void)
{
	struct fuse_open_out out;

	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, FAKE_FILE, O_RDWR, &out), 0);
	ck_assert_uint_eq(out.fh, FAKE_FH);
	return out.fh;
}

/* By the retrier, whose clock is the real one; no worker waits. */
START_TEST(an_open_while_pages_are_taken_back_is_answered_later)
{
	struct fuse_open_in in = {.flags = O_RDWR};
	u64 opened;

	__atomic_store_n(&fake.taking, 3, __ATOMIC_RELEASE);
	opened = peer_send(&peer, FUSE_OPEN, FAKE_FILE, &in, sizeof(in), NULL,
			   0);
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	free(peer_wait(&peer, opened));
	ck_assert_int_eq(__atomic_load_n(&fake.taking, __ATOMIC_ACQUIRE), 0);
	ck_assert_uint_eq(fake.handles, 1);
}
END_TEST

START_TEST(opens_keep_the_kernels_cache_and_need_no_flush)
{
	struct fuse_open_out out;

	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, FAKE_FILE, O_RDWR, &out), 0);
	ck_assert_uint_eq(out.open_flags, FOPEN_KEEP_CACHE | FOPEN_NOFLUSH);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, FS_ROOT_INO, 0, &out), 0);
	ck_assert_uint_eq(out.open_flags, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR);
	__atomic_store_n(&fake.listed_elsewhere, true, __ATOMIC_SEQ_CST);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, FS_ROOT_INO, 0, &out), 0);
	ck_assert_uint_eq(out.open_flags, FOPEN_KEEP_CACHE);
	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, 99, 0, &out),
			 -ENOENT);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, FAKE_FILE, FAKE_FH),
			 0);
	ck_assert_int_eq(
		peer_release(&peer, FUSE_RELEASEDIR, FS_ROOT_INO, FAKE_FH), 0);
	ck_assert_int_eq(
		peer_release(&peer, FUSE_RELEASEDIR, FS_ROOT_INO, FAKE_FH), 0);
	ck_assert_uint_eq(fake.handles, 0);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, FAKE_FILE, 5),
			 -EBADF);
}
END_TEST

START_TEST(a_file_without_a_name_is_made_and_opened)
{
	struct fuse_create_in in = {.mode = S_IFREG | 0600, .flags = O_RDWR};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	ck_assert_int_eq(peer_call(&peer, FUSE_TMPFILE, FS_ROOT_INO, &in,
				   sizeof(in), "/", 2, &out, sizeof(out)),
			 0);
	ck_assert_uint_eq(fake.nameless, 1);
	ck_assert_uint_ne(out.entry.nodeid, 0);
	ck_assert_uint_ge(out.open.fh, FAKE_FH);
	ck_assert_int_eq(peer_call(&peer, FUSE_TMPFILE, CONTROL_INO, &in,
				   sizeof(in), "/", 2, &out, sizeof(out)),
			 -EPERM);
}
END_TEST

START_TEST(statx_tells_the_time_of_birth_where_there_is_one)
{
	struct wire_statx_in in = {.sx_mask = STATX_BTIME};
	struct wire_statx_out out;

	ck_assert_int_eq(peer_call(&peer, WIRE_STATX, FAKE_FILE, &in,
				   sizeof(in), NULL, 0, &out, sizeof(out)),
			 0);
	ck_assert_uint_eq(out.mask, STATX_BASIC_STATS | STATX_BTIME);
	ck_assert_int_eq(out.btime.sec, -3);
	ck_assert_uint_eq(out.btime.nsec, 4);
	ck_assert_uint_eq(out.ino, FAKE_FILE);
	ck_assert_uint_gt(out.attr_valid, 0);

	ck_assert_int_eq(peer_call(&peer, WIRE_STATX, FAKE_CONTROL_FILE, &in,
				   sizeof(in), NULL, 0, &out, sizeof(out)),
			 0);
	ck_assert_uint_eq(out.mask, STATX_BASIC_STATS);
	ck_assert_uint_eq(out.attr_valid, 0);
}
END_TEST

START_TEST(a_read_sends_what_lies_in_frames_and_what_was_bounced)
{
	static char buf[128 << 10];
	u64 fh = open_file();
	struct rng rng;

	rng_init(&rng, 2);
	fake.size = 200000;
	rng_fill(&rng, fake.data, fake.size);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_FILE, fh, 1000, buf,
				   sizeof(buf)),
			 sizeof(buf));
	ck_assert_int_eq(memcmp(buf, fake.data + 1000, sizeof(buf)), 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_FILE, fh, 199990, buf,
				   sizeof(buf)),
			 10);
	ck_assert_int_eq(memcmp(buf, fake.data + 199990, 10), 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_FILE, fh, 200000, buf,
				   sizeof(buf)),
			 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_FILE, 7, 0, buf, 100),
			 -EBADF);
	ck_assert_int_eq(
		peer_read(&peer, FUSE_READ, FAKE_FILE, fh, UINT64_MAX, buf, 1),
		-EINVAL);
	wait_count(&fake.pins, 0);
	ck_assert_uint_eq(fake.nr_reads, 3);
}
END_TEST

START_TEST(a_write_is_answered_when_it_is_stored)
{
	u64 fh = open_file();

	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, 10, "hello", 5), 5);
	ck_assert_int_eq(memcmp(fake.data + 10, "hello", 5), 0);
	ck_assert_uint_eq(fake.last_write_flags, 0);
	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, 3, 10, "x", 1), -EBADF);
	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, FAKE_SIZE, "x", 1),
			 -EFBIG);
	ck_assert_int_eq(
		peer_write(&peer, FAKE_FILE, fh, UINT64_MAX - 1, "x", 1),
		-EINVAL);
}
END_TEST

START_TEST(dropped_set_id_bits_are_told_to_the_kernel_and_no_page_is_touched)
{
	struct fuse_notify_inval_inode_out out;
	u64 fh = open_file();
	struct peer_reply *note;

	fake.drops_setid = true;
	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, 0, "x", 1), 1);
	note = peer_wait(&peer, 0);
	ck_assert_int_eq(note->error, FUSE_NOTIFY_INVAL_INODE);
	ck_assert_uint_eq(note->len, sizeof(out));
	memcpy(&out, note->data, sizeof(out));
	ck_assert_uint_eq(out.ino, FAKE_FILE);
	ck_assert_int_lt(out.off, 0);
	free(note);
}
END_TEST

START_TEST(
	set_id_bits_go_when_the_kernel_says_that_the_writer_may_not_keep_them)
{
	u64 fh = open_file();
	struct fuse_fallocate_in want = {.fh = fh, .length = 1};
	struct fuse_copy_file_range_in copy = {
		.fh_in = fh, .nodeid_out = FAKE_FILE, .fh_out = fh, .len = 1};

	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, 0, "x", 1), 1);
	ck_assert_uint_eq(fake.last_write_flags, 0);
	(void)peer_send_write(&peer, FAKE_FILE, fh, 0, "x", 1,
			      FUSE_WRITE_KILL_SUIDGID);
	free(peer_wait(&peer, peer.unique));
	ck_assert_uint_eq(fake.last_write_flags, FS_KILL_SUIDGID);

	/* of these it does not say; the peer's user is not root */
	ck_assert_int_eq(peer_call(&peer, FUSE_FALLOCATE, FAKE_FILE, &want,
				   sizeof(want), NULL, 0, NULL, 0),
			 0);
	ck_assert(fake.last_kill);
	fake.last_kill = false;
	ck_assert_int_eq(peer_call(&peer, FUSE_COPY_FILE_RANGE, FAKE_FILE,
				   &copy, sizeof(copy), NULL, 0, NULL, 0),
			 0);
	ck_assert(fake.last_kill);
}
END_TEST

/* ---- what waits, and what must not ---- */

static ssize_t written(u64 unique)
{
	struct peer_reply *reply = peer_wait(&peer, unique);
	struct fuse_write_out out;
	ssize_t ret = reply->error;

	if (!ret) {
		memcpy(&out, reply->data, sizeof(out));
		ret = out.size;
	}
	free(reply);
	return ret;
}

START_TEST(throttled_writers_wait_and_nobody_with_them)
{
	u64 fh = open_file();
	u64 writes[3 * SESSION_WORKERS];

	fake.pause_ns = 50 * NSEC_PER_MSEC;
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		writes[i] = peer_send_write(&peer, FAKE_FILE, fh, i, "x", 1, 0);
	/* More than there are workers: one that slept would be missing now. */
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		ck_assert(!peer_answered(&peer, writes[i]));
	ck_assert_uint_eq(fake.nr_writes, ARRAY_SIZE(writes));

	move_clock(50 * NSEC_PER_MSEC);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		ck_assert_int_eq(written(writes[i]), 1);
}
END_TEST

/* Until the pacer has @nr answers to give: the worker's part is done. */
static void wait_deferred(u64 nr)
{
	u64 now;

	do {
		ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
		mutex_lock(&peer.session->lock);
		now = peer.session->nr_deferred;
		mutex_unlock(&peer.session->lock);
	} while (now != nr);
}

START_TEST(no_pause_is_longer_than_a_fifth_of_a_second)
{
	u64 fh = open_file();
	u64 write;

	fake.pause_ns = 3600 * NSEC_PER_SEC;
	write = peer_send_write(&peer, FAKE_FILE, fh, 0, "x", 1, 0);
	wait_deferred(1);
	move_clock(200 * NSEC_PER_MSEC - 1);
	ck_assert(!peer_answered(&peer, write));
	/* Its worker may have looked at the clock just now. */
	do
		move_clock(200 * NSEC_PER_MSEC);
	while (!peer_answered(&peer, write));
	ck_assert_int_eq(written(write), 1);
}
END_TEST

START_TEST(an_interrupted_pause_ends_at_once_with_what_was_written)
{
	u64 fh = open_file();
	u64 writes[8];

	fake.pause_ns = NSEC_PER_SEC;
	for (int i = 0; i < 8; i++)
		writes[i] =
			peer_send_write(&peer, FAKE_FILE, fh, 0, "xy", 2, 0);
	for (int i = 0; i < 8; i++)
		peer_send_interrupt(&peer, writes[i]);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(written(writes[i]), 2);
}
END_TEST

/* The kernel sends an interrupt as soon as the request is on its way; another
 * worker may have it first. libfuse answers EAGAIN: send it again. */
START_TEST(an_interrupt_may_overtake_its_request)
{
	u64 fh = open_file();
	u64 write = peer.unique + 4;
	struct peer_reply *reply;
	u64 other;

	fake.pause_ns = NSEC_PER_SEC;
	peer_send_interrupt(&peer, write);
	other = peer_send_fsync(&peer, FAKE_FILE, fh);
	free(peer_wait(&peer, other));
	ck_assert_uint_eq(peer_send_write(&peer, FAKE_FILE, fh, 0, "x", 1, 0),
			  write);
	while (!peer_answered(&peer, write)) {
		if (peer_answered(&peer, write | 1)) {
			reply = peer_wait(&peer, write | 1);
			ck_assert_int_eq(reply->error, -EAGAIN);
			free(reply);
			peer_send_interrupt(&peer, write);
		}
	}
	ck_assert_int_eq(written(write), 1);
}
END_TEST

static int error_of(u64 unique)
{
	struct peer_reply *reply = peer_wait(&peer, unique);
	int err = reply->error;

	free(reply);
	return err;
}

START_TEST(many_fsyncs_in_flight_leave_the_workers_free)
{
	struct fuse_fsync_in dir = {.fh = FAKE_FH};
	u64 fh = open_file();
	u64 fsyncs[5 * SESSION_WORKERS];
	size_t nr = ARRAY_SIZE(fsyncs);

	fake.hold_dones = true;
	for (size_t i = 0; i < nr; i++) {
		if (i % 2)
			fsyncs[i] = peer_send_fsync(&peer, FAKE_FILE, fh);
		else
			fsyncs[i] = peer_send(&peer, FUSE_FSYNCDIR, FS_ROOT_INO,
					      &dir, sizeof(dir), NULL, 0);
	}
	fake_wait_dones((unsigned)nr);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, 0, "x", 1), 1);
	for (size_t i = 0; i < nr; i++) {
		peer_send_interrupt(&peer, fsyncs[i]);
		ck_assert(!peer_answered(&peer, fsyncs[i]));
	}
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);

	fake_complete(-EIO);
	for (size_t i = 0; i < nr; i++)
		ck_assert_int_eq(error_of(fsyncs[i]), -EIO);
	ck_assert_int_eq(error_of(peer_send_fsync(&peer, FAKE_FILE, 3)),
			 -EBADF);
}
END_TEST

START_TEST(a_write_without_space_is_tried_again_after_each_of_some_commits)
{
	u64 fh = open_file();
	u64 write;

	fake.hold_dones = true;
	fake.full = 1;
	write = peer_send_write(&peer, FAKE_FILE, fh, 5, "abc", 3, 0);
	fake_wait_dones(1);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert(!peer_answered(&peer, write));
	fake_complete(0);
	ck_assert_int_eq(written(write), 3);
	ck_assert_int_eq(memcmp(fake.data + 5, "abc", 3), 0);

	fake.full = 1 + DEFERRED_RETRIES;
	write = peer_send_write(&peer, FAKE_FILE, fh, 5, "abc", 3, 0);
	do
		fake_complete(-ENOSPC);
	while (!peer_answered(&peer, write));
	ck_assert_int_eq(written(write), -ENOSPC);
	ck_assert_uint_eq(fake.nr_commits, 1 + DEFERRED_RETRIES);
	ck_assert_uint_eq(fake.nr_writes, 3 + DEFERRED_RETRIES);

	fake.full = 1;
	fake.full_for_good = true;
	ck_assert_int_eq(peer_write(&peer, FAKE_FILE, fh, 5, "x", 1), -ENOSPC);
	ck_assert_uint_eq(fake.nr_commits, 1 + DEFERRED_RETRIES);
}
END_TEST

START_TEST(fallocate_without_space_tries_again_and_copying_is_left_to_writes)
{
	u64 fh = open_file();
	struct fuse_fallocate_in want = {.fh = fh, .length = 4096};
	struct fuse_copy_file_range_in copy = {
		.fh_in = fh,
		.nodeid_out = FAKE_FILE,
		.fh_out = fh,
		.off_out = 4096,
		.len = 4096,
	};
	u64 unique;

	fake.hold_dones = true;
	fake.full = 1;
	unique = peer_send(&peer, FUSE_FALLOCATE, FAKE_FILE, &want,
			   sizeof(want), NULL, 0);
	fake_wait_dones(1);
	ck_assert(!peer_answered(&peer, unique));
	fake_complete(0);
	ck_assert_int_eq(error_of(unique), 0);

	fake.full = 2;
	unique = peer_send(&peer, FUSE_FALLOCATE, FAKE_FILE, &want,
			   sizeof(want), NULL, 0);
	fake_wait_dones(1);
	fake_complete(-EIO);
	ck_assert_int_eq(error_of(unique), -ENOSPC);
	ck_assert_uint_eq(fake.nr_commits, 2);

	fake.full = 1;
	unique = peer_send(&peer, FUSE_COPY_FILE_RANGE, FAKE_FILE, &copy,
			   sizeof(copy), NULL, 0);
	ck_assert_int_eq(error_of(unique), -EOPNOTSUPP);
}
END_TEST

START_TEST(a_second_try_may_be_throttled_as_well)
{
	u64 fh = open_file();
	u64 write;

	fake.full = 1;
	fake.pause_ns = 100 * NSEC_PER_MSEC;
	write = peer_send_write(&peer, FAKE_FILE, fh, 0, "abc", 3, 0);
	do
		move_clock(100 * NSEC_PER_MSEC);
	while (!peer_answered(&peer, write));
	ck_assert_int_eq(written(write), 3);
	ck_assert_uint_eq(fake.nr_writes, 2);
}
END_TEST

START_TEST(writes_that_wait_for_space_hold_a_bounded_amount_of_memory)
{
	static char buf[128 << 10];
	u64 writes[100];
	u64 fh = open_file();
	u64 whole = 0, cut = 0;

	fake.hold_dones = true;
	fake.full = (int)ARRAY_SIZE(writes);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		writes[i] = peer_send_write(&peer, FAKE_FILE, fh, 0, buf,
					    sizeof(buf), 0);
		fake_wait_dones((unsigned)i + 1);
	}
	ck_assert_uint_le(peer.session->held_bytes,
			  DEFERRED_HELD_MAX +
				  ARRAY_SIZE(writes) * DEFERRED_SHORT);
	fake_complete(0);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		ssize_t ret = written(writes[i]);

		whole += ret == (ssize_t)sizeof(buf);
		cut += ret == (ssize_t)DEFERRED_SHORT;
	}
	ck_assert_uint_eq(whole, DEFERRED_HELD_MAX / sizeof(buf));
	ck_assert_uint_eq(whole + cut, ARRAY_SIZE(writes));
	ck_assert_uint_eq(peer.session->held_bytes, 0);
}
END_TEST

START_TEST(a_late_write_of_the_kernel_is_never_slowed_or_tried_again)
{
	u64 fh = open_file();

	fake.pause_ns = NSEC_PER_SEC;
	ck_assert_int_eq(written(peer_send_write(&peer, FAKE_FILE, fh, 0, "abc",
						 3, FUSE_WRITE_CACHE)),
			 3);
	ck_assert_uint_eq(fake.last_write_flags, CACHE_WRITE_WRITEPAGE);
	fake.full = 1;
	ck_assert_int_eq(written(peer_send_write(&peer, FAKE_FILE, fh, 0, "abc",
						 3, FUSE_WRITE_CACHE)),
			 -ENOSPC);
	ck_assert_uint_eq(fake.nr_commits, 0);
	ck_assert_uint_eq(fake.nr_page_writes, 2);
	ck_assert_uint_eq(fake.nr_ino_writes, 0);

	/* The handle that the kernel names may be gone. */
	ck_assert_int_eq(written(peer_send_write(&peer, FAKE_FILE, 55, 9, "xyz",
						 3, FUSE_WRITE_CACHE)),
			 3);
	ck_assert_uint_eq(fake.nr_ino_writes, 1);
	ck_assert_int_eq(memcmp(fake.data + 9, "xyz", 3), 0);
	ck_assert_int_eq(written(peer_send_write(&peer, 77, 55, 9, "x", 1,
						 FUSE_WRITE_CACHE)),
			 -ENOENT);
}
END_TEST

START_TEST(stopping_gives_every_answer_that_is_out)
{
	u64 fh = open_file();
	u64 write, retry, fsync;

	fake.pause_ns = NSEC_PER_SEC;
	write = peer_send_write(&peer, FAKE_FILE, fh, 0, "abc", 3, 0);
	wait_deferred(1);
	fake.full = 1;
	retry = peer_send_write(&peer, FAKE_FILE, fh, 0, "abc", 3, 0);
	fsync = peer_send_fsync(&peer, FAKE_FILE, fh);
	free(peer_wait(&peer, fsync));
	wait_deferred(2);
	session_stop(peer.session);
	ck_assert_int_eq(written(write), 3);
	ck_assert_int_eq(written(retry), 3);
}
END_TEST

START_TEST(flush_is_for_writeback_mode_alone)
{
	struct fuse_flush_in in = {.fh = FAKE_FH};
	struct fuse_lseek_in seek = {.fh = FAKE_FH, .whence = SEEK_DATA};

	ck_assert_int_eq(peer_call(&peer, FUSE_FLUSH, FAKE_FILE, &in,
				   sizeof(in), NULL, 0, NULL, 0),
			 -ENOSYS);
	ck_assert_int_eq(peer_call(&peer, FUSE_LSEEK, FAKE_FILE, &seek,
				   sizeof(seek), NULL, 0, NULL, 0),
			 0);
	/* not ENOSYS: that would end seeking in all files */
	ck_assert_int_eq(peer_call(&peer, FUSE_LSEEK, FAKE_CONTROL_FILE, &seek,
				   sizeof(seek), NULL, 0, NULL, 0),
			 -EINVAL);
	peer_close(&peer);

	cfg.writeback = true;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
	ck_assert_int_eq(peer_call(&peer, FUSE_FLUSH, FAKE_FILE, &in,
				   sizeof(in), NULL, 0, NULL, 0),
			 -EDQUOT);
	ck_assert_int_eq(peer_call(&peer, FUSE_LSEEK, FAKE_FILE, &seek,
				   sizeof(seek), NULL, 0, NULL, 0),
			 -ENOSYS);
}
END_TEST

/* ---- folders ---- */

START_TEST(readdir_gives_names_that_fit_and_goes_on_behind_them)
{
	char buf[256];
	u64 off = 0;
	u64 seen = 0;
	ssize_t len;

	while ((len = peer_read(&peer, FUSE_READDIR, FS_ROOT_INO, FAKE_FH, off,
				buf, sizeof(buf))) > 0) {
		for (ssize_t pos = 0; pos < len;) {
			struct fuse_dirent *d = (void *)(buf + pos);

			ck_assert_uint_eq(d->off, ++seen);
			ck_assert_uint_eq(d->type, S_IFREG >> 12);
			off = d->off;
			pos += (ssize_t)FUSE_DIRENT_SIZE(d);
		}
	}
	ck_assert_int_eq(len, 0);
	ck_assert_uint_eq(seen, FAKE_NR_ENTRIES);
	ck_assert_uint_eq(fake.lookups, 0);
}
END_TEST

START_TEST(readdirplus_takes_a_reference_for_each_name_but_dots)
{
	static char buf[64 << 10];
	const struct fuse_direntplus *d;
	size_t pos = 0;
	u64 nr = 0;
	ssize_t len = peer_read(&peer, FUSE_READDIRPLUS, FS_ROOT_INO, FAKE_FH,
				0, buf, sizeof(buf));

	ck_assert_int_gt(len, 0);
	while ((d = wire_next_direntplus(buf, (size_t)len, &pos))) {
		ck_assert_uint_eq(d->dirent.off, nr + 1);
		ck_assert_uint_eq(d->entry_out.nodeid,
				  nr < 2 ? 0 : FAKE_ENTRY + nr - 2);
		if (nr >= 2)
			ck_assert_uint_eq(d->entry_out.attr_valid, DAY);
		nr++;
	}
	ck_assert_uint_eq(nr, FAKE_NR_ENTRIES);
	ck_assert_uint_eq(fake.lookups, FAKE_NR_ENTRIES - 2);

	/* one that does not fit is not taken */
	ck_assert_int_eq(peer_read(&peer, FUSE_READDIRPLUS, FS_ROOT_INO,
				   FAKE_FH, 5, buf, 100),
			 0);
	ck_assert_uint_eq(fake.lookups, FAKE_NR_ENTRIES - 2);
}
END_TEST

START_TEST(an_error_amid_a_folder_comes_after_what_was_read)
{
	static char buf[64 << 10];
	struct fuse_dirent *d = (void *)buf;
	ssize_t len;

	fake.readdir_err = -EIO;
	fake.readdir_err_at = 1;
	len = peer_read(&peer, FUSE_READDIR, FS_ROOT_INO, FAKE_FH, 0, buf,
			sizeof(buf));
	ck_assert_int_eq(len, (ssize_t)FUSE_DIRENT_SIZE(d));
	len = peer_read(&peer, FUSE_READDIR, FS_ROOT_INO, FAKE_FH, 1, buf,
			sizeof(buf));
	ck_assert_int_eq(len, -EIO);
	len = peer_read(&peer, FUSE_READDIR, FS_ROOT_INO, 4, 0, buf,
			sizeof(buf));
	ck_assert_int_eq(len, -EBADF);
}
END_TEST

/* ---- attributes ---- */

START_TEST(an_extended_attribute_arrives_whole)
{
	struct fuse_setxattr_in set = {
		.size = 5, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID};
	struct fuse_getxattr_in get = {.size = 0};
	struct fuse_getxattr_out size;
	char buf[16];

	ck_assert_int_eq(peer_call(&peer, FUSE_SETXATTR, FAKE_FILE, &set,
				   sizeof(set), "user.long.name\0value", 20,
				   NULL, 0),
			 0);
	ck_assert_int_eq(fake.xattr_flags, FS_XATTR_KILL_SGID);
	ck_assert_str_eq(fake.xattr_name, "user.long.name");
	ck_assert_str_eq(fake.xattr_value, "value");

	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), "user.x", 7, &size,
				   sizeof(size)),
			 0);
	ck_assert_uint_eq(size.size, 5);
	get.size = 4;
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), "user.x", 7, NULL, 0),
			 -ERANGE);
	get.size = 16;
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), "user.x", 7, buf, sizeof(buf)),
			 0);
	ck_assert_str_eq(buf, "value");
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), "user.y", 7, NULL, 0),
			 -ENODATA);
	ck_assert_int_eq(peer_call(&peer, FUSE_LISTXATTR, FAKE_FILE, &get,
				   sizeof(get), NULL, 0, buf, sizeof(buf)),
			 0);
	ck_assert_str_eq(buf, "user.x");
	get.size = 3;
	ck_assert_int_eq(peer_call(&peer, FUSE_LISTXATTR, FAKE_FILE, &get,
				   sizeof(get), NULL, 0, NULL, 0),
			 -ERANGE);
}
END_TEST

/* Return: 0 or -errno; the answer's bytes in @buf, which brought some. */
static int ioctl_call(u64 ino, u32 cmd, void *buf, u32 in_size, u32 out_size)
{
	struct fuse_ioctl_in in = {
		.cmd = cmd, .in_size = in_size, .out_size = out_size};
	struct {
		struct fuse_ioctl_out out;
		char data[64];
	} answer;
	int err = peer_call(&peer, FUSE_IOCTL, ino, &in, sizeof(in), buf,
			    in_size, &answer, sizeof(answer));

	memcpy(buf, answer.data, out_size);
	return err;
}

START_TEST(what_the_cache_has_of_a_file_is_an_attribute)
{
	struct fuse_getxattr_in get = {.size = 0};
	struct fuse_getxattr_out size;
	char buf[16];

	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), FS_XATTR_STAT,
				   sizeof(FS_XATTR_STAT), &size, sizeof(size)),
			 0);
	ck_assert_uint_eq(size.size, strlen("nr_cache 3\n"));
	get.size = size.size;
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), FS_XATTR_STAT,
				   sizeof(FS_XATTR_STAT), buf, sizeof(buf)),
			 0);
	ck_assert_str_eq(buf, "nr_cache 3\n");
	get.size--;
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FAKE_FILE, &get,
				   sizeof(get), FS_XATTR_STAT,
				   sizeof(FS_XATTR_STAT), NULL, 0),
			 -ERANGE);
	ck_assert_int_eq(peer_call(&peer, FUSE_GETXATTR, FS_ROOT_INO, &get,
				   sizeof(get), FS_XATTR_STAT,
				   sizeof(FS_XATTR_STAT), NULL, 0),
			 -ENODATA);
}
END_TEST

START_TEST(flags_and_generation_are_had_by_ioctl)
{
	u32 flags = FS_APPEND_FL;
	struct fsxattr fa = {.fsx_xflags = FS_XFLAG_IMMUTABLE};
	char version[8] = "";

	ck_assert_int_eq(ioctl_call(FAKE_FILE, FS_IOC_SETFLAGS, &flags,
				    sizeof(flags), 0),
			 0);
	ck_assert_uint_eq(fake.flags, FS_APPEND_FL);
	ck_assert_int_eq(
		ioctl_call(FAKE_FILE, FS_IOC_FSSETXATTR, &fa, sizeof(fa), 0),
		0);
	ck_assert_uint_eq(fake.flags, FS_IMMUTABLE_FL);
	fake.flags |= FS_NODUMP_FL;
	ck_assert_int_eq(
		ioctl_call(FAKE_FILE, FS_IOC_FSGETXATTR, &fa, 0, sizeof(fa)),
		0);
	ck_assert_uint_eq(fa.fsx_xflags, FS_XFLAG_IMMUTABLE | FS_XFLAG_NODUMP);
	ck_assert_int_eq(ioctl_call(FAKE_FILE, FS_IOC_GETFLAGS, &flags, 0,
				    sizeof(flags)),
			 0);
	ck_assert_uint_eq(flags, FS_IMMUTABLE_FL | FS_NODUMP_FL);

	/* an int, whatever the number says */
	ck_assert_int_eq(
		ioctl_call(FAKE_FILE, FS_IOC_GETVERSION, version, 0, 8), 0);
	ck_assert_int_eq(memcmp(version, "\x89\x67\x45\x23\0\0\0\0", 8), 0);
}
END_TEST

static struct foliofs_commit files;

static int commit_files(u64 ino, u32 size)
{
	struct fuse_ioctl_in in = {.cmd = FOLIOFS_IOC_COMMIT, .in_size = size};
	struct peer_reply *reply;
	int err;

	reply = peer_wait(&peer, peer_send(&peer, FUSE_IOCTL, ino, &in,
					   sizeof(in), &files, size));
	err = reply->error;
	/* the kernel takes no success without it */
	if (!err)
		ck_assert_uint_eq(reply->len, sizeof(struct fuse_ioctl_out));
	free(reply);
	return err;
}

START_TEST(files_are_committed_together_by_ioctl)
{
	files = (struct foliofs_commit){.nr = 3, .ino = {5, 6, FAKE_FILE}};
	ck_assert_int_eq(commit_files(FAKE_CONTROL_FILE, sizeof(files)), 0);
	ck_assert_uint_eq(fake.nr_committed, 3);
	ck_assert_uint_eq(fake.committed, FAKE_FILE);

	fake.nr_committed = 0;
	ck_assert_int_eq(commit_files(FAKE_FILE, sizeof(files)), -ENOTTY);
	ck_assert_int_eq(commit_files(FAKE_CONTROL_FILE, 100), -EINVAL);
	files.flags = 1;
	ck_assert_int_eq(commit_files(FAKE_CONTROL_FILE, sizeof(files)),
			 -EINVAL);
	ck_assert_uint_eq(fake.nr_committed, 0);
}
END_TEST

START_TEST(a_name_that_has_to_settle_is_answered_when_it_has)
{
	struct fuse_rename_in in = {.newdir = FS_ROOT_INO};
	u64 rename;

	fake.hold_dones = fake.settles = true;
	rename = peer_send(&peer, FUSE_RENAME, FS_ROOT_INO, &in, sizeof(in),
			   "old\0new", sizeof("old\0new"));
	fake_wait_dones(1);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert(!peer_answered(&peer, rename));
	/* it has its new name whatever became of the commit */
	fake_complete(-EIO);
	ck_assert_int_eq(error_of(rename), 0);
}
END_TEST

START_TEST(nonsense_by_ioctl_is_refused)
{
	struct fsxattr fa = {.fsx_xflags = FS_XFLAG_SYNC};
	u32 flags = 0;

	fake.flags = FS_NODUMP_FL;
	ck_assert_int_eq(
		ioctl_call(FAKE_FILE, FS_IOC_FSSETXATTR, &fa, sizeof(fa), 0),
		-EOPNOTSUPP);
	fa = (struct fsxattr){.fsx_projid = 7};
	ck_assert_int_eq(
		ioctl_call(FAKE_FILE, FS_IOC_FSSETXATTR, &fa, sizeof(fa), 0),
		-EOPNOTSUPP);
	ck_assert_int_eq(ioctl_call(FAKE_FILE, FS_IOC_SETFLAGS, &flags, 3, 0),
			 -EINVAL);
	ck_assert_int_eq(ioctl_call(FAKE_FILE, FS_IOC_GETFLAGS, &flags, 0, 3),
			 -EINVAL);
	ck_assert_int_eq(ioctl_call(FAKE_FILE, 0x1234, &flags, 0, 4), -ENOTTY);
	ck_assert_int_eq(
		ioctl_call(FAKE_CONTROL_FILE, FS_IOC_GETFLAGS, &flags, 0, 4),
		-ENOTTY);
	ck_assert_uint_eq(fake.flags, FS_NODUMP_FL);
}
END_TEST

START_TEST(an_older_kernel_sends_attributes_in_short_and_no_acls)
{
	struct fuse_setxattr_in set = {.size = 1};

	cfg.writeback = false;
	peer_init(&peer, &cfg, 38, FUSE_ASYNC_READ);
	ck_assert_int_eq(peer_call(&peer, FUSE_SETXATTR, FAKE_FILE, &set,
				   FUSE_COMPAT_SETXATTR_IN_SIZE, "user.name\0v",
				   11, NULL, 0),
			 0);
	ck_assert_str_eq(fake.xattr_name, "user.name");
	ck_assert_str_eq(fake.xattr_value, "v");
	ck_assert_int_eq(fake.xattr_flags, 0);
	ck_assert_int_eq(peer_call(&peer, FUSE_SETXATTR, FAKE_FILE, &set,
				   FUSE_COMPAT_SETXATTR_IN_SIZE,
				   ACL_XATTR_ACCESS "\0v",
				   sizeof(ACL_XATTR_ACCESS "\0v") - 1, NULL, 0),
			 -EOPNOTSUPP);
	ck_assert_str_eq(fake.xattr_name, "user.name");
	peer_close(&peer);
}
END_TEST

START_TEST(setattr_hands_over_the_bits_that_the_filesystem_knows)
{
	struct fuse_setattr_in in = {
		.valid = FATTR_SIZE | FATTR_FH | FATTR_LOCKOWNER |
			 FATTR_KILL_SUIDGID | FATTR_MTIME_NOW,
		.fh = FAKE_FH,
	};

	ck_assert_int_eq(peer_call(&peer, FUSE_SETATTR, FAKE_FILE, &in,
				   sizeof(in), NULL, 0, NULL, 0),
			 0);
	ck_assert_uint_eq(fake.last_set,
			  FS_SET_SIZE | FS_SET_KILL_SUID | FS_SET_MTIME_NOW);
}
END_TEST

/* ---- control files ---- */

START_TEST(a_control_file_is_looked_up_opened_read_and_closed)
{
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open, dir;
	char buf[4096];
	ssize_t len;

	ck_assert_int_eq(peer_lookup(&peer, FS_ROOT_INO, CONTROL_NAME, &entry),
			 0);
	ck_assert_uint_eq(entry.nodeid, CONTROL_INO);
	ck_assert_uint_eq(entry.entry_valid, 0);
	ck_assert_int_eq(peer_lookup(&peer, CONTROL_INO, "vmstat", &entry), 0);
	ck_assert_int_eq(peer_lookup(&peer, CONTROL_INO, "none", &entry),
			 -ENOENT);
	ck_assert_int_eq(peer_getattr(&peer, FAKE_CONTROL_FILE, &attr), 0);
	ck_assert_uint_eq(attr.attr_valid, 0);
	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, FAKE_CONTROL_FILE,
					O_WRONLY | O_TRUNC, &open),
			 0);
	ck_assert_uint_eq(open.open_flags, FOPEN_DIRECT_IO);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_CONTROL_FILE, open.fh,
				   2, buf, sizeof(buf)),
			 8);
	ck_assert_int_eq(memcmp(buf, "fault 7\n", 8), 0);
	ck_assert_int_eq(
		peer_release(&peer, FUSE_RELEASE, FAKE_CONTROL_FILE, open.fh),
		0);
	ck_assert_uint_eq(fake.controls, 0);

	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, CONTROL_INO, 0, &dir), 0);
	ck_assert_uint_eq(dir.open_flags, 0);
	len = peer_read(&peer, FUSE_READDIRPLUS, CONTROL_INO, dir.fh, 0, buf,
			sizeof(buf));
	ck_assert_int_gt(len, (ssize_t)FUSE_NAME_OFFSET_DIRENTPLUS);
	ck_assert_uint_eq(((struct fuse_direntplus *)buf)->entry_out.nodeid, 0);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPENDIR, FAKE_CONTROL_FILE, 0, &dir),
		-ENOTDIR);
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, CONTROL_INO + 3, 0, &dir),
		-ENOENT);
}
END_TEST

START_TEST(a_control_write_is_answered_when_it_is_done)
{
	struct fuse_open_out open;
	u64 write;

	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, FAKE_CONTROL_FILE,
					O_WRONLY, &open),
			 0);
	fake.hold_dones = true;
	write = peer_send_write(&peer, FAKE_CONTROL_FILE, open.fh, 0, "1\n", 2,
				0);
	fake_wait_dones(1);
	ck_assert_str_eq(fake.control_text, "1\n");
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
	ck_assert(!peer_answered(&peer, write));
	fake_complete(0);
	ck_assert_int_eq(written(write), 2);

	write = peer_send_write(&peer, FAKE_CONTROL_FILE, open.fh, 0, "x", 1,
				0);
	fake_wait_dones(1);
	fake_complete(-EINVAL);
	ck_assert_int_eq(written(write), -EINVAL);
	/* left open: teardown has to let go of it */
	ck_assert_uint_eq(fake.controls, 1);
	peer_close(&peer);
	ck_assert_uint_eq(fake.controls, 0);
	setup();
}
END_TEST

START_TEST(a_wrong_handle_of_a_control_file_is_refused)
{
	struct fuse_open_out open;
	char buf[16];

	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, FAKE_CONTROL_FILE,
					O_RDWR, &open),
			 0);
	for (u64 fh = open.fh + 1; fh < open.fh + 5; fh++) {
		ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_CONTROL_FILE,
					   fh, 0, buf, 16),
				 -EBADF);
		ck_assert_int_eq(
			peer_write(&peer, FAKE_CONTROL_FILE, fh, 0, "1", 1),
			-EBADF);
		(void)peer_release(&peer, FUSE_RELEASE, FAKE_CONTROL_FILE, fh);
	}
	(void)peer_release(&peer, FUSE_RELEASE, FAKE_CONTROL_FILE, open.fh);
	(void)peer_release(&peer, FUSE_RELEASE, FAKE_CONTROL_FILE, open.fh);
	ck_assert_uint_eq(fake.controls, 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, FAKE_CONTROL_FILE, open.fh,
				   0, buf, 16),
			 -EBADF);
}
END_TEST

static int make(u32 opcode, u64 parent, const char *name)
{
	static const char zeros[16];
	size_t arg_len = 0;
	char names[64];
	size_t len = strlen(name) + 1;

	if (opcode == FUSE_MKNOD || opcode == FUSE_CREATE)
		arg_len = 16;
	if (opcode == FUSE_MKDIR || opcode == FUSE_LINK)
		arg_len = 8;
	memset(names, 0, sizeof(names));
	memcpy(names, name, len);
	if (opcode == FUSE_SYMLINK)
		len += 2; /* the target, "" */
	return peer_call(&peer, opcode, parent, zeros, arg_len, names, len,
			 NULL, 0);
}

START_TEST(nothing_is_made_or_removed_in_place_of_the_control_folder)
{
	static const u32 opcodes[] = {FUSE_MKNOD,  FUSE_MKDIR,	FUSE_CREATE,
				      FUSE_LINK,   FUSE_UNLINK, FUSE_RMDIR,
				      FUSE_SYMLINK};

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		ck_assert_int_eq(make(opcodes[i], FS_ROOT_INO, CONTROL_NAME),
				 -EBUSY);
		ck_assert_int_eq(make(opcodes[i], CONTROL_INO, "x"), -EPERM);
		ck_assert_int_eq(make(opcodes[i], FS_ROOT_INO, ".foliofs2"), 0);
		ck_assert_int_eq(make(opcodes[i], FAKE_DIR, CONTROL_NAME), 0);
	}
}
END_TEST

static int rename_to(u64 parent, const char *name, u64 newparent,
		     const char *newname, u32 flags)
{
	struct fuse_rename2_in in = {.newdir = newparent, .flags = flags};
	char names[64];
	int len = snprintf(names, sizeof(names), "%s%c%s", name, 0, newname);

	return peer_call(&peer, FUSE_RENAME2, parent, &in, sizeof(in), names,
			 (size_t)len + 1, NULL, 0);
}

START_TEST(nothing_is_renamed_to_or_from_the_control_folder)
{
	for (u32 flags = 0; flags < 3; flags++) {
		ck_assert_int_eq(rename_to(1, CONTROL_NAME, 1, "x", flags),
				 -EBUSY);
		ck_assert_int_eq(rename_to(1, "x", 1, CONTROL_NAME, flags),
				 -EBUSY);
		ck_assert_int_eq(
			rename_to(CONTROL_INO, "vmstat", 1, "x", flags),
			-EPERM);
		ck_assert_int_eq(rename_to(1, "x", CONTROL_INO, "x", flags),
				 -EPERM);
		ck_assert_int_eq(rename_to(1, "x", 1, "y", flags), 0);
	}
}
END_TEST

START_TEST(attributes_of_control_files_stay_but_for_cutting_to_nothing)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_FH};
	struct fuse_setxattr_in set = {.size = 1};
	struct fuse_fallocate_in alloc = {.length = 1};
	struct fuse_copy_file_range_in copy = {
		.fh_in = FAKE_FH, .nodeid_out = FAKE_CONTROL_FILE, .len = 1};

	ck_assert_int_eq(peer_call(&peer, FUSE_SETATTR, FAKE_CONTROL_FILE, &in,
				   sizeof(in), NULL, 0, NULL, 0),
			 0);
	in.valid = FATTR_MODE;
	ck_assert_int_eq(peer_call(&peer, FUSE_SETATTR, FAKE_CONTROL_FILE, &in,
				   sizeof(in), NULL, 0, NULL, 0),
			 -EPERM);
	ck_assert_int_eq(peer_call(&peer, FUSE_SETXATTR, FAKE_CONTROL_FILE,
				   &set, sizeof(set), "user.x\0v", 8, NULL, 0),
			 -EPERM);
	ck_assert_int_eq(peer_call(&peer, FUSE_FALLOCATE, FAKE_CONTROL_FILE,
				   &alloc, sizeof(alloc), NULL, 0, NULL, 0),
			 -EOPNOTSUPP);
	ck_assert_int_eq(peer_call(&peer, FUSE_COPY_FILE_RANGE, FAKE_FILE,
				   &copy, sizeof(copy), NULL, 0, NULL, 0),
			 -EOPNOTSUPP);
	ck_assert_uint_eq(fake.last_set, 0);
	ck_assert_str_eq(fake.xattr_name, "");
}
END_TEST

/* ---- broken requests ---- */

static void still_serves(void)
{
	ck_assert_int_eq(peer_getattr(&peer, FAKE_FILE, NULL), 0);
}

/* Opcodes that a fuzzer may send: not INIT, nor DESTROY, which ends it. */
static bool fuzzable(u32 opcode)
{
	return opcode && opcode != FUSE_INIT && opcode != FUSE_DESTROY;
}

START_TEST(a_request_cut_off_anywhere_is_refused_and_the_next_one_served)
{
	static const char body[120];
	u32 opcode = (u32)_i;

	if (!fuzzable(opcode))
		return;
	for (size_t len = 0; len <= sizeof(body); len++) {
		struct fuse_in_header in = {.len = sizeof(in) + sizeof(body),
					    .opcode = opcode,
					    .nodeid = FAKE_FILE,
					    .unique = peer.unique += 2};
		char buf[sizeof(in) + sizeof(body)];

		/* whole, libfuse would keep it for a request to come */
		if (opcode == FUSE_INTERRUPT && len == sizeof(body))
			continue;
		memcpy(buf, &in, sizeof(in));
		memcpy(buf + sizeof(in), body, sizeof(body));
		peer_send_raw(&peer, buf, sizeof(in) + len);
		if (len < sizeof(body) && wire_wants_reply(&in))
			ck_assert_int_eq(error_of(in.unique), -EINVAL);
	}
	still_serves();
}
END_TEST

START_TEST(packets_shorter_than_a_header_are_dropped)
{
	static const char bytes[sizeof(struct fuse_in_header)];

	for (size_t len = 1; len < sizeof(bytes); len++)
		peer_send_raw(&peer, bytes, len);
	still_serves();
}
END_TEST

START_TEST(unknown_operations_are_answered_enosys)
{
	for (u32 opcode = 49; opcode < 300; opcode++) {
		u64 unique = peer_send(&peer, opcode, 1, NULL, 0, NULL, 0);
		int err = error_of(unique);

		ck_assert(err == -ENOSYS || err == -EINVAL);
	}
	ck_assert_int_eq(
		error_of(peer_send(&peer, UINT32_MAX, 1, NULL, 0, NULL, 0)),
		-ENOSYS);
	still_serves();
}
END_TEST

/* Of the right shape but full of nonsense, to any node and handle. */
START_TEST(nonsense_of_the_right_shape_crashes_nothing)
{
	struct rng rng;

	rng_init(&rng, 3);
	for (u64 i = 0; i < test_rounds(5000); i++) {
		char body[256];
		struct fuse_in_header *in = (void *)body;
		size_t len = sizeof(*in) +
			     rng_below(&rng, sizeof(body) - sizeof(*in));

		rng_fill(&rng, body, sizeof(body));
		/* mostly zeros, so that many pass the first checks */
		for (size_t at = sizeof(*in); at < sizeof(body); at++)
			body[at] = rng_one_in(&rng, 4) ? body[at] : 0;
		in->len = (u32)len;
		in->opcode = (u32)rng_range(&rng, 1, 52);
		in->unique = peer.unique += 2;
		in->nodeid = rng_one_in(&rng, 3) ? rng_next(&rng)
						 : rng_range(&rng, 0, FAKE_DIR);
		if (!fuzzable(in->opcode) || in->opcode == FUSE_INTERRUPT)
			continue;
		peer_send_raw(&peer, body, len);
		if (wire_wants_reply(in))
			(void)error_of(in->unique);
	}
	still_serves();
}
END_TEST

static void add_requests(Suite *suite)
{
	TCase *tc = tcase_create("requests");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, init_agrees_on_what_the_design_says);
	tcase_add_test(tc, the_session_ends_when_the_other_end_goes);
	tcase_add_test(tc, what_is_found_and_what_is_not_stays_good_for_a_day);
	tcase_add_test(tc, forgets_give_back_what_lookups_took);
	tcase_add_test(tc, what_an_answer_could_not_hand_over_is_dropped);
	tcase_add_test(tc,
		       an_open_while_pages_are_taken_back_is_answered_later);
	tcase_add_test(tc, opens_keep_the_kernels_cache_and_need_no_flush);
	tcase_add_test(tc, a_file_without_a_name_is_made_and_opened);
	tcase_add_test(tc, statx_tells_the_time_of_birth_where_there_is_one);
	tcase_add_test(tc,
		       a_read_sends_what_lies_in_frames_and_what_was_bounced);
	tcase_add_test(tc, a_write_is_answered_when_it_is_stored);
	tcase_add_test(
		tc,
		dropped_set_id_bits_are_told_to_the_kernel_and_no_page_is_touched);
	tcase_add_test(
		tc,
		set_id_bits_go_when_the_kernel_says_that_the_writer_may_not_keep_them);
	tcase_add_test(tc, flush_is_for_writeback_mode_alone);
	tcase_add_test(tc,
		       readdir_gives_names_that_fit_and_goes_on_behind_them);
	tcase_add_test(tc,
		       readdirplus_takes_a_reference_for_each_name_but_dots);
	tcase_add_test(tc, an_error_amid_a_folder_comes_after_what_was_read);
	tcase_add_test(tc, flags_and_generation_are_had_by_ioctl);
	tcase_add_test(tc, files_are_committed_together_by_ioctl);
	tcase_add_test(tc, a_name_that_has_to_settle_is_answered_when_it_has);
	tcase_add_test(tc, nonsense_by_ioctl_is_refused);
	tcase_add_test(tc, an_extended_attribute_arrives_whole);
	tcase_add_test(tc, what_the_cache_has_of_a_file_is_an_attribute);
	tcase_add_test(tc,
		       setattr_hands_over_the_bits_that_the_filesystem_knows);
	suite_add_tcase(suite, tc);
}

static void add_waiting(Suite *suite)
{
	TCase *tc = tcase_create("waiting");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, throttled_writers_wait_and_nobody_with_them);
	tcase_add_test(tc, no_pause_is_longer_than_a_fifth_of_a_second);
	tcase_add_test(tc,
		       an_interrupted_pause_ends_at_once_with_what_was_written);
	tcase_add_test(tc, an_interrupt_may_overtake_its_request);
	tcase_add_test(tc, many_fsyncs_in_flight_leave_the_workers_free);
	tcase_add_test(
		tc,
		a_write_without_space_is_tried_again_after_each_of_some_commits);
	tcase_add_test(
		tc,
		fallocate_without_space_tries_again_and_copying_is_left_to_writes);
	tcase_add_test(tc, a_second_try_may_be_throttled_as_well);
	tcase_add_test(
		tc, writes_that_wait_for_space_hold_a_bounded_amount_of_memory);
	tcase_add_test(
		tc, a_late_write_of_the_kernel_is_never_slowed_or_tried_again);
	tcase_add_test(tc, stopping_gives_every_answer_that_is_out);
	suite_add_tcase(suite, tc);
}

/* ---- mappings ---- */

static int ignore_look(void *arg, const struct tracker_look *look)
{
	return 0;
}

static void ignore_hints(void *arg, const struct proc *proc,
			 const struct proc_hint *hints, size_t nr)
{
}

static void ignore_exit(void *arg, pid_t pid, u64 start_time)
{
}

static void ignore_opened(void *arg, u64 ino, u64 fh, pid_t tid, pid_t pid)
{
}

static bool no_fault(void *arg, pid_t pid, u64 ino, const struct fault_sum *sum)
{
	return false;
}

static void ignore_fill(void *arg, u64 ino, const struct fault_sum *sum)
{
}

static void ignore_charge(void *arg, s64 bytes)
{
}

static const struct tracker_ops ignore_ops = {
	.update = ignore_look,
	.hints = ignore_hints,
	.exit = ignore_exit,
	.opened = ignore_opened,
	.fault = no_fault,
	.fill = ignore_fill,
	.charge = ignore_charge,
};

#define STUCK_STAT "7 (stuck) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0\n"

/* A /proc with one process whose maps is a pipe that nobody writes to: whoever
 * looks waits for ever. */
static struct tracker *stuck_tracker(void)
{
	const struct tracker_config tcfg = {.ops = &ignore_ops};
	const struct mount_dev dev = {0, 45};
	struct tracker *t;
	int fd;

	tmpdir_make();
	ck_assert_int_eq(mkdir(tmpdir_path("7"), 0700), 0);
	ck_assert_int_eq(mkfifo(tmpdir_path("7/maps"), 0600), 0);
	fd = open(tmpdir_path("7/stat"), O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, STUCK_STAT, strlen(STUCK_STAT)),
			 (ssize_t)strlen(STUCK_STAT));
	(void)close(fd);
	ck_assert_int_eq(tracker_new(&tcfg, &t), 0);
	ck_assert_int_eq(tracker_attach(t, tmpdir_path(""), &dev, true), 0);
	ck_assert_int_eq(tracker_start(t), 0);
	return t;
}

/* More of them wait than there are workers, and a stat is answered. */
START_TEST(a_tracker_that_is_stuck_holds_up_who_asks_for_mappings_and_not_long)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	u64 unique[SESSION_WORKERS * 2];

	cfg.tracker = stuck_tracker();
	fake.shows_mappings = true;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
	for (size_t i = 0; i < ARRAY_SIZE(unique); i++)
		unique[i] = peer_send(&peer, FUSE_OPEN, FAKE_CONTROL_FILE, &in,
				      sizeof(in), NULL, 0);
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(unique); i++) {
		struct peer_reply *reply = peer_wait(&peer, unique[i]);
		const struct fuse_open_out *out = (void *)reply->data;

		ck_assert_int_eq(reply->error, 0);
		ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE,
					      FAKE_CONTROL_FILE, out->fh),
				 0);
		free(reply);
	}
	tracker_stop(cfg.tracker);
	peer_close(&peer);
	tracker_free(cfg.tracker);
	tmpdir_remove();
}
END_TEST

static int open_mappings(void)
{
	struct fuse_open_out out;

	return peer_open_file(&peer, FUSE_OPEN, FAKE_CONTROL_FILE, O_RDONLY,
			      &out);
}

/* Whoever asks is answered after a second, and yet the stuck one has a list of
 * them. When it goes on, it is empty. */
START_TEST(a_tracker_that_is_stuck_has_a_bounded_list_of_who_asked)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	u64 unique[DEFERRED_SCANS];

	cfg.tracker = stuck_tracker();
	fake.shows_mappings = true;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
	for (size_t i = 0; i < ARRAY_SIZE(unique); i++)
		unique[i] = peer_send(&peer, FUSE_OPEN, FAKE_CONTROL_FILE, &in,
				      sizeof(in), NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(unique); i++)
		free(peer_wait(&peer, unique[i]));
	ck_assert_int_eq(open_mappings(), -EAGAIN);

	tracker_stop(cfg.tracker);
	ck_assert_int_eq(open_mappings(), 0);
	peer_close(&peer);
	tracker_free(cfg.tracker);
	tmpdir_remove();
}
END_TEST

static void read_as(u64 fh, u64 owner)
{
	struct fuse_read_in in = {
		.fh = fh,
		.size = 4096,
		.lock_owner = owner,
		.read_flags = owner ? FUSE_READ_LOCKOWNER : 0,
	};
	u64 unique = peer_send(&peer, FUSE_READ, FAKE_FILE, &in, sizeof(in),
			       NULL, 0);
	struct peer_reply *reply = peer_wait(&peer, unique);

	ck_assert_int_eq(reply->error, 0);
	ck_assert_uint_eq(reply->len, 4096);
	free(reply);
}

/* Without a tracker every read of the kernel is a fill. */
START_TEST(reads_without_an_owner_are_the_kernels_own)
{
	struct fuse_open_out out;

	fake.size = 8192;
	ck_assert_int_eq(
		peer_open_file(&peer, FUSE_OPEN, FAKE_FILE, O_RDONLY, &out), 0);
	read_as(out.fh, 77);
	ck_assert_uint_eq(fake.nr_fills, 0);
	ck_assert_uint_eq(fake.nr_filled, 1); /* not in own mode */
	read_as(out.fh, 0);
	ck_assert_uint_eq(fake.nr_filled, 2);
	ck_assert_uint_eq(fake.nr_fills, 1);
	ck_assert_uint_eq(fake.nr_faults, 0);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, FAKE_FILE, out.fh),
			 0);
}
END_TEST

static void add_mappings(Suite *suite)
{
	TCase *tc = tcase_create("mappings");
	TCase *bare = tcase_create("stuck");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, reads_without_an_owner_are_the_kernels_own);
	suite_add_tcase(suite, tc);

	tcase_add_checked_fixture(bare, setup_bare, NULL);
	tcase_set_timeout(bare, 60);
	tcase_add_test(
		bare,
		a_tracker_that_is_stuck_holds_up_who_asks_for_mappings_and_not_long);
	tcase_add_test(bare,
		       a_tracker_that_is_stuck_has_a_bounded_list_of_who_asked);
	suite_add_tcase(suite, bare);
}

static void add_control(Suite *suite)
{
	TCase *tc = tcase_create("control");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_control_file_is_looked_up_opened_read_and_closed);
	tcase_add_test(tc, a_control_write_is_answered_when_it_is_done);
	tcase_add_test(tc, a_wrong_handle_of_a_control_file_is_refused);
	tcase_add_test(
		tc, nothing_is_made_or_removed_in_place_of_the_control_folder);
	tcase_add_test(tc, nothing_is_renamed_to_or_from_the_control_folder);
	tcase_add_test(
		tc,
		attributes_of_control_files_stay_but_for_cutting_to_nothing);
	suite_add_tcase(suite, tc);
}

static void add_broken(Suite *suite)
{
	TCase *tc = tcase_create("broken");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(
		tc,
		a_request_cut_off_anywhere_is_refused_and_the_next_one_served,
		1, 52);
	tcase_add_test(tc, packets_shorter_than_a_header_are_dropped);
	tcase_add_test(tc, unknown_operations_are_answered_enosys);
	tcase_add_test(tc, nonsense_of_the_right_shape_crashes_nothing);
	suite_add_tcase(suite, tc);
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("session", &tc);

	tcase_add_checked_fixture(tc, setup_bare, NULL);
	tcase_add_test(tc, writeback_mode_asks_for_the_kernels_cache);
	tcase_add_test(tc, own_mode_asks_for_mapping_without_readahead);
	tcase_add_test(tc, other_modes_do_not_ask_for_it);
	tcase_add_test(tc, own_mode_refuses_a_kernel_that_cannot_map);
	tcase_add_test(tc,
		       own_mode_opens_files_for_direct_io_with_parallel_writes);
	tcase_add_test(tc, nothing_is_agreed_on_that_an_older_kernel_lacks);
	tcase_add_test(tc,
		       an_older_kernel_sends_attributes_in_short_and_no_acls);
	tcase_add_test(tc, nothing_is_served_before_init_and_no_second_init);
	tcase_add_test(tc, an_unknown_mount_option_makes_no_session);
	add_requests(suite);
	add_waiting(suite);
	add_mappings(suite);
	add_control(suite);
	add_broken(suite);
	return suite;
}

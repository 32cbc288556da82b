/* SPDX-License-Identifier: MIT */
/*
 * The FUSE side above the real filesystem, over a socket pair: what one session
 * wrote the next one reads; orders in which a kernel may ask that a program
 * never does; and nonsense, which must leave the volume sound.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "fs_util.h"
#include "fuse_peer.h"
#include "log.h"
#include "test.h"
#include "tmpdir.h"
#include "wal_gate.h"

static struct test_fs tfs;
static struct control *control;
static struct peer peer;

static void begin(void)
{
	struct session_config cfg = {.writeback = tfs.writeback};

	test_fs_open(&tfs);
	ck_assert_int_eq(control_new(tfs.fs, NULL, 0, 0, &control), 0);
	cfg.fs = tfs.fs;
	cfg.control = control;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
}

/* Unmounted: the session ends with what the kernel holds still open. */
static void end(void)
{
	peer_close(&peer);
	control_free(control);
	ck_assert_int_eq(test_fs_close(&tfs), 0);
}

static void setup(void)
{
	log_open("test", false);
	log_from_libfuse();
	tmpdir_make();
	test_fs_init(&tfs);
	tfs.impatient = true;
	begin();
}

static void teardown(void)
{
	end();
	test_fs_check_volume();
	tmpdir_remove();
}

/* ---- shorthands that must succeed ---- */

static u64 lookup(u64 parent, const char *name)
{
	struct fuse_entry_out out;

	ck_assert_int_eq(peer_lookup(&peer, parent, name, &out), 0);
	return out.nodeid;
}

static u64 create(u64 parent, const char *name, u64 *ret_fh)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT,
				    .mode = S_IFREG | 0644};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	ck_assert_int_eq(peer_call(&peer, FUSE_CREATE, parent, &in, sizeof(in),
				   name, strlen(name) + 1, &out, sizeof(out)),
			 0);
	*ret_fh = out.open.fh;
	return out.entry.nodeid;
}

static u64 mkdir_at(u64 parent, const char *name)
{
	struct fuse_mkdir_in in = {.mode = 0755};
	struct fuse_entry_out out;

	ck_assert_int_eq(peer_call(&peer, FUSE_MKDIR, parent, &in, sizeof(in),
				   name, strlen(name) + 1, &out, sizeof(out)),
			 0);
	return out.nodeid;
}

static int unlink_at(u64 parent, const char *name)
{
	return peer_call(&peer, FUSE_UNLINK, parent, NULL, 0, name,
			 strlen(name) + 1, NULL, 0);
}

static u64 open_at(u64 ino)
{
	struct fuse_open_out out;

	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, ino, O_RDWR, &out),
			 0);
	return out.fh;
}

static int answer(u64 unique)
{
	struct peer_reply *reply = peer_wait(&peer, unique);
	int err = reply->error;

	free(reply);
	return err;
}

static u64 nr_lookups(void)
{
	struct fs_stat st;

	fs_stat(tfs.fs, &st);
	return st.nr_lookups;
}

/* ---- tests ---- */

START_TEST(what_one_session_wrote_the_next_one_reads)
{
	static char in[100000], out[100000];
	struct fuse_attr_out attr;
	u64 dir, file, fh;

	test_pattern(in, sizeof(in), 0, 1);
	dir = mkdir_at(FS_ROOT_INO, "dir");
	file = create(dir, "file", &fh);
	ck_assert_int_eq(peer_write(&peer, file, fh, 5000, in, sizeof(in)),
			 sizeof(in));
	ck_assert_int_eq(answer(peer_send_fsync(&peer, file, fh)), 0);
	ck_assert_int_eq(peer_write(&peer, file, fh, 0, "later", 5), 5);
	end();

	begin();
	ck_assert_uint_eq(lookup(FS_ROOT_INO, "dir"), dir);
	ck_assert_uint_eq(lookup(dir, "file"), file);
	ck_assert_int_eq(peer_getattr(&peer, file, &attr), 0);
	ck_assert_uint_eq(attr.attr.size, 5000 + sizeof(in));
	fh = open_at(file);
	ck_assert_int_eq(
		peer_read(&peer, FUSE_READ, file, fh, 5000, out, sizeof(out)),
		sizeof(out));
	ck_assert_int_eq(memcmp(in, out, sizeof(in)), 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh, 0, out, 6), 6);
	ck_assert_int_eq(memcmp(out, "later", 6), 0);
}
END_TEST

START_TEST(an_unlinked_file_lives_until_it_is_closed_and_forgotten)
{
	struct fuse_entry_out out;
	char buf[8];
	u64 fh, fh2;
	u64 file = create(FS_ROOT_INO, "gone", &fh);

	ck_assert_int_eq(peer_write(&peer, file, fh, 0, "data", 4), 4);
	ck_assert_int_eq(unlink_at(FS_ROOT_INO, "gone"), 0);
	ck_assert_int_eq(peer_lookup(&peer, FS_ROOT_INO, "gone", &out), 0);
	ck_assert_uint_eq(out.nodeid, 0);
	/* by the path of /proc/self/fd it can even be opened again */
	fh2 = open_at(file);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh2, 0, buf, 8), 4);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh, 0, buf, 8),
			 -EBADF);
	peer_forget(&peer, file, 1);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh2, 0, buf, 8), 4);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh2), 0);
	fs_check(tfs.fs);
}
END_TEST

START_TEST(lookups_and_forgets_leave_nothing_behind)
{
	struct fuse_batch_forget_in batch = {.count = 2};
	struct fuse_forget_one ones[2];
	u64 fh;
	u64 dir = mkdir_at(FS_ROOT_INO, "d");
	u64 file = create(dir, "f", &fh);

	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
	for (int i = 0; i < 9; i++)
		(void)lookup(dir, "f");
	ones[0] = (struct fuse_forget_one){dir, 1};
	ones[1] = (struct fuse_forget_one){file, 7};
	(void)peer_send(&peer, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch),
			ones, sizeof(ones));
	peer_forget(&peer, file, 3);
	while (nr_lookups() > 1)
		ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	fs_check(tfs.fs);
}
END_TEST

START_TEST(many_fsyncs_share_few_commits_and_all_are_answered)
{
	u64 fh[16], ino[16], fsyncs[200];
	struct fs_stat before, after;
	char name[16];

	for (int i = 0; i < 16; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		ino[i] = create(FS_ROOT_INO, name, &fh[i]);
	}
	fs_stat(tfs.fs, &before);
	for (size_t i = 0; i < ARRAY_SIZE(fsyncs); i++) {
		ck_assert_int_eq(peer_write(&peer, ino[i % 16], fh[i % 16],
					    i * 8, "12345678", 8),
				 8);
		fsyncs[i] = peer_send_fsync(&peer, ino[i % 16], fh[i % 16]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fsyncs); i++)
		ck_assert_int_eq(answer(fsyncs[i]), 0);
	fs_stat(tfs.fs, &after);
	ck_assert_uint_ge(after.commits, before.commits + 1);
	ck_assert_uint_le(after.commits,
			  before.commits + ARRAY_SIZE(fsyncs) + 1);
}
END_TEST

START_TEST(a_late_write_needs_no_handle)
{
	char buf[8];
	u64 fh;
	u64 file = create(FS_ROOT_INO, "f", &fh);

	ck_assert_int_eq(peer_write(&peer, file, fh, 0, "........", 8), 8);
	ck_assert_int_eq(answer(peer_send_write(&peer, file, fh, 0, "AA", 2,
						FUSE_WRITE_CACHE)),
			 0);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
	ck_assert_int_eq(answer(peer_send_write(&peer, file, fh, 2, "BB", 2,
						FUSE_WRITE_CACHE)),
			 0);
	fh = open_at(file);
	ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh, 0, buf, 8), 8);
	ck_assert_int_eq(memcmp(buf, "AABB....", 8), 0);
}
END_TEST

/* In writeback mode the kernel extends files; pieces come in any order. */
START_TEST(late_writes_side_by_side_make_the_whole_file)
{
	enum { NR = 24, PIECE = 64 << 10 };
	static char in[NR * PIECE], out[PIECE];
	u64 writes[NR], file, fh;
	struct fuse_attr_out before, after;
	struct rng rng;
	char name[8];

	end();
	tfs.writeback = true;
	begin();
	rng_init(&rng, 5);
	for (u64 round = 0; round < test_rounds(40); round++) {
		(void)snprintf(name, sizeof(name), "f%d", (int)round);
		file = create(FS_ROOT_INO, name, &fh);
		test_pattern(in, sizeof(in), 0, round);
		ck_assert_int_eq(peer_getattr(&peer, file, &before), 0);
		/* 5 and 24 have no common divisor: each piece once */
		for (u64 i = 0, nr = rng_below(&rng, NR); i < NR; i++) {
			nr = (nr + 5) % NR;
			writes[i] = peer_send_write(&peer, file, fh, nr * PIECE,
						    in + nr * PIECE, PIECE,
						    FUSE_WRITE_CACHE);
		}
		for (u64 i = 0; i < NR; i++)
			ck_assert_int_eq(answer(writes[i]), 0);
		/* the kernel's SETATTR says when it was changed */
		ck_assert_int_eq(peer_getattr(&peer, file, &after), 0);
		ck_assert_uint_eq(after.attr.mtime, before.attr.mtime);
		ck_assert_uint_eq(after.attr.mtimensec, before.attr.mtimensec);
		for (u64 i = 0; i < NR; i++) {
			ck_assert_int_eq(peer_read(&peer, FUSE_READ, file, fh,
						   i * PIECE, out, PIECE),
					 PIECE);
			ck_assert_int_eq(memcmp(in + i * PIECE, out, PIECE), 0);
		}
		ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh),
				 0);
		ck_assert_int_eq(unlink_at(FS_ROOT_INO, name), 0);
		peer_forget(&peer, file, 1);
	}
}
END_TEST

static void wait_for_note(u64 file)
{
	struct peer_reply *note = peer_wait(&peer, 0);
	struct fuse_notify_inval_inode_out out;

	ck_assert_int_eq(note->error, FUSE_NOTIFY_INVAL_INODE);
	memcpy(&out, note->data, sizeof(out));
	ck_assert_uint_eq(out.ino, file);
	ck_assert_int_lt(out.off, 0);
	free(note);
}

/* What the kernel writes late changes st_blocks, of which it knows nothing. */
START_TEST(blocks_of_what_is_written_late_are_not_kept_for_long)
{
	struct fuse_attr_out attr;
	u64 file, fh;

	end();
	tfs.writeback = true;
	begin();
	file = create(FS_ROOT_INO, "f", &fh);
	ck_assert_int_eq(peer_getattr(&peer, file, &attr), 0);
	ck_assert_uint_le(attr.attr_valid, 1);
	ck_assert_int_eq(answer(peer_send_fsync(&peer, file, fh)), 0);
	ck_assert(!peer_answered(&peer, 0));
	ck_assert_int_eq(answer(peer_send_write(&peer, file, fh, 0, "x", 1,
						FUSE_WRITE_CACHE)),
			 0);
	ck_assert_int_eq(answer(peer_send_fsync(&peer, file, fh)), 0);
	wait_for_note(file);
	ck_assert_int_eq(peer_getattr(&peer, file, &attr), 0);
	ck_assert_uint_eq(attr.attr.blocks, PAGE_SIZE / 512);

	/* once nobody writes to it they are good for long, until it is opened
	 */
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
	ck_assert_int_eq(peer_getattr(&peer, file, &attr), 0);
	ck_assert_uint_gt(attr.attr_valid, 3600);
	fh = open_at(file);
	wait_for_note(file);
	ck_assert_int_eq(peer_getattr(&peer, file, &attr), 0);
	ck_assert_uint_le(attr.attr_valid, 1);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
}
END_TEST

START_TEST(a_full_volume_says_so_and_works_on_after_a_removal)
{
	static char buf[64 << 10];
	u64 fh, fh2, pos = 0;
	u64 file, file2;
	ssize_t ret;

	end();
	tmpdir_remove();
	tmpdir_make();
	tfs.volume_size = 8 << 20;
	begin();

	file = create(FS_ROOT_INO, "fill", &fh);
	while ((ret = peer_write(&peer, file, fh, pos, buf, sizeof(buf))) > 0)
		pos += (u64)ret;
	ck_assert_int_eq(ret, -ENOSPC);
	ck_assert_uint_ge(pos, 4 << 20);
	ck_assert_int_eq(answer(peer_send_fsync(&peer, file, fh)), 0);
	ck_assert_int_eq(unlink_at(FS_ROOT_INO, "fill"), 0);
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, file, fh), 0);
	peer_forget(&peer, file, 1);

	file2 = create(FS_ROOT_INO, "again", &fh2);
	/* the first may come out short: what the commit frees is for the
	 * second */
	for (pos = 0; pos < sizeof(buf); pos += (u64)ret) {
		ret = peer_write(&peer, file2, fh2, pos, buf,
				 sizeof(buf) - pos);
		ck_assert_int_gt(ret, 0);
	}
	ck_assert_int_eq(answer(peer_send_fsync(&peer, file2, fh2)), 0);
}
END_TEST

/* So many records there may be while bookkeeping takes more than its share. */
#define CROWD 4096
#define NR_LATE 40 /* more than there are workers */

static u64 send_mknod(u64 parent, int i)
{
	struct fuse_mknod_in in = {.mode = S_IFREG | 0644};
	char name[16];

	(void)snprintf(name, sizeof(name), "n%d", i);
	return peer_send(&peer, FUSE_MKNOD, parent, &in, sizeof(in), name,
			 strlen(name) + 1);
}

static u64 send_setxattr(u64 ino)
{
	static const char text[] = "user.late\0value";
	struct fuse_setxattr_in in = {.size = 5};

	return peer_send(&peer, FUSE_SETXATTR, ino, &in, sizeof(in), text,
			 sizeof(text) - 1);
}

static u64 send_truncate(u64 ino, u64 size)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

	return peer_send(&peer, FUSE_SETATTR, ino, &in, sizeof(in), NULL, 0);
}

/* Stop the committer, and fill the list of operations.
 * Return: how many names there are in @dir then. */
static int fill_the_list(u64 dir)
{
	struct fs_stat st = {0};
	int nr = 0;

	wal_gate_shut();
	fs_want_commit(tfs.fs);
	wal_gate_wait();
	cache_charge(fs_cache(tfs.fs), (s64)tfs.cache_size);
	while (st.nr_ops_pending < CROWD) {
		ck_assert_int_eq(answer(send_mknod(dir, nr++)), 0);
		fs_stat(tfs.fs, &st);
	}
	return nr;
}

static void begin_with_gate(void)
{
	end();
	wal_gate_set();
	begin();
}

static void end_with_gate(void)
{
	end();
	wal_gate_remove();
	begin();
}

START_TEST(a_full_list_of_operations_holds_up_nobody_but_those_who_change)
{
	u64 late[NR_LATE], attr, cut, file, dir, fh;
	struct fuse_attr_out out;
	char buf[8], name[16];
	int nr;

	begin_with_gate();
	dir = mkdir_at(FS_ROOT_INO, "dir");
	file = create(FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(peer_write(&peer, file, fh, 0, "content", 7), 7);
	nr = fill_the_list(dir);

	for (int i = 0; i < NR_LATE; i++)
		late[i] = send_mknod(dir, nr + i);
	attr = send_setxattr(file);
	cut = send_truncate(file, 9);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(peer_getattr(&peer, file, &out), 0);
		ck_assert_uint_eq(out.attr.size, 7);
		ck_assert_int_eq(
			peer_read(&peer, FUSE_READ, file, fh, 0, buf, 8), 7);
		ck_assert_int_eq(memcmp(buf, "content", 7), 0);
	}
	for (int i = 0; i < NR_LATE; i++)
		ck_assert(!peer_answered(&peer, late[i]));
	ck_assert(!peer_answered(&peer, attr) && !peer_answered(&peer, cut));

	wal_gate_open(0);
	for (int i = 0; i < NR_LATE; i++)
		ck_assert_int_eq(answer(late[i]), 0);
	ck_assert_int_eq(answer(attr), 0);
	ck_assert_int_eq(answer(cut), 0);
	(void)snprintf(name, sizeof(name), "n%d", nr + NR_LATE - 1);
	(void)lookup(dir, name);
	ck_assert_int_eq(peer_getattr(&peer, file, &out), 0);
	ck_assert_uint_eq(out.attr.size, 9);
	ck_assert_int_eq(fs_getxattr(tfs.fs, file, "user.late", buf, 8), 5);
	cache_charge(fs_cache(tfs.fs), -(s64)tfs.cache_size);
	end_with_gate();
}
END_TEST

/* Nobody can say whether it will go on: the mount ends, and all is there. */
START_TEST(the_session_ends_with_changes_that_wait)
{
	u64 dir;
	int nr;

	begin_with_gate();
	dir = mkdir_at(FS_ROOT_INO, "dir");
	nr = fill_the_list(dir);
	for (int i = 0; i < NR_LATE; i++)
		(void)send_mknod(dir, nr + i);
	ck_assert_int_eq(peer_getattr(&peer, dir, NULL), 0);
	wal_gate_open(0);
	cache_charge(fs_cache(tfs.fs), -(s64)tfs.cache_size);
	end_with_gate();
	(void)lookup(lookup(FS_ROOT_INO, "dir"), "n1000");
}
END_TEST

/* What a commit that failed gives back is room for few: records that newer ones
 * supersede. */
START_TEST(commits_that_fail_tell_a_full_list_no_space)
{
	u64 dir, late[NR_LATE], file, fh;
	int nr, made = 0;

	begin_with_gate();
	dir = mkdir_at(FS_ROOT_INO, "dir");
	file = create(FS_ROOT_INO, "file", &fh);
	ck_assert_int_eq(peer_write(&peer, file, fh, 0, "content", 7), 7);
	nr = fill_the_list(dir);
	for (int i = 0; i < NR_LATE; i++)
		late[i] = send_mknod(dir, nr + i);
	/* removals are let through longer */
	ck_assert_int_eq(unlink_at(dir, "n0"), 0);
	ck_assert_int_eq(answer(send_truncate(file, 3)), 0);
	wal_gate_fail(SQLITE_FULL);
	for (int i = 0; i < NR_LATE; i++) {
		int err = answer(late[i]);

		ck_assert(err == -ENOSPC || !err);
		made += !err;
	}
	ck_assert_int_le(made, 4);
	wal_gate_open(SQLITE_OK);
	ck_assert_int_eq(answer(send_mknod(dir, nr + NR_LATE)), 0);
	cache_charge(fs_cache(tfs.fs), -(s64)tfs.cache_size);
	end_with_gate();
}
END_TEST

START_TEST(control_files_are_read_while_all_else_goes_on)
{
	struct fuse_open_out open;
	static char text[65536];
	ssize_t len;
	u64 ino;

	ck_assert_uint_eq(lookup(FS_ROOT_INO, CONTROL_NAME), CONTROL_INO);
	ino = lookup(CONTROL_INO, "vmstat");
	ck_assert_int_eq(peer_open_file(&peer, FUSE_OPEN, ino, O_RDONLY, &open),
			 0);
	ck_assert(open.open_flags & FOPEN_DIRECT_IO);
	len = peer_read(&peer, FUSE_READ, ino, open.fh, 0, text,
			sizeof(text) - 1);
	ck_assert_int_gt(len, 0);
	ck_assert_ptr_nonnull(strstr(text, "pgfault "));
	ck_assert_int_eq(peer_release(&peer, FUSE_RELEASE, ino, open.fh), 0);
}
END_TEST

/* ---- nonsense ---- */

static bool fuzzable(u32 opcode)
{
	return opcode && opcode != FUSE_INIT && opcode != FUSE_DESTROY &&
	       opcode != FUSE_INTERRUPT;
}

/* Names of one letter, so that they meet; the rest is mostly zeros. */
static void fill_body(struct rng *rng, char *body, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		switch (rng_below(rng, 12)) {
		case 0:
			body[i] = (char)rng_next(rng);
			break;
		case 1:
			body[i] = (char)rng_range(rng, 'a', 'd');
			break;
		case 2:
			body[i] = (char)rng_below(rng, 8);
			break;
		default:
			body[i] = 0;
		}
	}
}

static size_t argument_size(u32 opcode)
{
	switch (opcode) {
	case FUSE_MKNOD:
	case FUSE_CREATE:
	case FUSE_RENAME2:
		return 16;
	case FUSE_MKDIR:
	case FUSE_LINK:
	case FUSE_RENAME:
	case FUSE_GETXATTR:
	case FUSE_SETXATTR:
		return 8;
	default:
		return 0;
	}
}

static u64 random_node(struct rng *rng)
{
	if (rng_one_in(rng, 10))
		return rng_next(rng);
	if (rng_one_in(rng, 10))
		return CONTROL_INO + rng_below(rng, 40);
	return rng_below(rng, 30);
}

static u64 send_nonsense(struct rng *rng)
{
	char body[200];
	struct fuse_in_header *in = (void *)body;
	size_t len = rng_range(rng, sizeof(*in) + 1, sizeof(body) - 3);
	char *names;

	fill_body(rng, body, sizeof(body));
	memset(in, 0, sizeof(*in));
	do
		in->opcode = (u32)rng_range(rng, 1, 52);
	while (!fuzzable(in->opcode));
	in->unique = peer.unique += 2;
	in->nodeid = random_node(rng);

	names = (char *)(in + 1) + argument_size(in->opcode);
	names[0] = (char)rng_range(rng, 'a', 'd');
	names[1] = '\0';
	names[2] = (char)rng_range(rng, 'a', 'd');
	names[3] = '\0';
	len = max(len, (size_t)(names + 4 - body));
	in->len = (u32)len;
	/* no more than a kernel would dare: what it never took, or
	 * handed out */
	if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET)
		in->nodeid = rng_next(rng);
	peer_send_raw(&peer, body, len);
	return wire_wants_reply(in) ? in->unique : 0;
}

START_TEST(nonsense_leaves_a_sound_volume)
{
	u64 waiting[32] = {0};
	struct rng rng;
	u64 fh;

	rng_init(&rng, 4);
	(void)create(FS_ROOT_INO, "a", &fh);
	(void)mkdir_at(FS_ROOT_INO, "b");
	for (u64 i = 0; i < test_rounds(5000); i++) {
		u64 *slot = &waiting[i % ARRAY_SIZE(waiting)];

		if (*slot)
			(void)answer(*slot);
		*slot = send_nonsense(&rng);
		if (i % 500 == 0)
			fs_check(tfs.fs);
	}
	for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
		if (waiting[i])
			(void)answer(waiting[i]);
	}
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	fs_check(tfs.fs);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("session_fs", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, what_one_session_wrote_the_next_one_reads);
	tcase_add_test(tc,
		       an_unlinked_file_lives_until_it_is_closed_and_forgotten);
	tcase_add_test(tc, lookups_and_forgets_leave_nothing_behind);
	tcase_add_test(tc, many_fsyncs_share_few_commits_and_all_are_answered);
	tcase_add_test(tc, a_late_write_needs_no_handle);
	tcase_add_test(tc, late_writes_side_by_side_make_the_whole_file);
	tcase_add_test(tc,
		       blocks_of_what_is_written_late_are_not_kept_for_long);
	tcase_add_test(tc, a_full_volume_says_so_and_works_on_after_a_removal);
	tcase_add_test(
		tc,
		a_full_list_of_operations_holds_up_nobody_but_those_who_change);
	tcase_add_test(tc, the_session_ends_with_changes_that_wait);
	tcase_add_test(tc, commits_that_fail_tell_a_full_list_no_space);
	tcase_add_test(tc, control_files_are_read_while_all_else_goes_on);
	tcase_add_test(tc, nonsense_leaves_a_sound_volume);
	return suite;
}

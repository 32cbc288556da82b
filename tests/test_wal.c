/* SPDX-License-Identifier: MIT */
/*
 * A damaged log: src/wal.h. Logs of many commits, as a kill leaves them, are
 * damaged bit by bit: that is noticed, or it is of the last commit alone and
 * leaves the one before. Logs as a power cut leaves them, one after the other,
 * are never taken for damaged.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta_int.h"
#include "test.h"
#include "tmpdir.h"
#include "volume.h"
#include "wal.h"
#include "wal_sums.h"

#define INO 2
#define KEYS 8
#define COMMITS_MAX 4096
#define HEADER 32
#define FRAME (24 + VFS_PAGE_SIZE)
#define SECTOR 512

static char msg[512];
static struct rng rng;
static int dirfd;

/* ---- what each commit leaves ---- */

/* By number: which commit wrote each of the attributes. */
static u64 wrote[COMMITS_MAX][KEYS];

static size_t value_len(u64 no, u32 key)
{
	return 64 + (no * 2654435761u + key * 977) % 4900;
}

static void value_of(u64 no, u32 key, u8 *buf)
{
	for (size_t i = 0; i < value_len(no, key); i++)
		buf[i] = (u8)(no + i * (key + 3) + (no >> 8));
}

static int put_key(struct meta *m, u64 no, u32 key)
{
	char name[] = "user.?";
	u8 buf[5000];

	name[5] = (char)('a' + key);
	value_of(no, key, buf);
	return meta_xattr_put(m, INO, name, buf, value_len(no, key));
}

static struct inode_row row_of(u64 no)
{
	return (struct inode_row){
		.ino = INO, .mode = S_IFREG | 0600, .nlink = 1, .size = no};
}

/* Commit one more, of @keys attributes. Return: its number. */
static u64 commit(struct meta *m, u32 keys, bool sync)
{
	struct meta_super super;
	struct inode_row row;
	u64 no;

	meta_super(m, &super);
	no = super.commit_no + 1;
	expect(no < COMMITS_MAX);
	row = row_of(no);
	memcpy(wrote[no], wrote[no - 1], sizeof(wrote[no]));
	expect_eq(meta_begin(m), 0);
	/* some have the one page that every commit has */
	if (keys) {
		expect_eq(meta_inode_put(m, &row), 0);
		wrote[no][0] = no;
		expect_eq(put_key(m, no, 0), 0);
	}
	for (u32 i = 1; i < keys; i++) {
		u32 key = (u32)rng_range(&rng, 1, KEYS - 1);

		expect_eq(put_key(m, no, key), 0);
		wrote[no][key] = no;
	}
	expect_eq(meta_commit(m, 0, sync), 0);
	return no;
}

static void commit_some(struct meta *m, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		(void)commit(m, (u32)rng_below(&rng, KEYS / 2), true);
}

static void expect_state(struct meta_reader *r, u64 no)
{
	for (u32 key = 0; key < KEYS; key++) {
		u64 by = wrote[no][key];
		char name[] = "user.?";
		u8 buf[5000], want[5000];
		ssize_t len;

		name[5] = (char)('a' + key);
		len = meta_xattr_get(r, INO, name, buf, sizeof(buf));
		if (!by) {
			expect(len == -ENODATA);
			continue;
		}
		expect(len == (ssize_t)value_len(by, key));
		value_of(by, key, want);
		expect(!memcmp(buf, want, (size_t)len));
	}
}

/* What a look finds, whatever the log may be: all of one commit. */
static u64 found(void)
{
	struct meta_super super;
	struct meta_reader *r;
	struct meta *m;

	(void)unlinkat(dirfd, "meta.db-shm", 0);
	if (meta_open(tmpdir_path("v"), true, &m, msg, sizeof(msg)))
		ck_abort_msg("%s", msg);
	meta_super(m, &super);
	expect_eq(meta_reader_get(m, &r), 0);
	expect_state(r, super.commit_no);
	meta_reader_put(r);
	expect_eq(meta_close(m), 0);
	return super.commit_no;
}

/* ---- files as they were at a moment ---- */

struct image {
	u8 *bytes;
	size_t len;
};

static struct image db, wal;

static void slurp(const char *name, struct image *im)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	free(im->bytes);
	*im = (struct image){.bytes = NULL};
	if (fd < 0)
		return;
	expect(fstat(fd, &st) == 0);
	im->len = (size_t)st.st_size;
	im->bytes = malloc(im->len + 1);
	expect(pread(fd, im->bytes, im->len, 0) == (ssize_t)im->len);
	(void)close(fd);
}

static void spit(const char *name, const struct image *im)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);

	expect(fd >= 0);
	expect(write(fd, im->bytes, im->len) == (ssize_t)im->len);
	(void)close(fd);
}

/* Context: nobody has it open in this process. */
static void put_back(void)
{
	(void)unlinkat(dirfd, "meta.db-shm", 0);
	(void)unlinkat(dirfd, WAL_ASIDE, 0);
	spit("meta.db", &db);
	spit("meta.db-wal", &wal);
}

static void take(void)
{
	slurp("meta.db", &db);
	slurp("meta.db-wal", &wal);
}

/* As a kill leaves it. A copy that is taken of what is open drops its locks,
 * which nobody else wants. */
static void kill_it(struct meta *m)
{
	take();
	expect_eq(meta_close(m), 0);
	put_back();
}

static struct wal_report inspect(void)
{
	struct wal_report r;

	expect_eq(wal_inspect(dirfd, &r), 0);
	return r;
}

static struct meta *open_meta(void)
{
	struct meta *m;

	if (meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg)))
		ck_abort_msg("%s", msg);
	return m;
}

static void setup(void)
{
	const struct volume_options opt = {.create = true};
	struct volume *v;

	if (!access("/dev/shm", W_OK))
		(void)setenv("TMPDIR", "/dev/shm", 0);
	tmpdir_make();
	rng_init(&rng, 0);
	ck_assert_msg(
		volume_open(tmpdir_path("v"), &opt, &v, msg, sizeof(msg)) == 0,
		"%s", msg);
	expect_eq(volume_close(v), 0);
	dirfd = open(tmpdir_path("v"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(dirfd >= 0);
}

static void teardown(void)
{
	(void)close(dirfd);
	free(db.bytes);
	free(wal.bytes);
	db = wal = (struct image){.bytes = NULL};
	tmpdir_remove();
}

/* ---- logs that a kill leaves ---- */

static int checkpoint(struct meta *m, int mode)
{
	return sqlite3_wal_checkpoint_v2(m->writer.db, "main", mode, NULL,
					 NULL);
}

static void plain_log(struct meta *m)
{
	commit_some(m, 12);
}

/* All of it has been moved to meta.db, and it goes on where it was. */
static void moved_log(struct meta *m)
{
	commit_some(m, 12);
	expect(checkpoint(m, SQLITE_CHECKPOINT_PASSIVE) == SQLITE_OK);
}

/* So has a part of it: somebody was reading. */
static void half_moved_log(struct meta *m)
{
	struct inode_row row;
	struct meta_reader *r;

	commit_some(m, 6);
	expect_eq(meta_reader_get(m, &r), 0);
	expect_eq(meta_reader_hold(r), 0);
	(void)meta_inode_get(r, META_ROOT_INO, &row);
	commit_some(m, 3);
	expect(checkpoint(m, SQLITE_CHECKPOINT_PASSIVE) == SQLITE_OK);
	commit_some(m, 6);
	meta_reader_put(r);
}

/* It has begun from the front again: an older one is behind it. */
static void restarted_log(struct meta *m)
{
	commit_some(m, 20);
	expect(checkpoint(m, SQLITE_CHECKPOINT_RESTART) == SQLITE_OK);
	commit_some(m, 6);
}

static void short_log(struct meta *m)
{
	(void)commit(m, 0, true);
	(void)commit(m, 0, true);
	(void)commit(m, 0, true);
}

static void two_commits(struct meta *m)
{
	commit_some(m, 2);
}

/* COMMITs that nobody waited for. */
static void unsynced_log(struct meta *m)
{
	for (u32 i = 0; i < 10; i++)
		(void)commit(m, i % 4, i % 3 == 0);
}

static const struct {
	const char *name;
	void (*make)(struct meta *m);
} shapes[] = {
	{"plain", plain_log},		{"moved", moved_log},
	{"half moved", half_moved_log}, {"restarted", restarted_log},
	{"short", short_log},		{"two", two_commits},
	{"unsynced", unsynced_log},
};

/* ---- damage ---- */

/* Frames of the log that count, and where the last commit's begin. */
static size_t log_end, last_begin;

static void find_last(void)
{
	size_t commits[2] = {HEADER, HEADER};

	log_end = HEADER;
	for (size_t at = HEADER; at + FRAME <= wal.len; at += FRAME) {
		if (memcmp(wal.bytes + at + 8, wal.bytes + 16, 8) != 0)
			break;
		log_end = at + FRAME;
		if (wal.bytes[at + 4] | wal.bytes[at + 5] | wal.bytes[at + 6] |
		    wal.bytes[at + 7]) {
			commits[0] = commits[1];
			commits[1] = log_end;
		}
	}
	expect(commits[1] == log_end);
	last_begin = commits[0];
}

static u64 nr_told, nr_silent;

static void put_bytes(size_t at, const u8 *bytes, size_t len)
{
	int fd = openat(dirfd, "meta.db-wal", O_WRONLY | O_CLOEXEC);

	expect(fd >= 0);
	expect(pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len);
	(void)close(fd);
}

/* [at, +len) of the log is other than it was: what is found? */
static void look_at_damage(const char *shape, u64 last, size_t at, size_t len)
{
	struct wal_report r = inspect();
	bool of_last = at >= last_begin && at + len <= log_end;
	u64 no;

	if (r.damaged) {
		nr_told++;
		expect(at < log_end);
		ck_assert_msg(r.commit <= last && r.seen <= last &&
				      (r.seen > r.commit || r.commit == last),
			      "%s, byte %zu: %llu, %llu of %llu", shape, at,
			      (unsigned long long)r.commit,
			      (unsigned long long)r.seen,
			      (unsigned long long)last);
		return;
	}
	nr_silent++;
	no = found();
	ck_assert_msg(no == last || (no == last - 1 && of_last),
		      "%s, byte %zu of a log of %zu (last commit from %zu): "
		      "commit %llu of %llu is found",
		      shape, at, log_end, last_begin, (unsigned long long)no,
		      (unsigned long long)last);
	if (at + len <= last_begin)
		ck_abort_msg("%s, byte %zu: not noticed", shape, at);
}

static void flip(const char *shape, u64 last, size_t at)
{
	u8 byte = wal.bytes[at] ^ (u8)(1 << rng_below(&rng, 8));

	put_bytes(at, &byte, 1);
	look_at_damage(shape, last, at, 1);
	put_bytes(at, wal.bytes + at, 1);
}

static void flip_many(const char *shape, u64 last)
{
	for (size_t i = 0; i < HEADER; i++)
		flip(shape, last, i);
	for (size_t at = HEADER; at < log_end; at += FRAME) {
		/* where there is least behind it, each byte */
		bool near = at + 4 * FRAME > last_begin;

		for (u32 i = 0; i < 24; i++)
			if (near || rng_one_in(&rng, 6))
				flip(shape, last, at + i);
		for (u32 i = 0; i < 4; i++)
			flip(shape, last, at + rng_range(&rng, 24, FRAME - 1));
	}
	/* what is behind the end is nobody's */
	for (size_t at = log_end; at < wal.len; at += 9973)
		flip(shape, last, at);
}

START_TEST(a_flipped_bit_is_noticed_or_of_the_last_commit)
{
	for (u64 round = 0; round < test_rounds(2); round++) {
		for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
			struct meta *m = open_meta();
			u64 last;

			shapes[i].make(m);
			kill_it(m);
			expect(!inspect().damaged);
			last = found();
			find_last();
			nr_told = nr_silent = 0;
			flip_many(shapes[i].name, last);
			(void)printf("# %s: %llu noticed, %llu not\n",
				     shapes[i].name,
				     (unsigned long long)nr_told,
				     (unsigned long long)nr_silent);
			put_back();
		}
	}
}
END_TEST

/* Whole sectors and more; at least a frame before the last commit is as it
 * was, for else nothing says that there was one. */
START_TEST(damage_of_many_bytes_is_noticed)
{
	static const size_t lens[] = {16, SECTOR, 4096, 3 * 4096};
	static u8 other[3 * 4096];

	for (u64 round = 0; round < test_rounds(8); round++) {
		size_t i = rng_below(&rng, 4);
		struct meta *m = open_meta();
		u64 last;

		shapes[i].make(m);
		kill_it(m);
		last = found();
		find_last();
		for (u64 k = 0; k < 100; k++) {
			size_t len = lens[rng_below(&rng, ARRAY_SIZE(lens))];
			size_t at = rng_below(&rng, last_begin);

			if (at + len + FRAME > last_begin)
				continue;
			if (k & 1)
				rng_fill(&rng, other, len);
			else
				memset(other, 0, len);
			/* what is found by (4) needs frames that are whole */
			if (at < HEADER)
				continue;
			put_bytes(at, other, len);
			if (memcmp(other, wal.bytes + at, len) != 0)
				look_at_damage(shapes[i].name, last, at, len);
			put_bytes(at, wal.bytes + at, len);
		}
		put_back();
	}
}
END_TEST

/* ---- what is told, and done ---- */

static char lines[4096];

static void add_line(void *arg, const char *line)
{
	(void)arg;
	(void)snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines),
		       "%s\n", line);
}

static const struct volume_check_options check_opt = {
	.data = true, .report = add_line, .note = add_line};

static long check(void)
{
	lines[0] = '\0';
	return volume_check(tmpdir_path("v"), &check_opt, msg, sizeof(msg));
}

static int repair(bool preen)
{
	struct volume_check_options opt = check_opt;
	struct volume_repair_result r;
	int err;

	lines[0] = '\0';
	opt.preen = preen;
	err = volume_repair(tmpdir_path("v"), &opt, &r, msg, sizeof(msg));
	if (!err)
		expect(preen ? r.left == r.faults : !r.left);
	return err;
}

static bool can_be_opened(bool readonly)
{
	const struct volume_options opt = {.readonly = readonly};
	struct volume *v;
	int err = volume_open(tmpdir_path("v"), &opt, &v, msg, sizeof(msg));

	if (!err)
		expect_eq(volume_close(v), 0);
	else
		expect(err == -EUCLEAN && !strchr(msg, '\n') &&
		       strstr(msg, "damaged") && strstr(msg, "--repair"));
	return !err;
}

static void damage_at(size_t at)
{
	u8 byte = wal.bytes[at] ^ 4;

	put_bytes(at, &byte, 1);
}

START_TEST(a_damaged_log_is_refused_until_it_is_repaired)
{
	struct meta *m = open_meta();
	struct wal_report r;
	u64 last;

	plain_log(m);
	kill_it(m);
	last = found();
	damage_at(wal.len / 2);
	r = inspect();
	expect(r.damaged && r.commit < last && r.seen >= last - 1);
	expect(!can_be_opened(false));
	expect(!can_be_opened(true));
	expect_eq(check(), 1);
	ck_assert_ptr_nonnull(strstr(lines, "meta.db-wal is damaged behind"));
	expect_eq(repair(true), 0); /* at boot: nothing is given up */
	expect(inspect().damaged);

	expect_eq(repair(false), 0);
	ck_assert_ptr_nonnull(strstr(lines, "going back to commit"));
	expect(faccessat(dirfd, WAL_ASIDE, F_OK, 0) == 0);
	expect_eq(check(), 0);
	/* what it went back to, and the commit that the repair is */
	memcpy(wrote[r.commit + 1], wrote[r.commit], sizeof(wrote[0]));
	expect_eq(found(), r.commit + 1);
	expect(can_be_opened(false));
}
END_TEST

/* Sums are good, and yet no SQLite has written it: it could never move it. */
START_TEST(a_commit_that_belies_the_size_of_the_database_is_damage)
{
	static void (*const make[])(struct meta *) = {plain_log, moved_log,
						      short_log};
	struct meta *m = open_meta();
	struct wal_report r;
	u8 *pages;
	u64 last;

	make[_i](m);
	kill_it(m);
	last = found();
	expect(!inspect().damaged);
	find_last();
	pages = wal.bytes + log_end - FRAME + 4;
	expect(pages[2] | pages[3]);
	pages[1]++;
	wal_make_good(wal.bytes, log_end);
	put_bytes(HEADER, wal.bytes + HEADER, log_end - HEADER);
	r = inspect();
	expect(r.damaged && r.seen == last);
	expect(!can_be_opened(false));
	expect_eq(check(), 1);

	expect_eq(repair(false), 0);
	expect(!inspect().damaged);
	expect_eq(check(), 0);
	expect(can_be_opened(false));
}
END_TEST

/* All that is in the log is in meta.db: nothing is lost. */
START_TEST(what_has_been_moved_to_the_database_is_kept)
{
	static const size_t places[] = {20, 5 * FRAME};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct meta *m = open_meta();
		u64 last;

		moved_log(m);
		kill_it(m);
		last = found();
		damage_at(places[i]);
		expect(inspect().damaged);
		expect_eq(inspect().commit, last);
		expect_eq(inspect().keep, 0);
		expect(!can_be_opened(false));
		expect_eq(repair(false), 0);
		ck_assert_ptr_nonnull(strstr(lines, "all are in meta.db"));
		memcpy(wrote[last + 1], wrote[last], sizeof(wrote[0]));
		expect_eq(found(), last + 1);
	}
}
END_TEST

/* A log that is whole, but shorter than one that meta.db has been made of. */
START_TEST(a_log_that_ends_before_the_database_is_noticed)
{
	struct meta *m = open_meta();
	struct wal_report r;
	u64 last;

	moved_log(m);
	kill_it(m);
	last = found();
	find_last();
	expect(truncate(tmpdir_path("v/meta.db-wal"), (off_t)last_begin) == 0);
	r = inspect();
	expect(r.damaged && r.commit == last && r.seen == last && !r.keep);
}
END_TEST

/* ---- power cuts ---- */

/* Each sector that is other than it was before is there, or as it was. Only a
 * new header was synced before anything else was written. */
static void cut_power(const struct image *before)
{
	u32 odds = (u32)rng_range(&rng, 1, 6);
	size_t header = min(wal.len, (size_t)HEADER);
	u8 synced[HEADER];

	/* also of a log that was empty before: it is synced before frames */
	memcpy(synced, wal.bytes, header);
	for (size_t at = 0; at < wal.len; at += SECTOR) {
		size_t len = min((size_t)SECTOR, wal.len - at);

		if (rng_one_in(&rng, odds))
			continue;
		if (at >= before->len) {
			memset(wal.bytes + at, 0, len);
		} else {
			size_t old = min(len, before->len - at);

			memcpy(wal.bytes + at, before->bytes + at, old);
			memset(wal.bytes + at + old, 0, len - old);
		}
	}
	memcpy(wal.bytes, synced, header);
}

/* A transaction that writes to the log before its end, and has none. */
static void spill_and_roll_back(struct meta *m, u64 no)
{
	expect_eq(meta_begin(m), 0);
	for (u32 i = 0; i < 40; i++) {
		char name[16];
		u8 buf[5000] = {0};

		(void)snprintf(name, sizeof(name), "user.x%u", i);
		expect_eq(meta_xattr_put(m, INO, name, buf, sizeof(buf)), 0);
	}
	expect_eq(put_key(m, no, 1), 0);
	meta_rollback(m);
}

static void work(struct meta *m)
{
	for (u64 i = rng_below(&rng, 4); i; i--) {
		u64 what = rng_below(&rng, 12);
		struct meta_super super;

		meta_super(m, &super);
		if (what == 0)
			spill_and_roll_back(m, super.commit_no + 1);
		else if (what == 1)
			(void)checkpoint(m, SQLITE_CHECKPOINT_PASSIVE);
		else if (what == 2)
			(void)checkpoint(m, SQLITE_CHECKPOINT_RESTART);
		else
			(void)commit(m, (u32)rng_below(&rng, KEYS),
				     !rng_one_in(&rng, 3));
	}
}

/*
 * One after the other, in the same log and in new ones: what was torn, rolled
 * back and overwritten is behind its end then. The log before the last COMMIT
 * is durable when that returns; that of the one after it is not.
 */
START_TEST(no_power_cut_is_taken_for_damage)
{
	struct image before = {.bytes = NULL};
	u64 rounds = test_rounds(600);
	u64 lost = 0;

	for (u64 i = 0; i < rounds; i++) {
		struct meta *m = open_meta();
		struct meta_super super;
		u64 no, safe;

		expect_eq(conn_exec(&m->writer, "PRAGMA cache_size=4"), 0);
		work(m);
		expect(vfs_sync_wal(m->writer.db) == SQLITE_OK);
		meta_super(m, &super);
		safe = super.commit_no;
		slurp("meta.db-wal", &before);
		if (rng_one_in(&rng, 8))
			spill_and_roll_back(m, safe + 1);
		(void)commit(m, (u32)rng_below(&rng, KEYS), false);
		take();
		expect_eq(meta_close(m), 0);
		cut_power(&before);
		put_back();

		if (inspect().damaged)
			ck_abort_msg("round %llu: taken for damage",
				     (unsigned long long)i);
		no = found();
		expect(no == safe || no == safe + 1);
		lost += no == safe;
		if (safe > COMMITS_MAX - 100)
			break;
	}
	(void)printf("# %llu last commits were lost\n",
		     (unsigned long long)lost);
	free(before.bytes);
}
END_TEST

/* What makes that true: see src/wal.c, (a). */
static bool committed;
static u32 nr_synced;

static int order_hook(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (!ev->wal)
		return SQLITE_OK;
	expect(!committed || ev->op != VFS_WRITE);
	if (ev->op == VFS_SYNC) {
		nr_synced += committed;
		committed = false;
	}
	return SQLITE_OK;
}

START_TEST(a_commit_is_durable_before_the_next_is_written)
{
	struct meta *m;

	vfs_set_hook(order_hook, NULL);
	m = open_meta();
	expect_eq(conn_exec(&m->writer, "PRAGMA cache_size=4"), 0);
	for (u32 i = 0; i < 20; i++) {
		(void)commit(m, i % KEYS, i % 5 == 0);
		committed = i % 5 != 0;
	}
	expect(nr_synced == 15);
	expect(checkpoint(m, SQLITE_CHECKPOINT_RESTART) == SQLITE_OK);
	(void)commit(m, 1, false);
	committed = true;
	/* what is rolled back is written before its end too */
	spill_and_roll_back(m, 0);
	expect(nr_synced == 17);
	expect_eq(meta_close(m), 0);
	vfs_set_hook(NULL, NULL);
}
END_TEST

/* A kill at any write of a checkpoint leaves a log that is whole; and if it is
 * damaged then, that is not taken for the end. */
static u64 stop_at;

static int stop_hook(void *arg, const struct vfs_event *ev)
{
	(void)arg;
	if (ev->op == VFS_WRITE && !ev->wal && !stop_at--)
		take();
	return SQLITE_OK;
}

START_TEST(a_log_that_was_being_moved_is_no_exception)
{
	for (u64 at = 0; at < 12; at++) {
		struct meta *m;
		u64 last;

		stop_at = UINT64_MAX;
		vfs_set_hook(stop_hook, NULL);
		m = open_meta();
		plain_log(m);
		stop_at = at;
		expect(checkpoint(m, SQLITE_CHECKPOINT_PASSIVE) == SQLITE_OK);
		expect_eq(meta_close(m), 0);
		vfs_set_hook(NULL, NULL);
		put_back();
		expect(!inspect().damaged);
		last = found();
		find_last();
		for (int i = 0; i < 100; i++) {
			size_t n = rng_below(&rng, last_begin);

			flip("being moved", last, n);
		}
		put_back();
	}
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("wal", &tc);

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_flipped_bit_is_noticed_or_of_the_last_commit);
	tcase_add_test(tc, damage_of_many_bytes_is_noticed);
	tcase_add_test(tc, a_damaged_log_is_refused_until_it_is_repaired);
	tcase_add_loop_test(
		tc, a_commit_that_belies_the_size_of_the_database_is_damage, 0,
		3);
	tcase_add_test(tc, what_has_been_moved_to_the_database_is_kept);
	tcase_add_test(tc, a_log_that_ends_before_the_database_is_noticed);
	tcase_add_test(tc, no_power_cut_is_taken_for_damage);
	tcase_add_test(tc, a_commit_is_durable_before_the_next_is_written);
	tcase_add_test(tc, a_log_that_was_being_moved_is_no_exception);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * Threads that write, punch, truncate and read, a committer beside them, and
 * the background threads, on few frames. Writers own records that share pages
 * with their neighbours'. Record r is changed in numbered steps; what a commit
 * has of it must be step `acked` of the moment of the cut, or the one that was
 * under way then; whole in either case.
 */
#include "config.h"

#include <stdlib.h>

#include "internal.h"
#include "memback.h"
#include "test.h"

#define NR_WRITERS 3
#define RECORDS_EACH 8
#define NR_RECORDS (NR_WRITERS * RECORDS_EACH)
#define RECORD_BYTES ((size_t)10240) /* two and a half pages */
#define FILE_PAGES (NR_RECORDS * RECORD_BYTES / PAGE_SIZE)
#define TAIL_PAGES 10

struct shared {
	struct memback mb;
	struct memfile records; /* of the writers */
	struct memfile tail;	/* of the truncater */
	u64 acked[NR_RECORDS];	/* atomic */
	u64 tail_acked;
	u64 cut[NR_RECORDS]; /* acked at the last cut */
	u64 tail_cut;
	u64 rounds;
	bool stop; /* atomic: the committer and readers shall end */
};

struct worker_arg {
	struct shared *s;
	u32 id;
};

/* Step @seq of a record: odd ones punch it, even ones write their number. */
static u64 content_of(u64 seq)
{
	return seq & 1 ? 0 : seq;
}

static bool has_content(const u8 *buf, u64 seq, size_t len)
{
	const u64 *w = (const u64 *)(const void *)buf;

	for (size_t i = 0; i < len / 8; i++)
		if (w[i] != content_of(seq))
			return false;
	return true;
}

static void fill_content(u64 *buf, u64 seq, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		buf[i] = content_of(seq);
}

static void change_record(struct shared *s, u32 r, u64 *buf)
{
	u64 seq = s->acked[r] + 1;
	u64 pos = r * RECORD_BYTES;

	if (seq & 1) {
		verify(cache_punch(&s->records.as, pos, RECORD_BYTES, NULL) ==
		       0);
	} else {
		fill_content(buf, seq, RECORD_BYTES);
		verify(cache_write(&s->records.f, pos, buf, RECORD_BYTES, 0,
				   NULL, NULL) == (ssize_t)RECORD_BYTES);
	}
	__atomic_store_n(&s->acked[r], seq, __ATOMIC_RELEASE);
}

static void read_record(struct shared *s, u32 r, u64 *buf)
{
	ssize_t ret = cache_read_copy(&s->records.f, r * RECORD_BYTES, buf,
				      RECORD_BYTES);

	verify(ret == (ssize_t)RECORD_BYTES);
	verify(has_content((u8 *)buf, s->acked[r], RECORD_BYTES));
}

static void *writer_main(void *p)
{
	struct worker_arg *arg = p;
	struct shared *s = arg->s;
	u64 *buf = malloc(RECORD_BYTES);
	struct rng rng;

	verify(buf);
	rng_init(&rng, 10 + arg->id);
	for (u64 i = 0; i < s->rounds; i++) {
		/* Neighbours belong to different threads. */
		u32 r = (u32)rng_below(&rng, RECORDS_EACH) * NR_WRITERS +
			arg->id;

		change_record(s, r, buf);
		r = (u32)rng_below(&rng, RECORDS_EACH) * NR_WRITERS + arg->id;
		read_record(s, r, buf);
	}
	free(buf);
	return NULL;
}

/* ---- the truncater: empty; ten pages of seq; half of them ---- */

static u64 tail_size(u64 seq)
{
	if (seq % 3 == 0)
		return 0;
	return seq % 3 == 1 ? TAIL_PAGES * PAGE_SIZE
			    : TAIL_PAGES * PAGE_SIZE / 2 + 512;
}

static u64 tail_stamp(u64 seq)
{
	return (seq % 3 == 1 ? seq : seq - 1) * 2;
}

static void *truncater_main(void *p)
{
	struct shared *s = ((struct worker_arg *)p)->s;
	const size_t len = TAIL_PAGES * PAGE_SIZE;
	u64 *buf = malloc(len);

	verify(buf);
	for (u64 seq = 1; seq <= s->rounds; seq++) {
		if (seq % 3 == 1) {
			fill_content(buf, tail_stamp(seq), len);
			verify(cache_write(&s->tail.f, 0, buf, len, 0, NULL,
					   NULL) == (ssize_t)len);
		} else {
			verify(cache_truncate(&s->tail.as, tail_size(seq),
					      NULL) == 0);
		}
		__atomic_store_n(&s->tail_acked, seq, __ATOMIC_RELEASE);
		verify(cache_read_copy(&s->tail.f, 0, buf, len) ==
		       (ssize_t)tail_size(seq));
		verify(has_content((u8 *)buf, tail_stamp(seq), tail_size(seq)));
	}
	free(buf);
	return NULL;
}

/* ---- readers: pin pages for a while ---- */

static void *reader_main(void *p)
{
	struct worker_arg *arg = p;
	struct shared *s = arg->s;
	struct cache_read rd;
	struct rng rng;
	struct file f;

	rng_init(&rng, 20 + arg->id);
	file_init(&f, arg->id ? &s->tail.as : &s->records.as);
	rd.bounce = aligned_alloc(PAGE_SIZE, CACHE_READ_MAX_PAGES * PAGE_SIZE);
	verify(rd.bounce);
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		u64 pos = rng_below(&rng, FILE_PAGES << PAGE_SHIFT);

		verify(cache_read(&f, pos, 1 + rng_below(&rng, 100000), &rd) >=
		       0);
		cache_read_done(s->mb.cache, &rd);
		if (rng_below(&rng, 32) == 0)
			(void)cache_drop(s->mb.cache, NULL);
	}
	free(rd.bounce);
	file_done(&f);
	return NULL;
}

/* ---- the committer ---- */

static void check_records(struct shared *s, u8 *buf)
{
	for (u32 r = 0; r < NR_RECORDS; r++) {
		u8 *rec = buf + r * RECORD_BYTES;

		verify(has_content(rec, s->cut[r], RECORD_BYTES) ||
		       has_content(rec, s->cut[r] + 1, RECORD_BYTES));
	}
}

static void check_tail(struct shared *s, u8 *buf)
{
	u64 size = s->tail.size;
	u64 seq = s->tail_cut;

	verify((size == tail_size(seq) &&
		has_content(buf, tail_stamp(seq), size)) ||
	       (size == tail_size(seq + 1) &&
		has_content(buf, tail_stamp(seq + 1), size)));
}

static void load_committed(struct memfile *mf, u8 *buf, u64 pages)
{
	for (u64 i = 0; i < pages; i++)
		memfile_get(mf, i, buf + (i << PAGE_SHIFT));
}

/* Under the stop: what is acknowledged now, the commit has. */
static void note_cut(struct shared *s)
{
	for (u32 r = 0; r < NR_RECORDS; r++)
		s->cut[r] = __atomic_load_n(&s->acked[r], __ATOMIC_ACQUIRE);
	s->tail_cut = __atomic_load_n(&s->tail_acked, __ATOMIC_ACQUIRE);
}

static void commit_once(struct shared *s, struct rng *rng, u8 *buf)
{
	int err = rng_below(rng, 5) ? 0 : -EIO;

	if (rng_below(rng, 2))
		verify(commit_prewrite(s->mb.cache, &s->records.as) >= 0);
	mem_commit_begin(&s->mb);
	mem_commit_add(&s->mb, &s->records);
	mem_commit_add(&s->mb, &s->tail);
	note_cut(s);
	mem_commit_cut_end(&s->mb);
	verify(mem_commit_writeout(&s->mb, rng_below(rng, 2) ? 32 : 0) == 0);
	verify(commit_file_error(&s->records.as) == 0);
	verify(commit_file_error(&s->tail.as) == 0);
	if (!err && rng_below(rng, 4) == 0) {
		u64 good = s->mb.flushed_epoch;

		verify(commit_reslot(s->mb.commit, good, s->mb.epoch) == 0);
	}
	mem_commit_transact(&s->mb, err);
	if (!err) {
		load_committed(&s->records, buf, FILE_PAGES);
		check_records(s, buf);
		load_committed(&s->tail, buf, TAIL_PAGES);
		check_tail(s, buf);
	}
	mem_commit_end(&s->mb, err);
}

static void *committer_main(void *p)
{
	struct shared *s = ((struct worker_arg *)p)->s;
	u8 *buf = malloc(FILE_PAGES << PAGE_SHIFT);
	struct rng rng;

	verify(buf);
	rng_init(&rng, 30);
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
		commit_once(s, &rng, buf);
	free(buf);
	return NULL;
}

/* ---- the run ---- */

static void start(pthread_t *t, void *(*fn)(void *), struct worker_arg *arg)
{
	verify(pthread_create(t, NULL, fn, arg) == 0);
}

static void shared_init(struct shared *s, u64 pages, u32 area, u64 rounds)
{
	memset(s, 0, sizeof(*s));
	s->rounds = rounds;
	mem_init(&s->mb, pages, pages, 4096);
	if (area)
		mem_swap_area(&s->mb, area);
	memfile_init(&s->records, &s->mb, 1, FILE_PAGES);
	memfile_init(&s->tail, &s->mb, 2, TAIL_PAGES);
	/* The size of the records' file never changes. */
	verify(cache_truncate(&s->records.as, FILE_PAGES << PAGE_SHIFT, NULL) ==
	       0);
	verify(cache_start(s->mb.cache) == 0);
}

static void final_check(struct shared *s)
{
	struct memfile *files[] = {&s->records, &s->tail};
	u8 *buf = malloc(FILE_PAGES << PAGE_SHIFT);

	verify(buf);
	mem_check(&s->mb);
	verify(mem_commit(&s->mb, files, 2, 0, 0) == 0);
	mem_check(&s->mb);
	note_cut(s);
	load_committed(&s->records, buf, FILE_PAGES);
	for (u32 r = 0; r < NR_RECORDS; r++)
		verify(has_content(buf + r * RECORD_BYTES, s->acked[r],
				   RECORD_BYTES));
	verify(!address_space_dirty(&s->records.as));
	verify(!address_space_dirty(&s->tail.as));
	free(buf);
}

static void run_threads(u64 pages, u32 area, u64 rounds)
{
	struct worker_arg args[NR_WRITERS];
	pthread_t writers[NR_WRITERS], readers[2], truncater, committer;
	struct shared s;

	shared_init(&s, pages, area, rounds);
	for (u32 i = 0; i < NR_WRITERS; i++) {
		args[i] = (struct worker_arg){&s, i};
		start(&writers[i], writer_main, &args[i]);
	}
	for (u32 i = 0; i < 2; i++)
		start(&readers[i], reader_main, &args[i]);
	start(&truncater, truncater_main, &args[0]);
	start(&committer, committer_main, &args[0]);

	for (u32 i = 0; i < NR_WRITERS; i++)
		(void)pthread_join(writers[i], NULL);
	(void)pthread_join(truncater, NULL);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < 2; i++)
		(void)pthread_join(readers[i], NULL);
	(void)pthread_join(committer, NULL);
	cache_stop(s.mb.cache);

	final_check(&s);
	memfile_done(&s.records);
	memfile_done(&s.tail);
	mem_done(&s.mb);
}

START_TEST(commits_are_whole_while_threads_write_with_64_pages)
{
	run_threads(64, 0, test_rounds(1500));
}
END_TEST

START_TEST(commits_are_whole_while_threads_write_and_all_fits)
{
	run_threads(4096, 0, test_rounds(1500));
}
END_TEST

START_TEST(commits_are_whole_while_threads_write_and_slots_are_elsewhere)
{
	run_threads(64, 300, test_rounds(500));
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("cache_threads", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, commits_are_whole_while_threads_write_with_64_pages);
	tcase_add_test(tc, commits_are_whole_while_threads_write_and_all_fits);
	tcase_add_test(
		tc,
		commits_are_whole_while_threads_write_and_slots_are_elsewhere);
	return s;
}

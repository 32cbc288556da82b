/* SPDX-License-Identifier: MIT */
/*
 * The page cache against plain arrays: random reads, writes, truncates,
 * punches, seeks, commits in steps with other operations in between, drops and
 * changes of size; every invariant checked after every step. One array a file
 * is its content now, one what is committed, one what the cut has frozen.
 * With slots among the volume's blocks, and in an area of their own.
 */
#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "internal.h"
#include "memback.h"
#include "test.h"

#define NR_FILES 3
#define NR_HOLDS 5

struct image {
	u8 *data;
	u64 size;
};

enum commit_step {
	STEP_NONE,
	STEP_CUT,
	STEP_WRITTEN,
	STEP_DURABLE,
};

struct model {
	struct memback mb;
	struct rng rng;
	struct memfile files[NR_FILES];
	struct image now[NR_FILES];
	struct image frozen[NR_FILES];
	struct image committed[NR_FILES];
	bool in_commit[NR_FILES];
	enum commit_step step;
	u64 max_bytes;
	u64 min_pages, max_pages;
	u8 *buf;
	struct cache_read holds[NR_HOLDS]; /* reads that are not done yet */
	bool held[NR_HOLDS];
};

static void image_copy(struct model *m, struct image *to,
		       const struct image *from)
{
	memcpy(to->data, from->data, m->max_bytes);
	to->size = from->size;
}

static void image_init(struct model *m, struct image *im)
{
	im->data = calloc(1, m->max_bytes);
	ck_assert_ptr_nonnull(im->data);
	im->size = 0;
}

static void model_init(struct model *m, u64 pages, u64 file_pages, u64 stream)
{
	rng_init(&m->rng, stream);
	m->max_bytes = file_pages << PAGE_SHIFT;
	m->min_pages = pages;
	m->max_pages = pages * 2;
	m->step = STEP_NONE;
	m->buf = malloc(m->max_bytes);
	ck_assert_ptr_nonnull(m->buf);
	memset(m->held, 0, sizeof(m->held));
	for (u32 i = 0; i < NR_HOLDS; i++) {
		m->holds[i].bounce = aligned_alloc(
			PAGE_SIZE, CACHE_READ_MAX_PAGES * PAGE_SIZE);
		ck_assert_ptr_nonnull(m->holds[i].bounce);
	}
	mem_init(&m->mb, pages, m->max_pages, (u32)(NR_FILES * file_pages * 4));
	for (u32 i = 0; i < NR_FILES; i++) {
		memfile_init(&m->files[i], &m->mb, 100 + i, file_pages);
		image_init(m, &m->now[i]);
		image_init(m, &m->frozen[i]);
		image_init(m, &m->committed[i]);
		m->in_commit[i] = false;
	}
}

static void model_done(struct model *m)
{
	for (u32 i = 0; i < NR_HOLDS; i++) {
		if (m->held[i])
			cache_read_done(m->mb.cache, &m->holds[i]);
		free(m->holds[i].bounce);
	}
	for (u32 i = 0; i < NR_FILES; i++) {
		memfile_done(&m->files[i]);
		free(m->now[i].data);
		free(m->frozen[i].data);
		free(m->committed[i].data);
	}
	free(m->buf);
	mem_done(&m->mb);
}

/* Small more often than large, and often at page boundaries. */
static u64 random_len(struct model *m, u64 max)
{
	u64 len = 1 + rng_below(&m->rng, 1ull << rng_range(&m->rng, 0, 20));

	if (rng_below(&m->rng, 2))
		len = (len + PAGE_SIZE - 1) & PAGE_MASK;
	return min(len, max);
}

static u64 random_pos(struct model *m, u64 max)
{
	u64 pos = rng_below(&m->rng, max);

	return rng_below(&m->rng, 2) ? pos & PAGE_MASK : pos;
}

static void fill_random(struct model *m, u8 *buf, size_t len)
{
	u8 c = (u8)rng_next(&m->rng);

	for (size_t i = 0; i < len; i++)
		buf[i] = (u8)(c + i * 7 + (i >> 12));
}

/* ---- operations ---- */

static void op_write(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	bool append = rng_below(&m->rng, 8) == 0;
	u64 pos = append ? im->size : random_pos(m, m->max_bytes);
	u64 len = random_len(m, m->max_bytes - pos);
	u64 at = 0;
	ssize_t ret;

	if (!len)
		return;
	fill_random(m, m->buf, len);
	ret = cache_write(&m->files[i].f, append ? 0 : pos, m->buf, len,
			  append ? CACHE_WRITE_APPEND : 0, NULL, &at);
	if (m->mb.nr_area && ret == -ENOSPC)
		return;
	if (m->mb.nr_area && ret > 0)
		len = (u64)ret;
	ck_assert_int_eq(ret, (ssize_t)len);
	ck_assert_uint_eq(at, pos);
	memcpy(im->data + pos, m->buf, len);
	im->size = max(im->size, pos + len);
}

/* A late write of the kernel: clipped to the size. */
static void op_writepage(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	u64 pos = random_pos(m, m->max_bytes) & PAGE_MASK;
	u64 len = PAGE_SIZE;

	fill_random(m, m->buf, len);
	ck_assert_int_eq(cache_write(&m->files[i].f, pos, m->buf, len,
				     CACHE_WRITE_WRITEPAGE, NULL, NULL),
			 (ssize_t)len);
	if (pos < im->size)
		memcpy(im->data + pos, m->buf, min(len, im->size - pos));
}

static void op_read(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	u64 pos = random_pos(m, m->max_bytes);
	u64 len = random_len(m, m->max_bytes - pos);
	u64 want = pos < im->size ? min(len, im->size - pos) : 0;
	ssize_t ret;

	ret = cache_read_copy(&m->files[i].f, pos, m->buf, len);
	ck_assert_int_eq(ret, (ssize_t)want);
	ck_assert(!memcmp(m->buf, im->data + pos, want));
}

/* A read whose pages stay pinned for a while, or the end of one: together they
 * can take all frames of a small cache. */
static void op_hold(struct model *m, u32 i)
{
	u32 k = (u32)rng_below(&m->rng, NR_HOLDS);

	if (m->held[k])
		cache_read_done(m->mb.cache, &m->holds[k]);
	else
		ck_assert_int_ge(cache_read(&m->files[i].f,
					    random_pos(m, m->max_bytes),
					    1 << 20, &m->holds[k]),
				 0);
	m->held[k] = !m->held[k];
}

static void op_truncate(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	u64 size = random_pos(m, m->max_bytes);

	ck_assert_int_eq(cache_truncate(&m->files[i].as, size, NULL), 0);
	if (size < im->size)
		memset(im->data + size, 0, im->size - size);
	im->size = size;
}

static void op_punch(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	u64 pos = random_pos(m, m->max_bytes);
	u64 len = random_len(m, m->max_bytes - pos);

	ck_assert_int_eq(cache_punch(&m->files[i].as, pos, len, NULL), 0);
	memset(im->data + pos, 0, len);
}

static bool is_zero(const u8 *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* What seek calls a hole reads as zeros, and it makes progress. */
static void op_seek(struct model *m, u32 i)
{
	struct image *im = &m->now[i];
	u64 pos = random_pos(m, m->max_bytes);
	s64 data = cache_seek(&m->files[i].as, pos, SEEK_DATA);
	s64 hole = cache_seek(&m->files[i].as, pos, SEEK_HOLE);

	if (pos >= im->size) {
		ck_assert_int_eq(data, -ENXIO);
		ck_assert_int_eq(hole, -ENXIO);
		return;
	}
	ck_assert_int_ge(hole, (s64)pos);
	ck_assert_int_le(hole, (s64)im->size);
	if (data == -ENXIO)
		data = (s64)im->size;
	ck_assert_int_ge(data, (s64)pos);
	ck_assert(data == (s64)pos || hole == (s64)pos);
	ck_assert(is_zero(im->data + pos, (size_t)((u64)data - pos)));
}

static void op_drop(struct model *m, u32 i)
{
	(void)cache_drop(m->mb.cache,
			 rng_below(&m->rng, 2) ? &m->files[i].as : NULL);
}

static void op_resize(struct model *m, u32 i)
{
	u64 pages = rng_range(&m->rng, m->min_pages, m->max_pages);

	ck_assert_int_eq(cache_set_knob(m->mb.cache, KNOB_cache_size,
					pages << PAGE_SHIFT),
			 0);
}

static void op_prefetch(struct model *m, u32 i)
{
	u64 pos = random_pos(m, m->max_bytes);

	ck_assert_int_eq(cache_prefetch(&m->files[i].f, pos,
					random_len(m, m->max_bytes)),
			 0);
}

static void op_flush(struct model *m, u32 i)
{
	ck_assert_int_ge(commit_prewrite(m->mb.cache, &m->files[i].as), 0);
}

static void op_background(struct model *m, u32 i)
{
	m->mb.now += rng_below(&m->rng, 40) * NSEC_PER_SEC;
	ck_assert_int_ge(cache_flush_step(m->mb.cache), 0);
	ck_assert_int_ge(cache_reclaim_step(m->mb.cache), 0);
}

static void op_pin(struct model *m, u32 i)
{
	/* Pinned for the length of one read. */
	address_space_pin(&m->files[i].as, true);
	op_read(m, i);
	address_space_pin(&m->files[i].as, false);
}

/* ---- commits ---- */

static void check_committed(struct model *m, u32 i)
{
	struct memfile *mf = &m->files[i];
	u8 page[PAGE_SIZE];

	ck_assert_uint_eq(mf->size, m->committed[i].size);
	for (u64 p = 0; p < mf->nr_pages; p++) {
		memfile_get(mf, p, page);
		ck_assert_msg(!memcmp(page,
				      m->committed[i].data + (p << PAGE_SHIFT),
				      PAGE_SIZE),
			      "committed page %llu of file %u",
			      (unsigned long long)p, i);
	}
}

static void commit_cut(struct model *m)
{
	mem_commit_begin(&m->mb);
	for (u32 i = 0; i < NR_FILES; i++) {
		m->in_commit[i] = rng_below(&m->rng, 4) != 0;
		if (!m->in_commit[i])
			continue;
		mem_commit_add(&m->mb, &m->files[i]);
		image_copy(m, &m->frozen[i], &m->now[i]);
	}
	mem_commit_cut_end(&m->mb);
}

static void finish_commit(struct model *m, int err)
{
	mem_commit_end(&m->mb, err);
	for (u32 i = 0; i < NR_FILES; i++) {
		int seen = file_check_and_advance_wb_err(&m->files[i].f);

		ck_assert_int_eq(seen, m->in_commit[i] ? err : 0);
		check_committed(m, i);
	}
	m->step = STEP_NONE;
}

static void durable(struct model *m)
{
	mem_commit_transact(&m->mb, 0);
	for (u32 i = 0; i < NR_FILES; i++)
		if (m->in_commit[i])
			image_copy(m, &m->committed[i], &m->frozen[i]);
	m->step = STEP_DURABLE;
}

/* A flush of what was written fails: it must all be moved. */
static void reslot(struct model *m)
{
	u64 good = m->mb.flushed_epoch;

	m->mb.epoch++;
	for (u32 b = 1; b < m->mb.nr_blocks; b++) {
		struct memblock *blk = &m->mb.blocks[b];

		/* Blocks of the failed flush may not be committed. */
		if (blk->use == BLOCK_SLOT && blk->epoch > good)
			blk->epoch = UINT64_MAX;
	}
	ck_assert_int_eq(commit_reslot(m->mb.commit, good, m->mb.epoch - 1), 0);
	ck_assert_uint_le(commit_max_epoch(m->mb.commit), m->mb.epoch);
}

static void op_commit(struct model *m, u32 i)
{
	switch (m->step) {
	case STEP_NONE:
		commit_cut(m);
		m->step = STEP_CUT;
		break;
	case STEP_CUT:
		ck_assert_int_eq(mem_commit_writeout(
					 &m->mb, rng_below(&m->rng, 2) ? 8 : 0),
				 0);
		m->step = STEP_WRITTEN;
		break;
	case STEP_WRITTEN:
		if (rng_below(&m->rng, 6) == 0) {
			mem_commit_transact(&m->mb, -EIO);
			finish_commit(m, -EIO);
			break;
		}
		if (rng_below(&m->rng, 4) == 0)
			reslot(m);
		durable(m);
		break;
	case STEP_DURABLE:
		finish_commit(m, 0);
		break;
	}
}

static void finish_all(struct model *m)
{
	while (m->step != STEP_NONE)
		op_commit(m, 0);
}

/* ---- the run ---- */

static void check_content(struct model *m, u32 i)
{
	struct image *im = &m->now[i];

	ck_assert_int_eq(
		cache_read_copy(&m->files[i].f, 0, m->buf, m->max_bytes),
		(ssize_t)im->size);
	ck_assert(!memcmp(m->buf, im->data, im->size));
}

static void step(struct model *m)
{
	static const struct {
		void (*fn)(struct model *, u32);
		u32 weight;
	} ops[] = {
		{op_write, 30},	  {op_writepage, 8},  {op_read, 30},
		{op_truncate, 5}, {op_punch, 5},      {op_seek, 5},
		{op_drop, 2},	  {op_resize, 1},     {op_prefetch, 3},
		{op_flush, 3},	  {op_background, 2}, {op_pin, 1},
		{op_commit, 8},	  {op_hold, 3},
	};
	u32 total = 0, k = 0;
	u64 r;

	for (u32 n = 0; n < ARRAY_SIZE(ops); n++)
		total += ops[n].weight;
	r = rng_below(&m->rng, total);
	while (r >= ops[k].weight)
		r -= ops[k++].weight;
	ops[k].fn(m, (u32)rng_below(&m->rng, NR_FILES));
}

static void run_model(u64 pages, u64 file_pages, u32 area, u64 rounds,
		      u64 stream)
{
	struct model m;

	model_init(&m, pages, file_pages, stream);
	if (area)
		mem_swap_area(&m.mb, area);
	for (u64 n = 0; n < rounds; n++) {
		/* a full one may refuse what the model does not foresee */
		while (area && m.mb.nr_area_free < 60)
			op_commit(&m, 0);
		step(&m);
		mem_check(&m.mb);
		if (n % 64 == 0)
			check_content(&m, (u32)rng_below(&m.rng, NR_FILES));
	}
	finish_all(&m);
	for (u32 i = 0; i < NR_FILES; i++)
		check_content(&m, i);
	model_done(&m);
}

START_TEST(behaves_like_arrays_with_64_pages)
{
	run_model(64, 200, 0, test_rounds(4000), 1 + (u64)_i);
}
END_TEST

START_TEST(behaves_like_arrays_when_everything_fits)
{
	run_model(65536, 300, 0, test_rounds(3000), 100 + (u64)_i);
}
END_TEST

/* One that has room for all, and one that is full now and then. */
START_TEST(behaves_like_arrays_with_slots_in_an_area_of_their_own)
{
	run_model(64, 200, _i ? 300 : 2000, test_rounds(4000), 200 + (u64)_i);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("cache_model", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, behaves_like_arrays_with_64_pages, 0, 4);
	tcase_add_loop_test(tc, behaves_like_arrays_when_everything_fits, 0, 2);
	tcase_add_loop_test(
		tc, behaves_like_arrays_with_slots_in_an_area_of_their_own, 0,
		2);
	return s;
}

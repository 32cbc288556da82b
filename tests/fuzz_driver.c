/* SPDX-License-Identifier: MIT */
/* Inputs for a target of tests/fuzz.h, made by chance, as a test. */
#include "config.h"

#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "test.h"
#include "units.h"

#define SEEDS_MAX 128

/* Where an input is kept while it runs: a file, so that it outlives us. */
struct kept {
	u64 len;
	u8 data[FUZZ_INPUT_MAX];
};

struct pool {
	u8 data[SEEDS_MAX][FUZZ_INPUT_MAX];
	size_t len[SEEDS_MAX];
	u32 nr;
};

static struct kept *kept;

static void keep_in_file(void)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof(name), "%s.input", fuzz_target.name);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, sizeof(*kept)), 0);
	kept = mmap(NULL, sizeof(*kept), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	ck_assert(kept != MAP_FAILED);
	(void)close(fd);
}

static void run_one(const u8 *data, size_t len)
{
	u8 *exact = malloc(max(len, (size_t)1));

	/* of that size, so that a sanitizer sees who reads behind it */
	ck_assert_ptr_nonnull(exact);
	if (len)
		memcpy(exact, data, len);
	if (len)
		memcpy(kept->data, data, len);
	kept->len = len;
	fuzz_target.one(exact, len);
	free(exact);
}

static void begin(void)
{
	keep_in_file();
	fuzz_target.begin();
}

static void end(void)
{
	fuzz_target.end();
	(void)munmap(kept, sizeof(*kept));
}

/* ---- inputs ---- */

/* No assertions: writing the seeds is no test. */
static void fill_pool(struct pool *pool)
{
	size_t len;

	pool->nr = 0;
	while (pool->nr < SEEDS_MAX &&
	       (len = fuzz_target.seed(pool->nr, pool->data[pool->nr])))
		pool->len[pool->nr++] = len;
}

static size_t remove_some(struct rng *rng, u8 *buf, size_t len)
{
	size_t at = rng_below(rng, len + 1);
	size_t n = rng_below(rng, min(len - at, (size_t)32) + 1);

	memmove(buf + at, buf + at + n, len - at - n);
	return len - n;
}

static size_t insert_some(struct rng *rng, u8 *buf, size_t len)
{
	size_t at = rng_below(rng, len + 1);
	size_t n = rng_below(rng, min(FUZZ_INPUT_MAX - len, (size_t)32) + 1);

	memmove(buf + at + n, buf + at, len - at);
	rng_fill(rng, buf + at, n);
	return len + n;
}

/* The end of another one. */
static size_t join_other(struct rng *rng, const struct pool *pool, u8 *buf,
			 size_t len)
{
	u32 other = (u32)rng_below(rng, pool->nr);
	size_t from = rng_below(rng, pool->len[other]);
	size_t at = rng_below(rng, len + 1);
	size_t n = min(pool->len[other] - from, FUZZ_INPUT_MAX - at);

	memcpy(buf + at, pool->data[other] + from, n);
	return at + n;
}

static void change_byte(struct rng *rng, u8 *buf, size_t len)
{
	u8 *p = buf + rng_below(rng, len);

	switch (rng_below(rng, 4)) {
	case 0:
		*p ^= (u8)(1u << rng_below(rng, 8));
		break;
	case 1:
		*p = (u8)(*p + rng_range(rng, 0, 16) - 8);
		break;
	default:
		*p = (u8)rng_next(rng);
	}
}

static size_t mutate(struct rng *rng, const struct pool *pool, u8 *buf)
{
	u32 which = (u32)rng_below(rng, pool->nr);
	size_t len = pool->len[which];

	memcpy(buf, pool->data[which], len);
	for (u64 n = rng_range(rng, 1, 12); n; n--) {
		switch (rng_below(rng, 8)) {
		case 0:
			len = remove_some(rng, buf, len);
			break;
		case 1:
			len = insert_some(rng, buf, len);
			break;
		case 2:
			len = join_other(rng, pool, buf, len);
			break;
		default:
			if (len)
				change_byte(rng, buf, len);
		}
	}
	return len;
}

/* ---- tests ---- */

START_TEST(seeds_do_no_harm)
{
	static struct pool pool;

	fill_pool(&pool);
	ck_assert_uint_gt(pool.nr, 0);
	begin();
	for (u32 i = 0; i < pool.nr; i++)
		run_one(pool.data[i], pool.len[i]);
	end();
}
END_TEST

static size_t from_hex(const char *hex, u8 *buf)
{
	size_t len = 0;
	unsigned byte;

	for (; hex[0] && hex[1]; hex += 2) {
		ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
		ck_assert_uint_lt(len, FUZZ_INPUT_MAX);
		buf[len++] = (u8)byte;
	}
	return len;
}

START_TEST(what_once_did_harm_does_none_any_more)
{
	u8 buf[FUZZ_INPUT_MAX];

	begin();
	for (const char *const *hex = fuzz_target.known; *hex; hex++)
		run_one(buf, from_hex(*hex, buf));
	end();
}
END_TEST

static u64 seconds(void)
{
	const char *text = getenv("FOLIO_FUZZ_SECONDS");
	const char *is_short = getenv("FOLIO_SHORT");
	u64 n;

	if (text && parse_u64(text, &n) == 0)
		return n;
	return is_short && strcmp(is_short, "1") == 0 ? 3 : 15;
}

START_TEST(inputs_made_by_chance_do_no_harm)
{
	static struct pool pool;
	u8 buf[FUZZ_INPUT_MAX];
	time_t until = time(NULL) + (time_t)seconds();
	struct rng rng;
	u64 nr = 0;

	rng_init(&rng, 0);
	fill_pool(&pool);
	begin();
	do {
		run_one(buf, mutate(&rng, &pool, buf));
		nr++;
	} while (time(NULL) < until);
	end();
	(void)printf("# %s: %llu inputs\n", fuzz_target.name,
		     (unsigned long long)nr);
}
END_TEST

/* FOLIO_FUZZ_INPUT: as it was kept, or plain bytes. */
START_TEST(the_input_that_was_asked_for)
{
	FILE *f = fopen(getenv("FOLIO_FUZZ_INPUT"), "re");
	struct kept k;
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(&k, 1, sizeof(k), f);
	(void)fclose(f);
	begin();
	if (n == sizeof(k))
		run_one(k.data, min((size_t)k.len, sizeof(k.data)));
	else
		run_one((const u8 *)&k, n);
	end();
}
END_TEST

/* FOLIO_FUZZ_SEEDS: for libFuzzer. */
static void write_seeds(const char *folder)
{
	static struct pool pool;

	fill_pool(&pool);
	for (u32 i = 0; i < pool.nr; i++) {
		char path[4096];
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/seed%u", folder, i);
		f = fopen(path, "we");
		if (!f ||
		    fwrite(pool.data[i], 1, pool.len[i], f) != pool.len[i] ||
		    fclose(f)) {
			perror(path);
			exit(EXIT_FAILURE);
		}
	}
	exit(EXIT_SUCCESS);
}

Suite *test_suite(void)
{
	const char *folder = getenv("FOLIO_FUZZ_SEEDS");
	TCase *tc;
	Suite *s;

	if (folder)
		write_seeds(folder);
	s = test_suite_new(fuzz_target.name, &tc);
	tcase_set_timeout(tc, 300 + (double)seconds());
	if (getenv("FOLIO_FUZZ_INPUT")) {
		tcase_add_test(tc, the_input_that_was_asked_for);
		return s;
	}
	tcase_add_test(tc, seeds_do_no_harm);
	tcase_add_test(tc, what_once_did_harm_does_none_any_more);
	tcase_add_test(tc, inputs_made_by_chance_do_no_harm);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * Fuzzing: a target takes any bytes and does something with them that must
 * neither crash, hang nor trip a sanitizer; what else must hold it says itself.
 *
 * A program is a target and one of two drivers. fuzz_driver.c runs in make
 * check, built by any compiler: inputs made from the target's seeds by chance,
 * for FOLIO_FUZZ_SECONDS (15; 3 with FOLIO_SHORT); then what once did harm, and
 * must not again. The input at hand is kept in NAME.input in the current
 * folder: with FOLIO_FUZZ_INPUT=FILE that one runs alone. FOLIO_SEED repeats a
 * run, up to the clock. fuzz_libfuzzer.c is for clang's libFuzzer:
 *
 *	configure CC=clang --enable-debug \
 *		--enable-sanitize=fuzzer-no-link,address,undefined
 *	make fuzzers && mkdir corpus && \
 *		FOLIO_FUZZ_SEEDS=corpus ./fuzz_meta && \
 *		./fuzz_meta_libfuzzer corpus
 */
#ifndef FOLIO_FUZZ_H
#define FOLIO_FUZZ_H

#include "base.h"

#define FUZZ_INPUT_MAX 4096

struct fuzz_target {
	const char *name;
	/* Before the first input and behind the last, in their process. */
	void (*begin)(void);
	void (*end)(void);
	void (*one)(const u8 *data, size_t len);
	/* The @n'th input to begin with, of at most FUZZ_INPUT_MAX bytes.
	 * Return: its length, 0: there are no more. */
	size_t (*seed)(u32 n, u8 *buf);
	/* Inputs that did harm, in hexadecimal; NULL behind the last. */
	const char *const *known;
};

extern const struct fuzz_target fuzz_target;

/* ---- taking an input apart; behind its end there are zeros ---- */

struct fuzz_in {
	const u8 *data;
	size_t len;
};

static inline u8 fuzz_u8(struct fuzz_in *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static inline u64 fuzz_le(struct fuzz_in *in, int bytes)
{
	u64 v = 0;

	for (int i = 0; i < bytes; i++)
		v |= (u64)fuzz_u8(in) << (8 * i);
	return v;
}

/* A number that is likely to be at some limit. */
u64 fuzz_number(struct fuzz_in *in);

/* Up to @max bytes into @buf. Return: how many. */
size_t fuzz_bytes(struct fuzz_in *in, void *buf, size_t max);

#endif

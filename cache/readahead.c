/* SPDX-License-Identifier: MIT */
/*
 * Readahead: on demand, per open file, in windows that double.
 *
 * A read that misses and begins where the last one ended, or at the start of
 * the file, is taken for a sequential one, and more than it asks for is brought
 * in: the first window is a small multiple of the read, each next one that
 * begins where the last window ended is twice as long, up to readahead_kb.
 * Everything else brings in what it asks for. The fields of struct file are
 * hints: readers that share it may race, and read a little too much or too
 * little ahead.
 *
 * Source: Linux mm/readahead.c, get_init_ra_size() and get_next_ra_size().
 */
#include "config.h"

#include "internal.h"

enum ra_mode {
	RA_NORMAL,
	RA_RANDOM,
	RA_SEQUENTIAL,
};

static u32 window_max(const struct file *f)
{
	struct cache *c = f->mapping->cache;
	u64 max =
		atomic_read(&c->knobs[KNOB_readahead_kb]) >> (PAGE_SHIFT - 10);

	if (atomic_read(&f->ra_mode) == RA_SEQUENTIAL)
		max *= 2;
	/* A window that takes the frames of what it has just read is none. */
	return (u32)min(max, (u64)frames_limit(c) / 8);
}

static u32 roundup_pow_of_two(u32 n)
{
	return n <= 1 ? 1 : 1u << (32 - (u32)__builtin_clz(n - 1));
}

static u32 first_window(u32 nr, u32 max)
{
	u32 size = roundup_pow_of_two(nr);

	if (size <= max / 32)
		return size * 4;
	if (size <= max / 4)
		return size * 2;
	return max;
}

static u32 next_window(u32 size, u32 max)
{
	return min(size < max / 16 ? size * 4 : size * 2, max);
}

u32 readahead_window(struct file *f, u64 pgoff, u32 nr)
{
	u32 max = window_max(f);
	u64 start = atomic_read(&f->ra_start);
	u32 size = atomic_read(&f->ra_size);
	u64 prev = atomic_read(&f->ra_prev);
	u32 window;

	if (max <= nr || atomic_read(&f->ra_mode) == RA_RANDOM)
		return nr;
	if (size && pgoff == start + size)
		window = next_window(size, max);
	else if (pgoff == 0 || pgoff == prev || pgoff == prev + 1)
		window = first_window(nr, max);
	else
		return nr;

	window = max(window, nr);
	atomic_set(&f->ra_start, pgoff);
	atomic_set(&f->ra_size, window);
	return window;
}

void readahead_done(struct file *f, u64 pgoff, u32 nr)
{
	atomic_set(&f->ra_prev, pgoff + nr - 1);
}

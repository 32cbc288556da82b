/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "freemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "blocks.h"

#define FREEMAP_NAME "freemap"
#define FREEMAP_NEW "freemap.new"

#define PIECE_RUNS 4096

struct header {
	char magic[16];
	struct freemap_key key;
	u64 data_blocks;
	u64 nr_runs;
	u64 sum; /* of the header with 0 here, and of the runs */
};

static const char magic[16] = "foliofs free 01";

struct run {
	u64 start, nr;
};

static u64 sum_on(u64 sum, const void *data, size_t len)
{
	return XXH3_64bits_withSeed(data, len, sum);
}

/* ---- saving ---- */

static int save_piece(FILE *f, const struct run *runs, u32 nr, u64 *sum)
{
	*sum = sum_on(*sum, runs, nr * sizeof(*runs));
	return fwrite(runs, sizeof(*runs), nr, f) == nr ? 0 : -EIO;
}

static int save_runs(FILE *f, struct blocks *b, struct run *runs,
		     struct header *h)
{
	u64 at = 1;
	u32 nr = 0;
	int err = 0;

	while (!err && blocks_next_used(b, at, &runs[nr].start, &runs[nr].nr)) {
		at = runs[nr].start + runs[nr].nr;
		h->nr_runs++;
		if (++nr == PIECE_RUNS) {
			err = save_piece(f, runs, nr, &h->sum);
			nr = 0;
		}
	}
	return err || !nr ? err : save_piece(f, runs, nr, &h->sum);
}

/* The header goes last, to its place: a file that ends early has none. */
static int save_to(FILE *f, struct header *h, struct blocks *b)
{
	struct run *runs = calloc(PIECE_RUNS, sizeof(*runs));
	int err;

	if (!runs)
		return -ENOMEM;
	err = fseeko(f, sizeof(*h), SEEK_SET) < 0 ? -errno : 0;
	if (!err)
		err = save_runs(f, b, runs, h);
	free(runs);
	if (err)
		return err;

	h->sum = sum_on(h->sum, &h->nr_runs, sizeof(h->nr_runs));
	rewind(f);
	return fwrite(h, sizeof(*h), 1, f) == 1 ? 0 : -EIO;
}

static struct header make_header(const struct freemap_key *key, u64 data_blocks)
{
	struct header h;

	memset(&h, 0, sizeof(h));
	memcpy(h.magic, magic, sizeof(magic));
	h.key = *key;
	h.data_blocks = data_blocks;
	h.sum = sum_on(0, &h, sizeof(h));
	return h;
}

static int save_as(int dirfd, const char *name, struct header *h,
		   struct blocks *b)
{
	int fd = openat(dirfd, name,
			O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
			0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	int err;

	if (!f) {
		err = -errno;
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	err = save_to(f, h, b);
	if (fclose(f) && !err)
		err = -errno;
	return err;
}

int freemap_save(int dirfd, const struct freemap_key *key, u64 data_blocks,
		 struct blocks *b)
{
	struct header h = make_header(key, data_blocks);
	int err;

	if (blocks_leaked(b))
		return -ENOTSUP;
	err = save_as(dirfd, FREEMAP_NEW, &h, b);
	if (!err && renameat(dirfd, FREEMAP_NEW, dirfd, FREEMAP_NAME) < 0)
		err = -errno;
	if (err)
		(void)unlinkat(dirfd, FREEMAP_NEW, 0);
	return err;
}

/* ---- loading ---- */

static int mark(struct blocks *b, const struct run *run, u64 max_blocks)
{
	struct blocks_stat st;
	u64 end;
	int err = 0;

	if (!run->nr || __builtin_add_overflow(run->start, run->nr, &end) ||
	    end > BLOCKS_MAX || (max_blocks && end > max_blocks))
		return -EUCLEAN;
	blocks_stat(b, &st);
	if (end > st.total)
		err = blocks_resize(b, end);
	return err ? err : blocks_mark_used(b, run->start, run->nr, false);
}

static int load_piece(FILE *f, struct run *runs, u32 nr, u64 max_blocks,
		      struct blocks *b, u64 *sum)
{
	int err = 0;

	if (fread(runs, sizeof(*runs), nr, f) != nr)
		return -EUCLEAN;
	*sum = sum_on(*sum, runs, nr * sizeof(*runs));
	for (u32 i = 0; b && !err && i < nr; i++)
		err = mark(b, &runs[i], max_blocks);
	return err;
}

/* @b NULL: only look whether the sum is right. */
static int load_runs(FILE *f, const struct header *h, u64 sum, u64 max_blocks,
		     struct blocks *b)
{
	struct run *runs = calloc(PIECE_RUNS, sizeof(*runs));
	u64 left = h->nr_runs;
	int err = runs ? 0 : -ENOMEM;

	if (!err && fseeko(f, sizeof(*h), SEEK_SET) < 0)
		err = -errno;

	while (!err && left) {
		u32 nr = (u32)min(left, (u64)PIECE_RUNS);

		err = load_piece(f, runs, nr, max_blocks, b, &sum);
		left -= nr;
	}
	free(runs);
	if (err)
		return err;
	sum = sum_on(sum, &h->nr_runs, sizeof(h->nr_runs));
	return sum == h->sum && fgetc(f) == EOF ? 0 : -EUCLEAN;
}

static int load_from(FILE *f, const struct freemap_key *key, u64 data_blocks,
		     u64 max_blocks, struct blocks *b)
{
	struct header want, h;
	int err;

	if (fread(&h, sizeof(h), 1, f) != 1 ||
	    memcmp(h.magic, magic, sizeof(magic)) != 0)
		return -EUCLEAN;
	if (memcmp(&h.key, key, sizeof(*key)) != 0 ||
	    data_blocks < h.data_blocks)
		return -ESTALE;
	want = make_header(key, h.data_blocks);
	err = load_runs(f, &h, want.sum, max_blocks, NULL);
	return err ? err : load_runs(f, &h, want.sum, max_blocks, b);
}

int freemap_load(int dirfd, const struct freemap_key *key, u64 data_blocks,
		 u64 max_blocks, struct blocks *b)
{
	int fd = openat(dirfd, FREEMAP_NAME,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	int err;

	if (!f) {
		err = -errno;
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	err = load_from(f, key, data_blocks, max_blocks, b);
	(void)fclose(f);
	return err;
}

void freemap_remove(int dirfd)
{
	(void)unlinkat(dirfd, FREEMAP_NAME, 0);
}

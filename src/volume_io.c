/* SPDX-License-Identifier: MIT */
/* Content of a volume: reading it by its rows and the redo log, and slots. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "sum.h"
#include "volume_int.h"
#include "volume_redo.h"

u64 volume_sum(const void *page)
{
	return page_sum(page);
}

/* ---- reading ---- */

/* Read @nr contiguous blocks; a part that fails is read block by block, so that
 * only bad ones answer an error. */
static void read_blocks(struct volume *v, u64 block, u32 nr, void *const *pages,
			int *errs)
{
	int err = v->data->ops->read(v->data, block, nr, pages);

	counter_add(&v->count.data_read_blocks, nr);
	for (u32 i = 0; i < nr; i++) {
		if (err && nr > 1)
			read_blocks(v, block + i, 1, pages + i, errs + i);
		else
			errs[i] = err;
	}
}

static void verify_page(struct volume *v, const void *page, u64 sum, int *err)
{
	if (*err || page_sum(page) == sum)
		return;
	counter_add(&v->count.checksum_errors, 1);
	*err = -EIO;
}

/* How many pages from the first on are neighbours in the data file. */
static u32 run_length(const struct meta_page *map, u32 nr)
{
	u32 n = 1;

	while (n < nr && map[n].kind == META_PAGE_BLOCK &&
	       map[n].block == map[0].block + n)
		n++;
	return n;
}

static u32 read_mapped(struct volume *v, const struct meta_page *map, u32 nr,
		       void *const *pages, int *errs)
{
	u32 n;

	errs[0] = 0;
	switch (map->kind) {
	case META_PAGE_ZERO:
		memset(pages[0], 0, PAGE_SIZE);
		return 1;
	case META_PAGE_INLINE:
		errs[0] = map->err;
		if (map->err)
			counter_add(&v->count.checksum_errors, 1);
		return 1;
	case META_PAGE_LOST:
		errs[0] = -EIO;
		return 1;
	case META_PAGE_BLOCK:
		break;
	}
	n = run_length(map, nr);
	read_blocks(v, map->block, n, pages, errs);
	for (u32 i = 0; i < n; i++)
		verify_page(v, pages[i], map[i].sum, &errs[i]);
	return n;
}

static int look_up(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		   struct meta_page *map, void *const *pages)
{
	struct meta_reader *r;
	int err = meta_reader_get(v->meta, &r);
	u32 seq;

	if (err)
		return err;
	do {
		seq = redo_begin(v->redo);
		err = meta_extent_map(r, ino, pgoff, nr, map, pages);
		redo_patch_map(v->redo, ino, pgoff, nr, map);
	} while (redo_retry(v->redo, seq));
	meta_reader_put(r);
	return err == -EUCLEAN ? -EIO : err;
}

#define READ_BATCH 256u

static int read_batch(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs)
{
	struct meta_page map[READ_BATCH];
	u32 token = blocks_read_enter(v->blocks);
	int err = look_up(v, ino, pgoff, nr, map, pages);

	for (u32 i = 0; !err && i < nr;)
		i += read_mapped(v, map + i, nr - i, pages + i, errs + i);
	blocks_read_leave(v->blocks, token);
	return err;
}

int volume_read_pages(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs)
{
	for (u32 done = 0; done < nr;) {
		u32 n = min(nr - done, READ_BATCH);
		int err = read_batch(v, ino, pgoff + done, n, pages + done,
				     errs + done);

		if (err && !done)
			return err;
		for (u32 i = 0; err && i < n; i++)
			errs[done + i] = err;
		done += n;
	}
	return 0;
}

int volume_next_extent(struct volume *v, u64 ino, u64 pgoff,
		       enum extent_kind *ret_kind, u64 *ret_end)
{
	struct extent_row row;
	struct meta_reader *r;
	u64 logged;
	bool in_log;
	u32 seq;
	int err = meta_reader_get(v->meta, &r);

	if (err)
		return err;
	do {
		seq = redo_begin(v->redo);
		err = meta_extent_get(r, ino, pgoff, &row, NULL);
		in_log = redo_next_page(v->redo, ino, pgoff, &logged);
	} while (redo_retry(v->redo, seq));
	meta_reader_put(r);
	if (err && err != -ENOENT)
		return err == -EUCLEAN ? -EIO : err;

	if (in_log && logged == pgoff) {
		*ret_kind = EXTENT_DATA;
		*ret_end = pgoff + 1;
		return 0;
	}
	if (err == -ENOENT || row.pgoff > pgoff) {
		*ret_kind = EXTENT_HOLE;
		*ret_end = err ? PGOFF_MAX + 1 : row.pgoff;
	} else {
		*ret_kind = row.flags & META_EXTENT_UNWRITTEN ? EXTENT_UNWRITTEN
							      : EXTENT_DATA;
		*ret_end = row.pgoff + row.npages;
	}
	if (in_log)
		*ret_end = min(*ret_end, logged);
	return 0;
}

/* ---- slots ---- */

static int slot_alloc(void *arg, u32 want, bool commit, slot_t *ret_start,
		      u32 *ret_nr)
{
	struct volume *v = arg;

	return blocks_alloc(v->blocks, want, ret_start, ret_nr);
}

/*
 * Write until no flush has failed meanwhile: then the epoch says for certain
 * which flush made it durable, and whether one lost it.
 */
static int slot_write(void *arg, slot_t start, u32 nr, void *const *pages,
		      u64 *ret_sums, u64 *ret_epoch)
{
	struct volume *v = arg;
	u64 failures;
	u64 epoch;
	int err = volume_ensure_size(v, start + nr);

	do {
		failures = load_seq(&v->count.data_flush_errors);
		if (!err)
			err = v->data->ops->write(v->data, start, nr, pages);
		if (err)
			return err;
		counter_add(&v->count.data_write_blocks, nr);
		epoch = load_seq(&v->flush_epoch);
	} while (load_seq(&v->count.data_flush_errors) != failures);

	for (u32 i = 0; i < nr; i++)
		ret_sums[i] = page_sum(pages[i]);
	*ret_epoch = epoch;
	return 0;
}

static int slot_read(void *arg, slot_t start, u32 nr, void *const *pages,
		     const u64 *sums, int *errs)
{
	struct volume *v = arg;

	read_blocks(v, start, nr, pages, errs);
	for (u32 i = 0; i < nr; i++)
		verify_page(v, pages[i], sums[i], &errs[i]);
	return 0;
}

static void slot_free(void *arg, slot_t start, u32 nr)
{
	struct volume *v = arg;

	/* A COMMIT that failed for good may be on the disk all the same, and
	 * the slots it was to adopt with it: nothing may be written there. */
	if (!meta_failed(v->meta))
		blocks_free(v->blocks, start, nr);
}

const struct swap_operations volume_swap_ops = {
	.alloc = slot_alloc,
	.write = slot_write,
	.read = slot_read,
	.free = slot_free,
};

/* The failure is counted before the epochs are closed: a write that sees the
 * old count has read an epoch that is among the lost ones. */
void volume_note_lost(struct volume *v)
{
	counter_add(&v->count.data_flush_errors, 1);
	if (!load_seq(&v->lost_upto))
		store_seq(&v->lost_after, load_seq(&v->flushed_epoch));
	store_seq(&v->lost_upto,
		  __atomic_fetch_add(&v->flush_epoch, 1, __ATOMIC_SEQ_CST));
}

void volume_forget_lost(struct volume *v)
{
	store_seq(&v->lost_upto, 0);
}

int volume_flush(struct volume *v)
{
	u64 epoch = __atomic_fetch_add(&v->flush_epoch, 1, __ATOMIC_SEQ_CST);
	int err = v->data->ops->flush(v->data);

	counter_add(&v->count.data_flushes, 1);
	if (err)
		volume_note_lost(v);
	else if (epoch > load_seq(&v->flushed_epoch))
		store_seq(&v->flushed_epoch, epoch);
	return err;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "fs_internal.h"
#include "inline.h"

/* The set belongs to the budget. @before: its ranges before a change. */
static void charge(struct inode *inode, u64 before)
{
	s64 more = (s64)inode->inlined.nr - (s64)before;

	cache_charge(inode->fs->cache, more * RANGE_NODE_BYTES);
}

void inline_note(struct inode *inode, u64 pgoff)
{
	u64 before = inode->inlined.nr;

	if (range_set_find(&inode->inlined, pgoff, NULL, NULL))
		return;
	/* a page that is not remembered stays in its row, which is no harm */
	if (!range_set_add(&inode->inlined, pgoff, pgoff))
		inode->nr_inline++;
	charge(inode, before);
}

void inline_forget(struct inode *inode, u64 pgoff, u64 nr)
{
	u64 before = inode->inlined.nr;

	if (!before)
		return;
	/* no memory to split a range: the rows are asked anyway */
	if (range_set_remove(&inode->inlined, pgoff, pgoff + nr - 1))
		return;
	inode->nr_inline = (u32)inode->inlined.nr_pages;
	charge(inode, before);
}

/* The pages of one move: found, then given blocks in runs. */
struct move {
	struct inode *inode;
	u8 *buf; /* INLINE_MAX pages */
	u64 pgoffs[INLINE_MAX];
	void *pages[INLINE_MAX];
	u64 sums[INLINE_MAX];
	u64 blocks[INLINE_MAX];
	u32 nr;
};

/* Is the page inline still? Then it is added. */
static int find_page(struct move *mv, struct meta_reader *r, u64 pgoff)
{
	void *page = mv->buf + mv->nr * PAGE_SIZE;
	struct extent_row row;
	int err;

	err = meta_extent_get(r, mv->inode->ino, pgoff, &row, page);
	if (err == -EIO) /* damaged: it stays where it is */
		return 0;
	if (err || row.pgoff != pgoff || !(row.flags & META_EXTENT_INLINE))
		return err == -ENOENT ? 0 : err;

	mv->pgoffs[mv->nr] = pgoff;
	mv->pages[mv->nr] = page;
	mv->nr++;
	return 0;
}

static int find_pages(struct move *mv)
{
	struct meta_reader *r = NULL;
	u64 pgoff = 0, start, last;
	int err;

	err = meta_reader_get(mv->inode->fs->volume->meta, &r);
	if (err)
		return err;

	err = meta_reader_hold(r);
	while (!err && mv->nr < INLINE_MAX &&
	       range_set_next(&mv->inode->inlined, pgoff, &start, &last)) {
		pgoff = max(pgoff, start);
		err = find_page(mv, r, pgoff);
		pgoff++;
	}
	meta_reader_put(r);
	return err;
}

/* Not when COMMIT failed in a way that may have left it on the disk. */
static void free_blocks(struct move *mv, u32 nr)
{
	if (meta_failed(mv->inode->fs->volume->meta))
		return;
	for (u32 i = 0; i < nr; i++)
		blocks_free(mv->inode->fs->volume->blocks, mv->blocks[i], 1);
}

/* Return: pages that have a block now, or -errno. */
static int write_run(struct move *mv, u32 from)
{
	struct volume *v = mv->inode->fs->volume;
	slot_t start;
	u64 epoch;
	u32 nr;
	int err;

	err = volume_swap_ops.alloc(v, mv->nr - from, true, &start, &nr);
	if (err)
		return err;
	err = volume_swap_ops.write(v, start, nr, mv->pages + from,
				    mv->sums + from, &epoch);
	if (err) {
		volume_swap_ops.free(v, start, nr);
		return err;
	}
	for (u32 i = 0; i < nr; i++)
		mv->blocks[from + i] = start + i;
	return (int)nr;
}

static int write_pages(struct move *mv)
{
	struct volume *v = mv->inode->fs->volume;
	u32 done = 0;
	int rc;

	rc = volume_reserve(v, mv->nr);
	if (rc)
		return rc;
	while (rc >= 0 && done < mv->nr) {
		rc = write_run(mv, done);
		if (rc > 0)
			done += (u32)rc;
	}
	blocks_unreserve(v->blocks, mv->nr);
	if (rc >= 0)
		rc = volume_flush(v);
	if (rc < 0)
		free_blocks(mv, done);
	return rc < 0 ? rc : 0;
}

/* Pages were found inline: no block is freed by putting others there. */
static int none_freed(void *arg, u64 block, u64 nr)
{
	(void)arg, (void)block, (void)nr;
	assert(false);
	return -EINVAL;
}

/* How many from @i on are neighbours in the file and in `data`. */
static u32 run_length(const struct move *mv, u32 i)
{
	u32 n = 1;

	while (i + n < mv->nr && mv->pgoffs[i + n] == mv->pgoffs[i] + n &&
	       mv->blocks[i + n] == mv->blocks[i] + n)
		n++;
	return n;
}

static int put_rows(struct move *mv)
{
	struct volume *v = mv->inode->fs->volume;
	struct meta *m = v->meta;
	int err;

	err = meta_begin(m);
	if (err)
		return err;
	for (u32 i = 0, n; !err && i < mv->nr; i += n) {
		n = run_length(mv, i);
		err = meta_extent_put(m, mv->inode->ino, mv->pgoffs[i], n,
				      mv->blocks[i], 0, mv->sums + i,
				      none_freed, NULL);
	}
	if (err) {
		meta_rollback(m);
		return err;
	}
	/* nobody waits for it: durable with the next commit */
	return meta_commit(m, __atomic_load_n(&v->next_ino, __ATOMIC_RELAXED),
			   false);
}

static int move_pages(struct move *mv)
{
	int err;

	err = find_pages(mv);
	if (err || !mv->nr)
		return err;
	err = write_pages(mv);
	if (err)
		return err;
	err = put_rows(mv);
	if (err)
		free_blocks(mv, mv->nr);
	return err;
}

int inline_move_out(struct inode *inode)
{
	struct move *mv = calloc(1, sizeof(*mv));
	int err = -ENOMEM;

	if (!mv)
		return err;
	mv->inode = inode;
	mv->buf = aligned_alloc(PAGE_SIZE, INLINE_MAX * PAGE_SIZE);
	if (mv->buf)
		err = move_pages(mv);
	if (!err) {
		err = (int)mv->nr;
		inline_forget(inode, 0, PGOFF_MAX + 1);
	}
	free(mv->buf);
	free(mv);
	return err;
}

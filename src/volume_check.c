/* SPDX-License-Identifier: MIT */
/* Verifying a volume that nobody has mounted. */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sum.h"
#include "volume_int.h"

struct data_check {
	struct volume *v;
	const struct volume_check_options *opt;
	u8 *buf; /* META_EXTENT_MAX pages */
	void *pages[META_EXTENT_MAX];
	u64 done;
	u64 total; /* blocks to read */
	long faults;
};

static void __printf(2, 3) report(struct data_check *c, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->faults++;
	c->opt->report(c->opt->arg, line);
}

/* ---- which blocks: within bounds and used once ---- */

static int check_blocks(void *arg, u64 ino, const struct extent_row *row)
{
	struct data_check *c = arg;
	u64 end = row->block + row->npages;
	bool written = !(row->flags & META_EXTENT_UNWRITTEN);
	int err;

	if (row->flags & META_EXTENT_INLINE)
		return 0;
	if (written)
		c->total += row->npages;
	if (written && end > c->v->data_blocks) {
		report(c,
		       "inode %llu, page %llu: blocks %llu-%llu are behind the "
		       "end of data",
		       (unsigned long long)ino, (unsigned long long)row->pgoff,
		       (unsigned long long)row->block,
		       (unsigned long long)end - 1);
		return 0;
	}
	err = blocks_mark_used(c->v->blocks, row->block, row->npages,
			       row->flags & META_EXTENT_SHARED);
	if (err != -EUCLEAN)
		return err;
	report(c,
	       "inode %llu, page %llu: blocks %llu-%llu are out of bounds or "
	       "used twice",
	       (unsigned long long)ino, (unsigned long long)row->pgoff,
	       (unsigned long long)row->block, (unsigned long long)end - 1);
	return 0;
}

static int grow_map(void *arg, u64 ino, const struct extent_row *row)
{
	u64 *bound = arg;

	if (!(row->flags & META_EXTENT_INLINE) &&
	    row->flags & META_EXTENT_UNWRITTEN)
		*bound = max(*bound, row->block + row->npages);
	return 0;
}

/* Unwritten blocks may lie behind the end of data, not behind the bound. */
static int check_all_blocks(struct data_check *c)
{
	u64 bound = max(c->v->data_blocks, (u64)2);
	int err = meta_extent_walk(c->v->meta, false, grow_map, &bound);

	if (c->v->max_blocks)
		bound = min(bound, c->v->max_blocks);
	if (!err)
		err = blocks_new(bound, NULL, NULL, &c->v->blocks);
	if (!err)
		err = meta_extent_walk(c->v->meta, false, check_blocks, c);
	return err;
}

/* ---- what is in them ---- */

static void report_page(struct data_check *c, u64 ino, u64 pgoff, u64 block,
			const char *what)
{
	report(c, "inode %llu, page %llu: block %llu %s",
	       (unsigned long long)ino, (unsigned long long)pgoff,
	       (unsigned long long)block, what);
}

static void check_page(struct data_check *c, u64 ino,
		       const struct extent_row *row, u32 i, bool single)
{
	struct bdev *data = c->v->data;

	if (single && data->ops->read(data, row->block + i, 1, &c->pages[i]))
		report_page(c, ino, row->pgoff + i, row->block + i,
			    "cannot be read");
	else if (page_sum(c->pages[i]) != row->sums[i])
		report_page(c, ino, row->pgoff + i, row->block + i,
			    "has a wrong checksum");
}

static int check_inline(struct data_check *c, u64 ino, u64 pgoff)
{
	struct meta_page map;
	struct meta_reader *r;
	int err = meta_reader_get(c->v->meta, &r);

	if (err)
		return err;
	err = meta_extent_map(r, ino, pgoff, 1, &map, c->pages);
	meta_reader_put(r);
	if (!err && map.err)
		report(c, "inode %llu, page %llu: has a wrong checksum",
		       (unsigned long long)ino, (unsigned long long)pgoff);
	return err;
}

static int check_content(void *arg, u64 ino, const struct extent_row *row)
{
	struct data_check *c = arg;
	struct bdev *data = c->v->data;
	int err;

	if (row->flags & META_EXTENT_INLINE)
		return check_inline(c, ino, row->pgoff);
	if (row->flags & META_EXTENT_UNWRITTEN ||
	    row->block + row->npages > c->v->data_blocks)
		return 0;
	err = data->ops->read(data, row->block, row->npages, c->pages);
	for (u32 i = 0; i < row->npages; i++)
		check_page(c, ino, row, i, err != 0);
	c->done += row->npages;
	if (c->opt->progress)
		c->opt->progress(c->opt->arg, c->done, c->total);
	return 0;
}

static int check_all_content(struct data_check *c)
{
	int err;

	c->buf = aligned_alloc(PAGE_SIZE, META_EXTENT_MAX * PAGE_SIZE);
	if (!c->buf)
		return -ENOMEM;
	for (u32 i = 0; i < META_EXTENT_MAX; i++)
		c->pages[i] = c->buf + i * PAGE_SIZE;
	err = meta_extent_walk(c->v->meta, true, check_content, c);
	free(c->buf);
	return err;
}

/* ---- all of it ---- */

static long check_volume(struct volume *v,
			 const struct volume_check_options *opt)
{
	struct data_check *c = calloc(1, sizeof(*c));
	long faults;
	int err;

	if (!c)
		return -ENOMEM;
	c->v = v;
	c->opt = opt;
	faults = meta_check(v->meta, opt->report, opt->arg);
	err = faults < 0 ? (int)faults : check_all_blocks(c);
	if (!err && opt->data)
		err = check_all_content(c);
	/* Rows that cannot be read have been reported by meta_check(). */
	if ((err == -EUCLEAN || err == -EIO) && faults > 0)
		err = 0;
	faults += c->faults;
	free(c);
	return err ? err : faults;
}

long volume_check(const char *path, const struct volume_check_options *opt,
		  char *err, size_t errlen)
{
	struct volume_options open_opt = {.readonly = true,
					  .patience_ms = VOLUME_PATIENCE_MS,
					  .allow_network = true};
	struct volume *v;
	long faults;
	int code;

	code = volume_open_files(path, &open_opt, &v, err, errlen);
	if (code)
		return code;
	faults = check_volume(v, opt);
	(void)volume_close(v);
	if (faults < 0)
		(void)snprintf(err, errlen, "%s", strerror((int)-faults));
	return faults;
}

/* SPDX-License-Identifier: MIT */
/* Copying a volume: src/backup.h. */
#include "config.h"

#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "freemap.h"
#include "redo.h"
#include "sum.h"
#include "volume_int.h"

#define PATH_LEN 4096

/* What is to be done about a page of the extent at hand. */
enum page_state {
	PAGE_KEPT,
	PAGE_COPY,
	PAGE_BAD,
};

struct backup {
	const struct backup_options *opt;
	struct backup_result *result;
	char *err; /* one line for the user */
	size_t errlen;

	struct volume *from; /* NULL: it is mounted, and holds for us */
	struct bdev *source; /* its data */

	/* at opt->to */
	struct volume *to;    /* its folder, locked */
	struct volume *old;   /* the same, when it is complete */
	struct bdev *data;    /* of either */
	char *tmp;	      /* path of VOLUME_BACKUP_TMP */
	struct meta *meta;    /* in it */
	bool in_txn;	      /* extents were moved */
	struct blocks *taken; /* of the old state alone; NULL: none */
	struct blocks *used;  /* of the old and of the new one */
	u64 end;	      /* one past the last block with content */

	u64 begin_ns;
	u64 done; /* pages gone over */

	/* the extent at hand */
	u64 ino;
	const struct extent_row *row;
	enum page_state state[META_EXTENT_MAX];
	u8 *mem;
	void *pages[META_EXTENT_MAX];
	void *back[META_EXTENT_MAX]; /* what was written, read again */
};

static int __printf(3, 4) fail(struct backup *b, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(b->err, b->errlen, fmt, ap);
	va_end(ap);
	return code;
}

static int fail_at(struct backup *b, int code, const char *what)
{
	return fail(b, code, "%s: %s: %s", b->opt->to, what, strerror(-code));
}

/* ---- the source ---- */

static int open_mounted(struct backup *b)
{
	int dirfd = open(b->opt->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code;

	if (dirfd < 0)
		return fail(b, -errno, "%s: %s", b->opt->from, strerror(errno));
	code = bdev_file_open(dirfd, "data", O_RDONLY, &b->source);
	(void)close(dirfd);
	if (code)
		return fail(b, code, "%s/data: %s", b->opt->from,
			    strerror(-code));
	return 0;
}

static int open_unmounted(struct backup *b)
{
	struct volume_options opt = {.readonly = true,
				     .patience_ms = VOLUME_PATIENCE_MS,
				     .allow_network = true};
	char why[512] = "";
	int code;

	code = volume_open_files(b->opt->from, &opt, &b->from, why,
				 sizeof(why));
	if (code)
		return fail(b, code, "%s: %s", b->opt->from, why);
	b->source = b->from->data;

	/* Opened again to be copied; its lock stays. */
	(void)meta_close(b->from->meta);
	b->from->meta = NULL;
	return 0;
}

static bool is_held(const struct backup *b)
{
	return !b->opt->holds || b->opt->holds(b->opt->arg);
}

static int fail_unheld(struct backup *b)
{
	return fail(b, -ESTALE,
		    "%s: given up, as the mount needed the room, or is gone; "
		    "try again",
		    b->opt->from);
}

static void close_source(struct backup *b)
{
	if (b->source && !b->from)
		b->source->ops->close(b->source);
	volume_free(b->from);
}

/* ---- the destination ---- */

static bool has(const struct backup *b, const char *name)
{
	char path[PATH_LEN];

	(void)snprintf(path, sizeof(path), "%s/%s", b->opt->to, name);
	return access(path, F_OK) == 0;
}

static int open_complete(struct backup *b)
{
	struct volume_options opt = {.allow_network = true,
				     .wrap = b->opt->wrap,
				     .wrap_arg = b->opt->arg};
	char why[512] = "";
	int code;

	code = volume_open_files(b->opt->to, &opt, &b->old, why, sizeof(why));
	if (code)
		return fail(b, code, "%s: %s", b->opt->to, why);
	b->to = b->old;
	b->data = b->old->data;
	if (!meta_is_backup(b->old->meta))
		return fail(b, -EEXIST,
			    "%s: it is a volume, and no backup or none any "
			    "more: it was mounted for writing",
			    b->opt->to);
	return 0;
}

static int open_to_data(struct backup *b)
{
	struct bdev *lower;
	int code = bdev_file_open(b->to->dirfd, "data", O_RDWR | O_CREAT,
				  &b->to->data);

	lower = b->to->data;
	if (!code && b->opt->wrap)
		code = b->opt->wrap(b->opt->arg, lower, &b->to->data);
	if (code)
		return fail_at(b, code, "data");
	b->data = b->to->data;
	return 0;
}

/* One that is new, empty or unfinished. */
static int open_unfinished(struct backup *b)
{
	char why[512] = "";
	int code;

	code = volume_lock_folder(b->opt->to, &b->to, why, sizeof(why));
	if (code)
		return fail(b, code, "%s: %s", b->opt->to, why);
	if (has(b, "meta.db"))
		return fail(b, -EBUSY, "%s: somebody else has just made it",
			    b->opt->to);
	return open_to_data(b);
}

/* Nothing is made in a folder that is another's: the lock comes after. */
static int open_folder(struct backup *b)
{
	int dirfd;
	int code = 0;

	if (mkdir(b->opt->to, 0700) < 0 && errno != EEXIST)
		return fail(b, -errno, "%s: %s", b->opt->to, strerror(errno));
	dirfd = open(b->opt->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return fail(b, -errno, "%s: %s", b->opt->to, strerror(errno));
	if (!has(b, VOLUME_BACKUP_TMP))
		code = volume_check_empty(dirfd);
	if (!code && mkdir(b->tmp, 0700) < 0 && errno != EEXIST)
		code = -errno;
	if (!code)
		code = volume_sync_folders(dirfd);
	(void)close(dirfd);
	if (code == -ENOTEMPTY)
		return fail(b, -EEXIST, "%s: the folder is not empty",
			    b->opt->to);
	return code ? fail_at(b, code, VOLUME_BACKUP_TMP) : open_unfinished(b);
}

static int open_destination(struct backup *b)
{
	int code;

	if (asprintf(&b->tmp, "%s/" VOLUME_BACKUP_TMP, b->opt->to) < 0)
		return fail(b, -ENOMEM, "%s", strerror(ENOMEM));
	code = has(b, "meta.db") ? open_complete(b) : open_folder(b);
	if (code)
		return code;
	if (mkdir(b->tmp, 0700) < 0 && errno != EEXIST)
		return fail_at(b, -errno, VOLUME_BACKUP_TMP);
	return 0;
}

static void close_destination(struct backup *b)
{
	if (b->in_txn)
		meta_rollback(b->meta);
	(void)meta_close(b->meta);
	if (b->old)
		(void)meta_close(b->old->meta);
	volume_free(b->to);
	blocks_free_all(b->taken);
	blocks_free_all(b->used);
	free(b->tmp);
}

/* ---- the database ---- */

/* What another run left. */
static int empty_tmp(struct backup *b)
{
	static const char *const names[] = {"meta.db", "meta.db-wal",
					    "meta.db-shm"};
	int dirfd = open(b->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = dirfd < 0 ? -errno : 0;

	for (size_t i = 0; !code && i < ARRAY_SIZE(names); i++) {
		if (unlinkat(dirfd, names[i], 0) < 0 && errno != ENOENT)
			code = -errno;
	}
	if (dirfd >= 0)
		(void)close(dirfd);
	return code;
}

static int put_redo_into_rows(struct backup *b, struct redo *redo)
{
	int code = meta_begin(b->meta);

	if (code)
		return code;
	code = redo_apply(redo, b->meta, meta_ignore_freed, NULL, NULL);
	if (!code)
		code = meta_redo_put(b->meta, NULL);
	if (!code)
		return meta_commit(b->meta, 0, true);
	meta_rollback(b->meta);
	return code;
}

/* What a mount that goes on writes to may be read in the midst of a record, and
 * look damaged then. */
#define REDO_TRIES 20

static int load_redo(struct backup *b, const struct meta_redo *row,
		     struct redo **ret_redo)
{
	u64 blocks, records;
	int code = 0;

	for (int i = 0; i < (b->from ? 1 : REDO_TRIES); i++) {
		redo_free(*ret_redo);
		*ret_redo = NULL;
		code = b->source->ops->size(b->source, &blocks);
		if (!code)
			code = redo_new(b->source, ret_redo);
		if (!code)
			code = redo_load(*ret_redo, row, blocks,
					 b->result->commit_no, &records);
		if (code != -EUCLEAN)
			break;
	}
	/* a mount goes on, with transactions that this copy does not have */
	return code == -ESTALE && !b->from ? 0 : code;
}

/*
 * Commits that stand in the redo log of the source become rows of the copy, as
 * they would of the source: so their pages are copied like all others. Those
 * of later rows than these are not taken.
 */
static int take_redo_over(struct backup *b)
{
	struct redo *redo = NULL;
	struct meta_redo row;
	int code = meta_redo_get(b->meta, &row);

	if (!code && !row.nr)
		return 0;
	if (!code)
		code = load_redo(b, &row, &redo);
	if (!is_held(b)) {
		redo_free(redo);
		return fail_unheld(b);
	}
	if (!code ||
	    ((code == -EUCLEAN || code == -ESTALE) && redo && b->opt->damaged))
		code = put_redo_into_rows(b, redo);
	redo_free(redo);
	return code ? fail(b, code, "%s: its redo log: %s", b->opt->from,
			   strerror(-code))
		    : 0;
}

static int copy_db(struct backup *b)
{
	struct meta_super super;
	char why[512] = "";
	int code = empty_tmp(b);

	if (code)
		return fail_at(b, code, VOLUME_BACKUP_TMP);
	code = meta_copy(b->opt->from, b->tmp, why, sizeof(why));
	if (code)
		return fail(b, code, "%s: %s", b->opt->from, why);
	code = meta_open(b->tmp, false, &b->meta, why, sizeof(why));
	if (code)
		return fail(b, code, "%s: %s", b->tmp, why);
	meta_super(b->meta, &super);
	b->result->commit_no = super.commit_no;
	return take_redo_over(b);
}

/* Is what is there of the same volume? A copy that has just begun is none's. */
static int check_uuid(struct backup *b)
{
	struct meta_super super;
	u8 uuid[16];
	int code;

	meta_super(b->meta, &super);
	code = volume_read_header(b->data, uuid);
	if (code == -EUCLEAN && !b->old)
		code = volume_write_header(b->data, super.uuid);
	else if (!code && memcmp(uuid, super.uuid, sizeof(uuid)) != 0)
		return fail(b, -EEXIST, "%s: it is of another volume",
			    b->opt->to);
	return code ? fail_at(b, code, "data") : 0;
}

/* ---- which blocks ---- */

static int count_row(void *arg, u64 ino, const struct extent_row *row)
{
	struct backup *b = arg;

	(void)ino;
	if (!extent_has_blocks(row->flags) || !extent_has_sums(row->flags))
		return 0;
	b->result->total += row->npages;
	b->end = max(b->end, row->block + row->npages);
	return 0;
}

/* How far a walk's blocks reach. */
static int find_end(void *arg, u64 ino, const struct extent_row *row)
{
	u64 *end = arg;

	(void)ino;
	if (extent_has_blocks(row->flags))
		*end = max(*end, row->block + row->npages);
	return 0;
}

static int mark_row(void *arg, u64 ino, const struct extent_row *row)
{
	(void)ino;
	if (!extent_has_blocks(row->flags))
		return 0;
	return blocks_mark_used(arg, row->block, row->npages, true);
}

/* Blocks of the complete copy that is there may not be overwritten. */
static int map_old(struct backup *b)
{
	struct meta_super super;
	u64 end = 2;
	int err = meta_extent_walk(b->old->meta, false, find_end, &end);

	if (!err)
		err = meta_extent_walk(b->meta, false, find_end, &end);
	meta_super(b->meta, &super);
	/* in the worst case each block of the new state gets another number */
	end = max(end,
		  super.nr_blocks ? super.nr_blocks : end + b->result->total);
	if (!err)
		err = blocks_new(end, NULL, NULL, &b->taken);
	if (!err)
		err = blocks_new(end, NULL, NULL, &b->used);
	if (!err)
		err = meta_extent_walk(b->old->meta, false, mark_row, b->taken);
	if (!err)
		err = meta_extent_walk(b->old->meta, false, mark_row, b->used);
	if (!err)
		err = meta_extent_walk(b->meta, false, mark_row, b->used);
	return err;
}

static int map_blocks(struct backup *b)
{
	int err = meta_extent_walk(b->meta, false, count_row, b);

	if (!err && b->old)
		err = map_old(b);
	return err ? fail(b, err, "%s: its extents: %s", b->opt->from,
			  strerror(-err))
		   : 0;
}

static bool is_taken(struct backup *b, u64 block)
{
	u64 start, nr;

	return b->taken && blocks_next_used(b->taken, block, &start, &nr) &&
	       start == block;
}

/* ---- bad blocks ---- */

/* A path of @ino in front of what is in @buf from @pos on. Return: where it
 * begins; there may be none. */
static size_t prepend_path(struct meta_reader *r, u64 ino, char *buf,
			   size_t pos)
{
	struct dentry_row d;

	while (ino != META_ROOT_INO && !meta_dentry_of(r, ino, 0, &ino, &d) &&
	       d.len + 1u < pos) {
		pos -= d.len;
		memcpy(buf + pos, d.name, d.len);
		buf[--pos] = '/';
	}
	return pos;
}

static void report_bad(struct backup *b, u32 first, u32 last)
{
	char path[PATH_LEN], line[PATH_LEN + 128];
	size_t pos = sizeof(path) - 1;
	struct meta_reader *r;

	path[pos] = '\0';
	if (!meta_reader_get(b->meta, &r)) {
		pos = prepend_path(r, b->ino, path, pos);
		meta_reader_put(r);
	}
	(void)snprintf(line, sizeof(line),
		       "%s: inode %llu, pages %llu-%llu: not what was written",
		       path + pos, (unsigned long long)b->ino,
		       (unsigned long long)b->row->pgoff + first,
		       (unsigned long long)b->row->pgoff + last);
	b->opt->report(b->opt->arg, line);
}

/* A block that is used again after a lost hold looks bad, and is not. */
static int note_bad(struct backup *b)
{
	const u32 nr = b->row->npages;

	for (u32 i = 0, n; i < nr; i += n) {
		for (n = 1; i + n < nr && b->state[i + n] == b->state[i]; n++)
			;
		if (b->state[i] != PAGE_BAD)
			continue;
		if (!is_held(b))
			return fail_unheld(b);
		b->result->bad += n;
		report_bad(b, i, i + n - 1);
	}
	return 0;
}

/* ---- one extent ---- */

/* Which pages are there already? */
static void look_at_destination(struct backup *b)
{
	const struct extent_row *row = b->row;
	int err =
		b->data->ops->read(b->data, row->block, row->npages, b->pages);

	for (u32 i = 0; i < row->npages; i++) {
		bool same = !err && page_sum(b->pages[i]) == row->sums[i];

		b->state[i] = same ? PAGE_KEPT : PAGE_COPY;
		b->result->kept += same;
	}
}

/* Read pages [i, i + n) of the extent; one by one where that fails. */
static void read_source(struct backup *b, u32 i, u32 n)
{
	int err = b->source->ops->read(b->source, b->row->block + i, n,
				       b->pages + i);

	if (err && n > 1) {
		for (u32 k = i; k < i + n; k++)
			read_source(b, k, 1);
		return;
	}
	for (u32 k = i; k < i + n; k++) {
		if (err || page_sum(b->pages[k]) != b->row->sums[k])
			b->state[k] = PAGE_BAD;
	}
}

/* Write pages [i, i + n) to @block on, and see what stands there then. */
static int write_pages(struct backup *b, u32 i, u32 n, u64 block)
{
	int err = b->data->ops->write(b->data, block, n, b->pages + i);

	if (!err)
		err = b->data->ops->read(b->data, block, n, b->back + i);
	for (u32 k = i; !err && k < i + n; k++) {
		if (page_sum(b->back[k]) != b->row->sums[k])
			err = -EIO;
	}
	b->result->copied += n;
	b->end = max(b->end, block + n);
	return err ? fail_at(b, err, "data") : 0;
}

static int nothing_freed(void *arg, u64 block, u64 nr)
{
	(void)arg, (void)block, (void)nr;
	return 0;
}

/* Their numbers are taken by the state that is there: give them others. */
static int move_pages(struct backup *b, u32 i, u32 n)
{
	u64 block;
	int err = 0;

	while (!err && n) {
		u32 nr;

		err = blocks_alloc(b->used, n, &block, &nr);
		if (err)
			return fail(b, err,
				    "%s: no room for the old and the new state "
				    "at once",
				    b->opt->to);
		err = write_pages(b, i, nr, block);
		if (err)
			return err;
		if (!b->in_txn)
			err = meta_begin(b->meta);
		b->in_txn = !err;
		if (!err)
			err = meta_extent_put(b->meta, b->ino,
					      b->row->pgoff + i, nr, block,
					      b->row->flags, b->row->sums + i,
					      nothing_freed, NULL);
		b->result->moved += nr;
		i += nr;
		n -= nr;
	}
	return err ? fail_at(b, err, "meta.db") : 0;
}

/* How many pages from @i on are of the same kind. */
static u32 run_length(struct backup *b, u32 i, bool taken)
{
	u32 n = 1;

	while (i + n < b->row->npages && b->state[i + n] == b->state[i] &&
	       (b->state[i] != PAGE_COPY ||
		is_taken(b, b->row->block + i + n) == taken))
		n++;
	return n;
}

static int for_copies(struct backup *b, bool write)
{
	int err = 0;

	for (u32 i = 0, n; !err && i < b->row->npages; i += n) {
		bool taken = is_taken(b, b->row->block + i);

		n = run_length(b, i, taken);
		if (b->state[i] != PAGE_COPY)
			continue;
		if (!write)
			read_source(b, i, n);
		else if (taken)
			err = move_pages(b, i, n);
		else
			err = write_pages(b, i, n, b->row->block + i);
	}
	return err;
}

/* Not before what was copied may have been. */
static void keep_rate(const struct backup *b)
{
	u64 bytes = b->result->copied * PAGE_SIZE;
	u64 due = b->begin_ns;
	struct timespec ts;

	if (!b->opt->rate)
		return;
	due += (u64)((double)bytes / (double)b->opt->rate *
		     (double)NSEC_PER_SEC);
	ts.tv_sec = (time_t)(due / NSEC_PER_SEC);
	ts.tv_nsec = (long)(due % NSEC_PER_SEC);
	if (due > mono_ns())
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts,
				      NULL);
}

/* It came with the database. */
static int check_inline(struct backup *b)
{
	struct meta_page map;
	struct meta_reader *r;
	int err = meta_reader_get(b->meta, &r);

	if (err)
		return fail_at(b, err, "meta.db");
	err = meta_extent_map(r, b->ino, b->row->pgoff, 1, &map, b->pages);
	meta_reader_put(r);
	if (err)
		return fail_at(b, err, "meta.db");
	if (map.err) {
		b->result->bad++;
		report_bad(b, 0, 0);
	}
	return 0;
}

static int copy_row(void *arg, u64 ino, const struct extent_row *row)
{
	struct backup *b = arg;
	int err;

	b->ino = ino;
	b->row = row;
	if (row->flags & META_EXTENT_INLINE)
		return check_inline(b);
	if (!extent_has_sums(row->flags))
		return 0;
	look_at_destination(b);
	(void)for_copies(b, false);
	err = note_bad(b);
	if (!err)
		err = for_copies(b, true);
	b->done += row->npages;
	if (!err && b->opt->progress)
		b->opt->progress(b->opt->arg, b->done, b->result->total);
	keep_rate(b);
	return err;
}

static int copy_blocks(struct backup *b)
{
	int err;

	b->mem = aligned_alloc(PAGE_SIZE, 2 * META_EXTENT_MAX * PAGE_SIZE);
	if (!b->mem)
		return fail(b, -ENOMEM, "%s", strerror(ENOMEM));
	for (size_t i = 0; i < META_EXTENT_MAX; i++) {
		b->pages[i] = b->mem + i * PAGE_SIZE;
		b->back[i] = b->mem + (META_EXTENT_MAX + i) * PAGE_SIZE;
	}
	b->begin_ns = mono_ns();
	err = meta_extent_walk(b->meta, true, copy_row, b);
	free(b->mem);
	if (err && !*b->err)
		return fail(b, err, "%s: its extents: %s", b->opt->from,
			    strerror(-err));
	if (!err && b->result->bad && !b->opt->damaged)
		return fail(b, -EBADMSG,
			    "%s: %llu bad pages: the backup is not finished",
			    b->opt->from, (unsigned long long)b->result->bad);
	return err;
}

/* ---- completing it ---- */

/* Zeros at the end were kept as a hole. */
static int extend_data(struct backup *b)
{
	u64 nr;
	int fd;
	int err = b->data->ops->size(b->data, &nr);

	if (err || nr >= b->end)
		return err;
	fd = openat(b->to->dirfd, "data", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, (off_t)(b->end * PAGE_SIZE)) < 0 ? -errno : 0;
	(void)close(fd);
	return err;
}

/* Nobody may find a WAL of another state beside a database. */
static int close_db(struct meta **m, const char *folder)
{
	char wal[PATH_LEN];
	int err = meta_close(*m);

	*m = NULL;
	(void)snprintf(wal, sizeof(wal), "%s/meta.db-wal", folder);
	return !err && access(wal, F_OK) == 0 ? -EBUSY : err;
}

static int finish_db(struct backup *b)
{
	int err = 0;

	if (b->in_txn) {
		err = meta_commit(b->meta, 0, true);
		b->in_txn = false;
	}
	if (!err)
		err = meta_note_backup(b->meta);
	if (!err)
		err = close_db(&b->meta, b->tmp);
	return err ? fail_at(b, err, "meta.db") : 0;
}

static int replace_db(struct backup *b)
{
	int dirfd = b->to->dirfd;
	int err = 0;

	if (b->old)
		err = close_db(&b->old->meta, b->opt->to);
	if (!err)
		err = volume_sync_folders(dirfd);
	if (!err) {
		freemap_remove(dirfd);
		if (renameat(dirfd, VOLUME_BACKUP_TMP "/meta.db", dirfd,
			     "meta.db") < 0)
			err = -errno;
	}
	if (!err)
		err = volume_sync_folders(dirfd);
	(void)unlinkat(dirfd, VOLUME_BACKUP_TMP, AT_REMOVEDIR);
	return err ? fail_at(b, err, "meta.db") : 0;
}

static int complete(struct backup *b)
{
	int err = extend_data(b);

	if (!err)
		err = b->data->ops->flush(b->data);
	if (err)
		return fail_at(b, err, "data");
	err = finish_db(b);
	if (!err)
		err = replace_db(b);
	return err;
}

/* ---- all of it ---- */

static int run(struct backup *b)
{
	int err = b->opt->holds ? open_mounted(b) : open_unmounted(b);

	if (!err)
		err = open_destination(b);
	if (!err)
		err = copy_db(b);
	if (!err)
		err = check_uuid(b);
	if (!err)
		err = map_blocks(b);
	if (!err)
		err = copy_blocks(b);
	return err ? err : complete(b);
}

int volume_backup(const struct backup_options *opt,
		  struct backup_result *ret_result, char *err, size_t errlen)
{
	struct backup *b = calloc(1, sizeof(*b));
	int code;

	*ret_result = (struct backup_result){0};
	(void)complain(err, errlen, 0, "%s", "");
	if (!b)
		return complain(err, errlen, -ENOMEM, "%s", strerror(ENOMEM));
	b->opt = opt;
	b->result = ret_result;
	b->err = err;
	b->errlen = errlen;

	code = run(b);
	close_destination(b);
	close_source(b);
	free(b);
	if (code)
		return code;
	return ret_result->bad ? -EBADMSG : 0;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "volume_redo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "volume_int.h"

/* Of a volume the log is no more than this part. */
#define LOG_SHARE 64

/* ---- small commits ---- */

int volume_redo_append(struct volume *v, const struct redo_record *rec)
{
	int err;

	if (!redo_has_room(v->redo, rec->nr_files, rec->nr_pages))
		return -ENOSPC;
	err = redo_append(v->redo, rec, meta_synced_no(v->meta));
	if (err) {
		/* the host may have told us of what others wrote */
		volume_note_lost(v);
		return err;
	}
	counter_add(&v->count.data_write_blocks, 1 + rec->nr_pages);
	counter_add(&v->count.redo_records, 1);
	counter_add(&v->count.redo_pages, rec->nr_pages);
	return 0;
}

/* ---- a place for it ---- */

static int write_zeros(struct volume *v, u64 start, u32 nr)
{
	void *pages[REDO_BLOCKS];
	void *zeros = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	int err;

	if (!zeros)
		return -ENOMEM;
	memset(zeros, 0, PAGE_SIZE);
	for (u32 i = 0; i < nr; i++)
		pages[i] = zeros;
	err = v->data->ops->write(v->data, start, nr, pages);
	if (!err)
		counter_add(&v->count.data_write_blocks, nr);
	free(zeros);
	return err;
}

/* Written once, so that the host need not give it blocks, durably, at each
 * record; and flushed, so that `data` is never found to end before its log does
 * unless it was truncated. */
static int prepare(struct volume *v, u64 start, u32 nr)
{
	int err = volume_ensure_size(v, start + nr);

	if (!err)
		err = write_zeros(v, start, nr);
	return err ? err : volume_flush(v);
}

/* Up to @want blocks in one place, if so many can be spared. Return: how many,
 * 0: none. */
static u32 take_run(struct volume *v, u32 want, u64 *ret_start)
{
	u32 nr;
	int err;

	if (volume_reserve(v, want))
		return 0;
	err = blocks_alloc(v->blocks, want, ret_start, &nr);
	blocks_unreserve(v->blocks, want);
	return err ? 0 : nr;
}

static bool new_salt(struct meta_redo *row)
{
	row->seq = 1;
	if (getrandom(&row->salt, sizeof(row->salt), 0) != sizeof(row->salt))
		return false;
	row->salt &= ~REDO_GENERATION;
	return true;
}

/* For a log that goes on behind the old one. */
static bool next_salt(struct meta_redo *row)
{
	u64 salt = redo_next_salt(row->salt);

	if (!salt)
		return new_salt(row);
	row->seq = 1;
	row->salt = salt;
	return true;
}

static bool allocate(struct volume *v, struct meta_redo *ret_row)
{
	struct blocks_stat st;
	u64 start;
	u32 want, nr;
	int err;

	blocks_stat(v->blocks, &st);
	want = (u32)min(st.total / LOG_SHARE, (u64)REDO_BLOCKS);
	if (want < REDO_BLOCKS_MIN)
		return false;
	nr = take_run(v, want, &start);
	if (!nr)
		return false;

	err = nr < REDO_BLOCKS_MIN ? -ENOSPC : prepare(v, start, nr);
	*ret_row = (struct meta_redo){.start = start, .nr = nr};
	if (!err && new_salt(ret_row))
		return true;
	*ret_row = (struct meta_redo){.nr = 0};
	blocks_free(v->blocks, start, nr);
	return false;
}

/* ---- transactions ---- */

bool volume_redo_is_due(const struct volume *v, bool scarce)
{
	struct meta_redo row;

	redo_row(v->redo, &row);
	return redo_is_used(v->redo) || (scarce && row.nr);
}

/* ---- copies ---- */

static int write_copy(struct volume *v, u64 ino, u64 pgoff, u32 nr, u64 block)
{
	void *pages[REDO_BLOCKS];
	u8 *buf = aligned_alloc(PAGE_SIZE, nr * PAGE_SIZE);
	int err;

	if (!buf)
		return -ENOMEM;
	for (u32 i = 0; i < nr; i++)
		pages[i] = buf + i * PAGE_SIZE;
	err = redo_read(v->redo, ino, pgoff, nr, pages);
	if (!err)
		err = volume_ensure_size(v, block + nr);
	if (!err)
		err = v->data->ops->write(v->data, block, nr, pages);
	free(buf);
	if (err)
		return err;
	counter_add(&v->count.data_read_blocks, nr);
	counter_add(&v->count.data_write_blocks, nr);
	return 0;
}

/* Copy one run, if there is as much room in one place. */
static bool copy_run(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		     struct redo_plan *plan)
{
	u64 block;
	u32 got = take_run(v, nr, &block);

	if (got == nr && !write_copy(v, ino, pgoff, nr, block)) {
		plan->copies[plan->nr_copies].start = block;
		plan->copies[plan->nr_copies++].nr = nr;
		redo_move(v->redo, ino, pgoff, nr, block);
		return true;
	}
	if (got)
		blocks_free(v->blocks, block, got);
	return false;
}

static void free_copies(struct volume *v, struct redo_plan *plan)
{
	redo_not_applied(v->redo);
	while (plan->nr_copies) {
		plan->nr_copies--;
		blocks_free(v->blocks, plan->copies[plan->nr_copies].start,
			    plan->copies[plan->nr_copies].nr);
	}
}

static void copy_scattered(struct volume *v, struct redo_plan *plan)
{
	u64 ino = 0, pgoff = 0;
	u32 nr;

	for (; redo_next_scattered(v->redo, &ino, &pgoff, REDO_COPY_MIN, &nr);
	     pgoff += nr) {
		if (!copy_run(v, ino, pgoff, nr, plan))
			break;
	}
	if (plan->nr_copies && volume_flush(v))
		free_copies(v, plan);
}

/* ---- what becomes of the log ---- */

/* Is what is left of the log worth keeping? */
static bool is_kept(const struct volume *v, const struct meta_redo *row,
		    bool scarce)
{
	return row->nr && !scarce && redo_room(v->redo) >= REDO_BLOCKS_MIN;
}

void volume_redo_plan(struct volume *v, bool want, bool scarce,
		      struct redo_plan *ret)
{
	struct meta_redo row;

	redo_row(v->redo, &row);
	*ret = (struct redo_plan){.apply = redo_nr_records(v->redo),
				  .row = row};
	if (ret->apply && !scarce)
		copy_scattered(v, ret);
	if (is_kept(v, &row, scarce)) {
		ret->renew = redo_is_used(v->redo);
		ret->row.start += redo_used(v->redo);
		ret->row.nr -= redo_used(v->redo);
		if (!ret->renew || next_salt(&ret->row))
			return;
	}
	ret->row = (struct meta_redo){.nr = 0};
	if (!scarce && (want || redo_is_used(v->redo)))
		ret->fresh = allocate(v, &ret->row);
	ret->renew = ret->fresh || row.nr;
}

/* Blocks of the old log behind its records that are not the new one's. */
static int free_room(struct volume *v, const struct redo_plan *plan,
		     meta_freed_fn freed, void *arg)
{
	struct meta_redo old;
	u64 used = redo_used(v->redo);

	redo_row(v->redo, &old);
	if (old.nr == used || plan->row.start == old.start + used)
		return 0;
	return freed(arg, old.start + used, old.nr - used);
}

int volume_redo_apply(struct volume *v, const struct redo_plan *plan,
		      meta_freed_fn freed, redo_moved_fn moved, void *arg)
{
	int err = 0;

	if (plan->apply)
		err = redo_apply(v->redo, v->meta, freed, moved, arg);
	if (!err && plan->renew)
		err = free_room(v, plan, freed, arg);
	if (!err && plan->renew)
		err = meta_redo_put(v->meta, plan->row.nr ? &plan->row : NULL);
	return err;
}

void volume_redo_end(struct volume *v, struct redo_plan *plan, bool visible,
		     redo_grown_fn grown, void *arg)
{
	if (visible && plan->renew)
		redo_applied(v->redo, &plan->row, grown, arg);
	else
		redo_not_applied(v->redo);
	/* a COMMIT that failed may be on the disk all the same */
	if (visible || meta_failed(v->meta))
		return;
	free_copies(v, plan);
	if (plan->fresh)
		blocks_free(v->blocks, plan->row.start, plan->row.nr);
}

/* ---- mounting ---- */

static int complain_load(int code, u64 records, char *err, size_t errlen)
{
	if (code == -ESTALE)
		return complain(err, errlen, -EUCLEAN,
				"meta.db has lost commits that its redo log "
				"goes on from; folioctl check --repair gives "
				"up those too");
	if (code == -EUCLEAN)
		return complain(err, errlen, code,
				"its redo log is damaged: there were more "
				"commits than the %llu that can be read; "
				"folioctl check --repair gives up those behind",
				(unsigned long long)records);
	return complain(err, errlen, code, "its redo log: %s", strerror(-code));
}

/* Super says that there is one. */
static bool is_missing(const struct volume *v)
{
	struct meta_super super;

	meta_super(v->meta, &super);
	return super.incompat & META_INCOMPAT_REDO;
}

static int load(struct volume *v, const struct meta_redo *row, u64 *ret_records)
{
	struct meta_super super;

	meta_super(v->meta, &super);
	return redo_load(v->redo, row, v->data_blocks, super.commit_no,
			 ret_records);
}

int volume_redo_load(struct volume *v, struct meta_redo *ret_row, char *err,
		     size_t errlen)
{
	u64 records = 0;
	int code = redo_new(v->data, &v->redo);

	if (!code)
		code = meta_redo_get(v->meta, ret_row);
	if (!code && !ret_row->nr && is_missing(v))
		return complain(err, errlen, -EUCLEAN,
				"its redo log is lost; folioctl check --repair "
				"gives up what was committed there last");
	if (!code)
		code = load(v, ret_row, &records);
	if (code)
		return complain_load(code, records, err, errlen);
	counter_add(&v->count.redo_replayed, records);
	return 0;
}

int volume_redo_replay(struct volume *v, meta_freed_fn freed, void *arg)
{
	const struct redo_plan plan = {.apply = true, .renew = true};
	struct meta_redo row;

	redo_row(v->redo, &row);
	return row.nr ? volume_redo_apply(v, &plan, freed, NULL, arg) : 0;
}

void volume_redo_replayed(struct volume *v)
{
	static const struct meta_redo none;

	redo_applied(v->redo, &none, NULL, NULL);
}

int volume_redo_drop(struct volume *v)
{
	struct redo_plan plan = {.renew = true};
	struct meta_redo row;
	int err;

	if (!v->redo)
		return 0;
	redo_row(v->redo, &row);
	if (!row.nr)
		return 0;
	if (redo_is_used(v->redo))
		return -EBUSY;

	err = meta_begin(v->meta);
	if (err)
		return err;
	err = meta_redo_put(v->meta, NULL);
	if (!err)
		err = meta_commit(v->meta, v->next_ino, true);
	else
		meta_rollback(v->meta);
	if (err)
		return err;
	volume_redo_end(v, &plan, true, NULL, NULL);
	blocks_free(v->blocks, row.start, row.nr);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <syslog.h>

#include "fs_internal.h"
#include "inline.h"
#include "prealloc.h"
#include "small_commit.h"
#include "transaction.h"

/* Files with more DIRTY pages than this are written before the cut. */
#define PREWRITE_PAGES 256
#define PREWRITE_FILES 64

#define FLUSH_TRIES 3

int transaction_init(struct transaction *t, struct fs *fs,
		     enum commit_scope scope)
{
	*t = (struct transaction){.fs = fs, .scope = scope};
	list_init(&t->ops);
	list_init(&t->files);
	t->commit = commit_new(fs->cache);
	return t->commit ? 0 : -ENOMEM;
}

void transaction_done(struct transaction *t)
{
	commit_free(t->commit);
	free(t->taken);
}

/* ---- prewrite ---- */

static bool included(const struct transaction *t, struct inode *inode,
		     u64 epoch)
{
	bool yes;

	mutex_lock(&inode->lock);
	yes = inode->must || inode->include_epoch == epoch ||
	      t->scope == COMMIT_ALL ||
	      (t->scope == COMMIT_UNASKED && !inode_held_locked(inode));
	mutex_unlock(&inode->lock);
	return yes;
}

/* Big files that the cut will take, each with a reference. */
static u32 find_big(struct transaction *t, struct inode **ret)
{
	struct oplist *l = &t->fs->ops;
	struct inode *inode;
	u32 nr = 0;

	mutex_lock(&l->lock);
	list_for_each_entry (inode, &l->dirty, dirty) {
		if (nr == PREWRITE_FILES)
			break;
		if (address_space_nr_dirty(&inode->mapping) <= PREWRITE_PAGES ||
		    !included(t, inode, l->epoch))
			continue;
		inode_get(inode);
		ret[nr++] = inode;
	}
	mutex_unlock(&l->lock);
	return nr;
}

void transaction_prewrite(struct transaction *t)
{
	struct inode *big[PREWRITE_FILES];
	u32 nr = find_big(t, big);

	for (u32 i = 0; i < nr; i++) {
		/* an error shows again, for good, in the write-out */
		(void)commit_prewrite(t->fs->cache, &big[i]->mapping);
		inode_put(big[i]);
	}
}

/* ---- cut ---- */

/* One past the last page that the file may have a committed extent for. */
static u64 content_end(const struct inode *inode)
{
	u64 end = bytes_to_pages(inode->cut_size);
	u64 last;

	if (range_set_last(&inode->cut_prealloc, &last))
		end = max(end, last + 1);
	return end;
}

static void cut_file(struct transaction *t, struct inode *inode)
{
	struct oplist *l = &t->fs->ops;

	commit_add(t->commit, &inode->mapping);
	mutex_lock(&inode->lock);
	inode->committing = t->epoch;
	inode->dirty_epoch = 0;
	inode->cut_must = inode->must;
	inode->must = false;
	inode->late_must = false;
	inode->cut_mtime = inode->mtime;
	inode->cut_ctime = inode->ctime;
	inode->cut_size = i_size_read(&inode->mapping);
	prealloc_cut(inode);
	inode->extent_end = max(inode->extent_end, content_end(inode));
	mutex_unlock(&inode->lock);

	inode->seen = false;
	inode->cut_pages = 0;
	inode->prealloc_done = PGOFF_MAX + 1;
	list_del(&inode->dirty);
	l->nr_dirty--;
	list_add_tail(&inode->commit_node, &t->files);
	t->nr_files++;
}

/* When the oldest change of a file came that the cut leaves. */
static u64 dirty_since(struct inode *inode)
{
	u64 when;

	mutex_lock(&inode->mapping.tree_lock);
	when = inode->mapping.dirtied_when;
	mutex_unlock(&inode->mapping.tree_lock);
	/* ranges of fallocate() leave the mapping as it is */
	return when ? when : inode->fs->ops.oldest_ns;
}

static void cut_locked(struct transaction *t)
{
	struct oplist *l = &t->fs->ops;
	struct inode *inode, *tmp;
	u64 oldest = UINT64_MAX;

	t->epoch = l->epoch;
	list_for_each_entry_safe (inode, tmp, &l->dirty, dirty) {
		if (included(t, inode, t->epoch))
			cut_file(t, inode);
		else
			oldest = min(oldest, dirty_since(inode));
	}
	t->nr_ops = l->nr_open;
	oplist_freeze(l, &t->ops);
	l->cut_oldest_ns = l->oldest_ns;
	l->oldest_ns = oldest == UINT64_MAX ? 0 : oldest;
	if (t->scope != COMMIT_ASKED || !l->oldest_ns)
		l->timer_ns = 0;
	__atomic_store_n(&l->points, false, __ATOMIC_RELAXED);
}

void transaction_cut(struct transaction *t)
{
	struct fs *fs = t->fs;
	u64 begin, us;

	/* who comes while this waits for those before it stops as well */
	begin = mono_ns();
	down_write(&fs->stop);
	t->scope = max(t->scope, committer_cut(&fs->committer, fs->ops.epoch));
	mutex_lock(&fs->ops.lock);
	cut_locked(t);
	mutex_unlock(&fs->ops.lock);
	us = (mono_ns() - begin) / 1000;
	up_write(&fs->stop);

	if (us > fs->committer.stop_max_us)
		__atomic_store_n(&fs->committer.stop_max_us, us,
				 __ATOMIC_RELAXED);
}

/* ---- write-out ---- */

/* Everything in slots is to be durable before rows refer to it; see
 * volume_flush() about those that a failed flush may have lost. */
static int flush_slots(struct transaction *t)
{
	struct volume *v = t->fs->volume;
	int err = 0;

	for (int i = 0; i < FLUSH_TRIES; i++) {
		u64 upto = __atomic_load_n(&v->lost_upto, __ATOMIC_ACQUIRE);
		u64 after = __atomic_load_n(&v->lost_after, __ATOMIC_ACQUIRE);

		err = upto ? commit_reslot(t->commit, after, upto) : 0;
		if (err)
			break;
		if (commit_max_epoch(t->commit) <=
		    __atomic_load_n(&v->flushed_epoch, __ATOMIC_ACQUIRE))
			return 0;
		err = volume_flush(v);
		if (!err)
			return 0;
		fs_log(t->fs, LOG_WARNING, "flushing data: %s", strerror(-err));
	}
	return err;
}

static bool blocks_are_scarce(const struct transaction *t)
{
	struct blocks_stat st;

	blocks_stat(t->fs->volume->blocks, &st);
	return st.total <
	       st.used + st.reserved + min(st.total / 16, (u64)INLINE_SCARCE);
}

bool transaction_redo_is_due(const struct transaction *t)
{
	return t->scope != COMMIT_ASKED && !fs_readonly(t->fs) &&
	       volume_redo_is_due(t->fs->volume, blocks_are_scarce(t));
}

/* How many pages of a file stay in their frames, and are written from there. */
static u32 inline_pages(const struct transaction *t, bool scarce, bool fits)
{
	if (scarce || t->nr_files > INLINE_FILES)
		return 0;
	return fits ? SMALL_COMMIT_PAGES : INLINE_PAGES;
}

static int write_out(struct transaction *t, u32 nr_inline)
{
	int err;

	if (!t->nr_files)
		return 0;

	err = commit_writeout(t->commit, nr_inline);
	return err ? err : flush_slots(t);
}

/* ---- what is left out ---- */

/* A file whose pages could not be written is left out. */
static void note_left_out(struct transaction *t)
{
	struct inode *inode;

	list_for_each_entry (inode, &t->files, commit_node) {
		int err = commit_file_error(&inode->mapping);

		if (!err)
			continue;
		if (!inode->left_out)
			fs_log(t->fs, LOG_ERR, "commit without inode %llu: %s",
			       (unsigned long long)inode->ino, strerror(-err));
		inode->left_out_err = err;
		t->left_out = err;
	}
}

/* ---- files that go together ---- */

/* One that cannot be written keeps the others of its group from going. */
static void spread_error(void *arg, const struct commit_req *req)
{
	bool *spread = arg;
	int err = 0;

	for (u32 i = 0; !err && i < req->nr_group; i++)
		err = commit_file_error(&req->group[i]->mapping);
	for (u32 i = 0; err && i < req->nr_group; i++) {
		struct address_space *as = &req->group[i]->mapping;

		if (!as->frozen || commit_file_error(as))
			continue;
		commit_leave_out(as, err);
		*spread = true;
	}
}

/* A file may be in several groups. */
static void keep_groups_whole(struct transaction *t)
{
	bool spread;

	do {
		spread = false;
		committer_for_groups(&t->fs->committer, spread_error, &spread);
	} while (spread);
}

/* ---- names that wait for content ---- */

static int must_error(struct transaction *t)
{
	struct inode *inode;

	list_for_each_entry (inode, &t->files, commit_node) {
		int err = commit_file_error(&inode->mapping);

		if (err && inode->cut_must)
			return err;
	}
	return 0;
}

/* Files whose rows are among the records cannot go without them. */
static void leave_out_new_files(struct transaction *t)
{
	struct op *op;

	list_for_each_entry (op, &t->ops, node) {
		struct op_inode *i = container_of(op, struct op_inode, op);

		if (op->kind == OP_INODE && i->what & OP_INODE_CREATE &&
		    inode_is_reg(i->inode))
			commit_leave_out(&i->inode->mapping, t->names_err);
	}
}

/*
 * A new name must not be committed without what the file was when it got it,
 * or a crash would find neither the old file nor the new one. As names are
 * committed in the order in which they came, all records wait with it: until
 * the file can be written, is written anew, truncated or removed. Content goes
 * on: files that have a row are committed without the records, and who asks
 * for more than that is told. Only at the end, when what is held back would be
 * lost altogether, the one file is given up for all others.
 */
static void hold_names_back(struct transaction *t)
{
	int err = must_error(t);

	if (!err)
		return;
	if (t->last_try) {
		fs_log(t->fs, LOG_CRIT,
		       "names are committed without the content of a file that "
		       "was renamed: %s",
		       strerror(-err));
		return;
	}
	if (!t->fs->committer.names_held)
		fs_log(t->fs, LOG_ERR,
		       "names wait for a renamed file that cannot be "
		       "committed: %s",
		       strerror(-err));
	t->names_err = err;
	leave_out_new_files(t);
}

static bool any_file_left(const struct transaction *t)
{
	struct inode *inode;

	list_for_each_entry (inode, &t->files, commit_node) {
		if (!commit_file_error(&inode->mapping))
			return true;
	}
	return false;
}

/* ---- rows ---- */

static int write_rows(struct transaction *t)
{
	struct volume *v = t->fs->volume;
	struct meta_super before, after;
	int err;

	err = meta_begin(v->meta);
	if (err)
		return err;

	meta_super(v->meta, &before);
	err = transaction_replay(t);
	if (err) {
		meta_rollback(v->meta);
		return err;
	}

	err = meta_commit(
		v->meta, __atomic_load_n(&v->next_ino, __ATOMIC_RELAXED), true);
	meta_super(v->meta, &after);
	t->visible = !err || after.commit_no != before.commit_no;
	if (!t->visible)
		meta_rollback(v->meta);
	return err;
}

int transaction_write(struct transaction *t)
{
	bool scarce = blocks_are_scarce(t);
	bool small = small_commit_is(t);
	bool fits = small && small_commit_fits(t);
	int err;

	err = write_out(t, inline_pages(t, scarce, fits));
	if (err)
		return err;
	keep_groups_whole(t);
	hold_names_back(t);
	if (t->names_err)
		keep_groups_whole(t);
	note_left_out(t);
	if (t->names_err && !any_file_left(t))
		return t->names_err;

	if (fits && small_commit_write(t)) {
		t->visible = t->logged = true;
		return 0;
	}
	volume_redo_plan(t->fs->volume, small, scarce, &t->redo);
	t->planned = true;
	return write_rows(t);
}

/* ---- end ---- */

static void not_whole(struct transaction *t, struct inode *inode, int err)
{
	mutex_lock(&inode->lock);
	inode->left_out = t->epoch;
	inode->left_out_err = err;
	if (!inode->dirty_epoch)
		inode->dirty_epoch = t->epoch;
	mutex_unlock(&inode->lock);
	oplist_add_dirty(&t->fs->ops, inode);
}

static void file_committed(struct transaction *t, struct inode *inode)
{
	mutex_lock(&inode->lock);
	inode->committing = 0;
	inode->csize = inode->cut_size;
	if (inode->nr_blocks >= 0)
		inode->nr_blocks += inode->cut_pages;
	inode->content_epoch = t->epoch;
	inode->content_commits++;
	inode->left_out = 0;
	if (!inode->dirty_epoch)
		inode->must = false;
	mutex_unlock(&inode->lock);
	if (prealloc_committed(inode, inode->prealloc_done))
		not_whole(t, inode, -ENOSPC);
}

static void file_not_committed(struct transaction *t, struct inode *inode)
{
	mutex_lock(&inode->lock);
	inode->committing = 0;
	inode->left_out = t->epoch;
	inode->dirty_epoch = t->epoch;
	inode->must |= inode->cut_must || inode->late_must;
	inode->late_must = false;
	mutex_unlock(&inode->lock);
	prealloc_restore(inode);
	oplist_add_dirty(&t->fs->ops, inode);
}

static void end_files(struct transaction *t, bool ok)
{
	while (!list_empty(&t->files)) {
		struct inode *inode =
			list_first_entry(&t->files, struct inode, commit_node);

		list_del(&inode->commit_node);
		if (ok && inode->seen)
			file_committed(t, inode);
		else
			file_not_committed(t, inode);
		if (!inline_is_much(inode->nr_inline) ||
		    !list_empty(&inode->inline_node))
			inode_put(inode);
		else /* the reference goes with it */
			list_add_tail(&inode->inline_node,
				      &t->fs->committer.crowded);
	}
}

/* Not when COMMIT failed in a way that may have left it on the disk. */
static void give_back_blocks(struct transaction *t)
{
	if (meta_failed(t->fs->volume->meta))
		return;
	for (u32 i = 0; i < t->nr_taken; i++)
		blocks_free(t->fs->volume->blocks, t->taken[i].start,
			    t->taken[i].nr);
}

/* Slots that a flush may have lost were moved, and all others are committed:
 * nothing is in doubt any more. A slot that is being written meanwhile counts,
 * and is of a later epoch. */
static void forget_lost(struct fs *fs)
{
	struct cache_gauges g;

	if (!__atomic_load_n(&fs->volume->lost_upto, __ATOMIC_ACQUIRE))
		return;
	cache_gauges(fs->cache, &g);
	if (!g.nr_slots)
		volume_forget_lost(fs->volume);
}

/* Pages that had no extent before have one, or a reader counted without. */
static void grown(void *arg, u64 ino, s64 pages)
{
	struct transaction *t = arg;
	struct inode *inode = inode_peek(t->fs, ino);

	if (!inode)
		return;
	mutex_lock(&inode->lock);
	if (inode->nr_blocks >= 0)
		inode->nr_blocks += pages;
	inode->content_commits++;
	mutex_unlock(&inode->lock);
	inode_put(inode);
}

/* The timer takes the redo log over too. */
static void set_timer(struct oplist *l, u64 when)
{
	mutex_lock(&l->lock);
	if (!l->timer_ns || l->timer_ns > when)
		l->timer_ns = when;
	mutex_unlock(&l->lock);
}

/* What was cut is committed, or still there, and as old as it was. */
static void end_age(struct oplist *l, bool all)
{
	mutex_lock(&l->lock);
	if (!all && !(list_empty(&l->open) && list_empty(&l->dirty)))
		l->oldest_ns = min(l->oldest_ns, l->cut_oldest_ns);
	l->cut_oldest_ns = 0;
	mutex_unlock(&l->lock);
}

/*
 * When COMMIT went through but its sync failed, the rows are what everybody
 * sees, while the disk may have them or not: the pages and records count as
 * committed, so that memory and rows agree; no block is freed, so that neither
 * outcome finds its blocks overwritten; who waited gets the error.
 */
void transaction_end(struct transaction *t, int err)
{
	struct fs *fs = t->fs;
	struct blocks *b = fs->volume->blocks;
	struct inode *inode;

	/* first: what the cache lets go of is looked for in rows then */
	if (t->planned)
		volume_redo_end(fs->volume, &t->redo, t->visible, grown, t);
	if (err && t->visible) {
		list_for_each_entry (inode, &t->files, commit_node)
			mapping_set_error(&inode->mapping, err);
	}
	commit_end(t->commit, t->visible ? 0 : err);
	end_files(t, t->visible);
	if (t->visible) {
		if (t->names_err)
			oplist_restore(&fs->ops, &t->ops);
		else
			oplist_drop(&fs->ops, &t->ops);
		if (t->logged)
			set_timer(&fs->ops, redo_first_ns(fs->volume->redo));
		else if (!err)
			blocks_release(b, t->epoch);
		if (!err)
			forget_lost(fs);
	} else {
		if (redo_nr_records(fs->volume->redo))
			set_timer(&fs->ops, redo_first_ns(fs->volume->redo));
		blocks_cancel_deferred(b, t->epoch);
		give_back_blocks(t);
		oplist_restore(&fs->ops, &t->ops);
	}
	end_age(&fs->ops, t->visible && !t->left_out && !t->names_err);
}

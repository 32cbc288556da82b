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

/* Unwritten extents have no sums and may be long. */
#define TAKE_MAX (1u << 20)

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

/* ---- replay ---- */

/* Blocks that rows of this transaction let go. That it cannot be noted leaves
 * them as they are until the next mount, which is safe. */
static int freed(void *arg, u64 block, u64 nr)
{
	struct transaction *t = arg;
	struct blocks *b = t->fs->volume->blocks;

	if (blocks_free_deferred(b, t->epoch, block, nr) == -EUCLEAN)
		fs_log(t->fs, LOG_ERR,
		       "extents are damaged, blocks %llu-%llu are not in use: "
		       "unmount, and folioctl check says more",
		       (unsigned long long)block,
		       (unsigned long long)(block + nr - 1));
	return 0;
}

static void row_from_op(const struct op_inode *op, struct inode_row *row)
{
	const struct inode *inode = op->inode;

	*row = (struct inode_row){
		.ino = inode->ino,
		.mode = op->mode,
		.uid = op->uid,
		.gid = op->gid,
		.nlink = op->nlink,
		.size = inode->csize,
		.atime = op->atime,
		.mtime = op->mtime,
		.ctime = op->ctime,
		.btime = inode->btime,
		.rdev = inode->rdev,
		.flags = op->flags,
		.generation = inode->generation,
	};
}

/* Did the cut find uncommitted content, be it in this commit or not? Its size
 * and times then go with it and not with the record. Nor do they if they went
 * with it before, while the record had to wait. */
static bool content_was_dirty(struct transaction *t, const struct op_inode *op)
{
	struct inode *inode = op->inode;
	bool dirty;

	mutex_lock(&inode->lock);
	dirty = inode->committing == t->epoch ||
		(inode->dirty_epoch && inode->dirty_epoch <= t->epoch) ||
		inode->content_epoch >= op->op.epoch;
	mutex_unlock(&inode->lock);
	return dirty;
}

static int replay_create(struct transaction *t, const struct op_inode *op,
			 struct inode_row *row)
{
	struct meta *m = t->fs->volume->meta;
	const char *target = op->inode->target;
	int err;

	if (content_was_dirty(t, op))
		row->mtime = row->ctime = row->btime;
	err = meta_inode_put(m, row);
	if (!err && target)
		err = meta_symlink_put(m, row->ino, target, strlen(target));
	return err;
}

static int replay_delete(struct transaction *t, const struct op_inode *op)
{
	struct meta *m = t->fs->volume->meta;
	int err;

	if (op->what & OP_INODE_CREATE)
		return 0;

	err = meta_inode_delete(m, op->inode->ino, freed, t);
	return err ? err : meta_orphan_delete(m, op->inode->ino);
}

static int replay_inode(struct transaction *t, const struct op_inode *op)
{
	struct meta *m = t->fs->volume->meta;
	struct inode_row row;
	int err;

	if (op->what & OP_INODE_DELETE)
		return replay_delete(t, op);

	row_from_op(op, &row);
	if (op->what & OP_INODE_CREATE)
		err = replay_create(t, op, &row);
	else if (content_was_dirty(t, op))
		err = meta_inode_put_attr(m, &row);
	else
		err = meta_inode_put(m, &row);
	if (!err && (op->what & OP_INODE_ORPHAN))
		err = meta_orphan_put(m, row.ino);
	return err;
}

/* The folder has a row now, or will have: look-ups are to ask for it. */
static void note_rows(struct transaction *t, u64 parent)
{
	struct inode *dir;

	if (parent == t->last_parent)
		return;
	dir = inode_peek(t->fs, parent);
	if (dir) {
		__atomic_store_n(&dir->no_rows, false, __ATOMIC_RELEASE);
		inode_put(dir);
	}
	t->last_parent = parent;
}

static int replay_name(struct transaction *t, const struct name *name)
{
	struct meta *m = t->fs->volume->meta;
	struct dentry_row row;

	if (!name->ino)
		return meta_dentry_delete(m, name->parent, name->str,
					  name->len);

	note_rows(t, name->parent);
	row.id = name->id;
	row.ino = name->ino;
	row.type = name->type;
	row.len = name->len;
	memcpy(row.name, name->str, name->len + 1u);
	return meta_dentry_put(m, name->parent, &row);
}

static int replay_xattr(struct transaction *t, const struct op_xattr *x)
{
	struct meta *m = t->fs->volume->meta;

	if (!x->present)
		return meta_xattr_delete(m, x->ino, x->name);
	return meta_xattr_put(m, x->ino, x->name, x->value, x->len);
}

static int replay_one(struct transaction *t, struct op *op)
{
	switch (op->kind) {
	case OP_INODE:
		return replay_inode(t, container_of(op, struct op_inode, op));
	case OP_NAME:
		return replay_name(t,
				   &container_of(op, struct op_name, op)->name);
	default:
		return replay_xattr(t, container_of(op, struct op_xattr, op));
	}
}

static int replay_ops(struct transaction *t)
{
	struct op *op;
	int err = 0;

	list_for_each_entry (op, &t->ops, node) {
		err = replay_one(t, op);
		if (err)
			break;
	}
	return err;
}

/* ---- content ---- */

static int take_blocks(struct transaction *t, u64 want, u64 *ret_start,
		       u32 *ret_nr)
{
	struct blocks *b = t->fs->volume->blocks;

	if (t->nr_taken == t->cap_taken) {
		u32 cap = t->cap_taken ? t->cap_taken * 2 : 16;
		struct block_run *taken =
			realloc(t->taken, cap * sizeof(*taken));

		if (!taken)
			return -ENOMEM;
		t->taken = taken;
		t->cap_taken = cap;
	}
	if (blocks_alloc(b, (u32)min(want, (u64)TAKE_MAX), ret_start, ret_nr))
		return -ENOSPC;
	t->taken[t->nr_taken++] = (struct block_run){*ret_start, *ret_nr};
	return 0;
}

/* Give the hole [pgoff, last] blocks that read as zeros. */
static int fill_hole(struct transaction *t, u64 ino, u64 pgoff, u64 last)
{
	int err = 0;

	while (!err && pgoff <= last) {
		u64 block;
		u32 nr;

		err = take_blocks(t, last - pgoff + 1, &block, &nr);
		if (err)
			break;
		err = meta_extent_put(t->fs->volume->meta, ino, pgoff, nr,
				      block, META_EXTENT_UNWRITTEN, NULL, freed,
				      t);
		pgoff += nr;
	}
	return err;
}

/* Make unwritten extents of what fallocate() asked for and nothing stands at,
 * this commit's own pages included. */
static int fill_range(struct transaction *t, u64 ino, u64 pgoff, u64 last)
{
	u64 start, end;
	int err;

	for (;;) {
		err = meta_extent_hole(t->fs->volume->meta, ino, pgoff, last,
				       &start, &end);
		if (!err)
			err = fill_hole(t, ino, start, end);
		if (err)
			return err == -ENOENT ? 0 : err;
		pgoff = end + 1;
	}
}

/*
 * The blocks were reserved, but late writes and swap may have dug into that.
 * What is written goes with this commit all the same; the rest waits for the
 * next, and who asked for the file is told.
 */
static int fill_prealloc(struct transaction *t, struct inode *inode)
{
	u64 pgoff = 0, start, last;
	int err = 0;

	while (!err && prealloc_next(inode, pgoff, &start, &last)) {
		err = fill_range(t, inode->ino, start, last);
		if (!err)
			pgoff = last + 1;
	}
	if (err != -ENOSPC)
		return err;
	if (!inode->left_out)
		fs_log(t->fs, LOG_ERR,
		       "commit of inode %llu without what fallocate asked for: "
		       "%s",
		       (unsigned long long)inode->ino, strerror(-err));
	inode->prealloc_done = pgoff;
	t->left_out = err;
	return 0;
}

/* Zeros at the end of an inline page need not be stored. */
static u32 inline_len(const u8 *page)
{
	u32 len = PAGE_SIZE;

	while (len && !page[len - 1])
		len--;
	return len;
}

static int apply_run(struct transaction *t, const struct commit_run *run)
{
	struct inode *inode = container_of(run->as, struct inode, mapping);
	struct meta *m = t->fs->volume->meta;
	u64 ino = inode->ino;

	switch (run->kind) {
	case COMMIT_FILE:
		inode->seen = true;
		return meta_inode_put_content(
			m, ino, run->size, inode->cut_mtime, inode->cut_ctime);
	case COMMIT_PUNCH:
		inline_forget(inode, run->pgoff, run->nr);
		return meta_extent_punch(m, ino, run->pgoff,
					 run->pgoff + run->nr - 1, freed, t);
	case COMMIT_SLOTS:
		inline_forget(inode, run->pgoff, run->nr);
		return meta_extent_put(m, ino, run->pgoff, (u32)run->nr,
				       run->slot, 0, run->sums, freed, t);
	case COMMIT_INLINE:
		inline_note(inode, run->pgoff);
		return meta_extent_put_inline(m, ino, run->pgoff, run->data,
					      inline_len(run->data), freed, t);
	case COMMIT_FILE_END:
		return fill_prealloc(t, inode);
	}
	return -EINVAL;
}

/* st_blocks is kept by the difference: counting it anew would take a look at
 * all rows of the file. */
static int apply_counted(struct transaction *t, const struct commit_run *run)
{
	struct inode *inode = container_of(run->as, struct inode, mapping);
	const struct meta *m = t->fs->volume->meta;
	s64 before = meta_extent_growth(m);
	int err = apply_run(t, run);

	inode->cut_pages += meta_extent_growth(m) - before;
	return err;
}

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

static int replay_files(struct transaction *t)
{
	struct commit_run run;
	int rc = 0;

	if (!t->nr_files)
		return 0;

	while ((rc = commit_next(t->commit, &run)) > 0) {
		rc = apply_counted(t, &run);
		if (rc)
			break;
	}
	return rc;
}

/* Pages that have come from the redo log are in no row any more. */
static void moved(void *arg, u64 ino, u64 pgoff, u64 nr)
{
	struct transaction *t = arg;
	struct inode *inode = inode_peek(t->fs, ino);

	if (!inode)
		return;
	inline_forget(inode, pgoff, nr);
	inode_put(inode);
}

/* Records and content on top of what the redo log has. */
static int replay(struct transaction *t)
{
	int err = volume_redo_apply(t->fs->volume, &t->redo, freed, moved, t);

	if (!err && !t->names_err)
		err = replay_ops(t);
	return err ? err : replay_files(t);
}

static int write_rows(struct transaction *t)
{
	struct volume *v = t->fs->volume;
	struct meta_super before, after;
	int err;

	err = meta_begin(v->meta);
	if (err)
		return err;

	meta_super(v->meta, &before);
	err = replay(t);
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

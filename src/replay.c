/* SPDX-License-Identifier: MIT */
/* A commit becomes rows: its records, then the content of its files. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fs_internal.h"
#include "inline.h"
#include "prealloc.h"
#include "transaction.h"

/* Unwritten extents have no sums and may be long. */
#define TAKE_MAX (1u << 20)

/* ---- records ---- */

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

int transaction_replay(struct transaction *t)
{
	int err = volume_redo_apply(t->fs->volume, &t->redo, freed, moved, t);

	if (!err && !t->names_err)
		err = replay_ops(t);
	return err ? err : replay_files(t);
}

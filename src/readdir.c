/* SPDX-License-Identifier: MIT */
/*
 * Reading folders: rows by cookie, merged with the names changed since the
 * last commit.
 *
 * Cookies: 1 is behind ".", 2 behind "..", id + 2 behind the entry of that id.
 * Ids ascend in the order of creation and an entry keeps its id, so what is
 * not changed while somebody reads is seen once. What comes after the start of
 * the reading has an id behind the last one there was then, and is left out: a
 * program that renames what it reads would else never come to an end.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fs_internal.h"

#define BATCH 64

struct batch {
	struct dentry_row rows[BATCH];
	struct dentry_row out[BATCH];
	int nr_rows, nr_out;
	u64 after; /* the next batch begins behind this */
	bool end;
};

/* ---- merging ---- */

static void put_name(struct batch *b, const struct name *n)
{
	struct dentry_row *d = &b->out[b->nr_out++];

	d->id = n->id;
	d->ino = n->ino;
	d->type = n->type;
	d->len = n->len;
	memcpy(d->name, n->str, n->len + 1u);
}

/* Changed names with ids up to @last that come before what is put next. */
static void put_names_upto(struct oplist *l, u64 dir, struct batch *b, u64 last)
{
	while (b->nr_out < BATCH) {
		struct name *n = names_next(&l->names, dir, b->after);

		if (!n || n->id > last)
			return;
		put_name(b, n);
		b->after = n->id;
	}
}

/* Rows whose name has a record are what that record says, which comes in its
 * own place. Context: oplist.lock. */
static void merge(struct oplist *l, u64 dir, struct batch *b)
{
	for (int i = 0; i < b->nr_rows; i++) {
		const struct dentry_row *row = &b->rows[i];

		put_names_upto(l, dir, b, row->id);
		if (b->nr_out == BATCH)
			return;
		if (b->after < row->id &&
		    !names_find(&l->names, dir, row->name))
			b->out[b->nr_out++] = *row;
		b->after = max(b->after, row->id);
	}
	if (b->nr_rows == BATCH)
		return;
	put_names_upto(l, dir, b, UINT64_MAX);
	b->end = b->nr_out < BATCH;
}

/* Context: dir->rwsem held shared. */
static int fill_batch(struct inode *dir, struct batch *b)
{
	struct oplist *l = &dir->fs->ops;
	struct meta_reader *r = NULL;
	int err;

	b->nr_out = 0;
	down_read(&l->drop_sem);
	err = meta_reader_get(dir->fs->volume->meta, &r);
	if (err)
		goto out_unlock;

	b->nr_rows = meta_dentry_list(r, dir->ino, b->after, b->rows, BATCH);
	meta_reader_put(r);
	if (b->nr_rows < 0) {
		err = b->nr_rows;
		goto out_unlock;
	}
	mutex_lock(&l->lock);
	merge(l, dir->ino, b);
	mutex_unlock(&l->lock);
out_unlock:
	up_read(&l->drop_sem);
	return err;
}

/* ---- giving out ---- */

struct reading {
	struct fs *fs;
	bool plus;
	fs_fill_fn fill;
	void *arg;
	u64 nr; /* given out */
};

static bool give(struct reading *rd, const struct dentry_row *d)
{
	struct stat st = {.st_ino = d->ino, .st_mode = d->type};

	return rd->fill(rd->arg, d->name, &st, d->id + 2);
}

/* With attributes and a look-up reference. Return: 1, 0 (full), -errno. */
static int give_plus(struct reading *rd, const struct dentry_row *d)
{
	struct inode *inode = NULL;
	struct stat st;
	int err;

	err = lookup_reserve(rd->fs);
	if (err)
		return err;
	err = inode_get_ino(rd->fs, d->ino, &inode);
	if (err) {
		lookup_unreserve(rd->fs);
		return err;
	}

	inode_stat(inode, &st);
	err = rd->fill(rd->arg, d->name, &st, d->id + 2);
	if (err)
		lookup_take(rd->fs, inode);
	else
		lookup_unreserve(rd->fs);
	inode_put(inode);
	return err;
}

/* Return: 1, 0 (full), -errno. */
static int give_batch(struct reading *rd, const struct batch *b, u64 last_id)
{
	for (int i = 0; i < b->nr_out; i++) {
		const struct dentry_row *d = &b->out[i];
		int more;

		if (d->id > last_id)
			return 0;
		more = rd->plus ? give_plus(rd, d) : give(rd, d);
		if (more <= 0)
			return more;
		rd->nr++;
	}
	return 1;
}

/* "." and "..", then nothing of what follows is ever at these offsets. */
static int give_dots(struct reading *rd, struct inode *dir, u64 off)
{
	struct stat st = {.st_ino = dir->ino, .st_mode = S_IFDIR};
	u64 parent;
	int err;

	if (off < 1 && !rd->fill(rd->arg, ".", &st, 1))
		return 0;
	if (off >= 2)
		return 1;

	err = namei_parent(dir, &parent);
	/* a folder that was removed while open has none */
	st.st_ino = err ? dir->ino : parent;
	return rd->fill(rd->arg, "..", &st, 2);
}

/*
 * The folder's lock is held for a batch and its filling: a child that is in
 * the batch cannot be removed before its attributes are read.
 */
static int read_some(struct reading *rd, struct inode *dir, u64 off,
		     u64 last_id)
{
	u64 after = off > 2 ? off - 2 : 0;
	struct batch *b;
	int more = 1;

	/* No cookie of ours, maybe: to SQL half of all numbers are negative. */
	if (after >= last_id)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;

	b->after = after;
	while (more > 0 && !b->end) {
		down_read(&dir->rwsem);
		more = fill_batch(dir, b);
		if (!more)
			more = give_batch(rd, b, last_id);
		up_read(&dir->rwsem);
	}
	free(b);
	/* what was given out stands; the error comes again with the next */
	return more < 0 && !rd->nr ? more : 0;
}

static u64 newest_id(struct fs *fs)
{
	return __atomic_load_n(&fs->next_dentry_id, __ATOMIC_RELAXED) - 1;
}

int fs_opendir(struct fs *fs, u64 ino, int flags, u64 *ret_fh)
{
	struct inode *dir = NULL;
	int err;

	err = namei_get_dir(fs, ino, &dir);
	if (err)
		return err;

	err = handle_open(fs, dir, flags & O_NOATIME, 0, ret_fh);
	if (err)
		inode_put(dir);
	return err;
}

bool fs_takes_listing(struct fs *fs, u64 fh)
{
	struct handle *h = handle_get(fs, fh);
	bool takes = false;

	if (h && inode_is_dir(h->inode)) {
		mutex_lock(&h->inode->lock);
		takes = !h->inode->lister;
		if (takes)
			h->inode->lister = h;
		mutex_unlock(&h->inode->lock);
	}
	handle_put(h);
	return takes;
}

int fs_releasedir(struct fs *fs, u64 fh)
{
	return handle_close(fs, fh);
}

int fs_readdir(struct fs *fs, u64 fh, u64 off, bool plus, fs_fill_fn fill,
	       void *arg)
{
	struct reading rd = {.fs = fs, .plus = plus, .fill = fill, .arg = arg};
	struct handle *h = handle_get(fs, fh);
	int more;

	if (!h)
		return -EBADF;
	if (!inode_is_dir(h->inode)) {
		handle_put(h);
		return -ENOTDIR;
	}

	if (!off || !__atomic_load_n(&h->last_id, __ATOMIC_RELAXED))
		__atomic_store_n(&h->last_id, newest_id(fs), __ATOMIC_RELAXED);
	more = give_dots(&rd, h->inode, off);
	if (more > 0)
		more = read_some(
			&rd, h->inode, off,
			__atomic_load_n(&h->last_id, __ATOMIC_RELAXED));
	if (more >= 0 && !(h->flags & O_NOATIME))
		inode_accessed(h->inode);
	handle_put(h);
	return more;
}

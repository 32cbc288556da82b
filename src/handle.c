/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fs_internal.h"

void handle_table_init(struct handle_table *t, struct fs *fs)
{
	t->fs = fs;
	mutex_init(&t->lock, LOCK_LEAF, "handle table");
}

void handle_close_all(struct handle_table *t)
{
	for (u64 i = 0; i < t->cap; i++) {
		if (t->slots[i])
			(void)handle_close(t->fs, i + 1);
	}
}

void handle_table_done(struct handle_table *t)
{
	if (t->cap)
		cache_charge(t->fs->cache, -(s64)(t->cap * sizeof(*t->slots)));
	free(t->slots);
	mutex_done(&t->lock);
}

static int grow_locked(struct handle_table *t)
{
	u64 cap = t->cap ? t->cap * 2 : 64;
	struct handle **slots = realloc(t->slots, cap * sizeof(*slots));

	if (!slots)
		return -ENOMEM;

	memset(slots + t->cap, 0, (cap - t->cap) * sizeof(struct handle *));
	t->slots = slots;
	t->cap = cap;
	return 0;
}

static int install(struct handle_table *t, struct handle *h, u64 *ret_fh)
{
	int err = 0;
	u64 i, grown;

	mutex_lock(&t->lock);
	grown = t->cap;
	for (i = t->first_free; i < t->cap && t->slots[i]; i++)
		;
	if (i == t->cap)
		err = grow_locked(t);
	if (!err) {
		h->seq = ++t->seq;
		h->file.id = i + 1;
		t->slots[i] = h;
		t->first_free = i + 1;
		t->nr++;
		*ret_fh = i + 1;
	}
	grown = t->cap - grown;
	mutex_unlock(&t->lock);
	/* not under a leaf: charging may ask for a commit */
	cache_charge(t->fs->cache, (s64)(grown * sizeof(struct handle *)));
	return err;
}

static bool handle_writes(const struct handle *h)
{
	return inode_is_reg(h->inode) && (h->flags & O_ACCMODE) != O_RDONLY;
}

static void count_open(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;

	mutex_lock(&inode->lock);
	inode->fresh = false;
	mutex_unlock(&inode->lock);

	mutex_lock(&t->lock);
	inode->opens++;
	mutex_unlock(&t->lock);
}

static void uncount_open(const struct handle *h)
{
	struct inode *inode = h->inode;
	struct inode_table *t = &inode->fs->inodes;

	mutex_lock(&inode->lock);
	if (inode->lister == h)
		inode->lister = NULL;
	mutex_unlock(&inode->lock);

	mutex_lock(&t->lock);
	inode->opens--;
	mutex_unlock(&t->lock);
}

int handle_open(struct fs *fs, struct inode *inode, int flags, pid_t pid,
		u64 *ret_fh)
{
	struct handle *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return -ENOMEM;

	h->inode = inode;
	h->flags = flags;
	h->pid = pid;
	h->refs = 1;
	if (inode_is_reg(inode))
		file_init(&h->file, &inode->mapping);

	err = handle_writes(h) ? inode_add_writer(inode) : 0;
	if (err)
		goto out_free;
	err = install(&fs->handles, h, ret_fh);
	if (err) {
		if (handle_writes(h))
			inode_drop_writer(inode);
		goto out_free;
	}
	/* after it can be found: see set_readahead() */
	if (inode_is_reg(inode))
		__atomic_store_n(&h->file.ra_mode, inode_ra_mode(inode),
				 __ATOMIC_RELAXED);
	count_open(inode);
	cache_charge(fs->cache, sizeof(*h));
	return 0;

out_free:
	if (inode_is_reg(inode))
		file_done(&h->file);
	free(h);
	return err;
}

struct handle *handle_get(struct fs *fs, u64 fh)
{
	struct handle_table *t = &fs->handles;
	struct handle *h = NULL;

	mutex_lock(&t->lock);
	if (fh && fh <= t->cap)
		h = t->slots[fh - 1];
	if (h)
		h->refs++;
	mutex_unlock(&t->lock);
	return h;
}

void handle_put(struct handle *h)
{
	struct handle_table *t;
	bool last;

	if (!h)
		return;

	t = &h->inode->fs->handles;
	mutex_lock(&t->lock);
	last = --h->refs == 0;
	mutex_unlock(&t->lock);
	if (!last)
		return;

	if (handle_writes(h))
		inode_drop_writer(h->inode);
	if (inode_is_reg(h->inode))
		file_done(&h->file);
	uncount_open(h);
	cache_charge(t->fs->cache, -(s64)sizeof(*h));
	inode_put(h->inode);
	free(h);
}

int handle_close(struct fs *fs, u64 fh)
{
	struct handle_table *t = &fs->handles;
	struct handle *h = NULL;

	mutex_lock(&t->lock);
	if (fh && fh <= t->cap)
		h = t->slots[fh - 1];
	if (h) {
		t->slots[fh - 1] = NULL;
		t->first_free = min(t->first_free, fh - 1);
		t->nr--;
	}
	mutex_unlock(&t->lock);
	if (!h)
		return -EBADF;

	handle_put(h);
	return 0;
}

u64 handle_nr(struct fs *fs)
{
	u64 nr;

	mutex_lock(&fs->handles.lock);
	nr = fs->handles.nr;
	mutex_unlock(&fs->handles.lock);
	return nr;
}

/* ---- looking for those of some inodes ---- */

/* Slots looked at in one hold of the lock. */
#define LIST_PIECE 256

struct handle_array {
	struct handle **handles;
	size_t nr, cap;
};

static int compare_ino(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Room for a piece more. */
static int array_reserve(struct handle_array *array)
{
	struct handle **handles;

	if (array->cap - array->nr >= LIST_PIECE)
		return 0;
	handles = reallocarray(array->handles, array->cap * 2 + LIST_PIECE,
			       sizeof(struct handle *));
	if (!handles)
		return -ENOMEM;
	array->handles = handles;
	array->cap = array->cap * 2 + LIST_PIECE;
	return 0;
}

/* Return: whether there are more. */
static bool list_piece(struct handle_table *t, u64 first, const u64 *inos,
		       size_t nr, struct handle_array *array)
{
	u64 end;
	bool more;

	mutex_lock(&t->lock);
	end = min(first + LIST_PIECE, t->cap);
	for (u64 i = first; i < end; i++) {
		struct handle *h = t->slots[i];

		if (!h || !inode_is_reg(h->inode) ||
		    !bsearch(&h->inode->ino, inos, nr, sizeof(*inos),
			     compare_ino))
			continue;
		h->refs++;
		array->handles[array->nr++] = h;
	}
	more = end < t->cap;
	mutex_unlock(&t->lock);
	return more;
}

int handle_list(struct fs *fs, const u64 *inos, size_t nr, struct handle ***ret,
		size_t *ret_nr)
{
	struct handle_array array = {NULL, 0, 0};
	bool more = true;
	int err = 0;

	for (u64 i = 0; !err && more; i += LIST_PIECE) {
		err = array_reserve(&array);
		if (!err)
			more = list_piece(&fs->handles, i, inos, nr, &array);
	}
	if (err) {
		while (array.nr)
			handle_put(array.handles[--array.nr]);
		free(array.handles);
		return err;
	}
	*ret = array.handles;
	*ret_nr = array.nr;
	return 0;
}

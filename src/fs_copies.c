/* SPDX-License-Identifier: MIT */
/* What whoever takes back the kernel's copies of pages has to know. */
#include "config.h"

#include <stdlib.h>

#include "fs_internal.h"
#include "mm.h"

int fs_take_begin(struct fs *fs, u64 ino)
{
	struct inode *inode = NULL;
	int err = inode_get_ino(fs, ino, &inode);

	if (err)
		return err;

	mutex_lock(&inode->lock);
	if (!inode_is_reg(inode))
		err = -EISDIR;
	else if (inode->writers || inode->fresh)
		err = -EBUSY;
	else
		inode->taking++;
	mutex_unlock(&inode->lock);
	if (err)
		inode_put(inode);
	return err;
}

void fs_take_end(struct fs *fs, u64 ino)
{
	struct inode *inode = inode_peek(fs, ino);

	/* our reference kept it */
	assert(inode);
	mutex_lock(&inode->lock);
	assert(inode->taking);
	inode->taking--;
	mutex_unlock(&inode->lock);
	inode_put(inode);
	inode_put(inode);
}

int fs_looked_up(struct fs *fs, u64 **ret, size_t *ret_nr)
{
	struct inode_table *t = &fs->inodes;
	size_t nr = 0;
	u64 *list;

	mutex_lock(&t->lock);
	list = malloc((t->nr_counts + 1) * sizeof(*list));
	for (u64 i = 0; list && i < t->cap_counts; i++) {
		if (t->counts[i].ino)
			list[nr++] = t->counts[i].ino;
	}
	mutex_unlock(&t->lock);
	if (!list)
		return -ENOMEM;

	*ret = list;
	*ret_nr = nr;
	return 0;
}

/* ---- who may map a file ---- */

struct pids {
	u32 *list;
	size_t nr, max;
};

static void add_pid(struct pids *p, u32 pid)
{
	for (size_t i = 0; i < p->nr; i++) {
		if (p->list[i] == pid)
			return;
	}
	if (pid && p->nr < p->max)
		p->list[p->nr++] = pid;
}

static bool add_mapper(const struct vma *vma, void *arg)
{
	struct pids *p = arg;

	add_pid(p, vma->mm->key.pid);
	return p->nr < p->max;
}

static void add_openers(struct fs *fs, const struct inode *inode,
			struct pids *p)
{
	struct handle_table *t = &fs->handles;

	mutex_lock(&t->lock);
	for (u64 i = 0; i < t->cap; i++) {
		if (t->slots[i] && t->slots[i]->inode == inode)
			add_pid(p, (u32)__atomic_load_n(&t->slots[i]->pid,
							__ATOMIC_RELAXED));
	}
	mutex_unlock(&t->lock);
}

size_t fs_mappers(struct fs *fs, u64 ino, u64 first, u64 last, u32 *pids,
		  size_t nr, size_t max)
{
	struct pids p = {.list = pids, .nr = nr, .max = max};
	struct inode *inode = inode_peek(fs, ino);

	if (!inode)
		return nr;

	if (inode_is_reg(inode) && p.nr < p.max)
		(void)rmap_walk(&inode->mapping, first, last, add_mapper, &p);
	add_openers(fs, inode, &p);
	inode_put(inode);
	return p.nr;
}

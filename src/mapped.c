/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "mapped.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fs_internal.h"

_Static_assert((int)PROC_MAP_READ == (int)VM_READ &&
		       (int)PROC_MAP_WRITE == (int)VM_WRITE &&
		       (int)PROC_MAP_EXEC == (int)VM_EXEC &&
		       (int)PROC_MAP_SHARED == (int)VM_SHARED,
	       "rights have the same bits everywhere");

/* ---- the inodes of a look ---- */

struct inodes {
	u64 *ino;	      /* ascending, each once */
	struct inode **inode; /* NULL: it is no file of ours */
	size_t nr;
};

static int compare_ino(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static size_t sort_unique(u64 *ino, size_t nr)
{
	size_t n = 0;

	qsort(ino, nr, sizeof(*ino), compare_ino);
	for (size_t i = 0; i < nr; i++) {
		if (!n || ino[i] != ino[n - 1])
			ino[n++] = ino[i];
	}
	return n;
}

static void inodes_done(struct inodes *in)
{
	for (size_t i = 0; in->inode && i < in->nr; i++) {
		if (in->inode[i])
			inode_put(in->inode[i]);
	}
	free(in->inode);
	free(in->ino);
}

/* A regular file, or NULL. */
static struct inode *get_file(struct fs *fs, u64 ino)
{
	struct inode *inode = NULL;

	if (ino >= (u64)1 << 63 || inode_get_ino(fs, ino, &inode))
		return NULL;
	if (inode_is_reg(inode))
		return inode;
	inode_put(inode);
	return NULL;
}

/* @in->ino has @nr of them, in any order, more than once. */
static int inodes_get(struct fs *fs, struct inodes *in, size_t nr)
{
	in->nr = sort_unique(in->ino, nr);
	in->inode = calloc(in->nr + 1, sizeof(struct inode *));
	if (!in->inode)
		return -ENOMEM;
	for (size_t i = 0; i < in->nr; i++)
		in->inode[i] = get_file(fs, in->ino[i]);
	return 0;
}

static struct inode *inodes_find(const struct inodes *in, u64 ino)
{
	const u64 *at =
		bsearch(&ino, in->ino, in->nr, sizeof(*in->ino), compare_ino);

	return at ? in->inode[at - in->ino] : NULL;
}

/* ---- which open file ---- */

struct openers {
	struct handle **handle;
	size_t nr;
};

static void openers_done(struct openers *o)
{
	for (size_t i = 0; i < o->nr; i++)
		handle_put(o->handle[i]);
	free(o->handle);
}

static bool may_map(const struct handle *h, const struct proc_map *map)
{
	const u32 shared = PROC_MAP_SHARED | PROC_MAP_WRITE;
	int acc = h->flags & O_ACCMODE;

	if (h->inode->ino != map->ino)
		return false;
	return acc == O_RDWR ||
	       (acc == O_RDONLY && (map->flags & shared) != shared);
}

/* 0: the process itself, 1: its parent ...; -1: none of its family. */
static int distance(const struct handle *h, const struct tracker_look *look)
{
	pid_t pid = __atomic_load_n(&h->pid, __ATOMIC_RELAXED);

	if (pid == look->proc->pid)
		return 0;
	for (int i = 0; i < TRACKER_ANCESTORS && look->ancestors[i]; i++) {
		if (look->ancestors[i] == pid)
			return i + 1;
	}
	return -1;
}

static bool is_better(const struct handle *h, int dist,
		      const struct handle *best, int best_dist)
{
	if (!best || dist != best_dist)
		return !best || dist < best_dist;
	return h->seq > best->seq;
}

static struct file *choose_file(const struct openers *o,
				const struct proc_map *map,
				const struct tracker_look *look)
{
	struct handle *best = NULL, *any = NULL;
	int best_dist = 0;
	size_t nr = 0;

	for (size_t i = 0; i < o->nr; i++) {
		struct handle *h = o->handle[i];
		int dist;

		if (!may_map(h, map))
			continue;
		any = h;
		nr++;
		dist = distance(h, look);
		if (dist >= 0 && is_better(h, dist, best, best_dist)) {
			best = h;
			best_dist = dist;
		}
	}
	if (nr == 1)
		best = any;
	return best ? &best->file : NULL;
}

/* ---- what the tracker says ---- */

static struct mm_key key_of(const struct proc *proc)
{
	return (struct mm_key){(u32)proc->pid, proc->start_time};
}

static void desc_init(struct vma_desc *desc, const struct proc_map *map,
		      struct inode *inode)
{
	*desc = (struct vma_desc){
		.start = map->start,
		.end = map->end,
		.pgoff = map->pos >> PAGE_SHIFT,
		.as = &inode->mapping,
		.flags = map->flags,
	};
}

/* Was it there at the look before, be it with other rights or another end? */
static bool was_there(const struct proc_map *map,
		      const struct tracker_look *look, size_t *at)
{
	while (*at < look->nr_old && look->old[*at].start < map->start)
		(*at)++;
	return *at < look->nr_old && look->old[*at].start == map->start &&
	       look->old[*at].ino == map->ino && look->old[*at].pos == map->pos;
}

static bool any_new(const struct tracker_look *look)
{
	size_t at = 0;

	for (size_t i = 0; i < look->nr; i++) {
		if (!was_there(&look->maps[i], look, &at))
			return true;
	}
	return false;
}

static int get_openers(struct fs *fs, const struct inodes *in,
		       const struct tracker_look *look, struct openers *ret)
{
	struct mm_key key = key_of(look->proc);

	if (!any_new(look) && !mm_lacks_file(fs->cache, &key))
		return 0;
	return handle_list(fs, in->ino, in->nr, &ret->handle, &ret->nr);
}

static u32 make_descs(const struct tracker_look *look, const struct inodes *in,
		      const struct openers *o, struct vma_desc *descs)
{
	u32 nr = 0;

	for (size_t i = 0; i < look->nr; i++) {
		const struct proc_map *map = &look->maps[i];
		struct inode *inode = inodes_find(in, map->ino);

		if (!inode)
			continue;
		desc_init(&descs[nr], map, inode);
		descs[nr].file = choose_file(o, map, look);
		descs[nr++].guess = true;
	}
	return nr;
}

static int update(struct fs *fs, const struct tracker_look *look,
		  const struct inodes *in)
{
	struct mm_key key = key_of(look->proc);
	struct openers openers = {NULL, 0};
	struct vma_desc *descs;
	u32 nr;
	int err;

	err = get_openers(fs, in, look, &openers);
	if (err)
		return err;
	descs = calloc(look->nr + 1, sizeof(*descs));
	err = -ENOMEM;
	if (descs) {
		nr = make_descs(look, in, &openers, descs);
		err = mm_update(fs->cache, &key, look->proc->comm, descs, nr,
				NULL);
	}
	free(descs);
	openers_done(&openers);
	return err;
}

static int mapped_update(void *arg, const struct tracker_look *look)
{
	struct inodes in = {NULL, NULL, 0};
	struct fs *fs = arg;
	int err;

	in.ino = calloc(look->nr + 1, sizeof(*in.ino));
	if (!in.ino)
		return -ENOMEM;
	for (size_t i = 0; i < look->nr; i++)
		in.ino[i] = look->maps[i].ino;
	err = inodes_get(fs, &in, look->nr);
	if (!err)
		err = update(fs, look, &in);
	inodes_done(&in);
	return err;
}

static u32 hint_flags(const struct proc_hint *hint)
{
	u32 flags = hint->map.flags;

	if (hint->hints & PROC_HINT_LOCKED)
		flags |= VM_LOCKED;
	if (hint->hints & PROC_HINT_RANDOM)
		flags |= VM_RAND_READ;
	if (hint->hints & PROC_HINT_SEQUENTIAL)
		flags |= VM_SEQ_READ;
	return flags;
}

static void update_hints(struct fs *fs, const struct proc *proc,
			 const struct proc_hint *hints, size_t nr,
			 const struct inodes *in)
{
	struct mm_key key = key_of(proc);
	struct vma_desc *descs = calloc(nr + 1, sizeof(*descs));
	u32 n = 0;

	for (size_t i = 0; descs && i < nr; i++) {
		struct inode *inode = inodes_find(in, hints[i].map.ino);

		if (!inode)
			continue;
		desc_init(&descs[n], &hints[i].map, inode);
		descs[n].flags = hint_flags(&hints[i]);
		descs[n].hints = true;
		descs[n++].nr_private = hints[i].nr_private;
	}
	/* without memory they are as old as they are */
	if (n)
		(void)mm_update_hints(fs->cache, &key, descs, n);
	free(descs);
}

static void mapped_hints(void *arg, const struct proc *proc,
			 const struct proc_hint *hints, size_t nr)
{
	struct inodes in = {NULL, NULL, 0};
	struct fs *fs = arg;

	in.ino = calloc(nr + 1, sizeof(*in.ino));
	if (!in.ino)
		return;
	for (size_t i = 0; i < nr; i++)
		in.ino[i] = hints[i].map.ino;
	if (!inodes_get(fs, &in, nr))
		update_hints(fs, proc, hints, nr, &in);
	inodes_done(&in);
}

static void mapped_exit(void *arg, pid_t pid, u64 start_time)
{
	struct mm_key key = {(u32)pid, start_time};
	struct fs *fs = arg;

	/* without memory it stays until the pid is another's */
	(void)mm_exit(fs->cache, &key);
}

/* The number may be another file's by now. */
static void mapped_opened(void *arg, u64 ino, u64 fh, pid_t tid, pid_t pid)
{
	struct handle *h = handle_get(arg, fh);

	if (h && h->inode->ino == ino &&
	    __atomic_load_n(&h->pid, __ATOMIC_RELAXED) == tid)
		__atomic_store_n(&h->pid, pid, __ATOMIC_RELAXED);
	handle_put(h);
}

static bool mapped_fault(void *arg, pid_t pid, u64 ino,
			 const struct fault_sum *sum)
{
	struct inode *inode = get_file(arg, ino);
	bool mapped;

	if (!inode)
		return false;
	mapped = mm_account_faults(&inode->mapping, (u32)pid, sum);
	inode_put(inode);
	return mapped;
}

static void mapped_fill(void *arg, u64 ino, const struct fault_sum *sum)
{
	struct inode *inode = get_file(arg, ino);

	if (!inode)
		return;
	mm_account_fills(&inode->mapping, sum);
	inode_put(inode);
}

static void mapped_charge(void *arg, s64 bytes)
{
	struct fs *fs = arg;

	cache_charge(fs->cache, bytes);
}

const struct tracker_ops mapped_ops = {
	.update = mapped_update,
	.hints = mapped_hints,
	.exit = mapped_exit,
	.opened = mapped_opened,
	.fault = mapped_fault,
	.fill = mapped_fill,
	.charge = mapped_charge,
};

/* ---- for request threads ---- */

bool fs_account_fault(struct fs *fs, u64 fh, pid_t pid,
		      const struct read_fault *fault)
{
	struct handle *h = handle_get(fs, fh);
	bool mapped = false;

	if (h && inode_is_reg(h->inode))
		mapped = mm_account_fault(&h->inode->mapping, (u32)pid, fault);
	handle_put(h);
	return mapped;
}

void fs_account_fill(struct fs *fs, u64 fh, const struct read_fault *fault)
{
	struct handle *h = handle_get(fs, fh);

	if (h && inode_is_reg(h->inode))
		mm_account_fill(&h->inode->mapping, fault);
	handle_put(h);
}

bool fs_is_mapped(struct fs *fs, u64 fh)
{
	struct handle *h = handle_get(fs, fh);
	bool mapped = h && inode_is_reg(h->inode) &&
		      mapping_mapped(&h->inode->mapping);

	handle_put(h);
	return mapped;
}

/* ---- looking ---- */

int fs_mappings(struct fs *fs, u64 ino, struct vma_info **ret, size_t *ret_nr)
{
	struct inode *inode;
	int err;

	if (!ino)
		return mm_snapshot(fs->cache, NULL, ret, ret_nr);
	inode = get_file(fs, ino);
	if (!inode)
		return -ENOENT;
	err = mm_snapshot(fs->cache, &inode->mapping, ret, ret_nr);
	inode_put(inode);
	return err;
}

int fs_file_resident(struct fs *fs, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_first, u64 *ret_last)
{
	struct inode *inode = get_file(fs, ino);
	bool any;

	if (!inode)
		return -ENOENT;
	any = address_space_resident(&inode->mapping, pgoff, last, ret_first,
				     ret_last);
	inode_put(inode);
	return any;
}

int fs_processes(struct fs *fs, struct mm_info **ret, size_t *ret_nr)
{
	return mm_list(fs->cache, ret, ret_nr);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>

#include "fs_internal.h"
#include "prealloc.h"
#include "inline.h"
#include "unseen.h"

/* Idle inodes may take an eighth of the budget, and some in any case. */
#define IDLE_SHARE 8
#define IDLE_MIN 64
/* Ranges of pages that the kernel may have: a part of the budget too. */
#define UNSEEN_SHARE 64
/* How many idle inodes with pages are passed over to find one without. */
#define SPARE_MAX 16

/* ---- objects ---- */

static struct inode *inode_alloc(struct fs *fs, u64 ino)
{
	struct inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;

	inode->fs = fs;
	inode->ino = ino;
	inode->refs = 1;
	inode->nr_blocks = -1;
	rwsem_init(&inode->rwsem, LOCK_INODE, "inode");
	mutex_init(&inode->lock, LOCK_LEAF, "inode attributes");
	list_init(&inode->idle);
	list_init(&inode->xattrs);
	list_init(&inode->dirty);
	list_init(&inode->accessed);
	list_init(&inode->commit_node);
	list_init(&inode->inline_node);
	range_set_init(&inode->inlined);
	range_set_init(&inode->prealloc);
	range_set_init(&inode->cut_prealloc);
	range_set_init(&inode->unseen);
	cache_charge(fs->cache, sizeof(*inode));
	return inode;
}

/* The pages of a file that nobody can reach any more, uncommitted ones too. */
static void inode_drop_content(struct inode *inode)
{
	if (inode_is_reg(inode))
		address_space_done(&inode->mapping);
	prealloc_drop(inode);
}

static void inode_free(struct inode *inode)
{
	struct fs *fs = inode->fs;

	assert(!inode->op && list_empty(&inode->xattrs));
	assert(list_empty(&inode->dirty) && list_empty(&inode->commit_node));
	assert(list_empty(&inode->accessed));

	if (inode->spare)
		op_free(fs, (struct op *)inode->spare);
	inline_forget(inode, 0, PGOFF_MAX + 1);
	unseen_forget(inode);
	if (inode->target)
		cache_charge(fs->cache, -(s64)strlen(inode->target) - 1);
	free(inode->target);
	rwsem_done(&inode->rwsem);
	mutex_done(&inode->lock);
	cache_charge(fs->cache, -(s64)sizeof(*inode));
	free(inode);
}

static void inode_start_mapping(struct inode *inode, u64 size)
{
	inode->csize = size;
	inode->extent_end = PGOFF_MAX + 1;
	if (inode_is_reg(inode))
		address_space_init(&inode->mapping, inode->fs->cache,
				   &file_mapping_ops, inode->ino, size);
}

/* ---- the table ---- */

static struct inode **bucket(struct inode_table *t, u64 ino)
{
	u64 h = ino * 0x9e3779b97f4a7c15ull;

	return &t->hash[(h >> 32) & (t->nr_hash - 1)];
}

static struct inode *find_locked(struct inode_table *t, u64 ino)
{
	struct inode *inode = *bucket(t, ino);

	while (inode && inode->ino != ino)
		inode = inode->hash_next;
	return inode;
}

static void hash_locked(struct inode_table *t, struct inode *inode)
{
	struct inode **head = bucket(t, inode->ino);

	inode->hash_next = *head;
	*head = inode;
	t->nr++;
}

static void unhash_locked(struct inode_table *t, struct inode *inode)
{
	struct inode **link = bucket(t, inode->ino);

	while (*link != inode)
		link = &(*link)->hash_next;
	*link = inode->hash_next;
	t->nr--;
}

static void get_locked(struct inode_table *t, struct inode *inode)
{
	inode->refs++;
	inode->spared = false;
	if (!list_empty(&inode->idle)) {
		list_del(&inode->idle);
		t->nr_idle--;
	}
}

int inode_table_init(struct inode_table *t, struct fs *fs, u64 budget)
{
	t->fs = fs;
	t->nr_hash = 1024;
	while (t->nr_hash < budget / 16384 && t->nr_hash < 1u << 20)
		t->nr_hash *= 2;
	t->hash = calloc(t->nr_hash, sizeof(*t->hash));
	if (!t->hash)
		return -ENOMEM;

	mutex_init(&t->lock, LOCK_NAMES, "inode table");
	waitq_init(&t->loaded);
	list_init(&t->idle);
	t->max_idle = budget / IDLE_SHARE / sizeof(struct inode);
	t->max_idle = max(t->max_idle, (u64)IDLE_MIN);
	t->max_unseen = budget / UNSEEN_SHARE / RANGE_NODE_BYTES;
	return 0;
}

void inode_table_done(struct inode_table *t)
{
	if (!t->hash)
		return;

	assert(!t->nr);
	cache_charge(t->fs->cache, -(s64)(t->cap_counts * sizeof(*t->counts)));
	free(t->counts);
	free(t->hash);
	waitq_done(&t->loaded);
	mutex_done(&t->lock);
}

/* ---- look-up counts ----
 *
 * Linear probing; an entry that goes is replaced by those behind it that may
 * stand there, so that no marks of deleted ones pile up.
 */

static u64 count_slot(const struct inode_table *t, u64 ino)
{
	return (ino * 0x9e3779b97f4a7c15ull >> 20) & (t->cap_counts - 1);
}

/* The entry of @ino, or the free one where it belongs. */
static struct lookup_count *count_find(struct inode_table *t, u64 ino)
{
	u64 i = count_slot(t, ino);

	while (t->counts[i].ino && t->counts[i].ino != ino)
		i = (i + 1) & (t->cap_counts - 1);
	return &t->counts[i];
}

static u64 count_get(struct inode_table *t, u64 ino)
{
	return t->cap_counts ? count_find(t, ino)->count : 0;
}

static void count_erase(struct inode_table *t, struct lookup_count *c)
{
	u64 mask = t->cap_counts - 1;
	u64 hole = (u64)(c - t->counts);
	u64 i = hole;

	for (;;) {
		u64 home;

		i = (i + 1) & mask;
		if (!t->counts[i].ino)
			break;
		home = count_slot(t, t->counts[i].ino);
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		t->counts[hole] = t->counts[i];
		hole = i;
	}
	t->counts[hole] = (struct lookup_count){0};
	t->nr_counts--;
}

static int counts_grow(struct inode_table *t)
{
	struct lookup_count *old = t->counts;
	u64 cap = t->cap_counts;
	u64 new_cap = cap ? cap * 2 : 256;
	struct lookup_count *counts = calloc(new_cap, sizeof(*counts));

	if (!counts)
		return -ENOMEM;

	t->counts = counts;
	t->cap_counts = new_cap;
	for (u64 i = 0; i < cap; i++) {
		if (old[i].ino)
			*count_find(t, old[i].ino) = old[i];
	}
	free(old);
	cache_charge(t->fs->cache, (s64)((new_cap - cap) * sizeof(*counts)));
	return 0;
}

int lookup_reserve(struct fs *fs)
{
	struct inode_table *t = &fs->inodes;
	int err = 0;

	mutex_lock(&t->lock);
	if ((t->nr_counts + t->reserved_counts + 1) * 4 > t->cap_counts * 3)
		err = counts_grow(t);
	if (!err)
		t->reserved_counts++;
	mutex_unlock(&t->lock);
	return err;
}

void lookup_unreserve(struct fs *fs)
{
	mutex_lock(&fs->inodes.lock);
	fs->inodes.reserved_counts--;
	mutex_unlock(&fs->inodes.lock);
}

void lookup_take(struct fs *fs, struct inode *inode)
{
	struct inode_table *t = &fs->inodes;
	struct lookup_count *c;

	mutex_lock(&t->lock);
	t->reserved_counts--;
	c = count_find(t, inode->ino);
	if (!c->ino) {
		c->ino = inode->ino;
		t->nr_counts++;
	}
	c->count++;
	mutex_unlock(&t->lock);
}

static void note_filled_locked(struct inode_table *t, u64 ino)
{
	struct lookup_count *c = t->cap_counts ? count_find(t, ino) : NULL;

	if (c && c->ino)
		c->filled = 1;
}

void lookup_note_filled(struct fs *fs, u64 ino)
{
	struct inode_table *t = &fs->inodes;

	mutex_lock(&t->lock);
	note_filled_locked(t, ino);
	mutex_unlock(&t->lock);
}

bool lookup_is_filled(struct fs *fs, u64 ino)
{
	struct inode_table *t = &fs->inodes;
	bool filled;

	mutex_lock(&t->lock);
	filled = t->cap_counts && count_find(t, ino)->filled;
	mutex_unlock(&t->lock);
	return filled;
}

/* ---- life ---- */

static bool pending(struct inode *inode)
{
	return __atomic_load_n(&inode->nr_records, __ATOMIC_ACQUIRE) != 0;
}

/* An object that nothing speaks of any more, now out of the table. */
static bool gone_locked(struct inode_table *t, struct inode *inode)
{
	if (inode->refs)
		return false;
	if (inode->state == INODE_BAD)
		return true;
	if (inode->state != INODE_DELETED || pending(inode))
		return false;
	unhash_locked(t, inode);
	return true;
}

/* Nobody uses @inode any more. Return: true when the caller must delete it
 * (and has a reference for that). */
static bool settle_locked(struct inode_table *t, struct inode *inode)
{
	if (inode->refs || inode->state != INODE_LIVE)
		return false;

	if (!inode->nlink) {
		if (count_get(t, inode->ino))
			return false;
		inode->state = INODE_DELETING;
		inode->refs = 1;
		return true;
	}
	if (!pending(inode) && list_empty(&inode->idle)) {
		list_add_tail(&inode->idle, &t->idle);
		t->nr_idle++;
	}
	return false;
}

/* Delete an inode without a name that nobody uses: see the drawing. */
static void inode_delete(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;
	bool gone;

	log_inode_delete(inode);
	inode_drop_content(inode);
	(void)__atomic_fetch_sub(&inode->fs->volume->nr_inodes, 1,
				 __ATOMIC_RELAXED);

	mutex_lock(&t->lock);
	inode->state = INODE_DELETED;
	inode->refs--;
	gone = gone_locked(t, inode);
	mutex_unlock(&t->lock);
	if (gone)
		inode_free(inode);
}

void inode_get(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;

	mutex_lock(&t->lock);
	get_locked(t, inode);
	mutex_unlock(&t->lock);
}

void inode_put_shared(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;

	mutex_lock(&t->lock);
	assert(inode->refs > 1);
	inode->refs--;
	mutex_unlock(&t->lock);
}

void inode_put(struct inode *inode)
{
	struct inode_table *t;
	bool gone, delete, crowded;

	if (!inode)
		return;

	t = &inode->fs->inodes;
	mutex_lock(&t->lock);
	assert(inode->refs > 0);
	inode->refs--;
	gone = gone_locked(t, inode);
	delete = !gone && settle_locked(t, inode);
	crowded = t->nr_idle > t->max_idle;
	mutex_unlock(&t->lock);

	if (gone)
		inode_free(inode);
	else if (delete)
		inode_delete(inode);
	if (crowded)
		inode_shrink(t->fs, SHRINK_TO_FEW);
}

void inode_op_ended(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;
	bool gone;

	mutex_lock(&t->lock);
	gone = gone_locked(t, inode);
	/* nlink is ours to read once nobody uses the inode */
	if (!gone && !inode->refs && inode->nlink)
		(void)settle_locked(t, inode);
	mutex_unlock(&t->lock);
	if (gone)
		inode_free(inode);
}

void inode_discard(struct inode *inode)
{
	assert(inode->norow);
	inode->nlink = 0;
	inode_put(inode);
}

void lookup_forget(struct fs *fs, u64 ino, u64 n)
{
	struct inode_table *t = &fs->inodes;
	struct lookup_count *c;
	struct inode *inode = NULL;
	bool delete = false;

	mutex_lock(&t->lock);
	c = t->cap_counts ? count_find(t, ino) : NULL;
	if (c && c->ino) {
		c->count -= min(n, (u64)c->count);
		if (!c->count) {
			count_erase(t, c);
			inode = find_locked(t, ino);
		}
	}
	if (inode) {
		unseen_forget(inode);
		delete = settle_locked(t, inode);
	}
	mutex_unlock(&t->lock);
	if (delete)
		inode_delete(inode);
}

/* An orphan of the @i-th and later chains that nobody uses, to be deleted. */
static struct inode *next_orphan(struct inode_table *t, u32 *i)
{
	struct inode *inode = NULL;

	mutex_lock(&t->lock);
	for (; *i < t->nr_hash; ++*i) {
		for (inode = t->hash[*i]; inode; inode = inode->hash_next) {
			if (!inode->refs && !inode->nlink &&
			    settle_locked(t, inode))
				goto out_unlock;
		}
	}
out_unlock:
	mutex_unlock(&t->lock);
	return inode;
}

void lookup_forget_all(struct fs *fs)
{
	struct inode_table *t = &fs->inodes;
	struct inode *inode;
	u32 i = 0;

	mutex_lock(&t->lock);
	if (t->counts)
		memset(t->counts, 0, t->cap_counts * sizeof(*t->counts));
	t->nr_counts = 0;
	mutex_unlock(&t->lock);

	while ((inode = next_orphan(t, &i)))
		inode_delete(inode);
}

/* ---- getting ---- */

static void inode_from_row(struct inode *inode, const struct inode_row *row)
{
	inode->type = row->mode & S_IFMT;
	inode->generation = row->generation;
	inode->btime = row->btime;
	inode->rdev = row->rdev;
	inode->mode = row->mode;
	inode->uid = row->uid;
	inode->gid = row->gid;
	inode->nlink = row->nlink;
	inode->flags = row->flags;
	inode->atime = row->atime;
	inode->mtime = row->mtime;
	inode->ctime = row->ctime;
	inode_start_mapping(inode, row->size);
}

static int read_row(struct fs *fs, u64 ino, struct inode_row *row)
{
	struct meta_reader *r;
	u32 seq;
	int err;

	err = meta_reader_get(fs->volume->meta, &r);
	if (err)
		return err;

	do {
		seq = redo_begin(fs->volume->redo);
		err = meta_inode_get(r, ino, row);
		if (!err)
			redo_patch_inode(fs->volume->redo, row);
	} while (redo_retry(fs->volume->redo, seq));
	meta_reader_put(r);
	return err;
}

/* What has a row has a name: one without is in memory until it is deleted, and
 * what a crash left of those the mount has deleted. */
static bool is_sane(const struct inode_row *row)
{
	switch (row->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return row->nlink && row->size <= INT64_MAX;
	default:
		return false;
	}
}

static int inode_load(struct inode *inode)
{
	struct inode_table *t = &inode->fs->inodes;
	struct inode_row row;
	int err;

	err = read_row(inode->fs, inode->ino, &row);
	if (!err && !is_sane(&row)) {
		fs_log(inode->fs, LOG_ERR, "inode %llu: its row is damaged",
		       (unsigned long long)inode->ino);
		err = -EIO;
	}
	if (!err)
		inode_from_row(inode, &row);

	mutex_lock(&t->lock);
	inode->state = err ? INODE_BAD : INODE_LIVE;
	inode->load_err = err;
	if (err)
		unhash_locked(t, inode);
	waitq_wake_all(&t->loaded);
	mutex_unlock(&t->lock);
	return err;
}

/* Wait until somebody else has loaded it. Return: 0 or the error. */
static int wait_loaded_locked(struct inode_table *t, struct inode *inode)
	__requires(&t->lock)
{
	while (inode->state == INODE_LOADING)
		waitq_wait(&t->loaded, &t->lock);
	if (inode->state == INODE_BAD)
		return inode->load_err;
	return inode->state == INODE_LIVE ? 0 : -ESTALE;
}

int inode_get_ino(struct fs *fs, u64 ino, struct inode **ret)
{
	struct inode_table *t = &fs->inodes;
	struct inode *fresh = NULL;
	struct inode *inode;
	int err;

	mutex_lock(&t->lock);
	inode = find_locked(t, ino);
	if (!inode) {
		mutex_unlock(&t->lock);
		fresh = inode_alloc(fs, ino);
		if (!fresh)
			return -ENOMEM;
		mutex_lock(&t->lock);
		inode = find_locked(t, ino);
	}
	if (inode) {
		get_locked(t, inode);
		err = wait_loaded_locked(t, inode);
		mutex_unlock(&t->lock);
		if (fresh)
			inode_free(fresh);
	} else {
		inode = fresh;
		hash_locked(t, inode);
		mutex_unlock(&t->lock);
		err = inode_load(inode);
	}

	if (err)
		inode_put(inode);
	else
		*ret = inode;
	return err;
}

struct inode *inode_peek(struct fs *fs, u64 ino)
{
	struct inode_table *t = &fs->inodes;
	struct inode *inode;

	mutex_lock(&t->lock);
	inode = find_locked(t, ino);
	if (inode && inode->state == INODE_LIVE)
		get_locked(t, inode);
	else
		inode = NULL;
	mutex_unlock(&t->lock);
	return inode;
}

static void inode_from_spec(struct inode *inode, const struct inode_spec *spec)
{
	inode->type = spec->mode & S_IFMT;
	inode->generation = (u32)inode->fs->volume->mount_epoch;
	inode->btime = spec->now;
	inode->rdev = spec->rdev;
	inode->flags = spec->flags;
	inode->mode = spec->mode;
	inode->uid = spec->uid;
	inode->gid = spec->gid;
	inode->nlink = inode_is_dir(inode) ? 2 : 1;
	inode->atime = inode->mtime = inode->ctime = spec->now;
	inode->norow = true;
	if (spec->nameless) {
		inode->nlink = 0;
		inode->orphan = true;
		inode->linkable = true;
	}
	inode->nr_blocks = 0;
	inode->no_rows = true;
	inode->access_acl = inode->default_acl = ACL_NONE;
	inode_start_mapping(inode, spec->target ? strlen(spec->target) : 0);
	inode->extent_end = 0;
}

int inode_new(struct fs *fs, const struct inode_spec *spec, struct inode **ret)
{
	struct volume *v = fs->volume;
	struct inode *inode;
	u64 ino;

	ino = __atomic_fetch_add(&v->next_ino, 1, __ATOMIC_RELAXED);
	inode = inode_alloc(fs, ino);
	if (!inode)
		return -ENOMEM;
	if (spec->target) {
		inode->target = strdup(spec->target);
		if (!inode->target) {
			inode_free(inode);
			return -ENOMEM;
		}
		cache_charge(fs->cache, (s64)strlen(spec->target) + 1);
	}
	inode_from_spec(inode, spec);
	inode->state = INODE_LIVE;
	inode->fresh = true;
	(void)__atomic_fetch_add(&v->nr_inodes, 1, __ATOMIC_RELAXED);

	mutex_lock(&fs->inodes.lock);
	hash_locked(&fs->inodes, inode);
	mutex_unlock(&fs->inodes.lock);
	*ret = inode;
	return 0;
}

/* ---- who writes ---- */

bool inode_is_atomic(const struct inode *inode)
{
	return inode->fs->opt.atomic || inode->flags & INODE_ATOMIC;
}

bool inode_held_locked(const struct inode *inode)
{
	return inode->writers && inode_is_atomic(inode);
}

int inode_add_writer(struct inode *inode)
{
	int err = 0;

	mutex_lock(&inode->lock);
	if (inode->taking)
		err = -EAGAIN;
	else
		inode->writers++;
	mutex_unlock(&inode->lock);
	return err;
}

void inode_drop_writer(struct inode *inode)
{
	bool last;

	mutex_lock(&inode->lock);
	last = !--inode->writers && inode_is_atomic(inode);
	mutex_unlock(&inode->lock);
	if (last)
		oplist_restart_timer(&inode->fs->ops, inode);
}

/* ---- trimming ---- */

static bool has_pages(struct inode *inode)
{
	return inode_is_reg(inode) && address_space_any(&inode->mapping);
}

/* The oldest idle inode, unhashed; those with pages are spared once. */
static struct inode *trim_one_locked(struct inode_table *t,
				     enum inode_shrink how)
{
	u64 pinned = 0;
	u32 passed = 0;

	while (pinned < t->nr_idle) {
		struct inode *inode =
			list_first_entry(&t->idle, struct inode, idle);

		if (how != SHRINK_END && inode_is_pinned(inode)) {
			pinned++;
			list_move_tail(&inode->idle, &t->idle);
			continue;
		}

		if (how == SHRINK_TO_FEW && !inode->spared &&
		    passed++ < SPARE_MAX && has_pages(inode)) {
			inode->spared = true;
			list_move_tail(&inode->idle, &t->idle);
			continue;
		}
		list_del(&inode->idle);
		t->nr_idle--;
		unhash_locked(t, inode);
		if (!range_set_empty(&inode->unseen))
			note_filled_locked(t, inode->ino);
		return inode;
	}
	return NULL;
}

void inode_shrink(struct fs *fs, enum inode_shrink how)
{
	struct inode_table *t = &fs->inodes;
	u64 keep = t->max_idle - t->max_idle / 8;

	if (how != SHRINK_TO_FEW)
		keep = 0;
	else if (cache_metadata_over(fs->cache))
		keep = min(keep, (u64)IDLE_MIN);

	for (;;) {
		struct inode *inode = NULL;

		mutex_lock(&t->lock);
		if (t->nr_idle > keep)
			inode = trim_one_locked(t, how);
		mutex_unlock(&t->lock);
		if (!inode)
			return;
		inode_drop_content(inode);
		inode_free(inode);
	}
}

/* ---- looking ---- */

static int by_ino(const void *a, const void *b)
{
	const struct inode *const *x = a;
	const struct inode *const *y = b;

	return ((*x)->ino > (*y)->ino) - ((*x)->ino < (*y)->ino);
}

int inode_snapshot(struct fs *fs, struct inode ***ret, size_t *ret_nr)
{
	struct inode_table *t = &fs->inodes;
	struct inode **list;
	size_t nr = 0;

	mutex_lock(&t->lock);
	list = calloc(t->nr + 1, sizeof(struct inode *));
	for (u32 i = 0; list && i < t->nr_hash; i++) {
		struct inode *inode = t->hash[i];

		for (; inode; inode = inode->hash_next) {
			if (inode->state != INODE_LIVE || !inode_is_reg(inode))
				continue;
			get_locked(t, inode);
			list[nr++] = inode;
		}
	}
	mutex_unlock(&t->lock);
	if (!list)
		return -ENOMEM;

	qsort(list, nr, sizeof(struct inode *), by_ino);
	*ret = list;
	*ret_nr = nr;
	return 0;
}

/* ---- checking ---- */

static void check_inode(struct inode *inode)
{
	if (!list_empty(&inode->idle)) {
		verify(!inode->refs && !pending(inode));
		verify(inode->state == INODE_LIVE && inode->nlink);
	}
	verify(inode->opens <= inode->refs);
}

static void check_counts(struct inode_table *t)
{
	u64 nr = 0;

	for (u64 i = 0; i < t->cap_counts; i++) {
		const struct lookup_count *c = &t->counts[i];

		verify(!c->ino == !c->count);
		if (!c->ino)
			continue;
		nr++;
		verify(count_find(t, c->ino) == c);
	}
	verify(nr == t->nr_counts);
}

void inode_table_check(struct inode_table *t)
{
	struct inode *inode;
	u64 nr = 0, idle = 0;

	mutex_lock(&t->lock);
	for (u32 i = 0; i < t->nr_hash; i++) {
		for (inode = t->hash[i]; inode; inode = inode->hash_next) {
			check_inode(inode);
			nr++;
		}
	}
	list_for_each_entry (inode, &t->idle, idle)
		idle++;
	verify(nr == t->nr);
	verify(idle == t->nr_idle);
	check_counts(t);
	mutex_unlock(&t->lock);
}

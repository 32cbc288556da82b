/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "fs_internal.h"

/* How many records are dropped in one hold of the locks. */
#define DROP_BATCH 64
/* Inodes whose access time waits for a commit: each stays in memory for it. A
 * commit is asked for at half of it. */
#define ACCESSED_MAX 2048

void oplist_init(struct oplist *l, struct fs *fs)
{
	l->fs = fs;
	rwsem_init(&l->drop_sem, LOCK_DROP, "drop");
	mutex_init(&l->lock, LOCK_OPLIST, "operation list");
	list_init(&l->open);
	list_init(&l->dirty);
	list_init(&l->accessed);
	names_init(&l->names);
	l->epoch = 1;
}

void oplist_done(struct oplist *l)
{
	assert(list_empty(&l->open) && list_empty(&l->dirty));
	assert(list_empty(&l->accessed));
	rwsem_done(&l->drop_sem);
	mutex_done(&l->lock);
}

u64 oplist_nr(struct oplist *l)
{
	u64 nr;

	mutex_lock(&l->lock);
	nr = l->nr_open + l->nr_frozen;
	mutex_unlock(&l->lock);
	return nr;
}

u64 oplist_parked_bytes(const struct oplist *l)
{
	return __atomic_load_n(&l->parked_bytes, __ATOMIC_RELAXED);
}

u64 oplist_bytes(const struct oplist *l)
{
	u64 parked = oplist_parked_bytes(l);
	u64 bytes = __atomic_load_n(&l->bytes, __ATOMIC_RELAXED);

	/* one may have been freed between the two looks */
	return max(bytes, parked) - parked;
}

/* ---- records ---- */

static void count_bytes(u64 *figure, s64 nr)
{
	(void)__atomic_fetch_add(figure, (u64)nr, __ATOMIC_RELAXED);
}

static void charge(struct fs *fs, s64 bytes)
{
	count_bytes(&fs->ops.bytes, bytes);
	cache_charge(fs->cache, bytes);
}

static void set_parked(struct oplist *l, struct op *op, bool parked)
{
	if (op->parked != parked)
		count_bytes(&l->parked_bytes,
			    parked ? (s64)op->bytes : -(s64)op->bytes);
	op->parked = parked;
}

static void *op_alloc(struct fs *fs, enum op_kind kind, size_t size)
{
	struct op *op = calloc(1, size);

	if (!op)
		return NULL;

	list_init(&op->node);
	op->kind = kind;
	op->bytes = (u32)size;
	charge(fs, (s64)size);
	return op;
}

void op_free(struct fs *fs, struct op *op)
{
	if (!op)
		return;

	set_parked(&fs->ops, op, false);
	charge(fs, -(s64)op->bytes);
	if (op->kind == OP_XATTR)
		free(container_of(op, struct op_xattr, op)->value);
	free(op);
}

static bool frozen(const struct oplist *l, const struct op *op)
{
	return op->epoch <= l->frozen_epoch;
}

static void start_timer(struct oplist *l)
{
	if (l->oldest_ns && l->timer_ns)
		return;

	l->timer_ns = mono_ns();
	if (!l->oldest_ns)
		l->oldest_ns = l->timer_ns;
}

static void append(struct oplist *l, struct op *op)
{
	op->epoch = l->epoch;
	list_add_tail(&op->node, &l->open);
	l->nr_open++;
	l->logged++;
	start_timer(l);
}

static void unlist(struct oplist *l, struct op *op)
{
	list_del(&op->node);
	l->nr_open--;
}

static void add_records(struct inode *inode, int nr)
{
	(void)__atomic_fetch_add(&inode->nr_records, (u32)nr, __ATOMIC_RELEASE);
}

/* ---- one change ---- */

void change_init(struct ns_change *ch, struct fs *fs)
{
	*ch = (struct ns_change){.fs = fs, .now = real_ns()};
}

int change_inodes(struct ns_change *ch, u32 nr)
{
	assert(nr <= CHANGE_INODES);
	while (ch->nr_inodes < nr) {
		struct op_inode *op = op_alloc(ch->fs, OP_INODE, sizeof(*op));

		if (!op)
			return -ENOMEM;
		ch->inodes[ch->nr_inodes++] = op;
	}
	return 0;
}

int change_name(struct ns_change *ch, u64 parent, const char *name)
{
	size_t len = strlen(name);
	struct op_name *op;

	assert(ch->nr_names < CHANGE_NAMES);
	op = op_alloc(ch->fs, OP_NAME, sizeof(*op) + len + 1);
	if (!op)
		return -ENOMEM;

	op->name.parent = parent;
	op->name.len = (u8)len;
	op->name.str = (char *)(op + 1);
	memcpy(op->name.str, name, len + 1);
	ch->names[ch->nr_names++] = op;
	return 0;
}

void change_begin(struct ns_change *ch)
{
	down_read(&ch->fs->stop);
}

void change_end(struct ns_change *ch)
{
	up_read(&ch->fs->stop);
}

void change_done(struct ns_change *ch)
{
	for (u32 i = 0; i < ch->nr_inodes; i++)
		op_free(ch->fs, (struct op *)ch->inodes[i]);
	for (u32 i = 0; i < CHANGE_NAMES; i++)
		op_free(ch->fs, (struct op *)ch->names[i]);
	ch->nr_inodes = 0;
	ch->nr_names = 0;
}

/* ---- inodes ---- */

static void op_inode_fill(struct op_inode *op, struct inode *inode)
{
	mutex_lock(&inode->lock);
	op->mode = inode->mode;
	op->uid = inode->uid;
	op->gid = inode->gid;
	op->nlink = inode->nlink;
	op->flags = inode->flags;
	op->atime = inode->atime;
	op->mtime = inode->mtime;
	op->ctime = inode->ctime;
	mutex_unlock(&inode->lock);
}

static void attach_locked(struct oplist *l, struct inode *inode,
			  struct op_inode *op)
{
	if (!inode->op)
		add_records(inode, 1);
	inode->op = op;
	op->inode = inode;
	append(l, &op->op);
}

/* The open record of @inode, made of @spare if there is none; *spare is NULL
 * when it was used. */
static struct op_inode *open_record_locked(struct oplist *l,
					   struct inode *inode,
					   struct op_inode **spare)
{
	if (inode->op && !frozen(l, &inode->op->op))
		return inode->op;

	attach_locked(l, inode, *spare);
	*spare = NULL;
	return inode->op;
}

static struct op_inode **take_spare(struct ns_change *ch)
{
	assert(ch->nr_inodes);
	return &ch->inodes[ch->nr_inodes - 1];
}

static void trim_spare(struct ns_change *ch)
{
	if (!ch->inodes[ch->nr_inodes - 1])
		ch->nr_inodes--;
}

static void log_inode_what(struct ns_change *ch, struct inode *inode, u32 what)
{
	struct oplist *l = &ch->fs->ops;
	struct op_inode *op;

	mutex_lock(&l->lock);
	if (!inode->norow) {
		op = open_record_locked(l, inode, take_spare(ch));
		op->what |= what;
		/* it may have waited: now it is of this epoch */
		op->op.epoch = l->epoch;
		op_inode_fill(op, inode);
		trim_spare(ch);
	}
	mutex_unlock(&l->lock);
}

void log_inode(struct ns_change *ch, struct inode *inode)
{
	log_inode_what(ch, inode, 0);
}

/* Attributes of an inode without a row wait at the inode: a row of theirs
 * would refer to nothing. */
static void park_xattrs_locked(struct oplist *l, struct inode *inode)
{
	struct op_xattr *x;

	list_for_each_entry (x, &inode->xattrs, inode_node) {
		unlist(l, &x->op);
		set_parked(l, &x->op, true);
	}
}

static void unpark_xattrs_locked(struct oplist *l, struct inode *inode)
{
	struct op_xattr *x;

	list_for_each_entry (x, &inode->xattrs, inode_node) {
		set_parked(l, &x->op, false);
		append(l, &x->op);
	}
}

void log_inode_create(struct ns_change *ch, struct inode *inode)
{
	struct oplist *l = &ch->fs->ops;

	mutex_lock(&l->lock);
	assert(inode->norow);
	inode->norow = false;
	inode->orphan = false;
	inode->linkable = false;
	unpark_xattrs_locked(l, inode);
	mutex_unlock(&l->lock);
	log_inode_what(ch, inode, OP_INODE_CREATE);
}

static void count_accessed_locked(struct oplist *l, int by)
{
	__atomic_store_n(&l->nr_accessed, l->nr_accessed + (u64)(s64)by,
			 __ATOMIC_RELAXED);
	if (!l->nr_accessed)
		l->accessed_ns = 0;
	else if (!l->accessed_ns)
		l->accessed_ns = mono_ns();
}

static void remove_dirty_locked(struct oplist *l, struct inode *inode)
{
	if (list_empty(&inode->dirty))
		return;

	list_del(&inode->dirty);
	l->nr_dirty--;
	inode_put_shared(inode);
}

static void remove_accessed_locked(struct oplist *l, struct inode *inode)
{
	if (list_empty(&inode->accessed))
		return;

	list_del(&inode->accessed);
	count_accessed_locked(l, -1);
	inode_put_shared(inode);
}

/* Made in this very epoch: nothing of it needs to reach the volume. */
static bool cancel_create_locked(struct oplist *l, struct inode *inode)
{
	struct op_inode *op = inode->op;

	if (!op || frozen(l, &op->op) || !(op->what & OP_INODE_CREATE))
		return false;

	unlist(l, &op->op);
	inode->op = NULL;
	inode->norow = true;
	add_records(inode, -1);
	park_xattrs_locked(l, inode);
	op_free(l->fs, &op->op);
	return true;
}

void log_inode_orphan(struct ns_change *ch, struct inode *inode)
{
	struct oplist *l = &ch->fs->ops;
	bool cancelled;

	mutex_lock(&l->lock);
	inode->orphan = true;
	remove_dirty_locked(l, inode);
	remove_accessed_locked(l, inode);
	cancelled = cancel_create_locked(l, inode);
	mutex_unlock(&l->lock);
	if (!cancelled)
		log_inode_what(ch, inode, OP_INODE_ORPHAN);
}

int inode_prepare_delete(struct inode *inode)
{
	struct op_inode *op;

	if (inode->spare)
		return 0;

	op = op_alloc(inode->fs, OP_INODE, sizeof(*op));
	if (!op)
		return -ENOMEM;
	inode->spare = op;
	return 0;
}

static void drop_xattrs_locked(struct oplist *l, struct inode *inode)
{
	while (!list_empty(&inode->xattrs)) {
		struct op_xattr *x = list_first_entry(
			&inode->xattrs, struct op_xattr, inode_node);

		list_del(&x->inode_node);
		add_records(inode, -1);
		if (frozen(l, &x->op) && !inode->norow) {
			x->inode = NULL;
			continue;
		}
		if (!inode->norow)
			unlist(l, &x->op);
		op_free(l->fs, &x->op);
	}
}

void log_inode_delete(struct inode *inode)
{
	struct oplist *l = &inode->fs->ops;
	struct op_inode *op;

	down_read(&inode->fs->stop);
	mutex_lock(&l->lock);
	drop_xattrs_locked(l, inode);
	if (!inode->norow) {
		op = open_record_locked(l, inode, &inode->spare);
		op->what |= OP_INODE_DELETE;
	}
	mutex_unlock(&l->lock);
	up_read(&inode->fs->stop);
}

/* ---- names ---- */

/* The open record of a name, made of the one provided for if there is none. */
static struct name *open_name_locked(struct oplist *l, struct ns_change *ch,
				     u32 which, bool fresh)
{
	struct op_name *new = ch->names[which];
	struct name *old =
		names_find(&l->names, new->name.parent, new->name.str);

	if (old && !frozen(l, &container_of(old, struct op_name, name)->op))
		return old;

	if (old)
		names_remove(&l->names, old);
	new->name.fresh = fresh && !old;
	names_insert(&l->names, &new->name);
	append(l, &new->op);
	ch->names[which] = NULL;
	return &new->name;
}

void log_name(struct ns_change *ch, u32 which, u64 ino, u32 type, u64 id,
	      bool fresh)
{
	struct oplist *l = &ch->fs->ops;

	mutex_lock(&l->lock);
	names_set(&l->names, open_name_locked(l, ch, which, fresh), ino, type,
		  id);
	mutex_unlock(&l->lock);
}

void log_name_gone(struct ns_change *ch, u32 which)
{
	struct oplist *l = &ch->fs->ops;
	struct name *name;
	struct op_name *op;

	mutex_lock(&l->lock);
	name = open_name_locked(l, ch, which, false);
	if (name->fresh) {
		op = container_of(name, struct op_name, name);
		names_remove(&l->names, name);
		unlist(l, &op->op);
		op_free(l->fs, &op->op);
	} else {
		names_set(&l->names, name, 0, 0, 0);
	}
	mutex_unlock(&l->lock);
}

/* ---- extended attributes ---- */

struct op_xattr *op_xattr_new(struct inode *inode, const char *name,
			      const void *value, size_t len)
{
	size_t nlen = strlen(name);
	struct op_xattr *op;

	op = op_alloc(inode->fs, OP_XATTR, sizeof(*op) + nlen + 1);
	if (!op)
		return NULL;

	list_init(&op->inode_node);
	op->inode = inode;
	op->ino = inode->ino;
	memcpy(op->name, name, nlen + 1);
	if (!value)
		return op;

	op->present = true;
	op->len = (u32)len;
	op->value = malloc(len ? len : 1);
	if (!op->value) {
		op_free(inode->fs, &op->op);
		return NULL;
	}
	if (len)
		memcpy(op->value, value, len);
	op->op.bytes += (u32)len;
	charge(inode->fs, (s64)len);
	return op;
}

struct op_xattr *oplist_find_xattr(struct inode *inode, const char *name)
{
	struct op_xattr *x;

	list_for_each_entry (x, &inode->xattrs, inode_node) {
		if (!strcmp(x->name, name))
			return x;
	}
	return NULL;
}

void log_xattr(struct ns_change *ch, struct inode *inode, struct op_xattr *op)
{
	struct oplist *l = &ch->fs->ops;
	struct op_xattr *old;

	mutex_lock(&l->lock);
	old = oplist_find_xattr(inode, op->name);
	if (old) {
		list_del(&old->inode_node);
		add_records(inode, -1);
		if (inode->norow || !frozen(l, &old->op)) {
			if (!inode->norow)
				unlist(l, &old->op);
			op_free(l->fs, &old->op);
		} else {
			old->inode = NULL;
		}
	}
	list_add_tail(&op->inode_node, &inode->xattrs);
	add_records(inode, 1);
	if (inode->norow)
		set_parked(l, &op->op, true);
	else
		append(l, &op->op);
	mutex_unlock(&l->lock);
}

/* ---- files with uncommitted content ---- */

void oplist_add_dirty(struct oplist *l, struct inode *inode)
{
	mutex_lock(&l->lock);
	if (!inode->orphan && list_empty(&inode->dirty)) {
		inode_get(inode);
		list_add_tail(&inode->dirty, &l->dirty);
		l->nr_dirty++;
		start_timer(l);
	}
	mutex_unlock(&l->lock);
}

void oplist_restart_timer(struct oplist *l, struct inode *inode)
{
	mutex_lock(&l->lock);
	if (!list_empty(&inode->dirty))
		start_timer(l);
	mutex_unlock(&l->lock);
}

/* ---- files that were read ---- */

bool oplist_may_access(struct oplist *l)
{
	return __atomic_load_n(&l->nr_accessed, __ATOMIC_RELAXED) <
	       ACCESSED_MAX;
}

bool oplist_add_accessed(struct oplist *l, struct inode *inode)
{
	bool many;

	mutex_lock(&l->lock);
	/* who has no row gets one with all times, or never */
	if (!inode->orphan && !inode->norow && list_empty(&inode->accessed)) {
		inode_get(inode);
		list_add_tail(&inode->accessed, &l->accessed);
		count_accessed_locked(l, 1);
	}
	many = l->nr_accessed >= ACCESSED_MAX / 2;
	mutex_unlock(&l->lock);
	return many;
}

struct inode *oplist_take_accessed(struct oplist *l)
{
	struct inode *inode = NULL;

	mutex_lock(&l->lock);
	if (!list_empty(&l->accessed)) {
		inode = list_first_entry(&l->accessed, struct inode, accessed);
		list_del(&inode->accessed);
		count_accessed_locked(l, -1);
	}
	mutex_unlock(&l->lock);
	return inode;
}

/* ---- the committer's part ---- */

void oplist_freeze(struct oplist *l, struct list_head *ret)
{
	mutex_assert_held(&l->lock);
	assert(!l->frozen_epoch);
	list_splice_tail(&l->open, ret);
	l->nr_frozen = l->nr_open;
	l->nr_open = 0;
	l->frozen_epoch = l->epoch;
	__atomic_store_n(&l->epoch, l->epoch + 1, __ATOMIC_RELEASE);
}

static void drop_one_locked(struct oplist *l, struct op *op)
{
	struct inode *inode = NULL;

	if (op->kind == OP_NAME) {
		struct op_name *n = container_of(op, struct op_name, op);

		if (n->name.hashed)
			names_remove(&l->names, &n->name);
	} else if (op->kind == OP_XATTR) {
		struct op_xattr *x = container_of(op, struct op_xattr, op);

		inode = x->inode;
		if (inode)
			list_del(&x->inode_node);
	} else {
		struct op_inode *i = container_of(op, struct op_inode, op);

		if (i->inode->op == i) {
			inode = i->inode;
			inode->op = NULL;
		}
	}
	op_free(l->fs, op);
	l->nr_frozen--;
	if (inode) {
		add_records(inode, -1);
		inode_op_ended(inode);
	}
}

static void drop_batch(struct oplist *l, struct list_head *ops)
{
	down_write(&l->drop_sem);
	mutex_lock(&l->lock);
	for (u32 i = 0; i < DROP_BATCH && !list_empty(ops); i++) {
		struct op *op = list_first_entry(ops, struct op, node);

		list_del(&op->node);
		drop_one_locked(l, op);
	}
	mutex_unlock(&l->lock);
	up_write(&l->drop_sem);
}

void oplist_drop(struct oplist *l, struct list_head *ops)
{
	while (!list_empty(ops))
		drop_batch(l, ops);

	mutex_lock(&l->lock);
	assert(!l->nr_frozen);
	l->frozen_epoch = 0;
	mutex_unlock(&l->lock);
}

/* A record that was superseded while it was frozen and did not reach the
 * volume: the newer one says what is to be. It takes over that there is no row
 * yet, or that there is to be an orphan's. */
static bool fold_superseded(struct op *op)
{
	struct op_inode *i;

	if (op->kind == OP_NAME)
		return !container_of(op, struct op_name, op)->name.hashed;
	if (op->kind == OP_XATTR)
		return !container_of(op, struct op_xattr, op)->inode;

	i = container_of(op, struct op_inode, op);
	if (i->inode->op == i)
		return false;
	i->inode->op->what |= i->what;
	return true;
}

void oplist_restore(struct oplist *l, struct list_head *ops)
{
	struct op *op, *tmp;

	mutex_lock(&l->lock);
	list_for_each_entry_safe (op, tmp, ops, node) {
		if (!fold_superseded(op))
			continue;
		list_del(&op->node);
		op_free(l->fs, op);
		l->nr_frozen--;
	}
	list_splice_tail(&l->open, ops);
	list_splice_tail(ops, &l->open);
	l->nr_open += l->nr_frozen;
	l->nr_frozen = 0;
	l->frozen_epoch = 0;
	if (l->nr_open)
		start_timer(l);
	mutex_unlock(&l->lock);
}

/* ---- checking ---- */

void oplist_check(struct oplist *l)
{
	struct inode *inode;
	struct op *op;
	u64 nr = 0, dirty = 0, accessed = 0;

	mutex_lock(&l->lock);
	names_check(&l->names);
	list_for_each_entry (op, &l->open, node) {
		verify(op->epoch <= l->epoch);
		nr++;
	}
	verify(nr == l->nr_open);
	verify(l->oldest_ns || (list_empty(&l->open) && list_empty(&l->dirty)));
	list_for_each_entry (inode, &l->dirty, dirty) {
		verify(!inode->orphan);
		dirty++;
	}
	verify(dirty == l->nr_dirty);
	list_for_each_entry (inode, &l->accessed, accessed) {
		verify(!inode->orphan);
		accessed++;
	}
	verify(accessed == l->nr_accessed);
	verify(!accessed == !l->accessed_ns);
	mutex_unlock(&l->lock);
}

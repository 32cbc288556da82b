/* SPDX-License-Identifier: MIT */
/*
 * Processes and what they map: the tables, and how a scan changes them.
 *
 * A scan gives all mappings of a process at once. mm_update() compares it with
 * what is known, under the lock held shared: as a rule nothing has changed, and
 * nobody has been kept waiting. Otherwise all memory is allocated before
 * anything is changed, so that an update is done or is not.
 *
 * Every vma that a scan does not show as it was is GONE, every mapping that no
 * vma shows as it is is new. New ones take over the counters of those whose
 * place they take, which are found while these still hang in the trees: first
 * by address, then, of what has moved, by page. Then those that are gone leave,
 * and the new ones come in.
 *
 * Locks
 * -----
 *
 *   update_lock    scans and exits, one at a time; held while pages are looked
 *                  at again, and so across page locks
 *     page lock
 *       lock       the tables; exclusive for what changes
 *         tree_lock  what hangs in as->i_mmap
 *
 * Nobody but those who call mm_update(), mm_update_hints() and mm_exit() takes
 * update_lock. `lock` is held while memory is read and written, never for
 * longer, by them, by who looks, and by who closes a file that still has vmas.
 * Who serves requests needs tree_lock only, which is held for one vma at a time
 * (to link, unlink or change it) and for a gang of pages (to look at them
 * again). So no request waits for a scan.
 *
 * A vma that has left the trees may be the last that keeps its address_space in
 * anybody's mind: until its pages were looked at again as->users says that
 * somebody is there, and address_space_done() waits for it as it does for the
 * flusher: for the device at most.
 */
#include "config.h"

#include "internal.h"

enum vma_mark {
	VMA_SAME,    /* as the scan shows it */
	VMA_GONE,    /* not */
	VMA_CLAIMED, /* GONE, and another has its counters */
	VMA_FRESH,   /* look at its pages: new, or locked now or not any more */
};

/* A process may have 65530 mappings, and there may be many processes. */
#define MM_BUDGET_SHARE 8

struct update {
	struct cache *cache;
	const struct mm_key *key;
	const char *comm;
	const struct vma_desc *descs;
	u32 nr;
	struct mm *mm;		/* NULL: not known yet */
	struct mm *spare_mm;	/* then this one will be */
	struct list_head spare; /* vmas that were allocated */
	struct list_head fresh; /* new ones, not in the trees yet */
	struct list_head dead;	/* no more in the trees */
	u32 nr_match;
	u32 nr_differ; /* of these in flags, file or private pages */
	u32 nr_gone;
	struct mm_change change;
};

static struct vma *to_vma(struct rb_node *rb)
{
	return rb ? rb_entry(rb, struct vma, node) : NULL;
}

static struct mm *to_mm(struct rb_node *rb)
{
	return rb ? rb_entry(rb, struct mm, node) : NULL;
}

/* ---- look-ups ---- */

/* The first mm of @pid or a greater one. */
static struct mm *find_mm(const struct mm_table *t, u32 pid)
{
	struct rb_node *rb = t->mms.node;
	struct mm *found = NULL;

	while (rb) {
		struct mm *mm = to_mm(rb);

		if (mm->key.pid >= pid)
			found = mm;
		rb = mm->key.pid >= pid ? rb->left : rb->right;
	}
	return found;
}

static struct mm *find_pid(const struct mm_table *t, u32 pid)
{
	struct mm *mm = find_mm(t, pid);

	return mm && mm->key.pid == pid ? mm : NULL;
}

static struct mm *find_key(const struct mm_table *t, const struct mm_key *key)
{
	struct mm *mm = find_pid(t, key->pid);

	return mm && mm->key.start_time == key->start_time ? mm : NULL;
}

/* The first vma that ends behind @addr. */
static struct vma *find_vma(const struct mm *mm, u64 addr)
{
	struct rb_node *rb = mm->vmas.node;
	struct vma *found = NULL;

	while (rb) {
		struct vma *v = to_vma(rb);

		if (v->end > addr)
			found = v;
		rb = v->end > addr ? rb->left : rb->right;
	}
	return found;
}

/* ---- into and out of the trees. Context: lock held exclusive ---- */

static void count_flags(struct address_space *as, u32 flags, int n)
{
	if (flags & VM_LOCKED)
		(void)atomic_add(&as->nr_locked_vmas, n);
	if (flags & (VM_RAND_READ | VM_SEQ_READ))
		(void)atomic_add(&as->nr_hinted_vmas, n);
}

static void link_rmap(struct vma *v)
{
	struct address_space *as = v->as;

	mutex_lock(&as->tree_lock);
	interval_tree_insert(&as->i_mmap, &v->rmap);
	(void)atomic_add(&as->nr_vmas, 1);
	count_flags(as, v->flags, 1);
	mutex_unlock(&as->tree_lock);
}

static void unlink_rmap(struct vma *v)
{
	struct address_space *as = v->as;

	mutex_lock(&as->tree_lock);
	interval_tree_erase(&as->i_mmap, &v->rmap);
	(void)atomic_add(&as->nr_vmas, -1);
	count_flags(as, v->flags, -1);
	mutex_unlock(&as->tree_lock);
}

static void set_flags(struct vma *v, u32 flags)
{
	struct address_space *as = v->as;

	mutex_lock(&as->tree_lock);
	count_flags(as, v->flags, -1);
	v->flags = flags;
	count_flags(as, v->flags, 1);
	mutex_unlock(&as->tree_lock);
}

static void set_file(struct vma *v, struct file *file)
{
	struct file *old = v->file;

	if (old == file)
		return;
	mutex_lock(&v->as->tree_lock); /* mm_account_fault() looks */
	v->file = file;
	mutex_unlock(&v->as->tree_lock);
	if (old) {
		list_del(&v->link);
		/* the last look at it: see mm_forget_file() */
		(void)__atomic_sub_fetch(&old->nr_vmas, 1, __ATOMIC_RELEASE);
	}
	if (file) {
		list_add_tail(&v->link, &file->vmas);
		(void)atomic_add(&file->nr_vmas, 1);
	}
}

static void link_vma(struct vma *v, struct file *file)
{
	struct rb_node **link = &v->mm->vmas.node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = v->start < to_vma(parent)->start ? &parent->left
							: &parent->right;
	}
	rb_insert(&v->mm->vmas, &v->node, parent, link, NULL);
	v->mm->nr_vmas++;
	(void)atomic_add(&v->as->cache->mms.nr_vmas, 1);
	list_init(&v->link);
	v->file = NULL;
	link_rmap(v);
	set_file(v, file);
}

static void unlink_vma(struct vma *v)
{
	set_file(v, NULL);
	unlink_rmap(v);
	rb_erase(&v->mm->vmas, &v->node, NULL);
	v->mm->nr_vmas--;
	(void)atomic_add(&v->as->cache->mms.nr_vmas, -1);
}

/*
 * Whether it makes no difference to any page if @v, which is not in the trees,
 * comes or has gone: as when many processes map the same. Of one that is to be
 * gone as well this may be true too; it is not when that goes in turn.
 */
static bool is_covered(const struct vma *v)
{
	struct interval_node *i;

	interval_tree_for_each (i, &v->as->i_mmap, v->rmap.start, v->rmap.start)
		if (i->last >= v->rmap.last &&
		    !(v->flags & ~rmap_vma(i)->flags & VM_LOCKED))
			return true;
	return false;
}

static void link_mm(struct cache *c, struct mm *mm)
{
	struct rb_node **link = &c->mms.mms.node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = mm->key.pid < to_mm(parent)->key.pid ? &parent->left
							    : &parent->right;
	}
	rb_insert(&c->mms.mms, &mm->node, parent, link, NULL);
	(void)atomic_add(&c->mms.nr_mms, 1);
}

/* ---- memory ---- */

static void charge(struct cache *c, s64 bytes)
{
	(void)atomic_add(&c->mms.bytes, bytes);
	(void)atomic_add(&c->page_table_bytes, bytes);
}

static void free_vma(struct cache *c, struct vma *v)
{
	free(v);
	charge(c, -(s64)VMA_BYTES);
}

static void free_mm(struct cache *c, struct mm *mm)
{
	if (!mm)
		return;
	free(mm);
	charge(c, -(s64)MM_BYTES);
}

static bool has_room(struct cache *c, u64 nr_vmas, u64 nr_gone)
{
	u64 bytes = atomic_read(&c->mms.bytes) + nr_vmas * VMA_BYTES + MM_BYTES;

	return nr_vmas <= nr_gone ||
	       bytes - nr_gone * VMA_BYTES <=
		       atomic_read(&c->knobs[KNOB_cache_size]) /
			       MM_BUDGET_SHARE;
}

static int alloc_vmas(struct update *u, u32 nr)
{
	for (u32 i = 0; i < nr; i++) {
		struct vma *v = calloc(1, sizeof(*v));

		if (!v)
			return -ENOMEM;
		charge(u->cache, VMA_BYTES);
		list_add(&v->link, &u->spare);
	}
	return 0;
}

static void free_spare(struct update *u)
{
	struct vma *v, *tmp;

	list_for_each_entry_safe (v, tmp, &u->spare, link)
		free_vma(u->cache, v);
	list_init(&u->spare);
	free_mm(u->cache, u->spare_mm);
	u->spare_mm = NULL;
}

static int update_alloc(struct update *u)
{
	u32 nr = u->nr - u->nr_match;
	int err;

	if (!has_room(u->cache, nr, u->nr_gone)) {
		count_inc(u->cache, mm_overflow);
		return -ENOSPC;
	}
	if (!u->mm) {
		u->spare_mm = calloc(1, sizeof(*u->spare_mm));
		if (!u->spare_mm)
			return -ENOMEM;
		charge(u->cache, MM_BYTES);
	}
	err = alloc_vmas(u, nr);
	if (err)
		free_spare(u);
	else
		kswapd_wake(u->cache); /* it leaves less for frames */
	return err;
}

/* ---- comparing ---- */

static u64 desc_last(const struct vma_desc *d)
{
	return d->pgoff + ((d->end - d->start) >> PAGE_SHIFT) - 1;
}

static bool desc_ok(const struct cache *c, const struct vma_desc *d, u64 addr)
{
	if (d->start < addr || d->end <= d->start ||
	    (d->start | d->end) & (PAGE_SIZE - 1))
		return false;
	if (!d->as || d->as->cache != c ||
	    (d->file && d->file->mapping != d->as))
		return false;
	return d->pgoff <= PGOFF_MAX && desc_last(d) <= PGOFF_MAX;
}

static bool descs_ok(const struct cache *c, const struct vma_desc *descs,
		     u32 nr)
{
	u64 addr = 0;

	for (u32 i = 0; i < nr; i++) {
		if (!desc_ok(c, &descs[i], addr))
			return false;
		addr = descs[i].end;
	}
	return true;
}

static bool is_same(const struct vma *v, const struct vma_desc *d)
{
	return v->start == d->start && v->end == d->end && v->as == d->as &&
	       v->rmap.start == d->pgoff &&
	       (v->flags & VM_SHARED) == (d->flags & VM_SHARED);
}

static u32 flags_after(const struct vma *v, const struct vma_desc *d)
{
	if (d->hints)
		return d->flags;
	return (d->flags & ~(u32)VM_HINTS) | (v->flags & VM_HINTS);
}

static struct file *file_after(struct file *known, const struct vma_desc *d)
{
	return d->file && !(d->guess && known) ? d->file : known;
}

static bool differs(const struct vma *v, const struct vma_desc *d)
{
	return v->flags != flags_after(v, d) ||
	       v->file != file_after(v->file, d) ||
	       (d->hints && v->nr_private != d->nr_private);
}

/* Mark what stays, and count what does not. Context: update_lock; lock, shared
 * at least. */
static void compare(struct update *u)
{
	struct rb_node *rb;
	u32 i = 0;

	if (!u->mm)
		return;
	rb_for_each (rb, &u->mm->vmas) {
		struct vma *v = to_vma(rb);

		while (i < u->nr && u->descs[i].start < v->start)
			i++;
		if (i < u->nr && is_same(v, &u->descs[i])) {
			v->mark = VMA_SAME;
			u->nr_match++;
			u->nr_differ += differs(v, &u->descs[i]);
		} else {
			v->mark = VMA_GONE;
			u->nr_gone++;
		}
	}
}

static bool nothing_to_do(const struct update *u)
{
	if (!u->mm)
		return u->nr == 0;
	return u->nr_match == u->nr && !u->nr_gone && !u->nr_differ &&
	       !strncmp(u->mm->comm, u->comm, TASK_COMM_LEN - 1);
}

/* ---- applying ---- */

static bool is_gone(const struct vma *v)
{
	return v->mark == VMA_GONE || v->mark == VMA_CLAIMED;
}

/* In both the same page is at the same address. */
static bool is_in_line(const struct vma *a, const struct vma *b)
{
	return a->as == b->as &&
	       (a->start >> PAGE_SHIFT) - a->rmap.start ==
		       (b->start >> PAGE_SHIFT) - b->rmap.start &&
	       (a->flags & VM_SHARED) == (b->flags & VM_SHARED);
}

static void claim_counters(struct vma *v, struct vma *old,
			   const struct vma_desc *d)
{
	if (old->mark != VMA_GONE)
		return;
	old->mark = VMA_CLAIMED;
	v->minflt += atomic_read(&old->minflt);
	v->majflt += atomic_read(&old->majflt);
	v->fault_age = max(v->fault_age, atomic_read(&old->fault_age));
	if (!d->hints)
		v->nr_private += old->nr_private;
}

/* What the desc of @v leaves open is as in @old. */
static void inherit(struct vma *v, const struct vma *old,
		    const struct vma_desc *d)
{
	v->flags = d->hints ? d->flags : v->flags | (old->flags & VM_HINTS);
	v->file = file_after(old->file, d);
}

/* Take from those where @v is. Return: there were any. */
static bool inherit_by_address(struct vma *v, const struct vma_desc *d)
{
	struct vma *old = find_vma(v->mm, v->start);
	bool found = false;

	for (; old && old->start < v->end; old = to_vma(rb_next(&old->node))) {
		if (!is_gone(old) || !is_in_line(v, old))
			continue;
		if (!found)
			inherit(v, old, d);
		found = true;
		claim_counters(v, old, d);
	}
	return found;
}

/* Take from one that began with the same page elsewhere: mremap(). */
static void inherit_by_page(struct vma *v, const struct vma_desc *d)
{
	struct interval_node *i;

	interval_tree_for_each (i, &v->as->i_mmap, v->rmap.start,
				v->rmap.start) {
		struct vma *old = rmap_vma(i);

		if (old->mm != v->mm || old->mark != VMA_GONE ||
		    old->rmap.start != v->rmap.start ||
		    (old->flags & VM_SHARED) != (v->flags & VM_SHARED))
			continue;
		inherit(v, old, d);
		claim_counters(v, old, d);
		return;
	}
}

static void update_same(struct update *u, struct vma *v,
			const struct vma_desc *d)
{
	u32 flags = flags_after(v, d);

	if (!differs(v, d)) {
		u->change.nr_same++;
		return;
	}
	u->change.nr_changed++;
	if ((v->flags ^ flags) & VM_LOCKED)
		v->mark = VMA_FRESH;
	if (v->flags != flags)
		set_flags(v, flags);
	set_file(v, file_after(v->file, d));
	if (d->hints)
		v->nr_private = d->nr_private;
}

/* @v->file is only a note until link_vma(). */
static void make_vma(struct update *u, const struct vma_desc *d)
{
	struct vma *v = list_first_entry(&u->spare, struct vma, link);

	assert(!list_empty(&u->spare));
	list_move_tail(&v->link, &u->fresh);
	v->mm = u->mm;
	v->as = d->as;
	v->start = d->start;
	v->end = d->end;
	v->rmap.start = d->pgoff;
	v->rmap.last = desc_last(d);
	v->flags = d->hints ? d->flags : d->flags & ~(u32)VM_HINTS;
	v->file = d->file;
	v->nr_private = d->hints ? d->nr_private : 0;
	v->mark = inherit_by_address(v, d) ? VMA_FRESH : VMA_GONE;
	u->change.nr_added++;
}

static void update_descs(struct update *u)
{
	for (u32 i = 0; i < u->nr; i++) {
		const struct vma_desc *d = &u->descs[i];
		struct vma *v = find_vma(u->mm, d->start);

		if (v && is_same(v, d))
			update_same(u, v, d);
		else
			make_vma(u, d);
	}
}

/* Those that take nobody's place may have moved. They come in the order of the
 * descs that they are made of. */
static void find_moved(struct update *u)
{
	struct vma *v;
	u32 i = 0;

	list_for_each_entry (v, &u->fresh, link) {
		while (u->descs[i].start != v->start)
			i++;
		if (v->mark != VMA_FRESH && u->nr_gone)
			inherit_by_page(v, &u->descs[i]);
	}
}

/*
 * If its pages are to be looked at again, keep the address_space until then. If
 * it is the last vma of a file that is being closed, nothing else keeps that
 * from the moment on when it is out of the tree.
 */
static void bury(struct update *u, struct vma *v)
{
	struct address_space *as = v->as;

	file_get(as);
	unlink_vma(v);
	u->change.nr_removed++;
	if (!is_covered(v)) {
		list_add_tail(&v->link, &u->dead);
		return;
	}
	free_vma(u->cache, v);
	file_put(as);
}

static void bury_gone(struct update *u)
{
	struct rb_node *rb = rb_first(&u->mm->vmas);

	while (rb) {
		struct vma *v = to_vma(rb);

		rb = rb_next(rb);
		if (is_gone(v))
			bury(u, v);
	}
}

static void link_fresh(struct update *u)
{
	struct vma *v, *tmp;

	list_for_each_entry_safe (v, tmp, &u->fresh, link) {
		list_del(&v->link);
		v->mark = is_covered(v) ? VMA_SAME : VMA_FRESH;
		link_vma(v, v->file);
	}
}

static void set_comm(struct mm *mm, const char *comm)
{
	size_t len = strnlen(comm, TASK_COMM_LEN - 1);

	memset(mm->comm, 0, sizeof(mm->comm));
	memcpy(mm->comm, comm, len);
}

static void apply(struct update *u)
{
	if (!u->mm) {
		u->mm = u->spare_mm;
		u->spare_mm = NULL;
		u->mm->key = *u->key;
		link_mm(u->cache, u->mm);
	}
	set_comm(u->mm, u->comm);
	update_descs(u);
	find_moved(u);
	bury_gone(u);
	link_fresh(u);
}

/* ---- looking at pages again. Context: update_lock alone ---- */

static void refresh_dead(struct cache *c, struct list_head *dead)
{
	struct vma *v, *tmp;

	list_for_each_entry_safe (v, tmp, dead, link) {
		rmap_refresh(v->as, v->rmap.start, v->rmap.last);
		file_put(v->as);
		free_vma(c, v);
	}
}

/* The next one at or behind *@addr that is FRESH; it is not any more. */
static struct address_space *next_fresh(struct cache *c, struct mm *mm,
					u64 *addr, u64 *ret_first,
					u64 *ret_last)
{
	struct address_space *as = NULL;
	struct vma *v;

	down_read(&c->mms.lock);
	v = find_vma(mm, *addr);
	while (v && v->mark != VMA_FRESH)
		v = to_vma(rb_next(&v->node));
	if (v) {
		v->mark = VMA_SAME;
		*addr = v->end;
		*ret_first = v->rmap.start;
		*ret_last = v->rmap.last;
		as = v->as;
		file_get(as);
	}
	up_read(&c->mms.lock);
	return as;
}

static void refresh_fresh(struct cache *c, struct mm *mm)
{
	struct address_space *as;
	u64 addr = 0;
	u64 first, last;

	while ((as = next_fresh(c, mm, &addr, &first, &last))) {
		rmap_refresh(as, first, last);
		file_put(as);
	}
}

/* ---- mm_update() ---- */

/* Another process has its pid, or it has none. Context: update_lock. */
static void forget_mm(struct cache *c, struct mm *mm)
{
	struct update u = {.cache = c, .mm = mm};
	struct rb_node *rb;

	list_init(&u.dead);
	down_write(&c->mms.lock);
	while ((rb = rb_first(&mm->vmas)))
		bury(&u, to_vma(rb));
	rb_erase(&c->mms.mms, &mm->node, NULL);
	(void)atomic_add(&c->mms.nr_mms, -1);
	up_write(&c->mms.lock);

	refresh_dead(c, &u.dead);
	free_mm(c, mm);
}

/* Context: update_lock, so that the table of mms cannot change. */
static void forget_reused(struct cache *c, const struct mm_key *key)
{
	struct mm *mm = find_pid(&c->mms, key->pid);

	if (mm && mm->key.start_time != key->start_time)
		forget_mm(c, mm);
}

static int update_locked(struct update *u)
{
	struct mm_table *t = &u->cache->mms;
	int err;

	forget_reused(u->cache, u->key);
	u->mm = find_key(t, u->key);
	down_read(&t->lock);
	compare(u);
	up_read(&t->lock);
	if (nothing_to_do(u)) {
		u->change.nr_same = u->nr;
		return 0;
	}
	err = update_alloc(u);
	if (err)
		return err;

	down_write(&t->lock);
	apply(u);
	up_write(&t->lock);
	refresh_dead(u->cache, &u->dead);
	refresh_fresh(u->cache, u->mm);
	return 0;
}

int mm_update(struct cache *c, const struct mm_key *key, const char *comm,
	      const struct vma_desc *descs, u32 nr, struct mm_change *ret)
{
	struct update u = {
		.cache = c,
		.key = key,
		.comm = comm,
		.descs = descs,
		.nr = nr,
	};
	int err;

	if (!descs_ok(c, descs, nr))
		return -EINVAL;
	list_init(&u.spare);
	list_init(&u.fresh);
	list_init(&u.dead);
	mutex_lock(&c->mms.update_lock);
	err = update_locked(&u);
	mutex_unlock(&c->mms.update_lock);
	if (!err && ret)
		*ret = u.change;
	return err;
}

bool mm_lacks_file(struct cache *c, const struct mm_key *key)
{
	struct rb_node *rb;
	struct mm *mm;
	bool lacks = false;

	down_read(&c->mms.lock);
	mm = find_key(&c->mms, key);
	for (rb = mm ? rb_first(&mm->vmas) : NULL; rb && !lacks;
	     rb = rb_next(rb))
		lacks = !to_vma(rb)->file;
	up_read(&c->mms.lock);
	return lacks;
}

/* ---- hints ---- */

static bool hint_differs(const struct vma *v, const struct vma_desc *d)
{
	return ((v->flags ^ d->flags) & VM_HINTS) ||
	       v->nr_private != d->nr_private;
}

static void set_hints(struct vma *v, const struct vma_desc *d)
{
	u32 flags = (v->flags & ~(u32)VM_HINTS) | (d->flags & VM_HINTS);

	if ((v->flags ^ flags) & VM_LOCKED)
		v->mark = VMA_FRESH;
	if (v->flags != flags)
		set_flags(v, flags);
	v->nr_private = d->nr_private;
}

/* Return: how many are where @descs say, *@ret_differ: and are to be changed;
 * they are when @set. */
static long match_hints(struct mm *mm, const struct vma_desc *descs, u32 nr,
			bool set, u32 *ret_differ)
{
	long found = 0;

	*ret_differ = 0;
	for (u32 i = 0; i < nr; i++) {
		struct vma *v = find_vma(mm, descs[i].start);

		if (!v || !is_same(v, &descs[i]))
			continue;
		found++;
		if (!hint_differs(v, &descs[i]))
			continue;
		++*ret_differ;
		if (set)
			set_hints(v, &descs[i]);
	}
	return found;
}

static long hints_locked(struct cache *c, struct mm *mm,
			 const struct vma_desc *descs, u32 nr)
{
	u32 nr_differ;
	long found;

	down_read(&c->mms.lock);
	found = match_hints(mm, descs, nr, false, &nr_differ);
	up_read(&c->mms.lock);
	if (!nr_differ)
		return found;

	down_write(&c->mms.lock);
	found = match_hints(mm, descs, nr, true, &nr_differ);
	up_write(&c->mms.lock);
	refresh_fresh(c, mm);
	return found;
}

long mm_update_hints(struct cache *c, const struct mm_key *key,
		     const struct vma_desc *descs, u32 nr)
{
	struct mm *mm;
	long found = 0;

	mutex_lock(&c->mms.update_lock);
	mm = find_key(&c->mms, key);
	if (mm)
		found = hints_locked(c, mm, descs, nr);
	mutex_unlock(&c->mms.update_lock);
	return found;
}

/* ---- ends ---- */

int mm_exit(struct cache *c, const struct mm_key *key)
{
	struct mm *mm;

	mutex_lock(&c->mms.update_lock);
	mm = find_key(&c->mms, key);
	if (mm)
		forget_mm(c, mm);
	mutex_unlock(&c->mms.update_lock);
	return mm ? 0 : -ESRCH;
}

void mm_forget_file(struct file *f)
{
	struct mm_table *t = &f->mapping->cache->mms;

	if (!__atomic_load_n(&f->nr_vmas, __ATOMIC_ACQUIRE))
		return;
	down_write(&t->lock);
	while (!list_empty(&f->vmas))
		set_file(list_first_entry(&f->vmas, struct vma, link), NULL);
	up_write(&t->lock);
}

/* The pages go with the file: no need to look at them again. */
void mm_forget_mapping(struct address_space *as)
{
	struct mm_table *t = &as->cache->mms;
	struct interval_node *i;

	if (!mapping_mapped(as))
		return;
	down_write(&t->lock);
	while ((i = interval_tree_iter_first(&as->i_mmap, 0, PGOFF_MAX))) {
		struct vma *v = rmap_vma(i);

		unlink_vma(v);
		free_vma(as->cache, v);
	}
	up_write(&t->lock);
}

void mm_table_init(struct mm_table *t)
{
	mutex_init(&t->update_lock, LOCK_MM_UPDATE, "mm update");
	rwsem_init(&t->lock, LOCK_MM, "mm");
	t->mms = RB_ROOT;
}

/* No address_space is left, and so no vma. */
void mm_table_done(struct cache *c)
{
	struct rb_node *rb;

	while ((rb = rb_first(&c->mms.mms))) {
		struct mm *mm = to_mm(rb);

		assert(!mm->nr_vmas);
		rb_erase(&c->mms.mms, rb, NULL);
		free_mm(c, mm);
	}
	rwsem_done(&c->mms.lock);
	mutex_done(&c->mms.update_lock);
}

/* ---- looking ---- */

void vma_copy_info(const struct vma *v, struct vma_info *ret)
{
	*ret = (struct vma_info){
		.key = v->mm->key,
		.ino = v->as->ino,
		.start = v->start,
		.end = v->end,
		.pgoff = v->rmap.start,
		.flags = v->flags,
		.file_known = v->file != NULL,
		.file_id = v->file ? v->file->id : 0,
		.nr_private = v->nr_private,
		.minflt = atomic_read(&v->minflt),
		.majflt = atomic_read(&v->majflt),
	};
	memcpy(ret->comm, v->mm->comm, sizeof(ret->comm));
}

/* Context: lock, shared. Return: how many there are; up to @max are copied. */
static size_t copy_vmas(struct cache *c, const struct address_space *as,
			struct vma_info *ret, size_t max)
{
	struct rb_node *m, *n;
	size_t nr = 0;

	rb_for_each (m, &c->mms.mms)
		rb_for_each (n, &to_mm(m)->vmas) {
			const struct vma *v = to_vma(n);

			if (as && v->as != as)
				continue;
			if (nr < max)
				vma_copy_info(v, &ret[nr]);
			nr++;
		}
	return nr;
}

static size_t copy_mms(struct cache *c, struct mm_info *ret, size_t max)
{
	struct rb_node *rb;
	size_t nr = 0;

	rb_for_each (rb, &c->mms.mms) {
		const struct mm *mm = to_mm(rb);

		if (nr++ >= max)
			continue;
		ret[nr - 1] = (struct mm_info){
			.key = mm->key,
			.nr_vmas = mm->nr_vmas,
			.minflt = atomic_read(&mm->minflt),
			.majflt = atomic_read(&mm->majflt),
		};
		memcpy(ret[nr - 1].comm, mm->comm, sizeof(mm->comm));
	}
	return nr;
}

/* Room for what was counted, and for some that come meanwhile. */
static void *room_for(size_t nr, size_t size, size_t *ret_max)
{
	*ret_max = nr + nr / 8;
	return calloc(*ret_max, size);
}

int mm_snapshot(struct cache *c, struct address_space *as,
		struct vma_info **ret, size_t *ret_nr)
{
	struct vma_info *info = NULL;
	size_t max = 0;
	size_t nr;

	for (;;) {
		down_read(&c->mms.lock);
		nr = copy_vmas(c, as, info, max);
		up_read(&c->mms.lock);
		if (nr <= max)
			break;
		free(info);
		info = room_for(nr, sizeof(*info), &max);
		if (!info)
			return -ENOMEM;
	}
	*ret = info;
	*ret_nr = nr;
	return 0;
}

int mm_list(struct cache *c, struct mm_info **ret, size_t *ret_nr)
{
	struct mm_info *info = NULL;
	size_t max = 0;
	size_t nr;

	for (;;) {
		down_read(&c->mms.lock);
		nr = copy_mms(c, info, max);
		up_read(&c->mms.lock);
		if (nr <= max)
			break;
		free(info);
		info = room_for(nr, sizeof(*info), &max);
		if (!info)
			return -ENOMEM;
	}
	*ret = info;
	*ret_nr = nr;
	return 0;
}

/* ---- checking ---- */

static bool in_i_mmap(const struct vma *v)
{
	struct interval_node *i;

	interval_tree_for_each (i, &v->as->i_mmap, v->rmap.start, v->rmap.start)
		if (i == &v->rmap)
			return true;
	return false;
}

static void check_vma(const struct vma *v)
{
	verify(v->start < v->end);
	verify(v->rmap.last - v->rmap.start + 1 ==
	       (v->end - v->start) >> PAGE_SHIFT);
	verify(in_i_mmap(v));
	verify(v->mark != VMA_FRESH);
	verify((v->file != NULL) == !list_empty(&v->link));
	if (v->file)
		verify(v->file->mapping == v->as);
}

static bool by_address(const struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct vma, node)->start <
	       rb_entry(b, struct vma, node)->start;
}

static bool by_pid(const struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct mm, node)->key.pid <
	       rb_entry(b, struct mm, node)->key.pid;
}

static u64 check_mm(const struct mm *mm)
{
	struct rb_node *rb;
	u64 addr = 0;
	u64 nr = 0;

	rb_check(&mm->vmas, by_address);
	rb_for_each (rb, &mm->vmas) {
		struct vma *v = to_vma(rb);

		verify(v->mm == mm);
		verify(v->start >= addr);
		check_vma(v);
		addr = v->end;
		nr++;
	}
	verify(mm->nr_vmas == nr);
	verify(mm->comm[TASK_COMM_LEN - 1] == 0);
	return nr;
}

void mm_check(struct cache *c)
{
	struct mm_table *t = &c->mms;
	struct address_space *as = NULL;
	struct rb_node *rb;
	u64 nr_mms = 0, nr_vmas = 0, nr_rmap = 0;

	rb_check(&t->mms, by_pid);
	rb_for_each (rb, &t->mms) {
		nr_vmas += check_mm(to_mm(rb));
		nr_mms++;
	}
	verify(t->nr_mms == nr_mms);
	verify(t->nr_vmas == nr_vmas);
	verify(t->bytes == nr_mms * MM_BYTES + nr_vmas * VMA_BYTES);
	while ((as = next_file(c, as)))
		nr_rmap += rmap_check(as);
	verify(nr_rmap == nr_vmas);
}

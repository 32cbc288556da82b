/* SPDX-License-Identifier: MIT */
/*
 * The reverse map: from a page to the mappings of it, and what they mean for
 * the page.
 *
 * Pages that a vma maps carry PG_MAPPED, those that an mlocked one maps
 * PG_MLOCKED too: so a page that nobody maps costs reclaim nothing, and how
 * many are mapped is known at any time. The flags change under tree_lock. A
 * page gets them when it comes into the tree, from the i_mmap as it is then.
 * When a vma comes or goes, its file's i_mmap is changed first, and then the
 * pages in its range are looked at again, in gangs (rmap_refresh()): one that
 * comes in meanwhile sees the new i_mmap already. So when mm_update() returns
 * all pages say what is true, and nobody held tree_lock for long. It costs one
 * look at each resident page of a range that was mapped or unmapped.
 *
 * Reclaim and mapped pages
 * ------------------------
 *
 * Uses of a mapped page are invisible here: the kernel has its own copy, and
 * asks again only when that is gone. What can be seen is that somebody works
 * with the mapping: faults come. So a page at the cold end, mapped by a vma
 * that was faulted lately, is spared, once: PG_SPARED says that it was. The
 * next time it goes, unless it was read meanwhile and so became hot. A page is
 * spared at most once for each time that it becomes inactive, so that reclaim
 * gets on however much is mapped. "Lately" is counted in frames taken since,
 * as the distance of a refault is (workingset.c): fewer than the cache has, or
 * everything else has been replaced since then.
 *
 * An mlocked page does not go at all; it is on the unevictable list. But only
 * three quarters of the frames are given to such pages: a process may lock more
 * than there is, and others have to get on as well. What is locked beyond that
 * goes like any other page; the kernel has the copy that mlock() promises.
 */
#include "config.h"

#include "internal.h"

#define REFRESH_GANG 64

/* ---- looking at i_mmap. Context: tree_lock or LOCK_MM ---- */

static struct interval_node *first_vma(const struct address_space *as,
				       u64 pgoff)
{
	return interval_tree_iter_first(&as->i_mmap, pgoff, pgoff);
}

static u32 flags_over(const struct address_space *as, u64 pgoff, u32 stop_at)
{
	struct interval_node *i;
	u32 flags = 0;

	interval_tree_for_each (i, &as->i_mmap, pgoff, pgoff) {
		flags |= rmap_vma(i)->flags;
		if (flags & stop_at)
			break;
	}
	return flags;
}

static bool is_mlocked(const struct address_space *as, u64 pgoff)
{
	return atomic_read(&as->nr_locked_vmas) &&
	       (flags_over(as, pgoff, VM_LOCKED) & VM_LOCKED);
}

/* Context: tree_lock. */
static bool is_kept(const struct page *p)
{
	const struct address_space *as = p->mapping;
	const struct cache *c = as->cache;
	u64 others = atomic_read(&c->nr_mlocked) - page_test(p, PG_MLOCKED);

	return is_mlocked(as, p->index) &&
	       others < (u64)frames_limit(c) / 4 * 3;
}

static u64 count_vmas(const struct address_space *as, u64 first, u64 last)
{
	struct interval_node *i;
	u64 nr = 0;

	interval_tree_for_each (i, &as->i_mmap, first, last)
		nr++;
	return nr;
}

/* ---- flags of pages. Context: tree_lock ---- */

static void account_mapped(struct address_space *as, s64 nr)
{
	(void)atomic_add(&as->nr_mapped, nr);
	(void)atomic_add(&as->cache->nr_mapped, nr);
}

static void account_mlocked(struct address_space *as, s64 nr)
{
	(void)atomic_add(&as->cache->nr_mlocked, nr);
}

static void set_mapped(struct page *p, bool mapped)
{
	if (mapped == page_test(p, PG_MAPPED))
		return;
	if (mapped)
		page_set(p, PG_MAPPED);
	else
		(void)page_test_clear(p, PG_MAPPED);
	account_mapped(p->mapping, mapped ? 1 : -1);
}

/* Return: whether it was otherwise. */
static bool set_mlocked(struct page *p, bool mlocked)
{
	if (mlocked == page_test(p, PG_MLOCKED))
		return false;
	if (mlocked)
		page_set(p, PG_MLOCKED);
	else
		(void)page_test_clear(p, PG_MLOCKED);
	account_mlocked(p->mapping, mlocked ? 1 : -1);
	return true;
}

void rmap_page_install(struct page *p)
{
	const struct address_space *as = p->mapping;

	if (likely(!mapping_mapped(as)))
		return;
	set_mapped(p, first_vma(as, p->index) != NULL);
	(void)set_mlocked(p, is_kept(p));
}

void rmap_page_remove(struct page *p)
{
	if (likely(!page_test(p, PG_MAPPED | PG_MLOCKED)))
		return;
	set_mapped(p, false);
	(void)set_mlocked(p, false);
}

/* ---- looking at pages again ---- */

/* Return: entries seen. Pages that belong on another list now are returned with
 * a reference. */
static u32 refresh_gang(struct address_space *as, u64 *next, u64 last,
			struct page **ret_moved, u32 *ret_nr)
{
	u64 index[REFRESH_GANG];
	u64 entry[REFRESH_GANG];
	u32 nr;

	*ret_nr = 0;
	mutex_lock(&as->tree_lock);
	nr = page_tree_gang(&as->tree, *next, last, index, entry, REFRESH_GANG);
	for (u32 i = 0; i < nr; i++) {
		struct page *p;

		if (entry_kind(entry[i]) != ENTRY_PAGE)
			continue;
		p = frame_page(as->cache, entry_value(entry[i]));
		set_mapped(p, first_vma(as, index[i]) != NULL);
		if (!set_mlocked(p, is_kept(p)))
			continue;
		get_page(p);
		ret_moved[(*ret_nr)++] = p;
	}
	mutex_unlock(&as->tree_lock);
	if (nr)
		*next = index[nr - 1] + 1;
	return nr;
}

void rmap_refresh(struct address_space *as, u64 first, u64 last)
{
	struct cache *c = as->cache;
	struct page *moved[REFRESH_GANG];
	u32 nr_moved;
	u32 nr;

	do {
		nr = refresh_gang(as, &first, last, moved, &nr_moved);
		for (u32 i = 0; i < nr_moved; i++) {
			lock_page(moved[i], c);
			if (moved[i]->mapping)
				lru_place(c, &moved[i], 1);
			unlock_page(moved[i], c);
			put_page(c, moved[i]);
		}
	} while (nr == REFRESH_GANG);
}

void rmap_limit_mlocked(struct cache *c)
{
	struct address_space *as = NULL;

	while ((as = next_file(c, as)))
		if (atomic_read(&as->nr_locked_vmas))
			rmap_refresh(as, 0, PGOFF_MAX);
}

/* ---- what the rest of the cache asks ---- */

/* Whether fewer frames were taken since the last fault than there are. */
static bool faulted_lately(const struct cache *c, const struct vma *v)
{
	u64 age = atomic_read(&c->count.pgalloc) - atomic_read(&v->fault_age);

	return (atomic_read(&v->minflt) || atomic_read(&v->majflt)) &&
	       age < frames_limit(c);
}

bool rmap_spare(struct page *p)
{
	struct address_space *as = p->mapping;
	struct interval_node *i;
	bool lately = false;

	if (!page_test(p, PG_MAPPED) || page_test(p, PG_SPARED))
		return false;
	mutex_lock(&as->tree_lock);
	interval_tree_for_each (i, &as->i_mmap, p->index, p->index) {
		lately = faulted_lately(as->cache, rmap_vma(i));
		if (lately)
			break;
	}
	mutex_unlock(&as->tree_lock);
	if (!lately)
		return false;
	page_set(p, PG_SPARED);
	count_inc(as->cache, rmap_referenced);
	return true;
}

u32 rmap_read_hints(struct address_space *as, u64 pgoff)
{
	u32 flags;

	if (likely(!atomic_read(&as->nr_hinted_vmas)))
		return 0;
	mutex_lock(&as->tree_lock);
	flags = flags_over(as, pgoff, 0);
	mutex_unlock(&as->tree_lock);
	return flags & (VM_RAND_READ | VM_SEQ_READ);
}

u64 rmap_count(struct address_space *as, u64 first, u64 last)
{
	u64 nr;

	if (likely(!mapping_mapped(as)))
		return 0;
	mutex_lock(&as->tree_lock);
	nr = count_vmas(as, first, last);
	mutex_unlock(&as->tree_lock);
	return nr;
}

/* ---- what others ask ---- */

u64 rmap_walk(struct address_space *as, u64 first, u64 last,
	      bool (*fn)(const struct vma *vma, void *arg), void *arg)
{
	struct rwsem *lock = &as->cache->mms.lock;
	struct interval_node *i;
	u64 nr = 0;

	if (!mapping_mapped(as))
		return 0;
	down_read(lock);
	interval_tree_for_each (i, &as->i_mmap, first, last) {
		nr++;
		if (!fn(rmap_vma(i), arg))
			break;
	}
	up_read(lock);
	return nr;
}

struct rmap_copy {
	u64 first, last;
	struct vma_info *ret;
	size_t nr, max;
};

static bool copy_one(const struct vma *v, void *arg)
{
	struct rmap_copy *copy = arg;
	struct vma_info *info = &copy->ret[copy->nr];
	u64 skip, cut;

	if (copy->nr++ >= copy->max)
		return true;
	skip = copy->first > v->rmap.start ? copy->first - v->rmap.start : 0;
	cut = v->rmap.last > copy->last ? v->rmap.last - copy->last : 0;
	vma_copy_info(v, info);
	info->start += skip << PAGE_SHIFT;
	info->pgoff += skip;
	info->end -= cut << PAGE_SHIFT;
	return true;
}

size_t rmap_snapshot(struct address_space *as, u64 first, u64 last,
		     struct vma_info *ret, size_t max)
{
	struct rmap_copy copy = {
		.first = first,
		.last = last,
		.ret = ret,
		.max = max,
	};

	(void)rmap_walk(as, first, last, copy_one, &copy);
	return copy.nr;
}

/* ---- faults. Context: tree_lock, which keeps the vma, its mm and file ---- */

static struct vma *find_faulted(struct address_space *as, u32 pid, u64 first,
				u64 last)
{
	struct interval_node *i;

	interval_tree_for_each (i, &as->i_mmap, first, last)
		if (rmap_vma(i)->mm->key.pid == pid)
			return rmap_vma(i);
	return NULL;
}

static void count_minor(struct address_space *as, struct vma *v, u64 nr)
{
	(void)atomic_add(&v->minflt, nr);
	(void)atomic_add(&v->mm->minflt, nr);
	(void)atomic_add(&as->minflt, nr);
	if (v->file)
		(void)atomic_add(&v->file->minflt, nr);
}

static void count_major(struct address_space *as, struct vma *v, u64 nr)
{
	(void)atomic_add(&v->majflt, nr);
	(void)atomic_add(&v->mm->majflt, nr);
	(void)atomic_add(&as->majflt, nr);
	if (v->file)
		(void)atomic_add(&v->file->majflt, nr);
	count_add(as->cache, pgmajfault, nr);
}

static u64 nr_major(const struct fault_sum *sum)
{
	return sum->nr[FAULT_VOLUME] + sum->nr[FAULT_SLOT];
}

bool mm_account_faults(struct address_space *as, u32 pid,
		       const struct fault_sum *sum)
{
	struct cache *c = as->cache;
	struct vma *v;

	if (!mapping_mapped(as))
		return false;
	mutex_lock(&as->tree_lock);
	v = find_faulted(as, pid, sum->first, sum->last);
	if (v) {
		count_add(c, pgfault, fault_sum_reads(sum));
		count_add(c, pgmajfault_swap, sum->nr[FAULT_SLOT]);
		atomic_set(&v->fault_age, atomic_read(&c->count.pgalloc));
		count_major(as, v, nr_major(sum));
		count_minor(as, v, sum->nr[FAULT_MINOR]);
	}
	mutex_unlock(&as->tree_lock);
	return v != NULL;
}

bool mm_account_fault(struct address_space *as, u32 pid,
		      const struct read_fault *fault)
{
	struct fault_sum sum;

	if (!mapping_mapped(as) || !fault->nr)
		return false;
	fault_sum_init(&sum, fault);
	return mm_account_faults(as, pid, &sum);
}

void mm_account_fills(struct address_space *as, const struct fault_sum *sum)
{
	(void)atomic_add(&as->nr_fills, fault_sum_reads(sum));
	count_add(as->cache, pgfill, fault_sum_reads(sum));
	count_add(as->cache, pgmajfill, nr_major(sum));
}

void mm_account_fill(struct address_space *as, const struct read_fault *fault)
{
	struct fault_sum sum;

	if (!fault->nr)
		return;
	fault_sum_init(&sum, fault);
	mm_account_fills(as, &sum);
}

/* ---- checking ---- */

void rmap_page_check(const struct page *p)
{
	const struct address_space *as = p->mapping;

	verify(page_test(p, PG_MAPPED) == (first_vma(as, p->index) != NULL));
	verify(!page_test(p, PG_MLOCKED) || is_mlocked(as, p->index));
}

u64 rmap_check(struct address_space *as)
{
	struct interval_node *i;
	u64 nr = 0, nr_locked = 0, nr_hinted = 0;

	mutex_lock(&as->tree_lock);
	interval_tree_check(&as->i_mmap);
	interval_tree_for_each (i, &as->i_mmap, 0, PGOFF_MAX) {
		const struct vma *v = rmap_vma(i);

		verify(v->as == as);
		nr++;
		nr_locked += (v->flags & VM_LOCKED) != 0;
		nr_hinted += (v->flags & (VM_RAND_READ | VM_SEQ_READ)) != 0;
	}
	mutex_unlock(&as->tree_lock);
	verify(as->nr_vmas == nr);
	verify(as->nr_locked_vmas == nr_locked);
	verify(as->nr_hinted_vmas == nr_hinted);
	return nr;
}

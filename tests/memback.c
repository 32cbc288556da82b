/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "internal.h"
#include "memback.h"

/* ---- faults ---- */

void mem_fail(struct memback *mb, u32 mask, u64 n, int err, bool forever)
{
	mutex_lock(&mb->lock);
	mb->fail_mask = n ? mask : 0;
	mb->fail_at = n;
	mb->fail_seen = 0;
	mb->fail_err = err;
	mb->fail_forever = forever;
	mutex_unlock(&mb->lock);
}

/* Count a call. Context: locked. Return: 0 or the error to fail with. */
static int enter(struct memback *mb, enum mem_op op, u64 pages)
{
	mb->calls[op]++;
	mb->pages[op] += pages;
	if (!(mb->fail_mask & 1u << op))
		return 0;
	mb->fail_seen++;
	if (mb->fail_seen != mb->fail_at &&
	    !(mb->fail_forever && mb->fail_seen > mb->fail_at))
		return 0;
	mb->nr_failed++;
	/* Space fails for want of it and in no other way. */
	if (op == MEM_RESERVE || op == MEM_ALLOC)
		return -ENOSPC;
	return mb->fail_err;
}

/* ---- blocks ---- */

static u64 sum_of(const void *page)
{
	const u64 *w = page;
	u64 h = 0x9e3779b97f4a7c15u;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		h = (h ^ w[i]) * 0xff51afd7ed558ccdu + (h >> 29);
	return h | 1;
}

static void alloc_area(struct memback *mb, u32 want, slot_t *ret_start,
		       u32 *ret_nr)
{
	u32 start = 1, nr = 0;

	while (mb->area[start].use != BLOCK_FREE)
		start++;
	while (nr < want && start + nr < mb->nr_area &&
	       mb->area[start + nr].use == BLOCK_FREE)
		mb->area[start + nr++].use = BLOCK_SLOT;
	mb->nr_area_free -= nr;
	*ret_start = SLOT_FOREIGN | start;
	*ret_nr = nr;
}

static void alloc_blocks(struct memback *mb, u32 want, slot_t *ret_start,
			 u32 *ret_nr)
{
	u32 start = mb->hand, nr = 0;

	while (mb->blocks[start].use != BLOCK_FREE)
		start = start + 1 < mb->nr_blocks ? start + 1 : 1;
	while (nr < want && start + nr < mb->nr_blocks &&
	       mb->blocks[start + nr].use == BLOCK_FREE)
		mb->blocks[start + nr++].use = BLOCK_SLOT;
	mb->nr_free -= nr;
	mb->hand = start + nr < mb->nr_blocks ? start + nr : 1;
	*ret_start = start;
	*ret_nr = nr;
}

static int mem_alloc(void *arg, u32 want, bool commit, slot_t *ret_start,
		     u32 *ret_nr)
{
	struct memback *mb = arg;
	bool area = mb->nr_area && !commit;
	int err;

	mutex_lock(&mb->lock);
	err = enter(mb, MEM_ALLOC, want);
	if (!err && !(area ? mb->nr_area_free : mb->nr_free))
		err = -ENOSPC;
	if (mb->max_run)
		want = min(want, mb->max_run);
	if (!err && area)
		alloc_area(mb, want, ret_start, ret_nr);
	else if (!err)
		alloc_blocks(mb, want, ret_start, ret_nr);
	mutex_unlock(&mb->lock);
	return err;
}

/* The block of a slot. */
static struct memblock *slot_block(struct memback *mb, slot_t slot)
{
	return slot & SLOT_FOREIGN ? &mb->area[slot & ~SLOT_FOREIGN]
				   : &mb->blocks[slot];
}

static void free_memblock(struct memblock *b, enum block_use was)
{
	verify(b->use == was);
	b->use = BLOCK_FREE;
	/* Whoever reads it still is told by the sum. */
	if (b->data)
		memset(b->data, 0x5a, PAGE_SIZE);
}

static void free_block(struct memback *mb, u32 block, enum block_use was)
{
	free_memblock(&mb->blocks[block], was);
	mb->nr_free++;
}

static void mem_free(void *arg, slot_t start, u32 nr)
{
	struct memback *mb = arg;

	mutex_lock(&mb->lock);
	for (u32 i = 0; i < nr; i++)
		free_memblock(slot_block(mb, start + i), BLOCK_SLOT);
	if (start & SLOT_FOREIGN)
		mb->nr_area_free += nr;
	else
		mb->nr_free += nr;
	mutex_unlock(&mb->lock);
}

static void store(struct memback *mb, struct memblock *b, const void *page)
{
	if (!b->data)
		b->data = malloc(PAGE_SIZE);
	verify(b->data);
	memcpy(b->data, page, PAGE_SIZE);
	b->epoch = mb->epoch;
}

static int mem_write(void *arg, slot_t start, u32 nr, void *const *pages,
		     u64 *ret_sums, u64 *ret_epoch)
{
	struct memback *mb = arg;
	int err;

	mutex_lock(&mb->lock);
	err = enter(mb, MEM_WRITE, nr);
	for (u32 i = 0; !err && i < nr; i++) {
		struct memblock *b = slot_block(mb, start + i);

		verify(b->use == BLOCK_SLOT);
		store(mb, b, pages[i]);
		ret_sums[i] = sum_of(pages[i]);
	}
	*ret_epoch = start & SLOT_FOREIGN ? 0 : mb->epoch;
	mutex_unlock(&mb->lock);
	return err;
}

static int load(const struct memblock *b, u64 sum, void *page)
{
	if (!b->data || sum_of(b->data) != sum)
		return -EIO;
	memcpy(page, b->data, PAGE_SIZE);
	return 0;
}

static int mem_read(void *arg, slot_t start, u32 nr, void *const *pages,
		    const u64 *sums, int *errs)
{
	struct memback *mb = arg;
	int err;

	mutex_lock(&mb->lock);
	err = enter(mb, MEM_READ, nr);
	for (u32 i = 0; !err && i < nr; i++)
		errs[i] = load(slot_block(mb, start + i), sums[i], pages[i]);
	mutex_unlock(&mb->lock);
	return err;
}

static const struct swap_operations mem_swap_ops = {
	.alloc = mem_alloc,
	.write = mem_write,
	.read = mem_read,
	.free = mem_free,
};

/* ---- files ---- */

static struct memfile *mf_of(struct address_space *as)
{
	return container_of(as, struct memfile, as);
}

static int get_page_locked(struct memfile *mf, u64 pgoff, void *page)
{
	u64 start = pgoff << PAGE_SHIFT;

	memset(page, 0, PAGE_SIZE);
	if (pgoff >= mf->nr_pages || !mf->map[pgoff] || start >= mf->size)
		return 0;
	if (load(&mf->mb->blocks[mf->map[pgoff]], mf->sums[pgoff], page))
		return -EIO;
	if (mf->size - start < PAGE_SIZE)
		memset((u8 *)page + (mf->size - start), 0,
		       PAGE_SIZE - (size_t)(mf->size - start));
	return 0;
}

static int mem_read_pages(struct address_space *as, u64 pgoff, u32 nr,
			  void *const *pages, int *errs)
{
	struct memfile *mf = mf_of(as);
	int err;

	mutex_lock(&mf->mb->lock);
	err = enter(mf->mb, MEM_READ_PAGES, nr);
	for (u32 i = 0; !err && i < nr; i++)
		errs[i] = get_page_locked(mf, pgoff + i, pages[i]);
	mutex_unlock(&mf->mb->lock);
	return err;
}

static void mem_read_failed(struct address_space *as, u64 pgoff, u32 nr,
			    int err)
{
	struct memfile *mf = mf_of(as);

	mutex_lock(&mf->mb->lock);
	mf->bad_pgoff = pgoff;
	mf->bad_nr = nr;
	mf->bad_err = err;
	mutex_unlock(&mf->mb->lock);
}

static int mem_next_extent(struct address_space *as, u64 pgoff,
			   enum extent_kind *ret_kind, u64 *ret_end)
{
	struct memfile *mf = mf_of(as);
	u64 end = pgoff;
	bool data;

	mutex_lock(&mf->mb->lock);
	data = pgoff < mf->nr_pages && mf->map[pgoff];
	while (end < mf->nr_pages && !!mf->map[end] == data)
		end++;
	mutex_unlock(&mf->mb->lock);
	*ret_kind = data ? EXTENT_DATA : EXTENT_HOLE;
	*ret_end = end < mf->nr_pages ? end : PGOFF_MAX + 1;
	return 0;
}

static int mem_reserve(struct address_space *as, u32 nr)
{
	struct memback *mb = mf_of(as)->mb;
	int err;

	mutex_lock(&mb->lock);
	err = enter(mb, MEM_RESERVE, nr);
	if (!err && mb->nr_free < mb->nr_reserved + nr)
		err = -ENOSPC;
	if (!err)
		mb->nr_reserved += nr;
	mutex_unlock(&mb->lock);
	return err;
}

static void mem_unreserve(struct address_space *as, u32 nr)
{
	struct memback *mb = mf_of(as)->mb;

	mutex_lock(&mb->lock);
	verify(mb->nr_reserved >= nr);
	mb->nr_reserved -= nr;
	mutex_unlock(&mb->lock);
}

static void mem_content_changed(struct address_space *as, enum change why,
				u64 pos, u64 len, void *arg)
{
	struct memfile *mf = mf_of(as);

	(void)__atomic_fetch_add(&mf->nr_changed, 1, __ATOMIC_RELAXED);
}

static const struct address_space_operations mem_ops = {
	.read_pages = mem_read_pages,
	.read_failed = mem_read_failed,
	.next_extent = mem_next_extent,
	.reserve = mem_reserve,
	.unreserve = mem_unreserve,
	.content_changed = mem_content_changed,
};

void memfile_init(struct memfile *mf, struct memback *mb, u64 ino,
		  u64 max_pages)
{
	*mf = (struct memfile){.mb = mb, .nr_pages = max_pages};
	mf->map = calloc(max_pages, sizeof(*mf->map));
	mf->sums = calloc(max_pages, sizeof(*mf->sums));
	verify(mf->map && mf->sums);
	address_space_init(&mf->as, mb->cache, &mem_ops, ino, 0);
	file_init(&mf->f, &mf->as);
}

void memfile_done(struct memfile *mf)
{
	struct memback *mb = mf->mb;

	file_done(&mf->f);
	address_space_done(&mf->as);
	mutex_lock(&mb->lock);
	for (u64 i = 0; i < mf->nr_pages; i++)
		if (mf->map[i])
			free_block(mb, mf->map[i], BLOCK_COMMITTED);
	mutex_unlock(&mb->lock);
	free(mf->map);
	free(mf->sums);
}

static u32 take_block(struct memback *mb)
{
	u32 block = 1;

	while (mb->blocks[block].use != BLOCK_FREE)
		verify(++block < mb->nr_blocks);
	mb->blocks[block].use = BLOCK_COMMITTED;
	mb->nr_free--;
	return block;
}

static void set_block(struct memfile *mf, u64 pgoff, u32 block, u64 sum)
{
	verify(pgoff < mf->nr_pages);
	if (mf->map[pgoff])
		free_block(mf->mb, mf->map[pgoff], BLOCK_COMMITTED);
	mf->map[pgoff] = block;
	mf->sums[pgoff] = sum;
}

static void put_locked(struct memfile *mf, u64 pgoff, const void *page)
{
	u32 block = take_block(mf->mb);

	store(mf->mb, &mf->mb->blocks[block], page);
	set_block(mf, pgoff, block, sum_of(page));
}

void memfile_put(struct memfile *mf, u64 pgoff, const void *page)
{
	u64 end = (pgoff + 1) << PAGE_SHIFT;

	mutex_lock(&mf->mb->lock);
	put_locked(mf, pgoff, page);
	mf->size = max(mf->size, end);
	mutex_unlock(&mf->mb->lock);
	mf->as.i_size = mf->size;
}

void memfile_get(struct memfile *mf, u64 pgoff, void *page)
{
	mutex_lock(&mf->mb->lock);
	verify(get_page_locked(mf, pgoff, page) == 0);
	mutex_unlock(&mf->mb->lock);
}

/* ---- the committer ---- */

void mem_commit_begin(struct memback *mb) __no_tsa
{
	verify(!mb->commit);
	mb->commit = commit_new(mb->cache);
	verify(mb->commit);
	mb->runs = NULL;
	mb->last_run = &mb->runs;
	down_write(&mb->stop);
}

void mem_commit_add(struct memback *mb, struct memfile *mf)
{
	commit_add(mb->commit, &mf->as);
}

void mem_commit_cut_end(struct memback *mb) __no_tsa
{
	up_write(&mb->stop);
}

int mem_commit_writeout(struct memback *mb, u32 inline_pages)
{
	return commit_writeout(mb->commit, inline_pages);
}

static void add_run(struct memback *mb, const struct commit_run *run)
{
	struct memrun *r = calloc(1, sizeof(*r));

	verify(r);
	r->run = *run;
	if (run->kind == COMMIT_SLOTS) {
		verify(run->nr >= 1 && run->nr <= 256);
		memcpy(r->sums, run->sums, run->nr * sizeof(u64));
	} else if (run->kind == COMMIT_INLINE) {
		memcpy(r->page, run->data, PAGE_SIZE);
	}
	*mb->last_run = r;
	mb->last_run = &r->next;
}

static void apply_punch(struct memfile *mf, u64 pgoff, u64 nr)
{
	u64 end = min(pgoff + nr, mf->nr_pages);

	for (; pgoff < end; pgoff++)
		if (mf->map[pgoff])
			set_block(mf, pgoff, 0, 0);
}

static void apply_slots(struct memfile *mf, const struct memrun *r)
{
	struct memback *mb = mf->mb;

	for (u64 i = 0; i < r->run.nr; i++) {
		u32 block = (u32)(r->run.slot + i);

		verify(mb->blocks[block].use == BLOCK_SLOT);
		verify(mb->blocks[block].epoch <= mb->flushed_epoch);
		mb->blocks[block].use = BLOCK_COMMITTED;
		set_block(mf, r->run.pgoff + i, block, r->sums[i]);
	}
}

static void apply_run(struct memrun *r)
{
	struct memfile *mf = mf_of(r->run.as);

	switch (r->run.kind) {
	case COMMIT_FILE:
		mf->size = r->run.size;
		break;
	case COMMIT_PUNCH:
		apply_punch(mf, r->run.pgoff, r->run.nr);
		break;
	case COMMIT_SLOTS:
		apply_slots(mf, r);
		break;
	case COMMIT_INLINE:
		put_locked(mf, r->run.pgoff, r->page);
		break;
	case COMMIT_FILE_END:
		break;
	}
}

/* Runs of a file come in the order that the header promises. */
static void check_order(const struct memrun *r)
{
	const struct commit_run *last = NULL;

	for (; r; r = r->next) {
		const struct commit_run *run = &r->run;

		if (!last || last->kind == COMMIT_FILE_END)
			verify(run->kind == COMMIT_FILE);
		else
			verify(run->kind != COMMIT_FILE && run->as == last->as);
		if (run->kind == COMMIT_PUNCH)
			verify(last->kind == COMMIT_FILE ||
			       (last->kind == COMMIT_PUNCH &&
				last->pgoff + last->nr < run->pgoff));
		if (last &&
		    (last->kind == COMMIT_SLOTS ||
		     last->kind == COMMIT_INLINE) &&
		    run->kind != COMMIT_FILE_END)
			verify(last->pgoff + last->nr <= run->pgoff);
		last = run;
	}
	verify(!last || last->kind == COMMIT_FILE_END);
}

void mem_commit_transact(struct memback *mb, int err)
{
	struct commit_run run;
	struct memrun *r;
	int more;

	while ((more = commit_next(mb->commit, &run)) > 0)
		add_run(mb, &run);
	verify(more == 0);
	check_order(mb->runs);

	mutex_lock(&mb->lock);
	if (!err)
		mb->flushed_epoch = mb->epoch++;
	while ((r = mb->runs)) {
		if (!err)
			apply_run(r);
		mb->runs = r->next;
		free(r);
	}
	mutex_unlock(&mb->lock);
}

void mem_commit_end(struct memback *mb, int err)
{
	commit_end(mb->commit, err);
	commit_free(mb->commit);
	mb->commit = NULL;
}

int mem_commit(struct memback *mb, struct memfile *const *files, u32 nr,
	       u32 inline_pages, int err)
{
	int ret;

	mem_commit_begin(mb);
	for (u32 i = 0; i < nr; i++)
		mem_commit_add(mb, files[i]);
	mem_commit_cut_end(mb);
	ret = mem_commit_writeout(mb, inline_pages);
	for (u32 i = 0; i < nr && !ret; i++)
		ret = commit_file_error(&files[i]->as);
	mem_commit_transact(mb, err);
	mem_commit_end(mb, err);
	return ret;
}

/* ---- all ---- */

static u64 mem_now(void *arg)
{
	struct memback *mb = arg;

	return __atomic_load_n(&mb->now, __ATOMIC_RELAXED);
}

static void mem_want_commit(void *arg, enum commit_reason why)
{
	struct memback *mb = arg;

	(void)__atomic_fetch_add(&mb->wanted[why], 1, __ATOMIC_RELAXED);
}

void mem_init(struct memback *mb, u64 pages, u64 max_pages, u32 blocks)
{
	struct cache_config cfg = {
		.size = pages << PAGE_SHIFT,
		.max_size = max_pages << PAGE_SHIFT,
		.swap_ops = &mem_swap_ops,
		.swap_arg = mb,
		.now = mem_now,
		.now_arg = mb,
		.stop = &mb->stop,
		.want_commit = mem_want_commit,
		.want_commit_arg = mb,
	};

	*mb = (struct memback){
		.nr_blocks = blocks + 1,
		.nr_free = blocks,
		.hand = 1,
		.epoch = 1,
		.now = 1000 * NSEC_PER_SEC,
	};
	mb->blocks = calloc(mb->nr_blocks, sizeof(*mb->blocks));
	verify(mb->blocks);
	mutex_init(&mb->lock, LOCK_LEAF, "memback");
	rwsem_init(&mb->stop, LOCK_STOP, "stop");
	verify(cache_new(&cfg, &mb->cache) == 0);
}

void mem_swap_area(struct memback *mb, u32 blocks)
{
	mb->nr_area = blocks + 1;
	mb->nr_area_free = blocks;
	mb->area = calloc(mb->nr_area, sizeof(*mb->area));
	verify(mb->area);
}

void mem_done(struct memback *mb)
{
	cache_free(mb->cache);
	verify(mb->nr_reserved == 0);
	verify(mb->nr_free == mb->nr_blocks - 1);
	for (u32 i = 0; i < mb->nr_blocks; i++)
		free(mb->blocks[i].data);
	free(mb->blocks);
	verify(!mb->nr_area || mb->nr_area_free == mb->nr_area - 1);
	for (u32 i = 0; i < mb->nr_area; i++)
		free(mb->area[i].data);
	free(mb->area);
	mutex_done(&mb->lock);
	rwsem_done(&mb->stop);
}

/* Reservations of pages, in trees or detached, and of foreign slots. */
static u64 count_reserved(struct cache *c)
{
	u64 nr = 0;

	for (u32 f = 1; f < c->frames.fresh; f++)
		nr += c->pages[f].refs && page_test(&c->pages[f], PG_RESERVED);
	for (u32 swp = 1; swp < c->swap.high; swp++) {
		const struct swap_entry *e = swp_entry(c, swp);

		nr += u48_get(&e->slot) && e->flags & SWP_RESERVED;
	}
	return nr;
}

void mem_check(struct memback *mb)
{
	u64 nr_slots = 0;

	cache_check(mb->cache);
	for (u32 i = 1; i < mb->nr_blocks; i++)
		nr_slots += mb->blocks[i].use == BLOCK_SLOT;
	for (u32 i = 1; i < mb->nr_area; i++)
		nr_slots += mb->area[i].use == BLOCK_SLOT;
	verify(nr_slots == atomic_read(&mb->cache->swap.nr_slots) ||
	       mb->commit);
	verify(count_reserved(mb->cache) == mb->nr_reserved);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "copies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (COPIES_CHUNK / 64)

struct chunk {
	struct rb_node node;
	struct list_head lru;
	u64 ino;
	u64 index;
	u64 bits[WORDS];
	u32 nr_bits;
	u32 nr_left; /* stayed when the chunk was taken back the last time */
	u32 tids[COPIES_TIDS];
	u32 next_tid;
};

void copies_init(struct copies *c)
{
	*c = (struct copies){0};
	list_init(&c->lru);
}

void copies_done(struct copies *c)
{
	copies_forget(c, 0);
}

/* Which ones are left is not known: others, at worst. */
static u32 chunk_pages(const struct chunk *k)
{
	return min(k->nr_bits + k->nr_left, COPIES_CHUNK);
}

static void count_chunk(struct copies *c, const struct chunk *k)
{
	c->nr_pages += chunk_pages(k);
	c->nr_fresh += k->nr_bits;
}

static void uncount_chunk(struct copies *c, const struct chunk *k)
{
	c->nr_pages -= chunk_pages(k);
	c->nr_fresh -= k->nr_bits;
}

static int compare(u64 ino, u64 index, const struct chunk *k)
{
	if (ino != k->ino)
		return ino < k->ino ? -1 : 1;
	if (index != k->index)
		return index < k->index ? -1 : 1;
	return 0;
}

/* Where the chunk hangs, or is to hang, below @parent. */
static struct rb_node **chunk_find(struct copies *c, u64 ino, u64 index,
				   struct rb_node **parent)
{
	struct rb_node **link = &c->chunks.node;

	*parent = NULL;
	while (*link) {
		int side = compare(ino, index,
				   rb_entry(*link, struct chunk, node));

		if (!side)
			break;
		*parent = *link;
		link = side < 0 ? &(*link)->left : &(*link)->right;
	}
	return link;
}

static struct chunk *chunk_get(struct copies *c, u64 ino, u64 index)
{
	struct rb_node *parent;
	struct rb_node **link = chunk_find(c, ino, index, &parent);
	struct chunk *k;

	if (*link)
		return rb_entry(*link, struct chunk, node);

	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->ino = ino;
	k->index = index;
	rb_insert(&c->chunks, &k->node, parent, link, NULL);
	list_add_tail(&k->lru, &c->lru);
	c->nr_chunks++;
	return k;
}

static void chunk_free(struct copies *c, struct chunk *k)
{
	rb_erase(&c->chunks, &k->node, NULL);
	list_del(&k->lru);
	uncount_chunk(c, k);
	c->nr_chunks--;
	free(k);
}

static void chunk_set(struct chunk *k, u64 first, u64 last)
{
	for (u64 i = first; i <= last; i++) {
		u64 bit = 1ull << (i % 64);

		k->nr_bits += !(k->bits[i / 64] & bit);
		k->bits[i / 64] |= bit;
	}
}

static void chunk_note_tid(struct chunk *k, u32 tid)
{
	for (u32 i = 0; i < COPIES_TIDS; i++) {
		if (!tid || k->tids[i] == tid)
			return;
	}
	k->tids[k->next_tid] = tid;
	k->next_tid = (k->next_tid + 1) % COPIES_TIDS;
}

int copies_add(struct copies *c, u64 ino, u64 pgoff, u64 nr, u32 tid)
{
	u64 end = pgoff + nr;

	while (pgoff < end) {
		struct chunk *k = chunk_get(c, ino, pgoff / COPIES_CHUNK);
		u64 first = pgoff % COPIES_CHUNK;
		u64 n = min(end - pgoff, COPIES_CHUNK - first);

		if (!k)
			return -ENOMEM;
		uncount_chunk(c, k);
		chunk_set(k, first, first + n - 1);
		count_chunk(c, k);
		chunk_note_tid(k, tid);
		list_move_tail(&k->lru, &c->lru);
		pgoff += n;
	}
	return 0;
}

int copies_add_left(struct copies *c, u64 ino, u64 pgoff, u32 nr)
{
	struct chunk *k = chunk_get(c, ino, pgoff / COPIES_CHUNK);

	assert(nr && nr <= COPIES_CHUNK);
	if (!k)
		return -ENOMEM;

	uncount_chunk(c, k);
	k->nr_left = nr;
	count_chunk(c, k);
	list_move_tail(&k->lru, &c->lru);
	return 0;
}

void copies_touch(struct copies *c, u64 ino, u64 pgoff)
{
	struct rb_node *parent;
	struct rb_node *node =
		*chunk_find(c, ino, pgoff / COPIES_CHUNK, &parent);

	if (node)
		list_move_tail(&rb_entry(node, struct chunk, node)->lru,
			       &c->lru);
}

/* ---- taking ---- */

static void batch_note_tid(struct copies_batch *b, u32 tid)
{
	for (u32 i = 0; i < b->nr_tids; i++) {
		if (b->tids[i] == tid)
			return;
	}
	if (tid && b->nr_tids < COPIES_BATCH_TIDS)
		b->tids[b->nr_tids++] = tid;
}

static void batch_add(struct copies_batch *b, const struct chunk *k)
{
	b->ino = k->ino;
	b->nr_pages += chunk_pages(k);
	b->nr_fresh += k->nr_bits;
	b->chunks[b->nr_chunks++] =
		(struct copies_run){k->index * COPIES_CHUNK, chunk_pages(k)};
	for (u32 i = 0; i < COPIES_TIDS; i++)
		batch_note_tid(b, k->tids[i]);
}

static int by_page(const void *a, const void *b)
{
	const struct copies_run *x = a, *y = b;

	return (x->pgoff > y->pgoff) - (x->pgoff < y->pgoff);
}

bool copies_take(struct copies *c, u64 ino, u64 want, struct copies_batch *ret)
{
	struct chunk *k, *next;
	u32 looked = 0;

	ret->nr_chunks = ret->nr_tids = 0;
	ret->nr_pages = ret->nr_fresh = 0;
	list_for_each_entry_safe (k, next, &c->lru, lru) {
		if (ret->nr_chunks && ++looked > COPIES_LOOK)
			break;
		if (ino && k->ino != ino)
			continue;
		ino = k->ino;
		batch_add(ret, k);
		chunk_free(c, k);
		if (ret->nr_pages >= want ||
		    ret->nr_chunks == COPIES_BATCH_CHUNKS)
			break;
	}
	if (!ret->nr_chunks)
		return false;

	qsort(ret->chunks, ret->nr_chunks, sizeof(*ret->chunks), by_page);
	return true;
}

u64 copies_count(const struct copies *c, u64 ino)
{
	const struct chunk *k;
	u64 nr = 0;

	if (!ino)
		return c->nr_chunks;
	list_for_each_entry (k, &c->lru, lru)
		nr += k->ino == ino;
	return nr;
}

void copies_forget(struct copies *c, u64 ino)
{
	struct chunk *k, *next;

	list_for_each_entry_safe (k, next, &c->lru, lru) {
		if (!ino || k->ino == ino)
			chunk_free(c, k);
	}
}

/* ---- checking ---- */

static void chunk_check(const struct chunk *k)
{
	u32 nr = 0;

	for (u32 i = 0; i < WORDS; i++)
		nr += (u32)__builtin_popcountll(k->bits[i]);
	verify(nr == k->nr_bits);
	verify(chunk_pages(k) && chunk_pages(k) <= COPIES_CHUNK);
}

void copies_check(const struct copies *c)
{
	const struct chunk *prev = NULL;
	struct rb_node *node;
	u64 pages = 0, fresh = 0, chunks = 0;

	rb_for_each (node, &c->chunks) {
		const struct chunk *k = rb_entry(node, struct chunk, node);

		verify(!prev || compare(prev->ino, prev->index, k) < 0);
		chunk_check(k);
		pages += chunk_pages(k);
		fresh += k->nr_bits;
		chunks++;
		prev = k;
	}
	verify(pages == c->nr_pages);
	verify(fresh == c->nr_fresh);
	verify(chunks == c->nr_chunks);
	verify(list_check(&c->lru) == chunks);
}

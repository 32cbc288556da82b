/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "range_set.h"

struct range_node {
	struct rb_node rb;
	u64 start;
	u64 last;
};

static struct range_node *to_range(struct rb_node *rb)
{
	return rb ? rb_entry(rb, struct range_node, rb) : NULL;
}

static struct range_node *next_range(struct range_node *r)
{
	return to_range(rb_next(&r->rb));
}

/* The first range that ends at or behind @pgoff. */
static struct range_node *first_ending(const struct range_set *set, u64 pgoff)
{
	struct rb_node *rb = set->ranges.node;
	struct range_node *found = NULL;

	while (rb) {
		struct range_node *r = to_range(rb);

		if (r->last >= pgoff) {
			found = r;
			rb = rb->left;
		} else {
			rb = rb->right;
		}
	}
	return found;
}

static u64 range_pages(const struct range_node *r)
{
	return r->last - r->start + 1;
}

static void set_bounds(struct range_set *set, struct range_node *r, u64 start,
		       u64 last)
{
	set->nr_pages -= range_pages(r);
	r->start = start;
	r->last = last;
	set->nr_pages += range_pages(r);
}

/* Link @r, which no range of @set overlaps. */
static void link_range(struct range_set *set, struct range_node *r)
{
	struct rb_node **link = &set->ranges.node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = r->start < to_range(parent)->start ? &parent->left
							  : &parent->right;
	}
	rb_insert(&set->ranges, &r->rb, parent, link, NULL);
	set->nr++;
	set->nr_pages += range_pages(r);
}

static void unlink_range(struct range_set *set, struct range_node *r)
{
	rb_erase(&set->ranges, &r->rb, NULL);
	set->nr--;
	set->nr_pages -= range_pages(r);
}

static void free_range(struct range_set *set, struct range_node *r)
{
	unlink_range(set, r);
	free(r);
}

static struct range_node *new_range(u64 start, u64 last)
{
	struct range_node *r = malloc(sizeof(*r));

	if (r) {
		r->start = start;
		r->last = last;
	}
	return r;
}

/*
 * Grow a range of @set that [start, last] overlaps or touches until it covers
 * it, swallowing those behind it that it now reaches.
 * Return: false when there is none.
 */
static bool extend(struct range_set *set, u64 start, u64 last)
{
	u64 before = start ? start - 1 : 0;
	u64 behind = last == UINT64_MAX ? last : last + 1;
	struct range_node *r = first_ending(set, before);
	struct range_node *next;

	if (!r || r->start > behind)
		return false;

	start = min(r->start, start);
	last = max(r->last, last);
	behind = last == UINT64_MAX ? last : last + 1;
	while ((next = next_range(r)) && next->start <= behind) {
		last = max(last, next->last);
		free_range(set, next);
	}
	set_bounds(set, r, start, last);
	return true;
}

int range_set_add(struct range_set *set, u64 start, u64 last)
{
	struct range_node *r;

	assert(start <= last);
	if (extend(set, start, last))
		return 0;

	r = new_range(start, last);
	if (!r)
		return -ENOMEM;
	link_range(set, r);
	return 0;
}

/* Take [start, last] out of the middle of @r. */
static int split(struct range_set *set, struct range_node *r, u64 start,
		 u64 last)
{
	struct range_node *tail = new_range(last + 1, r->last);

	if (!tail)
		return -ENOMEM;
	set_bounds(set, r, r->start, start - 1);
	link_range(set, tail);
	return 0;
}

int range_set_remove(struct range_set *set, u64 start, u64 last)
{
	struct range_node *r = first_ending(set, start);
	struct range_node *next;

	assert(start <= last);
	if (r && r->start < start && r->last > last)
		return split(set, r, start, last);

	if (r && r->start < start) {
		set_bounds(set, r, r->start, start - 1);
		r = next_range(r);
	}
	for (; r && r->last <= last; r = next) {
		next = next_range(r);
		free_range(set, r);
	}
	if (r && r->start <= last)
		set_bounds(set, r, last + 1, r->last);
	return 0;
}

static bool answer(const struct range_node *r, u64 *ret_start, u64 *ret_last)
{
	if (ret_start)
		*ret_start = r->start;
	if (ret_last)
		*ret_last = r->last;
	return true;
}

bool range_set_find(const struct range_set *set, u64 pgoff, u64 *ret_start,
		    u64 *ret_last)
{
	const struct range_node *r = first_ending(set, pgoff);

	return r && r->start <= pgoff && answer(r, ret_start, ret_last);
}

bool range_set_next(const struct range_set *set, u64 pgoff, u64 *ret_start,
		    u64 *ret_last)
{
	const struct range_node *r = first_ending(set, pgoff);

	return r && answer(r, ret_start, ret_last);
}

bool range_set_last(const struct range_set *set, u64 *ret_last)
{
	const struct range_node *r = to_range(rb_last(&set->ranges));

	return r && answer(r, NULL, ret_last);
}

void range_set_move(struct range_set *from, struct range_set *into)
{
	assert(range_set_empty(into));
	*into = *from;
	range_set_init(from);
}

void range_set_merge(struct range_set *from, struct range_set *into)
{
	struct rb_node *rb;

	while ((rb = from->ranges.node)) {
		struct range_node *r = to_range(rb);

		unlink_range(from, r);
		if (extend(into, r->start, r->last))
			free(r);
		else
			link_range(into, r);
	}
}

/* One pass over all ranges, or until there are no more than @nr. */
static void fill_gaps(struct range_set *set, u64 longest, u64 nr)
{
	struct range_node *r = to_range(rb_first(&set->ranges));
	struct range_node *next;

	while (set->nr > nr && (next = next_range(r))) {
		u64 last = next->last;

		if (next->start - r->last - 1 > longest) {
			r = next;
			continue;
		}
		free_range(set, next);
		set_bounds(set, r, r->start, last);
	}
}

void range_set_coarsen(struct range_set *set, u64 nr)
{
	assert(nr);
	for (u64 longest = 1; set->nr > nr; longest = 2 * longest + 1)
		fill_gaps(set, longest, nr);
}

void range_set_clear(struct range_set *set)
{
	struct rb_node *rb;

	while ((rb = set->ranges.node))
		free_range(set, to_range(rb));
}

static bool by_start(const struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct range_node, rb)->start <
	       rb_entry(b, struct range_node, rb)->start;
}

void range_set_check(const struct range_set *set)
{
	struct range_node *prev = NULL;
	struct rb_node *rb;
	u64 nr = 0, nr_pages = 0;

	rb_check(&set->ranges, by_start);
	rb_for_each (rb, &set->ranges) {
		struct range_node *r = to_range(rb);

		verify(r->start <= r->last);
		verify(!prev || r->start - 1 > prev->last);
		prev = r;
		nr++;
		nr_pages += range_pages(r);
	}
	verify(nr == set->nr && nr_pages == set->nr_pages);
}

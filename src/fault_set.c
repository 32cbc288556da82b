/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fault_set.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16u

void fault_set_done(struct fault_set *set)
{
	free(set->entries);
	*set = (struct fault_set){.nr = 0};
}

static bool same_file(const struct fault_entry *a, const struct fault_entry *b)
{
	return a->tid == b->tid && a->ino == b->ino;
}

static int compare(const struct fault_entry *a, const struct fault_entry *b)
{
	if (a->tid != b->tid)
		return a->tid < b->tid ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	if (a->sum.first != b->sum.first)
		return a->sum.first < b->sum.first ? -1 : 1;
	return (a->sum.last > b->sum.last) - (a->sum.last < b->sum.last);
}

/* Where the first is that does not come before @entry. */
static u32 find(const struct fault_set *set, const struct fault_entry *entry)
{
	u32 from = 0, to = set->nr;

	while (from < to) {
		u32 mid = from + (to - from) / 2;

		if (compare(&set->entries[mid], entry) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool grow(struct fault_set *set)
{
	u32 cap = set->cap ? min(2 * set->cap, FAULT_SET_MAX) : FIRST_CAP;
	struct fault_entry *entries;

	if (set->cap == FAULT_SET_MAX)
		return false;
	entries = realloc(set->entries, cap * sizeof(*entries));
	if (!entries)
		return false;
	set->entries = entries;
	set->cap = cap;
	return true;
}

static void join(struct fault_entry *to, const struct fault_entry *from)
{
	to->sum.first = min(to->sum.first, from->sum.first);
	to->sum.last = max(to->sum.last, from->sum.last);
	for (u32 kind = 0; kind < NR_FAULT_KINDS; kind++)
		to->sum.nr[kind] += from->sum.nr[kind];
}

/* Neighbours with no more than @gap pages between them become one. */
static void join_near(struct fault_set *set, u64 gap)
{
	struct fault_entry *e = set->entries;
	u32 nr = 0;

	for (u32 i = 0; i < set->nr; i++) {
		if (nr && same_file(&e[nr - 1], &e[i]) &&
		    e[i].sum.first <= e[nr - 1].sum.last + gap + 1)
			join(&e[nr - 1], &e[i]);
		else
			e[nr++] = e[i];
	}
	set->nr = nr;
}

/* Half of it, so that this is done once in many times. */
static void make_room(struct fault_set *set)
{
	static const u64 gaps[] = {0, 15, 255, 4095, PGOFF_MAX};

	for (u32 i = 0; i < ARRAY_SIZE(gaps) && set->nr > set->cap / 2; i++)
		join_near(set, gaps[i]);
}

bool fault_set_add(struct fault_set *set, const struct fault_entry *entry)
{
	u32 at = find(set, entry);

	if (at < set->nr && compare(&set->entries[at], entry) == 0) {
		join(&set->entries[at], entry);
		return true;
	}
	if (set->nr == set->cap && !set->crowded && !grow(set)) {
		make_room(set);
		set->crowded = set->nr == set->cap;
		at = find(set, entry);
	}
	if (set->nr == set->cap) {
		/* one entry for each file, then: beside where it would be */
		if (at < set->nr && same_file(&set->entries[at], entry))
			join(&set->entries[at], entry);
		else if (at && same_file(&set->entries[at - 1], entry))
			join(&set->entries[at - 1], entry);
		else
			return false;
		return true;
	}

	memmove(&set->entries[at + 1], &set->entries[at],
		(set->nr - at) * sizeof(*set->entries));
	set->entries[at] = *entry;
	set->nr++;
	set->crowded = false;
	return true;
}

u64 fault_set_reads(const struct fault_set *set)
{
	u64 nr = 0;

	for (u32 i = 0; i < set->nr; i++)
		nr += fault_sum_reads(&set->entries[i].sum);
	return nr;
}

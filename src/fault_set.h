/* SPDX-License-Identifier: MIT */
/*
 * Reads of the kernel that wait until it is known whether they were faults: how
 * many of each kind, by thread, inode and pages, in bounded memory.
 *
 * While there is room, reads of other pages are entries of their own. When
 * there is none, entries of the same thread and inode become one, those nearest
 * to each other first: the counts stay exact, and say of more pages together
 * where they were. Only what more than FAULT_SET_MAX pairs of thread and inode
 * read does not fit.
 *
 * Threads: none; the caller has a lock.
 */
#ifndef FOLIO_FAULT_SET_H
#define FOLIO_FAULT_SET_H

#include <sys/types.h>

#include "mm.h"

#define FAULT_SET_MAX 1024u

struct fault_entry {
	pid_t tid;
	u64 ino;
	struct fault_sum sum;
};

/* All zeros: empty. */
struct fault_set {
	struct fault_entry *entries; /* ascending */
	u32 nr, cap;
	bool crowded; /* full, of as many files */
};

/* Forget all, and give back the memory. */
void fault_set_done(struct fault_set *set);

/* Return: false: there is no room for it. */
bool fault_set_add(struct fault_set *set, const struct fault_entry *entry);

/* How many reads there are. */
u64 fault_set_reads(const struct fault_set *set);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The source of tests/backup_source.h while it is mounted: by a process of its
 * own, which makes one commit whenever it is told to. Small ones, which go to
 * the redo log, and transactions, which take that over, come in any order.
 *
 *	live_begin()		the volume is closed; is opened there
 *	live_commit() ...
 *	live_end()		and closed; source.now is what it has
 *
 * It keeps all states that it was in. Between live_begin() and live_end()
 * source_change() is not to be used.
 */
#ifndef FOLIO_BACKUP_LIVE_H
#define FOLIO_BACKUP_LIVE_H

#include "backup_source.h"

void live_begin(void);
void live_end(void);

/* Change something, and return when that is durable. */
void live_commit(void);

/* As who has MOUNT/.foliofs/hold open. @lie: it is not done. */
void live_hold(bool lie);
void live_unhold(void);
bool live_holds(void);

/*
 * States so far: each that was committed; and where several commits came of
 * what was to be one, for want of room, each that one of them may have had.
 */
u64 live_nr(void);
const struct source_state *live_states(void);
/* Did it come with a small commit? */
bool live_was_small(u64 state);

struct live_counts {
	u64 commits, small;
};
struct live_counts live_counts(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A gate in the way of commits: while it is shut, the next write to the WAL
 * waits, and with it the committer: something is cut, and its COMMIT is not
 * through. wal_gate_set() and wal_gate_remove() while nothing is open.
 */
#ifndef FOLIO_WAL_GATE_H
#define FOLIO_WAL_GATE_H

void wal_gate_set(void);
void wal_gate_remove(void);
void wal_gate_shut(void);
/* Wait until somebody stands at it. */
void wal_gate_wait(void);
/* Who stands there goes on, with SQLite's @code. */
void wal_gate_open(int code);
/* The same, and all that come after it, until wal_gate_open(). */
void wal_gate_fail(int code);

#endif

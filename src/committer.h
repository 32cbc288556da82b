/* SPDX-License-Identifier: MIT */
/*
 * The committer: one thread, or who has its turn, which alone writes SQL.
 *
 * It waits for a request (fsync, sync), for the timer, or for the cache asking
 * for space, and then makes one commit of everything asked for so far; whoever
 * asks for a small one while it rests may do so in its place, with its turn:
 *
 *	prewrite   big files' DIRTY pages are written while writers go on
 *	cut        the stop, exclusive: records and files are frozen, the epoch
 *	           raised; nothing is allocated, read or written
 *	writeout   frozen pages get slots, or stay for inline; the data file is
 *	           flushed when a slot was written since its last flush
 *	replay     one transaction: records, then each file's runs
 *	sync       COMMIT and xSync of the WAL
 *	end        pages become CLEAN, records are dropped, freed blocks
 *	           may be used again, waiters are answered
 *
 * All records there are belong to every commit. Content belongs to it when
 * fsync asked for that file, when a commit point did (rename over an existing
 * name and the like), or when the commit is one of everything: sync and the
 * end, or what nobody asked for, as the timer and want of space or memory.
 *
 * The content of an atomic file that somebody has open for writing is left to
 * those who ask for it. Content that arrived since goes with nobody else's
 * commit: not with that of its own names and attributes, nor for want of
 * space, which its writer is told of by ENOSPC.
 *
 * A commit that fails leaves everything as it was before: records go back to
 * the list, pages stay uncommitted. Waiters get the error. After a failed sync
 * of the WAL nothing is ever committed again: the filesystem is read-only. So
 *it is when the commit met damage in the database.
 *
 * A commit may leave out a file whose pages cannot be written. It is an error
 * for who asked for that file or for everything, and for nobody else. If that
 * file got a name by a commit point, all records wait with it; content of files
 * that have a row is committed without them.
 */
#ifndef FOLIO_COMMITTER_H
#define FOLIO_COMMITTER_H

#include <pthread.h>

#include "base.h"
#include "cache.h"
#include "list.h"
#include "lock.h"

struct fs;
struct fs_done;
struct handle;
struct inode;

/* Whose content belongs to a commit, besides files that were asked for. */
enum commit_scope {
	COMMIT_ASKED,	/* nobody's */
	COMMIT_UNASKED, /* everybody's but that of atomic files in use */
	COMMIT_ALL,
};

/* Somebody who waits for a commit. */
struct commit_req {
	struct list_head node;
	struct fs_done *done;
	struct handle *handle; /* with a reference; may be NULL */
	enum commit_scope scope;
	/* files that are committed together, with a reference each */
	struct inode **group;
	u32 nr_group;
};

struct committer {
	struct fs *fs; /* constant */
	pthread_t thread;
	bool started;

	/* Who has it is the committer: the thread, or somebody who asked.
	 * Outermost; others only try. */
	struct mutex turn;

	struct mutex lock; /* a leaf */
	/* under lock */
	struct waitq wake;	  /* the thread waits for work */
	struct waitq ended;	  /* others wait for a commit to end */
	struct list_head waiting; /* requests for the next cut */
	struct list_head riding;  /* requests of the commit in flight */
	u64 inflight;		  /* its epoch, 0: none */
	u64 ended_nr;		  /* commits ended, well or not */
	bool want;		  /* commit soon */
	bool poked;		  /* the timer's length changed */
	bool untidy;		  /* others made a transaction in its place */
	bool stop, stopped;
	int last_err; /* of the last commit */
	u64 retry_ns; /* after an error nothing by itself before this */
	u32 secs;     /* timer; 0: none */

	/* under turn: inodes with many inline pages, a reference each */
	struct list_head crowded;
	bool names_held;   /* by the last commit */
	u64 damaged_pages; /* of the database, before the commit at hand */

	/* counters, atomic */
	u64 commits, errors, requests, total_ns, last_ms, last_pages,
		last_bytes, last_ns, stop_max_us, checkpoints, inline_moved;
};

void committer_init(struct committer *c, struct fs *fs, u32 secs);
int committer_start(struct committer *c);
/* Commit everything, then end the thread. Return: the last commit's error. */
int committer_stop(struct committer *c);
void committer_done(struct committer *c);

/* Ask for a commit of COMMIT_UNASKED. Never waits, any lock may be held. */
void committer_want(struct committer *c);
void committer_set_secs(struct committer *c, u32 secs);

/* Wait until a commit asked for now has ended, at most until @deadline_ns. */
void committer_wait(struct committer *c, u64 deadline_ns);
int committer_last_err(struct committer *c);
/* Commits that have ended, well or not. */
u64 committer_ended_nr(struct committer *c);
/* Is one under way, or have more than @ended? */
bool committer_is_busy(struct committer *c, u64 ended);

/* Put @req to the next cut. Context: stop shared; then committer_wake() or
 * committer_run_small(), without. */
void committer_request(struct committer *c, struct commit_req *req);
void committer_wake(struct committer *c);
/*
 * Make the commit that was just asked for, of the content of @inode, in the
 * caller's thread, if it is small and nobody else is the committer: that saves
 * a change of threads there and back. Return: false: nothing was done; wake it.
 * Context: no locks held; sleeps for the device, as a read does.
 */
bool committer_run_small(struct committer *c, struct inode *inode);
/* Put it to the commit in flight. Return: false when none is. */
bool committer_ride(struct committer *c, struct commit_req *req);

/* Call @fn for each request with a group that belongs to the commit in flight.
 * Context: turn held; @fn takes no locks. */
void committer_for_groups(struct committer *c,
			  void (*fn)(void *arg, const struct commit_req *req),
			  void *arg);
void commit_req_free(struct commit_req *req);

/* In the cut of @epoch: what waits belongs to it. Return: the largest scope
 * that was asked for. Context: stop exclusive. */
enum commit_scope committer_cut(struct committer *c, u64 epoch);

#endif

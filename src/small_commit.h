/* SPDX-License-Identifier: MIT */
/*
 * A commit that fits into one record of the redo log (src/redo.h): a few pages
 * of a few files that have rows already, their sizes and times, and nothing
 * else: no records of names and attributes, no holes, nothing of fallocate.
 * That is what programs do that fsync often: databases, logs, mailboxes.
 *
 * Context: the committer, between write-out and replay.
 */
#ifndef FOLIO_SMALL_COMMIT_H
#define FOLIO_SMALL_COMMIT_H

#include "base.h"

struct transaction;

/* Frozen pages of one file that such a commit leaves in their frames. */
#define SMALL_COMMIT_PAGES 32u

/* After the cut: is it of that kind, whether or not the log has room? */
bool small_commit_is(const struct transaction *t);
/* ... and has the log room for it? */
bool small_commit_fits(const struct transaction *t);

/* Write the record. Return: is the commit durable by that? Otherwise nothing
 * has happened, and commit_next() begins anew. */
bool small_commit_write(struct transaction *t);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Pages that the kernel may have of a file: what is stored to these, mapped, is
 * not seen until the kernel brings it. A hole among them may be data.
 *
 *	unseen_note()		before the kernel gets pages that it keeps
 *	unseen_dropped()	it drops them: truncated or punched
 *	unseen_forget()		it has forgotten the inode, so it has none
 *
 * Whoever opens a file for writing later can store to what the kernel was given
 * before, so they are noted for every file, as [start, last] in a set at the
 * inode. The set errs on one side: it may have pages that the kernel has not.
 * Ranges that would be too many (UNSEEN_RANGES, or UNSEEN_FEW when those of all
 * files together take a 64th of the budget) are made fewer by filling the gaps
 * between them. When memory is short, or the inode leaves memory, a bit beside
 * its look-up count takes over: the kernel may have any page.
 *
 * What an inode's pages are when a page goes to the kernel does not matter:
 * what was data then can become a hole only by truncation or punching, of which
 * the kernel knows, and drops its copies. It does so when it has our answer,
 * and waits for pages whose READs are under way, so a page that is noted while
 * the request runs is at worst noted for nothing.
 *
 * Locks: inode->lock inside. Context: neither that nor another leaf held.
 */
#ifndef FOLIO_UNSEEN_H
#define FOLIO_UNSEEN_H

#include "base.h"

struct inode;

#define UNSEEN_RANGES 256u
#define UNSEEN_FEW 8u

/* The kernel is about to have what lies at [@pos, @pos + @len). */
void unseen_note(struct inode *inode, u64 pos, u64 len);

/* It may have any page, more than we know. */
void unseen_note_all(struct inode *inode);

/* The kernel drops pages [@start, @last] before the change that is under way
 * has returned to who asked for it. */
void unseen_dropped(struct inode *inode, u64 start, u64 last);

/* Context: the inode table's lock may be held. */
void unseen_forget(struct inode *inode);

/* May stores be unseen at all? Not without somebody who has the file open for
 * writing: the kernel brings what was stored before it releases the last. */
bool unseen_possible(struct inode *inode);

/* The range of pages that holds @pgoff, or else the first behind it. Return:
 * false when there is none. */
bool unseen_next(struct inode *inode, u64 pgoff, u64 *ret_start, u64 *ret_last);

#endif

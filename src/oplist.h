/* SPDX-License-Identifier: MIT */
/*
 * The operation list: what the namespace has become and the volume does not
 * know yet.
 *
 * A record holds the final value of one row: an inode's columns, a name of a
 * folder, an extended attribute. As an epoch is committed whole or not at all,
 * only the last value of a row within an epoch matters: a record of the open
 * epoch is changed in place, so that a folder whose mtime changes 20,000 times
 * costs one. The cut of a commit freezes all records there are: from then on a
 * change of the same row makes a new record, which supersedes the frozen one.
 *
 *	open --- cut ---> frozen --- committed ---> dropped
 *	  ^                  |
 *	  +---- failed ------+	(back at the head of the list, open again)
 *
 * The newest record of a row is the overlay that look-ups see before the rows:
 * names hang in the trees of names.h, an inode's record and attributes at the
 * inode. A row that was never on the volume nor in a frozen record ("fresh")
 * leaves nothing behind when it goes away within its epoch: create + unlink
 * costs no row at all.
 *
 * Who reads overlay and rows together (readdir, "is the folder empty") holds
 * drop_sem shared over both: otherwise a commit could end in between, and an
 * entry be seen twice or not at all. Who asks the overlay first and then the
 * row for one single key needs no lock: a record that was dropped before the
 * look has its row on the volume.
 *
 * Locks: everything here under oplist.lock (LOCK_OPLIST); a change holds the
 * inodes' rwsem exclusive and the stop shared as well. Records are allocated
 * before the stop (struct ns_change) and charged to the cache.
 */
#ifndef FOLIO_OPLIST_H
#define FOLIO_OPLIST_H

#include "base.h"
#include "cache.h"
#include "list.h"
#include "lock.h"
#include "names.h"

struct fs;
struct inode;

enum op_kind {
	OP_INODE,
	OP_NAME,
	OP_XATTR,
};

struct op {
	struct list_head node; /* oplist.open or the commit's list */
	u64 epoch; /* it was begun in; frozen when <= frozen_epoch */
	u32 bytes; /* charged */
	u8 kind;
	bool parked; /* of an inode without a row: in no list */
};

enum {
	OP_INODE_CREATE = 1, /* no row before this record */
	OP_INODE_ORPHAN = 2, /* has no name any more but is in use */
	OP_INODE_DELETE = 4,
};

/* Columns that a namespace operation may change; the others are constant and
 * stand in the inode, which outlives its records. */
struct op_inode {
	struct op op;
	struct inode *inode;
	u32 what;
	u32 mode, uid, gid, nlink, flags;
	s64 atime, mtime, ctime;
};

struct op_name {
	struct op op;
	struct name name; /* present, or a tombstone */
};

struct op_xattr {
	struct op op;
	struct inode *inode;
	struct list_head inode_node; /* inode->xattrs while it is the newest */
	u64 ino;
	bool present; /* else a tombstone */
	u32 len;
	void *value;
	char name[];
};

struct oplist {
	/* constant */
	struct fs *fs;

	/* overlay and rows read together: shared; dropping: exclusive */
	struct rwsem drop_sem;

	struct mutex lock;
	/* under lock */
	struct list_head open;	/* records of the open epoch */
	struct list_head dirty; /* inodes with uncommitted content, by age */
	struct names names;
	u64 nr_open, nr_frozen; /* records */
	u64 nr_dirty;		/* inodes */
	u64 logged;		/* records begun so far */
	u64 oldest_ns;		/* when the first of all this came; 0: none */
	u64 cut_oldest_ns;	/* the same of what the commit in flight has */
	struct list_head accessed; /* inodes whose access time is not logged */
	u64 nr_accessed;	   /* atomic for reading */
	u64 accessed_ns;	   /* when the first of them came; 0: none */
	u64 timer_ns; /* when the first came that the timer may commit */

	/* written with the stop exclusive; read with it shared, or atomically
	 */
	u64 epoch; /* the open one; starts at 1 */
	/* atomic: since the cut a commit point came of an atomic file in use */
	bool points;
	/* atomic: of all records, and of those that no commit will take */
	u64 bytes, parked_bytes;
	/* under lock */
	u64 frozen_epoch; /* of the commit in flight, 0: none */
};

void oplist_init(struct oplist *l, struct fs *fs);
void oplist_done(struct oplist *l);

/* Records pending, frozen ones included. */
u64 oplist_nr(struct oplist *l);
/* What they take of memory. */
u64 oplist_bytes(const struct oplist *l);
/* What attributes of inodes without a row take: no commit sets that free. */
u64 oplist_parked_bytes(const struct oplist *l);

/*
 * One change of the namespace, from before the stop to behind it:
 *
 *	change_init(); change_inodes(), change_name() ... (may fail, may sleep)
 *	change_begin(); log_*() ...; change_end(); change_done();
 */
#define CHANGE_INODES 5 /* a rename with whiteout over an existing file */
#define CHANGE_NAMES 2
struct ns_change {
	struct fs *fs;
	struct op_inode *inodes[CHANGE_INODES];
	u32 nr_inodes;
	struct op_name *names[CHANGE_NAMES];
	u32 nr_names;
	s64 now; /* CLOCK_REALTIME, for all its times */
};

void change_init(struct ns_change *ch, struct fs *fs);
/* Provide for records of @nr inodes. Return: 0 or -ENOMEM. */
int change_inodes(struct ns_change *ch, u32 nr);
/* Provide for a record of @name in @parent. */
int change_name(struct ns_change *ch, u64 parent, const char *name);
void change_begin(struct ns_change *ch) __no_tsa;
void change_end(struct ns_change *ch) __no_tsa;
void change_done(struct ns_change *ch);

/* Note @inode's columns as they are now. */
void log_inode(struct ns_change *ch, struct inode *inode);
/* The same for an inode that has no row: a new one, or O_TMPFILE's when it
 * gets its first name. */
void log_inode_create(struct ns_change *ch, struct inode *inode);
/* @inode lost its last name. Its content is not to be committed any more. */
void log_inode_orphan(struct ns_change *ch, struct inode *inode);

/* The @which-th name provided for is now @ino with cookie @id; @fresh: the
 * name did not exist before this change. Or it is gone. */
void log_name(struct ns_change *ch, u32 which, u64 ino, u32 type, u64 id,
	      bool fresh);
void log_name_gone(struct ns_change *ch, u32 which);

/* Nobody uses @inode, it has no name: its rows are to go.
 * Context: takes the stop shared. */
void log_inode_delete(struct inode *inode);

/* @value NULL: a tombstone. Return: a record or NULL (no memory). */
struct op_xattr *op_xattr_new(struct inode *inode, const char *name,
			      const void *value, size_t len);
void log_xattr(struct ns_change *ch, struct inode *inode, struct op_xattr *op);
/* Context: lock held. Return: the newest record of the attribute or NULL. */
struct op_xattr *oplist_find_xattr(struct inode *inode, const char *name);

/* A spare for log_inode_delete(), kept at the inode. Return: 0 or -ENOMEM. */
int inode_prepare_delete(struct inode *inode);
void op_free(struct fs *fs, struct op *op);

/* Put @inode on the list of those with uncommitted content (once), with a
 * reference, unless it is an orphan. Context: stop shared. */
void oplist_add_dirty(struct oplist *l, struct inode *inode);

/* What kept @inode from being committed by the timer has ended. */
void oplist_restart_timer(struct oplist *l, struct inode *inode);

/*
 * Inodes whose access time changed and has no record for that: with a
 * reference, each once, a bounded number. One without a row is not listed.
 */
bool oplist_may_access(struct oplist *l); /* is there room? */
/* Return: true when a commit is due for that. */
bool oplist_add_accessed(struct oplist *l, struct inode *inode);
/* Take one off, with its reference; NULL: there is none. */
struct inode *oplist_take_accessed(struct oplist *l);

/* ---- the committer's part ---- */

/* Freeze all records: they move to @ret. Context: stop exclusive, lock held. */
void oplist_freeze(struct oplist *l, struct list_head *ret);
/* Their rows are on the volume: drop them. */
void oplist_drop(struct oplist *l, struct list_head *frozen);
/* They are not: put them back at the head. */
void oplist_restore(struct oplist *l, struct list_head *frozen);

/* Abort unless trees, lists and counts agree. For tests. */
void oplist_check(struct oplist *l);

#endif

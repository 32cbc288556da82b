/* SPDX-License-Identifier: MIT */
/*
 * Inodes in memory: objects by number, their life, and look-up counts.
 *
 * An object is there while somebody uses it (refs), while a record of the
 * operation list speaks of it, or, idle, as long as a bounded list has room.
 * References are: handles, running operations, the list of files with
 * uncommitted content, a commit that has the file's content.
 *
 *	          inode_get_ino()                 inode_put(), nothing pending
 *	 (row) --------------------> in use ----------------------> idle
 *	   ^         LOADING            |  ^------------------------- |
 *	   |                            |        inode_get_ino()      |
 *	   +----------------------------|-----------------------------+
 *	            trimmed             | last put or forget of an orphan
 *	                                v
 *	                            DELETING ---> DELETED ---> gone, with its
 *	                          record, pages              record's commit
 *
 * An inode without a name (an orphan) stays until the kernel has forgotten it
 * too. Look-up counts stand in a table of their own, 16 bytes each, so that
 * the objects can go. Numbers are never used twice.
 *
 * Locks: inode.rwsem for changes (exclusive) and for look-ups in a folder;
 * table lock (LOCK_NAMES) for refs and states; inode.lock (a leaf) for
 * attributes.
 */
#ifndef FOLIO_INODE_H
#define FOLIO_INODE_H

#include <sys/stat.h>

#include "base.h"
#include "cache.h"
#include "list.h"
#include "lock.h"
#include "meta.h"

struct fs;
struct handle;
struct op_inode;

enum inode_state {
	INODE_LOADING, /* its row is being read */
	INODE_LIVE,
	INODE_DELETING, /* its record is made, pages are dropped */
	INODE_DELETED,	/* until the record is committed */
	INODE_BAD,	/* could not be loaded; error in load_err */
};

/* Is there an ACL of that kind among its attributes? */
enum acl_known {
	ACL_UNKNOWN,
	ACL_NONE,
	ACL_SOME,
};

struct inode {
	/* constant */
	struct fs *fs;
	u64 ino;
	u32 type; /* S_IFMT bits */
	u32 generation;
	s64 btime;
	u64 rdev;
	char *target; /* symlink made since the last commit, or NULL */

	struct rwsem rwsem;

	/* under the table's lock */
	struct inode *hash_next;
	struct list_head idle;
	u32 refs;
	u32 opens;
	enum inode_state state;
	int load_err;
	bool spared; /* passed over once when idle ones were trimmed */

	/* under lock; changed with rwsem exclusive and the stop shared */
	struct mutex lock;
	u32 mode, uid, gid, nlink, flags;
	s64 atime, mtime, ctime; /* ns */
	u64 parent;		 /* of a folder; 0: not known yet */
	struct handle *lister;	 /* fs_takes_listing(), or NULL */
	u32 writers;		 /* handles open for writing */
	u32 taking; /* the kernel's pages are being invalidated: no writers */
	bool fresh; /* made now, not opened yet */
	bool late;  /* see fs_take_late() */
	/* ... of its content */
	u64 dirty_epoch;   /* uncommitted since; 0: no */
	u64 include_epoch; /* a commit of this epoch takes the content */
	u64 committing;	   /* epoch of the commit that has it; 0: none */
	bool must;	   /* a commit point waits: the next takes it */
	bool cut_must;	   /* ... of the commit in flight */
	bool late_must;	   /* one came while that was in flight: the next takes
			      it if that fails */
	u64 left_out;	   /* epoch of the last commit that failed to take it
			      whole; 0: it was taken since */
	int left_out_err;  /* ... and why */
	u64 content_epoch; /* of the last commit that took it */
	s64 cut_mtime, cut_ctime;
	u64 cut_size;
	u64 csize;	     /* committed size */
	u64 extent_end;	     /* pages behind have no committed content */
	s64 nr_blocks;	     /* committed pages; -1: ask the volume */
	u32 content_commits; /* so far */
	struct range_set prealloc, cut_prealloc; /* to become unwritten */
	u64 nr_prealloc;			 /* reserved pages, of both */
	u64 prealloc_bytes;			 /* charged for both */
	struct range_set unseen; /* the kernel's pages; see unseen.h */

	/* under oplist.lock */
	struct op_inode *op;	   /* the newest record, or NULL */
	u32 nr_records;		   /* op and xattrs; atomic for reading */
	struct op_inode *spare;	   /* for log_inode_delete() */
	struct list_head xattrs;   /* newest records */
	struct list_head dirty;	   /* oplist.dirty */
	struct list_head accessed; /* oplist.accessed */
	bool norow;    /* no row, no record: O_TMPFILE and the like */
	bool linkable; /* O_TMPFILE's, which never had a name */
	bool orphan;   /* no name: not to be on oplist.dirty */

	/* atomic: a folder none of whose names was ever committed; cleared
	 * before the first is dropped from the overlay */
	bool no_rows;

	/* atomic; changed with rwsem exclusive, found out with it shared */
	enum acl_known access_acl, default_acl;

	/* atomic; found out and changed with rwsem exclusive: it is known to
	 * have no security.capability */
	bool no_capability;

	/* the committer's alone */
	struct list_head commit_node;
	bool seen;		  /* by commit_next() */
	u64 prealloc_done;	  /* what fallocate asked for has been made up
				     to this page */
	s64 cut_pages;		  /* by so many its pages become more */
	struct range_set inlined; /* pages in rows, as far as is known */
	u32 nr_inline;
	struct list_head inline_node; /* committer.crowded */

	struct address_space mapping; /* regular files */
};

struct lookup_count {
	u64 ino;
	u64 count : 63;
	u64 filled : 1; /* it may have any page of it; see unseen.h */
};

struct inode_table {
	struct fs *fs;
	struct mutex lock;
	/* under lock */
	struct inode **hash;
	u32 nr_hash; /* a power of two */
	u64 nr;
	struct list_head idle; /* oldest first */
	u64 nr_idle;
	u64 max_idle;
	struct waitq loaded;
	/* look-up counts: open addressing */
	struct lookup_count *counts;
	u64 nr_counts, cap_counts, reserved_counts;

	u64 max_unseen; /* constant */
	u64 nr_unseen;	/* ranges in all struct inode.unseen; atomic */
};

int inode_table_init(struct inode_table *t, struct fs *fs, u64 budget);
/* Context: no references are left. */
void inode_table_done(struct inode_table *t);

/*
 * The inode of that number, with a reference: from memory or its row.
 * Context: may sleep. Return: 0, -ENOENT, -ESTALE (deleted), -ENOMEM, -EIO.
 */
int inode_get_ino(struct fs *fs, u64 ino, struct inode **ret);
/* Only if it is in memory. */
struct inode *inode_peek(struct fs *fs, u64 ino);
void inode_get(struct inode *inode);
/* Context: no locks held (an orphan's last reference deletes it). */
void inode_put(struct inode *inode);
/* Not the last reference: allowed anywhere. */
void inode_put_shared(struct inode *inode);
/* A record of @inode ended. Context: oplist.lock may be held. */
void inode_op_ended(struct inode *inode);

/* A new one with the next number, in the table, with a reference. nlink 1, or
 * 2 for a folder. */
struct inode_spec {
	u32 mode;  /* with type */
	u32 umask; /* to be applied unless there is a default ACL */
	u32 uid, gid;
	u64 rdev;
	u32 flags;
	const char *target; /* symlink */
	s64 now;
	bool nameless; /* O_TMPFILE: nlink 0 */
};
int inode_new(struct fs *fs, const struct inode_spec *spec, struct inode **ret);
/* Give up one that was just made and got neither name nor record. */
void inode_discard(struct inode *inode);

static inline bool inode_is_dir(const struct inode *inode)
{
	return S_ISDIR(inode->type);
}

/* Its pages are to stay in memory, and so is it. */
static inline bool inode_is_pinned(const struct inode *inode)
{
	return __atomic_load_n(&inode->mapping.pinned, __ATOMIC_RELAXED);
}

/* What struct file.ra_mode of those who open it begins with. */
u32 inode_ra_mode(struct inode *inode);

static inline bool inode_is_reg(const struct inode *inode)
{
	return S_ISREG(inode->type);
}

/* Make room for one more look-up count, so that taking it cannot fail; give
 * the room back with lookup_unreserve() unless lookup_take() used it. */
int lookup_reserve(struct fs *fs);
void lookup_unreserve(struct fs *fs);
void lookup_take(struct fs *fs, struct inode *inode);
/* Drop @n look-ups of @ino. Context: no locks held. */
void lookup_forget(struct fs *fs, u64 ino, u64 n);
/* The kernel may have any page of @ino until it forgets it; may it?
 * Context: no locks held. */
void lookup_note_filled(struct fs *fs, u64 ino);
bool lookup_is_filled(struct fs *fs, u64 ino);
/* At the end: nobody knows any inode any more. */
void lookup_forget_all(struct fs *fs);

/* Forget idle inodes, oldest first. */
enum inode_shrink {
	SHRINK_TO_FEW,
	SHRINK_ALL, /* but pinned ones */
	SHRINK_END, /* pins are of the mount, and end with it */
};
void inode_shrink(struct fs *fs, enum inode_shrink how);

/* References to all inodes that are open or have a mapping, by number. */
int inode_snapshot(struct fs *fs, struct inode ***ret, size_t *ret_nr);

/* Abort unless table, idle list and look-up counts agree. For tests. */
void inode_table_check(struct inode_table *t);

/* Its changes are committed only where somebody says so. */
bool inode_is_atomic(const struct inode *inode);
/* ... and it is open for writing. Context: lock held. */
bool inode_held_locked(const struct inode *inode);
/* A handle for writing comes or goes. Context: no locks held. */
/* Return: 0, or -EAGAIN: fs_take_begin() was called. */
int inode_add_writer(struct inode *inode);
void inode_drop_writer(struct inode *inode);

/* Columns as they are now. */
void inode_stat(struct inode *inode, struct stat *ret);

#endif

/* SPDX-License-Identifier: MIT */
/* What the files that make up fs.h share among themselves. */
#ifndef FOLIO_FS_INTERNAL_H
#define FOLIO_FS_INTERNAL_H

#include <errno.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "committer.h"
#include "fs.h"
#include "handle.h"
#include "inode.h"
#include "oplist.h"
#include "redo.h"
#include "scrub.h"

struct fs {
	/* constant */
	struct volume *volume;
	struct cache *cache;
	struct fs_options opt;
	void (*attr_changed)(void *arg, u64 ino); /* may be NULL */
	void *attr_changed_arg;

	struct rwsem stop;
	struct mutex rename_mutex;
	struct inode_table inodes;
	struct oplist ops;
	struct handle_table handles;
	struct committer committer;
	struct scrub scrub;

	/* atomic */
	u64 next_dentry_id;
	s64 charged_meta; /* what SQLite was last seen to hold */
	unsigned atime;	  /* FS_ATIME_* */
	bool readonly;
};

#define FS_CONTROL_NAME ".foliofs"

static inline struct timespec ns_to_timespec(s64 ns)
{
	s64 sec = ns / (s64)NSEC_PER_SEC;
	s64 rem = ns % (s64)NSEC_PER_SEC;

	if (rem < 0) {
		rem += (s64)NSEC_PER_SEC;
		sec--;
	}
	return (struct timespec){.tv_sec = sec, .tv_nsec = rem};
}

/* Years past 2262 or before 1677 become the last or first there is. */
static inline s64 timespec_to_ns(const struct timespec *ts)
{
	s64 ns;

	if (__builtin_mul_overflow((s64)ts->tv_sec, (s64)NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (s64)ts->tv_nsec, &ns))
		return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static inline bool fs_readonly(struct fs *fs)
{
	return __atomic_load_n(&fs->readonly, __ATOMIC_ACQUIRE);
}

/*
 * May a change begin? -EROFS, or -ERESTART when too much is pending (fs.h says
 * what then). @frees: a removal, which is let through longer.
 * Context: no locks held.
 */
int fs_may_change(struct fs *fs, bool frees);
/* Is there anything that a commit could free blocks by? */
bool fs_commit_may_free(struct fs *fs);
/* A change found no space, and is still to be done as a whole. Return: 0: once
 * more, a commit has been waited for; -ERESTART (fs.h says what then), or
 * -ENOSPC: there is nothing to wait for. Context: no locks held. */
int fs_lacks_space(struct fs *fs);

/* file.c: what the cache asks of an inode */
extern const struct address_space_operations file_mapping_ops;

/* Set-id bits go when the content or the owner changes, as in Linux
 * setattr_should_drop_suidgid(). Return: @mode without them. */
static inline u32 mode_without_setid(u32 mode)
{
	if (S_ISDIR(mode))
		return mode;
	mode &= ~(u32)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(u32)S_ISGID;
	return mode;
}

/* ---- file.c, attr.c ---- */

/* Set the size. Context: rwsem held exclusive. */
int inode_truncate(struct inode *inode, u64 size);
/* The content changes: set-id bits go. Context: no locks held. */
int inode_drop_setid(struct inode *inode);

/* ---- access.c ---- */

/* @inode was read: its access time changes as fs_set_atime() has it. Context:
 * a reference; its rwsem may be held. */
void inode_accessed(struct inode *inode);
/* Make records of the times that wait for a commit. Context: the committer. */
void access_log_all(struct fs *fs);
/* At the end, when they could not be committed. */
void access_forget_all(struct fs *fs);
/* When they are to be committed though nothing else is; UINT64_MAX: none. */
u64 access_due_ns(struct fs *fs);

/* ---- flags.c: what immutable and append-only inodes let happen ----
 *
 * All return 0 or -EPERM. Context: where they are to bind, what changes the
 * flags is kept out by the inode's rwsem.
 */

int inode_may_open(struct inode *inode, int flags);
int inode_may_write(struct inode *inode, u64 pos);
int inode_may_fallocate(struct inode *inode, int mode);
/* As fs_setattr() is called. */
int inode_may_setattr(struct inode *inode, u64 fh, const struct stat *attr,
		      unsigned set);
/* Its extended attributes; a name more. */
int inode_may_change(struct inode *inode);
int inode_may_add_to(struct inode *dir);
/* The name of @inode in @dir may go, or be another's. */
int inode_may_remove(struct inode *dir, struct inode *inode);

/* Bits of inode.flags, for good. Context: rwsem held exclusive. */
int inode_set_flags(struct inode *inode, u32 mask, u32 bits);

/* ---- xattr.c, fs_acl.c ---- */

/* Context: rwsem held. */
ssize_t xattr_get_locked(struct inode *inode, const char *name, void *buf,
			 size_t size);
/* May an attribute of so many bytes be the inode's? Those of one without a row
 * wait in memory, until it has one or is gone: no commit makes room for more.
 * Return: 0, -ENOSPC. */
int xattr_may_park(struct inode *inode, size_t size);
/* The content changes: capabilities of the program in it go, whoever does it.
 * Context: no locks held. */
int inode_drop_capability(struct inode *inode);

struct acl {
	void *value; /* NULL: none */
	size_t len;
};

/* What the default ACL of its folder gives a new inode. */
struct heritage {
	struct acl access, deflt;
	struct op_xattr *access_op, *default_op;
};

/* Settle @spec's mode, by @dir's default ACL or by the umask.
 * Context: dir->rwsem held. heritage_done() is due, also after an error. */
int acl_inherit(struct inode *dir, struct inode_spec *spec,
		struct heritage *ret);
/* Make the records for the new inode; log them within the stop. */
int heritage_prepare(struct heritage *h, struct inode *inode);
void log_heritage(struct ns_change *ch, struct inode *inode,
		  struct heritage *h);
void heritage_done(struct fs *fs, struct heritage *h);

/* The value of one of the two; as fs_getxattr(). Context: rwsem held. */
ssize_t inode_acl_get(struct inode *inode, const char *name, void *buf,
		      size_t size);
/* Set or, with @value NULL, remove one, and bring the mode in step.
 * Context: rwsem held exclusive. */
int inode_acl_set(struct inode *inode, const char *name, const void *value,
		  size_t size, bool kill_sgid);
/* The mode is to become @mode: the record that the access ACL needs for it, or
 * NULL. Context: rwsem held exclusive. */
int inode_acl_chmod(struct inode *inode, u32 mode, struct op_xattr **ret);

/* ---- namei.c ---- */

struct entry {
	u64 ino, id;
	u32 type;
};

/* A name that may be: 0, -EINVAL, -ENAMETOOLONG. */
int namei_check(const char *name);
bool namei_is_dots(const char *name);
/* The control files' folder, which is not ours. */
bool namei_is_control(u64 parent, const char *name);
int namei_get_dir(struct fs *fs, u64 ino, struct inode **ret);

/* Look @name up in @dir. Context: dir->rwsem held. Return: 0, -ENOENT ... */
int namei_find(struct inode *dir, const char *name, struct entry *ret);
/* Has the folder an entry? Context: rwsem held. Return: 1, 0, -errno. */
int namei_any(struct inode *dir);
/* The folder's parent, for ".." and for the rename of folders.
 * Context: may sleep. Return: 0 or -errno. */
int namei_parent(struct inode *dir, u64 *ret_parent);

/* The next cookie of an entry. */
u64 namei_new_id(struct fs *fs);

/* Within the stop: */
/* A name was added to or removed from @dir: times, nlink, a record. */
void namei_touch_dir(struct ns_change *ch, struct inode *dir, int links);
/* nlink and ctime, without a record. */
void namei_touch(struct ns_change *ch, struct inode *inode, int links);
void namei_set_parent(struct inode *inode, u64 parent);
/* One name less, with a record. inode_prepare_delete() was done. */
void namei_unlink(struct ns_change *ch, struct inode *inode);
/* The content of @inode is to be committed no later than the name that it is
 * getting now. Return: false when there is nothing to commit. */
bool namei_commit_point(struct inode *inode);

#endif

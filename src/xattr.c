/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: rows, and over them the records of those changed since
 * the last commit, which hang at the inode.
 */
#include "config.h"

#include <linux/limits.h>
#include <linux/xattr.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "acl.h"
#include "fs_internal.h"
#include "xattr_own.h"

#define XATTR_LIST_MAX 65536

/* What attributes of nameless inodes may take in all: a share of the budget. */
#define PARKED_SHARE 16
#define PARKED_MIN ((u64)1 << 20)

static bool has_prefix(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return !strncmp(name, prefix, len) && name[len];
}

/* The name spaces that a filesystem keeps for programs. "system." is the
 * kernel's: of it there are ACLs; "user.foliofs." is ours. */
static int check_name(const char *name)
{
	if (strlen(name) > XATTR_NAME_MAX)
		return -ERANGE;
	if (xattr_own_find(name))
		return 0;
	if (has_prefix(name, "user.foliofs."))
		return -EOPNOTSUPP;
	if (acl_is_name(name))
		return 0;
	if (!has_prefix(name, "user.") && !has_prefix(name, "trusted.") &&
	    !has_prefix(name, "security."))
		return -EOPNOTSUPP;
	return 0;
}

/* ---- reading ---- */

/* From the records. Return: false when they do not know the name. */
static bool get_changed(struct inode *inode, const char *name, void *buf,
			size_t size, ssize_t *ret)
{
	struct oplist *l = &inode->fs->ops;
	struct op_xattr *x;

	mutex_lock(&l->lock);
	x = oplist_find_xattr(inode, name);
	if (x)
		*ret = x->present
			       ? xattr_copy_value(x->value, x->len, buf, size)
			       : -ENODATA;
	mutex_unlock(&l->lock);
	return x;
}

/* Context: rwsem held. */
ssize_t xattr_get_locked(struct inode *inode, const char *name, void *buf,
			 size_t size)
{
	const struct xattr_own *own;
	struct meta_reader *r = NULL;
	ssize_t n;

	own = xattr_own_find(name);
	if (own)
		return xattr_own_get(inode, own, buf, size);
	if (get_changed(inode, name, buf, size, &n))
		return n;

	n = meta_reader_get(inode->fs->volume->meta, &r);
	if (n)
		return n;
	n = meta_xattr_get(r, inode->ino, name, buf, size);
	meta_reader_put(r);
	return n;
}

ssize_t fs_getxattr(struct fs *fs, u64 ino, const char *name, void *buf,
		    size_t size)
{
	struct inode *inode = NULL;
	ssize_t n;

	n = check_name(name);
	if (!n)
		n = inode_get_ino(fs, ino, &inode);
	if (n)
		return n;

	down_read(&inode->rwsem);
	if (acl_is_name(name))
		n = inode_acl_get(inode, name, buf, size);
	else
		n = xattr_get_locked(inode, name, buf, size);
	up_read(&inode->rwsem);
	inode_put(inode);
	return n;
}

/* ---- listing ---- */

struct xattr_list {
	char *buf;
	size_t size, len;
	bool full;
	bool trusted; /* those of root too */
};

static void list_add_name(struct xattr_list *list, const char *name)
{
	size_t len = strlen(name) + 1;

	if (!list->trusted && has_prefix(name, "trusted."))
		return;
	if (len > list->size - list->len) {
		list->full = true;
		return;
	}
	memcpy(list->buf + list->len, name, len);
	list->len += len;
}

static int list_rows(struct inode *inode, struct xattr_list *rows)
{
	struct meta_reader *r = NULL;
	ssize_t n;

	n = meta_reader_get(inode->fs->volume->meta, &r);
	if (n)
		return (int)n;
	n = meta_xattr_list(r, inode->ino, rows->buf, rows->size);
	meta_reader_put(r);
	if (n < 0)
		return (int)n;
	rows->len = (size_t)n;
	return 0;
}

/* Rows that no record speaks of, then records. */
static void list_merge(struct inode *inode, const struct xattr_list *rows,
		       struct xattr_list *out)
{
	struct oplist *l = &inode->fs->ops;
	struct op_xattr *x;

	mutex_lock(&l->lock);
	for (size_t i = 0; i < rows->len; i += strlen(rows->buf + i) + 1) {
		if (!oplist_find_xattr(inode, rows->buf + i))
			list_add_name(out, rows->buf + i);
	}
	list_for_each_entry (x, &inode->xattrs, inode_node) {
		if (x->present)
			list_add_name(out, x->name);
	}
	mutex_unlock(&l->lock);
}

/* Context: rwsem held. */
static int list_locked(struct inode *inode, struct xattr_list *out)
{
	struct oplist *l = &inode->fs->ops;
	struct xattr_list rows = {.size = XATTR_LIST_MAX};
	int err;

	rows.buf = malloc(rows.size);
	if (!rows.buf)
		return -ENOMEM;

	down_read(&l->drop_sem);
	err = list_rows(inode, &rows);
	if (!err)
		list_merge(inode, &rows, out);
	up_read(&l->drop_sem);
	free(rows.buf);
	return err;
}

ssize_t fs_listxattr(struct fs *fs, u64 ino, bool trusted, char *buf,
		     size_t size)
{
	struct xattr_list out = {.size = XATTR_LIST_MAX, .trusted = trusted};
	struct inode *inode = NULL;
	ssize_t n;

	n = inode_get_ino(fs, ino, &inode);
	if (n)
		return n;
	out.buf = malloc(out.size);
	if (!out.buf) {
		inode_put(inode);
		return -ENOMEM;
	}

	down_read(&inode->rwsem);
	n = list_locked(inode, &out);
	up_read(&inode->rwsem);
	if (!n)
		n = out.full ? -E2BIG
			     : xattr_copy_value(out.buf, out.len, buf, size);
	free(out.buf);
	inode_put(inode);
	return n;
}

/* ---- changing ---- */

static int check_flags(ssize_t old, int flags)
{
	if (old < 0 && old != -ENODATA)
		return (int)old;
	if (flags & XATTR_CREATE && old >= 0)
		return -EEXIST;
	if (flags & XATTR_REPLACE && old < 0)
		return -ENODATA;
	return 0;
}

int xattr_may_park(struct inode *inode, size_t size)
{
	struct oplist *l = &inode->fs->ops;
	u64 budget = cache_get_knob(inode->fs->cache, KNOB_cache_size);
	bool norow;

	mutex_lock(&l->lock);
	norow = inode->norow;
	mutex_unlock(&l->lock);
	if (!norow || oplist_parked_bytes(l) + size <=
			      max(budget / PARKED_SHARE, PARKED_MIN))
		return 0;
	return -ENOSPC;
}

static void set_no_capability(struct inode *inode, bool none)
{
	__atomic_store_n(&inode->no_capability, none, __ATOMIC_RELAXED);
}

/* Context: rwsem held exclusive. @value NULL: remove. */
static int change_locked(struct inode *inode, const char *name,
			 const void *value, size_t size, int flags)
{
	struct op_xattr *op;
	struct ns_change ch;
	int err;

	if (!strcmp(name, XATTR_NAME_CAPS))
		set_no_capability(inode, false);
	err = check_flags(xattr_get_locked(inode, name, NULL, 0), flags);
	if (!err && value)
		err = xattr_may_park(inode, size);
	if (err)
		return err;
	op = op_xattr_new(inode, name, value, size);
	if (!op)
		return -ENOMEM;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (err) {
		op_free(inode->fs, &op->op);
	} else {
		change_begin(&ch);
		namei_touch(&ch, inode, 0);
		log_inode(&ch, inode);
		log_xattr(&ch, inode, op);
		change_end(&ch);
	}
	change_done(&ch);
	return err;
}

int inode_drop_capability(struct inode *inode)
{
	int err;

	if (__atomic_load_n(&inode->no_capability, __ATOMIC_RELAXED))
		return 0;

	down_write(&inode->rwsem);
	err = change_locked(inode, XATTR_NAME_CAPS, NULL, 0, XATTR_REPLACE);
	if (err == -ENODATA)
		err = 0;
	if (!err)
		set_no_capability(inode, true);
	up_write(&inode->rwsem);
	return err;
}

static int change(struct fs *fs, u64 ino, const char *name, const void *value,
		  size_t size, int flags)
{
	struct inode *inode = NULL;
	int err;

	err = check_name(name);
	if (!err)
		err = fs_may_change(fs, !value);
	if (!err)
		err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	down_write(&inode->rwsem);
	err = inode_may_change(inode);
	if (err)
		; /* as it is */
	else if (xattr_own_find(name))
		err = xattr_own_change(inode, xattr_own_find(name), value, size,
				       flags);
	else if (acl_is_name(name))
		err = inode_acl_set(inode, name, value, size,
				    flags & FS_XATTR_KILL_SGID);
	else
		err = change_locked(inode, name, value, size, flags);
	up_write(&inode->rwsem);
	inode_put(inode);
	return err;
}

int fs_setxattr(struct fs *fs, u64 ino, const char *name, const void *value,
		size_t size, int flags)
{
	if (size > FS_XATTR_MAX)
		return -E2BIG;
	return change(fs, ino, name, value ? value : "", size, flags);
}

int fs_removexattr(struct fs *fs, u64 ino, const char *name)
{
	return change(fs, ino, name, NULL, 0, XATTR_REPLACE);
}

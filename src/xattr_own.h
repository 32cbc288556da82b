/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes "user.foliofs.": not stored as such, but what they say
 * is a property of the inode.
 *
 *	atomic		1: content changes on the volume only where somebody
 *			says so; see committer.h
 *	pin		1: pages stay in memory, as long as the volume is
 *mounted readahead	normal, random (none) or sequential (twice as much), for
 *			all who read the file
 *	stat		what the cache has of it; see src/ops_xattr.c
 *
 * Each has a value always, so none can be created; removing one sets its
 * default; stat can be neither. They are not listed, or every cp -a would take
 * them along.
 *
 * Context of all: the inode's rwsem is held, exclusively for a change.
 */
#ifndef FOLIO_XATTR_OWN_H
#define FOLIO_XATTR_OWN_H

#include "inode.h"

struct xattr_own;

/* NULL: it is none of them. */
const struct xattr_own *xattr_own_find(const char *name);

/* Return: the length of the value; -ENODATA: not for this type of inode, or not
 * from here. */
ssize_t xattr_own_get(struct inode *inode, const struct xattr_own *own,
		      void *buf, size_t size);

/* @value NULL: remove. Return: 0, -EINVAL, -EOPNOTSUPP, -EEXIST, -EPERM ... */
int xattr_own_change(struct inode *inode, const struct xattr_own *own,
		     const char *value, size_t size, int flags);

/* As getxattr(2) gives a value: its length if @size is 0, -ERANGE. */
ssize_t xattr_copy_value(const void *value, size_t len, void *buf, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * ACLs of inodes: extended attributes (src/acl.h) that go together with the
 * mode. Most inodes have none, and each creation and chmod asks; so whether
 * there is one is remembered at the inode once it is known.
 */
#include "config.h"

#include <stdlib.h>

#include "acl.h"
#include "fs_internal.h"

static enum acl_known *known_of(struct inode *inode, const char *name)
{
	return strcmp(name, ACL_XATTR_ACCESS) != 0 ? &inode->default_acl
						   : &inode->access_acl;
}

static enum acl_known known(struct inode *inode, const char *name)
{
	return __atomic_load_n(known_of(inode, name), __ATOMIC_RELAXED);
}

static void set_known(struct inode *inode, const char *name, bool there)
{
	__atomic_store_n(known_of(inode, name), there ? ACL_SOME : ACL_NONE,
			 __ATOMIC_RELAXED);
}

ssize_t inode_acl_get(struct inode *inode, const char *name, void *buf,
		      size_t size)
{
	ssize_t n;

	if (known(inode, name) == ACL_NONE)
		return -ENODATA;
	n = xattr_get_locked(inode, name, buf, size);
	if (n >= 0 || n == -ENODATA)
		set_known(inode, name, n >= 0);
	return n;
}

/* A copy to work on. Return: 0, and no value where there is no list. */
static int read_acl(struct inode *inode, const char *name, struct acl *ret)
{
	ssize_t n = inode_acl_get(inode, name, NULL, 0);
	void *value;
	int err;

	if (n < 0)
		return n == -ENODATA ? 0 : (int)n;
	value = malloc((size_t)n + 1);
	if (!value)
		return -ENOMEM;
	n = inode_acl_get(inode, name, value, (size_t)n);
	err = n < 0 ? (int)n : acl_check(value, (size_t)n);
	if (err) {
		free(value);
		return n < 0 ? err : -EIO;
	}
	*ret = (struct acl){.value = value, .len = (size_t)n};
	return 0;
}

/* ---- inheriting ---- */

int acl_inherit(struct inode *dir, struct inode_spec *spec,
		struct heritage *ret)
{
	int err = 0;

	if (!S_ISLNK(spec->mode))
		err = read_acl(dir, ACL_XATTR_DEFAULT, &ret->deflt);
	if (err)
		return err;
	if (!ret->deflt.value) {
		if (!S_ISLNK(spec->mode))
			spec->mode &= ~spec->umask;
		return 0;
	}

	ret->access.value = malloc(ret->deflt.len);
	if (!ret->access.value)
		return -ENOMEM;
	ret->access.len = ret->deflt.len;
	memcpy(ret->access.value, ret->deflt.value, ret->deflt.len);
	spec->mode = acl_create(ret->access.value, ret->access.len, spec->mode);
	return 0;
}

static int heir_op(struct inode *inode, const char *name, const struct acl *acl,
		   struct op_xattr **ret)
{
	*ret = op_xattr_new(inode, name, acl->value, acl->len);
	return *ret ? 0 : -ENOMEM;
}

int heritage_prepare(struct heritage *h, struct inode *inode)
{
	int err = 0;

	if (h->access.value && acl_is_extended(h->access.value, h->access.len))
		err = heir_op(inode, ACL_XATTR_ACCESS, &h->access,
			      &h->access_op);
	if (!err && h->deflt.value && inode_is_dir(inode))
		err = heir_op(inode, ACL_XATTR_DEFAULT, &h->deflt,
			      &h->default_op);
	return err;
}

static void log_heir_op(struct ns_change *ch, struct inode *inode,
			struct op_xattr **op)
{
	if (!*op)
		return;
	set_known(inode, (*op)->name, true);
	log_xattr(ch, inode, *op);
	*op = NULL;
}

void log_heritage(struct ns_change *ch, struct inode *inode, struct heritage *h)
{
	log_heir_op(ch, inode, &h->access_op);
	log_heir_op(ch, inode, &h->default_op);
}

void heritage_done(struct fs *fs, struct heritage *h)
{
	if (h->access_op)
		op_free(fs, &h->access_op->op);
	if (h->default_op)
		op_free(fs, &h->default_op->op);
	free(h->access.value);
	free(h->deflt.value);
}

/* ---- changing ---- */

int inode_acl_chmod(struct inode *inode, u32 mode, struct op_xattr **ret)
{
	struct acl acl = {0};
	int err;

	*ret = NULL;
	err = read_acl(inode, ACL_XATTR_ACCESS, &acl);
	if (err || !acl.value)
		return err;

	acl_chmod(acl.value, acl.len, mode);
	*ret = op_xattr_new(inode, ACL_XATTR_ACCESS, acl.value, acl.len);
	free(acl.value);
	return *ret ? 0 : -ENOMEM;
}

/* What is to be, then: which record, and which mode. */
struct acl_change {
	const char *name;
	struct op_xattr *op; /* NULL: the mode says it all, or nothing is */
	bool there;	     /* an attribute remains */
	bool set_mode;
	u32 mode;
};

static int plan(struct inode *inode, const void *value, size_t size, bool kill,
		struct acl_change *c)
{
	bool access = !strcmp(c->name, ACL_XATTR_ACCESS);
	ssize_t old = inode_acl_get(inode, c->name, NULL, 0);
	int err;

	if (old < 0 && old != -ENODATA)
		return (int)old;
	if (S_ISLNK(inode->type))
		return -EOPNOTSUPP;
	if (value && !access && !inode_is_dir(inode))
		return -EACCES;
	err = value ? acl_check(value, size) : 0;
	if (err)
		return err;

	if (value && access) {
		c->set_mode = true;
		c->mode = (inode->mode & ~0777u) | acl_mode(value, size);
		if (kill)
			c->mode &= ~(u32)S_ISGID;
	}
	c->there = value && (!access || acl_is_extended(value, size));
	if (!c->there && old < 0)
		return 0;
	c->op = op_xattr_new(inode, c->name, c->there ? value : NULL, size);
	return c->op ? 0 : -ENOMEM;
}

static void apply(struct ns_change *ch, struct inode *inode,
		  struct acl_change *c)
{
	change_begin(ch);
	mutex_lock(&inode->lock);
	if (c->set_mode)
		inode->mode = c->mode;
	inode->ctime = ch->now;
	mutex_unlock(&inode->lock);
	log_inode(ch, inode);
	if (c->op)
		log_xattr(ch, inode, c->op);
	set_known(inode, c->name, c->there);
	change_end(ch);
}

int inode_acl_set(struct inode *inode, const char *name, const void *value,
		  size_t size, bool kill_sgid)
{
	struct acl_change c = {.name = name};
	struct ns_change ch;
	int err;

	err = plan(inode, value, size, kill_sgid, &c);
	if (err || (!c.op && !c.set_mode))
		return err;

	change_init(&ch, inode->fs);
	err = change_inodes(&ch, 1);
	if (!err)
		apply(&ch, inode, &c);
	else if (c.op)
		op_free(inode->fs, &c.op->op);
	change_done(&ch);
	return err;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "xattr_own.h"

#include <stdlib.h>
#include <sys/xattr.h>

#include "fs_internal.h"

struct xattr_own {
	const char *name;
	bool dirs; /* folders have it too */
	const char *(*get)(struct inode *inode);
	/* @value "": the default. NULL: it cannot be set */
	int (*set)(struct inode *inode, const char *value);
};

/* "0", "1", or "" which is 0. Return: false: neither. */
static bool parse_switch(const char *value, bool *ret)
{
	*ret = !strcmp(value, "1");
	return *ret || !*value || !strcmp(value, "0");
}

/* ---- atomic ---- */

static const char *get_atomic(struct inode *inode)
{
	return inode_is_atomic(inode) ? "1" : "0";
}

static int set_atomic(struct inode *inode, const char *value)
{
	bool on;
	int err;

	if (!parse_switch(value, &on))
		return -EINVAL;
	err = inode_set_flags(inode, INODE_ATOMIC, on ? INODE_ATOMIC : 0);
	if (!err && !on)
		oplist_restart_timer(&inode->fs->ops, inode);
	return err;
}

/* ---- pin: of this mount, not of the volume ---- */

static const char *get_pin(struct inode *inode)
{
	return inode_is_pinned(inode) ? "1" : "0";
}

static int set_pin(struct inode *inode, const char *value)
{
	bool on;

	if (!parse_switch(value, &on))
		return -EINVAL;
	if (on != inode_is_pinned(inode))
		address_space_pin(&inode->mapping, on);
	return 0;
}

/* ---- readahead ---- */

#define READAHEAD_FLAGS (INODE_RA_RANDOM | INODE_RA_SEQUENTIAL)

/* In the order of struct file's ra_mode. */
static const struct {
	const char *word;
	u32 flags;
} readahead[] = {
	{"normal", 0},
	{"random", INODE_RA_RANDOM},
	{"sequential", INODE_RA_SEQUENTIAL},
};

u32 inode_ra_mode(struct inode *inode)
{
	u32 flags;

	mutex_lock(&inode->lock);
	flags = inode->flags;
	mutex_unlock(&inode->lock);
	for (u32 i = 1; i < ARRAY_SIZE(readahead); i++) {
		if (flags & readahead[i].flags)
			return i;
	}
	return 0;
}

static const char *get_readahead(struct inode *inode)
{
	return readahead[inode_ra_mode(inode)].word;
}

/* Those who have it open; who opens it now sees the flag, or is among them. */
static int tell_open_files(struct inode *inode, u32 mode)
{
	struct handle **handles = NULL;
	size_t nr = 0;
	int err;

	err = handle_list(inode->fs, &inode->ino, 1, &handles, &nr);
	for (size_t i = 0; !err && i < nr; i++) {
		__atomic_store_n(&handles[i]->file.ra_mode, mode,
				 __ATOMIC_RELAXED);
		handle_put(handles[i]);
	}
	free(handles);
	return err;
}

static int set_readahead(struct inode *inode, const char *value)
{
	u32 mode = 0;
	int err;

	while (*value && mode < ARRAY_SIZE(readahead) &&
	       strcmp(value, readahead[mode].word) != 0)
		mode++;
	if (mode == ARRAY_SIZE(readahead))
		return -EINVAL;
	err = inode_set_flags(inode, READAHEAD_FLAGS, readahead[mode].flags);
	return err ? err : tell_open_files(inode, mode);
}

/* ---- all ---- */

static const struct xattr_own all[] = {
	{FS_XATTR_ATOMIC, true, get_atomic, set_atomic},
	{FS_XATTR_PIN, false, get_pin, set_pin},
	{FS_XATTR_READAHEAD, false, get_readahead, set_readahead},
	{FS_XATTR_STAT, false, NULL, NULL},
};

const struct xattr_own *xattr_own_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!strcmp(name, all[i].name))
			return &all[i];
	}
	return NULL;
}

static bool has(const struct inode *inode, const struct xattr_own *own)
{
	return inode_is_reg(inode) || (own->dirs && inode_is_dir(inode));
}

ssize_t xattr_copy_value(const void *value, size_t len, void *buf, size_t size)
{
	if (!size)
		return (ssize_t)len;
	if (len > size)
		return -ERANGE;
	if (len)
		memcpy(buf, value, len);
	return (ssize_t)len;
}

ssize_t xattr_own_get(struct inode *inode, const struct xattr_own *own,
		      void *buf, size_t size)
{
	const char *value;

	if (!has(inode, own) || !own->get)
		return -ENODATA;
	value = own->get(inode);
	return xattr_copy_value(value, strlen(value), buf, size);
}

int xattr_own_change(struct inode *inode, const struct xattr_own *own,
		     const char *value, size_t size, int flags)
{
	char text[16] = "";

	if (!has(inode, own))
		return -EOPNOTSUPP;
	if (!own->set)
		return -EPERM;
	if (flags & XATTR_CREATE)
		return -EEXIST;
	/* an empty value is none of those that there are */
	if (value &&
	    (!size || size >= sizeof(text) || memchr(value, '\0', size)))
		return -EINVAL;
	if (value)
		memcpy(text, value, size);
	return own->set(inode, text);
}

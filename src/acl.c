/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

static size_t nr_entries(size_t len)
{
	return (len - sizeof(struct posix_acl_xattr_header)) /
	       sizeof(struct posix_acl_xattr_entry);
}

/* A value need not be aligned: entries are copied out and in. */
static struct posix_acl_xattr_entry get_entry(const void *value, size_t i)
{
	const char *entries =
		(const char *)value + sizeof(struct posix_acl_xattr_header);
	struct posix_acl_xattr_entry e;

	memcpy(&e, entries + i * sizeof(e), sizeof(e));
	e.e_tag = le16toh(e.e_tag);
	e.e_perm = le16toh(e.e_perm);
	return e;
}

static void set_perm(void *value, size_t i, u32 perm)
{
	char *entries = (char *)value + sizeof(struct posix_acl_xattr_header);
	u16 le = htole16((u16)perm);

	memcpy(entries + i * sizeof(struct posix_acl_xattr_entry) +
		       offsetof(struct posix_acl_xattr_entry, e_perm),
	       &le, sizeof(le));
}

/* ---- is it one? ---- */

/* The order in which tags stand; named ones may come several times. */
static int rank_of(u16 tag)
{
	switch (tag) {
	case ACL_USER_OBJ:
		return 1;
	case ACL_USER:
		return 2;
	case ACL_GROUP_OBJ:
		return 3;
	case ACL_GROUP:
		return 4;
	case ACL_MASK:
		return 5;
	case ACL_OTHER:
		return 6;
	default:
		return 0;
	}
}

static bool is_named(u16 tag)
{
	return tag == ACL_USER || tag == ACL_GROUP;
}

/* Bits of the ranks seen; 0: out of order, or nonsense. */
static unsigned ranks_seen(const void *value, size_t len)
{
	unsigned seen = 0;
	int last = 0;

	for (size_t i = 0; i < nr_entries(len); i++) {
		struct posix_acl_xattr_entry e = get_entry(value, i);
		int rank = rank_of(e.e_tag);

		if (!rank || e.e_perm & ~07u || rank < last ||
		    (rank == last && !is_named(e.e_tag)))
			return 0;
		seen |= 1u << rank;
		last = rank;
	}
	return seen;
}

int acl_check(const void *value, size_t len)
{
	const unsigned base = 1u << 1 | 1u << 3 | 1u << 6;
	const unsigned named = 1u << 2 | 1u << 4, mask = 1u << 5;
	struct posix_acl_xattr_header header;
	unsigned seen;

	if (len < sizeof(header) ||
	    (len - sizeof(header)) % sizeof(struct posix_acl_xattr_entry) != 0)
		return -EINVAL;
	memcpy(&header, value, sizeof(header));
	if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION)
		return -EOPNOTSUPP;

	seen = ranks_seen(value, len);
	if ((seen & base) != base || (seen & named && !(seen & mask)))
		return -EINVAL;
	return 0;
}

bool acl_is_extended(const void *value, size_t len)
{
	return nr_entries(len) > 3;
}

/* ---- with the mode ---- */

/* Where the three classes of a mode have their entries. The class of the group
 * is bounded by the mask, where there is one. */
struct classes {
	size_t owner, group, other;
};

static struct classes find_classes(const void *value, size_t len)
{
	struct classes c = {0};

	for (size_t i = 0; i < nr_entries(len); i++) {
		switch (get_entry(value, i).e_tag) {
		case ACL_USER_OBJ:
			c.owner = i;
			break;
		case ACL_GROUP_OBJ:
		case ACL_MASK: /* comes later, and counts */
			c.group = i;
			break;
		case ACL_OTHER:
			c.other = i;
			break;
		default:
			break;
		}
	}
	return c;
}

u32 acl_mode(const void *value, size_t len)
{
	struct classes c = find_classes(value, len);

	return (u32)get_entry(value, c.owner).e_perm << 6 |
	       (u32)get_entry(value, c.group).e_perm << 3 |
	       get_entry(value, c.other).e_perm;
}

void acl_chmod(void *value, size_t len, u32 mode)
{
	struct classes c = find_classes(value, len);

	set_perm(value, c.owner, mode >> 6 & 07);
	set_perm(value, c.group, mode >> 3 & 07);
	set_perm(value, c.other, mode & 07);
}

u32 acl_create(void *value, size_t len, u32 mode)
{
	mode &= ~0777u | acl_mode(value, len);
	acl_chmod(value, len, mode);
	return mode;
}

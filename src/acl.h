/* SPDX-License-Identifier: MIT */
/*
 * POSIX access control lists, in the form that they have as the values of the
 * extended attributes below: a version, then entries in the order owner, named
 * users, group, named groups, mask, others (linux/posix_acl_xattr.h). The
 * kernel checks permissions by them; here they are kept in step with the mode,
 * and inherited. The rules are those of IEEE 1003.1e draft 17, section 23.
 *
 * Functions but acl_check() want a value that acl_check() has found good.
 */
#ifndef FOLIO_ACL_H
#define FOLIO_ACL_H

#include <stddef.h>
#include <string.h>

#include "base.h"

#define ACL_XATTR_ACCESS "system.posix_acl_access"
#define ACL_XATTR_DEFAULT "system.posix_acl_default"

static inline bool acl_is_name(const char *name)
{
	return !strcmp(name, ACL_XATTR_ACCESS) ||
	       !strcmp(name, ACL_XATTR_DEFAULT);
}

/* Return: 0, -EINVAL, -EOPNOTSUPP (another version). */
int acl_check(const void *value, size_t len);

/* Does it say more than the nine bits of a mode can? */
bool acl_is_extended(const void *value, size_t len);

/* The nine bits of the mode that goes with an access list: where there is a
 * mask, it stands for the group. */
u32 acl_mode(const void *value, size_t len);

/* The mode of a file became @mode: let its access list follow. */
void acl_chmod(void *value, size_t len, u32 mode);

/*
 * A default list becomes the access list of a new file that is to have @mode:
 * each grants what both do. Return: the mode, its other bits as they were.
 */
u32 acl_create(void *value, size_t len, u32 mode);

#endif

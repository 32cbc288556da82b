/* SPDX-License-Identifier: MIT */
/*
 * The overlay of changed names: for each name of a folder that was changed and
 * not committed yet, what it stands for now, or a tombstone.
 *
 * Three red-black trees over the same objects: by (parent, name) for look-ups,
 * and for those present by (parent, id) for readdir and by (ino, parent, id)
 * for paths. No allocation, no locks of its own: the caller's (oplist.lock).
 */
#ifndef FOLIO_NAMES_H
#define FOLIO_NAMES_H

#include "base.h"
#include "rbtree.h"

struct name {
	struct rb_node by_name;
	struct rb_node by_id;  /* while present */
	struct rb_node by_ino; /* while present */
	u64 parent;
	u64 id;	 /* readdir cookie */
	u64 ino; /* 0: a tombstone */
	u32 type;
	bool hashed; /* hangs in the trees: it is the newest of its name */
	bool fresh;  /* no row, no older record: may vanish without trace */
	u8 len;
	char *str; /* NUL-terminated, behind the object */
};

struct names {
	struct rb_root by_name, by_id, by_ino;
	u64 nr;
};

void names_init(struct names *n);

struct name *names_find(const struct names *n, u64 parent, const char *str);
/* The first present name of @parent with an id > @after. */
struct name *names_next(const struct names *n, u64 parent, u64 after);
/* Any present name of @ino. */
struct name *names_of(const struct names *n, u64 ino);

/* Hang @name in. Context: no other of that parent and name is in. */
void names_insert(struct names *n, struct name *name);
void names_remove(struct names *n, struct name *name);
/* Make @name stand for something else; @ino 0: a tombstone. */
void names_set(struct names *n, struct name *name, u64 ino, u32 type, u64 id);

void names_check(const struct names *n);

#endif

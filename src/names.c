/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <string.h>

#include "names.h"

#define cmp(a, b) (((a) > (b)) - ((a) < (b)))

void names_init(struct names *n)
{
	n->by_name = RB_ROOT;
	n->by_id = RB_ROOT;
	n->by_ino = RB_ROOT;
	n->nr = 0;
}

/* ---- orders ---- */

static int cmp_name(u64 parent, const char *str, const struct name *b)
{
	int c = cmp(parent, b->parent);

	return c ? c : strcmp(str, b->str);
}

static int cmp_id(u64 parent, u64 id, const struct name *b)
{
	int c = cmp(parent, b->parent);

	return c ? c : cmp(id, b->id);
}

static int cmp_ino(u64 ino, u64 parent, u64 id, const struct name *b)
{
	int c = cmp(ino, b->ino);

	return c ? c : cmp_id(parent, id, b);
}

/* ---- look-ups ---- */

struct name *names_find(const struct names *n, u64 parent, const char *str)
{
	struct rb_node *node = n->by_name.node;

	while (node) {
		struct name *name = rb_entry(node, struct name, by_name);
		int c = cmp_name(parent, str, name);

		if (!c)
			return name;
		node = c < 0 ? node->left : node->right;
	}
	return NULL;
}

struct name *names_next(const struct names *n, u64 parent, u64 after)
{
	struct rb_node *node = n->by_id.node;
	struct name *best = NULL;

	while (node) {
		struct name *name = rb_entry(node, struct name, by_id);

		if (cmp_id(parent, after, name) < 0) {
			best = name;
			node = node->left;
		} else {
			node = node->right;
		}
	}
	return best && best->parent == parent ? best : NULL;
}

struct name *names_of(const struct names *n, u64 ino)
{
	struct rb_node *node = n->by_ino.node;

	while (node) {
		struct name *name = rb_entry(node, struct name, by_ino);

		if (ino == name->ino)
			return name;
		node = ino < name->ino ? node->left : node->right;
	}
	return NULL;
}

/* ---- changes ---- */

static void insert_by_name(struct names *n, struct name *name)
{
	struct rb_node **link = &n->by_name.node;
	struct rb_node *parent = NULL;

	while (*link) {
		struct name *other = rb_entry(*link, struct name, by_name);
		int c = cmp_name(name->parent, name->str, other);

		assert(c);
		parent = *link;
		link = c < 0 ? &parent->left : &parent->right;
	}
	rb_insert(&n->by_name, &name->by_name, parent, link, NULL);
}

static void insert_by_id(struct names *n, struct name *name)
{
	struct rb_node **link = &n->by_id.node;
	struct rb_node *parent = NULL;

	while (*link) {
		struct name *other = rb_entry(*link, struct name, by_id);
		int c = cmp_id(name->parent, name->id, other);

		assert(c);
		parent = *link;
		link = c < 0 ? &parent->left : &parent->right;
	}
	rb_insert(&n->by_id, &name->by_id, parent, link, NULL);
}

static void insert_by_ino(struct names *n, struct name *name)
{
	struct rb_node **link = &n->by_ino.node;
	struct rb_node *parent = NULL;

	while (*link) {
		struct name *other = rb_entry(*link, struct name, by_ino);
		int c = cmp_ino(name->ino, name->parent, name->id, other);

		assert(c);
		parent = *link;
		link = c < 0 ? &parent->left : &parent->right;
	}
	rb_insert(&n->by_ino, &name->by_ino, parent, link, NULL);
}

static void insert_present(struct names *n, struct name *name)
{
	if (!name->ino)
		return;

	insert_by_id(n, name);
	insert_by_ino(n, name);
}

static void remove_present(struct names *n, struct name *name)
{
	if (!name->ino)
		return;

	rb_erase(&n->by_id, &name->by_id, NULL);
	rb_erase(&n->by_ino, &name->by_ino, NULL);
}

void names_insert(struct names *n, struct name *name)
{
	assert(!name->hashed);
	insert_by_name(n, name);
	insert_present(n, name);
	name->hashed = true;
	n->nr++;
}

void names_remove(struct names *n, struct name *name)
{
	assert(name->hashed);
	rb_erase(&n->by_name, &name->by_name, NULL);
	remove_present(n, name);
	name->hashed = false;
	n->nr--;
}

void names_set(struct names *n, struct name *name, u64 ino, u32 type, u64 id)
{
	assert(name->hashed);
	remove_present(n, name);
	name->ino = ino;
	name->type = type;
	name->id = id;
	insert_present(n, name);
}

/* ---- checking ---- */

static bool less_name(const struct rb_node *a, const struct rb_node *b)
{
	const struct name *x = rb_entry(a, struct name, by_name);

	return cmp_name(x->parent, x->str, rb_entry(b, struct name, by_name)) <
	       0;
}

static bool less_id(const struct rb_node *a, const struct rb_node *b)
{
	const struct name *x = rb_entry(a, struct name, by_id);

	return cmp_id(x->parent, x->id, rb_entry(b, struct name, by_id)) < 0;
}

static bool less_ino(const struct rb_node *a, const struct rb_node *b)
{
	const struct name *x = rb_entry(a, struct name, by_ino);

	return cmp_ino(x->ino, x->parent, x->id,
		       rb_entry(b, struct name, by_ino)) < 0;
}

static u64 count(const struct rb_root *root)
{
	struct rb_node *node;
	u64 nr = 0;

	rb_for_each (node, root)
		nr++;
	return nr;
}

void names_check(const struct names *n)
{
	struct rb_node *node;
	u64 present = 0;

	rb_check(&n->by_name, less_name);
	rb_check(&n->by_id, less_id);
	rb_check(&n->by_ino, less_ino);

	rb_for_each (node, &n->by_name) {
		const struct name *name = rb_entry(node, struct name, by_name);

		assert(name->hashed && name->len == strlen(name->str));
		assert(!name->fresh || name->ino);
		present += name->ino != 0;
	}
	assert(count(&n->by_name) == n->nr);
	assert(count(&n->by_id) == present);
	assert(count(&n->by_ino) == present);
	(void)count, (void)present, (void)less_name;
	(void)less_id, (void)less_ino;
}

/* SPDX-License-Identifier: MIT */
/*
 * Names and attributes against a model: random operations, each answer
 * compared, with commits, failed commits and remounts in between; then the
 * whole tree is compared.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs_util.h"
#include "tmpdir.h"
#include "wal_gate.h"

#define NR_NAMES 9
#define NR_NODES 160
#define NR_ATTRS 3

/* Names 0..NR_NAMES-1; the last is as long as may be. */
static const char *name_of(int i)
{
	static char long_name[FS_NAME_MAX + 1];
	static const char *const names[] = {"a", "b",	     "c",   "dir",
					    "e", "\xff\x01", "g g", "h.x"};

	if (i < NR_NAMES - 1)
		return names[i];
	memset(long_name, 'L', FS_NAME_MAX);
	return long_name;
}

static const char *const attr_names[NR_ATTRS] = {"user.one", "trusted.two",
						 "security.three"};

struct node {
	bool used; /* has a name, a handle or a look-up */
	u64 ino;
	u32 mode, uid, gid, nlink;
	s64 mtime; /* explicit, 0: not compared */
	u64 size;
	u64 lookups;
	u64 fh; /* open handle, 0: none */
	char target[40];
	char attrs[NR_ATTRS][32]; /* "": none */
	int parent;		  /* of a folder */
	int entry[NR_NAMES];	  /* of a folder: node or -1 */
};

struct model {
	struct test_fs t;
	struct rng rng;
	struct node nodes[NR_NODES];
	u64 nr_ops;
};

static struct model m;

/* ---- the model ---- */

static bool is_dir(int n)
{
	return S_ISDIR(m.nodes[n].mode);
}

static int node_new(u64 ino, u32 mode)
{
	for (int i = 0; i < NR_NODES; i++) {
		struct node *n = &m.nodes[i];

		if (n->used)
			continue;
		memset(n, 0, sizeof(*n));
		n->used = true;
		n->ino = ino;
		n->mode = mode;
		n->uid = test_cred.uid;
		n->gid = test_cred.gid;
		n->nlink = S_ISDIR(mode) ? 2 : 1;
		for (int k = 0; k < NR_NAMES; k++)
			n->entry[k] = -1;
		return i;
	}
	return -1;
}

static bool room(void)
{
	int nr = 0;

	for (int i = 0; i < NR_NODES; i++)
		nr += !m.nodes[i].used;
	return nr > 2;
}

/* An unlinked node goes when nobody knows it any more. */
static void settle(int n)
{
	struct node *node = &m.nodes[n];

	if (!node->nlink && !node->lookups && !node->fh)
		node->used = false;
}

static int pick(bool (*want)(int))
{
	for (int tries = 0; tries < 400; tries++) {
		int n = (int)rng_below(&m.rng, NR_NODES);

		if (m.nodes[n].used && want(n))
			return n;
	}
	return 0;
}

static bool live_dir(int n)
{
	return is_dir(n) && (m.nodes[n].nlink || n == 0);
}

static bool any_dir(int n)
{
	return is_dir(n);
}

static bool any_node(int n)
{
	return true;
}

static int pick_dir(void)
{
	/* now and then one that was removed */
	return pick(rng_one_in(&m.rng, 30) ? any_dir : live_dir);
}

static int pick_name(void)
{
	return (int)rng_below(&m.rng, NR_NAMES);
}

static bool below(int anc, int n)
{
	while (n != anc && n != 0)
		n = m.nodes[n].parent;
	return n == anc;
}

static bool has_entries(int n)
{
	for (int k = 0; k < NR_NAMES; k++) {
		if (m.nodes[n].entry[k] >= 0)
			return true;
	}
	return false;
}

static void model_unlink(int n)
{
	m.nodes[n].nlink -= is_dir(n) ? 2 : 1;
	settle(n);
}

/* A look-up reference was handed out: keep it or give it back. */
static void looked_up(int n)
{
	if (rng_one_in(&m.rng, 4)) {
		m.nodes[n].lookups++;
		return;
	}
	fs_forget(m.t.fs, m.nodes[n].ino, 1);
	settle(n);
}

/* ---- comparing ---- */

static void compare_stat(int n, const struct stat *st)
{
	const struct node *node = &m.nodes[n];

	expect_eq(st->st_ino, node->ino);
	expect_eq(st->st_mode, node->mode);
	expect_eq(st->st_nlink, node->nlink);
	expect_eq(st->st_uid, node->uid);
	expect_eq(st->st_gid, node->gid);
	if (S_ISREG(node->mode))
		expect_eq((u64)st->st_size, node->size);
	if (S_ISLNK(node->mode))
		expect_eq((u64)st->st_size, strlen(node->target));
	if (node->mtime)
		expect(st->st_mtim.tv_sec * 1000000000ll +
			       st->st_mtim.tv_nsec ==
		       node->mtime);
}

struct seen {
	int dir;
	u32 found[NR_NAMES];
	u64 nr, limit;
	u64 last_off;
	bool plus;
};

static bool see(void *arg, const char *name, const struct stat *st,
		u64 next_off)
{
	struct seen *s = arg;
	const struct node *dir = &m.nodes[s->dir];
	int k;

	if (s->nr == s->limit)
		return false;
	s->nr++;
	expect(next_off > s->last_off);
	s->last_off = next_off;
	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		expect(S_ISDIR(st->st_mode));
		if (!name[1])
			expect_eq(st->st_ino, dir->ino);
		else if (dir->nlink)
			expect_eq(st->st_ino, m.nodes[dir->parent].ino);
		return true;
	}
	for (k = 0; k < NR_NAMES && strcmp(name, name_of(k)); k++)
		;
	expect(k < NR_NAMES);
	expect(dir->entry[k] >= 0);
	expect_eq(st->st_ino, m.nodes[dir->entry[k]].ino);
	expect_eq(st->st_mode & S_IFMT, m.nodes[dir->entry[k]].mode & S_IFMT);
	if (s->plus) {
		compare_stat(dir->entry[k], st);
		fs_forget(m.t.fs, st->st_ino, 1);
	}
	s->found[k]++;
	return true;
}

/* Read a folder in pieces of @limit; each entry is seen once. */
static void compare_dir(int n, u64 limit, bool plus)
{
	struct seen s = {.dir = n, .limit = limit, .plus = plus};
	u64 fh, before;

	expect(fs_opendir(m.t.fs, m.nodes[n].ino, 0, &fh) == 0);
	do {
		before = s.last_off;
		s.nr = 0;
		expect(fs_readdir(m.t.fs, fh, s.last_off, plus, see, &s) == 0);
	} while (s.last_off != before);
	expect(fs_releasedir(m.t.fs, fh) == 0);

	for (int k = 0; k < NR_NAMES; k++)
		expect_eq(s.found[k], m.nodes[n].entry[k] >= 0);
}

static void compare_attrs(int n)
{
	const struct node *node = &m.nodes[n];
	char buf[64], list[256];
	ssize_t len;
	int nr = 0, listed = 0;

	for (int a = 0; a < NR_ATTRS; a++) {
		len = fs_getxattr(m.t.fs, node->ino, attr_names[a], buf,
				  sizeof(buf));
		if (!*node->attrs[a]) {
			expect(len == -ENODATA);
			continue;
		}
		nr++;
		expect(len == (ssize_t)strlen(node->attrs[a]));
		expect(!memcmp(buf, node->attrs[a], (size_t)len));
	}
	len = fs_listxattr(m.t.fs, node->ino, true, list, sizeof(list));
	expect(len >= 0);
	for (char *p = list; p < list + len; p += strlen(p) + 1)
		listed++;
	expect_eq(listed, nr);
}

static void compare_node(int n)
{
	struct stat st;
	char buf[64];

	expect(fs_getattr(m.t.fs, m.nodes[n].ino, &st) == 0);
	compare_stat(n, &st);
	compare_attrs(n);
	if (S_ISLNK(m.nodes[n].mode)) {
		expect(fs_readlink(m.t.fs, st.st_ino, buf, sizeof(buf)) == 0);
		expect(!strcmp(buf, m.nodes[n].target));
	}
}

static void compare_path(int n)
{
	char path[4096];

	expect(fs_path(m.t.fs, m.nodes[n].ino, path, sizeof(path)) == 0);
	expect(path[0] == '/');
	/* the deepest model path is followed back down */
	for (int at = n; at != 0; at = m.nodes[at].parent) {
		int k, p = m.nodes[at].parent;
		char *slash = strrchr(path, '/');

		for (k = 0; k < NR_NAMES && m.nodes[p].entry[k] != at; k++)
			;
		expect(k < NR_NAMES);
		expect(!strcmp(slash + 1, name_of(k)));
		*slash = '\0';
	}
	expect(!path[0] || !strcmp(path, "/"));
}

static void compare_tree(int n, u64 limit)
{
	compare_node(n);
	compare_path(n);
	compare_dir(n, limit, false);
	compare_dir(n, limit, true);
	for (int k = 0; k < NR_NAMES; k++) {
		struct stat st;
		int child = m.nodes[n].entry[k];
		int err = fs_lookup(m.t.fs, m.nodes[n].ino, name_of(k), &st);

		expect(err == (child >= 0 ? 0 : -ENOENT));
		if (err)
			continue;
		compare_stat(child, &st);
		fs_forget(m.t.fs, st.st_ino, 1);
		if (is_dir(child))
			compare_tree(child, limit);
		else
			compare_node(child);
	}
}

/* ---- operations: each does the same to both and compares the answers ---- */

static int expected_add(int dir, int k)
{
	if (!m.nodes[dir].nlink)
		return -ENOENT;
	return m.nodes[dir].entry[k] >= 0 ? -EEXIST : 0;
}

static void added(int dir, int k, const struct stat *st, u32 mode)
{
	int n = node_new(st->st_ino, mode);

	expect(n >= 0);
	m.nodes[dir].entry[k] = n;
	m.nodes[dir].mtime = 0;
	if (m.nodes[dir].mode & S_ISGID) {
		m.nodes[n].gid = m.nodes[dir].gid;
		if (S_ISDIR(mode))
			m.nodes[n].mode |= S_ISGID;
	}
	if (S_ISDIR(mode)) {
		m.nodes[n].parent = dir;
		m.nodes[dir].nlink++;
	}
}

static void do_mknod(void)
{
	static const u32 kinds[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR};
	int dir = pick_dir(), k = pick_name(), err;
	u32 mode = kinds[rng_below(&m.rng, 4)] | (u32)rng_below(&m.rng, 01000);
	struct stat st;

	if (!room())
		return;
	err = fs_mknod(m.t.fs, m.nodes[dir].ino, name_of(k), mode, 0x1234,
		       &test_cred, &st);
	expect(err == expected_add(dir, k));
	if (err)
		return;
	added(dir, k, &st, mode);
	compare_stat(m.nodes[dir].entry[k], &st);
	looked_up(m.nodes[dir].entry[k]);
}

static void do_mkdir(void)
{
	int dir = pick_dir(), k = pick_name(), err;
	struct stat st;

	if (!room())
		return;
	err = fs_mkdir(m.t.fs, m.nodes[dir].ino, name_of(k), 0750, &test_cred,
		       &st);
	expect(err == expected_add(dir, k));
	if (err)
		return;
	added(dir, k, &st, S_IFDIR | 0750);
	compare_stat(m.nodes[dir].entry[k], &st);
	looked_up(m.nodes[dir].entry[k]);
}

static void do_symlink(void)
{
	int dir = pick_dir(), k = pick_name(), err;
	char target[40];
	struct stat st;

	if (!room())
		return;
	(void)snprintf(target, sizeof(target), "../%llx",
		       (unsigned long long)rng_next(&m.rng));
	err = fs_symlink(m.t.fs, m.nodes[dir].ino, name_of(k), target,
			 &test_cred, &st);
	expect(err == expected_add(dir, k));
	if (err)
		return;
	added(dir, k, &st, S_IFLNK | 0777);
	memcpy(m.nodes[m.nodes[dir].entry[k]].target, target, sizeof(target));
	compare_stat(m.nodes[dir].entry[k], &st);
	looked_up(m.nodes[dir].entry[k]);
}

static void do_create(void)
{
	int dir = pick_dir(), k = pick_name(), err, n;
	struct stat st;
	u64 fh;

	if (!room())
		return;
	err = fs_create(m.t.fs, m.nodes[dir].ino, name_of(k), 0640, O_RDWR,
			&test_cred, 7, &st, &fh);
	expect(err == expected_add(dir, k));
	if (err)
		return;
	added(dir, k, &st, S_IFREG | 0640);
	n = m.nodes[dir].entry[k];
	m.nodes[n].fh = fh;
	looked_up(n);
}

static void do_tmpfile(void)
{
	int dir = pick_dir(), err, n;
	struct stat st;
	u64 fh;

	if (!room())
		return;
	err = fs_tmpfile(m.t.fs, m.nodes[dir].ino, 0600, O_RDWR, &test_cred, 7,
			 &st, &fh);
	expect(err == (m.nodes[dir].nlink ? 0 : -ENOENT));
	if (err)
		return;
	n = node_new(st.st_ino, S_IFREG | 0600);
	m.nodes[n].nlink = 0;
	m.nodes[n].fh = fh;
	if (m.nodes[dir].mode & S_ISGID)
		m.nodes[n].gid = m.nodes[dir].gid;
	compare_stat(n, &st);
	looked_up(n);
}

static bool linkable(int n)
{
	return m.nodes[n].nlink || m.nodes[n].fh;
}

static void do_link(void)
{
	int dir = pick_dir(), k = pick_name(), n = pick(linkable), err;
	bool nameless = !m.nodes[n].nlink && !is_dir(n);
	struct stat st;

	err = fs_link(m.t.fs, m.nodes[n].ino, m.nodes[dir].ino, name_of(k),
		      &st);
	if (is_dir(n)) {
		expect(err == -EPERM);
		return;
	}
	/* what lost its last name may or may not get a new one: only
	 * O_TMPFILE's is asked for by the kernel */
	if (nameless && err == -ENOENT)
		return;
	expect(err == expected_add(dir, k));
	if (err)
		return;
	m.nodes[n].nlink++;
	m.nodes[dir].entry[k] = n;
	m.nodes[dir].mtime = 0;
	compare_stat(n, &st);
	looked_up(n);
}

static void do_remove(bool folder)
{
	int dir = pick_dir(), k = pick_name();
	int n = m.nodes[dir].entry[k], err, want = 0;

	if (n < 0)
		want = -ENOENT;
	else if (folder != is_dir(n))
		want = folder ? -ENOTDIR : -EISDIR;
	else if (folder && has_entries(n))
		want = -ENOTEMPTY;
	err = folder ? fs_rmdir(m.t.fs, m.nodes[dir].ino, name_of(k))
		     : fs_unlink(m.t.fs, m.nodes[dir].ino, name_of(k));
	expect(err == want);
	if (err)
		return;
	m.nodes[dir].entry[k] = -1;
	m.nodes[dir].mtime = 0;
	if (folder)
		m.nodes[dir].nlink--;
	model_unlink(n);
}

static void do_unlink(void)
{
	do_remove(false);
}

static void do_rmdir(void)
{
	do_remove(true);
}

static int expected_rename(int d1, int n1, int d2, int n2, unsigned flags)
{
	if (n1 < 0)
		return -ENOENT;
	if (n2 < 0 && flags & RENAME_EXCHANGE)
		return -ENOENT;
	if (n2 >= 0 && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (n1 == n2)
		return 0;
	if (!m.nodes[d2].nlink)
		return -ENOENT;
	if (d1 != d2 && is_dir(n1) && below(n1, d2))
		return -EINVAL;
	if (d1 != d2 && n2 >= 0 && is_dir(n2) && below(n2, d1))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (n2 < 0 || flags & RENAME_EXCHANGE)
		return 0;
	if (is_dir(n1) && !is_dir(n2))
		return -ENOTDIR;
	if (!is_dir(n1) && is_dir(n2))
		return -EISDIR;
	return is_dir(n2) && has_entries(n2) ? -ENOTEMPTY : 0;
}

static void move(int n, int from, int to)
{
	if (!is_dir(n))
		return;
	m.nodes[from].nlink--;
	m.nodes[to].nlink++;
	m.nodes[n].parent = to;
}

static void renamed(int d1, int k1, int d2, int k2, unsigned flags)
{
	int n1 = m.nodes[d1].entry[k1], n2 = m.nodes[d2].entry[k2];
	struct stat st;

	m.nodes[d1].mtime = m.nodes[d2].mtime = 0;
	m.nodes[d2].entry[k2] = n1;
	m.nodes[d1].entry[k1] = flags & RENAME_EXCHANGE ? n2 : -1;
	move(n1, d1, d2);
	if (flags & RENAME_EXCHANGE) {
		move(n2, d2, d1);
	} else if (n2 >= 0) {
		if (is_dir(n2))
			m.nodes[d2].nlink--;
		model_unlink(n2);
	}
	if (flags & RENAME_WHITEOUT) {
		expect(fs_lookup(m.t.fs, m.nodes[d1].ino, name_of(k1), &st) ==
		       0);
		added(d1, k1, &st, S_IFCHR);
		m.nodes[m.nodes[d1].entry[k1]].gid = test_cred.gid;
		looked_up(m.nodes[d1].entry[k1]);
	}
}

static void do_rename(void)
{
	static const unsigned kinds[] = {0, 0, RENAME_NOREPLACE,
					 RENAME_EXCHANGE, RENAME_WHITEOUT};
	unsigned flags = kinds[rng_below(&m.rng, 5)];
	int d1 = pick_dir(), d2 = rng_one_in(&m.rng, 2) ? d1 : pick_dir();
	int k1 = pick_name(), k2 = pick_name(), err, want;
	int n1 = m.nodes[d1].entry[k1], n2 = m.nodes[d2].entry[k2];

	if (!room())
		return;
	want = expected_rename(d1, n1, d2, n2, flags);
	err = fs_rename(m.t.fs, m.nodes[d1].ino, name_of(k1), m.nodes[d2].ino,
			name_of(k2), flags, &test_cred);
	expect(err == want);
	if (!err && n1 != n2)
		renamed(d1, k1, d2, k2, flags);
}

static void do_setattr(void)
{
	int n = pick(any_node);
	struct node *node = &m.nodes[n];
	struct stat attr = {0}, st;
	unsigned set = 0;

	if (rng_one_in(&m.rng, 2)) {
		set |= FS_SET_MODE;
		attr.st_mode = (u32)rng_below(&m.rng, 02000);
		if (is_dir(n) && rng_one_in(&m.rng, 2))
			attr.st_mode |= S_ISGID;
		node->mode = (node->mode & S_IFMT) | attr.st_mode;
	} else if (rng_one_in(&m.rng, 2)) {
		set |= FS_SET_UID | FS_SET_GID;
		attr.st_uid = node->uid = (u32)rng_below(&m.rng, 5);
		attr.st_gid = node->gid = (u32)rng_below(&m.rng, 5);
		if (S_ISREG(node->mode)) {
			node->mode &= ~(u32)S_ISUID;
			if (node->mode & S_IXGRP)
				node->mode &= ~(u32)S_ISGID;
		}
	} else {
		s64 ns = (s64)(rng_next(&m.rng) >> 2) - (1ll << 61);

		set |= FS_SET_MTIME;
		node->mtime = ns ? ns : 1;
		attr.st_mtim.tv_sec = node->mtime / 1000000000;
		attr.st_mtim.tv_nsec = node->mtime % 1000000000;
		if (attr.st_mtim.tv_nsec < 0) {
			attr.st_mtim.tv_nsec += 1000000000;
			attr.st_mtim.tv_sec--;
		}
	}
	expect(fs_setattr(m.t.fs, node->ino, 0, &attr, set, &st) == 0);
	compare_stat(n, &st);
}

static void do_truncate(void)
{
	int n = pick(any_node);
	struct node *node = &m.nodes[n];
	struct stat attr = {0}, st;
	int err;

	attr.st_size = (off_t)rng_below(&m.rng, 20000);
	err = fs_setattr(m.t.fs, node->ino, 0, &attr, FS_SET_SIZE, &st);
	if (is_dir(n)) {
		expect(err == -EISDIR);
	} else if (!S_ISREG(node->mode)) {
		expect(err == -EINVAL);
	} else {
		expect(err == 0);
		node->size = (u64)attr.st_size;
		node->mtime = 0;
		compare_stat(n, &st);
	}
}

static void do_setxattr(void)
{
	int n = pick(any_node), a = (int)rng_below(&m.rng, NR_ATTRS), err;
	static const int kinds[] = {0, 0, XATTR_CREATE, XATTR_REPLACE};
	int flags = kinds[rng_below(&m.rng, 4)];
	bool there = *m.nodes[n].attrs[a];
	char value[32];

	(void)snprintf(value, sizeof(value), "v%llu",
		       (unsigned long long)rng_below(&m.rng, 1000000));
	err = fs_setxattr(m.t.fs, m.nodes[n].ino, attr_names[a], value,
			  strlen(value), flags);
	if (there && flags == XATTR_CREATE)
		expect(err == -EEXIST);
	else if (!there && flags == XATTR_REPLACE)
		expect(err == -ENODATA);
	else
		expect(err == 0);
	if (!err)
		memcpy(m.nodes[n].attrs[a], value, sizeof(value));
}

static void do_removexattr(void)
{
	int n = pick(any_node), a = (int)rng_below(&m.rng, NR_ATTRS), err;

	err = fs_removexattr(m.t.fs, m.nodes[n].ino, attr_names[a]);
	expect(err == (*m.nodes[n].attrs[a] ? 0 : -ENODATA));
	m.nodes[n].attrs[a][0] = '\0';
}

static void do_forget(void)
{
	int n = pick(any_node);

	if (m.nodes[n].lookups) {
		fs_forget(m.t.fs, m.nodes[n].ino, m.nodes[n].lookups);
		m.nodes[n].lookups = 0;
		settle(n);
	}
}

static bool is_open(int n)
{
	return m.nodes[n].fh;
}

static void do_release(void)
{
	int n = pick(is_open);

	if (!m.nodes[n].fh)
		return;
	expect(fs_release(m.t.fs, m.nodes[n].fh) == 0);
	m.nodes[n].fh = 0;
	settle(n);
}

static void do_fsync(void)
{
	int n = pick(is_open);

	if (m.nodes[n].fh)
		expect(test_fsync(&m.t, m.nodes[n].fh) == 0);
	else
		expect(test_fsyncdir(&m.t, m.nodes[n].ino) == 0);
}

/* All live names are to be known; orphans still answer. */
static void do_compare(void)
{
	int n = pick(any_node);

	compare_node(n);
	if (is_dir(n))
		compare_dir(n, rng_range(&m.rng, 1, 12), rng_one_in(&m.rng, 2));
}

static void do_sync(void)
{
	expect(fs_sync_wait(m.t.fs) == 0);
}

/* The kernel forgets all, handles are closed, orphans go. */
static void remount(void)
{
	test_fs_reopen(&m.t);
	for (int i = 0; i < NR_NODES; i++) {
		m.nodes[i].lookups = 0;
		m.nodes[i].fh = 0;
		if (m.nodes[i].used && i)
			settle(i);
	}
	compare_tree(0, 5);
}

static void do_remount(void)
{
	if (rng_one_in(&m.rng, 8))
		remount();
}

static const struct {
	void (*fn)(void);
	u32 weight;
	bool waits; /* for a commit */
} ops[] = {
	{do_mknod, 20, false},	    {do_mkdir, 12, false},
	{do_symlink, 6, false},	    {do_create, 8, false},
	{do_tmpfile, 3, false},	    {do_link, 10, false},
	{do_unlink, 20, false},	    {do_rmdir, 10, false},
	{do_rename, 30, false},	    {do_setattr, 15, false},
	{do_truncate, 8, false},    {do_setxattr, 10, false},
	{do_removexattr, 5, false}, {do_forget, 15, false},
	{do_release, 10, false},    {do_compare, 10, false},
	{do_fsync, 4, true},	    {do_sync, 4, true},
	{do_remount, 1, true},
};

static void step_of(bool may_wait)
{
	u64 total = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		total += may_wait || !ops[i].waits ? ops[i].weight : 0;
	at = rng_below(&m.rng, total);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!may_wait && ops[i].waits)
			continue;
		if (at < ops[i].weight) {
			ops[i].fn();
			break;
		}
		at -= ops[i].weight;
	}
	fs_check(m.t.fs);
}

static void step(void)
{
	step_of(true);
}

static void step_without_waiting(void)
{
	step_of(false);
}

/* Return: whether a commit has something to do now. */
static bool change_something(void)
{
	struct fs_stat st;

	step_without_waiting();
	fs_stat(m.t.fs, &st);
	return st.nr_ops_pending;
}

static void start(u64 stream)
{
	tmpdir_make();
	memset(&m, 0, sizeof(m));
	rng_init(&m.rng, stream);
	test_fs_init(&m.t);
	test_fs_open(&m.t);
	expect(node_new(FS_ROOT_INO, S_IFDIR | 0755) == 0);
	{
		struct stat st;

		test_stat(&m.t, FS_ROOT_INO, &st);
		m.nodes[0].mode = st.st_mode;
		m.nodes[0].uid = st.st_uid;
		m.nodes[0].gid = st.st_gid;
	}
}

static void finish(void)
{
	compare_tree(0, 100);
	test_fs_reopen(&m.t);
	for (int i = 0; i < NR_NODES; i++)
		m.nodes[i].lookups = m.nodes[i].fh = 0;
	compare_tree(0, 3);
	ck_assert_int_eq(test_fs_close(&m.t), 0);
	tmpdir_remove();
}

START_TEST(names_follow_the_model)
{
	start((u64)_i);
	for (u64 i = 0; i < test_rounds(4000); i++)
		step();
	finish();
}
END_TEST

/* The timer's commits come whenever they like. */
START_TEST(names_follow_the_model_while_commits_go_on)
{
	start(100 + (u64)_i);
	for (u64 i = 0; i < test_rounds(4000); i++) {
		if (rng_one_in(&m.rng, 20))
			fs_want_commit(m.t.fs);
		step();
	}
	finish();
}
END_TEST

/* Who has a file open hears of its failed commit once, at the next fsync. */
static void hear_of_failure(int err)
{
	for (int n = 0; n < NR_NODES; n++) {
		int heard;

		if (!is_open(n))
			continue;
		heard = test_fsync(&m.t, m.nodes[n].fh);
		expect(!heard || heard == err);
		expect(test_fsync(&m.t, m.nodes[n].fh) == 0);
	}
}

/* Every few steps a commit fails; what it had is in the next. It is the log
 * that has no room: names have nothing to do with the data file. */
START_TEST(names_follow_the_model_when_commits_fail)
{
	u64 nr_failed = 0;

	wal_gate_set();
	start(200 + (u64)_i);
	for (u64 i = 0; i < test_rounds(3000); i++) {
		if (rng_one_in(&m.rng, 30)) {
			int err;

			wal_gate_open(SQLITE_FULL);
			err = fs_sync_wait(m.t.fs);
			wal_gate_open(SQLITE_OK);
			expect(!err || err == -ENOSPC);
			nr_failed += err != 0;
			hear_of_failure(-ENOSPC);
		}
		step();
	}
	ck_assert_uint_ne(nr_failed, 0);
	finish();
	wal_gate_remove();
}
END_TEST

/* ---- a commit held in flight ---- */

static void hold_a_commit(void)
{
	wal_gate_shut();
	while (!change_something())
		;
	fs_want_commit(m.t.fs);
	wal_gate_wait();
}

/* What is changed in the moment of a commit, be it that this goes through or
 * fails, is as if there were none. */
START_TEST(names_follow_the_model_beside_a_commit_in_flight)
{
	wal_gate_set();
	start(300 + (u64)_i);
	for (u64 i = 0; i < test_rounds(60); i++) {
		u64 nr = rng_range(&m.rng, 1, 60);

		for (u64 k = 0; k < nr; k++)
			step();
		hold_a_commit();
		nr = rng_range(&m.rng, 1, 60);
		for (u64 k = 0; k < nr; k++)
			step_without_waiting();
		compare_tree(0, 7);
		wal_gate_open(rng_one_in(&m.rng, 2) ? SQLITE_FULL : SQLITE_OK);
		nr = rng_below(&m.rng, 20);
		for (u64 k = 0; k < nr; k++)
			step_without_waiting();
		(void)fs_sync_wait(m.t.fs);
		expect(fs_sync_wait(m.t.fs) == 0);
		hear_of_failure(-ENOSPC);
		compare_tree(0, 7);
		if (rng_one_in(&m.rng, 4))
			remount();
	}
	finish();
	wal_gate_remove();
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("fs model", &tc);

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, names_follow_the_model, 0, 3);
	tcase_add_loop_test(tc, names_follow_the_model_while_commits_go_on, 0,
			    3);
	tcase_add_test(tc, names_follow_the_model_when_commits_fail);
	tcase_add_loop_test(
		tc, names_follow_the_model_beside_a_commit_in_flight, 0, 3);
	return s;
}

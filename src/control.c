/* SPDX-License-Identifier: MIT */
/*
 * The tree of the control files and their snapshots.
 *
 * Node ids: bit 63, then 7 bits of kind, then 56 bits of which one. They mean
 * the same in another process, also of another version: the kinds below are
 * never renumbered, an inode is its number (they are given in ascending order
 * and 2^56 of them do not come), and what has a name is the hash of its name,
 * so that no order of a list matters.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control_internal.h"

enum node_kind {
	NODE_ROOT = 0,
	NODE_TEXT = 1,	 /* a file of the folder itself */
	NODE_VM = 2,	 /* vm/ */
	NODE_KNOB = 3,	 /* vm/KNOB */
	NODE_INODES = 4, /* inode/ */
	NODE_INODE = 5,	 /* inode/INO/ */
	NODE_STAT = 6,	 /* inode/INO/stat */
	NODE_PAGES = 7,
	NODE_DROP = 8,
	NODE_MAPS = 9,
	NODE_RMAP = 10,
	NODE_HOLD = 11,
};

#define KIND_SHIFT 56
#define WHICH_MASK (((u64)1 << KIND_SHIFT) - 1)

struct node {
	enum node_kind kind;
	u64 which; /* an index of texts[], enum vm or an inode number */
};

/* Seconds that the kernel may keep names that never change. */
#define FIXED_TIMEOUT 3600.0

/*
 * A map of so many pages at most is a snapshot: 4 MiB for a file of 16 GiB.
 * Of a larger file, whose size may be anything, each read asks anew.
 */
#define PAGES_SNAPSHOT_MAX ((u64)4 << 20)

struct control_file {
	struct control *c;
	struct node node;
	int accmode;
	bool live;  /* a map too large for a snapshot */
	u64 hold;   /* of NODE_HOLD */
	char *text; /* NULL: write-only, or live */
	size_t len;
};

static const struct text {
	const char *name;
	int (*show)(struct control *c, struct strbuf *sb);
} texts[CONTROL_TEXT_NR] = {
	[CONTROL_MEMINFO] = {"meminfo", control_meminfo},
	[CONTROL_VMSTAT] = {"vmstat", control_vmstat},
	[CONTROL_FILES] = {"files", control_files},
	[CONTROL_SWAPS] = {"swaps", control_swaps},
	[CONTROL_SCRUB] = {"scrub", control_scrub},
	[CONTROL_VOLUME] = {"volume", control_volume},
	[CONTROL_JSON] = {"stats.json", control_json},
	[CONTROL_METRICS] = {"metrics", control_metrics},
	[CONTROL_MAPS] = {"maps", control_maps},
	[CONTROL_PROCESSES] = {"processes", control_processes},
};

/* ---- node ids ---- */

/* FNV-1a, folded. Source: the xor-folding of draft-eastlake-fnv. */
static u64 name_hash(const char *name)
{
	u64 h = 0xcbf29ce484222325;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3;
	return (h >> KIND_SHIFT ^ h) & WHICH_MASK;
}

static u64 node_id(enum node_kind kind, u64 which)
{
	if (kind == NODE_TEXT)
		which = name_hash(texts[which].name);
	else if (kind == NODE_KNOB)
		which = name_hash(vm_name((u32)which));
	return CONTROL_INO | (u64)kind << KIND_SHIFT | which;
}

static enum node_kind node_kind(u64 id)
{
	return (enum node_kind)(id >> KIND_SHIFT & 0x7f);
}

bool control_is_sync(u64 ino)
{
	return ino == node_id(NODE_KNOB, VM_SYNC);
}

static bool is_dir(enum node_kind kind)
{
	return kind == NODE_ROOT || kind == NODE_VM || kind == NODE_INODES ||
	       kind == NODE_INODE;
}

static bool is_writable(enum node_kind kind)
{
	return kind == NODE_KNOB || kind == NODE_DROP;
}

static bool is_of_inode(enum node_kind kind)
{
	return kind >= NODE_INODE && kind <= NODE_RMAP;
}

static int find_text(u64 hash, u64 *ret)
{
	for (u64 i = 0; i < CONTROL_TEXT_NR; i++) {
		if (name_hash(texts[i].name) == hash) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

static int find_knob(u64 hash, u64 *ret)
{
	for (u32 i = 0; i < VM_NR; i++) {
		if (name_hash(vm_name(i)) == hash) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

static int node_decode(struct control *c, u64 id, struct node *ret)
{
	struct fs_file_info info;
	u64 which = id & WHICH_MASK;

	if (!control_owns(id))
		return -ENOENT;
	ret->kind = node_kind(id);
	ret->which = which;
	switch (ret->kind) {
	case NODE_ROOT:
	case NODE_VM:
	case NODE_INODES:
	case NODE_HOLD:
		return which ? -ENOENT : 0;
	case NODE_TEXT:
		return find_text(which, &ret->which);
	case NODE_KNOB:
		return find_knob(which, &ret->which);
	case NODE_INODE:
	case NODE_STAT:
	case NODE_PAGES:
	case NODE_DROP:
	case NODE_MAPS:
	case NODE_RMAP:
		return fs_file_info(c->fs, which, &info);
	}
	return -ENOENT;
}

static const char *fixed_child(const struct node *dir, u64 i, struct node *ret);

/* One for each folder in it, its name and its "."; how many inodes there are
 * changes all the time: 1 says that the number is not to be relied on. */
static u32 nr_links(const struct node *dir)
{
	struct node child;
	u32 nr = 2;

	if (dir->kind == NODE_INODES)
		return 1;
	for (u64 i = 0; fixed_child(dir, i, &child); i++)
		nr += is_dir(child.kind);
	return nr;
}

static void node_stat(struct control *c, const struct node *node,
		      struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = node_id(node->kind, node->which),
		.st_uid = c->uid,
		.st_gid = c->gid,
		.st_blksize = PAGE_SIZE,
		.st_atim = c->born,
		.st_mtim = c->born,
		.st_ctim = c->born,
	};
	if (is_dir(node->kind)) {
		ret->st_mode = S_IFDIR | 0500;
		ret->st_nlink = nr_links(node);
	} else {
		ret->st_mode =
			S_IFREG | (is_writable(node->kind) ? 0600 : 0400);
		ret->st_nlink = 1;
	}
}

/* ---- names ---- */

/* The @i'th name of a folder whose names never change; NULL: no more. */
static const char *fixed_child(const struct node *dir, u64 i, struct node *ret)
{
	static const struct {
		const char *name;
		enum node_kind kind;
	} of_root[] =
		{
			{"inode", NODE_INODES},
			{"vm", NODE_VM},
			{CONTROL_HOLD, NODE_HOLD},
		},
	  of_inode[] = {
		  {"stat", NODE_STAT},	      {"pages", NODE_PAGES},
		  {"maps", NODE_MAPS},	      {"rmap", NODE_RMAP},
		  {"drop_caches", NODE_DROP},
	  };

	if (dir->kind == NODE_ROOT && i < CONTROL_TEXT_NR) {
		*ret = (struct node){NODE_TEXT, i};
		return texts[i].name;
	}
	if (dir->kind == NODE_ROOT &&
	    i - CONTROL_TEXT_NR < ARRAY_SIZE(of_root)) {
		*ret = (struct node){of_root[i - CONTROL_TEXT_NR].kind, 0};
		return of_root[i - CONTROL_TEXT_NR].name;
	}
	if (dir->kind == NODE_VM && i < VM_NR) {
		*ret = (struct node){NODE_KNOB, i};
		return vm_name((u32)i);
	}
	if (dir->kind == NODE_INODE && i < ARRAY_SIZE(of_inode)) {
		*ret = (struct node){of_inode[i].kind, dir->which};
		return of_inode[i].name;
	}
	return NULL;
}

static int lookup_fixed(const struct node *dir, const char *name,
			struct node *ret)
{
	const char *child;
	struct node node;

	for (u64 i = 0; (child = fixed_child(dir, i, &node)) != NULL; i++) {
		if (strcmp(child, name) == 0) {
			*ret = node;
			return 0;
		}
	}
	return -ENOENT;
}

/* A number in one way only: one inode has one name. */
static int lookup_inode(struct control *c, const char *name, struct node *ret)
{
	struct fs_file_info info;
	u64 ino = 0;
	int err;

	for (const char *s = name; *s; s++) {
		if (*s < '0' || *s > '9' || (*s == '0' && s == name))
			return -ENOENT;
		ino = ino * 10 + (u64)(*s - '0');
		if (ino > WHICH_MASK)
			return -ENOENT;
	}
	err = fs_file_info(c->fs, ino, &info);
	if (err)
		return err;
	*ret = (struct node){NODE_INODE, ino};
	return 0;
}

int control_lookup(struct control *c, u64 parent, const char *name,
		   struct stat *ret_st, double *ret_timeout)
{
	struct node dir;
	struct node node = {NODE_ROOT, 0};
	int err;

	if (parent == FS_ROOT_INO) {
		err = strcmp(name, CONTROL_NAME) == 0 ? 0 : -ENOENT;
	} else {
		err = node_decode(c, parent, &dir);
		if (err)
			return err;
		if (!is_dir(dir.kind))
			return -ENOTDIR;
		err = dir.kind == NODE_INODES ? lookup_inode(c, name, &node)
					      : lookup_fixed(&dir, name, &node);
	}
	if (err)
		return err;
	node_stat(c, &node, ret_st);
	*ret_timeout = is_of_inode(node.kind) ? 0 : FIXED_TIMEOUT;
	return 0;
}

int control_getattr(struct control *c, u64 ino, struct stat *ret_st)
{
	struct node node;
	int err;

	err = node_decode(c, ino, &node);
	if (err)
		return err;
	node_stat(c, &node, ret_st);
	return 0;
}

/* ---- reading folders ---- */

/* Cookies: 1 and 2 stand behind "." and "..", then 3 + what came last. */
#define OFF_FIRST 2

static bool fill_dots(struct control *c, const struct node *dir, u64 off,
		      fs_fill_fn fill, void *arg)
{
	struct node up = {dir->kind == NODE_INODE ? NODE_INODES : NODE_ROOT, 0};
	struct stat st;

	node_stat(c, dir, &st);
	if (off < 1 && !fill(arg, ".", &st, 1))
		return false;
	node_stat(c, &up, &st);
	if (dir->kind == NODE_ROOT)
		st.st_ino = FS_ROOT_INO;
	return off >= 2 || fill(arg, "..", &st, OFF_FIRST);
}

static void fill_fixed(struct control *c, const struct node *dir, u64 i,
		       fs_fill_fn fill, void *arg)
{
	const char *name;
	struct node node;

	for (; (name = fixed_child(dir, i, &node)) != NULL; i++) {
		struct stat st;

		node_stat(c, &node, &st);
		if (!fill(arg, name, &st, OFF_FIRST + 1 + i))
			return;
	}
}

/*
 * Listing inode/ costs a walk over all files: it is made when somebody begins
 * to read, and serves those who read on. Cookies are inode numbers, so any
 * listing will do for them.
 */
static int take_listing(struct control *c)
{
	struct fs_file_info *info;
	u64 *inos;
	size_t nr;
	int err;

	err = fs_files(c->fs, &info, &nr);
	if (err)
		return err;
	inos = malloc(max(nr, (size_t)1) * sizeof(*inos));
	if (!inos) {
		free(info);
		return -ENOMEM;
	}
	for (size_t i = 0; i < nr; i++)
		inos[i] = info[i].ino;
	free(info);

	mutex_lock(&c->lock);
	free(c->listing);
	c->listing = inos;
	c->nr_listing = nr;
	mutex_unlock(&c->lock);
	return 0;
}

static void fill_inodes(struct control *c, u64 after, fs_fill_fn fill,
			void *arg)
{
	mutex_lock(&c->lock);
	for (size_t i = 0; i < c->nr_listing; i++) {
		struct node node = {NODE_INODE, c->listing[i]};
		struct strbuf name = STRBUF_INIT;
		struct stat st;
		bool more;

		if (node.which <= after || node.which > WHICH_MASK)
			continue;
		strbuf_printf(&name, "%llu", (unsigned long long)node.which);
		node_stat(c, &node, &st);
		more = !name.failed &&
		       fill(arg, name.buf, &st, OFF_FIRST + node.which);
		strbuf_release(&name);
		if (!more)
			break;
	}
	mutex_unlock(&c->lock);
}

int control_readdir(struct control *c, u64 ino, u64 off, fs_fill_fn fill,
		    void *arg)
{
	struct node dir;
	u64 behind = off > OFF_FIRST ? off - OFF_FIRST : 0;
	int err;

	err = node_decode(c, ino, &dir);
	if (err)
		return err;
	if (!is_dir(dir.kind))
		return -ENOTDIR;
	if (!fill_dots(c, &dir, off, fill, arg))
		return 0;
	if (dir.kind != NODE_INODES) {
		fill_fixed(c, &dir, behind, fill, arg);
		return 0;
	}
	if (!behind) {
		err = take_listing(c);
		if (err)
			return err;
	}
	fill_inodes(c, behind, fill, arg);
	return 0;
}

/* ---- files ---- */

/* One character a page, as of now, and a newline behind the last. */
static ssize_t read_map(struct control_file *f, u64 pos, char *buf, size_t len)
{
	struct fs_file_info info;
	u64 nr;
	u64 n;
	int err;

	err = fs_file_info(f->c->fs, f->node.which, &info);
	if (err)
		return err;
	nr = bytes_to_pages(info.st.size);
	if (pos > nr)
		return 0;
	n = min((u64)len, nr - pos);
	err = n ? fs_file_map(f->c->fs, f->node.which, pos, n, buf) : 0;
	if (err)
		return err;
	if (n < len)
		buf[n++] = '\n';
	return (ssize_t)n;
}

static int show_pages(struct control_file *f, struct strbuf *sb)
{
	struct fs_file_info info;
	ssize_t n;
	int err;

	err = fs_file_info(f->c->fs, f->node.which, &info);
	if (err)
		return err;
	if (bytes_to_pages(info.st.size) > PAGES_SNAPSHOT_MAX) {
		f->live = true;
		return 0;
	}
	if (!strbuf_reserve(sb, bytes_to_pages(info.st.size) + 1))
		return -ENOMEM;
	n = read_map(f, 0, sb->buf, bytes_to_pages(info.st.size) + 1);
	if (n < 0)
		return (int)n;
	sb->len = (size_t)n;
	return 0;
}

static int show(struct control_file *f, struct strbuf *sb)
{
	struct control *c = f->c;

	switch (f->node.kind) {
	case NODE_TEXT:
		return texts[f->node.which].show(c, sb);
	case NODE_KNOB:
		vm_add_value(sb, vm_get(c, (u32)f->node.which));
		return 0;
	case NODE_STAT:
		return control_inode_stat(c, f->node.which, true, sb);
	case NODE_PAGES:
		return show_pages(f, sb);
	case NODE_MAPS:
		return control_inode_maps(c, f->node.which, sb);
	case NODE_RMAP:
		return control_inode_rmap(c, f->node.which, sb);
	case NODE_DROP:
		vm_add_value(sb, 0);
		return 0;
	case NODE_HOLD:
		f->live = true;
		f->hold = blocks_hold(fs_volume(c->fs)->blocks);
		return 0;
	default:
		return -EISDIR;
	}
}

static int take_snapshot(struct control_file *f)
{
	struct strbuf sb = STRBUF_INIT;
	int err;

	err = show(f, &sb);
	if (err) {
		strbuf_release(&sb);
		return err;
	}
	if (f->live)
		return 0;
	err = strbuf_finish(&sb, &f->text, &f->len);
	if (err)
		return err;
	cache_charge(fs_cache(f->c->fs), (s64)f->len);
	return 0;
}

int control_open(struct control *c, u64 ino, int flags,
		 struct control_file **ret)
{
	struct control_file *f;
	struct node node;
	int err;

	err = node_decode(c, ino, &node);
	if (err)
		return err;
	if (is_dir(node.kind))
		return -EISDIR;
	if ((flags & O_ACCMODE) != O_RDONLY && !is_writable(node.kind))
		return -EACCES;

	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->c = c;
	f->node = node;
	f->accmode = flags & O_ACCMODE;
	err = f->accmode == O_WRONLY ? 0 : take_snapshot(f);
	if (err) {
		free(f);
		return err;
	}
	*ret = f;
	return 0;
}

bool control_shows_mappings(u64 ino)
{
	return ino == node_id(NODE_TEXT, CONTROL_MAPS) ||
	       ino == node_id(NODE_TEXT, CONTROL_PROCESSES) ||
	       (control_owns(ino) &&
		(node_kind(ino) == NODE_MAPS || node_kind(ino) == NODE_RMAP));
}

static ssize_t read_text(const char *text, size_t text_len, u64 pos, void *buf,
			 size_t len)
{
	if (pos >= text_len)
		return 0;
	len = min(len, text_len - (size_t)pos);
	memcpy(buf, text + pos, len);
	return (ssize_t)len;
}

ssize_t control_read(struct control_file *f, u64 pos, void *buf, size_t len)
{
	struct blocks *blocks = fs_volume(f->c->fs)->blocks;

	if (f->node.kind == NODE_HOLD)
		return read_text(blocks_holds(blocks, f->hold) ? "1\n" : "0\n",
				 2, pos, buf, len);
	if (f->live)
		return read_map(f, pos, buf, len);
	if (!f->text)
		return -EBADF;
	return read_text(f->text, f->len, pos, buf, len);
}

void control_write(struct control_file *f, u64 pos, const void *buf, size_t len,
		   struct fs_done *done)
{
	if (f->accmode == O_RDONLY || !is_writable(f->node.kind))
		done->fn(done, -EBADF);
	else if (pos != 0)
		done->fn(done, -EINVAL);
	else if (f->node.kind == NODE_DROP)
		vm_write_drop(f->c, f->node.which, buf, len, done);
	else
		vm_write(f->c, (u32)f->node.which, buf, len, done);
}

void control_release(struct control_file *f)
{
	if (!f)
		return;
	if (f->node.kind == NODE_HOLD)
		blocks_unhold(fs_volume(f->c->fs)->blocks, f->hold);
	if (f->text)
		cache_charge(fs_cache(f->c->fs), -(s64)f->len);
	free(f->text);
	free(f);
}

static int finish_text(struct strbuf *sb, int err, char **ret_text,
		       size_t *ret_len)
{
	if (err) {
		strbuf_release(sb);
		return err;
	}
	return strbuf_finish(sb, ret_text, ret_len);
}

int control_text(struct control *c, enum control_text what, char **ret_text,
		 size_t *ret_len)
{
	struct strbuf sb = STRBUF_INIT;
	int err;

	assert(what < CONTROL_TEXT_NR);
	err = texts[what].show(c, &sb);
	return finish_text(&sb, err, ret_text, ret_len);
}

int control_stat_of(struct control *c, u64 ino, u32 uid, char **ret_text,
		    size_t *ret_len)
{
	struct strbuf sb = STRBUF_INIT;
	int err = control_inode_stat(c, ino, !uid || uid == c->uid, &sb);

	return finish_text(&sb, err, ret_text, ret_len);
}

/* ---- beginning and end ---- */

int control_new(struct fs *fs, struct tracker *tracker, u32 uid, u32 gid,
		struct control **ret)
{
	struct meta_super super;
	struct control *c;
	int err;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fs = fs;
	c->tracker = tracker;
	c->uid = uid;
	c->gid = gid;
	meta_super(fs_volume(fs)->meta, &super);
	(void)format_uuid(super.uuid, c->uuid);
	(void)clock_gettime(CLOCK_REALTIME, &c->born);
	c->born_ns = mono_ns();
	list_init(&c->jobs);
	mutex_init(&c->lock, LOCK_LEAF, "control");
	waitq_init(&c->wake);

	err = vm_start(c);
	if (err) {
		waitq_done(&c->wake);
		mutex_done(&c->lock);
		free(c);
		return err;
	}
	*ret = c;
	return 0;
}

void control_set_unmapper(struct control *c, struct unmapper *u)
{
	c->unmapper = u;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	vm_stop(c);
	waitq_done(&c->wake);
	mutex_done(&c->lock);
	free(c->listing);
	free(c);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "power_tree.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "power_log.h"
#include "test.h"

#define NODES_MAX 512
#define ENTRIES_MAX 64
#define NO_NODE 0
#define ROOT 1

/* A file or folder that had a name at some time. It is kept open, by O_PATH so
 * that no locks go with that, lest its number become another's. */
struct node {
	ino_t ino; /* 0: it is there no more */
	int fd;
	bool is_dir;
	char name[32]; /* the last that it had */
	struct image base;
};

/* A name in a folder, and whose it is. */
struct entry {
	u32 dir;
	char name[32];
	u32 base, now;
	bool seen;
};

enum tree_event_kind {
	TREE_CONTENT,
	TREE_NAME, /* the entry is the node's now */
	TREE_DIR,  /* the folder is synced */
};

struct tree_event {
	enum tree_event_kind kind;
	u32 node, entry;
	struct event ev; /* of CONTENT */
};

struct tree_log {
	enum tree_lie lie;
	char *folder;
	pthread_mutex_t lock;
	/* under lock */
	struct node nodes[NODES_MAX];
	u32 nr_nodes;
	struct entry entries[ENTRIES_MAX];
	u32 nr_entries;
	struct tree_event *events;
	size_t nr, cap;
};

static struct tree_log *current;

/* ---- names ---- */

static void push(struct tree_log *log, struct tree_event ev)
{
	if (log->nr == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 256;
		log->events = must(
			realloc(log->events, log->cap * sizeof(*log->events)));
	}
	log->events[log->nr++] = ev;
}

static u32 find_node(const struct tree_log *log, ino_t ino)
{
	for (u32 i = ROOT; i < log->nr_nodes; i++) {
		if (log->nodes[i].ino == ino)
			return i;
	}
	return NO_NODE;
}

static void bind_node(struct node *n, int dirfd, const char *name)
{
	struct stat st;

	if (n->fd >= 0)
		(void)close(n->fd);
	n->fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	must_be(n->fd >= 0 && fstat(n->fd, &st) == 0);
	n->ino = st.st_ino;
	n->is_dir = S_ISDIR(st.st_mode);
}

static u32 add_node(struct tree_log *log, int dirfd, const char *name)
{
	struct node *n = &log->nodes[log->nr_nodes];

	must_be(log->nr_nodes < NODES_MAX);
	*n = (struct node){.fd = -1, .base = {.exists = true}};
	bind_node(n, dirfd, name);
	return log->nr_nodes++;
}

static struct entry *get_entry(struct tree_log *log, u32 dir, const char *name)
{
	struct entry *e = log->entries;

	for (; e < log->entries + log->nr_entries; e++) {
		if (e->dir == dir && !strcmp(e->name, name))
			return e;
	}
	must_be(log->nr_entries++ < ENTRIES_MAX &&
		strlen(name) < sizeof(e->name));
	*e = (struct entry){.dir = dir};
	(void)strcpy(e->name, name);
	return e;
}

static void set_entry(struct tree_log *log, struct entry *e, u32 node)
{
	if (e->now == node)
		return;
	e->now = node;
	push(log, (struct tree_event){.kind = TREE_NAME,
				      .node = node,
				      .entry = (u32)(e - log->entries)});
}

static void scan_folder(struct tree_log *log, u32 dir, int parent,
			const char *name);

static void scan_name(struct tree_log *log, u32 dir, int dirfd,
		      const char *name)
{
	struct entry *e = get_entry(log, dir, name);
	struct stat st;
	u32 node;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	node = find_node(log, st.st_ino);
	if (!node)
		node = add_node(log, dirfd, name);
	(void)strcpy(log->nodes[node].name, e->name);
	e->seen = true;
	set_entry(log, e, node);
	if (log->nodes[node].is_dir)
		scan_folder(log, node, dirfd, name);
}

static void scan_folder(struct tree_log *log, u32 dir, int parent,
			const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	must_be(d);
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			scan_name(log, dir, fd, de->d_name);
	}
	(void)closedir(d);
}

/* What went goes last, so that what is renamed always has a name. */
static void scan(struct tree_log *log)
{
	for (u32 i = 0; i < log->nr_entries; i++)
		log->entries[i].seen = false;
	scan_folder(log, ROOT, AT_FDCWD, log->folder);
	for (u32 i = 0; i < log->nr_entries; i++) {
		if (!log->entries[i].seen)
			set_entry(log, &log->entries[i], NO_NODE);
	}
}

/* ---- contents ---- */

static bool is_a_lie(const struct tree_log *log, const struct node *n)
{
	switch (log->lie) {
	case TREE_NO_DATA_SYNC:
		return !strcmp(n->name, "data");
	case TREE_NO_DB_SYNC:
		return !strcmp(n->name, "meta.db");
	case TREE_NO_FOLDER_SYNC:
		return n->is_dir;
	default:
		return false;
	}
}

static void add_locked(struct tree_log *log, int fd, struct event ev)
{
	enum tree_event_kind kind = TREE_CONTENT;
	struct stat st;
	u32 node;

	scan(log);
	node = fstat(fd, &st) == 0 ? find_node(log, st.st_ino) : NO_NODE;
	if (node && ev.kind == EVENT_SYNC) {
		if (is_a_lie(log, &log->nodes[node]))
			return;
		if (log->nodes[node].is_dir)
			kind = TREE_DIR;
	}
	if (node)
		push(log, (struct tree_event){kind, node, 0, ev});
	else
		free(ev.bytes);
}

static void add(int fd, struct event ev)
{
	int saved = errno;

	if (!current) {
		free(ev.bytes);
		return;
	}
	(void)pthread_mutex_lock(&current->lock);
	add_locked(current, fd, ev);
	(void)pthread_mutex_unlock(&current->lock);
	errno = saved;
}

static void add_writev(int fd, const struct iovec *iov, int nr, off_t pos)
{
	struct event ev = {.kind = EVENT_WRITE, .pos = (u64)pos};

	if (!current)
		return;
	for (int i = 0; i < nr; i++)
		ev.len += iov[i].iov_len;
	ev.bytes = must(malloc(ev.len + 1));
	for (u64 done = 0; nr--; done += iov++->iov_len)
		memcpy(ev.bytes + done, iov->iov_base, iov->iov_len);
	add(fd, ev);
}

static void add_write(int fd, const void *buf, size_t len, off_t pos)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};

	add_writev(fd, &iov, 1, pos);
}

static void add_fallocate(int fd, int mode, off_t pos, off_t len)
{
	struct event ev = {.kind = EVENT_EXTEND, .len = (u64)(pos + len)};

	if (mode & FALLOC_FL_PUNCH_HOLE)
		ev = (struct event){
			.kind = EVENT_ZERO, .pos = (u64)pos, .len = (u64)len};
	else if (mode)
		return;
	add(fd, ev);
}

static void add_sync(int fd)
{
	add(fd, (struct event){.kind = EVENT_SYNC});
}

static void add_truncate(int fd, off_t len)
{
	add(fd, (struct event){.kind = EVENT_TRUNCATE, .len = (u64)len});
}

/* ---- in front of the C library ---- */

#define REAL(name, ...)                                     \
	({                                                  \
		__typeof__(&(name)) fn_;                    \
		void *sym_ = must(dlsym(RTLD_NEXT, #name)); \
                                                            \
		memcpy(&fn_, &sym_, sizeof(fn_));           \
		fn_(__VA_ARGS__);                           \
	})

int fsync(int fd)
{
	add_sync(fd);
	return REAL(fsync, fd);
}

int fdatasync(int fd)
{
	add_sync(fd);
	return REAL(fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t pos)
{
	add_write(fd, buf, len, pos);
	return REAL(pwrite64, fd, buf, len, pos);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int nr, off64_t pos)
{
	add_writev(fd, iov, nr, pos);
	return REAL(pwritev64, fd, iov, nr, pos);
}

int ftruncate64(int fd, off64_t len)
{
	add_truncate(fd, len);
	return REAL(ftruncate64, fd, len);
}

int fallocate64(int fd, int mode, off64_t pos, off64_t len)
{
	add_fallocate(fd, mode, pos, len);
	return REAL(fallocate64, fd, mode, pos, len);
}

#ifndef __USE_FILE_OFFSET64
ssize_t pwrite(int fd, const void *buf, size_t len, off_t pos)
{
	add_write(fd, buf, len, pos);
	return REAL(pwrite, fd, buf, len, pos);
}

ssize_t pwritev(int fd, const struct iovec *iov, int nr, off_t pos)
{
	add_writev(fd, iov, nr, pos);
	return REAL(pwritev, fd, iov, nr, pos);
}

int ftruncate(int fd, off_t len)
{
	add_truncate(fd, len);
	return REAL(ftruncate, fd, len);
}

int fallocate(int fd, int mode, off_t pos, off_t len)
{
	add_fallocate(fd, mode, pos, len);
	return REAL(fallocate, fd, mode, pos, len);
}
#endif

/* ---- beginning and end ---- */

/* Nobody has one of them open. */
static void read_base(struct tree_log *log)
{
	for (u32 i = 0; i < log->nr_entries; i++) {
		struct entry *e = &log->entries[i];
		struct node *n = &log->nodes[e->now];

		e->base = e->now;
		if (!n->is_dir && !n->base.bytes)
			power_image_read(&n->base, log->nodes[e->dir].fd,
					 e->name);
	}
}

struct tree_log *power_tree_begin(const char *folder, enum tree_lie lie)
{
	struct tree_log *log = must(calloc(1, sizeof(*log)));

	log->lie = lie;
	log->folder = must(strdup(folder));
	(void)pthread_mutex_init(&log->lock, NULL);
	log->nr_nodes = ROOT;
	must_be(add_node(log, AT_FDCWD, folder) == ROOT);
	scan(log);
	read_base(log);
	log->nr = 0;
	current = log;
	return log;
}

size_t power_tree_now(struct tree_log *log)
{
	size_t nr;

	(void)pthread_mutex_lock(&log->lock);
	nr = log->nr;
	(void)pthread_mutex_unlock(&log->lock);
	return nr;
}

void power_tree_end(struct tree_log *log)
{
	current = NULL;
	scan(log);
}

static void drop_events(struct tree_log *log, size_t from)
{
	for (size_t i = from; i < log->nr; i++)
		free(log->events[i].ev.bytes);
	log->nr = min(log->nr, from);
}

void power_tree_done(struct tree_log *log)
{
	drop_events(log, 0);
	for (u32 i = ROOT; i < log->nr_nodes; i++) {
		(void)close(log->nodes[i].fd);
		free(log->nodes[i].base.bytes);
	}
	free(log->events);
	free(log->folder);
	(void)pthread_mutex_destroy(&log->lock);
	free(log);
}

/* Files that were made anew in place of those that there were. */
static void bind_folder(struct tree_log *log, u32 dir)
{
	for (u32 i = 0; i < log->nr_entries; i++) {
		struct entry *e = &log->entries[i];

		if (e->dir != dir || !e->now)
			continue;
		bind_node(&log->nodes[e->now], log->nodes[dir].fd, e->name);
		if (log->nodes[e->now].is_dir)
			bind_folder(log, e->now);
	}
}

void power_tree_kill(struct tree_log *log, size_t point)
{
	drop_events(log, point);
	for (u32 i = 0; i < log->nr_entries; i++)
		log->entries[i].now = log->entries[i].base;
	for (size_t i = 0; i < log->nr; i++) {
		if (log->events[i].kind == TREE_NAME)
			log->entries[log->events[i].entry].now =
				log->events[i].node;
	}
	power_tree_state(log, point, POWER_EVERYTHING, NULL, log->folder);
	for (u32 i = ROOT + 1; i < log->nr_nodes; i++)
		log->nodes[i].ino = 0;
	bind_node(&log->nodes[ROOT], AT_FDCWD, log->folder);
	bind_folder(log, ROOT);
	current = log;
}

bool power_tree_syncs(const struct tree_log *log, size_t point)
{
	const struct tree_event *ev = log->events + point;

	return point < log->nr &&
	       (ev->kind == TREE_DIR ||
		(ev->kind == TREE_CONTENT && ev->ev.kind == EVENT_SYNC));
}

size_t power_tree_next_point(const struct tree_log *log, size_t point)
{
	while (point < log->nr && !power_tree_syncs(log, point))
		point++;
	return point;
}

size_t power_tree_next_folder_sync(const struct tree_log *log, size_t point)
{
	while (point < log->nr && log->events[point].kind != TREE_DIR)
		point++;
	return point;
}

struct tree_counts power_tree_counts(const struct tree_log *log)
{
	struct tree_counts c = {.writes = 0};

	for (size_t i = 0; i < log->nr; i++) {
		const struct tree_event *ev = &log->events[i];

		if (ev->kind == TREE_DIR)
			c.folder_syncs++;
		else if (ev->kind == TREE_NAME)
			c.names++;
		else if (ev->ev.kind == EVENT_SYNC)
			c.syncs++;
		else if (ev->ev.kind == EVENT_WRITE)
			c.writes++;
		else
			c.sizes++;
	}
	return c;
}

/* ---- states ---- */

/* A state that is being made. */
struct making {
	const struct tree_log *log;
	size_t point;
	enum power_choice choice;
	struct rng *rng;
	size_t durable[NODES_MAX]; /* up to which event each is */
	char *path[NODES_MAX];	   /* where it has been put */
};

static void find_durable(struct making *m)
{
	for (size_t i = 0; i < m->point; i++) {
		const struct tree_event *ev = &m->log->events[i];

		if (ev->kind == TREE_DIR ||
		    (ev->kind == TREE_CONTENT && ev->ev.kind == EVENT_SYNC))
			m->durable[ev->node] = i;
	}
}

static u32 node_of(struct making *m, u32 entry)
{
	const struct entry *e = &m->log->entries[entry];
	u32 node = e->base;

	for (size_t i = 0; i < m->point; i++) {
		const struct tree_event *ev = &m->log->events[i];

		if (ev->kind == TREE_NAME && ev->entry == entry &&
		    (i < m->durable[e->dir] || power_choose(m->choice, m->rng)))
			node = ev->node;
	}
	return node;
}

static struct image image_of(struct making *m, u32 node)
{
	const struct image *base = &m->log->nodes[node].base;
	enum power_choice choice = power_choice_of_file(m->choice, m->rng);
	struct image im = {.exists = true};

	power_image_fill(&im, base->filled);
	if (im.filled)
		memcpy(im.bytes, base->bytes, im.filled);
	power_image_resize(&im, base->len);
	for (size_t i = 0; i < m->point; i++) {
		const struct tree_event *ev = &m->log->events[i];

		if (ev->kind == TREE_CONTENT && ev->node == node)
			power_image_apply(&im, &ev->ev,
					  i < m->durable[node]
						  ? POWER_EVERYTHING
						  : choice,
					  m->rng);
	}
	return im;
}

static void make_folder(struct making *m, u32 dir, const char *path);

static void make_entry(struct making *m, u32 node, const char *path)
{
	struct image im;

	if (m->path[node]) {
		/* renamed, and there under both names */
		expect(m->log->nodes[node].is_dir ||
		       link(m->path[node], path) == 0);
		return;
	}
	m->path[node] = must(strdup(path));
	if (m->log->nodes[node].is_dir) {
		make_folder(m, node, path);
		return;
	}
	im = image_of(m, node);
	power_image_write(&im, AT_FDCWD, path);
	free(im.bytes);
}

static void make_folder(struct making *m, u32 dir, const char *path)
{
	expect(mkdir(path, 0700) == 0);
	for (u32 i = 0; i < m->log->nr_entries; i++) {
		const struct entry *e = &m->log->entries[i];
		u32 node = e->dir == dir ? node_of(m, i) : NO_NODE;
		char below[4096];

		(void)snprintf(below, sizeof(below), "%s/%s", path, e->name);
		if (node)
			make_entry(m, node, below);
	}
}

static int remove_it(const char *path, const struct stat *st, int type,
		     struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void power_tree_state(const struct tree_log *log, size_t point,
		      enum power_choice choice, struct rng *rng,
		      const char *folder)
{
	struct making *m = must(calloc(1, sizeof(*m)));

	*m = (struct making){log, point, choice, rng, {0}, {NULL}};
	find_durable(m);
	(void)nftw(folder, remove_it, 8, FTW_DEPTH | FTW_PHYS);
	make_folder(m, ROOT, folder);
	for (u32 i = 0; i < log->nr_nodes; i++)
		free(m->path[i]);
	free(m);
}

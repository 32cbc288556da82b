/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "power_model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_internal.h"
#include "meta_int.h"
#include "strbuf.h"
#include "swap_file.h"
#include "tmpdir.h"
#include "transaction.h"

#define NODES 64
#define LEN_MAX ((size_t)192 * PAGE_SIZE)
#define COMMITS 128
/* So large that no commit is made for want of memory. */
#define CACHE_SIZE (16u << 20)
/* So small that making room for it costs little. */
#define VOLUME_SIZE (16u << 20)

struct power_counts power_counts;

static const char *const names[NAMES] = {"a", "b", "c", "A", "B"};
static const char *const dirs[DIRS] = {"", "A/", "B/"};

struct bytes {
	size_t len;
	u8 at[LEN_MAX];
};

struct node {
	bool used;
	u64 ino;
	u32 mode;
	struct node *child[NAMES]; /* of a folder */
	u64 fh;			   /* open for writing; 0: not */
	bool dirty, must, atomic;
	int xattr; /* 0: none */
	s64 mtime, committed_mtime;
	struct bytes *now, *committed; /* of a file */
};

/* What the volume is to have from the commit on. */
struct commit_point {
	size_t begin, end; /* of the log; SIZE_MAX: it is under way */
	char *text;
};

struct power_model {
	struct power_log *log;
	char folder[1100];
	struct fs *fs;
	bool swap;		  /* slots are in a swap file */
	struct node nodes[NODES]; /* the first is the root */
	u64 version;		  /* of what is written */
	struct commit_point commits[COMMITS];
	u32 nr_commits;
	char *broken; /* a line that was synced but is not committed */
	u64 made;     /* since it was mounted, as the filesystem counts */
};

/* ---- the gate ---- */

/* What goes on beside a commit may wait for it: then it goes on itself. */
#define STAND_MS 200

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	u64 left; /* events before it is to stand; 0: not at all */
	pthread_t committer;
	bool committing, standing, open;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER,
	  .changed = PTHREAD_COND_INITIALIZER};

/* Somebody who waits for a commit. */
struct request {
	struct fs_done done;
	struct power_log *log;
	/* under gate.lock */
	bool answered;
	int err;
	size_t end; /* of the log, when it was answered */
};

int __real_transaction_write(struct transaction *t);
int __wrap_transaction_write(struct transaction *t);
int __real_meta_checkpoint(struct meta *m, bool force);
int __wrap_meta_checkpoint(struct meta *m, bool force);

static void gate_commits(bool committing)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.committer = pthread_self();
	gate.committing = committing;
	if (!committing)
		gate.left = 0;
	(void)pthread_mutex_unlock(&gate.lock);
}

/* From here on it is cut. */
int __wrap_transaction_write(struct transaction *t)
{
	int err;

	gate_commits(true);
	err = __real_transaction_write(t);
	gate_commits(false);
	return err;
}

/* Commits here are small: the log would never be long enough. */
int __wrap_meta_checkpoint(struct meta *m, bool force)
{
	static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE,
				    SQLITE_CHECKPOINT_RESTART,
				    SQLITE_CHECKPOINT_TRUNCATE};
	static u32 nr;

	if (force || nr++ % 3)
		return __real_meta_checkpoint(m, force);
	power_counts.checkpoints++;
	(void)sqlite3_wal_checkpoint_v2(m->writer.db, "main",
					modes[nr / 3 % ARRAY_SIZE(modes)], NULL,
					NULL);
	return 0;
}

static void stand_locked(void)
{
	struct timespec until;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += STAND_MS * (long)NSEC_PER_MSEC;
	until.tv_sec += until.tv_nsec / (long)NSEC_PER_SEC;
	until.tv_nsec %= (long)NSEC_PER_SEC;

	gate.standing = true;
	(void)pthread_cond_broadcast(&gate.changed);
	while (!gate.open && !rc)
		rc = pthread_cond_timedwait(&gate.changed, &gate.lock, &until);
	power_counts.stood++;
	power_counts.hurried += rc != 0;
}

/* Before each event. */
static void pass_gate(void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&gate.lock);
	if (gate.committing && gate.left &&
	    pthread_equal(gate.committer, pthread_self()) && !--gate.left)
		stand_locked();
	(void)pthread_mutex_unlock(&gate.lock);
}

static void gate_arm(u64 nth)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.left = nth;
	gate.standing = gate.open = false;
	(void)pthread_mutex_unlock(&gate.lock);
}

static void gate_open(void)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.open = true;
	(void)pthread_cond_broadcast(&gate.changed);
	(void)pthread_mutex_unlock(&gate.lock);
}

static void answer(struct fs_done *done, int err)
{
	struct request *r = container_of(done, struct request, done);
	size_t end = power_record_now(r->log);

	(void)pthread_mutex_lock(&gate.lock);
	r->answered = true;
	r->err = err;
	r->end = end;
	(void)pthread_cond_broadcast(&gate.changed);
	(void)pthread_mutex_unlock(&gate.lock);
}

/* Until the commit stands, or is over. Return: whether it stands. */
static bool wait_standing(const struct request *r)
{
	bool stands;

	(void)pthread_mutex_lock(&gate.lock);
	while (!gate.standing && !r->answered)
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	stands = gate.standing;
	(void)pthread_mutex_unlock(&gate.lock);
	return stands;
}

static void wait_answered(const struct request *r)
{
	(void)pthread_mutex_lock(&gate.lock);
	while (!r->answered)
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	(void)pthread_mutex_unlock(&gate.lock);
	ck_assert_msg(r->err == 0, "commit: %s", strerror(-r->err));
}

/* ---- texts ---- */

static u64 hash(const u8 *p, size_t len)
{
	u64 h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return h;
}

/* One object: the same of model and volume. */
struct line {
	const char *path;
	u64 ino, size, sum;
	u32 mode, nlink;
	s64 mtime;
	int xattr;
	bool atomic;
};

static void add_line(struct strbuf *sb, const struct line *l)
{
	strbuf_printf(sb,
		      "%s mode %o links %u size %llu sum %llx mtime %lld xattr "
		      "%d atomic %d ino %llu\n",
		      l->path, l->mode, l->nlink, (unsigned long long)l->size,
		      (unsigned long long)l->sum, (long long)l->mtime, l->xattr,
		      l->atomic, (unsigned long long)l->ino);
}

static u32 count_names(const struct power_model *m, const struct node *n)
{
	u32 nr = 0;

	for (int d = 0; d < NODES; d++) {
		for (int i = 0; i < NAMES; i++)
			nr += m->nodes[d].used && m->nodes[d].child[i] == n;
	}
	return nr;
}

static u32 count_links(const struct power_model *m, const struct node *n)
{
	u32 nr = 2;

	if (!S_ISDIR(n->mode))
		return count_names(m, n);
	for (int i = 0; i < NAMES; i++)
		nr += n->child[i] && S_ISDIR(n->child[i]->mode);
	return nr;
}

static bool is_reg(const struct node *n)
{
	return S_ISREG(n->mode);
}

static void add_node(const struct power_model *m, const struct node *n,
		     const char *path, bool committed, struct strbuf *sb)
{
	const struct bytes *b = committed ? n->committed : n->now;
	struct line l = {
		.path = path,
		.ino = n->ino,
		.mode = n->mode,
		.nlink = count_links(m, n),
		.mtime = committed ? n->committed_mtime : n->mtime,
		.xattr = n->xattr,
		.atomic = n->atomic,
	};

	if (is_reg(n)) {
		l.size = b->len;
		l.sum = hash(b->at, b->len);
	}
	add_line(sb, &l);
	for (int i = 0; S_ISDIR(n->mode) && i < NAMES; i++) {
		char below[256];

		if (!n->child[i])
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, names[i]);
		add_node(m, n->child[i], below, committed, sb);
	}
}

static char *text_of(const struct power_model *m, bool committed)
{
	struct strbuf sb = STRBUF_INIT;
	char *text = NULL;
	size_t len;

	add_node(m, &m->nodes[0], "", committed, &sb);
	expect(strbuf_finish(&sb, &text, &len) == 0);
	return text;
}

/* ---- the volume's text; errors are part of it ---- */

struct walk {
	struct fs *fs;
	struct strbuf *sb;
};

static ssize_t read_all(struct fs *fs, u64 ino, struct bytes *ret)
{
	struct test_fs t = {.fs = fs};
	ssize_t n;
	u64 fh;
	int err = fs_openf(fs, ino, O_RDONLY, 1, &fh);

	if (err)
		return err;
	n = test_read(&t, fh, 0, ret->at, LEN_MAX);
	if (n >= 0)
		ret->len = (size_t)n;
	(void)fs_release(fs, fh);
	return n;
}

static void walk_node(struct walk *w, const struct stat *st, const char *path);

struct seen {
	char names[16][32];
	int nr;
};

static bool see(void *arg, const char *name, const struct stat *st, u64 off)
{
	struct seen *s = arg;

	(void)st, (void)off;
	if (!strcmp(name, ".") || !strcmp(name, "..") || s->nr == 16)
		return true;
	(void)snprintf(s->names[s->nr++], sizeof(s->names[0]), "%s", name);
	return true;
}

static int by_place(const void *a, const void *b)
{
	int ia = 0, ib = 0;

	while (ia < NAMES && strcmp(names[ia], a) != 0)
		ia++;
	while (ib < NAMES && strcmp(names[ib], b) != 0)
		ib++;
	return ia - ib;
}

static void walk_dir(struct walk *w, u64 ino, const char *path)
{
	struct seen s = {.nr = 0};
	int err;
	u64 fh;

	err = fs_opendir(w->fs, ino, 0, &fh);
	if (!err) {
		err = fs_readdir(w->fs, fh, 0, false, see, &s);
		(void)fs_releasedir(w->fs, fh);
	}
	if (err)
		strbuf_printf(w->sb, "%s: %s\n", path, strerror(-err));
	qsort(s.names, (size_t)s.nr, sizeof(s.names[0]), by_place);
	for (int i = 0; i < s.nr; i++) {
		char below[256];
		struct stat st;

		(void)snprintf(below, sizeof(below), "%s/%s", path, s.names[i]);
		err = fs_lookup(w->fs, ino, s.names[i], &st);
		if (err)
			strbuf_printf(w->sb, "%s: %s\n", below, strerror(-err));
		else
			walk_node(w, &st, below);
		if (!err)
			fs_forget(w->fs, st.st_ino, 1);
	}
}

static int get_number(struct fs *fs, u64 ino, const char *name)
{
	char value[16] = "";
	ssize_t n = fs_getxattr(fs, ino, name, value, sizeof(value) - 1);

	if (n == -ENODATA || n == -EOPNOTSUPP)
		return 0;
	return n < 0 ? (int)n : (int)strtol(value, NULL, 10);
}

static void walk_node(struct walk *w, const struct stat *st, const char *path)
{
	struct bytes *b = calloc(1, sizeof(*b));
	struct line l = {
		.path = path,
		.ino = st->st_ino,
		.mode = st->st_mode,
		.nlink = (u32)st->st_nlink,
		.mtime = (s64)st->st_mtim.tv_sec * (s64)NSEC_PER_SEC +
			 st->st_mtim.tv_nsec,
		.xattr = get_number(w->fs, st->st_ino, "user.k"),
		.atomic = get_number(w->fs, st->st_ino, FS_XATTR_ATOMIC),
	};
	ssize_t n = 0;

	if (S_ISREG(st->st_mode)) {
		n = read_all(w->fs, st->st_ino, b);
		l.size = (u64)st->st_size;
		l.sum = hash(b->at, b->len);
	}
	if (n < 0 || (u64)n != l.size)
		strbuf_printf(w->sb, "%s: read %zd of %llu\n", path, n,
			      (unsigned long long)l.size);
	add_line(w->sb, &l);
	free(b);
	if (S_ISDIR(st->st_mode))
		walk_dir(w, st->st_ino, path);
}

static void walk(struct fs *fs, struct strbuf *sb)
{
	struct walk w = {fs, sb};
	struct stat st;
	int err = fs_getattr(fs, FS_ROOT_INO, &st);

	if (err)
		strbuf_printf(sb, "root: %s\n", strerror(-err));
	else
		walk_node(&w, &st, "");
}

/* ---- opening and closing ---- */

static void say(void *arg, int level, const char *line)
{
	(void)arg, (void)level;
	if (getenv("FOLIO_LOUD"))
		(void)fprintf(stderr, "# %s\n", line);
}

static void say_fault(void *arg, int level, const char *line)
{
	ck_abort_msg("%s", line);
}

/* Beside the volume: a power cut takes all of it. */
static struct swap_file *open_swap(const char *folder, struct volume *v)
{
	struct swap_file_options opt = {
		.volume = v, .size = UINT64_MAX, .log = say_fault};
	struct swap_file *s = NULL;
	char path[1200], err[128] = "";

	(void)snprintf(path, sizeof(path), "%s.swap", folder);
	ck_assert_msg(!swap_file_open(path, &opt, &s, err, sizeof(err)), "%s",
		      err);
	return s;
}

static int open_fs(const char *folder, struct power_log *log, bool swap,
		   struct fs **ret, char *err, size_t errlen)
{
	struct volume_options vo = {
		.create = true,
		.size = VOLUME_SIZE,
		.wrap = log ? power_record_wrap : NULL,
		.wrap_arg = log,
	};
	struct fs_options fo = {
		.cache_size = CACHE_SIZE,
		.cache_max = CACHE_SIZE,
		.patient = true,
		.log = say,
	};
	struct volume *v;
	int rc;

	for (int k = 0; k < KNOB_NR; k++)
		fo.knobs[k] = UINT64_MAX;
	rc = volume_open(folder, &vo, &v, err, errlen);
	if (rc)
		return rc;
	power_counts.maps_loaded += v->map_loaded;
	power_counts.replayed += v->count.redo_replayed;
	fo.swap = swap ? open_swap(folder, v) : NULL;
	return fs_open(v, &fo, ret);
}

static struct node *new_node(struct power_model *m, u64 ino, u32 mode)
{
	struct node *n = m->nodes;
	struct stat st;

	while (n->used)
		n++;
	expect(n < m->nodes + NODES);
	expect(fs_getattr(m->fs, ino, &st) == 0);
	*n = (struct node){.used = true, .ino = ino, .mode = mode};
	n->mtime = n->committed_mtime =
		(s64)st.st_mtim.tv_sec * (s64)NSEC_PER_SEC + st.st_mtim.tv_nsec;
	if (is_reg(n)) {
		n->now = calloc(1, sizeof(*n->now));
		n->committed = calloc(1, sizeof(*n->committed));
	}
	return n;
}

static void drop_node(struct node *n)
{
	free(n->now);
	free(n->committed);
	*n = (struct node){.used = false};
}

/* Behind its length there are zeros. */
static void copy_bytes(struct bytes *to, const struct bytes *from)
{
	memcpy(to->at, from->at, max(to->len, from->len));
	to->len = from->len;
}

static struct node *find_node(struct power_model *m, u64 ino)
{
	for (struct node *n = m->nodes; n < m->nodes + NODES; n++) {
		if (n->used && n->ino == ino)
			return n;
	}
	return NULL;
}

static void load_dir(struct power_model *m, struct node *dir);

static struct node *load_node(struct power_model *m, u64 ino, u32 mode)
{
	struct node *n = new_node(m, ino, mode);

	n->xattr = get_number(m->fs, ino, "user.k");
	n->atomic = get_number(m->fs, ino, FS_XATTR_ATOMIC);
	if (S_ISDIR(mode)) {
		load_dir(m, n);
	} else if (is_reg(n)) {
		expect(read_all(m->fs, ino, n->now) >= 0);
		copy_bytes(n->committed, n->now);
	}
	return n;
}

static void load_dir(struct power_model *m, struct node *dir)
{
	for (int i = 0; i < NAMES; i++) {
		struct stat st;

		if (fs_lookup(m->fs, dir->ino, names[i], &st))
			continue;
		fs_forget(m->fs, st.st_ino, 1);
		dir->child[i] = find_node(m, st.st_ino);
		if (!dir->child[i])
			dir->child[i] = load_node(m, st.st_ino, st.st_mode);
	}
}

static struct commit_point *note_commit(struct power_model *m, size_t begin)
{
	struct commit_point *c = &m->commits[m->nr_commits++];

	expect(m->nr_commits <= COMMITS);
	*c = (struct commit_point){begin, SIZE_MAX, text_of(m, true)};
	return c;
}

static void mount_it(struct power_model *m)
{
	char err[256] = "";
	int rc;

	power_record_mounting(m->log, true);
	rc = open_fs(m->folder, m->log, m->swap, &m->fs, err, sizeof(err));
	power_record_mounting(m->log, false);
	ck_assert_msg(rc == 0, "open: %s %s", strerror(-rc), err);
	m->made = 0;
}

struct power_model *power_model_open(const char *folder, struct power_log *log)
{
	struct power_model *m = calloc(1, sizeof(*m));

	m->log = log;
	power_record_before(log, pass_gate, NULL);
	(void)snprintf(m->folder, sizeof(m->folder), "%s", folder);
	mount_it(m);
	(void)load_node(m, FS_ROOT_INO, S_IFDIR | 0755);
	note_commit(m, 0)->end = 0;
	return m;
}

static void drop_nodes(struct power_model *m)
{
	for (int i = 0; i < NODES; i++)
		drop_node(&m->nodes[i]);
}

void power_model_free(struct power_model *m)
{
	drop_nodes(m);
	for (u32 i = 0; i < m->nr_commits; i++)
		free(m->commits[i].text);
	free(m->broken);
	free(m);
}

const char *power_model_prepare(void)
{
	static char folder[1100];
	struct test_fs t = {0};
	static u8 buf[6 * PAGE_SIZE];
	char err[256];
	u64 fh, dir;

	(void)snprintf(folder, sizeof(folder), "%s", tmpdir_path("base"));
	expect(open_fs(folder, NULL, false, &t.fs, err, sizeof(err)) == 0);
	dir = test_mkdir(&t, FS_ROOT_INO, "A");
	(void)test_mkdir(&t, FS_ROOT_INO, "B");
	(void)test_create(&t, FS_ROOT_INO, "a", &fh);
	test_pattern(buf, sizeof(buf), 0, 1);
	test_write(&t, fh, 0, buf, sizeof(buf));
	expect(fs_release(t.fs, fh) == 0);
	(void)test_create(&t, FS_ROOT_INO, "b", &fh);
	test_pattern(buf, sizeof(buf), 0, 2);
	test_write(&t, fh, 0, buf, 5000);
	expect(fs_release(t.fs, fh) == 0);
	(void)test_create(&t, dir, "a", &fh);
	test_pattern(buf, sizeof(buf), 0, 3);
	test_write(&t, fh, 0, buf, 100);
	expect(fs_release(t.fs, fh) == 0);
	expect(test_fs_close(&t) == 0);
	return folder;
}

/* ---- operations ---- */

static struct node *dir_at(struct power_model *m, u8 dir)
{
	struct node *n = &m->nodes[0];

	if (dir == DIR_A)
		n = n->child[NAME_A];
	else if (dir == DIR_B)
		n = n->child[NAME_B];
	return n && S_ISDIR(n->mode) ? n : NULL;
}

struct place {
	struct node *dir, **slot, *node;
	const char *name;
};

static bool find_place(struct power_model *m, struct power_path path,
		       struct place *ret)
{
	ret->dir = dir_at(m, path.dir);
	if (!ret->dir)
		return false;
	ret->slot = &ret->dir->child[path.name];
	ret->node = *ret->slot;
	ret->name = names[path.name];
	return true;
}

static u64 opened(struct power_model *m, struct node *n)
{
	if (!n->fh)
		expect(fs_openf(m->fs, n->ino, O_RDWR, 1, &n->fh) == 0);
	return n->fh;
}

/* What nobody names nor has open is gone. */
static void let_go(struct power_model *m, struct node *n)
{
	if (!n->fh && !count_names(m, n))
		drop_node(n);
}

static void change_bytes(struct node *n, size_t pos, const void *buf,
			 size_t len)
{
	if (pos + len > n->now->len)
		n->now->len = pos + len;
	if (buf)
		memcpy(n->now->at + pos, buf, len);
	else
		memset(n->now->at + pos, 0, len);
	n->dirty = true;
}

static void resize_bytes(struct node *n, size_t len)
{
	if (len < n->now->len)
		memset(n->now->at + len, 0, n->now->len - len);
	n->now->len = len;
	n->dirty = true;
}

static bool do_write(struct power_model *m, struct node *n, size_t pos,
		     size_t len, unsigned flags)
{
	static u8 buf[LEN_MAX];
	bool retry;
	u64 pause;

	if (!n || !is_reg(n) || pos + len > LEN_MAX)
		return false;
	if (flags & CACHE_WRITE_WRITEPAGE && pos + len > n->now->len)
		return false;
	test_pattern(buf, len, pos, ++m->version + 10);
	expect(fs_write(m->fs, opened(m, n), pos, buf, len, flags, &pause,
			&retry) == (ssize_t)len);
	change_bytes(n, pos, buf, len);
	return true;
}

static bool do_make(struct power_model *m, enum power_op_kind kind,
		    struct place *p)
{
	struct stat st;
	u64 fh = 0;

	if (p->node)
		return false;
	if (kind == OP_MKDIR)
		expect(fs_mkdir(m->fs, p->dir->ino, p->name, 0755, &test_cred,
				&st) == 0);
	else if (kind == OP_SYMLINK)
		expect(fs_symlink(m->fs, p->dir->ino, p->name, "there",
				  &test_cred, &st) == 0);
	else if (kind == OP_CREATE)
		expect(fs_create(m->fs, p->dir->ino, p->name, 0644, O_RDWR,
				 &test_cred, 1, &st, &fh) == 0);
	else
		expect(fs_tmpfile(m->fs, p->dir->ino, 0600, O_RDWR, &test_cred,
				  1, &st, &fh) == 0);
	fs_forget(m->fs, st.st_ino, 1);
	*p->slot = new_node(m, st.st_ino, st.st_mode);
	(*p->slot)->fh = fh;
	if (!S_ISLNK(st.st_mode))
		(*p->slot)->atomic = p->dir->atomic;
	if (kind == OP_TMPFILE) {
		expect(do_write(m, *p->slot, 0, 5000, 0));
		(*p->slot)->must = true;
		expect(fs_link(m->fs, st.st_ino, p->dir->ino, p->name, &st) ==
		       0);
		fs_forget(m->fs, st.st_ino, 1);
	}
	return true;
}

static bool do_link(struct power_model *m, struct place *p, struct place *q)
{
	struct stat st;

	if (!p->node || S_ISDIR(p->node->mode) || q->node)
		return false;
	expect(fs_link(m->fs, p->node->ino, q->dir->ino, q->name, &st) == 0);
	fs_forget(m->fs, st.st_ino, 1);
	*q->slot = p->node;
	return true;
}

static bool is_empty(const struct node *n)
{
	for (int i = 0; i < NAMES; i++) {
		if (n->child[i])
			return false;
	}
	return true;
}

static bool do_remove(struct power_model *m, struct place *p, bool folder)
{
	struct node *n = p->node;

	if (!n || folder != S_ISDIR(n->mode) || (folder && !is_empty(n)))
		return false;
	expect((folder ? fs_rmdir : fs_unlink)(m->fs, p->dir->ino, p->name) ==
	       0);
	*p->slot = NULL;
	let_go(m, n);
	return true;
}

static bool is_below(const struct node *n, const struct node *dir)
{
	if (n == dir)
		return true;
	for (int i = 0; S_ISDIR(dir->mode) && i < NAMES; i++) {
		if (dir->child[i] && is_below(n, dir->child[i]))
			return true;
	}
	return false;
}

static bool may_replace(const struct place *p, const struct place *q)
{
	const struct node *from = p->node, *to = q->node;

	if (!from || from == to || is_below(q->dir, from))
		return false;
	if (!to)
		return true;
	if (is_below(p->dir, to))
		return false;
	if (S_ISDIR(from->mode) != S_ISDIR(to->mode))
		return false;
	return !S_ISDIR(to->mode) || is_empty(to);
}

static bool do_rename(struct power_model *m, struct place *p, struct place *q)
{
	struct node *from = p->node, *to = q->node;

	if (!may_replace(p, q))
		return false;
	expect(fs_rename(m->fs, p->dir->ino, p->name, q->dir->ino, q->name, 0,
			 &test_cred) == 0);
	*p->slot = NULL;
	*q->slot = from;
	if (to)
		from->must |= from->dirty;
	if (to)
		let_go(m, to);
	return true;
}

static bool do_exchange(struct power_model *m, struct place *p, struct place *q)
{
	struct node *a = p->node, *b = q->node;

	if (!a || !b || a == b || is_below(q->dir, a) || is_below(p->dir, b))
		return false;
	expect(fs_rename(m->fs, p->dir->ino, p->name, q->dir->ino, q->name,
			 RENAME_EXCHANGE, &test_cred) == 0);
	*p->slot = b;
	*q->slot = a;
	a->must |= a->dirty;
	b->must |= b->dirty;
	return true;
}

static bool do_setattr(struct power_model *m, struct node *n, unsigned set,
		       const struct stat *attr)
{
	struct stat st;

	expect(fs_setattr(m->fs, n->ino, 0, attr, set, &st) == 0);
	n->mode = st.st_mode;
	return true;
}

static bool do_truncate(struct power_model *m, struct node *n, u32 size)
{
	struct stat attr = {.st_size = (off_t)size};

	if (!n || !is_reg(n))
		return false;
	(void)do_setattr(m, n, FS_SET_SIZE, &attr);
	resize_bytes(n, size);
	return true;
}

static bool do_chmod(struct power_model *m, struct node *n)
{
	struct stat attr;

	if (!n || S_ISLNK(n->mode))
		return false;
	attr.st_mode = n->mode ^ 0111;
	return do_setattr(m, n, FS_SET_MODE, &attr);
}

static bool do_fallocate(struct power_model *m, struct node *n,
			 const struct power_op *op)
{
	size_t end = (size_t)op->arg + op->arg2;
	int mode = 0;

	if (!n || !is_reg(n) || end > LEN_MAX)
		return false;
	if (op->kind == OP_PUNCH)
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	else if (op->kind == OP_ZERO)
		mode = FALLOC_FL_ZERO_RANGE;
	expect(fs_fallocate(m->fs, opened(m, n), mode, op->arg, op->arg2) == 0);
	if (op->kind == OP_PUNCH)
		end = min(end, n->now->len);
	if (op->kind != OP_FALLOCATE && op->arg < end)
		memset(n->now->at + op->arg, 0, min(end, LEN_MAX) - op->arg);
	resize_bytes(n, max(n->now->len, end));
	return true;
}

static bool do_copy(struct power_model *m, struct node *from, struct node *to,
		    const struct power_op *op)
{
	static u8 buf[LEN_MAX];
	size_t len;

	if (!from || !to || !is_reg(from) || !is_reg(to) || from == to)
		return false;
	len = min((size_t)op->arg2, from->now->len);
	if (!len || op->arg + len > LEN_MAX)
		return false;
	expect(fs_copy_file_range(m->fs, opened(m, from), 0, opened(m, to),
				  op->arg, len, 0) == (ssize_t)len);
	memcpy(buf, from->now->at, len);
	change_bytes(to, op->arg, buf, len);
	return true;
}

static bool do_setxattr(struct power_model *m, struct node *n)
{
	char value[16];

	if (!n || S_ISLNK(n->mode))
		return false;
	n->xattr++;
	(void)snprintf(value, sizeof(value), "%d", n->xattr);
	expect(fs_setxattr(m->fs, n->ino, "user.k", value, strlen(value), 0) ==
	       0);
	return true;
}

static bool do_atomic(struct power_model *m, struct node *n)
{
	if (!n || S_ISLNK(n->mode))
		return false;
	n->atomic = !n->atomic;
	expect(fs_setxattr(m->fs, n->ino, FS_XATTR_ATOMIC,
			   n->atomic ? "1" : "0", 1, 0) == 0);
	return true;
}

static bool do_close(struct power_model *m, struct node *n)
{
	if (!n || !n->fh)
		return false;
	expect(fs_release(m->fs, n->fh) == 0);
	n->fh = 0;
	return true;
}

/* ---- commits ---- */

static struct fs_stat fs_stat_of(struct power_model *m)
{
	struct fs_stat st;

	fs_stat(m->fs, &st);
	return st;
}

static u64 commits_made(struct power_model *m)
{
	return fs_stat_of(m).commits;
}

static bool is_taken(const struct node *n, enum power_op_kind kind,
		     const struct node *asked, const struct node *too)
{
	switch (kind) {
	case OP_FSYNC:
	case OP_FDATASYNC:
	case OP_TOGETHER:
		return n == asked || n == too || n->must;
	case OP_COMMIT:
		return n->must || !(n->atomic && n->fh);
	default:
		return true;
	}
}

/* A commit was made of what there is now. */
static void take_all(struct power_model *m, enum power_op_kind kind,
		     const struct node *asked, const struct node *too)
{
	for (struct node *n = m->nodes; n < m->nodes + NODES; n++) {
		bool content = n->used && is_reg(n) && n->dirty;

		if (!n->used || (content && !is_taken(n, kind, asked, too)))
			continue;
		n->committed_mtime = n->mtime;
		if (!content)
			continue;
		copy_bytes(n->committed, n->now);
		n->dirty = n->must = false;
	}
}

/* Each line of what is now about @asked stands in what is committed; of all
 * when it is NULL. Whether a commit was needed for that is not our business. */
static void check_promise(struct power_model *m, const struct node *asked)
{
	const char *committed = m->commits[m->nr_commits - 1].text;
	char *now = text_of(m, false);
	char *rest = now, *line;
	char mark[40];

	(void)snprintf(mark, sizeof(mark), " ino %llu",
		       (unsigned long long)(asked ? asked->ino : 0));
	while ((line = strsep(&rest, "\n"))) {
		const char *at = strstr(line, " ino ");

		if (!at || (asked && strcmp(at, mark) != 0))
			continue;
		if (!strstr(committed, line) && !m->broken)
			m->broken = strdup(line);
	}
	free(now);
}

/* What is asked for. */
struct demand {
	enum power_op_kind kind;
	struct node *node, *too;
};

static void ask(struct power_model *m, const struct demand *d,
		struct request *r)
{
	*r = (struct request){.done.fn = answer, .log = m->log};
	if (d->kind == OP_SYNC)
		fs_sync(m->fs, &r->done);
	else if (d->kind == OP_COMMIT)
		fs_commit(m->fs, &r->done);
	else if (d->kind == OP_TOGETHER)
		fs_commit_files(m->fs, (u64[]){d->node->ino, d->too->ino}, 2,
				&r->done);
	else if (S_ISDIR(d->node->mode))
		fs_fsyncdir(m->fs, d->node->ino, &r->done);
	else
		fs_fsync(m->fs, opened(m, d->node), d->kind == OP_FDATASYNC,
			 &r->done);
}

static void check_promises(struct power_model *m, const struct demand *d)
{
	if (d->kind != OP_COMMIT)
		check_promise(m, d->node);
	if (d->too)
		check_promise(m, d->too);
}

/* A commit that began at @begin is of what there is now. */
static struct commit_point *note_taken(struct power_model *m,
				       const struct demand *d, size_t begin)
{
	m->made++;
	take_all(m, d->kind, d->node, d->too);
	return note_commit(m, begin);
}

/* It is answered: if there was a commit, none of what came since is in it. */
static void note_answered(struct power_model *m, const struct demand *d,
			  const struct request *r, size_t begin)
{
	if (commits_made(m) != m->made)
		note_taken(m, d, begin)->end = r->end;
	expect_eq(commits_made(m), m->made);
	check_promises(m, d);
}

static bool find_demand(struct power_model *m, const struct power_op *op,
			struct demand *d)
{
	struct place p, q;

	*d = (struct demand){.kind = op->kind};
	if (op->kind == OP_SYNC || op->kind == OP_COMMIT)
		return true;
	if (!find_place(m, op->path, &p) || !find_place(m, op->to, &q) ||
	    !p.node || S_ISLNK(p.node->mode))
		return false;
	d->node = p.node;
	if (op->kind != OP_TOGETHER)
		return true;
	d->too = q.node;
	return q.node && is_reg(p.node) && is_reg(q.node);
}

static void do_one(struct power_model *m, const struct power_op *op);

/* What goes on while a commit stands. Return: was the next asked for? */
static bool go_on(struct power_model *m, const struct power_op *ops, u32 nr,
		  struct demand *d, struct request *next)
{
	for (u32 i = 0; i < nr; i++) {
		if (!power_op_commits(ops[i].kind)) {
			do_one(m, &ops[i]);
		} else if (i == nr - 1 && find_demand(m, &ops[i], d)) {
			ask(m, d, next);
			return true;
		}
	}
	return false;
}

static void do_beside(struct power_model *m, const struct request *r,
		      const struct power_op *ops, u32 nr)
{
	u32 flying = m->nr_commits - 1;
	struct request next;
	struct demand d;
	bool asked = go_on(m, ops, nr, &d, &next);

	gate_open();
	wait_answered(r);
	m->commits[flying].end = r->end;
	if (asked) {
		wait_answered(&next);
		note_answered(m, &d, &next, r->end);
	}
	expect_eq(commits_made(m), m->made);
}

/* Return: how many of the @nr were done beside it. */
static u32 do_commit(struct power_model *m, const struct demand *d, u64 where,
		     const struct power_op *ops, u32 nr)
{
	size_t begin = power_record_now(m->log);
	struct request r;

	gate_arm(nr ? where : 0);
	ask(m, d, &r);
	if (wait_standing(&r)) {
		(void)note_taken(m, d, begin);
		check_promises(m, d);
		do_beside(m, &r, ops, nr);
		return nr;
	}
	wait_answered(&r);
	note_answered(m, d, &r, begin);
	return 0;
}

/* Commits first what may be committed unasked. */
static void do_compact(struct power_model *m)
{
	struct demand d = {.kind = OP_COMMIT};
	u64 from = 1; /* it need not commit itself */
	int rc = 1;

	/* else it is beside one */
	if (commits_made(m) == m->made)
		(void)do_commit(m, &d, 0, NULL, 0);
	while (rc == 1)
		rc = fs_compact_some(m->fs, &from);
	expect(rc == 0);
}

static void do_spill(struct power_model *m)
{
	struct cache *c = fs_cache(m->fs);
	u64 expire = cache_get_knob(c, KNOB_dirty_expire_centisecs);

	expect(cache_set_knob(c, KNOB_dirty_expire_centisecs, 0) == 0);
	expect(cache_flush_step(c) >= 0);
	expect(cache_set_knob(c, KNOB_dirty_expire_centisecs, expire) == 0);
}

/* What it commits is known before: all there is; but when the last ended, the
 * log goes on by what closing writes. */
static void close_fs(struct power_model *m)
{
	size_t begin = power_record_now(m->log);

	for (struct node *n = m->nodes; n < m->nodes + NODES; n++) {
		n->fh = 0;
		if (n != m->nodes && n->used)
			let_go(m, n);
	}
	power_counts.pages_moved += fs_stat_of(m).inline_moved;
	power_counts.records += fs_volume(m->fs)->count.redo_records;
	expect(fs_close(m->fs) == 0);
	m->fs = NULL;
	take_all(m, OP_REMOUNT, NULL, NULL);
	note_commit(m, begin)->end = power_record_now(m->log);
}

static bool do_remount(struct power_model *m)
{
	close_fs(m);
	m->swap = !m->swap;
	mount_it(m);
	return true;
}

void power_model_close(struct power_model *m)
{
	close_fs(m);
}

/* ---- one of them ---- */

static bool do_on_paths(struct power_model *m, const struct power_op *op)
{
	struct place p, q;

	if (!find_place(m, op->path, &p) || !find_place(m, op->to, &q))
		return false;
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK:
	case OP_TMPFILE:
		return do_make(m, op->kind, &p);
	case OP_LINK:
		return do_link(m, &p, &q);
	case OP_UNLINK:
	case OP_RMDIR:
		return do_remove(m, &p, op->kind == OP_RMDIR);
	case OP_RENAME:
		return do_rename(m, &p, &q);
	case OP_EXCHANGE:
		return do_exchange(m, &p, &q);
	case OP_COPY:
		return do_copy(m, p.node, q.node, op);
	default:
		return false;
	}
}

static bool do_on_node(struct power_model *m, const struct power_op *op)
{
	struct place p;

	if (!find_place(m, op->path, &p))
		return false;
	switch (op->kind) {
	case OP_TRUNCATE:
		return do_truncate(m, p.node, op->arg);
	case OP_WRITE:
		return do_write(m, p.node, op->arg, op->arg2, 0);
	case OP_STORE:
		return do_write(m, p.node, op->arg * PAGE_SIZE, PAGE_SIZE,
				CACHE_WRITE_WRITEPAGE);
	case OP_FALLOCATE:
	case OP_PUNCH:
	case OP_ZERO:
		return do_fallocate(m, p.node, op);
	case OP_CHMOD:
		return do_chmod(m, p.node);
	case OP_SETXATTR:
		return do_setxattr(m, p.node);
	case OP_ATOMIC:
		return do_atomic(m, p.node);
	case OP_CLOSE:
		return do_close(m, p.node);
	default:
		return do_on_paths(m, op);
	}
}

static void refresh_times(struct power_model *m)
{
	for (struct node *n = m->nodes; n < m->nodes + NODES; n++) {
		struct stat st;

		if (!n->used)
			continue;
		expect(fs_getattr(m->fs, n->ino, &st) == 0);
		n->mtime = (s64)st.st_mtim.tv_sec * (s64)NSEC_PER_SEC +
			   st.st_mtim.tv_nsec;
	}
}

static void do_one(struct power_model *m, const struct power_op *op)
{
	if (op->kind == OP_COMPACT)
		do_compact(m);
	else if (op->kind == OP_SPILL)
		do_spill(m);
	else
		(void)do_on_node(m, op);
	refresh_times(m);
}

/* Return: how many of those behind it were done as well. */
static u32 do_with_next(struct power_model *m, const struct power_op *op,
			u32 rest)
{
	struct demand d;

	/* else the model does not know what is on the volume */
	expect_eq(commits_made(m), m->made);
	if (op->kind == OP_REMOUNT)
		(void)do_remount(m);
	else if (!power_op_commits(op->kind))
		do_one(m, op);
	else if (find_demand(m, op, &d))
		return do_commit(m, &d, op->arg2, op + 1, min(op->arg, rest));
	return 0;
}

void power_model_do(struct power_model *m, const struct power_op *ops, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		i += do_with_next(m, &ops[i], nr - i - 1);
}

bool power_op_commits(enum power_op_kind kind)
{
	return kind >= OP_FSYNC && kind <= OP_COMMIT;
}

/* ---- after the power cut ---- */

static void complain(void *arg, const char *line)
{
	strbuf_printf(arg, "check: %s\n", line);
}

static bool may_be(const struct power_model *m, const char *text, size_t point)
{
	for (u32 i = m->nr_commits; i-- > 0;) {
		const struct commit_point *c = &m->commits[i];

		if (c->begin <= point && !strcmp(c->text, text))
			return true;
		if (c->end <= point)
			return false;
	}
	return false;
}

/* What the volume has, into @sb. Return: was it without fault? */
static bool look(const char *folder, struct strbuf *sb)
{
	struct volume_check_options opt = {
		.data = true, .report = complain, .arg = sb};
	struct fs *fs = NULL;
	char err[256] = "";
	long nr = volume_check(folder, &opt, err, sizeof(err));
	int rc;

	if (nr < 0)
		strbuf_printf(sb, "check: %s\n", err);
	if (nr)
		return false;
	rc = open_fs(folder, NULL, false, &fs, err, sizeof(err));
	if (rc) {
		strbuf_printf(sb, "open: %s %s\n", strerror(-rc), err);
		return false;
	}
	walk(fs, sb);
	rc = fs_close(fs);
	if (rc)
		strbuf_printf(sb, "close: %s\n", strerror(-rc));
	return !rc;
}

static void add_expected(const struct power_model *m, size_t point,
			 struct strbuf *sb)
{
	for (u32 i = m->nr_commits; i-- > 0;) {
		const struct commit_point *c = &m->commits[i];

		if (c->begin <= point)
			strbuf_printf(sb, "may be (%zu to %zu):\n%s", c->begin,
				      c->end, c->text);
		if (c->end <= point)
			break;
	}
}

/* What was to come after the kill never was. */
static void forget_commits(struct power_model *m, size_t point)
{
	while (m->commits[m->nr_commits - 1].begin > point)
		free(m->commits[--m->nr_commits].text);
	for (u32 i = 0; i < m->nr_commits; i++) {
		if (m->commits[i].end > point)
			m->commits[i].end = SIZE_MAX;
	}
}

char *power_model_after_kill(struct power_model *m, size_t point)
{
	struct strbuf sb = STRBUF_INIT;
	char *fault = NULL;
	char *text;
	size_t len;

	forget_commits(m, point);
	drop_nodes(m);
	mount_it(m);
	(void)load_node(m, FS_ROOT_INO, S_IFDIR | 0755);
	text = text_of(m, true);
	if (!may_be(m, text, point)) {
		strbuf_printf(&sb, "after a kill:\n%s", text);
		add_expected(m, point, &sb);
		expect(strbuf_finish(&sb, &fault, &len) == 0);
	}
	free(text);
	note_commit(m, point)->end = power_record_now(m->log);
	return fault;
}

char *power_model_check(struct power_model *m, const char *folder, size_t point)
{
	struct strbuf sb = STRBUF_INIT;
	char *text = NULL;
	bool good;
	size_t len;

	if (m->broken)
		strbuf_printf(&sb, "synced, but not committed: %s\n",
			      m->broken);
	good = look(folder, &sb) && !m->broken;
	if (good && !sb.failed && may_be(m, sb.buf, point)) {
		strbuf_release(&sb);
		return NULL;
	}
	add_expected(m, point, &sb);
	expect(strbuf_finish(&sb, &text, &len) == 0);
	return text;
}

/* ---- printing ---- */

void power_op_print(const struct power_op *op, char *buf, size_t size)
{
	static const char *const kinds[OP_KINDS] = {
		"create",  "mkdir",  "symlink",	  "tmpfile",   "link",
		"unlink",  "rmdir",  "rename",	  "exchange",  "truncate",
		"write",   "store",  "fallocate", "punch",     "zero",
		"copy",	   "chmod",  "setxattr",  "atomic",    "close",
		"compact", "spill",  "fsync",	  "fdatasync", "together",
		"sync",	   "commit", "remount",
	};

	(void)snprintf(buf, size, "%s %s%s %s%s %u %u", kinds[op->kind],
		       dirs[op->path.dir], names[op->path.name],
		       dirs[op->to.dir], names[op->to.name], op->arg, op->arg2);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <syslog.h>

#include "foliofs.h"
#include "fs_internal.h"
#include "strbuf.h"
#include "swap_file.h"

/*
 * How many records may be pending. Past SOFT a commit is asked for, past HARD
 * who changes names waits for it. While bookkeeping is over its share of the
 * budget the numbers are smaller; below OVER_SOFT a commit would give back
 * nothing worth it, so the smallest cache makes progress too. Extended
 * attributes are large: their records are held back by what they take, too.
 */
#define OPS_SOFT 65536
#define OPS_HARD 262144
#define OPS_OVER_SOFT 256
#define OPS_OVER_HARD 4096
#define OPS_OVER_SHARE 4	      /* of the budget, in bytes, */
#define OPS_OVER_BYTES ((u64)4 << 20) /* but no less than that */
#define WAIT_ROUNDS 3
#define WAIT_NS (10 * NSEC_PER_SEC)

/* A line, and what of a path finds room in one. */
#define LOG_LINE_MAX 1024
#define LOG_PATH_MAX 800

void fs_log(struct fs *fs, int level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;

	if (!fs->opt.log)
		return;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fs->opt.log(fs->opt.log_arg, level, line);
}

void fs_log_bad_pages(struct fs *fs, const char *by, u64 ino, u64 pgoff, u64 nr)
{
	struct strbuf name = STRBUF_INIT;
	char path[PATH_MAX];

	if (!fs_path(fs, ino, path, sizeof(path)))
		strbuf_add_path(&name, path);
	fs_log(fs, LOG_ERR, "%sinode %llu (%.*s%s), pages %llu-%llu are bad",
	       by, (unsigned long long)ino, LOG_PATH_MAX,
	       name.len ? name.buf : "", name.len > LOG_PATH_MAX ? "..." : "",
	       (unsigned long long)pgoff, (unsigned long long)(pgoff + nr - 1));
	strbuf_release(&name);
}

struct cache *fs_cache(struct fs *fs)
{
	return fs->cache;
}

struct volume *fs_volume(struct fs *fs)
{
	return fs->volume;
}

struct swap_file *fs_swap_file(struct fs *fs)
{
	return fs->opt.swap;
}

/* ---- holding back ---- */

static bool crowded(struct fs *fs, u64 nr)
{
	return nr >=
	       (cache_metadata_over(fs->cache) ? OPS_OVER_SOFT : OPS_SOFT);
}

static u64 over_bytes(struct fs *fs)
{
	u64 budget = cache_get_knob(fs->cache, KNOB_cache_size);

	return max(budget / OPS_OVER_SHARE, OPS_OVER_BYTES);
}

static bool full(struct fs *fs, bool frees)
{
	u64 more = frees ? 2 : 1;
	u64 nr = oplist_nr(&fs->ops);

	if (!cache_metadata_over(fs->cache))
		return nr >= OPS_HARD * more;
	return nr >= OPS_OVER_HARD * more ||
	       oplist_bytes(&fs->ops) >= over_bytes(fs) * more;
}

static int wait_for_room(struct fs *fs, bool frees)
{
	lock_assert_none();
	for (int i = 0; i < WAIT_ROUNDS; i++) {
		committer_wait(&fs->committer, mono_ns() + WAIT_NS);
		if (fs_readonly(fs))
			return -EROFS;
		if (!committer_last_err(&fs->committer) || !full(fs, frees))
			return 0;
	}
	return -ENOSPC;
}

int fs_may_change(struct fs *fs, bool frees)
{
	bool is_full;

	if (fs_readonly(fs))
		return -EROFS;
	is_full = full(fs, frees);
	if (!is_full && !crowded(fs, oplist_nr(&fs->ops)))
		return 0;

	committer_want(&fs->committer);
	if (!is_full)
		return 0;
	return fs->opt.patient ? wait_for_room(fs, frees) : -ERESTART;
}

bool fs_commit_may_free(struct fs *fs)
{
	struct oplist *l = &fs->ops;
	struct blocks_stat st;
	bool any;

	mutex_lock(&l->lock);
	any = l->nr_open || l->nr_frozen || l->nr_dirty;
	mutex_unlock(&l->lock);
	blocks_stat(fs->volume->blocks, &st);
	return any || st.deferred || redo_nr_records(fs->volume->redo);
}

int fs_lacks_space(struct fs *fs)
{
	if (!fs_commit_may_free(fs))
		return -ENOSPC;
	if (!fs->opt.patient)
		return -ERESTART;

	lock_assert_none();
	committer_wait(&fs->committer, mono_ns() + WAIT_NS);
	return 0;
}

/* ---- opening and closing ---- */

static void cache_wants(void *arg, enum commit_reason why)
{
	struct fs *fs = arg;

	(void)why;
	committer_want(&fs->committer);
}

static int make_cache(struct fs *fs, const struct fs_options *opt)
{
	struct cache_config cfg = {
		.size = opt->cache_size,
		.max_size = max(opt->cache_max, opt->cache_size),
		.swap_ops = opt->swap ? &swap_file_ops : &volume_swap_ops,
		.swap_arg = opt->swap ? (void *)opt->swap : fs->volume,
		.stop = &fs->stop,
		.want_commit = cache_wants,
		.want_commit_arg = fs,
	};
	int err;

	err = cache_new(&cfg, &fs->cache);
	for (int k = 0; !err && k < KNOB_NR; k++) {
		if (opt->knobs[k] != UINT64_MAX)
			err = cache_set_knob(fs->cache, (enum cache_knob)k,
					     opt->knobs[k]);
	}
	return err;
}

static int start(struct fs *fs)
{
	int err;

	err = cache_start(fs->cache);
	if (!err && !fs_readonly(fs))
		err = committer_start(&fs->committer);
	return err;
}

/* After commits that failed: what never reached the volume is forgotten. */
static void forget_pending(struct fs *fs)
{
	struct oplist *l = &fs->ops;
	struct list_head ops;

	list_init(&ops);
	down_write(&fs->stop);
	mutex_lock(&l->lock);
	oplist_freeze(l, &ops);
	mutex_unlock(&l->lock);
	up_write(&fs->stop);
	oplist_drop(l, &ops);

	while (!list_empty(&l->dirty)) {
		struct inode *inode =
			list_first_entry(&l->dirty, struct inode, dirty);

		list_del(&inode->dirty);
		l->nr_dirty--;
		inode_put(inode);
	}
}

static int fs_free(struct fs *fs)
{
	int err, close_err;

	scrub_done(&fs->scrub);
	handle_close_all(&fs->handles);
	if (fs->inodes.hash)
		lookup_forget_all(fs);
	err = committer_stop(&fs->committer);
	access_forget_all(fs);
	forget_pending(fs);
	handle_table_done(&fs->handles);
	if (fs->cache)
		cache_stop(fs->cache);
	if (fs->inodes.hash)
		inode_shrink(fs, SHRINK_END);
	inode_table_done(&fs->inodes);
	oplist_done(&fs->ops);
	committer_done(&fs->committer);
	cache_free(fs->cache);
	swap_file_close(fs->opt.swap);
	close_err = volume_close(fs->volume);
	rwsem_done(&fs->stop);
	mutex_done(&fs->rename_mutex);
	free(fs);
	return err ? err : close_err;
}

int fs_open(struct volume *v, const struct fs_options *opt, struct fs **ret_fs)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int err;

	if (!fs) {
		swap_file_close(opt->swap);
		(void)volume_close(v);
		return -ENOMEM;
	}

	fs->volume = v;
	fs->opt = *opt;
	fs->atime = opt->atime;
	fs->readonly = opt->readonly || v->readonly;
	rwsem_init(&fs->stop, LOCK_STOP, "stop");
	mutex_init(&fs->rename_mutex, LOCK_RENAME, "rename");
	oplist_init(&fs->ops, fs);
	committer_init(&fs->committer, fs, opt->commit_secs);
	scrub_init(&fs->scrub, fs);
	handle_table_init(&fs->handles, fs);
	err = meta_max_dentry_id(v->meta, &fs->next_dentry_id);
	fs->next_dentry_id++;
	if (!err)
		err = make_cache(fs, opt);
	if (!err)
		err = inode_table_init(&fs->inodes, fs, opt->cache_size);
	if (!err)
		err = start(fs);
	if (err) {
		(void)fs_free(fs);
		return err;
	}
	*ret_fs = fs;
	return 0;
}

int fs_close(struct fs *fs)
{
	return fs ? fs_free(fs) : 0;
}

int fs_compact_some(struct fs *fs, u64 *from)
{
	if (fs_readonly(fs))
		return -EROFS;
	if (!*from)
		committer_wait(&fs->committer, mono_ns() + WAIT_NS);
	return volume_compact_some(fs->volume, from);
}

int fs_compact_swap_some(struct fs *fs, u64 *from)
{
	return fs->opt.swap ? swap_file_compact_some(fs->opt.swap, from) : 0;
}

/* ---- committing ---- */

enum need {
	NEED_NOTHING,
	NEED_RIDE, /* the commit in flight has it */
	NEED_COMMIT,
};

/* Context: stop shared, so that no cut comes in between. */
static enum need inode_needs(struct inode *inode)
{
	struct oplist *l = &inode->fs->ops;
	bool dirty, committing, open = false, frozen = false;
	struct op_xattr *x;

	mutex_lock(&inode->lock);
	dirty = inode->dirty_epoch;
	committing = inode->committing;
	mutex_unlock(&inode->lock);

	mutex_lock(&l->lock);
	dirty &= !inode->orphan;
	if (inode->op) {
		frozen = inode->op->op.epoch <= l->frozen_epoch;
		open = !frozen;
	}
	/* those of an inode without a row belong to no commit */
	list_for_each_entry (x, &inode->xattrs, inode_node) {
		if (inode->norow)
			break;
		if (x->op.epoch <= l->frozen_epoch)
			frozen = true;
		else
			open = true;
	}
	mutex_unlock(&l->lock);

	if (dirty || open)
		return NEED_COMMIT;
	return committing || frozen ? NEED_RIDE : NEED_NOTHING;
}

static enum need all_needs(struct fs *fs)
{
	struct oplist *l = &fs->ops;
	enum need need = NEED_NOTHING;

	mutex_lock(&l->lock);
	if (!list_empty(&l->open) || !list_empty(&l->dirty))
		need = NEED_COMMIT;
	else if (l->frozen_epoch)
		need = NEED_RIDE;
	mutex_unlock(&l->lock);
	return need;
}

static void include(struct inode *inode)
{
	mutex_lock(&inode->lock);
	inode->include_epoch = inode->fs->ops.epoch;
	mutex_unlock(&inode->lock);
}

/*
 * Put @req where it belongs. A commit that ends between the look and the ride
 * may have failed, and left what it had for the next: look again.
 * Return: NEED_NOTHING: there is nothing to wait for; NEED_COMMIT: one is still
 * to be made.
 */
static enum need enqueue(struct fs *fs, struct inode *inode,
			 struct commit_req *req)
{
	struct committer *c = &fs->committer;
	enum need need;
	bool rides = false;

	down_read(&fs->stop);
	do {
		need = inode ? inode_needs(inode) : all_needs(fs);
		if (need == NEED_RIDE)
			rides = committer_ride(c, req);
	} while (need == NEED_RIDE && !rides);

	if (need == NEED_COMMIT) {
		if (inode)
			include(inode);
		committer_request(c, req);
	}
	up_read(&fs->stop);
	return need;
}

static int file_error(struct handle *h)
{
	if (!h || !inode_is_reg(h->inode))
		return 0;
	return file_check_and_advance_wb_err(&h->file);
}

/* Somebody has asked for one, for the content of @inode or all there is. */
static void start_commit(struct fs *fs, struct inode *inode)
{
	struct committer *c = &fs->committer;

	if (!fs->opt.commit_inline || !inode || !committer_run_small(c, inode))
		committer_wake(c);
}

/* @h's reference is taken over. @inode NULL: all there is in @scope. */
static void commit_for(struct fs *fs, enum commit_scope scope,
		       struct inode *inode, struct handle *h,
		       struct fs_done *done)
{
	struct commit_req *req = calloc(1, sizeof(*req));
	enum need need;
	int err = -ENOMEM;

	if (!req)
		goto out_answer;

	req->done = done;
	req->handle = h;
	req->scope = scope;
	if (inode)
		inode_get(inode); /* the request may end at any moment */
	need = enqueue(fs, inode, req);
	if (need == NEED_COMMIT)
		start_commit(fs, inode);
	if (inode)
		inode_put(inode);
	if (need != NEED_NOTHING)
		return;
	free(req);
	err = file_error(h);
	if (!err && fs_readonly(fs) && !fs->opt.readonly)
		err = -EROFS;
out_answer:
	handle_put(h);
	lock_assert_none();
	done->fn(done, err);
}

void fs_fsync(struct fs *fs, u64 fh, bool datasync, struct fs_done *done)
{
	struct handle *h = handle_get(fs, fh);

	(void)datasync;
	if (h)
		commit_for(fs, COMMIT_ASKED, h->inode, h, done);
	else
		done->fn(done, -EBADF);
}

void fs_fsyncdir(struct fs *fs, u64 ino, struct fs_done *done)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err) {
		done->fn(done, err);
		return;
	}
	commit_for(fs, COMMIT_ASKED, inode, NULL, done);
	inode_put(inode);
}

/* ---- committing several files ---- */

static int get_group(struct fs *fs, const u64 *inos, u32 nr,
		     struct commit_req *req)
{
	int err = 0;

	req->group = calloc(nr, sizeof(struct inode *));
	if (!req->group)
		return -ENOMEM;
	while (!err && req->nr_group < nr) {
		struct inode *inode = NULL;

		err = inode_get_ino(fs, inos[req->nr_group], &inode);
		if (err)
			return err == -ESTALE ? -ENOENT : err;
		req->group[req->nr_group++] = inode;
		err = inode_is_reg(inode) ? 0 : -EINVAL;
	}
	return err;
}

/* All of them belong to the next cut. They do not ride: the commit in flight
 * may lack one of them. Return: false when there is nothing to wait for. */
static bool enqueue_group(struct fs *fs, struct commit_req *req)
{
	bool any = false;

	down_read(&fs->stop);
	for (u32 i = 0; i < req->nr_group; i++)
		any |= inode_needs(req->group[i]) != NEED_NOTHING;
	for (u32 i = 0; any && i < req->nr_group; i++)
		include(req->group[i]);
	if (any)
		committer_request(&fs->committer, req);
	up_read(&fs->stop);
	return any;
}

void fs_commit_files(struct fs *fs, const u64 *inos, u32 nr,
		     struct fs_done *done)
{
	struct commit_req *req;
	int err;

	if (!nr || nr > FOLIOFS_COMMIT_MAX) {
		done->fn(done, -EINVAL);
		return;
	}
	req = calloc(1, sizeof(*req));
	if (!req) {
		done->fn(done, -ENOMEM);
		return;
	}

	req->done = done;
	req->scope = COMMIT_ASKED;
	err = get_group(fs, inos, nr, req);
	if (!err && enqueue_group(fs, req)) {
		committer_wake(&fs->committer);
		return;
	}
	commit_req_free(req);
	if (!err && fs_readonly(fs) && !fs->opt.readonly)
		err = -EROFS;
	done->fn(done, err);
}

bool fs_settle(struct fs *fs, struct fs_done *done)
{
	if (!__atomic_load_n(&fs->ops.points, __ATOMIC_RELAXED))
		return false;
	/* any commit takes what commit points wait for */
	commit_for(fs, COMMIT_ASKED, NULL, NULL, done);
	return true;
}

void fs_sync(struct fs *fs, struct fs_done *done)
{
	commit_for(fs, COMMIT_ALL, NULL, NULL, done);
}

void fs_commit(struct fs *fs, struct fs_done *done)
{
	commit_for(fs, COMMIT_UNASKED, NULL, NULL, done);
}

struct sync_wait {
	struct fs_done done;
	struct mutex lock;
	struct waitq ended;
	bool answered;
	int err;
};

static void sync_ended(struct fs_done *done, int err)
{
	struct sync_wait *w = container_of(done, struct sync_wait, done);

	mutex_lock(&w->lock);
	w->answered = true;
	w->err = err;
	waitq_wake_all(&w->ended);
	mutex_unlock(&w->lock);
}

int fs_sync_wait(struct fs *fs)
{
	struct sync_wait w = {.done.fn = sync_ended};

	mutex_init(&w.lock, LOCK_LEAF, "sync");
	waitq_init(&w.ended);
	fs_sync(fs, &w.done);

	mutex_lock(&w.lock);
	while (!w.answered)
		waitq_wait(&w.ended, &w.lock);
	mutex_unlock(&w.lock);
	waitq_done(&w.ended);
	mutex_done(&w.lock);
	return w.err;
}

void fs_want_commit(struct fs *fs)
{
	committer_want(&fs->committer);
}

void fs_set_commit_secs(struct fs *fs, u32 secs)
{
	committer_set_secs(&fs->committer, secs);
}

u32 fs_get_commit_secs(struct fs *fs)
{
	return __atomic_load_n(&fs->committer.secs, __ATOMIC_RELAXED);
}

/* ---- looking ---- */

static u64 load(const u64 *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

static void stat_committer(struct committer *c, struct fs_stat *ret)
{
	u64 ended;

	ret->commits = load(&c->commits);
	ret->commit_errors = load(&c->errors);
	ret->commit_ms = load(&c->total_ns) / NSEC_PER_MSEC;
	ended = load(&c->last_ns);
	ret->commit_last_age_ms =
		ended ? (mono_ns() - ended) / NSEC_PER_MSEC : 0;
	ret->commit_last_ms = load(&c->last_ms);
	ret->commit_last_pages = load(&c->last_pages);
	ret->commit_last_bytes = load(&c->last_bytes);
	ret->stop_max_us = load(&c->stop_max_us);
	ret->checkpoints = load(&c->checkpoints);
	ret->inline_moved = load(&c->inline_moved);
	mutex_lock(&c->lock);
	ret->commit_requests = c->requests;
	mutex_unlock(&c->lock);
}

void fs_stat(struct fs *fs, struct fs_stat *ret)
{
	struct oplist *l = &fs->ops;
	struct meta_super super;
	u64 oldest;

	memset(ret, 0, sizeof(*ret));
	stat_committer(&fs->committer, ret);
	scrub_stat(&fs->scrub, ret);

	mutex_lock(&l->lock);
	ret->ops_logged = l->logged;
	ret->nr_ops_pending = l->nr_open + l->nr_frozen;
	oldest = l->cut_oldest_ns ? l->cut_oldest_ns : l->oldest_ns;
	if (oldest)
		ret->oldest_uncommitted_ms =
			(mono_ns() - oldest) / NSEC_PER_MSEC;
	mutex_unlock(&l->lock);

	mutex_lock(&fs->inodes.lock);
	ret->nr_inodes_cached = fs->inodes.nr;
	ret->nr_lookups = fs->inodes.nr_counts;
	mutex_unlock(&fs->inodes.lock);

	ret->nr_handles = handle_nr(fs);
	ret->readonly = fs_readonly(fs);
	meta_super(fs->volume->meta, &super);
	ret->commit_no = super.commit_no;
}

static void file_info(struct inode *inode, struct fs_file_info *ret)
{
	struct inode_table *t = &inode->fs->inodes;

	ret->ino = inode->ino;
	mutex_lock(&t->lock);
	ret->opens = inode->opens;
	mutex_unlock(&t->lock);
	address_space_stat(&inode->mapping, &ret->st);
}

static bool worth_showing(const struct fs_file_info *info)
{
	return info->opens || info->st.nr_cache || info->st.nr_swapped ||
	       info->st.nr_uncommitted;
}

int fs_files(struct fs *fs, struct fs_file_info **ret_info, size_t *ret_nr)
{
	struct fs_file_info *info;
	struct inode **inodes;
	size_t nr, shown = 0;
	int err;

	err = inode_snapshot(fs, &inodes, &nr);
	if (err)
		return err;

	info = calloc(nr + 1, sizeof(*info));
	for (size_t i = 0; i < nr; i++) {
		if (info) {
			file_info(inodes[i], &info[shown]);
			shown += worth_showing(&info[shown]);
		}
		inode_put(inodes[i]);
	}
	free(inodes);
	if (!info)
		return -ENOMEM;

	*ret_info = info;
	*ret_nr = shown;
	return 0;
}

/* A file; -ENOENT: no such inode, or a folder or the like. */
static int get_reg(struct fs *fs, u64 ino, struct inode **ret)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err == -ESTALE ? -ENOENT : err;
	if (!inode_is_reg(inode)) {
		inode_put(inode);
		return -ENOENT;
	}
	*ret = inode;
	return 0;
}

int fs_file_info(struct fs *fs, u64 ino, struct fs_file_info *ret)
{
	struct inode *inode = NULL;
	int err;

	err = get_reg(fs, ino, &inode);
	if (err)
		return err;

	file_info(inode, ret);
	inode_put(inode);
	return 0;
}

int fs_file_map(struct fs *fs, u64 ino, u64 pgoff, u64 nr, char *ret)
{
	struct inode *inode = NULL;
	int err;

	err = get_reg(fs, ino, &inode);
	if (err)
		return err;

	address_space_map(&inode->mapping, pgoff, nr, ret);
	inode_put(inode);
	return 0;
}

void fs_check(struct fs *fs)
{
	inode_table_check(&fs->inodes);
	oplist_check(&fs->ops);
}

int fs_drop(struct fs *fs, u64 ino)
{
	struct inode *inode = NULL;
	int err;

	if (!ino) {
		(void)cache_drop(fs->cache, NULL);
		inode_shrink(fs, SHRINK_ALL);
		return 0;
	}
	err = get_reg(fs, ino, &inode);
	if (err)
		return err;

	(void)cache_drop(fs->cache, &inode->mapping);
	inode_put(inode);
	return 0;
}

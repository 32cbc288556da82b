/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <syslog.h>

#include "fs_internal.h"
#include "inline.h"
#include "small_commit.h"
#include "transaction.h"

/* After an error nothing is tried unasked for so long. */
#define RETRY_NS NSEC_PER_SEC
/* Commits tried at the end before giving up. */
#define STOP_TRIES 3
/* What SQLite may hold of the budget however much else there is. */
#define TRIM_SHARE 16

/* ---- asking ---- */

void committer_want(struct committer *c)
{
	mutex_lock(&c->lock);
	c->want = true;
	waitq_wake_one(&c->wake);
	mutex_unlock(&c->lock);
}

void committer_set_secs(struct committer *c, u32 secs)
{
	mutex_lock(&c->lock);
	__atomic_store_n(&c->secs, secs, __ATOMIC_RELAXED);
	c->poked = true;
	waitq_wake_one(&c->wake);
	mutex_unlock(&c->lock);
}

void committer_request(struct committer *c, struct commit_req *req)
{
	mutex_lock(&c->lock);
	c->requests++;
	list_add_tail(&req->node, &c->waiting);
	mutex_unlock(&c->lock);
}

void committer_wake(struct committer *c)
{
	waitq_wake_one(&c->wake);
}

bool committer_ride(struct committer *c, struct commit_req *req)
{
	bool rides;

	mutex_lock(&c->lock);
	rides = c->inflight != 0;
	if (rides) {
		c->requests++;
		list_add_tail(&req->node, &c->riding);
	}
	mutex_unlock(&c->lock);
	return rides;
}

void committer_wait(struct committer *c, u64 deadline_ns)
{
	u64 target;

	mutex_lock(&c->lock);
	/* one in flight may have cut before what the caller waits for */
	target = c->ended_nr + (c->inflight ? 2 : 1);
	c->want = true;
	waitq_wake_one(&c->wake);
	while (c->ended_nr < target && !c->stopped) {
		if (!waitq_wait_until(&c->ended, &c->lock, deadline_ns))
			break;
	}
	mutex_unlock(&c->lock);
}

int committer_last_err(struct committer *c)
{
	int err;

	mutex_lock(&c->lock);
	err = c->last_err;
	mutex_unlock(&c->lock);
	return err;
}

u64 committer_ended_nr(struct committer *c)
{
	return __atomic_load_n(&c->ended_nr, __ATOMIC_RELAXED);
}

bool committer_is_busy(struct committer *c, u64 ended)
{
	bool busy;

	mutex_lock(&c->lock);
	busy = c->inflight || c->ended_nr != ended;
	mutex_unlock(&c->lock);
	return busy;
}

void commit_req_free(struct commit_req *req)
{
	for (u32 i = 0; i < req->nr_group; i++)
		inode_put(req->group[i]);
	free(req->group);
	free(req);
}

/* ---- the commit ---- */

void committer_for_groups(struct committer *c,
			  void (*fn)(void *arg, const struct commit_req *req),
			  void *arg)
{
	struct commit_req *req;

	mutex_lock(&c->lock);
	list_for_each_entry (req, &c->riding, node) {
		if (req->nr_group)
			fn(arg, req);
	}
	mutex_unlock(&c->lock);
}

/* Context: lock held. */
static enum commit_scope scope_asked_for(const struct committer *c)
{
	enum commit_scope scope = COMMIT_ASKED;
	struct commit_req *req;

	list_for_each_entry (req, &c->waiting, node)
		scope = max(scope, req->scope);
	return scope;
}

enum commit_scope committer_cut(struct committer *c, u64 epoch)
{
	enum commit_scope scope;

	mutex_lock(&c->lock);
	c->inflight = epoch;
	scope = scope_asked_for(c);
	if (c->want && scope == COMMIT_ASKED)
		scope = COMMIT_UNASKED;
	list_splice_tail(&c->waiting, &c->riding);
	c->want = false;
	mutex_unlock(&c->lock);
	return scope;
}

/* What became of a commit. */
struct outcome {
	u64 epoch;
	int err;
	int left_out;  /* an error of one of its files, which is not in it */
	int names_err; /* why names and attributes are not in it */
	bool logged;   /* it is a record of the redo log */
};

static int left_out_err(struct inode *inode, u64 epoch)
{
	int err = 0;

	mutex_lock(&inode->lock);
	if (inode->left_out == epoch)
		err = inode->left_out_err;
	mutex_unlock(&inode->lock);
	return err;
}

/* The open file's error, once; but the same may have been told to a close()
 * meanwhile, and is no success for that. */
static int file_result(struct handle *h, const struct outcome *o)
{
	int err = file_check_and_advance_wb_err(&h->file);

	if (err || o->err)
		return err ? err : o->err;
	err = left_out_err(h->inode, o->epoch);
	if (!err && __atomic_load_n(&h->inode->nr_records, __ATOMIC_RELAXED))
		err = o->names_err;
	return err;
}

static int result(const struct commit_req *req, const struct outcome *o)
{
	if (req->handle && inode_is_reg(req->handle->inode))
		return file_result(req->handle, o);
	if (o->err || o->names_err)
		return o->err ? o->err : o->names_err;
	for (u32 i = 0; i < req->nr_group; i++) {
		int err = left_out_err(req->group[i], o->epoch);

		if (err)
			return err;
	}
	return req->scope != COMMIT_ASKED ? o->left_out : 0;
}

static void answer(struct commit_req *req, const struct outcome *o)
{
	struct fs_done *done = req->done;
	int err = result(req, o);

	handle_put(req->handle);
	commit_req_free(req);
	done->fn(done, err);
}

static void answer_all(struct list_head *reqs, const struct outcome *o)
{
	lock_assert_none();
	while (!list_empty(reqs)) {
		struct commit_req *req =
			list_first_entry(reqs, struct commit_req, node);

		list_del(&req->node);
		answer(req, o);
	}
}

/* The commit in flight has ended. @reqs gets who is to be told. */
static void committer_ended(struct committer *c, struct outcome *o,
			    struct list_head *reqs)
{
	bool failed = o->err || o->names_err;

	list_init(reqs);
	mutex_lock(&c->lock);
	o->epoch = c->inflight;
	c->inflight = 0;
	(void)__atomic_add_fetch(&c->ended_nr, 1, __ATOMIC_RELAXED);
	c->last_err = o->err ? o->err : o->left_out;
	c->retry_ns = failed ? mono_ns() + RETRY_NS : 0;
	list_splice_tail(&c->riding, reqs);
	waitq_wake_all(&c->ended);
	mutex_unlock(&c->lock);
}

static void add(u64 *counter, u64 nr)
{
	(void)__atomic_fetch_add(counter, nr, __ATOMIC_RELAXED);
}

static void set(u64 *figure, u64 value)
{
	__atomic_store_n(figure, value, __ATOMIC_RELAXED);
}

static u64 bytes_written(struct fs *fs)
{
	struct volume *v = fs->volume;

	return __atomic_load_n(&v->count.data_write_blocks, __ATOMIC_RELAXED) *
		       PAGE_SIZE +
	       meta_bytes_written(v->meta);
}

static void count_commit(struct fs *fs, struct transaction *t, u64 begin_ns,
			 u64 begin_bytes, int err)
{
	struct committer *c = &fs->committer;
	u64 ns = mono_ns() - begin_ns;
	struct commit_stat st;

	commit_stat(t->commit, &st);
	add(err ? &c->errors : &c->commits, 1);
	add(&c->total_ns, ns);
	if (!err)
		set(&c->last_ns, mono_ns());
	set(&c->last_ms, ns / NSEC_PER_MSEC);
	set(&c->last_pages, st.pages);
	set(&c->last_bytes, bytes_written(fs) - begin_bytes);
}

/* SQLite's memory belongs to the budget. Rather than that there is too much
 * bookkeeping, for which commits are made and writers wait, it does with less,
 * if it has a good part of it. */
static void charge_meta(struct fs *fs)
{
	struct meta *m = fs->volume->meta;
	s64 now = (s64)meta_memory(m);
	u64 budget = cache_get_knob(fs->cache, KNOB_cache_size);

	if ((u64)now > budget / TRIM_SHARE &&
	    cache_metadata_would_be_over(fs->cache, now - fs->charged_meta)) {
		meta_trim(m);
		now = (s64)meta_memory(m);
	}
	cache_charge(fs->cache, now - fs->charged_meta);
	fs->charged_meta = now;
}

/*
 * Was it for damage in the database? Its trees are then not what they should
 * be, and what is written to them may end up anywhere.
 */
static bool is_db_damage(struct fs *fs, int err)
{
	return err == -EUCLEAN ||
	       (err == -EIO && meta_checksum_errors(fs->volume->meta) !=
				       fs->committer.damaged_pages);
}

static void turn_readonly(struct fs *fs, const char *why)
{
	__atomic_store_n(&fs->readonly, true, __ATOMIC_RELEASE);
	volume_note_damaged(fs->volume);
	fs_log(fs, LOG_CRIT, "%s: read-only from now on; unmount, %s", why,
	       meta_failed(fs->volume->meta)
		       ? "and mount again"
		       : "run folioctl check, and mount again");
}

static void commit_failed(struct fs *fs, int err)
{
	if (fs_readonly(fs))
		return;
	fs_log(fs, LOG_ERR, "commit: %s", strerror(-err));
	if (meta_failed(fs->volume->meta))
		turn_readonly(fs, "the database could not be made durable");
	else if (is_db_damage(fs, err))
		turn_readonly(fs, "the database is damaged");
}

/* Files that came to have many pages in rows. */
static void move_out(struct fs *fs)
{
	struct committer *c = &fs->committer;

	while (!list_empty(&c->crowded)) {
		struct inode *inode = list_first_entry(
			&c->crowded, struct inode, inline_node);
		int rc = fs_readonly(fs) ? 0 : inline_move_out(inode);

		list_del(&inode->inline_node);
		if (rc > 0)
			add(&c->inline_moved, (u64)rc);
		else if (rc < 0)
			fs_log(fs, LOG_WARNING, "moving pages out: %s",
			       strerror(-rc));
		inode_put(inode);
	}
}

static void tidy(struct fs *fs)
{
	move_out(fs);
	if (!meta_failed(fs->volume->meta)) {
		int rc = meta_checkpoint(fs->volume->meta, false);

		if (rc > 0)
			add(&fs->committer.checkpoints, 1);
		else if (rc < 0)
			fs_log(fs, LOG_WARNING, "checkpoint: %s",
			       strerror(-rc));
	}
	if (!fs_readonly(fs))
		volume_spare_host(fs->volume);
	charge_meta(fs);
	if (cache_metadata_over(fs->cache))
		inode_shrink(fs, SHRINK_TO_FEW);
}

static struct outcome commit_once(struct fs *fs, enum commit_scope scope,
				  bool last_try)
{
	u64 begin_ns = mono_ns(), begin_bytes = bytes_written(fs);
	struct transaction t;
	int err;

	err = transaction_init(&t, fs, scope);
	if (err) {
		/* nothing is cut, but who waits is to hear of it */
		(void)committer_cut(&fs->committer, fs->ops.epoch);
		return (struct outcome){.err = err};
	}

	t.last_try = last_try;
	fs->committer.damaged_pages = meta_checksum_errors(fs->volume->meta);
	access_log_all(fs);
	transaction_prewrite(&t);
	transaction_cut(&t);
	if (t.nr_ops || t.nr_files || transaction_redo_is_due(&t))
		err = fs_readonly(fs) ? -EROFS : transaction_write(&t);
	else
		t.visible = true;
	transaction_end(&t, err);
	if (err)
		commit_failed(fs, err);
	if (t.nr_ops || t.nr_files)
		count_commit(fs, &t, begin_ns, begin_bytes, err);
	transaction_done(&t);
	fs->committer.names_held = t.names_err != 0;
	return (struct outcome){.err = err,
				.left_out = t.left_out,
				.names_err = t.names_err,
				.logged = t.logged};
}

/* Context: turn held; it is given back before anybody is told. Return: was it
 * no more than a record of the redo log? */
static bool run_commit(struct committer *c, enum commit_scope scope,
		       bool last_try) __releases(&c->turn)
{
	struct outcome o = commit_once(c->fs, scope, last_try);
	struct list_head reqs;

	committer_ended(c, &o, &reqs);
	mutex_unlock(&c->turn);
	answer_all(&reqs, &o);
	return o.logged;
}

/* ---- in the thread of who asks ---- */

/* Is the caller's request the only one, and is it for the thread? */
static bool is_alone(struct committer *c)
{
	bool alone;

	mutex_lock(&c->lock);
	alone = !c->stop && !c->want && !list_empty(&c->waiting) &&
		c->waiting.next->next == &c->waiting;
	mutex_unlock(&c->lock);
	return alone;
}

/* Access times become records. */
static bool has_records(struct fs *fs)
{
	bool any;

	mutex_lock(&fs->ops.lock);
	any = !list_empty(&fs->ops.open) || !list_empty(&fs->ops.accessed);
	mutex_unlock(&fs->ops.lock);
	return any;
}

static bool has_prealloc(struct inode *inode)
{
	bool any;

	mutex_lock(&inode->lock);
	any = inode->nr_prealloc != 0;
	mutex_unlock(&inode->lock);
	return any;
}

/* What comes in between can make it a transaction after all, which takes this
 * thread longer; what is to be done behind it is left to the other. Context:
 * turn held. */
static bool will_be_small(struct committer *c, struct inode *inode)
{
	u64 pages = address_space_nr_only_dirty(&inode->mapping);

	return pages <= SMALL_COMMIT_PAGES && !has_prealloc(inode) &&
	       redo_has_room(c->fs->volume->redo, 1, (u32)pages) &&
	       !has_records(c->fs) && !fs_readonly(c->fs) && is_alone(c);
}

/* The thread goes on: who asked meanwhile may have found the turn taken, and
 * behind a transaction there is to be tidied. */
static void hand_over(struct committer *c, bool logged)
{
	bool asked;

	mutex_lock(&c->lock);
	c->untidy |= !logged;
	asked = !list_empty(&c->waiting) || c->want || c->stop || c->untidy;
	mutex_unlock(&c->lock);
	if (asked)
		committer_wake(c);
}

bool committer_run_small(struct committer *c, struct inode *inode)
{
	if (!inode_is_reg(inode) || !mutex_trylock(&c->turn))
		return false;
	if (!will_be_small(c, inode)) {
		mutex_unlock(&c->turn);
		return false;
	}
	hand_over(c, run_commit(c, COMMIT_ASKED, false));
	return true;
}

/* ---- the thread ---- */

/* When the timer wants a commit; UINT64_MAX: never. */
static u64 next_due(struct fs *fs)
{
	u32 secs = __atomic_load_n(&fs->committer.secs, __ATOMIC_RELAXED);
	u64 first;

	if (!secs || fs_readonly(fs))
		return UINT64_MAX;
	mutex_lock(&fs->ops.lock);
	first = fs->ops.timer_ns;
	mutex_unlock(&fs->ops.lock);
	return min(first ? first + secs * NSEC_PER_SEC : UINT64_MAX,
		   access_due_ns(fs));
}

/*
 * Until when to sleep, with nothing due before @due. The first change does not
 * wake the thread to set the timer, which would be one wake too many for each
 * write and fsync: it sleeps no longer than the timer lasts, and what has come
 * meanwhile is due no sooner than that.
 */
static u64 sleep_until(const struct committer *c, u64 due)
{
	u32 secs = __atomic_load_n(&c->secs, __ATOMIC_RELAXED);

	if (due != UINT64_MAX || !secs || fs_readonly(c->fs))
		return due;
	return mono_ns() + secs * NSEC_PER_SEC;
}

/* Is there a commit to be made, and which? If not, until when to wait. */
static bool look_for_work(struct committer *c, u64 due,
			  enum commit_scope *ret_scope, u64 *ret_until)
{
	u64 now = mono_ns();

	if (c->want)
		due = 0;
	if (due != UINT64_MAX)
		due = max(due, c->retry_ns);
	*ret_until = sleep_until(c, due);
	*ret_scope = scope_asked_for(c);
	if (c->stop)
		*ret_scope = COMMIT_ALL;
	else if (due <= now && *ret_scope == COMMIT_ASKED)
		*ret_scope = COMMIT_UNASKED;
	return c->stop || due <= now || !list_empty(&c->waiting) || c->untidy;
}

static enum commit_scope wait_for_work(struct committer *c)
{
	enum commit_scope scope;
	bool found;
	u64 until;

	do {
		u64 due = next_due(c->fs);

		mutex_lock(&c->lock);
		found = look_for_work(c, due, &scope, &until);
		if (!found && !c->poked) {
			if (until == UINT64_MAX)
				waitq_wait(&c->wake, &c->lock);
			else
				(void)waitq_wait_until(&c->wake, &c->lock,
						       until);
		}
		c->poked = false;
		c->untidy &= !found; /* it is done behind the commit */
		mutex_unlock(&c->lock);
	} while (!found);
	return scope;
}

static bool nothing_pending(struct fs *fs)
{
	bool none;

	mutex_lock(&fs->ops.lock);
	none = list_empty(&fs->ops.open) && list_empty(&fs->ops.dirty);
	mutex_unlock(&fs->ops.lock);
	return none && !redo_nr_records(fs->volume->redo);
}

static bool shall_stop(struct committer *c)
{
	bool stop;

	mutex_lock(&c->lock);
	stop = c->stop;
	mutex_unlock(&c->lock);
	return stop;
}

static void *committer_main(void *arg)
{
	struct committer *c = arg;
	int tries = 0;

	while (tries < STOP_TRIES) {
		enum commit_scope scope = wait_for_work(c);
		bool stop = shall_stop(c);

		mutex_lock(&c->turn);
		(void)run_commit(c, scope, tries == STOP_TRIES - 1);
		mutex_lock(&c->turn);
		tidy(c->fs);
		mutex_unlock(&c->turn);
		if (!stop)
			continue;
		if (nothing_pending(c->fs) || fs_readonly(c->fs))
			break;
		tries++;
	}
	return NULL;
}

void committer_init(struct committer *c, struct fs *fs, u32 secs)
{
	c->fs = fs;
	c->secs = secs;
	mutex_init(&c->turn, LOCK_TURN, "committer's turn");
	mutex_init(&c->lock, LOCK_LEAF, "committer");
	waitq_init(&c->wake);
	waitq_init(&c->ended);
	list_init(&c->waiting);
	list_init(&c->riding);
	list_init(&c->crowded);
}

int committer_start(struct committer *c)
{
	int err;

	err = pthread_create(&c->thread, NULL, committer_main, c);
	c->started = !err;
	return -err;
}

int committer_stop(struct committer *c)
{
	struct outcome o = {0};
	struct list_head late;

	if (!c->started)
		return 0;

	mutex_lock(&c->lock);
	c->stop = true;
	waitq_wake_one(&c->wake);
	mutex_unlock(&c->lock);
	(void)pthread_join(c->thread, NULL);
	c->started = false;

	list_init(&late);
	mutex_lock(&c->lock);
	c->stopped = true;
	list_splice_tail(&c->waiting, &late);
	waitq_wake_all(&c->ended);
	o.err = c->last_err;
	mutex_unlock(&c->lock);
	answer_all(&late, &o);
	return o.err;
}

void committer_done(struct committer *c)
{
	waitq_done(&c->wake);
	waitq_done(&c->ended);
	mutex_done(&c->lock);
	mutex_done(&c->turn);
}

/* SPDX-License-Identifier: MIT */
/* A volume in use: its lock, its files, the map of its blocks. */
#include "config.h"

#include "mountinfo.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "freemap.h"
#include "volume_int.h"
#include "volume_redo.h"
#include "wal.h"

/* How often to look whether a holder that is ending has let go. */
#define ENDING_TRY_MS 50

/* ---- the lock ---- */

/* Who has it, from the text of the lock. */
struct holder {
	int pid;		/* 0: the text does not say */
	const char *mountpoint; /* or NULL; in text */
	char text[4200];
};

static void read_holder(int fd, struct holder *h)
{
	static const char key[] = "\nmountpoint ";
	ssize_t len = pread(fd, h->text, sizeof(h->text) - 1, 0);
	char *mountpoint;
	char *end;

	h->mountpoint = NULL;
	h->text[max(len, (ssize_t)0)] = '\0';
	if (sscanf(h->text, "pid %d", &h->pid) != 1)
		h->pid = 0;
	mountpoint = strstr(h->text, key);
	if (!mountpoint)
		return;
	mountpoint += strlen(key);
	end = strchr(mountpoint, '\n');
	if (end)
		*end = '\0';
	h->mountpoint = mountpoint;
}

static int complain_busy(int fd, char *err, size_t errlen)
{
	struct holder h;

	read_holder(fd, &h);
	if (!h.pid)
		return complain(err, errlen, -EBUSY, "it is in use");
	if (!h.mountpoint)
		return complain(err, errlen, -EBUSY,
				"it is in use by process %d", h.pid);
	return complain(err, errlen, -EBUSY,
			"it is in use by process %d, mounted at %s", h.pid,
			h.mountpoint);
}

/*
 * umount(8) returns before the daemon has committed what it holds: a holder
 * whose mountpoint has nothing mounted any more, as far as we can see, is
 * about to let go.
 */
static bool is_ending(int fd)
{
	struct mount_dev dev;
	struct holder h;

	read_holder(fd, &h);
	return h.mountpoint &&
	       mountinfo_dev(MOUNTINFO_PATH, h.mountpoint, &dev) == -ENOENT;
}

/* Return: 0 or -errno; -EWOULDBLOCK: somebody else has it. */
static int lock_patiently(int fd, u32 patience_ms)
{
	const struct timespec pause = {.tv_nsec =
					       ENDING_TRY_MS * NSEC_PER_MSEC};

	for (u32 waited = 0;; waited += ENDING_TRY_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK || waited >= patience_ms ||
		    !is_ending(fd))
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
}

int volume_lock_note(struct volume *v, const char *mountpoint)
{
	char *text;
	ssize_t done;
	int len;

	if (!v->notes_holder)
		return 0;
	len = mountpoint ? asprintf(&text, "pid %d\nmountpoint %s\n",
				    (int)getpid(), mountpoint)
			 : asprintf(&text, "pid %d\n", (int)getpid());
	if (len < 0)
		return -ENOMEM;
	done = ftruncate(v->lockfd, 0) < 0
		       ? -1
		       : pwrite(v->lockfd, text, (size_t)len, 0);
	free(text);
	if (done < 0)
		return -errno;
	return done == len ? 0 : -EIO;
}

/* A folder without meta.db is not ours: nothing is made there. */
static int check_db(const struct volume *v, char *err, size_t errlen)
{
	if (faccessat(v->dirfd, "meta.db", F_OK, 0) == 0 ||
	    faccessat(v->dirfd, VOLUME_REPAIRED, F_OK, 0) == 0)
		return 0;
	if (errno != ENOENT)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	if (faccessat(v->dirfd, VOLUME_BACKUP_TMP, F_OK, 0) == 0)
		return complain(err, errlen, -ENOENT,
				"it is a backup that was not finished");
	return complain(err, errlen, -ENOENT,
			"it is not a volume (it has no meta.db)");
}

/* Who only reads says so there, too, where he can. */
static int open_lock(struct volume *v, bool *ret_writable)
{
	static const int flags = O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(v->dirfd, "lock",
			O_RDWR | flags | (v->readonly ? 0 : O_CREAT), 0600);

	*ret_writable = fd >= 0;
	if (fd < 0 && v->readonly &&
	    (errno == EROFS || errno == EACCES || errno == EPERM))
		fd = openat(v->dirfd, "lock", O_RDONLY | flags);
	return fd < 0 ? -errno : fd;
}

static int take_lock(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	bool writable;
	int code = open_lock(v, &writable);

	if (code < 0)
		return complain(err, errlen, code, "lock: %s", strerror(-code));
	v->lockfd = code;
	code = lock_patiently(v->lockfd, opt->patience_ms);
	if (code == -EWOULDBLOCK)
		return complain_busy(v->lockfd, err, errlen);
	if (code)
		return complain(err, errlen, code, "lock: %s", strerror(-code));
	v->notes_holder = writable;
	/* The host may be full, and that is no reason to stay out. */
	(void)volume_lock_note(v, NULL);
	return 0;
}

/* ---- opening ---- */

static int check_data(struct volume *v, const struct meta_super *super,
		      char *err, size_t errlen)
{
	u8 uuid[16];
	int code = volume_read_header(v->data, uuid);

	if (code == -EUCLEAN)
		return complain(err, errlen, code,
				"data is damaged or another program's");
	if (code)
		return complain(err, errlen, code, "data: %s", strerror(-code));
	if (memcmp(uuid, super->uuid, sizeof(uuid)) != 0)
		return complain(err, errlen, -EUCLEAN,
				"data and meta.db are of different volumes");
	return 0;
}

static int open_data(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	struct meta_super super;
	int code;

	code = bdev_file_open(v->dirfd, "data", v->readonly ? O_RDONLY : O_RDWR,
			      &v->data);
	if (!code && opt->wrap)
		code = opt->wrap(opt->wrap_arg, v->data, &v->data);
	if (!code)
		code = v->data->ops->size(v->data, &v->data_blocks);
	if (code)
		return complain(err, errlen, code, "data: %s", strerror(-code));
	meta_super(v->meta, &super);
	v->max_blocks = super.nr_blocks;
	v->mount_epoch = super.mount_epoch;
	v->next_ino = super.next_ino;
	return check_data(v, &super, err, errlen);
}

void volume_free(struct volume *v)
{
	if (!v)
		return;
	blocks_free_all(v->blocks);
	redo_free(v->redo);
	if (v->data)
		v->data->ops->close(v->data);
	if (v->notes_holder)
		(void)!ftruncate(v->lockfd, 0);
	if (v->lockfd >= 0)
		(void)close(v->lockfd);
	if (v->dirfd >= 0)
		(void)close(v->dirfd);
	mutex_done(&v->grow_lock);
	free(v->path);
	free(v);
}

static int open_folder(struct volume *v, const struct volume_options *opt,
		       char *err, size_t errlen)
{
	v->dirfd = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dirfd < 0)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	return volume_check_host(v->dirfd, opt, err, errlen);
}

static struct volume *volume_new(const char *path,
				 const struct volume_options *opt)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	mutex_init(&v->grow_lock, LOCK_CONN, "volume grow");
	v->dirfd = -1;
	v->lockfd = -1;
	v->readonly = opt->readonly;
	v->flush_epoch = 1;
	v->path = strdup(path);
	if (v->path)
		return v;
	volume_free(v);
	return NULL;
}

int volume_lock_folder(const char *path, struct volume **ret_volume, char *err,
		       size_t errlen)
{
	static const struct volume_options opt = {.allow_network = true};
	struct volume *v = volume_new(path, &opt);
	int code;

	if (!v)
		return complain(err, errlen, -ENOMEM, "%s", strerror(ENOMEM));
	code = open_folder(v, &opt, err, errlen);
	if (!code)
		code = take_lock(v, &opt, err, errlen);
	if (code) {
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

int volume_open_locked(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v = volume_new(path, opt);
	int code;

	(void)complain(err, errlen, 0, "%s", "");
	if (!v)
		return complain(err, errlen, -ENOMEM, "%s", strerror(ENOMEM));
	code = open_folder(v, opt, err, errlen);
	if (!code)
		code = check_db(v, err, errlen);
	if (!code)
		code = take_lock(v, opt, err, errlen);
	if (code) {
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

static int refuse_damaged_log(const struct volume *v, char *err, size_t errlen)
{
	struct wal_report log;
	char text[WAL_TEXT_MAX];
	int code = wal_inspect(v->dirfd, &log);

	if (code)
		return complain(err, errlen, code, "meta.db-wal: %s",
				strerror(-code));
	if (!log.damaged)
		return 0;
	wal_describe(&log, text);
	return complain(err, errlen, -EUCLEAN,
			"%s; folioctl check --repair goes back to commit %llu",
			text, (unsigned long long)log.commit);
}

int volume_open_rest(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	int code = meta_open(v->path, v->readonly, &v->meta, err, errlen);

	return code ? code : open_data(v, opt, err, errlen);
}

int volume_open_files(const char *path, const struct volume_options *opt,
		      struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v;
	int code = volume_open_locked(path, opt, &v, err, errlen);

	if (code)
		return code;
	code = volume_finish_repair(v, err, errlen);
	if (!code)
		code = refuse_damaged_log(v, err, errlen);
	if (!code)
		code = volume_open_rest(v, opt, err, errlen);
	if (code) {
		(void)meta_close(v->meta);
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

/* ---- mounting ---- */

/* The map that is being built, and how far data must reach. */
struct map_walk {
	struct volume *v;
	u64 written; /* one past the last block with content */
};

/* Extents come before the host is known to have room for them. */
static int fit(struct volume *v, u64 end)
{
	struct blocks_stat st;

	if (end > BLOCKS_MAX || (v->max_blocks && end > v->max_blocks))
		return -EUCLEAN;
	blocks_stat(v->blocks, &st);
	return end > st.total ? blocks_resize(v->blocks, end) : 0;
}

static int map_extent(void *arg, u64 ino, const struct extent_row *row)
{
	struct map_walk *w = arg;
	u64 end;
	int err;

	if (!extent_has_blocks(row->flags))
		return 0;
	if (__builtin_add_overflow(row->block, row->npages, &end))
		return -EUCLEAN;
	if (!(row->flags & META_EXTENT_UNWRITTEN))
		w->written = max(w->written, end);
	if (w->written > w->v->data_blocks)
		return 0; /* that is said when all is known */
	err = fit(w->v, end);
	return err ? err
		   : blocks_mark_used(w->v->blocks, row->block, row->npages,
				      row->flags & META_EXTENT_SHARED);
}

static int complain_extents(int code, char *err, size_t errlen)
{
	if (code == -EUCLEAN)
		return complain(err, errlen, code,
				"its extents are damaged; folioctl check says "
				"more");
	return complain(err, errlen, code, "reading extents: %s",
			strerror(-code));
}

static int new_map(struct volume *v, const struct volume_options *opt)
{
	blocks_free_all(v->blocks);
	v->blocks = NULL;
	return blocks_new(
		max(max(volume_host_bound(v), v->data_blocks), (u64)2),
		opt->charge, opt->charge_arg, &v->blocks);
}

static int build_map(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	struct map_walk w = {.v = v};
	int code = new_map(v, opt);

	if (!code)
		code = meta_extent_walk(v->meta, false, map_extent, &w);
	if (code)
		return complain_extents(code, err, errlen);
	if (w.written > v->data_blocks)
		return complain(
			err, errlen, -EUCLEAN,
			"data is truncated: %llu blocks are missing",
			(unsigned long long)(w.written - v->data_blocks));
	return 0;
}

static struct freemap_key freemap_key(const struct volume *v)
{
	struct meta_super super;
	struct freemap_key key;

	meta_super(v->meta, &super);
	memset(&key, 0, sizeof(key));
	memcpy(key.uuid, super.uuid, sizeof(key.uuid));
	key.commit_no = super.commit_no;
	key.mount_epoch = super.mount_epoch;
	key.next_ino = super.next_ino;
	return key;
}

/* Complete it. Context: nothing has been written to the database since. */
static int key_of_db(const struct volume *v, struct freemap_key *key)
{
	struct stat st;

	if (fstatat(v->dirfd, "meta.db", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	key->db_size = (u64)st.st_size;
	key->db_mtime_ns =
		(u64)st.st_mtim.tv_sec * NSEC_PER_SEC + (u64)st.st_mtim.tv_nsec;
	return 0;
}

int volume_load_freemap(struct volume *v, struct blocks *b)
{
	struct freemap_key key = freemap_key(v);
	int err = key_of_db(v, &key);

	return err ? err
		   : freemap_load(v->dirfd, &key, v->data_blocks, v->max_blocks,
				  b);
}

/* No extent refers to it, but its records may be all that there is of what was
 * committed last. */
static int map_redo(struct volume *v, const struct meta_redo *row, char *err,
		    size_t errlen)
{
	int code = fit(v, row->start + row->nr);

	if (!code)
		code = blocks_mark_used(v->blocks, row->start, row->nr, false);
	return code ? complain_extents(code, err, errlen) : 0;
}

/* From what was saved, or from the extents. None is saved beside a log. */
static int make_map(struct volume *v, const struct volume_options *opt,
		    const struct meta_redo *redo, char *err, size_t errlen)
{
	int code = redo->nr ? -ENOENT : new_map(v, opt);

	if (!code)
		code = volume_load_freemap(v, v->blocks);
	v->map_loaded = !code;
	if (code)
		code = build_map(v, opt, err, errlen);
	return code || !redo->nr ? code : map_redo(v, redo, err, errlen);
}

static int orphan_freed(void *arg, u64 block, u64 nr)
{
	struct volume *v = arg;

	/* what cannot be noted stays used until the next mount */
	(void)blocks_free_deferred(v->blocks, 0, block, nr);
	return 0;
}

static int delete_orphan(void *arg, u64 ino)
{
	struct volume *v = arg;

	return meta_inode_delete(v->meta, ino, orphan_freed, v);
}

/* A killed daemon's last data is made durable, its small commits become rows,
 * orphans go; blocks are free when that is durable. */
static int start_epoch(struct volume *v)
{
	int err = v->data->ops->flush(v->data);

	if (!err && fsync(v->dirfd) < 0)
		err = -errno;
	if (!err)
		err = meta_begin(v->meta);
	if (err)
		return err;
	v->mount_epoch++;
	meta_set_mount_epoch(v->meta, v->mount_epoch);
	err = volume_redo_replay(v, orphan_freed, v);
	if (!err)
		err = meta_orphan_walk(v->meta, delete_orphan, v);
	if (err) {
		meta_rollback(v->meta);
		return err;
	}
	err = meta_commit(v->meta, v->next_ino, true);
	if (err)
		return err;
	volume_redo_replayed(v);
	blocks_release(v->blocks, 0);
	return 0;
}

/* What is done to tables that are not ours to the letter, nobody knows. */
static int refuse_schema(struct volume *v, char *err, size_t errlen)
{
	char name[META_OBJECT_MAX];
	int code = meta_check_schema(v->meta, name);

	if (!code)
		return 0;
	if (*name)
		return complain(err, errlen, code,
				"meta.db: the schema of %s is damaged", name);
	return complain(err, errlen, code, "meta.db: %s", strerror(-code));
}

/* Add to what is told of a mount that succeeds. */
static void __printf(3, 4)
	add_note(char *err, size_t errlen, const char *fmt, ...)
{
	size_t len = strnlen(err, errlen);
	va_list ap;

	if (len && len + 2 < errlen)
		len += (size_t)snprintf(err + len, errlen - len, "; ");
	if (len >= errlen)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(err + len, errlen - len, fmt, ap);
	va_end(ap);
}

/* A number that is in use is never given out, whatever super says. */
static int raise_next_ino(struct volume *v, char *err, size_t errlen)
{
	u64 ino = 0;
	int code = meta_max_ino(v->meta, &ino);

	if (code || ino < v->next_ino)
		return code;
	add_note(err, errlen,
		 "inode %llu is in use, but super said that this number had "
		 "not been given out; corrected",
		 (unsigned long long)ino);
	v->next_ino = ino + 1;
	return 0;
}

/* Orphans that cannot be any were left alone: say so. */
static int tell_of_orphans(struct volume *v, char *err, size_t errlen)
{
	u64 ino = 0;
	int code = meta_orphan_any(v->meta, &ino);

	if (!code && ino)
		add_note(
			err, errlen,
			"inode %llu is marked as deleted but cannot be, and is "
			"kept; folioctl check --repair mends that",
			(unsigned long long)ino);
	return code;
}

const char *volume_hint(int err)
{
	return err == -EUCLEAN || err == -EIO ? "; folioctl check says more"
					      : "";
}

static int mount_volume(struct volume *v, const struct volume_options *opt,
			char *err, size_t errlen)
{
	/* First, so that what cannot be mounted is not written to. */
	struct meta_redo redo;
	int code = refuse_schema(v, err, errlen);

	if (!code)
		code = volume_redo_load(v, &redo, err, errlen);
	if (!code)
		code = make_map(v, opt, &redo, err, errlen);
	if (code)
		return code;
	if (!v->readonly) {
		freemap_remove(v->dirfd);
		code = raise_next_ino(v, err, errlen);
		if (!code)
			code = start_epoch(v);
		if (!code)
			code = tell_of_orphans(v, err, errlen);
	}
	if (!code)
		code = meta_counts(v->meta, &v->nr_inodes);
	if (!code)
		return 0;
	return complain(err, errlen, code, "mounting it: %s%s", strerror(-code),
			volume_hint(code));
}

int volume_open(const char *path, const struct volume_options *opt,
		struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v;
	int code = 0;

	if (opt->create) {
		code = volume_create(path, opt, err, errlen);
		/* Not empty: is it a volume? */
		if (code && code != -ENOTEMPTY)
			return code;
	}
	code = volume_open_files(path, opt, &v, err, errlen);
	if (code)
		return code;
	code = mount_volume(v, opt, err, errlen);
	if (!code) {
		*ret_volume = v;
		return 0;
	}
	(void)meta_close(v->meta);
	volume_free(v);
	return code;
}

/* Give the host back what is behind the last used block. */
static int trim(struct volume *v)
{
	u64 data_blocks = load_seq(&v->data_blocks);
	u64 end = blocks_end(v->blocks);

	if (end >= data_blocks)
		return 0;
	return v->data->ops->discard(v->data, end, data_blocks - end);
}

/* Without it the next mount takes longer, and that is all. */
static void save_map(struct volume *v, struct freemap_key *key)
{
	u64 data_blocks;

	if (!key_of_db(v, key) && !v->data->ops->size(v->data, &data_blocks))
		(void)freemap_save(v->dirfd, key, data_blocks, v->blocks);
}

void volume_note_damaged(struct volume *v)
{
	v->damaged = true;
}

/* Close the database. Return: the first error. */
static int close_meta(struct volume *v)
{
	bool whole = !v->readonly && !v->damaged && v->blocks &&
		     !meta_failed(v->meta) && !volume_redo_drop(v);
	struct freemap_key key = freemap_key(v);
	int err = whole ? trim(v) : 0;
	int meta_err = meta_close(v->meta);

	if (whole && !err && !meta_err)
		save_map(v, &key);
	return meta_err ? meta_err : err;
}

int volume_close(struct volume *v)
{
	int err;

	if (!v)
		return 0;
	err = close_meta(v);
	volume_free(v);
	return err;
}

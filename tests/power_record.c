/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "freemap.h"
#include "power_log.h"
#include "vfs.h"

/* What is recorded by functions that have no argument for it. */
static struct power_log *current;

const char *const power_file_names[POWER_FILES] = {
	"data", "meta.db", "meta.db-wal", "meta.db-journal", "freemap",
};

/* ---- images ---- */

void power_image_fill(struct image *im, u64 end)
{
	im->len = max(im->len, end);
	if (end > im->cap) {
		im->cap = max(end, im->cap * 2);
		im->bytes = must(realloc(im->bytes, im->cap));
	}
	if (end > im->filled) {
		memset(im->bytes + im->filled, 0, end - im->filled);
		im->filled = end;
	}
}

void power_image_resize(struct image *im, u64 len)
{
	im->len = len;
	im->filled = min(im->filled, len);
}

void power_image_read(struct image *im, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	*im = (struct image){.exists = fd >= 0};
	if (fd < 0)
		return;
	must_be(fstat(fd, &st) == 0);
	power_image_fill(im, (u64)st.st_size);
	must_be(pread(fd, im->bytes, im->len, 0) == st.st_size);
	(void)close(fd);
}

/* ---- the log ---- */

/* As it stands in a trace, before the bytes of a write. */
struct record {
	u32 kind, file;
	u64 pos, len;
};

static void trace(int fd, const void *buf, size_t len)
{
	must_be(write(fd, buf, len) == (ssize_t)len);
}

static void trace_event(struct power_log *log, struct event *ev)
{
	struct record r = {ev->kind, ev->file, ev->pos, ev->len};

	trace(log->trace, &r, sizeof(r));
	if (ev->bytes)
		trace(log->trace, ev->bytes, ev->len);
	free(ev->bytes);
	ev->bytes = NULL;
}

static void push(struct power_log *log, struct event ev)
{
	if (log->nr == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 256;
		log->events = must(
			realloc(log->events, log->cap * sizeof(*log->events)));
	}
	log->events[log->nr++] = ev;
}

static void note_names(struct power_log *log, const struct event *ev)
{
	if (ev->kind == EVENT_NAMES) {
		memset(log->unnamed, 0, sizeof(log->unnamed));
	} else if (ev->kind == EVENT_DELETE) {
		log->exists[ev->file] = false;
	} else if (ev->kind != EVENT_SYNC && ev->kind != EVENT_SYNC_RANGE &&
		   !log->exists[ev->file]) {
		log->exists[ev->file] = true;
		log->unnamed[ev->file] = true;
	}
}

static void add_locked(struct power_log *log, struct event ev)
{
	note_names(log, &ev);
	if (log->trace >= 0)
		trace_event(log, &ev);
	else
		push(log, ev);
}

static void before(struct power_log *log)
{
	if (log->before)
		log->before(log->before_arg);
}

static void add(struct power_log *log, struct event ev)
{
	before(log);
	(void)pthread_mutex_lock(&log->lock);
	add_locked(log, ev);
	(void)pthread_mutex_unlock(&log->lock);
}

static void add_write(struct power_log *log, enum power_file file,
		      const void *buf, u64 pos, u64 len)
{
	u8 *bytes = must(malloc(len));

	memcpy(bytes, buf, len);
	add(log, (struct event){.kind = EVENT_WRITE,
				.file = file,
				.pos = pos,
				.len = len,
				.bytes = bytes});
}

static void add_change(struct power_log *log, enum event_kind kind,
		       enum power_file file, u64 len)
{
	add(log, (struct event){.kind = kind, .file = file, .len = len});
}

/* ---- syncs ---- */

static bool sync_is_a_lie(const struct power_log *log, enum power_file file)
{
	switch (log->lie) {
	case POWER_NO_DATA_FLUSH:
		return file == POWER_DATA;
	case POWER_NO_WAL_SYNC:
		return file == POWER_WAL;
	case POWER_NO_DB_SYNC:
		return file == POWER_DB;
	case POWER_NO_FOLDER_SYNC:
		return file == POWER_FILES;
	case POWER_NO_MOUNT_SYNC:
		return log->mounting;
	default:
		return false;
	}
}

static void add_sync_locked(struct power_log *log, enum power_file file)
{
	bool names = file == POWER_FILES;

	if (!sync_is_a_lie(log, file))
		add_locked(log, (struct event){.kind = names ? EVENT_NAMES
							     : EVENT_SYNC,
					       .file = file});
}

static bool syncs_folder(const struct power_log *log, enum power_file file)
{
	return (file == POWER_WAL || file == POWER_JOURNAL) &&
	       log->unnamed[file];
}

static void add_sync(struct power_log *log, enum power_file file)
{
	before(log);
	(void)pthread_mutex_lock(&log->lock);
	if (file == POWER_DATA && log->lie == POWER_LATE_DATA_FLUSH)
		log->flush_is_due = true;
	else
		add_sync_locked(log, file);
	if (syncs_folder(log, file))
		add_sync_locked(log, POWER_FILES);
	if (file == POWER_WAL && log->flush_is_due) {
		log->flush_is_due = false;
		add_sync_locked(log, POWER_DATA);
	}
	(void)pthread_mutex_unlock(&log->lock);
}

/* ---- the database ---- */

static enum power_file file_of(const struct vfs_event *ev)
{
	if (ev->journal)
		return POWER_JOURNAL;
	return ev->wal ? POWER_WAL : POWER_DB;
}

static int vfs_event(void *arg, const struct vfs_event *ev)
{
	struct power_log *log = arg;
	enum power_file file = file_of(ev);

	switch (ev->op) {
	case VFS_WRITE:
		add_write(log, file, ev->buf, (u64)ev->pos, (u64)ev->len);
		break;
	case VFS_TRUNCATE:
		add_change(log, EVENT_TRUNCATE, file, (u64)ev->pos);
		break;
	case VFS_DELETE:
		add_change(log, EVENT_DELETE, file, 0);
		break;
	case VFS_SYNC:
		add_sync(log, file);
		break;
	case VFS_OPEN: /* makes it if it is not there */
		add_change(log, EVENT_EXTEND, file, 0);
		break;
	default:
		break;
	}
	return SQLITE_OK;
}

/* ---- the folder ---- */

int __real_fsync(int fd);
int __wrap_fsync(int fd);
void __real_freemap_remove(int dirfd);
void __wrap_freemap_remove(int dirfd);
int __real_freemap_save(int dirfd, const struct freemap_key *key,
			u64 data_blocks, struct blocks *b);
int __wrap_freemap_save(int dirfd, const struct freemap_key *key,
			u64 data_blocks, struct blocks *b);

int __wrap_fsync(int fd)
{
	struct stat st;

	if (current && fstat(fd, &st) == 0 && st.st_ino == current->folder)
		add_sync(current, POWER_FILES);
	return __real_fsync(fd);
}

void __wrap_freemap_remove(int dirfd)
{
	if (current)
		add_change(current, EVENT_DELETE, POWER_MAP, 0);
	__real_freemap_remove(dirfd);
}

/* A new file, in the place of one that may be there. */
int __wrap_freemap_save(int dirfd, const struct freemap_key *key,
			u64 data_blocks, struct blocks *b)
{
	int err = __real_freemap_save(dirfd, key, data_blocks, b);
	struct image im;

	if (err || !current)
		return err;
	power_image_read(&im, dirfd, power_file_names[POWER_MAP]);
	add_change(current, EVENT_DELETE, POWER_MAP, 0);
	add_write(current, POWER_MAP, im.bytes, 0, im.len);
	free(im.bytes);
	return 0;
}

/* ---- beginning and end ---- */

static struct power_log *new_log(void)
{
	struct power_log *log = must(calloc(1, sizeof(*log)));

	log->trace = -1;
	(void)pthread_mutex_init(&log->lock, NULL);
	return log;
}

struct power_log *power_record_begin(const char *volume, enum power_lie lie)
{
	int dirfd = open(volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct power_log *log = new_log();
	struct stat st;

	must_be(dirfd >= 0 && fstat(dirfd, &st) == 0);
	log->lie = lie;
	log->folder = st.st_ino;
	for (int f = 0; f < POWER_FILES; f++) {
		power_image_read(&log->base[f], dirfd, power_file_names[f]);
		log->exists[f] = log->base[f].exists;
	}
	(void)close(dirfd);
	current = log;
	vfs_set_hook(vfs_event, log);
	return log;
}

void power_record_end(struct power_log *log)
{
	(void)log;
	vfs_set_hook(NULL, NULL);
	current = NULL;
}

static void drop_events(struct power_log *log, size_t from)
{
	for (size_t i = from; i < log->nr; i++)
		free(log->events[i].bytes);
	log->nr = min(log->nr, from);
}

void power_record_done(struct power_log *log)
{
	drop_events(log, 0);
	for (int f = 0; f < POWER_FILES; f++)
		free(log->base[f].bytes);
	free(log->events);
	(void)pthread_mutex_destroy(&log->lock);
	free(log);
}

void power_record_kill(struct power_log *log, size_t point)
{
	drop_events(log, point);
	for (int f = 0; f < POWER_FILES; f++) {
		log->exists[f] = log->base[f].exists;
		log->unnamed[f] = false;
	}
	for (size_t i = 0; i < log->nr; i++)
		note_names(log, &log->events[i]);
	log->flush_is_due = false;
}

size_t power_record_now(struct power_log *log)
{
	size_t nr;

	(void)pthread_mutex_lock(&log->lock);
	nr = log->nr;
	(void)pthread_mutex_unlock(&log->lock);
	return nr;
}

void power_record_before(struct power_log *log, void (*fn)(void *arg),
			 void *arg)
{
	log->before_arg = arg;
	log->before = fn;
}

void power_record_mounting(struct power_log *log, bool mounting)
{
	(void)pthread_mutex_lock(&log->lock);
	log->mounting = mounting;
	(void)pthread_mutex_unlock(&log->lock);
}

/* ---- in a file ---- */

/* What was there before goes in as events too, durable. */
void power_record_trace(struct power_log *log, int fd)
{
	(void)pthread_mutex_lock(&log->lock);
	log->trace = fd;
	for (enum power_file f = 0; f < POWER_FILES; f++) {
		struct image *im = &log->base[f];

		if (!im->exists)
			continue;
		add_locked(log, (struct event){.kind = EVENT_WRITE,
					       .file = f,
					       .len = im->len,
					       .bytes = im->bytes});
		*im = (struct image){.exists = false};
		add_locked(log, (struct event){.kind = EVENT_SYNC, .file = f});
	}
	add_locked(log,
		   (struct event){.kind = EVENT_NAMES, .file = POWER_FILES});
	(void)pthread_mutex_unlock(&log->lock);
}

struct power_log *power_record_load(const char *path)
{
	struct power_log *log = new_log();
	FILE *f = fopen(path, "r");
	struct record r;

	must_be(f);
	while (fread(&r, sizeof(r), 1, f) == 1) {
		struct event ev = {r.kind, r.file, r.pos, r.len, NULL, 0};

		if (ev.kind == EVENT_WRITE) {
			ev.bytes = must(malloc(ev.len + 1));
			must_be(fread(ev.bytes, 1, ev.len, f) == ev.len);
		}
		ev.offset = (u64)ftello(f);
		push(log, ev);
	}
	(void)fclose(f);
	return log;
}

size_t power_point_of(const struct power_log *log, u64 offset)
{
	size_t i = 0;

	while (i < log->nr && log->events[i].offset <= offset)
		i++;
	return i;
}

/* ---- the block device ---- */

struct bdev_record {
	struct bdev bdev;
	struct bdev *lower;
	struct power_log *log;
};

static struct bdev_record *record_of(struct bdev *b)
{
	return container_of(b, struct bdev_record, bdev);
}

static int record_read(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev *lower = record_of(b)->lower;

	return lower->ops->read(lower, block, nr, pages);
}

static int record_write(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev_record *r = record_of(b);

	for (u32 i = 0; i < nr; i++)
		add_write(r->log, POWER_DATA, pages[i],
			  (block + i) << PAGE_SHIFT, PAGE_SIZE);
	return r->lower->ops->write(r->lower, block, nr, pages);
}

static int record_write_sync(struct bdev *b, u64 block, u32 nr,
			     void *const *pages)
{
	struct bdev_record *r = record_of(b);
	int err = record_write(b, block, nr, pages);

	if (!err && r->log->lie != POWER_NO_RANGE_SYNC &&
	    !sync_is_a_lie(r->log, POWER_DATA))
		add(r->log, (struct event){.kind = EVENT_SYNC_RANGE,
					   .file = POWER_DATA,
					   .pos = block * PAGE_SIZE,
					   .len = (u64)nr * PAGE_SIZE});
	return err;
}

/* What was written before is in the log before: each write is logged before it
 * is done. One that is under way meanwhile is nobody's to rely on. */
static int record_flush(struct bdev *b)
{
	struct bdev_record *r = record_of(b);

	add_sync(r->log, POWER_DATA);
	return r->lower->ops->flush(r->lower);
}

static int record_discard(struct bdev *b, u64 block, u64 nr)
{
	struct bdev_record *r = record_of(b);
	struct event ev = {.kind = EVENT_ZERO,
			   .file = POWER_DATA,
			   .pos = block << PAGE_SHIFT,
			   .len = nr << PAGE_SHIFT};
	u64 size;

	if (!r->lower->ops->size(r->lower, &size) && block + nr >= size)
		ev = (struct event){.kind = EVENT_TRUNCATE,
				    .file = POWER_DATA,
				    .len = block << PAGE_SHIFT};
	add(r->log, ev);
	return r->lower->ops->discard(r->lower, block, nr);
}

static int record_size(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *lower = record_of(b)->lower;

	return lower->ops->size(lower, ret_blocks);
}

static int record_held(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *lower = record_of(b)->lower;

	return lower->ops->held(lower, ret_blocks);
}

static int record_grow(struct bdev *b, u64 blocks)
{
	struct bdev_record *r = record_of(b);

	add_change(r->log, EVENT_EXTEND, POWER_DATA, blocks << PAGE_SHIFT);
	return r->lower->ops->grow(r->lower, blocks);
}

static void record_close(struct bdev *b)
{
	struct bdev_record *r = record_of(b);

	r->lower->ops->close(r->lower);
	free(r);
}

static const struct bdev_operations record_operations = {
	.name = "record",
	.read = record_read,
	.write = record_write,
	.write_sync = record_write_sync,
	.flush = record_flush,
	.discard = record_discard,
	.size = record_size,
	.held = record_held,
	.grow = record_grow,
	.close = record_close,
};

int power_record_wrap(void *arg, struct bdev *lower, struct bdev **ret)
{
	struct bdev_record *r = must(calloc(1, sizeof(*r)));

	*r = (struct bdev_record){{&record_operations}, lower, arg};
	r->log->device = *ret = &r->bdev;
	return 0;
}

struct bdev *power_record_device(struct power_log *log)
{
	return log->device;
}

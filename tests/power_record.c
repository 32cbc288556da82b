/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "power_record.h"
#include "vfs.h"

#define SECTOR 512

enum event_kind {
	EVENT_WRITE,
	EVENT_ZERO,   /* a range is no longer needed */
	EVENT_EXTEND, /* at least so large */
	EVENT_TRUNCATE,
	EVENT_DELETE,
	EVENT_SYNC,
};

struct event {
	enum event_kind kind;
	enum power_file file;
	u64 pos, len;
	u8 *bytes; /* of WRITE */
};

struct image {
	bool exists;
	u64 len, cap;
	u8 *bytes;
};

struct power_log {
	enum power_lie lie;
	struct image base[POWER_FILES];
	struct bdev *device;
	pthread_mutex_t lock;
	/* under lock */
	struct event *events;
	size_t nr, cap;
	bool flush_is_due; /* POWER_LATE_DATA_FLUSH */
};

static const char *const file_names[POWER_FILES] = {
	"data",
	"meta.db",
	"meta.db-wal",
};

static const char *const choice_names[POWER_CHOICES] = {
	"nothing",     "everything",   "some writes",  "some sectors",
	"few sectors", "most sectors", "file by file",
};

const char *power_choice_name(enum power_choice choice)
{
	return choice_names[choice];
}

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* ---- images ---- */

static void image_reserve(struct image *im, u64 len)
{
	if (len <= im->cap)
		return;
	im->cap = max(len, im->cap * 2);
	im->bytes = must(realloc(im->bytes, im->cap));
}

static void image_resize(struct image *im, u64 len)
{
	image_reserve(im, len);
	if (len > im->len)
		memset(im->bytes + im->len, 0, len - im->len);
	im->len = len;
}

static void image_read(struct image *im, const char *volume, const char *name)
{
	char path[1200];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", volume, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	*im = (struct image){.exists = fd >= 0};
	if (fd < 0)
		return;
	expect(fstat(fd, &st) == 0);
	image_resize(im, (u64)st.st_size);
	expect(pread(fd, im->bytes, im->len, 0) == st.st_size);
	(void)close(fd);
}

static void image_write(const struct image *im, const char *volume,
			const char *name)
{
	char path[1200];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", volume, name);
	(void)unlink(path);
	if (!im->exists)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	expect(fd >= 0);
	expect(pwrite(fd, im->bytes, im->len, 0) == (ssize_t)im->len);
	(void)close(fd);
}

/* ---- recording ---- */

static void add_locked(struct power_log *log, struct event ev)
{
	if (log->nr == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 256;
		log->events = must(
			realloc(log->events, log->cap * sizeof(*log->events)));
	}
	log->events[log->nr++] = ev;
}

static void add(struct power_log *log, struct event ev)
{
	(void)pthread_mutex_lock(&log->lock);
	add_locked(log, ev);
	(void)pthread_mutex_unlock(&log->lock);
}

static void add_write(struct power_log *log, enum power_file file,
		      const void *buf, u64 pos, u64 len)
{
	u8 *bytes = must(malloc(len));

	memcpy(bytes, buf, len);
	add(log, (struct event){EVENT_WRITE, file, pos, len, bytes});
}

static void add_sync(struct power_log *log, enum power_file file)
{
	bool lies = (file == POWER_DATA && log->lie == POWER_NO_DATA_FLUSH) ||
		    (file == POWER_WAL && log->lie == POWER_NO_WAL_SYNC) ||
		    (file == POWER_DB && log->lie == POWER_NO_DB_SYNC);

	(void)pthread_mutex_lock(&log->lock);
	if (file == POWER_DATA && log->lie == POWER_LATE_DATA_FLUSH)
		log->flush_is_due = lies = true;
	if (!lies)
		add_locked(log, (struct event){EVENT_SYNC, file, 0, 0, NULL});
	if (file == POWER_WAL && log->flush_is_due) {
		log->flush_is_due = false;
		add_locked(log,
			   (struct event){EVENT_SYNC, POWER_DATA, 0, 0, NULL});
	}
	(void)pthread_mutex_unlock(&log->lock);
}

static int vfs_event(void *arg, const struct vfs_event *ev)
{
	struct power_log *log = arg;
	enum power_file file = ev->wal ? POWER_WAL : POWER_DB;
	u64 pos = (u64)ev->pos;

	switch (ev->op) {
	case VFS_WRITE:
		add_write(log, file, ev->buf, pos, (u64)ev->len);
		break;
	case VFS_TRUNCATE:
		add(log, (struct event){EVENT_TRUNCATE, file, 0, pos, NULL});
		break;
	case VFS_DELETE:
		add(log, (struct event){EVENT_DELETE, file, 0, 0, NULL});
		break;
	case VFS_SYNC:
		add_sync(log, file);
		break;
	case VFS_OPEN: /* makes the WAL if there is none */
		add(log, (struct event){EVENT_EXTEND, file, 0, 0, NULL});
		break;
	case VFS_READ:
		break;
	}
	return SQLITE_OK;
}

struct power_log *power_record_begin(const char *volume, enum power_lie lie)
{
	struct power_log *log = must(calloc(1, sizeof(*log)));

	log->lie = lie;
	(void)pthread_mutex_init(&log->lock, NULL);
	for (int f = 0; f < POWER_FILES; f++)
		image_read(&log->base[f], volume, file_names[f]);
	vfs_set_hook(vfs_event, log);
	return log;
}

void power_record_end(struct power_log *log)
{
	(void)log;
	vfs_set_hook(NULL, NULL);
}

void power_record_done(struct power_log *log)
{
	for (size_t i = 0; i < log->nr; i++)
		free(log->events[i].bytes);
	for (int f = 0; f < POWER_FILES; f++)
		free(log->base[f].bytes);
	free(log->events);
	(void)pthread_mutex_destroy(&log->lock);
	free(log);
}

size_t power_record_now(struct power_log *log)
{
	size_t nr;

	(void)pthread_mutex_lock(&log->lock);
	nr = log->nr;
	(void)pthread_mutex_unlock(&log->lock);
	return nr;
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

	add(r->log, (struct event){EVENT_EXTEND, POWER_DATA, 0,
				   blocks << PAGE_SHIFT, NULL});
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

/* ---- states ---- */

size_t power_next_point(const struct power_log *log, size_t point)
{
	while (point < log->nr && log->events[point].kind != EVENT_SYNC)
		point++;
	return point;
}

/* One past the last event of each file that is durable at @point. */
static void find_synced(const struct power_log *log, size_t point,
			size_t ret[POWER_FILES])
{
	memset(ret, 0, POWER_FILES * sizeof(*ret));
	for (size_t i = 0; i < point; i++) {
		if (log->events[i].kind == EVENT_SYNC)
			ret[log->events[i].file] = i;
	}
}

/* Is there what was not synced? Of a whole write, or of one sector. */
static bool choose(enum power_choice choice, struct rng *rng)
{
	switch (choice) {
	case POWER_NOTHING:
		return false;
	case POWER_EVERYTHING:
		return true;
	case POWER_FEW:
		return rng_one_in(rng, 16);
	case POWER_MOST:
		return !rng_one_in(rng, 16);
	default:
		return rng_one_in(rng, 2);
	}
}

static bool by_sector(enum power_choice choice)
{
	return choice == POWER_SECTORS || choice == POWER_FEW ||
	       choice == POWER_MOST;
}

static void put_bytes(struct image *im, u64 pos, const u8 *bytes, u64 len)
{
	if (pos + len > im->len)
		image_resize(im, pos + len);
	if (bytes)
		memcpy(im->bytes + pos, bytes, len);
	else
		memset(im->bytes + pos, 0, len);
}

static void put_sectors(struct image *im, const struct event *ev,
			enum power_choice choice, struct rng *rng)
{
	u64 end = ev->pos + ev->len, next;

	for (u64 pos = ev->pos; pos < end; pos = next) {
		next = min((pos / SECTOR + 1) * SECTOR, end);
		if (choose(choice, rng))
			put_bytes(im, pos,
				  ev->bytes ? ev->bytes + (pos - ev->pos)
					    : NULL,
				  next - pos);
	}
}

static void apply(struct image *im, const struct event *ev,
		  enum power_choice choice, struct rng *rng)
{
	if (ev->kind == EVENT_SYNC)
		return;
	im->exists = im->exists || ev->kind != EVENT_DELETE;
	if (ev->kind == EVENT_ZERO && ev->pos >= im->len)
		return; /* the size stays */
	if ((ev->kind == EVENT_WRITE || ev->kind == EVENT_ZERO) &&
	    by_sector(choice)) {
		put_sectors(im, ev, choice, rng);
		return;
	}
	if (!choose(choice, rng))
		return;
	switch (ev->kind) {
	case EVENT_WRITE:
		put_bytes(im, ev->pos, ev->bytes, ev->len);
		break;
	case EVENT_ZERO:
		put_bytes(im, ev->pos, NULL, min(ev->len, im->len - ev->pos));
		break;
	case EVENT_EXTEND:
		image_resize(im, max(im->len, ev->len));
		break;
	case EVENT_TRUNCATE:
		image_resize(im, ev->len);
		break;
	case EVENT_DELETE:
		im->exists = false;
		im->len = 0;
		break;
	case EVENT_SYNC:
		break;
	}
}

/* A file whose name was never synced may be missing altogether. */
static void lose_name(const struct power_log *log, enum power_file file,
		      size_t synced, enum power_choice choice, struct rng *rng,
		      struct image *im)
{
	if (!log->base[file].exists && !synced && !choose(choice, rng))
		im->exists = false;
}

static struct image image_at(const struct power_log *log, enum power_file file,
			     size_t point, size_t synced,
			     enum power_choice choice, struct rng *rng)
{
	struct image im = {.exists = log->base[file].exists};

	image_resize(&im, log->base[file].len);
	if (im.len)
		memcpy(im.bytes, log->base[file].bytes, im.len);
	for (size_t i = 0; i < point; i++) {
		if (log->events[i].file == file)
			apply(&im, &log->events[i],
			      i < synced ? POWER_EVERYTHING : choice, rng);
	}
	lose_name(log, file, synced, choice, rng, &im);
	return im;
}

void power_state(const struct power_log *log, size_t point,
		 enum power_choice choice, struct rng *rng, const char *volume)
{
	static const enum power_choice of_file[] = {
		POWER_NOTHING, POWER_EVERYTHING, POWER_SECTORS};
	size_t synced[POWER_FILES];

	find_synced(log, point, synced);
	for (enum power_file f = 0; f < POWER_FILES; f++) {
		enum power_choice c = choice;
		struct image im;

		if (choice == POWER_BY_FILE)
			c = of_file[rng_below(rng, ARRAY_SIZE(of_file))];
		im = image_at(log, f, point, synced[f], c, rng);
		image_write(&im, volume, file_names[f]);
		free(im.bytes);
	}
}

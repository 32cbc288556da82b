/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "freemap.h"
#include "power_log.h"
#include "test.h"

#define SECTOR 512
/* Where a saved block map has its key. */
#define MAP_KEY 16

static const char *const choice_names[POWER_CHOICES] = {
	"nothing",     "everything",   "some writes",  "some sectors",
	"few sectors", "most sectors", "file by file",
};

const char *power_choice_name(enum power_choice choice)
{
	return choice_names[choice];
}

void power_image_write(const struct image *im, int dirfd, const char *name)
{
	int fd;

	(void)unlinkat(dirfd, name, 0);
	if (!im->exists)
		return;
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	expect(fd >= 0);
	expect(ftruncate(fd, (off_t)im->len) == 0);
	expect(pwrite(fd, im->bytes, im->filled, 0) == (ssize_t)im->filled);
	(void)close(fd);
}

size_t power_next_point(const struct power_log *log, size_t point)
{
	while (point < log->nr && log->events[point].kind != EVENT_SYNC &&
	       log->events[point].kind != EVENT_SYNC_RANGE &&
	       log->events[point].kind != EVENT_NAMES)
		point++;
	return point;
}

/* Up to which event each file is durable, and whether it is there. */
struct durable {
	size_t content[POWER_FILES];
	size_t names;
};

static struct durable find_durable(const struct power_log *log, size_t point)
{
	struct durable d = {.names = 0};

	for (size_t i = 0; i < point; i++) {
		if (log->events[i].kind == EVENT_SYNC)
			d.content[log->events[i].file] = i;
		else if (log->events[i].kind == EVENT_NAMES)
			d.names = i;
	}
	return d;
}

bool power_choose(enum power_choice choice, struct rng *rng)
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

enum power_choice power_choice_of_file(enum power_choice choice,
				       struct rng *rng)
{
	static const enum power_choice of_file[] = {
		POWER_NOTHING, POWER_EVERYTHING, POWER_SECTORS};

	return choice == POWER_BY_FILE
		       ? of_file[rng_below(rng, ARRAY_SIZE(of_file))]
		       : choice;
}

static bool by_sector(enum power_choice choice)
{
	return choice == POWER_SECTORS || choice == POWER_FEW ||
	       choice == POWER_MOST;
}

static void put_bytes(struct image *im, u64 pos, const u8 *bytes, u64 len)
{
	power_image_fill(im, pos + len);
	if (bytes)
		memcpy(im->bytes + pos, bytes, len);
	else
		memset(im->bytes + pos, 0, len);
}

static void put_sectors(struct image *im, const struct event *ev,
			enum power_choice choice, struct rng *rng)
{
	u64 end = ev->pos + ev->len, next;

	if (!ev->bytes)
		end = min(end, im->filled);
	for (u64 pos = ev->pos; pos < end; pos = next) {
		next = min((pos / SECTOR + 1) * SECTOR, end);
		if (power_choose(choice, rng))
			put_bytes(im, pos,
				  ev->bytes ? ev->bytes + (pos - ev->pos)
					    : NULL,
				  next - pos);
	}
}

void power_image_apply(struct image *im, const struct event *ev,
		       enum power_choice choice, struct rng *rng)
{
	if (ev->kind == EVENT_SYNC || ev->kind == EVENT_SYNC_RANGE)
		return;
	expect(ev->kind != EVENT_NAMES);
	im->exists = im->exists || ev->kind != EVENT_DELETE;
	if (ev->kind == EVENT_ZERO && ev->pos >= im->filled)
		return; /* the size stays */
	if ((ev->kind == EVENT_WRITE || ev->kind == EVENT_ZERO) &&
	    by_sector(choice)) {
		put_sectors(im, ev, choice, rng);
		return;
	}
	if (!power_choose(choice, rng))
		return;
	switch (ev->kind) {
	case EVENT_WRITE:
		put_bytes(im, ev->pos, ev->bytes, ev->len);
		break;
	case EVENT_ZERO:
		put_bytes(im, ev->pos, NULL,
			  min(ev->len, im->filled - ev->pos));
		break;
	case EVENT_EXTEND:
		power_image_resize(im, max(im->len, ev->len));
		break;
	case EVENT_TRUNCATE:
		power_image_resize(im, ev->len);
		break;
	case EVENT_DELETE:
		im->exists = false;
		power_image_resize(im, 0);
		break;
	case EVENT_SYNC:
	case EVENT_SYNC_RANGE:
	case EVENT_NAMES:
		break;
	}
}

/* Was the write at @i followed by a sync of just that, before @point? */
static bool range_synced(const struct power_log *log, size_t i, size_t point)
{
	const struct event *ev = &log->events[i];

	if (ev->kind != EVENT_WRITE)
		return false;
	for (size_t k = i + 1; k < point; k++) {
		const struct event *sync = &log->events[k];

		if (sync->kind == EVENT_SYNC_RANGE && sync->file == ev->file &&
		    sync->pos <= ev->pos &&
		    sync->pos + sync->len >= ev->pos + ev->len)
			return true;
	}
	return false;
}

/* When a file that is there at @point was made; 0: it was there before. */
static size_t made_at(const struct power_log *log, enum power_file file,
		      size_t point)
{
	bool exists = log->base[file].exists;
	size_t made = 0;

	for (size_t i = 0; i < point; i++) {
		const struct event *ev = &log->events[i];

		if (ev->file != file || ev->kind == EVENT_SYNC ||
		    ev->kind == EVENT_SYNC_RANGE)
			continue;
		if (!exists && ev->kind != EVENT_DELETE)
			made = i + 1;
		exists = ev->kind != EVENT_DELETE;
	}
	return exists ? made : 0;
}

static struct image image_at(const struct power_log *log, enum power_file file,
			     size_t point, const struct durable *d,
			     enum power_choice choice, struct rng *rng)
{
	struct image im = {.exists = log->base[file].exists};

	power_image_fill(&im, log->base[file].filled);
	if (im.filled)
		memcpy(im.bytes, log->base[file].bytes, im.filled);
	power_image_resize(&im, log->base[file].len);
	for (size_t i = 0; i < point; i++) {
		const struct event *ev = &log->events[i];
		size_t durable =
			ev->kind == EVENT_DELETE ? d->names : d->content[file];

		if (ev->file == file)
			power_image_apply(
				&im, ev,
				i < durable || range_synced(log, i, point)
					? POWER_EVERYTHING
					: choice,
				rng);
	}
	/* its content may be durable, and its name not */
	if (made_at(log, file, point) > d->names && !power_choose(choice, rng))
		im.exists = false;
	return im;
}

/* A map is not taken for that of another database by the time alone. */
static void set_time(const struct image *map, int dirfd)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct freemap_key key;

	if (!map->exists || map->len < MAP_KEY + sizeof(key))
		return;
	memcpy(&key, map->bytes + MAP_KEY, sizeof(key));
	times[1].tv_sec = (time_t)(key.db_mtime_ns / NSEC_PER_SEC);
	times[1].tv_nsec = (long)(key.db_mtime_ns % NSEC_PER_SEC);
	(void)utimensat(dirfd, power_file_names[POWER_DB], times, 0);
}

/* It is made before anything else, and nothing depends on it. */
static void make_lock(int dirfd)
{
	int fd = openat(dirfd, "lock", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	expect(fd >= 0);
	(void)close(fd);
}

void power_state(const struct power_log *log, size_t point,
		 enum power_choice choice, struct rng *rng, const char *volume)
{
	int dirfd = open(volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct durable d = find_durable(log, point);

	expect(dirfd >= 0);
	make_lock(dirfd);
	for (enum power_file f = 0; f < POWER_FILES; f++) {
		enum power_choice c = power_choice_of_file(choice, rng);
		struct image im;

		im = image_at(log, f, point, &d, c, rng);
		power_image_write(&im, dirfd, power_file_names[f]);
		if (f == POWER_MAP)
			set_time(&im, dirfd);
		free(im.bytes);
	}
	(void)close(dirfd);
}

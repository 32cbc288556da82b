/* SPDX-License-Identifier: MIT */
/* What power_record.c writes down and power_state.c makes states of. */
#ifndef FOLIO_POWER_LOG_H
#define FOLIO_POWER_LOG_H

#include <pthread.h>
#include <stdlib.h>
#include <sys/types.h>

#include "power_record.h"

enum event_kind {
	EVENT_WRITE,
	EVENT_ZERO,   /* a range is no longer needed */
	EVENT_EXTEND, /* at least so large; there */
	EVENT_TRUNCATE,
	EVENT_DELETE,
	EVENT_SYNC,
	EVENT_SYNC_RANGE, /* what was written there is durable, no more */
	EVENT_NAMES, /* the folder is synced: which files there are */
};

struct event {
	enum event_kind kind;
	enum power_file file;
	u64 pos, len;
	u8 *bytes;  /* of WRITE */
	u64 offset; /* in the trace, of the event's end */
};

/* A file. From @filled on there are zeros, and no memory. */
struct image {
	bool exists;
	u64 len, filled, cap;
	u8 *bytes;
};

struct power_log {
	enum power_lie lie;
	struct image base[POWER_FILES];
	struct bdev *device;
	ino_t folder;
	void (*before)(void *arg);
	void *before_arg;
	pthread_mutex_t lock;
	/* under lock */
	struct event *events;
	size_t nr, cap;
	bool exists[POWER_FILES];
	bool unnamed[POWER_FILES]; /* made, and not synced since */
	bool flush_is_due;	   /* POWER_LATE_DATA_FLUSH */
	bool mounting;
	int trace; /* -1: none */
};

extern const char *const power_file_names[POWER_FILES];

void power_image_resize(struct image *im, u64 len);
/* Let there be memory up to @end. */
void power_image_fill(struct image *im, u64 end);
/* A file into memory, if there is one, and back. */
void power_image_read(struct image *im, int dirfd, const char *name);
void power_image_write(const struct image *im, int dirfd, const char *name);

/* Is there what was not synced? Of a whole write, or of one sector. */
bool power_choose(enum power_choice choice, struct rng *rng);
/* The choice for all of one file. */
enum power_choice power_choice_of_file(enum power_choice choice,
				       struct rng *rng);
/* Do what is in @ev, or as much of it as is chosen. */
void power_image_apply(struct image *im, const struct event *ev,
		       enum power_choice choice, struct rng *rng);

static inline void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static inline void must_be(bool cond)
{
	if (!cond)
		abort();
}

#endif

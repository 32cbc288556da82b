/* SPDX-License-Identifier: MIT */
/*
 * Frames: the memory of the cache, one arena mapped from one memfd, numbered
 * from 1.
 *
 * A free frame is hot (it has memory, since it was used before) or cold (never
 * used, or its memory was given back by punching it out of the memfd). What
 * the bound is about is frames that have memory: nr_used + nr_hot, which never
 * rises above the budget, and is brought down to it when the budget shrinks.
 *
 * The budget is cache_size less what bookkeeping takes: page trees, swap
 * entries and frame headers, and what the user charges. A floor of a few
 * frames stays whatever happens, so that work goes on.
 */
#include "config.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define FRAMES_FLOOR 16
/* Punch this many at a time: a system call each would cost more than it gives.
 */
#define TRIM_BATCH 32

#ifdef FOLIO_TSAN
/* Atomic accesses in a function that is not instrumented: no report, and no
 * memcpy() which the tool would intercept. */
__attribute__((no_sanitize("thread"), noinline)) void
copy_content(void *dst, const void *src, size_t len)
{
	u8 *d = dst;
	const u8 *s = src;

	for (size_t i = 0; i < len; i++)
		__atomic_store_n(
			&d[i], s ? __atomic_load_n(&s[i], __ATOMIC_RELAXED) : 0,
			__ATOMIC_RELAXED);
}
#else
void copy_content(void *dst, const void *src, size_t len)
{
	if (src)
		memcpy(dst, src, len);
	else
		memset(dst, 0, len);
}
#endif

static size_t arena_bytes(const struct frames *f)
{
	return ((size_t)f->max + 1) << PAGE_SHIFT;
}

static size_t header_bytes(const struct frames *f)
{
	return ((size_t)f->max + 1) * sizeof(struct page);
}

static int map_arena(struct frames *f)
{
	void *base;

	f->fd = memfd_create("folio-frames", MFD_CLOEXEC);
	if (f->fd < 0)
		return -errno;
	if (ftruncate(f->fd, (off_t)arena_bytes(f)) < 0)
		return -errno;
	base = mmap(NULL, arena_bytes(f), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE, f->fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	f->base = base;
	return 0;
}

static int map_headers(struct cache *c)
{
	void *headers =
		mmap(NULL, header_bytes(&c->frames), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (headers == MAP_FAILED)
		return -errno;
	c->pages = headers;
	return 0;
}

int frames_init(struct cache *c)
{
	struct frames *f = &c->frames;
	u64 max = c->cfg.max_size >> PAGE_SHIFT;
	int err;

	if (max >= UINT32_MAX - 1)
		return -EINVAL;
	mutex_init(&f->lock, LOCK_LEAF, "frames");
	f->max = (u32)max;
	f->fresh = 1;
	err = map_arena(f);
	if (!err)
		err = map_headers(c);
	if (err)
		frames_done(c);
	return err;
}

void frames_done(struct cache *c)
{
	struct frames *f = &c->frames;

	if (c->pages)
		(void)munmap(c->pages, header_bytes(f));
	if (f->base)
		(void)munmap(f->base, arena_bytes(f));
	if (f->fd >= 0)
		(void)close(f->fd);
	mutex_done(&f->lock);
}

u32 frames_limit(const struct cache *c)
{
	u64 size = atomic_read(&c->knobs[KNOB_cache_size]);
	u64 meta = atomic_read(&c->page_table_bytes) +
		   atomic_read(&c->metadata_bytes);
	u64 beside = meta + min(atomic_read(&c->copies_bytes), size / 2);
	u64 left = size > beside ? size - beside : 0;
	u64 nr = left / (PAGE_SIZE + sizeof(struct page));

	return (u32)min(max(nr, (u64)FRAMES_FLOOR), (u64)c->frames.max);
}

u32 frames_free(const struct cache *c)
{
	u32 limit = frames_limit(c);
	u32 used = atomic_read(&c->frames.nr_used);

	return used < limit ? limit - used : 0;
}

u32 frames_surplus(const struct cache *c)
{
	u32 limit = frames_limit(c);
	u32 nr = atomic_read(&c->frames.nr_used) +
		 atomic_read(&c->frames.nr_hot);

	return nr > limit ? nr - limit : 0;
}

/* Return: a frame, 0: those left are being trimmed at this moment. */
static u32 take_one(struct cache *c)
{
	struct frames *f = &c->frames;
	u32 frame = 0;

	if (f->hot) {
		frame = f->hot;
		f->hot = frame_page(c, frame)->next;
		atomic_set(&f->nr_hot, f->nr_hot - 1);
	} else if (f->cold) {
		frame = f->cold;
		f->cold = frame_page(c, frame)->next;
	} else if (f->fresh <= f->max) {
		frame = f->fresh++;
	}
	return frame;
}

u32 frames_take(struct cache *c, u32 want, u32 *ret_frames)
{
	struct frames *f = &c->frames;
	u32 limit = frames_limit(c);
	u32 nr = 0;

	mutex_lock(&f->lock);
	while (nr < want && f->nr_used < limit) {
		ret_frames[nr] = take_one(c);
		if (!ret_frames[nr])
			break;
		nr++;
		atomic_set(&f->nr_used, f->nr_used + 1);
	}
	mutex_unlock(&f->lock);
	count_add(c, pgalloc, nr);
	return nr;
}

/* Take up to @max hot frames off that are too many. Context: locked. */
static u32 take_surplus(struct cache *c, u32 *ret_frames, u32 max)
{
	struct frames *f = &c->frames;
	u32 limit = frames_limit(c);
	u32 nr = 0;

	while (nr < max && f->hot && f->nr_used + f->nr_hot > limit) {
		ret_frames[nr++] = f->hot;
		f->hot = frame_page(c, f->hot)->next;
		atomic_set(&f->nr_hot, f->nr_hot - 1);
	}
	return nr;
}

static void punch(struct cache *c, u32 frame)
{
	int flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	/* If the kernel will not, the frame only stays in memory. */
	(void)fallocate(c->frames.fd, flags, (off_t)frame << PAGE_SHIFT,
			(off_t)PAGE_SIZE);
}

static u32 trim_batch(struct cache *c)
{
	struct frames *f = &c->frames;
	u32 surplus[TRIM_BATCH];
	u32 nr;

	mutex_lock(&f->lock);
	nr = take_surplus(c, surplus, TRIM_BATCH);
	mutex_unlock(&f->lock);

	for (u32 i = 0; i < nr; i++)
		punch(c, surplus[i]);

	mutex_lock(&f->lock);
	for (u32 i = 0; i < nr; i++) {
		frame_page(c, surplus[i])->next = f->cold;
		f->cold = surplus[i];
	}
	mutex_unlock(&f->lock);
	return nr;
}

void frames_trim(struct cache *c)
{
	while (trim_batch(c) == TRIM_BATCH)
		;
}

void frames_give(struct cache *c, const u32 *frames, u32 nr)
{
	struct frames *f = &c->frames;

	mutex_lock(&f->lock);
	for (u32 i = 0; i < nr; i++) {
		struct page *p = frame_page(c, frames[i]);

		p->next = f->hot;
		f->hot = frames[i];
	}
	atomic_set(&f->nr_hot, f->nr_hot + nr);
	atomic_set(&f->nr_used, f->nr_used - nr);
	mutex_unlock(&f->lock);
	count_add(c, pgfree, nr);
}

static u32 chain_length(const struct cache *c, u32 frame)
{
	u32 nr = 0;

	for (; frame; frame = frame_page(c, frame)->next) {
		verify(frame_page(c, frame)->refs == 0);
		verify(!frame_page(c, frame)->mapping);
		nr++;
	}
	return nr;
}

void frames_check(struct cache *c)
{
	struct frames *f = &c->frames;

	mutex_lock(&f->lock);
	verify(f->fresh <= f->max + 1);
	verify(chain_length(c, f->hot) == f->nr_hot);
	verify(chain_length(c, f->cold) + f->nr_hot + f->nr_used ==
	       f->fresh - 1);
	mutex_unlock(&f->lock);
}

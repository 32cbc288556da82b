/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_fs.h"

struct fake_fs fake;
static char volume_path[] = "/vol/work.folio";

struct fs *fake_fs(void)
{
	return (struct fs *)(void *)&fake;
}

void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.volume.path = volume_path;
	fake.super.version = 1;
	fake.super.block_size = PAGE_SIZE;
	for (u8 i = 0; i < 16; i++)
		fake.super.uuid[i] = (u8)(i * 17);
#define X(name, unit, def, ...) fake.knobs[KNOB_##name] = def;
	CACHE_KNOBS(X)
#undef X
	fake.commit_secs = 5;
	(void)pthread_mutex_init(&fake.gate, NULL);
}

void fake_fill(u64 seed)
{
#define GAUGE(name, ...) fake.gauges.name = seed++;
	CACHE_GAUGES(GAUGE)
#define COUNT(name, ...) fake.count.name = seed++;
	CACHE_COUNTERS(COUNT)
#define FS(name, ...) fake.stat.name = seed++;
	FS_COUNTERS(FS)
	FS_GAUGES(FS)
#define VOLUME(name, ...) fake.volume.count.name = seed++;
	VOLUME_COUNTERS(VOLUME)
#define SWAP(name, ...) fake.swap_stat.name = seed++;
	SWAP_FILE_COUNTERS(SWAP)
	SWAP_FILE_GAUGES(SWAP)
	fake.blocks = (struct blocks_stat){
		.total = seed,
		.used = seed + 1,
		.reserved = seed + 2,
		.deferred = seed + 3,
		.kept = seed + 4,
		.withheld = seed + 8,
		.holds = seed + 9,
		.holds_lost = seed + 10,
	};
	fake.volume.nr_inodes = seed + 5;
	fake.db_memory = seed + 6;
	fake.db_written = seed + 7;
}

void fake_add_file(u64 ino, u64 size, const char *path)
{
	size_t i = fake.nr_files++;

	fake.files[i] = (struct fs_file_info){.ino = ino, .st.size = size};
	fake.paths[i] = path;
}

/* ---- fs.h ---- */

struct cache *fs_cache(struct fs *fs)
{
	return (struct cache *)fs;
}

struct volume *fs_volume(struct fs *fs)
{
	return &fake.volume;
}

struct swap_file *fs_swap_file(struct fs *fs)
{
	return fake.swap_path ? (struct swap_file *)(void *)&fake : NULL;
}

const char *swap_file_path(const struct swap_file *s)
{
	return fake.swap_path;
}

void swap_file_stat(struct swap_file *s, u64 bound, struct swap_file_stat *ret)
{
	*ret = fake.swap_stat;
}

void fs_stat(struct fs *fs, struct fs_stat *ret)
{
	*ret = fake.stat;
}

int fs_statfs(struct fs *fs, struct statvfs *ret)
{
	*ret = fake.statvfs;
	return 0;
}

static int find(u64 ino)
{
	for (size_t i = 0; i < fake.nr_files; i++)
		if (fake.files[i].ino == ino)
			return (int)i;
	return -ENOENT;
}

int fs_path(struct fs *fs, u64 ino, char *buf, size_t size)
{
	int i = find(ino);

	if (i < 0 || !fake.paths[i])
		return -ENOENT;
	(void)snprintf(buf, size, "%s", fake.paths[i]);
	return 0;
}

int fs_files(struct fs *fs, struct fs_file_info **ret_info, size_t *ret_nr)
{
	if (fake.files_err)
		return fake.files_err;
	*ret_info = calloc(fake.nr_files + 1, sizeof(**ret_info));
	if (!*ret_info)
		return -ENOMEM;
	memcpy(*ret_info, fake.files, fake.nr_files * sizeof(**ret_info));
	*ret_nr = fake.nr_files;
	return 0;
}

int fs_file_info(struct fs *fs, u64 ino, struct fs_file_info *ret)
{
	int i = find(ino);

	if (i < 0)
		return -ENOENT;
	*ret = fake.files[i];
	return 0;
}

/* Page n is letter n of the alphabet, round and round. */
int fs_file_map(struct fs *fs, u64 ino, u64 pgoff, u64 nr, char *ret)
{
	if (find(ino) < 0)
		return -ENOENT;
	for (u64 i = 0; i < nr; i++)
		ret[i] = (char)('a' + (pgoff + i) % 26);
	return 0;
}

int fs_mappings(struct fs *fs, u64 ino, struct vma_info **ret, size_t *ret_nr)
{
	size_t nr = 0;

	if (ino && find(ino) < 0)
		return -ENOENT;
	*ret = calloc(fake.nr_vmas + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < fake.nr_vmas; i++) {
		if (!ino || fake.vmas[i].ino == ino)
			(*ret)[nr++] = fake.vmas[i];
	}
	*ret_nr = nr;
	return 0;
}

int fs_processes(struct fs *fs, struct mm_info **ret, size_t *ret_nr)
{
	*ret = calloc(fake.nr_mms + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, fake.mms, fake.nr_mms * sizeof(**ret));
	*ret_nr = fake.nr_mms;
	return 0;
}

static bool is_resident(u64 pgoff)
{
	return pgoff < strlen(fake.resident) && fake.resident[pgoff] != '.';
}

int fs_file_resident(struct fs *fs, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_first, u64 *ret_last)
{
	last = min(last, (u64)sizeof(fake.resident));
	while (pgoff <= last && !is_resident(pgoff))
		pgoff++;
	*ret_first = pgoff;
	while (pgoff <= last && is_resident(pgoff))
		*ret_last = pgoff++;
	return pgoff > *ret_first;
}

static void note(const char *what)
{
	size_t len = strlen(fake.log);

	(void)snprintf(fake.log + len, sizeof(fake.log) - len, "%s ", what);
}

int fs_drop(struct fs *fs, u64 ino)
{
	fake.nr_drops++;
	fake.dropped_ino = ino;
	note("drop");
	return fake.drop_err;
}

int fs_compact_swap_some(struct fs *fs, u64 *from)
{
	*from += 10;
	note("compact swap");
	return ++fake.nr_swap_compacts % 2 != 0;
}

int fs_compact_some(struct fs *fs, u64 *from)
{
	if (fake.compact_err)
		return fake.compact_err;
	*from += 10;
	note("compact");
	return ++fake.nr_compacts % 3 != 0;
}

/* The unmapper is linked, but there is none. */
int fs_take_begin(struct fs *fs, u64 ino)
{
	return -ENOENT;
}

void fs_take_end(struct fs *fs, u64 ino)
{
}

int fs_looked_up(struct fs *fs, u64 **ret, size_t *ret_nr)
{
	return -ENOMEM;
}

size_t fs_mappers(struct fs *fs, u64 ino, u64 first, u64 last, u32 *pids,
		  size_t nr, size_t max)
{
	return nr;
}

void cache_set_copies(struct cache *cache, u64 bytes)
{
}

void fs_sync(struct fs *fs, struct fs_done *done)
{
	fake.nr_syncs++;
	done->fn(done, fake.sync_err);
}

void fs_set_commit_secs(struct fs *fs, u32 secs)
{
	fake.commit_secs = secs;
}

u32 fs_get_commit_secs(struct fs *fs)
{
	return fake.commit_secs;
}

int fs_scrub(struct fs *fs, bool on)
{
	if (on && fake.scrubbing)
		return -EBUSY;
	fake.scrubbing = on;
	return 0;
}

void fs_set_scrub_rate(struct fs *fs, u64 bytes)
{
	fake.scrub_rate = bytes;
}

u64 fs_get_scrub_rate(struct fs *fs)
{
	return fake.scrub_rate;
}

int fs_scrub_bad(struct fs *fs, struct fs_scrub_bad **ret, size_t *ret_nr)
{
	struct fs_scrub_bad *bad = calloc(1, sizeof(*bad));

	*bad = (struct fs_scrub_bad){10, 7, 3};
	*ret = bad;
	*ret_nr = 1;
	return 0;
}

/* ---- cache.h ---- */

void cache_gauges(const struct cache *cache, struct cache_gauges *ret)
{
	*ret = fake.gauges;
}

void cache_counters(const struct cache *cache, struct cache_counters *ret)
{
	*ret = fake.count;
}

void cache_charge(struct cache *cache, s64 bytes)
{
	fake.charged += bytes;
}

int cache_set_knob(struct cache *cache, enum cache_knob knob, u64 value)
{
	static const struct {
		const char *name;
		u64 min, max;
	} range[] = {
#define X(name, unit, def, min_, max_) {#name, min_, max_},
		CACHE_KNOBS(X)
#undef X
	};

	(void)pthread_mutex_lock(&fake.gate);
	(void)pthread_mutex_unlock(&fake.gate);
	if (value < range[knob].min || value > range[knob].max)
		return -EINVAL;
	fake.knobs[knob] = value;
	fake.knob_thread = pthread_self();
	fake.nr_knobs_set++;
	note(range[knob].name);
	return 0;
}

u64 cache_get_knob(const struct cache *cache, enum cache_knob knob)
{
	return fake.knobs[knob];
}

/* ---- meta.h, blocks.h ---- */

void meta_super(const struct meta *m, struct meta_super *ret)
{
	*ret = fake.super;
}

u64 meta_memory(const struct meta *m)
{
	return fake.db_memory;
}

u64 meta_bytes_written(const struct meta *m)
{
	return fake.db_written;
}

void blocks_stat(struct blocks *b, struct blocks_stat *ret)
{
	*ret = fake.blocks;
}

u64 blocks_hold(struct blocks *b)
{
	fake.blocks.holds++;
	return fake.hold_era;
}

void blocks_unhold(struct blocks *b, u64 hold)
{
	fake.blocks.holds -= hold == fake.hold_era;
}

bool blocks_holds(struct blocks *b, u64 hold)
{
	return hold == fake.hold_era;
}

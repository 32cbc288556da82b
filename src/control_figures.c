/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <string.h>

#include "clock.h"
#include "control_internal.h"

#define GAUGE(name, help) {#name, help, FIGURE_GAUGE},
#define COUNTER(name, help) {#name, help, FIGURE_COUNTER},

/* In the order of struct figures, and of the lists within each struct. */
const struct figure control_figures[] = {
	/* clang-format off */
	CACHE_GAUGES(GAUGE)
	CACHE_COUNTERS(COUNTER)
	FS_COUNTERS(COUNTER)
	FS_GAUGES(GAUGE)
	VOLUME_COUNTERS(COUNTER)
	SWAP_FILE_COUNTERS(COUNTER)
	SWAP_FILE_GAUGES(GAUGE)
	CONTROL_GAUGES(GAUGE)
	CONTROL_COUNTERS(COUNTER)
	TRACKER_COUNTERS(COUNTER)
	TRACKER_GAUGES(GAUGE)
	UNMAP_COUNTERS(COUNTER)
	UNMAP_GAUGES(GAUGE)
	/* clang-format on */
};

static void volume_figures(struct volume *v, struct volume_counters *ret)
{
#define X(name, ...) \
	ret->name = __atomic_load_n(&v->count.name, __ATOMIC_RELAXED);
	VOLUME_COUNTERS(X)
#undef X
}

u64 volume_slots_bytes(u64 nr_slots, const struct swap_file_stat *file)
{
	/* read one after the other: they may not agree */
	return nr_slots * PAGE_SIZE -
	       min(nr_slots * PAGE_SIZE, file->swap_file_used_bytes);
}

/* What swap may hold: what it holds and what the volume or the swap file has
 * free, within the bound that swap_size sets. With a swap file some slots may
 * be the volume's all the same. */
static u64 swap_total_bytes(struct control *c, u64 nr_slots,
			    const struct swap_file_stat *file)
{
	u64 bound = cache_get_knob(fs_cache(c->fs), KNOB_swap_size);
	struct statvfs st;
	u64 room = 0;

	if (fs_swap_file(c->fs))
		return file->swap_file_bytes +
		       volume_slots_bytes(nr_slots, file);
	if (fs_statfs(c->fs, &st) == 0)
		room = (u64)st.f_bfree * st.f_frsize;
	return min(bound, nr_slots * PAGE_SIZE + room);
}

static void control_stat(struct control *c, struct volume *v,
			 const struct figures *f, struct control_stat *ret)
{
	struct blocks_stat blocks;

	blocks_stat(v->blocks, &blocks);
	*ret = (struct control_stat){
		.uptime_ms = (mono_ns() - c->born_ns) / NSEC_PER_MSEC,
		.cache_size_bytes =
			cache_get_knob(fs_cache(c->fs), KNOB_cache_size),
		.swap_total_bytes =
			swap_total_bytes(c, f->gauges.nr_slots, &f->swap_file),
		.nr_blocks = blocks.total - blocks.missing,
		.nr_blocks_used = blocks.used,
		.nr_blocks_reserved = blocks.reserved,
		.nr_blocks_deferred = blocks.deferred,
		.nr_blocks_withheld = blocks.withheld,
		.nr_holds = blocks.holds,
		.nr_blocks_kept = blocks.kept,
		.nr_inodes = __atomic_load_n(&v->nr_inodes, __ATOMIC_RELAXED),
		.db_memory_bytes = meta_memory(v->meta),
		.holds_lost = blocks.holds_lost,
		.db_written_bytes = meta_bytes_written(v->meta),
	};
}

void figures_read(struct control *c, struct figures *ret)
{
	struct cache *cache = fs_cache(c->fs);
	struct volume *v = fs_volume(c->fs);

	cache_gauges(cache, &ret->gauges);
	cache_counters(cache, &ret->count);
	fs_stat(c->fs, &ret->fs);
	volume_figures(v, &ret->volume);
	swap_file_stat(fs_swap_file(c->fs),
		       cache_get_knob(cache, KNOB_swap_size), &ret->swap_file);
	control_stat(c, v, ret, &ret->control);
	tracker_stat(c->tracker, &ret->tracker);
	unmapper_stat(c->unmapper, &ret->unmap);
}

u64 figure_value(const struct figures *f, size_t i)
{
	u64 v;

	assert(i < NR_FIGURES);
	memcpy(&v, (const char *)f + i * sizeof(v), sizeof(v));
	return v;
}

void meminfo_fields(const struct figures *f,
		    struct meminfo_field ret[NR_MEMINFO])
{
	const struct cache_gauges *g = &f->gauges;
	size_t i = 0;

#define X(name_, kb_, help_) \
	ret[i++] = (struct meminfo_field){name_, help_, kb_};
	MEMINFO_FIELDS(X)
#undef X
	assert(i == NR_MEMINFO);
}

/* SPDX-License-Identifier: MIT */
/*
 * What the files of src/control_*.c share: the snapshot of all figures, and
 * the tables that make every form (text, JSON, Prometheus) say the same.
 */
#ifndef FOLIO_CONTROL_INTERNAL_H
#define FOLIO_CONTROL_INTERNAL_H

#include <pthread.h>
#include <unistd.h>

#include "control.h"
#include "list.h"
#include "lock.h"
#include "strbuf.h"
#include "swap_file.h"
#include "tracker.h"
#include "units.h"

struct control {
	/* constant */
	struct fs *fs;
	struct tracker *tracker;   /* may be NULL */
	struct unmapper *unmapper; /* may be NULL */
	u32 uid, gid;
	char uuid[UUID_LEN];
	u64 born_ns;	      /* CLOCK_MONOTONIC */
	struct timespec born; /* CLOCK_REALTIME: times of every node */
	pthread_t worker;

	struct mutex lock; /* LOCK_LEAF */
	/* under lock */
	struct waitq wake;
	struct list_head jobs; /* writes to vm/ that may take long */
	bool stopping;
	u64 *listing; /* of inode/: as it was when somebody began to read it */
	size_t nr_listing;
};

/* ---- figures (control_figures.c) ---- */

/* Figures that no layer below counts; X(name, help) as everywhere. */
#define CONTROL_GAUGES(X)                                                     \
	X(uptime_ms, "time since the mount, ms")                              \
	X(cache_size_bytes, "the budget of the cache, bytes")                 \
	X(swap_total_bytes, "slots in use, and what may become slots, bytes") \
	X(nr_blocks, "blocks that the data file may have")                    \
	X(nr_blocks_used, "blocks of committed files, and slots")             \
	X(nr_blocks_reserved, "free blocks promised to dirty pages")          \
	X(nr_blocks_deferred, "blocks freed but not to be used again yet")    \
	X(nr_blocks_withheld, "blocks that are free but for holds")           \
	X(nr_holds, "holds of freed blocks, as of backups")                   \
	X(nr_blocks_kept, "blocks kept for metadata and removals")            \
	X(nr_inodes, "inodes of the volume")                                  \
	X(db_memory_bytes, "memory that SQLite holds, bytes")

#define CONTROL_COUNTERS(X)                                              \
	X(holds_lost, "holds of freed blocks given up for want of room") \
	X(db_written_bytes, "bytes written to the database and its WAL")

struct control_stat {
#define X(name, ...) u64 name;
	CONTROL_GAUGES(X)
	CONTROL_COUNTERS(X)
#undef X
};

/* One snapshot of everything; nothing but u64, in the order of the table. */
struct figures {
	struct cache_gauges gauges;
	struct cache_counters count;
	struct fs_stat fs;
	struct volume_counters volume;
	struct swap_file_stat swap_file;
	struct control_stat control;
	struct tracker_stat tracker;
	struct unmapper_stat unmap;
};

enum figure_type {
	FIGURE_GAUGE,
	FIGURE_COUNTER,
};

struct figure {
	const char *name;
	const char *help;
	enum figure_type type;
};

#define NR_FIGURES (sizeof(struct figures) / sizeof(u64))
extern const struct figure control_figures[NR_FIGURES];

void figures_read(struct control *c, struct figures *ret);
u64 figure_value(const struct figures *f, size_t i);
/* What @nr_slots slots are besides those in the swap file. */
u64 volume_slots_bytes(u64 nr_slots, const struct swap_file_stat *file);

/*
 * meminfo: X(name, kB, help), from f (figures) and g (its gauges of the cache).
 * Cached leaves SwapCached out, as in /proc/meminfo.
 */
#define KB_OF_PAGES(n) ((n) << (PAGE_SHIFT - 10))
#define KB_OF_BYTES(n) ((n) >> 10)
#define MEMINFO_FIELDS(X)                                                      \
	X("CacheTotal", KB_OF_BYTES(f->control.cache_size_bytes),              \
	  "the budget")                                                        \
	X("CacheFree", KB_OF_PAGES(g->nr_free_pages), "to be had at once")     \
	X("Cached",                                                            \
	  KB_OF_PAGES(g->nr_file_pages + g->nr_anon_pages - g->nr_saved),      \
	  "pages in frames, but for SwapCached")                               \
	X("SwapCached", KB_OF_PAGES(g->nr_saved),                              \
	  "pages in a frame and in a slot")                                    \
	X("Active(anon)", KB_OF_PAGES(g->nr_active_anon),                      \
	  "uncommitted, used again")                                           \
	X("Inactive(anon)", KB_OF_PAGES(g->nr_inactive_anon),                  \
	  "uncommitted, next to be swapped out")                               \
	X("Active(file)", KB_OF_PAGES(g->nr_active_file),                      \
	  "committed, used again")                                             \
	X("Inactive(file)", KB_OF_PAGES(g->nr_inactive_file),                  \
	  "committed, next to be dropped")                                     \
	X("Unevictable", KB_OF_PAGES(g->nr_unevictable), "may not be evicted") \
	X("Mapped", KB_OF_PAGES(g->nr_mapped), "mapped by some process")       \
	X("Dirty", KB_OF_PAGES(g->nr_dirty), "exists only in a frame")         \
	X("Writeback", KB_OF_PAGES(g->nr_writeback), "being written to slots") \
	X("Uncommitted", KB_OF_PAGES(g->nr_uncommitted),                       \
	  "would be lost by a power cut: in frames and in swap")               \
	X("SwapTotal", KB_OF_BYTES(f->control.swap_total_bytes),               \
	  "slots in use, and what may become slots")                           \
	X("SwapUsed", KB_OF_PAGES(g->nr_slots), "slots in use")                \
	X("PageTables", KB_OF_BYTES(g->page_table_bytes),                      \
	  "page trees, swap entries, frame headers")                           \
	X("Metadata", KB_OF_BYTES(g->metadata_bytes),                          \
	  "inodes, names, operations, SQLite")

struct meminfo_field {
	const char *name;
	const char *help;
	u64 kb;
};

#define X(...) +1
enum { NR_MEMINFO = 0 MEMINFO_FIELDS(X) };
#undef X

void meminfo_fields(const struct figures *f,
		    struct meminfo_field ret[NR_MEMINFO]);

/* Columns of `files` and lines of inode/INO/stat: X(name, width, value). */
#define FILE_COLUMNS(X)                                       \
	X(ino, 8, f->ino)                                     \
	X(size, 12, f->st.size)                               \
	X(nr_cache, 8, f->st.nr_cache)                        \
	X(nr_dirty, 8, f->st.nr_dirty)                        \
	X(nr_writeback, 12, f->st.nr_writeback)               \
	X(nr_evicted, 10, f->st.nr_evicted)                   \
	X(nr_recently_evicted, 19, f->st.nr_recently_evicted) \
	X(saved, 8, f->st.nr_saved)                           \
	X(swapped, 8, f->st.nr_swapped)                       \
	X(uncommitted, 11, f->st.nr_uncommitted)              \
	X(mapped, 8, f->st.nr_mapped)                         \
	X(opens, 5, (u64)f->opens)                            \
	X(minflt, 8, f->st.minflt)                            \
	X(majflt, 8, f->st.majflt)                            \
	X(fills, 8, f->st.nr_fills)                           \
	X(cut, 8, f->st.nr_cut_vmas)                          \
	X(age_ms, 8, f->st.oldest_uncommitted_ms)

/* Lines of `volume`: X(name, value); from f, v and its super. */
#define VOLUME_LINES(X)                                     \
	X(format, super.version)                            \
	X(block_size, super.block_size)                     \
	X(commit_no, f->fs.commit_no)                       \
	X(mount_epoch, v->mount_epoch)                      \
	X(size_bytes, super.nr_blocks *super.block_size)    \
	X(used_bytes, f->control.nr_blocks_used *PAGE_SIZE) \
	X(inodes, f->control.nr_inodes)                     \
	X(readonly, f->fs.readonly)                         \
	X(uptime_ms, f->control.uptime_ms)                  \
	X(pid, (u64)getpid())

/* The path of @ino, escaped. Return: 0, or -errno with nothing added (-ENOENT:
 * it has none any more). */
int control_add_path(struct control *c, struct strbuf *sb, u64 ino);

/* ---- forms: each appends its text. Return: 0 or -errno ---- */
int control_meminfo(struct control *c, struct strbuf *sb);
int control_vmstat(struct control *c, struct strbuf *sb);
int control_files(struct control *c, struct strbuf *sb);
int control_swaps(struct control *c, struct strbuf *sb);
int control_scrub(struct control *c, struct strbuf *sb);
int control_volume(struct control *c, struct strbuf *sb);
int control_json(struct control *c, struct strbuf *sb);
int control_metrics(struct control *c, struct strbuf *sb);
/* The path is the last line. */
int control_inode_stat(struct control *c, u64 ino, bool with_path,
		       struct strbuf *sb);

/* ---- mappings (control_maps.c) ---- */
int control_maps(struct control *c, struct strbuf *sb);
int control_processes(struct control *c, struct strbuf *sb);
int control_inode_maps(struct control *c, u64 ino, struct strbuf *sb);
int control_inode_rmap(struct control *c, u64 ino, struct strbuf *sb);

/* ---- vm/ (control_vm.c) ---- */
enum {
	VM_COMMIT_SECS = KNOB_NR,
	VM_SCRUB_RATE,
	VM_COMPACT,
	VM_DROP_CACHES,
	VM_SCRUB,
	VM_SYNC,
	VM_NR,
};

const char *vm_name(u32 which);
bool vm_is_knob(u32 which); /* not a trigger: it has a value */
u64 vm_get(struct control *c, u32 which);
/* The text of a value: a number, or "max" for no bound. */
void vm_add_value(struct strbuf *sb, u64 value);

/* Carry out what was written, now or by the worker; answers through @done. */
void vm_write(struct control *c, u32 which, const char *buf, size_t len,
	      struct fs_done *done);
/* The trigger inode/INO/drop_caches. */
void vm_write_drop(struct control *c, u64 ino, const char *buf, size_t len,
		   struct fs_done *done);

int vm_start(struct control *c);
void vm_stop(struct control *c);

#endif

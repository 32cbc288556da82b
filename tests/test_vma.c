/* SPDX-License-Identifier: MIT */
/*
 * Processes, their mappings and the reverse map: what a scan changes, faults,
 * and what reclaim, readahead and truncation make of mappings.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "memback.h"
#include "mm.h"
#include "test.h"

#define FILE_PAGES 1024
#define NR_FILES 3
#define RW (VM_READ | VM_WRITE | VM_SHARED)

static struct memback mb;
static struct memfile files[NR_FILES];
static u8 page_buf[PAGE_SIZE];

static void setup_pages(u64 pages)
{
	mem_init(&mb, pages, pages, 8192);
	for (u32 i = 0; i < NR_FILES; i++) {
		memfile_init(&files[i], &mb, 10 + i, FILE_PAGES);
		for (u64 p = 0; p < FILE_PAGES; p++)
			memfile_put(&files[i], p, page_buf);
		files[i].as.i_size = FILE_PAGES << PAGE_SHIFT;
		files[i].f.ra_mode = 1;
	}
}

static void setup(void)
{
	setup_pages(64);
}

static void setup_model(void)
{
	setup_pages(128);
}

static void setup_large(void)
{
	setup_pages(4096);
}

static void teardown(void)
{
	mem_check(&mb);
	for (u32 i = 0; i < NR_FILES; i++)
		memfile_done(&files[i]);
	mem_done(&mb);
}

/* ---- helpers ---- */

static struct cache_counters counters(void)
{
	struct cache_counters k;

	cache_counters(mb.cache, &k);
	return k;
}

static struct cache_gauges gauges(void)
{
	struct cache_gauges g;

	cache_gauges(mb.cache, &g);
	return g;
}

static struct mm_key key_of(u32 pid)
{
	return (struct mm_key){.pid = pid, .start_time = 1000 + pid};
}

/* Addresses in pages. */
static struct vma_desc desc(u64 addr, u64 nr, u32 file, u64 pgoff, u32 flags)
{
	return (struct vma_desc){
		.start = addr << PAGE_SHIFT,
		.end = (addr + nr) << PAGE_SHIFT,
		.as = &files[file].as,
		.pgoff = pgoff,
		.flags = flags,
		.hints = true,
	};
}

static struct mm_change update(u32 pid, const struct vma_desc *d, u32 nr)
{
	struct mm_key key = key_of(pid);
	struct mm_change change = {};

	ck_assert_int_eq(mm_update(mb.cache, &key, "test", d, nr, &change), 0);
	mem_check(&mb);
	return change;
}

static void quit(u32 pid)
{
	struct mm_key key = key_of(pid);

	ck_assert_int_eq(mm_exit(mb.cache, &key), 0);
	mem_check(&mb);
}

static struct read_fault read_pages(u32 file, u64 pgoff, u32 nr)
{
	static u8 *bounce;
	struct cache_read rd;

	if (!bounce)
		bounce = aligned_alloc(PAGE_SIZE,
				       CACHE_READ_MAX_PAGES * PAGE_SIZE);
	rd.bounce = bounce;
	verify(cache_read(&files[file].f, pgoff << PAGE_SHIFT, nr * PAGE_SIZE,
			  &rd) == (ssize_t)(nr * PAGE_SIZE));
	cache_read_done(mb.cache, &rd);
	return rd.fault;
}

static bool fault(u32 pid, u32 file, u64 pgoff)
{
	struct read_fault f = read_pages(file, pgoff, 1);

	return mm_account_fault(&files[file].as, pid, &f);
}

static void read_through(u32 file, u64 first, u64 nr)
{
	for (u64 i = first; i < first + nr; i++)
		(void)read_pages(file, i, 1);
}

static bool is_resident(u32 file, u64 pgoff)
{
	char c;

	address_space_map(&files[file].as, pgoff, 1, &c);
	return c != '.';
}

/* What is known of the vma of @pid over the page @addr. */
static struct vma_info info_at(u32 pid, u64 addr)
{
	struct vma_info *all, found = {};
	size_t nr;

	ck_assert_int_eq(mm_snapshot(mb.cache, NULL, &all, &nr), 0);
	for (size_t i = 0; i < nr; i++)
		if (all[i].key.pid == pid &&
		    all[i].start <= addr << PAGE_SHIFT &&
		    all[i].end > addr << PAGE_SHIFT)
			found = all[i];
	free(all);
	ck_assert_uint_eq(found.key.pid, pid);
	return found;
}

static bool first_fn(const struct vma *v, void *arg)
{
	*(const struct vma **)arg = v;
	return false;
}

static const struct vma *first_vma(u32 file, u64 pgoff)
{
	const struct vma *v = NULL;

	(void)rmap_walk(&files[file].as, pgoff, pgoff, first_fn, &v);
	return v;
}

/* ---- scans ---- */

START_TEST(what_a_scan_shows_is_what_is_known)
{
	struct vma_desc d[] = {
		desc(10, 5, 0, 3, RW),
		desc(15, 5, 1, 0, VM_READ | VM_EXEC),
		desc(90, 1, 0, 7, VM_READ | VM_RAND_READ),
	};
	struct mm_change c = update(1, d, 3);
	struct vma_info *all;
	struct mm_info *mms;
	size_t nr;

	ck_assert_uint_eq(c.nr_added, 3);
	ck_assert_int_eq(mm_snapshot(mb.cache, NULL, &all, &nr), 0);
	ck_assert_uint_eq(nr, 3);
	for (u32 i = 0; i < 3; i++) {
		ck_assert_uint_eq(all[i].start, d[i].start);
		ck_assert_uint_eq(all[i].end, d[i].end);
		ck_assert_uint_eq(all[i].pgoff, d[i].pgoff);
		ck_assert_uint_eq(all[i].ino, d[i].as->ino);
		ck_assert_uint_eq(all[i].flags, d[i].flags);
		ck_assert_uint_eq(all[i].key.start_time, 1001);
		ck_assert_str_eq(all[i].comm, "test");
	}
	free(all);

	ck_assert_int_eq(mm_snapshot(mb.cache, &files[0].as, &all, &nr), 0);
	ck_assert_uint_eq(nr, 2);
	free(all);
	ck_assert_int_eq(mm_list(mb.cache, &mms, &nr), 0);
	ck_assert_uint_eq(nr, 1);
	ck_assert_uint_eq(mms[0].nr_vmas, 3);
	free(mms);
	ck_assert_uint_eq(gauges().nr_mms, 1);
	ck_assert_uint_eq(gauges().nr_vmas, 3);
}
END_TEST

START_TEST(what_is_unchanged_keeps_its_identity)
{
	struct vma_desc d[] = {desc(10, 5, 0, 3, RW), desc(20, 5, 1, 0, RW)};
	const struct vma *v;
	struct mm_change c;

	(void)update(1, d, 2);
	v = first_vma(0, 3);
	c = update(1, d, 2);
	ck_assert_uint_eq(c.nr_same, 2);
	ck_assert_ptr_eq(first_vma(0, 3), v);

	d[1].flags &= ~(u32)VM_WRITE;
	c = update(1, d, 2);
	ck_assert_uint_eq(c.nr_same, 1);
	ck_assert_uint_eq(c.nr_changed, 1);
	ck_assert_uint_eq(info_at(1, 20).flags, VM_READ | VM_SHARED);

	c = update(1, d, 1);
	ck_assert_uint_eq(c.nr_removed, 1);
	ck_assert_ptr_eq(first_vma(0, 3), v);
	ck_assert_ptr_null(first_vma(1, 0));
}
END_TEST

START_TEST(a_pid_that_is_used_again_is_another_process)
{
	struct vma_desc d = desc(10, 5, 0, 3, RW);
	struct mm_key again = {.pid = 1, .start_time = 99999};
	struct mm_key old = key_of(1);

	(void)update(1, &d, 1);
	ck_assert(fault(1, 0, 3));
	ck_assert_int_eq(mm_update(mb.cache, &again, "new", &d, 1, NULL), 0);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_mms, 1);
	ck_assert_uint_eq(info_at(1, 10).majflt, 0);
	ck_assert_str_eq(info_at(1, 10).comm, "new");
	ck_assert_int_eq(mm_exit(mb.cache, &old), -ESRCH);
	ck_assert_int_eq(mm_exit(mb.cache, &again), 0);
	ck_assert_uint_eq(gauges().nr_mms, 0);
	ck_assert_uint_eq(gauges().nr_vmas, 0);
}
END_TEST

START_TEST(bad_descriptions_change_nothing)
{
	struct vma_desc good[] = {desc(10, 5, 0, 3, RW), desc(20, 5, 0, 3, RW)};
	struct mm_key key = key_of(1);
	struct file other_file = {.mapping = &files[1].as};
	struct vma_desc bad[7][2];

	(void)update(1, good, 2);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		memcpy(bad[i], good, sizeof(good));
	bad[0][1].start = good[0].end - PAGE_SIZE; /* overlaps */
	bad[1][1].end = good[1].start;		   /* is empty */
	bad[2][0].start += 1;
	bad[3][1].as = NULL;
	bad[4][1].pgoff = PGOFF_MAX;
	bad[5][1].pgoff = UINT64_MAX - 2;
	bad[6][0].file = &other_file;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(
			mm_update(mb.cache, &key, "x", bad[i], 2, NULL),
			-EINVAL);
		mem_check(&mb);
		ck_assert_uint_eq(gauges().nr_vmas, 2);
		ck_assert_str_eq(info_at(1, 10).comm, "test");
	}
}
END_TEST

START_TEST(a_name_that_is_too_long_is_cut)
{
	struct vma_desc d = desc(10, 5, 0, 3, RW);
	struct mm_key key = key_of(1);

	ck_assert_int_eq(
		mm_update(mb.cache, &key, "0123456789abcdefgh", &d, 1, NULL),
		0);
	ck_assert_str_eq(info_at(1, 10).comm, "0123456789abcde");
	ck_assert_int_eq(mm_update(mb.cache, &key, "exec", &d, 1, NULL), 0);
	ck_assert_str_eq(info_at(1, 10).comm, "exec");
}
END_TEST

START_TEST(more_mappings_than_there_is_room_for_are_refused)
{
	static struct vma_desc d[8192];
	struct mm_key key = key_of(1);

	for (u32 i = 0; i < ARRAY_SIZE(d); i++)
		d[i] = desc(2 * i, 1, 0, 0, RW);
	(void)update(1, d, 10);
	ck_assert_int_eq(mm_update(mb.cache, &key, "x", d, ARRAY_SIZE(d), NULL),
			 -ENOSPC);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_vmas, 10);
	ck_assert_uint_eq(counters().mm_overflow, 1);
	(void)update(1, d + 5, 8);
}
END_TEST

START_TEST(mappings_are_charged_while_they_are_known)
{
	struct vma_desc d[] = {desc(10, 5, 0, 3, RW), desc(20, 5, 1, 0, RW)};
	u64 before = gauges().page_table_bytes;

	(void)update(1, d, 2);
	ck_assert_uint_gt(gauges().page_table_bytes,
			  before + 2 * sizeof(struct vma));
	quit(1);
	ck_assert_uint_eq(gauges().page_table_bytes, before);
}
END_TEST

/* ---- counters of what changes its shape ---- */

/* Three minor faults (the first is major) in [@pgoff, +3). */
static void fault_some(u32 pid, u64 pgoff)
{
	for (u64 i = 0; i < 3; i++)
		ck_assert(fault(pid, 0, pgoff + i));
}

START_TEST(faults_stay_with_what_is_split_grown_merged_and_moved)
{
	struct vma_desc whole = desc(100, 30, 0, 50, RW);
	struct vma_desc split[] = {
		desc(100, 10, 0, 50, RW),
		desc(110, 10, 0, 60, VM_READ | VM_SHARED),
		desc(120, 10, 0, 70, RW),
	};
	struct vma_desc moved = desc(500, 12, 0, 50, RW);
	struct vma_desc grown = desc(500, 40, 0, 50, RW);

	(void)update(1, &whole, 1);
	fault_some(1, 50);
	(void)update(1, split, 3);
	ck_assert_uint_eq(info_at(1, 100).majflt, 3);
	ck_assert_uint_eq(info_at(1, 110).majflt, 0);

	fault_some(1, 60);
	(void)update(1, &whole, 1);
	ck_assert_uint_eq(info_at(1, 100).majflt, 6);

	/* shrunk at its start: the lowest that is left has them */
	(void)update(1, split + 1, 2);
	ck_assert_uint_eq(info_at(1, 110).majflt, 6);
	(void)update(1, &whole, 1);

	(void)update(1, &moved, 1);
	ck_assert_uint_eq(info_at(1, 500).majflt, 6);
	(void)update(1, &grown, 1);
	ck_assert_uint_eq(info_at(1, 500).majflt, 6);

	/* another file over it, at the same place */
	grown.as = &files[1].as;
	(void)update(1, &grown, 1);
	ck_assert_uint_eq(info_at(1, 500).majflt, 0);
	/* and shared is not private */
	(void)update(1, &whole, 1);
	fault_some(1, 50);
	whole.flags &= ~(u32)VM_SHARED;
	(void)update(1, &whole, 1);
	ck_assert_uint_eq(info_at(1, 100).minflt, 0);
}
END_TEST

START_TEST(hints_stay_until_smaps_says_otherwise)
{
	struct vma_desc d = desc(100, 30, 0, 50, RW | VM_RAND_READ);
	struct vma_desc parts[] = {
		desc(100, 10, 0, 50, RW),
		desc(110, 20, 0, 60, VM_READ | VM_SHARED),
	};
	struct mm_key key = key_of(1);

	d.nr_private = 4;
	(void)update(1, &d, 1);
	d.hints = parts[0].hints = parts[1].hints = false;
	d.flags = RW;
	ck_assert_uint_eq(update(1, &d, 1).nr_same, 1);
	(void)update(1, parts, 2);
	ck_assert_uint_eq(info_at(1, 100).flags, RW | VM_RAND_READ);
	ck_assert_uint_eq(info_at(1, 110).flags,
			  VM_READ | VM_SHARED | VM_RAND_READ);
	ck_assert_uint_eq(info_at(1, 100).nr_private, 4);

	parts[1].flags |= VM_SEQ_READ;
	parts[1].nr_private = 7;
	ck_assert_int_eq(mm_update_hints(mb.cache, &key, &parts[1], 1), 1);
	ck_assert_uint_eq(info_at(1, 110).flags,
			  VM_READ | VM_SHARED | VM_SEQ_READ);
	ck_assert_uint_eq(info_at(1, 110).nr_private, 7);
	ck_assert_uint_eq(info_at(1, 100).flags, RW | VM_RAND_READ);
	/* what is not there any more as it was seen */
	ck_assert_int_eq(mm_update_hints(mb.cache, &key, &d, 1), 0);
	mem_check(&mb);
}
END_TEST

/* ---- lives ---- */

START_TEST(a_file_that_goes_takes_stale_mappings_with_it)
{
	struct memfile mf;
	struct vma_desc d[] = {desc(10, 5, 0, 3, RW), desc(20, 5, 1, 0, RW)};

	memfile_init(&mf, &mb, 77, FILE_PAGES);
	d[1].as = &mf.as;
	d[1].file = &mf.f;
	(void)update(1, d, 2);
	memfile_done(&mf);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_vmas, 1);
	ck_assert_uint_eq(update(1, d, 1).nr_same, 1);
}
END_TEST

START_TEST(a_mapping_outlives_the_open_file_it_came_through)
{
	struct vma_desc d = desc(10, 5, 0, 3, RW);
	struct file f;

	file_init(&f, &files[0].as);
	d.file = &f;
	(void)update(1, &d, 1);
	ck_assert_uint_eq(f.nr_vmas, 1);
	ck_assert(info_at(1, 10).file_known);
	ck_assert(fault(1, 0, 3) && fault(1, 0, 3));
	ck_assert_uint_eq(f.majflt, 1);
	ck_assert_uint_eq(f.minflt, 1);

	file_done(&f);
	mem_check(&mb);
	ck_assert(!info_at(1, 10).file_known);
	ck_assert_uint_eq(info_at(1, 10).majflt, 1);
	ck_assert(fault(1, 0, 3));
}
END_TEST

/* ---- faults ---- */

START_TEST(each_fault_is_counted_once_everywhere)
{
	struct vma_desc d[] = {desc(10, 20, 0, 0, RW), desc(40, 20, 1, 0, RW)};
	struct address_space_stat st;
	struct read_fault f;

	(void)update(1, d, 2);
	(void)update(2, d, 1);
	ck_assert(fault(1, 0, 5));  /* major, volume */
	ck_assert(fault(2, 0, 5));  /* minor */
	ck_assert(!fault(3, 0, 5)); /* nobody known */
	ck_assert(!fault(2, 1, 5)); /* does not map that */
	ck_assert(!fault(1, 0, 30));
	f = read_pages(0, 30, 1);
	mm_account_fill(&files[0].as, &f);
	f = read_pages(0, 31, 2);
	ck_assert_uint_eq(f.nr_volume, 2);
	mm_account_fill(&files[0].as, &f);

	ck_assert_uint_eq(counters().pgfault, 2);
	ck_assert_uint_eq(counters().pgmajfault, 1);
	ck_assert_uint_eq(counters().pgmajfault_swap, 0);
	ck_assert_uint_eq(counters().pgfill, 2);
	ck_assert_uint_eq(counters().pgmajfill, 1);
	address_space_stat(&files[0].as, &st);
	ck_assert_uint_eq(st.minflt, 1);
	ck_assert_uint_eq(st.majflt, 1);
	ck_assert_uint_eq(st.nr_fills, 2);
	ck_assert_uint_eq(st.nr_vmas, 2);
	ck_assert_uint_eq(info_at(1, 10).majflt, 1);
	ck_assert_uint_eq(info_at(1, 10).minflt, 0);
	ck_assert_uint_eq(info_at(2, 10).minflt, 1);
}
END_TEST

START_TEST(a_page_that_was_swapped_out_is_a_major_fault_from_swap)
{
	struct vma_desc d = desc(10, 20, 0, 0, RW);
	struct read_fault f;

	(void)update(1, &d, 1);
	ck_assert_int_gt(
		cache_write(&files[0].f, 0, page_buf, PAGE_SIZE, 0, NULL, NULL),
		0);
	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_swappiness, 200), 0);
	read_through(1, 0, 200);
	ck_assert_uint_eq(gauges().nr_swapped, 1);
	f = read_pages(0, 0, 1);
	ck_assert_uint_eq(f.nr_slot, 1);
	ck_assert_uint_eq(f.nr_volume, 0);
	ck_assert(mm_account_fault(&files[0].as, 1, &f));
	ck_assert_uint_eq(counters().pgmajfault_swap, 1);
	ck_assert_uint_eq(counters().pgmajfault, 1);
}
END_TEST

/* ---- what is made of it ---- */

START_TEST(mapped_pages_are_counted_as_they_come_and_go)
{
	struct vma_desc d = desc(10, 20, 0, 0, RW);
	struct vma_desc part = desc(10, 5, 0, 2, RW);

	(void)read_pages(0, 0, 4);
	(void)update(1, &d, 1);
	ck_assert_uint_eq(gauges().nr_mapped, 4);
	(void)read_pages(0, 4, 4);
	ck_assert_uint_eq(gauges().nr_mapped, 8);
	(void)update(2, &part, 1);
	ck_assert_uint_eq(gauges().nr_mapped, 8);
	quit(1);
	ck_assert_uint_eq(gauges().nr_mapped, 5);
	ck_assert_int_eq(cache_truncate(&files[0].as, 4 * PAGE_SIZE, NULL), 0);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_mapped, 2);
	(void)cache_drop(mb.cache, NULL);
	ck_assert_uint_eq(gauges().nr_mapped, 0);
}
END_TEST

START_TEST(mlocked_pages_stay_until_the_last_lock_is_gone)
{
	struct vma_desc d = desc(10, 10, 0, 0, RW | VM_LOCKED);
	struct mm_key key = key_of(1);

	(void)update(1, &d, 1);
	(void)read_pages(0, 0, 5); /* mlocked as they come */
	(void)update(2, &d, 1);
	(void)read_pages(0, 5, 5);
	read_through(1, 0, 500);
	mem_check(&mb);
	for (u64 i = 0; i < 10; i++)
		ck_assert(is_resident(0, i));
	ck_assert_uint_eq(gauges().nr_unevictable, 10);
	ck_assert_uint_eq(gauges().nr_mlock, 10);
	ck_assert_uint_eq(cache_drop(mb.cache, &files[0].as), 0);

	quit(2);
	ck_assert_uint_eq(gauges().nr_unevictable, 10);
	d.flags = RW;
	ck_assert_int_eq(mm_update_hints(mb.cache, &key, &d, 1), 1);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_unevictable, 0);
	read_through(1, 500, 500);
	for (u64 i = 0; i < 10; i++)
		ck_assert(!is_resident(0, i));
}
END_TEST

START_TEST(who_locks_more_than_there_is_leaves_a_quarter_to_others)
{
	struct vma_desc d = desc(10, 200, 0, 0, RW | VM_LOCKED);

	read_through(0, 0, 200);
	(void)update(1, &d, 1);
	read_through(0, 0, 200);
	mem_check(&mb);
	ck_assert_uint_gt(gauges().nr_mlock, 32);
	ck_assert_uint_le(gauges().nr_mlock, 48);
	read_through(1, 0, 100);
	ck_assert_uint_eq(counters().bounce_read, 0);
	for (u64 i = 0; i < 100; i++)
		ck_assert_int_eq(cache_write(&files[2].f, i << PAGE_SHIFT,
					     page_buf, PAGE_SIZE, 0, NULL,
					     NULL),
				 PAGE_SIZE);
	mem_check(&mb);
}
END_TEST

START_TEST(a_smaller_budget_is_kept_with_everything_mlocked)
{
	struct vma_desc d = desc(10, 1000, 0, 0, RW | VM_LOCKED);
	struct cache_gauges g;

	(void)update(1, &d, 1);
	read_through(0, 0, 1000);
	ck_assert_uint_eq(gauges().nr_mlock, 1000);
	ck_assert_int_eq(
		cache_set_knob(mb.cache, KNOB_cache_size, 128 * PAGE_SIZE), 0);
	mem_check(&mb);
	g = gauges();
	ck_assert_uint_le(g.nr_file_pages, g.nr_frames);
	ck_assert_uint_le(g.nr_mlock, 96);
	ck_assert_uint_gt(g.nr_mlock, 0);
}
END_TEST

START_TEST(a_pinned_file_stays_so_whatever_is_locked_in_it)
{
	struct vma_desc d = desc(10, 10, 0, 0, RW | VM_LOCKED);

	(void)read_pages(0, 0, 8);
	address_space_pin(&files[0].as, true);
	(void)update(1, &d, 1);
	address_space_pin(&files[0].as, false);
	mem_check(&mb);
	ck_assert_uint_eq(gauges().nr_unevictable, 8);
	address_space_pin(&files[0].as, true);
	quit(1);
	ck_assert_uint_eq(gauges().nr_unevictable, 8);
	address_space_pin(&files[0].as, false);
	ck_assert_uint_eq(gauges().nr_unevictable, 0);
}
END_TEST

/* Pages that are read through until page 0 of @file is gone. */
static u64 life(u32 file)
{
	u64 n = 0;

	while (is_resident(file, 0) && n < 900)
		read_through(1, n++, 1);
	(void)cache_drop(mb.cache, NULL);
	return n;
}

START_TEST(a_mapped_page_that_is_faulted_lives_longer_but_not_for_ever)
{
	struct vma_desc d = desc(10, 10, 0, 0, RW);
	u64 plain, idle, faulted;

	(void)read_pages(0, 0, 1);
	plain = life(0);
	(void)update(1, &d, 1);
	(void)read_pages(0, 0, 1); /* mapped, but by nobody who uses it */
	idle = life(0);
	ck_assert(fault(1, 0, 0));
	faulted = life(0);
	ck_assert_uint_eq(idle, plain);
	ck_assert_uint_gt(faulted, plain);
	ck_assert_uint_lt(faulted, 900);
	ck_assert_uint_eq(counters().rmap_referenced, 1);
}
END_TEST

START_TEST(with_everything_mapped_and_faulted_there_are_frames_all_the_same)
{
	struct vma_desc d = desc(10, FILE_PAGES, 0, 0, RW);

	(void)update(1, &d, 1);
	for (u64 i = 0; i < FILE_PAGES; i++)
		ck_assert(fault(1, 0, i));
	ck_assert_uint_eq(counters().bounce_read, 0);
	ck_assert_uint_eq(counters().pgmajfault, FILE_PAGES);
	ck_assert_uint_gt(counters().rmap_referenced, 0);
	mem_check(&mb);
}
END_TEST

START_TEST(what_was_faulted_long_ago_is_spared_no_more)
{
	struct vma_desc d = desc(10, 10, 0, 0, RW);
	u64 plain, again;

	(void)update(1, &d, 1);
	ck_assert(fault(1, 0, 0));
	(void)life(0);
	read_through(1, 0, 200);
	(void)cache_drop(mb.cache, NULL);
	(void)read_pages(2, 0, 1);
	plain = life(2);
	(void)read_pages(0, 0, 1);
	again = life(0);
	ck_assert_uint_eq(again, plain);
}
END_TEST

/* The longest read of the volume while 100 pages are read in sequence. */
static u64 longest_read(void)
{
	u64 longest = 0;

	files[0].f.ra_mode = 0;
	files[0].f.ra_size = 0;
	files[0].f.ra_prev = UINT64_MAX;
	(void)cache_drop(mb.cache, NULL);
	for (u64 i = 0; i < 100; i++) {
		u64 before = mb.pages[MEM_READ_PAGES];

		(void)read_pages(0, i, 1);
		longest = max(longest, mb.pages[MEM_READ_PAGES] - before);
	}
	return longest;
}

START_TEST(readahead_follows_the_advice_of_who_maps)
{
	struct vma_desc d = desc(10, 100, 0, 0, RW);

	ck_assert_int_eq(cache_set_knob(mb.cache, KNOB_readahead_kb, 64), 0);
	ck_assert_uint_eq(longest_read(), 16);
	d.flags = RW | VM_RAND_READ;
	(void)update(1, &d, 1);
	ck_assert_uint_eq(longest_read(), 1);
	d.flags = RW | VM_SEQ_READ;
	(void)update(1, &d, 1);
	ck_assert_uint_eq(longest_read(), 32);
	/* two who do not agree */
	d.flags = RW | VM_RAND_READ;
	(void)update(2, &d, 1);
	ck_assert_uint_eq(longest_read(), 16);
	quit(1);
	quit(2);
	ck_assert_uint_eq(longest_read(), 16);
}
END_TEST

static struct {
	u64 first, last, nr;
	void *arg;
} cut;

static void note_cut(struct address_space *as, u64 first, u64 last, u64 nr,
		     void *arg)
{
	cut.first = first;
	cut.last = last;
	cut.nr = nr;
	cut.arg = arg;
}

START_TEST(truncation_says_whose_mappings_it_cuts)
{
	struct vma_desc d[] = {desc(10, 10, 0, 0, RW), desc(30, 10, 0, 20, RW),
			       desc(50, 10, 0, 1500, RW)};
	struct address_space_operations ops = *files[0].as.ops;
	struct address_space_stat st;
	const struct address_space_operations *old = files[0].as.ops;

	ops.mappings_cut = note_cut;
	files[0].as.ops = &ops;
	(void)update(1, d, 3);
	(void)update(2, d, 1);
	ck_assert_int_eq(cache_truncate(&files[0].as, 30 * PAGE_SIZE, &st), 0);
	ck_assert_uint_eq(cut.nr, 0);
	ck_assert_int_eq(cache_truncate(&files[0].as, 29 * PAGE_SIZE + 1, &st),
			 0);
	ck_assert_uint_eq(cut.nr, 0); /* the page is still there */
	ck_assert_int_eq(cache_truncate(&files[0].as, 5 * PAGE_SIZE, &st), 0);
	ck_assert_uint_eq(cut.nr, 3);
	ck_assert_uint_eq(cut.first, 5);
	ck_assert_uint_eq(cut.last, 29);
	ck_assert_ptr_eq(cut.arg, &st);
	ck_assert_int_eq(cache_truncate(&files[0].as, 6 * PAGE_SIZE, NULL), 0);
	ck_assert_uint_eq(counters().truncate_cut_vmas, 3);
	address_space_stat(&files[0].as, &st);
	ck_assert_uint_eq(st.nr_cut_vmas, 3);
	files[0].as.ops = old;
}
END_TEST

START_TEST(a_snapshot_of_a_range_is_cut_down_to_it)
{
	struct vma_desc d = desc(10, 20, 0, 5, RW);
	struct vma_info info[2];

	(void)update(1, &d, 1);
	(void)update(2, &d, 1);
	ck_assert_uint_eq(rmap_snapshot(&files[0].as, 10, 11, info, 1), 2);
	ck_assert_uint_eq(info[0].start, 15 << PAGE_SHIFT);
	ck_assert_uint_eq(info[0].end, 17 << PAGE_SHIFT);
	ck_assert_uint_eq(info[0].pgoff, 10);
	ck_assert_uint_eq(rmap_snapshot(&files[0].as, 0, PGOFF_MAX, info, 2),
			  2);
	ck_assert_uint_eq(info[1].start, d.start);
	ck_assert_uint_eq(info[1].end, d.end);
	ck_assert_uint_eq(info[1].pgoff, 5);
	ck_assert_uint_eq(rmap_snapshot(&files[0].as, 0, 4, info, 2), 0);
	ck_assert_uint_eq(rmap_snapshot(&files[0].as, 25, 99, info, 2), 0);
}
END_TEST

/* ---- memory that fails ---- */

START_TEST(without_memory_an_update_is_not_done_at_all)
{
	struct vma_desc before[] = {desc(10, 20, 0, 5, RW)};
	struct vma_desc after[] = {
		desc(10, 5, 0, 5, RW),
		desc(20, 10, 0, 15, RW),
		desc(40, 10, 1, 0, RW | VM_LOCKED),
	};
	struct mm_key key = key_of(2);
	u64 bytes;
	bool failed;
	u64 n = 0;

	(void)update(2, before, 1);
	bytes = gauges().page_table_bytes;
	do {
		int err;

		test_fail_malloc(++n);
		err = mm_update(mb.cache, &key, "test", after, 3, NULL);
		failed = test_malloc_failed();
		ck_assert_int_eq(err, failed ? -ENOMEM : 0);
		mem_check(&mb);
		if (failed) {
			ck_assert_uint_eq(gauges().page_table_bytes, bytes);
			ck_assert_uint_eq(gauges().nr_vmas, 1);
			ck_assert_uint_eq(info_at(2, 10).end, before[0].end);
		}
	} while (failed);
	ck_assert_uint_eq(n, 4);
	ck_assert_uint_eq(gauges().nr_vmas, 3);

	key = key_of(3); /* which needs an mm as well */
	for (n = 1, failed = true; failed; n++) {
		int err;

		test_fail_malloc(n);
		err = mm_update(mb.cache, &key, "test", after, 3, NULL);
		failed = test_malloc_failed();
		ck_assert_int_eq(err, failed ? -ENOMEM : 0);
		mem_check(&mb);
		ck_assert_uint_eq(gauges().nr_mms, failed ? 1 : 2);
	}
	ck_assert_uint_eq(n - 1, 5);
}
END_TEST

START_TEST(without_memory_there_is_no_snapshot)
{
	struct vma_desc d = desc(10, 20, 0, 5, RW);
	struct vma_info *info = NULL;
	struct mm_info *mms = NULL;
	size_t nr;
	int err;

	(void)update(1, &d, 1);
	test_fail_malloc(1);
	err = mm_snapshot(mb.cache, NULL, &info, &nr);
	ck_assert(test_malloc_failed());
	ck_assert_int_eq(err, -ENOMEM);
	test_fail_malloc(1);
	err = mm_list(mb.cache, &mms, &nr);
	ck_assert(test_malloc_failed());
	ck_assert_int_eq(err, -ENOMEM);
	ck_assert(!info && !mms);
}
END_TEST

/* ---- the model: an array of pages for each process ---- */

#define NR_PROCS 6
#define SPACE 96 /* pages of an address space */
#define MODEL_PAGES 64

struct model_page {
	u32 file; /* 1 + number, 0: nothing */
	u32 flags;
	u64 pgoff;
};

struct model_proc {
	bool alive;
	u64 start_time;
	u64 majflt, minflt;
	struct model_page pages[SPACE];
};

struct model {
	struct rng rng;
	u64 clock;
	u64 pgfault;
	struct model_proc procs[NR_PROCS];
};

static u32 random_flags(struct model *m)
{
	static const u32 hints[] = {0, 0, VM_LOCKED, VM_RAND_READ, VM_SEQ_READ};
	u32 flags = VM_READ | hints[rng_below(&m->rng, ARRAY_SIZE(hints))];

	if (rng_one_in(&m->rng, 2))
		flags |= VM_WRITE;
	if (rng_one_in(&m->rng, 2))
		flags |= VM_SHARED;
	return flags;
}

static void model_map(struct model *m, struct model_page *pages, u32 nr)
{
	u32 file = (u32)rng_range(&m->rng, 1, NR_FILES);
	u64 pgoff = rng_below(&m->rng, MODEL_PAGES);
	u32 flags = random_flags(m);

	for (u32 i = 0; i < nr; i++)
		pages[i] = (struct model_page){file, flags, pgoff + i};
}

static void model_protect(struct model *m, struct model_page *pages, u32 nr)
{
	u32 flags = random_flags(m) & ~(u32)VM_SHARED;

	for (u32 i = 0; i < nr; i++)
		pages[i].flags = flags | (pages[i].flags & VM_SHARED);
}

static void model_move(struct model *m, struct model_proc *p, u32 first, u32 nr)
{
	struct model_page tmp[SPACE];
	u32 to = (u32)rng_below(&m->rng, SPACE - nr + 1);

	memcpy(tmp, &p->pages[first], nr * sizeof(*tmp));
	memset(&p->pages[first], 0, nr * sizeof(*tmp));
	memcpy(&p->pages[to], tmp, nr * sizeof(*tmp));
}

static void model_step(struct model *m, struct model_proc *p)
{
	u32 nr = (u32)rng_range(&m->rng, 1, 24);
	u32 first = (u32)rng_below(&m->rng, SPACE - nr + 1);

	switch (rng_below(&m->rng, 6)) {
	case 0:
	case 1:
		model_map(m, &p->pages[first], nr);
		break;
	case 2:
		memset(&p->pages[first], 0, nr * sizeof(p->pages[0]));
		break;
	case 3:
		model_protect(m, &p->pages[first], nr);
		break;
	case 4:
		model_move(m, p, first, nr);
		break;
	default:
		break; /* nothing has changed */
	}
}

static bool goes_on(const struct model_page *a, const struct model_page *b)
{
	return a->file == b->file && a->flags == b->flags &&
	       a->pgoff + 1 == b->pgoff;
}

/* What a scan of @p would show. */
static u32 model_descs(const struct model_proc *p, struct vma_desc *d)
{
	u32 nr = 0;

	for (u32 i = 0; i < SPACE; i++) {
		const struct model_page *pg = &p->pages[i];

		if (!pg->file)
			continue;
		if (i && goes_on(pg - 1, pg))
			d[nr - 1].end += PAGE_SIZE;
		else
			d[nr++] =
				desc(i, 1, pg->file - 1, pg->pgoff, pg->flags);
	}
	return nr;
}

static struct mm_key model_key(const struct model *m, u32 i)
{
	/* Two of them share a pid, one after the other. */
	return (struct mm_key){.pid = 100 + i,
			       .start_time = m->procs[i].start_time};
}

static void model_scan(struct model *m, u32 i)
{
	struct vma_desc d[SPACE];
	struct mm_key key = model_key(m, i);
	u32 nr = model_descs(&m->procs[i], d);

	expect(!mm_update(mb.cache, &key, "model", d, nr, NULL));
}

static void model_fork(struct model *m, u32 from, u32 to)
{
	struct model_proc *p = &m->procs[to];
	struct mm_key key = model_key(m, to);

	/* Sometimes nobody says that the old one has gone. */
	if (p->alive && rng_one_in(&m->rng, 2))
		(void)mm_exit(mb.cache, &key);
	*p = m->procs[from];
	p->alive = true;
	p->start_time = ++m->clock;
	p->majflt = p->minflt = 0;
}

static void model_exit(struct model *m, u32 i)
{
	struct model_proc *p = &m->procs[i];
	struct mm_key key = model_key(m, i);

	(void)mm_exit(mb.cache, &key);
	*p = (struct model_proc){.alive = true, .start_time = ++m->clock};
}

static bool model_maps(const struct model_proc *p, u32 file, u64 pgoff)
{
	for (u32 i = 0; i < SPACE; i++)
		if (p->pages[i].file == file + 1 && p->pages[i].pgoff == pgoff)
			return true;
	return false;
}

static void model_read(struct model *m, u32 i)
{
	struct model_proc *p = &m->procs[i];
	u32 file = (u32)rng_below(&m->rng, NR_FILES);
	u64 pgoff = rng_below(&m->rng, MODEL_PAGES + 24);
	struct read_fault f = read_pages(file, pgoff, 1);
	bool known = mm_account_fault(&files[file].as, 100 + i, &f);

	expect_eq(known, model_maps(p, file, pgoff));
	m->pgfault += known;
	p->majflt += known && (f.nr_volume || f.nr_slot);
	p->minflt += known && !f.nr_volume && !f.nr_slot;
}

static bool collect(const struct vma *v, void *arg)
{
	u64 *nr = arg;

	*nr += v->mm->key.pid;
	return true;
}

static void compare_rmap(struct model *m)
{
	u32 file = (u32)rng_below(&m->rng, NR_FILES);
	u64 first = rng_below(&m->rng, MODEL_PAGES + 24);
	u64 last = first + rng_below(&m->rng, 10);
	u64 want = 0, got = 0, nr = 0;

	for (u32 i = 0; i < NR_PROCS; i++) {
		struct vma_desc d[SPACE];
		u32 nr_descs = model_descs(&m->procs[i], d);

		for (u32 k = 0; k < nr_descs; k++) {
			u64 end = d[k].pgoff +
				  ((d[k].end - d[k].start) >> PAGE_SHIFT);

			if (d[k].as != &files[file].as || d[k].pgoff > last ||
			    end <= first)
				continue;
			want += 100 + i;
			nr++;
		}
	}
	expect_eq(rmap_walk(&files[file].as, first, last, collect, &got), nr);
	expect_eq(got, want);
}

/* Every process as the model has it, and no other. */
static void compare_all(struct model *m)
{
	struct vma_info *all;
	struct mm_info *mms;
	size_t nr, nr_mms, at = 0, known = 0;

	expect(!mm_snapshot(mb.cache, NULL, &all, &nr));
	expect(!mm_list(mb.cache, &mms, &nr_mms));
	for (u32 i = 0; i < NR_PROCS; i++) {
		struct vma_desc d[SPACE];
		u32 nr_descs = model_descs(&m->procs[i], d);

		for (u32 k = 0; k < nr_descs; k++, at++) {
			expect(at < nr);
			expect_eq(all[at].key.pid, 100 + i);
			expect_eq(all[at].key.start_time,
				  m->procs[i].start_time);
			expect_eq(all[at].start, d[k].start);
			expect_eq(all[at].end, d[k].end);
			expect_eq(all[at].pgoff, d[k].pgoff);
			expect_eq(all[at].ino, d[k].as->ino);
			expect_eq(all[at].flags, d[k].flags);
		}
		if (known < nr_mms && mms[known].key.pid == 100 + i) {
			expect_eq(mms[known].nr_vmas, nr_descs);
			expect_eq(mms[known].majflt, m->procs[i].majflt);
			expect_eq(mms[known].minflt, m->procs[i].minflt);
			known++;
		} else {
			expect_eq(nr_descs, 0);
		}
	}
	expect_eq(at, nr);
	expect_eq(known, nr_mms);
	expect_eq(counters().pgfault, m->pgfault);
	free(all);
	free(mms);
}

static void model_random(struct model *m)
{
	u32 i = (u32)rng_below(&m->rng, NR_PROCS);

	switch (rng_below(&m->rng, 20)) {
	case 0:
		model_fork(m, (u32)rng_below(&m->rng, NR_PROCS), i);
		model_scan(m, i);
		break;
	case 1:
		model_exit(m, i);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
		model_read(m, i);
		break;
	case 8:
		compare_rmap(m);
		break;
	default:
		/* A scan sees what several changes have made. */
		for (u64 k = rng_range(&m->rng, 1, 3); k; k--)
			model_step(m, &m->procs[i]);
		model_scan(m, i);
	}
}

START_TEST(random_mappings_are_as_in_the_model)
{
	static struct model m;
	u64 rounds = test_rounds(4000);

	rng_init(&m.rng, 1);
	for (u32 i = 0; i < NR_PROCS; i++)
		m.procs[i].start_time = ++m.clock;
	for (u64 n = 0; n < rounds; n++) {
		model_random(&m);
		compare_all(&m);
		mem_check(&mb);
	}
}
END_TEST

/* ---- threads: scans, exits and closes while files are read and cut ---- */

#define NR_TRACKERS 2
#define NR_READERS 2
#define PIDS 4 /* of each tracker */

struct actor {
	pthread_t thread;
	u32 id;
	u64 rounds;
	struct rng rng;
};

static bool actors_stop;

static bool acting(void)
{
	return !__atomic_load_n(&actors_stop, __ATOMIC_ACQUIRE);
}

static u32 random_descs(struct rng *rng, struct vma_desc *d, u32 max)
{
	u32 nr = (u32)rng_below(rng, max + 1);
	u64 addr = 0;

	for (u32 i = 0; i < nr; i++) {
		u32 flags = rng_one_in(rng, 2) ? RW : VM_READ;
		u64 len = rng_range(rng, 1, 20);

		if (rng_one_in(rng, 8))
			flags |= VM_LOCKED;
		if (rng_one_in(rng, 4))
			flags |= VM_SEQ_READ;
		addr += rng_below(rng, 3);
		d[i] = desc(addr, len, (u32)rng_below(rng, NR_FILES),
			    rng_below(rng, 64), flags);
		d[i].hints = rng_one_in(rng, 2);
		addr += len;
	}
	return nr;
}

static void *tracker_main(void *arg)
{
	struct actor *a = arg;
	struct vma_desc d[8];

	for (u64 n = 0; n < a->rounds; n++) {
		struct mm_key key = key_of(1 + a->id * PIDS +
					   (u32)rng_below(&a->rng, PIDS));
		u32 nr = random_descs(&a->rng, d, ARRAY_SIZE(d));

		verify(!mm_update(mb.cache, &key, "thread", d, nr, NULL));
		verify(!mm_update(mb.cache, &key, "thread", d, nr, NULL));
		verify(mm_update_hints(mb.cache, &key, d, nr) == (long)nr);
		if (rng_one_in(&a->rng, 4))
			verify(nr == 0 || !mm_exit(mb.cache, &key));
	}
	return NULL;
}

static void *reader_main(void *arg)
{
	struct actor *a = arg;
	u8 *bounce = aligned_alloc(PAGE_SIZE, CACHE_READ_MAX_PAGES * PAGE_SIZE);
	struct vma_info info[4];

	verify(bounce);
	while (acting()) {
		struct cache_read rd = {.bounce = bounce};
		u32 i = (u32)rng_below(&a->rng, NR_FILES);
		u64 pgoff = rng_below(&a->rng, 200);
		u32 pid = 1 + (u32)rng_below(&a->rng, NR_TRACKERS * PIDS);

		verify(cache_read(&files[i].f, pgoff << PAGE_SHIFT,
				  rng_range(&a->rng, 1, 8) << PAGE_SHIFT,
				  &rd) >= 0);
		cache_read_done(mb.cache, &rd);
		if (!mm_account_fault(&files[i].as, pid, &rd.fault))
			mm_account_fill(&files[i].as, &rd.fault);
		(void)rmap_snapshot(&files[i].as, pgoff, pgoff + 10, info,
				    ARRAY_SIZE(info));
	}
	free(bounce);
	return NULL;
}

static void *looker_main(void *arg)
{
	struct actor *a = arg;

	while (acting()) {
		struct vma_info *all;
		struct mm_info *mms;
		size_t nr;

		verify(!mm_snapshot(mb.cache, NULL, &all, &nr));
		for (size_t i = 1; i < nr; i++)
			verify(all[i - 1].key.pid < all[i].key.pid ||
			       all[i - 1].end <= all[i].start);
		verify(!mm_list(mb.cache, &mms, &nr));
		free(all);
		free(mms);
		(void)gauges();
		if (rng_one_in(&a->rng, 16))
			(void)cache_drop(mb.cache, NULL);
	}
	return NULL;
}

static void *cutter_main(void *arg)
{
	struct actor *a = arg;

	while (acting())
		verify(!cache_truncate(&files[2].as,
				       rng_below(&a->rng, 200) << PAGE_SHIFT,
				       NULL));
	return NULL;
}

/* Files that go while the processes that mapped them are still known. */
static void *closer_main(void *arg)
{
	struct actor *a = arg;

	while (acting()) {
		struct mm_key key = key_of(500 + (u32)rng_below(&a->rng, 3));
		struct vma_desc d[] = {desc(0, 8, 0, 0, RW),
				       desc(8, 8, 1, 0, RW | VM_LOCKED)};
		struct memfile mf;

		memfile_init(&mf, &mb, 99, 64);
		verify(!cache_truncate(&mf.as, 64 << PAGE_SHIFT, NULL));
		d[1].as = &mf.as;
		d[1].file = &mf.f;
		verify(!mm_update(mb.cache, &key, "closer", d, 2, NULL));
		(void)cache_write(&mf.f, 0, page_buf, PAGE_SIZE, 0, NULL, NULL);
		memfile_done(&mf);
		if (rng_one_in(&a->rng, 3))
			verify(!mm_exit(mb.cache, &key));
	}
	return NULL;
}

static void act(struct actor *a, u32 id, void *(*fn)(void *), u64 rounds)
{
	*a = (struct actor){.id = id, .rounds = rounds};
	rng_init(&a->rng, 100 + id);
	verify(!pthread_create(&a->thread, NULL, fn, a));
}

/* ---- a process ends, and with it the last open file: both are told ---- */

static u32 ends_told, ends_done; /* atomic: rounds */

static void *ender_main(void *arg)
{
	struct actor *a = arg;
	struct mm_key key = key_of(700);

	for (u32 n = 1; n <= a->rounds; n++) {
		while (__atomic_load_n(&ends_told, __ATOMIC_ACQUIRE) < n)
			(void)sched_yield();
		verify(!mm_exit(mb.cache, &key));
		__atomic_store_n(&ends_done, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void let_end(u32 round, struct rng *rng)
{
	struct memfile *mf = calloc(1, sizeof(*mf));
	struct vma_desc d = desc(0, 8, 0, 0, RW);
	struct mm_key key = key_of(700);

	verify(mf);
	memfile_init(mf, &mb, 99, 64);
	d.as = &mf->as;
	d.file = &mf->f;
	verify(!mm_update(mb.cache, &key, "ends", &d, 1, NULL));
	__atomic_store_n(&ends_told, round, __ATOMIC_RELEASE);
	for (u64 n = rng_below(rng, 30000); n; n--)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memfile_done(mf);
	memset(mf, 0xaa, sizeof(*mf));
	free(mf);
	while (__atomic_load_n(&ends_done, __ATOMIC_ACQUIRE) < round)
		(void)sched_yield();
}

START_TEST(a_process_ends_while_its_last_file_is_closed)
{
	const u32 rounds = (u32)test_rounds(3000);
	struct actor ender;
	struct rng rng;

	rng_init(&rng, 1);
	act(&ender, 30, ender_main, rounds);
	for (u32 n = 1; n <= rounds; n++)
		let_end(n, &rng);
	verify(!pthread_join(ender.thread, NULL));
	ck_assert_uint_eq(gauges().nr_vmas, 0);
}
END_TEST

START_TEST(scans_run_while_files_are_read_cut_and_closed)
{
	struct actor trackers[NR_TRACKERS], others[NR_READERS + 3];
	u32 n = 0;

	for (u32 i = 0; i < NR_FILES; i++)
		files[i].f.ra_mode = 0;
	ck_assert_int_eq(cache_start(mb.cache), 0);
	for (; n < NR_READERS; n++)
		act(&others[n], 10 + n, reader_main, 0);
	act(&others[n++], 20, looker_main, 0);
	act(&others[n++], 21, cutter_main, 0);
	act(&others[n++], 22, closer_main, 0);
	for (u32 i = 0; i < NR_TRACKERS; i++)
		act(&trackers[i], i, tracker_main, test_rounds(400));

	for (u32 i = 0; i < NR_TRACKERS; i++)
		(void)pthread_join(trackers[i].thread, NULL);
	__atomic_store_n(&actors_stop, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < n; i++)
		(void)pthread_join(others[i].thread, NULL);
	cache_stop(mb.cache);
	mem_check(&mb);
	ck_assert_uint_gt(counters().pgfill, 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("vma", &tc);
	TCase *model = tcase_create("model, 128 pages");
	TCase *threads = tcase_create("threads, 128 pages");
	TCase *large = tcase_create("4096 pages");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_a_scan_shows_is_what_is_known);
	tcase_add_test(tc, what_is_unchanged_keeps_its_identity);
	tcase_add_test(tc, a_pid_that_is_used_again_is_another_process);
	tcase_add_test(tc, bad_descriptions_change_nothing);
	tcase_add_test(tc, a_name_that_is_too_long_is_cut);
	tcase_add_test(tc, more_mappings_than_there_is_room_for_are_refused);
	tcase_add_test(tc, mappings_are_charged_while_they_are_known);
	tcase_add_test(tc,
		       faults_stay_with_what_is_split_grown_merged_and_moved);
	tcase_add_test(tc, hints_stay_until_smaps_says_otherwise);
	tcase_add_test(tc, a_file_that_goes_takes_stale_mappings_with_it);
	tcase_add_test(tc, a_mapping_outlives_the_open_file_it_came_through);
	tcase_add_test(tc, each_fault_is_counted_once_everywhere);
	tcase_add_test(tc,
		       a_page_that_was_swapped_out_is_a_major_fault_from_swap);
	tcase_add_test(tc, mapped_pages_are_counted_as_they_come_and_go);
	tcase_add_test(tc, mlocked_pages_stay_until_the_last_lock_is_gone);
	tcase_add_test(tc,
		       who_locks_more_than_there_is_leaves_a_quarter_to_others);
	tcase_add_test(tc, a_pinned_file_stays_so_whatever_is_locked_in_it);
	tcase_add_test(
		tc,
		a_mapped_page_that_is_faulted_lives_longer_but_not_for_ever);
	tcase_add_test(
		tc,
		with_everything_mapped_and_faulted_there_are_frames_all_the_same);
	tcase_add_test(tc, what_was_faulted_long_ago_is_spared_no_more);
	tcase_add_test(tc, truncation_says_whose_mappings_it_cuts);
	tcase_add_test(tc, a_snapshot_of_a_range_is_cut_down_to_it);
	tcase_add_test(tc, without_memory_an_update_is_not_done_at_all);
	tcase_add_test(tc, without_memory_there_is_no_snapshot);

	tcase_add_checked_fixture(model, setup_model, teardown);
	tcase_set_timeout(model, 120);
	tcase_add_test(model, random_mappings_are_as_in_the_model);
	suite_add_tcase(s, model);

	tcase_add_checked_fixture(threads, setup_model, teardown);
	tcase_set_timeout(threads, 120);
	tcase_add_test(threads, scans_run_while_files_are_read_cut_and_closed);
	tcase_add_test(threads, a_process_ends_while_its_last_file_is_closed);
	suite_add_tcase(s, threads);

	tcase_add_checked_fixture(large, setup_large, teardown);
	tcase_add_test(large, a_smaller_budget_is_kept_with_everything_mlocked);
	tcase_add_test(large, readahead_follows_the_advice_of_who_maps);
	suite_add_tcase(s, large);
	return s;
}

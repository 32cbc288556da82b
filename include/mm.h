/* SPDX-License-Identifier: MIT */
/*
 * Mapped regions: who maps which pages of which file, and where.
 *
 * A struct mm is a process, known by pid and start time: pids are used again.
 * Its struct vmas are the parts of its address space that map files of the
 * cache, in a red-black tree by address. Each of them also stands in the
 * interval tree of its address_space, by page (as->i_mmap: the reverse map,
 * from a page to whoever maps it), and on the list of the open file it came
 * through, where that is known.
 *
 *      struct cache                     struct address_space
 *        mms: by pid                      i_mmap: by pgoff
 *         |                                |
 *      struct mm -- vmas: by address --> struct vma <-- vmas: list -- struct
 *                                                                      file
 *
 * The cache cannot see a process. One who can (the tracker) tells it:
 *
 *	mm_update(cache, &key, comm, descs, nr, NULL);	 after each scan
 *	mm_update_hints(cache, &key, descs, nr);	 after each scan of
 *smaps mm_exit(cache, &key);
 *
 * and whoever answers reads says which were faults:
 *
 *	if (!mm_account_fault(as, pid, &rd.fault))
 *		mm_account_fill(as, &rd.fault);
 *
 * What it is good for: reclaim spares what is mapped and was faulted lately,
 * and leaves alone what is mlocked; readahead follows madvise(); truncation
 * says whom it cuts; the copies that the kernel keeps of mapped pages can be
 * taken back from those who hold them (rmap_snapshot()).
 *
 * What is known is as old as the last scan: a mapping may be gone, or not be
 * known yet. Nothing here is needed for content to be right.
 *
 * Threads and locks: everything may be called from any thread with no lock of
 * LOCK_PAGE or a later rank held, unless it says otherwise. LOCK_MM guards the
 * tables. What hangs in an i_mmap changes under LOCK_MM and the file's
 * tree_lock both, so that either will do to look: request threads (reclaim,
 * readahead, new pages, faults) look under tree_lock, and so never wait for a
 * scan.
 * cache/vma.c has the rest of the argument.
 *
 * Errors: 0 or -errno. Units: addresses in bytes, pgoff and nr in pages.
 */
#ifndef FOLIO_MM_H
#define FOLIO_MM_H

#include "base.h"
#include "cache.h"
#include "interval_tree.h"
#include "list.h"
#include "rbtree.h"

/* Bits of vma.flags. */
enum vm_flags {
	VM_READ = 1 << 0,
	VM_WRITE = 1 << 1,
	VM_EXEC = 1 << 2,
	VM_SHARED = 1 << 3,    /* MAP_SHARED */
	VM_LOCKED = 1 << 4,    /* mlock(); lo in smaps */
	VM_RAND_READ = 1 << 5, /* MADV_RANDOM; rr */
	VM_SEQ_READ = 1 << 6,  /* MADV_SEQUENTIAL; sr */
};

/* What /proc/PID/maps does not tell, but smaps does. */
#define VM_HINTS (VM_LOCKED | VM_RAND_READ | VM_SEQ_READ)

#define TASK_COMM_LEN 16

struct mm_key {
	u32 pid;	/* of the process, never of a thread */
	u64 start_time; /* field 22 of /proc/PID/stat */
};

struct mm {
	struct mm_key key; /* constant */

	/* LOCK_MM */
	struct rb_node node;	  /* cache's table, by pid */
	struct rb_root vmas;	  /* by address */
	char comm[TASK_COMM_LEN]; /* ends with 0 */
	u64 nr_vmas;

	/* atomic */
	u64 minflt, majflt; /* as in mm_account_fault() */
};

struct vma {
	/* constant while it is in the trees */
	struct mm *mm;
	struct address_space *as;
	u64 start, end; /* addresses */

	/* LOCK_MM and tree_lock to change, either to look */
	struct interval_node rmap; /* as->i_mmap; start, last: pages */
	u32 flags;		   /* enum vm_flags */
	struct file *file;	   /* it came through; NULL: not known */

	u8 mark; /* of the update under way: LOCK_MM_UPDATE */

	/* LOCK_MM */
	struct rb_node node;   /* mm->vmas */
	struct list_head link; /* of file->vmas, or empty; of an update */
	u64 nr_private;	       /* pages that MAP_PRIVATE copied */

	/* atomic */
	u64 minflt, majflt;
	u64 fault_age; /* pages the cache had allocated at the last fault */
};

/* ---- telling ---- */

struct vma_desc {
	u64 start, end; /* multiples of PAGE_SIZE */
	u64 pgoff;
	struct address_space *as;
	struct file *file; /* NULL: not known */
	bool guess;	   /* what is known of a file counts more than @file */
	u32 flags;	   /* enum vm_flags */
	bool hints;	   /* VM_HINTS of flags and nr_private are known */
	u64 nr_private;
};

struct mm_change {
	u32 nr_same, nr_changed, nr_added, nr_removed;
};

/*
 * The process @key, called @comm, maps exactly descs[0..@nr), which ascend by
 * address and do not overlap: mappings of files of this cache alone. The caller
 * sees to it that the address_spaces and files named there stay during the
 * call. Another process with that pid is gone then.
 *
 * A mapping that is as it was (address, length, page, file) stays as it is: the
 * same struct vma. Others are new, but have the counters of those whose place
 * they take:
 *  - grown, shrunk, partly unmapped, re-protected: those of the old one;
 *  - merged: the sum of its parts that are gone;
 *  - split: all go to the lowest part that is left, none to the others;
 *  - moved (mremap): those of the old one, known by file and first page;
 *  - mapped over by something else: nothing is kept, only mm's counters.
 * Hints that a desc does not know are those of what was there (of a moved one
 * too); where several were merged, of the lowest. So is a file.
 *
 * @nr 0 of a process not known yet does nothing; of a known one leaves an mm
 * without vmas, which keeps its counters until mm_exit().
 *
 * *@ret (may be NULL) says how many are as they were, are as they were but for
 * flags, are new, are gone.
 *
 * Context: may sleep for locked pages, and so for the device: those that begin
 * or cease to be mlocked move between lists.
 * Return: 0; with nothing changed -EINVAL (descs), -ENOMEM, or -ENOSPC: more
 * mappings than an eighth of the budget has room for.
 */
int mm_update(struct cache *cache, const struct mm_key *key, const char *comm,
	      const struct vma_desc *descs, u32 nr, struct mm_change *ret);

/* Is there a mapping of the process that is known to have come through no open
 * file? Context: does not sleep. O(mappings). */
bool mm_lacks_file(struct cache *cache, const struct mm_key *key);

/*
 * Take hints and private pages alone from @descs, where a vma is at the same
 * addresses with the same file and page; others are left alone: a scan of smaps
 * takes long, and what it saw may have changed since.
 * Context: as mm_update(). Return: how many vmas were found.
 */
long mm_update_hints(struct cache *cache, const struct mm_key *key,
		     const struct vma_desc *descs, u32 nr);

/* The process is gone. Context: as mm_update(). Return: 0, -ESRCH. */
int mm_exit(struct cache *cache, const struct mm_key *key);

/* ---- faults ---- */

/*
 * A READ of the kernel, answered by cache_read() as @fault says, came from the
 * process @pid. If that is known to map a page of it, this was a fault: one,
 * however many pages the kernel asked for, and a major one if any of them had
 * to come from the volume or from a slot (from a slot is what it counts as if
 * both did). It is counted in the lowest vma by page that the process has
 * there, in that one's mm, address_space, open file, and in the cache.
 * Context: does not sleep, waits for no scan; O(log n + k) of who maps it.
 * Return: false: no mapping is known, nothing was counted.
 */
bool mm_account_fault(struct address_space *as, u32 pid,
		      const struct read_fault *fault);

/* It was none: the kernel filled its cache for something else. */
void mm_account_fill(struct address_space *as, const struct read_fault *fault);

/* From what the pages of an answer had to come. */
enum fault_kind {
	FAULT_MINOR,
	FAULT_VOLUME,
	FAULT_SLOT,
	NR_FAULT_KINDS,
};

/* READs of the same file that are counted later, all at once. */
struct fault_sum {
	u64 first, last; /* all were of pages in here */
	u64 nr[NR_FAULT_KINDS];
};

/* @fault has a page. */
static inline void fault_sum_init(struct fault_sum *sum,
				  const struct read_fault *fault)
{
	*sum = (struct fault_sum){
		.first = fault->pgoff,
		.last = fault->pgoff + fault->nr - 1,
	};
	if (fault->nr_slot)
		sum->nr[FAULT_SLOT] = 1;
	else if (fault->nr_volume)
		sum->nr[FAULT_VOLUME] = 1;
	else
		sum->nr[FAULT_MINOR] = 1;
}

static inline u64 fault_sum_reads(const struct fault_sum *sum)
{
	return sum->nr[FAULT_MINOR] + sum->nr[FAULT_VOLUME] +
	       sum->nr[FAULT_SLOT];
}

/* As mm_account_fault() and mm_account_fill() for each of them: all in one vma,
 * the lowest that @pid has there. */
bool mm_account_faults(struct address_space *as, u32 pid,
		       const struct fault_sum *sum);
void mm_account_fills(struct address_space *as, const struct fault_sum *sum);

/* ---- looking ---- */

/*
 * Call @fn for each vma that maps a page of [first, last], ascending by first
 * page, until it returns false. O(log n + k).
 * Context: @fn has LOCK_MM, shared, and may take later ones.
 * Return: how many times it was called.
 */
u64 rmap_walk(struct address_space *as, u64 first, u64 last,
	      bool (*fn)(const struct vma *vma, void *arg), void *arg);

/* A vma, copied out. */
struct vma_info {
	struct mm_key key;
	char comm[TASK_COMM_LEN];
	u64 ino; /* of the address_space */
	u64 start, end;
	u64 pgoff;
	u32 flags;
	bool file_known; /* it hangs on an open file */
	u64 file_id;	 /* that one's id */
	u64 nr_private, minflt, majflt;
};

/*
 * Copy out up to @max of the vmas that map a page of [first, last], each cut
 * down to the part of it that does, ascending by first page; for who needs to
 * hold nothing while he acts. By then they may be something else: compare the
 * start time.
 * Return: how many there are, which may be more than @max.
 */
size_t rmap_snapshot(struct address_space *as, u64 first, u64 last,
		     struct vma_info *ret, size_t max);

/* Copy out all vmas of all processes, or those of @as, whole, ascending by pid
 * and address. The caller frees *ret, which may be NULL when there are none.
 * Return: 0 or -ENOMEM. */
int mm_snapshot(struct cache *cache, struct address_space *as,
		struct vma_info **ret, size_t *ret_nr);

struct mm_info {
	struct mm_key key;
	char comm[TASK_COMM_LEN];
	u64 nr_vmas, minflt, majflt;
};

/* All processes, ascending by pid; as mm_snapshot(). */
int mm_list(struct cache *cache, struct mm_info **ret, size_t *ret_nr);

/* Some process maps a page of the file, as far as is known. Free of locks. */
static inline bool mapping_mapped(const struct address_space *as)
{
	return __atomic_load_n(&as->nr_vmas, __ATOMIC_RELAXED) != 0;
}

/* Abort unless everything about processes and their vmas holds. Context: no
 * call on the cache is under way. O(vmas log vmas + pages). */
void mm_check(struct cache *cache);

#endif

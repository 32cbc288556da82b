/* SPDX-License-Identifier: MIT */
/*
 * The filesystem without FUSE: inodes and names in memory over a volume and a
 * page cache, the operation list, and the committer.
 *
 * Namespace operations change objects in memory and append records to an
 * ordered list; the committer thread replays the list into SQLite. Look-ups
 * see the changed objects first (per folder: names with tombstones; changed
 * inodes), then the rows. Node ids are inode numbers, handles numbers of a
 * table: both mean the same in another process.
 *
 * Threads: any, as FUSE calls them. Nothing is held on return. Errors: 0 or
 * -errno. Functions that take a struct fs_done answer later: at most once, from
 * another thread or before they return; they never block for it.
 *
 * -ERESTART from a function that changes names or attributes: more is pending
 * than may be, and nothing has been done. fs_commit(), and when that is done
 * the same again. With fs_options.patient the functions wait for commits
 * themselves, a bounded time, and then say -ENOSPC: for callers that have a
 * thread to spare.
 */
#ifndef FOLIO_FS_H
#define FOLIO_FS_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base.h"
#include "cache.h"
#include "volume.h"

struct fs;
struct swap_file;

#define FS_ROOT_INO 1ull
#define FS_NAME_MAX 255
#define FS_LINK_MAX 65000
#define FS_SYMLINK_MAX 4095
#define FS_XATTR_MAX 65536

struct fs_options {
	u64 cache_size;	 /* bytes */
	u64 cache_max;	 /* up to where vm/cache_size may go */
	u32 commit_secs; /* 0: no timer */
	bool writeback;	 /* cache=writeback: the kernel owns size and times */
	bool readonly;
	bool patient; /* see -ERESTART below */
	bool atomic;  /* all files are, whatever their attribute says */
	/* fs_fsync() may make a small commit itself, and answer before it
	 * returns */
	bool commit_inline;
	unsigned atime; /* FS_ATIME_*, see fs_set_atime() */
	/* taken over as the volume is; NULL: slots are in the volume */
	struct swap_file *swap;
	u64 knobs[KNOB_NR]; /* UINT64_MAX: the default */
	/* one line for the log; level as syslog(3) */
	void (*log)(void *arg, int level, const char *line);
	void *log_arg;
};

/* Who creates. The kernel checks permissions (default_permissions). */
struct fs_cred {
	u32 uid, gid;
	u32 umask; /* for where no default ACL decides; 0: already applied */
};

/* Asynchronous answer. */
struct fs_done {
	void (*fn)(struct fs_done *done, int err);
};

/* Takes over @v (closed by fs_close(), also when fs_open() fails). */
int fs_open(struct volume *v, const struct fs_options *opt, struct fs **ret_fs);
/* Commits everything, stops threads, closes the volume. Handles still open
 * are released. Return: the error of the last commit. */
int fs_close(struct fs *fs);
struct cache *fs_cache(struct fs *fs);
struct volume *fs_volume(struct fs *fs);
struct swap_file *fs_swap_file(struct fs *fs); /* or NULL */
void fs_log(struct fs *fs, int level, const char *fmt, ...) __printf(3, 4);

/* Pages [pgoff, pgoff + nr) of @ino cannot be read. @by: who found
 * it, "" or "name: ". Context: may hold pages. */
void fs_log_bad_pages(struct fs *fs, const char *by, u64 ino, u64 pgoff,
		      u64 nr);

/* ---- names. Each success that fills @ret_st takes a look-up reference, to
 * be dropped by fs_forget(). Names are NUL-terminated, -ENAMETOOLONG past
 * FS_NAME_MAX. ---- */
/* "." is @parent itself, be it a folder or not; ".." a folder's parent. */
int fs_lookup(struct fs *fs, u64 parent, const char *name, struct stat *ret_st);
void fs_forget(struct fs *fs, u64 ino, u64 nlookup);
int fs_mknod(struct fs *fs, u64 parent, const char *name, u32 mode, u64 rdev,
	     const struct fs_cred *cred, struct stat *ret_st);
int fs_mkdir(struct fs *fs, u64 parent, const char *name, u32 mode,
	     const struct fs_cred *cred, struct stat *ret_st);
int fs_symlink(struct fs *fs, u64 parent, const char *name, const char *target,
	       const struct fs_cred *cred, struct stat *ret_st);
int fs_link(struct fs *fs, u64 ino, u64 parent, const char *name,
	    struct stat *ret_st);
int fs_unlink(struct fs *fs, u64 parent, const char *name);
int fs_rmdir(struct fs *fs, u64 parent, const char *name);
/* @flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. */
int fs_rename(struct fs *fs, u64 parent, const char *name, u64 newparent,
	      const char *newname, unsigned flags, const struct fs_cred *cred);
int fs_readlink(struct fs *fs, u64 ino, char *buf, size_t size);
/* A path of @ino from the root, for control files. */
int fs_path(struct fs *fs, u64 ino, char *buf, size_t size);

/* ---- attributes ---- */
int fs_getattr(struct fs *fs, u64 ino, struct stat *ret_st);
/* For whoever caches attributes. Has somebody the file open for writing, and so
 * maps it for writing? Has CACHE_WRITE_WRITEPAGE changed it in writeback mode
 * since this was asked last? */
bool fs_is_written(struct fs *fs, u64 ino);
bool fs_take_late(struct fs *fs, u64 ino);
/* @set: bits of enum fs_set. Truncation through here too; @fh 0: none. */
enum fs_set {
	FS_SET_MODE = 1 << 0,
	FS_SET_UID = 1 << 1,
	FS_SET_GID = 1 << 2,
	FS_SET_SIZE = 1 << 3,
	FS_SET_ATIME = 1 << 4,
	FS_SET_MTIME = 1 << 5,
	FS_SET_ATIME_NOW = 1 << 7,
	FS_SET_MTIME_NOW = 1 << 8,
	FS_SET_CTIME = 1 << 10,
	FS_SET_KILL_SUID = 1 << 11, /* with SIZE: set-id bits go */
};
int fs_setattr(struct fs *fs, u64 ino, u64 fh, const struct stat *attr,
	       unsigned set, struct stat *ret_st);
/*
 * For whoever caches attributes: let @fn know of inodes whose mode changed
 * without anybody asking for that, as set-id bits go when content changes. It
 * is called by the thread of that operation, before it returns, with no locks
 * held. Context: no operation is under way. @fn may be NULL.
 */
void fs_on_attr_change(struct fs *fs, void (*fn)(void *arg, u64 ino),
		       void *arg);
/*
 * How reading changes access times: as Linux has relatime (when the time is not
 * later than that of the last change, or a day old) unless bits say otherwise.
 * Times that are noted go with the next commit, whatever it is for, with one
 * of their own a minute later, or with FS_ATIME_LAZY a day.
 */
enum fs_atime {
	FS_ATIME_NONE = 1,   /* noatime */
	FS_ATIME_STRICT = 2, /* with each read */
	FS_ATIME_NODIR = 4,  /* not those of folders */
	FS_ATIME_LAZY = 8,
};
void fs_set_atime(struct fs *fs, unsigned policy);
int fs_statfs(struct fs *fs, struct statvfs *ret);
ssize_t fs_getxattr(struct fs *fs, u64 ino, const char *name, void *buf,
		    size_t size);
/* @trusted: the names of trusted. too, which are root's. */
ssize_t fs_listxattr(struct fs *fs, u64 ino, bool trusted, char *buf,
		     size_t size);
/* @flags: XATTR_CREATE, XATTR_REPLACE; with an access ACL, which sets the mode
 * as well: */
#define FS_XATTR_KILL_SGID (1 << 30) /* the set-gid bit goes */
int fs_setxattr(struct fs *fs, u64 ino, const char *name, const void *value,
		size_t size, int flags);
int fs_removexattr(struct fs *fs, u64 ino, const char *name);
/*
 * Of regular files and folders, "1" or "0", not listed: whether the file is
 * atomic, or what is made in the folder will be. An atomic file that somebody
 * has open for writing (who maps it for writing has) is committed only when
 * asked for: fs_fsync(), fs_sync(), a rename over an existing name and the
 * like. Removing it is setting it to "0". With fs_options.atomic it reads "1".
 */
#define FS_XATTR_ATOMIC "user.foliofs.atomic"
#define FS_XATTR_PIN "user.foliofs.pin"
#define FS_XATTR_READAHEAD "user.foliofs.readahead"
/* To be read only, and not by fs_getxattr(): what it says is of src/control.h.
 */
#define FS_XATTR_STAT "user.foliofs.stat"
/* Flags of FS_IOC_GETFLAGS that are kept: immutable, append-only, nodump. The
 * first two forbid changes, with -EPERM. Return of setting: -EOPNOTSUPP (other
 * flags, other files), -EPERM (neither root nor the owner; the first two are
 * root's). */
#define FS_FLAGS 0x70u
int fs_get_flags(struct fs *fs, u64 ino, u32 *ret_flags);
int fs_set_flags(struct fs *fs, u64 ino, u32 flags, const struct fs_cred *cred);
int fs_generation(struct fs *fs, u64 ino, u64 *ret_generation);
/* When it was made. */
int fs_btime(struct fs *fs, u64 ino, struct timespec *ret_btime);

/* ---- open files ---- */
/*
 * Beside the flags of fs_openf(), fs_write(), fs_fallocate() and
 * fs_copy_file_range(), in bits that those do not use: who changes the content
 * may not keep its set-id bits (has no CAP_FSETID), so they go.
 */
#define FS_KILL_SUIDGID (1 << 30)
/* Of fs_write(): the kernel, which sees to it elsewhere, has not looked whether
 * the file has capabilities. They go. */
#define FS_KILL_CAPABILITY (1 << 29)
/* @flags as open(2); O_TRUNC is honoured. -EAGAIN: see fs_take_begin().
 * @pid: who, for the tables. */
int fs_openf(struct fs *fs, u64 ino, int flags, pid_t pid, u64 *ret_fh);
int fs_create(struct fs *fs, u64 parent, const char *name, u32 mode, int flags,
	      const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	      u64 *ret_fh);
/* O_TMPFILE */
int fs_tmpfile(struct fs *fs, u64 parent, u32 mode, int flags,
	       const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	       u64 *ret_fh);
int fs_release(struct fs *fs, u64 fh);

/* See cache_read(); give the answer back with cache_read_done(). */
ssize_t fs_read(struct fs *fs, u64 fh, u64 pos, size_t len,
		struct cache_read *rd);
/*
 * @flags: CACHE_WRITE_*. *ret_pause_ns: delay the answer by so much. -ENOSPC
 * may be worth a commit and another try: *ret_retry (never for WRITEPAGE). The
 * volume may be full, or frames and swap by what others wrote meanwhile.
 */
ssize_t fs_write(struct fs *fs, u64 fh, u64 pos, const void *buf, size_t len,
		 unsigned flags, u64 *ret_pause_ns, bool *ret_retry);
/* Write-out of a file whose handle is unknown (writepage): by inode. */
ssize_t fs_write_ino(struct fs *fs, u64 ino, u64 pos, const void *buf,
		     size_t len, unsigned flags);
int fs_flush(struct fs *fs, u64 fh);
/* @mode: FALLOC_FL_*. */
int fs_fallocate(struct fs *fs, u64 fh, int mode, u64 pos, u64 len);

/* The kernel is about to have what lies at [@pos, @pos + @len) in its cache: a
 * program that can write to the file may store to it, mapped, and nobody hears
 * of it yet. */
void fs_note_filled(struct fs *fs, u64 fh, u64 pos, u64 len);

/*
 * SEEK_DATA, SEEK_HOLE. While the file is open for writing, pages that the
 * kernel was given may have been stored to and so are data; see src/unseen.h.
 */
s64 fs_lseek(struct fs *fs, u64 fh, u64 pos, int whence);
/* @flags: FS_KILL_SUIDGID or 0. */
ssize_t fs_copy_file_range(struct fs *fs, u64 fh_in, u64 pos_in, u64 fh_out,
			   u64 pos_out, size_t len, unsigned flags);

/* ---- folders ---- */
/* @flags as open(2): of them O_NOATIME matters. */
int fs_opendir(struct fs *fs, u64 ino, int flags, u64 *ret_fh);
int fs_releasedir(struct fs *fs, u64 fh);
/* Is @fh to be the one handle of its folder whose listing the kernel caches?
 * If so it is until its release. */
bool fs_takes_listing(struct fs *fs, u64 fh);
/*
 * Entries behind cookie @off ("." and ".." first). @fill returns false when
 * the buffer is full. With @plus, @st is complete and, unless fill returned
 * false, carries a look-up reference (not for "." and ".."); without, only
 * st_ino and st_mode's type.
 */
typedef bool (*fs_fill_fn)(void *arg, const char *name, const struct stat *st,
			   u64 next_off);
int fs_readdir(struct fs *fs, u64 fh, u64 off, bool plus, fs_fill_fn fill,
	       void *arg);

/* ---- committing ---- */
/* Commit namespace and the content of the file; done->fn gets the file's
 * error (errseq of @fh) or 0. */
void fs_fsync(struct fs *fs, u64 fh, bool datasync, struct fs_done *done);
void fs_fsyncdir(struct fs *fs, u64 ino, struct fs_done *done);
/*
 * The content of several files, in one transaction: if one of them cannot be
 * written none is committed. Done with -EINVAL for what is no regular file and
 * for none or more than FOLIOFS_COMMIT_MAX, -ENOENT.
 */
void fs_commit_files(struct fs *fs, const u64 *inos, u32 nr,
		     struct fs_done *done);
/*
 * After fs_rename() and fs_link(): was it a commit point of an atomic file that
 * is open for writing? What comes next must not go with it, so who asked for it
 * is to be answered when @done is called. Return: false: at once, @done is not
 * called.
 */
bool fs_settle(struct fs *fs, struct fs_done *done);
/* Everything. */
void fs_sync(struct fs *fs, struct fs_done *done);
int fs_sync_wait(struct fs *fs); /* for unmount, tests and the like */
/* What may be committed unasked: all but atomic files that are in use. For who
 * needs what a commit frees. */
void fs_commit(struct fs *fs, struct fs_done *done);
/* Ask for such a commit; never waits. */
void fs_want_commit(struct fs *fs);

void fs_set_commit_secs(struct fs *fs, u32 secs);
u32 fs_get_commit_secs(struct fs *fs);

/* ---- looking ---- */
/* X(name, help); counters only grow, gauges go up and down. */
#define FS_COUNTERS(X)                                              \
	X(commits, "commits made")                                  \
	X(commit_errors, "commits that failed")                     \
	X(commit_requests,                                          \
	  "fsyncs and syncs asked for; several share a commit")     \
	X(commit_ms, "time spent in commits, ms")                   \
	X(ops_logged, "records of the operation list")              \
	X(checkpoints, "times the WAL was moved into the database") \
	X(inline_moved, "pages moved from the database to blocks")  \
	X(scrub_blocks, "blocks verified by scrubs")                \
	X(scrub_errors, "blocks that scrubs found bad")

#define FS_GAUGES(X)                                                         \
	X(commit_last_age_ms,                                                \
	  "time since the last commit was done, ms; 0: none yet")            \
	X(commit_last_ms, "time the last commit took, ms")                   \
	X(commit_last_pages, "pages in the last commit")                     \
	X(commit_last_bytes,                                                 \
	  "written during the last commit, data and database, bytes")        \
	X(stop_max_us, "longest stop of all writers for a commit, us")       \
	X(nr_inodes_cached, "inodes in memory")                              \
	X(nr_handles, "open files and folders")                              \
	X(nr_lookups, "inodes the kernel knows")                             \
	X(nr_ops_pending, "operations not committed yet")                    \
	X(oldest_uncommitted_ms, "age of the oldest uncommitted change, ms") \
	X(commit_no, "number of the last commit")                            \
	X(readonly, "1 when read-only, by option or after a failure")        \
	X(scrub_running, "1 while a scrub is under way")                     \
	X(scrub_done_blocks, "blocks of the last scrub that it has read")    \
	X(scrub_total_blocks, "blocks in use when it began")                 \
	X(scrub_complete, "1 if the last scrub came to its end")

struct fs_stat {
#define X(name, ...) u64 name;
	FS_COUNTERS(X)
	FS_GAUGES(X)
#undef X
};
void fs_stat(struct fs *fs, struct fs_stat *ret);

/* Each inode that has pages or is open, in order of ino; a snapshot. */
struct fs_file_info {
	u64 ino;
	u32 opens;
	struct address_space_stat st;
};
int fs_files(struct fs *fs, struct fs_file_info **ret_info, size_t *ret_nr);
int fs_file_info(struct fs *fs, u64 ino, struct fs_file_info *ret);
/* address_space_map() of @ino into a new string of @nr characters. */
int fs_file_map(struct fs *fs, u64 ino, u64 pgoff, u64 nr, char *ret);

/* ---- mappings (mapped.c, include/mm.h) ---- */

/* A read of the kernel through @fh, for a thread of @pid: count it as a fault
 * if that is known to map what was read. Return: whether it is. */
bool fs_account_fault(struct fs *fs, u64 fh, pid_t pid,
		      const struct read_fault *fault);
/* It was none: the kernel filled its cache for something else. */
void fs_account_fill(struct fs *fs, u64 fh, const struct read_fault *fault);
/*
 * The next run of pages of @ino that are in frames, within [pgoff, last].
 * Return: 1, 0: there are none, -ENOENT.
 */
int fs_file_resident(struct fs *fs, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_first, u64 *ret_last);
/* Somebody is known to map the file. */
bool fs_is_mapped(struct fs *fs, u64 fh);

/* What is mapped of @ino, or of all files when it is 0, by pid and address, as
 * far as is known. The caller frees *ret. Return: 0, -ENOENT, -ENOMEM. */
struct vma_info;
int fs_mappings(struct fs *fs, u64 ino, struct vma_info **ret, size_t *ret_nr);
/* Processes that map something or did, by pid. The caller frees *ret. */
struct mm_info;
int fs_processes(struct fs *fs, struct mm_info **ret, size_t *ret_nr);

/* Abort unless what is kept in memory agrees with itself. For tests; a change
 * that goes on meanwhile is no matter. */
void fs_check(struct fs *fs);

/* ---- the kernel's copies of pages (src/unmapper.h) ---- */

/*
 * Begin to invalidate the kernel's pages of a regular file. From now until
 * fs_take_end() nobody has it open for writing: fs_openf() for that says
 * -EAGAIN, and is to be asked again a little later.
 * Return: 0; -EBUSY: somebody has; -EISDIR (not a regular file), -ENOENT ...
 */
int fs_take_begin(struct fs *fs, u64 ino);
void fs_take_end(struct fs *fs, u64 ino);

/* The inodes that the kernel knows, in no order; *ret is to be freed. */
int fs_looked_up(struct fs *fs, u64 **ret, size_t *ret_nr);

/*
 * Behind the @nr that are in @pids[]: processes that are known to map a page of
 * [first, last], and threads that opened the file. Each once, at most @max in
 * all. Return: how many there are now.
 */
size_t fs_mappers(struct fs *fs, u64 ino, u64 first, u64 last, u32 *pids,
		  size_t nr, size_t max);

/* Make a commit that is not asked for by anybody, so that what it frees is
 * free, and wait for it, a bounded time; then volume_compact_some() until it
 * says that there is no more. *from is 0 at first. Return: 1: go on; 0, -errno.
 */
int fs_compact_some(struct fs *fs, u64 *from);
/* Then the same of the swap file, if there is one; slots that a commit has
 * copied are free. */
int fs_compact_swap_some(struct fs *fs, u64 *from);

/*
 * Verify all committed blocks in the background (src/scrub.h), or stop that;
 * never waits. Return: 0, -EBUSY: one is running, -EAGAIN and the like.
 */
int fs_scrub(struct fs *fs, bool on);
/* Bytes a second. */
void fs_set_scrub_rate(struct fs *fs, u64 bytes);
u64 fs_get_scrub_rate(struct fs *fs);
/* Ranges of pages that the last one found bad; *ret is to be freed. */
struct fs_scrub_bad {
	u64 ino, pgoff, nr;
};
int fs_scrub_bad(struct fs *fs, struct fs_scrub_bad **ret, size_t *ret_nr);

/* Drop clean pages of a file, or of all when @ino is 0. */
int fs_drop(struct fs *fs, u64 ino);

#endif

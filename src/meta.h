/* SPDX-License-Identifier: MIT */
/*
 * meta.db: the rows of a volume, in SQLite (WAL mode, synchronous=NORMAL,
 * 8 reserved bytes a page for checksums kept by our VFS shim).
 *
 * One writer connection, used by the committer thread alone and in a
 * transaction only between meta_begin() and meta_commit(). Any number of
 * readers, each a connection from a pool with its statements prepared: take
 * one with meta_reader_get(), give it back with meta_reader_put(); every
 * function leaves no statement running, so each call sees the newest commit.
 * There are META_READERS of them and getting one waits: nobody takes a second.
 *
 * SQLite forbids to carry a connection over a fork: open after daemonizing.
 *
 * Errors: SQLite's codes become errno in one function, meta_errno(): NOMEM
 * ENOMEM, FULL ENOSPC, IOERR EIO, CORRUPT and NOTADB EUCLEAN, READONLY EROFS.
 * Names and values are blobs: any bytes but NUL and '/'.
 */
#ifndef FOLIO_META_H
#define FOLIO_META_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base.h"

#define META_VERSION 1	   /* of the format */
#define META_ROOT_INO 1ull /* the root folder; meta_create() makes it */
#define META_READERS 8	   /* connections of the pool */

/*
 * Inode numbers and cookies of names are given out from 1 on, and no volume
 * comes to META_ID_GIVEN: a check takes what is there for damage, and where to
 * go on is looked for below it. What is read are those below META_ID_END, so
 * that there is room for what is given out behind the largest that may be.
 */
#define META_ID_GIVEN ((u64)1 << 60)
#define META_ID_END ((u64)1 << 61)

struct meta;	    /* an open meta.db, the writer connection within */
struct meta_reader; /* a pooled read connection */

struct meta_super {
	u8 uuid[16];
	u32 version;	/* of the format */
	u32 block_size; /* PAGE_SIZE */
	u64 compat, ro_compat, incompat;
	u64 commit_no;
	u64 mount_epoch; /* raised and made durable at each mount */
	u64 nr_blocks;	 /* bound of data, 0: the host's */
	u64 next_ino;	 /* never given twice */
	s64 created_ns;
};

/* Of inode_row.flags: content changes only where somebody says so, see
 * committer.h. A bit that FS_IOC_GETFLAGS has no use for. */
#define INODE_ATOMIC 0x01000000u
/* How it is read, for readahead. */
#define INODE_RA_RANDOM 0x04000000u
#define INODE_RA_SEQUENTIAL 0x08000000u

/* Where the redo log is: src/redo.h. */
struct meta_redo {
	u64 start, nr; /* blocks of data; nr 0: there is none */
	u64 salt;
	u64 seq; /* number of the record that stands first */
};

struct inode_row {
	u64 ino;
	u32 mode, uid, gid, nlink;
	u64 size;
	s64 atime, mtime, ctime, btime; /* ns since 1970 */
	u64 rdev;
	u32 flags; /* FS_IOC_GETFLAGS bits; INODE_ATOMIC and so on */
	u32 generation;
};

struct dentry_row {
	u64 id; /* stable cookie, ascending in order of creation */
	u64 ino;
	u32 type; /* S_IFMT bits */
	u16 len;
	char name[256]; /* NUL-terminated too */
};

/*
 * A piece of a file: at most META_EXTENT_MAX pages with their sums; one inline
 * page; unwritten pages, any number and without sums; or lost ones, whose
 * content a repair had to give up: no blocks, no sums, and reading them is EIO
 * until they are written again, punched or cut off.
 */
#define META_EXTENT_MAX 256
enum {
	META_EXTENT_UNWRITTEN = 1,
	META_EXTENT_SHARED = 2,
	META_EXTENT_INLINE = 4,
	META_EXTENT_LOST = 8,
};
/* Of meta_super.incompat: there may be lost extents; there is a redo log, and
 * without its records the rows are not what was committed last. */
#define META_INCOMPAT_LOST 1ull
#define META_INCOMPAT_REDO 2ull
#define META_INCOMPAT_KNOWN (META_INCOMPAT_LOST | META_INCOMPAT_REDO)

struct extent_row {
	u64 pgoff;
	u32 npages;
	u32 flags;
	u64 block; /* 0 for inline and lost ones */
	u64 sums[META_EXTENT_MAX];
};

static inline bool extent_has_sums(u32 flags)
{
	return !(flags & (META_EXTENT_UNWRITTEN | META_EXTENT_LOST));
}

static inline bool extent_has_blocks(u32 flags)
{
	return !(flags & (META_EXTENT_INLINE | META_EXTENT_LOST));
}

/* ---- opening: @folder is the volume's ---- */

/* Make meta.db with the root folder in it, the caller's; super is durable
 * last. Context: the caller syncs @folder, and removes meta.db on failure. */
int meta_create(const char *folder, const struct meta_super *super);
/* Context: the volume's lock is held. @err gets one line for the user.
 * Return: -EUCLEAN damaged or foreign, -ENOTSUP newer or unknown incompat bits,
 * -EROFS unknown ro_compat bits on a writable open. */
int meta_open(const char *folder, bool readonly, struct meta **ret_meta,
	      char *err, size_t errlen);
/* Checkpoints and closes; keeps going after errors. */
int meta_close(struct meta *m);
void meta_super(const struct meta *m, struct meta_super *ret);
int meta_errno(int sqlite_rc);
/* Context: the committer, or who has the volume for itself. */
int meta_redo_get(struct meta *m, struct meta_redo *ret);

/* ---- reading ---- */
int meta_reader_get(struct meta *m, struct meta_reader **ret);
/* All look-ups until meta_reader_put() see one state, as many at once are
 * cheaper: for short runs of them, since checkpoints stop there. */
int meta_reader_hold(struct meta_reader *r);
void meta_reader_put(struct meta_reader *r);

int meta_inode_get(struct meta_reader *r, u64 ino, struct inode_row *ret);
int meta_dentry_get(struct meta_reader *r, u64 parent, const char *name,
		    size_t len, struct dentry_row *ret);
/* Up to @max entries of @parent with id > @after, ascending.
 * Return: their number or -errno. */
int meta_dentry_list(struct meta_reader *r, u64 parent, u64 after,
		     struct dentry_row *ret, u32 max);
/* 1 when the folder has an entry, 0, -errno. */
int meta_dentry_any(struct meta_reader *r, u64 parent);
/* The @nth (parent, name) of @ino, for paths. -ENOENT: it has no more. */
int meta_dentry_of(struct meta_reader *r, u64 ino, u32 nth, u64 *ret_parent,
		   struct dentry_row *ret);
int meta_symlink_get(struct meta_reader *r, u64 ino, char *buf, size_t len);
/* Value into @buf; Return: its size, -ENODATA, -ERANGE (larger than len and
 * len not 0). */
ssize_t meta_xattr_get(struct meta_reader *r, u64 ino, const char *name,
		       void *buf, size_t len);
/* Names, each with its NUL; Return: bytes, -ERANGE. */
ssize_t meta_xattr_list(struct meta_reader *r, u64 ino, char *buf, size_t len);

/* The first extent that ends behind @pgoff, whole; -ENOENT: none. For inline
 * ones @inline_buf (PAGE_SIZE bytes, may be NULL) is filled, zero-padded and
 * verified (-EIO). */
int meta_extent_get(struct meta_reader *r, u64 ino, u64 pgoff,
		    struct extent_row *ret, void *inline_buf);

/* The first extent behind (*ino, *pgoff), which are set to it even when it is
 * damaged; the pair moves on then. Inline pages as above. Return: 1, 0: there
 * is none, -EIO, -EUCLEAN (of that extent), -ESTALE (of the database). */
int meta_extent_next(struct meta_reader *r, u64 *ino, u64 *pgoff,
		     struct extent_row *ret, void *inline_buf);

/* Where one page of a file is. */
struct meta_page {
	enum {
		META_PAGE_ZERO, /* a hole, or unwritten */
		META_PAGE_INLINE,
		META_PAGE_BLOCK,
		META_PAGE_LOST,
	} kind;
	int err; /* of INLINE: -EIO when the sum is wrong */
	u64 block;
	u64 sum;
};
/* Map [pgoff, pgoff + nr) in one look-up; inline pages are put into pages[]. */
int meta_extent_map(struct meta_reader *r, u64 ino, u64 pgoff, u32 nr,
		    struct meta_page *map, void *const *pages);

/* Committed pages of a file, for st_blocks: data, unwritten, inline. */
int meta_extent_count(struct meta_reader *r, u64 ino, u64 *ret_pages);

/* ---- at mount: @fn's error ends the walk ---- */

/* All extents by (ino, pgoff); sums[] are filled only if @sums. */
int meta_extent_walk(struct meta *m, bool sums,
		     int (*fn)(void *arg, u64 ino, const struct extent_row *),
		     void *arg);
/*
 * @fn may delete the orphan, in a transaction. What has a name all the same,
 * or names in it, or is the root, is damage and nothing that may be deleted:
 * left out.
 */
int meta_orphan_walk(struct meta *m, int (*fn)(void *arg, u64 ino), void *arg);

/* @ret_ino: an inode that is marked as an orphan, 0: there is none. */
int meta_orphan_any(struct meta *m, u64 *ret_ino);
/* The largest cookie and the largest inode number that rows have, below
 * META_ID_GIVEN; 0: none. Rows that belong to an inode have its number, too. */
int meta_max_dentry_id(struct meta *m, u64 *ret_id);
int meta_max_ino(struct meta *m, u64 *ret_ino);

/* Is each table and index as meta_create() makes it? Return: 0, -EUCLEAN with
 * the name of one that is not, or another error with "". */
#define META_OBJECT_MAX 64
int meta_check_schema(struct meta *m, char name[META_OBJECT_MAX]);

/* Could meta_create() and commits have made it? */
bool meta_super_is_sane(const struct meta_super *s);
int meta_counts(struct meta *m, u64 *ret_inodes);

/*
 * ---- writing: the committer thread alone, between begin and commit ----
 *
 * An error spoils the transaction: all that follows, meta_commit() too, answers
 * the same error until meta_rollback() (SQLite may have rolled back by itself,
 * and what follows must not be committed alone). Deleting what is not there is
 * no error; changing what is not there is -ENOENT.
 */
int meta_begin(struct meta *m);
int meta_inode_put(struct meta *m, const struct inode_row *row); /* upsert */
/* Columns of content only: size, mtime, ctime. */
int meta_inode_put_content(struct meta *m, u64 ino, u64 size, s64 mtime,
			   s64 ctime);
/* Everything but size, mtime, ctime. */
int meta_inode_put_attr(struct meta *m, const struct inode_row *row);
typedef int (*meta_freed_fn)(void *arg, u64 block, u64 nr);
/* For who keeps no map of blocks: it is built anew at the next mount. */
int meta_ignore_freed(void *arg, u64 block, u64 nr);
/* The inode with its xattrs, symlink, orphan mark and extents; freed blocks to
 * @freed. */
int meta_inode_delete(struct meta *m, u64 ino, meta_freed_fn freed, void *arg);
int meta_dentry_put(struct meta *m, u64 parent, const struct dentry_row *row);
int meta_dentry_delete(struct meta *m, u64 parent, const char *name,
		       size_t len);
int meta_symlink_put(struct meta *m, u64 ino, const char *target, size_t len);
int meta_xattr_put(struct meta *m, u64 ino, const char *name, const void *value,
		   size_t len);
int meta_xattr_delete(struct meta *m, u64 ino, const char *name);
int meta_orphan_put(struct meta *m, u64 ino);
int meta_orphan_delete(struct meta *m, u64 ino);
/* [pgoff, last] holds nothing any more: extents are cut, split or removed. */
int meta_extent_punch(struct meta *m, u64 ino, u64 pgoff, u64 last,
		      meta_freed_fn freed, void *arg);
/* Point [pgoff, +nr) at blocks [block, +nr); replaces what was there; joins
 * with the extent before it where blocks and pages go on. Any @nr. @sums: as
 * many, NULL when @flags says unwritten. */
int meta_extent_put(struct meta *m, u64 ino, u64 pgoff, u32 nr, u64 block,
		    u32 flags, const u64 *sums, meta_freed_fn freed, void *arg);
/* The first hole within [pgoff, last], as the transaction sees it. Return: 0,
 * or -ENOENT: there is none. */
int meta_extent_hole(struct meta *m, u64 ino, u64 pgoff, u64 last,
		     u64 *ret_start, u64 *ret_last);
/* One page kept in the row; @len bytes, the rest is zeros. */
int meta_extent_put_inline(struct meta *m, u64 ino, u64 pgoff, const void *data,
			   u32 len, meta_freed_fn freed, void *arg);
/* [pgoff, +nr) is lost, any @nr. */
int meta_extent_put_lost(struct meta *m, u64 ino, u64 pgoff, u64 nr,
			 meta_freed_fn freed, void *arg);
/* By how many pages, of all files, punch, put and put_inline have let extents
 * grow: the difference between two moments of a transaction. */
s64 meta_extent_growth(const struct meta *m);
/* NULL: there is no redo log any more. */
int meta_redo_put(struct meta *m, const struct meta_redo *row);
/* For the mount: the epoch goes with the next commit. */
void meta_set_mount_epoch(struct meta *m, u64 epoch);
/* Raises commit_no, writes super's next_ino. COMMIT and xSync of the WAL: on
 * return 0 everything is durable. On failure the transaction is rolled back,
 * but a failed write or sync of the WAL is final: the volume takes no more
 * writes (meta_failed()), and so is any failure behind the write: what a crash
 * would then find nobody knows. -ENOSPC (a full host) is not final. @sync
 * false: COMMIT alone; the next commit makes it durable too, before its own
 * pages are written to the WAL. */
int meta_commit(struct meta *m, u64 next_ino, bool sync);
void meta_rollback(struct meta *m);
bool meta_failed(const struct meta *m);
/* The last commit that is known to be durable. Context: the committer. */
u64 meta_synced_no(const struct meta *m);
/* Between transactions: move WAL pages to meta.db, when the WAL is long or with
 * @force. Return: 1: they were, for its length; 0 or -errno. */
int meta_checkpoint(struct meta *m, bool force);

/* Give up what SQLite holds only to be faster: cached pages, and all but one of
 * the readers that nobody uses. Context: as meta_begin(), in no transaction. */
void meta_trim(struct meta *m);

/* Bytes SQLite holds, in the whole process; bytes written to meta.db and WAL
 * so far; pages of meta.db that were found damaged. */
u64 meta_memory(const struct meta *m);
u64 meta_bytes_written(const struct meta *m);
u64 meta_checksum_errors(const struct meta *m);

/* Structure and references: calls @report with a line for each fault.
 * *ret_tangled: its trees are such that a way through them may have no end;
 * nobody has looked at references, nor is to at rows.
 * Return: number of faults or -errno. */
long meta_check(struct meta *m, void (*report)(void *arg, const char *line),
		void *arg, bool *ret_tangled);

/*
 * The same within a transaction, and mends them: names of what is not there
 * are dropped, inodes without names get one in lost+found, counts and types
 * are set right, rows that make no sense become lost extents. What overlaps is
 * left to who can read the data file. *ret_losing counts faults that could not
 * be mended without giving something up or guessing.
 */
struct meta_mend {
	void (*report)(void *arg, const char *line);
	void *arg;
	long losing;
};
long meta_mend(struct meta *m, struct meta_mend *mend);

/* ---- copying ---- */

/*
 * Copy one committed state of the meta.db of folder @from, which another
 * process may be writing to, to a new one in folder @to; it is durable on
 * return, but for its name. Damaged pages are errors. @err gets one line for
 * the user.
 */
int meta_copy(const char *from, const char *to, char *err, size_t errlen);

/* Note in a copy that it is one. It is as long as nobody mounts it to write:
 * that raises the epoch. Context: no transaction is open. */
int meta_note_backup(struct meta *m);
bool meta_is_backup(struct meta *m);

#endif

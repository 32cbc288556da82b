/* SPDX-License-Identifier: MIT */
/* A filesystem on a volume of its own, for tests without FUSE. */
#ifndef FOLIO_FS_UTIL_H
#define FOLIO_FS_UTIL_H

#include "bdev.h"
#include "fs.h"
#include "test.h"

struct test_fs {
	struct fs *fs;
	struct bdev *fault; /* wraps the data file */
	const char *swap;   /* a swap file in the tmpdir, NULL: none */
	struct bdev *swap_fault;
	u64 cache_size;	 /* bytes */
	u64 volume_size; /* bytes, for creation; 0: unbounded */
	u32 commit_secs;
	bool writeback;
	bool impatient; /* as under FUSE: -ERESTART */
	bool atomic;
	bool commit_inline; /* as the daemon has it */
	bool loud;	    /* log lines to stderr */
};

/* Has a line of the log of any filesystem said @what, since the last call? */
bool test_said(const char *what);

extern const struct fs_cred test_cred; /* uid 1000, gid 1000 */

/* Defaults: 4 MiB of cache, no timer. The volume is "vol" in the tmpdir. */
void test_fs_init(struct test_fs *t);
/* Open it, made first if it is not there. */
void test_fs_open(struct test_fs *t);
/* Return: fs_close()'s. */
int test_fs_close(struct test_fs *t);
/* Close, check the volume, open. */
void test_fs_reopen(struct test_fs *t);
/* folioctl check finds nothing. Context: closed. */
void test_fs_check_volume(void);
/* A bit of a block is not as it was written. */
void test_fs_spoil_block(u64 block);

/* Shorthands that must succeed. Look-up counts are given back at once. */
u64 test_mkdir(struct test_fs *t, u64 parent, const char *name);
u64 test_create(struct test_fs *t, u64 parent, const char *name, u64 *ret_fh);
u64 test_lookup(struct test_fs *t, u64 parent, const char *name);
u64 test_open(struct test_fs *t, u64 ino);
void test_write(struct test_fs *t, u64 fh, u64 pos, const void *buf,
		size_t len);
/* fs_write() as the FUSE layer does it: commits and more tries on ENOSPC. */
ssize_t test_try_write(struct test_fs *t, u64 fh, u64 pos, const void *buf,
		       size_t len);
ssize_t test_read(struct test_fs *t, u64 fh, u64 pos, void *buf, size_t len);
void test_stat(struct test_fs *t, u64 ino, struct stat *ret);
/* Wait for the answer. */
int test_fsync(struct test_fs *t, u64 fh);
int test_fsyncdir(struct test_fs *t, u64 ino);
int test_commit_files(struct test_fs *t, const u64 *inos, u32 nr);
/* fs_settle(). Return: the commit's error, 1: nothing to wait for. */
int test_settle(struct test_fs *t);
/* A commit of what may be committed unasked. */
int test_commit(struct test_fs *t);

/* Bytes that name their place: no two pages of any two versions are alike. */
void test_pattern(void *buf, size_t len, u64 pos, u64 version);

#endif

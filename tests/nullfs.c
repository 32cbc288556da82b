/* SPDX-License-Identifier: MIT */
/*
 * nullfs MOUNTPOINT: a FUSE filesystem that does nothing, for `make bench`.
 *
 * Names and sizes are kept in memory, what is written is thrown away, reads
 * give zeros from one constant buffer. Mounted as foliofs mounts itself with
 * cache=kernel. What a benchmark shows here is what FUSE, the kernel and
 * libfuse cost: no filesystem of this kind can be faster.
 *
 * Runs in the foreground until it is unmounted.
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NR_INODES (1u << 18)
#define NAME_MAX_LEN 63
#define TIMEOUT 3600.0
#define IO_MAX (1u << 20)

struct inode {
	mode_t mode; /* 0: free */
	off_t size;
	fuse_ino_t parent;
	char name[NAME_MAX_LEN + 1];
};

/* Inodes are slots of a hash table by parent and name, so that number and
 * slot are one; an unlinked one leaves a tombstone: NAME_GONE. */
static struct inode inodes[NR_INODES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char zeros[IO_MAX];
static const char NAME_GONE = 1;

static uint32_t hash(fuse_ino_t parent, const char *name)
{
	uint32_t h = 2166136261u ^ (uint32_t)parent;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h % NR_INODES;
}

/* The slot of a name, or 0. Slots 0 and FUSE_ROOT_ID are never names'. */
static fuse_ino_t find(fuse_ino_t parent, const char *name)
{
	for (uint32_t i = hash(parent, name);; i = (i + 1) % NR_INODES) {
		if (i <= FUSE_ROOT_ID)
			continue;
		if (!inodes[i].mode && !inodes[i].name[0])
			return 0;
		if (inodes[i].mode && inodes[i].parent == parent &&
		    !strcmp(inodes[i].name, name))
			return i;
	}
}

static fuse_ino_t add(fuse_ino_t parent, const char *name, mode_t mode)
{
	for (uint32_t n = 0, i = hash(parent, name); n < NR_INODES;
	     n++, i = (i + 1) % NR_INODES) {
		if (i <= FUSE_ROOT_ID || inodes[i].mode)
			continue;
		inodes[i].mode = mode;
		inodes[i].size = 0;
		inodes[i].parent = parent;
		(void)snprintf(inodes[i].name, sizeof(inodes[i].name), "%s",
			       name);
		return i;
	}
	return 0;
}

static void get_attr(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = inodes[ino].mode,
		.st_nlink = 1,
		.st_size = inodes[ino].size,
		.st_blksize = 4096,
		.st_uid = getuid(),
		.st_gid = getgid(),
	};
}

static void get_entry(fuse_ino_t ino, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){
		.ino = ino,
		.attr_timeout = TIMEOUT,
		.entry_timeout = TIMEOUT,
	};
	if (ino)
		get_attr(ino, &e->attr);
}

static void null_init(void *userdata, struct fuse_conn_info *conn)
{
	conn->max_write = IO_MAX;
	conn->max_readahead = IO_MAX;
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	if (conn->capable & FUSE_CAP_EXPLICIT_INVAL_DATA)
		conn->want |= FUSE_CAP_EXPLICIT_INVAL_DATA;
	if (conn->capable & FUSE_CAP_PARALLEL_DIROPS)
		conn->want |= FUSE_CAP_PARALLEL_DIROPS;
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;

	pthread_mutex_lock(&lock);
	get_entry(find(parent, name), &e);
	pthread_mutex_unlock(&lock);
	(void)fuse_reply_entry(req, &e);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	struct stat st;

	pthread_mutex_lock(&lock);
	get_attr(ino, &st);
	pthread_mutex_unlock(&lock);
	(void)fuse_reply_attr(req, &st, TIMEOUT);
}

static void null_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
			 int to_set, struct fuse_file_info *fi)
{
	struct stat st;

	pthread_mutex_lock(&lock);
	if (to_set & FUSE_SET_ATTR_SIZE)
		inodes[ino].size = attr->st_size;
	get_attr(ino, &st);
	pthread_mutex_unlock(&lock);
	(void)fuse_reply_attr(req, &st, TIMEOUT);
}

/* Return: 0 or errno */
static int new_entry(fuse_ino_t parent, const char *name, mode_t mode,
		     struct fuse_entry_param *e)
{
	int err = 0;

	pthread_mutex_lock(&lock);
	if (strlen(name) > NAME_MAX_LEN)
		err = ENAMETOOLONG;
	else if (find(parent, name))
		err = EEXIST;
	else
		get_entry(add(parent, name, mode), e);
	pthread_mutex_unlock(&lock);
	return !err && !e->ino ? ENOSPC : err;
}

static void null_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		       mode_t mode)
{
	struct fuse_entry_param e;
	int err = new_entry(parent, name, S_IFDIR | mode, &e);

	if (err)
		(void)fuse_reply_err(req, err);
	else
		(void)fuse_reply_entry(req, &e);
}

static void null_create(fuse_req_t req, fuse_ino_t parent, const char *name,
			mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int err = new_entry(parent, name, S_IFREG | mode, &e);

	fi->keep_cache = 1;
	fi->noflush = 1;
	if (err)
		(void)fuse_reply_err(req, err);
	else
		(void)fuse_reply_create(req, &e, fi);
}

static void null_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_ino_t ino;

	pthread_mutex_lock(&lock);
	ino = find(parent, name);
	if (ino) {
		inodes[ino].mode = 0;
		inodes[ino].name[0] = NAME_GONE;
		inodes[ino].name[1] = '\0';
	}
	pthread_mutex_unlock(&lock);
	(void)fuse_reply_err(req, ino ? 0 : ENOENT);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	fi->noflush = 1;
	(void)fuse_reply_open(req, fi);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	off_t end;

	pthread_mutex_lock(&lock);
	end = inodes[ino].size;
	pthread_mutex_unlock(&lock);
	if (off >= end)
		size = 0;
	else if ((off_t)size > end - off)
		size = (size_t)(end - off);
	(void)fuse_reply_buf(req, zeros, size > IO_MAX ? IO_MAX : size);
}

static void null_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		       size_t size, off_t off, struct fuse_file_info *fi)
{
	pthread_mutex_lock(&lock);
	if (off + (off_t)size > inodes[ino].size)
		inodes[ino].size = off + (off_t)size;
	pthread_mutex_unlock(&lock);
	(void)fuse_reply_write(req, size);
}

static void null_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		       struct fuse_file_info *fi)
{
	(void)fuse_reply_err(req, 0);
}

static void null_release(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	(void)fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = null_init,
	.lookup = null_lookup,
	.getattr = null_getattr,
	.setattr = null_setattr,
	.mkdir = null_mkdir,
	.rmdir = null_unlink,
	.create = null_create,
	.unlink = null_unlink,
	.open = null_open,
	.read = null_read,
	.write = null_write,
	.fsync = null_fsync,
	.release = null_release,
};

int main(int argc, char **argv)
{
	char opts[] = "-ofsname=nullfs,subtype=nullfs";
	char *args[] = {argv[0], opts, NULL};
	struct fuse_args fa = FUSE_ARGS_INIT(2, args);
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	struct fuse_session *se;
	int ret = 1;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: nullfs MOUNTPOINT\n");
		return 2;
	}
	inodes[FUSE_ROOT_ID].mode = S_IFDIR | 0755;
	se = fuse_session_new(&fa, &ops, sizeof(ops), NULL);
	if (!se || !cfg)
		return 1;
	if (fuse_set_signal_handlers(se) == 0 &&
	    fuse_session_mount(se, argv[1]) == 0) {
		ret = fuse_session_loop_mt(se, cfg) != 0;
		fuse_session_unmount(se);
	}
	fuse_remove_signal_handlers(se);
	fuse_session_destroy(se);
	fuse_loop_cfg_destroy(cfg);
	return ret;
}

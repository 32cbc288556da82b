/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

enum {
	WIRE_FILE_NAMES = 1, /* the strings name files: no '/', no dots */
	WIRE_NO_REPLY = 2,
	WIRE_DOTS = 4, /* ... but dots may be: "." is the node itself */
};

/* What stands behind the header: a struct, then strings with their NULs. */
struct wire_row {
	u16 arg_size;
	u8 nr_strings;
	u8 flags;
};

static const struct wire_row rows[] = {
	[FUSE_LOOKUP] = {0, 1, WIRE_FILE_NAMES | WIRE_DOTS},
	[FUSE_FORGET] = {sizeof(struct fuse_forget_in), 0, WIRE_NO_REPLY},
	[FUSE_GETATTR] = {sizeof(struct fuse_getattr_in)},
	[FUSE_SETATTR] = {sizeof(struct fuse_setattr_in)},
	[FUSE_SYMLINK] = {0, 2}, /* the second is a target */
	[FUSE_MKNOD] = {sizeof(struct fuse_mknod_in), 1, WIRE_FILE_NAMES},
	[FUSE_MKDIR] = {sizeof(struct fuse_mkdir_in), 1, WIRE_FILE_NAMES},
	[FUSE_UNLINK] = {0, 1, WIRE_FILE_NAMES},
	[FUSE_RMDIR] = {0, 1, WIRE_FILE_NAMES},
	[FUSE_RENAME] = {sizeof(struct fuse_rename_in), 2, WIRE_FILE_NAMES},
	[FUSE_LINK] = {sizeof(struct fuse_link_in), 1, WIRE_FILE_NAMES},
	[FUSE_OPEN] = {sizeof(struct fuse_open_in)},
	[FUSE_READ] = {sizeof(struct fuse_read_in)},
	[FUSE_WRITE] = {sizeof(struct fuse_write_in)},
	[FUSE_RELEASE] = {sizeof(struct fuse_release_in)},
	[FUSE_FSYNC] = {sizeof(struct fuse_fsync_in)},
	[FUSE_SETXATTR] = {FUSE_COMPAT_SETXATTR_IN_SIZE, 1},
	[FUSE_GETXATTR] = {sizeof(struct fuse_getxattr_in), 1},
	[FUSE_LISTXATTR] = {sizeof(struct fuse_getxattr_in)},
	[FUSE_REMOVEXATTR] = {0, 1},
	[FUSE_FLUSH] = {sizeof(struct fuse_flush_in)},
	/* up to max_readahead and flags; what newer ones add stands behind */
	[FUSE_INIT] = {4 * sizeof(u32)},
	[FUSE_OPENDIR] = {sizeof(struct fuse_open_in)},
	[FUSE_READDIR] = {sizeof(struct fuse_read_in)},
	[FUSE_RELEASEDIR] = {sizeof(struct fuse_release_in)},
	[FUSE_FSYNCDIR] = {sizeof(struct fuse_fsync_in)},
	[FUSE_GETLK] = {sizeof(struct fuse_lk_in)},
	[FUSE_SETLK] = {sizeof(struct fuse_lk_in)},
	[FUSE_SETLKW] = {sizeof(struct fuse_lk_in)},
	[FUSE_ACCESS] = {sizeof(struct fuse_access_in)},
	[FUSE_CREATE] = {sizeof(struct fuse_create_in), 1, WIRE_FILE_NAMES},
	[FUSE_INTERRUPT] = {sizeof(struct fuse_interrupt_in), 0, WIRE_NO_REPLY},
	[FUSE_BMAP] = {sizeof(struct fuse_bmap_in)},
	[FUSE_IOCTL] = {sizeof(struct fuse_ioctl_in)},
	[FUSE_POLL] = {sizeof(struct fuse_poll_in)},
	[FUSE_NOTIFY_REPLY] = {0, 0, WIRE_NO_REPLY},
	[FUSE_BATCH_FORGET] = {sizeof(struct fuse_batch_forget_in), 0,
			       WIRE_NO_REPLY},
	[FUSE_FALLOCATE] = {sizeof(struct fuse_fallocate_in)},
	[FUSE_READDIRPLUS] = {sizeof(struct fuse_read_in)},
	[FUSE_RENAME2] = {sizeof(struct fuse_rename2_in), 2, WIRE_FILE_NAMES},
	[FUSE_LSEEK] = {sizeof(struct fuse_lseek_in)},
	[FUSE_COPY_FILE_RANGE] = {sizeof(struct fuse_copy_file_range_in)},
	/* O_TMPFILE has the shape of CREATE; its name says nothing */
	[FUSE_TMPFILE] = {sizeof(struct fuse_create_in), 1},
	[WIRE_STATX] = {sizeof(struct wire_statx_in)},
};

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static bool is_file_name(const char *name, unsigned flags)
{
	if (!*name || strchr(name, '/'))
		return false;
	return flags & WIRE_DOTS || !is_dots(name);
}

/* Pass over the strings of a request. Return: the bytes behind them, or
 * -EINVAL. */
static s64 check_strings(const struct wire_row *row, const char *at, size_t len)
{
	for (unsigned i = 0; i < row->nr_strings; i++) {
		const char *nul = memchr(at, '\0', len);

		if (!nul)
			return -EINVAL;
		if ((row->flags & WIRE_FILE_NAMES) &&
		    !is_file_name(at, row->flags))
			return -EINVAL;
		len -= (size_t)(nul + 1 - at);
		at = nul + 1;
	}
	return (s64)len;
}

/* Is the data there that an argument announces? @left: bytes behind argument
 * and strings. */
static int check_payload(u32 opcode, const void *arg, size_t left)
{
	const struct fuse_write_in *write = arg;
	const struct fuse_setxattr_in *setxattr = arg;
	const struct fuse_batch_forget_in *forget = arg;
	const struct fuse_ioctl_in *ioctl = arg;
	u64 announced = 0;

	if (opcode == FUSE_WRITE)
		announced = write->size;
	else if (opcode == FUSE_SETXATTR)
		announced = setxattr->size;
	else if (opcode == FUSE_IOCTL)
		announced = ioctl->in_size;
	else if (opcode == FUSE_BATCH_FORGET)
		announced = forget->count * (u64)sizeof(struct fuse_forget_one);

	return announced <= left ? 0 : -EINVAL;
}

int wire_check(const void *buf, size_t len, bool setxattr_ext)
{
	const struct fuse_in_header *in = buf;
	const char *arg = (const char *)(in + 1);
	const struct wire_row *row;
	size_t arg_size;
	s64 left;

	if (len < sizeof(*in) || in->len != len)
		return -EINVAL;
	if (in->opcode >= ARRAY_SIZE(rows))
		return 0;
	/* Answers to questions that we never ask; libfuse would leak them. */
	if (in->opcode == FUSE_NOTIFY_REPLY)
		return -EINVAL;

	row = &rows[in->opcode];
	len -= sizeof(*in);
	arg_size = row->arg_size;
	if (in->opcode == FUSE_SETXATTR && setxattr_ext)
		arg_size = sizeof(struct fuse_setxattr_in);
	if (len < arg_size)
		return -EINVAL;
	left = check_strings(row, arg + arg_size, len - arg_size);
	if (left < 0)
		return -EINVAL;
	if (in->opcode == FUSE_SYMLINK && !is_file_name(arg, row->flags))
		return -EINVAL;

	return check_payload(in->opcode, arg, (size_t)left);
}

u32 wire_translate(void *buf)
{
	struct fuse_in_header *in = buf;
	u32 opcode = in->opcode;

	if (opcode == FUSE_TMPFILE)
		in->opcode = FUSE_CREATE;
	else if (opcode == WIRE_STATX)
		in->opcode = FUSE_GETATTR;
	return opcode;
}

static struct wire_time wire_time(const struct timespec *ts)
{
	return (struct wire_time){.sec = ts->tv_sec, .nsec = (u32)ts->tv_nsec};
}

void wire_fill_statx(struct wire_statx_out *out, const struct stat *st,
		     const struct timespec *btime)
{
	*out = (struct wire_statx_out){
		.mask = STATX_BASIC_STATS,
		.blksize = (u32)st->st_blksize,
		.nlink = (u32)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mode = (u16)st->st_mode,
		.ino = st->st_ino,
		.size = (u64)st->st_size,
		.blocks = (u64)st->st_blocks,
		.atime = wire_time(&st->st_atim),
		.ctime = wire_time(&st->st_ctim),
		.mtime = wire_time(&st->st_mtim),
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
	};
	if (btime) {
		out->mask |= STATX_BTIME;
		out->btime = wire_time(btime);
	}
}

bool wire_wants_reply(const struct fuse_in_header *in)
{
	return in->opcode >= ARRAY_SIZE(rows) ||
	       !(rows[in->opcode].flags & WIRE_NO_REPLY);
}

u64 wire_init_flags(const void *buf, size_t len)
{
	const struct fuse_in_header *in = buf;
	const struct fuse_init_in *init = (const void *)(in + 1);
	u64 flags = init->flags;

	if ((flags & FUSE_INIT_EXT) && len >= sizeof(*in) + sizeof(*init))
		flags |= (u64)init->flags2 << 32;
	return flags;
}

u32 *wire_open_flags(u32 opcode, void *answer, size_t len)
{
	size_t pos = opcode == FUSE_OPEN ? 0 : sizeof(struct fuse_entry_out);
	struct fuse_open_out *out;

	if (opcode != FUSE_OPEN && opcode != FUSE_CREATE &&
	    opcode != FUSE_TMPFILE)
		return NULL;
	if (len != pos + sizeof(*out))
		return NULL;

	out = (void *)((char *)answer + pos);
	return &out->open_flags;
}

const struct fuse_direntplus *wire_next_direntplus(const void *buf, size_t len,
						   size_t *pos)
{
	const struct fuse_direntplus *entry;

	if (len - *pos < FUSE_NAME_OFFSET_DIRENTPLUS)
		return NULL;

	entry = (const void *)((const char *)buf + *pos);
	*pos += FUSE_DIRENTPLUS_SIZE(entry);
	return entry;
}

/* SPDX-License-Identifier: MIT */
/*
 * The shape of FUSE requests. libfuse trusts the kernel and looks at nothing:
 * it takes names to end in NUL and arguments to be all there. Here each request
 * is checked against its opcode before libfuse sees it, so that a broken one is
 * refused instead of read past its end.
 *
 * Also what libfuse 3.14 does not hand through, or does not know: O_TMPFILE and
 * statx with its birth time. Their arguments begin as those of CREATE and
 * GETATTR do, so libfuse is given them as such, and only the operations know.
 */
#ifndef FOLIO_WIRE_H
#define FOLIO_WIRE_H

#include <linux/fuse.h>
#include <stddef.h>
#include <sys/stat.h>
#include <time.h>

#include "base.h"

/*
 * Is the request of @len bytes at @buf whole? All its arguments are there, its
 * names end in NUL, are not empty and, where they name files, have no '/' and
 * are not "." or ".." (which may be looked up). Unknown opcodes are whole:
 * libfuse answers ENOSYS. @setxattr_ext: FUSE_SETXATTR_EXT was agreed on, which
 * makes SETXATTR longer. Return: 0 or -EINVAL.
 */
int wire_check(const void *buf, size_t len, bool setxattr_ext);

/* FUSE_STATX, of protocol 7.39; headers may be older. */
#define WIRE_STATX 52

struct wire_statx_in {
	u32 getattr_flags;
	u32 reserved;
	u64 fh;
	u32 sx_flags;
	u32 sx_mask;
};

struct wire_time {
	s64 sec;
	u32 nsec;
	int32_t reserved;
};

struct wire_statx_out {
	u64 attr_valid;
	u32 attr_valid_nsec;
	u32 flags;
	u64 spare[2];
	/* struct fuse_statx */
	u32 mask;
	u32 blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, spare0;
	u64 ino, size, blocks, attributes_mask;
	struct wire_time atime, btime, ctime, mtime;
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 spare2[14];
};
_Static_assert(sizeof(struct wire_statx_out) == 32 + 256, "as in the protocol");
_Static_assert(offsetof(struct wire_statx_in, fh) ==
		       offsetof(struct fuse_getattr_in, fh),
	       "GETATTR's arguments come first");

/* Everything but for how long it is good. @btime NULL: there is none. */
void wire_fill_statx(struct wire_statx_out *out, const struct stat *st,
		     const struct timespec *btime);

/* Give the request the opcode that libfuse knows for it.
 * Context: it is whole. Return: the one that it had. */
u32 wire_translate(void *buf);

/* Does somebody wait for an answer? Context: the header is there. */
bool wire_wants_reply(const struct fuse_in_header *in);

/* The features that an INIT request, whole, offers; flags2 in the upper half.
 */
u64 wire_init_flags(const void *buf, size_t len);

/* Feature 36 of INIT, Linux 6.6: files open for direct I/O can be mapped
 * shared. The headers of older systems do not name it. */
#define WIRE_DIRECT_IO_ALLOW_MMAP (1ull << 36)

/*
 * The open flags in an answer of @len bytes to @opcode, header apart: where
 * they stand, or NULL when it is no answer that opens a file.
 */
u32 *wire_open_flags(u32 opcode, void *answer, size_t len);

/* The next entry of a READDIRPLUS answer, NULL behind the last. */
const struct fuse_direntplus *wire_next_direntplus(const void *buf, size_t len,
						   size_t *pos);

#endif

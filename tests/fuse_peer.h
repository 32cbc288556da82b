/* SPDX-License-Identifier: MIT */
/*
 * The kernel's end of a FUSE session, played by a test: a SOCK_SEQPACKET pair
 * stands for /dev/fuse, one packet a request or an answer. No mount, no
 * privileges. Everything here runs in the test's main thread.
 */
#ifndef FOLIO_FUSE_PEER_H
#define FOLIO_FUSE_PEER_H

#include <linux/fuse.h>

#include "base.h"
#include "session.h"

/* Answers are kept until somebody asks for them. The largest is a READ's. */
#define PEER_DATA_MAX (((size_t)128 << 10) + 4096)

struct peer_reply {
	struct peer_reply *next;
	u64 unique;
	int error; /* 0 or -errno */
	size_t len;
	_Alignas(8) char data[];
};

struct peer {
	struct session *session;
	int fd;
	u64 unique; /* of the last request */
	struct peer_reply *replies;
	struct fuse_init_out init; /* what was agreed on */
};

/* Everything that a recent kernel offers. */
#define PEER_INIT_FLAGS                                                       \
	(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC |           \
	 FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK |             \
	 FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_SPLICE_READ |            \
	 FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA |       \
	 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |       \
	 FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | \
	 FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL | FUSE_ABORT_ERROR |           \
	 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT |     \
	 FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 |                 \
	 FUSE_SETXATTR_EXT | FUSE_INIT_EXT)

/* A session over a socket pair, its workers running; nothing is sent yet. */
void peer_open(struct peer *p, const struct session_config *cfg);

/* The same, and INIT with @flags of a kernel of protocol 7.@minor; above the
 * 32nd they are the second half. */
void peer_init(struct peer *p, const struct session_config *cfg, u32 minor,
	       u64 flags);

/* End the session. The socket may be closed already. */
void peer_close(struct peer *p);

/* Close the socket only: the mount is gone. */
void peer_hang_up(struct peer *p);

/* Send; without waiting. Return: the request's unique number. */
u64 peer_send(struct peer *p, u32 opcode, u64 nodeid, const void *arg,
	      size_t arg_len, const void *data, size_t len);

/* Bytes as they are. */
void peer_send_raw(struct peer *p, const void *buf, size_t len);
void peer_send_interrupt(struct peer *p, u64 unique);

/* The answer to @unique, waiting for it; free() it. Fails the test when none
 * comes within a minute, or two come. */
struct peer_reply *peer_wait(struct peer *p, u64 unique);

/* Has an answer to @unique come? Takes in what has arrived, does not wait. */
bool peer_answered(struct peer *p, u64 unique);

/* Send and wait. Return: 0 or -errno; the answer's data, cut or filled with
 * zeros to @ret_len, in @ret (may be NULL). */
int peer_call(struct peer *p, u32 opcode, u64 nodeid, const void *arg,
	      size_t arg_len, const void *data, size_t len, void *ret,
	      size_t ret_len);

/* ---- common requests ---- */
int peer_lookup(struct peer *p, u64 parent, const char *name,
		struct fuse_entry_out *ret);
int peer_getattr(struct peer *p, u64 ino, struct fuse_attr_out *ret);
int peer_open_file(struct peer *p, u32 opcode, u64 ino, u32 flags,
		   struct fuse_open_out *ret);
int peer_release(struct peer *p, u32 opcode, u64 ino, u64 fh);
void peer_forget(struct peer *p, u64 ino, u64 nlookup);
u64 peer_send_write(struct peer *p, u64 ino, u64 fh, u64 pos, const void *buf,
		    size_t len, u32 write_flags);
u64 peer_send_fsync(struct peer *p, u64 ino, u64 fh);

/* Return: bytes, or -errno. */
ssize_t peer_read(struct peer *p, u32 opcode, u64 ino, u64 fh, u64 pos,
		  void *buf, size_t len);
ssize_t peer_write(struct peer *p, u64 ino, u64 fh, u64 pos, const void *buf,
		   size_t len);

#endif

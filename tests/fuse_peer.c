/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fuse_peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test.h"

#define ANSWER_TIMEOUT_MS 60000
#define SOCKET_BUFFER (1 << 20)

static void raise_buffers(int fd)
{
	int size = SOCKET_BUFFER;

	/* As far as an ordinary user may. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

void peer_open(struct peer *p, const struct session_config *cfg)
{
	int fds[2];

	memset(p, 0, sizeof(*p));
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	raise_buffers(fds[0]);
	raise_buffers(fds[1]);
	p->fd = fds[0];
	ck_assert_int_eq(session_new(cfg, &p->session), 0);
	ck_assert_int_eq(session_attach(p->session, fds[1]), 0);
	ck_assert_int_eq(session_start(p->session), 0);
}

void peer_init(struct peer *p, const struct session_config *cfg, u32 minor,
	       u64 flags)
{
	struct fuse_init_in in = {.major = 7,
				  .minor = minor,
				  .max_readahead = 128 << 10,
				  .flags = (u32)flags,
				  .flags2 = (u32)(flags >> 32)};

	peer_open(p, cfg);
	ck_assert_int_eq(peer_call(p, FUSE_INIT, 0, &in, sizeof(in), NULL, 0,
				   &p->init, sizeof(p->init)),
			 0);
}

void peer_hang_up(struct peer *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	p->fd = -1;
}

void peer_close(struct peer *p)
{
	session_stop(p->session);
	session_free(p->session);
	peer_hang_up(p);
	while (p->replies) {
		struct peer_reply *next = p->replies->next;

		free(p->replies);
		p->replies = next;
	}
}

/* ---- sending ---- */

void peer_send_raw(struct peer *p, const void *buf, size_t len)
{
	ck_assert_int_eq(send(p->fd, buf, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void send_parts(struct peer *p, struct fuse_in_header *in,
		       const void *arg, size_t arg_len, const void *data,
		       size_t len)
{
	char *buf = malloc(sizeof(*in) + arg_len + len);

	ck_assert_ptr_nonnull(buf);
	in->len = (u32)(sizeof(*in) + arg_len + len);
	memcpy(buf, in, sizeof(*in));
	if (arg_len)
		memcpy(buf + sizeof(*in), arg, arg_len);
	if (len)
		memcpy(buf + sizeof(*in) + arg_len, data, len);
	peer_send_raw(p, buf, in->len);
	free(buf);
}

u64 peer_send(struct peer *p, u32 opcode, u64 nodeid, const void *arg,
	      size_t arg_len, const void *data, size_t len)
{
	struct fuse_in_header in = {
		.opcode = opcode,
		.nodeid = nodeid,
		.unique = p->unique += 2,
		.uid = 1000,
		.gid = 100,
		.pid = 4711,
	};

	send_parts(p, &in, arg, arg_len, data, len);
	return in.unique;
}

void peer_send_interrupt(struct peer *p, u64 unique)
{
	struct fuse_interrupt_in arg = {.unique = unique};
	struct fuse_in_header in = {
		.opcode = FUSE_INTERRUPT,
		.unique = unique | 1, /* as the kernel numbers them */
	};

	send_parts(p, &in, &arg, sizeof(arg), NULL, 0);
}

/* ---- receiving ---- */

static struct peer_reply **find_reply(struct peer *p, u64 unique)
{
	struct peer_reply **at = &p->replies;

	while (*at && (*at)->unique != unique)
		at = &(*at)->next;
	return at;
}

/* Take one answer in. Return: false when none came in time. */
static bool receive(struct peer *p, int timeout_ms)
{
	struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
	struct fuse_out_header out;
	struct peer_reply *reply;
	struct iovec iov[2];
	ssize_t len;

	if (poll(&pfd, 1, timeout_ms) != 1)
		return false;

	reply = calloc(1, sizeof(*reply) + PEER_DATA_MAX);
	ck_assert_ptr_nonnull(reply);
	iov[0] = (struct iovec){&out, sizeof(out)};
	iov[1] = (struct iovec){reply->data, PEER_DATA_MAX};
	len = readv(p->fd, iov, 2);
	ck_assert_int_ge(len, (ssize_t)sizeof(out));
	ck_assert_uint_eq(out.len, (size_t)len);
	ck_assert_ptr_null(*find_reply(p, out.unique));

	reply->unique = out.unique;
	reply->error = out.error;
	reply->len = (size_t)len - sizeof(out);
	reply->next = p->replies;
	p->replies = reply;
	return true;
}

bool peer_answered(struct peer *p, u64 unique)
{
	while (receive(p, 0))
		;
	return *find_reply(p, unique) != NULL;
}

struct peer_reply *peer_wait(struct peer *p, u64 unique)
{
	struct peer_reply **at;
	struct peer_reply *reply;

	while (at = find_reply(p, unique), !*at)
		ck_assert_msg(receive(p, ANSWER_TIMEOUT_MS),
			      "no answer to request %llu",
			      (unsigned long long)unique);
	reply = *at;
	*at = reply->next;
	return reply;
}

int peer_call(struct peer *p, u32 opcode, u64 nodeid, const void *arg,
	      size_t arg_len, const void *data, size_t len, void *ret,
	      size_t ret_len)
{
	u64 unique = peer_send(p, opcode, nodeid, arg, arg_len, data, len);
	struct peer_reply *reply = peer_wait(p, unique);
	int err = reply->error;

	if (ret) {
		memset(ret, 0, ret_len);
		memcpy(ret, reply->data, min(ret_len, reply->len));
	}
	free(reply);
	return err;
}

/* ---- common requests ---- */

int peer_lookup(struct peer *p, u64 parent, const char *name,
		struct fuse_entry_out *ret)
{
	return peer_call(p, FUSE_LOOKUP, parent, NULL, 0, name,
			 strlen(name) + 1, ret, sizeof(*ret));
}

int peer_getattr(struct peer *p, u64 ino, struct fuse_attr_out *ret)
{
	struct fuse_getattr_in in = {.getattr_flags = 0};

	return peer_call(p, FUSE_GETATTR, ino, &in, sizeof(in), NULL, 0, ret,
			 ret ? sizeof(*ret) : 0);
}

int peer_open_file(struct peer *p, u32 opcode, u64 ino, u32 flags,
		   struct fuse_open_out *ret)
{
	struct fuse_open_in in = {.flags = flags};

	return peer_call(p, opcode, ino, &in, sizeof(in), NULL, 0, ret,
			 sizeof(*ret));
}

int peer_release(struct peer *p, u32 opcode, u64 ino, u64 fh)
{
	struct fuse_release_in in = {.fh = fh};

	return peer_call(p, opcode, ino, &in, sizeof(in), NULL, 0, NULL, 0);
}

void peer_forget(struct peer *p, u64 ino, u64 nlookup)
{
	struct fuse_forget_in in = {.nlookup = nlookup};

	(void)peer_send(p, FUSE_FORGET, ino, &in, sizeof(in), NULL, 0);
}

u64 peer_send_write(struct peer *p, u64 ino, u64 fh, u64 pos, const void *buf,
		    size_t len, u32 write_flags)
{
	struct fuse_write_in in = {.fh = fh,
				   .offset = pos,
				   .size = (u32)len,
				   .write_flags = write_flags};

	return peer_send(p, FUSE_WRITE, ino, &in, sizeof(in), buf, len);
}

u64 peer_send_fsync(struct peer *p, u64 ino, u64 fh)
{
	struct fuse_fsync_in in = {.fh = fh};

	return peer_send(p, FUSE_FSYNC, ino, &in, sizeof(in), NULL, 0);
}

ssize_t peer_read(struct peer *p, u32 opcode, u64 ino, u64 fh, u64 pos,
		  void *buf, size_t len)
{
	struct fuse_read_in in = {.fh = fh, .offset = pos, .size = (u32)len};
	u64 unique = peer_send(p, opcode, ino, &in, sizeof(in), NULL, 0);
	struct peer_reply *reply = peer_wait(p, unique);
	ssize_t ret = reply->error ? reply->error : (ssize_t)reply->len;

	ck_assert_uint_le(reply->len, len);
	memcpy(buf, reply->data, reply->len);
	free(reply);
	return ret;
}

ssize_t peer_write(struct peer *p, u64 ino, u64 fh, u64 pos, const void *buf,
		   size_t len)
{
	u64 unique = peer_send_write(p, ino, fh, pos, buf, len, 0);
	struct peer_reply *reply = peer_wait(p, unique);
	ssize_t ret = reply->error;
	struct fuse_write_out out;

	if (!ret) {
		ck_assert_uint_eq(reply->len, sizeof(out));
		memcpy(&out, reply->data, sizeof(out));
		ret = out.size;
	}
	free(reply);
	return ret;
}

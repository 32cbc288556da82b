/* SPDX-License-Identifier: MIT */
/*
 * Requests over the socket that stands for /dev/fuse. An input is a list of
 * them: an opcode, a node, a handle, and a body that is made whole for the
 * opcode and then changed, or any bytes. The session must go on answering, and
 * the volume be sound. What only a kernel knows it must keep to, since it is
 * trusted with it: look-ups are forgotten as often as they were made, and a
 * request's length is that of its packet.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "foliofs.h"
#include "fs_util.h"
#include "fuse_peer.h"
#include "fuzz.h"
#include "log.h"
#include "tmpdir.h"

#define REQUESTS_MAX 24
#define BODY_MAX 600
/* So many inputs meet one session, then the volume is checked. */
#define INPUTS_A_SESSION 200

static struct test_fs tfs;
static struct control *control;
static struct peer peer;
static unsigned nr_inputs;

static void start(void)
{
	struct session_config cfg = {0};

	test_fs_open(&tfs);
	ck_assert_int_eq(control_new(tfs.fs, NULL, 0, 0, &control), 0);
	cfg.fs = tfs.fs;
	cfg.control = control;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
}

static void stop(void)
{
	peer_close(&peer);
	control_free(control);
	ck_assert_int_eq(test_fs_close(&tfs), 0);
	test_fs_check_volume();
}

static void begin(void)
{
	log_open("fuzz", false);
	log_from_libfuse();
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	test_fs_init(&tfs);
	tfs.impatient = true;
	tfs.volume_size = 16u << 20;
	start();
}

static void end(void)
{
	stop();
	tmpdir_remove();
}

/* ---- requests ---- */

/* The size of the arguments before the names or the data. */
static const struct shape {
	u32 opcode;
	size_t size;
	int names;
} shapes[] = {
	{FUSE_LOOKUP, 0, 1},
	{FUSE_GETATTR, sizeof(struct fuse_getattr_in), 0},
	{FUSE_SETATTR, sizeof(struct fuse_setattr_in), 0},
	{FUSE_READLINK, 0, 0},
	{FUSE_SYMLINK, 0, 2},
	{FUSE_MKNOD, sizeof(struct fuse_mknod_in), 1},
	{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), 1},
	{FUSE_UNLINK, 0, 1},
	{FUSE_RMDIR, 0, 1},
	{FUSE_RENAME, sizeof(struct fuse_rename_in), 2},
	{FUSE_LINK, sizeof(struct fuse_link_in), 1},
	{FUSE_OPEN, sizeof(struct fuse_open_in), 0},
	{FUSE_READ, sizeof(struct fuse_read_in), 0},
	{FUSE_WRITE, sizeof(struct fuse_write_in), 0},
	{FUSE_STATFS, 0, 0},
	{FUSE_RELEASE, sizeof(struct fuse_release_in), 0},
	{FUSE_FSYNC, sizeof(struct fuse_fsync_in), 0},
	{FUSE_SETXATTR, sizeof(struct fuse_setxattr_in), 1},
	{FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), 1},
	{FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), 0},
	{FUSE_REMOVEXATTR, 0, 1},
	{FUSE_FLUSH, sizeof(struct fuse_flush_in), 0},
	{FUSE_OPENDIR, sizeof(struct fuse_open_in), 0},
	{FUSE_READDIR, sizeof(struct fuse_read_in), 0},
	{FUSE_RELEASEDIR, sizeof(struct fuse_release_in), 0},
	{FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), 0},
	{FUSE_ACCESS, sizeof(struct fuse_access_in), 0},
	{FUSE_CREATE, sizeof(struct fuse_create_in), 1},
	{FUSE_BMAP, sizeof(struct fuse_bmap_in), 0},
	{FUSE_IOCTL, sizeof(struct fuse_ioctl_in), 0},
	{FUSE_POLL, sizeof(struct fuse_poll_in), 0},
	{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), 0},
	{FUSE_READDIRPLUS, sizeof(struct fuse_read_in), 0},
	{FUSE_RENAME2, sizeof(struct fuse_rename2_in), 2},
	{FUSE_LSEEK, sizeof(struct fuse_lseek_in), 0},
	{FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), 0},
	{WIRE_STATX, sizeof(struct wire_statx_in), 0},
};

static const char *const names[] = {
	"a",
	"b",
	"c",
	"dir",
	".foliofs",
	"vm",
	"sync",
	"hold",
	"stats.json",
	"inode",
	"user.x",
	"user.foliofs.atomic",
	"user.foliofs.pin",
	"system.posix_acl_access",
	"system.posix_acl_default",
	"security.capability",
};

static const u32 ioctls[] = {
	FOLIOFS_IOC_COMMIT, FS_IOC_GETFLAGS,   FS_IOC_SETFLAGS,
	FS_IOC_FSGETXATTR,  FS_IOC_FSSETXATTR, FS_IOC_GETVERSION,
};

static size_t add_name(struct fuzz_in *in, u8 *body, size_t len)
{
	u8 which = fuzz_u8(in);
	size_t n;

	if (which < 200) {
		const char *name = names[which % ARRAY_SIZE(names)];

		n = strlen(name);
		memcpy(body + len, name, n);
	} else {
		n = fuzz_bytes(in, body + len, 60);
	}
	body[len + n] = '\0';
	return len + n + 1;
}

/* What is believed without being looked at: numbers that a kernel gives. */
static void set_numbers(struct fuzz_in *in, u32 opcode, u8 *body, size_t size,
			size_t len)
{
	u32 words = (u32)(size / 4);

	for (u8 n = fuzz_u8(in) % 6; n && words; n--) {
		u32 at = fuzz_u8(in) % words * 4;
		u64 value = fuzz_number(in);

		memcpy(body + at, &value, size - at < 8 ? 4 : 8);
	}
	if (opcode == FUSE_WRITE) {
		struct fuse_write_in *w = (void *)body;

		w->size = (u32)(len - size);
	}
	if (opcode == FUSE_IOCTL) {
		struct fuse_ioctl_in *io = (void *)body;

		io->cmd = ioctls[fuzz_u8(in) % ARRAY_SIZE(ioctls)];
	}
}

/* A body as the opcode has it. Return: its length. */
static size_t whole_body(struct fuzz_in *in, const struct shape *shape,
			 u8 *body)
{
	size_t len = shape->size;

	memset(body, 0, len);
	for (int i = 0; i < shape->names; i++)
		len = add_name(in, body, len);
	len += fuzz_bytes(in, body + len, BODY_MAX - len);
	set_numbers(in, shape->opcode, body, shape->size, len);
	return len;
}

static u64 node(struct fuzz_in *in)
{
	u8 which = fuzz_u8(in);

	if (which < 160)
		return which % 12;
	if (which < 220)
		return CONTROL_INO | (u64)(which % 16) << 56 | fuzz_u8(in);
	return fuzz_number(in);
}

/* Return: its number, 0: there is no answer to it. */
static u64 send_one(struct fuzz_in *in)
{
	_Alignas(8) u8 buf[sizeof(struct fuse_in_header) + BODY_MAX + 200];
	struct fuse_in_header *h = (void *)buf;
	u8 *body = buf + sizeof(*h);
	u8 how = fuzz_u8(in);
	const struct shape *shape = &shapes[how % ARRAY_SIZE(shapes)];
	size_t len;

	memset(h, 0, sizeof(*h));
	h->opcode = shape->opcode;
	h->nodeid = node(in);
	if (how < 230) {
		len = whole_body(in, shape, body);
	} else {
		h->opcode = fuzz_u8(in) % 64;
		len = fuzz_bytes(in, body, BODY_MAX);
	}
	if (!h->opcode || h->opcode == FUSE_INIT || h->opcode == FUSE_DESTROY ||
	    h->opcode == FUSE_INTERRUPT || h->opcode == FUSE_FORGET ||
	    h->opcode == FUSE_BATCH_FORGET || h->opcode == FUSE_NOTIFY_REPLY)
		return 0;
	h->unique = peer.unique += 2;
	h->uid = how % 2 ? 1000 : 0;
	h->pid = (u32)getpid();
	h->len = (u32)(sizeof(*h) + len);
	peer_send_raw(&peer, buf, h->len);
	return wire_wants_reply(h) ? h->unique : 0;
}

static void one(const u8 *data, size_t len)
{
	struct fuzz_in in = {data, len};
	u64 waiting[REQUESTS_MAX];
	unsigned nr = 0;

	for (int i = 0; i < REQUESTS_MAX && in.len; i++) {
		u64 unique = send_one(&in);

		if (unique)
			waiting[nr++] = unique;
	}
	for (unsigned i = 0; i < nr; i++)
		free(peer_wait(&peer, waiting[i]));
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	if (++nr_inputs % INPUTS_A_SESSION)
		return;
	fs_check(tfs.fs);
	stop();
	start();
}

/* Every opcode, on a file, a folder and a control file. */
static size_t seed(u32 n, u8 *buf)
{
	size_t len = 0;

	if (n >= ARRAY_SIZE(shapes))
		return 0;
	for (u8 i = 0; i < 3; i++) {
		buf[len++] = 27; /* CREATE */
		buf[len++] = 1;
		buf[len++] = i;
		buf[len++] = 0;
		buf[len++] = 0;
		buf[len++] = 1;
		buf[len++] = 0;
		buf[len++] = 2;
		buf[len++] = (u8)n;
		buf[len++] = i == 2 ? 200 : i + 1;
		buf[len++] = i;
		buf[len++] = 16;
		buf[len++] = 0;
		memset(buf + len, 'x', 16);
		len += 16;
		buf[len++] = 1;
		buf[len++] = 0;
		buf[len++] = 1;
	}
	return len;
}

static const char *const known[] = {NULL};

const struct fuzz_target fuzz_target = {
	.name = "fuzz_requests",
	.begin = begin,
	.end = end,
	.one = one,
	.seed = seed,
	.known = known,
};

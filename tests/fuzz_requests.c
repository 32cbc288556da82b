/* SPDX-License-Identifier: MIT */
/*
 * Requests over the socket that stands for /dev/fuse. An input is a list of
 * them: an opcode, a node, a handle, and a body that is made whole for the
 * opcode and then changed, or any bytes. Nodes and handles are mostly those
 * that the session has given, without which nearly all it says is that there is
 * no such thing. The session must go on answering, and the volume be sound.
 * What only a kernel knows it must keep to, since it is trusted with it:
 * look-ups are forgotten as often as they were made, and a request's length is
 * that of its packet.
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
#define READ_MAX (128u << 10)
/* So many inputs meet one session, then the volume is checked. */
#define INPUTS_A_SESSION 200

static struct test_fs tfs;
static struct control *control;
static struct peer peer;
static unsigned nr_inputs;
static u64 nr_done[64]; /* by opcode: requests that were no error */

/* What the session has given last: the oldest is overwritten. */
#define GIVEN_MAX 8
struct given {
	u64 value[GIVEN_MAX];
	unsigned nr;
};
static struct given nodes, handles;

static void give(struct given *g, u64 value)
{
	g->value[g->nr++ % GIVEN_MAX] = value;
}

/* 0: the one given last. */
static u64 one_given(const struct given *g, u8 which)
{
	unsigned nr = min(g->nr, (unsigned)GIVEN_MAX);

	return nr ? g->value[(g->nr - 1 - which % nr) % GIVEN_MAX] : 0;
}

static void start(void)
{
	struct session_config cfg = {0};

	test_fs_open(&tfs);
	ck_assert_int_eq(control_new(tfs.fs, NULL, 0, 0, &control), 0);
	cfg.fs = tfs.fs;
	cfg.control = control;
	peer_init(&peer, &cfg, 38, PEER_INIT_FLAGS);
	nodes.nr = handles.nr = 0;
	give(&nodes, FS_ROOT_INO);
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
	/* or they were not what they should be */
	if (nr_inputs >= 1000)
		ck_assert(nr_done[FUSE_READ] && nr_done[FUSE_WRITE] &&
			  nr_done[FUSE_RENAME] && nr_done[FUSE_RELEASE]);
	tmpdir_remove();
}

/* ---- requests ---- */

/* The size of the arguments before the names or the data, and what they begin
 * with. */
static const struct shape {
	u32 opcode;
	size_t size;
	int names;
	enum { ANY, HANDLE, NODE } first;
} shapes[] = {
	{FUSE_LOOKUP, 0, 1, ANY},
	{FUSE_GETATTR, sizeof(struct fuse_getattr_in), 0, ANY},
	{FUSE_SETATTR, sizeof(struct fuse_setattr_in), 0, ANY},
	{FUSE_READLINK, 0, 0, ANY},
	{FUSE_SYMLINK, 0, 2, ANY},
	{FUSE_MKNOD, sizeof(struct fuse_mknod_in), 1, ANY},
	{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), 1, ANY},
	{FUSE_UNLINK, 0, 1, ANY},
	{FUSE_RMDIR, 0, 1, ANY},
	{FUSE_RENAME, sizeof(struct fuse_rename_in), 2, NODE},
	{FUSE_LINK, sizeof(struct fuse_link_in), 1, NODE},
	{FUSE_OPEN, sizeof(struct fuse_open_in), 0, ANY},
	{FUSE_READ, sizeof(struct fuse_read_in), 0, HANDLE},
	{FUSE_WRITE, sizeof(struct fuse_write_in), 0, HANDLE},
	{FUSE_STATFS, 0, 0, ANY},
	{FUSE_RELEASE, sizeof(struct fuse_release_in), 0, HANDLE},
	{FUSE_FSYNC, sizeof(struct fuse_fsync_in), 0, HANDLE},
	{FUSE_SETXATTR, sizeof(struct fuse_setxattr_in), 1, ANY},
	{FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), 1, ANY},
	{FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), 0, ANY},
	{FUSE_REMOVEXATTR, 0, 1, ANY},
	{FUSE_FLUSH, sizeof(struct fuse_flush_in), 0, HANDLE},
	{FUSE_OPENDIR, sizeof(struct fuse_open_in), 0, ANY},
	{FUSE_READDIR, sizeof(struct fuse_read_in), 0, HANDLE},
	{FUSE_RELEASEDIR, sizeof(struct fuse_release_in), 0, HANDLE},
	{FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), 0, HANDLE},
	{FUSE_ACCESS, sizeof(struct fuse_access_in), 0, ANY},
	{FUSE_CREATE, sizeof(struct fuse_create_in), 1, ANY},
	{FUSE_BMAP, sizeof(struct fuse_bmap_in), 0, ANY},
	{FUSE_IOCTL, sizeof(struct fuse_ioctl_in), 0, HANDLE},
	{FUSE_POLL, sizeof(struct fuse_poll_in), 0, HANDLE},
	{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), 0, HANDLE},
	{FUSE_READDIRPLUS, sizeof(struct fuse_read_in), 0, HANDLE},
	{FUSE_RENAME2, sizeof(struct fuse_rename2_in), 2, NODE},
	{FUSE_LSEEK, sizeof(struct fuse_lseek_in), 0, HANDLE},
	{FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), 0,
	 HANDLE},
	{WIRE_STATX, sizeof(struct wire_statx_in), 0, ANY},
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

static u64 node(struct fuzz_in *in)
{
	u8 which = fuzz_u8(in);

	if (which < 120)
		return one_given(&nodes, which);
	if (which < 180)
		return which % 12;
	if (which < 230)
		return CONTROL_INO | (u64)(which % 16) << 56 | fuzz_u8(in);
	return fuzz_number(in);
}

static u64 handle(struct fuzz_in *in)
{
	u8 which = fuzz_u8(in);

	return which < 230 ? one_given(&handles, which) : fuzz_number(in);
}

/* What is believed without being looked at: numbers that a kernel gives. */
static void set_numbers(struct fuzz_in *in, const struct shape *shape, u8 *body,
			size_t len)
{
	u32 words = (u32)(shape->size / 4);
	size_t size = shape->size;
	u64 first;

	for (u8 n = fuzz_u8(in) % 6; n && words; n--) {
		u32 at = fuzz_u8(in) % words * 4;
		u64 value = fuzz_number(in);

		memcpy(body + at, &value, size - at < 8 ? 4 : 8);
	}
	if (shape->first != ANY) {
		first = shape->first == NODE ? node(in) : handle(in);
		memcpy(body, &first, sizeof(first));
	}
	if (shape->opcode == FUSE_COPY_FILE_RANGE) {
		struct fuse_copy_file_range_in *c = (void *)body;

		c->nodeid_out = node(in);
		c->fh_out = handle(in);
	}
	if (shape->opcode == FUSE_LSEEK) {
		struct fuse_lseek_in *l = (void *)body;

		l->whence = fuzz_u8(in) % 6;
	}
	if (shape->opcode == FUSE_READ) {
		struct fuse_read_in *r = (void *)body;

		r->size %= READ_MAX + 1;
	}
	if (shape->opcode == FUSE_WRITE) {
		struct fuse_write_in *w = (void *)body;

		w->size = (u32)(len - size);
	}
	if (shape->opcode == FUSE_IOCTL) {
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
	set_numbers(in, shape, body, len);
	return len;
}

/* A request that was sent; number 0: there is no answer to it. */
struct sent {
	u64 unique;
	u32 opcode;
};

static struct sent send_one(struct fuzz_in *in)
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
		return (struct sent){0};
	h->unique = peer.unique += 2;
	h->uid = how % 2 ? 1000 : 0;
	h->pid = (u32)getpid();
	h->len = (u32)(sizeof(*h) + len);
	peer_send_raw(&peer, buf, h->len);
	return (struct sent){wire_wants_reply(h) ? h->unique : 0, h->opcode};
}

/* ---- answers ---- */

/* Does what comes next depend on it? */
static bool gives(u32 opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_CREATE:
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return true;
	default:
		return false;
	}
}

static void note_given(u32 opcode, const struct peer_reply *r)
{
	size_t at = opcode == FUSE_CREATE ? sizeof(struct fuse_entry_out) : 0;
	u64 value;

	if (at || opcode == FUSE_OPEN || opcode == FUSE_OPENDIR) {
		memcpy(&value, r->data + at, sizeof(value));
		give(&handles, value);
	}
	if (opcode != FUSE_OPEN && opcode != FUSE_OPENDIR) {
		memcpy(&value, r->data, sizeof(value));
		give(&nodes, value);
	}
}

static void take_answer(const struct sent *s)
{
	struct peer_reply *r = peer_wait(&peer, s->unique);

	if (!r->error && gives(s->opcode))
		note_given(s->opcode, r);
	if (!r->error && s->opcode < ARRAY_SIZE(nr_done))
		nr_done[s->opcode]++;
	free(r);
}

static void one(const u8 *data, size_t len)
{
	struct fuzz_in in = {data, len};
	struct sent waiting[REQUESTS_MAX];
	unsigned nr = 0;

	for (int i = 0; i < REQUESTS_MAX && in.len; i++) {
		struct sent s = send_one(&in);

		if (s.unique && gives(s.opcode))
			take_answer(&s);
		else if (s.unique)
			waiting[nr++] = s;
	}
	for (unsigned i = 0; i < nr; i++)
		take_answer(&waiting[i]);
	ck_assert_int_eq(peer_getattr(&peer, FS_ROOT_INO, NULL), 0);
	if (++nr_inputs % INPUTS_A_SESSION)
		return;
	fs_check(tfs.fs);
	stop();
	start();
}

#define NODE_LAST 0
#define NODE_ROOT 121
#define NODE_CONTROL 200

/* A request as send_one() reads it, with data; its numbers follow. */
static size_t add_request(u8 *buf, size_t len, u32 shape, u8 nodeid, u8 name)
{
	buf[len++] = (u8)shape;
	buf[len++] = nodeid;
	for (int i = 0; i < shapes[shape].names; i++)
		buf[len++] = (u8)(name + i);
	buf[len++] = 16;
	buf[len++] = 0;
	memset(buf + len, 'x', 16);
	return len + 16;
}

static u32 shape_of(u32 opcode)
{
	u32 i = 0;

	while (shapes[i].opcode != opcode)
		i++;
	return i;
}

static size_t add_flags(u8 *buf, size_t len, u8 flags)
{
	buf[len++] = 1;
	buf[len++] = 0; /* the first word */
	buf[len++] = flags;
	return len;
}

/* A file, made or there already, and open. */
static size_t add_open(u8 *buf, size_t len, u8 name)
{
	len = add_request(buf, len, shape_of(FUSE_CREATE), NODE_ROOT, name);
	len = add_flags(buf, len, O_RDWR);
	len = add_request(buf, len, shape_of(FUSE_LOOKUP), NODE_ROOT, name);
	buf[len++] = 0;
	len = add_request(buf, len, shape_of(FUSE_OPEN), NODE_LAST, 0);
	return add_flags(buf, len, O_RDWR);
}

/* What a name is for: 0: an attribute, 1: something new, 2: what is there. */
static u8 name_for(u32 opcode, u8 i)
{
	if (i == 0)
		return 10;
	return opcode == FUSE_MKDIR || opcode == FUSE_MKNOD ||
			       opcode == FUSE_SYMLINK || opcode == FUSE_LINK ||
			       opcode == FUSE_RMDIR
		       ? 3
		       : i;
}

/* A length, where there is one. */
static size_t add_numbers(u8 *buf, size_t len, u32 opcode)
{
	bool has = opcode == FUSE_READ || opcode == FUSE_READDIR ||
		   opcode == FUSE_READDIRPLUS || opcode == FUSE_FALLOCATE;

	buf[len++] = has;
	if (has) {
		buf[len++] = 4;	  /* which word */
		buf[len++] = 128; /* 4096 */
	}
	return len;
}

/* Every opcode, on a file, in a folder and on a control file. */
static size_t seed(u32 n, u8 *buf)
{
	static const u8 where[] = {NODE_LAST, NODE_ROOT, NODE_CONTROL};
	size_t len = 0;
	u32 opcode;

	if (n >= ARRAY_SIZE(shapes))
		return 0;
	opcode = shapes[n].opcode;
	for (u8 i = 0; i < 3; i++) {
		len = add_open(buf, len, i);
		if (i == 1)
			len = add_numbers(buf,
					  add_request(buf, len,
						      shape_of(FUSE_OPENDIR),
						      NODE_ROOT, 0),
					  FUSE_OPENDIR);
		len = add_request(buf, len, n, where[i], name_for(opcode, i));
		len = add_numbers(buf, len, opcode);
		if (shapes[n].first == NODE)
			buf[len++] =
				opcode == FUSE_LINK ? NODE_LAST : NODE_ROOT;
		else if (shapes[n].first == HANDLE)
			buf[len++] = 0;
		if (opcode == FUSE_LSEEK)
			buf[len++] = SEEK_DATA;
		for (int k = opcode == FUSE_COPY_FILE_RANGE ? 2 : 0; k; k--)
			buf[len++] = 0;
		if (opcode == FUSE_IOCTL)
			buf[len++] = 0;
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

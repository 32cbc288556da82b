/* SPDX-License-Identifier: MIT */
/*
 * What people and programs type: lines written to control files, names looked
 * up there, values of extended attributes, mount options, sizes. The first byte
 * of an input says which. Nothing that is refused may have changed anything
 * that shows, and what is accepted reads back.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "fs_util.h"
#include "fuzz.h"
#include "mountinfo.h"
#include "options.h"
#include "strbuf.h"
#include "tmpdir.h"
#include "units.h"

static struct test_fs t;
static struct control *control;
static u64 file, folder;

static void begin(void)
{
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tmpdir_make();
	test_fs_init(&t);
	t.volume_size = 16u << 20;
	test_fs_open(&t);
	file = test_create(&t, FS_ROOT_INO, "file", NULL);
	folder = test_mkdir(&t, FS_ROOT_INO, "folder");
	ck_assert_int_eq(control_new(t.fs, NULL, 0, 0, &control), 0);
}

static void end(void)
{
	control_free(control);
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

/* ---- control files ---- */

struct waiting {
	struct fs_done done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool answered;
	int err;
};

static void note_answer(struct fs_done *done, int err)
{
	struct waiting *w = container_of(done, struct waiting, done);

	(void)pthread_mutex_lock(&w->lock);
	w->answered = true;
	w->err = err;
	(void)pthread_cond_signal(&w->cond);
	(void)pthread_mutex_unlock(&w->lock);
}

static int write_control(struct control_file *f, u64 pos, const void *buf,
			 size_t len)
{
	struct waiting w = {.done = {note_answer},
			    .lock = PTHREAD_MUTEX_INITIALIZER,
			    .cond = PTHREAD_COND_INITIALIZER};

	control_write(f, pos, buf, len, &w.done);
	(void)pthread_mutex_lock(&w.lock);
	while (!w.answered)
		(void)pthread_cond_wait(&w.cond, &w.lock);
	(void)pthread_mutex_unlock(&w.lock);
	return w.err;
}

/* The @nth writable file. */
static const char *writable(u32 nth, char path[64])
{
	static const char *const others[] = {
		"commit_secs",
		"compact",
		"drop_caches",
		"sync",
	};
#define X(name, ...) #name,
	static const char *const knobs[] = {CACHE_KNOBS(X)};
#undef X
	nth %= (u32)(ARRAY_SIZE(knobs) + ARRAY_SIZE(others) + 1);
	if (nth < ARRAY_SIZE(knobs))
		return knobs[nth];
	nth -= (u32)ARRAY_SIZE(knobs);
	if (nth < ARRAY_SIZE(others))
		return others[nth];
	(void)snprintf(path, 64, "%llu", (unsigned long long)file);
	return NULL;
}

static u64 lookup(u64 dir, const char *name)
{
	struct stat st;
	double timeout;

	ck_assert_int_eq(control_lookup(control, dir, name, &st, &timeout), 0);
	return st.st_ino;
}

static u64 find_writable(u32 nth)
{
	char path[64];
	const char *name = writable(nth, path);

	if (name)
		return lookup(lookup(CONTROL_INO, "vm"), name);
	return lookup(lookup(lookup(CONTROL_INO, "inode"), path),
		      "drop_caches");
}

static size_t read_control(u64 ino, char *buf, size_t size)
{
	struct control_file *f;
	ssize_t n;

	ck_assert_int_eq(control_open(control, ino, O_RDONLY, &f), 0);
	n = control_read(f, 0, buf, size);
	ck_assert_int_ge(n, 0);
	control_release(f);
	return (size_t)n;
}

static void fuzz_write(struct fuzz_in *in)
{
	u64 ino = find_writable(fuzz_u8(in));
	u64 pos = fuzz_u8(in) < 250 ? 0 : fuzz_number(in);
	char before[64], after[64], buf[512];
	size_t n = fuzz_bytes(in, buf, sizeof(buf)), nr_before, nr_after;
	struct control_file *f;
	int err;

	nr_before = read_control(ino, before, sizeof(before));
	ck_assert_int_eq(control_open(control, ino, O_RDWR, &f), 0);
	err = write_control(f, pos, buf, n);
	control_release(f);
	ck_assert_int_le(err, 0);
	nr_after = read_control(ino, after, sizeof(after));
	if (err)
		ck_assert(nr_before == nr_after &&
			  memcmp(before, after, nr_after) == 0);
}

static void fuzz_lookup(struct fuzz_in *in)
{
	u64 dir = CONTROL_INO | (u64)(fuzz_u8(in) % 16) << 56 | fuzz_number(in);
	char name[256] = "", buf[64];
	struct control_file *f;
	double timeout;
	struct stat st;

	(void)fuzz_bytes(in, name, sizeof(name) - 1);
	if (control_lookup(control, dir, name, &st, &timeout))
		return;
	ck_assert(control_owns(st.st_ino));
	ck_assert_int_eq(control_getattr(control, st.st_ino, &st), 0);
	if (control_open(control, st.st_ino, O_RDONLY, &f))
		return;
	(void)control_read(f, fuzz_number(in), buf, sizeof(buf));
	control_release(f);
}

/* ---- attributes ---- */

static void fuzz_xattr(struct fuzz_in *in)
{
	static const char *const names[] = {
		FS_XATTR_ATOMIC,	   FS_XATTR_PIN,
		FS_XATTR_READAHEAD,	   "user.foliofs.stat",
		"system.posix_acl_access", "system.posix_acl_default",
		"security.capability",	   "user.any",
	};
	u64 ino = fuzz_u8(in) % 2 ? file : folder;
	u8 which = fuzz_u8(in);
	char name[257] = "";
	u8 value[1024], back[1024];
	size_t n;
	ssize_t m;

	if (which < 240)
		(void)snprintf(name, sizeof(name), "%s",
			       names[which % ARRAY_SIZE(names)]);
	else
		(void)fuzz_bytes(in, name, sizeof(name) - 1);
	n = fuzz_bytes(in, value, sizeof(value));
	if (fs_setxattr(t.fs, ino, name, value, n, fuzz_u8(in) % 8) == 0) {
		m = fs_getxattr(t.fs, ino, name, back, sizeof(back));
		if (strncmp(name, "user.any", 9) == 0)
			ck_assert(m == (ssize_t)n &&
				  memcmp(value, back, n) == 0);
	}
	(void)fs_listxattr(t.fs, ino, true, (char *)back, sizeof(back));
	if (fuzz_u8(in) % 4 == 0)
		(void)fs_removexattr(t.fs, ino, name);
}

/* ---- texts ---- */

static void fuzz_options(struct fuzz_in *in)
{
	char text[6][128] = {"foliofs"};
	char *argv[7];
	struct options opt;
	char err[256] = "";
	int argc = 1 + fuzz_u8(in) % 5;

	for (int i = 1; i < argc; i++) {
		if (fuzz_u8(in) % 2)
			(void)snprintf(text[i], sizeof(text[i]), "-o");
		else
			(void)fuzz_bytes(in, text[i], sizeof(text[i]) - 1);
	}
	for (int i = 0; i < argc; i++)
		argv[i] = text[i];
	argv[argc] = NULL;
	if (options_parse(&opt, argc, argv, (u64)1 << 33, err, sizeof(err)) ==
	    -EINVAL)
		ck_assert_msg(*err && !strchr(err, '\n'), "said: '%s'", err);
	options_done(&opt);
}

static void fuzz_mountinfo(struct fuzz_in *in)
{
	const char *path = tmpdir_path("mountinfo");
	struct mount_dev dev;
	unsigned long flags;
	char text[1024];
	size_t n = fuzz_bytes(in, text, sizeof(text));
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, n, f), n);
	(void)fclose(f);
	(void)mountinfo_dev(path, "/mnt", &dev);
	(void)mountinfo_flags(path, "/mnt", &flags);
	(void)mountinfo_is_ours(path, "/mnt");
}

/* What was escaped comes back. */
static void fuzz_text(struct fuzz_in *in)
{
	char text[300] = "", buf[UNITS_LEN];
	struct strbuf sb = STRBUF_INIT;
	u64 v;

	(void)fuzz_bytes(in, text, sizeof(text) - 1);
	if (parse_size(text, fuzz_number(in), &v) == 0)
		(void)format_size(v, buf);
	(void)parse_u64(text, &v);

	strbuf_add_path(&sb, text);
	ck_assert(!sb.failed);
	if (sb.buf) {
		path_unescape(sb.buf);
		ck_assert_str_eq(sb.buf, text);
	}
	strbuf_release(&sb);
	path_unescape(text);
}

static void (*const kinds[])(struct fuzz_in *in) = {
	fuzz_write,   fuzz_lookup,    fuzz_xattr,
	fuzz_options, fuzz_mountinfo, fuzz_text,
};

static void one(const u8 *data, size_t len)
{
	struct fuzz_in in = {data, len};

	kinds[fuzz_u8(&in) % ARRAY_SIZE(kinds)](&in);
}

/* ---- seeds ---- */

static size_t add_text(u8 *buf, size_t len, const char *text, bool wide)
{
	size_t n = strlen(text);

	buf[len++] = (u8)n;
	if (wide)
		buf[len++] = 0;
	memcpy(buf + len, text, n);
	return len + n;
}

static size_t seed(u32 n, u8 *buf)
{
	static const char *const texts[] = {
		"1", "16M\n", "4K", "50%", "max\n", "-1", "",
	};
	static const char mountinfo[] =
		"36 35 98:0 / /mnt rw,noatime master:1 - fuse.foliofs /v "
		"rw,errors=continue\n";
	const u32 nr = (u32)ARRAY_SIZE(texts);

	if (n < 3 * nr) {
		size_t len = 0;

		buf[len++] = 0;
		buf[len++] = (u8)n;
		buf[len++] = 0;
		return add_text(buf, len, texts[n % nr], true);
	}
	n -= 3 * nr;
	if (n < 8) { /* attributes; those of ACLs begin with a version */
		memcpy(buf, "\2\1\0\1\0", 5);
		buf[2] = (u8)n;
		if (n != 4 && n != 5)
			return (size_t)(memcpy(buf + 5, "1", 1), 6);
		memcpy(buf + 3,
		       "\34\0\2\0\0\0\1\0\6\0\377\377\377\377"
		       "\4\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377",
		       30);
		return 33;
	}
	switch (n - 8) {
	case 0:
		memcpy(buf, "\3\4\1\0", 4);
		return add_text(buf, 4, "cache_size=64M,commit=1,fsname=a\\,b",
				false);
	case 1:
		memcpy(buf, "\3\3\0", 3);
		return add_text(buf, 3, "-ocache=own,ro", false);
	case 2:
		buf[0] = 4;
		return add_text(buf, 1, mountinfo, true);
	case 3:
		buf[0] = 5;
		return add_text(buf, 1, "a\\040b\tc", true);
	case 4:
		memcpy(buf, "\1\2\0", 3);
		return add_text(buf, 3, "sync", false);
	case 5:
		memcpy(buf, "\1\4\0", 3);
		return add_text(buf, 3, "2", false);
	default:
		return 0;
	}
}

static const char *const known[] = {NULL};

const struct fuzz_target fuzz_target = {
	.name = "fuzz_control",
	.begin = begin,
	.end = end,
	.one = one,
	.seed = seed,
	.known = known,
};

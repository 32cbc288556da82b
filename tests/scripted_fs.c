/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "scripted_fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake fake;

void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	mutex_init(&fake.lock, LOCK_NAMES, "fake");
	waitq_init(&fake.changed);
}

static void changed(void)
{
	waitq_wake_all(&fake.changed);
}

/* Add to a count that the test looks at. */
static void add(u64 *count, u64 nr)
{
	mutex_lock(&fake.lock);
	*count += nr;
	changed();
	mutex_unlock(&fake.lock);
}

static void pass_gate(void)
{
	mutex_lock(&fake.lock);
	fake.nr_gated++;
	changed();
	while (fake.gated)
		waitq_wait(&fake.changed, &fake.lock);
	fake.nr_gated--;
	mutex_unlock(&fake.lock);
}

void fake_wait_gated(unsigned nr)
{
	mutex_lock(&fake.lock);
	while (fake.nr_gated < nr)
		waitq_wait(&fake.changed, &fake.lock);
	mutex_unlock(&fake.lock);
}

void fake_wait_dones(unsigned nr)
{
	mutex_lock(&fake.lock);
	while (fake.nr_dones < nr)
		waitq_wait(&fake.changed, &fake.lock);
	mutex_unlock(&fake.lock);
}

void fake_open_gate(void)
{
	mutex_lock(&fake.lock);
	fake.gated = false;
	changed();
	mutex_unlock(&fake.lock);
}

static void hold_or_end(struct fs_done *done)
{
	bool hold;

	mutex_lock(&fake.lock);
	hold = fake.hold_dones;
	if (hold) {
		assert(fake.nr_dones < FAKE_MAX_DONES);
		fake.dones[fake.nr_dones++] = done;
		changed();
	}
	mutex_unlock(&fake.lock);
	if (!hold)
		done->fn(done, 0);
}

void fake_complete(int err)
{
	struct fs_done *done;

	do {
		mutex_lock(&fake.lock);
		done = fake.nr_dones ? fake.dones[--fake.nr_dones] : NULL;
		mutex_unlock(&fake.lock);
		if (done)
			done->fn(done, err);
	} while (done);
}

static void fill_stat(struct stat *st, u64 ino, u32 mode)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = mode;
	st->st_nlink = 1;
	st->st_blksize = 4096;
}

static bool is_handle(u64 fh)
{
	return fh == FAKE_FH;
}

/* ---- names ---- */

int fs_lookup(struct fs *fs, u64 parent, const char *name, struct stat *ret_st)
{
	pass_gate();
	if (parent != FS_ROOT_INO)
		return -ENOTDIR;
	if (!strcmp(name, "file"))
		fill_stat(ret_st, FAKE_FILE, S_IFREG | 0644);
	else if (!strcmp(name, "dir"))
		fill_stat(ret_st, FAKE_DIR, S_IFDIR | 0755);
	else
		return strcmp(name, "broken") ? -ENOENT : -EIO;
	add(&fake.lookups, 1);
	return 0;
}

void fs_forget(struct fs *fs, u64 ino, u64 nlookup)
{
	add(&fake.lookups, -nlookup);
}

static int made(struct stat *ret_st, u32 mode)
{
	fill_stat(ret_st, FAKE_FILE, mode);
	add(&fake.lookups, 1);
	return 0;
}

int fs_mknod(struct fs *fs, u64 parent, const char *name, u32 mode, u64 rdev,
	     const struct fs_cred *cred, struct stat *ret_st)
{
	return cred->uid == 1000 ? made(ret_st, mode) : -EACCES;
}

int fs_mkdir(struct fs *fs, u64 parent, const char *name, u32 mode,
	     const struct fs_cred *cred, struct stat *ret_st)
{
	return made(ret_st, S_IFDIR | mode);
}

int fs_symlink(struct fs *fs, u64 parent, const char *name, const char *target,
	       const struct fs_cred *cred, struct stat *ret_st)
{
	return made(ret_st, S_IFLNK | 0777);
}

int fs_link(struct fs *fs, u64 ino, u64 parent, const char *name,
	    struct stat *ret_st)
{
	return made(ret_st, S_IFREG | 0644);
}

int fs_unlink(struct fs *fs, u64 parent, const char *name)
{
	return 0;
}

int fs_rmdir(struct fs *fs, u64 parent, const char *name)
{
	return 0;
}

int fs_rename(struct fs *fs, u64 parent, const char *name, u64 newparent,
	      const char *newname, unsigned flags, const struct fs_cred *cred)
{
	return 0;
}

int fs_readlink(struct fs *fs, u64 ino, char *buf, size_t size)
{
	(void)snprintf(buf, size, "target");
	return 0;
}

/* ---- attributes ---- */

int fs_getattr(struct fs *fs, u64 ino, struct stat *ret_st)
{
	if (ino > FAKE_ENTRY + FAKE_NR_ENTRIES)
		return -ENOENT;
	fill_stat(ret_st, ino, ino == FAKE_FILE ? S_IFREG : S_IFDIR);
	return 0;
}

int fs_generation(struct fs *fs, u64 ino, u64 *ret_generation)
{
	*ret_generation = 0x123456789ull;
	return 0;
}

int fs_get_flags(struct fs *fs, u64 ino, u32 *ret_flags)
{
	*ret_flags = fake.flags;
	return 0;
}

int fs_set_flags(struct fs *fs, u64 ino, u32 flags, const struct fs_cred *cred)
{
	fake.flags = flags;
	return 0;
}

int fs_btime(struct fs *fs, u64 ino, struct timespec *ret_btime)
{
	*ret_btime = (struct timespec){-3, 4};
	return 0;
}

int fs_setattr(struct fs *fs, u64 ino, u64 fh, const struct stat *attr,
	       unsigned set, struct stat *ret_st)
{
	mutex_lock(&fake.lock);
	fake.last_set = set;
	mutex_unlock(&fake.lock);
	return fs_getattr(fs, ino, ret_st);
}

void fs_on_attr_change(struct fs *fs, void (*fn)(void *arg, u64 ino), void *arg)
{
	fake.attr_changed = fn;
	fake.attr_changed_arg = arg;
}

int fs_statfs(struct fs *fs, struct statvfs *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->f_bsize = 4096;
	ret->f_namemax = FS_NAME_MAX;
	return 0;
}

ssize_t fs_getxattr(struct fs *fs, u64 ino, const char *name, void *buf,
		    size_t size)
{
	if (strcmp(name, "user.x") != 0)
		return -ENODATA;
	if (!size)
		return 5;
	if (size < 5)
		return -ERANGE;
	memcpy(buf, "value", 5);
	return 5;
}

ssize_t fs_listxattr(struct fs *fs, u64 ino, bool trusted, char *buf,
		     size_t size)
{
	if (size >= 7)
		memcpy(buf, "user.x", 7);
	return 7;
}

int fs_setxattr(struct fs *fs, u64 ino, const char *name, const void *value,
		size_t size, int flags)
{
	mutex_lock(&fake.lock);
	fake.xattr_flags = flags;
	(void)snprintf(fake.xattr_name, sizeof(fake.xattr_name), "%s", name);
	(void)snprintf(fake.xattr_value, sizeof(fake.xattr_value), "%.*s",
		       (int)size, (const char *)value);
	mutex_unlock(&fake.lock);
	return 0;
}

int fs_removexattr(struct fs *fs, u64 ino, const char *name)
{
	return 0;
}

/* ---- open files ---- */

static int opened(u64 *ret_fh)
{
	*ret_fh = FAKE_FH;
	add(&fake.handles, 1);
	return 0;
}

/* What the unmapper asks for. */
u64 cache_get_knob(const struct cache *cache, enum cache_knob knob)
{
	return fake.cache_size;
}

void cache_set_copies(struct cache *cache, u64 bytes)
{
}

int fs_path(struct fs *fs, u64 ino, char *buf, size_t size)
{
	return -ENOENT;
}

int fs_take_begin(struct fs *fs, u64 ino)
{
	return fake.to_invalidate ? 0 : -ENOENT;
}

void fs_take_end(struct fs *fs, u64 ino)
{
}

int fs_looked_up(struct fs *fs, u64 **ret, size_t *ret_nr)
{
	return -ENOMEM;
}

size_t fs_mappers(struct fs *fs, u64 ino, u64 first, u64 last, u32 *pids,
		  size_t nr, size_t max)
{
	return nr;
}

int fs_openf(struct fs *fs, u64 ino, int flags, pid_t pid, u64 *ret_fh)
{
	pass_gate();
	if (__atomic_load_n(&fake.taking, __ATOMIC_ACQUIRE)) {
		(void)__atomic_sub_fetch(&fake.taking, 1, __ATOMIC_RELEASE);
		return -EAGAIN;
	}
	return ino == FAKE_FILE ? opened(ret_fh) : -ENOENT;
}

int fs_create(struct fs *fs, u64 parent, const char *name, u32 mode, int flags,
	      const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	      u64 *ret_fh)
{
	pass_gate();
	(void)made(ret_st, S_IFREG | mode);
	return opened(ret_fh);
}

int fs_tmpfile(struct fs *fs, u64 parent, u32 mode, int flags,
	       const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	       u64 *ret_fh)
{
	add(&fake.nameless, 1);
	return fs_create(fs, parent, "", mode, flags, cred, pid, ret_st,
			 ret_fh);
}

int fs_release(struct fs *fs, u64 fh)
{
	if (!is_handle(fh))
		return -EBADF;
	add(&fake.handles, (u64)-1);
	return 0;
}

bool fs_is_mapped(struct fs *fs, u64 fh)
{
	return fake.mapped;
}

bool fs_account_fault(struct fs *fs, u64 fh, pid_t pid,
		      const struct read_fault *fault)
{
	mutex_lock(&fake.lock);
	fake.nr_faults += fake.mapped;
	fake.last_fault_pid = pid;
	mutex_unlock(&fake.lock);
	return fake.mapped;
}

void fs_account_fill(struct fs *fs, u64 fh, const struct read_fault *fault)
{
	add(&fake.nr_fills, 1);
}

ssize_t fs_read(struct fs *fs, u64 fh, u64 pos, size_t len,
		struct cache_read *rd)
{
	size_t head;

	if (!is_handle(fh))
		return -EBADF;

	mutex_lock(&fake.lock);
	fake.nr_reads++;
	fake.pins++;
	len = pos < fake.size ? min(len, fake.size - pos) : 0;
	mutex_unlock(&fake.lock);

	/* the first half from "frames", the rest by way of the bounce buffer */
	head = len / 2;
	rd->iov[0] = (struct iovec){fake.data + pos, head};
	rd->iov[1] = (struct iovec){rd->bounce, len - head};
	memcpy(rd->bounce, fake.data + pos + head, len - head);
	rd->nr_iov = len ? 2 : 0;
	rd->nr_frames = 0;
	return (ssize_t)len;
}

void fs_note_filled(struct fs *fs, u64 fh, u64 pos, u64 len)
{
	add(&fake.nr_filled, 1);
}

struct cache *fs_cache(struct fs *fs)
{
	return NULL;
}

void cache_read_done(struct cache *cache, struct cache_read *rd)
{
	add(&fake.pins, (u64)-1);
}

static ssize_t store(u64 pos, const void *buf, size_t len, unsigned flags)
{
	if (pos + len > FAKE_SIZE)
		return -EFBIG;
	fake.last_write_flags = flags;
	fake.last_write_len = len;
	memcpy(fake.data + pos, buf, len);
	fake.size = max(fake.size, pos + len);
	return (ssize_t)len;
}

ssize_t fs_write(struct fs *fs, u64 fh, u64 pos, const void *buf, size_t len,
		 unsigned flags, u64 *ret_pause_ns, bool *ret_retry)
{
	ssize_t ret = -ENOSPC;

	if (!is_handle(fh))
		return -EBADF;
	if (fake.drops_setid)
		fake.attr_changed(fake.attr_changed_arg, FAKE_FILE);

	mutex_lock(&fake.lock);
	if (flags & CACHE_WRITE_WRITEPAGE)
		fake.nr_page_writes++;
	else
		fake.nr_writes++;
	*ret_pause_ns = fake.pause_ns;
	*ret_retry = !fake.full_for_good && !(flags & CACHE_WRITE_WRITEPAGE);
	if (fake.full)
		fake.full--;
	else
		ret = store(pos, buf, len, flags);
	mutex_unlock(&fake.lock);
	return ret;
}

ssize_t fs_write_ino(struct fs *fs, u64 ino, u64 pos, const void *buf,
		     size_t len, unsigned flags)
{
	ssize_t ret;

	if (ino != FAKE_FILE)
		return -ENOENT;
	mutex_lock(&fake.lock);
	fake.nr_ino_writes++;
	ret = store(pos, buf, len, flags);
	mutex_unlock(&fake.lock);
	return ret;
}

int fs_flush(struct fs *fs, u64 fh)
{
	return is_handle(fh) ? -EDQUOT : -EBADF;
}

/* One of those that are to be told there is no space. */
static bool is_full(void)
{
	bool full;

	mutex_lock(&fake.lock);
	full = fake.full > 0;
	if (full)
		fake.full--;
	mutex_unlock(&fake.lock);
	return full;
}

int fs_fallocate(struct fs *fs, u64 fh, int mode, u64 pos, u64 len)
{
	fake.last_kill = mode & FS_KILL_SUIDGID;
	if (!is_handle(fh))
		return -EBADF;
	return is_full() ? -ENOSPC : 0;
}

s64 fs_lseek(struct fs *fs, u64 fh, u64 pos, int whence)
{
	return is_handle(fh) ? (s64)pos + 1 : -EBADF;
}

ssize_t fs_copy_file_range(struct fs *fs, u64 fh_in, u64 pos_in, u64 fh_out,
			   u64 pos_out, size_t len, unsigned flags)
{
	fake.last_kill = flags & FS_KILL_SUIDGID;
	if (!is_handle(fh_in) || !is_handle(fh_out))
		return -EBADF;
	return is_full() ? -ENOSPC : (ssize_t)len;
}

/* ---- folders ---- */

bool fs_is_written(struct fs *fs, u64 ino)
{
	return false;
}

bool fs_take_late(struct fs *fs, u64 ino)
{
	return false;
}

int fs_opendir(struct fs *fs, u64 ino, int flags, u64 *ret_fh)
{
	pass_gate();
	return ino == FS_ROOT_INO ? opened(ret_fh) : -ENOTDIR;
}

bool fs_takes_listing(struct fs *fs, u64 fh)
{
	return !__atomic_load_n(&fake.listed_elsewhere, __ATOMIC_SEQ_CST);
}

int fs_releasedir(struct fs *fs, u64 fh)
{
	return fs_release(fs, fh);
}

/* Entry 0 and 1 are "." and "..". */
static bool fill_one(u64 nr, bool plus, fs_fill_fn fill, void *arg)
{
	char name[32];
	struct stat st;

	if (nr < 2)
		(void)snprintf(name, sizeof(name), "%s", nr ? ".." : ".");
	else
		(void)snprintf(name, sizeof(name), "entry%d", (int)nr - 2);
	fill_stat(&st, nr < 2 ? FS_ROOT_INO : FAKE_ENTRY + nr - 2, S_IFREG);
	if (!fill(arg, name, &st, nr + 1))
		return false;
	if (plus && nr >= 2)
		add(&fake.lookups, 1);
	return true;
}

int fs_readdir(struct fs *fs, u64 fh, u64 off, bool plus, fs_fill_fn fill,
	       void *arg)
{
	if (!is_handle(fh))
		return -EBADF;
	if (plus)
		pass_gate();
	for (u64 nr = off; nr < FAKE_NR_ENTRIES; nr++) {
		if (fake.readdir_err && nr == fake.readdir_err_at)
			return fake.readdir_err;
		if (!fill_one(nr, plus, fill, arg))
			break;
	}
	return 0;
}

/* ---- committing ---- */

void fs_fsync(struct fs *fs, u64 fh, bool datasync, struct fs_done *done)
{
	if (is_handle(fh))
		hold_or_end(done);
	else
		done->fn(done, -EBADF);
}

void fs_fsyncdir(struct fs *fs, u64 ino, struct fs_done *done)
{
	hold_or_end(done);
}

void fs_sync(struct fs *fs, struct fs_done *done)
{
	mutex_lock(&fake.lock);
	fake.nr_syncs++;
	mutex_unlock(&fake.lock);
	hold_or_end(done);
}

void fs_commit_files(struct fs *fs, const u64 *inos, u32 nr,
		     struct fs_done *done)
{
	mutex_lock(&fake.lock);
	fake.nr_committed = nr;
	fake.committed = nr ? inos[nr - 1] : 0;
	mutex_unlock(&fake.lock);
	hold_or_end(done);
}

bool fs_settle(struct fs *fs, struct fs_done *done)
{
	bool settles;

	mutex_lock(&fake.lock);
	settles = fake.settles;
	mutex_unlock(&fake.lock);
	if (settles)
		hold_or_end(done);
	return settles;
}

void fs_commit(struct fs *fs, struct fs_done *done)
{
	mutex_lock(&fake.lock);
	fake.nr_commits++;
	mutex_unlock(&fake.lock);
	hold_or_end(done);
}

/* ---- control files ---- */

struct control_file {
	int unused;
};

bool control_is_sync(u64 ino)
{
	return ino == FAKE_CONTROL_FILE;
}

int control_lookup(struct control *c, u64 parent, const char *name,
		   struct stat *ret_st, double *ret_timeout)
{
	*ret_timeout = 0;
	if (parent == FS_ROOT_INO)
		return control_getattr(c, CONTROL_INO, ret_st);
	if (parent == CONTROL_INO && !strcmp(name, "vmstat"))
		return control_getattr(c, FAKE_CONTROL_FILE, ret_st);
	return -ENOENT;
}

int control_getattr(struct control *c, u64 ino, struct stat *ret_st)
{
	if (ino == CONTROL_INO)
		fill_stat(ret_st, ino, S_IFDIR | 0500);
	else if (ino == FAKE_CONTROL_FILE)
		fill_stat(ret_st, ino, S_IFREG | 0600);
	else
		return -ENOENT;
	return 0;
}

int control_stat_of(struct control *c, u64 ino, u32 uid, char **ret_text,
		    size_t *ret_len)
{
	if (ino != FAKE_FILE)
		return -ENOENT;
	*ret_text = strdup("nr_cache 3\n");
	*ret_len = strlen(*ret_text);
	return 0;
}

int control_readdir(struct control *c, u64 ino, u64 off, fs_fill_fn fill,
		    void *arg)
{
	struct stat st;

	if (ino != CONTROL_INO)
		return -ENOTDIR;
	(void)control_getattr(c, FAKE_CONTROL_FILE, &st);
	if (off == 0)
		(void)fill(arg, "vmstat", &st, 1);
	return 0;
}

int control_open(struct control *c, u64 ino, int flags,
		 struct control_file **ret)
{
	if (ino != FAKE_CONTROL_FILE)
		return ino == CONTROL_INO ? -EISDIR : -ENOENT;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	add(&fake.controls, 1);
	return 0;
}

bool control_shows_mappings(u64 ino)
{
	return fake.shows_mappings && ino == FAKE_CONTROL_FILE;
}

ssize_t control_read(struct control_file *f, u64 pos, void *buf, size_t len)
{
	static const char text[] = "pgfault 7\n";
	size_t size = sizeof(text) - 1;

	if (pos >= size)
		return 0;
	len = min(len, size - pos);
	memcpy(buf, text + pos, len);
	return (ssize_t)len;
}

void control_write(struct control_file *f, u64 pos, const void *buf, size_t len,
		   struct fs_done *done)
{
	mutex_lock(&fake.lock);
	(void)snprintf(fake.control_text, sizeof(fake.control_text), "%.*s",
		       (int)len, (const char *)buf);
	mutex_unlock(&fake.lock);
	hold_or_end(done);
}

void control_release(struct control_file *f)
{
	free(f);
	add(&fake.controls, (u64)-1);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "mountinfo.h"
#include "volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "freemap.h"
#include "sum.h"
#include "volume_int.h"
#include "volume_redo.h"
#include "wal.h"

/* Block 0 of data. */
struct data_header {
	char magic[16];
	u8 uuid[16];
	u8 rest[PAGE_SIZE - 32];
};

static const char data_magic[16] = "foliofs data 01";

#define BOUND_AGE_NS NSEC_PER_SEC
/* Of the host's room so much is not for `data`: a part of all there is, and no
 * more than 32 MiB. */
#define HOST_SPARE_SHARE 32
#define HOST_SPARE_MAX ((u64)32 << 20 >> PAGE_SHIFT)
/* So many blocks are out of reach at a time while their room is given back. */
#define COMPACT_BLOCKS 8192
/* How often to look whether a holder that is ending has let go. */
#define ENDING_TRY_MS 50

static void count(u64 *counter, u64 nr)
{
	(void)__atomic_add_fetch(counter, nr, __ATOMIC_RELAXED);
}

static u64 load(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void store(u64 *p, u64 v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

u64 volume_sum(const void *page)
{
	return page_sum(page);
}

/* ---- the host ---- */

static const struct {
	u32 magic;
	const char *name;
} network_fs[] = {
	{0x6969, "NFS"},       {0x517b, "SMB"},	       {0xff534d42, "CIFS"},
	{0xfe534d42, "SMB2"},  {0x01021997, "9p"},     {0x65735546, "FUSE"},
	{0x00c36400, "Ceph"},  {0x5346414f, "AFS"},    {0x6b414653, "kAFS"},
	{0x73757245, "Coda"},  {0x0bd00bd0, "Lustre"}, {0x01161970, "GFS2"},
	{0x7461636f, "OCFS2"}, {0x564c, "NCP"},	       {0x786f4256, "vboxsf"},
	{0xaad7aaea, "PanFS"}, {0x19830326, "BeeGFS"}, {0x47504653, "GPFS"},
};

#define TMPFS_MAGIC_NR 0x01021994u
#define RAMFS_MAGIC_NR 0x858458f6u

const char *volume_network_fs(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(network_fs); i++) {
		if (network_fs[i].magic == (u32)st.f_type)
			return network_fs[i].name;
	}
	return NULL;
}

bool volume_host_is_memory(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && ((u32)st.f_type == TMPFS_MAGIC_NR ||
					 (u32)st.f_type == RAMFS_MAGIC_NR);
}

/* Locks, syncs and shared maps must be what they are on a local disk. */
static int check_host(int dirfd, const struct volume_options *opt, char *err,
		      size_t errlen)
{
	const char *network = volume_network_fs(dirfd);

	if (network && !opt->allow_network)
		return complain(err, errlen, -EOPNOTSUPP,
				"it is on a network filesystem (%s)", network);
	if (volume_host_is_memory(dirfd))
		(void)complain(err, errlen, 0,
			       "it is kept in memory: nothing outlives a power "
			       "cut");
	return 0;
}

/* ---- creation ---- */

int volume_write_header(struct bdev *data, const u8 uuid[16])
{
	struct data_header *h;
	void *page;
	int err;

	h = aligned_alloc(PAGE_SIZE, sizeof(*h));
	if (!h)
		return -ENOMEM;
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, data_magic, sizeof(h->magic));
	memcpy(h->uuid, uuid, sizeof(h->uuid));
	page = h;
	err = data->ops->write(data, 0, 1, &page);
	if (!err)
		err = data->ops->flush(data);
	free(h);
	return err;
}

static int create_data(int dirfd, const struct volume_options *opt,
		       const u8 uuid[16])
{
	struct bdev *data;
	int err;

	err = bdev_file_open(dirfd, "data", O_RDWR | O_CREAT | O_EXCL, &data);
	if (err)
		return err;
	if (opt->wrap) {
		struct bdev *lower = data;

		err = opt->wrap(opt->wrap_arg, lower, &data);
		if (err) {
			lower->ops->close(lower);
			return err;
		}
	}
	err = volume_write_header(data, uuid);
	data->ops->close(data);
	return err;
}

/* For the lock, and for meta.db so that it is the owner's alone: SQLite gives
 * its WAL the mode of the database. */
static int create_empty(int dirfd, const char *name)
{
	int fd = openat(dirfd, name,
			O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			0600);

	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

int volume_sync_folders(int dirfd)
{
	int parent;
	int err = 0;

	if (fsync(dirfd) < 0)
		return -errno;
	parent = openat(dirfd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -errno;
	if (fsync(parent) < 0)
		err = -errno;
	(void)close(parent);
	return err;
}

/* A random one, version 4. */
static int new_uuid(u8 uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

static int create_files(const char *path, int dirfd,
			const struct volume_options *opt)
{
	struct meta_super super = {
		.version = META_VERSION,
		.block_size = PAGE_SIZE,
		.nr_blocks = opt->size / PAGE_SIZE,
		.next_ino = META_ROOT_INO + 1,
		.created_ns = real_ns(),
	};
	int err = new_uuid(super.uuid);

	if (!err)
		err = create_empty(dirfd, "lock");
	if (!err)
		err = create_data(dirfd, opt, super.uuid);
	if (!err)
		err = create_empty(dirfd, "meta.db");
	if (!err)
		err = volume_sync_folders(dirfd);
	if (!err)
		err = meta_create(path, &super);
	if (!err)
		err = volume_sync_folders(dirfd);
	return err;
}

static void remove_files(int dirfd)
{
	static const char *const names[] = {
		"meta.db",     "meta.db-journal",
		"meta.db-wal", "meta.db-shm",
		"data",	       "lock",
		"freemap",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlinkat(dirfd, names[i], 0);
}

int volume_check_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int err = 0;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	while (!err && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0 &&
		    strcmp(d->d_name, "lost+found") != 0)
			err = -ENOTEMPTY;
	}
	(void)closedir(dir);
	return err;
}

static const char *not_empty(int dirfd)
{
	return faccessat(dirfd, "meta.db", F_OK, 0) == 0
		       ? "it is a volume already"
		       : "the folder is not empty";
}

static int create_in(const char *path, int dirfd,
		     const struct volume_options *opt, char *err, size_t errlen)
{
	int code = check_host(dirfd, opt, err, errlen);

	if (code)
		return code;
	code = volume_check_empty(dirfd);
	if (code)
		return complain(err, errlen, code, "%s",
				code == -ENOTEMPTY ? not_empty(dirfd)
						   : strerror(-code));
	code = create_files(path, dirfd, opt);
	if (code) {
		remove_files(dirfd);
		return complain(err, errlen, code, "creating it: %s",
				strerror(-code));
	}
	return 0;
}

int volume_create(const char *path, const struct volume_options *opt, char *err,
		  size_t errlen)
{
	bool made = false;
	int dirfd;
	int code;

	(void)complain(err, errlen, 0, "%s", "");
	if (opt->size && opt->size / PAGE_SIZE < VOLUME_MIN_BLOCKS)
		return complain(err, errlen, -EINVAL,
				"a volume has at least %zuK",
				VOLUME_MIN_BLOCKS * PAGE_SIZE / 1024);
	if (opt->size / PAGE_SIZE > BLOCKS_MAX)
		return complain(err, errlen, -EINVAL, "it is too large");
	if (mkdir(path, 0700) == 0)
		made = true;
	else if (errno != EEXIST)
		return complain(err, errlen, -errno, "%s", strerror(errno));

	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		code = complain(err, errlen, -errno, "%s", strerror(errno));
	} else {
		code = create_in(path, dirfd, opt, err, errlen);
		(void)close(dirfd);
	}
	if (code && made)
		(void)rmdir(path);
	return code;
}

/* ---- the lock ---- */

/* Who has it, from the text of the lock. */
struct holder {
	int pid;		/* 0: the text does not say */
	const char *mountpoint; /* or NULL; in text */
	char text[4200];
};

static void read_holder(int fd, struct holder *h)
{
	static const char key[] = "\nmountpoint ";
	ssize_t len = pread(fd, h->text, sizeof(h->text) - 1, 0);
	char *mountpoint;
	char *end;

	h->mountpoint = NULL;
	h->text[max(len, (ssize_t)0)] = '\0';
	if (sscanf(h->text, "pid %d", &h->pid) != 1)
		h->pid = 0;
	mountpoint = strstr(h->text, key);
	if (!mountpoint)
		return;
	mountpoint += strlen(key);
	end = strchr(mountpoint, '\n');
	if (end)
		*end = '\0';
	h->mountpoint = mountpoint;
}

static int complain_busy(int fd, char *err, size_t errlen)
{
	struct holder h;

	read_holder(fd, &h);
	if (!h.pid)
		return complain(err, errlen, -EBUSY, "it is in use");
	if (!h.mountpoint)
		return complain(err, errlen, -EBUSY,
				"it is in use by process %d", h.pid);
	return complain(err, errlen, -EBUSY,
			"it is in use by process %d, mounted at %s", h.pid,
			h.mountpoint);
}

/*
 * umount(8) returns before the daemon has committed what it holds: a holder
 * whose mountpoint has nothing mounted any more, as far as we can see, is
 * about to let go.
 */
static bool is_ending(int fd)
{
	struct mount_dev dev;
	struct holder h;

	read_holder(fd, &h);
	return h.mountpoint &&
	       mountinfo_dev(MOUNTINFO_PATH, h.mountpoint, &dev) == -ENOENT;
}

/* Return: 0 or -errno; -EWOULDBLOCK: somebody else has it. */
static int lock_patiently(int fd, u32 patience_ms)
{
	const struct timespec pause = {.tv_nsec =
					       ENDING_TRY_MS * NSEC_PER_MSEC};

	for (u32 waited = 0;; waited += ENDING_TRY_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK || waited >= patience_ms ||
		    !is_ending(fd))
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
}

int volume_lock_note(struct volume *v, const char *mountpoint)
{
	char *text;
	ssize_t done;
	int len;

	if (v->readonly)
		return 0;
	len = mountpoint ? asprintf(&text, "pid %d\nmountpoint %s\n",
				    (int)getpid(), mountpoint)
			 : asprintf(&text, "pid %d\n", (int)getpid());
	if (len < 0)
		return -ENOMEM;
	done = ftruncate(v->lockfd, 0) < 0
		       ? -1
		       : pwrite(v->lockfd, text, (size_t)len, 0);
	free(text);
	if (done < 0)
		return -errno;
	return done == len ? 0 : -EIO;
}

/* A folder without meta.db is not ours: nothing is made there. */
static int check_db(const struct volume *v, char *err, size_t errlen)
{
	if (faccessat(v->dirfd, "meta.db", F_OK, 0) == 0 ||
	    faccessat(v->dirfd, VOLUME_REPAIRED, F_OK, 0) == 0)
		return 0;
	if (errno != ENOENT)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	if (faccessat(v->dirfd, VOLUME_BACKUP_TMP, F_OK, 0) == 0)
		return complain(err, errlen, -ENOENT,
				"it is a backup that was not finished");
	return complain(err, errlen, -ENOENT,
			"it is not a volume (it has no meta.db)");
}

static int take_lock(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	int flags = v->readonly ? O_RDONLY : O_RDWR | O_CREAT;
	int code;

	v->lockfd =
		openat(v->dirfd, "lock", flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (v->lockfd < 0)
		return complain(err, errlen, -errno, "lock: %s",
				strerror(errno));
	code = lock_patiently(v->lockfd, opt->patience_ms);
	if (code == -EWOULDBLOCK)
		return complain_busy(v->lockfd, err, errlen);
	if (code)
		(void)complain(err, errlen, code, "lock: %s", strerror(-code));
	return code;
}

/* ---- opening ---- */

int volume_read_header(struct bdev *data, u8 uuid[16])
{
	struct data_header *h = aligned_alloc(PAGE_SIZE, sizeof(*h));
	void *page = h;
	int err;

	if (!h)
		return -ENOMEM;
	err = data->ops->read(data, 0, 1, &page);
	if (!err && memcmp(h->magic, data_magic, sizeof(h->magic)) != 0)
		err = -EUCLEAN;
	if (!err)
		memcpy(uuid, h->uuid, sizeof(h->uuid));
	free(h);
	return err;
}

static int check_data(struct volume *v, const struct meta_super *super,
		      char *err, size_t errlen)
{
	u8 uuid[16];
	int code = volume_read_header(v->data, uuid);

	if (code == -EUCLEAN)
		return complain(err, errlen, code,
				"data is damaged or another program's");
	if (code)
		return complain(err, errlen, code, "data: %s", strerror(-code));
	if (memcmp(uuid, super->uuid, sizeof(uuid)) != 0)
		return complain(err, errlen, -EUCLEAN,
				"data and meta.db are of different volumes");
	return 0;
}

static int open_data(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	struct meta_super super;
	int code;

	code = bdev_file_open(v->dirfd, "data", v->readonly ? O_RDONLY : O_RDWR,
			      &v->data);
	if (!code && opt->wrap)
		code = opt->wrap(opt->wrap_arg, v->data, &v->data);
	if (!code)
		code = v->data->ops->size(v->data, &v->data_blocks);
	if (code)
		return complain(err, errlen, code, "data: %s", strerror(-code));
	meta_super(v->meta, &super);
	v->max_blocks = super.nr_blocks;
	v->mount_epoch = super.mount_epoch;
	v->next_ino = super.next_ino;
	return check_data(v, &super, err, errlen);
}

void volume_free(struct volume *v)
{
	if (!v)
		return;
	blocks_free_all(v->blocks);
	redo_free(v->redo);
	if (v->data)
		v->data->ops->close(v->data);
	if (v->lockfd >= 0)
		(void)close(v->lockfd);
	if (v->dirfd >= 0)
		(void)close(v->dirfd);
	mutex_done(&v->grow_lock);
	free(v->path);
	free(v);
}

static int open_folder(struct volume *v, const struct volume_options *opt,
		       char *err, size_t errlen)
{
	v->dirfd = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dirfd < 0)
		return complain(err, errlen, -errno, "%s", strerror(errno));
	return check_host(v->dirfd, opt, err, errlen);
}

static struct volume *volume_new(const char *path,
				 const struct volume_options *opt)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	mutex_init(&v->grow_lock, LOCK_CONN, "volume grow");
	v->dirfd = -1;
	v->lockfd = -1;
	v->readonly = opt->readonly;
	v->flush_epoch = 1;
	v->path = strdup(path);
	if (v->path)
		return v;
	volume_free(v);
	return NULL;
}

int volume_lock_folder(const char *path, struct volume **ret_volume, char *err,
		       size_t errlen)
{
	static const struct volume_options opt = {.allow_network = true};
	struct volume *v = volume_new(path, &opt);
	int code;

	if (!v)
		return complain(err, errlen, -ENOMEM, "%s", strerror(ENOMEM));
	code = open_folder(v, &opt, err, errlen);
	if (!code)
		code = take_lock(v, &opt, err, errlen);
	if (code) {
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

int volume_open_locked(const char *path, const struct volume_options *opt,
		       struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v = volume_new(path, opt);
	int code;

	(void)complain(err, errlen, 0, "%s", "");
	if (!v)
		return complain(err, errlen, -ENOMEM, "%s", strerror(ENOMEM));
	code = open_folder(v, opt, err, errlen);
	if (!code)
		code = check_db(v, err, errlen);
	if (!code)
		code = take_lock(v, opt, err, errlen);
	if (code) {
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

static int refuse_damaged_log(const struct volume *v, char *err, size_t errlen)
{
	struct wal_report log;
	char text[WAL_TEXT_MAX];
	int code = wal_inspect(v->dirfd, &log);

	if (code)
		return complain(err, errlen, code, "meta.db-wal: %s",
				strerror(-code));
	if (!log.damaged)
		return 0;
	wal_describe(&log, text);
	return complain(err, errlen, -EUCLEAN,
			"%s; folioctl check --repair goes back to commit %llu",
			text, (unsigned long long)log.commit);
}

int volume_open_rest(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	int code = meta_open(v->path, v->readonly, &v->meta, err, errlen);

	return code ? code : open_data(v, opt, err, errlen);
}

int volume_open_files(const char *path, const struct volume_options *opt,
		      struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v;
	int code = volume_open_locked(path, opt, &v, err, errlen);

	if (code)
		return code;
	code = volume_finish_repair(v, err, errlen);
	if (!code)
		code = refuse_damaged_log(v, err, errlen);
	if (!code)
		code = volume_open_rest(v, opt, err, errlen);
	if (code) {
		(void)meta_close(v->meta);
		volume_free(v);
		return code;
	}
	*ret_volume = v;
	return 0;
}

/* ---- space ---- */

/* What the host has free, in blocks, and how much of that is the database's:
 * content that has its blocks must not find a log that cannot grow. */
static u64 host_free(const struct volume *v, u64 *ret_spare)
{
	struct statvfs st;
	u64 sectors;

	*ret_spare = 0;
	if (fstatvfs(v->dirfd, &st) < 0)
		return 0;
	sectors = st.f_frsize / 512;
	*ret_spare = min((u64)st.f_blocks * sectors / (PAGE_SIZE / 512) /
				 HOST_SPARE_SHARE,
			 HOST_SPARE_MAX);
	return (u64)st.f_bavail * sectors / (PAGE_SIZE / 512);
}

/* Blocks that can have content: those that the host has given `data`, whose
 * holes are not among them, and what it has free. */
static u64 host_bound(const struct volume *v)
{
	u64 spare, bound;
	u64 nr = host_free(v, &spare);

	if (v->data->ops->held(v->data, &bound))
		bound = load(&v->data_blocks);
	bound += nr - min(nr, spare);
	return min(v->max_blocks ? v->max_blocks : BLOCKS_MAX, bound);
}

void volume_update_bound(struct volume *v)
{
	u64 bound = host_bound(v);
	u64 nr;

	store(&v->bound_when_ns, mono_ns());
	nr = max(max(bound, load(&v->data_blocks)), blocks_end(v->blocks));
	/* If an allocation comes in between, the next time will do. */
	if (!blocks_resize(v->blocks, nr))
		blocks_set_missing(v->blocks, nr - bound);
}

int volume_reserve(struct volume *v, u64 nr)
{
	if (mono_ns() - load(&v->bound_when_ns) > BOUND_AGE_NS)
		volume_update_bound(v);
	return blocks_reserve(v->blocks, nr);
}

/* Let `data` have @end blocks, and if the host has room all that allocation
 * goes round in, so that this is rare. */
static int grow_to(struct volume *v, u64 end)
{
	struct blocks_stat st;
	u64 extra;
	int err;

	blocks_stat(v->blocks, &st);
	extra = max(st.spread, end) - end;
	for (;;) {
		err = v->data->ops->grow(v->data, end + extra);
		if (err != -ENOSPC || !extra)
			break;
		extra /= 2;
	}
	if (err == -ENOSPC)
		(void)blocks_lose_holds(v->blocks);
	if (!err)
		store(&v->data_blocks, end + extra);
	return err;
}

int volume_ensure_size(struct volume *v, u64 end)
{
	int err = 0;

	if (end <= load(&v->data_blocks))
		return 0;
	mutex_lock(&v->grow_lock);
	if (end > load(&v->data_blocks))
		err = grow_to(v, end);
	mutex_unlock(&v->grow_lock);
	return err;
}

/*
 * Behind the last block of `data` is what a discard may not reach, as it would
 * become smaller under those who write there.
 */
int volume_compact_some(struct volume *v, u64 *from)
{
	u64 size = load(&v->data_blocks);
	u64 start;
	u32 nr;
	int err;

	if (v->readonly)
		return -EROFS;
	if (!size || !blocks_take_free(v->blocks, *from, size - 1,
				       COMPACT_BLOCKS, &start, &nr)) {
		blocks_pull_in(v->blocks);
		volume_update_bound(v);
		return 0;
	}
	err = v->data->ops->discard(v->data, start, nr);
	blocks_free(v->blocks, start, nr);
	if (err)
		return err;
	count(&v->count.data_discarded_blocks, nr);
	*from = start + nr;
	return 1;
}

void volume_spare_host(struct volume *v)
{
	u64 spare;

	if (v->readonly || host_free(v, &spare) >= spare)
		return;
	if (volume_compact_some(v, &v->spared) <= 0)
		v->spared = 0;
}

/* ---- mounting ---- */

/* The map that is being built, and how far data must reach. */
struct map_walk {
	struct volume *v;
	u64 written; /* one past the last block with content */
};

/* Extents come before the host is known to have room for them. */
static int fit(struct volume *v, u64 end)
{
	struct blocks_stat st;

	if (end > BLOCKS_MAX || (v->max_blocks && end > v->max_blocks))
		return -EUCLEAN;
	blocks_stat(v->blocks, &st);
	return end > st.total ? blocks_resize(v->blocks, end) : 0;
}

static int map_extent(void *arg, u64 ino, const struct extent_row *row)
{
	struct map_walk *w = arg;
	u64 end;
	int err;

	if (!extent_has_blocks(row->flags))
		return 0;
	if (__builtin_add_overflow(row->block, row->npages, &end))
		return -EUCLEAN;
	if (!(row->flags & META_EXTENT_UNWRITTEN))
		w->written = max(w->written, end);
	if (w->written > w->v->data_blocks)
		return 0; /* that is said when all is known */
	err = fit(w->v, end);
	return err ? err
		   : blocks_mark_used(w->v->blocks, row->block, row->npages,
				      row->flags & META_EXTENT_SHARED);
}

static int complain_extents(int code, char *err, size_t errlen)
{
	if (code == -EUCLEAN)
		return complain(err, errlen, code,
				"its extents are damaged; folioctl check says "
				"more");
	return complain(err, errlen, code, "reading extents: %s",
			strerror(-code));
}

static int new_map(struct volume *v, const struct volume_options *opt)
{
	blocks_free_all(v->blocks);
	v->blocks = NULL;
	return blocks_new(max(max(host_bound(v), v->data_blocks), (u64)2),
			  opt->charge, opt->charge_arg, &v->blocks);
}

static int build_map(struct volume *v, const struct volume_options *opt,
		     char *err, size_t errlen)
{
	struct map_walk w = {.v = v};
	int code = new_map(v, opt);

	if (!code)
		code = meta_extent_walk(v->meta, false, map_extent, &w);
	if (code)
		return complain_extents(code, err, errlen);
	if (w.written > v->data_blocks)
		return complain(
			err, errlen, -EUCLEAN,
			"data is truncated: %llu blocks are missing",
			(unsigned long long)(w.written - v->data_blocks));
	return 0;
}

static struct freemap_key freemap_key(const struct volume *v)
{
	struct meta_super super;
	struct freemap_key key;

	meta_super(v->meta, &super);
	memset(&key, 0, sizeof(key));
	memcpy(key.uuid, super.uuid, sizeof(key.uuid));
	key.commit_no = super.commit_no;
	key.mount_epoch = super.mount_epoch;
	key.next_ino = super.next_ino;
	return key;
}

/* Complete it. Context: nothing has been written to the database since. */
static int key_of_db(const struct volume *v, struct freemap_key *key)
{
	struct stat st;

	if (fstatat(v->dirfd, "meta.db", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	key->db_size = (u64)st.st_size;
	key->db_mtime_ns =
		(u64)st.st_mtim.tv_sec * NSEC_PER_SEC + (u64)st.st_mtim.tv_nsec;
	return 0;
}

int volume_load_freemap(struct volume *v, struct blocks *b)
{
	struct freemap_key key = freemap_key(v);
	int err = key_of_db(v, &key);

	return err ? err
		   : freemap_load(v->dirfd, &key, v->data_blocks, v->max_blocks,
				  b);
}

/* No extent refers to it, but its records may be all that there is of what was
 * committed last. */
static int map_redo(struct volume *v, const struct meta_redo *row, char *err,
		    size_t errlen)
{
	int code = fit(v, row->start + row->nr);

	if (!code)
		code = blocks_mark_used(v->blocks, row->start, row->nr, false);
	return code ? complain_extents(code, err, errlen) : 0;
}

/* From what was saved, or from the extents. None is saved beside a log. */
static int make_map(struct volume *v, const struct volume_options *opt,
		    const struct meta_redo *redo, char *err, size_t errlen)
{
	int code = redo->nr ? -ENOENT : new_map(v, opt);

	if (!code)
		code = volume_load_freemap(v, v->blocks);
	v->map_loaded = !code;
	if (code)
		code = build_map(v, opt, err, errlen);
	return code || !redo->nr ? code : map_redo(v, redo, err, errlen);
}

static int orphan_freed(void *arg, u64 block, u64 nr)
{
	struct volume *v = arg;

	/* what cannot be noted stays used until the next mount */
	(void)blocks_free_deferred(v->blocks, 0, block, nr);
	return 0;
}

static int delete_orphan(void *arg, u64 ino)
{
	struct volume *v = arg;

	return meta_inode_delete(v->meta, ino, orphan_freed, v);
}

/* A killed daemon's last data is made durable, its small commits become rows,
 * orphans go; blocks are free when that is durable. */
static int start_epoch(struct volume *v)
{
	int err = v->data->ops->flush(v->data);

	if (!err && fsync(v->dirfd) < 0)
		err = -errno;
	if (!err)
		err = meta_begin(v->meta);
	if (err)
		return err;
	v->mount_epoch++;
	meta_set_mount_epoch(v->meta, v->mount_epoch);
	err = volume_redo_replay(v, orphan_freed, v);
	if (!err)
		err = meta_orphan_walk(v->meta, delete_orphan, v);
	if (err) {
		meta_rollback(v->meta);
		return err;
	}
	err = meta_commit(v->meta, v->next_ino, true);
	if (err)
		return err;
	volume_redo_replayed(v);
	blocks_release(v->blocks, 0);
	return 0;
}

static int mount_volume(struct volume *v, const struct volume_options *opt,
			char *err, size_t errlen)
{
	/* First, so that what cannot be mounted is not written to. */
	struct meta_redo redo;
	int code = volume_redo_load(v, &redo, err, errlen);

	if (!code)
		code = make_map(v, opt, &redo, err, errlen);
	if (code)
		return code;
	if (!v->readonly) {
		freemap_remove(v->dirfd);
		code = start_epoch(v);
	}
	if (!code)
		code = meta_counts(v->meta, &v->nr_inodes);
	if (code)
		return complain(err, errlen, code, "mounting it: %s",
				strerror(-code));
	return 0;
}

int volume_open(const char *path, const struct volume_options *opt,
		struct volume **ret_volume, char *err, size_t errlen)
{
	struct volume *v;
	int code = 0;

	if (opt->create) {
		code = volume_create(path, opt, err, errlen);
		/* Not empty: is it a volume? */
		if (code && code != -ENOTEMPTY)
			return code;
	}
	code = volume_open_files(path, opt, &v, err, errlen);
	if (code)
		return code;
	code = mount_volume(v, opt, err, errlen);
	if (!code) {
		(void)volume_lock_note(v, NULL);
		*ret_volume = v;
		return 0;
	}
	(void)meta_close(v->meta);
	volume_free(v);
	return code;
}

/* Give the host back what is behind the last used block. */
static int trim(struct volume *v)
{
	u64 data_blocks = load(&v->data_blocks);
	u64 end = blocks_end(v->blocks);

	if (end >= data_blocks)
		return 0;
	return v->data->ops->discard(v->data, end, data_blocks - end);
}

/* Without it the next mount takes longer, and that is all. */
static void save_map(struct volume *v, struct freemap_key *key)
{
	u64 data_blocks;

	if (!key_of_db(v, key) && !v->data->ops->size(v->data, &data_blocks))
		(void)freemap_save(v->dirfd, key, data_blocks, v->blocks);
}

void volume_note_damaged(struct volume *v)
{
	v->damaged = true;
}

/* Close the database. Return: the first error. */
static int close_meta(struct volume *v)
{
	bool whole = !v->readonly && !v->damaged && v->blocks &&
		     !meta_failed(v->meta) && !volume_redo_drop(v);
	struct freemap_key key = freemap_key(v);
	int err = whole ? trim(v) : 0;
	int meta_err = meta_close(v->meta);

	if (whole && !err && !meta_err)
		save_map(v, &key);
	return meta_err ? meta_err : err;
}

int volume_close(struct volume *v)
{
	int err;

	if (!v)
		return 0;
	err = close_meta(v);
	if (!v->readonly)
		(void)!ftruncate(v->lockfd, 0);
	volume_free(v);
	return err;
}

/* ---- reading ---- */

/* Read @nr contiguous blocks; a part that fails is read block by block, so that
 * only bad ones answer an error. */
static void read_blocks(struct volume *v, u64 block, u32 nr, void *const *pages,
			int *errs)
{
	int err = v->data->ops->read(v->data, block, nr, pages);

	count(&v->count.data_read_blocks, nr);
	for (u32 i = 0; i < nr; i++) {
		if (err && nr > 1)
			read_blocks(v, block + i, 1, pages + i, errs + i);
		else
			errs[i] = err;
	}
}

static void verify_page(struct volume *v, const void *page, u64 sum, int *err)
{
	if (*err || page_sum(page) == sum)
		return;
	count(&v->count.checksum_errors, 1);
	*err = -EIO;
}

/* How many pages from the first on are neighbours in the data file. */
static u32 run_length(const struct meta_page *map, u32 nr)
{
	u32 n = 1;

	while (n < nr && map[n].kind == META_PAGE_BLOCK &&
	       map[n].block == map[0].block + n)
		n++;
	return n;
}

static u32 read_mapped(struct volume *v, const struct meta_page *map, u32 nr,
		       void *const *pages, int *errs)
{
	u32 n;

	errs[0] = 0;
	switch (map->kind) {
	case META_PAGE_ZERO:
		memset(pages[0], 0, PAGE_SIZE);
		return 1;
	case META_PAGE_INLINE:
		errs[0] = map->err;
		if (map->err)
			count(&v->count.checksum_errors, 1);
		return 1;
	case META_PAGE_LOST:
		errs[0] = -EIO;
		return 1;
	case META_PAGE_BLOCK:
		break;
	}
	n = run_length(map, nr);
	read_blocks(v, map->block, n, pages, errs);
	for (u32 i = 0; i < n; i++)
		verify_page(v, pages[i], map[i].sum, &errs[i]);
	return n;
}

static int look_up(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		   struct meta_page *map, void *const *pages)
{
	struct meta_reader *r;
	int err = meta_reader_get(v->meta, &r);
	u32 seq;

	if (err)
		return err;
	do {
		seq = redo_begin(v->redo);
		err = meta_extent_map(r, ino, pgoff, nr, map, pages);
		redo_patch_map(v->redo, ino, pgoff, nr, map);
	} while (redo_retry(v->redo, seq));
	meta_reader_put(r);
	return err == -EUCLEAN ? -EIO : err;
}

#define READ_BATCH 256u

static int read_batch(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs)
{
	struct meta_page map[READ_BATCH];
	u32 token = blocks_read_enter(v->blocks);
	int err = look_up(v, ino, pgoff, nr, map, pages);

	for (u32 i = 0; !err && i < nr;)
		i += read_mapped(v, map + i, nr - i, pages + i, errs + i);
	blocks_read_leave(v->blocks, token);
	return err;
}

int volume_read_pages(struct volume *v, u64 ino, u64 pgoff, u32 nr,
		      void *const *pages, int *errs)
{
	for (u32 done = 0; done < nr;) {
		u32 n = min(nr - done, READ_BATCH);
		int err = read_batch(v, ino, pgoff + done, n, pages + done,
				     errs + done);

		if (err && !done)
			return err;
		for (u32 i = 0; err && i < n; i++)
			errs[done + i] = err;
		done += n;
	}
	return 0;
}

int volume_next_extent(struct volume *v, u64 ino, u64 pgoff,
		       enum extent_kind *ret_kind, u64 *ret_end)
{
	struct extent_row row;
	struct meta_reader *r;
	u64 logged;
	bool in_log;
	u32 seq;
	int err = meta_reader_get(v->meta, &r);

	if (err)
		return err;
	do {
		seq = redo_begin(v->redo);
		err = meta_extent_get(r, ino, pgoff, &row, NULL);
		in_log = redo_next_page(v->redo, ino, pgoff, &logged);
	} while (redo_retry(v->redo, seq));
	meta_reader_put(r);
	if (err && err != -ENOENT)
		return err == -EUCLEAN ? -EIO : err;

	if (in_log && logged == pgoff) {
		*ret_kind = EXTENT_DATA;
		*ret_end = pgoff + 1;
		return 0;
	}
	if (err == -ENOENT || row.pgoff > pgoff) {
		*ret_kind = EXTENT_HOLE;
		*ret_end = err ? PGOFF_MAX + 1 : row.pgoff;
	} else {
		*ret_kind = row.flags & META_EXTENT_UNWRITTEN ? EXTENT_UNWRITTEN
							      : EXTENT_DATA;
		*ret_end = row.pgoff + row.npages;
	}
	if (in_log)
		*ret_end = min(*ret_end, logged);
	return 0;
}

/* ---- slots ---- */

static int slot_alloc(void *arg, u32 want, bool commit, slot_t *ret_start,
		      u32 *ret_nr)
{
	struct volume *v = arg;

	return blocks_alloc(v->blocks, want, ret_start, ret_nr);
}

/*
 * Write until no flush has failed meanwhile: then the epoch says for certain
 * which flush made it durable, and whether one lost it.
 */
static int slot_write(void *arg, slot_t start, u32 nr, void *const *pages,
		      u64 *ret_sums, u64 *ret_epoch)
{
	struct volume *v = arg;
	u64 failures;
	u64 epoch;
	int err = volume_ensure_size(v, start + nr);

	do {
		failures = load(&v->count.data_flush_errors);
		if (!err)
			err = v->data->ops->write(v->data, start, nr, pages);
		if (err)
			return err;
		count(&v->count.data_write_blocks, nr);
		epoch = load(&v->flush_epoch);
	} while (load(&v->count.data_flush_errors) != failures);

	for (u32 i = 0; i < nr; i++)
		ret_sums[i] = page_sum(pages[i]);
	*ret_epoch = epoch;
	return 0;
}

static int slot_read(void *arg, slot_t start, u32 nr, void *const *pages,
		     const u64 *sums, int *errs)
{
	struct volume *v = arg;

	read_blocks(v, start, nr, pages, errs);
	for (u32 i = 0; i < nr; i++)
		verify_page(v, pages[i], sums[i], &errs[i]);
	return 0;
}

static void slot_free(void *arg, slot_t start, u32 nr)
{
	struct volume *v = arg;

	/* A COMMIT that failed for good may be on the disk all the same, and
	 * the slots it was to adopt with it: nothing may be written there. */
	if (!meta_failed(v->meta))
		blocks_free(v->blocks, start, nr);
}

const struct swap_operations volume_swap_ops = {
	.alloc = slot_alloc,
	.write = slot_write,
	.read = slot_read,
	.free = slot_free,
};

/* The failure is counted before the epochs are closed: a write that sees the
 * old count has read an epoch that is among the lost ones. */
void volume_note_lost(struct volume *v)
{
	count(&v->count.data_flush_errors, 1);
	if (!load(&v->lost_upto))
		store(&v->lost_after, load(&v->flushed_epoch));
	store(&v->lost_upto,
	      __atomic_fetch_add(&v->flush_epoch, 1, __ATOMIC_SEQ_CST));
}

void volume_forget_lost(struct volume *v)
{
	store(&v->lost_upto, 0);
}

int volume_flush(struct volume *v)
{
	u64 epoch = __atomic_fetch_add(&v->flush_epoch, 1, __ATOMIC_SEQ_CST);
	int err = v->data->ops->flush(v->data);

	count(&v->count.data_flushes, 1);
	if (err)
		volume_note_lost(v);
	else if (epoch > load(&v->flushed_epoch))
		store(&v->flushed_epoch, epoch);
	return err;
}

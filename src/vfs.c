/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "vfs.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dbformat.h"
#include "list.h"
#include "lock.h"

/* Frames that are gathered. In all fewer bytes than the 128 KiB from which on
 * SQLite's unix VFS needs several writes. */
#define GATHER_BYTES (31 * (WAL_FRAME_HEADER + VFS_PAGE_SIZE))

struct vfs_db {
	/* constant */
	char *path;
	bool frozen;
	bool has_log; /* frozen with a WAL that is to be read */
	struct list_head node;

	/* atomic */
	bool failed;
	u64 bytes_written;
	u64 commits;
	u64 checksum_errors;
};

/* One open file; the file of the VFS below follows it in memory. */
struct vfs_file {
	sqlite3_file base;
	struct vfs_db *db; /* NULL: neither meta.db nor its WAL */
	bool wal;
	bool journal; /* of meta.db, while it is made */

	/* of a WAL: what is still to be written, at gather_pos */
	u8 *gather; /* GATHER_BYTES; NULL until it is needed */
	int nr_gathered;
	sqlite3_int64 gather_pos;
	bool commit_frame;	  /* the last header was that of a commit */
	sqlite3_int64 header_pos; /* where it stands */
	sqlite3_int64 end;	  /* of the last frame that was appended */
	bool unsynced_commit;	  /* the last frame of one is there */
};

static struct mutex dbs_lock;
static struct list_head dbs = LIST_HEAD_INIT(dbs);
static sqlite3_vfs shim;
static vfs_hook_fn hook_fn;
static void *hook_arg;

static struct vfs_file *file_of(sqlite3_file *file)
{
	return container_of(file, struct vfs_file, base);
}

static sqlite3_file *lower(sqlite3_file *file)
{
	return (sqlite3_file *)(file_of(file) + 1);
}

static sqlite3_vfs *lower_vfs(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static bool is_main(const struct vfs_file *f)
{
	return f->db && !f->wal;
}

/* ---- hook and failure ---- */

void vfs_set_hook(vfs_hook_fn hook, void *arg)
{
	hook_fn = hook;
	hook_arg = arg;
}

static int run_hook(const struct vfs_file *f, enum vfs_op op, const void *buf,
		    int len, s64 pos)
{
	struct vfs_event ev = {.op = op, .buf = buf, .pos = pos, .len = len};

	if (!hook_fn || (!f->db && !f->journal))
		return SQLITE_OK;
	ev.wal = f->wal;
	ev.journal = f->journal;
	return hook_fn(hook_arg, &ev);
}

bool vfs_failed(const struct vfs_db *db)
{
	return __atomic_load_n(&db->failed, __ATOMIC_ACQUIRE);
}

void vfs_fail(struct vfs_db *db)
{
	__atomic_store_n(&db->failed, true, __ATOMIC_RELEASE);
}

static bool shut(const struct vfs_file *f)
{
	return f->db && vfs_failed(f->db);
}

/* A write, truncation or sync has answered @rc. */
static int note_failure(struct vfs_file *f, int rc)
{
	if (rc != SQLITE_OK && rc != SQLITE_FULL && f->db)
		vfs_fail(f->db);
	return rc;
}

u64 vfs_bytes_written(const struct vfs_db *db)
{
	return __atomic_load_n(&db->bytes_written, __ATOMIC_RELAXED);
}

u64 vfs_commits(const struct vfs_db *db)
{
	return __atomic_load_n(&db->commits, __ATOMIC_RELAXED);
}

u64 vfs_checksum_errors(const struct vfs_db *db)
{
	return __atomic_load_n(&db->checksum_errors, __ATOMIC_RELAXED);
}

/* ---- checksums ---- */

static void store_le32(u8 *p, u32 v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (u8)(v >> (8 * i));
}

/* Source: SQLite ext/misc/cksumvfs.c describes the sum; it is that of the WAL
 * format, over all of the page but its last 8 bytes. */
void vfs_page_sum(const void *page, u8 ret[VFS_RESERVED])
{
	struct wal_sum sum = {0, 0};

	sum = wal_sum_add(sum, page, VFS_PAGE_SIZE - VFS_RESERVED, false);
	store_le32(ret, sum.s1);
	store_le32(ret + 4, sum.s2);
}

/* Numbers of pages are SQLite's, from 1. */
static int tell_damaged(struct vfs_db *db, sqlite3_int64 pos)
{
	(void)__atomic_add_fetch(&db->checksum_errors, 1, __ATOMIC_RELAXED);
	sqlite3_log(SQLITE_IOERR_DATA, "meta.db: page %lld is damaged",
		    pos / VFS_PAGE_SIZE + 1);
	return SQLITE_IOERR_DATA;
}

/* Verify a page that was read from meta.db and take its checksum out. */
static int verify_page(struct vfs_file *f, u8 *page, sqlite3_int64 pos)
{
	static const u8 none[VFS_RESERVED];
	u8 *stored = page + VFS_PAGE_SIZE - VFS_RESERVED;
	u8 sum[VFS_RESERVED];

	if (memcmp(stored, none, sizeof(none)) == 0)
		return SQLITE_OK;
	vfs_page_sum(page, sum);
	if (memcmp(stored, sum, sizeof(sum)) != 0)
		return tell_damaged(f->db, pos);
	memset(stored, 0, VFS_RESERVED);
	return SQLITE_OK;
}

/* ---- methods of files ---- */

static int write_lower(sqlite3_file *file, const void *buf, int len,
		       sqlite3_int64 pos)
{
	sqlite3_file *low = lower(file);
	struct vfs_file *f = file_of(file);
	int rc = run_hook(f, VFS_WRITE, buf, len, pos);

	if (rc != SQLITE_OK) {
		(void)low->pMethods->xWrite(low, buf, len / 2, pos);
		return rc;
	}
	rc = low->pMethods->xWrite(low, buf, len, pos);
	if (rc == SQLITE_OK && f->db)
		(void)__atomic_add_fetch(&f->db->bytes_written, (u64)len,
					 __ATOMIC_RELAXED);
	return rc;
}

/*
 * SQLite writes a frame of the WAL in two pieces, header and page. They are
 * gathered until the page of a commit frame comes, the one whose header says
 * how large the database is then, or until anything else is done to the file:
 * so a commit of a few pages is one write. Other connections look at frames
 * only when the index of the WAL has them, which is after that page; by then
 * they are written. A frame that could not be written fails the write that was
 * to complete its commit.
 */
static int write_gathered(sqlite3_file *file)
{
	struct vfs_file *f = file_of(file);
	int len = f->nr_gathered;

	if (!len)
		return SQLITE_OK;
	f->nr_gathered = 0;
	return note_failure(f,
			    write_lower(file, f->gather, len, f->gather_pos));
}

static int shim_close(sqlite3_file *file)
{
	sqlite3_file *low = lower(file);
	struct vfs_file *f = file_of(file);

	/* What is left belongs to no commit. */
	free(f->gather);
	f->gather = NULL;
	f->nr_gathered = 0;
	return low->pMethods ? low->pMethods->xClose(low) : SQLITE_OK;
}

/* A page of which the file has only a part was cut off. (In a page behind the
 * end SQLite finds zeros, and expects them.) */
static int check_cut(sqlite3_file *file, sqlite3_int64 pos)
{
	sqlite3_file *low = lower(file);
	sqlite3_int64 size;
	int rc = low->pMethods->xFileSize(low, &size);

	if (rc != SQLITE_OK)
		return rc;
	if (size <= pos)
		return SQLITE_IOERR_SHORT_READ;
	return tell_damaged(file_of(file)->db, pos);
}

static int read_lower(sqlite3_file *file, void *buf, int len, sqlite3_int64 pos)
{
	sqlite3_file *low = lower(file);
	int rc = write_gathered(file);

	if (rc == SQLITE_OK)
		rc = run_hook(file_of(file), VFS_READ, NULL, len, pos);
	return rc != SQLITE_OK ? rc : low->pMethods->xRead(low, buf, len, pos);
}

/* Part of a page (SQLite reads long blobs so): verified as a whole. */
static int read_part(sqlite3_file *file, void *buf, int len, sqlite3_int64 pos)
{
	u8 page[VFS_PAGE_SIZE];
	int off = (int)(pos % VFS_PAGE_SIZE);
	int rc;

	rc = read_lower(file, page, VFS_PAGE_SIZE, pos - off);
	if (rc == SQLITE_OK)
		rc = verify_page(file_of(file), page, pos);
	if (rc == SQLITE_OK)
		memcpy(buf, page + off, (size_t)len);
	return rc;
}

static int shim_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 pos)
{
	struct vfs_file *f = file_of(file);
	int off = (int)(pos % VFS_PAGE_SIZE);
	int rc;

	/* The file header is read by itself before anything else is known. */
	if (is_main(f) && len < VFS_PAGE_SIZE && pos + len > 100 &&
	    off + len <= VFS_PAGE_SIZE)
		return read_part(file, buf, len, pos);

	rc = read_lower(file, buf, len, pos);
	if (!is_main(f) || len != VFS_PAGE_SIZE || off)
		return rc;
	if (rc == SQLITE_IOERR_SHORT_READ)
		return check_cut(file, pos);
	return rc == SQLITE_OK ? verify_page(f, buf, pos) : rc;
}

/* Is the 24 byte piece a frame's header? Then: of a commit? */
static bool is_commit_header(const void *buf)
{
	const u8 *db_size = (const u8 *)buf + 4;

	return db_size[0] | db_size[1] | db_size[2] | db_size[3];
}

static void note_frame(struct vfs_file *f, const void *buf, int len,
		       sqlite3_int64 pos)
{
	if (len == WAL_FRAME_HEADER) {
		f->commit_frame = is_commit_header(buf);
		f->header_pos = pos;
	} else if (len != VFS_PAGE_SIZE) {
		f->end = pos + len; /* the WAL begins anew */
	} else if (pos == f->header_pos + WAL_FRAME_HEADER) {
		f->end = pos + len;
	}
}

/* Of frames that were written already, headers may be written again, with new
 * sums, and no page then follows. */
static bool can_gather(const struct vfs_file *f, int len, sqlite3_int64 pos)
{
	return len == VFS_PAGE_SIZE ||
	       (len == WAL_FRAME_HEADER && pos >= f->end);
}

/* Return: whether @buf was added to what is gathered. */
static bool gather(struct vfs_file *f, const void *buf, int len,
		   sqlite3_int64 pos)
{
	if (!can_gather(f, len, pos))
		return false;
	if (f->nr_gathered && pos != f->gather_pos + f->nr_gathered)
		return false;
	if (!f->gather)
		f->gather = malloc(GATHER_BYTES);
	if (!f->gather || f->nr_gathered + len > GATHER_BYTES)
		return false;

	if (!f->nr_gathered)
		f->gather_pos = pos;
	memcpy(f->gather + f->nr_gathered, buf, (size_t)len);
	f->nr_gathered += len;
	return true;
}

static int write_frame(sqlite3_file *file, const void *buf, int len,
		       sqlite3_int64 pos, bool commits)
{
	struct vfs_file *f = file_of(file);
	int rc = SQLITE_OK;

	if (!gather(f, buf, len, pos)) {
		rc = write_gathered(file);
		if (rc == SQLITE_OK && !gather(f, buf, len, pos))
			return note_failure(f,
					    write_lower(file, buf, len, pos));
	}
	return rc == SQLITE_OK && commits ? write_gathered(file) : rc;
}

static int shim_sync(sqlite3_file *file, int flags);

/*
 * A COMMIT is durable before the next transaction's first frame is written: so
 * a power cut leaves one transaction in doubt, the last (wal.c). Headers that
 * are written again belong to the same one, before its COMMIT has returned.
 */
static int sync_last_commit(sqlite3_file *file, int len, sqlite3_int64 pos)
{
	struct vfs_file *f = file_of(file);

	if (!f->unsynced_commit || (len == WAL_FRAME_HEADER && pos < f->end))
		return SQLITE_OK;
	return shim_sync(file, SQLITE_SYNC_NORMAL);
}

static int write_wal(sqlite3_file *file, const void *buf, int len,
		     sqlite3_int64 pos)
{
	struct vfs_file *f = file_of(file);
	bool commits;
	int rc = sync_last_commit(file, len, pos);

	if (rc != SQLITE_OK)
		return rc;
	note_frame(f, buf, len, pos);
	commits = len == VFS_PAGE_SIZE && f->commit_frame;
	rc = write_frame(file, buf, len, pos, commits);
	if (rc == SQLITE_OK && commits) {
		f->unsynced_commit = true;
		(void)__atomic_add_fetch(&f->db->commits, 1, __ATOMIC_RELAXED);
	}
	return rc;
}

static int shim_write(sqlite3_file *file, const void *buf, int len,
		      sqlite3_int64 pos)
{
	struct vfs_file *f = file_of(file);
	u8 page[VFS_PAGE_SIZE];

	if (shut(f))
		return SQLITE_IOERR_WRITE;
	if (f->db && f->wal)
		return write_wal(file, buf, len, pos);
	if (is_main(f) && len == VFS_PAGE_SIZE) {
		memcpy(page, buf, VFS_PAGE_SIZE);
		vfs_page_sum(page, page + VFS_PAGE_SIZE - VFS_RESERVED);
		buf = page;
	}
	return note_failure(f, write_lower(file, buf, len, pos));
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	sqlite3_file *low = lower(file);
	struct vfs_file *f = file_of(file);
	int rc;

	if (shut(f))
		return SQLITE_IOERR_TRUNCATE;
	rc = write_gathered(file);
	if (rc == SQLITE_OK)
		rc = run_hook(f, VFS_TRUNCATE, NULL, 0, size);
	if (rc == SQLITE_OK)
		rc = low->pMethods->xTruncate(low, size);
	return note_failure(f, rc);
}

static int shim_sync(sqlite3_file *file, int flags)
{
	sqlite3_file *low = lower(file);
	struct vfs_file *f = file_of(file);
	int rc;

	if (shut(f))
		return SQLITE_IOERR_FSYNC;
	rc = write_gathered(file);
	if (rc == SQLITE_OK)
		rc = run_hook(f, VFS_SYNC, NULL, 0, 0);
	if (rc == SQLITE_OK)
		rc = low->pMethods->xSync(low, flags);
	if (rc == SQLITE_OK)
		f->unsynced_commit = false;
	/* A sync that found the host full has lost pages like any other. */
	return note_failure(f, rc == SQLITE_FULL ? SQLITE_IOERR_FSYNC : rc);
}

static int shim_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	int rc = write_gathered(file);

	if (rc == SQLITE_OK)
		rc = run_hook(file_of(file), VFS_SIZE, NULL, 0, 0);
	if (rc != SQLITE_OK)
		return rc;
	return lower(file)->pMethods->xFileSize(lower(file), size);
}

static bool is_frozen(sqlite3_file *file)
{
	const struct vfs_db *db = file_of(file)->db;

	return db && db->frozen;
}

/* Of what nobody writes to, there is nothing to lock: and locks for writing are
 * not to be had of what is open for reading. */
static int shim_lock(sqlite3_file *file, int level)
{
	int rc;

	if (is_frozen(file))
		return SQLITE_OK;
	rc = run_hook(file_of(file), VFS_LOCK, NULL, 0, 0);
	if (rc != SQLITE_OK)
		return rc;
	return lower(file)->pMethods->xLock(lower(file), level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
	if (is_frozen(file))
		return SQLITE_OK;
	return lower(file)->pMethods->xUnlock(lower(file), level);
}

static int shim_check_reserved_lock(sqlite3_file *file, int *ret)
{
	return lower(file)->pMethods->xCheckReservedLock(lower(file), ret);
}

static int shim_file_control(sqlite3_file *file, int op, void *arg)
{
	return lower(file)->pMethods->xFileControl(lower(file), op, arg);
}

static int shim_sector_size(sqlite3_file *file)
{
	return lower(file)->pMethods->xSectorSize(lower(file));
}

static int shim_device_characteristics(sqlite3_file *file)
{
	const struct vfs_file *f = file_of(file);
	int flags = lower(file)->pMethods->xDeviceCharacteristics(lower(file));

	/* SQLite takes what is immutable to have no WAL */
	if (f->db && f->db->frozen && !f->db->has_log)
		flags |= SQLITE_IOCAP_IMMUTABLE;
	return flags;
}

static int shim_shm_map(sqlite3_file *file, int region, int size, int extend,
			void volatile **ret)
{
	int rc = run_hook(file_of(file), VFS_SHM_MAP, NULL, size, region);

	if (rc != SQLITE_OK)
		return rc;
	return lower(file)->pMethods->xShmMap(lower(file), region, size, extend,
					      ret);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
	int rc = SQLITE_OK;

	if (flags & SQLITE_SHM_LOCK)
		rc = run_hook(file_of(file), VFS_LOCK, NULL, 0, offset);
	if (rc != SQLITE_OK)
		return rc;
	return lower(file)->pMethods->xShmLock(lower(file), offset, n, flags);
}

static void shim_shm_barrier(sqlite3_file *file)
{
	lower(file)->pMethods->xShmBarrier(lower(file));
}

static int shim_shm_unmap(sqlite3_file *file, int delete)
{
	return lower(file)->pMethods->xShmUnmap(lower(file), delete);
}

/* Version 2: without xFetch, since pages that are mapped pass nobody by. */
static const sqlite3_io_methods shim_methods = {
	.iVersion = 2,
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_file_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_check_reserved_lock,
	.xFileControl = shim_file_control,
	.xSectorSize = shim_sector_size,
	.xDeviceCharacteristics = shim_device_characteristics,
	.xShmMap = shim_shm_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_shm_barrier,
	.xShmUnmap = shim_shm_unmap,
};

/* ---- methods of the VFS ---- */

static struct vfs_db *find_db(const char *path)
{
	struct vfs_db *db;
	struct vfs_db *found = NULL;

	mutex_lock(&dbs_lock);
	list_for_each_entry (db, &dbs, node) {
		if (strcmp(db->path, path) == 0)
			found = db;
	}
	mutex_unlock(&dbs_lock);
	return found;
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
		     int flags, int *ret_flags)
{
	struct vfs_file *f = file_of(file);
	int rc;

	f->base.pMethods = NULL;
	f->db = NULL;
	f->gather = NULL;
	f->nr_gathered = 0;
	f->commit_frame = false;
	f->header_pos = -1;
	f->end = 0;
	f->unsynced_commit = false;
	f->wal = (flags & SQLITE_OPEN_WAL) != 0;
	f->journal = (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0;
	if (flags & SQLITE_OPEN_WAL)
		f->db = find_db(sqlite3_filename_database(name));
	else if (flags & SQLITE_OPEN_MAIN_DB)
		f->db = find_db(name);
	if (!f->db && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)))
		return SQLITE_CANTOPEN;

	rc = run_hook(f, VFS_OPEN, NULL, 0, 0);
	if (rc != SQLITE_OK)
		return rc;
	rc = lower_vfs(vfs)->xOpen(lower_vfs(vfs), name, lower(file), flags,
				   ret_flags);
	if (lower(file)->pMethods)
		f->base.pMethods = &shim_methods;
	return rc;
}

/* Is @name that of a database of ours, with @suffix? */
static struct vfs_db *db_of(const char *name, const char *suffix)
{
	size_t len = strlen(name);
	size_t end = strlen(suffix);
	struct vfs_db *db;
	char *path;

	if (len < end || strcmp(name + len - end, suffix) != 0)
		return NULL;
	path = strndup(name, len - end);
	db = path ? find_db(path) : NULL;
	free(path);
	return db;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	struct vfs_file f = {.db = db_of(name, "-wal")};
	int rc;

	f.wal = f.db;
	f.journal = !f.db && db_of(name, "-journal");
	if (shut(&f))
		return SQLITE_IOERR_DELETE;
	rc = run_hook(&f, VFS_DELETE, NULL, 0, 0);
	if (rc != SQLITE_OK)
		return rc;
	return lower_vfs(vfs)->xDelete(lower_vfs(vfs), name, sync_dir);
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	return lower_vfs(vfs)->xAccess(lower_vfs(vfs), name, flags, ret);
}

static int shim_full_pathname(sqlite3_vfs *vfs, const char *name, int len,
			      char *out)
{
	return lower_vfs(vfs)->xFullPathname(lower_vfs(vfs), name, len, out);
}

static int shim_randomness(sqlite3_vfs *vfs, int len, char *out)
{
	return lower_vfs(vfs)->xRandomness(lower_vfs(vfs), len, out);
}

static int shim_sleep(sqlite3_vfs *vfs, int us)
{
	return lower_vfs(vfs)->xSleep(lower_vfs(vfs), us);
}

static int shim_current_time(sqlite3_vfs *vfs, double *ret)
{
	return lower_vfs(vfs)->xCurrentTime(lower_vfs(vfs), ret);
}

static int shim_get_last_error(sqlite3_vfs *vfs, int len, char *out)
{
	return lower_vfs(vfs)->xGetLastError(lower_vfs(vfs), len, out);
}

static int shim_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
	return lower_vfs(vfs)->xCurrentTimeInt64(lower_vfs(vfs), ret);
}

static int register_rc;

static void register_once(void)
{
	sqlite3_vfs *low = sqlite3_vfs_find(NULL);

	mutex_init(&dbs_lock, LOCK_LEAF, "vfs");
	if (!low || low->iVersion < 2) {
		register_rc = SQLITE_ERROR;
		return;
	}
	shim = (sqlite3_vfs){
		.iVersion = 2,
		.szOsFile = (int)sizeof(struct vfs_file) + low->szOsFile,
		.mxPathname = low->mxPathname,
		.zName = VFS_NAME,
		.pAppData = low,
		.xOpen = shim_open,
		.xDelete = shim_delete,
		.xAccess = shim_access,
		.xFullPathname = shim_full_pathname,
		.xRandomness = shim_randomness,
		.xSleep = shim_sleep,
		.xCurrentTime = shim_current_time,
		.xGetLastError = shim_get_last_error,
		.xCurrentTimeInt64 = shim_current_time_int64,
	};
	register_rc = sqlite3_vfs_register(&shim, 0);
}

static bool has_log(const char *path)
{
	char wal[PATH_MAX];
	struct stat st;

	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	return stat(wal, &st) == 0 && st.st_size > 0;
}

bool vfs_has_frozen_log(sqlite3 *conn)
{
	sqlite3_file *file = NULL;

	(void)sqlite3_file_control(conn, "main", SQLITE_FCNTL_FILE_POINTER,
				   &file);
	return file && file->pMethods && is_frozen(file) &&
	       file_of(file)->db->has_log;
}

int vfs_db_new(const char *path, bool frozen, struct vfs_db **ret_db)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct vfs_db *db;

	(void)pthread_once(&once, register_once);
	if (register_rc != SQLITE_OK)
		return -EIO;
	db = calloc(1, sizeof(*db));
	if (!db)
		return -ENOMEM;
	db->frozen = frozen;
	db->has_log = frozen && has_log(path);
	db->path = strdup(path);
	if (!db->path) {
		free(db);
		return -ENOMEM;
	}
	mutex_lock(&dbs_lock);
	list_add(&db->node, &dbs);
	mutex_unlock(&dbs_lock);
	*ret_db = db;
	return 0;
}

void vfs_db_free(struct vfs_db *db)
{
	if (!db)
		return;
	mutex_lock(&dbs_lock);
	list_del(&db->node);
	mutex_unlock(&dbs_lock);
	free(db->path);
	free(db);
}

int vfs_sync_wal(sqlite3 *conn)
{
	sqlite3_file *file = NULL;
	int rc;

	rc = sqlite3_file_control(conn, "main", SQLITE_FCNTL_JOURNAL_POINTER,
				  &file);
	if (rc != SQLITE_OK)
		return rc;
	if (!file || !file->pMethods)
		return SQLITE_OK;
	return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "vfs.h"

enum source {
	DEVICE,
	DATABASE,
	HOST,
	SQLITE_MEMORY,
	MEMORY,
};

/* Of HOST: calls of the database stand above those of the device. */
#define DB_SHIFT 8
#define DB_CALL(op) (1u << ((op) + DB_SHIFT))
#define HOST_WRITES (BDEV_FAULT_WRITE | BDEV_FAULT_GROW | DB_CALL(VFS_WRITE))

static const struct kind {
	const char *name;
	enum source source;
	unsigned what;
	int answer;
} kinds[] = {
#define X(name, source, what, answer) {#name, source, what, answer},
	FAULT_KINDS(X)
#undef X
};

/* all atomic */
static struct {
	bool armed, forever, fired, counting;
	u64 kind;
	u64 nth;
	u64 calls[FAULT_NR];
} now;

static sqlite3_mem_methods sqlite_memory;

const char *fault_name(enum fault_kind kind)
{
	return kinds[kind].name;
}

int fault_errno(enum fault_kind kind)
{
	switch (kinds[kind].source) {
	case DEVICE:
		return kinds[kind].answer;
	case DATABASE:
		return kinds[kind].answer == SQLITE_FULL ? -ENOSPC : -EIO;
	case HOST:
		return kinds[kind].answer ? -EIO : -ENOSPC;
	default:
		return -ENOMEM;
	}
}

#define load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

/* A call that @kind is for. Return: is it to fail? */
static bool hit(u64 kind)
{
	u64 nr;

	if (!load(&now.counting) && load(&now.kind) != kind)
		return false;
	nr = __atomic_add_fetch(&now.calls[kind], 1, __ATOMIC_SEQ_CST);
	if (load(&now.counting) || nr < load(&now.nth) ||
	    (nr > load(&now.nth) && !load(&now.forever)))
		return false;
	store(&now.fired, true);
	return true;
}

/* Return: the kind that fails this call, NULL: it goes through. */
static const struct kind *fails(enum source source, unsigned call)
{
	const struct kind *found = NULL;

	if (!load(&now.armed))
		return NULL;
	for (u64 k = 0; k < FAULT_NR; k++)
		if (kinds[k].source == source && (kinds[k].what & call) &&
		    hit(k))
			found = &kinds[k];
	return found;
}

/* ---- a device that forgets ---- */

#define FORGETFUL_BLOCKS 16384

struct forgetful {
	struct bdev bdev;
	struct bdev *lower;
	pthread_mutex_t lock;
	bool written[FORGETFUL_BLOCKS]; /* since the last flush; under lock */
};

static struct forgetful *forgetful_of(struct bdev *b)
{
	return container_of(b, struct forgetful, bdev);
}

static int forgetful_read(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev *low = forgetful_of(b)->lower;

	return low->ops->read(low, block, nr, pages);
}

static int forgetful_write(struct bdev *b, u64 block, u32 nr,
			   void *const *pages)
{
	struct forgetful *f = forgetful_of(b);
	int err;

	(void)pthread_mutex_lock(&f->lock);
	if (block + nr > FORGETFUL_BLOCKS)
		abort();
	memset(f->written + block, true, nr);
	err = f->lower->ops->write(f->lower, block, nr, pages);
	(void)pthread_mutex_unlock(&f->lock);
	return err;
}

static int forgetful_write_sync(struct bdev *b, u64 block, u32 nr,
				void *const *pages)
{
	struct forgetful *f = forgetful_of(b);
	int err;

	(void)pthread_mutex_lock(&f->lock);
	if (block + nr > FORGETFUL_BLOCKS)
		abort();
	err = f->lower->ops->write_sync(f->lower, block, nr, pages);
	memset(f->written + block, err != 0, nr);
	(void)pthread_mutex_unlock(&f->lock);
	return err;
}

static int forgetful_flush(struct bdev *b)
{
	struct forgetful *f = forgetful_of(b);

	(void)pthread_mutex_lock(&f->lock);
	memset(f->written, false, sizeof(f->written));
	(void)pthread_mutex_unlock(&f->lock);
	return f->lower->ops->flush(f->lower);
}

/* A host that has told of an error takes its pages for clean. */
static void forget(struct bdev *b)
{
	static _Alignas(PAGE_SIZE) u8 garbage[PAGE_SIZE];
	struct forgetful *f = forgetful_of(b);
	void *page = garbage;

	(void)pthread_mutex_lock(&f->lock);
	memset(garbage, 0xdb, sizeof(garbage));
	for (u64 i = 0; i < FORGETFUL_BLOCKS; i++)
		if (f->written[i] &&
		    f->lower->ops->write(f->lower, i, 1, &page))
			abort();
	memset(f->written, false, sizeof(f->written));
	(void)pthread_mutex_unlock(&f->lock);
}

static int forgetful_discard(struct bdev *b, u64 block, u64 nr)
{
	struct bdev *low = forgetful_of(b)->lower;

	return low->ops->discard(low, block, nr);
}

static int forgetful_size(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *low = forgetful_of(b)->lower;

	return low->ops->size(low, ret_blocks);
}

static int forgetful_held(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *low = forgetful_of(b)->lower;

	return low->ops->held(low, ret_blocks);
}

static int forgetful_grow(struct bdev *b, u64 blocks)
{
	struct bdev *low = forgetful_of(b)->lower;

	return low->ops->grow(low, blocks);
}

static void forgetful_close(struct bdev *b)
{
	struct forgetful *f = forgetful_of(b);

	f->lower->ops->close(f->lower);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct bdev_operations forgetful_operations = {
	.name = "forgetful",
	.read = forgetful_read,
	.write = forgetful_write,
	.write_sync = forgetful_write_sync,
	.flush = forgetful_flush,
	.discard = forgetful_discard,
	.size = forgetful_size,
	.held = forgetful_held,
	.grow = forgetful_grow,
	.close = forgetful_close,
};

static int forgetful_wrap(struct bdev *lower, struct bdev **ret)
{
	struct forgetful *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->bdev.ops = &forgetful_operations;
	f->lower = lower;
	(void)pthread_mutex_init(&f->lock, NULL);
	*ret = &f->bdev;
	return 0;
}

/* ---- who is asked ---- */

/* @arg: the device that is to forget. */
static int ask_device(void *arg, unsigned call)
{
	const struct kind *k = fails(DEVICE, call);

	if (k == &kinds[FAULT_data_flush_lost])
		forget(arg);
	if (k)
		return k->answer;
	k = fails(HOST, call);
	return k ? k->answer ? -EIO : -ENOSPC : 0;
}

static int ioerr_of(enum vfs_op op)
{
	static const int codes[] = {
		[VFS_OPEN] = SQLITE_CANTOPEN,
		[VFS_READ] = SQLITE_IOERR_READ,
		[VFS_WRITE] = SQLITE_IOERR_WRITE,
		[VFS_SYNC] = SQLITE_IOERR_FSYNC,
		[VFS_TRUNCATE] = SQLITE_IOERR_TRUNCATE,
		[VFS_DELETE] = SQLITE_IOERR_DELETE,
		[VFS_SIZE] = SQLITE_IOERR_FSTAT,
		[VFS_LOCK] = SQLITE_IOERR_LOCK,
		[VFS_SHM_MAP] = SQLITE_IOERR_SHMMAP,
	};

	return codes[op];
}

static int ask_database(void *arg, const struct vfs_event *ev)
{
	const struct kind *k = fails(DATABASE, 1u << ev->op);

	if (k)
		return k->answer;
	k = fails(HOST, DB_CALL(ev->op));
	return k ? k->answer ? ioerr_of(ev->op) : SQLITE_FULL : SQLITE_OK;
}

static void *fail_malloc(int size)
{
	return load(&now.armed) && hit(FAULT_sqlite_memory)
		       ? NULL
		       : sqlite_memory.xMalloc(size);
}

static void *fail_realloc(void *old, int size)
{
	return load(&now.armed) && hit(FAULT_sqlite_memory)
		       ? NULL
		       : sqlite_memory.xRealloc(old, size);
}

void faults_init(void)
{
	sqlite3_mem_methods mine;

	ck_assert_int_eq(
		sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory),
		SQLITE_OK);
	mine = sqlite_memory;
	mine.xMalloc = fail_malloc;
	mine.xRealloc = fail_realloc;
	ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &mine),
			 SQLITE_OK);
	vfs_set_hook(ask_database, NULL);
}

int faults_wrap(void *arg, struct bdev *lower, struct bdev **ret)
{
	struct bdev *mine;
	int err = forgetful_wrap(lower, &mine);

	if (err)
		return err;
	err = bdev_fault_wrap(mine, ret);
	if (err)
		free(forgetful_of(mine)); /* @lower stays the caller's */
	else
		bdev_fault_set_hook(*ret, ask_device, mine);
	return err;
}

static void begin(bool counting)
{
	store(&now.counting, counting);
	store(&now.fired, false);
	for (int k = 0; k < FAULT_NR; k++)
		store(&now.calls[k], 0);
	store(&now.armed, true);
}

void faults_arm(enum fault_kind kind, u64 nth, bool forever)
{
	store(&now.kind, (u64)kind);
	store(&now.nth, nth);
	store(&now.forever, forever);
	begin(false);
	if (kind != FAULT_memory)
		return;
	if (forever)
		test_fail_malloc_from(nth);
	else
		test_fail_malloc(nth);
}

void faults_count(void)
{
	begin(true);
	test_fail_malloc(UINT64_MAX);
}

bool faults_disarm(void)
{
	bool memory = test_malloc_failed();

	store(&now.armed, false);
	store(&now.calls[FAULT_memory], test_malloc_calls());
	return load(&now.fired) || memory;
}

u64 faults_counted(enum fault_kind kind)
{
	return load(&now.calls[kind]);
}

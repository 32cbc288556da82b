/* SPDX-License-Identifier: MIT */
/* A block device that fails on request; see bdev.h. */
#include "config.h"

#include "bdev.h"

#include <errno.h>
#include <stdlib.h>

#include "lock.h"

struct bdev_fault {
	struct bdev bdev;
	struct bdev *lower;
	bdev_fault_fn hook; /* may be NULL */
	void *hook_arg;

	/* under lock */
	struct mutex lock;
	unsigned mask;
	u64 nth; /* 0: never */
	int err;
	bool forever;
	u64 calls;
};

static struct bdev_fault *fault_of(const struct bdev *b)
{
	return container_of(b, struct bdev_fault, bdev);
}

/* Count a call of @kind. Return: 0, or the error it is to answer. */
static int fault_hit(struct bdev *b, unsigned kind)
{
	struct bdev_fault *f = fault_of(b);
	int err = 0;

	mutex_lock(&f->lock);
	if (f->mask & kind) {
		f->calls++;
		if (f->nth &&
		    (f->calls == f->nth || (f->forever && f->calls > f->nth)))
			err = f->err;
	}
	mutex_unlock(&f->lock);
	return !err && f->hook ? f->hook(f->hook_arg, kind) : err;
}

static int fault_read(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_READ);

	return err ? err : lower->ops->read(lower, block, nr, pages);
}

/* A write that fails may have written a part: so does this one. */
static int fault_write(struct bdev *b, u64 block, u32 nr, void *const *pages)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_WRITE);

	if (err)
		nr /= 2;
	if (nr) {
		int lower_err = lower->ops->write(lower, block, nr, pages);

		return err ? err : lower_err;
	}
	return err;
}

/* It is a write, which may fail as one, and a flush. */
static int fault_write_sync(struct bdev *b, u64 block, u32 nr,
			    void *const *pages)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_WRITE);

	if (err)
		nr /= 2;
	if (nr) {
		int lower_err = lower->ops->write_sync(lower, block, nr, pages);

		err = err ? err : lower_err;
	}
	return err ? err : fault_hit(b, BDEV_FAULT_FLUSH);
}

static int fault_flush(struct bdev *b)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_FLUSH);

	return err ? err : lower->ops->flush(lower);
}

static int fault_discard(struct bdev *b, u64 block, u64 nr)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_DISCARD);

	return err ? err : lower->ops->discard(lower, block, nr);
}

static int fault_size(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *lower = fault_of(b)->lower;

	return lower->ops->size(lower, ret_blocks);
}

static int fault_held(struct bdev *b, u64 *ret_blocks)
{
	struct bdev *lower = fault_of(b)->lower;

	return lower->ops->held(lower, ret_blocks);
}

static int fault_grow(struct bdev *b, u64 blocks)
{
	struct bdev *lower = fault_of(b)->lower;
	int err = fault_hit(b, BDEV_FAULT_GROW);

	return err ? err : lower->ops->grow(lower, blocks);
}

static void fault_close(struct bdev *b)
{
	struct bdev_fault *f = fault_of(b);

	f->lower->ops->close(f->lower);
	mutex_done(&f->lock);
	free(f);
}

static const struct bdev_operations fault_operations = {
	.name = "fault",
	.read = fault_read,
	.write = fault_write,
	.write_sync = fault_write_sync,
	.flush = fault_flush,
	.discard = fault_discard,
	.size = fault_size,
	.held = fault_held,
	.grow = fault_grow,
	.close = fault_close,
};

int bdev_fault_wrap(struct bdev *lower, struct bdev **ret_bdev)
{
	struct bdev_fault *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->bdev.ops = &fault_operations;
	f->lower = lower;
	mutex_init(&f->lock, LOCK_LEAF, "bdev fault");
	*ret_bdev = &f->bdev;
	return 0;
}

void bdev_fault_arm(struct bdev *b, unsigned mask, u64 nth, int err,
		    bool forever)
{
	struct bdev_fault *f = fault_of(b);

	mutex_lock(&f->lock);
	f->mask = mask;
	f->nth = nth;
	f->err = err;
	f->forever = forever;
	f->calls = 0;
	mutex_unlock(&f->lock);
}

void bdev_fault_set_hook(struct bdev *b, bdev_fault_fn hook, void *arg)
{
	struct bdev_fault *f = fault_of(b);

	f->hook = hook;
	f->hook_arg = arg;
}

u64 bdev_fault_calls(const struct bdev *b)
{
	struct bdev_fault *f = fault_of(b);
	u64 calls;

	mutex_lock(&f->lock);
	calls = f->calls;
	mutex_unlock(&f->lock);
	return calls;
}

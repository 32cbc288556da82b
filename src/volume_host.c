/* SPDX-License-Identifier: MIT */
/* What a volume stands on: the host's filesystem, and the room that it has. */
#include "config.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "clock.h"
#include "volume_int.h"

#define BOUND_AGE_NS NSEC_PER_SEC
/* Of the host's room so much is not for `data`: a part of all there is, and no
 * more than 32 MiB. */
#define HOST_SPARE_SHARE 32
#define HOST_SPARE_MAX ((u64)32 << 20 >> PAGE_SHIFT)
/* So many blocks are out of reach at a time while their room is given back. */
#define COMPACT_BLOCKS 8192

/* ---- of which kind it is ---- */

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

int volume_check_host(int dirfd, const struct volume_options *opt, char *err,
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

/* ---- room ---- */

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

u64 volume_host_bound(const struct volume *v)
{
	u64 spare, bound;
	u64 nr = host_free(v, &spare);

	if (v->data->ops->held(v->data, &bound))
		bound = load_seq(&v->data_blocks);
	bound += nr - min(nr, spare);
	return min(v->max_blocks ? v->max_blocks : BLOCKS_MAX, bound);
}

void volume_update_bound(struct volume *v)
{
	u64 bound = volume_host_bound(v);
	u64 nr;

	store_seq(&v->bound_when_ns, mono_ns());
	nr = max(max(bound, load_seq(&v->data_blocks)), blocks_end(v->blocks));
	/* If an allocation comes in between, the next time will do. */
	if (!blocks_resize(v->blocks, nr))
		blocks_set_missing(v->blocks, nr - bound);
}

int volume_reserve(struct volume *v, u64 nr)
{
	if (mono_ns() - load_seq(&v->bound_when_ns) > BOUND_AGE_NS)
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
		store_seq(&v->data_blocks, end + extra);
	return err;
}

int volume_ensure_size(struct volume *v, u64 end)
{
	int err = 0;

	if (end <= load_seq(&v->data_blocks))
		return 0;
	mutex_lock(&v->grow_lock);
	if (end > load_seq(&v->data_blocks))
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
	u64 size = load_seq(&v->data_blocks);
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
	counter_add(&v->count.data_discarded_blocks, nr);
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

/* SPDX-License-Identifier: MIT */
/* meta.db: src/meta.h, src/vfs.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meta_int.h"
#include "sum.h"
#include "test.h"
#include "tmpdir.h"

static const struct meta_super super = {
	.uuid = "0123456789abcde",
	.version = META_VERSION,
	.block_size = PAGE_SIZE,
	.nr_blocks = 12345,
	.next_ino = 2,
	.created_ns = 1700000000123456789,
};

static char msg[256];

static void setup(void)
{
	tmpdir_make();
	ck_assert_int_eq(mkdir(tmpdir_path("v"), 0700), 0);
	ck_assert_int_eq(meta_create(tmpdir_path("v"), &super), 0);
}

static struct meta *open_meta(void)
{
	struct meta *m = NULL;
	int err = meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg));

	ck_assert_msg(err == 0, "open: %d %s", err, msg);
	return m;
}

static struct meta_reader *reader(struct meta *m)
{
	struct meta_reader *r;

	ck_assert_int_eq(meta_reader_get(m, &r), 0);
	return r;
}

static void begin(struct meta *m)
{
	ck_assert_int_eq(meta_begin(m), 0);
}

static void commit(struct meta *m)
{
	ck_assert_int_eq(meta_commit(m, 0, true), 0);
}

static struct inode_row inode(u64 ino, u32 mode)
{
	return (struct inode_row){.ino = ino, .mode = mode, .nlink = 1};
}

static struct dentry_row dentry(u64 id, u64 ino, u32 type, const char *name)
{
	struct dentry_row d = {.id = id, .ino = ino, .type = type};

	d.len = (u16)strlen(name);
	memcpy(d.name, name, d.len);
	return d;
}

static void print_fault(void *arg, const char *line)
{
	char *lines = arg;
	size_t used = strlen(lines);

	(void)snprintf(lines + used, 4096 - used, "%s\n", line);
}

/* What meta_check() has to say, in all. */
static const char *faults(struct meta *m)
{
	static char lines[4096];
	bool tangled;
	long nr;

	lines[0] = '\0';
	nr = meta_check(m, print_fault, lines, &tangled);
	ck_assert_msg((nr == 0) == (lines[0] == '\0'), "%ld: %s", nr, lines);
	return lines;
}

/* ---- rows ---- */

START_TEST(super_comes_back_and_commits_count)
{
	struct meta *m = open_meta();
	struct meta_super s;

	meta_super(m, &s);
	ck_assert(memcmp(&s, &super, sizeof(s)) == 0);
	begin(m);
	meta_set_mount_epoch(m, 9);
	ck_assert_int_eq(meta_commit(m, 77, true), 0);
	begin(m);
	ck_assert_int_eq(meta_commit(m, 50, false), 0);
	begin(m);
	meta_rollback(m);
	ck_assert_int_eq(meta_close(m), 0);
	m = open_meta();
	meta_super(m, &s);
	ck_assert_uint_eq(s.commit_no, 2);
	ck_assert_uint_eq(s.mount_epoch, 9);
	ck_assert_uint_eq(s.next_ino, 77);
	ck_assert_str_eq(faults(m), "");
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(an_inode_comes_back_to_the_bit)
{
	struct inode_row in = {
		.ino = INT64_MAX,
		.mode = S_IFREG | 07777,
		.uid = UINT32_MAX,
		.gid = UINT32_MAX - 1,
		.nlink = 65000,
		.size = INT64_MAX,
		.atime = -1,
		.mtime = INT64_MIN,
		.ctime = INT64_MAX,
		.btime = 0,
		.rdev = UINT64_MAX,
		.flags = UINT32_MAX,
		.generation = UINT32_MAX,
	};
	struct inode_row out;
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	u64 nr;

	memset(&out, 0, sizeof(out));
	begin(m);
	ck_assert_int_eq(meta_inode_put(m, &in), 0);
	ck_assert_int_eq(meta_inode_get(r, in.ino, &out), -ENOENT);
	commit(m);
	ck_assert_int_eq(meta_inode_get(r, in.ino, &out), 0);
	ck_assert_uint_eq(out.rdev, in.rdev);
	ck_assert_int_eq(out.mtime, in.mtime);
	ck_assert_uint_eq(out.uid, in.uid);
	ck_assert_uint_eq(out.generation, in.generation);
	ck_assert_uint_eq(out.size, in.size);

	begin(m);
	ck_assert_int_eq(meta_inode_put_content(m, in.ino, 5, 6, 7), 0);
	in.mode = S_IFREG;
	in.size = 99;
	in.mtime = 99;
	in.ctime = 99;
	in.uid = 3;
	in.atime = 4;
	ck_assert_int_eq(meta_inode_put_attr(m, &in), 0);
	commit(m);
	ck_assert_int_eq(meta_inode_get(r, in.ino, &out), 0);
	ck_assert_uint_eq(out.size, 5);
	ck_assert_int_eq(out.mtime, 6);
	ck_assert_int_eq(out.ctime, 7);
	ck_assert_uint_eq(out.mode, S_IFREG);
	ck_assert_uint_eq(out.uid, 3);
	ck_assert_int_eq(out.atime, 4);
	ck_assert_uint_eq(out.nlink, 65000);
	ck_assert_int_eq(meta_counts(m, &nr), 0);
	ck_assert_uint_eq(nr, 2);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(names_are_bytes_and_folders_list_in_order_of_creation)
{
	static const char *const names[] = {"b", "a", "\xff\xfe", "A b\n",
					    "\x01"};
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct dentry_row rows[8];
	struct dentry_row d;
	u64 parent, max_id = 0;

	ck_assert_int_eq(meta_dentry_any(r, 1), 0);
	begin(m);
	for (u64 i = 0; i < ARRAY_SIZE(names); i++) {
		d = dentry(10 + i, 20 + i, S_IFREG, names[i]);
		ck_assert_int_eq(meta_dentry_put(m, 1, &d), 0);
	}
	commit(m);
	ck_assert_int_eq(meta_dentry_any(r, 1), 1);
	ck_assert_int_eq(meta_dentry_any(r, 2), 0);
	ck_assert_int_eq(meta_dentry_list(r, 1, 0, rows, 8), 5);
	for (u64 i = 0; i < ARRAY_SIZE(names); i++) {
		ck_assert_str_eq(rows[i].name, names[i]);
		ck_assert_uint_eq(rows[i].id, 10 + i);
		ck_assert_int_eq(
			meta_dentry_get(r, 1, names[i], strlen(names[i]), &d),
			0);
		ck_assert_uint_eq(d.ino, 20 + i);
		ck_assert_uint_eq(d.type, S_IFREG);
		ck_assert_uint_eq(d.len, strlen(names[i]));
		ck_assert_int_eq(meta_dentry_of(r, 20 + i, 0, &parent, &d), 0);
		ck_assert_int_eq(meta_dentry_of(r, 20 + i, 1, &parent, &d),
				 -ENOENT);
		ck_assert_str_eq(d.name, names[i]);
		ck_assert_uint_eq(parent, 1);
	}
	ck_assert_int_eq(meta_dentry_list(r, 1, 11, rows, 2), 2);
	ck_assert_uint_eq(rows[0].id, 12);
	ck_assert_int_eq(meta_dentry_list(r, 1, 14, rows, 2), 0);
	ck_assert_int_eq(meta_dentry_get(r, 1, "aa", 2, &d), -ENOENT);
	ck_assert_int_eq(meta_dentry_of(r, 99, 0, &parent, &d), -ENOENT);
	ck_assert_int_eq(meta_max_dentry_id(m, &max_id), 0);
	ck_assert_uint_eq(max_id, 14);

	/* a name is replaced with its id, and deleting twice is no error */
	begin(m);
	d = dentry(15, 30, S_IFDIR, "a");
	ck_assert_int_eq(meta_dentry_put(m, 1, &d), 0);
	ck_assert_int_eq(meta_dentry_delete(m, 1, "b", 1), 0);
	ck_assert_int_eq(meta_dentry_delete(m, 1, "b", 1), 0);
	commit(m);
	ck_assert_int_eq(meta_dentry_list(r, 1, 0, rows, 8), 4);
	ck_assert_str_eq(rows[3].name, "a");
	ck_assert_uint_eq(rows[3].ino, 30);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(symlinks_and_xattrs_come_back)
{
	static u8 big[65536];
	static u8 out[65536];
	char buf[64];
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (u8)(i * 7);
	begin(m);
	ck_assert_int_eq(meta_symlink_put(m, 5, "../x", 4), 0);
	ck_assert_int_eq(meta_xattr_put(m, 5, "user.b", big, sizeof(big)), 0);
	ck_assert_int_eq(meta_xattr_put(m, 5, "user.a", "", 0), 0);
	ck_assert_int_eq(meta_xattr_put(m, 6, "user.c", "x", 1), 0);
	commit(m);
	ck_assert_int_eq(meta_symlink_get(r, 5, buf, 5), 0);
	ck_assert_str_eq(buf, "../x");
	ck_assert_int_eq(meta_symlink_get(r, 5, buf, 4), -ERANGE);
	ck_assert_int_eq(meta_symlink_get(r, 6, buf, 4), -ENOENT);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.b", NULL, 0), 65536);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.b", out, 65535), -ERANGE);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.b", out, 65536), 65536);
	ck_assert(memcmp(big, out, sizeof(big)) == 0);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.a", out, 10), 0);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.c", out, 10), -ENODATA);
	ck_assert_int_eq(meta_xattr_list(r, 5, NULL, 0), 14);
	ck_assert_int_eq(meta_xattr_list(r, 5, buf, 13), -ERANGE);
	ck_assert_int_eq(meta_xattr_list(r, 5, buf, 14), 14);
	ck_assert(memcmp(buf, "user.a\0user.b", 14) == 0);
	ck_assert_int_eq(meta_xattr_list(r, 9, buf, 14), 0);
	begin(m);
	ck_assert_int_eq(meta_xattr_delete(m, 5, "user.a"), 0);
	ck_assert_int_eq(meta_xattr_delete(m, 5, "user.a"), 0);
	commit(m);
	ck_assert_int_eq(meta_xattr_get(r, 5, "user.a", out, 10), -ENODATA);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

static int note_freed(void *arg, u64 block, u64 nr)
{
	u8 *freed = arg;

	for (u64 i = block; i < block + nr; i++)
		freed[i]++;
	return 0;
}

static int delete_orphan(void *arg, u64 ino)
{
	struct meta *m = ((void **)arg)[0];

	return meta_inode_delete(m, ino, note_freed, ((void **)arg)[1]);
}

START_TEST(a_deleted_inode_takes_all_its_rows_along)
{
	static u8 freed[1000];
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	void *arg[2] = {m, freed};
	u64 sums[256] = {0};
	struct extent_row row;
	struct inode_row out;
	u64 nr;

	begin(m);
	for (u64 ino = 2; ino <= 3; ino++) {
		struct inode_row in = inode(ino, S_IFREG);

		ck_assert_int_eq(meta_inode_put(m, &in), 0);
		ck_assert_int_eq(meta_xattr_put(m, ino, "user.x", "y", 1), 0);
		ck_assert_int_eq(meta_symlink_put(m, ino, "t", 1), 0);
		ck_assert_int_eq(meta_orphan_put(m, ino), 0);
		ck_assert_int_eq(meta_extent_put(m, ino, 7, 200,
						 ino == 2 ? 100 : 500, 0, sums,
						 note_freed, freed),
				 0);
		ck_assert_int_eq(meta_extent_put_inline(m, ino, 3, "x", 1,
							note_freed, freed),
				 0);
	}
	ck_assert_int_eq(meta_orphan_delete(m, 3), 0);
	ck_assert_int_eq(meta_orphan_walk(m, delete_orphan, arg), 0);
	commit(m);

	ck_assert_int_eq(meta_inode_get(r, 2, &out), -ENOENT);
	ck_assert_int_eq(meta_xattr_list(r, 2, NULL, 0), 0);
	ck_assert_int_eq(meta_extent_get(r, 2, 0, &row, NULL), -ENOENT);
	ck_assert_int_eq(meta_extent_count(r, 2, &nr), 0);
	ck_assert_uint_eq(nr, 0);
	ck_assert_int_eq(meta_extent_count(r, 3, &nr), 0);
	ck_assert_uint_eq(nr, 201);
	ck_assert_int_eq(meta_inode_get(r, 3, &out), 0);
	for (u64 i = 0; i < 1000; i++)
		ck_assert_int_eq(freed[i], i >= 100 && i < 300);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* ---- extents against a model ---- */

#define MODEL_PAGES 3000
#define MODEL_BLOCKS 200000

struct page {
	u8 kind; /* 0 hole, 1 data, 2 unwritten, 3 inline */
	u8 fill;
	u64 block;
	u64 sum;
};

struct model {
	struct meta *m;
	struct meta_reader *r;
	struct rng rng;
	u64 next_block;
	struct page now[MODEL_PAGES];
	struct page committed[MODEL_PAGES];
	u8 freed[MODEL_BLOCKS];
	u8 expect[MODEL_BLOCKS];
};

static void model_replace(struct model *t, u64 pgoff, const struct page *p)
{
	struct page *old = &t->now[pgoff];

	if (old->kind == 1 || old->kind == 2)
		t->expect[old->block]++;
	*old = *p;
}

static void model_put(struct model *t)
{
	u32 nr = (u32)rng_range(&t->rng, 1, rng_one_in(&t->rng, 3) ? 300 : 5);
	u64 pgoff = rng_below(&t->rng, MODEL_PAGES - nr + 1);
	bool unwritten = rng_one_in(&t->rng, 5);
	u64 sums[300];

	/* sometimes blocks go on where the last run ended */
	t->next_block += rng_one_in(&t->rng, 2) ? 0 : 1;
	if (rng_one_in(&t->rng, 2) && pgoff && t->now[pgoff - 1].kind == 1 &&
	    t->now[pgoff - 1].block + 1 == t->next_block)
		unwritten = false;
	for (u32 i = 0; i < nr; i++) {
		struct page p = {.kind = unwritten ? 2 : 1,
				 .block = t->next_block + i};

		sums[i] = rng_next(&t->rng);
		p.sum = unwritten ? 0 : sums[i];
		model_replace(t, pgoff + i, &p);
	}
	ck_assert_int_eq(meta_extent_put(t->m, 9, pgoff, nr, t->next_block,
					 unwritten ? META_EXTENT_UNWRITTEN : 0,
					 unwritten ? NULL : sums, note_freed,
					 t->freed),
			 0);
	t->next_block += nr;
	ck_assert_uint_lt(t->next_block + 400, MODEL_BLOCKS);
}

/* Append behind the last run, as a growing file does: rows are joined. */
static void model_append(struct model *t)
{
	u64 pgoff = MODEL_PAGES;
	u64 sum = rng_next(&t->rng);
	struct page p = {.kind = 1, .sum = sum};

	while (pgoff && !t->now[pgoff - 1].kind)
		pgoff--;
	if (!pgoff || pgoff == MODEL_PAGES || t->now[pgoff - 1].kind != 1 ||
	    t->now[pgoff - 1].block + 1 != t->next_block)
		return;
	p.block = t->next_block++;
	model_replace(t, pgoff, &p);
	ck_assert_int_eq(meta_extent_put(t->m, 9, pgoff, 1, p.block, 0, &sum,
					 note_freed, t->freed),
			 0);
}

static void model_inline(struct model *t)
{
	u64 pgoff = rng_below(&t->rng, MODEL_PAGES);
	struct page p = {.kind = 3};
	u8 data[PAGE_SIZE];

	p.fill = (u8)rng_below(&t->rng, 256);
	memset(data, p.fill, sizeof(data));
	p.sum = page_sum(data);
	model_replace(t, pgoff, &p);
	ck_assert_int_eq(meta_extent_put_inline(t->m, 9, pgoff, data, PAGE_SIZE,
						note_freed, t->freed),
			 0);
}

static void model_punch(struct model *t)
{
	u64 pgoff = rng_below(&t->rng, MODEL_PAGES);
	u64 last =
		pgoff + rng_below(&t->rng, rng_one_in(&t->rng, 4) ? 2000 : 4);
	static const struct page hole;

	for (u64 i = pgoff; i <= last && i < MODEL_PAGES; i++)
		model_replace(t, i, &hole);
	if (last >= MODEL_PAGES)
		last = UINT64_MAX;
	ck_assert_int_eq(
		meta_extent_punch(t->m, 9, pgoff, last, note_freed, t->freed),
		0);
}

static void check_extent(struct model *t, const struct extent_row *row,
			 const u8 *data)
{
	ck_assert_uint_ge(row->npages, 1);
	for (u32 i = 0; i < row->npages; i++) {
		const struct page *p = &t->committed[row->pgoff + i];

		ck_assert_uint_lt(row->pgoff + i, MODEL_PAGES);
		if (row->flags & META_EXTENT_INLINE) {
			ck_assert_int_eq(p->kind, 3);
			ck_assert_int_eq(data[PAGE_SIZE - 1], p->fill);
			ck_assert_uint_eq(row->sums[i], p->sum);
		} else if (row->flags & META_EXTENT_UNWRITTEN) {
			ck_assert_int_eq(p->kind, 2);
			ck_assert_uint_eq(row->block + i, p->block);
		} else {
			ck_assert_int_eq(p->kind, 1);
			ck_assert_uint_eq(row->block + i, p->block);
			ck_assert_uint_eq(row->sums[i], p->sum);
		}
	}
}

/* Walk the file as a reader does. */
static void model_compare(struct model *t)
{
	static struct extent_row row;
	static u8 data[PAGE_SIZE];
	u64 pages = 0;
	u64 total = 0;
	u64 at = 0;
	u64 nr;

	for (u64 i = 0; i < MODEL_PAGES; i++)
		total += t->committed[i].kind != 0;
	while (meta_extent_get(t->r, 9, at, &row, data) == 0) {
		for (; at < row.pgoff; at++)
			ck_assert_int_eq(t->committed[at].kind, 0);
		check_extent(t, &row, data);
		pages += row.npages;
		at = row.pgoff + row.npages;
	}
	for (; at < MODEL_PAGES; at++)
		ck_assert_int_eq(t->committed[at].kind, 0);
	ck_assert_uint_eq(pages, total);
	ck_assert_int_eq(meta_extent_count(t->r, 9, &nr), 0);
	ck_assert_uint_eq(nr, total);
}

static void check_mapped(struct model *t, const struct meta_page *map,
			 const struct page *p, const u8 *page)
{
	ck_assert_int_eq(map->err, 0);
	switch (p->kind) {
	case 1:
		ck_assert_int_eq(map->kind, META_PAGE_BLOCK);
		ck_assert_uint_eq(map->block, p->block);
		ck_assert_uint_eq(map->sum, p->sum);
		break;
	case 3:
		ck_assert_int_eq(map->kind, META_PAGE_INLINE);
		ck_assert_int_eq(page[77], p->fill);
		break;
	default:
		ck_assert_int_eq(map->kind, META_PAGE_ZERO);
		break;
	}
}

static void model_map(struct model *t)
{
	static u8 mem[256 * PAGE_SIZE];
	struct meta_page map[256];
	void *pages[256];
	u32 nr = (u32)rng_range(&t->rng, 1, 256);
	u64 pgoff = rng_below(&t->rng, MODEL_PAGES - nr + 1);

	for (int i = 0; i < 256; i++)
		pages[i] = mem + (size_t)i * PAGE_SIZE;
	ck_assert_int_eq(meta_extent_map(t->r, 9, pgoff, nr, map, pages), 0);
	for (u32 i = 0; i < nr; i++)
		check_mapped(t, &map[i], &t->committed[pgoff + i], pages[i]);
}

static void model_end(struct model *t)
{
	if (rng_one_in(&t->rng, 4)) {
		meta_rollback(t->m);
		memcpy(t->now, t->committed, sizeof(t->now));
		memset(t->freed, 0, sizeof(t->freed));
	} else {
		ck_assert_int_eq(meta_commit(t->m, 0, false), 0);
		memcpy(t->committed, t->now, sizeof(t->now));
		ck_assert(memcmp(t->freed, t->expect, sizeof(t->freed)) == 0);
		memset(t->freed, 0, sizeof(t->freed));
	}
	memset(t->expect, 0, sizeof(t->expect));
	model_compare(t);
	model_map(t);
	begin(t->m);
}

static void model_step(struct model *t)
{
	switch (rng_below(&t->rng, 16)) {
	case 0:
		model_end(t);
		break;
	case 1 ... 3:
		model_inline(t);
		break;
	case 4 ... 6:
		model_punch(t);
		break;
	case 7 ... 10:
		model_append(t);
		break;
	default:
		model_put(t);
		break;
	}
}

START_TEST(random_puts_and_punches_agree_with_a_plain_array)
{
	struct model *t = calloc(1, sizeof(*t));
	struct inode_row in = inode(9, S_IFREG);
	struct dentry_row d = dentry(1, 9, S_IFREG, "f");

	rng_init(&t->rng, 1);
	t->m = open_meta();
	t->r = reader(t->m);
	t->next_block = 1;
	begin(t->m);
	ck_assert_int_eq(meta_inode_put(t->m, &in), 0);
	ck_assert_int_eq(meta_dentry_put(t->m, 1, &d), 0);
	ck_assert_int_eq(meta_commit(t->m, 10, true), 0);
	begin(t->m);
	for (u64 i = 0; i < test_rounds(3000); i++) {
		if (t->next_block > MODEL_BLOCKS - 1000)
			break;
		model_step(t);
	}
	model_end(t);
	meta_rollback(t->m);
	ck_assert_str_eq(faults(t->m), "");
	meta_reader_put(t->r);
	ck_assert_int_eq(meta_close(t->m), 0);

	/* and all of it again from the file */
	t->m = open_meta();
	t->r = reader(t->m);
	model_compare(t);
	meta_reader_put(t->r);
	ck_assert_int_eq(meta_close(t->m), 0);
	free(t);
}
END_TEST

START_TEST(growing_by_single_pages_makes_few_rows)
{
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct extent_row row;
	u64 sum = 5;
	u64 at = 0;
	int rows = 0;

	begin(m);
	for (u64 i = 0; i < 1000; i++)
		ck_assert_int_eq(meta_extent_put(m, 9, i, 1, 50 + i, 0, &sum,
						 note_freed, NULL),
				 0);
	commit(m);
	for (; meta_extent_get(r, 9, at, &row, NULL) == 0; rows++)
		at = row.pgoff + row.npages;
	ck_assert_uint_eq(at, 1000);
	ck_assert_int_le(rows, 9);
	begin(m);
	ck_assert_int_eq(meta_extent_put(m, 9, 1000, 1 << 30, 5000,
					 META_EXTENT_UNWRITTEN, NULL,
					 note_freed, NULL),
			 0);
	commit(m);
	ck_assert_int_eq(meta_extent_get(r, 9, 1 << 29, &row, NULL), 0);
	ck_assert_uint_eq(row.npages, 1 << 30);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* ---- transactions and failures ---- */

static int refuse_freed(void *arg, u64 block, u64 nr)
{
	return -ENOMEM;
}

START_TEST(an_error_spoils_its_transaction_and_no_other)
{
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct inode_row in = inode(2, S_IFREG);
	struct inode_row out;
	u64 sums[4] = {0};

	begin(m);
	ck_assert_int_eq(
		meta_extent_put(m, 2, 0, 4, 10, 0, sums, refuse_freed, NULL),
		0);
	ck_assert_int_eq(meta_extent_punch(m, 2, 1, 2, refuse_freed, NULL),
			 -ENOMEM);
	ck_assert_int_eq(meta_inode_put(m, &in), -ENOMEM);
	ck_assert_int_eq(meta_commit(m, 0, true), -ENOMEM);
	begin(m);
	ck_assert_int_eq(meta_inode_put_content(m, 2, 1, 1, 1), -ENOENT);
	ck_assert_int_eq(meta_commit(m, 0, true), -ENOENT);
	begin(m);
	ck_assert_int_eq(meta_inode_put(m, &in), 0);
	commit(m);
	ck_assert_int_eq(meta_inode_get(r, 2, &out), 0);
	ck_assert(!meta_failed(m));
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

struct fault {
	enum vfs_op op;
	int where; /* 0 meta.db, 1 WAL, 2 either */
	u64 nth;
	int code;
	u64 seen;
};

static int fail_nth(void *arg, const struct vfs_event *ev)
{
	struct fault *f = arg;

	if (ev->op != f->op || (f->where < 2 && ev->wal != (f->where == 1)))
		return SQLITE_OK;
	return ++f->seen == f->nth ? f->code : SQLITE_OK;
}

/* One commit: inode 2 has size @n. */
static int commit_size(struct meta *m, u64 n)
{
	struct inode_row in = inode(2, S_IFREG);
	struct dentry_row d = dentry(1, 2, S_IFREG, "f");
	int err = meta_begin(m);

	if (err)
		return err;
	in.size = n;
	err = meta_inode_put(m, &in);
	if (!err)
		err = meta_dentry_put(m, 1, &d);
	if (!err)
		return meta_commit(m, 3, true);
	meta_rollback(m);
	return err;
}

/* Commits, and a checkpoint after every fourth, until something fails.
 * Return: how many were acknowledged. */
static u64 commit_until_failure(struct meta *m, u64 max, int *ret_err)
{
	for (u64 n = 1; n <= max; n++) {
		*ret_err = commit_size(m, n);
		if (*ret_err)
			return n - 1;
		if (n % 4 == 0)
			*ret_err = meta_checkpoint(m, true);
		if (*ret_err)
			return n;
	}
	return max;
}

/* What the next mount finds; it must find no faults. */
static u64 committed_size(void)
{
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct inode_row row = {0};
	int err = meta_inode_get(r, 2, &row);

	ck_assert(err == 0 || err == -ENOENT);
	meta_reader_put(r);
	ck_assert_str_eq(faults(m), "");
	ck_assert_int_eq(meta_close(m), 0);
	return err ? 0 : row.size;
}

static void remake(void)
{
	tmpdir_remove();
	setup();
}

static const struct fault finals[] = {
	{VFS_WRITE, 1, 0, SQLITE_IOERR_WRITE, 0},
	{VFS_SYNC, 1, 0, SQLITE_IOERR_FSYNC, 0},
	{VFS_SYNC, 1, 0, SQLITE_FULL, 0},
	{VFS_WRITE, 0, 0, SQLITE_IOERR_WRITE, 0},
	{VFS_SYNC, 0, 0, SQLITE_IOERR_FSYNC, 0},
	{VFS_TRUNCATE, 1, 0, SQLITE_IOERR_TRUNCATE, 0},
};

START_TEST(every_failed_write_and_sync_is_final_and_loses_no_commit)
{
	struct fault f = finals[_i];

	do {
		struct meta *m;
		u64 acked;
		u64 now;
		int err;

		remake();
		m = open_meta();
		f.seen = 0;
		f.nth++;
		vfs_set_hook(fail_nth, &f);
		acked = commit_until_failure(m, 5, &err);
		if (err) {
			ck_assert_int_eq(err, -EIO);
			ck_assert(meta_failed(m));
			ck_assert_int_eq(meta_begin(m), -EIO);
			ck_assert_int_eq(meta_checkpoint(m, true), -EIO);
		}
		ck_assert_int_eq(meta_close(m), f.seen >= f.nth ? -EIO : 0);
		vfs_set_hook(NULL, NULL);
		now = committed_size();
		/* A commit whose sync failed may be there or not. */
		ck_assert_uint_ge(now, acked);
		ck_assert_uint_le(now, acked + 1);
	} while (f.seen >= f.nth);
	ck_assert_uint_ge(f.nth, 3);
}
END_TEST

START_TEST(a_full_host_fails_the_commit_and_can_be_retried)
{
	struct fault f = {VFS_WRITE, 2, 0, SQLITE_FULL, 0};

	do {
		struct meta *m;
		u64 acked;
		int err;

		remake();
		m = open_meta();
		f.seen = 0;
		f.nth++;
		vfs_set_hook(fail_nth, &f);
		acked = commit_until_failure(m, 5, &err);
		if (err)
			ck_assert_int_eq(err, -ENOSPC);
		ck_assert(!meta_failed(m));
		err = commit_size(m, acked + 100);
		ck_assert(err == 0 || err == -ENOSPC);
		if (err)
			ck_assert_int_eq(commit_size(m, acked + 100), 0);
		err = meta_close(m);
		ck_assert(err == 0 || err == -ENOSPC);
		vfs_set_hook(NULL, NULL);
		ck_assert_uint_eq(committed_size(), acked + 100);
	} while (f.seen >= f.nth);
	ck_assert_uint_ge(f.nth, 10);
}
END_TEST

/* Some commits that make the WAL so long that its index gets a second page. */
static int index_fails(void *arg, const struct vfs_event *ev)
{
	bool *failed = arg;

	if (ev->op != VFS_SHM_MAP || ev->pos == 0)
		return SQLITE_OK;
	*failed = true;
	return SQLITE_IOERR_SHMMAP;
}

START_TEST(a_commit_that_fails_behind_its_write_is_final)
{
	static u8 big[60000];
	struct meta *m = open_meta();
	bool failed = false;
	u64 acked = 0;
	int err = 0;

	ck_assert_int_eq(commit_size(m, 0), 0);
	vfs_set_hook(index_fails, &failed);
	while (!err) {
		begin(m);
		ck_assert_int_eq(meta_inode_put_content(m, 2, acked + 1, 0, 0),
				 0);
		ck_assert_int_eq(
			meta_xattr_put(m, 2, "user.x", big, sizeof(big)), 0);
		err = meta_commit(m, 0, false);
		if (!err)
			acked++;
		ck_assert_uint_lt(acked, 1000);
	}
	ck_assert(failed);
	ck_assert_int_eq(err, -EIO);
	ck_assert(meta_failed(m));
	ck_assert_int_eq(meta_begin(m), -EIO);
	ck_assert_int_eq(meta_close(m), -EIO);
	vfs_set_hook(NULL, NULL);
	/* it is there, though nobody was told so */
	ck_assert_uint_eq(committed_size(), acked + 1);
}
END_TEST

START_TEST(a_failed_read_is_told_and_not_final)
{
	struct fault f = {VFS_READ, 2, 0, SQLITE_IOERR_READ, 0};
	struct meta *m = open_meta();
	int failures = 0;

	ck_assert_int_eq(commit_size(m, 7), 0);
	ck_assert_int_eq(meta_close(m), 0);
	do {
		struct meta_reader *r;
		struct inode_row row;
		int err;

		f.seen = 0;
		f.nth++;
		vfs_set_hook(fail_nth, &f);
		err = meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg));
		if (!err) {
			err = meta_reader_get(m, &r);
			if (!err) {
				err = meta_inode_get(r, 2, &row);
				meta_reader_put(r);
			}
			if (!err)
				ck_assert_uint_eq(row.size, 7);
			ck_assert(!meta_failed(m));
			vfs_set_hook(NULL, NULL);
			ck_assert_int_eq(meta_close(m), 0);
		} else {
			ck_assert_str_ne(msg, "");
		}
		if (err) {
			ck_assert_int_eq(err, -EIO);
			failures++;
		}
		vfs_set_hook(NULL, NULL);
	} while (f.seen >= f.nth);
	ck_assert_int_ge(failures, 2);
	ck_assert_uint_eq(committed_size(), 7);
}
END_TEST

/* Let a child do some commits and end as a killed daemon does. */
static void killed_after(u64 commits)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct meta *m = NULL;

		if (meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg)))
			_exit(1);
		for (u64 n = 1; n <= commits; n++) {
			if (commit_size(m, n))
				_exit(1);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(a_killed_daemons_commits_are_found)
{
	killed_after(5);
	ck_assert_int_eq(access(tmpdir_path("v/meta.db-wal"), F_OK), 0);
	ck_assert_uint_eq(committed_size(), 5);
}
END_TEST

/* sqlite3(1) opened by somebody curious, without our VFS. */
static void look_with_plain_sqlite(const char *sql)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open_v2(tmpdir_path("v/meta.db"), &db,
					 SQLITE_OPEN_READWRITE, NULL),
			 SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

START_TEST(a_look_with_plain_sqlite_after_a_kill_does_no_harm)
{
	struct meta *m = open_meta();

	ck_assert_int_eq(commit_size(m, 1), 0);
	ck_assert_int_eq(meta_close(m), 0);
	killed_after(5);
	look_with_plain_sqlite("SELECT * FROM path");
	/* it has moved the WAL to meta.db, past our VFS */
	ck_assert_int_ne(access(tmpdir_path("v/meta.db-wal"), F_OK), 0);
	ck_assert_uint_eq(committed_size(), 5);
	m = open_meta();
	ck_assert_int_eq(commit_size(m, 6), 0);
	ck_assert_uint_eq(meta_checksum_errors(m), 0);
	ck_assert_int_eq(meta_close(m), 0);
	ck_assert_uint_eq(committed_size(), 6);
}
END_TEST

/* ---- damage ---- */

static size_t slurp(u8 **ret)
{
	FILE *f = fopen(tmpdir_path("v/meta.db"), "r");
	size_t len;

	ck_assert_ptr_nonnull(f);
	*ret = malloc(1 << 20);
	len = fread(*ret, 1, 1 << 20, f);
	(void)fclose(f);
	return len;
}

static void spit(const u8 *p, size_t len)
{
	FILE *f = fopen(tmpdir_path("v/meta.db"), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(every_page_on_disk_carries_its_checksum)
{
	struct meta *m = open_meta();
	u8 *file;
	size_t len;

	for (u64 n = 1; n < 20; n++)
		ck_assert_int_eq(commit_size(m, n), 0);
	ck_assert_int_eq(meta_close(m), 0);
	len = slurp(&file);
	ck_assert_uint_ge(len, 10 * VFS_PAGE_SIZE);
	for (size_t at = 0; at < len; at += VFS_PAGE_SIZE) {
		u8 sum[VFS_RESERVED];

		vfs_page_sum(file + at, sum);
		ck_assert(memcmp(sum, file + at + VFS_PAGE_SIZE - VFS_RESERVED,
				 VFS_RESERVED) == 0);
	}
	free(file);
}
END_TEST

/* Open, and look at everything. Return: 0 when all of it looked well. */
static long open_and_check(void)
{
	char lines[4096] = "";
	struct meta *m;
	bool tangled;
	long nr;
	int err = meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg));

	if (err) {
		ck_assert(err == -EUCLEAN || err == -EIO || err == -ENOTSUP);
		ck_assert_str_ne(msg, "");
		ck_assert_ptr_null(strchr(msg, '\n'));
		return err;
	}
	nr = meta_check(m, print_fault, lines, &tangled);
	(void)meta_close(m);
	return nr;
}

START_TEST(a_flipped_bit_anywhere_is_noticed)
{
	struct meta *m = open_meta();
	struct rng rng;
	u8 *file;
	size_t len;

	rng_init(&rng, 1);
	ck_assert_int_eq(commit_size(m, 5), 0);
	ck_assert_int_eq(meta_close(m), 0);
	len = slurp(&file);
	ck_assert_int_eq(open_and_check(), 0);
	for (size_t page = 0; page < len; page += VFS_PAGE_SIZE) {
		size_t at = page + rng_below(&rng, VFS_PAGE_SIZE);
		u8 bit = (u8)(1 << rng_below(&rng, 8));

		file[at] ^= bit;
		spit(file, len);
		ck_assert_msg(open_and_check() != 0, "byte %zu bit %d", at,
			      bit);
		file[at] ^= bit;
	}
	spit(file, len);
	ck_assert_int_eq(open_and_check(), 0);
	free(file);
}
END_TEST

START_TEST(a_truncated_file_is_noticed)
{
	u8 *file;
	size_t len = slurp(&file);

	for (size_t cut = 0; cut < len; cut += VFS_PAGE_SIZE / 2) {
		spit(file, cut);
		ck_assert_msg(open_and_check() != 0, "cut to %zu", cut);
	}
	free(file);
}
END_TEST

static const struct {
	u32 at;
	u8 value;
	int err;
	const char *says;
} headers[] = {
	{0, 'X', -EUCLEAN, "damaged or not a database"},
	{68, 'F', -EUCLEAN, "another program"},
	{63, 2, -ENOTSUP, "format 2 is newer than this program knows (1)"},
	{63, 0, -EUCLEAN, "damaged header"},
	{20, 0, -EUCLEAN, "damaged header"},
	{16, 0x20, -EUCLEAN, "damaged header"},
};

START_TEST(a_header_of_another_kind_is_refused_and_nothing_is_touched)
{
	struct meta *m = NULL;
	u8 *file;
	u8 *after;
	size_t len = slurp(&file);

	file[headers[_i].at] = headers[_i].value;
	spit(file, len);
	ck_assert_int_eq(
		meta_open(tmpdir_path("v"), false, &m, msg, sizeof(msg)),
		headers[_i].err);
	ck_assert_msg(strstr(msg, headers[_i].says), "%s", msg);
	ck_assert_ptr_null(m);
	ck_assert_uint_eq(slurp(&after), len);
	ck_assert(memcmp(file, after, len) == 0);
	ck_assert_int_ne(access(tmpdir_path("v/meta.db-wal"), F_OK), 0);
	ck_assert_int_ne(access(tmpdir_path("v/meta.db-shm"), F_OK), 0);
	free(file);
	free(after);
}
END_TEST

static void change(const char *sql)
{
	struct meta *m = open_meta();

	ck_assert_int_eq(conn_exec(&m->writer, sql), 0);
	ck_assert_int_eq(meta_close(m), 0);
}

static const struct {
	const char *sql;
	bool readonly;
	int err;
	const char *says;
} supers[] = {
	{"DELETE FROM super", false, -EUCLEAN, "creation was not finished"},
	{"UPDATE super SET incompat=8", false, -ENOTSUP, "(0x8)"},
	{"UPDATE super SET incompat=8", true, -ENOTSUP, "(0x8)"},
	{"UPDATE super SET ro_compat=4", false, -EROFS, "only to read (0x4)"},
	{"UPDATE super SET ro_compat=4", true, 0, ""},
	{"UPDATE super SET compat=2", false, 0, ""},
	{"UPDATE super SET block_size=512", false, -EUCLEAN, "damaged super"},
	{"UPDATE super SET uuid=x'00'", false, -EUCLEAN, "damaged"},
	{"DROP TABLE super", false, -EIO, "meta.db"},
};

START_TEST(a_super_that_asks_for_more_is_refused)
{
	struct meta *m = NULL;
	int err;

	change(supers[_i].sql);
	err = meta_open(tmpdir_path("v"), supers[_i].readonly, &m, msg,
			sizeof(msg));
	ck_assert_int_eq(err, supers[_i].err);
	if (err)
		ck_assert_msg(strstr(msg, supers[_i].says), "%s", msg);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* A small tree that is right, then one thing wrong. */
static const char tree[] =
	"UPDATE super SET next_ino=10;"
	"INSERT INTO inode SELECT 2,16877,0,0,2,0,0,0,0,0,0,0,0;"
	"INSERT INTO inode SELECT 3,33188,0,0,2,0,0,0,0,0,0,0,0;"
	"INSERT INTO inode SELECT 4,41471,0,0,1,1,0,0,0,0,0,0,0;"
	"INSERT INTO inode SELECT 5,33188,0,0,0,0,0,0,0,0,0,0,0;"
	"UPDATE inode SET nlink=3 WHERE ino=1;"
	"INSERT INTO dentry VALUES(1,1,x'61',2,16384);"
	"INSERT INTO dentry VALUES(2,1,x'62',3,32768);"
	"INSERT INTO dentry VALUES(3,2,x'63',3,32768);"
	"INSERT INTO dentry VALUES(4,2,x'64',4,40960);"
	"INSERT INTO symlink VALUES(4,x'61');"
	"INSERT INTO orphan VALUES(5);"
	"INSERT INTO extent VALUES(3,0,2,7,0,zeroblob(16),NULL);"
	"INSERT INTO extent VALUES(3,2,500,9,1,NULL,NULL);"
	"INSERT INTO extent VALUES(5,0,1,0,4,zeroblob(8),x'00');";

static const struct {
	const char *sql;
	const char *says;
} wrongs[] = {
	{"", ""},
	{"DELETE FROM inode WHERE ino=1", "there is no root folder\n"},
	{"UPDATE super SET next_ino=5", "inode 5: its number was not given"},
	{"UPDATE inode SET size=-1 WHERE ino=3", "inode 3 (/b): impossible"},
	{"UPDATE inode SET mode=7 WHERE ino=5", "inode 5: impossible"},
	{"DELETE FROM orphan", "inode 5: no name and no orphan\n"},
	{"UPDATE inode SET nlink=1 WHERE ino=3",
	 "inode 3 (/b): 1 links counted, 2 names\n"},
	{"UPDATE inode SET nlink=2 WHERE ino=1",
	 "folder 1 (/): 2 links counted, 3 expected\n"},
	{"INSERT INTO dentry VALUES(9,1,x'66',2,16384)",
	 "folder 2 (/a): has 2 names\n"},
	{"INSERT INTO dentry VALUES(9,2,x'66',1,16384)",
	 "folder 1 (/): has 1 names\n"},
	{"UPDATE dentry SET parent=2 WHERE id=1",
	 "folder 2: cannot be reached from the root\n"},
	{"UPDATE dentry SET ino=8 WHERE id=3",
	 "name 3 in folder 2 (/a): its inode 8 does not exist\n"},
	{"UPDATE dentry SET parent=3 WHERE id=4",
	 "name 4 in folder 3 (/b): its folder does not exist or is none\n"},
	{"UPDATE dentry SET type=40960 WHERE id=3",
	 "name 3 in folder 2 (/a): its type is not that of inode 3\n"},
	{"UPDATE dentry SET name=x'612f62' WHERE id=3",
	 "name 3 in folder 2 (/a): not a possible name\n"},
	{"UPDATE dentry SET name=x'2e2e' WHERE id=3",
	 "name 3 in folder 2 (/a): not a possible name\n"},
	{"UPDATE dentry SET name=x'' WHERE id=3",
	 "name 3 in folder 2 (/a): not a possible name\n"},
	{"INSERT INTO orphan VALUES(3)", "orphan 3 (/b): has links"},
	{"INSERT INTO orphan VALUES(1)", "orphan 1 (/): has links"},
	{"DELETE FROM dentry WHERE id=1; INSERT INTO orphan VALUES(2)",
	 "orphan 2: has names in it\n"},
	{"INSERT INTO symlink VALUES(3,x'00')",
	 "symlink 3 (/b): is no symbolic"},
	{"DELETE FROM symlink", "symbolic link 4 (/a/d): has no target\n"},
	{"INSERT INTO xattr VALUES(8,x'00',x'00')", "attribute of inode 8"},
	{"UPDATE extent SET ino=2 WHERE ino=5",
	 "extent of inode 2 (/a), which"},
	{"UPDATE extent SET npages=3,sum=zeroblob(24) WHERE ino=3 AND pgoff=0",
	 "extent of inode 3 (/b) at page 2: overlaps"},
	{"UPDATE extent SET flags=16 WHERE pgoff=2",
	 "extent of inode 3 (/b) at page 2: makes no sense\n"},
	{"UPDATE extent SET sum=x'00' WHERE ino=3 AND pgoff=0",
	 "extent of inode 3 (/b) at page 0: makes no sense\n"},
	{"UPDATE extent SET data=NULL WHERE ino=5",
	 "extent of inode 5 at page 0: makes no sense\n"},
	{"UPDATE extent SET block=0 WHERE ino=3 AND pgoff=0",
	 "extent of inode 3 (/b) at page 0: makes no sense\n"},
	{"UPDATE extent SET npages='x' WHERE ino=3 AND pgoff=0",
	 "extent of inode 3 (/b) at page 0: makes no sense\n"},
	{"UPDATE inode SET size=2 WHERE ino=4",
	 "symbolic link 4 (/a/d): 2 bytes counted, its target has 1\n"},
	{"UPDATE inode SET uid=-1 WHERE ino=3",
	 "inode 3 (/b): impossible attributes\n"},
	{"UPDATE inode SET mtime='then' WHERE ino=3",
	 "inode 3 (/b): a column is no number\n"},
	{"UPDATE inode SET ino=-3 WHERE ino=3", "inode -3: impossible number"},
	{"DELETE FROM inode WHERE ino=2",
	 "inode 2 (/a): its row is lost, but not what belongs to it\n"},
	{"UPDATE dentry SET id=0 WHERE id=3",
	 "name 0 in folder 2 (/a): impossible cookie\n"},
	{"UPDATE dentry SET name='c' WHERE id=3",
	 "name 3 in folder 2 (/a): not a possible name\n"},
	{"INSERT INTO xattr VALUES(3,x'00',x'00')",
	 "attribute of inode 3 (/b): makes no sense\n"},
	{"INSERT INTO dentry VALUES(9,1,x'6c6f73742b666f756e64',3,32768);"
	 "UPDATE inode SET nlink=3 WHERE ino=3; DELETE FROM orphan",
	 "inode 5: no name and no orphan\n"},
	/* two folders that are in each other, and one below */
	{"INSERT INTO inode SELECT 6,16877,0,0,4,0,0,0,0,0,0,0,0;"
	 "INSERT INTO inode SELECT 7,16877,0,0,2,0,0,0,0,0,0,0,0;"
	 "INSERT INTO dentry VALUES(7,6,x'62',7,16384);"
	 "INSERT INTO dentry VALUES(8,2,x'61',6,16384);"
	 "UPDATE dentry SET parent=6 WHERE id=1",
	 "folder 6: cannot be reached from the root\n"},
};

START_TEST(check_finds_what_does_not_fit_together)
{
	struct meta *m = open_meta();
	const char *lines;

	ck_assert_int_eq(conn_exec(&m->writer, tree), 0);
	ck_assert_int_eq(conn_exec(&m->writer, wrongs[_i].sql), 0);
	lines = faults(m);
	if (!*wrongs[_i].says)
		ck_assert_str_eq(lines, "");
	else
		ck_assert_msg(strstr(lines, wrongs[_i].says), "%s: %s",
			      wrongs[_i].sql, lines);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* Which meta.db itself has only when it was moved there. */
START_TEST(check_looks_at_the_header_that_is_in_the_log)
{
	static const char *const sql[] = {
		"PRAGMA application_id=5",
		"PRAGMA user_version=0",
		"PRAGMA user_version=1000",
	};
	struct meta *m = open_meta();

	ck_assert_str_eq(faults(m), "");
	ck_assert_int_eq(conn_exec(&m->writer, sql[_i]), 0);
	ck_assert_str_eq(faults(m),
			 "meta.db: its header is damaged in the log\n");
	ck_assert(!meta_is_sound(m, print_fault, (char[4096]){""}));
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* All but what takes the data file to decide. */
START_TEST(what_does_not_fit_together_is_mended)
{
	struct meta *m = open_meta();
	char lines[4096] = "";
	struct meta_mend mend = {.report = print_fault, .arg = lines};
	const char *left;
	long nr;

	ck_assert_int_eq(conn_exec(&m->writer, tree), 0);
	ck_assert_int_eq(conn_exec(&m->writer, wrongs[_i].sql), 0);
	begin(m);
	nr = meta_mend(m, &mend);
	ck_assert_int_eq(meta_commit(m, 0, true), 0);
	left = faults(m);
	if (strstr(wrongs[_i].says, "overlaps")) {
		ck_assert_ptr_nonnull(strstr(left, "overlaps"));
	} else {
		ck_assert_msg(nr > 0 || !*wrongs[_i].says, "%ld", nr);
		ck_assert_msg(!strcmp(left, ""), "%s: %s", wrongs[_i].sql,
			      left);
		ck_assert_ptr_nonnull(strstr(lines, wrongs[_i].says));
	}
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(the_path_view_names_every_inode)
{
	struct meta *m = open_meta();
	sqlite3_stmt *s;

	ck_assert_int_eq(conn_exec(&m->writer, tree), 0);
	ck_assert_int_eq(sqlite3_prepare_v2(m->writer.db,
					    "SELECT group_concat(path,' ') "
					    "FROM (SELECT path FROM path "
					    "ORDER BY path)",
					    -1, &s, NULL),
			 SQLITE_OK);
	ck_assert_int_eq(stmt_step(s), 1);
	ck_assert_str_eq((const char *)sqlite3_column_text(s, 0),
			 "/ /a /a/c /a/d /b");
	(void)sqlite3_finalize(s);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(an_inline_page_with_a_wrong_sum_is_not_given_out)
{
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct extent_row row;
	struct meta_page map;
	u8 buf[PAGE_SIZE];
	void *page = buf;

	begin(m);
	ck_assert_int_eq(
		meta_extent_put_inline(m, 9, 0, "hello", 5, note_freed, NULL),
		0);
	commit(m);
	ck_assert_int_eq(meta_extent_get(r, 9, 0, &row, buf), 0);
	ck_assert_str_eq((char *)buf, "hello");
	ck_assert_int_eq(buf[PAGE_SIZE - 1], 0);
	ck_assert_int_eq(conn_exec(&m->writer, "UPDATE extent SET data=x'68'"),
			 0);
	ck_assert_int_eq(meta_extent_get(r, 9, 0, &row, buf), -EIO);
	ck_assert_int_eq(meta_extent_map(r, 9, 0, 1, &map, &page), 0);
	ck_assert_int_eq(map.err, -EIO);
	meta_reader_put(r);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(codes_of_sqlite_become_errno)
{
	static const struct {
		int rc;
		int err;
	} codes[] = {
		{SQLITE_OK, 0},
		{SQLITE_ROW, 0},
		{SQLITE_DONE, 0},
		{SQLITE_NOMEM, -ENOMEM},
		{SQLITE_IOERR_NOMEM, -ENOMEM},
		{SQLITE_FULL, -ENOSPC},
		{SQLITE_IOERR_DATA, -EIO},
		{SQLITE_IOERR_FSYNC, -EIO},
		{SQLITE_CORRUPT_INDEX, -EUCLEAN},
		{SQLITE_NOTADB, -EUCLEAN},
		{SQLITE_READONLY_DBMOVED, -EROFS},
		{SQLITE_BUSY_SNAPSHOT, -EBUSY},
		{SQLITE_LOCKED, -EBUSY},
		{SQLITE_TOOBIG, -E2BIG},
		{SQLITE_ERROR, -EIO},
	};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		ck_assert_int_eq(meta_errno(codes[i].rc), codes[i].err);
}
END_TEST

START_TEST(a_read_only_volume_is_read_and_not_written)
{
	struct meta *m = NULL;
	struct meta_reader *r;
	struct inode_row row;
	u8 *before;
	u8 *after;
	size_t len;

	killed_after(5);
	len = slurp(&before);
	ck_assert_int_eq(
		meta_open(tmpdir_path("v"), true, &m, msg, sizeof(msg)), 0);
	r = reader(m);
	ck_assert_int_eq(meta_inode_get(r, 2, &row), 0);
	ck_assert_uint_eq(row.size, 5);
	meta_reader_put(r);
	ck_assert_int_eq(meta_begin(m), -EROFS);
	ck_assert_int_eq(meta_close(m), 0);
	ck_assert_uint_eq(slurp(&after), len);
	ck_assert(memcmp(before, after, len) == 0);
	free(before);
	free(after);
	ck_assert_uint_eq(committed_size(), 5);
}
END_TEST

/* ---- checkpoints, counters, threads ---- */

START_TEST(the_wal_is_bounded_and_its_bytes_are_counted)
{
	static u8 big[60000];
	struct meta *m = open_meta();
	int rc, moved = 0;
	struct stat st;
	u64 before;

	for (u64 n = 0; n < 600; n++) {
		before = meta_bytes_written(m);
		begin(m);
		memset(big, (int)n, sizeof(big));
		ck_assert_int_eq(meta_xattr_put(m, n % 50 + 2, "user.x", big,
						sizeof(big)),
				 0);
		ck_assert_int_eq(meta_commit(m, 0, false), 0);
		ck_assert_uint_ge(meta_bytes_written(m), before + 60000);
		rc = meta_checkpoint(m, false);
		ck_assert_int_ge(rc, 0);
		moved += rc;
	}
	ck_assert_int_gt(moved, 1);
	ck_assert_int_lt(moved, 600);
	ck_assert_int_eq(stat(tmpdir_path("v/meta.db-wal"), &st), 0);
	ck_assert_int_le(st.st_size, 10 << 20);
	ck_assert_int_eq(meta_checkpoint(m, true), 0);
	ck_assert_int_eq(stat(tmpdir_path("v/meta.db-wal"), &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	ck_assert_uint_gt(meta_memory(m), 0);
	ck_assert_uint_le(meta_memory(m), 8 << 20);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

START_TEST(what_is_only_for_speed_is_given_up)
{
	static u8 big[60000];
	struct meta_reader *r[4];
	struct meta *m = open_meta();
	struct inode_row row;
	u64 all;

	begin(m);
	for (u64 n = 0; n < 20; n++)
		ck_assert_int_eq(
			meta_xattr_put(m, n + 2, "user.x", big, sizeof(big)),
			0);
	commit(m);
	for (size_t i = 0; i < ARRAY_SIZE(r); i++) {
		r[i] = reader(m);
		ck_assert_int_eq(meta_inode_get(r[i], META_ROOT_INO, &row), 0);
	}
	all = meta_memory(m);
	/* those in use stay */
	for (size_t i = 1; i < ARRAY_SIZE(r); i++)
		meta_reader_put(r[i]);
	meta_trim(m);
	ck_assert_uint_lt(meta_memory(m) + (1u << 20), all);
	ck_assert_uint_eq(m->nr_readers, 2);
	ck_assert_int_eq(meta_inode_get(r[0], META_ROOT_INO, &row), 0);
	r[1] = reader(m);
	ck_assert_int_eq(meta_inode_get(r[1], META_ROOT_INO, &row), 0);
	meta_reader_put(r[0]);
	meta_reader_put(r[1]);
	begin(m);
	ck_assert_int_eq(meta_xattr_put(m, 2, "user.x", "y", 1), 0);
	commit(m);
	meta_trim(m);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

/* Commit @nr long rows. */
static void commit_long(struct meta *m, u64 nr)
{
	static u8 big[60000];

	begin(m);
	for (u64 n = 0; n < nr; n++)
		ck_assert_int_eq(
			meta_xattr_put(m, n + 2, "user.x", big, sizeof(big)),
			0);
	ck_assert_int_eq(meta_commit(m, 0, false), 0);
	ck_assert_int_ge(meta_checkpoint(m, false), 0);
}

static off_t wal_size(void)
{
	struct stat st;

	ck_assert_int_eq(stat(tmpdir_path("v/meta.db-wal"), &st), 0);
	return st.st_size;
}

/* As another process that copies: were it waited for each time, 100 commits
 * would take longer than a test may. */
START_TEST(a_long_reader_is_not_waited_for_by_each_commit)
{
	struct meta *m = open_meta();
	struct meta_reader *r = reader(m);
	struct inode_row row;

	commit_long(m, 1);
	ck_assert_int_eq(meta_reader_hold(r), 0);
	ck_assert_int_eq(meta_inode_get(r, 1, &row), 0);
	while (wal_size() < (68 << 20))
		commit_long(m, 20);
	for (int i = 0; i < 100; i++)
		commit_long(m, 1);
	ck_assert_int_gt(wal_size(), 68 << 20);

	meta_reader_put(r);
	for (int i = 0; i < 1000 && wal_size() > (16 << 20); i++)
		commit_long(m, 1);
	ck_assert_int_le(wal_size(), 16 << 20);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

static bool stop;

/* Reads size and mtime, which every commit sets to one number. */
static void *read_along(void *arg)
{
	struct meta *m = arg;
	u64 last = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct meta_reader *r;
		struct inode_row row;
		int err = meta_reader_get(m, &r);

		if (err)
			return (void *)1;
		err = meta_inode_get(r, 2, &row);
		meta_reader_put(r);
		if (err || row.size < last || (u64)row.mtime != row.size)
			return (void *)1;
		last = row.size;
	}
	return NULL;
}

START_TEST(readers_see_whole_commits_in_order)
{
	struct meta *m = open_meta();
	struct inode_row in = inode(2, S_IFREG);
	pthread_t threads[META_READERS + 3];

	begin(m);
	ck_assert_int_eq(meta_inode_put(m, &in), 0);
	commit(m);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, read_along, m), 0);
	for (u64 n = 1; n <= 500; n++) {
		begin(m);
		ck_assert_int_eq(meta_inode_put_content(m, 2, n, (s64)n, 0), 0);
		ck_assert_int_eq(meta_commit(m, 0, false), 0);
		if (n % 50 == 0)
			ck_assert_int_eq(meta_checkpoint(m, true), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *bad;

		(void)pthread_join(threads[i], &bad);
		ck_assert_ptr_null(bad);
	}
	ck_assert_uint_le(m->nr_readers, META_READERS);
	ck_assert_int_eq(meta_close(m), 0);
}
END_TEST

static void add_extents(TCase *tc)
{
	tcase_add_test(tc, random_puts_and_punches_agree_with_a_plain_array);
	tcase_add_test(tc, growing_by_single_pages_makes_few_rows);
	tcase_add_test(tc, an_inline_page_with_a_wrong_sum_is_not_given_out);
}

static void add_failures(TCase *tc)
{
	tcase_add_test(tc, an_error_spoils_its_transaction_and_no_other);
	tcase_add_loop_test(
		tc, every_failed_write_and_sync_is_final_and_loses_no_commit, 0,
		(int)ARRAY_SIZE(finals));
	tcase_add_test(tc, a_full_host_fails_the_commit_and_can_be_retried);
	tcase_add_test(tc, a_commit_that_fails_behind_its_write_is_final);
	tcase_add_test(tc, a_failed_read_is_told_and_not_final);
	tcase_add_test(tc, a_killed_daemons_commits_are_found);
	tcase_add_test(tc, a_look_with_plain_sqlite_after_a_kill_does_no_harm);
}

static void add_damage(TCase *tc)
{
	tcase_add_test(tc, every_page_on_disk_carries_its_checksum);
	tcase_add_test(tc, a_flipped_bit_anywhere_is_noticed);
	tcase_add_test(tc, a_truncated_file_is_noticed);
	tcase_add_loop_test(
		tc, a_header_of_another_kind_is_refused_and_nothing_is_touched,
		0, (int)ARRAY_SIZE(headers));
	tcase_add_loop_test(tc, a_super_that_asks_for_more_is_refused, 0,
			    (int)ARRAY_SIZE(supers));
	tcase_add_loop_test(tc, what_does_not_fit_together_is_mended, 0,
			    ARRAY_SIZE(wrongs));
	tcase_add_loop_test(tc, check_finds_what_does_not_fit_together, 0,
			    (int)ARRAY_SIZE(wrongs));
	tcase_add_loop_test(tc, check_looks_at_the_header_that_is_in_the_log, 0,
			    3);
}

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("meta", &tc);

	tcase_add_checked_fixture(tc, setup, tmpdir_remove);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, super_comes_back_and_commits_count);
	tcase_add_test(tc, an_inode_comes_back_to_the_bit);
	tcase_add_test(tc,
		       names_are_bytes_and_folders_list_in_order_of_creation);
	tcase_add_test(tc, symlinks_and_xattrs_come_back);
	tcase_add_test(tc, a_deleted_inode_takes_all_its_rows_along);
	add_extents(tc);
	add_failures(tc);
	add_damage(tc);
	tcase_add_test(tc, the_path_view_names_every_inode);
	tcase_add_test(tc, codes_of_sqlite_become_errno);
	tcase_add_test(tc, a_read_only_volume_is_read_and_not_written);
	tcase_add_test(tc, what_is_only_for_speed_is_given_up);
	tcase_add_test(tc, the_wal_is_bounded_and_its_bytes_are_counted);
	tcase_add_test(tc, a_long_reader_is_not_waited_for_by_each_commit);
	tcase_add_test(tc, readers_see_whole_commits_in_order);
	return s;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "backup_source.h"

#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backup_source source;

static void write_page(u64 fh, int file, u64 pgoff)
{
	u8 page[PAGE_SIZE];

	source.now.page[file][pgoff] = ++source.versions;
	test_pattern(page, PAGE_SIZE, pgoff * PAGE_SIZE, source.versions);
	test_write(&source.t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE);
}

/* Zeros are content, as long as nobody punches them; and are there already
 * where a copy has nothing yet. */
static void write_zeros(u64 fh, int file, u64 pgoff)
{
	static const u8 page[PAGE_SIZE];

	source.now.page[file][pgoff] = 0;
	test_write(&source.t, fh, pgoff * PAGE_SIZE, page, PAGE_SIZE);
}

/* The first is all there, of the others some, and zeros at the end of one. The
 * last has one page, which is kept in its row. */
static void make_files(void)
{
	struct test_fs *t = &source.t;

	for (int f = 0; f < SOURCE_FILES; f++) {
		char name[16];
		u64 fh;

		(void)snprintf(name, sizeof(name), "file%d", f);
		source.inos[f] = test_create(t, FS_ROOT_INO, name, &fh);
		for (u64 i = 0; i < (f < SOURCE_FILES - 1 ? SOURCE_PAGES : 1);
		     i++) {
			if (!f || f == SOURCE_FILES - 1 ||
			    rng_one_in(&source.rng, 2))
				write_page(fh, f, i);
		}
		if (f == SOURCE_FILES - 2)
			write_zeros(fh, f, SOURCE_PAGES - 1);
		ck_assert_int_eq(test_fsync(t, fh), 0);
		ck_assert_int_eq(
			fs_fallocate(t->fs, fh, 0, 100 * PAGE_SIZE, 65536), 0);
		ck_assert_int_eq(fs_release(t->fs, fh), 0);
	}
}

void source_make(u64 volume_size)
{
	memset(&source, 0, sizeof(source));
	rng_init(&source.rng, 0);
	test_fs_init(&source.t);
	source.t.volume_size = volume_size;
	test_fs_open(&source.t);
	make_files();
	ck_assert_int_eq(test_fs_close(&source.t), 0);
}

void source_fill(u64 size)
{
	struct test_fs *t = &source.t;
	u64 fh;

	test_fs_open(t);
	(void)test_create(t, FS_ROOT_INO, "filler", &fh);
	ck_assert_int_eq(fs_fallocate(t->fs, fh, 0, 0, size), 0);
	ck_assert_int_eq(fs_release(t->fs, fh), 0);
	ck_assert_int_eq(test_fs_close(t), 0);
}

static void punch_page(u64 fh, int file, u64 pgoff)
{
	source.now.page[file][pgoff] = 0;
	ck_assert_int_eq(
		fs_fallocate(source.t.fs, fh,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     pgoff * PAGE_SIZE, PAGE_SIZE),
		0);
}

void source_change_page(u64 fh, int file, bool write)
{
	u64 nr = file < SOURCE_FILES - 1 ? SOURCE_PAGES : 1;
	u64 pgoff = rng_below(&source.rng, nr);

	if (!write && rng_one_in(&source.rng, 8))
		punch_page(fh, file, pgoff);
	else if (!write && rng_one_in(&source.rng, 8))
		write_zeros(fh, file, pgoff);
	else
		write_page(fh, file, pgoff);
}

void source_change(u64 changes)
{
	struct test_fs *t = &source.t;

	test_fs_open(t);
	for (u64 i = 0; i < changes; i++) {
		int f = (int)rng_below(&source.rng, SOURCE_FILES - 1);
		u64 fh = test_open(t, source.inos[f]);

		source_change_page(fh, f, false);
		if (rng_one_in(&source.rng, 4))
			ck_assert_int_eq(test_fsync(t, fh), 0);
		ck_assert_int_eq(fs_release(t->fs, fh), 0);
	}
	ck_assert_int_eq(test_fs_close(t), 0);
}

static char *differs(const char *fmt, ...) __printf(1, 2);
static char *differs(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	expect(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	return text;
}

/* What is read of all files. */
struct content {
	u8 pages[SOURCE_FILES][SOURCE_PAGES][PAGE_SIZE];
	int errs[SOURCE_FILES][SOURCE_PAGES];
} __attribute__((aligned(1 << PAGE_SHIFT)));

static char *read_files(const char *path, struct content *c)
{
	struct volume_options opt = {.readonly = true};
	struct volume *v = NULL;
	char why[512] = "", *fault = NULL;
	int rc = volume_open(path, &opt, &v, why, sizeof(why));

	if (rc)
		return differs("error %d: %s", rc, why);
	for (int f = 0; !fault && f < SOURCE_FILES; f++) {
		void *pages[SOURCE_PAGES];

		for (int i = 0; i < SOURCE_PAGES; i++)
			pages[i] = c->pages[f][i];
		rc = volume_read_pages(v, source.inos[f], 0, SOURCE_PAGES,
				       pages, c->errs[f]);
		if (rc)
			fault = differs("file%d: error %d", f, rc);
	}
	expect(volume_close(v) == 0);
	return fault;
}

static char *compare_file(const struct content *c, int f, const u64 *want)
{
	u8 page[PAGE_SIZE];

	for (int i = 0; i < SOURCE_PAGES; i++) {
		u64 pos = (u64)i * PAGE_SIZE;

		if (c->errs[f][i])
			return differs("file%d: page %d: error %d", f, i,
				       c->errs[f][i]);
		memset(page, 0, PAGE_SIZE);
		if (want[i])
			test_pattern(page, PAGE_SIZE, pos, want[i]);
		if (memcmp(c->pages[f][i], page, PAGE_SIZE) != 0)
			return differs("file%d: page %d is another", f, i);
	}
	return NULL;
}

static char *compare_files(const struct content *c,
			   const struct source_state *want)
{
	char *fault = NULL;

	for (int f = 0; !fault && f < SOURCE_FILES; f++)
		fault = compare_file(c, f, want->page[f]);
	return fault;
}

char *source_find(const char *path, const struct source_state *want, u64 nr,
		  u64 *ret_which)
{
	struct content *c = aligned_alloc(PAGE_SIZE, sizeof(*c));
	char *fault;

	expect(c && nr);
	fault = read_files(path, c);
	for (u64 i = nr; !fault && i--;) {
		fault = compare_files(c, &want[i]);
		if (!fault) {
			*ret_which = i;
			break;
		}
		if (i) {
			free(fault);
			fault = NULL;
		}
	}
	free(c);
	return fault;
}

char *source_compare(const char *path, const struct source_state *want)
{
	u64 which;

	return source_find(path, want, 1, &which);
}

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

void source_change(u64 changes)
{
	struct test_fs *t = &source.t;

	test_fs_open(t);
	for (u64 i = 0; i < changes; i++) {
		int f = (int)rng_below(&source.rng, SOURCE_FILES - 1);
		u64 pgoff = rng_below(&source.rng, SOURCE_PAGES);
		u64 fh = test_open(t, source.inos[f]);

		if (rng_one_in(&source.rng, 8)) {
			ck_assert_int_eq(
				fs_fallocate(t->fs, fh,
					     FALLOC_FL_PUNCH_HOLE |
						     FALLOC_FL_KEEP_SIZE,
					     pgoff * PAGE_SIZE, PAGE_SIZE),
				0);
			source.now.page[f][pgoff] = 0;
		} else if (rng_one_in(&source.rng, 8)) {
			write_zeros(fh, f, pgoff);
		} else {
			write_page(fh, f, pgoff);
		}
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

static char *compare_file(struct volume *v, int f, void *const *pages,
			  const u64 *want)
{
	int errs[SOURCE_PAGES], err;
	u8 page[PAGE_SIZE];

	err = volume_read_pages(v, source.inos[f], 0, SOURCE_PAGES, pages,
				errs);
	if (err)
		return differs("file%d: error %d", f, err);
	for (u64 i = 0; i < SOURCE_PAGES; i++) {
		memset(page, 0, PAGE_SIZE);
		if (want[i])
			test_pattern(page, PAGE_SIZE, i * PAGE_SIZE, want[i]);
		if (errs[i])
			return differs("file%d: page %d: error %d", f, (int)i,
				       errs[i]);
		if (memcmp(pages[i], page, PAGE_SIZE) != 0)
			return differs("file%d: page %d is another", f, (int)i);
	}
	return NULL;
}

char *source_compare(const char *path, const struct source_state *want)
{
	struct volume_options opt = {.readonly = true};
	void *pages[SOURCE_PAGES];
	struct volume *v = NULL;
	char why[512] = "", *fault = NULL;
	u8 *mem;
	int rc = volume_open(path, &opt, &v, why, sizeof(why));

	if (rc)
		return differs("error %d: %s", rc, why);
	mem = aligned_alloc(PAGE_SIZE, SOURCE_PAGES * PAGE_SIZE);
	expect(mem);
	for (int i = 0; i < SOURCE_PAGES; i++)
		pages[i] = mem + i * PAGE_SIZE;
	for (int f = 0; !fault && f < SOURCE_FILES; f++)
		fault = compare_file(v, f, pages, want->page[f]);
	free(mem);
	expect(volume_close(v) == 0);
	return fault;
}

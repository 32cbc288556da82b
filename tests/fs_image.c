/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_image.h"
#include "fs_util.h"

#define READ_PAGES 16

struct folder {
	const char *path;
	struct fs_image *im;
};

static u64 mix(u64 sum, const void *buf, size_t len)
{
	const u8 *p = buf;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 0x100000001b3ull;
	return sum * 0x9e3779b97f4a7c15ull;
}

static u64 page_mix(const u8 *page)
{
	static const u8 zeros[PAGE_SIZE];

	return memcmp(page, zeros, PAGE_SIZE) ? mix(1, page, PAGE_SIZE) : 0;
}

static void take_pages(struct fs *fs, u64 ino, struct fs_image_item *item)
{
	static u8 buf[READ_PAGES * PAGE_SIZE];
	struct test_fs t = {.fs = fs};
	u64 fh;

	item->nr_pages = bytes_to_pages(item->size);
	item->sums = calloc(item->nr_pages + 1, sizeof(*item->sums));
	expect(item->sums);
	expect_eq(fs_openf(fs, ino, O_RDONLY, 1, &fh), 0);
	for (u64 i = 0; i < item->nr_pages; i++) {
		ssize_t n;

		if (i % READ_PAGES == 0) {
			memset(buf, 0, sizeof(buf));
			n = test_read(&t, fh, i * PAGE_SIZE, buf, sizeof(buf));
			if (n <= 0)
				ck_abort_msg("%s: page %llu cannot be read: %s",
					     item->path, (unsigned long long)i,
					     strerror((int)-n));
		}
		item->sums[i] = page_mix(buf + i % READ_PAGES * PAGE_SIZE);
	}
	expect_eq(fs_release(fs, fh), 0);
}

static u64 about(struct fs *fs, u64 ino, u32 mode)
{
	static char names[4096], value[FS_XATTR_MAX];
	ssize_t len = fs_listxattr(fs, ino, true, names, sizeof(names));
	u64 sum = 0;

	expect(len >= 0);
	/* in whatever order */
	for (const char *name = names; name < names + len;
	     name += strlen(name) + 1) {
		ssize_t n = fs_getxattr(fs, ino, name, value, sizeof(value));

		expect(n >= 0);
		sum += mix(mix(1, name, strlen(name)), value, (size_t)n);
	}
	if (S_ISLNK(mode)) {
		expect_eq(fs_readlink(fs, ino, names, sizeof(names)), 0);
		sum += mix(2, names, strlen(names));
	}
	return sum;
}

static bool take_name(void *arg, const char *name, const struct stat *st,
		      u64 next_off)
{
	struct folder *f = arg;
	struct fs_image_item *item = &f->im->item[f->im->nr];

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	expect(f->im->nr < FS_IMAGE_MAX);
	f->im->nr++;
	*item = (struct fs_image_item){.ino = st->st_ino};
	(void)snprintf(item->path, sizeof(item->path), "%s/%s", f->path, name);
	return true;
}

static void take_item(struct fs *fs, struct fs_image_item *item)
{
	struct stat st;

	expect_eq(fs_getattr(fs, item->ino, &st), 0);
	item->mode = st.st_mode;
	item->nlink = (u32)st.st_nlink;
	item->about = about(fs, item->ino, st.st_mode);
	if (!S_ISREG(st.st_mode))
		return;
	item->size = (u64)st.st_size;
	take_pages(fs, item->ino, item);
}

static void take_folder(struct fs *fs, u64 ino, const char *path,
			struct fs_image *im)
{
	struct folder f = {.path = path, .im = im};
	u32 first = im->nr, end;
	u64 fh;

	expect_eq(fs_opendir(fs, ino, 0, &fh), 0);
	expect_eq(fs_readdir(fs, fh, 0, false, take_name, &f), 0);
	expect_eq(fs_releasedir(fs, fh), 0);
	end = im->nr;
	for (u32 i = first; i < end; i++) {
		take_item(fs, &im->item[i]);
		if (S_ISDIR(im->item[i].mode))
			take_folder(fs, im->item[i].ino, im->item[i].path, im);
	}
}

void fs_image_take(struct fs *fs, struct fs_image *ret)
{
	ret->nr = 0;
	take_folder(fs, FS_ROOT_INO, "", ret);
}

void fs_image_done(struct fs_image *im)
{
	for (u32 i = 0; i < im->nr; i++)
		free(im->item[i].sums);
	im->nr = 0;
}

const struct fs_image_item *fs_image_find(const struct fs_image *im,
					  const char *path)
{
	for (u32 i = 0; i < im->nr; i++)
		if (!strcmp(im->item[i].path, path))
			return &im->item[i];
	return NULL;
}

/* ---- comparing ---- */

static const char *says(const char *path, const char *what)
{
	static char text[256];

	(void)snprintf(text, sizeof(text), "%s: %s", path, what);
	return text;
}

static bool same_content(const struct fs_image_item *a,
			 const struct fs_image_item *b)
{
	return a->size == b->size &&
	       !memcmp(a->sums, b->sums, a->nr_pages * sizeof(*a->sums));
}

static bool is_file(const struct fs_image_item *item)
{
	return S_ISREG(item->mode);
}

const char *fs_image_differs(const struct fs_image *a, const struct fs_image *b)
{
	for (u32 i = 0; i < b->nr; i++)
		if (!fs_image_find(a, b->item[i].path))
			return says(b->item[i].path, "is not there");
	for (u32 i = 0; i < a->nr; i++) {
		const struct fs_image_item *x = &a->item[i];
		const struct fs_image_item *y = fs_image_find(b, x->path);

		if (!y)
			return says(x->path, "is there");
		if (x->mode != y->mode)
			return says(x->path, "mode");
		if (x->nlink != y->nlink)
			return says(x->path, "links");
		if (x->about != y->about)
			return says(x->path, "attributes");
		if (is_file(x) && !same_content(x, y))
			return says(x->path, "content");
	}
	return NULL;
}

/* ---- after a crash ---- */

struct states {
	const struct fs_image *at;
	u32 nr;
	bool whole;
};

static bool page_fits(const struct fs_image_item *x, u64 page,
		      const struct states *s)
{
	if (!x->sums[page])
		return true;
	for (u32 i = 0; i < s->nr; i++) {
		const struct fs_image_item *y =
			fs_image_find(&s->at[i], x->path);

		if (y && is_file(y) && page < y->nr_pages &&
		    x->sums[page] == y->sums[page])
			return true;
	}
	return false;
}

/* One that was not there at first may be there empty. */
static bool content_fits(const struct fs_image_item *x, const struct states *s)
{
	if (!x->size && !fs_image_find(&s->at[0], x->path))
		return true;
	for (u32 i = 0; i < s->nr; i++) {
		const struct fs_image_item *y =
			fs_image_find(&s->at[i], x->path);

		if (y && is_file(y) && same_content(x, y))
			return true;
	}
	for (u64 page = 0; !s->whole && page < x->nr_pages; page++)
		if (!page_fits(x, page, s))
			return false;
	return !s->whole;
}

static const char *item_misfit(const struct fs_image_item *x,
			       const struct states *s)
{
	bool there = false, mode = false, attributes = false;
	u32 least = UINT32_MAX, most = 0;

	for (u32 i = 0; i < s->nr; i++) {
		const struct fs_image_item *y =
			fs_image_find(&s->at[i], x->path);

		if (!y)
			continue;
		there = true;
		mode |= x->mode == y->mode;
		attributes |= x->about == y->about;
		least = min(least, y->nlink);
		most = max(most, y->nlink);
	}
	if (!there)
		return "is there";
	if (!mode)
		return "mode";
	if (!attributes && x->about)
		return "attributes";
	if (x->nlink < least || x->nlink > most)
		return "links";
	return is_file(x) && !content_fits(x, s) ? "content" : NULL;
}

const char *fs_image_impossible(const struct fs_image *found,
				const struct fs_image *at, u32 nr, bool whole)
{
	struct states s = {.at = at, .nr = nr, .whole = whole};

	for (u32 i = 0; i < found->nr; i++) {
		const char *what = item_misfit(&found->item[i], &s);

		if (what)
			return says(found->item[i].path, what);
	}
	for (u32 i = 0; i < at->nr; i++) {
		const char *path = at->item[i].path;
		bool always = !fs_image_find(found, path);

		for (u32 k = 0; always && k < nr; k++)
			always = fs_image_find(&at[k], path);
		if (always)
			return says(path, "is not there");
	}
	return NULL;
}

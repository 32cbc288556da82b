/* SPDX-License-Identifier: MIT */
/*
 * What a program can see of a whole filesystem, taken down: names, kinds,
 * modes, links, sizes, content by page, targets and attributes. No times.
 */
#ifndef FOLIO_TESTS_FS_IMAGE_H
#define FOLIO_TESTS_FS_IMAGE_H

#include "fs.h"
#include "test.h"

#define FS_IMAGE_MAX 32

struct fs_image_item {
	char path[128];
	u64 ino;
	u32 mode, nlink;
	u64 size;
	u64 about; /* a sum of attributes, and of a symlink's target */
	u64 nr_pages;
	u64 *sums; /* of each page, zeros behind the end; 0: all are zeros */
};

struct fs_image {
	u32 nr;
	struct fs_image_item item[FS_IMAGE_MAX];
};

void fs_image_take(struct fs *fs, struct fs_image *ret);
void fs_image_done(struct fs_image *im);
const struct fs_image_item *fs_image_find(const struct fs_image *im,
					  const char *path);

/* Return: what is not the same, NULL: all is. */
const char *fs_image_differs(const struct fs_image *a,
			     const struct fs_image *b);

/*
 * May a crash have left @found, when [at, at + nr) are the states that the
 * filesystem went through since what it promised to keep? Of each file, name,
 * content and attributes may be of different ones. @whole: content is all of
 * one of them; else each page is. Return: what may not be, NULL: it may.
 */
const char *fs_image_impossible(const struct fs_image *found,
				const struct fs_image *at, u32 nr, bool whole);

#endif

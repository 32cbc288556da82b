/* SPDX-License-Identifier: MIT */
/* A volume that is copied by tests: "vol" in the tmpdir, closed, and what each
 * page of its files holds, so that a copy can be compared. */
#ifndef FOLIO_BACKUP_SOURCE_H
#define FOLIO_BACKUP_SOURCE_H

#include "fs_util.h"

#define SOURCE_FILES 4
#define SOURCE_PAGES 48 /* of a file, the last one is a small one */

/* Version of each page, for test_pattern(); 0: a hole. */
struct source_state {
	u64 page[SOURCE_FILES][SOURCE_PAGES];
};

struct backup_source {
	struct rng rng;
	u64 inos[SOURCE_FILES];
	struct source_state now;
	u64 versions;
	struct test_fs t;
};

extern struct backup_source source;

void source_make(u64 volume_size);
/* Let a file take so much room, with nothing in it. */
void source_fill(u64 size);
/* Write and punch single pages. */
void source_change(u64 changes);
/* While it is open: change a page of a file through @fh, only write to it with
 * @write. */
void source_change_page(u64 fh, int file, bool write);
/* Is that what the volume at @path, which is opened to be read, has? Return:
 * NULL, or what is not (to be freed). */
char *source_compare(const char *path, const struct source_state *want);
/* ... or of @nr states, the last that is. */
char *source_find(const char *path, const struct source_state *want, u64 nr,
		  u64 *ret_which);

#endif

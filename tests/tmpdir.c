/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tmpdir.h"

static char folder[1024];

void tmpdir_make(void)
{
	const char *top = getenv("TMPDIR");

	(void)snprintf(folder, sizeof(folder), "%s/foliofs-test.XXXXXX",
		       top && *top ? top : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

void tmpdir_remove(void)
{
	(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *tmpdir_path(const char *name)
{
	static char paths[8][1100];
	static unsigned next;
	char *path = paths[next++ % 8];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

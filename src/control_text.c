/* SPDX-License-Identifier: MIT */
/* The forms for people: meminfo, vmstat, files, swaps, volume, inode/INO. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "control_internal.h"

/* Folders may be nested deeper than any PATH_MAX. */
#define PATH_LEN 65536

int control_add_path(struct control *c, struct strbuf *sb, u64 ino)
{
	char *path;
	int err;

	path = malloc(PATH_LEN);
	if (!path) {
		sb->failed = true;
		return -ENOMEM;
	}
	err = fs_path(c->fs, ino, path, PATH_LEN);
	if (!err)
		strbuf_add_path(sb, path);
	free(path);
	return err;
}

/* Paths begin with a slash, so these are no file's. */
static void add_path_or_why(struct control *c, struct strbuf *sb, u64 ino)
{
	int err = control_add_path(c, sb, ino);

	if (err)
		strbuf_addstr(sb, err == -ENOENT ? "(deleted)" : "(unknown)");
	strbuf_addch(sb, '\n');
}

int control_meminfo(struct control *c, struct strbuf *sb)
{
	struct meminfo_field fields[NR_MEMINFO];
	struct figures f;

	figures_read(c, &f);
	meminfo_fields(&f, fields);
	for (size_t i = 0; i < NR_MEMINFO; i++) {
		size_t start = sb->len;

		strbuf_printf(sb, "%s:", fields[i].name);
		strbuf_printf(sb, "%*" PRIu64 " kB\n",
			      (int)(start + 24 - sb->len), fields[i].kb);
	}
	return 0;
}

int control_vmstat(struct control *c, struct strbuf *sb)
{
	struct figures f;

	figures_read(c, &f);
	for (size_t i = 0; i < NR_FIGURES; i++)
		strbuf_printf(sb, "%s %" PRIu64 "\n", control_figures[i].name,
			      figure_value(&f, i));
	return 0;
}

static void add_file_row(struct control *c, struct strbuf *sb,
			 const struct fs_file_info *f)
{
#define X(name, width, value) strbuf_printf(sb, "%*" PRIu64 " ", width, value);
	FILE_COLUMNS(X)
#undef X
	add_path_or_why(c, sb, f->ino);
}

int control_files(struct control *c, struct strbuf *sb)
{
	struct fs_file_info *info;
	size_t nr;
	int err;

	err = fs_files(c->fs, &info, &nr);
	if (err)
		return err;

#define X(name, width, value) strbuf_printf(sb, "%*s ", width, #name);
	FILE_COLUMNS(X)
#undef X
	strbuf_addstr(sb, "path\n");
	for (size_t i = 0; i < nr; i++)
		add_file_row(c, sb, &info[i]);
	free(info);
	return 0;
}

int control_inode_stat(struct control *c, u64 ino, bool with_path,
		       struct strbuf *sb)
{
	struct fs_file_info info;
	struct fs_file_info *f = &info;
	int err;

	err = fs_file_info(c->fs, ino, &info);
	if (err)
		return err;

#define X(name, width, value) \
	strbuf_printf(sb, "%s %" PRIu64 "\n", #name, value);
	FILE_COLUMNS(X)
#undef X
	if (with_path) {
		strbuf_addstr(sb, "path ");
		add_path_or_why(c, sb, ino);
	}
	return 0;
}

/* Blanks too: the name is the first of several columns. */
static void add_swap_name(struct strbuf *sb, const char *path,
			  const char *below)
{
	struct strbuf name = STRBUF_INIT;

	strbuf_add_path(&name, path);
	strbuf_addstr(&name, below);
	sb->failed |= name.failed;
	for (const char *s = name.buf; s && *s; s++) {
		if (*s == ' ')
			strbuf_addstr(sb, "\\040");
		else
			strbuf_addch(sb, *s);
	}
	strbuf_release(&name);
}

static void add_swap_row(struct strbuf *sb, const char *type, u64 total,
			 u64 used, int priority)
{
	strbuf_printf(sb, "\t%s\t\t%" PRIu64 "\t\t%" PRIu64 "\t\t%d\n", type,
		      KB_OF_BYTES(total), KB_OF_BYTES(used), priority);
}

/* With a swap file the volume has slots only while a commit is under way, after
 * one that failed, or for want of room in the file. */
int control_swaps(struct control *c, struct strbuf *sb)
{
	struct swap_file *file = fs_swap_file(c->fs);
	struct figures f;
	u64 used, total;

	figures_read(c, &f);
	used = volume_slots_bytes(f.gauges.nr_slots, &f.swap_file);
	total = f.control.swap_total_bytes;
	strbuf_addstr(sb, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	if (file) {
		add_swap_name(sb, swap_file_path(file), "");
		add_swap_row(sb, "file", f.swap_file.swap_file_bytes,
			     f.swap_file.swap_file_used_bytes, -2);
		total = used;
	}
	if (!file || used) {
		add_swap_name(sb, fs_volume(c->fs)->path, "/data");
		add_swap_row(sb, "volume", total, used, file ? -3 : -2);
	}
	return 0;
}

int control_scrub(struct control *c, struct strbuf *sb)
{
	struct fs_scrub_bad *bad;
	size_t nr;
	int err = fs_scrub_bad(c->fs, &bad, &nr);

	if (err)
		return err;
	strbuf_addstr(sb, "     ino        pgoff    pages  path\n");
	for (size_t i = 0; i < nr && !err; i++) {
		strbuf_printf(sb, "%8" PRIu64 " %12" PRIu64 " %8" PRIu64 "  ",
			      bad[i].ino, bad[i].pgoff, bad[i].nr);
		err = control_add_path(c, sb, bad[i].ino);
		if (err == -ENOENT || err == -EIO)
			err = 0;
		strbuf_addch(sb, '\n');
	}
	free(bad);
	return err;
}

int control_volume(struct control *c, struct strbuf *sb)
{
	struct volume *v = fs_volume(c->fs);
	struct meta_super super;
	struct figures figures;
	const struct figures *f = &figures;

	figures_read(c, &figures);
	meta_super(v->meta, &super);
	strbuf_printf(sb, "uuid %s\n", c->uuid);
#define X(name, value) \
	strbuf_printf(sb, "%s %" PRIu64 "\n", #name, (u64)(value));
	VOLUME_LINES(X)
#undef X
	strbuf_addstr(sb, "version " PACKAGE_VERSION "\npath ");
	strbuf_add_path(sb, v->path);
	strbuf_addch(sb, '\n');
	return 0;
}

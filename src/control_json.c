/* SPDX-License-Identifier: MIT */
/*
 * stats.json: one object with everything. Numbers are integers below 2^64 as
 * the text forms have them; no bound is null. Names are escaped as in `files`
 * (strbuf_add_path()), so the document is valid UTF-8 whatever the names are.
 * One line for each member of the second level, for people and for diff.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "control_internal.h"

static void add_number(struct strbuf *sb, const char *sep, const char *name,
		       u64 value)
{
	strbuf_printf(sb, "%s\"%s\": %" PRIu64, sep, name, value);
}

/* @text was escaped by strbuf_add_path(): only '"' and '\\' are left. */
static void add_string(struct strbuf *sb, const char *sep, const char *name,
		       const char *text)
{
	strbuf_printf(sb, "%s\"%s\": \"", sep, name);
	strbuf_add_json(sb, text);
	strbuf_addch(sb, '"');
}

static void add_path_of(struct control *c, struct strbuf *sb, u64 ino)
{
	struct strbuf path = STRBUF_INIT;

	if (control_add_path(c, &path, ino) == 0 && path.buf)
		add_string(sb, ", ", "path", path.buf);
	else
		strbuf_addstr(sb, ", \"path\": null");
	sb->failed |= path.failed;
	strbuf_release(&path);
}

static void add_volume(struct control *c, struct strbuf *sb,
		       const struct figures *f)
{
	struct volume *v = fs_volume(c->fs);
	struct strbuf path = STRBUF_INIT;
	struct meta_super super;
	const char *sep = ",\n\t\t";

	meta_super(v->meta, &super);
	strbuf_add_path(&path, v->path);
	add_string(sb, "\t\"volume\": {\n\t\t", "uuid", c->uuid);
	add_string(sb, sep, "path", path.buf ? path.buf : "");
	sb->failed |= path.failed;
	strbuf_release(&path);
#define X(name, value) add_number(sb, sep, #name, value);
	VOLUME_LINES(X)
#undef X
	strbuf_addstr(sb, "\n\t},\n");
}

static void add_meminfo(struct strbuf *sb, const struct figures *f)
{
	struct meminfo_field fields[NR_MEMINFO];

	meminfo_fields(f, fields);
	strbuf_addstr(sb, "\t\"meminfo\": {\n");
	for (size_t i = 0; i < NR_MEMINFO; i++)
		add_number(sb, i ? ",\n\t\t" : "\t\t", fields[i].name,
			   fields[i].kb);
	strbuf_addstr(sb, "\n\t},\n");
}

static void add_vmstat(struct strbuf *sb, const struct figures *f)
{
	strbuf_addstr(sb, "\t\"vmstat\": {\n");
	for (size_t i = 0; i < NR_FIGURES; i++)
		add_number(sb, i ? ",\n\t\t" : "\t\t", control_figures[i].name,
			   figure_value(f, i));
	strbuf_addstr(sb, "\n\t},\n");
}

static void add_knobs(struct control *c, struct strbuf *sb)
{
	const char *sep = "\t\t";

	strbuf_addstr(sb, "\t\"vm\": {\n");
	for (u32 i = 0; i < VM_NR; i++) {
		u64 value;

		if (!vm_is_knob(i))
			continue;
		value = vm_get(c, i);
		if (value == UINT64_MAX)
			strbuf_printf(sb, "%s\"%s\": null", sep, vm_name(i));
		else
			add_number(sb, sep, vm_name(i), value);
		sep = ",\n\t\t";
	}
	strbuf_addstr(sb, "\n\t},\n");
}

static void add_file(struct control *c, struct strbuf *sb,
		     const struct fs_file_info *f)
{
	const char *sep = "";

	strbuf_addstr(sb, "\t\t{");
#define X(name, width, value)              \
	add_number(sb, sep, #name, value); \
	sep = ", ";
	FILE_COLUMNS(X)
#undef X
	add_path_of(c, sb, f->ino);
	strbuf_addch(sb, '}');
}

static int add_files(struct control *c, struct strbuf *sb)
{
	struct fs_file_info *info;
	size_t nr;
	int err;

	err = fs_files(c->fs, &info, &nr);
	if (err)
		return err;

	strbuf_addstr(sb, "\t\"files\": [");
	for (size_t i = 0; i < nr; i++) {
		strbuf_addstr(sb, i ? ",\n" : "\n");
		add_file(c, sb, &info[i]);
	}
	strbuf_addstr(sb, nr ? "\n\t]\n" : "]\n");
	free(info);
	return 0;
}

int control_json(struct control *c, struct strbuf *sb)
{
	struct figures f;
	int err;

	figures_read(c, &f);
	strbuf_addstr(sb, "{\n\t\"version\": \"" PACKAGE_VERSION "\",\n");
	add_volume(c, sb, &f);
	add_meminfo(sb, &f);
	add_vmstat(sb, &f);
	add_knobs(c, sb);
	err = add_files(c, sb);
	strbuf_addstr(sb, "}\n");
	return err;
}

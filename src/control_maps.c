/* SPDX-License-Identifier: MIT */
/* Who maps what: maps, processes, inode/INO/maps, inode/INO/rmap. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "mm.h"

/* ---- words ---- */

/* Blanks too: it is one of several columns. Any bytes are a name. */
static void add_comm(struct strbuf *sb, const char *comm)
{
	struct strbuf name = STRBUF_INIT;

	strbuf_add_path(&name, comm);
	sb->failed |= name.failed;
	for (const char *s = name.buf; s && *s; s++) {
		if (*s == ' ')
			strbuf_addstr(sb, "\\040");
		else
			strbuf_addch(sb, *s);
	}
	if (!*comm)
		strbuf_addch(sb, '?');
	strbuf_release(&name);
}

/* Pad what was added since @start to @width, and a blank. */
static void pad(struct strbuf *sb, size_t start, size_t width)
{
	size_t len = sb->failed ? width : sb->len - start;

	strbuf_printf(sb, "%*s", (int)(len < width ? width - len + 1 : 1), "");
}

static void add_hints(struct strbuf *sb, u32 flags)
{
	static const struct {
		u32 flag;
		const char *word;
	} hints[] = {
		{VM_LOCKED, "lo"},
		{VM_SEQ_READ, "sr"},
		{VM_RAND_READ, "rr"},
	};
	const char *sep = "";

	for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
		if (flags & hints[i].flag) {
			strbuf_printf(sb, "%s%s", sep, hints[i].word);
			sep = ",";
		}
	}
	if (!*sep)
		strbuf_addch(sb, '-');
}

/* ---- maps ---- */

#define MAPS_HEADER                                                         \
	"pid     comm            address                   perms offset   " \
	"ino      fh    hints    private   minflt   majflt path\n"

static void add_path_of(struct control *c, struct strbuf *sb, u64 ino)
{
	int err = control_add_path(c, sb, ino);

	if (err)
		strbuf_addstr(sb, err == -ENOENT ? "(deleted)" : "(unknown)");
	strbuf_addch(sb, '\n');
}

static void add_map_row(struct control *c, struct strbuf *sb,
			const struct vma_info *v)
{
	size_t start = sb->len;

	strbuf_printf(sb, "%" PRIu32, v->key.pid);
	pad(sb, start, 7);
	start = sb->len;
	add_comm(sb, v->comm);
	pad(sb, start, 15);
	strbuf_printf(sb, "%012" PRIx64 "-%012" PRIx64 " %c%c%c%c  %08" PRIx64,
		      v->start, v->end, v->flags & VM_READ ? 'r' : '-',
		      v->flags & VM_WRITE ? 'w' : '-',
		      v->flags & VM_EXEC ? 'x' : '-',
		      v->flags & VM_SHARED ? 's' : 'p', v->pgoff << PAGE_SHIFT);
	strbuf_printf(sb, " %-8" PRIu64 " ", v->ino);
	if (v->file_known)
		strbuf_printf(sb, "%-5" PRIu64 " ", v->file_id);
	else
		strbuf_addstr(sb, "-     ");
	start = sb->len;
	add_hints(sb, v->flags);
	pad(sb, start, 5);
	strbuf_printf(sb, "%10" PRIu64 " %8" PRIu64 " %8" PRIu64 " ",
		      v->nr_private, v->minflt, v->majflt);
	add_path_of(c, sb, v->ino);
}

int control_inode_maps(struct control *c, u64 ino, struct strbuf *sb)
{
	struct vma_info *vmas = NULL;
	size_t nr = 0;
	int err;

	err = fs_mappings(c->fs, ino, &vmas, &nr);
	if (err)
		return err;
	strbuf_addstr(sb, MAPS_HEADER);
	for (size_t i = 0; i < nr; i++)
		add_map_row(c, sb, &vmas[i]);
	free(vmas);
	return 0;
}

int control_maps(struct control *c, struct strbuf *sb)
{
	return control_inode_maps(c, 0, sb);
}

/* ---- processes ---- */

int control_processes(struct control *c, struct strbuf *sb)
{
	struct mm_info *mms = NULL;
	size_t nr = 0;
	int err;

	err = fs_processes(c->fs, &mms, &nr);
	if (err)
		return err;
	strbuf_addstr(sb, "pid     comm            start_time         maps   "
			  "minflt   majflt\n");
	for (size_t i = 0; i < nr; i++) {
		size_t start = sb->len;

		strbuf_printf(sb, "%" PRIu32, mms[i].key.pid);
		pad(sb, start, 7);
		start = sb->len;
		add_comm(sb, mms[i].comm);
		pad(sb, start, 15);
		strbuf_printf(sb,
			      "%-14" PRIu64 " %8" PRIu64 " %8" PRIu64
			      " %8" PRIu64 "\n",
			      mms[i].key.start_time, mms[i].nr_vmas,
			      mms[i].minflt, mms[i].majflt);
	}
	free(mms);
	return 0;
}

/* ---- rmap ----
 *
 * The ranges of a file within which the same mappings cover every page, from
 * one begin or end of a mapping to the next; of each, the pages in frames.
 */

struct rmap {
	const struct vma_info *vmas; /* by first page */
	size_t nr;
	size_t next;	/* the first that has not begun yet */
	size_t *active; /* indices of those that cover the range */
	size_t nr_active;
	u64 first, last; /* the range */
};

static u64 last_page(const struct vma_info *v)
{
	return v->pgoff + ((v->end - v->start) >> PAGE_SHIFT) - 1;
}

static int compare_first_page(const void *a, const void *b)
{
	const struct vma_info *x = a, *y = b;

	if (x->pgoff != y->pgoff)
		return x->pgoff < y->pgoff ? -1 : 1;
	if (x->key.pid != y->key.pid)
		return x->key.pid < y->key.pid ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* On to the next range. Return: false: there is none. */
static bool rmap_next(struct rmap *r)
{
	u64 first = r->last + 1;
	size_t n = 0;

	for (size_t i = 0; i < r->nr_active; i++) {
		if (last_page(&r->vmas[r->active[i]]) >= first)
			r->active[n++] = r->active[i];
	}
	if (!n && r->next == r->nr)
		return false;
	if (!n)
		first = r->vmas[r->next].pgoff;
	while (r->next < r->nr && r->vmas[r->next].pgoff <= first)
		r->active[n++] = r->next++;
	r->nr_active = n;
	r->first = first;
	r->last = r->next < r->nr ? r->vmas[r->next].pgoff - 1 : PGOFF_MAX;
	for (size_t i = 0; i < n; i++)
		r->last = min(r->last, last_page(&r->vmas[r->active[i]]));
	return true;
}

static bool named_before(const struct rmap *r, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (r->vmas[r->active[j]].key.pid ==
		    r->vmas[r->active[i]].key.pid)
			return true;
	}
	return false;
}

static void add_rmap_row(struct strbuf *sb, const struct rmap *r, u64 first,
			 u64 last)
{
	strbuf_printf(sb, "%-10" PRIu64 " %-10" PRIu64 " %-10" PRIu64, first,
		      last, last - first + 1);
	for (size_t i = 0; i < r->nr_active; i++) {
		const struct vma_info *v = &r->vmas[r->active[i]];

		if (named_before(r, i))
			continue;
		strbuf_printf(sb, " %" PRIu32 ":", v->key.pid);
		add_comm(sb, v->comm);
	}
	strbuf_addch(sb, '\n');
}

static int add_range(struct control *c, struct strbuf *sb, u64 ino,
		     const struct rmap *r)
{
	u64 pgoff = r->first;
	u64 first, last;
	int ret = 0;

	while (pgoff <= r->last &&
	       (ret = fs_file_resident(c->fs, ino, pgoff, r->last, &first,
				       &last)) > 0) {
		add_rmap_row(sb, r, first, last);
		pgoff = last + 1;
	}
	return ret < 0 ? ret : 0;
}

int control_inode_rmap(struct control *c, u64 ino, struct strbuf *sb)
{
	struct vma_info *vmas = NULL;
	struct rmap r = {.last = UINT64_MAX};
	int err;

	err = fs_mappings(c->fs, ino, &vmas, &r.nr);
	if (err)
		return err;
	r.active = calloc(r.nr + 1, sizeof(*r.active));
	if (!r.active) {
		free(vmas);
		return -ENOMEM;
	}
	if (r.nr)
		qsort(vmas, r.nr, sizeof(*vmas), compare_first_page);
	r.vmas = vmas;
	strbuf_addstr(sb, "first      last       pages      processes\n");
	while (!err && rmap_next(&r))
		err = add_range(c, sb, ino, &r);
	free(r.active);
	free(vmas);
	return err;
}

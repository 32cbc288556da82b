/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "small_commit.h"

#include <stdlib.h>
#include <syslog.h>

#include "fs_internal.h"
#include "prealloc.h"
#include "transaction.h"
#include "volume_redo.h"

/* Is anything of fallocate() in it? */
static bool allocates(const struct transaction *t)
{
	struct inode *inode;
	u64 start, last;

	list_for_each_entry (inode, &t->files, commit_node) {
		if (prealloc_next(inode, 0, &start, &last))
			return true;
	}
	return false;
}

bool small_commit_is(const struct transaction *t)
{
	struct commit_stat st;

	commit_stat(t->commit, &st);
	return t->scope == COMMIT_ASKED && !t->nr_ops && t->nr_files &&
	       t->nr_files <= REDO_FILES && st.pages <= REDO_PAGES &&
	       !st.holed && !allocates(t);
}

bool small_commit_fits(const struct transaction *t)
{
	struct commit_stat st;

	commit_stat(t->commit, &st);
	return redo_has_room(t->fs->volume->redo, (u32)t->nr_files,
			     (u32)st.pages);
}

static void add_file(struct redo_record *rec, const struct commit_run *run)
{
	struct inode *inode = container_of(run->as, struct inode, mapping);

	assert(rec->nr_files < REDO_FILES);
	inode->seen = true;
	rec->files[rec->nr_files++] = (struct redo_file){
		.ino = inode->ino,
		.size = run->size,
		.mtime = inode->cut_mtime,
		.ctime = inode->cut_ctime,
	};
}

static bool add_page(struct redo_record *rec, const struct commit_run *run)
{
	if (rec->nr_pages == REDO_PAGES)
		return false;
	rec->pages[rec->nr_pages++] = (struct redo_page){
		.ino = container_of(run->as, struct inode, mapping)->ino,
		.pgoff = run->pgoff,
		.data = (void *)(uintptr_t)run->data,
	};
	return true;
}

static bool add_run(struct redo_record *rec, const struct commit_run *run)
{
	switch (run->kind) {
	case COMMIT_FILE:
		add_file(rec, run);
		return true;
	case COMMIT_INLINE:
		return add_page(rec, run);
	case COMMIT_FILE_END:
		return true;
	default:
		return false;
	}
}

/* Return: does all of it fit into a record? */
static bool gather(struct transaction *t, struct redo_record *rec)
{
	struct commit_run run;
	int rc;

	while ((rc = commit_next(t->commit, &run)) > 0) {
		if (!add_run(rec, &run))
			return false;
	}
	return !rc && rec->nr_files;
}

static void forget_seen(struct transaction *t)
{
	struct inode *inode;

	list_for_each_entry (inode, &t->files, commit_node)
		inode->seen = false;
	commit_rewind(t->commit);
}

bool small_commit_write(struct transaction *t)
{
	struct redo_record *rec = calloc(1, sizeof(*rec));
	int err = -ENOMEM;

	if (rec)
		err = gather(t, rec) ? volume_redo_append(t->fs->volume, rec)
				     : -ENOSPC;
	free(rec);
	if (!err)
		return true;
	if (err != -ENOSPC)
		fs_log(t->fs, LOG_WARNING, "redo log: %s", strerror(-err));
	forget_seen(t);
	return false;
}

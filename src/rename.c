/* SPDX-License-Identifier: MIT */
/*
 * Rename. Locks: the rename mutex when the folders differ, so that no folder
 * moves while ancestors are looked at; then the folders, ancestor first; then
 * source and target, folders first, by number, as far as they need it.
 *
 * An entry that is replaced or exchanged keeps its readdir cookie: the name
 * stays where it is and stands for something else.
 */
#include "config.h"

#include <linux/fs.h>

#include "fs_internal.h"

struct rename {
	struct fs *fs;
	unsigned flags;
	const struct fs_cred *cred;
	struct inode *olddir, *newdir;
	const char *oldname, *newname;
	struct entry src_entry, dst_entry;
	struct inode *src, *dst; /* dst: NULL when the name is free */
	struct inode *whiteout;
	struct ns_change ch;
};

/* Is @anc above @ino, or the same? Context: rename mutex held.
 * Return: 1, 0, -errno; -EIO: the way up goes round. */
static int is_ancestor(struct fs *fs, u64 anc, u64 ino)
{
	u64 steps = 0;

	while (ino != anc && ino != FS_ROOT_INO) {
		struct inode *dir;
		int err;

		if (steps++ >
		    __atomic_load_n(&fs->volume->nr_inodes, __ATOMIC_RELAXED))
			return -EIO;
		err = inode_get_ino(fs, ino, &dir);
		if (err)
			return err;
		err = namei_parent(dir, &ino);
		inode_put(dir);
		if (err)
			return err;
	}
	return ino == anc;
}

/* ---- locks ---- */

static int lock_dirs(struct rename *r) __no_tsa;
static int lock_dirs(struct rename *r)
{
	struct inode *first = r->olddir, *second = r->newdir;
	int rc;

	if (first == second) {
		down_write(&first->rwsem);
		return 0;
	}

	mutex_lock(&r->fs->rename_mutex);
	rc = is_ancestor(r->fs, second->ino, first->ino);
	if (rc < 0) {
		mutex_unlock(&r->fs->rename_mutex);
		return rc;
	}
	if (rc) {
		first = r->newdir;
		second = r->olddir;
	}
	down_write(&first->rwsem);
	down_write_nested(&second->rwsem);
	return 0;
}

static void unlock_dirs(struct rename *r) __no_tsa;
static void unlock_dirs(struct rename *r)
{
	up_write(&r->olddir->rwsem);
	if (r->olddir == r->newdir)
		return;
	up_write(&r->newdir->rwsem);
	mutex_unlock(&r->fs->rename_mutex);
}

/*
 * A folder that stays in its folder keeps its content and its parent: it needs
 * no lock, and must not have one. Siblings would else be locked in the order of
 * their numbers while a rename between the two locks them as it finds them. As
 * it is, only who has the rename mutex waits for a folder with another locked
 * that is not above it.
 */
static bool needs_lock(const struct rename *r, const struct inode *inode)
{
	bool moves = r->olddir != r->newdir;
	bool goes = inode == r->dst && !(r->flags & RENAME_EXCHANGE);

	return !inode_is_dir(inode) || moves || goes;
}

static bool locks_before(const struct inode *a, const struct inode *b)
{
	if (inode_is_dir(a) != inode_is_dir(b))
		return inode_is_dir(a);
	return a->ino < b->ino;
}

static void lock_children(struct rename *r) __no_tsa;
static void lock_children(struct rename *r)
{
	struct inode *first = r->src, *second = r->dst;

	if (second && locks_before(second, first)) {
		first = r->dst;
		second = r->src;
	}
	if (needs_lock(r, first))
		down_write_nested(&first->rwsem);
	if (second && needs_lock(r, second))
		down_write_nested(&second->rwsem);
}

static void unlock_children(struct rename *r) __no_tsa;
static void unlock_children(struct rename *r)
{
	if (needs_lock(r, r->src))
		up_write(&r->src->rwsem);
	if (r->dst && needs_lock(r, r->dst))
		up_write(&r->dst->rwsem);
}

/* ---- may it be? ---- */

static int find_children(struct rename *r)
{
	int err;

	err = namei_find(r->olddir, r->oldname, &r->src_entry);
	if (err)
		return err;
	err = inode_get_ino(r->fs, r->src_entry.ino, &r->src);
	if (err)
		return err;

	err = namei_find(r->newdir, r->newname, &r->dst_entry);
	if (err == -ENOENT)
		return r->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (err)
		return err;
	if (r->flags & RENAME_NOREPLACE)
		return -EEXIST;
	return inode_get_ino(r->fs, r->dst_entry.ino, &r->dst);
}

/* No folder may come to lie within itself. */
static int check_loops(struct rename *r)
{
	int rc = 0;

	if (r->olddir == r->newdir)
		return 0;

	if (inode_is_dir(r->src)) {
		rc = is_ancestor(r->fs, r->src->ino, r->newdir->ino);
		if (rc)
			return rc < 0 ? rc : -EINVAL;
	}
	if (r->dst && inode_is_dir(r->dst)) {
		rc = is_ancestor(r->fs, r->dst->ino, r->olddir->ino);
		if (rc > 0)
			rc = r->flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	}
	return rc;
}

static int check_types(struct rename *r)
{
	if (!r->dst || r->flags & RENAME_EXCHANGE)
		return 0;
	if (inode_is_dir(r->src) && !inode_is_dir(r->dst))
		return -ENOTDIR;
	if (!inode_is_dir(r->src) && inode_is_dir(r->dst))
		return -EISDIR;
	return 0;
}

/* By how much the move changes the new folder's links; the old one's by the
 * opposite, but for a target that goes. */
static int moved_dirs(const struct rename *r)
{
	int nr = inode_is_dir(r->src);

	if (r->flags & RENAME_EXCHANGE)
		nr -= inode_is_dir(r->dst);
	return nr;
}

static bool replaced_dir(const struct rename *r)
{
	return r->dst && inode_is_dir(r->dst) && !(r->flags & RENAME_EXCHANGE);
}

static int check_links(struct rename *r)
{
	int more = moved_dirs(r);

	if (r->olddir == r->newdir)
		return 0;
	if (more - replaced_dir(r) > 0 && r->newdir->nlink >= FS_LINK_MAX)
		return -EMLINK;
	if (more < 0 && r->olddir->nlink >= FS_LINK_MAX)
		return -EMLINK;
	return 0;
}

static int check_flags(struct rename *r)
{
	int err = inode_may_remove(r->olddir, r->src);

	if (!err && r->dst)
		err = inode_may_remove(r->newdir, r->dst);
	return err ? err : inode_may_add_to(r->newdir);
}

static int check_all(struct rename *r)
{
	int err;

	if (!r->newdir->nlink)
		return -ENOENT;
	err = check_flags(r);
	if (!err)
		err = check_loops(r);
	if (!err)
		err = check_types(r);
	if (!err)
		err = check_links(r);
	return err;
}

/* ---- doing it ---- */

static int make_whiteout(struct rename *r)
{
	struct inode_spec spec = {
		.mode = S_IFCHR,
		.uid = r->cred->uid,
		.gid = r->cred->gid,
		.now = r->ch.now,
	};

	return inode_new(r->fs, &spec, &r->whiteout);
}

static int prepare(struct rename *r)
{
	int err = 0;

	if (replaced_dir(r)) {
		err = namei_any(r->dst);
		if (err)
			return err > 0 ? -ENOTEMPTY : err;
	}
	if (r->dst && !(r->flags & RENAME_EXCHANGE))
		err = inode_prepare_delete(r->dst);
	if (!err)
		err = change_inodes(&r->ch, CHANGE_INODES);
	if (!err)
		err = change_name(&r->ch, r->newdir->ino, r->newname);
	if (!err)
		err = change_name(&r->ch, r->olddir->ino, r->oldname);
	if (!err && r->flags & RENAME_WHITEOUT)
		err = make_whiteout(r);
	return err;
}

static void log_names(struct rename *r)
{
	struct ns_change *ch = &r->ch;
	u64 id = r->dst ? r->dst_entry.id : namei_new_id(r->fs);

	log_name(ch, 0, r->src->ino, r->src->type, id, !r->dst);
	if (r->flags & RENAME_EXCHANGE)
		log_name(ch, 1, r->dst->ino, r->dst->type, r->src_entry.id,
			 false);
	else if (r->whiteout)
		log_name(ch, 1, r->whiteout->ino, r->whiteout->type,
			 r->src_entry.id, false);
	else
		log_name_gone(ch, 1);
}

static void log_dirs(struct rename *r)
{
	int moved = moved_dirs(r);

	if (r->olddir == r->newdir) {
		namei_touch_dir(&r->ch, r->olddir, -replaced_dir(r));
		return;
	}
	namei_touch_dir(&r->ch, r->olddir, -moved);
	namei_touch_dir(&r->ch, r->newdir, moved - replaced_dir(r));
}

/* Replacing and exchanging are commit points for what gets the name. */
static void log_children(struct rename *r)
{
	struct ns_change *ch = &r->ch;

	namei_touch(ch, r->src, 0);
	log_inode(ch, r->src);
	namei_set_parent(r->src, r->newdir->ino);
	if (r->whiteout)
		log_inode_create(ch, r->whiteout);
	if (!r->dst)
		return;

	(void)namei_commit_point(r->src);
	if (r->flags & RENAME_EXCHANGE) {
		(void)namei_commit_point(r->dst);
		namei_touch(ch, r->dst, 0);
		log_inode(ch, r->dst);
		namei_set_parent(r->dst, r->olddir->ino);
	} else {
		namei_unlink(ch, r->dst);
	}
}

static int rename_children(struct rename *r)
{
	int err;

	err = prepare(r);
	if (err) {
		if (r->whiteout)
			inode_discard(r->whiteout);
		r->whiteout = NULL;
		return err;
	}

	change_begin(&r->ch);
	log_names(r);
	log_dirs(r);
	log_children(r);
	change_end(&r->ch);
	return 0;
}

/* Context: the folders' rwsems held exclusive. */
static int rename_locked(struct rename *r)
{
	int err;

	err = find_children(r);
	if (err)
		return err;
	if (r->src == r->dst)
		return 0; /* two names of one file stay, says POSIX */
	err = check_all(r);
	if (err)
		return err;

	lock_children(r);
	err = rename_children(r);
	unlock_children(r);
	return err;
}

static int check_request(const struct rename *r, u64 parent, u64 newparent)
{
	unsigned f = r->flags;
	int err;

	if (f &
	    ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	if (f & RENAME_EXCHANGE && f & (RENAME_NOREPLACE | RENAME_WHITEOUT))
		return -EINVAL;

	err = namei_check(r->oldname);
	if (!err)
		err = namei_check(r->newname);
	if (err)
		return err;
	if (namei_is_dots(r->oldname) || namei_is_dots(r->newname) ||
	    namei_is_control(parent, r->oldname) ||
	    namei_is_control(newparent, r->newname))
		return -EBUSY;
	return 0;
}

static int get_dirs(struct rename *r, u64 parent, u64 newparent)
{
	int err;

	err = namei_get_dir(r->fs, parent, &r->olddir);
	if (err)
		return err;
	err = namei_get_dir(r->fs, newparent, &r->newdir);
	if (err)
		inode_put(r->olddir);
	return err;
}

int fs_rename(struct fs *fs, u64 parent, const char *name, u64 newparent,
	      const char *newname, unsigned flags, const struct fs_cred *cred)
{
	struct rename r = {.fs = fs,
			   .flags = flags,
			   .cred = cred,
			   .oldname = name,
			   .newname = newname};
	int err;

	err = check_request(&r, parent, newparent);
	if (!err)
		err = fs_may_change(fs, false);
	if (!err)
		err = get_dirs(&r, parent, newparent);
	if (err)
		return err;

	change_init(&r.ch, fs);
	err = lock_dirs(&r);
	if (!err) {
		err = rename_locked(&r);
		unlock_dirs(&r);
	}
	change_done(&r.ch);
	inode_put(r.whiteout);
	inode_put(r.src);
	inode_put(r.dst);
	inode_put(r.olddir);
	inode_put(r.newdir);
	return err;
}

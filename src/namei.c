/* SPDX-License-Identifier: MIT */
/*
 * Names: look-up, creation, removal. Each change goes
 *
 *	may it begin? -> the folder's rwsem, exclusive -> look-ups -> the
 *child's rwsem -> all allocations -> stop shared: attributes, records -> out
 *
 * so that what can fail or sleep has happened before the stop.
 */
#include "config.h"

#include <linux/fs.h>
#include <stdlib.h>
#include <syslog.h>

#include "fs_internal.h"

#define ANY_BATCH 128

/* ---- look-up ---- */

int namei_check(const char *name)
{
	size_t len = strlen(name);

	if (!len || strchr(name, '/'))
		return -EINVAL;
	return len > FS_NAME_MAX ? -ENAMETOOLONG : 0;
}

bool namei_is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

bool namei_is_control(u64 parent, const char *name)
{
	return parent == FS_ROOT_INO && !strcmp(name, FS_CONTROL_NAME);
}

static int find_row(struct inode *dir, const char *name, struct entry *ret)
{
	struct meta_reader *r = NULL;
	struct dentry_row row;
	int err;

	err = meta_reader_get(dir->fs->volume->meta, &r);
	if (err)
		return err;

	err = meta_dentry_get(r, dir->ino, name, strlen(name), &row);
	meta_reader_put(r);
	if (err)
		return err;
	/* who changes the name would lock it twice, or the root in between */
	if (row.ino == dir->ino || row.ino == FS_ROOT_INO) {
		fs_log(dir->fs, LOG_ERR, "folder %llu: %s is in it",
		       (unsigned long long)dir->ino,
		       row.ino == dir->ino ? "itself" : "the root");
		return -EIO;
	}

	*ret = (struct entry){.ino = row.ino, .id = row.id, .type = row.type};
	return 0;
}

int namei_find(struct inode *dir, const char *name, struct entry *ret)
{
	struct oplist *l = &dir->fs->ops;
	struct name *n;

	mutex_lock(&l->lock);
	n = names_find(&l->names, dir->ino, name);
	if (n)
		*ret = (struct entry){n->ino, n->id, n->type};
	mutex_unlock(&l->lock);

	if (n)
		return ret->ino ? 0 : -ENOENT;
	/* read behind the overlay: see inode.no_rows */
	if (__atomic_load_n(&dir->no_rows, __ATOMIC_ACQUIRE))
		return -ENOENT;
	return find_row(dir, name, ret);
}

/* Is there a row among @rows whose name was not removed or renamed? */
static bool any_left(struct oplist *l, u64 dir, const struct dentry_row *rows,
		     int nr)
{
	bool any = false;

	mutex_lock(&l->lock);
	for (int i = 0; i < nr && !any; i++)
		any = !names_find(&l->names, dir, rows[i].name);
	mutex_unlock(&l->lock);
	return any;
}

static int any_row(struct inode *dir, struct meta_reader *r,
		   struct dentry_row *rows)
{
	u64 after = 0;
	int nr;

	do {
		nr = meta_dentry_list(r, dir->ino, after, rows, ANY_BATCH);
		if (nr <= 0)
			return nr;
		if (any_left(&dir->fs->ops, dir->ino, rows, nr))
			return 1;
		after = rows[nr - 1].id;
	} while (nr == ANY_BATCH);
	return 0;
}

int namei_any(struct inode *dir)
{
	struct oplist *l = &dir->fs->ops;
	struct dentry_row *rows;
	struct meta_reader *r = NULL;
	bool present;
	int err;

	rows = calloc(ANY_BATCH, sizeof(*rows));
	if (!rows)
		return -ENOMEM;

	down_read(&l->drop_sem);
	mutex_lock(&l->lock);
	present = names_next(&l->names, dir->ino, 0) != NULL;
	mutex_unlock(&l->lock);
	err = present ? 1 : meta_reader_get(dir->fs->volume->meta, &r);
	if (!err) {
		err = any_row(dir, r, rows);
		meta_reader_put(r);
	}
	up_read(&l->drop_sem);
	free(rows);
	return err;
}

/* A (parent, name) of @ino, changed or not. */
/* In the overlay. */
static bool new_name_of(struct oplist *l, u64 ino, u64 *ret_parent,
			struct dentry_row *ret)
{
	struct name *n;

	mutex_lock(&l->lock);
	n = names_of(&l->names, ino);
	if (n) {
		*ret_parent = n->parent;
		ret->len = n->len;
		memcpy(ret->name, n->str, n->len + 1u);
	}
	mutex_unlock(&l->lock);
	return n;
}

/* Has the overlay a newer word about this name? */
static bool superseded(struct oplist *l, u64 parent,
		       const struct dentry_row *row)
{
	bool is;

	mutex_lock(&l->lock);
	is = names_find(&l->names, parent, row->name) != NULL;
	mutex_unlock(&l->lock);
	return is;
}

/* Of a file with many names so many are looked at, if they are all gone. */
#define NAMES_TRIED 64

/* Context: drop_sem held. */
static int name_of_held(struct fs *fs, u64 ino, u64 *ret_parent,
			struct dentry_row *ret)
{
	struct meta_reader *r = NULL;
	int err;

	if (new_name_of(&fs->ops, ino, ret_parent, ret))
		return 0;
	for (u32 nth = 0; nth < NAMES_TRIED; nth++) {
		err = meta_reader_get(fs->volume->meta, &r);
		if (err)
			return err;
		err = meta_dentry_of(r, ino, nth, ret_parent, ret);
		meta_reader_put(r);
		if (err || !superseded(&fs->ops, *ret_parent, ret))
			return err;
	}
	return -ENOENT;
}

static int name_of(struct fs *fs, u64 ino, u64 *ret_parent,
		   struct dentry_row *ret)
{
	int err;

	down_read(&fs->ops.drop_sem);
	err = name_of_held(fs, ino, ret_parent, ret);
	up_read(&fs->ops.drop_sem);
	return err;
}

int namei_parent(struct inode *dir, u64 *ret_parent)
{
	struct dentry_row row;
	u64 parent;
	int err;

	mutex_lock(&dir->lock);
	parent = dir->ino == FS_ROOT_INO ? FS_ROOT_INO : dir->parent;
	mutex_unlock(&dir->lock);
	if (!parent) {
		err = name_of(dir->fs, dir->ino, &parent, &row);
		if (err)
			return err;
	}
	*ret_parent = parent;
	return 0;
}

int namei_get_dir(struct fs *fs, u64 ino, struct inode **ret)
{
	struct inode *dir = NULL;
	int err;

	err = inode_get_ino(fs, ino, &dir);
	if (err)
		return err;
	if (!inode_is_dir(dir)) {
		inode_put(dir);
		return -ENOTDIR;
	}
	*ret = dir;
	return 0;
}

/* Find and get the child. Context: dir->rwsem held shared. */
static int lookup_child(struct inode *dir, const char *name, struct inode **ret)
{
	struct entry e = {0};
	int err;

	if (!strcmp(name, ".."))
		err = namei_parent(dir, &e.ino);
	else
		err = namei_find(dir, name, &e);
	return err ? err : inode_get_ino(dir->fs, e.ino, ret);
}

/* "." of any inode, folder or not: it is how file handles are found again. */
static int lookup_self(struct fs *fs, u64 ino, struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;
	err = lookup_reserve(fs);
	if (!err) {
		lookup_take(fs, inode);
		inode_stat(inode, ret_st);
	}
	inode_put(inode);
	return err;
}

int fs_lookup(struct fs *fs, u64 parent, const char *name, struct stat *ret_st)
{
	struct inode *dir = NULL, *inode = NULL;
	int err;

	if (!strcmp(name, "."))
		return lookup_self(fs, parent, ret_st);
	err = namei_check(name);
	if (!err)
		err = namei_get_dir(fs, parent, &dir);
	if (err)
		return err;
	err = lookup_reserve(fs);
	if (err)
		goto out_put_dir;

	down_read(&dir->rwsem);
	err = lookup_child(dir, name, &inode);
	if (!err)
		lookup_take(fs, inode);
	else
		lookup_unreserve(fs);
	up_read(&dir->rwsem);
	if (!err) {
		inode_stat(inode, ret_st);
		inode_put(inode);
	}
out_put_dir:
	inode_put(dir);
	return err;
}

void fs_forget(struct fs *fs, u64 ino, u64 nlookup)
{
	lookup_forget(fs, ino, nlookup);
}

/* ---- what every change does ---- */

u64 namei_new_id(struct fs *fs)
{
	return __atomic_fetch_add(&fs->next_dentry_id, 1, __ATOMIC_RELAXED);
}

/* A name was added to or removed from @dir. Context: in the stop. */
void namei_touch_dir(struct ns_change *ch, struct inode *dir, int links)
{
	mutex_lock(&dir->lock);
	dir->nlink += (u32)links;
	dir->mtime = dir->ctime = ch->now;
	mutex_unlock(&dir->lock);
	log_inode(ch, dir);
}

void namei_touch(struct ns_change *ch, struct inode *inode, int links)
{
	mutex_lock(&inode->lock);
	if (links) /* a folder that stays in its folder is not locked */
		inode->nlink += (u32)links;
	inode->ctime = ch->now;
	mutex_unlock(&inode->lock);
}

void namei_set_parent(struct inode *inode, u64 parent)
{
	if (!inode_is_dir(inode))
		return;
	mutex_lock(&inode->lock);
	inode->parent = parent;
	mutex_unlock(&inode->lock);
}

bool namei_commit_point(struct inode *inode)
{
	bool must;

	mutex_lock(&inode->lock);
	must = inode->dirty_epoch || inode->committing;
	inode->must |= inode->dirty_epoch != 0;
	inode->late_must |= inode->committing != 0;
	if (must && inode_held_locked(inode))
		__atomic_store_n(&inode->fs->ops.points, true,
				 __ATOMIC_RELAXED);
	mutex_unlock(&inode->lock);
	return must;
}

/* One name less. Context: in the stop, inode_prepare_delete() done. */
void namei_unlink(struct ns_change *ch, struct inode *inode)
{
	namei_touch(ch, inode, inode_is_dir(inode) ? -2 : -1);
	if (inode->nlink)
		log_inode(ch, inode);
	else
		log_inode_orphan(ch, inode);
}

/* May @name be made in @dir? Context: dir->rwsem held. */
static int may_add(struct inode *dir, const char *name, bool folder)
{
	struct entry e;
	int err;

	if (namei_is_control(dir->ino, name))
		return -EBUSY;
	if (namei_is_dots(name))
		return -EEXIST;
	if (!dir->nlink)
		return -ENOENT;

	err = namei_find(dir, name, &e);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	err = inode_may_add_to(dir);
	if (err)
		return err;
	return folder && dir->nlink >= FS_LINK_MAX ? -EMLINK : 0;
}

/* ---- creation ---- */

static int inherit(struct inode *dir, struct inode_spec *spec,
		   struct heritage *ret)
{
	if (S_ISREG(spec->mode) || S_ISDIR(spec->mode))
		spec->flags = dir->flags & (INODE_ATOMIC | FS_NODUMP_FL);
	if (dir->mode & S_ISGID) {
		spec->gid = dir->gid;
		if (S_ISDIR(spec->mode))
			spec->mode |= S_ISGID;
	}
	return acl_inherit(dir, spec, ret);
}

static void create_in_stop(struct ns_change *ch, struct inode *dir,
			   struct inode *inode)
{
	namei_set_parent(inode, dir->ino);
	namei_touch_dir(ch, dir, inode_is_dir(inode));
	log_inode_create(ch, inode);
	log_name(ch, 0, inode->ino, inode->type, namei_new_id(ch->fs), true);
}

/* Who makes a file opens it too: as the last thing that can fail, so that there
 * is no file when it is not open. */
struct opening {
	int flags;
	pid_t pid;
	u64 *ret_fh;
};

static int open_new(struct inode *inode, const struct opening *o)
{
	int err;

	if (!o)
		return 0;
	inode_get(inode);
	err = handle_open(inode->fs, inode, o->flags, o->pid, o->ret_fh);
	if (err)
		inode_put(inode);
	return err;
}

/* Context: dir->rwsem held exclusive. */
static int create_heir(struct ns_change *ch, struct inode *dir,
		       const char *name, struct inode_spec *spec,
		       const struct opening *o, struct heritage *h,
		       struct inode **ret)
{
	struct inode *inode = NULL;
	int err;

	spec->now = ch->now;
	err = inode_new(ch->fs, spec, &inode);
	if (err)
		return err;
	err = heritage_prepare(h, inode);
	if (!err)
		err = change_inodes(ch, 2);
	if (!err)
		err = change_name(ch, dir->ino, name);
	if (!err)
		err = open_new(inode, o);
	if (err) {
		inode_discard(inode);
		return err;
	}

	change_begin(ch);
	create_in_stop(ch, dir, inode);
	log_heritage(ch, inode, h);
	change_end(ch);
	*ret = inode;
	return 0;
}

/* Context: dir->rwsem held exclusive. */
static int create_locked(struct ns_change *ch, struct inode *dir,
			 const char *name, struct inode_spec *spec,
			 const struct opening *o, struct inode **ret)
{
	struct heritage h = {0};
	int err;

	err = may_add(dir, name, S_ISDIR(spec->mode));
	if (!err)
		err = inherit(dir, spec, &h);
	if (!err)
		err = create_heir(ch, dir, name, spec, o, &h, ret);
	heritage_done(ch->fs, &h);
	return err;
}

/* Make a new inode with a name; *ret has a reference and a look-up. @o: open
 * it, or NULL. */
static int create(struct fs *fs, u64 parent, const char *name,
		  struct inode_spec *spec, const struct opening *o,
		  struct inode **ret)
{
	struct ns_change ch;
	struct inode *dir = NULL;
	int err;

	err = namei_check(name);
	if (!err)
		err = fs_may_change(fs, false);
	if (!err)
		err = namei_get_dir(fs, parent, &dir);
	if (err)
		return err;
	err = lookup_reserve(fs);
	if (err)
		goto out_put;

	change_init(&ch, fs);
	down_write(&dir->rwsem);
	err = create_locked(&ch, dir, name, spec, o, ret);
	if (!err)
		lookup_take(fs, *ret);
	else
		lookup_unreserve(fs);
	up_write(&dir->rwsem);
	change_done(&ch);
out_put:
	inode_put(dir);
	return err;
}

static struct inode_spec spec_of(u32 mode, const struct fs_cred *cred)
{
	return (struct inode_spec){
		.mode = mode & (S_IFMT | 07777),
		.umask = cred->umask & 0777,
		.uid = cred->uid,
		.gid = cred->gid,
	};
}

static int create_and_stat(struct fs *fs, u64 parent, const char *name,
			   struct inode_spec *spec, const struct opening *o,
			   struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = create(fs, parent, name, spec, o, &inode);
	if (err)
		return err;

	inode_stat(inode, ret_st);
	inode_put(inode);
	return 0;
}

int fs_mknod(struct fs *fs, u64 parent, const char *name, u32 mode, u64 rdev,
	     const struct fs_cred *cred, struct stat *ret_st)
{
	struct inode_spec spec = spec_of(mode, cred);

	if (!(mode & S_IFMT))
		spec.mode |= S_IFREG;
	switch (spec.mode & S_IFMT) {
	case S_IFCHR:
	case S_IFBLK:
		spec.rdev = rdev;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
	return create_and_stat(fs, parent, name, &spec, NULL, ret_st);
}

int fs_mkdir(struct fs *fs, u64 parent, const char *name, u32 mode,
	     const struct fs_cred *cred, struct stat *ret_st)
{
	struct inode_spec spec = spec_of((mode & 07777) | S_IFDIR, cred);

	return create_and_stat(fs, parent, name, &spec, NULL, ret_st);
}

int fs_symlink(struct fs *fs, u64 parent, const char *name, const char *target,
	       const struct fs_cred *cred, struct stat *ret_st)
{
	struct inode_spec spec = spec_of(S_IFLNK, cred);

	if (!*target)
		return -ENOENT;
	if (strlen(target) > FS_SYMLINK_MAX)
		return -ENAMETOOLONG;

	spec.mode = S_IFLNK | 0777;
	spec.target = target;
	return create_and_stat(fs, parent, name, &spec, NULL, ret_st);
}

int fs_create(struct fs *fs, u64 parent, const char *name, u32 mode, int flags,
	      const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	      u64 *ret_fh)
{
	struct inode_spec spec = spec_of((mode & 07777) | S_IFREG, cred);
	struct opening o = {flags, pid, ret_fh};

	return create_and_stat(fs, parent, name, &spec, &o, ret_st);
}

/* Its attributes wait for its first name. Context: dir->rwsem held. */
static int nameless_heir(struct inode *dir, struct inode_spec *spec,
			 const struct opening *o, struct inode **ret)
{
	struct heritage h = {0};
	struct inode *inode = NULL;
	struct ns_change ch;
	int err;

	change_init(&ch, dir->fs);
	spec->now = ch.now;
	spec->nameless = true;
	err = inherit(dir, spec, &h);
	if (!err)
		err = inode_new(dir->fs, spec, &inode);
	if (!err)
		err = heritage_prepare(&h, inode);
	if (!err && h.access_op)
		err = xattr_may_park(inode, h.access.len);
	if (!err)
		err = open_new(inode, o);
	if (!err) {
		change_begin(&ch);
		log_heritage(&ch, inode, &h);
		change_end(&ch);
		*ret = inode;
	} else if (inode) {
		inode_discard(inode);
	}
	heritage_done(dir->fs, &h);
	change_done(&ch);
	return err;
}

int fs_tmpfile(struct fs *fs, u64 parent, u32 mode, int flags,
	       const struct fs_cred *cred, pid_t pid, struct stat *ret_st,
	       u64 *ret_fh)
{
	struct inode_spec spec = spec_of((mode & 07777) | S_IFREG, cred);
	struct opening o = {flags, pid, ret_fh};
	struct inode *dir = NULL, *inode = NULL;
	int err;

	err = fs_may_change(fs, false);
	if (!err)
		err = namei_get_dir(fs, parent, &dir);
	if (err)
		return err;
	err = lookup_reserve(fs);
	if (err)
		goto out_put;

	down_read(&dir->rwsem);
	err = dir->nlink ? inode_may_add_to(dir) : -ENOENT;
	if (!err)
		err = nameless_heir(dir, &spec, &o, &inode);
	up_read(&dir->rwsem);
	if (err) {
		lookup_unreserve(fs);
	} else {
		lookup_take(fs, inode);
		inode_stat(inode, ret_st);
		inode_put(inode);
	}
out_put:
	inode_put(dir);
	return err;
}

/* ---- another name ---- */

static void link_in_stop(struct ns_change *ch, struct inode *dir,
			 struct inode *inode)
{
	bool first = !inode->nlink;

	namei_touch(ch, inode, 1);
	if (first) {
		/* O_TMPFILE's first name: a commit point */
		log_inode_create(ch, inode);
		if (namei_commit_point(inode))
			oplist_add_dirty(&ch->fs->ops, inode);
	} else {
		log_inode(ch, inode);
	}
	namei_touch_dir(ch, dir, 0);
	log_name(ch, 0, inode->ino, inode->type, namei_new_id(ch->fs), true);
}

/* Context: both rwsems held exclusive. */
static int link_locked(struct ns_change *ch, struct inode *dir,
		       const char *name, struct inode *inode)
{
	int err;

	err = may_add(dir, name, false);
	if (err)
		return err;
	if (!inode->nlink && !inode->linkable)
		return -ENOENT;
	if (inode->nlink >= FS_LINK_MAX)
		return -EMLINK;
	err = inode_may_change(inode);
	if (err)
		return err;
	err = change_inodes(ch, 2);
	if (!err)
		err = change_name(ch, dir->ino, name);
	if (err)
		return err;

	change_begin(ch);
	link_in_stop(ch, dir, inode);
	change_end(ch);
	return 0;
}

static int link_inode(struct fs *fs, struct inode *inode, u64 parent,
		      const char *name)
{
	struct inode *dir = NULL;
	struct ns_change ch;
	int err;

	err = namei_get_dir(fs, parent, &dir);
	if (err)
		return err;

	change_init(&ch, fs);
	down_write(&dir->rwsem);
	down_write_nested(&inode->rwsem);
	err = link_locked(&ch, dir, name, inode);
	up_write(&inode->rwsem);
	up_write(&dir->rwsem);
	change_done(&ch);
	inode_put(dir);
	return err;
}

int fs_link(struct fs *fs, u64 ino, u64 parent, const char *name,
	    struct stat *ret_st)
{
	struct inode *inode = NULL;
	int err;

	err = namei_check(name);
	if (!err)
		err = fs_may_change(fs, false);
	if (!err)
		err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;
	err = inode_is_dir(inode) ? -EPERM : lookup_reserve(fs);
	if (err)
		goto out_put;

	err = link_inode(fs, inode, parent, name);
	if (err) {
		lookup_unreserve(fs);
	} else {
		lookup_take(fs, inode);
		inode_stat(inode, ret_st);
	}
out_put:
	inode_put(inode);
	return err;
}

/* ---- removal ---- */

/* Context: both rwsems held exclusive. */
static int remove_locked(struct ns_change *ch, struct inode *dir,
			 const char *name, struct inode *inode)
{
	int err;

	err = inode_may_remove(dir, inode);
	if (err)
		return err;
	if (inode_is_dir(inode)) {
		err = namei_any(inode);
		if (err)
			return err > 0 ? -ENOTEMPTY : err;
	}
	err = inode_prepare_delete(inode);
	if (!err)
		err = change_inodes(ch, 2);
	if (!err)
		err = change_name(ch, dir->ino, name);
	if (err)
		return err;

	change_begin(ch);
	log_name_gone(ch, 0);
	namei_touch_dir(ch, dir, inode_is_dir(inode) ? -1 : 0);
	namei_unlink(ch, inode);
	change_end(ch);
	return 0;
}

/* Context: dir->rwsem held exclusive. */
static int remove_from(struct ns_change *ch, struct inode *dir,
		       const char *name, bool folder, struct inode **ret)
{
	struct inode *inode = NULL;
	struct entry e;
	int err;

	err = namei_find(dir, name, &e);
	if (err)
		return err;
	if (folder != S_ISDIR(e.type))
		return folder ? -ENOTDIR : -EISDIR;
	err = inode_get_ino(dir->fs, e.ino, &inode);
	if (err)
		return err;

	down_write_nested(&inode->rwsem);
	err = remove_locked(ch, dir, name, inode);
	up_write(&inode->rwsem);
	*ret = inode;
	return err;
}

static int remove_name(struct fs *fs, u64 parent, const char *name, bool folder)
{
	struct inode *dir = NULL, *inode = NULL;
	struct ns_change ch;
	int err;

	err = namei_check(name);
	if (!err && namei_is_dots(name))
		err = name[1] ? -ENOTEMPTY : -EINVAL;
	if (!err)
		err = fs_may_change(fs, true);
	if (!err)
		err = namei_get_dir(fs, parent, &dir);
	if (err)
		return err;

	change_init(&ch, fs);
	down_write(&dir->rwsem);
	err = remove_from(&ch, dir, name, folder, &inode);
	up_write(&dir->rwsem);
	change_done(&ch);
	inode_put(inode);
	inode_put(dir);
	return err;
}

int fs_unlink(struct fs *fs, u64 parent, const char *name)
{
	return remove_name(fs, parent, name, false);
}

int fs_rmdir(struct fs *fs, u64 parent, const char *name)
{
	return remove_name(fs, parent, name, true);
}

/* ---- reading links and paths ---- */

int fs_readlink(struct fs *fs, u64 ino, char *buf, size_t size)
{
	struct inode *inode = NULL;
	struct meta_reader *r = NULL;
	int err;

	err = inode_get_ino(fs, ino, &inode);
	if (err)
		return err;

	if (!S_ISLNK(inode->type)) {
		err = -EINVAL;
	} else if (inode->target) {
		size_t len = strlen(inode->target);

		if (len >= size)
			err = -ENAMETOOLONG;
		else
			memcpy(buf, inode->target, len + 1);
	} else {
		err = meta_reader_get(fs->volume->meta, &r);
		if (!err) {
			err = meta_symlink_get(r, ino, buf, size);
			meta_reader_put(r);
		}
	}
	if (!err)
		inode_accessed(inode);
	inode_put(inode);
	return err;
}

/* Put "/name" before what @buf holds from *pos on. */
static int prepend(char *buf, size_t *pos, const struct dentry_row *row)
{
	if (*pos < row->len + 1u)
		return -ENAMETOOLONG;

	*pos -= row->len;
	memcpy(buf + *pos, row->name, row->len);
	buf[--*pos] = '/';
	return 0;
}

int fs_path(struct fs *fs, u64 ino, char *buf, size_t size)
{
	struct dentry_row row;
	size_t pos = size - 1;
	int err = 0;

	if (size < 2)
		return -ENAMETOOLONG;

	buf[pos] = '\0';
	while (!err && ino != FS_ROOT_INO) {
		err = name_of(fs, ino, &ino, &row);
		if (!err)
			err = prepend(buf, &pos, &row);
	}
	if (err)
		return err;
	if (pos == size - 1)
		buf[--pos] = '/';
	memmove(buf, buf + pos, size - pos);
	return 0;
}

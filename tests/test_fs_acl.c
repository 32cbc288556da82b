/* SPDX-License-Identifier: MIT */
/* POSIX ACLs: their form, the mode that goes with them, inheritance. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "acl.h"
#include "fs_util.h"
#include "tmpdir.h"

#define ROOT FS_ROOT_INO
#define NR_MAX 8

static struct test_fs t;

static void setup(void)
{
	tmpdir_make();
	test_fs_init(&t);
	test_fs_open(&t);
}

static void teardown(void)
{
	ck_assert_int_eq(test_fs_close(&t), 0);
	test_fs_check_volume();
	tmpdir_remove();
}

/* ---- lists: "u:rwx U5:r-- g:r-x G7:rw- m:rwx o:---" ---- */

struct list {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[NR_MAX];
	size_t len;
};

static u16 tag_of(char c)
{
	static const struct {
		char c;
		u16 tag;
	} tags[] = {{'u', ACL_USER_OBJ}, {'U', ACL_USER}, {'g', ACL_GROUP_OBJ},
		    {'G', ACL_GROUP},	 {'m', ACL_MASK}, {'o', ACL_OTHER}};

	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		if (tags[i].c == c)
			return tags[i].tag;
	}
	return 0x77;
}

static struct list make_list(const char *text)
{
	struct list l = {.header.a_version = POSIX_ACL_XATTR_VERSION,
			 .len = sizeof(l.header)};

	for (size_t i = 0; *text; i++) {
		struct posix_acl_xattr_entry *e = &l.entries[i];
		char *end;

		ck_assert_uint_lt(i, NR_MAX);
		e->e_tag = tag_of(*text);
		e->e_id = (u32)strtoul(text + 1, &end, 10);
		e->e_perm = (u16)((end[1] == 'r') << 2 | (end[2] == 'w') << 1 |
				  (end[3] == 'x'));
		l.len += sizeof(*e);
		text = end + 4;
		text += *text == ' ';
	}
	return l;
}

static bool same_list(const struct list *a, const char *text)
{
	struct list b = make_list(text);

	return a->len == b.len && !memcmp(a, &b, a->len);
}

START_TEST(only_whole_lists_in_order_are_lists)
{
	static const struct {
		const char *text;
		int result;
	} table[] = {
		{"u:rwx g:r-x o:---", 0},
		{"u:rwx U5:r-- g:r-x m:rwx o:---", 0},
		{"u:rwx U5:r-- U6:r-- g:r-x G7:rw- G8:--- m:rwx o:---", 0},
		{"u:rwx g:r-x m:rwx o:---", 0},
		{"", -EINVAL},
		{"u:rwx g:r-x", -EINVAL},
		{"u:rwx o:r-x", -EINVAL},
		{"g:rwx o:r-x", -EINVAL},
		{"u:rwx U5:r-- g:r-x o:---", -EINVAL},
		{"u:rwx u:rwx g:r-x o:---", -EINVAL},
		{"u:rwx g:r-x o:--- o:---", -EINVAL},
		{"g:r-x u:rwx o:---", -EINVAL},
		{"u:rwx g:r-x m:rwx o:--- z:r--", -EINVAL},
	};
	struct list l;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		l = make_list(table[i].text);
		ck_assert_int_eq(acl_check(&l, l.len), table[i].result);
	}

	l = make_list("u:rwx g:r-x o:---");
	for (size_t len = 0; len < l.len; len++)
		ck_assert_int_eq(acl_check(&l, len), -EINVAL);
	l.entries[1].e_perm = 8;
	ck_assert_int_eq(acl_check(&l, l.len), -EINVAL);
	l = make_list("u:rwx g:r-x o:---");
	l.header.a_version = 3;
	ck_assert_int_eq(acl_check(&l, l.len), -EOPNOTSUPP);
}
END_TEST

START_TEST(the_mask_stands_for_the_group)
{
	struct list l = make_list("u:rwx U5:r-- g:--x m:rw- o:--x");

	ck_assert_uint_eq(acl_mode(&l, l.len), 0761);
	ck_assert(acl_is_extended(&l, l.len));
	acl_chmod(&l, l.len, 04512);
	ck_assert(same_list(&l, "u:r-x U5:r-- g:--x m:--x o:-w-"));

	l = make_list("u:rwx g:r-x o:---");
	ck_assert_uint_eq(acl_mode(&l, l.len), 0750);
	ck_assert(!acl_is_extended(&l, l.len));
	ck_assert_uint_eq(acl_create(&l, l.len, 02666), 02640);
	ck_assert(same_list(&l, "u:rw- g:r-- o:---"));
}
END_TEST

/* ---- of inodes ---- */

static u32 mode_of(u64 ino)
{
	struct stat st;

	test_stat(&t, ino, &st);
	return st.st_mode & 07777;
}

static int set(u64 ino, const char *name, const char *text, int flags)
{
	struct list l = make_list(text);

	return fs_setxattr(t.fs, ino, name, &l, l.len, flags);
}

static bool has(u64 ino, const char *name, const char *text)
{
	struct list l;
	ssize_t n =
		fs_getxattr(t.fs, ino, name, &l, offsetof(struct list, len));

	ck_assert(n == -ENODATA || n >= 0);
	if (n < 0)
		return !text;
	l.len = (size_t)n;
	return text && same_list(&l, text);
}

static void chmod_to(u64 ino, u32 mode)
{
	struct stat attr = {.st_mode = mode}, st;

	ck_assert_int_eq(fs_setattr(t.fs, ino, 0, &attr, FS_SET_MODE, &st), 0);
}

START_TEST(an_access_list_sets_the_mode_and_follows_it)
{
	u64 f = test_create(&t, ROOT, "f", NULL);

	chmod_to(f, 02644);
	ck_assert(has(f, ACL_XATTR_ACCESS, NULL));
	ck_assert_int_eq(
		set(f, ACL_XATTR_ACCESS, "u:rwx U5:r-- g:--x m:rw- o:--x", 0),
		0);
	ck_assert_uint_eq(mode_of(f), 02761);
	test_fs_reopen(&t);
	ck_assert_uint_eq(mode_of(f), 02761);
	ck_assert(has(f, ACL_XATTR_ACCESS, "u:rwx U5:r-- g:--x m:rw- o:--x"));
	chmod_to(f, 02600);
	ck_assert(has(f, ACL_XATTR_ACCESS, "u:rw- U5:r-- g:--x m:--- o:---"));

	ck_assert_int_eq(set(f, ACL_XATTR_ACCESS,
			     "u:rwx U5:r-- g:--x m:rw- o:--x",
			     FS_XATTR_KILL_SGID),
			 0);
	ck_assert_uint_eq(mode_of(f), 0761);

	/* what the mode can say alone needs no list */
	ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, "u:rw- g:r-- o:r--", 0), 0);
	ck_assert_uint_eq(mode_of(f), 0644);
	ck_assert(has(f, ACL_XATTR_ACCESS, NULL));
	test_fs_reopen(&t);
	ck_assert(has(f, ACL_XATTR_ACCESS, NULL));
	ck_assert_int_eq(fs_removexattr(t.fs, f, ACL_XATTR_ACCESS), 0);
	ck_assert_uint_eq(mode_of(f), 0644);
}
END_TEST

START_TEST(lists_are_refused_where_they_mean_nothing)
{
	u64 f = test_create(&t, ROOT, "f", NULL);
	struct stat st;

	ck_assert_int_eq(set(f, ACL_XATTR_DEFAULT, "u:rw- g:r-- o:r--", 0),
			 -EACCES);
	ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, "u:rw- g:r--", 0), -EINVAL);
	ck_assert_int_eq(fs_symlink(t.fs, ROOT, "l", "f", &test_cred, &st), 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(
		set(st.st_ino, ACL_XATTR_ACCESS, "u:rw- g:r-- o:r--", 0),
		-EOPNOTSUPP);
	ck_assert_uint_eq(mode_of(f), 0644);
}
END_TEST

static u64 create_as(u64 dir, const char *name, u32 mode, u32 umask)
{
	struct fs_cred cred = {.uid = 1, .gid = 2, .umask = umask};
	struct stat st;
	u64 fh;

	ck_assert_int_eq(
		fs_create(t.fs, dir, name, mode, O_RDWR, &cred, 1, &st, &fh),
		0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	fs_forget(t.fs, st.st_ino, 1);
	return st.st_ino;
}

static u64 mkdir_as(u64 dir, const char *name, u32 mode, u32 umask)
{
	struct fs_cred cred = {.uid = 1, .gid = 2, .umask = umask};
	struct stat st;

	ck_assert_int_eq(fs_mkdir(t.fs, dir, name, mode, &cred, &st), 0);
	fs_forget(t.fs, st.st_ino, 1);
	return st.st_ino;
}

#define DEFAULT_LIST "u:rwx U5:rwx g:r-x m:rwx o:---"

START_TEST(a_default_list_is_inherited_and_counts_instead_of_the_umask)
{
	u64 d = test_mkdir(&t, ROOT, "d"), f, e, g;

	ck_assert_uint_eq(mode_of(create_as(d, "before", 0666, 027)), 0640);
	ck_assert_int_eq(set(d, ACL_XATTR_DEFAULT, DEFAULT_LIST, 0), 0);
	ck_assert_uint_eq(mode_of(d), 0755);

	f = create_as(d, "f", 0666, 077);
	ck_assert_uint_eq(mode_of(f), 0660);
	ck_assert(has(f, ACL_XATTR_ACCESS, "u:rw- U5:rwx g:r-x m:rw- o:---"));
	ck_assert(has(f, ACL_XATTR_DEFAULT, NULL));

	e = mkdir_as(d, "e", 0777, 077);
	ck_assert_uint_eq(mode_of(e), 0770);
	ck_assert(has(e, ACL_XATTR_ACCESS, DEFAULT_LIST));
	ck_assert(has(e, ACL_XATTR_DEFAULT, DEFAULT_LIST));
	g = create_as(e, "g", 0600, 0);
	ck_assert_uint_eq(mode_of(g), 0600);

	test_fs_reopen(&t);
	ck_assert(has(f, ACL_XATTR_ACCESS, "u:rw- U5:rwx g:r-x m:rw- o:---"));
	ck_assert(has(e, ACL_XATTR_DEFAULT, DEFAULT_LIST));
	ck_assert_uint_eq(mode_of(create_as(e, "h", 0666, 077)), 0660);

	ck_assert_int_eq(fs_removexattr(t.fs, e, ACL_XATTR_DEFAULT), 0);
	ck_assert_int_eq(fs_removexattr(t.fs, e, ACL_XATTR_DEFAULT), 0);
	ck_assert_uint_eq(mode_of(create_as(e, "i", 0666, 077)), 0600);
}
END_TEST

START_TEST(a_default_list_that_a_mode_can_say_leaves_no_access_list)
{
	u64 d = test_mkdir(&t, ROOT, "d"), f;

	ck_assert_int_eq(set(d, ACL_XATTR_DEFAULT, "u:rw- g:r-- o:---", 0), 0);
	f = create_as(d, "f", 0777, 0);
	ck_assert_uint_eq(mode_of(f), 0640);
	ck_assert(has(f, ACL_XATTR_ACCESS, NULL));
}
END_TEST

START_TEST(a_nameless_file_brings_its_list_along_when_it_is_linked)
{
	u64 d = test_mkdir(&t, ROOT, "d"), fh;
	struct stat st, linked;

	ck_assert_int_eq(set(d, ACL_XATTR_DEFAULT, DEFAULT_LIST, 0), 0);
	ck_assert_int_eq(
		fs_tmpfile(t.fs, d, 0666, O_RDWR, &test_cred, 1, &st, &fh), 0);
	ck_assert_int_eq(fs_link(t.fs, st.st_ino, d, "f", &linked), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	fs_forget(t.fs, st.st_ino, 2);
	test_fs_reopen(&t);
	ck_assert_uint_eq(mode_of(st.st_ino), 0660);
	ck_assert(has(st.st_ino, ACL_XATTR_ACCESS,
		      "u:rw- U5:rwx g:r-x m:rw- o:---"));

	/* ... and takes it away when it is not */
	ck_assert_int_eq(
		fs_tmpfile(t.fs, d, 0666, O_RDWR, &test_cred, 1, &st, &fh), 0);
	ck_assert_int_eq(fs_release(t.fs, fh), 0);
	fs_forget(t.fs, st.st_ino, 1);
	ck_assert_int_eq(fs_getattr(t.fs, st.st_ino, &st), -ENOENT);
}
END_TEST

#define NR_NAMED 2000 /* 16 KiB of list */
#define NR_NAMELESS_MAX 512

/* A long default list: u:rwx, many named users, g, m, o. */
static void *long_list(size_t *ret_len)
{
	const u32 nr = NR_NAMED + 4;
	struct posix_acl_xattr_header *h;
	struct posix_acl_xattr_entry *e;

	*ret_len = sizeof(*h) + nr * sizeof(*e);
	h = malloc(*ret_len);
	ck_assert_ptr_nonnull(h);
	h->a_version = POSIX_ACL_XATTR_VERSION;
	e = (void *)(h + 1);
	for (u32 i = 0; i < nr; i++)
		e[i] = (struct posix_acl_xattr_entry){ACL_USER, 4, i};
	e[0].e_tag = ACL_USER_OBJ;
	e[nr - 3].e_tag = ACL_GROUP_OBJ;
	e[nr - 2].e_tag = ACL_MASK;
	e[nr - 1].e_tag = ACL_OTHER;
	return h;
}

/* Until they have a name they wait in memory. */
START_TEST(nameless_files_inherit_so_many_long_lists_and_no_more)
{
	static u64 fhs[NR_NAMELESS_MAX], inos[NR_NAMELESS_MAX];
	u64 d = test_mkdir(&t, ROOT, "d");
	struct stat st;
	size_t len;
	void *list = long_list(&len);
	unsigned nr;
	int err = 0;

	ck_assert_int_eq(fs_setxattr(t.fs, d, ACL_XATTR_DEFAULT, list, len, 0),
			 0);
	free(list);
	for (nr = 0; nr < NR_NAMELESS_MAX; nr++) {
		err = fs_tmpfile(t.fs, d, 0666, O_RDWR, &test_cred, 1, &st,
				 &fhs[nr]);
		if (err)
			break;
		inos[nr] = st.st_ino;
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_ge(nr, 8);
	/* with a name they take no such room */
	(void)create_as(d, "f", 0666, 0);
	while (nr--) {
		ck_assert_int_eq(fs_release(t.fs, fhs[nr]), 0);
		fs_forget(t.fs, inos[nr], 1);
	}
	ck_assert_int_eq(
		fs_tmpfile(t.fs, d, 0666, O_RDWR, &test_cred, 1, &st, &fhs[0]),
		0);
	ck_assert_int_eq(fs_release(t.fs, fhs[0]), 0);
	fs_forget(t.fs, st.st_ino, 1);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fs_acl");
	TCase *tc = tcase_create("acl");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, only_whole_lists_in_order_are_lists);
	tcase_add_test(tc, the_mask_stands_for_the_group);
	tcase_add_test(tc, an_access_list_sets_the_mode_and_follows_it);
	tcase_add_test(tc, lists_are_refused_where_they_mean_nothing);
	tcase_add_test(
		tc,
		a_default_list_is_inherited_and_counts_instead_of_the_umask);
	tcase_add_test(
		tc, a_default_list_that_a_mode_can_say_leaves_no_access_list);
	tcase_add_test(tc,
		       a_nameless_file_brings_its_list_along_when_it_is_linked);
	tcase_add_test(tc,
		       nameless_files_inherit_so_many_long_lists_and_no_more);
	suite_add_tcase(s, tc);
	return s;
}

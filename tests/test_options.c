/* SPDX-License-Identifier: MIT */
/* The command line: src/options.h. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "options.h"
#include "test.h"

#define RAM ((u64)16 << 30)
#define MAX_WORDS 16

static struct options opt;
static char said[256];

static void teardown(void)
{
	options_done(&opt);
}

/* Parse the words of @line, one blank between. */
static int parse_with(const char *line, u64 ram)
{
	char copy[512];
	char *words[MAX_WORDS];
	char *save = NULL;
	int argc = 0;

	options_done(&opt);
	said[0] = '\0';
	ck_assert_uint_lt(strlen(line), sizeof(copy));
	(void)snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word;
	     word = strtok_r(NULL, " ", &save))
		words[argc++] = word;
	words[argc] = NULL;
	return options_parse(&opt, argc, words, ram, said, sizeof(said));
}

static int parse(const char *line)
{
	return parse_with(line, RAM);
}

static void parses(const char *line)
{
	int ret = parse(line);

	ck_assert_msg(!ret, "%s: %d, %s", line, ret, said);
}

START_TEST(a_volume_and_a_mountpoint_are_enough)
{
	parses("foliofs v m");
	ck_assert_str_eq(opt.volume, "v");
	ck_assert_str_eq(opt.mountpoint, "m");
	ck_assert(!opt.create && !opt.ro && !opt.foreground && !opt.debug);
	ck_assert_uint_eq(opt.cache_size, (u64)2 << 30);
	ck_assert_uint_eq(opt.commit, 5);
	ck_assert_int_eq(opt.cache, CACHE_MODE_KERNEL);
	ck_assert_uint_eq(opt.dirty_bytes, OPTION_UNSET);
	ck_assert_uint_eq(opt.swap_size, OPTION_UNSET);
	ck_assert_ptr_null(opt.fsname);
	ck_assert_ptr_null(opt.kernel);
}
END_TEST

START_TEST(the_default_cache_is_an_eighth_of_memory_within_bounds)
{
	ck_assert_int_eq(parse_with("foliofs v m", (u64)1 << 40), 0);
	ck_assert_uint_eq(opt.cache_size, (u64)4 << 30);
	ck_assert_int_eq(parse_with("foliofs v m", (u64)256 << 20), 0);
	ck_assert_uint_eq(opt.cache_size, (u64)64 << 20);
	ck_assert_int_eq(parse_with("foliofs v m", (u64)32 << 20), 0);
	ck_assert_uint_eq(opt.cache_size, (u64)32 << 20);
}
END_TEST

START_TEST(every_option_arrives_where_it_belongs)
{
	parses("foliofs -o create,size=1G,cache_size=10%,cache=writeback "
	       "-o "
	       "commit=0,swap=/fast/s,swap_size=max,dirty_background_bytes=1M "
	       "v "
	       "-odirty_bytes=2M m -o dirty_expire=7,swappiness=200 "
	       "-o readahead=0,allow_other,auto_unmount,fsname=a\\,b\\\\c");
	ck_assert(opt.create && opt.allow_other && opt.auto_unmount);
	ck_assert(!opt.allow_root);
	ck_assert_uint_eq(opt.size, (u64)1 << 30);
	ck_assert_uint_ge(opt.cache_size, RAM / 10 - 100);
	ck_assert_uint_le(opt.cache_size, RAM / 10);
	ck_assert_int_eq(opt.cache, CACHE_MODE_WRITEBACK);
	ck_assert_uint_eq(opt.commit, 0);
	ck_assert_uint_eq(opt.swap_size, UINT64_MAX);
	ck_assert_str_eq(opt.swap, "/fast/s");
	ck_assert_uint_eq(opt.dirty_background_bytes, 1 << 20);
	ck_assert_uint_eq(opt.dirty_bytes, 2 << 20);
	ck_assert_uint_eq(opt.dirty_expire, 7);
	ck_assert_uint_eq(opt.swappiness, 200);
	ck_assert_uint_eq(opt.readahead, 0);
	ck_assert_str_eq(opt.fsname, "a,b\\c");
	ck_assert_str_eq(opt.mountpoint, "m");

	parses("foliofs v m -o cache=own");
	ck_assert_int_eq(opt.cache, CACHE_MODE_OWN);
	parses("foliofs v m -o cache=own,cache=kernel");
	ck_assert_int_eq(opt.cache, CACHE_MODE_KERNEL);
}
END_TEST

START_TEST(generic_options_of_mount_are_passed_on_or_dropped)
{
	parses("foliofs v m -o rw,nosuid,nodev,noexec,sync,dirsync,noatime,"
	       "relatime,atime,noauto,user,_netdev,nofail,defaults,"
	       "x-systemd.automount,x-gvfs-show,comment=x,"
	       "default_permissions,suid,dev,exec");
	ck_assert_str_eq(opt.kernel, "nosuid,nodev,noexec,sync,dirsync,"
				     "noatime,suid,dev,exec");
	ck_assert(!opt.ro);

	parses("foliofs v m -o ro,rw");
	ck_assert(!opt.ro);
	parses("foliofs v m -o rw,,ro,");
	ck_assert(opt.ro);
}
END_TEST

START_TEST(a_remount_has_the_flags_that_were_given_last)
{
	parses("foliofs v m -o remount,ro,noatime,dev,cache_size=1G");
	ck_assert(opt.remount && opt.ro);
	ck_assert_uint_eq(opt.flags_set, MS_NOATIME);
	ck_assert_uint_eq(opt.flags_cleared,
			  MS_NODEV | MS_NOATIME | MS_RELATIME | MS_STRICTATIME);
	parses("foliofs v m -o rw,noatime,relatime,nosuid,suid,nodev,"
	       "user_id=0,group_id=0,default_permissions,allow_other,remount");
	ck_assert(opt.remount && !opt.ro);
	ck_assert_uint_eq(opt.flags_set, MS_RELATIME | MS_NODEV);
	ck_assert(opt.flags_cleared & MS_NOSUID);
}
END_TEST

START_TEST(flags_stand_anywhere)
{
	parses("foliofs v m -f");
	ck_assert(opt.foreground && !opt.debug);
	parses("foliofs -d v m");
	ck_assert(opt.foreground && opt.debug);
	parses("foliofs v --debug m");
	ck_assert(opt.debug);
	parses("foliofs -fd -- -v -m");
	ck_assert(opt.debug);
	ck_assert_str_eq(opt.volume, "-v");
	ck_assert_str_eq(opt.mountpoint, "-m");
}
END_TEST

START_TEST(help_and_version_need_no_operands)
{
	parses("foliofs --help");
	ck_assert(opt.help);
	parses("foliofs -h");
	ck_assert(opt.help);
	parses("foliofs --version");
	ck_assert(opt.version);
	parses("foliofs -V");
	ck_assert(opt.version);
}
END_TEST

START_TEST(mount_speaks_to_its_helper_in_another_way)
{
	parses("/sbin/mount.foliofs v m -s -n -v -o rw,cache_size=1G -t "
	       "fuse.foliofs");
	ck_assert(!opt.foreground && !opt.fake);
	ck_assert_uint_eq(opt.cache_size, (u64)1 << 30);
	parses("mount.foliofs v m -f");
	ck_assert(opt.fake && !opt.foreground);
	parses("mount.foliofs v m --foreground");
	ck_assert(!opt.fake && opt.foreground);
	parses("mount.fuse.foliofs v m -r");
	ck_assert(opt.ro);
	parses("mount.foliofs v m -rw");
	ck_assert(!opt.ro);
}
END_TEST

static const struct {
	const char *line;
	const char *says;
} bad[] = {
	{"foliofs", "a volume and a mountpoint are wanted"},
	{"foliofs v", "a mountpoint is wanted behind v"},
	{"foliofs a b c", "too many operands: c"},
	{"foliofs -x v m", "unknown option: -x"},
	{"foliofs -fx v m", "unknown option: -x"},
	{"foliofs --nonsense v m", "unknown option: --nonsense"},
	{"foliofs v m --help=3", "unknown option"},
	{"foliofs v m -o", "option -o: a value is wanted"},
	{"foliofs -s v m", "unknown option: -s"},
	{"foliofs v m -o nonsense", "unknown option: nonsense"},
	{"foliofs v m -o atomic=1", "atomic takes no value"},
	{"foliofs v m -o swap", "swap: a value is wanted"},
	{"foliofs v m -o swap=", "swap: a value is wanted"},
	{"foliofs v m -o cache=Own", "cache=Own: unknown"},
	{"foliofs v m -o cache", "cache: a value is wanted"},
	{"foliofs v m -o cache=", "cache=: unknown"},
	{"foliofs v m -o Create", "unknown option: Create"},
	{"foliofs v m -o create=1", "create takes no value"},
	{"foliofs v m -o nodev=1", "unknown option: nodev"},
	{"foliofs v m -o fsname=", "fsname: a value is wanted"},
	{"foliofs v m -o fsname", "fsname: a value is wanted"},
	{"foliofs v m -o subtype=x", "unknown option: subtype"},
	{"foliofs v m -o max_read=1", "unknown option: max_read"},
	{"foliofs v m -o cache_size", "cache_size: a value is wanted"},
	{"foliofs v m -o cache_size=", "cache_size=: a size like 512M or"},
	{"foliofs v m -o cache_size=64MB", "a size like 512M or a percentage"},
	{"foliofs v m -o cache_size=-1", "cache_size=-1: a size"},
	{"foliofs v m -o cache_size=101%", "cache_size=101%: a size"},
	{"foliofs v m -o cache_size=0", "cache_size=0: must be at least 256K"},
	{"foliofs v m -o cache_size=1K", "must be at least 256K"},
	{"foliofs v m -o cache_size=max", "must be at most 4194304T"},
	{"foliofs v m -o cache_size=32G", "more than this machine's memory"},
	{"foliofs v m -o cache_size=99999999T", "a size like 512M"},
	{"foliofs v m -o size=1G", "size goes together with create"},
	{"foliofs v m -o create,size=50%", "size=50%: a size like 512M is"},
	{"foliofs v m -o create,size=5", "size=5: must be at least 1M"},
	{"foliofs v m -o create,ro", "create and ro exclude each other"},
	{"foliofs v m -o commit=x", "commit=x: a number of seconds is wanted"},
	{"foliofs v m -o commit=5s", "a number of seconds is wanted"},
	{"foliofs v m -o commit=86401", "commit=86401: must be at most 86400"},
	{"foliofs v m -o dirty_expire=", "a number of seconds is wanted"},
	{"foliofs v m -o swappiness=201", "must be at most 200"},
	{"foliofs v m -o swappiness=1.5", "a number is wanted"},
	{"foliofs v m -o readahead=65M", "must be at most 64M"},
	{"foliofs v m -o readahead=1%", "readahead=1%: a size like 512M is"},
	{"foliofs v m -o dirty_bytes=1M,dirty_background_bytes=2M",
	 "dirty_background_bytes is more than dirty_bytes"},
	{"foliofs v m -o allow_other,allow_root", "exclude each other"},
	{"mount.foliofs v m -x", "unknown option: -x"},
	{"mount.foliofs v m -d", "unknown option: -d"},
};

START_TEST(what_is_wrong_is_refused_and_named)
{
	ck_assert_int_eq(parse(bad[_i].line), -EINVAL);
	ck_assert_msg(strstr(said, bad[_i].says), "%s: said '%s'", bad[_i].line,
		      said);
	ck_assert_ptr_null(strchr(said, '\n'));
}
END_TEST

START_TEST(an_empty_operand_is_refused)
{
	char prog[] = "foliofs", empty[] = "";
	char *words[] = {prog, empty, NULL};

	ck_assert_int_eq(options_parse(&opt, 2, words, RAM, said, sizeof(said)),
			 -EINVAL);
	ck_assert_str_eq(said, "an empty name is no volume");
}
END_TEST

START_TEST(dirty_thresholds_of_zero_are_computed_and_never_conflict)
{
	parses("foliofs v m -o dirty_bytes=0,dirty_background_bytes=1M");
}
END_TEST

START_TEST(help_names_every_option)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(out);
	options_help(out);
	ck_assert_int_eq(fclose(out), 0);
	for (size_t i = 0; options_name(i); i++)
		ck_assert_msg(strstr(text, options_name(i)), "%s",
			      options_name(i));
	ck_assert_ptr_nonnull(strstr(text, "cache_size=SIZE|%"));
	free(text);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("options", &tc);

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, a_volume_and_a_mountpoint_are_enough);
	tcase_add_test(tc,
		       the_default_cache_is_an_eighth_of_memory_within_bounds);
	tcase_add_test(tc, every_option_arrives_where_it_belongs);
	tcase_add_test(tc, generic_options_of_mount_are_passed_on_or_dropped);
	tcase_add_test(tc, a_remount_has_the_flags_that_were_given_last);
	tcase_add_test(tc, flags_stand_anywhere);
	tcase_add_test(tc, help_and_version_need_no_operands);
	tcase_add_test(tc, mount_speaks_to_its_helper_in_another_way);
	tcase_add_loop_test(tc, what_is_wrong_is_refused_and_named, 0,
			    (int)ARRAY_SIZE(bad));
	tcase_add_test(tc, an_empty_operand_is_refused);
	tcase_add_test(
		tc, dirty_thresholds_of_zero_are_computed_and_never_conflict);
	tcase_add_test(tc, help_names_every_option);
	return suite;
}

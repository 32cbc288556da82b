/* SPDX-License-Identifier: MIT */
/* What is mounted: src/mountinfo.h. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mountinfo.h"
#include "test.h"

static char dir[] = "mountinfo.XXXXXX";
static char file[64];

static const char lines[] =
	"22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n"
	"nonsense\n"
	"\n"
	"30 22 0:45 / /mnt rw,nosuid shared:9 master:3 - fuse.foliofs /v rw\n"
	"31 22 0:46 / /with\\040blank rw - fuse.foliofs /v\\040\\134w rw\n"
	"32 30 0:47 / /mnt rw - tmpfs - rw\n"
	"34 22 0:48 / /flags rw,noexec,noatime,nodiratime - fuse.foliofs /v "
	"ro,lazytime,user_id=0\n"
	"33 22 x:y / /bad rw - tmpfs none rw\n";

static void setup(void)
{
	FILE *out;

	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(file, sizeof(file), "%s/mountinfo", dir);
	out = fopen(file, "w");
	ck_assert_ptr_nonnull(out);
	ck_assert_int_ge(fputs(lines, out), 0);
	ck_assert_int_eq(fclose(out), 0);
}

static void teardown(void)
{
	(void)unlink(file);
	(void)rmdir(dir);
}

START_TEST(the_uppermost_of_two_mounts_is_found)
{
	struct mount_dev dev;

	ck_assert_int_eq(mountinfo_dev(file, "/mnt", &dev), 0);
	ck_assert_uint_eq(dev.major, 0);
	ck_assert_uint_eq(dev.minor, 47);
}
END_TEST

START_TEST(blanks_in_names_are_undone)
{
	struct mount_dev dev;

	ck_assert_int_eq(mountinfo_dev(file, "/with blank", &dev), 0);
	ck_assert_uint_eq(dev.minor, 46);
}
END_TEST

START_TEST(what_is_not_mounted_is_not_found)
{
	struct mount_dev dev;

	ck_assert_int_eq(mountinfo_dev(file, "/mn", &dev), -ENOENT);
	ck_assert_int_eq(mountinfo_dev(file, "/bad", &dev), -ENOENT);
	ck_assert_int_eq(mountinfo_dev("/nonexistent", "/mnt", &dev), -ENOENT);
}
END_TEST

START_TEST(a_mount_of_ours_is_known_by_its_type)
{
	ck_assert_int_eq(mountinfo_is_ours(file, "/with blank"), 0);
	/* under a tmpfs by now */
	ck_assert_int_eq(mountinfo_is_ours(file, "/mnt"), -EINVAL);
	ck_assert_int_eq(mountinfo_is_ours(file, "/nowhere"), -ENOENT);
}
END_TEST

START_TEST(the_mounts_of_this_machine_can_be_read)
{
	struct mount_dev dev;

	ck_assert_int_eq(mountinfo_dev(MOUNTINFO_PATH, "/proc", &dev), 0);
}
END_TEST

static void slurp(const char *name, char *buf, size_t len)
{
	FILE *in = fopen(name, "r");

	ck_assert_ptr_nonnull(in);
	ck_assert_ptr_nonnull(fgets(buf, (int)len, in));
	(void)fclose(in);
}

START_TEST(tuning_goes_on_after_an_error)
{
	struct mount_dev dev = {.major = 0, .minor = 45};
	char bdi[64], knob[128], text[32];

	(void)snprintf(bdi, sizeof(bdi), "%s/0:45", dir);
	(void)snprintf(knob, sizeof(knob), "%s/max_bytes", bdi);
	ck_assert_int_eq(mkdir(bdi, 0700), 0);
	ck_assert_int_eq(fclose(fopen(knob, "w")), 0);
	ck_assert_int_eq(bdi_tune(dir, &dev, 1024, 1 << 20), -ENOENT);
	slurp(knob, text, sizeof(text));
	ck_assert_str_eq(text, "1048576\n");
	(void)unlink(knob);
	(void)rmdir(bdi);
}
END_TEST

START_TEST(flags_are_those_of_the_mount_and_of_the_filesystem)
{
	unsigned long flags = 0;

	ck_assert_int_eq(mountinfo_flags(file, "/flags", &flags), 0);
	ck_assert_uint_eq(flags, MS_NOEXEC | MS_RDONLY | MS_NOATIME |
					 MS_NODIRATIME | MS_LAZYTIME);
	ck_assert_int_eq(mountinfo_flags(file, "/", &flags), 0);
	ck_assert_uint_eq(flags, MS_RELATIME);
	ck_assert_int_eq(mountinfo_flags(file, "/mnt", &flags), 0);
	ck_assert_uint_eq(flags, 0);
	ck_assert_int_eq(mountinfo_flags(file, "/nowhere", &flags), -ENOENT);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("mountinfo", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_uppermost_of_two_mounts_is_found);
	tcase_add_test(tc, a_mount_of_ours_is_known_by_its_type);
	tcase_add_test(tc, blanks_in_names_are_undone);
	tcase_add_test(tc, what_is_not_mounted_is_not_found);
	tcase_add_test(tc, the_mounts_of_this_machine_can_be_read);
	tcase_add_test(tc, flags_are_those_of_the_mount_and_of_the_filesystem);
	tcase_add_test(tc, tuning_goes_on_after_an_error);
	return suite;
}

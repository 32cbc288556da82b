/* SPDX-License-Identifier: MIT */
/* Checks of times, modes and attributes; see posix_check.h. */
#include "config.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/xattr.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "posix_check.h"

/* ---- times ---- */

static void check_times(void)
{
	static const struct timespec times[] = {
		{-1, 999999999},	 {-86400L * 365 * 100, 1},
		{1L << 31, 123456789},	 {(1L << 32) + 5, 987654321},
		{86400L * 365 * 250, 0},
	};
	int fd = make("f");
	struct stat st = stat_of(fd), then;

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		struct timespec ts[2] = {times[i], times[i]};

		ts[1].tv_sec++;
		expect(!futimens(fd, ts));
		st = stat_of(fd);
		expect(st.st_atim.tv_sec == ts[0].tv_sec);
		expect(st.st_atim.tv_nsec == ts[0].tv_nsec);
		expect(st.st_mtim.tv_sec == ts[1].tv_sec);
		expect(st.st_mtim.tv_nsec == ts[1].tv_nsec);
	}
	then = st;
	expect(!futimens(
		fd, (struct timespec[2]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}));
	st = stat_of(fd);
	expect(st.st_mtim.tv_sec == then.st_mtim.tv_sec);
	expect(!futimens(
		fd, (struct timespec[2]){{0, UTIME_NOW}, {0, UTIME_OMIT}}));
	st = stat_of(fd);
	expect(st.st_atim.tv_sec < then.st_atim.tv_sec);
	expect(st.st_mtim.tv_sec == then.st_mtim.tv_sec);
	expect(st.st_ctim.tv_sec >= st.st_atim.tv_sec);
}

static void check_birth(void)
{
	struct statx a, b;
	int fd = make("f");

	expect(!statx(AT_FDCWD, "f", 0, STATX_ALL, &a));
	if (!(a.stx_mask & STATX_BTIME))
		exit(POSIX_SKIP); /* before Linux 6.6 */
	expect(a.stx_btime.tv_sec > 0);
	expect(write(fd, "x", 1) == 1 && !fchmod(fd, 0600));
	expect(!statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &b));
	expect(a.stx_btime.tv_sec == b.stx_btime.tv_sec);
	expect(a.stx_btime.tv_nsec == b.stx_btime.tv_nsec);
	expect(b.stx_size == 1 && (b.stx_mode & 07777) == 0600);
}

static void check_times_of_changes(void)
{
	static const struct timespec old[2] = {{1000, 0}, {1000, 0}};
	struct stat st;
	int fd = make("f");
	char *map;

	expect(!ftruncate(fd, PAGE) && !futimens(fd, old));
	expect(pwrite(fd, "x", 1, 0) == 1);
	expect(stat_of(fd).st_mtim.tv_sec > 1000);

	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(map != MAP_FAILED);
	expect(!futimens(fd, old));
	map[5] = 'y';
	expect(!msync(map, PAGE, MS_SYNC));
	st = stat_of(fd);
	expect(st.st_mtim.tv_sec > 1000 && st.st_ctim.tv_sec > 1000);

	/* the folder's, and the ctime of a name more */
	expect(!utimensat(AT_FDCWD, ".", old, 0));
	expect(!link("f", "g"));
	expect(!stat(".", &st) && st.st_mtim.tv_sec > 1000);
	expect(stat_of(fd).st_nlink == 2);
}

/* ---- modes, attributes ---- */

static void write_as_nobody(const void *name)
{
	int fd;

	become_nobody();
	fd = open(name, O_WRONLY);
	expect(fd >= 0 && write(fd, "x", 1) == 1);
}

static void truncate_as_nobody(const void *name)
{
	become_nobody();
	expect(!truncate(name, 0));
}

static void open_as_nobody(const void *name)
{
	become_nobody();
	expect(open(name, O_WRONLY | O_TRUNC) >= 0);
}

static void allocate_as_nobody(const void *name)
{
	int fd;

	become_nobody();
	fd = open(name, O_WRONLY);
	expect(fd >= 0 && !fallocate(fd, 0, 0, 100));
}

static unsigned mode_of(const char *name)
{
	struct stat st;

	expect(!stat(name, &st));
	return st.st_mode & 07777;
}

static void (*const changes[])(const void *) = {
	write_as_nobody, truncate_as_nobody, open_as_nobody,
	allocate_as_nobody};
#define NR_CHANGES (sizeof(changes) / sizeof(*changes))

static void check_set_id_bits(void)
{
	int fd = make("f");

	if (geteuid())
		exit(POSIX_SKIP);
	for (size_t i = 0; i < NR_CHANGES; i++) {
		expect(!chmod("f", 06777));
		in_child(changes[i], "f");
		expect(mode_of("f") == 0777);
	}

	/* root has CAP_FSETID */
	expect(!chmod("f", 06777));
	expect(write(fd, "x", 1) == 1 && !ftruncate(fd, 0));
	expect(!fallocate(fd, 0, 0, 100));
	expect(mode_of("f") == 06777);
	expect(!chown("f", 1, 1));
	expect(mode_of("f") == 0777);
}

/* As setcap(8) sets it: something that may be had. */
static void set_capability(const char *name)
{
	const struct vfs_cap_data cap = {
		.magic_etc = htole32(VFS_CAP_REVISION_2),
		.data[0].permitted = htole32(1u << CAP_NET_RAW),
	};

	expect(!setxattr(name, XATTR_NAME_CAPS, &cap, XATTR_CAPS_SZ_2, 0));
}

static bool has_capability(const char *name)
{
	struct vfs_ns_cap_data cap;

	if (getxattr(name, XATTR_NAME_CAPS, &cap, sizeof(cap)) > 0)
		return true;
	expect(errno == ENODATA);
	return false;
}

/* They go whoever changes the content, root too. */
static void check_capabilities(void)
{
	int fd = make("f");

	if (geteuid())
		exit(POSIX_SKIP);
	expect(!chmod("f", 0777));
	for (size_t i = 0; i < NR_CHANGES; i++) {
		set_capability("f");
		expect(has_capability("f"));
		in_child(changes[i], "f");
		expect(!has_capability("f"));
	}
	set_capability("f");
	expect(write(fd, "x", 1) == 1 && !has_capability("f"));
	set_capability("f");
	expect(!chown("f", 1, 1) && !has_capability("f"));
	set_capability("f");
	expect(!chmod("f", 0700) && has_capability("f"));
}

static void check_sticky_and_setgid_folders(void)
{
	struct stat st;

	if (geteuid())
		exit(POSIX_SKIP);
	expect(!mkdir("d", 0755) && !chown("d", 0, 77) && !chmod("d", 02777));
	expect(!mkdir("d/e", 0700) && !stat("d/e", &st));
	expect(st.st_gid == 77 && st.st_mode & S_ISGID);
	expect(!close(make("d/f")) && !stat("d/f", &st) && st.st_gid == 77);

	expect(!chmod("d", 01777));
	expect(!setegid(65534) && !seteuid(65534));
	fails(unlink("d/f"), EPERM);
	expect(!seteuid(0) && !setegid(0));
	expect(!unlink("d/f"));
}

static void check_xattrs(void)
{
	static const char *const names[] = {"user.big", "trusted.big",
					    "security.big"};
	static char value[65536], got[65536], list[1024];
	int nr = geteuid() ? 1 : 3;

	expect(!close(make("f")));
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (char)(i * 7 / 3);
	for (int i = 0; i < nr; i++) {
		fails(setxattr("f", names[i], value, 1, XATTR_REPLACE),
		      ENODATA);
		expect(!setxattr("f", names[i], value, sizeof(value),
				 XATTR_CREATE));
		fails(setxattr("f", names[i], value, 1, XATTR_CREATE), EEXIST);
		expect(getxattr("f", names[i], NULL, 0) == sizeof(value));
		fails(getxattr("f", names[i], got, 10), ERANGE);
		expect(getxattr("f", names[i], got, sizeof(got)) ==
		       sizeof(got));
		expect(!memcmp(got, value, sizeof(got)));
	}
	expect(listxattr("f", list, sizeof(list)) > 0);
	expect(listxattr("f", NULL, 0) == listxattr("f", list, sizeof(list)));
	expect(!setxattr("f", "user.empty", "", 0, 0));
	expect(!getxattr("f", "user.empty", got, sizeof(got)));
	for (int i = 0; i < nr; i++)
		expect(!removexattr("f", names[i]));
	fails(getxattr("f", "user.big", got, 1), ENODATA);
	fails(removexattr("f", "user.big"), ENODATA);
	fails(setxattr("f", "nonsense.x", "y", 1, 0), EOPNOTSUPP);
}

static void list_as_nobody(const void *name)
{
	char list[64];
	ssize_t n;

	become_nobody();
	n = listxattr(name, list, sizeof(list));
	expect(n == (ssize_t)sizeof("user.a") && !strcmp(list, "user.a"));
	expect(listxattr(name, NULL, 0) == n);
	fails(getxattr(name, "trusted.b", list, sizeof(list)), ENODATA);
}

static void check_names_of_trusted_attributes(void)
{
	if (geteuid())
		exit(POSIX_SKIP);
	expect(!close(make("f")));
	expect(!setxattr("f", "user.a", "1", 1, 0));
	expect(!setxattr("f", "trusted.b", "2", 1, 0));
	expect(listxattr("f", NULL, 0) ==
	       sizeof("user.a") + sizeof("trusted.b"));
	in_child(list_as_nobody, "f");
}

static void check_inode_flags(void)
{
	static const struct timespec mtime[2] = {{0, UTIME_OMIT}, {1000, 0}};
	int fd = make("f"), flags = 0, generation = -1;

	if (geteuid())
		exit(POSIX_SKIP);
	expect(!ioctl(fd, FS_IOC_GETFLAGS, &flags) && !flags);
	flags = FS_IMMUTABLE_FL;
	expect(!ioctl(fd, FS_IOC_SETFLAGS, &flags));
	fails(open("f", O_WRONLY), EPERM);
	fails(unlink("f"), EPERM);
	fails(chmod("f", 0600), EPERM);
	fails(utimensat(AT_FDCWD, "f", mtime, 0), EPERM);
	fails(setxattr("f", "user.x", "y", 1, 0), EPERM);
	/* there the kernel takes it, before anybody can say no */
	if (strcmp(posix_mode, "writeback") != 0)
		fails(pwrite(fd, "x", 1, 0), EPERM);
	flags = FS_APPEND_FL | FS_NODUMP_FL;
	expect(!ioctl(fd, FS_IOC_SETFLAGS, &flags));
	fails(open("f", O_WRONLY), EPERM);
	fails(truncate("f", 9), EPERM);
	expect(write(open("f", O_WRONLY | O_APPEND), "x", 1) == 1);
	flags = 0;
	expect(!ioctl(fd, FS_IOC_GETFLAGS, &flags));
	expect(flags == (FS_APPEND_FL | FS_NODUMP_FL));
	flags = 0;
	expect(!ioctl(fd, FS_IOC_SETFLAGS, &flags));
	flags = FS_COMPR_FL;
	fails(ioctl(fd, FS_IOC_SETFLAGS, &flags), EOPNOTSUPP);
	expect(!ioctl(fd, FS_IOC_GETVERSION, &generation) && generation > 0);
	expect(!unlink("f"));
}

/* ---- the filesystem's ---- */

static void check_statvfs(void)
{
	struct statvfs before, after;
	static char buf[64 * PAGE];
	int fd;

	expect(!statvfs(".", &before));
	expect(before.f_blocks > before.f_bfree);
	expect(before.f_bfree >= before.f_bavail && before.f_files);
	expect(before.f_namemax == 255 && before.f_frsize == PAGE);
	fd = make("f");
	expect(write(fd, buf, sizeof(buf)) == (ssize_t)sizeof(buf));
	expect(!fsync(fd) && !statvfs(".", &after));
	expect(after.f_files >= before.f_files);
}

/* ---- */

#define X(name) {#name, check_##name},

const struct posix_check attr_checks[] = {
	/* clang-format off */
	X(times)
	X(birth)
	X(times_of_changes)
	X(set_id_bits)
	X(capabilities)
	X(sticky_and_setgid_folders)
	X(xattrs)
	X(names_of_trusted_attributes)
	X(inode_flags)
	X(statvfs)
	/* clang-format on */
	{NULL, NULL},
};

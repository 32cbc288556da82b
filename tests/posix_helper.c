/* SPDX-License-Identifier: MIT */
/*
 * What programs may expect of a filesystem, asked through a mount. Not a test
 * itself: tests/mount_posix.sh runs
 *
 *	posix_helper list		the checks' names
 *	posix_helper NAME MODE		one of them, in the working directory
 *
 * which exits with 0, with 77 where the kernel lacks something, or says what
 * was not as it should be. MODE is that of the mount: kernel, writeback, own.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <setjmp.h>
#include <unistd.h>

#define PAGE 4096
#define SKIP 77

static const char *mode;

#define expect(cond)                                                      \
	do {                                                              \
		if (!(cond)) {                                            \
			(void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", \
				      __FILE__, __LINE__, #cond,          \
				      strerror(errno));                   \
			exit(1);                                          \
		}                                                         \
	} while (0)

#define fails(call, error) expect((errno = 0, (call) < 0) && errno == (error))

static int make(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	expect(fd >= 0);
	return fd;
}

static struct stat stat_of(int fd)
{
	struct stat st;

	expect(!fstat(fd, &st));
	return st;
}

/* In a child, which is to exit with 0. */
static void in_child(void (*fn)(const void *arg), const void *arg)
{
	pid_t pid = fork();
	int status;

	expect(pid >= 0);
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		expect(errno == EINTR);
	expect(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* ---- names ---- */

static void check_names(void)
{
	char name[257];
	int fd;

	/* every byte value but the two that cannot be */
	for (int first = 1; first < 256; first++) {
		if (first == '/')
			continue;
		for (size_t i = 0; i < 255; i++) {
			unsigned char c = (unsigned char)(first + (int)i);

			name[i] = (char)(!c || c == '/' ? 'x' : c);
		}
		name[255] = '\0';
		fd = make(name);
		expect(!close(fd));
		expect(!access(name, F_OK));
		expect(!unlink(name));
	}
	memset(name, 'n', 256);
	name[256] = '\0';
	fails(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
	fails(mkdir(name, 0700), ENAMETOOLONG);
	expect(!close(make("f")));
	fails(rename("f", name), ENAMETOOLONG);
	fails(link("f", name), ENAMETOOLONG);
}

#define DEPTH 300

static void check_deep_folders(void)
{
	char name[201];

	memset(name, 'd', 200);
	name[200] = '\0';
	/* 60 000 bytes: far longer than a path may be at once */
	for (int i = 0; i < DEPTH; i++) {
		expect(!mkdir(name, 0755));
		expect(!chdir(name));
	}
	expect(!close(make("bottom")));
	expect(!unlink("bottom"));
	for (int i = 0; i < DEPTH; i++) {
		expect(!chdir(".."));
		expect(!rmdir(name));
	}
}

static void check_symlinks(void)
{
	static char target[4097], got[4097];

	memset(target, 't', 4095);
	expect(!symlink(target, "link"));
	expect(readlink("link", got, sizeof(got)) == 4095);
	expect(!memcmp(got, target, 4095));
	target[4095] = 't';
	fails(symlink(target, "link2"), ENAMETOOLONG);
	fails(symlink("", "link3"), ENOENT);
	expect(!symlink("loop", "loop"));
	fails(open("loop", O_RDONLY), ELOOP);
}

/* Every name that was there all the time comes once, whatever else changes
 * meanwhile; and where telldir() pointed, seekdir() leads. */
#define NR_NAMES 3000

static void check_readdir_is_stable(void)
{
	static unsigned char seen[NR_NAMES];
	char name[32];
	struct dirent *e;
	unsigned nr = 0;
	long pos = -1;
	char at[32] = "";
	DIR *dir;

	expect(!mkdir("many", 0755) && !chdir("many"));
	for (int i = 0; i < NR_NAMES; i++) {
		(void)snprintf(name, sizeof(name), "stays%d", i);
		expect(!close(make(name)));
		(void)snprintf(name, sizeof(name), "goes%d", i);
		expect(!close(make(name)));
	}

	dir = opendir(".");
	expect(dir);
	while ((e = readdir(dir))) {
		int i = NR_NAMES;

		if (sscanf(e->d_name, "stays%d", &i) == 1)
			expect(!seen[i]++);
		if (i == NR_NAMES / 2)
			pos = telldir(dir);
		else if (pos >= 0 && !*at)
			(void)snprintf(at, sizeof(at), "%.31s", e->d_name);
		(void)snprintf(name, sizeof(name), "goes%u", nr);
		if (nr < NR_NAMES)
			expect(!unlink(name));
		(void)snprintf(name, sizeof(name), "new%u", nr++);
		if (nr < NR_NAMES)
			expect(!close(make(name)));
	}
	for (int i = 0; i < NR_NAMES; i++)
		expect(seen[i] == 1);

	expect(pos >= 0 && *at);
	if (!strncmp(at, "stays", 5)) {
		seekdir(dir, pos);
		e = readdir(dir);
		while (e && strncmp(e->d_name, "stays", 5) != 0)
			e = readdir(dir);
		expect(e && !strcmp(e->d_name, at));
	}
	expect(!closedir(dir));
}

static int rename2(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void check_rename_flags(void)
{
	struct stat st;
	ino_t a, b;

	a = stat_of(make("a")).st_ino;
	b = stat_of(make("b")).st_ino;
	fails(rename2("a", "b", RENAME_NOREPLACE), EEXIST);
	expect(!rename2("a", "b", RENAME_EXCHANGE));
	expect(!stat("a", &st) && st.st_ino == b);
	expect(!stat("b", &st) && st.st_ino == a);
	fails(rename2("a", "c", RENAME_EXCHANGE), ENOENT);
	fails(rename2("a", "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	expect(!rename2("a", "c", RENAME_NOREPLACE));

	if (!geteuid()) {
		expect(!rename2("c", "d", RENAME_WHITEOUT));
		expect(!lstat("c", &st));
		expect(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
	}
	expect(!mkdir("e", 0755) && !mkdir("e/f", 0755));
	fails(rename("e", "e/f/g"), EINVAL);
	fails(rename("e", "e/f"), EINVAL);
}

static void check_unlinked_and_nameless_files(void)
{
	char path[64], buf[8] = "";
	struct stat st;
	int fd = make("gone");

	expect(!unlink("gone"));
	expect(write(fd, "hello", 5) == 5);
	expect(pread(fd, buf, 5, 0) == 5 && !strcmp(buf, "hello"));
	expect(stat_of(fd).st_nlink == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fails(linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW),
	      ENOENT);

	fd = open(".", O_TMPFILE | O_RDWR, 0640);
	if (fd < 0 && errno == EOPNOTSUPP)
		exit(SKIP); /* before Linux 6.1 */
	expect(fd >= 0);
	expect(write(fd, "world", 5) == 5);
	expect(stat_of(fd).st_nlink == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect(!linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	expect(!stat("named", &st) && st.st_nlink == 1 && st.st_size == 5);

	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640);
	expect(fd >= 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fails(linkat(AT_FDCWD, path, AT_FDCWD, "no", AT_SYMLINK_FOLLOW),
	      ENOENT);
}

static void check_nodes_of_each_kind(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), fd2;
	struct stat st;
	char c;

	expect(fd >= 0 && !bind(fd, (void *)&sun, sizeof(sun)));
	expect(!listen(fd, 1));
	fd2 = socket(AF_UNIX, SOCK_STREAM, 0);
	expect(!connect(fd2, (void *)&sun, sizeof(sun)));
	expect(!stat("sock", &st) && S_ISSOCK(st.st_mode));

	expect(!mkfifo("fifo", 0600));
	fd = open("fifo", O_RDWR);
	expect(fd >= 0 && write(fd, "x", 1) == 1);
	expect(read(fd, &c, 1) == 1 && c == 'x');
	expect(!mknod("plain", S_IFREG | 0600, 0));
	expect(!stat("plain", &st) && S_ISREG(st.st_mode) && !st.st_size);

	if (geteuid())
		return;
	expect(!mknod("null", S_IFCHR | 0600, makedev(1, 3)));
	expect(!stat("null", &st) && S_ISCHR(st.st_mode));
	expect(st.st_rdev == makedev(1, 3));
	expect(!mknod("disk", S_IFBLK | 0600, makedev(259, 65537)));
	expect(!stat("disk", &st) && S_ISBLK(st.st_mode));
	expect(st.st_rdev == makedev(259, 65537));
}

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
		exit(SKIP); /* before Linux 6.6 */
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

static void drop_to_nobody(void)
{
	expect(!setresgid(65534, 65534, 65534));
	expect(!setresuid(65534, 65534, 65534));
}

static void write_as_nobody(const void *name)
{
	int fd;

	drop_to_nobody();
	fd = open(name, O_WRONLY);
	expect(fd >= 0 && write(fd, "x", 1) == 1);
}

static void truncate_as_nobody(const void *name)
{
	drop_to_nobody();
	expect(!truncate(name, 0));
}

static void open_as_nobody(const void *name)
{
	drop_to_nobody();
	expect(open(name, O_WRONLY | O_TRUNC) >= 0);
}

static void allocate_as_nobody(const void *name)
{
	int fd;

	drop_to_nobody();
	fd = open(name, O_WRONLY);
	expect(fd >= 0 && !fallocate(fd, 0, 0, 100));
}

static unsigned mode_of(const char *name)
{
	struct stat st;

	expect(!stat(name, &st));
	return st.st_mode & 07777;
}

static void check_set_id_bits(void)
{
	static void (*const changes[])(const void *) = {
		write_as_nobody, truncate_as_nobody, open_as_nobody,
		allocate_as_nobody};
	int fd = make("f");

	if (geteuid())
		exit(SKIP);
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
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

static void check_sticky_and_setgid_folders(void)
{
	struct stat st;

	if (geteuid())
		exit(SKIP);
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

static void check_inode_flags(void)
{
	int fd = make("f"), flags = 0, generation = -1;

	if (geteuid())
		exit(SKIP);
	expect(!ioctl(fd, FS_IOC_GETFLAGS, &flags) && !flags);
	flags = FS_IMMUTABLE_FL;
	expect(!ioctl(fd, FS_IOC_SETFLAGS, &flags));
	fails(open("f", O_WRONLY), EPERM);
	fails(unlink("f"), EPERM);
	fails(chmod("f", 0600), EPERM);
	/* there the kernel takes it, before anybody can say no */
	if (strcmp(mode, "writeback") != 0)
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

/* ---- content ---- */

static void look_for_holes(int fd, off_t most)
{
	expect(lseek(fd, 0, SEEK_HOLE) == PAGE);
	expect(lseek(fd, PAGE, SEEK_DATA) == 1L << 40);
	expect(lseek(fd, 1L << 40, SEEK_HOLE) == (1L << 40) + PAGE);
	expect(lseek(fd, (1L << 40) + PAGE, SEEK_DATA) == (most & -PAGE));
	fails(lseek(fd, most, SEEK_DATA), ENXIO);
	expect(stat_of(fd).st_blocks == 3 * PAGE / 512);
}

static void check_sparse_files(void)
{
	const off_t most = INT64_MAX;
	int fd = make("f");
	char c;

	expect(pwrite(fd, "a", 1, 0) == 1);
	expect(pwrite(fd, "b", 1, 1L << 40) == 1);
	expect(pwrite(fd, "c", 1, most - 1) == 1);
	expect(stat_of(fd).st_size == most);
	expect(pread(fd, &c, 1, most - 1) == 1 && c == 'c');
	expect(pread(fd, &c, 1, 1L << 50) == 1 && !c);
	/* with cache=writeback the kernel has what we would have to know */
	if (strcmp(mode, "writeback") != 0)
		look_for_holes(fd, most);
	expect(!fsync(fd));
	expect(stat_of(fd).st_blocks == 3 * PAGE / 512);
	expect(!ftruncate(fd, 0) && !stat_of(fd).st_blocks);
}

static void check_fallocate(void)
{
	static char buf[8 * PAGE], got[8 * PAGE];
	int fd = make("f");

	memset(buf, 'x', sizeof(buf));
	expect(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, sizeof(buf)));
	expect(!stat_of(fd).st_size);
	expect(stat_of(fd).st_blocks == (blkcnt_t)sizeof(buf) / 512);
	expect(!posix_fallocate(fd, 0, sizeof(buf)));
	expect(stat_of(fd).st_size == (off_t)sizeof(buf));
	expect(pwrite(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf));

	expect(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  PAGE + 100, 2 * PAGE));
	memset(buf + PAGE + 100, 0, 2 * PAGE);
	expect(!fallocate(fd, FALLOC_FL_ZERO_RANGE, 5 * PAGE + 7, 11));
	memset(buf + 5 * PAGE + 7, 0, 11);
	expect(pread(fd, got, sizeof(got), 0) == (ssize_t)sizeof(got));
	expect(!memcmp(buf, got, sizeof(got)));
	expect(!fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * PAGE, 2 * PAGE));
	expect(stat_of(fd).st_size == 9 * PAGE);
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), EOPNOTSUPP);
	fails(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, PAGE), EOPNOTSUPP);
}

static void check_copies(void)
{
	static char buf[3 * PAGE], got[3 * PAGE];
	int in = make("in"), out = make("out"), pipes[2];
	loff_t from = 100, to = 7;
	off_t pos = 0;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 5 / 3);
	expect(write(in, buf, sizeof(buf)) == (ssize_t)sizeof(buf));
	expect(copy_file_range(in, &from, out, &to, 2 * PAGE, 0) == 2 * PAGE);
	expect(from == 100 + 2 * PAGE && to == 7 + 2 * PAGE);
	expect(pread(out, got, 2 * PAGE, 7) == 2 * PAGE);
	expect(!memcmp(got, buf + 100, 2 * PAGE));

	expect(!ftruncate(out, 0) && !lseek(out, 0, SEEK_SET));
	expect(sendfile(out, in, &pos, sizeof(buf)) == (ssize_t)sizeof(buf));
	expect(pread(out, got, sizeof(got), 0) == (ssize_t)sizeof(got));
	expect(!memcmp(got, buf, sizeof(got)));

	expect(!pipe(pipes));
	from = 50;
	to = 9;
	expect(splice(in, &from, pipes[1], NULL, PAGE, 0) == PAGE);
	expect(splice(pipes[0], NULL, out, &to, PAGE, 0) == PAGE);
	expect(pread(out, got, PAGE, 9) == PAGE);
	expect(!memcmp(got, buf + 50, PAGE));
}

#define NR_WRITERS 4
#define NR_RECORDS 400

static void check_appends(void)
{
	char record[16];
	int counts[NR_WRITERS] = {0};
	int fd = make("f");

	for (int w = 0; w < NR_WRITERS; w++) {
		if (fork())
			continue;
		fd = open("f", O_WRONLY | O_APPEND);
		memset(record, 'A' + w, sizeof(record));
		for (int i = 0; i < NR_RECORDS; i++)
			expect(write(fd, record, sizeof(record)) ==
			       (ssize_t)sizeof(record));
		_exit(0);
	}
	for (int w = 0, status; w < NR_WRITERS; w++)
		expect(wait(&status) > 0 && !status);

	for (int i = 0; i < NR_WRITERS * NR_RECORDS; i++) {
		expect(read(fd, record, sizeof(record)) ==
		       (ssize_t)sizeof(record));
		for (size_t j = 1; j < sizeof(record); j++)
			expect(record[j] == record[0]);
		expect(record[0] >= 'A' && record[0] < 'A' + NR_WRITERS);
		counts[record[0] - 'A']++;
	}
	expect(!read(fd, record, 1));
	for (int w = 0; w < NR_WRITERS; w++)
		expect(counts[w] == NR_RECORDS);
}

static void check_open_flags(void)
{
	static const int flags[] = {O_SYNC, O_DSYNC, O_DIRECT,
				    O_DIRECT | O_SYNC};
	char *buf, *got;
	int fd;

	expect(!posix_memalign((void **)&buf, PAGE, PAGE));
	expect(!posix_memalign((void **)&got, PAGE, PAGE));
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		memset(buf, 'a' + (int)i, PAGE);
		fd = open("f", O_RDWR | O_CREAT | flags[i], 0600);
		expect(fd >= 0 && pwrite(fd, buf, PAGE, PAGE) == PAGE);
		expect(pread(fd, got, PAGE, PAGE) == PAGE);
		expect(!memcmp(buf, got, PAGE) && !close(fd));
		fd = open("f", O_RDONLY);
		expect(pread(fd, got, PAGE, PAGE) == PAGE);
		expect(!memcmp(buf, got, PAGE) && !close(fd));
	}
	free(buf);
	free(got);
}

static void check_vectors_with_flags(void)
{
	char a[3] = "abc", b[2] = "de", got[8] = "";
	struct iovec iov[2] = {{a, 3}, {b, 2}}, in = {got, sizeof(got)};
	int fd = make("f");

	expect(pwritev2(fd, iov, 2, 0, RWF_DSYNC) == 5);
	expect(pwritev2(fd, iov, 2, 0, RWF_APPEND | RWF_SYNC) == 5);
	expect(preadv2(fd, &in, 1, 3, 0) == 7 && !strcmp(got, "deabcde"));
	if (preadv2(fd, &in, 1, 0, RWF_NOWAIT) < 0)
		expect(errno == EOPNOTSUPP || errno == EAGAIN);
}

static void check_file_size_limit(void)
{
	struct rlimit lim = {.rlim_cur = 10, .rlim_max = 10};
	int fd = make("f");

	(void)signal(SIGXFSZ, SIG_IGN);
	expect(!setrlimit(RLIMIT_FSIZE, &lim));
	expect(write(fd, "0123456789abc", 13) == 10);
	fails(write(fd, "x", 1), EFBIG);
	fails(ftruncate(fd, 11), EFBIG);
	fails(fallocate(fd, 0, 0, 11), EFBIG);
	expect(stat_of(fd).st_size == 10);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

static void check_sigbus_past_the_end(void)
{
	int fd = make("f");
	volatile char *map;

	expect(!ftruncate(fd, PAGE));
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(map != MAP_FAILED);
	(void)signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus, 1)) {
		map[PAGE] = 'x';
		expect(!"SIGBUS");
	}
	map[PAGE - 1] = 'y';
	expect(!ftruncate(fd, 0));
	if (!sigsetjmp(bus, 1)) {
		(void)map[0];
		expect(!"SIGBUS");
	}
}

/* ---- io_uring, with nothing but the kernel's header ---- */

struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static bool ring_init(struct ring *r)
{
	const int prot = PROT_READ | PROT_WRITE;

	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return false;
	r->sq = mmap(NULL, r->p.sq_off.array + r->p.sq_entries * 4, prot,
		     MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL,
		     r->p.cq_off.cqes +
			     r->p.cq_entries * sizeof(struct io_uring_cqe),
		     prot, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof(*r->sqes), prot,
		       MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq != MAP_FAILED && r->cq != MAP_FAILED &&
	       (void *)r->sqes != MAP_FAILED;
}

/* One operation, waiting for it. */
static int ring_do(struct ring *r, int opcode, int fd, void *buf, unsigned len,
		   uint64_t pos)
{
	unsigned *tail = (void *)(r->sq + r->p.sq_off.tail);
	unsigned *array = (void *)(r->sq + r->p.sq_off.array);
	unsigned *head = (void *)(r->cq + r->p.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->p.cq_off.cqes);
	unsigned i = *tail & (r->p.sq_entries - 1);
	int res;

	r->sqes[i] = (struct io_uring_sqe){.opcode = (uint8_t)opcode,
					   .fd = fd,
					   .addr = (uintptr_t)buf,
					   .len = len,
					   .off = pos};
	array[i] = i;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	expect(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS,
		       NULL, 0) == 1);
	res = cqes[*head & (r->p.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

static void check_io_uring(void)
{
	static char buf[3 * PAGE], got[3 * PAGE];
	struct ring r;
	int fd;

	if (!ring_init(&r))
		exit(SKIP); /* switched off here */
	memset(buf, 'u', sizeof(buf));
	fd = make("f");
	expect(ring_do(&r, IORING_OP_WRITE, fd, buf, sizeof(buf), 5) ==
	       (int)sizeof(buf));
	expect(ring_do(&r, IORING_OP_READ, fd, got, sizeof(got), 5) ==
	       (int)sizeof(got));
	expect(!memcmp(buf, got, sizeof(buf)));
	expect(ring_do(&r, IORING_OP_FSYNC, fd, NULL, 0, 0) == 0);
}

/* ---- among processes ---- */

static void locked_by_flock(const void *arg)
{
	int fd = open("f", O_RDWR);

	(void)arg;
	fails(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	expect(!flock(fd, LOCK_SH | LOCK_NB));
}

static void locked_by_range(const void *arg)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = 5, .l_len = 10};
	int fd = open("f", O_RDWR);

	fails(fcntl(fd, F_SETLK, &l), EAGAIN);
	expect(!fcntl(fd, F_GETLK, &l) && l.l_type == F_WRLCK);
	expect(l.l_start == 10 && l.l_pid == *(const pid_t *)arg);
	l = (struct flock){.l_type = F_WRLCK, .l_start = 20, .l_len = 5};
	expect(!fcntl(fd, F_SETLK, &l));
}

static void check_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
	int fd = make("f"), other = open("f", O_RDWR);
	pid_t pid = getpid();

	expect(!flock(fd, LOCK_SH));
	in_child(locked_by_flock, NULL);
	expect(!flock(fd, LOCK_UN));

	expect(!fcntl(fd, F_SETLK, &l));
	in_child(locked_by_range, &pid);
	l.l_type = F_UNLCK;
	expect(!fcntl(fd, F_SETLK, &l));

	/* of open files, not of processes */
	l = (struct flock){.l_type = F_WRLCK, .l_len = 10};
	expect(!fcntl(fd, F_OFD_SETLK, &l));
	l = (struct flock){.l_type = F_WRLCK, .l_start = 5, .l_len = 1};
	fails(fcntl(other, F_OFD_SETLK, &l), EAGAIN);
	expect(!close(fd));
	expect(!fcntl(other, F_OFD_SETLK, &l));
}

static volatile sig_atomic_t broken;

static void on_lease(int sig)
{
	broken = sig;
}

static void break_lease(const void *arg)
{
	(void)arg;
	fails(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
}

static void check_leases(void)
{
	int fd = make("f");

	expect(!close(fd));
	fd = open("f", O_RDONLY);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EINVAL)
		exit(SKIP); /* not with this kernel */
	(void)signal(SIGIO, on_lease);
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK);
	in_child(break_lease, NULL);
	expect(broken == SIGIO);
	expect(!fcntl(fd, F_SETLEASE, F_UNLCK));
}

static void check_inotify(void)
{
	_Alignas(struct inotify_event) char buf[4096];
	const struct inotify_event *e = (void *)buf;
	int in = inotify_init1(IN_NONBLOCK), fd;

	expect(inotify_add_watch(in, ".", IN_ALL_EVENTS) > 0);
	fd = make("f");
	expect(read(in, buf, sizeof(buf)) > 0);
	expect(e->mask == IN_CREATE && !strcmp(e->name, "f"));
	expect(write(fd, "x", 1) == 1);
	expect(read(in, buf, sizeof(buf)) > 0 && e->mask == IN_MODIFY);
	expect(!rename("f", "g"));
	expect(read(in, buf, sizeof(buf)) > 0 && e->mask == IN_MOVED_FROM);
	expect(!unlink("g"));
	expect(read(in, buf, sizeof(buf)) > 0);
}

/* The largest handle, and room for it. */
union handle {
	struct file_handle h;
	char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static void get_handle(const char *name, union handle *ret)
{
	int mount_id;

	ret->h.handle_bytes = MAX_HANDLE_SZ;
	expect(!name_to_handle_at(AT_FDCWD, name, &ret->h, &mount_id, 0));
}

/* Let the kernel forget what nobody uses: the daemon is to be asked. */
static void forget_all(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd >= 0)
		(void)!write(fd, "2", 1);
	(void)close(fd);
}

static void check_file_handles(void)
{
	union handle file, folder, gone;
	int here = open(".", O_RDONLY | O_DIRECTORY), fd;
	char c;

	if (geteuid())
		exit(SKIP);
	expect(!mkdir("d", 0755) && !mkdir("d/e", 0755));
	expect(write(make("d/e/f"), "x", 1) == 1);
	expect(!close(make("g")));
	get_handle("d/e/f", &file);
	get_handle("d/e", &folder);
	get_handle("g", &gone);
	expect(!unlink("g"));
	expect(!rename("d/e/f", "f"));
	forget_all();

	fd = open_by_handle_at(here, &file.h, O_RDONLY);
	expect(fd >= 0 && read(fd, &c, 1) == 1 && c == 'x');
	fd = open_by_handle_at(here, &folder.h, O_RDONLY | O_DIRECTORY);
	expect(fd >= 0 && !fchdir(fd) && !chdir(".."));
	expect(!rmdir("e"));
	fails(open_by_handle_at(here, &gone.h, O_RDONLY), ESTALE);
}

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

/* ---- signals ---- */

static void on_alarm(int sig)
{
	(void)sig;
}

/* Whatever a signal interrupts finishes, in part or whole, or says EINTR. */
static void check_interrupts(void)
{
	struct itimerval often = {.it_interval.tv_usec = 500,
				  .it_value.tv_usec = 500};
	struct sigaction sa = {.sa_handler = on_alarm}; /* no SA_RESTART */
	static char buf[1 << 20];
	int fd = make("f");

	expect(!sigaction(SIGALRM, &sa, NULL));
	expect(!setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < 64; i++) {
		ssize_t n = pwrite(fd, buf, sizeof(buf),
				   (off_t)i * (off_t)sizeof(buf));

		expect(n > 0 || errno == EINTR);
		if (i % 8 == 7)
			expect(!fsync(fd) || errno == EINTR);
		n = pread(fd, buf, sizeof(buf), 0);
		expect(n >= 0 || errno == EINTR);
	}
}

/* ---- */

#define X(name) {#name, check_##name},
static const struct {
	const char *name;
	void (*fn)(void);
} checks[] = {
	X(names)
	X(deep_folders) X(symlinks) X(readdir_is_stable) X(
		rename_flags) X(unlinked_and_nameless_files)
		X(nodes_of_each_kind) X(times) X(birth) X(times_of_changes) X(
			set_id_bits) X(sticky_and_setgid_folders) X(xattrs)
			X(inode_flags) X(sparse_files) X(fallocate) X(copies) X(
				appends) X(open_flags) X(vectors_with_flags)
				X(file_size_limit) X(sigbus_past_the_end)
					X(io_uring) X(locks) X(leases)
						X(inotify) X(file_handles)
							X(statvfs)
								X(interrupts)};
#undef X

int main(int argc, char **argv)
{
	const size_t nr = sizeof(checks) / sizeof(*checks);

	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (size_t i = 0; i < nr; i++)
			(void)puts(checks[i].name);
		return 0;
	}
	if (argc != 3)
		return 2;

	mode = argv[2];
	(void)umask(0);
	for (size_t i = 0; i < nr; i++) {
		if (strcmp(checks[i].name, argv[1]) != 0)
			continue;
		checks[i].fn();
		return 0;
	}
	return 2;
}

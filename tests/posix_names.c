/* SPDX-License-Identifier: MIT */
/* Checks of names, folders and kinds of files; see posix_check.h. */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "posix_check.h"

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

/* Where telldir() pointed, seekdir() leads, though every second name has gone
 * since (and may be given once more, as POSIX has it), and others have come. */
#define NR_PLACES 2000
#define NR_SEEKS 200

static struct {
	long at;
	char name[32];
} places[NR_PLACES];

static void note_places(DIR *dir)
{
	const struct dirent *e;

	for (int i = 0; i < NR_PLACES; i++) {
		places[i].at = telldir(dir);
		e = readdir(dir);
		expect(e);
		(void)snprintf(places[i].name, sizeof(places[i].name), "%.31s",
			       e->d_name);
	}
	expect(!readdir(dir));
}

static void change_half(void)
{
	char name[32];

	for (int i = 2; i < NR_PLACES; i += 2) {
		expect(!unlink(places[i].name));
		(void)snprintf(name, sizeof(name), "new%d", i);
		expect(!close(make(name)));
	}
}

static void check_telldir_outlasts_changes(void)
{
	const struct dirent *e;
	char name[32];
	DIR *dir;

	expect(!mkdir("places", 0755) && !chdir("places"));
	for (int i = 2; i < NR_PLACES; i++) {
		(void)snprintf(name, sizeof(name), "name%d", i);
		expect(!close(make(name)));
	}
	dir = opendir(".");
	expect(dir);
	note_places(dir);
	change_half();
	/* there and back: what is read at once is up to 1000 names */
	for (int n = 0, i = 3; n < NR_SEEKS; n++, i = (i + 737) % NR_PLACES) {
		int next = i < 2 || i % 2 ? i : i + 1;

		if (next >= NR_PLACES)
			continue;
		seekdir(dir, places[i].at);
		e = readdir(dir);
		expect(e && (!strcmp(e->d_name, places[i].name) ||
			     !strcmp(e->d_name, places[next].name)));
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
		exit(POSIX_SKIP); /* before Linux 6.1 */
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

static void check_files_that_were_replaced(void)
{
	char buf[8] = "";
	int fd = make("a");

	expect(write(fd, "old", 3) == 3);
	expect(write(make("b"), "new", 3) == 3);
	expect(!rename("b", "a"));
	expect(stat_of(fd).st_nlink == 0);
	expect(pread(fd, buf, 8, 0) == 3 && !strcmp(buf, "old"));
	expect(pwrite(fd, "er", 2, 3) == 2);
	expect(pread(fd, buf, 8, 0) == 5 && !strcmp(buf, "older"));
	fd = open("a", O_RDONLY);
	expect(pread(fd, buf, 8, 0) == 3 && !strncmp(buf, "new", 3));
}

/* ---- */

#define X(name) {#name, check_##name},

const struct posix_check name_checks[] = {
	/* clang-format off */
	X(names)
	X(deep_folders)
	X(symlinks)
	X(readdir_is_stable)
	X(telldir_outlasts_changes)
	X(rename_flags)
	X(files_that_were_replaced)
	X(unlinked_and_nameless_files)
	X(nodes_of_each_kind)
	/* clang-format on */
	{NULL, NULL},
};

/* SPDX-License-Identifier: MIT */
/* Checks of what goes on among processes, and of signals; see posix_check.h. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_check.h"

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

static int lock_byte(int fd, int cmd, short type, off_t pos)
{
	struct flock l = {.l_type = type, .l_start = pos, .l_len = 1};

	return fcntl(fd, cmd, &l);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Signals all the time, which interrupt calls. */
static void interrupt_often(void)
{
	struct itimerval often = {.it_interval.tv_usec = 500,
				  .it_value.tv_usec = 500};
	struct sigaction sa = {.sa_handler = on_alarm}; /* no SA_RESTART */

	expect(!sigaction(SIGALRM, &sa, NULL));
	expect(!setitimer(ITIMER_REAL, &often, NULL));
}

static void leave_in_peace(void)
{
	struct itimerval never = {0};

	expect(!setitimer(ITIMER_REAL, &never, NULL));
}

/* Byte 0 is the parent's, byte 1 its own; @ready is told when it waits for the
 * former. Return: 0, or the errno of that. */
static int want_both(int ready)
{
	int fd = open("f", O_RDWR);

	interrupt_often();
	fails(lock_byte(fd, F_SETLKW, F_WRLCK, 0), EINTR);
	leave_in_peace();
	expect(!lock_byte(fd, F_SETLKW, F_WRLCK, 1));
	expect(write(ready, "x", 1) == 1);
	return lock_byte(fd, F_SETLKW, F_WRLCK, 0) ? errno : 0;
}

/* Who would wait for ever is told, and the other goes on. */
static void check_locks_that_wait(void)
{
	int fd = make("f"), pipes[2], status;
	bool told;
	pid_t pid;
	char c;

	expect(!pipe(pipes));
	expect(!lock_byte(fd, F_SETLK, F_WRLCK, 0));
	pid = fork();
	expect(pid >= 0);
	if (!pid)
		_exit(want_both(pipes[1]));
	expect(read(pipes[0], &c, 1) == 1);
	told = lock_byte(fd, F_SETLKW, F_WRLCK, 1) < 0;
	expect(!told || errno == EDEADLK);
	expect(!lock_byte(fd, F_SETLK, F_UNLCK, 0));
	expect(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	expect(WEXITSTATUS(status) == (told ? 0 : EDEADLK));
}

static volatile sig_atomic_t broken;

static void on_lease(int sig)
{
	broken = sig;
}

static void break_lease(const void *flags)
{
	fails(open("f", *(const int *)flags | O_NONBLOCK), EWOULDBLOCK);
}

static void check_leases(void)
{
	int fd = make("f"), flags = O_WRONLY;

	expect(!close(fd));
	fd = open("f", O_RDONLY);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EINVAL)
		exit(POSIX_SKIP); /* not with this kernel */
	(void)signal(SIGIO, on_lease);
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK);
	in_child(break_lease, &flags);
	expect(broken == SIGIO);
	expect(!fcntl(fd, F_SETLEASE, F_UNLCK) && !close(fd));

	/* one to write is in the way of readers */
	fd = open("f", O_RDWR);
	expect(!fcntl(fd, F_SETLEASE, F_WRLCK));
	broken = 0;
	flags = O_RDONLY;
	in_child(break_lease, &flags);
	expect(broken == SIGIO);
	expect(!fcntl(fd, F_SETLEASE, F_UNLCK));
}

/* The next that happened: what, and to which name. */
static void expect_event(int in, uint32_t mask, const char *name)
{
	static _Alignas(struct inotify_event) char buf[4096];
	static ssize_t len, pos;
	const struct inotify_event *e;

	if (pos == len) {
		len = read(in, buf, sizeof(buf));
		pos = 0;
		expect(len > 0);
	}
	e = (void *)(buf + pos);
	expect(e->mask == mask && !strcmp(e->len ? e->name : "", name));
	pos += (ssize_t)(sizeof(*e) + e->len);
}

static void check_inotify(void)
{
	const uint32_t most = IN_ALL_EVENTS & ~(IN_OPEN | IN_ACCESS);
	int in = inotify_init1(IN_NONBLOCK), fd;

	expect(inotify_add_watch(in, ".", most) > 0);
	fd = make("f");
	expect_event(in, IN_CREATE, "f");
	expect(write(fd, "x", 1) == 1);
	expect_event(in, IN_MODIFY, "f");
	expect(!fchmod(fd, 0600));
	expect_event(in, IN_ATTRIB, "f");
	expect(!close(fd));
	expect_event(in, IN_CLOSE_WRITE, "f");
	expect(!rename("f", "g"));
	expect_event(in, IN_MOVED_FROM, "f");
	expect_event(in, IN_MOVED_TO, "g");
	expect(!link("g", "h"));
	expect_event(in, IN_CREATE, "h");
	expect(!mkdir("d", 0755));
	expect_event(in, IN_CREATE | IN_ISDIR, "d");
	expect(!unlink("g"));
	expect_event(in, IN_DELETE, "g");
	expect(!rmdir("d"));
	expect_event(in, IN_DELETE | IN_ISDIR, "d");
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
		exit(POSIX_SKIP);
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

/* ---- signals ---- */

/* Whatever a signal interrupts finishes, in part or whole, or says EINTR. */
static void check_interrupts(void)
{
	static char buf[1 << 20];
	int fd = make("f");

	interrupt_often();
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

/* The same where space has to be waited for. On a small volume: not listed. */
static void check_interrupts_on_a_full_volume(void)
{
	static char buf[256 << 10];
	ssize_t n;
	int fd = make("f");

	interrupt_often();
	for (int round = 0; round < 4; round++) {
		do {
			n = write(fd, buf, sizeof(buf));
			expect(n > 0 || errno == EINTR || errno == ENOSPC);
		} while (n > 0 || errno == EINTR);
		expect(!fsync(fd) || errno == EINTR || errno == ENOSPC);
		n = pwrite(fd, buf, sizeof(buf), 0);
		expect(n > 0 || errno == EINTR || errno == ENOSPC);
		while (ftruncate(fd, round * PAGE + 1))
			expect(errno == EINTR);
		expect(lseek(fd, 0, SEEK_END) >= 0);
	}
	leave_in_peace();
	expect(!fsync(fd));
}

/* For ever: read, write or sync, telling when a round is done. */
static void be_busy(int with, int told)
{
	static char buf[1 << 20];
	int fd = make("busy");

	for (;;) {
		if (with == 0)
			expect(pread(fd, buf, sizeof(buf), 0) >= 0);
		else
			expect(pwrite(fd, buf, sizeof(buf), 0) > 0);
		if (with == 2)
			expect(!fsync(fd));
		if (write(told, "x", 1) < 0)
			expect(errno == EAGAIN);
	}
}

static void check_programs_that_are_killed(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGKILL};

	for (int i = 0; i < 9; i++) {
		int pipes[2], status;
		pid_t pid;
		char c;

		expect(!pipe2(pipes, O_NONBLOCK));
		expect(!fcntl(pipes[0], F_SETFL, 0));
		/* a shell ignores some of them for what it starts with & */
		(void)signal(signals[i % 3], SIG_DFL);
		pid = fork();
		expect(pid >= 0);
		if (!pid)
			be_busy(i / 3, pipes[1]);
		for (int rounds = 0; rounds < 3; rounds++)
			expect(read(pipes[0], &c, 1) == 1);
		expect(!kill(pid, signals[i % 3]));
		expect(waitpid(pid, &status, 0) == pid);
		expect(WIFSIGNALED(status) &&
		       WTERMSIG(status) == signals[i % 3]);
		expect(!close(pipes[0]) && !close(pipes[1]));
	}
}

/* ---- for tests/mount_posix.sh, which remounts in between ---- */

int save_handle(const char *name)
{
	union handle h;

	get_handle(name, &h);
	return fwrite(&h, sizeof(h), 1, stdout) == 1 ? 0 : 1;
}

int open_handle(const char *dir)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY), fd;
	union handle h;
	char buf[64];
	ssize_t n;

	expect(at >= 0 && fread(&h, sizeof(h), 1, stdin) == 1);
	fd = open_by_handle_at(at, &h.h, O_RDONLY);
	if (fd < 0 && errno == ESTALE)
		return POSIX_STALE;
	expect(fd >= 0);
	n = read(fd, buf, sizeof(buf));
	expect(n >= 0);
	return fwrite(buf, 1, (size_t)n, stdout) == (size_t)n ? 0 : 1;
}

/* ---- */

#define X(name) {#name, check_##name},

const struct posix_check process_checks[] = {
	/* clang-format off */
	X(locks)
	X(locks_that_wait)
	X(leases)
	X(inotify)
	X(file_handles)
	X(interrupts)
	X(programs_that_are_killed)
	/* clang-format on */
	{NULL, NULL},
};

const struct posix_check full_checks[] = {
	X(interrupts_on_a_full_volume){NULL, NULL},
};

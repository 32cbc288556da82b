/* SPDX-License-Identifier: MIT */
/*
 * The helper on files of this machine: what it drops, what it leaves alone, and
 * what becomes of one that dies, hangs or is cancelled.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "test.h"
#include "tmpdir.h"
#include "unmap_helper.h"

#define PAGES 64

static char exe[PATH_MAX];
static struct unmap_helper_config cfg;
static struct unmap_helper helper;
static struct unmap_request req;
static struct unmap_answer answer;
static char mountpoint[4096];

static void make_file(void)
{
	char page[PAGE_SIZE];
	struct stat st;
	int fd;

	(void)snprintf(mountpoint, sizeof(mountpoint), "%s", tmpdir_path(""));
	(void)snprintf(req.path, sizeof(req.path), "file");
	fd = open(tmpdir_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < PAGES; i++) {
		memset(page, 'a' + i % 26, sizeof(page));
		ck_assert_int_eq(write(fd, page, sizeof(page)), sizeof(page));
	}
	ck_assert_int_eq(fstat(fd, &st), 0);
	(void)close(fd);

	req.ino = st.st_ino;
	req.nr_ranges = 1;
	req.ranges[0] = (struct unmap_range){0};
	cfg.dev = (struct mount_dev){major(st.st_dev), minor(st.st_dev)};
}

/* The program, from what `make check` says. */
static void setup(void)
{
	const char *build = getenv("top_builddir");

	(void)snprintf(exe, sizeof(exe), "%s/foliofs", build ? build : ".");
	tmpdir_make();
	memset(&req, 0, sizeof(req));
	make_file();
	cfg.exe = exe;
	cfg.mountpoint = mountpoint;
	cfg.timeout_ms = 60000;
	ck_assert_int_eq(unmap_helper_init(&helper, &cfg), 0);
}

static void teardown(void)
{
	unmap_helper_done(&helper);
	/* whatever it started has been waited for */
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	tmpdir_remove();
}

static int call(void)
{
	return unmap_helper_call(&helper, &req, &answer);
}

/* Pages of [first, first + nr) that the kernel has. */
static u64 cached(u64 first, u64 nr)
{
	u64 range[2] = {first * PAGE_SIZE, nr * PAGE_SIZE};
	u64 stat[5] = {0};
	int fd = open(tmpdir_path("file"), O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	/* SYS_cachestat: Linux 6.5 */
	ck_assert_int_eq(syscall(451, fd, range, stat, 0), 0);
	(void)close(fd);
	return stat[0];
}

static bool kernel_can_tell(void)
{
	return syscall(451, -1, NULL, NULL, 0) && errno != ENOSYS;
}

START_TEST(what_nobody_maps_is_written_out_and_dropped)
{
	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(answer.err, 0);
	ck_assert_uint_eq(answer.nr_mappers, 0);
	if (!kernel_can_tell())
		return;
	ck_assert_uint_eq(answer.left[0], 0);
	ck_assert_uint_eq(answer.dropped, PAGES);
	ck_assert_uint_eq(cached(0, PAGES), 0);
}
END_TEST

START_TEST(only_the_ranges_asked_for_are_dropped)
{
	req.nr_ranges = 2;
	req.ranges[0] = (struct unmap_range){8, 8};
	req.ranges[1] = (struct unmap_range){32, 16};
	ck_assert_int_eq(call(), 0);
	if (!kernel_can_tell())
		return;
	ck_assert_uint_eq(cached(0, 8), 8);
	ck_assert_uint_eq(cached(8, 8), 0);
	ck_assert_uint_eq(cached(16, 16), 16);
	ck_assert_uint_eq(cached(32, 16), 0);
	ck_assert_uint_eq(cached(48, 16), 16);
}
END_TEST

static char *map_file(int prot)
{
	int fd = open(tmpdir_path("file"), O_RDWR | O_CLOEXEC);
	char *p;

	ck_assert_int_ge(fd, 0);
	p = mmap(NULL, PAGES * PAGE_SIZE, prot, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	(void)close(fd);
	return p;
}

/* Stores to every second page, of which it then says whether they are there. */
static void mapper(struct child *c)
{
	char *p = map_file(PROT_READ | PROT_WRITE);

	for (int i = 0; i < PAGES; i += 2)
		p[i * PAGE_SIZE + 1] = '!';
	child_step(c);
	for (int i = 0; i < PAGES; i++) {
		ck_assert_int_eq(p[i * PAGE_SIZE], 'a' + i % 26);
		ck_assert_int_eq(p[i * PAGE_SIZE + 1],
				 i % 2 ? 'a' + i % 26 : '!');
	}
}

START_TEST(what_a_process_maps_and_has_changed_is_taken_without_a_loss)
{
	struct child c;

	child_start(&c, mapper, NULL);
	/* a thread's number stands for its process; once */
	req.pids[0] = req.pids[1] = (u32)c.pid;
	req.nr_pids = 2;
	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(answer.err, 0);
	if (answer.nr_denied)
		ck_assert_int_ne(geteuid(), 0); /* needs CAP_SYS_NICE */
	else if (kernel_can_tell()) {
		ck_assert_uint_eq(answer.nr_mappers, 1);
		ck_assert_uint_ge(answer.paged_out, PAGES / 2);
		ck_assert_uint_eq(answer.left[0], 0);
		ck_assert_uint_eq(cached(0, PAGES), 0);
	}
	ck_assert_int_eq(child_finish(&c), 0);
}
END_TEST

START_TEST(what_two_processes_map_stays)
{
	struct child a, b;

	child_start(&a, mapper, NULL);
	child_start(&b, mapper, NULL);
	req.pids[0] = (u32)a.pid;
	req.pids[1] = (u32)b.pid;
	req.nr_pids = 2;
	ck_assert_int_eq(call(), 0);
	if (kernel_can_tell() && !answer.nr_denied) {
		ck_assert_uint_eq(answer.nr_mappers, 2);
		ck_assert_uint_ge(answer.left[0], PAGES / 2);
	}
	ck_assert_int_eq(child_finish(&a), 0);
	ck_assert_int_eq(child_finish(&b), 0);
}
END_TEST

START_TEST(processes_that_are_gone_and_files_of_others_are_no_matter)
{
	req.pids[0] = INT_MAX;
	req.pids[1] = 0;
	req.nr_pids = 2;
	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(answer.err, 0);
	ck_assert_uint_eq(answer.nr_mappers, 0);

	/* the path leads to another file by now */
	req.ino++;
	ck_assert_int_eq(call(), 0);
	ck_assert_int_ne(answer.err, 0);
	req.ino--;
	*req.path = '\0';
	ck_assert_int_eq(call(), 0);
	ck_assert_int_ne(answer.err, 0);
	ck_assert_uint_eq(helper.nr_started, 1);
}
END_TEST

static int call_by(const char *path)
{
	(void)snprintf(req.path, sizeof(req.path), "%s", path);
	ck_assert_int_eq(call(), 0);
	return answer.err;
}

/* Whoever may change names must not have us open anything else. */
START_TEST(a_path_leads_nowhere_but_to_the_file_itself)
{
	char out[4200];

	ck_assert_int_eq(mkdir(tmpdir_path("real"), 0700), 0);
	ck_assert_int_eq(link(tmpdir_path("file"), tmpdir_path("real/name")),
			 0);
	ck_assert_int_eq(call_by("real/name"), 0);
	ck_assert_int_eq(symlink("real", tmpdir_path("link")), 0);
	ck_assert_int_eq(call_by("link/name"), -ELOOP);
	ck_assert_int_eq(symlink("file", tmpdir_path("last")), 0);
	ck_assert_int_eq(call_by("last"), -ESTALE);
	ck_assert_int_eq(call_by(tmpdir_path("file")), -EXDEV);
	(void)snprintf(out, sizeof(out), "../%s/file",
		       strrchr(tmpdir_path("real"), '/') + 1);
	ck_assert_int_eq(call_by(out), -EXDEV);
}
END_TEST

/* ---- one that does not do as it should ---- */

START_TEST(a_dead_helper_is_replaced)
{
	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(kill(helper.pid, SIGKILL), 0);
	/* It may be found dead before or while it is asked. */
	if (call()) {
		ck_assert_int_eq(call(), 0);
	}
	ck_assert_uint_eq(helper.nr_started, 2);
	ck_assert_int_eq(answer.err, 0);
}
END_TEST

START_TEST(a_dead_helper_leaves_no_zombie)
{
	siginfo_t info;

	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(kill(helper.pid, SIGKILL), 0);
	ck_assert_int_eq(
		waitid(P_PID, (id_t)helper.pid, &info, WEXITED | WNOWAIT), 0);
	unmap_helper_reap(&helper);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	ck_assert_int_eq(call(), 0);
	ck_assert_uint_eq(helper.nr_started, 2);
}
END_TEST

START_TEST(a_helper_that_hangs_is_killed_and_replaced)
{
	ck_assert_int_eq(call(), 0);
	ck_assert_int_eq(kill(helper.pid, SIGSTOP), 0);
	helper.cfg.timeout_ms = 10;
	ck_assert_int_eq(call(), -ETIMEDOUT);
	helper.cfg.timeout_ms = 60000;
	ck_assert_int_eq(call(), 0);
	ck_assert_uint_eq(helper.nr_started, 2);
}
END_TEST

START_TEST(cancelling_ends_a_call_and_all_later_ones)
{
	ck_assert_int_eq(call(), 0);
	unmap_helper_cancel(&helper);
	ck_assert_int_eq(call(), -ECANCELED);
	ck_assert_int_eq(call(), -ECANCELED);
}
END_TEST

START_TEST(a_program_that_cannot_be_started_is_an_error)
{
	helper.cfg.exe = "/nonexistent";
	ck_assert_int_eq(call(), -ENOENT);
	helper.cfg.exe = "/bin/true";
	ck_assert_int_eq(call(), -EPIPE);
	helper.cfg.exe = exe;
	ck_assert_int_eq(call(), 0);
}
END_TEST

START_TEST(it_ends_with_its_socket)
{
	int status;

	ck_assert_int_eq(call(), 0);
	(void)close(helper.fd);
	ck_assert_int_eq(waitpid(helper.pid, &status, 0), helper.pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	helper.pid = 0;
	helper.fd = -1;
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("unmap_helper", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_nobody_maps_is_written_out_and_dropped);
	tcase_add_test(tc, only_the_ranges_asked_for_are_dropped);
	tcase_add_test(
		tc,
		what_a_process_maps_and_has_changed_is_taken_without_a_loss);
	tcase_add_test(tc, what_two_processes_map_stays);
	tcase_add_test(
		tc, processes_that_are_gone_and_files_of_others_are_no_matter);
	tcase_add_test(tc, a_path_leads_nowhere_but_to_the_file_itself);
	tcase_add_test(tc, a_dead_helper_is_replaced);
	tcase_add_test(tc, a_dead_helper_leaves_no_zombie);
	tcase_add_test(tc, a_helper_that_hangs_is_killed_and_replaced);
	tcase_add_test(tc, cancelling_ends_a_call_and_all_later_ones);
	tcase_add_test(tc, a_program_that_cannot_be_started_is_an_error);
	tcase_add_test(tc, it_ends_with_its_socket);
	return suite;
}

/* SPDX-License-Identifier: MIT */
/* What the daemon says: src/log.h. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "test.h"
#include "tmpdir.h"

/* Seconds that the clock is ahead. */
static time_t ahead;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = __real_clock_gettime(id, ts);

	ts->tv_sec += ahead;
	return rc;
}

static int old_stderr, fd;

static void setup(void)
{
	tmpdir_make();
	fd = open(tmpdir_path("log"), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND,
		  0600);
	ck_assert_int_ge(fd, 0);
	old_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	log_open("test", false);
}

static void teardown(void)
{
	(void)dup2(old_stderr, STDERR_FILENO);
	(void)close(old_stderr);
	(void)close(fd);
	tmpdir_remove();
}

/* Since the last time. */
static void expect_said(const char *want)
{
	char buf[8192];
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);

	ck_assert_int_ge(len, 0);
	buf[len] = '\0';
	ck_assert_str_eq(buf, want);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
}

START_TEST(an_error_is_told_once_a_minute_and_counted)
{
	log_msg(LOG_ERR, "page %d is bad", 1);
	log_msg(LOG_WARNING, "page %d is bad\n", 2);
	for (int i = 0; i < 1000; i++)
		log_line(NULL, LOG_ERR, "page 1 is bad");
	expect_said("test: page 1 is bad\ntest: page 2 is bad\n");

	ahead += 59;
	log_msg(LOG_ERR, "page 1 is bad");
	expect_said("");
	ahead += 2;
	log_msg(LOG_ERR, "page 1 is bad");
	log_msg(LOG_ERR, "page 2 is bad");
	expect_said("test: page 1 is bad (left out 1001 times)\n"
		    "test: page 2 is bad\n");
	ahead += 61;
	log_msg(LOG_ERR, "page 1 is bad");
	expect_said("test: page 1 is bad\n");
}
END_TEST

START_TEST(what_is_no_error_is_told_each_time)
{
	log_msg(LOG_INFO, "mounted");
	log_msg(LOG_INFO, "mounted");
	log_msg(LOG_DEBUG, "not this");
	expect_said("test: mounted\ntest: mounted\n");
}
END_TEST

static int lines_said(void)
{
	static char buf[1 << 20];
	ssize_t len = pread(fd, buf, sizeof(buf), 0);
	int nr = 0;

	ck_assert_int_ge(len, 0);
	for (ssize_t i = 0; i < len; i++)
		nr += buf[i] == '\n';
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	return nr;
}

static void flood(int lines, int rounds)
{
	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < lines; i++)
			log_msg(LOG_ERR, "inode 7 (/a), pages %d-%d are bad",
				i * 256, i * 256 + 255);
}

START_TEST(so_many_lines_are_told_in_a_minute_and_no_more)
{
	flood(90, 50);
	ck_assert_int_eq(lines_said(), 90);
	flood(3000, 3);
	ck_assert_int_eq(lines_said(), LOG_A_MINUTE - 90);
	/* all that is going on is not hidden by that */
	log_msg(LOG_CRIT, "read-only");
	ck_assert_int_eq(lines_said(), 2);
	ahead += 61;
	flood(3000, 1);
	ck_assert_int_eq(lines_said(), LOG_A_MINUTE);
	ahead += 61;
	log_msg(LOG_WARNING, "one");
	expect_said("test: 2900 more lines were left out\ntest: one\n");
}
END_TEST

START_TEST(a_thread_tells_all_in_order)
{
	char want[8192] = "";
	size_t len = 0;

	log_begin();
	for (int i = 0; i < 90; i++) {
		log_msg(i % 2 ? LOG_INFO : LOG_ERR, "line %d", i);
		len += (size_t)snprintf(want + len, sizeof(want) - len,
					"test: line %d\n", i);
	}
	log_end();
	expect_said(want);
	log_msg(LOG_INFO, "after it");
	expect_said("test: after it\n");
}
END_TEST

/* As when who reads the lines waits for us. */
START_TEST(nobody_waits_for_who_reads_the_lines)
{
	int pipe_fds[2];
	time_t begin;

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(pipe_fds[1], "full", 4) == 4)
		;
	ck_assert_int_eq(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	ck_assert_int_ge(dup2(pipe_fds[1], STDERR_FILENO), 0);
	log_begin();
	for (int i = 0; i < 20000; i++)
		log_msg(LOG_INFO, "a line of some length, number %d", i);
	begin = time(NULL);
	log_end();
	ck_assert_int_ge(time(NULL) - begin, 1);
	ck_assert_int_le(time(NULL) - begin, 10);
	/* so that the thread comes to its end */
	(void)signal(SIGPIPE, SIG_IGN);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	(void)close(pipe_fds[1]);
	(void)close(pipe_fds[0]);
	log_end();
	ck_assert_int_gt(lines_said(), 1);
}
END_TEST

START_TEST(sqlite_tells_of_damage_and_not_of_the_rest)
{
	sqlite3 *db;

	log_from_sqlite();
	ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
	sqlite3_log(SQLITE_CORRUPT, "before it is asked");
	log_sqlite_begin();
	sqlite3_log(SQLITE_CORRUPT, "one");
	sqlite3_log(SQLITE_IOERR_DATA, "page %d", 7);
	sqlite3_log(SQLITE_BUSY, "locked");
	sqlite3_log(SQLITE_NOTICE_RECOVER_WAL, "recovered");
	ck_assert_int_ne(sqlite3_exec(db, "no such thing", NULL, NULL, NULL),
			 SQLITE_OK);
	(void)sqlite3_close(db);
	expect_said("test: SQLite: one\ntest: SQLite: page 7\n");
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("log", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_error_is_told_once_a_minute_and_counted);
	tcase_add_test(tc, what_is_no_error_is_told_each_time);
	tcase_add_test(tc, so_many_lines_are_told_in_a_minute_and_no_more);
	tcase_add_test(tc, a_thread_tells_all_in_order);
	tcase_add_test(tc, nobody_waits_for_who_reads_the_lines);
	tcase_add_test(tc, sqlite_tells_of_damage_and_not_of_the_rest);
	return s;
}

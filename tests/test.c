/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

/*
 * A test that expects an abort must not be satisfied by a sanitizer's. LSan
 * is switched on where ptrace allows; libcheck's own memory is reachable.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "abort_on_error=0:exitcode=99";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "abort_on_error=0:exitcode=99:print_stacktrace=1";
}

/* Deadlocks: see cache/lock.c. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "abort_on_error=0:exitcode=99:detect_deadlocks=0";
}

static u64 seed;

u64 test_seed(void)
{
	return seed;
}

static u64 env_u64(const char *name, u64 otherwise)
{
	const char *text = getenv(name);
	char *end;
	u64 value;

	if (!text || !*text)
		return otherwise;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || *end) {
		(void)fprintf(stderr, "%s: not a number: %s\n", name, text);
		exit(EXIT_FAILURE);
	}
	return value;
}

u64 test_rounds(u64 nr)
{
	nr *= env_u64("FOLIO_ROUNDS", 1);
	return env_u64("FOLIO_SHORT", 0) ? (nr + 3) / 4 : nr;
}

static u64 seed_of_time(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (u64)now.tv_sec * NSEC_PER_SEC + (u64)now.tv_nsec;
}

Suite *test_suite_new(const char *name, TCase **ret_case)
{
	Suite *suite = suite_create(name);

	*ret_case = tcase_create(name);
	suite_add_tcase(suite, *ret_case);
	return suite;
}

void rng_fill(struct rng *rng, void *buf, size_t len)
{
	u8 *p = buf;

	while (len > 0) {
		u64 r = rng_next(rng);
		size_t n = min(len, sizeof(r));

		memcpy(p, &r, n);
		p += n;
		len -= n;
	}
}

/* ---- death ---- */

static __attribute__((noreturn)) void die(void (*fn)(void *arg), void *arg,
					  int stderr_fd)
{
	struct rlimit no_core = {};

	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)signal(SIGABRT, SIG_DFL);
	(void)dup2(stderr_fd, STDERR_FILENO);
	fn(arg);
	_exit(0);
}

static void read_all(int fd, char *buf, size_t size)
{
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, buf + have, size - 1 - have);
		if (n > 0)
			have += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	buf[have] = '\0';
}

void test_aborts(void (*fn)(void *arg), void *arg, const char *says)
{
	char said[4096];
	int fds[2];
	int status;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		die(fn, arg, fds[1]);

	(void)close(fds[1]);
	read_all(fds[0], said, sizeof(said));
	(void)close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		      "not aborted: status %#x, said: %s", (unsigned)status,
		      said);
	ck_assert_msg(strstr(said, says) != NULL, "said: %s, not: %s", said,
		      says);
}

/* ---- main ---- */

/* Speed is never what a test fails for: this is for what hangs. */
#define TIMEOUT_S "300"

int main(void)
{
	SRunner *runner;
	int failed;

	seed = env_u64("FOLIO_SEED", seed_of_time());
	(void)printf("# seed %llu\n", (unsigned long long)seed);
	(void)fflush(stdout);
	(void)setenv("CK_DEFAULT_TIMEOUT", TIMEOUT_S, 0);
	(void)setenv("CK_TAP_LOG_FILE_NAME", "-", 0);

	runner = srunner_create(test_suite());
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/*
 * A target of tests/fuzz.h for clang's libFuzzer, which brings main(). There is
 * no libcheck then: what its assertions call is here.
 */
#include "config.h"

#include "fuzz.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

void _mark_point(const char *file, int line)
{
	(void)file, (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr,
		       const char *msg, ...)
{
	va_list ap;

	(void)fprintf(stderr, "%s:%d: %s: ", file, line, expr);
	va_start(ap, msg);
	if (msg)
		(void)vfprintf(stderr, msg, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_target.begin();
	(void)atexit(fuzz_target.end);
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	fuzz_target.one(data, size);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* A target of tests/fuzz.h for clang's libFuzzer, which brings main(). */
#include "config.h"

#include "fuzz.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

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

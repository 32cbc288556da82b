/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail on demand, by the linker's --wrap: only calls from our
 * own objects come here, those inside the C library and others do not.
 */
#include "config.h"

#include <errno.h>

#include "test.h"

static u64 countdown;
static bool failed;

void test_fail_malloc(u64 nth)
{
	__atomic_store_n(&failed, false, __ATOMIC_RELAXED);
	__atomic_store_n(&countdown, nth, __ATOMIC_RELAXED);
}

bool test_malloc_failed(void)
{
	__atomic_store_n(&countdown, 0, __ATOMIC_RELAXED);
	return __atomic_load_n(&failed, __ATOMIC_RELAXED);
}

static bool fails(void)
{
	if (__atomic_load_n(&countdown, __ATOMIC_RELAXED) == 0)
		return false;
	if (__atomic_fetch_sub(&countdown, 1, __ATOMIC_RELAXED) != 1)
		return false;
	__atomic_store_n(&failed, true, __ATOMIC_RELAXED);
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size)
{
	return fails() ? NULL : __real_calloc(nr, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

int __real_posix_memalign(void **ret, size_t align, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size)
{
	return fails() ? ENOMEM : __real_posix_memalign(ret, align, size);
}

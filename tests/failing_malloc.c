/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail on demand, by the linker's --wrap: only calls from our
 * own objects come here, those inside the C library and others do not.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "test.h"

static u64 failing; /* 0: none */
static u64 calls;
static bool for_good;
static bool failed;

static void arm(u64 nth, bool forever)
{
	__atomic_store_n(&failing, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&failed, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&for_good, forever, __ATOMIC_SEQ_CST);
	__atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&failing, nth, __ATOMIC_SEQ_CST);
}

void test_fail_malloc(u64 nth)
{
	arm(nth, false);
}

void test_fail_malloc_from(u64 nth)
{
	arm(nth, true);
}

bool test_malloc_failed(void)
{
	__atomic_store_n(&failing, 0, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&failed, __ATOMIC_SEQ_CST);
}

u64 test_malloc_calls(void)
{
	return __atomic_load_n(&calls, __ATOMIC_SEQ_CST);
}

static bool fails(void)
{
	u64 nth = __atomic_load_n(&failing, __ATOMIC_SEQ_CST);
	u64 nr;

	if (!nth)
		return false;
	nr = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
	if (nr != nth &&
	    !(nr > nth && __atomic_load_n(&for_good, __ATOMIC_SEQ_CST)))
		return false;
	__atomic_store_n(&failed, true, __ATOMIC_SEQ_CST);
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

void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(align, size);
}

char *__real_strdup(const char *str);
char *__wrap_strdup(const char *str);
char *__wrap_strdup(const char *str)
{
	return fails() ? NULL : __real_strdup(str);
}

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (fails()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap(at, len, prot, flags, fd, off);
}

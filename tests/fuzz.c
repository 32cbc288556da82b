/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fuzz.h"

#include <string.h>

u64 fuzz_number(struct fuzz_in *in)
{
	static const u64 limits[] = {
		0,
		1,
		2,
		4,
		255,
		256,
		257,
		4095,
		4096,
		4097,
		65535,
		65536,
		INT32_MAX,
		(u64)INT32_MAX + 1,
		UINT32_MAX,
		(u64)UINT32_MAX + 1,
		PGOFF_MAX,
		PGOFF_MAX + 1,
		INT64_MAX - 4096,
		INT64_MAX - 1,
		INT64_MAX,
		(u64)INT64_MAX + 1,
		UINT64_MAX - 1,
		UINT64_MAX,
	};
	u8 how = fuzz_u8(in);

	if (how < 128)
		return how;
	if (how < 192)
		return limits[how % ARRAY_SIZE(limits)];
	return fuzz_le(in, how % 9);
}

size_t fuzz_bytes(struct fuzz_in *in, void *buf, size_t max)
{
	size_t n = min((size_t)fuzz_le(in, max > 255 ? 2 : 1), max);

	n = min(n, in->len);
	if (n)
		memcpy(buf, in->data, n);
	in->data += n;
	in->len -= n;
	return n;
}

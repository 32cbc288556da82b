/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "units.h"

/* The digits at *@s, which moves behind them. */
static int parse_digits(const char **s, u64 *ret)
{
	u64 v = 0;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	for (; **s >= '0' && **s <= '9'; ++*s)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (u64)(**s - '0'), &v))
			return -EINVAL;
	*ret = v;
	return 0;
}

int parse_u64(const char *s, u64 *ret)
{
	u64 v;
	int err;

	err = parse_digits(&s, &v);
	if (err)
		return err;
	if (*s)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* @percent of @whole without overflow on the way. */
static int percent_of(u64 percent, u64 whole, u64 *ret)
{
	if (whole == 0 || percent > 100)
		return -EINVAL;
	*ret = whole / 100 * percent + whole % 100 * percent / 100;
	return 0;
}

int parse_size(const char *s, u64 whole, u64 *ret)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	u64 v;
	int err;

	if (strcmp(s, "max") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	err = parse_digits(&s, &v);
	if (err)
		return err;
	if (!*s) {
		*ret = v;
		return 0;
	}
	if (s[1])
		return -EINVAL;
	if (*s == '%')
		return percent_of(v, whole, ret);

	suffix = strchr(suffixes, *s >= 'a' ? *s - 'a' + 'A' : *s);
	if (!suffix ||
	    __builtin_mul_overflow(v, 1024ull << 10 * (suffix - suffixes), &v))
		return -EINVAL;
	*ret = v;
	return 0;
}

u64 ram_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (u64)pages * (u64)size : 0;
}

const char *format_size(u64 bytes, char buf[UNITS_LEN])
{
	static const char suffixes[] = "KMGTPE";
	double v = (double)bytes;
	int i = -1;

	while (v >= 1023.95 && suffixes[i + 1]) {
		v /= 1024;
		i++;
	}
	if (i < 0)
		(void)snprintf(buf, UNITS_LEN, "%uB", (unsigned)bytes);
	else
		(void)snprintf(buf, UNITS_LEN, "%.1f%c", v, suffixes[i]);
	return buf;
}

const char *format_uuid(const u8 uuid[16], char buf[UUID_LEN])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf[n++] = '-';
		buf[n++] = digits[uuid[i] >> 4];
		buf[n++] = digits[uuid[i] & 15];
	}
	buf[n] = '\0';
	return buf;
}

/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strbuf.h"

void strbuf_release(struct strbuf *sb)
{
	free(sb->buf);
	*sb = (struct strbuf)STRBUF_INIT;
}

bool strbuf_reserve(struct strbuf *sb, size_t more)
{
	size_t need = sb->len + more + 1;
	char *buf;

	if (sb->failed)
		return false;
	if (need <= sb->alloc)
		return true;

	need = max(need, sb->alloc + sb->alloc / 2);
	buf = realloc(sb->buf, need);
	if (!buf) {
		sb->failed = true;
		return false;
	}
	sb->buf = buf;
	sb->alloc = need;
	return true;
}

void strbuf_add(struct strbuf *sb, const void *data, size_t len)
{
	if (!strbuf_reserve(sb, len))
		return;
	if (len)
		memcpy(sb->buf + sb->len, data, len);
	sb->len += len;
	sb->buf[sb->len] = '\0';
}

void strbuf_addstr(struct strbuf *sb, const char *s)
{
	strbuf_add(sb, s, strlen(s));
}

void strbuf_addch(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
	char small[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	assert(n >= 0);

	if ((size_t)n < sizeof(small)) {
		strbuf_add(sb, small, (size_t)n);
		return;
	}
	if (!strbuf_reserve(sb, (size_t)n))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(sb->buf + sb->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	sb->len += (size_t)n;
}

/*
 * Length of the well-formed UTF-8 sequence at @s (NUL-terminated), 0: none.
 * Source: Unicode 15, table 3-7: no overlong forms, surrogates, or values
 * above U+10FFFF.
 */
static size_t utf8_len(const unsigned char *s)
{
	unsigned char lo = 0x80;
	unsigned char hi = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return len;
}

void strbuf_add_path(struct strbuf *sb, const char *path)
{
	const unsigned char *s = (const unsigned char *)path;

	while (*s) {
		size_t len = utf8_len(s);

		if (len == 0 || *s < 0x20 || *s == 0x7f || *s == '\\') {
			strbuf_printf(sb, "\\%03o", *s);
			s++;
		} else {
			strbuf_add(sb, s, len);
			s += len;
		}
	}
}

void strbuf_add_json(struct strbuf *sb, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			strbuf_printf(sb, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			strbuf_printf(sb, "\\u%04x", *s);
		else
			strbuf_addch(sb, *s);
	}
}

int strbuf_finish(struct strbuf *sb, char **ret_text, size_t *ret_len)
{
	if (!strbuf_reserve(sb, 0)) {
		strbuf_release(sb);
		return -ENOMEM;
	}
	sb->buf[sb->len] = '\0';
	*ret_text = sb->buf;
	*ret_len = sb->len;
	return 0;
}

static bool is_octal(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '7')
			return false;
	return true;
}

void path_unescape(char *path)
{
	char *to = path;

	while (*path) {
		if (*path == '\\' && is_octal(path + 1, 3)) {
			*to++ = (char)((path[1] - '0') << 6 |
				       (path[2] - '0') << 3 | (path[3] - '0'));
			path += 4;
		} else {
			*to++ = *path++;
		}
	}
	*to = '\0';
}

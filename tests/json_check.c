/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>

#include "json_check.h"

struct cursor {
	const char *s;
	const char *end;
};

static bool value(struct cursor *c, int depth);

static void blanks(struct cursor *c)
{
	while (c->s < c->end && memchr(" \t\r\n", *c->s, 4))
		c->s++;
}

static bool take(struct cursor *c, char what)
{
	if (c->s == c->end || *c->s != what)
		return false;
	c->s++;
	return true;
}

static bool digits(struct cursor *c)
{
	const char *start = c->s;

	while (c->s < c->end && isdigit((unsigned char)*c->s))
		c->s++;
	return c->s > start;
}

static bool number(struct cursor *c)
{
	(void)take(c, '-');
	if (!take(c, '0') && !digits(c))
		return false;
	if (take(c, '.') && !digits(c))
		return false;
	if (take(c, 'e') || take(c, 'E')) {
		if (!take(c, '+'))
			(void)take(c, '-');
		return digits(c);
	}
	return true;
}

static bool escape(struct cursor *c)
{
	if (c->s == c->end)
		return false;
	if (*c->s != 'u')
		return memchr("\"\\/bfnrt", *c->s++, 8) != NULL;
	c->s++;
	for (int i = 0; i < 4; i++, c->s++)
		if (c->s == c->end || !isxdigit((unsigned char)*c->s))
			return false;
	return true;
}

static bool utf8_tail(struct cursor *c, unsigned char first)
{
	int n = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;

	if (first < 0xc2 || first > 0xf4)
		return false;
	for (; n; n--, c->s++)
		if (c->s == c->end || ((unsigned char)*c->s & 0xc0) != 0x80)
			return false;
	return true;
}

static bool string(struct cursor *c)
{
	if (!take(c, '"'))
		return false;
	while (c->s < c->end) {
		unsigned char ch = (unsigned char)*c->s++;

		if (ch == '"')
			return true;
		if (ch < 0x20)
			return false;
		if (ch == '\\' ? !escape(c) : ch >= 0x80 && !utf8_tail(c, ch))
			return false;
	}
	return false;
}

static bool word(struct cursor *c, const char *what)
{
	size_t len = strlen(what);

	if ((size_t)(c->end - c->s) < len || memcmp(c->s, what, len) != 0)
		return false;
	c->s += len;
	return true;
}

/* The inside of an object or array, up to @close. */
static bool members(struct cursor *c, char close, int depth)
{
	blanks(c);
	if (take(c, close))
		return true;
	do {
		blanks(c);
		if (close == '}') {
			if (!string(c))
				return false;
			blanks(c);
			if (!take(c, ':'))
				return false;
		}
		if (!value(c, depth - 1))
			return false;
		blanks(c);
	} while (take(c, ','));
	return take(c, close);
}

static bool value(struct cursor *c, int depth)
{
	blanks(c);
	if (c->s == c->end || depth == 0)
		return false;
	switch (*c->s) {
	case '{':
		c->s++;
		return members(c, '}', depth);
	case '[':
		c->s++;
		return members(c, ']', depth);
	case '"':
		return string(c);
	case 't':
		return word(c, "true");
	case 'f':
		return word(c, "false");
	case 'n':
		return word(c, "null");
	default:
		return number(c);
	}
}

bool json_valid(const char *text, size_t len)
{
	struct cursor c = {text, text + len};

	if (!value(&c, 16))
		return false;
	blanks(&c);
	return c.s == c.end;
}

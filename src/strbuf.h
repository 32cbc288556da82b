/* SPDX-License-Identifier: MIT */
/*
 * A string that grows.
 *
 *	struct strbuf sb = STRBUF_INIT;
 *	strbuf_printf(&sb, ...); strbuf_add(&sb, ...);
 *	err = strbuf_finish(&sb, &text, &len);
 *
 * Errors stick: once memory ran out, adding does nothing and strbuf_finish()
 * says -ENOMEM, so that callers check once. buf is NUL-terminated whenever it
 * is not NULL; the NUL does not count in len.
 */
#ifndef FOLIO_STRBUF_H
#define FOLIO_STRBUF_H

#include <stdarg.h>

#include "base.h"

struct strbuf {
	char *buf;
	size_t len;
	size_t alloc;
	bool failed; /* memory ran out */
};

#define STRBUF_INIT               \
	{                         \
		NULL, 0, 0, false \
	}

void strbuf_release(struct strbuf *sb);

/* Make room for @more bytes and the NUL. Return: false when out of memory. */
bool strbuf_reserve(struct strbuf *sb, size_t more);
void strbuf_add(struct strbuf *sb, const void *data, size_t len);
void strbuf_addstr(struct strbuf *sb, const char *s);
void strbuf_addch(struct strbuf *sb, char c);
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) __printf(2, 3);

/*
 * Add a file name as one word on one line: control characters, backslashes
 * and bytes that are not UTF-8 become \ooo (three octal digits), as in
 * /proc/mounts. The rest stays, blanks as well, so the result is valid UTF-8
 * and can be undone exactly.
 */
void strbuf_add_path(struct strbuf *sb, const char *path);

/* Add the inside of a JSON string; @s is UTF-8. */
void strbuf_add_json(struct strbuf *sb, const char *s);

/* Hand the string over: the caller frees it. Return: 0 or -ENOMEM. */
int strbuf_finish(struct strbuf *sb, char **ret_text, size_t *ret_len);

/* Undo strbuf_add_path() in place. */
void path_unescape(char *path);

#endif

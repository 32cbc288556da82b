/* SPDX-License-Identifier: MIT */
/* A strict reader of JSON (RFC 8259) that keeps nothing: for tests. */
#ifndef FOLIO_JSON_CHECK_H
#define FOLIO_JSON_CHECK_H

#include "base.h"

/* Is @text, all of it, one JSON value in UTF-8? */
bool json_valid(const char *text, size_t len);

#endif

/* SPDX-License-Identifier: MIT */
/* A folder for the files of one test, below TMPDIR or /tmp. */
#ifndef FOLIO_TMPDIR_H
#define FOLIO_TMPDIR_H

/* Checked fixtures. */
void tmpdir_make(void);
void tmpdir_remove(void);

/* The path of @name in it, in a buffer of its own for the next 8 calls. */
const char *tmpdir_path(const char *name);

#endif

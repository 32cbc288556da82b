/* SPDX-License-Identifier: MIT */
/* Sums of a log of SQLite, without the code that is tested. */
#ifndef FOLIO_WAL_SUMS_H
#define FOLIO_WAL_SUMS_H

#include "base.h"

/* Give each frame of @log, @len bytes with its header, the sum that SQLite
 * would have given it. */
void wal_make_good(u8 *log, size_t len);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The shape of FUSE requests. libfuse trusts the kernel and looks at nothing:
 * it takes names to end in NUL and arguments to be all there. Here each request
 * is checked against its opcode before libfuse sees it, so that a broken one is
 * refused instead of read past its end.
 *
 * Also what libfuse 3.14 does not hand through.
 */
#ifndef FOLIO_WIRE_H
#define FOLIO_WIRE_H

#include <linux/fuse.h>

#include "base.h"

/*
 * Is the request of @len bytes at @buf whole? All its arguments are there, its
 * names end in NUL, are not empty and, where they name files, have no '/' and
 * are not "." or "..". Unknown opcodes are whole: libfuse answers ENOSYS.
 * Return: 0 or -EINVAL.
 */
int wire_check(const void *buf, size_t len);

/* Does somebody wait for an answer? Context: the header is there. */
bool wire_wants_reply(const struct fuse_in_header *in);

/* The features that an INIT request, whole, offers; flags2 in the upper half.
 */
u64 wire_init_flags(const void *buf, size_t len);

/* Feature 36 of INIT, Linux 6.6: files open for direct I/O can be mapped
 * shared. The headers of older systems do not name it. */
#define WIRE_DIRECT_IO_ALLOW_MMAP (1ull << 36)

/*
 * The open flags in an answer of @len bytes to @opcode, header apart: where
 * they stand, or NULL when it is no answer that opens a file.
 */
u32 *wire_open_flags(u32 opcode, void *answer, size_t len);

/* The next entry of a READDIRPLUS answer, NULL behind the last. */
const struct fuse_direntplus *wire_next_direntplus(const void *buf, size_t len,
						   size_t *pos);

#endif

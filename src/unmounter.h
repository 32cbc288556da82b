/* SPDX-License-Identifier: MIT */
/*
 * A child process that unmounts our own mount while we go on serving it.
 *
 * Unmounting makes the kernel write out what it holds dirty, to us: a thread of
 * ours that waited for that could not be killed, and so nor could we. The child
 * holds none of our descriptors.
 */
#ifndef FOLIO_UNMOUNTER_H
#define FOLIO_UNMOUNTER_H

#include <sys/types.h>

enum unmounter_result {
	UNMOUNTER_DONE,	  /* unmounted; the connection ends now */
	UNMOUNTER_LAZILY, /* busy: off the tree, dirty pages were written out;
			     programs may still hold files */
	UNMOUNTER_FAILED,
};

/* Return: the child's pid, or -errno. */
pid_t unmounter_start(const char *mountpoint);

/* What the child did, by the status that waitpid() gave. */
enum unmounter_result unmounter_result(int status);

#endif

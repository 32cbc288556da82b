/* SPDX-License-Identifier: MIT */
/*
 * What programs may ask of a mounted foliofs by ioctl(2); see foliofs(5).
 *
 *	int fd = open("MOUNT/.foliofs/vm/sync", O_WRONLY);
 *	struct foliofs_commit c = {.nr = 2, .ino = {st1.st_ino, st2.st_ino}};
 *
 *	err = ioctl(fd, FOLIOFS_IOC_COMMIT, &c);
 *
 * commits the content of all these files, and all names and attributes, in one
 * transaction: after a crash either all of them are as they are now, or none
 * is. The program has the files open, so that their numbers stay theirs.
 */
#ifndef FOLIOFS_H
#define FOLIOFS_H

#include <stdint.h>
#include <sys/ioctl.h>

#define FOLIOFS_COMMIT_MAX 511

struct foliofs_commit {
	uint32_t nr;	/* 1 to FOLIOFS_COMMIT_MAX */
	uint32_t flags; /* 0 */
	uint64_t ino[FOLIOFS_COMMIT_MAX];
};

#define FOLIOFS_IOC_COMMIT _IOW(0xf0, 1, struct foliofs_commit)

#endif

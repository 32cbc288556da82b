/* SPDX-License-Identifier: MIT */
/*
 * What the checks of tests/posix_helper.c share. A check runs in a process and
 * an empty folder of its own; it returns, or exits: with POSIX_SKIP where the
 * kernel lacks something, with 1 when something is not as it should be, which
 * it says.
 */
#ifndef FOLIO_POSIX_CHECK_H
#define FOLIO_POSIX_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE 4096
#define POSIX_SKIP 77
#define POSIX_STALE 78

struct posix_check {
	const char *name;
	void (*fn)(void);
};

/* Each ends with one without a name. */
extern const struct posix_check name_checks[];	  /* posix_names.c */
extern const struct posix_check attr_checks[];	  /* posix_attrs.c */
extern const struct posix_check content_checks[]; /* posix_content.c */
extern const struct posix_check process_checks[]; /* posix_processes.c */
/* ... and those for a small volume, which they fill */
extern const struct posix_check full_checks[];

/* The mount's: "kernel", "writeback" or "own". */
extern const char *posix_mode;

#define expect(cond)                                                      \
	do {                                                              \
		if (!(cond)) {                                            \
			(void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", \
				      __FILE__, __LINE__, #cond,          \
				      strerror(errno));                   \
			exit(1);                                          \
		}                                                         \
	} while (0)

#define fails(call, error) expect((errno = 0, (call) < 0) && errno == (error))

/* A new empty file, open for reading and writing. */
int make(const char *name);
struct stat stat_of(int fd);

/* In a child, which is to exit with 0. */
void in_child(void (*fn)(const void *arg), const void *arg);

/* Exit statuses, for main(). */
int save_handle(const char *name);
int open_handle(const char *dir);

/* For the rest of this process. */
void become_nobody(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What is mounted, from /proc/self/mountinfo: reading it asks no filesystem
 * anything, so it is safe for a daemon whose own mount is among them.
 *
 * @file is the path of mountinfo, so that tests can bring their own.
 */
#ifndef FOLIO_MOUNTINFO_H
#define FOLIO_MOUNTINFO_H

#include "base.h"

#define MOUNTINFO_PATH "/proc/self/mountinfo"

struct mount_dev {
	unsigned major, minor;
};

/* The device of what is mounted, last and so uppermost, at @mountpoint.
 * Return: 0, -ENOENT or the error of reading. */
int mountinfo_dev(const char *file, const char *mountpoint,
		  struct mount_dev *ret_dev);

/*
 * Flags of mount(2) that what is mounted, uppermost, at @mountpoint has now, of
 * those that a remount takes.
 * Return: 0, -ENOENT or the error of reading.
 */
int mountinfo_flags(const char *file, const char *mountpoint,
		    unsigned long *ret_flags);

/* Is it a foliofs that is mounted, uppermost, at @mountpoint?
 * Return: 0, -ENOENT, -EINVAL (something else) or the error of reading. */
int mountinfo_is_ours(const char *file, const char *mountpoint);

/*
 * Tune the kernel's side of a mount, as far as we may: @read_ahead_kb, which
 * INIT alone cannot raise above 128, and @max_bytes, which bounds the pages of
 * this mount that the kernel holds dirty. @dir: "/sys/class/bdi".
 * Return: 0 or the first error; the rest is tried all the same.
 */
int bdi_tune(const char *dir, const struct mount_dev *dev, u64 read_ahead_kb,
	     u64 max_bytes);

#endif

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2012,SC2119,SC2317
#
# Folders that are listed while their names change: tests/list_helper.c.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

helper=$top_builddir/list_helper
seconds=8
short && seconds=3

t_lists()
{
	mkdir "$MNT/lists"
	"$helper" "$MNT/lists" "$seconds"
}

# The kernel lists what has not changed by itself.
t_cached()
{
	mkdir "$MNT/cached"
	for i in 1 2 3 4 5 6 7 8 9; do : >"$MNT/cached/$i"; done
	is "$(ls "$MNT/cached")" "$(seq 9)"
	rm "$MNT/cached/5"
	is "$(ls "$MNT/cached" | wc -l)" 8
	: >"$MNT/cached/new"
	mv "$MNT/cached/1" "$MNT/cached/one"
	is "$(ls "$MNT/cached" | tr '\n' ' ')" '2 3 4 6 7 8 9 new one '
}

t_unmount()
{
	volume_umount
	volume_check
}

volume_create || exit 99
volume_mount -o cache_size=32M || exit 99
run 'a new listing has what changed before it' t_cached
run 'every listing has what is there all the time, once' t_lists
run 'unmounted in order' t_unmount
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# Random operations on files against a byte array as model (fsx_helper.c),
# several at once, with a cache that holds a part of them, then again all of
# every file after a remount.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 200

fsx=$top_builddir/tests/fsx_helper
seed=${FOLIO_SEED:-$(date +%s)}
steps=5000
short && steps=1500
volume_create || exit 99
echo "# seed $seed"

# Files of 200 KB, 3 MB and 20 MB at most, at once. The subshell of each test
# ends with the first that failed.
t_fsx()
{
	volume_mount -o "$1"
	_n=0
	_pids=
	for _max in 200000 3000000 20000000; do
		_n=$((_n + 1))
		FSX_MODEL=$TMP/model$_n "$fsx" "$MNT/f$_n" \
			$((steps / _n)) "$_max" $((seed + _n)) &
		_pids="$_pids $!"
	done
	for _p in $_pids; do
		wait "$_p" || fail 'fsx_helper'
	done
	volume_umount
	volume_check
	volume_mount
	for _n in 1 2 3; do
		cmp "$TMP/model$_n" "$MNT/f$_n"
		rm "$MNT/f$_n"
	done
	volume_umount
}

run 'cache=kernel' t_fsx cache_size=64M,cache=kernel
run 'cache=kernel, a small cache, commits all the time' \
	t_fsx cache_size=4M,cache=kernel,commit=1
run 'cache=writeback' t_fsx cache_size=64M,cache=writeback
run 'cache=writeback, a small cache, no commits by time' \
	t_fsx cache_size=4M,cache=writeback,commit=0
run 'cache=own' t_fsx cache_size=64M,cache=own
run 'cache=own, a small cache, commits all the time' \
	t_fsx cache_size=4M,cache=own,commit=1
finish

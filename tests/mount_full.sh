#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# A full volume: ENOSPC to who writes, nothing acknowledged is lost, and it
# works on when there is room again.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

volume_create --size 128M || exit 99
volume_mount -o cache_size=16M || exit 99

t_df()
{
	_total=$(df -k --output=size "$MNT" | tail -n 1)
	at_most "$_total" $((128 * 1024)) 'kB in all'
	at_least "$_total" $((120 * 1024)) 'kB in all'
}

t_fill()
{
	head -c 20M /dev/urandom >"$TMP/keep"
	dd if="$TMP/keep" of="$MNT/keep" bs=1M conv=fsync status=none
	fails_with 'No space left' dd if=/dev/zero of="$MNT/big" bs=1M \
		count=300 status=none
	fails_with 'No space left' dd if=/dev/zero of="$MNT/big2" bs=1M \
		count=300 conv=fsync status=none
	at_least "$(stat -c %s "$MNT/big")" $((64 << 20)) 'bytes that fitted'
}

t_kept()
{
	forget "$MNT/keep"
	cmp "$TMP/keep" "$MNT/keep"
}

# What was accepted can be committed: a write that fitted is a promise.
t_sync()
{
	"$FOLIOCTL" sync "$MNT"
	is "$(vmstat commit_errors)" 0 'failed commits'
}

# Full, it can be read, and files can be removed.
t_room()
{
	rm "$MNT/big" "$MNT/big2"
	"$FOLIOCTL" sync "$MNT"
	head -c 60M /dev/urandom >"$TMP/new"
	dd if="$TMP/new" of="$MNT/new" bs=1M conv=fsync status=none
	forget "$MNT/new"
	cmp "$TMP/new" "$MNT/new"
}

# Freed space comes back though nobody syncs between.
t_churn()
{
	for _i in 1 2 3 4 5 6; do
		head -c 15M /dev/urandom >"$MNT/churn.new"
		mv "$MNT/churn.new" "$MNT/churn"
	done
	is "$(stat -c %s "$MNT/churn")" $((15 << 20)) 'size'
	rm "$MNT/churn"
}

t_small()
{
	mkdir "$MNT/small"
	_i=0
	while [ "$_i" -lt 20000 ]; do
		head -c 20000 "$TMP/keep" >"$MNT/small/$_i" 2>/dev/null || break
		_i=$((_i + 1))
	done
	echo "$_i files fitted"
	at_least "$_i" 100 'files'
	at_most "$_i" 19999 'files'
	_j=0
	while [ "$_j" -lt "$_i" ]; do
		head -c 20000 "$TMP/keep" | cmp - "$MNT/small/$_j"
		_j=$((_j + 50))
	done
	rm -r "$MNT/small"
}

t_killed()
{
	dd if=/dev/zero of="$MNT/big" bs=1M count=300 status=none && false
	daemon_kill
	volume_check
	volume_mount -o cache_size=16M
	t_kept
	cmp "$TMP/new" "$MNT/new"
	rm -f "$MNT/big"
}

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o cache_size=16M
	t_kept
}

run 'df shows the size that was given' t_df
run 'who writes past the end gets ENOSPC' t_fill
run 'what was acknowledged is kept' t_kept
run 'what was accepted can be committed' t_sync
run 'after removing files there is room' t_room
run 'replacing a file over and over does not run out of space' t_churn
run 'small files until it is full' t_small
run 'killed while full, it mounts and has what was synced' t_killed
run 'unmount, check, mount' t_remount
finish

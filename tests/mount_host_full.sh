#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# A host without room under the volume: a small filesystem of its own, which
# the volume shares with others. Who writes is told, nothing acknowledged is
# lost, and all goes on when there is room again.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 240

HOST=$TMP/host
mkdir "$HOST"
trap 'umount -l "$HOST" 2>/dev/null; _cleanup' EXIT
head -c 12M /dev/urandom >"$TMP/keep"

# host KIND: a new host, and a volume without a bound on it, mounted.
host()
{
	[ "$(id -u)" = 0 ] || skip 'only root can mount a host'
	if [ "$1" = ext4 ]; then
		skip_unless mkfs.ext4 losetup
		losetup -f >/dev/null 2>&1 || skip 'no loop devices here'
		truncate -s 96M "$TMP/disk"
		mkfs.ext4 -q -m 0 "$TMP/disk"
		mount -o loop "$TMP/disk" "$HOST"
	else
		mount -t tmpfs -o size=80M tmpfs "$HOST"
	fi
	VOL=$HOST/vol
	volume_create
	volume_mount -o cache_size=16M,commit=0
}

fill_host()
{
	dd if=/dev/zero of="$HOST/other" bs=64k 2>/dev/null && false
	# the last blocks too
	dd if=/dev/zero bs=4k 2>/dev/null >>"$HOST/other" && false
	return 0
}

t_fill()
{
	dd if="$TMP/keep" of="$MNT/keep" bs=1M conv=fsync status=none
	fails_with 'No space left' dd if=/dev/zero of="$MNT/big" bs=1M \
		count=200 conv=fsync status=none
	forget "$MNT/keep"
	cmp "$TMP/keep" "$MNT/keep"
	# it could be written, so it can be committed
	"$FOLIOCTL" sync "$MNT"
	rm "$MNT/big"
	"$FOLIOCTL" sync "$MNT"
}

# Not one block is left, neither for data nor for the database.
t_none()
{
	fill_host
	_i=0
	while [ "$_i" -lt 100 ]; do
		dd if="$TMP/keep" of="$MNT/new$_i" bs=64k count=16 conv=fsync \
			status=none 2>"$TMP/said" || break
		_i=$((_i + 1))
	done
	at_most "$_i" 99 'files without room'
	grep 'No space left' "$TMP/said"
	forget "$MNT/keep"
	cmp "$TMP/keep" "$MNT/keep"
	is "$(vmstat readonly)" 0 'read-only'
}

t_again()
{
	rm "$HOST/other"
	rm -f "$MNT"/new*
	until_true 60 "$FOLIOCTL" sync "$MNT" || fail 'no room after 60 s'
	dd if="$TMP/keep" of="$MNT/again" bs=1M conv=fsync status=none
	"$FOLIOCTL" sync "$MNT"
}

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o cache_size=16M
	cmp "$TMP/keep" "$MNT/keep"
	cmp "$TMP/keep" "$MNT/again"
	volume_umount
	umount "$HOST"
}

_kinds='tmpfs ext4'
short && _kinds=tmpfs
for _kind in $_kinds; do
	run "$_kind: a volume on it" host "$_kind"
	VOL=$HOST/vol
	mountpoint -q "$HOST" || continue
	run "$_kind: who writes more than it has gets ENOSPC" t_fill
	run "$_kind: others take all of it" t_none
	run "$_kind: with room again it goes on" t_again
	run "$_kind: unmount, check, mount" t_remount
done
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# What the host sees of a daemon: no copies of the data in its page cache, and
# SQLite's locks on meta.db, which one open() and close() of that file beside
# SQLite would drop without a word.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 60

# Locks of the daemon on meta.db, as /proc/locks has them.
db_locks()
{
	grep -c "POSIX .* $(daemon_pid) [0-9a-f:]*:$(stat -c %i \
		"$VOL/meta.db") " /proc/locks
}

# locked WHAT COMMAND...: the daemon has its lock afterwards; whether the
# command succeeds is another test's matter.
locked()
{
	_what=$1
	shift
	"$@" >"$TMP/said" 2>&1 </dev/null || :
	at_least "$(db_locks)" 1 "locks on meta.db after $_what"
}

t_direct()
{
	volume_create
	volume_mount -o cache_size=64M,commit=0
	head -c 20M /dev/urandom >"$MNT/file"
	sync "$MNT/file"
	"$FOLIOCTL" drop "$MNT" "$MNT/file"
	cksum "$MNT/file"
	data=$(for fd in /proc/"$(daemon_pid)"/fd/*; do
		[ "$(readlink "$fd")" != "$VOL/data" ] || echo "${fd##*/}"
	done)
	[ -n "$data" ] || fail 'the daemon has no data open'
	dd if="$VOL/data" of=/dev/null bs=4096 count=1 iflag=direct \
		status=none 2>/dev/null || skip 'the host has no O_DIRECT'
	for fd in $data; do
		flags=$(sed -n 's/^flags:[^0-9]*//p' \
			"/proc/$(daemon_pid)/fdinfo/$fd")
		is $((0$flags & 040000)) 16384 'O_DIRECT of data'
	done
	skip_unless fincore
	is "$(fincore -b -n -o RES "$VOL/data" | tr -d ' ')" 0 \
		'copies that the host has'
}
run 'data is O_DIRECT, and the host has no copy of it' t_direct

t_locks_of_daemon()
{
	locked 'the mount' :
	echo hello >"$MNT/f"
	locked 'an fsync' sync "$MNT/f"
	locked 'names' sh -c "mkdir '$MNT/d' && mv '$MNT/f' '$MNT/d/f' &&
		ln '$MNT/d/f' '$MNT/l' && rm '$MNT/l'"
	locked 'attributes' sh -c "chmod 600 '$MNT/d/f' && touch '$MNT/d/f' &&
		setfattr -n user.a -v b '$MNT/d/f'"
	locked 'a truncation' truncate -s 100 "$MNT/file"
	locked 'fallocate' fallocate -l 1M "$MNT/reserved"
	for f in meminfo vmstat files maps swaps stats.json metrics volume; do
		locked "a look at $f" cat "$MNT/.foliofs/$f"
	done
	for f in "$MNT"/.foliofs/vm/*; do
		locked "a look at vm/${f##*/}" cat "$f"
	done
	for f in sync drop_caches compact; do
		locked "vm/$f" sh -c "echo 1 >'$MNT/.foliofs/vm/$f'"
	done
	locked 'a look at an inode' sh -c \
		"cat '$MNT/.foliofs/inode/$(stat -c %i "$MNT/file")'/*"
}
run 'the daemon keeps its lock on meta.db whatever it does' t_locks_of_daemon

t_locks_folioctl()
{
	for c in sync stat info maps check; do
		locked "folioctl $c" "$FOLIOCTL" $c "$MNT"
	done
	for c in pages pin unpin drop prefetch; do
		locked "folioctl $c" "$FOLIOCTL" $c "$MNT/file"
	done
	for c in info check 'check --repair' create; do
		# shellcheck disable=SC2086
		locked "folioctl $c of the volume" "$FOLIOCTL" $c "$VOL"
	done
	locked 'folioctl set' "$FOLIOCTL" set "$MNT" cache_size=32M
	locked 'folioctl compact' "$FOLIOCTL" compact "$MNT"
	locked 'folioctl top' timeout 2 "$FOLIOCTL" top "$MNT"
	locked 'folioctl commit' "$FOLIOCTL" commit "$MNT/file"
	locked 'folioctl backup' "$FOLIOCTL" backup "$MNT" "$TMP/copy"
	locked 'another backup' "$FOLIOCTL" backup "$MNT" "$TMP/copy"
	locked 'a second mount' timeout 10 "$FOLIOFS" "$VOL" "$MNT/d"
}
run 'and whatever folioctl does to its volume' t_locks_folioctl

t_locks_remount()
{
	locked 'a look with sqlite3' sqlite3 -readonly "$VOL/meta.db" \
		'SELECT count(*) FROM inode'
	locked 'remount,ro' mount -o remount,ro "$MNT"
	locked 'remount,rw' mount -o remount,rw "$MNT"
	i=0
	while [ $i -lt 400 ]; do
		i=$((i + 1))
		: >"$MNT/d/$i"
	done
	locked 'many names' "$FOLIOCTL" sync "$MNT"
	volume_umount
	volume_check
}
run 'and whatever others do' t_locks_remount

# The check above sees what it is to see.
t_lock_seen()
{
	volume_mount -o cache_size=64M
	at_least "$(db_locks)" 1 'locks of the daemon'
	volume_umount
	is "$(grep -c ":$(stat -c %i "$VOL/meta.db") " /proc/locks)" 0 \
		'locks of nobody'
}
run 'without a daemon there are none' t_lock_seen

finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# folioctl backup of a mount, while it is written to: what comes out is one
# committed state, checks clean, and is never half; killed, without room at the
# destination, with damage at the source, and when the volume needs the room.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 180

helper=$top_builddir/tests/pair_helper
copy=$TMP/copy

volume_create --size 2G || exit 99
volume_mount -o cache_size=16M,commit=1 || exit 99
dd if=/dev/urandom of="$MNT/still" bs=1M count=16 conv=fsync status=none
mkdir "$MNT/pairs"

# writers_start: pairs of atomic files, files that come and go, one that is
# overwritten.
writers_start()
{
	"$helper" write "$MNT/pairs" "$MNT/.foliofs/vm/sync" \
		>"$TMP/generations" 2>"$TMP/writer.err" &
	echo $! >"$TMP/writers"
	rm -f "$TMP/stop"
	(
		while [ ! -e "$TMP/stop" ]; do
			head -c 3M /dev/urandom >"$MNT/new"
			mv "$MNT/new" "$MNT/churn"
			dd if=/dev/urandom of="$MNT/over" bs=64K count=8 \
				seek=$((1$(date +%N | tail -c 3) % 32)) \
				conv=notrunc,fsync status=none
		done
	) >/dev/null 2>&1 &
	echo $! >>"$TMP/writers"
	until_true 60 generation_is_past 3 || fail 'no pair is written'
}

generation_is_past()
{
	[ "$(tail -n 1 "$TMP/generations")" -gt "$1" ] 2>/dev/null
}

# The first of them must not have ended by itself. Its files are closed then,
# and so committed, as they are: only a copy made before has a whole pair.
writers_stop()
{
	_writers=$(cat "$TMP/writers")
	: >"$TMP/stop"
	kill "${_writers%%[!0-9]*}" ||
		fail "a writer had ended: $(cat "$TMP/writer.err")"
	for _w in $_writers; do
		until_true 60 ended "$_w" || fail 'a writer does not end'
	done
}

ended()
{
	! kill -0 "$1" 2>/dev/null ||
		grep -q '^State:.*Z' "/proc/$1/status"
}

no_holds()
{
	[ "$(vmstat nr_holds)" = 0 ]
}

# json NAME: a number of the last result.
json()
{
	grep -oE "\"$1\": [0-9]+" "$TMP/result" | grep -oE '[0-9]+$'
}

backup()
{
	"$FOLIOCTL" backup --json "$@" "$MNT" "$copy" >"$TMP/result"
}

# mounted_copy FUNCTION: with the copy mounted in place of the volume.
mounted_copy()
{
	volume_umount
	VOL=$copy volume_mount -o ro
	_status=0
	"$@" || _status=$?
	volume_umount
	volume_mount -o cache_size=16M,commit=1
	return "$_status"
}

pair_is_whole()
{
	_generation=$("$helper" check "$MNT/pairs")
	at_least "$_generation" "$1" 'generation'
	cmp "$TMP/still" "$MNT/still"
}

# copy_some [OPTIONS]: a backup that has copied something and is stopped there,
# however fast or slow the machine is; its pid is $_pid.
copy_some()
{
	"$FOLIOCTL" backup --json --rate 2M "$@" "$MNT" "$copy" \
		>"$TMP/result" 2>"$TMP/said" &
	_pid=$!
	until_true 60 some_copied || fail 'nothing is copied'
	kill -STOP "$_pid" || fail "it has ended: $(cat "$TMP/said")"
}

some_copied()
{
	_blocks=$(stat -c %b "$copy/data" 2>/dev/null) &&
		[ "$_blocks" -gt 1024 ]
}

# commits_since NUMBER: three, which freed something.
commits_since()
{
	[ "$(vmstat commits)" -ge $(($1 + 3)) ] &&
		[ "$(vmstat nr_blocks_withheld)" -gt 0 ]
}

t_live()
{
	cp "$MNT/still" "$TMP/still"
	writers_start
	_first=$(tail -n 1 "$TMP/generations")
	copy_some
	until_true 60 commits_since "$(vmstat commits)" ||
		fail 'nothing is withheld'
	kill -CONT "$_pid"
	wait "$_pid"
	writers_stop
	at_least "$(json copied)" 4096 'pages copied'
	is "$(json bad)" 0 'bad pages'
	until_true 60 no_holds || fail 'the hold has not ended'
	is "$(vmstat nr_blocks_withheld)" 0 'blocks withheld'
	is "$(vmstat holds_lost)" 0 'holds lost'
	"$FOLIOCTL" check "$copy"
	mounted_copy pair_is_whole "$_first"
}

# Killed, there is nothing to be mounted, and the rest is done by another run.
t_killed()
{
	rm -rf "$copy"
	writers_start
	copy_some
	kill -KILL "$_pid"
	wait "$_pid" || :
	until_true 60 no_holds || fail 'the hold has not ended'
	fails_with 'a backup that was not finished' "$FOLIOCTL" check "$copy"
	mkdir "$TMP/nowhere"
	fails_with 'a backup that was not finished' \
		"$FOLIOFS" "$copy" "$TMP/nowhere"

	backup
	writers_stop
	at_least "$(json kept)" 100 'pages that were there'
	"$FOLIOCTL" check "$copy"
	mounted_copy pair_is_whole 3
}

# An older copy is brought up to date, or stays as it was.
t_update()
{
	writers_start
	backup
	at_least "$(json kept)" 4096 'pages that were there'
	"$FOLIOCTL" info "$copy" | grep commit_no >"$TMP/before"
	"$FOLIOCTL" backup --rate 256K "$MNT" "$copy" &
	_pid=$!
	until_true 60 test -e "$copy/backup.tmp/meta.db-wal"
	kill -KILL "$_pid"
	wait "$_pid" || :
	"$FOLIOCTL" info "$copy" | grep commit_no >"$TMP/after"
	cmp "$TMP/before" "$TMP/after"
	"$FOLIOCTL" check "$copy"
	backup
	writers_stop
	"$FOLIOCTL" check "$copy"
	mounted_copy pair_is_whole 3
}

limited_backup()
(
	trap '' XFSZ
	ulimit -f 8192
	"$FOLIOCTL" backup "$MNT" "$copy"
)

t_no_room()
{
	rm -rf "$copy"
	fails_with 'copy: data: No space left' limited_backup
	fails_with 'a backup that was not finished' "$FOLIOCTL" check "$copy"
	until_true 60 no_holds || fail 'the hold has not ended'
	echo hello >"$MNT/hello"
	backup --sync
	at_least "$(json kept)" 1 'pages that were there'
	"$FOLIOCTL" check "$copy"
	mounted_copy grep -q hello "$MNT/hello"
}

# flip OFFSET: a bit of the data file.
flip()
{
	_byte=$(dd if="$VOL/data" bs=1 skip="$1" count=1 status=none |
		od -An -tu1)
	# shellcheck disable=SC2059
	printf "\\$(printf %o $((_byte ^ 1)))" |
		dd of="$VOL/data" bs=1 seek="$1" conv=notrunc,fsync status=none
}

t_bad_block()
{
	rm -rf "$copy"
	_i=1000
	while [ "$_i" -lt 1100 ]; do
		printf 'a page with a mark %4077d' "$_i"
		_i=$((_i + 1))
	done >"$MNT/marked"
	"$FOLIOCTL" sync "$MNT"
	_off=$(grep -abo 'a page with a mark *1002' "$VOL/data" | tail -n 1)
	_off=${_off%%:*}
	flip "$_off"
	_status=0
	"$FOLIOCTL" backup "$MNT" "$copy" >"$TMP/said" 2>&1 || _status=$?
	cat "$TMP/said"
	is "$_status" 4 'exit status'
	grep -q '^/marked: inode [0-9]*, pages 2-2: not what was' "$TMP/said"
	grep -q '1 bad pages: the backup is not finished' "$TMP/said"
	fails_with 'a backup that was not finished' "$FOLIOCTL" check "$copy"
	flip "$_off"
	backup
	"$FOLIOCTL" check "$copy"
}

t_refused()
{
	fails_with 'in use by process .*mounted at' \
		"$FOLIOCTL" backup "$VOL" "$copy"
	fails_with 'in use by process' "$FOLIOCTL" backup "$MNT" "$VOL"
	fails_with 'no foliofs is mounted here' \
		"$FOLIOCTL" backup "$TMP" "$copy"
	mkdir "$TMP/mine"
	: >"$TMP/mine/file"
	fails_with 'not empty' "$FOLIOCTL" backup "$MNT" "$TMP/mine"
	fails_with 'not a rate' "$FOLIOCTL" backup --rate x "$MNT" "$copy"
	fails_with 'are wanted' "$FOLIOCTL" backup "$MNT"
}

# Two states of this do not fit: those who write get the room.
t_lost_hold()
{
	volume_umount
	rm -rf "$VOL" "$copy"
	volume_create --size 48M
	volume_mount -o cache_size=16M
	head -c 20M /dev/urandom >"$MNT/file"
	"$FOLIOCTL" sync "$MNT"
	exec 9<"$MNT/.foliofs/hold"
	is "$(vmstat nr_holds)" 1 'holds'
	for _i in 1 2 3; do
		dd if=/dev/urandom of="$MNT/file" bs=1M count=20 \
			conv=notrunc,fsync status=none
	done
	is "$(cat <&9)" 0 'the hold'
	is "$(vmstat holds_lost)" 1 'holds lost'
	exec 9<&-

	copy_some
	for _i in 1 2 3; do
		dd if=/dev/urandom of="$MNT/file" bs=1M count=20 \
			conv=notrunc,fsync status=none
	done
	kill -CONT "$_pid"
	_status=0
	wait "$_pid" || _status=$?
	cat "$TMP/said"
	is "$_status" 1 'exit status'
	grep -q 'given up, as the mount needed the room' "$TMP/said"
	backup
	"$FOLIOCTL" check "$copy"
	volume_umount
}

run 'a mount that is written to: one committed state' t_live
run 'killed, and begun again' t_killed
run 'an older copy is brought up to date, all or nothing' t_update
run 'no room at the destination' t_no_room
run 'a bad block is named, and the copy not finished' t_bad_block
run 'what is no source and no destination' t_refused
run 'those who write come first' t_lost_hold
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# Failure-atomic msync: a mapped file that is atomic is found, after the daemon
# was killed, as its last msync left it, though half of its pages were stored to
# and handed over since, other files were synced and the timer ran. It is bigger
# than the cache. The same file, not atomic, shows that the test can tell.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

helper=$top_builddir/mmap_helper

# half_done GENERATION OPTIONS: all of a generation, half of the next, a kill.
half_done()
{
	mkfifo "$TMP/stdin" 2>/dev/null || :
	rm -f "$TMP/said"
	"$helper" generation "$MNT/folder/file" "$1" <"$TMP/stdin" \
		>"$TMP/said" &
	_helper=$!
	exec 3>"$TMP/stdin"
	until_true 60 test -s "$TMP/said" || fail 'it does not get half way'
	_commits=$(vmstat commits)
	dd if=/dev/zero of="$MNT/other" bs=4096 count=10 conv=fsync 2>&1
	until_true 30 committed_since "$_commits"
	daemon_kill
	exec 3>&-
	wait "$_helper" || :
	volume_check
	volume_mount -o "$2"
}

# Two: that of the other file, and one more, which is the timer's.
committed_since()
{
	echo more >>"$MNT/other"
	[ "$(vmstat commits)" -ge $(($1 + 2)) ]
}

t_option()
{
	rm -rf "$VOL"
	volume_create
	volume_mount -o "$1,atomic"
	mkdir "$MNT/folder"
	half_done 10 "$1,atomic"
	"$helper" is-generation "$MNT/folder/file" 10
	half_done 20 "$1,atomic"
	"$helper" is-generation "$MNT/folder/file" 20
	volume_umount
}

t_xattr()
{
	skip_unless setfattr
	volume_mount -o "$1"
	rm "$MNT/folder/file"
	setfattr -n user.foliofs.atomic -v 1 "$MNT/folder"
	half_done 30 "$1"
	"$helper" is-generation "$MNT/folder/file" 30
	volume_umount
}

t_periodic()
{
	volume_mount -o "$1"
	rm -r "$MNT/folder"
	mkdir "$MNT/folder"
	half_done 40 "$1"
	fails_with 'is of generation 4[01], not 4[01]' \
		"$helper" is-generation "$MNT/folder/file" 41
	fails_with 'is of generation 41, not 40' \
		"$helper" is-generation "$MNT/folder/file" 40
	volume_umount
}

for mode in kernel writeback own; do
	opts=cache=$mode,cache_size=8M,commit=1
	run "cache=$mode: -o atomic" t_option "$opts"
	run "cache=$mode: a folder whose files are atomic" t_xattr "$opts"
	run "cache=$mode: a file that is not atomic" t_periodic "$opts"
done
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2317
#
# mount(8), fstab and umount(8), which find the daemon by mount.fuse(8) where
# it is installed: in a mount namespace of our own it is as if it were.
: "${top_srcdir:?}"

if [ -z "${FOLIO_UNSHARED:-}" ] && unshare -m true 2>/dev/null; then
	FOLIO_UNSHARED=1 exec unshare -m --propagation private sh "$0"
fi

# shellcheck source=tests/mount_lib.sh
. "$top_srcdir/tests/mount_lib.sh"

mount_init 120
export LC_ALL=C

# has_flag OPTION: as the kernel shows what is mounted.
has_flag()
{
	awk -v m="$MNT" -v o="$1" '$5 == m { found = 0; n = split($6, a, ",")
		for (i = 1; i <= n; i++) found += a[i] == o }
		END { exit !found }' /proc/self/mountinfo
}

# The daemon may still commit then.
umount_and_check()
{
	umount "$MNT"
	until_true 60 volume_check
}

# Where mount.fuse looks for it, whatever PATH is.
install_it()
{
	[ -n "${FOLIO_UNSHARED:-}" ] && [ -d /usr/local/sbin ] || return 0
	mkdir "$TMP/sbin"
	ln -s "$FOLIOFS" "$TMP/sbin/foliofs"
	mount --bind "$TMP/sbin" /usr/local/sbin
}

need_it()
{
	skip_unless mount.fuse
	is_mounted /usr/local/sbin || skip 'it cannot be installed here'
}

t_mount()
{
	need_it
	mount -t fuse.foliofs "$VOL" "$MNT" \
		-o cache_size=64M,noatime,nosuid,x-systemd.automount
	has_flag noatime || fail 'noatime is not there'
	has_flag nosuid || fail 'nosuid is not there'
	echo 1 >"$MNT/f"
	mount -o remount,ro "$MNT"
	has_flag ro || fail 'it is not read-only'
	fails_with 'Read-only' sh -c "echo 2 >'$MNT/f'"
	mount -o remount,rw "$MNT"
	has_flag noatime || fail 'noatime is gone'
	echo 3 >"$MNT/f"
	is "$(cat "$MNT/f")" 3
	umount_and_check
}

t_fstab()
{
	need_it
	_options=noauto,user,exec,_netdev,nofail,x-systemd.automount
	echo "$VOL $MNT fuse.foliofs $_options,cache_size=64M 0 0" \
		>"$TMP/fstab"
	mount --all --fstab "$TMP/fstab"
	! is_mounted "$MNT" || fail 'noauto does not hold'
	mount --fstab "$TMP/fstab" "$MNT"
	has_flag nodev || fail 'user does not imply nodev'
	! has_flag noexec || fail 'exec does not hold'
	echo hello >"$MNT/g"
	is "$(cat "$MNT/g")" hello
	umount_and_check
}

# shellcheck disable=SC2119
volume_create
install_it
run 'mount(8) mounts it, remounts it, and umount(8) unmounts it' t_mount
run 'a line of fstab is enough, with options that are for others' t_fstab
umount /usr/local/sbin 2>/dev/null || :
finish

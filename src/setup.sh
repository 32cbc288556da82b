#!/bin/sh
# SPDX-License-Identifier: MIT
#
# From a fresh Debian 12 or 13 to a mounted volume: installs what is missing,
# builds in build/, makes the volume unless it is there, mounts it. May be run
# again at any time.

usage='usage: sh src/setup.sh [VOLUME [MOUNTPOINT]]
VOLUME is ~/foliofs.folio, MOUNTPOINT ~/foliofs-mnt, unless given.'

top=$(cd "$(dirname "$0")/.." && pwd -P) || exit 1
# shellcheck source=src/packages.sh
. "$top/src/packages.sh"

absolute()
{
	case $1 in
	/*) echo "$1" ;;
	*) echo "$PWD/$1" ;;
	esac
}

# fs_at DIRECTORY: type and source of what is mounted there, or nothing. The
# kernel writes a blank as \040.
fs_at()
{
	DIR=$1 awk '
		BEGIN { m = ENVIRON["DIR"]; gsub(/ /, "\\040", m) }
		$5 == m { for (i = 7; $i != "-"; i++); f = $(i+1) " " $(i+2) }
		END { gsub(/\\040/, " ", f); print f }' /proc/self/mountinfo
}

# quoted WORD: as it is to be typed.
quoted()
{
	case $1 in
	*[!A-Za-z0-9_./,+=:@%-]*)
		printf "'%s'\n" "$(printf '%s\n' "$1" | sed "s/'/'\\\\''/g")"
		;;
	*) printf '%s\n' "$1" ;;
	esac
}

# The folder to mount at: made if missing, empty. Sets $mnt to its real path.
prepare_mountpoint()
{
	mkdir -p "$mnt" 2>/dev/null || [ -d "$mnt" ] ||
		die "cannot make the mountpoint $mnt"
	if ! list=$(ls -A "$mnt" 2>&1); then
		die "the mountpoint $mnt does not answer ($list); if a daemon
died there: $umount $(quoted "$mnt")"
	fi
	mnt=$(cd "$mnt" && pwd -P)
	[ -z "$(fs_at "$mnt")" ] || return 0
	[ -z "$list" ] || die "the mountpoint $mnt is not an empty folder"
}

case ${1:-} in
-h | --help)
	echo "$usage"
	exit 0
	;;
-*)
	die "unknown option: $1
$usage"
	;;
esac
[ $# -le 2 ] || die "too many operands
$usage"
vol=$(absolute "${1:-$HOME/foliofs.folio}")
mnt=$(absolute "${2:-$HOME/foliofs-mnt}")
umount='fusermount3 -u'
[ "$(id -u)" != 0 ] || umount=umount

# shellcheck disable=SC2086
install_packages $build_packages
why=$(fuse_device) || die "$why"
say "building in $top/build"
build_in "$top/build" >"$top/build.log" 2>&1 || {
	tail -n 30 "$top/build.log" >&2
	die "building failed, see $top/build.log"
}
rm -f "$top/build.log"

prepare_mountpoint
case $(fs_at "$mnt") in
'')
	if [ ! -e "$vol" ]; then
		say "making the volume $vol"
		"$top/build/folioctl" create "$vol" || exit 1
	fi
	say "mounting $vol at $mnt"
	"$top/build/foliofs" "$vol" "$mnt" || exit 1
	;;
"fuse.foliofs $(cd "$vol" 2>/dev/null && pwd -P)")
	say "$vol is mounted at $mnt already"
	;;
*)
	die "the mountpoint $mnt is busy: $(fs_at "$mnt") is mounted there"
	;;
esac

build=$(quoted "$top/build")
vol=$(quoted "$vol")
mnt=$(quoted "$mnt")
cat <<END

The volume $vol is mounted at $mnt. Work in it with any program.

What its page cache does:
    cat $mnt/.foliofs/meminfo $mnt/.foliofs/vmstat
    cat $mnt/.foliofs/files
    $build/folioctl stat $mnt 1
Unmount, which commits everything:
    $umount $mnt
Mount again:
    $build/foliofs $vol $mnt
END

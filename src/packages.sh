# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034
#
# Getting foliofs built on Debian: what to install, and how to configure and
# compile out of tree. Sourced by src/setup.sh and tests/run-all.sh, which set
# $top, the folder of the sources.

build_packages='gcc libc6-dev make autoconf automake pkgconf
	libfuse3-dev fuse3 libsqlite3-dev libxxhash-dev check'

say()
{
	printf '== %s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# as_root COMMAND...: by sudo where need be.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# install_packages PACKAGE...: those that are missing, and nothing else.
install_packages()
{
	if ! command -v apt-get >/dev/null; then
		say "no apt-get here; needed are Debian's packages: $*"
		return
	fi

	_missing=
	for _p; do
		case $(dpkg-query -W -f '${Status}' "$_p" 2>/dev/null) in
		'install ok installed') ;;
		*) _missing="$_missing $_p" ;;
		esac
	done
	[ -n "$_missing" ] || return 0

	[ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
		die "not root, and there is no sudo; as root, first run
    apt-get update && apt-get install$_missing"
	say "installing$_missing"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update ||
		die 'apt-get update failed (is there a network?)'
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		--no-install-recommends install $_missing ||
		die "apt-get install failed:$_missing"
}

# build_in DIRECTORY [OPTIONS of configure]: configure if need be, and make.
build_in()
{
	_dir=$1
	shift
	_stale=$(find "${top:?}/configure.ac" "$top/Makefile.am" \
		-newer "$top/Makefile.in" 2>/dev/null)
	if [ ! -e "$top/configure" ] || [ -n "$_stale" ]; then
		(cd "$top" && autoreconf -fi) || return 1
	fi

	mkdir -p "$_dir" || return 1
	if [ ! -e "$_dir/Makefile" ] ||
		[ "$(cat "$_dir/.options" 2>/dev/null)" != "$*" ]; then
		(cd "$_dir" && "$top/configure" "$@") || return 1
		echo "$*" >"$_dir/.options"
	fi
	make -C "$_dir" -j "$(nproc)"
}

# fuse_device: whether filesystems can be mounted here; says why not.
fuse_device()
{
	[ -e /dev/fuse ] || [ "$(id -u)" != 0 ] || modprobe fuse 2>/dev/null
	if [ ! -c /dev/fuse ]; then
		echo 'there is no /dev/fuse: load the kernel module fuse, or'
		echo 'give it to the container (docker run --device /dev/fuse'
		echo '--cap-add SYS_ADMIN)'
		return 1
	elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
		echo "/dev/fuse may not be opened by $(id -un)"
		return 1
	fi
}

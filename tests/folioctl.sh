#!/bin/sh
# SPDX-License-Identifier: MIT
#
# folioctl without a mount: create, check, info, and what it refuses. TAP.

: "${top_srcdir:?run by make check}" "${top_builddir:?}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
ctl=$top_builddir/folioctl
ln -s "$ctl" "$tmp/mkfs.foliofs"
ln -s "$ctl" "$tmp/fsck.foliofs"
nr=0
failed=0

# run NAME FUNCTION: a test; it fails by returning other than 0.
run()
{
	nr=$((nr + 1))
	if (set -e; "$2") >"$tmp/out" 2>&1; then
		echo "ok $nr - $1"
	else
		failed=1
		sed 's/^/# /' "$tmp/out"
		echo "not ok $nr - $1"
	fi
}

# exits STATUS COMMAND...: stdout and stderr are kept in $tmp/1 and $tmp/2.
exits()
{
	_want=$1
	shift
	_got=0
	"$@" >"$tmp/1" 2>"$tmp/2" || _got=$?
	[ "$_got" = "$_want" ] || {
		echo "$*: exit status $_got, not $_want"
		cat "$tmp/1" "$tmp/2"
		exit 1
	}
}

# says N PATTERN: what went to 1 or 2 has a line like that.
says()
{
	grep -q -- "$2" "$tmp/$1" || {
		echo "no '$2' in:"
		cat "$tmp/$1"
		exit 1
	}
}

one_line()
{
	[ "$(wc -l <"$tmp/$1")" = 1 ] || {
		echo "not one line:"
		cat "$tmp/$1"
		exit 1
	}
}

t_help()
{
	for _c in create check info stat sync compact drop set; do
		exits 0 "$ctl" --help
		says 1 "^  $_c "
		exits 0 "$ctl" $_c --help
		says 1 "^usage: folioctl $_c "
		exits 0 "$ctl" $_c --version
	done
	exits 0 "$ctl" --version
	says 1 'foliofs'
}
run '--help names every command, and each has its own' t_help

t_usage()
{
	exits 2 "$ctl"
	exits 2 "$ctl" frobnicate
	says 2 'unknown command: frobnicate'
	for _c in create check info stat sync compact drop set; do
		exits 2 "$ctl" $_c
		says 2 'is wanted'
		exits 2 "$ctl" $_c --frobnicate x
		says 2 'unknown option: --frobnicate'
	done
	exits 2 "$ctl" create a b
	exits 2 "$ctl" check a b
	exits 2 "$ctl" stat "$tmp" 0
	exits 2 "$ctl" stat "$tmp" 1 x
	exits 2 "$ctl" stat "$tmp" 1 2 3
	says 2 'too many operands: 3'
	exits 2 "$ctl" create --size
	[ ! -e a ]
}
run 'wrong usage exits with 2 and says what is wrong' t_usage

t_create()
{
	exits 0 "$ctl" create --size 64M "$tmp/v"
	[ -f "$tmp/v/meta.db" ] && [ -f "$tmp/v/data" ]
	exits 0 "$ctl" info "$tmp/v"
	says 1 '^size_bytes 67108864$'
	says 1 '^uuid [0-9a-f]\{8\}-[0-9a-f-]\{27\}$'
	says 1 '^inodes 1$'
	says 1 "^path $tmp/v\$"
	grep '^pid ' "$tmp/1" && exit 1
	exits 0 "$ctl" check "$tmp/v"
	says 1 ': clean$'
}
run 'a volume is made, described, and found clean' t_create

t_again()
{
	exits 1 "$ctl" create "$tmp/v"
	one_line 2
	exits 0 "$ctl" check "$tmp/v"
	mkdir "$tmp/full"
	echo mine >"$tmp/full/file"
	exits 1 "$ctl" create "$tmp/full"
	[ "$(ls "$tmp/full")" = file ]
	mkdir "$tmp/empty"
	exits 0 "$ctl" create "$tmp/empty"
	exits 1 "$ctl" create "$tmp/no/such/parent"
}
run 'nothing is made where something is' t_again

t_sizes()
{
	for _s in 0 -1 x 1KB 1.5M '' 16777216T 99999999999999999999 10%; do
		exits 2 "$ctl" create --size "$_s" "$tmp/s"
		[ ! -e "$tmp/s" ]
	done
}
run 'sizes that are none are refused' t_sizes

# json PATH VALUE: what $tmp/1 has there, by SQLite, which is strict about it.
json()
{
	_got=$(sqlite3 :memory: \
		"SELECT json_extract(readfile('$tmp/1'), '$1')") || exit 1
	[ "$_got" = "$2" ] || {
		echo "$1 is '$_got', not '$2', in:"
		cat "$tmp/1"
		exit 1
	}
}

t_json()
{
	exits 0 "$ctl" info --json "$tmp/v"
	json '$.size_bytes' 67108864
	json '$.path' "$tmp/v"
	exits 0 "$ctl" check --json "$tmp/v"
	json '$.faults' 0
	json '$.reports' '[]'
}
run 'info and check speak JSON' t_json

t_messages()
{
	exits 0 "$ctl" create -s 16M "$tmp/again"
	exits 1 "$ctl" create "$tmp/again"
	says 2 'it is a volume already'
	exits 1 "$ctl" create "$tmp"
	says 2 'the folder is not empty'
	exits 1 "$ctl" create -s 4K "$tmp/small"
	says 2 'a volume has at least 1024K'
	[ ! -e "$tmp/small" ]
	exits 1 "$ctl" info "$tmp"
	says 2 'neither a volume nor a mount'
	exits 1 "$ctl" info "$ctl"
	says 2 'neither a volume nor a mount'
	for _c in create check info stat sync drop; do
		exits 2 "$ctl" $_c ''
		says 2 'an empty name'
	done
	exits 2 "$tmp/mkfs.foliofs" ''
}
run 'what is refused is refused for the reason there is' t_messages

t_nothing()
{
	for _c in check info; do
		exits 1 "$ctl" $_c "$tmp/nothing"
		one_line 2
		exits 1 "$ctl" $_c "$tmp"
		one_line 2
	done
	for _c in stat sync compact drop set; do
		exits 1 "$ctl" $_c "$tmp/nothing"
		says 2 'No such file'
		exits 1 "$ctl" $_c "$tmp"
		says 2 'no foliofs is mounted here'
		one_line 2
	done
	mkdir -p "$tmp/fake/.foliofs/vm"
	exits 1 "$ctl" sync "$tmp/fake"
	says 2 'no foliofs is mounted here'
	[ ! -e "$tmp/fake/.foliofs/vm/sync" ]
}
run 'what is no volume and no mount is told from one' t_nothing

# A name in a folder that is not there, of an inode that is not.
t_faults()
{
	cp -r "$tmp/v" "$tmp/bad"
	sqlite3 "$tmp/bad/meta.db" "INSERT INTO dentry(id, parent, name, ino,
		type) VALUES(77, 4711, x'fe0a', 4712, 32768)"
	exits 4 "$ctl" check "$tmp/bad"
	says 1 'fault'
	exits 4 "$ctl" check --no-data "$tmp/bad"
	exits 4 "$ctl" check --json "$tmp/bad"
	_n=$(grep -o '"faults": [1-9][0-9]*' "$tmp/1" | cut -d' ' -f2)
	json '$.faults' "$_n"
	json "$.reports[$_n]" ''
	exits 4 "$tmp/fsck.foliofs" -n "$tmp/bad"
	exits 4 "$tmp/fsck.foliofs" -a "$tmp/bad"
	exits 4 "$tmp/fsck.foliofs" -r "$tmp/bad" </dev/null
	exits 2 "$ctl" check --discard "$tmp/bad"
}
run 'a damaged volume has faults, exit status 4' t_faults

# Each way to have it repaired, and that it is clean then.
t_repair()
{
	for _way in "$ctl check --repair" "$ctl check --repair --discard" \
		"$tmp/fsck.foliofs -y" "$tmp/fsck.foliofs -r"; do
		rm -rf "$tmp/r"
		cp -r "$tmp/bad" "$tmp/r"
		case $_way in *fsck*) _s=1 ;; *) _s=0 ;; esac
		# shellcheck disable=SC2086
		echo y | exits "$_s" $_way "$tmp/r"
		says 1 'fault'
		exits 0 "$ctl" check "$tmp/r"
		exits 0 "$tmp/fsck.foliofs" -fy "$tmp/r"
	done
	exits 0 "$ctl" check --repair --json "$tmp/r"
	json '$.left' 0
}
run 'repair makes it clean, exit status 0, of fsck 1' t_repair

t_garbage()
{
	mkdir -p "$tmp/g"
	head -c 100000 /dev/urandom >"$tmp/g/meta.db"
	: >"$tmp/g/data"
	exits 1 "$ctl" info "$tmp/g"
	one_line 2
	exits 8 "$tmp/fsck.foliofs" "$tmp/g"
	rm -r "$tmp/g"
}
run 'garbage is no volume' t_garbage

t_names()
{
	exits 0 "$tmp/mkfs.foliofs" -s 64M "$tmp/v2"
	for _o in -a -p -n -y -f -fy -C -C0 -apf; do
		exits 0 "$tmp/fsck.foliofs" $_o "$tmp/v2"
	done
	exits 0 "$tmp/fsck.foliofs" -V
	exits 16 "$tmp/fsck.foliofs"
	exits 16 "$tmp/fsck.foliofs" -z "$tmp/v2"
	exits 8 "$tmp/fsck.foliofs" "$tmp/nothing"
	exits 1 "$tmp/mkfs.foliofs" "$tmp/v2"
	says 2 '^mkfs.foliofs: '
}
run 'mkfs.foliofs and fsck.foliofs are what their names say' t_names

t_output()
{
	[ -w /dev/full ] || return 0
	_s=0
	"$ctl" info "$tmp/v" >/dev/full 2>"$tmp/2" || _s=$?
	[ $_s = 1 ]
	says 2 'cannot write'
}
run 'a full standard output is an error' t_output

echo "1..$nr"
exit $failed

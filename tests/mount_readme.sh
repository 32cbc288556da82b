#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# The README's example, as it stands there: compiled, run on a mount, its
# output compared with what the README says.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 60
volume_create || exit 99
volume_mount || exit 99

# block LANGUAGE: the lines of the first such block.
block()
{
	awk -v l="\`\`\`$1" '$0 == l { on = 1; next } /^```/ { if (on) exit }
		on' "$top_srcdir/README.md"
}

t_example()
{
	block c >"$TMP/example.c"
	[ -s "$TMP/example.c" ] || fail 'there is no example'
	# shellcheck disable=SC2086
	${CC:-cc} -Wall -Wextra -Werror -o "$TMP/example" "$TMP/example.c"
	"$TMP/example" "$MNT/counter" >"$TMP/got"
	"$TMP/example" "$MNT/counter" >>"$TMP/got"
	block text | cmp - "$TMP/got"
	volume_remount
	is "$("$TMP/example" "$MNT/counter")" 'run 3' 'what the third run says'
}

# Each path below .foliofs that it names is there.
t_files()
{
	grep -oE '\.foliofs/[a-z/]+[a-z]' "$top_srcdir/README.md" | sort -u \
		>"$TMP/paths"
	[ -s "$TMP/paths" ]
	while read -r _p; do
		[ -e "$MNT/$_p" ] || fail "$_p is not there"
	done <"$TMP/paths"
}

run 'the example compiles, runs and prints what the README says' t_example
run 'the control files that the README names are there' t_files
finish

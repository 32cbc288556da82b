#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What commits cost in instructions of the processor, all threads and libraries
# together, counted by valgrind: a dirty page of a sparse file of 10 GiB costs
# no more than one of a file of 1 MiB. TAP on stdout.

: "${top_builddir:?run by make check}"

skip_all()
{
	echo "1..0 # SKIP $*"
	exit 0
}

command -v valgrind >/dev/null || skip_all 'no valgrind here'
! grep -q '^#define FOLIO_SANITIZE' "$top_builddir/config.h" ||
	skip_all 'a sanitizer does not go with valgrind'

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# instructions FILE:COMMITS: of the whole run.
instructions()
{
	FOLIO_COST=$1 FOLIO_SEED=1 CK_FORK=no valgrind --tool=callgrind \
		--callgrind-out-file=/dev/null \
		"$top_builddir/test_fs_cost" >"$tmp/$1" 2>&1 || {
		sed 's/^/# /' "$tmp/$1" >&2
		return 1
	}
	sed -n 's/.*Collected : //p' "$tmp/$1"
}

# Of a commit, the first few apart, which compile SQL.
commits=64
result='not ok'
if few=$(instructions small:8) && small=$(instructions small:$((8 + commits))) &&
	few_huge=$(instructions huge:8) &&
	huge=$(instructions huge:$((8 + commits)))
then
	small=$(((small - few) / commits))
	huge=$(((huge - few_huge) / commits))
	echo "# $small instructions for a page of 1 MiB, $huge of 10 GiB"
	# In a hundred, one or two are what threads do meanwhile; a cost that
	# followed the size would be 10000 times as much.
	[ "$small" -gt 1000 ] && [ "$huge" -gt 1000 ] &&
		[ "$huge" -le $((small + small / 10)) ] && result=ok
fi
echo "$result 1 - a page of a huge file costs no more instructions"
echo '1..1'
[ "$result" = ok ]

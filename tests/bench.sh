#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make bench: foliofs beside bindfs, the host's filesystem and a FUSE
# filesystem that does nothing, each measure taken in turns within a round, so
# that what else the machine does meets all of them. Prints medians of all
# rounds and their ratios, writes every value to a CSV file.
#
# Environment (make bench BENCH_ROUNDS=3 works):
#   BENCH_ROUNDS	5
#   BENCH_MIB		size of the big file, 512
#   BENCH_FILES		number of small files, 20000
#   BENCH_FS		"foliofs bindfs host null"
#   BENCH_DIR		where all of it lies, the build folder
#   BENCH_OPTS		mount options of foliofs, cache_size=1G
#   BENCH_CSV		bench.csv in the build folder
#   BENCH_MEASURES	only these; what they build on is done anyway
#
# Cold: dropped from the daemon's cache and, as root, from the kernel's. Warm:
# the kernel's copy of the file is dropped, the daemon's is not; of bindfs that
# is the host's page cache, of the host's filesystem nothing, so it has no warm.
# Hot: read before.

: "${top_builddir:?run by make bench}"
rounds=${BENCH_ROUNDS:-5}
mib=${BENCH_MIB:-512}
files=${BENCH_FILES:-20000}
systems=${BENCH_FS:-foliofs bindfs host null}
opts=${BENCH_OPTS:-cache_size=1G}
csv=${BENCH_CSV:-$top_builddir/bench.csv}
bench=$top_builddir/tests/bench

# In this order; prepare and remove-* are steps between and not printed.
measures='seq-write-fsync seq-read-cold seq-read-warm seq-read-hot remove-big
	create-4k stat unlink
	prepare overwrite-4k-fsync read-4k-hot read-1m-hot write-4k-hot
	write-1m-hot read-4k-warm remove-resident'

die()
{
	echo "bench: $*" >&2
	exit 1
}

has()
{
	case " $systems " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

! has bindfs || command -v bindfs >/dev/null ||
	die 'bindfs is needed: install it, or BENCH_FS="foliofs host null"'

is_mounted()
{
	grep -q " $1 " /proc/self/mountinfo
}

unmount()
{
	! is_mounted "$1" || umount "$1" 2>/dev/null ||
		fusermount3 -u "$1" 2>/dev/null || umount -l "$1" ||
		fusermount3 -u -z "$1"
}

clean_up()
{
	trap - EXIT
	for _fs in foliofs bindfs null; do
		unmount "$dir/$_fs"
	done
	rm -rf "$dir"
}

# The best that bindfs can: with libfuse 2 writes are 4 KiB each, unless
# big_writes is given, which libfuse 3 does not know.
mount_bindfs()
{
	mkdir "$dir/bindfs.under"
	bindfs -o big_writes "$dir/bindfs.under" "$dir/bindfs" 2>/dev/null ||
		bindfs "$dir/bindfs.under" "$dir/bindfs" ||
		die 'cannot mount bindfs'
}

mount_foliofs()
{
	[ -e "$dir/vol" ] || "$top_builddir/folioctl" create "$dir/vol" ||
		die 'cannot make a volume'
	"$top_builddir/foliofs" -o "$opts" "$dir/vol" "$dir/foliofs" ||
		die 'cannot mount foliofs'
}

# The null filesystem stays in the foreground; it is there when it is mounted.
mount_null()
{
	"$top_builddir/tests/nullfs" "$dir/null" &
	_i=0
	until is_mounted "$dir/null"; do
		_i=$((_i + 1))
		[ "$_i" -lt 100 ] || die 'cannot mount nullfs'
		sleep 0.05
	done
}

# settle FS: nothing of before is still being written.
settle()
{
	[ "$1" != foliofs ] ||
		"$top_builddir/folioctl" sync "$dir/foliofs" || exit 1
	sync -f "$dir"
}

# make_cold FS: no copy of any content is left, in the kernel or in the daemon.
make_cold()
{
	[ "$1" != foliofs ] ||
		"$top_builddir/folioctl" drop "$dir/foliofs" || exit 1
	if [ -w /proc/sys/vm/drop_caches ]; then
		echo 3 >/proc/sys/vm/drop_caches
	else
		for _f in "$dir/$1/big" "$dir/bindfs.under/big"; do
			[ ! -e "$_f" ] || dd if="$_f" iflag=nocache count=0 \
				2>/dev/null
		done
	fi
}

wanted()
{
	case " ${BENCH_MEASURES:-$1} " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

# one ROUND FS MEASURE
one()
{
	case $3 in
	remove-* | prepare | seq-write-fsync | create-4k | unlink) ;;
	*) wanted "$3" || return 0 ;;
	esac
	case $2:$3 in
	host:*-warm) return 0 ;;
	esac

	settle "$2"
	[ "$3" != seq-read-cold ] || make_cold "$2"
	_value=$("$bench" "$3" "$dir/$2" "$mib" "$files") ||
		die "$2: $3 failed"
	case $3 in
	prepare | remove-*) ;;
	*) echo "$1,$2,$3,$_value" >>"$csv" ;;
	esac
}

machine()
{
	echo "foliofs   $("$top_builddir/foliofs" --version 2>&1 | head -n 1), -o $opts"
	echo "bindfs    $(bindfs --version 2>&1 | head -n 1)"
	echo "host      $(df --output=fstype "$dir" | tail -n 1) at $dir"
	echo "kernel    $(uname -r), $(nproc) processors," \
		"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
	echo "rounds    $rounds, big file $mib MiB, $files small files"
	case ${BENCH_CPPFLAGS:-} in
	*FOLIO_DEBUG*) echo 'WARNING   a debug build: the figures mean little' ;;
	esac
}

# Medians and ratios. Portable awk has no sort: insertion into a list.
table()
{
	awk -F, -v names="$measures" '
	function median(k,   n, i, j, t, a) {
		n = split(v[k], a, " ")
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && a[j-1] + 0 > a[j] + 0; j--) {
				t = a[j]; a[j] = a[j-1]; a[j-1] = t
			}
		if (!n)
			return 0
		return n % 2 ? a[(n+1)/2] + 0 : (a[n/2] + a[n/2+1]) / 2
	}
	function num(x) {
		return x ? sprintf("%.0f", x) : "-"
	}
	# The median of the ratios of each round, not the ratio of medians:
	# what slowed a round down is in both.
	function ratio(m, peer,   r, k) {
		k = "r," m "," peer
		v[k] = ""
		for (r = 1; r <= last; r++)
			if (one[r, "foliofs", m] && one[r, peer, m])
				v[k] = v[k] " " one[r, "foliofs", m] / one[r, peer, m]
		return v[k] ? sprintf("%.2f", median(k)) : "-"
	}
	NR > 1 {
		one[$1, $2, $3] = $4
		v[$2 "," $3] = v[$2 "," $3] " " $4
		if ($1 > last)
			last = $1
	}
	END {
		f = "%-19s %5s %10s %10s %10s %10s %8s %8s %8s\n"
		printf f, "", "", "foliofs", "bindfs", "host", "null",
			"/bindfs", "/host", "/null"
		n = split(names, m, /[ \t\n]+/)
		for (i = 1; i <= n; i++) {
			if (m[i] ~ /^(prepare|remove-.*)$/ || m[i] == "")
				continue
			printf f, m[i], m[i] ~ /^seq/ ? "MiB/s" : "1/s",
				num(median("foliofs," m[i])),
				num(median("bindfs," m[i])),
				num(median("host," m[i])),
				num(median("null," m[i])),
				ratio(m[i], "bindfs"), ratio(m[i], "host"),
				ratio(m[i], "null")
		}
	}' "$csv"
}

[ "$rounds" -gt 0 ] || die 'no rounds'
dir=$(mktemp -d "${BENCH_DIR:-$top_builddir}/bench.XXXXXX") || exit 1
dir=$(cd "$dir" && pwd -P)
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
for fs in $systems; do
	mkdir "$dir/$fs"
done
! has foliofs || mount_foliofs
! has bindfs || mount_bindfs
! has null || mount_null

machine
echo 'round,filesystem,measure,value' >"$csv"
round=0
order=$systems
while [ "$round" -lt "$rounds" ]; do
	round=$((round + 1))
	echo "round $round: $order" >&2
	for measure in $measures; do
		for fs in $order; do
			one "$round" "$fs" "$measure"
		done
	done
	# Each is first, second ... equally often.
	order="${order#* } ${order%% *}"
done
table
echo "all values: $csv"

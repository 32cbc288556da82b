#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317,SC2154
#
# Who maps what, and every fault counted: a program that touches known pages
# after the kernel's copies were dropped.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

ctl=$MNT/.foliofs

# ---- a program that does as it is told, in the background of one test

# helper_start FILE [HOW]
helper_start()
{
	rm -f "$TMP/to" "$TMP/from"
	mkfifo "$TMP/to" "$TMP/from"
	"$top_builddir/mmap_helper" "${2:-obey}" "$1" <"$TMP/to" >"$TMP/from" &
	helper=$!
	exec 7>"$TMP/to" 8<"$TMP/from"
	read -r _reply <&8
	is "$_reply" 'done'
}

tell()
{
	echo "$*" >&7
	read -r _reply <&8 || fail "$*: the program has ended"
	is "$_reply" 'done' "$*"
}

helper_end()
{
	exec 7>&- 8<&-
	wait "$helper"
}

# column FILE COLUMN WHERE VALUE: of the rows whose WHERE is VALUE, one a line.
column()
{
	awk -v col="$2" -v where="$3" -v value="$4" '
		NR == 1 { for (i = 1; i <= NF; i++) n[$i] = i }
		NR > 1 && $n[where] == value { print $n[col] }' "$ctl/$1"
}

# counts MAJOR MINOR: of the program, the file and all of the mount.
counts()
{
	is "$(column maps majflt pid "$helper")" "$1" 'major faults, mapping'
	is "$(column maps minflt pid "$helper")" "$2" 'minor faults, mapping'
	is "$(column processes majflt pid "$helper")" "$1" 'major, process'
	is "$(column processes minflt pid "$helper")" "$2" 'minor, process'
	is "$(column files majflt ino "$ino")" "$1" 'major faults, file'
	is "$(column files minflt ino "$ino")" "$2" 'minor faults, file'
	is "$(vmstat pgmajfault)" "$1" 'major faults, mount'
	is "$(vmstat pgfault)" $(($1 + $2)) 'faults, mount'
}

# A fault asks for one page: neither the kernel nor we read ahead.
one_by_one()
{
	_bdi=/sys/class/bdi/$(mounted_dev "$MNT")/read_ahead_kb
	[ -w "$_bdi" ] || skip 'the readahead of the kernel cannot be set'
	echo 0 >"$_bdi"
	echo 0 >"$ctl/vm/readahead_kb"
}

# Mounted, and the daemon has tuned the kernel and begun to look.
mount_now()
{
	: >"$TMP/daemon.log"
	volume_mount "$@"
	until_true 20 grep -q 'mounted at' "$TMP/daemon.log"
}

begin()
{
	! is_mounted "$MNT" || volume_umount
	rm -rf "$VOL"
	volume_create --size 256M
	mount_now "$@"
}

begin_cold()
{
	begin "$@"
	head -c 256K /dev/urandom >"$MNT/f"
	"$FOLIOCTL" sync "$MNT"
	volume_umount
	mount_now "$@"
	ino=$(stat -c %i "$MNT/f")
}

count_all()
{
	begin_cold "$@"
	one_by_one
	helper_start "$MNT/f"
	counts 0 0
	tell read 3 7 11 40
	counts 4 0
	tell read 3 7 11 40		# the kernel has them: nobody tells us
	counts 4 0
	tell drop
	tell read 3 7
	counts 4 2
	tell write 60
	counts 5 2
	tell drop
	echo 1 >"$ctl/inode/$ino/drop_caches"
	tell read 11 12
	counts 7 2
	is "$(vmstat pgmajfault_swap)" 0 'major faults from slots'
	is "$(vmstat tracker_unknown)" 0 'reads of nobody knows'
	is "$(vmstat tracker_dropped)" 0 'events dropped'

	# Others who read what it maps fault on nothing. One that has ended
	# before anybody looked could have mapped it: that is not known.
	tell drop
	case $* in *own*) helper_end; return ;; esac
	fills=$(vmstat pgfill)
	dd if="$MNT/f" bs=4096 skip=20 count=2 of=/dev/null status=none
	counts 7 2
	is $(($(vmstat pgfill) - fills + $(vmstat tracker_unknown))) 2 'fills'
	helper_end
}

t_kernel()
{
	count_all -o cache_size=64M,commit=0
}
run 'every fault is counted, of file, mapping and process' t_kernel

t_parsed()
{
	count_all -o cache_size=64M,commit=0,parse_maps
}
run 'the same when /proc/PID/maps is parsed' t_parsed

t_own()
{
	count_all -o cache_size=64M,commit=0,cache=own
}
run 'the same in own mode' t_own

# count_sweep OPTIONS: thousands of faults before anybody can have looked.
count_sweep()
{
	begin "$@"
	head -c 8M /dev/urandom >"$MNT/f"
	"$FOLIOCTL" sync "$MNT"
	volume_umount
	mount_now "$@"
	ino=$(stat -c %i "$MNT/f")
	one_by_one
	helper_start "$MNT/f" sweep
	counts 2048 0
	is "$(vmstat tracker_unknown)" 0 'reads of nobody knows'
	is "$(vmstat tracker_dropped)" 0 'events dropped'
	helper_end
}

t_sweep()
{
	count_sweep -o cache_size=64M,commit=0
	count_sweep -o cache_size=64M,commit=0,cache=own
}
run 'thousands of faults at once are all counted' t_sweep

# Of the pages that are in slots alone, three.
t_swap()
{
	begin -o cache_size=2M,commit=0
	one_by_one
	head -c 8M /dev/urandom >"$MNT/f"
	ino=$(stat -c %i "$MNT/f")
	helper_start "$MNT/f"
	tell drop
	pages=$(grep -bo z "$ctl/inode/$ino/pages" | cut -d: -f1 | head -n 300 |
		awk 'NR % 100 == 0')
	before=$(column maps majflt pid "$helper")
	swapped=$(vmstat pgmajfault_swap)
	# shellcheck disable=SC2086
	tell read $pages
	is $(($(column maps majflt pid "$helper") - before)) 3 'major faults'
	is $(($(vmstat pgmajfault_swap) - swapped)) 3 'from slots'
	helper_end
}
run 'a fault for which a slot was read counts as that' t_swap

t_rows()
{
	begin_cold -o cache_size=64M
	helper_start "$MNT/f"
	is "$(column maps perms pid "$helper")" rw-s
	is "$(column maps comm pid "$helper")" mmap_helper
	is "$(column maps ino pid "$helper")" "$ino"
	is "$(column maps path pid "$helper")" /f
	is "$(column maps hints pid "$helper")" -
	is "$(column files opens ino "$ino")" 1
	at_least "$(column maps fh pid "$helper")" 1 'open file'

	tell read 0 1 2
	is "$(column "inode/$ino/maps" pid ino "$ino")" "$helper"
	# whatever was read ahead: of the pages in memory, all are mapped
	is "$(awk 'NR > 1 { print $4 }' "$ctl/inode/$ino/rmap" | sort -u)" \
		"$helper:mmap_helper"
	is "$(awk 'NR > 1 { n += $3 } END { print n }' \
		"$ctl/inode/$ino/rmap")" "$(column files nr_cache ino "$ino")"
	is "$(column files mapped ino "$ino")" \
		"$(column files nr_cache ino "$ino")"
	is "$(meminfo Mapped)" $(($(vmstat nr_mapped) * 4))

	tell random
	is "$(column maps hints pid "$helper")" rr
	tell lock
	is "$(column maps hints pid "$helper")" lo,rr
	at_least "$(vmstat nr_unevictable)" 1 'pages that are locked'
	tell fork
	is "$(column maps ino path /f | wc -l)" 2 'processes'
	tell lose
	is "$(column maps ino path /f | wc -l)" 1 'processes'

	tell private
	tell write 5 9
	is "$(column maps perms pid "$helper")" rw-p
	is "$(column maps private pid "$helper")" 2 'pages of its own'

	tell close
	rm "$MNT/f"
	"$FOLIOCTL" sync "$MNT"
	is "$(column maps path pid "$helper")" '(deleted)'
	helper_end
	is "$(column maps pid comm mmap_helper)" ''
}
run 'maps follows a mapping through its life' t_rows

figure_is()
{
	[ "$(vmstat "$1")" = "$2" ]
}

# A process is seen without anybody asking for it, by what it does.
t_by_itself()
{
	begin_cold -o cache_size=64M
	helper_start "$MNT/f"
	until_true 20 figure_is nr_vmas 1
	full=$(vmstat tracker_full_scans)
	helper_end
	until_true 20 figure_is nr_mms 0
	is "$(vmstat tracker_full_scans)" "$full"
}

run 'a mapping is found, and its end, without asking' t_by_itself

# Whoever drops pages leaves those that are pinned.
t_pin()
{
	begin_cold -o cache_size=64M
	fails_with 'not supported' setfattr -n user.foliofs.pin -v 1 "$MNT"
	fails_with Invalid setfattr -n user.foliofs.pin -v 2 "$MNT/f"
	is "$(getfattr --only-values -n user.foliofs.pin "$MNT/f")" 0
	"$FOLIOCTL" pin "$MNT/f"
	is "$(getfattr --only-values -n user.foliofs.pin "$MNT/f")" 1
	cat "$MNT/f" >/dev/null
	echo 1 >"$ctl/vm/drop_caches"
	echo 1 >"$ctl/inode/$ino/drop_caches"
	is "$(column files nr_cache ino "$ino")" 64 'pages that are pinned'
	is "$(vmstat nr_unevictable)" 64
	is "$("$FOLIOCTL" pages "$MNT/f" | tail -n 1)" \
		'absent 0, clean 64, dirty 0, saved 0, writeback 0, swapped 0'
	"$FOLIOCTL" unpin "$MNT/f"
	is "$(vmstat nr_unevictable)" 0
	echo 1 >"$ctl/vm/drop_caches"
	is "$("$FOLIOCTL" pages "$MNT/f" | tail -n 1)" \
		'absent 64, clean 0, dirty 0, saved 0, writeback 0, swapped 0'
	"$FOLIOCTL" pin "$MNT/f"
	rm "$MNT/f"
	"$FOLIOCTL" sync "$MNT"
	is "$(vmstat nr_unevictable)" 0 'pages of a file that is gone'
	fails_with 'No such file' "$FOLIOCTL" pages "$MNT/f"
	fails_with 'foliofs' "$FOLIOCTL" pages "$TMP/daemon.log"
}
run 'pages of a pinned file stay' t_pin

# What is said of a file is kept with it.
t_readahead()
{
	_attr=user.foliofs.readahead
	begin_cold -o cache_size=64M
	one_by_one
	echo 128 >"$ctl/vm/readahead_kb"
	is "$(getfattr --only-values -n $_attr "$MNT/f")" normal
	fails_with Invalid setfattr -n $_attr -v often "$MNT/f"
	fails_with Invalid setfattr -n $_attr -v '' "$MNT/f"
	setfattr -n $_attr -v random "$MNT/f"
	"$FOLIOCTL" sync "$MNT"
	volume_umount
	mount_now -o cache_size=64M
	one_by_one
	echo 128 >"$ctl/vm/readahead_kb"
	is "$(getfattr --only-values -n $_attr "$MNT/f")" random
	is "$(getfattr -d -m - "$MNT/f")" '' 'attributes listed'
	helper_start "$MNT/f"
	tell read 0 1 2
	is "$(column files nr_cache ino "$ino")" 3 'pages read'
	setfattr -n $_attr -v sequential "$MNT/f"
	tell read 3 4 5
	at_least "$(column files nr_cache ino "$ino")" 7 'pages read ahead'
	helper_end
	setfattr -x $_attr "$MNT/f"
	is "$(getfattr --only-values -n $_attr "$MNT/f")" normal
}
run 'readahead is as the file says' t_readahead

t_stat()
{
	_attr=user.foliofs.stat
	begin_cold -o cache_size=64M
	cat "$MNT/f" >/dev/null
	getfattr --only-values -n $_attr "$MNT/f" >"$TMP/stat"
	cat "$TMP/stat"
	is "$(cat "$ctl/inode/$ino/stat")" "$(cat "$TMP/stat")"
	is "$(awk '$1 == "nr_cache" { print $2 }' "$TMP/stat")" 64
	is "$(awk '$1 == "path" { print $2 }' "$TMP/stat")" /f
	fails_with 'not permitted' setfattr -n $_attr -v 1 "$MNT/f"
	fails_with 'not permitted' setfattr -x $_attr "$MNT/f"
	fails_with 'No such attribute' getfattr -n $_attr "$MNT"
	is "$(getfattr -d -m - "$MNT/f")" '' 'attributes listed'
}
run 'what the cache has of a file is an attribute of it' t_stat

# An array with a row for each row.
t_json()
{
	begin_cold -o cache_size=64M
	is "$("$FOLIOCTL" maps --json "$MNT")" '[]'
	mv "$MNT/f" "$MNT/a \"b\\
c"
	"$FOLIOCTL" sync "$MNT"
	helper_start "$MNT/a \"b\\
c"
	"$FOLIOCTL" maps "$MNT" | grep -q '/a "b\\134\\012c$'
	"$FOLIOCTL" maps --json "$MNT" >"$TMP/json"
	is "$(grep -c '"pid": ' "$TMP/json")" 1
	grep -qF '"comm": "mmap_helper"' "$TMP/json"
	grep -qF '"path": "/a \"b\\134\\012c"' "$TMP/json"
	grep -qF '"hints": null' "$TMP/json"
	if command -v python3 >/dev/null; then
		python3 -m json.tool "$TMP/json" >/dev/null
	fi
	helper_end
}
run 'folioctl maps tells the same as JSON' t_json

# How much the daemon has run: its ticks, and how often those of its threads have
# waited that look at processes, serve requests and take pages back. (Others
# look at the clock once a second, and at the table of mounts when it changes.)
daemon_ran()
{
	awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$(daemon_pid)/stat"
	awk '/^Name:/ { ours = $2 ~ /^(tracker|worker|unmapper)/ }
		ours && /ctxt_switches/ { n += $2 }
		END { print n }' /proc/"$(daemon_pid)"/task/*/status
}

_sleeps_for_two_seconds()
{
	ran=$(daemon_ran)
	sleep 2
	[ "$(daemon_ran)" = "$ran" ]
}

# Nobody has a file open, and nobody asks the daemon anything.
t_idle()
{
	begin_cold -o cache_size=64M
	until_true 60 _sleeps_for_two_seconds || fail 'it goes on running'
}
run 'an idle mount costs no CPU' t_idle

volume_umount
finish

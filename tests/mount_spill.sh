#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# The bound: far more is written than the cache holds, and nothing is
# committed. Memory stays bounded, the rest waits in swap slots, and the commit
# adopts the slots instead of writing again.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

mib=1024
short && mib=256
bound=$(((64 + 48) * 1024)) # kB
opts=cache_size=64M,commit=0
volume_create || exit 99
volume_mount -o "$opts" || exit 99

peak_memory()
{
	awk '/^VmHWM:/ { print $2 }' "/proc/$(daemon_pid)/status"
}

t_write()
{
	head -c "${mib}M" /dev/urandom | tee "$MNT/big" | sha256sum >"$TMP/sum"
	is "$(vmstat commits)" "$(cat "$TMP/commits")" 'commits'
}

t_bound()
{
	echo "memory $(daemon_memory) kB, peak $(peak_memory) kB"
	at_most "$(daemon_memory)" "$bound" 'kB of memory'
	at_most "$(peak_memory)" "$bound" 'kB of memory at the peak'
}

t_swapped()
{
	cat "$MNT/.foliofs/meminfo"
	at_least "$(meminfo SwapUsed)" $(((mib - 64) * 1024)) 'kB of swap used'
	at_least "$(meminfo Uncommitted)" $((mib * 1024)) 'kB uncommitted'
	at_most "$(meminfo Dirty)" $((64 * 1024)) 'kB dirty'
}

t_read_back()
{
	_before=$(vmstat pswpin)
	forget "$MNT/big"
	is "$(sha256sum <"$MNT/big")" "$(cat "$TMP/sum")" 'checksum'
	at_least $(($(vmstat pswpin) - _before)) $(((mib - 64) * 256)) \
		'pages swapped in'
}

# What is still dirty must be written, and the slots that were read back are
# not. The data file never sees a page twice.
t_commit()
{
	_dirty=$(vmstat nr_dirty)
	_before=$(vmstat data_write_blocks)
	"$FOLIOCTL" sync "$MNT"
	_wrote=$(($(vmstat data_write_blocks) - _before))
	echo "wrote $_wrote blocks, $_dirty were dirty"
	at_most "$_wrote" $((_dirty + 64)) 'blocks written by the commit'
	at_most "$_wrote" $((mib * 256 / 16)) 'blocks written by the commit'
	at_most "$(vmstat data_write_blocks)" $((mib * 256 + 1024)) \
		'blocks written in all'
	is "$(meminfo SwapUsed)" 0 'swap used'
	is "$(meminfo Uncommitted)" 0 'uncommitted'
}

t_again()
{
	forget "$MNT/big"
	is "$(sha256sum <"$MNT/big")" "$(cat "$TMP/sum")" 'checksum'
}

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o "$opts"
}

t_killed()
{
	head -c "${mib}M" /dev/zero >"$MNT/lost"
	daemon_kill
	volume_mount -o "$opts"
	t_again
	_size=$(stat -c %s "$MNT/lost" 2>/dev/null || echo 0)
	is "$_size" 0 'size of a file that was never committed'
	volume_check_leaks
}

# Slots of a killed daemon are free again.
volume_check_leaks()
{
	rm -f "$MNT/lost"
	"$FOLIOCTL" sync "$MNT"
	_used=$(df -k --output=used "$MNT" | tail -n 1)
	at_most "$_used" $(((mib + 64) * 1024)) 'kB in use'
}

vmstat commits >"$TMP/commits" || exit 99
run "$mib MiB are written with commit=0 and nothing is committed" t_write
run 'memory stays under 64M + 48M' t_bound
run 'what does not fit waits in swap' t_swapped
run 'reading back gives what was written' t_read_back
run 'memory is still under 64M + 48M' t_bound
run 'the commit writes almost nothing more' t_commit
run 'and is readable' t_again
run 'unmount, check, mount' t_remount
run 'after a remount all is there' t_again
run 'a kill loses what was never committed, and its slots are free' t_killed
finish

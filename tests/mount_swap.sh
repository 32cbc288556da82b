#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# -o swap=FILE: what the cache spills goes to the file and not to the volume,
# and a commit copies it. Files that cannot be one are refused, a host that is
# full is no end, and what a killed daemon left there means nothing.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

mib=192
short && mib=96
seed=${FOLIO_SEED:-$(($(date +%s) % 1000000))}
echo "# seed $seed"
swap="$TMP/swap file"
opts="cache_size=32M,commit=0,swap=$swap"
volume_create || exit 99
volume_mount -o "$opts" || exit 99

file_kb()
{
	du -k "$swap" | cut -f 1
}

# Size and used of the row that begins with the file.
swaps()
{
	awk -v name="$(printf '%s' "$swap" | sed 's/ /\\\\040/g')" \
		-v col="$1" '$1 == name && $2 == "file" { print $col }' \
		"$MNT/.foliofs/swaps"
}

t_spill()
{
	is "$(stat -c %a "$swap")" 600 'mode of the file'
	_before=$(vmstat data_write_blocks)
	head -c "${mib}M" /dev/urandom | tee "$MNT/big" | sha256sum >"$TMP/sum"
	cat "$MNT/.foliofs/swaps"
	is "$(vmstat commits)" 0 'commits'
	at_least "$(swaps 4)" $(((mib - 32) * 1024)) 'kB used of the file'
	at_least "$(swaps 3)" "$(swaps 4)" 'kB that it may have'
	at_least "$(meminfo SwapUsed)" $(((mib - 32) * 1024)) 'kB of swap used'
	at_least "$(file_kb)" $(((mib - 32) * 1024)) 'kB on the disk'
	at_most $(($(vmstat data_write_blocks) - _before)) 64 \
		'blocks written to the volume'
	short || at_most "$(daemon_memory)" $(((32 + 48) * 1024)) \
		'kB of memory'
}

t_read_back()
{
	forget "$MNT/big"
	is "$(sha256sum <"$MNT/big")" "$(cat "$TMP/sum")" 'checksum'
	at_least "$(vmstat swap_file_read_blocks)" $(((mib - 32) * 256)) \
		'blocks read from the file'
}

t_commit()
{
	_before=$(vmstat data_write_blocks)
	"$FOLIOCTL" sync "$MNT"
	_wrote=$(($(vmstat data_write_blocks) - _before))
	at_least "$_wrote" $((mib * 256)) 'blocks written to the volume'
	at_most "$_wrote" $((mib * 256 + 256)) 'blocks written to the volume'
	at_least "$(vmstat commit_copied)" $(((mib - 32) * 256)) 'pages copied'
	is "$(swaps 4)" 0 'kB used of the file'
	is "$(meminfo Uncommitted)" 0 'kB uncommitted'
	short || at_most "$(daemon_memory)" $(((32 + 48) * 1024)) \
		'kB of memory'
}

t_compact()
{
	at_least "$(file_kb)" $(((mib - 32) * 1024)) 'kB on the disk'
	knob compact 1
	at_most "$(file_kb)" 256 'kB on the disk'
	at_least "$(vmstat swap_file_discarded_blocks)" $(((mib - 32) * 255)) \
		'blocks given back'
}

t_remount()
{
	volume_umount
	at_most "$(file_kb)" 64 'kB on the disk'
	volume_check
	volume_mount -o cache_size=32M
	is "$(sha256sum <"$MNT/big")" "$(cat "$TMP/sum")" 'checksum without it'
	volume_umount
	volume_mount -o "$opts"
}

# Its content is thrown away, and so is what was not committed.
t_killed()
{
	echo kept >"$MNT/kept"
	sync "$MNT/kept"
	head -c "${mib}M" /dev/zero >"$MNT/lost"
	daemon_kill
	at_least "$(file_kb)" 1024 'kB that the daemon left'
	volume_mount -o "$opts"
	at_most "$(file_kb)" 64 'kB on the disk'
	is "$(cat "$MNT/kept")" kept 'what was synced'
	is "$(sha256sum <"$MNT/big")" "$(cat "$TMP/sum")" 'checksum'
	is "$(stat -c %s "$MNT/lost" 2>/dev/null || echo 0)" 0 \
		'size of a file that was never committed'
	volume_umount
	volume_check
	volume_mount -o "$opts"
}

# A knob while mounted; what is over goes by commits.
t_bound()
{
	knob swap_size 8M
	head -c 100M /dev/zero >"$MNT/zero"
	at_most "$(swaps 4)" 8192 'kB used of the file'
	at_least "$(vmstat commits)" 1 'commits for want of swap'
	is "$(wc -c <"$MNT/zero")" $((100 << 20)) 'size'
	rm "$MNT/zero"
	knob swap_size max
}

# The host of the file is full long before what is written.
t_host_full()
{
	[ "$(id -u)" = 0 ] || skip 'only root may mount a small host'
	mkdir -p "$TMP/small"
	volume_umount
	mount -t tmpfs -o size=16M none "$TMP/small"
	head -c 8M /dev/zero >"$TMP/small/other"
	if volume_mount -o "cache_size=32M,commit=0,swap=$TMP/small/swap"; then
		head -c 100M /dev/urandom | tee "$MNT/full" |
			sha256sum >"$TMP/full.sum" || :
		_errors=$(vmstat swap_file_write_errors)
		volume_umount || :
	fi
	umount -l "$TMP/small"
	grep -q "swap=$TMP/small/swap: it is kept in memory" "$TMP/daemon.log"
	at_least "$_errors" 1 'writes to the file that failed'
	volume_check
	volume_mount -o "$opts"
	is "$(sha256sum <"$MNT/full")" "$(cat "$TMP/full.sum")" 'checksum'
	rm "$MNT/full"
}

# tests/mmap_model.c; most of the time there is less room than it wants, so that
# stores, which come late, find neither frame nor slot.
t_mapped()
{
	volume_umount
	volume_mount -o "cache_size=4M,commit=1,swap=$swap,swap_size=2M"
	mkdir "$MNT/files" "$MNT/files.model"
	"$top_builddir/tests/mmap_model" "$MNT/files" 5 3 "$seed" 64
	at_least "$(vmstat swap_file_write_blocks)" 1 'blocks written to it'
	mv "$MNT/files.model" "$TMP/copy"
	volume_umount
	volume_check
	volume_mount -o "$opts"
	for _f in 0 1 2; do
		cmp "$TMP/copy/$_f" "$MNT/files/$_f"
	done
}

# refused PATTERN FILE [OPTION]
refused()
{
	if volume_mount -o "swap=$2${3:+,$3}" 2>"$TMP/refused"; then
		fail 'mounted all the same'
	fi
	grep -Eiq -- "$1" "$TMP/refused" || {
		cat "$TMP/refused"
		fail "nothing about $1"
	}
}

t_refused()
{
	volume_umount
	mkdir "$TMP/folder"
	refused 'folder' "$TMP/folder"
	echo mine >"$TMP/text"
	refused 'other content' "$TMP/text"
	is "$(cat "$TMP/text")" mine 'what stood there'
	refused 'other content|in the volume' "$VOL/data"
	refused 'in the volume' "$VOL/swap"
	refused 'mountpoint' "$MNT/swap"
	[ -z "$(ls -A "$MNT")" ] || fail 'it made a file at the mountpoint'
	refused 'no such' "$TMP/nosuch/swap"
	refused 'at least 1024K' "$TMP/new" swap_size=512K
	[ ! -e "$TMP/new" ] || fail 'it made a file that it refused'
	refused 'regular' /dev/null
	volume_check
}

t_busy()
{
	volume_mount -o "$opts"
	mkdir -p "$TMP/mnt2"
	"$FOLIOCTL" create "$TMP/vol2"
	fails_with 'in use' "$FOLIOFS" -f -o "swap=$swap" "$TMP/vol2" \
		"$TMP/mnt2"
	# nor through the mount of a volume
	fails_with 'network|FUSE' "$FOLIOFS" -f -o "swap=$MNT/swap" \
		"$TMP/vol2" "$TMP/mnt2"
	volume_umount
}

# Nothing is spilled that is not written.
t_readonly()
{
	rm -f "$TMP/unused"
	volume_mount -o "ro,swap=$TMP/unused"
	[ ! -e "$TMP/unused" ] || fail 'it made a file'
	volume_umount
}

run "$mib MiB go to the swap file and not to the volume" t_spill
run 'reading back gives what was written' t_read_back
run 'the commit copies it, in bounded memory' t_commit
run 'compaction gives its room back while mounted' t_compact
run 'unmount empties the file, and the volume needs it no more' t_remount
run 'what a killed daemon left in it is thrown away' t_killed
run 'swap_size bounds it' t_bound
run 'a full host of the file is no end' t_host_full
run 'mapped files are right when it is nearly always full' t_mapped
run 'files that cannot be one are refused' t_refused
run 'it has one user, and is not on a mount' t_busy
run 'a read-only mount needs none' t_readonly
finish

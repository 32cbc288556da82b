#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Control files and folioctl over a real mount: figures against what was done,
# knobs under load, nonsense, who may look.

. "$top_srcdir/tests/mount_lib.sh"
mount_init 120

ctl=$MNT/.foliofs

# dd_pages FILE NR: so many pages, each by a write of its own.
dd_pages()
{
	dd if=/dev/urandom of="$1" bs=4096 count="$2" conv=notrunc status=none
}

# row INO COLUMN: of the table `files`.
row()
{
	awk -v ino="$1" -v col="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == col) c = i }
		NR > 1 && $1 == ino { print $c; f = 1 }
		END { exit !f }' "$ctl/files" || fail "no row for $1"
}

volume_create --size 1G
# Nothing is committed or written out but when a test says so.
volume_mount -o cache_size=64M,commit=0,dirty_background_bytes=60M \
	-o dirty_bytes=63M,dirty_expire=3600

t_listing()
{
	is "$(ls -A "$MNT")" '' 'the root'
	is "$(ls "$ctl" | tr '\n' ' ')" \
		'files hold inode maps meminfo metrics processes scrub stats.json swaps vm vmstat volume '
	is "$(stat -c '%a %s' "$ctl")" '500 0'
	is "$(stat -c '%a %s' "$ctl/vmstat")" '400 0'
	is "$(stat -c '%a' "$ctl/vm/cache_size")" 600
	find "$ctl" -type f ! -path '*/inode/*' -print0 |
		xargs -0 cat >/dev/null
}
run 'the folder is not listed but its files are there' t_listing

t_dirty()
{
	_dirtied=$(vmstat nr_dirtied)
	dd_pages "$MNT/a" 300
	is "$(($(vmstat nr_dirtied) - _dirtied))" 300 nr_dirtied
	is "$(vmstat nr_dirty)" 300 nr_dirty
	is "$(vmstat nr_uncommitted)" 300 nr_uncommitted
	is "$(meminfo Dirty)" 1200 Dirty
	is "$(meminfo Uncommitted)" 1200 Uncommitted
	_ino=$(stat -c %i "$MNT/a")
	is "$(row "$_ino" nr_cache)" 300 nr_cache
	is "$(row "$_ino" nr_dirty)" 300 nr_dirty
	is "$(row "$_ino" path)" /a path
	is "$(tr -d '\n' <"$ctl/inode/$_ino/pages" | tr D d)" \
		"$(printf '%300s' '' | tr ' ' d)" pages

	_written=$(vmstat data_write_blocks)
	_commits=$(vmstat commits)
	"$FOLIOCTL" sync "$MNT"
	is "$(vmstat nr_dirty)" 0 nr_dirty
	is "$(vmstat nr_uncommitted)" 0 nr_uncommitted
	is "$(($(vmstat data_write_blocks) - _written))" 300 data_write_blocks
	is "$(($(vmstat commits) - _commits))" 1 commits
	is "$(row "$_ino" uncommitted)" 0
	is "$(tr -d '\n' <"$ctl/inode/$_ino/pages" | tr C c)" \
		"$(printf '%300s' '' | tr ' ' c)" pages
}
run 'what is written is dirty, and clean after a sync' t_dirty

t_drop()
{
	_ino=$(stat -c %i "$MNT/a")
	_in=$(vmstat pgpgin)
	"$FOLIOCTL" drop "$MNT" "$MNT/a"
	is "$(cat "$ctl/inode/$_ino/pages" 2>/dev/null | tr -d '.\n')" '' pages
	cat "$MNT/a" >/dev/null
	is "$(($(vmstat pgpgin) - _in))" 300 pgpgin
	is "$(row "$_ino" nr_cache)" 300 nr_cache
	_dropped=$(vmstat drop_pagecache)
	echo 1 >"$ctl/vm/drop_caches"
	at_least "$(($(vmstat drop_pagecache) - _dropped))" 300 drop_pagecache
	is "$(vmstat nr_file_pages)" 0 nr_file_pages
}
run 'what is dropped is read again' t_drop

# 96 MiB in 64 MiB of cache.
t_swap()
{
	dd if=/dev/urandom of="$TMP/big" bs=1M count=96 status=none
	cp "$TMP/big" "$MNT/big"
	is "$(vmstat nr_uncommitted)" 24576 nr_uncommitted
	at_least "$(vmstat nr_swapped)" 8192 nr_swapped
	at_least "$(meminfo SwapUsed)" 32768 SwapUsed
	at_least "$(awk 'NR == 2 { print $4 }' "$ctl/swaps")" 32768 swaps
	_in=$(vmstat pswpin)
	echo 1 >/proc/sys/vm/drop_caches 2>/dev/null ||
		"$FOLIOCTL" drop "$MNT" "$MNT/big"
	cmp "$TMP/big" "$MNT/big"
	at_least "$(($(vmstat pswpin) - _in))" 8192 pswpin
	at_most "$(row "$(stat -c %i "$MNT/big")" nr_cache)" 16384 nr_cache

	_written=$(vmstat data_write_blocks)
	_dirty=$(vmstat nr_dirty)
	"$FOLIOCTL" sync "$MNT"
	is "$(($(vmstat data_write_blocks) - _written))" "$_dirty" \
		'blocks written by the commit'
	is "$(meminfo SwapUsed)" 0 SwapUsed
	is "$(vmstat nr_slots)" 0 nr_slots
	cmp "$TMP/big" "$MNT/big"
	rm "$MNT/big"
}
run 'what does not fit is swapped out, comes back, and is committed where it is' \
	t_swap

# A writer at work while the budget goes up and down.
t_resize()
{
	(while [ -e "$TMP/resizing" ]; do
		dd if=/dev/zero of="$MNT/load" bs=64K count=400 conv=notrunc \
			status=none || exit 1
	done) &
	_load=$!
	for _m in 16 128 4 64 1 32; do
		knob cache_size ${_m}M
		is "$(knob cache_size)" $((_m << 20))
		is "$(meminfo CacheTotal)" $((_m << 10)) CacheTotal
		at_most "$(($(vmstat nr_file_pages) + $(vmstat nr_anon_pages)))" \
			$((_m << 8)) 'pages in the cache'
	done
	knob cache_size 64M
	rm "$TMP/resizing"
	wait $_load || fail 'the writer failed'
	cmp -n $((400 << 16)) /dev/zero "$MNT/load"
}
: >"$TMP/resizing"
run 'cache_size changes under load, down and up' t_resize

t_nonsense()
{
	for _k in "$ctl"/vm/*; do
		_was=$(cat "$_k")
		for _v in '' -1 x 1x '1 2' 18446744073709551616 1KB 0x10 1e3 \
			'1
2'; do
			printf '%s\n' "$_v" >"$TMP/value"
			fails_with 'Invalid argument' \
				dd if="$TMP/value" of="$_k" conv=notrunc
		done
		is "$(cat "$_k")" "$_was" "$_k"
	done
	echo 201 >"$TMP/value"
	fails_with 'Invalid argument' cp "$TMP/value" "$ctl/vm/swappiness"
	echo 4K >"$TMP/value"
	fails_with 'Invalid argument' cp "$TMP/value" "$ctl/vm/cache_size"
	fails_with 'not a value' "$FOLIOCTL" set "$MNT" swappiness=201
	fails_with 'no such knob' "$FOLIOCTL" set "$MNT" swapiness=60
	knob swappiness 100
	is "$(knob swappiness)" 100
	"$FOLIOCTL" set "$MNT" swappiness=60 dirty_expire_centisecs=360000
	is "$("$FOLIOCTL" set "$MNT" | grep swappiness)" swappiness=60
}
run 'nonsense into any knob is EINVAL and changes nothing' t_nonsense

t_fixed()
{
	fails_with . touch "$ctl/new"
	fails_with . mkdir "$ctl/new"
	fails_with . rm -f "$ctl/vmstat"
	fails_with . rmdir "$ctl"
	fails_with . mv "$ctl" "$MNT/else"
	fails_with . mv "$MNT/a" "$ctl/a"
	fails_with . ln "$ctl/vmstat" "$MNT/v"
	fails_with . ln "$MNT/a" "$ctl/a"
	fails_with . ln -s a "$ctl/s"
	fails_with . chmod 777 "$ctl"
	fails_with . chmod 666 "$ctl/vmstat"
	fails_with . sh -c "echo 1 >'$ctl/vmstat'"
	fails_with 'No such file' cat "$ctl/nothing"
	fails_with 'No such file' cat "$ctl/inode/987654321/stat"
	fails_with 'No such file' cat "$ctl/vm/nothing"
	is "$(stat -c %a "$ctl")" 500
}
run 'nothing can be made, removed, renamed or changed there' t_fixed

t_others()
{
	[ "$(id -u)" = 0 ] || skip 'not root'
	skip_unless setpriv
	for _f in "$ctl/" "$ctl/vmstat" "$ctl/vm/sync"; do
		fails_with 'Permission denied' setpriv --reuid 65534 \
			--regid 65534 --clear-groups ls "$_f"
	done
}
run 'another user cannot look' t_others

t_json()
{
	skip_unless sqlite3
	printf x >"$MNT/$(printf 'odd"\\\n\377 name')"
	for _i in 1 2 3; do
		"$FOLIOCTL" stat --json "$MNT" >"$TMP/json"
		is "$(sqlite3 :memory: "SELECT json_extract(
			readfile('$TMP/json'), '\$.meminfo.CacheTotal')")" 65536
	done
	is "$(sqlite3 :memory: "SELECT json_extract(f.value, '\$.path') FROM
		json_each(readfile('$TMP/json'), '\$.files') f
		WHERE json_extract(f.value, '\$.size') = 1")" \
		'/odd"\134\012\377 name'
	"$FOLIOCTL" stat --json "$MNT" 1 2 >"$TMP/json"
	is "$(wc -l <"$TMP/json")" 2 'lines'
	if grep -vE '^(#|foliofs_[a-zA-Z_]+\{uuid="[0-9a-f-]{36}"(,version="[^"]*")?\} ([0-9]+|\+Inf)$)' \
		"$ctl/metrics"; then
		fail 'not in the exposition format'
	fi
}
run 'JSON and metrics are well formed whatever the names' t_json

t_folioctl()
{
	is "$("$FOLIOCTL" stat "$MNT" 1 2 | wc -l)" 4 'lines of stat'
	"$FOLIOCTL" info "$MNT" >"$TMP/info"
	"$FOLIOCTL" info "$VOL" >"$TMP/info2"
	is "$(grep uuid "$TMP/info")" "$(grep uuid "$TMP/info2")"
	is "$(grep ^pid "$TMP/info")" "pid $(daemon_pid)"
	is "$(grep ^pid "$TMP/info2")" "pid $(daemon_pid)"
	is "$(grep ^mountpoint "$TMP/info2")" "mountpoint $MNT"
	fails_with 'in use by process' "$FOLIOCTL" check "$VOL"
	fails_with 'not in' "$FOLIOCTL" drop "$MNT" /etc/passwd
	fails_with 'no foliofs is mounted' "$FOLIOCTL" stat "$TMP"
}
run 'folioctl tells of mounts and of volumes in use' t_folioctl

figure()
{
	sed -n "s/^$1 //p" "$ctl/vmstat"
}

t_commit()
{
	skip_unless setfattr
	mkdir "$MNT/atomic"
	setfattr -n user.foliofs.atomic -v 1 "$MNT/atomic"
	exec 5>"$MNT/atomic/a" 6>"$MNT/atomic/b"
	"$FOLIOCTL" sync "$MNT"
	is "$(figure nr_uncommitted)" 0 'uncommitted after sync'
	printf one >&5
	printf two >&6
	is "$(figure nr_uncommitted)" 2 'uncommitted pages'
	"$FOLIOCTL" commit "$MNT/atomic/a" "$MNT/atomic/b"
	is "$(figure nr_uncommitted)" 0 'uncommitted after commit'
	exec 5>&- 6>&-
	fails_with 'not a regular file' "$FOLIOCTL" commit "$MNT"
	fails_with 'same mount' "$FOLIOCTL" commit "$MNT/atomic/a" /etc/passwd
	fails_with 'no foliofs is mounted' "$FOLIOCTL" commit /etc/passwd
}
run 'atomic files are committed together' t_commit

# Snapshots while writers, syncs and drops go on: none fails, none waits long.
t_busy()
{
	(while [ -e "$TMP/busy" ]; do
		dd if=/dev/zero of="$MNT/load" bs=1M count=80 conv=notrunc \
			status=none
		"$FOLIOCTL" sync "$MNT"
		"$FOLIOCTL" drop "$MNT"
	done) &
	_load=$!
	_n=0
	while [ $_n -lt 200 ]; do
		_n=$((_n + 1))
		cat "$ctl/meminfo" "$ctl/vmstat" "$ctl/files" \
			"$ctl/stats.json" "$ctl/metrics" >"$TMP/all"
		cat "$ctl"/inode/*/pages >/dev/null 2>&1 || :
	done
	rm "$TMP/busy"
	wait $_load
}
: >"$TMP/busy"
run 'everything can be read while the cache is busy' t_busy

t_end()
{
	echo 3 >"$ctl/vm/commit_secs"
	volume_umount
	volume_check
	"$FOLIOCTL" info "$VOL" >"$TMP/info"
	grep '^pid' "$TMP/info" && fail 'it is still held'
	:
}
run 'after all this the volume is clean and nobody holds it' t_end

t_readonly()
{
	volume_mount -o ro
	is "$(awk '$1 == "readonly" { print $2 }' "$ctl/volume")" 1 readonly
	"$FOLIOCTL" sync "$MNT"
	fails_with 'Read-only' "$FOLIOCTL" set "$MNT" swappiness=10
	volume_umount
}
run 'a read-only mount: nothing to sync, nothing to set' t_readonly

finish

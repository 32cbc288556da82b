#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# The control files against what was really done: so many pages written,
# dirtied, committed, dropped, read, spilled and read back; and the size of the
# cache changed under load.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120
volume_create || exit 99
volume_mount -o cache_size=64M,commit=0 || exit 99
ctl=$MNT/.foliofs

# grew NAME BEFORE BY: the counter now, compared with before
grew()
{
	is $(($(vmstat "$1") - $2)) "$3" "$1 has grown by"
}

# column FILE NAME: of its row in `files`
column()
{
	awk -v p="/$1" -v c="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i }
		$NF == p { print $k; f = 1 }
		END { exit !f || !k }' "$ctl/files" ||
		fail "no $2 of $1 in files"
}

# pages FILE: how many of its pages are in which state: "c 3 d 5"
pages()
{
	tr -d '\n' <"$ctl/inode/$(stat -c %i "$MNT/$1")/pages" |
		fold -w 1 | sort | uniq -c |
		awk '{ printf "%s%s %d", sep, $2, $1; sep = " " } END { print "" }'
}

# 1000 pages are fewer than the flusher would begin with.
t_write()
{
	_dirtied=$(vmstat nr_dirtied)
	dd if=/dev/urandom of="$MNT/a" bs=4k count=1000 status=none
	cp "$MNT/a" "$TMP/a"
	grew nr_dirtied "$_dirtied" 1000
	is "$(meminfo Dirty)" 4000 'kB dirty'
	is "$(meminfo Uncommitted)" 4000 'kB uncommitted'
	is "$(column a nr_dirty)" 1000 nr_dirty
	is "$(column a nr_cache)" 1000 nr_cache
	is "$(column a uncommitted)" 1000 uncommitted
	is "$(column a size)" 4096000 size
	is "$(pages a | tr D d)" 'd 1000' pages
	_n=$(vmstat nr_dirtied)
	dd if=/dev/urandom of="$MNT/a" bs=4k count=1 conv=notrunc status=none
	dd if="$MNT/a" of="$TMP/a" bs=4k count=1 conv=notrunc status=none
	grew nr_dirtied "$_n" 0
}

t_commit()
{
	_commits=$(vmstat commits)
	_written=$(vmstat data_write_blocks)
	_out=$(vmstat pgpgout)
	sync "$MNT/a"
	grew commits "$_commits" 1
	grew data_write_blocks "$_written" 1000
	grew pgpgout "$_out" 1000
	is "$(meminfo Dirty)" 0 'kB dirty'
	is "$(meminfo Uncommitted)" 0 'kB uncommitted'
	is "$(column a nr_dirty)" 0 nr_dirty
	is "$(pages a | tr C c)" 'c 1000' pages
	sync "$MNT/a"
	grew data_write_blocks "$_written" 1000
}

overwrite()
{
	dd if="$TMP/a" of="$MNT/a" bs=4k count=10 seek=20 skip=20 \
		conv=notrunc,fsync status=none
}

# The first has the redo log made; to that go the pages and one block more.
t_overwrite()
{
	overwrite
	_written=$(vmstat data_write_blocks)
	_records=$(vmstat redo_records)
	overwrite
	_n=$(($(vmstat data_write_blocks) - _written))
	at_most "$_n" 11 'blocks written for 10 pages'
	grew redo_records "$_records" 1
	is "$(meminfo Uncommitted)" 0 'kB uncommitted'
}

t_drop()
{
	echo 1 >"$ctl/vm/drop_caches"
	is "$(meminfo Cached)" 0 'kB cached'
	is "$(vmstat nr_file_pages)" 0 nr_file_pages
	is "$(pages a)" '. 1000' pages
}

t_read()
{
	_in=$(vmstat pgpgin)
	_blocks=$(vmstat data_read_blocks)
	forget "$MNT/a"
	cmp "$MNT/a" "$TMP/a"
	grew pgpgin "$_in" 1000
	grew data_read_blocks "$_blocks" 1000
	is "$(pages a | tr C c)" 'c 1000' pages
	forget "$MNT/a"
	cmp "$MNT/a" "$TMP/a"
	grew pgpgin "$_in" 1000
}

# 160 MiB through 64: at least 96 must be in swap, each swapped page has a slot.
t_spill()
{
	head -c 160M /dev/urandom >"$TMP/b"
	cp "$TMP/b" "$MNT/b"
	is "$(meminfo Uncommitted)" $((160 * 1024)) 'kB uncommitted'
	at_least "$(meminfo SwapUsed)" $((96 * 1024)) 'kB of swap used'
	at_least "$(column b swapped)" $((96 * 256)) 'pages swapped'
	is $(($(column b swapped) + $(column b saved) + $(column b nr_dirty) + \
		$(column b nr_writeback))) $((160 * 256)) 'pages of b'
	awk 'NR == 2 { print $4 }' "$ctl/swaps" >"$TMP/used"
	is "$(cat "$TMP/used")" "$(meminfo SwapUsed)" 'used in swaps'

	_in=$(vmstat pswpin)
	forget "$MNT/b"
	cmp "$MNT/b" "$TMP/b"
	at_least $(($(vmstat pswpin) - _in)) $((96 * 256)) 'pages swapped in'
	"$FOLIOCTL" sync "$MNT"
	is "$(meminfo SwapUsed)" 0 'kB of swap used'
	is "$(column b swapped)" 0 'pages swapped'
}

t_remove()
{
	rm "$MNT/a" "$MNT/b"
	"$FOLIOCTL" sync "$MNT"
	is "$(meminfo Cached)" 0 'kB cached'
	is "$(vmstat nr_uncommitted)" 0 nr_uncommitted
}

# cache_within KB: pages and what is charged beside them.
cache_within()
{
	[ $(($(meminfo Cached) + $(meminfo SwapCached) + $(meminfo PageTables) + \
		$(meminfo Metadata))) -le "$1" ]
}

# Smaller and larger while a writer and a reader go on.
t_resize()
{
	head -c 300M /dev/urandom >"$TMP/src"
	cp "$TMP/src" "$MNT/r"
	(for _i in 1 2 3; do cat "$TMP/src"; done) >"$MNT/w" &
	_writer=$!
	for _mib in 16 128 8 64; do
		knob cache_size $((_mib * 1048576))
		is "$(knob cache_size)" $((_mib * 1048576)) cache_size
		until_true 60 cache_within $((_mib * 1024)) ||
			fail "not $_mib MiB: $(cat "$ctl/meminfo")"
		until_true 60 memory_below $((_mib + 48)) ||
			fail "$(daemon_memory) kB with $_mib MiB of cache"
		forget "$MNT/r"
		head -c 100M "$MNT/r" | cmp -n 104857600 - "$TMP/src"
	done
	wait "$_writer"
	forget "$MNT/w"
	(for _i in 1 2 3; do cat "$TMP/src"; done) | cmp - "$MNT/w"
	at_least $(($(meminfo Cached) + $(meminfo SwapCached))) $((40 * 1024)) \
		'kB of pages in the end'
}

memory_below()
{
	[ "$(daemon_memory)" -le $(($1 * 1024)) ]
}

run '1000 pages written are 1000 pages dirty' t_write
run 'committing them writes 1000 blocks, once' t_commit
run 'overwriting 10 pages writes 11 blocks' t_overwrite
run 'drop_caches drops all' t_drop
run 'reading them again reads 1000 pages, once' t_read
run 'what does not fit is in swap, page for page' t_spill
run 'removed files leave nothing in the cache' t_remove
run 'the cache shrinks and grows under load' t_resize
run 'unmounts cleanly' volume_umount
run 'the volume is clean' volume_check
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# cache=own, where read(2) and write(2) pass the kernel's cache by, and taking
# back what the kernel has copies of, in every mode.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 240

own=$top_builddir/own_helper
mmap=$top_builddir/mmap_helper
mib=1024
rounds=3000
short && mib=64 rounds=300
volume_create || exit 99
volume_mount -o cache=own,cache_size=64M || {
	# Linux 6.6 is the first that can
	grep -q 'too old' "$TMP/daemon.log" &&
		_skip_all 'the kernel cannot map files with direct I/O'
	exit 99
}

# cached FILE: kB of it that the kernel has, or the test is skipped.
cached()
{
	"$own" cached "$1" 2>"$TMP/cached.err" || {
		cat "$TMP/cached.err" >&2
		skip 'no cachestat(2) here'
	}
}

t_uncached()
{
	head -c 3000000 /dev/urandom >"$MNT/a"
	cp "$MNT/a" "$TMP/a"
	cp "$MNT/a" "$MNT/b"
	cmp "$TMP/a" "$MNT/b"
	is "$(cached "$MNT/a")" 0 'kB in the kernel after write(2)'
	is "$(cached "$MNT/b")" 0 'kB in the kernel after read(2)'
}

# Every read(2) is one that we see, and all but the first are hits.
t_hits()
{
	cat "$MNT/a" >/dev/null
	_before=$(vmstat cache_hit)
	cat "$MNT/a" >/dev/null
	at_least "$(($(vmstat cache_hit) - _before))" 700 'hits'
	knob sync 1
	knob drop_caches 1
	_before=$(vmstat readahead_pages)
	dd if="$MNT/a" of=/dev/null bs=4k 2>/dev/null
	at_least "$(($(vmstat readahead_pages) - _before))" 400 'read ahead'
}

t_files()
{
	cd "$MNT"
	for i in 1 2 3 4 5 6 7 8 9; do echo "line $i" >>lines; done
	is "$(wc -l <lines)" 9
	(for i in 1 2 3 4 5 6 7 8; do
		(for j in 1 2 3 4 5 6 7 8; do echo "$i.$j"; done >>appended) &
	done
	wait)
	is "$(sort -u appended | wc -l)" 64 'appended by eight at once'
	truncate -s 7 lines
	is "$(cat lines)" 'line 1'
	cp "$(command -v sh)" program
	is "$(./program -c 'echo runs')" runs
}

t_map()
{
	"$mmap" "$1" "$MNT/map.$1"
}

t_map_random()
{
	"$mmap" random "$MNT/map.random" "${FOLIO_SEED:-$(date +%s)}"
}

# Programs run from it, and copies by sendfile(2) and the like, fill the
# kernel's cache; nobody may write there, so it is invalidated.
t_fills()
{
	knob drop_caches 1
	(cd "$MNT" && ./program -c :)
	[ "$(cached "$MNT/program")" -gt 0 ] || fail 'nothing was mapped'
	_inval=$(vmstat unmap_inval)
	knob drop_caches 1
	is "$(cached "$MNT/program")" 0 'kB of a program'
	[ "$(vmstat unmap_inval)" -gt "$_inval" ] || fail 'not counted'
	is "$(vmstat nr_kernel_pages)" 0
}

# A program has a file mapped and changed: begin, do COMMAND, end.
with_held()
{
	rm -f "$TMP/in" "$TMP/said"
	mkfifo "$TMP/in" "$TMP/said"
	"$own" hold "$MNT/held" <"$TMP/in" >"$TMP/said" &
	_pid=$!
	exec 3>"$TMP/in"
	read -r _said <"$TMP/said"
	is "$_said" ready
	"$@"
	exec 3>&-
	wait "$_pid" || fail 'the program lost something'
	rm "$TMP/in" "$TMP/said"
}

# Of others' mappings only root may ask.
gone()
{
	if [ "$(id -u)" = 0 ]; then
		until_true 20 _gone || fail 'some of it stays in the kernel'
	else
		at_least "$(vmstat unmap_denied)" 1 'denied'
	fi
}

# A page may be in use that moment.
_gone()
{
	[ "$(cached "$MNT/held")" = 0 ] && return 0
	knob drop_caches 1
	return 1
}

drop_held()
{
	knob drop_caches 1
	gone
	cksum <"$MNT/held" >"$TMP/sum"
	knob drop_caches 1
	is "$(cksum <"$MNT/held")" "$(cat "$TMP/sum")"
}

drop_removed()
{
	rm "$MNT/held"
	_before=$(vmstat unmap_dontneed)
	knob drop_caches 1
	[ "$(id -u)" = 0 ] || return 0
	at_least "$(vmstat unmap_dontneed)" "$((_before + 1))" 'dropped'
}

shrink_held()
{
	knob cache_size 32M
	gone
	knob cache_size 64M
}

t_drop_held()
{
	with_held drop_held
}

t_drop_removed()
{
	with_held drop_removed
}

t_shrink_held()
{
	with_held shrink_held
}

# In a mode where the kernel's cache is the rule.
t_mode()
{
	volume_remount -o "cache=$1,cache_size=64M"
	cat "$MNT/a" >/dev/null
	[ "$(cached "$MNT/a")" -gt 0 ] || fail 'not in the kernel'
	knob drop_caches 1
	is "$(cached "$MNT/a")" 0 'kB of a file that nobody has open'
	cmp "$TMP/a" "$MNT/a"
	with_held drop_held
	with_held shrink_held
	volume_remount -o cache=own,cache_size=64M
}

# ---- while much goes on

_dropper()
{
	while [ -e "$TMP/dropping" ]; do
		knob drop_caches 1
	done
}

t_into()
{
	: >"$TMP/dropping"
	_dropper &
	_drop=$!
	"$own" into "$MNT/into" "$1" "$2"
	_rc=$?
	rm "$TMP/dropping"
	wait "$_drop"
	is "$_rc" 0
	at_least "$(vmstat unmap_dontneed)" 1 'pages taken back'
}

_watch_memory()
{
	_most=0
	while [ -e "$TMP/watching" ]; do
		_kb=$(daemon_memory)
		[ "$_kb" -gt "$_most" ] && _most=$_kb
		echo "$_most" >"$TMP/most.new"
		mv "$TMP/most.new" "$TMP/most"
		sleep 0.2
	done
}

t_stores()
{
	: >"$TMP/watching"
	_watch_memory &
	_watch=$!
	"$own" stores "$MNT/stores" "$mib" "$TMP/disk" >"$TMP/stores"
	rm "$TMP/watching"
	wait "$_watch"
	read -r _kernel _stall _disk <"$TMP/stores"
	echo "kernel $_kernel kB, stall $_stall ms, disk $_disk ms," \
		"daemon $(cat "$TMP/most") kB"
	if [ "$(id -u)" = 0 ]; then
		at_most "$_kernel" 65536 "kB of it in the kernel"
	fi
	at_most "$_stall" \
		$(((1000 + 2 * _disk) * ${FOLIO_TIME_FACTOR:-1})) 'stall, ms'
	short || at_most "$(cat "$TMP/most")" $(((64 + 48) * 1024)) \
		'memory of the daemon, kB'
	at_least "$(vmstat unmap_pageout)" 1 'pages taken back'
}

_signal_helpers()
{
	for _p in $(descendants "$(daemon_pid)"); do
		kill "-$1" "$_p"
	done
}

# They are started when they are needed.
_some_were_late()
{
	_signal_helpers STOP
	[ "$(vmstat unmap_late)" -ge $((_late + 3)) ]
}

# Nothing is taken back: a program that touches more and more pages gets ahead
# slowly, from half of the budget on.
t_slow()
{
	[ "$(id -u)" = 0 ] || skip 'for root'
	knob drop_caches 1
	_late=$(vmstat unmap_late)
	"$own" stores "$MNT/slow" 64 "$TMP/disk" >"$TMP/stores" &
	_pid=$!
	until_true 60 _some_were_late || fail 'nobody waited'
	at_most "$(cached "$MNT/slow")" 65536 'kB of it in the kernel'
	_signal_helpers CONT
	wait "$_pid" || fail 'the program lost something'
	read -r _kernel _ <"$TMP/stores"
	at_most "$_kernel" 65536 'kB of it in the kernel, at most'
}

# Who takes back is two processes of ours; they come again when they die.
t_killed()
{
	[ "$(id -u)" = 0 ] || skip 'for root'
	for _p in $(descendants "$(daemon_pid)"); do
		kill -KILL "$_p"
	done
	for _p in $(descendants "$(daemon_pid)"); do
		until_true 10 _ended "$_p" || fail "zombie: $_p"
	done
	with_held drop_held
}

_ended()
{
	[ ! -e "/proc/$1" ]
}

t_end()
{
	volume_umount
	volume_check
	volume_mount -o cache=own,cache_size=64M
	cmp "$TMP/a" "$MNT/a"
	"$mmap" left "$MNT/map.leave"
	_pid=$(daemon_pid)
	_helpers=$(descendants "$_pid")
	volume_umount
	for _p in $_helpers; do
		_ended "$_p" || fail "left behind: $_p"
	done
}

run 'what is read and written leaves nothing in the kernel' t_uncached
run 'every read is a hit or a miss of ours, and is read ahead' t_hits
run 'files, appending, programs' t_files
for what in shared private coherent sparse grow truncate outlive unlink leave; do
	run "mapped files: $what" t_map "$what"
done
run 'random changes against a model' t_map_random
run 'what was only read is invalidated on drop_caches' t_fills
run 'a changed mapping loses nothing to drop_caches' t_drop_held
run '... nor when the file has no name any more' t_drop_removed
run '... nor to a smaller cache_size' t_shrink_held
run 'read(2) of a file here into a mapping loses nothing meanwhile' \
	t_into "$MNT/a" "$rounds"
run 'read(2) of a file elsewhere into a mapping loses nothing meanwhile' \
	t_into "$TMP/a" "$rounds"
run 'stores all over a large file stay within the bounds' t_stores
run 'who touches pages faster than they are taken back is slowed' t_slow
run 'a helper that was killed is replaced, and leaves no zombie' t_killed
run 'cache=kernel: drop_caches and shrinking reach the kernel' t_mode kernel
run 'cache=writeback: drop_caches and shrinking reach the kernel' \
	t_mode writeback
run 'everything is there after the next mount; no process is left' t_end
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# A block goes bad under a mount: a scrub finds it, reading it is an error, a
# repair keeps it one, and everything else stays as it was.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

volume_create || exit 99
volume_mount || exit 99

# says PATTERN: what was said has a line like that.
says()
{
	grep -q -- "$1" "$TMP/said" || fail "no '$1' in: $(cat "$TMP/said")"
}

# check_exits STATUS ARG...: folioctl check.
check_exits()
{
	_want=$1
	shift
	_got=0
	"$FOLIOCTL" check "$@" >"$TMP/said" 2>&1 || _got=$?
	is "$_got" "$_want" "exit status of check $*: $(cat "$TMP/said")"
}

t_clean()
{
	head -c 4M /dev/urandom >"$TMP/good"
	cp "$TMP/good" "$MNT/good"
	mkdir "$MNT/folder"
	tr '\0' 'Q' </dev/zero | head -c 256K >"$MNT/folder/bad"
	"$FOLIOCTL" sync "$MNT"
	check_exits 0 --rate 1G "$MNT"
	says 'clean'
	at_least "$(vmstat scrub_blocks)" 1024 'blocks'
	is "$(cat "$MNT/.foliofs/vm/scrub_rate")" 1073741824 'rate'
	check_exits 0 --json "$MNT"
	says '"bad_blocks": 0'
	check_exits 2 --repair "$MNT"
}
run 'a live volume is verified' t_clean

# Where the first page of that file stands in data.
t_bad()
{
	_at=$(grep -abo -m 1 QQQQQQQQ "$VOL/data" | head -n 1 | cut -d: -f1)
	printf Z | dd of="$VOL/data" bs=1 seek="$((_at + 100))" conv=notrunc \
		2>/dev/null
	check_exits 4 "$MNT"
	says '(/folder/bad), pages'
	says '1 bad block'
	is "$(vmstat scrub_complete)" 1 'complete'
	check_exits 4 --json "$MNT"
	says '"pages": 1, "path": "/folder/bad"}'
	grep -q '/folder/bad$' "$MNT/.foliofs/scrub" || fail 'not in scrub'
	is "$(vmstat scrub_errors)" 2 'errors'
}
run 'a block that has gone bad is found and named' t_bad

t_interrupt()
{
	echo 4096 >"$MNT/.foliofs/vm/scrub_rate"
	"$FOLIOCTL" check "$MNT" >"$TMP/said" 2>&1 &
	_pid=$!
	scrub_runs() { [ "$(vmstat scrub_running)" = "$1" ]; }
	until_true 60 scrub_runs 1
	kill -TERM "$_pid"
	wait "$_pid" && fail 'it was not interrupted'
	until_true 60 scrub_runs 0
	is "$(vmstat scrub_complete)" 0 'complete'

	# nor is a volume clean because somebody else has stopped it
	"$FOLIOCTL" check "$MNT" >"$TMP/said" 2>&1 &
	_pid=$!
	until_true 60 scrub_runs 1
	echo 0 >"$MNT/.foliofs/vm/scrub"
	_got=0
	wait "$_pid" || _got=$?
	is "$_got" 1 "exit status: $(cat "$TMP/said")"
	says 'it ended before all was read'
}
run 'it can be interrupted' t_interrupt

t_repair()
{
	volume_umount
	check_exits 4 "$VOL"
	says '(/folder/bad), page'
	check_exits 0 --repair "$VOL"
	check_exits 0 "$VOL"
	says 'note: .*(/folder/bad), page .*lost'
	check_exits 0 --json "$VOL"
	says '"reports": \[\], "notes": \[".*(/folder/bad), page .*lost'
	volume_mount
	cmp "$TMP/good" "$MNT/good"
	: >"$TMP/daemon.log"
	for _i in 1 2 3; do
		cat "$MNT/folder/bad" >/dev/null 2>&1 && fail 'wrong bytes'
	done
	until_true 20 grep -q '(/folder/bad), pages 0-' "$TMP/daemon.log"
	is "$(grep -c '(/folder/bad), pages 0-' "$TMP/daemon.log")" 1 \
		"lines of the log that name it: $(cat "$TMP/daemon.log")"
	volume_umount
	check_exits 0 --repair --discard "$VOL"
	volume_mount
	is "$(tr -d 'Q' <"$MNT/folder/bad" | wc -c)" 4096 'zeros'
	volume_umount
	volume_check
}
run 'a repair keeps it an error, or makes it a hole' t_repair

# The page of meta.db that has all attributes.
t_meta()
{
	skip_unless sqlite3 setfattr
	volume_mount
	touch "$MNT/marked"
	setfattr -n user.mark -v x "$MNT/marked"
	volume_umount
	_page=$(sqlite3 "$VOL/meta.db" \
		"SELECT rootpage FROM sqlite_schema WHERE name='xattr'")
	volume_mount
	: >"$TMP/daemon.log"
	printf Z | dd of="$VOL/meta.db" bs=1 seek=$((_page * 4096 - 100)) \
		conv=notrunc 2>/dev/null
	getfattr -n user.mark "$MNT/marked" >"$TMP/said" 2>&1 &&
		fail 'wrong bytes'
	says 'Input/output error'
	until_true 20 grep -q "SQLite: meta.db: page $_page is damaged" \
		"$TMP/daemon.log"
	volume_umount || :
	check_exits 4 "$VOL"
	says 'meta.db'
	check_exits 0 --repair "$VOL"
	volume_mount
	ls "$MNT/marked" "$MNT/good"
	volume_umount
}
run 'a page of meta.db that has gone bad is named' t_meta

finish

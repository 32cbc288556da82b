#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# What must not be mounted: damaged, truncated, foreign and newer volumes,
# volumes and mountpoints in use, nonsense in options and knobs. One clear line
# on stderr, exit status 1 (errno for a knob), and nothing is changed.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 60

# A good volume with a file in it, to be spoilt in copies.
make_good()
{
	volume_create
	volume_mount
	head -c 3000000 /dev/urandom >"$MNT/file"
	mkdir "$MNT/folder"
	volume_umount
	mv "$VOL" "$TMP/good"
}

spoil()
{
	rm -rf "$VOL"
	cp -a "$TMP/good" "$VOL"
}

sums()
{
	[ ! -e "$VOL" ] || find "$VOL" -type f ! -name lock \
		-exec sha256sum {} + | sort
}

# refused PATTERN [OPTIONS]: foliofs says so in one line, exits with 1, and
# leaves volume and mountpoint alone; in the foreground as in the background.
refused()
{
	_said=$1
	shift
	sums >"$TMP/sums"
	for _flag in '' -f; do
		_rc=0
		# shellcheck disable=SC2086
		timeout 30 "$FOLIOFS" $_flag "$@" "$VOL" "$MNT" \
			>"$TMP/stdout" 2>"$TMP/stderr" </dev/null || _rc=$?
		cat "$TMP/stderr"
		if is_mounted "$MNT"; then
			mount_force_off "$MNT"
			fail "it was mounted: $*"
		fi
		is "$_rc" 1 "exit status with ${_flag:-no flag} $*"
		is "$(wc -l <"$TMP/stderr")" 1 "lines on stderr, $*"
		grep -q -i -E -- "$_said" "$TMP/stderr" ||
			fail "not said: $_said"
		sums | diff - "$TMP/sums" || fail 'the volume was changed'
	done
}

t_missing()
{
	rm -rf "$VOL"
	refused 'no such|not found|no volume|missing|not a volume'
	[ ! -e "$VOL" ] || fail 'it made something'
}

t_foreign()
{
	rm -rf "$VOL"
	mkdir "$VOL"
	echo precious >"$VOL/file"
	refused 'not a (foliofs )?volume|no volume'
	refused 'not empty|not a (foliofs )?volume|no volume' -o create
	fails_with . "$FOLIOCTL" create "$VOL"
	is "$(ls "$VOL")" file 'what is in the folder'
}

t_a_file()
{
	rm -rf "$VOL"
	echo precious >"$VOL"
	refused 'not a (directory|folder|volume|foliofs)'
	refused 'not a (directory|folder|volume|foliofs)|exists' -o create
	is "$(cat "$VOL")" precious 'the file'
	rm "$VOL"
}

t_meta_missing()
{
	spoil
	rm "$VOL/meta.db"
	refused 'meta.db'
	[ ! -e "$VOL/meta.db" ] || fail 'it made a meta.db'
}

t_meta_empty()
{
	spoil
	: >"$VOL/meta.db"
	refused 'meta.db|damaged|not a'
}

t_meta_no_database()
{
	spoil
	head -c 100000 /dev/urandom >"$VOL/meta.db"
	refused 'meta.db|damaged|not a'
}

t_meta_truncated()
{
	spoil
	truncate -s 5000 "$VOL/meta.db"
	refused 'meta.db|damaged'
}

# Any byte: the pages of the database carry checksums.
t_meta_byte()
{
	spoil
	printf '\252\125\252' |
		dd of="$VOL/meta.db" bs=1 seek=2000 conv=notrunc status=none
	refused 'meta.db|damaged|checksum'
}

# The format's number is SQLite's user_version, at byte 60.
t_newer()
{
	spoil
	printf '\0\0\0\143' |
		dd of="$VOL/meta.db" bs=1 seek=60 conv=notrunc status=none
	refused 'newer'
	fails_with newer "$FOLIOCTL" check "$VOL"
}

# set_super COLUMN VALUE: by a sqlite3 that knows nothing of our checksums,
# which stand in the last 8 bytes of a page; zeros are not verified.
set_super()
{
	skip_unless sqlite3
	sqlite3 "$VOL/meta.db" "UPDATE super SET $1 = $2;"
	for _p in 1 "$(sqlite3 "$VOL/meta.db" \
		"SELECT rootpage FROM sqlite_schema WHERE name = 'super'")"; do
		dd if=/dev/zero of="$VOL/meta.db" bs=8 count=1 status=none \
			seek=$((_p * 512 - 1)) conv=notrunc
	done
}

t_feature()
{
	spoil
	set_super compat 1024
	volume_mount
	[ -e "$MNT/file" ]
	volume_umount

	spoil
	set_super incompat 1024
	refused feature

	spoil
	set_super ro_compat 1024
	refused feature
	volume_mount -o ro
	[ -e "$MNT/file" ]
	fails_with 'Read-only' touch "$MNT/new"
	volume_umount
}

t_data_missing()
{
	spoil
	rm "$VOL/data"
	refused 'data'
	[ ! -e "$VOL/data" ] || fail 'it made a data file'
}

t_data_empty()
{
	spoil
	: >"$VOL/data"
	refused 'data'
}

t_data_truncated()
{
	spoil
	truncate -s 100000 "$VOL/data"
	refused 'data'
}

t_data_of_another()
{
	rm -rf "$VOL"
	volume_create
	cp "$VOL/data" "$TMP/data.other"
	spoil
	cp "$TMP/data.other" "$VOL/data"
	refused 'data.*(another|other|different)'
}

t_data_no_magic()
{
	spoil
	dd if=/dev/zero of="$VOL/data" bs=4096 count=1 conv=notrunc status=none
	refused 'data'
}

# A block of a file: found when it is read, never wrong bytes.
t_data_byte()
{
	spoil
	_size=$(stat -c %s "$VOL/data")
	dd if=/dev/zero of="$VOL/data" bs=4096 seek=1 conv=notrunc \
		count=$((_size / 4096 - 1)) status=none
	fails_with 'checksum|damaged|wrong' "$FOLIOCTL" check "$VOL"
	volume_mount
	fails_with 'Input/output error' cat "$MNT/file"
	at_least "$(vmstat checksum_errors)" 1 'checksum errors counted'
	[ -d "$MNT/folder" ]
	volume_umount || :
}

# The log of a killed daemon, with one byte of an early frame changed: what is
# behind it was acknowledged, and SQLite alone would go back without a word.
t_log_byte()
{
	spoil
	volume_mount -o commit=0
	for i in 1 2 3 4 5 6; do
		echo "$i" >"$MNT/f$i"
		sync "$MNT/f$i"
	done
	daemon_kill
	cp "$VOL/meta.db-wal" "$TMP/log"
	at_least "$(stat -c %s "$TMP/log")" 20000 'the log'
	for at in 5000 30; do
		printf '\252' | dd of="$VOL/meta.db-wal" bs=1 seek=$at \
			conv=notrunc status=none
		refused 'meta.db-wal is damaged .* commits up to [0-9]+ at least'
		refused 'meta.db-wal is damaged' -o ro
		rc=0
		"$FOLIOCTL" check "$VOL" >"$TMP/said" || rc=$?
		is "$rc" 4 'exit status of the check'
		grep -q 'meta.db-wal is damaged' "$TMP/said"
		fails_with 'meta.db-wal is damaged' "$FOLIOCTL" backup "$VOL" \
			"$TMP/copy"
		fails_with 'meta.db-wal is damaged' "$FOLIOCTL" info "$VOL"
		"$FOLIOCTL" info "$VOL" 2>"$TMP/said" | grep -q '^commit_no '
		[ $at = 30 ] || cp "$TMP/log" "$VOL/meta.db-wal"
	done
	"$FOLIOCTL" check --repair "$VOL" | grep 'going back to commit'
	volume_mount
	is "$(stat -c %s "$MNT/file")" 3000000 'what there was before'
	volume_umount
	volume_check
}

# On a medium that nobody can write to.
t_log_byte_frozen()
{
	[ "$(id -u)" = 0 ] || skip 'only for root'
	spoil
	volume_mount -o commit=0
	for i in 1 2 3 4 5 6; do
		echo "$i" >"$MNT/f$i"
		sync "$MNT/f$i"
	done
	daemon_kill
	printf '\252' | dd of="$VOL/meta.db-wal" bs=1 seek=5000 \
		conv=notrunc status=none
	mount --bind "$VOL" "$VOL"
	mount -o remount,bind,ro "$VOL"
	rc=0
	(refused 'meta.db-wal is damaged' -o ro) || rc=$?
	umount "$VOL"
	is "$rc" 0 'on the read-only medium'
}

t_busy()
{
	spoil
	volume_mount
	mkdir "$TMP/other"
	fails_with "$(daemon_pid)" "$FOLIOFS" "$VOL" "$TMP/other"
	! is_mounted "$TMP/other" || fail 'mounted twice'
	fails_with "$(daemon_pid)" "$FOLIOFS" -f "$VOL" "$TMP/other"
	echo more >"$MNT/more"
	volume_umount
	volume_check
}

t_mountpoint()
{
	spoil
	_mnt=$MNT
	MNT=$TMP/nosuch
	refused 'nosuch.*no such|no such.*nosuch'
	MNT=$TMP/plain
	: >"$MNT"
	refused 'plain.*not a (directory|folder)|not a.*plain'
	MNT=$_mnt
}

# The kernel still has attributes of its root: only opening it tells.
t_dead_mountpoint()
{
	spoil
	volume_mount
	stat "$MNT" >/dev/null
	daemon_signal KILL
	until_true 10 test -e "$TMP/daemon.rc"
	fails_with 'unmount it first' "$FOLIOFS" "$VOL" "$MNT"
	mount_force_off "$MNT"
	volume_mount
	volume_umount
}

t_options()
{
	spoil
	for _o in nosuch nosuch=1 create=1 cache_size cache_size= \
		cache_size=0 cache_size=-1 cache_size=1 cache_size=12Q \
		cache_size=12MM cache_size=M cache_size=1e9 cache_size=101% \
		cache_size=99999999999999999999 cache_size=8000000000G \
		cache=OWN cache=nosuch cache= cache commit commit=x \
		commit=-1 commit=1.5 commit=99999999999 swappiness=201 \
		swappiness=-1 swappiness=x readahead=x readahead=1T \
		dirty_bytes=x dirty_background_bytes=-5 dirty_expire=never \
		swap_size=some atomic=1 swap swap= swap=/nosuch/file ro=0 fsname= size=1 \
		'cache_size=64M,nosuch'; do
		refused "${_o%%=*}|${_o##*,}" -o "$_o"
	done
}

t_command_line()
{
	spoil
	for _f in -x --nosuch -o; do
		fails_with . "$FOLIOFS" "$VOL" "$MNT" "$_f"
	done
	fails_with . "$FOLIOFS"
	fails_with . "$FOLIOFS" "$VOL"
	fails_with . "$FOLIOFS" "$VOL" "$MNT" more
	fails_with . "$FOLIOFS" '' "$MNT"
	! is_mounted "$MNT" || fail 'it was mounted'
	"$FOLIOFS" --help | grep -q cache_size
	"$FOLIOFS" --version | grep -q '[0-9]'
}

# knob_refused NAME VALUE: EINVAL, and it keeps its value.
knob_refused()
{
	_was=$(knob "$1")
	if echo "$2" | tee "$MNT/.foliofs/vm/$1" >/dev/null 2>"$TMP/knob"; then
		fail "$1 took '$2'"
	fi
	grep -q 'Invalid argument' "$TMP/knob" ||
		fail "$1=$2: $(cat "$TMP/knob")"
	is "$(knob "$1")" "$_was" "$1"
}

t_knobs()
{
	spoil
	volume_mount -o cache_size=64M
	for _v in x -1 '' ' ' 1x 99999999999999999999999 0x10 1.5 '1 2'; do
		for _k in cache_size swappiness commit_secs dirty_bytes \
			readahead_kb swap_size dirty_expire_centisecs; do
			knob_refused "$_k" "$_v"
		done
	done
	knob_refused cache_size 0
	knob_refused swappiness 201
	fails_with 'No such file|Permission denied|not permitted' \
		dd if=/dev/null of="$MNT/.foliofs/vm/nosuch"
	knob swappiness 10
	is "$(knob swappiness)" 10 swappiness
	volume_umount
}

run 'a good volume' make_good
run 'a volume that is not there' t_missing
run 'a folder that is no volume' t_foreign
run 'a file' t_a_file
run 'no meta.db' t_meta_missing
run 'an empty meta.db' t_meta_empty
run 'a meta.db that is no database' t_meta_no_database
run 'a truncated meta.db' t_meta_truncated
run 'a changed byte in meta.db' t_meta_byte
run 'a newer format' t_newer
run 'features that are not known' t_feature
run 'a changed byte in the log of a killed daemon' t_log_byte
run 'the same on a read-only medium' t_log_byte_frozen
run 'no data' t_data_missing
run 'an empty data' t_data_empty
run 'a truncated data' t_data_truncated
run 'the data of another volume' t_data_of_another
run 'a data without its first block' t_data_no_magic
run 'a spoilt block of a file is an error, never wrong bytes' t_data_byte
run 'a volume in use: it says by whom' t_busy
run 'a mountpoint that is none' t_mountpoint
run 'a mountpoint whose daemon died' t_dead_mountpoint
run 'nonsense in options' t_options
run 'nonsense on the command line' t_command_line
run 'nonsense in knobs is EINVAL' t_knobs
finish

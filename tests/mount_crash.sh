#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# kill -9 of the daemon at any moment, over and over, on a volume, in each cache
# mode, with files that are atomic and files that are not: everything
# acknowledged by fsync or msync is there, whole; nothing is torn; the volume
# is clean. See crash_writer.c for what is promised.
#
# FOLIO_ROUNDS=n: n times as many rounds as 10 in each mode; FOLIO_MODES="own":
# in that mode only.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

writer=$top_builddir/tests/crash_writer
seed=${FOLIO_SEED:-$(date +%s)}
rounds=$((5 * ${FOLIO_ROUNDS:-1}))
short && rounds=1
log=$TMP/log
echo "# seed $seed"

# Between 20 and 800 acknowledgements.
acks_of()
{
	echo $((20 + (seed % 9973 * 31 + $1 * 7919) % 780))
}

log_has()
{
	[ -e "$log" ] && [ "$(wc -l <"$log")" -ge "$1" ]
}

t_begin()
{
	[ ! "$(daemon_pid)" ] || volume_umount
	rm -rf "$VOL" "$log" "$log.state"
	volume_create
	volume_mount -o "$1"
}

# t_round NUMBER OPTIONS [HOW...]
t_round()
{
	[ "$(daemon_pid)" ] || fail 'an earlier round left no daemon'
	_n=$1
	_opts=$2
	shift 2
	rm -f "$log"
	"$writer" run "$MNT" "$log" "$seed" "$@" &
	_writer=$!
	until_true 90 log_has "$(acks_of "$_n")" ||
		fail "only $(wc -l <"$log") acknowledgements"
	cp "$log" "$TMP/log.before"
	daemon_kill
	wait "$_writer"
	if grep '^E' "$TMP/log.before"; then
		fail 'the filesystem failed before it was killed'
	fi
	if grep '^B' "$log"; then
		fail 'what was read was not what had been written'
	fi

	volume_check
	volume_mount -o "$_opts"
	"$writer" verify "$MNT" "$log" "$seed" "$@"
}

# Commits that nobody asked for come thick and fast, and blocks go back to the
# host: who is killed then has files in the volume that are between two syncs,
# but none that is atomic.
t_compacting()
{
	while echo 1 >"$MNT/.foliofs/vm/compact"; do
		:
	done 2>/dev/null &
	_compact=$!
	t_round "$@"
	wait "$_compact" || :
}

# With much uncommitted and swapped out.
t_under_load()
{
	head -c 100M /dev/zero >"$MNT/load" &
	_load=$!
	t_round "$@"
	wait "$_load" || :
	rm -f "$MNT/load"
}

# kill_in MODE [HOW...]
kill_in()
{
	_mode=$1
	shift
	_of="cache_size=16M,commit=1,cache=$_mode"
	case " $* " in *' atomic '*) _of=$_of,atomic ;; esac
	[ "$_mode" != writeback ] || set -- "$@" late

	_i=0
	while [ "$_i" -lt "$rounds" ]; do
		# verifying goes through all that was ever done on it
		[ $((_i % 10)) != 0 ] ||
			run "$_of: a new volume" t_begin "$_of"
		_i=$((_i + 1))
		case $((_i % 5)) in
		0) _how=t_under_load ;;
		1 | 3) _how=t_compacting ;;
		*) _how=t_round ;;
		esac
		run "$_of: killed, all acknowledged is there ($_i)" \
			"$_how" "$_i" "$_of" "$@"
	done
}

for mode in ${FOLIO_MODES:-kernel writeback own}; do
	kill_in "$mode"
	kill_in "$mode" atomic
done
run 'unmounts cleanly' volume_umount
run 'the volume is clean' volume_check
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# kill -9 of the daemon at any moment, over and over, on one volume: everything
# acknowledged by fsync or msync is there, whole; nothing is torn; the volume
# is clean. See crash_writer.c for what is promised.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

writer=$top_builddir/tests/crash_writer
seed=${FOLIO_SEED:-$(date +%s)}
rounds=30
short && rounds=5
log=$TMP/log
echo "# seed $seed"
volume_create || exit 99
volume_mount -o "cache_size=16M,commit=1" || exit 99

# Between 20 and 1500 acknowledgements.
acks_of()
{
	echo $((20 + (seed % 9973 * 31 + $1 * 7919) % 1480))
}

log_has()
{
	[ -e "$log" ] && [ "$(wc -l <"$log")" -ge "$1" ]
}

t_round()
{
	[ "$(daemon_pid)" ] || fail 'an earlier round left no daemon'
	rm -f "$log"
	"$writer" run "$MNT" "$log" "$seed" &
	_writer=$!
	until_true 90 log_has "$(acks_of "$1")" ||
		fail "only $(wc -l <"$log") acknowledgements"
	cp "$log" "$TMP/log.before"
	daemon_kill
	wait "$_writer"
	if grep '^E' "$TMP/log.before"; then
		fail 'the filesystem failed before it was killed'
	fi

	volume_check
	volume_mount -o "cache_size=16M,commit=1"
	"$writer" verify "$MNT" "$log" "$seed"
}

# With much uncommitted and swapped out.
t_under_load()
{
	head -c 100M /dev/zero >"$MNT/load" &
	_load=$!
	t_round "$1"
	wait "$_load" || :
	rm -f "$MNT/load"
}

i=0
while [ "$i" -lt "$rounds" ]; do
	i=$((i + 1))
	if [ $((i % 5)) = 0 ]; then
		run "round $i: killed under load, all acknowledged is there" \
			t_under_load "$i"
	else
		run "round $i: killed, all acknowledged is there" t_round "$i"
	fi
done
run 'unmounts cleanly' volume_umount
run 'the volume is clean' volume_check
finish

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2013
#
# Library of the mount tests: real mounts, real programs, TAP on stdout.
# POSIX sh; sourced, never run:
#
#	. "$top_srcdir/tests/mount_lib.sh"
#	mount_init 60			# seconds a test may take
#	volume_create && volume_mount -o cache_size=64M
#	t_write() { echo hello >"$MNT/a"; is "$(cat "$MNT/a")" hello; }
#	run 'what is written can be read' t_write
#	finish
#
# A test is a function. It runs in a subshell under `set -e`, its output shows
# as TAP comments when it fails. `skip_unless COMMAND...` inside leaves it as
# skipped. What a test leaves behind is files: shell variables that it sets are
# gone after it; the daemon's pid and exit status are files for that reason.
#
# A watchdog process looks at the clock: when a test has had its time, it
# aborts the FUSE connection (every blocked program gets an error), unmounts
# lazily, and ends the daemon, the test and its children, so that nothing can
# hang for ever. Only processes begun here are ended, each by its pid.
#
# Environment:
#   top_srcdir, top_builddir	set by make check
#   FOLIO_REQUIRE_MOUNT=1	a skip is a failure (CI)
#   FOLIO_SHORT=1		less work: sanitizers, impatience
#   FOLIO_TEST_DIR		where volumes and mounts are made; on a disk
#   FOLIO_MNT			an empty folder to mount at; set by tests
#				whose programs are other users'
#   FOLIO_WRAP			put before the daemon: setarch -R, valgrind ...
#   FOLIO_ENTRIES=N		how many names a very large folder has; a
#				million wants FOLIO_TIME_FACTOR=10
#   FOLIO_KEEP=1		leave the folder of the test behind
#   FOLIO_TIME_FACTOR		stretches every time limit (sanitizers, valgrind)
#
# Set by mount_init: TMP (a fresh folder), VOL, MNT, FOLIOFS, FOLIOCTL.

# ---- looking at mounts, without touching them: a stat() could hang

# mounted_dev DIR: major:minor of the filesystem mounted at DIR, or fails.
mounted_dev()
{
	awk -v m="$1" '$5 == m { d = $3 } END { if (!d) exit 1; print d }' \
		/proc/self/mountinfo
}

is_mounted()
{
	mounted_dev "$1" >/dev/null
}

# descendants PID: the pids of its children, their children ...
descendants()
{
	for _d in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
		echo "$_d"
		descendants "$_d"
	done
}

# Lift a mount whatever state it is in.
mount_force_off()
{
	if _dev=$(mounted_dev "$1"); then
		_conn=/sys/fs/fuse/connections
		[ -e "$_conn/${_dev#*:}" ] ||
			mount -t fusectl none "$_conn" 2>/dev/null || :
		echo 1 2>/dev/null >"$_conn/${_dev#*:}/abort" || :
		umount -l "$1" 2>/dev/null || fusermount3 -u -z "$1" || :
	fi
}

# ---- begin and end

_now()
{
	date +%s
}

_watchdog()
{
	while [ -e "$TMP/alive" ] && kill -0 "$1" 2>/dev/null; do
		sleep 1
		_until=$(cat "$TMP/deadline")
		[ "$(_now)" -gt "${_until:-99999999999}" ] || continue

		: >"$TMP/timed_out"
		: >"$TMP/deadline"
		_test=$(cat "$TMP/test.pid")
		_stacks
		mount_force_off "$MNT"
		daemon_signal KILL || :
		sleep 2
		[ "$(cat "$TMP/test.pid")" = "$_test" ] || continue
		for _p in $(descendants "$_test") "$_test"; do
			kill -KILL "$_p" 2>/dev/null || :
		done
	done
}

# Where the daemon's threads were when the time was up, for the log.
_stacks()
{
	_pid=$(daemon_pid) || return 0
	{
		echo "time is up; daemon $_pid:"
		grep -h . /proc/"$_pid"/task/*/wchan 2>/dev/null
		if command -v gdb >/dev/null; then
			timeout 20 gdb -p "$_pid" -batch \
				-ex 'thread apply all bt' 2>/dev/null
		fi
	} >>"$TMP/daemon.log"
}

_cleanup()
{
	trap - EXIT
	rm -f "$TMP/alive"
	[ -n "${_dog:-}" ] && kill "$_dog" 2>/dev/null
	mount_force_off "$MNT"
	if daemon_signal KILL; then
		until_true 10 test -e "$TMP/daemon.rc"
	fi
	[ -z "${FOLIO_MNT:-}" ] || rmdir "$FOLIO_MNT"
	if [ "${FOLIO_KEEP:-0}" = 1 ]; then
		echo "# left behind: $TMP"
	else
		rm -rf "$TMP"
	fi
}

# mount_init [SECONDS]: a fresh folder, the watchdog, and whether this machine
# lets us mount at all; if not, the whole file is skipped.
mount_init()
{
	: "${top_srcdir:?run by make check}" "${top_builddir:?}"
	FOLIOFS=$top_builddir/foliofs
	FOLIOCTL=$top_builddir/folioctl
	_limit=$((${1:-60} * ${FOLIO_TIME_FACTOR:-1}))
	_nr=0
	_failed=0

	if ! [ -r /dev/fuse ] || ! [ -w /dev/fuse ]; then
		_skip_all 'no /dev/fuse, or it may not be opened'
	fi
	[ "$(id -u)" = 0 ] || command -v fusermount3 >/dev/null ||
		_skip_all 'neither root nor fusermount3'

	TMP=$(mktemp -d "${FOLIO_TEST_DIR:-$top_builddir}/mnt.XXXXXX") ||
		exit 99
	TMP=$(cd "$TMP" && pwd -P)
	VOL=$TMP/vol
	MNT=${FOLIO_MNT:-$TMP/mnt}
	mkdir -p "$MNT"
	: >"$TMP/alive"
	: >"$TMP/deadline"
	: >"$TMP/daemon.log"
	# git leaves nothing behind that keeps the mount busy
	export GIT_CONFIG_COUNT=1
	export GIT_CONFIG_KEY_0=maintenance.auto GIT_CONFIG_VALUE_0=false
	trap _cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	_watchdog $$ >/dev/null 2>&1 &
	_dog=$!
}

_skip_all()
{
	if [ "${FOLIO_REQUIRE_MOUNT:-0}" = 1 ]; then
		echo "Bail out! mounting is required here: $1"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 0
}

# Print the plan; the exit status of the file.
finish()
{
	echo "1..$_nr"
	[ "$_failed" = 0 ]
	exit
}

# ---- tests

_SKIPPED=77

# run SENTENCE FUNCTION [ARGUMENT...]
run()
{
	_what=$1
	shift
	_nr=$((_nr + 1))
	rm -f "$TMP/timed_out" "$TMP/skip"
	echo "$(($(_now) + _limit))" >"$TMP/deadline"
	_mark=$(wc -c <"$TMP/daemon.log")

	(set -e; "$@") >"$TMP/out" 2>&1 </dev/null &
	echo $! >"$TMP/test.pid"
	wait $!
	_rc=$?
	: >"$TMP/deadline"
	rm -f "$TMP/test.pid"

	if [ -e "$TMP/timed_out" ]; then
		_result="not ok $_nr - $_what"
		echo "took more than $_limit s" >>"$TMP/out"
	elif [ "$_rc" = "$_SKIPPED" ] && [ -e "$TMP/skip" ]; then
		_result="ok $_nr - $_what # SKIP $(cat "$TMP/skip")"
		[ "${FOLIO_REQUIRE_MOUNT:-0}" = 1 ] &&
			_result="not ok $_nr - $_what"
	elif [ "$_rc" = 0 ]; then
		_result="ok $_nr - $_what"
	else
		_result="not ok $_nr - $_what"
		echo "exit status $_rc" >>"$TMP/out"
	fi
	echo "$_result"

	case $_result in
	not*)
		_failed=$((_failed + 1))
		[ -e "$TMP/skip" ] && sed 's/^/#  skipped: /' "$TMP/skip"
		tail -n 60 "$TMP/out" | sed 's/^/#  /'
		tail -c "+$((_mark + 1))" "$TMP/daemon.log" | tail -n 200 |
			sed 's/^/#  daemon: /'
		;;
	esac
}

# Inside a test. All end it when they fail.

fail()
{
	echo "failed: $*" >&2
	exit 1
}

# is GOT WANTED [WHAT]
is()
{
	[ "$1" = "$2" ] || fail "${3:-value}: got '$1', wanted '$2'"
}

# at_most NUMBER BOUND WHAT, at_least NUMBER BOUND WHAT
at_most()
{
	[ "$1" -le "$2" ] || fail "$3: $1, at most $2 was expected"
}

at_least()
{
	[ "$1" -ge "$2" ] || fail "$3: $1, at least $2 was expected"
}

# fails_with PATTERN COMMAND...: it must fail, saying something like that.
fails_with()
{
	_pat=$1
	shift
	if "$@" >"$TMP/fails" 2>&1; then
		cat "$TMP/fails"
		fail "succeeded: $*"
	fi
	cat "$TMP/fails"
	grep -q -E -- "$_pat" "$TMP/fails" || fail "not said: $_pat"
}

# until_true SECONDS COMMAND...: until it succeeds.
until_true()
{
	_end=$(($(_now) + $1 * ${FOLIO_TIME_FACTOR:-1}))
	shift
	while ! "$@"; do
		[ "$(_now)" -lt "$_end" ] || return 1
		sleep 0.05
	done
}

skip()
{
	echo "$*" >"$TMP/skip"
	exit "$_SKIPPED"
}

# skip_unless COMMAND...: programs that the test needs.
skip_unless()
{
	for _c; do
		command -v "$_c" >/dev/null || skip "no $_c here"
	done
}

# forget FILE: out of the kernel's page cache, so that reading it asks us.
forget()
{
	dd if="$1" iflag=nocache count=0 2>/dev/null
}

short()
{
	[ "${FOLIO_SHORT:-0}" = 1 ]
}

# ---- volume and daemon

# volume_create [OPTIONS of folioctl create]
volume_create()
{
	"$FOLIOCTL" create "$@" "$VOL"
}

# volume_mount [OPTIONS of foliofs]: returns when it is mounted. Fails with
# the daemon's exit status.
volume_mount()
{
	rm -f "$TMP/daemon.pid" "$TMP/daemon.rc"
	(
		set +e
		# shellcheck disable=SC2016,SC2086
		sh -c 'echo $$ >"$0"; exec "$@"' "$TMP/daemon.pid" \
			${FOLIO_WRAP:-} "$FOLIOFS" -f "$@" "$VOL" "$MNT" \
			>>"$TMP/daemon.log" 2>&1 </dev/null
		echo $? >"$TMP/daemon.rc.new"
		mv "$TMP/daemon.rc.new" "$TMP/daemon.rc"
	) >/dev/null 2>&1 &
	until_true 60 _mounted_or_ended ||
		fail 'neither mounted nor ended after 60 s'
	if [ ! -e "$TMP/daemon.rc" ]; then
		# It is in the table before the daemon answers.
		stat "$MNT" >/dev/null
		return
	fi
	tail -n 5 "$TMP/daemon.log" >&2
	return "$(cat "$TMP/daemon.rc")"
}

_mounted_or_ended()
{
	[ -e "$TMP/daemon.rc" ] || is_mounted "$MNT"
}

# volume_umount: returns the daemon's exit status, when it has ended.
volume_umount()
{
	umount "$MNT" 2>"$TMP/umount" || fusermount3 -u "$MNT" ||
		fail "unmounting: $(cat "$TMP/umount")"
	daemon_wait
}

volume_remount()
{
	volume_umount && volume_mount "$@"
}

# daemon_wait: until it has ended; its exit status.
daemon_wait()
{
	until_true 600 test -e "$TMP/daemon.rc" || fail 'it does not end'
	return "$(cat "$TMP/daemon.rc")"
}

daemon_pid()
{
	[ ! -e "$TMP/daemon.rc" ] && cat "$TMP/daemon.pid" 2>/dev/null
}

daemon_signal()
{
	_pid=$(daemon_pid) && kill "-$1" "$_pid" 2>/dev/null
}

# daemon_kill: as a power cut would, but for the kernel's page cache.
daemon_kill()
{
	daemon_signal KILL || fail 'it had ended before'
	daemon_wait || :
	mount_force_off "$MNT"
}

# volume_check: nothing may be wrong.
volume_check()
{
	"$FOLIOCTL" check "$VOL"
}

# meminfo NAME (kB), vmstat NAME, knob NAME [VALUE]
meminfo()
{
	awk -v n="$1:" '$1 == n { print $2; f = 1 } END { exit !f }' \
		"$MNT/.foliofs/meminfo" || fail "no $1 in meminfo"
}

vmstat()
{
	awk -v n="$1" '$1 == n { print $2; f = 1 } END { exit !f }' \
		"$MNT/.foliofs/vmstat" || fail "no $1 in vmstat"
}

knob()
{
	if [ $# = 1 ]; then
		cat "$MNT/.foliofs/vm/$1"
	else
		echo "$2" >"$MNT/.foliofs/vm/$1"
	fi
}

# daemon_memory: kB of memory that the daemon holds: its resident set, the
# arena counted by what its memfd has allocated even where it is not mapped.
daemon_memory()
{
	_pid=$(daemon_pid) || fail 'no daemon'
	_kb=$(awk '/^Rss(Anon|File):/ { s += $2 } END { print s }' \
		"/proc/$_pid/status")
	for _fd in /proc/"$_pid"/fd/*; do
		case $(readlink "$_fd") in
		/memfd:*)
			_kb=$((_kb + $(stat -L -c %b "$_fd") / 2))
			;;
		esac
	done
	_rss=$(awk '/^VmRSS:/ { print $2 }' "/proc/$_pid/status")
	[ "$_rss" -gt "$_kb" ] && _kb=$_rss
	echo "$_kb"
}

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# Power cuts under real programs: a daemon that records everything it does to
# its volume serves them, then states that a cut at any moment can have left
# are made of that (power_states.c), and the programs' own checkers look at the
# files in there: each transaction and commit that was acknowledged before the
# cut is there, and what is there is whole. Meanwhile commits that nobody asked
# for come all the time.
#
# FOLIO_STATES=n: n states of each program.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

FOLIOFS=$top_builddir/tests/power_foliofs
writer=$top_builddir/tests/power_writer
things=100
states=${FOLIO_STATES:-12}
short && things=30 && states=3
FOLIO_SEED=${FOLIO_SEED:-$(date +%s)}
FOLIO_TRACE=$TMP/trace
export FOLIO_SEED FOLIO_TRACE
echo "# seed $FOLIO_SEED"

# commits_unasked PID: as long as that runs.
commits_unasked()
{
	while kill -0 "$1" 2>/dev/null; do
		knob compact 1
		sleep 0.1
	done
}

# cut_under OPTIONS LOOK COMMAND...: the command, on the mount, then the look at
# each state, with the folder and what was acknowledged last.
cut_under()
{
	_opts=$1
	_look=$2
	shift 2
	rm -rf "$VOL" "$FOLIO_TRACE"
	volume_create
	volume_mount -o "cache_size=16M,$_opts"
	"$@" >"$TMP/acks" &
	_command=$!
	commits_unasked "$_command"
	wait "$_command"
	volume_umount
	FOLIO_ACKS=$TMP/acks FOLIO_LOOK=$_look FOLIO_STATES=$states \
		"$top_builddir/tests/power_states"
}

# t_writer KIND OPTIONS
t_writer()
{
	cut_under "$2" "'$writer' look $1 \"\$1\" \"\$2\"" \
		"$writer" run "$1" "$MNT" "$things"
}

# t_lmdb OPTIONS [writemap]
t_lmdb()
{
	if [ ! -x "$TMP/lmdb" ]; then
		echo '#include <lmdb.h>' >"$TMP/probe.c"
		${CC:-cc} -fsyntax-only "$TMP/probe.c" 2>/dev/null ||
			skip 'no liblmdb-dev here'
		${CC:-cc} -O1 -o "$TMP/lmdb" "$top_srcdir/tests/power_lmdb.c" \
			-llmdb
	fi
	_opts=$1
	shift
	cut_under "$_opts" "'$TMP/lmdb' look \"\$1\" \"\$2\"" \
		"$TMP/lmdb" run "$MNT" "$things" "$@"
}

# A repository, and commits of a few files, all synced as git can. It syncs
# neither what `git init` makes (HEAD, say) nor the folder into which it renames
# a branch: that is done for it, else its commits are acknowledged by nobody.
git_commits()
{
	cd "$MNT"
	git init -q .
	git config core.fsync all
	git config core.fsyncMethod fsync
	git config user.name nobody
	git config user.email nobody@example.invalid
	git config gc.auto 0
	find .git -exec sync {} +
	_n=0
	while [ "$_n" -lt "$1" ]; do
		_n=$((_n + 1))
		mkdir -p "d$((_n % 3))"
		echo "$_n" >"d$((_n % 3))/f$((_n % 5))"
		git add -A
		git commit -q -m "$_n"
		sync .git/refs/heads
		echo "$(stat -c %s "$FOLIO_TRACE") $_n"
	done
}

t_git()
{
	skip_unless git
	# shellcheck disable=SC2016
	cut_under "$1" 'cd "$1" && git fsck --full --strict &&
		nr=$(git rev-list --count HEAD) && echo "$nr commits" &&
		[ "$nr" -ge "$2" ]' \
		git_commits $((things / 5))
}

# not_found PATTERN LOOK COMMAND...: a look that has to fail, at some state.
not_found()
{
	_pat=$1
	_want=$2
	shift 2
	states=16
	if (cut_under cache=kernel "$_want" "$@") >"$TMP/not_found" 2>&1; then
		fail 'nothing was missed'
	fi
	grep -E "$_pat" "$TMP/not_found" || {
		cat "$TMP/not_found"
		fail "not said: $_pat"
	}
}

t_lost()
{
	not_found 'ends before record' \
		"'$writer' look append \"\$1\" $things" \
		"$writer" run append "$MNT" "$things"
}

t_lie()
{
	FOLIO_LIE=1
	export FOLIO_LIE
	not_found 'was synced|is damaged' "'$writer' look append \"\$1\" \"\$2\"" \
		"$writer" run append "$MNT" "$things"
}

run 'a file renamed over the old one' t_writer rename cache=kernel
run '... which is atomic' t_writer rename cache=kernel,atomic
run 'a log that is appended to' t_writer append cache=kernel
run 'SQLite with a write-ahead log' t_writer wal cache=kernel
run 'SQLite with a rollback journal' t_writer delete cache=kernel
run 'SQLite with a rollback journal, cache=writeback' \
	t_writer truncate cache=writeback
run 'SQLite with a write-ahead log, atomic, cache=own' \
	t_writer wal cache=own,atomic
run 'LMDB' t_lmdb cache=kernel
run 'LMDB that writes through its mapping' t_lmdb cache=kernel writemap
run 'git' t_git cache=kernel
run 'a cut takes what was not acknowledged' t_lost
run 'a disk that does not sync is found out' t_lie
finish

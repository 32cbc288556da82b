#!/bin/sh
# SPDX-License-Identifier: MIT
#
# All tests: a debug build with everything, then AddressSanitizer with
# UndefinedBehaviorSanitizer and ThreadSanitizer with all but the long mount
# tests, then whether the release tarball is whole. Installs what is missing,
# builds below build-test/. What failed is told again at the end, so that the
# last page of a long output is enough. The last line is
#
#	N passed, N failed, N skipped
#
# and the exit status says whether any failed. With arguments, only those
# stages: debug asan tsan dist. FOLIO_SEED is what random tests begin with: by
# default the commit's name, so that a commit is tested alike everywhere and
# the next one otherwise.

top=$(cd "$(dirname "$0")/.." && pwd -P) || exit 1
# shellcheck source=src/packages.sh
. "$top/src/packages.sh"

test_packages='acl attr bindfs e2fsprogs fio gdb git groff liblmdb-dev lmdb-utils
	mount rsync sqlite3 util-linux util-linux-extra valgrind xz-utils procps'
out=$top/build-test
failures=$out/failures.log
passed=0
failed=0
skipped=0

# count_in FILE PATTERN: lines, 0 for none.
count_in()
{
	printf '%s\n' "$1" | grep -c -E "$2"
}

# tally STAGE STATUS: add what the .trs files of the stage say. A stage that
# failed where no test did (it did not compile, say) counts as one failure, and
# one that ran no test at all too.
tally()
{
	# A file that failed and said so by its exit status too failed once.
	_results=$(find "$out/$1" -name '*.trs' -exec awk '
		FNR == 1 { said = 0 }
		/^:test-result: FAIL/ { said = 1 }
		/^:test-result: ERROR/ && said { next }
		/^:test-result:/' {} +)
	_bad=$(count_in "$_results" ': (FAIL|XPASS|ERROR)')
	[ "$1" = dist ] && [ "$2" = 0 ] &&
		_results=':test-result: PASS the release tarball is whole'
	if [ "$_bad" = 0 ] && { [ "$2" != 0 ] || [ -z "$_results" ]; }; then
		_bad=1
		echo "== $1 failed:"
		tail -n 60 "$out/$1.log" | tee -a "$failures"
		echo "== $1 failed" >>"$failures"
	fi
	passed=$((passed + $(count_in "$_results" ': (PASS|XFAIL)')))
	failed=$((failed + _bad))
	skipped=$((skipped + $(count_in "$_results" ': SKIP')))

	[ "$_bad" = 0 ] || find "$out/$1" -name '*.trs' |
	while read -r _trs; do
		_fails=$(grep -E '^:test-result: (FAIL|XPASS|ERROR)' "$_trs") ||
			continue
		_log=${_trs%.trs}.log
		echo "== $_log"
		grep -v '^ok ' "$_log" | tail -n 400
		{
			grep -v '^ok ' "$_log" | tail -n 40
			echo "== $1 ${_trs##*/}:"
			echo "$_fails"
		} >>"$failures"
	done
}

# stage NAME COMMAND...: run it in its log and on the terminal, then count.
stage()
{
	_stage=$1
	shift
	case " $stages " in
	*" $_stage "*) ;;
	*) return 0 ;;
	esac

	say "$_stage"
	mkdir -p "$out/$_stage"
	find "$out/$_stage" -name '*.trs' -exec rm -f {} +
	_begin=$(date +%s)
	{
		"$@" 2>&1
		echo $? >"$out/$_stage.status"
	} | tee "$out/$_stage.log"
	tally "$_stage" "$(cat "$out/$_stage.status")"
	say "$_stage took $(($(date +%s) - _begin)) s"
}

# check NAME TARGET [OPTIONS of configure]
check()
{
	_name=$1
	_target=$2
	shift 2
	build_in "$out/$_name" --enable-werror --enable-debug "$@" &&
		$wrap make -C "$out/$_name" -k -j "$(nproc)" "$_target"
}

# ThreadSanitizer of older compilers does not know where newer kernels map
# things when addresses are random: then without that.
tsan_wrapper()
{
	echo 'int main(void) { return 0; }' >"$out/probe.c"
	gcc -fsanitize=thread -o "$out/probe" "$out/probe.c" || return
	for _i in 1 2 3 4 5 6 7 8; do
		"$out/probe" 2>/dev/null || {
			echo 'setarch -R'
			return
		}
	done
}

check_tsan()
{
	wrap=$(tsan_wrapper)
	check tsan check-short --enable-sanitize=thread
}

check_dist()
{
	build_in "$out/dist" &&
		make -C "$out/dist" -j "$(nproc)" distcheck TESTS=
}

# A big source package for the mount tests to unpack; they make a tree of
# their own if there is none.
fetch_tarball()
{
	_apt=$out/apt
	# shellcheck disable=SC1091
	_release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -p "$_apt/lists/partial" "$_apt/cache/archives/partial"
	echo "deb-src http://deb.debian.org/debian $_release main" \
		>"$_apt/sources.list"
	set -- -q -o Dir::Etc::sourcelist="$_apt/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$_apt/lists" \
		-o Dir::Cache="$_apt/cache" -o APT::Sandbox::User=
	(
		cd "$_apt" && apt-get "$@" update &&
			apt-get "$@" --download-only source glibc
	) >"$out/apt.log" 2>&1
	ls "$_apt"/glibc_*.orig.tar.xz 2>/dev/null
}

# The linker that maps its output: with binutils, or a package of its own.
install_gold()
{
	command -v ld.gold >/dev/null || install_packages binutils-gold
}

# PostgreSQL's programs; no server of it is set up or started for that.
install_postgres()
{
	! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || return 0
	_conf=/etc/postgresql-common/createcluster.d/foliofs-tests.conf
	as_root mkdir -p "${_conf%/*}"
	echo 'create_main_cluster = false' | as_root tee "$_conf" >/dev/null
	install_packages postgresql
	as_root rm -f "$_conf"
}

stages=${*:-debug asan tsan dist}
mkdir -p "$out" || die "cannot make $out"
rm -f "$out"/*.status "$failures"

# shellcheck disable=SC2086
install_packages $build_packages $test_packages
install_gold
[ "$(id -u)" != 0 ] || install_postgres
if why=$(fuse_device); then
	FOLIO_REQUIRE_MOUNT=${FOLIO_REQUIRE_MOUNT:-1}
	export FOLIO_REQUIRE_MOUNT
else
	say "mount tests will be skipped: $why"
fi
if [ -z "${FOLIO_TARBALL:-}" ]; then
	FOLIO_TARBALL=$(fetch_tarball)
	export FOLIO_TARBALL
fi

if [ -z "${FOLIO_SEED:-}" ] &&
	_commit=$(git -C "$top" rev-parse --short=12 HEAD 2>/dev/null); then
	FOLIO_SEED=$((0x$_commit))
	export FOLIO_SEED
fi

wrap=
FOLIO_TIME_FACTOR=2
CK_TIMEOUT_MULTIPLIER=4
export FOLIO_TIME_FACTOR CK_TIMEOUT_MULTIPLIER
stage debug check debug check
FOLIO_TIME_FACTOR=5
CK_TIMEOUT_MULTIPLIER=10
# a minute for each fuzzer, where it can see most
FOLIO_FUZZ_SECONDS=${FOLIO_FUZZ_SECONDS:-60}
export FOLIO_FUZZ_SECONDS
stage asan check asan check-short --enable-sanitize=address,undefined
unset FOLIO_FUZZ_SECONDS
stage tsan check_tsan
stage dist check_dist
[ "$failed" = 0 ] || {
	say "what failed"
	cat "$failures"
}
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# Programs that live on mmap: LMDB, sqlite3 with mmap_size, PostgreSQL, git's
# mapped packs, a linker that maps its output, programs and shared libraries
# run from the mount. In every cache mode, with a cache smaller than what they
# map; PostgreSQL in short runs in own mode alone.

# PostgreSQL runs as another user, who has to reach the mountpoint.
FOLIO_MNT=$(mktemp -d "${TMPDIR:-/tmp}/foliofs.XXXXXX") || exit 99
chmod 755 "$FOLIO_MNT"

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

rounds=300
pg_scale=2
commits='1 2 3 4 5 6' # of git
short && rounds=40 pg_scale=1 commits='1 2'

# ---- LMDB

build_lmdb()
{
	[ -x "$TMP/lmdb" ] && return
	echo '#include <lmdb.h>' >"$TMP/probe.c"
	${CC:-cc} -fsyntax-only "$TMP/probe.c" 2>/dev/null ||
		skip 'no liblmdb-dev here'
	${CC:-cc} -O1 -o "$TMP/lmdb" "$top_srcdir/tests/lmdb_helper.c" -llmdb
}

# lmdb NAME [FLAG...]: as on the host, and a copy made by LMDB is too.
t_lmdb()
{
	build_lmdb
	_name=$1
	shift
	mkdir "$TMP/ref-$_name" "$MNT/$_name"
	_want=$("$TMP/lmdb" "$TMP/ref-$_name" 42 "$rounds" "$@")
	is "$("$TMP/lmdb" "$MNT/$_name" 42 "$rounds" "$@")" "$_want" digest
	if command -v mdb_dump >/dev/null; then
		mdb_dump "$TMP/ref-$_name" | sha256sum >"$TMP/$_name.sum"
		mdb_dump "$MNT/$_name" | sha256sum | cmp - "$TMP/$_name.sum"
	fi
}

t_lmdb_again()
{
	skip_unless mdb_dump
	for _sum in "$TMP"/lmdb*.sum; do
		_name=$(basename "$_sum" .sum)
		mdb_dump "$MNT/$_name" | sha256sum | cmp - "$_sum"
	done
}

# ---- sqlite3, whose reads go through a mapping of the database

mapped_sql()
{
	sqlite3 "$1" 'PRAGMA mmap_size=268435456;' "$2"
}

t_sqlite()
{
	skip_unless sqlite3
	for _db in "$TMP/ref.db" "$MNT/db"; do
		mapped_sql "$_db" "CREATE TABLE t(id INTEGER PRIMARY KEY, b);
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL
				SELECT i + 1 FROM n WHERE i < 20000)
			INSERT INTO t SELECT i, printf('%0400d', i) FROM n;
			CREATE INDEX i ON t(b);
			DELETE FROM t WHERE id % 3 = 0;
			UPDATE t SET b = b || id WHERE id % 5 = 0;
			VACUUM;" >/dev/null
	done
	sqlite_same
}

sqlite_same()
{
	_all='PRAGMA integrity_check; SELECT * FROM t ORDER BY b;'
	mapped_sql "$TMP/ref.db" "$_all" >"$TMP/ref.sql"
	mapped_sql "$MNT/db" "$_all" | cmp - "$TMP/ref.sql"
}

# ---- PostgreSQL: data folder, socket and mapped shared memory on the mount

pg_bin()
{
	for _bin in /usr/lib/postgresql/*/bin/initdb; do
		[ ! -x "$_bin" ] || echo "${_bin%/initdb}"
	done | sort -V | tail -n 1
}

# pg COMMAND...: as the user who owns the data folder.
pg()
{
	_cmd=$1
	shift
	(cd / && setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$(pg_bin)/$_cmd" "$@")
}

pg_start()
{
	pg pg_ctl -D "$MNT/pg" -l "$MNT/pg/log" -w -t 120 start >/dev/null || {
		tail -n 30 "$MNT/pg/log"
		fail 'it does not start'
	}
}

pg_stop()
{
	pg pg_ctl -D "$MNT/pg" -w -t 120 -m "$1" stop >/dev/null
}

pg_sums()
{
	for _t in accounts branches tellers history; do
		pg psql -h "$MNT/pg" -U pg -d postgres -A -t -c \
			"SELECT count(*), sum(hashtext(t::text)::bigint)
			 FROM pgbench_$_t t"
	done
}

t_postgres()
{
	[ "$(id -u)" = 0 ] || skip 'only root can run it as another user'
	[ -n "$(pg_bin)" ] || skip 'no PostgreSQL here'
	mkdir -m 700 "$MNT/pg"
	chown 65534:65534 "$MNT/pg"
	pg initdb -k -U pg -D "$MNT/pg" >/dev/null
	cat >>"$MNT/pg/postgresql.conf" <<-END
		dynamic_shared_memory_type = mmap
		unix_socket_directories = '$MNT/pg'
		listen_addresses = ''
		min_dynamic_shared_memory = 4MB
		min_parallel_table_scan_size = 0
		parallel_setup_cost = 0
	END
	pg_start
	pg pgbench -h "$MNT/pg" -U pg -q -i -s "$pg_scale" postgres 2>&1
	pg pgbench -h "$MNT/pg" -U pg -n -c 4 -j 2 -t 100 postgres
	pg_sums >"$TMP/pg.sums"
	is "$(cut -d'|' -f1 "$TMP/pg.sums" | tail -n 1)" 400 'rows of history'
	[ -n "$(find "$MNT/pg/pg_dynshmem" -name 'mmap.*')" ] ||
		fail 'its shared memory is not a file'

	# As after a crash: it recovers from its own log.
	pg_stop immediate
	pg_start
	pg_sums | cmp - "$TMP/pg.sums"
	pg_stop fast
	pg pg_checksums --check -D "$MNT/pg" >/dev/null
}

t_postgres_again()
{
	[ -e "$TMP/pg.sums" ] || skip 'no PostgreSQL here'
	pg pg_checksums --check -D "$MNT/pg" >/dev/null
	pg_start
	pg_sums | cmp - "$TMP/pg.sums"
	pg_stop fast
}

# ---- git, whose packs are mapped. It is not to spend its time on deltas and
# compression: those are not ours.

git_()
{
	git -c user.name=t -c user.email=t@localhost -c init.defaultBranch=main \
		-c gc.auto=0 -c safe.directory='*' -c core.packedGitWindowSize=64k \
		-c core.compression=0 -c pack.window=2 -C "$MNT/repo" "$@"
}

t_git()
{
	skip_unless git
	mkdir "$MNT/repo"
	git_ init -q
	for _i in $commits; do
		for _f in a b c d e f g h; do
			head -c 150000 /dev/urandom | od -x >"$MNT/repo/$_f$_i"
			echo "$_i" >>"$MNT/repo/$_f"
		done
		git_ add -A
		git_ commit -q -m "$_i"
	done
	git_ gc -q --prune=now
	git_ fsck --full --strict --no-progress
	is "$(git_ count-objects -v | sed -n 's/^packs: //p')" 1 packs
	git_ log -p --all | sha256sum >"$TMP/git.sum"
}

t_git_again()
{
	skip_unless git
	git_ fsck --full --strict --no-progress
	git_ log -p --all | sha256sum | cmp - "$TMP/git.sum"
	is "$(git_ status --porcelain)" '' changes
}

# ---- a linker that maps its output, a program and its library

# runs_it PID FILE: the child has got as far as its exec.
runs_it()
{
	[ "$(readlink "/proc/$1/exe")" = "$2" ]
}

t_link()
{
	skip_unless ld.gold
	mkdir "$MNT/prog"
	for _i in 1 2 3 4 5 6 7 8; do
		echo "int table${_i}[100000] = {[$_i] = $_i};
			int part$_i(void) { return table${_i}[$_i]; }"
	done >"$MNT/prog/lib.c"
	cat >"$MNT/prog/main.c" <<-END
		#include <stdio.h>
		int part1(void), part8(void);
		int main(void) { return printf("%d\n", part1() + part8()) < 0; }
	END
	_p=$MNT/prog
	${CC:-cc} -shared -fPIC -fuse-ld=gold -o "$_p/libpart.so" "$_p/lib.c"
	${CC:-cc} -fuse-ld=gold -o "$_p/main" "$_p/main.c" -L"$_p" -lpart \
		-Wl,-rpath,"$_p"
	is "$("$_p/main")" 9 'what it prints'
	# Again, over what is there, while the old one runs.
	cp "$(command -v sleep)" "$_p/sleep"
	"$_p/sleep" 30 &
	_sleeper=$!
	until_true 20 runs_it "$_sleeper" "$_p/sleep"
	fails_with 'Text file busy' sh -c ": >>'$_p/sleep'"
	${CC:-cc} -fuse-ld=gold -g -o "$_p/main" "$_p/main.c" -L"$_p" -lpart \
		-Wl,-rpath,"$_p"
	is "$("$_p/main")" 9 'what it prints'
	kill "$_sleeper"
	wait "$_sleeper" || :
}

t_link_again()
{
	is "$("$MNT/prog/main")" 9 'what it prints'
}

# ---- all of it

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o "$opts"
}

t_bound()
{
	at_most "$(meminfo Cached)" $((16 * 1024)) 'kB cached'
	volume_umount
	volume_check
	rm -rf "$VOL" "$TMP"/ref* "$TMP"/*.sum "$TMP/pg.sums"
}

for mode in kernel writeback own; do
	opts=cache=$mode,cache_size=16M
	[ "$(id -u)" = 0 ] && opts=$opts,allow_other
	volume_create || exit 99
	volume_mount -o "$opts" || exit 99
	run "$mode: LMDB" t_lmdb lmdb
	run "$mode: LMDB, MDB_WRITEMAP" t_lmdb lmdbw writemap
	run "$mode: LMDB, MDB_WRITEMAP and MDB_MAPASYNC" \
		t_lmdb lmdba writemap mapasync
	run "$mode: sqlite3 with mmap_size" t_sqlite
	with_pg=$(if ! short || [ $mode = own ]; then echo run; else echo :; fi)
	$with_pg "$mode: PostgreSQL" t_postgres
	run "$mode: git gc" t_git
	run "$mode: a linker, a library and a program" t_link
	run "$mode: unmount, check, mount" t_remount
	run "$mode: LMDB's databases are as they were" t_lmdb_again
	run "$mode: sqlite3's database is as it was" sqlite_same
	$with_pg "$mode: PostgreSQL's tables are as they were" t_postgres_again
	run "$mode: the packs are as they were" t_git_again
	run "$mode: the program runs" t_link_again
	run "$mode: within its bound; unmount, check" t_bound
done
finish

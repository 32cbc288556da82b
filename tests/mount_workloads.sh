#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# What people do: unpack a big tree, clone, compile, keep a database, copy big
# files and trees in and out. All with a cache smaller than the data; each is
# compared with the same on the host's filesystem, at once and again after
# unmount and mount.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 400

ref=$TMP/ref
opts=cache_size=64M
big=2048 # MiB
short && big=256
mkdir "$ref"
volume_create || exit 99
volume_mount -o "$opts" || exit 99

# ---- a tree of 20,000 files

# make_tree DIR: where there is no source package to unpack. The same tree
# every time: names, sizes and contents follow from a number.
make_tree()
{
	awk -v n=20000 -v top="$1" '
	function rnd(k) { x = (x * 16807) % 2147483647; return x % k }
	BEGIN {
		x = 42
		for (i = 0; i < 256; i++)
			line[i] = sprintf("%d %064x\n", i * i, rnd(2147483646))
		for (i = 0; i < 400; i++) {
			d[i] = top "/d" i % 20 "/sub" i
			system("mkdir -p " d[i])
		}
		for (i = 0; i < n; i++) {
			f = d[rnd(400)] "/file" i
			printf "" >f
			for (j = rnd(rnd(8) ? 120 : 900); j > 0; j--)
				printf "%s", line[rnd(256)] >f
			close(f)
		}
	}'
	ln -s d1/sub1 "$1/link"
	ln "$1"/d2/sub2/file* "$1/d3" 2>/dev/null || :
	chmod 700 "$1/d4"
}

tarball()
{
	if [ -r "${FOLIO_TARBALL:-}" ]; then
		echo "$FOLIO_TARBALL"
		return
	fi
	if [ ! -e "$TMP/tree.tar" ]; then
		mkdir "$TMP/tree"
		make_tree "$TMP/tree"
		tar -C "$TMP/tree" -cf "$TMP/tree.tar" .
		rm -rf "$TMP/tree"
	fi
	echo "$TMP/tree.tar"
}

# same_tree A B: contents, kinds, modes, owners, times, links.
same_tree()
{
	rsync -rlptgoDHn --checksum --delete --itemize-changes \
		--modify-window=-1 "$1/" "$2/" >"$TMP/same" ||
		fail "comparing $1 with $2"
	if [ -s "$TMP/same" ]; then
		head -n 20 "$TMP/same"
		fail "$1 and $2 differ in $(wc -l <"$TMP/same") places"
	fi
}

t_untar()
{
	skip_unless rsync tar xz
	_tar=$(tarball)
	mkdir "$ref/tree" "$MNT/tree"
	tar -C "$ref/tree" -xf "$_tar"
	tar -C "$MNT/tree" -xf "$_tar"
	touch -r "$ref/tree" "$MNT/tree"
	at_least "$(find "$MNT/tree" -type f | wc -l)" 15000 'files in it'
	same_tree "$ref/tree" "$MNT/tree"
}

t_untar_again()
{
	skip_unless rsync
	same_tree "$ref/tree" "$MNT/tree"
}

t_remove()
{
	rm -rf "$MNT/tree"
	[ ! -e "$MNT/tree" ]
}

# ---- git

git_()
{
	git -c user.name=t -c user.email=t@localhost -c init.defaultBranch=main \
		-c gc.auto=0 -c safe.directory='*' "$@"
}

# A repository with a history, from the first 4000 files of the tree.
make_repository()
{
	mkdir "$ref/repo"
	(cd "$ref/tree" && find . -type f | sort | head -n 4000) >"$TMP/list"
	rsync -a --files-from="$TMP/list" "$ref/tree/" "$ref/repo/"
	git_ -C "$ref/repo" init -q
	git_ -C "$ref/repo" add -Af
	git_ -C "$ref/repo" commit -q -m first
	for _i in 1 2 3 4 5; do
		head -n $((_i * 100)) "$TMP/list" | tail -n 100 |
		while read -r _f; do
			echo "change $_i" >>"$ref/repo/$_f"
		done
		git_ -C "$ref/repo" commit -q -a -m "change $_i"
	done
}

same_repository()
{
	git_ -C "$1" fsck --full --strict --no-progress >"$TMP/fsck" 2>&1 || {
		cat "$TMP/fsck"
		fail "fsck of $1"
	}
	is "$(git_ -C "$1" status --porcelain)" '' 'changes'
	is "$(git_ -C "$1" rev-parse 'HEAD^{tree}')" \
		"$(git_ -C "$ref/repo" rev-parse 'HEAD^{tree}')" 'the tree'
}

t_git()
{
	skip_unless git rsync
	make_repository
	git_ clone -q --no-hardlinks "$ref/repo" "$MNT/clone"
	same_repository "$MNT/clone"
	git_ -C "$MNT/clone" checkout -q HEAD~3
	git_ -C "$MNT/clone" checkout -q main
	git_ -C "$MNT/clone" gc -q
	same_repository "$MNT/clone"
}

t_git_again()
{
	same_repository "$MNT/clone"
}

# ---- a program of 50 files

make_program()
{
	awk -v top="$1" 'BEGIN {
		m = top "/main.c"
		print "#include <stdio.h>" >m
		for (i = 0; i < 49; i++) {
			f = top "/part" i ".c"
			for (j = 0; j < 40; j++) {
				printf "static long f%d(long x)\n{\n", j >f
				printf "\tfor (int i = 0; i < %d; i++)\n", i + j >f
				printf "\t\tx = x * %d + i;\n", 2 * j + 3 >f
				printf "\treturn x;\n}\n\n" >f
			}
			printf "long part%d(long x);\n", i >f
			printf "long part%d(long x)\n{\n", i >f
			for (j = 0; j < 40; j++)
				printf "\tx ^= f%d(x);\n", j >f
			print "\treturn x;\n}" >f
			close(f)
			printf "long part%d(long x);\n", i >m
		}
		print "int main(void)\n{\n\tunsigned long x = 1;\n" >m
		for (i = 0; i < 49; i++)
			printf "\tx += (unsigned long)part%d((long)x);\n", i >m
		print "\tprintf(\"%lx\\n\", x);\n\treturn 0;\n}" >m
		k = top "/Makefile"
		printf "OBJ = main.o" >k
		for (i = 0; i < 49; i++)
			printf " part%d.o", i >k
		print "\nprogram: $(OBJ)\n\t$(CC) -o $@ $(OBJ)" >k
		print "%.o: %.c\n\t$(CC) -O1 -g -fwrapv -c -o $@ $<" >k
	}'
}

t_build()
{
	skip_unless make cc
	for _d in "$ref/prog" "$MNT/prog"; do
		mkdir "$_d"
		make_program "$_d"
		make -s -C "$_d" -j2 CC=cc
	done
	is "$("$MNT/prog/program")" "$("$ref/prog/program")" 'what it prints'
	make -s -C "$MNT/prog" -q CC=cc || fail 'make finds something to do'
}

t_build_again()
{
	is "$("$MNT/prog/program")" "$("$ref/prog/program")" 'what it prints'
	make -s -C "$MNT/prog" -q CC=cc || fail 'make finds something to do'
	for _f in "$ref"/prog/*.c "$ref"/prog/Makefile; do
		cmp "$_f" "$MNT/prog/${_f##*/}"
	done
}

# ---- sqlite3 in WAL mode: its -shm file is a shared mapping

db_rows=20000

db_sum()
{
	sqlite3 "$1" 'PRAGMA integrity_check; SELECT * FROM t ORDER BY id;' |
		sha256sum
}

# The writer, in transactions of 100 rows.
db_fill()
{
	{
		echo 'PRAGMA busy_timeout=20000;'
		awk -v n="$db_rows" 'BEGIN {
			for (i = 1; i <= n; i++) {
				if (i % 100 == 1) print "BEGIN;"
				printf "INSERT INTO t VALUES(%d, %d, \
					\047%0400d\047);\n", i, i * 7919 % n, i
				if (i % 100 == 0) print "COMMIT;"
			}
		}'
	} | sqlite3 "$1" >/dev/null
}

db_begin()
{
	is "$(sqlite3 "$1" 'PRAGMA journal_mode=WAL;')" wal 'journal mode'
	sqlite3 "$1" 'CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT);
		CREATE INDEX i ON t(a);'
}

t_sqlite()
{
	skip_unless sqlite3
	db_begin "$ref/db"
	db_fill "$ref/db"

	# A connection that stays, so that the -shm file does.
	db_begin "$MNT/db"
	mkfifo "$TMP/sql"
	sqlite3 "$MNT/db" <"$TMP/sql" >"$TMP/sql.out" &
	_reader=$!
	exec 3>"$TMP/sql"
	echo 'SELECT count(*) FROM t;' >&3
	until_true 20 test -s "$TMP/sql.out"
	grep -q -e "$MNT/db-shm" "/proc/$_reader/maps" ||
		fail 'its -shm is not mapped from here'

	db_fill "$MNT/db" &
	_writer=$!
	while kill -0 "$_writer" 2>/dev/null; do
		echo 'SELECT count(*), count(*) % 100 FROM t;' >&3
		sleep 0.1
	done
	wait "$_writer"
	echo 'SELECT count(*), 0 FROM t;' >&3
	exec 3>&-
	wait "$_reader"
	# Only whole transactions are ever seen, and in the end all.
	if sed 1d "$TMP/sql.out" | grep -v '|0$'; then
		fail 'half a transaction was seen'
	fi
	is "$(tail -n 1 "$TMP/sql.out")" "$db_rows|0" 'rows seen in the end'
	is "$(db_sum "$MNT/db")" "$(db_sum "$ref/db")" 'the database'
}

t_sqlite_again()
{
	skip_unless sqlite3
	is "$(sqlite3 "$MNT/db" 'PRAGMA integrity_check;')" ok
	is "$(db_sum "$MNT/db")" "$(db_sum "$ref/db")" 'the database'
	sqlite3 "$MNT/db" 'DELETE FROM t WHERE id % 2; VACUUM;'
	sqlite3 "$ref/db" 'DELETE FROM t WHERE id % 2; VACUUM;'
	is "$(db_sum "$MNT/db")" "$(db_sum "$ref/db")" 'after VACUUM'
}

# ---- a big file

t_big()
{
	head -c "${big}M" /dev/urandom | tee "$MNT/big" | sha256sum >"$ref/big"
	is "$(stat -c %s "$MNT/big")" $((big * 1048576)) 'size'
	forget "$MNT/big"
	is "$(sha256sum <"$MNT/big")" "$(cat "$ref/big")" 'checksum'
}

t_big_again()
{
	is "$(sha256sum <"$MNT/big")" "$(cat "$ref/big")" 'checksum'
}

# ---- rsync in and out

t_rsync()
{
	skip_unless rsync
	cp -a "$ref/tree" "$ref/in"
	rsync -aH "$ref/in/" "$MNT/in/"
	same_tree "$ref/in" "$MNT/in"
	rsync -aH "$MNT/in/" "$TMP/back/"
	same_tree "$ref/in" "$TMP/back"
	rm -rf "$TMP/back"
	# Over what is there, in place: nothing may differ, then a part does.
	find "$ref/in" -type f -name '*[13579]*' | head -n 200 |
	while read -r _f; do
		echo more >>"$_f"
	done
	rsync -aH --inplace --no-whole-file "$ref/in/" "$MNT/in/"
	same_tree "$ref/in" "$MNT/in"
}

t_rsync_again()
{
	same_tree "$ref/in" "$MNT/in"
}

t_bound()
{
	at_most "$(daemon_memory)" $(((64 + 48) * 1024)) 'kB of memory'
	at_most "$(meminfo Cached)" $((64 * 1024)) 'kB cached'
}

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o "$opts"
}

run 'a tree of 20,000 files unpacks as on the host' t_untar
run 'git clone, checkout and gc' t_git
run 'make -j2 of a program of 50 files' t_build
run 'sqlite3 in WAL mode with a reader and a writer' t_sqlite
run "a file of $big MiB reads back as written" t_big
run 'rsync in and out' t_rsync
run 'after all this memory is within its bound' t_bound

run 'unmount, check, mount' t_remount
run 'the tree is as it was' t_untar_again
run 'the clone is as it was' t_git_again
run 'the program is as it was' t_build_again
run 'the database is as it was' t_sqlite_again
run 'the big file is as it was' t_big_again
run 'the copied tree is as it was' t_rsync_again
run 'the tree can be removed' t_remove
run 'unmount, check, mount again' t_remount
finish

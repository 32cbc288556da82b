#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2317
#
# A volume is mounted, used, unmounted and mounted again; what cannot be is
# refused. Mapped files by tests/mmap_helper.c.
# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"

mount_init 120
HELPER=$top_builddir/mmap_helper

# Other users are for one test; only root may let them in.
others=rw
[ "$(id -u)" = 0 ] && others=allow_other

# ---- refused, each with one line

refused()
{
	fails_with "$@"
	is "$(wc -l <"$TMP/fails")" 1 'lines of the message'
}

t_options_are_refused()
{
	refused 'unknown option: nonsense' "$FOLIOFS" -o nonsense "$VOL" "$MNT"
	refused 'cache=all: unknown' "$FOLIOFS" -o cache=all "$VOL" "$MNT"
	refused 'must be at least 256K' \
		"$FOLIOFS" -o create,cache_size=4K "$VOL" "$MNT"
	refused 'a mountpoint is wanted' "$FOLIOFS" "$VOL"
	[ ! -e "$VOL" ] || fail 'something was made'
}

t_places_are_refused()
{
	refused "$VOL: No such file" "$FOLIOFS" "$VOL" "$MNT"
	refused 'nowhere: No such file' "$FOLIOFS" -o create "$VOL" "$TMP/nowhere"
	: >"$TMP/plain"
	refused 'plain: not a folder' "$FOLIOFS" -o create "$VOL" "$TMP/plain"
	refused 'lies under the mountpoint' \
		"$FOLIOFS" -o create "$MNT/vol" "$MNT"
	refused 'lies under the mountpoint' "$FOLIOFS" -o create "$MNT" "$MNT"
	mkdir "$TMP/strange"
	: >"$TMP/strange/file"
	refused "$TMP/strange: " "$FOLIOFS" "$TMP/strange" "$MNT"
	refused "$TMP/strange: " "$FOLIOFS" -o create "$TMP/strange" "$MNT"
	is "$(ls "$TMP/strange")" file 'what is in it'
	rm -r "$TMP/strange"
	[ ! -e "$VOL" ] || fail 'a volume was made'
	is "$(ls "$MNT")" '' 'what is in the mountpoint'
	! is_mounted "$MNT" || fail 'something is mounted'
}

t_help_and_version()
{
	"$FOLIOFS" --help | grep -q cache_size=
	"$FOLIOFS" --version | grep -q '^foliofs [0-9]'
	"$FOLIOFS" --help >"$TMP/help" 2>"$TMP/err"
	[ ! -s "$TMP/err" ] || fail 'help on stderr'
}

run 'options that make no sense are refused' t_options_are_refused
run 'places that will not do are refused and left as they are' \
	t_places_are_refused
run 'help and version are printed' t_help_and_version

# ---- mounted

t_create()
{
	volume_mount -o "create,cache_size=64M,$others"
	awk -v m="$MNT" -v v="$VOL" '
		$5 == m { ok = / - fuse.foliofs / && index($0, " " v " ") }
		END { exit !ok }' /proc/self/mountinfo ||
		fail "$(grep foliofs /proc/self/mountinfo)"
	until_true 10 test -d "$MNT/."
	is "$(ls -A "$MNT")" '' 'what is in it'
}

t_second_is_refused()
{
	mkdir "$TMP/mnt2"
	refused "$VOL: .*in use by process $(daemon_pid), mounted at $MNT" \
		"$FOLIOFS" "$VOL" "$TMP/mnt2"
	refused "$VOL: .*in use" "$FOLIOFS" -f "$VOL" "$TMP/mnt2"
	rmdir "$TMP/mnt2"
}

t_files()
{
	cd "$MNT"
	echo hello >a
	is "$(cat a)" hello
	echo world >>a
	is "$(tr '\n' ' ' <a)" 'hello world '
	echo short >a
	is "$(cat a)" short
	: >empty
	is "$(stat -c %s empty)" 0
	printf 123456789 | dd of=a bs=1 seek=5 conv=notrunc status=none
	is "$(cat a)" short123456789
	truncate -s 3 a
	is "$(cat a)" sho
	head -c 3000000 /dev/urandom >big
	cp big big2
	cmp big big2
	is "$(stat -c %s big2)" 3000000
	rm big2 empty
	[ ! -e big2 ]
	chmod 640 a
	is "$(stat -c %a a)" 640
	touch -d '2001-02-03 04:05:06.123456789 UTC' a
	is "$(date -u -d "$(stat -c %y a)" +%F\ %T.%N)" \
		'2001-02-03 04:05:06.123456789'
}

t_names()
{
	cd "$MNT"
	mkdir -p d/e/f
	echo 1 >d/e/f/one
	mv d/e d/g
	is "$(cat d/g/f/one)" 1
	ln d/g/f/one d/two
	is "$(stat -c %h d/two)" 2
	ln -s ../a d/link
	is "$(readlink d/link)" ../a
	is "$(cat d/link)" "$(cat a)"
	echo 2 >d/over
	mv d/over d/g/f/one
	is "$(cat d/g/f/one) $(cat d/two)" '2 1'
	! rmdir d 2>/dev/null || fail 'a folder that is not empty was removed'
	mkfifo d/fifo
	[ -p d/fifo ]
	mkdir many
	for i in 0 1 2 3 4; do
		for j in 0 1 2 3 4 5 6 7 8 9; do
			for k in 0 1 2 3 4 5 6 7 8 9; do
				: >"many/a name with blanks $i$j$k"
			done
		done
	done
	is "$(find many -type f | wc -l)" 500
	rm many/*1
	is "$(find many -type f | wc -l)" 450
	is "$(find d -type d | wc -l)" 3
	awful=$(printf 'new\nline\t\377\\')
	echo x >"d/$awful"
	is "$(cat "d/$awful")" x
	name=$(printf '%0255d' 7)
	echo y >"$name"
	is "$(cat "$name")" y
	! touch "0$name" 2>/dev/null || fail 'a name of 256 bytes'
}

t_sparse()
{
	cd "$MNT"
	truncate -s 10M sparse
	printf end | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none
	is "$(stat -c %s sparse)" 10485760
	is "$(dd if=sparse bs=1 skip=5000000 count=3 status=none)" end
	is "$(head -c 5000000 sparse | tr -d '\0' | wc -c)" 0
	cp --sparse=always sparse sparse2
	cmp sparse sparse2
	at_most "$(du -k sparse2 | cut -f1)" 1000 'kB of a sparse copy'
}

t_xattrs()
{
	skip_unless setfattr getfattr
	cd "$MNT"
	setfattr -n user.colour -v blue a
	is "$(getfattr --only-values -n user.colour a)" blue
	setfattr -x user.colour a
	! getfattr -n user.colour a 2>/dev/null || fail 'it is still there'
	setfattr -n user.kept -v value a
}

t_setid()
{
	cd "$MNT"
	echo x >setid
	chmod 6755 setid
	is "$(stat -c %a setid)" 6755
	if [ "$(id -u)" = 0 ]; then
		skip_unless setpriv
		chown 65534:65534 setid
		chmod 6755 setid
		chmod 755 .
		setpriv --reuid=65534 --clear-groups sh -c 'echo y >>setid'
	else
		echo y >>setid
	fi
	is "$(stat -c %a setid)" 755 'mode after a write'
}

t_control()
{
	cd "$MNT"
	! ls -a | grep -q '^\.foliofs$' || fail 'it is listed'
	grep -q '^CacheTotal: *[1-9]' .foliofs/meminfo
	is "$(knob cache_size)" $((64 * 1024 * 1024)) cache_size
	! mkdir .foliofs 2>/dev/null || fail 'mkdir of it'
	! mkdir .foliofs/x 2>/dev/null || fail 'mkdir in it'
	! mv -T d .foliofs 2>/dev/null || fail 'mv to it'
	! mv d .foliofs/d 2>/dev/null || fail 'mv into it'
	! mv .foliofs d 2>/dev/null || fail 'mv of it'
	! rm -r .foliofs 2>/dev/null || fail 'rm of it'
	! ln a .foliofs/a 2>/dev/null || fail 'ln into it'
	[ -d .foliofs ]
}

t_map()
{
	"$HELPER" "$1" "$MNT/map.$1"
}

t_map_random()
{
	seed=${FOLIO_SEED:-$(date +%s)}
	"$HELPER" random "$MNT/map.random" "$seed"
	sum=$(cksum <"$MNT/map.random")
	echo "$sum" >"$TMP/random.sum"
}

t_exec()
{
	cp "$(command -v cat)" "$MNT/prog"
	is "$(echo through it | "$MNT/prog")" 'through it'
	printf '#!/bin/sh\necho "$1"\n' >"$MNT/script"
	chmod +x "$MNT/script"
	is "$("$MNT/script" word)" word
	# the kernel refuses to write to a program that runs
	"$MNT/prog" <"$TMP/out.fifo" >"$TMP/prog.said" &
	exec 9>"$TMP/out.fifo"
	echo 'it runs' >&9
	until_true 30 test -s "$TMP/prog.said"
	sh -c ': >>"$1/prog"' sh "$MNT" 2>/dev/null &&
		running=written || running=busy
	exec 9>&-
	wait
	is "$running" busy 'a running program'
}

run 'a volume is made and mounted in one command' t_create
run 'a volume that is mounted cannot be mounted again' t_second_is_refused
run 'files are written, read, cut and removed' t_files
run 'names are made, moved, linked and removed' t_names
run 'holes read as zeros and take no room' t_sparse
run 'extended attributes are kept' t_xattrs
run 'set-id bits go when somebody writes' t_setid
run 'the control folder is there, unlisted, and stays' t_control
for what in shared private coherent sparse grow truncate outlive unlink \
	leave; do
	run "mapped files: $what" t_map "$what"
done
run 'mapped files: random changes against a model' t_map_random
mkfifo "$TMP/out.fifo"
run 'programs run from the mount' t_exec

# ---- again

# Everything about the tree that is to be the same after the next mount.
picture()
{
	(
		cd "$MNT"
		find . -printf '%P %y %m %U:%G %s %n %T@ %l\n' | LC_ALL=C sort
		find . -type f -exec cksum {} + | LC_ALL=C sort -k 3
	)
}

same_as_before()
{
	picture >"$TMP/after"
	cmp "$TMP/before" "$TMP/after" || {
		diff "$TMP/before" "$TMP/after" | head -20
		fail 'the tree has changed'
	}
}

t_remount()
{
	picture >"$TMP/before"
	volume_umount
	volume_check
	volume_mount -o cache_size=64M
	same_as_before
	"$HELPER" left "$MNT/map.leave"
	is "$(cksum <"$MNT/map.random")" "$(cat "$TMP/random.sum")"
	is "$(getfattr --only-values -n user.kept "$MNT/a" || :)" value
	is "$(cat "$MNT"/d/new*)" x
}

t_term()
{
	echo 'not synced' >"$MNT/term"
	picture >"$TMP/before"
	daemon_signal TERM
	daemon_wait
	! is_mounted "$MNT" || fail 'it is still mounted'
	volume_check
	volume_mount
	same_as_before
}

# Programs keep files open and stores in mapped pages: none of it is lost.
t_term_busy()
{
	mkfifo "$TMP/in" "$TMP/said"
	"$HELPER" hold "$MNT/held" <"$TMP/in" >"$TMP/said" &
	exec 8>"$TMP/in"
	read -r word <"$TMP/said"
	is "$word" held
	mkdir "$MNT/many2"
	daemon_signal TERM
	daemon_wait
	! is_mounted "$MNT" || fail 'it is still mounted'
	exec 8>&-
	wait $! || :
	volume_mount
	"$HELPER" left "$MNT/held"
	[ -d "$MNT/many2" ]
}

t_readonly()
{
	volume_umount
	picture_ro=$TMP/before
	volume_mount
	picture >"$picture_ro"
	volume_umount
	volume_mount -o ro
	same_as_before
	fails_with 'Read-only' touch "$MNT/new"
	fails_with 'Read-only' sh -c "echo x >>'$MNT/a'"
	fails_with 'Read-only' rm "$MNT/a"
	volume_umount
	volume_mount
	same_as_before
}

# In the background, by mount's helper name; umount returns before the daemon
# has ended, and the next mount waits for it.
t_background()
{
	volume_umount
	ln -s "$FOLIOFS" "$TMP/mount.foliofs"
	"$TMP/mount.foliofs" "$VOL" "$MNT" -n -o rw,noatime,cache_size=32M
	is_mounted "$MNT" || fail 'it came back before it was mounted'
	is "$(knob cache_size)" $((32 * 1024 * 1024)) cache_size
	head -c 8000000 /dev/zero | tr '\0' x >"$MNT/later"
	umount "$MNT" 2>/dev/null || fusermount3 -u "$MNT"
	"$FOLIOFS" "$VOL" "$MNT" -o "fsname=$VOL"
	is "$(tr -d x <"$MNT/later" | wc -c) $(wc -c <"$MNT/later")" \
		'0 8000000'
	umount "$MNT" 2>/dev/null || fusermount3 -u "$MNT"
	refused "not a folder" "$FOLIOFS" "$VOL" "$TMP/mount.foliofs"
	volume_mount
}

run 'everything is there after the next mount' t_remount
run 'SIGTERM unmounts and commits everything' t_term
run 'SIGTERM while programs hold files loses nothing' t_term_busy
run 'a read-only mount changes nothing' t_readonly
run 'in the background; the next mount waits for the one that ends' \
	t_background

# ---- the kernel's writeback cache

t_writeback()
{
	volume_umount
	volume_mount -o cache=writeback,cache_size=64M
	is "$(cat "$MNT/held" | wc -c)" 32768
}

t_writeback_files()
{
	cd "$MNT"
	rm -rf wb
	mkdir wb
	head -c 5000000 /dev/urandom >wb/big
	cp wb/big wb/copy
	cmp wb/big wb/copy
	for i in 1 2 3 4 5 6 7 8 9; do echo "line $i" >>wb/lines; done
	is "$(wc -l <wb/lines)" 9
	touch -d '2001-02-03 04:05:06 UTC' wb/lines
	is "$(stat -c %Y wb/lines)" 981173106
	truncate -s 7 wb/lines
	is "$(cat wb/lines)" 'line 1'
}

t_writeback_again()
{
	picture >"$TMP/before"
	volume_umount
	volume_check
	volume_mount
	same_as_before
	"$HELPER" left "$MNT/map.leave"
}

run 'cache=writeback mounts' t_writeback
run 'cache=writeback: files' t_writeback_files
for what in shared private coherent sparse grow truncate outlive unlink \
	leave; do
	run "cache=writeback: mapped files: $what" t_map "$what"
done
run 'cache=writeback: random changes against a model' t_map_random
run 'cache=writeback: everything is there after the next mount' \
	t_writeback_again

volume_umount
finish

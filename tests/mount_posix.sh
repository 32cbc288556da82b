#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2317
#
# What programs and administrators expect of a filesystem, on real mounts and
# in every cache mode. The checks of single calls are tests/posix_helper.c.
# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"

mount_init 180
HELPER=$top_builddir/tests/posix_helper
export LC_ALL=C

am_root()
{
	[ "$(id -u)" = 0 ]
}

others=rw
am_root && others=allow_other

volume_create

# ---- single calls, one after the other, in a folder of their own

# What a check left, immutable files perhaps.
clean()
{
	if am_root && command -v chattr >/dev/null; then
		chattr -R -ia "$MNT/w" 2>/dev/null || :
	fi
	rm -rf "$MNT/w"
}

t_check()
{
	clean
	mkdir "$MNT/w"
	chmod 777 "$MNT/w"
	cd "$MNT/w"
	_rc=0
	"$HELPER" "$1" "$2" || _rc=$?
	[ "$_rc" != 77 ] || skip 'not with this kernel, mode or user'
	is "$_rc" 0 'exit status'
}

for mode in kernel writeback own; do
	t_mount()
	{
		volume_mount -o "cache_size=64M,cache=$mode,$others" ||
			skip "no cache=$mode here"
	}
	run "it is mounted with cache=$mode" t_mount
	is_mounted "$MNT" || continue
	for check in $("$HELPER" list); do
		run "cache=$mode: $(echo "$check" | tr _ ' ')" \
			t_check "$check" "$mode"
	done
	t_whole()
	{
		cd /
		clean
		is "$(ls -A "$MNT")" '' 'what is left'
		volume_umount
		volume_check
	}
	run "cache=$mode: the volume is sound after all that" t_whole
done

# ---- what lasts

t_last()
{
	volume_mount -o "cache_size=64M,$others"
	cd "$MNT"
	echo x >f
	touch -d '1931-02-03 04:05:06.123456789 UTC' f
	echo y >g
	touch -d '2200-02-03 04:05:06.5 UTC' g
	mkfifo p
	head -c 4000 /dev/zero | tr '\0' t >target
	ln -s "$(cat target)" link
	stat -c '%n %a %h %s %b %y %w' f g p link target >"$TMP/before"
	cd /
	volume_remount -o "cache_size=64M,$others"
	cd "$MNT"
	stat -c '%n %a %h %s %b %y %w' f g p link target >"$TMP/after"
	cmp "$TMP/before" "$TMP/after"
	is "$(readlink link)" "$(cat target)"
	rm f g p link target
}
run 'times, births, links and sizes are there after a remount' t_last

t_sync_writes()
{
	volume_remount -o "commit=0,cache_size=64M,$others"
	for f in sync dsync direct,sync; do
		head -c 40960 /dev/urandom >"$TMP/$f"
		dd if="$TMP/$f" of="$MNT/$f" bs=4096 oflag="$f" 2>/dev/null
	done
	daemon_kill
	volume_mount -o "cache_size=64M,$others"
	for f in sync dsync direct,sync; do
		cmp "$TMP/$f" "$MNT/$f"
		rm "$TMP/$f" "$MNT/$f"
	done
}
run 'what was written with O_SYNC or O_DSYNC outlasts the daemon' t_sync_writes

t_acl()
{
	skip_unless setfacl getfacl
	cd "$MNT"
	umask 077
	mkdir d
	setfacl -m u:nobody:rx,d:u:nobody:rwx,d:g::rx,d:o::- d
	echo hello >d/f
	mkdir d/e
	is "$(stat -c %A d/f)" -rw-rw----
	is "$(getfacl -cp d/f | head -n 2 | tail -n 1)" \
		"$(printf 'user:nobody:rwx\t#effective:rw-')"
	if am_root; then
		setpriv --reuid 65534 --regid 65534 --clear-groups \
			cat d/f || fail 'the list does not let in'
		chmod g-r d/f
		! setpriv --reuid 65534 --regid 65534 --clear-groups \
			cat d/f || fail 'the mask does not keep out'
	fi
	getfacl -Rp d >"$TMP/before"
	cd /
	volume_remount -o "cache_size=64M,$others"
	cd "$MNT"
	getfacl -Rp d >"$TMP/after"
	cmp "$TMP/before" "$TMP/after"
	setfacl -Rbk d
	[ "$(getfacl -cp d/e | wc -l)" -le 4 ] || fail 'lists are left'
	rm -r d
}
run 'access lists let in and keep out, are inherited and last' t_acl

t_totals()
{
	skip_unless du df
	cd "$MNT"
	head -c 1000000 /dev/urandom >f
	is "$(du -k f | cut -f1)" 980 'du before a commit'
	sync f
	is "$(du -k f | cut -f1)" 980 'du after it'
	before=$(df -k --output=used . | tail -n 1)
	rm f
	"$FOLIOCTL" sync "$MNT"
	until_true 120 used_is_less "$before" 900
}
used_is_less()
{
	[ "$(df -k --output=used . | tail -n 1)" -le $(($1 - $2)) ]
}
run 'df and du tell the truth, before a commit and after it' t_totals

# By its handle, a file is found again: not one that was made in its place.
t_handles()
{
	am_root || skip 'only for root'
	cd "$MNT"
	mkdir d
	echo kept >d/f
	echo gone >g
	"$HELPER" save-handle d/f >"$TMP/kept"
	"$HELPER" save-handle g >"$TMP/gone"
	mv d/f d/moved
	cd /
	volume_remount -o "cache_size=64M,$others"
	is "$("$HELPER" open-handle "$MNT" <"$TMP/kept")" kept
	is "$("$HELPER" open-handle "$MNT" <"$TMP/gone")" gone
	rm "$MNT/g"
	for i in 1 2 3 4 5 6 7 8; do
		echo "$i" >"$MNT/g$i"
	done
	volume_remount -o "cache_size=64M,$others"
	rc=0
	"$HELPER" open-handle "$MNT" <"$TMP/gone" || rc=$?
	is "$rc" 78 'of what was removed'
	rm -r "$MNT/d" "$MNT"/g?
}
run 'file handles outlast a remount, but not their files' t_handles

# ---- users

t_users()
{
	am_root || skip 'only for root'
	skip_unless setpriv
	nobody='setpriv --reuid 65534 --regid 65534 --clear-groups'
	other='setpriv --reuid 4242 --regid 4242 --clear-groups'
	cd "$MNT"
	chmod 755 .
	echo secret >mine
	chmod 600 mine
	mkdir -m 1777 shared
	fails_with 'Permission denied' $nobody cat mine
	fails_with 'Permission denied' $nobody sh -c ': >made'
	$nobody sh -c 'echo theirs >shared/f'
	is "$(stat -c %u:%g shared/f)" 65534:65534
	is "$($other cat shared/f)" theirs
	fails_with 'Permission denied' $other sh -c 'echo x >>shared/f'
	fails_with 'not permitted' $other mv shared/f shared/g
	fails_with 'not permitted' $other chmod 666 shared/f
	$nobody chmod 600 shared/f
	fails_with 'Permission denied' $other cat shared/f
	is "$($nobody cat shared/f)" theirs
	fails_with 'Permission denied' $other cat .foliofs/files
	fails_with 'Permission denied' \
		$nobody ls ".foliofs/inode/$(stat -c %i shared/f)"
	fails_with 'Permission denied' $nobody ls .foliofs
	fails_with 'Permission denied' $nobody cat .foliofs/meminfo
	fails_with 'Permission denied' \
		$nobody sh -c 'echo 1 >.foliofs/vm/drop_caches'
	rm -r mine shared
}
run 'other users have what modes allow, and no control files' t_users

# What the user does, at the empty folder $1, with $2 foliofs and $3 folioctl. In
# a mount namespace of its own: there everybody may open /dev/fuse and reach the
# folder, whatever the machine's rules are. The daemon ends with the test, however
# that ends: it has a copy of every mount there is.
ordinary_user='
	set -e
	user="setpriv --reuid 65534 --regid 65534 --clear-groups"
	mount -t tmpfs -o mode=755 tmpfs "$1"
	cp "$2" "$1/foliofs"
	cp "$3" "$1/folioctl"
	mount --bind "$1" /mnt
	cd /mnt
	mknod -m 666 fuse c 10 229
	mount --bind fuse /dev/fuse
	chmod 755 foliofs
	mkdir -m 777 user
	$user mkdir user/mnt
	$user ${FOLIO_WRAP:-} ./foliofs -f -o create,cache_size=16M user/vol user/mnt &
	daemon=$!
	trap "kill $daemon" EXIT
	until grep -q " /mnt/user/mnt " /proc/self/mountinfo; do
		kill -0 $daemon
		sleep 0.05
	done
	$user sh -c "echo hello >user/mnt/f"
	[ "$($user cat user/mnt/f)" = hello ]
	! cat user/mnt/f 2>said
	grep "Permission denied" said
	$user cat user/mnt/.foliofs/meminfo | grep -q CacheTotal
	$user fusermount3 -u user/mnt
	trap - EXIT
	wait $daemon
	./folioctl check user/vol
'

t_ordinary_user()
{
	am_root || skip 'the other tests are this one'
	skip_unless setpriv fusermount3 unshare
	[ -u "$(command -v fusermount3)" ] || skip 'fusermount3 is not setuid'
	mkdir "$TMP/user"
	unshare -m sh -c "$ordinary_user" sh "$TMP/user" "$FOLIOFS" "$FOLIOCTL"
}
run 'an ordinary user mounts for himself, and root is kept out' \
	t_ordinary_user

# ---- mounting

t_busy()
{
	am_root || skip 'only for root'
	exec 3>"$MNT/open"
	fails_with 'busy' umount "$MNT"
	is_mounted "$MNT" || fail 'it is gone'
	echo hello >&3
	umount -l "$MNT"
	# what is open goes on
	echo more >&3
	exec 3>&-
	daemon_wait
	volume_check
	volume_mount -o "cache_size=64M,$others"
	is "$(tr '\n' ' ' <"$MNT/open")" 'hello more '
	rm "$MNT/open"
}
run 'a mount in use is busy; unmounted lazily it lasts as long as files' t_busy

t_remount()
{
	am_root || skip 'only for root'
	echo 1 >"$MNT/f"
	"$FOLIOFS" -o rw,remount,ro,user_id=0,group_id=0,allow_other \
		"$VOL" "$MNT"
	fails_with 'Read-only' sh -c "echo 2 >'$MNT/f'"
	is "$(cat "$MNT/f")" 1
	fails_with 'Read-only' touch "$MNT/g"
	"$FOLIOFS" -o remount,rw,noatime "$VOL" "$MNT"
	awk -v m="$MNT" '$5 == m { exit !($6 ~ /noatime/) }' \
		/proc/self/mountinfo || fail 'noatime is not shown'
	echo 3 >"$MNT/f"
	is "$(cat "$MNT/f")" 3
	rm "$MNT/f"
	fails_with 'not a mount of foliofs' \
		"$FOLIOFS" -o remount,ro "$VOL" "$TMP"
}
run 'a mount becomes read-only and writable again by remount' t_remount

# What was mounted read-only stays so, as the volume was opened like that; the
# knobs are files of the mount.
t_read_only()
{
	am_root || skip 'only for root'
	echo 1 >"$MNT/f"
	volume_remount -o "ro,cache_size=64M,$others"
	is "$(cat "$MNT/f")" 1
	knob=$MNT/.foliofs/vm/swappiness
	was=$(cat "$knob")
	at_least "$(meminfo CacheTotal)" 65536 CacheTotal
	fails_with 'Read-only' sh -c "echo 2 >'$MNT/f'"
	fails_with 'Read-only' sh -c "echo 30 >'$knob'"
	is "$(cat "$knob")" "$was"
	"$FOLIOFS" -o remount,rw "$VOL" "$MNT"
	fails_with 'Read-only' sh -c "echo 2 >'$MNT/f'"
	fails_with 'Read-only' touch "$MNT/g"
	echo 30 >"$knob"
	is "$(cat "$knob")" 30
	volume_remount -o "cache_size=64M,$others"
	is "$(cat "$MNT/f")" 1
	rm "$MNT/f"
}
run 'on a read-only mount knobs are read, and after a remount written' \
	t_read_only

# ---- access times

# atime_moves FILE: by a read that comes to the daemon?
atime_moves()
{
	_before=$(stat -c %x "$1")
	forget "$1"
	cat "$1" >/dev/null
	[ "$(stat -c %x "$1")" != "$_before" ]
}

# ... even though it is old?
atime_stays()
{
	touch -a -d '2001-02-03' "$1"
	! atime_moves "$1"
}

t_atime()
{
	volume_remount -o "cache_size=64M,$others"
	echo hello >"$MNT/read"
	touch -a -d '2001-02-03' "$MNT/read"
	until_true 120 atime_moves "$MNT/read" || fail 'relatime: it stays'
	touch -a -d '2101-02-03' "$MNT/read"
	! atime_moves "$MNT/read" || fail 'relatime: it moves'
	touch -a -d '2001-02-03' "$MNT"
	ls "$MNT" >/dev/null
	is "$(($(stat -c %X "$MNT") > 1500000000))" 1 'of the folder'
	seen=$(stat -c %x "$MNT")

	volume_remount -o "strictatime,cache_size=64M,$others"
	is "$(stat -c %x "$MNT")" "$seen" 'after a remount'
	# the daemon hears of the flags a little later
	until_true 120 atime_moves "$MNT/read" || fail 'strictatime: it stays'
	volume_remount -o "noatime,cache_size=64M,$others"
	until_true 120 atime_stays "$MNT/read" || fail 'noatime: it moves'
}
run 'access times are kept as mounted' t_atime

t_atime_remount()
{
	am_root || skip 'only for root'
	volume_remount -o "cache_size=64M,$others"
	# the daemon hears of a remount a little later
	"$FOLIOFS" -o remount,noatime "$VOL" "$MNT"
	until_true 120 atime_stays "$MNT/read" || fail 'noatime: it moves'
	"$FOLIOFS" -o remount,ro,relatime "$VOL" "$MNT"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		! atime_moves "$MNT/read" || fail "ro: it moves, $i"
	done
	"$FOLIOFS" -o remount,rw "$VOL" "$MNT"
	until_true 120 atime_moves "$MNT/read" || fail 'relatime: it stays'
	rm "$MNT/read"
}
run 'a remount changes how they are kept' t_atime_remount

shows_lazytime()
{
	awk -v m="$MNT" '$5 == m { exit !($NF ~ /(^|,)lazytime(,|$)/) }' \
		/proc/self/mountinfo
}

# The daemon keeps the times; the kernel shows it after a remount.
t_lazytime()
{
	am_root || skip 'only for root'
	echo hello >"$MNT/read"
	touch -a -d '2001-02-03' "$MNT/read"
	volume_remount -o "lazytime,cache_size=64M,$others"
	until_true 120 atime_moves "$MNT/read" || fail 'it stays'
	seen=$(stat -c %x "$MNT/read")
	"$FOLIOFS" -o remount,lazytime "$VOL" "$MNT"
	shows_lazytime || fail 'it is not shown'
	"$FOLIOFS" -o remount,ro "$VOL" "$MNT"
	shows_lazytime || fail 'a remount takes it back'
	volume_remount -o "cache_size=64M,$others"
	! shows_lazytime || fail 'it is shown'
	is "$(stat -c %x "$MNT/read")" "$seen" 'after a remount'
	rm "$MNT/read"
}
run 'lazytime stays, and loses no time at unmount' t_lazytime

t_signals()
{
	for s in TERM INT HUP; do
		is_mounted "$MNT" || volume_mount -o "cache_size=64M,$others"
		echo "$s" >"$MNT/signal"
		daemon_signal "$s"
		daemon_wait
		! is_mounted "$MNT" || fail "mounted after SIG$s"
		volume_check
		volume_mount -o "cache_size=64M,$others"
		is "$(cat "$MNT/signal")" "$s"
	done
	rm "$MNT/signal"
}
run 'TERM, INT and HUP unmount, with all committed' t_signals

# What a kill left in the log counts as well.
t_read_only_medium()
{
	am_root || skip 'only for root'
	volume_remount -o "commit=0,cache_size=64M,$others"
	echo hello >"$MNT/f"
	mkdir "$MNT/d"
	sync "$MNT/f"
	if [ "$1" = killed ]; then
		daemon_kill
		at_least "$(stat -c %s "$VOL/meta.db-wal")" 4096 'the log'
	else
		volume_umount
	fi
	mkdir -p "$TMP/medium"
	mount --bind "$TMP" "$TMP/medium"
	mount -o remount,bind,ro "$TMP/medium"
	rc=0
	(
		VOL=$TMP/medium/vol
		fails_with 'Read-only' "$FOLIOFS" -f "$VOL" "$MNT"
		volume_mount -o "ro,cache_size=64M,$others"
		is "$(cat "$MNT/f")" hello
		fails_with 'Read-only' touch "$MNT/f"
		fails_with 'Read-only' rmdir "$MNT/d"
		is "$(find "$MNT" | wc -l)" 3 'names'
		at_least "$(meminfo CacheTotal)" 1 CacheTotal
		volume_umount
		volume_check
	) || rc=$?
	umount "$TMP/medium"
	is "$rc" 0 'on the read-only medium'
	volume_check
	volume_mount -o "cache_size=64M,$others"
	is "$(cat "$MNT/f")" hello
	rm -r "$MNT/f" "$MNT/d"
}
run 'a volume on a read-only medium is mounted and read' \
	t_read_only_medium unmounted
run 'so is one whose daemon was killed, with what was committed' \
	t_read_only_medium killed

# ---- room on the disk

held()
{
	echo $(($(stat -c %b "$VOL/data") / 2))
}

t_compact()
{
	"$FOLIOCTL" compact "$MNT" 2>"$TMP/why" || {
		grep -q 'not supported' "$TMP/why" && skip 'no holes here'
		fail "$(cat "$TMP/why")"
	}
	for i in 1 2 3; do
		head -c 16M /dev/urandom >"$MNT/c$i"
		"$FOLIOCTL" sync "$MNT"
	done
	sum=$(cksum <"$MNT/c3")
	before=$(held)
	rm "$MNT/c1" "$MNT/c2"
	"$FOLIOCTL" compact "$MNT"
	at_most "$(held)" $((before - 2 * 16384)) 'held by the volume, kB'
	"$FOLIOCTL" drop "$MNT" "$MNT/c3"
	is "$(cksum <"$MNT/c3")" "$sum" 'what stayed'
	at_least "$(vmstat data_discarded_blocks)" 8192 'blocks given back'
	volume_umount
	volume_check
	volume_mount -o "cache_size=64M,$others"
	is "$(cksum <"$MNT/c3")" "$sum" 'after a remount'
	rm "$MNT/c3"
}
run 'compact gives what is free between files back to the disk' t_compact

# On a small volume of its own.
t_full_and_interrupted()
{
	volume_umount
	rc=0
	(
		VOL=$TMP/small
		volume_create --size=16M
		volume_mount -o "cache_size=16M,$others"
		mkdir "$MNT/w"
		cd "$MNT/w"
		"$HELPER" interrupts_on_a_full_volume kernel
		cd /
		volume_umount
		volume_check
	) || rc=$?
	rm -rf "$TMP/small"
	is "$rc" 0 'on the small volume'
	volume_mount -o "cache_size=64M,$others"
}
run 'on a full volume interrupted calls finish or say so' \
	t_full_and_interrupted

# ---- many names

t_many_names()
{
	nr=${FOLIO_ENTRIES:-100000}
	short && nr=5000
	mkdir "$MNT/many"
	cd "$MNT/many"
	seq -f 'name%.0f' "$nr" | xargs touch
	is "$(find . -type f | wc -l)" "$nr"
	is "$(ls -f | sort -u | wc -l)" $((nr + 2))
	seq -f 'name%.0f' 2 2 "$nr" | xargs rm
	is "$(find . -type f | wc -l)" $((nr / 2))
	[ -e name1 ] && [ ! -e name2 ]
	cd /
	rm -r "$MNT/many"
}
run 'a folder of very many names is listed whole' t_many_names

t_end()
{
	volume_umount
	volume_check
}
run 'the volume is sound at the end' t_end

finish

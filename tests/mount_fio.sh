#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# fio writes blocks that carry their own checksums, through write(2) and
# through shared mappings, and verifies each by the other way, also after a
# remount. The files are bigger than the cache.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 300

size=128M
short && size=48M
volume_create || exit 99
volume_mount -o cache_size=64M || exit 99

# fio_ ENGINE FILE [OPTIONS]
fio_()
{
	skip_unless fio
	_engine=$1
	_file=$2
	shift 2
	(
		cd "$TMP" &&
			fio --name=job --filename="$_file" --size="$size" \
				--ioengine="$_engine" --rw=randwrite \
				--bsrange=4k-64k --bs_unaligned=0 \
				--randseed=1234 --fallocate=none \
				--verify=crc32c --verify_fatal=1 \
				--verify_state_save=0 --minimal "$@"
	) >"$TMP/fio.$_engine" 2>&1 || {
		cat "$TMP/fio.$_engine"
		fail "fio $_engine $_file"
	}
}

# Both at once, each a file of its own.
t_write()
{
	fio_ psync "$MNT/psync" --fsync=200 &
	_a=$!
	fio_ mmap "$MNT/mmap" --fsync=200
	wait "$_a"
}

# fio writes nothing with verify_only: it recomputes what it wrote.
t_cross()
{
	for _e in mmap psync; do
		for _f in psync mmap; do
			forget "$MNT/$_f"
			fio_ "$_e" "$MNT/$_f" --verify_only
		done
	done
}

# Through a mapping over what write(2) wrote, and the other way, without the
# file leaving the cache in between.
t_overwrite()
{
	fio_ psync "$MNT/mmap" --randseed=77 --do_verify=0
	fio_ mmap "$MNT/mmap" --randseed=78
	fio_ psync "$MNT/mmap" --randseed=78 --verify_only
	fio_ mmap "$MNT/psync" --randseed=79 --do_verify=0
	fio_ psync "$MNT/psync" --randseed=1234
	fio_ mmap "$MNT/mmap" --randseed=1234
}

t_remount()
{
	volume_umount
	volume_check
	volume_mount -o "$1"
}

run 'fio writes and verifies by psync and mmap at once' t_write
run 'each engine reads what the other wrote' t_cross
run 'each engine writes over what the other wrote' t_overwrite
run 'unmount, check, mount' t_remount cache_size=64M
run 'after a remount each engine reads what the other wrote' t_cross
run 'unmount, check, mount with cache=writeback' t_remount \
	cache_size=64M,cache=writeback
run 'writeback: fio writes and verifies by psync and mmap at once' t_write
run 'writeback: each engine reads what the other wrote' t_cross
run 'unmount, check, mount with cache=own' t_remount \
	cache_size=64M,cache=own
run 'own: each engine reads what the other wrote' t_cross
run 'own: fio writes and verifies by psync and mmap at once' t_write
run 'own: each engine writes over what the other wrote' t_overwrite
finish

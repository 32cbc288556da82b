#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# SEEK_DATA and SEEK_HOLE of a sparse file that is mapped and stored to, in
# every mode: tests/hole_helper.c.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"
mount_init 120

helper=$top_builddir/hole_helper
seed=${FOLIO_SEED:-$(date +%s)}
rounds=5
short && rounds=2

t_holes()
{
	for i in $(seq "$rounds"); do
		"$helper" "$MNT/holes" "$((seed + i))"
	done
}

# What a program that has it open and mapped has only looked at stays a hole.
t_looked_at()
{
	truncate -s 64M "$MNT/sparse"
	dd if=/dev/urandom of="$MNT/sparse" bs=4k count=1 seek=8000 \
		conv=notrunc 2>/dev/null
	exec 9<>"$MNT/sparse"
	head -c 4096 "$MNT/sparse" >/dev/null
	cp --sparse=auto "$MNT/sparse" "$MNT/sparse.copy"
	exec 9>&-
	cmp "$MNT/sparse" "$MNT/sparse.copy"
	at_most "$(du -k "$MNT/sparse.copy" | cut -f1)" 4096 'kB of the copy'
}

t_unmount()
{
	volume_umount
	volume_check
}

volume_create || exit 99
for mode in kernel writeback own; do
	volume_mount -o "cache=$mode,cache_size=32M" || {
		# Linux 6.6 is the first that can
		[ "$mode" = own ] && grep -q 'too old' "$TMP/daemon.log" &&
			break
		exit 99
	}
	run "cache=$mode: nothing that was stored is in a hole" t_holes
	[ "$mode" = writeback ] ||
		run "cache=$mode: what was not touched is a hole" t_looked_at
	run "cache=$mode: unmounted in order" t_unmount
done
finish

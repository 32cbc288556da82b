#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2119,SC2317
#
# Several processes at once map, store to, read, write, cut and punch a few
# files that are bigger than the cache, against a byte array; see
# tests/mmap_model.c. FOLIO_MMAP_SECONDS is how long in each mode, FOLIO_SEED
# repeats a run as far as the scheduler lets it.

# shellcheck source=tests/mount_lib.sh
. "${top_srcdir:?}/tests/mount_lib.sh"

seconds=${FOLIO_MMAP_SECONDS:-20}
[ -n "${FOLIO_MMAP_SECONDS:-}" ] || ! short || seconds=5
seed=${FOLIO_SEED:-$(($(date +%s) % 1000000))}
echo "# seed $seed, $seconds s each"
mount_init $((seconds + 90))

t_model()
{
	rm -rf "$VOL"
	volume_create
	volume_mount -o "cache=$1,cache_size=4M,commit=1"
	mkdir "$MNT/files" "$MNT/files.model"
	rm -rf "$TMP/copy"
	"$top_builddir/tests/mmap_model" "$MNT/files" "$seconds" 4 "$seed" "$2"
	mv "$MNT/files.model" "$TMP/copy"
}

t_again()
{
	volume_umount
	volume_check
	volume_mount
	for _f in 0 1 2; do
		cmp "$TMP/copy/$_f" "$MNT/files/$_f"
	done
	volume_umount
}

run 'cache=kernel: four processes and a model' t_model kernel 64
run 'cache=kernel: the files are as they were' t_again
run 'cache=writeback: four processes and a model' t_model writeback 64
run 'cache=writeback: the files are as they were' t_again
# The kernel, too, lets a write(2) under direct I/O and a store to the same page
# overtake each other: the processes do not share pages there.
run 'cache=own: four processes and a model' t_model own 4096
run 'cache=own: the files are as they were' t_again
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What can be said of the sources without running them: that headers stand
# alone, that the page cache needs neither FUSE nor SQLite, that nothing calls
# what we do not call, that the manual names what there is. TAP on stdout.
#
# Each check that looks for something bad is first shown something bad, so that
# it cannot pass by looking at nothing.

: "${top_srcdir:?run by make check}" "${top_builddir:?}" "${CC:?}"
: "${TEST_CPPFLAGS?}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$top_builddir" || exit 1
nr=0
failed=0

# result STATUS NAME: one line of TAP; $tmp/out says what was wrong.
result()
{
	nr=$((nr + 1))
	if [ "$1" = 0 ]; then
		echo "ok $nr - $2"
	else
		failed=1
		sed 's/^/# /' "$tmp/out"
		echo "not ok $nr - $2"
	fi
}

# check NAME COMMAND...: passes if the command does; what it prints explains.
check()
{
	_name=$1
	shift
	"$@" >"$tmp/out" 2>&1
	result $? "$_name"
}

# quiet COMMAND...: passes if it prints nothing and does not fail.
quiet()
{
	"$@" >"$tmp/quiet" 2>&1 || {
		echo "failed: $*"
		cat "$tmp/quiet"
		return 1
	}
	[ ! -s "$tmp/quiet" ] || {
		cat "$tmp/quiet"
		return 1
	}
}

# ---- headers

# Twice, for its guard.
stands_alone()
{
	# shellcheck disable=SC2086
	printf '#include "config.h"\n#include "%s"\n#include "%s"\n' \
		"$1" "$1" |
		quiet $CC $TEST_CPPFLAGS -std=gnu11 -Wall -Wextra -Werror \
			-Wno-unused-parameter -fsyntax-only -x c -
}

check_headers()
{
	printf 'size_t unknown_here(void);\n' >"$tmp/bad.h"
	if stands_alone "$tmp/bad.h" >/dev/null; then
		echo 'a header that lacks an include is not noticed'
		return 1
	fi
	_bad=0
	for _h in "$top_srcdir"/include/*.h "$top_srcdir"/cache/*.h \
		"$top_srcdir"/src/*.h "$top_srcdir"/tests/*.h; do
		[ ! -e "$_h" ] || stands_alone "$_h" || _bad=1
	done
	return $_bad
}
check 'every header compiles by itself, and twice' check_headers

# ---- layers

foreign_includes()
{
	grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"](fuse|sqlite)' \
		"$@"
}

check_includes()
{
	printf '# include <fuse3/fuse.h>\n' >"$tmp/bad.c"
	foreign_includes "$tmp/bad.c" >/dev/null || return 1
	! foreign_includes "$top_srcdir"/include/*.h "$top_srcdir"/cache/*.[ch]
}
check 'cache/ and include/ include neither FUSE nor SQLite' check_includes

check_symbols()
{
	nm "$top_builddir/libfoliocache.a" >"$tmp/nm" || return 1
	grep -q ' T page_tree_insert$' "$tmp/nm" || {
		echo 'nm shows nothing of the library'
		return 1
	}
	! grep -E ' U (fuse_|sqlite3_)' "$tmp/nm"
}
check 'libfoliocache.a needs nothing of FUSE or SQLite' check_symbols

# ---- calls

banned_calls()
{
	grep -nE '(^|[^[:alnum:]_])(strcpy|stpcpy|strcat|sprintf|vsprintf|gets|atoi|atol|strtok)[[:space:]]*\(' \
		"$@"
}

check_calls()
{
	printf '\tn = atoi (s);\n' >"$tmp/bad.c"
	banned_calls "$tmp/bad.c" >/dev/null || return 1
	printf '\tsnprintf(s);fgets(s);my_atoi(s);\n' >"$tmp/good.c"
	banned_calls "$tmp/good.c" && return 1
	! banned_calls "$top_srcdir"/include/*.h "$top_srcdir"/cache/*.[ch] \
		"$top_srcdir"/src/*.[ch]
}
check 'no unbounded string function is called' check_calls

# /proc/PID may wait for a process that waits for us: the tracker's threads and
# the helper process look into it, and no thread that serves requests.
proc_users()
{
	grep -lE '(^|[^[:alnum:]_])proc(fs)?_[a-z_]+[[:space:]]*\(|"/proc/("|%|[0-9])' \
		"$@"
}

check_proc()
{
	printf '\terr = proc_tgid(p, tid, &pid);\n' >"$tmp/bad.c"
	proc_users "$tmp/bad.c" >/dev/null || return 1
	printf '\tsnprintf(s, n, "/proc/%%d/maps", pid);\n' >"$tmp/bad.c"
	proc_users "$tmp/bad.c" >/dev/null || return 1
	proc_users "$top_srcdir"/src/*.c | sed 's,.*/,,' >"$tmp/users"
	grep -q '^tracker_task.c$' "$tmp/users" || return 1
	! grep -vE '^(procfs|tracker|tracker_task|tracker_hints|unmap_server)\.c$' \
		"$tmp/users"
}
check 'only the tracker and the helper look into /proc/PID' check_proc

check_licence()
{
	! grep -L 'SPDX-License-Identifier: MIT' "$top_srcdir"/include/*.h \
		"$top_srcdir"/cache/*.[ch] "$top_srcdir"/src/*.[ch] \
		"$top_srcdir"/tests/*.[ch] "$top_srcdir"/tests/*.sh | grep .
}
check 'every source file states its licence' check_licence

# ---- manual pages

# names_of HEADER LIST: the first column of an X-macro list.
names_of()
{
	# shellcheck disable=SC2086
	printf '#include "config.h"\n#include "%s"\n#define X(n, ...) @n@\n%s(X)\n' \
		"$1" "$2" |
		$CC $TEST_CPPFLAGS -std=gnu11 -E -P -x c - |
		grep -oE '@ *[a-z0-9_]+ *@' | tr -d '@ '
}

# manual_names PAGE NAME...: each is the subject of an item of the page.
manual_names()
{
	_page=$top_srcdir/man/$1
	_missing=0
	shift
	[ $# -gt 0 ] || {
		echo 'no names to look for'
		return 1
	}
	for _n; do
		grep -E '^\.It ' "$_page" | grep -qw -- "$_n" || {
			echo "${_page##*/} has no item for $_n"
			_missing=1
		}
	done
	return $_missing
}

help_names_options()
{
	"$top_builddir/foliofs" --help >"$tmp/help" || return 1
	_missing=0
	# shellcheck disable=SC2086
	set -- $options
	[ $# -gt 0 ] || return 1
	for _n; do
		grep -qE "^ +$_n([= ]|\$)" "$tmp/help" || {
			echo "--help does not name $_n"
			_missing=1
		}
	done
	return $_missing
}

# The letters and words that --help offers, at the start of a line: -f,
# --foreground.
flags_of()
{
	"$1" --help | grep -E '^ +-' |
		grep -oE -- '(^|[[:space:],])-{1,2}[a-zA-Z][a-z-]*' |
		sed -E 's/^[[:space:],]*-+//' | sort -u
}

# Commands are what --help has in a column of two or more spaces.
commands_of()
{
	"$1" --help | sed -nE 's/^  +([a-z]+)( .*)?$/\1/p' | sort -u
}

# A program needs its page, and a page its program.
if [ -e "$top_srcdir/man/foliofs.8" ] || [ -e "$top_builddir/foliofs" ]; then
	options=$(names_of options.h FOLIOFS_OPTIONS)
	check '--help names every mount option' help_names_options
	# shellcheck disable=SC2086
	check 'foliofs(8) has every mount option' \
		manual_names foliofs.8 $options
	# shellcheck disable=SC2046
	check 'foliofs(8) has every flag' \
		manual_names foliofs.8 $(flags_of "$top_builddir/foliofs")
fi
if [ -e "$top_srcdir/man/folioctl.1" ] || [ -e "$top_builddir/folioctl" ]; then
	# shellcheck disable=SC2046
	check 'folioctl(1) has every command' \
		manual_names folioctl.1 $(commands_of "$top_builddir/folioctl")
fi
if [ -e "$top_srcdir/man/foliofs.5" ]; then
	# shellcheck disable=SC2046
	check 'foliofs(5) has every knob' \
		manual_names foliofs.5 $(names_of cache.h CACHE_KNOBS)
	for list in cache.h:CACHE_COUNTERS cache.h:CACHE_GAUGES \
		fs.h:FS_COUNTERS fs.h:FS_GAUGES volume.h:VOLUME_COUNTERS \
		control_internal.h:CONTROL_COUNTERS \
		control_internal.h:CONTROL_GAUGES \
		tracker.h:TRACKER_COUNTERS tracker.h:TRACKER_GAUGES \
		unmapper.h:UNMAP_COUNTERS unmapper.h:UNMAP_GAUGES; do
		# shellcheck disable=SC2046
		check "foliofs(5) has every figure of ${list#*:}" \
			manual_names foliofs.5 \
			$(names_of "${list%:*}" "${list#*:}")
	done
fi

if command -v groff >/dev/null; then
	for page in "$top_srcdir"/man/*.[1-9]; do
		[ -e "$page" ] || continue
		check "${page##*/} is good mdoc" \
			quiet groff -Tutf8 -mdoc -ww -z "$page"
	done
fi

# ---- meta.db

# Whoever closes a descriptor of meta.db drops all locks that SQLite has on it in
# that process. opens_db FILE...: "FILE FUNCTION" of each that opens it, or,
# among those that know it by its path, a file of a path.
opens_db()
{
	awk '
	FNR == 1 { text = "" }
	/^[a-z].*\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
	{ text = text $0 }
	/[;{}]/ {
		if (text ~ /(^|[^_[:alnum:]])(open|openat|open64|fopen|creat|create_empty|bdev_file_open)\(/ &&
		    (text ~ /"meta\.db"/ || text ~ /meta\.db\/?%/ ||
		     (FILENAME ~ /(meta[a-z_]*|vfs|salvage)\.c$/ && text ~ /path|name/))) {
			n = split(FILENAME, part, "/")
			print part[n], name
		}
		text = ""
	}' "$@" | sort -u
}

# Before SQLite opens it, or of one that it does not have open in this process:
# each says so where it stands.
check_opens_db()
{
	cat >"$tmp/bad.c" <<'EOF'
static int bad(int dirfd)
{
	int fd = openat(dirfd,
			"meta.db", O_RDONLY);
}
EOF
	opens_db "$tmp/bad.c" | grep -q '^bad.c bad$' || {
		echo 'an open of meta.db is not noticed'
		return 1
	}
	opens_db "$top_srcdir"/src/*.c >"$tmp/opens"
	diff "$tmp/opens" - <<'EOF'
meta_copy.c touch_file
meta_schema.c check_file
salvage.c start
volume_create.c create_files
wal.c look_at_db
EOF
}
check 'meta.db is opened by SQLite, and before it' check_opens_db

# ---- the tree

# In a release tarball there is no git to ask, though one may lie around it.
if [ -e "$top_srcdir/.git" ] && git -C "$top_srcdir" status >/dev/null; then
	generated_in_git()
	{
		git -C "$top_srcdir" ls-files -ci --exclude-standard
	}
	check 'nothing that is generated is in git' quiet generated_in_git

	not_distributed()
	{
		printf 'include Makefile\nprint-dist: ; @echo $(DISTFILES)\n' |
			MAKEFLAGS='' make -s -f - print-dist | tr ' ' '\n' |
			sed "s|^$top_srcdir/||; s|^\(\.\./\)*||" |
			sort >"$tmp/dist"
		git -C "$top_srcdir" ls-files |
			grep -vE '^(\.gitignore|\.ci/.*)$' | sort |
			comm -23 - "$tmp/dist"
	}
	check 'every file is in the release tarball' quiet not_distributed
fi

echo "1..$nr"
exit $failed

/* SPDX-License-Identifier: MIT */
/*
 * folioctl info: which volume this is. Of a mount, what its control file
 * `volume` says; of a volume, the same from its super, in the same form. A
 * volume may be looked at while it is mounted: SQLite's readers do not disturb
 * its writer, and nothing else is opened but to be looked at.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "folioctl.h"
#include "units.h"
#include "volume.h"
#include "wal.h"

static bool is_number(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s);
}

/* Lines "name value" as one object. */
static void lines_to_json(char *text, struct strbuf *sb)
{
	const char *sep = "{";
	char *save;

	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		strbuf_printf(sb, "%s\"%s\": ", sep, line);
		if (is_number(value)) {
			strbuf_addstr(sb, value);
		} else {
			strbuf_addch(sb, '"');
			strbuf_add_json(sb, value);
			strbuf_addch(sb, '"');
		}
		sep = ", ";
	}
	strbuf_addstr(sb, *sep == '{' ? "{}\n" : "}\n");
}

/* ---- a volume ---- */

static void add_time(struct strbuf *sb, s64 ns)
{
	time_t secs = (time_t)(ns / (s64)NSEC_PER_SEC);
	char text[32];
	struct tm tm;

	if (gmtime_r(&secs, &tm) &&
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		strbuf_printf(sb, "created %s\n", text);
}

static void add_super(struct strbuf *sb, const struct meta_super *s)
{
	char uuid[UUID_LEN];

	strbuf_printf(sb, "uuid %s\n", format_uuid(s->uuid, uuid));
	strbuf_printf(sb, "format %" PRIu32 "\n", s->version);
	strbuf_printf(sb, "block_size %" PRIu32 "\n", s->block_size);
	strbuf_printf(sb, "commit_no %" PRIu64 "\n", s->commit_no);
	strbuf_printf(sb, "mount_epoch %" PRIu64 "\n", s->mount_epoch);
	strbuf_printf(sb, "size_bytes %" PRIu64 "\n",
		      s->nr_blocks * s->block_size);
	add_time(sb, s->created_ns);
}

/* What a file of the volume takes on the host. */
static void add_host_bytes(struct strbuf *sb, const char *path,
			   const char *name)
{
	struct strbuf file = STRBUF_INIT;
	struct stat st;

	strbuf_printf(&file, "%s/%s", path, name);
	sb->failed |= file.failed;
	if (!file.failed && stat(file.buf, &st) == 0)
		strbuf_printf(sb, "%s_host_bytes %" PRIu64 "\n",
			      name[0] == 'd' ? "data" : "db",
			      (u64)st.st_blocks * 512);
	strbuf_release(&file);
}

/*
 * Is that file locked, by @pid or by whoever? Asked of /proc/locks: trying the
 * lock would make a mount that begins at this moment fail. Some filesystems
 * show another device there, so the process may stand for it.
 */
static bool is_locked(const struct stat *st, int pid)
{
	FILE *f = fopen("/proc/locks", "re");
	unsigned long long ino;
	unsigned maj, min;
	char line[256];
	bool ret = false;
	int holder;

	while (f && !ret && fgets(line, sizeof(line), f)) {
		ret = sscanf(line, "%*s FLOCK %*s WRITE %d %x:%x:%llu", &holder,
			     &maj, &min, &ino) == 4 &&
		      ino == st->st_ino &&
		      (holder == pid || makedev(maj, min) == st->st_dev);
	}
	if (f)
		(void)fclose(f);
	return ret;
}

/* Who has it: what stands in `lock`, lines of pid and mountpoint. Return: does
 * anybody? */
static bool add_holder(struct strbuf *sb, const char *path)
{
	struct strbuf file = STRBUF_INIT;
	char line[4200];
	bool held = false;
	struct stat st;
	int pid = 0;
	FILE *f;

	strbuf_printf(&file, "%s/lock", path);
	f = file.failed ? NULL : fopen(file.buf, "re");
	strbuf_release(&file);
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "pid %d", &pid) == 1) {
			held = fstat(fileno(f), &st) == 0 &&
			       is_locked(&st, pid);
			if (!held)
				break;
		}
		strbuf_add_path(sb, line);
		strbuf_addch(sb, '\n');
	}
	if (f)
		(void)fclose(f);
	return held;
}

static bool is_unchanged(int dirfd, const struct stat *before)
{
	struct stat st;

	return fstatat(dirfd, "meta.db-wal", &st, 0) == 0 &&
	       st.st_size == before->st_size &&
	       st.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/* Without the lock others may write meanwhile, which looks like damage: it is
 * some if nothing has changed, and at another look it is the same. */
static bool find_damage(int dirfd, struct wal_report *ret)
{
	struct wal_report again = {0};
	struct stat st;

	return fstatat(dirfd, "meta.db-wal", &st, 0) == 0 &&
	       wal_inspect(dirfd, ret) == 0 && ret->damaged &&
	       is_unchanged(dirfd, &st) && wal_inspect(dirfd, &again) == 0 &&
	       again.damaged && again.commit == ret->commit &&
	       again.seen == ret->seen && is_unchanged(dirfd, &st);
}

/* What was read may be a state before commits that were durable. Context:
 * meta.db is not open. */
static int complain_log(const char *path)
{
	char text[WAL_TEXT_MAX];
	struct wal_report log = {0};
	int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool damaged = dirfd >= 0 && find_damage(dirfd, &log);

	if (dirfd >= 0)
		(void)close(dirfd);
	if (!damaged)
		return EXIT_OK;
	wal_describe(&log, text);
	return complain("%s: %s", path, text);
}

/* *ret_damaged: it is not all that there was, which has been told. */
static int volume_lines(const char *path, struct strbuf *sb, bool *ret_damaged)
{
	struct meta_super super;
	struct meta *meta;
	char err[512] = "";
	u64 inodes;
	bool held;

	if (meta_open(path, true, &meta, err, sizeof(err)) < 0)
		return complain("%s: %s", path, err);
	meta_super(meta, &super);
	add_super(sb, &super);
	if (meta_counts(meta, &inodes) == 0)
		strbuf_printf(sb, "inodes %" PRIu64 "\n", inodes);
	(void)meta_close(meta);

	add_host_bytes(sb, path, "data");
	add_host_bytes(sb, path, "meta.db");
	held = add_holder(sb, path);
	strbuf_addstr(sb, "path ");
	strbuf_add_path(sb, path);
	strbuf_addch(sb, '\n');
	*ret_damaged = !held && complain_log(path) != EXIT_OK;
	return EXIT_OK;
}

/* ---- a mount ---- */

static int mount_lines(const char *path, struct strbuf *sb)
{
	int dirfd = mount_open(path);
	int err;

	if (dirfd < 0)
		return EXIT_ERROR;
	err = mount_read(dirfd, "volume", sb);
	(void)close(dirfd);
	return err ? complain("%s: %s", path, strerror(-err)) : EXIT_OK;
}

/* A folder with a meta.db is a volume, another is asked as a mount. */
static bool is_volume(const char *path)
{
	struct strbuf file = STRBUF_INIT;
	struct stat st;
	bool ret;

	strbuf_printf(&file, "%s/meta.db", path);
	ret = !file.failed && stat(file.buf, &st) == 0 && S_ISREG(st.st_mode);
	strbuf_release(&file);
	return ret;
}

static bool is_mount(const char *path)
{
	struct strbuf folder = STRBUF_INIT;
	bool ret;

	strbuf_printf(&folder, "%s/" CONTROL_NAME, path);
	ret = !folder.failed && access(folder.buf, F_OK) == 0;
	strbuf_release(&folder);
	return ret;
}

static int info(const char *path, bool json)
{
	struct strbuf out = STRBUF_INIT;
	struct strbuf sb = STRBUF_INIT;
	bool damaged = false;
	int status;

	if (access(path, F_OK) == 0 && !is_volume(path) && !is_mount(path))
		return complain("%s: neither a volume nor a mount of foliofs",
				path);
	status = is_volume(path) ? volume_lines(path, &sb, &damaged)
				 : mount_lines(path, &sb);
	if (status != EXIT_OK) {
		strbuf_release(&sb);
		return status;
	}
	if (json) {
		if (sb.buf)
			lines_to_json(sb.buf, &out);
		out.failed |= sb.failed;
		strbuf_release(&sb);
	}
	status = print_out(json ? &out : &sb);
	return damaged ? EXIT_ERROR : status;
}

static int run_info(const struct command *cmd, int argc, char **argv)
{
	bool json;
	int status = EXIT_OK;

	if (command_options(cmd, argc, argv, &json, &status) == COMMAND_DONE)
		return status;
	if (optind == argc)
		return complain_usage(cmd,
				      "a volume or a mountpoint is wanted");
	for (int i = optind; i < argc; i++)
		status = max(status, info(argv[i], json));
	return status;
}

const struct command command_info = {
	.name = "info",
	.args = "[--json] VOLUME|MOUNT...",
	.summary = "say which volume this is, and who holds it",
	.options = "  --json  as JSON, an object a line\n",
	.run = run_info,
};

/* SPDX-License-Identifier: MIT */
/*
 * folioctl: one program for what is done to volumes (create, check, info,
 * backup) and to mounts (stat, sync, commit, drop, set, info, backup). A
 * command is a function in a file of its own, src/folioctl_*.c; it gets the
 * words behind its name, takes options anywhere among them, and returns an exit
 * status.
 *
 * Mounts are reached through the control files alone, so that nothing here
 * depends on the daemon's version. What a command says goes to stdout, what
 * went wrong to stderr as "folioctl: ...", one line.
 */
#ifndef FOLIO_FOLIOCTL_H
#define FOLIO_FOLIOCTL_H

#include <getopt.h>

#include "base.h"
#include "strbuf.h"

enum exit_status {
	EXIT_OK = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_FAULTS = 4, /* check found some; as fsck(8) */
};

struct command {
	const char *name;
	const char *args;
	const char *summary;
	const char *options; /* lines of --help; NULL: none of its own */
	int (*run)(const struct command *cmd, int argc, char **argv);
};

extern const struct command command_create, command_check, command_info,
	command_maps, command_pages, command_pin, command_unpin, command_stat,
	command_sync, command_commit, command_drop, command_set,
	command_compact, command_backup;

/* The programs of other names: mkfs.foliofs, fsck.foliofs. */
int mkfs_main(int argc, char **argv);
int fsck_main(int argc, char **argv);

/* ---- verifying a mounted volume (folioctl_scrub.c) ---- */
bool scrub_is_mount(const char *path);
/* @rate: bytes a second, or NULL: as it is. Return: an exit status. */
int scrub_mount(const char *mount, const char *rate, bool json);

/* ---- common ---- */

/* The name messages begin with. */
extern const char *program;

/* One line on stderr. Return: EXIT_ERROR. */
int complain(const char *fmt, ...) __printf(1, 2);

/* The same for a mistake of the caller. Return: EXIT_USAGE. */
int complain_usage(const struct command *cmd, const char *fmt, ...)
	__printf(2, 3);

void command_help(const struct command *cmd);

/*
 * The next option as getopt_long(): the ones of @longs (ended by zeros), --help
 * and --version, which are answered here. Return: -1 when only operands are
 * left, from argv[optind] on; or COMMAND_DONE with *ret_status, also for what
 * is unknown.
 */
#define COMMAND_DONE 256
int command_option(const struct command *cmd, int argc, char **argv,
		   const char *shorts, const struct option *longs,
		   int *ret_status);

/*
 * All options of a command that has none of its own but --json, or with
 * @ret_json NULL none at all. Return: -1, or COMMAND_DONE as above.
 */
int command_options(const struct command *cmd, int argc, char **argv,
		    bool *ret_json, int *ret_status);

/* Write @sb to stdout and release it. Return: an exit status. */
int print_out(struct strbuf *sb);

/* All of stdout has been taken. Return: EXIT_OK or EXIT_ERROR, told. */
int flush_out(void);

/* "name": "value", the value being any bytes. */
void json_add_string(struct strbuf *sb, const char *name, const char *value);

/* One more string, any bytes, behind those of a list. */
void json_add_item(struct strbuf *list, const char *value);

/*
 * How far long work is, in percent, on a line of stderr that is overwritten;
 * only if that is a terminal, unless @wanted is set by hand. Clear it before
 * anything else is said, and at the end.
 */
struct progress {
	bool wanted;
	int percent; /* shown last; -1: nothing is on the line */
};

void progress_init(struct progress *p);
void progress_show(struct progress *p, const char *name, u64 done, u64 total);
void progress_clear(struct progress *p);

/* ---- control files of a mount (folioctl_mount.c) ---- */

/* The folder of control files of @mount. Return: a descriptor, or -1, told. */
int mount_open(const char *mount);

/* The whole of a file. Return: 0 or -errno. */
int mount_read(int dirfd, const char *file, struct strbuf *sb);

/* One write of @text. Return: 0 or -errno. */
int mount_write(int dirfd, const char *file, const char *text);

/* The value in a line "name value" of @text. Return: NULL: no such line. */
const char *line_value(const char *text, const char *name);

#endif

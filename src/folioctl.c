/* SPDX-License-Identifier: MIT */
/* folioctl: the commands' names, and what they share. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folioctl.h"

static const struct command *const commands[] = {
	&command_create, &command_check,  &command_info, &command_stat,
	&command_sync,	 &command_commit, &command_drop, &command_compact,
	&command_maps,	 &command_pages,  &command_pin,	 &command_unpin,
	&command_set,	 &command_backup,
};

const char *program = "folioctl";

/* ---- what went wrong ---- */

static void vcomplain(const char *fmt, va_list ap)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "%s: ", program);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
}

int complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	return EXIT_ERROR;
}

int complain_usage(const struct command *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "usage: folioctl %s %s\n", cmd->name, cmd->args);
	return EXIT_USAGE;
}

/* ---- what is said ---- */

int flush_out(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_OK;
	return complain("cannot write: %s", strerror(errno));
}

int print_out(struct strbuf *sb)
{
	char *text;
	size_t len;

	if (strbuf_finish(sb, &text, &len) < 0)
		return complain("no memory");
	(void)fwrite(text, 1, len, stdout);
	free(text);
	return flush_out();
}

void json_add_string(struct strbuf *sb, const char *name, const char *value)
{
	struct strbuf escaped = STRBUF_INIT;

	strbuf_add_path(&escaped, value);
	strbuf_printf(sb, "\"%s\": \"", name);
	strbuf_add_json(sb, escaped.buf ? escaped.buf : "");
	strbuf_addch(sb, '"');
	sb->failed |= escaped.failed;
	strbuf_release(&escaped);
}

void json_add_item(struct strbuf *list, const char *value)
{
	strbuf_addstr(list, list->len ? ", \"" : "\"");
	strbuf_add_json(list, value);
	strbuf_addch(list, '"');
}

void progress_init(struct progress *p)
{
	*p = (struct progress){isatty(STDERR_FILENO), -1};
}

void progress_show(struct progress *p, const char *name, u64 done, u64 total)
{
	int percent;

	if (!p->wanted || !total)
		return;
	percent = (int)((double)min(done, total) * 100 / (double)total);
	if (percent == p->percent)
		return;
	p->percent = percent;
	(void)fprintf(stderr, "\r%s: %d%%", name, percent);
	(void)fflush(stderr);
}

void progress_clear(struct progress *p)
{
	if (p->percent < 0)
		return;
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
	p->percent = -1;
}

static int print_version(void)
{
	(void)printf("%s (foliofs) %s\n", program, PACKAGE_VERSION);
	return flush_out();
}

void command_help(const struct command *cmd)
{
	(void)printf("usage: folioctl %s %s\n\n%s\n", cmd->name, cmd->args,
		     cmd->summary);
	if (cmd->options)
		(void)printf("\n%s", cmd->options);
}

static int print_help(void)
{
	(void)puts("usage: folioctl COMMAND ...\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)printf("  %-7s %-30s %s\n", commands[i]->name,
			     commands[i]->args, commands[i]->summary);
	(void)puts("\nfolioctl COMMAND --help says more.\n"
		   "Sizes take K, M, G and T. Exit status: 0 done, 1 failed, "
		   "2 wrong usage,\n4 check found faults.");
	return flush_out();
}

/* ---- options ---- */

enum {
	OPT_HELP = 1000,
	OPT_VERSION,
};

/* @longs with --help and --version behind them. */
static void merge_options(const struct option *longs, struct option ret[16])
{
	size_t n = 0;

	for (; longs && longs[n].name; n++) {
		assert(n < 13);
		ret[n] = longs[n];
	}
	ret[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
	ret[n++] = (struct option){"version", no_argument, NULL, OPT_VERSION};
	ret[n] = (struct option){NULL, 0, NULL, 0};
}

/* As a variable of a script that is not set. */
static bool has_empty(int argc, char **argv)
{
	for (int i = optind; i < argc; i++) {
		if (!*argv[i])
			return true;
	}
	return false;
}

int command_option(const struct command *cmd, int argc, char **argv,
		   const char *shorts, const struct option *longs,
		   int *ret_status)
{
	struct option all[16];
	int c;

	merge_options(longs, all);
	opterr = 0;
	c = getopt_long(argc, argv, shorts, all, NULL);
	switch (c) {
	case OPT_HELP:
	case 'h':
		command_help(cmd);
		*ret_status = flush_out();
		return COMMAND_DONE;
	case OPT_VERSION:
		*ret_status = print_version();
		return COMMAND_DONE;
	case ':':
		*ret_status = complain_usage(cmd, "%s: a value is wanted",
					     argv[optind - 1]);
		return COMMAND_DONE;
	case '?':
		*ret_status = complain_usage(cmd, "unknown option: %s",
					     argv[optind - 1]);
		return COMMAND_DONE;
	case -1:
		if (!has_empty(argc, argv))
			return c;
		*ret_status = complain_usage(cmd, "an empty name");
		return COMMAND_DONE;
	default:
		return c;
	}
}

int command_options(const struct command *cmd, int argc, char **argv,
		    bool *ret_json, int *ret_status)
{
	static const struct option json[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	bool found = false;
	int c;

	while ((c = command_option(cmd, argc, argv, ":h",
				   ret_json ? json : NULL, ret_status)) == 'j')
		found = true;
	if (ret_json)
		*ret_json = found;
	return c;
}

/* ---- main ---- */

static int run(int argc, char **argv)
{
	if (argc < 2)
		return complain_usage(&(const struct command){.name = "COMMAND",
							      .args = "..."},
				      "a command is wanted; --help lists them");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return print_help();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_version();

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i]->name) == 0)
			return commands[i]->run(commands[i], argc - 1,
						argv + 1);
	(void)complain("unknown command: %s; --help lists them", argv[1]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	name = name ? name + 1 : argc > 0 ? argv[0] : "";
	if (strcmp(name, "mkfs.foliofs") == 0)
		return mkfs_main(argc, argv);
	if (strcmp(name, "fsck.foliofs") == 0)
		return fsck_main(argc, argv);
	return run(argc, argv);
}

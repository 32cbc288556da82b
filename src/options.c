/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "units.h"

struct option_row {
	const char *name;
	enum option_kind kind;
	size_t offset;
	u64 least;
	u64 most;
	const char *help;
};

static const struct option_row rows[] = {
#define X(name_, kind_, least_, most_, help_)              \
	{                                                  \
		.name = #name_,                            \
		.kind = OPTION_##kind_,                    \
		.offset = offsetof(struct options, name_), \
		.least = least_,                           \
		.most = most_,                             \
		.help = help_,                             \
	},
	FOLIOFS_OPTIONS(X)
#undef X
};

/*
 * The generic options of mount(8). libfuse knows those that are passed on; the
 * others say what the kernel does anyway, or speak to mount(8). A remount goes
 * to the kernel by flags of mount(2), some of which exclude others.
 */
#define ATIMES (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

static const struct generic_option {
	const char *name;
	bool pass_on;
	unsigned long set, clear;
} generics[] = {
	{"suid", true, 0, MS_NOSUID},
	{"nosuid", true, MS_NOSUID, 0},
	{"dev", true, 0, MS_NODEV},
	{"nodev", true, MS_NODEV, 0},
	{"exec", true, 0, MS_NOEXEC},
	{"noexec", true, MS_NOEXEC, 0},
	{"sync", true, MS_SYNCHRONOUS, 0},
	{"async", true, 0, MS_SYNCHRONOUS},
	{"dirsync", true, MS_DIRSYNC, 0},
	{"noatime", true, MS_NOATIME, ATIMES},
	{"atime", false, 0, MS_NOATIME},
	{"relatime", false, MS_RELATIME, ATIMES},
	{"norelatime", false, 0, MS_RELATIME},
	{"strictatime", false, MS_STRICTATIME, ATIMES},
	{"diratime", false, 0, MS_NODIRATIME},
	{"nodiratime", false, MS_NODIRATIME, 0},
	{"lazytime", false, MS_LAZYTIME, 0},
	{"nolazytime", false, 0, MS_LAZYTIME},
	{"defaults", false},
	{"auto", false},
	{"noauto", false},
	{"user", false},
	{"nouser", false},
	{"users", false},
	{"nousers", false},
	{"owner", false},
	{"noowner", false},
	{"group", false},
	{"nogroup", false},
	{"_netdev", false},
	{"nofail", false},
	{"default_permissions", false},
};

/* Where the message of the first error goes. */
struct parse {
	struct options *opt;
	u64 ram;
	char *err;
	size_t errlen;
};

/* One line, whatever stands in the words that it quotes. */
static int __printf(2, 3) refuse(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	for (char *s = p->err; *s; s++) {
		if (iscntrl((unsigned char)*s))
			*s = '?';
	}
	return -EINVAL;
}

/* Exactly, unlike format_size(): people are to type it. */
static void format_limit(u64 bytes, char *buf, size_t len)
{
	static const char units[] = {'\0', 'K', 'M', 'G', 'T'};
	size_t unit = 0;

	while (bytes && bytes % 1024 == 0 && unit + 1 < sizeof(units)) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(buf, len, "%" PRIu64 "%.1s", bytes, &units[unit]);
}

static void format_value(enum option_kind kind, u64 value, char *buf,
			 size_t len)
{
	if (kind == OPTION_SIZE || kind == OPTION_MEMORY)
		format_limit(value, buf, len);
	else
		(void)snprintf(buf, len, "%" PRIu64, value);
}

static int check_range(struct parse *p, const struct option_row *row,
		       const char *text, u64 value)
{
	char least[24], most[24];

	if (value >= row->least && value <= row->most)
		return 0;

	format_value(row->kind, row->least, least, sizeof(least));
	format_value(row->kind, row->most, most, sizeof(most));
	if (value > row->most)
		return refuse(p, "%s=%s: must be at most %s", row->name, text,
			      most);
	return refuse(p, "%s=%s: must be at least %s", row->name, text, least);
}

static const char *kind_says(enum option_kind kind)
{
	switch (kind) {
	case OPTION_SIZE:
		return "a size like 512M is wanted";
	case OPTION_MEMORY:
		return "a size like 512M or a percentage like 10% is wanted";
	case OPTION_SECONDS:
		return "a number of seconds is wanted";
	default:
		return "a number is wanted";
	}
}

static int set_number(struct parse *p, const struct option_row *row,
		      const char *text, u64 *ret_value)
{
	u64 value;
	int err;

	if (row->kind == OPTION_SIZE)
		err = parse_size(text, 0, &value);
	else if (row->kind == OPTION_MEMORY)
		err = parse_size(text, p->ram, &value);
	else
		err = parse_u64(text, &value);
	if (err)
		return refuse(p, "%s=%s: %s", row->name, text,
			      kind_says(row->kind));

	err = check_range(p, row, text, value);
	if (!err)
		*ret_value = value;
	return err;
}

static int set_mode(struct parse *p, const struct option_row *row,
		    const char *text, enum cache_mode *ret_mode)
{
	if (!strcmp(text, "kernel"))
		*ret_mode = CACHE_MODE_KERNEL;
	else if (!strcmp(text, "writeback"))
		*ret_mode = CACHE_MODE_WRITEBACK;
	else if (!strcmp(text, "own"))
		*ret_mode = CACHE_MODE_OWN;
	else
		return refuse(p,
			      "%s=%s: unknown, kernel, writeback or own is "
			      "wanted",
			      row->name, text);
	return 0;
}

static int set_text(struct parse *p, const struct option_row *row,
		    const char *text, char **ret_text)
{
	char *copy;

	if (!*text)
		return refuse(p, "%s: a value is wanted", row->name);
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;

	free(*ret_text);
	*ret_text = copy;
	return 0;
}

static int set_option(struct parse *p, const struct option_row *row,
		      const char *value)
{
	void *member = (char *)p->opt + row->offset;

	if (row->kind == OPTION_FLAG) {
		if (value)
			return refuse(p, "%s takes no value", row->name);
		*(bool *)member = true;
		return 0;
	}

	if (!value)
		return refuse(p, "%s: a value is wanted", row->name);
	if (row->kind == OPTION_MODE)
		return set_mode(p, row, value, member);
	if (row->kind == OPTION_TEXT)
		return set_text(p, row, value, member);
	return set_number(p, row, value, member);
}

/* Append to the list for libfuse. */
static int pass_on(struct parse *p, const char *name)
{
	const char *old = p->opt->kernel ? p->opt->kernel : "";
	size_t len = strlen(old) + strlen(name) + 2;
	char *list = malloc(len);

	if (!list)
		return -ENOMEM;

	(void)snprintf(list, len, "%s%s%s", old, *old ? "," : "", name);
	free(p->opt->kernel);
	p->opt->kernel = list;
	return 0;
}

/* mount(8) keeps comments and options of other programs in fstab this way. */
static bool for_others(const char *name)
{
	return !strncmp(name, "x-", 2) || !strncmp(name, "X-", 2) ||
	       !strcmp(name, "comment");
}

/* What the kernel shows of a mount, mount(8) repeats for a remount. */
static bool shown_by_kernel(const char *name)
{
	return !strcmp(name, "user_id") || !strcmp(name, "group_id");
}

/* Return: 1 when @name is none of the generic options. */
static int set_generic(struct parse *p, const char *name, const char *value)
{
	if (for_others(name) || shown_by_kernel(name))
		return 0;
	if (value)
		return 1;

	if (!strcmp(name, "rw")) {
		p->opt->ro = false;
		return 0;
	}

	if (!strcmp(name, "remount")) {
		p->opt->remount = true;
		return 0;
	}

	for (size_t i = 0; i < ARRAY_SIZE(generics); i++) {
		const struct generic_option *g = &generics[i];

		if (strcmp(name, g->name) != 0)
			continue;
		p->opt->flags_cleared |= g->clear;
		p->opt->flags_set &= ~g->clear;
		p->opt->flags_set |= g->set;
		return g->pass_on ? pass_on(p, name) : 0;
	}
	return 1;
}

static int parse_one(struct parse *p, char *text)
{
	char *value = strchr(text, '=');
	int ret;

	if (value)
		*value++ = '\0';

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!strcmp(text, rows[i].name))
			return set_option(p, &rows[i], value);
	}

	ret = set_generic(p, text, value);
	return ret > 0 ? refuse(p, "unknown option: %s", text) : ret;
}

/* Take one option off the list: up to a comma without a backslash before it,
 * which are removed. Return: the rest, NULL behind the last. */
static char *split_option(char *list)
{
	char *to = list;

	for (char *from = list; *from; from++) {
		if (*from == ',') {
			*to = '\0';
			return from + 1;
		}
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return NULL;
}

static int parse_list(struct parse *p, const char *list)
{
	char *copy = strdup(list);
	char *rest = copy;
	int err = copy ? 0 : -ENOMEM;

	while (rest && !err) {
		char *one = rest;

		rest = split_option(one);
		if (*one)
			err = parse_one(p, one);
	}

	free(copy);
	return err;
}

static int add_operand(struct parse *p, const char *text)
{
	char **where = p->opt->volume ? &p->opt->mountpoint : &p->opt->volume;

	if (*where)
		return refuse(p, "too many operands: %s", text);
	if (!*text)
		return refuse(p, "an empty name is no %s",
			      p->opt->volume ? "mountpoint" : "volume");

	*where = strdup(text);
	return *where ? 0 : -ENOMEM;
}

/* The short one is another to mount(8)'s helpers. */
#define LONG_FOREGROUND 256

/* Short options: 1 marks an operand, since the optstring begins with '-'. */
static int parse_short(struct parse *p, int c, const char *arg)
{
	switch (c) {
	case 1:
		return add_operand(p, arg);
	case 'o':
		return parse_list(p, arg);
	case 'd':
		p->opt->debug = true;
		fallthrough;
	case 'f':
	case LONG_FOREGROUND:
		p->opt->foreground = true;
		return 0;
	case 'h':
		p->opt->help = true;
		return 0;
	case 'V':
		p->opt->version = true;
		return 0;
	case ':':
		return refuse(p, "option -%c: a value is wanted", optopt);
	default:
		return refuse(p, "unknown option: -%c", optopt);
	}
}

/* What mount(8) passes to its helpers means other things. */
static int parse_short_mount(struct parse *p, int c, const char *arg)
{
	switch (c) {
	case 'f':
		p->opt->fake = true;
		return 0;
	case 'r':
		p->opt->ro = true;
		return 0;
	case 'w':
		p->opt->ro = false;
		return 0;
	case 's':
	case 'n':
	case 'v':
	case 't':
		return 0;
	default:
		return parse_short(p, c, arg);
	}
}

static bool is_mount_helper(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return !strncmp(slash ? slash + 1 : argv0, "mount.", 6);
}

static int parse_words(struct parse *p, int argc, char *const *argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"debug", no_argument, NULL, 'd'},
		{"foreground", no_argument, NULL, LONG_FOREGROUND},
		{NULL, 0, NULL, 0},
	};
	bool helper = argc > 0 && is_mount_helper(argv[0]);
	const char *shorts = helper ? "-:fnrsvwt:o:hV" : "-:fdho:V";
	int err = 0;
	int c;

	opterr = 0;
	optind = 0;
	while (!err &&
	       (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == '?' && !optopt)
			err = refuse(p, "unknown option: %s", argv[optind - 1]);
		else if (helper)
			err = parse_short_mount(p, c, optarg);
		else
			err = parse_short(p, c, optarg);
	}
	while (!err && optind < argc)
		err = add_operand(p, argv[optind++]);

	return err;
}

static int check_together(struct parse *p)
{
	const struct options *opt = p->opt;

	if (!opt->volume)
		return refuse(p, "a volume and a mountpoint are wanted");
	if (!opt->mountpoint)
		return refuse(p, "a mountpoint is wanted behind %s",
			      opt->volume);
	if (opt->size != OPTION_UNSET && !opt->create)
		return refuse(p, "size goes together with create");
	if (opt->create && opt->ro)
		return refuse(p, "create and ro exclude each other");
	if (opt->allow_other && opt->allow_root)
		return refuse(p,
			      "allow_other and allow_root exclude each other");
	if (opt->cache_size > p->ram)
		return refuse(p, "cache_size: more than this machine's memory");
	if (opt->dirty_bytes != OPTION_UNSET && opt->dirty_bytes &&
	    opt->dirty_background_bytes != OPTION_UNSET &&
	    opt->dirty_background_bytes > opt->dirty_bytes)
		return refuse(p, "dirty_background_bytes is more than "
				 "dirty_bytes");
	return 0;
}

static void set_defaults(struct options *opt)
{
	memset(opt, 0, sizeof(*opt));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		switch (rows[i].kind) {
		case OPTION_SIZE:
		case OPTION_MEMORY:
		case OPTION_SECONDS:
		case OPTION_NUMBER:
			*(u64 *)((char *)opt + rows[i].offset) = OPTION_UNSET;
			break;
		default:
			break;
		}
	}
	opt->commit = 5;
}

/* An eighth of memory, 64M to 4G; never more than there is. */
static u64 default_cache_size(u64 ram)
{
	u64 size = min(max(ram / 8, (u64)64 << 20), (u64)4 << 30);

	return min(size, ram) & PAGE_MASK;
}

int options_parse(struct options *opt, int argc, char *const *argv, u64 ram,
		  char *err, size_t errlen)
{
	struct parse p = {.opt = opt, .ram = ram, .err = err, .errlen = errlen};
	int ret;

	set_defaults(opt);
	ret = parse_words(&p, argc, argv);
	if (ret == -ENOMEM)
		(void)refuse(&p, "no memory");
	if (ret || opt->help || opt->version)
		return ret;

	if (opt->cache_size == OPTION_UNSET)
		opt->cache_size = default_cache_size(ram);
	return check_together(&p);
}

void options_done(struct options *opt)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].kind == OPTION_TEXT)
			free(*(char **)((char *)opt + rows[i].offset));
	}
	free(opt->volume);
	free(opt->mountpoint);
	free(opt->kernel);
	memset(opt, 0, sizeof(*opt));
}

const char *options_name(size_t nth)
{
	return nth < ARRAY_SIZE(rows) ? rows[nth].name : NULL;
}

static const char *kind_argument(enum option_kind kind)
{
	switch (kind) {
	case OPTION_SIZE:
		return "=SIZE";
	case OPTION_MEMORY:
		return "=SIZE|%";
	case OPTION_SECONDS:
		return "=SECS";
	case OPTION_NUMBER:
		return "=N";
	case OPTION_MODE:
		return "=MODE";
	case OPTION_TEXT:
		return "=NAME";
	default:
		return "";
	}
}

void options_help(FILE *out)
{
	(void)fputs(
		"usage: foliofs [-f] [-d] [-o OPTION[,OPTION...]] VOLUME "
		"MOUNTPOINT\n\n"
		"Mounts VOLUME at MOUNTPOINT. fusermount3 -u or umount "
		"unmounts.\n\n"
		"  -f, --foreground  stay in the foreground, log to stderr\n"
		"  -d, --debug       the same, and show every request\n"
		"  -h, --help        this text\n"
		"  -V, --version     the version\n\n"
		"  -o OPTION:\n",
		out);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char head[48];

		(void)snprintf(head, sizeof(head), "%s%s", rows[i].name,
			       kind_argument(rows[i].kind));
		(void)fprintf(out, "    %-30s  %s\n", head, rows[i].help);
	}

	(void)fputs("\nSizes take K, M, G and T. Generic options of mount(8) "
		    "work as well.\n",
		    out);
}

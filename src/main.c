/* SPDX-License-Identifier: MIT */
/* foliofs: mounts a volume. See src/options.h and src/daemon.h. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "fuse_api.h"
#include "options.h"
#include "remount.h"
#include "units.h"
#include "unmap_helper.h"

static int print_version(void)
{
	(void)printf("foliofs %s\nlibfuse %s\n", PACKAGE_VERSION,
		     fuse_pkgversion());
	return EXIT_SUCCESS;
}

static int print_help(void)
{
	options_help(stdout);
	return EXIT_SUCCESS;
}

static int complain(const char *text)
{
	(void)fprintf(stderr, "foliofs: %s (see foliofs --help)\n", text);
	return EXIT_FAILURE;
}

static int run(const struct options *opt)
{
	if (opt->help)
		return print_help();
	if (opt->version)
		return print_version();
	if (opt->fake)
		return EXIT_SUCCESS;
	if (opt->remount)
		return remount_run(opt);
	return daemon_run(opt);
}

int main(int argc, char **argv)
{
	struct options opt;
	char text[256];
	int ret;

	if (argc && !strcmp(argv[0], UNMAP_HELPER_NAME))
		return unmap_helper_main(argc, argv);
	if (options_parse(&opt, argc, argv, ram_bytes(), text, sizeof(text)))
		ret = complain(text);
	else
		ret = run(&opt);
	options_done(&opt);
	return ret;
}

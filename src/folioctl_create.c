/* SPDX-License-Identifier: MIT */
/* folioctl create, and mkfs.foliofs. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "folioctl.h"
#include "units.h"
#include "volume.h"

#define SIZE_MAX_BYTES ((u64)1 << 62)

static int create(const char *path, u64 size)
{
	struct volume_options opt = {.size = size};
	char err[512] = "";

	if (volume_create(path, &opt, err, sizeof(err)) < 0)
		return complain("%s: %s", path, err);
	if (*err)
		(void)complain("%s: note: %s", path, err);
	return EXIT_OK;
}

static int run_create(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = {
		{"size", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	int status = EXIT_OK;
	u64 size = 0;
	int c;

	while ((c = command_option(cmd, argc, argv, ":hs:", longs, &status)) !=
	       -1) {
		if (c == COMMAND_DONE)
			return status;
		if (parse_size(optarg, 0, &size) < 0 || size == 0 ||
		    size > SIZE_MAX_BYTES)
			return complain_usage(cmd, "%s: not a size", optarg);
	}
	if (optind + 1 != argc)
		return complain_usage(cmd, optind == argc
						   ? "a volume is wanted"
						   : "one volume is wanted");
	return create(argv[optind], size);
}

const struct command command_create = {
	.name = "create",
	.args = "[--size N] VOLUME",
	.summary = "make a volume: a folder that is new or empty",
	.options = "  -s, --size N  how large it may become (the host's "
		   "space)\n",
	.run = run_create,
};

int mkfs_main(int argc, char **argv)
{
	program = "mkfs.foliofs";
	return run_create(&command_create, argc, argv);
}

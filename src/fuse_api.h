/* SPDX-License-Identifier: MIT */
/* libfuse's low-level interface, everywhere in the same version. */
#ifndef FOLIO_FUSE_API_H
#define FOLIO_FUSE_API_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#endif

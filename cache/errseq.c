/* SPDX-License-Identifier: MIT */
/*
 * Errors of a file that every open file is told once.
 *
 * 32 bits: an errno, a bit that says whether anybody has seen it, and a count.
 * An open file keeps the value it has seen. A new error raises the count only
 * if the last one was seen, so that a thousand failures nobody asked about do
 * not make the count go round. A file opened after an error that nobody has
 * seen starts from 0, and so is told.
 *
 * Source of the idea: Linux lib/errseq.c.
 */
#include "config.h"

#include "internal.h"

#define ERRSEQ_ERRNO 0xfffu
#define ERRSEQ_SEEN 0x1000u
#define ERRSEQ_ONE 0x2000u

void mapping_set_error(struct address_space *as, int err)
{
	u32 old = __atomic_load_n(&as->wb_err, __ATOMIC_RELAXED);
	u32 new;

	assert(err < 0 && (u32)-err <= ERRSEQ_ERRNO);
	do {
		new = (old & ~(ERRSEQ_ERRNO | ERRSEQ_SEEN)) | (u32)-err;
		if (old & ERRSEQ_SEEN)
			new += ERRSEQ_ONE;
		if (new == old)
			return;
	} while (!__atomic_compare_exchange_n(&as->wb_err, &old, new, true,
					      __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

static u32 errseq_sample(const struct address_space *as)
{
	u32 value = __atomic_load_n(&as->wb_err, __ATOMIC_ACQUIRE);

	return value & ERRSEQ_SEEN ? value : 0;
}

int file_check_and_advance_wb_err(struct file *f)
{
	u32 *seq = &f->mapping->wb_err;
	u32 value = __atomic_load_n(seq, __ATOMIC_ACQUIRE);
	u32 since = __atomic_load_n(&f->wb_err_seen, __ATOMIC_ACQUIRE);

	if (value == since)
		return 0;
	/* Losing this race means that somebody else has marked it as seen, or
	 * that there is a newer error, which the next call tells. */
	if (!(value & ERRSEQ_SEEN)) {
		u32 seen = value | ERRSEQ_SEEN;
		u32 old = value;

		(void)__atomic_compare_exchange_n(seq, &old, seen, false,
						  __ATOMIC_ACQ_REL,
						  __ATOMIC_RELAXED);
		value = seen;
	}
	/* Two who ask through one open file: one is told. */
	if (!__atomic_compare_exchange_n(&f->wb_err_seen, &since, value, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return 0;
	return -(int)(value & ERRSEQ_ERRNO);
}

void file_init(struct file *f, struct address_space *as)
{
	*f = (struct file){.mapping = as, .wb_err_seen = errseq_sample(as)};
	f->ra_prev = UINT64_MAX;
	list_init(&f->vmas);
}

void file_done(struct file *f)
{
	mm_forget_file(f);
	f->mapping = NULL;
}

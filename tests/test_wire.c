/* SPDX-License-Identifier: MIT */
/* The shape of requests: src/wire.h. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "wire.h"

/* A request: header, @arg_size bytes of arguments, @tail. In memory of its own
 * exact size, so that reading past it is seen. */
static void *request(u32 opcode, size_t arg_size, const char *tail,
		     size_t tail_len, size_t *ret_len)
{
	size_t len = sizeof(struct fuse_in_header) + arg_size + tail_len;
	struct fuse_in_header *in = calloc(1, len);

	ck_assert_ptr_nonnull(in);
	in->len = (u32)len;
	in->opcode = opcode;
	if (tail_len)
		memcpy((char *)(in + 1) + arg_size, tail, tail_len);
	*ret_len = len;
	return in;
}

#define TAIL(s) (s), sizeof(s) - 1

static const struct {
	u32 opcode;
	size_t arg_size;
	const char *tail;
	size_t tail_len;
	int result;
} table[] = {
	{FUSE_LOOKUP, 0, TAIL("name\0"), 0},
	{FUSE_LOOKUP, 0, TAIL("..."), -EINVAL},
	{FUSE_LOOKUP, 0, TAIL("...\0"), 0},
	{FUSE_LOOKUP, 0, TAIL(""), -EINVAL},
	{FUSE_LOOKUP, 0, TAIL("\0"), -EINVAL},
	{FUSE_LOOKUP, 0, TAIL(".\0"), 0},
	{FUSE_LOOKUP, 0, TAIL("..\0"), 0},
	{FUSE_UNLINK, 0, TAIL(".\0"), -EINVAL},
	{WIRE_STATX, 24, TAIL(""), 0},
	{WIRE_STATX, 23, TAIL(""), -EINVAL},
	{FUSE_LOOKUP, 0, TAIL("a/b\0"), -EINVAL},
	{FUSE_GETATTR, 16, TAIL(""), 0},
	{FUSE_GETATTR, 15, TAIL(""), -EINVAL},
	{FUSE_STATFS, 0, TAIL(""), 0},
	{FUSE_READLINK, 0, TAIL(""), 0},
	{FUSE_SYMLINK, 0, TAIL("name\0/tar/get\0"), 0},
	{FUSE_SYMLINK, 0, TAIL("name\0/tar/get"), -EINVAL},
	{FUSE_SYMLINK, 0, TAIL("na/me\0target\0"), -EINVAL},
	{FUSE_RENAME2, 16, TAIL("a\0b\0"), 0},
	{FUSE_RENAME2, 16, TAIL("a\0"), -EINVAL},
	{FUSE_RENAME2, 16, TAIL("a\0..\0"), -EINVAL},
	{FUSE_RENAME, 8, TAIL("a\0b\0"), 0},
	{FUSE_LINK, 8, TAIL("a\0"), 0},
	{FUSE_LINK, 4, TAIL(""), -EINVAL},
	{FUSE_CREATE, 16, TAIL("a\0"), 0},
	{FUSE_CREATE, 16, TAIL("a"), -EINVAL},
	{FUSE_TMPFILE, 16, TAIL("/\0"), 0},
	{FUSE_GETXATTR, 8, TAIL("user.a/b\0"), 0},
	{FUSE_GETXATTR, 8, TAIL("user.a"), -EINVAL},
	{FUSE_REMOVEXATTR, 0, TAIL("x\0"), 0},
	{FUSE_REMOVEXATTR, 0, TAIL(""), -EINVAL},
	{FUSE_READ, 40, TAIL(""), 0},
	{FUSE_READ, 39, TAIL(""), -EINVAL},
	{FUSE_INIT, 16, TAIL(""), 0},
	{FUSE_INIT, 8, TAIL(""), -EINVAL},
	{FUSE_INTERRUPT, 4, TAIL(""), -EINVAL},
	/* libfuse answers these */
	{7, 0, TAIL(""), 0},
	{4095, 0, TAIL(""), 0},
	{UINT32_MAX, 0, TAIL(""), 0},
};

START_TEST(a_request_is_whole_or_it_is_refused)
{
	size_t len;
	void *buf = request(table[_i].opcode, table[_i].arg_size,
			    table[_i].tail, table[_i].tail_len, &len);

	ck_assert_int_eq(wire_check(buf, len, false), table[_i].result);
	free(buf);
}
END_TEST

START_TEST(what_libfuse_does_not_know_comes_as_what_it_knows)
{
	struct fuse_in_header in = {.opcode = FUSE_TMPFILE};

	ck_assert_uint_eq(wire_translate(&in), FUSE_TMPFILE);
	ck_assert_uint_eq(in.opcode, FUSE_CREATE);
	in.opcode = WIRE_STATX;
	ck_assert_uint_eq(wire_translate(&in), WIRE_STATX);
	ck_assert_uint_eq(in.opcode, FUSE_GETATTR);
	ck_assert_uint_eq(wire_translate(&in), FUSE_GETATTR);
	ck_assert_uint_eq(in.opcode, FUSE_GETATTR);
}
END_TEST

START_TEST(no_length_but_the_announced_one_is_right)
{
	size_t len;
	struct fuse_in_header *in = request(FUSE_LOOKUP, 0, TAIL("a\0"), &len);

	ck_assert_int_eq(wire_check(in, len, false), 0);
	ck_assert_int_eq(wire_check(in, len - 1, false), -EINVAL);
	in->len++;
	ck_assert_int_eq(wire_check(in, len, false), -EINVAL);
	for (size_t l = 0; l < sizeof(*in); l++)
		ck_assert_int_eq(wire_check(in, l, false), -EINVAL);
	free(in);
}
END_TEST

START_TEST(a_write_brings_the_data_that_it_announces)
{
	size_t len;
	struct fuse_in_header *in = request(
		FUSE_WRITE, sizeof(struct fuse_write_in), TAIL("data"), &len);
	struct fuse_write_in *write = (void *)(in + 1);

	for (u32 size = 0; size < 10; size++) {
		write->size = size;
		ck_assert_int_eq(wire_check(in, len, false),
				 size <= 4 ? 0 : -EINVAL);
	}
	write->size = UINT32_MAX;
	ck_assert_int_eq(wire_check(in, len, false), -EINVAL);
	free(in);
}
END_TEST

START_TEST(a_value_of_an_attribute_is_as_long_as_announced)
{
	size_t len;
	struct fuse_in_header *in =
		request(FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE,
			TAIL("user.a\0val"), &len);
	struct fuse_setxattr_in *set = (void *)(in + 1);

	set->size = 3;
	ck_assert_int_eq(wire_check(in, len, false), 0);
	set->size = 4;
	ck_assert_int_eq(wire_check(in, len, false), -EINVAL);
	free(in);

	/* the longer form */
	in = request(FUSE_SETXATTR, sizeof(*set), TAIL("user.a\0val"), &len);
	set = (void *)(in + 1);
	set->size = 3;
	ck_assert_int_eq(wire_check(in, len, true), 0);
	set->size = 4;
	ck_assert_int_eq(wire_check(in, len, true), -EINVAL);
	free(in);
	in = request(FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE,
		     TAIL("us\0val"), &len);
	ck_assert_int_eq(wire_check(in, len, true), -EINVAL);
	free(in);
}
END_TEST

START_TEST(forgets_are_as_many_as_announced)
{
	size_t len;
	struct fuse_in_header *in =
		request(FUSE_BATCH_FORGET,
			sizeof(struct fuse_batch_forget_in) +
				2 * sizeof(struct fuse_forget_one),
			NULL, 0, &len);
	struct fuse_batch_forget_in *forget = (void *)(in + 1);

	forget->count = 2;
	ck_assert_int_eq(wire_check(in, len, false), 0);
	forget->count = 3;
	ck_assert_int_eq(wire_check(in, len, false), -EINVAL);
	forget->count = UINT32_MAX;
	ck_assert_int_eq(wire_check(in, len, false), -EINVAL);
	free(in);
}
END_TEST

START_TEST(random_requests_are_never_read_past_their_end)
{
	struct rng rng;

	rng_init(&rng, 1);
	for (u64 i = 0; i < test_rounds(20000); i++) {
		size_t tail = rng_below(&rng, 120);
		size_t len;
		struct fuse_in_header *in =
			request((u32)rng_below(&rng, 60), 0, NULL, 0, &len);

		in = realloc(in, len + tail);
		ck_assert_ptr_nonnull(in);
		rng_fill(&rng, in + 1, tail);
		in->len = (u32)(len + tail);
		(void)wire_check(in, len + tail, false);
		free(in);
	}
}
END_TEST

START_TEST(forgets_and_interrupts_are_not_answered)
{
	struct fuse_in_header in = {.opcode = FUSE_FORGET};

	ck_assert(!wire_wants_reply(&in));
	in.opcode = FUSE_BATCH_FORGET;
	ck_assert(!wire_wants_reply(&in));
	in.opcode = FUSE_INTERRUPT;
	ck_assert(!wire_wants_reply(&in));
	in.opcode = FUSE_GETATTR;
	ck_assert(wire_wants_reply(&in));
	in.opcode = 100000;
	ck_assert(wire_wants_reply(&in));
}
END_TEST

START_TEST(init_flags_have_two_halves_where_the_kernel_says_so)
{
	size_t len;
	struct fuse_in_header *in =
		request(FUSE_INIT, sizeof(struct fuse_init_in), NULL, 0, &len);
	struct fuse_init_in *init = (void *)(in + 1);

	init->flags = FUSE_ASYNC_READ;
	init->flags2 = 5;
	ck_assert_uint_eq(wire_init_flags(in, len), FUSE_ASYNC_READ);
	init->flags |= FUSE_INIT_EXT;
	ck_assert_uint_eq(wire_init_flags(in, len),
			  (u64)5 << 32 | FUSE_INIT_EXT | FUSE_ASYNC_READ);
	ck_assert_uint_eq(wire_init_flags(in, sizeof(*in) + 16),
			  FUSE_INIT_EXT | FUSE_ASYNC_READ);
	free(in);
}
END_TEST

START_TEST(open_flags_are_found_where_an_answer_has_them)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;

	ck_assert_ptr_eq(
		wire_open_flags(FUSE_OPEN, &made.open, sizeof(made.open)),
		&made.open.open_flags);
	ck_assert_ptr_eq(wire_open_flags(FUSE_CREATE, &made, sizeof(made)),
			 &made.open.open_flags);
	ck_assert_ptr_eq(wire_open_flags(FUSE_TMPFILE, &made, sizeof(made)),
			 &made.open.open_flags);
	/* of another length or kind: not what it looks like */
	ck_assert_ptr_null(wire_open_flags(FUSE_OPEN, &made, sizeof(made)));
	ck_assert_ptr_null(
		wire_open_flags(FUSE_CREATE, &made.open, sizeof(made.open)));
	ck_assert_ptr_null(
		wire_open_flags(FUSE_OPENDIR, &made.open, sizeof(made.open)));
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *suite = test_suite_new("wire", &tc);

	tcase_add_loop_test(tc, a_request_is_whole_or_it_is_refused, 0,
			    (int)ARRAY_SIZE(table));
	tcase_add_test(tc, what_libfuse_does_not_know_comes_as_what_it_knows);
	tcase_add_test(tc, no_length_but_the_announced_one_is_right);
	tcase_add_test(tc, a_write_brings_the_data_that_it_announces);
	tcase_add_test(tc, a_value_of_an_attribute_is_as_long_as_announced);
	tcase_add_test(tc, forgets_are_as_many_as_announced);
	tcase_add_test(tc, random_requests_are_never_read_past_their_end);
	tcase_add_test(tc, forgets_and_interrupts_are_not_answered);
	tcase_add_test(tc, init_flags_have_two_halves_where_the_kernel_says_so);
	tcase_add_test(tc, open_flags_are_found_where_an_answer_has_them);
	return suite;
}

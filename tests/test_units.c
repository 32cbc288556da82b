/* SPDX-License-Identifier: MIT */
/* Numbers and strings: src/units.h, src/strbuf.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "strbuf.h"
#include "test.h"
#include "units.h"

static const struct {
	const char *text;
	u64 value;
} sizes[] = {
	{"0", 0},
	{"1", 1},
	{"4096", 4096},
	{"00012", 12},
	{"1K", 1024},
	{"1k", 1024},
	{"64M", 64ull << 20},
	{"3g", 3ull << 30},
	{"2T", 2ull << 40},
	{"0T", 0},
	{"18446744073709551615", UINT64_MAX},
	{"16777215T", 16777215ull << 40},
	{"0%", 0},
	{"50%", 500},
	{"100%", 1000},
	{"max", UINT64_MAX},
};

START_TEST(sizes_take_suffixes_and_percent)
{
	u64 v = 12345;

	ck_assert_int_eq(parse_size(sizes[_i].text, 1000, &v), 0);
	ck_assert_uint_eq(v, sizes[_i].value);
}
END_TEST

static const char *const nonsense[] = {
	"",	     " ",
	"-1",	     "+1",
	"1 ",	     " 1",
	"1KB",	     "1KiB",
	"K",	     "0x10",
	"1.5",	     "1e3",
	"nan",	     "inf",
	"1\n",	     "1P",
	"1%%",	     "%",
	"101%",	     "1M2",
	"1\t",	     "maximum",
	"MAX",	     "m",
	"1,000",     "--1",
	"1-",	     "18446744073709551616",
	"16777216T", "99999999999999999999999999",
	"\xd9\xa1", /* an Arabic one */
};

START_TEST(nonsense_is_refused_and_leaves_the_result)
{
	u64 v = 12345;

	ck_assert_int_eq(parse_size(nonsense[_i], 1000, &v), -EINVAL);
	ck_assert_int_eq(parse_u64(nonsense[_i], &v), -EINVAL);
	ck_assert_uint_eq(v, 12345);
}
END_TEST

START_TEST(a_percentage_of_nothing_is_refused)
{
	u64 v;

	ck_assert_int_eq(parse_size("10%", 0, &v), -EINVAL);
}
END_TEST

START_TEST(a_percentage_of_the_largest_size_does_not_overflow)
{
	u64 v;

	ck_assert_int_eq(parse_size("99%", UINT64_MAX, &v), 0);
	ck_assert_uint_gt(v, UINT64_MAX / 100 * 98);
	ck_assert_int_eq(parse_size("100%", UINT64_MAX, &v), 0);
	ck_assert_uint_eq(v, UINT64_MAX);
}
END_TEST

START_TEST(plain_numbers_take_no_suffix)
{
	u64 v;

	ck_assert_int_eq(parse_u64("1K", &v), -EINVAL);
	ck_assert_int_eq(parse_u64("max", &v), -EINVAL);
	ck_assert_int_eq(parse_u64("60", &v), 0);
	ck_assert_uint_eq(v, 60);
}
END_TEST

START_TEST(sizes_are_written_for_people)
{
	char buf[UNITS_LEN];

	ck_assert_str_eq(format_size(0, buf), "0B");
	ck_assert_str_eq(format_size(1023, buf), "1023B");
	ck_assert_str_eq(format_size(1024, buf), "1.0K");
	ck_assert_str_eq(format_size(1536, buf), "1.5K");
	ck_assert_str_eq(format_size((1 << 20) - 1, buf), "1.0M");
	ck_assert_str_eq(format_size(64ull << 20, buf), "64.0M");
	ck_assert_str_eq(format_size(UINT64_MAX, buf), "16.0E");
}
END_TEST

static const struct {
	const char *path;
	const char *escaped;
} paths[] = {
	{"/a b/c", "/a b/c"},
	{"/new\nline", "/new\\012line"},
	{"/back\\slash", "/back\\134slash"},
	{"/\\012", "/\\134012"},
	{"/esc\033[2J\177", "/esc\\033[2J\\177"},
	{"/gr\xc3\xbc\xc3\x9f", "/gr\xc3\xbc\xc3\x9f"},
	{"/\xf0\x9f\x98\x80", "/\xf0\x9f\x98\x80"},
	{"/caf\xe9", "/caf\\351"},
	{"/\xc3", "/\\303"},	      /* cut short */
	{"/\xc0\xaf", "/\\300\\257"}, /* overlong */
	{"/\xe0\x80\x80", "/\\340\\200\\200"},
	{"/\xed\xa0\x80", "/\\355\\240\\200"}, /* a surrogate */
	{"/\xf4\x90\x80\x80", "/\\364\\220\\200\\200"},
	{"/\xff\xfe", "/\\377\\376"},
	{"", ""},
};

START_TEST(paths_are_escaped_and_come_back)
{
	struct strbuf sb = STRBUF_INIT;
	char *text;
	size_t len;

	strbuf_add_path(&sb, paths[_i].path);
	ck_assert_int_eq(strbuf_finish(&sb, &text, &len), 0);
	ck_assert_str_eq(text, paths[_i].escaped);
	ck_assert_uint_eq(len, strlen(text));

	path_unescape(text);
	ck_assert_str_eq(text, paths[_i].path);
	free(text);
}
END_TEST

START_TEST(strings_grow_past_any_first_guess)
{
	struct strbuf sb = STRBUF_INIT;
	char *text;
	size_t len;

	for (int i = 0; i < 1000; i++)
		strbuf_printf(&sb, "%0300d", i);
	strbuf_add_json(&sb, "\"\\\n");
	ck_assert_int_eq(strbuf_finish(&sb, &text, &len), 0);
	ck_assert_uint_eq(len, 300000 + strlen("\\\"\\\\\\u000a"));
	ck_assert_str_eq(text + 299997, "999\\\"\\\\\\u000a");
	free(text);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("units", &tc);

	tcase_add_loop_test(tc, sizes_take_suffixes_and_percent, 0,
			    ARRAY_SIZE(sizes));
	tcase_add_loop_test(tc, nonsense_is_refused_and_leaves_the_result, 0,
			    ARRAY_SIZE(nonsense));
	tcase_add_test(tc, a_percentage_of_nothing_is_refused);
	tcase_add_test(tc, a_percentage_of_the_largest_size_does_not_overflow);
	tcase_add_test(tc, plain_numbers_take_no_suffix);
	tcase_add_test(tc, sizes_are_written_for_people);
	tcase_add_loop_test(tc, paths_are_escaped_and_come_back, 0,
			    ARRAY_SIZE(paths));
	tcase_add_test(tc, strings_grow_past_any_first_guess);
	return s;
}

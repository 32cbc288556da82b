/* SPDX-License-Identifier: MIT */
/* The control files over a filesystem of numbers: forms, names, knobs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "fake_fs.h"
#include "json_check.h"
#include "test.h"
#include "tracker.h"
#include "units.h"

static struct control *control;

static void setup(void)
{
	fake_reset();
	ck_assert_int_eq(control_new(fake_fs(), NULL, 1000, 100, &control), 0);
}

static void teardown(void)
{
	control_free(control);
	ck_assert_int_eq(fake.charged, 0);
}

/* ---- help ---- */

static char *text_of(enum control_text what)
{
	char *text;
	size_t len;

	ck_assert_int_eq(control_text(control, what, &text, &len), 0);
	ck_assert_uint_eq(strlen(text), len);
	return text;
}

static u64 walk(const char *path)
{
	char copy[128];
	char *save;
	u64 ino = CONTROL_INO;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name;
	     name = strtok_r(NULL, "/", &save)) {
		double timeout;
		struct stat st;

		ck_assert_int_eq(
			control_lookup(control, ino, name, &st, &timeout), 0);
		ino = st.st_ino;
	}
	return ino;
}

static struct control_file *open_at(const char *path, int flags)
{
	struct control_file *f;

	ck_assert_int_eq(control_open(control, walk(path), flags, &f), 0);
	return f;
}

static char *read_at(const char *path)
{
	static char buf[65536];
	struct control_file *f = open_at(path, O_RDONLY);
	ssize_t n = control_read(f, 0, buf, sizeof(buf) - 1);

	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	control_release(f);
	return buf;
}

/* An answer that may come from another thread. */
struct answer {
	struct fs_done done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int count;
	int err;
};

static void answered(struct fs_done *done, int err)
{
	struct answer *a = container_of(done, struct answer, done);

	(void)pthread_mutex_lock(&a->lock);
	a->count++;
	a->err = err;
	(void)pthread_cond_broadcast(&a->cond);
	(void)pthread_mutex_unlock(&a->lock);
}

static void answer_init(struct answer *a)
{
	*a = (struct answer){.done.fn = answered};
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->cond, NULL);
}

static int answer_wait(struct answer *a)
{
	(void)pthread_mutex_lock(&a->lock);
	while (!a->count)
		(void)pthread_cond_wait(&a->cond, &a->lock);
	(void)pthread_mutex_unlock(&a->lock);
	ck_assert_int_eq(a->count, 1);
	return a->err;
}

static int write_bytes(const char *path, u64 pos, const char *buf, size_t len)
{
	struct control_file *f = open_at(path, O_WRONLY | O_TRUNC);
	struct answer a;

	answer_init(&a);
	control_write(f, pos, buf, len, &a.done);
	control_release(f);
	return answer_wait(&a);
}

static int write_at(const char *path, const char *text)
{
	return write_bytes(path, 0, text, strlen(text));
}

static void assert_line(const char *text, const char *name, u64 value)
{
	char line[128];
	const char *at;

	(void)snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, value);
	at = strstr(text, line);
	ck_assert_msg(at && (at == text || at[-1] == '\n'),
		      "no line '%s' in:\n%s", line, text);
}

/* ---- figures ---- */

/* Call @fn with each figure of the lists, its value and whether it counts. */
static void each_figure(const char *text,
			void (*fn)(const char *text, const char *name,
				   u64 value, bool counter))
{
#define X(name, ...) fn(text, #name, fake.gauges.name, false);
	CACHE_GAUGES(X)
#undef X
#define X(name, ...) fn(text, #name, fake.count.name, true);
	CACHE_COUNTERS(X)
#undef X
#define X(name, ...) fn(text, #name, fake.stat.name, true);
	FS_COUNTERS(X)
#undef X
#define X(name, ...) fn(text, #name, fake.stat.name, false);
	FS_GAUGES(X)
#undef X
#define X(name, ...) fn(text, #name, fake.volume.count.name, true);
	VOLUME_COUNTERS(X)
#undef X
	fn(text, "nr_blocks", fake.blocks.total, false);
	fn(text, "nr_blocks_used", fake.blocks.used, false);
	fn(text, "nr_blocks_reserved", fake.blocks.reserved, false);
	fn(text, "nr_blocks_deferred", fake.blocks.deferred, false);
	fn(text, "nr_blocks_kept", fake.blocks.kept, false);
	fn(text, "nr_blocks_withheld", fake.blocks.withheld, false);
	fn(text, "nr_holds", fake.blocks.holds, false);
	fn(text, "holds_lost", fake.blocks.holds_lost, true);
	fn(text, "nr_inodes", fake.volume.nr_inodes, false);
	fn(text, "db_memory_bytes", fake.db_memory, false);
	fn(text, "db_written_bytes", fake.db_written, true);
}

static void check_vmstat(const char *text, const char *name, u64 value,
			 bool counter)
{
	assert_line(text, name, value);
}

START_TEST(vmstat_has_every_figure_once)
{
	char *text;
	int lines = 0;
	int figures = 0;

	fake_fill(7000000);
	text = text_of(CONTROL_VMSTAT);
	each_figure(text, check_vmstat);
	for (const char *s = text; *s; s++)
		lines += *s == '\n';
#define X(...) figures++;
	CACHE_GAUGES(X)
	CACHE_COUNTERS(X)
	FS_COUNTERS(X)
	FS_GAUGES(X)
	VOLUME_COUNTERS(X)
	TRACKER_COUNTERS(X)
	TRACKER_GAUGES(X)
	UNMAP_COUNTERS(X)
	UNMAP_GAUGES(X)
	SWAP_FILE_COUNTERS(X)
	SWAP_FILE_GAUGES(X)
#undef X
	/* and those of the last eight lines above, uptime_ms and two sizes */
	ck_assert_int_eq(lines, figures + 14);
	free(text);
}
END_TEST

static void check_json(const char *text, const char *name, u64 value,
		       bool counter)
{
	char member[128];

	(void)snprintf(member, sizeof(member), "\"%s\": %" PRIu64, name, value);
	ck_assert_msg(strstr(text, member) != NULL, "no %s", member);
}

START_TEST(json_has_every_figure_and_is_valid)
{
	char *text;

	fake_fill(UINT64_MAX - 1000);
	fake_add_file(17, 5, "/a\"b\\c\n\xff");
	fake_add_file(18, 5, NULL);
	text = text_of(CONTROL_JSON);
	ck_assert_msg(json_valid(text, strlen(text)), "%s", text);
	each_figure(text, check_json);
	ck_assert_ptr_nonnull(strstr(text, "\"swap_size\": null"));
	ck_assert_ptr_nonnull(strstr(text, "\"commit_secs\": 5"));
	ck_assert_ptr_nonnull(
		strstr(text, "\"path\": \"/a\\\"b\\\\134c\\\\012\\\\377\""));
	ck_assert_ptr_nonnull(strstr(text, "\"path\": null"));
	ck_assert_ptr_nonnull(
		strstr(text, "\"uuid\": "
			     "\"00112233-4455-6677-8899-aabbccddeeff\""));
	free(text);
}
END_TEST

START_TEST(json_without_files_is_valid)
{
	char *text = text_of(CONTROL_JSON);

	ck_assert_msg(json_valid(text, strlen(text)), "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "\"files\": []"));
	free(text);
}
END_TEST

START_TEST(the_json_reader_of_this_test_can_say_no)
{
	static const char good[] = " {\"a\": [1, -2.5e3, \"\\u00e4\", null]} ";
	static const char *const bad[] = {
		"",    "{",	 "{,}",	     "[1,]",	    "{\"a\":}",
		"01",  "\"\n\"", "\"\\x\"",  "[1] 2",	    "{\"a\" 1}",
		"tru", "-",	 "\"\xff\"", "{1: 2}",	    "\"a",
		"1.",  "nul",	 "+1",	     "\"\\u12g4\"", "[1 2]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!json_valid(bad[i], strlen(bad[i])), "%s",
			      bad[i]);
	ck_assert(json_valid(good, strlen(good)));
}
END_TEST

#define UUID "{uuid=\"00112233-4455-6677-8899-aabbccddeeff\"}"

static void check_metric(const char *text, const char *name, u64 value,
			 bool counter)
{
	const char *tail = counter ? "_total" : "";
	char lines[512];

	(void)snprintf(
		lines, sizeof(lines),
		"\n# TYPE foliofs_%s%s %s\nfoliofs_%s%s" UUID " %" PRIu64 "\n",
		name, tail, counter ? "counter" : "gauge", name, tail, value);
	ck_assert_msg(strstr(text, lines) != NULL, "no %s", lines);
}

START_TEST(metrics_have_every_figure_with_its_type)
{
	char *text;

	fake_fill(7000000);
	text = text_of(CONTROL_METRICS);
	each_figure(text, check_metric);
	check_metric(text, "vm_swappiness", 60, false);
	ck_assert_ptr_nonnull(
		strstr(text, "\nfoliofs_vm_swap_size" UUID " +Inf\n"));
	free(text);
}
END_TEST

#define NAME "[a-zA-Z_:][a-zA-Z0-9_:]*"
#define LABEL "[a-z]+=\"[^\"\\\n]*\""

/* Three lines for each metric, HELP, TYPE and a sample, about one name. */
START_TEST(metrics_are_in_the_exposition_format)
{
	static const char *const forms[] = {
		"^# HELP (" NAME ") [^\\]+$",
		"^# TYPE (" NAME ") (counter|gauge)$",
		"^(" NAME ")\\{" LABEL "(," LABEL ")*\\} ([0-9]+|\\+Inf)$",
	};
	char *text = text_of(CONTROL_METRICS);
	char *save;
	char *line = strtok_r(text, "\n", &save);
	char name[128] = "";
	regex_t re[3];

	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(regcomp(&re[i], forms[i], REG_EXTENDED), 0);
	for (int n = 0; line; line = strtok_r(NULL, "\n", &save), n++) {
		regmatch_t m[2];
		size_t len;

		ck_assert_msg(regexec(&re[n % 3], line, 2, m, 0) == 0, "%s",
			      line);
		len = (size_t)(m[1].rm_eo - m[1].rm_so);
		if (n % 3 == 0)
			(void)snprintf(name, sizeof(name), "%.*s", (int)len,
				       line + m[1].rm_so);
		ck_assert_uint_eq(len, strlen(name));
		ck_assert(strncmp(name, line + m[1].rm_so, len) == 0);
	}
	for (size_t i = 0; i < 3; i++)
		regfree(&re[i]);
	free(text);
}
END_TEST

static u64 meminfo(const char *text, const char *name)
{
	char start[64];
	const char *at;
	char *end;
	u64 kb;

	(void)snprintf(start, sizeof(start), "%s:", name);
	at = strstr(text, start);
	ck_assert_msg(at && (at == text || at[-1] == '\n'), "no %s", name);
	kb = strtoull(at + strlen(start), &end, 10);
	ck_assert(strncmp(end, " kB\n", 4) == 0);
	return kb;
}

START_TEST(meminfo_is_the_gauges_in_kilobytes)
{
	struct cache_gauges *g = &fake.gauges;
	char *text;

	fake_fill(1000);
	fake.knobs[KNOB_cache_size] = ram_bytes() / 2;
	fake.knobs[KNOB_swap_size] = 40960000;
	fake.statvfs.f_bfree = 30;
	fake.statvfs.f_frsize = PAGE_SIZE;
	text = text_of(CONTROL_MEMINFO);
	ck_assert_uint_eq(meminfo(text, "CacheTotal"), ram_bytes() / 2 / 1024);
	ck_assert_uint_eq(meminfo(text, "CacheFree"), g->nr_free_pages * 4);
	ck_assert_uint_eq(meminfo(text, "Cached"),
			  (g->nr_file_pages + g->nr_anon_pages - g->nr_saved) *
				  4);
	ck_assert_uint_eq(meminfo(text, "SwapCached"), g->nr_saved * 4);
	ck_assert_uint_eq(meminfo(text, "Active(anon)"), g->nr_active_anon * 4);
	ck_assert_uint_eq(meminfo(text, "Inactive(anon)"),
			  g->nr_inactive_anon * 4);
	ck_assert_uint_eq(meminfo(text, "Active(file)"), g->nr_active_file * 4);
	ck_assert_uint_eq(meminfo(text, "Inactive(file)"),
			  g->nr_inactive_file * 4);
	ck_assert_uint_eq(meminfo(text, "Unevictable"), g->nr_unevictable * 4);
	ck_assert_uint_eq(meminfo(text, "Dirty"), g->nr_dirty * 4);
	ck_assert_uint_eq(meminfo(text, "Writeback"), g->nr_writeback * 4);
	ck_assert_uint_eq(meminfo(text, "Uncommitted"), g->nr_uncommitted * 4);
	ck_assert_uint_eq(meminfo(text, "SwapTotal"), (g->nr_slots + 30) * 4);
	ck_assert_uint_eq(meminfo(text, "SwapUsed"), g->nr_slots * 4);
	ck_assert_uint_eq(meminfo(text, "PageTables"),
			  g->page_table_bytes / 1024);
	ck_assert_uint_eq(meminfo(text, "Metadata"), g->metadata_bytes / 1024);
	free(text);

	fake.knobs[KNOB_swap_size] = 8192;
	text = text_of(CONTROL_MEMINFO);
	ck_assert_uint_eq(meminfo(text, "SwapTotal"), 8);
	free(text);
}
END_TEST

START_TEST(swaps_names_the_data_file_in_one_word)
{
	static char path[] = "/my vol/a\tb";
	unsigned long long size;
	unsigned long long used;
	char name[128];
	char type[32];
	char *text;
	int prio;

	fake.volume.path = path;
	fake.gauges.nr_slots = 7;
	fake.statvfs = (struct statvfs){.f_bfree = 3, .f_frsize = PAGE_SIZE};
	text = text_of(CONTROL_SWAPS);
	ck_assert_int_eq(sscanf(strchr(text, '\n'), "%127s %31s %llu %llu %d",
				name, type, &size, &used, &prio),
			 5);
	ck_assert_str_eq(name, "/my\\040vol/a\\011b/data");
	ck_assert_str_eq(type, "volume");
	ck_assert_uint_eq(size, 40);
	ck_assert_uint_eq(used, 28);
	free(text);
}
END_TEST

/* Slots that are in the volume all the same have a row of their own. */
START_TEST(swaps_has_a_row_for_a_swap_file)
{
	char *text;

	fake.swap_path = "/fast disk/swap";
	fake.gauges.nr_slots = 7;
	fake.swap_stat.swap_file_bytes = 100 * PAGE_SIZE;
	fake.swap_stat.swap_file_used_bytes = 7 * PAGE_SIZE;
	text = text_of(CONTROL_SWAPS);
	ck_assert_str_eq(strchr(text, '\n'),
			 "\n/fast\\040disk/swap\tfile\t\t400\t\t28\t\t-2\n");
	free(text);

	fake.gauges.nr_slots = 9;
	text = text_of(CONTROL_SWAPS);
	ck_assert_ptr_nonnull(strstr(text, "/data\tvolume\t\t8\t\t8\t\t-3\n"));
	free(text);
	text = text_of(CONTROL_MEMINFO);
	ck_assert_ptr_nonnull(strstr(text, "SwapTotal:           408 kB\n"));
	ck_assert_ptr_nonnull(strstr(text, "SwapUsed:             36 kB\n"));
	free(text);
}
END_TEST

START_TEST(volume_says_which_it_is)
{
	char *text;

	fake.super.nr_blocks = 1000;
	fake.stat.readonly = 1;
	text = text_of(CONTROL_VOLUME);
	assert_line(text, "format", 1);
	assert_line(text, "size_bytes", 4096000);
	assert_line(text, "readonly", 1);
	ck_assert_ptr_nonnull(strstr(text, "\npath /vol/work.folio\n"));
	ck_assert_ptr_nonnull(
		strstr(text, "uuid 00112233-4455-6677-8899-aabbccddeeff\n"));
	free(text);
}
END_TEST

static void fill_file(struct fs_file_info *f)
{
	f->opens = 13;
	f->st = (struct address_space_stat){
		.size = 1,
		.nr_cache = 2,
		.nr_dirty = 3,
		.nr_writeback = 4,
		.nr_evicted = 5,
		.nr_recently_evicted = 6,
		.nr_saved = 7,
		.nr_swapped = 8,
		.nr_uncommitted = 9,
		.minflt = 10,
		.majflt = 11,
		.nr_mapped = 14,
		.nr_fills = 15,
		.nr_cut_vmas = 16,
		.oldest_uncommitted_ms = 12,
	};
}

#define COLUMNS                                                              \
	"ino size nr_cache nr_dirty nr_writeback nr_evicted "                \
	"nr_recently_evicted saved swapped uncommitted mapped opens minflt " \
	"majflt fills cut age_ms path"

/* Runs of blanks become one, those at the start of a line none. */
static void squeeze(char *s)
{
	char *to = s;

	for (char *from = s; *from; from++)
		if (*from != ' ' || (to > s && to[-1] != ' ' && to[-1] != '\n'))
			*to++ = *from;
	*to = '\0';
}

START_TEST(files_is_a_table_whatever_the_names)
{
	char *text;

	fake_add_file(16, 0, "/a\nb\\");
	fill_file(&fake.files[0]);
	fake_add_file(99, 0, NULL);
	text = text_of(CONTROL_FILES);
	squeeze(text);
	ck_assert_str_eq(text, COLUMNS
			 "\n16 1 2 3 4 5 6 7 8 9 14 13 10 11 15 16 12 "
			 "/a\\012b\\134\n"
			 "99 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 (deleted)\n");
	free(text);
}
END_TEST

START_TEST(the_stat_of_an_inode_has_the_columns_of_files)
{
	char *save;
	int i = 0;
	char columns[] = COLUMNS;
	static const u64 values[] = {16, 1,  2,	 3,  4,	 5,  6,	 7, 8,
				     9,	 14, 13, 10, 11, 15, 16, 12};
	char *text;

	fake_add_file(16, 0, "/a");
	fill_file(&fake.files[0]);
	text = read_at("inode/16/stat");
	for (char *s = strtok_r(columns, " ", &save); strcmp(s, "path") != 0;
	     s = strtok_r(NULL, " ", &save))
		assert_line(text, s, values[i++]);
	ck_assert_ptr_nonnull(strstr(text, "\npath /a\n"));
}
END_TEST

/* To the owner of the mount, 1000, and to root; others may have been handed a
 * file of a folder that they must not look into. */
START_TEST(the_stat_of_an_inode_tells_its_path_not_to_everybody)
{
	static const struct {
		u32 uid;
		bool told;
	} who[] = {{0, true}, {1000, true}, {1001, false}};

	fake_add_file(16, 0, "/a");
	for (size_t i = 0; i < ARRAY_SIZE(who); i++) {
		char *text;
		size_t len;

		ck_assert_int_eq(
			control_stat_of(control, 16, who[i].uid, &text, &len),
			0);
		ck_assert_uint_eq(strlen(text), len);
		ck_assert_ptr_nonnull(strstr(text, "\nnr_cache "));
		ck_assert_int_eq(strstr(text, "path") != NULL, who[i].told);
		free(text);
	}
}
END_TEST

/* ---- mappings ---- */

static void add_vma(u32 pid, const char *comm, u64 ino, u64 pgoff, u64 nr)
{
	struct vma_info *v = &fake.vmas[fake.nr_vmas++];

	*v = (struct vma_info){
		.key = {.pid = pid, .start_time = 5},
		.ino = ino,
		.start = 0x7000000 + fake.nr_vmas * 0x100000,
		.pgoff = pgoff,
		.flags = VM_READ | VM_SHARED,
	};
	v->end = v->start + nr * PAGE_SIZE;
	(void)snprintf(v->comm, sizeof(v->comm), "%s", comm);
}

START_TEST(maps_has_a_row_for_each_mapping_whatever_the_names)
{
	char *text;

	fake_add_file(16, 0, "/a b\n");
	add_vma(7, "a b\n\\", 16, 3, 2);
	fake.vmas[0].file_known = true;
	fake.vmas[0].file_id = 12;
	fake.vmas[0].minflt = 4;
	fake.vmas[0].majflt = 5;
	add_vma(99999999, "", 17, (u64)1 << 40, 1);
	fake.vmas[1].flags = VM_WRITE | VM_EXEC | VM_LOCKED | VM_RAND_READ;
	fake.vmas[1].nr_private = 6;
	text = text_of(CONTROL_MAPS);
	squeeze(text);
	ck_assert_str_eq(
		text,
		"pid comm address perms offset ino fh hints private minflt "
		"majflt path\n"
		"7 a\\040b\\012\\134 000007100000-000007102000 r--s 00003000 "
		"16 12 - 0 4 5 /a b\\012\n"
		"99999999 ? 000007200000-000007201000 -wxp 10000000000000 "
		"17 - lo,rr 6 0 0 (deleted)\n");
	free(text);

	text = read_at("inode/16/maps");
	ck_assert_ptr_nonnull(strstr(text, "\n7 "));
	ck_assert_ptr_null(strstr(text, "\n99999999 "));
}
END_TEST

START_TEST(processes_have_their_faults)
{
	char *text;

	fake.nr_mms = 1;
	fake.mms[0] = (struct mm_info){{7, 1234}, "x y", 3, 4, 5};
	text = text_of(CONTROL_PROCESSES);
	squeeze(text);
	ck_assert_str_eq(text, "pid comm start_time maps minflt majflt\n"
			       "7 x\\040y 1234 3 4 5\n");
	free(text);
}
END_TEST

START_TEST(rmap_has_a_row_for_each_range_with_the_same_mappings)
{
	char *text;

	fake_add_file(16, 0, "/a");
	(void)snprintf(fake.resident, sizeof(fake.resident), "%s",
		       "cccccccc..cccccc");
	add_vma(3, "a", 16, 2, 10); /* 2-11 */
	add_vma(2, "b", 16, 4, 2);  /* 4-5 */
	add_vma(3, "a", 16, 4, 4);  /* 4-7, a process once */
	add_vma(9, "c", 16, 14, 1000);
	add_vma(9, "c", 17, 0, 1000);
	text = read_at("inode/16/rmap");
	squeeze(text);
	ck_assert_str_eq(text, "first last pages processes\n"
			       "2 3 2 3:a\n"
			       "4 5 2 3:a 2:b\n"
			       "6 7 2 3:a\n"
			       "10 11 2 3:a\n"
			       "14 15 2 9:c\n");
}
END_TEST

START_TEST(rmap_of_random_mappings_says_for_each_page_who_maps_it)
{
	struct rng rng;

	fake_add_file(16, 0, "/a");
	rng_init(&rng, 1);
	for (u64 round = 0; round < test_rounds(300); round++) {
		bool maps[64][4] = {{false}};
		char *text, *save, *line;

		memset(fake.resident, 0, sizeof(fake.resident));
		for (int i = 0; i < 64; i++)
			fake.resident[i] = rng_one_in(&rng, 3) ? '.' : 'c';
		fake.nr_vmas = 0;
		for (u64 i = rng_below(&rng, 12); i; i--) {
			u64 first = rng_below(&rng, 60);
			u64 nr = rng_range(&rng, 1, 64 - first);
			u32 pid = (u32)rng_below(&rng, 4);

			add_vma(pid, "x", 16, first, nr);
			for (u64 p = first; p < first + nr; p++)
				maps[p][pid] |= fake.resident[p] == 'c';
		}
		text = read_at("inode/16/rmap");
		line = strtok_r(text, "\n", &save);
		while ((line = strtok_r(NULL, "\n", &save)) != NULL) {
			char *at = line;
			u64 first = strtoull(at, &at, 10);
			u64 last = strtoull(at, &at, 10);

			expect_eq(strtoull(at, &at, 10), last - first + 1);
			while ((at = strchr(at, ' ')) != NULL) {
				u64 pid = strtoull(at, &at, 10);

				expect(*at == ':' && pid < 4);
				for (u64 p = first; p <= last; p++) {
					expect(maps[p][pid]);
					maps[p][pid] = false;
				}
			}
		}
		for (int p = 0; p < 64; p++)
			for (int pid = 0; pid < 4; pid++)
				expect(!maps[p][pid]);
	}
}
END_TEST

START_TEST(files_about_mappings_are_known_as_that)
{
	fake_add_file(77, 0, "/f");
	ck_assert(control_shows_mappings(walk("maps")));
	ck_assert(control_shows_mappings(walk("processes")));
	ck_assert(control_shows_mappings(walk("inode/77/maps")));
	ck_assert(control_shows_mappings(walk("inode/77/rmap")));
	ck_assert(!control_shows_mappings(walk("inode/77/pages")));
	ck_assert(!control_shows_mappings(walk("vmstat")));
	ck_assert(!control_shows_mappings(77));
}
END_TEST

/* ---- the tree ---- */

START_TEST(node_ids_never_change)
{
	fake_add_file(77, 0, "/f");
	ck_assert_uint_eq(walk(""), 0x8000000000000000);
	ck_assert_uint_eq(walk("vmstat"), 0x813a29ba6058e1f2);
	ck_assert_uint_eq(walk("vm"), 0x8200000000000000);
	ck_assert_uint_eq(walk("vm/cache_size"), 0x832cd5d87411ce2d);
	ck_assert_uint_eq(walk("inode"), 0x8400000000000000);
	ck_assert_uint_eq(walk("inode/77"), 0x850000000000004d);
	ck_assert_uint_eq(walk("inode/77/stat"), 0x860000000000004d);
	ck_assert_uint_eq(walk("inode/77/pages"), 0x870000000000004d);
	ck_assert_uint_eq(walk("inode/77/drop_caches"), 0x880000000000004d);
	ck_assert_uint_eq(walk("inode/77/maps"), 0x890000000000004d);
	ck_assert_uint_eq(walk("inode/77/rmap"), 0x8a0000000000004d);
	ck_assert_uint_eq(walk("hold"), 0x8b00000000000000);
}
END_TEST

static void hold_says(struct control_file *f, const char *text)
{
	char buf[8] = "";

	ck_assert_int_eq(control_read(f, 0, buf, sizeof(buf)), 2);
	ck_assert_str_eq(buf, text);
	ck_assert_int_eq(control_read(f, 2, buf, sizeof(buf)), 0);
}

START_TEST(hold_lasts_while_it_is_open_and_says_when_it_was_lost)
{
	struct control_file *first, *second;
	u64 ino = walk("hold");

	ck_assert_int_eq(control_open(control, ino, O_RDWR, &first), -EACCES);
	ck_assert_int_eq(control_open(control, ino, O_RDONLY, &first), 0);
	ck_assert_int_eq(control_open(control, ino, O_RDONLY, &second), 0);
	ck_assert_uint_eq(fake.blocks.holds, 2);
	control_release(second);
	ck_assert_uint_eq(fake.blocks.holds, 1);
	hold_says(first, "1\n");

	fake.hold_era++;
	fake.blocks.holds = 0;
	hold_says(first, "0\n");
	control_release(first);
	ck_assert_uint_eq(fake.blocks.holds, 0);
}
END_TEST

#define ENTRIES_MAX 1024

struct listing {
	int room; /* entries this call may take */
	int nr;
	u64 last_off;
	u64 inos[ENTRIES_MAX];
	char names[ENTRIES_MAX][32];
};

static bool fill(void *arg, const char *name, const struct stat *st,
		 u64 next_off)
{
	struct listing *l = arg;

	if (!l->room)
		return false;
	l->room--;
	ck_assert_int_lt(l->nr, ENTRIES_MAX);
	ck_assert_uint_gt(next_off, l->last_off);
	(void)snprintf(l->names[l->nr], sizeof(l->names[0]), "%s", name);
	l->inos[l->nr++] = st->st_ino;
	l->last_off = next_off;
	return true;
}

/* All entries, @step at a time. */
static struct listing *list_dir(u64 dir, int step)
{
	static struct listing l;
	int before;

	memset(&l, 0, sizeof(l));
	do {
		before = l.nr;
		l.room = step;
		ck_assert_int_eq(
			control_readdir(control, dir, l.last_off, fill, &l), 0);
	} while (l.nr > before);
	return &l;
}

/* Every name can be looked up to the listed id, and no id comes twice. */
static int check_dir(u64 dir, u64 *seen, int nr_seen)
{
	struct listing l = *list_dir(dir, 3);

	ck_assert_str_eq(l.names[0], ".");
	ck_assert_str_eq(l.names[1], "..");
	ck_assert_uint_eq(l.inos[0], dir);
	for (int i = 2; i < l.nr; i++) {
		double timeout;
		struct stat st;
		struct stat again;

		ck_assert_int_eq(
			control_lookup(control, dir, l.names[i], &st, &timeout),
			0);
		ck_assert_uint_eq(st.st_ino, l.inos[i]);
		ck_assert_int_eq(control_getattr(control, st.st_ino, &again),
				 0);
		ck_assert(memcmp(&st, &again, sizeof(st)) == 0);
		for (int j = 0; j < nr_seen; j++)
			ck_assert_uint_ne(seen[j], st.st_ino);
		seen[nr_seen++] = st.st_ino;
		if (S_ISDIR(st.st_mode))
			nr_seen = check_dir(st.st_ino, seen, nr_seen);
	}
	return nr_seen;
}

START_TEST(every_entry_is_found_under_its_id_and_ids_are_unique)
{
	u64 seen[ENTRIES_MAX];
	int nr;

	fake_add_file(1, 0, "/");
	fake_add_file(2, 0, "/f");
	fake_add_file(((u64)1 << 56) - 1, 0, "/g");
	nr = check_dir(CONTROL_INO, seen, 0);
	/* texts, inode, vm, hold, knobs, commit_secs, triggers, inodes */
	ck_assert_int_eq(nr, CONTROL_TEXT_NR + 3 + KNOB_NR + 6 + 3 * 6);
}
END_TEST

START_TEST(a_long_listing_comes_whole_in_pieces_of_any_size)
{
	for (u64 i = 0; i < 500; i++)
		fake_add_file(i * 3 + 1, 0, "/f");
	for (int step = 1; step < 600; step += step / 3 + 1) {
		struct listing *l = list_dir(walk("inode"), step);

		ck_assert_int_eq(l->nr, 502);
		for (u64 i = 0; i < 500; i++)
			ck_assert_uint_eq(strtoull(l->names[i + 2], NULL, 10),
					  i * 3 + 1);
	}
}
END_TEST

START_TEST(reading_on_is_not_upset_by_files_that_come_and_go)
{
	struct listing l = {.room = 4};
	u64 dir = walk("inode");

	fake_add_file(10, 0, "/a");
	fake_add_file(20, 0, "/b");
	fake_add_file(30, 0, "/c");
	ck_assert_int_eq(control_readdir(control, dir, 0, fill, &l), 0);
	ck_assert_str_eq(l.names[3], "20");

	fake.files[0].ino = 5;
	fake.files[1].ino = 25;
	(void)list_dir(dir, 100); /* somebody else begins */
	l.room = 10;
	ck_assert_int_eq(control_readdir(control, dir, l.last_off, fill, &l),
			 0);
	ck_assert_int_eq(l.nr, 6);
	ck_assert_str_eq(l.names[4], "25");
	ck_assert_str_eq(l.names[5], "30");
}
END_TEST

START_TEST(only_the_owner_may_look)
{
	struct stat st;

	fake_add_file(2, 0, "/f");
	ck_assert_int_eq(control_getattr(control, CONTROL_INO, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 0500);
	ck_assert_uint_eq(st.st_nlink, 4); /* vm and inode are in it */
	ck_assert_uint_eq(st.st_uid, 1000);
	ck_assert_uint_eq(st.st_gid, 100);
	ck_assert_int_eq(control_getattr(control, walk("vmstat"), &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0400);
	ck_assert_int_eq(st.st_size, 0);
	ck_assert_int_eq(control_getattr(control, walk("vm/sync"), &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	ck_assert_int_eq(control_getattr(control, walk("inode/2"), &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 0500);
}
END_TEST

static const struct {
	const char *dir;
	const char *name;
} no_names[] = {
	{"", "nothing"},
	{"", ""},
	{"", "VMSTAT"},
	{"", ".foliofs"},
	{"vm", "vmstat"},
	{"vm", "compacts"},
	{"inode", "3"},
	{"inode", "02"},
	{"inode", "+2"},
	{"inode", "2 "},
	{"inode", "0x2"},
	{"inode", ""},
	{"inode", "-2"},
	{"inode", "0"},
	{"inode", "18446744073709551618"},
	{"inode", "two"},
	{"inode/2", "map"},
	{"inode", "72057594037927938"}, /* 2 + 2^56 */
};

START_TEST(unknown_names_are_not_there)
{
	double timeout;
	struct stat st;

	fake_add_file(2, 0, "/f");
	ck_assert_int_eq(control_lookup(control, walk(no_names[_i].dir),
					no_names[_i].name, &st, &timeout),
			 -ENOENT);
}
END_TEST

START_TEST(unknown_ids_are_not_there)
{
	static const u64 ids[] = {
		1,
		CONTROL_INO + 1,
		UINT64_MAX,
		0x8100000000000000,
		0x8200000000000001,
		0x8300000000000000,
		0x8500000000000003,
		0x8b00000000000002,
		0xff00000000000002,
	};

	fake_add_file(2, 0, "/f");
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct control_file *f;
		struct stat st;

		ck_assert_int_eq(control_getattr(control, ids[i], &st),
				 -ENOENT);
		ck_assert_int_eq(control_open(control, ids[i], O_RDONLY, &f),
				 -ENOENT);
	}
}
END_TEST

START_TEST(an_inode_leaves_when_the_cache_forgets_it)
{
	struct control_file *f;
	double timeout;
	struct stat st;
	u64 ino;

	fake_add_file(2, 0, "/f");
	ino = walk("inode/2/stat");
	ck_assert_int_eq(
		control_lookup(control, walk("inode"), "2", &st, &timeout), 0);
	ck_assert(timeout == 0);
	ck_assert_int_eq(
		control_lookup(control, CONTROL_INO, "vm", &st, &timeout), 0);
	ck_assert(timeout > 0);

	fake.nr_files = 0;
	ck_assert_int_eq(control_getattr(control, ino, &st), -ENOENT);
	ck_assert_int_eq(control_open(control, ino, O_RDONLY, &f), -ENOENT);
}
END_TEST

START_TEST(the_folder_is_found_in_the_root_and_nothing_else)
{
	double timeout;
	struct stat st;

	ck_assert_int_eq(control_lookup(control, FS_ROOT_INO, CONTROL_NAME, &st,
					&timeout),
			 0);
	ck_assert_uint_eq(st.st_ino, CONTROL_INO);
	ck_assert_int_eq(
		control_lookup(control, FS_ROOT_INO, "vmstat", &st, &timeout),
		-ENOENT);
	ck_assert_int_eq(
		control_lookup(control, walk("vmstat"), "x", &st, &timeout),
		-ENOTDIR);
}
END_TEST

/* ---- files ---- */

START_TEST(open_looks_at_the_mode)
{
	struct control_file *f;
	char c;

	ck_assert_int_eq(control_open(control, CONTROL_INO, O_RDONLY, &f),
			 -EISDIR);
	ck_assert_int_eq(control_open(control, walk("vm"), O_RDONLY, &f),
			 -EISDIR);
	ck_assert_int_eq(control_open(control, walk("vmstat"), O_WRONLY, &f),
			 -EACCES);
	ck_assert_int_eq(control_open(control, walk("vmstat"), O_RDWR, &f),
			 -EACCES);
	f = open_at("vm/swappiness", O_WRONLY);
	ck_assert_int_eq(control_read(f, 0, &c, 1), -EBADF);
	control_release(f);
}
END_TEST

START_TEST(a_file_is_a_snapshot_and_is_charged)
{
	struct control_file *f;
	char buf[4];

	f = open_at("vm/swappiness", O_RDWR);
	fake.knobs[KNOB_swappiness] = 99;
	ck_assert_int_eq(fake.charged, 3);
	ck_assert_int_eq(control_read(f, 0, buf, 4), 3);
	ck_assert(memcmp(buf, "60\n", 3) == 0);
	ck_assert_int_eq(control_read(f, 1, buf, 1), 1);
	ck_assert_int_eq(buf[0], '0');
	ck_assert_int_eq(control_read(f, 3, buf, 4), 0);
	ck_assert_int_eq(control_read(f, UINT64_MAX, buf, 4), 0);
	control_release(f);
	ck_assert_int_eq(fake.charged, 0);
	ck_assert_str_eq(read_at("vm/swappiness"), "99\n");
}
END_TEST

START_TEST(pages_is_one_character_for_each)
{
	fake_add_file(2, 0, "/empty");
	fake_add_file(3, 1, "/one");
	fake_add_file(4, 28 * PAGE_SIZE - 1, "/many");
	ck_assert_str_eq(read_at("inode/2/pages"), "\n");
	ck_assert_str_eq(read_at("inode/3/pages"), "a\n");
	ck_assert_str_eq(read_at("inode/4/pages"),
			 "abcdefghijklmnopqrstuvwxyzab\n");
}
END_TEST

START_TEST(pages_of_a_file_without_measure_can_be_read_anywhere)
{
	struct control_file *f;
	char buf[16];

	fake_add_file(2, INT64_MAX, "/huge");
	f = open_at("inode/2/pages", O_RDONLY);
	ck_assert_int_eq(control_read(f, 26000000000, buf, 3), 3);
	ck_assert(memcmp(buf, "abc", 3) == 0);
	ck_assert_int_eq(control_read(f, PGOFF_MAX, buf, 16), 2);
	ck_assert_int_eq(buf[1], '\n');
	ck_assert_int_eq(control_read(f, PGOFF_MAX + 2, buf, 16), 0);
	ck_assert_int_eq(fake.charged, 0);
	control_release(f);
}
END_TEST

/* ---- vm/ ---- */

static const char *const knobs[] = {
#define X(name, ...) "vm/" #name,
	CACHE_KNOBS(X)
#undef X
		"vm/commit_secs",
	"vm/compact",
	"vm/drop_caches",
	"vm/sync",
	"inode/2/drop_caches",
};

static const char *const nonsense[] = {
	"",
	"\n",
	" ",
	"-1",
	"x",
	"1x",
	"1 2",
	"1\n2",
	"1\n2\n",
	"1\n\n",
	"1.5",
	"0x10",
	"1e3",
	"\t1",
	"1\r\n",
	"18446744073709551616",
	"99999999999999999999",
	"1KB",
	"on",
	"101%",
	"0000000000000000000000000000000000000000000000000000000000000000001",
};

START_TEST(nonsense_is_refused_by_every_knob)
{
	struct fake_fs before;

	fake_add_file(2, 0, "/f");
	before = fake;
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
		ck_assert_msg(write_at(knobs[_i], nonsense[i]) == -EINVAL,
			      "%s: '%s'", knobs[_i], nonsense[i]);
	ck_assert_int_eq(write_bytes(knobs[_i], 0, "1\0", 2), -EINVAL);
	ck_assert_int_eq(write_bytes(knobs[_i], 1, "1", 1), -EINVAL);
	ck_assert_int_eq(write_bytes(knobs[_i], UINT64_MAX, "1", 1), -EINVAL);
	ck_assert(memcmp(fake.knobs, before.knobs, sizeof(fake.knobs)) == 0);
	ck_assert_uint_eq(fake.commit_secs, before.commit_secs);
	ck_assert_int_eq(fake.nr_drops + fake.nr_syncs + fake.nr_knobs_set, 0);
}
END_TEST

START_TEST(what_is_out_of_range_is_refused)
{
	ck_assert_int_eq(write_at("vm/swappiness", "201"), -EINVAL);
	ck_assert_int_eq(write_at("vm/swappiness", "200"), 0);
	ck_assert_int_eq(write_at("vm/cache_size", "4096"), -EINVAL);
	ck_assert_int_eq(write_at("vm/readahead_kb", "65537"), -EINVAL);
	ck_assert_int_eq(write_at("vm/commit_secs", "86401"), -EINVAL);
	ck_assert_int_eq(write_at("vm/commit_secs", "4294967297"), -EINVAL);
	ck_assert_int_eq(write_at("vm/sync", "0"), -EINVAL);
	ck_assert_int_eq(write_at("vm/drop_caches", "2"), -EINVAL);
}
END_TEST

START_TEST(only_sizes_take_suffixes)
{
	char expect[32];

	ck_assert_int_eq(write_at("vm/swappiness", "1K"), -EINVAL);
	ck_assert_int_eq(write_at("vm/readahead_kb", "50%"), -EINVAL);
	ck_assert_int_eq(write_at("vm/commit_secs", "max"), -EINVAL);
	ck_assert_int_eq(write_at("vm/dirty_bytes", "3M\n"), 0);
	ck_assert_str_eq(read_at("vm/dirty_bytes"), "3145728\n");
	ck_assert_int_eq(write_at("vm/cache_size", "10%\n"), 0);
	(void)snprintf(expect, sizeof(expect), "%" PRIu64 "\n",
		       ram_bytes() / 100 * 10 + ram_bytes() % 100 * 10 / 100);
	ck_assert_str_eq(read_at("vm/cache_size"), expect);
}
END_TEST

START_TEST(what_is_read_can_be_written_back)
{
	ck_assert_str_eq(read_at("vm/swap_size"), "max\n");
	for (size_t i = 1; i < KNOB_NR; i++) { /* 0 is no cache_size */
		char *text = read_at(knobs[i]);
		u64 value = fake.knobs[i];

		ck_assert_msg(write_at(knobs[i], text) == 0, "%s", knobs[i]);
		ck_assert_uint_eq(fake.knobs[i], value);
	}
	ck_assert_int_eq(write_at("vm/commit_secs", "0"), 0);
	ck_assert_str_eq(read_at("vm/commit_secs"), "0\n");
}
END_TEST

START_TEST(triggers_do_what_they_say_and_answer_with_its_error)
{
	char *text;

	fake_add_file(2, 0, "/f");
	ck_assert_int_eq(write_at("vm/sync", "1\n"), 0);
	ck_assert_int_eq(fake.nr_syncs, 1);
	fake.sync_err = -EIO;
	ck_assert_int_eq(write_at("vm/sync", "1\n"), -EIO);
	ck_assert_int_eq(write_at("vm/drop_caches", "1"), 0);
	ck_assert_uint_eq(fake.dropped_ino, 0);
	ck_assert_int_eq(write_at("inode/2/drop_caches", "1"), 0);
	ck_assert_uint_eq(fake.dropped_ino, 2);
	fake.drop_err = -ENOMEM;
	ck_assert_int_eq(write_at("vm/drop_caches", "1"), -ENOMEM);
	ck_assert_int_eq(fake.nr_drops, 3);
	ck_assert_str_eq(read_at("vm/drop_caches"), "0\n");
	/* on and on until there is no more */
	ck_assert_int_eq(write_at("vm/scrub", "2"), -EINVAL);
	ck_assert_int_eq(write_at("vm/scrub", "1"), 0);
	ck_assert_int_eq(write_at("vm/scrub", "1"), -EBUSY);
	ck_assert_int_eq(write_at("vm/scrub", "0\n"), 0);
	ck_assert(!fake.scrubbing);
	ck_assert_int_eq(write_at("vm/scrub_rate", "1M"), 0);
	ck_assert_str_eq(read_at("vm/scrub_rate"), "1048576\n");
	ck_assert_int_eq(write_at("vm/scrub_rate", "0"), -EINVAL);
	text = text_of(CONTROL_SCRUB);
	ck_assert_ptr_nonnull(strstr(text, "      10            7        3"));
	free(text);
	ck_assert_int_eq(write_at("vm/compact", "1"), 0);
	ck_assert_int_eq(fake.nr_compacts, 3);
	ck_assert_int_eq(fake.nr_swap_compacts, 2);
	fake.compact_err = -EOPNOTSUPP;
	ck_assert_int_eq(write_at("vm/compact", "1"), -EOPNOTSUPP);
	ck_assert_int_eq(fake.nr_swap_compacts, 4);
	ck_assert_str_eq(read_at("vm/compact"), "0\n");
}
END_TEST

/* The gate keeps the worker in cache_set_knob(): nobody else may wait. */
START_TEST(what_takes_long_is_done_in_order_by_another_thread)
{
	struct control_file *f = open_at("vm/cache_size", O_WRONLY);
	struct control_file *d = open_at("vm/drop_caches", O_WRONLY);
	struct answer a[3];

	for (int i = 0; i < 3; i++)
		answer_init(&a[i]);
	(void)pthread_mutex_lock(&fake.gate);
	control_write(f, 0, "64M", 3, &a[0].done);
	control_write(d, 0, "1", 1, &a[1].done);
	control_write(f, 0, "128M", 4, &a[2].done);
	control_release(f);
	control_release(d);
	ck_assert_str_eq(read_at("vm/commit_secs"), "5\n");
	ck_assert_int_eq(write_at("vm/commit_secs", "7"), 0);
	(void)pthread_mutex_unlock(&fake.gate);

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(answer_wait(&a[i]), 0);
	ck_assert_uint_eq(fake.knobs[KNOB_cache_size], 128 << 20);
	ck_assert(!pthread_equal(fake.knob_thread, pthread_self()));
	ck_assert_str_eq(fake.log, "cache_size drop cache_size ");
}
END_TEST

START_TEST(what_is_queued_is_done_before_the_end)
{
	struct control_file *f = open_at("vm/cache_size", O_WRONLY);
	struct answer a[8];

	for (int i = 0; i < 8; i++) {
		answer_init(&a[i]);
		control_write(f, 0, "64M", 3, &a[i].done);
	}
	control_release(f);
	control_free(control);
	control = NULL;
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(answer_wait(&a[i]), 0);
}
END_TEST

/* ---- failures ---- */

START_TEST(a_failed_snapshot_is_an_error_and_costs_nothing)
{
	struct control_file *f;
	char *text;
	size_t len;

	fake.files_err = -ENOMEM;
	ck_assert_int_eq(control_open(control, walk("files"), O_RDONLY, &f),
			 -ENOMEM);
	ck_assert_int_eq(
		control_open(control, walk("stats.json"), O_RDONLY, &f),
		-ENOMEM);
	ck_assert_int_eq(control_text(control, CONTROL_FILES, &text, &len),
			 -ENOMEM);
	ck_assert_int_eq(fake.charged, 0);
}
END_TEST

static const char *const out_of_memory[] = {
	"meminfo",	"vmstat",	 "files",   "swaps",
	"volume",	"stats.json",	 "metrics", "vm/swappiness",
	"inode/2/stat", "inode/2/pages",
};

/* Let the nth allocation fail, for every n until it is not needed. */
START_TEST(running_out_of_memory_is_told_wherever_it_happens)
{
	u64 node;
	int err;

	fake_add_file(2, 100000, "/some\nname");
	node = walk(out_of_memory[_i]);
	for (u64 n = 1;; n++) {
		struct control_file *f = NULL;
		bool failed;

		test_fail_malloc(n);
		err = control_open(control, node, O_RDONLY, &f);
		failed = test_malloc_failed();
		control_release(f);
		ck_assert_int_eq(fake.charged, 0);
		if (!failed)
			break;
		ck_assert_int_eq(err, -ENOMEM);
	}
	ck_assert_int_eq(err, 0);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tc;
	Suite *s = test_suite_new("control", &tc);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, vmstat_has_every_figure_once);
	tcase_add_test(tc, json_has_every_figure_and_is_valid);
	tcase_add_test(tc, json_without_files_is_valid);
	tcase_add_test(tc, the_json_reader_of_this_test_can_say_no);
	tcase_add_test(tc, metrics_have_every_figure_with_its_type);
	tcase_add_test(tc, metrics_are_in_the_exposition_format);
	tcase_add_test(tc, meminfo_is_the_gauges_in_kilobytes);
	tcase_add_test(tc, swaps_names_the_data_file_in_one_word);
	tcase_add_test(tc, swaps_has_a_row_for_a_swap_file);
	tcase_add_test(tc, volume_says_which_it_is);
	tcase_add_test(tc, files_is_a_table_whatever_the_names);
	tcase_add_test(tc, the_stat_of_an_inode_has_the_columns_of_files);
	tcase_add_test(tc,
		       the_stat_of_an_inode_tells_its_path_not_to_everybody);
	tcase_add_test(tc, maps_has_a_row_for_each_mapping_whatever_the_names);
	tcase_add_test(tc, processes_have_their_faults);
	tcase_add_test(tc,
		       rmap_has_a_row_for_each_range_with_the_same_mappings);
	tcase_add_test(tc,
		       rmap_of_random_mappings_says_for_each_page_who_maps_it);
	tcase_add_test(tc, files_about_mappings_are_known_as_that);
	tcase_add_test(tc, node_ids_never_change);
	tcase_add_test(tc,
		       hold_lasts_while_it_is_open_and_says_when_it_was_lost);
	tcase_add_test(tc,
		       every_entry_is_found_under_its_id_and_ids_are_unique);
	tcase_add_test(tc, a_long_listing_comes_whole_in_pieces_of_any_size);
	tcase_add_test(tc, reading_on_is_not_upset_by_files_that_come_and_go);
	tcase_add_test(tc, only_the_owner_may_look);
	tcase_add_loop_test(tc, unknown_names_are_not_there, 0,
			    ARRAY_SIZE(no_names));
	tcase_add_test(tc, unknown_ids_are_not_there);
	tcase_add_test(tc, an_inode_leaves_when_the_cache_forgets_it);
	tcase_add_test(tc, the_folder_is_found_in_the_root_and_nothing_else);
	tcase_add_test(tc, open_looks_at_the_mode);
	tcase_add_test(tc, a_file_is_a_snapshot_and_is_charged);
	tcase_add_test(tc, pages_is_one_character_for_each);
	tcase_add_test(tc,
		       pages_of_a_file_without_measure_can_be_read_anywhere);
	tcase_add_loop_test(tc, nonsense_is_refused_by_every_knob, 0,
			    ARRAY_SIZE(knobs));
	tcase_add_test(tc, what_is_out_of_range_is_refused);
	tcase_add_test(tc, only_sizes_take_suffixes);
	tcase_add_test(tc, what_is_read_can_be_written_back);
	tcase_add_test(tc, triggers_do_what_they_say_and_answer_with_its_error);
	tcase_add_test(tc, what_takes_long_is_done_in_order_by_another_thread);
	tcase_add_test(tc, what_is_queued_is_done_before_the_end);
	tcase_add_test(tc, a_failed_snapshot_is_an_error_and_costs_nothing);
	tcase_add_loop_test(tc,
			    running_out_of_memory_is_told_wherever_it_happens,
			    0, ARRAY_SIZE(out_of_memory));
	return s;
}

/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "redo.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "lock.h"
#include "rbtree.h"
#include "sum.h"

/*
 * A header is a block of little-endian words: these, FILE_WORDS for each file
 * (ino, size, mtime, ctime), PAGE_WORDS for each page (ino, pgoff, checksum).
 */
enum {
	WORD_MAGIC,
	WORD_SALT,
	WORD_SEQ,
	WORD_COUNTS, /* files, and pages << 32 */
	WORD_SUM,    /* of the block, with 0 here */
	WORD_BASE,   /* the transaction on whose rows it stands */
	WORD_ROWS,
};
#define FILE_WORDS 4
#define PAGE_WORDS 3
#define HEADER_WORDS (PAGE_SIZE / sizeof(u64))
#define REDO_MAGIC 0x6f64657266696c6full /* "olifredo" */

_Static_assert(WORD_ROWS + REDO_FILES * FILE_WORDS + REDO_PAGES * PAGE_WORDS <=
		       HEADER_WORDS,
	       "the rows of a record fit into its header");

/* Each record has a header, so there are fewer pages than blocks. */
#define INDEX_PAGES REDO_BLOCKS
#define INDEX_FILES (2 * REDO_BLOCKS)

enum growth {
	GROWTH_UNKNOWN,
	GROWTH_NONE, /* there is an extent for it */
	GROWTH_ONE,
};

struct index_page {
	struct rb_node node; /* by (ino, pgoff) */
	u64 ino, pgoff;
	u64 block, sum;
	enum growth growth;
	u64 copy; /* the transaction under way takes this block; 0: @block */
};

struct index_file {
	struct rb_node node; /* by ino */
	struct redo_file f;
	s64 grown; /* by the transaction under way */
};

struct redo {
	struct bdev *data;
	u64 *header; /* a block */

	/* the committer's */
	u64 start;
	u32 nr, pos; /* blocks of the log, and used ones */
	u64 salt;
	u64 seq;     /* of the next record */
	bool broken; /* what was written last nobody knows */

	/* atomic */
	u32 taken_over; /* how often: see redo_retry() */
	u64 nr_records;
	u64 first_ns;
	bool applying;

	/* the committer changes it, under lock */
	struct mutex lock;
	struct rb_root pages, files;
	u32 nr_pages, nr_files;
	struct index_page page[INDEX_PAGES];
	struct index_file file[INDEX_FILES];
};

int redo_new(struct bdev *data, struct redo **ret_redo)
{
	struct redo *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->header = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!r->header) {
		free(r);
		return -ENOMEM;
	}
	r->data = data;
	mutex_init(&r->lock, LOCK_LEAF, "redo log");
	*ret_redo = r;
	return 0;
}

void redo_free(struct redo *r)
{
	if (!r)
		return;
	mutex_done(&r->lock);
	free(r->header);
	free(r);
}

/* ---- the index ---- */

static int compare_u64(u64 a, u64 b)
{
	return a < b ? -1 : a > b;
}

static int compare_page(const struct index_page *p, u64 ino, u64 pgoff)
{
	int order = compare_u64(p->ino, ino);

	return order ? order : compare_u64(p->pgoff, pgoff);
}

static struct index_page *page_of(struct rb_node *node)
{
	return node ? rb_entry(node, struct index_page, node) : NULL;
}

/* The first at or behind (ino, pgoff), of any file, or NULL. */
static struct index_page *page_from(const struct redo *r, u64 ino, u64 pgoff)
	__requires(&r->lock)
{
	struct rb_node *node = r->pages.node;
	struct rb_node *found = NULL;

	while (node) {
		if (compare_page(page_of(node), ino, pgoff) < 0) {
			node = node->right;
		} else {
			found = node;
			node = node->left;
		}
	}
	return page_of(found);
}

static struct index_page *next_page(struct index_page *p)
{
	return page_of(rb_next(&p->node));
}

static struct index_file *file_at(struct redo *r, u64 ino,
				  struct rb_node **ret_parent,
				  struct rb_node ***ret_link)
	__requires(&r->lock)
{
	struct rb_node **link = &r->files.node;
	struct rb_node *parent = NULL;

	while (*link) {
		struct index_file *f = rb_entry(*link, struct index_file, node);

		if (f->f.ino == ino)
			return f;
		parent = *link;
		link = f->f.ino < ino ? &parent->right : &parent->left;
	}
	*ret_parent = parent;
	*ret_link = link;
	return NULL;
}

static void index_file(struct redo *r, const struct redo_file *f)
	__requires(&r->lock)
{
	struct rb_node *parent;
	struct rb_node **link;
	struct index_file *i = file_at(r, f->ino, &parent, &link);

	if (!i) {
		assert(r->nr_files < INDEX_FILES);
		i = &r->file[r->nr_files++];
		i->f.ino = f->ino;
		rb_insert(&r->files, &i->node, parent, link, NULL);
	}
	i->f = *f;
}

static void index_page(struct redo *r, u64 ino, u64 pgoff, u64 block, u64 sum)
	__requires(&r->lock)
{
	struct rb_node **link = &r->pages.node;
	struct rb_node *parent = NULL;
	struct index_page *p;

	while (*link) {
		int order = compare_page(page_of(*link), ino, pgoff);

		parent = *link;
		if (!order)
			break;
		link = order < 0 ? &parent->right : &parent->left;
	}
	p = page_of(*link);
	if (!p) {
		assert(r->nr_pages < INDEX_PAGES);
		p = &r->page[r->nr_pages++];
		*p = (struct index_page){.ino = ino, .pgoff = pgoff};
		rb_insert(&r->pages, &p->node, parent, link, NULL);
	}
	p->block = block;
	p->sum = sum;
	p->copy = 0;
}

/* The record that the header speaks of is in force. */
static void index_record(struct redo *r)
{
	u64 block = r->start + r->pos + 1;
	const u64 *w = r->header + WORD_ROWS;
	u64 counts = le64toh(r->header[WORD_COUNTS]);
	u32 nr_files = (u32)counts;
	u32 nr_pages = (u32)(counts >> 32);

	mutex_lock(&r->lock);
	for (u32 i = 0; i < nr_files; i++, w += FILE_WORDS) {
		struct redo_file f = {
			.ino = le64toh(w[0]),
			.size = le64toh(w[1]),
			.mtime = (s64)le64toh(w[2]),
			.ctime = (s64)le64toh(w[3]),
		};

		index_file(r, &f);
	}
	for (u32 i = 0; i < nr_pages; i++, w += PAGE_WORDS)
		index_page(r, le64toh(w[0]), le64toh(w[1]), block + i,
			   le64toh(w[2]));
	mutex_unlock(&r->lock);

	r->pos += 1 + nr_pages;
	r->seq++;
	(void)__atomic_add_fetch(&r->nr_records, 1, __ATOMIC_RELEASE);
}

static void forget_records(struct redo *r)
{
	mutex_lock(&r->lock);
	r->pages = r->files = RB_ROOT;
	r->nr_pages = r->nr_files = 0;
	(void)__atomic_add_fetch(&r->taken_over, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&r->nr_records, 0, __ATOMIC_RELEASE);
	mutex_unlock(&r->lock);
	__atomic_store_n(&r->first_ns, 0, __ATOMIC_RELAXED);
}

/* ---- loading ---- */

static u64 header_sum(u64 *header)
{
	u64 kept = header[WORD_SUM];
	u64 sum;

	header[WORD_SUM] = 0;
	sum = page_sum(header);
	header[WORD_SUM] = kept;
	return sum;
}

/* Is this a header of whichever log? */
static bool is_header(u64 *header)
{
	u64 counts = le64toh(header[WORD_COUNTS]);

	return le64toh(header[WORD_MAGIC]) == REDO_MAGIC &&
	       le64toh(header[WORD_SUM]) == header_sum(header) &&
	       (u32)counts <= REDO_FILES && counts >> 32 <= REDO_PAGES;
}

u64 redo_next_salt(u64 salt)
{
	return (salt + 1) & REDO_GENERATION ? salt + 1 : 0;
}

/* Of one that goes on behind @salt's, or behind that ... */
static bool is_later_salt(u64 salt, u64 other)
{
	return other > salt &&
	       (other & ~REDO_GENERATION) == (salt & ~REDO_GENERATION);
}

/* Is the file of a page, as it stands there, among the record's? */
static bool has_file(const u64 *files, u32 nr, u64 ino)
{
	for (u32 i = 0; i < nr; i++) {
		if (files[(size_t)i * FILE_WORDS] == ino)
			return true;
	}
	return false;
}

/* The record at r->pos, of which r->header is a copy. */
static bool is_whole(const struct redo *r, const u8 *log)
{
	u64 counts = le64toh(r->header[WORD_COUNTS]);
	u32 nr_files = (u32)counts;
	u32 nr_pages = (u32)(counts >> 32);
	const u64 *files = r->header + WORD_ROWS;
	const u64 *w = files + nr_files * FILE_WORDS;

	if (nr_pages >= r->nr - r->pos || nr_files > INDEX_FILES - r->nr_files)
		return false;
	for (u32 i = 0; i < nr_pages; i++, w += PAGE_WORDS) {
		const u8 *page = log + (r->pos + 1 + i) * PAGE_SIZE;

		if (!has_file(files, nr_files, w[0]) ||
		    le64toh(w[1]) > PGOFF_MAX ||
		    page_sum(page) != le64toh(w[2]))
			return false;
	}
	return true;
}

/*
 * Has a block behind the end a header that proves that this is not the end? Of
 * the log itself (-EUCLEAN), or of one that went on behind it, and stands on
 * rows that are not there (-ESTALE). That one begins where this one's records
 * end: with blocks in between, of those some are missing.
 */
static int look_behind(struct redo *r, const u8 *log, u64 commit_no)
{
	int err = 0;

	for (u32 i = r->pos; i < r->nr; i++) {
		u64 salt;

		memcpy(r->header, log + (size_t)i * PAGE_SIZE, PAGE_SIZE);
		salt = le64toh(r->header[WORD_SALT]);
		if (!is_header(r->header))
			continue;
		if (salt == r->salt && le64toh(r->header[WORD_SEQ]) > r->seq)
			return -EUCLEAN;
		if (err || !is_later_salt(r->salt, salt) ||
		    le64toh(r->header[WORD_BASE]) <= commit_no)
			continue;
		if (i != r->pos)
			return -EUCLEAN;
		err = -ESTALE;
	}
	return err;
}

/* Is what stands at r->pos, of which r->header is a copy, the next record? */
static bool is_next(const struct redo *r, const u8 *log)
{
	return is_header(r->header) &&
	       le64toh(r->header[WORD_SALT]) == r->salt &&
	       le64toh(r->header[WORD_SEQ]) == r->seq && is_whole(r, log);
}

static int load_records(struct redo *r, const u8 *log, u64 commit_no,
			u64 *ret_records)
{
	while (r->pos < r->nr) {
		memcpy(r->header, log + (size_t)r->pos * PAGE_SIZE, PAGE_SIZE);
		if (!is_next(r, log))
			break;
		if (le64toh(r->header[WORD_BASE]) > commit_no)
			return -ESTALE;
		index_record(r);
		(*ret_records)++;
	}
	if (*ret_records)
		r->first_ns = mono_ns();
	return look_behind(r, log, commit_no);
}

static void use_row(struct redo *r, const struct meta_redo *row)
{
	r->start = row->start;
	r->nr = (u32)row->nr;
	r->salt = row->salt;
	r->seq = row->seq;
	r->pos = 0;
	r->broken = false;
}

/* Return: one past the last block that could not be read, 0: all could. Those
 * are zeros, which is no header. */
static u32 read_log(struct redo *r, u8 *log)
{
	void *pages[REDO_BLOCKS];
	u32 unread = 0;

	for (u32 i = 0; i < r->nr; i++)
		pages[i] = log + (size_t)i * PAGE_SIZE;
	if (!r->data->ops->read(r->data, r->start, r->nr, pages))
		return 0;
	for (u32 i = 0; i < r->nr; i++) {
		if (!r->data->ops->read(r->data, r->start + i, 1, &pages[i]))
			continue;
		memset(pages[i], 0, PAGE_SIZE);
		unread = i + 1;
	}
	return unread;
}

int redo_load(struct redo *r, const struct meta_redo *row, u64 data_blocks,
	      u64 commit_no, u64 *ret_records)
{
	u32 unread;
	u8 *log;
	int err;

	*ret_records = 0;
	if (!row->nr)
		return 0;
	if (!row->start || row->nr > REDO_BLOCKS || row->start > data_blocks ||
	    row->nr > data_blocks - row->start)
		return -EUCLEAN;

	log = aligned_alloc(PAGE_SIZE, row->nr * PAGE_SIZE);
	if (!log)
		return -ENOMEM;
	use_row(r, row);
	unread = read_log(r, log);
	err = load_records(r, log, commit_no, ret_records);
	free(log);
	/* nobody knows what was in it */
	return !err && unread > r->pos ? -EUCLEAN : err;
}

void redo_describe(int err, u64 records, char text[REDO_TEXT_MAX])
{
	(void)snprintf(text, REDO_TEXT_MAX,
		       "redo log: %s behind %llu commits that can be read",
		       err == -ESTALE ? "of rows that are lost" : "damaged",
		       (unsigned long long)records);
}

/* ---- committing ---- */

bool redo_has_room(const struct redo *r, u32 nr_files, u32 nr_pages)
{
	return !r->broken && nr_files <= REDO_FILES && nr_pages <= REDO_PAGES &&
	       nr_pages < r->nr - r->pos &&
	       nr_files <= INDEX_FILES - r->nr_files;
}

static void make_header(struct redo *r, const struct redo_record *rec,
			u64 commit_no)
{
	u64 *w = r->header + WORD_ROWS;

	memset(r->header, 0, PAGE_SIZE);
	r->header[WORD_MAGIC] = htole64(REDO_MAGIC);
	r->header[WORD_SALT] = htole64(r->salt);
	r->header[WORD_SEQ] = htole64(r->seq);
	r->header[WORD_COUNTS] =
		htole64(rec->nr_files | (u64)rec->nr_pages << 32);
	r->header[WORD_BASE] = htole64(commit_no);
	for (u32 i = 0; i < rec->nr_files; i++, w += FILE_WORDS) {
		w[0] = htole64(rec->files[i].ino);
		w[1] = htole64(rec->files[i].size);
		w[2] = htole64((u64)rec->files[i].mtime);
		w[3] = htole64((u64)rec->files[i].ctime);
	}
	for (u32 i = 0; i < rec->nr_pages; i++, w += PAGE_WORDS) {
		w[0] = htole64(rec->pages[i].ino);
		w[1] = htole64(rec->pages[i].pgoff);
		w[2] = htole64(page_sum(rec->pages[i].data));
	}
	r->header[WORD_SUM] = htole64(header_sum(r->header));
}

int redo_append(struct redo *r, const struct redo_record *rec, u64 commit_no)
{
	void *blocks[1 + REDO_PAGES];
	int err;

	assert(redo_has_room(r, rec->nr_files, rec->nr_pages));
	make_header(r, rec, commit_no);
	blocks[0] = r->header;
	for (u32 i = 0; i < rec->nr_pages; i++)
		blocks[1 + i] = rec->pages[i].data;

	err = r->data->ops->write_sync(r->data, r->start + r->pos,
				       1 + rec->nr_pages, blocks);
	if (err) {
		r->broken = true;
		return err;
	}
	if (!r->first_ns)
		__atomic_store_n(&r->first_ns, mono_ns(), __ATOMIC_RELAXED);
	index_record(r);
	return 0;
}

u64 redo_nr_records(const struct redo *r)
{
	return __atomic_load_n(&r->nr_records, __ATOMIC_ACQUIRE);
}

u64 redo_first_ns(const struct redo *r)
{
	return __atomic_load_n(&r->first_ns, __ATOMIC_RELAXED);
}

bool redo_is_used(const struct redo *r)
{
	return r->pos || r->broken;
}

void redo_row(const struct redo *r, struct meta_redo *ret)
{
	*ret = (struct meta_redo){r->start, r->nr, r->salt, r->seq};
}

u32 redo_used(const struct redo *r)
{
	return r->pos;
}

u32 redo_room(const struct redo *r)
{
	return r->broken ? 0 : r->nr - r->pos;
}

static u64 block_of(const struct index_page *p)
{
	return p->copy ? p->copy : p->block;
}

/* How many from @p on are neighbours in the file, and *ret_joined of them in
 * their blocks too. */
static u32 run_length(struct index_page *p, u32 *ret_joined)
{
	struct index_page *next = p;
	u32 n = 0;

	*ret_joined = 0;
	do {
		if (*ret_joined == n && block_of(next) == block_of(p) + n)
			(*ret_joined)++;
		n++;
		next = next_page(next);
	} while (next && next->ino == p->ino && next->pgoff == p->pgoff + n);
	return n;
}

/* The committer alone changes the index, so it reads it without the lock. */
bool redo_next_scattered(struct redo *r, u64 *ino, u64 *pgoff, u32 min,
			 u32 *ret_nr) __no_tsa
{
	struct index_page *p = page_from(r, *ino, *pgoff);
	u32 joined, nr;

	while (p) {
		nr = run_length(p, &joined);
		if (nr >= min && joined < nr) {
			*ino = p->ino;
			*pgoff = p->pgoff;
			*ret_nr = nr;
			return true;
		}
		p = page_from(r, p->ino, p->pgoff + nr);
	}
	return false;
}

int redo_read(struct redo *r, u64 ino, u64 pgoff, u32 nr,
	      void *const *pages) __no_tsa
{
	struct index_page *p = page_from(r, ino, pgoff);
	int err = 0;

	for (u32 i = 0; !err && i < nr; i++, p = next_page(p)) {
		err = r->data->ops->read(r->data, p->block, 1, pages + i);
		if (!err && page_sum(pages[i]) != p->sum)
			err = -EIO;
	}
	return err;
}

void redo_move(struct redo *r, u64 ino, u64 pgoff, u32 nr, u64 block) __no_tsa
{
	struct index_page *p = page_from(r, ino, pgoff);

	for (u32 i = 0; i < nr; i++, p = next_page(p))
		p->copy = block + i;
}

static int apply_pages(struct redo *r, struct meta *m, meta_freed_fn freed,
		       redo_moved_fn moved, void *arg) __requires(&r->lock)
{
	struct index_page *p = page_of(rb_first(&r->pages));
	struct rb_node *parent;
	struct rb_node **link;
	u64 sums[REDO_BLOCKS];
	int err = 0;

	while (p && !err) {
		s64 before = meta_extent_growth(m);
		struct index_file *f = file_at(r, p->ino, &parent, &link);
		u64 block = block_of(p);
		u64 ino = p->ino;
		u64 pgoff = p->pgoff;
		u32 n;

		(void)run_length(p, &n);
		for (u32 i = 0; i < n; i++, p = next_page(p))
			sums[i] = p->sum;
		err = meta_extent_put(m, ino, pgoff, n, block, 0, sums, freed,
				      arg);
		if (f)
			f->grown += meta_extent_growth(m) - before;
		if (!err && moved)
			moved(arg, ino, pgoff, n);
	}
	return err;
}

static int apply_files(struct redo *r, struct meta *m) __requires(&r->lock)
{
	struct rb_node *node;
	int err = 0;

	rb_for_each (node, &r->files) {
		const struct redo_file *f =
			&rb_entry(node, struct index_file, node)->f;

		err = meta_inode_put_content(m, f->ino, f->size, f->mtime,
					     f->ctime);
		if (err)
			break;
	}
	return err;
}

/* Headers, and pages that were written again or have a copy. */
static int free_rest(struct redo *r, meta_freed_fn freed, void *arg)
	__requires(&r->lock)
{
	bool kept[REDO_BLOCKS] = {false};
	int err = 0;

	for (u32 i = 0; i < r->nr_pages; i++)
		kept[r->page[i].block - r->start] = !r->page[i].copy;
	for (u32 i = 0, n; !err && i < r->pos; i += n) {
		for (n = 0; i + n < r->pos && kept[i + n] == kept[i];)
			n++;
		if (!kept[i])
			err = freed(arg, r->start + i, n);
	}
	return err;
}

/* The lock is for readers, who change what is known of growth: the committer
 * alone changes the rest, and does not keep them waiting for SQL. */
int redo_apply(struct redo *r, struct meta *m, meta_freed_fn freed,
	       redo_moved_fn moved, void *arg) __no_tsa
{
	int err;

	__atomic_store_n(&r->applying, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < r->nr_files; i++)
		r->file[i].grown = 0;
	err = apply_files(r, m);
	if (!err)
		err = apply_pages(r, m, freed, moved, arg);
	return err ? err : free_rest(r, freed, arg);
}

static void forget_pages(struct redo *r, u64 ino)
{
	struct index_page *p;

	mutex_lock(&r->lock);
	while ((p = page_from(r, ino, 0)) && p->ino == ino)
		rb_erase(&r->pages, &p->node, NULL);
	mutex_unlock(&r->lock);
}

u32 redo_forget_files(struct redo *r, bool (*known)(void *arg, u64 ino),
		      void *arg) __no_tsa
{
	u32 nr = 0;

	for (u32 i = 0; i < r->nr_files; i++) {
		u64 ino = r->file[i].f.ino;

		if (known(arg, ino))
			continue;
		rb_erase(&r->files, &r->file[i].node, NULL);
		forget_pages(r, ino);
		nr++;
	}
	return nr;
}

void redo_applied(struct redo *r, const struct meta_redo *row,
		  redo_grown_fn grown, void *arg)
{
	for (u32 i = 0; grown && i < r->nr_files; i++)
		grown(arg, r->file[i].f.ino, r->file[i].grown);
	forget_records(r);
	use_row(r, row);
	__atomic_store_n(&r->applying, false, __ATOMIC_RELEASE);
}

void redo_not_applied(struct redo *r)
{
	for (u32 i = 0; i < r->nr_pages; i++)
		r->page[i].copy = 0;
	__atomic_store_n(&r->applying, false, __ATOMIC_RELEASE);
}

bool redo_is_applying(const struct redo *r)
{
	return __atomic_load_n(&r->applying, __ATOMIC_ACQUIRE);
}

/* ---- reading ---- */

u32 redo_begin(struct redo *r)
{
	return __atomic_load_n(&r->taken_over, __ATOMIC_ACQUIRE);
}

bool redo_retry(struct redo *r, u32 seq)
{
	return __atomic_load_n(&r->taken_over, __ATOMIC_ACQUIRE) != seq;
}

static struct meta_page map_of(const struct index_page *p)
{
	return (struct meta_page){
		.kind = META_PAGE_BLOCK,
		.block = p->block,
		.sum = p->sum,
	};
}

void redo_patch_map(struct redo *r, u64 ino, u64 pgoff, u32 nr,
		    struct meta_page *map)
{
	struct index_page *p;

	if (!redo_nr_records(r))
		return;
	mutex_lock(&r->lock);
	p = page_from(r, ino, pgoff);
	for (; p && p->ino == ino && p->pgoff < pgoff + nr; p = next_page(p))
		map[p->pgoff - pgoff] = map_of(p);
	mutex_unlock(&r->lock);
}

void redo_patch_inode(struct redo *r, struct inode_row *row)
{
	struct rb_node *parent;
	struct rb_node **link;
	struct index_file *i;

	if (!redo_nr_records(r))
		return;
	mutex_lock(&r->lock);
	i = file_at(r, row->ino, &parent, &link);
	if (i) {
		row->size = i->f.size;
		row->mtime = i->f.mtime;
		row->ctime = i->f.ctime;
	}
	mutex_unlock(&r->lock);
}

bool redo_next(struct redo *r, u64 *ino, u64 *pgoff, struct meta_page *ret)
{
	struct index_page *p;

	if (!redo_nr_records(r))
		return false;
	mutex_lock(&r->lock);
	p = page_from(r, *ino, *pgoff);
	if (p) {
		*ino = p->ino;
		*pgoff = p->pgoff;
		*ret = map_of(p);
	}
	mutex_unlock(&r->lock);
	return p;
}

bool redo_next_page(struct redo *r, u64 ino, u64 pgoff, u64 *ret_pgoff)
{
	struct meta_page map;
	u64 found = ino;

	if (!redo_next(r, &found, &pgoff, &map) || found != ino)
		return false;
	*ret_pgoff = pgoff;
	return true;
}

/* ---- growth ---- */

/* Is there an extent at the page? */
static int has_extent(struct meta_reader *reader, u64 ino, u64 pgoff,
		      enum growth *ret)
{
	struct extent_row row;
	int err = meta_extent_get(reader, ino, pgoff, &row, NULL);

	if (err && err != -ENOENT)
		return err;
	*ret = err || row.pgoff > pgoff ? GROWTH_ONE : GROWTH_NONE;
	return 0;
}

/* The first page at or behind *pgoff, which is set to it. */
static bool next_growth(struct redo *r, u64 ino, u64 *pgoff, enum growth *ret)
{
	struct index_page *p;
	bool found;

	mutex_lock(&r->lock);
	p = page_from(r, ino, *pgoff);
	found = p && p->ino == ino;
	if (found) {
		*pgoff = p->pgoff;
		*ret = p->growth;
	}
	mutex_unlock(&r->lock);
	return found;
}

/* Not when rows that were looked at may have the page from the log already. */
static void keep_growth(struct redo *r, u32 seq, u64 ino, u64 pgoff,
			enum growth growth)
{
	struct index_page *p;

	mutex_lock(&r->lock);
	p = page_from(r, ino, pgoff);
	if (p && p->ino == ino && p->pgoff == pgoff && !redo_is_applying(r) &&
	    !redo_retry(r, seq))
		p->growth = growth;
	mutex_unlock(&r->lock);
}

int redo_growth(struct redo *r, struct meta_reader *reader, u32 seq, u64 ino,
		s64 *ret_pages)
{
	u64 pgoff = 0;
	enum growth growth;
	s64 pages = 0;
	int err;

	if (redo_nr_records(r)) {
		for (; next_growth(r, ino, &pgoff, &growth); pgoff++) {
			if (growth == GROWTH_UNKNOWN) {
				err = has_extent(reader, ino, pgoff, &growth);
				if (err)
					return err;
				keep_growth(r, seq, ino, pgoff, growth);
			}
			pages += growth == GROWTH_ONE;
		}
	}
	*ret_pages = pages;
	return 0;
}

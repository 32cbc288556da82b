/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- lines of a file ----
 *
 * Read by read(2), a buffer at a time. Of a line only the beginning matters,
 * so one that is longer than the buffer (names may be) is cut, not kept.
 */

#define LINES_BUF ((size_t)16 << 10)

struct lines {
	int fd;
	int err;
	size_t at, len;	 /* what is in buf and not handed out */
	bool skip, done; /* in the rest of a line that was cut; at the end */
	char buf[LINES_BUF + 1];
};

/* Files of a process that ended meanwhile say so in several ways. */
static int gone_or(int err)
{
	return err == ENOENT ? -ESRCH : -err;
}

static void lines_fill(struct lines *l)
{
	ssize_t n;

	memmove(l->buf, l->buf + l->at, l->len - l->at);
	l->len -= l->at;
	l->at = 0;
	do
		n = read(l->fd, l->buf + l->len, LINES_BUF - l->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		l->err = gone_or(errno);
	if (n <= 0)
		l->done = true;
	else
		l->len += (size_t)n;
}

/* The next line without its newline, NULL behind the last. NUL bytes in it end
 * it early, for whoever parses it. */
static const char *lines_next(struct lines *l)
{
	for (;;) {
		char *line = l->buf + l->at;
		char *end = memchr(line, '\n', l->len - l->at);
		bool cut = !end && l->at == 0 && l->len == LINES_BUF;
		bool last = !end && l->done && l->len > l->at;
		bool skipped = l->skip;

		if (!end && !cut && !last) {
			if (l->done)
				return NULL;
			lines_fill(l);
			continue;
		}
		if (!end)
			end = l->buf + l->len;
		*end = '\0';
		l->at = min((size_t)(end - l->buf) + !cut, l->len);
		l->skip = cut;
		if (!skipped)
			return line;
	}
}

/* ---- small parts of lines ---- */

static bool take_number(const char **s, unsigned base, u64 *ret)
{
	const char *at = *s;
	u64 v = 0;

	for (;; at++) {
		unsigned digit;

		if (*at >= '0' && *at <= '9')
			digit = (unsigned)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			digit = (unsigned)(*at - 'a') + 10;
		else
			break;
		if (digit >= base || v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	if (at == *s)
		return false;
	*s = at;
	*ret = v;
	return true;
}

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/* "rwxs", each a dash if not; the last p if private. */
static bool take_perms(const char **s, u32 *ret)
{
	static const char on[] = "rwxs", off[] = "---p";
	u32 flags = 0;

	for (unsigned i = 0; i < 4; i++) {
		if ((*s)[i] == on[i])
			flags |= 1u << i;
		else if ((*s)[i] != off[i])
			return false;
	}
	*s += 4;
	*ret = flags;
	return true;
}

/* "55d0c000-55d0d000 r-xs 00001000 00:2d 17   /name", see proc(5). */
static bool parse_map(const char *s, struct proc_map *ret,
		      struct mount_dev *ret_dev)
{
	u64 major, minor;

	if (!take_number(&s, 16, &ret->start) || !take_char(&s, '-') ||
	    !take_number(&s, 16, &ret->end) || !take_char(&s, ' ') ||
	    !take_perms(&s, &ret->flags) || !take_char(&s, ' ') ||
	    !take_number(&s, 16, &ret->pos) || !take_char(&s, ' ') ||
	    !take_number(&s, 16, &major) || !take_char(&s, ':') ||
	    !take_number(&s, 16, &minor) || !take_char(&s, ' ') ||
	    !take_number(&s, 10, &ret->ino))
		return false;
	if ((*s && *s != ' ') || major > UINT_MAX || minor > UINT_MAX)
		return false;
	*ret_dev = (struct mount_dev){(unsigned)major, (unsigned)minor};
	return ret->start < ret->end;
}

static bool is_ours(const struct procfs *p, const struct mount_dev *dev)
{
	return dev->major == p->dev.major && dev->minor == p->dev.minor;
}

/* ---- arrays that grow ---- */

/* Room for one more of @size bytes. Return: 0 or -ENOMEM. */
static int grow(void **array, size_t nr, size_t size)
{
	void *bigger;

	/* at 0, 16, 32, 64 ... */
	if (nr && (nr < 16 || (nr & (nr - 1))))
		return 0;
	bigger = reallocarray(*array, nr ? nr * 2 : 16, size);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	return 0;
}

struct pids {
	pid_t *pid;
	size_t nr;
};

static int pids_add(struct pids *pids, pid_t pid)
{
	int err = grow((void **)&pids->pid, pids->nr, sizeof(*pids->pid));

	if (!err)
		pids->pid[pids->nr++] = pid;
	return err;
}

static int pids_hand_over(struct pids *pids, int err, pid_t **ret,
			  size_t *ret_nr)
{
	if (err) {
		free(pids->pid);
		return err;
	}
	*ret = pids->pid;
	*ret_nr = pids->nr;
	return 0;
}

struct maps {
	struct proc_map *map;
	size_t nr;
};

/*
 * Add one, by address. What an older one said of the same addresses is dropped:
 * it was merged into this one, or moved, while we were reading.
 */
static int maps_add(struct maps *maps, const struct proc_map *map)
{
	int err;

	while (maps->nr && maps->map[maps->nr - 1].end > map->start)
		maps->nr--;
	err = grow((void **)&maps->map, maps->nr, sizeof(*map));
	if (!err)
		maps->map[maps->nr++] = *map;
	return err;
}

/* ---- PROCMAP_QUERY ----
 *
 * As in Documentation/filesystems/proc.rst; older headers lack it.
 */

struct map_query {
	u64 size;
	u64 query_flags;
	u64 query_addr;
	u64 vma_start, vma_end;
	u64 vma_flags;
	u64 vma_page_size;
	u64 vma_offset;
	u64 inode;
	u32 dev_major, dev_minor;
	u32 vma_name_size, build_id_size;
	u64 vma_name_addr, build_id_addr;
};

#define MAP_QUERY _IOWR('f', 17, struct map_query)

enum {
	QUERY_COVERING_OR_NEXT = 0x10,
	QUERY_FILE_BACKED = 0x20,
	QUERY_FLAGS = 0x0f, /* read, write, exec, shared: as PROC_MAP_* */
};

/* The mapping of a file at or behind @addr. Return: 0, -ENOENT: no more. */
static int query_map(int fd, u64 addr, struct proc_map *ret,
		     struct mount_dev *ret_dev)
{
	struct map_query q = {
		.size = sizeof(q),
		.query_flags = QUERY_COVERING_OR_NEXT | QUERY_FILE_BACKED,
		.query_addr = addr,
	};

	if (ioctl(fd, MAP_QUERY, &q))
		return -errno;
	*ret = (struct proc_map){
		.start = q.vma_start,
		.end = q.vma_end,
		.pos = q.vma_offset,
		.ino = q.inode,
		.flags = (u32)q.vma_flags & QUERY_FLAGS,
	};
	*ret_dev = (struct mount_dev){q.dev_major, q.dev_minor};
	return 0;
}

static int maps_by_query(const struct procfs *p, int fd, struct maps *maps)
{
	u64 addr = 0;

	for (;;) {
		struct mount_dev dev;
		struct proc_map map;
		int err = query_map(fd, addr, &map, &dev);

		if (err == -EINTR)
			continue;
		/* no more, or no memory map at all: a zombie */
		if (err == -ENOENT || err == -ESRCH)
			return 0;
		if (!err && is_ours(p, &dev))
			err = maps_add(maps, &map);
		if (err)
			return err;
		if (map.end <= addr)
			return -EIO;
		addr = map.end;
	}
}

/* ---- parsing maps ---- */

static int maps_by_parsing(const struct procfs *p, int fd, struct maps *maps)
{
	struct lines *l = calloc(1, sizeof(*l));
	const char *line;
	int err = 0;

	if (!l)
		return -ENOMEM;
	l->fd = fd;
	while (!err && (line = lines_next(l)) != NULL) {
		struct mount_dev dev;
		struct proc_map map;

		if (parse_map(line, &map, &dev) && is_ours(p, &dev))
			err = maps_add(maps, &map);
	}
	if (!err && l->err != -ESRCH)
		err = l->err;
	free(l);
	return err;
}

/*
 * The folder through which the memory map can be read. The main thread of a
 * process may have ended before the others: it is a zombie without one, then.
 */
static int open_live_thread(const struct proc *proc)
{
	int task_fd, fd = -1;
	struct dirent *entry;
	DIR *dir;

	task_fd = openat(proc->dir_fd, "task", O_RDONLY | O_CLOEXEC);
	dir = task_fd < 0 ? NULL : fdopendir(task_fd);
	if (!dir) {
		if (task_fd >= 0)
			(void)close(task_fd);
		return -ESRCH;
	}
	while (fd < 0 && (entry = readdir(dir)) != NULL) {
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    strtol(entry->d_name, NULL, 10) != proc->pid)
			fd = openat(dirfd(dir), entry->d_name,
				    O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	(void)closedir(dir);
	return fd < 0 ? -ESRCH : fd;
}

static int open_memory_file(const struct proc *proc, const char *name)
{
	int fd, dir_fd = -1;

	if (proc->state == 'Z' && proc->nr_threads > 1)
		dir_fd = open_live_thread(proc);
	fd = openat(dir_fd < 0 ? proc->dir_fd : dir_fd, name,
		    O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = gone_or(errno);
	if (dir_fd >= 0)
		(void)close(dir_fd);
	return fd;
}

int proc_maps(const struct procfs *p, const struct proc *proc,
	      struct proc_map **ret, size_t *ret_nr)
{
	int fd = open_memory_file(proc, "maps");
	struct maps maps = {NULL, 0};
	int err;

	if (fd < 0)
		return fd;
	err = p->query ? maps_by_query(p, fd, &maps)
		       : maps_by_parsing(p, fd, &maps);
	(void)close(fd);
	if (err || !maps.nr) {
		free(maps.map);
		maps.map = NULL;
	}
	if (err)
		return err;
	*ret = maps.map;
	*ret_nr = maps.nr;
	return 0;
}

/* ---- smaps ---- */

struct hints {
	struct proc_hint *hint;
	size_t nr;
	bool open; /* lines that follow are of the last one */
};

static int hints_begin(struct hints *h, const struct proc_map *map)
{
	int err;

	while (h->nr && h->hint[h->nr - 1].map.end > map->start)
		h->nr--;
	err = grow((void **)&h->hint, h->nr, sizeof(*h->hint));
	if (!err)
		h->hint[h->nr++] = (struct proc_hint){.map = *map};
	return err;
}

static const char *after_key(const char *line, const char *key)
{
	size_t len = strlen(key);

	if (strncmp(line, key, len) != 0)
		return NULL;
	line += len;
	return line + strspn(line, " \t");
}

static u64 pages_of_kb(const char *s)
{
	u64 kb = 0;

	(void)take_number(&s, 10, &kb);
	return kb >> (PAGE_SHIFT - 10);
}

/* " rd wr mr mw me ms sr lo": words of two letters. */
static u32 parse_vm_flags(const char *s)
{
	static const struct {
		char word[3];
		u32 hint;
	} words[] = {
		{"lo", PROC_HINT_LOCKED},
		{"sr", PROC_HINT_SEQUENTIAL},
		{"rr", PROC_HINT_RANDOM},
	};
	u32 hints = 0;

	while (*s) {
		size_t len = strcspn(s, " ");

		for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
			if (len == 2 && !strncmp(s, words[i].word, 2))
				hints |= words[i].hint;
		}
		s += len;
		s += strspn(s, " ");
	}
	return hints;
}

/* Pages of a private mapping that were written to are anonymous memory, in
 * RAM or in the machine's swap. */
static void parse_hint_line(const char *line, struct proc_hint *hint)
{
	bool shared = hint->map.flags & PROC_MAP_SHARED;
	const char *value;

	if ((value = after_key(line, "Rss:")) != NULL)
		hint->nr_resident = pages_of_kb(value);
	else if (!shared && ((value = after_key(line, "Anonymous:")) != NULL ||
			     (value = after_key(line, "Swap:")) != NULL))
		hint->nr_private += pages_of_kb(value);
	else if ((value = after_key(line, "VmFlags:")) != NULL)
		hint->hints = parse_vm_flags(value);
}

static int hints_line(const struct procfs *p, const char *line, struct hints *h)
{
	struct mount_dev dev;
	struct proc_map map;

	if (parse_map(line, &map, &dev)) {
		h->open = is_ours(p, &dev);
		return h->open ? hints_begin(h, &map) : 0;
	}
	if (h->open)
		parse_hint_line(line, &h->hint[h->nr - 1]);
	return 0;
}

int proc_hints(const struct procfs *p, const struct proc *proc,
	       struct proc_hint **ret, size_t *ret_nr)
{
	struct lines *l = calloc(1, sizeof(*l));
	struct hints h = {NULL, 0, false};
	const char *line;
	int err;

	if (!l)
		return -ENOMEM;
	l->fd = open_memory_file(proc, "smaps");
	err = l->fd < 0 ? l->fd : 0;
	while (!err && (line = lines_next(l)) != NULL)
		err = hints_line(p, line, &h);
	if (!err && l->err != -ESRCH)
		err = l->err;
	if (l->fd >= 0)
		(void)close(l->fd);
	free(l);
	if (err || !h.nr) {
		free(h.hint);
		h.hint = NULL;
	}
	if (err)
		return err;
	*ret = h.hint;
	*ret_nr = h.nr;
	return 0;
}

/* ---- stat and status ---- */

/* A whole small file, NUL-terminated. Return: its length or -errno. */
static ssize_t read_small(int dir_fd, const char *name, char *buf, size_t size)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return gone_or(errno);
	do
		n = read(fd, buf, size - 1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		n = gone_or(errno);
	else
		buf[n] = '\0';
	(void)close(fd);
	return n;
}

/* Numbers by their place in proc(5). */
enum {
	STAT_STATE = 3,
	STAT_PPID = 4,
	STAT_NR_THREADS = 20,
	STAT_START_TIME = 22,
};

static bool parse_stat_numbers(const char *s, struct proc *ret)
{
	bool minus;
	u64 v;

	for (int field = STAT_PPID; field <= STAT_START_TIME; field++) {
		if (!take_char(&s, ' '))
			return false;
		minus = take_char(&s, '-');
		if (!take_number(&s, 10, &v))
			return false;
		if (field == STAT_PPID)
			ret->ppid = minus ? 0 : (pid_t)v;
		else if (field == STAT_NR_THREADS)
			ret->nr_threads = (u32)v;
		else if (field == STAT_START_TIME)
			ret->start_time = v;
	}
	return true;
}

/* "17 (any ) name) S 1 17 ...": the name ends at the last parenthesis. */
static bool parse_stat(const char *buf, size_t len, struct proc *ret)
{
	const char *name = memchr(buf, '(', len);
	const char *end = memrchr(buf, ')', len);
	size_t n;

	if (!name || !end || end < name || end[1] != ' ' || !end[2])
		return false;
	name++;
	n = min((size_t)(end - name), sizeof(ret->comm) - 1);
	memcpy(ret->comm, name, n);
	ret->comm[n] = '\0';
	ret->state = end[2];
	return parse_stat_numbers(end + 3, ret);
}

int proc_open(const struct procfs *p, pid_t pid, struct proc *ret)
{
	struct proc proc = {.pid = pid};
	char buf[1024];
	char name[16];
	ssize_t n;

	if (pid <= 0)
		return -ESRCH;
	(void)snprintf(name, sizeof(name), "%d", pid);
	proc.dir_fd =
		openat(p->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc.dir_fd < 0)
		return gone_or(errno);
	n = read_small(proc.dir_fd, "stat", buf, sizeof(buf));
	if (n >= 0 && !parse_stat(buf, (size_t)n, &proc))
		n = -EIO;
	if (n < 0) {
		(void)close(proc.dir_fd);
		return (int)n;
	}
	*ret = proc;
	return 0;
}

void proc_close(struct proc *proc)
{
	(void)close(proc->dir_fd);
	proc->dir_fd = -1;
}

bool proc_exists(const struct proc *proc)
{
	return faccessat(proc->dir_fd, "stat", F_OK, 0) == 0;
}

int proc_tgid(const struct procfs *p, pid_t tid, pid_t *ret_pid)
{
	char name[32];
	char buf[4096];
	const char *at;
	ssize_t n;
	u64 pid;

	if (tid <= 0)
		return -ESRCH;
	(void)snprintf(name, sizeof(name), "%d/status", tid);
	n = read_small(p->root_fd, name, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	/* the name of the process comes before it, its newlines escaped */
	at = strstr(buf, "\nTgid:\t");
	if (!at)
		return -EIO;
	at += strlen("\nTgid:\t");
	if (!take_number(&at, 10, &pid) || !pid || pid > INT_MAX)
		return -EIO;
	*ret_pid = (pid_t)pid;
	return 0;
}

/* ---- families ---- */

static bool name_to_pid(const char *name, pid_t *ret)
{
	u64 v;

	if (!take_number(&name, 10, &v) || *name || !v || v > INT_MAX)
		return false;
	*ret = (pid_t)v;
	return true;
}

/* Each entry of a folder that is a number. @dir_fd stays open. */
static int numbers_of_dir(int dir_fd, const char *name, struct pids *pids)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int err = 0;

	if (!dir) {
		err = gone_or(errno);
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir)) != NULL) {
		pid_t pid;

		if (name_to_pid(entry->d_name, &pid))
			err = pids_add(pids, pid);
	}
	(void)closedir(dir);
	return err;
}

int procfs_pids(const struct procfs *p, pid_t **ret, size_t *ret_nr)
{
	struct pids pids = {NULL, 0};
	int err = numbers_of_dir(p->root_fd, ".", &pids);

	return pids_hand_over(&pids, err, ret, ret_nr);
}

/* Numbers with a blank behind each; there may be thousands. */
static int parse_children(int fd, struct pids *pids)
{
	char buf[4096];
	u64 pid = 0;
	ssize_t n;
	int err = 0;

	do {
		n = read(fd, buf, sizeof(buf));
		for (ssize_t i = 0; !err && i < max(n, (ssize_t)1); i++) {
			/* the end ends a number, too */
			if (n > 0 && buf[i] >= '0' && buf[i] <= '9') {
				pid = pid * 10 + (u64)(buf[i] - '0');
				continue;
			}
			if (pid && pid <= INT_MAX)
				err = pids_add(pids, (pid_t)pid);
			pid = 0;
		}
	} while (!err && n > 0);
	return err;
}

/* A thread that is gone has none. */
static int children_of_thread(int task_fd, pid_t tid, struct pids *pids)
{
	char name[32];
	int fd, err;

	(void)snprintf(name, sizeof(name), "%d/children", tid);
	fd = openat(task_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	err = parse_children(fd, pids);
	(void)close(fd);
	return err;
}

static int children_by_parent(const struct procfs *p, pid_t parent,
			      struct pids *pids)
{
	struct pids all = {NULL, 0};
	int err = numbers_of_dir(p->root_fd, ".", &all);

	for (size_t i = 0; !err && i < all.nr; i++) {
		struct proc proc;

		if (proc_open(p, all.pid[i], &proc))
			continue;
		if (proc.ppid == parent)
			err = pids_add(pids, proc.pid);
		proc_close(&proc);
	}
	free(all.pid);
	return err;
}

static int children_by_lists(const struct proc *proc, struct pids *pids)
{
	struct pids tids = {NULL, 0};
	int task_fd, err;

	task_fd = openat(proc->dir_fd, "task",
			 O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (task_fd < 0)
		return gone_or(errno);
	err = numbers_of_dir(task_fd, ".", &tids);
	for (size_t i = 0; !err && i < tids.nr; i++)
		err = children_of_thread(task_fd, tids.pid[i], pids);
	free(tids.pid);
	(void)close(task_fd);
	return err;
}

/* CONFIG_PROC_CHILDREN may be off. */
static bool lists_children(const struct proc *proc)
{
	char name[48];

	(void)snprintf(name, sizeof(name), "task/%d/children", proc->pid);
	return faccessat(proc->dir_fd, name, F_OK, 0) == 0;
}

int proc_children(const struct procfs *p, const struct proc *proc, pid_t **ret,
		  size_t *ret_nr)
{
	struct pids pids = {NULL, 0};
	int err;

	if (lists_children(proc))
		err = children_by_lists(proc, &pids);
	else
		err = children_by_parent(p, proc->pid, &pids);
	return pids_hand_over(&pids, err, ret, ret_nr);
}

/* ---- beginning and end ---- */

/* Does the kernel answer a query about ourselves? */
static bool has_query(const struct procfs *p)
{
	int fd = openat(p->root_fd, "self/maps", O_RDONLY | O_CLOEXEC);
	struct mount_dev dev;
	struct proc_map map;
	bool has;

	if (fd < 0)
		return false;
	has = query_map(fd, 0, &map, &dev) == 0;
	(void)close(fd);
	return has;
}

int procfs_init(struct procfs *p, const char *root, const struct mount_dev *dev,
		bool parse)
{
	p->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->root_fd < 0)
		return -errno;
	p->dev = *dev;
	p->query = !parse && has_query(p);
	return 0;
}

void procfs_done(struct procfs *p)
{
	if (p->root_fd >= 0)
		(void)close(p->root_fd);
	p->root_fd = -1;
}

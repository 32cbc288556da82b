/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for struct fs and struct control, to see what the FUSE side asks
 * of them and to answer in ways that are hard to bring about: holding back
 * commits, pausing writers, running out of space.
 *
 * There are the root with the file "file" (FAKE_FILE), the folder "dir"
 * (FAKE_DIR) and the entries "entry0" ... of readdir; handles are numbers from
 * 100. The control tree has the folder itself and one file, "vmstat".
 */
#ifndef FOLIO_SCRIPTED_FS_H
#define FOLIO_SCRIPTED_FS_H

#include "base.h"
#include "control.h"
#include "fs.h"
#include "lock.h"

#define FAKE_FILE 2
#define FAKE_DIR 3
#define FAKE_ENTRY 10 /* and up */
#define FAKE_NR_ENTRIES 40
#define FAKE_FH 100
#define FAKE_CONTROL_FILE (CONTROL_INO + 7)
#define FAKE_MAX_DONES 512
#define FAKE_SIZE (256 << 10)

struct fake {
	struct mutex lock;
	struct waitq changed;

	/* ---- what the test sets ---- */
	bool gated;	    /* look-ups, opens and readdirplus wait */
	bool hold_dones;    /* fsyncs and syncs are answered by the test */
	u64 pause_ns;	    /* of writers */
	int full;	    /* so many writes and the like are -ENOSPC */
	bool full_for_good; /* ... and not worth a retry */
	bool listed_elsewhere; /* fs_takes_listing() says no */
	int readdir_err;    /* at entry readdir_err_at */
	u64 readdir_err_at;
	bool drops_setid;    /* writes do */
	bool mapped;	     /* every process maps every file */
	bool shows_mappings; /* the control file does */
	int taking;	     /* so many opens are to come again */
	u64 cache_size;	     /* the unmapper's measure */
	bool to_invalidate;  /* nobody has a file open for writing */
	bool settles;	     /* names wait for a commit */

	/* ---- what the test looks at ---- */
	unsigned nr_gated; /* waiting now */
	u64 lookups;	   /* references out */
	u64 handles;	   /* files and folders open */
	u64 nameless;	   /* made by O_TMPFILE */
	u64 pins;	   /* reads not done */
	unsigned nr_reads, nr_writes, nr_page_writes, nr_ino_writes, nr_syncs,
		nr_commits;
	u32 nr_committed; /* files, by fs_commit_files() */
	u64 committed;	  /* the last of them */
	unsigned last_write_flags;
	bool last_kill; /* of fallocate and copies: FS_KILL_SUIDGID */
	u64 last_write_len;
	u64 controls; /* control files open */
	u64 nr_faults, nr_fills;
	u64 nr_filled; /* reads that the kernel keeps */
	pid_t last_fault_pid;
	char control_text[64]; /* last line written to one */
	char xattr_name[64];
	char xattr_value[64];
	int xattr_flags;
	u32 flags; /* FS_IOC_GETFLAGS */
	unsigned last_set;
	struct fs_done *dones[FAKE_MAX_DONES];
	unsigned nr_dones;
	void (*attr_changed)(void *arg, u64 ino);
	void *attr_changed_arg;
	char data[FAKE_SIZE];
	u64 size;
};

extern struct fake fake;

/* Begin anew. */
void fake_reset(void);

/* Wait until so many operations stand at the gate, or requests are held. */
void fake_wait_gated(unsigned nr);
void fake_wait_dones(unsigned nr);
void fake_open_gate(void);

/* Answer what is held, the last first, with @err. */
void fake_complete(int err);

#endif

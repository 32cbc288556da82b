/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>

#include "vfs.h"
#include "wal_gate.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool shut, held, for_good;
	int code;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

static int wait_at_gate(void *arg, const struct vfs_event *ev)
{
	int code;

	(void)arg;
	if (ev->op != VFS_WRITE || !ev->wal)
		return SQLITE_OK;
	(void)pthread_mutex_lock(&gate.lock);
	if (gate.shut) {
		gate.held = true;
		(void)pthread_cond_broadcast(&gate.changed);
	}
	while (gate.shut)
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	code = gate.code;
	if (!gate.for_good)
		gate.code = SQLITE_OK;
	(void)pthread_mutex_unlock(&gate.lock);
	return code;
}

void wal_gate_set(void)
{
	vfs_set_hook(wait_at_gate, NULL);
}

void wal_gate_remove(void)
{
	vfs_set_hook(NULL, NULL);
}

void wal_gate_shut(void)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.shut = true;
	gate.held = false;
	(void)pthread_mutex_unlock(&gate.lock);
}

void wal_gate_wait(void)
{
	(void)pthread_mutex_lock(&gate.lock);
	while (!gate.held)
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	(void)pthread_mutex_unlock(&gate.lock);
}

static void let_go(int code, bool for_good)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.shut = false;
	gate.code = code;
	gate.for_good = for_good;
	(void)pthread_cond_broadcast(&gate.changed);
	(void)pthread_mutex_unlock(&gate.lock);
}

void wal_gate_open(int code)
{
	let_go(code, false);
}

void wal_gate_fail(int code)
{
	let_go(code, true);
}

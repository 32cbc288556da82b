/* SPDX-License-Identifier: MIT */
/*
 * A user of LMDB, whose database is a shared mapping:
 *
 *	lmdb_helper DIR SEED ROUNDS [writemap] [mapasync]
 *
 * changes random keys in ROUNDS transactions, some of them aborted, with a
 * reader's snapshot open over each, and compares with an array after every
 * one, and again after closing and opening. Every value tells its key and
 * generation, so a torn or old page shows. Prints a digest of what the
 * database holds, which the same seed gives on any filesystem.
 */
#include <inttypes.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NR_KEYS 4096
#define CHANGES 200 /* a transaction */
#define MAX_VALUE 3000

static uint32_t generation[NR_KEYS]; /* 0: not there */
static uint64_t rnd_state;

#define TRY(call) try(call, #call)

static void try(int rc, const char *what)
{
	if (rc == MDB_SUCCESS)
		return;
	fprintf(stderr, "%s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % below;
}

static size_t value_of(uint32_t key, uint32_t gen, uint32_t *buf)
{
	size_t words = 2 + (key * 31 + gen * 17) % (MAX_VALUE / 4 - 2);

	for (size_t i = 0; i < words; i++)
		buf[i] = key * 2654435761u ^ gen * 40503u ^ (uint32_t)i;
	return words * 4;
}

static void change(MDB_txn *txn, MDB_dbi dbi, uint32_t key, uint32_t gen)
{
	uint32_t buf[MAX_VALUE / 4];
	MDB_val k = {sizeof(key), &key};
	MDB_val v = {0, buf};
	int rc;

	if (gen) {
		v.mv_size = value_of(key, gen, buf);
		TRY(mdb_put(txn, dbi, &k, &v, 0));
		return;
	}
	rc = mdb_del(txn, dbi, &k, NULL);
	if (rc != MDB_NOTFOUND)
		TRY(rc);
}

static void compare(MDB_txn *txn, MDB_dbi dbi, const uint32_t *gens)
{
	uint32_t buf[MAX_VALUE / 4];

	for (uint32_t key = 0; key < NR_KEYS; key++) {
		MDB_val k = {sizeof(key), &key};
		MDB_val v;
		int rc = mdb_get(txn, dbi, &k, &v);

		if (rc == MDB_NOTFOUND && !gens[key])
			continue;
		TRY(rc);
		if (!gens[key] || v.mv_size != value_of(key, gens[key], buf) ||
		    memcmp(v.mv_data, buf, v.mv_size) != 0) {
			fprintf(stderr, "key %" PRIu32 " is wrong\n", key);
			exit(1);
		}
	}
}

static void round_of_changes(MDB_env *env, MDB_dbi dbi, uint32_t nr)
{
	uint32_t next[NR_KEYS];
	MDB_txn *snapshot, *txn;

	memcpy(next, generation, sizeof(next));
	TRY(mdb_txn_begin(env, NULL, MDB_RDONLY, &snapshot));
	TRY(mdb_txn_begin(env, NULL, 0, &txn));
	for (int i = 0; i < CHANGES; i++) {
		uint32_t key = rnd(NR_KEYS);

		next[key] = rnd(5) ? nr + 1 : 0;
		change(txn, dbi, key, next[key]);
	}
	if (rnd(4)) {
		TRY(mdb_txn_commit(txn));
	} else {
		mdb_txn_abort(txn);
		memcpy(next, generation, sizeof(next));
	}

	/* The snapshot sees what was, whatever was changed meanwhile. */
	if (nr % 8 == 0)
		compare(snapshot, dbi, generation);
	mdb_txn_abort(snapshot);
	memcpy(generation, next, sizeof(generation));
}

static MDB_env *env_open(const char *dir, unsigned flags, MDB_dbi *ret_dbi)
{
	MDB_env *env;
	MDB_txn *txn;

	TRY(mdb_env_create(&env));
	TRY(mdb_env_set_mapsize(env, 64 << 20));
	TRY(mdb_env_open(env, dir, flags, 0644));
	TRY(mdb_txn_begin(env, NULL, 0, &txn));
	TRY(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, ret_dbi));
	TRY(mdb_txn_commit(txn));
	return env;
}

static void compare_now(MDB_env *env, MDB_dbi dbi)
{
	MDB_txn *txn;

	TRY(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	compare(txn, dbi, generation);
	mdb_txn_abort(txn);
}

static uint64_t digest(void)
{
	uint64_t sum = 14695981039346656037u;

	for (uint32_t key = 0; key < NR_KEYS; key++)
		sum = (sum ^ generation[key]) * 1099511628211u;
	return sum;
}

int main(int argc, char **argv)
{
	unsigned flags = 0;
	MDB_env *env;
	MDB_dbi dbi;
	uint32_t rounds;

	if (argc < 4)
		return 2;
	rnd_state = strtoull(argv[2], NULL, 0);
	rounds = (uint32_t)strtoul(argv[3], NULL, 0);
	for (int i = 4; i < argc; i++)
		flags |= !strcmp(argv[i], "writemap") ? MDB_WRITEMAP
						      : MDB_MAPASYNC;

	env = env_open(argv[1], flags, &dbi);
	for (uint32_t nr = 0; nr < rounds; nr++)
		round_of_changes(env, dbi, nr);
	compare_now(env, dbi);
	TRY(mdb_env_sync(env, 1));
	mdb_env_close(env);

	env = env_open(argv[1], flags, &dbi);
	compare_now(env, dbi);
	mdb_env_close(env);
	printf("%016" PRIx64 "\n", digest());
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * power_lmdb run DIR NR [writemap]	NR transactions
 * power_lmdb look DIR LAST		all up to the LASTth is there, and whole
 *
 * As power_writer.c, with LMDB; compiled where that is installed.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEYS 200
#define WORDS 400

#define TRY(call) try(call, #call)

static void try(int rc, const char *what)
{
	if (rc == MDB_SUCCESS)
		return;
	fprintf(stderr, "%s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static void acknowledge(long n)
{
	struct stat st;

	if (stat(getenv("FOLIO_TRACE"), &st)) {
		perror("FOLIO_TRACE");
		exit(1);
	}
	printf("%lld %ld\n", (long long)st.st_size, n);
	fflush(stdout);
}

static MDB_env *open_env(const char *dir, unsigned flags)
{
	MDB_env *env;

	TRY(mdb_env_create(&env));
	TRY(mdb_env_set_mapsize(env, 16 << 20));
	TRY(mdb_env_open(env, dir, flags, 0644));
	return env;
}

static size_t words_of(long n)
{
	return 1 + (size_t)n * 31 % WORDS;
}

static void run(MDB_env *env, long nr)
{
	long value[WORDS];

	for (long n = 1; n <= nr; n++) {
		long key = n % KEYS;
		MDB_val k = {sizeof(key), &key};
		MDB_val v = {words_of(n) * sizeof(long), value};
		MDB_txn *txn;
		MDB_dbi dbi;

		for (size_t i = 0; i < words_of(n); i++)
			value[i] = n;
		TRY(mdb_txn_begin(env, NULL, 0, &txn));
		TRY(mdb_dbi_open(txn, NULL, 0, &dbi));
		TRY(mdb_put(txn, dbi, &k, &v, 0));
		TRY(mdb_txn_commit(txn));
		acknowledge(n);
	}
}

/* Which transaction wrote the value at @key; 0: there is none. */
static long read_key(MDB_txn *txn, MDB_dbi dbi, long key)
{
	MDB_val k = {sizeof(key), &key}, v;
	long n;
	int rc = mdb_get(txn, dbi, &k, &v);

	if (rc == MDB_NOTFOUND)
		return 0;
	TRY(rc);
	memcpy(&n, v.mv_data, sizeof(n));
	for (size_t i = 0; i < words_of(n); i++) {
		if (v.mv_size != words_of(n) * sizeof(n) ||
		    memcmp((char *)v.mv_data + i * sizeof(n), &n, sizeof(n))) {
			fprintf(stderr, "key %ld is torn\n", key);
			exit(1);
		}
	}
	return n;
}

static void look(MDB_env *env, long last)
{
	long found = 0, n[KEYS];
	MDB_txn *txn;
	MDB_dbi dbi;

	TRY(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	TRY(mdb_dbi_open(txn, NULL, 0, &dbi));
	for (long key = 0; key < KEYS; key++) {
		n[key] = read_key(txn, dbi, key);
		found = n[key] > found ? n[key] : found;
	}
	mdb_txn_abort(txn);
	for (long i = found; i > 0 && i > found - KEYS; i--) {
		if (n[i % KEYS] != i) {
			fprintf(stderr, "%ld is not there, %ld is\n", i, found);
			exit(1);
		}
	}
	if (found < last) {
		fprintf(stderr, "%ld is the last, %ld was committed\n", found,
			last);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	MDB_env *env;

	if (argc < 4)
		return 2;
	env = open_env(argv[2], argc > 4 ? MDB_WRITEMAP : 0);
	if (!strcmp(argv[1], "run"))
		run(env, strtol(argv[3], NULL, 10));
	else
		look(env, strtol(argv[3], NULL, 10));
	mdb_env_close(env);
	return 0;
}

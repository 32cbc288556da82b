/* SPDX-License-Identifier: MIT */
/*
 * SQL in strings: laid out by hand, for readers of SQL. S_IFDIR is 16384,
 * S_IFREG 32768, S_IFLNK 40960 and the mask of types 61440. The flags of
 * extent: 1 unwritten, 4 inline, 8 lost.
 */
#include "config.h"

#include "meta_int.h"
#include "meta_rules.h"

/* clang-format off */

/* What numbers can be at most, or have to stay below: inodes and cookies, pages
 * of a file, bytes. */
#define ID_END META_ID_GIVEN_SQL
#define PAGES_END "2251799813685248"
#define SIZE_MAX_TEXT "9223372036854771712"
#define U32_MAX_TEXT "4294967295"

#define NO_NUMBER(column) "typeof(" column ")<>'integer'"
#define NO_BLOB(column) "typeof(" column ")<>'blob'"

#define IS_DIR "mode&61440=16384"
#define IS_FILE "mode&61440=32768"
#define IS_LINK "mode&61440=40960"
#define SANE_TYPE "mode&61440 IN (4096,8192,16384,24576,32768,40960,49152)"

#define INODES "(SELECT ino FROM inode)"
#define DIRS "(SELECT ino FROM inode WHERE " IS_DIR ")"
#define BAD "(SELECT a FROM bad)"

/*
 * A file's size by what there is of it: up to the last byte of a page in a row,
 * which is kept without zeros at its end, as that is where most short files
 * end; else whole pages, for zeros at the end of a block may be content.
 */
#define SIZE_OF(ino)                                                    \
	"coalesce((SELECT min(" SIZE_MAX_TEXT ",max(4096*e.pgoff+"      \
		"iif(e.flags=4,coalesce(length(e.data),0),4096*e.npages)))" \
		" FROM extent e WHERE e.ino=" ino " AND e.flags<>1"     \
		" AND e.pgoff+e.npages<=" PAGES_END "),0)"

/* What an inode must have been, by what else speaks of it. */
#define TYPE_OF(ino)                                                    \
	"CASE WHEN " ino " IN (SELECT parent FROM dentry) OR " ino "=1" \
		" THEN 16832"                                           \
	" WHEN " ino " IN (SELECT ino FROM symlink) THEN 41471"         \
	" WHEN " ino " IN (SELECT ino FROM extent) THEN 33152"          \
	" ELSE coalesce((SELECT d.type FROM dentry d WHERE d.ino=" ino  \
		" AND d.type IN (4096,16384,32768,49152) LIMIT 1)"      \
		",32768)|384 END"

#define DROP_BAD_INODES                           \
	"DELETE FROM extent WHERE ino IN " BAD ";"  \
	"DELETE FROM xattr WHERE ino IN " BAD ";"   \
	"DELETE FROM symlink WHERE ino IN " BAD ";" \
	"DELETE FROM orphan WHERE ino IN " BAD ";"  \
	"DELETE FROM dentry WHERE ino IN " BAD ";"  \
	"DELETE FROM inode WHERE ino IN " BAD

#define NEW_ID "(SELECT coalesce(max(id),0) FROM dentry)"

/* Names for the inodes of temp.bad that have none, #INO. */
#define LINK_BAD                                                        \
	"INSERT INTO dentry(id,parent,name,ino,type)"                   \
	" SELECT " NEW_ID "+row_number() OVER (ORDER BY a),?1,"         \
		"CAST('#'||a||CASE WHEN EXISTS(SELECT 1 FROM dentry d"  \
			" WHERE d.parent=?1"                            \
			" AND d.name=CAST('#'||a AS BLOB))"             \
			" THEN '.'||" NEW_ID " ELSE '' END AS BLOB),"   \
		"a,(SELECT mode&61440 FROM inode WHERE ino=a)"          \
	" FROM bad WHERE a NOT IN (SELECT ino FROM dentry)"

#define BAD_ATTRIBUTE                                             \
	NO_NUMBER("ino")                                          \
	" OR " NO_BLOB("name") " OR length(name) NOT BETWEEN 1 AND 255" \
	" OR instr(name,x'00')"                                   \
	" OR " NO_BLOB("value") " OR length(value)>65536"

const struct meta_rule meta_rules[] = {
	{
		SUBJECT_NONE, RULE_LOSES, NULL,
		"super: not exactly one row",
		"SELECT 1 WHERE (SELECT count(*) FROM super)<>1",
		NULL,
	},

	/* rows that are none */
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": impossible number",
		"SELECT ino FROM inode WHERE ino<1 OR ino>=" ID_END,
		DROP_BAD_INODES,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": a column is no number",
		"SELECT ino FROM inode WHERE " NO_NUMBER("mode")
		" OR " NO_NUMBER("uid")
		" OR " NO_NUMBER("gid")
		" OR " NO_NUMBER("nlink")
		" OR " NO_NUMBER("size")
		" OR " NO_NUMBER("atime")
		" OR " NO_NUMBER("mtime")
		" OR " NO_NUMBER("ctime")
		" OR " NO_NUMBER("btime")
		" OR " NO_NUMBER("rdev")
		" OR " NO_NUMBER("flags")
		" OR " NO_NUMBER("generation"),
		"UPDATE inode SET mode=CAST(mode AS INTEGER),"
			"uid=CAST(uid AS INTEGER),"
			"gid=CAST(gid AS INTEGER),"
			"nlink=CAST(nlink AS INTEGER),"
			"size=iif(" NO_NUMBER("size") ",-1,size),"
			"atime=CAST(atime AS INTEGER),"
			"mtime=CAST(mtime AS INTEGER),"
			"ctime=CAST(ctime AS INTEGER),"
			"btime=CAST(btime AS INTEGER),"
			"rdev=CAST(rdev AS INTEGER),"
			"flags=CAST(flags AS INTEGER),"
			"generation=CAST(generation AS INTEGER)"
		" WHERE ino IN " BAD,
	},
	{
		SUBJECT_NAME, RULE_LOSES, NULL,
		": not a possible name",
		"SELECT id,parent FROM dentry WHERE " NO_BLOB("name")
		" OR length(name) NOT BETWEEN 1 AND 255"
		" OR instr(name,x'2f')"
		" OR instr(name,x'00')"
		" OR name IN (x'2e',x'2e2e')"
		" OR " NO_NUMBER("parent")
		" OR " NO_NUMBER("ino")
		" OR " NO_NUMBER("type"),
		"DELETE FROM dentry WHERE id IN " BAD,
	},
	{
		SUBJECT_NAME, RULE_REPEAT, NULL,
		": impossible cookie",
		"SELECT id,parent FROM dentry WHERE id<1 OR id>=" ID_END,
		"UPDATE dentry SET id=(SELECT coalesce(max(id),0)+1"
			" FROM dentry"
			" WHERE id BETWEEN 1 AND " ID_END "-2)"
		" WHERE id=(SELECT min(a) FROM bad)",
	},
	{
		SUBJECT_INODE, RULE_LOSES, "extent of inode",
		" at page %lld: makes no sense",
		"SELECT ino,pgoff,npages,coalesce(length(sum),0)/8"
		" FROM extent WHERE " NO_NUMBER("ino")
		" OR " NO_NUMBER("pgoff")
		" OR " NO_NUMBER("npages")
		" OR " NO_NUMBER("block")
		" OR " NO_NUMBER("flags")
		" OR pgoff<0 OR npages<1 OR pgoff>=" PAGES_END
		" OR npages>" PAGES_END "-pgoff"
		" OR npages>" U32_MAX_TEXT
		" OR block<0 OR block>=" PAGES_END "-npages"
		" OR flags NOT IN (0,1,4,8)"
		" OR (flags IN (4,8))<>(block=0)"
		" OR (flags IN (0,4) AND npages>256)"
		" OR (flags=4 AND (npages<>1 OR " NO_BLOB("data")
			" OR length(data)>4096))"
		" OR (flags IN (1,8) AND sum IS NOT NULL)"
		" OR (flags IN (0,4) AND (" NO_BLOB("sum")
			" OR length(sum)<>8*npages))",
		"DELETE FROM extent WHERE (ino,pgoff) IN"
			" (SELECT a,b FROM bad);"
		"INSERT OR IGNORE INTO extent SELECT a,b,"
			"min(max(iif(c BETWEEN 1 AND 256,c,256),min(d,256)),"
			"coalesce((SELECT min(e.pgoff) FROM extent e"
				" WHERE e.ino=a AND e.pgoff>b)," PAGES_END
			")-b),0,8,NULL,NULL"
		" FROM bad WHERE typeof(a)='integer'"
		" AND typeof(b)='integer'"
		" AND b>=0 AND b<" PAGES_END
		" AND b NOT IN"
			" (SELECT e.pgoff FROM extent e WHERE e.ino=a)",
	},
	{
		SUBJECT_INODE, RULE_LOSES, "attribute of inode",
		": makes no sense",
		"SELECT DISTINCT ino FROM xattr WHERE " BAD_ATTRIBUTE,
		"DELETE FROM xattr WHERE " BAD_ATTRIBUTE,
	},

	/* inodes */
	{
		SUBJECT_NONE, RULE_LOSES, NULL,
		"there is no root folder",
		"SELECT 1 WHERE NOT EXISTS"
			"(SELECT 1 FROM inode WHERE ino=1 AND " IS_DIR ")",
		"INSERT OR REPLACE INTO inode"
		" SELECT 1,16877,0,0,2,0,created,created,created,created,"
			"0,0,0 FROM super",
	},
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": its row is lost, but not what belongs to it",
		"SELECT DISTINCT ino FROM (SELECT parent AS ino FROM dentry"
			" UNION ALL SELECT ino FROM extent"
			" UNION ALL SELECT ino FROM symlink)"
		" WHERE ino NOT IN " INODES " AND ino>1"
		" AND ino<(SELECT max(next_ino) FROM super)",
		"INSERT INTO inode SELECT a," TYPE_OF("a") ",r.uid,r.gid,0,"
			"CASE WHEN a IN (SELECT parent FROM dentry) THEN 0"
			" WHEN a IN (SELECT ino FROM symlink) THEN"
			" (SELECT length(target) FROM symlink s"
				" WHERE s.ino=a)"
			" ELSE " SIZE_OF("a") " END,"
			"r.mtime,r.mtime,r.ctime,r.btime,0,0,0"
		" FROM bad,inode r WHERE r.ino=1",
	},
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": impossible mode",
		"SELECT ino FROM inode"
		" WHERE mode&~65535 OR NOT (" SANE_TYPE ")",
		"UPDATE inode SET mode=iif(" SANE_TYPE ",mode&65535,"
			TYPE_OF("inode.ino") ") WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": impossible size",
		"SELECT ino FROM inode WHERE size<0",
		"UPDATE inode SET size=" SIZE_OF("inode.ino")
		" WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "inode",
		": impossible attributes",
		"SELECT ino FROM inode"
		" WHERE uid NOT BETWEEN 0 AND " U32_MAX_TEXT
		" OR gid NOT BETWEEN 0 AND " U32_MAX_TEXT
		" OR nlink NOT BETWEEN 0 AND " U32_MAX_TEXT
		" OR flags NOT BETWEEN 0 AND " U32_MAX_TEXT
		" OR generation NOT BETWEEN 0 AND " U32_MAX_TEXT
		" OR rdev<0",
		"UPDATE inode SET uid=uid&" U32_MAX_TEXT ","
			"gid=gid&" U32_MAX_TEXT ","
			"nlink=nlink&" U32_MAX_TEXT ","
			"flags=flags&" U32_MAX_TEXT ","
			"generation=generation&" U32_MAX_TEXT ","
			"rdev=max(rdev,0)"
		" WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, 0, "inode",
		": its number was not given out yet",
		"SELECT ino FROM inode"
		" WHERE ino>=(SELECT max(next_ino) FROM super)",
		"UPDATE super SET next_ino=(SELECT max(ino)+1 FROM inode)",
	},
	{
		SUBJECT_INODE, RULE_LOSES, "extent of inode",
		", which does not exist or is no file",
		"SELECT DISTINCT ino FROM extent WHERE ino NOT IN"
			" (SELECT ino FROM inode WHERE " IS_FILE ")",
		"DELETE FROM extent WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "symlink",
		": is no symbolic link",
		"SELECT ino FROM symlink WHERE ino NOT IN"
			" (SELECT ino FROM inode WHERE " IS_LINK ")",
		"DELETE FROM symlink WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "symbolic link",
		": has no target",
		"SELECT ino FROM inode WHERE " IS_LINK
		" AND ino NOT IN (SELECT ino FROM symlink"
			" WHERE typeof(target)='blob'"
			" AND length(target) BETWEEN 1 AND 4095"
			" AND NOT instr(target,x'00'))",
		DROP_BAD_INODES,
	},
	{
		SUBJECT_INODE, 0, "attribute of inode",
		", which does not exist",
		"SELECT DISTINCT ino FROM xattr WHERE ino NOT IN " INODES,
		"DELETE FROM xattr WHERE ino IN " BAD,
	},

	/* names */
	{
		SUBJECT_NAME, RULE_LOSES, NULL,
		": its inode %lld does not exist",
		"SELECT id,parent,ino FROM dentry WHERE ino NOT IN " INODES,
		"DELETE FROM dentry WHERE id IN " BAD,
	},
	{
		SUBJECT_NAME, RULE_LOSES, NULL,
		": its folder does not exist or is none",
		"SELECT id,parent FROM dentry WHERE parent NOT IN " DIRS,
		"DELETE FROM dentry WHERE id IN " BAD,
	},
	{
		SUBJECT_NAME, 0, NULL,
		": its type is not that of inode %lld",
		"SELECT d.id,d.parent,d.ino FROM dentry d"
		" JOIN inode i ON i.ino=d.ino WHERE d.type<>i.mode&61440",
		"UPDATE dentry SET type=(SELECT mode&61440 FROM inode i"
			" WHERE i.ino=dentry.ino)"
		" WHERE id IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES, "folder",
		": has %lld names",
		"SELECT i.ino,count(*) AS n FROM inode i"
		" JOIN dentry d ON d.ino=i.ino WHERE i." IS_DIR
		" GROUP BY i.ino HAVING n>1 OR i.ino=1",
		"DELETE FROM dentry WHERE ino IN " BAD
		" AND (ino=1 OR id<>(SELECT min(d.id) FROM dentry d"
			" WHERE d.ino=dentry.ino))",
	},
	{
		SUBJECT_INODE, 0, "orphan",
		": has links or does not exist",
		"SELECT ino FROM orphan WHERE ino NOT IN " INODES
		" OR ino=1 OR ino IN (SELECT ino FROM dentry)",
		"DELETE FROM orphan WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, 0, "orphan",
		": has names in it",
		"SELECT ino FROM orphan"
		" WHERE ino IN (SELECT parent FROM dentry)",
		"DELETE FROM orphan WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES | RULE_LOST_FOUND | RULE_REPEAT,
		"folder",
		": cannot be reached from the root",
		"WITH RECURSIVE t(ino) AS (SELECT 1 UNION"
			" SELECT d.ino FROM t JOIN dentry d ON d.parent=t.ino"
			" WHERE d.type=16384)"
		" SELECT ino FROM inode WHERE " IS_DIR
		" AND ino NOT IN t AND ino NOT IN orphan",
		/* all of it is cycles: cut one */
		"DELETE FROM dentry WHERE ino=(SELECT min(a) FROM bad)"
		" AND NOT EXISTS(SELECT 1 FROM bad"
			" WHERE a NOT IN (SELECT ino FROM dentry));"
		LINK_BAD,
	},
	{
		SUBJECT_INODE, RULE_LOSES | RULE_LOST_FOUND, "inode",
		": no name and no orphan",
		"SELECT ino FROM inode WHERE ino<>1 AND NOT (" IS_DIR ")"
		" AND NOT EXISTS"
			"(SELECT 1 FROM dentry d WHERE d.ino=inode.ino)"
		" AND NOT EXISTS"
			"(SELECT 1 FROM orphan o WHERE o.ino=inode.ino)",
		LINK_BAD,
	},

	/* counts */
	{
		SUBJECT_INODE, 0, "inode",
		": %lld links counted, %lld names",
		"SELECT ino,nlink,(SELECT count(*) FROM dentry d"
			" WHERE d.ino=inode.ino) AS n"
		" FROM inode WHERE NOT (" IS_DIR ") AND nlink<>n",
		"UPDATE inode SET nlink=(SELECT c FROM bad WHERE a=inode.ino)"
		" WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, 0, "folder",
		": %lld links counted, %lld expected",
		"SELECT ino,nlink,2+(SELECT count(*) FROM dentry d"
			" WHERE d.parent=inode.ino AND d.type=16384) AS n"
		" FROM inode WHERE " IS_DIR
		" AND nlink<>n AND ino NOT IN orphan",
		"UPDATE inode SET nlink=(SELECT c FROM bad WHERE a=inode.ino)"
		" WHERE ino IN " BAD,
	},
	{
		SUBJECT_INODE, 0, "symbolic link",
		": %lld bytes counted, its target has %lld",
		"SELECT i.ino,i.size,length(s.target) AS n FROM inode i"
		" JOIN symlink s ON s.ino=i.ino"
		" WHERE i." IS_LINK " AND i.size<>n",
		"UPDATE inode SET size=(SELECT c FROM bad WHERE a=inode.ino)"
		" WHERE ino IN " BAD,
	},

	/* what overlaps is mended by who can read the blocks */
	{
		SUBJECT_INODE, RULE_LOSES, "extent of inode",
		" at page %lld: overlaps the one before it",
		"SELECT ino,pgoff FROM (SELECT ino,pgoff,"
			"max(pgoff+npages) OVER (PARTITION BY ino"
			" ORDER BY pgoff ROWS BETWEEN UNBOUNDED PRECEDING"
			" AND 1 PRECEDING) AS before FROM extent)"
		" WHERE pgoff<before",
		NULL,
	},
};

/* clang-format on */

const size_t meta_nr_rules = ARRAY_SIZE(meta_rules);

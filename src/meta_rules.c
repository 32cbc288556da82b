/* SPDX-License-Identifier: MIT */
/*
 * S_IFDIR is 16384, S_IFREG 32768, S_IFLNK 40960 and the mask of types 61440.
 * Inode numbers and cookies end at 2^62, pages at PGOFF_MAX = 2^51 - 1. The
 * flags of extent: 1 unwritten, 4 inline, 8 lost.
 */
#include "config.h"

#include "meta_rules.h"

#define NUMBER(column) "typeof(" column ")<>'integer'"
#define DIRS "(SELECT ino FROM inode WHERE mode&61440=16384)"
#define SANE_TYPE "mode&61440 IN (4096,8192,16384,24576,32768,40960,49152)"

/*
 * A file's size by what there is of it: up to the last byte of a page in a row,
 * which is kept without zeros at its end, as that is where most short files
 * end; else whole pages, for zeros at the end of a block may be content.
 */
#define SIZE_OF(ino)                                                     \
	"coalesce((SELECT min(9223372036854771712,max(4096*e.pgoff+iif(" \
	"e.flags=4,coalesce(length(e.data),0),4096*e.npages))) "         \
	"FROM extent e WHERE e.ino=" ino                                 \
	" AND e.flags<>1 AND e.pgoff+e.npages<=2251799813685248),0)"

/* What an inode must have been, by what else speaks of it. */
#define TYPE_OF(ino)                                                 \
	"CASE WHEN " ino " IN (SELECT parent FROM dentry) OR " ino   \
	"=1 THEN 16832 WHEN " ino " IN (SELECT ino FROM symlink) "   \
	"THEN 41471 WHEN " ino " IN (SELECT ino FROM extent) THEN "  \
	"33152 ELSE coalesce((SELECT d.type FROM dentry d WHERE "    \
	"d.ino=" ino " AND d.type IN (4096,16384,32768,49152) LIMIT" \
	" 1),32768)|384 END"

#define DROP_INODES(which)                            \
	"DELETE FROM extent WHERE ino IN " which ";"  \
	"DELETE FROM xattr WHERE ino IN " which ";"   \
	"DELETE FROM symlink WHERE ino IN " which ";" \
	"DELETE FROM orphan WHERE ino IN " which ";"  \
	"DELETE FROM dentry WHERE ino IN " which ";"  \
	"DELETE FROM inode WHERE ino IN " which

#define NEW_ID "(SELECT coalesce(max(id),0) FROM dentry)"

/* Names for the inodes of temp.bad that have none, #INO. */
#define LINK_BAD                                                             \
	"INSERT INTO dentry(id,parent,name,ino,type) SELECT " NEW_ID         \
	"+row_number() OVER (ORDER BY a),?1,CAST('#'||a||CASE WHEN EXISTS("  \
	"SELECT 1 FROM dentry d WHERE d.parent=?1 AND "                      \
	"d.name=CAST('#'||a AS BLOB)) THEN '.'||" NEW_ID                     \
	" ELSE '' END AS BLOB),a,(SELECT mode&61440 FROM inode WHERE ino=a)" \
	" FROM bad WHERE a NOT IN (SELECT ino FROM dentry)"

const struct meta_rule meta_rules[] = {
	{SUBJECT_NONE, RULE_LOSES, NULL, "super: not exactly one row",
	 "SELECT 1 WHERE (SELECT count(*) FROM super)<>1", NULL},

	/* rows that are none */
	{SUBJECT_INODE, RULE_LOSES, "inode", ": impossible number",
	 "SELECT ino FROM inode WHERE ino<1 OR "
	 "ino>=4611686018427387904",
	 DROP_INODES("(SELECT a FROM bad)")},
	{SUBJECT_INODE, RULE_LOSES, "inode", ": a column is no number",
	 "SELECT ino FROM inode WHERE " NUMBER("mode") " OR " NUMBER(
		 "u"
		 "i"
		 "d") " OR " NUMBER("gid") " OR " NUMBER("nlink") " OR " NUMBER("size") " OR " NUMBER("atime") " OR " NUMBER("mtime") " OR " NUMBER("ctime") " OR " NUMBER("btime") " OR " NUMBER("rdev") " OR " NUMBER("flags") " OR " NUMBER("generation"),
	 "UPDATE inode SET mode=CAST(mode AS INTEGER),"
	 "uid=CAST(uid AS INTEGER),gid=CAST(gid AS INTEGER),"
	 "nlink=CAST(nlink AS INTEGER),"
	 "size=iif(" NUMBER(
		 "size") ",-1,size),"
			 "atime=CAST(atime AS "
			 "INTEGER),mtime=CAST(mtime AS INTEGER),"
			 "ctime=CAST(ctime AS "
			 "INTEGER),btime=CAST(btime AS INTEGER),"
			 "rdev=CAST(rdev AS INTEGER),flags=CAST(flags "
			 "AS INTEGER),"
			 "generation=CAST(generation AS INTEGER) "
			 "WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_NAME, RULE_LOSES, NULL, ": not a possible name",
	 "SELECT id,parent FROM dentry WHERE typeof(name)<>'blob' OR "
	 "length(name) NOT BETWEEN 1 AND 255 OR instr(name,x'2f') OR "
	 "instr(name,x'00') OR name IN (x'2e',x'2e2e') OR " NUMBER(
		 "parent") " OR " NUMBER("ino") " OR " NUMBER("type"),
	 "DELETE FROM dentry WHERE id IN (SELECT a FROM bad)"},
	{SUBJECT_NAME, RULE_REPEAT, NULL, ": impossible cookie",
	 "SELECT id,parent FROM dentry WHERE id<1 OR "
	 "id>=4611686018427387904",
	 "UPDATE dentry SET id=(SELECT coalesce(max(id),0)+1 FROM "
	 "dentry "
	 "WHERE id BETWEEN 1 AND 4611686018427387902) "
	 "WHERE id=(SELECT min(a) FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "extent of inode",
	 " at page %lld: makes no sense",
	 "SELECT ino,pgoff,npages,coalesce(length(sum),0)/8 FROM "
	 "extent WHERE "
	 "" NUMBER("ino") " OR " NUMBER("pgoff") " OR " NUMBER(
		 "npages") " OR " NUMBER("block") " OR " NUMBER("flags") " OR "
									 "pgoff"
									 "<0 "
									 "OR "
									 "npage"
									 "s<1 "
									 "OR "
									 "pgoff"
									 ">"
									 "22517"
									 "99813"
									 "68524"
									 "7 OR "
									 "npage"
									 "s>"
									 "22517"
									 "99813"
									 "68524"
									 "8-"
									 "pgoff"
									 " OR "
									 "npage"
									 "s>"
									 "42949"
									 "67295"
									 " OR "
									 "block"
									 "<0 "
									 "OR "
									 "block"
									 ">"
									 "22517"
									 "99813"
									 "68524"
									 "7-"
									 "npage"
									 "s OR "
									 "flags"
									 " NOT "
									 "IN "
									 "(0,1,"
									 "4,8) "
									 "OR "
									 "(flag"
									 "s IN "
									 "(4,8)"
									 ")<>("
									 "block"
									 "=0) "
									 "OR "
									 "(flag"
									 "s IN "
									 "(0,4)"
									 " AND "
									 "npage"
									 "s>"
									 "256) "
									 "OR "
									 "(flag"
									 "s=4 "
									 "AND "
									 "(npag"
									 "es<>"
									 "1 OR "
									 "typeo"
									 "f("
									 "data)"
									 "<>'"
									 "blob'"
									 " "
									 "OR "
									 "lengt"
									 "h("
									 "data)"
									 ">4096"
									 ")) "
									 "OR "
									 "(flag"
									 "s IN "
									 "(1,8)"
									 " "
									 "AND "
									 "sum "
									 "IS "
									 "NOT "
									 "NULL)"
									 " "
									 "OR "
									 "(flag"
									 "s IN "
									 "(0,4)"
									 " AND "
									 "(type"
									 "of("
									 "sum)<"
									 ">'"
									 "blob'"
									 " "
									 "OR "
									 "lengt"
									 "h("
									 "sum)<"
									 ">8*"
									 "npage"
									 "s))",
	 "DELETE FROM extent WHERE (ino,pgoff) IN (SELECT a,b FROM "
	 "bad);"
	 "INSERT OR IGNORE INTO extent SELECT a,b,min(max(iif(c "
	 "BETWEEN 1 AND "
	 "256,c,256),min(d,256)),coalesce((SELECT min(e.pgoff) FROM "
	 "extent e "
	 "WHERE e.ino=a AND "
	 "e.pgoff>b),2251799813685248)-b),0,8,NULL,NULL "
	 "FROM bad WHERE typeof(a)='integer' AND typeof(b)='integer' "
	 "AND "
	 "b BETWEEN 0 AND 2251799813685247 AND b NOT IN (SELECT "
	 "e.pgoff FROM "
	 "extent e WHERE e.ino=a)"},
	{SUBJECT_INODE, RULE_LOSES, "attribute of inode", ": makes no sense",
	 "SELECT DISTINCT ino FROM xattr WHERE " NUMBER(
		 "ino") " OR typeof(name)<>'blob' OR length(name) NOT "
			"BETWEEN "
			"1 AND 255 OR instr(name,x'00') OR "
			"typeof(value)<>'blob' OR "
			"length(value)>65536",
	 "DELETE FROM xattr WHERE " NUMBER(
		 "ino") " OR typeof(name)<>'blob' OR length(name) NOT "
			"BETWEEN "
			"1 AND 255 OR instr(name,x'00') OR "
			"typeof(value)<>'blob' OR "
			"length(value)>65536"},

	/* inodes */
	{SUBJECT_NONE, RULE_LOSES, NULL, "there is no root folder",
	 "SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM inode WHERE ino=1 "
	 "AND mode&61440=16384)",
	 "INSERT OR REPLACE INTO inode SELECT "
	 "1,16877,0,0,2,0,created,created,"
	 "created,created,0,0,0 FROM super"},
	{SUBJECT_INODE, RULE_LOSES, "inode",
	 ": its row is lost, but not what belongs to it",
	 "SELECT DISTINCT ino FROM (SELECT parent AS ino FROM dentry "
	 "UNION ALL "
	 "SELECT ino FROM extent UNION ALL SELECT ino FROM symlink) "
	 "WHERE ino "
	 "NOT IN (SELECT ino FROM inode) AND ino>1 AND "
	 "ino<(SELECT max(next_ino) FROM super)",
	 "INSERT INTO inode SELECT a," TYPE_OF(
		 "a") ",r.uid,r.gid,0,CASE WHEN a IN (SELECT parent "
		      "FROM "
		      "dentry) THEN 0 WHEN a IN (SELECT ino FROM "
		      "symlink) THEN (SELECT "
		      "length(target) FROM symlink s WHERE s.ino=a) "
		      "ELSE " SIZE_OF("a") " END,r.mtime,r.mtime,r.ctime,r."
					   "btime,0,0,0 "
					   "FROM bad,inode r WHERE r.ino=1"},
	{SUBJECT_INODE, RULE_LOSES, "inode", ": impossible mode",
	 "SELECT ino FROM inode WHERE mode&~65535 OR NOT (" SANE_TYPE ")",
	 "UPDATE inode SET mode=iif(" SANE_TYPE ",mode&65535," TYPE_OF(
		 "inode.ino") ") WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "inode", ": impossible mode or size",
	 "SELECT ino FROM inode WHERE size<0 OR "
	 "size>9223372036854771712",
	 "UPDATE inode SET size=" SIZE_OF(
		 "inode.ino") " WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "inode", ": impossible attributes",
	 "SELECT ino FROM inode WHERE uid NOT BETWEEN 0 AND 4294967295 "
	 "OR "
	 "gid NOT BETWEEN 0 AND 4294967295 OR "
	 "nlink NOT BETWEEN 0 AND 4294967295 OR "
	 "flags NOT BETWEEN 0 AND 4294967295 OR "
	 "generation NOT BETWEEN 0 AND 4294967295 OR rdev<0",
	 "UPDATE inode SET uid=uid&4294967295,gid=gid&4294967295,"
	 "nlink=nlink&4294967295,flags=flags&4294967295,"
	 "generation=generation&4294967295,rdev=max(rdev,0) "
	 "WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, 0, "inode", ": its number was not given out yet",
	 "SELECT ino FROM inode WHERE ino>=(SELECT max(next_ino) FROM "
	 "super)",
	 "UPDATE super SET next_ino=(SELECT max(ino)+1 FROM inode)"},
	{SUBJECT_INODE, RULE_LOSES, "extent of inode",
	 ", which does not exist or is no file",
	 "SELECT DISTINCT ino FROM extent WHERE ino NOT IN (SELECT ino "
	 "FROM "
	 "inode WHERE mode&61440=32768)",
	 "DELETE FROM extent WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "symlink", ": is no symbolic link",
	 "SELECT ino FROM symlink WHERE ino NOT IN (SELECT ino FROM "
	 "inode "
	 "WHERE mode&61440=40960)",
	 "DELETE FROM symlink WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "symbolic link", ": has no target",
	 "SELECT ino FROM inode WHERE mode&61440=40960 AND ino NOT IN "
	 "(SELECT "
	 "ino FROM symlink WHERE typeof(target)='blob' AND "
	 "length(target) "
	 "BETWEEN 1 AND 4095 AND NOT instr(target,x'00'))",
	 DROP_INODES("(SELECT a FROM bad)")},
	{SUBJECT_INODE, 0, "attribute of inode", ", which does not exist",
	 "SELECT DISTINCT ino FROM xattr WHERE ino NOT IN (SELECT ino "
	 "FROM "
	 "inode)",
	 "DELETE FROM xattr WHERE ino IN (SELECT a FROM bad)"},

	/* names */
	{SUBJECT_NAME, RULE_LOSES, NULL, ": its inode %lld does not exist",
	 "SELECT id,parent,ino FROM dentry WHERE ino NOT IN (SELECT "
	 "ino FROM "
	 "inode)",
	 "DELETE FROM dentry WHERE id IN (SELECT a FROM bad)"},
	{SUBJECT_NAME, RULE_LOSES, NULL,
	 ": its folder does not exist or is none",
	 "SELECT id,parent FROM dentry WHERE parent NOT IN " DIRS,
	 "DELETE FROM dentry WHERE id IN (SELECT a FROM bad)"},
	{SUBJECT_NAME, 0, NULL, ": its type is not that of inode %lld",
	 "SELECT d.id,d.parent,d.ino FROM dentry d JOIN inode i ON "
	 "i.ino=d.ino WHERE d.type<>i.mode&61440",
	 "UPDATE dentry SET type=(SELECT mode&61440 FROM inode i WHERE "
	 "i.ino=dentry.ino) WHERE id IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES, "folder", ": has %lld names",
	 "SELECT i.ino,count(*) AS n FROM inode i JOIN dentry d ON "
	 "d.ino=i.ino "
	 "WHERE i.mode&61440=16384 GROUP BY i.ino HAVING n>1 OR "
	 "i.ino=1",
	 "DELETE FROM dentry WHERE ino IN (SELECT a FROM bad) AND "
	 "(ino=1 OR "
	 "id<>(SELECT min(d.id) FROM dentry d WHERE "
	 "d.ino=dentry.ino))"},
	{SUBJECT_INODE, 0, "orphan", ": has links or does not exist",
	 "SELECT ino FROM orphan WHERE ino NOT IN (SELECT ino FROM "
	 "inode) OR ino=1 OR "
	 "ino IN (SELECT ino FROM dentry)",
	 "DELETE FROM orphan WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, 0, "orphan", ": has names in it",
	 "SELECT ino FROM orphan WHERE ino IN (SELECT parent FROM dentry)",
	 "DELETE FROM orphan WHERE ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, RULE_LOSES | RULE_LOST_FOUND | RULE_REPEAT, "folder",
	 ": cannot be reached from the root",
	 "WITH RECURSIVE t(ino) AS (SELECT 1 UNION SELECT d.ino FROM t "
	 "JOIN "
	 "dentry d ON d.parent=t.ino WHERE d.type=16384) SELECT ino "
	 "FROM inode "
	 "WHERE mode&61440=16384 AND ino NOT IN t AND ino NOT IN "
	 "orphan",
	 /* all of it is cycles: cut one */
	 "DELETE FROM dentry WHERE ino=(SELECT min(a) FROM bad) AND "
	 "NOT "
	 "EXISTS(SELECT 1 FROM bad WHERE a NOT IN (SELECT ino FROM "
	 "dentry));" LINK_BAD},
	{SUBJECT_INODE, RULE_LOSES | RULE_LOST_FOUND, "inode",
	 ": no name and no orphan",
	 "SELECT ino FROM inode WHERE ino<>1 AND mode&61440<>16384 AND "
	 "NOT EXISTS(SELECT 1 FROM dentry d WHERE d.ino=inode.ino) AND "
	 "NOT EXISTS(SELECT 1 FROM orphan o WHERE o.ino=inode.ino)",
	 LINK_BAD},

	/* counts */
	{SUBJECT_INODE, 0, "inode", ": %lld links counted, %lld names",
	 "SELECT ino,nlink,(SELECT count(*) FROM dentry d WHERE "
	 "d.ino=inode.ino) AS n FROM inode WHERE mode&61440<>16384 AND "
	 "nlink<>n",
	 "UPDATE inode SET nlink=(SELECT c FROM bad WHERE a=inode.ino) "
	 "WHERE "
	 "ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, 0, "folder", ": %lld links counted, %lld expected",
	 "SELECT ino,nlink,2+(SELECT count(*) FROM dentry d WHERE "
	 "d.parent=inode.ino AND d.type=16384) AS n FROM inode WHERE "
	 "mode&61440=16384 AND nlink<>n AND ino NOT IN orphan",
	 "UPDATE inode SET nlink=(SELECT c FROM bad WHERE a=inode.ino) "
	 "WHERE "
	 "ino IN (SELECT a FROM bad)"},
	{SUBJECT_INODE, 0, "symbolic link",
	 ": %lld bytes counted, its target has %lld",
	 "SELECT i.ino,i.size,length(s.target) AS n FROM inode i JOIN "
	 "symlink "
	 "s ON s.ino=i.ino WHERE i.mode&61440=40960 AND i.size<>n",
	 "UPDATE inode SET size=(SELECT c FROM bad WHERE a=inode.ino) "
	 "WHERE "
	 "ino IN (SELECT a FROM bad)"},

	/* what overlaps is mended by who can read the blocks */
	{SUBJECT_INODE, RULE_LOSES, "extent of inode",
	 " at page %lld: overlaps the one before it",
	 "SELECT ino,pgoff FROM (SELECT ino,pgoff,max(pgoff+npages) "
	 "OVER "
	 "(PARTITION BY ino ORDER BY pgoff ROWS BETWEEN UNBOUNDED "
	 "PRECEDING "
	 "AND 1 PRECEDING) AS before FROM extent) WHERE pgoff<before",
	 NULL},
};

const size_t meta_nr_rules = ARRAY_SIZE(meta_rules);

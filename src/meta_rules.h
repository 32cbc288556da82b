/* SPDX-License-Identifier: MIT */
/*
 * What the rows of meta.db have to obey: one table, for the check and for the
 * repair. Private to src/meta_*.c.
 *
 * A rule's query finds what must not be. Its first column says which thing it
 * is, the next one or two fill the text. A repair puts the rows that were found
 * into temp.bad (columns a, b, c, d) and runs the rule's statements, where ?1
 * is the inode of lost+found. The table is in the order of a repair: what one
 * rule mends, or lets show, is seen by those behind it.
 */
#ifndef FOLIO_META_RULES_H
#define FOLIO_META_RULES_H

#include "base.h"

enum meta_subject {
	SUBJECT_NONE,
	SUBJECT_INODE, /* column a is its number; its path is shown */
	SUBJECT_NAME,  /* column a is its id, b its folder */
};

enum {
	RULE_LOSES = 1,	     /* mending it gives something up, or guesses */
	RULE_LOST_FOUND = 2, /* needs lost+found */
	RULE_REPEAT = 4,     /* mend and look again until nothing is found */
};

struct meta_rule {
	enum meta_subject subject;
	unsigned flags;
	const char *what; /* SUBJECT_INODE: what to call it */
	const char
		*text; /* printf, what comes behind that; up to two numbers */
	const char *find;
	const char *mend; /* NULL: not by SQL */
};

extern const struct meta_rule meta_rules[];
extern const size_t meta_nr_rules;

#endif

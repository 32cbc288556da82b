/* SPDX-License-Identifier: MIT */
/*
 * Prometheus text format 0.0.4. Each sample carries the volume's uuid, so that
 * several mounts may be collected into one file. Files are not here: a label
 * for each would have no bound; stats.json has them.
 * Source: prometheus.io/docs/instrumenting/exposition_formats.
 */
#include "config.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "control_internal.h"

static void add_head(struct strbuf *sb, const char *name, const char *help,
		     const char *type)
{
	strbuf_printf(sb, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
		      type);
}

static void add_metric(struct control *c, struct strbuf *sb, const char *name,
		       const char *help, const char *type, u64 value)
{
	add_head(sb, name, help, type);
	if (value == UINT64_MAX)
		strbuf_printf(sb, "%s{uuid=\"%s\"} +Inf\n", name, c->uuid);
	else
		strbuf_printf(sb, "%s{uuid=\"%s\"} %" PRIu64 "\n", name,
			      c->uuid, value);
}

/* Active(anon) becomes Active_anon, as node_exporter has it. */
static void meminfo_metric_name(char *buf, size_t len, const char *field)
{
	size_t n;

	n = (size_t)snprintf(buf, len, "foliofs_memory_");
	for (; *field && n + 1 < len; field++) {
		if (isalnum((unsigned char)*field))
			buf[n++] = *field;
		else if (*field == '(')
			buf[n++] = '_';
	}
	buf[n] = '\0';
}

static void add_meminfo(struct control *c, struct strbuf *sb,
			const struct figures *f)
{
	struct meminfo_field fields[NR_MEMINFO];
	char field[64];
	char name[80];

	meminfo_fields(f, fields);
	for (size_t i = 0; i < NR_MEMINFO; i++) {
		meminfo_metric_name(field, sizeof(field), fields[i].name);
		(void)snprintf(name, sizeof(name), "%s_bytes", field);
		add_metric(c, sb, name, fields[i].help, "gauge",
			   fields[i].kb << 10);
	}
}

static void add_figures(struct control *c, struct strbuf *sb,
			const struct figures *f)
{
	for (size_t i = 0; i < NR_FIGURES; i++) {
		bool counter = control_figures[i].type == FIGURE_COUNTER;
		char name[64];

		(void)snprintf(name, sizeof(name), "foliofs_%s%s",
			       control_figures[i].name,
			       counter ? "_total" : "");
		add_metric(c, sb, name, control_figures[i].help,
			   counter ? "counter" : "gauge", figure_value(f, i));
	}
}

static void add_knobs(struct control *c, struct strbuf *sb)
{
	for (u32 i = 0; i < VM_NR; i++) {
		char name[64];

		if (!vm_is_knob(i))
			continue;
		(void)snprintf(name, sizeof(name), "foliofs_vm_%s", vm_name(i));
		add_metric(c, sb, name, "the knob of that name", "gauge",
			   vm_get(c, i));
	}
}

int control_metrics(struct control *c, struct strbuf *sb)
{
	struct figures f;

	figures_read(c, &f);
	add_head(sb, "foliofs_build_info", "the version that runs", "gauge");
	strbuf_printf(sb, "foliofs_build_info{uuid=\"%s\",version=\"%s\"} 1\n",
		      c->uuid, PACKAGE_VERSION);
	add_meminfo(c, sb, &f);
	add_figures(c, sb, &f);
	add_knobs(c, sb);
	return 0;
}

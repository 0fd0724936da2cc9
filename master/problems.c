/* SPDX-License-Identifier: MIT */
#include "master/problems.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define LINE 1000

struct hint {
	int err;
	enum problem_of of;
	const char *text;
};

static const struct hint hints[] = {
	{EADDRINUSE, PROBLEM_PORT, "another program serves there; `ss -ltnp` shows which"},
	{EACCES, PROBLEM_PORT, "ports below 1024 want root or CAP_NET_BIND_SERVICE"},
	{EADDRNOTAVAIL, PROBLEM_PORT, "no interface of this machine has that address"},
	{EAFNOSUPPORT, PROBLEM_PORT, "this machine does not speak that kind of address"},
	{EADDRINUSE, PROBLEM_PATH, "a program listens there already; is another weir running?"},
	{EEXIST, PROBLEM_PATH, "something that is no socket has that name; expected a socket or nothing"},
	{EACCES, PROBLEM_PATH, "check owner and mode of the folder and the file"},
	{EPERM, PROBLEM_PATH, "check owner and mode of the folder and the file"},
	{ENOENT, PROBLEM_PATH, "its folder does not exist"},
	{ENOTDIR, PROBLEM_PATH, "a part of the path is no folder"},
	{EISDIR, PROBLEM_PATH, "a folder has that name; expected a file"},
	{EROFS, PROBLEM_PATH, "the file system is mounted read-only"},
	{ENOSPC, PROBLEM_PATH, "the file system is full"},
	{ENXIO, PROBLEM_PATH, "it is a pipe that nobody reads, or a socket"},
	{ENAMETOOLONG, PROBLEM_PATH, "a socket's path has at most 107 bytes"},
	{EMFILE, PROBLEM_SYSTEM, "raise the limit of open files, `ulimit -n`"},
	{ENFILE, PROBLEM_SYSTEM, "the machine's limit of open files is reached"},
	{ENOMEM, PROBLEM_SYSTEM, "the machine or the cgroup has no memory left"},
};

static const char *hint_for(enum problem_of of, int err)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (hints[i].err == err && (hints[i].of == of || hints[i].of == PROBLEM_SYSTEM))
			return hints[i].text;
	return NULL;
}

static void add_line(struct problems *p, const char *line)
{
	size_t n = strlen(line), gap = p->n ? 1 : 0;
	p->count++;
	if (p->n + gap + n >= sizeof(p->text))
		return;
	if (gap)
		p->text[p->n++] = '\n';
	memcpy(p->text + p->n, line, n + 1);
	p->n += n;
}

void problems_add(struct problems *p, const char *fmt, ...)
{
	char line[LINE];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	add_line(p, line);
}

void problems_errno(struct problems *p, enum problem_of of, int err, const char *fmt, ...)
{
	char line[LINE], what[LINE / 2];
	const char *hint = hint_for(of, err);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%s: %s%s%s%s", what, strerror(err), hint ? " (" : "", hint ? hint : "",
		 hint ? ")" : "");
	add_line(p, line);
}

void problems_log(const struct problems *p)
{
	for (const char *at = p->text; *at;) {
		size_t n = strcspn(at, "\n");
		log_error("%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

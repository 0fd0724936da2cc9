/* SPDX-License-Identifier: MIT */
/* The command line of weir. Everything else of the program is in the library, so that tests can have it. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "master/check.h"
#include "master/child.h"
#include "master/files.h"
#include "master/healthcheck.h"
#include "master/master.h"
#include "master/version.h"

enum action { ACTION_RUN, ACTION_CHECK, ACTION_HEALTH, ACTION_VERSION, ACTION_HELP };

struct words {
	enum action action;
	unsigned actions; /* how many were asked for */
	const char *config;
	bool strict, live;
};

static const char usage_text[] =
	"usage: weir -c FILE                          run in the foreground\n"
	"       weir -t [--strict] [--live] -c FILE    check the config\n"
	"       weir --healthcheck -c FILE             ask the running weir for its health\n"
	"       weir -V                                show version and libraries\n"
	"       weir -h                                show this help\n";

static const char help_text[] =
	"\n"
	"  -c, --config FILE   the config, YAML\n"
	"  -t, --test          print the config's errors (then exit 1), warnings, and table of hosts\n"
	"      --strict        with -t: exit 1 on warnings too\n"
	"      --live          with -t: also try what it names, the user and Redis\n"
	"      --healthcheck   exit 0 when the weir that runs with this config is well, else 1\n"
	"  -V, --version       version, build flags and library versions\n"
	"  -h, --help          this help\n"
	"\n"
	"Signals: TERM and QUIT drain and exit 0; INT drains without the grace, a second INT or TERM\n"
	"exits at once; HUP reloads the config; USR1 reopens the access log.\n"
	"weirctl talks to a running weir. More: man 8 weir\n";

static int wrong_usage(void)
{
	fputs(usage_text, stderr);
	return 2;
}

static void choose(struct words *w, enum action a)
{
	w->action = a;
	w->actions++;
}

static bool read_words(int argc, char **argv, struct words *w)
{
	enum { STRICT = 256, LIVE, HEALTH };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},   {"test", no_argument, NULL, 't'},
		{"version", no_argument, NULL, 'V'},	    {"help", no_argument, NULL, 'h'},
		{"strict", no_argument, NULL, STRICT},	    {"live", no_argument, NULL, LIVE},
		{"healthcheck", no_argument, NULL, HEALTH}, {NULL, 0, NULL, 0},
	};
	for (int o; (o = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1;) {
		switch (o) {
		case 'c':
			w->config = optarg;
			break;
		case 't':
			choose(w, ACTION_CHECK);
			break;
		case 'V':
			choose(w, ACTION_VERSION);
			break;
		case 'h':
			choose(w, ACTION_HELP);
			break;
		case STRICT:
			w->strict = true;
			break;
		case LIVE:
			w->live = true;
			break;
		case HEALTH:
			choose(w, ACTION_HEALTH);
			break;
		default:
			return false;
		}
	}
	if (optind < argc)
		fprintf(stderr, "weir: not expected: %s\n", argv[optind]);
	return optind == argc;
}

static bool fit_together(const struct words *w)
{
	const char *wrong = NULL;
	if (w->actions > 1)
		wrong = "only one of -t, -V, -h and --healthcheck can be asked for at a time";
	else if ((w->strict || w->live) && w->action != ACTION_CHECK)
		wrong = "--strict and --live go with -t";
	else if (w->action <= ACTION_HEALTH && !w->config)
		wrong = "-c FILE is missing";
	if (wrong)
		fprintf(stderr, "weir: %s\n", wrong);
	return !wrong;
}

int main(int argc, char **argv)
{
	struct words w = {0};
	if (argc == 2 && strcmp(argv[1], "--child") == 0)
		return child_main();
	if (!files_tidy())
		return 1;
	if (!read_words(argc, argv, &w) || !fit_together(&w))
		return wrong_usage();
	switch (w.action) {
	case ACTION_CHECK:
		return check_run(w.config, w.strict, w.live);
	case ACTION_HEALTH:
		return healthcheck_run(w.config);
	case ACTION_VERSION:
		version_print(stdout);
		return 0;
	case ACTION_HELP:
		fputs(usage_text, stdout);
		fputs(help_text, stdout);
		return 0;
	default:
		return master_run(w.config);
	}
}

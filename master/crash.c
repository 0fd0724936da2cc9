/* SPDX-License-Identifier: MIT */
#include "master/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fmt.h"
#include "master/sanitizer.h"

#define FRAMES 64
#define WRITING_S 1 /* at most, for a stderr that takes it */
#define STACK (64u << 10)

struct fault {
	int signal;
	const char *name;
	const char *at; /* what the address says, NULL: there is none */
};

static const struct fault faults[] = {
	{SIGSEGV, "SIGSEGV", " at address 0x"},
	{SIGBUS, "SIGBUS", " at address 0x"},
	{SIGFPE, "SIGFPE", " at instruction 0x"},
	{SIGILL, "SIGILL", " at instruction 0x"},
	{SIGABRT, "SIGABRT", NULL},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct sigaction before[FAULTS]; /* the sanitizer's */
static const char *process = "weir";
static char stack[STACK];

static void put(const char *s, size_t n)
{
	ssize_t ignored = write(STDERR_FILENO, s, n);
	(void)ignored;
}

static size_t append(char *out, size_t n, const char *s)
{
	size_t len = strlen(s);
	memcpy(out + n, s, len);
	return n + len;
}

static size_t append_hex(char *out, size_t n, uintptr_t v)
{
	int shift = (int)sizeof(v) * 8 - 4;
	while (shift > 0 && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		out[n++] = "0123456789abcdef"[v >> shift & 15];
	return n;
}

static size_t describe(char *line, int i, const siginfo_t *info)
{
	size_t n = append(line, 0, "weir: ");
	n = append(line, n, process);
	n = append(line, n, " (pid ");
	n = (size_t)(fmt_u64(line + n, (uint64_t)getpid()) - line);
	n = append(line, n, ") dies of ");
	n = append(line, n, faults[i].name);
	if (faults[i].at && info->si_code > 0)
		n = append_hex(line, append(line, n, faults[i].at), (uintptr_t)info->si_addr);
	return append(line, n, "; backtrace:\n");
}

static volatile sig_atomic_t dying_of;

/* Nobody takes what is written: then it dies without a word. */
static void on_stuck(int alarm)
{
	sigset_t fault;
	(void)alarm;
	sigemptyset(&fault);
	sigaddset(&fault, dying_of);
	sigprocmask(SIG_UNBLOCK, &fault, NULL);
	raise(dying_of);
}

static void watch_writing(int sig)
{
	struct sigaction act = {.sa_handler = on_stuck};
	sigset_t set;
	dying_of = sig;
	sigemptyset(&act.sa_mask);
	sigaction(SIGALRM, &act, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	alarm(WRITING_S);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	char line[256];
	void *frame[FRAMES];
	int i = 0;
	while (i < (int)FAULTS - 1 && faults[i].signal != sig)
		i++;
	if (WEIR_SANITIZED && info->si_code > 0 && before[i].sa_flags & SA_SIGINFO) {
		before[i].sa_sigaction(sig, info, context);
		return;
	}
	watch_writing(sig);
	put(line, describe(line, i, info));
	backtrace_symbols_fd(frame, backtrace(frame, FRAMES), STDERR_FILENO);
	raise(sig); /* SA_RESETHAND: the default action */
}

void crash_install(const char *name)
{
	static bool installed;
	void *frame[1];
	stack_t s = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction act = {.sa_sigaction = on_fault,
				.sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND)};
	process = name;
	if (installed)
		return;
	installed = true;
	backtrace(frame, 1); /* loads what it needs now: it must not when memory is broken */
	sigemptyset(&act.sa_mask);
	if (sigaltstack(&s, NULL) < 0)
		act.sa_flags &= ~SA_ONSTACK;
	for (size_t i = 0; i < FAULTS; i++)
		sigaction(faults[i].signal, &act, &before[i]);
}

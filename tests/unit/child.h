/* SPDX-License-Identifier: MIT */
/* A child of a test that ends with it, however the test ends. */
#ifndef WEIR_TESTS_UNIT_CHILD_H
#define WEIR_TESTS_UNIT_CHILD_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

static inline pid_t child_fork(void)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

#endif

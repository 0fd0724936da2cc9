/* SPDX-License-Identifier: MIT */
/*
 * The beginning of a child process, before it is a worker or control: it hears from the master over its
 * channel what it is and what it gets, joins the shared memory, loads the config from the bundle, gives up
 * what privileges it has, and goes on as worker_main or control_main.
 */
#ifndef WEIR_MASTER_CHILD_H
#define WEIR_MASTER_CHILD_H

/* The exit status of the process. */
int child_main(void);

#endif

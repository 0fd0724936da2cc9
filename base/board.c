/* SPDX-License-Identifier: MIT */
#include "base/board.h"

static struct board alone; /* for unit tests and tools that share nothing */
static struct board *current = &alone;
static unsigned own_slot;

void board_attach(void *section)
{
	current = section;
}

struct board *board(void)
{
	return current;
}

void board_join(unsigned slot)
{
	own_slot = slot;
}

unsigned board_slot(void)
{
	return own_slot;
}

struct proc *board_self(void)
{
	return &current->proc[own_slot];
}

const char *proc_kind_name(enum proc_kind k)
{
	static const char *const names[] = {"none", "master", "control", "worker"};
	return k <= PROC_WORKER ? names[k] : "unknown";
}

const char *proc_state_name(enum proc_state s)
{
	static const char *const names[] = {"free", "starting", "serving", "leaving"};
	return s <= PROC_LEAVING ? names[s] : "unknown";
}

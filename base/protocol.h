/* SPDX-License-Identifier: MIT */
/*
 * What the master and its children say to each other over base/channel.h.
 *
 * A child is started as the same program with the one argument `--child` and its channel as descriptor 3. It
 * reads START, then zero or more LISTENERS, then GO; loads its conf from the bundle; serves; and says READY,
 * or FAILED with a text and exits. A child whose channel ends (the master is gone) leaves as if told QUIESCE.
 */
#ifndef WEIR_BASE_PROTOCOL_H
#define WEIR_BASE_PROTOCOL_H

#include <stdint.h>

#include "base/tls_tickets.h"

#define CHILD_CHANNEL_FD 3

enum msg_type {
	/* master to child */
	MSG_START = 1, /* bytes: struct start_info; fds: shared memory, config bundle, then those START_HAS_
			  names, in order */
	MSG_LISTENERS, /* to a worker; arg: place in conf.listen; fds: its sockets to accept from */
	MSG_GO,
	MSG_QUIESCE,  /* to a worker: a newer generation serves; take no new connections, leave with the last
			 exchange */
	MSG_DRAIN,    /* to a worker: the program is to end; arg: 1 without the grace (INT). To control: the
			 same, it ends last */
	MSG_EXIT,     /* to control: all workers are gone, write what is logged and exit */
	MSG_LOG,      /* to control: the access log was reopened; fds: the new one */
	MSG_RELOAD,   /* to control: another config is in force; as START: struct start_info and fds, without
			 shared memory */
	MSG_RELOADED, /* to control, answers RELOAD_ASKED; arg: 1 done, 0 refused; bytes: the new hash, then
			 a line a warning; or the errors as text */
	MSG_PEER, /* to a worker; arg: worker number | PEER_RECEIVE; fds: one end of that worker's hand-over
		     socket */
	/* child to master */
	MSG_READY = 64,
	MSG_FAILED,	  /* bytes: why */
	MSG_QUIESCED,	  /* from a worker that was told QUIESCE: it takes no new connections any more */
	MSG_RELOAD_ASKED, /* from control: `weirctl reload`; bytes: who asked, for the log */
	MSG_DRAIN_ASKED,  /* from control: `weirctl drain` */
};

#define PEER_RECEIVE UINT32_C(0x80000000)

#define START_HAS_ADMIN 1u	/* the admin socket, listening */
#define START_HAS_HTTP 2u	/* the admin HTTP socket, listening */
#define START_HAS_ACCESS_LOG 4u /* else stdout or off, as the conf says */

struct start_info {
	uint32_t kind; /* enum proc_kind */
	uint32_t slot; /* on the board */
	uint32_t worker;
	uint32_t generation;
	uint32_t has;		    /* START_HAS_* */
	uint32_t log_json;	    /* stderr is no terminal */
	uint8_t hash_key[16];	    /* of tables that strangers could try to fill */
	struct ticket_seed tickets; /* of a worker: a secret, wiped once it is in use */
};

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The admin socket: a unix stream socket whose mode the master has set. One request a connection:
 *
 *   request:  [--json] [--by NAME] COMMAND WORDS...\n     words as a shell reads them (control/words.h), one
 * line answer:   ok\n  or  refused\n  or  usage\n             then text, or with --json one JSON value; then
 * the close
 *
 * so that `echo status | nc -U SOCKET` does. Errors in JSON are {"error": "..."}. A line is at most
 * ADMIN_LINE bytes; one that ends with the peer's FIN counts as well. Who says or takes nothing for
 * ADMIN_IDLE_US is cut off. The caller's uid comes from the kernel (SO_PEERCRED), its name from --by. Many
 * are served at once; beyond ADMIN_CLIENTS they are refused.
 */
#ifndef WEIR_CONTROL_ADMIN_H
#define WEIR_CONTROL_ADMIN_H

#include <stdbool.h>

#include "base/clock.h"

#define ADMIN_LINE 16384
#define ADMIN_IDLE_US (30 * USEC_PER_SEC)
#define ADMIN_CLIENTS 64
#define ADMIN_SOCKET "/run/weir/admin.sock"

#define ADMIN_OK "ok"
#define ADMIN_REFUSED "refused"
#define ADMIN_USAGE "usage"

struct admin;
struct control;
struct request;
struct text;

/* Serves the listening socket, which it owns from now on. NULL: out of memory; the socket is closed. */
struct admin *admin_open(struct control *, int fd);
/* Cuts everybody off. */
void admin_close(struct admin *);
/* Takes new connections from this socket. The same socket under another number changes nothing. */
void admin_move(struct admin *, int fd);
/* Each second: accepts again after descriptors ran out. */
void admin_tick(struct admin *);
unsigned admin_clients(const struct admin *);

/* For request.c: sends the answer (the text is taken over and emptied) and closes. `verdict` is a word from
 * above. */
struct admin_client;
void admin_answer(struct admin_client *, const char *verdict, struct text *);

#endif

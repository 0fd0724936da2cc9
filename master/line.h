/* SPDX-License-Identifier: MIT */
/*
 * A connection for a question or two, for programs that wait: the health check, and `weir -t --live`. Every
 * call waits until it is done or the time is over; a line that failed says why in `wrong`, and fails from
 * then on. The caller ignores SIGPIPE and closes the line, whatever became of it.
 */
#ifndef WEIR_MASTER_LINE_H
#define WEIR_MASTER_LINE_H

#include <openssl/types.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/tls_client.h"

struct line {
	int fd;	  /* -1: none */
	SSL *ssl; /* NULL: plain */
	usec_t until;
	bool timed_out;
	char wrong[256];
};

bool line_connect(struct line *, const struct sockaddr *, socklen_t, usec_t until);
/* As tls_client_session has it. */
bool line_secure(struct line *, struct tls_client *, const char *name);
bool line_say(struct line *, const void *, size_t n);
/* > 0: bytes; 0: the end, or it failed. */
size_t line_hear(struct line *, void *, size_t n);
void line_close(struct line *);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * How long an exchange waits for bytes: one timeout a side (the client's, and the server's connection's),
 * armed for whose turn it is to move some.
 *
 *   client  moves its quota (caps.min_rate) of the bodies within timeouts.body, or has been too slow
 *   server  takes the request and gives its response with no rest longer than timeouts.idle; between the
 *           two it has timeouts.response, which nothing prolongs
 *
 * Whoever sends or takes a byte now and then would hold a connection, and one of an upstream, for ever: so
 * the client's is started over when it has moved its quota, and not with each byte. Only its own turn counts:
 * a stream that its origin feeds slowly finds the socket empty, and arms nothing.
 *
 * A socket that is full takes more in large steps, which may be further apart than a timeout is long while
 * its peer reads on: then the kernel's queue tells, and a timeout that is over may go on.
 */
#ifndef WEIR_PROXY_WAITING_H
#define WEIR_PROXY_WAITING_H

#include <stdbool.h>
#include <stdint.h>

struct exchange;
struct timeout_class;

/* What one side's timeout is armed for now. Part of an exchange. */
struct waiting {
	struct timeout_class *class; /* NULL: it is not */
	int queue;		     /* bytes that the kernel held for a full socket when it was armed */
	int64_t moved;		     /* by the client, of bodies, when it was armed */
};

/* Arms both sides anew, after all has been moved that could be. */
void waiting_retime(struct exchange *);

/* After the side's timeout. True: bytes moved meanwhile, enough of them, and it is armed again. */
bool waiting_goes_on_server(struct exchange *);
/* Where the answer is false: *slow, if some moved, but too few. */
bool waiting_goes_on_client(struct exchange *, bool *slow);

#endif

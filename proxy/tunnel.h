/* SPDX-License-Identifier: MIT */
/*
 * A tunnel: what an exchange becomes when the upstream agreed to switch protocols (RFC 9110, 7.8). Bytes pass
 * both ways as they come, each way under its own back-pressure; the end of one way is passed on as FIN, and
 * the tunnel is over when both have ended, on an error, or when nothing moved for timeouts.tunnel.
 */
#ifndef WEIR_PROXY_TUNNEL_H
#define WEIR_PROXY_TUNNEL_H

#include "proxy/exchange.h"

/* The 101 is written to the client's out, the exchange has its server. */
void tunnel_begin(struct exchange *);

/* Moves what can be moved. The exchange and its client may be gone afterwards. */
void tunnel_move(struct exchange *);

#endif

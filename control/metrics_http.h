/* SPDX-License-Identifier: MIT */
/*
 * The admin HTTP server, on libevent's evhttp, for those who look on: /metrics, /status, /status.json,
 * /healthz; GET and HEAD only, nothing is changed by any of it. Peers other than loopback must be in
 * admin.allow, else 403.
 */
#ifndef WEIR_CONTROL_METRICS_HTTP_H
#define WEIR_CONTROL_METRICS_HTTP_H

struct control;
struct metrics_http;

/* Serves the listening socket, which it owns from now on. NULL: out of memory; the socket is closed. */
struct metrics_http *metrics_http_open(struct control *, int fd);
/* Connections are cut. */
void metrics_http_close(struct metrics_http *);
/* Whether this is the socket that is served. */
int metrics_http_fd(const struct metrics_http *);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The access log: one JSON object a request, in the field names of the team's services, laid out straight
 * into this worker's ring (base/ring.h). A line that finds no room is dropped and counted.
 *
 * Refused requests beyond log.refusals are folded: a line a client and second, written when the second is
 * over, with `repeated` saying how many requests it stands for.
 */
#ifndef WEIR_PROXY_ACCESS_LOG_H
#define WEIR_PROXY_ACCESS_LOG_H

struct access_log;
struct exchange;
struct worker;

/* NULL: out of memory. */
struct access_log *access_log_open(struct worker *);
void access_log_close(struct access_log *); /* writes what is folded */

/* Logs an exchange that is over, and counts its verdict and response. */
void access_log_write(struct access_log *, struct exchange *);

#endif

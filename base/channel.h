/* SPDX-License-Identifier: MIT */
/*
 * Messages between the master and its children over a SOCK_SEQPACKET socketpair, each with up to CHANNEL_FDS
 * file descriptors beside it. Message boundaries are kept by the socket; a message is at most CHANNEL_BYTES.
 */
#ifndef WEIR_BASE_CHANNEL_H
#define WEIR_BASE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANNEL_BYTES 16384
#define CHANNEL_FDS 32

struct channel_msg {
	uint32_t type; /* the two ends agree on its meaning: master/protocol.h */
	uint32_t arg;
	unsigned fds;
	int fd[CHANNEL_FDS]; /* received ones are the receiver's to close; sent ones stay the sender's */
	size_t len;
	char bytes[CHANNEL_BYTES - 64];
};

/* Both ends close-on-exec; non-blocking. 0, or -1 with errno. */
int channel_pair(int fd[2]);
/* 0, or -1 with errno (EAGAIN: the peer does not read). */
int channel_send(int fd, const struct channel_msg *);
/*
 * 1: a message; 0: the peer is gone; -1 with errno (EAGAIN: none now; EPROTO: one was thrown away, because it
 * was not of this kind or this process has no room for its descriptors).
 */
int channel_recv(int fd, struct channel_msg *);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * All sockets that weir listens at: for clients (one SO_REUSEPORT socket a worker, or one for all when it is
 * a unix path), the admin socket and the admin HTTP socket. The master opens and holds them across reloads
 * and deaths, so that no connection is refused or lost with a process; children get copies.
 *
 * They are known by use and address. A reload opens what is missing (sockets_open), and then either
 * sockets_keep closes what the new config does not name, or sockets_undo closes what was opened for it. The
 * number of sockets at an address only grows: one that is closed would reset the connections that the kernel
 * has queued on it.
 */
#ifndef WEIR_MASTER_SOCKETS_H
#define WEIR_MASTER_SOCKETS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "conf/conf.h"
#include "master/config.h"
#include "master/problems.h"

enum socket_use { SOCKET_CLIENTS, SOCKET_ADMIN, SOCKET_HTTP };

struct socket_set { /* the sockets at one address */
	struct socket_set *next;
	enum socket_use use;
	bool is_unix;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	unsigned n, old; /* those from `old` on were opened for a config that is not in force yet */
	int fd[CONF_WORKERS_MAX];
	dev_t dev; /* of a unix path, so that only what is ours is removed */
	ino_t ino;
};

struct sockets {
	struct socket_set *first; /* {0}: none */
};

/* Opens what the config names and is not open yet. False: told in problems, for each that failed; undo is the
 * caller's. */
bool sockets_open(struct sockets *, const struct conf *, const struct owner *, struct problems *);
void sockets_undo(struct sockets *);
void sockets_keep(struct sockets *, const struct conf *);

/*
 * Weir drains: those for clients live on in the workers alone, so that connections are refused, and not
 * queued for nobody, once the last worker has stopped to accept. Paths stay until sockets_close.
 */
void sockets_let_go(struct sockets *);

/* Closes all, and removes the paths that are ours. */
void sockets_close(struct sockets *);

/* The set of a place in conf.listen; of the admin socket or the admin HTTP socket: their one descriptor, or
 * -1. */
const struct socket_set *sockets_of(const struct sockets *, const struct conf_listen *);
int sockets_admin(const struct sockets *, const struct conf *);
int sockets_http(const struct sockets *, const struct conf *);

#endif

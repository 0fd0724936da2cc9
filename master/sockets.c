/* SPDX-License-Identifier: MIT */
#include "master/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "master/files.h"

#define BACKLOG 4096
#define CLIENTS_MODE 0666 /* of a unix path for clients: who may connect is for `allow` to say */

/* One socket, or as many as there are workers, that a config wants at an address. */
struct want {
	enum socket_use use;
	const char *key; /* of the config, for messages */
	struct str text;
	const struct sockaddr_storage *sa;
	socklen_t sa_len;
	bool is_unix;
	unsigned n, mode;
};

/* --- addresses --- */

/* Copied out, not cast: a compiler may take the types of socket addresses for things that never overlap. */
static struct sockaddr_in as_v4(const struct sockaddr_storage *sa)
{
	struct sockaddr_in v4;
	memcpy(&v4, sa, sizeof(v4));
	return v4;
}

static struct sockaddr_in6 as_v6(const struct sockaddr_storage *sa)
{
	struct sockaddr_in6 v6;
	memcpy(&v6, sa, sizeof(v6));
	return v6;
}

static in_port_t port_of(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return as_v4(sa).sin_port;
	return sa->ss_family == AF_INET6 ? as_v6(sa).sin6_port : 0;
}

static bool is_any(const struct sockaddr_storage *sa)
{
	static const struct in6_addr any;
	if (sa->ss_family == AF_INET)
		return as_v4(sa).sin_addr.s_addr == htonl(INADDR_ANY);
	struct sockaddr_in6 v6 = as_v6(sa);
	return sa->ss_family == AF_INET6 && memcmp(&v6.sin6_addr, &any, sizeof(any)) == 0;
}

static const char *path_of(const struct sockaddr_storage *sa)
{
	return (const char *)sa + offsetof(struct sockaddr_un, sun_path);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_UNIX)
		return strcmp(path_of(a), path_of(b)) == 0;
	if (a->ss_family == AF_INET)
		return port_of(a) == port_of(b) && as_v4(a).sin_addr.s_addr == as_v4(b).sin_addr.s_addr;
	struct sockaddr_in6 x = as_v6(a), y = as_v6(b);
	return x.sin6_port == y.sin6_port && memcmp(&x.sin6_addr, &y.sin6_addr, sizeof(x.sin6_addr)) == 0 &&
	       x.sin6_scope_id == y.sin6_scope_id;
}

static struct socket_set *find(const struct sockets *s, enum socket_use use,
			       const struct sockaddr_storage *sa)
{
	for (struct socket_set *i = s->first; i; i = i->next)
		if (i->use == use && same_address(&i->sa, sa))
			return i;
	return NULL;
}

/* Does a set of ours serve at this port and an address that takes this one in, or the other way round? */
static bool is_ours(const struct sockets *s, const struct sockaddr_storage *sa)
{
	for (const struct socket_set *i = s->first; i; i = i->next)
		if (!i->is_unix && i->use == SOCKET_CLIENTS && port_of(&i->sa) == port_of(sa) &&
		    (is_any(&i->sa) || is_any(sa)))
			return true;
	return false;
}

/* --- what a config wants --- */

static bool unix_address(struct str path, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (path.n >= sizeof(un.sun_path))
		return false;
	memcpy(un.sun_path, path.p, path.n);
	memset(out, 0, sizeof(*out));
	memcpy(out, &un, sizeof(un));
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	return true;
}

static struct want want_clients(const struct conf *c, const struct conf_listen *l)
{
	return (struct want){
		SOCKET_CLIENTS, "listen", l->text, &l->sa, l->sa_len, l->is_unix, l->is_unix ? 1 : c->workers,
		CLIENTS_MODE};
}

static struct want want_http(const struct conf *c)
{
	return (struct want){SOCKET_HTTP,
			     "admin.http",
			     c->admin.http_text,
			     &c->admin.http_sa,
			     c->admin.http_len,
			     false,
			     1,
			     0};
}

static struct want want_admin(const struct conf *c, struct sockaddr_storage *sa, socklen_t len)
{
	return (struct want){SOCKET_ADMIN, "admin.socket", c->admin.socket, sa, len, true, 1, c->admin.mode};
}

/* --- opening --- */

static bool set_on(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* A socket that is bound and does not listen yet; -1 with errno. */
static int bound(const struct want *w, bool reuse_port)
{
	int fd = socket(w->sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (set_on(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
	    (!reuse_port || set_on(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
	    (w->sa->ss_family != AF_INET6 || set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
	    set_on(fd, IPPROTO_TCP, TCP_NODELAY, 1) && /* what is accepted inherits it */
	    bind(fd, (const struct sockaddr *)w->sa, w->sa_len) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int listening(int fd)
{
	if (fd < 0 || listen(fd, BACKLOG) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/*
 * SO_REUSEPORT would let us share a port with any program of the same user and take part of its connections,
 * so a bind without it asks first whether the port is free.
 */
static bool is_free(const struct sockets *s, const struct want *w)
{
	int fd = bound(w, false);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || (errno == EADDRINUSE && w->use == SOCKET_CLIENTS && is_ours(s, w->sa));
}

static bool open_tcp(struct sockets *s, struct socket_set *set, const struct want *w, struct problems *p)
{
	bool shared = w->use == SOCKET_CLIENTS;
	if (!set->n && !is_free(s, w)) {
		problems_errno(p, PROBLEM_PORT, errno, "%s: %.*s", w->key, (int)w->text.n, w->text.p);
		return false;
	}
	while (set->n < w->n) {
		int fd = listening(bound(w, shared));
		if (fd < 0) {
			problems_errno(p, PROBLEM_PORT, errno, "%s: %.*s", w->key, (int)w->text.n, w->text.p);
			return false;
		}
		set->fd[set->n++] = fd;
	}
	return true;
}

/* A socket file whose program is gone is in the way; one that is listened at is not ours to take. */
static int clear_path(const struct want *w)
{
	struct stat st;
	if (lstat(path_of(w->sa), &st) < 0)
		return errno == ENOENT ? 0 : errno;
	if (!S_ISSOCK(st.st_mode))
		return EEXIST;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	int err = connect(fd, (const struct sockaddr *)w->sa, w->sa_len) < 0 ? errno : 0;
	close(fd);
	if (err != ECONNREFUSED)
		return err == 0 || err == EAGAIN ? EADDRINUSE : err;
	return unlink(path_of(w->sa)) < 0 && errno != ENOENT ? errno : 0;
}

/* The mode is right from the first moment: the umask sees to it, and nobody can connect before listen anyway.
 */
static int bind_path(const struct want *w, const struct owner *o)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	mode_t before = umask(0777 & ~w->mode);
	int err = bind(fd, (const struct sockaddr *)w->sa, w->sa_len) < 0 ? errno : 0;
	umask(before);
	if (!err && o->uid != (uid_t)-1 && lchown(path_of(w->sa), o->uid, o->gid) < 0)
		err = errno;
	if (!err)
		return fd;
	close(fd);
	errno = err;
	return -1;
}

static bool open_unix(struct socket_set *set, const struct want *w, const struct owner *o, struct problems *p)
{
	const char *path = path_of(w->sa);
	struct stat st;
	int err = files_make_folder(path);
	if (!err)
		err = clear_path(w);
	int fd = err ? -1 : listening(bind_path(w, o));
	if (fd < 0) {
		problems_errno(p, PROBLEM_PATH, err ? err : errno, "%s: %s", w->key, path);
		return false;
	}
	set->fd[set->n++] = fd;
	if (lstat(path, &st) == 0) {
		set->dev = st.st_dev;
		set->ino = st.st_ino;
	}
	return true;
}

static bool open_set(struct sockets *s, const struct want *w, const struct owner *o, struct problems *p)
{
	struct socket_set *set = find(s, w->use, w->sa);
	bool fresh = !set;
	if (fresh) {
		set = calloc(1, sizeof(*set));
		if (!set) {
			problems_errno(p, PROBLEM_SYSTEM, ENOMEM, "%s: %.*s", w->key, (int)w->text.n,
				       w->text.p);
			return false;
		}
		set->use = w->use;
		set->is_unix = w->is_unix;
		set->sa = *w->sa;
		set->sa_len = w->sa_len;
	}
	bool ok = true;
	if (set->n < w->n)
		ok = w->is_unix ? open_unix(set, w, o, p) : open_tcp(s, set, w, p);
	if (fresh) { /* only now: is_ours must not take it for open before */
		set->next = s->first;
		s->first = set;
	}
	return ok;
}

bool sockets_open(struct sockets *s, const struct conf *c, const struct owner *o, struct problems *p)
{
	struct sockaddr_storage sa;
	socklen_t len;
	bool ok = true;
	for (unsigned i = 0; i < c->listens; i++) {
		struct want w = want_clients(c, &c->listen[i]);
		ok = open_set(s, &w, o, p) && ok;
	}
	if (c->admin.http) {
		struct want w = want_http(c);
		ok = open_set(s, &w, o, p) && ok;
	}
	if (!c->admin.socket.n)
		return ok;
	if (!unix_address(c->admin.socket, &sa, &len)) {
		problems_errno(p, PROBLEM_PATH, ENAMETOOLONG, "admin.socket: %.*s", (int)c->admin.socket.n,
			       c->admin.socket.p);
		return false;
	}
	struct want w = want_admin(c, &sa, len);
	return open_set(s, &w, o, p) && ok;
}

/* --- closing --- */

static void remove_path(const struct socket_set *set)
{
	struct stat st;
	const char *path = path_of(&set->sa);
	if (set->is_unix && set->n && lstat(path, &st) == 0 && st.st_dev == set->dev && st.st_ino == set->ino)
		unlink(path);
}

/* Closes the sockets of a set from the n-th on; the set goes with its last. */
static void shrink(struct sockets *s, struct socket_set *set, unsigned n)
{
	if (n == 0)
		remove_path(set);
	while (set->n > n)
		if (set->fd[--set->n] >= 0)
			close(set->fd[set->n]);
	if (set->n)
		return;
	for (struct socket_set **i = &s->first; *i; i = &(*i)->next)
		if (*i == set) {
			*i = set->next;
			break;
		}
	free(set);
}

void sockets_undo(struct sockets *s)
{
	for (struct socket_set *i = s->first, *next; i; i = next) {
		next = i->next;
		shrink(s, i, i->old);
	}
}

static bool is_named(const struct socket_set *set, const struct conf *c)
{
	struct sockaddr_storage sa;
	socklen_t len;
	switch (set->use) {
	case SOCKET_ADMIN:
		return c->admin.socket.n && unix_address(c->admin.socket, &sa, &len) &&
		       same_address(&set->sa, &sa);
	case SOCKET_HTTP:
		return c->admin.http && same_address(&set->sa, &c->admin.http_sa);
	default:
		for (unsigned i = 0; i < c->listens; i++)
			if (same_address(&set->sa, &c->listen[i].sa))
				return true;
		return false;
	}
}

void sockets_keep(struct sockets *s, const struct conf *c)
{
	for (struct socket_set *i = s->first, *next; i; i = next) {
		next = i->next;
		bool named = is_named(i, c);
		if (named && i->use == SOCKET_ADMIN && i->old && chmod(path_of(&i->sa), c->admin.mode) < 0)
			log_warn("admin.mode: %s: %s", path_of(&i->sa), strerror(errno));
		i->old = i->n;
		if (!named)
			shrink(s, i, 0);
	}
}

void sockets_let_go(struct sockets *s)
{
	for (struct socket_set *i = s->first; i; i = i->next)
		for (unsigned k = 0; i->use == SOCKET_CLIENTS && k < i->n; k++) {
			if (i->fd[k] >= 0)
				close(i->fd[k]);
			i->fd[k] = -1;
		}
}

void sockets_close(struct sockets *s)
{
	while (s->first)
		shrink(s, s->first, 0);
}

/* --- finding --- */

const struct socket_set *sockets_of(const struct sockets *s, const struct conf_listen *l)
{
	return find(s, SOCKET_CLIENTS, &l->sa);
}

int sockets_admin(const struct sockets *s, const struct conf *c)
{
	struct sockaddr_storage sa;
	socklen_t len;
	if (!c->admin.socket.n || !unix_address(c->admin.socket, &sa, &len))
		return -1;
	const struct socket_set *set = find(s, SOCKET_ADMIN, &sa);
	return set && set->n ? set->fd[0] : -1;
}

int sockets_http(const struct sockets *s, const struct conf *c)
{
	const struct socket_set *set = c->admin.http ? find(s, SOCKET_HTTP, &c->admin.http_sa) : NULL;
	return set && set->n ? set->fd[0] : -1;
}

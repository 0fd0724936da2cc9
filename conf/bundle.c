/* SPDX-License-Identifier: MIT */
#include "conf/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmt.h"
#include "conf/cpus.h"

/*
 * As bytes: MAGIC, the path and the folder as two texts, then for each entry its kind, whether it was read,
 * its name and its value (or why not). A text is its length in 8 bytes and itself. The bytes never leave one
 * machine.
 */
static const char MAGIC[8] = "weircnf1";

struct owned {
	char *p;
	size_t n;
};

struct entry {
	struct entry *next;
	enum bundle_kind kind;
	bool ok;
	struct owned name, value; /* value: the content, or why there is none; NULs follow both */
};

struct conf_bundle {
	bool reads; /* from files and the environment; else it only remembers */
	struct owned path, folder;
	struct entry *first, *last;
	unsigned entries;
	unsigned char *bytes; /* what conf_bundle_bytes gave last */
	size_t bytes_n;
};

/* --- owned texts --- */

static struct str view(struct owned o)
{
	return (struct str){o.p, o.n};
}

static bool copy_str(struct owned *out, struct str s)
{
	out->p = malloc(s.n + 1);
	if (!out->p)
		return false;
	if (s.p)
		memcpy(out->p, s.p, s.n);
	out->p[s.n] = '\0';
	out->n = s.n;
	return true;
}

static void wipe(struct owned *o)
{
	if (o->p)
		explicit_bzero(o->p, o->n);
	free(o->p);
	*o = (struct owned){NULL, 0};
}

static void free_entry(struct entry *e)
{
	wipe(&e->name);
	wipe(&e->value);
	free(e);
}

static void drop_bytes(struct conf_bundle *b)
{
	if (b->bytes)
		explicit_bzero(b->bytes, b->bytes_n);
	free(b->bytes);
	b->bytes = NULL;
	b->bytes_n = 0;
}

static struct entry *add_entry(struct conf_bundle *b, enum bundle_kind kind, bool ok, struct str name,
			       struct str value)
{
	struct entry *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->kind = kind;
	e->ok = ok;
	if (!copy_str(&e->name, name) || !copy_str(&e->value, value)) {
		free_entry(e);
		return NULL;
	}
	if (b->last)
		b->last->next = e;
	else
		b->first = e;
	b->last = e;
	b->entries++;
	return e;
}

/* --- reading --- */

/* The folder is made absolute once, so that a process in another one would find the same files and sockets.
 */
static bool find_folder(struct conf_bundle *b)
{
	char folder[PATH_MAX], *real;
	size_t n = b->path.n;

	while (n > 0 && b->path.p[n - 1] != '/')
		n--;
	if (n >= sizeof(folder))
		return copy_str(&b->folder, STR("."));
	memcpy(folder, n ? b->path.p : ".", n ? n : 1);
	folder[n ? n : 1] = '\0';
	real = realpath(folder, NULL);
	struct str found = real ? str_of(real) : str_of(folder);
	while (found.n && found.p[found.n - 1] == '/')
		found.n--;
	bool ok = copy_str(&b->folder, found);
	free(real);
	return ok;
}

/* Reads to the end, whatever length was told: files of /proc tell none. NULL: done. */
static const char *read_all(int fd, char **buf, size_t *n)
{
	size_t room = *n;
	*n = 0;
	for (;;) {
		if (*n == room) {
			char *more = room <= BUNDLE_FILE_MAX ? realloc(*buf, room * 2) : NULL;
			if (!more)
				return room <= BUNDLE_FILE_MAX ? strerror(ENOMEM) : "larger than 16 MB";
			*buf = more;
			room *= 2;
		}
		ssize_t got = read(fd, *buf + *n, room - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return strerror(errno);
		if (got == 0)
			return NULL;
		*n += (size_t)got;
	}
}

/* NULL: read, *out is the caller's to wipe. Else why not. */
static const char *read_fd(int fd, struct owned *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	if (st.st_size > (off_t)BUNDLE_FILE_MAX)
		return "larger than 16 MB";
	size_t n = (size_t)st.st_size + 512;
	char *buf = malloc(n);
	const char *why = buf ? read_all(fd, &buf, &n) : strerror(ENOMEM);
	if (why) {
		free(buf);
		return why;
	}
	*out = (struct owned){buf, n};
	return NULL;
}

static const char *read_file(const char *path, struct owned *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return strerror(errno);
	const char *why = read_fd(fd, out);
	close(fd);
	return why;
}

/* The first of the usual places; of the last one's absence is told. */
static const char *read_trust(struct owned *out)
{
	const char *own = getenv(X509_get_default_cert_file_env());
	const char *const places[] = {own, X509_get_default_cert_file(),
				      "/etc/ssl/certs/ca-certificates.crt"};
	const char *why = NULL;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (places[i] && !(why = read_file(places[i], out)))
			return NULL;
	return why;
}

static struct entry *read_entry(struct conf_bundle *b, enum bundle_kind kind, struct str name)
{
	struct owned content = {NULL, 0};
	const char *why = NULL, *env;
	char cpus[FMT_U64_MAX];
	struct entry *e;

	switch (kind) {
	case BUNDLE_CONFIG:
	case BUNDLE_FILE:
		why = read_file(kind == BUNDLE_CONFIG ? b->path.p : name.p, &content);
		e = add_entry(b, kind, !why, name, why ? str_of(why) : view(content));
		wipe(&content);
		return e;
	case BUNDLE_TRUST:
		why = read_trust(&content);
		e = add_entry(b, kind, !why, name, why ? str_of(why) : view(content));
		wipe(&content);
		return e;
	case BUNDLE_ENV:
		env = getenv(name.p);
		return add_entry(b, kind, env != NULL, name, env ? str_of(env) : STR("not set"));
	default:
		return add_entry(b, kind, true, name,
				 (struct str){cpus, (size_t)(fmt_u64(cpus, cpus_granted()) - cpus)});
	}
}

static struct entry *find_entry(struct conf_bundle *b, enum bundle_kind kind, struct str name)
{
	for (struct entry *e = b->first; e; e = e->next)
		if (e->kind == kind && str_eq(view(e->name), name))
			return e;
	return NULL;
}

bool bundle_get(struct conf_bundle *b, enum bundle_kind kind, struct str name, struct str *value,
		const char **why)
{
	struct entry *e = find_entry(b, kind, name);
	struct owned own;

	if (!e && !b->reads) {
		*why = "not among what was handed over";
		return false;
	}
	if (!e && b->entries >= BUNDLE_ENTRIES_MAX) {
		*why = "too many files and variables are asked for";
		return false;
	}
	if (!e && copy_str(&own, name)) { /* with the NUL that open and getenv want */
		e = read_entry(b, kind, view(own));
		wipe(&own);
	}
	if (!e) {
		*why = strerror(ENOMEM);
		return false;
	}
	*value = e->ok ? view(e->value) : STR_NONE;
	*why = e->ok ? NULL : e->value.p;
	return e->ok;
}

struct str bundle_path(const struct conf_bundle *b)
{
	return view(b->path);
}

struct str bundle_folder(const struct conf_bundle *b)
{
	return view(b->folder);
}

struct conf_bundle *conf_bundle_new(const char *config_path)
{
	struct conf_bundle *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->reads = true;
	if (!copy_str(&b->path, str_of(config_path)) || !find_folder(b)) {
		conf_bundle_free(b);
		return NULL;
	}
	return b;
}

void conf_bundle_free(struct conf_bundle *b)
{
	if (!b)
		return;
	while (b->first) {
		struct entry *e = b->first;
		b->first = e->next;
		free_entry(e);
	}
	drop_bytes(b);
	wipe(&b->path);
	wipe(&b->folder);
	free(b);
}

/* --- to bytes and back --- */

static size_t text_bytes(struct str s)
{
	return sizeof(uint64_t) + s.n;
}

static unsigned char *put_text(unsigned char *p, struct str s)
{
	uint64_t n = s.n;
	memcpy(p, &n, sizeof(n));
	if (s.n)
		memcpy(p + sizeof(n), s.p, s.n);
	return p + text_bytes(s);
}

const void *conf_bundle_bytes(struct conf_bundle *b, size_t *n)
{
	size_t size = sizeof(MAGIC) + text_bytes(view(b->path)) + text_bytes(view(b->folder));
	for (const struct entry *e = b->first; e; e = e->next)
		size += 2 + text_bytes(view(e->name)) + text_bytes(view(e->value));
	drop_bytes(b);
	b->bytes = malloc(size);
	if (!b->bytes)
		return NULL;
	b->bytes_n = size;
	memcpy(b->bytes, MAGIC, sizeof(MAGIC));
	unsigned char *p = put_text(b->bytes + sizeof(MAGIC), view(b->path));
	p = put_text(p, view(b->folder));
	for (const struct entry *e = b->first; e; e = e->next) {
		*p++ = (unsigned char)e->kind;
		*p++ = e->ok;
		p = put_text(put_text(p, view(e->name)), view(e->value));
	}
	*n = size;
	return b->bytes;
}

static bool take_text(struct str *rest, struct str *out)
{
	uint64_t n;
	if (rest->n < sizeof(n))
		return false;
	memcpy(&n, rest->p, sizeof(n));
	rest->p += sizeof(n);
	rest->n -= sizeof(n);
	if (n > rest->n)
		return false;
	*out = (struct str){rest->p, (size_t)n};
	rest->p += n;
	rest->n -= (size_t)n;
	return true;
}

static bool take_entry(struct conf_bundle *b, struct str *rest)
{
	struct str name, value;
	if (rest->n < 2)
		return false;
	unsigned kind = (unsigned char)rest->p[0], ok = (unsigned char)rest->p[1];
	rest->p += 2;
	rest->n -= 2;
	return kind < BUNDLE_KINDS && ok <= 1 && take_text(rest, &name) && take_text(rest, &value) &&
	       !find_entry(b, (enum bundle_kind)kind, name) &&
	       add_entry(b, (enum bundle_kind)kind, ok, name, value) != NULL;
}

struct conf_bundle *conf_bundle_parse(const void *bytes, size_t n)
{
	struct str rest = {bytes, n}, path, folder;
	struct conf_bundle *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	if (n < sizeof(MAGIC) || memcmp(bytes, MAGIC, sizeof(MAGIC)) != 0)
		goto damaged;
	rest.p += sizeof(MAGIC);
	rest.n -= sizeof(MAGIC);
	if (!take_text(&rest, &path) || !take_text(&rest, &folder))
		goto damaged;
	if (!copy_str(&b->path, path) || !copy_str(&b->folder, folder))
		goto damaged;
	while (rest.n)
		if (!take_entry(b, &rest))
			goto damaged;
	return b;
damaged:
	conf_bundle_free(b);
	return NULL;
}

/* Names are left out: the same config in another folder is the same config. */
bool bundle_hash(const struct conf_bundle *b, char out[CONF_HASH])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (const struct entry *e = b->first; ok && e; e = e->next) {
		uint64_t head[2] = {(uint64_t)e->kind << 1 | e->ok, e->value.n};
		if (e->kind != BUNDLE_CPUS && e->kind != BUNDLE_TRUST)
			ok = EVP_DigestUpdate(ctx, head, sizeof(head)) &&
			     EVP_DigestUpdate(ctx, e->value.p, e->value.n);
	}
	ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	for (unsigned i = 0; i < (CONF_HASH - 1) / 2; i++)
		fmt_hex(out + 2 * i, ok ? digest[i] : 0, 2);
	out[CONF_HASH - 1] = '\0';
	return ok;
}

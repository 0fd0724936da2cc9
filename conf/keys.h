/* SPDX-License-Identifier: MIT */
/*
 * The table of all keys of the config: what each is called, what it takes, where its value goes, its default
 * and its help. The loader, the suggestions for unknown keys, conf_print, conf_keys and the docs walk it.
 * Rows stand in the order in which they are read (what is named before what names it), children right after
 * their parent.
 *
 * A row's field lies in the frame of the list item or named entry that it is in: struct conf itself, or one
 * struct conf_site of its array. What a value is (a type) is a row of its own, with a reader and a printer.
 */
#ifndef WEIR_CONF_KEYS_H
#define WEIR_CONF_KEYS_H

#include "conf/load.h"

struct key;
struct printer;

struct key_type {
	/* False: it was complained of, and the field is to take its default. */
	bool (*set)(struct load *, const struct key *, const struct node *, void *frame);
	void (*print)(struct printer *, const struct key *, const void *frame); /* NULL: never shown */
	bool list; /* a default is cut at its commas */
};

enum {
	KEY_REQUIRED = 1 << 0, /* where its mapping is there */
	KEY_NONEMPTY = 1 << 1, /* a list with one item at least */
	KEY_OFF = 1 << 2,      /* takes `off`, which is stored as key.off */
	KEY_AUTO = 1 << 4,     /* takes `auto`, which is stored as key.off */
	KEY_IF_SET = 1 << 3,   /* a mapping that is printed only where the text of its field is set */
};

#define SECRETS_MAX 8 /* in a list of secrets */

struct key {
	struct conf_key_row row;
	const struct key_type *type;
	size_t at, size; /* the field in the frame */
	size_t also;	 /* a second field that belongs to it */
	unsigned flags;
	uint64_t min, max; /* of numbers, and of how many items a list may have */
	uint64_t off;
	bool (*fits)(struct str); /* of texts */
	const char *expected;	  /* what fits */
	const void *extra;	  /* the type's own */
};

/* extra of lists and of named entries: how their array lies in the frame (key.at: the array, key.also: its
 * count). */
struct key_items {
	size_t size;	  /* of an item */
	const char *bare; /* the key that an item is when it is a scalar instead of a mapping; NULL: none */
	bool lone;	  /* a mapping alone stands for a list of one */
	/* Gives the item its number and name before its keys are read; may be NULL. False: complained of. */
	bool (*begin)(struct load *, const struct node *, void *item, unsigned number);
	struct str (*name)(const void *item); /* of named entries that are mappings */
};

extern const struct key keys[];
extern const unsigned keys_n;

const struct key *key_find(const char *path);

/* The keys right below a key (NULL: the topmost), in order; NULL at the end. */
const struct key *key_first_child(const struct key *parent);
const struct key *key_next_child(const struct key *parent, const struct key *child);

/* The last name of its path: `timeout` of rate_limit.redis.timeout, `[]` and `*` for items and named entries.
 */
struct str key_name(const struct key *);
/* As messages call it: the name that was written, or the last one that is a name. */
struct str key_label(const struct key *, const struct node *);

static inline void *key_field(const struct key *k, void *frame)
{
	return (char *)frame + k->at;
}

static inline void *key_also(const struct key *k, void *frame)
{
	return (char *)frame + k->also;
}

static inline const void *key_peek(const struct key *k, const void *frame)
{
	return (const char *)frame + k->at;
}

static inline const void *key_peek_also(const struct key *k, const void *frame)
{
	return (const char *)frame + k->also;
}

/* Reads all keys of a mapping into the frame; map is NULL where it was left out, for the defaults. */
void keys_read(struct load *, const struct key *parent, const struct node *map, void *frame);
void keys_print(struct printer *, const struct key *parent, const void *frame);

/* --- for types --- */

/* The text of a scalar that is one and says something. */
bool key_value_text(struct load *, const struct key *, const struct node *, struct str *);
/* `KEY` is `VALUE` (expected ...). Always false. */
bool key_value_refuse(struct load *, const struct key *, const struct node *, const char *expected);
/* A list, within key.max items, and with one at least under KEY_NONEMPTY. */
bool key_value_list(struct load *, const struct key *, const struct node *);
/* Copies a list's scalars as they were written. */
bool key_value_words(struct load *, const struct node *list, struct conf_words *);
/* `no POLICY is named NAME (did you mean ...)`: the known names are told by name(i). Always false. */
struct known_names {
	const char *what;
	unsigned n;
	struct str (*name)(const struct conf *, unsigned i);
};
bool key_value_unknown(struct load *, const struct node *, struct str typed, const struct known_names *);

extern const struct key_type type_map, type_option, type_items, type_named;   /* keys_read.c */
extern const struct key_type type_onoff, type_word, type_duration, type_size; /* types.c */
extern const struct key_type type_count, type_text, type_lower, type_path, type_secret, type_secrets,
	type_texts, type_file, type_unbuilt;
extern const struct key_type type_listen, type_trusted, type_network, type_netlist, type_servers,
	type_admin_http, type_for;							  /* types_net.c */
extern const struct key_type type_workers, type_client_header, type_domain, type_origins; /* types_own.c */
extern const struct key_type type_rate, type_access_log, type_mode, type_health_path;
extern const struct key_type type_redis_url; /* redis_url.c */
extern const struct key_type type_hosts, type_upstream, type_policy, type_prefix,
	type_upgrade; /* types_site.c */

struct str key_policy_name(const void *);
struct str key_cookie_name(const void *);
struct str key_upstream_name(const void *);

bool key_begin_network(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_policy(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_for(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_cookie(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_upstream(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_path(struct load *, const struct node *, void *item, unsigned number);
bool key_begin_site(struct load *, const struct node *, void *item, unsigned number);

#endif

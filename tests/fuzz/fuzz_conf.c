/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the config file. What loads must print as a config that loads and prints as the same; nothing
 * may crash or leak. The bundle is made by hand, so that no file and no variable of this machine is read.
 */
#include "conf/bundle.h"
#include "conf/conf.h"
#include "tests/fuzz/fuzz.h"

struct bytes {
	unsigned char *p;
	size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void put_text(struct bytes *b, const void *p, size_t n)
{
	uint64_t length = n;
	put(b, &length, sizeof(length));
	put(b, p, n);
}

static void put_entry(struct bytes *b, enum bundle_kind kind, const char *name, const void *p, size_t n)
{
	unsigned char head[2] = {(unsigned char)kind, 1};
	put(b, head, sizeof(head));
	put_text(b, name, strlen(name));
	put_text(b, p, n);
}

static struct conf_bundle *bundle_of(const void *text, size_t n)
{
	static const char list[] = "10.0.0.0/8 # one\n2001:db8::/32\n";
	struct bytes b = {malloc(n + 1024), 0};
	put(&b, "weircnf1", 8);
	put_text(&b, "weir.yaml", 9);
	put_text(&b, "/f", 2);
	put_entry(&b, BUNDLE_CONFIG, "", text, n);
	put_entry(&b, BUNDLE_FILE, "/f/l", list, sizeof(list) - 1);
	put_entry(&b, BUNDLE_ENV, "A", "x", 1);
	put_entry(&b, BUNDLE_CPUS, "", "4", 1);
	struct conf_bundle *bundle = conf_bundle_parse(b.p, b.n);
	free(b.p);
	return bundle;
}

/* What was printed, or NULL. */
static char *load_and_print(const void *text, size_t n, size_t *printed_n)
{
	struct conf_notes notes = {0};
	struct conf_bundle *b = bundle_of(text, n);
	struct conf *c = conf_load(b, &notes);
	char *printed = NULL;

	promise(!c != !notes.errors);
	if (c) {
		FILE *f = open_memstream(&printed, printed_n);
		conf_print(c, f);
		fclose(f);
		char *table = NULL;
		size_t table_n;
		f = open_memstream(&table, &table_n);
		conf_print_hosts(c, f);
		fclose(f);
		free(table);
		for (unsigned i = 0; i < c->hosts; i++)
			promise(c->host[i].name.p[0] == '*' ||
				conf_site_of(c, c->host[i].name) == c->host[i].site);
	}
	conf_free(c);
	conf_notes_free(&notes);
	conf_bundle_free(b);
	return printed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t once_n, twice_n;
	char *once = load_and_print(data, n, &once_n);
	if (!once)
		return 0;
	char *twice = load_and_print(once, once_n, &twice_n);
	if (!twice || once_n != twice_n || memcmp(once, twice, once_n) != 0) {
		fprintf(stderr, "once:\n%s\ntwice:\n%s\n", once, twice ? twice : "(does not load)");
		abort();
	}
	free(once);
	free(twice);
	return 0;
}

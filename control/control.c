/* SPDX-License-Identifier: MIT */
#include "control/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/board.h"
#include "base/channel.h"
#include "base/log.h"
#include "base/metric.h"
#include "control/admin.h"
#include "control/fleet.h"
#include "control/log_writer.h"
#include "control/metrics_http.h"
#include "control/state.h"
#include "proxy/servers.h"

#define FAREWELL_US (300 * USEC_PER_MSEC) /* for the store to hear that this weir leaves */
#define LOG_STUCK_US USEC_PER_SEC
#define SWEEP_BUCKETS 4096 /* of the client table, a second */

enum { FD_ADMIN, FD_HTTP, FD_ACCESS_LOG };

/* --- the conf --- */

struct conf_ref *conf_ref_new(struct conf *conf)
{
	struct conf_ref *r = malloc(sizeof(*r));
	if (r)
		*r = (struct conf_ref){conf, 1};
	return r;
}

struct conf_ref *conf_ref_hold(struct conf_ref *r)
{
	r->holders++;
	return r;
}

void conf_ref_drop(struct conf_ref *r)
{
	if (--r->holders)
		return;
	conf_free(r->conf);
	free(r);
}

static struct conf *load(struct conf_bundle *b)
{
	struct conf_notes notes = {0};
	struct conf *conf = b ? conf_load(b, &notes) : NULL;
	for (unsigned i = 0; !conf && i < notes.rows; i++)
		if (!notes.row[i].warning)
			log_error("control: %s:%u:%u: %s", notes.row[i].file, notes.row[i].line,
				  notes.row[i].column, notes.row[i].text);
	conf_notes_free(&notes);
	return conf;
}

static struct conf *load_bundle(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return NULL;
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return NULL;
	struct conf_bundle *b = conf_bundle_parse(bytes, (size_t)st.st_size);
	struct conf *conf = load(b);
	if (b)
		conf_bundle_free(b);
	munmap(bytes, (size_t)st.st_size);
	return conf;
}

/* --- what hangs on the conf and its descriptors --- */

static int access_log_fd(const struct conf *conf, int given)
{
	switch (conf->log.access) {
	case ACCESS_LOG_OFF:
		break;
	case ACCESS_LOG_STDOUT:
		return STDOUT_FILENO;
	case ACCESS_LOG_PATH:
		if (given >= 0)
			return given;
		log_error("control: the master gave no access log; its lines are lost");
		break;
	}
	return LOG_WRITER_NOWHERE;
}

static void serve_admin(struct control *c, int fd)
{
	if (fd < 0) {
		if (c->admin)
			admin_close(c->admin);
		c->admin = NULL;
	} else if (c->admin) {
		admin_move(c->admin, fd);
	} else if (!(c->admin = admin_open(c, fd))) {
		log_error("control: out of memory for the admin socket");
	}
}

static bool same_socket(int a, int b)
{
	struct stat sa, sb;
	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static void serve_http(struct control *c, int fd)
{
	if (fd >= 0 && c->http && same_socket(fd, metrics_http_fd(c->http))) {
		close(fd);
		return;
	}
	if (c->http)
		metrics_http_close(c->http);
	c->http = fd >= 0 ? metrics_http_open(c, fd) : NULL;
	if (fd >= 0 && !c->http)
		log_error("control: out of memory for the admin HTTP server");
}

/* --- the master --- */

bool control_tell(struct control *c, enum msg_type type, const char *text)
{
	struct channel_msg m;
	m.type = type;
	m.arg = 0;
	m.fds = 0;
	m.len = strnlen(text, sizeof(m.bytes));
	memcpy(m.bytes, text, m.len);
	return channel_send(c->channel, &m) == 0;
}

void control_void_answers(void)
{
	atomic_fetch_add(&board()->limits_generation, 1);
}

void control_learned(struct control *c)
{
	if (c->state != CONTROL_STARTING)
		return;
	c->state = CONTROL_SERVING;
	timeout_disarm(&c->learned);
	atomic_store(&board_self()->state, PROC_SERVING);
	if (!control_tell(c, MSG_READY, ""))
		log_error("control: the master cannot be told: %s", strerror(errno));
}

static void on_learned_late(struct timeout *t)
{
	struct control *c = list_entry(t, struct control, learned);
	log_warn("control: the store did not tell its lifts within 1 s; they come when it answers");
	control_learned(c);
}

static void on_reload_late(struct timeout *t)
{
	struct reload_wait *w = list_entry(t, struct reload_wait, timeout);
	list_del(&w->link);
	w->control->reloads_lost++;
	w->done(w, false, false, "");
}

bool control_reload(struct control *c, struct reload_wait *w, const char *who)
{
	if (!control_tell(c, MSG_RELOAD_ASKED, who))
		return false;
	w->control = c;
	list_push(&c->reloads, &w->link);
	timeout_init(&w->timeout, on_reload_late);
	timeout_arm(&c->patience, &w->timeout);
	return true;
}

static void on_reloaded(struct control *c, struct channel_msg *m)
{
	struct list *first;
	m->bytes[m->len < sizeof(m->bytes) ? m->len : sizeof(m->bytes) - 1] = 0;
	if (c->reloads_lost) {
		c->reloads_lost--;
		return;
	}
	if (!(first = list_pop(&c->reloads)))
		return;
	struct reload_wait *w = list_entry(first, struct reload_wait, link);
	timeout_disarm(&w->timeout);
	w->done(w, true, m->arg == 1, m->bytes);
}

/* Descriptors by what START_HAS_ says of them; the first `skip` are others. Those taken are marked -1 in the
 * message. */
static void sort_fds(struct channel_msg *m, uint32_t has, unsigned skip, int fds[CONTROL_FDS])
{
	unsigned at = skip;
	for (unsigned i = 0; i < CONTROL_FDS; i++) {
		fds[i] = -1;
		if (!(has >> i & 1) || at >= m->fds)
			continue;
		fds[i] = m->fd[at];
		m->fd[at++] = -1;
	}
}

static void close_fds(const int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static void adopt(struct control *c, const struct start_info *info, struct conf_ref *ref,
		  const int fds[CONTROL_FDS])
{
	struct conf_ref *old = c->ref;
	c->info.generation = info->generation;
	c->info.has = info->has;
	c->ref = ref;
	log_set_level(ref->conf->log.level);
	atomic_store(&board_self()->generation, info->generation);
	log_writer_swap(c->writer, access_log_fd(ref->conf, fds[FD_ACCESS_LOG]));
	if (ref->conf->log.access != ACCESS_LOG_PATH)
		close_fds(&fds[FD_ACCESS_LOG], 1);
	serve_admin(c, fds[FD_ADMIN]);
	serve_http(c, fds[FD_HTTP]);
	fleet_configure(c->fleet);
	conf_ref_drop(old);
}

static void on_reload(struct control *c, struct channel_msg *m)
{
	struct start_info info;
	int fds[CONTROL_FDS];
	if (m->len < sizeof(info) || m->fds < 1) {
		log_error("control: a reload without a config came");
		return;
	}
	memcpy(&info, m->bytes, sizeof(info));
	struct conf *conf = load_bundle(m->fd[0]);
	struct conf_ref *ref = conf ? conf_ref_new(conf) : NULL;
	if (!ref) {
		log_error("control: the new config cannot be taken over; the old one stays in force here");
		if (conf)
			conf_free(conf);
		return;
	}
	sort_fds(m, info.has, 1, fds);
	adopt(c, &info, ref, fds);
}

/* --- leaving --- */

static void on_left(struct timeout *t)
{
	loop_stop(&list_entry(t, struct control, left)->loop);
}

static void on_gone(struct fleet_look *look)
{
	loop_stop(&list_entry(look, struct control, farewell_look)->loop);
}

/* The store hears of it if it answers soon; what is logged is written after the loop. */
static void leave(struct control *c)
{
	if (c->state == CONTROL_GONE)
		return;
	c->state = CONTROL_GONE;
	timeout_arm(&c->farewell, &c->left);
	c->farewell_look.done = on_gone;
	fleet_leave(c->fleet, &c->farewell_look);
}

static void on_message(struct control *c, struct channel_msg *m)
{
	switch ((enum msg_type)m->type) {
	case MSG_RELOAD:
		on_reload(c, m);
		break;
	case MSG_RELOADED:
		on_reloaded(c, m);
		break;
	case MSG_LOG:
		if (m->fds) {
			log_writer_swap(c->writer, m->fd[0]);
			m->fd[0] = -1;
		}
		break;
	case MSG_DRAIN:
		if (c->state == CONTROL_SERVING)
			c->state = CONTROL_LEAVING;
		break;
	case MSG_EXIT:
		leave(c);
		break;
	default:
		log_warn("control: a message of type %u came, which is none for control", m->type);
		break;
	}
}

static void on_channel(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct channel_msg m;
	int got;
	(void)what;
	loop_wake(&c->loop);
	while ((got = channel_recv(fd, &m)) > 0) {
		on_message(c, &m);
		close_fds(m.fd, m.fds);
	}
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	event_del(&c->channel_event);
	if (c->state != CONTROL_GONE)
		log_warn("control: the master is gone");
	leave(c);
}

/* --- life --- */

static void on_second(struct timeout *t)
{
	struct control *c = list_entry(t, struct control, tick);
	timeout_arm(&c->second, t);
	rates_sample(&c->rates, c->loop.now, metric_family_sum(METRIC_REQUESTS, NULL));
	if (c->admin)
		admin_tick(c->admin);
	fleet_tick(c->fleet);
	log_writer_report(c->writer);
	if (c->table)
		table_sweep(c->table, c->loop.now, SWEEP_BUCKETS);
}

static void on_turn(struct hook *h)
{
	struct control *c = list_entry(h, struct control, beat);
	atomic_store_explicit(&board_self()->beat_us, c->loop.now, memory_order_relaxed);
}

static void ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1};
	for (unsigned i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
}

static void attach(struct control *c, struct shm *shm)
{
	size_t bytes;
	void *table = shm_section(shm, SHM_TABLE, &bytes);
	c->lifts = shm_section(shm, SHM_LIFTS, NULL);
	servers_attach(shm_section(shm, SHM_SERVERS, NULL));
	c->table = table_attach(table, bytes, (uint16_t)board_slot());
	if (!c->table)
		log_error("control: the client table cannot be attached; `clients` and `explain` know "
			  "nothing of it");
}

static void init_timers(struct control *c)
{
	list_init(&c->reloads);
	timeout_class_init(&c->second, &c->loop, USEC_PER_SEC);
	timeout_class_init(&c->patience, &c->loop, CONTROL_RELOAD_US);
	timeout_class_init(&c->farewell, &c->loop, FAREWELL_US);
	timeout_init(&c->tick, on_second);
	timeout_init(&c->learned, on_learned_late);
	timeout_init(&c->left, on_left);
	hook_add(&c->loop, &c->beat, on_turn);
	timeout_arm(&c->second, &c->tick);
	timeout_arm(&c->second, &c->learned); /* CONTROL_LEARN_US is a second */
	rates_sample(&c->rates, c->loop.now, metric_family_sum(METRIC_REQUESTS, NULL));
}

static bool start(struct control *c, struct shm *shm, struct conf *conf, const int fds[CONTROL_FDS])
{
	c->ref = conf_ref_new(conf);
	if (!c->ref || !loop_init(&c->loop))
		return false;
	attach(c, shm);
	c->writer = log_writer_start(access_log_fd(conf, fds[FD_ACCESS_LOG]), STDERR_FILENO);
	if (!c->writer)
		return false;
	init_timers(c);
	event_assign(&c->channel_event, c->loop.base, c->channel, EV_READ | EV_PERSIST, on_channel, c);
	c->fleet = fleet_new(c);
	if (!c->fleet || event_add(&c->channel_event, NULL) != 0)
		return false;
	serve_admin(c, fds[FD_ADMIN]);
	serve_http(c, fds[FD_HTTP]);
	fleet_configure(c->fleet);
	return true;
}

static void give_up_waits(struct control *c)
{
	struct list *first;
	while ((first = list_pop(&c->reloads))) {
		struct reload_wait *w = list_entry(first, struct reload_wait, link);
		timeout_disarm(&w->timeout);
		w->done(w, false, false, "");
	}
}

static void stop(struct control *c)
{
	give_up_waits(c);
	fleet_free(c->fleet);
	serve_http(c, -1);
	serve_admin(c, -1);
	event_del(&c->channel_event);
	hook_del(&c->beat);
	loop_free(&c->loop);
	if (c->table)
		table_detach(c->table);
	conf_ref_drop(c->ref);
	close(c->channel);
}

int control_main(int channel_fd, const struct start_info *info, struct shm *shm, struct conf *conf,
		 const int fds[CONTROL_FDS])
{
	static struct control c;
	c = (struct control){.channel = channel_fd, .info = *info};
	ignore_signals();
	if (!start(&c, shm, conf, fds)) {
		control_tell(&c, MSG_FAILED, "control: out of memory");
		return 1;
	}
	loop_run(&c.loop);
	stop(&c);
	if (!log_writer_stop(c.writer, LOG_STUCK_US)) /* its thread is in a write that nobody takes */
		_exit(0);
	return 0;
}

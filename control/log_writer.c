/* SPDX-License-Identifier: MIT */
#include "control/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/board.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/ring.h"

#define BATCH 65536
#define LINES_A_TURN 256 /* of one process, before the next one's turn */
#define BUSY_MS 5	 /* between two looks while lines come: they gather into batches */
#define IDLE_MS 200	 /* the longest sleep, after which a stop is seen */
#define NO_FD (-2)

struct sink {
	const char *name;
	enum ring_kind kind;
	pthread_t thread;
	bool running;
	const atomic_bool *stop;
	bool used[PROC_MAX]; /* slots that ever had a process; pages of the others stay untouched */
	_Atomic int next_fd; /* the next log, NO_FD when there is none */
	int fd;		     /* LOG_WRITER_NOWHERE: lines go nowhere */
	bool torn;	     /* the last write left half a line behind */
	size_t n;
	unsigned lines;
	char batch[BATCH];
	_Atomic int failing;   /* errno of the last write, 0 when it went well */
	_Atomic uint64_t lost; /* lines, ever */
	/* main thread: */
	series_t dropped;
	int told; /* the errno that was reported */
	uint64_t lost_told, lost_counted;
};

struct log_writer {
	struct sink sink[RING_KINDS];
	atomic_bool stop;
};

static void close_sink_fd(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

/* False: nobody will wait for this descriptor any more, as there is a next one. */
static bool wait_writable(const struct sink *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};
	poll(&p, 1, IDLE_MS);
	return atomic_load(&s->next_fd) == NO_FD;
}

/* Writes all, however long it takes. 0 or errno, EAGAIN where there is a next log instead; *done says how
 * many bytes were written. */
static int write_all(const struct sink *s, const char *p, size_t n, size_t *done)
{
	*done = 0;
	while (*done < n) {
		ssize_t w = write(s->fd, p + *done, n - *done);
		if (w >= 0)
			*done += (size_t)w;
		else if (errno != EINTR && (errno != EAGAIN || !wait_writable(s)))
			return errno;
	}
	return 0;
}

static void take_next_fd(struct sink *s)
{
	int fd = atomic_exchange(&s->next_fd, NO_FD);
	if (fd == NO_FD)
		return;
	close_sink_fd(s->fd);
	s->fd = fd;
	s->torn = false;
	atomic_store(&s->failing, 0);
}

static unsigned lines_in(const char *p, size_t n)
{
	unsigned lines = 0;
	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		lines++;
	return lines;
}

/* Bytes of n that are lines to their end: what was torn goes to the next log whole. */
static size_t whole_lines(const char *p, size_t n)
{
	const char *last = memrchr(p, '\n', n);
	return last ? (size_t)(last - p) + 1 : 0;
}

static void flush(struct sink *s)
{
	size_t at = 0, done;
	int err;
	if (s->n == 0)
		return;
	if (s->torn && write_all(s, "\n", 1, &done) == 0)
		s->torn = false;
	while ((err = write_all(s, s->batch + at, s->n - at, &done)) == EAGAIN) {
		at += whole_lines(s->batch + at, done);
		take_next_fd(s);
	}
	if (err) {
		if (done)
			s->torn = s->batch[at + done - 1] != '\n';
		atomic_fetch_add(&s->lost, s->lines - lines_in(s->batch, at + done));
	}
	atomic_store(&s->failing, err);
	s->n = s->lines = 0;
}

static void take_line(struct sink *s, const char *line, size_t n)
{
	if (s->fd == LOG_WRITER_NOWHERE || n > BATCH)
		return;
	if (s->n + n > BATCH)
		flush(s);
	memcpy(s->batch + s->n, line, n);
	s->n += n;
	s->lines++;
}

static bool drain_slot(struct sink *s, unsigned slot)
{
	const char *line;
	size_t n;
	unsigned count = 0;
	while (count < LINES_A_TURN && (line = ring_peek(s->kind, slot, &n)) != NULL) {
		take_line(s, line, n);
		ring_release(s->kind, slot, n);
		count++;
	}
	return count > 0;
}

/* A slot that was freed may hold its last lines still. */
static bool drain_all(struct sink *s)
{
	bool any = false;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		if (atomic_load_explicit(&board()->proc[i].kind, memory_order_relaxed) != PROC_NONE)
			s->used[i] = true;
		if (s->used[i] && drain_slot(s, i))
			any = true;
	}
	flush(s);
	return any;
}

static void *run(void *arg)
{
	struct sink *s = arg;
	for (;;) {
		bool last = atomic_load(s->stop); /* what was logged before the stop is written after it */
		take_next_fd(s);
		if (drain_all(s)) {
			if (!last)
				poll(NULL, 0, BUSY_MS);
			continue;
		}
		if (last)
			return NULL;
		ring_sleep(s->kind, IDLE_MS);
	}
}

static bool spawn(struct sink *s)
{
	sigset_t all, before;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return s->running = err == 0;
}

static void open_sink(struct log_writer *w, enum ring_kind kind, const char *name, int fd)
{
	struct sink *s = &w->sink[kind];
	s->name = name;
	s->kind = kind;
	s->stop = &w->stop;
	s->fd = fd;
	s->dropped = metric_series(METRIC_LOG_DROPPED, ring_label(kind));
	atomic_init(&s->next_fd, NO_FD);
}

/* False: it did not end in time. */
static bool end_sink(struct sink *s, const struct timespec *until)
{
	if (s->running && pthread_timedjoin_np(s->thread, NULL, until) != 0)
		return false;
	int unused = atomic_load(&s->next_fd);
	if (unused != NO_FD)
		close_sink_fd(unused);
	close_sink_fd(s->fd);
	return true;
}

struct log_writer *log_writer_start(int access_fd, int own_fd)
{
	struct log_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	open_sink(w, RING_ACCESS, "access log", access_fd);
	open_sink(w, RING_OWN, "log", own_fd);
	if (spawn(&w->sink[RING_ACCESS]) && spawn(&w->sink[RING_OWN]))
		return w;
	int saved = errno;
	log_writer_stop(w, USEC_PER_SEC);
	errno = saved;
	return NULL;
}

void log_writer_swap(struct log_writer *w, int access_fd)
{
	int unused = atomic_exchange(&w->sink[RING_ACCESS].next_fd, access_fd);
	if (unused != NO_FD)
		close_sink_fd(unused);
}

static void report(struct sink *s)
{
	int err = atomic_load(&s->failing);
	uint64_t lost = atomic_load(&s->lost);
	metric_add(s->dropped, lost - s->lost_counted);
	s->lost_counted = lost;
	if (err && err != s->told)
		log_error("%s: a write failed: %s; lines are lost until it goes again", s->name,
			  strerror(err));
	else if (!err && s->told)
		log_warn("%s: is written again; %llu lines were lost", s->name,
			 (unsigned long long)(lost - s->lost_told));
	if (!err)
		s->lost_told = lost;
	s->told = err;
}

void log_writer_report(struct log_writer *w)
{
	for (int i = 0; i < RING_KINDS; i++)
		report(&w->sink[i]);
}

bool log_writer_stop(struct log_writer *w, usec_t most)
{
	struct timespec until;
	atomic_store(&w->stop, true);
	clock_gettime(CLOCK_REALTIME, &until);
	usec_t at = until.tv_nsec / 1000 + most;
	until.tv_sec += at / USEC_PER_SEC;
	until.tv_nsec = at % USEC_PER_SEC * 1000;
	bool ended = true;
	for (int i = 0; i < RING_KINDS; i++)
		ended = end_sink(&w->sink[i], &until) && ended;
	if (ended)
		free(w);
	return ended;
}

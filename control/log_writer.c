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
	int fd;	   /* LOG_WRITER_NOWHERE: lines go nowhere */
	bool torn; /* the last write left half a line behind */
	size_t n;
	unsigned lines;
	char batch[BATCH];
	_Atomic int failing;   /* errno of the last write, 0 when it went well */
	_Atomic uint64_t lost; /* lines, ever */
	int told;	       /* main thread: the errno that was reported */
	uint64_t lost_told;
};

struct log_writer {
	pthread_t thread;
	struct sink access, own;
	_Atomic int next_fd; /* the next access log, NO_FD when there is none */
	atomic_bool stop;
	series_t dropped;
	bool used[PROC_MAX]; /* slots that ever had a process; pages of the others stay untouched */
};

static void close_sink_fd(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

static bool wait_writable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

/* Writes all, however long it takes. 0 or errno; *done says how many bytes were written. */
static int write_all(int fd, const char *p, size_t n, size_t *done)
{
	*done = 0;
	while (*done < n) {
		ssize_t w = write(fd, p + *done, n - *done);
		if (w >= 0)
			*done += (size_t)w;
		else if ((errno != EAGAIN || !wait_writable(fd)) && errno != EINTR)
			return errno;
	}
	return 0;
}

static unsigned lines_in(const char *p, size_t n)
{
	unsigned lines = 0;
	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		lines++;
	return lines;
}

static void flush(struct log_writer *w, struct sink *s)
{
	size_t done;
	if (s->n == 0)
		return;
	if (s->torn && write_all(s->fd, "\n", 1, &done) == 0)
		s->torn = false;
	int err = write_all(s->fd, s->batch, s->n, &done);
	if (err) {
		unsigned lost = s->lines - lines_in(s->batch, done);
		if (done)
			s->torn = s->batch[done - 1] != '\n';
		atomic_fetch_add(&s->lost, lost);
		metric_add(w->dropped, lost);
	}
	atomic_store(&s->failing, err);
	s->n = s->lines = 0;
}

static void take_line(struct log_writer *w, struct sink *s, const char *line, size_t n)
{
	if (s->fd == LOG_WRITER_NOWHERE || n > BATCH)
		return;
	if (s->n + n > BATCH)
		flush(w, s);
	memcpy(s->batch + s->n, line, n);
	s->n += n;
	s->lines++;
}

static bool drain_slot(struct log_writer *w, unsigned slot)
{
	enum ring_kind kind;
	const char *line;
	size_t n;
	unsigned count = 0;
	while (count < LINES_A_TURN && (line = ring_peek(slot, &kind, &n)) != NULL) {
		take_line(w, kind == RING_ACCESS ? &w->access : &w->own, line, n);
		ring_release(slot);
		count++;
	}
	return count > 0;
}

/* A slot that was freed may hold its last lines still. */
static bool drain_all(struct log_writer *w)
{
	bool any = false;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		if (atomic_load_explicit(&board()->proc[i].kind, memory_order_relaxed) != PROC_NONE)
			w->used[i] = true;
		if (w->used[i] && drain_slot(w, i))
			any = true;
	}
	flush(w, &w->access);
	flush(w, &w->own);
	return any;
}

static void take_next_fd(struct log_writer *w)
{
	int fd = atomic_exchange(&w->next_fd, NO_FD);
	if (fd == NO_FD)
		return;
	close_sink_fd(w->access.fd);
	w->access.fd = fd;
	w->access.torn = false;
	atomic_store(&w->access.failing, 0);
}

static void *run(void *arg)
{
	struct log_writer *w = arg;
	for (;;) {
		bool last = atomic_load(&w->stop); /* what was logged before the stop is written after it */
		take_next_fd(w);
		if (drain_all(w)) {
			if (!last)
				poll(NULL, 0, BUSY_MS);
			continue;
		}
		if (last)
			return NULL;
		ring_sleep(IDLE_MS);
	}
}

static bool spawn(struct log_writer *w)
{
	sigset_t all, before;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return err == 0;
}

struct log_writer *log_writer_start(int access_fd, int own_fd)
{
	struct log_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->access.name = "access log";
	w->access.fd = access_fd;
	w->own.name = "log";
	w->own.fd = own_fd;
	atomic_init(&w->next_fd, NO_FD);
	w->dropped = metric_series(METRIC_LOG_DROPPED, "");
	if (spawn(w))
		return w;
	free(w);
	return NULL;
}

void log_writer_swap(struct log_writer *w, int access_fd)
{
	int unused = atomic_exchange(&w->next_fd, access_fd);
	if (unused != NO_FD)
		close_sink_fd(unused);
}

static void report(struct sink *s)
{
	int err = atomic_load(&s->failing);
	uint64_t lost = atomic_load(&s->lost);
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
	report(&w->access);
	report(&w->own);
}

bool log_writer_stop(struct log_writer *w, usec_t most)
{
	struct timespec until;
	atomic_store(&w->stop, true);
	clock_gettime(CLOCK_REALTIME, &until);
	usec_t at = until.tv_nsec / 1000 + most;
	until.tv_sec += at / USEC_PER_SEC;
	until.tv_nsec = at % USEC_PER_SEC * 1000;
	if (pthread_timedjoin_np(w->thread, NULL, &until) != 0)
		return false;
	close_sink_fd(w->access.fd);
	int unused = atomic_load(&w->next_fd);
	if (unused != NO_FD)
		close_sink_fd(unused);
	free(w);
	return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * For LD_PRELOAD: malloc, calloc and realloc that fail now and then, in processes and times that a test
 * chooses. The file named by LD_WEIR_FAILING (children see what begins with LD_) holds a number N, which the
 * test writes and may change: every N-th call fails, none when it is 0. It is mapped once, so asking costs
 * nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static struct shared {
	_Atomic unsigned every, pid, failed;
} * shared;
static atomic_uint calls;
static pid_t self;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("LD_WEIR_FAILING");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p =
		fd >= 0 ? mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (fd >= 0)
		close(fd);
	self = getpid();
	if (p != MAP_FAILED)
		shared = p;
}

static int fails(void)
{
	if (!shared || !atomic_load(&shared->every) || atomic_load(&shared->pid) != (unsigned)self)
		return 0;
	if (atomic_fetch_add(&calls, 1) % atomic_load(&shared->every))
		return 0;
	atomic_fetch_add(&shared->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

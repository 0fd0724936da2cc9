/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/shm.h"

static const size_t sizes[SHM_SECTIONS] = {100, 4096, 1, 0, 70000, 4097, 123456};

static void sections_are_zero_aligned_and_apart(void **state)
{
	struct shm s;
	(void)state;
	assert_true(shm_create(&s, sizes));
	for (unsigned i = 0; i < SHM_SECTIONS; i++) {
		size_t size;
		unsigned char *p = shm_section(&s, (enum shm_section)i, &size);
		assert_int_equal(size, sizes[i]);
		assert_int_equal((uintptr_t)p % 4096, 0);
		assert_true(p > s.base && p + size <= s.base + s.size);
		for (size_t k = 0; k < size; k++)
			assert_int_equal(p[k], 0); /* nobody wrote into it that filled another */
		memset(p, 0xff, size);
	}
	assert_ptr_equal(shm_section(&s, SHM_TABLE, NULL), shm_section(&s, SHM_TABLE, &(size_t){0}));
	assert_true(fcntl(s.fd, F_GETFD) & FD_CLOEXEC);
	close(s.fd);
	shm_unmap(&s);
	shm_unmap(&s);
	assert_null(s.base);
}

/* The child throws its inherited mapping away and maps by the descriptor, as a program started anew does. */
static int child_writes(struct shm *s)
{
	struct shm mine;
	int fd = s->fd;
	shm_unmap(s);
	void *gap = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (gap == MAP_FAILED || !shm_attach(&mine, fd))
		return 1;
	for (unsigned i = 0; i < SHM_SECTIONS; i++) {
		size_t size;
		char *p = shm_section(&mine, (enum shm_section)i, &size);
		if (size != sizes[i])
			return 2;
		if (size && p[0] != (char)('a' + i))
			return 3;
		if (size)
			p[size - 1] = (char)('A' + i);
	}
	return 0;
}

static void another_process_sees_the_same_bytes(void **state)
{
	struct shm s;
	int status;
	(void)state;
	assert_true(shm_create(&s, sizes));
	for (unsigned i = 0; i < SHM_SECTIONS; i++)
		if (sizes[i])
			*(char *)shm_section(&s, (enum shm_section)i, NULL) = (char)('a' + i);
	pid_t pid = child_fork();
	if (pid == 0)
		_exit(child_writes(&s));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (unsigned i = 0; i < SHM_SECTIONS; i++) {
		char *p = shm_section(&s, (enum shm_section)i, NULL);
		if (sizes[i])
			assert_int_equal(p[sizes[i] - 1], 'A' + i);
	}
	close(s.fd);
	shm_unmap(&s);
}

static void refused(int fd, int err)
{
	struct shm s = {.base = NULL};
	errno = 0;
	assert_false(shm_attach(&s, fd));
	assert_int_equal(errno, err);
	assert_null(s.base);
}

static void what_is_no_such_memory_is_refused(void **state)
{
	struct shm s;
	int pipes[2];
	(void)state;
	assert_true(shm_create(&s, sizes));
	s.base[0] ^= 1; /* another version's */
	refused(s.fd, EPROTO);
	s.base[0] ^= 1;
	struct shm again;
	assert_true(shm_attach(&again, s.fd));
	shm_unmap(&again);
	shm_unmap(&s);
	assert_int_equal(ftruncate(s.fd, 20), 0);
	refused(s.fd, EPROTO);
	assert_int_equal(ftruncate(s.fd, 0), 0);
	refused(s.fd, EPROTO);
	close(s.fd);
	refused(s.fd, EBADF);
	assert_int_equal(pipe(pipes), 0);
	refused(pipes[0], EPROTO);
	close(pipes[0]);
	close(pipes[1]);
}

static void a_size_that_cannot_be_had_is_an_error(void **state)
{
	struct shm s = {.base = NULL};
	size_t huge[SHM_SECTIONS] = {0};
	(void)state;
	huge[SHM_TABLE] = (size_t)1 << 62;
	int before = dup(0);
	close(before);
	errno = 0;
	assert_false(shm_create(&s, huge));
	assert_true(errno == ENOMEM || errno == EFBIG || errno == EINVAL || errno == EOVERFLOW);
	int after = dup(0);
	close(after);
	assert_int_equal(after, before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_are_zero_aligned_and_apart),
		cmocka_unit_test(another_process_sees_the_same_bytes),
		cmocka_unit_test(what_is_no_such_memory_is_refused),
		cmocka_unit_test(a_size_that_cannot_be_had_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

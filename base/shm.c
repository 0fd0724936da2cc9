/* SPDX-License-Identifier: MIT */
#include "base/shm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHM_MAGIC UINT64_C(0x3172696577000001) /* its last digits count versions of any section's layout */
#define ALIGN 4096

struct shm_header {
	uint64_t magic;
	uint64_t at[SHM_SECTIONS], size[SHM_SECTIONS];
};

static size_t aligned(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static bool map(struct shm *s, int fd, size_t size)
{
	void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return false;
	*s = (struct shm){.fd = fd, .size = size, .base = m};
	return true;
}

bool shm_create(struct shm *s, const size_t sizes[SHM_SECTIONS])
{
	struct shm_header h = {.magic = SHM_MAGIC};
	size_t at = aligned(sizeof(h));
	for (int i = 0; i < SHM_SECTIONS; i++) {
		h.at[i] = at;
		h.size[i] = sizes[i];
		at += aligned(sizes[i]);
	}
	int fd = memfd_create("weir", MFD_CLOEXEC);
	if (fd < 0)
		return false;
	if (ftruncate(fd, (off_t)at) < 0 || !map(s, fd, at)) {
		int saved = errno;
		close(fd);
		errno = saved;
		return false;
	}
	*(struct shm_header *)(void *)s->base = h;
	return true;
}

bool shm_attach(struct shm *s, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return false;
	if ((size_t)st.st_size < sizeof(struct shm_header)) {
		errno = EPROTO;
		return false;
	}
	if (!map(s, fd, (size_t)st.st_size))
		return false;
	if (((const struct shm_header *)(const void *)s->base)->magic == SHM_MAGIC)
		return true;
	shm_unmap(s);
	errno = EPROTO;
	return false;
}

void *shm_section(const struct shm *s, enum shm_section which, size_t *size)
{
	const struct shm_header *h = (const struct shm_header *)(const void *)s->base;
	if (size)
		*size = h->size[which];
	return s->base + h->at[which];
}

void shm_unmap(struct shm *s)
{
	if (s->base)
		munmap(s->base, s->size);
	s->base = NULL;
}

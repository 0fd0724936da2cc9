/* SPDX-License-Identifier: MIT */
#include "master/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/capacity.h"

static bool open_standard(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

bool files_tidy(void)
{
	if (!open_standard())
		return false;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return true; /* no /proc: what was inherited is what it is */
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		int fd = atoi(e->d_name);
		if (fd > STDERR_FILENO)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	closedir(d);
	return true;
}

/* As far as it goes; how many there are then. */
static rlim_t raise_files(rlim_t want)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= want)
		return want;
	struct rlimit all = {want, r.rlim_max > want ? r.rlim_max : want};
	if (setrlimit(RLIMIT_NOFILE, &all) == 0)
		return want;
	r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0 || getrlimit(RLIMIT_NOFILE, &r) < 0)
		log_warn("the limit of open files cannot be raised: %s", strerror(errno));
	return r.rlim_cur;
}

void files_raise_limit(const struct conf *c)
{
	static rlim_t said; /* of: reloads say it once */
	unsigned connections = conf_connections(c);
	rlim_t want = capacity_files(connections, c->workers), files = raise_files(want);
	uint64_t room = (uint64_t)capacity_of_files(files) * c->workers;
	if (room >= connections || want == said)
		return;
	said = want;
	if (!c->caps.connections)
		log_info("caps.connections is %llu: each of %u workers may open %llu files",
			 (unsigned long long)room, c->workers, (unsigned long long)files);
	else
		log_warn("caps.connections is lowered from %u to %llu: each of %u workers may open %llu "
			 "files, and "
			 "%llu are wanted (raise the limit with `ulimit -n`, LimitNOFILE or the task's "
			 "ulimits)",
			 connections, (unsigned long long)room, c->workers, (unsigned long long)files,
			 (unsigned long long)want);
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

int files_seal(const void *bytes, size_t n)
{
	int fd = memfd_create("weir-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (write_all(fd, bytes, n) &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int files_open_log(struct str path, struct problems *p)
{
	char z[PATH_MAX];
	if (path.n >= sizeof(z)) {
		problems_errno(p, PROBLEM_SYSTEM, ENAMETOOLONG, "log.access: %.60s...", path.p);
		return -1;
	}
	memcpy(z, path.p, path.n);
	z[path.n] = 0;
	/* O_NONBLOCK, or a pipe without a reader would hold the master up. */
	int fd = open(z, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (fd < 0)
		problems_errno(p, PROBLEM_PATH, errno, "log.access: %s", z);
	return fd;
}

int files_make_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	if (!slash || slash == path || (size_t)(slash - path) >= sizeof(folder))
		return 0;
	memcpy(folder, path, (size_t)(slash - path));
	folder[slash - path] = 0;
	if (access(folder, F_OK) == 0)
		return 0;
	if (mkdir(folder, 0755) < 0)
		return errno == EEXIST ? 0 : errno;
	return chmod(folder, 0755) < 0 ? errno : 0; /* whatever the umask was */
}

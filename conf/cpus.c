/* SPDX-License-Identifier: MIT */
#include "conf/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool ok = fgets(line, size, f) != NULL;
	fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

/* Quota and period in microseconds; 0 where nothing is capped. */
static unsigned quota_cpus(long long quota, long long period)
{
	if (quota <= 0 || period <= 0)
		return 0;
	long long n = (quota + period - 1) / period;
	return n > 65536 ? 65536 : (unsigned)n;
}

static unsigned quota_v2(const char *folder)
{
	char path[PATH_MAX], line[64];
	long long quota, period;
	snprintf(path, sizeof(path), "%s/cpu.max", folder);
	if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld %lld", &quota, &period) != 2)
		return 0; /* "max 100000": no cap */
	return quota_cpus(quota, period);
}

static unsigned quota_v1(const char *folder)
{
	char path[PATH_MAX], quota[64], period[64];
	snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
	if (!read_line(path, quota, sizeof(quota)))
		return 0;
	snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
	if (!read_line(path, period, sizeof(period)))
		return 0;
	return quota_cpus(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The least of the group and all above it, up to the mount's own folder, which is a container's group. */
static unsigned least_quota(const char *mount, const char *group, unsigned (*quota)(const char *))
{
	char folder[PATH_MAX];
	size_t root = strlen(mount);
	unsigned least = 0;

	if ((size_t)snprintf(folder, sizeof(folder), "%s%s", mount, group) >= sizeof(folder))
		snprintf(folder, sizeof(folder), "%s", mount);
	for (;;) {
		unsigned n = quota(folder);
		if (n && (!least || n < least))
			least = n;
		char *slash = strrchr(folder, '/');
		if (!slash || (size_t)(slash - folder) < root)
			return least;
		*slash = '\0';
	}
}

/* A line is HIERARCHY:CONTROLLERS:PATH; v2's has no controllers. */
static unsigned quota_of_line(char *line, const char *sys_cgroup)
{
	char mount[PATH_MAX];
	char *controllers = strchr(line, ':');
	char *group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return 0;
	*controllers++ = '\0';
	*group++ = '\0';
	group[strcspn(group, "\n")] = '\0';
	if (!*controllers)
		return least_quota(sys_cgroup, group, quota_v2);
	snprintf(mount, sizeof(mount), ",%s,", controllers);
	if (!strstr(mount, ",cpu,"))
		return 0;
	snprintf(mount, sizeof(mount), "%s/%s", sys_cgroup, controllers);
	return least_quota(mount, group, quota_v1);
}

unsigned cpus_of(const char *proc_cgroup, const char *sys_cgroup, unsigned bound)
{
	char line[PATH_MAX + 256];
	unsigned cpus = bound ? bound : 1;
	FILE *f = fopen(proc_cgroup, "re");

	while (f && fgets(line, sizeof(line), f)) {
		unsigned n = quota_of_line(line, sys_cgroup);
		if (n && n < cpus)
			cpus = n;
	}
	if (f)
		fclose(f);
	return cpus;
}

unsigned cpus_granted(void)
{
	cpu_set_t set;
	int bound = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return cpus_of("/proc/self/cgroup", "/sys/fs/cgroup", (unsigned)bound);
}

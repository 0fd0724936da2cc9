/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs this process may use: those it is bound to (sched_getaffinity), and no more than its cgroup
 * pays for (cpu.max of cgroup v2, cpu.cfs_quota_us of v1, of it and of those above it), rounded up; at
 * least 1.
 */
#ifndef WEIR_CONF_CPUS_H
#define WEIR_CONF_CPUS_H

unsigned cpus_granted(void);

/* For tests: with another /proc/self/cgroup, /sys/fs/cgroup and number of CPUs. */
unsigned cpus_of(const char *proc_cgroup, const char *sys_cgroup, unsigned bound);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The control plane of one weir: one unprivileged process beside the workers. It serves the admin socket, the
 * metrics and the status page, keeps lifts and heartbeat in step with the other weirs over the store, and
 * writes the logs. It may die and be started again at any time: what matters is in the shared memory or in
 * the store.
 *
 *             READY              MSG_DRAIN             MSG_EXIT, or the channel's end
 *   STARTING -------> SERVING ---------------> LEAVING --------------------------------> exit
 *
 * It says READY when it knows the lifts that the store holds, or after CONTROL_LEARN_US without them. While
 * LEAVING it goes on as before, as the workers may still serve; on MSG_EXIT it leaves the fleet and writes
 * what is logged.
 */
#ifndef WEIR_CONTROL_CONTROL_H
#define WEIR_CONTROL_CONTROL_H

#include "base/protocol.h"
#include "base/shm.h"
#include "conf/conf.h"

#define CONTROL_LEARN_US USEC_PER_SEC
#define CONTROL_FDS 3 /* as many as there are START_HAS_ names */

/*
 * Runs until it is told to leave; returns the exit status. The shared memory is attached, and board, metrics
 * and ring are joined already. fds: the descriptors that START_HAS_ names, in order, -1 where absent. Takes
 * the channel, the conf and the descriptors. Signals that a terminal or a supervisor sends to the whole group
 * are ignored: the master says when to leave.
 */
int control_main(int channel_fd, const struct start_info *, struct shm *, struct conf *,
		 const int fds[CONTROL_FDS]);

#endif

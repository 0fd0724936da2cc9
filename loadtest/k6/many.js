// SPDX-License-Identifier: MIT
// Many clients, named by X-Forwarded-For one after the other, as behind a load balancer.
import exec from 'k6/execution';
import { clients, options as make, rate, seconds, send, withStatuses } from './session.js';
export { handleSummary } from './session.js';

export const options = withStatuses(make({
  executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: `${seconds}s`,
}));

export default () => send(exec.scenario.iterationInTest % clients);

// SPDX-License-Identifier: MIT
// One client: calm, ten times as much from one moment to the next, calm.
import { options as make, rate, seconds, send, withStatuses } from './session.js';
export { handleSummary } from './session.js';

const calm = Math.ceil(rate / 10);

export const options = withStatuses(make({
  executor: 'ramping-arrival-rate', startRate: calm, timeUnit: '1s',
  stages: [
    { target: calm, duration: `${seconds * 0.4}s` },
    { target: rate, duration: '0s' },
    { target: rate, duration: `${seconds * 0.2}s` },
    { target: calm, duration: '0s' },
    { target: calm, duration: `${seconds * 0.4}s` },
  ],
}));

export default () => send();

// SPDX-License-Identifier: MIT
// One client whose rate grows from a tenth to the whole, stays there, and falls again.
import { options as make, rate, seconds, send, withStatuses } from './session.js';
export { handleSummary } from './session.js';

export const options = withStatuses(make({
  executor: 'ramping-arrival-rate', startRate: Math.ceil(rate / 10), timeUnit: '1s',
  stages: [
    { target: rate, duration: `${seconds * 0.6}s` },
    { target: rate, duration: `${seconds * 0.3}s` },
    { target: 0, duration: `${seconds * 0.1}s` },
  ],
}));

export default () => send();

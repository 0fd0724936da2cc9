// SPDX-License-Identifier: MIT
// One client at a steady rate.
import { options as make, rate, seconds, send, withStatuses } from './session.js';
export { handleSummary } from './session.js';

export const options = withStatuses(make({
  executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: `${seconds}s`,
}));

export default () => send();

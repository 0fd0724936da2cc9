// SPDX-License-Identifier: MIT
// One address that sends as fast as its virtual users can, without a pause.
import { options as make, seconds, send, withStatuses } from './session.js';
export { handleSummary } from './session.js';

export const options = withStatuses(make({
  executor: 'constant-vus', vus: Number(__ENV.CONNECTIONS || 50), duration: `${seconds}s`,
}));

export default () => send();

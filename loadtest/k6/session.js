// SPDX-License-Identifier: MIT
// What the five k6 scripts share. loadtest/run gives TARGET, SUMMARY (a file for the result) and, where they are
// wanted, HOST, CLIENT (the first address), CLIENTS, RATE (requests a second), DURATION (seconds), TOKEN.
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const statuses = new Counter('weir_statuses');

export const rate = Number(__ENV.RATE || 200);
export const seconds = Number(__ENV.DURATION || 20);
export const clients = Number(__ENV.CLIENTS || 10000);

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, 429));

// An executor with a rate needs virtual users in store: as many as are busy when an answer takes a second.
export function options(scenario) {
  const users = Math.max(10, Math.ceil((scenario.peak || rate) / 4));
  const rated = scenario.executor.includes('arrival-rate');
  const { peak, ...rest } = scenario;
  const told = rated ? { preAllocatedVUs: Math.min(users, 400), maxVUs: Math.min(users * 4, 2000) } : {};
  return {
    scenarios: { session: { ...rest, ...told, gracefulStop: '5s' } },
    discardResponseBodies: true,
    noUsageReport: true,
    summaryTrendStats: ['min', 'avg', 'med', 'p(75)', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  };
}

function address(n) {
  const parts = (__ENV.CLIENT || '198.18.0.1').split('.').map(Number);
  const whole = ((parts[0] * 256 + parts[1]) * 256 + parts[2]) * 256 + parts[3] + n;
  return [24, 16, 8, 0].map((bits) => Math.floor(whole / 2 ** bits) % 256).join('.');
}

// One request by the n-th client.
export function send(n = 0) {
  const headers = { 'X-Forwarded-For': address(n) };
  if (__ENV.HOST) headers.Host = __ENV.HOST;
  if (__ENV.TOKEN) headers['X-Weir-Lift'] = __ENV.TOKEN;
  const res = http.get(__ENV.TARGET, { headers, redirects: 0 });
  statuses.add(1, { status: String(res.status) });
}

// k6 keeps sub-metrics only for tags that a threshold names: one that always holds for each status of interest.
export function withStatuses(given) {
  const thresholds = {};
  for (const s of ['0', '200', '204', '301', '302', '304', '400', '401', '403', '404', '408', '413', '421', '429', '431',
    '500', '502', '503', '504']) {
    thresholds[`weir_statuses{status:${s}}`] = ['count>=0'];
  }
  return { ...given, thresholds };
}

export function handleSummary(data) {
  const found = {};
  for (const [name, metric] of Object.entries(data.metrics)) {
    const m = name.match(/^weir_statuses\{status:(\d+)\}$/);
    if (m && metric.values.count > 0) found[m[1]] = metric.values.count;
  }
  const values = (name) => (data.metrics[name] ? data.metrics[name].values : {});
  return {
    [__ENV.SUMMARY]: JSON.stringify({
      requests: values('http_reqs').count || 0,
      duration_ms: data.state.testRunDurationMs,
      latency_ms: values('http_req_duration'),
      dropped: values('dropped_iterations').count || 0,
      statuses: found,
    }),
  };
}

// A row of `/api/connections` for tests of what shows it.

import type { ConnectionRow } from '#src/admin/snapshot.js';

/** An idle, healthy crawler, except for these fields. */
export function connectionRow(fields: Partial<ConnectionRow> = {}): ConnectionRow {
  return {
    id: 'conn-1',
    role: 'crawler',
    crawlerId: null,
    name: null,
    state: 'active',
    health: 'healthy',
    uptime: 0,
    idleFor: 0,
    heartbeatAge: null,
    rateIn: 0,
    rateOut: 0,
    messagesReceived: 0,
    messagesRejected: 0,
    messagesSent: 0,
    controlReceived: 0,
    controlSent: 0,
    messagesDropped: 0,
    bytesReceived: 0,
    bytesSent: 0,
    pendingBytes: 0,
    latency: 0,
    activeJobs: 0,
    overflow: 'block',
    isSlow: false,
    isDropping: false,
    isPaused: false,
    lastError: null,
    ...fields,
  };
}

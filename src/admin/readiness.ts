// Whether the broker should be sent traffic, and why not.

import type { AdminSource } from './admin-source.js';

/** The answer of `/readyz`. */
export interface Readiness {
  readonly ready: boolean;
  readonly reason:
    | 'running'
    | 'starting'
    | 'draining'
    | 'stopped'
    | 'no worker lives'
    | 'saturated: reading is paused'
    | 'saturated: maxConnections is reached';
}

/** A pause of reading is how backpressure works; one that lasts so long, in ms, is worth telling. */
const LONG_PAUSE = 1000;

export function readinessOf(source: AdminSource): Readiness {
  const reason = reasonOf(source);
  return { ready: reason === 'running', reason };
}

function reasonOf(source: AdminSource): Readiness['reason'] {
  const { state } = source.status();
  if (state === 'stopping') return 'draining';
  if (state !== 'running') return state;
  const metrics = source.metrics();
  if (metrics === undefined) return 'starting';
  if (metrics.dispatch.threads === 0) return 'no worker lives';
  if (metrics.flow.pausedFor > LONG_PAUSE) return 'saturated: reading is paused';
  return source.pool.isFull ? 'saturated: maxConnections is reached' : 'running';
}

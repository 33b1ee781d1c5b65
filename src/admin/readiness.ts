// Whether the broker is ready for traffic, and the reason if it is not.

import type { AdminSource } from './admin-source.js';

/** The answer of `/readyz`. */
export interface Readiness {
  readonly ready: boolean;
  readonly reason:
    | 'running'
    | 'starting'
    | 'draining'
    | 'stopped'
    | 'unreachable: the socket file was removed or replaced'
    | 'no validation workers are running'
    | 'the disk of the durable log does not work'
    | 'saturated: reading is paused'
    | 'saturated: maxConnections is reached';
}

/** Pausing reads is normal backpressure; a pause longer than this, in ms, is reported. */
const LONG_PAUSE = 1000;

export function readinessOf(source: AdminSource): Readiness {
  const reason = reasonOf(source);
  return { ready: reason === 'running', reason };
}

function reasonOf(source: AdminSource): Readiness['reason'] {
  const { state, isReachable } = source.status();
  if (state === 'stopping') return 'draining';
  if (state !== 'running') return state;
  const metrics = source.metrics();
  if (metrics === undefined) return 'starting';
  if (!isReachable) return 'unreachable: the socket file was removed or replaced';
  if (metrics.dispatch.threads === 0) return 'no validation workers are running';
  if (metrics.durableLog?.isAvailable === false) return 'the disk of the durable log does not work';
  if (metrics.flow.pausedFor > LONG_PAUSE) return 'saturated: reading is paused';
  return source.pool.isFull ? 'saturated: maxConnections is reached' : 'running';
}

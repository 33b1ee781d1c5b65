// Events for tools that observe this process, by `node:diagnostics_channel`. Without subscribers, they cost nothing. They
// contain nothing of the messages.

import { channel } from 'node:diagnostics_channel';
import type { WireErrorCode } from '../errors.js';
import type { DropCause } from './connection-state.js';

/** Messages of a connection were rejected. */
export interface RejectedDiagnostics {
  readonly connectionId: string;
  readonly crawlerId: string | undefined;
  readonly code: WireErrorCode;
  readonly count: number;
  /** Of the last of them, if it is known. */
  readonly messageType: string | undefined;
}

/** Messages for a connection were dropped. */
export interface DroppedDiagnostics {
  readonly connectionId: string;
  readonly crawlerId: string | undefined;
  readonly cause: DropCause;
  readonly count: number;
}

/** A validation worker has failed, and is replaced. */
export interface WorkerFailedDiagnostics {
  readonly error: unknown;
}

const rejected = channel('sluice:rejected');
const dropped = channel('sluice:dropped');
const workerFailed = channel('sluice:worker-failed');

export function publishRejected(event: RejectedDiagnostics): void {
  if (rejected.hasSubscribers) rejected.publish(event);
}

export function publishDropped(event: DroppedDiagnostics): void {
  if (dropped.hasSubscribers) dropped.publish(event);
}

export function publishWorkerFailed(event: WorkerFailedDiagnostics): void {
  if (workerFailed.hasSubscribers) workerFailed.publish(event);
}

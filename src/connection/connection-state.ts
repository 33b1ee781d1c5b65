// State of a connection that others read: pause reasons, counters, metadata; and the totals of all connections.

import type { ErrorCode } from '../errors.js';
import type { OverflowPolicy, PeerRole } from '../messages/messages.js';
import type { MessageBufferOptions } from './message-buffer.js';

export type ConnectionState =
  | 'connecting'
  | 'connected'
  | 'authenticated'
  | 'active'
  | 'idle'
  | 'disconnecting'
  | 'disconnected'
  | 'error';

/** States in which a connection accepts no more messages. */
export const CLOSING_STATES: ReadonlySet<ConnectionState> = new Set([
  'disconnecting',
  'disconnected',
  'error',
]);

export interface ConnectionMetadata {
  readonly id: string;
  readonly crawlerId: string | undefined;
  /** Name of the program, from its `hello`. */
  readonly name: string | undefined;
  readonly role: PeerRole;
  readonly connectedAt: Date;
  readonly lastActivity: Date;
  readonly lastHeartbeat: Date | undefined;
  /** Protocol version from the peer's `hello`. */
  readonly version: string | undefined;
  readonly capabilities: readonly string[];
  readonly tags: ReadonlySet<string>;
}

export interface ConnectionStatistics {
  /** Application messages received, and all rejected messages. */
  readonly messagesReceived: number;
  /** Control messages received, such as `hello` and `ping`. */
  readonly controlReceived: number;
  readonly messagesRejected: number;
  /** Application messages written to the peer: forwarded ones, and those of code in the broker's process. */
  readonly messagesSent: number;
  /** The broker's own messages written to the peer: answers, errors, pings. */
  readonly controlSent: number;
  /** Forwarded messages that were dropped by an overflow policy or undelivered when the connection closed. */
  readonly messagesDropped: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Bytes queued until the peer reads. */
  readonly pendingBytes: number;
  readonly errors: number;
  /** ms since the connection was accepted. */
  readonly uptime: number;
  readonly lastError: { readonly code: ErrorCode | string; readonly at: Date } | undefined;
}

/**
 * Events of a connection.
 * @typeParam C the connection
 */
export interface EventsOf<C> {
  state_changed: [event: { connection: C; from: ConnectionState; to: ConnectionState }];
  /** A socket error, or another failure that closes the connection. Unlike `error`, it needs no listener. */
  failed: [event: { connection: C; code: string }];
  dropped: [event: { connection: C; messages: number }];
  closed: [event: { connection: C; reason: string }];
}

/**
 * Whether a peer keeps up with the messages sent to it. `slow`: a write has been unfinished for more than a second, or
 * more than half of `maxPendingBytes` is pending. `dropping`: messages for it were dropped within the last minute.
 */
export type DeliveryState = 'current' | 'slow' | 'dropping';

/**
 * Why forwarded messages were dropped: an overflow policy (`block` drops none, and `log` counts as `disconnect`), or the
 * peer had disconnected.
 */
export type DropCause = Exclude<OverflowPolicy, 'log'> | 'closed';

export interface ConnectionOptions extends MessageBufferOptions {
  readonly receive: 'slab' | 'copy';
  readonly maxPendingBytes: number;
  /** ms after which a send is reported as failed; its message may still arrive. */
  readonly sendTimeout: number;
}

/** Reasons to pause reading, as bit flags: several may apply at a time. */
export const PAUSE = {
  /** Too many of its bytes wait for validation. */
  CONNECTION: 1,
  /** `maxBufferedBytes` is reached, a subscriber with `block` is behind, or the disk of the durable log is. */
  SERVER: 2,
  /** It is being closed, or the broker is. */
  CLOSING: 4,
  /** It does not read its replies. */
  UNREAD: 8,
  /** Its handlers are behind. */
  HANDLERS: 16,
  /** It waits for a slot of `maxPartialBytes`. */
  PARTIAL: 32,
  /** Too many pongs for it are withheld. */
  WITHHELD: 64,
  /** An operator paused it. */
  ADMIN: 128,
} as const;

/** The reasons that are the peer's own doing: its silence counts nevertheless. */
export const PAUSED_BY_PEER = PAUSE.UNREAD | PAUSE.CLOSING;

/** The source of {@link ConnectionMetadata}, with times of the monotonic clock in ms. */
interface MetadataSource extends Omit<ConnectionMetadata, 'lastActivity' | 'lastHeartbeat'> {
  readonly lastActivityAt: number;
  readonly lastHeartbeatAt: number | undefined;
}

export function metadataOf(source: MetadataSource): ConnectionMetadata {
  const { id, crawlerId, name, role, connectedAt, version, capabilities, tags } = source;
  const lastHeartbeat = source.lastHeartbeatAt === undefined ? undefined : wallClock(source.lastHeartbeatAt);
  const lastActivity = wallClock(source.lastActivityAt);
  const times = { connectedAt, lastActivity, lastHeartbeat };
  return { id, crawlerId, name, role, ...times, version, capabilities, tags };
}

/** Converts a monotonic time to a wall-clock time. Rounds up: `Date.now` is up to 1 ms in the past. */
function wallClock(monotonic: number): Date {
  const elapsed = performance.now() - monotonic;
  return new Date(Math.ceil(Date.now() - elapsed));
}

/** Counters of one connection. */
export class ConnectionCounters {
  messagesRejected = 0;
  messagesSent = 0;
  controlSent = 0;
  messagesDropped = 0;
  bytesSent = 0;
  errors = 0;
  lastError: ConnectionStatistics['lastError'];

  recordError(code: string, count: number): void {
    this.errors += count;
    this.lastError = { code, at: new Date() };
  }

  recordWritten(bytes: number, messages: number, control: number): void {
    this.bytesSent += bytes;
    this.messagesSent += messages;
    this.controlSent += control;
  }
}

/** Totals over all connections, including closed ones. */
export interface PipelineTotals {
  /** Bytes of whole messages received. */
  bytesReceived: number;
  /** Application messages written to peers: forwarded ones, and those of code in the broker's process. */
  messagesSent: number;
  /** The broker's own messages written to peers: answers, errors, pings. */
  controlSent: number;
  /** Bytes of both. */
  bytesSent: number;
  /** Forwarded messages that were dropped, by an overflow policy or because the peer had disconnected. */
  messagesDropped: number;
  /** The same, by cause. */
  readonly dropped: Record<DropCause, number>;
}

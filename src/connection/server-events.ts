// The server's events and status.

import type { PresenceChange } from '../protocol/presence.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';
import type { HealthIssue, HealthSummary } from './health-monitor.js';
import type { MessageEvent } from './message-event.js';
import type { SocketConnection } from './socket-connection.js';

/** A crawler has connected or disconnected. */
export type PresenceEvent = PresenceChange<SocketConnection>;

/** A rejected message of a connection. */
export type RejectedEvent = RejectedMessage<SocketConnection>;

export type ServerState = 'stopped' | 'starting' | 'running' | 'stopping';

/** Where the server listens: a path, `host:port`, or `fd 3` for an inherited Unix socket. */
export type ServerAddress = string;

export interface ServerEvents {
  /** The workers are ready and the server listens. */
  server_started: [event: { address: ServerAddress }];
  server_listening: [event: { address: ServerAddress }];
  server_stopping: [event: { reason: string }];
  /** With what was left after `drainTimeout`: undelivered messages, and bytes that were not validated. */
  server_stopped: [event: { reason: string; undelivered: number; unsettledBytes: number }];
  /** A non-fatal error, or an error that a listener of another event has thrown. */
  server_error: [event: { error: unknown }];
  connection_added: [event: { connection: SocketConnection }];
  connection_removed: [event: { connectionId: string; connection: SocketConnection; reason: string }];
  connection_rejected: [event: { code: 'MAX_CONNECTIONS' | 'SHUTTING_DOWN'; connections: number }];
  /** A validation worker failed. Its batch is retried. */
  pool_error: [event: { error: unknown }];
  /** A valid message from a crawler or an application. */
  message: [event: MessageEvent];
  /** A message was rejected. */
  rejected: [event: RejectedEvent];
  /** A crawler has connected or disconnected. */
  presence: [event: PresenceEvent];
  /** A new health issue of severity `warning` or `critical`. */
  health_warning: [event: HealthIssue];
  health_summary: [event: HealthSummary];
}

export interface ServerStatus {
  readonly state: ServerState;
  /** The first address, if the server listens at several. */
  readonly address: ServerAddress | undefined;
  /** Whether peers can connect: the server is running, and its socket file is in place. */
  readonly isReachable: boolean;
  /** Where the admin server listens: a path, or `host:port`; `undefined` if it does not listen. */
  readonly admin: string | undefined;
  readonly version: string;
  readonly startedAt: Date | undefined;
  /** ms since the start. */
  readonly uptime: number;
  readonly connections: number;
  readonly health: HealthSummary;
}

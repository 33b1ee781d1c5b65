// The broker as the admin server sees it.

import type { ResolvedOptions } from '../config/config.js';
import type { ConnectionPool } from '../connection/connection-pool.js';
import type { ServerStatus } from '../connection/server-events.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { Feeds } from '../feed/feeds.js';
import type { Tails } from '../feed/tail.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { DriftEntry } from '../protocol/drift-report.js';
import type { JobList, JobQuery } from '../routing/job-list.js';
import type { SubscriptionDescription } from '../routing/subscriptions.js';

/** Sends messages to the broker as a crawler does. */
export interface MessageSender {
  /**
   * Sends a message. Resolves when the broker has processed it; with a durable log, when it is on the disk.
   * @param message without its delimiter
   * @returns why the broker has rejected it; `undefined` if it has not
   * @throws SluiceError
   */
  send(message: Buffer): Promise<string | undefined>;
  close(): void;
}

export interface AdminSource {
  readonly options: ResolvedOptions;
  readonly pool: ConnectionPool;
  status(): ServerStatus;
  /** `undefined` until the stages exist. */
  metrics(): ServerMetrics | undefined;
  /**
   * Differences between messages and the contract, the latest seen first; `undefined` until the stages exist.
   * @param count maximum number of entries. Default: all.
   */
  drift(count?: number): DriftEntry[] | undefined;
  /** The subscriptions of a connection. */
  subscriptionsOf(connection: SocketConnection): SubscriptionDescription[];
  /** The jobs whose latest messages are kept; `undefined` if none are, or the stages do not exist. */
  jobs(query: JobQuery): Promise<JobList> | undefined;
  /** The streams of messages; `undefined` until the stages exist. */
  feeds(): Feeds | undefined;
  /** The live tails; `undefined` until the stages exist. */
  tails(): Tails | undefined;
  /** Whether a token is one of the role `monitor` or `app`, or an admin token, or none is needed. */
  verifyToken(token: string | undefined): boolean;
  /** Whether a token is an admin token; `undefined` if there are none. */
  verifyAdminToken(token: string | undefined): boolean | undefined;
  /**
   * Writes an action to the log.
   * @param connectionId the connection that it was about, if it was about one
   * @param ids the dead letters that it was about, if it was about some
   */
  logAction(what: string, connectionId: string | undefined, ids?: readonly number[]): void;
  /**
   * Opens a connection that needs no token.
   * @param crawlerId of the crawler whose messages it sends again, if that had one
   */
  openSender(crawlerId: string | undefined): Promise<MessageSender>;
  /** Whether there were too many wrong tokens in this second. */
  isTokenLimitReached(): boolean;
  /** The message types; `undefined` until the schema module is loaded. */
  registry(): MessageRegistry | undefined;
}

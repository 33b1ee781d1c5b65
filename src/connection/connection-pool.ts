// The open connections: look-up by id and by filter, and sending to many at once.

import { type ErrorCode, SluiceError } from '../errors.js';
import type { OutgoingMessage, PeerRole } from '../messages/messages.js';
import { SafeEmitter } from '../safe-emitter.js';
import type { ConnectionState } from './connection-state.js';
import type { SocketConnection } from './socket-connection.js';

/** Selects connections: every field that is set must match. */
export interface ConnectionFilter {
  state?: ConnectionState;
  role?: PeerRole;
  crawlerId?: string;
  tag?: string;
  where?: (connection: SocketConnection) => boolean;
}

export interface BroadcastResult {
  /** Number of connections to which the message was written. */
  readonly delivered: number;
  /** Connections to which it was not written, and why. After `SEND_TIMEOUT`, the message may still arrive. */
  readonly failed: readonly { readonly connectionId: string; readonly code: ErrorCode }[];
}

export interface PoolStatistics {
  readonly size: number;
  readonly capacity: number;
  /** The largest number of simultaneous connections so far. */
  readonly peak: number;
  readonly added: number;
  readonly removed: number;
  /** Connections rejected because the pool was full. */
  readonly rejected: number;
  readonly byState: Readonly<Partial<Record<ConnectionState, number>>>;
  readonly byRole: Readonly<Partial<Record<PeerRole, number>>>;
}

export interface PoolEvents {
  connection_added: [event: { connection: SocketConnection }];
  connection_removed: [event: { connectionId: string; connection: SocketConnection; reason: string }];
  pool_capacity_reached: [event: { capacity: number }];
  pool_cleanup: [event: { removed: number }];
}

export interface PoolHooks {
  /** Validates and encodes a message. If omitted or `undefined` is returned, each connection encodes it by itself. */
  readonly encode?: (message: OutgoingMessage) => Buffer | undefined;
  /** Called with an error that a listener of the pool has thrown. Default: rethrows it. */
  readonly onListenerError?: (error: unknown) => void;
}

export class ConnectionPool extends SafeEmitter<PoolEvents> {
  readonly #connections = new Map<string, SocketConnection>();
  /** The latest crawler with each crawlerId. */
  readonly #byCrawlerId = new Map<string, SocketConnection>();
  readonly #capacity: number;
  readonly #encode: (message: OutgoingMessage) => Buffer | undefined;
  readonly #onListenerError: (error: unknown) => void;
  #peak = 0;
  #added = 0;
  #removed = 0;
  #rejected = 0;

  /** @param capacity the largest number of simultaneous connections */
  constructor(capacity: number, { encode = () => undefined, onListenerError = rethrow }: PoolHooks = {}) {
    super();
    this.#capacity = capacity;
    this.#encode = encode;
    this.#onListenerError = onListenerError;
  }

  get size(): number {
    return this.#connections.size;
  }

  get isFull(): boolean {
    return this.size >= this.#capacity;
  }

  get statistics(): PoolStatistics {
    const byState: Partial<Record<ConnectionState, number>> = {};
    const byRole: Partial<Record<PeerRole, number>> = {};
    for (const { state, role } of this) {
      byState[state] = (byState[state] ?? 0) + 1;
      byRole[role] = (byRole[role] ?? 0) + 1;
    }
    return {
      size: this.size,
      capacity: this.#capacity,
      peak: this.#peak,
      added: this.#added,
      removed: this.#removed,
      rejected: this.#rejected,
      byState,
      byRole,
    };
  }

  [Symbol.iterator](): Iterator<SocketConnection> {
    return this.#connections.values();
  }

  /** Adds a connection. If the pool is full, emits `pool_capacity_reached` and returns false. */
  add(connection: SocketConnection): boolean {
    if (this.isFull) {
      this.reject();
      return false;
    }
    this.#connections.set(connection.id, connection);
    this.#added++;
    this.#peak = Math.max(this.#peak, this.size);
    this.emitSafely('connection_added', { connection });
    return true;
  }

  /** Counts a connection that was rejected because the pool was full, and emits `pool_capacity_reached`. */
  reject(): void {
    this.#rejected++;
    this.emitSafely('pool_capacity_reached', { capacity: this.#capacity });
  }

  /** Removes a connection, and closes it. Returns false if it was not in the pool. */
  remove(connectionId: string, reason = 'removed'): boolean {
    const connection = this.#connections.get(connectionId);
    if (connection === undefined) return false;
    this.#connections.delete(connectionId);
    this.#releaseCrawlerId(connection);
    this.#removed++;
    // Also one that nothing can be sent to, but that is still read.
    void connection.disconnect(reason);
    this.emitSafely('connection_removed', { connectionId, connection, reason });
    return true;
  }

  get(connectionId: string): SocketConnection | undefined {
    return this.#connections.get(connectionId);
  }

  /** @internal The crawler with this connection ID. */
  getCrawlerByConnection(connectionId: string): SocketConnection | undefined {
    const connection = this.get(connectionId);
    return connection !== undefined && isReachableCrawler(connection) ? connection : undefined;
  }

  /** The crawler with this crawlerId. If several connections have sent it, that is the latest, and the others are closed. */
  getCrawler(crawlerId: string): SocketConnection | undefined {
    const connection = this.#byCrawlerId.get(crawlerId);
    return connection !== undefined && isReachableCrawler(connection) ? connection : undefined;
  }

  /**
   * Gives a connection its crawlerId, or none.
   * @internal
   * @returns the other open connection of the crawler that had it before
   */
  identify(connection: SocketConnection, crawlerId: string | undefined): SocketConnection | undefined {
    this.#releaseCrawlerId(connection);
    connection.identity.crawlerId = crawlerId;
    if (crawlerId === undefined || connection.role !== 'crawler' || !connection.isOpen) return undefined;
    // Also one that has closed its side, and waits for its handlers or for the disk.
    const known = this.#byCrawlerId.get(crawlerId);
    this.#byCrawlerId.set(crawlerId, connection);
    connection.identifiedAt = performance.now();
    return known?.role === 'crawler' && known.isOpen && known.isAuthenticated ? known : undefined;
  }

  /** @internal The first connection that may be closed for a new one while reading is paused: preferably one that is gone. */
  oldestReplaceable(): SocketConnection | undefined {
    const replaceable = this.all().filter((connection) => connection.isReplaceable);
    return replaceable.find(({ isGone }) => isGone) ?? replaceable[0];
  }

  /** All connections, in order of arrival. */
  all(): SocketConnection[] {
    return [...this];
  }

  /** Connections in state `active`: they have sent a valid message and have not fallen silent since. */
  active(): SocketConnection[] {
    return this.filter({ state: 'active' });
  }

  /** Crawlers to which messages can be sent. */
  crawlers(): SocketConnection[] {
    return this.filter({ where: isReachableCrawler });
  }

  filter(wanted: ConnectionFilter): SocketConnection[] {
    const { state, role, crawlerId, tag, where } = wanted;
    return this.all().filter(
      (connection) =>
        (state === undefined || connection.state === state) &&
        (role === undefined || connection.role === role) &&
        (crawlerId === undefined || connection.crawlerId === crawlerId) &&
        (tag === undefined || connection.tags.has(tag)) &&
        (where === undefined || where(connection)),
    );
  }

  /**
   * Sends a message to every connection. This and the following methods skip peers that have not sent a required token,
   * since messages may contain access tokens, and those that have closed their side.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  broadcast(message: OutgoingMessage): Promise<BroadcastResult> {
    return this.#sendAll(this.all(), message);
  }

  /**
   * Sends a message to the connections in state `active`.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  broadcastToActive(message: OutgoingMessage): Promise<BroadcastResult> {
    return this.#sendAll(this.active(), message);
  }

  /**
   * Sends a message to every crawler.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  broadcastToCrawlers(message: OutgoingMessage): Promise<BroadcastResult> {
    return this.#sendAll(this.crawlers(), message);
  }

  /**
   * Sends a message to the connections that match the filter.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  sendTo(wanted: ConnectionFilter, message: OutgoingMessage): Promise<BroadcastResult> {
    return this.#sendAll(this.filter(wanted), message);
  }

  /** Removes connections whose socket is closed. @returns their number */
  cleanup(): number {
    const dead = this.all().filter(({ state }) => state === 'disconnected' || state === 'error');
    for (const { id } of dead) this.remove(id, 'cleanup');
    if (dead.length > 0) this.emitSafely('pool_cleanup', { removed: dead.length });
    return dead.length;
  }

  #releaseCrawlerId(connection: SocketConnection): void {
    const { crawlerId = '' } = connection;
    if (this.#byCrawlerId.get(crawlerId) === connection) this.#byCrawlerId.delete(crawlerId);
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#onListenerError(error);
  }

  async #sendAll(selected: SocketConnection[], message: OutgoingMessage): Promise<BroadcastResult> {
    const connections = selected.filter(({ canReceive }) => canReceive);
    // Encoded once for all connections, and validated even if there are none.
    const line = this.#encode(message);
    const results = await Promise.allSettled(connections.map((connection) => connection.send(message, line)));
    const failed: { connectionId: string; code: ErrorCode }[] = [];
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') return;
      const code = result.reason instanceof SluiceError ? result.reason.code : 'CONNECTION_CLOSED';
      if (code === 'INVALID_MESSAGE') throw result.reason;
      failed.push({ connectionId: connections[index]?.id ?? '', code });
    });
    return { delivered: connections.length - failed.length, failed };
  }
}

/** Whether a connection is a crawler to which messages can be sent. */
function isReachableCrawler({ role, canReceive }: SocketConnection): boolean {
  return role === 'crawler' && canReceive;
}

function rethrow(error: unknown): never {
  throw error;
}

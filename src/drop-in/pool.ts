// The connections of a server in the replaced server's shape.

import type { Logger } from 'pino';
import type { ConnectionPool as BrokerPool } from '../connection/connection-pool.js';
import { SafeEmitter } from '../safe-emitter.js';
import type { CrawlerConnection } from './connection.js';
import type {
  ConnectionPool,
  PoolEvent,
  PoolEvents,
  PoolStats,
  SocketConnection,
  WebAppMessage,
} from './types.js';

export class CrawlerPool extends SafeEmitter<PoolEvents> implements ConnectionPool {
  readonly connections = new Map<string, SocketConnection>();
  readonly #broker: BrokerPool;
  readonly #logger: Logger;
  readonly #onListenerError: (error: unknown) => void;
  #handled = 0;
  /** Bytes of closed connections. */
  #closedBytes = 0;
  #lastActivity = new Date();

  /** @param onListenerError called with an error that a listener has thrown */
  constructor(broker: BrokerPool, logger: Logger, onListenerError: (error: unknown) => void) {
    super();
    this.#broker = broker;
    this.#logger = logger;
    this.#onListenerError = onListenerError;
    broker.on('pool_capacity_reached', ({ capacity }) =>
      this.notify({ type: 'pool_capacity_reached', maxConnections: capacity }),
    );
    broker.on('pool_cleanup', ({ removed }) =>
      this.notify({ type: 'pool_cleanup', removedConnections: removed }),
    );
  }

  /** Emits an event. */
  notify(event: PoolEvent): void {
    // The name of an event is its type, which TypeScript does not relate to each other in a union.
    this.emitSafely(event.type, ...([event] as [never]));
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#onListenerError(error);
  }

  /** Adds an accepted connection. */
  add(connection: CrawlerConnection): void {
    this.connections.set(connection.id, connection);
    this.notify({ type: 'connection_added', connection });
    connection.notify({ type: 'connected', connection });
    this.#notifyStats();
  }

  /** Removes a closed connection. */
  forget(connectionId: string, reason: string): void {
    const connection = this.connections.get(connectionId);
    if (connection === undefined) return;
    this.connections.delete(connectionId);
    this.#closedBytes += bytesOf(connection);
    this.notify({ type: 'connection_removed', connectionId, reason });
    this.#notifyStats();
  }

  /** Counts a handled message. */
  recordHandled(): void {
    this.#handled++;
    this.#lastActivity = new Date();
  }

  getConnection(id: string): SocketConnection | undefined {
    return this.connections.get(id);
  }

  getAllConnections(): SocketConnection[] {
    return [...this.connections.values()];
  }

  getActiveConnections(): SocketConnection[] {
    return this.getAllConnections().filter((connection) => connection.isActive());
  }

  /** The active connection of each crawler, by crawler id or connection id. Of several, the latest. */
  activeOf(crawlerIds: readonly string[]): SocketConnection[] {
    const byId = new Map<string, SocketConnection>();
    const active = this.getActiveConnections();
    for (const connection of active) {
      const { crawlerId } = connection.metadata;
      if (crawlerId !== undefined) byId.set(crawlerId, connection);
    }
    for (const connection of active) byId.set(connection.id, connection);
    return crawlerIds.flatMap((id) => byId.get(id) ?? []);
  }

  removeConnection(id: string): void {
    this.#broker.remove(id);
  }

  broadcast(message: WebAppMessage): Promise<void> {
    return this.#send(this.getActiveConnections(), message);
  }

  broadcastToActive(message: WebAppMessage): Promise<void> {
    return this.broadcast(message);
  }

  broadcastToCrawlers(crawlerIds: string[], message: WebAppMessage): Promise<void> {
    return this.#send(this.activeOf(crawlerIds), message);
  }

  getPoolStats(): PoolStats {
    const all = this.getAllConnections();
    const inState = (state: string) => all.filter((connection) => connection.getState() === state).length;
    const totalTime = all.reduce((sum, { stats }) => sum + stats.uptime, 0);
    return {
      totalConnections: all.length,
      activeConnections: this.getActiveConnectionCount(),
      idleConnections: inState('idle'),
      errorConnections: inState('error'),
      totalMessagesHandled: this.#handled,
      totalBytesTransferred: all.reduce((sum, connection) => sum + bytesOf(connection), this.#closedBytes),
      averageConnectionTime: all.length === 0 ? 0 : totalTime / all.length,
      peakConnections: this.#broker.statistics.peak,
      lastActivity: this.#lastActivity,
    };
  }

  getConnectionCount(): number {
    return this.connections.size;
  }

  getActiveConnectionCount(): number {
    return this.getActiveConnections().length;
  }

  async cleanup(): Promise<void> {
    this.#broker.cleanup();
  }

  async closeAll(reason?: string): Promise<void> {
    await Promise.all(this.getAllConnections().map((connection) => connection.disconnect(reason)));
  }

  async #send(targets: readonly SocketConnection[], message: WebAppMessage): Promise<void> {
    const ids = new Set(targets.map(({ id }) => id));
    // Encoded once for all of them, and validated even if there are none.
    const { failed } = await this.#broker.sendTo({ where: ({ id }) => ids.has(id) }, message);
    const { type } = message;
    if (ids.size === 0) this.#logger.warn({ type }, 'no active connection to broadcast to');
    for (const { connectionId, code } of failed) {
      this.#logger.warn({ type, connection: connectionId, code }, 'broadcast failed');
    }
  }

  #notifyStats(): void {
    // The statistics are computed for listeners only.
    if (this.listenerCount('pool_stats_updated') === 0) return;
    this.notify({ type: 'pool_stats_updated', stats: this.getPoolStats() });
  }
}

function bytesOf({ stats }: SocketConnection): number {
  return stats.bytesReceived + stats.bytesSent;
}

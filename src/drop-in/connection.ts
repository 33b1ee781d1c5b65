// A connection in the replaced server's shape, around one of the broker.

import type { Socket } from 'node:net';
import { CLOSING_STATES } from '../connection/connection-state.js';
import type { SocketConnection as BrokerConnection } from '../connection/socket-connection.js';
import { ERRORS, type ErrorCode, SluiceError } from '../errors.js';
import { SafeEmitter } from '../safe-emitter.js';
import {
  type ConnectionEvent,
  type ConnectionEvents,
  type ConnectionMetadata,
  ConnectionState,
  type ConnectionStats,
  type CrawlerMessage,
  type SocketConnection,
  type WebAppMessage,
} from './types.js';

const STATES: ReadonlySet<string> = new Set(Object.values(ConnectionState));

export class CrawlerConnection extends SafeEmitter<ConnectionEvents> implements SocketConnection {
  readonly id: string;
  readonly socket: Socket;
  readonly #broker: BrokerConnection;
  readonly #metadata: ConnectionMetadata;
  readonly #onListenerError: (error: unknown) => void;
  #disconnectReason: string | undefined;
  #handled = 0;
  /** Time that the handlers of all messages took, in ms. */
  #handlingTime = 0;

  /** @param onListenerError called with an error that a listener has thrown */
  constructor(broker: BrokerConnection, onListenerError: (error: unknown) => void) {
    super();
    this.id = broker.id;
    this.socket = broker.socket;
    this.#broker = broker;
    this.#onListenerError = onListenerError;
    const { id, connectedAt, state } = broker;
    const { remoteAddress } = broker.socket;
    const times = { connectedAt, lastActivity: connectedAt, lastHeartbeat: connectedAt };
    this.#metadata = { id, state, ...times, remoteAddress, tags: {} };
    broker.on('state_changed', ({ to }) => this.#onStateChanged(to));
    broker.on('failed', ({ code }) => this.#onFailed(code));
    broker.on('closed', ({ reason }) => this.notify({ type: 'disconnected', connection: this, reason }));
  }

  /** Up to date whenever it is read. The same object each time, because applications assign to its fields. */
  get metadata(): ConnectionMetadata {
    const { crawlerId, version, capabilities, lastActivity, lastHeartbeat } = this.#broker.metadata;
    const metadata = this.#metadata;
    metadata.state = this.#broker.state;
    metadata.lastActivity = lastActivity;
    metadata.lastHeartbeat = lastHeartbeat ?? metadata.connectedAt;
    metadata.crawlerId = crawlerId ?? metadata.crawlerId;
    metadata.version = version ?? metadata.version;
    if (capabilities.length > 0) metadata.capabilities = [...capabilities];
    return metadata;
  }

  get stats(): ConnectionStats {
    const { messagesReceived, messagesSent, bytesReceived, bytesSent, errors, uptime, lastError } =
      this.#broker.statistics;
    return {
      messagesReceived,
      messagesSent,
      bytesReceived,
      bytesSent,
      errors,
      reconnects: 0,
      uptime,
      avgResponseTime: this.#handled === 0 ? 0 : this.#handlingTime / this.#handled,
      ...(lastError && {
        lastError: { timestamp: lastError.at, message: textOf(lastError.code), type: lastError.code },
      }),
    };
  }

  /** Emits an event. */
  notify(event: ConnectionEvent): void {
    // Unlike in other emitters, an `error` without a listener is nothing to throw for.
    if (this.listenerCount(event.type) === 0) return;
    // The name of an event is its type, which TypeScript does not relate to each other in a union.
    this.emitSafely(event.type, ...([event] as [never]));
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#onListenerError(error);
  }

  /** Emits the events of a received message. */
  receive(message: CrawlerMessage): void {
    this.notify({ type: 'message', connection: this, message });
    if (message.type === 'heartbeat') {
      this.notify({ type: 'heartbeat', connection: this, timestamp: new Date() });
    }
  }

  /** Counts a handled message. @param duration in ms */
  recordHandled(duration: number): void {
    this.#handled++;
    this.#handlingTime += duration;
    this.#notifyStats();
  }

  async send(message: WebAppMessage): Promise<void> {
    await this.#broker.send(message);
    this.#notifyStats();
  }

  async sendRaw(data: string | Buffer): Promise<void> {
    await this.#broker.sendRaw(data);
    this.#notifyStats();
  }

  disconnect(reason?: string): Promise<void> {
    this.#disconnectReason ??= reason;
    return this.#broker.disconnect(reason);
  }

  destroy(): void {
    this.#broker.destroy();
  }

  getState(): ConnectionState {
    return this.#broker.state;
  }

  setState(state: ConnectionState): void {
    if (!STATES.has(state)) throw new SluiceError('INVALID_OPTION', 'state: unknown state');
    if (CLOSING_STATES.has(state)) void this.disconnect('setState');
    else this.#broker.setState(state);
  }

  isConnected(): boolean {
    return this.#broker.isOpen;
  }

  isActive(): boolean {
    const { state, role, canReceive } = this.#broker;
    return (state === 'active' || state === 'authenticated') && role === 'crawler' && canReceive;
  }

  async connect(): Promise<void> {}

  async reconnect(): Promise<void> {}

  startHeartbeat(): void {}

  stopHeartbeat(): void {}

  async sendHeartbeat(): Promise<void> {}

  #notifyStats(): void {
    // The statistics are computed for listeners only.
    if (this.listenerCount('stats_updated') === 0) return;
    this.notify({ type: 'stats_updated', connection: this, stats: this.stats });
  }

  #onStateChanged(to: ConnectionState): void {
    if (to === 'authenticated') {
      const crawlerId = this.#broker.crawlerId ?? this.id;
      this.notify({ type: 'authenticated', connection: this, crawlerId });
    } else if (to === 'idle') {
      const idleTime = performance.now() - this.#broker.lastActivityAt;
      this.notify({ type: 'idle', connection: this, idleTime });
    } else if (to === 'disconnecting') {
      const reason = this.#disconnectReason;
      this.notify({ type: 'disconnecting', connection: this, ...(reason !== undefined && { reason }) });
    }
  }

  #onFailed(code: string): void {
    const error = isErrorCode(code) ? new SluiceError(code) : Object.assign(new Error(code), { code });
    this.notify({ type: 'error', connection: this, error });
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

function textOf(code: string): string {
  return isErrorCode(code) ? ERRORS[code].message : code;
}

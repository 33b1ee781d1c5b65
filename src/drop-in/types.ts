// The types of the replaced server, so that code written against them compiles unchanged.

import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type * as messages from '../messages/messages.js';

/** The replaced types have `any` where an application chooses the type: code reads `result.data.count` without a check. */
// biome-ignore lint/suspicious/noExplicitAny: with `unknown`, such code would not compile
export type Unchecked = any;

type KnownKey<T> = keyof { [K in keyof T as string extends K ? never : K]: T[K] };
/**
 * A message type without the index signatures of the schemas, which allow extra keys: an object whose type is an
 * interface could not be assigned to them.
 */
type Closed<T> = unknown extends T
  ? Unchecked
  : T extends readonly (infer E)[]
    ? Closed<E>[]
    : T extends object
      ? [KnownKey<T>] extends [never]
        ? T
        : { [K in keyof T as string extends K ? never : K]: Closed<T[K]> }
      : T;

/** A message from a crawler. */
export type CrawlerMessage = Closed<messages.CrawlerMessage>;
/** A message to a crawler. */
export type WebAppMessage = Closed<messages.AppMessage>;

/** The outcome of handling or sending a message. */
export interface MessageProcessingResult<T = Unchecked> {
  success: boolean;
  data?: T;
  /** Why it failed. May contain parts of the message, if the text of a thrown error does. */
  error?: string;
  shouldRetry?: boolean;
  retryAfter?: number;
}

/** Handles messages of one type. */
export interface MessageHandler<T = Unchecked> {
  /** Whether to call {@link handle} with this message. */
  canHandle(message: CrawlerMessage): boolean;
  /** A result with `success` and `data` ends the message's handling; after any other, the next handler is called. */
  handle(message: CrawlerMessage, connection: SocketConnection): Promise<MessageProcessingResult<T>>;
  /** Handlers with a higher priority are called first, equal ones in order of registration. Read at registration. */
  getPriority(): number;
}

/** Functions around all handled messages, and those sent with `router.sendMessage`. */
export interface MessageMiddleware {
  name: string;
  /** Middleware with a higher priority is called first. */
  priority: number;
  /** Called before the handlers. A returned message replaces the message; `null` keeps it. Throwing skips the handlers. */
  beforeProcess?(message: CrawlerMessage, connection: SocketConnection): Promise<CrawlerMessage | null>;
  /** Called after the handlers. */
  afterProcess?(
    result: MessageProcessingResult,
    message: CrawlerMessage,
    connection: SocketConnection,
  ): Promise<void>;
  /** Called before sending. A returned message is sent instead; `null` keeps it. Throwing prevents sending. */
  beforeSend?(message: WebAppMessage, connection: SocketConnection): Promise<WebAppMessage | null>;
  /** Called after a message was sent. */
  afterSend?(message: WebAppMessage, connection: SocketConnection): Promise<void>;
}

/** The states of a connection, by the names of the replaced enumeration. */
export const ConnectionState = {
  CONNECTING: 'connecting',
  CONNECTED: 'connected',
  AUTHENTICATED: 'authenticated',
  ACTIVE: 'active',
  IDLE: 'idle',
  DISCONNECTING: 'disconnecting',
  DISCONNECTED: 'disconnected',
  ERROR: 'error',
} as const;
/** The state of a connection. */
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

/** What is known about a connection. Values that an application assigns to other fields are overwritten. */
export interface ConnectionMetadata {
  id: string;
  /** From the crawler's `hello`, or assigned by the application. */
  crawlerId?: string | undefined;
  connectedAt: Date;
  /** When the latest byte was received. */
  lastActivity: Date;
  /** When the latest heartbeat was received; `connectedAt` if there was none. */
  lastHeartbeat: Date;
  state: ConnectionState;
  /** Protocol version of the crawler's `hello`, or assigned by the application. */
  version?: string | undefined;
  capabilities?: string[] | undefined;
  /** `undefined` for a Unix socket. */
  remoteAddress?: string | undefined;
  /** Only what the application assigns. */
  userAgent?: string | undefined;
  /** Only what the application assigns. */
  tags?: Record<string, string> | undefined;
}

/** Statistics of a connection. */
export interface ConnectionStats {
  messagesReceived: number;
  messagesSent: number;
  bytesReceived: number;
  bytesSent: number;
  errors: number;
  /** Always 0: a crawler that reconnects has a new connection. */
  reconnects: number;
  /** ms since the connection was accepted. */
  uptime: number;
  /** Average time that the handlers of a message took, in ms. */
  avgResponseTime: number;
  lastError?: { timestamp: Date; message: string; type: string };
}

/** An event of a connection. `connecting` is never emitted: a server's connections are connected from the start. */
export type ConnectionEvent =
  | { type: 'connecting'; connection: SocketConnection }
  | { type: 'connected'; connection: SocketConnection }
  /** The crawler's `hello` was accepted. `crawlerId` is the connection's id if it contains none. */
  | { type: 'authenticated'; connection: SocketConnection; crawlerId: string }
  /** A valid message, before its handlers are called. */
  | { type: 'message'; connection: SocketConnection; message: CrawlerMessage }
  | { type: 'heartbeat'; connection: SocketConnection; timestamp: Date }
  /** `idleTime`: ms since the latest byte. */
  | { type: 'idle'; connection: SocketConnection; idleTime: number }
  | { type: 'error'; connection: SocketConnection; error: Error }
  | { type: 'disconnecting'; connection: SocketConnection; reason?: string }
  | { type: 'disconnected'; connection: SocketConnection; reason?: string }
  /** A message was handled or sent. */
  | { type: 'stats_updated'; connection: SocketConnection; stats: ConnectionStats };

/** The events of a connection, by name. */
export type ConnectionEvents = { [E in ConnectionEvent as E['type']]: [event: E] };

/** A connection of a crawler. */
export interface SocketConnection extends EventEmitter<ConnectionEvents> {
  readonly id: string;
  /** For its addresses. Do not read from it or write to it. */
  readonly socket: Socket;
  /** Up to date whenever this property is read. */
  readonly metadata: ConnectionMetadata;
  readonly stats: ConnectionStats;
  /**
   * Validates a message and sends it. Resolves when it has been written to the socket.
   * @throws SluiceError `INVALID_MESSAGE`, `CONNECTION_CLOSED`, `SLOW_CONSUMER`, `SEND_TIMEOUT`
   */
  send(message: WebAppMessage): Promise<void>;
  /**
   * Sends bytes unchanged: whole messages, each with its delimiter.
   * @throws SluiceError `CONNECTION_CLOSED`, `SLOW_CONSUMER`, `SEND_TIMEOUT`
   */
  sendRaw(data: string | Buffer): Promise<void>;
  /** Sends queued bytes, then closes. Resolves when the connection is closed. */
  disconnect(reason?: string): Promise<void>;
  /** Closes immediately. */
  destroy(): void;
  getState(): ConnectionState;
  /**
   * Changes the state. A state in which nothing can be sent closes the connection; a closed connection keeps its state.
   * @throws SluiceError `INVALID_OPTION` if there is no such state
   */
  setState(state: ConnectionState): void;
  /** Whether messages can be sent. */
  isConnected(): boolean;
  /** Whether it is a crawler's that has identified itself or has sent a valid message, and has not fallen silent since. */
  isActive(): boolean;
  /** Does nothing: a crawler connects. */
  connect(): Promise<void>;
  /** Does nothing: a crawler reconnects. */
  reconnect(): Promise<void>;
  /** Does nothing: crawlers send the heartbeats. */
  startHeartbeat(): void;
  /** Does nothing: crawlers send the heartbeats. */
  stopHeartbeat(): void;
  /** Does nothing: crawlers send the heartbeats. */
  sendHeartbeat(): Promise<void>;
}

/** Statistics of a pool. */
export interface PoolStats {
  totalConnections: number;
  activeConnections: number;
  idleConnections: number;
  errorConnections: number;
  /** Handled messages since the server was created. */
  totalMessagesHandled: number;
  /** Bytes received and sent since the server was created. */
  totalBytesTransferred: number;
  /** Average age of the current connections, in ms. */
  averageConnectionTime: number;
  peakConnections: number;
  /** When the latest message was handled; when the server was created if none was. */
  lastActivity: Date;
}

/** An event of a pool. */
export type PoolEvent =
  | { type: 'connection_added'; connection: SocketConnection }
  | { type: 'connection_removed'; connectionId: string; reason?: string }
  /** A connection was rejected. */
  | { type: 'pool_capacity_reached'; maxConnections: number }
  /** A connection was added or removed. */
  | { type: 'pool_stats_updated'; stats: PoolStats }
  /** A validation worker failed. Its messages are validated again. */
  | { type: 'pool_error'; error: Error }
  | { type: 'pool_cleanup'; removedConnections: number };

/** The events of a pool, by name. */
export type PoolEvents = { [E in PoolEvent as E['type']]: [event: E] };

/**
 * The connections of a server. The broadcasting methods resolve when each socket has accepted the message or failed;
 * failures are logged. They throw SluiceError `INVALID_MESSAGE` if the message is invalid.
 */
export interface ConnectionPool extends EventEmitter<PoolEvents> {
  /** All connections by id. Do not change it. */
  readonly connections: Map<string, SocketConnection>;
  getConnection(id: string): SocketConnection | undefined;
  getAllConnections(): SocketConnection[];
  getActiveConnections(): SocketConnection[];
  /** Closes a connection and removes it. */
  removeConnection(id: string): void;
  /** Sends a message to the active connections. */
  broadcast(message: WebAppMessage): Promise<void>;
  /** Sends a message to the active connections. */
  broadcastToActive(message: WebAppMessage): Promise<void>;
  /** Sends a message to the active connections of these crawlers. */
  broadcastToCrawlers(crawlerIds: string[], message: WebAppMessage): Promise<void>;
  getPoolStats(): PoolStats;
  getConnectionCount(): number;
  getActiveConnectionCount(): number;
  /** Removes connections whose socket is closed. */
  cleanup(): Promise<void>;
  /** Closes all connections. Resolves when they are closed. */
  closeAll(reason?: string): Promise<void>;
}

// Handles messages addressed to the broker itself: `hello` and `ping` here, those about subscriptions in
// subscription-handler.ts.

import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import type { MessageType } from '../messages/message-registry.js';
import { type ControlMessage, type MessageMap, PROTOCOL_VERSION } from '../messages/messages.js';
import { SERVER_VERSION } from '../version.js';
import type { AccessControl } from './access.js';
import type { Confirmations } from './confirmations.js';
import { brokerLine, closeReplaced } from './outgoing.js';
import type { Peer } from './peer.js';
import type { ReplyLimiter } from './reply-limiter.js';
import type { Session, Sessions } from './sessions.js';
import type { SubscriptionHandler } from './subscription-handler.js';

export interface ControlSettings {
  readonly delimiter: number;
  readonly maxMessageSize: number;
  readonly heartbeatInterval: number;
  readonly heartbeatTimeout: number;
}

/**
 * Gives a connection its crawlerId, or none.
 * @returns the other open connection of the crawler that had it before
 */
export type Identify<P extends Peer> = (connection: P, crawlerId: string | undefined) => P | undefined;

export interface ControlListener<P extends Peer> {
  readonly identify: Identify<P>;
  /** A crawler's `hello` was accepted. */
  onCrawlerHello(connection: P): void;
}

/** @typeParam P the type of connections */
export class ControlHandler<P extends Peer> {
  readonly #settings: ControlSettings;
  readonly #access: AccessControl;
  readonly #replies: ReplyLimiter;
  readonly #subscriptions: SubscriptionHandler<P>;
  readonly #confirmations: Confirmations<P>;
  readonly #sessions: Sessions<P> | undefined;
  readonly #listener: ControlListener<P>;

  constructor(
    settings: ControlSettings,
    access: AccessControl,
    replies: ReplyLimiter,
    subscriptions: SubscriptionHandler<P>,
    confirmations: Confirmations<P>,
    sessions: Sessions<P> | undefined,
    listener: ControlListener<P>,
  ) {
    this.#settings = settings;
    this.#access = access;
    this.#replies = replies;
    this.#subscriptions = subscriptions;
    this.#confirmations = confirmations;
    this.#sessions = sessions;
    this.#listener = listener;
  }

  /** Handles a control message. @param bytes that a worker has accepted as `type` */
  handle(connection: P, type: MessageType, bytes: Buffer): void {
    const message = type.schema.parse(JSON.parse(bytes.toString())) as ControlMessage;
    if (message.type !== 'hello' && !connection.isAuthenticated)
      return this.#replies.close(connection, 'UNAUTHORIZED', message.type);
    switch (message.type) {
      case 'hello':
        return this.#hello(connection, message);
      case 'subscribe':
        return this.#subscriptions.subscribe(connection, message);
      case 'unsubscribe':
        return this.#subscriptions.unsubscribe(connection, message);
      case 'ack':
        return this.#subscriptions.acknowledge(connection, message);
      case 'nack':
        return this.#subscriptions.giveBack(connection, message);
      case 'ping':
        connection.hasPinged = true;
        return this.#confirmations.answer(connection);
      case 'pong':
        return;
    }
  }

  /** A message was rejected. @param type of the message, if it is known */
  onRejected(connection: P, type: string | undefined, code: WireErrorCode): void {
    if (type === 'nack') this.#subscriptions.onNackRejected(connection, code);
  }

  #hello(connection: P, { data }: MessageMap['hello']): void {
    const version = data.protocolVersion ?? PROTOCOL_VERSION;
    if (majorOf(version) !== majorOf(PROTOCOL_VERSION)) {
      this.#replies.close(connection, 'UNSUPPORTED_VERSION', 'hello');
      return;
    }
    // Verified even if peers are guessing, so that they cannot keep others out. Verifying costs the same for all tokens.
    const isLimited = this.#access.isFailureLimitReached(performance.now());
    if (!this.#access.verifyToken(data.role, data.token)) {
      this.#replies.close(connection, isLimited ? 'RATE_LIMITED' : 'UNAUTHORIZED', 'hello');
      return;
    }
    connection.isHelloAccepted = true;
    connection.role = data.role;
    if (data.role === 'crawler') connection.isIdentified = true;
    const isReserved = data.crawlerId !== undefined && isReservedId(data.crawlerId, connection);
    const replaced = this.#listener.identify(connection, isReserved ? undefined : data.crawlerId);
    connection.version = version;
    connection.name = data.name;
    connection.capabilities = data.capabilities ?? [];
    connection.setState('authenticated');
    if (data.session === undefined || this.#sessions === undefined) this.#welcome(connection);
    else this.#resume(connection, data.session);
    if (isReserved) this.#replies.reject(connection, 'RULE_VIOLATION', 'hello', [RESERVED_ID]);
    if (data.role === 'crawler') this.#listener.onCrawlerHello(connection);
    closeReplaced(replaced, this.#settings.delimiter);
  }

  /** Welcomes a client once it is known how much of its session is decided. */
  #resume(connection: P, id: string): void {
    const onReady = (session: Session<P>): void => {
      this.#welcome(connection, session);
      connection.flush();
    };
    this.#sessions?.resume(id, connection, onReady, (previous) => {
      closeReplaced(previous, this.#settings.delimiter);
    });
  }

  #welcome(connection: P, session?: Session<P>): void {
    const { maxMessageSize, heartbeatInterval, heartbeatTimeout, delimiter } = this.#settings;
    const { epoch } = this.#confirmations;
    connection.reply(
      brokerLine(
        'welcome',
        {
          connectionId: connection.id,
          protocolVersion: PROTOCOL_VERSION,
          maxMessageSize,
          heartbeatInterval,
          heartbeatTimeout,
          serverVersion: SERVER_VERSION,
          ...(epoch === undefined ? {} : { durable: { epoch } }),
          ...(session === undefined ? {} : { session: { line: session.decided } }),
        },
        delimiter,
      ),
    );
  }
}

const RESERVED_ID: Issue = {
  path: 'data.crawlerId',
  code: 'reserved',
  message: "is * or any, or has the form of this broker's connection IDs, and is ignored",
};

/**
 * Whether a crawler ID means something else in `to`, so that no crawler may have it: every crawler, any crawler, or a
 * connection. Connection IDs are a random prefix, a hyphen and a number. All of that form are reserved, so that messages
 * to a connection never reach another, even after it is closed.
 */
function isReservedId(crawlerId: string, { id }: Peer): boolean {
  if (crawlerId === '*' || crawlerId === 'any') return true;
  const prefix = id.slice(0, id.lastIndexOf('-') + 1);
  return crawlerId.startsWith(prefix) && /^\d+$/.test(crawlerId.slice(prefix.length));
}

/** The major number of a semantic version; -1 if it is not one. */
function majorOf(version: string): number {
  const match = /^(\d{1,9})(?:\.\d{1,9}){0,2}(?:[-+].*)?$/.exec(version);
  return match?.[1] === undefined ? -1 : Number(match[1]);
}

// Handles messages addressed to the broker itself: hello, subscribe, unsubscribe, ping. One function per type.

import type { WireErrorCode } from '../errors.js';
import { parsePosition } from '../log/cursors.js';
import type { Issue } from '../messages/issues.js';
import type { MessageType } from '../messages/message-registry.js';
import {
  type ControlMessage,
  type MessageMap,
  type PeerRole,
  PROTOCOL_VERSION,
} from '../messages/messages.js';
import type { LastMessages } from '../routing/last-values.js';
import type { Subscriptions } from '../routing/subscriptions.js';
import { SERVER_VERSION } from '../version.js';
import type { AccessControl } from './access.js';
import type { Confirmations } from './confirmations.js';
import type { FleetLastValues } from './fleet-last-values.js';
import type { FleetSubscriptions } from './fleet-subscriptions.js';
import type { LastValueReplay } from './last-value-replay.js';
import { isStored, type LogSubscriptions } from './log-subscriptions.js';
import { brokerLine, errorLine } from './outgoing.js';
import type { Peer } from './peer.js';
import type { ReplyLimiter } from './reply-limiter.js';
import { SecondLimiter } from './second-limiter.js';
import type { Session, Sessions } from './sessions.js';
import { GroupMember } from './work-group.js';
import { isWorkGroup, type WorkGroupData, type WorkGroups } from './work-groups.js';

export interface ControlSettings {
  readonly delimiter: number;
  readonly maxMessageSize: number;
  readonly heartbeatInterval: number;
  readonly heartbeatTimeout: number;
  readonly maxSubscriptions: number;
  /** Whether messages of types without a schema are forwarded. Default: false. */
  readonly forwardsUnknownTypes?: boolean | undefined;
}

/**
 * Gives a connection its crawlerId, or none.
 * @returns the other open connection of the crawler that had it before
 */
export type Identify<P extends Peer> = (connection: P, crawlerId: string | undefined) => P | undefined;

export interface ControlListener<P extends Peer> {
  readonly identify: Identify<P>;
  /** A crawler's `hello` was accepted. @param replaced the open connection that had its crawlerId before */
  onCrawlerHello(connection: P, replaced: P | undefined): void;
}

/** Maximum bytes of the latest messages of a fleet that a subscription begins with: more are left out. */
const MAX_LAST_BYTES = 32 * 1024 * 1024;

/** @typeParam P the type of connections */
export class ControlHandler<P extends Peer> {
  readonly #settings: ControlSettings;
  readonly #subscriptions: Subscriptions;
  readonly #replies: ReplyLimiter;
  readonly #access: AccessControl;
  readonly #confirmations: Confirmations<P>;
  readonly #logSubscriptions: LogSubscriptions<P> | undefined;
  readonly #workGroups: WorkGroups<P> | undefined;
  readonly #fleetSubscriptions: FleetSubscriptions<P> | undefined;
  readonly #fleetLastValues: FleetLastValues | undefined;
  readonly #sessions: Sessions<P> | undefined;
  readonly #lastValues: LastValueReplay | undefined;
  /** Subscriptions that begin with the last values. */
  readonly #replays: SecondLimiter<Peer>;
  readonly #listener: ControlListener<P>;

  constructor(
    settings: ControlSettings,
    subscriptions: Subscriptions,
    lastValues: LastValueReplay | undefined,
    replies: ReplyLimiter,
    access: AccessControl,
    confirmations: Confirmations<P>,
    logSubscriptions: LogSubscriptions<P> | undefined,
    workGroups: WorkGroups<P> | undefined,
    fleetSubscriptions: FleetSubscriptions<P> | undefined,
    fleetLastValues: FleetLastValues | undefined,
    sessions: Sessions<P> | undefined,
    listener: ControlListener<P>,
  ) {
    this.#settings = settings;
    this.#access = access;
    this.#confirmations = confirmations;
    this.#logSubscriptions = logSubscriptions;
    this.#workGroups = workGroups;
    this.#fleetSubscriptions = fleetSubscriptions;
    this.#fleetLastValues = fleetLastValues;
    this.#sessions = sessions;
    this.#listener = listener;
    this.#lastValues = lastValues;
    // All subscriptions of a connection may begin with them, once per second.
    this.#replays = new SecondLimiter(settings.maxSubscriptions);
    this.#subscriptions = subscriptions;
    this.#replies = replies;
  }

  /** Handles a control message. @param bytes that a worker has accepted as `type` */
  handle(connection: P, type: MessageType, bytes: Buffer): void {
    const message = type.schema.parse(JSON.parse(bytes.toString())) as ControlMessage;
    if (message.type !== 'hello' && !connection.isAuthenticated)
      return this.#rejectUnauthenticated(connection, message.type);
    switch (message.type) {
      case 'hello':
        return this.#hello(connection, message);
      case 'subscribe':
        return this.#subscribe(connection, message);
      case 'unsubscribe':
        return this.#unsubscribe(connection, message);
      case 'ack':
        return this.#acknowledge(connection, message);
      case 'nack':
        return this.#giveBack(connection, message);
      case 'ping':
        connection.hasPinged = true;
        return this.#confirmations.answer(connection);
      case 'pong':
        return;
    }
  }

  /**
   * A message was rejected. After a `nack`, the peer is disconnected: its next `ack` would cover what it could not handle.
   * @param type of the message, if it is known
   */
  onRejected(connection: P, type: string | undefined, code: WireErrorCode): void {
    if (type !== 'nack' || connection.logSubscriptions === 0) return;
    void connection.disconnect(code);
    // Messages that the peer has sent already are still handled.
    this.#subscriptions.removeAll(connection);
  }

  #hello(connection: P, { data }: MessageMap['hello']): void {
    const version = data.protocolVersion ?? PROTOCOL_VERSION;
    if (majorOf(version) !== majorOf(PROTOCOL_VERSION)) {
      this.#close(connection, 'UNSUPPORTED_VERSION', 'hello');
      return;
    }
    // Verified even if peers are guessing, so that they cannot keep others out. Verifying costs the same for all tokens.
    const isLimited = this.#access.isFailureLimitReached(performance.now());
    if (!this.#access.verifyToken(data.role, data.token)) {
      this.#close(connection, isLimited ? 'RATE_LIMITED' : 'UNAUTHORIZED', 'hello');
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
    if (isReserved) this.#reject(connection, 'RULE_VIOLATION', 'hello', [RESERVED_ID]);
    if (data.role === 'crawler') this.#listener.onCrawlerHello(connection, replaced);
    // Not limited by maxErrorReplies: a client that does not receive this would reconnect and take the ID back.
    this.#replace(replaced);
  }

  /** Welcomes a client once it is known how much of its session is decided. */
  #resume(connection: P, id: string): void {
    const onReady = (session: Session<P>): void => {
      this.#welcome(connection, session);
      connection.flush();
    };
    this.#sessions?.resume(id, connection, onReady, (previous) => {
      this.#replace(previous);
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
          ...(session === undefined ? {} : { session: { line: session.line } }),
        },
        delimiter,
      ),
    );
  }

  #subscribe(connection: P, { data }: MessageMap['subscribe']): void {
    // The peer may have disconnected while a worker validated the message.
    if (!connection.isOpen) return;
    // Crawlers do not subscribe, so a subscriber that has sent no hello is an application.
    const role = connection.version === undefined ? 'app' : connection.role;
    const { isHelloAccepted } = connection;
    if (!this.#access.isAuthenticated({ role, isHelloAccepted }))
      return this.#rejectUnauthenticated(connection, 'subscribe');
    if (!this.#access.isAllowed({ role, isHelloAccepted }, 'subscribe')) {
      this.#reject(connection, 'UNAUTHORIZED', 'subscribe');
      return;
    }
    if (data.last === true && data.group !== undefined) {
      this.#reject(connection, 'RULE_VIOLATION', 'subscribe', [LAST_WITH_GROUP]);
      return;
    }
    const isNew = !this.#subscriptions.has(connection, data.id);
    const isOverLimit = isNew && this.#subscriptions.countOf(connection) >= this.#settings.maxSubscriptions;
    if (isOverLimit || !this.#subscriptions.hasRoomFor(connection, data)) {
      this.#reject(connection, 'RATE_LIMITED', 'subscribe');
      return;
    }
    if (data.scope === 'fleet') return this.#subscribeToFleet(connection, role, data);
    if (isWorkGroup(data)) return this.#joinWorkGroup(connection, role, data);
    if (isStored(data)) return this.#subscribeToLog(connection, role, data);
    const lastMessages = data.last === true ? this.#lastMessages(connection, data) : [];
    if (lastMessages === undefined) {
      this.#reject(connection, 'RATE_LIMITED', 'subscribe');
      return;
    }
    connection.role = role;
    this.#subscriptions.add(connection, data);
    if (data.overflow !== undefined) connection.outbox.policy = data.overflow;
    const answer = {
      id: data.id,
      ...this.#unknownTypes(data),
      ...(data.last === true ? { lastValues: lastMessages.reduce((sum, { count }) => sum + count, 0) } : {}),
    };
    connection.reply(brokerLine('subscribed', answer, this.#settings.delimiter));
    for (const { bytes, count } of lastMessages) connection.outbox.answer(bytes, count);
  }

  #subscribeToLog(connection: P, role: PeerRole, data: MessageMap['subscribe']['data']): void {
    const log = this.#logSubscriptions;
    if (log === undefined) return this.#rejectSubscription(connection, NO_LOG);
    const fault = log.faultOf(connection, data);
    if (fault !== undefined) return this.#rejectSubscription(connection, fault);
    connection.role = role;
    this.#subscriptions.remove(connection, data.id);
    const { subscription, position, replaced } = log.create(
      connection,
      data,
      this.#subscriptions.filterOf(data),
    );
    this.#subscriptions.add(connection, data, subscription);
    if (data.overflow !== undefined) connection.outbox.policy = data.overflow;
    this.#confirmSubscription(connection, data, { position });
    this.#replace(replaced);
    void subscription.run();
  }

  #joinWorkGroup(connection: P, role: PeerRole, data: WorkGroupData): void {
    const groups = this.#workGroups;
    if (groups === undefined) return this.#rejectSubscription(connection, NO_LOG);
    const filter = this.#subscriptions.filterOf(data);
    const isCursorUsed = this.#logSubscriptions?.uses(data.group) === true;
    const fault = groups.faultOf(data, filter, isCursorUsed);
    if (fault !== undefined) return this.#rejectSubscription(connection, fault);
    connection.role = role;
    this.#subscriptions.remove(connection, data.id);
    const { member, position } = groups.join(connection, data, filter);
    this.#subscriptions.add(connection, data, member);
    this.#confirmSubscription(connection, data, { position });
    member.group.start();
  }

  #subscribeToFleet(connection: P, role: PeerRole, data: MessageMap['subscribe']['data']): void {
    const fleet = this.#fleetSubscriptions;
    if (fleet === undefined) return this.#rejectSubscription(connection, NO_FLEET);
    const isLimited = data.last === true && !this.#replays.take(connection);
    const fault = isLimited ? 'RATE_LIMITED' : fleet.faultOf(connection, data);
    if (fault !== undefined) return this.#rejectSubscription(connection, fault);
    connection.role = role;
    this.#subscriptions.remove(connection, data.id);
    const { subscription, isReady, replaced } = fleet.create(
      connection,
      data,
      this.#subscriptions.filterOf(data),
    );
    this.#subscriptions.add(connection, data, subscription);
    if (data.overflow !== undefined) connection.outbox.policy = data.overflow;
    this.#replace(replaced);
    // What other hosts send after the confirmation must arrive.
    void isReady.then(async () => {
      const lastMessages = data.last === true ? await this.#lastMessagesOfFleet(data) : [];
      if (!connection.isOpen) return;
      const size = (lastMessages ?? []).reduce((sum, { bytes }) => sum + bytes.length, 0);
      if (lastMessages !== undefined && connection.hasRoom(size, 0)) {
        const lastValues = lastMessages.reduce((sum, { count }) => sum + count, 0);
        this.#confirmSubscription(connection, data, data.last === true ? { lastValues } : {});
        for (const { bytes, count } of lastMessages) connection.outbox.answer(bytes, count);
      } else {
        this.#subscriptions.remove(connection, data.id);
        this.#reject(connection, 'RATE_LIMITED', 'subscribe');
      }
      connection.flush();
    });
  }

  async #lastMessagesOfFleet(data: MessageMap['subscribe']['data']): Promise<LastMessages[] | undefined> {
    if (this.#fleetLastValues === undefined) return [];
    return this.#fleetLastValues.collect(data, MAX_LAST_BYTES).catch(() => []);
  }

  /** @param start where it begins in the durable log, or with how many messages it begins */
  #confirmSubscription(
    connection: P,
    data: MessageMap['subscribe']['data'],
    start: { readonly position?: string; readonly lastValues?: number },
  ): void {
    const answer = { id: data.id, ...start, ...this.#unknownTypes(data) };
    connection.reply(brokerLine('subscribed', answer, this.#settings.delimiter));
  }

  /** Closes a connection whose place another one has taken. */
  #replace(connection: P | undefined): void {
    connection?.reply(errorLine('REPLACED', {}, this.#settings.delimiter));
    void connection?.disconnect('REPLACED');
  }

  #unknownTypes({ types }: MessageMap['subscribe']['data']): { unknownTypes?: string[] } {
    const { forwardsUnknownTypes = false } = this.#settings;
    const unknownTypes = this.#subscriptions.unknownTypes(types, forwardsUnknownTypes);
    return unknownTypes.length === 0 ? {} : { unknownTypes };
  }

  /** The latest messages that a subscription begins with; `undefined` if the peer requests too many of them. */
  #lastMessages(connection: Peer, data: MessageMap['subscribe']['data']): LastMessages[] | undefined {
    if (this.#lastValues === undefined) return [];
    if (!this.#replays.take(connection)) return undefined;
    return this.#lastValues.copy(this.#subscriptions.filterOf(data), (bytes) => connection.hasRoom(bytes, 0));
  }

  #rejectSubscription(connection: P, fault: Issue | 'RATE_LIMITED'): void {
    if (fault === 'RATE_LIMITED') this.#reject(connection, fault, 'subscribe');
    else this.#reject(connection, 'RULE_VIOLATION', 'subscribe', [fault]);
  }

  /** Rejects a message of an unauthenticated peer and disconnects it. */
  #rejectUnauthenticated(connection: Peer, messageType: string): void {
    this.#close(connection, 'UNAUTHORIZED', messageType);
  }

  /** Rejects a message and disconnects its sender. */
  #close(connection: Peer, code: WireErrorCode, messageType: string): void {
    this.#reject(connection, code, messageType);
    void connection.disconnect(code);
  }

  #reject(connection: Peer, code: WireErrorCode, messageType: string, issues: readonly Issue[] = []): void {
    connection.recordError(code);
    this.#replies.reply(connection, code, { messageType, issues });
  }

  #acknowledge(connection: P, { data }: MessageMap['ack']): void {
    const member = this.#subscriptions.readerOf(connection, data.id);
    if (member instanceof GroupMember) {
      const { epoch, offset } = parsePosition(data.position);
      if (epoch === this.#confirmations.epoch) member.acknowledge(offset, data.done);
      else this.#reject(connection, 'RULE_VIOLATION', 'ack', [POSITION_OF_OTHER_LOG]);
      return;
    }
    const fleet = this.#fleetSubscriptions;
    const log = fleet?.has(connection, data.id) === true ? fleet : this.#logSubscriptions;
    const fault = log === undefined ? NO_LOG : log.acknowledge(connection, data);
    if (fault !== undefined) this.#reject(connection, 'RULE_VIOLATION', 'ack', [fault]);
  }

  #giveBack(connection: P, { data }: MessageMap['nack']): void {
    const member = this.#subscriptions.readerOf(connection, data.id);
    const from = parsePosition(data.position);
    const to = data.to === undefined ? { ...from, offset: from.offset + 1 } : parsePosition(data.to);
    const { epoch } = this.#confirmations;
    if (!(member instanceof GroupMember)) this.#reject(connection, 'RULE_VIOLATION', 'nack', [NO_MEMBER]);
    else if (from.epoch !== epoch || to.epoch !== epoch) {
      this.#reject(connection, 'RULE_VIOLATION', 'nack', [POSITION_OF_OTHER_LOG]);
      this.onRejected(connection, 'nack', 'RULE_VIOLATION');
    } else member.giveBack(from.offset, to.offset, data.delay);
  }

  #unsubscribe(connection: Peer, { data }: MessageMap['unsubscribe']): void {
    this.#subscriptions.remove(connection, data.id);
    connection.reply(brokerLine('unsubscribed', { id: data.id }, this.#settings.delimiter));
  }
}

const RESERVED_ID: Issue = {
  path: 'data.crawlerId',
  code: 'reserved',
  message: "is * or any, or has the form of this broker's connection IDs, and is ignored",
};

const NO_LOG: Issue = {
  path: 'data',
  code: 'no_log',
  message: 'needs a broker with a durable log, whose option log is set',
};

const NO_FLEET: Issue = {
  path: 'data.scope',
  code: 'no_fleet',
  message: 'fleet needs a broker that is part of a fleet: its option fleet is set',
};

const POSITION_OF_OTHER_LOG: Issue = {
  path: 'data.position',
  code: 'conflict',
  message: "is not of this broker's log",
};

const NO_MEMBER: Issue = {
  path: 'data.id',
  code: 'conflict',
  message: 'is not a subscription to a group with ack manual',
};

const LAST_WITH_GROUP: Issue = {
  path: 'data.last',
  code: 'conflict',
  message: 'cannot be combined with group, whose members share each message',
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

// Handles the messages of peers about their subscriptions: subscribe, unsubscribe, ack, nack.

import type { WireErrorCode } from '../errors.js';
import { parsePosition } from '../log/position.js';
import type { Issue } from '../messages/issues.js';
import type { MessageMap, PeerRole } from '../messages/messages.js';
import type { SubscribeData } from '../routing/filter.js';
import type { LastMessages } from '../routing/last-values.js';
import type { SubscriptionReader, Subscriptions } from '../routing/subscriptions.js';
import type { AccessControl } from './access.js';
import type { FleetLastValues } from './fleet-last-values.js';
import { FleetSubscription } from './fleet-subscription.js';
import type { FleetSubscriptions } from './fleet-subscriptions.js';
import type { LastValueReplay } from './last-value-replay.js';
import { isStored, type LogSubscriptions } from './log-subscriptions.js';
import { brokerLine, closeReplaced } from './outgoing.js';
import type { Peer } from './peer.js';
import type { ReplyLimiter } from './reply-limiter.js';
import { SecondLimiter } from './second-limiter.js';
import { WorkGroupMember } from './work-group.js';
import { isWorkGroup, type WorkGroupData, type WorkGroups } from './work-groups.js';

export interface SubscriptionSettings {
  readonly delimiter: number;
  readonly maxSubscriptions: number;
  /** Whether messages of types without a schema are forwarded. Default: false. */
  readonly forwardsUnknownTypes?: boolean | undefined;
}

/** Where subscribers get messages that are not being received. */
export interface SubscriptionSources<P extends Peer> {
  /** If `undefined`, no latest messages are kept. */
  readonly lastValues: LastValueReplay | undefined;
  /** Of the durable log. If `undefined`, there is none. */
  readonly epoch: string | undefined;
  readonly log: LogSubscriptions<P> | undefined;
  readonly workGroups: WorkGroups<P> | undefined;
  /** If `undefined`, there are no other hosts. */
  readonly fleet: FleetSubscriptions<P> | undefined;
  readonly fleetLastValues: FleetLastValues | undefined;
}

/** Why a subscription is rejected. */
type SubscriptionIssue = Issue | 'RATE_LIMITED' | 'UNAUTHORIZED';

/** Maximum bytes of the latest messages of a fleet that a subscription begins with: more are left out. */
const MAX_LAST_BYTES = 32 * 1024 * 1024;

/** @typeParam P the type of connections */
export class SubscriptionHandler<P extends Peer> {
  readonly #settings: SubscriptionSettings;
  readonly #subscriptions: Subscriptions;
  readonly #sources: SubscriptionSources<P>;
  readonly #access: AccessControl;
  readonly #replies: ReplyLimiter;
  /** Subscriptions that begin with the last values. */
  readonly #replays: SecondLimiter<Peer>;

  constructor(
    settings: SubscriptionSettings,
    subscriptions: Subscriptions,
    sources: SubscriptionSources<P>,
    access: AccessControl,
    replies: ReplyLimiter,
  ) {
    this.#settings = settings;
    this.#subscriptions = subscriptions;
    this.#sources = sources;
    this.#access = access;
    this.#replies = replies;
    // All subscriptions of a connection may begin with them, once per second.
    this.#replays = new SecondLimiter(settings.maxSubscriptions);
  }

  subscribe(connection: P, { data }: MessageMap['subscribe']): void {
    // The peer may have disconnected while a worker validated the message.
    if (!connection.isOpen) return;
    // Crawlers do not subscribe, so a subscriber that has sent no hello is an application.
    const role = connection.version === undefined ? 'app' : connection.role;
    const { isHelloAccepted } = connection;
    if (!this.#access.isAuthenticated({ role, isHelloAccepted }))
      return this.#replies.close(connection, 'UNAUTHORIZED', 'subscribe');
    if (!this.#access.isAllowed({ role, isHelloAccepted }, 'subscribe'))
      return this.#rejectSubscription(connection, 'UNAUTHORIZED');
    if (data.last === true && data.group !== undefined)
      return this.#rejectSubscription(connection, LAST_WITH_GROUP);
    const isNew = !this.#subscriptions.has(connection, data.id);
    const isOverLimit = isNew && this.#subscriptions.countOf(connection) >= this.#settings.maxSubscriptions;
    if (isOverLimit || !this.#subscriptions.hasRoomFor(connection, data))
      return this.#rejectSubscription(connection, 'RATE_LIMITED');
    if (data.scope === 'fleet') return this.#subscribeToFleet(connection, role, data);
    if (isWorkGroup(data)) return this.#joinWorkGroup(connection, role, data);
    if (isStored(data)) return this.#subscribeToLog(connection, role, data);
    const lastMessages = data.last === true ? this.#lastMessages(connection, data) : [];
    if (lastMessages === undefined) return this.#rejectSubscription(connection, 'RATE_LIMITED');
    this.#add(connection, role, data);
    this.#confirm(connection, data, {}, lastMessages);
  }

  /** @param reader if the subscription gets its messages from elsewhere */
  #add(connection: P, role: PeerRole, data: SubscribeData, reader?: SubscriptionReader): void {
    connection.role = role;
    this.#subscriptions.add(connection, data, reader);
    if (data.overflow !== undefined) connection.outbox.policy = data.overflow;
  }

  /**
   * Confirms a subscription.
   * @param start where it begins in the durable log
   * @param lastMessages with which it begins, if it requests them
   */
  #confirm(
    connection: P,
    data: SubscribeData,
    start: { readonly position?: string },
    lastMessages: readonly LastMessages[] = [],
  ): void {
    const count = lastMessages.reduce((sum, part) => sum + part.count, 0);
    const answer = {
      id: data.id,
      ...start,
      ...(data.last === true ? { lastValues: count } : {}),
      ...this.#unknownTypes(data),
    };
    connection.reply(brokerLine('subscribed', answer, this.#settings.delimiter));
    for (const part of lastMessages) connection.outbox.answer(part.bytes, part.count);
  }

  #subscribeToLog(connection: P, role: PeerRole, data: SubscribeData): void {
    const log = this.#sources.log;
    if (log === undefined) return this.#rejectSubscription(connection, NO_LOG);
    const issue = log.issueOf(connection, data);
    if (issue !== undefined) return this.#rejectSubscription(connection, issue);
    this.#subscriptions.remove(connection, data.id);
    const filter = this.#subscriptions.filterOf(data);
    const { subscription, position, replaced } = log.create(connection, data, filter);
    this.#add(connection, role, data, subscription);
    this.#confirm(connection, data, { position });
    closeReplaced(replaced, this.#settings.delimiter);
    void subscription.run();
  }

  #joinWorkGroup(connection: P, role: PeerRole, data: WorkGroupData): void {
    const groups = this.#sources.workGroups;
    if (groups === undefined) return this.#rejectSubscription(connection, NO_LOG);
    const filter = this.#subscriptions.filterOf(data);
    const isCursorUsed = this.#sources.log?.uses(data.group) === true;
    const issue = groups.issueOf(data, filter, isCursorUsed);
    if (issue !== undefined) return this.#rejectSubscription(connection, issue);
    this.#subscriptions.remove(connection, data.id);
    const { member, position } = groups.join(connection, data, filter);
    this.#add(connection, role, data, member);
    this.#confirm(connection, data, { position });
    member.group.start();
  }

  #subscribeToFleet(connection: P, role: PeerRole, data: SubscribeData): void {
    const fleet = this.#sources.fleet;
    if (fleet === undefined) return this.#rejectSubscription(connection, NO_FLEET);
    const isLimited = data.last === true && !this.#replays.take(connection);
    const issue = isLimited ? 'RATE_LIMITED' : fleet.issueOf(connection, data);
    if (issue !== undefined) return this.#rejectSubscription(connection, issue);
    this.#subscriptions.remove(connection, data.id);
    const filter = this.#subscriptions.filterOf(data);
    const { subscription, isReady, replaced } = fleet.create(connection, data, filter);
    this.#add(connection, role, data, subscription);
    closeReplaced(replaced, this.#settings.delimiter);
    // What other hosts send after the confirmation must arrive.
    const { whenFull } = subscription;
    void Promise.race([isReady, whenFull]).then(async () => {
      const lastMessages = data.last === true ? await this.#lastMessagesOfFleet(data, whenFull) : [];
      // It may have ended meanwhile, or been replaced.
      if (!connection.isOpen || this.#subscriptions.readerOf(connection, data.id) !== subscription) return;
      const size = (lastMessages ?? []).reduce((sum, { bytes }) => sum + bytes.length, 0);
      if (lastMessages !== undefined && connection.hasRoom(size + subscription.heldBytes, 0)) {
        this.#confirm(connection, data, {}, lastMessages);
        subscription.start();
      } else {
        this.#subscriptions.remove(connection, data.id);
        this.#rejectSubscription(connection, 'RATE_LIMITED');
      }
      connection.flush();
    });
  }

  async #lastMessagesOfFleet(data: SubscribeData, until: Promise<void>): Promise<LastMessages[] | undefined> {
    if (this.#sources.fleetLastValues === undefined) return [];
    return this.#sources.fleetLastValues.collect(data, MAX_LAST_BYTES, until).catch(() => []);
  }

  #unknownTypes({ types }: SubscribeData): { unknownTypes?: string[] } {
    const { forwardsUnknownTypes = false } = this.#settings;
    const unknownTypes = this.#subscriptions.unknownTypes(types, forwardsUnknownTypes);
    return unknownTypes.length === 0 ? {} : { unknownTypes };
  }

  /** The latest messages that a subscription begins with; `undefined` if the peer requests too many of them. */
  #lastMessages(connection: Peer, data: SubscribeData): LastMessages[] | undefined {
    if (this.#sources.lastValues === undefined) return [];
    if (!this.#replays.take(connection)) return undefined;
    return this.#sources.lastValues.copy(this.#subscriptions.filterOf(data), (bytes) =>
      connection.hasRoom(bytes, 0),
    );
  }

  #rejectSubscription(connection: P, issue: SubscriptionIssue): void {
    if (typeof issue === 'string') this.#replies.reject(connection, issue, 'subscribe');
    else this.#replies.reject(connection, 'RULE_VIOLATION', 'subscribe', [issue]);
  }

  /** Handles an `ack`. */
  acknowledge(connection: P, { data }: MessageMap['ack']): void {
    const reader = this.#subscriptions.readerOf(connection, data.id);
    if (reader instanceof WorkGroupMember) {
      const { epoch, offset } = parsePosition(data.position);
      if (epoch === this.#sources.epoch) reader.acknowledge(offset, data.done);
      else this.#replies.reject(connection, 'RULE_VIOLATION', 'ack', [POSITION_OF_OTHER_LOG]);
      return;
    }
    const issue = this.#moveCursor(reader, data.position);
    if (issue !== undefined) this.#replies.reject(connection, 'RULE_VIOLATION', 'ack', [issue]);
  }

  /** @returns why that is impossible, if it is */
  #moveCursor(reader: SubscriptionReader | undefined, position: string): Issue | undefined {
    const { fleet, log } = this.#sources;
    if (reader instanceof FleetSubscription) return fleet?.acknowledge(reader, position);
    return log === undefined ? NO_LOG : log.acknowledge(reader, position);
  }

  /** Handles a `nack`. */
  giveBack(connection: P, { data }: MessageMap['nack']): void {
    const member = this.#subscriptions.readerOf(connection, data.id);
    const from = parsePosition(data.position);
    const to = data.to === undefined ? { ...from, offset: from.offset + 1 } : parsePosition(data.to);
    if (!(member instanceof WorkGroupMember)) return this.#rejectNack(connection, NO_MEMBER);
    if ([from, to].some(({ epoch }) => epoch !== this.#sources.epoch))
      return this.#rejectNack(connection, POSITION_OF_OTHER_LOG);
    if (to.offset <= from.offset) return this.#rejectNack(connection, NO_MESSAGE);
    member.giveBack(from.offset, to.offset, data.delay);
  }

  #rejectNack(connection: P, issue: Issue): void {
    this.#replies.reject(connection, 'RULE_VIOLATION', 'nack', [issue]);
    this.onNackRejected(connection, 'RULE_VIOLATION');
  }

  /** A `nack` was rejected. The peer is disconnected: its next `ack` would cover what it could not handle. */
  onNackRejected(connection: P, code: WireErrorCode): void {
    if (connection.logSubscriptions === 0) return;
    void connection.disconnect(code);
    // Messages that the peer has sent already are still handled.
    this.#subscriptions.removeAll(connection);
  }

  unsubscribe(connection: Peer, { data }: MessageMap['unsubscribe']): void {
    this.#subscriptions.remove(connection, data.id);
    connection.reply(brokerLine('unsubscribed', { id: data.id }, this.#settings.delimiter));
  }
}

const NO_LOG: Issue = {
  path: 'data',
  code: 'no_log',
  message: 'needs a durable log: start the broker with the option log',
};

const NO_FLEET: Issue = {
  path: 'data.scope',
  code: 'no_fleet',
  message: 'fleet needs a broker with the option fleet',
};

const POSITION_OF_OTHER_LOG: Issue = {
  path: 'data.position',
  code: 'conflict',
  message: "is not of this broker's log",
};

const NO_MESSAGE: Issue = {
  path: 'data.to',
  code: 'conflict',
  message: 'must be after position',
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

// Which messages a subscription receives: what an application passes, what can be combined, what the broker is sent, and
// which messages match.

import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import { appSchemas, type OverflowPolicy } from '../messages/messages.js';
import { matchesType, PRESENCE, REJECTED } from '../messages/type-patterns.js';
import type { ReceivedMessage } from './received-message.js';

/** Which messages to receive. A message must match every field that is set. */
export interface SubscriptionFilter {
  /**
   * Message types; `job_*` matches a prefix, `rejected` matches rejected messages, `presence` matches reports of crawlers
   * that connect and disconnect. Default: `['*']`, all types but `rejected` and `presence`.
   */
  readonly types?: readonly string[];
  readonly jobIds?: readonly string[];
  readonly crawlerIds?: readonly string[];
  /**
   * Shares the messages among all subscribers of this group: each goes to one. Requires a separate client. Messages that
   * this client has received and not handled when it closes are not passed on, unless it has `ack`.
   *
   * With `ack`, it is a work group: the messages come from the broker's durable log, and each is redelivered, to this or
   * another member, until one has acknowledged it. The group begins at `from`, and then where it was. All members have
   * the same filter.
   */
  readonly group?: string;
  /** Policy when this client falls `maxPendingBytes` behind. Applies to the whole client. Default: `disconnect`. */
  readonly overflow?: OverflowPolicy;
  /** Whether to include the sender: `from`, `crawlerId` and `sequence`. Default: only with `crawlerIds`. */
  readonly meta?: boolean;
  /**
   * Whether to begin with the latest message of each job, and the latest heartbeat of each crawler, that match: those
   * that the broker keeps (see its option `maxLastValues`). After a reconnect, the subscription begins with them again.
   * Not with `group`. Default: false.
   */
  readonly last?: boolean;
  /**
   * Where to begin in the broker's durable log: at `new` messages, at the `first` one that it has, after a
   * `Subscription.position`, or at a time (ISO 8601, or a `Date`). Needs a broker with a durable log, and a client
   * without other subscriptions. After a reconnect, the subscription continues where it was: messages that were received
   * after the latest position are repeated, unless it has `meta` and its `ack` is not `manual`: then they are recognised,
   * and left out (not in a work group, where messages are redelivered on purpose). Default: `new`, without the log.
   */
  readonly from?: 'new' | 'first' | { readonly offset: string } | { readonly time: string | Date };
  /**
   * Name under which the broker remembers the position, so that the next subscription with this name begins there, and not
   * at `from`. One connection at a time: the newer one takes over, and the older one is closed with `REPLACED`.
   */
  readonly cursor?: string;
  /**
   * When the cursor moves. `auto`: as soon as the loop has asked for the next message, or the listener has returned; a
   * listener that throws ends the subscription, as a loop does. `manual`: when `Subscription.ack` is called. Default:
   * `auto`. In a work group: when a message counts as done; one whose listener throws is given back.
   */
  readonly ack?: 'auto' | 'manual';
  /**
   * In a work group: time without an acknowledgement after which the messages of this client go to others, in ms. It runs
   * while the client has messages and all of them have reached it. The client gives a message back that is not acknowledged
   * for this long although later ones are. Default: 30,000.
   */
  readonly ackWait?: number;
  /**
   * In a work group: failures after which a message goes to the broker's dead letters: it was given back, or the client
   * disconnected or took too long while it was its oldest one. Default: 5.
   */
  readonly maxDeliveries?: number;
  /** In a work group: messages that this client may have without acknowledging them. Default: 1000. */
  readonly maxUnacked?: number;
  /**
   * Whose messages: those of the crawlers of the broker's `host`, or of all hosts of the `fleet` that it is part of. With
   * `fleet`, `from`, `cursor` and `position` refer to the stream of the fleet, which has what the brokers' durable logs
   * have; not with `group` and `overflow: 'log'`. Default: `host`.
   */
  readonly scope?: 'host' | 'fleet';
  /** Bytes of messages that may be queued for the loop before the client stops reading its socket. Default: 1 MiB. */
  readonly maxQueuedBytes?: number;
}

const FIELDS: Readonly<Record<keyof SubscriptionFilter, true>> = {
  types: true,
  jobIds: true,
  crawlerIds: true,
  group: true,
  overflow: true,
  meta: true,
  last: true,
  from: true,
  cursor: true,
  ack: true,
  ackWait: true,
  maxDeliveries: true,
  maxUnacked: true,
  scope: true,
  maxQueuedBytes: true,
};

/** Whether the messages come from the broker's durable log. */
export function isStored(filter: SubscriptionFilter): boolean {
  const { from, cursor, overflow } = filter;
  return from !== undefined || cursor !== undefined || overflow === 'log' || isWorkGroup(filter);
}

/** Whether it shares the messages of the durable log with others, each until it is acknowledged. */
export function isWorkGroup({ group, ack }: SubscriptionFilter): boolean {
  return group !== undefined && ack !== undefined;
}

/**
 * Checks a filter of a client that has other subscriptions with these filters. The messages of a group, and those of the
 * log, could not be told from the others' messages.
 * @throws SluiceError `INVALID_OPTION`
 */
export function checkFilter(filter: SubscriptionFilter, others: readonly SubscriptionFilter[]): void {
  requireKnownOptions(filter, FIELDS);
  const needsClient = [...others, filter].some((one) => one.group !== undefined || isStored(one));
  const fault =
    needsClient && others.length > 0
      ? 'group, from, cursor and overflow log: need a client without other subscriptions'
      : faultOf(filter);
  if (fault !== undefined) throw new SluiceError('INVALID_OPTION', fault);
}

/** What is wrong with a filter, or cannot be combined in it, if anything is. */
function faultOf(filter: SubscriptionFilter): string | undefined {
  const { group, last, cursor, overflow, ack, ackWait, maxDeliveries, maxUnacked, maxQueuedBytes } = filter;
  if (maxQueuedBytes !== undefined && !(maxQueuedBytes > 0)) return 'maxQueuedBytes: must be more than 0';
  if (isWorkGroup(filter)) {
    const isValid = cursor === undefined && last !== true && overflow !== 'log' && filter.scope !== 'fleet';
    return isValid ? undefined : 'group with ack: not with cursor, last, overflow log or scope fleet';
  }
  if (isStored(filter) && (group !== undefined || last === true))
    return 'from, cursor and overflow log: not with last, and with group only if ack is set';
  if (ack !== undefined && cursor === undefined) return 'ack: needs cursor or group';
  if (ackWait !== undefined || maxDeliveries !== undefined || maxUnacked !== undefined)
    return 'ackWait, maxDeliveries and maxUnacked: need group and ack';
  return last === true && group !== undefined ? 'last: cannot be combined with group' : undefined;
}

/**
 * The filter as sent to the broker.
 * @param id of the subscription
 * @param received the position after the messages that were received, if one is known
 */
export function wireFilter(
  id: string,
  filter: SubscriptionFilter,
  received: string | undefined,
): Record<string, unknown> {
  const { maxQueuedBytes: _, ...wire } = filter;
  const isGroup = isWorkGroup(filter);
  return {
    id,
    ...wire,
    // To match messages to subscriptions, the client needs their crawlers; in a work group, their offsets.
    ...(filter.crawlerIds === undefined && !isGroup ? {} : { meta: true }),
    // The client itself acknowledges what was handled.
    ...(filter.cursor === undefined && !isGroup ? {} : { ack: 'manual' }),
    ...(received === undefined || isGroup ? {} : { from: { offset: received } }),
  };
}

/** Whether a message is for a subscription with this filter. */
export function matchesFilter(
  { types = ['*'], jobIds, crawlerIds }: SubscriptionFilter,
  event: ReceivedMessage,
): boolean {
  // Applications' messages never go to subscribers, and those of reserved types only to filters that name the type.
  if (Object.hasOwn(appSchemas, event.type)) return false;
  if (event.type === REJECTED) return types.includes(REJECTED);
  if (event.is(PRESENCE)) {
    const crawlerId = event.message.data.crawlerId ?? '';
    return types.includes(PRESENCE) && (crawlerIds === undefined || crawlerIds.includes(crawlerId));
  }
  if (!types.some((pattern) => matchesType(pattern, event.type))) return false;
  if (jobIds !== undefined) {
    const jobId = event.message.jobId ?? event.message.job_id;
    if (typeof jobId !== 'string' || !jobIds.includes(jobId)) return false;
  }
  return crawlerIds === undefined || crawlerIds.includes(event.crawlerId ?? '');
}

// Durable handlers: functions of an application in the broker's process that get messages from the durable log.

import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import { RESERVED_PREFIX } from '../log/cursors.js';
import { isFleetPosition } from '../log/log-start.js';
import { controlSchemas } from '../messages/messages.js';
import type { SubscribeData } from '../routing/filter.js';
import type { DurableMessage } from './durable-message.js';

/** Messages that are missing in the durable log. */
export interface DurableGap {
  /** Positions, in the log of their host, of the first missing message, and of the next one that is there. */
  readonly from: string;
  readonly to: string;
  /** Name of their host, with scope `fleet`. */
  readonly host?: string;
  /**
   * `removed`: they were too old, or there was no room for them. `damaged`: the disk has lost them. `epoch`: the log was
   * deleted, and another one begun.
   */
  readonly reason: 'removed' | 'damaged' | 'epoch';
}

/** Which messages a durable handler gets. A message must match every field that is set. */
export interface DurableHandlerSettings {
  /** `fleet`: messages of all hosts (option `fleet`). They are in order for each host. Default: `host`, those of this one. */
  readonly scope?: 'host' | 'fleet';
  /**
   * Name under which the broker remembers up to where messages were handled. If it knows the name, it continues there,
   * and not at `from`. Without a cursor, the handler begins at `from` at every start. A cursor belongs to one handler;
   * subscribers cannot use it meanwhile.
   */
  readonly cursor?: string;
  /**
   * Where to begin: at `new` messages, at the `first` one that the log has, at a {@link DurableMessage.position}, or at a
   * time (ISO 8601). Default: `new`. With scope `fleet`, `first` is the first one that the engine has.
   */
  readonly from?: 'new' | 'first' | { readonly offset: string } | { readonly time: string };
  /** Message types; `job_*` matches a prefix. Default: `['*']`, all types. */
  readonly types?: readonly string[];
  readonly jobIds?: readonly string[];
  readonly crawlerIds?: readonly string[];
  /**
   * Called if messages are missing, before the next one is handled. A returned promise is awaited. The broker logs a
   * warning in any case.
   */
  handleGap?(gap: DurableGap): unknown;
}

/** A handler of one message at a time. */
export interface SingleDurableHandler extends DurableHandlerSettings {
  /** A returned promise is awaited before the next message is handled. */
  handle(message: DurableMessage): unknown;
  readonly handleBatch?: undefined;
}

/** A handler of many messages at a time. */
export interface BatchDurableHandler extends DurableHandlerSettings {
  /**
   * Handles consecutive messages of all connections, at most 1,000. A returned promise is awaited before the following
   * messages are handled.
   */
  handleBatch(messages: readonly DurableMessage[]): unknown;
  readonly handle?: undefined;
}

/**
 * A handler of messages in the durable log, or in those of all hosts. Messages are handled in the order of the log, those
 * that arrived while the process was not running included. The cursor moves when the handler has returned, or its promise
 * has resolved. If it fails, the same messages are handled again after a while, until that succeeds: none is skipped. If
 * the process is killed before the cursor is on the disk (within 0.2 s), they are handled again after the restart.
 */
export type DurableHandler = SingleDurableHandler | BatchDurableHandler;

const FIELDS: Readonly<Record<keyof DurableHandler, true>> = {
  scope: true,
  cursor: true,
  from: true,
  types: true,
  jobIds: true,
  crawlerIds: true,
  handleGap: true,
  handle: true,
  handleBatch: true,
};

/**
 * The settings of a handler, as of a subscription.
 * @throws SluiceError `INVALID_OPTION`
 */
export function subscriptionOf(handler: DurableHandler): SubscribeData {
  // An object of a class may have fields of its own.
  if (Object.getPrototypeOf(handler) === Object.prototype)
    requireKnownOptions(handler, FIELDS, 'durable handler: ');
  if ((handler.handle === undefined) === (handler.handleBatch === undefined)) throw WITHOUT_FUNCTION();
  const { cursor, from, types, jobIds, crawlerIds, scope } = handler;
  const data = { id: 'handler', cursor, from, types, jobIds, crawlerIds, scope };
  const parsed = controlSchemas.subscribe.safeParse({ type: 'subscribe', data });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalidHandler(`${issue?.path.slice(1).join('.')}: ${issue?.message}`);
  }
  if (typeof from === 'object' && 'offset' in from && isFleetPosition(from) !== (scope === 'fleet'))
    throw invalidHandler('from: is a position of another scope');
  if (cursor?.startsWith(RESERVED_PREFIX) === true)
    throw invalidHandler(`cursor: must not begin with ${RESERVED_PREFIX}`);
  return parsed.data.data;
}

/** @param detail what is wrong with a handler */
export function invalidHandler(detail: string): SluiceError {
  return new SluiceError('INVALID_OPTION', `durable handler: ${detail}`);
}

const WITHOUT_FUNCTION = () => invalidHandler('must have either handle or handleBatch');

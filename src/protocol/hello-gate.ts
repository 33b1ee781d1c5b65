// Authenticates peers that need a token. Their first message must be a `hello`, which is read here and not in a worker.
// Before that, no other message is validated, and no reply contains validation results. Also finds out whom messages
// are for before they go to a worker.

import { isUtf8 } from 'node:buffer';
import type { FrameRange } from '../memory/slab-pool.js';
import type { MessageDirection, MessageType } from '../messages/message-registry.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';
import { type Framing, messageEnds, messageStart } from '../wire/framing.js';
import { decodeJson } from '../wire/safe-json.js';
import type { ControlHandler } from './control-handler.js';
import type { MessageValidator } from './message-validator.js';
import type { Peer } from './peer.js';

export interface HelloGateSettings {
  readonly framing: Framing;
  /** The byte that ends a message. */
  readonly delimiter: number;
  /** Whether messages of unknown types are forwarded. */
  readonly forwardsUnknownTypes: boolean;
}

export interface HelloGateEvents {
  /** A valid `hello`, with any token. */
  onHello(type: MessageType): void;
  /** The peer has sent something else: a message of this type, if it is a known one. */
  onUnauthorized(connection: Peer, messageType: string | undefined): void;
}

/** The beginning of a message whose first key is its type. */
const TYPE_FIRST = /^\{\s{0,16}"type"\s{0,16}:\s{0,16}"([^"\\]{1,256})"/;
const TYPE_FIRST_BYTES = 1100;

function beginningOf(message: Buffer): { readonly type: string | undefined } | undefined {
  const match = TYPE_FIRST.exec(message.toString('utf8', 0, TYPE_FIRST_BYTES));
  return match === null ? undefined : { type: match[1] };
}

/** @typeParam P the type of connections */
export class HelloGate<P extends Peer> {
  readonly #settings: HelloGateSettings;
  readonly #validator: MessageValidator;
  readonly #control: ControlHandler<P>;
  readonly #events: HelloGateEvents;

  constructor(
    settings: HelloGateSettings,
    validator: MessageValidator,
    control: ControlHandler<P>,
    events: HelloGateEvents,
  ) {
    this.#settings = settings;
    this.#validator = validator;
    this.#control = control;
    this.#events = events;
  }

  /**
   * Reads the first message of a peer that needs a token.
   * @returns offset of the messages after it; the end of the range if there are none or the peer is disconnected
   */
  authenticate(connection: P, { slab, start, end }: FrameRange): number {
    if (!connection.isOpen) return end;
    const { framing, delimiter } = this.#settings;
    const { bytes } = slab.arena;
    const from = messageStart(bytes, start, end);
    if (from === end) return end;
    const [next = end] = messageEnds(bytes, from, end, framing, delimiter, 1);
    const message = this.#messageIn(bytes, from, next);
    const object = this.#parseObject(message);
    const hello = object?.type === 'hello' ? this.#validator.check(object, false) : undefined;
    if (hello?.ok !== true) {
      const messageType =
        typeof object?.type === 'string' ? this.#validator.registry.get(object.type)?.name : undefined;
      this.#events.onUnauthorized(connection, messageType);
      return end;
    }
    connection.sequence++;
    connection.controlReceived++;
    for (let at = start; at < next; at++) if (bytes[at] === delimiter) connection.line++;
    this.#events.onHello(hello.type);
    this.#control.handle(connection, hello.type, message);
    return connection.isOpen ? next : end;
  }

  /**
   * The end of the first messages of a range that have these directions, or that are JSON objects without a known type, which
   * are rejected. Of a message of more than 64 KB, only the beginning is read: the type must be its first key.
   */
  endOf(directions: ReadonlySet<MessageDirection>, { slab, start, end }: FrameRange): number {
    const { framing, delimiter } = this.#settings;
    const { bytes } = slab.arena;
    let found = start;
    let from = messageStart(bytes, start, end);
    for (const next of [...messageEnds(bytes, from, end, framing, delimiter), end]) {
      if (from === end) return end;
      // Only blanks.
      if (next <= from) continue;
      if (!this.#passes(directions, this.#messageIn(bytes, from, next))) return found;
      found = next;
      from = messageStart(bytes, next, end);
    }
    return end;
  }

  #passes(directions: ReadonlySet<MessageDirection>, message: Buffer): boolean {
    const object = message.length > MAX_CONTROL_BYTES ? beginningOf(message) : this.#parseObject(message);
    if (object === undefined) return false;
    const { type } = object;
    const direction = typeof type === 'string' ? this.#validator.registry.get(type)?.direction : undefined;
    return direction === undefined ? !this.#settings.forwardsUnknownTypes : directions.has(direction);
  }

  /** The message at `from`, without its delimiter. */
  #messageIn(bytes: Buffer, from: number, next: number): Buffer {
    return bytes.subarray(from, bytes[next - 1] === this.#settings.delimiter ? next - 1 : next);
  }

  /** Parses a JSON object that is not longer than a `hello` may be. */
  #parseObject(message: Buffer): { readonly type?: unknown } | undefined {
    if (message.length > MAX_CONTROL_BYTES || !isUtf8(message)) return undefined;
    const decoded = decodeJson(message, 0, message.length, this.#validator.maxDepth);
    return decoded.ok && typeof decoded.value === 'object' ? (decoded.value ?? undefined) : undefined;
  }
}

// Before a peer has said who it is, where that takes a token: its first message must be a `hello`, which is read here and
// not in a worker. Nothing else of it is looked at, and nothing that it learns about its messages.

import { isUtf8 } from 'node:buffer';
import type { FrameRange } from '../memory/slab-pool.js';
import type { MessageType } from '../messages/message-registry.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';
import { type Framing, messageEnds, skipBlanks } from '../wire/framing.js';
import { decodeJson } from '../wire/safe-json.js';
import type { ControlHandler } from './control-handler.js';
import type { MessageValidator } from './message-validator.js';
import type { Peer } from './peer.js';

export interface HelloGateSettings {
  readonly framing: Framing;
  /** The byte that ends a message. */
  readonly delimiter: number;
}

export interface HelloGateEvents {
  /** A valid `hello`, whatever its token. */
  onHello(type: MessageType): void;
  /** The peer has sent something else: a message of this type, where it is known. */
  onUnauthorized(connection: Peer, messageType: string | undefined): void;
}

export class HelloGate {
  readonly #settings: HelloGateSettings;
  readonly #validator: MessageValidator;
  readonly #control: ControlHandler;
  readonly #events: HelloGateEvents;

  constructor(
    settings: HelloGateSettings,
    validator: MessageValidator,
    control: ControlHandler,
    events: HelloGateEvents,
  ) {
    this.#settings = settings;
    this.#validator = validator;
    this.#control = control;
    this.#events = events;
  }

  /**
   * Reads the first message of a peer that needs a token.
   * @returns where the messages behind it begin; the end of the range, where the peer is closed
   */
  authenticate(connection: Peer, { slab, start, end }: FrameRange): number {
    if (!connection.isOpen) return end;
    const { framing, delimiter } = this.#settings;
    const { bytes } = slab.arena;
    const from = skipBlanks(bytes, start, end);
    if (from === end) return end;
    const [next = end] = messageEnds(bytes, from, end, framing, delimiter, 1);
    const message = bytes.subarray(from, bytes[next - 1] === delimiter ? next - 1 : next);
    const said = this.#read(message);
    const hello = said?.type === 'hello' ? this.#validator.check(said, false) : undefined;
    if (hello?.ok !== true) {
      const name = typeof said?.type === 'string' ? this.#validator.registry.get(said.type)?.name : undefined;
      this.#events.onUnauthorized(connection, name);
      return end;
    }
    connection.sequence++;
    for (let at = start; at < next; at++) if (bytes[at] === delimiter) connection.line++;
    this.#events.onHello(hello.type);
    this.#control.handle(connection, hello.type, message);
    return connection.isOpen ? next : end;
  }

  /** The message's JSON object, where it is one of a length that a `hello` may have. */
  #read(message: Buffer): { readonly type?: unknown } | undefined {
    if (message.length > MAX_CONTROL_BYTES || !isUtf8(message)) return undefined;
    const decoded = decodeJson(message, 0, message.length, this.#validator.maxDepth);
    return decoded.ok && typeof decoded.value === 'object' ? (decoded.value ?? undefined) : undefined;
  }
}

// A message received from the broker. It is parsed lazily, on first access.

import type { MessageMap } from '../messages/messages.js';
import { type AnyMessage, type Forwarded, mayBeWrapped, readForwarded } from './broker-lines.js';

/** A line is copied out of its read buffer if the buffer is more than this many times as long. */
const DETACH_RATIO = 16;
/**
 * Size of the memory that copies of short lines share, in bytes. Not Node's own pool: from Node 24 on, a copy there can
 * keep 64 KiB in memory.
 */
const POOL_SIZE = 8 * 1024;

/** Placeholder for a line that is not a message: no message type is empty. */
const MALFORMED: Forwarded = { message: { type: '' }, rawAt: 0 };

export class ReceivedMessage {
  #line: Buffer;
  #parsed: Forwarded | undefined;
  readonly #onMalformed: (() => void) | undefined;

  /** @param onMalformed called on first access to the content if the line is not a message */
  constructor(line: Buffer, onMalformed?: () => void) {
    this.#line = line;
    this.#onMalformed = onMalformed;
  }

  /** The bytes as the broker sent them, including the wrapper, without the newline. */
  get line(): Buffer {
    return this.#line;
  }

  /** The message's bytes as its sender wrote them, without a delimiter. */
  get raw(): Buffer {
    const rawAt = this.#mayBeWrapped ? this.#content.rawAt : 0;
    return rawAt === 0 ? this.#line : this.#line.subarray(rawAt, -1);
  }

  /** The message's type. Empty if the line is not a message; the client then closes the connection. */
  get type(): string {
    return this.#content.message.type;
  }

  /** The parsed message, with the defaults of the protocol's schema filled in. Parsed once, on first access. */
  get message(): AnyMessage {
    return this.#content.message;
  }

  /** ID of the sender's connection; only with `meta`. */
  get from(): string | undefined {
    return this.#mayBeWrapped ? this.#content.from : undefined;
  }

  /** ID of the crawler that sent it, if the crawler has identified itself; only with `meta`. */
  get crawlerId(): string | undefined {
    return this.#mayBeWrapped ? (this.#content.crawlerId ?? undefined) : undefined;
  }

  /** Name of the host that received it; only with `meta`, and only for subscriptions to the fleet. */
  get host(): string | undefined {
    return this.#mayBeWrapped ? this.#content.host : undefined;
  }

  /** Its number among the accepted messages of the sender's connection, from 1; only with `meta`. */
  get sequence(): number | undefined {
    return this.#mayBeWrapped ? this.#content.seq : undefined;
  }

  /**
   * Its offset in the durable log of the broker, or of its {@link host}; only with `meta`, and only for subscriptions that
   * read the log or the fleet.
   */
  get offset(): number | undefined {
    return this.#mayBeWrapped ? this.#content.offset : undefined;
  }

  /** Narrows to one of the protocol's own types: `if (event.is('heartbeat')) event.message.data.activeJobs`. */
  is<T extends keyof MessageMap>(type: T): this is ReceivedMessage & { readonly message: MessageMap[T] };
  /** Narrows to a type of a schema module, passed as type argument: `if (event.is<PageFetched>('page_fetched'))`. */
  is<M extends { readonly type: string } = AnyMessage>(
    type: M['type'],
  ): this is ReceivedMessage & { readonly message: M };
  is(type: string): boolean {
    return this.type === type;
  }

  /**
   * Copies the line out of its read buffer if that is much longer: a queued message would keep all of it in memory.
   * @internal
   */
  detach(): void {
    if (this.#line.length * DETACH_RATIO < this.#line.buffer.byteLength) this.#line = copyLine(this.#line);
  }

  get #mayBeWrapped(): boolean {
    return mayBeWrapped(this.#line);
  }

  get #content(): Forwarded {
    this.#parsed ??= this.#parse();
    return this.#parsed;
  }

  #parse(): Forwarded {
    const parsed = readForwarded(this.#line);
    if (parsed === undefined) this.#onMalformed?.();
    return parsed ?? MALFORMED;
  }
}

let pool = Buffer.alloc(0);
let poolUsed = 0;

/** Copies a line into memory of its own, or that it shares with other copies. Takes about 0.2 µs for 390 bytes. */
function copyLine(line: Buffer): Buffer {
  let copy: Buffer;
  if (line.length > POOL_SIZE / 2) copy = Buffer.allocUnsafeSlow(line.length);
  else {
    if (poolUsed + line.length > pool.length) {
      pool = Buffer.allocUnsafeSlow(POOL_SIZE);
      poolUsed = 0;
    }
    copy = pool.subarray(poolUsed, poolUsed + line.length);
    poolUsed += line.length;
  }
  copy.set(line);
  return copy;
}

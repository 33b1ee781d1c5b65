// Live tails for operators: forwarded messages as they come, at most a given number per second, with everything
// masked that looks like a secret.

import type { FrameRun } from '../delivery/frame-run.js';
import { SluiceError } from '../errors.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { redact } from '../protocol/redaction.js';
import { type Filter, matchesMessage, type SubscribeData } from '../routing/filter.js';
import { filterDataOf, invalidParameter, requireParameters } from './feed-request.js';

/** What the tails need of the broker. */
export interface TailSource {
  readonly registry: MessageRegistry;
  filterOf(data: SubscribeData): Filter;
  /** Calls a function with all forwarded messages, or no longer. */
  listen(onMessages: ((run: FrameRun) => void) | undefined): void;
}

/** Who reads a tail. */
export interface TailReader {
  /** Whether it has not read what was written before: then messages are left out. */
  readonly isBehind: boolean;
  /** @param event server-sent events, or a comment */
  write(event: string): void;
  end(): void;
}

/** A message, as the reader gets it. */
export interface TailMessage {
  /** ms since 1970. */
  readonly at: number;
  readonly connectionId: string;
  readonly crawlerId: string | null;
  readonly type: string;
  /** Size of the message. */
  readonly bytes: number;
  /** Its first 2 KiB, with secrets masked. */
  readonly text: string;
}

/** Maximum number of tails. */
export const MAX_TAILS = 10;
const MAX_BYTES = 2048;
const [DEFAULT_RATE, MAX_RATE] = [20, 100];
const SECOND = 1000;
const PARAMETERS: ReadonlySet<string> = new Set(['types', 'jobs', 'crawlers', 'rate']);

class Tail {
  readonly #filter: Filter;
  readonly #registry: MessageRegistry;
  readonly #rate: number;
  readonly #reader: TailReader;
  /** Ring of the times at which the latest `rate` messages were sent. */
  readonly #sentAt: Float64Array;
  /** Index of the oldest one. */
  #oldest = 0;
  /** Grows by `rate` per second, so that messages are spread over each second if there are more than may be sent. */
  #allowance: number;
  #allowedAt = performance.now();
  #leftOut = 0;

  constructor(filter: Filter, registry: MessageRegistry, rate: number, reader: TailReader) {
    this.#filter = filter;
    this.#registry = registry;
    this.#rate = rate;
    this.#reader = reader;
    this.#sentAt = new Float64Array(rate).fill(Number.NEGATIVE_INFINITY);
    this.#allowance = rate;
  }

  take(run: FrameRun): void {
    const now = performance.now();
    this.#allowance = Math.min(this.#rate, this.#allowance + ((now - this.#allowedAt) / SECOND) * this.#rate);
    this.#allowedAt = now;
    for (let at = 0; at < run.count; at++) {
      if (!matchesMessage(this.#filter, run, at)) continue;
      if (this.#reader.isBehind || !this.#hasRoom(now)) {
        this.#leftOut++;
        continue;
      }
      this.#allowance--;
      this.#sentAt[this.#oldest] = now;
      this.#oldest = (this.#oldest + 1) % this.#rate;
      this.#reader.write(`data: ${JSON.stringify(this.#describe(run, at))}\n\n`);
    }
  }

  /** Whether one more message may be sent: any second has at most `rate` of them. */
  #hasRoom(now: number): boolean {
    if (now - (this.#sentAt[this.#oldest] ?? 0) >= SECOND) return this.#allowance >= 1;
    // The next second does not begin with as many at once.
    this.#allowance = Math.min(1, this.#allowance);
    return false;
  }

  /** Called once per second. */
  report(): void {
    const count = this.#leftOut;
    this.#leftOut = 0;
    // The comment shows that the connection is open.
    this.#reader.write(count === 0 ? ':\n\n' : `event: left_out\ndata: {"count":${count}}\n\n`);
  }

  end(): void {
    this.#reader.end();
  }

  #describe(run: FrameRun, at: number): TailMessage {
    const message = run.message(at);
    const isCut = message.length > MAX_BYTES;
    return {
      at: Date.now(),
      connectionId: run.sender.id,
      crawlerId: run.sender.crawlerId ?? null,
      type: run.unknownType ?? this.#registry.types[run.typeIndex(at)]?.name ?? '',
      bytes: message.length,
      text: redact(message.toString('utf8', 0, MAX_BYTES), isCut),
    };
  }
}

/** The tails that are open. Without one, no message is looked at. */
export class Tails {
  readonly #source: TailSource;
  readonly #tails = new Set<Tail>();
  #timer: NodeJS.Timeout | undefined;

  constructor(source: TailSource) {
    this.#source = source;
  }

  /**
   * Opens a tail.
   * @param query `types`, `jobs` and `crawlers` as of the feed; `rate` is the maximum number of messages per second
   * @returns a function that closes it
   * @throws SluiceError `INVALID_OPTION` if a parameter is wrong; `RATE_LIMITED` if there are too many tails
   */
  open(query: URLSearchParams, reader: TailReader): () => void {
    requireParameters(query, PARAMETERS);
    const filter = this.#source.filterOf(filterDataOf(query, 'tail'));
    const rate = rateOf(query.get('rate'));
    if (this.#tails.size >= MAX_TAILS) throw new SluiceError('RATE_LIMITED', `${MAX_TAILS} tails are open`);
    const tail = new Tail(filter, this.#source.registry, rate, reader);
    if (this.#tails.size === 0) {
      this.#source.listen((run) => {
        for (const open of this.#tails) open.take(run);
      });
      this.#timer = setInterval(() => {
        for (const open of this.#tails) open.report();
      }, SECOND).unref();
    }
    this.#tails.add(tail);
    return () => this.#remove(tail);
  }

  /** Ends all tails. */
  close(): void {
    for (const tail of [...this.#tails]) {
      this.#remove(tail);
      tail.end();
    }
  }

  #remove(tail: Tail): void {
    if (!this.#tails.delete(tail) || this.#tails.size > 0) return;
    this.#source.listen(undefined);
    clearInterval(this.#timer);
  }
}

function rateOf(text: string | null): number {
  if (text === null) return DEFAULT_RATE;
  const rate = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (rate < 1 || rate > MAX_RATE) throw invalidParameter('rate', `must be 1 to ${MAX_RATE}`);
  return rate;
}

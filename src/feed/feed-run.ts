// A run of forwarded messages, as all streams of the feed see it: what several of them need is made once, and its memory
// is counted once.

import { type FrameRun, metaPrefix } from '../delivery/frame-run.js';
import type { MessageRegistry } from '../messages/message-registry.js';

const [LINE_FEED, CARRIAGE_RETURN, SPACE] = [0x0a, 0x0d, 0x20];
const CLOSE_BRACE = Buffer.from('}');
/** Memory of data in addition to its bytes, and of its place in a stream. */
const [DATA_OVERHEAD, PLACE_BYTES] = [256, 64];

/** The data of an event. Streams that hold it share it. */
export interface FeedData {
  readonly bytes: Buffer;
  /** Whether it is newer than anything in the log that is read. */
  readonly isLive: boolean;
  /** Number of streams that hold it. */
  holders: number;
}

/** The memory of everything that streams hold. */
export class FeedMemory {
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** A stream holds data. */
  hold(data: FeedData): void {
    this.#bytes += sizeOf(data);
    data.holders++;
  }

  /** A stream holds data no longer. */
  release(data: FeedData): void {
    data.holders--;
    this.#bytes -= sizeOf(data);
  }
}

function sizeOf({ bytes, holders }: FeedData): number {
  return PLACE_BYTES + (holders === 0 ? bytes.length + DATA_OVERHEAD : 0);
}

export class FeedRun {
  readonly run: FrameRun;
  readonly #registry: MessageRegistry;
  readonly #keys: string[] = [];
  readonly #data: FeedData[] = [];
  #prefix: string | undefined;

  constructor(run: FrameRun, registry: MessageRegistry) {
    this.run = run;
    this.#registry = registry;
  }

  /** Equal for messages of which only the latest is sent. */
  key(at: number): string {
    this.#keys[at] ??= this.#keyOf(at);
    return this.#keys[at];
  }

  /** The data of the event of a message. It stays valid after the run. */
  data(at: number): FeedData {
    this.#prefix ??= metaPrefix(this.run.sender);
    this.#data[at] ??= dataOf(this.#prefix + this.run.metaText(at), this.run.message(at), true);
    return this.#data[at];
  }

  #keyOf(at: number): string {
    const { run } = this;
    const job = run.job(at);
    const { verdict, unknownType, sender } = run;
    return keyOf(
      job === -1 ? undefined : { low: verdict.jobLow(job), high: verdict.jobHigh(job) },
      sender.id,
      unknownType ?? this.#registry.types[run.typeIndex(at)]?.name ?? '',
    );
  }
}

/** The key of a message: its job, or else its sender and type. */
export function keyOf(
  job: { readonly low: number; readonly high: number } | undefined,
  connectionId: string,
  type: string,
): string {
  return job === undefined ? `${connectionId} ${type}` : `${job.low}:${job.high}`;
}

/** The data of an event: a copy of a message, in the wrapper that `prefix` begins. */
export function dataOf(prefix: string, message: Buffer, isLive: boolean): FeedData {
  const size = Buffer.byteLength(prefix) + message.length + CLOSE_BRACE.length;
  // Memory of its own: it may be held for long, and would keep the memory that it shares.
  const bytes = Buffer.allocUnsafeSlow(size);
  const start = bytes.write(prefix);
  message.copy(bytes, start);
  CLOSE_BRACE.copy(bytes, start + message.length);
  return { bytes: toOneLine(bytes), isLive, holders: 0 };
}

/** Replaces line ends: in JSON, they are white space between tokens; in an event, they would end its line. */
export function toOneLine(message: Buffer): Buffer {
  const hasLineEnds = message.includes(LINE_FEED) || message.includes(CARRIAGE_RETURN);
  // Not by a search for each of them: a message may have a million.
  for (let at = 0; hasLineEnds && at < message.length; at++)
    if (message[at] === LINE_FEED || message[at] === CARRIAGE_RETURN) message[at] = SPACE;
  return message;
}

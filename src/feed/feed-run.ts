// A run of forwarded messages, as all streams of the feed see it: what several of them need is made once.

import { type FrameRun, metaPrefix } from '../delivery/frame-run.js';
import type { MessageRegistry } from '../messages/message-registry.js';

const [LINE_FEED, CARRIAGE_RETURN, SPACE] = [0x0a, 0x0d, 0x20];
const CLOSE_BRACE = Buffer.from('}');

export class FeedRun {
  readonly run: FrameRun;
  readonly #registry: MessageRegistry;
  readonly #keys: string[] = [];
  readonly #data: Buffer[] = [];
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
  data(at: number): Buffer {
    this.#prefix ??= metaPrefix(this.run.sender);
    this.#data[at] ??= dataOf(this.#prefix + this.run.metaText(at), this.run.message(at));
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

/**
 * The data of an event: a copy of a message.
 * @param isWrapped whether it gets the end of the wrapper that `prefix` begins. Default: true.
 */
export function dataOf(prefix: string, message: Buffer, isWrapped = true): Buffer {
  const data = Buffer.concat([Buffer.from(prefix), message, ...(isWrapped ? [CLOSE_BRACE] : [])]);
  // In JSON, these are white space between tokens; in an event, they would end its line.
  for (const byte of [LINE_FEED, CARRIAGE_RETURN])
    for (let at = data.indexOf(byte); at !== -1; at = data.indexOf(byte, at + 1)) data[at] = SPACE;
  return data;
}

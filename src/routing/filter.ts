// What one subscription wants, made ready for quick answers: a bit per message type, sets for the rest.

import { createHash } from 'node:crypto';
import { SELECTED, SKIP, WITH_META } from '../delivery/frame-run.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import { matchesType, REJECTED } from '../messages/type-patterns.js';

export type SubscribeData = MessageMap['subscribe']['data'];

export class Filter {
  /** Equal for filters that want the same. */
  readonly key: string;
  /** Whether it wants rejected messages. */
  readonly wantsRejected: boolean;
  /** Whether it wants every message there is. */
  readonly wantsAll: boolean;
  /** What a wanted message is marked with: {@link SELECTED} or {@link WITH_META}. */
  readonly mark: number;
  /** By type index: 1 for a wanted type. */
  readonly #types: Uint8Array;
  readonly #jobs: JobSet | undefined;
  readonly #crawlerIds: ReadonlySet<string> | undefined;

  constructor(registry: MessageRegistry, data: SubscribeData, jobSeed: JobSeed) {
    const { types, jobIds, crawlerIds, meta } = data;
    const wanted = registry.types.map(({ name, direction }) =>
      direction === 'crawler' && types.some((pattern) => matchesType(pattern, name)) ? 1 : 0,
    );
    this.#types = Uint8Array.from(wanted);
    this.#jobs = jobIds && new JobSet(jobIds, jobSeed);
    this.#crawlerIds = crawlerIds && new Set(crawlerIds);
    this.mark = meta === true ? WITH_META : SELECTED;
    this.wantsRejected = types.includes(REJECTED);
    this.wantsAll = types.includes('*') && jobIds === undefined && crawlerIds === undefined;
    const wants = JSON.stringify([wanted.join(''), jobIds, crawlerIds, this.mark]);
    this.key = createHash('sha256').update(wants).digest('base64');
  }

  /** Whether it can want anything of this crawler's. */
  wantsCrawler(crawlerId: string | undefined): boolean {
    return this.#crawlerIds === undefined || (crawlerId !== undefined && this.#crawlerIds.has(crawlerId));
  }

  /**
   * The mark of a message whose crawler is wanted: {@link SKIP} when the message is not.
   * @param jobLow with `jobHigh` the key of its job; both 0 for none
   */
  markOf(typeIndex: number, jobLow: number, jobHigh: number): number {
    if (this.#types[typeIndex] !== 1) return SKIP;
    if (this.#jobs?.has(jobLow, jobHigh) === false) return SKIP;
    return this.mark;
  }
}

/** Jobs, by their keys. */
class JobSet {
  /** Lower half of a key, as a signed number, which V8 keeps without an object → upper halves. */
  readonly #keys = new Map<number, number[]>();

  constructor(jobIds: readonly string[], seed: JobSeed) {
    for (const jobId of jobIds) {
      const { low, high } = jobKey(jobId, seed);
      this.#keys.set(low | 0, [...(this.#keys.get(low | 0) ?? []), high]);
    }
  }

  has(low: number, high: number): boolean {
    return this.#keys.get(low | 0)?.includes(high) ?? false;
  }
}

/** What the map and the set that an id is in take beside its text, in bytes: measured, rounded up. */
const ID_OVERHEAD = 64;

/** Bytes that a subscription's own texts keep, at 2 bytes a character. */
export function subscriptionBytes({ id, group = '', jobIds = [], crawlerIds = [] }: SubscribeData): number {
  let bytes = 0;
  for (const text of [id, group, ...jobIds, ...crawlerIds]) bytes += text.length * 2 + ID_OVERHEAD;
  return bytes;
}

// The filter of one subscription, prepared for fast matching: a flag per message type, sets for the rest.

import { createHash } from 'node:crypto';
import { SELECTED, SKIP, WITH_META } from '../delivery/frame-run.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import { matchesType, REJECTED } from '../messages/type-patterns.js';

export type SubscribeData = MessageMap['subscribe']['data'];

export class Filter {
  /** Equal for filters that match the same messages with the same mark. */
  readonly key: string;
  /** Whether it matches reports of rejected messages. */
  readonly matchesRejected: boolean;
  /** Whether it matches every message. */
  readonly matchesAll: boolean;
  /** Mark of matching messages: {@link SELECTED} or {@link WITH_META}. */
  readonly mark: number;
  /** 1 for a matching type, by type index. */
  readonly #types: Uint8Array;
  readonly #jobs: JobSet | undefined;
  readonly #crawlerIds: ReadonlySet<string> | undefined;

  constructor(registry: MessageRegistry, data: SubscribeData, jobSeed: JobSeed) {
    const { types, jobIds, crawlerIds, meta } = data;
    const selected = registry.types.map(({ name, direction }) =>
      direction === 'crawler' && types.some((pattern) => matchesType(pattern, name)) ? 1 : 0,
    );
    this.#types = Uint8Array.from(selected);
    this.#jobs = jobIds && new JobSet(jobIds, jobSeed);
    this.#crawlerIds = crawlerIds && new Set(crawlerIds);
    this.mark = meta === true ? WITH_META : SELECTED;
    this.matchesRejected = types.includes(REJECTED);
    this.matchesAll = types.includes('*') && jobIds === undefined && crawlerIds === undefined;
    const content = JSON.stringify([selected.join(''), jobIds, crawlerIds, this.mark]);
    this.key = createHash('sha256').update(content).digest('base64');
  }

  /** Whether it can match messages of this crawler. */
  matchesCrawler(crawlerId: string | undefined): boolean {
    return this.#crawlerIds === undefined || (crawlerId !== undefined && this.#crawlerIds.has(crawlerId));
  }

  /**
   * The mark of a message of a matching crawler; {@link SKIP} if the message does not match.
   * @param jobLow with `jobHigh`, the key of its job; both 0 if it has none
   */
  markOf(typeIndex: number, jobLow: number, jobHigh: number): number {
    if (this.#types[typeIndex] !== 1) return SKIP;
    if (this.#jobs?.has(jobLow, jobHigh) === false) return SKIP;
    return this.mark;
  }
}

/** A set of jobs, by their keys. */
class JobSet {
  /** Upper halves of keys by lower half, which is signed, since V8 stores small signed integers without an object. */
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

/** Bytes per ID in the maps and sets, in addition to its text: measured, rounded up. */
const ID_OVERHEAD = 64;

/** Memory of the texts of a subscription, in bytes, at 2 bytes per character. */
export function subscriptionBytes({ id, group = '', jobIds = [], crawlerIds = [] }: SubscribeData): number {
  let bytes = 0;
  for (const text of [id, group, ...jobIds, ...crawlerIds]) bytes += text.length * 2 + ID_OVERHEAD;
  return bytes;
}

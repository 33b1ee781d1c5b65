// The filter of one subscription, prepared for fast matching: a flag per message type, sets for the rest.

import { createHash } from 'node:crypto';
import { type FrameRun, SELECTED, WITH_META } from '../delivery/frame-run.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import { PRESENCE, REJECTED, TypePatterns } from '../messages/type-patterns.js';

export type SubscribeData = MessageMap['subscribe']['data'];

export class Filter {
  /** Equal for filters that match the same messages with the same mark. */
  readonly key: string;
  /** Whether it matches reports of rejected messages. */
  readonly matchesRejected: boolean;
  /** Whether it matches reports about the presence of crawlers. */
  readonly matchesPresence: boolean;
  /** Whether it matches every message. */
  readonly matchesAll: boolean;
  /** Whether it matches messages of all types, those without a schema included. */
  readonly matchesAllTypes: boolean;
  /** 1 for a matching type, by type index. */
  readonly #types: Uint8Array;
  readonly #patterns: TypePatterns;
  /** Mark of matching messages: {@link SELECTED} or {@link WITH_META}. */
  readonly mark: number;
  /** The only jobs that it matches. */
  readonly jobs: JobSet | undefined;
  /** The only crawlers that it matches. */
  readonly crawlerIds: ReadonlySet<string> | undefined;

  constructor(registry: MessageRegistry, data: SubscribeData, jobSeed: JobSeed) {
    const { types, jobIds, crawlerIds, meta } = data;
    const patterns = new TypePatterns(types);
    const selected = registry.types.map(({ name, direction }) =>
      direction === 'crawler' && patterns.match(name) ? 1 : 0,
    );
    this.#types = Uint8Array.from(selected);
    this.#patterns = patterns;
    this.jobs = jobIds && new JobSet(jobIds, jobSeed);
    this.crawlerIds = crawlerIds && new Set(crawlerIds);
    this.mark = meta === true ? WITH_META : SELECTED;
    this.matchesRejected = types.includes(REJECTED);
    this.matchesPresence = types.includes(PRESENCE);
    this.matchesAllTypes = types.includes('*');
    this.matchesAll = this.matchesAllTypes && jobIds === undefined && crawlerIds === undefined;
    const content = JSON.stringify([selected.join(''), types, jobIds, crawlerIds, this.mark]);
    this.key = createHash('sha256').update(content).digest('base64');
  }

  /** Whether it can match messages of this crawler. */
  matchesCrawler(crawlerId: string | undefined): boolean {
    return this.crawlerIds === undefined || (crawlerId !== undefined && this.crawlerIds.has(crawlerId));
  }

  /** @param unknownType the name of a type that the registry does not contain; then `typeIndex` has no meaning */
  matchesType(typeIndex: number, unknownType: string | undefined): boolean {
    if (unknownType === undefined) return this.#types[typeIndex] === 1;
    return this.#patterns.match(unknownType);
  }

  /** Whether it matches messages about this job, given by its key. Filters without jobs also match messages without. */
  matchesJob(low: number, high: number): boolean {
    return this.jobs === undefined || this.jobs.has(low, high);
  }
}

/** Whether a filter matches a message of a run. @param index of the message in the run */
export function matchesMessage(filter: Filter, run: FrameRun, index: number): boolean {
  if (!filter.matchesType(run.typeIndex(index), run.unknownType)) return false;
  if (!filter.matchesCrawler(run.sender.crawlerId)) return false;
  if (filter.jobs === undefined) return true;
  const job = run.job(index);
  return job !== -1 && filter.matchesJob(run.verdict.jobLow(job), run.verdict.jobHigh(job));
}

/** A set of jobs, by their keys. */
class JobSet {
  /** Upper halves of keys by lower half, which is signed, since V8 stores small signed integers without an object. */
  readonly #keys = new Map<number, number[]>();

  constructor(jobIds: readonly string[], seed: JobSeed) {
    for (const jobId of jobIds) {
      const { low, high } = jobKey(jobId, seed);
      const highs = this.#keys.get(low | 0) ?? [];
      if (!highs.includes(high)) this.#keys.set(low | 0, [...highs, high]);
    }
  }

  /** Number of keys; those with the same lower half count as one. */
  get size(): number {
    return this.#keys.size;
  }

  has(low: number, high: number): boolean {
    return this.#keys.get(low | 0)?.includes(high) ?? false;
  }

  /** The keys, as pairs of signed integers: the lower and the upper half. */
  *keys(): Generator<readonly [number, number]> {
    for (const [low, highs] of this.#keys) for (const high of highs) yield [low, high | 0];
  }
}

/** Memory of the structures around the texts, in bytes: measured, rounded up. */
const OVERHEAD = { SUBSCRIPTION: 1536, TYPE: 64, JOB: 256, CRAWLER: 128 } as const;

/** Estimated memory of a subscription, in bytes. Texts take 2 bytes per character. */
export function subscriptionBytes(data: SubscribeData): number {
  const { id, group = '', types, jobIds = [], crawlerIds = [] } = data;
  let bytes = OVERHEAD.SUBSCRIPTION + 2 * (id.length + group.length);
  for (const type of types) bytes += OVERHEAD.TYPE + 2 * type.length;
  for (const jobId of jobIds) bytes += OVERHEAD.JOB + 2 * jobId.length;
  for (const crawlerId of crawlerIds) bytes += OVERHEAD.CRAWLER + 2 * crawlerId.length;
  return bytes;
}

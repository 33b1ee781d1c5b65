// The drift report: how messages differ from the contract, which crawlers send them, and since when. For those who run
// crawlers that are newer than the broker's schemas.

import type { DriftFact } from '../dispatch/verdict.js';
import { LruMap } from '../lru-map.js';

/** A crawler whose messages differ. */
export interface DriftSource {
  /** The crawlerId, or the connection ID of a crawler without one. */
  readonly id: string;
  /** ms since 1970. */
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** Number of sightings. */
  readonly sightings: number;
}

/** A difference between messages and the contract. */
export interface DriftEntry extends DriftFact {
  /** ms since 1970. */
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** Number of sightings. Messages are sampled, so there are at least as many of them. */
  readonly sightings: number;
  /** The crawlers that were seen first, at most 16. */
  readonly sources: readonly DriftSource[];
  /** Whether there are more crawlers than `sources` has room for. */
  readonly hasMoreSources: boolean;
}

/** Maximum number of entries. The least recently seen one is removed. */
const MAX_ENTRIES = 500;
const MAX_SOURCES = 16;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Entry extends Mutable<Omit<DriftEntry, 'sources'>> {
  readonly sources: Map<string, Mutable<DriftSource>>;
}

export class DriftReport {
  readonly #entries = new LruMap<string, Entry>(MAX_ENTRIES);

  /**
   * Records a sighting.
   * @param source the crawlerId, or the connection ID of a crawler without one
   * @param now ms since 1970
   */
  record({ kind, messageType, path, value }: DriftFact, source: string, now: number): void {
    const key = JSON.stringify([kind, messageType, path, value]);
    const entry: Entry = this.#entries.get(key) ?? {
      ...{ kind, messageType, path, value },
      firstSeen: now,
      lastSeen: now,
      sightings: 0,
      sources: new Map(),
      hasMoreSources: false,
    };
    this.#entries.set(key, entry);
    entry.sightings++;
    entry.lastSeen = now;
    const known = entry.sources.get(source);
    if (known !== undefined) {
      known.sightings++;
      known.lastSeen = now;
    } else if (entry.sources.size === MAX_SOURCES) entry.hasMoreSources = true;
    else entry.sources.set(source, { id: source, firstSeen: now, lastSeen: now, sightings: 1 });
  }

  /** The entries that were seen last, the latest first. @param count maximum number of them. Default: all. */
  latest(count = MAX_ENTRIES): DriftEntry[] {
    const entries = [...this.#entries.values()].sort((a, b) => b.lastSeen - a.lastSeen).slice(0, count);
    return entries.map((entry) => ({
      ...entry,
      sources: [...entry.sources.values()].map((source) => ({ ...source })),
    }));
  }
}

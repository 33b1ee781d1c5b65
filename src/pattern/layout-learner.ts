// Selects the layouts of one message type that are worth a pattern: those that the slow path keeps accepting. Samples
// messages at random intervals, so that no sender can time its messages to evade sampling. Each layout has its own
// counter: a frequent layout is proposed no matter how many messages come in between, as long as they have fewer than
// MAX_LAYOUTS other layouts.

import { LruMap } from '../lru-map.js';
import type { MessageType } from '../messages/message-registry.js';
import type { CompileBudget } from './compile-budget.js';
import { haveNestedExtras, type Layout, layoutOf, mergeLayouts, unordered } from './layout.js';

/** Samples are 1 to 31 accepted messages apart, 16 on average: reading a layout costs as much as the slow path. */
const MAX_SAMPLE_DISTANCE = 31;
/** Number of times a layout is sampled before it is proposed. */
const ENOUGH_SIGHTINGS = 4;
/** The same for a layout that lost its pattern: higher, so that layouts do not evict each other in turns. */
const ENOUGH_TO_RETURN = 8;
/** After a failure, a layout is proposed again when its number of sightings has grown by this factor. */
const BACK_OFF = 4;
/** Maximum number of layouts that are counted. The least recently seen one is evicted. */
const MAX_LAYOUTS = 64;
/** With this many layouts, further ones are taken to have their keys in any order. */
const MANY_LAYOUTS = 16;
/** The number of most recent candidates that a new layout can be merged into. */
const MAX_CANDIDATES = 8;

/** A layout that may get a pattern. It covers one key order, or several that are compatible. */
interface Candidate {
  layout: Layout;
  sightings: number;
  /** Number of sightings at which it is proposed next. */
  proposeAt: number;
  hasFailed: boolean;
}

/** A layout to learn. */
export interface Proposal {
  readonly layout: Layout;
  /** Whether not to merge it with learned layouts, because a merged layout has failed. */
  readonly isAlone: boolean;
}

export class LayoutLearner {
  readonly #type: MessageType;
  readonly #budget: CompileBudget;
  readonly #random: () => number;
  /** Candidates by layout key ({@link keyOf}). Several layouts can share a candidate. */
  readonly #seen = new LruMap<string, Candidate>(MAX_LAYOUTS);
  /** Candidates that accept new layouts, most recent first. */
  #candidates: Candidate[] = [];
  #proposed: Candidate | undefined;
  #untilSample: number;

  /** @param random returns numbers in [0, 1) */
  constructor(type: MessageType, budget: CompileBudget, random: () => number = Math.random) {
    this.#type = type;
    this.#budget = budget;
    this.#random = random;
    this.#untilSample = this.#sampleDistance();
  }

  /**
   * Observes a message that the slow path has accepted.
   * @param text returns the message's raw text
   * @returns a layout to learn from this message now, if there is one
   */
  observe(message: object, text: () => string): Proposal | undefined {
    if (--this.#untilSample > 0) return undefined;
    this.#untilSample = this.#sampleDistance();
    const layout = layoutOf(this.#type.definition, message, text());
    if (layout === undefined) return undefined;
    const candidate = this.#candidateOf(layout);
    candidate.sightings++;
    if (candidate.sightings < candidate.proposeAt || !this.#budget.take(candidate.sightings))
      return undefined;
    this.#proposed = candidate;
    const isAlone = candidate.hasFailed;
    return { layout: isAlone && !candidate.layout.isUnordered ? layout : candidate.layout, isAlone };
  }

  /** Records whether the latest proposal was learned. */
  recordOutcome(isLearned: boolean): void {
    const candidate = this.#proposed;
    this.#proposed = undefined;
    if (candidate === undefined) return;
    this.#candidates = this.#candidates.filter((other) => other !== candidate);
    if (isLearned) {
      // Its messages match the pattern now, so they are not observed again unless the pattern is removed.
      candidate.sightings = 0;
      candidate.proposeAt = ENOUGH_TO_RETURN;
      candidate.hasFailed = false;
    } else {
      candidate.proposeAt = candidate.sightings * BACK_OFF;
      candidate.hasFailed = true;
    }
  }

  #candidateOf(layout: Layout): Candidate {
    const key = keyOf(layout);
    const candidate = this.#seen.get(key) ?? this.#merge(layout) ?? this.#newCandidate(layout);
    this.#seen.set(key, candidate);
    // No layouts are merged into a failed candidate.
    if (!candidate.hasFailed && this.#candidates[0] !== candidate) this.#moveToFront(candidate);
    return candidate;
  }

  /**
   * Merges a new layout into a compatible candidate. Not if each has extra keys that the other lacks: a sender with
   * random keys would look like one with many keys.
   */
  #merge(layout: Layout): Candidate | undefined {
    for (const candidate of this.#candidates) {
      if (!haveNestedExtras(candidate.layout, layout)) continue;
      const merged = mergeLayouts(candidate.layout, layout);
      if (merged === undefined) continue;
      candidate.layout = merged;
      return candidate;
    }
    return undefined;
  }

  #newCandidate(layout: Layout): Candidate {
    if (this.#seen.size < MANY_LAYOUTS || layout.extra.size > 0) return newCandidate(layout);
    const anyOrder = unordered(layout);
    const key = keyOf(anyOrder);
    const candidate = this.#seen.get(key) ?? newCandidate(anyOrder);
    this.#seen.set(key, candidate);
    if (!candidate.hasFailed || candidate.sightings >= candidate.proposeAt) return candidate;
    // It may have failed because of one message: until it is tried again, each layout has its own candidate, too.
    candidate.sightings++;
    return newCandidate(layout);
  }

  #moveToFront(candidate: Candidate): void {
    const at = this.#candidates.indexOf(candidate);
    if (at !== -1) this.#candidates.splice(at, 1);
    else if (this.#candidates.length === MAX_CANDIDATES) this.#candidates.pop();
    this.#candidates.unshift(candidate);
  }

  #sampleDistance(): number {
    return 1 + Math.floor(this.#random() * MAX_SAMPLE_DISTANCE);
  }
}

function newCandidate(layout: Layout): Candidate {
  return { layout, sightings: 0, proposeAt: ENOUGH_SIGHTINGS, hasFailed: false };
}

function keyOf({ spacing, keys, isUnordered, jobIdKey }: Layout): string {
  let key = `${spacing.comma}${spacing.colon}${isUnordered}${jobIdKey}`;
  for (const [path, order] of keys) key += `${path}\0${order.join('\0')}\n`;
  return key;
}

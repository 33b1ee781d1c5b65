// Which layouts of one message type are worth a pattern: those that the slow path keeps accepting. Samples the messages
// at random distances, so that no sender can time its messages past the samples. A layout is counted by itself: one that
// comes often is proposed whatever else comes between, as long as fewer than MAX_LAYOUTS others do.

import { LruMap } from '../lru-map.js';
import type { MessageType } from '../messages/message-registry.js';
import type { CompileBudget } from './compile-budget.js';
import { haveNestedExtras, type Layout, layoutOf, mergeLayouts } from './layout.js';

/** Samples are 1 to 31 accepted messages apart, 16 on average: reading a layout costs about as much as the slow path. */
const MAX_SAMPLE_DISTANCE = 31;
/** A layout is worth a pattern when it was sampled so often, or so often again since it last failed. */
const ENOUGH_SIGHTINGS = 4;
/** Sightings of a layout that had its pattern and lost it: where there are more layouts than room, they do not take turns. */
const ENOUGH_TO_RETURN = 8;
/** A layout that failed has to come this many times as often before it is tried again. */
const BACK_OFF = 4;
/** Layouts that are counted; the one that was seen longest ago goes first. */
const MAX_LAYOUTS = 64;
/** Of those, the latest ones, which a new layout can become a part of. */
const MAX_CANDIDATES = 8;

/** A layout that may get a pattern: of one key order, or of several that agree. */
interface Candidate {
  layout: Layout;
  sightings: number;
  /** Sightings at which it is proposed next. */
  proposeAt: number;
  hasFailed: boolean;
}

/** A layout to learn. */
export interface Proposal {
  readonly layout: Layout;
  /** Whether it shall have a pattern of its own: merged with others, it has failed. */
  readonly isAlone: boolean;
}

export class LayoutLearner {
  readonly #type: MessageType;
  readonly #budget: CompileBudget;
  readonly #random: () => number;
  /** By the text of each layout that was seen. Several can have the same candidate. */
  readonly #seen = new LruMap<string, Candidate>(MAX_LAYOUTS);
  /** The latest first. */
  #candidates: Candidate[] = [];
  #proposed: Candidate | undefined;
  #untilSample: number;

  /** @param random numbers from 0 to less than 1 */
  constructor(type: MessageType, budget: CompileBudget, random: () => number = Math.random) {
    this.#type = type;
    this.#budget = budget;
    this.#random = random;
    this.#untilSample = this.#sampleDistance();
  }

  /**
   * Observes a message that the slow path has accepted.
   * @param text gives the message as it was written
   * @returns a layout to learn now from this message, if that is worth it
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
    return candidate.hasFailed ? { layout, isAlone: true } : { layout: candidate.layout, isAlone: false };
  }

  /** Whether the latest proposal has got its pattern. */
  settle(isLearned: boolean): void {
    const candidate = this.#proposed;
    this.#proposed = undefined;
    if (candidate === undefined) return;
    this.#candidates = this.#candidates.filter((other) => other !== candidate);
    if (isLearned) {
      // Its messages no longer come here, unless its pattern is dropped.
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
    const candidate = this.#seen.get(key) ?? this.#merge(layout) ?? newCandidate(layout);
    this.#seen.set(key, candidate);
    // One that has failed takes no other layouts.
    if (!candidate.hasFailed && this.#candidates[0] !== candidate) this.#moveToFront(candidate);
    return candidate;
  }

  /**
   * Makes a new layout a part of a candidate. Not where each has keys that neither the schema nor the other one knows: a
   * sender with another key each time would look like one with many.
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

function keyOf({ spacing, keys }: Layout): string {
  let key = spacing.comma + spacing.colon;
  for (const [path, order] of keys) key += `${path}\0${order.join('\0')}\n`;
  return key;
}

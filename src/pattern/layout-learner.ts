// Which layouts of one message type are worth a pattern: those that the slow path keeps accepting. Looks at
// few of its messages, and compiles ever more rarely, so that a sender who changes his layout all the time
// costs little; everything that it keeps is bounded.

import type { MessageType } from '../protocol/message-registry.js';
import { type Layout, layoutOf, mergeLayouts } from './layout.js';

interface Candidate {
  layout: Layout;
  sightings: number;
}

/** One accepted message in so many is looked at: reading its layout costs about as much as parsing it. */
const SAMPLE = 8;
/** A layout is worth a pattern when it has been seen so often among these. */
const ENOUGH_SIGHTINGS = 4;
const MAX_CANDIDATES = 8;
/** Layouts that are no longer looked at, since no pattern takes their messages. */
const MAX_HOPELESS = 16;

export class LayoutLearner {
  readonly #type: MessageType;
  #candidates: Candidate[] = [];
  readonly #hopeless = new Set<string>();
  /** That of the message that was looked at last. */
  #latest: Layout | undefined;
  #accepted = 0;
  #nextProposal = SAMPLE * ENOUGH_SIGHTINGS;

  constructor(type: MessageType) {
    this.#type = type;
  }

  /**
   * Takes note of a message that the slow path has accepted.
   * @param text gives the message as it was written
   * @returns a layout of the message to learn now, if that is worth it
   */
  note(message: object, text: () => string): Layout | undefined {
    this.#accepted++;
    if (this.#accepted % SAMPLE !== 0) return undefined;
    this.#latest = layoutOf(this.#type.schema, message, text());
    if (this.#latest === undefined || this.#hopeless.has(keyOf(this.#latest))) return undefined;
    const candidate = this.#see(this.#latest);
    if (this.#accepted < this.#nextProposal || candidate.sightings < ENOUGH_SIGHTINGS) return undefined;
    // A pattern is compiled after 32 messages, 64, 128 and so on: what compiling costs stays below that.
    this.#nextProposal = this.#accepted * 2;
    this.#candidates = this.#candidates.filter((other) => other !== candidate);
    return candidate.layout;
  }

  /** The layout just given could not be learned from the message just noted: others shall have their turn. */
  giveUp(): void {
    if (this.#latest === undefined) return;
    const [oldest] = this.#hopeless;
    if (this.#hopeless.size === MAX_HOPELESS && oldest !== undefined) this.#hopeless.delete(oldest);
    this.#hopeless.add(keyOf(this.#latest));
  }

  /** The candidate that has the layout in it, now. */
  #see(layout: Layout): Candidate {
    for (const candidate of this.#candidates) {
      const merged = mergeLayouts(candidate.layout, layout);
      if (merged === undefined) continue;
      candidate.layout = merged;
      candidate.sightings++;
      this.#candidates.sort((a, b) => b.sightings - a.sightings);
      return candidate;
    }
    if (this.#candidates.length === MAX_CANDIDATES) this.#candidates.pop();
    const candidate = { layout, sightings: 1 };
    this.#candidates.push(candidate);
    return candidate;
  }
}

function keyOf({ spacing, keys }: Layout): string {
  return JSON.stringify([spacing, [...keys]]);
}

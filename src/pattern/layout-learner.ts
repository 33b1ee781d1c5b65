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

export class LayoutLearner {
  readonly #type: MessageType;
  #candidates: Candidate[] = [];
  #accepted = 0;
  #nextProposal = SAMPLE * ENOUGH_SIGHTINGS;

  constructor(type: MessageType) {
    this.#type = type;
  }

  /**
   * Takes note of a message that the slow path has accepted.
   * @param text gives the message as it was written
   * @returns a layout to learn now, if there is one
   */
  note(message: object, text: () => string): Layout | undefined {
    this.#accepted++;
    if (this.#accepted % SAMPLE !== 0) return undefined;
    const layout = layoutOf(this.#type.schema, message, text());
    if (layout !== undefined) this.#add(layout);
    if (this.#accepted < this.#nextProposal) return undefined;
    const best = this.#candidates[0];
    if (best === undefined || best.sightings < ENOUGH_SIGHTINGS) return undefined;
    // A pattern is compiled after 32 messages, 64, 128 and so on: what compiling costs stays below that.
    this.#nextProposal = this.#accepted * 2;
    this.#candidates.shift();
    return best.layout;
  }

  #add(layout: Layout): void {
    for (const candidate of this.#candidates) {
      const merged = mergeLayouts(candidate.layout, layout);
      if (merged === undefined) continue;
      candidate.layout = merged;
      candidate.sightings++;
      this.#candidates.sort((a, b) => b.sightings - a.sightings);
      return;
    }
    if (this.#candidates.length === MAX_CANDIDATES) this.#candidates.pop();
    this.#candidates.push({ layout, sightings: 1 });
  }
}

// The messages of a work group that a client has and has not acknowledged. They may be done in any order. The broker is sent the
// position before which all are done, and the ranges of those after it.

import { Fifo } from '../fifo.js';

interface Entry {
  readonly offset: number;
  /** Number of the delivery that it came with. */
  readonly delivery: number;
  /** When it was handed out, in ms. */
  readonly since: number;
  /** `done`: the broker has not been sent that yet; `sent`: it has. */
  state: 'open' | 'done' | 'sent' | 'given back';
}

/** What is done since the last time. */
export interface Progress {
  /** The offset before which all messages are done, if there are more than before. */
  readonly position: number | undefined;
  /** The messages after it: the offset of the first one, and the one after the last one. */
  readonly done: readonly (readonly [number, number])[];
}

export class Unacknowledged {
  /** In the order in which they came. Between two that are open, at most one other is kept. */
  #entries = new Fifo<Entry>();
  readonly #open = new Map<number, Entry>();
  /** Number of entries that are done, and not sent. */
  #unsent = 0;
  #delivery = 0;

  /** A message was handed out. @param now in ms */
  add(offset: number, now: number): void {
    // One that was given back was redelivered.
    this.#close(offset, 'given back');
    const entry: Entry = { offset, delivery: this.#delivery, since: now, state: 'open' };
    this.#entries.push(entry);
    this.#open.set(offset, entry);
  }

  /** The broker has delivered the messages after this together. */
  endDelivery(): void {
    this.#delivery++;
  }

  /** A message is done. */
  settle(offset: number): void {
    this.#close(offset, 'done');
  }

  /** A message was given back. */
  giveBack(offset: number): void {
    this.#close(offset, 'given back');
  }

  /** All messages that were handed out are done. */
  settleAll(): void {
    for (const offset of [...this.#open.keys()]) this.#close(offset, 'done');
  }

  /** Nothing is known any more: the broker delivers them again. */
  clear(): void {
    this.#entries.clear();
    this.#open.clear();
    this.#unsent = 0;
  }

  /** What is to be sent to the broker now. */
  take(): Progress {
    let position: number | undefined;
    let first = this.#entries.peek();
    for (; first !== undefined && first.state !== 'open'; first = this.#entries.peek()) {
      this.#entries.shift();
      if (first.state !== 'done') continue;
      this.#unsent--;
      // Not that of a message that was sent: the broker knows the position by a message that the client still has.
      position = first.offset + 1;
    }
    return { position, done: this.#unsent === 0 ? [] : this.#takeDone() };
  }

  /** Messages that are done after one that is not. Ranges end with a delivery: others may be between two deliveries. */
  #takeDone(): [number, number][] {
    const done: [number, number][] = [];
    const kept = new Fifo<Entry>();
    let previous: Entry | undefined;
    /** One that is not open, after the latest one that is. */
    let closed: Entry | undefined;
    for (const entry of this.#entries) {
      const range = done.at(-1);
      if (entry.state === 'done') {
        const continues = previous?.state === 'done' && previous.delivery === entry.delivery;
        if (continues && range !== undefined) range[1] = entry.offset + 1;
        else done.push([entry.offset, entry.offset + 1]);
      }
      if (entry.state !== 'open')
        closed = closed === undefined || entry.state !== 'given back' ? entry : closed;
      else {
        if (closed !== undefined) kept.push(closed);
        closed = undefined;
        kept.push(entry);
      }
      previous = entry;
    }
    if (closed !== undefined) kept.push(closed);
    this.#entries = kept;
    this.#unsent = 0;
    for (const entry of kept) if (entry.state === 'done') entry.state = 'sent';
    return done;
  }

  /**
   * Messages that are open although a later one is done.
   * @param before only those that were handed out until then, in ms. Default: all.
   */
  skipped(before = Number.POSITIVE_INFINITY): number[] {
    const skipped: number[] = [];
    let open: number[] = [];
    for (const { offset, since, state } of this.#entries) {
      if (state === 'open' && since <= before) open.push(offset);
      if (state !== 'done' && state !== 'sent') continue;
      skipped.push(...open);
      open = [];
    }
    return skipped;
  }

  #close(offset: number, state: 'done' | 'given back'): void {
    const entry = this.#open.get(offset);
    if (entry === undefined) return;
    entry.state = state;
    this.#open.delete(offset);
    if (state === 'done') this.#unsent++;
  }
}

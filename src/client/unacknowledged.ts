// The messages of a work group that a client has and has not acknowledged. They may be done in any order; the broker is told of
// the position before which all are.

import { Fifo } from '../fifo.js';

interface Entry {
  readonly offset: number;
  state: 'open' | 'done' | 'given back';
}

export class Unacknowledged {
  readonly #entries = new Fifo<Entry>();
  readonly #byOffset = new Map<number, Entry>();

  /** A message was handed out. */
  add(offset: number): void {
    // One that was given back has come again.
    this.#close(offset, 'given back');
    const entry: Entry = { offset, state: 'open' };
    this.#entries.push(entry);
    this.#byOffset.set(offset, entry);
  }

  /**
   * A message is done.
   * @returns the offset before which all messages are done, if there are more than before
   */
  settle(offset: number): number | undefined {
    this.#close(offset, 'done');
    return this.#advance();
  }

  /** A message was given back. @returns as `settle` */
  giveBack(offset: number): number | undefined {
    this.#close(offset, 'given back');
    return this.#advance();
  }

  /** All messages that were handed out are done. @returns as `settle` */
  settleAll(): number | undefined {
    for (const offset of [...this.#byOffset.keys()]) this.#close(offset, 'done');
    return this.#advance();
  }

  /** Nothing is known any more: the broker delivers them again. */
  clear(): void {
    this.#entries.clear();
    this.#byOffset.clear();
  }

  #close(offset: number, state: 'done' | 'given back'): void {
    const entry = this.#byOffset.get(offset);
    if (entry === undefined) return;
    entry.state = state;
    this.#byOffset.delete(offset);
  }

  #advance(): number | undefined {
    let position: number | undefined;
    let first = this.#entries.peek();
    for (; first !== undefined && first.state !== 'open'; first = this.#entries.peek()) {
      this.#entries.shift();
      if (first.state === 'done') position = first.offset + 1;
    }
    return position;
  }
}

// Numbered messages, and ledgers that check which of them a subscriber has received.

import { line, VALID } from './messages.js';

/** The message of a producer with this number, as a line. */
export function numbered(producer: number, sequence: number): string {
  const data = { ...VALID.job_progress.data, processed: sequence, total: undefined };
  return line({ ...VALID.job_progress, jobId: `producer-${producer}`, data });
}

/** A producer's messages with the numbers `from` (inclusive) to `to` (exclusive). */
export function numberedBlock(producer: number, from: number, to: number): string {
  // They differ in their number alone.
  const [before, after] = numbered(producer, 0).split('"processed":0');
  let block = '';
  for (let sequence = from; sequence < to; sequence++) block += `${before}"processed":${sequence}${after}`;
  return block;
}

/** Searching for the shortest match halves the time of a test that reads many messages. */
const NUMBERED = /"jobId":"producer-(\d+)".*?"processed":(\d+)/;

/** The messages that one subscriber has received from each producer. */
export class Ledger {
  readonly #received = new Map<number, number[]>();
  #total = 0;
  #partial = '';

  /** Number of messages received from all producers. */
  get total(): number {
    return this.#total;
  }

  /** Reads received bytes; messages may be split anywhere. */
  readBytes(bytes: Buffer | string): void {
    const lines = (this.#partial + bytes).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const text of lines) this.readLine(text);
  }

  /** Reads one line. Ignores lines that are not numbered messages. */
  readLine(text: string): void {
    const match = NUMBERED.exec(text);
    if (match === null) return;
    const producer = Number(match[1]);
    const numbers = this.#received.get(producer);
    if (numbers === undefined) this.#received.set(producer, [Number(match[2])]);
    else numbers.push(Number(match[2]));
    this.#total++;
  }

  /** The numbers received from one producer, in order of arrival. */
  of(producer: number): readonly number[] {
    return this.#received.get(producer) ?? [];
  }

  /** Checks that a producer's first `count` messages were received once and in order. Returns the faults found. */
  faults(producer: number, count: number): string[] {
    const numbers = this.of(producer);
    const faults: string[] = [];
    if (numbers.length !== count) faults.push(`producer ${producer}: ${numbers.length} of ${count}`);
    const wrong = numbers.findIndex((number, index) => number !== index);
    if (wrong !== -1) faults.push(`producer ${producer}: ${numbers[wrong]} in the place of ${wrong}`);
    return faults;
  }
}

/** A ledger of the lines that a peer has received so far. */
export function ledgerOf({ lines }: { readonly lines: readonly string[] }): Ledger {
  const ledger = new Ledger();
  for (const text of lines) ledger.readLine(text);
  return ledger;
}

/** A ledger for endless streams: keeps only one number per producer, and the faults. */
export class StreamLedger {
  readonly faults: string[] = [];
  readonly #next = new Map<number, number>();

  /** Reads one line. Returns false if it is not a numbered message. */
  readLine(text: string): boolean {
    const match = NUMBERED.exec(text);
    if (match === null) return false;
    const producer = Number(match[1]);
    const expected = this.#next.get(producer) ?? 0;
    const number = Number(match[2]);
    if (number !== expected) this.faults.push(`producer ${producer}: ${number} in the place of ${expected}`);
    this.#next.set(producer, number + 1);
    return true;
  }

  /** Whether at least `count` messages of a producer were received. */
  has(producer: number, count: number): boolean {
    return (this.#next.get(producer) ?? 0) >= count;
  }

  /** Called when a producer has stopped after `count` messages: records a fault if any is missing, and forgets it. */
  finish(producer: number, count: number): void {
    const received = this.#next.get(producer) ?? 0;
    if (received !== count) this.faults.push(`producer ${producer}: ${received} of ${count}`);
    this.#next.delete(producer);
  }
}

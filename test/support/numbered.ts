// Messages that can be told apart, and the book that is kept of them: who has sent which, who has got which.

import { line, VALID } from './messages.js';

/** The message of a producer with this number, as a line. */
export function numbered(producer: number, sequence: number): string {
  const data = { ...VALID.job_progress.data, processed: sequence, total: undefined };
  return line({ ...VALID.job_progress, jobId: `producer-${producer}`, data });
}

/** A producer's messages from one number up to another, which is not among them. */
export function numberedBlock(producer: number, from: number, to: number): string {
  let block = '';
  for (let sequence = from; sequence < to; sequence++) block += numbered(producer, sequence);
  return block;
}

const NUMBERED = /"jobId":"producer-(\d+)".*"processed":(\d+)/;

/** What one subscriber has received of each producer. */
export class Ledger {
  readonly #received = new Map<number, number[]>();
  #total = 0;
  #partial = '';

  /** Messages received, of all producers. */
  get total(): number {
    return this.#total;
  }

  /** Takes in bytes as they come; messages may be cut anywhere. */
  readBytes(bytes: Buffer | string): void {
    const lines = (this.#partial + bytes).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const text of lines) this.readLine(text);
  }

  /** Takes in one line; those that are no numbered messages are passed over. */
  readLine(text: string): void {
    const match = NUMBERED.exec(text);
    if (match === null) return;
    const producer = Number(match[1]);
    const numbers = this.#received.get(producer);
    if (numbers === undefined) this.#received.set(producer, [Number(match[2])]);
    else numbers.push(Number(match[2]));
    this.#total++;
  }

  /** The numbers received of one producer, in the order they came. */
  of(producer: number): readonly number[] {
    return this.#received.get(producer) ?? [];
  }

  /** What is wrong with a producer's messages, where its first `count` should be here once and in order. */
  faults(producer: number, count: number): string[] {
    const numbers = this.of(producer);
    const faults: string[] = [];
    if (numbers.length !== count) faults.push(`producer ${producer}: ${numbers.length} of ${count}`);
    const wrong = numbers.findIndex((number, index) => number !== index);
    if (wrong !== -1) faults.push(`producer ${producer}: ${numbers[wrong]} in the place of ${wrong}`);
    return faults;
  }
}

/** What a peer has received so far. */
export function ledgerOf({ lines }: { readonly lines: readonly string[] }): Ledger {
  const ledger = new Ledger();
  for (const text of lines) ledger.readLine(text);
  return ledger;
}

/** As a ledger, for streams without end: keeps one number a producer, and what went wrong. */
export class StreamLedger {
  readonly faults: string[] = [];
  readonly #next = new Map<number, number>();

  /** Takes in one line. False when it is no numbered message. */
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

  /** Whether so many messages of a producer are here. */
  has(producer: number, count: number): boolean {
    return (this.#next.get(producer) ?? 0) >= count;
  }

  /** A producer has sent so many and sends no more: notes whether they are all here, and forgets it. */
  finish(producer: number, count: number): void {
    const received = this.#next.get(producer) ?? 0;
    if (received !== count) this.faults.push(`producer ${producer}: ${received} of ${count}`);
    this.#next.delete(producer);
  }
}

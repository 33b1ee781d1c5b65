// Selects messages from the durable log for a subscription, without parsing them.

import { type MessageRun, type RunSender, Selection, WITH_META } from '../delivery/frame-run.js';
import { Gatherer } from '../delivery/gatherer.js';
import type { Piece } from '../delivery/outbox.js';
import { FRAME, JOB } from '../dispatch/verdict.js';
import { SEPARATE_COPIES } from '../memory/copy-pool.js';
import type { JobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { Filter } from '../routing/filter.js';
import { INDEX, RecordKind, readIndex } from './format.js';
import type { LoggedRun } from './log-reader.js';

/** Shared, since there may be thousands of subscriptions. */
const gatherer = new Gatherer(SEPARATE_COPIES);

export class StoredMessageFilter {
  readonly #registry: MessageRegistry;
  readonly #filter: Filter;
  readonly #delimiter: number;
  /** Messages of a run that match, for reuse. */
  readonly #selection = new Selection();
  /** Whether types match, by their index in a segment. Segments that were written by one process have the same types. */
  #types: readonly string[] | undefined;
  #matchesType: readonly boolean[] = [];

  constructor(registry: MessageRegistry, filter: Filter, delimiter: number) {
    this.#registry = registry;
    this.#filter = filter;
    this.#delimiter = delimiter;
  }

  /**
   * The matching messages of a run, each followed by the delimiter.
   * @param from offset of the first message to consider
   * @param to offset of the first message after them. Default: all.
   */
  select(run: LoggedRun, from: number, to: number = Number.POSITIVE_INFINITY): Piece | undefined {
    const { header, body, slab } = run;
    const isWithin = header.first >= from && header.first + header.count <= to;
    const { matchesAll, mark } = this.#filter;
    if (!this.#matchesSender(run)) return undefined;
    if (matchesAll && mark !== WITH_META && isWithin) return { bytes: body, slab, messages: header.count };
    this.#selection.clear();
    const count = this.visit(run, from, to, (at) => this.#selection.add(at, mark));
    if (count === 0) return undefined;
    // Copied, since the rest of the slab may be much larger.
    const piece = gatherer.gather(new StoredRun(run, this.#delimiter), this.#selection, count);
    gatherer.endTurn();
    return piece;
  }

  /**
   * Visits the matching messages of a run, in order.
   * @param from offset of the first message to consider
   * @param to offset of the first message after them
   * @param visit called with the index of a message in the run, and where it is in the body, without its delimiter
   * @returns how many there are
   */
  visit(
    run: LoggedRun,
    from: number,
    to: number,
    visit: (at: number, start: number, end: number, typeIndex: number) => void,
  ): number {
    if (!this.#matchesSender(run)) return 0;
    const { header } = run;
    const words = readIndex(run.index);
    const base = words[INDEX.POSITION_BASE] ?? 0;
    const last = Math.min(header.count, to - header.first);
    let count = 0;
    for (let at = Math.max(0, from - header.first); at < last; at++) {
      if (!this.#matches(run, words, at)) continue;
      count++;
      const [start, end] = [frameWord(words, at, FRAME.START), frameWord(words, at, FRAME.END)];
      visit(at, start - base, end - base, frameWord(words, at, FRAME.TYPE));
    }
    return count;
  }

  #matchesSender({ sender }: LoggedRun): boolean {
    return this.#filter.matchesCrawler(sender?.crawlerId ?? undefined);
  }

  #matches(run: LoggedRun, words: Uint32Array, at: number): boolean {
    const { types } = run;
    const typeIndex = frameWord(words, at, FRAME.TYPE);
    if (types !== this.#types) this.#prepare(types);
    const matches = isUnknownType(run, typeIndex)
      ? this.#filter.matchesType(typeIndex, typeOf(run.body))
      : this.#matchesType[typeIndex] === true;
    if (!matches || this.#filter.jobs === undefined) return matches;
    const job = jobAt(run, words, at);
    return job !== -1 && this.#filter.matchesJob(words[job + JOB.LOW] ?? 0, words[job + JOB.HIGH] ?? 0);
  }

  #prepare(types: readonly string[]): void {
    this.#types = types;
    this.#matchesType = types.map((name) => {
      const type = this.#registry.get(name);
      return this.#filter.matchesType(type?.index ?? 0, type === undefined ? name : undefined);
    });
  }
}

/** A run as its messages are delivered. */
class StoredRun implements MessageRun {
  readonly sender: RunSender;
  readonly memory: Buffer;
  readonly count: number;
  readonly isUndelimited = false;
  readonly firstSequence: number;
  readonly firstOffset: number;
  readonly delimiter: number;
  readonly #words: Uint32Array;
  readonly #base: number;

  constructor({ header, body, index, sender }: LoggedRun, delimiter: number) {
    this.sender = { id: sender?.id ?? '', crawlerId: sender?.crawlerId ?? undefined };
    this.memory = body;
    this.count = header.count;
    this.firstSequence = header.sequence;
    this.firstOffset = header.first;
    this.delimiter = delimiter;
    this.#words = readIndex(index);
    this.#base = this.#words[INDEX.POSITION_BASE] ?? 0;
  }

  start(index: number): number {
    return frameWord(this.#words, index, FRAME.START) - this.#base;
  }

  end(index: number): number {
    return frameWord(this.#words, index, FRAME.END) - this.#base;
  }
}

/** Returns the key of the job of a message, by its index in the run; `undefined` if it has none. */
export function jobsOf(run: LoggedRun): (at: number) => JobKey | undefined {
  const words = readIndex(run.index);
  return (at) => {
    const job = jobAt(run, words, at);
    return job === -1 ? undefined : { low: words[job + JOB.LOW] ?? 0, high: words[job + JOB.HIGH] ?? 0 };
  };
}

/** Where the job of a message is in the words of the index; -1 if it has none. */
function jobAt({ header }: LoggedRun, words: Uint32Array, at: number): number {
  const row = frameWord(words, at, FRAME.JOB);
  if (row === 0) return -1;
  return INDEX.FRAMES + header.count * FRAME.SIZE + (row - 1 - (words[INDEX.JOB_BASE] ?? 0)) * JOB.SIZE;
}

function frameWord(words: Uint32Array, at: number, field: number): number {
  return words[INDEX.FRAMES + at * FRAME.SIZE + field] ?? 0;
}

/** The name of a message's type. @param typeIndex its index in the run */
export function typeNameOf(run: LoggedRun, typeIndex: number): string {
  return isUnknownType(run, typeIndex) ? typeOf(run.body) : (run.types[typeIndex] ?? '');
}

/** Whether the type of a record's only message had no schema. Rare: only with `validation: 'report'`. */
function isUnknownType({ header }: LoggedRun, typeIndex: number): boolean {
  return header.kind === RecordKind.INVALID_RUN && typeIndex === 0;
}

/** The type of the only message of a record. */
function typeOf(message: Buffer): string {
  return (JSON.parse(message.toString()) as { type: string }).type;
}

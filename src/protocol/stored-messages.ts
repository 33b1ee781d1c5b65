// Selects messages from the durable log for a subscription, without parsing them.

import { metaPrefix, metaSequence, WITH_META } from '../delivery/frame-run.js';
import { FRAME, JOB } from '../dispatch/verdict.js';
import { INDEX, RecordKind, readIndex } from '../log/format.js';
import type { LoggedRun } from '../log/log-reader.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { Filter } from '../routing/filter.js';

const CLOSE_BRACE = Buffer.from('}');

/** Messages to deliver, each followed by the delimiter. */
export interface StoredMessages {
  readonly bytes: Buffer;
  readonly count: number;
}

export class StoredMessageFilter {
  readonly #registry: MessageRegistry;
  readonly #filter: Filter;
  readonly #delimiter: Buffer;
  /** Whether types match, by their index in a segment. Segments that were written by one process have the same types. */
  #types: readonly string[] | undefined;
  #matchesType: readonly boolean[] = [];

  constructor(registry: MessageRegistry, filter: Filter, delimiter: number) {
    this.#registry = registry;
    this.#filter = filter;
    this.#delimiter = Buffer.of(delimiter);
  }

  /**
   * The matching messages of a run.
   * @param from offset of the first message to consider
   * @param to offset of the first message after them. Default: all.
   */
  select(run: LoggedRun, from: number, to: number = Number.POSITIVE_INFINITY): StoredMessages | undefined {
    const { header, body, source } = run;
    const isWithin = header.first >= from && header.first + header.count <= to;
    const { matchesAll, mark } = this.#filter;
    if (!this.#filter.matchesCrawler(source?.crawlerId ?? undefined)) return undefined;
    if (matchesAll && mark !== WITH_META && isWithin) return { bytes: body, count: header.count };
    const parts: Buffer[] = [];
    let count = 0;
    const words = readIndex(run.index);
    const base = words[INDEX.POSITION_BASE] ?? 0;
    const end = Math.min(header.count, to - header.first);
    for (let at = Math.max(0, from - header.first); at < end; at++) {
      if (!this.#matches(run, words, at)) continue;
      count++;
      const start = frameWord(words, at, FRAME.START) - base;
      const messageEnd = frameWord(words, at, FRAME.END) - base;
      if (mark === WITH_META) parts.push(...this.#withMeta(run, at, body.subarray(start, messageEnd)));
      else parts.push(body.subarray(start, messageEnd + 1));
    }
    return count === 0 ? undefined : { bytes: joined(parts), count };
  }

  #matches(run: LoggedRun, words: Uint32Array, at: number): boolean {
    const { header, types } = run;
    const typeIndex = frameWord(words, at, FRAME.TYPE);
    if (types !== this.#types) this.#prepare(types);
    // Rare: only with `validation: 'report'`.
    const isUnknown = header.kind === RecordKind.INVALID_RUN && typeIndex === 0;
    const matches = isUnknown
      ? this.#filter.matchesType(typeIndex, typeOf(run.body))
      : this.#matchesType[typeIndex] === true;
    if (!matches || this.#filter.jobs === undefined) return matches;
    const row = frameWord(words, at, FRAME.JOB);
    if (row === 0) return false;
    const job =
      INDEX.FRAMES + header.count * FRAME.SIZE + (row - 1 - (words[INDEX.JOB_BASE] ?? 0)) * JOB.SIZE;
    return this.#filter.matchesJob(words[job + JOB.LOW] ?? 0, words[job + JOB.HIGH] ?? 0);
  }

  #prepare(types: readonly string[]): void {
    this.#types = types;
    this.#matchesType = types.map((name) => {
      const type = this.#registry.get(name);
      return this.#filter.matchesType(type?.index ?? 0, type === undefined ? name : undefined);
    });
  }

  #withMeta({ header, source }: LoggedRun, at: number, message: Buffer): Buffer[] {
    const { id = '', crawlerId } = source ?? {};
    const prefix = metaPrefix({ id, crawlerId: crawlerId ?? undefined });
    const position = metaSequence(header.sequence + at, header.first + at);
    return [Buffer.from(prefix + position), message, CLOSE_BRACE, this.#delimiter];
  }
}

function frameWord(words: Uint32Array, at: number, field: number): number {
  return words[INDEX.FRAMES + at * FRAME.SIZE + field] ?? 0;
}

function joined(parts: readonly Buffer[]): Buffer {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts);
}

/** The type of the only message of a record. */
function typeOf(message: Buffer): string {
  return (JSON.parse(message.toString()) as { type: string }).type;
}

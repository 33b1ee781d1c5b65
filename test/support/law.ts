// Compares the two validation paths: a message accepted by a pattern must also be accepted by the slow path, with the
// same type and job id.

import { MessageParser, MessageRegistry, MessageValidator, type ValidatorOptions } from 'sluice';
import { expect } from 'vitest';
import type * as z from 'zod';
import type { PatternSet } from '#src/pattern/pattern-set.js';
import { createPatterns, eachMatch, onlyTypes } from './patterns.js';

export class BothPaths {
  readonly patterns: PatternSet;
  readonly #registry: MessageRegistry;
  readonly #slow: MessageParser;
  readonly #fast: MessageParser;

  /** @param schemas by type; if given, only these types and heartbeats have patterns. Default: the protocol's own */
  constructor(schemas?: Readonly<Record<string, z.ZodType>>, options: ValidatorOptions = {}) {
    this.#registry = new MessageRegistry(schemas && { schemas });
    const validator = new MessageValidator({ ...options, registry: this.#registry });
    const types = schemas
      ? onlyTypes(this.#registry, [...Object.keys(schemas), 'heartbeat'])
      : this.#registry;
    this.patterns = createPatterns(types, { isTimely: validator.isTimely });
    this.#slow = new MessageParser({ validator });
    this.#fast = new MessageParser({ validator, patterns: this.patterns });
  }

  /** Fails if the paths differ. Returns the number of messages that patterns matched, and whether all are valid. */
  check(bytes: Buffer): { matched: number; isValid: boolean } {
    const bySlow = this.#outcomes(this.#slow, bytes);
    const byFast = this.#outcomes(this.#fast, bytes);
    const text = bytes.toString('latin1');
    if (bySlow.all.join('\n') !== byFast.all.join('\n')) {
      expect({ text, all: byFast.all }).toEqual({ text, all: bySlow.all });
    }
    return { matched: byFast.matched, isValid: bySlow.rejected === 0 };
  }

  /** The type, job and offsets of each accepted message, and the error code, offsets and line of each rejected one. */
  #outcomes(parser: MessageParser, bytes: Buffer): { all: string[]; matched: number; rejected: number } {
    const all: string[] = [];
    let [matched, rejected] = [0, 0];
    parser.parse(bytes, 0, bytes.length, {
      wantsIssues: false,
      onMessage: (type, value, start, end) =>
        all.push(`${type.name} ${parser.jobOf(value).low} ${start}-${end}`),
      onRejection: ({ code }, start, end, line) => {
        rejected++;
        all.push(`${code} ${start}-${end} line ${line}`);
      },
      ...(parser === this.#fast && {
        onMatches: eachMatch(({ typeIndex, job, start, end }) => {
          matched++;
          all.push(`${this.#registry.types[typeIndex]?.name} ${job.low} ${start}-${end}`);
        }),
      }),
    });
    return { all, matched, rejected };
  }
}

// The two paths of validation side by side: what a pattern accepts, the slow path must accept too, with the same
// type and the same job id.

import { MessageParser, MessageRegistry, MessageValidator, type ValidatorOptions } from 'sluice';
import { expect } from 'vitest';
import type * as z from 'zod';
import type { PatternSet } from '#src/pattern/pattern-set.js';
import { createPatterns, eachMatch } from './patterns.js';

export class BothPaths {
  readonly patterns: PatternSet;
  readonly #registry: MessageRegistry;
  readonly #slow: MessageParser;
  readonly #fast: MessageParser;

  /** @param schemas beside the protocol's own, by type */
  constructor(schemas: Readonly<Record<string, z.ZodType>> = {}, options: ValidatorOptions = {}) {
    this.#registry = new MessageRegistry({ schemas });
    const validator = new MessageValidator({ ...options, registry: this.#registry });
    this.patterns = createPatterns(this.#registry, { isTimely: validator.isTimely });
    this.#slow = new MessageParser({ validator });
    this.#fast = new MessageParser({ validator, patterns: this.patterns });
  }

  /** Fails where the paths differ. Returns how many messages a pattern took, and whether the slow path took all. */
  check(bytes: Buffer): { matched: number; isValid: boolean } {
    const bySlow = this.#outcomes(this.#slow, bytes);
    const byFast = this.#outcomes(this.#fast, bytes);
    const text = bytes.toString('latin1');
    if (bySlow.all.join('\n') !== byFast.all.join('\n')) {
      expect({ text, all: byFast.all }).toEqual({ text, all: bySlow.all });
    }
    return { matched: byFast.matched, isValid: bySlow.rejected === 0 };
  }

  /** Types with jobs and places, or codes. */
  #outcomes(parser: MessageParser, bytes: Buffer): { all: string[]; matched: number; rejected: number } {
    const all: string[] = [];
    let [matched, rejected] = [0, 0];
    parser.parse(bytes, 0, bytes.length, {
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

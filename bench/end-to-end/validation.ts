// Validation cost of the mix in one thread: by patterns, by the slow path, and by JSON.parse and zod as in a plain
// server.

import { MessageRegistry } from '../../src/messages/message-registry.js';
import { PatternSet } from '../../src/pattern/pattern-set.js';
import { MessageParser } from '../../src/protocol/message-parser.js';
import { blockOf } from './content.js';
import { messageSchema } from './plain-schema.js';

/** In ns per message. */
export interface ValidationCost {
  patterns: number;
  slowPath: number;
  parseAndZod: number;
}

/** Duration of a measurement, in ms. */
const DURATION = 1000;

export function measureValidation(scale: number): ValidationCost {
  const block = blockOf({}, 0, 1);
  const bytes = Buffer.from(block.map(({ line }) => `${line}\n`).join(''));
  const byPattern = new MessageParser({ patterns: PatternSet.create(MessageRegistry.builtin()) });
  const bySchema = new MessageParser();
  const sink = { onMatches() {}, onMessage() {}, onRejection() {} };
  const variants: [keyof ValidationCost, () => void][] = [
    ['patterns', () => byPattern.parse(bytes, 0, bytes.length, sink)],
    ['slowPath', () => bySchema.parse(bytes, 0, bytes.length, sink)],
    [
      'parseAndZod',
      () => {
        for (const line of bytes.toString().split('\n')) {
          if (line !== '' && !messageSchema.safeParse(JSON.parse(line)).success) throw new Error('invalid');
        }
      },
    ],
  ];
  const cost: ValidationCost = { patterns: 0, slowPath: 0, parseAndZod: 0 };
  for (const [name, run] of variants) cost[name] = (medianTime(run, DURATION * scale) / block.length) * 1e6;
  return cost;
}

/** @returns the median duration in ms. The first fifth of the time is warm-up. */
function medianTime(run: () => void, duration: number): number {
  const times: number[] = [];
  const startedAt = performance.now();
  let now = startedAt;
  while (now - startedAt < duration || times.length === 0) {
    const before = now;
    run();
    now = performance.now();
    if (before - startedAt >= duration / 5) times.push(now - before);
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}

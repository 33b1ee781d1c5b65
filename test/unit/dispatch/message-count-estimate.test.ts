import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { estimateMessages } from '#src/dispatch/message-count-estimate.js';
import { Traffic } from '#src/traffic/traffic.js';

const NEWLINE = 0x0a;

/** The mean of many estimates: each by itself is a guess. */
function meanEstimate(bytes: Buffer): number {
  const ROUNDS = 2000;
  let sum = 0;
  for (let round = 0; round < ROUNDS; round++) sum += estimateMessages(bytes, 0, bytes.length, NEWLINE);
  return sum / ROUNDS;
}

/** The golden ratio's fractional part: its multiples, less their whole parts, cover 0 to 1 evenly. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

describe('the estimate of messages', () => {
  // Looks at chance places now and then find a rare end too often for any bound.
  beforeEach(() => {
    let draws = 0;
    vi.spyOn(Math, 'random').mockImplementation(() => (++draws * GOLDEN) % 1);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const traffic = new Traffic({ seed: 1 }).block(1000).toString();
  test.each([
    ['crawler traffic', traffic, 1000],
    ['crawler traffic without newlines', traffic.replaceAll('\n', ''), 1000],
    ['the shortest objects', '{}'.repeat(50_000), 50_000],
    ['with spaces', '{} '.repeat(50_000), 50_000],
    ['the shortest lines', '1\n'.repeat(50_000), 50_000],
    ['the shortest arrays', '[]'.repeat(50_000), 50_000],
    ['brackets in a text', `{"a":"${'[x](y) [z] '.repeat(5000)}"}\n`, 1],
    ['objects and newlines', '{}\n'.repeat(50_000), 50_000],
    ['many objects in one', `{"a":[${'{},'.repeat(50_000)}{}]}\n`, 1],
  ])('%s: is right on average', (_, text, messages) => {
    const estimate = meanEstimate(Buffer.from(text));
    expect(estimate).toBeGreaterThan(messages * 0.8);
    expect(estimate).toBeLessThan(messages * 1.25);
  });

  test('is one for next to nothing', () => {
    expect(estimateMessages(Buffer.from('{}'), 0, 2, NEWLINE)).toBe(1);
  });
});

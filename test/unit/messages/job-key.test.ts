import { describe, expect, test } from 'vitest';
import { jobKey, NO_JOB, NO_SEED, randomJobSeed } from '#src/messages/job-key.js';

const bitsOf = ({ low, high }: { low: number; high: number }) => (BigInt(high) << 32n) | BigInt(low);

describe('the key of a job id', () => {
  test('is never that of no job, and both halves are numbers of 32 bits', () => {
    for (let index = 0; index < 1000; index++) {
      const { low, high } = jobKey(`job-${index}`, randomJobSeed());
      expect(high % 2).toBe(1);
      for (const half of [low, high]) expect(half).toBe(half >>> 0);
    }
    expect(jobKey('', NO_SEED)).not.toEqual(NO_JOB);
  });

  test('depends on every character, their order and their number', () => {
    const ids = [
      '',
      '\0',
      '\0\0',
      '\0\0\0\0',
      'a',
      'a\0',
      '\0a',
      'ab',
      'ba',
      'abcd',
      'abcd\0',
      'abce',
      'é',
      '\u00e9\0',
    ];
    // Strings that are the same in UTF-8 or in their lower bytes, but are not the same.
    ids.push('\ud800', '\ud801', '\u0161', 'a\u0100', '\u0100a', '\u6261', 'ab\u0080');
    expect(new Set(ids.map((id) => bitsOf(jobKey(id, NO_SEED)))).size).toBe(ids.length);
  });

  test('differs for ids that count up, in every place of a UUID and in every length', () => {
    const [numbers, lengths] = [100_000, 800];
    const keys = new BigUint64Array(3 * numbers + lengths);
    const halves = new Uint32Array(keys.buffer);
    let count = 0;
    const add = (id: string) => {
      const { low, high } = jobKey(id, NO_SEED);
      halves.set([low, high], 2 * count++);
    };
    for (let index = 0; index < numbers; index++) {
      add(`${index}`);
      add(`job-${String(index).padStart(12, '0')}`);
      add(`9d4c${(index * 2654435761).toString(16).padStart(12, '0')}-4b7a-11ee`);
    }
    for (let index = 0; index < lengths; index++) add('x'.repeat(200 + index));
    expect(count).toBe(keys.length);
    // Equal keys are neighbours then. Much faster than a set.
    keys.sort();
    expect(keys.findIndex((key, index) => index > 0 && key === keys[index - 1])).toBe(-1);
  });

  test('changes in half of its bits with each bit of the id, whatever the seed', () => {
    for (const seed of [NO_SEED, randomJobSeed(), randomJobSeed()] as const) {
      for (const text of ['a', 'job-1234', '0123456789abcdef0123456789abcdef']) {
        for (let place = 0; place < text.length; place++) {
          let changed = 0;
          for (let bit = 0; bit < 7; bit++) {
            const code = String.fromCharCode(text.charCodeAt(place) ^ (1 << bit));
            const other = text.slice(0, place) + code + text.slice(place + 1);
            const difference = bitsOf(jobKey(text, seed)) ^ bitsOf(jobKey(other, seed));
            changed += difference.toString(2).replaceAll('0', '').length;
          }
          // Of 7 times 63 bits, half with a standard deviation of 10.5.
          expect(changed).toBeGreaterThan(220 - 74);
          expect(changed).toBeLessThan(220 + 74);
        }
      }
    }
  });

  test('spreads ids evenly over hash slots', () => {
    const slots = new Uint32Array(1024);
    for (let index = 0; index < 102_400; index++) {
      const slot = jobKey(`project-${index}/job`, NO_SEED).low % slots.length;
      slots[slot] = (slots[slot] ?? 0) + 1;
    }
    // 100 each, with a standard deviation of 10.
    expect(Math.max(...slots)).toBeLessThan(160);
    expect(Math.min(...slots)).toBeGreaterThan(50);
  });
});

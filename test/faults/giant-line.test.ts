import { describe, expect, test } from 'vitest';
import { growthFromGiant, MAX_MESSAGE_SIZE } from '../support/giant.js';

const LENGTH = 128 * 1024 * 1024;

describe('a line of 128 MiB', () => {
  test.each([
    ['auto', true],
    ['auto', false],
    ['ndjson', true],
    ['ndjson', false],
  ] as const)(
    'takes at most 2 × maxMessageSize of memory: framing %s, ended %s',
    async (framing, isEnded) => {
      const growth = await growthFromGiant({ length: LENGTH, isEnded, framing });
      expect(growth).toBeLessThanOrEqual(2 * MAX_MESSAGE_SIZE);
      // The part of it that was held while it might still have been a message.
      expect(growth).toBeGreaterThan(MAX_MESSAGE_SIZE / 4);
    },
  );
});

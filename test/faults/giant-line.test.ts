import { describe, expect, test } from 'vitest';
import { growthFromGiant, MAX_MESSAGE_SIZE } from '../support/giant.js';

const LENGTH = 64 * 1024 * 1024;

describe('a line of 64 MiB', () => {
  test.each(['auto', 'ndjson'] as const)(
    'takes at most 2 × maxMessageSize of memory, before its end and after it: framing %s',
    async (framing) => {
      const { open, ended } = await growthFromGiant({ length: LENGTH, framing });
      for (const growth of [open, ended]) {
        expect(growth).toBeLessThanOrEqual(2 * MAX_MESSAGE_SIZE);
        // The part of it that was held while it might still have been a message.
        expect(growth).toBeGreaterThan(MAX_MESSAGE_SIZE / 4);
      }
    },
  );
});

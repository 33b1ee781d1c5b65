import { expect, test } from 'vitest';
import { growthFromGiant, MAX_MESSAGE_SIZE } from '../support/giant.js';
import { scaled } from './duration.js';

const GiB = 1024 ** 3;

test('a line of 1 GiB, or less in a short soak, takes at most 2 × maxMessageSize, before its end and after it', async () => {
  const { open, ended } = await growthFromGiant({ length: scaled(GiB, GiB / 4), framing: 'auto' });
  for (const [moment, growth] of Object.entries({ open, ended })) {
    console.log(`${moment}: ${(growth / MAX_MESSAGE_SIZE).toFixed(2)} × maxMessageSize`);
    expect(growth).toBeLessThanOrEqual(2 * MAX_MESSAGE_SIZE);
  }
});

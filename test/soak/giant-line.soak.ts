import { expect, test } from 'vitest';
import { growthFromGiant, MAX_MESSAGE_SIZE } from '../support/giant.js';

const GiB = 1024 ** 3;

test.each([true, false])('a line of 1 GiB, ended %s, takes at most 2 × maxMessageSize', async (isEnded) => {
  const growth = await growthFromGiant({ length: GiB, isEnded, framing: 'auto' });
  console.log(`ended ${isEnded}: ${(growth / MAX_MESSAGE_SIZE).toFixed(2)} × maxMessageSize`);
  expect(growth).toBeLessThanOrEqual(2 * MAX_MESSAGE_SIZE);
});

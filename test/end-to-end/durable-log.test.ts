import { test } from 'vitest';
import { killUnderLoad } from '../support/durable-kills.js';

test('what was confirmed is there after 2 kills, once and in order, and no cursor skips a message', async () => {
  await killUnderLoad(2);
});

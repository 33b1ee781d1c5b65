import { test } from 'vitest';
import { killGroupUnderLoad } from '../support/group-kills.js';

test('a work group handles every message, although its members and the broker are killed', async () => {
  await killGroupUnderLoad(2);
});

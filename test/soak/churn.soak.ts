import { test } from 'vitest';
import { expectNoTraceOf } from '../support/churn.js';
import { scaled } from './duration.js';

const VISITS = 10_000;
/** Connections at a time. */
const BATCH = 50;

test('connects and disconnects leave no descriptor open, and no memory behind', async () => {
  await expectNoTraceOf(BATCH * scaled(VISITS / BATCH));
});

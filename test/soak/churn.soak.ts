import { test } from 'vitest';
import { expectNoTraceOf } from '../support/churn.js';
import { SOAK_DURATION } from './duration.js';

/** 10,000 in a soak of 5 minutes or more; fewer in a shorter one. */
const VISITS = 10_000;
const FULL_SOAK = 5 * 60_000;

test('connects and disconnects leave no descriptor open, and no memory behind', async () => {
  const visits = Math.ceil((VISITS / 50) * Math.min(1, SOAK_DURATION / FULL_SOAK)) * 50;
  await expectNoTraceOf(visits);
});

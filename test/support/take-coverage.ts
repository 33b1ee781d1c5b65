// For `npm run coverage`: Vitest terminates its processes before they write their coverage, so each test file writes it
// when done.
//
// The threads and processes that tests start write their own, which takes each of them up to 0.2 s of CPU time. Only
// those of unit tests do so: the code that the others run is mostly the same.

import { takeCoverage } from 'node:v8';
import { afterAll, beforeAll, expect } from 'vitest';

const folder = process.env.NODE_V8_COVERAGE ?? '';

beforeAll(() => {
  if (!expect.getState().testPath?.includes('/test/unit/')) delete process.env.NODE_V8_COVERAGE;
});

afterAll(() => {
  process.env.NODE_V8_COVERAGE = folder;
  takeCoverage();
});

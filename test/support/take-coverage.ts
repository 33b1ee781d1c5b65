// For `npm run coverage`: Vitest terminates its processes before they write their coverage, so each writes it when it is
// told to stop.
//
// The threads and processes that tests start write their own, which takes each of them up to 0.2 s of CPU time. Only
// those of the tests of commands and workers do so: the code that the others run is mostly the same.

import { takeCoverage } from 'node:v8';
import { afterAll, beforeAll, expect } from 'vitest';

const folder = process.env.NODE_V8_COVERAGE ?? '';
const OF_THEIR_OWN = /\/test\/(?:unit\/(?:cli|dispatch|worker)|integration\/cli)\//;

/** What Vitest sends to a process that has no more tests. */
interface StopMessage {
  readonly type?: unknown;
  readonly __vitest_worker_request__?: unknown;
}

// This file is loaded anew for each test file.
const registered = process as typeof process & { takesCoverage?: true };
if (registered.takesCoverage === undefined) {
  registered.takesCoverage = true;
  process.on('message', (message: StopMessage | null) => {
    if (message?.type !== 'stop' || message.__vitest_worker_request__ !== true) return;
    process.env.NODE_V8_COVERAGE = folder;
    takeCoverage();
  });
}

beforeAll(() => {
  if (!OF_THEIR_OWN.test(expect.getState().testPath ?? '')) delete process.env.NODE_V8_COVERAGE;
});

afterAll(() => {
  process.env.NODE_V8_COVERAGE = folder;
});

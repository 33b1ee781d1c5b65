import { defineConfig } from 'vitest/config';

/** Tests that leave much memory behind, of which a process that starts others could not be copied. */
const PATTERNS = ['test/unit/pattern/*.test.ts'];
/** Tests that leave much memory behind, or measure how fast things are: each file has a process of its own. */
const ALONE = [
  'test/faults/{budgets,floods,slow-subscribers,wire-fuzz}.test.ts',
  'test/unit/{connection/message-buffer,memory/slab-pool}.test.ts',
  'test/end-to-end/streams.test.ts',
];

// Tests run the compiled code in dist/, as users do: the validation workers need JavaScript.
const shared = {
  // A test waits for what is to happen, not for a time: only one that hangs ends by this.
  testTimeout: 240_000,
  hookTimeout: 240_000,
  expect: { poll: { timeout: 60_000 } },
  setupFiles: process.env.NODE_V8_COVERAGE === undefined ? [] : ['test/support/take-coverage.ts'],
  server: { deps: { external: [/\/dist\//] } },
};

export default defineConfig({
  test: {
    // One more than the processors of a small machine: tests wait for processes and timers now and then.
    maxWorkers: 3,
    projects: [
      { test: { ...shared, name: 'alone', include: ALONE } },
      { test: { ...shared, name: 'patterns', include: PATTERNS, isolate: false } },
      // Loading everything anew for each file would take a third of all time.
      {
        test: {
          ...shared,
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: [...ALONE, ...PATTERNS],
          isolate: false,
        },
      },
    ],
  },
});

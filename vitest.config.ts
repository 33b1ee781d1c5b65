import { defineConfig } from 'vitest/config';

// Tests run the compiled code in dist/, as users do: the validation workers need JavaScript.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A test waits for what is to happen, not for a time: only one that hangs ends by this.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    expect: { poll: { timeout: 60_000 } },
    maxWorkers: 2,
    setupFiles: process.env.NODE_V8_COVERAGE === undefined ? [] : ['test/support/take-coverage.ts'],
    server: { deps: { external: [/\/dist\//] } },
  },
});

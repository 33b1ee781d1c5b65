import { defineConfig } from 'vitest/config';

// Tests run the compiled code in dist/, as users do: the validation workers need JavaScript.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
    setupFiles: process.env.NODE_V8_COVERAGE === undefined ? [] : ['test/support/take-coverage.ts'],
    server: { deps: { external: [/\/dist\//] } },
  },
});

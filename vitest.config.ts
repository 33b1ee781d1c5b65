import { defineConfig } from 'vitest/config';

// Tests run the compiled code in dist/, as users do: the validation workers need JavaScript.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
    server: { deps: { external: [/\/dist\//] } },
  },
});

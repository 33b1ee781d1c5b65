import { defineConfig } from 'vitest/config';

// The long tests: one after the other, so that each has the machine to itself. SOAK_MINUTES says how long.
export default defineConfig({
  test: {
    include: ['test/soak/*.soak.ts'],
    globalSetup: 'test/support/shared-folder.ts',
    testTimeout: 0,
    fileParallelism: false,
    disableConsoleIntercept: true,
    server: { deps: { external: [/\/dist\//] } },
  },
});

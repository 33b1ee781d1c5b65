import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests that leave much memory behind, of which a process that starts others could not be copied. */
const PATTERNS = ['test/unit/pattern/*.test.ts'];
/** Tests that leave much memory behind, or measure how fast things are: each file has a process of its own. */
const ALONE = [
  'test/faults/{budgets,floods,slow-subscribers,wire-fuzz}.test.ts',
  'test/unit/{connection/message-buffer,memory/slab-pool}.test.ts',
  'test/end-to-end/streams.test.ts',
];
/** Tests with other programs, and of the package and its examples: `npm run test:integration`. */
const INTEGRATION = ['test/integration/**/*.test.ts'];
/** Small files that take long. */
const LONG = [
  'end-to-end/durable-log',
  'faults/clocks',
  'faults/closed-pipe',
  'faults/giant-line',
  'faults/memory-limits',
  'faults/stopping',
  'integration/cli/inherited-sockets',
  'integration/cli/terminal-output',
  'integration/fleet/commands',
  'integration/fleet/fleet',
  'unit/cli/commands/demo',
  'unit/cli/loading',
];

/** Projects whose files share processes, and so stay together. */
const SHARED = ['together', 'integration'];

/** Starts long files first, so that none runs alone at the end. On its own, Vitest starts large files first. */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) =>
      LONG.some((name) => moduleId.endsWith(`/test/${name}.test.ts`));
    const longFirst = (name: string) => {
      const ofProject = sorted.filter(({ project }) => project.name === name);
      return [...ofProject.filter(isLong), ...ofProject.filter((file) => !isLong(file))];
    };
    return [
      ...sorted.filter(({ project }) => !SHARED.includes(project.name)),
      ...SHARED.flatMap((name) => longFirst(name)),
    ];
  }
}

// Tests run the compiled code in dist/, as users do: the validation workers need JavaScript.
const shared = {
  // A test waits for what is to happen, not for a time: only one that hangs ends by this.
  testTimeout: 240_000,
  hookTimeout: 240_000,
  // Somewhat less, so that what is polled in vain is named.
  expect: { poll: { timeout: 200_000 } },
  setupFiles: process.env.NODE_V8_COVERAGE === undefined ? [] : ['test/support/take-coverage.ts'],
  server: { deps: { external: [/\/dist\//] } },
};

export default defineConfig({
  test: {
    globalSetup: 'test/support/shared-folder.ts',
    // One more than the processors of a small machine: tests wait for processes and timers now and then.
    maxWorkers: 3,
    sequence: { sequencer: LongFirst },
    projects: [
      { test: { ...shared, name: 'alone', include: ALONE } },
      { test: { ...shared, name: 'patterns', include: PATTERNS, isolate: false } },
      // Loading everything anew for each file would take a third of all time.
      {
        test: {
          ...shared,
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: [...ALONE, ...PATTERNS, ...INTEGRATION],
          isolate: false,
        },
      },
      { test: { ...shared, name: 'integration', include: INTEGRATION, isolate: false } },
    ],
  },
});

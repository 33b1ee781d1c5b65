import { SlabPool } from 'sluice';
import { expect, onTestFinished, test } from 'vitest';
import { Chunk, Lane } from '#src/dispatch/lane.js';
import type { ValidationPool } from '#src/dispatch/local-pool.js';
import { Quarantine } from '#src/dispatch/quarantine.js';
import type { Verdict } from '#src/dispatch/verdict.js';
import { BatchFailure } from '#src/dispatch/worker-pool.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

test.each([
  ['one message', '{"a":1}{"bad":1}{"a":2}', '{"bad":1}'],
  ['all of them, as if they were one', '{"a":1}{"a":2}{"bad":1}{"a":3}{"a":4}', undefined],
  ['what is not JSON', 'bad', 'bad'],
])(
  'isolates the only message that makes a worker fail, where the worker names %s',
  async (_, text, named) => {
    const slab = new SlabPool(64 * 1024).acquire(text.length);
    const { base, arena } = slab;
    const end = base + arena.bytes.write(text, base);
    const textOf = (chunk: { start: number; end: number }) =>
      arena.bytes.toString('latin1', chunk.start, chunk.end);
    const pool: ValidationPool = {
      open() {},
      async close() {},
      async run([chunk]: Chunk[]) {
        const part = textOf(chunk as Chunk);
        if (!part.includes('bad')) return {} as Verdict;
        const start = (chunk as Chunk).start + part.indexOf(named ?? part);
        const position = { range: 0, start, end: start + (named ?? part).length };
        throw new BatchFailure(new Error('failed'), position);
      },
    } as unknown as ValidationPool;
    const results: [kind: string, text: string][] = [];
    await new Promise<void>((resolve) => {
      const quarantine = new Quarantine(
        { settings: WORKER_SETTINGS, validationTimeout: 100, onWorkerError() {} },
        {
          createPool: () => pool,
          onVerdict: (chunk) => void results.push(['valid', textOf(chunk)]),
          onPoisonMessage: (chunk) => void results.push(['poison', textOf(chunk)]),
          onAbandoned() {},
          onIdle: () => quarantine.isEmpty && resolve(),
        },
      );
      onTestFinished(() => quarantine.close());
      const lane = new Lane(
        () => {},
        () => {},
      );
      const chunk = new Chunk(lane, { slab, start: base, end }, 0);
      lane.push(chunk);
      quarantine.add([chunk]);
    });
    expect(results.map(([, part]) => part).join('')).toBe(text);
    expect(results.filter(([kind]) => kind === 'poison')).toEqual([['poison', named ?? '{"bad":1}']]);
  },
);

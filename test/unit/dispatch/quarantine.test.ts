import { EventEmitter, once } from 'node:events';
import { SlabPool } from 'sluice';
import { expect, onTestFinished, test } from 'vitest';
import { Chunk, Lane } from '#src/dispatch/lane.js';
import type { ValidationPool } from '#src/dispatch/local-pool.js';
import { Quarantine } from '#src/dispatch/quarantine.js';
import type { Verdict } from '#src/dispatch/verdict.js';
import { BatchFailure } from '#src/dispatch/worker-pool.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

const createLane = () =>
  new Lane(
    () => true,
    () => {},
  );

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
      const lane = createLane();
      const chunk = new Chunk(lane, { slab, start: base, end }, 0);
      lane.push(chunk);
      quarantine.add([chunk]);
    });
    expect(results.map(([, part]) => part).join('')).toBe(text);
    expect(results.filter(([kind]) => kind === 'poison')).toEqual([['poison', named ?? '{"bad":1}']]);
  },
);

test('received messages join the last chunk of their connection that waits, unless that has made a worker fail', async () => {
  const [bad, other, first, second] = ['{"bad":1}', '{"other":1}', '{"a":1}', '{"a":2}'];
  const slab = new SlabPool(64 * 1024).acquire(100);
  let end = slab.base;
  const rangeOf = (text: string) => {
    const start = end;
    end += slab.arena.bytes.write(text, start);
    return { slab, start, end };
  };
  const validated: string[] = [];
  const events = new EventEmitter();
  const [idle, released] = [once(events, 'idle'), once(events, 'released')];
  const pool = {
    open() {},
    async close() {},
    async run([{ start, end }]: [Chunk]) {
      const text = slab.arena.bytes.toString('latin1', start, end);
      validated.push(text);
      if (text === other) await released;
      if (text === bad) throw new BatchFailure(new Error('failed'), { range: 0, start, end });
      return {} as Verdict;
    },
  } as unknown as ValidationPool;
  const failures: unknown[] = [];
  const quarantine = new Quarantine(
    { settings: WORKER_SETTINGS, validationTimeout: 1, onWorkerError: (error) => onFailure(error) },
    {
      createPool: () => pool,
      onVerdict() {},
      onPoisonMessage() {},
      onAbandoned() {},
      onIdle: () => quarantine.isEmpty && events.emit('idle'),
    },
  );
  onTestFinished(() => quarantine.close());
  const [lane, otherLane] = [createLane(), createLane()];
  const onFailure = (error: unknown) => {
    if (failures.push(error) > 1) return;
    // The message that has failed is now behind that of the other connection.
    quarantine.submit(lane, rangeOf(first), 0);
    quarantine.submit(lane, rangeOf(second), 0);
    events.emit('released');
  };
  // First, so that the messages of the other connection follow one another.
  const otherRange = rangeOf(other);
  quarantine.submit(lane, rangeOf(bad), 0);
  quarantine.submit(otherLane, otherRange, 0);
  await idle;
  expect(validated).toEqual([bad, other, bad, first + second]);
});

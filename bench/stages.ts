// `npm run bench`: one stage of the journey at a time, with tinybench. BENCH_TIME sets the ms of each.

import { Bench } from 'tinybench';
import { MessageBuffer } from '../src/connection/message-buffer.js';
import { SlabPool } from '../src/connection/slab-pool.js';
import type { Piece } from '../src/delivery/outbox.js';
import { BatchValidator } from '../src/dispatch/batch-validator.js';
import { Dispatcher } from '../src/dispatch/dispatcher.js';
import { Chunk, Lane } from '../src/dispatch/lane.js';
import { FRAME, type Verdict } from '../src/dispatch/verdict.js';
import { MessageParser } from '../src/protocol/message-parser.js';
import { MessageRegistry } from '../src/protocol/message-registry.js';
import { Subscriptions } from '../src/routing/subscriptions.js';
import { Traffic } from './traffic.js';

const MESSAGES = 500;
const NEWLINE = 10;

const bench = new Bench({ time: Number(process.env.BENCH_TIME ?? 500), warmupTime: 100 });
const lines = new Traffic({ seed: 1 }).block(MESSAGES);
const undelimited = new Traffic({ seed: 1 }).block(MESSAGES, '');

/** The lines in a slab, as a connection would have received them. */
function received(pool: SlabPool): { chunk: Chunk; verdict: Verdict } {
  const slab = pool.acquire(lines.length);
  lines.copy(slab.arena.bytes, slab.base);
  const end = slab.base + lines.length;
  const chunk = new Chunk(
    new Lane(
      () => {},
      () => {},
    ),
    { slab, start: slab.base, end },
    0,
  );
  const ranges = Uint32Array.of(0, slab.base, end);
  const verdict = new BatchValidator(new MessageParser(), NEWLINE).validate({
    arenas: [slab.arena.memory],
    ranges,
  });
  return { chunk, verdict };
}

for (const [name, bytes] of [
  ['lines', lines],
  ['undelimited', undelimited],
] as const) {
  const options = { framing: 'auto', delimiter: NEWLINE, maxMessageSize: 1 << 20 } as const;
  const buffer = new MessageBuffer(new SlabPool(256 * 1024), options, { onFrames() {}, onOversize() {} });
  bench.add(`frame ${name}`, () => buffer.write(bytes));
}

const parser = new MessageParser();
const sink = { onMessage() {}, onRefusal() {} };
bench.add('validate lines', () => void parser.parse(lines, 0, lines.length, sink));
bench.add('validate undelimited', () => void parser.parse(undelimited, 0, undelimited.length, sink));

const pool = new SlabPool(256 * 1024);
const { chunk, verdict } = received(pool);
const run = {
  source: { id: 'c-1', crawlerId: undefined },
  chunk,
  verdict,
  first: 0,
  count: verdict.frames.length / FRAME.SIZE,
  isBare: false,
  firstSequence: 1,
  delimiter: NEWLINE,
};
for (const count of [1, 10, 100]) {
  for (const [name, types] of [
    ['of everything', ['*']],
    ['of job_completed', ['job_completed']],
  ] as const) {
    const subscriptions = new Subscriptions(MessageRegistry.builtin());
    for (let index = 0; index < count; index++) {
      subscriptions.add({ id: `${index}`, deliver(_: Piece) {} }, { id: 'x', types: [...types] });
    }
    bench.add(`route to ${count} ${name}`, () => subscriptions.route(run));
  }
}

const dispatcher = new Dispatcher({
  threads: 1,
  concurrentTasksPerWorker: 2,
  maxBatchBytes: 256 * 1024,
  settings: {
    schemas: undefined,
    framing: 'auto',
    delimiter: NEWLINE,
    maxMessageSize: 1 << 20,
    maxMessageAge: 0,
    maxClockSkew: 0,
    patterns: 'on',
    maxLearnedLayouts: 16,
  },
  onVerdict() {},
  onSettled() {},
  onWorkerError(error) {
    throw error;
  },
});
await dispatcher.start();
const lane = new Lane(
  () => {},
  () => {},
);
bench.add('dispatch to a worker and back', async () => {
  dispatcher.submit(lane, { slab: chunk.slab, start: chunk.start, end: chunk.end }, 0);
  await dispatcher.idle();
});

await bench.run();
await dispatcher.close();

process.stdout.write(`${MESSAGES} messages of crawler traffic, ${lines.length} bytes; ns a message\n\n`);
for (const { name, result } of bench.tasks) {
  if (result.state !== 'completed') throw new Error(`${name} did not complete: ${result.state}`);
  const nanoseconds = (result.latency.p50 * 1e6) / MESSAGES;
  process.stdout.write(
    `${name.padEnd(34)} ${nanoseconds.toFixed(1).padStart(9)} ± ${result.latency.rme.toFixed(1)} %\n`,
  );
}

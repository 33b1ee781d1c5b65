// Dispatch: the round trip to a worker, by the number of messages in a batch.

import type { Bench } from 'tinybench';
import { Dispatcher } from '../../src/dispatch/dispatcher.js';
import { Lane } from '../../src/dispatch/lane.js';
import { NO_SEED } from '../../src/messages/job-key.js';
import { Traffic } from '../../src/traffic/traffic.js';
import { batchOf, NEWLINE } from './batch.js';

let dispatcher: Dispatcher;

export async function add(bench: Bench): Promise<ReadonlyMap<string, number>> {
  dispatcher = new Dispatcher({
    threads: 1,
    concurrentTasksPerWorker: 2,
    maxBatchBytes: 2 * 1024 * 1024,
    maxBatchMessages: 16_384,
    validationTimeout: 0,
    settings: {
      schemas: undefined,
      framing: 'auto',
      delimiter: NEWLINE,
      maxMessageSize: 1 << 20,
      maxMessageAge: 0,
      maxClockSkew: 0,
      patterns: 'on',
      maxLearnedLayouts: 0,
      validation: 'enforce',
      jobSeed: NO_SEED,
    },
    onVerdict() {},
    onSettled() {},
    onWorkerError(error) {
      throw error;
    },
  });
  await dispatcher.start();
  const lane = new Lane(
    () => true,
    () => {},
  );
  const messages = new Map<string, number>();
  for (const count of [1, 10, 100, 1000, 2500]) {
    const { chunk } = batchOf(new Traffic({ seed: 1 }).block(count));
    const name = `${count} in a batch`;
    bench.add(name, async () => {
      dispatcher.submit(lane, { slab: chunk.slab, start: chunk.start, end: chunk.end }, 0);
      await dispatcher.idle();
    });
    messages.set(name, count);
  }
  return messages;
}

export async function close(): Promise<void> {
  await dispatcher.close();
}

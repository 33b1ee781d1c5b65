// Streams of crawler traffic through a whole broker. The same with a million messages: test/soak/million.soak.ts.

import { describe, expect, test } from 'vitest';
import { startBroker, until } from '../support/broker.js';
import { SLOW } from '../support/flood.js';
import { describeStreams, expectAllReceived, shareStreams } from '../support/streams.js';

/** So many that what a broker kept of them would exceed the memory that it may use. */
const MESSAGES = 100_000;
/** For what does not depend on their number. */
const FEWER_MESSAGES = 20_000;
const MiB = 1024 * 1024;

describeStreams(MESSAGES, shareStreams(MESSAGES));

describe('20,000 messages', () => {
  const streams = shareStreams(FEWER_MESSAGES);

  test('keep their order when two workers finish out of order', async () => {
    const { manager, socketPath, connect } = await startBroker({
      schemas: new URL('../support/slow-schemas.mjs', import.meta.url),
      // Small chunks: most of them have no slow message, and overtake those that have.
      messageBufferSize: 16 * 1024,
      workers: { threads: 2, maxBatchBytes: 8 * 1024 },
    });
    // The second one starts when messages wait for the first one.
    const crawlers = await Promise.all(Array.from({ length: 6 }, () => connect()));
    for (const crawler of crawlers) crawler.write(SLOW.repeat(60));
    await until(() => manager.getMetrics().dispatch.threads === 2);
    await Promise.all(crawlers.map((crawler) => crawler.settled()));
    expectAllReceived(await streams()(socketPath));
    expect(manager.getMetrics().dispatch.outOfOrder).toBeGreaterThan(10);
  });

  test('are hardly copied on their way: at most 2 % of the bytes', async () => {
    const { manager, socketPath } = await startBroker();
    expectAllReceived(await streams()(socketPath));
    const { memory, totals } = manager.getMetrics();
    expect(totals.bytesReceived).toBeGreaterThan(6 * MiB);
    expect(memory.copiedBytes).toBeGreaterThan(0);
    expect(memory.copiedBytes / totals.bytesReceived).toBeLessThanOrEqual(0.02);
  });

  test('received by copying, where sockets cannot read into slabs, arrive the same', async () => {
    const { socketPath } = await startBroker({ receive: 'copy', workers: { threads: 2 } });
    expectAllReceived(await streams()(socketPath));
  });
});

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BatchReader } from '#src/fleet/batch-reader.js';
import type { StreamBatch } from '#src/fleet/stream-batch.js';
import type { MessageLog } from '#src/log/message-log.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { startPlainBroker, temporaryFolder } from '../../support/broker.js';
import { openMessageLog } from '../../support/message-log.js';
import { line, VALID } from '../../support/messages.js';
import { Ledger, numberedBlock } from '../../support/numbered.js';

/** A log with blocks of messages, each of one connection. */
async function logOf(blocks: readonly string[], logSegmentBytes?: number): Promise<MessageLog> {
  const folder = join(temporaryFolder(), 'log');
  const broker = await startPlainBroker({
    log: folder,
    ...(logSegmentBytes === undefined ? {} : { logSegmentBytes }),
  });
  for (const block of blocks) {
    const peer = await broker.connect();
    peer.write(block);
    await peer.settled();
  }
  await broker.manager.stop();
  return openMessageLog({ folder });
}

/** All batches of a log. */
async function batchesOf(
  log: MessageLog,
  maxBytes: number,
  from = 0,
  maxMessages = Number.POSITIVE_INFINITY,
): Promise<{ batches: StreamBatch[]; tooLong: number }> {
  let tooLong = 0;
  const reader = new BatchReader({
    log,
    registry: MessageRegistry.builtin(),
    delimiter: 10,
    host: 'host',
    from,
    maxBytes,
    maxMessages,
    onTooLong: () => tooLong++,
    onIdle: () => {},
  });
  const batches: StreamBatch[] = [];
  const { signal } = new AbortController();
  while (reader.hasMore) {
    const batch = await reader.next(Buffer.alloc(maxBytes), signal);
    if (batch !== undefined) batches.push(batch);
  }
  await reader.close();
  return { batches, tooLong };
}

/** Checks that batches follow each other, and what they say of themselves. */
function check(batches: readonly StreamBatch[], maxBytes: number, first: number): Ledger {
  const ledger = new Ledger();
  let next = first;
  for (const { start, count, runs, body } of batches) {
    expect(start.offset).toBe(next);
    next += count;
    expect(body.length).toBeLessThanOrEqual(maxBytes);
    expect(runs.reduce((sum, run) => sum + run.count, 0)).toBe(count);
    expect(runs.reduce((sum, run) => sum + run.bytes, 0)).toBe(body.length);
    expect(Buffer.from(body).toString().split('\n').length - 1).toBe(count);
    ledger.readBytes(Buffer.from(body));
  }
  return ledger;
}

test('whatever fits into a batch, each message is in one, in order', async () => {
  const sizes = [700, 1, 1, 30, 250, 2];
  const log = await logOf(sizes.map((size, producer) => numberedBlock(producer, 0, size)));
  for (const maxBytes of [300, 301, 999, 5000, 20_000, 100_000, 512 * 1024]) {
    const { batches, tooLong } = await batchesOf(log, maxBytes);
    const ledger = check(batches, maxBytes, 0);
    expect(tooLong).toBe(0);
    for (const [producer, size] of sizes.entries()) expect(ledger.faults(producer, size)).toEqual([]);
  }
  // From within a run.
  for (const from of [1, 699, 700, 701, 800]) {
    const { batches } = await batchesOf(log, 5000, from);
    const ledger = check(batches, 5000, from);
    expect(ledger.total).toBe(sizes.reduce((sum, size) => sum + size, 0) - from);
  }
  await log.close(1000);
});

test('a batch has at most a number of messages, if there is a limit', async () => {
  const sizes = [5, 1, 7];
  const log = await logOf(sizes.map((size, producer) => numberedBlock(producer, 0, size)));
  for (const [maxMessages, batchSizes] of [
    [1, Array.from({ length: 11 }, () => 1)],
    [3, [3, 3, 3, 2]],
    [11, [11]],
  ] as const) {
    const { batches } = await batchesOf(log, 5000, 2, maxMessages);
    check(batches, 5000, 2);
    expect(batches.map(({ count }) => count)).toEqual(batchSizes);
  }
  await log.close(1000);
});

test('messages that are too long are left out, wherever they are', async () => {
  const { data } = VALID.job_progress;
  const long = line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(2000) } });
  const block = (from: number, to: number) => numberedBlock(0, from, to);
  const log = await logOf([
    long + block(0, 3) + long + long + block(3, 20) + long,
    long,
    block(20, 21) + long + block(21, 40),
  ]);
  const { batches, tooLong } = await batchesOf(log, 1000);
  expect(tooLong).toBe(6);
  const ledger = new Ledger();
  for (const { body, runs, count } of batches) {
    expect(runs.reduce((sum, run) => sum + run.bytes, 0)).toBe(body.length);
    expect(Buffer.from(body).toString().split('\n').length - 1).toBe(count);
    ledger.readBytes(Buffer.from(body));
  }
  expect(ledger.faults(0, 40)).toEqual([]);
  // Their offsets are those in the log.
  expect(batches[0]?.start.offset).toBe(1);
  expect(batches.map(({ start, count }) => start.offset + count).at(-1)).toBe(46);
  // One by one, too.
  const single = await batchesOf(log, 1000, 0, 1);
  expect([single.tooLong, single.batches.length]).toEqual([6, 40]);
  await log.close(1000);
});

test('many senders are divided among batches, since headers are limited', async () => {
  const log = await logOf(Array.from({ length: 30 }, (_, producer) => numberedBlock(producer, 0, 200)));
  const { batches } = await batchesOf(log, 512 * 1024);
  const ledger = check(batches, 512 * 1024, 0);
  for (let producer = 0; producer < 30; producer++) expect(ledger.faults(producer, 200)).toEqual([]);
  await log.close(1000);
});

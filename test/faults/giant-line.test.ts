import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { BrokerProcess } from '../support/broker-process.js';
import { growthFromGiant, MAX_MESSAGE_SIZE } from '../support/giant.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const LENGTH = 64 * 1024 * 1024;

describe('a line of 64 MiB', () => {
  test.each(['auto', 'ndjson'] as const)(
    'takes at most 2 × maxMessageSize of memory, before its end and after it: framing %s',
    async (framing) => {
      const { open, ended } = await growthFromGiant({ length: LENGTH, framing });
      for (const growth of [open, ended]) {
        expect(growth).toBeLessThanOrEqual(2 * MAX_MESSAGE_SIZE);
        // The part of it that was held while it might still have been a message.
        expect(growth).toBeGreaterThan(MAX_MESSAGE_SIZE / 4);
      }
    },
  );
});

test('long messages, one after another, use the same memory', async () => {
  const size = 20 * 1024 * 1024;
  const broker = await BrokerProcess.start(['--max-message-size', String(size)]);
  const sender = await Peer.connect(broker.socketPath);
  const idle = broker.peakRss;
  const { data } = VALID.job_progress;
  const message = line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(0.9 * size) } });
  for (let sent = 0; sent < 12; sent++) {
    if (!sender.socket.write(message)) await once(sender.socket, 'drain');
  }
  await sender.settled();
  expect(sender.errors).toEqual([]);
  expect(broker.peakRss - idle).toBeLessThan(10 * size);
  await sender.close();
  expect(await broker.stop()).toBe(0);
});

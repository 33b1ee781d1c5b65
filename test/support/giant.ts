// Measures the broker's memory while it receives one very long line, which is streamed without being held in memory.

import { once } from 'node:events';
import { expect } from 'vitest';
import { BrokerProcess } from './broker-process.js';
import { line, VALID } from './messages.js';
import { Peer } from './peer.js';

const MiB = 1024 * 1024;
const BLOCK = Buffer.alloc(MiB, 'x');
/** Large compared to the noise of a process's memory. */
export const MAX_MESSAGE_SIZE = 16 * MiB;

export interface GiantLine {
  readonly length: number;
  readonly framing: 'auto' | 'ndjson';
}

/**
 * Sends the line, and then its end, followed by a valid message. Returns the peak growth of the broker's memory, in
 * bytes, before the end and after the valid message.
 */
export async function growthFromGiant({
  length,
  framing,
}: GiantLine): Promise<{ open: number; ended: number }> {
  const flags = ['--max-message-size', String(MAX_MESSAGE_SIZE), '--framing', framing];
  const broker = await BrokerProcess.start(flags);
  const subscriber = await (await Peer.connect(broker.socketPath)).subscribe();
  const sender = await Peer.connect(broker.socketPath);
  // Memory that any traffic needs does not count as growth.
  sender.write(line(VALID.job_progress).repeat(20_000));
  await sender.settled();
  const idle = broker.peakRss;

  sender.write('{"type":"heartbeat","timestamp":"');
  for (let sent = 0; sent < length; sent += BLOCK.length) {
    if (!sender.socket.write(BLOCK)) await once(sender.socket, 'drain');
  }
  const rejection = await sender.next('error');
  expect(rejection.data.code).toBe('MESSAGE_TOO_LARGE');
  // Other peers are served, whether or not the line ends.
  await subscriber.settled();
  const open = broker.peakRss - idle;
  sender.write(`"}\n${line(VALID.job_started)}`);
  await subscriber.next('job_started');
  await subscriber.settled();
  const ended = broker.peakRss - idle;
  await Promise.all([sender.close(), subscriber.close()]);
  expect(await broker.stop()).toBe(0);
  return { open, ended };
}

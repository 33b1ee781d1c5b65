// Many connections one after the other, after which a broker must be as it was.

import { expect } from 'vitest';
import { until } from './broker.js';
import { BrokerProcess } from './broker-process.js';
import { line, VALID } from './messages.js';
import { Peer } from './peer.js';

const MiB = 1024 * 1024;
/** A hundred bytes for each of 10,000 connections. */
const HEAP_MARGIN = 1 * MiB;
/** Less than a kilobyte for each, the noise of the allocators included. */
const RSS_MARGIN = 8 * MiB;

/**
 * Fails if a broker that has had a number of visits keeps memory or descriptors of further ones.
 * @param visits number of connections whose memory is measured
 * @param before number of connections before these. Default: as many.
 */
export async function expectNoTraceOf(visits: number, before = visits): Promise<void> {
  const broker = await BrokerProcess.start();
  const { socketPath } = broker;
  const first = await Peer.connect(socketPath);
  // A rejection comes from a worker: by then it has closed the files that it loads.
  first.write('{}\n');
  await first.next('error');
  /** Peers that say something, subscribe, break off, or say nothing; and leave in one of two ways. */
  const visit = async (index: number): Promise<void> => {
    const peer = await Peer.connect(socketPath);
    if (index % 4 === 1) await peer.subscribe({ jobIds: [`job-${index}`] });
    if (index % 4 === 2) peer.write(line(VALID.heartbeat).slice(0, 50));
    if (index % 4 === 3) {
      peer.write(line({ ...VALID.job_started, jobId: `job-${index}` }));
      await peer.settled();
    }
    if (index % 8 < 4) peer.socket.destroy();
    else peer.socket.end();
    await peer.closed;
  };
  const churn = async (count: number): Promise<void> => {
    for (let at = 0; at < count; at += 50)
      await Promise.all(Array.from({ length: 50 }, (_, index) => visit(at + index)));
  };
  const settle = async (files: number): Promise<{ rss: number; heap: number }> => {
    await until(() => broker.openFiles <= files);
    // Some of it is let go a turn later than the rest.
    for (let round = 0; round < 4; round++) await broker.collect();
    return { heap: await broker.collect(), rss: broker.rss };
  };
  const files = broker.openFiles;
  // What a broker that has seen much traffic needs is no growth.
  await churn(before);
  const settled = await settle(files);
  await churn(visits);
  const after = await settle(files);
  expect(broker.openFiles).toBe(files);
  expect(after.heap - settled.heap).toBeLessThan(HEAP_MARGIN);
  expect(after.rss - settled.rss).toBeLessThan(RSS_MARGIN);
  await first.settled();
  await first.close();
  expect(await broker.stop()).toBe(0);
}

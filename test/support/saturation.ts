// Saturates a broker up to its budgets, and measures its memory and message loss.

import { connect } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { until } from './broker.js';
import { BrokerProcess } from './broker-process.js';
import { packageRoot } from './cli.js';
import { Flood } from './flood.js';
import { line } from './messages.js';
import { Ledger } from './numbered.js';
import { Peer } from './peer.js';

/** Limit on the memory of the process in addition to its budget, in bytes. */
export const BESIDE_BUDGET = 150_000_000;
const PUBLISHERS = 16;

export interface Saturation {
  /** The broker's memory budget, in bytes. */
  readonly budget: number;
  /** How long to send, in ms. */
  readonly duration: number;
  /** The slow component: the only worker, or the subscriber. */
  readonly bottleneck: 'worker' | 'subscriber';
}

export interface SaturationReport {
  readonly peakRss: number;
  readonly messages: number;
  readonly faults: readonly string[];
}

/** Many publishers send at full speed against one bottleneck. After that, every message must arrive. */
export async function saturate({ budget, duration, bottleneck }: Saturation): Promise<SaturationReport> {
  const isSlowWorker = bottleneck === 'worker';
  const flags = ['--max-buffered-bytes', String(budget), '--max-pending-bytes', String(16 * budget)];
  const schemas = ['--schemas', join(packageRoot, 'test/support/slow-schemas.mjs')];
  const broker = await BrokerProcess.start([...flags, ...(isSlowWorker ? schemas : [])]);
  const ledger = new Ledger();
  const subscriber = connect(broker.socketPath).on('data', (bytes) => ledger.readBytes(bytes));
  const subscribe = { type: 'subscribe', data: { id: 'all', types: ['job_progress'], overflow: 'block' } };
  subscriber.write(line(subscribe));
  const probe = await Peer.connect(broker.socketPath);
  await probe.settled();
  if (!isSlowWorker) subscriber.pause();

  const floods: Flood[] = [];
  for (let producer = 0; producer < PUBLISHERS; producer++)
    floods.push(new Flood(await Peer.connect(broker.socketPath), producer, isSlowWorker));
  // The load runs for a fixed time.
  await new Promise((resolve) => setTimeout(resolve, duration));
  // Backpressure has reached the publishers.
  await until(() => floods.every(({ peer }) => peer.socket.writableNeedDrain));
  subscriber.resume();
  await Promise.all(floods.map((flood) => flood.finish()));
  const messages = floods.reduce((sum, { sent }) => sum + sent, 0);
  await until(() => ledger.total >= messages);
  const { peakRss } = broker;
  for (const { peer } of floods) await peer.close();
  await probe.close();
  subscriber.destroy();
  expect(await broker.stop()).toBe(0);
  return { peakRss, messages, faults: floods.flatMap(({ producer, sent }) => ledger.faults(producer, sent)) };
}

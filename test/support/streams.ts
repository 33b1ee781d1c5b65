// The main promise at full size: a million messages of crawler traffic, every byte, in order, none lost,
// none twice, in bounded memory.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { StreamCheck, StreamReport } from '../../bench/end-to-end/stream-check.js';
import { startBroker, temporaryFolder } from '../support/broker.js';

const packageRoot = join(createRequire(import.meta.url).resolve('sluice/package.json'), '..');
const MILLION = 1_000_000;
const STREAMS = 4;
const MiB = 1024 * 1024;

type DoneReport = Extract<StreamReport, { event: 'done' }>;

function startPart(settings: StreamCheck): ChildProcess {
  const script = join(packageRoot, 'dist/bench/end-to-end/stream-check.js');
  const child = fork(script, [JSON.stringify(settings)]);
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

function report<E extends StreamReport['event']>(
  child: ChildProcess,
  event: E,
): Promise<Extract<StreamReport, { event: E }>> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`left with exit code ${code}`)));
    child.on('message', (message: StreamReport) => {
      if (message.event === event) resolve(message as Extract<StreamReport, { event: E }>);
    });
  });
}

/** Runs a whole check: all that was sent, and what each subscriber received. */
async function checkStreams(
  socketPath: string,
  options: { messages: number; subscribers?: number; delimiter?: string },
): Promise<{ sent: DoneReport; received: DoneReport }> {
  const settings = {
    socketPath,
    streams: STREAMS,
    messages: options.messages / STREAMS,
    delimiter: options.delimiter ?? '\n',
    subscribers: options.subscribers ?? 1,
  };
  const checker = startPart({ ...settings, role: 'checker' });
  await report(checker, 'ready');
  const publisher = startPart({ ...settings, role: 'publisher' });
  await report(publisher, 'ready');
  const both = Promise.all([report(publisher, 'done'), report(checker, 'done')]);
  publisher.send('go');
  const [sent, received] = await both;
  return { sent, received };
}

function expectAllReceived(
  { sent, received }: { sent: DoneReport; received: DoneReport },
  subscribers = 1,
): void {
  expect(received.error).toBeUndefined();
  expect(received.messages).toBe(sent.messages);
  expect(received.digests).toEqual(Array.from({ length: subscribers }, () => sent.digests[0]));
}

async function startServer(): Promise<{ socketPath: string; peakRss: () => number }> {
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const arguments_ = [
    join(packageRoot, 'dist/src/cli/main.js'),
    'serve',
    '--socket',
    socketPath,
    '--workers',
    '2',
  ];
  const child = spawn(process.execPath, arguments_, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const peakRss = () => {
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  };
  return { socketPath, peakRss };
}

describe('a million messages of 4 crawlers', () => {
  test('reach one block subscriber, in less than 300 MB', async () => {
    const { socketPath, peakRss } = await startServer();
    expectAllReceived(await checkStreams(socketPath, { messages: MILLION }));
    expect(peakRss()).toBeGreaterThan(20 * MiB);
    expect(peakRss()).toBeLessThan(300 * MiB);
  });

  test('reach ten block subscribers, in less than 300 MB', async () => {
    const { socketPath, peakRss } = await startServer();
    expectAllReceived(await checkStreams(socketPath, { messages: MILLION, subscribers: 10 }), 10);
    expect(peakRss()).toBeLessThan(300 * MiB);
  });

  test('reach it without newlines between them too', async () => {
    const { socketPath } = await startServer();
    expectAllReceived(await checkStreams(socketPath, { messages: MILLION, delimiter: '' }));
  });
});

describe('100,000 messages', () => {
  test('keep their order when two workers finish out of order', async () => {
    const { manager, socketPath } = await startBroker({
      schemas: new URL('../support/slow-schemas.mjs', import.meta.url),
      workers: { threads: 2, maxBatchBytes: 16 * 1024 },
    });
    expectAllReceived(await checkStreams(socketPath, { messages: 100_000 }));
    expect(manager.getMetrics().dispatch.outOfOrder).toBeGreaterThan(10);
  });

  test('are hardly copied on their way: at most 2 % of the bytes', async () => {
    const { manager, socketPath } = await startBroker({ workers: { threads: 2 } });
    expectAllReceived(await checkStreams(socketPath, { messages: 100_000 }));
    const { memory, totals } = manager.getMetrics();
    expect(totals.bytesReceived).toBeGreaterThan(30 * MiB);
    expect(memory.copiedBytes).toBeGreaterThan(0);
    expect(memory.copiedBytes / totals.bytesReceived).toBeLessThanOrEqual(0.02);
  });

  test('received by copying, where sockets cannot read into slabs, arrive the same', async () => {
    const { socketPath } = await startBroker({ receive: 'copy', workers: { threads: 2 } });
    expectAllReceived(await checkStreams(socketPath, { messages: 100_000 }));
  });
});

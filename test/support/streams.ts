// The main promise: crawler traffic arrives byte for byte, in order, nothing lost and nothing twice. Streams of known
// messages are sent by one process and checked by another; see bench/end-to-end/stream-check.ts.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { StreamCheck, StreamReport } from '../../bench/end-to-end/stream-check.js';
import { temporaryFolder } from './broker.js';

const packageRoot = join(createRequire(import.meta.url).resolve('sluice/package.json'), '..');
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
export async function checkStreams(
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

export function expectAllReceived(
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

/** Tests that this many messages reach one subscriber, ten, and one without newlines between them. */
export function describeStreams(messages: number): void {
  describe(`${messages.toLocaleString('en-US')} messages of ${STREAMS} crawlers`, () => {
    test('reach one block subscriber, in less than 300 MB', async () => {
      const { socketPath, peakRss } = await startServer();
      expectAllReceived(await checkStreams(socketPath, { messages }));
      expect(peakRss()).toBeGreaterThan(20 * MiB);
      expect(peakRss()).toBeLessThan(300 * MiB);
    });

    test('reach ten block subscribers, in less than 300 MB', async () => {
      const { socketPath, peakRss } = await startServer();
      expectAllReceived(await checkStreams(socketPath, { messages, subscribers: 10 }), 10);
      expect(peakRss()).toBeLessThan(300 * MiB);
    });

    test('reach it without newlines between them too', async () => {
      const { socketPath } = await startServer();
      expectAllReceived(await checkStreams(socketPath, { messages, delimiter: '' }));
    });
  });
}

// The main guarantee: crawler traffic arrives unchanged, in order, without loss or duplicates. One process sends
// streams of known messages and another checks them; see bench/end-to-end/stream-check.ts.

import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { StreamCheck, StreamPart, StreamReport } from '../../bench/end-to-end/stream-check.js';
import { shareBrokerProcess } from './broker-process.js';
import { share, type WhenOver } from './share.js';

const packageRoot = join(createRequire(import.meta.url).resolve('sluice/package.json'), '..');
const STREAMS = 4;
const MiB = 1024 * 1024;

type DoneReport = Extract<StreamReport, { event: 'done' }>;

/** Runs a complete check of all sent messages against those that each subscriber received. */
export type CheckStreams = (
  socketPath: string,
  options?: { subscribers?: number; delimiter?: string },
) => Promise<{ sent: DoneReport; received: DoneReport }>;

function startPart(role: StreamPart['role'], messages: number, whenOver: WhenOver): ChildProcess {
  const script = join(packageRoot, 'dist/bench/end-to-end/stream-check.js');
  const settings: StreamPart = { role, streams: STREAMS, messages: messages / STREAMS };
  const child = fork(script, [JSON.stringify(settings)]);
  whenOver(() => void child.kill('SIGKILL'));
  return child;
}

function report<E extends StreamReport['event']>(
  child: ChildProcess,
  event: E,
): Promise<Extract<StreamReport, { event: E }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`left with exit code ${code}`));
    const onMessage = (message: StreamReport) => {
      if (message.event !== event) return;
      child.off('exit', onExit).off('message', onMessage);
      resolve(message as Extract<StreamReport, { event: E }>);
    };
    child.on('exit', onExit).on('message', onMessage);
  });
}

/** A publisher and a checker for this many messages, for all tests of a file. */
export function shareStreams(messages: number): () => CheckStreams {
  const parts = share((whenOver) => ({
    publisher: startPart('publisher', messages, whenOver),
    checker: startPart('checker', messages, whenOver),
  }));
  return () =>
    async (socketPath, { subscribers = 1, delimiter = '\n' } = {}) => {
      const { publisher, checker } = parts();
      const check: StreamCheck = { socketPath, subscribers, delimiter };
      for (const part of [checker, publisher]) {
        const ready = report(part, 'ready');
        part.send(check);
        await ready;
      }
      const both = Promise.all([report(publisher, 'done'), report(checker, 'done')]);
      publisher.send('go');
      const [sent, received] = await both;
      return { sent, received };
    };
}

export function expectAllReceived(
  { sent, received }: { sent: DoneReport; received: DoneReport },
  subscribers = 1,
): void {
  expect(received.error).toBeUndefined();
  expect(received.messages).toBe(sent.messages);
  expect(received.digests).toEqual(Array.from({ length: subscribers }, () => sent.digests[0]));
}

/**
 * Tests that this many messages reach one subscriber, ten subscribers, and one subscriber without newlines between
 * them.
 */
export function describeStreams(messages: number, streams: () => CheckStreams): void {
  describe(`${messages.toLocaleString('en-US')} messages of ${STREAMS} crawlers`, () => {
    const broker = shareBrokerProcess(['--workers', '2']);

    test('reach one block subscriber, in less than 300 MB', async () => {
      expectAllReceived(await streams()(broker().socketPath));
      expect(broker().peakRss).toBeGreaterThan(20 * MiB);
      expect(broker().peakRss).toBeLessThan(300 * MiB);
    });

    test('reach ten block subscribers, in less than 300 MB', async () => {
      expectAllReceived(await streams()(broker().socketPath, { subscribers: 10 }), 10);
      expect(broker().peakRss).toBeLessThan(300 * MiB);
    });

    test('reach it without newlines between them too', async () => {
      expectAllReceived(await streams()(broker().socketPath, { delimiter: '' }));
    });
  });
}

// A broker with a durable log that is killed again and again under load.

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ReceivedMessage, SluiceClient } from 'sluice/client';
import { expect, onTestFinished } from 'vitest';
import { FolderDisk } from '#src/log/disk.js';
import { readLog } from '#src/log/log-reader.js';
import { findSegments, segmentName } from '#src/log/segments.js';
import { temporaryFolder, until } from './broker.js';
import { sluice } from './cli.js';
import { numbered } from './numbered.js';

const QUICK = { initialDelay: 5, maxDelay: 50 };

/** The least that a log can be limited to, in bytes. */
const LOG_BYTES = 1024 * 1024;

/** Publishes numbered messages until it is stopped. */
export class Producer {
  readonly #client: SluiceClient;
  readonly #number: number;
  readonly #burst: number;
  #isStopped = false;
  published = 0;
  /** All messages with smaller numbers are confirmed. */
  confirmed = 0;

  /** @param burst the most messages that it publishes at once */
  constructor(socketPath: string, number: number, burst: number) {
    this.#number = number;
    this.#burst = burst;
    this.#client = new SluiceClient({
      socketPath,
      hello: { role: 'crawler', crawlerId: `c-${number}` },
      reconnect: QUICK,
    });
    onTestFinished(() => void this.#client.close(0));
  }

  async run(): Promise<void> {
    await this.#client.connect();
    while (!this.#isStopped) {
      const burst = 1 + Math.floor(Math.random() * this.#burst);
      for (let index = 0; index < burst; index++) {
        this.#client.publishRaw(numbered(this.#number, this.published++));
        // A publication is one message.
        this.confirmed = this.#client.statistics.confirmed;
      }
      if (Math.random() < 0.3) await this.#client.flush();
      else await delay(2);
    }
    await this.#client.flush();
    this.confirmed = this.#client.statistics.confirmed;
  }

  stop(): void {
    this.#isStopped = true;
  }
}

/** What an application with a cursor has handled. */
class Consumer {
  readonly #client: SluiceClient;
  readonly offsets: number[] = [];
  /** By offset: the producer of a message, and its number. */
  readonly messages = new Map<number, string>();
  readonly gaps: unknown[] = [];
  /** Offsets at which another message came later. Collected, since an expectation for each of them would take long. */
  readonly changed: number[] = [];

  constructor(socketPath: string) {
    this.#client = new SluiceClient({ socketPath, hello: { role: 'app' }, reconnect: QUICK });
    this.#client.on('gap', (gap) => this.gaps.push(gap));
    onTestFinished(() => void this.#client.close(0));
  }

  async run(cursor: string): Promise<void> {
    await this.#client.connect();
    const handle = ({ offset = -1, message }: ReceivedMessage): void => {
      const { jobId, data } = message as { jobId?: string; data?: { processed?: number } };
      const content = `${jobId?.split('-')[1]}:${data?.processed}`;
      if ((this.messages.get(offset) ?? content) !== content) this.changed.push(offset);
      this.messages.set(offset, content);
      this.offsets.push(offset);
    };
    await this.#client.subscribe({ from: 'first', cursor, meta: true }, handle);
  }
}

/** Starts a broker with a small log. What all cursors have passed is removed soon, and nothing else. */
export async function startDurableBroker(socketPath: string, log: string) {
  const flags = ['--workers', '1', '--patterns', 'off', '--log', log, '--log-segment-bytes', '65536'];
  flags.push('--log-max-bytes', String(LOG_BYTES), '--log-keep', 'unread', '--log-full', 'block');
  const run = sluice(['serve', '--socket', socketPath, ...flags]);
  await run.says('listening');
  return run;
}

/**
 * Kills a broker with a durable log again and again, while three clients publish and two read with cursors. Checks that each
 * published message is stored once and in order, that no cursor skips any, and that the log keeps within its limit.
 */
export async function killUnderLoad(kills: number): Promise<void> {
  const folder = temporaryFolder();
  const [socketPath, log] = [join(folder, 's'), join(folder, 'log')];
  let broker = await startDurableBroker(socketPath, log);
  const producers = [0, 1, 2].map((number) => new Producer(socketPath, number, 500));
  const consumers = [new Consumer(socketPath), new Consumer(socketPath)];
  await Promise.all(consumers.map((consumer, number) => consumer.run(`cursor-${number}`)));
  const runs = producers.map((producer) => producer.run());
  for (let kill = 0; kill < kills; kill++) {
    const before = producers.map(({ confirmed }) => confirmed);
    await until(() => producers.every(({ confirmed }, index) => confirmed > (before[index] ?? 0)));
    // Old messages are removed before the last kill, or this would not show that none is removed too early.
    if (kill === kills - 1) await until(() => !existsSync(join(log, segmentName(0))));
    await delay(Math.random() * 100);
    broker.child.kill('SIGKILL');
    await once(broker.child, 'exit');
    broker = await startDurableBroker(socketPath, log);
  }
  for (const producer of producers) producer.stop();
  await Promise.all(runs);
  let first: number | undefined;
  let end = 0;
  for await (const part of readLog(new FolderDisk(log))) {
    if ('to' in part) throw new Error(`messages ${part.from} to ${part.to} are missing: ${part.reason}`);
    first ??= part.header.first;
    end = part.header.first + part.header.count;
  }
  await until(() => consumers.every(({ offsets }) => offsets.at(-1) === end - 1));
  const { segments, spares } = await findSegments(new FolderDisk(log));
  expect([...segments, ...spares].reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(LOG_BYTES);
  expect(first).toBeGreaterThan(0);
  const stored = new Map<number, number[]>();
  const differing: number[] = [];
  for (let offset = 0; offset < end; offset++) {
    const contents = consumers.map(({ messages }) => messages.get(offset));
    if (contents[1] !== contents[0]) differing.push(offset);
    const [producer = -1, number = -1] = (contents[0] ?? '').split(':').map(Number);
    const numbers = stored.get(producer) ?? [];
    stored.set(producer, numbers);
    numbers.push(number);
  }
  expect(differing).toEqual([]);
  for (const [producer, { published, confirmed }] of producers.entries()) {
    expect(confirmed).toBe(published);
    const numbers = stored.get(producer) ?? [];
    // Each once: after a reconnect, a client sends what the broker does not have.
    expect(numbers.findIndex((number, index) => number !== index)).toBe(-1);
    expect(numbers.length).toBe(published);
  }
  for (const { offsets, gaps, changed } of consumers) {
    expect(gaps).toEqual([]);
    expect(changed).toEqual([]);
    const skipped: number[] = [];
    let next = 0;
    for (const offset of offsets) {
      if (offset > next) skipped.push(offset);
      if (offset === next) next++;
    }
    expect(skipped).toEqual([]);
    expect(next).toBe(end);
  }
}

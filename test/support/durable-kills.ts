// A broker with a durable log that is killed again and again under load.

import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ReceivedMessage, SluiceClient } from 'sluice/client';
import { expect, onTestFinished } from 'vitest';
import { FolderDisk } from '#src/log/disk.js';
import { readLog } from '#src/log/log-reader.js';
import { temporaryFolder, until } from './broker.js';
import { sluice } from './cli.js';
import { numbered } from './numbered.js';

const QUICK = { initialDelay: 5, maxDelay: 50 };

/** Publishes numbered messages until it is stopped. */
class Producer {
  readonly #client: SluiceClient;
  readonly #number: number;
  #isStopped = false;
  published = 0;
  /** All messages with smaller numbers are confirmed. */
  confirmed = 0;

  constructor(socketPath: string, number: number) {
    this.#number = number;
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
      const burst = 1 + Math.floor(Math.random() * 50);
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
  readonly gaps: unknown[] = [];

  constructor(socketPath: string) {
    this.#client = new SluiceClient({ socketPath, hello: { role: 'app' }, reconnect: QUICK });
    this.#client.on('gap', (gap) => this.gaps.push(gap));
    onTestFinished(() => void this.#client.close(0));
  }

  async run(cursor: string): Promise<void> {
    await this.#client.connect();
    const handle = ({ offset }: ReceivedMessage) => void this.offsets.push(offset ?? -1);
    await this.#client.subscribe({ from: 'first', cursor, meta: true }, handle);
  }
}

async function startBroker(socketPath: string, log: string) {
  const flags = ['--workers', '1', '--patterns', 'off', '--log', log, '--log-segment-bytes', '65536'];
  const run = sluice(['serve', '--socket', socketPath, ...flags]);
  await run.says('listening');
  return run;
}

/**
 * Kills a broker with a durable log again and again, while three clients publish and two read with cursors. Checks that each
 * published message is stored once and in order, and that no cursor skips any.
 */
export async function killUnderLoad(kills: number): Promise<void> {
  const folder = temporaryFolder();
  const [socketPath, log] = [join(folder, 's'), join(folder, 'log')];
  let broker = await startBroker(socketPath, log);
  const producers = [0, 1, 2].map((number) => new Producer(socketPath, number));
  const consumers = [new Consumer(socketPath), new Consumer(socketPath)];
  await Promise.all(consumers.map((consumer, number) => consumer.run(`cursor-${number}`)));
  const runs = producers.map((producer) => producer.run());
  for (let kill = 0; kill < kills; kill++) {
    const before = producers.map(({ confirmed }) => confirmed);
    await until(() => producers.every(({ confirmed }, index) => confirmed > (before[index] ?? 0)));
    await delay(Math.random() * 100);
    broker.child.kill('SIGKILL');
    await once(broker.child, 'exit');
    broker = await startBroker(socketPath, log);
  }
  for (const producer of producers) producer.stop();
  await Promise.all(runs);
  const stored = new Map<number, number[]>();
  let end = 0;
  for await (const part of readLog(new FolderDisk(log))) {
    if ('to' in part) throw new Error(`messages ${part.from} to ${part.to} are missing: ${part.reason}`);
    for (const text of part.body.toString().split('\n').slice(0, -1)) {
      const { jobId, data } = JSON.parse(text) as { jobId: string; data: { processed: number } };
      const producer = Number(jobId.split('-')[1]);
      const numbers = stored.get(producer) ?? [];
      stored.set(producer, numbers);
      numbers.push(data.processed);
    }
    end = part.header.first + part.header.count;
  }
  for (const [producer, { published, confirmed }] of producers.entries()) {
    expect(confirmed).toBe(published);
    const numbers = stored.get(producer) ?? [];
    // Each once: after a reconnect, a client sends what the broker does not have.
    expect(numbers.findIndex((number, index) => number !== index)).toBe(-1);
    expect(numbers.length).toBe(published);
  }
  await until(() => consumers.every(({ offsets }) => offsets.at(-1) === end - 1));
  for (const { offsets, gaps } of consumers) {
    expect(gaps).toEqual([]);
    let next = 0;
    for (const offset of offsets) {
      expect(offset).toBeLessThanOrEqual(next);
      if (offset === next) next++;
    }
    expect(next).toBe(end);
  }
}

// A work group whose members and whose broker are killed again and again under load.

import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ReceivedMessage, SluiceClient } from 'sluice/client';
import { expect, onTestFinished } from 'vitest';
import { Cursors, LOG_CURSORS } from '#src/log/cursors.js';
import { deadLetterDisk, readDeadLetters } from '#src/log/dead-letters.js';
import { FolderDisk } from '#src/log/disk.js';
import { temporaryFolder, until } from './broker.js';
import { Producer, startDurableBroker } from './durable-kills.js';

const QUICK = { initialDelay: 5, maxDelay: 50 };
const MEMBERS = 3;
/** One of so many messages cannot be handled. */
const POISON = 500;
/** Share of the other messages that are given back once or more. */
const GIVEN_BACK = 0.02;
const REPLACE_INTERVAL = 100;

interface Content {
  readonly jobId: string;
  readonly data: { readonly processed: number };
}

const nameOf = ({ jobId, data }: Content) => `${jobId} ${data.processed}`;
const isPoison = ({ data }: Content) => data.processed % POISON === POISON - 1;

/** The processes that share the work, one of which is replaced now and then, without a word to the broker. */
class Group {
  readonly #socketPath: string;
  readonly #members: SluiceClient[] = [];
  readonly handled = new Set<string>();
  #isStopped = false;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
    onTestFinished(() => this.stop());
  }

  async run(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#members.length === MEMBERS) await this.#members.shift()?.close(0);
      const member = await this.#join();
      if (member !== undefined) this.#members.push(member);
      await delay(REPLACE_INTERVAL);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#members.map((member) => member.close(0)));
  }

  /** @returns `undefined` while there is no broker */
  async #join(): Promise<SluiceClient | undefined> {
    const client = new SluiceClient({
      socketPath: this.#socketPath,
      hello: { role: 'app' },
      reconnect: QUICK,
    });
    client.on('gap', (gap) => {
      throw new Error(`messages are missing: ${JSON.stringify(gap)}`);
    });
    try {
      await client.connect();
    } catch {
      await client.close(0);
      return undefined;
    }
    const filter = {
      group: 'workers',
      ack: 'manual',
      from: 'first',
      maxUnacked: 100,
      // On a busy machine, several members in a row end while they have the same message, which could be handled.
      maxDeliveries: 8,
    } as const;
    const subscription = await client.subscribe(filter, (event: ReceivedMessage) => {
      const content = event.message as unknown as Content;
      const isLost = isPoison(content) || Math.random() < GIVEN_BACK;
      // Done in another order than they came.
      setTimeout(() => {
        if (isLost) return subscription.nack(event, { delay: 10 });
        subscription.ack(event);
        this.handled.add(nameOf(content));
      }, Math.random() * 20);
    });
    return client;
  }
}

/**
 * Checks that each published message is handled, or in the dead letters if it cannot be, and that the group has settled
 * everything in the end.
 */
export async function killGroupUnderLoad(kills: number): Promise<void> {
  const folder = temporaryFolder();
  const [socketPath, log] = [join(folder, 's'), join(folder, 'log')];
  let broker = await startDurableBroker(socketPath, log);
  const producers = [0, 1].map((number) => new Producer(socketPath, number, 200));
  const group = new Group(socketPath);
  const running = group.run();
  const runs = producers.map((producer) => producer.run());
  for (let kill = 0; kill < kills; kill++) {
    const before = group.handled.size;
    await until(() => group.handled.size > before + 100);
    await delay(Math.random() * 100);
    broker.child.kill('SIGKILL');
    await once(broker.child, 'exit');
    broker = await startDurableBroker(socketPath, log);
  }
  for (const producer of producers) producer.stop();
  await Promise.all(runs);
  const [ordinary, poison] = [new Set<string>(), new Set<string>()];
  for (const [producer, { published }] of producers.entries())
    for (let processed = 0; processed < published; processed++) {
      const content = { jobId: `producer-${producer}`, data: { processed } };
      (isPoison(content) ? poison : ordinary).add(nameOf(content));
    }
  await until(() => group.handled.size >= ordinary.size);
  expect(group.handled).toEqual(ordinary);
  let dead = new Set<string>();
  while (dead.size < poison.size) {
    await delay(50);
    dead = await deadIn(log);
  }
  for (const name of poison) expect(dead).toContain(name);
  while ((await settledIn(log)) < ordinary.size + poison.size) await delay(50);
  await group.stop();
  await running;
  broker.child.kill('SIGTERM');
  await once(broker.child, 'exit');
}

/** The offset before which the group has settled everything. */
async function settledIn(log: string): Promise<number> {
  const cursors = await Cursors.read(LOG_CURSORS, new FolderDisk(log));
  return cursors.get('workers')?.offset ?? 0;
}

async function deadIn(log: string): Promise<Set<string>> {
  const names = new Set<string>();
  for await (const { content = '' } of readDeadLetters(deadLetterDisk(log)))
    names.add(nameOf(JSON.parse(Buffer.from(content, 'base64').toString()) as Content));
  return names;
}

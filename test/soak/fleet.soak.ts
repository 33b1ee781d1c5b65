// A fleet of many hosts: brokers that are killed at random, and hosts that are only publishers in the format of the wire,
// with an engine that is killed twice. Everything confirmed reaches the subscribers, once and in order.

import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ReceivedMessage, SluiceClient } from 'sluice/client';
import { expect, onTestFinished, test } from 'vitest';
import { OutOfSequenceError } from '#src/fleet/engine.js';
import { NatsEngine } from '#src/fleet/nats-engine.js';
import { endOf } from '#src/fleet/stream-batch.js';
import { temporaryFolder, until } from '../support/broker.js';
import { BrokerProcess } from '../support/broker-process.js';
import { QUICK } from '../support/fleet.js';
import { hasNatsServer, NatsServer } from '../support/nats-server.js';
import { numbered, numberedBlock } from '../support/numbered.js';
import { SOAK_DURATION, scaled } from './duration.js';

/** Hosts with a broker, and those without. */
const BROKERS = scaled(8, 2);
const PUBLISHERS = scaled(42, 3);
/** How long the engine is away, and time between two kills of a broker, in ms. */
const OUTAGE = Math.min(30_000, SOAK_DURATION / 10);
const KILL_INTERVAL = Math.min(10_000, SOAK_DURATION / 3);

/** A host with a broker, and a crawler that sends numbered messages to it. */
class BrokerHost {
  readonly number: number;
  readonly socketPath: string;
  readonly #flags: readonly string[];
  readonly #client: SluiceClient;
  #broker: BrokerProcess | undefined;
  published = 0;
  kills = 0;

  constructor(number: number, engine: NatsServer) {
    const folder = temporaryFolder();
    this.number = number;
    this.socketPath = join(folder, 's');
    this.#flags = ['--log', join(folder, 'log'), '--fleet', engine.address, '--fleet-host', `host-${number}`];
    this.#client = new SluiceClient({
      socketPath: this.socketPath,
      hello: { role: 'crawler', crawlerId: `crawler-${number}` },
      reconnect: QUICK,
    });
    onTestFinished(() => void this.#client.close(0));
  }

  async start(): Promise<void> {
    this.#broker = await BrokerProcess.start([...this.#flags, '--patterns', 'off'], this.socketPath);
  }

  async kill(): Promise<void> {
    const { child } = this.#broker?.run ?? {};
    if (child === undefined) return;
    this.#broker = undefined;
    this.kills++;
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await this.start();
  }

  /** Publishes until the time is over. Resolves when everything is confirmed. */
  async publish(until: number): Promise<void> {
    await this.#client.connect();
    while (performance.now() < until) {
      for (let count = 0; count < 10; count++)
        this.#client.publishRaw(numbered(this.number, this.published++));
      await delay(200 * Math.random());
    }
    await this.#client.flush();
  }
}

/** A host without a broker: stores batches as one does. */
async function publishAs(number: number, address: string, until: number): Promise<number> {
  const host = `host-${number}`;
  const epoch = number.toString(16).padStart(16, '0');
  const engine = await NatsEngine.load({
    servers: [address],
    name: 'main',
    credentials: undefined,
    tls: undefined,
    storesMessages: false,
    maxBytes: -1,
    maxAge: 3_600_000,
    replicas: 1,
    onError: () => {},
    onStream: () => {},
  });
  engine.start();
  const sender = { id: `c-${number}`, crawlerId: `crawler-${number}` };
  let published = 0;
  while (performance.now() < until || published === 0) {
    try {
      await engine.whenConnected(AbortSignal.timeout(60_000));
      const last = await engine.lastBatch(host);
      published = last.batch === undefined ? 0 : endOf(last.batch).offset;
      let sequence = last.previous;
      while (performance.now() < until || published === 0) {
        const count = 1 + Math.floor(20 * Math.random());
        const body = Buffer.from(numberedBlock(number, published, published + count));
        const runs = [{ sender, sequence: published + 1, count, bytes: body.length }];
        sequence = await engine.publish(
          { host, start: { epoch, offset: published }, count, runs, body },
          sequence,
        );
        published += count;
        await delay(1000 * Math.random());
      }
    } catch (error) {
      if (!(error instanceof OutOfSequenceError)) await delay(100);
    }
  }
  // What was stored without an answer counts, too.
  for (;;) {
    try {
      await engine.whenConnected(AbortSignal.timeout(60_000));
      const last = await engine.lastBatch(host);
      published = last?.batch === undefined ? 0 : endOf(last.batch).offset;
      break;
    } catch {
      await delay(100);
    }
  }
  await engine.close();
  return published;
}

/** An application that gets everything. Leaves out what it has, which is identified by its host and offset. */
class Subscriber {
  readonly #client: SluiceClient;
  readonly gaps: unknown[] = [];
  readonly faults: string[] = [];
  /** By host: the number of messages. */
  readonly #counts = new Map<string, number>();
  repeated = 0;

  constructor(socketPath: string) {
    this.#client = new SluiceClient({ socketPath, reconnect: QUICK });
    this.#client.on('gap', (gap) => this.gaps.push(gap));
    onTestFinished(() => void this.#client.close(0));
  }

  async start(): Promise<void> {
    await this.#client.connect();
    await this.#client.subscribe({ scope: 'fleet', from: 'first', meta: true }, (event) => this.#read(event));
  }

  #read({ host = '', offset = -1, message }: ReceivedMessage): void {
    const { jobId, data } = message as { jobId?: string; data?: { processed?: number } };
    const count = this.#counts.get(host) ?? 0;
    const content = `producer-${host.slice('host-'.length)} ${offset}`;
    // The crawler's number is the offset, since it is the only one of its host.
    if (`${jobId} ${data?.processed}` !== content)
      this.faults.push(`${jobId} ${data?.processed}: ${content}`);
    if (offset < count) this.repeated++;
    else if (offset > count) this.faults.push(`${host}: ${offset} in the place of ${count}`);
    else this.#counts.set(host, count + 1);
  }

  has(number: number, count: number): boolean {
    return (this.#counts.get(`host-${number}`) ?? 0) >= count;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }
}

test.skipIf(!hasNatsServer)(
  'a fleet loses and repeats nothing, whoever is killed (needs nats-server)',
  async () => {
    const engine = await NatsServer.start();
    const hosts = Array.from({ length: BROKERS }, (_, number) => new BrokerHost(number, engine));
    for (const host of hosts) await host.start();
    // The broker of the second one is killed now and then.
    const subscribers = hosts.slice(0, 2).map(({ socketPath }) => new Subscriber(socketPath));
    for (const subscriber of subscribers) await subscriber.start();
    const start = performance.now();
    const end = start + SOAK_DURATION;
    const publishing = hosts.map((host) => host.publish(end));
    const virtual = Array.from({ length: PUBLISHERS }, (_, index) =>
      publishAs(BROKERS + index, engine.address, end),
    );
    const killEngine = async (at: number): Promise<void> => {
      await delay(at);
      await engine.kill();
      await delay(OUTAGE);
      await engine.start();
    };
    const killBrokers = async (): Promise<void> => {
      for (;;) {
        await delay(KILL_INTERVAL * (0.5 + Math.random()));
        if (performance.now() > end) return;
        await hosts[1 + Math.floor(Math.random() * (BROKERS - 1))]?.kill();
      }
    };
    await Promise.all([killEngine(SOAK_DURATION / 4), killEngine(SOAK_DURATION / 2 + OUTAGE), killBrokers()]);
    await Promise.all(publishing);
    const published = [...hosts.map((host) => host.published), ...(await Promise.all(virtual))];
    for (const subscriber of subscribers) {
      await until(() => published.every((count, number) => subscriber.has(number, count)));
      expect(subscriber.faults).toEqual([]);
      expect(subscriber.gaps).toEqual([]);
      expect(subscriber.total).toBe(published.reduce((sum, count) => sum + count, 0));
      expect(subscriber.repeated).toBe(0);
    }
    const kills = hosts.reduce((sum, host) => sum + host.kills, 0);
    console.log(
      `fleet: ${BROKERS} brokers and ${PUBLISHERS} publishers, ${subscribers[0]?.total} messages, ${kills} brokers killed`,
    );
  },
);

// A long day in short: everything at once at full blast, with every kind of fault. What is accepted reaches the
// block subscribers in order, the counters agree, and memory does not grow. With the durable log, what is accepted also
// reaches a reader of the log, and the log does not outgrow its limit.

import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Traffic } from '#src/traffic/traffic.js';
import { temporaryFolder, until } from '../support/broker.js';
import { Flood } from '../support/flood.js';
import { MeasuredBroker } from '../support/measured-broker.js';
import { line, VALID } from '../support/messages.js';
import { numberedBlock, StreamLedger } from '../support/numbered.js';
import { Peer } from '../support/peer.js';
import { SOAK_DURATION } from './duration.js';

const MB = 1e6;
const FLOODS = 3;
/** How far RSS may rise over the second half, by the line fitted through its samples. */
const MAX_GROWTH = 40 * MB;
/** How long memory takes to fill, in ms: before, its growth says nothing. */
const WARM_UP = 60_000;
/** What a broker that is still warming up may have in RSS. */
const MAX_RSS = 400 * MB;
const SAMPLES = 24;
const VISIT_MS = 300;
const DEADLY_MS = Math.min(10_000, SOAK_DURATION / 4);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Size of the log, which is written again and again. */
const LOG_BYTES = 128 * 1024 * 1024;
/** Of a file of the log that is about to be removed or overwritten. */
const LOG_SLACK = 1024 * 1024;

/** A subscriber that loses nothing: all it gets is checked as it comes. */
class Checker {
  readonly ledger = new StreamLedger();
  /** Forwarded messages, numbered or not. */
  forwarded = 0;
  readonly #peer: Peer;
  /** Offset of the next message of the log, for a reader of the log. */
  #position = 0;

  private constructor(peer: Peer) {
    this.#peer = peer;
  }

  static async start(socketPath: string, subscription: object): Promise<Checker> {
    const peer = await (await Peer.connect(socketPath)).subscribe(subscription);
    const checker = new Checker(peer);
    peer.lines.splice(0);
    peer.socket.on('data', () => checker.#take());
    return checker;
  }

  /** Waits until all that was forwarded to it so far is here. @param end of the log, for a reader of the log */
  async settled(end: number | undefined): Promise<void> {
    if (end !== undefined) return until(() => this.#position >= end);
    const pong = new Promise<void>((resolve) => {
      this.#onPong = resolve;
    });
    this.#peer.say('ping');
    await pong;
  }

  close(): Promise<void> {
    return this.#peer.close();
  }

  #onPong = (): void => {};

  #take(): void {
    for (const text of this.#peer.lines.splice(0)) {
      if (this.ledger.readLine(text)) this.forwarded++;
      else if (text.startsWith('{"type":"pong"')) this.#onPong();
      else if (text.startsWith('{"type":"position"')) this.#position = Number(/:(\d+)"/.exec(text)?.[1]);
      else this.forwarded++;
    }
  }
}

/** What the clients know that the broker must have counted. */
let book = { accepted: 0, rejected: 0 };
let nextProducer = 0;
/** Producers that have left, and how many messages each has sent: not looked for yet. */
const finished: [producer: number, count: number][] = [];
/** Subscribers that lose nothing, and those of them that read the log. */
let checkers: Checker[] = [];
let logCheckers: Checker[] = [];

/** Runs `visit` again and again until a time, in ms of the monotonic clock. */
async function repeat(end: number, visit: () => Promise<void>): Promise<void> {
  while (performance.now() < end) await visit();
}

/** Publishers that come, send, and go, by closing their side or by breaking off. */
async function visitAsPublisher(broker: MeasuredBroker): Promise<void> {
  const { socketPath } = broker;
  const peer = await Peer.connect(socketPath);
  const producer = nextProducer++;
  const count = 1 + Math.floor(Math.random() * 500);
  const block = numberedBlock(producer, 0, count);
  if (producer % 2 === 0) peer.socket.end(block);
  else peer.socket.write(block, () => peer.socket.destroy());
  await peer.closed;
  book.accepted += count;
  // Who broke off does not see when the broker is done with what it sent: that is looked at much later.
  finished.push([producer, count]);
  if (finished.length > 1000) await finish(broker, 500);
}

/** Checks that the first of the producers that are gone have reached every checker. */
async function finish(broker: MeasuredBroker, count: number): Promise<void> {
  const peer = await Peer.connect(broker.socketPath);
  await peer.settled();
  const { durableLog } = (await broker.sample()).metrics;
  for (const checker of checkers)
    await checker.settled(logCheckers.includes(checker) ? durableLog?.end : undefined);
  for (const [producer, sent] of finished.splice(0, count))
    for (const { ledger } of checkers) ledger.finish(producer, sent);
  await peer.close();
}

/** Subscribers that come, read or do not, and go. */
async function visitAsSubscriber(socketPath: string): Promise<void> {
  const peer = await Peer.connect(socketPath);
  const overflow = ['disconnect', 'drop-oldest', 'drop-newest'][Math.floor(Math.random() * 3)];
  peer.say('subscribe', { id: 'visit', overflow, meta: Math.random() < 0.3 });
  if (Math.random() < 0.5) peer.socket.pause();
  else peer.socket.on('data', () => peer.lines.splice(0));
  await pause(Math.random() * 2 * VISIT_MS);
  await peer.close();
}

/** Peers that send nothing good, and one message now and then that no worker survives. */
async function visitAsFool(socketPath: string): Promise<void> {
  const peer = await Peer.connect(socketPath);
  const bad = ['nonsense\n', '{}\n', line({ ...VALID.heartbeat, data: {} }), '{"type":"fly"}\n'];
  for (const text of bad) peer.write(text.repeat(10));
  book.rejected += bad.length * 10;
  await peer.settled();
  await pause(VISIT_MS);
  await peer.close();
}

async function sendDeadly(socketPath: string): Promise<void> {
  await pause(DEADLY_MS);
  const peer = await Peer.connect(socketPath);
  peer.write(line({ type: 'deadly' }));
  book.rejected++;
  expect((await peer.next('error')).data.code).toBe('VALIDATION_FAILED');
  await peer.close();
}

/** One crawler with a crawler's own mix of messages. */
async function crawl(socketPath: string, end: number): Promise<void> {
  const peer = await Peer.connect(socketPath);
  const block = new Traffic({ seed: 7 }).block(1000);
  await repeat(end, async () => {
    if (!peer.socket.write(block)) await once(peer.socket, 'drain');
    book.accepted += 1000;
    await pause(1);
  });
  await peer.settled();
  await peer.close();
}

interface Row {
  readonly minute: number;
  readonly messages: number;
  readonly rss: number;
}

/** Slope of the least squares line through the points, per unit of x. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (index: 0 | 1) => points.reduce((sum, point) => sum + point[index], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

// A short soak takes the larger of the two.
test.each(SOAK_DURATION < WARM_UP ? [true] : [false, true])(
  'mixed traffic with faults, durable: %s: nothing accepted is lost, the counters agree, memory does not grow',
  async (isDurable) => {
    book = { accepted: 0, rejected: 0 };
    finished.length = 0;
    const log = isDurable
      ? ({
          log: join(temporaryFolder(), 'log'),
          logMaxBytes: LOG_BYTES,
          logKeep: 'unread',
          logFull: 'block',
        } as const)
      : {};
    const broker = await MeasuredBroker.start({
      ...log,
      schemas: fileURLToPath(new URL('../support/deadly-schemas.mjs', import.meta.url)),
      maxPendingBytes: 4 * 1024 * 1024,
      // Each visit has a job of its own: the table of jobs is full long before the second half.
      maxJobOwners: 10_000,
      workers: { threads: 1 },
      cleanupInterval: 5000,
    });
    const { socketPath } = broker;
    logCheckers = isDurable ? [await Checker.start(socketPath, { from: 'first', cursor: 'checker' })] : [];
    checkers = [
      await Checker.start(socketPath, { overflow: 'block' }),
      await Checker.start(socketPath, { overflow: 'block' }),
      ...logCheckers,
    ];
    const startedAt = performance.now();
    const end = startedAt + SOAK_DURATION;
    const floods: Flood[] = [];
    for (let index = 0; index < FLOODS; index++)
      floods.push(new Flood(await Peer.connect(socketPath), nextProducer++));
    const load = Promise.all([
      crawl(socketPath, end),
      repeat(end, () => visitAsPublisher(broker)),
      repeat(end, () => visitAsSubscriber(socketPath)),
      repeat(end, () => visitAsSubscriber(socketPath)),
      repeat(end, () => visitAsFool(socketPath)),
      repeat(end, () => sendDeadly(socketPath)),
    ]);

    const rows: Row[] = [];
    console.log('  minute   messages/s    RSS MB   heap MB  slabs MB  restarts');
    await repeat(end, async () => {
      await pause(SOAK_DURATION / SAMPLES);
      const sample = await broker.sample();
      const now: Row = {
        minute: (performance.now() - startedAt) / 60_000,
        messages: sample.metrics.totals.messagesReceived,
        rss: sample.memory.rss,
      };
      const before = rows.at(-1) ?? { minute: 0, messages: 0 };
      rows.push(now);
      const cells = [
        now.minute.toFixed(2).padStart(8),
        ((now.messages - before.messages) / (now.minute - before.minute) / 60).toFixed(0).padStart(13),
        (now.rss / MB).toFixed(0).padStart(10),
        (sample.memory.heapUsed / MB).toFixed(0).padStart(10),
        (sample.metrics.memory.allocatedBytes / MB).toFixed(0).padStart(10),
        String(sample.metrics.dispatch.retries).padStart(10),
      ];
      console.log(cells.join(''));
      expect(checkers.flatMap(({ ledger }) => ledger.faults)).toEqual([]);
      expect(sample.metrics.memory.heldBytes).toBeGreaterThanOrEqual(0);
      expect(sample.metrics.durableLog?.bytes ?? 0).toBeLessThan(LOG_BYTES + LOG_SLACK);
    });

    await load;
    await Promise.all(floods.map((flood) => flood.finish()));
    // Until the broker has read to their end all that have left.
    while ((await broker.sample()).metrics.connections.size > checkers.length + FLOODS) await pause(10);
    await finish(broker, finished.length);
    for (const { producer, sent, peer } of floods) {
      book.accepted += sent;
      for (const { ledger } of checkers) ledger.finish(producer, sent);
      await peer.close();
    }
    expect(checkers.flatMap(({ ledger }) => ledger.faults)).toEqual([]);

    const { metrics } = await broker.sample();
    const { ping, subscribe } = metrics.protocol.control;
    const count = (counts: object) => Object.values(counts).reduce((sum: number, value) => sum + value, 0);
    expect(count(metrics.protocol.accepted)).toBe(book.accepted);
    expect(count(metrics.protocol.rejected)).toBe(book.rejected);
    expect(checkers.map((checker) => checker.forwarded)).toEqual(checkers.map(() => book.accepted));
    expect(subscribe).toBeGreaterThan(2);
    expect(ping).toBeGreaterThan(0);
    for (const checker of checkers) await checker.close();
    expect(metrics.memory.heldBytes).toBe(0);

    const half = rows.slice(Math.floor(rows.length / 2));
    const minutes = (half.at(-1)?.minute ?? 0) - (half[0]?.minute ?? 0);
    const perMinute = slope(half.map(({ minute, rss }) => [minute, rss]));
    console.log(`RSS over the second half: ${(perMinute / MB).toFixed(2)} MB a minute`);
    if (SOAK_DURATION / 2 >= WARM_UP) expect(perMinute * minutes).toBeLessThan(MAX_GROWTH);
    else expect(Math.max(...rows.map(({ rss }) => rss))).toBeLessThan(MAX_RSS);
    expect(await broker.stop()).toBe(0);
  },
);

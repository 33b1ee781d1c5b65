// Load generators, each in a separate process: a publisher that writes prebuilt blocks, and a subscriber that counts bytes.
// Both are cheap, so that the measurement is dominated by the broker. They run in phases.

import type { Socket } from 'node:net';
import { BlockStream } from './block-stream.js';
import { open, type Target } from './connect.js';
import { type DeliverySettings, deliveriesOf } from './deliveries.js';
import { crawlerIdOf, EVERYTHING, SHARED, type Subscription, subscriptionsOf } from './filters.js';
import { SUBSCRIBE_REJECTED, WIRES } from './wires.js';

/** Settings of a load generator: its first argument, as JSON. */
export interface LoadSettings extends Target, DeliverySettings {
  readonly role: 'publisher' | 'subscriber';
  /** Number of subscribing connections. */
  readonly connections: number;
  /** Whether the subscribers share the messages. */
  readonly isGroup?: boolean | undefined;
  /** Whether another connection receives the rejected messages, which are not counted. */
  readonly watchesRejected?: boolean | undefined;
  /** Number of blocks that each publisher sends, by phase. */
  readonly phases: readonly number[];
  /** Instead of its phases, a subscriber reports the bytes received by the end of each interval, in ms. */
  readonly sampling?: { readonly intervals: number; readonly interval: number } | undefined;
}

/** A load generator's report to the bench: `ready` to start, then `done` after each phase. */
export interface LoadReport {
  readonly event: 'ready' | 'done';
  /** Bytes sent, or received by all connections together, in the latest phase. */
  readonly bytes: number;
  /** Messages received by all connections together in the latest phase. */
  readonly messages?: number;
  /** Bytes received since the start by the end of each interval. */
  readonly received?: readonly number[];
}

const READ_SIZE = 256 * 1024;
/** Interval at which due messages are sent, in ms. */
const TICK = 1;
/** Bytes at the end of a read that may contain the answer to a ping. */
const ANSWER_SIZE = 200;

function report(report: LoadReport): void {
  process.send?.(report);
}

const nextCommand = () => new Promise((resolve) => process.once('message', resolve));

async function publish(settings: LoadSettings): Promise<void> {
  const { content, filter, first = 0, phases, publishers } = settings;
  const wire = WIRES[settings.wire];
  const senders: Sender[] = [];
  // Sequentially, because brokers have small connection backlogs.
  for (let publisher = first; publisher < first + publishers; publisher++) {
    const socket = await open(settings);
    socket.write(wire.greeting(filter === 'crawler' ? crawlerIdOf(publisher) : undefined));
    senders.push(new Sender(socket, new BlockStream(settings, publisher, wire)));
  }
  const rate = content.cadence === undefined ? undefined : content.cadence / publishers;
  report({ event: 'ready', bytes: 0 });
  for (const count of phases) {
    await nextCommand();
    const sent = await Promise.all(
      senders.map((sender) => (rate === undefined ? sender.send(count) : sender.sendPaced(count, rate))),
    );
    // The last message may match no subscription, so that its delivery does not show that the broker has processed all.
    if (filter !== undefined) await Promise.all(senders.map((sender) => sender.confirm(wire)));
    report({ event: 'done', bytes: sent.reduce((sum, bytes) => sum + bytes, 0) });
  }
}

/** One publishing connection. */
class Sender {
  readonly #socket: Socket;
  readonly #stream: BlockStream;
  #answer = '';
  #onAnswer: () => void = () => {};

  constructor(socket: Socket, stream: BlockStream) {
    this.#socket = socket;
    this.#stream = stream;
    socket.on('data', (bytes: Buffer) => {
      const end = bytes.toString('latin1', Math.max(0, bytes.length - ANSWER_SIZE));
      this.#answer = (this.#answer + end).slice(-ANSWER_SIZE);
      this.#onAnswer();
    });
    socket.on('close', () => {
      process.stderr.write('the broker closed a publisher\n');
      process.exit(1);
    });
  }

  /** Sends as fast as possible, one block while the previous one is being written. Resolves with the number of bytes. */
  async send(count: number): Promise<number> {
    const writes = [Promise.resolve(), Promise.resolve()];
    let bytes = 0;
    for (let sent = 0; sent < count; sent++) {
      await writes[sent % 2];
      const block = this.#stream.next();
      bytes += block.length;
      writes[sent % 2] = this.#write(block);
    }
    await Promise.all(writes);
    return bytes;
  }

  /** Sends a number of messages per second. */
  async sendPaced(count: number, rate: number): Promise<number> {
    const { ends } = this.#stream;
    const startedAt = performance.now();
    let bytes = 0;
    for (let blocks = 0; blocks < count; blocks++) {
      const block = this.#stream.next();
      for (let sent = 0; sent < ends.length; ) {
        const due = Math.floor(((performance.now() - startedAt) / 1000) * rate) - blocks * ends.length;
        if (due > sent) {
          const upTo = Math.min(due, ends.length);
          await this.#write(block.subarray(ends[sent - 1] ?? 0, ends[upTo - 1]));
          sent = upTo;
        } else {
          await new Promise((resolve) => setTimeout(resolve, TICK));
        }
      }
      bytes += block.length;
    }
    return bytes;
  }

  /** Resolves when the broker has processed everything sent. */
  confirm({ ping, pong }: { ping: Buffer; pong: string }): Promise<void> {
    this.#answer = '';
    return new Promise((resolve) => {
      this.#onAnswer = () => {
        if (this.#answer.includes(pong)) resolve();
      };
      this.#socket.write(ping);
    });
  }

  #write(bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error == null ? resolve() : reject(error)));
    });
  }
}

/** The subscriptions of each connection. */
function subscriptionsByConnection(settings: LoadSettings): Subscription[][] {
  const { connections, content, filter, first, isGroup = false, publishers, subscriptions = 0 } = settings;
  if (filter === undefined) return Array.from({ length: connections }, () => [isGroup ? SHARED : EVERYTHING]);
  const all = subscriptionsOf(filter, subscriptions, content, publishers, first);
  return Array.from({ length: connections }, (_, connection) =>
    all.filter((_, index) => index % connections === connection),
  );
}

/** Only counts bytes: the number of bytes of each phase is known. */
async function subscribe(settings: LoadSettings): Promise<void> {
  const wire = WIRES[settings.wire];
  const { sampling } = settings;
  const expected = sampling === undefined ? deliveriesOf(settings, settings.phases) : [];
  const buffer = Buffer.alloc(READ_SIZE);
  let bytes = 0;
  let bytesBefore = 0;
  let phase = 0;
  let started = 0;
  let count = (): void => {
    // NATS pings its clients occasionally, so there may be a few more bytes than those of the messages.
    for (;;) {
      const deliveries = expected[phase];
      if (deliveries === undefined || phase === started || bytes - bytesBefore < deliveries.bytes) return;
      report({ event: 'done', ...deliveries });
      bytesBefore += deliveries.bytes;
      phase++;
    }
  };
  const connect = async (greeting: Buffer, subscriptions: number, onBytes: (length: number) => void) => {
    let answer: string | undefined = '';
    let confirm: () => void = () => {};
    const confirmed = new Promise<void>((resolve) => {
      confirm = resolve;
    });
    const callback = (length: number): boolean => {
      if (answer === undefined) {
        onBytes(length);
        return true;
      }
      // Nothing is published before all subscribers are ready, so these bytes answer the greeting.
      answer += buffer.toString('latin1', 0, length);
      if (!wire.isConfirmed(answer, subscriptions)) return true;
      answer = undefined;
      confirm();
      return true;
    };
    const socket = await open(settings, { buffer, callback });
    socket.on('close', () => {
      process.stderr.write(`the broker closed a subscriber; all have received ${bytes} bytes\n`);
      process.exit(1);
    });
    socket.write(greeting);
    await confirmed;
  };
  const add = (length: number): void => {
    bytes += length;
    count();
  };
  for (const subscriptions of subscriptionsByConnection(settings)) {
    await connect(wire.subscribe(subscriptions), subscriptions.length, add);
  }
  if (settings.watchesRejected === true) await connect(SUBSCRIBE_REJECTED, 1, () => {});
  report({ event: 'ready', bytes: 0 });
  if (sampling === undefined) {
    for (; started < expected.length; started++, count()) await nextCommand();
    return;
  }

  await nextCommand();
  const { intervals, interval } = sampling;
  const startedAt = performance.now();
  const received: number[] = [];
  let counted = bytes;
  // Adds the intervals that have ended since the latest read.
  count = () => {
    const ended = Math.min(intervals, Math.floor((performance.now() - startedAt) / interval));
    while (received.length < ended) received.push(counted);
    counted = bytes;
  };
  while (received.length < intervals) {
    await new Promise((resolve) => setTimeout(resolve, interval / 4));
    count();
  }
  report({ event: 'done', bytes, received });
}

const settings = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : subscribe(settings));

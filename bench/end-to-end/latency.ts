// The latency load: one process publishes at a constant rate and subscribes, so that one clock measures the
// latency. All messages have one size, so the number of bytes received gives the number of messages.

import { open, type Target } from './connect.js';
import { blockOf, type Content } from './content.js';
import {
  crawlerIdOf,
  EVERYTHING,
  type Filter,
  type Subscription,
  subscriptionsOf,
  topicOf,
} from './filters.js';
import { WIRES, type WireName } from './wires.js';

/** Settings: the first argument, as JSON. */
export interface LatencySettings extends Target {
  readonly wire: WireName;
  /** Messages per second. */
  readonly rate: number;
  /** Duration of the measurement, in s. */
  readonly seconds: number;
  /** Messages sent before the measurement, to warm up the just-in-time compilers. */
  readonly warmUp: number;
  /** What the subscriber selects its own messages by, if there are others. Default: all messages. */
  readonly filter?: Filter | undefined;
}

/** From before the write to after the read, in µs. */
export interface LatencyReport {
  readonly event: 'latency';
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly messages: number;
}

const READ_SIZE = 256 * 1024;
/** Interval at which due messages are sent, in ms. */
const TICK = 1;
/** The content: messages of one size. */
const CONTENT: Content = { size: 'fixed' };
/** This publisher's number. */
const PUBLISHER = 0;
/** Messages per second during the warm-up. */
const WARM_UP_RATE = 5000;

const settings = JSON.parse(process.argv[2] ?? '{}') as LatencySettings;
process.on('disconnect', () => process.exit());
process.send?.(await run(settings));

async function run({ rate, seconds, warmUp, filter, ...target }: LatencySettings): Promise<LatencyReport> {
  const wire = WIRES[target.wire];
  const block = blockOf(CONTENT, PUBLISHER, 1);
  const messages = block.map((message) => wire.encode(message.line, topicOf(filter, message, PUBLISHER)));
  const [subscription] =
    filter === undefined ? [EVERYTHING] : subscriptionsOf(filter, 1, CONTENT, 1, PUBLISHER);
  if (subscription === undefined) throw new Error('there is no subscription');
  const size = wire.delivered(Buffer.byteLength(block[0]?.line ?? ''), subscription.topic);
  const greeting = wire.greeting(filter === 'crawler' ? crawlerIdOf(PUBLISHER) : undefined);
  const total = warmUp + Math.ceil(rate * seconds);
  const warmTime = warmUp / WARM_UP_RATE;
  const dueAfter = (time: number): number =>
    Math.floor(time < warmTime ? time * WARM_UP_RATE : Math.min(total, warmUp + (time - warmTime) * rate));
  const sentAt = new Float64Array(total);
  const latency = new Float64Array(total);
  let received = 0;

  const finished = new Promise<void>((resolve) => {
    void subscribe(target, wire, subscription, (bytes) => {
      const now = performance.now();
      const whole = Math.min(total, Math.floor(bytes / size));
      for (; received < whole; received++) latency[received] = now - (sentAt[received] ?? 0);
      if (received === total) resolve();
    }).then(() => send(target, greeting, messages, dueAfter, sentAt));
  });
  await finished;
  const sorted = latency.subarray(warmUp).sort();
  const quantile = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0) * 1000;
  return {
    event: 'latency',
    p50: quantile(0.5),
    p99: quantile(0.99),
    p999: quantile(0.999),
    messages: sorted.length,
  };
}

/** Resolves when the subscription is confirmed. After that, calls `onBytes` with the total number of bytes received. */
function subscribe(
  target: Target,
  wire: (typeof WIRES)[WireName],
  subscription: Subscription,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const buffer = Buffer.alloc(READ_SIZE);
  let answer = '';
  let bytes = -1;
  return new Promise((resolve, reject) => {
    const callback = (length: number): boolean => {
      if (bytes >= 0) {
        bytes += length;
        onBytes(bytes);
      } else {
        answer += buffer.toString('latin1', 0, length);
        if (wire.isConfirmed(answer, 1)) {
          bytes = 0;
          resolve();
        }
      }
      return true;
    };
    open(target, { buffer, callback }).then((socket) => socket.write(wire.subscribe([subscription])), reject);
  });
}

/**
 * Sends the due messages at each tick.
 * @param dueAfter number of messages due at a time, in s after the start
 */
async function send(
  target: Target,
  greeting: Buffer,
  messages: readonly Buffer[],
  dueAfter: (time: number) => number,
  sentAt: Float64Array,
): Promise<void> {
  const socket = await open(target);
  socket.resume();
  socket.write(greeting);
  const startedAt = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = dueAfter((performance.now() - startedAt) / 1000);
    if (due === sent) return;
    const batch: Buffer[] = [];
    const now = performance.now();
    for (; sent < due; sent++) {
      batch.push(messages[sent % messages.length] as Buffer);
      sentAt[sent] = now;
    }
    socket.write(Buffer.concat(batch));
    if (sent === sentAt.length) clearInterval(timer);
  }, TICK);
}

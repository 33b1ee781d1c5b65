// The peers of `sluice bench`, in two processes of their own: all publishers, and all subscribers. They send what was
// made beforehand, and count bytes.

import { once } from 'node:events';
import type { ClientOptions } from '../../client/client-options.js';
import { describeError, type ErrorCode, SluiceError } from '../../errors.js';
import { exitWithParent, receiveFromParent, sendToParent } from '../common/parent-process.js';
import { BenchConnection, errorCodeIn } from './bench-connection.js';
import { CLOCK_SIZE, findClocks, makeBlock, makeClock, planOf, sharedNow, shareOf } from './bench-content.js';

/** What a process of peers is told first; `go` comes later. */
export interface BenchSettings {
  readonly role: 'publishers' | 'subscribers';
  readonly connection: ClientOptions;
  /** Who the publishers say they are: subscribers want nobody else's messages, since they count bytes. */
  readonly crawlerId: string;
  /** How many connections. */
  readonly connections: number;
  /** Messages that all publishers send together. */
  readonly messages: number;
  /** Bytes of each message; none: a crawler's mix. */
  readonly size: number | undefined;
  /** Messages a second of the one publisher, each a clock; none: blocks, as fast as the broker takes them. */
  readonly rate: number | undefined;
  /** Publishers: bytes that they will send is what subscribers wait for. */
  readonly expectedBytes: number;
}

/** What a process tells. Times are in ms from `go`. */
export type BenchReport =
  | { readonly event: 'ready'; readonly bytes: number }
  | { readonly event: 'progress'; readonly bytes: number }
  | {
      readonly event: 'done';
      readonly bytes: number;
      /** When each connection was done. */
      readonly times: readonly number[];
      /** µs that clocks were on their way, as far as they were found. */
      readonly latencies: readonly number[];
      /** The first code with which a message was rejected. */
      readonly rejectedWith: ErrorCode | undefined;
    }
  | { readonly event: 'failed'; readonly code: ErrorCode | undefined; readonly message: string };

const REPORT_INTERVAL = 100;
/** How often a paced publisher sends what is due, in ms. */
const TICK = 1;
/** Latencies that are kept: from then on, every second one is, and so on. */
const MAX_LATENCIES = 200_000;

function report(message: BenchReport): void {
  sendToParent(message);
}

async function publish(settings: BenchSettings): Promise<void> {
  const { connections, messages, size, rate } = settings;
  const publishers = Array.from({ length: connections }, (_, index) => {
    const block = makeBlock(index, size);
    return { block, plan: planOf(block, shareOf(messages, connections, index)) };
  });
  const opened: BenchConnection[] = [];
  let rejectedWith: ErrorCode | undefined;
  for (const _ of publishers) {
    const connection = await BenchConnection.open(settings.connection);
    connection.onBytes = (bytes) => {
      rejectedWith ??= errorCodeIn(bytes.toString('latin1'));
    };
    failOnClose(connection);
    opened.push(connection);
  }
  const total = rate === undefined ? sum(publishers.map(({ plan }) => plan.bytes)) : messages * CLOCK_SIZE;
  report({ event: 'ready', bytes: total });
  await receiveFromParent<'go'>();
  const startedAt = performance.now();
  const times = await Promise.all(
    opened.map(async (connection, index) => {
      const publisher = publishers[index] as (typeof publishers)[number];
      if (rate === undefined) await sendBlocks(connection, publisher);
      else await sendPaced(connection, messages, rate);
      // Its answer says that all before it was read and checked. Errors come before that.
      const onBytes = connection.onBytes;
      await new Promise<void>((resolve) => {
        let tail = '';
        connection.onBytes = (bytes) => {
          onBytes(bytes);
          tail = (tail + bytes.toString('latin1')).slice(-1024);
          if (tail.includes('"type":"pong"')) resolve();
        };
        connection.socket.write('{"type":"ping","data":{}}\n');
      });
      return performance.now() - startedAt;
    }),
  );
  report({ event: 'done', bytes: total, times, latencies: [], rejectedWith });
}

async function sendBlocks(
  { socket }: BenchConnection,
  { block, plan }: { block: ReturnType<typeof makeBlock>; plan: ReturnType<typeof planOf> },
): Promise<void> {
  for (let sent = 0; sent < plan.blocks; sent++) {
    socket.write(makeClock());
    if (!socket.write(block.bytes)) await once(socket, 'drain');
  }
  if (plan.rest === undefined) return;
  socket.write(makeClock());
  socket.write(block.bytes.subarray(0, plan.rest));
}

function sendPaced({ socket }: BenchConnection, messages: number, rate: number): Promise<void> {
  const startedAt = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(messages, Math.floor(((performance.now() - startedAt) / 1000) * rate));
      for (; sent < due; sent++) socket.write(makeClock());
      if (sent < messages) return;
      clearInterval(timer);
      resolve();
    }, TICK);
  });
}

async function subscribe(settings: BenchSettings): Promise<void> {
  const { connections, crawlerId, expectedBytes } = settings;
  const latencies: number[] = [];
  const times: number[] = [];
  let bytes = 0;
  let startedAt = 0;
  let stride = 1;
  let seen = 0;
  const onClock = (time: number): void => {
    if (seen++ % stride !== 0) return;
    latencies.push(sharedNow() - time);
    if (latencies.length < MAX_LATENCIES) return;
    stride *= 2;
    latencies.splice(0, latencies.length, ...latencies.filter((_, index) => index % 2 === 0));
  };
  for (let index = 0; index < connections; index++) {
    const connection = await BenchConnection.open(settings.connection);
    await connection.request(
      'subscribe',
      { id: 'bench', crawlerIds: [crawlerId], overflow: 'block' },
      'subscribed',
    );
    failOnClose(connection);
    let received = 0;
    connection.onBytes = (read) => {
      received += read.length;
      bytes += read.length;
      // One subscriber looks for clocks; it is enough, and costs the others nothing.
      if (index === 0) findClocks(read, onClock);
      if (received < expectedBytes || received - read.length >= expectedBytes) return;
      times.push(performance.now() - startedAt);
      if (times.length === connections) {
        report({ event: 'done', bytes, times, latencies, rejectedWith: undefined });
      }
    };
  }
  report({ event: 'ready', bytes: 0 });
  await receiveFromParent<'go'>();
  startedAt = performance.now();
  setInterval(() => report({ event: 'progress', bytes }), REPORT_INTERVAL);
}

function failOnClose({ socket }: BenchConnection): void {
  socket.once('close', () => fail(new SluiceError('CONNECTION_CLOSED', 'by the broker')));
}

function fail(error: unknown): void {
  const code = error instanceof SluiceError ? error.code : undefined;
  report({ event: 'failed', code, message: describeError(error) });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

exitWithParent();
const settings = await receiveFromParent<BenchSettings>();
try {
  await (settings.role === 'publishers' ? publish(settings) : subscribe(settings));
} catch (error) {
  fail(error);
}

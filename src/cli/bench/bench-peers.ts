// The two peer processes of `sluice bench`: one for all publishers, one for all subscribers. To keep their cost low,
// publishers send blocks that were generated in advance, and subscribers only count bytes.

import { once } from 'node:events';
import type { ClientOptions } from '../../client/client-options.js';
import { describeError, type ErrorCode, SluiceError } from '../../errors.js';
import { type ConnectFault, connectFaultOf } from '../common/connection-hint.js';
import { receiveFromParent, runPeer, sendToParent } from '../common/parent-process.js';
import { BenchConnection, errorCodeIn } from './bench-connection.js';
import { CLOCK_SIZE, findClocks, makeBlock, makeClock, planOf, sharedNow, shareOf } from './bench-content.js';

/** The first message to a peer process. `go` follows later. */
export interface BenchSettings {
  readonly role: 'publishers' | 'subscribers';
  readonly connection: ClientOptions;
  /** Crawler IDs of the publishers. Subscribers filter by them, because they must count no other bytes. */
  readonly crawlerIds: readonly string[];
  /** Number of connections. */
  readonly connections: number;
  /** Total messages of all publishers. */
  readonly messages: number;
  /** Bytes per message. If `undefined`, a mix of crawler messages. */
  readonly size: number | undefined;
  /** Messages per second of the only publisher, each a clock. If `undefined`, blocks as fast as possible. */
  readonly rate: number | undefined;
  /** Whether the only publisher sends clocks one after another, each when the one before it is confirmed. */
  readonly isConfirming: boolean;
  /** Whether subscribers read from the durable log what was published before. */
  readonly isReplaying: boolean;
  /** Bytes that each subscriber waits for: all that the publishers will send. 0 for publishers. */
  readonly expectedBytes: number;
}

/** A message from a peer process. Times are in ms since `go`. */
export type BenchReport =
  | { readonly event: 'ready'; readonly bytes: number }
  | { readonly event: 'progress'; readonly bytes: number }
  | {
      readonly event: 'done';
      readonly bytes: number;
      /** When each connection finished. */
      readonly times: readonly number[];
      /** Latencies of the clocks that were found, in µs. */
      readonly latencies: readonly number[];
      /** The first code with which a message was rejected. */
      readonly rejectedWith: ErrorCode | undefined;
    }
  | {
      readonly event: 'failed';
      readonly code: ErrorCode | undefined;
      readonly message: string;
      /** The system's error, if that was the cause. */
      readonly cause: ConnectFault | undefined;
    };

const REPORT_INTERVAL = 100;
/** At least the bytes of a `position` message: one follows the last message that is read from the log. */
const TAIL_SIZE = 256;
const POSITION = /"position":"([^"]+)"/;
/** Maximum number of entries of a list in a `subscribe`. */
const MAX_LIST = 256;
const NO_BYTES = Buffer.alloc(0);
const PING = Buffer.from('{"type":"ping","data":{}}\n');
/** How often a publisher with a fixed rate sends the messages that are due, in ms. */
const TICK = 1;
/** Maximum number of samples. When it is reached, half of them are discarded, and so is every second new one. */
const MAX_LATENCIES = 200_000;

function report(message: BenchReport): void {
  sendToParent(message);
}

async function publish(settings: BenchSettings): Promise<void> {
  const { connections, messages, size, rate, isConfirming } = settings;
  const publishers = Array.from({ length: connections }, (_, index) => {
    const block = makeBlock(index, size);
    return { block, plan: planOf(block, shareOf(messages, connections, index)) };
  });
  const opened: BenchConnection[] = [];
  let rejectedWith: ErrorCode | undefined;
  for (const crawlerId of settings.crawlerIds) {
    const hello = { ...settings.connection.hello, role: 'crawler', crawlerId } as const;
    const connection = await BenchConnection.open({ ...settings.connection, hello });
    connection.onBytes = (bytes) => {
      rejectedWith ??= errorCodeIn(bytes.toString('latin1'));
    };
    failOnClose(connection);
    opened.push(connection);
  }
  const isClocked = rate !== undefined || isConfirming;
  const total = !isClocked ? sum(publishers.map(({ plan }) => plan.bytes)) : messages * CLOCK_SIZE;
  report({ event: 'ready', bytes: total });
  await receiveFromParent<'go'>();
  const startedAt = performance.now();
  const latencies: number[] = [];
  const times = await Promise.all(
    opened.map(async (connection, index) => {
      const publisher = publishers[index] as (typeof publishers)[number];
      if (isConfirming) await timeConfirmations(connection, messages, latencies);
      else if (rate === undefined) await sendBlocks(connection, publisher);
      else await sendPaced(connection, messages, rate);
      await confirm(connection);
      return performance.now() - startedAt;
    }),
  );
  report({ event: 'done', bytes: total, times, latencies, rejectedWith });
}

/** Resolves when the broker has read and validated everything sent before. Errors arrive before that. */
function confirm(connection: BenchConnection, message: Buffer = NO_BYTES): Promise<void> {
  const { onBytes } = connection;
  return new Promise((resolve) => {
    let tail = '';
    connection.onBytes = (bytes) => {
      onBytes(bytes);
      tail = (tail + bytes.toString('latin1')).slice(-1024);
      if (!tail.includes('"type":"pong"')) return;
      connection.onBytes = onBytes;
      resolve();
    };
    connection.socket.write(Buffer.concat([message, PING]));
  });
}

/** Sends clocks, each when the one before it is confirmed. @param times receives how long each took, in µs */
async function timeConfirmations(
  connection: BenchConnection,
  messages: number,
  times: number[],
): Promise<void> {
  for (let sent = 0; sent < messages; sent++) {
    const sentAt = performance.now();
    await confirm(connection, makeClock());
    times.push((performance.now() - sentAt) * 1000);
  }
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
  const { connections, crawlerIds, expectedBytes } = settings;
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
    for (let from = 0; from < crawlerIds.length; from += MAX_LIST) {
      const filter = { crawlerIds: crawlerIds.slice(from, from + MAX_LIST), overflow: 'block' };
      await connection.request('subscribe', { id: `bench-${from}`, ...filter }, 'subscribed');
    }
    failOnClose(connection);
    let received = 0;
    connection.onBytes = (chunk) => {
      received += chunk.length;
      bytes += chunk.length;
      // Only the first subscriber searches for clocks, so that the others have no cost.
      if (index === 0) findClocks(chunk, onClock);
      if (received < expectedBytes || received - chunk.length >= expectedBytes) return;
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

/** Reads from the durable log what is published between `ready` and `go`. */
async function replay(settings: BenchSettings): Promise<void> {
  const { connections, expectedBytes } = settings;
  const start = await endOfLog(settings.connection);
  report({ event: 'ready', bytes: 0 });
  await receiveFromParent<'go'>();
  const end = await endOfLog(settings.connection);
  const times: number[] = [];
  let bytes = 0;
  const opened: BenchConnection[] = [];
  for (let index = 0; index < connections; index++) {
    const connection = await BenchConnection.open(settings.connection);
    failOnClose(connection);
    opened.push(connection);
  }
  const startedAt = performance.now();
  for (const connection of opened) {
    let received = 0;
    let tail = '';
    connection.onBytes = (chunk) => {
      received += chunk.length;
      bytes += chunk.length;
      tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - TAIL_SIZE))).slice(-TAIL_SIZE);
      if (positionIn(tail) < end.offset) return;
      connection.onBytes = () => {};
      if (received < expectedBytes) fail(new Error('the log has no room for that many messages'));
      times.push(performance.now() - startedAt);
      if (times.length === connections)
        report({ event: 'done', bytes, times, latencies: [], rejectedWith: undefined });
    };
    connection.send('subscribe', { id: 'bench', from: { offset: start.position } });
  }
  setInterval(() => report({ event: 'progress', bytes }), REPORT_INTERVAL);
}

/**
 * The position of the next message in the durable log.
 * @throws SluiceError `RULE_VIOLATION` if the broker has none
 */
async function endOfLog(options: ClientOptions): Promise<{ position: string; offset: number }> {
  const connection = await BenchConnection.open(options);
  const request = connection.request('subscribe', { id: 'bench', from: 'new' }, 'subscribed');
  const reply = await request.catch((error: unknown) => {
    if (!(error instanceof SluiceError && error.code === 'RULE_VIOLATION')) throw error;
    throw new SluiceError(error.code, 'the broker has no durable log');
  });
  connection.socket.destroy();
  const position = POSITION.exec(reply)?.[1] ?? '';
  return { position, offset: offsetIn(position) };
}

/** The offset in the latest `position` message, at the end of text from the broker; -1 if there is none. */
function positionIn(tail: string): number {
  const at = tail.lastIndexOf('{"type":"position"');
  return at === -1 ? -1 : offsetIn(POSITION.exec(tail.slice(at))?.[1] ?? '');
}

function offsetIn(position: string): number {
  return Number(/:(\d+)$/.exec(position)?.[1] ?? -1);
}

function failOnClose({ socket }: BenchConnection): void {
  socket.once('close', () => fail(new SluiceError('CONNECTION_CLOSED', 'by the broker')));
}

function fail(error: unknown): void {
  const code = error instanceof SluiceError ? error.code : undefined;
  report({ event: 'failed', code, message: describeError(error), cause: connectFaultOf(error) });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function peerOf({ role, isReplaying }: BenchSettings): (settings: BenchSettings) => Promise<void> {
  if (role === 'publishers') return publish;
  return isReplaying ? replay : subscribe;
}

await runPeer<BenchSettings>((settings) => peerOf(settings)(settings).catch(fail));

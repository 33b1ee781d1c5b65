// `sluice bench`: throughput and latency of a broker that runs, seen from its peers.

import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { ERRORS, SluiceError } from '../../errors.js';
import { makeBlock, shareOf } from '../bench/bench-content.js';
import type { BenchReport, BenchSettings } from '../bench/bench-peers.js';
import { resultOf, tableOf } from '../bench/bench-report.js';
import type { ConnectFlags } from '../common/connect-options.js';
import { EXIT } from '../common/exit-codes.js';
import { Progress } from '../common/progress.js';
import { resolveConnection, resolvePublisher } from '../common/resolve-connection.js';
import { formatCount } from '../common/terminal.js';

export interface BenchFlags {
  /** Publishers. */
  pub: number;
  /** Subscribers. */
  sub: number;
  /** Messages of all publishers together. */
  msgs: number;
  /** Bytes of each message; none: a crawler's mix. */
  size?: number;
  /** Messages a second of one publisher, to measure how long each takes; none: as fast as it goes. */
  latency?: number;
  json?: boolean;
}

type Done = Extract<BenchReport, { event: 'done' }>;

/** How long nothing may arrive before the bench gives up, in ms. */
const STALL_TIMEOUT_MS = 10_000;
/** How many messages there are where `--msgs` does not say; with `--latency`, for how long they are sent, in s. */
const MESSAGES = 1_000_000;
const LATENCY_SECONDS = 5;

/** @returns the exit code */
export async function bench(given: Partial<BenchFlags> & ConnectFlags): Promise<number> {
  const flags = withDefaults(given);
  const publishing = resolvePublisher(given);
  const subscribing = resolveConnection(given, 'monitor');
  // Says at once whether there are messages of that size.
  makeBlock(0, flags.size);
  const crawlerId = `bench-${randomUUID()}`;
  const common = { messages: flags.msgs, size: flags.size, rate: flags.latency, crawlerId };
  const peers: Peers[] = [];
  try {
    const publishers = new Peers({
      ...common,
      role: 'publishers',
      connection: { ...publishing, hello: { role: 'crawler', ...publishing.hello, crawlerId } },
      connections: flags.pub,
      expectedBytes: 0,
    });
    peers.push(publishers);
    const bytes = await publishers.ready;
    const subscribers = new Peers({
      ...common,
      role: 'subscribers',
      connection: subscribing,
      connections: flags.sub,
      expectedBytes: bytes,
    });
    peers.push(subscribers);
    await subscribers.ready;
    const [sent, received] = await run(flags, bytes, publishers, subscribers);
    const result = resultOf({
      messages: flags.msgs,
      bytes,
      publishers: sent.times.map((time, index) => ({
        messages: shareOf(flags.msgs, flags.pub, index),
        time,
      })),
      subscriberTimes: received?.times ?? [],
      latencies: received?.latencies ?? [],
      rejectedWith: sent.rejectedWith,
    });
    const text = flags.json ? JSON.stringify(result) : tableOf(result, flags.pub, flags.sub).join('\n');
    process.stdout.write(`${text}\n`);
    return EXIT.OK;
  } finally {
    for (const peer of peers) peer.kill();
  }
}

function withDefaults(given: Partial<BenchFlags>): BenchFlags {
  const { latency } = given;
  const msgs = given.msgs ?? (latency === undefined ? MESSAGES : latency * LATENCY_SECONDS);
  return { pub: 1, sub: 1, ...given, msgs, ...(latency === undefined ? {} : { pub: 1 }) };
}

/**
 * Starts sending, shows how far it is, and waits for the end.
 * @throws SluiceError with what a peer failed, or the code with which a message was rejected
 */
async function run(
  flags: BenchFlags,
  bytes: number,
  publishers: Peers,
  subscribers: Peers,
): Promise<[Done, Done | undefined]> {
  const progress = new Progress(bytes * flags.sub);
  subscribers.go();
  publishers.go();
  let latest = 0;
  let changedAt = performance.now();
  let isSent = false;
  let watch: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    watch = setInterval(() => {
      if (subscribers.bytes !== latest || flags.sub === 0) changedAt = performance.now();
      latest = subscribers.bytes;
      progress.update(latest, () => `${formatCount((latest / bytes) * flags.msgs)} messages delivered`);
      if (performance.now() - changedAt > STALL_TIMEOUT_MS) {
        const share = ((latest / (bytes * flags.sub)) * 100).toFixed(1);
        reject(
          new SluiceError(
            'REQUEST_TIMEOUT',
            `${share} % of the messages have arrived; the rest does not come`,
          ),
        );
      }
    }, 100);
  });
  const sent = publishers.done.then((done) => {
    isSent = true;
    // Rejected messages never arrive: there is nothing to wait for.
    if (done.rejectedWith !== undefined) throw new SluiceError(done.rejectedWith);
    return done;
  });
  try {
    return await Promise.race([Promise.all([sent, flags.sub === 0 ? undefined : subscribers.done]), stalled]);
  } finally {
    clearInterval(watch);
    progress.clear();
    if (!isSent) publishers.kill();
  }
}

/** A process of peers. */
class Peers {
  /** Bytes that have come so far. */
  bytes = 0;
  /** Resolves with the bytes that will be sent, when all are connected. */
  readonly ready: Promise<number>;
  readonly done: Promise<Done>;
  readonly #child: ChildProcess;

  constructor(settings: BenchSettings) {
    const child = fork(new URL('../bench/bench-peers.js', import.meta.url));
    this.#child = child;
    // Not as an argument: there are tokens in it, and other users can read a command line.
    child.send(settings);
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the ${settings.role} left with exit code ${code}`)));
      child.on('message', (report: BenchReport) => {
        if (report.event === 'failed') reject(errorOf(report));
        else if (report.event === 'progress') this.bytes = report.bytes;
      });
    });
    const ready = new Promise<number>((resolve) => {
      child.on('message', (report: BenchReport) => report.event === 'ready' && resolve(report.bytes));
    });
    const done = new Promise<Done>((resolve) => {
      child.on('message', (report: BenchReport) => report.event === 'done' && resolve(report));
    });
    this.ready = Promise.race([ready, failed]);
    this.done = Promise.race([done, failed]);
    // It may fail before anybody waits for this.
    this.done.catch(() => {});
  }

  go(): void {
    this.#child.send('go');
  }

  kill(): void {
    this.#child.kill();
  }
}

/** The error as it was in the other process: its message begins with the text of its code. */
function errorOf({ code, message }: Extract<BenchReport, { event: 'failed' }>): Error {
  if (code === undefined) return new Error(message);
  return new SluiceError(code, message.slice(ERRORS[code].message.length).replace(/^: /, ''));
}

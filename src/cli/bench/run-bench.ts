// Measures throughput and latency of a running broker: starts the peers, shows the progress, prints the result.

import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { InvalidArgumentError } from 'commander';
import { ERRORS, SluiceError } from '../../errors.js';
import { formatCount } from '../../formats.js';
import { EXIT } from '../common/exit-codes.js';
import type { ConnectFlags } from '../common/flags.js';
import { Progress } from '../common/progress.js';
import { resolveConnection, resolvePublisher } from '../common/resolve-connection.js';
import { makeBlock, shareOf } from './bench-content.js';
import type { BenchReport, BenchSettings } from './bench-peers.js';
import { resultOf, tableOf } from './bench-report.js';

export interface BenchFlags {
  /** Number of publishers. */
  pub: number;
  /** Number of subscribers. */
  sub: number;
  /** Total messages of all publishers. */
  msgs: number;
  /** Bytes per message. If omitted, a realistic mix of crawler messages. */
  size?: number;
  /** Messages per second of one publisher, to measure the latency of each. If omitted, as fast as possible. */
  latency?: number;
  /** Whether to send one message after another, and measure the confirmation of each. */
  confirm?: boolean;
  /** Whether the subscribers read the messages from the durable log once all are stored. */
  replay?: boolean;
  json?: boolean;
}

type Done = Extract<BenchReport, { event: 'done' }>;

/** How long no message may arrive before the bench fails, in ms. */
const STALL_TIMEOUT_MS = 10_000;
/** Number of messages without `--msgs`. */
const DEFAULT_MESSAGES = 1_000_000;
/** Duration of sending with `--latency` and without `--msgs`, in s. */
const DEFAULT_LATENCY_SECONDS = 5;
/** Number of messages with `--confirm` and without `--msgs`. */
const DEFAULT_CONFIRMED = 10_000;

/** @returns the exit code */
export async function runBench(given: Partial<BenchFlags> & ConnectFlags): Promise<number> {
  const flags = withDefaults(given);
  const publisherConnection = resolvePublisher(given);
  const subscriberConnection = resolveConnection(given, 'monitor');
  if (flags.replay === true && flags.sub === 0)
    throw new InvalidArgumentError('--replay: needs a subscriber');
  // Fails early if no message can be that small.
  makeBlock(0, flags.size);
  const name = `bench-${randomUUID()}`;
  const crawlerIds = Array.from({ length: flags.pub }, (_, index) => `${name}-${index}`);
  const common = {
    messages: flags.msgs,
    size: flags.size,
    rate: flags.latency,
    isConfirming: flags.confirm === true,
    isReplaying: flags.replay === true,
    crawlerIds,
  };
  const peers: Peers[] = [];
  try {
    const publishers = new Peers({
      ...common,
      role: 'publishers',
      connection: publisherConnection,
      connections: flags.pub,
      expectedBytes: 0,
    });
    peers.push(publishers);
    const bytes = await publishers.ready;
    const subscribers = new Peers({
      ...common,
      role: 'subscribers',
      connection: subscriberConnection,
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
      latencies: flags.confirm === true ? sent.latencies : (received?.latencies ?? []),
    });
    const text = flags.json ? JSON.stringify(result) : tableOf(result, flags).join('\n');
    process.stdout.write(`${text}\n`);
    return EXIT.OK;
  } finally {
    for (const peer of peers) peer.kill();
  }
}

function withDefaults(given: Partial<BenchFlags>): BenchFlags {
  const { latency, confirm } = given;
  if (confirm === true) return { ...given, pub: 1, sub: 0, msgs: given.msgs ?? DEFAULT_CONFIRMED };
  const msgs = given.msgs ?? (latency === undefined ? DEFAULT_MESSAGES : latency * DEFAULT_LATENCY_SECONDS);
  return { pub: 1, sub: 1, ...given, msgs, ...(latency === undefined ? {} : { pub: 1 }) };
}

/**
 * Starts sending, shows the progress, and waits for the end.
 * @throws SluiceError the error of a peer, or the code with which a message was rejected
 */
async function run(
  flags: BenchFlags,
  bytes: number,
  publishers: Peers,
  subscribers: Peers,
): Promise<[Done, Done | undefined]> {
  const progress = new Progress(bytes * flags.sub);
  const isReplaying = flags.replay === true;
  if (!isReplaying) subscribers.go();
  publishers.go();
  let latest = 0;
  let changedAt = performance.now();
  let isSent = false;
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      if (subscribers.bytes !== latest || flags.sub === 0 || (isReplaying && !isSent))
        changedAt = performance.now();
      latest = subscribers.bytes;
      progress.update(latest, () => `${formatCount((latest / bytes) * flags.msgs)} messages delivered`);
      if (performance.now() - changedAt > STALL_TIMEOUT_MS) {
        const share = ((latest / (bytes * flags.sub)) * 100).toFixed(1);
        reject(
          new SluiceError(
            'REQUEST_TIMEOUT',
            `${share} % of the messages have arrived, then none for ${STALL_TIMEOUT_MS / 1000} s`,
          ),
        );
      }
    }, 100);
  });
  const sent = publishers.done.then((done) => {
    isSent = true;
    // Rejected messages never arrive, so waiting for them would be useless.
    if (done.rejectedWith !== undefined) throw new SluiceError(done.rejectedWith);
    if (isReplaying) subscribers.go();
    return done;
  });
  try {
    return await Promise.race([Promise.all([sent, flags.sub === 0 ? undefined : subscribers.done]), stalled]);
  } finally {
    clearInterval(timer);
    progress.clear();
    if (!isSent) publishers.kill();
  }
}

/** A peer process: all publishers, or all subscribers. */
class Peers {
  /** Bytes received so far. */
  bytes = 0;
  /** Resolves when all peers are connected, with the number of bytes that will be sent. */
  readonly ready: Promise<number>;
  readonly done: Promise<Done>;
  readonly #child: ChildProcess;

  constructor(settings: BenchSettings) {
    const child = fork(new URL('./bench-peers.js', import.meta.url));
    this.#child = child;
    // Not as an argument: the settings contain tokens, and other users can read the command line.
    child.send(settings);
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the ${settings.role} exited with code ${code}`)));
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
    // It may reject before it is awaited.
    this.done.catch(() => {});
  }

  go(): void {
    this.#child.send('go');
  }

  kill(): void {
    this.#child.kill();
  }
}

/** Recreates the error of the other process. Its message begins with the text of its code. */
function errorOf({ code, message, cause }: Extract<BenchReport, { event: 'failed' }>): Error {
  if (code === undefined) return new Error(message);
  return new SluiceError(code, message.slice(ERRORS[code].message.length).replace(/^: /, ''), { cause });
}

// The measurements of the durable scenarios: how fast messages are stored and confirmed, how long one confirmation takes,
// and how fast everything is read again.

import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Adopt, cpuSecondsOf, nextReport, peakRssOf, withBroker } from './measure.js';
import type { StoreLoadReport, StoreLoadSettings } from './store-load.js';
import { BLOCK, type Store } from './stores.js';

export interface Storing {
  /** Messages that were stored and confirmed. */
  readonly messagesPerSecond: number;
  /** Bytes of messages, in 10^6. */
  readonly megabytesPerSecond: number;
  /** CPU time of all threads of the broker per million messages, in s. */
  readonly cpuPerMillion: number;
  /** Peak resident set size of the broker, in 10^6 bytes. */
  readonly peakRss: number;
}

export interface Confirming {
  /** From publishing one message to its confirmation, in µs. */
  readonly p50: number;
  readonly p99: number;
}

export interface Replaying {
  readonly messagesPerSecond: number;
  /** Bytes received, in 10^6. */
  readonly megabytesPerSecond: number;
  readonly cpuPerMillion: number;
}

/** For a share and scale of 1. */
const MESSAGES = 2_000_000;
/** As many as fit into the log. */
const REPLAYED = 800_000;
const PUBLISHERS = 4;
/** Of the measured messages. V8 optimises code meanwhile. */
const WARM_UP = { JAVASCRIPT: 1.5, OTHERS: 0.25 } as const;
const SAMPLES = 1000;
const WARM_UP_SAMPLES = 2000;

/** From four publishers, each with at most 4,000 unconfirmed messages. */
export function measureStoring(store: Store, scale: number): Promise<Storing> {
  return withStore(store, async (pid, start) => {
    const steady = blocksOf(MESSAGES * store.share * scale);
    const warmUp = Math.ceil(steady * (store.isJavaScript ? WARM_UP.JAVASCRIPT : WARM_UP.OTHERS));
    const publishers = await start({ role: 'store', publishers: PUBLISHERS, phases: [warmUp, steady] });
    await run(publishers);
    const rates = await rateOf(pid, publishers);
    return { ...rates, peakRss: peakRssOf(pid) / 1e6 };
  });
}

/** One message at a time. */
export function measureConfirming(store: Store, scale: number): Promise<Confirming> {
  return withStore(store, async (_, start) => {
    const samples = Math.max(20, Math.round(SAMPLES * Math.min(1, scale)));
    const warmUp = Math.round(WARM_UP_SAMPLES * Math.min(1, scale));
    const client = await start({ role: 'confirm', samples, warmUp });
    const { latencies = [] } = await run(client);
    return quantilesOf(latencies);
  });
}

/** Everything that was stored, by one reader. */
export function measureReplaying(store: Store, scale: number): Promise<Replaying> {
  return withStore(store, async (pid, start) => {
    const publishers = await start({
      role: 'store',
      publishers: PUBLISHERS,
      phases: [blocksOf(REPLAYED * Math.min(1, scale))],
    });
    const stored = await run(publishers);
    let reading = await start({ role: 'replay', messages: stored.messages });
    // Once to warm up.
    await run(reading);
    reading = await start({ role: 'replay', messages: stored.messages });
    return rateOf(pid, reading);
  });
}

/** The disk alone: appending and syncing as many bytes as a message has. */
export function measureDisk(): Confirming {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const file = openSync(join(folder, 'disk'), 'w');
  try {
    const bytes = Buffer.alloc(512);
    const times = Array.from({ length: 300 }, () => {
      const startedAt = performance.now();
      writeSync(file, bytes);
      fdatasyncSync(file);
      return (performance.now() - startedAt) * 1000;
    });
    return quantilesOf(times.sort((a, b) => a - b));
  } finally {
    closeSync(file);
    rmSync(folder, { recursive: true, force: true });
  }
}

export function quantilesOf(sorted: readonly number[]): Confirming {
  const quantile = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
  return { p50: quantile(0.5), p99: quantile(0.99) };
}

/** Blocks of each of the four publishers. */
export const blocksOf = (messages: number) => Math.max(1, Math.ceil(messages / PUBLISHERS / BLOCK));

type Without<T, K extends string> = T extends unknown ? Omit<T, K> : never;
type Start = (settings: Without<StoreLoadSettings, 'wire' | 'socketPath' | 'port'>) => Promise<ChildProcess>;

/** Runs a measurement on a new store. */
function withStore<T>(store: Store, measure: (pid: number, start: Start) => Promise<T>): Promise<T> {
  return withBroker(store, [], (broker, target, adopt) =>
    measure(broker.pid as number, (settings) =>
      startStoreLoad({ ...target, ...settings, wire: store.wire }, adopt),
    ),
  );
}

export async function startStoreLoad(settings: object, adopt: Adopt): Promise<ChildProcess> {
  const child = adopt(fork(new URL('./store-load.js', import.meta.url), [JSON.stringify(settings)]));
  await nextReport<StoreLoadReport>(child);
  return child;
}

/** The next phase of a load, with what it costs the broker. */
async function rateOf(pid: number, child: ChildProcess): Promise<Replaying> {
  const cpuBefore = cpuSecondsOf(pid);
  const { seconds, messages, bytes } = await run(child);
  return {
    messagesPerSecond: messages / seconds,
    megabytesPerSecond: bytes / seconds / 1e6,
    cpuPerMillion: ((cpuSecondsOf(pid) - cpuBefore) / messages) * 1e6,
  };
}

/** The next phase of a load. */
export async function run(child: ChildProcess): Promise<StoreLoadReport & { readonly seconds: number }> {
  const done = nextReport<StoreLoadReport>(child);
  const startedAt = performance.now();
  child.send('go');
  const report = await done;
  return { ...report, seconds: (performance.now() - startedAt) / 1000 };
}

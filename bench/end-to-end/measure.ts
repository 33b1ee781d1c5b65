// One measurement: starts a broker and its load generators, waits until all messages are delivered, and reads the
// elapsed time, and the CPU time and memory of the broker's process from /proc.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Target } from './connect.js';
import { blockLength, blocksFor } from './content.js';
import { deliveriesOf } from './deliveries.js';
import type { LatencyReport, LatencySettings } from './latency.js';
import type { LoadReport, LoadSettings } from './load.js';
import type { LatencyScenario, Scenario } from './scenarios.js';
import type { System } from './systems.js';

/** A measurement in three phases: the first messages after the start, a warm-up, and the steady state. */
export interface Throughput {
  /** In the steady state, as all figures without `cold`. */
  messagesPerSecond: number;
  /** Messages to all subscribers together. */
  deliveriesPerSecond: number;
  /** Bytes sent, including the overhead of the broker's protocol, in 10^6 per second. */
  megabytesPerSecond: number;
  /** CPU time of all threads of the broker per million messages, in s. */
  cpuPerMillion: number;
  /** CPU time of its main thread per million messages, in s; only for servers in the application's process. */
  mainThreadPerMillion?: number;
  /** Of the first million messages after the start. */
  coldMessagesPerSecond: number;
  coldCpuPerMillion: number;
  /** Peak resident set size of the broker, in 10^6 bytes. */
  peakRss: number;
  /** Number of messages measured. */
  messages: number;
  coldMessages: number;
}

export interface Latency {
  /** In µs. */
  p50: number;
  p99: number;
  p999: number;
}

/** The first seconds after the start. */
export interface StartUp {
  /** Messages delivered since the publishers began, every 100 ms. */
  delivered: number[];
}

/** Messages of the first phase, for a share and scale of 1; fewer if the scenario has fewer. */
const COLD_MESSAGES = 1_000_000;
/** Clock ticks per second in /proc/PID/stat: 100 on every Linux that Node runs on. */
const CLOCK_TICKS = 100;
/** Time in which a system must deliver all messages, in ms. */
const TIME_LIMIT = 120_000;
/**
 * Messages of the warm-up as a multiple of the measured ones. With fewer, V8 would still be compiling during the
 * measurement: Sluice reaches its steady rate after two to three million messages.
 */
const WARM_UP = { JAVASCRIPT: 2, OTHERS: 0.25 } as const;
/** Duration of the measurement of the start, in s. */
const START_UP_SECONDS = 5;
/** In ms. */
const START_UP_INTERVAL = 100;
/** Warm-up messages of a latency measurement. */
const LATENCY_WARM_UP = 15_000;
/** Duration of a latency measurement, in s. */
const LATENCY_SECONDS = 4;
/** Messages per second of the background load. */
const BACKGROUND_CADENCE = 50_000;

/** @param scale factor for the scenario's number of messages */
export async function measureThroughput(
  system: System,
  scenario: Scenario,
  scale: number,
): Promise<Throughput> {
  const { publishers, options = [], isInProcess = false } = scenario;
  const messages = scenario.messages * system.share * scale;
  const content = { ...scenario.content, block: Math.ceil(messages / publishers) };
  const steady = blocksFor(content, publishers, messages);
  const cold = blocksFor(content, publishers, Math.min(COLD_MESSAGES * system.share * scale, messages));
  const { JAVASCRIPT, OTHERS } = WARM_UP;
  const warmUp = Math.ceil(steady * (system.isJavaScript === true ? JAVASCRIPT : OTHERS));
  const phases = [cold, warmUp, steady];
  const settings = loadSettings(system, { ...scenario, content }, phases);
  const arguments_ = isInProcess ? [scenario.handler ?? '', ...milestones(settings)] : options;
  return withBroker(system, arguments_, async (broker, target, adopt) => {
    const [subscriber, publisher] = await Promise.all([
      isInProcess ? undefined : startLoad({ ...target, ...settings, role: 'subscriber' }, adopt),
      startLoad({ ...target, ...settings, role: 'publisher' }, adopt),
    ]);
    const adminPath = system.adminPath?.(target.socketPath);
    if (adminPath !== undefined) await startWatcher(adminPath, adopt);
    const pid = broker.pid as number;

    const measured: (PhaseFigures | undefined)[] = [];
    for (const blocks of phases) {
      const messages = blocks * publishers * blockLength(content, publishers);
      const ends = Promise.all([
        subscriber === undefined ? nextOutput(broker, 'handled') : nextReport(subscriber),
        nextReport(publisher),
      ]);
      const cpuBefore = cpuSecondsOf(pid);
      const mainBefore = cpuSecondsOf(pid, pid);
      const startedAt = performance.now();
      subscriber?.send('go');
      publisher.send('go');
      const [received, sent] = await ends;
      const seconds = (performance.now() - startedAt) / 1000;
      measured.push({
        messages,
        messagesPerSecond: messages / seconds,
        deliveriesPerSecond: (received?.messages ?? messages) / seconds,
        megabytesPerSecond: sent.bytes / seconds / 1e6,
        cpuPerMillion: ((cpuSecondsOf(pid) - cpuBefore) / messages) * 1e6,
        mainThreadPerMillion: ((cpuSecondsOf(pid, pid) - mainBefore) / messages) * 1e6,
      });
    }
    const [first, , last] = measured;
    if (first === undefined || last === undefined) throw new Error('nothing was measured');
    const { mainThreadPerMillion, ...figures } = last;
    return {
      ...figures,
      ...(isInProcess ? { mainThreadPerMillion } : {}),
      coldMessages: first.messages,
      coldMessagesPerSecond: first.messagesPerSecond,
      coldCpuPerMillion: first.cpuPerMillion,
      peakRss: peakRssOf(pid) / 1e6,
    };
  });
}

type PhaseFigures = Pick<
  Throughput,
  'messages' | 'messagesPerSecond' | 'deliveriesPerSecond' | 'megabytesPerSecond' | 'cpuPerMillion'
> & { mainThreadPerMillion: number };

/** The settings of a scenario's load generators, but for the role and the broker's address. */
function loadSettings(
  system: System,
  scenario: Scenario,
  phases: readonly number[],
): Omit<LoadSettings, 'role' | 'socketPath'> {
  const { content, filter, isGroup, isInProcess, publishers, subscribers, subscriptions, watchesRejected } =
    scenario;
  return {
    wire: scenario.isUndelimited ? 'undelimited' : system.wire,
    validates: system.validates,
    content,
    publishers,
    connections: subscribers,
    copies: filter !== undefined || isGroup || isInProcess ? 1 : subscribers,
    filter,
    subscriptions,
    isGroup,
    watchesRejected,
    phases,
  };
}

/** The first seconds after the start, while publishers send as fast as possible. */
export async function measureStartUp(system: System, scenario: Scenario, scale: number): Promise<StartUp> {
  const intervals = Math.max(
    2,
    Math.round((Math.min(1, scale) * START_UP_SECONDS * 1000) / START_UP_INTERVAL),
  );
  const sampling = { intervals, interval: START_UP_INTERVAL };
  // More than a broker delivers in that time.
  const settings = loadSettings(system, scenario, [Number.MAX_SAFE_INTEGER]);
  const [block] = deliveriesOf(settings, [1]);
  return withBroker(system, scenario.options ?? [], async (_, target, adopt) => {
    const subscriber = await startLoad({ ...target, ...settings, sampling, role: 'subscriber' }, adopt);
    const publisher = await startLoad({ ...target, ...settings, role: 'publisher' }, adopt);
    const report = nextReport(subscriber);
    subscriber.send('go');
    publisher.send('go');
    const { received = [] } = await report;
    const size = (block?.bytes ?? 0) / (block?.messages ?? 0);
    return { delivered: received.map((bytes) => Math.round(bytes / size)) };
  });
}

/** From one publisher to one subscriber. */
export async function measureLatency(
  system: System,
  { rate, hasBackground }: LatencyScenario,
  scale: number,
): Promise<Latency> {
  return withBroker(system, [], async (_, target, adopt) => {
    const filter = hasBackground ? 'crawler' : undefined;
    const background = hasBackground ? await startBackground(system, target, adopt) : undefined;
    const seconds = Math.max(0.5, LATENCY_SECONDS * Math.min(1, scale));
    const warmUp = Math.round(LATENCY_WARM_UP * Math.min(1, scale));
    const settings: LatencySettings = { ...target, wire: system.wire, rate, seconds, warmUp, filter };
    const child = adopt(fork(new URL('./latency.js', import.meta.url), [JSON.stringify(settings)]));
    const measured = new Promise<LatencyReport>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the load generator exited with code ${code}`)));
      child.once('message', (report: LatencyReport) => resolve(report));
    });
    return await Promise.race([measured, ...(background === undefined ? [] : [background.failed])]);
  });
}

/**
 * Starts a crawler that the measured subscriber does not select, and a subscriber of its own.
 * @returns a promise that rejects if one of them ends
 */
async function startBackground(
  system: System,
  target: Target,
  adopt: Adopt,
): Promise<{ failed: Promise<never> }> {
  const settings = {
    ...target,
    wire: system.wire,
    validates: system.validates,
    content: { cadence: BACKGROUND_CADENCE },
    publishers: 1,
    // The first publisher is the measured one.
    first: 1,
    connections: 1,
    copies: 1,
    filter: 'crawler',
    subscriptions: 1,
    phases: [Number.MAX_SAFE_INTEGER],
  } as const;
  const subscriber = await startLoad({ ...settings, role: 'subscriber' }, adopt);
  const publisher = await startLoad({ ...settings, role: 'publisher' }, adopt);
  publisher.send('go');
  const failed = new Promise<never>((_, reject) => {
    for (const child of [subscriber, publisher]) {
      child.once('exit', (code) => reject(new Error(`the background load exited with code ${code}`)));
    }
  });
  return { failed };
}

export type Adopt = (child: ChildProcess) => ChildProcess;

/** Runs a measurement on a new broker. Always terminates all processes. */
export async function withBroker<T>(
  system: Pick<System, 'command' | 'ready'> & { readonly port?: number },
  options: readonly string[],
  run: (broker: ChildProcess, target: Target, adopt: Adopt) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const socketPath = join(folder, 'bench.sock');
  const children: ChildProcess[] = [];
  const adopt: Adopt = (child) => {
    children.push(child);
    return child;
  };
  // If the bench is interrupted. The load generators end with their channel.
  const onExit = () => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', onExit);
  let timer: NodeJS.Timeout | undefined;
  try {
    const [program = '', ...args] = system.command(socketPath, options);
    // NATS logs to standard error.
    const broker = adopt(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
    const failed = new Promise<never>((_, reject) => {
      broker.once('exit', (code) => reject(new Error(`it exited during the measurement, with code ${code}`)));
      timer = setTimeout(() => reject(new Error(`not done in ${TIME_LIMIT / 1000} s`)), TIME_LIMIT);
    });
    const measured = nextOutput(broker, system.ready).then(() =>
      run(broker, { socketPath, port: system.port }, adopt),
    );
    return await Promise.race([measured, failed]);
  } finally {
    clearTimeout(timer);
    // The broker last, so that no load generator reports a lost connection.
    for (const child of children.reverse()) await terminate(child);
    process.off('exit', onExit);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Resolves when the process has exited, so that the next broker can have its port. */
function terminate(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

/** The number of valid messages sent by the end of each phase. */
function milestones(settings: Omit<LoadSettings, 'role' | 'socketPath'>): string[] {
  let sum = 0;
  return deliveriesOf(settings, settings.phases).map(({ messages }) => {
    sum += messages;
    return String(sum);
  });
}

async function startWatcher(adminPath: string, adopt: Adopt): Promise<void> {
  const child = adopt(fork(new URL('./watcher.js', import.meta.url), [adminPath]));
  await new Promise((resolve) => child.once('message', resolve));
}

async function startLoad(settings: LoadSettings, adopt: Adopt): Promise<ChildProcess> {
  const child = adopt(fork(new URL('./load.js', import.meta.url), [JSON.stringify(settings)]));
  await nextReport(child);
  return child;
}

export function nextReport<R = LoadReport>(child: ChildProcess): Promise<R> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`a load generator exited with code ${code}`));
    child.once('exit', onExit);
    child.once('message', (report: R) => {
      child.off('exit', onExit);
      resolve(report);
    });
  });
}

/** Resolves when a process writes the text. */
function nextOutput(child: ChildProcess, text: string): Promise<undefined> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`it exited with code ${code}`));
    const outputs = [child.stdout, child.stderr];
    const onData = (output: Buffer) => {
      if (!output.toString().includes(text)) return;
      child.off('exit', onExit);
      for (const stream of outputs) stream?.off('data', onData).resume();
      resolve(undefined);
    };
    child.once('exit', onExit);
    child.once('error', reject);
    for (const stream of outputs) stream?.on('data', onData);
  });
}

/**
 * User and system time of a process, or of one of its threads: fields 14 and 15 of its stat, counted after the name in
 * parentheses. The main thread has the ID of the process.
 */
export function cpuSecondsOf(pid: number, thread?: number): number {
  const stat = readFileSync(`/proc/${pid}/${thread === undefined ? '' : `task/${thread}/`}stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

export function peakRssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

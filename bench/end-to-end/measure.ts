// One measurement: starts a broker and its load generators, waits until all messages are delivered, and reads the
// elapsed time, and the CPU time and memory of the broker's process from /proc.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blockLength, blocksFor } from './content.js';
import type { LatencyReport, LatencySettings } from './latency.js';
import type { LoadReport, LoadSettings } from './load.js';
import type { Scenario } from './scenarios.js';
import type { System } from './systems.js';

export interface Throughput {
  messagesPerSecond: number;
  /** Bytes sent, including the overhead of the broker's protocol, in 10^6 per second. */
  megabytesPerSecond: number;
  /** CPU time of all threads of the broker per million messages, in s. */
  cpuPerMillion: number;
  /** Peak resident set size of the broker, in 10^6 bytes. */
  peakRss: number;
  /** Number of messages measured. */
  messages: number;
}

export interface Latency {
  /** In µs. */
  p50: number;
  p99: number;
  p999: number;
}

/** Clock ticks per second in /proc/PID/stat: 100 on every Linux that Node runs on. */
const CLOCK_TICKS = 100;
/** Time in which a system must deliver all messages, in ms. */
const TIME_LIMIT = 120_000;
/**
 * Warm-up messages as a multiple of the measured messages; slow systems get fewer of both. With a smaller value, V8
 * would still be compiling during the measurement.
 */
const WARM_UP = 1;
/** Minimum number of warm-up blocks for a share and scale of 1 and one subscriber: about 80 MB. */
const WARM_UP_BLOCKS = 100;
/** Warm-up messages of a latency measurement. */
const LATENCY_WARM_UP = 15_000;
/** Duration of a latency measurement, in s. */
const LATENCY_SECONDS = 4;

/** @param scale factor for the scenario's number of messages */
export async function measureThroughput(
  system: System,
  scenario: Scenario,
  scale: number,
): Promise<Throughput> {
  const { content, publishers, subscribers, options = [], isInProcess = false } = scenario;
  const share = system.share * scale;
  const blocks = blocksFor(content, publishers, scenario.messages * share);
  const minWarmUp = (share * WARM_UP_BLOCKS) / publishers / Math.max(1, subscribers);
  const phases = [Math.max(1, Math.round(Math.max(blocks * WARM_UP, minWarmUp))), blocks];
  const perBlock = publishers * blockLength(content);
  const arguments_ = isInProcess ? milestones(phases, perBlock) : options;
  return withBroker(system, arguments_, async (broker, target, adopt) => {
    const wire = scenario.isUndelimited ? 'undelimited' : system.wire;
    const common = { ...target, wire, content, publishers, phases, validates: system.validates };
    const subscriber = isInProcess
      ? undefined
      : await startLoad({ ...common, role: 'subscriber', connections: subscribers }, adopt);
    const publisher = await startLoad({ ...common, role: 'publisher', connections: publishers }, adopt);
    const adminPath = system.adminPath?.(target.socketPath);
    if (adminPath !== undefined) await startWatcher(adminPath, adopt);
    const pid = broker.pid as number;

    let cpuBefore = 0;
    let startedAt = 0;
    let sent: LoadReport | undefined;
    for (const _ of phases) {
      const received = subscriber === undefined ? nextOutput(broker, 'handled') : nextReport(subscriber);
      const published = nextReport(publisher);
      cpuBefore = cpuSecondsOf(pid);
      startedAt = performance.now();
      publisher.send('go');
      await received;
      sent = await published;
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const messages = blocks * perBlock;
    return {
      messagesPerSecond: messages / seconds,
      megabytesPerSecond: (sent?.bytes ?? 0) / seconds / 1e6,
      cpuPerMillion: ((cpuSecondsOf(pid) - cpuBefore) / messages) * 1e6,
      peakRss: peakRssOf(pid) / 1e6,
      messages,
    };
  });
}

/** @param rate messages per second from one publisher to one subscriber */
export async function measureLatency(system: System, rate: number, scale: number): Promise<Latency> {
  return withBroker(system, [], async (_, target, adopt) => {
    const seconds = Math.max(0.5, LATENCY_SECONDS * Math.min(1, scale));
    const warmUp = Math.round(LATENCY_WARM_UP * Math.min(1, scale));
    const settings: LatencySettings = { ...target, wire: system.wire, rate, seconds, warmUp };
    const child = adopt(fork(new URL('./latency.js', import.meta.url), [JSON.stringify(settings)]));
    return await new Promise<LatencyReport>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the load generator exited with code ${code}`)));
      child.once('message', (report: LatencyReport) => resolve(report));
    });
  });
}

type Adopt = (child: ChildProcess) => ChildProcess;

/** Runs a measurement on a new broker. Always terminates all processes. */
async function withBroker<T>(
  system: System,
  options: readonly string[],
  run: (
    broker: ChildProcess,
    target: { socketPath: string; port?: number | undefined },
    adopt: Adopt,
  ) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const socketPath = join(folder, 'bench.sock');
  const children: ChildProcess[] = [];
  const adopt: Adopt = (child) => {
    children.push(child);
    return child;
  };
  let timer: NodeJS.Timeout | undefined;
  try {
    const [program = '', ...args] = system.command(socketPath, options);
    // NATS logs to standard error.
    const broker = adopt(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
    await nextOutput(broker, system.ready);
    const failed = new Promise<never>((_, reject) => {
      broker.once('exit', (code) => reject(new Error(`it exited during the measurement, with code ${code}`)));
      timer = setTimeout(() => reject(new Error(`not done in ${TIME_LIMIT / 1000} s`)), TIME_LIMIT);
    });
    return await Promise.race([run(broker, { socketPath, port: system.port }, adopt), failed]);
  } finally {
    clearTimeout(timer);
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

function milestones(phases: readonly number[], perBlock: number): string[] {
  let messages = 0;
  return phases.map((blocks) => {
    messages += blocks * perBlock;
    return String(messages);
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

function nextReport(child: ChildProcess): Promise<LoadReport> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`a load generator exited with code ${code}`));
    child.once('exit', onExit);
    child.once('message', (report: LoadReport) => {
      child.off('exit', onExit);
      resolve(report);
    });
  });
}

/** Resolves when a process writes the text. */
function nextOutput(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`it exited with code ${code}`));
    const outputs = [child.stdout, child.stderr];
    const onData = (output: Buffer) => {
      if (!output.toString().includes(text)) return;
      child.off('exit', onExit);
      for (const stream of outputs) stream?.off('data', onData).resume();
      resolve();
    };
    child.once('exit', onExit);
    child.once('error', reject);
    for (const stream of outputs) stream?.on('data', onData);
  });
}

/** User and system time of a process: fields 14 and 15 of its stat, counted after the name in parentheses. */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

function peakRssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

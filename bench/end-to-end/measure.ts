// One measurement: starts a broker and its load generators, lets the messages run, and reads the clock,
// the CPU time and the memory of the broker's process from /proc.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadReport, LoadSettings } from './load.js';
import type { System } from './systems.js';

export interface Measurement {
  /** From the first byte sent to the last message received by every subscriber. */
  seconds: number;
  /** Bytes sent, what the broker's protocol adds included. */
  bytes: number;
  /** CPU time of the broker, all threads. */
  cpuSeconds: number;
  /** Largest resident set of the broker, in bytes. */
  peakRss: number;
}

export interface Load {
  publishers: number;
  subscribers: number;
  /** Of all publishers together. */
  messages: number;
}

/** Clock ticks a second in /proc/PID/stat: 100 on every Linux that Node runs on. */
const CLOCK_TICKS = 100;
/** A system that has not delivered everything by then has failed, in ms. */
const TIME_LIMIT = 90_000;

export async function measure(
  system: System,
  { publishers, subscribers, messages }: Load,
): Promise<Measurement> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const socketPath = join(folder, 'bench.sock');
  const children: ChildProcess[] = [];
  try {
    const broker = await startBroker(system, socketPath);
    children.push(broker);
    const { port, wire } = system;
    const common = { socketPath, port, wire, publishers };
    const subscriber = await startLoad({ ...common, role: 'subscriber', connections: subscribers, messages });
    children.push(subscriber);
    const share = messages / publishers;
    const publisher = await startLoad({
      ...common,
      role: 'publisher',
      connections: publishers,
      messages: share,
    });
    children.push(publisher);

    const pid = broker.pid as number;
    const cpuBefore = cpuSecondsOf(pid);
    const brokerLeft = new Promise<never>((_, reject) => {
      broker.once('exit', (code) =>
        reject(new Error(`${system.name} left in the middle, exit code ${code}`)),
      );
    });
    const received = nextReport(subscriber, 'done');
    const sent = nextReport(publisher, 'done');
    const startedAt = performance.now();
    publisher.send('go');
    await Promise.race([received, brokerLeft, rejectAfter(TIME_LIMIT)]);
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      seconds,
      bytes: (await sent).bytes,
      cpuSeconds: cpuSecondsOf(pid) - cpuBefore,
      peakRss: peakRssOf(pid),
    };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

function rejectAfter(milliseconds: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`not done in ${milliseconds / 1000} s`)), milliseconds).unref();
  });
}

function startBroker(system: System, socketPath: string): Promise<ChildProcess> {
  const [program = '', ...args] = system.command(socketPath);
  // NATS logs to standard error.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${system.name} left with exit code ${code}`)));
    for (const output of [child.stdout, child.stderr]) {
      output.on('data', (text: Buffer) => {
        if (text.toString().includes(system.ready)) resolve(child);
      });
    }
  });
}

async function startLoad(settings: LoadSettings): Promise<ChildProcess> {
  const child = fork(new URL('./load.js', import.meta.url), [JSON.stringify(settings)]);
  await nextReport(child, 'ready');
  return child;
}

function nextReport(child: ChildProcess, event: LoadReport['event']): Promise<LoadReport> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`a load generator left with exit code ${code}`)));
    child.on('message', (report: LoadReport) => {
      if (report.event === event) resolve(report);
    });
  });
}

/** User and system time of a process: fields 14 and 15 of its stat, after the name in parentheses. */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

function peakRssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

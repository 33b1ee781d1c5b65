// Runs a broker, a fleet of simulated crawlers and a subscriber, and shows their rates.

import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { howToOpenAdmin } from '../../config/addresses.js';
import type { ServerMetrics } from '../../connection/server-metrics.js';
import { formatBytes, formatCount } from '../../formats.js';
import { SocketManager } from '../../server/socket-manager.js';
import { EXIT } from '../common/exit-codes.js';
import { isMeasurable, LiveView } from '../common/terminal.js';
import type { PeerReport, PeerSettings } from './demo-peers.js';

export interface DemoFlags {
  /** Number of simulated crawlers. */
  crawlers: number;
  /** Messages per second of the whole fleet; 0: as fast as possible. */
  rate: number;
  /** In seconds, from the first message on. Default: 15; with a dashboard, until a signal. */
  duration?: number;
  /** Worker threads of the broker. */
  workers?: number;
  /** Address of the dashboard: `host:port`, `:port` or a socket path. */
  admin?: string;
}

/** A peer process: the fleet, or the subscriber. */
interface DemoPeers {
  readonly child: ChildProcess;
  /** Rejects when the process exits. Without an error, that is only at the end of the demo. */
  readonly exited: Promise<never>;
}

const DEFAULT_DURATION = 15;
const REDRAW_INTERVAL = 500;
const BROKEN_EVERY = 500;
/** How long the fleet, and then the subscriber, may take to finish, and the polling interval, in ms. */
const SETTLE_TIMEOUT = 3000;
const SETTLE_INTERVAL = 20;
/** Connections that the broker allows in addition to the crawlers. */
const EXTRA_CONNECTIONS = 1024;

/** @returns the exit code */
export async function runDemo(flags: DemoFlags): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
  // Not in `finally`: a closed output pipe ends the process at once.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'broker.sock');
  const manager = new SocketManager(
    {
      socketPath,
      metricsInterval: REDRAW_INTERVAL,
      maxConnections: flags.crawlers + EXTRA_CONNECTIONS,
      ...(flags.admin === undefined ? {} : { admin: flags.admin }),
      ...(flags.workers === undefined ? {} : { workers: { threads: flags.workers } }),
    },
    { logger: pino({ level: 'silent' }) },
  );
  const peers: DemoPeers[] = [];
  try {
    await manager.start();
    const settings = { socketPath, crawlers: flags.crawlers, rate: flags.rate, brokenEvery: BROKEN_EVERY };
    const received = { messages: 0 };
    const subscriber = startPeers({ ...settings, role: 'subscriber' });
    peers.push(subscriber);
    await Promise.race([whenSubscribed(subscriber, received), subscriber.exited]);
    const fleet = startPeers({ ...settings, role: 'fleet' });
    peers.push(fleet);
    const result = await show(manager, flags, received, Promise.race([subscriber.exited, fleet.exited]));
    await settle(manager, fleet, received);
    process.stdout.write(`${summary(manager.getMetrics(), received, result).join('\n')}\n`);
    return EXIT.OK;
  } finally {
    for (const { child } of peers) child.kill();
    await manager.stop('the demo has ended');
  }
}

function startPeers(settings: PeerSettings): DemoPeers {
  const child = fork(new URL('./demo-peers.js', import.meta.url));
  child.send(settings);
  const exited = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`the ${settings.role} exited early with ${signal ?? `exit code ${code}`}`)),
    );
  });
  // At the end of the demo, the process exits when nothing awaits this any more.
  exited.catch(() => {});
  return { child, exited };
}

/** Resolves when the subscriber has subscribed, so that it will not miss any message. */
function whenSubscribed({ child }: DemoPeers, received: PeerReport): Promise<void> {
  return new Promise((resolve) => {
    child.on('message', (report: PeerReport) => {
      received.messages = report.messages;
      resolve();
    });
  });
}

/** Measured while the demo ran. */
interface DemoResult {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number;
  /** The highest rate of received messages, per second. */
  readonly peak: number;
}

/** Stops the fleet and lets the subscriber catch up, so that the final numbers are consistent. */
async function settle(manager: SocketManager, fleet: DemoPeers, received: PeerReport): Promise<void> {
  fleet.child.send('stop');
  await Promise.race([fleet.exited.catch(() => {}), delay(SETTLE_TIMEOUT, undefined, { ref: false })]);
  const deadline = performance.now() + SETTLE_TIMEOUT;
  while (received.messages < accepted(manager.getMetrics()) && performance.now() < deadline) {
    await delay(SETTLE_INTERVAL);
  }
}

/**
 * Shows the broker's rates until the demo ends.
 * @param failed rejects when the demo cannot continue
 */
async function show(
  manager: SocketManager,
  flags: DemoFlags,
  received: PeerReport,
  failed: Promise<never>,
): Promise<DemoResult> {
  const view = new LiveView(process.stdout);
  const duration = flags.duration ?? (flags.admin === undefined ? DEFAULT_DURATION : undefined);
  let startedAt = performance.now();
  const elapsed = () => (performance.now() - startedAt) / 1000;
  let peak = 0;
  const length = duration === undefined ? 'until Ctrl-C' : `for ${duration} s (Ctrl-C stops it earlier)`;
  process.stdout.write(`A broker, ${flags.crawlers} crawlers and a subscriber, ${length}.\n\n`);
  const { admin } = manager.getStatus();
  if (admin !== undefined) process.stdout.write(`The dashboard: ${howToOpenAdmin(admin)}\n\n`);
  const timer = setInterval(() => {
    const metrics = manager.getMetrics();
    peak = Math.max(peak, metrics.rates.messagesReceived);
    const total = duration === undefined ? '' : ` of ${duration}`;
    view.draw([`  ${elapsed().toFixed(1)} s${total}`, ...rows(metrics, received)]);
  }, REDRAW_INTERVAL);
  let end: NodeJS.Timeout | undefined;
  let beginning: NodeJS.Timeout | undefined;
  const ended = new Promise<void>((resolve) => {
    beginning = setInterval(() => {
      if (received.messages === 0) return;
      clearInterval(beginning);
      startedAt = performance.now();
      if (duration !== undefined) end = setTimeout(resolve, duration * 1000);
    }, SETTLE_INTERVAL);
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  try {
    await Promise.race([ended, failed]);
  } finally {
    clearTimeout(end);
    clearInterval(beginning);
    clearInterval(timer);
    view.clear();
  }
  return { startedAt, peak };
}

function accepted({ protocol }: ServerMetrics): number {
  return Object.values(protocol.accepted).reduce((sum, count) => sum + count, 0);
}

function rejected({ protocol }: ServerMetrics): number {
  return Object.values(protocol.rejected).reduce((sum, count) => sum + count, 0);
}

function checked(metrics: ServerMetrics): number {
  return accepted(metrics) + rejected(metrics);
}

function rows(metrics: ServerMetrics, received: PeerReport): string[] {
  const { rates, flow, memory } = metrics;
  return [
    row(
      'received',
      `${formatCount(rates.messagesReceived)} messages/s, ${formatBytes(rates.bytesReceived)}/s`,
    ),
    row('delivered', `${formatCount(rates.messagesSent)} messages/s, ${formatBytes(rates.bytesSent)}/s`),
    row(
      'checked',
      `${formatCount(checked(metrics))} messages, ${formatCount(rejected(metrics))} of them rejected`,
    ),
    row('subscriber', `${formatCount(received.messages)} messages`),
    row('in flight', `${formatBytes(memory.heldBytes)}${flow.isPaused ? ', reading paused' : ''}`),
    ...Object.entries(metrics.protocol.accepted).map(([type, count]) => row(`  ${type}`, formatCount(count))),
  ];
}

function summary(metrics: ServerMetrics, received: PeerReport, { startedAt, peak }: DemoResult): string[] {
  // Includes the time for the messages that were still in flight at the end of the demo.
  const seconds = (performance.now() - startedAt) / 1000;
  const average = checked(metrics) / seconds;
  return [
    `In ${seconds.toFixed(1)} s:`,
    ...rows(metrics, received).slice(2),
    ...(isMeasurable(checked(metrics), seconds)
      ? [
          row('average', `${formatCount(average)} messages/s`),
          // The rate is only measured now and then: it may have been higher in between.
          row('peak', `${formatCount(Math.max(peak, average))} messages/s`),
        ]
      : []),
    row('memory', `${formatBytes(process.memoryUsage.rss())} resident, including the broker's workers`),
  ];
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(18)} ${value}`;
}

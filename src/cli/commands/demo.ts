// `sluice demo`: a broker, a fleet of simulated crawlers and a subscriber, to watch them at work.

import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import type { ServerMetrics } from '../../connection/server-metrics.js';
import { controlSchemas } from '../../messages/messages.js';
import { SocketManager } from '../../server/socket-manager.js';
import { EXIT } from '../common/exit-codes.js';
import { formatBytes, formatCount, LiveView } from '../common/terminal.js';
import type { PeerReport, PeerSettings } from '../demo/demo-peers.js';

export interface DemoFlags {
  /** Simulated crawlers. */
  crawlers: number;
  /** Messages a second of the whole fleet; 0: as many as the broker takes. */
  rate: number;
  /** Seconds. */
  duration: number;
  /** Worker threads of the broker. */
  workers?: number;
  /** Where to serve the dashboard: `host:port`, `:port` or a path. */
  admin?: string;
}

/** A process of peers. */
interface DemoPeers {
  readonly child: ChildProcess;
  /** Rejects when it leaves: not before the demo ends it, if all is well. */
  readonly left: Promise<never>;
}

const REDRAW_INTERVAL = 500;
const BROKEN_EVERY = 500;
/** How long the fleet, and then the subscriber, may take to come to their end, in ms; and how often to look. */
const SETTLE_TIMEOUT = 3000;
const SETTLE_INTERVAL = 20;
/** Connections that the broker has room for beside the crawlers'. */
const FURTHER_CONNECTIONS = 1024;

/** @returns the exit code */
export async function demo(flags: DemoFlags): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
  // Also when nobody reads the output any more, which ends the process at once.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'broker.sock');
  const manager = new SocketManager(
    {
      socketPath,
      metricsInterval: REDRAW_INTERVAL,
      maxConnections: flags.crawlers + FURTHER_CONNECTIONS,
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
    await Promise.race([hasSubscribed(subscriber, received), subscriber.left]);
    const fleet = startPeers({ ...settings, role: 'fleet' });
    peers.push(fleet);
    const shown = await show(manager, flags, received, Promise.race([subscriber.left, fleet.left]));
    await settle(manager, fleet, received);
    process.stdout.write(`${summary(manager.getMetrics(), received, shown).join('\n')}\n`);
    return EXIT.OK;
  } finally {
    for (const { child } of peers) child.kill();
    await manager.stop('the demo is over');
  }
}

/** An address as a browser takes it; a socket path is for `curl --unix-socket`. */
function dashboardUrl(admin: string): string {
  return admin.includes('/') ? admin : `http://${admin}/`;
}

function startPeers(settings: PeerSettings): DemoPeers {
  const child = fork(new URL('../demo/demo-peers.js', import.meta.url));
  child.send(settings);
  const left = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`the ${settings.role} left early, with ${signal ?? `exit code ${code}`}`)),
    );
  });
  // It may leave when nobody waits for that, and does so in the end.
  left.catch(() => {});
  return { child, left };
}

/** Resolves when the subscriber has subscribed: then it will miss nothing. */
function hasSubscribed({ child }: DemoPeers, received: PeerReport): Promise<void> {
  return new Promise((resolve) => {
    child.on('message', (report: PeerReport) => {
      received.messages = report.messages;
      resolve();
    });
  });
}

/** What was seen while the demo went on. */
interface Shown {
  readonly seconds: number;
  /** The highest rate, in messages a second. */
  readonly peak: number;
}

/** Lets the fleet stop, and the subscriber catch up, so that the figures at the end agree. */
async function settle(manager: SocketManager, fleet: DemoPeers, received: PeerReport): Promise<void> {
  fleet.child.send('stop');
  await Promise.race([fleet.left.catch(() => {}), delay(SETTLE_TIMEOUT, undefined, { ref: false })]);
  const until = performance.now() + SETTLE_TIMEOUT;
  while (received.messages < accepted(manager.getMetrics()) && performance.now() < until) {
    await delay(SETTLE_INTERVAL);
  }
}

/**
 * Shows the broker at work until the demo is over.
 * @param failed rejects when the demo cannot go on
 */
async function show(
  manager: SocketManager,
  flags: DemoFlags,
  received: PeerReport,
  failed: Promise<never>,
): Promise<Shown> {
  const view = new LiveView(process.stdout);
  const startedAt = performance.now();
  const elapsed = () => (performance.now() - startedAt) / 1000;
  let peak = 0;
  process.stdout.write(
    `A broker, ${flags.crawlers} crawlers and a subscriber, for ${flags.duration} s (Ctrl-C ends it sooner).\n\n`,
  );
  const { admin } = manager.getStatus();
  if (admin !== undefined) process.stdout.write(`The dashboard is at ${dashboardUrl(admin)}\n\n`);
  const timer = setInterval(() => {
    const metrics = manager.getMetrics();
    peak = Math.max(peak, metrics.rates.messagesReceived);
    view.draw([`  ${elapsed().toFixed(1)} s of ${flags.duration}`, ...rows(metrics, received)]);
  }, REDRAW_INTERVAL);
  let end: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    end = setTimeout(resolve, flags.duration * 1000);
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  try {
    await Promise.race([over, failed]);
  } finally {
    clearTimeout(end);
    clearInterval(timer);
    view.clear();
  }
  return { seconds: elapsed(), peak };
}

/** Accepted messages of each type that the crawlers send. */
function traffic({ protocol }: ServerMetrics): [type: string, count: number][] {
  return Object.entries(protocol.accepted).filter(([type]) => !Object.hasOwn(controlSchemas, type));
}

function accepted(metrics: ServerMetrics): number {
  return traffic(metrics).reduce((sum, [, count]) => sum + count, 0);
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
    row('on the way', `${formatBytes(memory.heldBytes)}${flow.isPaused ? ', reading paused' : ''}`),
    ...traffic(metrics).map(([type, count]) => row(`  ${type}`, formatCount(count))),
  ];
}

function summary(metrics: ServerMetrics, received: PeerReport, { seconds, peak }: Shown): string[] {
  return [
    `In ${seconds.toFixed(1)} s:`,
    ...rows(metrics, received).slice(2),
    row('on average', `${formatCount(checked(metrics) / seconds)} messages/s`),
    row('at most', `${formatCount(peak)} messages/s`),
    row('memory', `${formatBytes(process.memoryUsage.rss())} resident, the broker's workers included`),
  ];
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(18)} ${value}`;
}

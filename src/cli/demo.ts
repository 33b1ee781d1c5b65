// `sluice demo`: a broker, a fleet of simulated crawlers and a subscriber, to watch them at work.

import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { ServerMetrics } from '../connection/server-metrics.js';
import { SocketManager } from '../connection/socket-manager.js';
import type { PeerReport, PeerSettings } from './demo-peers.js';
import { EXIT } from './exit-codes.js';
import { formatBytes, formatCount, LiveView } from './terminal.js';

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

const REDRAW_INTERVAL = 500;
const BROKEN_EVERY = 500;

/** @returns the exit code */
export async function demo(flags: DemoFlags): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
  const socketPath = join(folder, 'broker.sock');
  const manager = new SocketManager(
    {
      socketPath,
      metricsInterval: REDRAW_INTERVAL,
      ...(flags.admin === undefined ? {} : { admin: flags.admin }),
      ...(flags.workers === undefined ? {} : { workers: { threads: flags.workers } }),
    },
    { logger: pino({ level: 'silent' }) },
  );
  const peers: ChildProcess[] = [];
  try {
    await manager.start();
    const settings = { socketPath, crawlers: flags.crawlers, rate: flags.rate, brokenEvery: BROKEN_EVERY };
    const received = { messages: 0 };
    peers.push(await startSubscriber({ ...settings, role: 'subscriber' }, received));
    peers.push(startPeer({ ...settings, role: 'fleet' }));
    await show(manager, flags, received);
    return EXIT.OK;
  } finally {
    for (const peer of peers) peer.kill();
    await manager.stop('the demo is over');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An address as a browser takes it; a socket path is for `curl --unix-socket`. */
function dashboardUrl(admin: string): string {
  return admin.includes('/') ? admin : `http://${admin}/`;
}

function startPeer(settings: PeerSettings): ChildProcess {
  return fork(new URL('./demo-peers.js', import.meta.url), [JSON.stringify(settings)]);
}

/** Resolves when the subscriber has subscribed: then it will miss nothing. */
function startSubscriber(settings: PeerSettings, received: PeerReport): Promise<ChildProcess> {
  const peer = startPeer(settings);
  return new Promise((resolve, reject) => {
    peer.once('exit', (code) => reject(new Error(`the subscriber left with exit code ${code}`)));
    peer.on('message', (report: PeerReport) => {
      received.messages = report.messages;
      resolve(peer);
    });
  });
}

async function show(manager: SocketManager, flags: DemoFlags, received: PeerReport): Promise<void> {
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
  await new Promise<void>((resolve) => {
    const end = setTimeout(resolve, flags.duration * 1000);
    const interrupt = () => {
      clearTimeout(end);
      resolve();
    };
    process.once('SIGINT', interrupt);
    process.once('SIGTERM', interrupt);
  });
  clearInterval(timer);
  view.clear();
  process.stdout.write(`${summary(manager.getMetrics(), received, elapsed(), peak).join('\n')}\n`);
}

function rows({ rates, totals, protocol, flow, memory }: ServerMetrics, received: PeerReport): string[] {
  const refused = Object.values(protocol.refused).reduce((sum, count) => sum + count, 0);
  return [
    row(
      'received',
      `${formatCount(rates.messagesReceived)} messages/s, ${formatBytes(rates.bytesReceived)}/s`,
    ),
    row('delivered', `${formatCount(rates.messagesSent)} messages/s, ${formatBytes(rates.bytesSent)}/s`),
    row(
      'checked',
      `${formatCount(totals.messagesReceived)} messages, ${formatCount(refused)} of them refused`,
    ),
    row('subscriber', `${formatCount(received.messages)} messages`),
    row('on the way', `${formatBytes(memory.heldBytes)}${flow.isPaused ? ', reading paused' : ''}`),
    ...Object.entries(protocol.accepted)
      .filter(([type]) => !['hello', 'subscribe', 'ping'].includes(type))
      .map(([type, count]) => row(`  ${type}`, formatCount(count))),
  ];
}

function summary(metrics: ServerMetrics, received: PeerReport, seconds: number, peak: number): string[] {
  const { totals } = metrics;
  return [
    `In ${seconds.toFixed(1)} s:`,
    ...rows(metrics, received).slice(2),
    row('on average', `${formatCount(totals.messagesReceived / seconds)} messages/s`),
    row('at most', `${formatCount(peak)} messages/s`),
    row('memory', `${formatBytes(process.memoryUsage.rss())} resident, the broker's workers included`),
  ];
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(18)} ${value}`;
}

// The two peer processes of `sluice demo`: a fleet of simulated crawlers, and a subscriber that counts messages. They
// connect to the broker's socket like real peers.

import { SluiceClient } from '../../client/sluice-client.js';
import { Traffic } from '../../traffic/traffic.js';
import { receiveFromParent, runPeer, sendToParent } from '../common/parent-process.js';

/** The first message from the demo to a peer process. */
export interface PeerSettings {
  role: 'fleet' | 'subscriber';
  socketPath: string;
  crawlers: number;
  /** Messages per second of the whole fleet; 0: as fast as possible. */
  rate: number;
  /** One in this many messages is deliberately invalid; 0: none. */
  brokenEvery: number;
}

/** Sent by the subscriber to the demo several times per second. */
export interface PeerReport {
  messages: number;
}

/** A simulated crawler. */
interface Crawler {
  readonly client: SluiceClient;
  readonly traffic: Traffic;
  /** Time from which it sends at its rate, in ms of the monotonic clock. */
  readonly startedAt: number;
  /** Messages that it has sent. */
  sent: number;
  /** Whether its outbox is full. */
  isBehind: boolean;
}

/** Crawlers that connect at a time. */
const CONNECTING = 32;
const TICK = 20;
const REPORT_INTERVAL = 100;
/** Maximum number of messages that a crawler sends at a time. At full speed, it repeats one block of this size. */
const BLOCK = 2000;
/** An impossible count: valid by the schema, but not by the business rule. */
const BROKEN = { stage: 'fetching', entityType: 'issue', processed: -1 };

/** Sends until it receives `stop`, then waits until all messages are confirmed, and exits. */
async function runFleet(settings: PeerSettings): Promise<void> {
  const { crawlers, rate, socketPath } = settings;
  const stopped = receiveFromParent<'stop'>();
  const fleet: Crawler[] = [];
  if (rate > 0) sendPaced(fleet, settings);
  for (let first = 1; first <= crawlers; first += CONNECTING) {
    const count = Math.min(CONNECTING, crawlers - first + 1);
    const connected = await Promise.all(
      Array.from({ length: count }, (_, index) => connectCrawler(socketPath, first + index)),
    );
    fleet.push(...connected);
    // Rejects when the connection closes, at the end of the demo.
    if (rate === 0) for (const crawler of connected) sendBlocks(crawler, settings).catch(() => {});
  }
  await stopped;
  await Promise.all(fleet.map(({ client }) => client.close()));
  process.exit();
}

async function connectCrawler(socketPath: string, number: number): Promise<Crawler> {
  const crawlerId = `crawler-${number}`;
  const hello = { role: 'crawler', crawlerId } as const;
  const client = await new SluiceClient({ socketPath, hello, reconnect: false }).connect();
  // Some messages are broken on purpose.
  client.on('rejected', () => {});
  const traffic = new Traffic({ seed: number, crawler: crawlerId });
  const crawler = { client, traffic, startedAt: performance.now(), sent: 0, isBehind: false };
  client.on('drain', () => {
    crawler.isBehind = false;
  });
  return crawler;
}

/** Sends what is due, with one timer for all crawlers, also for those that connect later. */
function sendPaced(fleet: readonly Crawler[], { rate, crawlers, brokenEvery }: PeerSettings): void {
  setInterval(() => {
    for (const crawler of fleet) {
      const { client, traffic, startedAt, sent, isBehind } = crawler;
      if (isBehind || client.state !== 'connected') continue;
      const wanted = Math.floor((((performance.now() - startedAt) / 1000) * rate) / crawlers);
      const due = Math.min(wanted, sent + BLOCK);
      if (due === sent) continue;
      const lines: string[] = [];
      for (; crawler.sent < due; crawler.sent++) lines.push(nextLine(traffic, crawler.sent, brokenEvery));
      crawler.isBehind = !client.publishRaw(lines.join(''));
    }
  }, TICK);
}

async function sendBlocks({ client, traffic }: Crawler, { brokenEvery }: PeerSettings): Promise<void> {
  const block = Buffer.from(
    Array.from({ length: BLOCK }, (_, index) => nextLine(traffic, index, brokenEvery)).join(''),
  );
  for (;;) {
    if (!client.publishRaw(block)) await client.drained();
  }
}

function nextLine(traffic: Traffic, index: number, brokenEvery: number): string {
  if (brokenEvery === 0 || index % brokenEvery !== brokenEvery - 1) return `${traffic.nextLine()}\n`;
  return `${JSON.stringify({ ...traffic.next(), type: 'job_progress', jobId: 'broken', data: BROKEN })}\n`;
}

async function runSubscriber({ socketPath }: PeerSettings): Promise<void> {
  const hello = { role: 'app', name: 'dashboard' } as const;
  const client = await new SluiceClient({ socketPath, hello, reconnect: false }).connect();
  const report: PeerReport = { messages: 0 };
  await client.subscribe({ overflow: 'block' }, () => {
    report.messages++;
  });
  setInterval(() => sendToParent(report), REPORT_INTERVAL);
  sendToParent(report);
}

await runPeer<PeerSettings>((settings) =>
  settings.role === 'fleet' ? runFleet(settings) : runSubscriber(settings),
);

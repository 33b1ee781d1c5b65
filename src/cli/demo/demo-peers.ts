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
  const clients: SluiceClient[] = [];
  for (let number = 1; number <= crawlers; number++) {
    const hello = { role: 'crawler', crawlerId: `crawler-${number}` } as const;
    const client = await new SluiceClient({ socketPath, hello, reconnect: false }).connect();
    // Some messages are broken on purpose.
    client.on('rejected', () => {});
    clients.push(client);
    const traffic = new Traffic({ seed: number, crawler: `crawler-${number}` });
    // Rejects when the connection closes, at the end of the demo.
    if (rate === 0) sendBlocks(client, traffic, settings).catch(() => {});
    else sendPaced(client, traffic, settings);
  }
  await stopped;
  await Promise.all(clients.map((client) => client.close()));
  process.exit();
}

function sendPaced(
  client: SluiceClient,
  traffic: Traffic,
  { rate, crawlers, brokenEvery }: PeerSettings,
): void {
  const startedAt = performance.now();
  let sent = 0;
  let isBehind = false;
  client.on('drain', () => {
    isBehind = false;
  });
  setInterval(() => {
    if (isBehind || client.state !== 'connected') return;
    const wanted = Math.floor((((performance.now() - startedAt) / 1000) * rate) / crawlers);
    const due = Math.min(wanted, sent + BLOCK);
    const lines: string[] = [];
    for (; sent < due; sent++) lines.push(nextLine(traffic, sent, brokenEvery));
    isBehind = !client.publishRaw(lines.join(''));
  }, TICK);
}

async function sendBlocks(
  client: SluiceClient,
  traffic: Traffic,
  { brokenEvery }: PeerSettings,
): Promise<void> {
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

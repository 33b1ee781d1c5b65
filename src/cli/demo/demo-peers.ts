// The peers of `sluice demo`, each in a process of its own: a fleet of simulated crawlers, or a
// subscriber that counts. They talk to the broker over its socket, as real ones do.

import { SluiceClient } from '../../client/sluice-client.js';
import { Traffic } from '../../traffic/traffic.js';
import { exitWithParent, receiveFromParent, sendToParent } from '../common/parent-process.js';

/** What the demo tells a process of peers first. */
export interface PeerSettings {
  role: 'fleet' | 'subscriber';
  socketPath: string;
  crawlers: number;
  /** Messages a second of the whole fleet; 0: as many as the broker takes. */
  rate: number;
  /** One message in this many is broken on purpose. */
  brokenEvery: number;
}

/** What a peer tells the demo, several times a second. */
export interface PeerReport {
  messages: number;
}

const TICK = 20;
const REPORT_INTERVAL = 100;
/** A crawler sends at most so many messages at a time; at full speed, from a block that is made once. */
const BLOCK = 2000;
/** An impossible count: the schema takes it, the business rule does not. */
const BROKEN = { stage: 'fetching', entityType: 'issue', processed: -1 };

/** Sends until it is told to stop: then what it has sent is confirmed before it leaves. */
async function runFleet(settings: PeerSettings): Promise<void> {
  const { crawlers, rate, socketPath } = settings;
  const told = receiveFromParent<'stop'>();
  const clients: SluiceClient[] = [];
  for (let number = 1; number <= crawlers; number++) {
    const hello = { role: 'crawler', crawlerId: `crawler-${number}` } as const;
    const client = await new SluiceClient({ socketPath, hello, reconnect: false }).connect();
    clients.push(client);
    const traffic = new Traffic({ seed: number, crawler: `crawler-${number}` });
    // It ends with the connection, which ends with the demo.
    if (rate === 0) sendBlocks(client, traffic, settings).catch(() => {});
    else sendPaced(client, traffic, settings);
  }
  await told;
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
  const hello = { role: 'app' } as const;
  const client = await new SluiceClient({ socketPath, hello, reconnect: false }).connect();
  const report: PeerReport = { messages: 0 };
  await client.subscribe({ overflow: 'block' }, () => {
    report.messages++;
  });
  setInterval(() => sendToParent(report), REPORT_INTERVAL);
  sendToParent(report);
}

exitWithParent();
const settings = await receiveFromParent<PeerSettings>();
await (settings.role === 'fleet' ? runFleet(settings) : runSubscriber(settings));

// Load generators, each in a process of its own: a publisher that writes prebuilt blocks, and a
// subscriber that counts. Both cost little, so that the broker is what is measured.

import { connect, type Socket } from 'node:net';
import { Traffic } from '../traffic.js';

/** How to run a load generator: its first argument, as JSON. */
export interface LoadSettings {
  role: 'publisher' | 'subscriber';
  socketPath: string;
  /** Connections to make. */
  connections: number;
  /** Publisher: messages to send over each connection. Subscriber: messages to wait for on each. */
  messages: number;
  /** What a subscriber says first; none: it only listens. */
  greeting?: string | undefined;
  /** How many lines the server answers the greeting with. */
  greetingLines?: number | undefined;
}

/** What a load generator tells the bench: `ready` to go, then `done`. */
export interface LoadReport {
  event: 'ready' | 'done';
  messages: number;
  bytes: number;
  /** CPU time of this process, in seconds. */
  cpuSeconds: number;
}

const BLOCK = 2000;
const NEWLINE = 0x0a;

function report(event: LoadReport['event'], messages: number, bytes: number): void {
  const { user, system } = process.cpuUsage();
  process.send?.({ event, messages, bytes, cpuSeconds: (user + system) / 1e6 } satisfies LoadReport);
}

function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function publish({ socketPath, connections, messages }: LoadSettings): Promise<void> {
  const blocks = Array.from({ length: connections }, (_, seed) => new Traffic({ seed }).block(BLOCK));
  const sockets = await Promise.all(blocks.map(() => open(socketPath)));
  report('ready', 0, 0);
  await new Promise((resolve) => process.once('message', resolve));
  const sent = await Promise.all(
    sockets.map((socket, index) => sendAll(socket, blocks[index] as Buffer, messages)),
  );
  report(
    'done',
    connections * messages,
    sent.reduce((sum, bytes) => sum + bytes, 0),
  );
}

async function sendAll(socket: Socket, block: Buffer, messages: number): Promise<number> {
  let bytes = 0;
  for (let sent = 0; sent < messages; sent += BLOCK) {
    bytes += block.length;
    if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  return bytes;
}

async function subscribe(settings: LoadSettings): Promise<void> {
  const { socketPath, connections, messages, greeting, greetingLines = 0 } = settings;
  let ready = 0;
  let bytes = 0;
  let remaining = connections;
  for (let index = 0; index < connections; index++) {
    const socket = await open(socketPath);
    if (greeting !== undefined) socket.write(greeting);
    let lines = -greetingLines;
    if (greetingLines === 0 && ++ready === connections) report('ready', 0, 0);
    socket.on('data', (chunk: Buffer) => {
      const before = lines;
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, at + 1)) lines++;
      bytes += chunk.length;
      if (before < 0 && lines >= 0 && ++ready === connections) report('ready', 0, 0);
      if (before < messages && lines >= messages && --remaining === 0)
        report('done', connections * messages, bytes);
    });
  }
}

const settings = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : subscribe(settings));

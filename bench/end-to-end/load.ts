// Load generators, each in a process of its own: a publisher that writes prebuilt blocks, and a
// subscriber that counts. Both cost little, so that the broker is what is measured.

import { connect, type Socket } from 'node:net';
import { Traffic } from '../traffic.js';
import { WIRES } from './wires.js';

/** How to run a load generator: its first argument, as JSON. */
export interface LoadSettings {
  role: 'publisher' | 'subscriber';
  socketPath: string;
  /** TCP port on 127.0.0.1, in place of the socket. */
  port?: number | undefined;
  wire: keyof typeof WIRES;
  /** Connections to make. */
  connections: number;
  /** Publisher: messages to send over each connection. Subscriber: messages to wait for on each. */
  messages: number;
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

function report(event: LoadReport['event'], messages: number, bytes: number): void {
  const { user, system } = process.cpuUsage();
  process.send?.({ event, messages, bytes, cpuSeconds: (user + system) / 1e6 } satisfies LoadReport);
}

function open({ socketPath, port }: LoadSettings): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = port === undefined ? { path: socketPath } : { host: '127.0.0.1', port };
    const socket = connect(target, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function publish(settings: LoadSettings): Promise<void> {
  const { connections, messages, wire } = settings;
  const blocks = Array.from({ length: connections }, (_, seed) => {
    const traffic = new Traffic({ seed });
    return WIRES[wire].encode(Array.from({ length: BLOCK }, () => traffic.nextLine()));
  });
  const sockets = await Promise.all(blocks.map(() => open(settings)));
  // What the broker says to a publisher does not matter, but must be read.
  for (const socket of sockets) socket.resume();
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
  const { connections, messages } = settings;
  const { subscribe, confirmed, marker, markersPerMessage } = WIRES[settings.wire];
  const wanted = messages * markersPerMessage;
  let ready = 0;
  let remaining = connections;
  let bytes = 0;
  for (let index = 0; index < connections; index++) {
    const socket = await open(settings);
    let greeting: string | undefined = '';
    let markers = 0;
    socket.write(subscribe);
    socket.on('data', (chunk: Buffer) => {
      if (greeting !== undefined) {
        greeting += chunk.toString('latin1');
        // Nothing is published before every subscriber is ready: all this is the answer to the greeting.
        if (!greeting.includes(confirmed) || !greeting.endsWith('\n')) return;
        greeting = undefined;
        if (++ready === connections) report('ready', 0, 0);
        return;
      }
      const before = markers;
      for (let at = chunk.indexOf(marker); at !== -1; at = chunk.indexOf(marker, at + 1)) markers++;
      bytes += chunk.length;
      if (before < wanted && markers >= wanted && --remaining === 0)
        report('done', connections * messages, bytes);
    });
  }
}

const settings = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : subscribe(settings));

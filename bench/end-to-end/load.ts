// Load generators, each in a process of its own: a publisher that writes prebuilt blocks, and a
// subscriber that counts. Both cost little, so that the broker is what is measured.

import { connect, type OnReadOpts, type Socket } from 'node:net';
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
  /** Connections that publish, each an equal share; what a subscriber is to wait for. */
  publishers: number;
}

/** What a load generator tells the bench: `ready` to go, then `done`. */
export interface LoadReport {
  event: 'ready' | 'done';
  /** Bytes sent, or received by all connections together. */
  bytes: number;
}

/** Messages of a prebuilt block, which is sent again and again. */
const BLOCK = 2000;
const READ_SIZE = 256 * 1024;

function report(event: LoadReport['event'], bytes: number): void {
  process.send?.({ event, bytes } satisfies LoadReport);
}

function open({ socketPath, port }: LoadSettings, onread?: OnReadOpts): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = port === undefined ? { path: socketPath } : { host: '127.0.0.1', port };
    const socket = connect({ ...target, ...(onread === undefined ? {} : { onread }) }, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function publish(settings: LoadSettings): Promise<void> {
  const { connections, messages, wire } = settings;
  const blocks = Array.from({ length: connections }, (_, seed) => WIRES[wire].encode(linesOf(seed)));
  const sockets = await Promise.all(blocks.map(() => open(settings)));
  // What the broker says to a publisher does not matter, but must be read.
  for (const socket of sockets) socket.resume();
  report('ready', 0);
  await new Promise((resolve) => process.once('message', resolve));
  const sent = await Promise.all(
    sockets.map((socket, index) => sendAll(socket, blocks[index] as Buffer, messages)),
  );
  report(
    'done',
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

/** Counts bytes only: what is to come is known beforehand, since every stream is. */
async function subscribe(settings: LoadSettings): Promise<void> {
  const { connections, messages, publishers } = settings;
  const { subscribe, confirmed, delivered } = WIRES[settings.wire];
  let expected = 0;
  for (let seed = 0; seed < publishers; seed++) {
    for (const line of linesOf(seed)) expected += delivered(Buffer.byteLength(line));
  }
  expected *= messages / publishers / BLOCK;
  const buffer = Buffer.alloc(READ_SIZE);
  let ready = 0;
  let remaining = connections;
  for (let index = 0; index < connections; index++) {
    let greeting = '';
    let bytes = -1;
    const onread = {
      buffer,
      callback(length: number): boolean {
        if (bytes === -1) {
          greeting += buffer.toString('latin1', 0, length);
          // Nothing is published before every subscriber is ready: all this is the answer to the greeting.
          if (!greeting.includes(confirmed) || !greeting.endsWith('\n')) return true;
          bytes = 0;
          if (++ready === connections) report('ready', 0);
          return true;
        }
        const before = bytes;
        bytes += length;
        // NATS pings its clients now and then: a few bytes more than the messages have.
        const isDone = before < expected && bytes >= expected;
        if (isDone && --remaining === 0) report('done', connections * bytes);
        return true;
      },
    };
    const socket = await open(settings, onread);
    socket.on('close', () => {
      process.stderr.write(`the broker closed a subscriber after ${bytes} of ${expected} bytes\n`);
      process.exit(1);
    });
    socket.write(subscribe);
  }
}

function linesOf(seed: number): string[] {
  const traffic = new Traffic({ seed });
  return Array.from({ length: BLOCK }, () => traffic.nextLine());
}

const settings = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : subscribe(settings));

// Load generators, each in a separate process: a publisher that writes prebuilt blocks, and a
// subscriber that counts bytes. Both are cheap, so that the measurement is dominated by the broker. They run in phases:
// the first one warms up the broker.

import type { Socket } from 'node:net';
import { open, type Target } from './connect.js';
import { blockOf, type Content } from './content.js';
import { WIRES, type WireName } from './wires.js';

/** Settings of a load generator: its first argument, as JSON. */
export interface LoadSettings extends Target {
  readonly role: 'publisher' | 'subscriber';
  readonly wire: WireName;
  readonly content: Content;
  /** Number of connections to open. */
  readonly connections: number;
  /** Number of publishing connections, each with an equal share. */
  readonly publishers: number;
  /** Number of blocks that each publisher sends, by phase. */
  readonly phases: readonly number[];
  /** Whether the broker forwards only valid messages. */
  readonly validates: boolean;
}

/** A load generator's report to the bench: `ready` to start, then `done` after each phase. */
export interface LoadReport {
  readonly event: 'ready' | 'done';
  /** Bytes sent, or received by all connections together, in the latest phase. */
  readonly bytes: number;
}

const READ_SIZE = 256 * 1024;

function report(event: LoadReport['event'], bytes: number): void {
  process.send?.({ event, bytes } satisfies LoadReport);
}

async function publish(settings: LoadSettings): Promise<void> {
  const { content, connections, wire, phases } = settings;
  const encoded = new Map<readonly string[], Buffer>();
  const blocks = Array.from({ length: connections }, (_, publisher) => {
    const { lines } = blockOf(content, publisher);
    const bytes = encoded.get(lines) ?? WIRES[wire].encode(lines);
    encoded.set(lines, bytes);
    return bytes;
  });
  const sockets: Socket[] = [];
  // Sequentially, because brokers have small connection backlogs.
  for (const _ of blocks) sockets.push(await open(settings));
  for (const socket of sockets) {
    // Reads and discards the broker's replies.
    socket.resume();
    socket.write(WIRES[wire].greeting);
  }
  report('ready', 0);
  for (const count of phases) {
    await new Promise((resolve) => process.once('message', resolve));
    const sent = await Promise.all(
      sockets.map((socket, index) => sendAll(socket, blocks[index] as Buffer, count)),
    );
    report(
      'done',
      sent.reduce((sum, bytes) => sum + bytes, 0),
    );
  }
}

async function sendAll(socket: Socket, block: Buffer, count: number): Promise<number> {
  for (let sent = 0; sent < count; sent++) {
    if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  return count * block.length;
}

/** Only counts bytes: all streams are known, so the expected number of bytes is too. */
async function subscribe(settings: LoadSettings): Promise<void> {
  const { connections, phases } = settings;
  const wire = WIRES[settings.wire];
  const perBlock = deliveredBytes(settings);
  /** Total bytes that a connection has received at the end of each phase. */
  const milestones: number[] = [];
  for (const count of phases) milestones.push((milestones.at(-1) ?? 0) + count * perBlock);
  const buffer = Buffer.alloc(READ_SIZE);
  let phase = 0;
  let remaining = connections;
  let ready = 0;
  for (let index = 0; index < connections; index++) {
    let greeting = '';
    let bytes = -1;
    let reached = 0;
    const onread = {
      buffer,
      callback(length: number): boolean {
        if (bytes === -1) {
          greeting += buffer.toString('latin1', 0, length);
          // Nothing is published before all subscribers are ready, so these bytes answer the greeting.
          if (!wire.isConfirmed(greeting)) return true;
          bytes = 0;
          if (++ready === connections) report('ready', 0);
          return true;
        }
        bytes += length;
        // NATS pings its clients occasionally, so there may be a few more bytes than those of the messages.
        if (reached >= phases.length || bytes < (milestones[reached] ?? 0)) return true;
        reached++;
        if (--remaining > 0) return true;
        report('done', connections * perBlock * (phases[phase] ?? 0));
        remaining = connections;
        phase++;
        return true;
      },
    };
    const socket = await open(settings, onread);
    socket.on('close', () => {
      process.stderr.write(`the broker closed a subscriber after ${bytes} of ${milestones.at(-1)} bytes\n`);
      process.exit(1);
    });
    socket.write(wire.subscribe);
  }
}

/** Bytes that each subscriber receives for one block of each publisher. */
function deliveredBytes({ content, publishers, validates, wire }: LoadSettings): number {
  const { delivered } = WIRES[wire];
  let bytes = 0;
  for (let publisher = 0; publisher < publishers; publisher++) {
    const block = blockOf(content, publisher);
    for (const line of validates ? block.valid : block.lines) bytes += delivered(Buffer.byteLength(line));
  }
  return bytes;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as LoadSettings;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : subscribe(settings));

// Proves that nothing is lost, doubled, changed or put out of order: a publisher sends known streams over
// several connections; a checker subscribes, tells the streams apart by comparing bytes, and hashes each.
// Both make the same streams from the same seeds. Each runs in a process of its own.

import { createHash, type Hash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { Traffic } from '../../src/cli/traffic.js';

/** How to run: the first argument, as JSON. */
export interface StreamCheck {
  role: 'publisher' | 'checker';
  socketPath: string;
  /** Connections that publish, each its own stream. */
  streams: number;
  /** Messages of each stream. */
  messages: number;
  /** What ends a message; empty for undelimited objects. */
  delimiter: string;
  /** Connections that subscribe, each to everything. */
  subscribers: number;
}

/** What both tell their parent: the SHA-256 of each stream, each message ending with a newline. */
export type StreamReport =
  | { event: 'ready' }
  | { event: 'done'; digests: string[][]; messages: number; error?: string };

const NEWLINE = 0x0a;
const BLOCK = 1000;

const report = (message: StreamReport): void => {
  process.send?.(message);
};

async function publish({ socketPath, streams, messages, delimiter }: StreamCheck): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: streams }, () => open(socketPath)));
  report({ event: 'ready' });
  await new Promise((resolve) => process.once('message', resolve));
  const digests = await Promise.all(
    sockets.map((socket, seed) => sendStream(socket, new Traffic({ seed }), messages, delimiter)),
  );
  report({ event: 'done', digests: [digests], messages: streams * messages });
}

async function sendStream(
  socket: Socket,
  traffic: Traffic,
  messages: number,
  delimiter: string,
): Promise<string> {
  const hash = createHash('sha256');
  for (let sent = 0; sent < messages; sent += BLOCK) {
    const lines = Array.from({ length: Math.min(BLOCK, messages - sent) }, () => traffic.nextLine());
    hash.update(`${lines.join('\n')}\n`);
    const block =
      delimiter === '\n' ? `${lines.join('\n')}\n` : lines.map((line) => line + delimiter).join('');
    if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  return hash.digest('hex');
}

async function check({ socketPath, streams, messages, subscribers }: StreamCheck): Promise<void> {
  const expected = Array.from({ length: streams }, (_, seed) => new Traffic({ seed }).block(messages));
  const checkers = Array.from({ length: subscribers }, () => new Checker(expected));
  const total = streams * messages;
  const finish = (error?: string): void => {
    if (error === undefined && !checkers.every(({ count }) => count === total)) return;
    const digests = checkers.map((checker) => checker.digests());
    report({
      event: 'done',
      digests,
      messages: checkers[0]?.count ?? 0,
      ...(error === undefined ? {} : { error }),
    });
  };
  for (const checker of checkers) {
    const socket = await open(socketPath);
    await new Promise<void>((resolve) => {
      let partial: Buffer = Buffer.alloc(0);
      let isSubscribed = false;
      socket.write('{"type":"subscribe","data":{"id":"check","overflow":"block"}}\n');
      socket.on('data', (bytes: Buffer) => {
        const all = partial.length === 0 ? bytes : Buffer.concat([partial, bytes]);
        let from = 0;
        if (!isSubscribed) {
          isSubscribed = true;
          from = all.indexOf(NEWLINE) + 1;
          resolve();
        }
        const end = all.lastIndexOf(NEWLINE) + 1;
        try {
          checker.take(all, from, end);
        } catch (error) {
          finish(String(error));
          process.exit();
        }
        partial = Buffer.from(all.subarray(end));
        finish();
      });
      socket.on('close', () => finish('the broker closed a subscriber'));
    });
  }
  report({ event: 'ready' });
}

/** Follows the streams that one subscriber receives, mixed. */
class Checker {
  count = 0;
  readonly #expected: readonly Buffer[];
  /** How far each stream has come. */
  readonly #positions: number[];
  readonly #hashes: Hash[];
  #latest = 0;

  constructor(expected: readonly Buffer[]) {
    this.#expected = expected;
    this.#positions = expected.map(() => 0);
    this.#hashes = expected.map(() => createHash('sha256'));
  }

  /** Takes whole lines: hashes each with its stream, neighbours of one stream together. */
  take(bytes: Buffer, from: number, to: number): void {
    let start = from;
    let stream = this.#latest;
    for (let at = from; at < to; ) {
      const end = bytes.indexOf(NEWLINE, at) + 1;
      const found = this.#streamOf(bytes, at, end);
      if (found !== stream) {
        this.#hashes[stream]?.update(bytes.subarray(start, at));
        start = at;
        stream = found;
      }
      this.#positions[found] = (this.#positions[found] ?? 0) + end - at;
      this.#latest = found;
      this.count++;
      at = end;
    }
    this.#hashes[stream]?.update(bytes.subarray(start, to));
  }

  digests(): string[] {
    return this.#hashes.map((hash) => hash.copy().digest('hex'));
  }

  /** The stream whose next line this is. */
  #streamOf(bytes: Buffer, from: number, to: number): number {
    for (let step = 0; step < this.#expected.length; step++) {
      const stream = (this.#latest + step) % this.#expected.length;
      const position = this.#positions[stream] ?? 0;
      const expected = this.#expected[stream];
      if (expected !== undefined && position + to - from <= expected.length) {
        if (expected.compare(bytes, from, to, position, position + to - from) === 0) return stream;
      }
    }
    throw new Error(`message ${this.count + 1} is the next one of no stream`);
  }
}

function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket));
    socket.once('error', reject);
  });
}

const settings = JSON.parse(process.argv[2] ?? '{}') as StreamCheck;
process.on('disconnect', () => process.exit());
await (settings.role === 'publisher' ? publish(settings) : check(settings));

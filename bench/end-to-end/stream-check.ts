// Verifies that no message is lost, duplicated, changed or reordered: a publisher sends known streams over several
// connections; a checker subscribes, distinguishes the streams by comparing bytes, and hashes each. Both generate the
// same streams from the same seeds. Each runs in a separate process that is reused for several checks, because
// generating the streams takes longer than sending them.

import { createHash, type Hash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { Traffic } from '../../src/traffic/traffic.js';

/** Role of a process: its first argument, as JSON. */
export interface StreamPart {
  role: 'publisher' | 'checker';
  /** Number of publishing connections, each with its own stream. */
  streams: number;
  /** Number of messages in each stream. */
  messages: number;
}

/** One check: the parent sends it to both processes. */
export interface StreamCheck {
  socketPath: string;
  /** Delimiter after each message; empty for undelimited objects. */
  delimiter: string;
  /** Number of subscribing connections, each to all messages. */
  subscribers: number;
}

/** Report of both processes: the SHA-256 of each stream, with a newline after each message. */
export type StreamReport =
  | { event: 'ready' }
  | { event: 'done'; digests: string[][]; messages: number; error?: string };

const NEWLINE = 0x0a;
const BLOCK = 1000;

const report = (message: StreamReport): void => {
  process.send?.(message);
};

const settings = JSON.parse(process.argv[2] ?? '{}') as StreamPart;
const total = settings.streams * settings.messages;
/** The blocks of each stream. */
const blocks = Array.from({ length: settings.streams }, (_, seed) => {
  const traffic = new Traffic({ seed });
  const count = Math.ceil(settings.messages / BLOCK);
  return Array.from({ length: count }, (_, index) =>
    traffic.block(Math.min(BLOCK, settings.messages - index * BLOCK)),
  );
});

async function publish({ socketPath, delimiter }: StreamCheck): Promise<void> {
  const sockets = await Promise.all(blocks.map(() => open(socketPath)));
  report({ event: 'ready' });
  await new Promise((resolve) => process.once('message', resolve));
  const digests = await Promise.all(
    sockets.map((socket, stream) => sendStream(socket, blocks[stream] ?? [], delimiter)),
  );
  report({ event: 'done', digests: [digests], messages: total });
}

async function sendStream(socket: Socket, stream: readonly Buffer[], delimiter: string): Promise<string> {
  const hash = createHash('sha256');
  for (const block of stream) {
    hash.update(block);
    if (!socket.write(delimited(block, delimiter)))
      await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.resume().end();
  return hash.digest('hex');
}

/** Replaces the delimiters of a block. Its messages contain no newlines. */
function delimited(block: Buffer, delimiter: string): Buffer {
  if (delimiter === '\n') return block;
  return Buffer.from(block.toString('latin1').replaceAll('\n', delimiter), 'latin1');
}

async function check({ socketPath, subscribers }: StreamCheck): Promise<void> {
  const checkers = Array.from({ length: subscribers }, () => new Checker(expected));
  const sockets: Socket[] = [];
  let isOver = false;
  const finish = (error?: string): void => {
    if (isOver || (error === undefined && !checkers.every(({ count }) => count === total))) return;
    isOver = true;
    for (const socket of sockets) socket.destroy();
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
    sockets.push(socket);
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
          checker.add(all, from, end);
        } catch (error) {
          return finish(String(error));
        }
        partial = Buffer.from(all.subarray(end));
        finish();
      });
      socket.on('close', () => finish('the broker closed a subscriber'));
    });
  }
  report({ event: 'ready' });
}

/** Separates the interleaved streams that one subscriber receives. */
class Checker {
  count = 0;
  readonly #expected: readonly Buffer[];
  /** Bytes received of each stream. */
  readonly #positions: number[];
  readonly #hashes: Hash[];
  #latest = 0;

  constructor(expected: readonly Buffer[]) {
    this.#expected = expected;
    this.#positions = expected.map(() => 0);
    this.#hashes = expected.map(() => createHash('sha256'));
  }

  /** Adds whole lines to the hashes of their streams; consecutive lines of one stream are hashed together. */
  add(bytes: Buffer, from: number, to: number): void {
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

  /** @returns the index of the stream that continues with this line */
  #streamOf(bytes: Buffer, from: number, to: number): number {
    for (let step = 0; step < this.#expected.length; step++) {
      const stream = (this.#latest + step) % this.#expected.length;
      const position = this.#positions[stream] ?? 0;
      const expected = this.#expected[stream];
      if (expected !== undefined && position + to - from <= expected.length) {
        if (expected.compare(bytes, from, to, position, position + to - from) === 0) return stream;
      }
    }
    throw new Error(`message ${this.count + 1} does not continue any stream`);
  }
}

function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Expected bytes of each stream. */
const expected = settings.role === 'checker' ? blocks.map((stream) => Buffer.concat(stream)) : [];
process.on('disconnect', () => process.exit());
process.on('message', (message: StreamCheck | 'go') => {
  if (message !== 'go') void (settings.role === 'publisher' ? publish(message) : check(message));
});
